/* Harness for tests of single operators: a graph of one node, evaluated on literals.
 *
 *   op_test t;
 *   op_begin(&t, "Gather", 13);                                  // ai.onnx; op_begin_domain for others
 *   op_attr_i(&t, "axis", 1);
 *   op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 2, 3, 4)));
 *   op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(1)));             // op_in(&t, NULL): absent
 *   op_out(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(2, 4)));      // op_out(&t, NULL): not wanted
 *   op_run(&t, 1e-6, 1e-7);                                      // or op_run_exact(&t)
 *
 * op_run infers, prepares and runs the node, compares every output, and checks that inference which knows less (no
 * values, symbols for dims, no ranks) says nothing that the real outputs contradict. It releases the test.
 * op_error expects a failure instead; op_eval keeps the outputs in t.result for checks of the test's own, until op_end.
 */
#ifndef TN_TESTS_OP_TEST_H
#define TN_TESTS_OP_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"
#include "fuzz/op_case.h"
#include "graph/graph.h"
#include "ops/ops.h"
#include "tensor/tensor.h"

#define OP_MAX 40

typedef struct op_test {
    tern_model *model;
    tn_graph *graph;
    tn_node *node;
    const char *domain, *name;
    int opset;
    tern_tensor *in[OP_MAX], *out[OP_MAX]; /* owned; out is what is expected */
    bool any[OP_MAX];                      /* wanted, but not compared */
    tern_tensor *result[OP_MAX];           /* after op_eval; owned */
    tn_attr attrs[OP_MAX];
    int n_in, n_out, n_attrs;
    tern_error err;
} op_test;

#define DIMS(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { __VA_ARGS__ }
#define SCALAR \
    0, (const int64_t[]) { 1 }
#define VALS(...) \
    sizeof((double[]){__VA_ARGS__}) / sizeof(double), (const double[]) { __VA_ARGS__ }
#define INTS(...) \
    sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]) { __VA_ARGS__ }
#define STRS(...) \
    sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *const[]) { __VA_ARGS__ }
#define NO_VALS 0, NULL

/* ---- tensors ------------------------------------------------------------------------------------------------- */

static inline tern_tensor *op_tensor(tern_dtype dtype, int rank, const int64_t *dims) {
    tern_tensor *t = NULL;
    tern_error err;
    if (tern_tensor_create(&t, dtype, rank, dims, &err)) fail_msg("tensor: %s", err.text);
    return t;
}

/* Stores a number as an element of any numeric type, rounded to nearest, floats saturated where the type says so. */
static inline void op_set(tern_tensor *t, int64_t i, double v) {
    switch (t->dtype) {
    case TERN_FLOAT:
        ((float *)t->data)[i] = (float)v;
        break;
    case TERN_DOUBLE:
        ((double *)t->data)[i] = v;
        break;
    case TERN_FLOAT16:
        ((uint16_t *)t->data)[i] = tn_f32_to_f16((float)v);
        break;
    case TERN_BFLOAT16:
        ((uint16_t *)t->data)[i] = tn_f32_to_bf16((float)v);
        break;
    case TERN_FLOAT8E4M3FN:
        ((uint8_t *)t->data)[i] = tn_f32_to_f8e4m3fn((float)v, true);
        break;
    case TERN_FLOAT8E4M3FNUZ:
        ((uint8_t *)t->data)[i] = tn_f32_to_f8e4m3fnuz((float)v, true);
        break;
    case TERN_FLOAT8E5M2:
        ((uint8_t *)t->data)[i] = tn_f32_to_f8e5m2((float)v, true);
        break;
    case TERN_FLOAT8E5M2FNUZ:
        ((uint8_t *)t->data)[i] = tn_f32_to_f8e5m2fnuz((float)v, true);
        break;
    case TERN_FLOAT8E8M0:
        ((uint8_t *)t->data)[i] = tn_f32_to_f8e8m0((float)v, true, 'n');
        break;
    case TERN_FLOAT4E2M1:
        ((uint8_t *)t->data)[i] = tn_f32_to_f4e2m1((float)v);
        break;
    case TERN_INT8:
    case TERN_INT4:
    case TERN_INT2:
        ((int8_t *)t->data)[i] = (int8_t)v;
        break;
    case TERN_UINT8:
    case TERN_UINT4:
    case TERN_UINT2:
    case TERN_BOOL:
        ((uint8_t *)t->data)[i] = (uint8_t)v;
        break;
    case TERN_INT16:
        ((int16_t *)t->data)[i] = (int16_t)v;
        break;
    case TERN_UINT16:
        ((uint16_t *)t->data)[i] = (uint16_t)v;
        break;
    case TERN_INT32:
        ((int32_t *)t->data)[i] = (int32_t)v;
        break;
    case TERN_UINT32:
        ((uint32_t *)t->data)[i] = (uint32_t)v;
        break;
    case TERN_INT64:
        ((int64_t *)t->data)[i] = (int64_t)v;
        break;
    case TERN_UINT64:
        ((uint64_t *)t->data)[i] = (uint64_t)v;
        break;
    case TERN_COMPLEX64:
        ((float *)t->data)[i] = (float)v;
        break; /* i counts parts */
    case TERN_COMPLEX128:
        ((double *)t->data)[i] = v;
        break;
    default:
        fail_msg("op_set: type %s", tern_dtype_name(t->dtype));
    }
}

