/* LinearAttention and CausalConvWithState: the recurrent layers of state-space and linear-attention models. States are
 * float32 while they run. */
#include "kernels/act.h"
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define REALS (TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16))

/* ---- LinearAttention: shapes ----------------------------------------------------------------------------------- */

typedef struct linear_dims {
    int64_t q_heads, kv_heads;
    bool gated, delta; /* decays the state; corrects what it holds for the key */
} linear_dims;

static tern_status linear_rule(const tn_node *n, linear_dims *d, tern_error *err) {
    static const char *const names[] = {"linear", "gated", "delta", "gated_delta"};
    d->q_heads = tn_attr_i(n, "q_num_heads", 0);
    d->kv_heads = tn_attr_i(n, "kv_num_heads", 0);
    if (d->q_heads < 1 || d->kv_heads < 1 || d->q_heads % d->kv_heads)
        return tn_fail(err, TERN_INVALID_MODEL, "q_num_heads %lld is not a multiple of kv_num_heads %lld",
                       (long long)d->q_heads, (long long)d->kv_heads);
    for (int i = 0; i < 4; i++) {
        if (!tn_attr_is(n, "update_rule", "gated_delta", names[i])) continue;
        d->gated = i & 1;
        d->delta = i & 2;
        return TERN_OK;
    }
    tn_str rule = tn_attr_s(n, "update_rule", "");
    return tn_fail(err, TERN_INVALID_MODEL, "update_rule '%.*s' is not linear, gated, delta or gated_delta",
                   (int)TN_MIN(rule.len, (size_t)40), rule.data);
}

/* Input i is there exactly when the rule needs it. */
static tern_status linear_optional(tn_infer *c, int i, const char *what, bool needed) {
    if (tn_args_has(c, i) == needed) return needed ? tn_args_need(c, i, REALS) : TERN_OK;
    tn_str rule = tn_attr_s(c->node, "update_rule", "gated_delta");
    return tn_infer_fail(c, TERN_INVALID_MODEL, "update_rule '%.*s' %s the input %s", (int)rule.len, rule.data,
                         needed ? "needs" : "does not take", what);
}

/* A (batch, time, heads * size) input; *size is unknown when its last dim is. */
static tern_status packed_dims(tn_infer *c, int i, int64_t heads, int64_t *size, tn_shape *batch_time) {
    tn_shape s;
    *size = TN_DIM_UNKNOWN;
    if (!tn_args_shape(c, i, &s)) return TERN_OK;
    if (s.rank != 3) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d instead of 3", i, s.rank);
    for (int d = 0; d < 2; d++) {
        if (!tn_dim_known(batch_time->dims[d])) batch_time->dims[d] = s.dims[d];
        if (tn_dim_known(s.dims[d]) && tn_dim_known(batch_time->dims[d]) && s.dims[d] != batch_time->dims[d])
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d of input %d is %lld, of others %lld", d, i,
                                 (long long)s.dims[d], (long long)batch_time->dims[d]);
    }
    if (!tn_dim_known(s.dims[2])) return TERN_OK;
    if (heads && s.dims[2] % heads)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the last dim %lld of input %d is not a multiple of %lld heads",
                             (long long)s.dims[2], i, (long long)heads);
    *size = heads ? s.dims[2] / heads : s.dims[2];
    return TERN_OK;
}

/* The last dim of decay (input 4) or beta (input 5) is one of two numbers. */
static tern_status gate_dim(tn_infer *c, int i, int64_t a, int64_t b, tn_shape *batch_time) {
    int64_t n;
    if (!tn_args_has(c, i)) return TERN_OK;
    TN_TRY(packed_dims(c, i, 0, &n, batch_time));
    if (!tn_dim_known(n) || !tn_dim_known(a) || !tn_dim_known(b) || n == a || n == b) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the last dim of input %d is %lld, not %lld or %lld", i, (long long)n,
                         (long long)a, (long long)b);
}

static tern_status check_state(tn_infer *c, const tn_shape *want) {
    tn_shape s;
    if (!tn_args_has(c, 3)) return TERN_OK;
    TN_TRY(tn_args_need(c, 3, REALS));
    if (!tn_args_shape(c, 3, &s)) return TERN_OK;
    bool fits = s.rank == want->rank;
    for (int i = 0; fits && i < s.rank; i++)
        fits = !tn_dim_known(s.dims[i]) || !tn_dim_known(want->dims[i]) || s.dims[i] == want->dims[i];
    if (fits) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "past_state has shape %s instead of %s",
                         tn_shape_text(&s, a, sizeof a), tn_shape_text(want, b, sizeof b));
}

