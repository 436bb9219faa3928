/* LinearClassifier, LinearRegressor, SVMClassifier, SVMRegressor. Sums are in double, results float32. */
#include "ops/ml_internal.h"

#include <math.h>

/* Row r of the input as doubles. */
static void load_row(const tern_tensor *x, int64_t r, int64_t columns, double *row) {
    for (int64_t i = 0; i < columns; i++) row[i] = tn_tensor_get_f64(x, r * columns + i);
}

static double dot(const double *x, const float *w, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * (double)w[i];
    return sum;
}

static int64_t best(const double *v, int64_t n) {
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[at]) at = i;
    return at;
}

/* (rows, columns) with as many columns as there are scores; `labels` (rows) when output 0 is labels. */
static void out_scores(tn_infer *c, int o, const tn_shape *s, bool known, int64_t scores) {
    tn_shape out = {.rank = 2, .dims = {TN_DIM_UNKNOWN, scores}};
    int64_t columns;
    if (known) tn_ml_matrix(s, &out.dims[0], &columns);
    tn_infer_out(c, o, TERN_FLOAT, &out);
}

static void out_labels(tn_infer *c, const tn_ml_labels *l, const tn_shape *s, bool known) {
    tn_shape out = {.rank = 1, .dims = {TN_DIM_UNKNOWN}};
    int64_t columns;
    if (known) tn_ml_matrix(s, &out.dims[0], &columns);
    tn_infer_out(c, 0, tn_ml_label_type(l), &out);
}

/* ---- linear ---------------------------------------------------------------------------------------------------- */

typedef struct linear {
    const float *weights, *offsets;
    size_t n_weights, n_offsets;
    int64_t scores; /* rows of weights */
    bool both;      /* one row of weights for two classes: scores -s, s */
    tn_ml_labels labels;
    tn_ml_post post;
} linear;

static tern_status get_linear(const tn_node *n, bool classify, linear *l, tern_error *err) {
    *l = (linear){0};
    l->weights = tn_attr_floats(n, "coefficients", &l->n_weights);
    l->offsets = tn_attr_floats(n, "intercepts", &l->n_offsets);
    l->labels = tn_ml_get_labels(n, "classlabels_ints", "classlabels_strings");
    TN_TRY(tn_ml_post_transform(n, &l->post, err));
    l->scores = !classify ? tn_attr_i(n, "targets", 1) : TN_MAX((int64_t)l->labels.count, 1);
    if (classify && l->n_offsets) l->scores = (int64_t)l->n_offsets;
    l->both = classify && l->scores == 1 && l->labels.count == 2;
    if (classify && !l->n_offsets && l->labels.count == 2 && l->n_weights % 2) l->scores = 1, l->both = true;
    if (l->scores < 1 || !l->n_weights || l->n_weights % (size_t)l->scores ||
        (l->n_offsets && l->n_offsets != (size_t)l->scores))
        return tn_fail(err, TERN_INVALID_MODEL, "%zu coefficients and %zu intercepts for %lld scores", l->n_weights,
                       l->n_offsets, (long long)l->scores);
    return TERN_OK;
}

static tern_status infer_linear(tn_infer *c, bool classify) {
    linear l;
    tn_shape s;
    bool known;
    int64_t rows, columns;
    TN_TRY(get_linear(c->node, classify, &l, c->err));
    TN_TRY(tn_ml_need_matrix(c, &s, &known));
    if (known && tn_ml_matrix(&s, &rows, &columns) && tn_dim_known(columns) &&
        columns != (int64_t)l.n_weights / l.scores)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%zu coefficients for %lld scores of %lld features", l.n_weights,
                             (long long)l.scores, (long long)columns);
    if (classify) out_labels(c, &l.labels, &s, known);
    out_scores(c, classify, &s, known, l.both ? 2 : l.scores);
    return TERN_OK;
}

static tern_status infer_linear_classifier(tn_infer *c) { return infer_linear(c, true); }
static tern_status infer_linear_regressor(tn_infer *c) { return infer_linear(c, false); }

