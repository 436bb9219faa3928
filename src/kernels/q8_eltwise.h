/* 8-bit tensors without products: quantisation, sums, means, layout. Zero points are as stored; halves go to even. */
#ifndef TN_KERNELS_Q8_ELTWISE_H
#define TN_KERNELS_Q8_ELTWISE_H

#include "kernels/q8.h"

/* y = saturate(round(x / scale) + zero); NaN gives the zero point. `n` elements in any layout without padding. */
void tn_q8_quantize(tern_cpu_tier tier, const float *x, int64_t n, float scale, int32_t zero, bool y_signed, void *y,
                    int threads);
/* y = (x - zero) * scale. */
void tn_q8_dequantize(tern_cpu_tier tier, const void *x, int64_t n, float scale, int32_t zero, bool x_signed, float *y,
                      int threads);
/* The same from (n, c, hw) floats to bytes in blocks of 4 or 16; lanes past c become zero. */
void tn_q8_quantize_block(tern_cpu_tier tier, const float *x, int64_t n, int64_t c, int64_t hw, int block, float scale,
                          int32_t zero, bool y_signed, void *y, int threads);
/* Between plain (n, c, hw) and blocks of 4 or 16 bytes. */
void tn_q8_block(const void *x, void *y, int64_t n, int64_t c, int64_t hw, int block, int threads);
void tn_q8_unblock(const void *x, void *y, int64_t n, int64_t c, int64_t hw, int block, int threads);

/* An operand or the result of an operation on real values: (q - zero) * scale. */
typedef struct tn_q8_real {
    float scale;
    int32_t zero; /* as stored */
    bool is_signed;
} tn_q8_real;

/* y = a + b, all in blocks of 16 (n, c, hw). y may be a or b. low, high: bounds of y as stored. */
void tn_q8_add(tern_cpu_tier tier, const tn_q8_real *a, const tn_q8_real *b, const tn_q8_real *y, int32_t low,
               int32_t high, const void *pa, const void *pb, void *py, int64_t n, int64_t c, int64_t hw, int threads);
/* The mean over hw <= TN_Q8_MEAN_MAX: (n, cb, hw, 16) to (n, cb, 1, 16). */
#define TN_Q8_MEAN_MAX ((int64_t)1 << 22)
void tn_q8_mean(tern_cpu_tier tier, const tn_q8_real *x, const tn_q8_real *y, const void *px, void *py, int64_t n,
                int64_t c, int64_t hw, int threads);

#endif
