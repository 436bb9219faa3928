/* Derivatives of single operators. In names: x an input, y the output, dy its gradient, dx what is given to x. */
#include "opt/gradient_internal.h"

#include <math.h>

#define E1 tn_grad_emit1
#define E2 tn_grad_emit2
#define E3 tn_grad_emit3

static tn_value *dy_of(const tn_grad *d, const tn_node *n) { return tn_grad_of(d, n->out[0]); }
static tn_value *shape_of(tn_grad *d, tn_value *v) { return E1(d, "Shape", v); }
static tn_value *reshape_like(tn_grad *d, tn_value *g, tn_value *like) {
    return E2(d, "Reshape", g, shape_of(d, like));
}
static tn_value *times(tn_grad *d, tn_value *v, double by) { return E2(d, "Mul", v, tn_grad_scalar(d, by, v)); }
static tn_value *plus(tn_grad *d, tn_value *v, double more) { return E2(d, "Add", v, tn_grad_scalar(d, more, v)); }
static tn_value *square(tn_grad *d, tn_value *v) { return E2(d, "Mul", v, v); }
/* 1 - v. */
static tn_value *one_minus(tn_grad *d, tn_value *v) { return E2(d, "Sub", tn_grad_scalar(d, 1, v), v); }
static tn_value *greater(tn_grad *d, tn_value *v, double than) {
    return E2(d, "Greater", v, tn_grad_scalar(d, than, v));
}
static tn_value *mask(tn_grad *d, tn_value *condition, tn_value *like) { return E2(d, "CastLike", condition, like); }
static tn_value *add_attr_i(tn_grad *d, tn_value *v, const char *name, int64_t value) {
    if (v) tn_grad_set_i(d, v->producer, name, value);
    return v;
}

/* Rank of a value, or -1 when inference does not know it; then the rule refuses. */
static int rank_of(tn_grad *d, const tn_node *n, const tn_value *v) {
    if (v->type.kind == TERN_KIND_TENSOR && v->type.ranked) return v->type.shape.rank;
    tn_grad_refuse(d, n, "the rank of an input is not known before the model runs");
    return -1;
}

static void rule_zero(tn_grad *d, const tn_node *n) { (void)d, (void)n; }
static void rule_identity(tn_grad *d, const tn_node *n) { tn_grad_give(d, n, 0, dy_of(d, n)); }
static void rule_cast(tn_grad *d, const tn_node *n) { tn_grad_give(d, n, 0, E2(d, "CastLike", dy_of(d, n), n->in[0])); }

/* ---- one operand: dx = dy * local(x, y) ------------------------------------------------------------------------ */

typedef tn_value *(*local_fn)(tn_grad *d, const tn_node *n, tn_value *x, tn_value *y);

#define LOCAL(NAME)                                                                         \
    static tn_value *local_##NAME(tn_grad *d, const tn_node *n, tn_value *x, tn_value *y) { \
        (void)d, (void)n, (void)x, (void)y;                                                 \
        return
#define END \
    ;       \
    }

LOCAL(Neg)
tn_grad_scalar(d, -1, x) END LOCAL(Abs) E1(d, "Sign", x) END LOCAL(Sqrt) E2(d, "Div", tn_grad_scalar(d, 0.5, y), y) END
    LOCAL(Exp)
