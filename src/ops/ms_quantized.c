/* Operators of com.microsoft on 8-bit tensors. Those of one value each are what they are defined as: dequantised,
 * computed in float, quantised. Products keep exact integer sums. Source: ContribOperators.md of ONNX Runtime. */
#include "ops/ms_internal.h"

/* ---- between the integers and the reals ------------------------------------------------------------------------ */

static tn_value *dequantize(tn_expand *x, tn_value *v, tn_value *scale, tn_value *zero) {
    return tn_expand_op(x, "DequantizeLinear", TN_EXPAND_IN(v, scale, zero));
}

/* Inputs i, i + 1 (scale) and i + 2 (zero point, which may be absent) as reals. */
static tn_value *real_input(tn_expand *x, int i) {
    return dequantize(x, tn_expand_in(x, i), tn_expand_in(x, i + 1), tn_expand_in(x, i + 2));
}

/* The output: quantised with input i, and zero point input i + 1; without one it is 0 in the type of `like`. */
static tern_status quantized_output(tn_expand *x, tn_value *v, int i, tn_value *like) {
    TN_TRY(tn_expand_need(x, i, "the scale of the output"));
    tn_value *zero = tn_expand_in(x, i + 1);
    if (!zero) zero = tn_expand_const_like(x, 0, like);
    return tn_expand_out(x, 0, tn_expand_op(x, "QuantizeLinear", TN_EXPAND_IN(v, tn_expand_in(x, i), zero)));
}

static tern_status need_scales(tn_expand *x, const int *at, int n) {
    for (int i = 0; i < n; i++) {
        TN_TRY(tn_expand_need(x, at[i], "a scale"));
        TN_TRY(tn_expand_need(x, at[i] - 1, "a tensor"));
    }
    return TERN_OK;
}

/* ---- elementwise ----------------------------------------------------------------------------------------------- */

static tern_status expand_qlinear_sigmoid(tn_expand *x) {
    TN_TRY(tn_expand_need(x, 1, "the scale of X"));
    return quantized_output(x, tn_expand_op(x, "Sigmoid", TN_EXPAND_IN(real_input(x, 0))), 3, tn_expand_in(x, 0));
}

static tern_status expand_qlinear_leaky_relu(tn_expand *x) {
    TN_TRY(tn_expand_need(x, 1, "the scale of X"));
    tn_value *y = tn_expand_op(x, "LeakyRelu", TN_EXPAND_IN(real_input(x, 0)));
    tn_expand_copy(x, "alpha");
    return quantized_output(x, y, 3, tn_expand_in(x, 0));
}

static tern_status expand_qlinear_softmax(tn_expand *x) {
    TN_TRY(tn_expand_need(x, 1, "the scale of X"));
    int64_t opset = tn_attr_i(x->node, "opset", 13);
    if (opset < 1 || opset > TN_EXPAND_OPSET)
        return tn_expand_fail(x, TERN_INVALID_MODEL, "opset is %lld, not 1 to %d", (long long)opset, TN_EXPAND_OPSET);
    tn_value *y = tn_expand_node(x, "", "Softmax", (int)opset, TN_EXPAND_IN(real_input(x, 0)), 1);
    tn_expand_i(x, "axis", tn_attr_i(x->node, "axis", -1));
    return quantized_output(x, y, 3, tn_expand_in(x, 0));
}

static tern_status expand_qlinear_where(tn_expand *x) {
    static const int scales[] = {2, 5};
    TN_TRY(need_scales(x, scales, 2));
    tn_value *a = real_input(x, 1), *b = real_input(x, 4);
    tn_value *y = tn_expand_op(x, "Where", TN_EXPAND_IN(tn_expand_in(x, 0), a, b));
    return quantized_output(x, y, 7, tn_expand_in(x, 1));
}

/* ---- Concat, pooling, reduction -------------------------------------------------------------------------------- */

