/* CPU instruction tiers. A tier is a bundle: avx2 means AVX2+FMA+F16C, avx512 means F+BW+DQ+VL on top of it. */
#ifndef TERN_CPU_H
#define TERN_CPU_H

#include <stddef.h>

#include "tern/export.h"
#include "tern/status.h"

typedef enum tern_cpu_tier { TERN_CPU_SCALAR = 0, TERN_CPU_AVX2 = 1, TERN_CPU_AVX512 = 2 } tern_cpu_tier;

TERN_BEGIN_DECLS

/* The tier in force: the best that CPU and system support, lowered by the environment's TERN_CPU=scalar|avx2|avx512
 * or by tern_cpu_set_mask. */
TERN_API tern_cpu_tier tern_cpu_get_tier(void);
/* Uses nothing above `highest` from now on, in sessions created after the call. A tier that the machine does not
 * have is TERN_UNSUPPORTED, and nothing changes. */
TERN_API tern_status tern_cpu_set_mask(tern_cpu_tier highest, tern_error *err);
/* "scalar", "avx2", "avx512"; parse gives TERN_INVALID_ARGUMENT for anything else. */
TERN_API const char *tern_cpu_tier_name(tern_cpu_tier tier);
TERN_API tern_status tern_cpu_tier_parse(const char *name, tern_cpu_tier *out, tern_error *err);

TERN_END_DECLS
#endif
