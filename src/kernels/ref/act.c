#include <math.h>

#include "kernels/ref/ref.h"

static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

static double clip(double x, double lo, double hi) {
    if (isnan(x)) return x;
    return fmin(fmax(x, lo), hi);
}

double tn_ref_act(const tn_act *act, double x) {
    double alpha = (double)act->alpha, beta = (double)act->beta;
    switch (act->kind) {
    case TN_ACT_NONE:
        return x;
    case TN_ACT_RELU:
        return isnan(x) ? x : fmax(x, 0);
    case TN_ACT_CLIP:
        return clip(x, alpha, beta);
    case TN_ACT_LEAKY:
        return x < 0 ? alpha * x : x;
    case TN_ACT_SIGMOID:
        return sigmoid(x);
    case TN_ACT_SILU:
        return x * sigmoid(alpha * x);
    case TN_ACT_HARDSIGMOID:
        return clip(alpha * x + beta, 0, 1);
    case TN_ACT_HARDSWISH:
        return x * clip(x / 6 + 0.5, 0, 1);
    case TN_ACT_TANH:
        return tanh(x);
    case TN_ACT_GELU:
        return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case TN_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TN_ACT_MISH:
        return x * tanh(x > 40 ? x : log1p(exp(x)));
    case TN_ACT_ELU:
        return x < 0 ? alpha * expm1(x) : x;
    case TN_ACT_SOFTPLUS:
        return x > 40 ? x : log1p(exp(x));
    case TN_ACT_EXP:
        return exp(x);
    case TN_ACT_ERF:
        return erf(x);
    case TN_ACT_LOG:
        return log(x);
    case TN_ACT_SQRT:
        return sqrt(x);
    case TN_ACT_FLOOR:
        return floor(x);
    case TN_ACT_CEIL:
        return ceil(x);
    case TN_ACT_ROUND:
        return rint(x);
    case TN_ACT_SIN:
        return sin(x);
    case TN_ACT_COS:
        return cos(x);
    case TN_ACT_TAN:
        return tan(x);
    case TN_ACT_ASIN:
        return asin(x);
    case TN_ACT_ACOS:
        return acos(x);
    case TN_ACT_ATAN:
        return atan(x);
    case TN_ACT_COUNT:
        break;
    }
    return NAN;
}