/* Of one score: the only label where it is high enough, else 0. */
static void put_single(const tn_ml_labels *l, tern_tensor *out, int64_t r, bool high) {
    if (l->count) tn_ml_put_label(l, out, r, high ? 0 : -1);
    if (!l->strings && (!high || !l->count)) ((int64_t *)out->data)[r] = high;
}

static tern_status run_linear(tn_run *c, bool classify) {
    linear l;
    int64_t rows = 0, columns = 0;
    TN_TRY(get_linear(c->node, classify, &l, c->err));
    tn_ml_matrix(&c->in[0]->shape, &rows, &columns);
    int64_t n = l.both ? 2 : l.scores;
    double *row = tn_alloc_array((size_t)(columns + n) + 1, sizeof *row), *scores = row + columns;
    if (!row) return tn_fail_oom(c->err, (size_t)columns * sizeof *row);
    tern_tensor *labels = classify ? tn_args_out(c, 0) : NULL, *out = tn_args_out(c, classify);
    for (int64_t r = 0; r < rows; r++) {
        load_row(c->in[0], r, columns, row);
        for (int64_t k = 0; k < l.scores; k++)
            scores[k] = dot(row, l.weights + k * columns, columns) + (l.n_offsets ? (double)l.offsets[k] : 0);
        if (l.both) {
            scores[1] = scores[0];
            scores[0] = -scores[0];
        }
        tn_ml_apply(l.post, scores, n);
        if (labels && n == 1) put_single(&l.labels, labels, r, scores[0] >= (l.post == TN_ML_NONE ? 0 : 0.5));
        if (labels && n > 1) tn_ml_put_label(&l.labels, labels, r, best(scores, n));
        for (int64_t k = 0; out && k < n; k++) ((float *)out->data)[r * n + k] = (float)scores[k];
    }
    tn_free(row);
    return TERN_OK;
}

static tern_status run_linear_classifier(tn_run *c) { return run_linear(c, true); }
static tern_status run_linear_regressor(tn_run *c) { return run_linear(c, false); }

const tn_op tn_op_linear_classifier = TN_ARGS_OP(infer_linear_classifier, run_linear_classifier, 1, 1, 1, 2, 0);
const tn_op tn_op_linear_regressor = TN_ARGS_OP(infer_linear_regressor, run_linear_regressor, 1, 1, 1, 1, 0);

/* ---- support vector machines ----------------------------------------------------------------------------------- */

typedef enum kernel { LINEAR, POLY, RBF, SIGMOID } kernel;

typedef struct svm {
    kernel kernel;
    double gamma, coef0, degree;
    const float *coefs, *vectors, *rho, *prob_a, *prob_b;
    size_t n_coefs, n_vectors, n_rho, n_prob;
    const int64_t *per_class; /* support vectors of each class */
    int64_t supports;         /* 0: linear */
    int64_t classes, pairs;
    tn_ml_labels labels;
    tn_ml_post post;
} svm;

static tern_status get_kernel(const tn_node *n, svm *s, tern_error *err) {
    static const char *const names[] = {"LINEAR", "POLY", "RBF", "SIGMOID"};
    size_t n_params, k = 0;
    const float *params = tn_attr_floats(n, "kernel_params", &n_params);
    while (k < TN_COUNT(names) && !tn_attr_is(n, "kernel_type", "LINEAR", names[k])) k++;
    if (k == TN_COUNT(names) || (n_params && n_params != 3))
        return tn_fail(err, TERN_INVALID_MODEL, "kernel_type is unknown, or kernel_params has %zu values (0 or 3)",
                       n_params);
    s->kernel = (kernel)k;
    if (n_params) {
        s->gamma = (double)params[0];
        s->coef0 = (double)params[1];
        s->degree = (double)params[2];
    }
    s->coefs = tn_attr_floats(n, "coefficients", &s->n_coefs);
    s->vectors = tn_attr_floats(n, "support_vectors", &s->n_vectors);
    s->rho = tn_attr_floats(n, "rho", &s->n_rho);
    if (!s->n_coefs || !s->n_rho) return tn_fail(err, TERN_INVALID_MODEL, "coefficients or rho are missing");
    return tn_ml_post_transform(n, &s->post, err);
}