static tern_status infer_linear_attention(tn_infer *c) {
    linear_dims d;
    TN_TRY(linear_rule(c->node, &d, c->err));
    for (int i = 0; i < 3; i++) {
        TN_TRY(tn_args_need(c, i, REALS));
        TN_TRY(tn_infer_same_type(c, 0, i));
    }
    TN_TRY(linear_optional(c, 4, "decay", d.gated));
    TN_TRY(linear_optional(c, 5, "beta", d.delta));
    tn_shape bt = tn_args_unknown_dims(2);
    int64_t dk, key, dv;
    TN_TRY(packed_dims(c, 0, d.q_heads, &dk, &bt));
    TN_TRY(packed_dims(c, 1, d.kv_heads, &key, &bt));
    TN_TRY(packed_dims(c, 2, d.kv_heads, &dv, &bt));
    if (!tn_dim_known(dk)) dk = key;
    if (tn_dim_known(key) && key != dk)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "heads of %lld elements in the query, of %lld in the key",
                             (long long)dk, (long long)key);
    int64_t all;
    if (!tn_dim_known(dk) || !tn_mul_i64(dk, d.kv_heads, &all)) all = TN_DIM_UNKNOWN;
    TN_TRY(gate_dim(c, 4, d.kv_heads, all, &bt));
    TN_TRY(gate_dim(c, 5, d.kv_heads, 1, &bt));
    tn_shape out = {.rank = 3, .dims = {bt.dims[0], bt.dims[1], TN_DIM_UNKNOWN}};
    if (tn_dim_known(dv) && !tn_mul_i64(dv, d.q_heads, &out.dims[2]))
        return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "%lld heads of %lld elements", (long long)d.q_heads,
                             (long long)dv);
    tn_shape state = {.rank = 4, .dims = {bt.dims[0], d.kv_heads, dk, dv}};
    TN_TRY(check_state(c, &state));
    TN_TRY(tn_args_out_shape(c, 0, c->in[0]->dtype, &out));
    return tn_args_out_shape(c, 1, tn_args_has(c, 3) ? c->in[3]->dtype : c->in[0]->dtype, &state);
}

/* ---- LinearAttention: run -------------------------------------------------------------------------------------- */

typedef struct linear_attention {
    linear_dims d;
    const tern_tensor *q, *k, *v, *past, *decay, *beta;
    tern_tensor *out, *present;
    int64_t time, dk, dv, group, decay_last, beta_last;
    float scale;
    float *work; /* per worker: state, q, k, v, decay, sums */
    size_t work_step;
} linear_attention;

/* s[i] *= exp(g): one decay for all rows, or one for each. */
static void decay_state(const linear_attention *a, float *s, int64_t row, int64_t head, float *g) {
    bool each = a->decay_last != a->d.kv_heads;
    int64_t n = each ? a->dk : 1;
    tn_row_load_f32(a->decay->dtype, a->decay->data, row * a->decay_last + head * n, n, g);
    for (int64_t i = 0; i < a->dk; i++) {
        float f = expf(g[each ? i : 0]);
        for (int64_t j = 0; j < a->dv; j++) s[i * a->dv + j] *= f;
    }
}

/* y = x^T S. */
static void read_state(const linear_attention *a, const float *s, const float *x, float *restrict y) {
    memset(y, 0, (size_t)a->dv * sizeof *y);
    for (int64_t i = 0; i < a->dk; i++)
        for (int64_t j = 0; j < a->dv; j++) y[j] += x[i] * s[i * a->dv + j];
}

/* v = beta (v - S^T k): what the state holds for this key goes. */
static void correct_value(const linear_attention *a, const float *s, int64_t row, int64_t head, const float *k,
                          float *v, float *sums) {
    float beta;
    tn_row_load_f32(a->beta->dtype, a->beta->data, row * a->beta_last + (a->beta_last == 1 ? 0 : head), 1, &beta);
    read_state(a, s, k, sums);
    for (int64_t j = 0; j < a->dv; j++) v[j] = beta * (v[j] - sums[j]);
}

static void linear_step(const linear_attention *a, float *s, int64_t row, int64_t head) {
    float *q = s + a->dk * a->dv, *k = q + a->dk, *v = k + a->dk, *g = v + a->dv, *sums = g + a->dk;
    tn_row_load_f32(a->k->dtype, a->k->data, (row * a->d.kv_heads + head) * a->dk, a->dk, k);
    tn_row_load_f32(a->v->dtype, a->v->data, (row * a->d.kv_heads + head) * a->dv, a->dv, v);
    if (a->decay) decay_state(a, s, row, head, g);
    if (a->beta) correct_value(a, s, row, head, k, v, sums);
    for (int64_t i = 0; i < a->dk; i++)
        for (int64_t j = 0; j < a->dv; j++) s[i * a->dv + j] += k[i] * v[j];
    for (int64_t h = head * a->group; a->out && h < (head + 1) * a->group; h++) {
        tn_row_load_f32(a->q->dtype, a->q->data, (row * a->d.q_heads + h) * a->dk, a->dk, q);
        read_state(a, s, q, sums);
        for (int64_t j = 0; j < a->dv; j++) sums[j] *= a->scale;
        tn_row_store_f32(a->out->dtype, a->out->data, (row * a->d.q_heads + h) * a->dv, a->dv, sums);
    }
}

