/* SiLU for results that are rounded to bfloat16. */
#ifndef TN_KERNELS_BF16_SILU_H
#define TN_KERNELS_BF16_SILU_H

#include "kernels/template/bf16vec.h"

TN_INLINE vf bf16_silu_scale(float alpha) { return vf_set(alpha * -1.44269504f); }

/* x / (1 + 2^z), z = scale x = -alpha x log2 e = n + f, 0 <= f < 1; 2^f by a polynomial of degree 3, within 8e-5 of
 * it. */
TN_INLINE vf bf16_silu(vf x, vf scale) {
    vf z = vf_mul(x, scale), f = vh_fraction(z), p = vf_set(7.802436e-02f);
    p = vf_fma(p, f, vf_set(2.2606742e-01f));
    p = vf_fma(p, f, vf_set(6.9583344e-01f));
    p = vf_fma(p, f, vf_set(9.9992526e-01f));
    return vf_mul(x, vh_reciprocal(vf_add(vh_scale(p, z), vf_set(1.0f))));
}

#endif
