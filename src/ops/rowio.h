/* Runs of elements of any numeric type, read into and written from one working type. */
#ifndef TN_OPS_ROWIO_H
#define TN_OPS_ROWIO_H

#include "base/base.h"
#include "tensor/tensor.h"

/* Elements [at, at + n) of an array. Numbers of any real type of at least 8 bits. */
void tn_row_load_f64(tern_dtype dtype, const void *data, int64_t at, int64_t n, double *dst);
/* Integers are truncated towards zero and saturated; NaN becomes 0. */
void tn_row_store_f64(tern_dtype dtype, void *data, int64_t at, int64_t n, const double *src);
/* float, float16 and bfloat16 only. */
void tn_row_load_f32(tern_dtype dtype, const void *data, int64_t at, int64_t n, float *dst);
void tn_row_store_f32(tern_dtype dtype, void *data, int64_t at, int64_t n, const float *src);
/* Integers and bool; uint64 as its bits. Storing keeps the low bits. */
void tn_row_load_i64(tern_dtype dtype, const void *data, int64_t at, int64_t n, int64_t *dst);
void tn_row_store_i64(tern_dtype dtype, void *data, int64_t at, int64_t n, const int64_t *src);

/* (outer, dim, inner) around an axis of a dense tensor. */
typedef struct tn_rows {
    int64_t outer, dim, inner;
} tn_rows;
TN_INLINE tn_rows tn_rows_of(const tn_shape *s, int axis) {
    return (tn_rows){tn_shape_count_range(s, 0, axis), s->dims[axis], tn_shape_count_range(s, axis + 1, s->rank)};
}

#endif
