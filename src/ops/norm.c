/* Normalisations: LayerNormalization, RMSNormalization, InstanceNormalization, GroupNormalization, LRN,
 * LpNormalization, MeanVarianceNormalization. Sums are taken in double, in LANES independent chains; mean and variance
 * in two passes. Elements are float (float16 and bfloat16 converted) or double. */
#include "kernels/eltwise.h"
#include "kernels/row.h"
#include "ops/args.h"
#include "ops/copy.h"
#include "ops/rowio.h"

#include <math.h>

#define CHUNK 512
#define LANES 8

/* ---- rows -------------------------------------------------------------------------------------------------- */

/* n <= CHUNK elements as float, in place where they are float already. */
static const float *row_f32(tern_dtype t, const void *data, int64_t at, int64_t n, float *buf) {
    if (t == TERN_FLOAT) return (const float *)data + at;
    tn_row_load_f32(t, data, at, n, buf);
    return buf;
}

static double join_lanes(const double *lane) {
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

#define ADD_LANES(X, TERM)                     \
    do {                                       \
        int64_t i = 0;                         \
        for (; i + LANES <= m; i += LANES)     \
            for (int l = 0; l < LANES; l++) {  \
                double v = (double)(X)[i + l]; \
                lane[l] += (TERM);             \
            }                                  \
        for (int l = 0; i < m; i++, l++) {     \
            double v = (double)(X)[i];         \
            lane[l] += (TERM);                 \
        }                                      \
    } while (0)

/* Sum of (x - mean)^power over n elements; power 1 or 2. */
static double sum_power(tern_cpu_tier tier, tern_dtype t, const void *data, int64_t at, int64_t n, double mean,
                        int power) {
    double lane[LANES] = {0}, sum = 0;
    float buf[CHUNK];
    for (int64_t j = 0; j < n; j += CHUNK) {
        int64_t m = TN_MIN((int64_t)CHUNK, n - j);
        if (t == TERN_DOUBLE) {
            const double *x = (const double *)data + at + j;
            if (power == 1)
                ADD_LANES(x, v);
            else
                ADD_LANES(x, (v - mean) * (v - mean));
        } else {
            const float *x = row_f32(t, data, at + j, m, buf);
            sum += power == 1 ? tn_row_sum_f32(tier, x, (size_t)m) : tn_row_square_f32(tier, x, (float)mean, (size_t)m);
        }
    }
    return t == TERN_DOUBLE ? join_lanes(lane) : sum;
}

/* y = (x - mean) * scale + bias over n elements. */
static void apply_scalar(tern_dtype t, const void *x, void *y, int64_t at, int64_t n, double mean, double scale,
                         double bias) {
    float buf[CHUNK], out[CHUNK];
    if (t == TERN_DOUBLE) {
        const double *p = (const double *)x + at;
        double *q = (double *)y + at;
        for (int64_t i = 0; i < n; i++) q[i] = (p[i] - mean) * scale + bias;
        return;
    }
    float fm = (float)mean, fs = (float)scale, fb = (float)bias;
    for (int64_t j = 0; j < n; j += CHUNK) {
        int64_t m = TN_MIN((int64_t)CHUNK, n - j);
        const float *p = row_f32(t, x, at + j, m, buf);
        float *q = t == TERN_FLOAT ? (float *)y + at + j : out;
        for (int64_t i = 0; i < m; i++) q[i] = (p[i] - fm) * fs + fb;
        if (t != TERN_FLOAT) tn_row_store_f32(t, y, at + j, m, q);
    }
}

/* y = (x - mean) * inv * scale[i] + bias[i]; scale and bias have the type st and start at sat. bias may be NULL. */
typedef struct affine {
    const void *scale, *bias;
    tern_dtype type;
} affine;

static void apply_vector(tern_cpu_tier tier, tern_dtype t, const void *x, void *y, int64_t at, int64_t n, double mean,
                         double inv, const affine *a, int64_t sat) {
    float xb[CHUNK], sb[CHUNK], bb[CHUNK], out[CHUNK];
    if (t == TERN_DOUBLE || a->type == TERN_DOUBLE) {
        for (int64_t i = 0; i < n; i++) {
            double v, s, b = 0;
            tn_row_load_f64(t, x, at + i, 1, &v);
            tn_row_load_f64(a->type, a->scale, sat + i, 1, &s);
            if (a->bias) tn_row_load_f64(a->type, a->bias, sat + i, 1, &b);
            v = (v - mean) * inv * s + b;
            tn_row_store_f64(t, y, at + i, 1, &v);
        }
        return;
    }
    float fm = (float)mean, fi = (float)inv;
    for (int64_t j = 0; j < n; j += CHUNK) {
        int64_t m = TN_MIN((int64_t)CHUNK, n - j);
        const float *p = row_f32(t, x, at + j, m, xb), *s = row_f32(a->type, a->scale, sat + j, m, sb);
        float *q = t == TERN_FLOAT ? (float *)y + at + j : out;
        const float *b = a->bias ? row_f32(a->type, a->bias, sat + j, m, bb) : NULL;
        tn_row_normalize_f32(tier, p, fm, fi, s, b, q, (size_t)m);
        if (t != TERN_FLOAT) tn_row_store_f32(t, y, at + j, m, q);
    }
}

/* ---- LayerNormalization, RMSNormalization ------------------------------------------------------------------- */

static tern_status stash_type(const tn_node *n, tern_dtype *out, tern_error *err) {
    int64_t s = tn_attr_i(n, "stash_type", TERN_FLOAT);
    *out = (tern_dtype)s;
    if (s > 0 && s < TERN_DTYPE_COUNT && tn_type_in((tern_dtype)s, TN_TYPES_FLOAT)) return TERN_OK;
    return tn_fail(err, TERN_INVALID_MODEL, "stash_type is %lld, not a float type", (long long)s);
}

static tern_status infer_layer_norm(tn_infer *c) {
    tern_dtype stash;
    TN_TRY(stash_type(c->node, &stash, c->err));
    for (int i = 0; i < c->node->n_in; i++)
        if (i < 2 || c->in[i]) TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
    tn_shape s, p, out;
    tn_infer_out_like(c, 0, 0);
    if (!tn_args_shape(c, 0, &s)) {
        for (int o = 1; o < c->node->n_out; o++) tn_infer_out(c, o, stash, NULL);
        return TERN_OK;
    }
    int axis;
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", -1), s.rank, &axis, "axis"));
    for (int i = 1; i < c->node->n_in; i++) {
        if (!tn_args_shape(c, i, &p)) continue;
        const tn_shape *both[2] = {&s, &p};
        TN_TRY(tn_infer_broadcast(c, both, 2, &out));
        bool same = out.rank == s.rank;
        for (int d = 0; same && d < s.rank; d++)
            if (tn_dim_known(s.dims[d]) && out.dims[d] != s.dims[d]) same = false;
        if (same) continue;
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d of shape %s does not broadcast to %s", i,
                             tn_shape_text(&p, a, sizeof a), tn_shape_text(&s, b, sizeof b));
    }
    for (int i = axis; i < s.rank; i++) s.dims[i] = 1;
    for (int o = 1; o < c->node->n_out; o++) tn_infer_out(c, o, stash, &s);
    return TERN_OK;
}

