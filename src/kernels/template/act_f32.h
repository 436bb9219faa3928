/* Activations over an array; the error of each in ULP is in docs/numerics.md. */
#include <float.h>
#include <math.h>

#include "kernels/act.h"
#include "kernels/template/exp_f32.h"
#include "kernels/template/trig_f32.h"

/* For x <= 88; relative error stays small near zero because 2^n - 1 is exact. */
TN_INLINE vf vexpm1(vf x) {
    vf n, r = exp_reduce(vf_max(vf_set(-30.0f), x), &n);
    vf s = vf_scale(vf_set(1.0f), n);
    return vf_fma(s, expm1_core(r), vf_sub(s, vf_set(1.0f)));
}

/* With e = exp(-|x|) nothing overflows: 1 / (1 + e) for x >= 0, e / (1 + e) below. */
TN_INLINE vf vsigmoid(vf x) {
    vf e = vexp(vf_sub(vf_zero(), vf_abs(x)));
    vf top = vf_sel(vf_lt(x, vf_zero()), e, vf_set(1.0f));
    return vf_div(top, vf_add(e, vf_set(1.0f)));
}

#ifdef POW2_STEPS
/* exp(-u) = 2^n exp(-r), n = -u log2 e rounded to a multiple of 1 / POW2_STEPS: 2^n from a table in registers, exp(-r)
 * by a minimax polynomial, whose degree is as low as the table is fine. Adding POW2_MAGIC rounds and leaves n *
 * POW2_STEPS in the lower bits. Infinite below -88.72; log 2 as one float is off by 3e-9 of itself, so |u| / 20 ULP of
 * the result. */
#define POW2_MAGIC (12582912.0f / POW2_STEPS)
TN_INLINE vf vexp_minus(vf u) {
#if POW2_STEPS == 32
    /* The polynomial is c ((r - a)^2 + b), within 0.9 eps; c is in the table. */
    static const int32_t table[32] = {
        0x3effff85, 0x3efecd48, 0x3efdaa83, 0x3efc97cd, 0x3efb957f, 0x3efaa3f5, 0x3ef9c38d, 0x3ef8f4a8,
        0x3ef837a7, 0x3ef78cef, 0x3ef6f4e6, 0x3ef66ff5, 0x3ef5fe87, 0x3ef5a109, 0x3ef557eb, 0x3ef523a0,
        0x3ef5049c, 0x3ef4fb56, 0x3ef50848, 0x3ef52bf0, 0x3ef566cb, 0x3ef5b95c, 0x3ef62429, 0x3ef6a7b8,
        0x3ef74495, 0x3ef7fb4d, 0x3ef8cc72, 0x3ef9b898, 0x3efac056, 0x3efbe446, 0x3efd2507, 0x3efe833a};
#else
    static const int32_t table[8] = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                                     0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
#endif
    u = vf_min(vf_set(87.0f), vf_max(vf_set(-88.724f), u));
    vf m = vf_fma(u, vf_set(-LOG2_E), vf_set(POW2_MAGIC));
    vf r = vf_fma(vf_sub(m, vf_set(POW2_MAGIC)), vf_set(0.693147181f), u);
#if POW2_STEPS == 32
    vf d = vf_sub(r, vf_set(1.00002208f)), p = vf_fma(d, d, vf_set(0.999970559f));
#else
    vf p = vf_fma(r, vf_set(-0.166650965f), vf_set(0.500078502f));
    p = vf_fma(p, r, vf_set(-1.0f));
    p = vf_fma(p, r, vf_set(1.0f));
#endif
    return vf_mul(vf_pow2(table, m), p);
}

/* u = alpha x. Where exp(-u) is infinite the result is 0: it would be below 3e-37. */
TN_INLINE vf vsilu(vf x, vf u) { return vf_div(x, vf_add(vexp_minus(u), vf_set(1.0f))); }
#else
TN_INLINE vf vsilu(vf x, vf u) { return vf_mul(x, vsigmoid(u)); }
#endif

/* tanh |x| = q / (q + 2), q = exp(2 |x|) - 1; 1 in float from 9.02 on. */
TN_INLINE vf vtanh(vf x) {
    vf q = vexpm1(vf_min(vf_set(20.0f), vf_mul(vf_abs(x), vf_set(2.0f))));
    return vf_copysign(vf_div(q, vf_add(q, vf_set(2.0f))), x);
}

