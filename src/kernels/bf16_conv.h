/* Convolution with activations and weights in bfloat16, 2-D, in the blocked layout of conv.h. Sums, bias, residual sum
 * and activation are float32. */
#ifndef TN_KERNELS_BF16_CONV_H
#define TN_KERNELS_BF16_CONV_H

#include "kernels/bf16.h"
#include "kernels/conv.h"

/* A way to compute it; chosen by shape alone. The same names on every instruction set. */
typedef enum tn_bf16_algo {
    TN_BF16_DEPTHWISE, /* float32 arithmetic */
    TN_BF16_WINOGRAD,  /* F(2 x 2, 3 x 3) */
    TN_BF16_DIRECT,    /* and 1x1, and first layers from plain float32 */
    TN_BF16_ALGO_COUNT
} tn_bf16_algo;

typedef struct tn_bf16_conv_args {
    const void *x; /* blocked bfloat16; plain float32 with in_plain */
    const void *packed;
    const float *bias;        /* oc, or NULL */
    const uint16_t *residual; /* blocked like y, with c->residual; may be y itself */
    uint16_t *y;              /* blocked */
} tn_bf16_conv_args;

/* Whether the algorithm takes the shape. Plain input: at most four channels. */
bool tn_bf16_conv_takes(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c);
/* The best one; false: there is none. */
bool tn_bf16_conv_select(tn_bf16_isa isa, const tn_conv *c, tn_bf16_algo *algo);
/* "conv_bf16_1x1_avx512bf16": shown by profile and inspect. */
const char *tn_bf16_conv_name(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c);
size_t tn_bf16_conv_packed_bytes(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c);
/* w: float32 (oc, ic / groups, kh, kw). dst is aligned to 64. */
void tn_bf16_conv_pack(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c, const float *w, void *dst);
size_t tn_bf16_conv_workspace(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c, int threads);
void tn_bf16_conv_run(tn_bf16_isa isa, tn_bf16_algo algo, const tn_conv *c, const tn_bf16_conv_args *a, void *workspace,
                      int threads);

#endif
