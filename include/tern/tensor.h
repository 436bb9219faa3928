/* Tensors, and the sequences, optionals and maps that the ONNX standard builds from them. */
#ifndef TERN_TENSOR_H
#define TERN_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "tern/export.h"
#include "tern/status.h"

#define TERN_MAX_RANK 12

/* X(NAME, value in TensorProto.DataType, text, bits in ONNX's packed form, bytes of an element in memory) */
#define TERN_DTYPE_LIST(X)                        \
    X(FLOAT, 1, "float32", 32, 4)                 \
    X(UINT8, 2, "uint8", 8, 1)                    \
    X(INT8, 3, "int8", 8, 1)                      \
    X(UINT16, 4, "uint16", 16, 2)                 \
    X(INT16, 5, "int16", 16, 2)                   \
    X(INT32, 6, "int32", 32, 4)                   \
    X(INT64, 7, "int64", 64, 8)                   \
    X(STRING, 8, "string", 0, 16)                 \
    X(BOOL, 9, "bool", 8, 1)                      \
    X(FLOAT16, 10, "float16", 16, 2)              \
    X(DOUBLE, 11, "float64", 64, 8)               \
    X(UINT32, 12, "uint32", 32, 4)                \
    X(UINT64, 13, "uint64", 64, 8)                \
    X(COMPLEX64, 14, "complex64", 64, 8)          \
    X(COMPLEX128, 15, "complex128", 128, 16)      \
    X(BFLOAT16, 16, "bfloat16", 16, 2)            \
    X(FLOAT8E4M3FN, 17, "float8e4m3fn", 8, 1)     \
    X(FLOAT8E4M3FNUZ, 18, "float8e4m3fnuz", 8, 1) \
    X(FLOAT8E5M2, 19, "float8e5m2", 8, 1)         \
    X(FLOAT8E5M2FNUZ, 20, "float8e5m2fnuz", 8, 1) \
    X(UINT4, 21, "uint4", 4, 1)                   \
    X(INT4, 22, "int4", 4, 1)                     \
    X(FLOAT4E2M1, 23, "float4e2m1", 4, 1)         \
    X(FLOAT8E8M0, 24, "float8e8m0", 8, 1)         \
    X(UINT2, 25, "uint2", 2, 1)                   \
    X(INT2, 26, "int2", 2, 1)

typedef enum tern_dtype {
    TERN_UNDEFINED = 0,
#define X(NAME, VALUE, TEXT, BITS, BYTES) TERN_##NAME = VALUE,
    TERN_DTYPE_LIST(X)
#undef X
        TERN_DTYPE_COUNT
} tern_dtype;

typedef enum tern_kind {
    TERN_KIND_TENSOR = 0,
    TERN_KIND_SEQUENCE, /* items in order */
    TERN_KIND_OPTIONAL, /* no item or one */
    TERN_KIND_MAP       /* two items: a 1-D tensor of keys and a tensor or sequence of as many values */
} tern_kind;

/* An element of a string tensor; bytes, not terminated. */
typedef struct tern_string {
    const char *data;
    size_t len;
} tern_string;

/* A tensor; or, where tern_tensor_kind says so, a sequence, optional or map of them.
 * Elements are dense and row-major, aligned to 64 bytes when the library allocates them. Types of less than 8 bits
 * take a byte each in memory, sign-extended where signed. Bool is 0 or 1 in a byte. A tensor is not locked: many
 * threads may read it at once, one may write it. */
typedef struct tern_tensor tern_tensor;

TERN_BEGIN_DECLS

/* A new tensor with cleared elements (strings: empty). `rank` 0..TERN_MAX_RANK, dims[rank] >= 0 (copied).
 * The caller owns *out and frees it with tern_tensor_free. */
TERN_API tern_status tern_tensor_create(tern_tensor **out, tern_dtype dtype, int rank, const int64_t *dims,
                                        tern_error *err);
/* A tensor over memory of the caller, which must outlive it and hold at least the tensor's bytes. */
TERN_API tern_status tern_tensor_borrow(tern_tensor **out, tern_dtype dtype, int rank, const int64_t *dims, void *data,
                                        size_t bytes, tern_error *err);
/* A sequence, optional or map of `count` items, which are shared (they stay valid until both are freed). */
TERN_API tern_status tern_tensor_group(tern_tensor **out, tern_kind kind, tern_tensor *const *items, size_t count,
                                       tern_error *err);
/* NULL is fine. */
TERN_API void tern_tensor_free(tern_tensor *tensor);

TERN_API tern_kind tern_tensor_kind(const tern_tensor *tensor);
TERN_API tern_dtype tern_tensor_dtype(const tern_tensor *tensor);
TERN_API int tern_tensor_rank(const tern_tensor *tensor);
/* rank values, owned by the tensor. */
TERN_API const int64_t *tern_tensor_dims(const tern_tensor *tensor);
/* Number of elements. */
TERN_API int64_t tern_tensor_count(const tern_tensor *tensor);
/* Bytes of all elements in memory. */
TERN_API size_t tern_tensor_bytes(const tern_tensor *tensor);
/* The elements (string tensors: tern_string each); NULL for groups and empty tensors. Owned by the tensor. */
TERN_API void *tern_tensor_data(tern_tensor *tensor);
TERN_API const void *tern_tensor_const_data(const tern_tensor *tensor);
/* Copies `len` bytes into element `index` of a string tensor. */
TERN_API tern_status tern_tensor_set_string(tern_tensor *tensor, int64_t index, const char *data, size_t len,
                                            tern_error *err);
/* Items of a group; the item is owned by the group. NULL when index is out of range. */
TERN_API size_t tern_tensor_item_count(const tern_tensor *tensor);
TERN_API const tern_tensor *tern_tensor_item(const tern_tensor *tensor, size_t index);

/* "float32" and the like; "undefined" for anything else. */
TERN_API const char *tern_dtype_name(tern_dtype dtype);
/* Bytes of an element in memory; 0 for TERN_UNDEFINED. */
TERN_API size_t tern_dtype_size(tern_dtype dtype);
/* Accepts the names above and the usual short ones (fp32, f32, float, half, fp16, bf16, double, i64 ...). */
TERN_API tern_status tern_dtype_parse(const char *name, tern_dtype *out, tern_error *err);

TERN_END_DECLS
#endif
