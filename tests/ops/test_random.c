/* Random operators: range, moments, independence of seeds, repetition with the same seed. */
#include "ops/op_test.h"

#define COUNT 40000

static void moments(const tern_tensor *t, double *mean, double *deviation, double *low, double *high) {
    double sum = 0, square = 0;
    int64_t n = tern_tensor_count(t);
    *low = INFINITY, *high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double v = tn_tensor_get_f64(t, i);
        sum += v;
        square += v * v;
        *low = fmin(*low, v);
        *high = fmax(*high, v);
    }
    *mean = sum / (double)n;
    *deviation = sqrt(square / (double)n - *mean * *mean);
}

static void check_near(double got, double want, double limit) {
    if (!(fabs(got - want) <= limit)) fail_msg("%g is not within %g of %g", got, limit, want);
}

static void test_uniform(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        op_test t;
        double mean, deviation, low, high;
        op_begin(&t, "RandomUniform", 22);
        op_attr_i(&t, "dtype", types[i]);
        op_attr_f(&t, "low", -1);
        op_attr_f(&t, "high", 3);
        op_attr_ints(&t, "shape", INTS(200, 200));
        op_out_any(&t);
        op_eval(&t);
        assert_int_equal(t.result[0]->dtype, types[i]);
        moments(t.result[0], &mean, &deviation, &low, &high);
        check_near(mean, 1, 0.03);
        check_near(deviation, 4 / sqrt(12), 0.03);
        assert_true(low >= -1 && low < -0.9 && high <= 3 && high > 2.9);
        op_check_infer(&t);
        op_end(&t);
    }
}

static void test_normal_like(void **state) {
    (void)state;
    op_test t;
    double mean, deviation, low, high;
    op_begin(&t, "RandomNormalLike", 1);
    op_attr_f(&t, "mean", 5);
    op_attr_f(&t, "scale", 2);
    op_in(&t, op_tensor(TERN_DOUBLE, DIMS(COUNT)));
    op_out_any(&t);
    op_eval(&t);
    moments(t.result[0], &mean, &deviation, &low, &high);
    check_near(mean, 5, 0.06);
    check_near(deviation, 2, 0.06);
    assert_true(high < 5 + 2 * 7 && low > 5 - 2 * 7 && high > 5 + 2 * 3 && low < 5 - 2 * 3);
    op_check_infer(&t);
    op_end(&t);
}

static tern_tensor *seeded(float seed) {
    op_test t;
    op_begin(&t, "RandomNormal", 22);
    op_attr_f(&t, "seed", seed);
    op_attr_ints(&t, "shape", INTS(1000));
    op_out_any(&t);
    op_eval(&t);
    tern_tensor *r = t.result[0];
    t.result[0] = NULL;
    op_end(&t);
    return r;
}

static void test_seeds(void **state) {
    (void)state;
    tern_tensor *a = seeded(1.5f), *b = seeded(1.5f), *c = seeded(1.25f);
    assert_true(tn_tensor_equal(a, b));
    int64_t same = 0;
    for (int64_t i = 0; i < 1000; i++) same += tn_tensor_get_f64(a, i) == tn_tensor_get_f64(c, i);
    assert_true(same < 3);
    tern_tensor_free(a);
    tern_tensor_free(b);
    tern_tensor_free(c);
}

static void test_bernoulli(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Bernoulli", 15);
    op_attr_i(&t, "dtype", TERN_INT32);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(4, COUNT)));
    static const double p[4] = {0, 0.25, 0.9, 1};
    for (int64_t i = 0; i < 4 * COUNT; i++) op_set(t.in[0], i, p[i / COUNT]);
    op_out_any(&t);
    op_eval(&t);
    for (int64_t row = 0; row < 4; row++) {
        double sum = 0;
        for (int64_t i = 0; i < COUNT; i++) {
            int64_t v = tn_tensor_get_i64(t.result[0], row * COUNT + i);
            assert_true(v == 0 || v == 1);
            sum += (double)v;
        }
        check_near(sum / COUNT, p[row], row % 3 ? 0.01 : 0);
    }
    op_check_infer(&t);
    op_end(&t);
    op_begin(&t, "Bernoulli", 22);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0.5, 1.5)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("element 1", "1.5"));
}

static void test_multinomial(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Multinomial", 7);
    op_attr_i(&t, "sample_size", COUNT);
    op_attr_i(&t, "dtype", TERN_INT64);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(2, 3), VALS(log(1), log(2), log(5), -INFINITY, 0, -INFINITY)));
    op_out_any(&t);
    op_eval(&t);
    double count[2][3] = {{0}};
    for (int64_t i = 0; i < 2 * COUNT; i++) count[i / COUNT][tn_tensor_get_i64(t.result[0], i)]++;
    check_near(count[0][0] / COUNT, 1.0 / 8, 0.01);
    check_near(count[0][1] / COUNT, 2.0 / 8, 0.01);
    assert_true(count[1][1] == COUNT);
    op_check_infer(&t);
    op_end(&t);
    op_begin(&t, "Multinomial", 22);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(NAN, 0)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("row 0"));
    op_begin(&t, "Multinomial", 22);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 0), NO_VALS));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("no class"));
}

static void shape_error(size_t n, const int64_t *dims, tern_status status, const char *word) {
    op_test t;
    op_begin(&t, "RandomNormal", 1);
    op_attr_ints(&t, "shape", n, dims);
    op_error(&t, status, STRS(word));
}

static void test_refuses(void **state) {
    (void)state;
    shape_error(INTS(-1), TERN_INVALID_MODEL, "-1");
    shape_error(INTS(INT64_C(1) << 40, INT64_C(1) << 40), TERN_LIMIT_EXCEEDED, "large");
    shape_error(INTS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), TERN_LIMIT_EXCEEDED, "13 dims");
    op_test t;
    op_begin(&t, "RandomNormal", 1);
    op_error(&t, TERN_INVALID_MODEL, STRS("'shape' is missing"));
    op_begin(&t, "RandomUniformLike", 1);
    op_in(&t, op_num(TERN_INT32, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("int32"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform),   cmocka_unit_test(test_normal_like), cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_bernoulli), cmocka_unit_test(test_multinomial), cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
