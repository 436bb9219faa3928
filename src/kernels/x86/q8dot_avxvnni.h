/* Dot products of bytes by AVX-VNNI; see template/q8vec.h. */
#ifndef TN_KERNELS_Q8DOT_AVXVNNI_H
#define TN_KERNELS_Q8DOT_AVXVNNI_H

#include "kernels/x86/q8vec_avx2.h"

#define Q8_NAME(name) name##_avxvnni
#define Q8_TILE_M     6
#define Q8_TILE_NB    1
#define Q8_WORDS      0
#define Q8_SHIFTS
#define QW_BYTES 32

typedef __m256i qx;
typedef __m256i qw;

TN_INLINE qx qx_set(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}
TN_INLINE qx qx_pixels(const uint8_t *p, int64_t step) {
    __m128i p0 = _mm_loadl_epi64((const __m128i *)p), p1 = _mm_loadl_epi64((const __m128i *)(p + step));
    __m128i p2 = _mm_loadl_epi64((const __m128i *)(p + 2 * step)),
            p3 = _mm_loadl_epi64((const __m128i *)(p + 3 * step));
    __m128i a = _mm_unpacklo_epi8(p0, p1), b = _mm_unpacklo_epi8(p2, p3);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(a, b)), _mm_unpackhi_epi16(a, b), 1);
}
TN_INLINE qw qw_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
TN_INLINE qw qw_shl(qw w, int bits) { return _mm256_sll_epi32(w, _mm_cvtsi32_si128(bits)); }
TN_INLINE qw qw_shr(qw w, int bits) { return _mm256_srl_epi32(w, _mm_cvtsi32_si128(bits)); }
TN_INLINE qw qw_set(const int8_t four[4]) { return qx_set((const uint8_t *)four); }
TN_INLINE vi q8_dot(vi acc, qx x, qw w) {
#if defined(__clang__)
    return _mm256_dpbusd_avx_epi32(acc, x, w);
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w)); /* see q8dot_avx512vnni.h */
    return acc;
#endif
}

#endif
