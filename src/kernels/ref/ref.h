/* Naive references for the kernel tests: plain layout, sums in double. Not part of the library. */
#ifndef TN_KERNELS_REF_H
#define TN_KERNELS_REF_H

#include "kernels/act.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/pool.h"
#include "kernels/q8_conv.h"

double tn_ref_act(const tn_act *act, double x);

/* x: (n, c, ih, iw), y: (n, c, oh, ow) */
void tn_ref_pool2d(const tn_pool2d *p, const float *x, double *y);

/* sum[i]: the exact product before bias and activation, mag[i]: sum of |a * b|; (m, n) dense. */
void tn_ref_gemm(const tn_gemm_f32 *g, const float *a, const float *b, double *sum, double *mag);

/* x: (n, ic, ih, iw), w: (oc, ic / groups, kh, kw), sum and mag: (n, oc, oh, ow), before bias, residual and activation.
 */
void tn_ref_conv(const tn_conv *c, const float *x, const float *w, double *sum, double *mag);

/* What bounds the rounding errors of Winograd's F(rows x cols, 3 x 3) (2 x 2, 4 x 4, 2 x 4), or of its counterpart at
 * stride 2: |A^T| [sum over channels, and planes of a sum, (|G| |g| |G^T|) . (|B^T| |d| |B|)] |A|. */
void tn_ref_winograd_mag(const tn_conv *c, int rows, int cols, const float *x, const float *w, double *mag);

/* Sums of 8-bit convolution, modulo 2^32, plain layout throughout; w_zero: oc values. */
void tn_ref_q8_conv(const tn_q8_conv *c, const int32_t *x, const int32_t *w, const int32_t *bias, int32_t x_zero,
                    const int32_t *w_zero, int32_t *sums);

#endif
