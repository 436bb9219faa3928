/* tern inspect on a checkpoint: what is in it, without running any of it. */
#include "cli/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "vision/torch/torch.h"

bool cli_is_checkpoint(const char *path) {
    tn_file file;
    if (tn_file_map(&file, path, NULL) != TERN_OK) return false;
    bool is = tern_ckpt_format_of(file.data, file.size) != TERN_CKPT_UNKNOWN;
    tn_file_unmap(&file);
    return is;
}

/* ---- what is collected ----------------------------------------------------------------------------------------- */

typedef struct named {
    char *name;
    const tern_py *value;
} named;

typedef struct facts {
    named *tensors, *scalars;
    size_t n_tensors, tensors_cap, n_scalars, scalars_cap;
    int64_t parameters; /* elements; what shares a storage counts once */
    double bytes;
    uint8_t *seen; /* by id */
    tn_map storages;
} facts;

static void add_named(named **list, size_t *count, size_t *cap, const char *name, const tern_py *v) {
    if (!tn_grow(list, cap, *count + 1, sizeof **list)) cli_must(NULL);
    (*list)[(*count)++] = (named){cli_must(tn_strdup(name)), v};
}

static void add_tensor(facts *f, const char *name, const tern_py *v) {
    const tern_py_tensor *t = v->tensor;
    add_named(&f->tensors, &f->n_tensors, &f->tensors_cap, name, v);
    tn_str key = {(const char *)&t->storage, sizeof t->storage};
    if (tn_map_get(&f->storages, key)) return;
    if (!tn_map_put(&f->storages, key, (void *)(uintptr_t)1)) cli_must(NULL);
    f->parameters += t->count;
    f->bytes += (double)t->count * (double)tern_dtype_size(t->dtype);
}

static bool is_group(const tern_py *key) {
    const char *s = tern_py_to_str(key);
    return s && (!strcmp(s, "_modules") || !strcmp(s, "_parameters") || !strcmp(s, "_buffers"));
}

// "a.b" + key; the dicts that nn.Module keeps its parts in have no name.
static void join(char *out, size_t size, const char *path, const tern_py *key, size_t index) {
    const char *dot = *path ? "." : "";
    int64_t number;
    if (!key)
        snprintf(out, size, "%s%s%zu", path, dot, index);
    else if (is_group(key))
        snprintf(out, size, "%s", path);
    else if (key->kind == TERN_PY_STR)
        snprintf(out, size, "%s%s%s", path, dot, key->text.data);
    else if (tern_py_to_int(key, &number))
        snprintf(out, size, "%s%s%" PRId64, path, dot, number);
    else
        snprintf(out, size, "%s%s(%s)", path, dot, tern_py_kind_name(key->kind));
}

static void collect_tensors(facts *f, const char *path, const tern_py *v) {
    char name[600];
    if (!v || f->seen[v->id]) return;
    f->seen[v->id] = 1;
    switch (v->kind) {
    case TERN_PY_TENSOR:
        add_tensor(f, path, v);
        break;
    case TERN_PY_LIST:
    case TERN_PY_TUPLE:
    case TERN_PY_SET:
        for (size_t i = 0; i < v->seq.count; i++) {
            join(name, sizeof name, path, NULL, i);
            collect_tensors(f, name, v->seq.items[i]);
        }
        break;
    case TERN_PY_DICT:
        for (size_t i = 0; i < v->dict.count; i++) {
            join(name, sizeof name, path, v->dict.items[i].key, i);
            collect_tensors(f, name, v->dict.items[i].value);
        }
        break;
    case TERN_PY_OBJECT:
        collect_tensors(f, path, v->object->args);
        collect_tensors(f, path, v->object->state);
        collect_tensors(f, path, v->object->items);
        break;
    default:
        break;
    }
}

static bool is_scalar(const tern_py *v) {
    return v->kind == TERN_PY_BOOL || v->kind == TERN_PY_INT || v->kind == TERN_PY_FLOAT || v->kind == TERN_PY_STR ||
           v->kind == TERN_PY_NONE;
}

static bool is_list_of_scalars(const tern_py *v) {
    if (v->kind != TERN_PY_LIST && v->kind != TERN_PY_TUPLE) return false;
    for (size_t i = 0; i < v->seq.count; i++)
        if (!is_scalar(v->seq.items[i])) return false;
    return v->seq.count > 0;
}

