/* How a MatMul of N-D operands falls into products of matrices; shared with the quantised forms. */
#ifndef TN_OPS_MATMUL_INTERNAL_H
#define TN_OPS_MATMUL_INTERNAL_H

#include "kernels/gemm.h"
#include "ops/ops.h"

/* Y[i] = A[a(i)] * B[b(i)] for i in [0, batch). */
typedef struct tn_matmul_plan {
    int64_t m, n, k, batch;                               /* batch 0: the output is empty */
    int64_t a_count, b_count;                             /* matrices that the operands hold */
    tn_shape lead;                                        /* broadcast leading dims */
    int64_t a_step[TERN_MAX_RANK], b_step[TERN_MAX_RANK]; /* in matrices, 0 where broadcast */
} tn_matmul_plan;

/* Checks the shapes of inputs a and b and sets output 0. */
tern_status tn_ops_matmul_infer(tn_infer *c, int a, int b, tern_dtype out_type);
/* Shapes are known and have passed tn_ops_matmul_infer. `collapse`: makes one tall product where B is a single matrix.
 */
void tn_ops_matmul_plan(tn_matmul_plan *p, const tn_shape *a, const tn_shape *b, const tn_shape *out, bool collapse);
/* Which matrices make up product i. */
void tn_ops_matmul_at(const tn_matmul_plan *p, int64_t i, int64_t *a, int64_t *b);
int64_t tn_ops_matmul_macs(const tn_node *node, const tn_type *const *in, const tn_type *out);
/* Packs the constant input 1 of a node, one float32 matrix, for tn_gemm_f32_run or, with `bf16`, tn_bf16_gemm_run. */
tern_status tn_ops_gemm_pack(tn_prepare *c, const tn_gemm_f32 *g, bool bf16, const void **packed);
/* "gemm_f32_avx512" and the like. */
const char *tn_ops_gemm_name(tern_cpu_tier tier);

#endif
