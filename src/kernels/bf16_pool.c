/* Pooling of bfloat16 maps: a task widens what a strip of rows of one block reads to float32, pools that, and rounds
 * the result (a maximum is exact). */
#include "kernels/bf16_pool.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* Rows of a strip are as many as fit, in and out. */
#define STRIP_FLOATS (32 * 1024)

typedef struct pool_plan {
    const tn_kernels *k;
    const tn_pool2d *p;
    int64_t blocks, strip, strips, rows; /* output rows of a strip; input rows that one reads at most */
    size_t at_y, worker_bytes;
} pool_plan;

static pool_plan make_plan(tern_cpu_tier tier, const tn_pool2d *p) {
    pool_plan s = {.k = tn_kernels_get(tier), .p = p};
    int64_t b = s.k->width, extent = (int64_t)(p->kh - 1) * p->dh + 1;
    s.blocks = tn_ceil_div(p->c, b);
    s.strip = TN_MAX(TN_MIN(p->oh, STRIP_FLOATS / TN_MAX((p->iw * p->sh + p->ow) * b, 1)), 1);
    s.strips = tn_ceil_div(p->oh, s.strip);
    s.rows = TN_MIN((s.strip - 1) * p->sh + extent, p->ih);
    s.at_y = (size_t)(s.rows * p->iw * b) * sizeof(float);
    s.worker_bytes = (size_t)tn_round_up((int64_t)s.at_y + s.strip * p->ow * b * (int64_t)sizeof(float), 64);
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

static void pool_task(void *context, int64_t begin, int64_t end, int worker) {
    const pool_job *j = context;
    const pool_plan *s = &j->s;
    char *memory = j->workers + (size_t)worker * s->worker_bytes;
    float *x = (float *)memory, *y = (float *)(memory + s->at_y);
    int64_t b = s->k->width;
    for (int64_t task = begin; task < end; task++) {
        int64_t plane = task / s->strips, y0 = task % s->strips * s->strip, y1 = TN_MIN(y0 + s->strip, s->p->oh);
        tn_pool2d p = *s->p; /* rows [y0, y1) as a map of its own */
        int64_t first = y0 * p.sh - p.pad_top, last = (y1 - 1) * p.sh - p.pad_top + (int64_t)(p.kh - 1) * p.dh + 1;
        int64_t iy0 = TN_MIN(TN_MAX(first, 0), p.ih);
        p.pad_top = (int)(iy0 - first);
        p.ih = TN_MAX(TN_MIN(last, p.ih) - iy0, 0);
        if (iy0 + p.ih < s->p->ih) p.pad_bottom = 0;
        tn_bf16_to_f32_n(j->x + (plane * s->p->ih + iy0) * p.iw * b, x, (size_t)(p.ih * p.iw * b));
        int64_t lanes = TN_MIN(p.c - plane % s->blocks * b, b);
        for (int64_t oy = y0; oy < y1; oy++) s->k->pool2d_row_f32(&p, x, y + (oy - y0) * p.ow * b, oy - y0, lanes);
        tn_f32_to_bf16_n(y, j->y + (plane * p.oh + y0) * p.ow * b, (size_t)((y1 - y0) * p.ow * b));
    }
}

void tn_bf16_pool2d(tern_cpu_tier tier, const tn_pool2d *p, const uint16_t *x, uint16_t *y, void *workspace,
                    int threads) {
    pool_job j = {.s = make_plan(tier, p), .x = x, .y = y, .workers = workspace};
    tn_parallel_for(threads, p->n * j.s.blocks * j.s.strips, pool_task, &j);
}
