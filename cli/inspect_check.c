/* tern inspect --check: the rules of the standard. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "onnx/onnx.h"
#include "ops/ops.h"
#include "opt/opt.h"

typedef struct findings {
    const char *path;
    cJSON *list; /* NULL: text */
    size_t count;
} findings;

static void tell(void *context, const char *text) {
    findings *f = context;
    f->count++;
    if (f->list) {
        cli_json_string(f->list, NULL, text);
    } else {
        cli_print_name(f->path);
        printf(": ");
        cli_print_name(text);
        printf("\n");
    }
}

static void tell_attr(void *context, const tn_node *n, const char *text) {
    char where[TN_NODE_TEXT], line[TN_NODE_TEXT + 220];
    snprintf(line, sizeof line, "%s: %s", tn_node_text(n, where, sizeof where), text);
    tell(context, line);
}

/* Attributes that an operator does not have, or lacks, and operators that the standard took back. */
static void check_nodes(const tn_graph *g, findings *f) {
    static const struct {
        const char *name, *instead;
        int since;
    } gone[] = {{"Upsample", "Resize", 10}, {"Scatter", "ScatterElements", 11}};
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *n = g->nodes[i];
        tn_opset_check_attrs(n, tell_attr, f);
        for (size_t k = 0; k < TN_COUNT(gone); k++) {
            if (*n->domain || n->opset < gone[k].since || strcmp(n->op_type, gone[k].name) != 0) continue;
            char where[TN_NODE_TEXT], text[TN_NODE_TEXT + 120];
            snprintf(text, sizeof text, "%s: is deprecated since opset %d; use %s",
                     tn_node_text(n, where, sizeof where), gone[k].since, gone[k].instead);
            tell(f, text);
        }
        for (int a = 0; a < n->n_attrs; a++) {
            const tn_attr *at = &n->attrs[a];
            if (at->type == TN_ATTR_GRAPH) check_nodes(at->g, f);
            for (size_t k = 0; at->type == TN_ATTR_GRAPHS && k < at->count; k++) check_nodes(at->graphs[k], f);
        }
    }
}

/* What the loader and the registry find: tensors, attributes' types, operators, numbers of inputs. */
static void check_loaded(const char *path, findings *f) {
    tern_model *model;
    tern_error err;
    size_t prefix = strlen(path) + 2;
    if (tern_model_load(&model, path, NULL, &err) != TERN_OK) {
        bool prefixed = strncmp(err.text, path, prefix - 2) == 0;
        if (!f->count) tell(f, prefixed && strlen(err.text) > prefix ? err.text + prefix : err.text);
        return;
    }
    if (tn_op_resolve_graph(model->graph, &err) != TERN_OK) tell(f, err.text);
    check_nodes(model->graph, f);
    tern_model_free(model);
}

int cli_inspect_check(const char *path, bool json) {
    tn_file file;
    tern_error err;
    size_t count;
    if (tn_file_map(&file, path, &err) != TERN_OK) return cli_fail(&err);
    if (tn_compiled_is(file.data, file.size)) {
        tn_file_unmap(&file);
        cli_error("%s: is compiled, and the rules are for ONNX files: check the file it was made from, or what "
                  "'tern convert %s -o FILE.onnx' writes",
                  path, path);
        return CLI_FAILED;
    }
    cJSON *root = json ? cli_json_object(NULL, NULL) : NULL;
    findings f = {.path = path, .list = root ? cli_json_array(root, "problems") : NULL};
    tern_status status = tn_onnx_check(file.data, file.size, tell, &f, &count, &err);
    tn_file_unmap(&file);
    if (status != TERN_OK) {
        tn_error_prefix(&err, "%s: ", path);
        cJSON_Delete(root);
        return cli_fail(&err);
    }
    check_loaded(path, &f);
    if (root)
        cli_json_print(root);
    else if (!f.count)
        printf("%s: keeps to the rules\n", path);
    return f.count ? CLI_FAILED : CLI_OK;
}
