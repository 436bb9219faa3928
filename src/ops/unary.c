/* Operators of one operand: functions, activations, tests and complements. */
#include "ops/elementwise.h"

#include <tgmath.h>

#include "kernels/act.h"
#include "kernels/eltwise.h"

#define SQRT_HALF      0.70710678118654752440
#define SQRT_TWO_BY_PI 0.79788456080286535588

/* ---- loops --------------------------------------------------------------------------------------------------- */

#define LOOP(NAME, T, P, F, ...) TN_LOOP1(NAME, T, T, P, F, __VA_ARGS__)
#define TEST(NAME, T, P, F, ...) TN_LOOP1(NAME, T, uint8_t, P, F, __VA_ARGS__)
#define FLOAT_LOOPS(F, ...)      TN_EACH_FLOAT(LOOP, F, __VA_ARGS__)

/* Activations: a kernel for float32, the formula for float64. */
#define ACTIVATION(F, KIND, ...)                                                                                   \
    static void F##_FLOAT(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) { \
        const tn_act act = {KIND, (float)args->alpha, (float)args->beta};                                          \
        (void)step;                                                                                                \
        tn_act_f32(args->tier, &act, in[0], out, n);                                                               \
    }                                                                                                              \
    LOOP(DOUBLE, double, double, F, __VA_ARGS__)

FLOAT_LOOPS(reciprocal, 1 / x)
FLOAT_LOOPS(sinh, sinh(x))
FLOAT_LOOPS(cosh, cosh(x))
FLOAT_LOOPS(asinh, asinh(x))
FLOAT_LOOPS(acosh, acosh(x))
FLOAT_LOOPS(atanh, atanh(x))
FLOAT_LOOPS(softsign, x / (1 + fabs(x)))
FLOAT_LOOPS(thresholded_relu, x > alpha ? x : 0)

ACTIVATION(sqrt, TN_ACT_SQRT, sqrt(x))
ACTIVATION(floor, TN_ACT_FLOOR, floor(x))
ACTIVATION(ceil, TN_ACT_CEIL, ceil(x))
ACTIVATION(round, TN_ACT_ROUND, rint(x)) /* halves to even: the default rounding mode */
ACTIVATION(sin, TN_ACT_SIN, sin(x))
ACTIVATION(cos, TN_ACT_COS, cos(x))
ACTIVATION(tan, TN_ACT_TAN, tan(x))
ACTIVATION(asin, TN_ACT_ASIN, asin(x))
ACTIVATION(acos, TN_ACT_ACOS, acos(x))
ACTIVATION(atan, TN_ACT_ATAN, atan(x))
ACTIVATION(exp, TN_ACT_EXP, exp(x))
ACTIVATION(log, TN_ACT_LOG, log(x))
ACTIVATION(tanh, TN_ACT_TANH, tanh(x))
ACTIVATION(sigmoid, TN_ACT_SIGMOID, 1 / (1 + exp(-x)))
ACTIVATION(softplus, TN_ACT_SOFTPLUS, (x > 0 ? x : 0) + log1p(exp(-fabs(x))))
ACTIVATION(elu, TN_ACT_ELU, x < 0 ? alpha * expm1(x) : x)
/* In terms of ELU's kernel: beta ELU(x), and alpha (exp(x / alpha) - 1) below 0. */
LOOP(DOUBLE, double, double, selu, beta *(x > 0 ? x : alpha * expm1(x)))
static void selu_FLOAT(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) {
    const tn_act act = {TN_ACT_ELU, (float)args->alpha, 0};
    const float beta = (float)args->beta;
    float *y = out;
    (void)step;
    for (size_t i = 0; i < n; i += TN_ELEMENTWISE_CHUNK) {
        size_t m = TN_MIN(n - i, (size_t)TN_ELEMENTWISE_CHUNK);
        tn_act_f32(args->tier, &act, (const float *)in[0] + i, y + i, m);
        tn_bin_f32(args->tier, TN_BIN_MUL, y + i, 1, &beta, 0, y + i, m);
    }
}

