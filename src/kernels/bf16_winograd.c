/* Winograd convolution in bfloat16, 2 x 4 or 2 x 2 outputs at stride 1, 2 x 2 at stride 2; conv_winograd.c has the
 * algorithm.
 *
 *     V[plane][ic block][tile][B]                    transformed input of one block of tiles, rounded to bfloat16
 *     U[panel][sum][plane of it][ic / 2][2 B][2]     transformed weights, computed in double, rounded to float32 and
 *                                                    then to bfloat16
 *     M[sum][tile][2][B]                             sums of one panel, float32; (tile, B) where it has one block
 *
 * Transforms are float32. The rounding of U and V is multiplied by 1.7 in tiles of 2 x 2, and by 2.8 in those of 2 x 4
 * (winograd_lines.h); float32's 4 x 4 would multiply it by 11 (docs/numerics.md). */
#include "kernels/bf16_internal.h"
#include "kernels/conv_winograd.h"

#define BLOCK_TILES 56
#define WHOLE_TILES 64 /* so few tiles are one block: every block reads all of U */
#define MANY_BLOCKS 8
#define V_BYTES     (512 * 1024) /* of a block's V that stay in L2 */

typedef struct wino_plan {
    const tn_bf16_kernels *q;
    const tn_conv *c;
    wino_grid g;
    int64_t b, block, blocks, icb, pairs, panels;
    int64_t v_step, m_step; /* from plane to plane, from sum to sum, in elements; a cache line more, against aliasing */
    size_t tap_bytes, v_bytes, m_bytes;
    bool many;
} wino_plan;

static wino_plan make_plan(const tn_bf16_kernels *q, const tn_conv *c) {
    wino_plan p = {.q = q, .c = c, .g = wino_grid_of(bf16_winograd_kind(c), c), .b = q->base->width};
    int64_t planes = wino_planes(&p.g), sums = wino_sums(&p.g), high = q->tile_m;
    p.icb = tn_ceil_div(c->ic, p.b);
    p.block = TN_MIN(BLOCK_TILES, TN_MAX(V_BYTES / (planes * p.icb * p.b * 2), 2 * high)) / high * high;
    if (p.g.tiles <= WHOLE_TILES) p.block = TN_MAX(p.g.tiles, 1);
    p.blocks = tn_ceil_div(p.g.tiles, p.block);
    p.many = p.blocks >= MANY_BLOCKS;
    p.pairs = (c->ic + 1) / 2;
    p.panels = tn_ceil_div(c->oc, 2 * p.b);
    p.v_step = p.icb * p.block * p.b + 32;
    p.m_step = 2 * p.block * p.b + 16;
    p.tap_bytes = (size_t)tn_round_up(wino_taps(&p.g, p.icb) * (int64_t)sizeof(ptrdiff_t), 64);
    p.v_bytes = (size_t)tn_round_up(p.v_step * planes * 2, 64);
    p.m_bytes = (size_t)(p.m_step * sums) * sizeof(float);
    return p;
}

/* ---- choice ------------------------------------------------------------------------------------------------------ */

/* Rough cost of one sample in nanoseconds: arithmetic or reading the weights, whichever takes longer, and the
 * transforms. */
static double cost_of(const tn_conv *c, tn_winograd_kind kind) {
    tn_conv one = *c;
    one.n = 1;
    wino_grid g = wino_grid_of(kind, &one);
    double ic = (double)c->ic, oc = (double)c->oc, tiles = (double)g.tiles;
    double planes = (double)wino_planes(&g), sums = (double)wino_sums(&g);
    double products = TN_MAX(2 * planes * tiles * ic * oc / 460, 2 * planes * ic * oc / 26);
    return products + tiles * (planes * ic + sums * oc) / 24;
}

tn_winograd_kind bf16_winograd_kind(const tn_conv *c) {
    if (c->sh == 2) return TN_WINOGRAD_2S2;
    return cost_of(c, TN_WINOGRAD_2X4) < cost_of(c, TN_WINOGRAD_2) ? TN_WINOGRAD_2X4 : TN_WINOGRAD_2;
}

