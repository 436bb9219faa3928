/* BatchNormalization. A node normalises with the given statistics, or, in training mode, with those of the batch, which
 * it then also returns. Before version 14 the mode shows in the number of outputs. */
#include <math.h>

#include "ops/conv_internal.h"

typedef struct batchnorm_state {
    bool training, per_element; /* per_element: spatial = 0, statistics for every (c, spatial...) */
    double epsilon, momentum;
    int64_t n, params, inner; /* x is (n, params, inner) */
    int block;
} batchnorm_state;

static bool is_training(const tn_node *node) {
    if (node->since >= 14) return tn_attr_i(node, "training_mode", 0) != 0;
    for (int i = 1; i < node->n_out; i++)
        if (node->out[i]) return true;
    return false;
}

static bool is_per_element(const tn_node *node) { return node->since < 9 && tn_attr_i(node, "spatial", 1) == 0; }

/* ---- infer --------------------------------------------------------------------------------------------------- */

/* Shape of scale, bias and statistics; unknown rank: false. */
static bool params_shape(const tn_infer *c, const tn_type *x, tn_shape *out) {
    if (!x || !x->ranked || x->shape.rank < 1) return false;
    *out = (tn_shape){.rank = 1, .dims = {x->shape.rank == 1 ? 1 : x->shape.dims[1]}};
    if (is_per_element(c->node)) {
        out->rank = x->shape.rank - 1;
        memcpy(out->dims, x->shape.dims + 1, (size_t)out->rank * sizeof *out->dims);
    }
    return true;
}

static tern_status check_params(tn_infer *c, int i, const tn_shape *want) {
    const tn_type *t = c->in[i];
    if (!t || !t->ranked) return TERN_OK;
    bool ok = t->shape.rank == want->rank;
    for (int d = 0; ok && d < want->rank; d++)
        ok = !tn_dim_known(t->shape.dims[d]) || !tn_dim_known(want->dims[d]) || t->shape.dims[d] == want->dims[d];
    if (ok) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s; X asks for %s", i,
                         tn_shape_text(&t->shape, a, sizeof a), tn_shape_text(want, b, sizeof b));
}

static tern_status batchnorm_infer(tn_infer *c) {
    const tn_type *x = c->in[0];
    bool mixed = c->node->since >= 14; /* statistics and parameters may have types of their own */
    for (int i = 0; i < 5; i++) {
        TN_TRY(tn_infer_want(c, i, TN_TYPES_FLOAT));
        if (!mixed) TN_TRY(tn_infer_same_type(c, 0, i));
    }
    TN_TRY(tn_infer_same_type(c, 1, 2));
    TN_TRY(tn_infer_same_type(c, 3, 4));
    if (x && x->ranked && x->shape.rank < 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X is a scalar");
    tn_infer_out_like(c, 0, 0);
    tn_shape params;
    bool known = params_shape(c, x, &params);
    for (int i = 1; known && i < 5; i++) TN_TRY(check_params(c, i, &params));
    for (int o = 1; o < c->node->n_out; o++)
        tn_infer_out(c, o, c->in[3] ? c->in[3]->dtype : TERN_UNDEFINED, known ? &params : NULL);
    return TERN_OK;
}

/* ---- prepare ------------------------------------------------------------------------------------------------- */

static bool batchnorm_blocked_ok(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value,
                                 int block) {
    (void)value, (void)block;
    return in[0]->dtype == TERN_FLOAT && !is_training(node) && !is_per_element(node);
}

static tern_status batchnorm_prepare(tn_prepare *c) {
    batchnorm_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    const tn_shape *x = &c->in[0]->shape;
    s->training = is_training(c->node);
    s->per_element = is_per_element(c->node);
    s->epsilon = (double)tn_attr_f(c->node, "epsilon", 1e-5f);
    s->momentum = (double)tn_attr_f(c->node, "momentum", 0.9f);
    s->n = x->dims[0];
    s->params = x->rank == 1 ? 1 : s->per_element ? tn_shape_count_range(x, 1, x->rank) : x->dims[1];
    s->inner = x->rank == 1 || s->per_element ? 1 : tn_shape_count_range(x, 2, x->rank);
    s->block = c->out_block[0];
    size_t at;
    /* Per parameter: mean, factor and bias. */
    int64_t count = s->block ? tn_round_up(s->params, s->block) : s->params;
    return tn_ops_reserve(&c->workspace, count, 3 * sizeof(double), &at) ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

typedef struct batchnorm_args {
    const batchnorm_state *s;
    tern_dtype dtype;
    const void *x;
    void *y;
    const double *params; /* mean, factor, bias of each */
} batchnorm_args;

#define CHUNK 256

/* `n` elements from `at` on as floats. */
static void load(const batchnorm_args *r, int64_t at, float *dst, size_t n) {
    const uint16_t *x = (const uint16_t *)r->x + at;
    if (r->dtype == TERN_FLOAT16)
        tn_f16_to_f32_n(x, dst, n);
    else
        tn_bf16_to_f32_n(x, dst, n);
}

static void store(const batchnorm_args *r, int64_t at, const float *src, size_t n) {
    uint16_t *y = (uint16_t *)r->y + at;
    if (r->dtype == TERN_FLOAT16)
        tn_f32_to_f16_n(src, y, n);
    else
        tn_f32_to_bf16_n(src, y, n);
}

static void line_f32(const float *x, float *y, int64_t n, const double *p) {
    float mean = (float)p[0], factor = (float)p[1], bias = (float)p[2];
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * factor + bias;
}

static void line_f64(const double *x, double *y, int64_t n, const double *p) {
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - p[0]) * p[1] + p[2];
}

static void line_small(const batchnorm_args *r, int64_t at, int64_t n, const double *p) {
    float buffer[CHUNK];
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t m = TN_MIN(n - i, (int64_t)CHUNK);
        load(r, at + i, buffer, (size_t)m);
        line_f32(buffer, buffer, m, p);
        store(r, at + i, buffer, (size_t)m);
    }
}

