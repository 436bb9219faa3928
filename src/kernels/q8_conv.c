/* 8-bit convolution over the register tile of q8.h: 1x1, k x k with any stride and dilation, grouped, first layers; and
 * matrix products.
 *
 * As in conv_direct.c a tile adds up taps (block of input channels, row, column), each at a constant offset from the
 * pixel. Where x is not like that - padding, stride, signed - a strip of rows is copied into the thread's workspace:
 * with its padding, and for a stride with one segment for each column of the kernel, so that neighbours in the output
 * are neighbours in every segment. Weights whose zero point does not fit into them need the sum of each window; it is
 * made from sums of pixels, once for a strip. */
#include "kernels/q8_internal.h"

/* Strips up to this size stay in L2 beside a panel of weights. */
#define STRIP_BYTES (256 * 1024)
/* Weights up to this size stay in L2 beside a strip: then rows are split, else channels. */
#define WEIGHT_BYTES (256 * 1024)

typedef struct conv_plan {
    const tn_q8_kernels *q;
    const tn_q8_conv *c;
    bool flat, copied, flip;
    int64_t block, icb, icg, ocg, oc_pad; /* oc_pad: channels of all groups, each rounded up to blocks */
    int64_t window, quads, quads_last;    /* taps of a block; quads of a whole and of the last block */
    int64_t k_quads, panel, panels;       /* quads of a panel, channels of a panel, panels of a group */
    int64_t lines, length;                /* output rows and their pixels; 1 and oh * ow when flat */
    int64_t strip, strips, oc_chunks, line_step;
    int64_t cols, row, plane,
        plane_pixels; /* of the strip as it is read: pixels of a row, bytes of a row and of a block */
    int64_t at_sums, at_windows, at_acc, worker; /* in a worker's memory */
    int64_t at_tap, at_bias, at_scale, shared;   /* in the workspace */
} conv_plan;

static bool has_padding(const tn_q8_conv *c) {
    return c->pad_top || c->pad_left || (c->oh - 1) * c->sh + (c->kh - 1) * c->dh + 1 > c->ih ||
           (c->ow - 1) * c->sw + (c->kw - 1) * c->dw + 1 > c->iw;
}

static void plan_strip(conv_plan *p) {
    const tn_q8_conv *c = p->c;
    int64_t eh = (int64_t)(c->kh - 1) * c->dh + 1, ew = (int64_t)(c->kw - 1) * c->dw + 1;
    int64_t total = p->flat ? p->length : p->lines, m = p->q->tile_m;
    p->flip = c->x_signed;
    p->copied = p->flip || (!p->flat && (c->sw > 1 || has_padding(c)));
    p->line_step = p->copied ? TN_MIN(c->sh, eh) : c->sh;
    p->cols = !p->copied ? c->iw : c->sw == 1 ? c->ow + ew - 1 : c->kw * c->ow;
    p->row = p->cols * p->block;
    double work = (double)c->oc * (double)c->oh * (double)c->ow * (double)p->icg * p->window;
    int64_t wanted =
        work * (double)c->n / Q8_TASK_WORK < Q8_TASKS ? (int64_t)(work * (double)c->n / Q8_TASK_WORK) + 1 : Q8_TASKS;
    int64_t unit = p->flat ? p->icb * p->block : p->row * p->line_step * p->icb;
    int64_t cap = TN_MAX(STRIP_BYTES / TN_MAX(unit, 1), 1), outer = TN_MAX(c->n * c->groups, 1);
    bool split_rows = p->k_quads * p->ocg * q8_quad_bytes(p->q) <= WEIGHT_BYTES;
    int64_t piece = tn_ceil_div(total, split_rows ? tn_ceil_div(wanted, outer) : 1);
    if (p->flat) {
        cap = tn_round_up(cap, m);
        piece = tn_round_up(piece, m);
    }
    p->strip = TN_MAX(TN_MIN(cap, piece), 1);
    p->strips = tn_ceil_div(total, p->strip);
    p->oc_chunks = TN_MIN(tn_ceil_div(wanted, outer * TN_MAX(p->strips, 1)), p->panels);
    p->plane_pixels = p->flat ? p->strip : ((p->strip - 1) * p->line_step + eh) * p->cols;
    p->plane = p->copied ? p->plane_pixels * p->block : c->ih * c->iw * p->block;
}

