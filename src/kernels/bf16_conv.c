/* Direct convolution in bfloat16 over its register tile: 1x1, k x k with any stride and dilation, grouped, and first
 * layers from plain float32.
 *
 * As in conv_direct.c a convolution is a sum over taps, (block of input channels, row, column of the kernel), each at
 * a constant offset from the pixel; the tile takes any step between pixels, so that strides need no copy. Where there
 * is padding, a strip of rows is copied into the thread's workspace with it; plain input is rounded and interleaved
 * into pixels of one to four channels on the way. */
#include "kernels/bf16_internal.h"

/* Strips up to this size; together with a panel of weights they stay in L2. */
#define STRIP_BYTES (384 * 1024)
/* Weights up to this size stay in L2 beside a strip: then rows are split, else channels. */
#define WEIGHT_BYTES (256 * 1024)

typedef struct direct_plan {
    const tn_bf16_kernels *q;
    const tn_conv *c;
    bool flat, copied;
    int64_t block;             /* elements of an input pixel: B, or 2 or 4 for plain */
    int64_t b;                 /* of an output pixel */
    int64_t groups;            /* as they are computed: see conv_join */
    int64_t icb, icg, ocg;     /* input blocks, input and output channels of a group */
    int64_t taps, joined;      /* of a block, and the kernel columns in each */
    int64_t pairs, last_pairs; /* of a tap, of one of the last block where it is partial (else 0) */
    int64_t k_pairs;           /* rows of a weight panel */
    int64_t lines, length;     /* output rows and their pixels; 1 and oh * ow when flat */
    int64_t strip, strips, panels, oc_chunks;
    int64_t plane, row, cols, line_step, strip_rows;      /* of the strip as it is read: elements, pixels, rows */
    size_t at_strips, strip_bytes, at_sums, worker_bytes; /* of the workspace */
} direct_plan;

static bool has_padding(const tn_conv *c) {
    return c->pad_top || c->pad_left || (c->oh - 1) * c->sh + conv_extent_h(c) > c->ih ||
           (c->ow - 1) * c->sw + conv_extent_w(c) > c->iw;
}

static bool is_flat(const tn_conv *c) {
    return !c->in_plain && c->kh == 1 && c->kw == 1 && c->sh == 1 && c->sw == 1 && !has_padding(c) && c->oh == c->ih &&
           c->ow == c->iw;
}

static void plan_tasks(direct_plan *p) {
    const tn_conv *c = p->c;
    int64_t total = p->flat ? p->length : p->lines, unit = (p->flat ? p->block : p->row * p->line_step) * p->icb;
    int64_t cap = TN_MAX(STRIP_BYTES / 2 / TN_MAX(unit, 1), 1), wanted = conv_wanted_tasks(c);
    if (p->flat) cap = tn_round_up(cap, p->q->tile_m);
    bool split_rows = (double)p->k_pairs * (double)p->ocg * 4 <= WEIGHT_BYTES;
    int64_t pieces = split_rows ? tn_ceil_div(wanted, TN_MAX(c->n * p->groups, 1)) : 1;
    int64_t piece = tn_ceil_div(total, pieces);
    if (p->flat) piece = tn_round_up(piece, p->q->tile_m);
    p->strip = TN_MAX(TN_MIN(cap, piece), 1);
    p->strips = tn_ceil_div(total, p->strip);
    p->oc_chunks = TN_MIN(tn_ceil_div(wanted, TN_MAX(c->n * p->groups * p->strips, 1)), p->panels);
    p->strip_rows = (p->strip - 1) * p->line_step + conv_extent_h(c);
    p->plane = p->copied ? p->strip_rows * p->row : c->ih * c->iw * p->block;
}

static void plan_memory(direct_plan *p) {
    const tn_conv *c = p->c;
    p->at_strips = (size_t)tn_round_up(p->icb * p->taps * (int64_t)sizeof(ptrdiff_t), 64);
    p->strip_bytes = p->copied ? (size_t)tn_round_up(p->plane * p->icb * 2, 64) : 0;
    p->at_sums = p->strip_bytes;
    p->worker_bytes = p->at_sums;
    if (!bf16_in_tile(c->act.kind)) p->worker_bytes += (size_t)(p->q->tile_m * 2 * p->b) * sizeof(float);
}

/* Elements of a pixel as the tile reads it. Those of plain input are the channels where a row of the window is one tap;
 * else they come in pairs. */
static int64_t input_block(const tn_conv *c, int64_t b) {
    if (!c->in_plain) return b;
    return c->dw == 1 ? c->ic : c->ic > 2 ? 4 : 2;
}

