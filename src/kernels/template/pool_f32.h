/* Pooling of one block of channels. `lanes` is how many of its channels exist; the others are written as zeros. */
#include "kernels/pool.h"

#include "kernels/template/max_f32.h"

/* The taps t of [0, taps) for which pos + t * dil lies in [lo, hi). */
TN_INLINE void tap_range(int64_t pos, int taps, int dil, int64_t lo, int64_t hi, int64_t *begin, int64_t *end) {
    int64_t first = pos >= lo ? 0 : (lo - pos + dil - 1) / dil;
    int64_t last = pos >= hi ? 0 : (hi - pos + dil - 1) / dil;
    *end = TN_MIN(last, taps);
    *begin = TN_MIN(first, *end);
}

/* What the outputs of a row share. */
typedef struct pool_row {
    const tn_pool2d *p;
    const float *x;                       /* (ih, iw, VEC_W), the row where the window begins, which may lie before x */
    int64_t ky0, ky1;                     /* kernel rows inside x */
    int64_t count_rows, inside0, inside1; /* rows that an average counts; outputs whose columns all lie inside */
    int64_t lanes;
} pool_row;

TN_INLINE vf pool_one(const pool_row *r, const bool average, int64_t ix, const int kw, int64_t kx0, int64_t kx1) {
    const tn_pool2d *p = r->p;
    vf acc = average ? vf_zero() : vf_set(-__builtin_inff());
    for (int64_t ky = r->ky0; ky < r->ky1; ky++) {
        const float *row = r->x + (ky * p->dh * p->iw + ix) * VEC_W;
        if (kw) { /* a constant, all inside, dw == 1 */
            TN_UNROLL_FULL
            for (int kx = 0; kx < kw; kx++) {
                vf v = vf_load(row + kx * VEC_W);
                acc = average ? vf_add(acc, v) : vf_max_nan(acc, v);
            }
            continue;
        }
        for (int64_t kx = kx0; kx < kx1; kx++) {
            vf v = vf_load(row + kx * p->dw * VEC_W);
            acc = average ? vf_add(acc, v) : vf_max_nan(acc, v);
        }
    }
    return acc;
}

TN_INLINE void pool_edge(const pool_row *r, const bool average, float *y, int64_t ox) {
    const tn_pool2d *p = r->p;
    int64_t ix = ox * p->sw - p->pad_left, kx0, kx1, cx0, cx1;
    tap_range(ix, p->kw, p->dw, 0, p->iw, &kx0, &kx1);
    vf acc = pool_one(r, average, ix, 0, kx0, kx1);
    if (average) {
        int64_t columns = kx1 - kx0;
        if (p->count_pad) {
            tap_range(ix, p->kw, p->dw, -(int64_t)p->pad_left, p->iw + p->pad_right, &cx0, &cx1);
            columns = cx1 - cx0;
        }
        acc = vf_div(acc, vf_set((float)TN_MAX(r->count_rows * columns, 1)));
    }
    vf_store(y + ox * VEC_W, vf_keep(acc, r->lanes));
}

/* kw: a constant, or 0 for any. */
TN_INLINE void pool_inside(const pool_row *r, const bool average, const int kw, float *y) {
    const tn_pool2d *p = r->p;
    vf count = vf_set((float)TN_MAX(r->count_rows * p->kw, 1));
    for (int64_t ox = r->inside0; ox < r->inside1; ox++) {
        vf acc = pool_one(r, average, ox * p->sw - p->pad_left, kw, 0, p->kw);
        if (average) acc = vf_div(acc, count);
        vf_store(y + ox * VEC_W, vf_keep(acc, r->lanes));
    }
}

/* ---- maxima of three columns ------------------------------------------------------------------------------------- */

/* Each column's maximum is taken once and serves all windows that it lies in. NaNs are not looked for meanwhile, but
 * whatever is times zero not zero is remembered. */
TN_INLINE vf max_column(const float *x, const int64_t step, const int rows, vf *odd) {
    vf acc = vf_load(x);
    odd[0] = vf_fma(acc, vf_zero(), odd[0]);
    TN_UNROLL_FULL
    for (int ky = 1; ky < rows; ky++) {
        vf v = vf_load(x + ky * step);
        odd[ky] = vf_fma(v, vf_zero(), odd[ky]);
        acc = vf_max(acc, v);
    }
    return acc;
}

/* Windows of `rows` rows and three columns, `sw` apart: constants. False: there are NaNs or infinities, so that the
 * result may be wrong. */
