/* Convolution and matrix product of 8-bit integers, exact sums, bytes or int32 out. See q8.h for layout and rounding.
 *
 * sum(n, o, y, x) = bias[o] + sum over the window of (x - x_zero) * (w - w_zero[o]); padding reads as x_zero. */
#ifndef TN_KERNELS_Q8_CONV_H
#define TN_KERNELS_Q8_CONV_H

#include "kernels/q8.h"

typedef struct tn_q8_conv {
    int64_t n, ic, ih, iw, oc, oh, ow;
    int64_t groups; /* 1, or == ic == oc (depthwise), or groups whose ic and oc are multiples of 16 */
    int kh, kw, sh, sw, dh, dw;
    int pad_top, pad_left; /* bottom and right follow from oh and ow */
    int x_block;           /* 16, or 4 when ic <= 4 */
    bool x_signed, w_signed, y_signed;
    bool y_int32; /* y: sums in blocks of 16, no scale */
} tn_q8_conv;

/* What a run reads beside x. Pointers to oc values where not said otherwise. */
typedef struct tn_q8_args {
    const void *packed;
    const int32_t *bias;           /* or NULL */
    int32_t x_zero;                /* as stored: signed for int8 */
    const float *scale;            /* sum * scale[o] is in units of y. Unused with y_int32 */
    int32_t y_zero, y_low, y_high; /* as stored */
    /* Optional: y = mid * mid_scale + (z - z_zero) * z_scale, where mid = round(sum * scale), clamped to mid_low and
     * mid_high (less its zero point). */
    const void *z; /* like y; may be y. Not for depthwise and not with y_int32 */
    bool z_signed;
    int32_t z_zero;
    float mid_low, mid_high, mid_scale, z_scale;
} tn_q8_args;

bool tn_q8_conv_takes(const tn_q8_conv *c);
size_t tn_q8_conv_packed_bytes(tn_q8_isa isa, const tn_q8_conv *c);
/* w: (oc, ic / groups, kh, kw). w_zero: n_zero = 1 or oc bytes of w's type, or NULL. */
void tn_q8_conv_pack(tn_q8_isa isa, const tn_q8_conv *c, const void *w, const void *w_zero, int64_t n_zero, void *dst);
size_t tn_q8_conv_workspace(tn_q8_isa isa, const tn_q8_conv *c, int threads);
/* x, y aligned to 64. */
void tn_q8_conv_run(tn_q8_isa isa, const tn_q8_conv *c, const tn_q8_args *a, const void *x, void *y, void *workspace,
                    int threads);
/* "conv_q8_1x1_avx512vnni" and the like: shown by profile. */
const char *tn_q8_conv_name(tn_q8_isa isa, const tn_q8_conv *c);

/* C = A * B, A (m, k) and C (m, n) row-major and dense. As a convolution of one-pixel windows with k and n channels
 * over m pixels; `args` has n values where it says oc, and no z. */
typedef struct tn_q8_gemm {
    int64_t m, n, k;
    int64_t b_rs, b_cs; /* strides of B in elements */
    bool a_signed, b_signed, c_signed, c_int32;
} tn_q8_gemm;

size_t tn_q8_gemm_packed_bytes(tn_q8_isa isa, const tn_q8_gemm *g);
void tn_q8_gemm_pack(tn_q8_isa isa, const tn_q8_gemm *g, const void *b, const void *b_zero, int64_t n_zero, void *dst);
size_t tn_q8_gemm_workspace(tn_q8_isa isa, const tn_q8_gemm *g, int threads);
void tn_q8_gemm_run(tn_q8_isa isa, const tn_q8_gemm *g, const tn_q8_args *args, const void *a, void *c, void *workspace,
                    int threads);
const char *tn_q8_gemm_name(tn_q8_isa isa);

#endif
