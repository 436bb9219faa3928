/* tern convert on ONNX files: every option is one edit of a copy of the graph, in this order: a part is cut out, shapes
 * are fixed, the graph is simplified, then its opset and its precision change, then names and metadata. */
#include "cli/convert_onnx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/inputs.h"
#include "cli/json.h"
#include "onnx/onnx.h"
#include "opt/opt.h"

/* "OLD=NEW": its halves; false when there is no '='. */
static bool split_pair(const char *text, tn_arena *arena, const char **left, const char **right) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) return false;
    *left = cli_must(tn_arena_strndup(arena, text, (size_t)(equals - text)));
    *right = cli_must(tn_arena_strndup(arena, equals + 1, strlen(equals + 1)));
    return true;
}

static tern_status find_value(tern_model *m, const char *name, tn_value **out, tern_error *err) {
    *out = tn_graph_find(m->graph, name);
    return *out ? TERN_OK : tn_fail(err, TERN_NOT_FOUND, "the model has no value '%s'", name);
}

/* ---- a part of the model --------------------------------------------------------------------------------------- */

static tern_status cut_input(tern_model *m, tn_value *v, tern_error *err) {
    tn_node *n = v->producer;
    if (v->type.kind == TERN_KIND_TENSOR && v->type.dtype == TERN_UNDEFINED)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "the type of '%s' is not known, so it can not be an input", v->name);
    for (int k = 0; n && k < n->n_out; k++) {
        if (n->out[k] != v) continue;
        n->out[k] = tn_graph_new_value(m->graph, v->name);
        if (!n->out[k]) return tn_fail_oom(err, sizeof *v);
    }
    v->constant = NULL;
    v->producer = NULL;
    return tn_graph_add_input(m->graph, v, err);
}

typedef struct reach {
    bool *seen;     /* by node id */
    tn_node **todo; /* a stack: every node gets there once */
    int count;
} reach;

static void reach_value(reach *r, const tn_value *v) {
    if (!v || !v->producer || r->seen[v->producer->id]) return;
    r->seen[v->producer->id] = true;
    r->todo[r->count++] = v->producer;
}

/* Nodes that no output needs lose their inputs, which may not be there any more. */
static void unlink_unreached(tern_model *m) {
    tn_graph *g = m->graph;
    reach r = {.seen = cli_must(tn_calloc((size_t)g->n_nodes + 1, sizeof(bool))),
               .todo = cli_must(tn_calloc((size_t)g->n_nodes + 1, sizeof(tn_node *)))};
    for (int i = 0; i < g->n_outputs; i++) reach_value(&r, g->outputs[i]);
    while (r.count) {
        const tn_node *n = r.todo[--r.count];
        for (int k = 0; k < n->n_in; k++) reach_value(&r, n->in[k]);
        for (int k = 0; k < n->n_captures; k++) reach_value(&r, n->captures[k]);
    }
    int kept = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        if (r.seen[i])
            g->nodes[kept++] = g->nodes[i];
        else
            tn_opt_remove(g->nodes[i]);
    }
    m->n_nodes_total -= (size_t)(g->n_nodes - kept);
    g->n_nodes = kept;
    tn_free(r.seen);
    tn_free(r.todo);
}

static void drop_unused_inputs(tn_graph *g) {
    int kept = 0;
    for (int i = 0; i < g->n_inputs; i++)
        if (g->inputs[i]->n_uses) g->inputs[kept++] = g->inputs[i];
    g->n_inputs = kept;
}

static tern_status check_once(const cli_strings *list, const char *option, tern_error *err) {
    for (size_t i = 0; i < list->count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(list->items[i], list->items[k]) == 0)
                return tn_fail(err, TERN_INVALID_ARGUMENT, "%s %s: is given twice", option, list->items[i]);
    return TERN_OK;
}

static tern_status extract(const cli_onnx_options *o, tern_model *m, tern_error *err) {
    tn_graph *g = m->graph;
    if (!o->inputs->count && !o->outputs->count) return TERN_OK;
    TN_TRY(check_once(o->inputs, "--extract-inputs", err));
    TN_TRY(check_once(o->outputs, "--extract-outputs", err));
    TN_TRY(tn_opt_infer(m, err));
    if (o->outputs->count) g->n_outputs = 0;
    for (size_t i = 0; i < o->outputs->count; i++) {
        tn_value *v;
        TN_TRY(find_value(m, o->outputs->items[i], &v, err));
        TN_TRY(tn_graph_add_output(g, v, err));
    }
    if (o->inputs->count) g->n_inputs = 0;
    for (size_t i = 0; i < o->inputs->count; i++) {
        tn_value *v;
        TN_TRY(find_value(m, o->inputs->items[i], &v, err));
        TN_TRY(cut_input(m, v, err));
    }
    unlink_unreached(m);
    tern_status status = tn_graph_finish(g, err);
    if (status != TERN_OK) {
        tn_error_prefix(err, "the part needs more inputs: ");
        return status;
    }
    if (o->inputs->count) return TERN_OK;
    drop_unused_inputs(g);
    return tn_graph_finish(g, err);
}

