/* Convolution in plain layout, any spatial rank, any groups: the part that Conv and its quantised forms share. */
#ifndef TN_OPS_CONV_INTERNAL_H
#define TN_OPS_CONV_INTERNAL_H

#include "kernels/act.h"
#include "ops/conv_shape.h"
#include "ops/ops.h"

typedef enum tn_conv_path {
    TN_CONV_DIRECT, /* a plane per output channel, tap by tap: depthwise, few channels, double */
    TN_CONV_POINT,  /* 1x1, stride 1, no padding: X is the matrix */
    TN_CONV_IM2COL  /* tiles of output positions unrolled into a matrix */
} tn_conv_path;

typedef struct tn_conv_plain {
    tn_conv_dims d;
    tn_conv_path path;
    tern_cpu_tier tier;
    int threads;
    int64_t icg, ocg, taps, k; /* of a group; k = icg * taps is the length of every sum */
    int64_t in_sp, out_sp;     /* elements of one channel */
    int64_t tile, n_tiles;     /* output positions of a task */
    bool residual;
    int64_t k_chunk;                /* > 0: sums are cut into pieces of that many terms (exact integers in float) */
    size_t worker_bytes, workspace; /* scratch of one worker, of all */
    size_t gemm_bytes, col_bytes, part_bytes, acc_bytes;
} tn_conv_plain;

typedef struct tn_conv_plain_options {
    bool wide;       /* for tn_ops_conv_plain_f64 */
    bool residual;   /* tn_ops_conv_plain_f32 gets one */
    int64_t k_chunk; /* for tn_ops_conv_plain_i32, else 0 */
} tn_conv_plain_options;

/* All sizes in `d` must be known. */
tern_status tn_ops_conv_plain_init(tn_conv_plain *p, const tn_conv_dims *d, const tn_conv_plain_options *options,
                                   tern_cpu_tier tier, int threads, tern_error *err);
/* y = act(conv + bias + residual). x (n, ic, in...), w (oc, ic/groups, kernel...), bias (oc) or NULL, residual like y
 * or NULL. `workspace`: p->workspace bytes, aligned to 64. */
void tn_ops_conv_plain_f32(const tn_conv_plain *p, const float *x, const float *w, const float *bias,
                           const float *residual, const tn_act *act, float *y, void *workspace);
void tn_ops_conv_plain_f64(const tn_conv_plain *p, const double *x, const double *w, const double *bias, double *y);
/* x and w hold integers; every piece of k_chunk products must stay below 2^24. `emit` receives `count` finished sums
 * (mod 2^32) of image n, channel oc, from position `at` of the plane on. */
typedef void (*tn_conv_emit_fn)(const void *context, int64_t n, int64_t oc, int64_t at, int64_t count,
                                const int32_t *sums);
void tn_ops_conv_plain_i32(const tn_conv_plain *p, const float *x, const float *w, tn_conv_emit_fn emit,
                           const void *context, void *workspace);

/* The largest number of products below `max_product` whose sum float32 holds exactly. */
TN_INLINE int64_t tn_exact_chunk(int64_t max_product) {
    return TN_MAX((int64_t)1, ((int64_t)1 << 24) / TN_MAX(max_product, (int64_t)1));
}

/* The outputs for which one tap of a window reads inside the input: a box, walked line by line (all dims but the last).
 */
typedef struct tn_tap_box {
    int64_t first[TN_MAX_SPATIAL], last[TN_MAX_SPATIAL];
    int64_t tap[TN_MAX_SPATIAL];
} tn_tap_box;

/* False when the tap reads padding only. */
bool tn_ops_tap_init(const tn_window *w, int64_t tap, tn_tap_box *b);
/* `at` starts as a copy of b->first; false after the last line. */
bool tn_ops_tap_next_line(const tn_tap_box *b, int rank, int64_t *at);
/* Offsets in planes of the input and the output. */
void tn_ops_tap_offsets(const tn_window *w, const tn_tap_box *b, const int64_t *at, int64_t *x, int64_t *y);

/* dst[i] = the value of element i of a float16, bfloat16 or float32 tensor. */
void tn_ops_to_f32(const tern_tensor *t, float *dst);
void tn_ops_from_f32(const float *src, tern_tensor *t);
/* Adds round_up(count * size, 64) to *bytes, and returns where it started in *offset. False on overflow. */
bool tn_ops_reserve(size_t *bytes, int64_t count, size_t size, size_t *offset);
/* Multiply-accumulates of a convolution; saturates. */
int64_t tn_ops_conv_macs(const tn_node *node, const tn_type *const *in, const tn_type *out);

#endif
