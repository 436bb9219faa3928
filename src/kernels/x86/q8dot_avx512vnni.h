/* Dot products of bytes by AVX512-VNNI; see template/q8vec.h. */
#ifndef TN_KERNELS_Q8DOT_AVX512VNNI_H
#define TN_KERNELS_Q8DOT_AVX512VNNI_H

#include "kernels/x86/q8vec_avx512.h"

#define Q8_NAME(name) name##_avx512vnni
#define Q8_TILE_M     14
#define Q8_TILE_NB    2
#define Q8_WORDS      0
#define Q8_SHIFTS
#define QW_BYTES 64

typedef __m512i qx;
typedef __m512i qw;

TN_INLINE qx qx_set(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
}
TN_INLINE qx qx_pixels(const uint8_t *p, int64_t step) {
    __m512i v;
    if (step == 16) {
        v = _mm512_loadu_si512(p);
    } else {
        v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + step)), 1);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 2 * step)), 2);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 3 * step)), 3);
    }
    /* (pixel, quad of channels) to (quad, pixel), then bytes within each. */
    const __m512i quads = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(quads, v), bytes);
}
TN_INLINE qw qw_load(const void *p) { return _mm512_loadu_si512(p); }
TN_INLINE qw qw_shl(qw w, int bits) { return _mm512_sll_epi32(w, _mm_cvtsi32_si128(bits)); }
TN_INLINE qw qw_shr(qw w, int bits) { return _mm512_srl_epi32(w, _mm_cvtsi32_si128(bits)); }
TN_INLINE qw qw_set(const int8_t four[4]) { return qx_set((const uint8_t *)four); }
/* In place by assembly for GCC: version 12 moves sums between registers and memory around the intrinsic. */
TN_INLINE vi q8_dot(vi acc, qx x, qw w) {
#if defined(__clang__)
    return _mm512_dpbusd_epi32(acc, x, w);
#else
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
#endif
}

#endif