y END LOCAL(Log) E1(d, "Reciprocal", x) END LOCAL(Reciprocal) E1(d, "Neg", square(d, y)) END LOCAL(Sin)
    E1(d, "Cos", x) END LOCAL(Cos) E1(d, "Neg", E1(d, "Sin", x)) END LOCAL(Tan) plus(d, square(d, y), 1) END LOCAL(Asin)
        E1(d, "Reciprocal", E1(d, "Sqrt", one_minus(d, square(d, x)))) END LOCAL(Acos)
            E1(d, "Neg", local_Asin(d, n, x, y)) END LOCAL(Atan) E1(d, "Reciprocal", plus(d, square(d, x), 1)) END
    LOCAL(Sinh) E1(d, "Cosh", x) END LOCAL(Cosh) E1(d, "Sinh", x) END LOCAL(Tanh) one_minus(d, square(d, y)) END
    LOCAL(Asinh) E1(d, "Reciprocal", E1(d, "Sqrt", plus(d, square(d, x), 1))) END LOCAL(Acosh)
        E1(d, "Reciprocal", E1(d, "Sqrt", plus(d, square(d, x), -1))) END
    LOCAL(Atanh) E1(d, "Reciprocal", one_minus(d, square(d, x))) END LOCAL(Erf)
        times(d, E1(d, "Exp", E1(d, "Neg", square(d, x))), 1.1283791670955126) END LOCAL(Relu)
            mask(d, greater(d, x, 0), x) END LOCAL(Sigmoid) E2(d, "Mul", y, one_minus(d, y)) END LOCAL(Softplus)
                E1(d, "Sigmoid", x) END LOCAL(Softsign) E1(d, "Reciprocal", square(d, plus(d, E1(d, "Abs", x), 1))) END

    /* `above` where x > at, `below` elsewhere. */
    static tn_value *step_at(tn_grad *d, tn_value *x, double at, tn_value *above, tn_value *below) {
    return E3(d, "Where", greater(d, x, at), above, below);
}
LOCAL(LeakyRelu)
step_at(d, x, 0, tn_grad_scalar(d, 1, x), tn_grad_scalar(d, (double)tn_attr_f(n, "alpha", 0.01f), x)) END
    /* The defaults of Elu changed with no version. */
    LOCAL(Elu) step_at(d, x, 0, tn_grad_scalar(d, 1, x), plus(d, y, (double)tn_attr_f(n, "alpha", 1.0f))) END
    LOCAL(Celu) step_at(d, x, 0, tn_grad_scalar(d, 1, x),
                        E1(d, "Exp", times(d, x, 1 / (double)tn_attr_f(n, "alpha", 1.0f)))) END LOCAL(ThresholdedRelu)
        mask(d, greater(d, x, (double)tn_attr_f(n, "alpha", 1.0f)), x) END
    static tn_value *local_Selu(tn_grad *d, const tn_node *n, tn_value *x, tn_value *y) {
    /* The constants of opset 1 were those of the paper to four digits. */
    double alpha = (double)tn_attr_f(n, "alpha", n->since < 6 ? 1.6732f : 1.67326319217681884765625f);
    double gamma = (double)tn_attr_f(n, "gamma", n->since < 6 ? 1.0507f : 1.05070102214813232421875f);
    return step_at(d, x, 0, tn_grad_scalar(d, gamma, x), plus(d, y, gamma * alpha));
}
/* A straight piece: its slope where 0 < y < 1. */
LOCAL(HardSigmoid)
times(d, mask(d, E2(d, "And", greater(d, y, 0), E1(d, "Not", greater(d, y, 0.9999999))), x),
      (double)tn_attr_f(n, "alpha", 0.2f)) END LOCAL(HardSwish)
    E3(d, "Where", greater(d, x, -3), step_at(d, x, 3, tn_grad_scalar(d, 1, x), plus(d, times(d, x, 1 / 3.0), 0.5)),
       tn_grad_scalar(d, 0, x)) END
    static tn_value *local_Swish(tn_grad *d, const tn_node *n, tn_value *x, tn_value *y) {
    tn_value *ax = times(d, x, (double)tn_attr_f(n, "alpha", 1.0f)), *s = E1(d, "Sigmoid", ax);
    (void)y;
    return E2(d, "Mul", s, plus(d, E2(d, "Mul", ax, one_minus(d, s)), 1));
}
static tn_value *local_Mish(tn_grad *d, const tn_node *n, tn_value *x, tn_value *y) {
    tn_value *t = E1(d, "Tanh", E1(d, "Softplus", x));
    (void)n, (void)y;
    return E2(d, "Add", t, E2(d, "Mul", E2(d, "Mul", x, E1(d, "Sigmoid", x)), one_minus(d, square(d, t))));
}
/* x Phi(x): Phi(x) + x phi(x); with tanh: t = tanh(c (x + k x^3)). */
static tn_value *local_Gelu(tn_grad *d, const tn_node *n, tn_value *x, tn_value *y) {
    const double c = 0.7978845608028654, k = 0.044715;
    (void)y;
    if (tn_attr_is(n, "approximate", "none", "tanh")) {
        tn_value *x2 = square(d, x);
        tn_value *t = E1(d, "Tanh", times(d, E2(d, "Mul", x, plus(d, times(d, x2, k), 1)), c));
        tn_value *slope = times(d, plus(d, times(d, x2, 3 * k), 1), c);
        tn_value *inner = E2(d, "Mul", E2(d, "Mul", x, one_minus(d, square(d, t))), slope);
        return times(d, E2(d, "Add", plus(d, t, 1), inner), 0.5);
    }
    tn_value *cdf = times(d, plus(d, E1(d, "Erf", times(d, x, 0.7071067811865476)), 1), 0.5);
    tn_value *pdf = times(d, E1(d, "Exp", times(d, square(d, x), -0.5)), 0.3989422804014327);
    return E2(d, "Add", cdf, E2(d, "Mul", x, pdf));
}

static const struct {
    const char *op_type;
    local_fn local;
} locals[] = {
#define ROW(NAME) {#NAME, local_##NAME},
    ROW(Neg) ROW(Abs) ROW(Sqrt) ROW(Exp) ROW(Log) ROW(Reciprocal) ROW(Sin) ROW(Cos) ROW(Tan) ROW(Asin) ROW(Acos)
        ROW(Atan) ROW(Sinh) ROW(Cosh) ROW(Tanh) ROW(Asinh) ROW(Acosh) ROW(Atanh) ROW(Erf) ROW(Relu) ROW(Sigmoid)
            ROW(Softplus) ROW(Softsign) ROW(LeakyRelu) ROW(Elu) ROW(Celu) ROW(ThresholdedRelu) ROW(Selu)
                ROW(HardSigmoid) ROW(HardSwish) ROW(Swish) ROW(Mish) ROW(Gelu)
#undef ROW
};