/* ---- shapes ---------------------------------------------------------------------------------------------------- */

/* A symbolic dim that gets a number gets it everywhere. */
static void fix_symbol(tn_graph *all, int64_t symbol, int64_t size) {
    for (tn_graph *g = all; g; g = g->next)
        for (int i = 0; i < g->n_values; i++) {
            tn_type *t = &g->values[i]->type;
            for (int d = 0; t->kind == TERN_KIND_TENSOR && t->ranked && d < t->shape.rank; d++)
                if (t->shape.dims[d] == symbol) t->shape.dims[d] = size;
        }
}

static tern_status fix_shape(tern_model *m, const char *name, const char *text, tern_error *err) {
    tn_value *v;
    TN_TRY(find_value(m, name, &v, err));
    if (!v->is_input) return tn_fail(err, TERN_INVALID_ARGUMENT, "--fix-shape %s: it is no input", name);
    tn_shape shape;
    if (!cli_parse_shape(text, shape.dims, &shape.rank))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "--fix-shape %s=%s: a shape looks like 1x3x224x224", name, text);
    if (v->type.ranked && v->type.shape.rank != shape.rank)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "--fix-shape %s=%s: the input has rank %d", name, text,
                       v->type.shape.rank);
    for (int d = 0; v->type.ranked && d < shape.rank; d++)
        if (tn_dim_is_symbol(v->type.shape.dims[d])) fix_symbol(m->all_graphs, v->type.shape.dims[d], shape.dims[d]);
    v->type.ranked = true;
    v->type.shape = shape;
    return TERN_OK;
}

/* What a fixed size says of the other values holds instead of what the file says: a batch of 1 may be written there. */
static void forget_shapes(tn_graph *g) {
    for (int i = 0; i < g->n_values; i++) {
        tn_value *v = g->values[i];
        if (v->producer && v->type.kind == TERN_KIND_TENSOR) v->type.ranked = false;
    }
}

static tern_status fix_shapes(const cli_onnx_options *o, tern_model *m, tern_error *err) {
    for (size_t i = 0; i < o->shapes->count; i++) {
        const char *name, *text;
        if (!split_pair(o->shapes->items[i], &m->arena, &name, &text))
            return tn_fail(err, TERN_INVALID_ARGUMENT, "--fix-shape %s: it should be NAME=1x3x224x224",
                           o->shapes->items[i]);
        TN_TRY(fix_shape(m, name, text, err));
    }
    if (!o->shapes->count) return TERN_OK;
    forget_shapes(m->graph);
    return tn_opt_infer(m, err);
}

/* ---- precision ------------------------------------------------------------------------------------------------- */

typedef struct keepers {
    const cli_strings *list;
    bool used[1024]; /* an exclusion that meets nothing is a mistake */
} keepers;

static bool keeps(void *context, const tn_node *n) {
    keepers *k = context;
    bool any = false;
    for (size_t i = 0; i < TN_MIN(k->list->count, TN_COUNT(k->used)); i++) {
        if (strcmp(k->list->items[i], n->op_type) != 0 && strcmp(k->list->items[i], n->name) != 0) continue;
        any = k->used[i] = true;
    }
    return any;
}

static tern_status halve(const cli_onnx_options *o, tern_model *m, int *changed, tern_error *err) {
    *changed = -1;
    if (!o->fp16 && !o->bf16) return TERN_OK;
    keepers k = {.list = o->keep};
    TN_TRY(tn_opt_half(m, o->bf16 ? TERN_BFLOAT16 : TERN_FLOAT16, keeps, &k, changed, err));
    for (size_t i = 0; i < TN_MIN(o->keep->count, TN_COUNT(k.used)); i++)
        if (!k.used[i])
            return tn_fail(err, TERN_NOT_FOUND, "--keep-float %s: no node that could change has this operator or name",
                           o->keep->items[i]);
    if (*changed == 0)
        return tn_fail(err, TERN_UNSUPPORTED, "no node of this model can be in %s%s; --opset may help",
                       o->bf16 ? "bfloat16" : "float16",
                       o->bf16 ? "" : ", by its operator or because a constant is too large or too small");
    return TERN_OK;
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static tern_status rename_value(tern_model *m, const char *from, const char *to, tern_error *err) {
    tn_graph *g = m->graph;
    tn_value *v;
    TN_TRY(find_value(m, from, &v, err));
    if (!*to || tn_graph_find(g, to))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "--rename %s=%s: there is a value of that name already", from, to);
    v->name = to;
    tn_map_release(&g->by_name);
    g->by_name = (tn_map){0};
    for (int i = 0; i < g->n_values; i++)
        if (!tn_map_put(&g->by_name, tn_str_c(g->values[i]->name), g->values[i]))
            return tn_fail_oom(err, sizeof(void *) * (size_t)g->n_values);
    return TERN_OK;
}

