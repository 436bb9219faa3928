/* Elementwise arithmetic: exactly the IEEE results, NaN rules of MIN and MAX, steps, tails, in place. */
#include "kernels/check.h"

#include "kernels/eltwise.h"

static float one(tn_bin_kind op, float a, float b) {
    switch (op) {
    case TN_BIN_ADD:
        return a + b;
    case TN_BIN_SUB:
        return a - b;
    case TN_BIN_MUL:
        return a * b;
    case TN_BIN_DIV:
        return a / b;
    case TN_BIN_MIN:
        return isnan(a) ? a : isnan(b) ? b : a < b ? a : b;
    case TN_BIN_MAX:
        return isnan(a) ? a : isnan(b) ? b : a > b ? a : b;
    case TN_BIN_COUNT:
        break;
    }
    return NAN;
}

static float pick(void) {
    static const float special[] = {0.0f, INFINITY, -INFINITY, NAN, 1e-45f, 3e38f};
    return ck_int(0, 7) ? ck_float(-4, 4) : special[ck_int(0, 5)];
}

static void all_ops(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int op = 0; op < TN_BIN_COUNT; op++) {
            for (int n = 0; n <= 70; n++) {
                int as = ck_int(0, 1), bs = ck_int(0, 1);
                ck_buf a = ck_alloc(as ? (size_t)n : 1, 4), b = ck_alloc(bs ? (size_t)n : 1, 4),
                       y = ck_alloc((size_t)n, 4);
                for (size_t i = 0; i < a.n; i++) a.p[i] = pick();
                for (size_t i = 0; i < b.n; i++) b.p[i] = pick();
                tn_bin_f32(t, op, a.p, as, b.p, bs, y.p, (size_t)n);
                for (int i = 0; i < n; i++) assert_true(ck_same(y.p[i], one(op, a.p[i * as], b.p[i * bs])));
                if (as) { /* in place */
                    tn_bin_f32(t, op, a.p, as, b.p, bs, a.p, (size_t)n);
                    for (int i = 0; i < n; i++) assert_true(ck_same(y.p[i], a.p[i]));
                }
                ck_free(&a);
                ck_free(&b);
                ck_free(&y);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_ops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