/* |x| < 1: x P(x^2). Above: 1 - exp(-Q(|x|)) with Q fitted to -log(erfc); 1 in float from 3.92 on. */
TN_INLINE vf verf(vf x) {
    vf a = vf_abs(x), u = vf_mul(x, x);
    vf p = vf_set(7.853854186e-05f);
    p = vf_fma(p, u, vf_set(-8.010191377e-04f));
    p = vf_fma(p, u, vf_set(5.188327283e-03f));
    p = vf_fma(p, u, vf_set(-2.685381100e-02f));
    p = vf_fma(p, u, vf_set(1.128358543e-01f));
    p = vf_fma(p, u, vf_set(-3.761262596e-01f));
    p = vf_mul(x, vf_fma(p, u, vf_set(1.128379107e+00f)));
    vf b = vf_min(vf_set(4.0f), a), q = vf_set(-1.888236147e-04f);
    q = vf_fma(q, b, vf_set(2.972441958e-03f));
    q = vf_fma(q, b, vf_set(-2.194043063e-02f));
    q = vf_fma(q, b, vf_set(1.033273488e-01f));
    q = vf_fma(q, b, vf_set(6.378830671e-01f));
    q = vf_fma(q, b, vf_set(1.127251506e+00f));
    q = vf_fma(q, b, vf_set(3.004283353e-04f));
    q = vf_sub(vf_set(1.0f), vexp(vf_sub(vf_zero(), q)));
    return vf_sel(vf_lt(a, vf_set(1.0f)), p, vf_copysign(q, x));
}

/* log(1 + t) for t in [0, 1]: 2 atanh(s), s = t / (2 + t) <= 1/3. */
TN_INLINE vf vlog1p(vf t) {
    vf s = vf_div(t, vf_add(t, vf_set(2.0f))), u = vf_mul(s, s), p = vf_set(1.215046868e-01f);
    p = vf_fma(p, u, vf_set(1.071382836e-01f));
    p = vf_fma(p, u, vf_set(1.430844218e-01f));
    p = vf_fma(p, u, vf_set(1.999943852e-01f));
    p = vf_fma(p, u, vf_set(3.333333731e-01f));
    s = vf_add(s, s);
    return vf_fma(vf_mul(s, u), p, s);
}

/* x = 2^e m, m in [sqrt 1/2, sqrt 2]. With f = m - 1, which is exact, and s = f / (2 + f), log m = 2 atanh(s) =
 * f - s (f - R), R = 2 s^2 P(s^2) with P as above: the error of s counts by a sixth at most. e times the first part of
 * log 2 is exact. Subnormal x are scaled by 2^24 first. */
TN_INLINE vf vlog(vf x) {
    vm tiny = vf_lt(x, vf_set(FLT_MIN));
    vf c = vf_sel(tiny, vf_mul(x, vf_set(16777216.0f)), x);
    c = vf_min(vf_max(c, vf_set(FLT_MIN)), vf_set(FLT_MAX)); /* the rest is chosen below */
    vf e = vf_exponent(c), m = vf_scale(c, vf_sub(vf_zero(), e));
    vm high = vf_lt(vf_set(1.41421356f), m);
    m = vf_sel(high, vf_mul(m, vf_set(0.5f)), m);
    e = vf_add(e, vf_add(vf_sel(high, vf_set(1.0f), vf_zero()), vf_sel(tiny, vf_set(-24.0f), vf_zero())));
    vf f = vf_sub(m, vf_set(1.0f)), s = vf_div(f, vf_add(f, vf_set(2.0f))), u = vf_mul(s, s);
    vf p = vf_set(1.215046868e-01f);
    p = vf_fma(p, u, vf_set(1.071382836e-01f));
    p = vf_fma(p, u, vf_set(1.430844218e-01f));
    p = vf_fma(p, u, vf_set(1.999943852e-01f));
    p = vf_fma(p, u, vf_set(3.333333731e-01f));
    vf low = vf_fma(e, vf_set(LN2_LO), vf_mul(s, vf_sub(vf_mul(vf_add(u, u), p), f)));
    vf y = vf_fma(e, vf_set(LN2_HI), vf_add(low, f));
    vf rest = vf_sel(vf_lt(x, vf_zero()), vf_set(NAN), vf_set(-INFINITY));
    y = vf_sel(vf_lt(vf_zero(), x), y, rest);
    return vf_sel(vf_lt(x, vf_set(INFINITY)), y, x);
}

