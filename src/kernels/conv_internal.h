/* What the convolution algorithms share. */
#ifndef TN_KERNELS_CONV_INTERNAL_H
#define TN_KERNELS_CONV_INTERNAL_H

#include "kernels/conv.h"
#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* Multiply-adds of a task, at least: some 5 microseconds. And tasks of a layer that is large enough to be cut. */
#define CONV_TASK_WORK 500000.0
#define CONV_TASKS     16

/* Rows and columns that a window covers. */
TN_INLINE int64_t conv_extent_h(const tn_conv *c) { return (int64_t)(c->kh - 1) * c->dh + 1; }
TN_INLINE int64_t conv_extent_w(const tn_conv *c) { return (int64_t)(c->kw - 1) * c->dw + 1; }

/* What zeros in the description stand for. */
TN_INLINE int64_t conv_slices(const tn_conv *c) { return TN_MAX(c->slices, 1); }
TN_INLINE int64_t conv_used(const tn_conv *c) { return c->slices > 1 ? c->slice1 - c->slice0 : 1; }
TN_INLINE int64_t conv_x_block(const tn_conv *c) { return c->x_block ? c->x_block : c->ih * c->iw; }
TN_INLINE int64_t conv_y_pixel(const tn_conv *c) { return c->y_pixel ? c->y_pixel : 1; }
TN_INLINE int64_t conv_y_row(const tn_conv *c) { return c->y_row ? c->y_row : c->ow; }
TN_INLINE int64_t conv_y_block(const tn_conv *c) { return c->y_block ? c->y_block : c->oh * c->ow; }
TN_INLINE bool conv_is_part(const tn_conv *c) { return c->slices > 1 || c->x_block || c->y_block || c->y_pixel; }

/* Input channels for each of which, and each tap, there is a row of packed weights, in one slice: of several, whole
 * blocks. */
TN_INLINE int64_t conv_rows_of_slice(const tn_conv *c, int64_t block) {
    return c->slices > 1 && !c->in_plain ? tn_round_up(c->ic, block) : c->ic;
}

/* Nothing that could make the algorithms' size arithmetic overflow; tensors of such sizes do not exist. */
bool tn_conv_is_sane(const tn_conv *c);

/* Multiply-adds of the whole layer, directly computed. */
TN_INLINE double conv_work(const tn_conv *c) {
    return (double)c->n * (double)c->oc * (double)c->oh * (double)c->ow * (double)(c->ic / c->groups) * c->kh * c->kw *
           (double)conv_slices(c);
}

/* How many tasks a layer should have. */
TN_INLINE int64_t conv_wanted_tasks(const tn_conv *c) {
    double tasks = conv_work(c) / CONV_TASK_WORK;
    return tasks < CONV_TASKS ? (int64_t)tasks + 1 : CONV_TASKS;
}

/* An activation that the tile did not apply, over `count` neighbouring pixels of one block of which `lanes` channels
 * exist. */
void tn_conv_finish(const tn_kernels *k, const tn_act *act, float *y, int64_t count, int64_t lanes);

/* How many neighbouring groups the direct kernels compute as one, with zeros for the weights between them, so that the
 * channels of a group fill blocks: some products with nothing, at many times the speed of the plain path. The last
 * joined group may be narrower where it is one block. 1: as they are; 0: they do not fit. */
TN_INLINE int64_t conv_join(const tn_kernels *k, const tn_conv *c) {
    enum { MOST = 8 };
    int64_t ic = c->ic / c->groups, oc = c->oc / c->groups, b = k->width;
    if (c->slices > 1 && c->groups > 1) return 0;
    if (c->groups > 1 && ic == 1 && oc == 1) return 0; /* depthwise has a kernel of its own */
    for (int64_t join = 1; join <= MOST && join <= c->groups; join++) {
        bool whole = ic * join % b == 0 && oc * join % b == 0, one_block = ic * join == b && oc * join == b;
        if (join == c->groups || one_block || (whole && c->groups % join == 0)) return join;
    }
    return 0;
}

/* Packs the weights (oc, ic / groups, kh, kw) of `join` groups (the last time of those that are left) from channel
 * `first` of the output on as panels of two blocks (K, 2 B), the last one (K, B) when that is enough; K runs over
 * (slice, block of ic, kh, kw, lane), or (slice, ic, kh, kw) for plain input. */
void tn_conv_pack_panels(const tn_kernels *k, const tn_conv *c, int64_t join, int64_t first, const float *w,
                         float *dst);

/* An algorithm: how it is asked and run, for the kernels of any tier. */
typedef struct tn_conv_method {
    bool (*takes)(const tn_kernels *k, const tn_conv *c);
    /* Estimated nanoseconds for one sample, to choose between methods that take the same shape: not of the batch, so
     * that a sample's bits do not depend on it. NULL: it has no rival. */
    double (*cost)(const tn_kernels *k, const tn_conv *c);
    size_t (*packed_bytes)(const tn_kernels *k, const tn_conv *c);
    void (*pack)(const tn_kernels *k, const tn_conv *c, const float *w, float *dst);
    size_t (*workspace)(const tn_kernels *k, const tn_conv *c, int threads);
    void (*run)(const tn_kernels *k, const tn_conv *c, const float *x, const float *packed, const float *bias,
                const float *residual, float *y, void *workspace, int threads);
} tn_conv_method;

extern const tn_conv_method tn_conv_1x1, tn_conv_scaled, tn_conv_direct, tn_conv_first, tn_conv_depthwise,
    tn_conv_winograd2, tn_conv_winograd4, tn_conv_winograd2s2, tn_conv_winograd4s2;

#endif
