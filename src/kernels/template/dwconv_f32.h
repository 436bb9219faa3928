/* Depthwise convolution: one row of one block of channels. */
#include "kernels/dwconv.h"

/* `m` neighbouring outputs whose columns all lie inside x; kw and sw are constants where 0 does not stand for "any". */
TN_INLINE void dw_tile(const tn_dwconv_row *a, const int m, const int kw_const, const int sw_const, int64_t ox) {
    const int kw = kw_const ? kw_const : a->kw;
    const int64_t step = (int64_t)(sw_const ? sw_const : a->sw) * VEC_W, tap = (int64_t)a->dw * VEC_W;
    const float *row = a->x + ox * step, *w = a->w;
    vf acc[8];
    TN_UNROLL
    for (int i = 0; i < m; i++) acc[i] = vf_zero();
    for (int64_t ky = 0; ky < a->rows; ky++) {
        TN_UNROLL
        for (int kx = 0; kx < kw; kx++) {
            vf wv = vf_load(w + kx * VEC_W);
            TN_UNROLL
            for (int i = 0; i < m; i++) acc[i] = vf_fma(vf_load(row + kx * tap + i * step), wv, acc[i]);
        }
        row += a->x_row;
        w += kw * VEC_W;
    }
    vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi);
    TN_UNROLL
    for (int i = 0; i < m; i++) {
        vf v = vf_add(acc[i], bias);
        if (a->residual) v = vf_add(v, vf_load(a->residual + (ox + i) * VEC_W));
        vf_store(a->y + (ox + i) * VEC_W, vf_keep(vf_min(hi, vf_max(lo, v)), a->lanes));
    }
}

/* One output with only the columns [kx0, kx1) inside; the same order of additions. */
static void dw_edge(const tn_dwconv_row *a, int64_t ox) {
    int64_t ix = ox * a->sw - a->pad_left, kx0 = 0, kx1 = a->kw;
    while (kx0 < kx1 && ix + kx0 * a->dw < 0) kx0++;
    while (kx1 > kx0 && ix + (kx1 - 1) * a->dw >= a->iw) kx1--;
    vf acc = vf_zero();
    for (int64_t ky = 0; ky < a->rows; ky++) {
        const float *row = a->x + ky * a->x_row + ox * a->sw * VEC_W, *w = a->w + ky * a->kw * VEC_W;
        for (int64_t kx = kx0; kx < kx1; kx++)
            acc = vf_fma(vf_load(row + kx * a->dw * VEC_W), vf_load(w + kx * VEC_W), acc);
    }
    vf v = vf_add(acc, vf_load(a->bias));
    if (a->residual) v = vf_add(v, vf_load(a->residual + ox * VEC_W));
    vf_store(a->y + ox * VEC_W, vf_keep(vf_min(vf_set(a->hi), vf_max(vf_set(a->lo), v)), a->lanes));
}

TN_INLINE void dw_inside(const tn_dwconv_row *a, const int kw, const int sw) {
    int64_t ox = a->inside0;
    for (; ox + 8 <= a->inside1; ox += 8) dw_tile(a, 8, kw, sw, ox);
    if (ox + 4 <= a->inside1) {
        dw_tile(a, 4, kw, sw, ox);
        ox += 4;
    }
    if (ox + 2 <= a->inside1) {
        dw_tile(a, 2, kw, sw, ox);
        ox += 2;
    }
    if (ox < a->inside1) dw_tile(a, 1, kw, sw, ox);
}

void VEC_NAME(tn_dwconv_row_f32)(const tn_dwconv_row *a) {
    for (int64_t ox = 0; ox < a->inside0; ox++) dw_edge(a, ox);
    for (int64_t ox = a->inside1; ox < a->ow; ox++) dw_edge(a, ox);
    if (a->kw == 3 && a->sw == 1 && a->dw == 1)
        dw_inside(a, 3, 1);
    else if (a->kw == 3 && a->sw == 2 && a->dw == 1)
        dw_inside(a, 3, 2);
    else if (a->kw == 5 && a->sw == 1 && a->dw == 1)
        dw_inside(a, 5, 1);
    else if (a->kw == 5 && a->sw == 2 && a->dw == 1)
        dw_inside(a, 5, 2);
    else
        dw_inside(a, 0, 0);
}