// Of the top-level value and of what it holds.
static void collect_scalars(facts *f, const char *path, const tern_py *v, int depth) {
    char name[600];
    if (v->kind == TERN_PY_OBJECT) {
        if (*path) add_named(&f->scalars, &f->n_scalars, &f->scalars_cap, path, v);
        v = v->object->state;
    }
    if (!v || v->kind != TERN_PY_DICT || depth > 1) return;
    for (size_t i = 0; i < v->dict.count; i++) {
        const tern_py *key = v->dict.items[i].key, *value = v->dict.items[i].value;
        if (is_group(key) || (key->kind == TERN_PY_STR && depth && key->text.data[0] == '_')) continue;
        join(name, sizeof name, path, key, i);
        if (is_scalar(value) || is_list_of_scalars(value))
            add_named(&f->scalars, &f->n_scalars, &f->scalars_cap, name, value);
        else
            collect_scalars(f, name, value, depth + 1);
    }
}

static void release_facts(facts *f) {
    for (size_t i = 0; i < f->n_tensors; i++) tn_free(f->tensors[i].name);
    for (size_t i = 0; i < f->n_scalars; i++) tn_free(f->scalars[i].name);
    tn_free(f->tensors);
    tn_free(f->scalars);
    tn_free(f->seen);
    tn_map_release(&f->storages);
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

static void value_text(tn_text *t, const tern_py *v) {
    switch (v->kind) {
    case TERN_PY_NONE:
        tn_text_add(t, "None");
        break;
    case TERN_PY_BOOL:
        tn_text_add(t, "%s", v->boolean ? "True" : "False");
        break;
    case TERN_PY_INT:
        tn_text_add(t, "%" PRId64, v->integer);
        break;
    case TERN_PY_FLOAT:
        tn_text_add(t, "%.9g", v->real);
        break;
    case TERN_PY_STR:
        tn_text_add(t, "'%.200s'", v->text.data);
        break;
    case TERN_PY_OBJECT:
        tn_text_add(t, "%s.%s", v->object->module, v->object->name);
        break;
    case TERN_PY_LIST:
    case TERN_PY_TUPLE:
        tn_text_add(t, "[");
        for (size_t i = 0; i < v->seq.count; i++) {
            if (i) tn_text_add(t, ", ");
            if (t->len > 400) {
                tn_text_add(t, "... %zu in all", v->seq.count);
                break;
            }
            value_text(t, v->seq.items[i]);
        }
        tn_text_add(t, "]");
        break;
    default:
        tn_text_add(t, "%s", tern_py_kind_name(v->kind));
    }
}

// One line, whatever bytes the file has.
static void print_line(const char *label, char *text) {
    tn_utf8_clean_line(text);
    printf("%-12s%s\n", label, text);
}

static void print_pairs(const char *label, const named *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tn_text t;
        tn_text_init(&t);
        tn_text_add(&t, "%s = ", list[i].name);
        value_text(&t, list[i].value);
        if (t.failed) cli_must(NULL);
        print_line(i ? "" : label, t.data);
        tn_text_release(&t);
    }
}

static void print_tensor(const char *label, const named *n) {
    const tern_py_tensor *t = n->value->tensor;
    char text[1000], dims[300] = "scalar";
    size_t len = 0;
    for (int i = 0; i < t->rank && len < sizeof dims; i++)
        len += (size_t)snprintf(dims + len, sizeof dims - len, "%s%" PRId64, i ? "x" : "", t->dims[i]);
    snprintf(text, sizeof text, "%s %s %s", *n->name ? n->name : "(top)", tern_dtype_name(t->dtype), dims);
    print_line(label, text);
}

