/* Portable vocabulary for the kernel templates (see template/vec.h): two vectors of four floats in the compilers' own
 * vector extension, which becomes SSE2 on any x86-64 and plain code elsewhere. */
#ifndef TN_KERNELS_VEC_SCALAR_H
#define TN_KERNELS_VEC_SCALAR_H

#include "kernels/template/vec.h"

#define VEC_W          8
#define VEC_NAME(name) name##_scalar
#define VEC_TIER_TEXT  "scalar"
#define VEC_TIER_ENUM  TERN_CPU_SCALAR
#define VEC_PORTABLE   1
#define TILE_M         2
#define TILE_M_WIDE    1

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef struct vf {
    f4 lo, hi;
} vf;
typedef struct vm {
    i4 lo, hi;
} vm;

TN_INLINE f4 f4_set(float x) { return (f4){x, x, x, x}; }
TN_INLINE f4 f4_sel(i4 m, f4 yes, f4 no) { return (f4)((m & (i4)yes) | (~m & (i4)no)); }
TN_INLINE f4 f4_scale(f4 p, f4 n) {
    i4 i = __builtin_convertvector(n, i4), half = i >> 1, rest = i - half;
    return p * (f4)((half + 127) << 23) * (f4)((rest + 127) << 23);
}
/* Adding 1.5 * 2^23 leaves no room for a fraction: the sum is rounded to an integer, to nearest even. */
TN_INLINE f4 f4_round(f4 a) { return (a + 12582912.0f) - 12582912.0f; }

TN_INLINE vf vf_load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
TN_INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
TN_INLINE void vf_stream(float *p, vf v) { vf_store(p, v); }
TN_INLINE vf vf_set(float x) { return (vf){f4_set(x), f4_set(x)}; }
TN_INLINE vf vf_zero(void) { return vf_set(0.0f); }
TN_INLINE vf vf_load_n(const float *p, int64_t n) {
    float t[VEC_W] = {0};
    for (int64_t i = 0; i < n && i < VEC_W; i++) t[i] = p[i];
    return vf_load(t);
}
TN_INLINE void vf_store_n(float *p, vf v, int64_t n) {
    float t[VEC_W];
    vf_store(t, v);
    for (int64_t i = 0; i < n && i < VEC_W; i++) p[i] = t[i];
}
TN_INLINE vf vf_keep(vf v, int64_t n) {
    int32_t k = (int32_t)n;
    i4 at = {0, 1, 2, 3}, limit = {k, k, k, k};
    return (vf){(f4)((at < limit) & (i4)v.lo), (f4)((at + 4 < limit) & (i4)v.hi)};
}
TN_INLINE vf vf_add(vf a, vf b) { return (vf){a.lo + b.lo, a.hi + b.hi}; }
TN_INLINE vf vf_sub(vf a, vf b) { return (vf){a.lo - b.lo, a.hi - b.hi}; }
TN_INLINE vf vf_mul(vf a, vf b) { return (vf){a.lo * b.lo, a.hi * b.hi}; }
TN_INLINE vf vf_div(vf a, vf b) { return (vf){a.lo / b.lo, a.hi / b.hi}; }
TN_INLINE f4 f4_sqrt(f4 a) {
    return (f4){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
TN_INLINE vf vf_sqrt(vf a) { return (vf){f4_sqrt(a.lo), f4_sqrt(a.hi)}; }
TN_INLINE vf vf_fma(vf a, vf b, vf c) { return vf_add(vf_mul(a, b), c); }
TN_INLINE vm vf_lt(vf a, vf b) { return (vm){a.lo < b.lo, a.hi < b.hi}; }
TN_INLINE vm vf_isnan(vf a) { return (vm){a.lo != a.lo, a.hi != a.hi}; }
TN_INLINE bool vm_any(vm m) {
    i4 b = m.lo | m.hi;
    return b[0] || b[1] || b[2] || b[3];
}
TN_INLINE vf vf_sel(vm m, vf yes, vf no) { return (vf){f4_sel(m.lo, yes.lo, no.lo), f4_sel(m.hi, yes.hi, no.hi)}; }
TN_INLINE vf vf_max(vf a, vf b) { return vf_sel(vf_lt(b, a), a, b); }
TN_INLINE vf vf_min(vf a, vf b) { return vf_sel(vf_lt(a, b), a, b); }
TN_INLINE vf vf_abs(vf a) {
    i4 m = {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX};
    return (vf){(f4)((i4)a.lo & m), (f4)((i4)a.hi & m)};
}
TN_INLINE vf vf_copysign(vf mag, vf sign) {
    i4 m = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    return (vf){(f4)((i4)mag.lo | ((i4)sign.lo & m)), (f4)((i4)mag.hi | ((i4)sign.hi & m))};
}
TN_INLINE vf vf_round(vf a) { return (vf){f4_round(a.lo), f4_round(a.hi)}; }
TN_INLINE vf vf_scale(vf p, vf n) { return (vf){f4_scale(p.lo, n.lo), f4_scale(p.hi, n.hi)}; }
TN_INLINE f4 f4_exponent(f4 a) { return __builtin_convertvector(((i4)a >> 23) - 127, f4); }
TN_INLINE vf vf_exponent(vf a) { return (vf){f4_exponent(a.lo), f4_exponent(a.hi)}; }
typedef struct vl {
    int32_t at[VEC_W];
} vl;
TN_INLINE vl vl_load(const int32_t *p) {
    vl v;
    memcpy(&v, p, sizeof v);
    return v;
}
TN_INLINE vf vf_pick(vf acc, vf v, vl lane) {
    float to[VEC_W], from[VEC_W];
    memcpy(to, &acc, sizeof to);
    memcpy(from, &v, sizeof from);
    for (int i = 0; i < VEC_W; i++)
        if (lane.at[i] >= 0) to[i] = from[lane.at[i]];
    return vf_load(to);
}

/* v[i] lane j becomes v[j] lane i. */
TN_INLINE void vf_transpose(vf v[VEC_W]) {
    float from[VEC_W][VEC_W], to[VEC_W][VEC_W];
    memcpy(from, v, sizeof from);
    for (int i = 0; i < VEC_W; i++)
        for (int j = 0; j < VEC_W; j++) to[j][i] = from[i][j];
    memcpy(v, to, sizeof to);
}

#endif
