/* bfloat16 in portable C; see template/bf16vec.h. */
#ifndef TN_KERNELS_BF16VEC_SCALAR_H
#define TN_KERNELS_BF16VEC_SCALAR_H

#include "kernels/scalar/vec_scalar.h"
#include "kernels/template/bf16vec.h"

#define BF16_NAME(name) name##_scalar
#define BF16_TILE_M     2

typedef struct hw {
    vf even, odd;
} hw;
typedef struct hx {
    vf even, odd;
} hx;

TN_INLINE hw hw_load(const uint16_t *p) {
    float even[VEC_W], odd[VEC_W];
    for (int i = 0; i < VEC_W; i++) {
        even[i] = tn_bf16_to_f32(p[2 * i]);
        odd[i] = tn_bf16_to_f32(p[2 * i + 1]);
    }
    return (hw){vf_load(even), vf_load(odd)};
}
TN_INLINE hx hx_set(const uint16_t *p) { return (hx){vf_set(tn_bf16_to_f32(p[0])), vf_set(tn_bf16_to_f32(p[1]))}; }
TN_INLINE vf bf16_dot(vf acc, hx x, hw w) { return vf_fma(x.even, w.even, vf_fma(x.odd, w.odd, acc)); }

TN_INLINE vf vh_load(const uint16_t *p) {
    float t[VEC_W];
    for (int i = 0; i < VEC_W; i++) t[i] = tn_bf16_to_f32(p[i]);
    return vf_load(t);
}
TN_INLINE void vh_store(uint16_t *p, vf v) {
    float t[VEC_W];
    vf_store(t, v);
    for (int i = 0; i < VEC_W; i++) p[i] = tn_f32_to_bf16(t[i]);
}
TN_INLINE void vh_store_2(uint16_t *p, vf a, vf b) {
    vh_store(p, a);
    vh_store(p + VEC_W, b);
}
TN_INLINE void vh_interleave(uint16_t *p, const vf v[4], int block) {
    uint16_t t[4][VEC_W];
    for (int k = 0; k < block; k++) vh_store(t[k], v[k]);
    for (int i = 0; i < VEC_W; i++)
        for (int k = 0; k < block; k++) p[i * block + k] = t[k][i];
}
TN_INLINE vf vh_reciprocal(vf x) { return vf_div(vf_set(1.0f), x); }
TN_INLINE vf vh_bound(vf z) { return vf_min(vf_set(128.5f), vf_max(vf_set(-125.0f), z)); }
TN_INLINE vf vh_floor(vf z) {
    vf n = vf_round(vh_bound(z));
    return vf_sub(n, vf_sel(vf_lt(vh_bound(z), n), vf_set(1.0f), vf_zero()));
}
TN_INLINE vf vh_fraction(vf z) { return vf_sub(vh_bound(z), vh_floor(z)); }
TN_INLINE vf vh_scale(vf p, vf z) { return vf_scale(p, vh_floor(z)); }

#endif
