/* Operators of com.microsoft that ONNX Runtime's optimiser writes for several standard ones: each becomes those again.
 * Source: ContribOperators.md of ONNX Runtime. */
#include <math.h>

#include "ops/ms_internal.h"

/* ---- activations ----------------------------------------------------------------------------------------------- */

static float param(const tn_expand *x, const ms_activation *a, size_t i, const char *name, float standard) {
    if (a->params) {
        size_t n;
        const float *p = tn_attr_floats(x->node, a->params, &n);
        return i < n ? p[i] : standard;
    }
    return tn_attr_f(x->node, name, standard);
}

static tn_value *clip(tn_expand *x, const ms_activation *a, tn_value *v) {
    tn_value *y = tn_expand_node(x, "", "Clip", 6, TN_EXPAND_IN(v), 1);
    tn_expand_f(x, "min", param(x, a, 0, "activation_alpha", -INFINITY));
    tn_expand_f(x, "max", param(x, a, 1, "activation_beta", INFINITY));
    return y;
}

tn_value *tn_ms_activation(tn_expand *x, const ms_activation *a, tn_value *v) {
    static const struct {
        const char *name;
        float alpha, beta;
        int params;
    } known[] = {{"Relu", 0, 0, 0},
                 {"Sigmoid", 0, 0, 0},
                 {"Tanh", 0, 0, 0},
                 {"Softplus", 0, 0, 0},
                 {"Softsign", 0, 0, 0},
                 {"Softmax", 0, 0, 0},
                 {"LeakyRelu", 0.01f, 0, 1},
                 {"Elu", 1, 0, 1},
                 {"HardSigmoid", 0.2f, 0.5f, 2},
                 {"ThresholdedRelu", 1, 0, 1},
                 {"Selu", 1.67326319f, 1.05070102f, 2},
                 {"HardSwish", 0, 0, 0}};
    tn_str name = tn_attr_s(x->node, "activation", "");
    if (name.len == 0) return v;
    if (tn_str_eq(name, tn_str_c("Clip"))) return clip(x, a, v);
    for (size_t i = 0; i < TN_COUNT(known); i++) {
        if (!tn_str_eq(name, tn_str_c(known[i].name))) continue;
        tn_value *y = tn_expand_op(x, known[i].name, TN_EXPAND_IN(v));
        if (known[i].params > 0) tn_expand_f(x, "alpha", param(x, a, 0, "activation_alpha", known[i].alpha));
        if (known[i].params > 1)
            tn_expand_f(x, i == 10 ? "gamma" : "beta", param(x, a, 1, "activation_beta", known[i].beta));
        if (i == 5) tn_expand_copy_as(x, "activation_axis", "axis");
        return y;
    }
    tn_expand_fail(x, TERN_UNSUPPORTED, "activation '%.*s' is not supported", (int)TN_MIN(name.len, (size_t)40),
                   name.data);
    return NULL;
}

/* ---- Conv, Gemm, MatMul ---------------------------------------------------------------------------------------- */

/* Rank of what slides over the input: as the kernel has, else as the weights have. */
static int64_t conv_rank(tn_expand *x, const tn_value *w) {
    size_t n = 0;
    if (tn_attr_ints(x->node, "kernel_shape", &n)) return (int64_t)n + 2;
    if (w && w->type.ranked) return w->type.shape.rank;
    tn_expand_fail(x, TERN_UNSUPPORTED, "neither kernel_shape nor the rank of the weights is known");
    return 0;
}

static tn_value *permuted(tn_expand *x, int64_t rank, bool to_first, tn_value *v) {
    int64_t perm[TERN_MAX_RANK];
    if (rank < 3 || rank > TERN_MAX_RANK) {
        tn_expand_fail(x, TERN_INVALID_MODEL, "channels last in %lld dims", (long long)rank);
        return NULL;
    }
    for (int64_t i = 1; i < rank; i++) perm[i] = to_first ? i - 1 : i + 1;
    perm[0] = 0;
    perm[to_first ? 1 : rank - 1] = to_first ? rank - 1 : 1;
    tn_value *y = tn_expand_op(x, "Transpose", TN_EXPAND_IN(v));
    tn_expand_ints(x, "perm", perm, (size_t)rank);
    return y;
}

tn_value *tn_ms_channels_first(tn_expand *x, int64_t rank, tn_value *v) { return permuted(x, rank, true, v); }
tn_value *tn_ms_channels_last(tn_expand *x, int64_t rank, tn_value *v) { return permuted(x, rank, false, v); }