TN_INLINE vf vsoftplus(vf x) {
    vf e = vexp(vf_sub(vf_zero(), vf_abs(x)));
    return vf_add(vf_max(vf_zero(), x), vlog1p(e));
}

/* tanh(log(1 + e)) = w / (w + 2), w = e (e + 2), e = exp(x); 1 in float from 10 on. */
TN_INLINE vf vmish(vf x) {
    vf e = vexp(vf_min(vf_set(20.0f), x)), w = vf_mul(e, vf_add(e, vf_set(2.0f)));
    return vf_mul(x, vf_div(w, vf_add(w, vf_set(2.0f))));
}

TN_INLINE vf vgelu(vf x) {
    vf h = vf_mul(x, vf_set(0.5f));
    return vf_mul(h, vf_add(verf(vf_mul(x, vf_set(0.707106781f))), vf_set(1.0f)));
}

TN_INLINE vf vgelu_tanh(vf x) {
    vf u = vf_mul(x, vf_set(0.797884561f)), x2 = vf_mul(x, x);
    vf t = vtanh(vf_fma(vf_mul(u, x2), vf_set(0.044715f), u));
    return vf_mul(vf_mul(x, vf_set(0.5f)), vf_add(t, vf_set(1.0f)));
}

/* Adding 2^23 leaves no room for a fraction; what is larger has none. */
TN_INLINE vf vrint(vf x) {
    vf big = vf_set(8388608.0f), a = vf_abs(x);
    return vf_sel(vf_lt(a, big), vf_copysign(vf_sub(vf_add(a, big), big), x), x);
}
TN_INLINE vf vfloor(vf x) {
    vf r = vrint(x);
    return vf_sel(vf_lt(x, r), vf_sub(r, vf_set(1.0f)), r);
}
/* The sum may be 0 where -0 is due. */
TN_INLINE vf vceil(vf x) {
    vf r = vrint(x);
    return vf_sel(vf_lt(r, x), vf_copysign(vf_abs(vf_add(r, vf_set(1.0f))), x), r);
}

TN_INLINE vf vclip(vf x, vf lo, vf hi) { return vf_min(hi, vf_max(lo, x)); }

TN_INLINE vf act_vector(tn_act_kind kind, vf x, vf alpha, vf beta) {
    switch (kind) {
    case TN_ACT_NONE:
        return x;
    case TN_ACT_RELU:
        return vf_max(vf_zero(), x);
    case TN_ACT_CLIP:
        return vclip(x, alpha, beta);
    case TN_ACT_LEAKY:
        return vf_sel(vf_lt(x, vf_zero()), vf_mul(x, alpha), x);
    case TN_ACT_SIGMOID:
        return vsigmoid(x);
    case TN_ACT_SILU:
        return vsilu(x, vf_mul(x, alpha));
    case TN_ACT_HARDSIGMOID:
        return vclip(vf_add(vf_mul(x, alpha), beta), vf_zero(), vf_set(1.0f));
    case TN_ACT_HARDSWISH:
        return vf_mul(x, vclip(vf_add(vf_mul(x, vf_set(1.0f / 6.0f)), vf_set(0.5f)), vf_zero(), vf_set(1.0f)));
    case TN_ACT_TANH:
        return vtanh(x);
    case TN_ACT_GELU:
        return vgelu(x);
    case TN_ACT_GELU_TANH:
        return vgelu_tanh(x);
    case TN_ACT_MISH:
        return vmish(x);
    case TN_ACT_ELU:
        return vf_sel(vf_lt(x, vf_zero()), vf_mul(alpha, vexpm1(vf_min(vf_zero(), x))), x);
    case TN_ACT_SOFTPLUS:
        return vsoftplus(x);
    case TN_ACT_EXP:
        return vexp(x);
    case TN_ACT_ERF:
        return verf(x);
    case TN_ACT_LOG:
        return vlog(x);
    case TN_ACT_SQRT:
        return vf_sqrt(x);
    case TN_ACT_FLOOR:
        return vfloor(x);
    case TN_ACT_CEIL:
        return vceil(x);
    case TN_ACT_ROUND:
        return vrint(x);
    case TN_ACT_SIN:
        return vsin(x, 0.0f);
    case TN_ACT_COS:
        return vsin(x, 1.0f);
    case TN_ACT_TAN:
        return vtan(x);
    case TN_ACT_ASIN:
        return vasin(x);
    case TN_ACT_ACOS:
        return vacos(x);
    case TN_ACT_ATAN:
        return vatan(x);
    case TN_ACT_COUNT:
        break;
    }
    return x;
}

