#include "ops/ops.h"

#include <stdio.h>

/* ---- helpers for operators ----------------------------------------------------------------------------------- */

tern_status tn_infer_fail(tn_infer *c, tern_status status, const char *format, ...) {
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tn_fail(c->err, status, "%s", text);
}

static void add_input_text(const tn_infer *c, int i, tn_text *out) {
    const tn_value *v = c->node->in[i];
    tn_text_add(out, "input %d '%s' (", i, v ? v->name : "");
    tn_type_text(c->model, c->in[i], out);
    tn_text_add(out, ")");
}

tern_status tn_infer_want(tn_infer *c, int i, uint32_t types) {
    const tn_type *t = i < c->node->n_in ? c->in[i] : NULL;
    if (!t) return TERN_OK; /* absent optional input */
    if (t->kind == TERN_KIND_TENSOR && (t->dtype == TERN_UNDEFINED || tn_type_in(t->dtype, types))) return TERN_OK;
    tn_text text;
    tn_text_init(&text);
    add_input_text(c, i, &text);
    tn_text_add(&text, " has a type that the operator does not take; it takes");
    for (int d = 1; d < TERN_DTYPE_COUNT; d++)
        if (tn_type_in((tern_dtype)d, types)) tn_text_add(&text, " %s", tern_dtype_name((tern_dtype)d));
    tern_status s = tn_infer_fail(c, TERN_TYPE_MISMATCH, "%s", text.failed ? "type mismatch" : text.data);
    tn_text_release(&text);
    return s;
}

static const char *type_word(const tn_type *t) {
    static const char *const kinds[] = {"a tensor", "a sequence", "an optional", "a map"};
    return t->kind == TERN_KIND_TENSOR ? tern_dtype_name(t->dtype) : kinds[t->kind];
}

/* Nothing is known of it: it may still turn out to be of any kind. */
static bool unknown(const tn_type *t) { return t->kind == TERN_KIND_TENSOR && t->dtype == TERN_UNDEFINED; }

tern_status tn_infer_same_type(tn_infer *c, int a, int b) {
    const tn_type *x = a < c->node->n_in ? c->in[a] : NULL, *y = b < c->node->n_in ? c->in[b] : NULL;
    if (!x || !y || unknown(x) || unknown(y)) return TERN_OK;
    if (x->kind == y->kind && x->dtype == y->dtype) return TERN_OK;
    return tn_infer_fail(c, TERN_TYPE_MISMATCH, "input %d '%s' is %s but input %d '%s' is %s", a, c->node->in[a]->name,
                         type_word(x), b, c->node->in[b]->name, type_word(y));
}

void tn_infer_out(tn_infer *c, int o, tern_dtype dtype, const tn_shape *shape) {
    if (o >= c->node->n_out) return;
    tn_type *t = &c->out[o];
    *t = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = dtype, .ranked = shape != NULL};
    if (shape) t->shape = *shape;
}

void tn_infer_out_like(tn_infer *c, int o, int i) {
    if (o < c->node->n_out && i < c->node->n_in && c->in[i]) c->out[o] = *c->in[i];
}

/* One output dim of broadcasting; false when the two clash. */
static bool broadcast_dim(int64_t a, int64_t b, int64_t *out) {
    if (a == b || b == 1) {
        *out = a;
    } else if (a == 1) {
        *out = b;
    } else if (tn_dim_known(a) && tn_dim_known(b)) {
        return false;
    } else if (tn_dim_known(a)) {
        *out = a; /* the unknown one must be 1 or equal */
    } else if (tn_dim_known(b)) {
        *out = b;
    } else {
        *out = TN_DIM_UNKNOWN;
    }
    return true;
}

