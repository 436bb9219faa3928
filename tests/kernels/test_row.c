/* Rows of softmax and of the normalisations against double precision: all lengths up to some vectors and long ones, in
 * place, guard pages at the end. */
#include "kernels/check.h"

#include "kernels/row.h"

static int length(int i) { return i < 70 ? i : ck_int(70, 5000); }

static double magnitude(const float *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += fabs((double)x[i]);
    return sum;
}

static void sums(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int k = 0; k < 100; k++) {
            int n = length(k);
            ck_buf x = ck_random((size_t)n, 4);
            double sum = 0, square = 0;
            float mean = ck_float(-1, 1);
            for (int i = 0; i < n; i++) {
                double d = (double)x.p[i] - (double)mean;
                sum += (double)x.p[i];
                square += d * d;
            }
            assert_true(fabs(tn_row_sum_f32(t, x.p, (size_t)n) - sum) <= 70 * CK_EPS * magnitude(x.p, n));
            /* A difference is rounded once, up to its own size and that of the mean; its square again. */
            assert_true(fabs(tn_row_square_f32(t, x.p, mean, (size_t)n) - square) <= 76 * CK_EPS * square + 1e-30);
            ck_free(&x);
        }
    }
}

static void largest(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int k = 0; k < 100; k++) {
            int n = length(k);
            ck_buf x = ck_random((size_t)n, 4);
            if (n > 3 && k % 3 == 0) x.p[ck_int(0, n - 1)] = NAN; /* is not a number to compare with */
            if (n > 3 && k % 7 == 0) x.p[ck_int(0, n - 1)] = -INFINITY;
            float want = k % 2 ? -INFINITY : 0.5f, start = want;
            for (int i = 0; i < n; i++) want = x.p[i] > want ? x.p[i] : want;
            float got = tn_row_max_f32(t, x.p, (size_t)n, start);
            assert_memory_equal(&got, &want, 4);
            ck_free(&x);
        }
    }
}

static void exponentials(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int k = 0; k < 100; k++) {
            int n = length(k);
            ck_buf x = ck_alloc((size_t)n, 4), y = ck_alloc((size_t)n, 4);
            ck_fill(x.p, (size_t)n, -30, 3);
            if (n > 3) x.p[ck_int(0, n - 1)] = -INFINITY;
            double sum = 0, got = tn_row_exp_f32(t, x.p, 3, y.p, (size_t)n);
            for (int i = 0; i < n; i++) {
                float d = x.p[i] - 3;
                double want = exp((double)d);
                assert_true(fabs((double)y.p[i] - want) <= 2 * ck_ulp(want));
                sum += want;
            }
            assert_true(fabs(got - sum) <= 76 * CK_EPS * sum);
            assert_true(tn_row_exp_f32(t, x.p, 3, x.p, (size_t)n) == got);
            assert_memory_equal(x.p, y.p, (size_t)n * 4);
            ck_free(&x);
            ck_free(&y);
        }
    }
}

static void normalize(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int k = 0; k < 100; k++) {
            int n = length(k);
            ck_buf x = ck_random((size_t)n, 4), s = ck_random((size_t)n, 4), b = ck_random((size_t)n, 4);
            ck_buf y = ck_alloc((size_t)n, 4);
            float mean = ck_float(-1, 1), inv = ck_float(0.5f, 2);
            const float *bias = k % 3 ? b.p : NULL;
            tn_row_normalize_f32(t, x.p, mean, inv, s.p, bias, y.p, (size_t)n);
            for (int i = 0; i < n; i++) {
                double scaled = ((double)x.p[i] - (double)mean) * (double)inv * (double)s.p[i];
                double add = bias ? (double)b.p[i] : 0;
                assert_true(fabs((double)y.p[i] - scaled - add) <= 5 * CK_EPS * (fabs(scaled) + fabs(add)) + 1e-37);
            }
            tn_row_normalize_f32(t, x.p, mean, inv, s.p, bias, x.p, (size_t)n);
            assert_memory_equal(x.p, y.p, (size_t)n * 4);
            ck_free(&x);
            ck_free(&s);
            ck_free(&b);
            ck_free(&y);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums), cmocka_unit_test(largest),
                                       cmocka_unit_test(exponentials), cmocka_unit_test(normalize)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