static void rule_local(tn_grad *d, const tn_node *n) {
    for (size_t i = 0; i < TN_COUNT(locals); i++)
        if (strcmp(locals[i].op_type, n->op_type) == 0)
            tn_grad_give(d, n, 0, E2(d, "Mul", dy_of(d, n), locals[i].local(d, n, n->in[0], n->out[0])));
}

/* Kept where the bounds did not act; on a bound itself the derivative is 1. */
static void rule_clip(tn_grad *d, const tn_node *n) {
    tn_value *kept = mask(d, E2(d, "Equal", n->in[0], n->out[0]), dy_of(d, n));
    tn_grad_give(d, n, 0, E2(d, "Mul", dy_of(d, n), kept));
}

static void rule_dropout(tn_grad *d, const tn_node *n) {
    bool training = n->n_in > 2 && n->in[2];
    if (!training && n->since >= 7) {
        rule_identity(d, n);
    } else if (n->since < 12 || n->n_out < 2 || !n->out[1]) {
        tn_grad_refuse(d, n, "in training mode its output 'mask' is needed");
    } else {
        tn_value *dy = dy_of(d, n), *ratio = n->in[1] ? E2(d, "CastLike", n->in[1], dy) : tn_grad_scalar(d, 0.5, dy);
        tn_value *kept = E2(d, "Mul", dy, mask(d, n->out[1], dy));
        tn_grad_give(d, n, 0, E3(d, "Where", n->in[2], E2(d, "Div", kept, one_minus(d, ratio)), dy));
    }
}

/* ---- several operands, broadcast ------------------------------------------------------------------------------- */

/* g, summed to the shape of input i. */
static void give_sum(tn_grad *d, const tn_node *n, int i, tn_value *g) {
    if (tn_grad_wants(d, n, i)) tn_grad_give(d, n, i, tn_grad_sum_to(d, g, n->in[i], -1));
}

static bool old_broadcast(tn_grad *d, const tn_node *n) {
    if (n->since >= 7 || !tn_attr_i(n, "broadcast", 0)) return false;
    tn_grad_refuse(d, n, "it broadcasts by an attribute, as before opset 7");
    return true;
}

static void rule_binary(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n), *a = n->in[0], *b = n->in[1], *y = n->out[0];
    if (old_broadcast(d, n)) return;
    bool wants_b = tn_grad_wants(d, n, 1);
    switch (n->op_type[0]) {
    case 'A': /* Add */
        give_sum(d, n, 0, dy);
        give_sum(d, n, 1, dy);
        return;
    case 'S': /* Sub */
        give_sum(d, n, 0, dy);
        if (wants_b) give_sum(d, n, 1, E1(d, "Neg", dy));
        return;
    case 'M': /* Mul */
        if (tn_grad_wants(d, n, 0)) give_sum(d, n, 0, E2(d, "Mul", dy, b));
        if (wants_b) give_sum(d, n, 1, E2(d, "Mul", dy, a));
        return;
    default: /* Div */
        if (tn_grad_wants(d, n, 0)) give_sum(d, n, 0, E2(d, "Div", dy, b));
        if (wants_b) give_sum(d, n, 1, E1(d, "Neg", E2(d, "Mul", dy, E2(d, "Div", y, b))));
    }
}

/* da = b a^(b-1), 0 where b is 0; db = y log a, 0 where a is 0. */
static void rule_pow(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n), *a = n->in[0];
    if (old_broadcast(d, n)) return;
    tn_value *b = E2(d, "CastLike", n->in[1], a), *zero = tn_grad_scalar(d, 0, a);
    if (tn_grad_wants(d, n, 0)) {
        tn_value *slope = E2(d, "Mul", b, E2(d, "Pow", a, plus(d, b, -1)));
        give_sum(d, n, 0, E2(d, "Mul", dy, E3(d, "Where", E2(d, "Equal", b, zero), zero, slope)));
    }
    if (tn_grad_wants(d, n, 1)) {
        tn_value *slope = E2(d, "Mul", n->out[0], E1(d, "Log", a));
        tn_value *g = E2(d, "Mul", dy, E3(d, "Where", E2(d, "Equal", a, zero), zero, slope));
        give_sum(d, n, 1, E2(d, "CastLike", g, n->in[1]));
    }
}

static void rule_sum(tn_grad *d, const tn_node *n) {
    for (int i = 0; i < n->n_in; i++) give_sum(d, n, i, dy_of(d, n));
}
static void rule_mean(tn_grad *d, const tn_node *n) {
    tn_value *g = times(d, dy_of(d, n), 1.0 / n->n_in);
    for (int i = 0; i < n->n_in; i++) give_sum(d, n, i, g);
}

