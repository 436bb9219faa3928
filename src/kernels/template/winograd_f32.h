/* Winograd transforms of float32. */
#include "kernels/winograd.h"

#include "kernels/template/max_f32.h"
#include "kernels/template/winograd_lines.h"

/* How far the input is fetched ahead, in columns past the tile: the map is larger than the caches, and a tile is done
 * before a fetch is. */
#define WINOGRAD_AHEAD 8

TN_INLINE void winograd_input(const tn_winograd_tile *a, const int m, const int stride, const bool whole) {
    const int inputs = tn_winograd_inputs(m, stride), planes = tn_winograd_planes(m, stride);
    const int64_t x_row = a->x_row;
    const float *row = a->x;
    vf d[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES];
    for (int i = 0; i < inputs; i++, row += x_row) {
        vf in[TN_WINOGRAD_PLANES];
        TN_UNROLL
        for (int j = 0; j < inputs; j++) {
            bool inside = whole || (i >= a->y0 && i < a->y1 && j >= a->x0 && j < a->x1);
            in[j] = inside ? vf_load(row + j * VEC_W) : vf_zero();
        }
        if (whole) {
            TN_UNROLL
            for (int j = 0; j < m * stride; j++) __builtin_prefetch(row + (inputs + WINOGRAD_AHEAD + j) * VEC_W);
        }
        input_1d(in, d + i * planes, m, stride);
    }
    float *v = a->v;
    const int64_t step = a->step;
    for (int j = 0; j < planes; j++, v += step) {
        vf in[TN_WINOGRAD_PLANES], t[TN_WINOGRAD_PLANES];
        TN_UNROLL
        for (int i = 0; i < inputs; i++) in[i] = d[i * planes + j];
        input_1d(in, t, m, stride);
        TN_UNROLL
        for (int i = 0; i < planes; i++) vf_store(v + i * planes * step, t[i]);
    }
}

/* Maxima of 2 x 2 outputs. Bias and clamp do not change which one is the largest. */
TN_INLINE void output_pooled(const tn_winograd_tile *a, const vf *half, const int m) {
    vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi);
    for (int j = 0; j + 1 < a->cols; j += 2) {
        vf left[4], right[4];
        output_1d(half + j, left, m, m, 1);
        output_1d(half + j + 1, right, m, m, 1);
        for (int i = 0; i + 1 < a->rows; i += 2) {
            vf r = vf_max_nan(vf_max_nan(left[i], right[i]), vf_max_nan(left[i + 1], right[i + 1]));
            r = vf_min(hi, vf_max(lo, vf_add(r, bias)));
            vf_store(a->y + i / 2 * a->y_row + j / 2 * VEC_W, vf_keep(r, a->lanes));
        }
    }
}

TN_INLINE void winograd_output(const tn_winograd_tile *a, const int m, const int stride) {
    const int sums = tn_winograd_sums(m, stride);
    const float *v = a->v, *residual = a->residual;
    const int64_t step = a->step, y_row = a->y_row, lanes = a->lanes;
    float *y = a->y;
    vf half[24]; /* sums x m */
    for (int i = 0; i < sums; i++) {
        vf t[6];
        TN_UNROLL
        for (int j = 0; j < sums; j++) t[j] = vf_load(v + (i * sums + j) * step);
        output_1d(t, half + i * m, 1, m, stride);
    }
    if (stride == 1 && a->pooled) {
        output_pooled(a, half, m);
        return;
    }
    vf bias = vf_load(a->bias), lo = vf_set(a->lo), hi = vf_set(a->hi);
    for (int j = 0; j < a->cols; j++) {
        vf out[4];
        output_1d(half + j, out, m, m, stride);
        for (int i = 0; i < a->rows; i++) {
            int64_t at = i * y_row + j * VEC_W;
            vf r = vf_add(out[i], bias);
            if (residual) r = vf_add(r, vf_load(residual + at));
            vf_store(y + at, vf_keep(vf_min(hi, vf_max(lo, r)), lanes));
        }
    }
}

/* One case for each kind of square tiles; m and stride are constants in it. */
#define WINOGRAD_SWITCH(kind, CASE, OTHERS) \
    switch (kind) {                         \
    case TN_WINOGRAD_2:                     \
        CASE(2, 1);                         \
        break;                              \
    case TN_WINOGRAD_4:                     \
        CASE(4, 1);                         \
        break;                              \
    case TN_WINOGRAD_2S2:                   \
        CASE(2, 2);                         \
        break;                              \
    case TN_WINOGRAD_4S2:                   \
        CASE(4, 2);                         \
        break;                              \
    case TN_WINOGRAD_2X4:                   \
        OTHERS;                             \
        break;                              \
    }

void VEC_NAME(tn_winograd_input_f32)(const tn_winograd_tile *a, tn_winograd_kind kind) {
#define WINOGRAD_INPUT(m, s)                                                              \
    if (a->y0 == 0 && a->x0 == 0 && a->y1 == (m - 1) * s + 3 && a->x1 == (m - 1) * s + 3) \
        winograd_input(a, m, s, true);                                                    \
    else                                                                                  \
        winograd_input(a, m, s, false)
    WINOGRAD_SWITCH(kind, WINOGRAD_INPUT, )
}