/* Does the parameter's shape, but for leading ones, equal dims [axis, rank) of the data? */
static bool is_inner_shape(const tn_shape *p, const tn_shape *s, int axis) {
    for (int i = 0; i < s->rank; i++) {
        int k = i - (s->rank - p->rank);
        int64_t d = k < 0 ? 1 : p->dims[k];
        if (d != (i < axis ? 1 : s->dims[i])) return false;
    }
    return true;
}

/* A copy of the parameter, repeated over the dims [from, rank) of the data. */
static tern_status expand_param(const tern_tensor *p, const tn_shape *s, void **out, tern_error *err) {
    size_t bytes;
    *out = tn_bytes_for(p->dtype, s, 0, &bytes) ? tn_alloc(bytes) : NULL;
    if (!*out) return tn_fail_oom(err, bytes);
    int64_t ps[TERN_MAX_RANK], os[TERN_MAX_RANK];
    tn_copy_strides(&p->shape, ps);
    tn_copy_strides(s, os);
    tn_copy k;
    tn_copy_init(&k, tern_dtype_size(p->dtype));
    for (int i = 0; i < s->rank; i++) {
        int d = i - (s->rank - p->shape.rank);
        tn_copy_dim(&k, s->dims[i], d < 0 || p->shape.dims[d] == 1 ? 0 : ps[d], os[i]);
    }
    tn_copy_run(&k, p->data, *out, 1);
    return TERN_OK;
}

