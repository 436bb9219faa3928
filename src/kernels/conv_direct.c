/* Direct convolution over the register tile: 1x1, k x k with any stride and dilation, grouped, and first layers from
 * plain NCHW.
 *
 * A convolution is a sum over taps (block of input channels, row, column of the kernel); a tile adds up, for some
 * pixels of an output row, all lanes of all taps, each found at a constant offset from the pixel. For that the pixels
 * of a row must be one vector apart in memory and padding must be there. Where x is not like this, a strip of rows is
 * copied into the thread's workspace with padding, and columns sorted by their remainder modulo the stride ("phases"),
 * so that neighbours in the output are neighbours in the strip.
 *
 * A 1x1 kernel with stride 1 sees all pixels of a sample as one row; its input channels may then be picked from several
 * maps, each run of neighbours in a block being a tap of its own. Tasks are (sample, group, strip, range of output
 * channels); the strip is copied once for consecutive ranges. All of it depends on the shape only. Tasks are small, so
 * that any number of threads gets even shares; those of a share that lie side by side are computed as one. */
#include "kernels/conv_internal.h"

/* Strips up to this size; together with a panel of weights they stay in L2. */
#define STRIP_BYTES (384 * 1024)
/* Weights up to this size stay in L2 beside a strip: then rows are split, else channels. */
#define WEIGHT_BYTES (256 * 1024)

/* Panels of weights up to this size are fetched whole, ahead of their use. */
#define SMALL_PANEL (128 * 1024)
#define ROWS_AHEAD  64

typedef struct direct_plan {
    const tn_kernels *k;
    const tn_conv *c;
    bool plain, flat, copied;
    int64_t block;         /* input floats of a pixel: B, or 1 for plain */
    int64_t groups;        /* as they are computed: see conv_join */
    int64_t icb, icg, ocg; /* input blocks (planes for plain), input and output channels of a group */
    int64_t blocks;        /* input blocks of all slices in use */
    int64_t k_rows;        /* rows of a weight panel */
    int64_t slice_rows;    /* rows of one slice */
    int64_t lines, length; /* output rows and their pixels; 1 and oh * ow when flat */
    int64_t unit;          /* what strips are made of: lines, or pixels when flat */
    int64_t strip, strips, panels, oc_chunks;
    int64_t together; /* strips that are computed as one, at most: 1 but when flat; what fits into L2 */
    /* Of the strip as it is read, in floats: */
    int64_t plane, row, phase, line_step; /* input block, input row, phase; rows from one line to the next */
    int64_t phases, cols, strip_rows;
    int64_t col_step; /* input columns between neighbours of a phase: the stride where there are phases, else 1 */
    size_t strip_floats, taps;
} direct_plan;

static bool has_padding(const tn_conv *c) {
    return c->pad_top || c->pad_left || (c->oh - 1) * c->sh + conv_extent_h(c) > c->ih ||
           (c->ow - 1) * c->sw + conv_extent_w(c) > c->iw;
}

static void plan_strip_layout(direct_plan *p) {
    const tn_conv *c = p->c;
    int64_t eh = conv_extent_h(c), ew = conv_extent_w(c);
    p->copied = has_padding(c) || c->sw > 2;
    p->col_step = c->sw == 2 ? 1 : c->sw;
    p->line_step = p->copied ? TN_MIN(c->sh, eh) : c->sh;
    p->phases = p->copied ? TN_MIN(p->col_step, ew) : 1;
    p->cols = !p->copied ? c->iw : c->sw == 2 ? (c->ow - 1) * 2 + ew : c->ow + (ew - 1) / c->sw;
    p->phase = p->cols * p->block;
    p->row = p->phase * p->phases;
}

/* Few panels, an odd number of them, of weights that fit into L2: pixels make more even shares. */
static bool shares_badly(const direct_plan *p) {
    return p->panels < 16 && p->panels % 2 && (double)p->k_rows * (double)p->ocg * 4 <= 4 * WEIGHT_BYTES;
}

