/* The register tile (tile.h), instantiated for every height and for one, two and four vectors of width. */
#include "kernels/tile.h"

/* Only matrix products continue sums, have a bias per row, or leave memory past the last column alone. */
TN_INLINE bool tile_is_product(const tn_tile_kind kind) { return kind == TN_TILE_PRODUCT; }

/* Sums of a convolution begin with the bias. */
TN_INLINE void tile_begin(const tn_tile *a, const int m, const int nv, const tn_tile_kind kind, vf *acc) {
    TN_UNROLL_FULL
    for (int j = 0; j < nv; j++) {
        vf first = vf_zero();
        if (!tile_is_product(kind) && a->bias)
            first = j == nv - 1 ? vf_load_n(a->bias + j * VEC_W, a->valid) : vf_load(a->bias + j * VEC_W);
        TN_UNROLL_FULL
        for (int i = 0; i < m; i++) acc[i * nv + j] = first;
    }
    if (!tile_is_product(kind) || !a->resume) return;
    TN_UNROLL_FULL
    for (int i = 0; i < m; i++) {
        TN_UNROLL_FULL
        for (int j = 0; j < nv; j++) {
            const float *y = a->y + i * a->y_pixel + j * a->y_vec;
            acc[i * nv + j] = j == nv - 1 ? vf_load_n(y, a->valid) : vf_load(y);
        }
    }
}

/* The fields of *a are read anew from here on: with 28 sums GCC would keep some of them in vector registers, from where
 * an address comes only when the multiply-adds before it are done. */
#define TILE_REREAD(a) __asm__("" : "+r"(a))

TN_INLINE void tile_sum(const tn_tile *a, const int m, const int nv, const tn_tile_kind kind, vf *acc) {
    const bool blocked = kind == TN_TILE_BLOCKED || kind == TN_TILE_BLOCKED2;
    const int64_t stride = kind == TN_TILE_BLOCKED2 || kind == TN_TILE_PANEL2 ? 2 : 1;
    const int64_t pixel_step = stride * (blocked ? VEC_W : 1);
    const int64_t lane_step = blocked ? 1 : a->lane_step;
    const int64_t w_step = blocked ? TN_MIN(nv, 2) * VEC_W : a->w_step;
    const float *w = a->w, *w2 = a->w2, *next = a->next ? a->next : a->w;
    const int64_t next_step = a->next ? a->next_step : 0;
    for (int64_t t = 0; t < a->taps + a->last_taps; t++) {
        if (blocked && nv == 2) TILE_REREAD(a);
        const float *x = a->x + a->tap[t];
        int64_t n = kind == TN_TILE_BLOCKED && a->tap_lanes ? a->tap_lanes[t] : t < a->taps ? a->lanes : a->last_lanes;
        if (blocked && nv == 1 && a->next) { /* loads are what limits this tile: none that is not wanted */
            for (int64_t i = 0; i < n; i++, next += next_step) __builtin_prefetch(next, 0, 2);
        }
        for (; n > 0; n--) {
            vf wv[4];
            TN_UNROLL_FULL
            for (int j = 0; j < nv; j++) wv[j] = vf_load((j < 2 ? w : w2) + (j & 1) * VEC_W);
            if ((blocked && nv > 1) || tile_is_product(kind)) {
                __builtin_prefetch(next, 0, 2);
                if (blocked) __builtin_prefetch(next + 16, 0, 2);
                next += next_step;
            }
            TN_UNROLL_FULL
            for (int i = 0; i < m; i++) {
                vf b = vf_set(x[i * pixel_step]);
                TN_UNROLL_FULL
                for (int j = 0; j < nv; j++) acc[i * nv + j] = vf_fma(b, wv[j], acc[i * nv + j]);
            }
            x += lane_step;
            w += w_step;
            if (nv > 2) w2 += nv == 3 ? VEC_W : w_step;
        }
    }
}

/* Biases, clamp, store. One pass over the sums: clang 14 keeps them in memory all along when this is split into
 * several. */
