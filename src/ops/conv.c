#include <math.h>

#include "kernels/bf16_conv.h"
#include "kernels/conv.h"
#include "kernels/tune.h"
#include "ops/conv_internal.h"
#include "ops/conv_parts.h"
#include "ops/fused.h"

typedef struct conv_state {
    const char *kernel;
    tern_dtype dtype;
    tn_act act;
    tn_conv_plain plain;
    /* float16 and bfloat16 are computed in float32: copies in the workspace, weights packed when they are constant. */
    const float *wide_w;
    size_t at_x, at_w, at_b, at_y, at_plain;
    /* blocked */
    const tn_conv_algo *algo; /* NULL in bfloat16 */
    tn_bf16_isa isa;
    tn_bf16_algo bf16_algo;
    tn_conv conv;
    const void *packed;
    const tn_conv_parts *parts; /* of other than two spatial dims */
} conv_state;

/* Inputs of tern:Conv: the factors of X, and the first of the maps after X that channels are picked from. */
enum { SCALE = 4, MORE_MAPS = 5 };

/* ---- infer --------------------------------------------------------------------------------------------------- */

static const tn_type *input(const tn_type *const *in, const tn_node *node, int i) {
    return i < node->n_in ? in[i] : NULL;
}

static tern_status check_bias(tn_infer *c, int i, const tn_conv_dims *d) {
    const tn_type *b = input(c->in, c->node, i);
    if (!b || !b->ranked) return TERN_OK;
    bool ok =
        b->shape.rank == 1 && (!tn_dim_known(b->shape.dims[0]) || !tn_dim_known(d->oc) || b->shape.dims[0] == d->oc);
    if (ok) return TERN_OK;
    char text[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the bias has shape %s, the convolution has %lld output channels",
                         tn_shape_text(&b->shape, text, sizeof text), (long long)d->oc);
}

static tern_status check_residual(tn_infer *c, const tn_shape *y) {
    const tn_type *z = input(c->in, c->node, 3);
    if (!z || !z->ranked) return TERN_OK;
    bool ok = z->shape.rank == y->rank;
    for (int i = 0; ok && i < y->rank; i++)
        ok = !tn_dim_known(z->shape.dims[i]) || !tn_dim_known(y->dims[i]) || z->shape.dims[i] == y->dims[i];
    if (ok) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the residual has shape %s, the output %s",
                         tn_shape_text(&z->shape, a, sizeof a), tn_shape_text(y, b, sizeof b));
}

static tern_status check_scale(tn_infer *c, const tn_shape *x) {
    const tn_type *s = input(c->in, c->node, SCALE);
    if (!s || !s->ranked) return TERN_OK;
    bool ok = s->shape.rank == 4;
    for (int i = 0; ok && i < 4; i++) {
        int64_t want = i < 2 ? x->dims[i] : 1;
        ok = !tn_dim_known(s->shape.dims[i]) || !tn_dim_known(want) || s->shape.dims[i] == want;
    }
    if (ok) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the factors have shape %s, the input %s",
                         tn_shape_text(&s->shape, a, sizeof a), tn_shape_text(x, b, sizeof b));
}

/* Attribute of tern:Conv. */
static bool is_pooled(const tn_node *node) { return tn_attr_i(node, "pooled", 0) != 0; }

static tern_status infer_means(tn_infer *c, const tn_shape *y) {
    if (c->node->n_out < 2) return TERN_OK;
    if (y->rank != 4) return tn_infer_fail(c, TERN_INVALID_MODEL, "means over maps of rank %d, not 4", y->rank);
    tn_infer_out(c, 1, TERN_FLOAT, &(tn_shape){.rank = 4, .dims = {y->dims[0], y->dims[1], 1, 1}});
    return TERN_OK;
}

static tern_status infer_shape(tn_infer *c, tern_dtype dtype, bool transposed) {
    const tn_type *x = c->in[0], *w = c->in[1];
    tn_type picked;
    if (x && c->node->n_in > MORE_MAPS) {
        picked = *x;
        picked.ranked = true;
        TN_TRY(tn_op_picked_shape(c, MORE_MAPS, &picked.shape));
        x = &picked;
    }
    if (!x || !w || !x->ranked || !w->ranked) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    tn_conv_dims d;
    TN_TRY(tn_ops_conv_dims(c->node, &x->shape, &w->shape, transposed, &d, c->err));
    TN_TRY(check_bias(c, 2, &d));
    tn_shape y = tn_ops_conv_out_shape(&d);
    TN_TRY(check_residual(c, &y));
    TN_TRY(check_scale(c, &x->shape));
    for (int i = 2; i < y.rank && is_pooled(c->node); i++)
        if (tn_dim_known(y.dims[i])) y.dims[i] /= 2;
    tn_infer_out(c, 0, dtype, &y);
    return infer_means(c, &y);
}