static void place_memory(conv_plan *p) {
    const tn_q8_conv *c = p->c;
    int64_t windows = p->flat ? p->strip : p->strip * c->ow;
    p->at_sums = p->copied ? tn_round_up(p->plane * p->icb, 64) : 0;
    p->at_windows = p->at_sums + tn_round_up(p->plane_pixels * 4, 64);
    p->at_acc = p->at_windows + tn_round_up((windows + 16) * 4, 64);
    /* Sums are finished in groups of four pixels. */
    p->worker = p->at_acc + (p->q->tile_m + 4) * p->panel * 4;
    p->at_tap = 0;
    p->at_bias = tn_round_up(p->icb * p->window * (int64_t)sizeof(ptrdiff_t), 64);
    p->at_scale = p->at_bias + p->oc_pad * 4;
    p->shared = p->at_scale + p->oc_pad * 4;
}

static conv_plan make_plan(const tn_q8_kernels *q, const tn_q8_conv *c) {
    conv_plan p = {.q = q, .c = c, .block = c->x_block};
    p.flat =
        c->kh == 1 && c->kw == 1 && c->sh == 1 && c->sw == 1 && !has_padding(c) && c->oh == c->ih && c->ow == c->iw;
    p.icg = c->ic / c->groups;
    p.ocg = c->oc / c->groups;
    p.oc_pad = tn_round_up(p.ocg, TN_Q8_BLOCK) * c->groups;
    p.icb = tn_ceil_div(p.icg, p.block);
    p.window = (int64_t)c->kh * c->kw;
    p.quads = p.block / 4;
    p.quads_last = tn_ceil_div(p.icg - (p.icb - 1) * p.block, 4);
    p.k_quads = ((p.icb - 1) * p.quads + p.quads_last) * p.window;
    p.panel = (int64_t)q->tile_nb * TN_Q8_BLOCK;
    p.panels = tn_ceil_div(p.ocg, p.panel);
    p.lines = p.flat ? 1 : c->oh;
    p.length = p.flat ? c->oh * c->ow : c->ow;
    plan_strip(&p);
    place_memory(&p);
    return p;
}

bool tn_q8_conv_takes(const tn_q8_conv *c) {
    const int64_t limit = INT32_MAX;
    if (c->n < 0 || c->ic < 1 || c->oc < 1 || c->groups < 1 || c->ih < 0 || c->iw < 0 || c->oh < 0 || c->ow < 0)
        return false;
    if (c->n > limit || c->ic > limit || c->oc > limit || c->ih > limit || c->iw > limit || c->oh > limit ||
        c->ow > limit)
        return false;
    if (c->kh < 1 || c->kw < 1 || c->sh < 1 || c->sw < 1 || c->dh < 1 || c->dw < 1) return false;
    if (c->ic % c->groups || c->oc % c->groups) return false;
    if (c->x_block != 16 && (c->x_block != 4 || c->ic > 4 || c->groups > 1)) return false;
    if (q8_is_depthwise(c) ? c->y_int32 : c->groups > 1 && (c->ic / c->groups % 16 || c->oc / c->groups % 16))
        return false;
    /* A row of windows in the strip buffer: at most 256 MiB. */
    double ew = (double)(c->kw - 1) * c->dw + 1, eh = (double)(c->kh - 1) * c->dh + 1;
    double cols = c->sw == 1 ? (double)c->ow + ew : (double)c->ow * TN_MAX(c->kw, c->sw) + ew;
    return cols * eh * (double)(c->ic + 15) <= 0x1p28 && (double)c->ic * (double)c->oc * c->kh * c->kw <= 0x1p34;
}