static direct_plan make_plan(const tn_bf16_kernels *q, const tn_conv *c) {
    direct_plan p = {.q = q, .c = c, .flat = is_flat(c), .b = q->base->width};
    int64_t join = conv_join(q->base, c), last;
    p.block = input_block(c, p.b);
    p.groups = tn_ceil_div(c->groups, join);
    p.icg = c->ic / c->groups * join;
    p.ocg = c->oc / c->groups * join;
    p.icb = tn_ceil_div(p.icg, p.block);
    /* Pixels of plain input are so short that a row of the window is one tap, if they lie side by side. */
    p.joined = c->in_plain && c->dw == 1 ? c->kw : 1;
    p.taps = (int64_t)c->kh * c->kw / p.joined;
    p.pairs = (p.block * p.joined + 1) / 2;   /* the last of an odd number has a weight of zero */
    last = c->in_plain ? 0 : p.icg % p.block; /* plain pixels are whole blocks */
    p.last_pairs = (last + 1) / 2;
    p.k_pairs = ((p.icb - (last ? 1 : 0)) * p.pairs + p.last_pairs) * p.taps;
    p.panels = tn_ceil_div(p.ocg, 2 * p.b);
    p.lines = p.flat ? 1 : c->oh;
    p.length = p.flat ? c->oh * c->ow : c->ow;
    p.copied = c->in_plain || has_padding(c);
    p.line_step = p.copied ? TN_MIN(c->sh, conv_extent_h(c)) : c->sh;
    p.cols = p.copied ? (c->ow - 1) * c->sw + conv_extent_w(c) : c->iw;
    p.row = p.cols * p.block + p.block * p.joined % 2;
    plan_tasks(&p);
    plan_memory(&p);
    return p;
}

/* ---- taking a shape, packing, workspace ------------------------------------------------------------------------- */

static bool direct_takes(const tn_bf16_kernels *q, const tn_conv *c) {
    /* Columns between the windows are copied, too: that the strip of a row stays small, conv.c sees to but for the
     * stride. */
    if ((double)c->ow * c->sw * (double)(c->ic + 15) * (double)conv_extent_h(c) > 0x1p28) return false;
    return c->in_plain ? c->groups == 1 && c->ic <= 4 : conv_join(q->base, c) > 0;
}

/* Elements of the packed weights of a group as it is computed. */
static int64_t group_elements(const direct_plan *p) { return p->k_pairs * 2 * tn_round_up(p->ocg, p->b); }

static size_t direct_packed_bytes(const tn_bf16_kernels *q, const tn_conv *c) {
    direct_plan p = make_plan(q, c);
    return (size_t)tn_round_up(group_elements(&p) * p.groups * 2, 64);
}

/* One output channel of group g: lane `lane` of a panel of `width` lanes. */
static void pack_channel(const direct_plan *p, int64_t g, int64_t o, const float *w, int64_t width, int64_t lane,
                         uint16_t *panel) {
    const tn_conv *c = p->c;
    int64_t icg = c->ic / c->groups, ocg = c->oc / c->groups, channel = g * p->ocg + o, inside = o / ocg * icg;
    int64_t window = (int64_t)c->kh * c->kw;
    w += channel * icg * window;
    for (int64_t i = 0; i < icg; i++) {
        int64_t at = inside + i, cb = at / p->block, in = at % p->block; /* zeros stand for the other joined groups */
        int64_t pairs = p->last_pairs && cb == p->icb - 1 ? p->last_pairs : p->pairs;
        for (int64_t k = 0; k < window; k++) {
            int64_t e = k % p->joined * p->block + in, row = cb * p->pairs * p->taps + k / p->joined * pairs + e / 2;
            panel[(row * width + lane) * 2 + e % 2] = tn_f32_to_bf16(w[i * window + k]);
        }
    }
}

static void direct_pack(const tn_bf16_kernels *q, const tn_conv *c, const float *w, void *dst) {
    direct_plan p = make_plan(q, c);
    memset(dst, 0, direct_packed_bytes(q, c));
    for (int64_t g = 0; g < p.groups; g++) {
        uint16_t *group = (uint16_t *)dst + g * group_elements(&p);
        for (int64_t o = 0; o < TN_MIN(p.ocg, c->oc - g * p.ocg); o++) {
            int64_t first = o / (2 * p.b) * 2 * p.b, width = p.ocg - first > p.b ? 2 * p.b : p.b;
            pack_channel(&p, g, o, w, width, o - first, group + first * p.k_pairs * 2);
        }
    }
}

static size_t direct_workspace(const tn_bf16_kernels *q, const tn_conv *c, int threads) {
    direct_plan p = make_plan(q, c);
    return p.at_strips + p.worker_bytes * (size_t)TN_MAX(threads, 1);
}

/* ---- the strip --------------------------------------------------------------------------------------------------- */