static tern_status check_sizes(const svm *s, size_t per_vector, tern_error *err) {
    size_t coefs;
    if (tn_mul_size((size_t)s->supports, per_vector, &coefs) && coefs == s->n_coefs &&
        s->n_vectors % (size_t)s->supports == 0)
        return TERN_OK;
    return tn_fail(err, TERN_INVALID_MODEL, "%zu coefficients and %zu elements of vectors for %lld support vectors",
                   s->n_coefs, s->n_vectors, (long long)s->supports);
}

static tern_status get_svm(const tn_node *n, bool classify, svm *s, tern_error *err) {
    size_t n_classes, n_b;
    *s = (svm){0};
    TN_TRY(get_kernel(n, s, err));
    if (!classify) {
        s->supports = tn_attr_i(n, "n_supports", 0);
        if (s->supports < 0) return tn_fail(err, TERN_INVALID_MODEL, "n_supports is %lld", (long long)s->supports);
        return s->supports ? check_sizes(s, 1, err) : TERN_OK;
    }
    s->labels = tn_ml_get_labels(n, "classlabels_ints", "classlabels_strings");
    s->classes = TN_MAX((int64_t)s->labels.count, 1);
    s->per_class = tn_attr_ints(n, "vectors_per_class", &n_classes);
    for (size_t i = 0; i < n_classes; i++)
        if (s->per_class[i] < 0 || !tn_add_i64(s->supports, s->per_class[i], &s->supports))
            return tn_fail(err, TERN_INVALID_MODEL, "vectors_per_class[%zu] is %lld", i, (long long)s->per_class[i]);
    if (s->supports == 0) {
        if (s->n_coefs % (size_t)s->classes == 0) return TERN_OK;
        return tn_fail(err, TERN_INVALID_MODEL, "%zu coefficients for %lld classes", s->n_coefs, (long long)s->classes);
    }
    s->prob_a = tn_attr_floats(n, "prob_a", &s->n_prob);
    s->prob_b = tn_attr_floats(n, "prob_b", &n_b);
    if (s->classes > 65536) return tn_fail(err, TERN_LIMIT_EXCEEDED, "%lld classes", (long long)s->classes);
    s->pairs = s->classes * (s->classes - 1) / 2;
    if (n_classes != (size_t)s->classes || s->classes < 2 || s->n_rho < (size_t)s->pairs || s->n_prob != n_b ||
        (s->n_prob && s->n_prob < (size_t)s->pairs))
        return tn_fail(err, TERN_INVALID_MODEL,
                       "%lld labels do not fit %zu vectors_per_class, %zu rho, %zu prob_a, %zu prob_b",
                       (long long)s->labels.count, n_classes, s->n_rho, s->n_prob, n_b);
    return check_sizes(s, (size_t)s->classes - 1, err);
}

static double apply_kernel(const svm *s, kernel k, const double *x, const float *v, int64_t n) {
    double sum = 0;
    if (k == RBF) {
        for (int64_t i = 0; i < n; i++) sum += (x[i] - (double)v[i]) * (x[i] - (double)v[i]);
        return exp(-s->gamma * sum);
    }
    sum = dot(x, v, n);
    if (k == LINEAR) return sum;
    sum = sum * s->gamma + s->coef0;
    return k == POLY ? pow(sum, s->degree) : tanh(sum);
}

static int64_t svm_features(const svm *s) {
    return s->supports ? (int64_t)s->n_vectors / s->supports : (int64_t)s->n_coefs / TN_MAX(s->classes, 1);
}

/* How many scores a row gets. */
static int64_t svm_scores(const svm *s) {
    if (!s->supports) return s->classes;
    if (s->n_prob) return s->classes;
    return s->pairs == 1 ? 2 : s->pairs;
}

static tern_status infer_svm(tn_infer *c, bool classify) {
    svm s;
    tn_shape shape;
    bool known;
    int64_t rows, columns;
    TN_TRY(get_svm(c->node, classify, &s, c->err));
    TN_TRY(tn_ml_need_matrix(c, &shape, &known));
    if (known && tn_ml_matrix(&shape, &rows, &columns) && tn_dim_known(columns) && columns != svm_features(&s))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the model has %lld features, the input %lld",
                             (long long)svm_features(&s), (long long)columns);
    if (classify) out_labels(c, &s.labels, &shape, known);
    out_scores(c, classify, &shape, known, classify ? svm_scores(&s) : 1);
    return TERN_OK;
}

