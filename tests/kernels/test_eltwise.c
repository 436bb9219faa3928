/* Elementwise arithmetic: exactly the IEEE results, NaN rules of MIN and MAX, steps, tails, in place. */
#include "kernels/check.h"

#include <float.h>

#include "kernels/conv.h"
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
    case TN_BIN_POW:
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
        for (int op = 0; op < TN_BIN_POW; op++) {
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

/* Special cases exactly as libm's, everything else within 1 ULP of the exact value. */
static void check_pow(float x, float y, float got) {
    double want = pow((double)x, (double)y), ulps = fabs((double)got - want) / ck_ulp(want);
    bool special = isnan(want) || isinf(want) || want == 0 || fabs(want) > (double)FLT_MAX || isinf(got);
    if (special ? ck_same(got, (float)want) : ulps <= 1) return;
    fail_msg("pow(%a, %a) = %a, not %a (%g ULP)", (double)x, (double)y, (double)got, want, ulps);
}

static float pow_operand(int kind) {
    static const float special[] = {0.0f,  -0.0f, INFINITY, -INFINITY, NAN,     1e-45f,      -1e-45f, 1,
                                    -1,    2,     3,        0.5f,      FLT_MAX, 0x1.8p+23f,  -3,      FLT_MIN,
                                    -2.5f, 1.5f,  0.6f,     2097153,   4194305, 0x1.fffp+23f};
    union {
        uint32_t u;
        float f;
    } bits = {(uint32_t)ck_rand()};
    switch (kind) {
    case 0:
        return special[ck_int(0, (int)(sizeof special / sizeof *special) - 1)];
    case 1:
        return isnan(bits.f) ? NAN : bits.f; /* never a signalling one */
    case 2:
        return ck_float(-4, 4);
    case 3:
        return (float)ck_int(-20, 20);
    default:
        return ck_float(0.5f, 2);
    }
}

static void powers(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int round = 0; round < 6000; round++) {
            int n = ck_int(1, 70), as = round % 3 != 0, bs = round % 3 != 1, kind = ck_int(0, 4);
            ck_buf a = ck_alloc(as ? (size_t)n : 1, 4), b = ck_alloc(bs ? (size_t)n : 1, 4), y = ck_alloc((size_t)n, 4);
            for (size_t i = 0; i < a.n; i++) a.p[i] = pow_operand(kind);
            /* kind 4: powers between 2^-150 and 2^130, where the error of the logarithm counts most */
            for (size_t i = 0; i < b.n; i++)
                b.p[i] = kind == 4 ? ck_float(-150, 130) / log2f(a.p[as ? i : 0]) : pow_operand(ck_int(0, 3));
            tn_bin_f32(t, TN_BIN_POW, a.p, as, b.p, bs, y.p, (size_t)n);
            for (int i = 0; i < n; i++) check_pow(a.p[i * as], b.p[i * bs], y.p[i]);
            if (as) tn_bin_f32(t, TN_BIN_POW, a.p, as, b.p, bs, a.p, (size_t)n);
            for (int i = 0; as && i < n; i++) assert_true(ck_same(y.p[i], a.p[i]));
            ck_free(&a);
            ck_free(&b);
            ck_free(&y);
        }
    }
}

/* One factor and one summand for each lane; one rounding, or two without fused multiply-add. */
static void scale_shift(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        int width = tn_conv_block(t);
        for (int n = 0; n <= 70; n++) {
            ck_buf s = ck_random((size_t)width, 4), b = ck_random((size_t)width, 4);
            ck_buf x = ck_alloc((size_t)n, 4), y = ck_alloc((size_t)n, 4);
            float lo = n % 3 ? -INFINITY : -1, hi = n % 2 ? INFINITY : 1.5f;
            for (int i = 0; i < n; i++) x.p[i] = pick();
            tn_scale_shift_f32(t, s.p, b.p, lo, hi, x.p, y.p, (size_t)n);
            for (int i = 0; i < n; i++) {
                double scaled = (double)x.p[i] * (double)s.p[i % width], exact = scaled + (double)b.p[i % width];
                double want = exact > hi ? hi : exact < lo ? lo : exact;
                if (isnan(exact) || isinf(exact))
                    assert_true(ck_same(y.p[i], (float)want));
                else
                    assert_true(fabs((double)y.p[i] - want) <= CK_EPS * (fabs(scaled) + fabs(exact)) + 1e-45);
            }
            tn_scale_shift_f32(t, s.p, b.p, lo, hi, x.p, x.p, (size_t)n);
            for (int i = 0; i < n; i++) assert_true(ck_same(y.p[i], x.p[i]));
            ck_free(&s);
            ck_free(&b);
            ck_free(&x);
            ck_free(&y);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_ops), cmocka_unit_test(powers),
                                       cmocka_unit_test(scale_shift)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