/* Operands that tie share the gradient evenly. */
static void rule_extreme(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n), *ties = NULL;
    for (int i = 0; i < n->n_in; i++) {
        tn_value *m = mask(d, E2(d, "Equal", n->in[i], n->out[0]), dy);
        ties = ties ? E2(d, "Add", ties, m) : m;
    }
    tn_value *share = E2(d, "Div", dy, ties);
    for (int i = 0; i < n->n_in; i++)
        if (tn_grad_wants(d, n, i))
            give_sum(d, n, i, E2(d, "Mul", share, mask(d, E2(d, "Equal", n->in[i], n->out[0]), dy)));
}

static void rule_prelu(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n), *x = n->in[0], *slope = n->in[1], *zero = tn_grad_scalar(d, 0, x);
    if (n->since < 7) {
        tn_grad_refuse(d, n, "slopes broadcast along the channels, as before opset 7");
        return;
    }
    tn_value *negative = E2(d, "Less", x, zero);
    tn_grad_give(d, n, 0, E3(d, "Where", negative, E2(d, "Mul", dy, slope), dy));
    give_sum(d, n, 1, E3(d, "Where", negative, E2(d, "Mul", dy, x), zero));
}

static void rule_where(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n), *zero = tn_grad_scalar(d, 0, dy);
    give_sum(d, n, 1, E3(d, "Where", n->in[0], dy, zero));
    give_sum(d, n, 2, E3(d, "Where", n->in[0], zero, dy));
}

/* ---- products --------------------------------------------------------------------------------------------------- */

static tn_value *swap_last(tn_grad *d, tn_value *v) {
    tn_value *t = tn_grad_emit(d, "", "Einsum", 1, &v);
    if (t) tn_grad_set_s(d, t->producer, "equation", "...ij->...ji");
    return t;
}

static tn_value *unsqueeze(tn_grad *d, tn_value *v, int64_t axis) {
    return E2(d, "Unsqueeze", v, tn_grad_ints(d, &axis, 1));
}

static void rule_matmul(tn_grad *d, const tn_node *n) {
    tn_value *a = n->in[0], *b = n->in[1], *dy = dy_of(d, n);
    int rank_a = rank_of(d, n, a), rank_b = rank_of(d, n, b);
    if (rank_a < 0 || rank_b < 0) return;
    /* Vectors become matrices of one row or column, as the operator does itself. */
    if (rank_a == 1 && rank_b == 1) dy = unsqueeze(d, dy, 0);
    if (rank_b == 1) b = unsqueeze(d, b, 1), dy = unsqueeze(d, dy, -1);
    if (rank_a == 1) a = unsqueeze(d, a, 0);
    if (rank_a == 1 && rank_b > 1) dy = unsqueeze(d, dy, -2);
    if (tn_grad_wants(d, n, 0)) {
        tn_value *g = tn_grad_sum_to(d, E2(d, "MatMul", dy, swap_last(d, b)), a, -1);
        tn_grad_give(d, n, 0, rank_a == 1 ? reshape_like(d, g, n->in[0]) : g);
    }
    if (tn_grad_wants(d, n, 1)) {
        tn_value *g = tn_grad_sum_to(d, E2(d, "MatMul", swap_last(d, a), dy), b, -1);
        tn_grad_give(d, n, 1, rank_b == 1 ? reshape_like(d, g, n->in[1]) : g);
    }
}

static tn_value *gemm(tn_grad *d, tn_value *a, tn_value *b, int64_t trans_a, int64_t trans_b, float alpha) {
    tn_value *y = E2(d, "Gemm", a, b);
    if (!y) return NULL;
    tn_grad_set_i(d, y->producer, "transA", trans_a);
    tn_grad_set_i(d, y->producer, "transB", trans_b);
    tn_grad_set_f(d, y->producer, "alpha", alpha);
    return y;
}

/* y = alpha A B + beta C, A and B transposed as ta and tb say. */
static void rule_gemm(tn_grad *d, const tn_node *n) {
    tn_value *a = n->in[0], *b = n->in[1], *dy = dy_of(d, n);
    int64_t ta = tn_attr_i(n, "transA", 0) != 0, tb = tn_attr_i(n, "transB", 0) != 0;
    float alpha = tn_attr_f(n, "alpha", 1), beta = tn_attr_f(n, "beta", 1);
    if (tn_grad_wants(d, n, 0))
        tn_grad_give(d, n, 0, ta ? gemm(d, b, dy, tb, 1, alpha) : gemm(d, dy, b, 0, !tb, alpha));
    if (tn_grad_wants(d, n, 1))
        tn_grad_give(d, n, 1, tb ? gemm(d, dy, a, 1, ta, alpha) : gemm(d, a, dy, !ta, 0, alpha));
    if (tn_grad_wants(d, n, 2)) give_sum(d, n, 2, times(d, dy, (double)beta));
}

