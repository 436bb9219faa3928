/* SiLU for results that are rounded to bfloat16. */
#ifndef TN_KERNELS_BF16_SILU_H
#define TN_KERNELS_BF16_SILU_H

#include "kernels/template/bf16vec.h"

/* x / (1 + 2^z), z = -alpha x log2 e = n + f, |f| <= 1/2; 2^f by a polynomial of degree 4, within 4e-6 of it. */
TN_INLINE vf bf16_silu(vf x, vf alpha) {
    vf z = vf_mul(vf_mul(x, alpha), vf_set(-1.44269504f));
    z = vf_min(vf_set(125.0f), vf_max(vf_set(-125.0f), z));
    vf n = vf_round(z), f = vf_sub(z, n), p = vf_set(9.6181291e-03f);
    p = vf_fma(p, f, vf_set(5.5504109e-02f));
    p = vf_fma(p, f, vf_set(2.4022651e-01f));
    p = vf_fma(p, f, vf_set(6.9314718e-01f));
    vf e = vf_scale(vf_fma(p, f, vf_set(1.0f)), n);
    return vf_mul(x, vh_reciprocal(vf_add(e, vf_set(1.0f))));
}

#endif
