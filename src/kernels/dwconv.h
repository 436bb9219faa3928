/* One output row of a depthwise convolution, for one block of channels. */
#ifndef TN_KERNELS_DWCONV_H
#define TN_KERNELS_DWCONV_H

#include "base/base.h"

typedef struct tn_dwconv_row {
    const float *x;    /* where the first kernel row and column fall for output 0; to the left of memory by pad_left */
    int64_t x_row;     /* floats from one kernel row to the next */
    int64_t rows;      /* kernel rows that lie inside x */
    const float *w;    /* (rows, kw, B) */
    const float *bias; /* B floats, zeros when there is none */
    const float *residual; /* (ow, B) or NULL */
    float *y;
    int64_t iw, ow, inside0, inside1; /* outputs [inside0, inside1) need no padding columns */
    int64_t lanes;
    int kw, sw, dw, pad_left;
    float lo, hi;
} tn_dwconv_row;

#endif
