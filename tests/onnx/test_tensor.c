/* TensorProto: every element type in every form the standard allows, and what breaks its rules. */
#include "build.h"

#include "onnx/onnx_internal.h"

static tern_tensor *read_ok(tn_pb_writer *w) {
    tern_tensor *t;
    tern_error err;
    assert_false(w->failed);
    if (tn_onnx_read_value(&t, TERN_KIND_TENSOR, w->data, w->len, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    tn_pb_release(w);
    return t;
}

static void read_fails(tn_pb_writer *w, tern_status status, const char *part) {
    tern_tensor *t;
    tern_error err = {0};
    assert_int_equal(tn_onnx_read_value(&t, TERN_KIND_TENSOR, w->data, w->len, NULL, &err), status);
    assert_null(t);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
    tn_pb_release(w);
}

static void head(tn_pb_writer *w, tern_dtype dtype, const char *dims) {
    b_dims(w, TENSOR_DIMS, dims);
    tn_pb_put_varint(w, TENSOR_DATA_TYPE, dtype);
}

/* Six elements as bytes of raw_data, and the same as numbers of the typed field. */
typedef struct form {
    tern_dtype dtype;
    uint32_t field;
    const void *raw;
    size_t raw_bytes;
    int64_t typed[12];
    size_t n_typed;
    uint8_t memory[6]; /* types of less than 8 bits: the elements in memory */
} form;

#define RAW(TYPE, ...) (const TYPE[]){__VA_ARGS__}, sizeof((const TYPE[]){__VA_ARGS__})

static const form forms[] = {
    {TERN_UINT8, TENSOR_INT32_DATA, RAW(uint8_t, 0, 1, 127, 128, 255, 7), {0, 1, 127, 128, 255, 7}, 6, {0}},
    {TERN_INT8, TENSOR_INT32_DATA, RAW(int8_t, 0, 1, 127, -128, -1, 7), {0, 1, 127, -128, -1, 7}, 6, {0}},
    {TERN_UINT16, TENSOR_INT32_DATA, RAW(uint16_t, 0, 1, 65535, 3, 4, 5), {0, 1, 65535, 3, 4, 5}, 6, {0}},
    {TERN_INT16, TENSOR_INT32_DATA, RAW(int16_t, 0, 1, -32768, -1, 4, 5), {0, 1, -32768, -1, 4, 5}, 6, {0}},
    {TERN_INT32,
     TENSOR_INT32_DATA,
     RAW(int32_t, 0, INT32_MAX, INT32_MIN, -1, 4, 5),
     {0, INT32_MAX, INT32_MIN, -1, 4, 5},
     6,
     {0}},
    {TERN_INT64,
     TENSOR_INT64_DATA,
     RAW(int64_t, 0, INT64_MAX, INT64_MIN, -1, 4, 5),
     {0, INT64_MAX, INT64_MIN, -1, 4, 5},
     6,
     {0}},
    {TERN_UINT32, TENSOR_UINT64_DATA, RAW(uint32_t, 0, UINT32_MAX, 2, 3, 4, 5), {0, UINT32_MAX, 2, 3, 4, 5}, 6, {0}},
    {TERN_UINT64, TENSOR_UINT64_DATA, RAW(uint64_t, 0, UINT64_MAX, 2, 3, 4, 5), {0, -1, 2, 3, 4, 5}, 6, {0}},
    {TERN_BOOL, TENSOR_INT32_DATA, RAW(uint8_t, 0, 1, 1, 0, 0, 1), {0, 1, 1, 0, 0, 1}, 6, {0}},
    {TERN_FLOAT16,
     TENSOR_INT32_DATA,
     RAW(uint16_t, 0, 0x3c00, 0xbc00, 0x7c00, 0xfe00, 1),
     {0, 0x3c00, 0xbc00, 0x7c00, 0xfe00, 1},
     6,
     {0}},
    {TERN_BFLOAT16,
     TENSOR_INT32_DATA,
     RAW(uint16_t, 0, 0x3f80, 0xbf80, 0x7f80, 0xffc0, 1),
     {0, 0x3f80, 0xbf80, 0x7f80, 0xffc0, 1},
     6,
     {0}},
    {TERN_FLOAT8E4M3FN,
     TENSOR_INT32_DATA,
     RAW(uint8_t, 0, 1, 0x7f, 0x80, 0xff, 7),
     {0, 1, 0x7f, 0x80, 0xff, 7},
     6,
     {0}},
    {TERN_FLOAT8E4M3FNUZ,
     TENSOR_INT32_DATA,
     RAW(uint8_t, 0, 1, 0x7f, 0x80, 0xff, 7),
     {0, 1, 0x7f, 0x80, 0xff, 7},
     6,
     {0}},
    {TERN_FLOAT8E5M2, TENSOR_INT32_DATA, RAW(uint8_t, 0, 1, 0x7f, 0x80, 0xff, 7), {0, 1, 0x7f, 0x80, 0xff, 7}, 6, {0}},
    {TERN_FLOAT8E5M2FNUZ,
     TENSOR_INT32_DATA,
     RAW(uint8_t, 0, 1, 0x7f, 0x80, 0xff, 7),
     {0, 1, 0x7f, 0x80, 0xff, 7},
     6,
     {0}},
    {TERN_FLOAT8E8M0, TENSOR_INT32_DATA, RAW(uint8_t, 0, 1, 0x7f, 0x80, 0xff, 7), {0, 1, 0x7f, 0x80, 0xff, 7}, 6, {0}},
    {TERN_UINT4, TENSOR_INT32_DATA, RAW(uint8_t, 0x10, 0xf8, 0x97), {0x10, 0xf8, 0x97}, 3, {0, 1, 8, 15, 7, 9}},
    {TERN_INT4, TENSOR_INT32_DATA, RAW(uint8_t, 0x10, 0xf8, 0x97), {0x10, 0xf8, 0x97}, 3, {0, 1, 0xf8, 0xff, 7, 0xf9}},
    {TERN_FLOAT4E2M1, TENSOR_INT32_DATA, RAW(uint8_t, 0x10, 0xf8, 0x97), {0x10, 0xf8, 0x97}, 3, {0, 1, 8, 15, 7, 9}},
    {TERN_UINT2, TENSOR_INT32_DATA, RAW(uint8_t, 0xe4, 0x01), {0xe4, 0x01}, 2, {0, 1, 2, 3, 1, 0}},
    {TERN_INT2, TENSOR_INT32_DATA, RAW(uint8_t, 0xe4, 0x01), {0xe4, 0x01}, 2, {0, 1, 0xfe, 0xff, 1, 0}},
};

static void check_form(tern_tensor *t, const form *f) {
    assert_int_equal(t->dtype, f->dtype);
    assert_int_equal(t->shape.rank, 2);
    assert_int_equal(t->shape.dims[0], 2);
    assert_int_equal(t->shape.dims[1], 3);
    if (tn_dtype_bits(f->dtype) < 8) {
        assert_memory_equal(t->data, f->memory, 6);
    } else {
        assert_int_equal(tn_tensor_bytes(t), f->raw_bytes);
        assert_memory_equal(t->data, f->raw, f->raw_bytes);
    }
    tn_tensor_unref(t);
}

static void test_raw_and_typed_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(forms); i++) {
        const form *f = &forms[i];
        tn_pb_writer w = {0};
        head(&w, f->dtype, "2,3");
        tn_pb_put_bytes(&w, TENSOR_RAW_DATA, f->raw, f->raw_bytes);
        check_form(read_ok(&w), f);
        head(&w, f->dtype, "2,3");
        tn_pb_put_packed_i64(&w, f->field, f->typed, f->n_typed);
        check_form(read_ok(&w), f);
        // Not packed, one packed of two and the rest single, dims packed: all the same to protobuf.
        tn_pb_put_packed_i64(&w, TENSOR_DIMS, (int64_t[]){2, 3}, 2);
        tn_pb_put_varint(&w, TENSOR_DATA_TYPE, f->dtype);
        tn_pb_put_packed_i64(&w, f->field, f->typed, 2);
        for (size_t k = 2; k < f->n_typed; k++) tn_pb_put_varint(&w, f->field, (uint64_t)f->typed[k]);
        check_form(read_ok(&w), f);
    }
}