static bool takes(const tn_bf16_kernels *q, const tn_conv *c) {
    if (c->in_plain || c->groups != 1 || c->kh != 3 || c->kw != 3 || c->sh != c->sw || c->sh > 2 || c->dh != 1 ||
        c->dw != 1 || c->ic < 16 || c->oc < 16 || c->oh < 1 || c->ow < 1)
        return false;
    /* With several planes to a sum only the last of all blocks could be a partial one. */
    if (c->sh == 2 && c->ic % q->base->width) return false;
    double ic = (double)c->ic, oc = (double)c->oc;
    double direct = TN_MAX(2 * 9 * (double)(c->oh * c->ow) * ic * oc / 480, 18 * ic * oc / 26);
    return cost_of(c, bf16_winograd_kind(c)) < direct;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static size_t packed_bytes(const tn_bf16_kernels *q, const tn_conv *c) {
    wino_grid g = wino_grid_of(bf16_winograd_kind(c), c);
    return (size_t)tn_round_up(wino_planes(&g) * ((c->ic + 1) / 2) * tn_round_up(c->oc, q->base->width) * 4, 64);
}

/* A block of `rows` output channels (dst: pair 0 of plane 0, in panels of `width` lanes), w: its first channel. */
static void pack_block(const wino_plan *p, const float *w, int64_t rows, int64_t width, const unsigned char *order,
                       uint16_t *dst) {
    const tn_kernels *k = p->q->base;
    float block[9 * 16], u[25 * 16];
    for (int64_t i = 0; i < p->c->ic; i++) {
        k->layout_block_f32(w + i * 9, p->c->ic * 9, block, p->b, rows, 9);
        k->winograd_weight_f32(block, u, p->b, order, p->g.cols->kind);
        for (int64_t plane = 0; plane < wino_planes(&p->g); plane++)
            for (int64_t l = 0; l < rows; l++)
                dst[((plane * p->pairs + i / 2) * width + l) * 2 + i % 2] = tn_f32_to_bf16(u[plane * p->b + l]);
    }
}

static void pack(const tn_bf16_kernels *q, const tn_conv *c, const float *w, void *dst) {
    wino_plan p = make_plan(q, c);
    unsigned char order[TN_WINOGRAD_PLANES * TN_WINOGRAD_PLANES];
    tn_winograd_order(&p.g, order);
    memset(dst, 0, packed_bytes(q, c));
    for (int64_t o = 0; o < c->oc; o += p.b) {
        int64_t first = o / (2 * p.b) * 2 * p.b, width = c->oc - first > p.b ? 2 * p.b : p.b;
        uint16_t *to = (uint16_t *)dst + (first * wino_planes(&p.g) * p.pairs + (o - first)) * 2;
        pack_block(&p, w + o * c->ic * 9, TN_MIN(c->oc - o, p.b), width, order, to);
    }
}

static size_t workspace(const tn_bf16_kernels *q, const tn_conv *c, int threads) {
    wino_plan p = make_plan(q, c);
    size_t each = (size_t)TN_MAX(threads, 1);
    return p.tap_bytes + p.v_bytes * (p.many ? each : 1) + p.m_bytes * each;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct wino_job {
    wino_plan p;
    const tn_bf16_conv_args *a;
    void *taps;
    char *v, *products;   /* v_bytes and m_bytes for each thread; v once when blocks follow each other */
    int64_t tile0, count; /* the block in work when blocks follow each other */
} wino_job;

/* Tiles [t0, t0 + count), input blocks [b0, b1) into v. Those at the ends of a row are treated alone. */
static void transform_input(const wino_job *j, int64_t t0, int64_t count, int64_t b0, int64_t b1, uint16_t *v) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t s = c->sw, m = p->g.cols->m, e = tn_winograd_inputs((int)m, c->sw), high = tn_winograd_inputs(2, c->sw);
    tn_bf16_winograd_run run = {.x_row = c->iw * p->b, .v_step = p->v_step};
    for (int64_t cb = b0; cb < b1; cb++) {
        wino_at at = wino_locate(&p->g, t0);
        for (int64_t t = 0; t < count; t += run.count, wino_step(&p->g, &at, run.count)) {
            int64_t iy = at.oy * s - c->pad_top, ix = at.ox * s - c->pad_left;
            int64_t whole = ix < 0 || c->iw - ix < e ? 0 : (c->iw - ix - e) / (m * s) + 1; /* in this row from here */
            run.count = TN_MAX(TN_MIN(TN_MIN(whole, p->g.tw - at.ox / m), count - t), 1);
            run.y1 = (int)TN_MAX(TN_MIN(c->ih - iy, high), 0);
            run.x1 = (int)TN_MAX(TN_MIN(c->iw - ix, e), 0);
            run.y0 = (int)TN_MIN(TN_MAX(-iy, 0), high);
            run.x0 = (int)TN_MIN(TN_MAX(-ix, 0), e);
            /* Only pixels inside are ever read; the base itself may lie before them. */
            run.x = (const uint16_t *)j->a->x + ((at.n * p->icb + cb) * c->ih * c->iw + iy * c->iw + ix) * p->b;
            run.v = v + (cb * p->block + t) * p->b;
            p->q->bf16_winograd_input(&run, p->g.cols->kind);
        }
    }
}

/* One panel of sum (r, s), for `count` tiles. */
static void multiply(const wino_job *j, int64_t count, int r, int s, int64_t panel, const uint16_t *v,
                     float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t o = panel * 2 * p->b, width = c->oc - o > p->b ? 2 * p->b : p->b, last = c->ic % p->b;
    int rows = wino_planes_of(p->g.rows, r), cols = wino_planes_of(p->g.cols, s);
    tn_bf16_tile t = {.tap = tn_winograd_taps_of(p->icb, j->taps, rows, cols), .pairs = p->b / 2, .step = p->b};
    t.taps = rows * cols * (c->ic / p->b);
    t.last_taps = last ? 1 : 0;
    t.last_pairs = (last + 1) / 2;
    t.raw = true;
    t.w = (const uint16_t *)j->a->packed + (o * wino_planes(&p->g) + wino_first_of(&p->g, r, s) * width) * p->pairs * 2;
    v += wino_plane_of(&p->g, r, s) * p->v_step;
    int64_t pieces = tn_ceil_div(count, p->q->tile_m);
    for (int64_t i = 0; i < pieces; i++) {
        int64_t q = i * count / pieces, m = (i + 1) * count / pieces - q;
        t.x = v + q * p->b;
        t.y32 = products + q * width;
        bf16_fetch_ahead(&t, rows * cols * p->pairs * width * 2, width, i, pieces);
        p->q->bf16_tile(&t, (int)m, (int)(width / p->b));
    }
}

/* What the clamp does not do: over (2, m, B) float32, into the pixels that exist. */
static void finish_tile(const wino_plan *p, const tn_bf16_winograd_run *run, float *y32) {
    for (int r = 0; r < run->rows; r++)
        bf16_finish(p->q, &p->c->act, y32 + r * p->g.cols->m * p->b, run->cols, run->lanes, run->y + r * run->y_row);
}

static void transform_output(const wino_job *j, int64_t t0, int64_t count, int64_t panel, const float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->b, m = p->g.cols->m, ocb = tn_ceil_div(c->oc, b), vectors = TN_MIN(ocb - panel * 2, 2);
    float bias[16], sums[8 * 16];
    tn_bf16_winograd_run run = {.y_row = c->ow * b, .m_step = p->m_step, .m_tile = vectors * b, .bias = bias};
    run.y32 = bf16_in_tile(c->act.kind) ? NULL : sums;
    run.silu = c->act.kind == TN_ACT_SILU;
    run.alpha = c->act.alpha;
    tn_act_clamp(&c->act, &run.lo, &run.hi);
    for (int64_t cb = panel * 2; cb < panel * 2 + vectors; cb++) {
        run.lanes = TN_MIN(c->oc - cb * b, b);
        memset(bias, 0, sizeof bias);
        if (j->a->bias) memcpy(bias, j->a->bias + cb * b, (size_t)run.lanes * sizeof(float));
        wino_at place = wino_locate(&p->g, t0);
        for (int64_t t = 0; t < count; t += run.count, wino_step(&p->g, &place, run.count)) {
            int64_t at = (((place.n * ocb + cb) * c->oh + place.oy) * c->ow + place.ox) * b;
            run.count = run.y32 ? 1 : TN_MIN(p->g.tw - place.ox / m, count - t);
            run.rows = (int)TN_MIN(2, c->oh - place.oy);
            run.cols = (int)TN_MIN(m, c->ow - place.ox - (run.count - 1) * m);
            run.y = j->a->y + at;
            run.residual = c->residual ? j->a->residual + at : NULL;
            run.products = products + (t * vectors + cb - panel * 2) * b;
            p->q->bf16_winograd_output(&run, p->g.cols->kind);
            if (run.y32) finish_tile(p, &run, sums);
        }
    }
}

/* One panel of tiles [t0, t0 + count), from v. */
static void run_panel(const wino_job *j, int64_t t0, int64_t count, int64_t panel, const uint16_t *v, float *products) {
    const wino_plan *p = &j->p;
    for (int r = 0; r < p->g.rows->sums; r++)
        for (int s = 0; s < p->g.cols->sums; s++)
            multiply(j, count, r, s, panel, v, products + (r * p->g.cols->sums + s) * p->m_step);
    transform_output(j, t0, count, panel, products);
}

static void block_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    const wino_plan *p = &j->p;
    uint16_t *v = (uint16_t *)(j->v + (size_t)worker * p->v_bytes);
    float *products = (float *)(j->products + (size_t)worker * p->m_bytes);
    for (int64_t block = begin; block < end; block++) {
        int64_t t0 = block * p->block, count = TN_MIN(p->block, p->g.tiles - t0);
        transform_input(j, t0, count, 0, p->icb, v);
        for (int64_t panel = 0; panel < p->panels; panel++) run_panel(j, t0, count, panel, v, products);
    }
}

