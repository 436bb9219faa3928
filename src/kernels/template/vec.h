/* The vocabulary that the kernel templates in this folder are written in, and the names they give.
 *
 * A tier's file (x86/act_f32_avx512.c, scalar/act_f32_scalar.c) includes that tier's vec_<tier>.h, which defines VEC_W,
 * VEC_NAME and the vf_ functions, and then one template. So an algorithm is written once, and intrinsics stay in three
 * small headers.
 *
 *   VEC_PORTABLE    1 where variants that pay with many registers only should be left out
 *   VEC_ROLLED      defined where loops stay loops: the portable kernels on processors that have faster ones
 *   vf, vm          a vector of VEC_W floats; a mask of VEC_W lanes
 *   vm_any          whether some lane is set
 *   vf_load_n/store_n  the first n lanes (0 <= n <= VEC_W); memory past them is neither read nor written
 *   vf_keep         lanes from n on become zero (0 <= n <= VEC_W)
 *   vf_max(a, b)    a > b ? a : b, so a NaN in b (and in a: b) decides: keep the data in b
 *   vf_min(a, b)    a < b ? a : b, likewise
 *   vf_fma          a * b + c; fused on every tier but scalar, which rounds twice
 *   vf_round        to nearest even, for |x| < 2^22
 *   vf_pair(a, b)   the lower half of a, the upper half of b; this and the next three where TILE_M_3 is defined
 *   vf_twice(a)     the lower half of a in both; vf_load_twice reads VEC_W / 2 floats
 *   vf_upper(a)     the upper half of a in both
 *   vl, vl_load     a vector of VEC_W 32-bit integers
 *   vf_pick(acc, v, lane)  lane i becomes v[lane[i]] where that is not negative, and stays acc[i] elsewhere
 *   vf_scale(p, n)  p * 2^n, n integral in [-150, 128], with one rounding at the end
 *   vf_pow2(t, m)   t[i] * 2^(k / POW2_STEPS) of the integer k that stands in the lower bits of m, i = k mod
 * POW2_STEPS, where t[i] holds the bits of a float less i << (23 - log2 POW2_STEPS); where POW2_STEPS is defined
 *   vf_exponent(x)  floor(log2 x) of a positive normal x */
#ifndef TN_KERNELS_VEC_H
#define TN_KERNELS_VEC_H

#include "base/base.h"

#if defined(VEC_ROLLED)
#define TN_UNROLL
#define TN_UNROLL_FULL
#elif defined(__clang__)
#define TN_UNROLL      _Pragma("unroll")
/* For trip counts that are constants after inlining: early enough for clang 14 to keep arrays in registers. */
#define TN_UNROLL_FULL _Pragma("clang loop unroll(full)")
#else
#define TN_UNROLL      _Pragma("GCC unroll 32")
#define TN_UNROLL_FULL TN_UNROLL
#endif

#endif
