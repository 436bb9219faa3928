/* Operators of com.microsoft that the standard has had since, under the same or another name. Source:
 * ContribOperators.md of ONNX Runtime. */
#include "ops/ms_internal.h"

static tn_value *same_with(tn_expand *x, int n_in, const char *const *attrs, size_t n_attrs) {
    tn_value *y = tn_expand_op(x, x->node->op_type, TN_MIN(n_in, x->node->n_in), x->node->in);
    for (size_t i = 0; i < n_attrs; i++) tn_expand_copy(x, attrs[i]);
    return y;
}

static tern_status expand_trilu(tn_expand *x) {
    static const char *const attrs[] = {"upper"};
    return tn_expand_out(x, 0, same_with(x, 2, attrs, TN_COUNT(attrs)));
}

static tern_status expand_gather_nd(tn_expand *x) {
    tn_value *at = tn_expand_op(x, "Cast", TN_EXPAND_IN(tn_expand_in(x, 1)));
    tn_expand_i(x, "to", TERN_INT64);
    return tn_expand_out(x, 0, tn_expand_op(x, "GatherND", TN_EXPAND_IN(tn_expand_in(x, 0), at)));
}

static tern_status expand_grid_sample(tn_expand *x) {
    static const char *const attrs[] = {"align_corners", "mode", "padding_mode"};
    tn_value *y = tn_expand_node(x, "", "GridSample", 16, TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1)), 1);
    for (size_t i = 0; i < TN_COUNT(attrs); i++) tn_expand_copy(x, attrs[i]);
    return tn_expand_out(x, 0, y);
}

static tern_status expand_range(tn_expand *x) {
    tn_value *start = tn_expand_in(x, 0), *step = tn_expand_in(x, 2);
    if (!step) step = tn_expand_const_like(x, 1, start);
    return tn_expand_out(x, 0, tn_expand_op(x, "Range", TN_EXPAND_IN(start, tn_expand_in(x, 1), step)));
}

static tn_value *as_list(tn_expand *x, tn_value *v) {
    return tn_expand_op(x, "Reshape", TN_EXPAND_IN(v, tn_expand_const_ints(x, TN_EXPAND_INTS(-1))));
}

static tern_status expand_expand_dims(tn_expand *x) {
    tn_value *axis = tn_expand_op(x, "Cast", TN_EXPAND_IN(as_list(x, tn_expand_in(x, 1))));
    tn_expand_i(x, "to", TERN_INT64);
    return tn_expand_out(x, 0, tn_expand_op(x, "Unsqueeze", TN_EXPAND_IN(tn_expand_in(x, 0), axis)));
}

static tern_status expand_pad(tn_expand *x) {
    tn_value *pads = as_list(x, tn_expand_in(x, 1)), *value = tn_expand_in(x, 2);
    if (value) value = tn_expand_op(x, "Squeeze", TN_EXPAND_IN(value));
    tn_value *y = tn_expand_op(x, "Pad", TN_EXPAND_IN(tn_expand_in(x, 0), pads, value));
    tn_expand_copy(x, "mode");
    return tn_expand_out(x, 0, y);
}

/* Outputs: the values as they first occur, for each element the index of its value, how often values occur. */
static tern_status expand_unique(tn_expand *x) {
    tn_value *y = tn_expand_node(x, "", "Unique", 11, TN_EXPAND_IN(tn_expand_in(x, 0)), 4);
    tn_value *inverse = tn_expand_result(x, 2), *counts = tn_expand_result(x, 3);
    tn_expand_i(x, "sorted", 0);
    tn_expand_out(x, 0, y);
    tn_expand_out(x, 1, inverse);
    return tn_expand_out(x, 2, counts);
}

