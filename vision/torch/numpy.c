/* Arrays and scalars of NumPy in pickles. */
#include "vision/torch/torch_internal.h"

// "f4" and the like; the first letter of objects, strings and records is in no row.
static tern_dtype dtype_of_text(const char *s) {
    static const struct {
        char text[4];
        tern_dtype dtype;
    } rows[] = {{"f2", TERN_FLOAT16},   {"f4", TERN_FLOAT},      {"f8", TERN_DOUBLE}, {"i1", TERN_INT8},
                {"i2", TERN_INT16},     {"i4", TERN_INT32},      {"i8", TERN_INT64},  {"u1", TERN_UINT8},
                {"u2", TERN_UINT16},    {"u4", TERN_UINT32},     {"u8", TERN_UINT64}, {"b1", TERN_BOOL},
                {"c8", TERN_COMPLEX64}, {"c16", TERN_COMPLEX128}};
    if (*s && strchr("<>|=", *s)) s++;
    for (size_t i = 0; i < TN_COUNT(rows); i++)
        if (!strcmp(rows[i].text, s)) return rows[i].dtype;
    return TERN_UNDEFINED;
}

// An object numpy.dtype("f4", ...) with the state (3, "<", ...). False: no dtype at all. *dtype UNDEFINED: of no type
// that tern has.
static bool read_dtype(const tern_py *v, tern_dtype *dtype, bool *swapped, const char **text) {
    if (!tern_py_is(v, "numpy", "dtype") || v->kind != TERN_PY_OBJECT) return false;
    *text = tern_py_to_str(tern_py_item(v->object->args, 0));
    if (!*text) return false;
    *dtype = dtype_of_text(*text);
    const char *order = tern_py_to_str(tern_py_item(v->object->state, 1));
    *swapped = (order && *order == '>') || **text == '>';
    return true;
}

static tern_status refuse_objects(const char *dtype, tern_error *err) {
    if (*dtype != 'O' && !(*dtype && dtype[1] == 'O')) return TERN_OK;
    return tn_fail(err, TERN_UNSUPPORTED, "a NumPy array of objects: refused");
}

bool tn_numpy_is_array(const tern_py *v) {
    return v->kind == TERN_PY_OBJECT && !v->object->args && tern_py_is(v, "numpy", "ndarray");
}

static bool is_bytes(const tern_py *v) { return v && (v->kind == TERN_PY_BYTES || v->kind == TERN_PY_STR); }

// Elements of `bytes` as a tensor. Fortran's order becomes strides.
static tern_status make_array(tern_ckpt *ckpt, const tern_py *bytes, tern_dtype dtype, bool swapped,
                              const tern_py *shape, bool fortran, tern_py **out, tern_error *err) {
    int64_t dims[TERN_MAX_RANK], strides[TERN_MAX_RANK], count = 1;
    int64_t rank = tern_py_count(shape), size = (int64_t)tern_dtype_size(dtype);
    tern_storage *storage;
    if (rank < 0 || rank > TERN_MAX_RANK || tern_py_to_ints(shape, dims, TERN_MAX_RANK) != rank)
        return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy array whose shape is no list of up to %d integers",
                       TERN_MAX_RANK);
    for (int64_t i = 0; i < rank; i++) {
        int64_t d = fortran ? i : rank - 1 - i;
        strides[d] = count;
        if (dims[d] < 0 || !tn_mul_i64(count, TN_MAX(dims[d], 1), &count))
            return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy array with a dim of %lld", (long long)dims[d]);
    }
    for (int64_t i = 0; i < rank; i++)
        if (dims[i] == 0) count = 0;
    if (bytes->text.len % (size_t)size || count != (int64_t)(bytes->text.len / (size_t)size))
        return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy array of %lld elements of %s has %zu bytes", (long long)count,
                       tern_dtype_name(dtype), bytes->text.len);
    TN_TRY(tn_storage_new(ckpt, NULL, dtype, count, &storage, err));
    storage->data = (const uint8_t *)bytes->text.data;
    storage->big_endian = swapped;
    TN_TRY(tn_tensor_value(ckpt, storage, dtype, (int)rank, dims, strides, 0, out, err));
    (*out)->tensor->numpy = true;
    return TERN_OK;
}