void tn_ms_copy_window(tn_expand *x) {
    static const char *const names[] = {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"};
    for (size_t i = 0; i < TN_COUNT(names); i++) tn_expand_copy(x, names[i]);
}

/* X, W, B, Z: conv, then the sum, then the activation. */
static tern_status expand_conv(tn_expand *x, bool last) {
    static const ms_activation act = {.params = "activation_params"};
    tn_value *in = tn_expand_in(x, 0), *w = tn_expand_in(x, 1), *z = tn_expand_in(x, 3);
    int64_t rank = last ? conv_rank(x, w) : 0;
    if (last) in = tn_ms_channels_first(x, rank, in);
    tn_value *y = tn_expand_op(x, "Conv", TN_EXPAND_IN(in, w, tn_expand_in(x, 2)));
    tn_ms_copy_window(x);
    if (z && last) z = tn_ms_channels_first(x, rank, z);
    if (z) y = tn_expand_op(x, "Add", TN_EXPAND_IN(y, z));
    y = tn_ms_activation(x, &act, y);
    return tn_expand_out(x, 0, last ? tn_ms_channels_last(x, rank, y) : y);
}

static tern_status expand_fused_conv(tn_expand *x) { return expand_conv(x, false); }
static tern_status expand_nhwc_conv(tn_expand *x) { return expand_conv(x, true); }

static tern_status expand_qlinear_conv(tn_expand *x) {
    tn_value *in[9];
    for (int i = 0; i < 9; i++) in[i] = tn_expand_in(x, i);
    int64_t rank = 0;
    if (tn_attr_i(x->node, "channels_last", 0)) {
        rank = conv_rank(x, in[3]);
        in[0] = tn_ms_channels_first(x, rank, in[0]);
    }
    tn_value *y = tn_expand_op(x, "QLinearConv", 9, in);
    tn_ms_copy_window(x);
    return tn_expand_out(x, 0, rank ? tn_ms_channels_last(x, rank, y) : y);
}

static tern_status expand_nhwc_max_pool(tn_expand *x) {
    int64_t rank = conv_rank(x, NULL);
    tn_value *y = tn_ms_channels_first(x, rank, tn_expand_in(x, 0));
    y = tn_expand_op(x, "MaxPool", TN_EXPAND_IN(y));
    tn_ms_copy_window(x);
    tn_expand_copy(x, "ceil_mode");
    return tn_expand_out(x, 0, tn_ms_channels_last(x, rank, y));
}

static tern_status expand_fused_gemm(tn_expand *x) {
    static const char *const names[] = {"alpha", "beta", "transA", "transB"};
    static const ms_activation act = {NULL};
    tn_value *y = tn_expand_op(x, "Gemm", TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1), tn_expand_in(x, 2)));
    for (size_t i = 0; i < TN_COUNT(names); i++) tn_expand_copy(x, names[i]);
    return tn_expand_out(x, 0, tn_ms_activation(x, &act, y));
}

static tern_status expand_matmul_activation(tn_expand *x) {
    static const char *const names[] = {"alpha", "transA", "transB", "transBatchA", "transBatchB"};
    static const ms_activation act = {NULL};
    tn_value *y =
        tn_expand_node(x, "com.microsoft", "FusedMatMul", 1, TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1)), 1);
    for (size_t i = 0; i < TN_COUNT(names); i++) tn_expand_copy(x, names[i]);
    return tn_expand_out(x, 0, tn_ms_activation(x, &act, y));
}

const tn_op tn_op_ms_fused_conv = TN_EXPAND_OP(expand_fused_conv, 2, 4, 1, 1);
const tn_op tn_op_ms_nhwc_conv = TN_EXPAND_OP(expand_nhwc_conv, 2, 4, 1, 1);
const tn_op tn_op_ms_qlinear_conv = TN_EXPAND_OP(expand_qlinear_conv, 8, 9, 1, 1);
const tn_op tn_op_ms_nhwc_max_pool = TN_EXPAND_OP(expand_nhwc_max_pool, 1, 1, 1, 1);
const tn_op tn_op_ms_fused_gemm = TN_EXPAND_OP(expand_fused_gemm, 2, 3, 1, 1);
const tn_op tn_op_ms_matmul_activation = TN_EXPAND_OP(expand_matmul_activation, 2, 2, 1, 1);

