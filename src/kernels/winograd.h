/* Winograd convolution with a 3 x 3 kernel: transforms of one tile of one block of channels.
 *
 * Both dimensions are treated alike, F(m, 3) or its counterpart at stride 2. There the even inputs meet the kernel's
 * outer taps, an F(m, 2), and the odd ones its middle tap alone; written in terms of the same sums, most sums have two
 * products ("planes") at each input channel, one for each kind of input. */
#ifndef TN_KERNELS_WINOGRAD_H
#define TN_KERNELS_WINOGRAD_H

#include "base/base.h"

typedef enum tn_winograd_kind {
    TN_WINOGRAD_2, /* F(2 x 2, 3 x 3) */
    TN_WINOGRAD_4,
    TN_WINOGRAD_2S2, /* 2 x 2 outputs at stride 2 */
    TN_WINOGRAD_4S2,
    TN_WINOGRAD_2X4 /* 2 x 4 outputs at stride 1, for bfloat16: points that multiply its rounding less than those of 4
                     */
} tn_winograd_kind;

/* Of one dimension of a tile with m outputs: inputs, transformed inputs, and sums. */
TN_INLINE int tn_winograd_inputs(int m, int stride) { return (m - 1) * stride + 3; }
TN_INLINE int tn_winograd_planes(int m, int stride) { return stride == 1 ? m + 2 : 2 * m + 1; }
TN_INLINE int tn_winograd_sums(int m, int stride) { return stride == 1 ? m + 2 : m + 1; }
enum { TN_WINOGRAD_PLANES = 9 }; /* at most */

/* input_f32 and output_f32 have no TN_WINOGRAD_2X4. The kernel winograd_weight_f32 takes the weights of B outputs of
 * one input channel, w (9, B), transforms them in double and puts those of plane p at u + order[p] * step as B floats.
 */

typedef struct tn_winograd_tile {
    /* Input: x is where element (0, 0) of the tile lies or would lie; only [y0, y1) x [x0, x1) exists, the rest is
     * zero. */
    const float *x;
    int64_t x_row;
    int y0, y1, x0, x1;
    float *v; /* plane p of planes^2 goes to, sum p of sums^2 comes from, v + p * step */
    int64_t step;
    /* Output: only the first `rows` x `cols` are wanted. */
    float *y;
    const float *residual; /* addressed like y, or NULL */
    const float *bias;     /* B floats, zeros when there is none */
    int64_t y_row, lanes;
    int rows, cols;
    bool pooled; /* stride 1: y takes the maximum of every 2 x 2 of them, and there is no residual */
    float lo, hi;
} tn_winograd_tile;

#endif
