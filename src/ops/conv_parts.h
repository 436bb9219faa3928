/* Blocked convolutions of one and three spatial dims, and transposed ones of one to three, as two-dimensional ones
 * (kernels/conv.h) on parts of their tensors.
 *
 * Depth: an output slice is a convolution of the input slices that its taps reach, added up (tn_conv.slices); taps in
 * the padding are left out. Where a slice is one row of 1x1 kernels, slices with the same taps are one row together;
 * so are the pixels of a one-dimensional convolution, whose depth is its only dim.
 *
 * Transposed, with strides (s0, s1, s2): outputs whose positions have the same remainders modulo the strides, a phase,
 * are a convolution with stride 1 of X by the taps that fall on them, in falling order. Every tap belongs to one phase.
 * tern:ConvTranspose has its weights as these convolutions need them, phase by phase. */
#ifndef TN_OPS_CONV_PARTS_H
#define TN_OPS_CONV_PARTS_H

#include "kernels/conv.h"
#include "ops/conv_shape.h"
#include "ops/ops.h"

typedef struct tn_conv_parts tn_conv_parts;

/* What all parts share. */
typedef struct tn_conv_whole {
    tn_conv_dims d;
    bool transposed, in_plain, residual;
    tn_act act;
} tn_conv_whole;

/* Whether all parts have an algorithm; dims are known. */
bool tn_conv_parts_ok(const tn_conv_whole *w, tern_cpu_tier tier);
/* Sets c->workspace. NULL after an error. The weights are input 1. */
const tn_conv_parts *tn_conv_parts_prepare(tn_prepare *c, const tn_conv_whole *w);
const char *tn_conv_parts_name(const tn_conv_parts *p);
/* Blocked x (or plain) and y; bias, residual: NULL or as tn_conv_algo has them. */
void tn_conv_parts_run(const tn_conv_parts *p, const tn_run *c, const float *x, const float *bias,
                       const float *residual, float *y);
/* The weights w (ic, oc / groups, kernel...), which may be unaligned, as tern:ConvTranspose has them: for each phase,
 * last dim fastest, (oc, ic / groups, its taps...). dst: as long as w. */
void tn_conv_parts_sort_weights(const tn_conv_dims *d, const void *w, float *dst);

#endif
