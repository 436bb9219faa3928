/* 8-bit depthwise convolution: the strip of one block of channels, a few pixels at a time. Four neighbours in a row of
 * a channel are one operand of a dot product. */
#include "kernels/template/q8_finish.h"

#define GROUP (4 / Q8_HALVES) /* pixels of a vb */

/* GROUP outputs from window x on: four sums, corrected. kh, quads, sw, px: constants, or runtime values. */
TN_INLINE void q8_dw_sums(const tn_q8_depthwise *a, const q8_pass *p, const uint8_t *x, const int kh, const int quads,
                          const int64_t sw, const int64_t px, const bool corrected, vi r[4]) {
    vi acc[4], sum[4];
    TN_UNROLL
    for (int k = 0; k < 4; k++) {
        acc[k] = vi_load(a->bias + k % Q8_HALVES * VEC_W);
        sum[k] = vi_zero();
    }
    const char *w = a->w;
    const int64_t down = a->dh * a->x_row;
    for (int ky = 0; ky < kh; ky++) {
        for (int q = 0; q < quads; q++) {
            qw wv[Q8_HALVES];
            TN_UNROLL
            for (int h = 0; h < Q8_HALVES; h++) wv[h] = qw_load(w + h * QW_BYTES);
#if !Q8_WORDS
            const int left = a->kw - 4 * q;
            const int8_t ones[4] = {1, left > 1, left > 2, left > 3};
            qw one = qw_set(ones);
#endif
            TN_UNROLL
            for (int k = 0; k < 4; k++) {
                qx v = qx_pixels(x + k / Q8_HALVES * sw * 16 + q * 4 * px + k % Q8_HALVES * VEC_W, px);
                acc[k] = q8_dot(acc[k], v, wv[k % Q8_HALVES]);
#if !Q8_WORDS
                if (corrected) sum[k] = q8_dot(sum[k], v, one);
#endif
            }
            w += Q8_HALVES * QW_BYTES;
        }
        x += down;
    }
    TN_UNROLL
    for (int k = 0; k < 4; k++) {
        vi v = acc[k];
        if (corrected) v = vi_add(v, vi_mul(sum[k], p->w_zero[k % Q8_HALVES]));
        r[k] = vi_from_f(vf_mul(vi_to_f(v), p->scale[k % Q8_HALVES]));
    }
}

TN_INLINE void q8_dw_strip(const tn_q8_depthwise *a, const int kh, const int quads, const int64_t sw, const int64_t px,
                           const bool corrected) {
    q8_pass p = q8_pass_of(a->finish);
    for (int64_t oy = 0; oy < a->rows; oy++) {
        const uint8_t *x = a->x + oy * a->sh * a->x_row;
        uint8_t *y = a->y + oy * a->ow * 16;
        for (int64_t ox = 0; ox < a->ow; ox += GROUP) {
            vi r[4];
            q8_dw_sums(a, &p, x + ox * sw * 16, kh, quads, sw, px, corrected, r);
            vb b = q8_bytes(&p, r);
            if (a->ow - ox >= GROUP)
                vb_store(y + ox * 16, b);
            else
                vb_store_n(y + ox * 16, b, (a->ow - ox) * 16);
        }
    }
}

void Q8_NAME(tn_q8_depthwise)(const tn_q8_depthwise *a) {
    const bool corrected = !Q8_WORDS && a->finish->w_zero != NULL;
    if (a->kh == 3 && a->kw == 3 && a->sw == 1 && a->dw == 1) {
        if (corrected)
            q8_dw_strip(a, 3, 1, 1, 16, true);
        else
            q8_dw_strip(a, 3, 1, 1, 16, false);
    } else if (a->dw == 1) {
        q8_dw_strip(a, a->kh, (a->kw + 3) / 4, a->sw, 16, corrected);
    } else {
        q8_dw_strip(a, a->kh, (a->kw + 3) / 4, a->sw, (int64_t)a->dw * 16, corrected);
    }
}
