/* Small models made in a test: values by name, nodes in order.
 *
 *   mb b;
 *   mb_begin(&b, 13);
 *   mb_input(&b, "x", TERN_FLOAT, 4, (int64_t[]){1, 3, 8, 8});      // a negative dim is free, named n<position>
 *   mb_random(&b, "w", 4, (int64_t[]){16, 3, 3, 3});                // a float constant
 *   tn_node *conv = mb_node(&b, "Conv", "x w", "y");                // "-" is an absent input
 *   mb_ints(conv, "pads", 4, (int64_t[]){1, 1, 1, 1});
 *   mb_output(&b, "y");
 *   tern_model *m = mb_end(&b);                                     // tern_model_free(m) when the session is gone
 */
#ifndef TESTS_MODEL_BUILDER_H
#define TESTS_MODEL_BUILDER_H

#include "graph/graph.h"
#include "test_util.h"

typedef struct mb {
    tern_model *model;
    tn_graph *graph;
    int opset;
    tt_rng rng;
} mb;

static inline void mb_begin_seed(mb *b, int opset, uint64_t seed) {
    b->model = tn_model_new();
    assert_non_null(b->model);
    b->graph = b->model->graph = tn_graph_new(b->model, NULL, "test");
    assert_non_null(b->graph);
    b->opset = opset;
    b->rng = tt_rng_init(seed);
}

static inline void mb_begin(mb *b, int opset) { mb_begin_seed(b, opset, 1); }

static inline tn_value *mb_value(mb *b, const char *name) {
    tn_value *v = tn_graph_value(b->graph, name);
    assert_non_null(v);
    return v;
}

static inline void mb_input(mb *b, const char *name, tern_dtype dtype, int rank, const int64_t *dims) {
    tn_value *v = mb_value(b, name);
    v->type = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = dtype, .ranked = true, .shape = tn_shape_of(rank, dims)};
    for (int i = 0; i < rank; i++) {
        char symbol[16];
        snprintf(symbol, sizeof symbol, "n%d", i);
        if (dims[i] < 0) v->type.shape.dims[i] = tn_model_symbol(b->model, symbol);
    }
    assert_int_equal(tn_graph_add_input(b->graph, v, NULL), TERN_OK);
}

static inline void mb_output(mb *b, const char *name) {
    assert_int_equal(tn_graph_add_output(b->graph, mb_value(b, name), NULL), TERN_OK);
}

static inline tern_tensor *mb_constant(mb *b, const char *name, tern_dtype dtype, int rank, const int64_t *dims) {
    tern_tensor *t;
    tn_shape shape = tn_shape_of(rank, dims);
    assert_int_equal(tn_tensor_new(&t, dtype, &shape, NULL), TERN_OK);
    assert_int_equal(tn_model_own_tensor(b->model, t, NULL), TERN_OK);
    tn_value *v = mb_value(b, name);
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    return t;
}

static inline void mb_floats(mb *b, const char *name, int rank, const int64_t *dims, const float *values) {
    tern_tensor *t = mb_constant(b, name, TERN_FLOAT, rank, dims);
    memcpy(t->data, values, tn_tensor_bytes(t));
}

static inline void mb_scalar(mb *b, const char *name, float value) { mb_floats(b, name, 0, NULL, &value); }

static inline void mb_int64s(mb *b, const char *name, int64_t count, const int64_t *values) {
    memcpy(mb_constant(b, name, TERN_INT64, 1, &count)->data, values, (size_t)count * sizeof *values);
}

/* Uniform in [low, high). */
static inline void mb_random_in(mb *b, const char *name, int rank, const int64_t *dims, float low, float high) {
    tern_tensor *t = mb_constant(b, name, TERN_FLOAT, rank, dims);
    tt_fill_f32(&b->rng, t->data, (size_t)tn_shape_count(&t->shape), low, high);
}

static inline void mb_random(mb *b, const char *name, int rank, const int64_t *dims) {
    mb_random_in(b, name, rank, dims, -1, 1);
}

static inline int mb_names(mb *b, const char *names, tn_value **out) {
    char text[400];
    int n = 0;
    snprintf(text, sizeof text, "%s", names);
    for (char *save, *name = strtok_r(text, " ", &save); name; name = strtok_r(NULL, " ", &save))
        out[n++] = strcmp(name, "-") == 0 ? NULL : mb_value(b, name);
    return n;
}

static inline tn_node *mb_node(mb *b, const char *op_type, const char *inputs, const char *outputs) {
    tn_value *in[40], *out[40];
    int n_in = mb_names(b, inputs, in), n_out = mb_names(b, outputs, out);
    tn_node *n = tn_graph_add_node(b->graph, "", op_type, b->opset, n_in, n_out);
    assert_non_null(n);
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    for (int i = 0; i < n_out; i++) n->out[i] = out[i];
    return n;
}

static inline tn_attr *mb_attr(tn_node *n, const char *name, tn_attr_type type) {
    tn_attr *a = tn_node_add_attr(n, name, type);
    assert_non_null(a);
    a->count = 1;
    return a;
}

static inline void mb_int(tn_node *n, const char *name, int64_t v) { mb_attr(n, name, TN_ATTR_INT)->i = v; }
static inline void mb_float(tn_node *n, const char *name, float v) { mb_attr(n, name, TN_ATTR_FLOAT)->f = v; }

static inline void mb_ints(tn_node *n, const char *name, size_t count, const int64_t *values) {
    tn_attr *a = mb_attr(n, name, TN_ATTR_INTS);
    int64_t *copy = tn_arena_array(&n->graph->model->arena, count + 1, sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, values, count * sizeof *copy);
    a->ints = copy;
    a->count = count;
}

static inline tern_model *mb_end(mb *b) {
    tern_error err;
    if (tn_graph_finish(b->graph, &err) != TERN_OK) fail_msg("%s", err.text);
    return b->model;
}

/* A random float input. */
static inline tern_tensor *mb_random_tensor(uint64_t seed, int rank, const int64_t *dims) {
    tern_tensor *t;
    assert_int_equal(tern_tensor_create(&t, TERN_FLOAT, rank, dims, NULL), TERN_OK);
    tt_rng rng = tt_rng_init(seed);
    tt_fill_f32(&rng, t->data, (size_t)tn_shape_count(&t->shape), -1, 1);
    return t;
}

#endif