LOOP(DOUBLE, double, double, celu, x < 0 ? alpha * expm1(x / alpha) : x)
static void celu_FLOAT(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) {
    const float *x = in[0], alpha = (float)args->alpha, zero = 0;
    const tn_act act = {TN_ACT_ELU, alpha, 0};
    float *y = out, below[TN_ELEMENTWISE_CHUNK];
    (void)step;
    for (size_t i = 0; !(alpha > 0) && i < n; i++) y[i] = x[i] < 0 ? alpha * expm1(x[i] / alpha) : x[i];
    for (size_t i = 0; alpha > 0 && i < n; i += TN_ELEMENTWISE_CHUNK) {
        size_t m = TN_MIN(n - i, (size_t)TN_ELEMENTWISE_CHUNK);
        tn_bin_f32(args->tier, TN_BIN_MIN, x + i, 1, &zero, 0, below, m);
        tn_bin_f32(args->tier, TN_BIN_DIV, below, 1, &alpha, 0, below, m);
        tn_act_f32(args->tier, &act, below, below, m);
        tn_bin_f32(args->tier, TN_BIN_MAX, x + i, 1, &zero, 0, y + i, m);
        tn_bin_f32(args->tier, TN_BIN_ADD, y + i, 1, below, 1, y + i, m);
    }
}

ACTIVATION(leaky_relu, TN_ACT_LEAKY, x < 0 ? alpha * x : x)
ACTIVATION(gelu, TN_ACT_GELU, 0.5 * x * (1 + erf(x * SQRT_HALF)))
ACTIVATION(gelu_tanh, TN_ACT_GELU_TANH, 0.5 * x * (1 + tanh(SQRT_TWO_BY_PI * (x + 0.044715 * x * x * x))))
ACTIVATION(mish, TN_ACT_MISH, x *tanh((x > 0 ? x : 0) + log1p(exp(-fabs(x)))))
ACTIVATION(swish, TN_ACT_SILU, x / (1 + exp(-alpha * x)))
ACTIVATION(hard_sigmoid, TN_ACT_HARDSIGMOID, fmin(fmax(alpha *x + beta, 0), 1) + 0 * x)
ACTIVATION(hard_swish, TN_ACT_HARDSWISH, x *fmin(fmax(x / 6 + 0.5, 0), 1))
ACTIVATION(relu, TN_ACT_RELU, x < 0 ? 0 : x)
TN_EACH_SINT(LOOP, relu, x < 0 ? 0 : x)
ACTIVATION(erf, TN_ACT_ERF, erf(x))
TN_EACH_INT(LOOP, erf, erf((double)x))

FLOAT_LOOPS(abs, fabs(x))
#define INT_ABS(NAME, T, P, F) LOOP(NAME, T, P, F, x < 0 ? TN_WRAP_SUB(T, 0, x) : x)
TN_EACH_SINT(INT_ABS, abs)
TN_EACH_UINT(LOOP, abs, x)
FLOAT_LOOPS(neg, -x)
#define INT_NEG(NAME, T, P, F) LOOP(NAME, T, P, F, TN_WRAP_SUB(T, 0, x))
TN_EACH_SINT(INT_NEG, neg)
FLOAT_LOOPS(sign, x != x ? x : (x > 0) - (x < 0))
TN_EACH_SINT(LOOP, sign, (x > 0) - (x < 0))
TN_EACH_UINT(LOOP, sign, x > 0)
/* alpha: lambd, beta: bias */
FLOAT_LOOPS(shrink, x<-alpha ? x + beta : x> alpha ? x - beta : 0)
#define INT_SHRINK(NAME, T, P, F) \
    LOOP(NAME, T, P, F, TN_F64_TO(T, (double)x<-alpha ? (double)x + beta : (double)x> alpha ? (double)x - beta : 0))
