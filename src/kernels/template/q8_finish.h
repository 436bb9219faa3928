/* Sums to bytes; for q8_eltwise.h and q8_depthwise.h. */
#ifndef TN_KERNELS_Q8_FINISH_H
#define TN_KERNELS_Q8_FINISH_H

#include "kernels/q8.h"

/* What does not change along a block. */
typedef struct q8_pass {
    vf scale[Q8_HALVES];
    vi w_zero[Q8_HALVES];
    vb low, high, keep, flip;
    int32_t zero;
} q8_pass;

TN_INLINE q8_pass q8_pass_of(const tn_q8_finish *f) {
    q8_pass p = {.zero = f->zero, .low = vb_set(f->low), .high = vb_set(f->high), .keep = vb_lanes(f->lanes)};
    for (int h = 0; h < Q8_HALVES; h++) {
        p.scale[h] = vf_load(f->scale + h * VEC_W);
        p.w_zero[h] = f->w_zero ? vi_load(f->w_zero + h * VEC_W) : vi_zero();
    }
    p.flip = vb_set(f->y_signed ? 128 : 0);
    return p;
}

/* Four vectors, already rounded. */
TN_INLINE vb q8_bytes(const q8_pass *p, const vi r[4]) {
    vb b = vb_max(vb_min(vb_pack(r, p->zero), p->high), p->low);
    return vb_and(vb_xor(b, p->flip), p->keep);
}

#endif
