/* Winograd convolution F(2 x 2, 3 x 3) in bfloat16, stride 1; conv_winograd.c has the algorithm and its loops.
 *
 *     V[p][ic block][tile][B]          transformed input of one block of tiles, rounded to bfloat16
 *     U[panel][p][ic / 2][2 B][2]      transformed weights, computed in double, rounded to float32 and then to bfloat16
 *     M[p][tile][2][B]                 products of one panel, float32; (tile, B) where it has one block
 *
 * Transforms are float32. F(4 x 4) would multiply the rounding of V by ten and more; F(2 x 2) keeps the error near that
 * of direct convolution (docs/numerics.md). */
#include "kernels/bf16_internal.h"

#define POSITIONS   16
#define BLOCK_TILES 56
#define WHOLE_TILES 64 /* so few tiles are one block: every block reads all of U */
#define MANY_BLOCKS 8

typedef struct wino_plan {
    const tn_bf16_kernels *q;
    const tn_conv *c;
    int64_t b, th, tw, tiles, block, blocks, icb, pairs, panels;
    int64_t v_step, m_step; /* from position to position, in elements; a cache line more, against aliasing */
    size_t tap_bytes, v_bytes, m_bytes;
    bool many;
} wino_plan;

static wino_plan make_plan(const tn_bf16_kernels *q, const tn_conv *c) {
    wino_plan p = {.q = q, .c = c, .b = q->base->width};
    p.th = tn_ceil_div(c->oh, 2);
    p.tw = tn_ceil_div(c->ow, 2);
    p.tiles = c->n * p.th * p.tw;
    p.block = p.tiles <= WHOLE_TILES ? TN_MAX(p.tiles, 1) : BLOCK_TILES / q->tile_m * q->tile_m;
    p.blocks = tn_ceil_div(p.tiles, p.block);
    p.many = p.blocks >= MANY_BLOCKS;
    p.icb = tn_ceil_div(c->ic, p.b);
    p.pairs = (c->ic + 1) / 2;
    p.panels = tn_ceil_div(c->oc, 2 * p.b);
    p.v_step = p.icb * p.block * p.b + 32;
    p.m_step = 2 * p.block * p.b + 16;
    p.tap_bytes = (size_t)tn_round_up(p.icb * (int64_t)sizeof(ptrdiff_t), 64);
    p.v_bytes = (size_t)tn_round_up(p.v_step * POSITIONS * 2, 64);
    p.m_bytes = (size_t)(p.m_step * POSITIONS) * sizeof(float);
    return p;
}

/* Rough cost of one sample in nanoseconds: arithmetic or reading the weights, whichever takes longer, and the
 * transforms. */
static bool takes(const tn_bf16_kernels *q, const tn_conv *c) {
    (void)q;
    if (c->in_plain || c->groups != 1 || c->kh != 3 || c->kw != 3 || c->sh != 1 || c->sw != 1 || c->dh != 1 ||
        c->dw != 1 || c->ic < 16 || c->oc < 16 || c->oh < 1 || c->ow < 1)
        return false;
    double ic = (double)c->ic, oc = (double)c->oc;
    double tiles = (double)(tn_ceil_div(c->oh, 2) * tn_ceil_div(c->ow, 2));
    double direct = TN_MAX(2 * 9 * (double)(c->oh * c->ow) * ic * oc / 420, 18 * ic * oc / 40);
    double wino = TN_MAX(2 * POSITIONS * tiles * ic * oc / 400, 2 * POSITIONS * ic * oc / 40);
    return wino + tiles * (ic + oc) < direct;
}

static size_t packed_bytes(const tn_bf16_kernels *q, const tn_conv *c) {
    return (size_t)tn_round_up(POSITIONS * ((c->ic + 1) / 2) * tn_round_up(c->oc, q->base->width) * 4, 64);
}

