#include "opt/match.h"

/* LayerNormalization written out by exporters: with d = x - mean(x), y = d / sqrt(mean(d^2) + eps) * scale + bias, over
 * the last axis. The parts vanish as dead nodes. */

tern_status tn_pass_layernorm(tn_opt *o);

/* v = mean of the result over its last axis, which stays: that result. */
static tn_value *mean_of(const tn_value *v) {
    const tn_node *n = v ? v->producer : NULL;
    if (!tn_opt_is(n, "", "ReduceMean") || !n->in[0] || !tn_attr_i(n, "keepdims", 1)) return NULL;
    size_t count = 0;
    const int64_t *axes = tn_attr_ints(n, "axes", &count);
    if (n->since >= 18) {
        const tern_tensor *t = n->n_in > 1 ? tn_opt_const(n->in[1]) : NULL;
        if (!t || t->dtype != TERN_INT64) return NULL;
        axes = t->data;
        count = (size_t)tn_shape_count(&t->shape);
    }
    const tn_type *x = &n->in[0]->type;
    return count == 1 && x->ranked && (axes[0] == -1 || axes[0] == x->shape.rank - 1) ? n->in[0] : NULL;
}

/* v = x - mean(x): x. */
static tn_value *centered(const tn_value *v) {
    const tn_node *sub = v ? v->producer : NULL;
    return tn_opt_is(sub, "", "Sub") && sub->since >= 7 && mean_of(sub->in[1]) == sub->in[0] ? sub->in[0] : NULL;
}

/* v = d^2, by Pow or by Mul: d. */
static tn_value *square_of(const tn_value *v) {
    const tn_node *n = v ? v->producer : NULL;
    float two;
    if (tn_opt_is(n, "", "Mul") && n->in[0] == n->in[1]) return n->in[0];
    return tn_opt_is(n, "", "Pow") && tn_opt_scalar(n->in[1], &two) && two == 2 ? n->in[0] : NULL;
}

/* v = sqrt(mean((x - mean(x))^2) + eps). */
static bool is_deviation(const tn_value *v, const tn_value *x, float *eps) {
    const tn_node *root = v ? v->producer : NULL;
    const tn_node *add = tn_opt_is(root, "", "Sqrt") && root->in[0] ? root->in[0]->producer : NULL;
    tn_value *variance;
    return tn_opt_is(add, "", "Add") && tn_opt_scalar_operand(add, eps, &variance) &&
           centered(square_of(mean_of(variance))) == x;
}

/* A constant for each element of x's last axis. */
static bool is_row(const tn_value *v, const tn_value *x) {
    const tern_tensor *t = tn_opt_const(v);
    return t && t->dtype == TERN_FLOAT && t->shape.rank == 1 &&
           t->shape.dims[0] == x->type.shape.dims[x->type.shape.rank - 1];
}

/* The operand of a sum or product that is no constant, with a constant row on the other side. */
static tn_value *beside_row(const tn_node *n, const char *op_type, tn_value **row) {
    if (!tn_opt_is(n, "", op_type) || n->since < 7 || n->n_in != 2) return NULL;
    int at = tn_opt_const(n->in[0]) ? 0 : 1;
    *row = n->in[at];
    return tn_opt_const(*row) ? n->in[1 - at] : NULL;
}

static tern_status match(tn_opt *o, int at) {
    tn_value *bias, *scale, *v;
    float eps;
    if (!(v = beside_row(o->graph->nodes[at], "Add", &bias))) return TERN_OK;
    if (!(v = beside_row(tn_opt_sole_producer(v, "", "Mul"), "Mul", &scale))) return TERN_OK;
    const tn_node *div = tn_opt_sole_producer(v, "", "Div");
    tn_value *x = div && div->since >= 7 ? centered(div->in[0]) : NULL;
    if (!x || !tn_opt_may_write(o, 17) || x->type.dtype != TERN_FLOAT || !x->type.ranked ||
        !is_deviation(div->in[1], x, &eps) || !is_row(scale, x) || !is_row(bias, x))
        return TERN_OK;
    tn_node *n = tn_opt_replace(o, at, "", "LayerNormalization", 17, 3, o->graph->nodes[at]);
    if (!n) return TERN_OUT_OF_MEMORY;
    n->in[0] = x;
    n->in[1] = scale;
    n->in[2] = bias;
    TN_TRY(tn_opt_set_f(o, n, "epsilon", eps));
    return tn_opt_note(o, n, "ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add");
}

tern_status tn_pass_layernorm(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) TN_TRY(match(o, i));
    return TERN_OK;
}