static tern_status infer_conv(tn_infer *c, uint32_t types, bool transposed) {
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_infer_want(c, i, types));
        if (i > 0) TN_TRY(tn_infer_same_type(c, 0, i));
    }
    return infer_shape(c, c->in[0] ? c->in[0]->dtype : TERN_UNDEFINED, transposed);
}

/* tern:Conv in bfloat16: weights and bias as they are, all maps but a plain X bfloat16. */
static tern_status infer_bf16(tn_infer *c) {
    for (int i = 0; i < c->node->n_in; i++) {
        uint32_t types = i == 3 ? TN_T(BFLOAT16) : i ? TN_T(FLOAT) : TN_T(FLOAT) | TN_T(BFLOAT16);
        TN_TRY(tn_infer_want(c, i, types));
    }
    return infer_shape(c, TERN_BFLOAT16, false);
}

static tern_status conv_infer(tn_infer *c) { return infer_conv(c, TN_TYPES_FLOAT, false); }

static tern_status fused_infer(tn_infer *c) {
    tn_act act;
    if (!tn_op_act(c->node, &act)) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    return tn_attr_i(c->node, "bf16", 0) ? infer_bf16(c) : infer_conv(c, TN_T(FLOAT), false);
}

/* ---- blocked ------------------------------------------------------------------------------------------------- */

/* False when the numbers do not fit the fast kernels' types. */
static bool to_blocked(const tn_conv_dims *d, bool plain_input, bool residual, const tn_act *act, tn_conv *out) {
    const tn_window *w = &d->w;
    if (w->rank != 2) return false;
    *out = (tn_conv){.n = d->n,
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
                     .in_plain = plain_input,
                     .residual = residual,
                     .act = *act};
    for (int i = 0; i < 2; i++) {
        /* Padding beyond the kernel would make windows that read nothing: left to the plain path. */
        if (w->pad[i] >= tn_window_extent(w, i) || w->pad_end[i] >= tn_window_extent(w, i)) return false;
        if (w->in[i] > INT32_MAX || w->out[i] > INT32_MAX || tn_window_extent(w, i) > INT32_MAX) return false;
    }
    return true;
}

static bool has_algorithm(const tn_conv *conv, tern_cpu_tier tier, bool bf16) {
    tn_bf16_algo algo;
    return bf16 ? tn_bf16_conv_select(tn_bf16_best(tier), conv, &algo) : tn_conv_select(tier, conv) != NULL;
}

/* Whether some other depth could leave an output nothing but padding. */
static bool leaves_gaps(const tn_shape *x, const tn_window *w) {
    return w->rank == 3 && !tn_dim_known(x->dims[2]) && w->dilation[0] > 1;
}

bool tn_op_conv_blocked_ok(const tn_node *node, tern_cpu_tier tier, bool plain_input, bool bf16) {
    const tn_value *xv = node->in[0], *wv = node->in[1];
    if (!xv || !wv || !wv->constant) return false;
    const tn_type *x = &xv->type;
    int rank = wv->constant->shape.rank;
    if (x->dtype != TERN_FLOAT || !x->ranked || x->shape.rank != rank || rank < 3 || rank > 5) return false;
    tn_act act;
    if (!tn_op_act(node, &act) || (bf16 && rank != 4)) return false;
    /* Free dims: a small picture and a large one must both find an algorithm. */
    for (int64_t size = 7; size <= 7 * 64; size *= 64) {
        tn_shape shape = x->shape;
        tn_conv_whole c = {.in_plain = plain_input, .act = act};
        tn_conv conv;
        if (!tn_dim_known(shape.dims[0])) shape.dims[0] = 1;
        for (int i = 2; i < rank; i++)
            if (!tn_dim_known(shape.dims[i])) shape.dims[i] = size + wv->constant->shape.dims[i] * 8;
        if (tn_ops_conv_dims(node, &shape, &wv->constant->shape, false, &c.d, NULL) != TERN_OK) return false;
        if (rank != 4 && (!tn_conv_parts_ok(&c, tier) || leaves_gaps(&x->shape, &c.d.w))) return false;
        if (rank == 4 && (!to_blocked(&c.d, plain_input, false, &act, &conv) || !has_algorithm(&conv, tier, bf16)))
            return false;
    }
    return true;
}