/* A task is a head of keys and values of one sample. */
static void linear_task(void *context, int64_t begin, int64_t end, int worker) {
    const linear_attention *a = context;
    float *s = a->work + (size_t)worker * a->work_step;
    int64_t n = a->dk * a->dv;
    for (int64_t t = begin; t < end; t++) {
        if (a->past)
            tn_row_load_f32(a->past->dtype, a->past->data, t * n, n, s);
        else
            memset(s, 0, (size_t)n * sizeof *s);
        int64_t row = t / a->d.kv_heads * a->time;
        for (int64_t i = 0; i < a->time; i++) linear_step(a, s, row + i, t % a->d.kv_heads);
        if (a->present) tn_row_store_f32(a->present->dtype, a->present->data, t * n, n, s);
    }
}

static tern_status run_linear_attention(tn_run *c) {
    linear_attention a = {.q = c->in[0],
                          .k = c->in[1],
                          .v = c->in[2],
                          .past = tn_args_in(c, 3),
                          .decay = tn_args_in(c, 4),
                          .beta = tn_args_in(c, 5),
                          .out = tn_args_out(c, 0),
                          .present = tn_args_out(c, 1)};
    TN_TRY(linear_rule(c->node, &a.d, c->err));
    a.time = a.q->shape.dims[1];
    a.dk = a.q->shape.dims[2] / a.d.q_heads;
    a.dv = a.v->shape.dims[2] / a.d.kv_heads;
    a.group = a.d.q_heads / a.d.kv_heads;
    a.decay_last = a.decay ? a.decay->shape.dims[2] : 0;
    a.beta_last = a.beta ? a.beta->shape.dims[2] : 0;
    a.scale = tn_attr_f(c->node, "scale", 0);
    if (a.scale == 0) a.scale = (float)(1 / sqrt((double)a.dk));
    int64_t n, tasks = a.q->shape.dims[0] * a.d.kv_heads;
    if (!tn_mul_i64(a.dk, a.dv, &n) || !tn_add_i64(n, 3 * a.dk + 2 * a.dv, &n)) return tn_fail_oom(c->err, SIZE_MAX);
    int threads = (int)TN_MIN((int64_t)c->threads, TN_MAX(tasks, (int64_t)1));
    a.work_step = (size_t)n;
    size_t bytes;
    if (!tn_mul_size(a.work_step, (size_t)threads * sizeof *a.work, &bytes) || !(a.work = tn_alloc(bytes)))
        return tn_fail_oom(c->err, a.work_step);
    tn_parallel_for(threads, tasks, linear_task, &a);
    tn_free(a.work);
    return TERN_OK;
}

const tn_op tn_op_linear_attention = TN_ARGS_OP(infer_linear_attention, run_linear_attention, 3, 6, 1, 2, 0);

/* ---- CausalConvWithState --------------------------------------------------------------------------------------- */

static bool causal_activation(const tn_node *n, bool *silu) {
    *silu = tn_attr_is(n, "activation", "none", "silu") || tn_attr_is(n, "activation", "none", "swish");
    return *silu || tn_attr_is(n, "activation", "none", "none");
}

/* Takes over a known dim, or compares it with the one known before. */
static tern_status join_dim(tn_infer *c, const char *what, int64_t d, int64_t *known) {
    if (!tn_dim_known(*known)) *known = d;
    if (!tn_dim_known(d) || d == *known) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s is %lld, but %lld by another input", what, (long long)d,
                         (long long)*known);
}

