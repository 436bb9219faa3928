/* Winograd transforms on bfloat16 (bf16_winograd.h): in float32, products of bfloat16. */
#include "kernels/bf16_winograd.h"
#include "kernels/template/bf16_silu.h"
#include "kernels/template/winograd_lines.h"

/* Where bfloat16 is put together from other instructions, small rather than fast: it takes longer than float32 there
 * anyway, and unrolled it would be a tenth of the library. */
#ifdef BF16_NATIVE
#define BF16_UNROLL TN_UNROLL_FULL
#define BF16_WHOLE  true
#else
#define BF16_UNROLL
#define BF16_WHOLE false
#endif

#define BF16_PLANES 6  /* of one dimension, at most */
#define BF16_COLS   10 /* of two neighbouring tiles, at most */

/* Rows have two outputs; columns m, 2 or 4, the latter at stride 1. */
TN_INLINE void bf16_input_row(const vf *d, vf *t, const int m, const int stride) {
    if (m == 4)
        input_4p(d, t);
    else
        input_1d(d, t, 2, stride);
}
TN_INLINE void bf16_output_row(const vf *t, vf *y, const int m, const int stride) {
    if (m == 4)
        output_4p(t, y);
    else
        output_1d(t, y, 1, 2, stride);
}

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
                                const int m, const int stride, const bool whole, const int tiles) {
    const int rows = tn_winograd_planes(2, stride), planes = tn_winograd_planes(m, stride);
    const int inputs = tn_winograd_inputs(m, stride), own = m * stride, shared = inputs - own;
    const int64_t step = a->v_step;
    BF16_UNROLL
    for (int j = shared; j < shared + tiles * own; j++) bf16_column(a, x, j, col[j], stride, whole);
    BF16_UNROLL
    for (int i = 0; i < rows; i++) {
        vf t[2][BF16_PLANES];
        BF16_UNROLL
        for (int k = 0; k < tiles; k++) {
            vf in[BF16_PLANES];
            BF16_UNROLL
            for (int j = 0; j < inputs; j++) in[j] = col[k * own + j][i];
            bf16_input_row(in, t[k], m, stride);
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
    for (int j = 0; j < shared; j++) memcpy(col[j], col[tiles * own + j], sizeof col[j]);
}

TN_INLINE void bf16_winograd_input(const tn_bf16_winograd_run *run, const int m, const int stride, const bool whole) {
    const tn_bf16_winograd_run a = *run; /* that stores can not change */
    const int own = m * stride, shared = tn_winograd_inputs(m, stride) - own;
    const int64_t count = a.count;
    const uint16_t *x = a.x;
    uint16_t *v = a.v;
    vf col[BF16_COLS][BF16_PLANES];
    BF16_UNROLL
    for (int j = 0; j < shared; j++) bf16_column(&a, x, j, col[j], stride, whole);
    int64_t t = 0;
    for (; t + 2 <= count; t += 2, x += 2 * own * VEC_W, v += 2 * VEC_W)
        bf16_input_tiles(&a, x, v, col, m, stride, whole, 2);
    if (t < count) bf16_input_tiles(&a, x, v, col, m, stride, whole, 1);
}

/* One case for each kind; m and stride are constants in it. */
#define BF16_SWITCH(kind, CASE)     \
    if (kind == TN_WINOGRAD_2X4)    \
        CASE(4, 1);                 \
    else if (kind == TN_WINOGRAD_2) \
        CASE(2, 1);                 \
    else                            \
        CASE(2, 2)

void BF16_NAME(tn_bf16_winograd_input)(const tn_bf16_winograd_run *a, tn_winograd_kind kind) {
    int stride = kind == TN_WINOGRAD_2S2 ? 2 : 1, inputs = tn_winograd_inputs(kind == TN_WINOGRAD_2X4 ? 4 : 2, stride);
    bool whole =
        a->y0 == 0 && a->y1 == tn_winograd_inputs(2, stride) && (a->count > 1 || (a->x0 == 0 && a->x1 == inputs));
#define BF16_INPUT(m, s)                         \
    do {                                         \
        if (BF16_WHOLE && whole)                 \
            bf16_winograd_input(a, m, s, true);  \
        else                                     \
            bf16_winograd_input(a, m, s, false); \
    } while (0)
    BF16_SWITCH(kind, BF16_INPUT);
}

/* The sums of one tile, back to 2 x m outputs. */
TN_INLINE void bf16_output_tile(const float *p, const int64_t step, vf (*out)[4], const int m, const int stride) {
    const int rows = tn_winograd_sums(2, stride), cols = tn_winograd_sums(m, stride);
    vf half[4][4];
    BF16_UNROLL
    for (int i = 0; i < rows; i++) {
        vf t[BF16_PLANES];
        BF16_UNROLL
        for (int j = 0; j < cols; j++) t[j] = vf_load(p + (i * cols + j) * step);
        bf16_output_row(t, half[i], m, stride);
    }
    BF16_UNROLL
    for (int j = 0; j < m; j++) {
        vf t[4], y[2];
        BF16_UNROLL
        for (int i = 0; i < rows; i++) t[i] = half[i][j];
        output_1d(t, y, 1, 2, stride);
        out[0][j] = y[0];
        out[1][j] = y[1];
    }
}

typedef struct bf16_end {
    vf bias, lo, hi, scale;
} bf16_end;

/* Two neighbouring outputs (one where there are not `both`), `at` elements behind y, or `at32` behind y32. */
TN_INLINE void bf16_finish_pair(const tn_bf16_winograd_run *a, const bf16_end *e, vf v0, vf v1, int64_t at,
                                int64_t at32, bool both, const bool silu) {
    v0 = vf_add(v0, e->bias), v1 = vf_add(v1, e->bias);
    if (a->residual) {
        v0 = vf_add(v0, vh_load(a->residual + at));
        if (both) v1 = vf_add(v1, vh_load(a->residual + at + VEC_W));
    }
    v0 = silu ? bf16_silu(v0, e->scale) : vf_min(e->hi, vf_max(e->lo, v0));
    v1 = silu ? bf16_silu(v1, e->scale) : vf_min(e->hi, vf_max(e->lo, v1));
    if (a->y32) {
        vf_store(a->y32 + at32, v0);
        vf_store(a->y32 + at32 + VEC_W, v1);
        return;
    }
    if (a->lanes < VEC_W) v0 = vf_keep(v0, a->lanes), v1 = vf_keep(v1, a->lanes);
    if (both)
        vh_store_2(a->y + at, v0, v1);
    else
        vh_store(a->y + at, v0);
}

TN_INLINE void bf16_winograd_output(const tn_bf16_winograd_run *run, const int m, const int stride, const bool silu) {
    const tn_bf16_winograd_run a = *run; /* that stores can not change */
    const bf16_end e = {vf_load(a.bias), vf_set(a.lo), vf_set(a.hi), bf16_silu_scale(a.alpha)};
    const float *p = a.products;
    for (int64_t t = 0; t < a.count; t++, p += a.m_tile) {
        vf out[2][4];
        bf16_output_tile(p, a.m_step, out, m, stride);
        const int cols = t < a.count - 1 ? m : a.cols;
        for (int r = 0; r < a.rows; r++) {
            BF16_UNROLL
            for (int j = 0; j < m; j += 2) {
                if (j >= cols) continue;
                vf v0 = r ? out[1][j] : out[0][j], v1 = r ? out[1][j + 1] : out[0][j + 1];
                bf16_finish_pair(&a, &e, v0, v1, r * a.y_row + (t * m + j) * VEC_W, (r * m + j) * VEC_W, j + 1 < cols,
                                 silu);
            }
        }
    }
}

void BF16_NAME(tn_bf16_winograd_output)(const tn_bf16_winograd_run *a, tn_winograd_kind kind) {
#define BF16_OUTPUT(m, s)                         \
    do {                                          \
        if (a->silu)                              \
            bf16_winograd_output(a, m, s, true);  \
        else                                      \
            bf16_winograd_output(a, m, s, false); \
    } while (0)
    BF16_SWITCH(kind, BF16_OUTPUT);
}