typedef struct layer_norm {
    const tern_tensor *x;
    tern_tensor *y, *mean, *inv;
    affine a;
    int64_t n;    /* elements of a row */
    int64_t step; /* of scale and bias from row to row: 0 or n */
    double epsilon;
    bool centered; /* LayerNormalization, else RMSNormalization */
    tern_cpu_tier tier;
} layer_norm;

static void layer_norm_task(void *context, int64_t begin, int64_t end, int worker) {
    const layer_norm *l = context;
    (void)worker;
    tern_dtype t = l->x->dtype;
    for (int64_t r = begin; r < end; r++) {
        int64_t at = r * l->n;
        double n = (double)l->n, mean = l->centered ? sum_power(l->tier, t, l->x->data, at, l->n, 0, 1) / n : 0;
        double inv = 1 / sqrt(sum_power(l->tier, t, l->x->data, at, l->n, mean, 2) / n + l->epsilon);
        if (l->mean) tn_row_store_f64(l->mean->dtype, l->mean->data, r, 1, &mean);
        if (l->inv) tn_row_store_f64(l->inv->dtype, l->inv->data, r, 1, &inv);
        if (l->y) apply_vector(l->tier, t, l->x->data, l->y->data, at, l->n, mean, inv, &l->a, r * l->step);
    }
}

/* `inv`: which output is the inverse deviation. */
static tern_status run_layer_norm_or_rms(tn_run *c, bool centered, int inv) {
    const tern_tensor *x = c->in[0], *scale = c->in[1], *bias = tn_args_in(c, 2);
    int axis = 0;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", -1), x->shape.rank, &axis, c->err));
    layer_norm l = {.x = x,
                    .y = tn_args_out(c, 0),
                    .mean = centered ? tn_args_out(c, 1) : NULL,
                    .inv = tn_args_out(c, inv),
                    .a = {scale->data, bias ? bias->data : NULL, scale->dtype},
                    .n = tn_shape_count_range(&x->shape, axis, x->shape.rank),
                    .epsilon = (double)tn_attr_f(c->node, "epsilon", 1e-5f),
                    .centered = centered,
                    .tier = c->tier};
    void *wide[2] = {NULL, NULL};
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    tern_status s = TERN_OK;
    if (!is_inner_shape(&scale->shape, &x->shape, axis) || (bias && !is_inner_shape(&bias->shape, &x->shape, axis)) ||
        (bias && bias->dtype != scale->dtype)) {
        if (bias && bias->dtype != scale->dtype)
            return tn_run_fail(c, TERN_TYPE_MISMATCH, "scale is %s, bias %s", tern_dtype_name(scale->dtype),
                               tern_dtype_name(bias->dtype));
        l.step = l.n;
        s = expand_param(scale, &x->shape, &wide[0], c->err);
        if (s == TERN_OK && bias) s = expand_param(bias, &x->shape, &wide[1], c->err);
        l.a.scale = wide[0];
        l.a.bias = wide[1];
    }
    int64_t rows = tn_shape_count_range(&x->shape, 0, axis);
    if (s == TERN_OK) tn_parallel_for(rows * l.n < 8192 ? 1 : c->threads, rows, layer_norm_task, &l);
    tn_free(wide[0]);
    tn_free(wide[1]);
    return s;
}

