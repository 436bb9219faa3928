/* Winograd transforms of a row of tiles of one block of channels, bfloat16: TN_WINOGRAD_2, 2S2 or 2X4 (winograd.h),
 * which have two rows of two or four outputs. */
#ifndef TN_KERNELS_BF16_WINOGRAD_H
#define TN_KERNELS_BF16_WINOGRAD_H

#include "kernels/winograd.h"

typedef struct tn_bf16_winograd_run {
    int64_t count; /* neighbouring tiles of a row, one at least */
    /* Input: x is where element (0, 0) of the first tile lies or would lie; only rows [y0, y1) exist, and, of a tile
     * that is alone, columns [x0, x1); the rest is zero. Several have all their columns. */
    const uint16_t *x;
    int64_t x_row;
    int y0, y1, x0, x1;
    uint16_t *v; /* plane p of tile t goes to v + p * v_step + t * B */
    int64_t v_step;
    /* Output: sum s of tile t comes from products + s * m_step + t * m_tile; only the first `rows` rows, and `cols`
     * columns of the last tile, are wanted. */
    const float *products;
    int64_t m_step, m_tile;
    uint16_t *y;
    float *y32;               /* instead of y, when it is not NULL, for one tile: (2, 2 or 4, B) */
    const uint16_t *residual; /* addressed like y, or NULL */
    const float *bias;        /* B floats, zeros when there is none */
    int64_t y_row, lanes;
    int rows, cols;
    bool silu; /* as in tn_bf16_tile */
    float alpha;
    float lo, hi;
} tn_bf16_winograd_run;

#endif
