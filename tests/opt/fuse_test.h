/* What the tests of fusion share: a random model run with and without it gives the same numbers. */
#ifndef FUSE_TEST_H
#define FUSE_TEST_H

#include <math.h>

#include "model_builder.h"
#include "runtime/runtime.h"
#include "tern/tern.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

static inline tern_session *session_of(tern_model *m, bool optimize) {
    tern_options o;
    tern_options_init(&o);
    o.optimize = optimize;
    o.threads = 1;
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, &o, &err) != TERN_OK) fail_msg("%s", err.text);
    return s;
}

static inline tern_tensor *run_with(tern_session *s, const tern_tensor *x) {
    tern_tensor *y = NULL;
    tern_error err;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    return y;
}

static inline int count_ops(const tern_session *s, const char *op_type) {
    int n = 0;
    for (int i = 0; i < s->model->graph->n_nodes; i++) n += strcmp(s->model->graph->nodes[i]->op_type, op_type) == 0;
    return n;
}

/* Runs both forms on a random x and compares with a tolerance for sums of `terms` products of numbers up to `size`. */
static inline tern_session *check_equal(tern_model *m, int rank, const int64_t *dims, double terms, double size) {
    tern_session *plain = session_of(m, false), *fused = session_of(m, true);
    tern_tensor *x = mb_random_tensor(7, rank, dims), *a = run_with(plain, x), *b = run_with(fused, x);
    assert_true(tn_shape_equal(&a->shape, &b->shape));
    const float *p = a->data, *q = b->data;
    double tolerance = 4 * 1.2e-7 * terms * size;
    for (int64_t i = 0; i < tn_shape_count(&a->shape); i++)
        if (!(fabs((double)p[i] - q[i]) <= tolerance)) fail_msg("element %d: %.9g, fused %.9g", (int)i, p[i], q[i]);
    tern_tensor_free(x);
    tern_tensor_free(a);
    tern_tensor_free(b);
    tern_session_free(plain);
    return fused;
}

static inline tn_node *add_conv(mb *b, const char *in, const char *out, int64_t ic, int64_t oc, int64_t k,
                                int64_t stride) {
    char w[80], args[240];
    snprintf(w, sizeof w, "w_%s", out);
    mb_random(b, w, 4, DIMS(oc, ic, k, k));
    snprintf(args, sizeof args, "%s %s", in, w);
    tn_node *n = mb_node(b, "Conv", args, out);
    mb_ints(n, "pads", 4, DIMS(k / 2, k / 2, k / 2, k / 2));
    mb_ints(n, "strides", 2, DIMS(stride, stride));
    return n;
}

static inline void add_batchnorm(mb *b, const char *in, const char *out, int64_t c) {
    mb_random_in(b, "scale", 1, &c, 0.5f, 1.5f);
    mb_random(b, "shift", 1, &c);
    mb_random(b, "mean", 1, &c);
    mb_random_in(b, "var", 1, &c, 0.5f, 1.5f);
    char args[80];
    snprintf(args, sizeof args, "%s scale shift mean var", in);
    mb_node(b, "BatchNormalization", args, out);
}

#endif
