/* One step of an optimiser (ai.onnx.preview.training): Adagrad, Adam, Momentum. Inputs are the learning rate R, the
 * update count T, then for n tensors all X, all gradients G and all of each accumulated state; outputs are the new X,
 * then the new states. Elements are computed in double. */
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define BLOCK 256
#define REALS (TN_T(FLOAT) | TN_T(DOUBLE))

/* `states` accumulated tensors for each X: 1 or 2. */
static tern_status infer_optimizer(tn_infer *c, int states) {
    TN_TRY(tn_args_need(c, 0, REALS));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    int groups = 2 + states, tensors = (c->node->n_in - 2) / groups;
    if (c->node->n_in != 2 + tensors * groups || tensors < 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "%d inputs are not R, T and %d for each tensor", c->node->n_in,
                             groups);
    if (c->node->n_out > tensors * (1 + states))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "%d outputs for %d tensors", c->node->n_out, tensors);
    tn_shape s;
    for (int i = 0; i < 2; i++)
        if (tn_args_shape(c, i, &s) && tn_shape_known(&s) && tn_shape_count(&s) != 1)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has %lld elements where a scalar is needed", i,
                                 (long long)tn_shape_count(&s));
    for (int k = 0; k < tensors; k++) {
        for (int g = 0; g < groups; g++) {
            int i = 2 + g * tensors + k;
            TN_TRY(tn_args_need(c, i, REALS));
            TN_TRY(tn_infer_same_type(c, 2 + k, i));
            tn_shape a, b;
            if (!tn_args_shape(c, 2 + k, &a) || !tn_args_shape(c, i, &b)) continue;
            if (!tn_shape_known(&a) || !tn_shape_known(&b) || tn_shape_equal(&a, &b)) continue;
            char ta[TN_SHAPE_TEXT], tb[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s, but its tensor has %s", i,
                                 tn_shape_text(&b, tb, sizeof tb), tn_shape_text(&a, ta, sizeof ta));
        }
        for (int o = 0; o <= states; o++) tn_infer_out_like(c, o * tensors + k, 2 + k);
    }
    return TERN_OK;
}

typedef struct optimizer {
    double rate, norm, epsilon, alpha, beta, post;
    bool nesterov;
} optimizer;

/* x, g, v, h: a block of each; x, v and h are updated. */
typedef void (*step_fn)(const optimizer *o, int64_t n, double *x, const double *g, double *v, double *h);

static void adagrad_step(const optimizer *o, int64_t n, double *x, const double *g, double *h, double *unused) {
    (void)unused;
    for (int64_t i = 0; i < n; i++) {
        double r = o->norm * x[i] + g[i];
        h[i] += r * r;
        x[i] -= o->rate * r / (sqrt(h[i]) + o->epsilon);
    }
}

static void adam_step(const optimizer *o, int64_t n, double *x, const double *g, double *v, double *h) {
    for (int64_t i = 0; i < n; i++) {
        double r = o->norm * x[i] + g[i];
        v[i] = o->alpha * v[i] + (1 - o->alpha) * r;
        h[i] = o->beta * h[i] + (1 - o->beta) * r * r;
        x[i] = (1 - o->post) * (x[i] - o->rate * v[i] / (sqrt(h[i]) + o->epsilon));
    }
}

static void momentum_step(const optimizer *o, int64_t n, double *x, const double *g, double *v, double *unused) {
    (void)unused;
    for (int64_t i = 0; i < n; i++) {
        double r = o->norm * x[i] + g[i];
        v[i] = o->alpha * v[i] + o->beta * r;
        x[i] -= o->rate * (o->nesterov ? r + o->alpha * v[i] : v[i]);
    }
}

static void load_block(const tern_tensor *t, int64_t at, int64_t n, double *dst) {
    tn_row_load_f64(t->dtype, t->data, at, n, dst);
}

static void store_block(tern_tensor *t, int64_t at, int64_t n, const double *src) {
    if (t) tn_row_store_f64(t->dtype, t->data, at, n, src);
}

