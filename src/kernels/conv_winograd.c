/* Winograd convolution F(m x m, 3 x 3), m = 2 or 4, stride 1.
 *
 * Every tile of m x m outputs becomes (m + 2)^2 products instead of 9 m^2: y = A^T [(G g G^T) . (B^T d B)] A. Summed
 * over input channels, the product at one position p of the transformed tile is a matrix product, tiles x ic by ic x
 * oc, done by the register tile.
 *
 *     V[p][ic block][tile][B]   transformed input of one block of tiles; a cache line between positions, against
 * aliasing U[panel][p][ic][2 B]      transformed weights, computed in double, rounded once M[p][2][tile][B] products of
 * one panel
 *
 * Tiles of a batch are numbered through and cut into blocks of about 28; all that one tile gives depends on that tile
 * alone. With many blocks each is a task; with few, the blocks follow each other and the threads share the channels of
 * one. The choice between m = 2, m = 4 and direct convolution looks at one sample, not at the batch, so that a sample's
 * bits do not depend on it. The error bound is in docs/numerics.md. */
#include "kernels/conv_internal.h"

#define BLOCK_TILES 28
#define WHOLE_TILES 50 /* so few tiles are one block: every block reads all of U */
#define MANY_BLOCKS 8
#define POSITIONS   36

typedef struct wino_plan {
    const tn_kernels *k;
    const tn_conv *c;
    int m, positions;
    int64_t th, tw, tiles, block, blocks, icb, panels;
    int64_t v_step, m_step; /* from position to position, in floats */
    size_t v_floats, m_floats, tap_floats;
    bool many;
} wino_plan;

static wino_plan make_plan(const tn_kernels *k, const tn_conv *c, int m) {
    wino_plan p = {.k = k, .c = c, .m = m, .positions = (m + 2) * (m + 2)};
    p.th = tn_ceil_div(c->oh, m);
    p.tw = tn_ceil_div(c->ow, m);
    p.tiles = c->n * p.th * p.tw;
    p.block = p.tiles <= WHOLE_TILES ? TN_MAX(p.tiles, 1) : BLOCK_TILES / k->tile_m * k->tile_m;
    p.blocks = tn_ceil_div(p.tiles, p.block);
    p.many = p.blocks >= MANY_BLOCKS;
    p.icb = tn_ceil_div(c->ic, k->width);
    p.panels = tn_ceil_div(c->oc, 2 * k->width);
    p.v_step = p.icb * p.block * k->width + 16;
    p.m_step = 2 * p.block * k->width + 16;
    p.v_floats = (size_t)(p.v_step * p.positions);
    p.m_floats = (size_t)(p.m_step * p.positions);
    p.tap_floats = (size_t)tn_round_up(p.icb * (int64_t)(sizeof(ptrdiff_t) / sizeof(float)), 16);
    return p;
}

/* ---- choice
 * ------------------------------------------------------------------------------------------------------------ */

/* Arithmetic or reading the weights, whichever takes longer, and the transforms. */
static double wino_cost(const tn_conv *c, int m) {
    double ic = (double)c->ic, oc = (double)c->oc;
    double tiles = (double)(tn_ceil_div(c->oh, m) * tn_ceil_div(c->ow, m)), positions = (m + 2) * (m + 2);
    double sum = TN_MAX(2 * positions * tiles * ic * oc / 190, 4 * positions * ic * oc / 40);
    return sum + tiles * positions * (ic + oc) * 8 / 100;
}

static bool takes(const tn_kernels *k, const tn_conv *c) {
    (void)k;
    return !c->in_plain && c->groups == 1 && c->kh == 3 && c->kw == 3 && c->sh == 1 && c->sw == 1 && c->dh == 1 &&
           c->dw == 1 && c->ic >= 8 && c->oc >= 8 && c->oh > 0 && c->ow > 0;
}

/* ---- weights
 * ----------------------------------------------------------------------------------------------------------- */

/* Per panel of two blocks of outputs: (position, ic, 2 B). */
static void wino_pack(const tn_kernels *k, const tn_conv *c, const float *w, float *dst, int m) {
    int64_t positions = (int64_t)(m + 2) * (m + 2), b = k->width;
    float block[9 * 16];
    for (int64_t o = 0; o < c->oc; o += 2 * b) {
        int64_t width = c->oc - o > b ? 2 * b : b;
        for (int64_t v = 0; v < width; v += b) {
            int64_t rows = TN_MIN(c->oc - o - v, b);
            for (int64_t i = 0; i < c->ic; i++) {
                k->layout_block_f32(w + ((o + v) * c->ic + i) * 9, c->ic * 9, block, b, rows, 9);
                k->winograd_weight_f32(block, dst + i * width + v, c->ic * width, m);
            }
        }
        dst += positions * c->ic * width;
    }
}

