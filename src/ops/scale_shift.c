/* tern:ScaleShift: one factor and one summand per channel, and an activation. */
#include "kernels/eltwise.h"
#include "ops/fused.h"
#include "thread/thread.h"

#define WIDEST_BLOCK 16

static tern_status scale_shift_infer(tn_infer *c) {
    tn_act act;
    if (!tn_op_act(c->node, &act)) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    for (int i = 0; i < 3; i++) TN_TRY(tn_infer_want(c, i, TN_T(FLOAT)));
    tn_infer_out_like(c, 0, 0);
    const tn_type *x = c->in[0];
    if (!x || !x->ranked) return TERN_OK;
    if (x->shape.rank < 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X has rank %d, less than 2", x->shape.rank);
    for (int i = 1; i < 3; i++) {
        const tn_type *p = c->in[i];
        if (!p || !p->ranked) continue;
        int64_t count = p->shape.rank == 1 ? p->shape.dims[0] : -1, channels = x->shape.dims[1];
        if (p->shape.rank != 1 || (tn_dim_known(count) && tn_dim_known(channels) && count != channels))
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d is not one number for each of %lld channels", i,
                                 (long long)channels);
    }
    return TERN_OK;
}

static bool scale_shift_blocked_ok(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value,
                                   int block) {
    (void)node, (void)value;
    return in[0]->dtype == TERN_FLOAT && block <= WIDEST_BLOCK;
}

typedef struct scale_shift {
    tern_cpu_tier tier;
    tn_act act;
    float lo, hi;
    const float *x, *scale, *shift;
    float *y;
    int64_t channels, inner; /* inner: elements of a channel */
    int block;               /* 0: plain */
} scale_shift;

/* Channels [c, c + lanes) of one sample, interleaved in blocks, or one channel where `block` is 0. */
static void one_task(const scale_shift *s, int64_t task) {
    int64_t blocks = s->block ? tn_ceil_div(s->channels, s->block) : s->channels, unit = s->block ? s->block : 1;
    int64_t c = task % blocks * unit, lanes = TN_MIN(s->channels - c, unit);
    float scale[WIDEST_BLOCK] = {0}, shift[WIDEST_BLOCK] = {0};
    for (int i = 0; i < WIDEST_BLOCK; i++) {
        if (s->block && i >= lanes) break;
        scale[i] = s->scale[c + (s->block ? i : 0)];
        shift[i] = s->shift[c + (s->block ? i : 0)];
    }
    size_t n = (size_t)(s->inner * unit);
    float *y = s->y + (size_t)task * n;
    tn_scale_shift_f32(s->tier, scale, shift, s->lo, s->hi, s->x + (size_t)task * n, y, n);
    if (!tn_act_is_clamp(s->act.kind)) tn_act_f32(s->tier, &s->act, y, y, n);
    for (int64_t p = 0; p < s->inner && lanes < unit; p++)
        memset(y + p * unit + lanes, 0, (size_t)(unit - lanes) * sizeof(float));
}

static void tasks(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    for (int64_t t = begin; t < end; t++) one_task(context, t);
}

static tern_status scale_shift_run(tn_run *c) {
    const tern_tensor *x = c->in[0];
    if (!c->out[0] || tn_shape_count(&x->shape) == 0) return TERN_OK;
    scale_shift s = {.tier = c->tier,
                     .x = x->data,
                     .scale = c->in[1]->data,
                     .shift = c->in[2]->data,
                     .y = c->out[0]->data,
                     .channels = x->shape.dims[1],
                     .inner = tn_shape_count_range(&x->shape, 2, x->shape.rank),
                     .block = x->block};
    if (!tn_op_act(c->node, &s.act)) return tn_run_fail(c, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    tn_act_clamp(&s.act, &s.lo, &s.hi);
    int64_t per_sample = s.block ? tn_ceil_div(s.channels, s.block) : s.channels;
    tn_parallel_for(c->threads, x->shape.dims[0] * per_sample, tasks, &s);
    return TERN_OK;
}

const tn_op tn_op_scale_shift = {.infer = scale_shift_infer,
                                 .run = scale_shift_run,
                                 .min_in = 3,
                                 .max_in = 3,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .flags = TN_OP_BLOCKED | TN_OP_INPLACE,
                                 .blocked_ok = scale_shift_blocked_ok};