/* tern:ConvInputGrad and tern:ConvWeightGrad take the attributes of Conv. */
static tn_value *conv_part(tn_grad *d, const tn_node *n, const char *op_type, tn_value *dy) {
    tn_value *v = tn_grad_emit(d, "tern", op_type, 3, (tn_value *[]){dy, n->in[0], n->in[1]});
    static const char *const names[] = {"strides", "pads", "dilations"};
    if (!v) return NULL;
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        size_t count;
        const int64_t *values = tn_attr_ints(n, names[i], &count);
        if (values) tn_grad_set_ints(d, v->producer, names[i], values, count);
    }
    tn_grad_set_i(d, v->producer, "group", tn_attr_i(n, "group", 1));
    static const char *const modes[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    for (size_t i = 0; i < TN_COUNT(modes); i++)
        if (tn_attr_is(n, "auto_pad", "NOTSET", modes[i])) tn_grad_set_s(d, v->producer, "auto_pad", modes[i]);
    return v;
}

static void rule_conv(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n);
    if (tn_grad_wants(d, n, 0)) tn_grad_give(d, n, 0, conv_part(d, n, "ConvInputGrad", dy));
    if (tn_grad_wants(d, n, 1)) tn_grad_give(d, n, 1, conv_part(d, n, "ConvWeightGrad", dy));
    if (tn_grad_wants(d, n, 2)) tn_grad_give(d, n, 2, tn_grad_sum_to(d, dy, n->in[2], 1));
}

/* The operator is linear in x: y - B(x = 0) is BatchNormalization without mean and bias. */
static void rule_batchnorm(tn_grad *d, const tn_node *n) {
    tn_value *dy = dy_of(d, n);
    if (tn_attr_i(n, "training_mode", 0) || n->since < 9 || tn_grad_wants(d, n, 3) || tn_grad_wants(d, n, 4)) {
        tn_grad_refuse(d, n, "only with given, constant statistics (opset 9 or later, training_mode 0)");
        return;
    }
    float epsilon = tn_attr_f(n, "epsilon", 1e-5f);
    if (tn_grad_wants(d, n, 0)) {
        tn_value *zero = tn_grad_full(d, 0, n->in[3]);
        tn_value *g = tn_grad_emit(d, "", "BatchNormalization", 5, (tn_value *[]){dy, n->in[1], zero, zero, n->in[4]});
        if (g) tn_grad_set_f(d, g->producer, "epsilon", epsilon);
        tn_grad_give(d, n, 0, g);
    }
    if (tn_grad_wants(d, n, 1)) {
        tn_value *zero = tn_grad_full(d, 0, n->in[1]), *one = tn_grad_full(d, 1, n->in[1]);
        tn_value *unit =
            tn_grad_emit(d, "", "BatchNormalization", 5, (tn_value *[]){n->in[0], one, zero, n->in[3], n->in[4]});
        if (unit) tn_grad_set_f(d, unit->producer, "epsilon", epsilon);
        tn_grad_give(d, n, 1, tn_grad_sum_to(d, E2(d, "Mul", dy, unit), n->in[1], 1));
    }
    if (tn_grad_wants(d, n, 2)) tn_grad_give(d, n, 2, tn_grad_sum_to(d, dy, n->in[2], 1));
}

/* ---- reductions and softmax ------------------------------------------------------------------------------------- */

/* The node's result with the reduced dims kept as 1, and dy in the same shape. */
static bool keep_dims(tn_grad *d, const tn_node *n, tn_value **y, tn_value **dy) {
    tn_node *copy = tn_grad_copy_node(d, n, 1);
    if (!copy) return false;
    tn_grad_set_i(d, copy, "keepdims", 1);
    *y = copy->out[0];
    *dy = reshape_like(d, dy_of(d, n), *y);
    return d->status == TERN_OK;
}

static void rule_reduce(tn_grad *d, const tn_node *n) {
    tn_value *y, *dy, *x = n->in[0], *g;
    const char *what = n->op_type + strlen("Reduce");
    if (!keep_dims(d, n, &y, &dy)) return;
    if (strcmp(what, "Sum") == 0) {
        g = dy;
    } else if (strcmp(what, "Mean") == 0) {
        tn_value *n_y = E2(d, "CastLike", E1(d, "Size", y), dy), *n_x = E2(d, "CastLike", E1(d, "Size", x), dy);
        g = E2(d, "Mul", dy, E2(d, "Div", n_y, n_x));
    } else if (strcmp(what, "SumSquare") == 0) {
        g = E2(d, "Mul", times(d, x, 2), dy);
    } else if (strcmp(what, "L1") == 0) {
        g = E2(d, "Mul", E1(d, "Sign", x), dy);
    } else if (strcmp(what, "L2") == 0) {
        g = E2(d, "Mul", E2(d, "Div", x, y), dy);
    } else if (strcmp(what, "LogSum") == 0) {
        g = E2(d, "Div", dy, E1(d, "Exp", y));
    } else if (strcmp(what, "LogSumExp") == 0) {
        g = E2(d, "Mul", E1(d, "Exp", E2(d, "Sub", x, y)), dy);
    } else { /* Max, Min: elements that tie share evenly */
        tn_value *m = mask(d, E2(d, "Equal", x, y), dy);
        g = E2(d, "Div", E2(d, "Mul", m, dy), tn_grad_sum_to(d, m, y, -1));
    }
    tn_grad_give(d, n, 0, E2(d, "Expand", g, shape_of(d, x)));
}