static size_t wino_packed_bytes(const tn_kernels *k, const tn_conv *c, int m) {
    return (size_t)((m + 2) * (m + 2) * c->ic * tn_round_up(c->oc, k->width)) * sizeof(float);
}

/* ---- running
 * ----------------------------------------------------------------------------------------------------------- */

typedef struct wino_job {
    wino_plan p;
    const float *x, *w, *bias, *residual;
    float *y;
    const ptrdiff_t *tap;
    float *v, *products;  /* v_floats and m_floats for each thread; v once when blocks follow each other */
    int64_t tile0, count; /* the block in work when blocks follow each other */
} wino_job;

/* A tile: its sample, and its first output row and column. */
typedef struct wino_at {
    int64_t n, oy, ox;
} wino_at;

static wino_at locate(const wino_plan *p, int64_t t) {
    return (wino_at){t / p->tw / p->th, t / p->tw % p->th * p->m, t % p->tw * p->m};
}

static void step(const wino_plan *p, wino_at *at) {
    if ((at->ox += p->m) < p->tw * p->m) return;
    at->ox = 0;
    if ((at->oy += p->m) < p->th * p->m) return;
    at->oy = 0;
    at->n++;
}

/* Tiles [t0, t0 + count), input blocks [b0, b1) into v. Neighbours follow each other, so that memory is read in
 * order. */
static void transform_input(const wino_job *j, int64_t t0, int64_t count, int64_t b0, int64_t b1, float *v) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, e = p->m + 2;
    tn_winograd_tile tile = {.x_row = c->iw * b, .step = p->v_step};
    for (int64_t cb = b0; cb < b1; cb++) {
        wino_at at = locate(p, t0);
        for (int64_t t = 0; t < count; t++, step(p, &at)) {
            int64_t iy = at.oy - c->pad_top, ix = at.ox - c->pad_left;
            tile.y1 = (int)TN_MAX(TN_MIN(c->ih - iy, e), 0);
            tile.x1 = (int)TN_MAX(TN_MIN(c->iw - ix, e), 0);
            tile.y0 = (int)TN_MIN(TN_MAX(-iy, 0), e);
            tile.x0 = (int)TN_MIN(TN_MAX(-ix, 0), e);
            tile.x = j->x + ((at.n * p->icb + cb) * c->ih * c->iw + iy * c->iw + ix) * b;
            tile.v = v + (cb * p->block + t) * b;
            p->k->winograd_input_f32(&tile, p->m);
        }
    }
}

/* One panel of outputs of tiles [t0, t0 + count), from v. */
static void multiply(const wino_job *j, int64_t count, int64_t panel, const float *v, float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, o = panel * 2 * b, width = c->oc - o > b ? 2 * b : b, last = c->ic % b;
    tn_tile t = {.tap = j->tap, .taps = c->ic / b, .lanes = b, .last_taps = last ? 1 : 0, .last_lanes = last};
    t.y_pixel = b;
    t.y_vec = p->block * b;
    t.valid = b;
    tn_act_clamp(NULL, &t.lo, &t.hi);
    int64_t pieces = tn_ceil_div(count, p->k->tile_m);
    for (int64_t pos = 0; pos < p->positions; pos++) {
        t.w = j->w + (o * p->positions + pos * width) * c->ic;
        for (int64_t i = 0; i < pieces; i++) {
            int64_t q = i * count / pieces, m = (i + 1) * count / pieces - q;
            t.x = v + pos * p->v_step + q * b;
            t.y = products + pos * p->m_step + q * b;
            p->k->tile_f32(TN_TILE_BLOCKED, (int)m, (int)(width / b))(&t);
        }
    }
}

