/* What the matrix products in float32 and in bfloat16 share. */
#ifndef TN_KERNELS_GEMM_INTERNAL_H
#define TN_KERNELS_GEMM_INTERNAL_H

#include "kernels/gemm.h"
#include "kernels/kernels_internal.h"

/* Rows [i0, i1) of columns [j0, j0 + width) of B (zeros past n), times alpha, into dst (i1 - i0, width). */
void tn_gemm_pack_rows(const tn_kernels *k, const tn_gemm_f32 *g, const float *b, int64_t j0, int64_t width, int64_t i0,
                       int64_t i1, float *dst);

#endif