static tern_status step_all(tn_run *c, int states, const optimizer *o, step_fn step) {
    int tensors = (c->node->n_in - 2) / (2 + states);
    double x[BLOCK], g[BLOCK], s[2][BLOCK];
    for (int k = 0; k < tensors; k++) {
        int64_t count = tn_shape_count(&c->in[2 + k]->shape);
        for (int64_t at = 0; at < count; at += BLOCK) {
            int64_t n = TN_MIN((int64_t)BLOCK, count - at);
            load_block(c->in[2 + k], at, n, x);
            load_block(c->in[2 + tensors + k], at, n, g);
            for (int i = 0; i < states; i++) load_block(c->in[2 + (2 + i) * tensors + k], at, n, s[i]);
            step(o, n, x, g, s[0], s[1]);
            store_block(tn_args_out(c, k), at, n, x);
            for (int i = 0; i < states; i++) store_block(tn_args_out(c, (1 + i) * tensors + k), at, n, s[i]);
        }
    }
    return TERN_OK;
}

static optimizer common(const tn_run *c) {
    return (optimizer){.rate = tn_tensor_get_f64(c->in[0], 0),
                       .norm = (double)tn_attr_f(c->node, "norm_coefficient", 0),
                       .epsilon = (double)tn_attr_f(c->node, "epsilon", 0)};
}

static double update_count(const tn_run *c) { return (double)tn_tensor_get_i64(c->in[1], 0); }

static tern_status infer_adagrad(tn_infer *c) { return infer_optimizer(c, 1); }
static tern_status run_adagrad(tn_run *c) {
    optimizer o = common(c);
    o.rate /= 1 + update_count(c) * (double)tn_attr_f(c->node, "decay_factor", 0);
    return step_all(c, 1, &o, adagrad_step);
}

static tern_status infer_adam(tn_infer *c) { return infer_optimizer(c, 2); }
static tern_status run_adam(tn_run *c) {
    optimizer o = common(c);
    double t = update_count(c);
    o.alpha = (double)tn_attr_f(c->node, "alpha", 0.9f);
    o.beta = (double)tn_attr_f(c->node, "beta", 0.999f);
    o.post = (double)tn_attr_f(c->node, "norm_coefficient_post", 0);
    if (t > 0) o.rate *= sqrt(1 - pow(o.beta, t)) / (1 - pow(o.alpha, t));
    return step_all(c, 2, &o, adam_step);
}

static tern_status infer_momentum(tn_infer *c) {
    static const char *const needed[] = {"alpha", "beta", "mode", "norm_coefficient"};
    for (size_t i = 0; i < TN_COUNT(needed); i++)
        if (!tn_attr_find(c->node, needed[i]))
            return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute '%s' is missing", needed[i]);
    tn_str mode = tn_attr_s(c->node, "mode", "");
    if (!tn_str_eq(mode, tn_str_c("standard")) && !tn_str_eq(mode, tn_str_c("nesterov")))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode '%.*s' is neither standard nor nesterov", (int)mode.len,
                             mode.data);
    return infer_optimizer(c, 1);
}

static tern_status run_momentum(tn_run *c) {
    optimizer o = common(c);
    o.alpha = (double)tn_attr_f(c->node, "alpha", 0);
    o.beta = update_count(c) > 0 ? (double)tn_attr_f(c->node, "beta", 0) : 1;
    o.nesterov = tn_attr_is(c->node, "mode", "", "nesterov");
    return step_all(c, 1, &o, momentum_step);
}

const tn_op tn_op_adagrad = TN_ARGS_OP(infer_adagrad, run_adagrad, 3, -1, 1, -1, 0);
const tn_op tn_op_adam = TN_ARGS_OP(infer_adam, run_adam, 3, -1, 1, -1, 0);
const tn_op tn_op_momentum = TN_ARGS_OP(infer_momentum, run_momentum, 3, -1, 1, -1, 0);
