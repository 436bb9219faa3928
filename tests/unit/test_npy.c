/* .npy and raw files. */
#include "test_util.h"

#include "io/io.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

// A version 1 file: header text, then the elements. Returns its size.
static size_t make_npy(uint8_t *to, const char *header, const void *data, size_t bytes) {
    size_t n = strlen(header);
    memcpy(to, "\x93NUMPY\x01\x00", 8);
    to[8] = (uint8_t)(n & 0xff);
    to[9] = (uint8_t)(n >> 8);
    memcpy(to + 10, header, n);
    if (bytes) memcpy(to + 10 + n, data, bytes);
    return 10 + n + bytes;
}

// Parses an exact copy, so that AddressSanitizer sees every read past the end.
static tern_status parse(tern_tensor **out, const uint8_t *file, size_t size, tern_error *err) {
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, file, size);
    size_t live = tn_alloc_live();
    tern_status status = tn_npy_parse(out, exact, size, err);
    free(exact);
    if (status != TERN_OK) {
        assert_null(*out);
        assert_int_equal(tn_alloc_live(), live);
    }
    return status;
}

static tern_tensor *parse_ok(const char *header, const void *data, size_t bytes) {
    uint8_t file[1000];
    tern_tensor *t;
    tern_error err = {0};
    if (parse(&t, file, make_npy(file, header, data, bytes), &err) != TERN_OK) fail_msg("%s: %s", header, err.text);
    return t;
}

static void parse_fails(const char *header, size_t bytes, tern_status want, const char *word) {
    static const uint8_t zeros[256];
    uint8_t file[1000];
    tern_tensor *t;
    tern_error err = {0};
    tern_status got = parse(&t, file, make_npy(file, header, zeros, bytes), &err);
    if (got != want) fail_msg("%s: %s, not %s", header, tern_status_name(got), tern_status_name(want));
    if (!strstr(err.text, word)) fail_msg("%s: \"%s\" does not say \"%s\"", header, err.text, word);
}

/* ---- reading ---- */

static void test_reads_headers_as_numpy_writes_them(void **state) {
    (void)state;
    const float values[6] = {1, 2, 3, 4, 5, 6};
    static const char *const headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }                \n",
        "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}",
        "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(2L,3L,)}\n",
    };
    for (size_t i = 0; i < TN_COUNT(headers); i++) {
        tern_tensor *t = parse_ok(headers[i], values, sizeof values);
        assert_int_equal(t->dtype, TERN_FLOAT);
        assert_int_equal(t->shape.rank, 2);
        assert_memory_equal(t->data, values, sizeof values);
        tern_tensor_free(t);
    }
    tern_tensor *t = parse_ok("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", values, 4);
    assert_int_equal(t->shape.rank, 0);
    tern_tensor_free(t);
    t = parse_ok("{'descr': '<f4', 'fortran_order': True, 'shape': (4, 0), }", NULL, 0);
    assert_int_equal(tern_tensor_count(t), 0);
    tern_tensor_free(t);
}

static void test_reads_every_type_in_both_byte_orders(void **state) {
    (void)state;
    static const struct {
        const char *descr;
        tern_dtype dtype;
    } types[] = {{"f2", TERN_FLOAT16},   {"f4", TERN_FLOAT},      {"f8", TERN_DOUBLE}, {"i1", TERN_INT8},
                 {"i2", TERN_INT16},     {"i4", TERN_INT32},      {"i8", TERN_INT64},  {"u1", TERN_UINT8},
                 {"u2", TERN_UINT16},    {"u4", TERN_UINT32},     {"u8", TERN_UINT64}, {"b1", TERN_BOOL},
                 {"c8", TERN_COMPLEX64}, {"c16", TERN_COMPLEX128}};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        size_t size = tern_dtype_size(types[i].dtype), part = size;
        if (types[i].descr[0] == 'c') part /= 2;
        uint8_t bytes[32], little[32], big[32];
        for (size_t k = 0; k < 2 * size; k++) bytes[k] = types[i].dtype == TERN_BOOL ? 1 : (uint8_t)(k + 1);
        bool host_is_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
        for (size_t k = 0; k < 2 * size; k++) {
            size_t mirrored = k / part * part + (part - 1 - k % part);
            little[k] = bytes[host_is_big ? mirrored : k];
            big[k] = bytes[host_is_big ? k : mirrored];
        }
        for (int order = 0; order < 2; order++) {
            char header[100];
            snprintf(header, sizeof header, "{'descr': '%c%s', 'fortran_order': False, 'shape': (2,), }", "<>"[order],
                     types[i].descr);
            tern_tensor *t = parse_ok(header, order ? big : little, 2 * size);
            assert_int_equal(t->dtype, types[i].dtype);
            assert_memory_equal(t->data, bytes, 2 * size);
            tern_tensor_free(t);
        }
    }
}

