#include "opt/match.h"

/* Reshapes cost nothing, and what they keep apart is brought together: a Transpose that moves dims of 1 only becomes
 * one, one behind another reads what that one reads, and a residual sum goes in front of the Reshape between it and its
 * Gemm, whose epilogue takes it then. */

tern_status tn_pass_reshape(tn_opt *o);

/* The input of a Reshape from one shape to another of the same elements; false: there are too many unknown dims. */
static bool target_of(const tn_type *from, const tn_type *to, int64_t *target) {
    int open = 0;
    if (!from->ranked || !to->ranked) return false;
    for (int i = 0; i < to->shape.rank; i++) {
        int64_t d = to->shape.dims[i];
        bool kept = i < from->shape.rank && from->shape.dims[i] == d && d != TN_DIM_UNKNOWN;
        if (d == 0) return false;
        target[i] = tn_dim_known(d) ? d : kept ? 0 : -1;
        open += target[i] == -1;
    }
    return open <= 1;
}

/* A Reshape at position `at`; its output is the caller's. */
static tern_status write_reshape(tn_opt *o, int at, tn_value *from, const tn_type *to, const tn_node *old,
                                 tn_node **out) {
    int64_t target[TERN_MAX_RANK], rank = to->shape.rank;
    if (!target_of(&from->type, to, target)) return tn_fail(o->err, TERN_INVALID_MODEL, "a Reshape with unknown dims");
    tern_tensor *t;
    tn_shape s = tn_shape_of(1, &rank);
    TN_TRY(tn_tensor_new(&t, TERN_INT64, &s, o->err));
    memcpy(t->data, target, (size_t)rank * sizeof *target);
    tn_value *shape = tn_opt_new_const(o, "shape", t);
    tn_node *n = shape ? tn_opt_replace(o, at, "", "Reshape", 14, 2, NULL) : NULL;
    if (!n) return TERN_OUT_OF_MEMORY;
    n->name = old->name;
    n->fused = old->fused;
    n->in[0] = from;
    n->in[1] = shape;
    *out = n;
    return TERN_OK;
}

static void give(tn_node *n, tn_value *v) {
    n->out[0] = v;
    v->producer = n;
}

/* The dims that are not 1 keep their order. */
static bool moves_ones_only(const tn_node *n) {
    size_t count = 0;
    const int64_t *perm = tn_attr_ints(n, "perm", &count);
    const tn_type *t = n->in[0] ? &n->in[0]->type : NULL;
    if (!perm || !t || !t->ranked || count != (size_t)t->shape.rank) return false;
    int64_t last = -1;
    for (size_t i = 0; i < count; i++) {
        if (t->shape.dims[perm[i]] == 1) continue;
        if (perm[i] < last) return false;
        last = perm[i];
    }
    return true;
}

static bool is_reshape(const tn_node *n) { return tn_opt_is(n, "", "Reshape") && n->since >= 5 && n->in[0]; }

/* Both rules about one node. */
static tern_status simplify(tn_opt *o, int at) {
    int64_t target[TERN_MAX_RANK];
    tn_node *old = o->graph->nodes[at], *n;
    bool ones = tn_opt_is(old, "", "Transpose") && moves_ones_only(old);
    tn_value *from = ones || is_reshape(old) ? old->in[0] : NULL;
    if (!from || !old->out[0]) return TERN_OK;
    while (is_reshape(from->producer) && from->n_uses == 1) from = from->producer->in[0];
    if ((!ones && from == old->in[0]) || !target_of(&from->type, &old->out[0]->type, target)) return TERN_OK;
    TN_TRY(write_reshape(o, at, from, &old->out[0]->type, old, &n));
    give(n, old->out[0]);
    return TERN_OK;
}

/* Add(Reshape(g), x) to Reshape(Add(g, Reshape(x))), with a Gemm that makes g. */
static tern_status sink(tn_opt *o, int at) {
    int64_t target[TERN_MAX_RANK];
    tn_node *add = o->graph->nodes[at], *first, *last;
    for (int i = 0; i < 2; i++) {
        if (!tn_opt_is(add, "", "Add") || add->since < 7) return TERN_OK;
        tn_value *y = add->out[0], *x = add->in[1 - i];
        const tn_node *r = tn_opt_sole_producer(add->in[i], "", "Reshape");
        tn_value *g = r && tn_opt_sole_producer(r->in[0], "tern", "Gemm") ? r->in[0] : NULL;
        if (!g || x == add->in[i] || x->constant || x->type.dtype != TERN_FLOAT || g->type.dtype != TERN_FLOAT ||
            !x->type.ranked || !tn_shape_equal(&x->type.shape, &add->in[i]->type.shape))
            continue;
        if (!target_of(&x->type, &g->type, target) || !target_of(&g->type, &y->type, target) ||
            !tn_shape_equal(&y->type.shape, &x->type.shape))
            continue;
        for (int d = 0; d < x->type.shape.rank; d++)
            if (x->type.shape.dims[d] == TN_DIM_UNKNOWN) return TERN_OK;
        TN_TRY(write_reshape(o, r->id, x, &g->type, r, &first));
        TN_TRY(write_reshape(o, at, g, &y->type, add, &last));
        tn_node *sum = tn_graph_add_node(o->graph, "", "Add", 14, 2, 1);
        tn_value *a = sum ? tn_graph_new_value(o->graph, y->name) : NULL;
        tn_value *b = a ? tn_graph_new_value(o->graph, x->name) : NULL;
        if (!b) return tn_fail_oom(o->err, sizeof *b);
        sum->name = add->name;
        sum->in[0] = g;
        sum->in[1] = b;
        a->type = g->type;
        give(first, b);
        give(sum, a);
        give(last, y);
        last->in[0] = a;
        return TERN_OK;
    }
    return TERN_OK;
}

tern_status tn_pass_reshape(tn_opt *o) {
    int n = o->graph->n_nodes;
    for (int i = 0; i < n; i++) TN_TRY(simplify(o, i));
    TN_TRY(tn_graph_finish(o->graph, o->err));
    n = o->graph->n_nodes;
    for (int i = 0; i < n; i++) TN_TRY(sink(o, i));
    return TERN_OK;
}