void VEC_NAME(tn_winograd_output_f32)(const tn_winograd_tile *a, tn_winograd_kind kind) {
#define WINOGRAD_OUTPUT(m, s) winograd_output(a, m, s)
    WINOGRAD_SWITCH(kind, WINOGRAD_OUTPUT, )
}

/* G g G^T with G of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), in double. At stride 2,
 * rows of the outer taps g0 and g2 are those of F(2, 2) and F(4, 2), the others hold what of the middle tap the odd
 * inputs of input_2s2 and input_4s2 need. */
enum { WEIGHT_W = VEC_W / 2 }; /* doubles in a vector: compilers pass wider ones through memory */
typedef float weight_f __attribute__((vector_size(WEIGHT_W * sizeof(float))));
typedef double weight_d __attribute__((vector_size(WEIGHT_W * sizeof(double))));

#define P WINOGRAD_P /* as in input_4p */
#define Q WINOGRAD_Q
#define POINT(x, other)                                                                       \
    {                                                                                         \
        1 / (2 * x * x * (x * x - other * other)), x / (2 * x * x * (x * x - other * other)), \
            x *x / (2 * x * x * (x * x - other * other))                                      \
    }
static const double winograd_g[TN_WINOGRAD_2X4 + 1][TN_WINOGRAD_PLANES][3] = {
    [TN_WINOGRAD_2] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
    [TN_WINOGRAD_4] = {{1.0 / 4, 0, 0},
                       {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                       {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                       {1.0 / 24, 1.0 / 12, 1.0 / 6},
                       {1.0 / 24, -1.0 / 12, 1.0 / 6},
                       {0, 0, 1}},
    [TN_WINOGRAD_2S2] = {{1, 0, 0}, {0, 1, 0}, {1, 0, 1}, {0, 0, 1}, {0, 1, 0}},
    [TN_WINOGRAD_4S2] = {{0.5, 0, 0},
                         {0, 1, 0},
                         {-0.5, 0, -0.5},
                         {0, 0.5, 0},
                         {-1.0 / 6, 0, 1.0 / 6},
                         {0, 0.5, 0},
                         {1.0 / 6, 0, 1.0 / 3},
                         {0, 0, 1},
                         {0, 1, 0}},
    [TN_WINOGRAD_2X4] = {{1 / (double)(P * P * Q * Q), 0, 0},
                         POINT((double)P, (double)Q),
                         POINT(-(double)P, (double)Q),
                         POINT((double)Q, (double)P),
                         POINT(-(double)Q, (double)P),
                         {0, 0, 1}},
};
#undef POINT
#undef P
#undef Q

/* WEIGHT_W outputs, u: (rows, cols, VEC_W). */
TN_INLINE void weight_half(const float *w, float *u, const int rows, const double (*gr)[3], const int cols,
                           const double (*gc)[3]) {
    weight_d in[9], t[TN_WINOGRAD_PLANES][3];
    for (int i = 0; i < 9; i++) {
        weight_f v;
        memcpy(&v, w + i * VEC_W, sizeof v);
        in[i] = __builtin_convertvector(v, weight_d);
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 3; j++) t[i][j] = gr[i][0] * in[j] + gr[i][1] * in[3 + j] + gr[i][2] * in[6 + j];
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < cols; j++) {
            weight_d d = t[i][0] * gc[j][0] + t[i][1] * gc[j][1] + t[i][2] * gc[j][2];
            weight_f v = __builtin_convertvector(d, weight_f);
            memcpy(u + (i * cols + j) * VEC_W, &v, sizeof v);
        }
    }
}

/* Planes are often pages apart, in the same few sets of a cache: they are written past it. */
TN_INLINE void winograd_weight(const float *w, float *u, int64_t step, const unsigned char *order, const int rows,
                               const double (*gr)[3], const int cols, const double (*gc)[3]) {
    _Alignas(TN_CACHE_LINE) float all[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES * VEC_W];
    for (int i = 0; i < VEC_W; i += WEIGHT_W) weight_half(w + i, all + i, rows, gr, cols, gc);
    bool stream = step >= 1024 && ((uintptr_t)u | (uintptr_t)step * sizeof *u) % (VEC_W * sizeof *u) == 0;
    for (int i = 0; i < rows * cols && !stream; i++) vf_store(u + order[i] * step, vf_load(all + i * VEC_W));
    for (int i = 0; i < rows * cols && stream; i++) vf_stream(u + order[i] * step, vf_load(all + i * VEC_W));
}

void VEC_NAME(tn_winograd_weight_f32)(const float *w, float *u, int64_t step, const unsigned char *order,
                                      tn_winograd_kind kind) {
#define WINOGRAD_WEIGHT(m, s)                                                                                \
    winograd_weight(w, u, step, order, tn_winograd_planes(m, s), winograd_g[kind], tn_winograd_planes(m, s), \
                    winograd_g[kind])
    WINOGRAD_SWITCH(kind, WINOGRAD_WEIGHT,
                    winograd_weight(w, u, step, order, 4, winograd_g[TN_WINOGRAD_2], 6, winograd_g[kind]))
}
