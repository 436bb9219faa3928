/* Depthwise convolution, any kernel, stride and dilation. Weights: (channel block, kh, kw, B). A task is a few rows of
 * one block, a strip; tasks go block by block, then strip by strip, so that a thread's share is a band of rows of all
 * blocks, the same that 1x1 layers before and behind give it. Strips of a share that lie side by side are one band. */
#include "kernels/conv_internal.h"

typedef struct dw_job {
    const tn_kernels *k;
    const tn_conv *c;
    const float *x, *w, *bias, *residual;
    float *y;
    float *parts; /* (n, blocks, strips, B): sums over the rows of each strip; NULL: not wanted */
    int64_t blocks, strips;
} dw_job;

static bool takes(const tn_kernels *k, const tn_conv *c) {
    (void)k;
    if (conv_y_pixel(c) > 1 || conv_y_row(c) != c->ow) return false;
    return !c->in_plain && c->groups == c->ic && c->groups == c->oc && c->groups > 1;
}

/* Packed weights of one slice. Of several, only the first one in use is computed. */
static int64_t slice_floats(const tn_kernels *k, const tn_conv *c) {
    return tn_round_up(c->oc, k->width) * c->kh * c->kw;
}

static size_t packed_bytes(const tn_kernels *k, const tn_conv *c) {
    return (size_t)tn_round_up(slice_floats(k, c) * conv_slices(c) * (int64_t)sizeof(float), 64);
}

static void pack(const tn_kernels *k, const tn_conv *c, const float *w, float *dst) {
    int64_t taps = (int64_t)c->kh * c->kw, slices = conv_slices(c);
    for (int64_t z = 0; z < slices; z++)
        for (int64_t cb = 0; cb < c->oc; cb += k->width)
            for (int64_t t = 0; t < taps; t++)
                for (int64_t l = cb; l < cb + k->width; l++) *dst++ = l < c->oc ? w[(l * slices + z) * taps + t] : 0.0f;
}

/* Rows of a task. Of small maps a thread gets whole blocks: the rows that bands share would be much of them. */
static int64_t strip_rows(const tn_conv *c) { return c->oh < 8 ? TN_MAX(c->oh, 1) : c->oh < 16 ? 2 : 4; }
/* Rows that are finished while they are in L1: whole strips. */
static int64_t step_rows(const tn_conv *c) { return TN_MAX(strip_rows(c), 4); }

static size_t workspace(const tn_kernels *k, const tn_conv *c, int threads) {
    (void)threads;
    if (!c->means || c->oh == 0 || c->ow == 0) return 0;
    int64_t strips = tn_ceil_div(c->oh, strip_rows(c));
    return (size_t)tn_round_up(c->n * strips * tn_round_up(c->oc, k->width) * (int64_t)sizeof(float), 64);
}

/* The kernel rows of output row oy that lie inside x, as [*begin, *end). */
static void inside_rows(const tn_conv *c, int64_t oy, int64_t *begin, int64_t *end) {
    int64_t iy = oy * c->sh - c->pad_top, first = 0, last = c->kh;
    while (last > 0 && iy + (last - 1) * c->dh >= c->ih) last--;
    while (first < last && iy + first * c->dh < 0) first++;
    *begin = first;
    *end = last;
}

/* `r` has what the rows of a plane share; the rest is filled in here, in place: copying it would take as long as a
 * short row. */
static void dw_row(const dw_job *j, tn_dwconv_row *r, int64_t plane, int64_t oy) {
    const tn_conv *c = j->c;
    int64_t b = j->k->width, ky0, ky1, cb = plane % j->blocks;
    inside_rows(c, oy, &ky0, &ky1);
    r->rows = ky1 - ky0;
    int64_t iy = oy * c->sh - c->pad_top + ky0 * c->dh;
    /* Only pixels inside are ever read; the base itself may lie before them. */
    r->x = j->x + plane * conv_x_block(c) * b + (r->rows ? (iy * c->iw - c->pad_left) * b : 0);
    r->w = j->w + (cb * c->kh + ky0) * c->kw * b;
    int64_t at = (plane * conv_y_block(c) + oy * c->ow) * b;
    r->y = j->y + at;
    r->residual = j->residual ? j->residual + at : NULL;
    j->k->dwconv_row_f32(r);
}

/* Shapes that the strip kernel takes. */
static bool is_strip(const dw_job *j) {
    const tn_conv *c = j->c;
    int64_t right = (c->ow - 1) * c->sw - c->pad_left + c->kw - c->iw;
    return c->kh == c->kw && (c->kw == 3 || c->kw == 5) && c->sh == c->sw && c->sw <= 2 && c->dh == 1 && c->dw == 1 &&
           c->ow >= TN_DWCONV_TILE && c->pad_left <= c->kw / 2 && right <= c->kw / 2 && j->residual != j->y;
}

/* What the clamp does not do, and the sums of strips, for rows [y0, y1) of a plane that are still in L1. */
static void dw_finish(const dw_job *j, int64_t plane, int64_t y0, int64_t y1, int64_t lanes) {
    const tn_conv *c = j->c;
    int64_t b = j->k->width, rows = strip_rows(c);
    float *y = j->y + plane * conv_y_block(c) * b;
    tn_conv_finish(j->k, &c->act, y + y0 * c->ow * b, (y1 - y0) * c->ow, lanes);
    for (int64_t at = y0; at < y1 && j->parts; at += rows) {
        float *sum = j->parts + (plane * j->strips + at / rows) * b;
        memset(sum, 0, (size_t)b * sizeof *sum);
        j->k->pool_sum_f32(y + at * c->ow * b, sum, (TN_MIN(at + rows, y1) - at) * c->ow);
    }
}