static tern_status run_layer_norm(tn_run *c) { return run_layer_norm_or_rms(c, true, 2); }
static tern_status run_rms_norm(tn_run *c) { return run_layer_norm_or_rms(c, false, 1); }

const tn_op tn_op_layer_norm = TN_ARGS_OP(infer_layer_norm, run_layer_norm, 2, 3, 1, 3, 0);
const tn_op tn_op_rms_norm = TN_ARGS_OP(infer_layer_norm, run_rms_norm, 2, 2, 1, 1, 0);
/* What ONNX Runtime called it before the standard had it; output 1 is the inverse deviation. */
const tn_op tn_op_simplified_layer_norm = TN_ARGS_OP(infer_layer_norm, run_rms_norm, 2, 2, 1, 2, 0);

/* ---- InstanceNormalization, GroupNormalization -------------------------------------------------------------- */

static tern_status infer_group_norm(tn_infer *c, bool instance) {
    for (int i = 0; i < 3; i++) {
        TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
        TN_TRY(tn_infer_same_type(c, 0, i));
    }
    tn_shape s, p;
    int64_t groups = instance ? 1 : tn_attr_i(c->node, "num_groups", 0);
    tn_infer_out_like(c, 0, 0);
    if (groups < 1) return tn_infer_fail(c, TERN_INVALID_MODEL, "num_groups is %lld", (long long)groups);
    if (!tn_args_shape(c, 0, &s)) return TERN_OK;
    if (s.rank < 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d, less than 2", s.rank);
    if (tn_dim_known(s.dims[1]) && s.dims[1] % groups)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%lld channels are not a multiple of %lld groups",
                             (long long)s.dims[1], (long long)groups);
    int64_t want = !instance && c->node->since < 21 ? groups : s.dims[1];
    for (int i = 1; i < 3; i++) {
        if (!tn_args_shape(c, i, &p)) continue;
        if (p.rank != 1 || (tn_dim_known(p.dims[0]) && tn_dim_known(want) && p.dims[0] != want)) {
            char a[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s where %lld elements are needed", i,
                                 tn_shape_text(&p, a, sizeof a), (long long)want);
        }
    }
    return TERN_OK;
}

static tern_status infer_instance_norm(tn_infer *c) { return infer_group_norm(c, true); }
static tern_status infer_group_norm_op(tn_infer *c) { return infer_group_norm(c, false); }

typedef struct group_norm {
    const tern_tensor *x, *scale, *bias;
    tern_tensor *y;
    int64_t groups, channels, hw; /* channels of a group */
    bool per_group;               /* scale and bias */
    double epsilon;
    tern_cpu_tier tier;
} group_norm;

static void group_norm_task(void *context, int64_t begin, int64_t end, int worker) {
    const group_norm *g = context;
    (void)worker;
    tern_dtype t = g->x->dtype;
    for (int64_t i = begin; i < end; i++) {
        int64_t n = g->channels * g->hw, at = i * n, group = i % g->groups;
        double mean = sum_power(g->tier, t, g->x->data, at, n, 0, 1) / (double)n;
        double inv = 1 / sqrt(sum_power(g->tier, t, g->x->data, at, n, mean, 2) / (double)n + g->epsilon);
        for (int64_t k = 0; k < g->channels; k++) {
            int64_t p = g->per_group ? group : group * g->channels + k;
            double scale = tn_tensor_get_f64(g->scale, p), bias = tn_tensor_get_f64(g->bias, p);
            apply_scalar(t, g->x->data, g->y->data, at + k * g->hw, g->hw, mean, inv * scale, bias);
        }
    }
}

