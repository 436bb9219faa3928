#include "opt/opt.h"

/* Concat(a, b, c) where there is a Concat(a, b) becomes Concat(that, c): DenseNet's blocks, written out by exporters as
 * ever longer lists, become a chain in which each appends to the one before. The memory plan then copies nothing. */

tern_status tn_pass_concat(tn_opt *o);

static bool is_prefix(const tn_node *a, const tn_node *b) {
    if (a->n_in >= b->n_in || a->n_in < 2) return false;
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i] != b->in[i]) return false;
    return tn_attr_i(a, "axis", 1) == tn_attr_i(b, "axis", 1) && a->out[0]->type.kind == TERN_KIND_TENSOR;
}

static void share_prefix(const tn_node *a, tn_node *b) {
    b->in[0] = a->out[0];
    for (int i = a->n_in; i < b->n_in; i++) b->in[i - a->n_in + 1] = b->in[i];
    b->n_in -= a->n_in - 1;
}

tern_status tn_pass_concat(tn_opt *o) {
    tn_graph *g = o->graph;
    tn_node **latest = tn_arena_array(&o->scratch, (size_t)g->n_values + 1, sizeof(tn_node *)); /* by first input */
    tn_node **before = tn_arena_array(&o->scratch, (size_t)g->n_nodes + 1, sizeof(tn_node *));  /* by position */
    if (!latest || !before) return tn_fail_oom(o->err, (size_t)g->n_values * sizeof(tn_node *));
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        if (!tn_opt_is(n, "", "Concat") || n->since < 4 || n->n_in < 2 || !n->in[0] || !n->out[0]) continue;
        before[i] = latest[n->in[0]->id];
        latest[n->in[0]->id] = n;
    }
    /* From the last one on: what a list is compared with has not been shortened yet. */
    for (int i = g->n_nodes - 1; i >= 0; i--)
        if (before[i] && is_prefix(before[i], g->nodes[i])) share_prefix(before[i], g->nodes[i]);
    return TERN_OK;
}
