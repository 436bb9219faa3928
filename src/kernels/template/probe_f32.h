/* Multiply-adds in registers, and reads. Enough independent chains to hide the latency of either. */
#include "kernels/probe.h"

#define PROBE_CHAINS 12

int64_t VEC_NAME(tn_probe_fma_f32)(int64_t rounds, float *sink) {
    vf s[PROBE_CHAINS], a = vf_set(0.999f), b = vf_set(1e-3f);
    for (int i = 0; i < PROBE_CHAINS; i++) s[i] = vf_set((float)i);
    for (int64_t n = 0; n < rounds; n++) {
        TN_UNROLL
        for (int i = 0; i < PROBE_CHAINS; i++) s[i] = vf_fma(s[i], a, b);
    }
    for (int i = 1; i < PROBE_CHAINS; i++) s[0] = vf_add(s[0], s[i]);
    vf_store_n(sink, s[0], 1);
    return rounds * PROBE_CHAINS * VEC_W * 2;
}

/* Adds up n floats, n a multiple of 4 * VEC_W. */
void VEC_NAME(tn_probe_read_f32)(const float *x, int64_t n, float *sink) {
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    float lanes[VEC_W];
    for (int64_t i = 0; i < n; i += 4 * VEC_W) {
        TN_UNROLL
        for (int k = 0; k < 4; k++) s[k] = vf_add(s[k], vf_load(x + i + k * VEC_W));
    }
    vf_store(lanes, vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3])));
    *sink = 0;
    for (int i = 0; i < VEC_W; i++) *sink += lanes[i];
}
