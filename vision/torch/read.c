/* Tensors to memory: from a strided view of a storage to dense, row-major elements. */
#include "vision/torch/torch_internal.h"

/* ---- storages -------------------------------------------------------------------------------------------------- */

static tern_status inflate_storage(tern_ckpt *ckpt, tern_storage *s, tern_error *err) {
    uint64_t left = ckpt->options.max_inflated - TN_MIN(ckpt->options.max_inflated, ckpt->inflated);
    TN_TRY(tn_zip_read(&ckpt->zip, s->entry, left, &s->data, &s->owned, err));
    if (s->owned) ckpt->inflated += (size_t)s->entry->size;
    return TERN_OK;
}

tern_status tn_storage_bytes(tern_ckpt *ckpt, tern_storage *s, const uint8_t **bytes, tern_error *err) {
    if (s->base) {
        TN_TRY(tn_storage_bytes(ckpt, s->base, bytes, err));
        *bytes += (size_t)s->base_offset * tern_dtype_size(s->dtype);
        return TERN_OK;
    }
    if (!s->data && s->entry) TN_TRY(inflate_storage(ckpt, s, err));
    if (!s->data && s->bytes > 0)
        return tn_fail(err, TERN_INVALID_FORMAT, "there are no bytes for storage %.60s", s->key ? s->key : "");
    *bytes = s->data;
    return TERN_OK;
}

/* ---- strided copy ---------------------------------------------------------------------------------------------- */

typedef struct view {
    int rank;
    int64_t dims[TERN_MAX_RANK], strides[TERN_MAX_RANK];
} view;

// Dims of 1 go away and neighbours that lie like one dim become one.
static view simplify(const tern_py_tensor *t) {
    view v = {0};
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 1) continue;
        int last = v.rank - 1;
        if (v.rank && v.strides[last] == t->dims[i] * t->strides[i]) {
            v.dims[last] *= t->dims[i];
            v.strides[last] = t->strides[i];
        } else {
            v.dims[v.rank] = t->dims[i];
            v.strides[v.rank++] = t->strides[i];
        }
    }
    return v;
}

#define COPY_ROW(TYPE_SIZE) \
    for (int64_t i = 0; i < n; i++) memcpy(dst + i * (TYPE_SIZE), src + i * step * (TYPE_SIZE), TYPE_SIZE)

static void copy_row(uint8_t *dst, const uint8_t *src, int64_t n, int64_t step, size_t size) {
    if (step == 1) {
        memcpy(dst, src, (size_t)n * size);
        return;
    }
    switch (size) {
    case 1:
        COPY_ROW(1);
        break;
    case 2:
        COPY_ROW(2);
        break;
    case 4:
        COPY_ROW(4);
        break;
    case 8:
        COPY_ROW(8);
        break;
    default:
        COPY_ROW(16);
        break;
    }
}

// src: the element at the tensor's offset.
static void copy_view(uint8_t *dst, const uint8_t *src, const view *v, size_t size) {
    int64_t at[TERN_MAX_RANK] = {0}, offset = 0;
    int outer = v->rank - 1;
    int64_t n = v->rank ? v->dims[outer] : 1, step = v->rank ? v->strides[outer] : 1;
    for (;;) {
        copy_row(dst, src + (size_t)offset * size, n, step, size);
        dst += (size_t)n * size;
        int d = outer - 1;
        for (; d >= 0; d--) {
            offset += v->strides[d];
            if (++at[d] < v->dims[d]) break;
            offset -= at[d] * v->strides[d];
            at[d] = 0;
        }
        if (d < 0) return;
    }
}

static void swap_bytes(uint8_t *p, int64_t count, size_t size) {
    for (int64_t k = 0; k < count; k++, p += size)
        for (size_t i = 0; i < size / 2; i++) {
            uint8_t low = p[i];
            p[i] = p[size - 1 - i];
            p[size - 1 - i] = low;
        }
}