static void plan_tasks(direct_plan *p) {
    const tn_conv *c = p->c;
    int64_t eh = conv_extent_h(c), total = p->flat ? p->length : p->lines;
    int64_t unit_floats = p->flat ? p->blocks * p->block : p->row * p->line_step * p->blocks;
    int64_t cap = TN_MAX(STRIP_BYTES / 4 / TN_MAX(unit_floats, 1), 1), wanted = conv_wanted_tasks(c);
    if (p->flat) cap = tn_round_up(cap, p->k->tile_m);
    bool split_rows = (double)p->k_rows * (double)p->ocg * 4 <= WEIGHT_BYTES;
    int64_t pieces = split_rows ? tn_ceil_div(wanted, TN_MAX(c->n * p->groups, 1)) : 1;
    int64_t piece = tn_ceil_div(total, pieces);
    if (p->flat) piece = tn_round_up(piece, p->k->tile_m);
    p->strip = TN_MAX(TN_MIN(cap, piece), 1);
    p->strips = tn_ceil_div(total, p->strip);
    p->oc_chunks = TN_MIN(tn_ceil_div(wanted, TN_MAX(c->n * p->groups * p->strips, 1)), p->panels);
    p->together = 1;
    if (p->flat && wanted > 1 && total > p->k->tile_m && (split_rows || shares_badly(p))) {
        p->together = cap / p->k->tile_m;
        p->strip = p->k->tile_m;
        p->strips = tn_ceil_div(total, p->strip);
        p->oc_chunks = 1;
    } else { /* evenly cut */
        p->strip = TN_MAX(tn_ceil_div(total, p->strips), 1);
        if (p->flat) p->strip = tn_round_up(p->strip, p->k->tile_m);
        p->strips = tn_ceil_div(total, p->strip);
        if (p->oc_chunks > 1 && p->flat) p->oc_chunks = p->panels;
    }
    p->strip_rows = (p->strip - 1) * p->line_step + eh;
    p->plane = p->copied ? p->strip_rows * p->row : conv_x_block(c) * p->block;
    p->strip_floats = p->copied ? (size_t)tn_round_up(p->plane * p->blocks, 16) : 0;
}

static direct_plan make_plan(const tn_kernels *k, const tn_conv *c) {
    direct_plan p = {.k = k, .c = c, .plain = c->in_plain};
    p.flat = c->kh == 1 && c->kw == 1 && c->sh == 1 && c->sw == 1 && !has_padding(c) && c->oh == c->ih &&
             c->ow == c->iw && conv_y_row(c) == c->ow * conv_y_pixel(c);
    p.block = p.plain ? 1 : k->width;
    int64_t join = conv_join(k, c);
    p.groups = tn_ceil_div(c->groups, join);
    p.icg = c->slices > 1 ? conv_rows_of_slice(c, k->width) : c->ic / c->groups * join;
    p.ocg = c->oc / c->groups * join;
    p.icb = tn_ceil_div(p.icg, p.block);
    p.blocks = p.icb * conv_used(c);
    p.slice_rows = p.icg * c->kh * c->kw;
    p.k_rows = p.slice_rows * conv_slices(c);
    p.panels = tn_ceil_div(p.ocg, 2 * k->width);
    p.lines = p.flat ? 1 : c->oh;
    p.length = p.flat ? c->oh * c->ow : c->ow;
    p.taps = (size_t)(c->n_picks ? c->n_picks : p.blocks * c->kh * c->kw);
    plan_strip_layout(&p);
    plan_tasks(&p);
    return p;
}

/* ---- taking a shape, packing, workspace ----------------------------------------------------------------------------
 */

static bool takes_first(const tn_kernels *k, const tn_conv *c) {
    (void)k;
    return c->in_plain && c->groups == 1;
}

static bool takes_1x1(const tn_kernels *k, const tn_conv *c) {
    if (c->n_picks && (c->groups > 1 || c->sh > 1 || c->sw > 1 || has_padding(c))) return false;
    return !c->in_plain && conv_join(k, c) && c->kh == 1 && c->kw == 1;
}

static bool takes_direct(const tn_kernels *k, const tn_conv *c) {
    return !c->in_plain && conv_join(k, c) && (c->kh > 1 || c->kw > 1);
}

