/* Shapes, element types, tensors: through the public functions where there is one. */
#include "test_util.h"

#include <math.h>

#include "tensor/tensor.h"

static size_t live_before;

static int remember_live(void **state) {
    (void)state;
    live_before = tn_alloc_live();
    return 0;
}

static int expect_no_leak(void **state) {
    (void)state;
    return tn_alloc_live() == live_before ? 0 : -1;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, remember_live, expect_no_leak)
#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

/* ---- shapes ---- */

static void test_dims(void **state) {
    (void)state;
    assert_true(tn_dim_known(0) && tn_dim_known(-1) && tn_dim_known(INT64_MAX));
    assert_false(tn_dim_known(TN_DIM_UNKNOWN) || tn_dim_is_symbol(TN_DIM_UNKNOWN));
    for (uint64_t i = 0; i < UINT32_MAX; i += 0x3fffffff) {
        int64_t d = tn_dim_symbol((uint32_t)i);
        assert_true(tn_dim_is_symbol(d));
        assert_false(tn_dim_known(d));
        assert_int_equal(tn_dim_symbol_index(d), i);
    }
}

static void test_shape_counts(void **state) {
    (void)state;
    tn_shape s = tn_shape_of(3, DIMS(2, 3, 4));
    int64_t count = -1;
    assert_int_equal(tn_shape_count(&s), 24);
    assert_int_equal(tn_shape_count_range(&s, 1, 3), 12);
    assert_int_equal(tn_shape_count_range(&s, 1, 1), 1);
    assert_true(tn_shape_known(&s) && tn_shape_count_checked(&s, &count));
    assert_int_equal(count, 24);
    tn_shape scalar = tn_shape_of(0, NULL);
    assert_true(tn_shape_count_checked(&scalar, &count));
    assert_int_equal(count, 1);
    tn_shape empty = tn_shape_of(2, DIMS(0, 5));
    assert_true(tn_shape_count_checked(&empty, &count));
    assert_int_equal(count, 0);
    const tn_shape bad[] = {tn_shape_of(2, DIMS(INT64_MAX, 2)), tn_shape_of(1, DIMS(-1)),
                            tn_shape_of(2, DIMS(2, TN_DIM_UNKNOWN)), tn_shape_of(1, DIMS(tn_dim_symbol(3))),
                            tn_shape_of(3, DIMS(INT64_MAX, 0, 2))};
    for (size_t i = 0; i < TN_COUNT(bad); i++) assert_false(tn_shape_count_checked(&bad[i], &count));
    assert_false(tn_shape_known(&bad[2]));
}

static void test_shape_text_and_equality(void **state) {
    (void)state;
    char buffer[TN_SHAPE_TEXT];
    tn_shape s = tn_shape_of(3, DIMS(1, TN_DIM_UNKNOWN, 224)), scalar = tn_shape_of(0, NULL);
    assert_string_equal(tn_shape_text(&s, buffer, sizeof buffer), "1x?x224");
    assert_string_equal(tn_shape_text(&scalar, buffer, sizeof buffer), "scalar");
    char tiny[4];
    assert_string_equal(tn_shape_text(&s, tiny, sizeof tiny), "1x?");
    assert_true(tn_shape_equal(&s, &s));
    assert_false(tn_shape_equal(&s, &scalar));
    tn_shape other = tn_shape_of(3, DIMS(1, TN_DIM_UNKNOWN, 225));
    assert_false(tn_shape_equal(&s, &other));
}

/* ---- types ---- */

static void test_dtypes(void **state) {
    (void)state;
    for (int i = 1; i < TERN_DTYPE_COUNT; i++) {
        tern_dtype t;
        assert_int_equal(tern_dtype_parse(tern_dtype_name((tern_dtype)i), &t, NULL), TERN_OK);
        assert_int_equal(t, i);
        assert_true(tern_dtype_size(t) >= 1 && (int)tern_dtype_size(t) * 8 >= tn_dtype_bits(t));
    }
    static const struct {
        const char *name;
        tern_dtype dtype;
    } shorts[] = {{"fp32", TERN_FLOAT},   {"f32", TERN_FLOAT},     {"float", TERN_FLOAT},   {"half", TERN_FLOAT16},
                  {"fp16", TERN_FLOAT16}, {"bf16", TERN_BFLOAT16}, {"double", TERN_DOUBLE}, {"i64", TERN_INT64},
                  {"FLOAT", TERN_FLOAT},  {"u8", TERN_UINT8},      {"bool", TERN_BOOL}};
    tern_dtype t = TERN_INT8;
    for (size_t i = 0; i < TN_COUNT(shorts); i++) {
        assert_int_equal(tern_dtype_parse(shorts[i].name, &t, NULL), TERN_OK);
        assert_int_equal(t, shorts[i].dtype);
    }
    tern_error err = {0};
    assert_int_equal(tern_dtype_parse("float31", &t, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "float31"));
    assert_string_equal(tern_dtype_name(TERN_UNDEFINED), "undefined");
    assert_string_equal(tern_dtype_name((tern_dtype)1000), "undefined");
    assert_int_equal(tern_dtype_size((tern_dtype)-4), 0);
    uint32_t all = 0;
    for (int i = 1; i < TERN_DTYPE_COUNT; i++) all |= 1u << i;
    assert_int_equal(all, TN_TYPES_ALL);
}