/* Input columns [*x0, *x1) that the strip has, and the strip's column of the first. */
static int64_t inside_columns(const direct_plan *p, int64_t *x1) {
    int64_t left = TN_MIN((int64_t)p->c->pad_left, p->cols);
    *x1 = TN_MIN(p->c->iw, p->cols - left);
    return left;
}

static void copy_blocked_row(const direct_plan *p, const uint16_t *src, uint16_t *dst) {
    int64_t n, left = inside_columns(p, &n), b = p->block;
    memset(dst, 0, (size_t)(left * b) * sizeof *dst);
    memcpy(dst + left * b, src, (size_t)(n * b) * sizeof *dst);
    memset(dst + (left + n) * b, 0, (size_t)((p->cols - left - n) * b) * sizeof *dst);
}

/* src: row of channel 0, `plane` floats before that of channel 1. */
static void copy_plain_row(const direct_plan *p, const float *src, int64_t plane, uint16_t *dst) {
    int64_t n, left = inside_columns(p, &n);
    uint16_t *end = dst + p->row;
    memset(dst, 0, (size_t)(left * p->block) * sizeof *dst);
    dst += left * p->block;
    p->q->bf16_interleave(src, plane, (int)p->c->ic, n, (int)p->block, dst);
    dst += n * p->block;
    memset(dst, 0, (size_t)(end - dst) * sizeof *dst);
}

/* Everything that lines [l0, l1) of one group read. x: its first block, or the plain sample. */
static void copy_strip(const direct_plan *p, const void *x, int64_t l0, int64_t l1, char *memory) {
    const tn_conv *c = p->c;
    int64_t rows = (l1 - l0 - 1) * p->line_step + conv_extent_h(c), hw = c->ih * c->iw;
    for (int64_t cb = 0; cb < p->icb; cb++) {
        for (int64_t r = 0; r < rows; r++) {
            /* Where windows do not overlap, the rows between them are left out. */
            int64_t below = p->line_step < c->sh ? r / p->line_step * c->sh + r % p->line_step : r;
            int64_t iy = l0 * c->sh + below - c->pad_top;
            uint16_t *dst = (uint16_t *)memory + cb * p->plane + r * p->row;
            if (iy < 0 || iy >= c->ih)
                memset(dst, 0, (size_t)p->row * sizeof *dst);
            else if (c->in_plain)
                copy_plain_row(p, (const float *)x + iy * c->iw, hw, dst);
            else
                copy_blocked_row(p, (const uint16_t *)x + (cb * hw + iy * c->iw) * p->block, dst);
        }
    }
}

static void fill_taps(const direct_plan *p, ptrdiff_t *tap) {
    const tn_conv *c = p->c;
    for (int64_t cb = 0; cb < p->icb; cb++)
        for (int64_t ky = 0; ky < c->kh; ky++)
            for (int64_t kx = 0; kx < c->kw; kx += p->joined)
                *tap++ = cb * p->plane + ky * c->dh * p->row + kx * c->dw * p->block;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct direct_job {
    direct_plan p;
    const tn_bf16_conv_args *a;
    const ptrdiff_t *tap;
    char *workers;
} direct_job;

void bf16_finish(const tn_bf16_kernels *q, const tn_act *act, float *sums, int64_t count, int64_t lanes, uint16_t *y) {
    int64_t b = q->base->width;
    q->base->act_f32(act, sums, sums, (size_t)(count * b));
    tn_f32_to_bf16_n(sums, y, (size_t)(count * b));
    for (int64_t i = 0; i < count && lanes < b; i++) memset(y + i * b + lanes, 0, (size_t)(b - lanes) * sizeof *y);
}

/* One panel over line number `line` of a block of `lines`, of `length` pixels. at: the first one's place in y. */
static void run_line(const direct_job *j, tn_bf16_tile *t, int nv, const uint16_t *x, int64_t at, int64_t length,
                     int64_t line, int64_t lines, float *sums) {
    const direct_plan *p = &j->p;
    int64_t tiles = tn_ceil_div(length, p->q->tile_m), b = p->b;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t q = i * length / tiles, m = (i + 1) * length / tiles - q;
        bf16_fetch_ahead(t, p->k_pairs * nv * b * 2, nv * b, line * tiles + i, lines * tiles);
        t->x = x + q * t->step;
        t->y = j->a->y + at + q * b;
        t->residual = p->c->residual ? j->a->residual + at + q * b : NULL;
        t->y32 = sums;
        t->y32_vec = m * b;
        p->q->bf16_tile(t, (int)m, nv);
        for (int v = 0; v < nv && sums; v++)
            bf16_finish(p->q, &p->c->act, sums + v * t->y32_vec, m, v == nv - 1 ? t->valid : b, t->y + v * t->y_vec);
    }
}

