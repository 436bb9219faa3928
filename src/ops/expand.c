#include "ops/expand.h"

#include <stdio.h>

tn_value *tn_expand_in(const tn_expand *x, int i) { return i < x->node->n_in ? x->node->in[i] : NULL; }

bool tn_expand_wants(const tn_expand *x, int o) { return o < x->node->n_out && x->node->out[o]; }

static void *no_memory(tn_expand *x) {
    const tern_model *m = x->node->graph->model;
    if (x->status == TERN_OK && (int64_t)m->n_nodes_total >= m->limits.max_nodes)
        x->status =
            tn_fail(x->err, TERN_LIMIT_EXCEEDED, "the model has more than %lld nodes", (long long)m->limits.max_nodes);
    if (x->status == TERN_OK) x->status = tn_fail_oom(x->err, sizeof(tn_node));
    x->last = NULL;
    return NULL;
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

tn_value *tn_expand_node(tn_expand *x, const char *domain, const char *op_type, int opset, int n_in,
                         tn_value *const *in, int n_out) {
    if (x->status != TERN_OK) return NULL;
    while (n_in > 0 && !in[n_in - 1]) n_in--;
    tn_graph *g = x->node->graph;
    tn_node *n = tn_graph_add_node(g, domain, op_type, opset, n_in, n_out);
    if (!n) return no_memory(x);
    n->name = x->tag;
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    for (int o = 0; o < n_out; o++)
        if (!(n->out[o] = tn_graph_new_value(g, x->tag))) return no_memory(x);
    x->last = n;
    return n_out ? n->out[0] : NULL;
}

tn_value *tn_expand_op(tn_expand *x, const char *op_type, int n_in, tn_value *const *in) {
    return tn_expand_node(x, "", op_type, TN_EXPAND_OPSET, n_in, in, 1);
}

tn_value *tn_expand_result(const tn_expand *x, int o) {
    return x->status == TERN_OK && x->last && o < x->last->n_out ? x->last->out[o] : NULL;
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

static tn_attr *add_attr(tn_expand *x, const char *name, tn_attr_type type) {
    if (x->status != TERN_OK || !x->last) return NULL;
    tn_attr *a = tn_node_add_attr(x->last, name, type);
    if (!a) return no_memory(x);
    a->count = 1;
    return a;
}

void tn_expand_i(tn_expand *x, const char *name, int64_t value) {
    tn_attr *a = add_attr(x, name, TN_ATTR_INT);
    if (a) a->i = value;
}

void tn_expand_f(tn_expand *x, const char *name, float value) {
    tn_attr *a = add_attr(x, name, TN_ATTR_FLOAT);
    if (a) a->f = value;
}

void tn_expand_s(tn_expand *x, const char *name, const char *literal) {
    tn_attr *a = add_attr(x, name, TN_ATTR_STRING);
    if (a) a->s = tn_str_c(literal);
}

void tn_expand_ints(tn_expand *x, const char *name, const int64_t *values, size_t count) {
    tn_attr *a = add_attr(x, name, TN_ATTR_INTS);
    if (!a) return;
    int64_t *copy = tn_arena_array(&x->node->graph->model->arena, count + 1, sizeof *copy);
    if (!copy) {
        no_memory(x);
        return;
    }
    memcpy(copy, values, count * sizeof *copy);
    a->ints = copy;
    a->count = count;
}

void tn_expand_copy_as(tn_expand *x, const char *name, const char *new_name) {
    const tn_attr *from = tn_attr_find(x->node, name);
    tn_attr *a = from ? add_attr(x, new_name, from->type) : NULL;
    if (!a) return;
    const char *own = a->name;
    *a = *from;
    a->name = own;
}

void tn_expand_copy(tn_expand *x, const char *name) { tn_expand_copy_as(x, name, name); }

/* ---- constants ------------------------------------------------------------------------------------------------- */

static tn_value *constant(tn_expand *x, tern_dtype dtype, const tn_shape *shape, const void *data) {
    if (x->status != TERN_OK) return NULL;
    tn_graph *g = x->node->graph;
    tern_tensor *t;
    if ((x->status = tn_tensor_new(&t, dtype, shape, x->err)) != TERN_OK) return NULL;
    if (tn_tensor_bytes(t)) memcpy(t->data, data, tn_tensor_bytes(t));
    if ((x->status = tn_model_own_tensor(g->model, t, x->err)) != TERN_OK) return NULL;
    tn_value *v = tn_graph_new_value(g, x->tag);
    if (!v) return no_memory(x);
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    return v;
}

tn_value *tn_expand_const_f(tn_expand *x, float value) {
    tn_shape scalar = tn_shape_of(0, NULL);
    return constant(x, TERN_FLOAT, &scalar, &value);
}

tn_value *tn_expand_const_i32(tn_expand *x, int32_t value) {
    tn_shape scalar = tn_shape_of(0, NULL);
    return constant(x, TERN_INT32, &scalar, &value);
}

tn_value *tn_expand_const_ints(tn_expand *x, const int64_t *values, int count) {
    int64_t n = count;
    tn_shape list = tn_shape_of(1, &n);
    return constant(x, TERN_INT64, &list, values);
}

tn_value *tn_expand_const_like(tn_expand *x, float value, tn_value *like) {
    return tn_expand_op(x, "CastLike", TN_EXPAND_IN(tn_expand_const_f(x, value), like));
}

/* ---- outputs --------------------------------------------------------------------------------------------------- */

/* The new node that makes v writes the replaced node's output instead. */
static bool move_output(tn_expand *x, tn_value *v, tn_value *out) {
    tn_graph *g = x->node->graph;
    bool found = false;
    for (int i = x->first; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] == v) {
                n->out[k] = out;
                found = true;
            }
    }
    for (int i = x->first; found && i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] == v) n->in[k] = out;
    }
    return found;
}

