/* Matrix product, float32.
 *
 * Every element of C is one chain of fused multiply-adds over k in ascending order within fixed blocks of k, whatever
 * m, n, the number of threads or the row's position: a row computed alone has the same bits as in a batch. */
#ifndef TN_KERNELS_GEMM_H
#define TN_KERNELS_GEMM_H

#include "kernels/act.h"

/* C = act(alpha * A * B + bias); A is m x k, B is k x n, C is m x n, row-major with ldc. `alpha` is applied to B when
 * it is packed. */
typedef struct tn_gemm_f32 {
    int64_t m, n, k;
    int64_t a_rs, a_cs; /* strides of A in elements: rows, columns (transposed A: 1, lda) */
    int64_t b_rs, b_cs;
    int64_t ldc;
    float alpha;
    tn_act act;
    bool bias_n;     /* bias has n elements, added to every row */
    bool bias_m;     /* bias has m elements, added to every column; one of both at most */
    bool accumulate; /* the sums continue from what C holds (a residual) */
} tn_gemm_f32;

/* Bytes of packed B for this k and n on this tier (a multiple of 64). 0 on overflow. */
size_t tn_gemm_f32_packed_bytes(tern_cpu_tier tier, const tn_gemm_f32 *g);
/* The same bytes for any number of threads. */
void tn_gemm_f32_pack(tern_cpu_tier tier, const tn_gemm_f32 *g, const float *b, void *packed, int threads);
/* Scratch for run, when B is packed before (`packed_b`) or not; aligned to 64 by the caller. */
size_t tn_gemm_f32_workspace(tern_cpu_tier tier, const tn_gemm_f32 *g, bool packed_b);
/* Exactly one of b and packed_b is given. c must not overlap the inputs. */
void tn_gemm_f32_run(tern_cpu_tier tier, const tn_gemm_f32 *g, const float *a, const float *b, const void *packed_b,
                     const float *bias, float *c, void *workspace, int threads);

#endif
