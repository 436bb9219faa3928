/* Between the two files of Cast. */
#ifndef TN_OPS_CAST_INTERNAL_H
#define TN_OPS_CAST_INTERNAL_H

#include "ops/typed.h"

typedef struct tn_cast {
    tern_dtype from, to;
    bool saturate;
    char round_mode; /* 'u', 'd', 'n' */
} tn_cast;

/* Neither type is string. */
void tn_cast_numbers(const tn_cast *cast, const void *src, void *dst, size_t n);
/* At least one type is string. */
tern_status tn_cast_strings(tn_run *c, const tn_cast *cast, const void *src, void *dst, int64_t n);

#endif
