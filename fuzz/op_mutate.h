/* Mutations of operator cases: element types, dims and elements of tensors, attributes, the wiring of nodes, opsets. */
#ifndef TN_FUZZ_OP_MUTATE_H
#define TN_FUZZ_OP_MUTATE_H

#include "fuzz/op_case.h"
#include "ops/ops.h"

#include <math.h>

typedef struct op_random {
    uint64_t state;
} op_random;

static inline uint64_t op_random_next(op_random *r) {
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state * 0x9e3779b97f4a7c15u >> 11;
}

/* In [0, n); n > 0. */
static inline int op_random_below(op_random *r, int n) { return (int)(op_random_next(r) % (uint64_t)n); }
static inline bool op_random_one_in(op_random *r, int n) { return op_random_below(r, n) == 0; }

static inline int64_t op_random_int(op_random *r) {
    static const int64_t far[] = {INT64_MIN,        INT64_MAX,        INT64_MIN + 1,    INT32_MAX,
                                  INT32_MIN,        (int64_t)1 << 31, (int64_t)1 << 32, -((int64_t)1 << 32),
                                  (int64_t)1 << 62, 1 << 16,          1000000,          255};
    return op_random_one_in(r, 4) ? far[op_random_below(r, (int)TN_COUNT(far))] : op_random_below(r, 14) - 5;
}

static inline double op_random_float(op_random *r) {
    static const double special[] = {0, -0.0, 1, -1, 0.5, 1e30, -1e30, 3e38, 1e-40, 2147483648.0, 9.3e18, -9.3e18};
    int k = op_random_below(r, (int)TN_COUNT(special) + 3);
    if (k < (int)TN_COUNT(special)) return special[k];
    return k == (int)TN_COUNT(special) ? (double)NAN : k & 1 ? (double)INFINITY : op_random_below(r, 100) / 7.0 - 5;
}

static inline tn_str op_random_word(op_random *r) {
    static const char *const words[] = {"",
                                        "constant",
                                        "reflect",
                                        "edge",
                                        "wrap",
                                        "linear",
                                        "nearest",
                                        "cubic",
                                        "bilinear",
                                        "zeros",
                                        "border",
                                        "add",
                                        "mul",
                                        "max",
                                        "min",
                                        "none",
                                        "sum",
                                        "mean",
                                        "avg",
                                        "VALID",
                                        "NOTSET",
                                        "DCR",
                                        "CRD",
                                        "SAME_UPPER",
                                        "SAME_LOWER",
                                        "align_corners",
                                        "bidirectional",
                                        "floor",
                                        "ceil",
                                        "asymmetric",
                                        "Relu",
                                        "Affine",
                                        "half_pixel",
                                        "tf_crop_and_resize",
                                        "reverse",
                                        "LEFT",
                                        "RIGHT",
                                        "NONE",
                                        "tanh",
                                        "ij,jk->ik",
                                        "...i->i",
                                        "ii->",
                                        "a,b,c->abc",
                                        "[a-z]*(x|y)+",
                                        "LOGISTIC",
                                        "SOFTMAX",
                                        "PROBIT",
                                        "RBF",
                                        "POLY",
                                        "TF",
                                        "IDF",
                                        "UPPER",
                                        "int64",
                                        "stretch"};
    return tn_str_c(words[op_random_below(r, (int)TN_COUNT(words))]);
}

/* ---- tensors ------------------------------------------------------------------------------------------------- */

static inline void op_mutate_element(op_random *r, tern_tensor *t, int64_t i) {
    size_t size = tn_dtype_size(t->dtype);
    uint8_t *at = (uint8_t *)t->data + (size_t)i * size;
    double v = op_random_float(r);
    float f = (float)v;
    int64_t n = op_random_int(r);
    if (t->dtype == TERN_STRING) {
        tn_str w = op_random_word(r);
        (void)tn_tensor_set_string(t, i, w.data, w.len, NULL);
    } else if (t->dtype == TERN_BOOL) {
        *at = (uint8_t)(n & 1);
    } else if (t->dtype == TERN_FLOAT || t->dtype == TERN_COMPLEX64) {
        memcpy(at, &f, sizeof f);
    } else if (t->dtype == TERN_DOUBLE || t->dtype == TERN_COMPLEX128) {
        memcpy(at, &v, sizeof v);
    } else if (tn_dtype_bits(t->dtype) < 8) {
        *at = (uint8_t)(n & ((1 << tn_dtype_bits(t->dtype)) - 1));
        bool is_signed = t->dtype == TERN_INT4 || t->dtype == TERN_INT2;
        int half = 1 << (tn_dtype_bits(t->dtype) - 1);
        if (is_signed && *at >= half) *at = (uint8_t)(*at - 2 * half);
    } else if (size <= sizeof n) {
        memcpy(at, &n, size);
    }
}