TN_INLINE void tile_finish_product(const tn_tile *a, const int m, const int nv, vf *acc) {
    const int64_t valid = a->valid;
    float *y = a->y;
    vf lo = vf_set(a->lo), hi = vf_set(a->hi);
    TN_UNROLL_FULL
    for (int j = 0; j < nv; j++) {
        vf bias = vf_zero();
        if (a->bias) bias = j == nv - 1 ? vf_load_n(a->bias + j * VEC_W, valid) : vf_load(a->bias + j * VEC_W);
        TN_UNROLL_FULL
        for (int i = 0; i < m; i++) {
            vf v = vf_add(acc[i * nv + j], bias);
            const ptrdiff_t at = i * a->y_pixel + j * a->y_vec;
            if (a->bias_m) v = vf_add(v, vf_set(a->bias_m[i]));
            if (a->residual) v = vf_add(v, vf_load(a->residual + at));
            v = vf_min(hi, vf_max(lo, v));
            if (j < nv - 1 || valid == VEC_W)
                vf_store(y + at, v);
            else if (a->keep_rest)
                vf_store_n(y + at, v, valid);
            else
                vf_store(y + at, vf_keep(v, valid));
        }
    }
}

/* Residual, clamp, store; pixels of y are one vector apart. */
TN_INLINE void tile_finish_conv(const tn_tile *a, const int m, const int nv, vf *acc) {
    const float *z = a->residual;
    const int64_t valid = a->valid, vec = a->y_vec;
    float *y = a->y;
    vf lo = vf_set(a->lo), hi = vf_set(a->hi);
    TN_UNROLL_FULL
    for (int j = 0; j < nv; j++) {
        TN_UNROLL_FULL
        for (int i = 0; i < m; i++) {
            vf v = acc[i * nv + j];
            if (z) v = vf_add(v, vf_load(z + i * VEC_W));
            v = vf_min(hi, vf_max(lo, v));
            if (j == nv - 1) v = vf_keep(v, valid);
            vf_store(y + i * VEC_W, v);
        }
        if (z) z += vec;
        y += vec;
    }
}

TN_INLINE void tile_run(const tn_tile *a, const int m, const int nv, const tn_tile_kind kind) {
    vf acc[TILE_M * 2];
    tile_begin(a, m, nv, kind, acc);
    tile_sum(a, m, nv, kind, acc);
    if (tile_is_product(kind))
        tile_finish_product(a, m, nv, acc);
    else
        tile_finish_conv(a, m, nv, acc);
}

#if TILE_M == 14
#define TILE_NARROW(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif TILE_M == 6
#define TILE_NARROW(X) X(1) X(2) X(3) X(4) X(5) X(6)
#elif TILE_M == 2
#define TILE_NARROW(X) X(1) X(2)
#endif
#if TILE_M_WIDE == 6
#define TILE_WIDE(X) X(1) X(2) X(3) X(4) X(5) X(6)
#elif TILE_M_WIDE == 2
#define TILE_WIDE(X) X(1) X(2)
#elif TILE_M_WIDE == 1
#define TILE_WIDE(X) X(1)
#endif

#define TILE_DEFINE(m, nv)                                                                      \
    static void blocked_##m##x##nv(const tn_tile *a) { tile_run(a, m, nv, TN_TILE_BLOCKED); }   \
    static void blocked2_##m##x##nv(const tn_tile *a) { tile_run(a, m, nv, TN_TILE_BLOCKED2); } \
    static void panel_##m##x##nv(const tn_tile *a) { tile_run(a, m, nv, TN_TILE_PANEL); }       \
    static void panel2_##m##x##nv(const tn_tile *a) { tile_run(a, m, nv, TN_TILE_PANEL2); }     \
    static void product_##m##x##nv(const tn_tile *a) { tile_run(a, m, nv, TN_TILE_PRODUCT); }