/* Rows [y0, y1) of a plane by the strip kernel. */
static void dw_strip(const dw_job *j, int64_t plane, int64_t y0, int64_t y1, const float *bias, int64_t lanes) {
    const tn_conv *c = j->c;
    int64_t b = j->k->width, cb = plane % j->blocks, out = plane * conv_y_block(c) * b;
    int64_t step = tn_act_is_clamp(c->act.kind) && !j->parts ? y1 - y0 : step_rows(c);
    tn_dwconv_strip a = {.x = j->x + plane * conv_x_block(c) * b,
                         .w = j->w + cb * c->kh * c->kw * b,
                         .bias = bias,
                         .residual = j->residual ? j->residual + out : NULL,
                         .y = j->y + out,
                         .ih = c->ih,
                         .iw = c->iw,
                         .ow = c->ow,
                         .lanes = lanes,
                         .k = c->kw,
                         .s = c->sw,
                         .pad_top = c->pad_top,
                         .pad_left = c->pad_left};
    tn_act_clamp(&c->act, &a.lo, &a.hi);
    a.clamp = c->act.kind == TN_ACT_RELU || c->act.kind == TN_ACT_CLIP;
    for (int64_t y = y0; y < y1; y += step) {
        a.y0 = y;
        a.y1 = TN_MIN(y + step, y1);
        j->k->dwconv_strip_f32(&a);
        dw_finish(j, plane, a.y0, a.y1, lanes);
    }
}

/* What the outputs of a row share. */
static tn_dwconv_row any_row(const dw_job *j) {
    const tn_conv *c = j->c;
    int64_t b = j->k->width, room = c->iw + c->pad_left - conv_extent_w(c); /* last column where a window may begin */
    tn_dwconv_row r = {.x_row = c->dh * c->iw * b, .iw = c->iw, .ow = c->ow, .kw = c->kw, .sw = c->sw, .dw = c->dw};
    r.pad_left = c->pad_left;
    r.inside0 = TN_MIN((c->pad_left + c->sw - 1) / c->sw, c->ow);
    r.inside1 = room < 0 ? r.inside0 : TN_MAX(TN_MIN(room / c->sw + 1, c->ow), r.inside0);
    tn_act_clamp(&c->act, &r.lo, &r.hi);
    return r;
}

/* Rows [y0, y1) of a plane; `shared`: any_row. */
static void dw_band(const dw_job *j, const tn_dwconv_row *shared, bool by_strip, int64_t plane, int64_t y0,
                    int64_t y1) {
    const tn_conv *c = j->c;
    int64_t b = j->k->width, cb = plane % j->blocks, lanes = TN_MIN(c->oc - cb * b, b);
    float bias[16] = {0};
    if (j->bias) memcpy(bias, j->bias + cb * b, (size_t)lanes * sizeof(float));
    if (by_strip) {
        dw_strip(j, plane, y0, y1, bias, lanes);
        return;
    }
    tn_dwconv_row r = *shared;
    r.lanes = lanes;
    r.bias = bias;
    for (int64_t y = y0; y < y1; y += step_rows(c)) {
        int64_t end = TN_MIN(y + step_rows(c), y1);
        for (int64_t oy = y; oy < end; oy++) dw_row(j, &r, plane, oy);
        dw_finish(j, plane, y, end, lanes);
    }
}

/* The first strip of block cb whose task is not below `task` of a sample. */
static int64_t first_strip(const dw_job *j, int64_t task, int64_t cb) {
    return TN_MIN(tn_ceil_div(TN_MAX(task - cb, 0), j->blocks), j->strips);
}

static void dw_task(void *context, int64_t begin, int64_t end, int worker) {
    const dw_job *j = context;
    int64_t rows = strip_rows(j->c), tasks = j->blocks * j->strips;
    const tn_dwconv_row shared = any_row(j);
    bool by_strip = is_strip(j);
    (void)worker;
    for (int64_t n = begin / tasks; n * tasks < end; n++) {
        for (int64_t cb = 0; cb < j->blocks; cb++) {
            int64_t s0 = first_strip(j, begin - n * tasks, cb), s1 = first_strip(j, end - n * tasks, cb);
            if (s0 < s1) dw_band(j, &shared, by_strip, n * j->blocks + cb, s0 * rows, TN_MIN(s1 * rows, j->c->oh));
        }
    }
}

/* Strip after strip, whoever made them. */
static void dw_means(const dw_job *j) {
    int64_t b = j->k->width;
    float hw = (float)(j->c->oh * j->c->ow), *y = j->c->mean;
    for (int64_t plane = 0; plane < j->c->n * j->blocks; plane++, y += b) {
        memset(y, 0, (size_t)b * sizeof *y);
        j->k->pool_sum_f32(j->parts + plane * j->strips * b, y, j->strips);
        for (int64_t l = 0; l < b; l++) y[l] /= hw;
    }
}

static void run(const tn_kernels *k, const tn_conv *c, const float *x, const float *packed, const float *bias,
                const float *residual, float *y, void *ws, int threads) {
    if (c->n == 0 || c->oh == 0 || c->ow == 0) return;
    dw_job j = {.k = k,
                .c = c,
                .x = x,
                .w = packed + (c->slices > 1 ? c->slice0 : 0) * slice_floats(k, c),
                .bias = bias,
                .residual = c->residual ? residual : NULL,
                .y = y};
    j.blocks = tn_ceil_div(c->oc, k->width);
    j.strips = tn_ceil_div(c->oh, strip_rows(c));
    j.parts = c->means ? ws : NULL;
    tn_parallel_for(threads, c->n * j.blocks * j.strips, dw_task, &j);
    if (c->means) dw_means(&j);
}

const tn_conv_method tn_conv_depthwise = {takes, NULL, packed_bytes, pack, workspace, run};
