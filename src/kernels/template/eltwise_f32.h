/* Elementwise arithmetic: one loop per operation and pair of steps. */
#include "kernels/eltwise.h"

#include <float.h>
#include <math.h>

#include "kernels/template/pow_f32.h"

TN_INLINE vf bin_vector(tn_bin_kind op, vf a, vf b) {
    switch (op) {
    case TN_BIN_ADD:
        return vf_add(a, b);
    case TN_BIN_SUB:
        return vf_sub(a, b);
    case TN_BIN_MUL:
        return vf_mul(a, b);
    case TN_BIN_DIV:
        return vf_div(a, b);
    case TN_BIN_MIN:
        return vf_sel(vf_isnan(a), a, vf_min(a, b));
    case TN_BIN_MAX:
        return vf_sel(vf_isnan(a), a, vf_max(a, b));
    case TN_BIN_POW:
        return vpow(a, b);
    case TN_BIN_COUNT:
        break;
    }
    return a;
}

TN_INLINE void bin_loop(tn_bin_kind op, const float *a, int as, const float *b, int bs, float *y, size_t n) {
    vf a0 = vf_set(a[0]), b0 = vf_set(b[0]);
    size_t i = 0;
    for (; i + VEC_W <= n; i += VEC_W)
        vf_store(y + i, bin_vector(op, as ? vf_load(a + i) : a0, bs ? vf_load(b + i) : b0));
    if (i < n) {
        int64_t rest = (int64_t)(n - i);
        vf av = as ? vf_load_n(a + i, rest) : a0, bv = bs ? vf_load_n(b + i, rest) : b0;
        vf_store_n(y + i, bin_vector(op, av, bv), rest);
    }
}

TN_INLINE void bin_steps(tn_bin_kind op, const float *a, int as, const float *b, int bs, float *y, size_t n) {
    if (as && bs)
        bin_loop(op, a, 1, b, 1, y, n);
    else if (as)
        bin_loop(op, a, 1, b, 0, y, n);
    else if (bs)
        bin_loop(op, a, 0, b, 1, y, n);
    else
        bin_loop(op, a, 0, b, 0, y, n);
}

void VEC_NAME(tn_bin_f32)(tn_bin_kind op, const float *a, int as, const float *b, int bs, float *y, size_t n) {
    if (n == 0) return;
    switch (op) {
    case TN_BIN_ADD:
        bin_steps(TN_BIN_ADD, a, as, b, bs, y, n);
        break;
    case TN_BIN_SUB:
        bin_steps(TN_BIN_SUB, a, as, b, bs, y, n);
        break;
    case TN_BIN_MUL:
        bin_steps(TN_BIN_MUL, a, as, b, bs, y, n);
        break;
    case TN_BIN_DIV:
        bin_steps(TN_BIN_DIV, a, as, b, bs, y, n);
        break;
    case TN_BIN_MIN:
        bin_steps(TN_BIN_MIN, a, as, b, bs, y, n);
        break;
    case TN_BIN_MAX:
        bin_steps(TN_BIN_MAX, a, as, b, bs, y, n);
        break;
    case TN_BIN_POW:
        bin_steps(TN_BIN_POW, a, as, b, bs, y, n);
        break;
    case TN_BIN_COUNT:
        break;
    }
}

void VEC_NAME(tn_scale_shift_f32)(const float *scale, const float *shift, float lo, float hi, const float *x, float *y,
                                  size_t n) {
    vf s = vf_load(scale), t = vf_load(shift), vlo = vf_set(lo), vhi = vf_set(hi);
    size_t i = 0;
    for (; i + VEC_W <= n; i += VEC_W) vf_store(y + i, vf_min(vhi, vf_max(vlo, vf_fma(vf_load(x + i), s, t))));
    if (i < n) {
        int64_t rest = (int64_t)(n - i);
        vf_store_n(y + i, vf_min(vhi, vf_max(vlo, vf_fma(vf_load_n(x + i, rest), s, t))), rest);
    }
}

/* y (rows, width): row i of x times scale[i]; width is VEC_W or a multiple of it. */
void VEC_NAME(tn_scale_rows_f32)(const float *x, const float *scale, int64_t rows, int64_t width, float *y) {
    for (int64_t i = 0; i < rows; i++, x += width, y += width) {
        vf s = vf_set(scale[i]);
        for (int64_t j = 0; j < width; j += VEC_W) vf_store(y + j, vf_mul(vf_load(x + j), s));
    }
}
