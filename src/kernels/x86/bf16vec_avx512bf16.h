/* bfloat16 by AVX512-BF16; see template/bf16vec.h. */
#ifndef TN_KERNELS_BF16VEC_AVX512BF16_H
#define TN_KERNELS_BF16VEC_AVX512BF16_H

#include "kernels/template/bf16vec.h"
#include "kernels/x86/vec_avx512.h"

#define BF16_NAME(name) name##_avx512bf16
#define BF16_TILE_M     14

typedef __m512i hw;
typedef __m512i hx;

TN_INLINE hw hw_load(const uint16_t *p) { return _mm512_loadu_si512(p); }
TN_INLINE hx hx_set(const uint16_t *p) {
    int32_t two;
    memcpy(&two, p, sizeof two);
    return _mm512_set1_epi32(two);
}
/* In place by assembly for GCC: version 12 moves sums between registers and memory around the intrinsic. */
TN_INLINE vf bf16_dot(vf acc, hx x, hw w) {
#if defined(__clang__)
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w);
#else
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
#endif
}

TN_INLINE vf vh_load(const uint16_t *p) {
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}
TN_INLINE void vh_store(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v)); }
TN_INLINE void vh_store_2(uint16_t *p, vf a, vf b) { _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(b, a)); }
TN_INLINE vf vh_reciprocal(vf x) { return _mm512_rcp14_ps(x); }
TN_INLINE vf vh_fraction(vf z) { return _mm512_reduce_ps(z, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
TN_INLINE vf vh_scale(vf p, vf z) { return _mm512_scalef_ps(p, z); }

#endif
