/* AVX2 vocabulary for the 8-bit templates; see template/q8vec.h. */
#ifndef TN_KERNELS_Q8VEC_AVX2_H
#define TN_KERNELS_Q8VEC_AVX2_H

#include "kernels/x86/vec_avx2.h"

#include "kernels/template/q8vec.h"

#define VB_BYTES 32

typedef __m256i vi;
typedef __m256i vb;

TN_INLINE vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
TN_INLINE void vi_store(int32_t *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }
TN_INLINE vi vi_set(int32_t x) { return _mm256_set1_epi32(x); }
TN_INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
TN_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
TN_INLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
TN_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
TN_INLINE vi vi_shr(vi a, int bits) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(bits)); }
TN_INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
TN_INLINE vi vi_shl(vi a, int bits) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(bits)); }
TN_INLINE vf vi_to_f(vi v) { return _mm256_cvtepi32_ps(v); }
TN_INLINE vi vi_from_f(vf v) { return _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(1e6f))); }
TN_INLINE vi vi_flip(vi v) { return _mm256_xor_si256(v, _mm256_set1_epi32(128)); }
TN_INLINE vf vf_to_even(vf v, float low, float high) { return vf_round(vf_max(vf_set(low), vf_min(v, vf_set(high)))); }
TN_INLINE vi vi_load_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
TN_INLINE void vi_store_low(uint8_t *p, vi v) {
    const __m256i low = _mm256_set1_epi32(0x0c080400);
    __m256i b = _mm256_shuffle_epi8(v, low); /* each lane: its four bytes, repeated */
    _mm_storel_epi64((__m128i *)p, _mm_unpacklo_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
}

TN_INLINE vb vb_load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
TN_INLINE void vb_store(uint8_t *p, vb v) { _mm256_storeu_si256((__m256i *)p, v); }
TN_INLINE void vb_store_n(uint8_t *p, vb v, int64_t n) {
    uint8_t t[VB_BYTES];
    vb_store(t, v);
    memcpy(p, t, (size_t)TN_MIN(n, VB_BYTES));
}
TN_INLINE vb vb_set(int x) { return _mm256_set1_epi8((char)x); }
TN_INLINE vb vb_min(vb a, vb b) { return _mm256_min_epu8(a, b); }
TN_INLINE vb vb_max(vb a, vb b) { return _mm256_max_epu8(a, b); }
TN_INLINE vb vb_and(vb a, vb b) { return _mm256_and_si256(a, b); }
TN_INLINE vb vb_xor(vb a, vb b) { return _mm256_xor_si256(a, b); }
TN_INLINE vb vb_lanes(int n) {
    return _mm256_broadcastsi128_si256(
        _mm_cmpgt_epi8(_mm_set1_epi8((char)n), _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}
TN_INLINE vb vb_pack(const vi v[4], int32_t zero) {
    __m256i z = _mm256_set1_epi16((short)zero);
    __m256i a = _mm256_adds_epi16(_mm256_packs_epi32(v[0], v[1]), z);
    __m256i b = _mm256_adds_epi16(_mm256_packs_epi32(v[2], v[3]), z);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order);
}
/* Adds the bytes of each 16 to 32-bit sums: lane 4 p of `acc` is that of pixel p. */
TN_INLINE vi vi_add_pixels(vi acc, vb x) {
    __m256i s = _mm256_sad_epu8(x, _mm256_setzero_si256());
    return _mm256_add_epi32(acc, _mm256_add_epi32(s, _mm256_bsrli_epi128(s, 8)));
}

#endif
