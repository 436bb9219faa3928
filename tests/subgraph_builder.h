/* Subgraphs for model_builder.h: bodies and branches, and runs of the whole.
 *
 *   mb body = sub_begin(&b, "body");
 *   sub_capture(&body, &b, "w");                      // the outer value of the same name
 *   ... mb_input, mb_node, mb_output on &body ...
 *   sub_attr(mb_node(&b, "Loop", "m c x", "y"), "body", &body);
 */
#ifndef TESTS_SUBGRAPH_BUILDER_H
#define TESTS_SUBGRAPH_BUILDER_H

#include "model_builder.h"
#include "runtime/runtime.h"
#include "tern/tern.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

static inline mb sub_begin(mb *outer, const char *name) {
    mb b = *outer;
    b.graph = tn_graph_new(outer->model, outer->graph, name);
    assert_non_null(b.graph);
    return b;
}

static inline void sub_capture(mb *b, mb *outer, const char *name) {
    mb_value(b, name)->captured = mb_value(outer, name);
}

static inline void sub_attr(tn_node *n, const char *name, const mb *body) {
    mb_attr(n, name, TN_ATTR_GRAPH)->g = body->graph;
}

static inline void sub_bool(mb *b, const char *name, bool value) {
    *(uint8_t *)mb_constant(b, name, TERN_BOOL, 0, NULL)->data = value;
}

static inline void sub_int(mb *b, const char *name, int64_t value) {
    *(int64_t *)mb_constant(b, name, TERN_INT64, 0, NULL)->data = value;
}

/* A session on a finished model with one run behind it. */
typedef struct sub_run {
    tern_model *model;
    tern_session *session;
    tern_tensor *out[8];
    size_t n_out;
    tern_options options;
    tern_error err;
} sub_run;

static inline void sub_options(sub_run *r) {
    memset(r, 0, sizeof *r);
    tern_options_init(&r->options);
    r->options.threads = 1;
}

/* Opens a session (r->options is set) and runs it. */
static inline tern_status sub_try(sub_run *r, tern_model *m, const tern_feed *feeds, size_t n_feeds) {
    r->model = m;
    TN_TRY(tern_session_create(&r->session, m, &r->options, &r->err));
    r->n_out = (size_t)m->graph->n_outputs;
    return tern_session_run(r->session, feeds, n_feeds, NULL, r->out, r->n_out, &r->err);
}

static inline void sub_must(sub_run *r, tern_model *m, const tern_feed *feeds, size_t n_feeds) {
    sub_options(r);
    if (sub_try(r, m, feeds, n_feeds) != TERN_OK) fail_msg("%s", r->err.text);
}

static inline void sub_end(sub_run *r) {
    for (size_t i = 0; i < r->n_out; i++) tern_tensor_free(r->out[i]);
    tern_session_free(r->session);
    tern_model_free(r->model);
}

static inline void sub_fails(tern_model *m, const tern_feed *feeds, size_t n_feeds, tern_status status,
                             const char *word) {
    sub_run r;
    sub_options(&r);
    tern_status got = sub_try(&r, m, feeds, n_feeds);
    if (got != status) fail_msg("status %d (%s), expected %d", got, got ? r.err.text : "", status);
    if (!strstr(r.err.text, word)) fail_msg("'%s' does not mention '%s'", r.err.text, word);
    sub_end(&r);
}

static inline void sub_expect(const tern_tensor *t, int rank, const int64_t *dims, const double *values) {
    assert_non_null(t);
    assert_int_equal(t->kind, TERN_KIND_TENSOR);
    assert_int_equal(t->shape.rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(t->shape.dims[i], dims[i]);
    for (int64_t i = 0; i < tern_tensor_count(t); i++)
        if (tn_tensor_get_f64(t, i) != values[i])
            fail_msg("element %lld is %g, expected %g", (long long)i, tn_tensor_get_f64(t, i), values[i]);
}

#define EXPECT(T, DIMENSIONS, ...) \
    sub_expect(T, (int)(sizeof(DIMENSIONS) / sizeof(int64_t)), DIMENSIONS, (const double[]){__VA_ARGS__})
#define EXPECT_SCALAR(T, VALUE) sub_expect(T, 0, NULL, (const double[]){VALUE})

static inline tern_tensor *sub_tensor(tern_dtype dtype, int rank, const int64_t *dims) {
    tern_tensor *t;
    assert_int_equal(tern_tensor_create(&t, dtype, rank, dims, NULL), TERN_OK);
    return t;
}

static inline tern_tensor *sub_floats(int rank, const int64_t *dims, const float *values) {
    tern_tensor *t = sub_tensor(TERN_FLOAT, rank, dims);
    memcpy(t->data, values, tern_tensor_bytes(t));
    return t;
}

static inline tern_tensor *sub_flag(bool value) {
    tern_tensor *t = sub_tensor(TERN_BOOL, 0, NULL);
    *(uint8_t *)t->data = value;
    return t;
}

static inline tern_tensor *sub_count(int64_t value) {
    tern_tensor *t = sub_tensor(TERN_INT64, 0, NULL);
    *(int64_t *)t->data = value;
    return t;
}

#endif
