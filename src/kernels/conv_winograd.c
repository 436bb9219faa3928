/* Winograd convolution F(m x m, 3 x 3), m = 2 or 4, and its counterpart at stride 2 (winograd.h).
 *
 * Every tile of m x m outputs becomes one product for each plane instead of 9 m^2 (stride 1: 16 for 4 outputs, 36 for
 * 16; stride 2: 25 and 81): y = A^T [(G g G^T) . (B^T d B)] A. Summed over input channels, and over the planes of one
 * sum, that is a matrix product for each sum, tiles x K by K x oc, done by the register tile.
 *
 *     V[plane][ic block][tile][B]            transformed input of one block of tiles
 *     U[panel][sum][plane of it][ic][2 B]    transformed weights, computed in double, rounded once
 *     M[sum][panel of a group][2][tile][B]   sums
 *
 * with a cache line more between planes and between sums, against aliasing.
 *
 * Tiles of a batch are numbered through and cut into blocks of about 28; all that one tile gives depends on that tile
 * alone. With many blocks each is a task; with few, the blocks follow each other and the threads share the channels of
 * one. Where V is larger than L2, panels go in groups, so that it is read once for each. The choice of the algorithm
 * looks at one sample, not at the batch, so that a sample's bits do not depend on it. The error bound is in
 * docs/numerics.md. */
#include <stdatomic.h>

#include "kernels/conv_winograd.h"

#define BLOCK_TILES 28
#define WHOLE_TILES 50 /* so few tiles are one block: every block reads all of U */
#define MANY_BLOCKS 8
#define FEW_PANELS  4
#define V_BYTES     (640 * 1024) /* of V that stay in L2 */
#define M_BYTES     (512 * 1024) /* of M where V does not */
#define GROUP       4            /* panels of a group at most */

#define LARGE_FORM 12e6 /* bytes of weights at most where they are 9 times the original ones */

const wino_form tn_winograd_forms[] = {
    [TN_WINOGRAD_2] = {TN_WINOGRAD_2, 2, 1, 4, 4, {0, 1, 2, 3, 4}},
    [TN_WINOGRAD_4] = {TN_WINOGRAD_4, 4, 1, 6, 6, {0, 1, 2, 3, 4, 5, 6}},
    [TN_WINOGRAD_2S2] = {TN_WINOGRAD_2S2, 2, 2, 5, 3, {0, 2, 3, 5}},
    [TN_WINOGRAD_4S2] = {TN_WINOGRAD_4S2, 4, 2, 9, 5, {0, 2, 4, 6, 7, 9}},
    [TN_WINOGRAD_2X4] = {TN_WINOGRAD_2X4, 4, 1, 6, 6, {0, 1, 2, 3, 4, 5, 6}},
};

void tn_winograd_order(const wino_grid *g, unsigned char order[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES]) {
    for (int r = 0; r < g->rows->sums; r++)
        for (int s = 0; s < g->cols->sums; s++)
            for (int i = 0, cols = wino_planes_of(g->cols, s); i < wino_planes_of(g->rows, r) * cols; i++)
                order[wino_plane_of(g, r, s) + i / cols * g->cols->planes + i % cols] =
                    (unsigned char)(wino_first_of(g, r, s) + i);
}

ptrdiff_t *tn_winograd_taps_of(int64_t icb, void *taps, int rows, int cols) {
    static const int before[2][2] = {{0, 1}, {3, 5}};
    return (ptrdiff_t *)taps + before[rows - 1][cols - 1] * icb;
}

void tn_winograd_fill_taps(const wino_grid *g, int64_t icb, int64_t v_step, int64_t block_step, void *taps) {
    for (int rows = 1; rows <= g->rows->stride; rows++) {
        for (int cols = 1; cols <= g->cols->stride; cols++) {
            ptrdiff_t *tap = tn_winograd_taps_of(icb, taps, rows, cols);
            for (int i = 0; i < rows * cols; i++)
                for (int64_t cb = 0; cb < icb; cb++)
                    *tap++ = (i / cols * g->cols->planes + i % cols) * v_step + cb * block_step;
        }
    }
}

