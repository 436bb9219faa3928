/* What softmax and the normalisations do to a row of float32. Sums are taken in float over at most 64 elements for each
 * lane and from there on in double: relative error below 70 eps of the sum of magnitudes, whatever n is. */
#ifndef TN_KERNELS_ROW_H
#define TN_KERNELS_ROW_H

#include "base/base.h"
#include "cpu/cpu.h"

/* The largest of `start` and the x that are numbers. */
float tn_row_max_f32(tern_cpu_tier tier, const float *x, size_t n, float start);
/* The largest or smallest of n >= 1 elements; NaN where one is NaN. */
float tn_row_extreme_f32(tern_cpu_tier tier, const float *x, size_t n, bool max);
/* y[i] = exp(x[i] - shift) (within 2 ULP, see act.h); returns their sum. y may be x. */
double tn_row_exp_f32(tern_cpu_tier tier, const float *x, float shift, float *y, size_t n);
double tn_row_sum_f32(tern_cpu_tier tier, const float *x, size_t n);
/* Sum of (x[i] - mean)^2. */
double tn_row_square_f32(tern_cpu_tier tier, const float *x, float mean, size_t n);
/* y[i] = (x[i] - mean) * inv * scale[i] + bias[i]; bias may be NULL. y may be x. */
void tn_row_normalize_f32(tern_cpu_tier tier, const float *x, float mean, float inv, const float *scale,
                          const float *bias, float *y, size_t n);

#endif
