/* The register tile that matrix products and convolutions are made of: m pixels (or rows) by nv vectors of outputs.
 *
 *     y[i][j] = clamp(sum over taps t and lanes l of x[tap[t] + l * lane_step + i * pixel_step] * w[l of t][j] +
 * bias[j] + ...)
 *
 * The sum of one output is one chain of (fused) multiply-adds, over taps in order and lanes in order, whatever m and nv
 * are. So the way in which drivers cut their outputs into tiles never changes a bit. */
#ifndef TN_KERNELS_TILE_H
#define TN_KERNELS_TILE_H

#include "base/base.h"

typedef enum tn_tile_kind {
    TN_TILE_BLOCKED,  /* pixel_step = vector width, lane_step = 1: blocked activations */
    TN_TILE_BLOCKED2, /* pixel_step = twice that: stride 2; one or two vectors */
    TN_TILE_PANEL,    /* pixel_step = 1, lane_step and w_step from the struct: plain activations */
    TN_TILE_PANEL2,   /* pixel_step = 2; one or two vectors */
    TN_TILE_PRODUCT,  /* pixel_step = 1, steps from the struct: matrix products */
    TN_TILE_KINDS
} tn_tile_kind;

/* Added to the number of vectors: no more than half of the last one is wanted, so it holds two pixels. */
#define TN_TILE_HALF 8

typedef struct tn_tile {
    const float *x;                /* tap offset 0 of the first pixel */
    const ptrdiff_t *tap;          /* offsets in floats */
    int64_t taps, lanes;           /* so many taps of so many lanes, */
    int64_t last_taps, last_lanes; /* then so many of so many (the last, partial channel block) */
    const int32_t *tap_lanes;      /* or each of the `taps` has its own number of lanes; NULL: not so */
    int64_t lane_step;             /* PANEL kinds and PRODUCT */
    const float *w;  /* (taps * lanes + last_taps * last_lanes, w_step); nv vectors of each row are used */
    const float *w2; /* nv > 2: vectors 2 and 3 come from here, likewise; rows of one vector where nv is 3 */
    int64_t w_step;  /* likewise; else nv vectors */
    /* BLOCKED kinds and PRODUCT: what is fetched into L2 meanwhile, a line (blocked and nv > 1: two) for every lane, so
     * many floats apart. NULL: nothing. */
    const float *next;
    int64_t next_step;
    const float *bias;     /* nv vectors, the last `valid` lanes long, or NULL */
    const float *bias_m;   /* PRODUCT: one for each pixel, or NULL */
    const float *residual; /* addressed like y, or NULL; may be y */
    float *y;
    int64_t y_pixel, y_vec; /* steps of y in floats: from pixel to pixel, from vector to vector */
    int64_t valid;          /* lanes of the last vector that exist */
    bool keep_rest;         /* PRODUCT: memory of y past them stays as it is; else it becomes zero */
    bool resume;            /* PRODUCT: sums continue from y */
    float lo, hi;           /* clamp; -inf and inf when there is none */
} tn_tile;

typedef void (*tn_tile_fn)(const tn_tile *t);

#endif