TN_EACH_INT(INT_SHRINK, shrink)

TN_EACH_FLOAT(TEST, is_nan, x != x)
/* alpha: detect_negative, beta: detect_positive */
TN_EACH_FLOAT(TEST, is_inf, isinf(x) && (x < 0 ? alpha != 0 : beta != 0))
TN_EACH_BOOL(LOOP, not, x == 0)
TN_EACH_INT(LOOP, bitwise_not, ~x)

#define EACH_SIGNED(X, F) TN_EACH_FLOAT(X, F) TN_EACH_SINT(X, F)
#define TABLE(NAME, EACH) static const tn_loop_fn NAME##_table[TERN_DTYPE_COUNT] = {EACH(TN_LOOP_ENTRY, NAME)};

/* ---- operators ----------------------------------------------------------------------------------------------- */

static double float_attr(const tn_node *n, const char *name, double default_value) {
    return name ? (double)tn_attr_f(n, name, (float)default_value) : default_value;
}

/* An operator whose parameters are at most two float attributes, which the loops know as alpha and beta. */
#define UNARY(NAME, EACH, TYPES, OUT, FLAGS, ALPHA_NAME, ALPHA, BETA_NAME, BETA)                       \
    TABLE(NAME, EACH)                                                                                  \
    static tern_status NAME##_infer(tn_infer *c) { return tn_elementwise_infer_unary(c, TYPES, OUT); } \
    static tern_status NAME##_prepare(tn_prepare *c) {                                                 \
        return tn_elementwise_prepare(c, NAME##_table, float_attr(c->node, ALPHA_NAME, ALPHA),         \
                                      float_attr(c->node, BETA_NAME, BETA));                           \
    }                                                                                                  \
    const tn_op tn_op_##NAME = TN_ELEMENTWISE_OP(NAME##_infer, NAME##_prepare, 1, 1, FLAGS);

#define SAME               (TN_OP_INPLACE | TN_OP_BLOCKED)
#define FUNCTION(NAME)     UNARY(NAME, TN_EACH_FLOAT, TN_TYPES_FLOAT, TERN_UNDEFINED, SAME, NULL, 0, NULL, 0)
#define SHAPED(NAME, A, V) UNARY(NAME, TN_EACH_FLOAT, TN_TYPES_FLOAT, TERN_UNDEFINED, SAME, A, V, NULL, 0)

FUNCTION(exp)
FUNCTION(log)
FUNCTION(sqrt)
FUNCTION(reciprocal)
FUNCTION(sin)
FUNCTION(cos)
FUNCTION(tan)
FUNCTION(asin)
FUNCTION(acos)
FUNCTION(atan)
FUNCTION(sinh)
FUNCTION(cosh)
FUNCTION(tanh)
FUNCTION(asinh)
FUNCTION(acosh)
FUNCTION(atanh)
FUNCTION(floor)
FUNCTION(ceil)
FUNCTION(round)
FUNCTION(sigmoid)
FUNCTION(softplus)
FUNCTION(softsign)
FUNCTION(mish)
FUNCTION(hard_swish)
SHAPED(leaky_relu, "alpha", 0.01)
SHAPED(thresholded_relu, "alpha", 1)
SHAPED(elu, "alpha", 1)
SHAPED(swish, "alpha", 1)
UNARY(hard_sigmoid, TN_EACH_FLOAT, TN_TYPES_FLOAT, TERN_UNDEFINED, SAME, "alpha", 0.2, "beta", 0.5)
UNARY(relu, EACH_SIGNED, TN_TYPES_FLOAT | TN_TYPES_SINT, TERN_UNDEFINED, SAME, NULL, 0, NULL, 0)
UNARY(neg, EACH_SIGNED, TN_TYPES_FLOAT | TN_TYPES_SINT, TERN_UNDEFINED, SAME, NULL, 0, NULL, 0)
UNARY(abs, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_UNDEFINED, SAME, NULL, 0, NULL, 0)
UNARY(sign, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_UNDEFINED, SAME, NULL, 0, NULL, 0)
UNARY(erf, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_UNDEFINED, SAME, NULL, 0, NULL, 0)
UNARY(shrink, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_UNDEFINED, SAME, "lambd", 0.5, "bias", 0)
UNARY(is_nan, TN_EACH_FLOAT, TN_TYPES_FLOAT | TN_TYPES_FLOAT8, TERN_BOOL, 0, NULL, 0, NULL, 0)
UNARY(not, TN_EACH_BOOL, TN_T(BOOL), TERN_UNDEFINED, TN_OP_INPLACE, NULL, 0, NULL, 0)
UNARY(bitwise_not, TN_EACH_INT, TN_TYPES_INT, TERN_UNDEFINED, TN_OP_INPLACE, NULL, 0, NULL, 0)

