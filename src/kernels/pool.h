/* 2-D pooling in blocked layout, float32 (see conv.h for the layout). */
#ifndef TN_KERNELS_POOL_H
#define TN_KERNELS_POOL_H

#include "base/base.h"
#include "cpu/cpu.h"

typedef struct tn_pool2d {
    int64_t n, c, ih, iw, oh, ow;
    int kh, kw, sh, sw, dh, dw, pad_top, pad_left;
    bool average;   /* else maximum */
    bool count_pad; /* average: padding counts; the divisor counts taps inside [-pad, ih + pad_bottom) */
    int pad_bottom, pad_right;
} tn_pool2d;

void tn_pool2d_f32(tern_cpu_tier tier, const tn_pool2d *p, const float *x, float *y, int block, int threads);
/* Mean over all of h and w: (n, cb, hw, B) -> (n, cb, 1, 1, B). Lanes past c stay zero. */
void tn_pool_global_avg_f32(tern_cpu_tier tier, const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block,
                            int threads);

#endif