/* ---- creation ---- */

static void test_create(void **state) {
    (void)state;
    for (int dtype = 1; dtype < TERN_DTYPE_COUNT; dtype++) {
        tern_tensor *t;
        assert_int_equal(tern_tensor_create(&t, (tern_dtype)dtype, 3, DIMS(2, 3, 5), NULL), TERN_OK);
        assert_int_equal(tern_tensor_kind(t), TERN_KIND_TENSOR);
        assert_int_equal(tern_tensor_dtype(t), dtype);
        assert_int_equal(tern_tensor_rank(t), 3);
        assert_int_equal(tern_tensor_dims(t)[2], 5);
        assert_int_equal(tern_tensor_count(t), 30);
        assert_int_equal(tern_tensor_bytes(t), 30 * tern_dtype_size((tern_dtype)dtype));
        const uint8_t *data = tern_tensor_data(t);
        assert_ptr_equal(data, tern_tensor_const_data(t));
        assert_int_equal((uintptr_t)data % 64, 0);
        for (size_t i = 0; i < tern_tensor_bytes(t); i++) assert_int_equal(data[i], 0);
        tern_tensor_free(t);
    }
    tern_tensor_free(NULL);
}

static void test_scalars_and_empty_tensors(void **state) {
    (void)state;
    tern_tensor *t;
    assert_int_equal(tern_tensor_create(&t, TERN_INT64, 0, NULL, NULL), TERN_OK);
    assert_int_equal(tern_tensor_count(t), 1);
    tern_tensor_free(t);
    assert_int_equal(tern_tensor_create(&t, TERN_INT64, 3, DIMS(4, 0, 4), NULL), TERN_OK);
    assert_int_equal(tern_tensor_count(t), 0);
    assert_null(tern_tensor_data(t));
    assert_null(tern_tensor_const_data(t));
    tern_tensor_free(t);
}

static void expect_create_fails(tern_dtype dtype, int rank, const int64_t *dims, tern_status want) {
    tern_tensor *t = (tern_tensor *)&want;
    tern_error err = {0};
    assert_int_equal(tern_tensor_create(&t, dtype, rank, dims, &err), want);
    assert_null(t);
    assert_int_equal(err.status, want);
    assert_true(err.text[0] != 0);
}

static void test_create_refuses(void **state) {
    (void)state;
    expect_create_fails(TERN_FLOAT, 2, DIMS(2, -1), TERN_INVALID_ARGUMENT);
    expect_create_fails(TERN_FLOAT, -1, DIMS(2), TERN_INVALID_ARGUMENT);
    expect_create_fails(TERN_FLOAT, TERN_MAX_RANK + 1, DIMS(2), TERN_INVALID_ARGUMENT);
    expect_create_fails(TERN_FLOAT, 2, NULL, TERN_INVALID_ARGUMENT);
    expect_create_fails(TERN_UNDEFINED, 1, DIMS(2), TERN_INVALID_ARGUMENT);
    expect_create_fails((tern_dtype)99, 1, DIMS(2), TERN_INVALID_ARGUMENT);
    expect_create_fails(TERN_FLOAT, 2, DIMS(INT64_MAX, 4), TERN_LIMIT_EXCEEDED);
    expect_create_fails(TERN_DOUBLE, 1, DIMS(INT64_MAX / 4), TERN_LIMIT_EXCEEDED);
    expect_create_fails(TERN_UINT8, 1, DIMS(INT64_MAX / 2), TERN_OUT_OF_MEMORY);
    assert_int_equal(tern_tensor_create(NULL, TERN_FLOAT, 0, NULL, NULL), TERN_INVALID_ARGUMENT);
}

