/* The ladder: scalar for every machine, then the tiers of the architecture override. */
#include "kernels/kernels_internal.h"

static const tn_kernels scalar_kernels = {
    .width = 8,
    .tile_m = 2,
    .tile_m_wide = 1,
#define TN_KERNEL(name, result, args) .name = tn_##name##_scalar,
#include "kernels/kernel_list.inc"
#undef TN_KERNEL
};

#if defined(__x86_64__)
static const tn_kernels avx2_kernels = {
    .width = 8,
    .tile_m = 6,
    .tile_m_wide = 2,
#define TN_KERNEL(name, result, args) .name = tn_##name##_avx2,
#include "kernels/kernel_list.inc"
#undef TN_KERNEL
};

static const tn_kernels avx512_kernels = {
    .width = 16,
    .tile_m = 14,
    .tile_m_wide = 6,
#define TN_KERNEL(name, result, args) .name = tn_##name##_avx512,
#include "kernels/kernel_list.inc"
#undef TN_KERNEL
};
#endif

const tn_kernels *tn_kernels_get(tern_cpu_tier tier) {
#if defined(__x86_64__)
    if (tier >= TERN_CPU_AVX512) return &avx512_kernels;
    if (tier >= TERN_CPU_AVX2) return &avx2_kernels;
#endif
    (void)tier;
    return &scalar_kernels;
}
