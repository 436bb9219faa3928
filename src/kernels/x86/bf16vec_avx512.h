/* bfloat16 by AVX-512 without its dot products; see template/bf16vec.h. */
#ifndef TN_KERNELS_BF16VEC_AVX512_H
#define TN_KERNELS_BF16VEC_AVX512_H

#include "kernels/template/bf16vec.h"
#include "kernels/x86/vec_avx512.h"

#define BF16_NAME(name) name##_avx512
#define BF16_TILE_M     6

typedef struct hw {
    vf even, odd;
} hw;
typedef hw hx;

TN_INLINE hw hw_split(__m512i v) {
    return (hw){_mm512_castsi512_ps(_mm512_slli_epi32(v, 16)),
                _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000u)))};
}
TN_INLINE hw hw_load(const uint16_t *p) { return hw_split(_mm512_loadu_si512(p)); }
TN_INLINE hx hx_set(const uint16_t *p) {
    int32_t two;
    memcpy(&two, p, sizeof two);
    return hw_split(_mm512_set1_epi32(two));
}
TN_INLINE vf bf16_dot(vf acc, hx x, hw w) { return vf_fma(x.even, w.even, vf_fma(x.odd, w.odd, acc)); }

TN_INLINE vf vh_load(const uint16_t *p) {
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}
TN_INLINE void vh_store(uint16_t *p, vf v) {
    __m512i u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    r = _mm512_mask_mov_epi32(r, vf_isnan(v), quiet);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(r));
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
TN_INLINE vf vh_reciprocal(vf x) { return _mm512_rcp14_ps(x); }
TN_INLINE vf vh_fraction(vf z) { return _mm512_reduce_ps(z, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
TN_INLINE vf vh_scale(vf p, vf z) { return _mm512_scalef_ps(p, z); }

#endif
