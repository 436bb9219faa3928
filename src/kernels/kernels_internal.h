/* The table of fast kernels, one per tier. */
#ifndef TN_KERNELS_INTERNAL_H
#define TN_KERNELS_INTERNAL_H

#include "kernels/act.h"
#include "kernels/eltwise.h"
#include "kernels/layout.h"
#include "kernels/pool.h"

typedef struct tn_kernels {
    int width; /* floats of a vector, and channels of a block */
#define TN_KERNEL(name, result, args) result(*name) args;
#include "kernels/kernel_list.inc"
#undef TN_KERNEL
} tn_kernels;

/* The best kernels up to `tier`. */
const tn_kernels *tn_kernels_get(tern_cpu_tier tier);

#define TN_KERNEL(name, result, args) \
    result tn_##name##_scalar args;   \
    result tn_##name##_avx2 args;     \
    result tn_##name##_avx512 args;
#include "kernels/kernel_list.inc"
#undef TN_KERNEL

#endif
