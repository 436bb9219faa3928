/* Winograd F(2 x 2, 3 x 3) on bfloat16: transforms in float32, products of bfloat16 (winograd.h has the struct's float
 * twin; here x, residual, y and the transformed input are bfloat16, the products float32). */
#include "kernels/bf16_winograd.h"
#include "kernels/template/bf16_silu.h"

#if VEC_PORTABLE
#define BF16_UNROLL /* small rather than fast */
#else
#define BF16_UNROLL TN_UNROLL_FULL
#endif

/* One dimension of B^T d. */
TN_INLINE void bf16_input_line(vf d0, vf d1, vf d2, vf d3, vf *t) {
    t[0] = vf_sub(d0, d2);
    t[1] = vf_add(d1, d2);
    t[2] = vf_sub(d2, d1);
    t[3] = vf_sub(d1, d3);
}

TN_INLINE void bf16_winograd_input(const tn_bf16_winograd_tile *a, const bool whole) {
    vf d[16];
    BF16_UNROLL
    for (int i = 0; i < 4; i++) {
        vf in[4];
        const uint16_t *row = a->x + i * a->x_row;
        BF16_UNROLL
        for (int j = 0; j < 4; j++) {
            bool inside = whole || (i >= a->y0 && i < a->y1 && j >= a->x0 && j < a->x1);
            in[j] = inside ? vh_load(row + j * VEC_W) : vf_zero();
        }
        bf16_input_line(in[0], in[1], in[2], in[3], d + i * 4);
    }
    uint16_t *v = a->v;
    const int64_t step = a->v_step;
    BF16_UNROLL
    for (int j = 0; j < 4; j++) {
        vf t[4];
        bf16_input_line(d[j], d[4 + j], d[8 + j], d[12 + j], t);
        BF16_UNROLL
        for (int i = 0; i < 4; i++) vh_store(v + (i * 4 + j) * step, t[i]);
    }
}

void BF16_NAME(tn_bf16_winograd_input)(const tn_bf16_winograd_tile *a) {
    if (a->y0 == 0 && a->x0 == 0 && a->y1 == 4 && a->x1 == 4)
        bf16_winograd_input(a, true);
    else
        bf16_winograd_input(a, false);
}

/* One dimension of A^T m. */
TN_INLINE void bf16_output_line(vf t0, vf t1, vf t2, vf t3, vf *y0, vf *y1) {
    *y0 = vf_add(t0, vf_add(t1, t2));
    *y1 = vf_sub(vf_sub(t1, t2), t3);
}

void BF16_NAME(tn_bf16_winograd_output)(const tn_bf16_winograd_tile *a) {
    const float *m = a->products;
    const int64_t step = a->m_step, y_row = a->y_row, lanes = a->lanes;
    const uint16_t *residual = a->residual;
    const bool silu = a->silu;
    const int rows = a->rows, cols = a->cols;
    uint16_t *y = a->y;
    float *y32 = a->y32;
    vf half[8], out[4]; /* 4 x 2; 2 x 2 */
    BF16_UNROLL
    for (int i = 0; i < 4; i++)
        bf16_output_line(vf_load(m + (i * 4) * step), vf_load(m + (i * 4 + 1) * step), vf_load(m + (i * 4 + 2) * step),
                         vf_load(m + (i * 4 + 3) * step), &half[i * 2], &half[i * 2 + 1]);
    BF16_UNROLL
    for (int j = 0; j < 2; j++) bf16_output_line(half[j], half[2 + j], half[4 + j], half[6 + j], &out[j], &out[2 + j]);
    vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi), alpha = vf_set(a->alpha);
    for (int k = 0; k < 4; k++) {
        const int64_t at = k / 2 * y_row + k % 2 * VEC_W;
        if (k / 2 >= rows || k % 2 >= cols) continue;
        vf v = vf_add(out[k], bias);
        if (residual) v = vf_add(v, vh_load(residual + at));
        if (silu) v = bf16_silu(v, alpha);
        v = vf_min(hi, vf_max(lo, v));
        if (y32)
            vf_store(y32 + k * VEC_W, v);
        else
            vh_store(y + at, vf_keep(v, lanes));
    }
}