static tern_status run_group_norm_op(tn_run *c, bool instance) {
    const tern_tensor *x = c->in[0];
    int64_t channels = x->shape.dims[1], groups = instance ? channels : tn_attr_i(c->node, "num_groups", 1);
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    group_norm g = {x,
                    c->in[1],
                    c->in[2],
                    c->out[0],
                    groups,
                    channels / groups,
                    tn_shape_count_range(&x->shape, 2, x->shape.rank),
                    !instance && c->node->since < 21,
                    (double)tn_attr_f(c->node, "epsilon", 1e-5f),
                    c->tier};
    tn_parallel_for(tn_shape_count(&x->shape) < 8192 ? 1 : c->threads, x->shape.dims[0] * groups, group_norm_task, &g);
    return TERN_OK;
}

static tern_status run_instance_norm(tn_run *c) { return run_group_norm_op(c, true); }
static tern_status run_group_norm(tn_run *c) { return run_group_norm_op(c, false); }

const tn_op tn_op_instance_norm = TN_ARGS_OP(infer_instance_norm, run_instance_norm, 3, 3, 1, 1, 0);
const tn_op tn_op_group_norm = TN_ARGS_OP(infer_group_norm_op, run_group_norm, 3, 3, 1, 1, 0);

/* ---- LRN --------------------------------------------------------------------------------------------------- */