tern_status tn_infer_broadcast(tn_infer *c, const tn_shape *const *shapes, int n, tn_shape *out) {
    *out = *shapes[0];
    for (int s = 1; s < n; s++) {
        tn_shape a = *out, b = *shapes[s];
        out->rank = TN_MAX(a.rank, b.rank);
        for (int i = 0; i < out->rank; i++) {
            int ia = i - (out->rank - a.rank), ib = i - (out->rank - b.rank);
            int64_t da = ia >= 0 ? a.dims[ia] : 1, db = ib >= 0 ? b.dims[ib] : 1;
            if (!broadcast_dim(da, db, &out->dims[i])) {
                char ta[TN_SHAPE_TEXT], tb[TN_SHAPE_TEXT];
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "shapes %s and %s do not broadcast",
                                     tn_shape_text(&a, ta, sizeof ta), tn_shape_text(&b, tb, sizeof tb));
            }
        }
    }
    return TERN_OK;
}

tern_status tn_infer_axis(tn_infer *c, int64_t axis, int rank, int *out, const char *what) {
    if (axis < -rank || axis >= rank)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "%s %lld is outside [%d, %d) of a tensor of rank %d", what,
                             (long long)axis, -rank, rank, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return TERN_OK;
}

bool tn_infer_ints(tn_infer *c, int i, int64_t *out, int max, int *count) {
    const tern_tensor *v = i < c->node->n_in ? c->value[i] : NULL;
    if (v && v->kind == TERN_KIND_TENSOR) {
        int64_t n;
        if (v->shape.rank > 1 || !tn_shape_count_checked(&v->shape, &n) || n > max) return false;
        /* The lowest integers encode what is unknown: as numbers they are far out of any range, and stay so. */
        for (int64_t k = 0; k < n; k++) out[k] = TN_MAX(tn_tensor_get_i64(v, k), TN_DIM_LAST_SYMBOL + 1);
        *count = (int)n;
        return true;
    }
    const tn_type *t = i < c->node->n_in ? c->in[i] : NULL;
    if (!t || !c->partial[i] || !t->ranked || t->shape.rank > 1) return false;
    int64_t n = t->shape.rank ? t->shape.dims[0] : 1;
    if (!tn_dim_known(n) || n > max) return false;
    memcpy(out, c->partial[i], (size_t)n * sizeof *out);
    *count = (int)n;
    return true;
}

tern_status tn_infer_set_partial(tn_infer *c, int o, const int64_t *values, int count) {
    if (o >= c->node->n_out) return TERN_OK;
    int64_t *copy = tn_arena_array(c->arena, count ? (size_t)count : 1, sizeof *copy);
    if (!copy) return tn_fail_oom(c->err, (size_t)count * sizeof *copy);
    if (count) memcpy(copy, values, (size_t)count * sizeof *copy);
    c->out_partial[o] = copy;
    return TERN_OK;
}

/* ---- inference over a graph ---------------------------------------------------------------------------------- */

tern_status tn_infer_env_init(tn_infer_env *env, tern_model *model, const tn_graph *g, tn_infer_env *outer,
                              tn_arena *arena, bool declared, tern_error *err) {
    *env = (tn_infer_env){.model = model, .graph = g, .outer = outer, .arena = arena, .max_value_bytes = 64 * 1024};
    size_t n = (size_t)g->n_values;
    env->types = tn_arena_array(arena, n + 1, sizeof *env->types);
    env->values = tn_arena_array(arena, n + 1, sizeof *env->values);
    env->partials = tn_arena_array(arena, n + 1, sizeof *env->partials);
    if (!env->types || !env->values || !env->partials) return tn_fail_oom(err, n * sizeof *env->types);
    for (int i = 0; i < g->n_values; i++) {
        const tn_value *v = g->values[i];
        if (v->constant) {
            env->types[i] = tn_type_of_tensor(v->constant);
            env->values[i] = v->constant;
        } else if (v->captured && outer) {
            env->types[i] = outer->types[v->captured->id];
            env->values[i] = outer->values[v->captured->id];
            env->partials[i] = outer->partials[v->captured->id];
        } else if (declared && !v->producer) {
            env->types[i] = v->type;
        }
    }
    return TERN_OK;
}

void tn_infer_env_release(tn_infer_env *env) {
    for (size_t i = 0; i < env->n_owned; i++) tn_tensor_unref(env->owned[i]);
    tn_free(env->owned);
    env->owned = NULL;
    env->n_owned = 0;
}

