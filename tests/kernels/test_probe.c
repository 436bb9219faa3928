/* The probes of the machine: their arithmetic is real, and so are the rates. */
#include "kernels/check.h"

#include "kernels/kernels_internal.h"
#include "kernels/probe.h"

static void the_chain_is_computed(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        float sink = NAN;
        /* s <- 0.999 s + 0.001 tends to 1 in each of the twelve chains. */
        int64_t flops = tn_probe_flops(t, 20000, &sink);
        assert_true(flops % 20000 == 0 && flops > 0);
        assert_true(fabsf(sink - 12.0f) < 1e-3f);
    }
}

static void every_float_is_read(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        const tn_kernels *k = tn_kernels_get(t);
        ck_buf x = ck_alloc(4 * 64, 4);
        for (size_t i = 0; i < x.n; i++) x.p[i] = (float)i; /* sums of integers are exact */
        float sink = NAN;
        k->probe_read_f32(x.p, (int64_t)x.n, &sink);
        assert_true(sink == 255.0f * 128.0f);
        ck_free(&x);
    }
}

static void rates(void **state) {
    (void)state;
    double flops = tn_probe_gflops(ck_top(), 1), bytes = tn_probe_gbytes(ck_top(), 1);
    assert_true(isfinite(flops) && flops > 0);
    assert_true(isfinite(bytes) && bytes > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chain_is_computed),
        cmocka_unit_test(every_float_is_read),
        cmocka_unit_test(rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