static void input_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    (void)worker;
    transform_input(j, j->tile0, j->count, begin, end, (uint16_t *)j->v);
}

static void panel_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    float *products = (float *)(j->products + (size_t)worker * j->p.m_bytes);
    for (int64_t panel = begin; panel < end; panel++)
        run_panel(j, j->tile0, j->count, panel, (const uint16_t *)j->v, products);
}

static void run(const tn_bf16_kernels *q, const tn_conv *c, const tn_bf16_conv_args *a, void *ws, int threads) {
    wino_job j = {.p = make_plan(q, c), .a = a, .taps = ws};
    const wino_plan *p = &j.p;
    if (p->g.tiles == 0) return;
    j.v = (char *)ws + p->tap_bytes;
    j.products = j.v + p->v_bytes * (p->many ? (size_t)TN_MAX(threads, 1) : 1);
    tn_winograd_fill_taps(&p->g, p->icb, p->v_step, p->block * p->b, ws);
    if (p->many) {
        tn_parallel_for(threads, p->blocks, block_task, &j);
        return;
    }
    for (int64_t block = 0; block < p->blocks; block++) {
        j.tile0 = block * p->block;
        j.count = TN_MIN(p->block, p->g.tiles - j.tile0);
        tn_parallel_for(threads, p->icb, input_task, &j);
        tn_parallel_for(threads, p->panels, panel_task, &j);
    }
}

const bf16_method bf16_conv_winograd = {takes, packed_bytes, pack, workspace, run};
