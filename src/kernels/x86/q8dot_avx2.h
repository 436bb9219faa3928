/* Dot products of bytes as words, AVX2; see template/q8vec.h. vpmaddubsw would saturate. */
#ifndef TN_KERNELS_Q8DOT_AVX2_H
#define TN_KERNELS_Q8DOT_AVX2_H

#include "kernels/x86/q8vec_avx2.h"

#define Q8_NAME(name) name##_avx2
#define Q8_TILE_M     4
#define Q8_TILE_NB    1
#define Q8_WORDS      1
#define QW_BYTES      64

typedef struct qx {
    __m256i even, odd;
} qx;
typedef struct qw {
    __m256i even, odd;
} qw;

TN_INLINE qx qx_words(__m256i v) { return (qx){_mm256_and_si256(v, _mm256_set1_epi16(255)), _mm256_srli_epi16(v, 8)}; }
TN_INLINE qx qx_set(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return qx_words(_mm256_set1_epi32(four));
}
TN_INLINE qx qx_pixels(const uint8_t *p, int64_t step) {
    __m128i p0 = _mm_loadl_epi64((const __m128i *)p), p1 = _mm_loadl_epi64((const __m128i *)(p + step));
    __m128i p2 = _mm_loadl_epi64((const __m128i *)(p + 2 * step)),
            p3 = _mm_loadl_epi64((const __m128i *)(p + 3 * step));
    /* Even: pixels 0 and 2 of each channel; odd: 1 and 3. */
    return (qx){_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(p0, p2)), _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(p1, p3))};
}
TN_INLINE qw qw_load(const void *p) {
    return (qw){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
TN_INLINE vi q8_dot(vi acc, qx x, qw w) {
    return _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(x.even, w.even), _mm256_madd_epi16(x.odd, w.odd)));
}

#endif