static tern_status own(tn_infer_env *env, tern_tensor *t, tern_error *err) {
    if (!tn_grow(&env->owned, &env->cap_owned, env->n_owned + 1, sizeof *env->owned)) {
        tn_tensor_unref(t);
        return tn_fail_oom(err, sizeof *env->owned);
    }
    env->owned[env->n_owned++] = t;
    return TERN_OK;
}

static tern_status infer_subgraph(tn_infer *c, tn_graph *g, const tn_type *in, int n_in, tn_type *out, int n_out);

/* The context handed to an operator, with the env behind it so that subgraphs find theirs. */
typedef struct node_infer {
    tn_infer c;
    tn_infer_env *env;
} node_infer;

static tern_status infer_subgraph(tn_infer *c, tn_graph *g, const tn_type *in, int n_in, tn_type *out, int n_out) {
    tn_infer_env *outer = ((node_infer *)c)->env, env;
    if (n_in > g->n_inputs || n_out > g->n_outputs)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "subgraph '%s' has %d inputs and %d outputs; %d and %d are needed",
                             g->name, g->n_inputs, g->n_outputs, n_in, n_out);
    tern_status s = tn_infer_env_init(&env, c->model, g, outer, c->arena, false, c->err);
    env.record = outer->record;
    /* The last call counts: a body is inferred again with wider types until they are stable. */
    for (int i = 0; env.record && i < g->n_values; i++)
        if (!g->values[i]->constant) g->values[i]->type = (tn_type){.kind = TERN_KIND_TENSOR};
    if (s == TERN_OK) {
        for (int i = 0; i < n_in; i++) env.types[g->inputs[i]->id] = in[i];
        s = tn_infer_env_graph(&env, c->err);
        for (int i = 0; s == TERN_OK && i < n_out; i++) out[i] = env.types[g->outputs[i]->id];
        for (int i = 0; s == TERN_OK && env.record && i < g->n_values; i++) g->values[i]->type = env.types[i];
    }
    tn_infer_env_release(&env);
    return s;
}

/* A partial value without symbols is a value. */
static tern_status settle_partial(tn_infer_env *env, const tn_value *v, const int64_t *partial, tern_error *err) {
    const tn_type *t = &env->types[v->id];
    int64_t n;
    if (!t->ranked || t->shape.rank > 1 || !tn_shape_count_checked(&t->shape, &n)) return TERN_OK;
    env->partials[v->id] = partial;
    for (int64_t i = 0; i < n; i++)
        if (!tn_dim_known(partial[i])) return TERN_OK;
    if (t->dtype != TERN_INT64 && t->dtype != TERN_INT32) return TERN_OK;
    tern_tensor *value;
    TN_TRY(tn_tensor_new(&value, t->dtype, &t->shape, err));
    for (int64_t i = 0; i < n; i++) {
        if (t->dtype == TERN_INT64)
            ((int64_t *)value->data)[i] = partial[i];
        else
            ((int32_t *)value->data)[i] = (int32_t)partial[i];
    }
    TN_TRY(own(env, value, err));
    env->values[v->id] = value;
    return TERN_OK;
}

static bool small_enough(const tn_infer_env *env, const tn_type *t) {
    size_t bytes;
    return t->kind == TERN_KIND_TENSOR && t->dtype != TERN_UNDEFINED && t->ranked &&
           tn_bytes_for(t->dtype, &t->shape, 0, &bytes) && bytes <= env->max_value_bytes;
}

