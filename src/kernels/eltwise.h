/* Elementwise arithmetic on float32 arrays. Steps are 0 (a scalar) or 1. */
#ifndef TN_KERNELS_ELTWISE_H
#define TN_KERNELS_ELTWISE_H

#include "base/base.h"
#include "cpu/cpu.h"

typedef enum tn_bin_kind {
    TN_BIN_ADD,
    TN_BIN_SUB,
    TN_BIN_MUL,
    TN_BIN_DIV,
    TN_BIN_MIN,
    TN_BIN_MAX,
    TN_BIN_POW, /* a to the power of b */
    TN_BIN_COUNT
} tn_bin_kind;

/* y[i] = a[i * a_step] op b[i * b_step]; y may be a or b. IEEE results; MIN and MAX give NaN when either is NaN.
 * POW is within 1 ULP, with the special cases of C11 F.10.4.4. */
void tn_bin_f32(tern_cpu_tier tier, tn_bin_kind op, const float *a, int a_step, const float *b, int b_step, float *y,
                size_t n);

/* y[i] = min(max(x[i] * scale[i % W] + shift[i % W], lo), hi), rounded once where the tier has fused multiply-add; W is
 * tn_conv_block(tier), a block of channels or one number repeated. NaN stays NaN; y may be x. */
void tn_scale_shift_f32(tern_cpu_tier tier, const float *scale, const float *shift, float lo, float hi, const float *x,
                        float *y, size_t n);

#endif