typedef struct wino_plan {
    const tn_kernels *k;
    const tn_conv *c;
    wino_grid g;
    int64_t block, blocks, panels, group, groups;
    int64_t icb, slice_icb; /* input blocks of all slices in use, of one */
    int64_t k_rows;         /* of weights for one plane */
    int64_t v_step, m_step; /* from plane to plane, from sum to sum, in floats */
    size_t v_floats, m_floats, tap_floats;
    bool many;
} wino_plan;

static wino_plan make_plan(const tn_kernels *k, const tn_conv *c, const wino_form *f) {
    wino_plan p = {.k = k, .c = c, .g = wino_grid_of(f->kind, c)};
    int64_t planes = (int64_t)f->planes * f->planes, sums = (int64_t)f->sums * f->sums, b = k->width;
    p.block = p.g.tiles <= WHOLE_TILES ? TN_MAX(p.g.tiles, 1) : BLOCK_TILES / k->tile_m * k->tile_m;
    p.blocks = tn_ceil_div(p.g.tiles, p.block);
    p.slice_icb = tn_ceil_div(c->ic, b);
    p.icb = p.slice_icb * conv_used(c);
    p.k_rows = conv_rows_of_slice(c, b) * conv_slices(c);
    p.panels = tn_ceil_div(c->oc, 2 * b);
    /* Too few channels to be shared: blocks of one tile of rows. */
    bool narrow = p.panels < FEW_PANELS && p.blocks < MANY_BLOCKS;
    if (narrow) {
        p.blocks = tn_ceil_div(p.g.tiles, k->tile_m);
        if (p.blocks == 1 && p.g.tiles >= 8) p.blocks = 2;
        p.block = tn_ceil_div(p.g.tiles, TN_MAX(p.blocks, 1));
        p.blocks = tn_ceil_div(p.g.tiles, TN_MAX(p.block, 1));
    }
    p.many = p.blocks >= MANY_BLOCKS || narrow;
    p.group = 1;
    if (p.icb * p.block * b * planes * 4 > V_BYTES) {
        p.group = TN_MIN(M_BYTES / (2 * p.block * b * sums * 4), tn_ceil_div(p.panels, 2));
        p.group = TN_MAX(TN_MIN(p.group, GROUP), 1);
    }
    p.groups = tn_ceil_div(p.panels, p.group);
    p.v_step = p.icb * p.block * b + 16;
    p.m_step = p.group * 2 * p.block * b + 16;
    p.v_floats = (size_t)(p.v_step * planes);
    p.m_floats = (size_t)(p.m_step * sums);
    p.tap_floats = (size_t)tn_round_up(wino_taps(&p.g, p.icb) * (int64_t)(sizeof(ptrdiff_t) / sizeof(float)), 16);
    return p;
}

/* ---- choice
 * ------------------------------------------------------------------------------------------------------------ */

/* Arithmetic or reading the weights, whichever takes longer, and the transforms. */
static double wino_cost(const tn_conv *c, const wino_form *f) {
    double ic = (double)c->ic * (double)conv_slices(c), oc = (double)c->oc, planes = f->planes * f->planes,
           sums = f->sums * f->sums;
    double tiles = (double)(tn_ceil_div(c->oh, f->m) * tn_ceil_div(c->ow, f->m));
    double sum = TN_MAX(2 * planes * tiles * ic * oc / 190, 4 * planes * ic * oc / 40);
    return sum + tiles * (planes * ic + sums * oc) * 8 / 100;
}

static bool wino_takes(const tn_kernels *k, const tn_conv *c, const wino_form *f) {
    if (c->in_plain || c->groups != 1 || c->kh != 3 || c->kw != 3 || c->dh != 1 || c->dw != 1) return false;
    if (c->sh != f->stride || c->sw != f->stride || c->oh < 1 || c->ow < 1 || conv_y_pixel(c) > 1) return false;
    if (c->pooled && (c->residual || !tn_act_is_clamp(c->act.kind) || c->y_row || c->y_block)) return false;
    if (f->stride == 1) return c->ic >= 8 && c->oc >= 8;
    /* With several planes to a sum only the last of all blocks could be a partial one. */
    if (c->ic % k->width || c->oc < 8 || c->slices > 1) return false;
    return f->m == 2 || (double)c->ic * (double)c->oc * f->planes * f->planes * 4 <= LARGE_FORM;
}

/* ---- weights
 * ----------------------------------------------------------------------------------------------------------- */