/* Arithmetic or reading the weights, whichever takes longer. */
static double cost_direct(const tn_kernels *k, const tn_conv *c) {
    (void)k;
    double weights = (double)(c->ic / c->groups) * (double)c->oc * c->kh * c->kw * (double)conv_slices(c);
    return TN_MAX(2 * (double)(c->oh * c->ow) * weights / 210, 4 * weights / 40);
}

/* Packed weights of a group as it is computed. */
static size_t group_floats(const tn_kernels *k, const tn_conv *c) {
    int64_t join = conv_join(k, c), k_rows = c->ic / c->groups * join * c->kh * c->kw;
    if (c->slices > 1) k_rows = conv_rows_of_slice(c, k->width) * c->kh * c->kw * c->slices;
    return (size_t)(k_rows * tn_round_up(c->oc / c->groups * join, k->width));
}

static size_t direct_packed_bytes(const tn_kernels *k, const tn_conv *c) {
    return (size_t)tn_round_up((int64_t)(group_floats(k, c) * sizeof(float)) * tn_ceil_div(c->groups, conv_join(k, c)),
                               64);
}

static void direct_pack(const tn_kernels *k, const tn_conv *c, const float *w, float *dst) {
    int64_t join = conv_join(k, c), oc = c->oc / c->groups * join;
    for (int64_t g = 0; g * join < c->groups; g++)
        tn_conv_pack_panels(k, c, join, g * oc, w, dst + (size_t)g * group_floats(k, c));
}

/* Offsets of the taps; where channels are picked, of each sample, and their numbers of lanes. */
static size_t tap_floats(const direct_plan *p) {
    size_t per = sizeof(ptrdiff_t) / sizeof(float);
    size_t floats = p->c->n_picks ? p->taps * (per * (size_t)p->c->n + 1) : p->taps * per;
    return (size_t)tn_round_up((int64_t)floats, 16);
}

static size_t direct_workspace(const tn_kernels *k, const tn_conv *c, int threads) {
    direct_plan p = make_plan(k, c);
    return (tap_floats(&p) + p.strip_floats * (size_t)TN_MAX(threads, 1)) * sizeof(float);
}

/* ---- the strip
 * --------------------------------------------------------------------------------------------------------- */

/* One phase of one input row: columns phase, phase + col_step, ... less the padding. */
static void copy_columns(const direct_plan *p, const float *src, int64_t phase, float *dst) {
    const tn_conv *c = p->c;
    int64_t b = p->block, at = phase - c->pad_left;
    int64_t q0 = at >= 0 ? 0 : TN_MIN((-at + p->col_step - 1) / p->col_step, p->cols);
    int64_t q1 = at >= c->iw ? q0 : TN_MAX(TN_MIN((c->iw - at + p->col_step - 1) / p->col_step, p->cols), q0);
    memset(dst, 0, (size_t)(q0 * b) * sizeof(float));
    if (p->col_step == 1) {
        if (q1 > q0) memcpy(dst + q0 * b, src + (q0 + at) * b, (size_t)((q1 - q0) * b) * sizeof(float));
    } else if (b == 16) {
        for (int64_t q = q0; q < q1; q++) memcpy(dst + q * 16, src + (q * p->col_step + at) * 16, 16 * sizeof(float));
    } else if (b == 8) {
        for (int64_t q = q0; q < q1; q++) memcpy(dst + q * 8, src + (q * p->col_step + at) * 8, 8 * sizeof(float));
    } else {
        for (int64_t q = q0; q < q1; q++) dst[q] = src[q * p->col_step + at];
    }
    memset(dst + q1 * b, 0, (size_t)((p->cols - q1) * b) * sizeof(float));
}

/* Where input block `cb` of those in use begins in x. */
static int64_t block_at(const direct_plan *p, int64_t cb) {
    return (cb / p->icb * p->c->x_slice + cb % p->icb * conv_x_block(p->c)) * p->block;
}

