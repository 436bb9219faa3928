/* Pooling in blocked layout: maximum exact, average within (taps + 1) roundings of the mean magnitude. */
#include "kernels/check.h"

#include "kernels/pool.h"
#include "kernels/ref/ref.h"

static tn_pool2d random_pool(void) {
    tn_pool2d p = {.n = ck_int(1, 2), .c = ck_int(1, 35), .average = ck_int(0, 1), .count_pad = ck_int(0, 1)};
    p.kh = ck_int(1, 5), p.kw = ck_int(1, 5), p.sh = ck_int(1, 3), p.sw = ck_int(1, 3);
    p.dh = ck_int(1, 2), p.dw = ck_int(1, 2);
    p.pad_top = ck_int(0, p.kh - 1), p.pad_left = ck_int(0, p.kw - 1);
    p.pad_bottom = ck_int(0, p.kh - 1), p.pad_right = ck_int(0, p.kw - 1);
    int eh = (p.kh - 1) * p.dh + 1, ew = (p.kw - 1) * p.dw + 1;
    p.ih = ck_int(eh, eh + 9), p.iw = ck_int(ew, ew + 20);
    /* Rounded up at times: the last window may hang over the padding (ceil_mode), but begins inside. */
    int64_t rh = p.ih + p.pad_top + p.pad_bottom - eh, rw = p.iw + p.pad_left + p.pad_right - ew;
    bool up = ck_int(0, 1);
    p.oh = (up ? tn_ceil_div(rh, p.sh) : rh / p.sh) + 1;
    p.ow = (up ? tn_ceil_div(rw, p.sw) : rw / p.sw) + 1;
    if ((p.oh - 1) * p.sh >= p.ih + p.pad_top) p.oh--;
    if ((p.ow - 1) * p.sw >= p.iw + p.pad_left) p.ow--;
    return p;
}

enum { PLAIN, WITH_NAN, WITH_MORE }; /* what is not finite among the inputs */

static void check_pool(tern_cpu_tier t, const tn_pool2d *p, int block, int odd) {
    int64_t ihw = p->ih * p->iw, ohw = p->oh * p->ow, cb = tn_ceil_div(p->c, block);
    size_t nx = (size_t)(p->n * p->c * ihw), ny = (size_t)(p->n * p->c * ohw);
    float *plain = malloc(nx * 4);
    double *ref = malloc(ny * sizeof(double));
    ck_fill(plain, nx, -1, 1);
    if (odd != PLAIN) plain[ck_rand() % nx] = NAN;
    for (size_t i = 0; odd == WITH_MORE && i < nx; i += 1 + ck_rand() % 40)
        plain[i] = ck_int(0, 1) ? -NAN : ck_int(0, 1) ? INFINITY : -INFINITY;
    ck_buf x = ck_alloc((size_t)(p->n * cb * ihw * block), 64), y = ck_alloc((size_t)(p->n * cb * ohw * block), 64);
    ck_to_blocked(plain, x.p, p->n, p->c, ihw, block);
    tn_ref_pool2d(p, plain, ref);
    tn_pool2d_f32(t, p, x.p, y.p, block, ck_int(1, 3));
    double tol = p->average ? (double)(p->kh * p->kw + 1) * CK_EPS : 0; /* |x| <= 1 */
    for (int64_t i = 0; i < p->n * p->c; i++) {
        for (int64_t j = 0; j < ohw; j++) {
            double want = ref[i * ohw + j], got = (double)y.p[ck_at(i / p->c, i % p->c, j, p->c, ohw, block)];
            if (isnan(want))
                assert_true(isnan(got));
            else if (!(got == want || fabs(got - want) <= tol))
                fail_msg("tier %d: %.9g instead of %.9g", t, got, want);
        }
    }
    ck_lanes_zero(y.p, p->n, p->c, ohw, block);
    free(plain);
    free(ref);
    ck_free(&x);
    ck_free(&y);
}

static void windows(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int round = 0; round < 150; round++) {
            tn_pool2d p = random_pool();
            check_pool(t, &p, t == TERN_CPU_AVX512 && round % 4 ? 16 : 8, round % 5 == 0);
        }
    }
}

/* Three columns at strides 1 and 2: maxima by columns, unless something is not finite. */
static void three_columns(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int round = 0; round < 120; round++) {
            tn_pool2d p = {.n = 1, .c = ck_int(1, 35), .kh = ck_int(1, 4), .kw = 3, .sh = ck_int(1, 2), .dw = 1};
            p.sw = ck_int(1, 2), p.dh = ck_int(1, 2);
            p.pad_top = ck_int(0, p.kh - 1), p.pad_bottom = ck_int(0, p.kh - 1);
            p.pad_left = ck_int(0, 2), p.pad_right = ck_int(0, 2);
            int eh = (p.kh - 1) * p.dh + 1;
            p.ih = ck_int(eh, eh + 9), p.iw = ck_int(3, 30);
            p.oh = (p.ih + p.pad_top + p.pad_bottom - eh) / p.sh + 1;
            p.ow = (p.iw + p.pad_left + p.pad_right - 3) / p.sw + 1;
            check_pool(t, &p, t == TERN_CPU_AVX512 && round % 4 ? 16 : 8, round % 3);
        }
    }
}

static void mean(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int round = 0; round < 60; round++) {
            int block = t == TERN_CPU_AVX512 ? 16 : 8, n = ck_int(1, 3), c = ck_int(1, 40), hw = ck_int(1, 60);
            int64_t cb = tn_ceil_div(c, block);
            float *plain = malloc((size_t)(n * c * hw) * 4);
            ck_fill(plain, (size_t)(n * c * hw), -1, 1);
            ck_buf x = ck_alloc((size_t)(n * cb * hw * block), 64), y = ck_alloc((size_t)(n * cb * block), 64);
            ck_to_blocked(plain, x.p, n, c, hw, block);
            tn_pool_global_avg_f32(t, x.p, y.p, n, c, hw, block, ck_int(1, 3));
            for (int i = 0; i < n * c; i++) {
                double s = 0;
                for (int j = 0; j < hw; j++) s += (double)plain[i * hw + j];
                double got = (double)y.p[ck_at(i / c, i % c, 0, c, 1, block)];
                assert_true(fabs(got - s / hw) <= (hw + 1) * CK_EPS);
            }
            ck_lanes_zero(y.p, n, c, 1, block);
            free(plain);
            ck_free(&x);
            ck_free(&y);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows), cmocka_unit_test(three_columns),
                                       cmocka_unit_test(mean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