static void test_booleans_become_0_or_1(void **state) {
    (void)state;
    const uint8_t values[] = {0, 1, 2, 255};
    tern_tensor *t = parse_ok("{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }", values, 4);
    assert_memory_equal(t->data, "\0\1\1\1", 4);
    tern_tensor_free(t);
}

static void test_fortran_order_is_transposed(void **state) {
    (void)state;
    enum { A = 2, B = 3, C = 4 };
    int16_t values[A * B * C];
    for (int a = 0; a < A; a++)
        for (int b = 0; b < B; b++)
            for (int c = 0; c < C; c++) values[a + A * (b + B * c)] = (int16_t)(100 * a + 10 * b + c);
    tern_tensor *t = parse_ok("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3, 4), }", values, sizeof values);
    const int16_t *got = t->data;
    for (int a = 0; a < A; a++)
        for (int b = 0; b < B; b++)
            for (int c = 0; c < C; c++) assert_int_equal(*got++, 100 * a + 10 * b + c);
    tern_tensor_free(t);
}

static void expect_element(const tern_tensor *t, int i, const char *want) {
    const tern_string *s = (const tern_string *)t->data + i;
    assert_int_equal(s->len, strlen(want));
    if (s->len) assert_memory_equal(s->data, want, s->len);
}

static void test_reads_strings(void **state) {
    (void)state;
    const uint32_t wide[] = {0xe9, 'b', 0, 0x20ac, 0, 0, 0x1f600, 'x', 'y', 0, 0, 0};
    uint32_t swapped[TN_COUNT(wide)];
    for (size_t i = 0; i < TN_COUNT(wide); i++) swapped[i] = __builtin_bswap32(wide[i]);
    for (int order = 0; order < 2; order++) {
        tern_tensor *t =
            order ? parse_ok("{'descr': '>U3', 'fortran_order': False, 'shape': (4,), }", swapped, sizeof wide)
                  : parse_ok("{'descr': '<U3', 'fortran_order': False, 'shape': (4,), }", wide, sizeof wide);
        expect_element(t, 0,
                       "\xc3\xa9"
                       "b");
        expect_element(t, 1, "\xe2\x82\xac");
        expect_element(t, 2, "\xf0\x9f\x98\x80xy");
        expect_element(t, 3, "");
        tern_tensor_free(t);
    }
    tern_tensor *t = parse_ok("{'descr': '|S2', 'fortran_order': True, 'shape': (2, 2), }", "a\0bbc\0dd", 8);
    expect_element(t, 0, "a"); // columns first in the file
    expect_element(t, 1, "c");
    expect_element(t, 2, "bb");
    expect_element(t, 3, "dd");
    tern_tensor_free(t);
}

static void test_refuses_bad_headers(void **state) {
    (void)state;
#define F4(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape ", }"
#define OF(descr) "{'descr': " descr ", 'fortran_order': False, 'shape': (1,), }"
    parse_fails("", 0, TERN_INVALID_FORMAT, "{");
    parse_fails("{}", 0, TERN_INVALID_FORMAT, "missing");
    parse_fails("{'descr': '<f4', 'fortran_order': False}", 0, TERN_INVALID_FORMAT, "missing");
    parse_fails("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", 4, TERN_INVALID_FORMAT, "True or False");
    parse_fails("{'descr': '<f4', 'order': False}", 0, TERN_INVALID_FORMAT, "order");
    parse_fails(F4("(1,)") " x", 4, TERN_INVALID_FORMAT, "the end");
    parse_fails(F4("(1,"), 4, TERN_INVALID_FORMAT, "dim");
    parse_fails(F4("(1 2)"), 8, TERN_INVALID_FORMAT, ")");
    parse_fails(F4("(-1,)"), 4, TERN_INVALID_FORMAT, "dim");
    parse_fails(F4("[1]"), 4, TERN_INVALID_FORMAT, "(");
    parse_fails(F4("(99999999999999999999,)"), 4, TERN_LIMIT_EXCEEDED, "63 bits");
    parse_fails(F4("(1,1,1,1,1,1,1,1,1,1,1,1,1)"), 4, TERN_LIMIT_EXCEEDED, "rank");
    parse_fails(F4("(4611686018427387904, 4)"), 16, TERN_INVALID_FORMAT, "does not go with");
    parse_fails(F4("(1000000000000,)"), 16, TERN_INVALID_FORMAT, "does not go with");
    parse_fails(F4("(0, 9223372036854775807, 9223372036854775807)"), 0, TERN_INVALID_FORMAT, "does not go with");
    parse_fails(F4("(2,)"), 7, TERN_INVALID_FORMAT, "7 bytes");
    parse_fails(F4("(2,)"), 9, TERN_INVALID_FORMAT, "9 bytes");
    parse_fails(OF("'<f3'"), 3, TERN_UNSUPPORTED, "<f3");
    parse_fails(OF("'<f16'"), 16, TERN_UNSUPPORTED, "convert");
    parse_fails(OF("'|O'"), 8, TERN_UNSUPPORTED, "Python objects");
    parse_fails(OF("'<V2'"), 2, TERN_UNSUPPORTED, "bfloat16");
    parse_fails(OF("'<M8[ns]'"), 8, TERN_UNSUPPORTED, "convert");
    parse_fails(OF("[('a', '<f4')]"), 4, TERN_UNSUPPORTED, "records");
    parse_fails(OF("'<U0'"), 0, TERN_UNSUPPORTED, "U1");
    parse_fails(OF("'<U99999999999999999999'"), 0, TERN_UNSUPPORTED, "");
    parse_fails(OF("''"), 0, TERN_UNSUPPORTED, "");
    parse_fails(OF("'<f4"), 4, TERN_INVALID_FORMAT, "");
    parse_fails(OF("'<f\\4'"), 4, TERN_INVALID_FORMAT, "plain");
#undef F4
#undef OF
}