/* Everything that lines [l0, l1) read. x: the group's first block (icb, ih, iw, block). */
static void copy_strip(const direct_plan *p, const float *x, int64_t l0, int64_t l1, float *strip) {
    const tn_conv *c = p->c;
    int64_t rows = (l1 - l0 - 1) * p->line_step + conv_extent_h(c);
    for (int64_t cb = 0; cb < p->blocks; cb++) {
        for (int64_t r = 0; r < rows; r++) {
            /* Where windows do not overlap, the rows between them are left out. */
            int64_t below = p->line_step < c->sh ? r / p->line_step * c->sh + r % p->line_step : r;
            int64_t iy = l0 * c->sh + below - c->pad_top;
            float *dst = strip + cb * p->plane + r * p->row;
            if (iy < 0 || iy >= c->ih) {
                memset(dst, 0, (size_t)p->row * sizeof(float));
                continue;
            }
            const float *src = x + block_at(p, cb) + iy * c->iw * p->block;
            for (int64_t phase = 0; phase < p->phases; phase++) copy_columns(p, src, phase, dst + phase * p->phase);
        }
    }
}

/* The tap is the distance from the first map, which is one of memory, not of elements of an array. */
static void fill_picks(const direct_plan *p, ptrdiff_t *tap) {
    const tn_conv *c = p->c;
    int64_t b = p->block, hw = c->ih * c->iw;
    int32_t *lanes = (int32_t *)(tap + (int64_t)p->taps * c->n);
    for (int64_t n = 0; n < c->n; n++) {
        for (int64_t i = 0; i < c->n_picks; i++) {
            const tn_conv_pick *a = &c->picks[i];
            int64_t block = n * tn_ceil_div(a->map_channels, b) + a->first / b;
            uintptr_t at = (uintptr_t)(c->maps[a->map] + block * hw * b + a->first % b);
            *tap++ = (ptrdiff_t)(at - (uintptr_t)c->maps[0]) / (ptrdiff_t)sizeof(float);
            lanes[i] = (int32_t)a->count;
        }
    }
}

/* Of plain input whose columns lie as they are, a row of the kernel is one tap. */
static bool rows_are_taps(const direct_plan *p) { return p->plain && (!p->copied || p->col_step == 1); }

static void fill_taps(const direct_plan *p, ptrdiff_t *tap) {
    const tn_conv *c = p->c;
    if (c->n_picks) {
        fill_picks(p, tap);
        return;
    }
    for (int64_t cb = 0; cb < p->blocks; cb++) {
        int64_t block = p->copied ? cb * p->plane : block_at(p, cb);
        for (int64_t ky = 0; ky < c->kh; ky++) {
            for (int64_t kx = 0; kx < (rows_are_taps(p) ? 1 : c->kw); kx++) {
                int64_t col = kx * c->dw, step = p->copied ? p->col_step : 1, phase = col % step, q = col / step;
                *tap++ = block + ky * c->dh * p->row + phase * p->phase + q * p->block;
            }
        }
    }
}

/* ---- running
 * ----------------------------------------------------------------------------------------------------------- */

typedef struct direct_job {
    direct_plan p;
    const float *x, *w, *bias, *residual;
    float *y;
    const ptrdiff_t *tap;
    float *strips; /* strip_floats for each thread */
} direct_job;

static tn_tile_kind tile_kind(const direct_plan *p) {
    bool two = p->c->sw == 2;
    return p->plain ? (two ? TN_TILE_PANEL2 : TN_TILE_PANEL) : (two ? TN_TILE_BLOCKED2 : TN_TILE_BLOCKED);
}

/* How a line is cut: `longer` tiles of m + 1 pixels, then those of m. */
typedef struct line_cut {
    int vectors, m;
    int64_t longer, tiles;
    tn_tile_fn tile[2]; /* of m pixels, of m + 1 */
} line_cut;

static line_cut cut_line(const direct_plan *p, int nv, int64_t length) {
    const tn_kernels *k = p->k;
    int most = nv == 4                    ? k->tile_m_wide
               : nv == 3                  ? k->tile_m_3
               : nv == (2 | TN_TILE_HALF) ? k->tile_m_half
               : nv == (3 | TN_TILE_HALF) ? k->tile_m_3_half
                                          : k->tile_m;
    line_cut cut = {.vectors = nv & ~TN_TILE_HALF, .tiles = tn_ceil_div(length, most)};
    cut.m = (int)(length / cut.tiles);
    cut.longer = length % cut.tiles;
    cut.tile[0] = k->tile_f32(tile_kind(p), cut.m, nv);
    cut.tile[1] = cut.longer ? k->tile_f32(tile_kind(p), cut.m + 1, nv) : NULL;
    return cut;
}

