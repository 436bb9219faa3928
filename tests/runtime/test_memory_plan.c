/* The memory plan: nothing that lives at the same time overlaps, and little is wasted. */
#include "plan/plan.h"
#include "test_util.h"

static void check_no_overlap(const tn_interval *v, size_t n, size_t total) {
    for (size_t i = 0; i < n; i++) {
        assert_true(v[i].offset + v[i].bytes <= total);
        assert_int_equal(v[i].offset % 64, 0);
        for (size_t k = 0; k < i; k++) {
            bool together = v[i].first <= v[k].last && v[k].first <= v[i].last;
            bool apart = v[i].offset + v[i].bytes <= v[k].offset || v[k].offset + v[k].bytes <= v[i].offset;
            assert_true(!together || apart);
        }
    }
}

static void test_random_intervals(void **state) {
    (void)state;
    tt_rng rng = tt_rng_init(11);
    for (int round = 0; round < 200; round++) {
        tn_interval v[120];
        size_t n = (size_t)tt_random_int(&rng, 0, 120), total, bound;
        for (size_t i = 0; i < n; i++) {
            int first = (int)tt_random_int(&rng, 0, 60);
            v[i] = (tn_interval){first, first + (int)tt_random_int(&rng, 0, 20),
                                 64 * (size_t)tt_random_int(&rng, 1, 500), 0};
        }
        assert_int_equal(tn_plan_memory(v, n, &total, &bound, NULL), TERN_OK);
        check_no_overlap(v, n, total);
        assert_true(total >= bound);
        assert_true(total <= bound + bound / 6);
        uint64_t offsets[120], digest = tn_plan_digest(v, n);
        size_t taken, taken_bound;
        for (size_t i = 0; i < n; i++) offsets[i] = v[i].offset, v[i].offset = 0;
        assert_int_equal(tn_plan_digest(v, n), digest);
        assert_true(tn_plan_take_offsets(v, n, offsets, &taken, &taken_bound));
        assert_int_equal(taken, total);
        assert_int_equal(taken_bound, bound);
        for (size_t i = 0; i < n; i++) assert_int_equal(v[i].offset, offsets[i]);
        if (n) v[n - 1].last++;
        if (n) assert_true(tn_plan_digest(v, n) != digest);
    }
}

/* More values than are listed by offset: all alive at once, a chain, and values that live long beside it. */
static void test_many_values(void **state) {
    (void)state;
    enum { MANY = 20000 };
    tn_interval *v = tn_alloc_array(MANY, sizeof *v);
    uint64_t *offsets = tn_alloc_array(MANY, sizeof *offsets);
    assert_non_null(v);
    assert_non_null(offsets);
    tt_rng rng = tt_rng_init(5);
    for (int kind = 0; kind < 3; kind++) {
        size_t total, bound;
        for (int i = 0; i < MANY; i++) {
            int last = kind == 0 ? MANY : kind == 2 && i % 100 == 0 ? TN_MIN(i + MANY / 3, MANY) : i + 1;
            v[i] = (tn_interval){kind ? i : 0, last, 64 * (size_t)tt_random_int(&rng, 1, 9), 0};
        }
        assert_int_equal(tn_plan_memory(v, MANY, &total, &bound, NULL), TERN_OK);
        check_no_overlap(v, MANY, total);
        assert_true(total >= bound);
        assert_true(kind ? total <= bound + bound / 3 : total == bound);
        size_t taken, taken_bound;
        for (int i = 0; i < MANY; i++) offsets[i] = v[i].offset;
        assert_true(tn_plan_take_offsets(v, MANY, offsets, &taken, &taken_bound));
        assert_int_equal(taken, total);
        offsets[MANY - 1] = offsets[MANY - 2]; /* which live together */
        assert_false(tn_plan_take_offsets(v, MANY, offsets, &taken, &taken_bound));
    }
    tn_free(v);
    tn_free(offsets);
}

/* A chain needs the two largest neighbours and no more. */
static void test_chain_reaches_the_lower_bound(void **state) {
    (void)state;
    tn_interval v[50];
    size_t total, bound;
    for (int i = 0; i < 50; i++) v[i] = (tn_interval){i, i + 1, 64 * (size_t)(1 + i * 7 % 13), 0};
    assert_int_equal(tn_plan_memory(v, 50, &total, &bound, NULL), TERN_OK);
    check_no_overlap(v, 50, total);
    assert_true(total <= bound + bound / 10);
}

/* Offsets of a file that was made to do harm. */
static void test_offsets_that_are_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t a, b;
        bool good;
    } cases[] = {{0, 128, true},
                 {64, 0, false},
                 {0, 0, false},
                 {128, 64, false},
                 {0, 130, false},
                 {0, UINT64_MAX - 63, false},
                 {(uint64_t)INT64_MAX / 64 * 64, 0, false}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_interval v[] = {{0, 2, 128, 0}, {2, 3, 128, 0}, {3, 4, 64, 0}};
        uint64_t offsets[] = {cases[i].a, cases[i].b, 0};
        size_t total, bound;
        if (tn_plan_take_offsets(v, 3, offsets, &total, &bound) != cases[i].good) fail_msg("case %zu", i);
        if (cases[i].good) assert_int_equal(total, 256);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_intervals),
        cmocka_unit_test(test_many_values),
        cmocka_unit_test(test_chain_reaches_the_lower_bound),
        cmocka_unit_test(test_offsets_that_are_refused),
    };
    return cmocka_run_group_tests_name("memory plan", tests, NULL, NULL);
}
