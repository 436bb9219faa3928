/* Comparing a tensor with the expected one. */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "tern/tern.h"

/* True when kind, type, shape and elements agree: |got - want| <= atol + rtol * |want|, equal infinities, NaN where NaN
 * is wanted, strings byte by byte. Otherwise the first difference is described in `why`. */
bool cli_compare(const tern_tensor *got, const tern_tensor *want, double rtol, double atol, char *why, size_t size);

/* Index of the largest element along the last axis, for each row; used for "same top-1". The tensors have equal shapes.
 */
bool cli_same_top1(const tern_tensor *got, const tern_tensor *want, char *why, size_t size);

/* Element i of a numeric tensor as a number. */
double cli_element(const tern_tensor *t, int64_t i);

#endif