/* A task is the plane of one parameter in one image. */
static void normalize(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const batchnorm_args *r = context;
    const batchnorm_state *s = r->s;
    for (int64_t task = begin; task < end; task++) {
        int64_t at = task * s->inner;
        const double *p = r->params + task % s->params * 3;
        if (r->dtype == TERN_FLOAT)
            line_f32((const float *)r->x + at, (float *)r->y + at, s->inner, p);
        else if (r->dtype == TERN_DOUBLE)
            line_f64((const double *)r->x + at, (double *)r->y + at, s->inner, p);
        else
            line_small(r, at, s->inner, p);
    }
}

/* A task is one block of channels of one image. */
static void normalize_blocked(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const batchnorm_args *r = context;
    const batchnorm_state *s = r->s;
    int64_t blocks = tn_ceil_div(s->params, s->block);
    for (int64_t task = begin; task < end; task++) {
        float mean[16], factor[16], bias[16];
        for (int l = 0; l < s->block; l++) {
            const double *p = r->params + (task % blocks * s->block + l) * 3;
            mean[l] = (float)p[0], factor[l] = (float)p[1], bias[l] = (float)p[2];
        }
        const float *x = (const float *)r->x + task * s->inner * s->block;
        float *y = (float *)r->y + task * s->inner * s->block;
        for (int64_t i = 0; i < s->inner; i++, x += s->block, y += s->block)
            for (int l = 0; l < s->block; l++) y[l] = (x[l] - mean[l]) * factor[l] + bias[l];
    }
}

/* Mean and variance of parameter `c` over the batch. */
static void statistics(const batchnorm_state *s, const tern_tensor *x, int64_t c, double *mean, double *variance) {
    double count = (double)s->n * (double)s->inner, sum = 0, square = 0;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t i = 0; i < s->inner; i++) sum += tn_tensor_get_f64(x, (n * s->params + c) * s->inner + i);
    *mean = sum / count;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t i = 0; i < s->inner; i++) {
            double d = tn_tensor_get_f64(x, (n * s->params + c) * s->inner + i) - *mean;
            square += d * d;
        }
    *variance = square / count;
}

static void set_float(tern_tensor *t, int64_t i, double v) {
    if (!t) return;
    if (t->dtype == TERN_DOUBLE)
        ((double *)t->data)[i] = v;
    else if (t->dtype == TERN_FLOAT)
        ((float *)t->data)[i] = (float)v;
    else
        ((uint16_t *)t->data)[i] = t->dtype == TERN_FLOAT16 ? tn_f32_to_f16((float)v) : tn_f32_to_bf16((float)v);
}

/* Outputs 1..4: running mean and variance, then (before version 14) the batch's own. */
static void store_statistics(tn_run *c, const batchnorm_state *s, int64_t i, double mean, double variance) {
    double running[4] = {tn_tensor_get_f64(c->in[3], i) * s->momentum + mean * (1 - s->momentum),
                         tn_tensor_get_f64(c->in[4], i) * s->momentum + variance * (1 - s->momentum), mean, variance};
    for (int o = 1; o < c->node->n_out && o < 5; o++) set_float(c->out[o], i, running[o - 1]);
}

static tern_status batchnorm_run(tn_run *c) {
    const batchnorm_state *s = c->state;
    double *params = c->workspace;
    for (int64_t i = 0; i < s->params; i++) {
        double mean = tn_tensor_get_f64(c->in[3], i), variance = tn_tensor_get_f64(c->in[4], i);
        if (s->training) {
            statistics(s, c->in[0], i, &mean, &variance);
            store_statistics(c, s, i, mean, variance);
        }
        params[3 * i] = mean;
        params[3 * i + 1] = tn_tensor_get_f64(c->in[1], i) / sqrt(variance + s->epsilon);
        params[3 * i + 2] = tn_tensor_get_f64(c->in[2], i);
    }
    if (!c->out[0] || tn_shape_count(&c->out[0]->shape) == 0) return TERN_OK;
    batchnorm_args r = {s, c->in[0]->dtype, c->in[0]->data, c->out[0]->data, params};
    if (s->block) {
        int64_t padded = tn_round_up(s->params, s->block);
        memset(params + 3 * s->params, 0, (size_t)(padded - s->params) * 3 * sizeof *params); /* zeros stay zeros */
        tn_parallel_for(c->threads, s->n * (padded / s->block), normalize_blocked, &r);
    } else {
        tn_parallel_for(c->threads, s->n * s->params, normalize, &r);
    }
    return TERN_OK;
}

const tn_op tn_op_batch_norm = {.infer = batchnorm_infer,
                                .prepare = batchnorm_prepare,
                                .run = batchnorm_run,
                                .min_in = 5,
                                .max_in = 5,
                                .min_out = 1,
                                .max_out = 5,
                                .flags = TN_OP_INPLACE | TN_OP_BLOCKED,
                                .blocked_ok = batchnorm_blocked_ok};