/* ---- GELU and relatives ---------------------------------------------------------------------------------------- */

/* GELU of input 0 plus, where it is given, input 1. */
static tern_status expand_gelu_of_sum(tn_expand *x, bool tanh) {
    tn_value *v = tn_expand_in(x, 0), *bias = tn_expand_in(x, 1);
    if (bias) v = tn_expand_op(x, "Add", TN_EXPAND_IN(v, bias));
    v = tn_expand_op(x, "Gelu", TN_EXPAND_IN(v));
    if (tanh) tn_expand_s(x, "approximate", "tanh");
    return tn_expand_out(x, 0, v);
}

static tern_status expand_gelu(tn_expand *x) { return expand_gelu_of_sum(x, false); }
static tern_status expand_fast_gelu(tn_expand *x) { return expand_gelu_of_sum(x, true); }

static tern_status expand_quick_gelu(tn_expand *x) {
    tn_value *y = tn_expand_op(x, "Swish", TN_EXPAND_IN(tn_expand_in(x, 0)));
    tn_expand_f(x, "alpha", tn_attr_f(x->node, "alpha", 1.702f));
    return tn_expand_out(x, 0, y);
}

static tern_status expand_bias_split_gelu(tn_expand *x) {
    tn_value *sum = tn_expand_op(x, "Add", TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1)));
    tn_value *left = tn_expand_node(x, "", "Split", TN_EXPAND_OPSET, TN_EXPAND_IN(sum), 2);
    tn_value *right = tn_expand_result(x, 1);
    tn_expand_i(x, "axis", -1);
    tn_expand_i(x, "num_outputs", 2);
    right = tn_expand_op(x, "Gelu", TN_EXPAND_IN(right));
    return tn_expand_out(x, 0, tn_expand_op(x, "Mul", TN_EXPAND_IN(left, right)));
}

static tern_status expand_bias_add(tn_expand *x) {
    tn_value *sum = tn_expand_op(x, "Add", TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1)));
    return tn_expand_out(x, 0, tn_expand_op(x, "Add", TN_EXPAND_IN(sum, tn_expand_in(x, 2))));
}

const tn_op tn_op_ms_gelu = TN_EXPAND_OP(expand_gelu, 1, 1, 1, 1);
const tn_op tn_op_ms_bias_gelu = TN_EXPAND_OP(expand_gelu, 2, 2, 1, 1);
const tn_op tn_op_ms_fast_gelu = TN_EXPAND_OP(expand_fast_gelu, 1, 2, 1, 1);
const tn_op tn_op_ms_quick_gelu = TN_EXPAND_OP(expand_quick_gelu, 1, 1, 1, 1);
const tn_op tn_op_ms_bias_split_gelu = TN_EXPAND_OP(expand_bias_split_gelu, 2, 2, 1, 1);
const tn_op tn_op_ms_bias_add = TN_EXPAND_OP(expand_bias_add, 3, 3, 1, 1);

/* ---- normalisations -------------------------------------------------------------------------------------------- */

#define SKIP_EPSILON 1e-12f

/* (input + skip + bias), normalised; outputs: y, mean, inverse deviation, the sum. */
static tern_status expand_skip(tn_expand *x, bool simplified) {
    tn_value *sum = tn_expand_op(x, "Add", TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1)));
    tn_value *gamma = tn_expand_in(x, 2), *beta = simplified ? NULL : tn_expand_in(x, 3);
    tn_value *bias = tn_expand_in(x, simplified ? 3 : 4);
    if (bias) sum = tn_expand_op(x, "Add", TN_EXPAND_IN(sum, bias));
    tn_value *y = tn_expand_node(x, "", simplified ? "SimplifiedLayerNormalization" : "LayerNormalization",
                                 TN_EXPAND_OPSET, TN_EXPAND_IN(sum, gamma, beta), simplified ? 2 : 3);
    tn_value *second = tn_expand_result(x, 1), *third = tn_expand_result(x, 2);
    tn_expand_f(x, "epsilon", tn_attr_f(x->node, "epsilon", SKIP_EPSILON));
    if (simplified && tn_expand_wants(x, 1))
        return tn_expand_fail(x, TERN_UNSUPPORTED, "there is no mean to be output 1");
    tn_expand_out(x, 0, y);
    if (!simplified) tn_expand_out(x, 1, second);
    tn_expand_out(x, 2, simplified ? second : third);
    return tn_expand_out(x, 3, sum);
}