tern_status tn_expand_out(tn_expand *x, int o, tn_value *v) {
    if (x->status != TERN_OK || !tn_expand_wants(x, o)) return x->status;
    tn_value *out = x->node->out[o];
    x->node->out[o] = NULL;
    if (!move_output(x, v, out)) {
        tn_expand_op(x, "Identity", TN_EXPAND_IN(v));
        if (x->status == TERN_OK) x->last->out[0] = out;
    }
    return x->status;
}

tern_status tn_expand_fail(tn_expand *x, tern_status status, const char *format, ...) {
    char text[400], where[TN_NODE_TEXT];
    if (x->status != TERN_OK) return x->status;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return x->status = tn_fail(x->err, status, "%s: %s", tn_node_text(x->node, where, sizeof where), text);
}

tern_status tn_expand_need(tn_expand *x, int i, const char *what) {
    if (x->status != TERN_OK || tn_expand_in(x, i)) return x->status;
    return tn_expand_fail(x, TERN_INVALID_MODEL, "input %d, %s, is required but absent", i, what);
}

/* ---- the driver ------------------------------------------------------------------------------------------------ */

/* "conv1 of QLinearAdd": what errors about new nodes say. */
static const char *tag_of(const tn_node *n) {
    char text[200];
    const char *name = n->name;
    for (int i = 0; !*name && i < n->n_out; i++)
        if (n->out[i]) name = n->out[i]->name;
    int len = snprintf(text, sizeof text, "%.100s/%.60s", name, n->op_type);
    return tn_arena_strndup(&n->graph->model->arena, text, TN_MIN((size_t)TN_MAX(len, 0), sizeof text - 1));
}

static tern_status expand_node(tn_node *node, const tn_op *op, tern_error *err) {
    TN_TRY(tn_op_resolve(node, err)); /* counts and attributes */
    tn_expand x = {.node = node, .first = node->graph->n_nodes, .tag = tag_of(node), .err = err};
    if (!x.tag) return tn_fail_oom(err, 200);
    TN_TRY(op->expand(&x));
    if (x.status != TERN_OK) return x.status;
    for (int i = 0; i < node->n_in; i++) node->in[i] = NULL;
    for (int o = 0; o < node->n_out; o++) {
        if (!node->out[o]) continue;
        if (node->out[o]->n_uses) return tn_expand_fail(&x, TERN_UNSUPPORTED, "output %d can not be computed", o);
        node->out[o] = NULL;
    }
    return TERN_OK;
}

tern_status tn_op_expand_model(tern_model *m, tern_error *err) {
    bool any = false;
    for (tn_graph *g = m->all_graphs; g; g = g->next) /* New nodes come behind, and may be such operators themselves. */
        for (int i = 0; i < g->n_nodes; i++) {
            tn_node *n = g->nodes[i];
            const tn_op_row *row = *n->domain ? tn_op_find(n->domain, n->op_type, n->opset) : NULL;
            if (!row || !row->op->expand) continue;
            TN_TRY(expand_node(n, row->op, err));
            any = true;
        }
    return any ? tn_graph_finish(m->graph, err) : TERN_OK;
}