TN_INLINE bool max_inside_3(const pool_row *r, const int rows, const int sw, float *y) {
    const int64_t step = r->p->dh * r->p->iw * VEC_W;
    const float *x = r->x + r->ky0 * step + (r->inside0 * sw - r->p->pad_left) * VEC_W;
    vf odd[2][3], last[2];
    TN_UNROLL_FULL
    for (int i = 0; i < 6; i++) odd[i / 3][i % 3] = vf_zero();
    TN_UNROLL_FULL
    for (int i = 0; i < 3 - sw; i++) last[i] = max_column(x + i * VEC_W, step, rows, odd[0]);
    for (int64_t ox = r->inside0; ox < r->inside1; ox++, x += sw * VEC_W) {
        vf next = max_column(x + 2 * VEC_W, step, rows, odd[0]), middle = last[sw == 1];
        if (sw == 2) middle = max_column(x + VEC_W, step, rows, odd[1]);
        TN_UNROLL_FULL
        for (int i = 0; i < sw * sw; i++) /* what the next row of windows reads and this one does not */
            __builtin_prefetch(x + (rows + i / sw) * step + i % sw * VEC_W, 0, 3);
        vf_store(y + ox * VEC_W, vf_keep(vf_max(vf_max(last[0], middle), next), r->lanes));
        last[0] = sw == 1 ? middle : next;
        if (sw == 1) last[1] = next;
    }
    TN_UNROLL_FULL
    for (int i = 1; i < 6; i++) odd[0][0] = vf_add(odd[0][0], odd[i / 3][i % 3]);
    return !vm_any(vf_isnan(odd[0][0]));
}

/* Where there is such a window; else, and where it gives up, false. */
TN_INLINE bool max_inside(const pool_row *r, float *y) {
    const tn_pool2d *p = r->p;
    const int64_t rows = r->ky1 - r->ky0;
    if (p->kw != 3 || p->dw != 1 || r->inside1 <= r->inside0) return false;
    if (p->sw == 1) return rows == 3 ? max_inside_3(r, 3, 1, y) : rows == 2 ? max_inside_3(r, 2, 1, y) : false;
    if (p->sw == 2) return rows == 3 ? max_inside_3(r, 3, 2, y) : rows == 2 ? max_inside_3(r, 2, 2, y) : false;
    return false;
}

TN_INLINE void pool_middle(const pool_row *r, const bool average, float *y) {
    if (!average && max_inside(r, y)) return;
    if (r->p->kw == 3 && r->p->dw == 1)
        pool_inside(r, average, 3, y);
    else if (r->p->kw == 2 && r->p->dw == 1)
        pool_inside(r, average, 2, y);
    else
        pool_inside(r, average, 0, y);
}

TN_INLINE void pool_line(const pool_row *r, const bool average, float *y) {
    for (int64_t ox = 0; ox < r->inside0; ox++) pool_edge(r, average, y, ox);
    pool_middle(r, average, y);
    for (int64_t ox = r->inside1; ox < r->p->ow; ox++) pool_edge(r, average, y, ox);
}

/* x: (ih, iw, VEC_W), y: (ow, VEC_W), the row oy of the result. */
void VEC_NAME(tn_pool2d_row_f32)(const tn_pool2d *p, const float *x, float *y, int64_t oy, int64_t lanes) {
    int64_t iy = oy * p->sh - p->pad_top, room = p->iw + p->pad_left - (int64_t)(p->kw - 1) * p->dw - 1, cy0, cy1;
    pool_row r = {.p = p, .x = x + iy * p->iw * VEC_W, .lanes = lanes};
    tap_range(iy, p->kh, p->dh, 0, p->ih, &r.ky0, &r.ky1);
    r.count_rows = r.ky1 - r.ky0;
    if (p->count_pad) {
        tap_range(iy, p->kh, p->dh, -(int64_t)p->pad_top, p->ih + p->pad_bottom, &cy0, &cy1);
        r.count_rows = cy1 - cy0;
    }
    r.inside0 = TN_MIN(((int64_t)p->pad_left + p->sw - 1) / p->sw, p->ow);
    r.inside1 = room < 0 ? r.inside0 : TN_MAX(TN_MIN(room / p->sw + 1, p->ow), r.inside0);
    if (p->average)
        pool_line(&r, true, y);
    else
        pool_line(&r, false, y);
}

/* y[0..VEC_W) = mean of the hw vectors of x. Four partial sums, so that additions overlap. */
void VEC_NAME(tn_pool_mean_f32)(const float *x, float *y, int64_t hw, int64_t lanes) {
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t i = 0;
    for (; i + 4 <= hw; i += 4) {
        TN_UNROLL_FULL
        for (int j = 0; j < 4; j++) s[j] = vf_add(s[j], vf_load(x + (i + j) * VEC_W));
    }
    for (; i < hw; i++) s[0] = vf_add(s[0], vf_load(x + i * VEC_W));
    vf sum = vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3]));
    vf_store(y, vf_keep(vf_div(sum, vf_set((float)hw)), lanes));
}

/* y[0..VEC_W) += the sum of the hw vectors of x. */
void VEC_NAME(tn_pool_sum_f32)(const float *x, float *y, int64_t hw) {
    vf s[4] = {vf_load(y), vf_zero(), vf_zero(), vf_zero()};
    int64_t i = 0;
    for (; i + 4 <= hw; i += 4) {
        TN_UNROLL_FULL
        for (int j = 0; j < 4; j++) s[j] = vf_add(s[j], vf_load(x + (i + j) * VEC_W));
    }
    for (; i < hw; i++) s[0] = vf_add(s[0], vf_load(x + i * VEC_W));
    vf_store(y, vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3])));
}
