#include "kernels/eltwise.h"

#include "kernels/kernels_internal.h"

void tn_bin_f32(tern_cpu_tier tier, tn_bin_kind op, const float *a, int a_step, const float *b, int b_step, float *y,
                size_t n) {
    tn_kernels_get(tier)->bin_f32(op, a, a_step, b, b_step, y, n);
}

void tn_scale_shift_f32(tern_cpu_tier tier, const float *scale, const float *shift, float lo, float hi, const float *x,
                        float *y, size_t n) {
    tn_kernels_get(tier)->scale_shift_f32(scale, shift, lo, hi, x, y, n);
}
