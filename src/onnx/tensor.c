/* TensorProto and SparseTensorProto to tensors: every type in every form that the standard allows for it. */
#include "onnx/onnx_internal.h"

#include <inttypes.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little endian and used as it is");

/* A TensorProto after one pass over its fields. */
typedef struct tensor_proto {
    tn_str message, name, raw;
    tn_shape shape;
    int64_t data_type;
    int64_t location;
    bool has_raw, has_segment;
    size_t typed[TENSOR_UINT64_DATA + 1]; /* elements in the typed field of that number */
    // external_data
    tn_str file;
    uint64_t offset, length;
    bool has_length;
} tensor_proto;

static tern_status fail_field(tern_error *err, const char *field) {
    return tn_fail(err, TERN_INVALID_FORMAT, "field %s of a tensor is damaged", field);
}

/* Appends the dims of one field. */
static tern_status add_dims(const tn_pb_field *f, tn_shape *shape, tern_error *err) {
    size_t count;
    if (!tn_pb_count(f, TN_PB_VARINT, &count)) return fail_field(err, "dims");
    if (count > (size_t)(TERN_MAX_RANK - shape->rank)) {
        return tn_fail(err, TERN_UNSUPPORTED, "a tensor of more than %d dims", TERN_MAX_RANK);
    }
    tn_pb_get_i64(f, shape->dims + shape->rank);
    shape->rank += (int)count;
    return TERN_OK;
}

static bool parse_u64(tn_str s, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        if (__builtin_mul_overflow(value, 10u, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) return false;
    }
    *out = value;
    return s.len > 0;
}

static tern_status read_external_entry(const tn_tensor_source *source, tn_str message, tensor_proto *t,
                                       tern_error *err) {
    tn_pb r = tn_pb_open(message);
    tn_str key = {0}, value = {0};
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.wire != TN_PB_BYTES) continue;
        if (f.number == ENTRY_KEY) key = f.bytes;
        if (f.number == ENTRY_VALUE) value = f.bytes;
    }
    TN_TRY(tn_pb_check(&r, source->start, "external_data entry", err));
    bool ok = true;
    if (tn_str_eq(key, tn_str_c("location"))) t->file = value;
    if (tn_str_eq(key, tn_str_c("offset"))) ok = parse_u64(value, &t->offset);
    if (tn_str_eq(key, tn_str_c("length"))) ok = t->has_length = parse_u64(value, &t->length);
    if (ok) return TERN_OK;
    return tn_fail(err, TERN_INVALID_MODEL, "%.*s of external data is '%.*s', not a number", (int)key.len, key.data,
                   (int)TN_MIN(value.len, (size_t)40), value.data);
}

static tern_status count_typed(const tn_pb_field *f, tensor_proto *t, tern_error *err) {
    size_t count;
    tn_pb_wire element = f->number == TENSOR_FLOAT_DATA    ? TN_PB_FIXED32
                         : f->number == TENSOR_DOUBLE_DATA ? TN_PB_FIXED64
                                                           : TN_PB_VARINT;
    if (!tn_pb_count(f, element, &count)) return fail_field(err, "with data");
    // No overflow: an element takes at least a byte of the message.
    t->typed[f->number] += count;
    return TERN_OK;
}

static tern_status read_tensor_field(const tn_tensor_source *source, const tn_pb_field *f, tensor_proto *t,
                                     tern_error *err) {
    bool bytes = f->wire == TN_PB_BYTES, varint = f->wire == TN_PB_VARINT;
    switch (f->number) {
    case TENSOR_DIMS:
        return add_dims(f, &t->shape, err);
    case TENSOR_FLOAT_DATA:
    case TENSOR_INT32_DATA:
    case TENSOR_INT64_DATA:
    case TENSOR_DOUBLE_DATA:
    case TENSOR_UINT64_DATA:
        return count_typed(f, t, err);
    case TENSOR_DATA_TYPE:
        if (!varint) return fail_field(err, "data_type");
        t->data_type = (int64_t)f->value;
        return TERN_OK;
    case TENSOR_DATA_LOCATION:
        if (!varint) return fail_field(err, "data_location");
        t->location = (int64_t)f->value;
        return TERN_OK;
    case TENSOR_STRING_DATA:
        if (!bytes) return fail_field(err, "string_data");
        t->typed[TENSOR_STRING_DATA]++;
        return TERN_OK;
    case TENSOR_NAME:
        if (bytes) t->name = f->bytes;
        return TERN_OK;
    case TENSOR_RAW_DATA:
        if (!bytes) return fail_field(err, "raw_data");
        t->raw = f->bytes;
        t->has_raw = true;
        return TERN_OK;
    case TENSOR_EXTERNAL_DATA:
        if (!bytes) return fail_field(err, "external_data");
        return read_external_entry(source, f->bytes, t, err);
    case TENSOR_SEGMENT:
        t->has_segment = true;
        return TERN_OK;
    }
    return TERN_OK;
}

