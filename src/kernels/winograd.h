/* Winograd transforms of one tile of one block of channels: m x m outputs (m = 2 or 4) of a 3 x 3 convolution, from (m
 * + 2)^2 inputs. */
#ifndef TN_KERNELS_WINOGRAD_H
#define TN_KERNELS_WINOGRAD_H

#include "base/base.h"

/* The weights of B outputs of one input channel, w (9, B), transformed in double: element p of (m + 2)^2 goes to u + p
 * * step as B floats. It is a kernel, too (winograd_weight_f32). */

typedef struct tn_winograd_tile {
    /* Input: x is where element (0, 0) of the tile lies or would lie; only [y0, y1) x [x0, x1) exists, the rest is
     * zero. */
    const float *x;
    int64_t x_row;
    int y0, y1, x0, x1;
    float *v; /* element p goes to, or comes from, v + p * step */
    int64_t step;
    /* Output: only the first `rows` x `cols` are wanted. */
    float *y;
    const float *residual; /* addressed like y, or NULL */
    const float *bias;     /* B floats, zeros when there is none */
    int64_t y_row, lanes;
    int rows, cols;
    float lo, hi;
} tn_winograd_tile;

#endif
