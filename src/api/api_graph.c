/* tern/graph.h: the public door to the IR. A tern_graph is a model that is not finished yet. */
#include "tern/graph.h"

#include "graph/graph.h"
#include "onnx/onnx.h"
#include "ops/ops.h"
#include "opt/opt.h"

struct tern_graph {
    tern_model *model; // NULL once finished
};

/* Values that inference computes on the way may have this many bytes: shapes, not weights. */
#define MAX_VALUE_BYTES 4096

static tern_status usable(const tern_graph *g, const void *more, const char *function, tern_error *err) {
    if (g && g->model && more) return TERN_OK;
    return tn_fail(err, TERN_INVALID_ARGUMENT, "%s needs a graph that is not finished, and what to add", function);
}

/* The IR version that came with an opset: what readers of that time accept. */
static int64_t ir_version_of(int opset) {
    static const struct {
        int opset, ir;
    } steps[] = {{25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8}, {12, 7}, {11, 6}, {10, 5}};
    for (size_t i = 0; i < TN_COUNT(steps); i++) {
        if (opset >= steps[i].opset) return steps[i].ir;
    }
    return 4;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static tern_status add_opset(tern_model *m, const char *domain, int version, tern_error *err) {
    tn_opset_import *more = tn_arena_array(&m->arena, m->n_opsets + 1, sizeof *more);
    char *copy = tn_arena_strndup(&m->arena, domain, strlen(domain));
    if (!more || !copy) return tn_fail_oom(err, sizeof *more);
    if (m->n_opsets) memcpy(more, m->opsets, m->n_opsets * sizeof *more);
    more[m->n_opsets++] = (tn_opset_import){copy, version};
    m->opsets = more;
    return TERN_OK;
}

tern_status tern_graph_create(tern_graph **out, const char *name, int opset, tern_error *err) {
    if (!out || !name) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_graph_create needs a place and a name");
    *out = NULL;
    int newest = tn_op_newest_opset("");
    if (opset < 1 || opset > newest) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "opset %d is not one of 1 to %d", opset, newest);
    }
    tern_graph *g = tn_calloc(1, sizeof *g);
    if (g) g->model = tn_model_new();
    if (g && g->model) g->model->graph = tn_graph_new(g->model, NULL, name);
    if (!g || !g->model || !g->model->graph) {
        tern_graph_free(g);
        return tn_fail_oom(err, sizeof *g);
    }
    g->model->ir_version = ir_version_of(opset);
    tern_status status = add_opset(g->model, "", opset, err);
    if (status != TERN_OK) {
        tern_graph_free(g);
        return status;
    }
    *out = g;
    return TERN_OK;
}

void tern_graph_free(tern_graph *graph) {
    if (!graph) return;
    tn_model_free(graph->model);
    tn_free(graph);
}

typedef struct domain_query {
    const char *domain;
    bool found;
} domain_query;

static void match_domain(void *context, const tern_op *op) {
    domain_query *q = context;
    q->found |= strcmp(op->domain, q->domain) == 0;
}

static bool is_custom_domain(const char *domain) {
    domain_query q = {domain, false};
    tn_custom_visit(match_domain, &q);
    return q.found;
}

tern_status tern_graph_import(tern_graph *graph, const char *domain, int version, tern_error *err) {
    TN_TRY(usable(graph, domain, "tern_graph_import", err));
    int newest = tn_op_newest_opset(domain);
    if (newest == 0 && is_custom_domain(domain)) newest = INT32_MAX;
    if (newest == 0) {
        return tn_fail(err, TERN_UNSUPPORTED, "the domain '%s' is not known; its operators are registered first",
                       domain);
    }
    if (version < 1 || version > newest) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "version %d of '%s' is not one of 1 to %d", version, domain, newest);
    }
    return add_opset(graph->model, domain, version, err);
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static tern_status type_of_info(tern_model *m, const tern_value_info *info, tn_type *out, tern_error *err) {
    *out = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = info->dtype};
    if (info->kind != TERN_KIND_TENSOR) {
        return tn_fail(err, TERN_UNSUPPORTED, "'%s' is no tensor: graphs are built of tensors", info->name);
    }
    if (info->rank < 0) return TERN_OK;
    if (info->rank > TERN_MAX_RANK) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "'%s' has rank %d; at most %d is possible", info->name, info->rank,
                       TERN_MAX_RANK);
    }
    out->ranked = true;
    out->shape.rank = info->rank;
    for (int i = 0; i < info->rank; i++) {
        bool free_dim = info->dims[i] < 0;
        const char *name = info->dim_names[i];
        out->shape.dims[i] = !free_dim ? info->dims[i] : name ? tn_model_symbol(m, name) : TN_DIM_UNKNOWN;
    }
    return TERN_OK;
}