static tern_status read_tensor_proto(const tn_tensor_source *source, tn_str message, tensor_proto *t, tern_error *err) {
    *t = (tensor_proto){.message = message};
    tn_pb r = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) TN_TRY(read_tensor_field(source, &f, t, err));
    return tn_pb_check(&r, source->start, "TensorProto", err);
}

/* ---- elements ---------------------------------------------------------------------------------------------- */

/* Bytes of `count` elements as raw_data holds them. */
static bool raw_bytes(tern_dtype dtype, int64_t count, size_t *bytes) {
    size_t bits;
    if (!tn_mul_size((size_t)count, (size_t)tn_dtype_bits(dtype), &bits) || bits > SIZE_MAX - 7) return false;
    *bytes = (bits + 7) / 8;
    return true;
}

/* 2- and 4-bit elements, the low bits first, to a byte each. */
static void unpack(const uint8_t *src, uint8_t *dst, int64_t count, tern_dtype dtype) {
    int bits = tn_dtype_bits(dtype), per_byte = 8 / bits;
    uint8_t mask = (uint8_t)((1 << bits) - 1), sign = (uint8_t)(1 << (bits - 1));
    bool is_signed = dtype == TERN_INT4 || dtype == TERN_INT2;
    for (int64_t i = 0; i < count; i++) {
        uint8_t v = (uint8_t)(src[i / per_byte] >> (i % per_byte * bits)) & mask;
        dst[i] = is_signed ? (uint8_t)((v ^ sign) - sign) : v;
    }
}

/* From raw form to memory form, which are the same but for bool and types of less than 8 bits. */
static void copy_raw(const uint8_t *src, size_t bytes, uint8_t *dst, int64_t count, tern_dtype dtype) {
    if (tn_dtype_bits(dtype) < 8) {
        unpack(src, dst, count, dtype);
    } else if (dtype == TERN_BOOL) {
        for (int64_t i = 0; i < count; i++) dst[i] = src[i] != 0;
    } else if (bytes) {
        memcpy(dst, src, bytes);
    }
}

/* The form is the same, and only the place is not. Whoever reads elements copies it first (tn_opt_align); most are
 * weights, which are packed right from the file. */
static bool worth_leaving(const uint8_t *src, size_t bytes, tern_dtype dtype) {
    enum { SMALL = 1024 };
    return dtype == TERN_FLOAT && bytes >= SMALL && (uintptr_t)src % sizeof(float) != 0;
}

static bool same_form(const uint8_t *src, size_t bytes, tern_dtype dtype) {
    size_t align = tn_dtype_size(dtype);
    if (dtype == TERN_COMPLEX64 || dtype == TERN_COMPLEX128) align /= 2;
    if (tn_dtype_bits(dtype) < 8 || (uintptr_t)src % align != 0) return false;
    if (dtype != TERN_BOOL) return true;
    uint8_t all = 0;
    for (size_t i = 0; i < bytes; i++) all |= src[i];
    return all <= 1;
}

static tern_status from_raw(const tn_tensor_source *source, const uint8_t *src, size_t bytes, tern_dtype dtype,
                            const tn_shape *shape, tern_tensor **out, tern_error *err) {
    if (source->borrow && bytes && same_form(src, bytes, dtype)) {
        return tn_tensor_new_borrow(out, dtype, shape, src, err);
    }
    if (source->borrow && source->unaligned && worth_leaving(src, bytes, dtype)) {
        TN_TRY(tn_tensor_new_borrow(out, dtype, shape, src, err));
        (*out)->unaligned = true;
        return TERN_OK;
    }
    TN_TRY(tn_tensor_new(out, dtype, shape, err));
    copy_raw(src, bytes, (*out)->data, tn_shape_count(shape), dtype);
    return TERN_OK;
}

/* The typed field which the standard prescribes for a type. */
static uint32_t typed_field(tern_dtype dtype) {
    switch (dtype) {
    case TERN_FLOAT:
    case TERN_COMPLEX64:
        return TENSOR_FLOAT_DATA;
    case TERN_DOUBLE:
    case TERN_COMPLEX128:
        return TENSOR_DOUBLE_DATA;
    case TERN_INT64:
        return TENSOR_INT64_DATA;
    case TERN_UINT32:
    case TERN_UINT64:
        return TENSOR_UINT64_DATA;
    case TERN_STRING:
        return TENSOR_STRING_DATA;
    default:
        return TENSOR_INT32_DATA;
    }
}

