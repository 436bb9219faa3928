/* bfloat16 by AVX512-BF16; see template/bf16vec.h. */
#ifndef TN_KERNELS_BF16VEC_AVX512BF16_H
#define TN_KERNELS_BF16VEC_AVX512BF16_H

#include "kernels/template/bf16vec.h"
#include "kernels/x86/vec_avx512.h"

#define BF16_NAME(name) name##_avx512bf16
#define BF16_TILE_M     14
#define BF16_NATIVE     1

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
TN_INLINE void vh_interleave(uint16_t *p, const vf v[4], int block) {
    /* Of each element of the result, the word of two vectors that hold 16 pixels of two channels each. */
    static const uint16_t from[4][64] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
         0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26,
         11, 27, 12, 28, 13, 29, 14, 30, 15, 31, 0, 0,  0, 0,  0, 0,  0, 0,  0, 0,  0,  0,
         0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, 0,  0, 0,  0, 0,  0, 0,  0, 0},
        {0,  16, 32, 1,  17, 33, 2,  18, 34, 3,  19, 35, 4,  20, 36, 5,  21, 37, 6,  22, 38, 7,
         23, 39, 8,  24, 40, 9,  25, 41, 10, 26, 42, 11, 27, 43, 12, 28, 44, 13, 29, 45, 14, 30,
         46, 15, 31, 47, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0},
        {0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51, 4,  20, 36, 52, 5,  21,
         37, 53, 6,  22, 38, 54, 7,  23, 39, 55, 8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58,
         11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63}};
    __m512i a = (__m512i)_mm512_cvtne2ps_pbh(v[1], v[0]), b = (__m512i)_mm512_cvtne2ps_pbh(v[3], v[2]);
    __m512i lo = _mm512_permutex2var_epi16(a, _mm512_loadu_si512(from[block - 1]), b);
    __m512i hi = _mm512_permutex2var_epi16(a, _mm512_loadu_si512(from[block - 1] + 32), b);
    if (block == 1) {
        _mm256_storeu_si256((__m256i *)p, _mm512_castsi512_si256(lo));
        return;
    }
    _mm512_storeu_si512(p, lo);
    if (block == 3) _mm256_storeu_si256((__m256i *)(p + 32), _mm512_castsi512_si256(hi));
    if (block == 4) _mm512_storeu_si512(p + 32, hi);
}
TN_INLINE vf vh_reciprocal(vf x) { return _mm512_rcp14_ps(x); }
TN_INLINE vf vh_fraction(vf z) { return _mm512_reduce_ps(z, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
TN_INLINE vf vh_scale(vf p, vf z) { return _mm512_scalef_ps(p, z); }

#endif