/* A value that is about to get its origin: it may have been read, but must have no other origin. */
static tern_status new_origin(tern_model *m, const char *name, tn_value **out, tern_error *err) {
    if (!name || !*name) return tn_fail(err, TERN_INVALID_ARGUMENT, "a value needs a name");
    tn_value *v = *out = tn_graph_value(m->graph, name);
    if (!v) return tn_fail_oom(err, sizeof *v);
    if (v->constant || v->is_input || v->producer) {
        return tn_fail(err, TERN_INVALID_MODEL, "there are two values called '%s'", name);
    }
    return TERN_OK;
}

tern_status tern_graph_input(tern_graph *graph, const tern_value_info *info, tern_error *err) {
    TN_TRY(usable(graph, info, "tern_graph_input", err));
    tn_value *v;
    TN_TRY(new_origin(graph->model, info->name, &v, err));
    if (!tn_dtype_valid((int)info->dtype) || info->rank < 0) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' needs a type and a rank", info->name);
    }
    TN_TRY(type_of_info(graph->model, info, &v->type, err));
    return tn_graph_add_input(graph->model->graph, v, err);
}

tern_status tern_graph_constant(tern_graph *graph, const char *name, tern_tensor *tensor, tern_error *err) {
    TN_TRY(usable(graph, tensor, "tern_graph_constant", err));
    tn_value *v;
    TN_TRY(new_origin(graph->model, name, &v, err));
    if (tensor->kind != TERN_KIND_TENSOR || tensor->block) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "constant '%s' is no plain tensor", name);
    }
    TN_TRY(tn_model_own_tensor(graph->model, tn_tensor_ref(tensor), err));
    v->constant = tensor;
    v->type = tn_type_of_tensor(tensor);
    return TERN_OK;
}

tern_status tern_graph_output(tern_graph *graph, const tern_value_info *info, tern_error *err) {
    TN_TRY(usable(graph, info, "tern_graph_output", err));
    if (!info->name || !*info->name) return tn_fail(err, TERN_INVALID_ARGUMENT, "an output needs a name");
    tn_value *v = tn_graph_value(graph->model->graph, info->name);
    if (!v) return tn_fail_oom(err, sizeof *v);
    if (!v->is_input && !v->constant) TN_TRY(type_of_info(graph->model, info, &v->type, err));
    return tn_graph_add_output(graph->model->graph, v, err);
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static void *copy_array(tern_model *m, const void *data, size_t count, size_t size) {
    void *copy = tn_arena_array(&m->arena, count, size);
    if (copy && count) memcpy(copy, data, count * size);
    return copy;
}

static bool copy_string(tern_model *m, const char *s, tn_str *out) {
    if (!s) s = "";
    *out = (tn_str){tn_arena_strndup(&m->arena, s, strlen(s)), strlen(s)};
    return out->data != NULL;
}

static bool copy_strings(tern_model *m, const tern_attr *from, tn_attr *to) {
    tn_str *list = tn_arena_array(&m->arena, from->count, sizeof *list);
    for (size_t i = 0; list && i < from->count; i++) {
        if (!copy_string(m, from->strings[i], &list[i])) return false;
    }
    to->strings = list;
    return list != NULL;
}

static tern_status add_attr(tern_model *m, tn_node *n, const tern_attr *from, tern_error *err) {
    if (!from->name) return tn_fail(err, TERN_INVALID_ARGUMENT, "an attribute of %s has no name", n->op_type);
    bool list = from->type >= TERN_ATTR_FLOATS;
    if (list && from->count && !from->ints) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "attribute '%s' of %s has no elements", from->name, n->op_type);
    }
    tn_attr *to = tn_node_add_attr(n, from->name, (tn_attr_type)from->type);
    if (!to) return tn_fail_oom(err, sizeof *to);
    to->count = list ? from->count : 1;
    bool copied = true;
    switch (from->type) {
    case TERN_ATTR_FLOAT:
        to->f = from->f;
        break;
    case TERN_ATTR_INT:
        to->i = from->i;
        break;
    case TERN_ATTR_STRING:
        copied = copy_string(m, from->s, &to->s);
        break;
    case TERN_ATTR_TENSOR:
        if (!from->t) return tn_fail(err, TERN_INVALID_ARGUMENT, "attribute '%s' has no tensor", from->name);
        TN_TRY(tn_model_own_tensor(m, tn_tensor_ref(from->t), err));
        to->t = from->t;
        break;
    case TERN_ATTR_FLOATS:
        copied = (to->floats = copy_array(m, from->floats, from->count, sizeof *from->floats)) != NULL;
        break;
    case TERN_ATTR_INTS:
        copied = (to->ints = copy_array(m, from->ints, from->count, sizeof *from->ints)) != NULL;
        break;
    case TERN_ATTR_STRINGS:
        copied = copy_strings(m, from, to);
        break;
    default:
        return tn_fail(err, TERN_INVALID_ARGUMENT, "attribute '%s' has no type %d", from->name, (int)from->type);
    }
    return copied ? TERN_OK : tn_fail_oom(err, from->count);
}