static tern_status expand_qlinear_concat(tn_expand *x) {
    const tn_node *n = x->node;
    if (n->n_in < 5 || n->n_in % 3 != 2)
        return tn_expand_fail(x, TERN_INVALID_MODEL, "has %d inputs; 2 and three for each tensor are needed", n->n_in);
    int count = n->n_in / 3;
    tn_value **real = tn_arena_array(&n->graph->model->arena, (size_t)count, sizeof *real);
    if (!real) return tn_fail_oom(x->err, (size_t)count * sizeof *real);
    for (int i = 0; i < count; i++) {
        int at = 3 * i + 3;
        TN_TRY(need_scales(x, &at, 1));
        real[i] = real_input(x, at - 1);
    }
    tn_value *y = tn_expand_op(x, "Concat", count, real);
    tn_expand_i(x, "axis", tn_attr_i(n, "axis", 0));
    return quantized_output(x, y, 0, tn_expand_in(x, 2));
}

static tern_status expand_qlinear_average_pool(tn_expand *x) {
    TN_TRY(tn_expand_need(x, 1, "the scale of X"));
    size_t window = 0;
    bool last = tn_attr_i(x->node, "channels_last", 0) != 0;
    if (!tn_attr_ints(x->node, "kernel_shape", &window))
        return tn_expand_fail(x, TERN_INVALID_MODEL, "attribute kernel_shape is required");
    tn_value *v = real_input(x, 0);
    if (last) v = tn_ms_channels_first(x, (int64_t)window + 2, v);
    v = tn_expand_node(x, "", "AveragePool", 11, TN_EXPAND_IN(v), 1);
    tn_ms_copy_window(x);
    tn_expand_copy(x, "ceil_mode");
    tn_expand_copy(x, "count_include_pad");
    if (last) v = tn_ms_channels_last(x, (int64_t)window + 2, v);
    return quantized_output(x, v, 3, tn_expand_in(x, 0));
}

static tern_status expand_qlinear_reduce_mean(tn_expand *x) {
    TN_TRY(tn_expand_need(x, 1, "the scale of data"));
    tn_value *y = tn_expand_node(x, "", "ReduceMean", 13, TN_EXPAND_IN(real_input(x, 0)), 1);
    tn_expand_copy(x, "axes");
    tn_expand_copy(x, "keepdims");
    return quantized_output(x, y, 3, tn_expand_in(x, 0));
}

/* ---- products -------------------------------------------------------------------------------------------------- */

#define FLOAT_NUMBER 1 /* of float32 in TensorProto.DataType */

static tn_value *to_float(tn_expand *x, tn_value *v) {
    if (!v) return NULL;
    tn_value *y = tn_expand_op(x, "Cast", TN_EXPAND_IN(v));
    tn_expand_i(x, "to", FLOAT_NUMBER);
    return y;
}

/* sums * scale_a * scale_b in float32. */
static tn_value *scaled_sums(tn_expand *x, tn_value *sums, tn_value *scale_a, tn_value *scale_b) {
    tn_value *scale = tn_expand_op(x, "Mul", TN_EXPAND_IN(to_float(x, scale_a), to_float(x, scale_b)));
    return tn_expand_op(x, "Mul", TN_EXPAND_IN(to_float(x, sums), scale));
}

tn_value *tn_ms_integer_product(tn_expand *x, const ms_product *p) {
    tn_value *sums = tn_expand_op(x, "MatMulInteger", TN_EXPAND_IN(p->a, p->b, p->a_zero, p->b_zero));
    tn_value *y = scaled_sums(x, sums, p->a_scale, p->b_scale);
    if (p->bias) y = tn_expand_op(x, "Add", TN_EXPAND_IN(y, to_float(x, p->bias)));
    return y;
}

static tern_status expand_matmul_integer_to_float(tn_expand *x) {
    ms_product p = {tn_expand_in(x, 0), tn_expand_in(x, 1), tn_expand_in(x, 2), tn_expand_in(x, 3),
                    tn_expand_in(x, 4), tn_expand_in(x, 5), tn_expand_in(x, 6)};
    tn_value *y = tn_ms_integer_product(x, &p);
    return tn_expand_out(x, 0, tn_expand_op(x, "CastLike", TN_EXPAND_IN(y, p.a_scale)));
}