/* Per panel of two blocks of outputs: (sum, plane of it, ic, 2 B). */
static void wino_pack(const tn_kernels *k, const tn_conv *c, const float *w, float *dst, const wino_form *f) {
    unsigned char order[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES];
    int64_t planes = (int64_t)f->planes * f->planes, b = k->width, slices = conv_slices(c);
    int64_t slice = conv_rows_of_slice(c, b), k_rows = slices * slice;
    wino_grid g = wino_grid_of(f->kind, c);
    tn_winograd_order(&g, order);
    if (slice > c->ic) memset(dst, 0, (size_t)(planes * k_rows * tn_round_up(c->oc, b)) * sizeof *dst);
    float block[9 * 16];
    for (int64_t o = 0; o < c->oc; o += 2 * b) {
        int64_t width = c->oc - o > b ? 2 * b : b;
        for (int64_t v = 0; v < width; v += b) {
            int64_t rows = TN_MIN(c->oc - o - v, b);
            for (int64_t i = 0; i < c->ic * slices; i++) { /* as they lie in w */
                int64_t row = i % slices * slice + i / slices;
                k->layout_block_f32(w + ((o + v) * c->ic * slices + i) * 9, c->ic * slices * 9, block, b, rows, 9);
                k->winograd_weight_f32(block, dst + row * width + v, k_rows * width, order, f->kind);
            }
        }
        dst += planes * k_rows * width;
    }
    atomic_thread_fence(memory_order_seq_cst); /* the kernel may write past the caches */
}

static size_t wino_packed_bytes(const tn_kernels *k, const tn_conv *c, const wino_form *f) {
    int64_t k_rows = conv_rows_of_slice(c, k->width) * conv_slices(c);
    return (size_t)((int64_t)f->planes * f->planes * k_rows * tn_round_up(c->oc, k->width)) * sizeof(float);
}

/* ---- running
 * ----------------------------------------------------------------------------------------------------------- */

typedef struct wino_job {
    wino_plan p;
    const float *x, *w, *bias, *residual;
    float *y;
    void *taps;
    float *v, *products;  /* v_floats and m_floats for each thread; v once when blocks follow each other */
    int64_t tile0, count; /* the block in work when blocks follow each other */
} wino_job;

/* Tiles [t0, t0 + count), input blocks [b0, b1) into v. Neighbours follow each other, so that memory is read in
 * order. */
static void transform_input(const wino_job *j, int64_t t0, int64_t count, int64_t b0, int64_t b1, float *v) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, e = tn_winograd_inputs(p->g.rows->m, p->g.rows->stride);
    tn_winograd_tile tile = {.x_row = c->iw * b, .step = p->v_step};
    for (int64_t cb = b0; cb < b1; cb++) {
        int64_t slice = cb / p->slice_icb, of_slice = cb % p->slice_icb;
        wino_at at = wino_locate(&p->g, t0);
        for (int64_t t = 0; t < count; t++, wino_step(&p->g, &at, 1)) {
            int64_t iy = at.oy * c->sh - c->pad_top, ix = at.ox * c->sw - c->pad_left;
            tile.y1 = (int)TN_MAX(TN_MIN(c->ih - iy, e), 0);
            tile.x1 = (int)TN_MAX(TN_MIN(c->iw - ix, e), 0);
            tile.y0 = (int)TN_MIN(TN_MAX(-iy, 0), e);
            tile.x0 = (int)TN_MIN(TN_MAX(-ix, 0), e);
            tile.x =
                j->x + ((at.n * p->slice_icb + of_slice) * conv_x_block(c) + slice * c->x_slice + iy * c->iw + ix) * b;
            tile.v = v + (cb * p->block + t) * b;
            p->k->winograd_input_f32(&tile, p->g.rows->kind);
        }
    }
}