static tern_status infer_svm_classifier(tn_infer *c) { return infer_svm(c, true); }
static tern_status infer_svm_regressor(tn_infer *c) { return infer_svm(c, false); }

static tern_status run_svm_regressor(tn_run *c) {
    svm s;
    int64_t rows = 0, columns = 0;
    TN_TRY(get_svm(c->node, false, &s, c->err));
    tn_ml_matrix(&c->in[0]->shape, &rows, &columns);
    bool one_class = tn_attr_i(c->node, "one_class", 0) != 0;
    double *row = tn_alloc_array((size_t)columns + 1, sizeof *row);
    if (!row) return tn_fail_oom(c->err, (size_t)columns * sizeof *row);
    for (int64_t r = 0; r < rows; r++) {
        load_row(c->in[0], r, columns, row);
        double y = (double)s.rho[0];
        for (int64_t k = 0; k < s.supports; k++)
            y += (double)s.coefs[k] * apply_kernel(&s, s.kernel, row, s.vectors + k * columns, columns);
        if (!s.supports) y += dot(row, s.coefs, columns);
        if (one_class) y = y > 0 ? 1 : -1;
        tn_ml_apply(s.post, &y, 1);
        ((float *)c->out[0]->data)[r] = (float)y;
    }
    tn_free(row);
    return TERN_OK;
}

/* One score per pair of classes; votes for the winner of each. kernels: supports elements. */
static void score_pairs(const svm *s, const double *kernels, double *scores, double *votes) {
    int64_t pair = 0, start_i = 0;
    for (int64_t i = 0; i < s->classes; i++) {
        int64_t start_j = start_i + s->per_class[i];
        for (int64_t j = i + 1; j < s->classes; j++) {
            const float *a = s->coefs + (j - 1) * s->supports, *b = s->coefs + i * s->supports;
            double sum = (double)s->rho[pair];
            for (int64_t k = 0; k < s->per_class[i]; k++) sum += (double)a[start_i + k] * kernels[start_i + k];
            for (int64_t k = 0; k < s->per_class[j]; k++) sum += (double)b[start_j + k] * kernels[start_j + k];
            scores[pair++] = sum;
            votes[sum > 0 ? i : j]++;
            start_j += s->per_class[j];
        }
        start_i += s->per_class[i];
    }
}

/* Probabilities of all classes from those of pairs: Wu, Lin and Weng (2004), second method. r, q: (k, k). */
static void couple(int64_t k, const double *r, double *q, double *qp, double *p) {
    for (int64_t t = 0; t < k; t++) {
        p[t] = 1.0 / (double)k;
        q[t * k + t] = 0;
        for (int64_t j = 0; j < k; j++) {
            if (j == t) continue;
            q[t * k + t] += r[j * k + t] * r[j * k + t];
            q[t * k + j] = -r[j * k + t] * r[t * k + j];
        }
    }
    for (int64_t round = 0; round < TN_MAX(k, (int64_t)100); round++) {
        double pqp = 0, error = 0;
        for (int64_t t = 0; t < k; t++) {
            qp[t] = 0;
            for (int64_t j = 0; j < k; j++) qp[t] += q[t * k + j] * p[j];
            pqp += p[t] * qp[t];
        }
        for (int64_t t = 0; t < k; t++) error = fmax(error, fabs(qp[t] - pqp));
        if (error < 0.005 / (double)k) return;
        for (int64_t t = 0; t < k; t++) {
            double diff = (pqp - qp[t]) / q[t * k + t];
            p[t] += diff;
            pqp = (pqp + diff * (diff * q[t * k + t] + 2 * qp[t])) / (1 + diff) / (1 + diff);
            for (int64_t j = 0; j < k; j++) {
                qp[j] = (qp[j] + diff * q[t * k + j]) / (1 + diff);
                p[j] /= 1 + diff;
            }
        }
    }
}