const char *tn_q8_conv_name(tn_q8_isa isa, const tn_q8_conv *c) {
    static const char *const names[3][TN_Q8_ISA_COUNT] = {
        {"conv_q8_depthwise_scalar", "conv_q8_depthwise_avx2", "conv_q8_depthwise_avxvnni", "conv_q8_depthwise_avx512",
         "conv_q8_depthwise_avx512vnni"},
        {"conv_q8_1x1_scalar", "conv_q8_1x1_avx2", "conv_q8_1x1_avxvnni", "conv_q8_1x1_avx512",
         "conv_q8_1x1_avx512vnni"},
        {"conv_q8_direct_scalar", "conv_q8_direct_avx2", "conv_q8_direct_avxvnni", "conv_q8_direct_avx512",
         "conv_q8_direct_avx512vnni"}};
    return names[q8_is_depthwise(c) ? 0 : c->kh == 1 && c->kw == 1 ? 1 : 2][isa];
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

static int64_t group_bytes(const conv_plan *p) {
    return p->k_quads * tn_round_up(p->ocg, TN_Q8_BLOCK) * q8_quad_bytes(p->q);
}

size_t tn_q8_conv_packed_bytes(tn_q8_isa isa, const tn_q8_conv *c) {
    const tn_q8_kernels *q = tn_q8_kernels_get(isa);
    if (q8_is_depthwise(c)) return q8_dw_packed_bytes(q, c) + (size_t)c->kh * c->kw * sizeof(int32_t);
    conv_plan p = make_plan(q, c);
    /* While packing, the end holds the places of a channel's weights. */
    return q8_panels_at(p.oc_pad) + (size_t)(group_bytes(&p) * c->groups) +
           (size_t)(p.icg * p.window) * sizeof(int32_t);
}

/* Channel o of group g; its weights go to bytes place[i] of its column. */
static void pack_channel(const conv_plan *p, const q8_source *s, int64_t g, int64_t o, const int32_t *place,
                         char *dst) {
    int64_t k = p->icg * p->window, block = tn_round_up(p->ocg, TN_Q8_BLOCK);
    int64_t first = o / p->panel * p->panel, width = TN_MIN(p->panel, block - first);
    char *panel = dst + q8_panels_at(p->oc_pad) + g * group_bytes(p) + first * p->k_quads * q8_quad_bytes(p->q);
    int32_t *sums = (int32_t *)(dst + sizeof(q8_header)), *zeros = sums + p->oc_pad;
    int64_t channel = g * p->ocg + o, at = g * block + o;
    q8_column column = {.at = channel * k, .step = 1, .n = k, .place = place};
    q8_pack_channel(p->q, s, &column, channel, width, o - first, panel, (q8_header *)dst, &sums[at], &zeros[at]);
}

void tn_q8_conv_pack(tn_q8_isa isa, const tn_q8_conv *c, const void *w, const void *w_zero, int64_t n_zero, void *dst) {
    const tn_q8_kernels *q = tn_q8_kernels_get(isa);
    q8_source s = {w, c->w_signed, w_zero, n_zero};
    memset(dst, 0, tn_q8_conv_packed_bytes(isa, c));
    if (q8_is_depthwise(c)) {
        q8_dw_pack(q, c, &s, dst);
        return;
    }
    conv_plan p = make_plan(q, c);
    int32_t *place = (int32_t *)((char *)dst + q8_panels_at(p.oc_pad) + group_bytes(&p) * c->groups);
    /* Weight (i, t) belongs to tap t of block i / block. */
    for (int64_t i = 0; i < p.icg; i++) {
        int64_t b = i / p.block, quads = b == p.icb - 1 ? p.quads_last : p.quads;
        for (int64_t t = 0; t < p.window; t++)
            place[i * p.window + t] = (int32_t)((b * p.quads * p.window + t * quads) * 4 + i % p.block);
    }
    for (int64_t g = 0; g < c->groups; g++)
        for (int64_t o = 0; o < p.ocg; o++) pack_channel(&p, &s, g, o, place, dst);
}

size_t tn_q8_conv_workspace(tn_q8_isa isa, const tn_q8_conv *c, int threads) {
    const tn_q8_kernels *q = tn_q8_kernels_get(isa);
    if (q8_is_depthwise(c)) return q8_dw_workspace(q, c, threads);
    conv_plan p = make_plan(q, c);
    return (size_t)(p.shared + p.worker * TN_MAX(threads, 1));
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct conv_job {
    conv_plan p;
    q8_packed packed;
    const tn_q8_args *a;
    const uint8_t *x;
    uint8_t *y;
    const ptrdiff_t *tap;
    const int32_t *bias;
    const float *scale;
    uint8_t *workers;
    tn_q8_finish finish;
    uint8_t pad; /* the zero point as the strip holds it */
} conv_job;

static void fill_taps(const conv_plan *p, ptrdiff_t *tap) {
    const tn_q8_conv *c = p->c;
    for (int64_t b = 0; b < p->icb; b++)
        for (int64_t ky = 0; ky < c->kh; ky++)
            for (int64_t kx = 0; kx < c->kw; kx++) {
                int64_t column = p->copied && c->sw > 1 && !p->flat ? kx * c->ow : kx * c->dw;
                *tap++ = b * p->plane + ky * c->dh * p->row + column * p->block;
            }
}

static void fill_pixels(uint8_t *dst, int64_t n, int64_t block, int64_t lanes, uint8_t value) {
    for (int64_t i = 0; i < n; i++, dst += block) {
        memset(dst, value, (size_t)lanes);
        memset(dst + lanes, 0, (size_t)(block - lanes));
    }
}

/* n pixels; lanes that do not exist stay zero. */
static void copy_pixels(const tn_kernels *k, uint8_t *dst, const uint8_t *src, int64_t n, int64_t block, int64_t lanes,
                        bool flip) {
    q8_copy(k, dst, src, n * block, flip);
    if (!flip || lanes == block) return;
    for (int64_t i = 0; i < n; i++) memset(dst + i * block + lanes, 0, (size_t)(block - lanes));
}

/* Outputs ox in [*first, *last) whose column kx lies inside. */
static void inside_columns(const tn_q8_conv *c, int64_t kx, int64_t *first, int64_t *last) {
    int64_t off = kx * c->dw - c->pad_left;
    *first = off < 0 ? TN_MIN(tn_ceil_div(-off, c->sw), c->ow) : 0;
    *last = off >= c->iw ? 0 : TN_MIN((c->iw - 1 - off) / c->sw + 1, c->ow);
    *last = TN_MAX(*last, *first);
}

static void copy_segment(const conv_job *j, uint8_t *dst, const uint8_t *src, int64_t kx, int64_t lanes) {
    const conv_plan *p = &j->p;
    const tn_q8_conv *c = p->c;
    int64_t first, last, block = p->block, step = c->sw * block;
    inside_columns(c, kx, &first, &last);
    fill_pixels(dst, first, block, lanes, j->pad);
    const uint8_t *from = src + (first * c->sw + kx * c->dw - c->pad_left) * block;
    uint8_t *to = dst + first * block;
    if (block == 4)
        for (int64_t i = first; i < last; i++, from += step, to += 4) memcpy(to, from, 4);
    else
        for (int64_t i = first; i < last; i++, from += step, to += 16) memcpy(to, from, 16);
    if (p->flip) copy_pixels(p->q->base, dst + first * block, dst + first * block, last - first, block, lanes, true);
    fill_pixels(dst + last * block, c->ow - last, block, lanes, j->pad);
}

static void copy_row(const conv_job *j, uint8_t *dst, const uint8_t *src, int64_t lanes) {
    const conv_plan *p = &j->p;
    const tn_q8_conv *c = p->c;
    if (c->sw > 1) {
        for (int64_t kx = 0; kx < c->kw; kx++) copy_segment(j, dst + kx * c->ow * p->block, src, kx, lanes);
        return;
    }
    int64_t left = TN_MIN(c->pad_left, p->cols), n = TN_MIN(c->iw, p->cols - left);
    fill_pixels(dst, left, p->block, lanes, j->pad);
    copy_pixels(p->q->base, dst + left * p->block, src, n, p->block, lanes, p->flip);
    fill_pixels(dst + (left + n) * p->block, p->cols - left - n, p->block, lanes, j->pad);
}

/* Units [u0, u1) of one group's input into the strip. */
static void copy_strip(const conv_job *j, const uint8_t *x, int64_t u0, int64_t u1, uint8_t *strip) {
    const conv_plan *p = &j->p;
    const tn_q8_conv *c = p->c;
    int64_t hw = c->ih * c->iw * p->block, eh = (int64_t)(c->kh - 1) * c->dh + 1;
    for (int64_t b = 0; b < p->icb; b++) {
        int64_t lanes = TN_MIN(p->icg - b * p->block, p->block);
        uint8_t *dst = strip + b * p->plane;
        const uint8_t *src = x + b * hw;
        if (p->flat) {
            copy_pixels(p->q->base, dst, src + u0 * p->block, u1 - u0, p->block, lanes, p->flip);
            continue;
        }
        for (int64_t r = 0; r < (u1 - u0 - 1) * p->line_step + eh; r++, dst += p->row) {
            int64_t iy = (u0 + r / p->line_step) * c->sh + r % p->line_step - c->pad_top;
            if (iy < 0 || iy >= c->ih)
                fill_pixels(dst, p->cols, p->block, lanes, j->pad);
            else
                copy_row(j, dst, src + iy * c->iw * p->block, lanes);
        }
    }
}

static void sum_pixels(const conv_job *j, const uint8_t *src, int64_t pixels, int32_t *sum) {
    const conv_plan *p = &j->p;
    if (p->block == 16) {
        p->q->base->q8_pixel_sums(src, p->icb, p->plane, pixels, sum);
        return;
    }
    p->q->base->q8_quad_sums(src, pixels, sum);
}

/* Sums of the windows of lines [0, lines). */
static void sum_windows(const conv_job *j, const uint8_t *src, int64_t lines, int32_t *sums, int32_t *windows) {
    const conv_plan *p = &j->p;
    const tn_q8_conv *c = p->c;
    int64_t eh = (int64_t)(c->kh - 1) * c->dh + 1;
    sum_pixels(j, src, ((lines - 1) * p->line_step + eh) * p->cols, sums);
    for (int64_t l = 0; l < lines; l++, windows += c->ow) {
        memset(windows, 0, (size_t)c->ow * sizeof *windows);
        for (int64_t t = 0; t < p->window; t++) {
            const int32_t *from = sums + l * p->line_step * p->cols + j->tap[t] / p->block;
            p->q->base->q8_add_sums(from, c->ow, windows);
        }
    }
}

/* The sums of one block, as they are. */
static void store_int32(const tn_q8_finish *f, const int32_t *acc, const int32_t *x_sum, int32_t *y, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++, acc += TN_Q8_BLOCK, y += TN_Q8_BLOCK)
        for (int l = 0; l < TN_Q8_BLOCK; l++) {
            uint32_t v = (uint32_t)acc[l];
            if (f->w_zero) v += (uint32_t)x_sum[i] * (uint32_t)f->w_zero[l];
            y[l] = l < f->lanes ? (int32_t)v : 0;
        }
}

typedef struct conv_line {
    const uint8_t *x;
    const int32_t *x_sum;
    int64_t at, length; /* at: pixel of y in the plane of the block, (n * blocks) * hw in */
} conv_line;

/* One panel over one line. */
static void run_line(const conv_job *j, tn_q8_tile *t, const conv_line *line, int64_t block, int64_t channels) {
    const conv_plan *p = &j->p;
    int nb = (int)tn_ceil_div(channels, TN_Q8_BLOCK);
    int64_t hw = p->c->oh * p->c->ow, tiles = tn_ceil_div(line->length, p->q->tile_m);
    tn_q8_finish f = j->finish;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t q = i * line->length / tiles, m = (i + 1) * line->length / tiles - q;
        t->x = line->x + q * p->block;
        p->q->q8_tile(t, (int)m, nb);
        for (int b = 0; b < nb; b++) {
            const int32_t *acc = t->acc + b * m * TN_Q8_BLOCK, *sum = line->x_sum ? line->x_sum + q : NULL;
            int64_t at = (line->at + b * hw + q) * TN_Q8_BLOCK;
            f.lanes = (int)TN_MIN(channels - b * TN_Q8_BLOCK, TN_Q8_BLOCK);
            f.scale = j->scale + block + b * TN_Q8_BLOCK;
            f.w_zero = sum ? j->packed.zeros + block + b * TN_Q8_BLOCK : NULL;
            if (p->c->y_int32)
                store_int32(&f, acc, sum, (int32_t *)j->y + at, m);
            else
                p->q->base->q8_finish(&f, acc, sum, f.residual ? (const uint8_t *)j->a->z + at : NULL, j->y + at, m);
        }
    }
}

