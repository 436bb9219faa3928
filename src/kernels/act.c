#include "kernels/act.h"

#include "kernels/kernels_internal.h"

void tn_act_f32(tern_cpu_tier tier, const tn_act *act, const float *x, float *y, size_t n) {
    tn_kernels_get(tier)->act_f32(act, x, y, n);
}
