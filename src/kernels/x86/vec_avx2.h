/* AVX2 + FMA vocabulary for the kernel templates; see template/vec.h. */
#ifndef TN_KERNELS_VEC_AVX2_H
#define TN_KERNELS_VEC_AVX2_H

#include <immintrin.h>

#include "kernels/template/vec.h"

#define VEC_W          8
#define VEC_NAME(name) name##_avx2
#define VEC_TIER_TEXT  "avx2"
#define VEC_TIER_ENUM  TERN_CPU_AVX2
#define VEC_PORTABLE   0
/* 6 * 2 sums + 2 weights + 1 broadcast of 16 registers. */
#define TILE_M      6
#define TILE_M_WIDE 2

typedef __m256 vf;
typedef __m256 vm;

TN_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
TN_INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
/* Past the caches; p is aligned. To be ordered by a fence. */
TN_INLINE void vf_stream(float *p, vf v) { _mm256_stream_ps(p, v); }
TN_INLINE __m256i vm_first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TN_INLINE vf vf_load_n(const float *p, int64_t n) { return _mm256_maskload_ps(p, vm_first(n)); }
TN_INLINE void vf_store_n(float *p, vf v, int64_t n) { _mm256_maskstore_ps(p, vm_first(n), v); }
TN_INLINE vf vf_keep(vf v, int64_t n) { return _mm256_and_ps(v, _mm256_castsi256_ps(vm_first(n))); }
TN_INLINE vf vf_set(float x) { return _mm256_set1_ps(x); }
TN_INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
TN_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
TN_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
TN_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
TN_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
TN_INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
TN_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
TN_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
TN_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
TN_INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
TN_INLINE vf vf_copysign(vf mag, vf sign) { return _mm256_or_ps(mag, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f))); }
TN_INLINE vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
TN_INLINE vm vf_isnan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
TN_INLINE bool vm_any(vm m) { return _mm256_movemask_ps(m) != 0; }
TN_INLINE vf vf_sel(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }
TN_INLINE vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* Two steps, because 2^n alone may be subnormal or infinite where the product is not. */
TN_INLINE vf vf_scale(vf p, vf n) {
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), rest = _mm256_sub_epi32(i, half);
    __m256i bias = _mm256_set1_epi32(127);
    __m256 s1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 s2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, s1), s2);
}
#define POW2_STEPS 8
TN_INLINE vf vf_pow2(const int32_t *t, vf m) {
    __m256i k = _mm256_castps_si256(m);
    __m256i v = _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)t), k);
    return _mm256_castsi256_ps(_mm256_add_epi32(v, _mm256_slli_epi32(k, 20)));
}
TN_INLINE vf vf_exponent(vf a) {
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(_mm256_castps_si256(a), 23), _mm256_set1_epi32(127)));
}
typedef __m256i vl;
TN_INLINE vl vl_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
TN_INLINE vf vf_pick(vf acc, vf v, vl lane) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(v, lane), acc, _mm256_castsi256_ps(lane));
}

/* v[i] lane j becomes v[j] lane i. */
TN_INLINE void vf_transpose(vf v[VEC_W]) {
    __m256 t[8];
    TN_UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256 a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
        __m256 c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    TN_UNROLL
    for (int c = 0; c < 4; c++) {
        v[c] = _mm256_permute2f128_ps(t[c], t[4 + c], 0x20);
        v[4 + c] = _mm256_permute2f128_ps(t[c], t[4 + c], 0x31);
    }
}

#endif
