/* Softmax of attention, key after key, for a vector of queries: see attention.h. */
#include <float.h>
#include <math.h>

#include "kernels/attention.h"
#include "kernels/template/exp_f32.h"

/* Chains of sums and maxima, so that they overlap. */
#define CHAINS 4

/* s: (keys, VEC_W) scores, which become exp(s - top) with `top` the largest score so far. *sum, of exponentials below
 * the old top, continues; correct[i] is what the old ones are to be multiplied with. While there is nothing but -inf,
 * sum stays 0. */
void VEC_NAME(tn_attention_softmax_f32)(float *s, int64_t keys, float *top, float *sum, float *correct) {
    vf old = vf_load(top), best[CHAINS], total[CHAINS];
    int64_t k = 0, whole = keys - keys % CHAINS;
    TN_UNROLL
    for (int c = 0; c < CHAINS; c++) {
        best[c] = old;
        total[c] = vf_zero();
    }
    for (; k < whole; k += CHAINS) {
        TN_UNROLL
        for (int c = 0; c < CHAINS; c++) best[c] = vf_max(vf_load(s + (k + c) * VEC_W), best[c]);
    }
    for (; k < keys; k++) best[0] = vf_max(vf_load(s + k * VEC_W), best[0]);
    vf high = vf_max(vf_max(best[0], best[1]), vf_max(best[2], best[3]));
    vf_store(top, high);
    vf base = vf_sel(vf_lt(high, vf_set(-FLT_MAX)), vf_zero(), high);
    vf was = vexp(vf_sub(old, base));
    for (k = 0; k < whole; k += CHAINS) {
        TN_UNROLL
        for (int c = 0; c < CHAINS; c++) {
            vf e = vexp(vf_sub(vf_load(s + (k + c) * VEC_W), base));
            vf_store(s + (k + c) * VEC_W, e);
            total[c] = vf_add(total[c], e);
        }
    }
    for (; k < keys; k++) {
        vf e = vexp(vf_sub(vf_load(s + k * VEC_W), base));
        vf_store(s + k * VEC_W, e);
        total[0] = vf_add(total[0], e);
    }
    vf all = vf_add(vf_add(total[0], total[1]), vf_add(total[2], total[3]));
    vf_store(sum, vf_fma(vf_load(sum), was, all));
    vf_store(correct, was);
}

/* s: (keys, VEC_W) times one factor for each lane. */
void VEC_NAME(tn_attention_scale_f32)(float *s, int64_t keys, const float *factor) {
    vf f = vf_load(factor);
    for (int64_t k = 0; k < keys; k++) vf_store(s + k * VEC_W, vf_mul(vf_load(s + k * VEC_W), f));
}

void VEC_NAME(tn_attention_mask_f32)(const float *bias, float *s, size_t n) {
    size_t i = 0;
    vf lowest = vf_set(-FLT_MAX);
    for (; i + VEC_W <= n; i += VEC_W) {
        vf b = vf_load(bias + i);
        vf_store(s + i, vf_sel(vf_lt(b, lowest), b, vf_add(vf_load(s + i), b)));
    }
    if (i == n) return;
    int64_t rest = (int64_t)(n - i);
    vf b = vf_load_n(bias + i, rest);
    vf_store_n(s + i, vf_sel(vf_lt(b, lowest), b, vf_add(vf_load_n(s + i, rest), b)), rest);
}