static void test_refuses_characters_that_are_none(void **state) {
    (void)state;
    const uint32_t bad[] = {0xd800, 0x110000, 0xffffffff};
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        uint8_t file[200];
        size_t size = make_npy(file, "{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", &bad[i], 4);
        tern_tensor *t;
        assert_int_equal(parse(&t, file, size, NULL), TERN_INVALID_FORMAT);
    }
}

static void test_every_cut_and_every_flipped_byte(void **state) {
    (void)state;
    uint8_t file[300];
    static const char header[] = "{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3), }\n";
    size_t size = make_npy(file, header, "abcdefghijklmnopqrstuvwx", 24);
    tern_tensor *t;
    tern_error err;
    for (size_t n = 0; n < size; n++) assert_int_not_equal(parse(&t, file, n, &err), TERN_OK);
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            file[i] ^= (uint8_t)(1 << bit);
            if (parse(&t, file, size, &err) == TERN_OK) tern_tensor_free(t);
            file[i] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(parse(&t, (const uint8_t *)"PK\3\4xxxxxxxxxx", 14, &err), TERN_UNSUPPORTED);
    assert_non_null(strstr(err.text, ".npz"));
    file[6] = 4;
    assert_int_equal(parse(&t, file, size, &err), TERN_UNSUPPORTED);
}

