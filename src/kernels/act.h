/* Activation functions: fused epilogues and passes over arrays. */
#ifndef TN_KERNELS_ACT_H
#define TN_KERNELS_ACT_H

#include "base/base.h"
#include "cpu/cpu.h"

typedef enum tn_act_kind {
    TN_ACT_NONE = 0,
    TN_ACT_RELU,        /* max(x, 0) */
    TN_ACT_CLIP,        /* min(max(x, alpha), beta) */
    TN_ACT_LEAKY,       /* x < 0 ? alpha * x : x */
    TN_ACT_SIGMOID,     /* 1 / (1 + exp(-x)) */
    TN_ACT_SILU,        /* x * sigmoid(alpha * x); alpha 1 is SiLU */
    TN_ACT_HARDSIGMOID, /* clip(alpha * x + beta, 0, 1) */
    TN_ACT_HARDSWISH,   /* x * clip(x / 6 + 0.5, 0, 1) */
    TN_ACT_TANH,
    TN_ACT_GELU,      /* 0.5 * x * (1 + erf(x / sqrt 2)) */
    TN_ACT_GELU_TANH, /* 0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) */
    TN_ACT_MISH,      /* x * tanh(log(1 + exp(x))) */
    TN_ACT_ELU,       /* x < 0 ? alpha * (exp(x) - 1) : x */
    TN_ACT_SOFTPLUS,  /* log(1 + exp(x)) */
    TN_ACT_EXP,
    TN_ACT_ERF,
    TN_ACT_LOG, /* -infinity for zeros, NaN below */
    TN_ACT_SQRT,
    TN_ACT_FLOOR,
    TN_ACT_CEIL,
    TN_ACT_ROUND, /* halves to even */
    TN_ACT_SIN,   /* radians */
    TN_ACT_COS,
    TN_ACT_TAN,
    TN_ACT_ASIN,
    TN_ACT_ACOS,
    TN_ACT_ATAN,
    TN_ACT_COUNT
} tn_act_kind;

typedef struct tn_act {
    tn_act_kind kind;
    float alpha, beta;
} tn_act;

/* Activations that the register tile applies itself, as a clamp; the others run over its result. */
TN_INLINE bool tn_act_is_clamp(tn_act_kind kind) {
    return kind == TN_ACT_NONE || kind == TN_ACT_RELU || kind == TN_ACT_CLIP;
}
/* NULL, or an activation that is none: no limits. */
TN_INLINE void tn_act_clamp(const tn_act *act, float *lo, float *hi) {
    tn_act_kind kind = act ? act->kind : TN_ACT_NONE;
    *lo = kind == TN_ACT_RELU ? 0.0f : kind == TN_ACT_CLIP ? act->alpha : -__builtin_inff();
    *hi = kind == TN_ACT_CLIP ? act->beta : __builtin_inff();
}

/* y[i] = act(x[i]); x == y is fine. NaN stays NaN (RELU and CLIP too). Same bits for any n and alignment: a tail goes
 * through the same arithmetic as a full vector. Error bounds in ULP: docs/numerics.md, checked by tests/kernels. */
void tn_act_f32(tern_cpu_tier tier, const tn_act *act, const float *x, float *y, size_t n);

#endif
