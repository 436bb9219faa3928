/* What Winograd convolution in float32 and in bfloat16 share: the forms, the numbering of tiles, and the order in which
 * sums and their planes lie in memory. conv_winograd.c has the algorithm. */
#ifndef TN_KERNELS_CONV_WINOGRAD_H
#define TN_KERNELS_CONV_WINOGRAD_H

#include "kernels/conv_internal.h"

typedef struct wino_form {
    tn_winograd_kind kind;
    int m, stride;
    int planes, sums;                  /* of one dimension */
    int first[TN_WINOGRAD_PLANES + 1]; /* the first plane of each sum, and the end */
} wino_form;

extern const wino_form tn_winograd_forms[TN_WINOGRAD_4S2 + 1]; /* by kind */

/* Planes of sum s of one dimension: 1 or 2. */
TN_INLINE int wino_planes_of(const wino_form *f, int s) { return f->first[s + 1] - f->first[s]; }

/* Where the planes of sum (r, s) begin in the order of U. */
TN_INLINE int64_t wino_first_of(const wino_form *f, int r, int s) {
    return (int64_t)f->first[r] * f->planes + (int64_t)wino_planes_of(f, r) * f->first[s];
}

/* Place of each plane in the order of U. */
void tn_winograd_order(const wino_form *f, unsigned char order[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES]);

/* Tiles of a batch, numbered through. */
typedef struct wino_grid {
    const wino_form *f;
    int64_t th, tw, tiles;
} wino_grid;

TN_INLINE wino_grid wino_grid_of(const wino_form *f, const tn_conv *c) {
    int64_t th = tn_ceil_div(c->oh, f->m), tw = tn_ceil_div(c->ow, f->m);
    return (wino_grid){f, th, tw, c->n * th * tw};
}

/* A tile: its sample, and its first output row and column. */
typedef struct wino_at {
    int64_t n, oy, ox;
} wino_at;

TN_INLINE wino_at wino_locate(const wino_grid *g, int64_t t) {
    return (wino_at){t / g->tw / g->th, t / g->tw % g->th * g->f->m, t % g->tw * g->f->m};
}

/* `count` tiles further on, not beyond the end of the row. */
TN_INLINE void wino_step(const wino_grid *g, wino_at *at, int64_t count) {
    if ((at->ox += count * g->f->m) < g->tw * g->f->m) return;
    at->ox = 0;
    if ((at->oy += g->f->m) < g->th * g->f->m) return;
    at->oy = 0;
    at->n++;
}

/* Where the operands of a sum lie in V: the offsets of the blocks of its `rows` x `cols` planes (1 or 2), of each the
 * `icb` input blocks, from the first. */
TN_INLINE int64_t wino_taps(const wino_form *f, int64_t icb) { return f->stride == 1 ? icb : 9 * icb; }
ptrdiff_t *tn_winograd_taps_of(int64_t icb, void *taps, int rows, int cols);
void tn_winograd_fill_taps(const wino_form *f, int64_t icb, int64_t v_step, int64_t block_step, void *taps);

#endif
