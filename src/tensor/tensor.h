/* L1: tensors as operators see them. */
#ifndef TN_TENSOR_H
#define TN_TENSOR_H

#include "base/base.h"
#include "tern/tensor.h"

/* ---- dims and shapes --------------------------------------------------------------------------------------- */

/* A dim, or an element of an integer tensor during shape inference: a known number, unknown, or a symbol ("batch").
 * Two equal symbols are the same, if unknown, number. */
#define TN_DIM_UNKNOWN     INT64_MIN
#define TN_DIM_LAST_SYMBOL (INT64_MIN + ((int64_t)1 << 32))
TN_INLINE bool tn_dim_known(int64_t d) { return d > TN_DIM_LAST_SYMBOL; }
TN_INLINE bool tn_dim_is_symbol(int64_t d) { return d > TN_DIM_UNKNOWN && d <= TN_DIM_LAST_SYMBOL; }
TN_INLINE int64_t tn_dim_symbol(uint32_t index) { return INT64_MIN + 1 + (int64_t)index; }
TN_INLINE uint32_t tn_dim_symbol_index(int64_t d) { return (uint32_t)(d - (INT64_MIN + 1)); }

typedef struct tn_shape {
    int rank;
    int64_t dims[TERN_MAX_RANK];
} tn_shape;

tn_shape tn_shape_of(int rank, const int64_t *dims);
bool tn_shape_known(const tn_shape *s); /* every dim is a number */
bool tn_shape_equal(const tn_shape *a, const tn_shape *b);
/* Product of dims [from, to); the dims must be known and their product checked before (tn_shape_count_checked). */
int64_t tn_shape_count(const tn_shape *s);
int64_t tn_shape_count_range(const tn_shape *s, int from, int to);
bool tn_shape_count_checked(const tn_shape *s, int64_t *count); /* false: unknown, negative or overflowing */
/* "2x3x?" into buffer; returns buffer. */
const char *tn_shape_text(const tn_shape *s, char *buffer, size_t size);
#define TN_SHAPE_TEXT 160

/* ---- tensors ----------------------------------------------------------------------------------------------- */

/* Memory that several tensors may share. */
typedef struct tn_buffer tn_buffer;

struct tern_tensor {
    tern_kind kind;
    tern_dtype dtype;
    /* 0: plain row-major. 8 or 16: rank >= 3, dim 1 (channels) is stored in blocks of that many,
     * (n, ceil(c/block), spatial..., block), the last block padded with zeros. `shape` stays the logical one. */
    int block;
    tn_shape shape;
    void *data;
    tn_buffer *buffer;   /* owner of data; NULL: borrowed */
    tern_tensor **items; /* groups: n_items references */
    size_t n_items;
    uint32_t refs; /* atomic */
    /* data is a constant in a file, not aligned for its elements: bytes may be copied, elements not be read. Only
     * constants of graphs are so; see tn_opt_align. */
    bool unaligned;
};

/* Elements in memory, padding of blocks included. */
int64_t tn_tensor_stored_count(const tern_tensor *t);
size_t tn_tensor_bytes(const tern_tensor *t);
/* The shape as stored: (n, cb, ..., block) for blocked tensors, else the logical one. Broadcasting elementwise over
 * stored shapes is right as long as all operands of rank >= 3 have the same block. */
tn_shape tn_tensor_stored_shape(const tern_tensor *t);
/* Bytes that a tensor of this type needs; false on overflow or unknown dims. */
bool tn_bytes_for(tern_dtype dtype, const tn_shape *shape, int block, size_t *bytes);

tern_status tn_tensor_new(tern_tensor **out, tern_dtype dtype, const tn_shape *shape,
                          tern_error *err); /* not cleared */
tern_status tn_tensor_new_borrow(tern_tensor **out, tern_dtype dtype, const tn_shape *shape, const void *data,
                                 tern_error *err);
/* A tensor over the memory of `src`, kept alive with it: Reshape without a copy. Needs as many bytes as `src` has, or
 * fewer; `src` must be a tensor that is not blocked. */
tern_status tn_tensor_new_view(tern_tensor **out, tern_tensor *src, tern_dtype dtype, const tn_shape *shape,
                               tern_error *err);
/* A sequence, optional or map; takes a reference to every item. */
tern_status tn_tensor_new_group(tern_tensor **out, tern_kind kind, tern_tensor *const *items, size_t count,
                                tern_error *err);
tern_tensor *tn_tensor_ref(tern_tensor *t);
void tn_tensor_unref(tern_tensor *t); /* NULL is fine */
/* A deep copy with its own memory, strings included. */
tern_status tn_tensor_copy(tern_tensor **out, const tern_tensor *src, tern_error *err);
/* Deep equality of type, shape and bits. */
bool tn_tensor_equal(const tern_tensor *a, const tern_tensor *b);

/* Element `index` of a string tensor becomes a copy of data[0, len), in memory that the tensor owns. The bytes of
 * elements set before may move. */
tern_status tn_tensor_set_string(tern_tensor *t, int64_t index, const char *data, size_t len, tern_error *err);
/* Copies every element's bytes into memory that the tensor owns: after tern_string structs were copied from another
 * tensor into this one. */
tern_status tn_tensor_own_strings(tern_tensor *t, tern_error *err);

/* Element i of any numeric type as a number; for attributes-like inputs, not for inner loops. */
double tn_tensor_get_f64(const tern_tensor *t, int64_t i);
int64_t tn_tensor_get_i64(const tern_tensor *t, int64_t i);

/* ---- types ------------------------------------------------------------------------------------------------- */

/* What is behind tern_dtype_*; `bits` is the width in ONNX's packed form, 0 for strings. */
const char *tn_dtype_name(tern_dtype dtype);
size_t tn_dtype_size(tern_dtype dtype);
int tn_dtype_bits(tern_dtype dtype);
tern_status tn_dtype_parse(const char *name, tern_dtype *out, tern_error *err);
TN_INLINE bool tn_dtype_valid(int dtype) { return dtype > TERN_UNDEFINED && dtype < TERN_DTYPE_COUNT; }

/* ---- type classes ------------------------------------------------------------------------------------------ */

#define TN_T(NAME)       (1u << TERN_##NAME)
#define TN_TYPES_SINT    (TN_T(INT8) | TN_T(INT16) | TN_T(INT32) | TN_T(INT64))
#define TN_TYPES_UINT    (TN_T(UINT8) | TN_T(UINT16) | TN_T(UINT32) | TN_T(UINT64))
#define TN_TYPES_INT     (TN_TYPES_SINT | TN_TYPES_UINT)
#define TN_TYPES_FLOAT   (TN_T(FLOAT) | TN_T(DOUBLE) | TN_T(FLOAT16) | TN_T(BFLOAT16))
#define TN_TYPES_FLOAT8  (TN_T(FLOAT8E4M3FN) | TN_T(FLOAT8E4M3FNUZ) | TN_T(FLOAT8E5M2) | TN_T(FLOAT8E5M2FNUZ))
#define TN_TYPES_SUBBYTE (TN_T(UINT4) | TN_T(INT4) | TN_T(UINT2) | TN_T(INT2) | TN_T(FLOAT4E2M1))
#define TN_TYPES_NUMERIC (TN_TYPES_INT | TN_TYPES_FLOAT)
#define TN_TYPES_ALL     0x7fffffeu
TN_INLINE bool tn_type_in(tern_dtype t, uint32_t set) { return (set >> t) & 1u; }

#endif
