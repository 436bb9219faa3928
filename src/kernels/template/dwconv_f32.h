/* Depthwise convolution of one block of channels.
 *
 * The usual kernels go by tiles of 7 columns and two rows: an input row is loaded once into registers and serves all
 * columns of the kernel and both rows. Padding columns are zeros in place of loads, padding rows are left out. All
 * other shapes go output by output. */
#include "kernels/dwconv.h"

/* ---- any shape, one row ------------------------------------------------------------------------------------------ */

/* One output with whatever columns lie inside. */
static void dw_edge(const tn_dwconv_row *a, int64_t ox) {
    int64_t ix = ox * a->sw - a->pad_left, kx0 = 0, kx1 = a->kw;
    while (kx0 < kx1 && ix + kx0 * a->dw < 0) kx0++;
    while (kx1 > kx0 && ix + (kx1 - 1) * a->dw >= a->iw) kx1--;
    vf acc = vf_load(a->bias);
    for (int64_t ky = 0; ky < a->rows; ky++) {
        const float *row = a->x + ky * a->x_row + ox * a->sw * VEC_W, *w = a->w + ky * a->kw * VEC_W;
        for (int64_t kx = kx0; kx < kx1; kx++)
            acc = vf_fma(vf_load(row + kx * a->dw * VEC_W), vf_load(w + kx * VEC_W), acc);
    }
    if (a->residual) acc = vf_add(acc, vf_load(a->residual + ox * VEC_W));
    vf_store(a->y + ox * VEC_W, vf_keep(vf_min(vf_set(a->hi), vf_max(vf_set(a->lo), acc)), a->lanes));
}

#define DW_INSIDE 4 /* outputs that need no padding, at a time */

static void dw_inside(const tn_dwconv_row *a, int64_t ox) {
    const int64_t step = (int64_t)a->sw * VEC_W, tap = (int64_t)a->dw * VEC_W;
    const float *row = a->x + ox * step, *w = a->w;
    vf acc[DW_INSIDE], lo = vf_set(a->lo), hi = vf_set(a->hi);
    TN_UNROLL
    for (int i = 0; i < DW_INSIDE; i++) acc[i] = vf_load(a->bias);
    for (int64_t ky = 0; ky < a->rows; ky++, row += a->x_row, w += a->kw * VEC_W) {
        for (int kx = 0; kx < a->kw; kx++) {
            vf wv = vf_load(w + kx * VEC_W);
            TN_UNROLL
            for (int i = 0; i < DW_INSIDE; i++) acc[i] = vf_fma(vf_load(row + kx * tap + i * step), wv, acc[i]);
        }
    }
    TN_UNROLL
    for (int i = 0; i < DW_INSIDE; i++) {
        if (a->residual) acc[i] = vf_add(acc[i], vf_load(a->residual + (ox + i) * VEC_W));
        vf_store(a->y + (ox + i) * VEC_W, vf_keep(vf_min(hi, vf_max(lo, acc[i])), a->lanes));
    }
}

void VEC_NAME(tn_dwconv_row_f32)(const tn_dwconv_row *a) {
    for (int64_t ox = 0; ox < a->inside0; ox++) dw_edge(a, ox);
    for (int64_t ox = a->inside1; ox < a->ow; ox++) dw_edge(a, ox);
    int64_t ox = a->inside0;
    for (; ox + DW_INSIDE <= a->inside1; ox += DW_INSIDE) dw_inside(a, ox);
    for (; ox < a->inside1; ox++) dw_edge(a, ox);
}

/* ---- strips ------------------------------------------------------------------------------------------------------ */

#define DW_M    TN_DWCONV_TILE
#define DW_COLS ((DW_M - 1) * 2 + 5) /* input columns that a tile may see */

/* One input row of a tile; `before` and `after` of its first and last columns lie in padding. */
TN_INLINE void dw_load(const float *x, const int n, const int k, int64_t before, int64_t after, vf *v) {
    TN_UNROLL
    for (int c = 0; c < n; c++) {
        const bool first = c < k / 2, last = c >= n - k / 2;
        if ((first && c < before) || (last && c >= n - after))
            v[c] = vf_zero();
        else
            v[c] = vf_load(x + c * VEC_W);
    }
}

/* Outputs (oy + j, ox + i), j < rows, i < DW_M. k, s, rows are constants. */
TN_INLINE void dw_strip_tile(const tn_dwconv_strip *a, const int k, const int s, const int rows, int64_t oy,
                             int64_t ox) {
    const int n = (DW_M - 1) * s + k;
    const int64_t ix = ox * s - a->pad_left, iy = oy * s - a->pad_top, row = a->iw * VEC_W;
    const int64_t before = TN_MAX(-ix, 0), after = TN_MAX(ix + n - a->iw, 0);
    vf acc[2 * DW_M], v[DW_COLS], bias = vf_load(a->bias);
    TN_UNROLL
    for (int i = 0; i < rows * DW_M; i++) acc[i] = bias;
    TN_UNROLL
    for (int r = 0; r < (rows - 1) * s + k; r++) {
        if (iy + r < 0 || iy + r >= a->ih) continue;
        dw_load(a->x + (iy + r) * row + ix * VEC_W, n, k, before, after, v);
        TN_UNROLL
        for (int j = 0; j < rows; j++) {
            const int ky = r - j * s;
            if (ky < 0 || ky >= k) continue;
            TN_UNROLL
            for (int kx = 0; kx < k; kx++) {
                vf w = vf_load(a->w + (ky * k + kx) * VEC_W);
                TN_UNROLL
                for (int i = 0; i < DW_M; i++) acc[j * DW_M + i] = vf_fma(v[i * s + kx], w, acc[j * DW_M + i]);
            }
        }
    }
    const vf lo = vf_set(a->lo), hi = vf_set(a->hi);
    const bool keep = a->lanes < VEC_W;
    TN_UNROLL
    for (int j = 0; j < rows; j++) {
        const int64_t at = ((oy + j) * a->ow + ox) * VEC_W;
        TN_UNROLL
        for (int i = 0; i < DW_M; i++) {
            vf x = acc[j * DW_M + i];
            if (a->residual) x = vf_add(x, vf_load(a->residual + at + i * VEC_W));
            if (a->clamp) x = vf_min(hi, vf_max(lo, x));
            if (keep) x = vf_keep(x, a->lanes);
            vf_store(a->y + at + i * VEC_W, x);
        }
    }
}

TN_INLINE void dw_strip_run(const tn_dwconv_strip *a, const int k, const int s, const int rows) {
    for (int64_t oy = a->y0; oy < a->y1; oy += rows) {
        /* The last tile of a row, and the last pair of rows, overlap the one before. */
        int64_t y = rows > 1 && oy + rows > a->y1 ? a->y1 - rows : oy;
        for (int64_t ox = 0; ox < a->ow; ox += DW_M) dw_strip_tile(a, k, s, rows, y, TN_MIN(ox, a->ow - DW_M));
    }
}

void VEC_NAME(tn_dwconv_strip_f32)(const tn_dwconv_strip *a) {
    const bool pair = !VEC_PORTABLE && a->y1 - a->y0 > 1;
    if (a->k == 3 && a->s == 1) {
        if (pair)
            dw_strip_run(a, 3, 1, 2);
        else
            dw_strip_run(a, 3, 1, 1);
    } else if (a->k == 3) {
        dw_strip_run(a, 3, 2, 1);
    } else if (a->s == 1) {
        if (pair)
            dw_strip_run(a, 5, 1, 2);
        else
            dw_strip_run(a, 5, 1, 1);
    } else {
        dw_strip_run(a, 5, 2, 1);
    }
}