static void test_floats(void **state) {
    (void)state;
    const float floats[] = {1.5f, -0.0f, 3e38f, 1e-40f};
    const double doubles[] = {1.5, -0.0, 1e308, 5e-324};
    const tern_dtype types[] = {TERN_FLOAT, TERN_COMPLEX64, TERN_DOUBLE, TERN_COMPLEX128};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        bool is_double = i >= 2, is_complex = i % 2;
        const void *want = is_double ? (const void *)doubles : floats;
        size_t bytes = is_double ? sizeof doubles : sizeof floats;
        for (int raw = 0; raw < 2; raw++) {
            tn_pb_writer w = {0};
            head(&w, types[i], is_complex ? "2" : "4");
            if (raw) {
                tn_pb_put_bytes(&w, TENSOR_RAW_DATA, want, bytes);
            } else if (is_double) {
                tn_pb_put_packed_f64(&w, TENSOR_DOUBLE_DATA, doubles, 4);
            } else {
                tn_pb_put_float(&w, TENSOR_FLOAT_DATA, floats[0]); // single, then packed
                tn_pb_put_packed_f32(&w, TENSOR_FLOAT_DATA, floats + 1, 3);
            }
            tern_tensor *t = read_ok(&w);
            assert_int_equal(tn_tensor_bytes(t), bytes);
            assert_memory_equal(t->data, want, bytes);
            tn_tensor_unref(t);
        }
    }
}