/* Squared distances of rows: |a|^2 + |b|^2 - 2 a b, not below 0 where that cancels. */
static tern_status expand_cdist(tn_expand *x) {
    tn_str metric = tn_attr_s(x->node, "metric", "sqeuclidean");
    bool root = tn_str_eq(metric, tn_str_c("euclidean"));
    if (!root && !tn_str_eq(metric, tn_str_c("sqeuclidean")))
        return tn_expand_fail(x, TERN_UNSUPPORTED, "metric '%.*s' is neither euclidean nor sqeuclidean",
                              (int)TN_MIN(metric.len, (size_t)40), metric.data);
    tn_value *a = tn_expand_in(x, 0), *b = tn_expand_in(x, 1), *axis = tn_expand_const_ints(x, TN_EXPAND_INTS(1));
    tn_value *rows = tn_expand_op(x, "ReduceSumSquare", TN_EXPAND_IN(a, axis));
    tn_value *columns = tn_expand_op(x, "ReduceSumSquare", TN_EXPAND_IN(b, axis));
    tn_expand_i(x, "keepdims", 0);
    tn_value *y = tn_expand_node(x, "com.microsoft", "FusedMatMul", 1, TN_EXPAND_IN(a, b), 1);
    tn_expand_i(x, "transB", 1);
    tn_expand_f(x, "alpha", -2);
    y = tn_expand_op(x, "Add", TN_EXPAND_IN(y, tn_expand_op(x, "Add", TN_EXPAND_IN(rows, columns))));
    y = tn_expand_op(x, "Max", TN_EXPAND_IN(y, tn_expand_const_like(x, 0, a)));
    return tn_expand_out(x, 0, root ? tn_expand_op(x, "Sqrt", TN_EXPAND_IN(y)) : y);
}

static tn_value *centered(tn_expand *x, int i) {
    tn_value *v = tn_expand_op(x, "Cast", TN_EXPAND_IN(tn_expand_in(x, i)));
    tn_expand_i(x, "to", TERN_INT32);
    if (!tn_expand_in(x, i + 1)) return v;
    tn_value *zero = tn_expand_op(x, "Cast", TN_EXPAND_IN(tn_expand_in(x, i + 1)));
    tn_expand_i(x, "to", TERN_INT32);
    return tn_expand_op(x, "Sub", TN_EXPAND_IN(v, zero));
}

static tern_status expand_mul_integer(tn_expand *x) {
    TN_TRY(tn_expand_need(x, 2, "B"));
    tn_value *a = centered(x, 0), *b = centered(x, 2);
    return tn_expand_out(x, 0, tn_expand_op(x, "Mul", TN_EXPAND_IN(a, b)));
}

/* (n, h, w, c) or (n, c, h, w), with SiLU behind where `activation` is 1. */
static tern_status expand_group_norm(tn_expand *x) {
    bool last = tn_attr_i(x->node, "channels_last", 1) != 0;
    int64_t act = tn_attr_i(x->node, "activation", 0);
    if (act != 0 && act != 1)
        return tn_expand_fail(x, TERN_INVALID_MODEL, "activation is %lld, neither 0 nor 1", (long long)act);
    tn_value *v = tn_expand_in(x, 0);
    if (last) v = tn_ms_channels_first(x, 4, v);
    v = tn_expand_op(x, "GroupNormalization", TN_EXPAND_IN(v, tn_expand_in(x, 1), tn_expand_in(x, 2)));
    tn_expand_f(x, "epsilon", tn_attr_f(x->node, "epsilon", 1e-5f));
    tn_expand_i(x, "num_groups", tn_attr_i(x->node, "groups", 0));
    if (act) v = tn_expand_op(x, "Swish", TN_EXPAND_IN(v));
    return tn_expand_out(x, 0, last ? tn_ms_channels_last(x, 4, v) : v);
}

const tn_op tn_op_ms_trilu = TN_EXPAND_OP(expand_trilu, 1, 2, 1, 1);
const tn_op tn_op_ms_gather_nd = TN_EXPAND_OP(expand_gather_nd, 2, 2, 1, 1);
const tn_op tn_op_ms_grid_sample = TN_EXPAND_OP(expand_grid_sample, 2, 2, 1, 1);
const tn_op tn_op_ms_range = TN_EXPAND_OP(expand_range, 2, 3, 1, 1);
const tn_op tn_op_ms_expand_dims = TN_EXPAND_OP(expand_expand_dims, 2, 2, 1, 1);
const tn_op tn_op_ms_pad = TN_EXPAND_OP(expand_pad, 2, 3, 1, 1);
const tn_op tn_op_ms_unique = TN_EXPAND_OP(expand_unique, 1, 1, 1, 3);
const tn_op tn_op_ms_cdist = TN_EXPAND_OP(expand_cdist, 2, 2, 1, 1);
const tn_op tn_op_ms_mul_integer = TN_EXPAND_OP(expand_mul_integer, 3, 4, 1, 1);
const tn_op tn_op_ms_group_norm = TN_EXPAND_OP(expand_group_norm, 3, 3, 1, 1);