static int opset_of(const tern_model *m, const char *domain) {
    for (size_t i = 0; i < m->n_opsets; i++) {
        if (strcmp(m->opsets[i].domain, domain) == 0) return m->opsets[i].version;
    }
    return 0;
}

/* Inputs that are named become values, known or not yet; outputs must be new. */
static tern_status connect(tern_model *m, tn_node *n, const tern_node_info *info, tern_error *err) {
    for (size_t i = 0; i < info->n_inputs; i++) {
        const char *name = info->inputs[i];
        if (!name || !*name) continue;
        if (!(n->in[i] = tn_graph_value(m->graph, name))) return tn_fail_oom(err, sizeof **n->in);
    }
    for (size_t i = 0; i < info->n_outputs; i++) {
        const char *name = info->outputs[i];
        if (!name || !*name) continue;
        TN_TRY(new_origin(m, name, &n->out[i], err));
        n->out[i]->producer = n;
    }
    return TERN_OK;
}

tern_status tern_graph_node(tern_graph *graph, const tern_node_info *info, tern_error *err) {
    TN_TRY(usable(graph, info, "tern_graph_node", err));
    tern_model *m = graph->model;
    const char *domain = info->domain ? info->domain : "";
    if (!info->op_type || (info->n_inputs && !info->inputs) || (info->n_outputs && !info->outputs) ||
        (info->n_attrs && !info->attrs) || info->n_inputs > INT32_MAX || info->n_outputs > INT32_MAX) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_graph_node needs an operator, inputs and outputs");
    }
    int opset = opset_of(m, domain);
    if (!opset) return tn_fail(err, TERN_INVALID_ARGUMENT, "the graph does not import the domain '%s'", domain);
    tn_node *n = tn_graph_add_node(m->graph, domain, info->op_type, opset, (int)info->n_inputs, (int)info->n_outputs);
    if (!n) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "no memory for another node, or more than %lld of them",
                       (long long)m->limits.max_nodes);
    }
    if (info->name) n->name = tn_arena_strndup(&m->arena, info->name, strlen(info->name));
    if (!n->name) return tn_fail_oom(err, strlen(info->name));
    TN_TRY(connect(m, n, info, err));
    for (size_t i = 0; i < info->n_attrs; i++) TN_TRY(add_attr(m, n, &info->attrs[i], err));
    return TERN_OK;
}

/* ---- about the model ------------------------------------------------------------------------------------------- */

tern_status tern_graph_metadata(tern_graph *graph, const char *key, const char *value, tern_error *err) {
    TN_TRY(usable(graph, key && value ? key : NULL, "tern_graph_metadata", err));
    tern_model *m = graph->model;
    tn_property p = {tn_arena_strndup(&m->arena, key, strlen(key)), tn_arena_strndup(&m->arena, value, strlen(value))};
    if (!p.key || !p.value) return tn_fail_oom(err, strlen(value));
    for (size_t i = 0; i < m->n_metadata; i++) {
        if (strcmp(m->metadata[i].key, key) != 0) continue;
        m->metadata[i] = p;
        return TERN_OK;
    }
    tn_property *more = tn_arena_array(&m->arena, m->n_metadata + 1, sizeof *more);
    if (!more) return tn_fail_oom(err, sizeof *more);
    if (m->n_metadata) memcpy(more, m->metadata, m->n_metadata * sizeof *more);
    more[m->n_metadata++] = p;
    m->metadata = more;
    return TERN_OK;
}

