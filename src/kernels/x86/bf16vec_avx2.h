/* bfloat16 by AVX2; see template/bf16vec.h. */
#ifndef TN_KERNELS_BF16VEC_AVX2_H
#define TN_KERNELS_BF16VEC_AVX2_H

#include "kernels/template/bf16vec.h"
#include "kernels/x86/vec_avx2.h"

#define BF16_NAME(name) name##_avx2
#define BF16_TILE_M     4

typedef struct hw {
    vf even, odd;
} hw;
typedef hw hx;

TN_INLINE hw hw_split(__m256i v) {
    return (hw){_mm256_castsi256_ps(_mm256_slli_epi32(v, 16)),
                _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000u)))};
}
TN_INLINE hw hw_load(const uint16_t *p) { return hw_split(_mm256_loadu_si256((const __m256i *)p)); }
TN_INLINE hx hx_set(const uint16_t *p) {
    int32_t two;
    memcpy(&two, p, sizeof two);
    return hw_split(_mm256_set1_epi32(two));
}
TN_INLINE vf bf16_dot(vf acc, hx x, hw w) { return vf_fma(x.even, w.even, vf_fma(x.odd, w.odd, acc)); }

TN_INLINE vf vh_load(const uint16_t *p) {
    __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}
TN_INLINE void vh_store(uint16_t *p, vf v) {
    __m256i u = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    _mm_storeu_si128((__m128i *)p, packed);
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
TN_INLINE vf vh_fraction(vf z) { return vf_sub(vh_bound(z), _mm256_floor_ps(vh_bound(z))); }
TN_INLINE vf vh_scale(vf p, vf z) { return vf_scale(p, _mm256_floor_ps(vh_bound(z))); }

#endif
