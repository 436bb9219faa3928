/* 8-bit operators: in blocked layout the convolutions of qlinear.c, tern:QAdd, tern:QGlobalAveragePool; tern:QLookup.
 */
#include "kernels/q8_eltwise.h"
#include "ops/fused.h"
#include "ops/qlinear_internal.h"

static const tern_tensor *input(const tn_run *c, int i) { return i >= 0 && i < c->node->n_in ? c->in[i] : NULL; }
static bool has_input(const tn_node *node, int i) { return i >= 0 && i < node->n_in && node->in[i]; }

static bool is_byte(tern_dtype t) { return t == TERN_INT8 || t == TERN_UINT8; }

static tn_q8_real real_of(const tn_run *c, int scale, int zero) {
    const tern_tensor *z = c->in[zero];
    return (tn_q8_real){*(const float *)c->in[scale]->data, tn_op_byte_at(z, 0), z->dtype == TERN_INT8};
}

void tn_op_q8_bounds(const tn_node *node, const char *low_name, const char *high_name, bool is_signed, int32_t *low,
                     int32_t *high) {
    int64_t min = is_signed ? INT8_MIN : 0, max = is_signed ? INT8_MAX : UINT8_MAX;
    *low = (int32_t)TN_MAX(TN_MIN(tn_attr_i(node, low_name, min), max), min);
    *high = (int32_t)TN_MAX(TN_MIN(tn_attr_i(node, high_name, max), max), min);
}

/* ---- convolution ------------------------------------------------------------------------------------------------- */

/* False when the numbers do not fit the kernels' types. */
static bool to_q8(const tn_conv_dims *d, int x_block, tn_q8_conv *out) {
    const tn_window *w = &d->w;
    if (w->rank != 2) return false;
    for (int i = 0; i < 2; i++) {
        /* Padding beyond the kernel would make windows that read nothing: left to the plain path. */
        if (w->pad[i] >= tn_window_extent(w, i) || w->pad_end[i] >= tn_window_extent(w, i)) return false;
        if (w->in[i] > INT32_MAX || w->out[i] > INT32_MAX || tn_window_extent(w, i) > INT32_MAX) return false;
    }
    *out = (tn_q8_conv){.n = d->n,
                        .ic = d->ic,
                        .ih = w->in[0],
                        .iw = w->in[1],
                        .oc = d->oc,
                        .oh = w->out[0],
                        .ow = w->out[1],
                        .groups = d->groups,
                        .kh = (int)w->kernel[0],
                        .kw = (int)w->kernel[1],
                        .sh = (int)w->stride[0],
                        .sw = (int)w->stride[1],
                        .dh = (int)w->dilation[0],
                        .dw = (int)w->dilation[1],
                        .pad_top = (int)w->pad[0],
                        .pad_left = (int)w->pad[1],
                        .x_block = x_block};
    return true;
}

static void set_types(tn_q8_conv *c, tern_dtype x, tern_dtype w, tern_dtype y) {
    c->x_signed = x == TERN_INT8;
    c->w_signed = w == TERN_INT8;
    c->y_signed = y == TERN_INT8;
    c->y_int32 = y == TERN_INT32;
}

bool tn_op_q8_conv_ok(const tn_node *node, int x_block) {
    const tn_qconv_inputs *in = tn_op_qconv_inputs(node);
    const tn_value *xv = node->in[in->x], *wv = node->in[in->w];
    const tn_value *zero = has_input(node, in->w_zero) ? node->in[in->w_zero] : NULL;
    if (!xv || !wv || !wv->constant || (zero && !zero->constant)) return false;
    const tn_type *x = &xv->type;
    if (!is_byte(x->dtype) || !is_byte(wv->constant->dtype) || !x->ranked || x->shape.rank != 4 ||
        wv->constant->shape.rank != 4)
        return false;
    /* Free dims: a small picture and a large one must both be possible. */
    for (int64_t size = 7; size <= 7 * 64; size *= 64) {
        tn_shape shape = x->shape;
        tn_conv_dims d;
        tn_q8_conv conv;
        if (!tn_dim_known(shape.dims[0])) shape.dims[0] = 1;
        for (int i = 2; i < 4; i++)
            if (!tn_dim_known(shape.dims[i])) shape.dims[i] = size + wv->constant->shape.dims[i] * 8;
        if (tn_ops_conv_dims(node, &shape, &wv->constant->shape, false, &d, NULL) != TERN_OK) return false;
        if (!to_q8(&d, x_block, &conv)) return false;
        set_types(&conv, x->dtype, wv->constant->dtype, in->y_scale < 0 ? TERN_INT32 : TERN_UINT8);
        if (!tn_q8_conv_takes(&conv)) return false;
    }
    return true;
}

