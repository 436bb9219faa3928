/* Activations against double precision: error in ULP over all magnitudes, special values, tails. */
#include "kernels/check.h"

#include "kernels/act.h"
#include "kernels/ref/ref.h"

/* Bounds of docs/numerics.md: |y - ref| <= ulps * ulp(ref) + x_ulps * ulp(x) (the second where the formula cancels).
 * SiLU and Mish multiply x by a factor that may be subnormal: one ULP of that more. SiLU is zero below SILU_END. */
typedef struct bound {
    tn_act act;
    double ulps, x_ulps;
    float lo, hi;  /* sampled densely */
    double u_ulps; /* SiLU: ULP of the result for each unit of |alpha x|, besides */
} bound;

#define SILU_END (-88.7)

static const bound bounds[] = {
    {{TN_ACT_NONE, 0, 0}, 0, 0, -10, 10, 0},
    {{TN_ACT_RELU, 0, 0}, 0, 0, -10, 10, 0},
    {{TN_ACT_CLIP, 0, 6}, 0, 0, -10, 10, 0},
    {{TN_ACT_CLIP, -1.5f, 0.25f}, 0, 0, -10, 10, 0},
    {{TN_ACT_LEAKY, 0.01f, 0}, 0.5, 0, -10, 10, 0},
    {{TN_ACT_SIGMOID, 0, 0}, 4, 0, -104, 30, 0},
    {{TN_ACT_SILU, 1, 0}, 5, 0, -104, 30, 0.05},
    {{TN_ACT_SILU, 1, 0}, 5, 0, -8, 8, 0.05},
    {{TN_ACT_SILU, 1.702f, 0}, 5, 0, -60, 30, 1.05}, /* alpha * x is rounded */
    {{TN_ACT_HARDSIGMOID, 0.2f, 0.5f}, 1, 0.5, -10, 10, 0},
    {{TN_ACT_HARDSWISH, 0, 0}, 2, 1, -10, 10, 0},
    {{TN_ACT_TANH, 0, 0}, 4, 0, -12, 12, 0},
    {{TN_ACT_GELU, 0, 0}, 2, 1, -8, 8, 0},
    {{TN_ACT_GELU_TANH, 0, 0}, 2, 2, -8, 8, 0},
    {{TN_ACT_MISH, 0, 0}, 6, 0, -80, 30, 0},
    {{TN_ACT_ELU, 1, 0}, 3, 0, -40, 10, 0},
    {{TN_ACT_ELU, 0.5f, 0}, 3, 0, -40, 10, 0},
    {{TN_ACT_SOFTPLUS, 0, 0}, 4, 0, -104, 40, 0},
    {{TN_ACT_EXP, 0, 0}, 2, 0, -110, 90, 0},
    {{TN_ACT_ERF, 0, 0}, 3, 0, -5, 5, 0},
    {{TN_ACT_LOG, 0, 0}, 2, 0, 0, 2, 0}, /* around 1, where the result is small */
    {{TN_ACT_LOG, 0, 0}, 2, 0, 0, 1000, 0},
    {{TN_ACT_SQRT, 0, 0}, 0.5, 0, 0, 1000, 0},
    {{TN_ACT_FLOOR, 0, 0}, 0, 0, -10, 10, 0},
    {{TN_ACT_CEIL, 0, 0}, 0, 0, -10, 10, 0},
    {{TN_ACT_ROUND, 0, 0}, 0, 0, -10, 10, 0},
    {{TN_ACT_SIN, 0, 0}, 3, 0, -10, 10, 0},
    {{TN_ACT_SIN, 0, 0}, 3, 0, -13000, 13000, 0},
    {{TN_ACT_COS, 0, 0}, 3, 0, -10, 10, 0},
    {{TN_ACT_COS, 0, 0}, 3, 0, -13000, 13000, 0},
    {{TN_ACT_TAN, 0, 0}, 4, 0, -10, 10, 0},
    {{TN_ACT_TAN, 0, 0}, 4, 0, -13000, 13000, 0},
    {{TN_ACT_ASIN, 0, 0}, 3, 0, -1.01f, 1.01f, 0},
    {{TN_ACT_ACOS, 0, 0}, 2, 0, -1.01f, 1.01f, 0},
    {{TN_ACT_ATAN, 0, 0}, 3, 0, -10, 10, 0},
};