static tern_status rename_values(const cli_onnx_options *o, tern_model *m, tern_error *err) {
    for (size_t i = 0; i < o->rename->count; i++) {
        const char *from, *to;
        if (!split_pair(o->rename->items[i], &m->arena, &from, &to))
            return tn_fail(err, TERN_INVALID_ARGUMENT, "--rename %s: it should be OLD=NEW", o->rename->items[i]);
        TN_TRY(rename_value(m, from, to, err));
    }
    return TERN_OK;
}

/* An empty value takes the key away. */
static tern_status set_metadata(const cli_onnx_options *o, tern_model *m, tern_error *err) {
    if (!o->metadata->count) return TERN_OK;
    tn_property *list = cli_must(tn_arena_array(&m->arena, m->n_metadata + o->metadata->count, sizeof *list));
    if (m->n_metadata) memcpy(list, m->metadata, m->n_metadata * sizeof *list);
    m->metadata = list;
    for (size_t i = 0; i < o->metadata->count; i++) {
        const char *key, *value;
        if (!split_pair(o->metadata->items[i], &m->arena, &key, &value))
            return tn_fail(err, TERN_INVALID_ARGUMENT, "--set-metadata %s: it should be KEY=VALUE",
                           o->metadata->items[i]);
        size_t at = 0;
        while (at < m->n_metadata && strcmp(list[at].key, key) != 0) at++;
        list[at] = (tn_property){key, value};
        m->n_metadata = TN_MAX(m->n_metadata, at + 1);
        if (*value) continue;
        memmove(&list[at], &list[at + 1], (m->n_metadata - at - 1) * sizeof *list);
        m->n_metadata--;
    }
    return TERN_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------- */

typedef struct report {
    int nodes_before, half_nodes;
} report;

static tern_status edit(const cli_onnx_options *o, tern_model *m, report *r, tern_error *err) {
    TN_TRY(extract(o, m, err));
    TN_TRY(fix_shapes(o, m, err));
    if (o->simplify) TN_TRY(tn_opt_simplify(m, err));
    if (o->opset) {
        tern_error ignored; /* a model with operators that tern lacks converts as far as declared types go */
        if (tn_opt_infer(m, &ignored) != TERN_OK) TN_TRY(tn_graph_finish(m->graph, err));
        TN_TRY(tn_opset_convert(m, (int)o->opset, err));
    }
    TN_TRY(halve(o, m, &r->half_nodes, err));
    TN_TRY(rename_values(o, m, err));
    return set_metadata(o, m, err);
}

static int standard_opset(const tern_model *m) {
    for (size_t i = 0; i < m->n_opsets; i++)
        if (!*m->opsets[i].domain) return m->opsets[i].version;
    return 0;
}

static void tell(const cli_onnx_options *o, const tern_model *m, const char *out, const report *r) {
    if (o->json) {
        cJSON *root = cli_json_object(NULL, NULL);
        cli_json_string(root, "file", out);
        cli_json_int(root, "opset", standard_opset(m));
        cli_json_int(root, "nodes_before", r->nodes_before);
        cli_json_int(root, "nodes", m->graph->n_nodes);
        if (r->half_nodes >= 0) cli_json_int(root, "half_nodes", r->half_nodes);
        cli_json_print(root);
        return;
    }
    printf("%s: opset %d, %d nodes (%d before)", out, standard_opset(m), m->graph->n_nodes, r->nodes_before);
    if (r->half_nodes >= 0) printf(", %d of them in half precision", r->half_nodes);
    printf("\n");
}

int cli_convert_onnx(const cli_onnx_options *o, const char *in, const char *out) {
    tern_model *source = NULL, *m = NULL;
    tern_error err;
    report r = {.half_nodes = -1};
    tern_status status = tern_model_load(&source, in, NULL, &err);
    if (status != TERN_OK) return cli_fail(&err);
    r.nodes_before = source->graph->n_nodes;
    status = tn_opt_clone(&m, source, &err);
    if (status == TERN_OK) status = edit(o, m, &r, &err);
    if (status == TERN_OK) status = tn_onnx_write_model(m, out, o->external, &err);
    if (status == TERN_OK)
        tell(o, m, out, &r);
    else
        tn_error_prefix(&err, "%s: ", in);
    tn_model_free(m);
    tern_model_free(source);
    return status == TERN_OK ? CLI_OK : cli_fail(&err);
}