static void test_strings(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    head(&w, TERN_STRING, "3");
    tn_pb_put_bytes(&w, TENSOR_STRING_DATA, "a\0b", 3);
    tn_pb_put_string(&w, TENSOR_STRING_DATA, "");
    tn_pb_put_string(&w, TENSOR_STRING_DATA, "third");
    tern_tensor *t = read_ok(&w);
    const tern_string *s = t->data;
    assert_int_equal(s[0].len, 3);
    assert_memory_equal(s[0].data, "a\0b", 3);
    assert_int_equal(s[1].len, 0);
    assert_int_equal(s[2].len, 5);
    assert_memory_equal(s[2].data, "third", 5);
    tn_tensor_unref(t);
}

static void test_bools_become_0_and_1(void **state) {
    (void)state;
    for (int raw = 0; raw < 2; raw++) {
        tn_pb_writer w = {0};
        head(&w, TERN_BOOL, "3");
        if (raw) tn_pb_put_bytes(&w, TENSOR_RAW_DATA, "\x00\x02\xff", 3);
        if (!raw) tn_pb_put_packed_i64(&w, TENSOR_INT32_DATA, (int64_t[]){0, 2, -1}, 3);
        tern_tensor *t = read_ok(&w);
        assert_memory_equal(t->data, "\x00\x01\x01", 3);
        tn_tensor_unref(t);
    }
}

static void test_empty_tensors(void **state) {
    (void)state;
    for (int i = TERN_FLOAT; i < TERN_DTYPE_COUNT; i++) {
        tn_pb_writer w = {0};
        head(&w, (tern_dtype)i, "3,0,5");
        tern_tensor *t = read_ok(&w);
        assert_int_equal(tn_shape_count(&t->shape), 0);
        tn_tensor_unref(t);
    }
}

static void test_sizes_that_do_not_fit(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    head(&w, TERN_FLOAT, "2,3");
    tn_pb_put_bytes(&w, TENSOR_RAW_DATA, "12345678901234567890123", 23);
    read_fails(&w, TERN_INVALID_MODEL, "23 bytes of raw_data, but float32[2x3] needs 24");
    head(&w, TERN_INT64, "2,3");
    tn_pb_put_packed_i64(&w, TENSOR_INT64_DATA, (int64_t[]){1, 2, 3, 4, 5, 6, 7}, 7);
    read_fails(&w, TERN_INVALID_MODEL, "7 elements of data, but int64[2x3] needs 6");
    head(&w, TERN_INT64, "2"); // in a field of another type
    tn_pb_put_packed_i64(&w, TENSOR_INT32_DATA, (int64_t[]){1, 2}, 2);
    read_fails(&w, TERN_INVALID_MODEL, "0 elements");
    head(&w, TERN_COMPLEX64, "2");
    tn_pb_put_packed_f32(&w, TENSOR_FLOAT_DATA, (float[]){1, 2}, 2);
    read_fails(&w, TERN_INVALID_MODEL, "needs 4");
    head(&w, TERN_UINT4, "3");
    tn_pb_put_bytes(&w, TENSOR_RAW_DATA, "1", 1);
    read_fails(&w, TERN_INVALID_MODEL, "1 bytes of raw_data");
}

