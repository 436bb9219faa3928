/* Windows that slide over the spatial dims of (n, c, spatial...): what Conv, ConvTranspose, the pools and their
 * quantised forms share. Every attribute is checked here, so that the loops can trust a tn_window. */
#ifndef TN_OPS_CONV_SHAPE_H
#define TN_OPS_CONV_SHAPE_H

#include "graph/graph.h"

#define TN_MAX_SPATIAL (TERN_MAX_RANK - 2)

/* Dims that are not known yet are TN_DIM_UNKNOWN or symbols. Kernel, stride and dilation are 1..INT32_MAX, pads are
 * 0..INT32_MAX. */
typedef struct tn_window {
    int rank; /* spatial dims, 1..TN_MAX_SPATIAL */
    int64_t in[TN_MAX_SPATIAL], out[TN_MAX_SPATIAL], kernel[TN_MAX_SPATIAL], stride[TN_MAX_SPATIAL];
    int64_t dilation[TN_MAX_SPATIAL], pad[TN_MAX_SPATIAL], pad_end[TN_MAX_SPATIAL];
} tn_window;

/* Reads kernel_shape, strides, dilations, pads, auto_pad and ceil_mode and computes `out`. `in`: `rank` dims. `kernel`:
 * the dims of the weights, which kernel_shape must repeat; NULL: there are none and kernel_shape is required. */
tern_status tn_ops_window(const tn_node *node, int rank, const int64_t *in, const int64_t *kernel, tn_window *out,
                          tern_error *err);
/* The same for ConvTranspose, which also has output_shape and output_padding: `out` is the larger side. */
tern_status tn_ops_window_transposed(const tn_node *node, int rank, const int64_t *in, const int64_t *kernel,
                                     tn_window *out, tern_error *err);
/* (kernel - 1) * dilation + 1. */
TN_INLINE int64_t tn_window_extent(const tn_window *w, int i) { return (w->kernel[i] - 1) * w->dilation[i] + 1; }
/* Taps [*first, *last) of output position `o` in dim i that read inside the input; empty when *first >= *last. */
void tn_ops_window_taps(const tn_window *w, int i, int64_t o, int64_t *first, int64_t *last);
/* Outputs [*first, *last) of dim i for which tap `k` reads inside the input. */
void tn_ops_window_span(const tn_window *w, int i, int64_t k, int64_t *first, int64_t *last);

/* A convolution's sizes; any of them may be unknown during inference. */
typedef struct tn_conv_dims {
    int64_t n, ic, oc, groups;
    tn_window w;
} tn_conv_dims;

/* Checks X against W (oc, ic/groups, kernel...; transposed: ic, oc/groups, kernel...) and the attributes; both must be
 * ranked. */
tern_status tn_ops_conv_dims(const tn_node *node, const tn_shape *x, const tn_shape *w, bool transposed,
                             tn_conv_dims *out, tern_error *err);
/* (n, oc, out...). */
tn_shape tn_ops_conv_out_shape(const tn_conv_dims *d);

#endif