/* Weights that may come from memory are fetched in time: a small panel while the last two tiles work with the one
 * before, a large one some rows ahead of the first tile. `tile` counts those of the panel. */
static void fetch_weights(const direct_plan *p, tn_tile *t, int nv, int64_t tile, int64_t tiles) {
    int64_t width = nv * p->k->width, size = p->k_rows * width;
    t->next = NULL;
    if (nv > 2) return;
    if (size * 4 > SMALL_PANEL) {
        if (tile == 0) t->next = t->w + ROWS_AHEAD * width;
        t->next_step = width;
    } else if (tile >= tiles - 2) {
        t->next = t->w + size + (tiles > 1 && tile == tiles - 1 ? size / 2 : 0);
        t->next_step = tiles > 1 ? width / 2 : width;
    }
}

/* Input that is copied next; a picture comes from memory. */
typedef struct ahead {
    const float *x;         /* of the first channel; NULL: none */
    int64_t floats, plane;  /* of each channel, and from one channel to the next */
    int64_t channels, done; /* floats of each channel that are fetched */
} ahead;

/* Brings part `at` of `parts` of it to the L2 cache while the arithmetic goes on. */
static void fetch_ahead(ahead *a, int64_t at, int64_t parts) {
    int64_t line = TN_CACHE_LINE / (int64_t)sizeof(float), end = a->floats * (at + 1) / parts;
    if (!a->x) return;
    for (; a->done < end; a->done += line)
        for (int64_t c = 0; c < a->channels; c++) __builtin_prefetch(a->x + c * a->plane + a->done, 0, 2);
}

/* Pixels (m, B) to or from every `step`-th place. */
static void copy_pixels(float *dst, int64_t dst_step, const float *src, int64_t src_step, int64_t m, int64_t b) {
    for (int64_t i = 0; i < m; i++, dst += dst_step, src += src_step) {
        if (b == 16)
            memcpy(dst, src, 16 * sizeof *dst);
        else
            memcpy(dst, src, (size_t)b * sizeof *dst);
    }
}

/* A tile of m pixels that are not neighbours in y. */
static void run_scattered(const direct_plan *p, tn_tile *t, tn_tile_fn tile, int vectors, int64_t m) {
    enum { MOST = 32 * 16 };
    _Alignas(TN_CACHE_LINE) float sums[MOST];
    _Alignas(TN_CACHE_LINE) float residual[MOST];
    int64_t b = p->k->width, step = conv_y_pixel(p->c) * b;
    tn_tile near = *t;
    near.y = sums;
    near.y_vec = m * b;
    near.residual = t->residual ? residual : NULL;
    for (int64_t v = 0; v < vectors && t->residual; v++)
        copy_pixels(residual + v * m * b, b, t->residual + v * t->y_vec, step, m, b);
    tile(&near);
    for (int64_t v = 0; v < vectors; v++) {
        tn_conv_finish(p->k, &p->c->act, sums + v * m * b, m, v == vectors - 1 ? t->valid : b);
        copy_pixels(t->y + v * t->y_vec, step, sums + v * m * b, b, m, b);
    }
}

/* One panel (or two) over line l of `lines`, which has `length` pixels. x, y: its first pixel. */
static void run_line(const direct_plan *p, tn_tile *t, const line_cut *cut, ahead *next, const float *x, float *y,
                     const float *residual, int64_t length, int64_t l, int64_t lines) {
    int64_t b = p->k->width, x_step = p->block * (p->c->sw == 2 ? 2 : 1), y_step = conv_y_pixel(p->c) * b;
    t->x = x;
    t->y = y;
    t->residual = residual;
    for (int64_t i = 0; i < cut->tiles; i++) {
        int64_t m = cut->m + (i < cut->longer);
        fetch_weights(p, t, cut->vectors, l * cut->tiles + i, lines * cut->tiles);
        fetch_ahead(next, l * cut->tiles + i, lines * cut->tiles);
        if (y_step == b)
            cut->tile[i < cut->longer](t);
        else
            run_scattered(p, t, cut->tile[i < cut->longer], cut->vectors, m);
        t->x += m * x_step;
        t->y += m * y_step;
        if (residual) t->residual += m * y_step;
    }
    for (int v = 0; v < cut->vectors && y_step == b; v++)
        tn_conv_finish(p->k, &p->c->act, y + v * t->y_vec, length, v == cut->vectors - 1 ? t->valid : b);
}