static double worst_of(tern_cpu_tier tier, const bound *b, const float *x, float *y, size_t n, float *where) {
    double worst = 0;
    tn_act_f32(tier, &b->act, x, y, n);
    for (size_t i = 0; i < n; i++) {
        double ref = tn_ref_act(&b->act, (double)x[i]), err;
        if (isnan(ref)) {
            assert_true(isnan(y[i]));
            continue;
        }
        if (fabs(ref) > 3.4028235677973366e38 || isinf(y[i])) { /* rounds to infinity; within the bound of the border */
            err = isinf(y[i]) && fabs(ref) > 3.40282e38 && (y[i] > 0) == (ref > 0) ? 0 : INFINITY;
        } else {
            bool product = b->act.kind == TN_ACT_SILU || b->act.kind == TN_ACT_MISH;
            double tiny = product ? fabs((double)x[i]) * ck_ulp(0) : 0, u = fabs((double)b->act.alpha * (double)x[i]);
            if (b->act.kind == TN_ACT_SILU && b->act.alpha * x[i] < SILU_END) tiny += 3e-37;
            err = fabs((double)y[i] - ref) / ((b->ulps + (b->u_ulps > 0 ? b->u_ulps * u : 0)) * ck_ulp(ref) +
                                              b->x_ulps * ck_ulp((double)x[i]) + tiny);
            if ((double)y[i] == ref) err = 0;
        }
        if (err > worst) {
            worst = err;
            *where = x[i];
        }
    }
    return worst;
}

static void within_bounds(void **state) {
    (void)state;
    size_t n = 40001;
    float *x = malloc(n * 4), *y = malloc(n * 4);
    for (size_t k = 0; k < TN_COUNT(bounds); k++) {
        const bound *b = &bounds[k];
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            float where = 0;
            for (size_t i = 0; i < n; i++) x[i] = b->lo + (b->hi - b->lo) * (float)i / (float)(n - 1);
            double worst = worst_of(t, b, x, y, n, &where);
            if (worst <= 1) {
                /* All magnitudes and signs, NaN and infinity among them. */
                for (size_t i = 0; i < n; i++) {
                    uint32_t bits = (uint32_t)ck_rand();
                    memcpy(&x[i], &bits, 4);
                }
                double w2 = worst_of(t, b, x, y, n, &where);
                worst = w2 > worst ? w2 : worst;
            }
            if (getenv("CK_VERBOSE")) printf("# kind %d tier %d: %.2f of the bound\n", b->act.kind, t, worst);
            if (!(worst <= 1))
                fail_msg("kind %d, tier %d: %.2f times the bound at x = %.9g", b->act.kind, t, worst, (double)where);
        }
    }
    free(x);
    free(y);
}

static void special_values(void **state) {
    (void)state;
    const float v[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f, 3.4e38f, -3.4e38f, 88.8f, -88.8f};
    float y[TN_COUNT(v)];
    for (size_t k = 0; k < TN_COUNT(bounds); k++) {
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            tn_act_f32(t, &bounds[k].act, v, y, TN_COUNT(v));
            for (size_t i = 0; i < TN_COUNT(v); i++) {
                double ref = tn_ref_act(&bounds[k].act, (double)v[i]);
                if (isnan(ref))
                    assert_true(isnan(y[i]));
                else if (isinf((float)ref))
                    assert_true(y[i] == (float)ref);
                else
                    assert_true(isfinite(y[i]));
            }
        }
    }
}

/* The bits do not depend on n, on the alignment, or on working in place; nothing outside is touched. */
static void tails(void **state) {
    (void)state;
    float x[80], full[80];
    ck_fill(x, 80, -5, 5);
    for (size_t k = 0; k < TN_COUNT(bounds); k++) {
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            tn_act_f32(t, &bounds[k].act, x, full, 80);
            for (size_t n = 0; n <= 40; n++) {
                size_t shift = n % 7;
                ck_buf in = ck_alloc(n, 4), out = ck_alloc(n, 4);
                memcpy(in.p, x + shift, n * 4);
                tn_act_f32(t, &bounds[k].act, in.p, out.p, n);
                for (size_t i = 0; i < n; i++) assert_true(ck_same(out.p[i], full[shift + i]));
                tn_act_f32(t, &bounds[k].act, in.p, in.p, n);
                for (size_t i = 0; i < n; i++) assert_true(ck_same(in.p[i], full[shift + i]));
                ck_free(&in);
                ck_free(&out);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(within_bounds), cmocka_unit_test(special_values),
                                       cmocka_unit_test(tails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