static tn_bf16_tile tile_of(const direct_job *j) {
    const direct_plan *p = &j->p;
    tn_bf16_tile t = {.tap = j->tap, .step = p->c->sw * p->block, .y_pixel = p->b, .y32_pixel = p->b};
    t.y_vec = p->c->oh * p->c->ow * p->b;
    t.pairs = p->pairs;
    t.taps = (p->icb - (p->last_pairs ? 1 : 0)) * p->taps;
    t.last_pairs = p->last_pairs;
    t.last_taps = p->last_pairs ? p->taps : 0;
    t.silu = p->c->act.kind == TN_ACT_SILU;
    t.alpha = p->c->act.alpha;
    tn_act_clamp(&p->c->act, &t.lo, &t.hi);
    return t;
}

/* Panels [p0, p1) of group g over units [u0, u1) of sample n. src: first pixel of the first unit, tap 0. */
static void run_block(const direct_job *j, int64_t n, int64_t g, int64_t u0, int64_t u1, int64_t p0, int64_t p1,
                      const uint16_t *src, char *memory) {
    const direct_plan *p = &j->p;
    const tn_conv *c = p->c;
    int64_t b = p->b, hw = c->oh * c->ow, ocb = tn_ceil_div(c->oc, b), lines = p->flat ? 1 : u1 - u0;
    const uint16_t *w = (const uint16_t *)j->a->packed + g * group_elements(p);
    float *sums = bf16_in_tile(c->act.kind) ? NULL : (float *)(memory + p->at_sums);
    tn_bf16_tile t = tile_of(j);
    for (int64_t panel = p0; panel < p1; panel++) {
        int64_t o = panel * 2 * b, left = TN_MIN(p->ocg, c->oc - g * p->ocg) - o;
        int nv = p->ocg - o > b ? 2 : 1; /* as it was packed */
        t.w = w + o * p->k_pairs * 2;
        t.valid = TN_MIN(left - (nv - 1) * b, b);
        t.bias = j->a->bias ? j->a->bias + g * p->ocg + o : NULL;
        int64_t at = ((n * ocb + (g * p->ocg + o) / b) * hw + (p->flat ? u0 : u0 * c->ow)) * b;
        for (int64_t l = 0; l < lines; l++)
            run_line(j, &t, nv, src + l * p->line_step * p->row, at + l * c->ow * b, p->flat ? u1 - u0 : c->ow, l,
                     lines, sums);
    }
}

static void direct_task(void *context, int64_t begin, int64_t end, int worker) {
    const direct_job *j = context;
    const direct_plan *p = &j->p;
    const tn_conv *c = p->c;
    char *memory = j->workers + (size_t)worker * p->worker_bytes;
    int64_t hw = c->ih * c->iw, total = p->flat ? p->length : p->lines, copied = -1;
    /* Lanes past the channels are never written by the tile, but activated. */
    memset(memory + p->at_sums, 0, p->worker_bytes - p->at_sums);
    for (int64_t task = begin; task < end; task++) {
        int64_t chunk = task % p->oc_chunks, s = task / p->oc_chunks % p->strips, ng = task / p->oc_chunks / p->strips;
        int64_t n = ng / p->groups, g = ng % p->groups, u0 = s * p->strip, u1 = TN_MIN(u0 + p->strip, total);
        const uint16_t *src = (const uint16_t *)memory;
        const void *x = (const float *)j->a->x + n * c->ic * hw;
        if (!c->in_plain)
            x = (const uint16_t *)j->a->x + (n * tn_ceil_div(c->ic, p->block) + g * p->icb) * hw * p->block;
        if (!p->copied)
            src = (const uint16_t *)x + (p->flat ? u0 * p->block : u0 * c->sh * p->row);
        else if (copied != task / p->oc_chunks)
            copy_strip(p, x, u0, u1, memory);
        copied = task / p->oc_chunks;
        run_block(j, n, g, u0, u1, chunk * p->panels / p->oc_chunks, (chunk + 1) * p->panels / p->oc_chunks, src,
                  memory);
    }
}

static void direct_run(const tn_bf16_kernels *q, const tn_conv *c, const tn_bf16_conv_args *a, void *workspace,
                       int threads) {
    direct_job j = {.p = make_plan(q, c), .a = a, .tap = workspace};
    j.workers = (char *)workspace + j.p.at_strips;
    fill_taps(&j.p, workspace);
    tn_parallel_for(threads, c->n * j.p.groups * j.p.strips * j.p.oc_chunks, direct_task, &j);
}

const bf16_method bf16_conv_direct = {direct_takes, direct_packed_bytes, direct_pack, direct_workspace, direct_run};
