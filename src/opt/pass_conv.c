#include "opt/match.h"

#include "ops/fused.h"

/* Convolutions and matrix products with constant float32 weights become tern's own operators, which take an epilogue
 * (bias, residual, activation) and blocked layouts. */

tern_status tn_pass_conv(tn_opt *o);

static bool constant_float(const tn_value *v) {
    const tern_tensor *t = tn_opt_const(v);
    return t && t->dtype == TERN_FLOAT;
}

enum { MOST_DIMS = 3 }; /* spatial ones */

/* Paddings as numbers; false when auto_pad needs a size that is not known. */
static bool explicit_pads(const tn_node *n, const tn_shape *w, int64_t pads[2 * MOST_DIMS]) {
    size_t count, rank = (size_t)w->rank - 2;
    const int64_t *given = tn_attr_ints(n, "pads", &count);
    memset(pads, 0, 2 * MOST_DIMS * sizeof *pads);
    if (tn_attr_is(n, "auto_pad", "NOTSET", "NOTSET")) {
        if (count == 2 * rank) memcpy(pads, given, count * sizeof *pads);
        return count == 0 || count == 2 * rank;
    }
    if (tn_attr_is(n, "auto_pad", "NOTSET", "VALID")) return true;
    bool upper = tn_attr_is(n, "auto_pad", "NOTSET", "SAME_UPPER");
    if (!upper && !tn_attr_is(n, "auto_pad", "NOTSET", "SAME_LOWER")) return false;
    const tn_type *x = &n->in[0]->type;
    size_t n_strides, n_dilations;
    const int64_t *strides = tn_attr_ints(n, "strides", &n_strides);
    const int64_t *dilations = tn_attr_ints(n, "dilations", &n_dilations);
    for (size_t d = 0; d < rank; d++) {
        int64_t in = x->shape.dims[d + 2], s = n_strides == rank ? strides[d] : 1, k = w->dims[d + 2];
        int64_t dil = n_dilations == rank ? dilations[d] : 1, reach, total;
        if (!tn_dim_known(in) || in < 1 || s < 1 || dil < 1 || !tn_mul_i64(k - 1, dil, &reach)) return false;
        if (!tn_mul_i64((in + s - 1) / s - 1, s, &total) || !tn_add_i64(total, reach + 1 - in, &total)) return false;
        total = TN_MAX(total, 0);
        pads[d] = upper ? total / 2 : total - total / 2;
        pads[d + rank] = total - pads[d];
    }
    return true;
}

static tern_status convert_conv(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    const tn_type *x = &n->in[0]->type;
    if (!constant_float(n->in[1]) || (n->n_in > 2 && n->in[2] && !constant_float(n->in[2]))) return TERN_OK;
    const tn_shape *w = &n->in[1]->constant->shape;
    int64_t pads[2 * MOST_DIMS];
    if (w->rank < 3 || w->rank > 2 + MOST_DIMS || !x->ranked || x->shape.rank != w->rank || !explicit_pads(n, w, pads))
        return TERN_OK;
    size_t rank = (size_t)w->rank - 2;
    tn_node *c = tn_opt_replace(o, at, "tern", "Conv", 1, 4, n);
    if (!c) return TERN_OUT_OF_MEMORY;
    for (int i = 0; i < n->n_in && i < 3; i++) c->in[i] = n->in[i];
    TN_TRY(tn_opt_set_ints(o, c, "kernel_shape", w->dims + 2, rank));
    TN_TRY(tn_opt_set_ints(o, c, "pads", pads, 2 * rank));
    TN_TRY(tn_opt_set_i(o, c, "group", tn_attr_i(n, "group", 1)));
    size_t count;
    const int64_t *list = tn_attr_ints(n, "strides", &count);
    if (count) TN_TRY(tn_opt_set_ints(o, c, "strides", list, count));
    list = tn_attr_ints(n, "dilations", &count);
    if (count) TN_TRY(tn_opt_set_ints(o, c, "dilations", list, count));
    return TERN_OK;
}

/* Only where it will be blocked: the layout pass leaves subgraphs and bfloat16 alone. */
static tern_status convert_transposed(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    int64_t strides[TERN_MAX_RANK];
    if (o->graph->parent || o->bf16 || !constant_float(n->in[1]) || n->in[0]->type.dtype != TERN_FLOAT ||
        (n->n_in > 2 && n->in[2] && !constant_float(n->in[2])) || !tn_op_conv_transpose_blocked_ok(n, o->tier, strides))
        return TERN_OK;
    const tern_tensor *w = n->in[1]->constant;
    tern_tensor *sorted;
    TN_TRY(tn_tensor_new(&sorted, TERN_FLOAT, &w->shape, o->err));
    tn_value *weights = tn_opt_new_const(o, n->in[1]->name, sorted);
    tn_node *t = weights ? tn_opt_replace(o, at, "tern", "ConvTranspose", 1, 4, n) : NULL;
    if (!t) return TERN_OUT_OF_MEMORY;
    for (int i = 0; i < n->n_in && i < 3; i++) t->in[i] = n->in[i];
    t->attrs = n->attrs;
    t->n_attrs = n->n_attrs;
    TN_TRY(tn_opt_set_ints(o, t, "strides", strides, (size_t)w->shape.rank - 2));
    if (!tn_op_conv_transpose_weights(t, w, sorted->data))
        return tn_fail(o->err, TERN_INTERNAL, "weights of ConvTranspose can not be sorted");
    t->in[1] = weights;
    return TERN_OK;
}

static tern_status convert_gemm(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    if (!constant_float(n->in[1]) || n->since < 7) return TERN_OK;
    tn_node *g = tn_opt_replace(o, at, "tern", "Gemm", 1, 4, n);
    if (!g) return TERN_OUT_OF_MEMORY;
    for (int i = 0; i < n->n_in && i < 3; i++) g->in[i] = n->in[i];
    g->attrs = n->attrs;
    g->n_attrs = n->n_attrs;
    return TERN_OK;
}

/* A product with one matrix of weights. */
static tern_status convert_matmul(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    const tn_type *a = &n->in[0]->type;
    if (!constant_float(n->in[1]) || n->in[1]->constant->shape.rank != 2 || !a->ranked || a->shape.rank < 2 ||
        a->dtype != TERN_FLOAT)
        return TERN_OK;
    tn_node *g = tn_opt_replace(o, at, "tern", "Gemm", 1, 4, n);
    if (!g) return TERN_OUT_OF_MEMORY;
    g->in[0] = n->in[0];
    g->in[1] = n->in[1];
    return TERN_OK;
}

tern_status tn_pass_conv(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        if (tn_opt_is(n, "", "Conv")) TN_TRY(convert_conv(o, i));
        if (tn_opt_is(n, "", "ConvTranspose")) TN_TRY(convert_transposed(o, i));
        if (tn_opt_is(n, "", "Gemm")) TN_TRY(convert_gemm(o, i));
        if (tn_opt_is(n, "", "MatMul")) TN_TRY(convert_matmul(o, i));
    }
    return TERN_OK;
}