static void test_borrow(void **state) {
    (void)state;
    float values[6] = {1, 2, 3, 4, 5, 6};
    tern_tensor *t;
    tern_error err;
    assert_int_equal(tern_tensor_borrow(&t, TERN_FLOAT, 2, DIMS(2, 3), values, sizeof values, &err), TERN_OK);
    assert_ptr_equal(tern_tensor_data(t), values);
    tern_tensor *copy;
    assert_int_equal(tn_tensor_copy(&copy, t, &err), TERN_OK);
    assert_true(tn_tensor_equal(t, copy));
    values[3] = 9;
    assert_false(tn_tensor_equal(t, copy));
    tern_tensor_free(t);
    tern_tensor_free(copy);
    assert_int_equal(tern_tensor_borrow(&t, TERN_FLOAT, 2, DIMS(2, 4), values, sizeof values, &err),
                     TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "32"));
    assert_null(t);
    assert_int_equal(tern_tensor_borrow(&t, TERN_FLOAT, 1, DIMS(1), NULL, 4, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_borrow(&t, TERN_FLOAT, 1, DIMS(0), NULL, 0, &err), TERN_OK);
    tern_tensor_free(t);
}

static void test_views_share_memory(void **state) {
    (void)state;
    tern_tensor *t, *view, *none;
    tern_error err;
    assert_int_equal(tern_tensor_create(&t, TERN_FLOAT, 2, DIMS(2, 6), &err), TERN_OK);
    tn_shape shape = tn_shape_of(3, DIMS(3, 2, 2)), larger = tn_shape_of(1, DIMS(13));
    assert_int_equal(tn_tensor_new_view(&view, t, TERN_FLOAT, &shape, &err), TERN_OK);
    assert_ptr_equal(view->data, t->data);
    assert_int_equal(tn_tensor_new_view(&none, t, TERN_FLOAT, &larger, &err), TERN_INTERNAL);
    assert_int_equal(tn_tensor_new_view(&none, t, TERN_STRING, &shape, &err), TERN_INTERNAL);
    tern_tensor_free(t);
    ((float *)view->data)[11] = 5; // still there
    tern_tensor_free(view);
}

/* ---- blocked layout ---- */

static void test_blocked_sizes(void **state) {
    (void)state;
    tn_shape s = tn_shape_of(4, DIMS(2, 19, 3, 5)), vector = tn_shape_of(2, DIMS(2, 19));
    size_t bytes;
    assert_true(tn_bytes_for(TERN_FLOAT, &s, 16, &bytes));
    assert_int_equal(bytes, 2 * 32 * 15 * 4);
    assert_true(tn_bytes_for(TERN_FLOAT, &s, 0, &bytes));
    assert_int_equal(bytes, 2 * 19 * 15 * 4);
    assert_false(tn_bytes_for(TERN_FLOAT, &vector, 16, &bytes));
    assert_false(tn_bytes_for(TERN_UNDEFINED, &s, 0, &bytes));
    tn_shape huge = tn_shape_of(3, DIMS(1, INT64_MAX, 1));
    assert_false(tn_bytes_for(TERN_FLOAT, &huge, 16, &bytes));
    float values[2 * 32 * 15] = {0};
    tern_tensor t = {.dtype = TERN_FLOAT, .block = 16, .shape = s, .data = values, .refs = 1}, *copy;
    tn_shape stored = tn_tensor_stored_shape(&t), want = tn_shape_of(5, DIMS(2, 2, 3, 5, 16));
    assert_true(tn_shape_equal(&stored, &want));
    assert_int_equal(tn_tensor_stored_count(&t), TN_COUNT(values));
    assert_int_equal(tn_tensor_bytes(&t), sizeof values);
    values[700] = 3;
    assert_int_equal(tn_tensor_copy(&copy, &t, NULL), TERN_OK);
    assert_int_equal(copy->block, 16);
    assert_true(tn_tensor_equal(&t, copy));
    copy->block = 0;
    assert_false(tn_tensor_equal(&t, copy));
    copy->block = 16;
    tern_tensor_free(copy);
}

/* ---- strings ---- */

static void expect_element(const tern_tensor *t, int64_t i, const char *want, size_t len) {
    const tern_string *s = (const tern_string *)tern_tensor_const_data(t) + i;
    assert_int_equal(s->len, len);
    if (len) assert_memory_equal(s->data, want, len);
}

