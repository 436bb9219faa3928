/* Files of single values: tensors, sequences, optionals and maps, out and in. */
#include "build.h"

#include "tern/io.h"

static tern_tensor *make(tern_dtype dtype, const char *raw, int64_t n) {
    tern_tensor *t;
    tn_shape shape = tn_shape_of(1, &n);
    assert_int_equal(tn_tensor_new(&t, dtype, &shape, NULL), TERN_OK);
    memcpy(t->data, raw, tn_tensor_bytes(t));
    return t;
}

static tern_tensor *make_strings(void) {
    tern_tensor *t;
    tn_shape shape = tn_shape_of(1, (int64_t[]){3});
    assert_int_equal(tn_tensor_new(&t, TERN_STRING, &shape, NULL), TERN_OK);
    assert_int_equal(tn_tensor_set_string(t, 0, "zero", 4, NULL), TERN_OK);
    assert_int_equal(tn_tensor_set_string(t, 2, "two", 3, NULL), TERN_OK);
    return t;
}

/* Takes over the items. */
static tern_tensor *group(tern_kind kind, tern_tensor *a, tern_tensor *b) {
    tern_tensor *items[] = {a, b}, *t;
    assert_int_equal(tn_tensor_new_group(&t, kind, items, (size_t)(a != NULL) + (b != NULL), NULL), TERN_OK);
    tn_tensor_unref(a);
    tn_tensor_unref(b);
    return t;
}

