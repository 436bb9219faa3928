/* Between plain (n, c, spatial) and blocked (n, ceil(c/B), spatial, B) layout; 4-byte elements. */
#ifndef TN_KERNELS_LAYOUT_H
#define TN_KERNELS_LAYOUT_H

#include "base/base.h"
#include "cpu/cpu.h"

/* The lanes past c become zeros. `hw` is the product of the spatial dims. */
void tn_layout_block_f32(tern_cpu_tier tier, const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block,
                         int threads);
void tn_layout_unblock_f32(tern_cpu_tier tier, const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block,
                           int threads);

#endif
