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

/* What one block of channels takes from a block of another tensor: for each lane the lane there, or -1. */
typedef struct tn_channel_source {
    const float *x; /* (hw, B) */
    int32_t lane[16];
} tn_channel_source;
/* y (hw, B): every lane comes from the last source that has it, and is zero where none has. B is tn_conv_block(tier).
 */
void tn_layout_channels_f32(tern_cpu_tier tier, const tn_channel_source *sources, int count, float *y, int64_t hw);

#endif
