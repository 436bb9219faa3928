/* What the machine can do at most: for shares of the peak in `tern bench` and the roofline of `tern profile`. */
#ifndef TN_KERNELS_PROBE_H
#define TN_KERNELS_PROBE_H

#include "base/base.h"
#include "cpu/cpu.h"

/* `rounds` rounds of independent float32 multiply-adds that touch registers only; returns the number of floating-point
 * operations (an addition and a multiplication count one each). *sink receives a result, so that nothing is optimised
 * away. */
int64_t tn_probe_flops(tern_cpu_tier tier, int64_t rounds, float *sink);

/* Measured now, in units of 1e9 a second, by `threads` threads at once; the best of a few tries of about a millisecond.
 * Scalar: what the compiler makes of portable C. */
double tn_probe_gflops(tern_cpu_tier tier, int threads);
/* Bytes read from memory, past the caches: 0 when there is no memory to try it with. */
double tn_probe_gbytes(tern_cpu_tier tier, int threads);

#endif