static void transform_output(const wino_job *j, int64_t t0, int64_t count, int64_t panel, float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->k->width, ocb = tn_ceil_div(c->oc, b);
    tn_winograd_tile tile = {.y_row = c->ow * b, .step = p->m_step};
    tn_act_clamp(&c->act, &tile.lo, &tile.hi);
    for (int64_t cb = panel * 2; cb < TN_MIN(panel * 2 + 2, ocb); cb++) {
        float bias[16] = {0};
        tile.lanes = TN_MIN(c->oc - cb * b, b);
        tile.bias = bias;
        if (j->bias) memcpy(bias, j->bias + cb * b, (size_t)tile.lanes * sizeof(float));
        wino_at place = locate(p, t0);
        for (int64_t t = 0; t < count; t++, step(p, &place)) {
            int64_t at = (((place.n * ocb + cb) * c->oh + place.oy) * c->ow + place.ox) * b;
            tile.rows = (int)TN_MIN(p->m, c->oh - place.oy);
            tile.cols = (int)TN_MIN(p->m, c->ow - place.ox);
            tile.y = j->y + at;
            tile.residual = j->residual ? j->residual + at : NULL;
            tile.v = products + ((cb - panel * 2) * p->block + t) * b;
            p->k->winograd_output_f32(&tile, p->m);
            for (int r = 0; r < tile.rows; r++)
                tn_conv_finish(p->k, &c->act, tile.y + r * tile.y_row, tile.cols, tile.lanes);
        }
    }
}

static void block_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    const wino_plan *p = &j->p;
    float *v = j->v + (size_t)worker * p->v_floats, *products = j->products + (size_t)worker * p->m_floats;
    for (int64_t block = begin; block < end; block++) {
        int64_t t0 = block * p->block, count = TN_MIN(p->block, p->tiles - t0);
        transform_input(j, t0, count, 0, p->icb, v);
        for (int64_t panel = 0; panel < p->panels; panel++) {
            multiply(j, count, panel, v, products);
            transform_output(j, t0, count, panel, products);
        }
    }
}

static void input_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    (void)worker;
    transform_input(j, j->tile0, j->count, begin, end, j->v);
}

static void panel_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    float *products = j->products + (size_t)worker * j->p.m_floats;
    for (int64_t panel = begin; panel < end; panel++) {
        multiply(j, j->count, panel, j->v, products);
        transform_output(j, j->tile0, j->count, panel, products);
    }
}

static size_t wino_workspace(const tn_kernels *k, const tn_conv *c, int m, int threads) {
    wino_plan p = make_plan(k, c, m);
    size_t each = (size_t)TN_MAX(threads, 1);
    return (p.tap_floats + p.v_floats * (p.many ? each : 1) + p.m_floats * each) * sizeof(float);
}

static void wino_run(const tn_kernels *k, const tn_conv *c, int m, const float *x, const float *packed,
                     const float *bias, const float *residual, float *y, void *workspace, int threads) {
    wino_job j = {.p = make_plan(k, c, m), .x = x, .w = packed, .bias = bias, .y = y};
    const wino_plan *p = &j.p;
    if (p->tiles == 0) return;
    j.residual = c->residual ? residual : NULL;
    j.tap = workspace;
    j.v = (float *)workspace + p->tap_floats;
    j.products = j.v + p->v_floats * (p->many ? (size_t)TN_MAX(threads, 1) : 1);
    for (int64_t cb = 0; cb < p->icb; cb++) ((ptrdiff_t *)workspace)[cb] = cb * p->block * k->width;
    if (p->many) {
        tn_parallel_for(threads, p->blocks, block_task, &j);
        return;
    }
    for (int64_t block = 0; block < p->blocks; block++) {
        j.tile0 = block * p->block;
        j.count = TN_MIN(p->block, p->tiles - j.tile0);
        tn_parallel_for(threads, p->icb, input_task, &j);
        tn_parallel_for(threads, p->panels, panel_task, &j);
    }
}

#define WINOGRAD_METHOD(m)                                                                                             \
    static double cost_##m(const tn_kernels *k, const tn_conv *c) {                                                    \
        (void)k;                                                                                                       \
        return wino_cost(c, m);                                                                                        \
    }                                                                                                                  \
    static size_t packed_bytes_##m(const tn_kernels *k, const tn_conv *c) { return wino_packed_bytes(k, c, m); }       \
    static void pack_##m(const tn_kernels *k, const tn_conv *c, const float *w, float *dst) {                          \
        wino_pack(k, c, w, dst, m);                                                                                    \
    }                                                                                                                  \
    static size_t workspace_##m(const tn_kernels *k, const tn_conv *c, int threads) {                                  \
        return wino_workspace(k, c, m, threads);                                                                       \
    }                                                                                                                  \
    static void run_##m(const tn_kernels *k, const tn_conv *c, const float *x, const float *packed, const float *bias, \
                        const float *residual, float *y, void *workspace, int threads) {                               \
        wino_run(k, c, m, x, packed, bias, residual, y, workspace, threads);                                           \
    }                                                                                                                  \
    const tn_conv_method tn_conv_winograd##m = {takes, cost_##m, packed_bytes_##m, pack_##m, workspace_##m, run_##m};
WINOGRAD_METHOD(2)
WINOGRAD_METHOD(4)