/* Sum of g over the axis, kept as 1. */
static tn_value *sum_axis(tn_grad *d, tn_value *g, int64_t axis) {
    return add_attr_i(d, E2(d, "ReduceSum", g, tn_grad_ints(d, &axis, 1)), "keepdims", 1);
}

/* dx = y (dy - sum(y dy)); of the logarithm: dy - exp(y) sum(dy). Before opset 13, over all dims from the axis on. */
static void rule_softmax(tn_grad *d, const tn_node *n) {
    tn_value *y = n->out[0], *dy = dy_of(d, n);
    bool log = n->op_type[0] == 'L';
    int64_t axis = tn_attr_i(n, "axis", n->since < 13 ? 1 : -1);
    if (n->since < 13) {
        y = add_attr_i(d, E1(d, "Flatten", y), "axis", axis);
        dy = add_attr_i(d, E1(d, "Flatten", dy), "axis", axis);
        axis = 1;
    }
    tn_value *g = log ? E2(d, "Sub", dy, E2(d, "Mul", E1(d, "Exp", y), sum_axis(d, dy, axis)))
                      : E2(d, "Mul", y, E2(d, "Sub", dy, sum_axis(d, E2(d, "Mul", y, dy), axis)));
    tn_grad_give(d, n, 0, n->since < 13 ? reshape_like(d, g, n->in[0]) : g);
}

/* ---- data movement ---------------------------------------------------------------------------------------------- */

static void rule_reshape(tn_grad *d, const tn_node *n) {
    tn_grad_give(d, n, 0, reshape_like(d, dy_of(d, n), n->in[0]));
}

static void rule_transpose(tn_grad *d, const tn_node *n) {
    size_t count;
    const int64_t *perm = tn_attr_ints(n, "perm", &count);
    tn_value *g = E1(d, "Transpose", dy_of(d, n));
    int64_t inverse[TERN_MAX_RANK] = {0};
    if (!g) return;
    for (size_t i = 0; perm && i < count; i++) {
        if (count > TERN_MAX_RANK || perm[i] < 0 || perm[i] >= (int64_t)count) {
            tn_grad_refuse(d, n, "its attribute 'perm' is no permutation");
            return;
        }
        inverse[perm[i]] = (int64_t)i;
    }
    if (perm && count) tn_grad_set_ints(d, g->producer, "perm", inverse, count);
    tn_grad_give(d, n, 0, g);
}

static void rule_expand(tn_grad *d, const tn_node *n) { give_sum(d, n, 0, dy_of(d, n)); }

static void rule_concat(tn_grad *d, const tn_node *n) {
    int64_t axis = tn_attr_i(n, "axis", 1);
    tn_value *index = tn_grad_ints(d, &axis, 1);
    tn_value **sizes = tn_arena_array(&d->o->scratch, (size_t)n->n_in, sizeof *sizes);
    if (!sizes) return;
    for (int i = 0; i < n->n_in; i++) sizes[i] = E2(d, "Gather", shape_of(d, n->in[i]), index);
    tn_value *all = add_attr_i(d, tn_grad_emit(d, "", "Concat", n->n_in, sizes), "axis", 0);
    if (!all) return;
    tn_node *split = tn_graph_add_node(d->graph, "", "Split", TN_GRAD_OPSET - 5, 2, n->n_in);
    for (int i = 0; split && i < n->n_in; i++) {
        split->out[i] = tn_graph_new_value(d->graph, "gradient");
        if (split->out[i]) split->out[i]->producer = split;
    }
    if (!split || !split->out[n->n_in - 1]) {
        d->status = tn_fail_oom(d->o->err, sizeof *split);
        return;
    }
    split->in[0] = dy_of(d, n);
    split->in[1] = all;
    tn_grad_set_i(d, split, "axis", axis);
    for (int i = 0; i < n->n_in; i++) tn_grad_give(d, n, i, split->out[i]);
}

static void rule_split(tn_grad *d, const tn_node *n) {
    tn_value **parts = tn_arena_array(&d->o->scratch, (size_t)n->n_out, sizeof *parts);
    if (!parts) return;
    for (int i = 0; i < n->n_out; i++) {
        parts[i] = tn_grad_of(d, n->out[i]);
        if (!parts[i] && !n->out[i]) {
            tn_grad_refuse(d, n, "one of its outputs has no name");
            return;
        }
        if (!parts[i]) parts[i] = tn_grad_full(d, 0, n->out[i]);
    }
    tn_grad_give(d, n, 0,
                 add_attr_i(d, tn_grad_emit(d, "", "Concat", n->n_out, parts), "axis", tn_attr_i(n, "axis", 0)));
}

