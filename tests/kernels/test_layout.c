/* Plain to blocked and back: every element in its place, zeros past the last channel. */
#include "kernels/check.h"

#include "kernels/conv.h"
#include "kernels/layout.h"

static void both_ways(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        for (int round = 0; round < 60; round++) {
            int block = ck_int(0, 1) ? 8 : 16, n = ck_int(1, 3), c = ck_int(1, 40), threads = ck_int(1, 3);
            int hw = round % 10 == 0 ? ck_int(2000, 2100) : ck_int(1, 70);
            size_t stored = (size_t)(n * tn_round_up(c, block) * hw), count = (size_t)(n * c * hw);
            ck_buf x = ck_random(count, 4), y = ck_alloc(stored, 64), z = ck_alloc(count, 4);
            float *want = malloc(stored * 4);
            ck_to_blocked(x.p, want, n, c, hw, block);
            tn_layout_block_f32(t, x.p, y.p, n, c, hw, block, threads);
            assert_memory_equal(y.p, want, stored * 4);
            tn_layout_unblock_f32(t, y.p, z.p, n, c, hw, block, threads);
            assert_memory_equal(z.p, x.p, count * 4);
            free(want);
            ck_free(&x);
            ck_free(&y);
            ck_free(&z);
        }
    }
}

/* Lanes picked from several blocks; the last source wins, and lanes that none has are zero. */
static void channels(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        int block = tn_conv_block(t);
        for (int round = 0; round < 60; round++) {
            int count = ck_int(0, 12), hw = ck_int(1, 40);
            tn_channel_source sources[12];
            ck_buf x[12], y = ck_alloc((size_t)(hw * block), 64);
            for (int k = 0; k < count; k++) {
                x[k] = ck_random((size_t)(hw * block), 64);
                sources[k].x = x[k].p;
                for (int i = 0; i < 16; i++) sources[k].lane[i] = ck_int(0, 2) ? ck_int(0, block - 1) : -1;
            }
            tn_layout_channels_f32(t, sources, count, y.p, hw);
            for (int p = 0; p < hw; p++) {
                for (int i = 0; i < block; i++) {
                    float want = 0;
                    for (int k = 0; k < count; k++)
                        if (sources[k].lane[i] >= 0) want = x[k].p[p * block + sources[k].lane[i]];
                    assert_true(ck_same(y.p[p * block + i], want));
                }
            }
            for (int k = 0; k < count; k++) ck_free(&x[k]);
            ck_free(&y);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_ways), cmocka_unit_test(channels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