static void print_checkpoint(const char *path, const tern_ckpt *ckpt, const facts *f) {
    char text[1400];
    snprintf(text, sizeof text, "%.1000s", path);
    print_line("checkpoint", text);
    printf("%-12s%s\n", "format", tern_ckpt_format_name(tern_ckpt_get_format(ckpt)));
    for (size_t i = 0; i < tern_ckpt_name_count(ckpt); i++) {
        const tern_ckpt_name *n = tern_ckpt_name_at(ckpt, i);
        snprintf(text, sizeof text, "%s.%s%s", n->module, n->name,
                 n->on_allow_list ? "" : "   (not on the allow-list)");
        print_line(i ? "" : "classes", text);
    }
    print_pairs("values", f->scalars, f->n_scalars);
    const tern_py *meta = tern_ckpt_metadata(ckpt);
    for (size_t i = 0; meta && i < meta->dict.count; i++) {
        snprintf(text, sizeof text, "%.200s = %.400s", meta->dict.items[i].key->text.data,
                 meta->dict.items[i].value->text.data);
        print_line(i ? "" : "metadata", text);
    }
    printf("%-12s%" PRId64 " in %zu tensors, %.0f bytes\n", "parameters", f->parameters, f->n_tensors, f->bytes);
    for (size_t i = 0; i < f->n_tensors; i++) print_tensor(i ? "" : "tensors", &f->tensors[i]);
    for (size_t i = 0; i < tern_ckpt_warning_count(ckpt); i++)
        printf("%-12s%s\n", i ? "" : "warnings", tern_ckpt_warning(ckpt, i));
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void json_value(cJSON *parent, const char *key, const tern_py *v) {
    char text[1100];
    switch (v->kind) {
    case TERN_PY_BOOL:
        cli_json_bool(parent, key, v->boolean);
        break;
    case TERN_PY_INT:
        cli_json_int(parent, key, v->integer);
        break;
    case TERN_PY_FLOAT:
        cli_json_double(parent, key, v->real);
        break;
    case TERN_PY_STR:
        cli_json_string(parent, key, v->text.data);
        break;
    case TERN_PY_LIST:
    case TERN_PY_TUPLE: {
        cJSON *array = cli_json_array(parent, key);
        for (size_t i = 0; i < v->seq.count; i++) json_value(array, NULL, v->seq.items[i]);
        break;
    }
    case TERN_PY_OBJECT:
        snprintf(text, sizeof text, "%s.%s", v->object->module, v->object->name);
        cli_json_string(parent, key, text);
        break;
    default:
        cli_json_null(parent, key);
    }
}

static void json_tensors(cJSON *root, const facts *f) {
    cJSON *list = cli_json_array(root, "tensors");
    for (size_t i = 0; i < f->n_tensors; i++) {
        const tern_py_tensor *t = f->tensors[i].value->tensor;
        cJSON *o = cli_json_object(list, NULL);
        cli_json_string(o, "name", f->tensors[i].name);
        cli_json_string(o, "dtype", tern_dtype_name(t->dtype));
        cJSON *shape = cli_json_array(o, "shape");
        for (int d = 0; d < t->rank; d++) cli_json_int(shape, NULL, t->dims[d]);
        cli_json_bool(o, "parameter", t->parameter);
    }
}

static void json_checkpoint(const char *path, const tern_ckpt *ckpt, const facts *f) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_string(root, "file", path);
    cli_json_string(root, "format", tern_ckpt_format_name(tern_ckpt_get_format(ckpt)));
    cJSON *list = cli_json_array(root, "classes");
    for (size_t i = 0; i < tern_ckpt_name_count(ckpt); i++) {
        const tern_ckpt_name *n = tern_ckpt_name_at(ckpt, i);
        cJSON *o = cli_json_object(list, NULL);
        cli_json_string(o, "module", n->module);
        cli_json_string(o, "name", n->name);
        cli_json_bool(o, "on_allow_list", n->on_allow_list);
    }
    cJSON *values = cli_json_object(root, "values");
    for (size_t i = 0; i < f->n_scalars; i++) json_value(values, f->scalars[i].name, f->scalars[i].value);
    const tern_py *meta = tern_ckpt_metadata(ckpt);
    cJSON *metadata = cli_json_object(root, "metadata");
    for (size_t i = 0; meta && i < meta->dict.count; i++)
        cli_json_string(metadata, meta->dict.items[i].key->text.data, meta->dict.items[i].value->text.data);
    cli_json_int(root, "parameters", f->parameters);
    cli_json_double(root, "bytes", f->bytes);
    json_tensors(root, f);
    cJSON *warnings = cli_json_array(root, "warnings");
    for (size_t i = 0; i < tern_ckpt_warning_count(ckpt); i++)
        cli_json_string(warnings, NULL, tern_ckpt_warning(ckpt, i));
    cli_json_print(root);
}

int cli_inspect_checkpoint(const char *path, bool json) {
    tern_ckpt *ckpt;
    tern_error err;
    if (tern_ckpt_open(&ckpt, path, NULL, &err) != TERN_OK) return cli_fail(&err);
    facts f = {.seen = cli_must(tn_calloc(tern_ckpt_value_count(ckpt) + 1, 1))};
    collect_tensors(&f, "", tern_ckpt_root(ckpt));
    collect_scalars(&f, "", tern_ckpt_root(ckpt), 0);
    if (json)
        json_checkpoint(path, ckpt, &f);
    else
        print_checkpoint(path, ckpt, &f);
    release_facts(&f);
    tern_ckpt_free(ckpt);
    return CLI_OK;
}