/* dy is added, at the places of a flat x (and `spare` more elements) that `places` names. */
static tn_value *scatter_flat(tn_grad *d, tn_value *dy, tn_value *places, tn_value *size) {
    static const int64_t minus_one = -1;
    tn_value *flat = tn_grad_ints(d, &minus_one, 1);
    tn_value *zeros = E2(d, "Expand", tn_grad_scalar(d, 0, dy), E2(d, "Reshape", size, flat));
    tn_value *g = E3(d, "ScatterElements", zeros, E2(d, "Reshape", places, flat), E2(d, "Reshape", dy, flat));
    if (g) tn_grad_set_s(d, g->producer, "reduction", "add");
    return g;
}

/* 0, 1, 2 ... in the shape of x. */
static tn_value *places_of(tn_grad *d, tn_value *x, tn_value *size) {
    static const int64_t zero = 0, one = 1;
    tn_value *range = E3(d, "Range", tn_grad_ints(d, &zero, -1), size, tn_grad_ints(d, &one, -1));
    return reshape_like(d, range, x);
}

/* Operators that copy elements: run on the elements' places, they say where each element came from. */
static void rule_movement(tn_grad *d, const tn_node *n) {
    if (!tn_grad_wants(d, n, 0)) return;
    tn_value *x = n->in[0], *size = E1(d, "Size", x), *places = places_of(d, x, size);
    tn_node *copy = tn_grad_copy_node(d, n, 1);
    if (!copy) return;
    copy->in[0] = places;
    tn_grad_give(d, n, 0, reshape_like(d, scatter_flat(d, dy_of(d, n), copy->out[0], size), x));
}

/* Likewise; what is padded comes from a place after the last one, which is dropped. */
static void rule_pad(tn_grad *d, const tn_node *n) {
    static const int64_t zero = 0, one = 1;
    if (n->since < 11) {
        tn_grad_refuse(d, n, "as it was before opset 11");
        return;
    }
    if (tn_grad_wants(d, n, 2)) tn_grad_refuse(d, n, "with respect to its constant_value");
    tn_value *x = n->in[0], *size = E1(d, "Size", x), *places = places_of(d, x, size);
    tn_node *copy = tn_grad_copy_node(d, n, 1);
    tn_value **in = tn_arena_array(&d->o->model->arena, (size_t)n->n_in + 3, sizeof *in);
    if (!copy || !in) return;
    for (int i = 0; i < n->n_in; i++) in[i] = n->in[i];
    in[0] = places;
    in[2] = size;
    copy->in = in;
    copy->n_in = TN_MAX(n->n_in, 3);
    tn_value *room = E2(d, "Add", size, tn_grad_ints(d, &one, -1));
    tn_value *g = scatter_flat(d, dy_of(d, n), copy->out[0], room);
    static const int64_t flat = -1;
    g = E3(d, "Slice", g, tn_grad_ints(d, &zero, 1), E2(d, "Reshape", size, tn_grad_ints(d, &flat, 1)));
    tn_grad_give(d, n, 0, reshape_like(d, g, x));
}

static void rule_max_pool(tn_grad *d, const tn_node *n) {
    if (n->since < 8 || tn_attr_i(n, "storage_order", 0)) {
        tn_grad_refuse(d, n, "only from opset 8 on, with storage_order 0");
        return;
    }
    tn_node *copy = tn_grad_copy_node(d, n, 2); /* with Indices */
    if (!copy) return;
    tn_value *x = n->in[0];
    tn_grad_give(d, n, 0, reshape_like(d, scatter_flat(d, dy_of(d, n), copy->out[1], E1(d, "Size", x)), x));
}

static void rule_global_average(tn_grad *d, const tn_node *n) {
    tn_value *x = n->in[0], *dy = dy_of(d, n);
    tn_value *n_y = E2(d, "CastLike", E1(d, "Size", n->out[0]), dy), *n_x = E2(d, "CastLike", E1(d, "Size", x), dy);
    tn_grad_give(d, n, 0, E2(d, "Expand", E2(d, "Mul", dy, E2(d, "Div", n_y, n_x)), shape_of(d, x)));
}

/* Linear in input 0 and its own transpose, but for the direction. */
static void rule_same_on_dy(tn_grad *d, const tn_node *n) {
    tn_node *copy = tn_grad_copy_node(d, n, 1);
    if (!copy) return;
    copy->in[0] = dy_of(d, n);
    if (strcmp(n->op_type, "CumSum") == 0) tn_grad_set_i(d, copy, "reverse", !tn_attr_i(n, "reverse", 0));
    tn_grad_give(d, n, 0, copy->out[0]);
}

