/* Einsum: the loops of an equation, and the way to take those of two float operands as matrix products. */
#ifndef TN_OPS_EINSUM_INTERNAL_H
#define TN_OPS_EINSUM_INTERNAL_H

#include "kernels/gemm.h"
#include "ops/conv_internal.h"

#define TN_EINSUM_LABELS   (52 + TERN_MAX_RANK) /* letters, then dims of the ellipsis from the left */
#define TN_EINSUM_OPERANDS 16

typedef struct tn_einsum_loops {
    int n_out, n_all;                                     /* labels of the output, all labels */
    int64_t size[TN_EINSUM_LABELS];                       /* in loop order; may be unknown in infer */
    int64_t stride[TN_EINSUM_OPERANDS][TN_EINSUM_LABELS]; /* elements; 0 where the operand lacks the label */
} tn_einsum_loops;

/* y (batch, m, n) = a (batch, m, k) b (batch, k, n): labels of both operands that stay, of a, of b, and of both that
 * are summed over. Operands and output are brought into that order by copies where they are not in it. */
typedef struct tn_einsum_product {
    int64_t batch, m, n, k;
    bool copy_a, copy_b, copy_y;
    tn_gemm_f32 gemm;
    size_t gemm_bytes, at_a, at_b, at_y, at_gemm; /* in the workspace */
    bool whole;                                   /* a thread takes products as a whole */
} tn_einsum_product;

/* Plans it and reserves *workspace. *use is false where the loops are no such product, or one too small to pay. */
tern_status tn_einsum_product_plan(const tn_einsum_loops *l, tern_cpu_tier tier, int threads, size_t *workspace,
                                   tn_einsum_product *p, bool *use, tern_error *err);
void tn_einsum_product_run(const tn_einsum_loops *l, const tn_einsum_product *p, tern_cpu_tier tier, int threads,
                           const float *a, const float *b, float *y, char *workspace);

#endif