typedef struct pack_context {
    const tn_q8_conv_state *s;
    const tern_tensor *zero;
} pack_context;

static void pack_weights(const void *context, const tern_tensor *w, void *dst) {
    const pack_context *p = context;
    tn_q8_conv_pack(p->s->isa, &p->s->conv, w->data, p->zero ? p->zero->data : NULL,
                    p->zero ? tn_shape_count(&p->zero->shape) : 0, dst);
}

tern_status tn_op_q8_conv_prepare(tn_prepare *c, const tn_conv_dims *d, tn_q8_conv_state *s, const char **kernel) {
    const tn_qconv_inputs *in = tn_op_qconv_inputs(c->node);
    bool zero_missing = has_input(c->node, in->w_zero) && !c->value[in->w_zero];
    bool z = has_input(c->node, in->z);
    if (!c->value[in->w] || zero_missing || c->out_block[0] != TN_Q8_BLOCK ||
        (z && c->in_block[in->z] != TN_Q8_BLOCK) || !to_q8(d, c->in_block[in->x], &s->conv))
        return tn_fail(c->err, TERN_INTERNAL, "8-bit convolution with X in blocks of %d, Y in blocks of %d",
                       c->in_block[in->x], c->out_block[0]);
    set_types(&s->conv, c->in[in->x]->dtype, c->in[in->w]->dtype, c->out[0].dtype);
    bool depthwise = d->groups > 1 && d->groups == d->ic && d->ic == d->oc;
    if (!tn_q8_conv_takes(&s->conv) || (z && depthwise))
        return tn_fail(c->err, TERN_INTERNAL, "no blocked kernel takes this 8-bit convolution");
    s->isa = tn_q8_best(c->tier);
    *kernel = tn_q8_conv_name(s->isa, &s->conv);
    pack_context p = {s, has_input(c->node, in->w_zero) ? c->value[in->w_zero] : NULL};
    uint64_t key = tn_op_zero_key(p.zero) ^
                   tn_hash(*kernel, strlen(*kernel), (uint64_t)d->groups * 32 + (uint64_t)s->conv.x_block);
    s->packed = tn_pack_get(c, in->w, key, tn_q8_conv_packed_bytes(s->isa, &s->conv), pack_weights, &p);
    if (!s->packed) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    c->workspace = tn_q8_conv_workspace(s->isa, &s->conv, c->threads);
    bool ok = tn_ops_reserve(&c->workspace, d->oc, sizeof(float), &s->at_scale);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* Factors from sums to units of the quantised result, and what is added behind it. */
static void set_scales(tn_run *c, const tn_q8_conv_state *s, float *scale, tn_q8_args *a) {
    const tn_qconv_inputs *in = tn_op_qconv_inputs(c->node);
    const tern_tensor *w_scale = c->in[in->w_scale], *z = input(c, in->z);
    float xs = *(const float *)c->in[in->x_scale]->data, ys = *(const float *)c->in[in->y_scale]->data;
    const float *ws = w_scale->data;
    bool many = tn_shape_count(&w_scale->shape) > 1;
    float unit = z ? *(const float *)c->in[in->mid_scale]->data : ys;
    for (int64_t i = 0; i < s->conv.oc; i++) scale[i] = xs * ws[many ? i : 0] / unit;
    a->scale = scale;
    a->y_zero = tn_op_byte_at(c->in[in->y_zero], 0);
    tn_op_q8_bounds(c->node, "q_low", "q_high", s->conv.y_signed, &a->y_low, &a->y_high);
    if (!z) return;
    tn_q8_real mid = real_of(c, in->mid_scale, in->mid_zero), real = real_of(c, in->z_scale, in->z_zero);
    int32_t low, high;
    tn_op_q8_bounds(c->node, "mid_low", "mid_high", mid.is_signed, &low, &high);
    a->z = z->data;
    a->z_signed = real.is_signed;
    a->z_zero = real.zero;
    a->z_scale = real.scale / ys;
    a->mid_scale = mid.scale / ys;
    a->mid_low = (float)(low - mid.zero);
    a->mid_high = (float)(high - mid.zero);
}

void tn_op_q8_conv_run(tn_run *c, const tn_q8_conv_state *s) {
    const tn_qconv_inputs *in = tn_op_qconv_inputs(c->node);
    const tern_tensor *bias = input(c, in->bias);
    tn_q8_args a = {.packed = s->packed, .x_zero = tn_op_byte_at(input(c, in->x_zero), 0)};
    a.bias = bias ? bias->data : NULL;
    if (in->y_scale >= 0) set_scales(c, s, (float *)((char *)c->workspace + s->at_scale), &a);
    tn_q8_conv_run(s->isa, &s->conv, &a, c->in[in->x]->data, c->out[0]->data, c->workspace, c->threads);
}

/* ---- QAdd, QGlobalAveragePool ------------------------------------------------------------------------------------ */

bool tn_op_q8_eltwise_ok(const tn_node *node) {
    bool add = strcmp(node->op_type, "QAdd") == 0;
    for (int i = 0; i <= (add ? 3 : 0); i += 3) {
        const tn_type *t = &node->in[i]->type;
        if (!is_byte(t->dtype) || !t->ranked || t->shape.rank != 4 || !tn_dim_known(t->shape.dims[1])) return false;
        if (t->shape.dims[1] < 1 || t->shape.dims[1] != node->in[0]->type.shape.dims[1]) return false;
    }
    return true;
}

static tern_status want_real(tn_infer *c, int scale, int zero) {
    TN_TRY(tn_infer_want(c, scale, TN_T(FLOAT)));
    TN_TRY(tn_infer_want(c, zero, TN_TYPES_BYTE));
    TN_TRY(tn_op_want_count(c, scale, 1, "scale"));
    return tn_op_want_count(c, zero, 1, "zero point");
}

static tern_status add_infer(tn_infer *c) {
    for (int i = 0; i < 6; i += 3) {
        TN_TRY(tn_infer_want(c, i, TN_TYPES_BYTE));
        TN_TRY(want_real(c, i + 1, i + 2));
        TN_TRY(tn_infer_same_type(c, i, i + 2));
    }
    TN_TRY(want_real(c, 6, 7));
    const tn_type *a = c->in[0], *b = c->in[3];
    tern_dtype y = c->in[7] ? c->in[7]->dtype : TERN_UNDEFINED;
    tn_infer_out(c, 0, y, a && a->ranked ? &a->shape : NULL);
    if (!a || !b || !a->ranked || !b->ranked || !tn_shape_known(&a->shape) || !tn_shape_known(&b->shape) ||
        tn_shape_equal(&a->shape, &b->shape))
        return TERN_OK;
    char at[TN_SHAPE_TEXT], bt[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "a has shape %s, b has shape %s",
                         tn_shape_text(&a->shape, at, sizeof at), tn_shape_text(&b->shape, bt, sizeof bt));
}

static tern_status want_blocks(tn_prepare *c, int last) {
    for (int i = 0; i <= last; i += 3)
        if (c->in_block[i] != TN_Q8_BLOCK || c->out_block[0] != TN_Q8_BLOCK)
            return tn_fail(c->err, TERN_UNSUPPORTED,
                           "this operator is made by optimisation; it takes blocked tensors only");
    return TERN_OK;
}

static tern_status add_prepare(tn_prepare *c) { return want_blocks(c, 3); }

static int64_t area(const tn_shape *s) { return tn_shape_count_range(s, 2, s->rank); }

static tern_status add_run(tn_run *c) {
    const tn_shape *s = &c->in[0]->shape;
    if (!c->out[0] || tn_shape_count(s) == 0) return TERN_OK;
    tn_q8_real a = real_of(c, 1, 2), b = real_of(c, 4, 5), y = real_of(c, 6, 7);
    int32_t low, high;
    tn_op_q8_bounds(c->node, "q_low", "q_high", y.is_signed, &low, &high);
    tn_q8_add(c->tier, &a, &b, &y, low, high, c->in[0]->data, c->in[3]->data, c->out[0]->data, s->dims[0], s->dims[1],
              area(s), c->threads);
    return TERN_OK;
}

static tern_status mean_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_TYPES_BYTE));
    TN_TRY(want_real(c, 1, 2));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    TN_TRY(want_real(c, 3, 4));
    const tn_type *x = c->in[0];
    tern_dtype y = c->in[4] ? c->in[4]->dtype : TERN_UNDEFINED;
    if (!x || !x->ranked) {
        tn_infer_out(c, 0, y, NULL);
        return TERN_OK;
    }
    if (x->shape.rank < 3) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "x has rank %d", x->shape.rank);
    tn_shape shape = x->shape;
    for (int i = 2; i < shape.rank; i++) shape.dims[i] = 1;
    tn_infer_out(c, 0, y, &shape);
    return TERN_OK;
}