static void rule_scatter_elements(tn_grad *d, const tn_node *n) {
    bool add = tn_attr_is(n, "reduction", "none", "add");
    tn_value *dy = dy_of(d, n);
    int64_t axis = tn_attr_i(n, "axis", 0);
    if (!add && !tn_attr_is(n, "reduction", "none", "none")) {
        tn_grad_refuse(d, n, "only with reduction 'none' or 'add'");
        return;
    }
    if (tn_grad_wants(d, n, 0)) {
        tn_value *g = dy;
        if (!add) g = add_attr_i(d, E3(d, "ScatterElements", dy, n->in[1], tn_grad_full(d, 0, n->in[2])), "axis", axis);
        tn_grad_give(d, n, 0, g);
    }
    if (tn_grad_wants(d, n, 2))
        tn_grad_give(d, n, 2, add_attr_i(d, E2(d, "GatherElements", dy, n->in[1]), "axis", axis));
}

/* tern:SumTo of a gradient, for gradients of gradients. */
static void rule_sum_to(tn_grad *d, const tn_node *n) {
    if (tn_attr_find(n, "axis"))
        tn_grad_refuse(d, n, "a second time");
    else
        tn_grad_give(d, n, 0, E2(d, "Expand", dy_of(d, n), shape_of(d, n->in[0])));
}

/* ---- table ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *op_type;
    tn_grad_rule rule;
} rules[] = {
    {"Identity", rule_identity},
    {"Cast", rule_cast},
    {"CastLike", rule_cast},
    {"Clip", rule_clip},
    {"Dropout", rule_dropout},
    {"Add", rule_binary},
    {"Sub", rule_binary},
    {"Mul", rule_binary},
    {"Div", rule_binary},
    {"Pow", rule_pow},
    {"Sum", rule_sum},
    {"Mean", rule_mean},
    {"Max", rule_extreme},
    {"Min", rule_extreme},
    {"PRelu", rule_prelu},
    {"Where", rule_where},
    {"MatMul", rule_matmul},
    {"Gemm", rule_gemm},
    {"Conv", rule_conv},
    {"BatchNormalization", rule_batchnorm},
    {"ReduceSum", rule_reduce},
    {"ReduceMean", rule_reduce},
    {"ReduceSumSquare", rule_reduce},
    {"ReduceL1", rule_reduce},
    {"ReduceL2", rule_reduce},
    {"ReduceLogSum", rule_reduce},
    {"ReduceLogSumExp", rule_reduce},
    {"ReduceMax", rule_reduce},
    {"ReduceMin", rule_reduce},
    {"Softmax", rule_softmax},
    {"LogSoftmax", rule_softmax},
    {"Reshape", rule_reshape},
    {"Flatten", rule_reshape},
    {"Squeeze", rule_reshape},
    {"Unsqueeze", rule_reshape},
    {"Transpose", rule_transpose},
    {"Expand", rule_expand},
    {"Concat", rule_concat},
    {"Split", rule_split},
    {"Slice", rule_movement},
    {"Gather", rule_movement},
    {"GatherElements", rule_movement},
    {"GatherND", rule_movement},
    {"Tile", rule_movement},
    {"DepthToSpace", rule_movement},
    {"SpaceToDepth", rule_movement},
    {"Pad", rule_pad},
    {"MaxPool", rule_max_pool},
    {"Trilu", rule_same_on_dy},
    {"GlobalAveragePool", rule_global_average},
    {"CumSum", rule_same_on_dy},
    {"ScatterElements", rule_scatter_elements},
    {"Shape", rule_zero},
    {"Size", rule_zero},
    {"Floor", rule_zero},
    {"Ceil", rule_zero},
    {"Round", rule_zero},
    {"Sign", rule_zero},
    {"Equal", rule_zero},
    {"Greater", rule_zero},
    {"GreaterOrEqual", rule_zero},
    {"Less", rule_zero},
    {"LessOrEqual", rule_zero},
    {"And", rule_zero},
    {"Or", rule_zero},
    {"Not", rule_zero},
    {"ArgMax", rule_zero},
    {"ArgMin", rule_zero},
    {"IsNaN", rule_zero},
    {"IsInf", rule_zero},
    {"NonZero", rule_zero},
    {"ConstantOfShape", rule_zero},
};

tn_grad_rule tn_grad_find_rule(const tn_node *n) {
    if (strcmp(n->domain, "tern") == 0) return strcmp(n->op_type, "SumTo") == 0 ? rule_sum_to : NULL;
    if (*n->domain) return NULL;
    for (size_t i = 0; i < TN_COUNT(rules); i++)
        if (strcmp(rules[i].op_type, n->op_type) == 0) return rules[i].rule;
    for (size_t i = 0; i < TN_COUNT(locals); i++)
        if (strcmp(locals[i].op_type, n->op_type) == 0) return rule_local;
    return NULL;
}
