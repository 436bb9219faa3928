/* Winograd transforms for F(2x2, 3x3) and F(4x4, 3x3), interpolation points 0, 1, -1, (2, -2,) infinity. */
#include "kernels/winograd.h"

/* How far the input is fetched ahead, in columns past the tile: the map is larger than the caches, and a tile is done
 * before a fetch is. */
#define WINOGRAD_AHEAD 8

/* One dimension of B^T d; in and out step through t by `s`. */
TN_INLINE void input_2(const vf *d, vf *t, const int s) {
    t[0] = vf_sub(d[0], d[2 * s]);
    t[s] = vf_add(d[s], d[2 * s]);
    t[2 * s] = vf_sub(d[2 * s], d[s]);
    t[3 * s] = vf_sub(d[s], d[3 * s]);
}

TN_INLINE void input_4(const vf *d, vf *t, const int s) {
    vf d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    vf two = vf_set(2.0f), m4 = vf_set(-4.0f), m5 = vf_set(-5.0f), four = vf_set(4.0f);
    vf even = vf_fma(m4, d2, d4), odd = vf_fma(m4, d1, d3); /* d4 - 4 d2, d3 - 4 d1 */
    vf e2 = vf_sub(d4, d2), o2 = vf_sub(d3, d1);
    t[0] = vf_fma(four, d0, vf_fma(m5, d2, d4));
    t[s] = vf_add(even, odd);
    t[2 * s] = vf_sub(even, odd);
    t[3 * s] = vf_fma(two, o2, e2);
    t[4 * s] = vf_fma(vf_set(-2.0f), o2, e2);
    t[5 * s] = vf_fma(four, d1, vf_fma(m5, d3, d5));
}

/* One dimension of A^T m: m + 2 values to m. */
TN_INLINE void output_2(const vf *t, vf *y, const int from, const int to) {
    vf a = vf_add(t[from], t[2 * from]), b = vf_sub(t[from], t[2 * from]);
    y[0] = vf_add(t[0], a);
    y[to] = vf_sub(b, t[3 * from]);
}

TN_INLINE void output_4(const vf *t, vf *y, const int from, const int to) {
    vf p = vf_add(t[from], t[2 * from]), q = vf_sub(t[from], t[2 * from]);
    vf r = vf_add(t[3 * from], t[4 * from]), s = vf_sub(t[3 * from], t[4 * from]);
    y[0] = vf_add(vf_add(t[0], p), r);
    y[to] = vf_fma(vf_set(2.0f), s, q);
    y[2 * to] = vf_fma(vf_set(4.0f), r, p);
    y[3 * to] = vf_add(vf_fma(vf_set(8.0f), s, q), t[5 * from]);
}

TN_INLINE void input_1d(const vf *d, vf *t, const int m) {
    if (m == 2)
        input_2(d, t, 1);
    else
        input_4(d, t, 1);
}

TN_INLINE void winograd_input(const tn_winograd_tile *a, const int m, const bool whole) {
    const int e = m + 2;
    const int64_t x_row = a->x_row;
    const float *row = a->x;
    vf d[36];
    for (int i = 0; i < e; i++, row += x_row) {
        vf in[6];
        TN_UNROLL
        for (int j = 0; j < e; j++) {
            bool inside = whole || (i >= a->y0 && i < a->y1 && j >= a->x0 && j < a->x1);
            in[j] = inside ? vf_load(row + j * VEC_W) : vf_zero();
        }
        if (whole) {
            TN_UNROLL
            for (int j = 0; j < m; j++) __builtin_prefetch(row + (e + WINOGRAD_AHEAD + j) * VEC_W);
        }
        input_1d(in, d + i * e, m);
    }
    float *v = a->v;
    const int64_t step = a->step;
    for (int j = 0; j < e; j++, v += step) {
        vf in[6], t[6];
        TN_UNROLL
        for (int i = 0; i < e; i++) in[i] = d[i * e + j];
        input_1d(in, t, m);
        TN_UNROLL
        for (int i = 0; i < e; i++) vf_store(v + i * e * step, t[i]);
    }
}

TN_INLINE void winograd_output(const tn_winograd_tile *a, const int m) {
    const int e = m + 2;
    const float *v = a->v, *residual = a->residual;
    const int64_t step = a->step, y_row = a->y_row, lanes = a->lanes;
    float *y = a->y;
    vf half[24]; /* (m + 2) x m */
    for (int i = 0; i < e; i++) {
        vf t[6];
        TN_UNROLL
        for (int j = 0; j < e; j++) t[j] = vf_load(v + (i * e + j) * step);
        if (m == 2)
            output_2(t, half + i * m, 1, 1);
        else
            output_4(t, half + i * m, 1, 1);
    }
    vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi);
    for (int j = 0; j < a->cols; j++) {
        vf out[4];
        if (m == 2)
            output_2(half + j, out, 2, 1);
        else
            output_4(half + j, out, 4, 1);
        for (int i = 0; i < a->rows; i++) {
            int64_t at = i * y_row + j * VEC_W;
            vf r = vf_add(out[i], bias);
            if (residual) r = vf_add(r, vf_load(residual + at));
            vf_store(y + at, vf_keep(vf_min(hi, vf_max(lo, r)), lanes));
        }
    }
}

void VEC_NAME(tn_winograd_input_f32)(const tn_winograd_tile *a, int m) {
    const bool whole = a->y0 == 0 && a->x0 == 0 && a->y1 == m + 2 && a->x1 == m + 2;
    if (m == 2 && whole)
        winograd_input(a, 2, true);
    else if (m == 2)
        winograd_input(a, 2, false);
    else if (whole)
        winograd_input(a, 4, true);
    else
        winograd_input(a, 4, false);
}

void VEC_NAME(tn_winograd_output_f32)(const tn_winograd_tile *a, int m) {
    if (m == 2)
        winograd_output(a, 2);
    else
        winograd_output(a, 4);
}

/* G g G^T with G of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), in double. */
typedef float weight_f __attribute__((vector_size(VEC_W * sizeof(float))));
typedef double weight_d __attribute__((vector_size(VEC_W * sizeof(double))));

TN_INLINE void winograd_weight(const float *w, float *u, int64_t step, const int m) {
    static const double g2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    static const double g4[6][3] = {{1.0 / 4, 0, 0},
                                    {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                    {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                    {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                    {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                    {0, 0, 1}};
    const double(*g)[3] = m == 2 ? g2 : g4;
    const int e = m + 2;
    weight_d in[9], t[6][3];
    for (int i = 0; i < 9; i++) {
        weight_f v;
        memcpy(&v, w + i * VEC_W, sizeof v);
        in[i] = __builtin_convertvector(v, weight_d);
    }
    for (int i = 0; i < e; i++)
        for (int j = 0; j < 3; j++) t[i][j] = g[i][0] * in[j] + g[i][1] * in[3 + j] + g[i][2] * in[6 + j];
    for (int i = 0; i < e; i++) {
        for (int j = 0; j < e; j++) {
            weight_d d = t[i][0] * g[j][0] + t[i][1] * g[j][1] + t[i][2] * g[j][2];
            weight_f v = __builtin_convertvector(d, weight_f);
            memcpy(u + (i * e + j) * step, &v, sizeof v);
        }
    }
}

void VEC_NAME(tn_winograd_weight_f32)(const float *w, float *u, int64_t step, int m) {
    if (m == 2)
        winograd_weight(w, u, step, 2);
    else
        winograd_weight(w, u, step, 4);
}
