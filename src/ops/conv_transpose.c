/* ConvTranspose. tern:ConvTranspose, in blocked layout, is convolutions of parts (conv_parts.h). The standard's, in
 * plain layout: every element of X, times the kernel, is added to Y. One group of float32 is a product of the
 * transposed weights with X, whose rows (output channel, tap) are then added where they belong; few channels, and
 * double, go tap by tap without the product. */
#include "kernels/eltwise.h"
#include "kernels/gemm.h"
#include "ops/conv_internal.h"
#include "ops/conv_parts.h"
#include "ops/fused.h"
#include "ops/matmul_internal.h"

/* Rows of a product aim at this many floats in all. */
#define COL_FLOATS (256 * 1024)

typedef struct transpose_state {
    const char *kernel;
    tern_dtype dtype;
    tn_conv_dims d;
    tn_window back; /* the window that leads from Y (its input) to X (its output) */
    int64_t icg, ocg, taps, x_sp, y_sp;
    int64_t oc_block, blocks; /* output channels of a task; tasks of a group. 0: tap by tap */
    tn_gemm_f32 gemm;
    size_t gemm_bytes, worker_bytes, at_workers, at_x, at_w, at_b, at_y;
    bool wide; /* float16, bfloat16: computed on float32 copies */
} transpose_state;

static tern_status transpose_infer(tn_infer *c) {
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_infer_want(c, i, TN_TYPES_FLOAT));
        TN_TRY(tn_infer_same_type(c, 0, i));
    }
    const tn_type *x = c->in[0], *w = c->in[1], *b = c->node->n_in > 2 ? c->in[2] : NULL;
    if (!x || !w || !x->ranked || !w->ranked) {
        tn_infer_out(c, 0, x ? x->dtype : TERN_UNDEFINED, NULL);
        return TERN_OK;
    }
    tn_conv_dims d;
    TN_TRY(tn_ops_conv_dims(c->node, &x->shape, &w->shape, true, &d, c->err));
    if (b && b->ranked &&
        (b->shape.rank != 1 || (tn_dim_known(b->shape.dims[0]) && tn_dim_known(d.oc) && b->shape.dims[0] != d.oc)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the bias does not have one value for each of %lld channels",
                             (long long)d.oc);
    tn_shape y = tn_ops_conv_out_shape(&d);
    tn_infer_out(c, 0, x->dtype, &y);
    return TERN_OK;
}

/* ---- prepare ------------------------------------------------------------------------------------------------- */

