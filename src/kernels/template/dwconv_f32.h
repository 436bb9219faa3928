/* Depthwise convolution: one row of one block of channels.
 *
 * A row is cut into tiles of 7 or 8 outputs. The tiles at its ends skip the taps that fall into padding, which for the
 * usual 3 x 3 and 5 x 5 kernels are known at compile time; all other shapes take the outputs that touch padding one by
 * one. */
#include "kernels/dwconv.h"

#define DW_M 8 /* the longest tile */

TN_INLINE void dw_store(const tn_dwconv_row *a, const int m, int64_t ox, const vf *acc) {
    const float *residual = a->residual;
    float *y = a->y + ox * VEC_W;
    const int64_t lanes = a->lanes;
    vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi);
    TN_UNROLL
    for (int i = 0; i < m; i++) {
        vf v = vf_add(acc[i], bias);
        if (residual) v = vf_add(v, vf_load(residual + (ox + i) * VEC_W));
        vf_store(y + i * VEC_W, vf_keep(vf_min(hi, vf_max(lo, v)), lanes));
    }
}

/* Column kx of the kernel for `m` neighbouring outputs, less those for which it lies in padding. */
TN_INLINE void dw_column(const float *x, const float *w, const int m, const int kx, const int kw_const,
                         const int sw_const, const int left, const int right, int64_t step, vf *acc) {
    vf wv = vf_load(w);
    TN_UNROLL
    for (int i = 0; i < m; i++) {
        if (kw_const && i * sw_const + kx < left) continue;
        if (kw_const && (m - 1 - i) * sw_const + kw_const - 1 - kx < right) continue;
        acc[i] = vf_fma(vf_load(x + i * step), wv, acc[i]);
    }
}

/* `m` neighbouring outputs. Constants: kw and sw (0: any), `left` columns of the first window and `right` of the last
 * one in padding. */
TN_INLINE void dw_tile(const tn_dwconv_row *a, const int m, const int kw_const, const int sw_const, const int left,
                       const int right, int64_t ox) {
    const int64_t step = (int64_t)(sw_const ? sw_const : a->sw) * VEC_W, tap = (int64_t)a->dw * VEC_W;
    const int64_t x_row = a->x_row;
    const int kw = a->kw;
    const float *row = a->x + ox * step, *w = a->w;
    vf acc[DW_M];
    TN_UNROLL
    for (int i = 0; i < m; i++) acc[i] = vf_zero();
    for (int64_t ky = a->rows; ky > 0; ky--) {
        if (kw_const) {
            TN_UNROLL
            for (int kx = 0; kx < kw_const; kx++) /* not dilated */
                dw_column(row + kx * VEC_W, w + kx * VEC_W, m, kx, kw_const, sw_const, left, right, step, acc);
            w += kw_const * VEC_W;
        } else {
            for (int kx = 0; kx < kw; kx++) dw_column(row + kx * tap, w + kx * VEC_W, m, kx, 0, 0, 0, 0, step, acc);
            w += kw * VEC_W;
        }
        row += x_row;
    }
    dw_store(a, m, ox, acc);
}

/* One output with whatever columns lie inside; the same order of additions. */
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
    dw_store(a, 1, ox, &acc);
}

static void dw_any(const tn_dwconv_row *a) {
    for (int64_t ox = 0; ox < a->inside0; ox++) dw_edge(a, ox);
    for (int64_t ox = a->inside1; ox < a->ow; ox++) dw_edge(a, ox);
    int64_t ox = a->inside0;
    for (; ox + 4 <= a->inside1; ox += 4) dw_tile(a, 4, 0, 0, 0, 0, ox);
    for (; ox < a->inside1; ox++) dw_edge(a, ox);
}

typedef void (*dw_tile_fn)(const tn_dwconv_row *a, int64_t ox);

#define DW_TILE(m, kw, sw, left, right)                                                       \
    static void dw_##m##_##kw##_##sw##_##left##_##right(const tn_dwconv_row *a, int64_t ox) { \
        dw_tile(a, m, kw, sw, left, right, ox);                                               \
    }
#define DW_TILES(m, kw, sw, pad) \
    DW_TILE(m, kw, sw, 0, 0)     \
    DW_TILE(m, kw, sw, 0, 1)     \
    DW_TILE(m, kw, sw, pad, 0)   \
    DW_TILE(m, kw, sw, pad, 1)
DW_TILES(7, 3, 1, 1)
DW_TILES(8, 3, 1, 1)
DW_TILES(7, 3, 2, 1)
DW_TILES(8, 3, 2, 1)
DW_TILES(7, 5, 1, 2)
DW_TILES(8, 5, 1, 2)
DW_TILES(7, 5, 2, 2)
DW_TILES(8, 5, 2, 2)
#define DW_TILES_2(m, kw, sw) DW_TILE(m, kw, sw, 0, 2) DW_TILE(m, kw, sw, 2, 2)
DW_TILES_2(7, 5, 1)
DW_TILES_2(8, 5, 1)
DW_TILES_2(7, 5, 2)
DW_TILES_2(8, 5, 2)

/* [columns of padding on the left: none, kw / 2][on the right: 0, 1, 2] */
#define DW_SET3(m, sw)                                                                                               \
    {                                                                                                                \
        {dw_##m##_3_##sw##_0_0, dw_##m##_3_##sw##_0_1, NULL}, { dw_##m##_3_##sw##_1_0, dw_##m##_3_##sw##_1_1, NULL } \
    }
#define DW_SET5(m, sw)                                                           \
    {                                                                            \
        {dw_##m##_5_##sw##_0_0, dw_##m##_5_##sw##_0_1, dw_##m##_5_##sw##_0_2}, { \
            dw_##m##_5_##sw##_2_0, dw_##m##_5_##sw##_2_1, dw_##m##_5_##sw##_2_2  \
        }                                                                        \
    }
static const dw_tile_fn dw_table[2][2][2][2][3] = {/* kw 3, 5; sw 1, 2; m 7, 8 */
                                                   {{DW_SET3(7, 1), DW_SET3(8, 1)}, {DW_SET3(7, 2), DW_SET3(8, 2)}},
                                                   {{DW_SET5(7, 1), DW_SET5(8, 1)}, {DW_SET5(7, 2), DW_SET5(8, 2)}}};

void VEC_NAME(tn_dwconv_row_f32)(const tn_dwconv_row *a) {
    int64_t right = TN_MAX((a->ow - 1) * a->sw - a->pad_left + a->kw - a->iw, 0);
    bool known =
        (a->kw == 3 || a->kw == 5) && a->sw <= 2 && a->dw == 1 && (a->pad_left == 0 || a->pad_left == a->kw / 2);
    /* Tiles may overlap, so what they read must not be what they write. */
    if (!known || a->ow < 7 || right > a->kw / 2 || a->residual == a->y) {
        dw_any(a);
        return;
    }
    int64_t m = tn_round_up(a->ow, 8) <= tn_round_up(a->ow, 7) && a->ow >= 8 ? 8 : 7;
    const dw_tile_fn(*set)[3] = dw_table[a->kw == 5][a->sw - 1][m - 7];
    if (a->ow == m) {
        set[a->pad_left > 0][right](a, 0);
        return;
    }
    int64_t ox = m;
    set[a->pad_left > 0][0](a, 0);
    /* The one before the last must not see padding either: two columns of it reach the last output but one. */
    for (; ox + m < a->ow; ox += m) set[0][0](a, TN_MIN(ox, a->ow - m - right));
    set[0][right](a, a->ow - m);
}