static tern_status infer_lrn(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    const tn_attr *size = tn_attr_find(c->node, "size");
    if (!size || size->i < 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "size is %lld", size ? (long long)size->i : 0ll);
    tn_shape s;
    if (tn_args_shape(c, 0, &s) && s.rank < 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d, less than 2", s.rank);
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

typedef struct lrn {
    const tern_tensor *x;
    tern_tensor *y;
    int64_t channels, hw, before, after; /* neighbours on both sides */
    double scale, beta, bias;
} lrn;

/* v[i] /= (bias + scale * sum[i])^beta; the usual exponents are roots, which cost a tenth of pow. */
static void lrn_divide(const lrn *l, const double *sum, int64_t n, double *v) {
    double bias = l->bias, scale = l->scale, beta = l->beta;
    if (beta == 0.75)
        for (int64_t i = 0; i < n; i++) {
            double r = sqrt(bias + scale * sum[i]);
            v[i] /= r * sqrt(r);
        }
    else if (beta == 0.5)
        for (int64_t i = 0; i < n; i++) v[i] /= sqrt(bias + scale * sum[i]);
    else if (beta == 1)
        for (int64_t i = 0; i < n; i++) v[i] /= bias + scale * sum[i];
    else
        for (int64_t i = 0; i < n; i++) v[i] /= pow(bias + scale * sum[i], beta);
}

/* A task is one channel of one image. */
static void lrn_task(void *context, int64_t begin, int64_t end, int worker) {
    const lrn *l = context;
    (void)worker;
    double v[CHUNK], sum[CHUNK];
    tern_dtype t = l->x->dtype;
    for (int64_t i = begin; i < end; i++) {
        int64_t image = i / l->channels * l->channels, ch = i % l->channels;
        int64_t low = TN_MAX(ch - l->before, 0), high = TN_MIN(ch + l->after, l->channels - 1);
        for (int64_t j = 0; j < l->hw; j += CHUNK) {
            int64_t m = TN_MIN((int64_t)CHUNK, l->hw - j);
            memset(sum, 0, sizeof sum);
            for (int64_t k = low; k <= high; k++) {
                tn_row_load_f64(t, l->x->data, (image + k) * l->hw + j, m, v);
                for (int64_t e = 0; e < m; e++) sum[e] += v[e] * v[e];
            }
            tn_row_load_f64(t, l->x->data, i * l->hw + j, m, v);
            lrn_divide(l, sum, m, v);
            tn_row_store_f64(t, l->y->data, i * l->hw + j, m, v);
        }
    }
}

static tern_status run_lrn(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int64_t size = tn_attr_i(c->node, "size", 1), channels = x->shape.dims[1];
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    lrn l = {x,
             c->out[0],
             channels,
             tn_shape_count_range(&x->shape, 2, x->shape.rank),
             TN_MIN((size - 1) / 2, channels),
             TN_MIN(size / 2, channels),
             (double)tn_attr_f(c->node, "alpha", 1e-4f) / (double)size,
             (double)tn_attr_f(c->node, "beta", 0.75f),
             (double)tn_attr_f(c->node, "bias", 1)};
    tn_parallel_for(c->threads, x->shape.dims[0] * channels, lrn_task, &l);
    return TERN_OK;
}

const tn_op tn_op_lrn = TN_ARGS_OP(infer_lrn, run_lrn, 1, 1, 1, 1, 0);

/* ---- LpNormalization --------------------------------------------------------------------------------------- */

static tern_status infer_lp_norm(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    int64_t p = tn_attr_i(c->node, "p", 2);
    if (p != 1 && p != 2) return tn_infer_fail(c, TERN_INVALID_MODEL, "p is %lld, not 1 or 2", (long long)p);
    tn_shape s;
    int axis;
    if (tn_args_shape(c, 0, &s)) TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", -1), s.rank, &axis, "axis"));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

typedef struct lp_norm {
    const tern_tensor *x;
    tern_tensor *y;
    tn_rows r;
    tern_cpu_tier tier;
    bool one;
} lp_norm;

/* A row of floats. A vector of zeros stays one. */
static void lp_row_f32(const lp_norm *p, int64_t at) {
    const float *x = (const float *)p->x->data + at;
    float *y = (float *)p->y->data + at;
    double norm = 0;
    const size_t n = (size_t)p->r.dim;
    for (size_t j = 0; p->one && j < n; j++) norm += fabs((double)x[j]);
    for (size_t j = 0; !p->one && j < n; j += CHUNK)
        norm += tn_row_square_f32(p->tier, x + j, 0, TN_MIN(n - j, (size_t)CHUNK));
    float by = (float)(p->one ? norm : sqrt(norm)), zero = 0;
    if (norm == 0)
        tn_bin_f32(p->tier, TN_BIN_MUL, x, 1, &zero, 0, y, n);
    else
        tn_bin_f32(p->tier, TN_BIN_DIV, x, 1, &by, 0, y, n);
}

/* `m` neighbouring vectors, from element `at` on. */
static void lp_columns(const lp_norm *p, int64_t at, int64_t m) {
    double v[CHUNK], norm[CHUNK] = {0};
    for (int64_t d = 0; d < p->r.dim; d++) {
        tn_row_load_f64(p->x->dtype, p->x->data, at + d * p->r.inner, m, v);
        for (int64_t i = 0; i < m; i++) norm[i] += p->one ? fabs(v[i]) : v[i] * v[i];
    }
    for (int64_t i = 0; i < m; i++) norm[i] = p->one ? norm[i] : sqrt(norm[i]);
    for (int64_t d = 0; d < p->r.dim; d++) {
        tn_row_load_f64(p->x->dtype, p->x->data, at + d * p->r.inner, m, v);
        for (int64_t i = 0; i < m; i++) v[i] = norm[i] == 0 ? 0 : v[i] / norm[i];
        tn_row_store_f64(p->y->dtype, p->y->data, at + d * p->r.inner, m, v);
    }
}

static void lp_norm_task(void *context, int64_t begin, int64_t end, int worker) {
    const lp_norm *p = context;
    (void)worker;
    int64_t parts = tn_ceil_div(p->r.inner, CHUNK);
    for (int64_t t = begin; t < end; t++) {
        int64_t column = t % parts * CHUNK, at = t / parts * p->r.dim * p->r.inner + column;
        if (p->x->dtype == TERN_FLOAT && p->r.inner == 1)
            lp_row_f32(p, at);
        else
            lp_columns(p, at, TN_MIN((int64_t)CHUNK, p->r.inner - column));
    }
}

static tern_status run_lp_norm(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", -1), x->shape.rank, &axis, c->err));
    lp_norm p = {x, c->out[0], tn_rows_of(&x->shape, axis), c->tier, tn_attr_i(c->node, "p", 2) == 1};
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    int threads = tn_shape_count(&x->shape) < 8192 ? 1 : c->threads;
    tn_parallel_for(threads, p.r.outer * tn_ceil_div(p.r.inner, CHUNK), lp_norm_task, &p);
    return TERN_OK;
}

const tn_op tn_op_lp_norm = TN_ARGS_OP(infer_lp_norm, run_lp_norm, 1, 1, 1, 1, 0);

/* ---- MeanVarianceNormalization ------------------------------------------------------------------------------ */

static tern_status mvn_mask(const tn_node *n, int rank, bool *mask, tern_error *err) {
    static const int64_t usual[] = {0, 2, 3};
    size_t count;
    const int64_t *axes = tn_attr_ints(n, "axes", &count);
    if (!tn_attr_find(n, "axes")) {
        axes = usual;
        count = TN_COUNT(usual);
    }
    if (count > TERN_MAX_RANK) return tn_fail(err, TERN_INVALID_MODEL, "axes has %zu values", count);
    return tn_args_axes(axes, (int)count, rank, mask, err);
}

static tern_status infer_mvn(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tn_shape s;
    bool mask[TERN_MAX_RANK];
    if (tn_args_shape(c, 0, &s)) TN_TRY(mvn_mask(c->node, s.rank, mask, c->err));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

/* Elements from index `at` on of every position of the dims in `mask`; fn sees their offsets. */
typedef struct walk {
    int n;
    int64_t dims[TERN_MAX_RANK], strides[TERN_MAX_RANK], count;
} walk;

static walk walk_of(const tn_shape *s, const bool *mask, bool which) {
    walk w = {.count = 1};
    int64_t strides[TERN_MAX_RANK];
    tn_copy_strides(s, strides);
    for (int i = 0; i < s->rank; i++) {
        if (mask[i] != which) continue;
        w.dims[w.n] = s->dims[i];
        w.strides[w.n++] = strides[i];
        w.count *= s->dims[i];
    }
    return w;
}

static int64_t walk_at(const walk *w, int64_t i) {
    int64_t at = 0;
    for (int d = w->n - 1; d >= 0; d--) {
        at += i % w->dims[d] * w->strides[d];
        i /= w->dims[d];
    }
    return at;
}

/* Length of contiguous runs at the end of a walk. */
static int64_t walk_run(walk *w) {
    int64_t run = 1;
    while (w->n > 0 && w->strides[w->n - 1] == run) run *= w->dims[--w->n];
    w->count /= run;
    return run;
}

static tern_status run_mvn(tn_run *c) {
    const tern_tensor *x = c->in[0];
    bool mask[TERN_MAX_RANK];
    TN_TRY(mvn_mask(c->node, x->shape.rank, mask, c->err));
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    walk outer = walk_of(&x->shape, mask, false), inner = walk_of(&x->shape, mask, true);
    double n = (double)inner.count;
    int64_t run = walk_run(&inner);
    for (int64_t o = 0; o < outer.count; o++) {
        int64_t base = walk_at(&outer, o);
        double mean = 0, square = 0;
        for (int64_t i = 0; i < inner.count; i++)
            mean += sum_power(c->tier, x->dtype, x->data, base + walk_at(&inner, i), run, 0, 1);
        mean /= n;
        for (int64_t i = 0; i < inner.count; i++)
            square += sum_power(c->tier, x->dtype, x->data, base + walk_at(&inner, i), run, mean, 2);
        double scale = 1 / (sqrt(square / n) + 1e-9);
        for (int64_t i = 0; i < inner.count; i++)
            apply_scalar(x->dtype, x->data, c->out[0]->data, base + walk_at(&inner, i), run, mean, scale, 0);
    }
    return TERN_OK;
}

const tn_op tn_op_mvn = TN_ARGS_OP(infer_mvn, run_mvn, 1, 1, 1, 1, 0);