static tern_status expand_dynamic_quantize_matmul(tn_expand *x) {
    tn_value *a = tn_expand_node(x, "", "DynamicQuantizeLinear", TN_EXPAND_OPSET, TN_EXPAND_IN(tn_expand_in(x, 0)), 3);
    ms_product p = {.a = a,
                    .b = tn_expand_in(x, 1),
                    .a_scale = tn_expand_result(x, 1),
                    .b_scale = tn_expand_in(x, 2),
                    .a_zero = tn_expand_result(x, 2),
                    .b_zero = tn_expand_in(x, 3),
                    .bias = tn_expand_in(x, 4)};
    return tn_expand_out(x, 0, tn_ms_integer_product(x, &p));
}

static tn_value *transposed(tn_expand *x, const char *flag, tn_value *v) {
    static const int64_t perm[] = {1, 0};
    if (!tn_attr_i(x->node, flag, 0)) return v;
    tn_value *y = tn_expand_op(x, "Transpose", TN_EXPAND_IN(v));
    tn_expand_ints(x, "perm", perm, 2);
    return y;
}

static tern_status expand_qgemm(tn_expand *x) {
    enum { A, A_SCALE, A_ZERO, B, B_SCALE, B_ZERO, C, Y_SCALE, Y_ZERO };
    static const int scales[] = {A_SCALE, B_SCALE};
    TN_TRY(need_scales(x, scales, 2));
    tn_value *a = transposed(x, "transA", tn_expand_in(x, A)), *b = transposed(x, "transB", tn_expand_in(x, B));
    tn_value *sums =
        tn_expand_op(x, "MatMulInteger", TN_EXPAND_IN(a, b, tn_expand_in(x, A_ZERO), tn_expand_in(x, B_ZERO)));
    if (tn_expand_in(x, C)) sums = tn_expand_op(x, "Add", TN_EXPAND_IN(sums, tn_expand_in(x, C)));
    tn_value *y = scaled_sums(x, sums, tn_expand_in(x, A_SCALE), tn_expand_in(x, B_SCALE));
    float alpha = tn_attr_f(x->node, "alpha", 1);
    if (alpha != 1) y = tn_expand_op(x, "Mul", TN_EXPAND_IN(y, tn_expand_const_f(x, alpha)));
    if (!tn_expand_in(x, Y_ZERO)) { /* not quantised: float32, which ONNX Runtime divides by the scale all the same */
        if (tn_expand_in(x, Y_SCALE)) y = tn_expand_op(x, "Div", TN_EXPAND_IN(y, tn_expand_in(x, Y_SCALE)));
        return tn_expand_out(x, 0, y);
    }
    return quantized_output(x, y, Y_SCALE, a);
}

/* Weights (directions, in, 4 * hidden) of bytes, with scales and zero points for each direction or each of its columns,
 * as LSTM takes them: reals, (directions, 4 * hidden, in). */
static tn_value *lstm_weights(tn_expand *x, tn_value *w, tn_value *scale, tn_value *zero) {
    static const int64_t perm[] = {0, 2, 1};
    tn_value *directions = tn_expand_op(x, "Shape", TN_EXPAND_IN(w));
    tn_expand_i(x, "start", 0);
    tn_expand_i(x, "end", 1);
    tn_value *shape =
        tn_expand_op(x, "Concat", TN_EXPAND_IN(directions, tn_expand_const_ints(x, TN_EXPAND_INTS(1, -1))));
    tn_expand_i(x, "axis", 0);
    w = to_float(x, w);
    if (zero) {
        zero = tn_expand_op(x, "Reshape", TN_EXPAND_IN(to_float(x, zero), shape));
        w = tn_expand_op(x, "Sub", TN_EXPAND_IN(w, zero));
    }
    scale = tn_expand_op(x, "Reshape", TN_EXPAND_IN(scale, shape));
    w = tn_expand_op(x, "Transpose", TN_EXPAND_IN(tn_expand_op(x, "Mul", TN_EXPAND_IN(w, scale))));
    tn_expand_ints(x, "perm", perm, 3);
    return w;
}

