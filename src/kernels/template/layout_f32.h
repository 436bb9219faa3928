/* One block of channels between plain and blocked layout. */
#include "kernels/layout.h"

/* x: (c <= VEC_W, hw_stride) -> y: (count, y_step), of which VEC_W floats are written. */
void VEC_NAME(tn_layout_block_f32)(const float *x, int64_t hw_stride, float *y, int64_t y_step, int64_t c,
                                   int64_t count) {
    vf v[VEC_W];
    for (int64_t p = 0; p < count; p += VEC_W) {
        int64_t n = TN_MIN(count - p, VEC_W);
        for (int i = 0; i < VEC_W; i++) {
            const float *row = x + i * hw_stride + p;
            v[i] = i >= c ? vf_zero() : n == VEC_W ? vf_load(row) : vf_load_n(row, n);
        }
        vf_transpose(v);
        for (int64_t i = 0; i < n; i++) vf_store(y + (p + i) * y_step, v[i]);
    }
}

/* x: (count, VEC_W) -> y: (c <= VEC_W, hw_stride). */
/* A whole square, kept in registers. What is written is fetched ahead: as many streams as lanes are more than the
 * hardware follows. */
TN_INLINE void unblock_square(const float *x, float *y, int64_t hw_stride) {
    enum { AHEAD = 64 };
    vf v[VEC_W];
    TN_UNROLL_FULL
    for (int i = 0; i < VEC_W; i++) v[i] = vf_load(x + i * VEC_W);
    vf_transpose(v);
    TN_UNROLL_FULL
    for (int i = 0; i < VEC_W; i++) {
        __builtin_prefetch(y + i * hw_stride + AHEAD, 1);
        vf_store(y + i * hw_stride, v[i]);
    }
}

void VEC_NAME(tn_layout_unblock_f32)(const float *x, float *y, int64_t hw_stride, int64_t c, int64_t count) {
    int64_t whole = c == VEC_W ? count / VEC_W * VEC_W : 0;
    for (int64_t p = 0; p < whole; p += VEC_W) unblock_square(x + p * VEC_W, y + p, hw_stride);
    for (int64_t p = whole; p < count; p += VEC_W) {
        int64_t n = TN_MIN(count - p, VEC_W);
        vf v[VEC_W];
        for (int64_t i = 0; i < VEC_W; i++) v[i] = i < n ? vf_load(x + (p + i) * VEC_W) : vf_zero();
        vf_transpose(v);
        for (int64_t i = 0; i < c; i++) vf_store_n(y + i * hw_stride + p, v[i], n);
    }
}

#define PICK_SOURCES 8 /* lists of lanes that stay in registers */

/* y becomes what n sources (a constant) give, with `more` on top of what is there already. */
TN_INLINE void pick_lanes(const tn_channel_source *sources, const int n, bool more, float *y, int64_t hw) {
    vl lane[PICK_SOURCES];
    const float *x[PICK_SOURCES];
    TN_UNROLL_FULL
    for (int k = 0; k < n; k++) {
        lane[k] = vl_load(sources[k].lane);
        x[k] = sources[k].x;
    }
    for (int64_t p = 0; p < hw * VEC_W; p += VEC_W) {
        vf v = more ? vf_load(y + p) : vf_zero();
        TN_UNROLL_FULL
        for (int k = 0; k < n; k++) v = vf_pick(v, vf_load(x[k] + p), lane[k]);
        vf_store(y + p, v);
    }
}

void VEC_NAME(tn_layout_channels_f32)(const tn_channel_source *sources, int count, float *y, int64_t hw) {
    for (int at = 0; at == 0 || at < count; at += PICK_SOURCES) {
        const tn_channel_source *s = sources + at;
        switch (TN_MIN(count - at, PICK_SOURCES)) {
        case 1:
            pick_lanes(s, 1, at, y, hw);
            break;
        case 2:
            pick_lanes(s, 2, at, y, hw);
            break;
        case 3:
            pick_lanes(s, 3, at, y, hw);
            break;
        case 4:
            pick_lanes(s, 4, at, y, hw);
            break;
        case 5:
            pick_lanes(s, 5, at, y, hw);
            break;
        case 6:
            pick_lanes(s, 6, at, y, hw);
            break;
        case 7:
            pick_lanes(s, 7, at, y, hw);
            break;
        case 8:
            pick_lanes(s, 8, at, y, hw);
            break;
        default:
            pick_lanes(s, 0, at, y, hw);
            break;
        }
    }
}