static tern_status mean_prepare(tn_prepare *c) {
    TN_TRY(want_blocks(c, 0));
    int64_t hw = area(&c->in[0]->shape);
    if (hw > TN_Q8_MEAN_MAX || hw == 0)
        return tn_fail(c->err, TERN_LIMIT_EXCEEDED, "the mean of %lld pixels of 8 bits; 1 to %lld are possible",
                       (long long)hw, (long long)TN_Q8_MEAN_MAX);
    return TERN_OK;
}

static tern_status mean_run(tn_run *c) {
    const tn_shape *s = &c->in[0]->shape;
    if (!c->out[0] || tn_shape_count(s) == 0) return TERN_OK;
    tn_q8_real x = real_of(c, 1, 2), y = real_of(c, 3, 4);
    tn_q8_mean(c->tier, &x, &y, c->in[0]->data, c->out[0]->data, s->dims[0], s->dims[1], area(s), c->threads);
    return TERN_OK;
}

/* ---- QLookup ----------------------------------------------------------------------------------------------------- */

static tern_status lookup_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_TYPES_BYTE));
    TN_TRY(tn_infer_want(c, 1, TN_TYPES_BYTE));
    TN_TRY(tn_op_want_count(c, 1, 256, "table"));
    const tn_type *x = c->in[0], *table = c->in[1];
    if (table && table->ranked && tn_shape_known(&table->shape) && tn_shape_count(&table->shape) != 256)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the table has %lld values, not 256",
                             (long long)tn_shape_count(&table->shape));
    tn_infer_out(c, 0, table ? table->dtype : TERN_UNDEFINED, x && x->ranked ? &x->shape : NULL);
    return TERN_OK;
}

