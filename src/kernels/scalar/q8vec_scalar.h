/* Portable vocabulary for the 8-bit templates; see template/q8vec.h. */
#ifndef TN_KERNELS_Q8VEC_SCALAR_H
#define TN_KERNELS_Q8VEC_SCALAR_H

#include "kernels/scalar/vec_scalar.h"

#include "kernels/template/q8vec.h"

#define VB_BYTES      32
#define Q8_NAME(name) name##_scalar
#define Q8_TILE_M     2
#define Q8_TILE_NB    1
#define Q8_WORDS      0
#define QW_BYTES      32

typedef uint32_t u4 __attribute__((vector_size(16)));
typedef struct vi {
    u4 lo, hi; /* unsigned, so that sums may wrap */
} vi;
typedef struct vb {
    uint8_t b[VB_BYTES];
} vb;

TN_INLINE vi vi_load(const int32_t *p) {
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}
TN_INLINE void vi_store(int32_t *p, vi v) { memcpy(p, &v, sizeof v); }
TN_INLINE vi vi_set(int32_t x) {
    uint32_t u = (uint32_t)x;
    u4 v = {u, u, u, u};
    return (vi){v, v};
}
TN_INLINE vi vi_zero(void) { return vi_set(0); }
TN_INLINE vi vi_add(vi a, vi b) { return (vi){a.lo + b.lo, a.hi + b.hi}; }
TN_INLINE vi vi_mul(vi a, vi b) { return (vi){a.lo * b.lo, a.hi * b.hi}; }
TN_INLINE vi vi_and(vi a, vi b) { return (vi){a.lo & b.lo, a.hi & b.hi}; }
TN_INLINE vi vi_shr(vi a, int bits) { return (vi){a.lo >> bits, a.hi >> bits}; }
TN_INLINE vi vi_or(vi a, vi b) { return (vi){a.lo | b.lo, a.hi | b.hi}; }
TN_INLINE vi vi_shl(vi a, int bits) { return (vi){a.lo << bits, a.hi << bits}; }
TN_INLINE vf vi_to_f(vi v) {
    return (vf){__builtin_convertvector((i4)v.lo, f4), __builtin_convertvector((i4)v.hi, f4)};
}
TN_INLINE vi vi_from_f(vf v) {
    v = vf_round(vf_max(vf_set(-1e6f), vf_min(v, vf_set(1e6f))));
    return (vi){(u4) __builtin_convertvector(v.lo, i4), (u4) __builtin_convertvector(v.hi, i4)};
}
TN_INLINE vi vi_flip(vi v) { return (vi){v.lo ^ 128u, v.hi ^ 128u}; }
TN_INLINE vf vf_to_even(vf v, float low, float high) { return vf_round(vf_max(vf_set(low), vf_min(v, vf_set(high)))); }
TN_INLINE vi vi_load_u8(const uint8_t *p) {
    int32_t t[VEC_W];
    for (int i = 0; i < VEC_W; i++) t[i] = p[i];
    return vi_load(t);
}
TN_INLINE void vi_store_low(uint8_t *p, vi v) {
    int32_t t[VEC_W];
    vi_store(t, v);
    for (int i = 0; i < VEC_W; i++) p[i] = (uint8_t)t[i];
}

TN_INLINE vb vb_load(const uint8_t *p) {
    vb v;
    memcpy(&v, p, sizeof v);
    return v;
}
TN_INLINE void vb_store(uint8_t *p, vb v) { memcpy(p, &v, sizeof v); }
TN_INLINE void vb_store_n(uint8_t *p, vb v, int64_t n) { memcpy(p, &v, (size_t)TN_MIN(n, VB_BYTES)); }
TN_INLINE vb vb_set(int x) {
    vb v;
    memset(&v, x, sizeof v);
    return v;
}
#define VB_EACH(expression)                                            \
    for (int i = 0; i < VB_BYTES; i++) a.b[i] = (uint8_t)(expression); \
    return a
TN_INLINE vb vb_min(vb a, vb b) { VB_EACH(TN_MIN(a.b[i], b.b[i])); }
TN_INLINE vb vb_max(vb a, vb b) { VB_EACH(TN_MAX(a.b[i], b.b[i])); }
TN_INLINE vb vb_and(vb a, vb b) { VB_EACH(a.b[i] & b.b[i]); }
TN_INLINE vb vb_xor(vb a, vb b) { VB_EACH(a.b[i] ^ b.b[i]); }
TN_INLINE vb vb_lanes(int n) {
    vb a;
    VB_EACH(i % TN_Q8_BLOCK < n ? 255 : 0);
}
TN_INLINE vb vb_pack(const vi v[4], int32_t zero) {
    vb a;
    int32_t t[VB_BYTES];
    for (int k = 0; k < 4; k++) vi_store(t + k * VEC_W, v[k]);
    VB_EACH(TN_MAX(TN_MIN(t[i] + zero, 255), 0));
}
/* Adds the bytes of each 16 to 32-bit sums: lane 4 p of `acc` is that of pixel p. */
TN_INLINE vi vi_add_pixels(vi acc, vb x) {
    int32_t t[VEC_W] = {0};
    for (int i = 0; i < VB_BYTES; i++) t[i / TN_Q8_BLOCK * 4] += x.b[i];
    return vi_add(acc, vi_load(t));
}

typedef struct qx {
    uint8_t b[4][VEC_W];
} qx;
typedef struct qw {
    int8_t b[VEC_W][4];
} qw;

TN_INLINE qx qx_set(const uint8_t *p) {
    qx x;
    for (int e = 0; e < 4; e++) memset(x.b[e], p[e], VEC_W);
    return x;
}
TN_INLINE qx qx_pixels(const uint8_t *p, int64_t step) {
    qx x;
    for (int e = 0; e < 4; e++) memcpy(x.b[e], p + e * step, VEC_W);
    return x;
}
TN_INLINE qw qw_load(const void *p) {
    qw w;
    memcpy(&w, p, sizeof w);
    return w;
}
TN_INLINE qw qw_set(const int8_t four[4]) {
    qw w;
    for (int i = 0; i < VEC_W; i++) memcpy(w.b[i], four, 4);
    return w;
}
TN_INLINE vi q8_dot(vi acc, qx x, qw w) {
    int32_t t[VEC_W];
    for (int i = 0; i < VEC_W; i++)
        t[i] = x.b[0][i] * w.b[i][0] + x.b[1][i] * w.b[i][1] + x.b[2][i] * w.b[i][2] + x.b[3][i] * w.b[i][3];
    return vi_add(acc, vi_load(t));
}

#endif