#define TILE_DEFINE_1(m) TILE_DEFINE(m, 1)
#define TILE_DEFINE_2(m) TILE_DEFINE(m, 2)
/* Rows too short for the high tiles are rare where the stride is 2: they make do with two vectors. */
#define TILE_DEFINE_4(m)                                                                  \
    static void blocked_##m##x4(const tn_tile *a) { tile_run(a, m, 4, TN_TILE_BLOCKED); } \
    static void panel_##m##x4(const tn_tile *a) { tile_run(a, m, 4, TN_TILE_PANEL); }     \
    static void product_##m##x4(const tn_tile *a) { tile_run(a, m, 4, TN_TILE_PRODUCT); }
TILE_NARROW(TILE_DEFINE_1)
TILE_NARROW(TILE_DEFINE_2)
TILE_WIDE(TILE_DEFINE_4)

#ifdef TILE_M_3
/* ---- half vectors ------------------------------------------------------------------------------------------------ */

/* Where no more than half of the last vector is wanted, one sum holds that vector for two neighbouring pixels: three
 * multiply-adds for two pixels of one and a half vectors instead of four. `h` is the number of whole vectors; the
 * chain of additions of an output is the same as ever. */
TN_INLINE void half_run(const tn_tile *a, const int m, const int h, const tn_tile_kind kind) {
    const bool blocked = kind == TN_TILE_BLOCKED;
    const int64_t pixel_step = blocked ? VEC_W : 2, lane_step = blocked ? 1 : a->lane_step;
    const int64_t w_step = h == 1 || !blocked ? a->w_step : 2 * VEC_W, valid = a->valid, vec = a->y_vec;
    const int pairs = (m + 1) / 2;
    const float *w = a->w, *w2 = h == 2 ? a->w2 : NULL;
    vf acc[TILE_M * 2], half[TILE_M / 2];
    TN_UNROLL_FULL
    for (int j = 0; j < h; j++) {
        vf first = a->bias ? vf_load(a->bias + j * VEC_W) : vf_zero();
        TN_UNROLL_FULL
        for (int i = 0; i < m; i++) acc[i * h + j] = first;
    }
    vf last = a->bias ? vf_twice(vf_load_n(a->bias + h * VEC_W, valid)) : vf_zero();
    TN_UNROLL_FULL
    for (int i = 0; i < pairs; i++) half[i] = last;
    for (int64_t t = 0; t < a->taps + a->last_taps; t++) {
        const float *x = a->x + a->tap[t];
        for (int64_t n = blocked && a->tap_lanes ? a->tap_lanes[t]
                         : t < a->taps           ? a->lanes
                                                 : a->last_lanes;
             n > 0; n--) {
            vf wv[2], wh = vf_load_twice(h == 2 ? w2 : w + VEC_W);
            TN_UNROLL_FULL
            for (int j = 0; j < h; j++) wv[j] = vf_load(w + j * VEC_W);
            TN_UNROLL_FULL
            for (int i = 0; i < pairs; i++) {
                const bool two = 2 * i + 1 < m;
                vf b0 = vf_set(x[2 * i * pixel_step]), b1 = two ? vf_set(x[(2 * i + 1) * pixel_step]) : b0;
                TN_UNROLL_FULL
                for (int j = 0; j < h; j++) {
                    acc[2 * i * h + j] = vf_fma(b0, wv[j], acc[2 * i * h + j]);
                    if (two) acc[(2 * i + 1) * h + j] = vf_fma(b1, wv[j], acc[(2 * i + 1) * h + j]);
                }
                half[i] = vf_fma(two ? vf_pair(b0, b1) : b0, wh, half[i]);
            }
            x += lane_step;
            w += w_step;
            if (h == 2) w2 += VEC_W;
        }
    }
    const float *z = a->residual;
    float *y = a->y;
    vf lo = vf_set(a->lo), hi = vf_set(a->hi);
    TN_UNROLL_FULL
    for (int j = 0; j <= h; j++) {
        TN_UNROLL_FULL
        for (int i = 0; i < m; i++) {
            vf v = j < h ? acc[i * h + j] : i & 1 ? vf_upper(half[i / 2]) : half[i / 2];
            if (z) v = vf_add(v, vf_load(z + i * VEC_W));
            v = vf_min(hi, vf_max(lo, v));
            if (j == h) v = vf_keep(v, valid);
            vf_store(y + i * VEC_W, v);
        }
        if (z) z += vec;
        y += vec;
    }
}