/* Out to a file and in again; frees t. */
static void check_round_trip(tern_tensor *t) {
    tt_temp file = tt_temp_file();
    tern_tensor *back;
    tern_error err;
    if (tern_tensor_save_pb(t, file.path, &err) != TERN_OK) fail_msg("%s", err.text);
    if (tern_tensor_load_pb(&back, file.path, t->kind, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_true(tn_tensor_equal(t, back));
    tn_tensor_unref(back);
    tn_tensor_unref(t);
    tt_temp_remove(&file);
}

static void test_tensors_of_every_type(void **state) {
    (void)state;
    for (int i = TERN_FLOAT; i < TERN_DTYPE_COUNT; i++) {
        tern_dtype dtype = (tern_dtype)i;
        if (dtype == TERN_STRING) continue;
        // Values that every type has: 0 and 1 in each byte.
        check_round_trip(make(dtype,
                              "\0\1\1\0\1\0\0\1\1\0\1\1\0\0\1\0\1\1\1\0\1\1\0\0\1\0\1\0\0\1\1\1"
                              "\0\1\1\0\1\0\0\1\1\0\1\1\0\0\1\0\1\1\1\0\1\1\0\0\1\0\1\0\0\1\1\1"
                              "\0\1\1\0\1\0\0\1\1\0\1\1\0\0\1\0\1\1\1\0\1\1\0\0\1\0\1\0\0\1\1\1",
                              5));
        check_round_trip(make(dtype, "", 0));
    }
    check_round_trip(make(TERN_INT4, "\xf8\x07\xff", 3));
    check_round_trip(make(TERN_INT2, "\xfe\x01\xff", 3));
    check_round_trip(make_strings());
}

static void test_groups(void **state) {
    (void)state;
    check_round_trip(group(TERN_KIND_SEQUENCE, NULL, NULL));
    check_round_trip(group(TERN_KIND_SEQUENCE, make(TERN_INT8, "abc", 3), make_strings()));
    check_round_trip(group(TERN_KIND_OPTIONAL, NULL, NULL));
    check_round_trip(group(TERN_KIND_OPTIONAL, make(TERN_INT8, "abc", 3), NULL));
    tern_tensor *sequence = group(TERN_KIND_SEQUENCE, make(TERN_UINT8, "a", 1), make(TERN_UINT8, "bc", 2));
    check_round_trip(group(TERN_KIND_OPTIONAL, sequence, NULL));
}

static void test_maps(void **state) {
    (void)state;
    const int64_t keys[] = {5, -1, 300};
    check_round_trip(group(TERN_KIND_MAP, make(TERN_INT64, (const char *)keys, 3), make(TERN_INT8, "abc", 3)));
    check_round_trip(group(TERN_KIND_MAP, make(TERN_UINT8, "\x01\xff\x02", 3), make_strings()));
    check_round_trip(group(TERN_KIND_MAP, make_strings(), make(TERN_INT8, "abc", 3)));
    tern_tensor *sequence = group(TERN_KIND_SEQUENCE, make(TERN_UINT8, "ab", 2), make(TERN_UINT8, "c", 1));
    check_round_trip(group(TERN_KIND_MAP, make(TERN_UINT8, "xy", 2), sequence));
}

/* A map as onnx writes it: a sequence of one scalar per key. */
static void test_map_of_scalars_becomes_one_tensor(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    tn_pb_put_varint(&w, MAP_KEY_TYPE, TERN_INT64);
    tn_pb_put_packed_i64(&w, MAP_KEYS, (int64_t[]){7, 8}, 2);
    size_t values = tn_pb_begin(&w, MAP_VALUES);
    for (int i = 0; i < 2; i++) b_raw(&w, VALUE_TENSOR, "", TERN_FLOAT, "", &(float){(float)i + 0.5f}, 4);
    tn_pb_end(&w, values);
    tern_tensor *t;
    assert_int_equal(tn_onnx_read_value(&t, TERN_KIND_MAP, w.data, w.len, NULL, NULL), TERN_OK);
    assert_int_equal(t->n_items, 2);
    assert_int_equal(tn_tensor_get_i64(t->items[0], 1), 8);
    assert_int_equal(t->items[1]->shape.dims[0], 2);
    assert_true(tn_tensor_get_f64(t->items[1], 1) == 1.5);
    tn_tensor_unref(t);
    tn_pb_release(&w);
}

static void test_names(void **state) {
    (void)state;
    tern_tensor *t = make(TERN_INT8, "a", 1), *back;
    void *data;
    size_t size;
    char *name;
    assert_int_equal(tn_onnx_write_value(t, "input_0", &data, &size, NULL), TERN_OK);
    assert_int_equal(tn_onnx_read_value(&back, TERN_KIND_TENSOR, data, size, &name, NULL), TERN_OK);
    assert_string_equal(name, "input_0");
    tn_free(name);
    tn_free(data);
    tn_tensor_unref(back);
    tn_tensor_unref(t);
}

static void read_fails(tn_pb_writer *w, tern_kind kind, tern_status status, const char *part) {
    tern_tensor *t;
    tern_error err = {0};
    assert_int_equal(tn_onnx_read_value(&t, kind, w->data, w->len, NULL, &err), status);
    assert_null(t);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
    tn_pb_release(w);
}

static void test_broken_values(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    for (int i = 0; i < 2; i++) b_raw(&w, VALUE_TENSOR, "", TERN_INT8, "1", "a", 1);
    read_fails(&w, TERN_KIND_OPTIONAL, TERN_INVALID_FORMAT, "more than one");
    tn_pb_put_varint(&w, MAP_KEY_TYPE, TERN_FLOAT);
    read_fails(&w, TERN_KIND_MAP, TERN_INVALID_FORMAT, "keys of type 1");
    tn_pb_put_varint(&w, MAP_KEY_TYPE, TERN_INT64);
    tn_pb_put_varint(&w, MAP_KEYS, 3);
    read_fails(&w, TERN_KIND_MAP, TERN_INVALID_FORMAT, "1 keys and 0 values");
    size_t marks[200];
    for (int i = 0; i < 200; i++) marks[i] = tn_pb_begin(&w, VALUE_SEQUENCE);
    for (int i = 199; i >= 0; i--) tn_pb_end(&w, marks[i]);
    read_fails(&w, TERN_KIND_SEQUENCE, TERN_LIMIT_EXCEEDED, "nest deeper");
    b_raw(&w, VALUE_TENSOR, "", TERN_INT8, "1", "a", 1);
    w.len--;
    read_fails(&w, TERN_KIND_SEQUENCE, TERN_INVALID_FORMAT, "SequenceProto at byte 0");
    tern_tensor *t;
    tern_error err;
    assert_int_equal(tern_tensor_load_pb(&t, "/nonexistent.pb", TERN_KIND_TENSOR, &err), TERN_IO);
    assert_int_equal(tern_tensor_load_pb(&t, "/nonexistent.pb", (tern_kind)9, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_load_pb(NULL, NULL, TERN_KIND_TENSOR, &err), TERN_INVALID_ARGUMENT);
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_of_every_type),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_map_of_scalars_becomes_one_tensor),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_broken_values),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
