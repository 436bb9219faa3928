/* L1: which instruction tier to use, and the sizes that kernels block for. */
#ifndef TN_CPU_H
#define TN_CPU_H

#include "base/base.h"
#include "tern/cpu.h"

/* What one core has; read once, safe from any thread. Sizes in bytes; sensible values where the system does not say. */
typedef struct tn_cpu_info {
    tern_cpu_tier tier; /* the best that CPU and operating system support, before the mask */
    bool avx_vnni, avx512_vnni, avx512_bf16;
    size_t l1d, l2;
} tn_cpu_info;

/* What is around the core. Reading it takes a good part of a process' start, so it is asked for on its own. */
typedef struct tn_cpu_system {
    size_t l3;          /* bytes that one core can reach */
    int physical_cores; /* that this process may use; at least 1 */
    int logical_cores;  /* likewise */
    char name[64];      /* "AMD EPYC ..." */
} tn_cpu_system;

const tn_cpu_info *tn_cpu_get_info(void);
const tn_cpu_system *tn_cpu_get_system(void);
/* The tier in force: the machine's, lowered by tern_cpu_set_mask or the environment's TERN_CPU. */
tern_cpu_tier tn_cpu_tier(void);
/* What is behind the public functions of the same names. */
tern_status tn_cpu_set_mask(tern_cpu_tier highest, tern_error *err);
const char *tn_cpu_tier_name(tern_cpu_tier tier);
tern_status tn_cpu_tier_parse(const char *name, tern_cpu_tier *out, tern_error *err);

#endif
