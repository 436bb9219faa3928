/* The ladder: scalar for every machine, then the tiers of the architecture override. */
#include "kernels/kernels_internal.h"

static const tn_kernels scalar_kernels = {
    .width = 8,
    .tile_m = 2,
    .tile_m_wide = 1,
#define TN_KERNEL(name, result, args) .name = tn_##name##_scalar,
#include "kernels/kernel_list.inc"
};

#if defined(__x86_64__)
static const tn_kernels avx2_kernels = {
    .width = 8,
    .tile_m = 6,
    .tile_m_wide = 2,
#define TN_KERNEL(name, result, args) .name = tn_##name##_avx2,
#include "kernels/kernel_list.inc"
};

static const tn_kernels avx512_kernels = {
    .width = 16,
    .tile_m = 14,
    .tile_m_wide = 6,
    .tile_m_3 = 9,
    .tile_m_half = 14,
    .tile_m_3_half = 10,
#define TN_KERNEL(name, result, args) .name = tn_##name##_avx512,
#include "kernels/kernel_list.inc"
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

/* ---- 8 bits ---------------------------------------------------------------------------------------------------- */

tern_cpu_tier tn_q8_tier(tn_q8_isa isa) {
    if (isa == TN_Q8_SCALAR) return TERN_CPU_SCALAR;
    return isa == TN_Q8_AVX2 || isa == TN_Q8_AVXVNNI ? TERN_CPU_AVX2 : TERN_CPU_AVX512;
}

bool tn_q8_available(tn_q8_isa isa) {
    const tn_cpu_info *cpu = tn_cpu_get_info();
    if (tn_q8_tier(isa) > cpu->tier) return false;
    return isa == TN_Q8_AVXVNNI ? cpu->avx_vnni : isa == TN_Q8_AVX512VNNI ? cpu->avx512_vnni : true;
}

tn_q8_isa tn_q8_best(tern_cpu_tier tier) {
    tn_q8_isa best = TN_Q8_SCALAR;
    for (tn_q8_isa i = TN_Q8_SCALAR; i < TN_Q8_ISA_COUNT; i++)
        if (tn_q8_tier(i) <= tier && tn_q8_available(i)) best = i;
    return best;
}

static const tn_q8_kernels q8_scalar_kernels = {
    .base = &scalar_kernels,
    .tile_m = 2,
    .tile_nb = 1,
#define TN_Q8_KERNEL(name, result, args) .name = tn_##name##_scalar,
#include "kernels/kernel_list.inc"
};

#if defined(__x86_64__)
static const tn_q8_kernels q8_avx2_kernels = {
    .base = &avx2_kernels,
    .tile_m = 4,
    .tile_nb = 1,
    .words = true,
#define TN_Q8_KERNEL(name, result, args) .name = tn_##name##_avx2,
#include "kernels/kernel_list.inc"
};

static const tn_q8_kernels q8_avxvnni_kernels = {
    .base = &avx2_kernels,
    .tile_m = 6,
    .tile_nb = 1,
#define TN_Q8_KERNEL(name, result, args) .name = tn_##name##_avxvnni,
#include "kernels/kernel_list.inc"
};

static const tn_q8_kernels q8_avx512_kernels = {
    .base = &avx512_kernels,
    .tile_m = 12,
    .tile_nb = 2,
    .words = true,
#define TN_Q8_KERNEL(name, result, args) .name = tn_##name##_avx512,
#include "kernels/kernel_list.inc"
};

static const tn_q8_kernels q8_avx512vnni_kernels = {
    .base = &avx512_kernels,
    .tile_m = 14,
    .tile_nb = 2,
#define TN_Q8_KERNEL(name, result, args) .name = tn_##name##_avx512vnni,
#include "kernels/kernel_list.inc"
};
#endif

const tn_q8_kernels *tn_q8_kernels_get(tn_q8_isa isa) {
#if defined(__x86_64__)
    switch (isa) {
    case TN_Q8_AVX512VNNI:
        return &q8_avx512vnni_kernels;
    case TN_Q8_AVX512:
        return &q8_avx512_kernels;
    case TN_Q8_AVXVNNI:
        return &q8_avxvnni_kernels;
    case TN_Q8_AVX2:
        return &q8_avx2_kernels;
    default:
        break;
    }
#endif
    (void)isa;
    return &q8_scalar_kernels;
}

/* ---- bfloat16 -------------------------------------------------------------------------------------------------- */

tern_cpu_tier tn_bf16_tier(tn_bf16_isa isa) {
    return isa == TN_BF16_SCALAR ? TERN_CPU_SCALAR : isa == TN_BF16_AVX2 ? TERN_CPU_AVX2 : TERN_CPU_AVX512;
}

bool tn_bf16_available(tn_bf16_isa isa) {
    const tn_cpu_info *cpu = tn_cpu_get_info();
    return tn_bf16_tier(isa) <= cpu->tier && (isa != TN_BF16_AVX512BF16 || cpu->avx512_bf16);
}

tn_bf16_isa tn_bf16_best(tern_cpu_tier tier) {
    tn_bf16_isa best = TN_BF16_SCALAR;
    for (tn_bf16_isa i = TN_BF16_SCALAR; i < TN_BF16_ISA_COUNT; i++)
        if (tn_bf16_tier(i) <= tier && tn_bf16_available(i)) best = i;
    return best;
}

const char *tn_bf16_isa_name(tn_bf16_isa isa) {
    static const char *const names[TN_BF16_ISA_COUNT] = {"scalar", "avx2", "avx512", "avx512bf16"};
    return names[isa];
}

static const tn_bf16_kernels bf16_scalar_kernels = {
    .base = &scalar_kernels,
    .tile_m = 2,
#define TN_BF16_KERNEL(name, result, args) .name = tn_##name##_scalar,
#include "kernels/kernel_list.inc"
};

#if defined(__x86_64__)
static const tn_bf16_kernels bf16_avx2_kernels = {
    .base = &avx2_kernels,
    .tile_m = 4,
#define TN_BF16_KERNEL(name, result, args) .name = tn_##name##_avx2,
#include "kernels/kernel_list.inc"
};

static const tn_bf16_kernels bf16_avx512_kernels = {
    .base = &avx512_kernels,
    .tile_m = 6,
#define TN_BF16_KERNEL(name, result, args) .name = tn_##name##_avx512,
#include "kernels/kernel_list.inc"
};

static const tn_bf16_kernels bf16_avx512bf16_kernels = {
    .base = &avx512_kernels,
    .tile_m = 14,
#define TN_BF16_KERNEL(name, result, args) .name = tn_##name##_avx512bf16,
#include "kernels/kernel_list.inc"
};
#endif

const tn_bf16_kernels *tn_bf16_kernels_get(tn_bf16_isa isa) {
#if defined(__x86_64__)
    if (isa == TN_BF16_AVX512BF16) return &bf16_avx512bf16_kernels;
    if (isa == TN_BF16_AVX512) return &bf16_avx512_kernels;
    if (isa == TN_BF16_AVX2) return &bf16_avx2_kernels;
#endif
    (void)isa;
    return &bf16_scalar_kernels;
}