/* Elements that the typed field must have: two for a complex number, one for all that share a byte. */
static size_t typed_count(tern_dtype dtype, int64_t count) {
    size_t bytes = 0;
    if (dtype == TERN_COMPLEX64 || dtype == TERN_COMPLEX128) return (size_t)count * 2;
    if (dtype == TERN_STRING || tn_dtype_bits(dtype) >= 8) return (size_t)count;
    raw_bytes(dtype, count, &bytes);
    return bytes;
}

/* int32_data and uint64_data of types that are narrower in memory: the low bytes of each element. */
static void narrow(const void *src, size_t src_size, void *dst, size_t dst_size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        memcpy((uint8_t *)dst + i * dst_size, (const uint8_t *)src + i * src_size, dst_size);
    }
}

/* One field of typed data, `at` elements into it; dst has the memory form, but packed for less than 8 bits. */
static tern_status store_typed(const tn_pb_field *f, uint8_t *dst, size_t at, size_t count, size_t size,
                               tern_error *err) {
    switch (f->number) {
    case TENSOR_FLOAT_DATA:
        tn_pb_get_f32(f, (float *)(void *)dst + at);
        return TERN_OK;
    case TENSOR_DOUBLE_DATA:
        tn_pb_get_f64(f, (double *)(void *)dst + at);
        return TERN_OK;
    case TENSOR_INT64_DATA:
        tn_pb_get_i64(f, (int64_t *)(void *)dst + at);
        return TERN_OK;
    }
    size_t wide = f->number == TENSOR_INT32_DATA ? 4 : 8;
    uint8_t *buffer = tn_alloc_array(count, wide);
    if (!buffer) return tn_fail_oom(err, count * wide);
    if (wide == 4) {
        tn_pb_get_i32(f, (int32_t *)(void *)buffer);
    } else {
        tn_pb_get_i64(f, (int64_t *)(void *)buffer);
    }
    narrow(buffer, wide, dst + at * size, size, count);
    tn_free(buffer);
    return TERN_OK;
}

/* All fields of number `field` into dst. */
static tern_status store_all(const tensor_proto *t, uint32_t field, uint8_t *dst, size_t size, tern_error *err) {
    tn_pb r = tn_pb_open(t->message);
    size_t at = 0;
    tn_pb_wire element = field == TENSOR_FLOAT_DATA    ? TN_PB_FIXED32
                         : field == TENSOR_DOUBLE_DATA ? TN_PB_FIXED64
                                                       : TN_PB_VARINT;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number != field) continue;
        size_t count = 0;
        if (!tn_pb_count(&f, element, &count) || count == 0) continue;
        TN_TRY(store_typed(&f, dst, at, count, size, err));
        at += count;
    }
    return TERN_OK;
}

static tern_status store_strings(const tensor_proto *t, tern_tensor *out, tern_error *err) {
    tn_pb r = tn_pb_open(t->message);
    tern_string *dst = out->data;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == TENSOR_STRING_DATA) *dst++ = (tern_string){f.bytes.data, f.bytes.len};
    }
    return tn_tensor_own_strings(out, err);
}

static tern_status fill_typed(const tensor_proto *t, tern_tensor *out, tern_error *err) {
    tern_dtype dtype = out->dtype;
    uint32_t field = typed_field(dtype);
    if (dtype == TERN_STRING) return store_strings(t, out, err);
    int64_t count = tn_shape_count(&t->shape);
    if (tn_dtype_bits(dtype) < 8) {
        size_t bytes = typed_count(dtype, count);
        uint8_t *packed = tn_calloc(bytes, 1);
        if (!packed) return tn_fail_oom(err, bytes);
        tern_status status = store_all(t, field, packed, 1, err);
        if (status == TERN_OK) unpack(packed, out->data, count, dtype);
        tn_free(packed);
        return status;
    }
    TN_TRY(store_all(t, field, out->data, tn_dtype_size(dtype), err));
    if (dtype == TERN_BOOL) copy_raw(out->data, (size_t)count, out->data, count, dtype);
    return TERN_OK;
}

/* ---- whole tensors ----------------------------------------------------------------------------------------- */

