/* Comparing a tensor with the expected one. */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "tern/tern.h"

/* True when kind, type, shape and elements agree: |got - want| <= atol + rtol * |want|, equal infinities, NaN where NaN
 * is wanted, strings byte by byte. Otherwise the first difference is described in `why`. */
bool cli_compare(const tern_tensor *got, const tern_tensor *want, double rtol, double atol, char *why, size_t size);

/* How far two tensors of equal type and shape are apart; pairs of NaN and of equal infinities count as equal. */
typedef struct cli_difference {
    double max_abs;
    double max_ulp;  /* steps between neighbouring numbers of the type; of integers their difference */
    double max_want; /* largest finite magnitude in `want` */
    double cosine;   /* of the angle between them as vectors; 1 when both are zero */
} cli_difference;
cli_difference cli_measure_difference(const tern_tensor *got, const tern_tensor *want);

/* Index of the largest element along the last axis, for each row; used for "same top-1". The tensors have equal shapes.
 */
bool cli_same_top1(const tern_tensor *got, const tern_tensor *want, char *why, size_t size);

/* Element i of a numeric tensor as a number. */
double cli_element(const tern_tensor *t, int64_t i);

#endif