/* A tensor of another type or shape, filled in turn with the bytes of the old one where both have equal elements, and
 * with small numbers otherwise. NULL: too large. */
static inline tern_tensor *op_retype(op_random *r, const tern_tensor *old, tern_dtype dtype, const tn_shape *shape) {
    size_t bytes;
    tern_tensor *t;
    if (!tn_bytes_for(dtype, shape, 0, &bytes) || bytes > OP_CASE_TENSOR_BYTES / 16 ||
        tern_tensor_create(&t, dtype, shape->rank, shape->dims, NULL) != TERN_OK)
        return NULL;
    int64_t n = tern_tensor_count(t), n_old = tern_tensor_count(old);
    size_t size = tn_dtype_size(dtype);
    for (int64_t i = 0; i < n; i++) {
        if (dtype == old->dtype && dtype != TERN_STRING && n_old)
            memcpy((uint8_t *)t->data + (size_t)i * size, (const uint8_t *)old->data + (size_t)(i % n_old) * size,
                   size);
        else if (op_random_one_in(r, 2) || dtype == TERN_BOOL || dtype == TERN_STRING)
            op_mutate_element(r, t, i);
    }
    return t;
}

static inline void op_mutate_shape(op_random *r, tn_shape *s) {
    static const int64_t dims[] = {0, 1, 1, 2, 2, 3, 4, 5, 7, 16, 17, 100};
    int at = s->rank ? op_random_below(r, s->rank) : 0;
    switch (op_random_below(r, 5)) {
    case 0: /* one dim more */
        if (s->rank >= TERN_MAX_RANK) return;
        memmove(s->dims + at + 1, s->dims + at, (size_t)(s->rank - at) * sizeof *s->dims);
        s->dims[at] = op_random_one_in(r, 2) ? 1 : 2;
        s->rank++;
        return;
    case 1: /* one dim less */
        if (!s->rank) return;
        s->rank--;
        memmove(s->dims + at, s->dims + at + 1, (size_t)(s->rank - at) * sizeof *s->dims);
        return;
    case 2: /* two dims exchanged */
        if (!s->rank) return;
        int other = op_random_below(r, s->rank);
        int64_t d = s->dims[at];
        s->dims[at] = s->dims[other];
        s->dims[other] = d;
        return;
    default:
        if (s->rank) s->dims[at] = dims[op_random_below(r, (int)TN_COUNT(dims))];
    }
}