/* Panels [p0, p1) of group g over units [u0, u1) of sample n. */
static void run_block(const conv_job *j, int64_t n, int64_t g, int64_t u0, int64_t u1, int64_t p0, int64_t p1,
                      const uint8_t *src, uint8_t *memory) {
    const conv_plan *p = &j->p;
    const tn_q8_conv *c = p->c;
    int64_t hw = c->oh * c->ow, blocks = tn_ceil_div(c->oc, TN_Q8_BLOCK), lines = p->flat ? 1 : u1 - u0;
    int64_t padded = tn_round_up(p->ocg, TN_Q8_BLOCK);
    int32_t *windows = NULL;
    if (j->packed.header->corrected) {
        windows = (int32_t *)(memory + p->at_windows);
        if (p->flat)
            sum_pixels(j, src, u1 - u0, windows);
        else
            sum_windows(j, src, lines, (int32_t *)(memory + p->at_sums), windows);
    }
    tn_q8_tile t = {.tap = j->tap, .step = p->block, .acc = (int32_t *)(memory + p->at_acc)};
    bool partial = p->quads_last != p->quads;
    t.quads = p->quads;
    t.taps = (p->icb - partial) * p->window;
    t.last_quads = p->quads_last;
    t.last_taps = partial ? p->window : 0;
    for (int64_t i = p0; i < p1; i++) {
        int64_t o = i * p->panel, channels = TN_MIN(p->ocg - o, p->panel), block = g * padded + o;
        t.w = j->packed.panels + g * group_bytes(p) + o * p->k_quads * q8_quad_bytes(p->q);
        t.bias = j->bias + block;
        for (int64_t l = 0; l < lines; l++) {
            conv_line line = {.x = src + l * p->line_step * p->row,
                              .x_sum = windows ? windows + l * c->ow : NULL,
                              .at = (n * blocks + (g * p->ocg + o) / TN_Q8_BLOCK) * hw +
                                    (p->flat ? u0 : (u0 + l) * c->ow),
                              .length = p->flat ? u1 - u0 : c->ow};
            run_line(j, &t, &line, block, channels);
        }
    }
}