/* One panel of sum (r, s), for `count` tiles, from v. */
static void multiply(const wino_job *j, int64_t count, int r, int s, int64_t panel, const float *v, float *products) {
    const wino_plan *p = &j->p;
    const wino_form *f = p->g.rows;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, o = panel * 2 * b, width = c->oc - o > b ? 2 * b : b, last = p->k_rows % b;
    int rows = wino_planes_of(f, r), cols = wino_planes_of(f, s);
    tn_tile t = {.tap = tn_winograd_taps_of(p->icb, j->taps, rows, cols),
                 .taps = rows * cols * (p->icb - (last ? 1 : 0)),
                 .lanes = b};
    t.last_taps = last ? 1 : 0;
    t.last_lanes = last;
    t.y_pixel = b;
    t.y_vec = p->block * b;
    t.valid = b;
    tn_act_clamp(NULL, &t.lo, &t.hi);
    t.w = j->w + (o * f->planes * f->planes + wino_first_of(&p->g, r, s) * width) * p->k_rows;
    if (c->slices > 1) t.w += c->slice0 * p->slice_icb * b * width;
    v += wino_plane_of(&p->g, r, s) * p->v_step;
    int64_t pieces = tn_ceil_div(count, p->k->tile_m);
    for (int64_t i = 0; i < pieces; i++) {
        int64_t q = i * count / pieces, m = (i + 1) * count / pieces - q;
        t.x = v + q * b;
        t.y = products + q * b;
        /* The last two pieces fetch the weights of the next sum. */
        int64_t left = pieces - 1 - i, size = rows * cols * p->k_rows * width;
        t.next = left == 0 ? t.w + size + (pieces > 1 ? size / 2 : 0) : left == 1 ? t.w + size : NULL;
        t.next_step = pieces > 1 ? width / 2 : width;
        p->k->tile_f32(TN_TILE_BLOCKED, (int)m, (int)(width / b))(&t);
    }
}

/* One panel of tiles [t0, t0 + count). */
static void transform_output(const wino_job *j, int64_t t0, int64_t count, int64_t panel, float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, ocb = tn_ceil_div(c->oc, b), step = c->pooled ? 2 : 1;
    int64_t row = c->pooled ? c->ow / 2 : conv_y_row(c), block = c->pooled ? c->oh / 2 * row : conv_y_block(c);
    tn_winograd_tile tile = {.y_row = row * b, .step = p->m_step, .pooled = c->pooled};
    tn_act_clamp(&c->act, &tile.lo, &tile.hi);
    for (int64_t cb = panel * 2; cb < TN_MIN(panel * 2 + 2, ocb); cb++) {
        float bias[16] = {0};
        tile.lanes = TN_MIN(c->oc - cb * b, b);
        tile.bias = bias;
        if (j->bias) memcpy(bias, j->bias + cb * b, (size_t)tile.lanes * sizeof(float));
        wino_at place = wino_locate(&p->g, t0);
        int64_t run = 0; /* columns of this row of tiles so far */
        for (int64_t t = 0; t < count; t++, wino_step(&p->g, &place, 1)) {
            int64_t at = ((place.n * ocb + cb) * block + place.oy / step * row + place.ox / step) * b;
            tile.rows = (int)TN_MIN(p->g.rows->m, c->oh - place.oy);
            tile.cols = (int)TN_MIN(p->g.rows->m, c->ow - place.ox);
            tile.y = j->y + at;
            tile.residual = j->residual ? j->residual + at : NULL;
            tile.v = products + ((cb - panel * 2) * p->block + t) * b;
            p->k->winograd_output_f32(&tile, p->g.rows->kind);
            run += tile.cols;
            if (c->pooled || (t < count - 1 && place.ox + tile.cols < c->ow)) continue;
            for (int r = 0; r < tile.rows; r++)
                tn_conv_finish(p->k, &c->act, tile.y + (tile.cols - run) * b + r * tile.y_row, run, tile.lanes);
            run = 0;
        }
    }
}

/* A group of panels of tiles [t0, t0 + count), from v. */
static void run_group(const wino_job *j, int64_t t0, int64_t count, int64_t group, const float *v, float *products) {
    const wino_plan *p = &j->p;
    int64_t begin = group * p->group, end = TN_MIN(begin + p->group, p->panels), panel = 2 * p->block * p->k->width;
    for (int r = 0; r < p->g.rows->sums; r++)
        for (int s = 0; s < p->g.rows->sums; s++)
            for (int64_t i = begin; i < end; i++)
                multiply(j, count, r, s, i, v, products + (r * p->g.rows->sums + s) * p->m_step + (i - begin) * panel);
    for (int64_t i = begin; i < end; i++) transform_output(j, t0, count, i, products + (i - begin) * panel);
}

