/* Convolution, float32, 2-D, in blocked layout; and what others are made of: see `slices`.
 *
 * Blocked layout: (n, ceil(c/B), h, w, B), B = tn_conv_block(tier): 16 on avx512, 8 on avx2 and scalar; the lanes past
 * c of the last block are written as zeros by every kernel, and read by none for its result (they may be multiplied by
 * zero weights). What has no fast kernel here (odd groups, other types) is done by ops/conv.c in plain layout. */
#ifndef TN_KERNELS_CONV_H
#define TN_KERNELS_CONV_H

#include "kernels/act.h"

/* Neighbouring channels that a convolution reads from one of several maps; all lie in one block. */
typedef struct tn_conv_pick {
    int map;
    int64_t map_channels; /* of that map */
    int64_t first, count;
} tn_conv_pick;

typedef struct tn_conv {
    int64_t n, ic, ih, iw, oc, oh, ow;
    int64_t groups; /* what of the rest has a kernel, tn_conv_select says: 1, depthwise (== ic == oc), wide groups */
    int kh, kw, sh, sw, dh, dw; /* kernel, stride, dilation */
    int pad_top, pad_left;      /* bottom and right follow from oh and ow */
    bool in_plain;              /* x is NCHW (first layers); y is always blocked */
    bool residual;              /* y = act(conv + bias + residual) */
    tn_act act;
    /* Part of a larger tensor (1x1, direct, Winograd, depthwise). `slices` > 1: weights are (oc, ic, slices, kh, kw),
     * and the result is the sum over slices [slice0, slice1) (depthwise: slice0 alone), of which x is the first; each
     * other is x_slice pixels after the one before. Needs one group, but depthwise. */
    int slices, slice0, slice1;
    int64_t x_slice;
    int64_t x_block, y_block; /* pixels from one block (plain: channel) to the next; 0: ih * iw, oh * ow */
    int64_t y_row, y_pixel;   /* pixels of y from row to row, from pixel to pixel; 0: ow, 1 */
    /* What some kernels can do besides. Pointers are set for each run. */
    const tn_conv_pick *picks; /* 1x1, stride 1: x is these channels of `maps`, one after the other */
    int64_t n_picks;           /* 0: x is one map */
    const float *const *maps;  /* blocked; what x is then does not matter */
    bool scaled;               /* 1x1: x is multiplied first by */
    const float *scale;        /* (n, ceil(ic / B), B): a factor for each sample and channel */
    bool means;                /* depthwise: the mean over each map of y goes to */
    float *mean;               /* (n, ceil(oc / B), B) */
    bool pooled;               /* 3x3 by Winograd, stride 1, no residual, a clamp for an activation: y has the maxima
                                * of every 2 x 2 outputs, (n, ceil(oc / B), oh / 2, ow / 2, B) */
} tn_conv;

/* A way to compute it; static, chosen by shape and tier. */
typedef struct tn_conv_algo {
    const char *name; /* "conv_f32_1x1_avx512": shown by profile and inspect */
    size_t (*packed_bytes)(const tn_conv *c);
    /* w: (oc, ic/groups, slices, kh, kw), dense. dst is aligned to 64 and as long as packed_bytes says. */
    void (*pack)(const tn_conv *c, const float *w, void *dst);
    size_t (*workspace)(const tn_conv *c, int threads);
    /* x, y, residual: blocked (x plain with in_plain), aligned to 64. bias: oc floats or NULL. y may be the residual
     * itself. */
    void (*run)(const tn_conv *c, const float *x, const void *packed, const float *bias, const float *residual,
                float *y, void *workspace, int threads);
} tn_conv_algo;

/* The best algorithm for the shape; NULL when none takes it. */
const tn_conv_algo *tn_conv_select(tern_cpu_tier tier, const tn_conv *c);
/* All algorithms of a tier that take the shape, best first: for --tune and tests. Returns how many (<= max). */
int tn_conv_candidates(tern_cpu_tier tier, const tn_conv *c, const tn_conv_algo **out, int max);
/* Channels of a block. */
int tn_conv_block(tern_cpu_tier tier);

#endif
