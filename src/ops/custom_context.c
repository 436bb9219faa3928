/* What the functions of a custom operator may ask and say: the second half of tern/op.h. */
#include "ops/args.h"
#include "ops/custom_internal.h"

#include <stdio.h>

static size_t n_in(const tern_op_context *c) { return c ? (size_t)c->node->n_in : 0; }
static size_t n_out(const tern_op_context *c) { return c ? (size_t)c->node->n_out : 0; }

size_t tern_op_input_count(const tern_op_context *c) { return n_in(c); }
size_t tern_op_output_count(const tern_op_context *c) { return n_out(c); }
int tern_op_version(const tern_op_context *c) { return c ? c->node->opset : 0; }
bool tern_op_output_wanted(const tern_op_context *c, size_t o) { return o < n_out(c) && c->node->out[o]; }

tern_status tern_op_fail(tern_op_context *c, tern_status status, const char *format, ...) {
    if (!c) return TERN_INVALID_ARGUMENT;
    if (c->status != TERN_OK) return c->status; /* the first reason counts */
    char text[700] = "";
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    c->status = status == TERN_OK || (unsigned)status > TERN_INTERNAL ? TERN_INTERNAL : status;
    return tn_fail(c->err, c->status, "%s", text);
}

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

bool tern_op_input_info(const tern_op_context *c, size_t i, tern_value_info *out) {
    if (!out || i >= n_in(c) || !c->node->in[i]) return false;
    tn_type real;
    const tn_type *t = &real;
    if (c->infer)
        t = c->infer->in[i];
    else
        real = tn_type_of_tensor(c->run->in[i]);
    if (!t) return false;
    *out = (tern_value_info){.name = c->node->in[i]->name, .kind = t->kind, .dtype = t->dtype, .rank = -1};
    if (t->kind != TERN_KIND_TENSOR || !t->ranked) return true;
    out->rank = t->shape.rank;
    for (int d = 0; d < t->shape.rank; d++) {
        int64_t dim = t->shape.dims[d];
        out->dims[d] = tn_dim_known(dim) ? dim : -1;
        if (tn_dim_is_symbol(dim)) out->dim_names[d] = tn_model_symbol_name(c->node->graph->model, dim);
    }
    return true;
}

