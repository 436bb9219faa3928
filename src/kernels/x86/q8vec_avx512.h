/* AVX-512 vocabulary for the 8-bit templates; see template/q8vec.h. */
#ifndef TN_KERNELS_Q8VEC_AVX512_H
#define TN_KERNELS_Q8VEC_AVX512_H

#include "kernels/x86/vec_avx512.h"

#include "kernels/template/q8vec.h"

#define VB_BYTES 64

typedef __m512i vi;
typedef __m512i vb;

TN_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
TN_INLINE void vi_store(int32_t *p, vi v) { _mm512_storeu_si512(p, v); }
TN_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
TN_INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
TN_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
TN_INLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
TN_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
TN_INLINE vi vi_shr(vi a, int bits) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits)); }
TN_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
TN_INLINE vi vi_shl(vi a, int bits) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(bits)); }
TN_INLINE vf vi_to_f(vi v) { return _mm512_cvtepi32_ps(v); }
TN_INLINE vi vi_from_f(vf v) { return _mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(1e6f))); }
TN_INLINE vi vi_flip(vi v) { return _mm512_xor_si512(v, _mm512_set1_epi32(128)); }
TN_INLINE vf vf_to_even(vf v, float low, float high) { return vf_round(vf_max(vf_set(low), vf_min(v, vf_set(high)))); }
TN_INLINE vi vi_load_u8(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
TN_INLINE void vi_store_low(uint8_t *p, vi v) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(v)); }

TN_INLINE vb vb_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
TN_INLINE void vb_store(uint8_t *p, vb v) { _mm512_storeu_si512(p, v); }
TN_INLINE void vb_store_n(uint8_t *p, vb v, int64_t n) {
    _mm512_mask_storeu_epi8(p, (__mmask64)(n >= 64 ? ~0ull : (1ull << n) - 1), v);
}
TN_INLINE vb vb_set(int x) { return _mm512_set1_epi8((char)x); }
TN_INLINE vb vb_min(vb a, vb b) { return _mm512_min_epu8(a, b); }
TN_INLINE vb vb_max(vb a, vb b) { return _mm512_max_epu8(a, b); }
TN_INLINE vb vb_and(vb a, vb b) { return _mm512_and_si512(a, b); }
TN_INLINE vb vb_xor(vb a, vb b) { return _mm512_xor_si512(a, b); }
TN_INLINE vb vb_lanes(int n) {
    return _mm512_broadcast_i32x4(
        _mm_cmpgt_epi8(_mm_set1_epi8((char)n), _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}
TN_INLINE vb vb_pack(const vi v[4], int32_t zero) {
    __m512i z = _mm512_set1_epi16((short)zero);
    __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), z);
    __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), z);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(a, b));
}
/* Adds the bytes of each 16 to 32-bit sums: lane 4 p of `acc` is that of pixel p. */
TN_INLINE vi vi_add_pixels(vi acc, vb x) {
    __m512i s = _mm512_sad_epu8(x, _mm512_setzero_si512());
    return _mm512_add_epi32(acc, _mm512_add_epi32(s, _mm512_bsrli_epi128(s, 8)));
}

#endif