/* The weights' values are what counts; that ONNX Runtime quantises X and the state, too, is how it saves time. */
static tern_status expand_dynamic_quantize_lstm(tn_expand *x) {
    enum { X, W, R, B, LENGTHS, H0, C0, P, W_SCALE, W_ZERO, R_SCALE, R_ZERO };
    static const char *const names[] = {"activation_alpha", "activation_beta", "activations", "clip",
                                        "direction",        "hidden_size",     "input_forget"};
    tn_expand_need(x, W_SCALE, "the scale of W");
    TN_TRY(tn_expand_need(x, R_SCALE, "the scale of R"));
    tn_value *w = lstm_weights(x, tn_expand_in(x, W), tn_expand_in(x, W_SCALE), tn_expand_in(x, W_ZERO));
    tn_value *r = lstm_weights(x, tn_expand_in(x, R), tn_expand_in(x, R_SCALE), tn_expand_in(x, R_ZERO));
    tn_value *y = tn_expand_node(x, "", "LSTM", 14,
                                 TN_EXPAND_IN(tn_expand_in(x, X), w, r, tn_expand_in(x, B), tn_expand_in(x, LENGTHS),
                                              tn_expand_in(x, H0), tn_expand_in(x, C0), tn_expand_in(x, P)),
                                 3);
    tn_value *h = tn_expand_result(x, 1), *c = tn_expand_result(x, 2);
    for (size_t i = 0; i < TN_COUNT(names); i++) tn_expand_copy(x, names[i]);
    tn_expand_out(x, 0, y);
    tn_expand_out(x, 1, h);
    return tn_expand_out(x, 2, c);
}

/* ---- GatherBlockQuantized -------------------------------------------------------------------------------------- */

static tn_value *byte_constant(tn_expand *x, float value) {
    tn_value *v = tn_expand_op(x, "Cast", TN_EXPAND_IN(tn_expand_const_f(x, value)));
    tn_expand_i(x, "to", TERN_UINT8);
    return v;
}

/* Two elements of every byte along the last axis, the low bits first. */
static tn_value *halves_of(tn_expand *x, tn_value *v) {
    tn_value *last = tn_expand_const_ints(x, TN_EXPAND_INTS(-1)), *half[2];
    half[0] = tn_expand_op(x, "BitwiseAnd", TN_EXPAND_IN(v, byte_constant(x, 15)));
    half[1] = tn_expand_op(x, "BitShift", TN_EXPAND_IN(v, byte_constant(x, 4)));
    tn_expand_s(x, "direction", "RIGHT");
    for (int i = 0; i < 2; i++) half[i] = tn_expand_op(x, "Unsqueeze", TN_EXPAND_IN(half[i], last));
    tn_value *pairs = tn_expand_op(x, "Concat", 2, half);
    tn_expand_i(x, "axis", -1);
    tn_value *shape = tn_expand_op(x, "Shape", TN_EXPAND_IN(v));
    tn_expand_i(x, "end", -1);
    shape = tn_expand_op(x, "Concat", TN_EXPAND_IN(shape, last));
    tn_expand_i(x, "axis", 0);
    return tn_expand_op(x, "Reshape", TN_EXPAND_IN(pairs, shape));
}

/* The zero points of bytes: as given (packed like the data), or the middle of the range. */
static tn_value *byte_zeros(tn_expand *x, int64_t bits, tn_value *zeros, tn_value *scales) {
    tn_value *shape = tn_expand_op(x, "Shape", TN_EXPAND_IN(scales));
    if (!zeros) return tn_expand_op(x, "Expand", TN_EXPAND_IN(byte_constant(x, bits == 4 ? 8 : 128), shape));
    if (bits == 8) return zeros;
    tn_value *start = tn_expand_const_ints(x, TN_EXPAND_INTS(0)), *axis = tn_expand_const_ints(x, TN_EXPAND_INTS(-1));
    tn_value *count = tn_expand_op(x, "Shape", TN_EXPAND_IN(scales));
    tn_expand_i(x, "start", -1);
    return tn_expand_op(x, "Slice", TN_EXPAND_IN(halves_of(x, zeros), start, count, axis));
}