#define LOOKUP_CHUNK 8192 /* bytes of a task; whole pixels of every block */

typedef struct lookup_job {
    const uint8_t *x, *table;
    uint8_t *y;
    int64_t n, plane, blocks; /* plane: bytes of one block */
    int lanes;                /* channels of the last block of blocked tensors */
    bool partial;             /* ... are fewer than the block has: the others stay zero */
} lookup_job;

static void lookup_task(void *context, int64_t begin, int64_t end, int worker) {
    const lookup_job *j = context;
    (void)worker;
    int64_t last = TN_MIN(end * LOOKUP_CHUNK, j->n);
    for (int64_t i = begin * LOOKUP_CHUNK; i < last; i += TN_Q8_BLOCK) {
        bool rest = j->partial && i / j->plane % j->blocks == j->blocks - 1;
        int64_t n = TN_MIN(last - i, TN_Q8_BLOCK), keep = rest ? j->lanes : n;
        for (int64_t l = 0; l < keep; l++) j->y[i + l] = j->table[j->x[i + l]];
        memset(j->y + i + keep, 0, (size_t)(n - keep));
    }
}

static tern_status lookup_prepare(tn_prepare *c) {
    if (c->in_block[0] == c->out_block[0] && (c->in_block[0] == 0 || c->in_block[0] == TN_Q8_BLOCK)) return TERN_OK;
    return tn_fail(c->err, TERN_INTERNAL, "X in blocks of %d, Y in blocks of %d", c->in_block[0], c->out_block[0]);
}

static tern_status lookup_run(tn_run *c) {
    const tern_tensor *x = c->in[0];
    if (!c->out[0] || tn_shape_count(&x->shape) == 0) return TERN_OK;
    lookup_job j = {.x = x->data, .table = c->in[1]->data, .y = c->out[0]->data, .n = (int64_t)tn_tensor_bytes(x)};
    if (x->block) {
        j.plane = area(&x->shape) * TN_Q8_BLOCK;
        j.blocks = tn_ceil_div(x->shape.dims[1], TN_Q8_BLOCK);
        j.lanes = (int)(x->shape.dims[1] - (j.blocks - 1) * TN_Q8_BLOCK);
        j.partial = j.lanes < TN_Q8_BLOCK;
    }
    tn_parallel_for(c->threads, tn_ceil_div(j.n, LOOKUP_CHUNK), lookup_task, &j);
    return TERN_OK;
}

const tn_op tn_op_q8_lookup = {.infer = lookup_infer,
                               .prepare = lookup_prepare,
                               .run = lookup_run,
                               .min_in = 2,
                               .max_in = 2,
                               .min_out = 1,
                               .max_out = 1,
                               .flags = TN_OP_INPLACE};
const tn_op tn_op_q8_add = {
    .infer = add_infer, .prepare = add_prepare, .run = add_run, .min_in = 8, .max_in = 8, .min_out = 1, .max_out = 1};
const tn_op tn_op_q8_mean = {.infer = mean_infer,
                             .prepare = mean_prepare,
                             .run = mean_run,
                             .min_in = 5,
                             .max_in = 5,
                             .min_out = 1,
                             .max_out = 1};
