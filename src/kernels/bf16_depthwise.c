/* Depthwise convolution of bfloat16 maps: a task widens what a strip of rows of one block reads to float32, in L1 or
 * L2, lets the float32 kernels work on that, and rounds the result. Weights are rounded to bfloat16 as everywhere. */
#include "kernels/bf16_internal.h"

/* Rows of a strip are as many as fit, in and out. */
#define STRIP_FLOATS (64 * 1024)

typedef struct dw_plan {
    const tn_bf16_kernels *q;
    const tn_conv *c;
    int64_t b, blocks, strip, strips, rows; /* output rows of a strip; input rows that one reads at most */
    size_t at_y, at_z, at_ws, worker_bytes;
} dw_plan;

/* The convolution of one block, output rows [y0, y1), and the first input row that it reads. */
static tn_conv strip_conv(const dw_plan *p, int64_t lanes, int64_t y0, int64_t y1, int64_t *iy0) {
    tn_conv s = *p->c;
    int64_t first = y0 * s.sh - s.pad_top, last = (y1 - 1) * s.sh - s.pad_top + conv_extent_h(&s);
    *iy0 = TN_MIN(TN_MAX(first, 0), s.ih);
    s.n = 1;
    s.ic = s.oc = s.groups = lanes;
    s.pad_top = (int)(*iy0 - first);
    s.ih = TN_MAX(TN_MIN(last, s.ih) - *iy0, 0);
    s.oh = y1 - y0;
    return s;
}

static dw_plan make_plan(const tn_bf16_kernels *q, const tn_conv *c) {
    dw_plan p = {.q = q, .c = c, .b = q->base->width};
    int64_t iy0, row = TN_MAX(c->iw * c->sh + c->ow, 1) * p.b;
    p.blocks = tn_ceil_div(c->oc, p.b);
    p.strip = TN_MAX(TN_MIN(c->oh, STRIP_FLOATS / row), 1);
    p.strips = tn_ceil_div(c->oh, p.strip);
    p.rows = (p.strip - 1) * c->sh + conv_extent_h(c);
    p.at_y = (size_t)(p.rows * c->iw * p.b) * sizeof(float);
    p.at_z = p.at_y + (size_t)(p.strip * c->ow * p.b) * sizeof(float);
    p.at_ws = p.at_z + (c->residual ? p.at_z - p.at_y : 0);
    tn_conv s = strip_conv(&p, TN_MIN(p.b, c->oc), 0, p.strip, &iy0);
    p.worker_bytes = p.at_ws + (size_t)tn_round_up((int64_t)tn_conv_depthwise.workspace(q->base, &s, 1), 64);
    return p;
}

static bool takes(const tn_bf16_kernels *q, const tn_conv *c) {
    return !c->in_plain && tn_conv_depthwise.takes(q->base, c);
}

static size_t packed_bytes(const tn_bf16_kernels *q, const tn_conv *c) {
    return tn_conv_depthwise.packed_bytes(q->base, c);
}

/* Packed as float32 weights are: per block (kh * kw, B), whatever else; rounded in place. */
static void pack(const tn_bf16_kernels *q, const tn_conv *c, const float *w, void *dst) {
    float *packed = dst;
    tn_conv_depthwise.pack(q->base, c, w, packed);
    for (size_t i = 0; i < packed_bytes(q, c) / sizeof(float); i++)
        packed[i] = tn_bf16_to_f32(tn_f32_to_bf16(packed[i]));
}

static size_t workspace(const tn_bf16_kernels *q, const tn_conv *c, int threads) {
    return make_plan(q, c).worker_bytes * (size_t)TN_MAX(threads, 1);
}

typedef struct dw_job {
    dw_plan p;
    const tn_bf16_conv_args *a;
    char *workers;
} dw_job;

static void dw_task(void *context, int64_t begin, int64_t end, int worker) {
    const dw_job *j = context;
    const dw_plan *p = &j->p;
    const tn_conv *c = p->c;
    char *memory = j->workers + (size_t)worker * p->worker_bytes;
    float *x = (float *)memory, *y = (float *)(memory + p->at_y), *z = (float *)(memory + p->at_z);
    for (int64_t task = begin; task < end; task++) {
        int64_t plane = task / p->strips, cb = plane % p->blocks, iy0;
        int64_t y0 = task % p->strips * p->strip, y1 = TN_MIN(y0 + p->strip, c->oh);
        tn_conv s = strip_conv(p, TN_MIN(c->oc - cb * p->b, p->b), y0, y1, &iy0);
        const uint16_t *from = (const uint16_t *)j->a->x + (plane * c->ih + iy0) * c->iw * p->b;
        int64_t at = (plane * c->oh + y0) * c->ow * p->b;
        size_t n = (size_t)(s.oh * s.ow * p->b);
        tn_bf16_to_f32_n(from, x, (size_t)(s.ih * s.iw * p->b));
        if (c->residual) tn_bf16_to_f32_n(j->a->residual + at, z, n);
        tn_conv_depthwise.run(p->q->base, &s, x, (const float *)j->a->packed + cb * c->kh * c->kw * p->b,
                              j->a->bias ? j->a->bias + cb * p->b : NULL, z, y, memory + p->at_ws, 1);
        tn_f32_to_bf16_n(y, j->a->y + at, n);
    }
}

static void run(const tn_bf16_kernels *q, const tn_conv *c, const tn_bf16_conv_args *a, void *ws, int threads) {
    dw_job j = {.p = make_plan(q, c), .a = a, .workers = ws};
    tn_parallel_for(threads, c->n * j.p.blocks * j.p.strips, dw_task, &j);
}

const bf16_method bf16_conv_depthwise = {takes, packed_bytes, pack, workspace, run};