// state: ([version,] shape, dtype, Fortran's order, bytes)
tern_status tn_numpy_build(tern_ckpt *ckpt, tern_py *array, tern_py *state, tern_error *err) {
    int64_t n = state->kind == TERN_PY_TUPLE ? tern_py_count(state) : 0, at = n - 4;
    tern_dtype dtype;
    bool swapped, fortran;
    const char *text;
    tern_py *made;
    const tern_py *bytes = tern_py_item(state, at + 3);
    if ((n != 4 && n != 5) || !read_dtype(tern_py_item(state, at + 1), &dtype, &swapped, &text) ||
        !tern_py_to_bool(tern_py_item(state, at + 2), &fortran))
        return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy array whose state does not fit");
    TN_TRY(refuse_objects(text, err));
    if (!dtype) {
        array->object->state = state;
        array->object->args = ckpt->empty_tuple;
        return tn_ckpt_warn(ckpt, err, "a NumPy array of type '%s' is kept as an object", text);
    }
    if (!is_bytes(bytes)) return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy array without bytes");
    TN_TRY(make_array(ckpt, bytes, dtype, swapped, tern_py_item(state, at), fortran, &made, err));
    array->kind = TERN_PY_TENSOR;
    array->tensor = made->tensor;
    return TERN_OK;
}

// (bytes, dtype, shape, order)
tern_status tn_numpy_from_buffer(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    tern_dtype dtype;
    bool swapped;
    const char *text, *order = tern_py_to_str(tern_py_item(args, 3));
    const tern_py *bytes = tern_py_item(args, 0);
    if (!is_bytes(bytes) || !read_dtype(tern_py_item(args, 1), &dtype, &swapped, &text))
        return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy array whose arguments do not fit");
    TN_TRY(refuse_objects(text, err));
    if (!dtype) return tn_fail(err, TERN_UNSUPPORTED, "a NumPy array of type '%.40s'", text);
    return make_array(ckpt, bytes, dtype, swapped, tern_py_item(args, 2), order && *order == 'F', out, err);
}

static tern_status number_of(tern_ckpt *ckpt, tern_dtype dtype, const uint8_t *b, tern_py **out, tern_error *err) {
    size_t size = tern_dtype_size(dtype);
    uint64_t bits = 0;
    float f;
    double d;
    for (size_t i = 0; i < size; i++) bits |= (uint64_t)b[i] << 8 * i;
    uint32_t low = (uint32_t)bits;
    switch (dtype) {
    case TERN_FLOAT16:
        return tn_py_real(ckpt, tn_f16_to_f32((uint16_t)bits), out, err);
    case TERN_FLOAT:
        memcpy(&f, &low, sizeof f);
        return tn_py_real(ckpt, f, out, err);
    case TERN_DOUBLE:
        memcpy(&d, &bits, sizeof d);
        return tn_py_real(ckpt, d, out, err);
    case TERN_BOOL:
        *out = ckpt->truth[bits != 0];
        return TERN_OK;
    case TERN_INT8:
        return tn_py_int(ckpt, (int8_t)bits, out, err);
    case TERN_INT16:
        return tn_py_int(ckpt, (int16_t)bits, out, err);
    case TERN_INT32:
        return tn_py_int(ckpt, (int32_t)bits, out, err);
    case TERN_UINT64:;
        if (bits <= INT64_MAX) return tn_py_int(ckpt, (int64_t)bits, out, err);
        uint8_t wide[9] = {0};
        memcpy(wide, b, 8);
        return tn_py_text(ckpt, TERN_PY_BIGINT, wide, sizeof wide, out, err);
    default:
        return tn_py_int(ckpt, (int64_t)bits, out, err);
    }
}

// scalar(dtype, bytes)
tern_status tn_numpy_scalar(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    tern_dtype dtype;
    bool swapped;
    const char *text;
    const tern_py *bytes = tern_py_item(args, 1);
    if (!read_dtype(tern_py_item(args, 0), &dtype, &swapped, &text) || !is_bytes(bytes))
        return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy scalar whose arguments do not fit");
    TN_TRY(refuse_objects(text, err));
    size_t size = tern_dtype_size(dtype);
    if (!dtype || size > 8 || dtype == TERN_COMPLEX64)
        return tn_py_object(ckpt, "numpy", "scalar", args, true, out, err);
    if (bytes->text.len != size)
        return tn_fail(err, TERN_INVALID_FORMAT, "a NumPy scalar of type %s has %zu bytes", text, bytes->text.len);
    uint8_t b[8];
    for (size_t i = 0; i < size; i++) b[swapped ? size - 1 - i : i] = (uint8_t)bytes->text.data[i];
    return number_of(ckpt, dtype, b, out, err);
}