static void test_hostile_heads(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    head(&w, TERN_FLOAT, "4611686018427387904,4611686018427387904");
    read_fails(&w, TERN_LIMIT_EXCEEDED, "larger");
    head(&w, TERN_FLOAT, "1000000,1000000"); // four terabytes of nothing
    read_fails(&w, TERN_INVALID_MODEL, "0 elements");
    head(&w, TERN_FLOAT, "-3");
    read_fails(&w, TERN_INVALID_MODEL, "negative: -3");
    head(&w, TERN_FLOAT, "1,1,1,1,1,1,1,1,1,1,1,1,1");
    read_fails(&w, TERN_UNSUPPORTED, "more than 12 dims");
    head(&w, (tern_dtype)99, "1");
    read_fails(&w, TERN_UNSUPPORTED, "element type 99");
    head(&w, TERN_UNDEFINED, "1");
    read_fails(&w, TERN_INVALID_MODEL, "element type 0");
    tn_pb_put_varint(&w, TENSOR_DATA_TYPE, (1ull << 32) + 1);
    read_fails(&w, TERN_UNSUPPORTED, "element type 4294967297");
    head(&w, TERN_FLOAT, "1");
    tn_pb_put_bytes(&w, TENSOR_FLOAT_DATA, "abc", 3);
    read_fails(&w, TERN_INVALID_FORMAT, "damaged");
    head(&w, TERN_STRING, "1");
    tn_pb_put_bytes(&w, TENSOR_RAW_DATA, "abc", 3);
    read_fails(&w, TERN_INVALID_MODEL, "strings");
    head(&w, TERN_FLOAT, "1");
    tn_pb_put_bytes(&w, TENSOR_SEGMENT, "", 0);
    read_fails(&w, TERN_UNSUPPORTED, "segments");
    head(&w, TERN_FLOAT, "1");
    tn_pb_put_varint(&w, TENSOR_DATA_LOCATION, LOCATION_EXTERNAL);
    read_fails(&w, TERN_IO, "no folder");
}

/* ---- sparse ------------------------------------------------------------------------------------------------ */

static tern_status read_sparse(tn_pb_writer *w, size_t max_bytes, tern_tensor **out, tern_error *err) {
    tn_tensor_source source = {.start = w->data, .max_bytes = max_bytes, .dense_left = TN_ONNX_DENSE_BYTES};
    tern_status status = tn_onnx_sparse_tensor(&source, (tn_str){(const char *)w->data, w->len}, out, NULL, err);
    tn_pb_release(w);
    return status;
}

static void sparse(tn_pb_writer *w, const char *dims, const char *index_dims, const int64_t *indices, size_t n) {
    const float values[] = {5, 6, 7};
    b_raw(w, SPARSE_VALUES, "sparse", TERN_FLOAT, "3", values, sizeof values);
    b_raw(w, SPARSE_INDICES, "", TERN_INT64, index_dims, indices, n * sizeof *indices);
    b_dims(w, SPARSE_DIMS, dims);
}

static void test_sparse_becomes_dense(void **state) {
    (void)state;
    const float want[] = {0, 5, 0, 0, 6, 7};
    for (int linear = 0; linear < 2; linear++) {
        tn_pb_writer w = {0};
        if (linear) sparse(&w, "2,3", "3", (int64_t[]){1, 4, 5}, 3);
        if (!linear) sparse(&w, "2,3", "3,2", (int64_t[]){0, 1, 1, 1, 1, 2}, 6);
        tern_tensor *t;
        assert_int_equal(read_sparse(&w, 1 << 20, &t, NULL), TERN_OK);
        assert_int_equal(t->shape.rank, 2);
        assert_memory_equal(t->data, want, sizeof want);
        tn_tensor_unref(t);
    }
}

static void sparse_fails(tn_pb_writer *w, tern_status status, const char *part) {
    tern_tensor *t;
    tern_error err = {0};
    assert_int_equal(read_sparse(w, SIZE_MAX, &t, &err), status);
    assert_null(t);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
}

static void test_hostile_sparse(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    sparse(&w, "2,3", "3", (int64_t[]){1, 4, 6}, 3);
    sparse_fails(&w, TERN_INVALID_MODEL, "index 2");
    sparse(&w, "2,3", "3", (int64_t[]){1, -4, 5}, 3);
    sparse_fails(&w, TERN_INVALID_MODEL, "index 1");
    sparse(&w, "2,3", "3,2", (int64_t[]){0, 1, 1, 1, 2, 0}, 6);
    sparse_fails(&w, TERN_INVALID_MODEL, "index 2");
    sparse(&w, "2,3", "2", (int64_t[]){1, 4}, 2);
    sparse_fails(&w, TERN_INVALID_MODEL, "indices int64[2]");
    sparse(&w, "2,3", "3,1", (int64_t[]){1, 4, 5}, 3);
    sparse_fails(&w, TERN_INVALID_MODEL, "rank 2");
    sparse(&w, "1000000,1000000", "3", (int64_t[]){1, 4, 5}, 3);
    sparse_fails(&w, TERN_LIMIT_EXCEEDED, "as dense ones");
    sparse_fails(&w, TERN_INVALID_MODEL, "without values");
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw_and_typed_numbers),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_bools_become_0_and_1),
        cmocka_unit_test(test_empty_tensors),
        cmocka_unit_test(test_sizes_that_do_not_fit),
        cmocka_unit_test(test_hostile_heads),
        cmocka_unit_test(test_sparse_becomes_dense),
        cmocka_unit_test(test_hostile_sparse),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
