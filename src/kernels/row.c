#include "kernels/row.h"

#include "kernels/kernels_internal.h"

float tn_row_max_f32(tern_cpu_tier tier, const float *x, size_t n, float start) {
    return tn_kernels_get(tier)->row_max_f32(x, n, start);
}

float tn_row_extreme_f32(tern_cpu_tier tier, const float *x, size_t n, bool max) {
    return tn_kernels_get(tier)->row_extreme_f32(x, n, max);
}

double tn_row_exp_f32(tern_cpu_tier tier, const float *x, float shift, float *y, size_t n) {
    return tn_kernels_get(tier)->row_exp_f32(x, shift, y, n);
}

double tn_row_sum_f32(tern_cpu_tier tier, const float *x, size_t n) { return tn_kernels_get(tier)->row_sum_f32(x, n); }

double tn_row_square_f32(tern_cpu_tier tier, const float *x, float mean, size_t n) {
    return tn_kernels_get(tier)->row_square_f32(x, mean, n);
}

void tn_row_normalize_f32(tern_cpu_tier tier, const float *x, float mean, float inv, const float *scale,
                          const float *bias, float *y, size_t n) {
    tn_kernels_get(tier)->row_normalize_f32(x, mean, inv, scale, bias, y, n);
}
