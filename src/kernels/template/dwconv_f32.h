/* Depthwise convolution of one block of channels.
 *
 * The usual kernels go by tiles of 7 columns and, where registers allow, two rows: an input row is then loaded once and
 * serves all columns of the kernel and both rows. Padding columns are zeros in place of loads, padding rows are left
 * out. All other shapes go output by output. */
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

/* With 32 registers an input row is held in them, and two output rows are made at a time; with 16 neither fits. */
#if TILE_M >= 14
#define DW_ROWS 2
#else
#define DW_ROWS 1
#endif

/* Column c of the n that a tile sees in an input row; `before` and `after` of them lie in padding. */
TN_INLINE vf dw_column(const float *x, const int c, const int n, const int k, int64_t before, int64_t after) {
    const bool first = c < k / 2, last = c >= n - k / 2;
    if ((first && c < before) || (last && c >= n - after)) return vf_zero();
    return vf_load(x + c * VEC_W);
}

/* Outputs (oy + j, ox + i), j < rows, i < DW_M. k, s, rows are constants. */
TN_INLINE void dw_strip_tile(const tn_dwconv_strip *a, const int k, const int s, const int rows, int64_t oy,
                             int64_t ox) {
    const int n = (DW_M - 1) * s + k;
    const int64_t ix = ox * s - a->pad_left, iy = oy * s - a->pad_top, row = a->iw * VEC_W;
    const int64_t before = TN_MAX(-ix, 0), after = TN_MAX(ix + n - a->iw, 0);
    vf acc[DW_ROWS * DW_M], v[DW_COLS], bias = vf_load(a->bias);
    TN_UNROLL_FULL
    for (int i = 0; i < rows * DW_M; i++) acc[i] = bias;
    TN_UNROLL_FULL
    for (int r = 0; r < (rows - 1) * s + k; r++) {
        if (iy + r < 0 || iy + r >= a->ih) continue;
        const float *x = a->x + (iy + r) * row + ix * VEC_W;
        TN_UNROLL_FULL
        for (int c = 0; c < n && DW_ROWS > 1; c++) v[c] = dw_column(x, c, n, k, before, after);
        TN_UNROLL_FULL
        for (int j = 0; j < rows; j++) {
            const int ky = r - j * s;
            if (ky < 0 || ky >= k) continue;
            TN_UNROLL_FULL
            for (int kx = 0; kx < k; kx++) {
                vf w = vf_load(a->w + (ky * k + kx) * VEC_W);
                TN_UNROLL_FULL
                for (int i = 0; i < DW_M; i++) {
                    vf in = DW_ROWS > 1 ? v[i * s + kx] : dw_column(x, i * s + kx, n, k, before, after);
                    acc[j * DW_M + i] = vf_fma(in, w, acc[j * DW_M + i]);
                }
            }
        }
    }
    const vf lo = vf_set(a->lo), hi = vf_set(a->hi);
    const bool keep = a->lanes < VEC_W;
    TN_UNROLL_FULL
    for (int j = 0; j < rows; j++) {
        const int64_t at = ((oy + j) * a->ow + ox) * VEC_W;
        TN_UNROLL_FULL
        for (int i = 0; i < DW_M; i++) {
            vf y = acc[j * DW_M + i];
            if (a->residual) y = vf_add(y, vf_load(a->residual + at + i * VEC_W));
            if (a->clamp) y = vf_min(hi, vf_max(lo, y));
            if (keep) y = vf_keep(y, a->lanes);
            vf_store(a->y + at + i * VEC_W, y);
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
    const bool pair = DW_ROWS > 1 && a->y1 - a->y0 > 1;
    if (a->k == 3 && a->s == 1) {
        if (pair)
            dw_strip_run(a, 3, 1, DW_ROWS);
        else
            dw_strip_run(a, 3, 1, 1);
    } else if (a->k == 3) {
        dw_strip_run(a, 3, 2, 1);
    } else if (a->s == 1) {
        if (pair)
            dw_strip_run(a, 5, 1, DW_ROWS);
        else
            dw_strip_run(a, 5, 1, 1);
    } else {
        dw_strip_run(a, 5, 2, 1);
    }
}
