/* L1: which instruction tier to use, and the sizes that kernels block for. */
#ifndef TN_CPU_H
#define TN_CPU_H

#include "base/base.h"
#include "tern/cpu.h"

/* What the machine has; read once, safe from any thread. */
typedef struct tn_cpu_info {
    tern_cpu_tier tier; /* the best that CPU and operating system support, before the mask */
    bool avx_vnni, avx512_vnni, avx512_bf16;
    size_t l1d, l2, l3; /* bytes; sensible values where the system does not say */
    int physical_cores; /* that this process may use; at least 1 */
    int logical_cores;  /* likewise */
    char name[64];      /* "AMD EPYC ..." */
} tn_cpu_info;

const tn_cpu_info *tn_cpu_get_info(void);
/* The tier in force: the machine's, lowered by tern_cpu_set_mask or the environment's TERN_CPU. */
tern_cpu_tier tn_cpu_tier(void);
/* What is behind the public functions of the same names. */
tern_status tn_cpu_set_mask(tern_cpu_tier highest, tern_error *err);
const char *tn_cpu_tier_name(tern_cpu_tier tier);
tern_status tn_cpu_tier_parse(const char *name, tern_cpu_tier *out, tern_error *err);

#endif
