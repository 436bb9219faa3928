#include "opt/opt.h"

/* Nodes that pass their input through. */

tern_status tn_pass_identity(tn_opt *o);

static bool same_type(const tn_value *a, const tn_value *b) {
    return a->type.kind == TERN_KIND_TENSOR && b->type.kind == TERN_KIND_TENSOR && a->type.dtype != TERN_UNDEFINED &&
           a->type.dtype == b->type.dtype;
}

static bool only_first_output(const tn_node *n) {
    for (int i = 1; i < n->n_out; i++)
        if (n->out[i] && n->out[i]->n_uses > 0) return false;
    return true;
}

static bool is_training_dropout(const tn_node *n) {
    if (n->since < 7) return tn_attr_i(n, "is_test", 0) == 0;
    return n->since >= 12 && n->n_in > 2 && n->in[2];
}

static bool is_identity_perm(const tn_node *n) {
    size_t count;
    const int64_t *perm = tn_attr_ints(n, "perm", &count);
    if (!perm) return n->in[0]->type.ranked && n->in[0]->type.shape.rank <= 1;
    for (size_t i = 0; i < count; i++)
        if (perm[i] != (int64_t)i) return false;
    return true;
}

/* A Pad that adds nothing. */
static bool is_empty_pad(const tn_node *n) {
    if (n->since >= 11) {
        const tern_tensor *t = n->n_in > 1 ? tn_opt_const(n->in[1]) : NULL;
        if (!t || t->dtype != TERN_INT64) return false;
        for (int64_t i = 0; i < tn_shape_count(&t->shape); i++)
            if (((const int64_t *)t->data)[i]) return false;
        return true;
    }
    size_t count;
    const int64_t *pads = tn_attr_ints(n, n->since == 1 ? "paddings" : "pads", &count);
    for (size_t i = 0; i < count; i++)
        if (pads[i]) return false;
    return count > 0;
}

static bool passes_through(const tn_node *n) {
    if (n->n_in < 1 || !n->in[0] || n->n_out < 1 || !n->out[0] || *n->domain) return false;
    const char *t = n->op_type;
    if (strcmp(t, "Identity") == 0) return true;
    if (strcmp(t, "Dropout") == 0) return only_first_output(n) && !is_training_dropout(n);
    if (strcmp(t, "Cast") == 0) return same_type(n->in[0], n->out[0]);
    if (strcmp(t, "Transpose") == 0) return is_identity_perm(n);
    if (strcmp(t, "Pad") == 0) return is_empty_pad(n);
    if (strcmp(t, "Concat") == 0 || strcmp(t, "Sum") == 0 || strcmp(t, "Max") == 0 || strcmp(t, "Min") == 0)
        return n->n_in == 1;
    return false;
}

/* The value that stands for v once the chain of passing nodes behind it is gone. */
static tn_value *source(tn_value *v) {
    while (v->producer && passes_through(v->producer) && v->producer->out[0] == v) v = v->producer->in[0];
    return v;
}

static bool is_graph_output(const tn_graph *g, const tn_value *v) {
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == v) return true;
    return false;
}

static void read_from_sources(const tn_graph *g) {
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) n->in[k] = source(n->in[k]);
        /* Captures stay: subgraphs refer to the value by name, and tn_graph_finish keeps its producer. */
    }
}

/* A graph output keeps its name: where its producer has a single reader, that producer writes it directly. */
static void move_outputs_up(tn_opt *o) {
    for (int i = 0; i < o->graph->n_outputs; i++) {
        tn_value *out = o->graph->outputs[i];
        tn_node *pass = out->producer;
        if (!pass || !passes_through(pass) || pass->out[0] != out) continue;
        tn_value *v = pass->in[0];
        tn_node *p = v->producer;
        if (!p || v->n_uses != 1 || is_graph_output(o->graph, v) || v->type.kind != TERN_KIND_TENSOR) continue;
        for (int k = 0; k < p->n_out; k++)
            if (p->out[k] == v) p->out[k] = out;
        tn_opt_remove(pass);
        out->producer = p;
    }
}

tern_status tn_pass_identity(tn_opt *o) {
    read_from_sources(o->graph);
    TN_TRY(tn_graph_finish(o->graph, o->err));
    move_outputs_up(o);
    return TERN_OK;
}
