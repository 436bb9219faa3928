/* Dot products of bytes as words, AVX-512 without VNNI; see template/q8vec.h. */
#ifndef TN_KERNELS_Q8DOT_AVX512_H
#define TN_KERNELS_Q8DOT_AVX512_H

#include "kernels/x86/q8vec_avx512.h"

#define Q8_NAME(name) name##_avx512
#define Q8_TILE_M     12
#define Q8_TILE_NB    2
#define Q8_WORDS      1
#define QW_BYTES      128

typedef struct qx {
    __m512i even, odd;
} qx;
typedef struct qw {
    __m512i even, odd;
} qw;

TN_INLINE qx qx_words(__m512i v) { return (qx){_mm512_and_si512(v, _mm512_set1_epi16(255)), _mm512_srli_epi16(v, 8)}; }
TN_INLINE qx qx_set(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return qx_words(_mm512_set1_epi32(four));
}
TN_INLINE qx qx_pixels(const uint8_t *p, int64_t step) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + step)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 2 * step)), 2);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 3 * step)), 3);
    /* (pixel, quad of channels) to (quad, pixel), then bytes within each. */
    const __m512i quads = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return qx_words(_mm512_shuffle_epi8(_mm512_permutexvar_epi32(quads, v), bytes));
}
TN_INLINE qw qw_load(const void *p) { return (qw){_mm512_loadu_si512(p), _mm512_loadu_si512((const char *)p + 64)}; }
TN_INLINE vi q8_dot(vi acc, qx x, qw w) {
    return _mm512_add_epi32(acc, _mm512_add_epi32(_mm512_madd_epi16(x.even, w.even), _mm512_madd_epi16(x.odd, w.odd)));
}

#endif
