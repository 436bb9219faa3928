/* NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss: (n, classes, d1, ...) against labels (n, d1, ...). Sums are taken
 * in double, in chunks that shape alone decides. */
#include "kernels/row.h"
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define COLUMNS 256

typedef enum reduction { REDUCE_NONE, REDUCE_SUM, REDUCE_MEAN, REDUCE_UNKNOWN } reduction;

static reduction reduction_of(const tn_node *n) {
    static const char *const names[] = {"none", "sum", "mean"};
    for (int i = 0; i < 3; i++)
        if (tn_attr_is(n, "reduction", "mean", names[i])) return (reduction)i;
    return REDUCE_UNKNOWN;
}

/* ---- inference ------------------------------------------------------------------------------------------------- */

static tern_status check_labels(tn_infer *c, const tn_shape *scores) {
    tn_shape labels;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    if (scores->rank < 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the scores have rank %d, less than 2", scores->rank);
    if (!tn_args_shape(c, 1, &labels)) return TERN_OK;
    bool fits = labels.rank == scores->rank - 1;
    for (int i = 0; fits && i < labels.rank; i++) {
        int64_t l = labels.dims[i], s = scores->dims[i ? i + 1 : 0];
        fits = !tn_dim_known(l) || !tn_dim_known(s) || l == s;
    }
    if (fits) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "labels of shape %s for scores of shape %s",
                         tn_shape_text(&labels, a, sizeof a), tn_shape_text(scores, b, sizeof b));
}

static tern_status check_weights(tn_infer *c, const tn_shape *scores) {
    tn_shape w;
    if (!tn_args_has(c, 2)) return TERN_OK;
    TN_TRY(tn_args_need(c, 2, TN_TYPES_FLOAT));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    if (!tn_args_shape(c, 2, &w)) return TERN_OK;
    char text[TN_SHAPE_TEXT];
    int64_t classes = scores ? scores->dims[1] : TN_DIM_UNKNOWN;
    if (w.rank == 1 && (!tn_dim_known(w.dims[0]) || !tn_dim_known(classes) || w.dims[0] == classes)) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "weights of shape %s for %lld classes",
                         tn_shape_text(&w, text, sizeof text), (long long)classes);
}

static tern_status infer_loss(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    TN_TRY(tn_args_need(c, 1, TN_T(INT32) | TN_T(INT64)));
    tn_str name = tn_attr_s(c->node, "reduction", "mean");
    reduction r = reduction_of(c->node);
    if (r == REDUCE_UNKNOWN)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "reduction '%.*s' is not none, sum or mean",
                             (int)TN_MIN(name.len, (size_t)40), name.data);
    tn_shape s, labels;
    bool ranked = tn_args_shape(c, 0, &s), labels_ranked = tn_args_shape(c, 1, &labels);
    if (ranked) TN_TRY(check_labels(c, &s));
    TN_TRY(check_weights(c, ranked ? &s : NULL));
    tern_dtype dtype = c->in[0]->dtype;
    if (r != REDUCE_NONE) {
        tn_infer_out(c, 0, dtype, &(tn_shape){.rank = 0});
    } else if (ranked) {
        tn_shape out = {.rank = s.rank - 1};
        for (int i = 0; i < out.rank; i++) out.dims[i] = s.dims[i ? i + 1 : 0];
        tn_infer_out(c, 0, dtype, &out);
    } else {
        tn_infer_out(c, 0, dtype, labels_ranked ? &labels : NULL);
    }
    if (c->node->n_out > 1) tn_infer_out_like(c, 1, 0);
    return TERN_OK;
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

/* What a chunk adds to the result; bad: a label that is no class. */
typedef struct partial {
    double sum, weight;
    int64_t bad;
    bool has_bad;
} partial;

typedef struct loss {
    const tern_tensor *x, *labels, *weights;
    tern_tensor *out, *log_prob;   /* NULL: not wanted */
    int64_t classes, inner, parts; /* parts: chunks of COLUMNS per image */
    bool softmax, has_ignore, each;
    int64_t ignore;
    partial *partials;
    tern_cpu_tier tier;
} loss;

/* The same of one row of floats. */
static double log_sum_f32(const loss *l, const float *x) {
    float e[COLUMNS], top = tn_row_max_f32(l->tier, x, (size_t)l->classes, -INFINITY);
    double sum = 0;
    for (int64_t k = 0; k < l->classes; k += COLUMNS)
        sum += tn_row_exp_f32(l->tier, x + k, top, e, (size_t)TN_MIN((int64_t)COLUMNS, l->classes - k));
    return (double)top + log(sum);
}

