/* 8-bit depthwise convolution: the strip of one block of channels, a few pixels at a time. Four neighbours in a row of
 * a channel are one operand of a dot product. */
#include "kernels/template/q8_finish.h"

#define GROUP (4 / Q8_HALVES) /* pixels of a vb */

/* GROUP outputs from window x on: four sums, corrected. kh, kw, sw, px: constants, or runtime values. */
TN_INLINE void q8_dw_sums(const tn_q8_depthwise *a, const q8_pass *p, const uint8_t *x, const int kh, const int kw,
                          const int64_t sw, const int64_t px, const bool corrected, vi r[4]) {
    const int quads = (kw + 3) / 4;
    vi acc[4], sum[4];
    TN_UNROLL_FULL
    for (int k = 0; k < 4; k++) {
        acc[k] = vi_load(a->bias + k % Q8_HALVES * VEC_W);
        sum[k] = vi_zero();
    }
    const char *w = a->w;
    const int64_t down = a->dh * a->x_row;
    for (int ky = 0; ky < kh; ky++) {
        for (int q = 0; q < quads; q++) {
            qw wv[Q8_HALVES];
            TN_UNROLL_FULL
            for (int h = 0; h < Q8_HALVES; h++) wv[h] = qw_load(w + h * QW_BYTES);
#if !Q8_WORDS
            const int left = kw - 4 * q;
            const int8_t ones[4] = {1, left > 1, left > 2, left > 3};
            qw one = qw_set(ones);
#endif
            TN_UNROLL_FULL
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
    TN_UNROLL_FULL
    for (int k = 0; k < 4; k++) {
        vi v = acc[k];
        if (corrected) v = vi_add(v, vi_mul(sum[k], p->w_zero[k % Q8_HALVES]));
        r[k] = vi_from_f(vf_mul(vi_to_f(v), p->scale[k % Q8_HALVES]));
    }
}

TN_INLINE void q8_dw_strip(const tn_q8_depthwise *a, const int kh, const int kw, const int64_t sw, const int64_t px,
                           const bool corrected) {
    q8_pass p = q8_pass_of(a->finish);
    for (int64_t oy = 0; oy < a->rows; oy++) {
        const uint8_t *x = a->x + oy * a->sh * a->x_row;
        uint8_t *y = a->y + oy * a->ow * 16;
        for (int64_t ox = 0; ox < a->ow; ox += GROUP) {
            vi r[4];
            q8_dw_sums(a, &p, x + ox * sw * 16, kh, kw, sw, px, corrected, r);
            vb b = q8_bytes(&p, r);
            if (a->ow - ox >= GROUP)
                vb_store(y + ox * 16, b);
            else
                vb_store_n(y + ox * 16, b, (a->ow - ox) * 16);
        }
    }
}

#ifdef Q8_SHIFTS
/* Stride 1, 3 or 5 columns. Bringing four pixels into one operand takes longer than its product, so it serves several
 * outputs, each with the weights shifted by its distance. */

#define DW_QUADS  2 /* of 5 columns */
#define DW_SHIFTS 4

typedef struct q8_dw_shifted {
    qw w[5][DW_QUADS][DW_SHIFTS][Q8_HALVES]; /* row, quad, shift, half */
    qw one[DW_QUADS][DW_SHIFTS];
} q8_dw_shifted;

TN_INLINE void q8_dw_shift(const tn_q8_depthwise *a, const int kh, const int kw, const int shifts, q8_dw_shifted *s) {
    const int quads = (kw + 3) / 4;
    const char *w = a->w;
    for (int ky = 0; ky < kh; ky++)
        for (int q = 0; q < quads; q++)
            for (int o = 0; o < shifts; o++)
                for (int h = 0; h < Q8_HALVES; h++) {
                    const char *at = w + ((ky * quads + q) * Q8_HALVES + h) * QW_BYTES;
                    qw v = qw_shl(qw_load(at), 8 * o);
                    if (q) v = vi_or(v, qw_shr(qw_load(at - Q8_HALVES * QW_BYTES), 32 - 8 * o));
                    s->w[ky][q][o][h] = v;
                }
    for (int q = 0; q < quads; q++)
        for (int o = 0; o < shifts; o++) {
            int8_t ones[4];
            for (int e = 0; e < 4; e++) ones[e] = 4 * q + e >= o && 4 * q + e < o + kw;
            s->one[q][o] = qw_set(ones);
        }
}

TN_INLINE void q8_dw_shifted_sums(const tn_q8_depthwise *a, const q8_pass *p, const q8_dw_shifted *s, const uint8_t *x,
                                  const int kh, const int kw, const int shifts, const bool corrected, vi r[4]) {
    const int quads = (kw + 3) / 4;
    vi acc[4], sum[4];
    TN_UNROLL_FULL
    for (int k = 0; k < 4; k++) {
        acc[k] = vi_load(a->bias + k % Q8_HALVES * VEC_W);
        sum[k] = vi_zero();
    }
    TN_UNROLL_FULL
    for (int ky = 0; ky < kh; ky++, x += a->x_row) {
        TN_UNROLL_FULL
        for (int h = 0; h < Q8_HALVES; h++) {
            TN_UNROLL_FULL
            for (int first = 0; first < GROUP; first += shifts) {
                TN_UNROLL_FULL
                for (int q = 0; q < quads; q++) {
                    qx v = qx_pixels(x + (first + 4 * q) * 16 + h * VEC_W, 16);
                    TN_UNROLL_FULL
                    for (int o = 0; o < shifts; o++) {
                        const int k = (first + o) * Q8_HALVES + h;
                        acc[k] = q8_dot(acc[k], v, s->w[ky][q][o][h]);
                        if (corrected) sum[k] = q8_dot(sum[k], v, s->one[q][o]);
                    }
                }
            }
        }
    }
    TN_UNROLL_FULL
    for (int k = 0; k < 4; k++) {
        vi v = acc[k];
        if (corrected) v = vi_add(v, vi_mul(sum[k], p->w_zero[k % Q8_HALVES]));
        r[k] = vi_from_f(vf_mul(vi_to_f(v), p->scale[k % Q8_HALVES]));
    }
}

TN_INLINE void q8_dw_shifted_strip(const tn_q8_depthwise *a, const int kh, const int kw, const bool corrected) {
    const int shifts = TN_MIN(kw == 3 ? 2 : 4, GROUP);
    q8_pass p = q8_pass_of(a->finish);
    q8_dw_shifted s;
    q8_dw_shift(a, kh, kw, shifts, &s);
    for (int64_t oy = 0; oy < a->rows; oy++) {
        const uint8_t *x = a->x + oy * a->sh * a->x_row;
        uint8_t *y = a->y + oy * a->ow * 16;
        for (int64_t ox = 0; ox < a->ow; ox += GROUP) {
            vi r[4];
            q8_dw_shifted_sums(a, &p, &s, x + ox * 16, kh, kw, shifts, corrected, r);
            vb b = q8_bytes(&p, r);
            if (a->ow - ox >= GROUP)
                vb_store(y + ox * 16, b);
            else
                vb_store_n(y + ox * 16, b, (a->ow - ox) * 16);
        }
    }
}

/* True when it was one of these. */
TN_INLINE bool q8_dw_known_shifted(const tn_q8_depthwise *a, const bool corrected) {
    if (a->sw != 1 || a->kh != a->kw || (a->kw != 3 && a->kw != 5)) return false;
    if (a->kw == 3)
        q8_dw_shifted_strip(a, 3, 3, corrected);
    else
        q8_dw_shifted_strip(a, 5, 5, corrected);
    return true;
}
#endif

TN_INLINE void q8_dw_choose(const tn_q8_depthwise *a, const bool corrected) {
#ifdef Q8_SHIFTS
    if (a->dw == 1 && a->dh == 1 && q8_dw_known_shifted(a, corrected)) return;
#endif
    if (a->kh == 3 && a->kw == 3 && a->sw == 1 && a->dw == 1)
        q8_dw_strip(a, 3, 3, 1, 16, corrected);
    else if (a->kh == 3 && a->kw == 3 && a->sw == 2 && a->dw == 1)
        q8_dw_strip(a, 3, 3, 2, 16, corrected);
    else if (a->kh == 5 && a->kw == 5 && a->sw == 2 && a->dw == 1)
        q8_dw_strip(a, 5, 5, 2, 16, corrected);
    else
        q8_dw_strip(a, a->kh, a->kw, a->sw, (int64_t)a->dw * 16, corrected);
}

void Q8_NAME(tn_q8_depthwise)(const tn_q8_depthwise *a) {
    if (!Q8_WORDS && a->finish->w_zero)
        q8_dw_choose(a, true);
    else
        q8_dw_choose(a, false);
}
