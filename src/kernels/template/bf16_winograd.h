/* Winograd transforms on bfloat16 (bf16_winograd.h): in float32, products of bfloat16. */
#include "kernels/bf16_winograd.h"
#include "kernels/template/bf16_silu.h"
#include "kernels/template/winograd_lines.h"

#if VEC_PORTABLE
#define BF16_UNROLL /* small rather than fast */
#else
#define BF16_UNROLL TN_UNROLL_FULL
#endif

#define BF16_PLANES 5 /* of one dimension, at most */

/* Column j of the tile at x: its inputs, transformed. */
TN_INLINE void bf16_column(const tn_bf16_winograd_run *a, const uint16_t *x, const int j, vf *t, const int stride,
                           const bool whole) {
    const int inputs = tn_winograd_inputs(2, stride);
    vf in[BF16_PLANES];
    BF16_UNROLL
    for (int i = 0; i < inputs; i++) {
        bool inside = whole || (i >= a->y0 && i < a->y1 && (a->count > 1 || (j >= a->x0 && j < a->x1)));
        in[i] = inside ? vh_load(x + i * a->x_row + j * VEC_W) : vf_zero();
    }
    input_1d(in, t, 2, stride);
}

/* `tiles` neighbours (1 or 2) at x into v. The columns that the first shares with its neighbour are in `col` before,
 * those that the next one shares are afterwards. */
TN_INLINE void bf16_input_tiles(const tn_bf16_winograd_run *a, const uint16_t *x, uint16_t *v, vf (*col)[BF16_PLANES],
                                const int stride, const bool whole, const int tiles) {
    const int inputs = tn_winograd_inputs(2, stride), planes = tn_winograd_planes(2, stride),
              shared = inputs - 2 * stride;
    const int64_t step = a->v_step;
    BF16_UNROLL
    for (int j = shared; j < shared + tiles * 2 * stride; j++) bf16_column(a, x, j, col[j], stride, whole);
    BF16_UNROLL
    for (int i = 0; i < planes; i++) {
        vf t[2][BF16_PLANES];
        BF16_UNROLL
        for (int k = 0; k < tiles; k++) {
            vf in[BF16_PLANES];
            BF16_UNROLL
            for (int j = 0; j < inputs; j++) in[j] = col[k * 2 * stride + j][i];
            input_1d(in, t[k], 2, stride);
        }
        BF16_UNROLL
        for (int j = 0; j < planes; j++, v += step) {
            if (tiles == 2)
                vh_store_2(v, t[0][j], t[1][j]);
            else
                vh_store(v, t[0][j]);
        }
    }
    BF16_UNROLL
    for (int j = 0; j < shared; j++) memcpy(col[j], col[tiles * 2 * stride + j], sizeof col[j]);
}

TN_INLINE void bf16_winograd_input(const tn_bf16_winograd_run *a, const int stride, const bool whole) {
    const int shared = tn_winograd_inputs(2, stride) - 2 * stride;
    const int64_t count = a->count;
    const uint16_t *x = a->x;
    uint16_t *v = a->v;
    vf col[9][BF16_PLANES];
    BF16_UNROLL
    for (int j = 0; j < shared; j++) bf16_column(a, x, j, col[j], stride, whole);
    int64_t t = 0;
    for (; t + 2 <= count; t += 2, x += 4 * stride * VEC_W, v += 2 * VEC_W)
        bf16_input_tiles(a, x, v, col, stride, whole, 2);
    if (t < count) bf16_input_tiles(a, x, v, col, stride, whole, 1);
}

void BF16_NAME(tn_bf16_winograd_input)(const tn_bf16_winograd_run *a, int stride) {
    const int inputs = tn_winograd_inputs(2, stride);
    bool whole = a->y0 == 0 && a->y1 == inputs && (a->count > 1 || (a->x0 == 0 && a->x1 == inputs));
    if (stride == 1) {
        if (whole)
            bf16_winograd_input(a, 1, true);
        else
            bf16_winograd_input(a, 1, false);
    } else {
        if (whole)
            bf16_winograd_input(a, 2, true);
        else
            bf16_winograd_input(a, 2, false);
    }
}

/* The sums of one tile, back to 2 x 2 outputs. */
TN_INLINE void bf16_output_tile(const float *m, const int64_t step, vf (*out)[2], const int stride) {
    const int sums = tn_winograd_sums(2, stride);
    vf half[4][2];
    BF16_UNROLL
    for (int i = 0; i < sums; i++) {
        vf t[4];
        BF16_UNROLL
        for (int j = 0; j < sums; j++) t[j] = vf_load(m + (i * sums + j) * step);
        output_1d(t, half[i], 1, 2, stride);
    }
    BF16_UNROLL
    for (int j = 0; j < 2; j++) {
        vf t[4], y[2];
        BF16_UNROLL
        for (int i = 0; i < sums; i++) t[i] = half[i][j];
        output_1d(t, y, 1, 2, stride);
        out[0][j] = y[0];
        out[1][j] = y[1];
    }
}

TN_INLINE void bf16_winograd_output(const tn_bf16_winograd_run *a, const int stride, const bool silu) {
    const vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi), scale = bf16_silu_scale(a->alpha);
    const int64_t count = a->count, y_row = a->y_row, m_step = a->m_step, m_tile = a->m_tile, lanes = a->lanes;
    const int rows = a->rows;
    const float *m = a->products;
    const uint16_t *residual = a->residual;
    uint16_t *y = a->y;
    for (int64_t t = 0; t < count; t++, m += m_tile, y += 2 * VEC_W) {
        vf out[2][2];
        bf16_output_tile(m, m_step, out, stride);
        const bool both = t < count - 1 || a->cols == 2;
        for (int r = 0; r < rows; r++) {
            const int64_t at = r * y_row + t * 2 * VEC_W;
            vf v0 = vf_add(r ? out[1][0] : out[0][0], bias), v1 = vf_add(r ? out[1][1] : out[0][1], bias);
            if (residual) {
                v0 = vf_add(v0, vh_load(residual + at));
                if (both) v1 = vf_add(v1, vh_load(residual + at + VEC_W));
            }
            v0 = silu ? bf16_silu(v0, scale) : vf_min(hi, vf_max(lo, v0));
            v1 = silu ? bf16_silu(v1, scale) : vf_min(hi, vf_max(lo, v1));
            if (a->y32) {
                vf_store(a->y32 + r * 2 * VEC_W, v0);
                vf_store(a->y32 + (r * 2 + 1) * VEC_W, v1);
                continue;
            }
            if (lanes < VEC_W) v0 = vf_keep(v0, lanes), v1 = vf_keep(v1, lanes);
            if (both)
                vh_store_2(y + r * y_row, v0, v1);
            else
                vh_store(y + r * y_row, v0);
        }
    }
}

void BF16_NAME(tn_bf16_winograd_output)(const tn_bf16_winograd_run *a, int stride) {
    if (stride == 1) {
        if (a->silu)
            bf16_winograd_output(a, 1, true);
        else
            bf16_winograd_output(a, 1, false);
    } else {
        if (a->silu)
            bf16_winograd_output(a, 2, true);
        else
            bf16_winograd_output(a, 2, false);
    }
}
