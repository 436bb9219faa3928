/* Shapes and element types. */
#include "tensor/tensor.h"

#include <stdio.h>
#include <strings.h>

tn_shape tn_shape_of(int rank, const int64_t *dims) {
    tn_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++) s.dims[i] = dims[i];
    return s;
}

bool tn_shape_known(const tn_shape *s) {
    for (int i = 0; i < s->rank; i++)
        if (!tn_dim_known(s->dims[i])) return false;
    return true;
}

bool tn_shape_equal(const tn_shape *a, const tn_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

int64_t tn_shape_count_range(const tn_shape *s, int from, int to) {
    int64_t count = 1;
    for (int i = from; i < to; i++) count *= s->dims[i];
    return count;
}

int64_t tn_shape_count(const tn_shape *s) { return tn_shape_count_range(s, 0, s->rank); }

bool tn_shape_count_checked(const tn_shape *s, int64_t *count) {
    *count = 0;
    // Zeros are taken as ones at first: the product of any range of dims must not overflow either.
    bool empty = false;
    int64_t product = 1;
    for (int i = 0; i < s->rank; i++) {
        int64_t d = s->dims[i];
        if (!tn_dim_known(d) || d < 0) return false;
        if (d == 0) empty = true;
        if (d > 0 && !tn_mul_i64(product, d, &product)) return false;
    }
    *count = empty ? 0 : product;
    return true;
}

const char *tn_shape_text(const tn_shape *s, char *buffer, size_t size) {
    if (size == 0) return "";
    if (s->rank == 0) {
        snprintf(buffer, size, "scalar");
        return buffer;
    }
    buffer[0] = 0;
    size_t used = 0;
    for (int i = 0; i < s->rank && used < size; i++) {
        const char *separator = i ? "x" : "";
        int n = tn_dim_known(s->dims[i])
                    ? snprintf(buffer + used, size - used, "%s%lld", separator, (long long)s->dims[i])
                    : snprintf(buffer + used, size - used, "%s?", separator);
        if (n < 0) break;
        used += (size_t)n;
    }
    return buffer;
}

static const struct {
    const char *name;
    int bits;
    size_t size;
} dtype_table[TERN_DTYPE_COUNT] = {
#define X(NAME, VALUE, TEXT, BITS, BYTES) [VALUE] = {TEXT, BITS, BYTES},
    TERN_DTYPE_LIST(X)
#undef X
};

const char *tn_dtype_name(tern_dtype dtype) {
    return tn_dtype_valid((int)dtype) ? dtype_table[dtype].name : "undefined";
}
size_t tn_dtype_size(tern_dtype dtype) { return tn_dtype_valid((int)dtype) ? dtype_table[dtype].size : 0; }
int tn_dtype_bits(tern_dtype dtype) { return tn_dtype_valid((int)dtype) ? dtype_table[dtype].bits : 0; }

static const struct {
    const char *name;
    tern_dtype dtype;
} short_names[] = {
    {"float", TERN_FLOAT},
    {"fp32", TERN_FLOAT},
    {"f32", TERN_FLOAT},
    {"single", TERN_FLOAT},
    {"double", TERN_DOUBLE},
    {"fp64", TERN_DOUBLE},
    {"f64", TERN_DOUBLE},
    {"half", TERN_FLOAT16},
    {"fp16", TERN_FLOAT16},
    {"f16", TERN_FLOAT16},
    {"bf16", TERN_BFLOAT16},
    {"i8", TERN_INT8},
    {"i16", TERN_INT16},
    {"i32", TERN_INT32},
    {"int", TERN_INT32},
    {"i64", TERN_INT64},
    {"long", TERN_INT64},
    {"u8", TERN_UINT8},
    {"byte", TERN_UINT8},
    {"u16", TERN_UINT16},
    {"u32", TERN_UINT32},
    {"u64", TERN_UINT64},
    {"boolean", TERN_BOOL},
    {"str", TERN_STRING},
    {"c64", TERN_COMPLEX64},
    {"c128", TERN_COMPLEX128},
    {"f8e4m3fn", TERN_FLOAT8E4M3FN},
    {"f8e4m3fnuz", TERN_FLOAT8E4M3FNUZ},
    {"f8e5m2", TERN_FLOAT8E5M2},
    {"f8e5m2fnuz", TERN_FLOAT8E5M2FNUZ},
    {"f8e8m0", TERN_FLOAT8E8M0},
    {"f4e2m1", TERN_FLOAT4E2M1},
    {"fp4", TERN_FLOAT4E2M1},
    {"i4", TERN_INT4},
    {"u4", TERN_UINT4},
    {"i2", TERN_INT2},
    {"u2", TERN_UINT2},
};

tern_status tn_dtype_parse(const char *name, tern_dtype *out, tern_error *err) {
    for (int i = 1; i < TERN_DTYPE_COUNT; i++) {
        if (strcasecmp(name, dtype_table[i].name) != 0) continue;
        *out = (tern_dtype)i;
        return TERN_OK;
    }
    for (size_t i = 0; i < TN_COUNT(short_names); i++) {
        if (strcasecmp(name, short_names[i].name) != 0) continue;
        *out = short_names[i].dtype;
        return TERN_OK;
    }
    return tn_fail(err, TERN_INVALID_ARGUMENT, "\"%s\" is not an element type; float32, int64, uint8 and the like are",
                   name);
}