/* work: 2 * classes^2 + classes elements */
static void probabilities(const svm *s, const double *pairs, double *work, double *p) {
    int64_t k = s->classes, at = 0;
    double *r = work, *q = work + k * k;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i + 1; j < k; j++, at++) {
            double v = 1 / (1 + exp(pairs[at] * (double)s->prob_a[at] + (double)s->prob_b[at]));
            v = fmin(fmax(v, 1e-7), 1 - 1e-7);
            r[i * k + j] = v;
            r[j * k + i] = 1 - v;
        }
    couple(k, r, q, q + k * k, p);
}

typedef struct svm_work {
    double *row, *kernels, *pairs, *votes, *scores, *matrix;
} svm_work;

static int64_t score_row(const svm *s, const svm_work *w, int64_t columns) {
    int64_t n = svm_scores(s);
    if (!s->supports) {
        for (int64_t k = 0; k < s->classes; k++)
            w->scores[k] = (double)s->rho[0] + apply_kernel(s, LINEAR, w->row, s->coefs + k * columns, columns);
        int64_t top = n == 1 ? w->scores[0] > 0 : best(w->scores, n);
        tn_ml_apply(s->post, w->scores, n);
        return top;
    }
    for (int64_t k = 0; k < s->classes; k++) w->votes[k] = 0;
    for (int64_t k = 0; k < s->supports; k++)
        w->kernels[k] = apply_kernel(s, s->kernel, w->row, s->vectors + k * columns, columns);
    score_pairs(s, w->kernels, w->pairs, w->votes);
    if (s->n_prob) {
        probabilities(s, w->pairs, w->matrix, w->scores);
    } else if (s->pairs == 1) { /* two classes: the score of the first and its opposite */
        w->scores[0] = -w->pairs[0];
        w->scores[1] = w->pairs[0];
    } else {
        memcpy(w->scores, w->pairs, (size_t)n * sizeof *w->scores);
    }
    tn_ml_apply(s->post, w->scores, n);
    return best(w->votes, s->classes);
}

static tern_status run_svm_classifier(tn_run *c) {
    svm s;
    svm_work w;
    int64_t rows = 0, columns = 0;
    TN_TRY(get_svm(c->node, true, &s, c->err));
    tn_ml_matrix(&c->in[0]->shape, &rows, &columns);
    int64_t n = svm_scores(&s);
    tn_arena arena;
    tn_arena_init(&arena, 0);
    w.row = tn_arena_array(&arena, (size_t)columns + 1, sizeof(double));
    w.kernels = tn_arena_array(&arena, (size_t)s.supports + 1, sizeof(double));
    w.pairs = tn_arena_array(&arena, (size_t)s.pairs + 1, sizeof(double));
    w.votes = tn_arena_array(&arena, (size_t)s.classes + 1, sizeof(double));
    w.scores = tn_arena_array(&arena, (size_t)n + 1, sizeof(double));
    size_t cells = s.n_prob ? (size_t)(s.classes * (2 * s.classes + 1)) : 1;
    w.matrix = tn_arena_array(&arena, cells, sizeof(double));
    bool ok = w.row && w.kernels && w.pairs && w.votes && w.scores && w.matrix;
    tern_tensor *labels = tn_args_out(c, 0), *out = tn_args_out(c, 1);
    for (int64_t r = 0; ok && r < rows; r++) {
        load_row(c->in[0], r, columns, w.row);
        int64_t label = score_row(&s, &w, columns);
        if (labels && s.classes == 1) put_single(&s.labels, labels, r, label != 0);
        if (labels && s.classes > 1) tn_ml_put_label(&s.labels, labels, r, label);
        for (int64_t k = 0; out && k < n; k++) ((float *)out->data)[r * n + k] = (float)w.scores[k];
    }
    tn_arena_release(&arena);
    return ok ? TERN_OK : tn_fail_oom(c->err, cells * sizeof(double));
}

const tn_op tn_op_svm_classifier = TN_ARGS_OP(infer_svm_classifier, run_svm_classifier, 1, 1, 1, 2, 0);
const tn_op tn_op_svm_regressor = TN_ARGS_OP(infer_svm_regressor, run_svm_regressor, 1, 1, 1, 1, 0);
