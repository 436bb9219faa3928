/* Pooling of one block of channels. `lanes` is how many of its channels exist; the others are written as zeros. */
#include "kernels/pool.h"

TN_INLINE vf max_nan(vf acc, vf x) { return vf_sel(vf_isnan(acc), acc, vf_max(acc, x)); }

/* The taps t of [0, taps) for which pos + t * dil lies in [lo, hi). */
TN_INLINE void tap_range(int64_t pos, int taps, int dil, int64_t lo, int64_t hi, int64_t *begin, int64_t *end) {
    int64_t first = pos >= lo ? 0 : (lo - pos + dil - 1) / dil;
    int64_t last = pos >= hi ? 0 : (hi - pos + dil - 1) / dil;
    *end = TN_MIN(last, taps);
    *begin = TN_MIN(first, *end);
}

/* x: (ih, iw, VEC_W), y: (ow, VEC_W), the row oy of the result. */
void VEC_NAME(tn_pool2d_row_f32)(const tn_pool2d *p, const float *x, float *y, int64_t oy, int64_t lanes) {
    int64_t iy = oy * p->sh - p->pad_top, ky0, ky1, cy0, cy1;
    tap_range(iy, p->kh, p->dh, 0, p->ih, &ky0, &ky1);
    tap_range(iy, p->kh, p->dh, -(int64_t)p->pad_top, p->ih + p->pad_bottom, &cy0, &cy1);
    for (int64_t ox = 0; ox < p->ow; ox++) {
        int64_t ix = ox * p->sw - p->pad_left, kx0, kx1, cx0, cx1;
        tap_range(ix, p->kw, p->dw, 0, p->iw, &kx0, &kx1);
        vf acc = p->average ? vf_zero() : vf_set(-__builtin_inff());
        for (int64_t ky = ky0; ky < ky1; ky++) {
            const float *row = x + ((iy + ky * p->dh) * p->iw + ix) * VEC_W;
            if (p->average)
                for (int64_t kx = kx0; kx < kx1; kx++) acc = vf_add(acc, vf_load(row + kx * p->dw * VEC_W));
            else
                for (int64_t kx = kx0; kx < kx1; kx++) acc = max_nan(acc, vf_load(row + kx * p->dw * VEC_W));
        }
        if (p->average) {
            int64_t count = (ky1 - ky0) * (kx1 - kx0);
            if (p->count_pad) {
                tap_range(ix, p->kw, p->dw, -(int64_t)p->pad_left, p->iw + p->pad_right, &cx0, &cx1);
                count = (cy1 - cy0) * (cx1 - cx0);
            }
            acc = vf_div(acc, vf_set((float)TN_MAX(count, 1)));
        }
        vf_store(y + ox * VEC_W, vf_keep(acc, lanes));
    }
}

/* y[0..VEC_W) = mean of the hw vectors of x. Four partial sums, so that additions overlap. */
void VEC_NAME(tn_pool_mean_f32)(const float *x, float *y, int64_t hw, int64_t lanes) {
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t i = 0;
    for (; i + 4 <= hw; i += 4)
        for (int j = 0; j < 4; j++) s[j] = vf_add(s[j], vf_load(x + (i + j) * VEC_W));
    for (; i < hw; i++) s[0] = vf_add(s[0], vf_load(x + i * VEC_W));
    vf sum = vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3]));
    vf_store(y, vf_keep(vf_div(sum, vf_set((float)hw)), lanes));
}