/* Vectors to compute at once, and how: TN_TILE_HALF may be added. `left`: output channels from this panel on; `panels`:
 * how many panels the caller has left. */
static int choose_width(const direct_plan *p, int64_t length, int64_t left, int64_t panels) {
    const tn_kernels *k = p->k;
    int64_t b = k->width;
    tn_tile_kind kind = tile_kind(p);
    bool blocked = kind == TN_TILE_BLOCKED;
    if (length <= k->tile_m_wide && p->c->sw != 2 && panels > 1 && left > 3 * b) return 4;
    if (k->tile_m_3 && blocked && panels == 2 && left > 2 * b && left <= 3 * b && length > k->tile_m_wide)
        return left <= 2 * b + b / 2 ? 3 | TN_TILE_HALF : 3;
    if (left <= b) return 1;
    bool half = k->tile_m_half && (blocked || kind == TN_TILE_PANEL2) && left <= b + b / 2 && length > k->tile_m_wide;
    return half ? 2 | TN_TILE_HALF : 2;
}

static tn_tile tile_of(const direct_job *j) {
    const direct_plan *p = &j->p;
    int64_t b = p->k->width, window = (int64_t)p->c->kh * p->c->kw;
    tn_tile t = {.tap = j->tap, .y_pixel = b, .y_vec = conv_y_block(p->c) * b};
    int64_t last = p->plain ? 0 : p->icg % b;
    t.lanes = p->block;
    t.taps = (p->blocks - (last ? 1 : 0)) * window;
    t.last_lanes = last;
    t.last_taps = last ? window : 0;
    if (rows_are_taps(p)) {
        t.taps = p->blocks * p->c->kh;
        t.lanes = p->c->kw;
        t.lane_step = p->c->dw;
    }
    tn_act_clamp(&p->c->act, &t.lo, &t.hi);
    if (p->c->n_picks) {
        t.taps = (int64_t)p->taps;
        t.last_taps = 0;
        t.tap_lanes = (const int32_t *)(j->tap + t.taps * p->c->n);
    }
    return t;
}

/* Panels [p0, p1) of group g over units [u0, u1) of sample n. src: first pixel of the first unit, tap 0. `next`: what
 * the first panel fetches. */
static void run_block(const direct_job *j, int64_t n, int64_t g, int64_t u0, int64_t u1, int64_t p0, int64_t p1,
                      const float *src, ahead *next) {
    const direct_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, ocb = tn_ceil_div(c->oc, b), y_row = conv_y_row(c);
    int64_t length = p->flat ? u1 - u0 : p->length, lines = p->flat ? 1 : u1 - u0;
    int64_t slice = c->slices > 1 ? c->slice0 * p->slice_rows : 0; /* rows before those of the slices in use */
    int64_t first = u0 * (p->flat ? conv_y_pixel(c) : y_row);
    const float *w = j->w + (size_t)g * group_floats(p->k, c);
    tn_tile t = tile_of(j);
    if (c->n_picks) t.tap += n * t.taps;
    for (int64_t panel = p0; panel < p1;) {
        int64_t o = panel * 2 * b, left = TN_MIN(p->ocg, c->oc - g * p->ocg) - o, width = left > b ? 2 * b : b;
        int kind = choose_width(p, length, left, p1 - panel), nv = kind & ~TN_TILE_HALF;
        line_cut cut = cut_line(p, kind, length);
        t.w = w + o * p->k_rows + slice * width;
        t.w_step = width;
        t.w2 = nv > 2 ? w + (o + 2 * b) * p->k_rows + slice * (left > 3 * b ? 2 * b : b) : NULL;
        t.valid = TN_MIN(left - (nv - 1) * b, b);
        t.bias = j->bias ? j->bias + g * p->ocg + o : NULL;
        int64_t at = ((n * ocb + (g * p->ocg + o) / b) * conv_y_block(c) + first) * b;
        for (int64_t l = 0; l < lines; l++, at += y_row * b)
            run_line(p, &t, &cut, next, src + l * p->line_step * p->row, j->y + at,
                     j->residual ? j->residual + at : NULL, length, l, lines);
        panel += nv > 2 ? 2 : 1;
    }
}

