/* Errors, memory, arena, text, UTF-8, hash, map, log. */
#include "test_util.h"

#include "base/base.h"

/* ---- errors ---- */

static void test_fail_writes_status_and_text(void **state) {
    (void)state;
    tern_error err = {0};
    assert_int_equal(tn_fail(&err, TERN_IO, "%s: %d", "file", 7), TERN_IO);
    assert_int_equal(err.status, TERN_IO);
    assert_string_equal(err.text, "file: 7");
    tn_error_prefix(&err, "node %s: ", "conv1");
    assert_string_equal(err.text, "node conv1: file: 7");
    assert_int_equal(tn_fail(NULL, TERN_INTERNAL, "ignored"), TERN_INTERNAL);
    tn_error_prefix(NULL, "ignored");
    assert_int_equal(tn_fail_oom(&err, 123), TERN_OUT_OF_MEMORY);
    assert_non_null(strstr(err.text, "123"));
}

static void test_fail_takes_its_own_text(void **state) {
    (void)state;
    tern_error err;
    tn_fail(&err, TERN_IO, "inner");
    tn_fail(&err, TERN_INVALID_MODEL, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: inner");
}

static void test_texts_are_one_line_of_utf8(void **state) {
    (void)state;
    tern_error err;
    tn_fail(&err, TERN_IO, "a\nb\x01 \xff \xc3\xa9 \xe2\x82");
    assert_string_equal(err.text, "a?b? ? \xc3\xa9 ??");
    char longer[3000];
    memset(longer, 'x', sizeof longer);
    // The cut falls inside a character.
    for (size_t i = 0; i + 2 < sizeof longer; i += 2) memcpy(longer + i, "\xc3\xa9", 2);
    longer[sizeof longer - 1] = 0;
    tn_fail(&err, TERN_IO, "1%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_true(tn_utf8_valid(err.text, strlen(err.text)));
    tn_error_prefix(&err, "%s", longer);
    assert_true(tn_utf8_valid(err.text, strlen(err.text)));
}

static void test_status_names(void **state) {
    (void)state;
    assert_string_equal(tern_status_name(TERN_OK), "TERN_OK");
    assert_string_equal(tern_status_name(TERN_INVALID_MODEL), "TERN_INVALID_MODEL");
    assert_non_null(tern_status_name((tern_status)999));
    assert_non_null(tern_status_message((tern_status)-1));
    for (int i = 0; i <= TERN_INTERNAL; i++) assert_true(strlen(tern_status_message((tern_status)i)) > 1);
}

/* ---- memory ---- */

static void test_allocation_counters_and_alignment(void **state) {
    (void)state;
    size_t live = tn_alloc_live(), total = tn_alloc_total();
    void *a = tn_alloc(1), *b = tn_alloc_aligned(100, 256), *c = tn_calloc(7, 9), *d = tn_alloc(0);
    assert_true(a && b && c && d && a != d);
    assert_int_equal((uintptr_t)a % 16, 0);
    assert_int_equal((uintptr_t)b % 256, 0);
    for (int i = 0; i < 63; i++) assert_int_equal(((uint8_t *)c)[i], 0);
    assert_int_equal(tn_alloc_live(), live + 4);
    tn_free(a), tn_free(b), tn_free(c), tn_free(d), tn_free(NULL);
    assert_int_equal(tn_alloc_live(), live);
    assert_int_equal(tn_alloc_total(), total + 4);
}

static void test_sizes_that_overflow_give_null(void **state) {
    (void)state;
    assert_null(tn_alloc_array(SIZE_MAX / 2, 3));
    assert_null(tn_calloc(SIZE_MAX, SIZE_MAX));
    assert_null(tn_alloc(SIZE_MAX));
    assert_null(tn_alloc_aligned(SIZE_MAX - 5, 64));
    assert_null(tn_strndup("x", SIZE_MAX));
    int *array = NULL;
    size_t cap = 0;
    assert_false(tn_grow(&array, &cap, SIZE_MAX / 2, sizeof *array));
    assert_null(array);
    assert_int_equal(cap, 0);
    size_t s;
    int64_t i;
    assert_false(tn_mul_size(SIZE_MAX, 2, &s));
    assert_false(tn_add_size(SIZE_MAX, 1, &s));
    assert_false(tn_mul_i64(INT64_MIN, -1, &i));
    assert_false(tn_add_i64(INT64_MAX, 1, &i));
}

typedef struct counting_allocator {
    int allocs, frees, left;
} counting_allocator;

static void *counting_alloc(void *context, size_t size, size_t align) {
    counting_allocator *c = context;
    if (c->left-- <= 0) return NULL;
    c->allocs++;
    void *p = NULL;
    return posix_memalign(&p, align < sizeof p ? sizeof p : align, size) == 0 ? p : NULL;
}

static void counting_free(void *context, void *ptr) {
    ((counting_allocator *)context)->frees++;
    free(ptr);
}

static void test_allocator_hook(void **state) {
    (void)state;
    counting_allocator c = {.left = 3};
    tern_set_allocator(&(tern_allocator){counting_alloc, counting_free, &c});
    size_t live = tn_alloc_live();
    void *a = tn_alloc(10), *b = tn_calloc(3, 5), *d = tn_alloc_aligned(10, 64), *e = tn_alloc(1);
    assert_true(a && b && d);
    for (int i = 0; i < 15; i++) assert_int_equal(((uint8_t *)b)[i], 0);
    assert_null(e);
    assert_int_equal(tn_alloc_live(), live + 3);
    tn_free(a), tn_free(b), tn_free(d);
    tern_set_allocator(NULL);
    assert_int_equal(c.allocs, 3);
    assert_int_equal(c.frees, 3);
    assert_int_equal(tn_alloc_live(), live);
}

static void test_grow_keeps_what_is_there(void **state) {
    (void)state;
    uint32_t *array = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(tn_grow(&array, &cap, i + 1, sizeof *array));
        array[i] = i * i;
    }
    for (uint32_t i = 0; i < 1000; i++) assert_int_equal(array[i], i * i);
    assert_true(cap >= 1000 && cap < 2100);
    tn_free(array);
}

static void test_arena(void **state) {
    (void)state;
    size_t live = tn_alloc_live();
    tn_arena arena;
    tn_arena_init(&arena, 0);
    tt_rng rng = tt_rng_init(1);
    struct {
        uint8_t *p;
        size_t n;
    } object[2000];
    for (size_t i = 0; i < TN_COUNT(object); i++) {
        object[i].n = i % 97 == 0 ? 300000 : tt_random_below(&rng, 200);
        object[i].p = tn_arena_alloc(&arena, object[i].n);
        assert_non_null(object[i].p);
        assert_int_equal((uintptr_t)object[i].p % 16, 0);
        for (size_t k = 0; k < object[i].n; k++) assert_int_equal(object[i].p[k], 0);
        memset(object[i].p, (int)i, object[i].n);
    }
    for (size_t i = 0; i < TN_COUNT(object); i++)
        for (size_t k = 0; k < object[i].n; k++) assert_int_equal(object[i].p[k], (uint8_t)i);
    assert_true(tn_alloc_live() - live < 60); // few blocks
    char *s = tn_arena_strndup(&arena, "abcdef", 3);
    assert_string_equal(s, "abc");
    assert_null(tn_arena_array(&arena, SIZE_MAX / 2, 4));
    assert_null(tn_arena_alloc(&arena, SIZE_MAX));
    assert_null(tn_arena_strndup(&arena, "x", SIZE_MAX));
    tn_arena_release(&arena);
    assert_int_equal(tn_alloc_live(), live);
}

static void test_arena_limit(void **state) {
    (void)state;
    tn_arena arena;
    tn_arena_init(&arena, 1000);
    int n = 0;
    while (n < 1000 && tn_arena_alloc(&arena, 100)) n++;
    assert_in_range(n, 1, 10);
    assert_true(arena.used <= 1000);
    tn_arena_release(&arena);
}

/* ---- text ---- */

static void test_utf8(void **state) {
    (void)state;
    static const struct {
        const char *s;
        size_t length;
    } cases[] = {
        {"a", 1},
        {"\xc3\xa9", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\x80", 0},
        {"\xc0\x80", 0},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xed\xa0\x80", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"\xe2\x82", 0},
        {"\xe2\x82"
         "A",
         0},
        {"\xff", 0},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        assert_int_equal(tn_utf8_length(cases[i].s, strlen(cases[i].s)), cases[i].length);
    assert_int_equal(tn_utf8_length("", 0), 0);
    assert_true(tn_utf8_valid("", 0));
    assert_true(tn_utf8_valid("h\xc3\xa9\0x", 5));
    assert_false(tn_utf8_valid("h\xc3", 2));
}

static void test_text(void **state) {
    (void)state;
    tn_text t;
    tn_text_init(&t);
    assert_string_equal(t.data, "");
    tn_text_release(&t);
    for (int i = 0; i < 500; i++) tn_text_add(&t, "%d,", i);
    tn_text_add_str(&t, "x\0y", 3);
    tn_text_add_str(&t, NULL, 0);
    assert_false(t.failed);
    assert_int_equal(t.len, 10 * 2 + 90 * 3 + 400 * 4 + 3);
    assert_memory_equal(t.data, "0,1,2,", 6);
    assert_int_equal(t.data[t.len], 0);
    assert_memory_equal(t.data + t.len - 3, "x\0y", 3);
    tn_text_release(&t);
    assert_string_equal(t.data, "");
}

static void test_text_failure_is_sticky(void **state) {
    (void)state;
    counting_allocator c = {.left = 1};
    tn_text t;
    tn_text_init(&t);
    tern_set_allocator(&(tern_allocator){counting_alloc, counting_free, &c});
    tn_text_add(&t, "1234567");
    assert_false(t.failed);
    tn_text_add(&t, "%0100d", 1);
    assert_true(t.failed);
    assert_string_equal(t.data, "1234567");
    c.left = 10;
    tn_text_add(&t, "more");
    assert_true(t.failed);
    assert_string_equal(t.data, "1234567");
    tn_text_release(&t);
    tern_set_allocator(NULL);
    assert_int_equal(c.allocs, c.frees);
}

/* ---- hash and map ---- */

static void test_hash_spreads(void **state) {
    (void)state;
    // Near keys in buckets of 1024: none may be much fuller than the mean of 64.
    static int bucket[1024];
    memset(bucket, 0, sizeof bucket);
    for (uint32_t i = 0; i < 65536; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "layer.%u.weight", i);
        bucket[tn_hash(key, (size_t)n, 7) & 1023]++;
    }
    for (int i = 0; i < 1024; i++) assert_in_range(bucket[i], 20, 130);
    assert_int_equal(tn_hash("abc", 3, 1), tn_hash("abc", 3, 1));
    assert_int_not_equal(tn_hash("abc", 3, 1), tn_hash("abc", 3, 2));
    // Every length and every byte counts.
    uint8_t data[64] = {0};
    for (size_t n = 0; n < sizeof data; n++) {
        assert_int_not_equal(tn_hash(data, n, 0), tn_hash(data, n + 1, 0));
        uint64_t before = tn_hash(data, sizeof data, 0);
        data[n] ^= 1;
        assert_int_not_equal(before, tn_hash(data, sizeof data, 0));
        data[n] ^= 1;
    }
}

static void test_map(void **state) {
    (void)state;
    enum { N = 5000 };
    static char keys[N][16];
    tn_map map = {0};
    assert_null(tn_map_get(&map, tn_str_c("nothing")));
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        assert_true(tn_map_put(&map, tn_str_c(keys[i]), keys[i]));
        assert_true(tn_map_put(&map, tn_str_c(keys[i]), keys[i] + 1)); // replaces
    }
    assert_int_equal(map.count, N);
    for (int i = 0; i < N; i++) assert_ptr_equal(tn_map_get(&map, tn_str_c(keys[i])), keys[i] + 1);
    assert_null(tn_map_get(&map, tn_str_c("k5000")));
    assert_null(tn_map_get(&map, tn_str_c("")));
    assert_true(tn_map_put(&map, (tn_str){NULL, 0}, &map));
    assert_ptr_equal(tn_map_get(&map, tn_str_c("")), &map);
    assert_true(tn_map_put(&map, (tn_str){"a\0b", 3}, keys));
    assert_null(tn_map_get(&map, (tn_str){"a\0c", 3}));
    tn_map_release(&map);
    assert_null(tn_map_get(&map, tn_str_c("k1")));
}

/* ---- log ---- */

typedef struct log_line {
    int calls;
    tern_log_level level;
    char text[100];
} log_line;

static void keep_line(void *context, tern_log_level level, const char *line) {
    log_line *l = context;
    l->calls++;
    l->level = level;
    snprintf(l->text, sizeof l->text, "%s", line);
}

static void test_log(void **state) {
    (void)state;
    log_line l = {0};
    assert_false(tn_log_enabled(TERN_LOG_ERROR));
    tn_log(TERN_LOG_ERROR, "to nobody");
    tern_set_log(keep_line, &l, TERN_LOG_WARNING);
    assert_true(tn_log_enabled(TERN_LOG_ERROR));
    assert_false(tn_log_enabled(TERN_LOG_INFO));
    tn_log(TERN_LOG_INFO, "too low");
    assert_int_equal(l.calls, 0);
    tn_log(TERN_LOG_WARNING, "a\nb %d", 5);
    assert_int_equal(l.calls, 1);
    assert_int_equal(l.level, TERN_LOG_WARNING);
    assert_string_equal(l.text, "a?b 5");
    tern_set_log(NULL, NULL, TERN_LOG_DEBUG);
    tn_log(TERN_LOG_ERROR, "to nobody");
    assert_int_equal(l.calls, 1);
}

static void test_clock_runs(void **state) {
    (void)state;
    uint64_t a = tn_clock_ns();
    usleep(2000);
    uint64_t b = tn_clock_ns();
    assert_true(b - a >= 2000000u && b - a < 60000000000u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_writes_status_and_text),
        cmocka_unit_test(test_fail_takes_its_own_text),
        cmocka_unit_test(test_texts_are_one_line_of_utf8),
        cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_allocation_counters_and_alignment),
        cmocka_unit_test(test_sizes_that_overflow_give_null),
        cmocka_unit_test(test_allocator_hook),
        cmocka_unit_test(test_grow_keeps_what_is_there),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_limit),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_failure_is_sticky),
        cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_clock_runs),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