typedef struct pack_context {
    const tn_conv_algo *algo;
    tn_conv conv;
} pack_context;

static void pack_blocked(const void *context, const tern_tensor *value, void *dst) {
    const pack_context *p = context;
    p->algo->pack(&p->conv, value->data, dst);
}

static uint64_t pack_key(const tn_conv_algo *algo, const tn_conv *c) {
    return tn_hash(algo->name, strlen(algo->name), (uint64_t)c->groups * 2 + c->in_plain);
}

/* A compiled model has the weights as they are packed for the algorithm that was chosen then, maybe by timing. */
static const tn_conv_algo *compiled_algo(const tn_prepare *c, const tn_conv *conv) {
    enum { MOST = 8 };
    const tn_conv_algo *list[MOST];
    int count = tn_conv_candidates(c->tier, conv, list, MOST);
    for (int i = 0; i < count && count > 1; i++)
        if (tn_pack_is_compiled(c, 1, pack_key(list[i], conv), list[i]->packed_bytes(conv))) return list[i];
    return NULL;
}

static const tn_conv_algo *choose_algo(const tn_prepare *c, const tn_conv *conv) {
    if (c->tuner) return tn_tuner_conv(c->tuner, c->tier, c->threads, conv);
    const tn_conv_algo *algo = compiled_algo(c, conv);
    return algo ? algo : tn_conv_select(c->tier, conv);
}

/* The attribute map as runs of channels in blocks of the maps. */
static tern_status prepare_picks(tn_prepare *c, tn_conv *conv) {
    size_t count;
    const int64_t *map = tn_attr_ints(c->node, "map", &count);
    int block = c->out_block[0];
    tn_conv_pick *picks = tn_arena_array(c->arena, count + 1, sizeof *picks), *last = NULL;
    if (!picks) return tn_fail_oom(c->err, count * sizeof *picks);
    for (int i = MORE_MAPS; i < c->node->n_in; i++)
        if (c->in_block[i] != block || i - MORE_MAPS + 2 > TN_CONV_MAPS)
            return tn_fail(c->err, TERN_INTERNAL, "map %d in blocks of %d", i, c->in_block[i]);
    for (size_t k = 0; k < count; k++) {
        int from;
        int64_t channel;
        if (!tn_op_find_channel(c->in, c->node->n_in, MORE_MAPS, map[k], &from, &channel))
            return tn_fail(c->err, TERN_INVALID_MODEL, "map[%zu] is %lld: there is no such channel", k,
                           (long long)map[k]);
        int at = from ? from - MORE_MAPS + 1 : 0;
        if (last && last->map == at && last->first + last->count == channel && channel % block) {
            last->count++;
            continue;
        }
        last = last ? last + 1 : picks;
        *last = (tn_conv_pick){at, c->in[from]->shape.dims[1], channel, 1};
        conv->n_picks++;
    }
    conv->picks = picks;
    return TERN_OK;
}

static void pack_bf16(const void *context, const tern_tensor *value, void *dst) {
    const conv_state *s = context;
    tn_bf16_conv_pack(s->isa, s->bf16_algo, &s->conv, value->data, dst);
}

/* s->conv is set. */
static tern_status prepare_bf16(tn_prepare *c, conv_state *s) {
    s->isa = tn_bf16_best(c->tier);
    if (!tn_bf16_conv_select(s->isa, &s->conv, &s->bf16_algo))
        return tn_fail(c->err, TERN_INTERNAL, "no bfloat16 algorithm takes this convolution");
    s->kernel = tn_bf16_conv_name(s->isa, s->bf16_algo, &s->conv);
    uint64_t key = tn_hash(s->kernel, strlen(s->kernel), (uint64_t)s->conv.groups);
    s->packed = tn_pack_get(c, 1, key, tn_bf16_conv_packed_bytes(s->isa, s->bf16_algo, &s->conv), pack_bf16, s);
    if (!s->packed) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    c->workspace = tn_bf16_conv_workspace(s->isa, s->bf16_algo, &s->conv, c->threads);
    return TERN_OK;
}