static void conv_task(void *context, int64_t begin, int64_t end, int worker) {
    const conv_job *j = context;
    const conv_plan *p = &j->p;
    const tn_q8_conv *c = p->c;
    uint8_t *memory = j->workers + worker * p->worker;
    int64_t hw = c->ih * c->iw * p->block, sample = tn_ceil_div(c->ic, p->block) * hw, copied = -1;
    int64_t total = p->flat ? p->length : p->lines;
    for (int64_t task = begin; task < end; task++) {
        int64_t chunk = task % p->oc_chunks, s = task / p->oc_chunks % p->strips, ng = task / p->oc_chunks / p->strips;
        int64_t n = ng / c->groups, g = ng % c->groups, u0 = s * p->strip, u1 = TN_MIN(u0 + p->strip, total);
        const uint8_t *x = j->x + n * sample + g * p->icb * hw, *src = memory;
        if (!p->copied)
            src = x + (p->flat ? u0 * p->block : u0 * c->sh * p->row);
        else if (copied != task / p->oc_chunks)
            copy_strip(j, x, u0, u1, memory);
        copied = task / p->oc_chunks;
        run_block(j, n, g, u0, u1, chunk * p->panels / p->oc_chunks, (chunk + 1) * p->panels / p->oc_chunks, src,
                  memory);
    }
}

