/* 8-bit depthwise convolution: a task is a strip of rows of one block of channels, copied with its padding. */
#include "kernels/q8_internal.h"

/* Rows of a strip, padding included: they stay in L1. */
#define DW_STRIP_BYTES (20 * 1024)

typedef struct dw_plan {
    int64_t blocks, quads, row, strip, strips, strip_bytes, weights; /* weights: bytes of a block */
} dw_plan;

static dw_plan make_plan(const tn_q8_kernels *q, const tn_q8_conv *c) {
    int64_t ew = (int64_t)(c->kw - 1) * c->dw + 1, eh = (int64_t)(c->kh - 1) * c->dh + 1;
    dw_plan p = {.blocks = tn_ceil_div(c->ic, TN_Q8_BLOCK), .quads = (c->kw + 3) / 4};
    p.weights = c->kh * p.quads * TN_Q8_BLOCK * q8_quad_bytes(q);
    p.row = ((c->ow - 1) * c->sw + ew) * TN_Q8_BLOCK;
    int64_t rows = TN_MAX((DW_STRIP_BYTES / p.row - eh) / c->sh + 1, TN_MIN(8 * eh / c->sh + 1, 16));
    /* Small maps as one strip, large ones in strips of one height. */
    p.strip = tn_ceil_div(c->oh, tn_ceil_div(c->oh, rows));
    p.strips = tn_ceil_div(c->oh, p.strip);
    /* The kernel reads whole quads for whole groups of pixels: up to four windows and a quad, with dilation, too far.
     */
    int64_t beyond = 4 * c->sw + 4 * p.quads * c->dw + 8;
    p.strip_bytes = tn_round_up(((p.strip - 1) * c->sh + eh) * p.row + beyond * TN_Q8_BLOCK, 64);
    return p;
}

size_t q8_dw_packed_bytes(const tn_q8_kernels *q, const tn_q8_conv *c) {
    dw_plan p = make_plan(q, c);
    return q8_panels_at(p.blocks * TN_Q8_BLOCK) + (size_t)(p.blocks * p.weights);
}

void q8_dw_pack(const tn_q8_kernels *q, const tn_q8_conv *c, const q8_source *s, void *dst) {
    dw_plan p = make_plan(q, c);
    int64_t channels = p.blocks * TN_Q8_BLOCK, taps = (int64_t)c->kh * c->kw;
    char *panels = (char *)dst + q8_panels_at(channels);
    int32_t *sums = (int32_t *)((char *)dst + sizeof(q8_header)), *zeros = sums + channels;
    int32_t *place = (int32_t *)(panels + p.blocks * p.weights); /* see tn_q8_conv_packed_bytes */
    for (int64_t t = 0; t < taps; t++) place[t] = (int32_t)((t / c->kw * p.quads + t % c->kw / 4) * 4 + t % c->kw % 4);
    for (int64_t o = 0; o < c->oc; o++) {
        q8_column column = {.at = o * taps, .step = 1, .n = taps, .place = place};
        q8_pack_channel(q, s, &column, o, TN_Q8_BLOCK, o % TN_Q8_BLOCK, panels + o / TN_Q8_BLOCK * p.weights, dst,
                        &sums[o], &zeros[o]);
    }
}

typedef struct dw_job {
    const tn_q8_kernels *q;
    const tn_q8_conv *c;
    dw_plan p;
    q8_packed packed;
    const uint8_t *x;
    uint8_t *y;
    const int32_t *bias;
    const float *scale;
    uint8_t *strips;
    tn_q8_finish finish;
    uint8_t pad;
} dw_job;

size_t q8_dw_workspace(const tn_q8_kernels *q, const tn_q8_conv *c, int threads) {
    dw_plan p = make_plan(q, c);
    return (size_t)(p.blocks * TN_Q8_BLOCK * 8 + p.strip_bytes * TN_MAX(threads, 1));
}

/* The rows of outputs [y0, y1) of a plane. Lanes past the last channel hold anything: their results are masked. */
static void copy_strip(const dw_job *j, const uint8_t *x, int64_t y0, int64_t y1, uint8_t *dst) {
    const tn_q8_conv *c = j->c;
    int64_t rows = (y1 - y0 - 1) * c->sh + (int64_t)(c->kh - 1) * c->dh + 1, cols = j->p.row / TN_Q8_BLOCK;
    int64_t left = TN_MIN(c->pad_left, cols), n = TN_MIN(c->iw, cols - left);
    for (int64_t r = 0; r < rows; r++, dst += j->p.row) {
        int64_t iy = y0 * c->sh + r - c->pad_top;
        if (iy < 0 || iy >= c->ih) {
            memset(dst, j->pad, (size_t)j->p.row);
            continue;
        }
        memset(dst, j->pad, (size_t)left * TN_Q8_BLOCK);
        q8_copy(j->q->base, dst + left * TN_Q8_BLOCK, x + iy * c->iw * TN_Q8_BLOCK, n * TN_Q8_BLOCK, c->x_signed);
        memset(dst + (left + n) * TN_Q8_BLOCK, j->pad, (size_t)(cols - left - n) * TN_Q8_BLOCK);
    }
}

static void dw_task(void *context, int64_t begin, int64_t end, int worker) {
    const dw_job *j = context;
    const tn_q8_conv *c = j->c;
    uint8_t *strip = j->strips + worker * j->p.strip_bytes;
    tn_q8_finish f = j->finish;
    tn_q8_depthwise a = {.x = strip, .x_row = j->p.row, .ow = c->ow, .finish = &f};
    a.kh = c->kh, a.kw = c->kw, a.sh = c->sh, a.sw = c->sw, a.dh = c->dh, a.dw = c->dw;
    for (int64_t task = begin; task < end; task++) {
        int64_t plane = task / j->p.strips, cb = plane % j->p.blocks, y0 = task % j->p.strips * j->p.strip;
        a.rows = TN_MIN(j->p.strip, c->oh - y0);
        a.w = j->packed.panels + cb * j->p.weights;
        a.bias = j->bias + cb * TN_Q8_BLOCK;
        a.y = j->y + (plane * c->oh + y0) * c->ow * TN_Q8_BLOCK;
        f.scale = j->scale + cb * TN_Q8_BLOCK;
        f.w_zero = j->packed.header->corrected ? j->packed.zeros + cb * TN_Q8_BLOCK : NULL;
        f.lanes = (int)TN_MIN(c->oc - cb * TN_Q8_BLOCK, TN_Q8_BLOCK);
        copy_strip(j, j->x + plane * c->ih * c->iw * TN_Q8_BLOCK, y0, y0 + a.rows, strip);
        j->q->q8_depthwise(&a);
    }
}

void q8_dw_run(const tn_q8_kernels *q, const tn_q8_conv *c, const tn_q8_args *a, const uint8_t *x, uint8_t *y,
               void *workspace, int threads) {
    dw_job j = {.q = q, .c = c, .p = make_plan(q, c), .x = x, .y = y};
    int64_t channels = j.p.blocks * TN_Q8_BLOCK;
    int32_t x_zero = a->x_zero + (c->x_signed ? 128 : 0), *bias = workspace;
    float *scale = (float *)workspace + channels;
    j.packed = q8_open(a->packed, channels);
    q8_begin(&j.packed, a, c->oc, channels, x_zero, bias, scale);
    j.bias = bias;
    j.scale = scale;
    j.strips = (uint8_t *)workspace + channels * 8;
    j.finish = q8_finish_of(a, c->y_signed);
    j.pad = (uint8_t)x_zero;
    tn_parallel_for(threads, c->n * j.p.blocks * j.p.strips, dw_task, &j);
}