/* Whole vectors and the tail share one copy of the arithmetic, which is most of the code here. */
TN_INLINE void act_loop(tn_act_kind kind, const tn_act *act, const float *x, float *y, size_t n) {
    vf alpha = vf_set(act->alpha), beta = vf_set(act->beta);
    for (size_t i = 0; i < n; i += VEC_W) {
        int64_t left = (int64_t)(n - i);
        vf v = act_vector(kind, left >= VEC_W ? vf_load(x + i) : vf_load_n(x + i, left), alpha, beta);
        if (left >= VEC_W)
            vf_store(y + i, v);
        else
            vf_store_n(y + i, v, left);
    }
}

/* Elements that the reduction is too coarse for are libm's. */
TN_INLINE void trig_loop(tn_act_kind kind, const tn_act *act, const float *x, float *y, size_t n) {
    float copy[TRIG_CHUNK];
    for (size_t i = 0; i < n; i += TRIG_CHUNK) {
        size_t m = TN_MIN(n - i, (size_t)TRIG_CHUNK);
        bool far = trig_far(x + i, m);
        if (far) memcpy(copy, x + i, m * sizeof *copy);
        act_loop(kind, act, x + i, y + i, m);
        for (size_t k = 0; far && k < m; k++)
            if (!(fabsf(copy[k]) <= TRIG_LIMIT))
                y[i + k] = kind == TN_ACT_SIN ? sinf(copy[k]) : kind == TN_ACT_COS ? cosf(copy[k]) : tanf(copy[k]);
    }
}

void VEC_NAME(tn_act_f32)(const tn_act *act, const float *x, float *y, size_t n) {
#define ACT_CASE(KIND)                \
    case KIND:                        \
        act_loop(KIND, act, x, y, n); \
        break;
    switch (act->kind) {
        ACT_CASE(TN_ACT_NONE)
        ACT_CASE(TN_ACT_RELU)
        ACT_CASE(TN_ACT_CLIP)
        ACT_CASE(TN_ACT_LEAKY)
        ACT_CASE(TN_ACT_SIGMOID)
        ACT_CASE(TN_ACT_SILU)
        ACT_CASE(TN_ACT_HARDSIGMOID)
        ACT_CASE(TN_ACT_HARDSWISH)
        ACT_CASE(TN_ACT_TANH)
        ACT_CASE(TN_ACT_GELU)
        ACT_CASE(TN_ACT_GELU_TANH)
        ACT_CASE(TN_ACT_MISH)
        ACT_CASE(TN_ACT_ELU)
        ACT_CASE(TN_ACT_SOFTPLUS)
        ACT_CASE(TN_ACT_EXP)
        ACT_CASE(TN_ACT_ERF)
        ACT_CASE(TN_ACT_LOG)
        ACT_CASE(TN_ACT_SQRT)
        ACT_CASE(TN_ACT_FLOOR)
        ACT_CASE(TN_ACT_CEIL)
        ACT_CASE(TN_ACT_ROUND)
        ACT_CASE(TN_ACT_ASIN)
        ACT_CASE(TN_ACT_ACOS)
        ACT_CASE(TN_ACT_ATAN)
    case TN_ACT_SIN:
        trig_loop(TN_ACT_SIN, act, x, y, n);
        break;
    case TN_ACT_COS:
        trig_loop(TN_ACT_COS, act, x, y, n);
        break;
    case TN_ACT_TAN:
        trig_loop(TN_ACT_TAN, act, x, y, n);
        break;
    case TN_ACT_COUNT:
        break;
    }
#undef ACT_CASE
}