/* G g G^T: (3, 3) to (4, 4). */
static void transform_weight(const float *g, double u[POSITIONS]) {
    double t[4][3];
    for (int j = 0; j < 3; j++) {
        double a = (double)g[j], b = (double)g[3 + j], c = (double)g[6 + j];
        t[0][j] = a;
        t[1][j] = (a + b + c) / 2;
        t[2][j] = (a - b + c) / 2;
        t[3][j] = c;
    }
    for (int i = 0; i < 4; i++) {
        double a = t[i][0], b = t[i][1], c = t[i][2];
        u[i * 4] = a;
        u[i * 4 + 1] = (a + b + c) / 2;
        u[i * 4 + 2] = (a - b + c) / 2;
        u[i * 4 + 3] = c;
    }
}

static void pack(const tn_bf16_kernels *q, const tn_conv *c, const float *w, void *dst) {
    int64_t b = q->base->width, pairs = (c->ic + 1) / 2;
    memset(dst, 0, packed_bytes(q, c));
    for (int64_t o = 0; o < c->oc; o++) {
        int64_t first = o / (2 * b) * 2 * b, width = c->oc - first > b ? 2 * b : b;
        uint16_t *to = (uint16_t *)dst + (first * POSITIONS * pairs + (o - first)) * 2;
        for (int64_t i = 0; i < c->ic; i++) {
            double u[POSITIONS];
            transform_weight(w + (o * c->ic + i) * 9, u);
            for (int64_t p = 0; p < POSITIONS; p++)
                to[(p * pairs + i / 2) * width * 2 + i % 2] = tn_f32_to_bf16((float)u[p]);
        }
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
    const ptrdiff_t *tap;
    char *v, *products;   /* v_bytes and m_bytes for each thread; v once when blocks follow each other */
    int64_t tile0, count; /* the block in work when blocks follow each other */
} wino_job;

/* Tile number t: sample, and its first output row and column. */
static void locate(const wino_plan *p, int64_t t, int64_t *n, int64_t *oy, int64_t *ox) {
    *ox = t % p->tw * 2;
    *oy = t / p->tw % p->th * 2;
    *n = t / p->tw / p->th;
}

/* Tiles [t0, t0 + count), input blocks [b0, b1) into v. */
static void transform_input(const wino_job *j, int64_t t0, int64_t count, int64_t b0, int64_t b1, uint16_t *v) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    for (int64_t t = 0; t < count; t++) {
        int64_t n, oy, ox;
        locate(p, t0 + t, &n, &oy, &ox);
        int64_t iy = oy - c->pad_top, ix = ox - c->pad_left;
        tn_bf16_winograd_tile tile = {.x_row = c->iw * p->b, .v_step = p->v_step};
        tile.y1 = (int)TN_MAX(TN_MIN(c->ih - iy, 4), 0);
        tile.x1 = (int)TN_MAX(TN_MIN(c->iw - ix, 4), 0);
        tile.y0 = (int)TN_MIN(TN_MAX(-iy, 0), 4);
        tile.x0 = (int)TN_MIN(TN_MAX(-ix, 0), 4);
        for (int64_t cb = b0; cb < b1; cb++) {
            /* Only pixels inside are ever read; the base itself may lie before them. */
            tile.x = (const uint16_t *)j->a->x + ((n * p->icb + cb) * c->ih * c->iw + iy * c->iw + ix) * p->b;
            tile.v = v + (cb * p->block + t) * p->b;
            p->q->bf16_winograd_input(&tile);
        }
    }
}

/* One panel of outputs of a block of `count` tiles. */
static void multiply(const wino_job *j, int64_t count, int64_t panel, const uint16_t *v, float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t o = panel * 2 * p->b, width = c->oc - o > p->b ? 2 * p->b : p->b, last = c->ic % p->b;
    tn_bf16_tile t = {.tap = j->tap, .taps = c->ic / p->b, .pairs = p->b / 2, .last_taps = last ? 1 : 0};
    t.last_pairs = (last + 1) / 2;
    t.step = p->b;
    t.raw = true;
    int64_t pieces = tn_ceil_div(count, p->q->tile_m);
    for (int64_t pos = 0; pos < POSITIONS; pos++) {
        t.w = (const uint16_t *)j->a->packed + (o * POSITIONS + pos * width) * p->pairs * 2;
        for (int64_t i = 0; i < pieces; i++) {
            int64_t q = i * count / pieces, m = (i + 1) * count / pieces - q;
            t.x = v + pos * p->v_step + q * p->b;
            t.y32 = products + pos * p->m_step + q * width;
            bf16_fetch_ahead(&t, p->pairs * width * 2, width, i, pieces);
            p->q->bf16_tile(&t, (int)m, (int)(width / p->b));
        }
    }
}