static tern_status read_dense(tern_tensor **out, tern_ckpt *ckpt, const tern_py_tensor *t, tern_error *err) {
    const uint8_t *bytes;
    size_t size = tern_dtype_size(t->dtype);
    TN_TRY(tern_tensor_create(out, t->dtype, t->rank, t->dims, err));
    if (t->count == 0) return TERN_OK;
    tern_status s = tn_storage_bytes(ckpt, t->storage, &bytes, err);
    if (s != TERN_OK) {
        tern_tensor_free(*out);
        *out = NULL;
        return s;
    }
    uint8_t *dst = tern_tensor_data(*out);
    view v = simplify(t);
    copy_view(dst, bytes + (size_t)t->offset * size, &v, size);
    bool complex = t->dtype == TERN_COMPLEX64 || t->dtype == TERN_COMPLEX128;
    if (t->storage->big_endian) swap_bytes(dst, complex ? 2 * t->count : t->count, complex ? size / 2 : size);
    for (int64_t i = 0; t->dtype == TERN_BOOL && i < t->count; i++) dst[i] = dst[i] != 0;
    return TERN_OK;
}

/* ---- to float32 ------------------------------------------------------------------------------------------------ */

#define TO_FLOAT(NAME, TYPE)                                  \
    case TERN_##NAME: {                                       \
        const TYPE *x = src;                                  \
        for (int64_t i = 0; i < n; i++) dst[i] = (float)x[i]; \
        return true;                                          \
    }
#define TO_FLOAT8(NAME, FUNCTION)                                \
    case TERN_##NAME: {                                          \
        const uint8_t *x = src;                                  \
        for (int64_t i = 0; i < n; i++) dst[i] = FUNCTION(x[i]); \
        return true;                                             \
    }

static bool convert(float *dst, const void *src, tern_dtype dtype, int64_t n) {
    switch (dtype) {
    case TERN_FLOAT16:
        tn_f16_to_f32_n(src, dst, (size_t)n);
        return true;
    case TERN_BFLOAT16:
        tn_bf16_to_f32_n(src, dst, (size_t)n);
        return true;
        TO_FLOAT(DOUBLE, double)
        TO_FLOAT(INT8, int8_t)
        TO_FLOAT(INT16, int16_t)
        TO_FLOAT(INT32, int32_t)
        TO_FLOAT(INT64, int64_t)
        TO_FLOAT(UINT8, uint8_t)
        TO_FLOAT(UINT16, uint16_t)
        TO_FLOAT(UINT32, uint32_t)
        TO_FLOAT(UINT64, uint64_t)
        TO_FLOAT(BOOL, uint8_t)
        TO_FLOAT8(FLOAT8E4M3FN, tn_f8e4m3fn_to_f32)
        TO_FLOAT8(FLOAT8E4M3FNUZ, tn_f8e4m3fnuz_to_f32)
        TO_FLOAT8(FLOAT8E5M2, tn_f8e5m2_to_f32)
        TO_FLOAT8(FLOAT8E5M2FNUZ, tn_f8e5m2fnuz_to_f32)
    default:
        return false;
    }
}

static tern_status to_float(tern_tensor **tensor, tern_error *err) {
    tern_tensor *from = *tensor, *to;
    tern_dtype dtype = tern_tensor_dtype(from);
    tern_status s = tern_tensor_create(&to, TERN_FLOAT, tern_tensor_rank(from), tern_tensor_dims(from), err);
    if (s == TERN_OK && tern_tensor_count(from) > 0 &&
        !convert(tern_tensor_data(to), tern_tensor_const_data(from), dtype, tern_tensor_count(from))) {
        s = tn_fail(err, TERN_TYPE_MISMATCH, "a tensor of %s can not be converted to float32", tern_dtype_name(dtype));
        tern_tensor_free(to);
    }
    tern_tensor_free(from);
    *tensor = s == TERN_OK ? to : NULL;
    return s;
}

tern_status tern_ckpt_read(tern_tensor **out, tern_ckpt *ckpt, const tern_py *tensor, tern_dtype as, tern_error *err) {
    *out = NULL;
    if (!tensor || tensor->kind != TERN_PY_TENSOR)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a %s is no tensor",
                       tensor ? tern_py_kind_name(tensor->kind) : "missing value");
    tern_dtype dtype = tensor->tensor->dtype;
    if (as != TERN_UNDEFINED && as != dtype && as != TERN_FLOAT)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tensors can be read as stored or as float32, not as %s",
                       tern_dtype_name(as));
    TN_TRY(read_dense(out, ckpt, tensor->tensor, err));
    return as == TERN_UNDEFINED || as == dtype ? TERN_OK : to_float(out, err);
}