/* log(sum(exp(x))) over the classes of `n` neighbouring columns. */
static void log_sums(const loss *l, int64_t at, int64_t n, double *out) {
    double top[COLUMNS], v[COLUMNS];
    if (l->x->dtype == TERN_FLOAT && l->inner == 1) {
        *out = log_sum_f32(l, (const float *)l->x->data + at);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        top[i] = -INFINITY;
        out[i] = 0;
    }
    for (int64_t k = 0; k < l->classes; k++) {
        tn_row_load_f64(l->x->dtype, l->x->data, at + k * l->inner, n, v);
        for (int64_t i = 0; i < n; i++) top[i] = v[i] > top[i] ? v[i] : top[i];
    }
    for (int64_t k = 0; k < l->classes; k++) {
        tn_row_load_f64(l->x->dtype, l->x->data, at + k * l->inner, n, v);
        for (int64_t i = 0; i < n; i++) out[i] += exp(v[i] - top[i]);
    }
    for (int64_t i = 0; i < n; i++) out[i] = top[i] + log(out[i]);
}

static void store_log_prob(const loss *l, int64_t at, int64_t n, const double *shift) {
    double v[COLUMNS];
    for (int64_t k = 0; k < l->classes; k++) {
        tn_row_load_f64(l->x->dtype, l->x->data, at + k * l->inner, n, v);
        for (int64_t i = 0; i < n; i++) v[i] -= shift[i];
        tn_row_store_f64(l->log_prob->dtype, l->log_prob->data, at + k * l->inner, n, v);
    }
}

static double weight_of(const loss *l, int64_t label) {
    double w = 1;
    if (l->weights) tn_row_load_f64(l->weights->dtype, l->weights->data, label, 1, &w);
    return w;
}

static void loss_chunk(const loss *l, int64_t t) {
    int64_t image = t / l->parts, column = t % l->parts * COLUMNS, n = TN_MIN((int64_t)COLUMNS, l->inner - column);
    int64_t at = image * l->classes * l->inner + column, label_at = image * l->inner + column, label[COLUMNS];
    double shift[COLUMNS] = {0}, v[COLUMNS];
    partial p = {0};
    if (l->softmax) log_sums(l, at, n, shift);
    if (l->log_prob) store_log_prob(l, at, n, shift);
    tn_row_load_i64(l->labels->dtype, l->labels->data, label_at, n, label);
    for (int64_t i = 0; i < n; i++) {
        v[i] = 0;
        if (l->has_ignore && label[i] == l->ignore) continue;
        if (label[i] < 0 || label[i] >= l->classes) {
            p.bad = label[i];
            p.has_bad = true;
            continue;
        }
        double x, w = weight_of(l, label[i]);
        tn_row_load_f64(l->x->dtype, l->x->data, at + label[i] * l->inner + i, 1, &x);
        v[i] = -(x - shift[i]) * w;
        p.sum += v[i];
        p.weight += w;
    }
    if (l->each && l->out) tn_row_store_f64(l->out->dtype, l->out->data, label_at, n, v);
    l->partials[t] = p;
}

static void loss_task(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    for (int64_t t = begin; t < end; t++) loss_chunk(context, t);
}

static tern_status finish_loss(tn_run *c, const loss *l, int64_t chunks, bool mean) {
    double sum = 0, weight = 0;
    for (int64_t t = 0; t < chunks; t++) {
        const partial *p = &l->partials[t];
        if (p->has_bad)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "label %lld is outside [0, %lld)", (long long)p->bad,
                               (long long)l->classes);
        sum += p->sum;
        weight += p->weight;
    }
    if (mean) sum /= weight; /* nothing counted: not a number, as in the standard */
    if (!l->each && l->out) tn_row_store_f64(l->out->dtype, l->out->data, 0, 1, &sum);
    return TERN_OK;
}

static tern_status run_loss(tn_run *c, bool softmax) {
    const tern_tensor *x = c->in[0];
    loss l = {.x = x,
              .tier = c->tier,
              .labels = c->in[1],
              .weights = tn_args_in(c, 2),
              .out = tn_args_out(c, 0),
              .log_prob = softmax ? tn_args_out(c, 1) : NULL,
              .classes = x->shape.dims[1],
              .inner = tn_shape_count_range(&x->shape, 2, x->shape.rank),
              .softmax = softmax,
              .each = reduction_of(c->node) == REDUCE_NONE,
              .has_ignore = tn_attr_find(c->node, "ignore_index") != NULL,
              .ignore = tn_attr_i(c->node, "ignore_index", 0)};
    l.parts = tn_ceil_div(l.inner, COLUMNS);
    int64_t chunks = x->shape.dims[0] * l.parts;
    l.partials = tn_alloc_array((size_t)chunks, sizeof *l.partials);
    if (!l.partials) return tn_fail_oom(c->err, (size_t)chunks * sizeof *l.partials);
    tn_parallel_for(tn_shape_count(&x->shape) < 4096 ? 1 : c->threads, chunks, loss_task, &l);
    tern_status s = finish_loss(c, &l, chunks, reduction_of(c->node) == REDUCE_MEAN);
    tn_free(l.partials);
    return s;
}

static tern_status run_nll(tn_run *c) { return run_loss(c, false); }
static tern_status run_sce(tn_run *c) { return run_loss(c, true); }

const tn_op tn_op_nll_loss = TN_ARGS_OP(infer_loss, run_nll, 2, 3, 1, 1, 0);
const tn_op tn_op_softmax_cross_entropy = TN_ARGS_OP(infer_loss, run_sce, 2, 3, 1, 2, 0);