#define TILE_DEFINE_3(m) \
    static void blocked_##m##x3(const tn_tile *a) { tile_run(a, m, 3, TN_TILE_BLOCKED); }
#define TILE_DEFINE_HALF(m)                                                                \
    static void blocked_##m##x1h(const tn_tile *a) { half_run(a, m, 1, TN_TILE_BLOCKED); } \
    static void panel2_##m##x1h(const tn_tile *a) { half_run(a, m, 1, TN_TILE_PANEL2); }
#define TILE_DEFINE_3_HALF(m) \
    static void blocked_##m##x2h(const tn_tile *a) { half_run(a, m, 2, TN_TILE_BLOCKED); }
/* Shorter lines make do with the usual tiles, and longer ones are cut into tiles of no less than this. */
#define TILE_3(X)      X(5) X(6) X(7) X(8) X(9)
#define TILE_3_HALF(X) TILE_3(X) X(10)
#define TILE_HALF(X)   X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
TILE_3(TILE_DEFINE_3)
TILE_HALF(TILE_DEFINE_HALF)
TILE_3_HALF(TILE_DEFINE_3_HALF)

#define TILE_ENTRY_3(m)      [m] = blocked_##m##x3,
#define TILE_ENTRY_HALF(m)   [m] = {blocked_##m##x1h, panel2_##m##x1h},
#define TILE_ENTRY_3_HALF(m) [m] = blocked_##m##x2h,

static tn_tile_fn odd_tile(tn_tile_kind kind, int m, int nv) {
    static const tn_tile_fn three[] = {TILE_3(TILE_ENTRY_3)}, three_half[] = {TILE_3_HALF(TILE_ENTRY_3_HALF)};
    static const tn_tile_fn two_half[][2] = {TILE_HALF(TILE_ENTRY_HALF)};
    if (m < 1) return NULL;
    if (nv == (2 | TN_TILE_HALF) && m <= TILE_M_HALF && (kind == TN_TILE_BLOCKED || kind == TN_TILE_PANEL2))
        return two_half[m][kind == TN_TILE_PANEL2];
    if (kind != TN_TILE_BLOCKED) return NULL;
    if (nv == 3 && m <= TILE_M_3) return three[m];
    return nv == (3 | TN_TILE_HALF) && m <= TILE_M_3_HALF ? three_half[m] : NULL;
}
#endif

/* The kinds in the order of tn_tile_kind. */
#define TILE_ENTRY_1(m) [m] = {blocked_##m##x1, blocked2_##m##x1, panel_##m##x1, panel2_##m##x1, product_##m##x1},
#define TILE_ENTRY_2(m) [m] = {blocked_##m##x2, blocked2_##m##x2, panel_##m##x2, panel2_##m##x2, product_##m##x2},
#define TILE_ENTRY_4(m) [m] = {blocked_##m##x4, NULL, panel_##m##x4, NULL, product_##m##x4},

/* NULL when there is no such tile. */
tn_tile_fn VEC_NAME(tn_tile_f32)(tn_tile_kind kind, int m, int nv) {
    static const tn_tile_fn table[3][TILE_M + 1][TN_TILE_KINDS] = {
        {TILE_NARROW(TILE_ENTRY_1)}, {TILE_NARROW(TILE_ENTRY_2)}, {TILE_WIDE(TILE_ENTRY_4)}};
#ifdef TILE_M_3
    if (nv == 3 || nv & TN_TILE_HALF) return odd_tile(kind, m, nv);
#endif
    if (m < 1 || m > TILE_M || (nv != 1 && nv != 2 && nv != 4)) return NULL;
    return table[nv >> 1][m][kind];
}