void tn_q8_conv_run(tn_q8_isa isa, const tn_q8_conv *c, const tn_q8_args *a, const void *x, void *y, void *workspace,
                    int threads) {
    const tn_q8_kernels *q = tn_q8_kernels_get(isa);
    if (c->n == 0 || c->oh == 0 || c->ow == 0) return;
    if (q8_is_depthwise(c)) {
        q8_dw_run(q, c, a, x, y, workspace, threads);
        return;
    }
    conv_job j = {.p = make_plan(q, c), .a = a, .x = x, .y = y};
    char *ws = workspace;
    int32_t x_zero = a->x_zero + (c->x_signed ? 128 : 0);
    int32_t *bias = (int32_t *)(ws + j.p.at_bias);
    float *scale = (float *)(ws + j.p.at_scale);
    j.pad = (uint8_t)x_zero;
    j.packed = q8_open(a->packed, j.p.oc_pad);
    /* With groups every block is full, so that padding stands at the end only. */
    q8_begin(&j.packed, a, c->oc, j.p.oc_pad, x_zero, bias, scale);
    fill_taps(&j.p, (ptrdiff_t *)(ws + j.p.at_tap));
    j.tap = (const ptrdiff_t *)(ws + j.p.at_tap);
    j.bias = bias;
    j.scale = scale;
    j.workers = (uint8_t *)ws + j.p.shared;
    j.finish = q8_finish_of(a, c->y_signed);
    tn_parallel_for(threads, c->n * c->groups * j.p.strips * j.p.oc_chunks, conv_task, &j);
}