static void block_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    const wino_plan *p = &j->p;
    float *v = j->v + (size_t)worker * p->v_floats, *products = j->products + (size_t)worker * p->m_floats;
    for (int64_t block = begin; block < end; block++) {
        int64_t t0 = block * p->block, count = TN_MIN(p->block, p->g.tiles - t0);
        transform_input(j, t0, count, 0, p->icb, v);
        for (int64_t group = 0; group < p->groups; group++) run_group(j, t0, count, group, v, products);
    }
}

static void input_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    (void)worker;
    transform_input(j, j->tile0, j->count, begin, end, j->v);
}

static void group_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    float *products = j->products + (size_t)worker * j->p.m_floats;
    for (int64_t group = begin; group < end; group++) run_group(j, j->tile0, j->count, group, j->v, products);
}

static size_t wino_workspace(const tn_kernels *k, const tn_conv *c, const wino_form *f, int threads) {
    wino_plan p = make_plan(k, c, f);
    size_t each = (size_t)TN_MAX(threads, 1);
    return (p.tap_floats + p.v_floats * (p.many ? each : 1) + p.m_floats * each) * sizeof(float);
}

static void wino_run(const tn_kernels *k, const tn_conv *c, const wino_form *f, const float *x, const float *packed,
                     const float *bias, const float *residual, float *y, void *workspace, int threads) {
    wino_job j = {.p = make_plan(k, c, f), .x = x, .w = packed, .bias = bias, .y = y, .taps = workspace};
    const wino_plan *p = &j.p;
    if (p->g.tiles == 0) return;
    j.residual = c->residual ? residual : NULL;
    j.v = (float *)workspace + p->tap_floats;
    j.products = j.v + p->v_floats * (p->many ? (size_t)TN_MAX(threads, 1) : 1);
    tn_winograd_fill_taps(&p->g, p->icb, p->v_step, p->block * p->k->width, workspace);
    if (p->many) {
        tn_parallel_for(threads, p->blocks, block_task, &j);
        return;
    }
    for (int64_t block = 0; block < p->blocks; block++) {
        j.tile0 = block * p->block;
        j.count = TN_MIN(p->block, p->g.tiles - j.tile0);
        tn_parallel_for(threads, p->icb, input_task, &j);
        tn_parallel_for(threads, p->groups, group_task, &j);
    }
}

#define WINOGRAD_METHOD(m, kind)                                                                                       \
    static bool takes_##m(const tn_kernels *k, const tn_conv *c) {                                                     \
        return wino_takes(k, c, &tn_winograd_forms[kind]);                                                             \
    }                                                                                                                  \
    static double cost_##m(const tn_kernels *k, const tn_conv *c) {                                                    \
        (void)k;                                                                                                       \
        return wino_cost(c, &tn_winograd_forms[kind]);                                                                 \
    }                                                                                                                  \
    static size_t packed_bytes_##m(const tn_kernels *k, const tn_conv *c) {                                            \
        return wino_packed_bytes(k, c, &tn_winograd_forms[kind]);                                                      \
    }                                                                                                                  \
    static void pack_##m(const tn_kernels *k, const tn_conv *c, const float *w, float *dst) {                          \
        wino_pack(k, c, w, dst, &tn_winograd_forms[kind]);                                                             \
    }                                                                                                                  \
    static size_t workspace_##m(const tn_kernels *k, const tn_conv *c, int threads) {                                  \
        return wino_workspace(k, c, &tn_winograd_forms[kind], threads);                                                \
    }                                                                                                                  \
    static void run_##m(const tn_kernels *k, const tn_conv *c, const float *x, const float *packed, const float *bias, \
                        const float *residual, float *y, void *workspace, int threads) {                               \
        wino_run(k, c, &tn_winograd_forms[kind], x, packed, bias, residual, y, workspace, threads);                    \
    }                                                                                                                  \
    const tn_conv_method tn_conv_winograd##m = {takes_##m, cost_##m,      packed_bytes_##m,                            \
                                                pack_##m,  workspace_##m, run_##m};
WINOGRAD_METHOD(2, TN_WINOGRAD_2)
WINOGRAD_METHOD(4, TN_WINOGRAD_4)
WINOGRAD_METHOD(2s2, TN_WINOGRAD_2S2)
WINOGRAD_METHOD(4s2, TN_WINOGRAD_4S2)