/* Rows of a table with a scale for each block: what is looked up is dequantised, not the table. */
static tern_status expand_gather_block_quantized(tn_expand *x) {
    const tn_type *t = &tn_expand_in(x, 0)->type;
    int64_t axis = tn_attr_i(x->node, "gather_axis", 0), along = tn_attr_i(x->node, "quantize_axis", 1);
    int64_t bits = tn_attr_i(x->node, "bits", 4);
    if (t->dtype == TERN_UNDEFINED || !t->ranked)
        return tn_expand_fail(x, TERN_UNSUPPORTED, "the type and rank of data are not known");
    int64_t rank = t->shape.rank;
    axis += axis < 0 ? rank : 0, along += along < 0 ? rank : 0;
    if (axis < 0 || axis >= rank || along < 0 || along >= rank || axis == along)
        return tn_expand_fail(x, TERN_INVALID_MODEL, "gather_axis is %lld, quantize_axis %lld for data of rank %lld",
                              (long long)axis, (long long)along, (long long)rank);
    bool bytes = t->dtype == TERN_UINT8;
    if (bytes && ((bits != 4 && bits != 8) || along != rank - 1))
        return tn_expand_fail(x, TERN_UNSUPPORTED,
                              "bytes with %lld bits along axis %lld; 4 or 8 along the last are "
                              "supported",
                              (long long)bits, (long long)along);
    tn_value *part[3] = {tn_expand_in(x, 0), tn_expand_in(x, 2), tn_expand_in(x, 3)};
    for (int i = 0; i < 3; i++) {
        if (!part[i]) continue;
        part[i] = tn_expand_op(x, "Gather", TN_EXPAND_IN(part[i], tn_expand_in(x, 1)));
        tn_expand_i(x, "axis", axis);
    }
    if (bytes && bits == 4) part[0] = halves_of(x, part[0]);
    if (bytes) part[2] = byte_zeros(x, bits, part[2], part[1]);
    tn_value *y = tn_expand_op(x, "DequantizeLinear", 3, part);
    tn_expand_i(x, "axis", along > axis ? along - rank : along);
    tn_expand_i(x, "block_size", tn_attr_i(x->node, "block_size", 128));
    return tn_expand_out(x, 0, y);
}

/* ---- the standard's own, also in this domain ------------------------------------------------------------------- */

static tern_status expand_as_standard(tn_expand *x) {
    tn_value **in = x->node->in;
    tn_value *y = tn_expand_op(x, x->node->op_type, x->node->n_in, in);
    tn_expand_copy(x, "axis");
    tn_expand_copy(x, "block_size");
    return tn_expand_out(x, 0, y);
}

const tn_op tn_op_ms_qlinear_sigmoid = TN_EXPAND_OP(expand_qlinear_sigmoid, 2, 5, 1, 1);
const tn_op tn_op_ms_qlinear_leaky_relu = TN_EXPAND_OP(expand_qlinear_leaky_relu, 2, 5, 1, 1);
const tn_op tn_op_ms_qlinear_softmax = TN_EXPAND_OP(expand_qlinear_softmax, 2, 5, 1, 1);
const tn_op tn_op_ms_qlinear_where = TN_EXPAND_OP(expand_qlinear_where, 3, 9, 1, 1);
const tn_op tn_op_ms_qlinear_concat = TN_EXPAND_OP(expand_qlinear_concat, 2, -1, 1, 1);
const tn_op tn_op_ms_qlinear_average_pool = TN_EXPAND_OP(expand_qlinear_average_pool, 2, 5, 1, 1);
const tn_op tn_op_ms_qlinear_reduce_mean = TN_EXPAND_OP(expand_qlinear_reduce_mean, 2, 5, 1, 1);
const tn_op tn_op_ms_matmul_integer_to_float = TN_EXPAND_OP(expand_matmul_integer_to_float, 4, 7, 1, 1);
const tn_op tn_op_ms_dynamic_quantize_matmul = TN_EXPAND_OP(expand_dynamic_quantize_matmul, 3, 5, 1, 1);
const tn_op tn_op_ms_qgemm = TN_EXPAND_OP(expand_qgemm, 2, 9, 1, 1);
const tn_op tn_op_ms_as_standard = TN_EXPAND_OP(expand_as_standard, 2, 3, 1, 1);
const tn_op tn_op_ms_dynamic_quantize_lstm = TN_EXPAND_OP(expand_dynamic_quantize_lstm, 3, 12, 0, 3);
const tn_op tn_op_ms_gather_block_quantized = TN_EXPAND_OP(expand_gather_block_quantized, 3, 4, 1, 1);