static void test_strings(void **state) {
    (void)state;
    tern_tensor *t, *copy;
    tern_error err;
    assert_int_equal(tern_tensor_create(&t, TERN_STRING, 1, DIMS(3), &err), TERN_OK);
    expect_element(t, 2, "", 0);
    char bytes[] = "ab\0cd";
    assert_int_equal(tern_tensor_set_string(t, 0, bytes, 5, &err), TERN_OK);
    memset(bytes, 'x', sizeof bytes); // it was copied
    expect_element(t, 0, "ab\0cd", 5);
    assert_int_equal(tern_tensor_set_string(t, 1, NULL, 0, &err), TERN_OK);
    assert_int_equal(tern_tensor_set_string(t, 3, "x", 1, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_set_string(t, -1, "x", 1, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_set_string(t, 0, NULL, 1, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_tensor_copy(&copy, t, &err), TERN_OK);
    assert_true(tn_tensor_equal(t, copy));
    tern_tensor_free(t);
    expect_element(copy, 0, "ab\0cd", 5);
    tern_tensor_free(copy);
    assert_int_equal(tern_tensor_create(&t, TERN_FLOAT, 1, DIMS(3), &err), TERN_OK);
    assert_int_equal(tern_tensor_set_string(t, 0, "x", 1, &err), TERN_TYPE_MISMATCH);
    tern_tensor_free(t);
}

static void test_strings_set_again_and_again_stay_small(void **state) {
    (void)state;
    tern_tensor *t;
    assert_int_equal(tern_tensor_create(&t, TERN_STRING, 1, DIMS(10), NULL), TERN_OK);
    char text[100];
    memset(text, 'a', sizeof text);
    size_t live = tn_alloc_live();
    for (int i = 0; i < 200000; i++) { // 20 MB in total
        text[0] = (char)('a' + i % 26);
        assert_int_equal(tern_tensor_set_string(t, i % 10, text, sizeof text, NULL), TERN_OK);
    }
    assert_true(tn_alloc_live() - live <= 4); // a few kB in a few blocks
    for (int i = 0; i < 10; i++) {
        text[0] = (char)('a' + (199990 + i) % 26);
        expect_element(t, i, text, sizeof text);
    }
    tern_tensor_free(t);
}

static void test_own_strings(void **state) {
    (void)state;
    tern_tensor *a, *b;
    assert_int_equal(tern_tensor_create(&a, TERN_STRING, 1, DIMS(2), NULL), TERN_OK);
    assert_int_equal(tern_tensor_create(&b, TERN_STRING, 1, DIMS(2), NULL), TERN_OK);
    tern_tensor_set_string(a, 0, "first", 5, NULL);
    tern_tensor_set_string(a, 1, "second", 6, NULL);
    // What an operator does: structs are copied, then the bytes are made the result's own.
    memcpy(b->data, a->data, tn_tensor_bytes(a));
    assert_int_equal(tn_tensor_own_strings(b, NULL), TERN_OK);
    tern_tensor_free(a);
    expect_element(b, 0, "first", 5);
    expect_element(b, 1, "second", 6);
    tern_tensor_free(b);
    // Borrowed memory: the caller's structs, the tensor's bytes.
    tern_string s[1] = {{"theirs", 6}};
    assert_int_equal(tern_tensor_borrow(&a, TERN_STRING, 1, DIMS(1), s, sizeof s, NULL), TERN_OK);
    expect_element(a, 0, "theirs", 6);
    assert_int_equal(tern_tensor_set_string(a, 0, "ours", 4, NULL), TERN_OK);
    expect_element(a, 0, "ours", 4);
    tern_tensor_free(a);
}

/* ---- groups ---- */

static void test_groups(void **state) {
    (void)state;
    tern_tensor *item[2], *sequence, *optional, *copy, *other;
    tern_error err;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tern_tensor_create(&item[i], TERN_INT32, 1, DIMS(i + 1), &err), TERN_OK);
        *(int32_t *)tern_tensor_data(item[i]) = 7 + i;
    }
    assert_int_equal(tern_tensor_group(&sequence, TERN_KIND_SEQUENCE, item, 2, &err), TERN_OK);
    tern_tensor_free(item[0]);
    assert_int_equal(tern_tensor_kind(sequence), TERN_KIND_SEQUENCE);
    assert_int_equal(tern_tensor_item_count(sequence), 2);
    assert_int_equal(*(const int32_t *)tern_tensor_const_data(tern_tensor_item(sequence, 0)), 7);
    assert_null(tern_tensor_item(sequence, 2));
    assert_null(tern_tensor_data(sequence));
    assert_int_equal(tern_tensor_count(sequence), 0);
    assert_int_equal(tern_tensor_bytes(sequence), 0);
    assert_int_equal(tern_tensor_group(&optional, TERN_KIND_OPTIONAL, &sequence, 1, &err), TERN_OK);
    tern_tensor_free(sequence);
    assert_int_equal(tn_tensor_copy(&copy, optional, &err), TERN_OK);
    assert_true(tn_tensor_equal(copy, optional));
    *(int32_t *)tern_tensor_data(item[1]) = 0;
    assert_false(tn_tensor_equal(copy, optional));
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_OPTIONAL, NULL, 0, &err), TERN_OK);
    assert_false(tn_tensor_equal(copy, other));
    assert_false(tn_tensor_equal(item[1], other));
    tern_tensor_free(other);
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_SEQUENCE, NULL, 0, &err), TERN_OK);
    tern_tensor_free(other);
    // What can not be.
    tern_tensor *null_item[1] = {NULL}, *two[2] = {item[1], item[1]};
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_OPTIONAL, two, 2, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_MAP, item + 1, 1, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_TENSOR, item + 1, 1, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_SEQUENCE, null_item, 1, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_tensor_group(&other, TERN_KIND_SEQUENCE, NULL, 1, &err), TERN_INVALID_ARGUMENT);
    assert_null(other);
    tern_tensor_free(item[1]), tern_tensor_free(optional), tern_tensor_free(copy);
}