static tern_status plan_product(tn_prepare *c, transpose_state *s) {
    s->oc_block = TN_MIN(TN_MAX(COL_FLOATS / TN_MAX(s->taps * s->x_sp, (int64_t)1), (int64_t)1), s->ocg);
    s->blocks = tn_ceil_div(s->ocg, s->oc_block);
    s->kernel = tn_ops_gemm_name(c->tier);
    s->gemm = (tn_gemm_f32){.m = s->oc_block * s->taps,
                            .n = s->x_sp,
                            .k = s->icg,
                            .a_rs = 1,
                            .a_cs = s->ocg * s->taps,
                            .b_rs = s->x_sp,
                            .b_cs = 1,
                            .ldc = s->x_sp,
                            .alpha = 1};
    s->gemm_bytes = (tn_gemm_f32_workspace(c->tier, &s->gemm, false) + 63) / 64 * 64;
    size_t at, col = 0;
    bool ok = tn_mul_size((size_t)s->gemm.m, sizeof(float), &col) &&
              tn_ops_reserve(&s->worker_bytes, (int64_t)s->gemm_bytes, 1, &at) &&
              tn_ops_reserve(&s->worker_bytes, s->x_sp, col, &at);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

static tern_status transpose_prepare(tn_prepare *c) {
    transpose_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    tn_conv_dims *d = &s->d;
    TN_TRY(tn_ops_conv_dims(c->node, &c->in[0]->shape, &c->in[1]->shape, true, d, c->err));
    int64_t count;
    if (!tn_shape_count_checked(&c->out[0].shape, &count))
        return tn_fail(c->err, TERN_LIMIT_EXCEEDED, "the output is too large");
    s->dtype = c->in[0]->dtype;
    s->wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    s->back = d->w;
    memcpy(s->back.in, d->w.out, sizeof s->back.in);
    memcpy(s->back.out, d->w.in, sizeof s->back.out);
    s->icg = d->ic / d->groups;
    s->ocg = d->oc / d->groups;
    s->taps = tn_shape_count_range(&c->in[1]->shape, 2, c->in[1]->shape.rank);
    s->x_sp = tn_shape_count_range(&c->in[0]->shape, 2, c->in[0]->shape.rank);
    s->y_sp = tn_shape_count_range(&c->out[0].shape, 2, c->out[0].shape.rank);
    if (s->dtype != TERN_DOUBLE && s->icg >= 8) TN_TRY(plan_product(c, s));
    bool ok = tn_ops_reserve(&c->workspace, TN_MAX(c->threads, 1), s->worker_bytes, &s->at_workers) &&
              tn_ops_reserve(&c->workspace, s->wide ? d->n * d->ic * s->x_sp : 0, sizeof(float), &s->at_x) &&
              tn_ops_reserve(&c->workspace, s->wide ? d->ic * s->ocg * s->taps : 0, sizeof(float), &s->at_w) &&
              tn_ops_reserve(&c->workspace, s->wide ? d->oc : 0, sizeof(float), &s->at_b) &&
              tn_ops_reserve(&c->workspace, s->wide ? count : 0, sizeof(float), &s->at_y);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

typedef struct transpose_args {
    const transpose_state *s;
    const void *x, *w, *bias;
    void *y;
    char *workers;
    tern_cpu_tier tier;
} transpose_args;

/* y (a plane of Y) += factor * x (a plane of X), seen through one tap. */
#define ADD_TAP(NAME, T)                                                                                  \
    static void NAME(const tn_window *w, int64_t tap, const T *x, T factor, T *y) {                       \
        tn_tap_box box;                                                                                   \
        if (!tn_ops_tap_init(w, tap, &box)) return;                                                       \
        int last = w->rank - 1;                                                                           \
        int64_t at[TN_MAX_SPATIAL], xo, yo, n = box.last[last] - box.first[last], step = w->stride[last]; \
        memcpy(at, box.first, sizeof at);                                                                 \
        do {                                                                                              \
            tn_ops_tap_offsets(w, &box, at, &yo, &xo);                                                    \
            const T *restrict from = x + xo;                                                              \
            T *restrict to = y + yo;                                                                      \
            for (int64_t i = 0; i < n; i++) to[i * step] += factor * from[i];                             \
        } while (tn_ops_tap_next_line(&box, w->rank, at));                                                \
    }
ADD_TAP(add_tap_f32, float)
ADD_TAP(add_tap_f64, double)
#undef ADD_TAP

/* A task is one output channel of one image. */
#define DIRECT(NAME, T, ADD)                                                                     \
    static void NAME(void *context, int64_t begin, int64_t end, int worker) {                    \
        (void)worker;                                                                            \
        const transpose_args *r = context;                                                       \
        const transpose_state *s = r->s;                                                         \
        for (int64_t task = begin; task < end; task++) {                                         \
            int64_t n = task / s->d.oc, oc = task % s->d.oc, group = oc / s->ocg;                \
            T *y = (T *)r->y + task * s->y_sp;                                                   \
            for (int64_t i = 0; i < s->y_sp; i++) y[i] = r->bias ? ((const T *)r->bias)[oc] : 0; \
            for (int64_t c = group * s->icg; c < (group + 1) * s->icg; c++) {                    \
                const T *x = (const T *)r->x + (n * s->d.ic + c) * s->x_sp;                      \
                const T *w = (const T *)r->w + (c * s->ocg + oc % s->ocg) * s->taps;             \
                for (int64_t t = 0; t < s->taps; t++) ADD(&s->back, t, x, w[t], y);              \
            }                                                                                    \
        }                                                                                        \
    }
DIRECT(direct_f32, float, add_tap_f32)
DIRECT(direct_f64, double, add_tap_f64)
#undef DIRECT

/* A task is a block of output channels of one group of one image. */
static void product_tasks(void *context, int64_t begin, int64_t end, int worker) {
    const transpose_args *r = context;
    const transpose_state *s = r->s;
    char *scratch = r->workers + (size_t)worker * s->worker_bytes;
    float *rows = (float *)(scratch + s->gemm_bytes);
    for (int64_t task = begin; task < end; task++) {
        int64_t first = task % s->blocks * s->oc_block, group = task / s->blocks % s->d.groups;
        int64_t n = task / s->blocks / s->d.groups, channels = TN_MIN(s->oc_block, s->ocg - first);
        const float *x = (const float *)r->x + (n * s->d.ic + group * s->icg) * s->x_sp;
        const float *w = (const float *)r->w + (group * s->icg * s->ocg + first) * s->taps;
        tn_gemm_f32 g = s->gemm;
        g.m = channels * s->taps;
        tn_gemm_f32_run(r->tier, &g, w, x, NULL, NULL, rows, scratch, 1);
        for (int64_t c = 0; c < channels; c++) {
            int64_t oc = group * s->ocg + first + c;
            float *y = (float *)r->y + (n * s->d.oc + oc) * s->y_sp, bias = r->bias ? ((const float *)r->bias)[oc] : 0;
            for (int64_t i = 0; i < s->y_sp; i++) y[i] = bias;
            for (int64_t t = 0; t < s->taps; t++) add_tap_f32(&s->back, t, rows + (c * s->taps + t) * s->x_sp, 1, y);
        }
    }
}

static void run_f32(tn_run *c, const transpose_state *s, transpose_args *r) {
    if (s->blocks)
        tn_parallel_for(c->threads, s->d.n * s->d.groups * s->blocks, product_tasks, r);
    else
        tn_parallel_for(c->threads, s->d.n * s->d.oc, direct_f32, r);
}

static tern_status transpose_run(tn_run *c) {
    const transpose_state *s = c->state;
    if (!c->out[0] || tn_shape_count(&c->out[0]->shape) == 0) return TERN_OK;
    char *ws = c->workspace;
    const tern_tensor *bias = c->node->n_in > 2 ? c->in[2] : NULL;
    transpose_args r = {
        s, c->in[0]->data, c->in[1]->data, bias ? bias->data : NULL, c->out[0]->data, ws + s->at_workers, c->tier};
    if (s->wide) {
        float *x = (float *)(ws + s->at_x), *w = (float *)(ws + s->at_w), *b = (float *)(ws + s->at_b);
        tn_ops_to_f32(c->in[0], x);
        tn_ops_to_f32(c->in[1], w);
        if (bias) tn_ops_to_f32(bias, b);
        r.x = x, r.w = w, r.bias = bias ? b : NULL, r.y = ws + s->at_y;
        run_f32(c, s, &r);
        tn_ops_from_f32(r.y, c->out[0]);
    } else if (s->dtype == TERN_DOUBLE) {
        tn_parallel_for(c->threads, s->d.n * s->d.oc, direct_f64, &r);
    } else {
        run_f32(c, s, &r);
    }
    return TERN_OK;
}

static int64_t transpose_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    (void)node, (void)out;
    int64_t total;
    if (!tn_shape_count_checked(&in[0]->shape, &total)) return 0;
    for (int i = 1; i < in[1]->shape.rank; i++)
        if (!tn_mul_i64(total, in[1]->shape.dims[i], &total)) return INT64_MAX;
    return total;
}

/* ---- tern:ConvTranspose ------------------------------------------------------------------------------------------ */

/* Where X has one element along a dim, the stride changes nothing: with a large one every output is a phase of one tap.
 */
static void widen_strides(const tn_shape *x, tn_conv_dims *d) {
    for (int i = 0; i < d->w.rank; i++)
        if (x->dims[2 + i] == 1) d->w.stride[i] = TN_MAX(d->w.out[i] + d->w.pad[i] + tn_window_extent(&d->w, i), 1);
}

static bool fits(const tn_node *node, const tn_shape *x, tern_cpu_tier tier, bool widen, int64_t *strides) {
    tn_act none = {0};
    /* Free dims: both a few and many. */
    for (int64_t size = 7; size <= 7 * 64; size *= 64) {
        tn_conv_whole c = {.transposed = true, .act = none};
        tn_shape shape = *x;
        if (!tn_dim_known(shape.dims[0])) shape.dims[0] = 1;
        for (int i = 2; i < shape.rank; i++)
            if (!tn_dim_known(shape.dims[i])) shape.dims[i] = size;
        if (tn_ops_conv_dims(node, &shape, &node->in[1]->constant->shape, true, &c.d, NULL) != TERN_OK) return false;
        if (widen) widen_strides(&shape, &c.d);
        memcpy(strides, c.d.w.stride, sizeof c.d.w.stride);
        if (!tn_conv_parts_ok(&c, tier)) return false;
    }
    return true;
}

bool tn_op_conv_transpose_blocked_ok(const tn_node *node, tern_cpu_tier tier, int64_t strides[TERN_MAX_RANK]) {
    const tn_shape *x = &node->in[0]->type.shape;
    if (!node->in[0]->type.ranked || x->rank < 3 || x->rank > 5 || !tn_dim_known(x->dims[1])) return false;
    /* Few channels leave most of a block empty. */
    int64_t oc = node->in[1]->constant->shape.dims[1], block = tn_conv_block(tier);
    if (tn_attr_i(node, "group", 1) == 1 && tn_round_up(oc, block) > 2 * oc) return false;
    size_t count;
    tn_attr_ints(node, "output_shape", &count);
    bool follows_x = count || !tn_attr_is(node, "auto_pad", "NOTSET", "NOTSET");
    for (int i = 2; i < x->rank; i++)
        if (follows_x && !tn_dim_known(x->dims[i])) return false;
    return (!follows_x && fits(node, x, tier, true, strides)) || fits(node, x, tier, false, strides);
}

bool tn_op_conv_transpose_weights(const tn_node *node, const tern_tensor *w, float *dst) {
    tn_conv_dims d;
    tn_shape x = node->in[0]->type.shape;
    for (int i = 0; i < x.rank; i++)
        if (!tn_dim_known(x.dims[i])) x.dims[i] = i ? 7 * 64 : 1;
    if (tn_ops_conv_dims(node, &x, &w->shape, true, &d, NULL) != TERN_OK) return false;
    tn_conv_parts_sort_weights(&d, w->data, dst);
    return true;
}

typedef struct fused_state {
    const char *kernel;
    const tn_conv_parts *parts;
} fused_state;

static tern_status fused_infer(tn_infer *c) {
    tn_act act;
    if (!tn_op_act(c->node, &act)) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    TN_TRY(transpose_infer(c));
    const tn_type *z = c->node->n_in > 3 ? c->in[3] : NULL;
    if (!z || !z->ranked || !c->out[0].ranked) return TERN_OK;
    bool same = z->shape.rank == c->out[0].shape.rank;
    for (int i = 0; same && i < z->shape.rank; i++) {
        int64_t a = z->shape.dims[i], b = c->out[0].shape.dims[i];
        same = !tn_dim_known(a) || !tn_dim_known(b) || a == b;
    }
    return same ? TERN_OK : tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the residual does not have the shape of the output");
}

static tern_status fused_prepare(tn_prepare *c) {
    fused_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    tn_conv_whole whole = {.transposed = true, .residual = c->node->n_in > 3 && c->in[3]};
    TN_TRY(tn_ops_conv_dims(c->node, &c->in[0]->shape, &c->in[1]->shape, true, &whole.d, c->err));
    int block = tn_conv_block(c->tier);
    if (!tn_op_act(c->node, &whole.act) || !c->value[1] || c->in_block[0] != block || c->out_block[0] != block ||
        (whole.residual && c->in_block[3] != block))
        return tn_fail(c->err, TERN_INTERNAL, "tern:ConvTranspose in plain layout");
    if (whole.d.n == 0) return TERN_OK;
    s->parts = tn_conv_parts_prepare(c, &whole);
    if (!s->parts) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    s->kernel = tn_conv_parts_name(s->parts);
    return TERN_OK;
}

static tern_status fused_run(tn_run *c) {
    const fused_state *s = c->state;
    const tern_tensor *bias = c->node->n_in > 2 ? c->in[2] : NULL, *residual = c->node->n_in > 3 ? c->in[3] : NULL;
    if (!c->out[0] || !s->parts) return TERN_OK;
    tn_conv_parts_run(s->parts, c, c->in[0]->data, bias ? bias->data : NULL, residual ? residual->data : NULL,
                      c->out[0]->data);
    return TERN_OK;
}

const tn_op tn_op_fused_conv_transpose = {.infer = fused_infer,
                                          .prepare = fused_prepare,
                                          .run = fused_run,
                                          .min_in = 2,
                                          .max_in = 4,
                                          .min_out = 1,
                                          .max_out = 1,
                                          .flags = TN_OP_KERNEL_NAME | TN_OP_INPLACE_RESIDUAL | TN_OP_PACKS_BLOCKED,
                                          .macs = transpose_macs};

const tn_op tn_op_conv_transpose = {.infer = transpose_infer,
                                    .prepare = transpose_prepare,
                                    .run = transpose_run,
                                    .min_in = 2,
                                    .max_in = 3,
                                    .min_out = 1,
                                    .max_out = 1,
                                    .flags = TN_OP_KERNEL_NAME,
                                    .macs = transpose_macs};