static tern_status prepare_blocked(tn_prepare *c, conv_state *s, const tn_conv_dims *d) {
    bool residual = input(c->in, c->node, 3) != NULL, plain_input = c->in_block[0] == 0;
    int block = c->out_block[0];
    if (!c->value[1] || block != tn_conv_block(c->tier) || (!plain_input && c->in_block[0] != block) ||
        (residual && c->in_block[3] != block))
        return tn_fail(c->err, TERN_INTERNAL, "blocked convolution with X in blocks of %d, Y in blocks of %d",
                       c->in_block[0], block);
    if (d->w.rank != 2) {
        tn_conv_whole whole = {.d = *d, .in_plain = plain_input, .residual = residual, .act = s->act};
        s->parts = tn_conv_parts_prepare(c, &whole);
        if (!s->parts) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
        s->kernel = tn_conv_parts_name(s->parts);
        return TERN_OK;
    }
    bool fits = to_blocked(d, plain_input, residual, &s->act, &s->conv);
    if (fits && c->out[0].dtype == TERN_BFLOAT16) return prepare_bf16(c, s);
    s->conv.scaled = input(c->in, c->node, SCALE) != NULL;
    s->conv.means = c->node->n_out > 1 && c->node->out[1];
    s->conv.pooled = is_pooled(c->node);
    if (s->conv.scaled && c->in_block[SCALE] != block)
        return tn_fail(c->err, TERN_INTERNAL, "factors in blocks of %d", c->in_block[SCALE]);
    if (c->node->n_in > MORE_MAPS) TN_TRY(prepare_picks(c, &s->conv));
    if (fits) s->algo = choose_algo(c, &s->conv);
    if (!s->algo) return tn_fail(c->err, TERN_INTERNAL, "no blocked algorithm takes this convolution");
    s->kernel = s->algo->name;
    pack_context p = {s->algo, s->conv};
    s->packed =
        tn_pack_later(c, 1, pack_key(s->algo, &s->conv), s->algo->packed_bytes(&s->conv), pack_blocked, &p, sizeof p);
    if (!s->packed) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    c->workspace = s->algo->workspace(&s->conv, c->threads);
    return TERN_OK;
}

/* ---- prepare ------------------------------------------------------------------------------------------------- */

static void pack_f32(const void *context, const tern_tensor *value, void *dst) {
    (void)context;
    tn_ops_to_f32(value, dst);
}