/* Computes the outputs of a node all of whose inputs are known, when they are small: shape arithmetic mostly. */
static tern_status compute_values(tn_infer_env *env, const tn_node *node, tern_error *err) {
    if (node->op->flags & (TN_OP_RANDOM | TN_OP_NO_FOLD) || node->n_out == 0 || node->n_in > 64 || node->n_out > 64)
        return TERN_OK;
    tern_tensor *in[64] = {0}, *out[64] = {0};
    for (int i = 0; i < node->n_in; i++) {
        if (!node->in[i]) continue;
        const tern_tensor *v = env->values[node->in[i]->id];
        if (!v || v->kind != TERN_KIND_TENSOR || tn_tensor_bytes(v) > env->max_value_bytes) return TERN_OK;
        in[i] = (tern_tensor *)(uintptr_t)v;
    }
    bool known = true;
    for (int o = 0; o < node->n_out; o++) {
        if (!node->out[o]) continue;
        /* tn_node_eval knows plain storage only. */
        if (node->out[o]->block || !small_enough(env, &env->types[node->out[o]->id])) return TERN_OK;
        if (!env->values[node->out[o]->id]) known = false;
    }
    if (known) return TERN_OK;
    for (int a = 0; a < node->n_attrs; a++)
        if (node->attrs[a].type == TN_ATTR_GRAPH || node->attrs[a].type == TN_ATTR_GRAPHS) return TERN_OK;
    TN_TRY(tn_node_eval(node, in, out, err));
    tern_status s = TERN_OK;
    for (int o = 0; o < node->n_out; o++) {
        if (!out[o]) continue;
        if (s != TERN_OK || !node->out[o]) {
            tn_tensor_unref(out[o]);
            continue;
        }
        s = own(env, out[o], err);
        if (s == TERN_OK) {
            env->values[node->out[o]->id] = out[o];
            env->types[node->out[o]->id] = tn_type_of_tensor(out[o]);
        }
    }
    return s;
}

static tern_status infer_node(tn_infer_env *env, const tn_node *node, tern_error *err) {
    size_t n_in = (size_t)node->n_in, n_out = (size_t)node->n_out, n_cap = (size_t)node->n_captures;
    const tn_type **in = tn_arena_array(env->arena, n_in + n_cap + 1, sizeof *in);
    const tern_tensor **value = tn_arena_array(env->arena, n_in + 1, sizeof *value);
    const int64_t **partial = tn_arena_array(env->arena, n_in + n_out + 1, sizeof *partial);
    tn_type *out = tn_arena_array(env->arena, n_out + 1, sizeof *out);
    if (!in || !value || !partial || !out) return tn_fail_oom(err, n_in * sizeof *in + n_out * sizeof *out);
    for (size_t i = 0; i < n_in; i++) {
        if (!node->in[i]) continue;
        in[i] = &env->types[node->in[i]->id];
        value[i] = env->values[node->in[i]->id];
        partial[i] = env->partials[node->in[i]->id];
    }
    for (size_t i = 0; i < n_cap; i++) in[n_in + i] = &env->types[node->captures[i]->id];
    int depth = 0;
    for (const tn_infer_env *e = env->outer; e; e = e->outer) depth++;
    node_infer ni = {.env = env,
                     .c = {.node = node,
                           .model = env->model,
                           .in = in,
                           .value = value,
                           .partial = partial,
                           .captured = in + n_in,
                           .out = out,
                           .out_partial = partial + n_in,
                           .arena = env->arena,
                           .infer_graph = infer_subgraph,
                           .depth = depth,
                           .err = err}};
    if (!node->op->infer) return tn_fail(err, TERN_INTERNAL, "the operator has not been expanded");
    TN_TRY(node->op->infer(&ni.c));
    for (size_t o = 0; o < n_out; o++) {
        if (!node->out[o]) continue;
        env->types[node->out[o]->id] = out[o];
        if (partial[n_in + o]) TN_TRY(settle_partial(env, node->out[o], partial[n_in + o], err));
    }
    return compute_values(env, node, err);
}

tern_status tn_infer_env_node(tn_infer_env *env, const tn_node *node, tern_error *err) {
    tern_status s = infer_node(env, node, err);
    if (s != TERN_OK) {
        char where[TN_NODE_TEXT];
        tn_error_prefix(err, "%s: ", tn_node_text(node, where, sizeof where));
    }
    return s;
}

tern_status tn_infer_env_graph(tn_infer_env *env, tern_error *err) {
    for (int i = 0; i < env->graph->n_nodes; i++) TN_TRY(tn_infer_env_node(env, env->graph->nodes[i], err));
    return TERN_OK;
}
