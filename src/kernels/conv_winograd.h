/* What Winograd convolution in float32 and in bfloat16 share: the forms, the numbering of tiles, and the order in which
 * sums and their planes lie in memory. conv_winograd.c has the algorithm. */
#ifndef TN_KERNELS_CONV_WINOGRAD_H
#define TN_KERNELS_CONV_WINOGRAD_H

#include "kernels/conv_internal.h"

/* Of one dimension. */
typedef struct wino_form {
    tn_winograd_kind kind;
    int m, stride, planes, sums;
    int first[TN_WINOGRAD_PLANES + 1]; /* the first plane of each sum, and the end */
} wino_form;

/* By kind, of the columns; rows have the same but for TN_WINOGRAD_2X4, where they have that of TN_WINOGRAD_2. */
extern const wino_form tn_winograd_forms[TN_WINOGRAD_2X4 + 1];

TN_INLINE const wino_form *wino_rows(tn_winograd_kind kind) {
    return &tn_winograd_forms[kind == TN_WINOGRAD_2X4 ? TN_WINOGRAD_2 : kind];
}

/* Planes of sum s: 1 or 2. */
TN_INLINE int wino_planes_of(const wino_form *f, int s) { return f->first[s + 1] - f->first[s]; }

/* Tiles of a batch, numbered through, and the forms of their rows and columns. */
typedef struct wino_grid {
    const wino_form *rows, *cols;
    int64_t th, tw, tiles;
} wino_grid;

TN_INLINE wino_grid wino_grid_of(tn_winograd_kind kind, const tn_conv *c) {
    wino_grid g = {.rows = wino_rows(kind), .cols = &tn_winograd_forms[kind]};
    g.th = tn_ceil_div(c->oh, g.rows->m);
    g.tw = tn_ceil_div(c->ow, g.cols->m);
    g.tiles = c->n * g.th * g.tw;
    return g;
}

TN_INLINE int64_t wino_planes(const wino_grid *g) { return (int64_t)g->rows->planes * g->cols->planes; }
TN_INLINE int64_t wino_sums(const wino_grid *g) { return (int64_t)g->rows->sums * g->cols->sums; }

/* Where the planes of sum (r, s) begin in the order of U, and in that of V. */
TN_INLINE int64_t wino_first_of(const wino_grid *g, int r, int s) {
    return (int64_t)g->rows->first[r] * g->cols->planes + (int64_t)wino_planes_of(g->rows, r) * g->cols->first[s];
}
TN_INLINE int64_t wino_plane_of(const wino_grid *g, int r, int s) {
    return (int64_t)g->rows->first[r] * g->cols->planes + g->cols->first[s];
}

/* Place of each plane in the order of U. */
void tn_winograd_order(const wino_grid *g, unsigned char order[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES]);

/* A tile: its sample, and its first output row and column. */
typedef struct wino_at {
    int64_t n, oy, ox;
} wino_at;

TN_INLINE wino_at wino_locate(const wino_grid *g, int64_t t) {
    return (wino_at){t / g->tw / g->th, t / g->tw % g->th * g->rows->m, t % g->tw * g->cols->m};
}

/* `count` tiles further on, not beyond the end of the row. */
TN_INLINE void wino_step(const wino_grid *g, wino_at *at, int64_t count) {
    if ((at->ox += count * g->cols->m) < g->tw * g->cols->m) return;
    at->ox = 0;
    if ((at->oy += g->rows->m) < g->th * g->rows->m) return;
    at->oy = 0;
    at->n++;
}

/* Where the operands of a sum lie in V: the offsets of the blocks of its `rows` x `cols` planes (1 or 2), of each the
 * `icb` input blocks, from the first. */
TN_INLINE int64_t wino_taps(const wino_grid *g, int64_t icb) { return g->rows->stride == 1 ? icb : 9 * icb; }
ptrdiff_t *tn_winograd_taps_of(int64_t icb, void *taps, int rows, int cols);
void tn_winograd_fill_taps(const wino_grid *g, int64_t icb, int64_t v_step, int64_t block_step, void *taps);

#endif