tern_status tern_graph_producer(tern_graph *graph, const char *name, const char *version, tern_error *err) {
    TN_TRY(usable(graph, name, "tern_graph_producer", err));
    tern_model *m = graph->model;
    if (!version) version = "";
    m->producer_name = tn_arena_strndup(&m->arena, name, strlen(name));
    m->producer_version = tn_arena_strndup(&m->arena, version, strlen(version));
    return m->producer_name && m->producer_version ? TERN_OK : tn_fail_oom(err, strlen(name));
}

/* ---- finish ---------------------------------------------------------------------------------------------------- */

/* What inference found is what holds; names that the caller gave to dims stay where it found no number. */
static void take_type(tn_value *v, const tn_type *found) {
    tn_type said = v->type;
    if (found->kind != TERN_KIND_TENSOR || found->dtype == TERN_UNDEFINED) return;
    v->type = *found;
    if (!said.ranked) return;
    if (!found->ranked) {
        v->type.ranked = true;
        v->type.shape = said.shape;
        return;
    }
    for (int i = 0; i < found->shape.rank && said.shape.rank == found->shape.rank; i++) {
        if (!tn_dim_known(found->shape.dims[i])) v->type.shape.dims[i] = said.shape.dims[i];
    }
}

/* `from`: the model itself, or a copy in which operators are expanded. */
static tern_status infer_outputs(tern_model *m, tern_model *from, tern_error *err) {
    tn_infer_env env;
    TN_TRY(tn_infer_env_init(&env, from, from->graph, NULL, &from->arena, true, err));
    env.max_value_bytes = MAX_VALUE_BYTES;
    tern_status status = tn_infer_env_graph(&env, err);
    for (int i = 0; status == TERN_OK && i < m->graph->n_outputs; i++) {
        tn_value *v = m->graph->outputs[i];
        tn_type *t = &env.types[from->graph->outputs[i]->id];
        for (int d = 0; t->ranked && d < t->shape.rank; d++) /* symbols of the copy alone */
            if (tn_dim_is_symbol(t->shape.dims[d]) && tn_dim_symbol_index(t->shape.dims[d]) >= m->n_symbols)
                t->shape.dims[d] = TN_DIM_UNKNOWN;
        if (!v->is_input && !v->constant) take_type(v, t);
    }
    tn_infer_env_release(&env);
    return status;
}

/* Operators that are given as others have no inference of their own; the model keeps them as they are. */
static bool has_expanded_operators(const tern_model *m) {
    for (const tn_graph *g = m->all_graphs; g; g = g->next)
        for (int i = 0; i < g->n_nodes; i++)
            if (g->nodes[i]->op && g->nodes[i]->op->expand) return true;
    return false;
}

static tern_status infer_on_copy(tern_model *m, tern_error *err) {
    tern_model *copy;
    TN_TRY(tn_opt_clone(&copy, m, err));
    tern_status s = tn_op_expand_model(copy, err);
    if (s == TERN_OK) s = tn_op_resolve_graph(copy->graph, err);
    if (s == TERN_OK) s = infer_outputs(m, copy, err);
    tn_model_free(copy);
    return s;
}

tern_status tern_graph_finish(tern_graph *graph, tern_model **out, tern_error *err) {
    TN_TRY(usable(graph, out, "tern_graph_finish", err));
    *out = NULL;
    tern_model *m = graph->model;
    if (m->graph->n_outputs == 0) return tn_fail(err, TERN_INVALID_MODEL, "the graph has no output");
    TN_TRY(tn_graph_finish(m->graph, err));
    TN_TRY(tn_op_resolve_graph(m->graph, err));
    TN_TRY(has_expanded_operators(m) ? infer_on_copy(m, err) : infer_outputs(m, m, err));
    *out = m;
    graph->model = NULL;
    return TERN_OK;
}

tern_status tern_model_save(const tern_model *model, const char *path, tern_error *err) {
    if (!model || !path) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_model_save needs a model and a path");
    return tn_onnx_write_model(model, path, false, err);
}