static inline int64_t op_parts(const tern_tensor *t) {
    return tern_tensor_count(t) * (t->dtype == TERN_COMPLEX64 || t->dtype == TERN_COMPLEX128 ? 2 : 1);
}

/* Complex types: real and imaginary parts in turn. */
static inline tern_tensor *op_num(tern_dtype dtype, int rank, const int64_t *dims, size_t n, const double *values) {
    tern_tensor *t = op_tensor(dtype, rank, dims);
    if ((int64_t)n != op_parts(t)) fail_msg("op_num: %zu values for %lld", n, (long long)op_parts(t));
    for (size_t i = 0; i < n; i++) op_set(t, (int64_t)i, values[i]);
    return t;
}

/* For 64-bit integers that a double can not hold. */
static inline tern_tensor *op_int(tern_dtype dtype, int rank, const int64_t *dims, size_t n, const int64_t *values) {
    tern_tensor *t = op_tensor(dtype, rank, dims);
    if ((int64_t)n != tern_tensor_count(t)) fail_msg("op_int: %zu values for %lld", n, (long long)tern_tensor_count(t));
    for (size_t i = 0; i < n; i++) {
        if (dtype == TERN_INT64 || dtype == TERN_UINT64) {
            ((int64_t *)t->data)[i] = values[i];
        } else {
            op_set(t, (int64_t)i, (double)values[i]);
        }
    }
    return t;
}

static inline tern_tensor *op_str(int rank, const int64_t *dims, size_t n, const char *const *values) {
    tern_tensor *t = op_tensor(TERN_STRING, rank, dims);
    if ((int64_t)n != tern_tensor_count(t)) fail_msg("op_str: %zu values for %lld", n, (long long)tern_tensor_count(t));
    for (size_t i = 0; i < n; i++) {
        if (tern_tensor_set_string(t, (int64_t)i, values[i], strlen(values[i]), NULL)) fail_msg("op_str: no memory");
    }
    return t;
}

/* Elements v[i] = fn(i). */
static inline tern_tensor *op_gen(tern_dtype dtype, int rank, const int64_t *dims, double (*fn)(int64_t i)) {
    tern_tensor *t = op_tensor(dtype, rank, dims);
    for (int64_t i = 0; i < op_parts(t); i++) op_set(t, i, fn(i));
    return t;
}

/* Numbers in [lo, hi] that look random and are the same in every run. */
static inline tern_tensor *op_rand(tern_dtype dtype, int rank, const int64_t *dims, double lo, double hi,
                                   uint32_t seed) {
    tern_tensor *t = op_tensor(dtype, rank, dims);
    uint64_t s = 0x9e3779b97f4a7c15u * (seed + 1u);
    for (int64_t i = 0; i < op_parts(t); i++) {
        s ^= s << 13, s ^= s >> 7, s ^= s << 17;
        op_set(t, i, lo + (hi - lo) * (double)(s >> 11) / 9007199254740992.0);
    }
    return t;
}

