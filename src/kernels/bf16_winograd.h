/* Winograd transforms F(2 x 2, 3 x 3) of one tile of one block of channels, bfloat16. */
#ifndef TN_KERNELS_BF16_WINOGRAD_H
#define TN_KERNELS_BF16_WINOGRAD_H

#include "base/base.h"

typedef struct tn_bf16_winograd_tile {
    /* Input: x is where element (0, 0) of the tile lies or would lie; only [y0, y1) x [x0, x1) exists, the rest is
     * zero. */
    const uint16_t *x;
    int64_t x_row;
    int y0, y1, x0, x1;
    uint16_t *v; /* element p of 16 goes to v + p * v_step */
    int64_t v_step;
    /* Output: element p comes from products + p * m_step; only the first `rows` x `cols` are wanted. */
    const float *products;
    int64_t m_step;
    uint16_t *y;
    float *y32;               /* instead of y, when it is not NULL: (2, 2, B) */
    const uint16_t *residual; /* addressed like y, or NULL */
    const float *bias;        /* B floats, zeros when there is none */
    int64_t y_row, lanes;
    int rows, cols;
    bool silu; /* as in tn_bf16_tile */
    float alpha;
    float lo, hi;
} tn_bf16_winograd_tile;

#endif