/* The tensor after a mutation: itself or another one, which the caller takes over in its place. */
static inline tern_tensor *op_mutate_tensor(op_random *r, tern_tensor *t) {
    if (t->kind != TERN_KIND_TENSOR) {
        if (!t->n_items) return t;
        size_t i = (size_t)op_random_below(r, (int)TN_MIN(t->n_items, 64));
        if (op_random_one_in(r, 4) && t->kind == TERN_KIND_SEQUENCE)
            t->n_items--, tn_tensor_unref(t->items[t->n_items]);
        else if (t->items[i])
            t->items[i] = op_mutate_tensor(r, t->items[i]);
        return t;
    }
    tn_shape shape = t->shape;
    tern_dtype dtype = t->dtype;
    int64_t n = tern_tensor_count(t);
    int what = op_random_below(r, 6);
    if (what < 3) {
        for (int k = 1 + op_random_below(r, 3); n && k > 0; k--)
            op_mutate_element(r, t, (int64_t)(op_random_next(r) % (uint64_t)n));
        return t;
    }
    if (what == 3)
        dtype = (tern_dtype)(1 + op_random_below(r, TERN_DTYPE_COUNT - 1));
    else
        op_mutate_shape(r, &shape);
    tern_tensor *changed = op_retype(r, t, dtype, &shape);
    if (!changed) return t;
    tn_tensor_unref(t);
    return changed;
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

/* Tensors of a model may lie in the file or be shared: a copy that the model owns is mutated. */
static inline void op_mutate_model_tensor(op_random *r, tern_model *m, tern_tensor **t) {
    tern_tensor *copy;
    if (tn_tensor_copy(&copy, *t, NULL) != TERN_OK) return;
    copy = op_mutate_tensor(r, copy);
    if (tn_model_own_tensor(m, copy, NULL) == TERN_OK) *t = copy;
}

static inline void op_mutate_list(op_random *r, tn_arena *arena, tn_attr *a) {
    size_t n = a->count;
    int what = op_random_below(r, 4);
    if (what == 0) n = n ? n - 1 : 1;
    if (what == 1) n++;
    size_t at = n ? (size_t)op_random_below(r, (int)TN_MIN(n, 1000)) : 0, kept = TN_MIN(n, a->count);
    if (a->type == TN_ATTR_INTS) {
        int64_t *v = tn_arena_array(arena, n + 1, sizeof *v);
        if (!v) return;
        if (kept) memcpy(v, a->ints, kept * sizeof *v);
        v[what == 1 ? n - 1 : at] = op_random_int(r);
        a->ints = v;
    } else if (a->type == TN_ATTR_FLOATS) {
        float *v = tn_arena_array(arena, n + 1, sizeof *v);
        if (!v) return;
        if (kept) memcpy(v, a->floats, kept * sizeof *v);
        v[what == 1 ? n - 1 : at] = (float)op_random_float(r);
        a->floats = v;
    } else {
        tn_str *v = tn_arena_array(arena, n + 1, sizeof *v);
        if (!v) return;
        if (kept) memcpy(v, a->strings, kept * sizeof *v);
        v[what == 1 ? n - 1 : at] = op_random_word(r);
        a->strings = v;
    }
    a->count = n;
}

static inline void op_mutate_attr(op_random *r, tern_model *m, tn_attr *a) {
    switch (a->type) {
    case TN_ATTR_INT:
        a->i = op_random_one_in(r, 3) ? (int64_t)((uint64_t)a->i + op_random_next(r) % 3 - 1) : op_random_int(r);
        return;
    case TN_ATTR_FLOAT:
        a->f = (float)op_random_float(r);
        return;
    case TN_ATTR_STRING:
        a->s = op_random_word(r);
        return;
    case TN_ATTR_INTS:
    case TN_ATTR_FLOATS:
    case TN_ATTR_STRINGS:
        op_mutate_list(r, &m->arena, a);
        return;
    case TN_ATTR_TENSOR:
        op_mutate_model_tensor(r, m, &a->t);
        return;
    default:
        return;
    }
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

/* An attribute that some operator knows. */
static inline void op_add_attr(op_random *r, tern_model *m, tn_node *n) {
    static const struct {
        const char *name;
        tn_attr_type type;
    } known[] = {{"axis", TN_ATTR_INT},
                 {"axes", TN_ATTR_INTS},
                 {"keepdims", TN_ATTR_INT},
                 {"mode", TN_ATTR_STRING},
                 {"reduction", TN_ATTR_STRING},
                 {"strides", TN_ATTR_INTS},
                 {"pads", TN_ATTR_INTS},
                 {"dilations", TN_ATTR_INTS},
                 {"group", TN_ATTR_INT},
                 {"auto_pad", TN_ATTR_STRING},
                 {"to", TN_ATTR_INT},
                 {"perm", TN_ATTR_INTS},
                 {"broadcast", TN_ATTR_INT},
                 {"ceil_mode", TN_ATTR_INT},
                 {"output_shape", TN_ATTR_INTS},
                 {"block_size", TN_ATTR_INT},
                 {"output_padding", TN_ATTR_INTS},
                 {"exclusive", TN_ATTR_INT},
                 {"noop_with_empty_axes", TN_ATTR_INT},
                 {"batch_dims", TN_ATTR_INT},
                 {"dtype", TN_ATTR_INT}};
    int k = op_random_below(r, (int)TN_COUNT(known));
    if (tn_attr_find(n, known[k].name)) return;
    tn_attr *a = tn_node_add_attr(n, known[k].name, known[k].type);
    if (!a) return;
    a->count = known[k].type == TN_ATTR_INTS ? 0 : 1;
    if (known[k].type == TN_ATTR_STRING) a->s = tn_str_c("");
    op_mutate_attr(r, m, a);
}

static inline void op_mutate_wiring(op_random *r, tern_model *m, tn_node *n) {
    if (!n->n_in) return;
    int at = op_random_below(r, n->n_in), other = op_random_below(r, n->n_in);
    tn_value *v = n->in[at];
    switch (op_random_below(r, 4)) {
    case 0:
        n->in[at] = NULL;
        return;
    case 1:
        n->in[at] = n->in[other];
        n->in[other] = v;
        return;
    case 2:
        n->n_in--;
        return;
    default: { /* one input more */
        tn_value **in = tn_arena_array(&m->arena, (size_t)n->n_in + 1, sizeof(tn_value *));
        if (!in) return;
        memcpy(in, n->in, (size_t)n->n_in * sizeof(tn_value *));
        in[n->n_in++] = v;
        n->in = in;
    }
    }
}

/* Another operator or another version of the domain for the whole model. */
static inline void op_mutate_op(op_random *r, tern_model *m, tn_node *n) {
    size_t count;
    const tn_op_row *rows = tn_op_rows(&count);
    if (op_random_one_in(r, 3)) {
        const tn_op_row *row = &rows[op_random_below(r, (int)count)];
        if (strcmp(row->domain, n->domain) == 0) n->op_type = row->name;
        return;
    }
    if (!m->n_opsets) return;
    tn_opset_import *o = &m->opsets[op_random_below(r, (int)m->n_opsets)];
    o->version = 1 + op_random_below(r, TN_MAX(tn_op_newest_opset(o->domain), 1));
    for (tn_graph *g = m->all_graphs; g; g = g->next)
        for (int i = 0; i < g->n_nodes; i++)
            if (strcmp(g->nodes[i]->domain, o->domain) == 0) g->nodes[i]->opset = o->version;
}

static inline void op_mutate_node(op_random *r, tern_model *m) {
    int n_graphs = 0;
    for (tn_graph *g = m->all_graphs; g; g = g->next) n_graphs++;
    tn_graph *g = m->all_graphs;
    for (int k = op_random_below(r, TN_MAX(n_graphs, 1)); g && k > 0; k--) g = g->next;
    if (!g || !g->n_nodes) return;
    tn_node *n = g->nodes[op_random_below(r, g->n_nodes)];
    switch (op_random_below(r, 8)) {
    case 0:
        op_mutate_wiring(r, m, n);
        return;
    case 1:
        op_mutate_op(r, m, n);
        return;
    case 2:
        op_add_attr(r, m, n);
        return;
    case 3:
        if (!n->n_attrs) return;
        n->attrs[op_random_below(r, n->n_attrs)] = n->attrs[n->n_attrs - 1];
        n->n_attrs--;
        return;
    default:
        if (n->n_attrs) op_mutate_attr(r, m, &n->attrs[op_random_below(r, n->n_attrs)]);
    }
}

/* ---- cases ----------------------------------------------------------------------------------------------------- */

/* What the file declares of input i follows the value, knows less, or lies. */
static inline void op_declare(op_random *r, op_case *c, int i) {
    tn_type *t = &c->model->graph->inputs[i]->type;
    if (!c->in[i] || c->in[i]->kind != TERN_KIND_TENSOR || t->kind != TERN_KIND_TENSOR) return;
    *t = tn_type_of_tensor(c->in[i]);
    if (op_random_one_in(r, 4)) t->ranked = false;
    for (int d = 0; t->ranked && d < t->shape.rank; d++)
        if (op_random_one_in(r, 4)) t->shape.dims[d] = TN_DIM_UNKNOWN;
}

/* An input becomes an initializer, so that its value is known when the model is loaded. */
static inline void op_make_constant(op_case *c, int i) {
    tn_graph *g = c->model->graph;
    tn_value *v = g->inputs[i];
    if (!c->in[i] || c->in[i]->kind != TERN_KIND_TENSOR || v->constant) return;
    if (tn_model_own_tensor(c->model, tn_tensor_ref(c->in[i]), NULL) != TERN_OK) return;
    v->constant = c->in[i];
    v->type = tn_type_of_tensor(c->in[i]);
    tn_tensor_unref(c->in[i]);
    c->n_in--;
    for (int k = i; k < c->n_in; k++) c->in[k] = c->in[k + 1];
    g->n_inputs--;
    for (int k = i; k < g->n_inputs; k++) g->inputs[k] = g->inputs[k + 1];
}

static inline void op_mutate_constant(op_random *r, op_case *c) {
    tn_graph *g = c->model->graph;
    if (!g->n_values) return;
    int start = op_random_below(r, g->n_values);
    for (int k = 0; k < g->n_values; k++) {
        tn_value *v = g->values[(start + k) % g->n_values];
        if (!v->constant) continue;
        op_mutate_model_tensor(r, c->model, &v->constant);
        v->type = tn_type_of_tensor(v->constant);
        return;
    }
}

static inline void op_mutate_case(op_random *r, op_case *c) {
    tn_graph *g = c->model->graph;
    int i = c->n_in ? op_random_below(r, c->n_in) : 0, what = op_random_below(r, 10);
    for (int o = 0; o < g->n_outputs && op_random_one_in(r, 2); o++) g->outputs[o]->type = (tn_type){0};
    if (what < 4 && c->n_in && c->in[i]) {
        c->in[i] = op_mutate_tensor(r, c->in[i]);
        op_declare(r, c, i);
    } else if (what == 4 && c->n_in == g->n_inputs && c->n_in) {
        op_make_constant(c, i);
    } else if (what == 5) {
        op_mutate_constant(r, c);
    } else {
        op_mutate_node(r, c->model);
    }
}

#endif
