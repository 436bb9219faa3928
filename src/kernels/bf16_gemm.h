/* Matrix product of float32 matrices whose numbers are rounded to bfloat16; sums, bias and activation are float32. B is
 * packed before.
 *
 * Every element of C is one chain of additions over pairs of k, as in gemm.h the same for any m, n and number of
 * threads. */
#ifndef TN_KERNELS_BF16_GEMM_H
#define TN_KERNELS_BF16_GEMM_H

#include "kernels/bf16.h"
#include "kernels/gemm.h"

/* "gemm_bf16_avx512bf16": shown by profile and inspect. */
const char *tn_bf16_gemm_name(tn_bf16_isa isa);
/* Bytes of packed B (a multiple of 64). 0 on overflow. */
size_t tn_bf16_gemm_packed_bytes(tn_bf16_isa isa, const tn_gemm_f32 *g);
/* b: float32, multiplied by alpha before it is rounded. The same bytes for any number of threads. */
void tn_bf16_gemm_pack(tn_bf16_isa isa, const tn_gemm_f32 *g, const float *b, void *packed, int threads);
/* Scratch for run; aligned to 64 by the caller. */
size_t tn_bf16_gemm_workspace(tn_bf16_isa isa, const tn_gemm_f32 *g);
/* bias and c as in tn_gemm_f32_run. */
void tn_bf16_gemm_run(tn_bf16_isa isa, const tn_gemm_f32 *g, const float *a, const void *packed, const float *bias,
                      float *c, void *workspace, int threads);

#endif