/* Rows of plain input that strip s reads after those of the strip before. */
static ahead rows_of_next(const direct_plan *p, const float *x, int64_t s) {
    const tn_conv *c = p->c;
    if (!p->plain || !p->copied || s >= p->strips) return (ahead){.x = NULL};
    int64_t end = TN_MIN((s + 1) * p->lines / p->strips * c->sh - c->pad_top + conv_extent_h(c) - c->sh, c->ih);
    int64_t begin = TN_MIN(TN_MAX(s * p->lines / p->strips * c->sh - c->pad_top + conv_extent_h(c) - c->sh, 0), end);
    return (ahead){x + begin * c->iw, TN_MAX(end - begin, 0) * c->iw, conv_x_block(c), c->ic, 0};
}

static void direct_task(void *context, int64_t begin, int64_t end, int worker) {
    const direct_job *j = context;
    const direct_plan *p = &j->p;
    const tn_conv *c = p->c;
    float *strip = j->strips + (size_t)worker * p->strip_floats;
    int64_t total = p->flat ? p->length : p->lines,
            sample = (p->plain ? c->ic : tn_ceil_div(c->ic, p->block)) * conv_x_block(c) * p->block;
    int64_t copied = -1;
    for (int64_t task = begin, done; task < end; task += done) {
        int64_t chunk = task % p->oc_chunks, s = task / p->oc_chunks % p->strips, ng = task / p->oc_chunks / p->strips;
        int64_t n = ng / p->groups, g = ng % p->groups, u0 = s * p->strip, u1 = TN_MIN(u0 + p->strip, total);
        done = TN_MIN(p->oc_chunks - chunk, end - task);
        if (p->together > 1) { /* strips are whole tiles: evenly cut, and their pixels, too */
            int64_t left = TN_MIN(p->strips - s, end - task);
            done = tn_ceil_div(left, tn_ceil_div(left, p->together));
            u0 = s * total / p->strips;
            u1 = (s + done) * total / p->strips;
        } else if (!p->flat) {
            u0 = s * total / p->strips;
            u1 = (s + 1) * total / p->strips;
        }
        const float *x = c->n_picks ? c->maps[0] : j->x + n * sample + g * p->icb * conv_x_block(c) * p->block,
                    *src = strip;
        if (!p->copied)
            src = x + (p->flat ? u0 * p->block : u0 * c->sh * p->row);
        else if (copied != task / p->oc_chunks)
            copy_strip(p, x, u0, u1, strip);
        copied = task / p->oc_chunks;
        int64_t last = p->together > 1 ? p->oc_chunks : chunk + done;
        ahead next = rows_of_next(p, x, s + 1);
        run_block(j, n, g, u0, u1, chunk * p->panels / p->oc_chunks, last * p->panels / p->oc_chunks, src, &next);
    }
}

static void direct_run(const tn_kernels *k, const tn_conv *c, const float *x, const float *packed, const float *bias,
                       const float *residual, float *y, void *workspace, int threads) {
    direct_job j = {.p = make_plan(k, c), .x = x, .w = packed, .bias = bias, .y = y};
    if (c->n == 0 || c->oh == 0 || c->ow == 0) return;
    j.residual = c->residual ? residual : NULL;
    j.strips = (float *)workspace + tap_floats(&j.p);
    j.tap = workspace;
    fill_taps(&j.p, workspace);
    tn_parallel_for(threads, c->n * j.p.groups * j.p.strips * j.p.oc_chunks, direct_task, &j);
}

const tn_conv_method tn_conv_1x1 = {takes_1x1, NULL, direct_packed_bytes, direct_pack, direct_workspace, direct_run};
const tn_conv_method tn_conv_direct = {takes_direct, cost_direct,      direct_packed_bytes,
                                       direct_pack,  direct_workspace, direct_run};
const tn_conv_method tn_conv_first = {takes_first,      NULL,      direct_packed_bytes, direct_pack,
                                      direct_workspace, direct_run};