const tern_tensor *tern_op_input(const tern_op_context *c, size_t i) {
    if (i >= n_in(c)) return NULL;
    return c->infer ? c->infer->value[i] : c->run->in[i];
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

int64_t tern_op_attr_int(const tern_op_context *c, const char *name, int64_t default_value) {
    return c && name ? tn_attr_i(c->node, name, default_value) : default_value;
}

float tern_op_attr_float(const tern_op_context *c, const char *name, float default_value) {
    return c && name ? tn_attr_f(c->node, name, default_value) : default_value;
}

tern_string tern_op_attr_string(const tern_op_context *c, const char *name, const char *default_value) {
    tn_str s = c && name ? tn_attr_s(c->node, name, default_value) : tn_str_c(default_value);
    return (tern_string){s.data, s.len};
}

const tern_tensor *tern_op_attr_tensor(const tern_op_context *c, const char *name) {
    return c && name ? tn_attr_tensor(c->node, name) : NULL;
}

const int64_t *tern_op_attr_ints(const tern_op_context *c, const char *name, size_t *count) {
    size_t n = 0;
    const int64_t *v = c && name ? tn_attr_ints(c->node, name, &n) : NULL;
    if (count) *count = n;
    return v;
}

const float *tern_op_attr_floats(const tern_op_context *c, const char *name, size_t *count) {
    size_t n = 0;
    const float *v = c && name ? tn_attr_floats(c->node, name, &n) : NULL;
    if (count) *count = n;
    return v;
}

bool tern_op_attr_string_at(const tern_op_context *c, const char *name, size_t index, tern_string *out) {
    size_t n = 0;
    const tn_str *v = c && name ? tn_attr_strings(c->node, name, &n) : NULL;
    if (!out || index >= n) return false;
    *out = (tern_string){v[index].data, v[index].len};
    return true;
}

/* ---- infer ----------------------------------------------------------------------------------------------------- */

static tern_status wrong_moment(tern_op_context *c, const char *function, const char *where) {
    return tern_op_fail(c, TERN_INVALID_ARGUMENT, "%s may only be called in %s", function, where);
}

/* Optional outputs that the node does not list are there, and nobody reads them. */
static tern_status check_output(tern_op_context *c, size_t o) {
    const tern_op *op = tn_custom_of(c->node);
    if (o < op->n_outputs || o < n_out(c)) return TERN_OK;
    return tern_op_fail(c, TERN_INVALID_ARGUMENT, "there is no output %zu", o);
}

static tern_status set_output(tern_op_context *c, size_t o, tern_dtype dtype, const tn_shape *shape) {
    tn_infer *in = c->infer;
    const tern_op *op = tn_custom_of(c->node);
    const tern_op_param *p = tn_custom_param(op->outputs, op->n_outputs, o);
    tern_dtype told = tn_custom_output_type(op, o, in->in, n_in(c));
    if (dtype == TERN_UNDEFINED) dtype = told;
    if (dtype != TERN_UNDEFINED &&
        (!tn_dtype_valid((int)dtype) || !tn_type_in(dtype, p->types) || (told != TERN_UNDEFINED && told != dtype)))
        return tern_op_fail(c, TERN_TYPE_MISMATCH, "output %zu can not be %s", o, tern_dtype_name(dtype));
    /* tn_args_out_shape writes to the context's own error; the author's function may return it or not. */
    tern_error err = {TERN_OK, ""}, *keep = in->err;
    in->err = &err;
    tern_status s = tn_args_out_shape(in, (int)o, dtype, shape);
    in->err = keep;
    return s == TERN_OK ? TERN_OK : tern_op_fail(c, s, "%s", err.text);
}

tern_status tern_op_set_output(tern_op_context *c, size_t o, tern_dtype dtype, int rank, const int64_t *dims) {
    if (!c) return TERN_INVALID_ARGUMENT;
    if (!c->infer) return wrong_moment(c, "tern_op_set_output", "infer");
    TN_TRY(check_output(c, o));
    if (o >= n_out(c)) return TERN_OK;
    if (rank > TERN_MAX_RANK || (rank > 0 && !dims))
        return tern_op_fail(c, TERN_INVALID_ARGUMENT, "output %zu of rank %d, or without dims", o, rank);
    tn_shape shape = {.rank = rank};
    for (int d = 0; d < rank; d++) shape.dims[d] = dims[d] < 0 ? TN_DIM_UNKNOWN : dims[d];
    return set_output(c, o, dtype, rank < 0 ? NULL : &shape);
}

tern_status tern_op_output_like(tern_op_context *c, size_t o, size_t i) {
    if (!c) return TERN_INVALID_ARGUMENT;
    if (!c->infer) return wrong_moment(c, "tern_op_output_like", "infer");
    TN_TRY(check_output(c, o));
    if (o >= n_out(c)) return TERN_OK;
    if (i >= n_in(c) || !c->infer->in[i]) return tern_op_fail(c, TERN_INVALID_ARGUMENT, "the node has no input %zu", i);
    const tern_op *op = tn_custom_of(c->node);
    const tn_type *t = c->infer->in[i];
    bool told = tn_custom_output_type(op, o, c->infer->in, n_in(c)) != TERN_UNDEFINED;
    return set_output(c, o, told ? TERN_UNDEFINED : t->dtype, t->ranked ? &t->shape : NULL);
}

/* ---- compute --------------------------------------------------------------------------------------------------- */

static tern_status check_promise(tern_op_context *c, size_t o, const tn_shape *shape) {
    const tn_shape *have = &c->run->out[o]->shape;
    if (tn_shape_equal(have, shape)) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tern_op_fail(c, TERN_SHAPE_MISMATCH, "compute gives output %zu '%s' the shape %s, infer said %s", o,
                        c->node->out[o]->name, tn_shape_text(shape, a, sizeof a), tn_shape_text(have, b, sizeof b));
}

tern_status tern_op_output(tern_op_context *c, size_t o, int rank, const int64_t *dims, tern_tensor **out) {
    if (!c || !out) return TERN_INVALID_ARGUMENT;
    *out = NULL;
    if (!c->run) return wrong_moment(c, "tern_op_output", "compute");
    TN_TRY(check_output(c, o));
    if (rank < 0 || rank > TERN_MAX_RANK || (rank > 0 && !dims))
        return tern_op_fail(c, TERN_INVALID_ARGUMENT, "output %zu of rank %d, or without dims", o, rank);
    for (int d = 0; d < rank; d++)
        if (dims[d] < 0)
            return tern_op_fail(c, TERN_INVALID_ARGUMENT, "dim %d of output %zu is %lld", d, o, (long long)dims[d]);
    if (!tern_op_output_wanted(c, o)) return TERN_OK;
    tn_shape shape = tn_shape_of(rank, dims);
    if (c->run->out[o]) {
        TN_TRY(check_promise(c, o, &shape));
    } else {
        tern_error err = {TERN_OK, ""};
        tern_status s = c->run->exec->alloc(c->run->exec, c->types[o], &shape, &c->run->out[o], &err);
        if (s != TERN_OK) return tern_op_fail(c, s, "output %zu: %s", o, err.text);
    }
    tern_tensor *t = c->run->out[o];
    bool first = !((c->given >> o) & 1u);
    if (first && t->dtype == TERN_STRING && t->data) memset(t->data, 0, tn_tensor_bytes(t));
    c->given |= (uint64_t)1 << o;
    *out = t;
    return TERN_OK;
}

tern_status tern_op_set_string(tern_op_context *c, size_t o, int64_t index, const char *data, size_t len) {
    if (!c) return TERN_INVALID_ARGUMENT;
    if (!c->run) return wrong_moment(c, "tern_op_set_string", "compute");
    TN_TRY(check_output(c, o));
    if (!tern_op_output_wanted(c, o)) return TERN_OK;
    tern_tensor *t = (c->given >> o) & 1u ? c->run->out[o] : NULL;
    if (!t || t->dtype != TERN_STRING || index < 0 || index >= tn_shape_count(&t->shape) || (len && !data))
        return tern_op_fail(c, TERN_INVALID_ARGUMENT, "output %zu has no string element %lld (yet)", o,
                            (long long)index);
    char *copy = tn_arena_strndup(c->run->strings, data ? data : "", len);
    if (!copy) return tern_op_fail(c, TERN_OUT_OF_MEMORY, "out of memory: %zu bytes are not available", len);
    ((tern_string *)t->data)[index] = (tern_string){copy, len};
    return TERN_OK;
}

typedef struct part {
    void (*fn)(void *data, int64_t begin, int64_t end);
    void *data;
} part;

static void run_part(void *context, int64_t begin, int64_t end, int worker) {
    const part *p = context;
    (void)worker;
    p->fn(p->data, begin, end);
}

void tern_op_parallel_for(const tern_op_context *c, int64_t count, void (*fn)(void *data, int64_t begin, int64_t end),
                          void *data) {
    if (!fn || count <= 0) return;
    part p = {fn, data};
    tn_parallel_for(c && c->run ? c->run->threads : 1, count, run_part, &p);
}
