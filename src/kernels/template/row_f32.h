/* Rows: see row.h. */
#include <math.h>

#include "kernels/row.h"
#include "kernels/template/exp_f32.h"

/* Elements that are summed in float. */
#define ROW_BLOCK ((size_t)64 * VEC_W)

TN_INLINE double row_add_lanes(vf v) {
    float lane[VEC_W];
    double sum = 0;
    vf_store(lane, v);
    for (int i = 0; i < VEC_W; i++) sum += (double)lane[i];
    return sum;
}

float VEC_NAME(tn_row_max_f32)(const float *x, size_t n, float start) {
    vf best[2] = {vf_set(start), vf_set(start)};
    size_t i = 0;
    for (; i + 2 * VEC_W <= n; i += 2 * VEC_W) {
        best[0] = vf_max(vf_load(x + i), best[0]);
        best[1] = vf_max(vf_load(x + i + VEC_W), best[1]);
    }
    float lane[VEC_W];
    vf_store(lane, vf_max(best[0], best[1]));
    for (; i < n; i++) start = x[i] > start ? x[i] : start;
    for (int l = 0; l < VEC_W; l++) start = lane[l] > start ? lane[l] : start;
    return start;
}

/* As TN_BIN_MAX and TN_BIN_MIN of eltwise.h: the first NaN stays. */
TN_INLINE vf extreme(vf best, vf x, const bool max) {
    return vf_sel(vf_isnan(best), best, max ? vf_max(best, x) : vf_min(best, x));
}

TN_INLINE float row_extreme(const float *x, size_t n, const bool max) {
    const float first = max ? -INFINITY : INFINITY;
    vf best[4] = {vf_set(x[0]), vf_set(x[0]), vf_set(x[0]), vf_set(x[0])};
    size_t i = 0;
    for (; i + 4 * VEC_W <= n; i += 4 * VEC_W) {
        TN_UNROLL
        for (int k = 0; k < 4; k++) best[k] = extreme(best[k], vf_load(x + i + (size_t)k * VEC_W), max);
    }
    for (; i + VEC_W <= n; i += VEC_W) best[0] = extreme(best[0], vf_load(x + i), max);
    float lane[VEC_W], top = first;
    vf_store(lane, extreme(extreme(best[0], best[1], max), extreme(best[2], best[3], max), max));
    for (int l = 0; l < VEC_W; l++) top = top != top || (max ? top > lane[l] : top < lane[l]) ? top : lane[l];
    for (; i < n; i++) top = top != top || (max ? top > x[i] : top < x[i]) ? top : x[i];
    return top;
}

float VEC_NAME(tn_row_extreme_f32)(const float *x, size_t n, bool max) {
    return max ? row_extreme(x, n, true) : row_extreme(x, n, false);
}

double VEC_NAME(tn_row_exp_f32)(const float *x, float shift, float *y, size_t n) {
    double total = 0;
    vf s = vf_set(shift);
    for (size_t b = 0; b < n; b += ROW_BLOCK) {
        size_t end = TN_MIN(n, b + ROW_BLOCK), i = b;
        vf sum = vf_zero();
        for (; i + VEC_W <= end; i += VEC_W) {
            vf e = vexp(vf_sub(vf_load(x + i), s));
            vf_store(y + i, e);
            sum = vf_add(sum, e);
        }
        if (i < end) {
            int64_t rest = (int64_t)(end - i);
            vf e = vexp(vf_sub(vf_load_n(x + i, rest), s));
            vf_store_n(y + i, e, rest);
            sum = vf_add(sum, vf_keep(e, rest));
        }
        total += row_add_lanes(sum);
    }
    return total;
}

/* Sum of (x - mean)^2 or of x, in four chains so that additions overlap. */
TN_INLINE double row_sum(const float *x, vf mean, const bool square, size_t n) {
    double total = 0;
    for (size_t b = 0; b < n; b += ROW_BLOCK) {
        size_t end = TN_MIN(n, b + ROW_BLOCK), i = b;
        vf sum[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
        for (; i + 4 * VEC_W <= end; i += 4 * VEC_W) {
            TN_UNROLL
            for (int k = 0; k < 4; k++) {
                vf v = vf_load(x + i + (size_t)k * VEC_W), d = vf_sub(v, mean);
                sum[k] = square ? vf_fma(d, d, sum[k]) : vf_add(sum[k], v);
            }
        }
        for (; i < end; i += VEC_W) {
            int64_t rest = (int64_t)TN_MIN(end - i, (size_t)VEC_W);
            vf v = vf_load_n(x + i, rest), d = vf_keep(vf_sub(v, mean), rest);
            sum[0] = square ? vf_fma(d, d, sum[0]) : vf_add(sum[0], v);
        }
        total += row_add_lanes(vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3])));
    }
    return total;
}

double VEC_NAME(tn_row_sum_f32)(const float *x, size_t n) { return row_sum(x, vf_zero(), false, n); }

double VEC_NAME(tn_row_square_f32)(const float *x, float mean, size_t n) { return row_sum(x, vf_set(mean), true, n); }

void VEC_NAME(tn_row_normalize_f32)(const float *x, float mean, float inv, const float *scale, const float *bias,
                                    float *y, size_t n) {
    vf m = vf_set(mean), f = vf_set(inv);
    for (size_t i = 0; i < n; i += VEC_W) {
        int64_t rest = (int64_t)TN_MIN(n - i, (size_t)VEC_W);
        bool full = rest == VEC_W;
        vf v = full ? vf_load(x + i) : vf_load_n(x + i, rest),
           s = full ? vf_load(scale + i) : vf_load_n(scale + i, rest);
        vf b = !bias ? vf_zero() : full ? vf_load(bias + i) : vf_load_n(bias + i, rest);
        v = vf_fma(vf_mul(vf_sub(v, m), f), s, b);
        if (full)
            vf_store(y + i, v);
        else
            vf_store_n(y + i, v, rest);
    }
}