static tern_status fail_size(const tensor_proto *t, const char *what, uint64_t has, uint64_t needs, tern_error *err) {
    char text[TN_SHAPE_TEXT];
    return tn_fail(err, TERN_INVALID_MODEL, "the tensor has %" PRIu64 " %s, but %s[%s] needs %" PRIu64, has, what,
                   tn_dtype_name((tern_dtype)t->data_type), tn_shape_text(&t->shape, text, sizeof text), needs);
}

static tern_status check_shape(const tn_tensor_source *source, const tn_shape *shape, tern_dtype dtype,
                               tern_error *err) {
    char text[TN_SHAPE_TEXT];
    size_t bytes;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] < 0) {
            return tn_fail(err, TERN_INVALID_MODEL, "dim %d of a tensor is negative: %" PRId64, i, shape->dims[i]);
        }
    }
    if (!tn_bytes_for(dtype, shape, 0, &bytes) || bytes > source->max_bytes) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a tensor %s[%s] is larger than the limit of %zu bytes",
                       tn_dtype_name(dtype), tn_shape_text(shape, text, sizeof text), source->max_bytes);
    }
    return TERN_OK;
}

static tern_status from_external(const tn_tensor_source *source, const tensor_proto *t, tern_tensor **out,
                                 tern_error *err) {
    tern_dtype dtype = (tern_dtype)t->data_type;
    size_t bytes = 0;
    const uint8_t *data = NULL;
    if (dtype == TERN_STRING) return tn_fail(err, TERN_INVALID_MODEL, "strings can not be external data");
    if (!raw_bytes(dtype, tn_shape_count(&t->shape), &bytes)) return tn_fail_oom(err, SIZE_MAX);
    if (t->has_length && t->length != bytes) return fail_size(t, "bytes of external data", t->length, bytes, err);
    if (!source->external) {
        return tn_fail(err, TERN_IO, "the tensor is in another file ('%.*s'), and there is no folder to look in",
                       (int)TN_MIN(t->file.len, (size_t)200), t->file.data);
    }
    TN_TRY(source->external(source->context, t->file, t->offset, bytes, &data, err));
    if (source->check && (tn_dtype_bits(dtype) < 8 || dtype == TERN_BOOL))
        TN_TRY(source->check(source->context, data, bytes, err));
    return from_raw(source, data, bytes, dtype, &t->shape, out, err);
}

static tern_status from_inside(const tn_tensor_source *source, const tensor_proto *t, tern_tensor **out,
                               tern_error *err) {
    tern_dtype dtype = (tern_dtype)t->data_type;
    int64_t count = tn_shape_count(&t->shape);
    size_t typed = t->typed[typed_field(dtype)], needs;
    if (t->has_raw && (t->raw.len || !typed)) {
        if (dtype == TERN_STRING) return tn_fail(err, TERN_INVALID_MODEL, "strings can not be in raw_data");
        if (!raw_bytes(dtype, count, &needs)) return tn_fail_oom(err, SIZE_MAX);
        if (t->raw.len != needs) return fail_size(t, "bytes of raw_data", t->raw.len, needs, err);
        return from_raw(source, (const uint8_t *)t->raw.data, needs, dtype, &t->shape, out, err);
    }
    needs = typed_count(dtype, count);
    if (typed != needs) return fail_size(t, "elements of data", typed, needs, err);
    TN_TRY(tn_tensor_new(out, dtype, &t->shape, err));
    tern_status status = count ? fill_typed(t, *out, err) : TERN_OK;
    if (status != TERN_OK) {
        tn_tensor_unref(*out);
        *out = NULL;
    }
    return status;
}

tern_status tn_onnx_tensor(tn_tensor_source *source, tn_str message, tern_tensor **out, tn_str *name, tern_error *err) {
    tensor_proto t;
    *out = NULL;
    tern_status status = read_tensor_proto(source, message, &t, err);
    if (name) *name = t.name; // for the error text, too
    TN_TRY(status);
    if (t.data_type != (int)t.data_type || !tn_dtype_valid((int)t.data_type)) {
        return tn_fail(err, t.data_type ? TERN_UNSUPPORTED : TERN_INVALID_MODEL,
                       "a tensor of element type %" PRId64 ", which does not exist", t.data_type);
    }
    if (t.has_segment) return tn_fail(err, TERN_UNSUPPORTED, "a tensor in segments");
    TN_TRY(check_shape(source, &t.shape, (tern_dtype)t.data_type, err));
    return t.location == LOCATION_EXTERNAL ? from_external(source, &t, out, err) : from_inside(source, &t, out, err);
}

/* ---- sparse ------------------------------------------------------------------------------------------------ */

