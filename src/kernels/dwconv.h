/* Depthwise convolution, for one block of channels: the usual kernels by strips of rows, all others row by row. */
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

/* Output rows [y0, y1) of a plane, 3 x 3 or 5 x 5, stride 1 or 2, no dilation, at least TN_DWCONV_TILE columns, at most
 * k / 2 columns of padding on each side. Sums begin with the bias. */
typedef struct tn_dwconv_strip {
    const float *x;        /* (ih, iw, B) */
    const float *w;        /* (k, k, B) */
    const float *bias;     /* B floats */
    const float *residual; /* like y; not y itself, for columns may be computed twice */
    float *y;              /* (oh, ow, B) */
    int64_t ih, iw, ow, y0, y1;
    int64_t lanes;
    int k, s, pad_top, pad_left;
    bool clamp;
    float lo, hi;
} tn_dwconv_strip;

#define TN_DWCONV_TILE 7

#endif
