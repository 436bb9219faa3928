/* The bfloat16 register tile (bf16.h), for every height and one or two vectors of outputs. */
#include "kernels/template/bf16_silu.h"

TN_INLINE void bf16_tile_sum(const tn_bf16_tile *a, const int m, const int nv, vf *acc) {
    const int64_t step = a->step;
    const int64_t ahead_step = a->ahead_step;
    const uint16_t *w = a->w, *ahead = w + a->ahead;
    for (int64_t t = 0; t < a->taps + a->last_taps; t++) {
        /* Every third pixel has a pointer of its own; those between are reached by scaled index. */
        const uint16_t *p0 = a->x + a->tap[t], *p3 = p0 + 3 * step, *p6 = p0 + 6 * step, *p9 = p0 + 9 * step,
                       *p12 = p0 + 12 * step;
        for (int64_t n = t < a->taps ? a->pairs : a->last_pairs; n > 0; n--) {
            hw wv[2];
            TN_UNROLL_FULL
            for (int j = 0; j < nv; j++) wv[j] = hw_load(w + j * 2 * VEC_W);
            __builtin_prefetch(ahead, 0, 2);
            if (nv > 1) __builtin_prefetch(ahead + 2 * VEC_W, 0, 2);
            ahead += ahead_step;
            TN_UNROLL_FULL
            for (int i = 0; i < m; i++) {
                const uint16_t *p = i < 3 ? p0 : i < 6 ? p3 : i < 9 ? p6 : i < 12 ? p9 : p12;
                hx x = hx_set(p + i % 3 * step);
                TN_UNROLL_FULL
                for (int j = 0; j < nv; j++) acc[i * nv + j] = bf16_dot(acc[i * nv + j], x, wv[j]);
            }
            w += nv * 2 * VEC_W;
            p0 += 2, p3 += 2, p6 += 2, p9 += 2, p12 += 2;
        }
    }
}

/* What convolutions need: one vector of all m pixels, rounded. sums: its first; all are nv vectors apart. */
TN_INLINE void bf16_tile_round(const tn_bf16_tile *a, const float *sums, int m, int nv, int j, const bool residual,
                               const bool silu) {
    const vf lo = vf_set(a->lo), hi = vf_set(a->hi), scale = bf16_silu_scale(a->alpha);
    const vf bias = a->bias ? vf_load(a->bias + j * VEC_W) : vf_zero();
    const uint16_t *z = residual ? a->residual + j * a->y_vec : NULL;
    uint16_t *y = a->y + j * a->y_vec;
    int i = 0;
    for (; i < m - 1; i += 2, sums += 2 * nv * VEC_W, y += 2 * VEC_W) {
        vf v0 = vf_add(vf_load(sums), bias), v1 = vf_add(vf_load(sums + nv * VEC_W), bias);
        if (residual) {
            v0 = vf_add(v0, vh_load(z + i * VEC_W));
            v1 = vf_add(v1, vh_load(z + (i + 1) * VEC_W));
        }
        v0 = silu ? bf16_silu(v0, scale) : vf_min(hi, vf_max(lo, v0));
        v1 = silu ? bf16_silu(v1, scale) : vf_min(hi, vf_max(lo, v1));
        vh_store_2(y, v0, v1);
    }
    if (i < m) {
        vf v = vf_add(vf_load(sums), bias);
        if (residual) v = vf_add(v, vh_load(z + i * VEC_W));
        vh_store(y, silu ? bf16_silu(v, scale) : vf_min(hi, vf_max(lo, v)));
    }
}

/* Everything, one vector likewise, of which `n` lanes exist. */
TN_INLINE void bf16_tile_any(const tn_bf16_tile *a, const float *sums, int m, int nv, int j, int64_t n) {
    const vf lo = vf_set(a->lo), hi = vf_set(a->hi), scale = bf16_silu_scale(a->alpha);
    const vf bias = a->bias ? vf_load_n(a->bias + j * VEC_W, n) : vf_zero();
    for (int i = 0; i < m; i++, sums += nv * VEC_W) {
        const ptrdiff_t at = i * a->y_pixel + j * a->y_vec;
        float *y32 = a->y32 ? a->y32 + i * a->y32_pixel + j * a->y32_vec : NULL;
        vf v = vf_load(sums);
        if (a->resume) v = vf_add(v, vf_load_n(y32, n));
        v = vf_add(v, bias);
        if (a->bias_m) v = vf_add(v, vf_set(a->bias_m[i]));
        if (a->residual) v = vf_add(v, vh_load(a->residual + at));
        if (a->silu) v = bf16_silu(v, scale);
        v = vf_min(hi, vf_max(lo, v));
        if (y32)
            vf_store_n(y32, v, n);
        else
            vh_store(a->y + at, vf_keep(v, n));
    }
}

/* From sums (m, nv, B) in L1 to outputs. Once for all tiles: within each it would make up most of its code. */
static __attribute__((noinline)) void bf16_tile_end(const tn_bf16_tile *a, const float *sums, int m, int nv) {
    for (int j = 0; j < nv; j++, sums += VEC_W) {
        const int64_t n = j == nv - 1 ? a->valid : VEC_W;
        if (n < VEC_W || a->y32 || a->bias_m || a->y_pixel != VEC_W || (a->residual && a->silu))
            bf16_tile_any(a, sums, m, nv, j, n);
        else if (a->residual)
            bf16_tile_round(a, sums, m, nv, j, true, false);
        else if (a->silu)
            bf16_tile_round(a, sums, m, nv, j, false, true);
        else
            bf16_tile_round(a, sums, m, nv, j, false, false);
    }
}

TN_INLINE void bf16_tile_run(const tn_bf16_tile *a, const int m, const int nv) {
    vf acc[BF16_TILE_M * 2];
    _Alignas(TN_CACHE_LINE) float sums[BF16_TILE_M * 2 * VEC_W];
    float *to = a->raw ? a->y32 : sums;
    TN_UNROLL_FULL
    for (int k = 0; k < m * nv; k++) acc[k] = vf_zero();
    bf16_tile_sum(a, m, nv, acc);
    TN_UNROLL_FULL
    for (int k = 0; k < m * nv; k++) vf_store(to + k * VEC_W, acc[k]);
    if (!a->raw) bf16_tile_end(a, sums, m, nv);
}

#if BF16_TILE_M == 14
#define BF16_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif BF16_TILE_M == 6
#define BF16_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#elif BF16_TILE_M == 4
#define BF16_HEIGHTS(X) X(1) X(2) X(3) X(4)
#elif BF16_TILE_M == 2
#define BF16_HEIGHTS(X) X(1) X(2)
#endif

#define BF16_DEFINE(m)                                                          \
    static void bf16_##m##x1(const tn_bf16_tile *a) { bf16_tile_run(a, m, 1); } \
    static void bf16_##m##x2(const tn_bf16_tile *a) { bf16_tile_run(a, m, 2); }
BF16_HEIGHTS(BF16_DEFINE)
#define BF16_ENTRY_1(m) [m] = bf16_##m##x1,
#define BF16_ENTRY_2(m) [m] = bf16_##m##x2,

/* 1 <= m <= BF16_TILE_M, 1 <= nv <= 2. */
void BF16_NAME(tn_bf16_tile)(const tn_bf16_tile *a, int m, int nv) {
    typedef void (*tile_fn)(const tn_bf16_tile *a);
    static const tile_fn table[2][BF16_TILE_M + 1] = {{BF16_HEIGHTS(BF16_ENTRY_1)}, {BF16_HEIGHTS(BF16_ENTRY_2)}};
    table[nv - 1][m](a);
}
