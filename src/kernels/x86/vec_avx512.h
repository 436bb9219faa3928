/* AVX-512 vocabulary for the kernel templates; see template/vec.h. */
#ifndef TN_KERNELS_VEC_AVX512_H
#define TN_KERNELS_VEC_AVX512_H

#include <immintrin.h>

#include "kernels/template/vec.h"

#define VEC_W          16
#define VEC_NAME(name) name##_avx512
#define VEC_TIER_TEXT  "avx512"
#define VEC_TIER_ENUM  TERN_CPU_AVX512
#define VEC_PORTABLE   0
/* The register tile: pixels (or rows) x vectors. 14 * 2 sums + 2 weights + 1 broadcast of 32 registers. */
#define TILE_M      14
#define TILE_M_WIDE 6 /* rows of the tile that is four vectors wide */
#define TILE_M_3    9 /* of three: 27 sums, 3 weights, 1 broadcast */
/* Of those whose last vector holds the lower half of two pixels' outputs. Three: 20 + 5 sums, 3 weights, 3 operands. */
#define TILE_M_HALF   14
#define TILE_M_3_HALF 10

typedef __m512 vf;
typedef __mmask16 vm;

TN_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
TN_INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
/* Past the caches; p is aligned. To be ordered by a fence. */
TN_INLINE void vf_stream(float *p, vf v) { _mm512_stream_ps(p, v); }
TN_INLINE vm vm_first(int64_t n) { return (vm)((1u << n) - 1u); }
TN_INLINE vf vf_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(vm_first(n), p); }
TN_INLINE void vf_store_n(float *p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, vm_first(n), v); }
TN_INLINE vf vf_keep(vf v, int64_t n) { return _mm512_maskz_mov_ps(vm_first(n), v); }
TN_INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
TN_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
TN_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
TN_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
TN_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
TN_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
TN_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
TN_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
TN_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
TN_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
TN_INLINE vf vf_abs(vf a) { return _mm512_abs_ps(a); }
TN_INLINE vf vf_copysign(vf mag, vf sign) { return _mm512_or_ps(mag, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f))); }
TN_INLINE vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
TN_INLINE vm vf_isnan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
TN_INLINE bool vm_any(vm m) { return m != 0; }
TN_INLINE vf vf_sel(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
TN_INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
TN_INLINE vf vf_scale(vf p, vf n) { return _mm512_scalef_ps(p, n); }
#define POW2_STEPS 32
TN_INLINE vf vf_pow2(const int32_t *t, vf m) {
    __m512i k = _mm512_castps_si512(m);
    __m512i v = _mm512_permutex2var_epi32(_mm512_loadu_si512(t), k, _mm512_loadu_si512(t + 16));
    return _mm512_castsi512_ps(_mm512_add_epi32(v, _mm512_slli_epi32(k, 18)));
}
TN_INLINE vf vf_exponent(vf a) { return _mm512_getexp_ps(a); }
TN_INLINE vf vf_pair(vf a, vf b) { return _mm512_mask_blend_ps(0xff00, a, b); }
TN_INLINE vf vf_twice(vf a) { return _mm512_shuffle_f32x4(a, a, 0x44); }
TN_INLINE vf vf_load_twice(const float *p) {
    return _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(p))));
}
TN_INLINE vf vf_upper(vf a) { return _mm512_shuffle_f32x4(a, a, 0xee); }
typedef __m512i vl;
TN_INLINE vl vl_load(const int32_t *p) { return _mm512_loadu_si512(p); }
TN_INLINE vf vf_pick(vf acc, vf v, vl lane) {
    return _mm512_mask_permutexvar_ps(acc, _mm512_cmpge_epi32_mask(lane, _mm512_setzero_si512()), lane, v);
}

/* v[i] lane j becomes v[j] lane i. */
TN_INLINE void vf_transpose(vf v[VEC_W]) {
    __m512 t[16];
    TN_UNROLL
    for (int i = 0; i < 16; i += 4) {
        __m512 a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        __m512 c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    }
    /* Each t[4 r + c] now holds, in its lane q of 128 bits, column 4 q + c of rows 4 r .. 4 r + 3. */
    TN_UNROLL
    for (int c = 0; c < 4; c++) {
        __m512 a = _mm512_shuffle_f32x4(t[c], t[4 + c], 0x88), b = _mm512_shuffle_f32x4(t[8 + c], t[12 + c], 0x88);
        __m512 d = _mm512_shuffle_f32x4(t[c], t[4 + c], 0xdd), e = _mm512_shuffle_f32x4(t[8 + c], t[12 + c], 0xdd);
        v[c] = _mm512_shuffle_f32x4(a, b, 0x88);
        v[8 + c] = _mm512_shuffle_f32x4(a, b, 0xdd);
        v[4 + c] = _mm512_shuffle_f32x4(d, e, 0x88);
        v[12 + c] = _mm512_shuffle_f32x4(d, e, 0xdd);
    }
}

#endif
