/* 2-D pooling of bfloat16 maps in the blocked layout of conv.h; arithmetic in float32. */
#ifndef TN_KERNELS_BF16_POOL_H
#define TN_KERNELS_BF16_POOL_H

#include "kernels/pool.h"

/* x: (n, cb, ih, iw, B), y: (n, cb, oh, ow, B), B = tn_conv_block(tier). The windows of a global pool are the map. */
size_t tn_bf16_pool2d_workspace(tern_cpu_tier tier, const tn_pool2d *p, int threads);
void tn_bf16_pool2d(tern_cpu_tier tier, const tn_pool2d *p, const uint16_t *x, uint16_t *y, void *workspace,
                    int threads);

#endif