static tern_status expand_skip_layer_norm(tn_expand *x) { return expand_skip(x, false); }
static tern_status expand_skip_simplified(tn_expand *x) { return expand_skip(x, true); }

/* Elements [from, to) of the shape of v. */
static tn_value *dims_of(tn_expand *x, tn_value *v, int64_t from, int64_t to) {
    tn_value *s = tn_expand_op(x, "Shape", TN_EXPAND_IN(v));
    tn_expand_i(x, "start", from);
    tn_expand_i(x, "end", to);
    return s;
}

/* The rows of a table that are as many as the ids have columns. */
static tn_value *first_rows(tn_expand *x, tn_value *table, tn_value *ids) {
    tn_value *length = tn_expand_op(x, "Squeeze", TN_EXPAND_IN(dims_of(x, ids, 1, 2)));
    tn_value *zero = tn_expand_op(x, "Squeeze", TN_EXPAND_IN(tn_expand_const_ints(x, TN_EXPAND_INTS(0))));
    tn_value *one = tn_expand_op(x, "Squeeze", TN_EXPAND_IN(tn_expand_const_ints(x, TN_EXPAND_INTS(1))));
    tn_value *range = tn_expand_op(x, "Range", TN_EXPAND_IN(zero, length, one));
    return tn_expand_op(x, "Gather", TN_EXPAND_IN(table, range));
}

static tern_status expand_embed_layer_norm(tn_expand *x) {
    enum { IDS, SEGMENT_IDS, WORDS, POSITIONS, SEGMENTS, GAMMA, BETA, MASK, POSITION_IDS };
    tn_value *in[POSITION_IDS + 1];
    for (int i = 0; i <= POSITION_IDS; i++) in[i] = tn_expand_in(x, i);
    tn_expand_need(x, WORDS, "word_embedding");
    tn_expand_need(x, POSITIONS, "position_embedding");
    tn_expand_need(x, GAMMA, "gamma");
    TN_TRY(tn_expand_need(x, BETA, "beta"));
    if ((in[SEGMENT_IDS] == NULL) != (in[SEGMENTS] == NULL))
        return tn_expand_fail(x, TERN_INVALID_MODEL, "only one of segment_ids and segment_embedding is given");
    tn_value *sum = tn_expand_op(x, "Gather", TN_EXPAND_IN(in[WORDS], in[IDS]));
    tn_value *at = in[POSITION_IDS] ? tn_expand_op(x, "Gather", TN_EXPAND_IN(in[POSITIONS], in[POSITION_IDS]))
                                    : first_rows(x, in[POSITIONS], in[IDS]);
    sum = tn_expand_op(x, "Add", TN_EXPAND_IN(sum, at));
    if (in[SEGMENTS]) {
        tn_value *segment = tn_expand_op(x, "Gather", TN_EXPAND_IN(in[SEGMENTS], in[SEGMENT_IDS]));
        sum = tn_expand_op(x, "Add", TN_EXPAND_IN(sum, segment));
    }
    tn_value *y = tn_expand_op(x, "LayerNormalization", TN_EXPAND_IN(sum, in[GAMMA], in[BETA]));
    tn_expand_f(x, "epsilon", tn_attr_f(x->node, "epsilon", SKIP_EPSILON));
    tn_expand_out(x, 0, y);
    tn_expand_out(x, 2, sum);
    if (!tn_expand_wants(x, 1)) return x->status;
    if (in[MASK]) {
        tn_value *axis = tn_expand_const_ints(x, TN_EXPAND_INTS(1));
        tn_value *lengths = tn_expand_op(x, "ReduceSum", TN_EXPAND_IN(in[MASK], axis));
        tn_expand_i(x, "keepdims", 0);
        return tn_expand_out(x, 1, lengths);
    }
    tn_value *zero = tn_expand_const_i32(x, 0);
    return tn_expand_out(x, 1, tn_expand_op(x, "Expand", TN_EXPAND_IN(zero, dims_of(x, in[IDS], 0, 1))));
}

const tn_op tn_op_ms_skip_layer_norm = TN_EXPAND_OP(expand_skip_layer_norm, 3, 5, 1, 4);
const tn_op tn_op_ms_skip_simplified = TN_EXPAND_OP(expand_skip_simplified, 3, 4, 1, 4);
const tn_op tn_op_ms_embed_layer_norm = TN_EXPAND_OP(expand_embed_layer_norm, 1, 9, 1, 3);