static tern_status infer_causal_conv(tn_infer *c) {
    bool silu;
    tn_str act = tn_attr_s(c->node, "activation", "none");
    if (!causal_activation(c->node, &silu))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "activation '%.*s' is not none, silu or swish",
                             (int)TN_MIN(act.len, (size_t)40), act.data);
    int64_t batch = TN_DIM_UNKNOWN, channels = TN_DIM_UNKNOWN, length = TN_DIM_UNKNOWN, k = TN_DIM_UNKNOWN;
    static const int ranks[4] = {3, 3, 1, 3};
    tn_shape s[4];
    bool have[4];
    for (int i = 0; i < 4; i++) {
        if (i < 2 || tn_args_has(c, i)) {
            TN_TRY(tn_args_need(c, i, REALS));
            TN_TRY(tn_infer_same_type(c, 0, i));
        }
        have[i] = tn_args_shape(c, i, &s[i]);
        if (have[i] && s[i].rank != ranks[i])
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d instead of %d", i, s[i].rank, ranks[i]);
    }
    if (have[0]) batch = s[0].dims[0], channels = s[0].dims[1], length = s[0].dims[2];
    if (have[1]) {
        TN_TRY(join_dim(c, "the number of channels", s[1].dims[0], &channels));
        k = s[1].dims[2];
        if (tn_dim_known(k) && k < 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the kernel has no element");
        if (tn_dim_known(s[1].dims[1]) && s[1].dims[1] != 1)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim 1 of the weight is %lld, not 1 (depthwise)",
                                 (long long)s[1].dims[1]);
    }
    int64_t carry = tn_dim_known(k) ? k - 1 : TN_DIM_UNKNOWN;
    if (have[2]) TN_TRY(join_dim(c, "the number of channels", s[2].dims[0], &channels));
    if (have[3]) {
        TN_TRY(join_dim(c, "the batch", s[3].dims[0], &batch));
        TN_TRY(join_dim(c, "the number of channels", s[3].dims[1], &channels));
        TN_TRY(join_dim(c, "the length of the state", s[3].dims[2], &carry));
    }
    tn_shape out = {.rank = 3, .dims = {batch, channels, length}},
             state = {.rank = 3, .dims = {batch, channels, carry}};
    TN_TRY(tn_args_out_shape(c, 0, c->in[0]->dtype, &out));
    return tn_args_out_shape(c, 1, c->in[0]->dtype, &state);
}

typedef struct causal_conv {
    const tern_tensor *x, *w, *bias, *past;
    tern_tensor *y, *present;
    int64_t channels, length, k;
    bool silu;
    tern_cpu_tier tier;
    float *work; /* per worker: k - 1 past elements and the line, the kernel, the sums */
    size_t work_step;
} causal_conv;

static void causal_task(void *context, int64_t begin, int64_t end, int worker) {
    static const tn_act silu = {.kind = TN_ACT_SILU, .alpha = 1};
    const causal_conv *a = context;
    int64_t carry = a->k - 1;
    float *line = a->work + (size_t)worker * a->work_step, *w = line + carry + a->length, *y = w + a->k;
    tern_dtype t = a->x->dtype;
    for (int64_t row = begin; row < end; row++) {
        int64_t channel = row % a->channels;
        float bias = 0;
        memset(line, 0, (size_t)carry * sizeof *line);
        if (a->past) tn_row_load_f32(t, a->past->data, row * carry, carry, line);
        tn_row_load_f32(t, a->x->data, row * a->length, a->length, line + carry);
        tn_row_load_f32(t, a->w->data, channel * a->k, a->k, w);
        if (a->bias) tn_row_load_f32(t, a->bias->data, channel, 1, &bias);
        for (int64_t i = 0; i < a->length; i++) y[i] = bias;
        for (int64_t j = 0; j < a->k; j++)
            for (int64_t i = 0; i < a->length; i++) y[i] += w[j] * line[i + j];
        if (a->silu) tn_act_f32(a->tier, &silu, y, y, (size_t)a->length);
        if (a->y) tn_row_store_f32(t, a->y->data, row * a->length, a->length, y);
        if (a->present) tn_row_store_f32(t, a->present->data, row * carry, carry, line + a->length);
    }
}

static tern_status run_causal_conv(tn_run *c) {
    causal_conv a = {.x = c->in[0],
                     .w = c->in[1],
                     .bias = tn_args_in(c, 2),
                     .past = tn_args_in(c, 3),
                     .y = tn_args_out(c, 0),
                     .present = tn_args_out(c, 1),
                     .tier = c->tier};
    causal_activation(c->node, &a.silu);
    a.channels = a.x->shape.dims[1];
    a.length = a.x->shape.dims[2];
    a.k = a.w->shape.dims[2];
    int64_t rows = a.x->shape.dims[0] * a.channels;
    if (rows == 0) return TERN_OK;
    int threads = rows * a.length < 4096 ? 1 : (int)TN_MIN((int64_t)c->threads, rows);
    a.work_step = (size_t)(2 * a.length + 2 * a.k);
    size_t bytes;
    if (!tn_mul_size(a.work_step, (size_t)threads * sizeof *a.work, &bytes) || !(a.work = tn_alloc(bytes)))
        return tn_fail_oom(c->err, a.work_step);
    tn_parallel_for(threads, rows, causal_task, &a);
    tn_free(a.work);
    return TERN_OK;
}

const tn_op tn_op_causal_conv = TN_ARGS_OP(infer_causal_conv, run_causal_conv, 2, 4, 1, 2, 0);