/* Room for float32 copies of everything that is not float32. */
static tern_status reserve_wide(tn_prepare *c, conv_state *s, size_t *total) {
    const tn_conv_plain *p = &s->plain;
    int64_t w_count = p->d.oc * p->k;
    if (c->value[1]) {
        size_t bytes;
        if (!tn_mul_size((size_t)w_count, sizeof(float), &bytes)) return tn_fail_oom(c->err, SIZE_MAX);
        s->wide_w = tn_pack_get(c, 1, TERN_FLOAT, bytes, pack_f32, NULL);
        if (!s->wide_w) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    }
    bool ok = tn_ops_reserve(total, p->d.n * p->d.ic * p->in_sp, sizeof(float), &s->at_x) &&
              tn_ops_reserve(total, s->wide_w ? 0 : w_count, sizeof(float), &s->at_w) &&
              tn_ops_reserve(total, p->d.oc, sizeof(float), &s->at_b) &&
              tn_ops_reserve(total, p->d.n * p->d.oc * p->out_sp, sizeof(float), &s->at_y);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

static tern_status conv_prepare(tn_prepare *c) {
    conv_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    tn_conv_dims d;
    tn_shape x = c->in[0]->shape;
    size_t count;
    tn_attr_ints(c->node, "map", &count);
    if (c->node->n_in > MORE_MAPS && x.rank == 4) x.dims[1] = (int64_t)count;
    TN_TRY(tn_ops_conv_dims(c->node, &x, &c->in[1]->shape, false, &d, c->err));
    s->dtype = c->in[0]->dtype;
    if (!tn_op_act(c->node, &s->act)) return tn_fail(c->err, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    if (c->out_block[0]) return prepare_blocked(c, s, &d);
    if (c->node->n_in > SCALE || c->node->n_out > 1 || is_pooled(c->node))
        return tn_fail(c->err, TERN_INTERNAL, "factors, picked channels, means or maxima in plain layout");
    tn_conv_plain_options options = {.wide = s->dtype == TERN_DOUBLE, .residual = input(c->in, c->node, 3) != NULL};
    TN_TRY(tn_ops_conv_plain_init(&s->plain, &d, &options, c->tier, c->threads, c->err));
    size_t total = 0;
    bool wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    if (wide) TN_TRY(reserve_wide(c, s, &total));
    if (!tn_ops_reserve(&total, (int64_t)s->plain.workspace, 1, &s->at_plain)) return tn_fail_oom(c->err, SIZE_MAX);
    c->workspace = total;
    return TERN_OK;
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

static void run_wide(tn_run *c, const conv_state *s) {
    char *ws = c->workspace;
    float *x = (float *)(ws + s->at_x), *w = (float *)(ws + s->at_w), *b = (float *)(ws + s->at_b);
    float *y = (float *)(ws + s->at_y);
    const tern_tensor *bias = c->node->n_in > 2 ? c->in[2] : NULL;
    tn_ops_to_f32(c->in[0], x);
    if (!s->wide_w) tn_ops_to_f32(c->in[1], w);
    if (bias) tn_ops_to_f32(bias, b);
    tn_ops_conv_plain_f32(&s->plain, x, s->wide_w ? s->wide_w : w, bias ? b : NULL, NULL, &s->act, y, ws + s->at_plain);
    tn_ops_from_f32(y, c->out[0]);
}

/* Means of nothing. */
static void run_empty_means(const tern_tensor *mean) {
    float *y = mean->data;
    int64_t c = mean->shape.dims[1], stored = tn_round_up(c, mean->block);
    for (int64_t i = 0; i < mean->shape.dims[0] * stored; i++) y[i] = i % stored < c ? NAN : 0.0f;
}

static void run_blocked(tn_run *c, const conv_state *s, const void *bias, const void *residual) {
    const tn_node *n = c->node;
    const float *maps[TN_CONV_MAPS];
    tn_conv conv = s->conv;
    for (int i = 0; conv.n_picks && i < n->n_in; i = i ? i + 1 : MORE_MAPS)
        maps[i ? i - MORE_MAPS + 1 : 0] = c->in[i]->data;
    conv.maps = maps;
    if (conv.scaled) conv.scale = c->in[SCALE]->data;
    if (conv.means) conv.mean = c->out[1]->data;
    s->algo->run(&conv, c->in[0]->data, s->packed, bias, residual, c->out[0]->data, c->workspace, c->threads);
}

static tern_status conv_run(tn_run *c) {
    const conv_state *s = c->state;
    if (!c->out[0]) return TERN_OK;
    if (tn_shape_count(&c->out[0]->shape) == 0) {
        if (s->algo && s->conv.means) run_empty_means(c->out[1]);
        return TERN_OK;
    }
    const void *x = c->in[0]->data, *w = c->in[1]->data;
    const void *bias = c->node->n_in > 2 && c->in[2] ? c->in[2]->data : NULL;
    const void *residual = c->node->n_in > 3 && c->in[3] ? c->in[3]->data : NULL;
    void *y = c->out[0]->data;
    if (s->parts) {
        tn_conv_parts_run(s->parts, c, x, bias, residual, y);
    } else if (s->algo) {
        run_blocked(c, s, bias, residual);
    } else if (c->out[0]->block) {
        tn_bf16_conv_args a = {.x = x, .packed = s->packed, .bias = bias, .residual = residual, .y = y};
        tn_bf16_conv_run(s->isa, s->bf16_algo, &s->conv, &a, c->workspace, c->threads);
    } else if (s->dtype == TERN_DOUBLE)
        tn_ops_conv_plain_f64(&s->plain, x, w, bias, y);
    else if (s->dtype == TERN_FLOAT)
        tn_ops_conv_plain_f32(&s->plain, x, w, bias, residual, &s->act, y, (char *)c->workspace + s->at_plain);
    else
        run_wide(c, s);
    return TERN_OK;
}

int64_t tn_ops_conv_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    int64_t total = is_pooled(node) ? 4 : 1;
    for (int i = 0; i < out->shape.rank; i++)
        if (!tn_mul_i64(total, out->shape.dims[i], &total)) return INT64_MAX;
    for (int i = 1; i < in[1]->shape.rank; i++)
        if (!tn_mul_i64(total, in[1]->shape.dims[i], &total)) return INT64_MAX;
    return total;
}

const tn_op tn_op_conv = {.infer = conv_infer,
                          .prepare = conv_prepare,
                          .run = conv_run,
                          .min_in = 2,
                          .max_in = 3,
                          .min_out = 1,
                          .max_out = 1,
                          .flags = TN_OP_KERNEL_NAME | TN_OP_PACKS_BLOCKED,
                          .macs = tn_ops_conv_macs};

const tn_op tn_op_fused_conv = {.infer = fused_infer,
                                .prepare = conv_prepare,
                                .run = conv_run,
                                .min_in = 2,
                                .max_in = -1,
                                .min_out = 1,
                                .max_out = 2,
                                .flags = TN_OP_KERNEL_NAME | TN_OP_INPLACE_RESIDUAL | TN_OP_PACKS_BLOCKED,
                                .macs = tn_ops_conv_macs};
