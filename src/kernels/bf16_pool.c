/* Pooling of bfloat16 maps, a strip of rows of one block at a time. A maximum is one of columns, widened to float32 on
 * the way, and one of rows of that; for averages the strip is widened, in L1 or L2, and the float32 kernels run on it.
 * The result is rounded (a maximum is exact). */
#include "kernels/bf16_pool.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* Rows of a strip are as many as fit, in and out. */
#define STRIP_FLOATS (32 * 1024)

typedef struct pool_plan {
    const tn_kernels *k;
    const tn_pool2d *p;
    int64_t blocks, strip, strips;
    size_t at_y, worker_bytes;
} pool_plan;

static pool_plan make_plan(tern_cpu_tier tier, const tn_pool2d *p) {
    pool_plan s = {.k = tn_kernels_get(tier), .p = p};
    int64_t b = s.k->width, extent = (int64_t)(p->kh - 1) * p->dh + 1;
    s.blocks = tn_ceil_div(p->c, b);
    s.strip = TN_MAX(TN_MIN(p->oh, STRIP_FLOATS / TN_MAX((p->iw * p->sh + p->ow) * b, 1)), 1);
    s.strips = tn_ceil_div(p->oh, s.strip);
    int64_t in = p->average ? TN_MIN((s.strip - 1) * p->sh + extent, p->ih) : 1, out = p->average ? s.strip : 1;
    s.at_y = (size_t)(in * p->iw * b) * sizeof(float);
    s.worker_bytes = (size_t)tn_round_up((int64_t)s.at_y + out * p->ow * b * (int64_t)sizeof(float), 64);
    return s;
}

size_t tn_bf16_pool2d_workspace(tern_cpu_tier tier, const tn_pool2d *p, int threads) {
    return make_plan(tier, p).worker_bytes * (size_t)TN_MAX(threads, 1);
}

typedef struct pool_job {
    pool_plan s;
    const uint16_t *x;
    uint16_t *y;
    char *workers;
} pool_job;

/* Rows [y0, y1) of one block: xs is its map, ys the first row of the result. x, y: for float32. */
static void average_rows(const pool_plan *s, const uint16_t *xs, int64_t y0, int64_t y1, int64_t lanes, float *x,
                         float *y, uint16_t *ys) {
    tn_pool2d p = *s->p; /* those rows as a map of its own */
    int64_t b = s->k->width, first = y0 * p.sh - p.pad_top;
    int64_t last = (y1 - 1) * p.sh - p.pad_top + (int64_t)(p.kh - 1) * p.dh + 1;
    int64_t iy0 = TN_MIN(TN_MAX(first, 0), p.ih);
    p.pad_top = (int)(iy0 - first);
    p.ih = TN_MAX(TN_MIN(last, p.ih) - iy0, 0);
    if (iy0 + p.ih < s->p->ih) p.pad_bottom = 0;
    tn_bf16_to_f32_n(xs + iy0 * p.iw * b, x, (size_t)(p.ih * p.iw * b));
    for (int64_t oy = y0; oy < y1; oy++) s->k->pool2d_row_f32(&p, x, y + (oy - y0) * p.ow * b, oy - y0, lanes);
    tn_f32_to_bf16_n(y, ys, (size_t)((y1 - y0) * p.ow * b));
}

static void max_rows(const pool_plan *s, const uint16_t *xs, int64_t y0, int64_t y1, int64_t lanes, float *x, float *y,
                     uint16_t *ys) {
    tn_pool2d row = *s->p; /* the maximum of a window's rows, as a map of its own */
    int64_t b = s->k->width, step = (int64_t)row.dh * row.iw * b;
    row.ih = row.oh = row.kh = row.sh = row.dh = 1;
    row.pad_top = row.pad_bottom = 0;
    for (int64_t oy = y0; oy < y1; oy++, ys += row.ow * b) {
        int64_t iy = oy * s->p->sh - s->p->pad_top, skip = iy < 0 ? tn_ceil_div(-iy, s->p->dh) : 0;
        int64_t rows = TN_MIN(tn_ceil_div(TN_MAX(s->p->ih - iy, 0), s->p->dh), s->p->kh) - skip;
        const uint16_t *from = rows > 0 ? xs + (iy + skip * s->p->dh) * row.iw * b : xs;
        s->k->bf16_max_rows(from, step, TN_MAX(rows, 0), row.iw * b, x);
        s->k->pool2d_row_f32(&row, x, y, 0, lanes);
        tn_f32_to_bf16_n(y, ys, (size_t)(row.ow * b));
    }
}

static void pool_task(void *context, int64_t begin, int64_t end, int worker) {
    const pool_job *j = context;
    const pool_plan *s = &j->s;
    const tn_pool2d *p = s->p;
    char *memory = j->workers + (size_t)worker * s->worker_bytes;
    float *x = (float *)memory, *y = (float *)(memory + s->at_y);
    int64_t b = s->k->width;
    for (int64_t task = begin; task < end; task++) {
        int64_t plane = task / s->strips, y0 = task % s->strips * s->strip, y1 = TN_MIN(y0 + s->strip, p->oh);
        int64_t lanes = TN_MIN(p->c - plane % s->blocks * b, b);
        const uint16_t *xs = j->x + plane * p->ih * p->iw * b;
        uint16_t *ys = j->y + (plane * p->oh + y0) * p->ow * b;
        if (p->average)
            average_rows(s, xs, y0, y1, lanes, x, y, ys);
        else
            max_rows(s, xs, y0, y1, lanes, x, y, ys);
    }
}

void tn_bf16_pool2d(tern_cpu_tier tier, const tn_pool2d *p, const uint16_t *x, uint16_t *y, void *workspace,
                    int threads) {
    pool_job j = {.s = make_plan(tier, p), .x = x, .y = y, .workers = workspace};
    tn_parallel_for(threads, p->n * j.s.blocks * j.s.strips, pool_task, &j);
}