/* What the clamp does not do: over (2, 2, B) float32, into the pixels that exist. */
static void finish_tile(const wino_plan *p, const tn_bf16_winograd_tile *tile, float *y32) {
    for (int r = 0; r < tile->rows; r++)
        bf16_finish(p->q, &p->c->act, y32 + r * 2 * p->b, tile->cols, tile->lanes, tile->y + r * tile->y_row);
}

static void transform_output(const wino_job *j, int64_t t0, int64_t count, int64_t panel, const float *products) {
    const wino_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->b, ocb = tn_ceil_div(c->oc, b);
    float bias[16], sums[4 * 16];
    tn_bf16_winograd_tile tile = {.y_row = c->ow * b, .m_step = p->m_step, .bias = bias};
    tile.y32 = bf16_in_tile(c->act.kind) ? NULL : sums;
    tile.silu = c->act.kind == TN_ACT_SILU;
    tile.alpha = c->act.alpha;
    tn_act_clamp(&c->act, &tile.lo, &tile.hi);
    int64_t vectors = TN_MIN(ocb - panel * 2, 2);
    for (int64_t cb = panel * 2; cb < panel * 2 + vectors; cb++) {
        tile.lanes = TN_MIN(c->oc - cb * b, b);
        memset(bias, 0, sizeof bias);
        if (j->a->bias) memcpy(bias, j->a->bias + cb * b, (size_t)tile.lanes * sizeof(float));
        for (int64_t t = 0; t < count; t++) {
            int64_t n, oy, ox;
            locate(p, t0 + t, &n, &oy, &ox);
            int64_t at = (((n * ocb + cb) * c->oh + oy) * c->ow + ox) * b;
            tile.rows = (int)TN_MIN(2, c->oh - oy);
            tile.cols = (int)TN_MIN(2, c->ow - ox);
            tile.y = j->a->y + at;
            tile.residual = c->residual ? j->a->residual + at : NULL;
            tile.products = products + (t * vectors + cb - panel * 2) * b;
            p->q->bf16_winograd_output(&tile);
            if (tile.y32) finish_tile(p, &tile, sums);
        }
    }
}

static void block_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    const wino_plan *p = &j->p;
    uint16_t *v = (uint16_t *)(j->v + (size_t)worker * p->v_bytes);
    float *products = (float *)(j->products + (size_t)worker * p->m_bytes);
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
    transform_input(j, j->tile0, j->count, begin, end, (uint16_t *)j->v);
}

static void panel_task(void *context, int64_t begin, int64_t end, int worker) {
    const wino_job *j = context;
    float *products = (float *)(j->products + (size_t)worker * j->p.m_bytes);
    for (int64_t panel = begin; panel < end; panel++) {
        multiply(j, j->count, panel, (const uint16_t *)j->v, products);
        transform_output(j, j->tile0, j->count, panel, products);
    }
}

static void run(const tn_bf16_kernels *q, const tn_conv *c, const tn_bf16_conv_args *a, void *ws, int threads) {
    wino_job j = {.p = make_plan(q, c), .a = a, .tap = ws};
    const wino_plan *p = &j.p;
    if (p->tiles == 0) return;
    j.v = (char *)ws + p->tap_bytes;
    j.products = j.v + p->v_bytes * (p->many ? (size_t)TN_MAX(threads, 1) : 1);
    for (int64_t cb = 0; cb < p->icb; cb++) ((ptrdiff_t *)ws)[cb] = cb * p->block * p->b;
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

const bf16_method bf16_conv_winograd = {takes, packed_bytes, pack, workspace, run};