/* ---- building a test ----------------------------------------------------------------------------------------- */

static inline void op_begin_domain(op_test *t, const char *domain, const char *name, int opset) {
    memset(t, 0, sizeof *t);
    t->domain = domain;
    t->name = name;
    t->opset = opset;
    t->model = tn_model_new();
    assert_non_null(t->model);
    t->graph = tn_graph_new(t->model, NULL, "test");
    assert_non_null(t->graph);
    t->model->graph = t->graph;
}

static inline void op_begin(op_test *t, const char *name, int opset) { op_begin_domain(t, "", name, opset); }

/* The test owns the tensor from here on. */
static inline void op_in(op_test *t, tern_tensor *tensor) { t->in[t->n_in++] = tensor; }
static inline void op_out(op_test *t, tern_tensor *tensor) { t->out[t->n_out++] = tensor; }
/* An output that is wanted but not compared. */
static inline void op_out_any(op_test *t) { t->any[t->n_out++] = true; }

static inline tn_attr *op_attr(op_test *t, const char *name, tn_attr_type type, size_t count) {
    tn_attr *a = &t->attrs[t->n_attrs++];
    a->name = name;
    a->type = type;
    a->count = count;
    return a;
}
static inline void op_attr_i(op_test *t, const char *name, int64_t v) { op_attr(t, name, TN_ATTR_INT, 1)->i = v; }
static inline void op_attr_f(op_test *t, const char *name, float v) { op_attr(t, name, TN_ATTR_FLOAT, 1)->f = v; }
static inline void op_attr_s(op_test *t, const char *name, const char *v) {
    op_attr(t, name, TN_ATTR_STRING, 1)->s = tn_str_c(v);
}
/* Lists are copied: op_attr_ints(&t, "pads", INTS(1, 1)). */
static inline void op_attr_ints(op_test *t, const char *name, size_t n, const int64_t *v) {
    int64_t *copy = tn_arena_array(&t->model->arena, n + 1, sizeof *v);
    if (n > 0) memcpy(copy, v, n * sizeof *v);
    op_attr(t, name, TN_ATTR_INTS, n)->ints = copy;
}
static inline void op_attr_floats(op_test *t, const char *name, size_t n, const double *v) {
    float *copy = tn_arena_array(&t->model->arena, n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++) copy[i] = (float)v[i];
    op_attr(t, name, TN_ATTR_FLOATS, n)->floats = copy;
}
static inline void op_attr_strings(op_test *t, const char *name, size_t n, const char *const *v) {
    tn_str *copy = tn_arena_array(&t->model->arena, n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++) copy[i] = tn_str_c(v[i]);
    op_attr(t, name, TN_ATTR_STRINGS, n)->strings = copy;
}
/* The model owns the tensor from here on. */
static inline void op_attr_tensor(op_test *t, const char *name, tern_tensor *v) {
    assert_int_equal(tn_model_own_tensor(t->model, v, NULL), TERN_OK);
    op_attr(t, name, TN_ATTR_TENSOR, 1)->t = v;
}
/* `g` was made with tn_graph_new(t.model, t.graph, ...). */
static inline void op_attr_graph(op_test *t, const char *name, tn_graph *g) {
    op_attr(t, name, TN_ATTR_GRAPH, 1)->g = g;
}

