/* The table of fast kernels, one per tier. */
#ifndef TN_KERNELS_INTERNAL_H
#define TN_KERNELS_INTERNAL_H

#include "kernels/act.h"
#include "kernels/bf16.h"
#include "kernels/bf16_winograd.h"
#include "kernels/dwconv.h"
#include "kernels/eltwise.h"
#include "kernels/layout.h"
#include "kernels/pool.h"
#include "kernels/q8.h"
#include "kernels/tile.h"
#include "kernels/winograd.h"

typedef struct tn_kernels {
    int width;       /* floats of a vector, and channels of a block */
    int tile_m;      /* the highest tile of one or two vectors */
    int tile_m_wide; /* and of four */
    /* Of three; of two and three with TN_TILE_HALF. 0: there are none. The lowest are half as high. Kinds:
     * TN_TILE_BLOCKED, PANEL2 with half of two.
     */
    int tile_m_3, tile_m_half, tile_m_3_half;
#define TN_KERNEL(name, result, args) result(*name) args;
#include "kernels/kernel_list.inc"
} tn_kernels;

/* Of one tn_q8_isa. */
typedef struct tn_q8_kernels {
    const tn_kernels *base; /* of its tier */
    int tile_m, tile_nb;    /* the highest and the widest tile */
    bool words; /* weights are 16-bit words: the even ones of a quad for all channels of a vector, then the odd ones */
#define TN_Q8_KERNEL(name, result, args) result(*name) args;
#include "kernels/kernel_list.inc"
} tn_q8_kernels;

/* Of one tn_bf16_isa. */
typedef struct tn_bf16_kernels {
    const tn_kernels *base; /* of its tier */
    int tile_m;             /* the highest tile */
#define TN_BF16_KERNEL(name, result, args) result(*name) args;
#include "kernels/kernel_list.inc"
} tn_bf16_kernels;

/* The best kernels up to `tier`. */
const tn_kernels *tn_kernels_get(tern_cpu_tier tier);
const tn_q8_kernels *tn_q8_kernels_get(tn_q8_isa isa);
const tn_bf16_kernels *tn_bf16_kernels_get(tn_bf16_isa isa);

#define TN_KERNEL(name, result, args) \
    result tn_##name##_scalar args;   \
    result tn_##name##_avx2 args;     \
    result tn_##name##_avx512 args;
#define TN_Q8_KERNEL(name, result, args) \
    TN_KERNEL(name, result, args)        \
    result tn_##name##_avxvnni args;     \
    result tn_##name##_avx512vnni args;
#define TN_BF16_KERNEL(name, result, args) \
    TN_KERNEL(name, result, args)          \
    result tn_##name##_avx512bf16 args;
#include "kernels/kernel_list.inc"

#endif