static void test_versions_2_and_3(void **state) {
    (void)state;
    static const char header[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
    uint8_t file[200] = "\x93NUMPY";
    size_t n = sizeof header - 1;
    for (uint8_t version = 2; version <= 3; version++) {
        file[6] = version;
        file[8] = (uint8_t)n;
        memcpy(file + 12, header, n);
        file[12 + n] = 7, file[13 + n] = 8;
        tern_tensor *t;
        assert_int_equal(parse(&t, file, n + 14, NULL), TERN_OK);
        assert_memory_equal(t->data, "\7\10", 2);
        tern_tensor_free(t);
        file[11] = 0xff; // a header of 4 GB
        assert_int_equal(parse(&t, file, n + 14, NULL), TERN_INVALID_FORMAT);
        file[11] = 0;
    }
}

/* ---- files ---- */

static void test_saved_tensors_come_back(void **state) {
    (void)state;
    tt_rng rng = tt_rng_init(3);
    for (int dtype = 1; dtype < TERN_DTYPE_COUNT; dtype++) {
        for (int rank = 0; rank <= 5; rank++) {
            tern_tensor *t, *back;
            tern_error err;
            int64_t dims[] = {2, 3, 1, 4, rank == 4 ? 0 : 5};
            assert_int_equal(tern_tensor_create(&t, (tern_dtype)dtype, rank, dims, &err), TERN_OK);
            int64_t count = tern_tensor_count(t);
            for (int64_t i = 0; i < count && dtype == TERN_STRING; i++)
                tern_tensor_set_string(t, i,
                                       "h\xc3\xa9\xf0\x9f\x98\x80"
                                       "abc",
                                       (size_t[]){0, 1, 3, 7, 10}[i % 5], &err);
            if (count && dtype != TERN_STRING) tt_fill_bytes(&rng, tern_tensor_data(t), tern_tensor_bytes(t));
            if (dtype == TERN_BOOL)
                for (int64_t i = 0; i < count; i++) ((uint8_t *)tern_tensor_data(t))[i] &= 1;
            tt_temp temp = tt_temp_file();
            if ((dtype >= TERN_BFLOAT16 && dtype != TERN_STRING) || dtype == TERN_UNDEFINED) {
                assert_int_equal(tern_tensor_save_npy(t, temp.path, &err), TERN_UNSUPPORTED);
                assert_non_null(strstr(err.text, tern_dtype_name((tern_dtype)dtype)));
                assert_non_null(strstr(err.text, "Cast"));
            } else {
                assert_int_equal(tern_tensor_save_npy(t, temp.path, &err), TERN_OK);
                assert_int_equal(tern_tensor_load_npy(&back, temp.path, &err), TERN_OK);
                assert_true(tn_tensor_equal(t, back));
                tern_tensor_free(back);
            }
            tt_temp_remove(&temp);
            tern_tensor_free(t);
        }
    }
}

static void test_file_errors_name_the_file(void **state) {
    (void)state;
    tern_tensor *t;
    tern_error err;
    assert_int_equal(tern_tensor_load_npy(&t, "/nonexistent.npy", &err), TERN_IO);
    assert_non_null(strstr(err.text, "/nonexistent.npy"));
    assert_null(t);
    tt_temp temp = tt_temp_file_with("rubbish", 7);
    assert_int_equal(tern_tensor_load_npy(&t, temp.path, &err), TERN_INVALID_FORMAT);
    assert_non_null(strstr(err.text, temp.path));
    tt_temp_remove(&temp);
    assert_int_equal(tern_tensor_create(&t, TERN_FLOAT, 0, NULL, &err), TERN_OK);
    assert_int_equal(tern_tensor_save_npy(t, "/nonexistent/x.npy", &err), TERN_IO);
    tern_tensor *group;
    assert_int_equal(tern_tensor_group(&group, TERN_KIND_SEQUENCE, &t, 1, &err), TERN_OK);
    assert_int_equal(tern_tensor_save_npy(group, "/tmp/x.npy", &err), TERN_UNSUPPORTED);
    tern_tensor_free(group);
    tern_tensor_free(t);
    assert_int_equal(tern_tensor_load_npy(NULL, "x", &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_save_npy(NULL, "x", &err), TERN_INVALID_ARGUMENT);
}

static void test_raw_files(void **state) {
    (void)state;
    const float values[] = {1, 2, 3, 4, 5, 6};
    tt_temp temp = tt_temp_file_with(values, sizeof values);
    tern_tensor *t;
    tern_error err;
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_FLOAT, 2, DIMS(2, 3), &err), TERN_OK);
    assert_memory_equal(tern_tensor_data(t), values, sizeof values);
    tern_tensor_free(t);
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_BFLOAT16, 1, DIMS(12), &err), TERN_OK);
    tern_tensor_free(t);
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_FLOAT, 2, DIMS(2, 4), &err), TERN_SHAPE_MISMATCH);
    assert_null(t);
    assert_non_null(strstr(err.text, "2x4"));
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_FLOAT, 2, DIMS(-1, 4), &err), TERN_SHAPE_MISMATCH);
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_INT4, 1, DIMS(24), &err), TERN_UNSUPPORTED);
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_STRING, 1, DIMS(1), &err), TERN_UNSUPPORTED);
    assert_int_equal(tern_tensor_load_raw(&t, temp.path, TERN_FLOAT, 99, DIMS(1), &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_load_raw(&t, "/nonexistent", TERN_FLOAT, 1, DIMS(1), &err), TERN_IO);
    tt_temp_remove(&temp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_headers_as_numpy_writes_them),
        cmocka_unit_test(test_reads_every_type_in_both_byte_orders),
        cmocka_unit_test(test_booleans_become_0_or_1),
        cmocka_unit_test(test_fortran_order_is_transposed),
        cmocka_unit_test(test_reads_strings),
        cmocka_unit_test(test_refuses_bad_headers),
        cmocka_unit_test(test_refuses_characters_that_are_none),
        cmocka_unit_test(test_every_cut_and_every_flipped_byte),
        cmocka_unit_test(test_versions_2_and_3),
        cmocka_unit_test(test_saved_tensors_come_back),
        cmocka_unit_test(test_file_errors_name_the_file),
        cmocka_unit_test(test_raw_files),
    };
    return cmocka_run_group_tests_name("npy", tests, NULL, NULL);
}
