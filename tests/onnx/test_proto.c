/* Protobuf: what is written is read, and damage is found. */
#include "build.h"

static tn_str written(const tn_pb_writer *w) { return (tn_str){(const char *)w->data, w->len}; }

static void test_varints_round_trip(void **state) {
    (void)state;
    const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < TN_COUNT(values); i++) {
        tn_pb_writer w = {0};
        tn_pb_put_varint(&w, 1u << (i * 4), values[i]);
        tn_pb r = tn_pb_open(written(&w));
        tn_pb_field f;
        assert_true(tn_pb_next(&r, &f));
        assert_int_equal(f.number, 1u << (i * 4));
        assert_true(f.value == values[i]);
        assert_false(tn_pb_next(&r, &f));
        assert_int_equal(tn_pb_check(&r, w.data, "message", NULL), TERN_OK);
        tn_pb_release(&w);
    }
}

static void test_nested_messages(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    size_t marks[20];
    for (uint32_t i = 0; i < 20; i++) {
        marks[i] = tn_pb_begin(&w, i + 1);
        tn_pb_put_string(&w, 30, "some text that makes lengths of more than one byte likely");
    }
    for (int i = 19; i >= 0; i--) tn_pb_end(&w, marks[i]);
    assert_false(w.failed);
    tn_str message = written(&w);
    for (uint32_t i = 0; i < 20; i++) {
        tn_pb r = tn_pb_open(message);
        tn_pb_field f;
        if (i) {
            assert_true(tn_pb_next(&r, &f));
            assert_int_equal(f.number, 30);
        }
        assert_true(tn_pb_next(&r, &f));
        assert_int_equal(f.number, i + 1);
        assert_false(tn_pb_next(&r, &f));
        message = f.bytes;
    }
    tn_pb_release(&w);
}

static void test_packed_and_single_numbers(void **state) {
    (void)state;
    const int64_t values[] = {0, -1, 5, INT64_MIN, INT64_MAX, 128};
    tn_pb_writer w = {0};
    tn_pb_put_packed_i64(&w, 1, values, TN_COUNT(values));
    tn_pb_put_varint(&w, 1, (uint64_t)-7);
    tn_pb_put_packed_f32(&w, 2, (float[]){1.5f, -2.0f}, 2);
    tn_pb_put_float(&w, 2, 0.25f);
    tn_pb r = tn_pb_open(written(&w));
    tn_pb_field f;
    int64_t ints[8];
    float floats[4];
    size_t count, n_ints = 0, n_floats = 0;
    while (tn_pb_next(&r, &f)) {
        assert_true(tn_pb_count(&f, f.number == 1 ? TN_PB_VARINT : TN_PB_FIXED32, &count));
        if (f.number == 1) tn_pb_get_i64(&f, ints + n_ints), n_ints += count;
        if (f.number == 2) tn_pb_get_f32(&f, floats + n_floats), n_floats += count;
    }
    assert_int_equal(n_ints, 7);
    assert_memory_equal(ints, values, sizeof values);
    assert_true(ints[6] == -7);
    assert_int_equal(n_floats, 3);
    assert_true(floats[0] == 1.5f && floats[1] == -2.0f && floats[2] == 0.25f);
    tn_pb_release(&w);
}

/* Reads all; whether it was damaged. */
static bool damaged(const void *data, size_t size) {
    tn_pb r = tn_pb_open((tn_str){data, size});
    tn_pb_field f;
    while (tn_pb_next(&r, &f)) {}
    tern_error err = {0};
    tern_status status = tn_pb_check(&r, data, "message", &err);
    if (status == TERN_OK) return false;
    assert_int_equal(status, TERN_INVALID_FORMAT);
    assert_non_null(strstr(err.text, "message at byte"));
    return true;
}

static void test_damage(void **state) {
    (void)state;
    assert_false(damaged("", 0));
    assert_true(damaged("\x08", 1));                                              // no value
    assert_true(damaged("\x08\x80", 2));                                          // value cut
    assert_true(damaged("\x00\x01", 2));                                          // field 0
    assert_true(damaged("\x0b\x0c", 2));                                          // group
    assert_true(damaged("\x0e\x01", 2));                                          // wire type 6
    assert_true(damaged("\x0a\x02x", 3));                                         // shorter than its length
    assert_true(damaged("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));     // length near 2^64
    assert_true(damaged("\x0d\x01\x02\x03", 4));                                  // fixed32 cut
    assert_true(damaged("\x09\x01\x02\x03\x04", 5));                              // fixed64 cut
    assert_true(damaged("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12)); // varint of 11 bytes
    assert_false(damaged("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
}

static void test_damaged_packed_numbers(void **state) {
    (void)state;
    size_t count;
    tn_pb_field f = {.number = 1, .wire = TN_PB_BYTES};
    f.bytes = (tn_str){"\x01\x80", 2};
    assert_false(tn_pb_count(&f, TN_PB_VARINT, &count));
    f.bytes = (tn_str){"abcde", 5};
    assert_false(tn_pb_count(&f, TN_PB_FIXED32, &count));
    f.bytes = (tn_str){"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11};
    assert_false(tn_pb_count(&f, TN_PB_VARINT, &count));
    f.wire = TN_PB_FIXED64;
    assert_false(tn_pb_count(&f, TN_PB_FIXED32, &count));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varints_round_trip),        cmocka_unit_test(test_nested_messages),
        cmocka_unit_test(test_packed_and_single_numbers), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_damaged_packed_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