/* ---- those with parameters of another kind ------------------------------------------------------------------- */

static tern_status float_infer(tn_infer *c) { return tn_elementwise_infer_unary(c, TN_TYPES_FLOAT, TERN_UNDEFINED); }

TABLE(selu, TN_EACH_FLOAT)
static tern_status selu_prepare(tn_prepare *c) {
    bool first = c->node->since < 6; /* which rounded the defaults */
    return tn_elementwise_prepare(c, selu_table,
                                  float_attr(c->node, "alpha", first ? 1.6732 : 1.67326319217681884765625),
                                  float_attr(c->node, "gamma", first ? 1.0507 : 1.05070102214813232421875));
}
const tn_op tn_op_selu = TN_ELEMENTWISE_OP(float_infer, selu_prepare, 1, 1, SAME);

TABLE(celu, TN_EACH_FLOAT)
static tern_status celu_infer(tn_infer *c) {
    return tn_elementwise_infer_unary(c, c->node->since < 28 ? TN_T(FLOAT) : TN_TYPES_FLOAT, TERN_UNDEFINED);
}
static tern_status celu_prepare(tn_prepare *c) {
    return tn_elementwise_prepare(c, celu_table, float_attr(c->node, "alpha", 1), 0);
}
const tn_op tn_op_celu = TN_ELEMENTWISE_OP(celu_infer, celu_prepare, 1, 1, SAME);

TABLE(gelu, TN_EACH_FLOAT)
TABLE(gelu_tanh, TN_EACH_FLOAT)
static tern_status gelu_infer(tn_infer *c) {
    if (!tn_attr_is(c->node, "approximate", "none", "none") && !tn_attr_is(c->node, "approximate", "none", "tanh")) {
        tn_str s = tn_attr_s(c->node, "approximate", "none");
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute approximate is '%.*s', not 'none' or 'tanh'",
                             (int)TN_MIN(s.len, 40), s.data);
    }
    return float_infer(c);
}
static tern_status gelu_prepare(tn_prepare *c) {
    bool tanh_form = tn_attr_is(c->node, "approximate", "none", "tanh");
    return tn_elementwise_prepare(c, tanh_form ? gelu_tanh_table : gelu_table, 0, 0);
}
const tn_op tn_op_gelu = TN_ELEMENTWISE_OP(gelu_infer, gelu_prepare, 1, 1, SAME);

TABLE(is_inf, TN_EACH_FLOAT)
static tern_status is_inf_infer(tn_infer *c) {
    return tn_elementwise_infer_unary(c, TN_TYPES_FLOAT | TN_TYPES_FLOAT8, TERN_BOOL);
}
static tern_status is_inf_prepare(tn_prepare *c) {
    return tn_elementwise_prepare(c, is_inf_table, tn_attr_i(c->node, "detect_negative", 1) != 0,
                                  tn_attr_i(c->node, "detect_positive", 1) != 0);
}
const tn_op tn_op_is_inf = TN_ELEMENTWISE_OP(is_inf_infer, is_inf_prepare, 1, 1, 0);