static inline void op_end(op_test *t) {
    for (int i = 0; i < OP_MAX; i++) {
        tern_tensor_free(t->in[i]);
        tern_tensor_free(t->out[i]);
        tern_tensor_free(t->result[i]);
    }
    tn_model_free(t->model);
    memset(t, 0, sizeof *t);
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

static inline bool op_close(double want, double got, double rtol, double atol) {
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (want == got) return true;
    if (isinf(want) || isinf(got)) return false;
    return fabs(want - got) <= atol + rtol * fabs(want);
}

static inline double op_part(const tern_tensor *t, int64_t i) {
    if (t->dtype == TERN_COMPLEX64) return ((const float *)t->data)[i];
    if (t->dtype == TERN_COMPLEX128) return ((const double *)t->data)[i];
    return tn_tensor_get_f64(t, i);
}

/* Fails the test at the first difference. `what` names the tensor in the message. */
static inline void op_compare(const char *what, const tern_tensor *want, const tern_tensor *got, double rtol,
                              double atol) {
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    if (got == NULL) fail_msg("%s: no result", what);
    if (want->kind != got->kind) fail_msg("%s: kind %d, expected %d", what, got->kind, want->kind);
    if (want->kind != TERN_KIND_TENSOR) {
        if (want->n_items != got->n_items) {
            fail_msg("%s: %zu items, expected %zu", what, got->n_items, want->n_items);
        }
        for (size_t i = 0; i < want->n_items; i++) op_compare(what, want->items[i], got->items[i], rtol, atol);
        return;
    }
    if (want->dtype != got->dtype || !tn_shape_equal(&want->shape, &got->shape)) {
        fail_msg("%s: %s[%s], expected %s[%s]", what, tern_dtype_name(got->dtype),
                 tn_shape_text(&got->shape, a, sizeof a), tern_dtype_name(want->dtype),
                 tn_shape_text(&want->shape, b, sizeof b));
    }
    for (int64_t i = 0; i < op_parts(want); i++) {
        if (want->dtype == TERN_STRING) {
            tern_string w = ((const tern_string *)want->data)[i], g = ((const tern_string *)got->data)[i];
            if (w.len != g.len || (w.len > 0 && memcmp(w.data, g.data, w.len) != 0)) {
                fail_msg("%s: element %lld is '%.*s', expected '%.*s'", what, (long long)i, (int)g.len, g.data,
                         (int)w.len, w.data);
            }
        } else if (want->dtype == TERN_INT64 || want->dtype == TERN_UINT64) {
            int64_t w = ((const int64_t *)want->data)[i], g = ((const int64_t *)got->data)[i];
            if (w != g)
                fail_msg("%s: element %lld is %lld, expected %lld", what, (long long)i, (long long)g, (long long)w);
        } else if (!op_close(op_part(want, i), op_part(got, i), rtol, atol)) {
            fail_msg("%s: element %lld of [%s] is %.9g, expected %.9g", what, (long long)i,
                     tn_shape_text(&want->shape, a, sizeof a), op_part(got, i), op_part(want, i));
        }
    }
}

/* ---- running ------------------------------------------------------------------------------------------------- */

static inline tern_status op_build(op_test *t) {
    if (t->node == NULL) {
        t->node = tn_graph_add_node(t->graph, t->domain, t->name, t->opset, t->n_in, t->n_out);
        assert_non_null(t->node);
        char name[32];
        for (int i = 0; i < t->n_in; i++) {
            if (t->in[i] == NULL) continue;
            snprintf(name, sizeof name, "in%d", i);
            t->node->in[i] = tn_graph_value(t->graph, name);
            t->node->in[i]->type = tn_type_of_tensor(t->in[i]);
            assert_int_equal(tn_graph_add_input(t->graph, t->node->in[i], NULL), TERN_OK);
        }
        for (int i = 0; i < t->n_out; i++) {
            if (t->out[i] == NULL && !t->any[i]) continue;
            snprintf(name, sizeof name, "out%d", i);
            t->node->out[i] = tn_graph_value(t->graph, name);
            assert_int_equal(tn_graph_add_output(t->graph, t->node->out[i], NULL), TERN_OK);
        }
        for (int i = 0; i < t->n_attrs; i++) {
            tn_attr *a = tn_node_add_attr(t->node, t->attrs[i].name, t->attrs[i].type);
            assert_non_null(a);
            const char *kept = a->name;
            *a = t->attrs[i];
            a->name = kept;
        }
        TN_TRY(tn_graph_finish(t->graph, &t->err));
    }
    return tn_op_resolve(t->node, &t->err);
}

/* Writes the test's case for fuzz/fuzz_op.c to the folder that TERN_OP_CASES names, once per operator and version. */
static inline void op_write_case(op_test *t) {
    const char *folder = getenv("TERN_OP_CASES");
    char path[600];
    if (!folder || !t->node->since) return;
    snprintf(path, sizeof path, "%s/%s%s%s-%d", folder, t->domain, *t->domain ? "." : "", t->name, t->node->since);
    FILE *f = fopen(path, "wbx");
    if (!f) return; /* there is one already */
    op_case c = {.model = t->model};
    for (int i = 0; i < t->n_in && c.n_in < OP_CASE_INPUTS; i++)
        if (t->in[i]) c.in[c.n_in++] = t->in[i];
    tn_opset_import opsets[] = {{t->domain, t->opset}, {"", 22}};
    t->model->opsets = opsets;
    t->model->n_opsets = *t->domain ? 2 : 1;
    static uint8_t bytes[1 << 20];
    size_t n = op_case_write(&c, bytes, sizeof bytes);
    if (fwrite(bytes, 1, n, f) != n) fail_msg("%s: can not be written", path);
    fclose(f);
    if (n == 0 || n > 8192) remove(path);
    t->model->opsets = NULL;
    t->model->n_opsets = 0;
}

/* Status of resolving, inferring, preparing and running the node; results are in t->result. */
static inline tern_status op_try(op_test *t) {
    TN_TRY(op_build(t));
    op_write_case(t);
    return tn_node_eval(t->node, t->in, t->result, &t->err);
}

static inline void op_eval(op_test *t) {
    if (op_try(t) != TERN_OK) fail_msg("%s-%d: %s", t->name, t->opset, t->err.text);
}

static inline bool op_has_graphs(const op_test *t) {
    for (int i = 0; i < t->n_attrs; i++) {
        if (t->attrs[i].type == TN_ATTR_GRAPH || t->attrs[i].type == TN_ATTR_GRAPHS) return true;
    }
    return false;
}

/* Does what inference said hold for the real tensor? Symbol k stands for the number symbols[k]. */
static inline void op_check_type(const op_test *t, int o, const tn_type *said, const int64_t *symbols,
                                 uint32_t n_symbols, const char *how) {
    const tern_tensor *real = t->result[o];
    if (said->kind == TERN_KIND_TENSOR && said->dtype == TERN_UNDEFINED && !said->ranked) return; /* says nothing */
    if (said->kind != real->kind) fail_msg("%s: infer %s: output %d has kind %d", t->name, how, o, said->kind);
    if (real->kind != TERN_KIND_TENSOR) return;
    if (said->dtype != TERN_UNDEFINED && said->dtype != real->dtype) {
        fail_msg("%s: infer %s: output %d is %s, really %s", t->name, how, o, tern_dtype_name(said->dtype),
                 tern_dtype_name(real->dtype));
    }
    if (!said->ranked) return;
    if (said->shape.rank != real->shape.rank) {
        fail_msg("%s: infer %s: output %d has rank %d, really %d", t->name, how, o, said->shape.rank, real->shape.rank);
    }
    for (int i = 0; i < real->shape.rank; i++) {
        int64_t d = said->shape.dims[i];
        if (tn_dim_is_symbol(d)) {
            if (tn_dim_symbol_index(d) >= n_symbols) continue;
            d = symbols[tn_dim_symbol_index(d)];
        }
        if (tn_dim_known(d) && d != real->shape.dims[i]) {
            fail_msg("%s: infer %s: dim %d of output %d is %lld, really %lld", t->name, how, i, o, (long long)d,
                     (long long)real->shape.dims[i]);
        }
    }
}

enum { OP_INFER_SHAPES, OP_INFER_SYMBOLS, OP_INFER_UNKNOWN_DIMS, OP_INFER_NO_RANK, OP_INFER_NOTHING, OP_INFER_MODES };

/* One inference with less knowledge than the real one had. */
static inline void op_infer_mode(op_test *t, int mode) {
    static const char *const names[] = {"without values", "with symbols", "without dims", "without ranks",
                                        "without types"};
    tn_type in[OP_MAX], out[OP_MAX];
    const tn_type *in_ptr[OP_MAX] = {0};
    const tern_tensor *value[OP_MAX] = {0};
    const int64_t *partial[OP_MAX] = {0}, *out_partial[OP_MAX] = {0};
    int64_t symbols[OP_MAX * TERN_MAX_RANK];
    uint32_t n_symbols = 0;
    memset(out, 0, sizeof out);
    for (int i = 0; i < t->n_in; i++) {
        if (t->in[i] == NULL) continue;
        in[i] = tn_type_of_tensor(t->in[i]);
        in_ptr[i] = &in[i];
        for (int d = 0; in[i].kind == TERN_KIND_TENSOR && d < in[i].shape.rank; d++) {
            if (mode == OP_INFER_SYMBOLS) {
                symbols[n_symbols] = in[i].shape.dims[d];
                in[i].shape.dims[d] = tn_model_symbol(t->model, NULL);
                assert_int_equal(tn_dim_symbol_index(in[i].shape.dims[d]), n_symbols);
                n_symbols++;
            } else if (mode != OP_INFER_SHAPES) {
                in[i].shape.dims[d] = TN_DIM_UNKNOWN;
            }
        }
        if (mode >= OP_INFER_NO_RANK) in[i].ranked = false;
        if (mode == OP_INFER_NOTHING && in[i].kind == TERN_KIND_TENSOR) in[i].dtype = TERN_UNDEFINED;
    }
    tn_infer c = {.node = t->node,
                  .model = t->model,
                  .in = in_ptr,
                  .value = value,
                  .partial = partial,
                  .out = out,
                  .out_partial = out_partial,
                  .arena = &t->model->arena,
                  .err = &t->err};
    if (t->node->op->infer(&c) != TERN_OK) {
        fail_msg("%s-%d: infer %s fails: %s", t->name, t->opset, names[mode], t->err.text);
    }
    for (int o = 0; o < t->n_out; o++) {
        if (t->result[o] != NULL) op_check_type(t, o, &out[o], symbols, n_symbols, names[mode]);
    }
}

/* After op_eval: every inference that knows less must agree with the results. */
static inline void op_check_infer(op_test *t) {
    if (op_has_graphs(t)) return;
    for (int mode = 0; mode < OP_INFER_MODES; mode++) op_infer_mode(t, mode);
}

static inline void op_run(op_test *t, double rtol, double atol) {
    op_eval(t);
    for (int i = 0; i < t->n_out; i++) {
        char what[96];
        snprintf(what, sizeof what, "%s-%d output %d", t->name, t->opset, i);
        if (t->out[i] != NULL) op_compare(what, t->out[i], t->result[i], rtol, atol);
    }
    op_check_infer(t);
    op_end(t);
}

static inline void op_run_exact(op_test *t) { op_run(t, 0, 0); }

/* Expects a failure with that status whose text contains every one of the words: op_error(&t, TERN_X, STRS("2x3",
 * "axis")). */
static inline void op_error(op_test *t, tern_status status, size_t n, const char *const *words) {
    if (t->n_out == 0) op_out_any(t);
    tern_status got = op_try(t);
    if (got == TERN_OK) fail_msg("%s-%d: no error, expected %s", t->name, t->opset, tern_status_name(status));
    if (got != status) {
        fail_msg("%s-%d: %s (%s), expected %s", t->name, t->opset, tern_status_name(got), t->err.text,
                 tern_status_name(status));
    }
    for (size_t i = 0; i < n; i++) {
        if (strstr(t->err.text, words[i]) == NULL) {
            fail_msg("%s-%d: '%s' does not mention '%s'", t->name, t->opset, t->err.text, words[i]);
        }
    }
    op_end(t);
}

#endif