/* Position of entry `i` in the dense tensor; false when it is outside. Indices are [entries] or [entries, rank]. */
static bool sparse_position(const tern_tensor *indices, const tn_shape *shape, int64_t i, int64_t *position) {
    const int64_t *at = (const int64_t *)indices->data;
    if (indices->shape.rank == 1) {
        *position = at[i];
        return at[i] >= 0 && at[i] < tn_shape_count(shape);
    }
    *position = 0;
    for (int d = 0; d < shape->rank; d++) {
        int64_t index = at[i * shape->rank + d];
        if (index < 0 || index >= shape->dims[d]) return false;
        *position = *position * shape->dims[d] + index;
    }
    return true;
}

static tern_status scatter(const tern_tensor *values, const tern_tensor *indices, tern_tensor *dense, tern_error *err) {
    size_t size = tn_dtype_size(values->dtype);
    for (int64_t i = 0; i < values->shape.dims[0]; i++) {
        int64_t position;
        if (!sparse_position(indices, &dense->shape, i, &position)) {
            return tn_fail(err, TERN_INVALID_MODEL, "index %" PRId64 " of a sparse tensor is outside of its dims", i);
        }
        memcpy((uint8_t *)dense->data + (size_t)position * size, (const uint8_t *)values->data + (size_t)i * size,
               size);
    }
    return values->dtype == TERN_STRING ? tn_tensor_own_strings(dense, err) : TERN_OK;
}

static tern_status check_sparse(tn_tensor_source *source, const tern_tensor *values, const tern_tensor *indices,
                                const tn_shape *shape, tern_error *err) {
    TN_TRY(check_shape(source, shape, values->dtype, err));
    const tn_shape *v = &values->shape, *i = &indices->shape;
    bool linear = i->rank == 1, coordinates = i->rank == 2 && i->dims[1] == shape->rank;
    if (indices->dtype != TERN_INT64 || v->rank != 1 || !(linear || coordinates) || i->dims[0] != v->dims[0]) {
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        return tn_fail(err, TERN_INVALID_MODEL, "a sparse tensor of rank %d has values [%s] and indices %s[%s]",
                       shape->rank, tn_shape_text(v, a, sizeof a), tn_dtype_name(indices->dtype),
                       tn_shape_text(i, b, sizeof b));
    }
    size_t bytes = 0;
    tn_bytes_for(values->dtype, shape, 0, &bytes);
    if (bytes > source->dense_left) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "sparse tensors would take more than %zu bytes as dense ones",
                       TN_ONNX_DENSE_BYTES);
    }
    source->dense_left -= bytes;
    return TERN_OK;
}

static tern_status make_dense(tn_tensor_source *source, const tern_tensor *values, const tern_tensor *indices,
                              const tn_shape *shape, tern_tensor **out, tern_error *err) {
    TN_TRY(check_sparse(source, values, indices, shape, err));
    TN_TRY(tn_tensor_new(out, values->dtype, shape, err));
    size_t bytes = tn_tensor_bytes(*out);
    if (bytes) memset((*out)->data, 0, bytes);
    tern_status status = scatter(values, indices, *out, err);
    if (status != TERN_OK) {
        tn_tensor_unref(*out);
        *out = NULL;
    }
    return status;
}

tern_status tn_onnx_sparse_tensor(tn_tensor_source *source, tn_str message, tern_tensor **out, tn_str *name,
                                  tern_error *err) {
    tn_pb r = tn_pb_open(message);
    tn_str values_message = {0}, indices_message = {0};
    tn_shape shape = {0};
    *out = NULL;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == SPARSE_DIMS) TN_TRY(add_dims(&f, &shape, err));
        if (f.wire != TN_PB_BYTES) continue;
        if (f.number == SPARSE_VALUES) values_message = f.bytes;
        if (f.number == SPARSE_INDICES) indices_message = f.bytes;
    }
    TN_TRY(tn_pb_check(&r, source->start, "SparseTensorProto", err));
    if (!values_message.data || !indices_message.data) {
        return tn_fail(err, TERN_INVALID_MODEL, "a sparse tensor without %s",
                       values_message.data ? "indices" : "values");
    }
    tern_tensor *values = NULL, *indices = NULL;
    tern_status status = tn_onnx_tensor(source, values_message, &values, name, err);
    if (status == TERN_OK) status = tn_onnx_tensor(source, indices_message, &indices, NULL, err);
    if (status == TERN_OK) status = make_dense(source, values, indices, &shape, out, err);
    tn_tensor_unref(values);
    tn_tensor_unref(indices);
    return status;
}
