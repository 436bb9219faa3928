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
    }
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_intervals),
        cmocka_unit_test(test_chain_reaches_the_lower_bound),
    };
    return cmocka_run_group_tests_name("memory plan", tests, NULL, NULL);
}
