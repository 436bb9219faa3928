/* The 8-bit register tile (q8.h), for every height and one or two blocks of outputs. */
#include "kernels/q8.h"

TN_INLINE void q8_tile_run(const tn_q8_tile *a, const int m, const int nb) {
    const int nv = nb * Q8_HALVES;
    vi acc[Q8_TILE_M * Q8_TILE_NB * Q8_HALVES];
    TN_UNROLL_FULL
    for (int k = 0; k < m * nv; k++) acc[k] = vi_load(a->bias + k % nv * VEC_W);
    const int64_t step = a->step;
    const char *w = a->w;
    for (int64_t t = 0; t < a->taps + a->last_taps; t++) {
        /* Every third pixel has a pointer of its own; those between are reached by scaled index. */
        const uint8_t *p0 = a->x + a->tap[t], *p3 = p0 + 3 * step, *p6 = p0 + 6 * step, *p9 = p0 + 9 * step,
                      *p12 = p0 + 12 * step;
        for (int64_t n = t < a->taps ? a->quads : a->last_quads; n > 0; n--) {
            qw wv[Q8_TILE_NB * Q8_HALVES];
            TN_UNROLL_FULL
            for (int j = 0; j < nv; j++) wv[j] = qw_load(w + j * QW_BYTES);
            TN_UNROLL_FULL
            for (int i = 0; i < m; i++) {
                const uint8_t *p = i < 3 ? p0 : i < 6 ? p3 : i < 9 ? p6 : i < 12 ? p9 : p12;
                qx x = qx_set(p + i % 3 * step);
                TN_UNROLL_FULL
                for (int j = 0; j < nv; j++) acc[i * nv + j] = q8_dot(acc[i * nv + j], x, wv[j]);
            }
            w += nv * QW_BYTES;
            p0 += 4, p3 += 4, p6 += 4, p9 += 4, p12 += 4;
        }
    }
    TN_UNROLL_FULL
    for (int k = 0; k < m * nv; k++)
        vi_store(a->acc + (k % nv / Q8_HALVES * m + k / nv) * TN_Q8_BLOCK + k % Q8_HALVES * VEC_W, acc[k]);
}

#if Q8_TILE_M == 14
#define Q8_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif Q8_TILE_M == 12
#define Q8_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#elif Q8_TILE_M == 6
#define Q8_HEIGHTS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#elif Q8_TILE_M == 4
#define Q8_HEIGHTS(X) X(1) X(2) X(3) X(4)
#elif Q8_TILE_M == 2
#define Q8_HEIGHTS(X) X(1) X(2)
#endif

#define Q8_DEFINE_1(m) \
    static void q8_##m##x1(const tn_q8_tile *a) { q8_tile_run(a, m, 1); }
Q8_HEIGHTS(Q8_DEFINE_1)
#define Q8_ENTRY_1(m) [m] = q8_##m##x1,
#if Q8_TILE_NB == 2
#define Q8_DEFINE_2(m) \
    static void q8_##m##x2(const tn_q8_tile *a) { q8_tile_run(a, m, 2); }
Q8_HEIGHTS(Q8_DEFINE_2)
#define Q8_ENTRY_2(m) [m] = q8_##m##x2,
#endif

/* 1 <= m <= Q8_TILE_M, 1 <= nb <= Q8_TILE_NB. */
void Q8_NAME(tn_q8_tile)(const tn_q8_tile *a, int m, int nb) {
    typedef void (*tile_fn)(const tn_q8_tile *a);
    static const tile_fn table[Q8_TILE_NB][Q8_TILE_M + 1] = {
        {Q8_HEIGHTS(Q8_ENTRY_1)},
#if Q8_TILE_NB == 2
        {Q8_HEIGHTS(Q8_ENTRY_2)},
#endif
    };
    table[nb - 1][m](a);
}
