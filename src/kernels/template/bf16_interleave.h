/* Pixels of one to four channels, rounded to bfloat16, from planes of float32. */
#include "kernels/template/bf16vec.h"

/* How far planes are fetched ahead, in floats: pictures come from memory. */
#define INTERLEAVE_AHEAD 512

/* Channel k of pixel i is x[k * plane + i]; y: n pixels of `block` elements (at most 4), those past `channels` zero. */
void BF16_NAME(tn_bf16_interleave)(const float *x, int64_t plane, int channels, int64_t n, int block, uint16_t *y) {
    vf v[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t i = 0;
    for (; i + VEC_W <= n; i += VEC_W, y += VEC_W * block) {
        for (int k = 0; k < channels; k++) {
            __builtin_prefetch(x + k * plane + i + INTERLEAVE_AHEAD);
            v[k] = vf_load(x + k * plane + i);
        }
        vh_interleave(y, v, block);
    }
    if (i == n) return;
    uint16_t last[4 * VEC_W];
    for (int k = 0; k < channels; k++) v[k] = vf_load_n(x + k * plane + i, n - i);
    vh_interleave(last, v, block);
    memcpy(y, last, (size_t)((n - i) * block) * sizeof *y);
}