/* ---- elements ---- */

static void test_single_elements(void **state) {
    (void)state;
#define CHECK(TYPE, CTYPE, VALUE, F64, I64)                                                  \
    do {                                                                                     \
        CTYPE v[2] = {0, VALUE};                                                             \
        tern_tensor t = {.dtype = TERN_##TYPE, .shape = tn_shape_of(1, DIMS(2)), .data = v}; \
        assert_true(tn_tensor_get_f64(&t, 1) == (F64));                                      \
        assert_int_equal(tn_tensor_get_i64(&t, 1), I64);                                     \
    } while (0)
    CHECK(FLOAT, float, -2.75f, -2.75, -2);
    CHECK(DOUBLE, double, 1e300, 1e300, INT64_MAX);
    CHECK(DOUBLE, double, -1e300, -1e300, INT64_MIN);
    CHECK(FLOAT16, uint16_t, 0xc100, -2.5, -2);
    CHECK(BFLOAT16, uint16_t, 0x4049, 3.140625, 3);
    CHECK(FLOAT8E4M3FN, uint8_t, 0x7e, 448, 448);
    CHECK(FLOAT8E4M3FNUZ, uint8_t, 0x7f, 240, 240);
    CHECK(FLOAT8E5M2, uint8_t, 0x7b, 57344, 57344);
    CHECK(FLOAT8E5M2FNUZ, uint8_t, 0x7f, 57344, 57344);
    CHECK(FLOAT8E8M0, uint8_t, 130, 8, 8);
    CHECK(FLOAT4E2M1, uint8_t, 15, -6, -6);
    CHECK(INT8, int8_t, -5, -5, -5);
    CHECK(UINT8, uint8_t, 250, 250, 250);
    CHECK(INT16, int16_t, -300, -300, -300);
    CHECK(UINT16, uint16_t, 65535, 65535, 65535);
    CHECK(INT32, int32_t, INT32_MIN, INT32_MIN, INT32_MIN);
    CHECK(UINT32, uint32_t, UINT32_MAX, UINT32_MAX, UINT32_MAX);
    CHECK(INT64, int64_t, INT64_MIN, -0x1p63, INT64_MIN);
    CHECK(UINT64, uint64_t, UINT64_MAX, 0x1p64, INT64_MAX);
    CHECK(BOOL, uint8_t, 1, 1, 1);
    CHECK(INT4, int8_t, -8, -8, -8);
    CHECK(UINT4, uint8_t, 15, 15, 15);
    CHECK(INT2, int8_t, -2, -2, -2);
    CHECK(UINT2, uint8_t, 3, 3, 3);
#undef CHECK
    double nan[1] = {NAN};
    tern_tensor t = {.dtype = TERN_DOUBLE, .shape = tn_shape_of(0, NULL), .data = nan};
    assert_int_equal(tn_tensor_get_i64(&t, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_dims),           TEST(test_shape_counts), TEST(test_shape_text_and_equality),
        TEST(test_dtypes),         TEST(test_create),       TEST(test_scalars_and_empty_tensors),
        TEST(test_create_refuses), TEST(test_borrow),       TEST(test_views_share_memory),
        TEST(test_blocked_sizes),  TEST(test_strings),      TEST(test_strings_set_again_and_again_stay_small),
        TEST(test_own_strings),    TEST(test_groups),       TEST(test_single_elements),
    };
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
