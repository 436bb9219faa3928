/* If, Loop and SequenceMap.
 *
 * Inference of a Loop looks for types of its states that hold in every iteration: it starts from those of the first one
 * and widens what the body changes (a dim becomes unknown, then the rank), a few times at most. A run keeps the states
 * as references: what a body passes through is never copied. Scan outputs grow by doubling, because a trip count says
 * nothing about memory: it may be 2^62 with a condition that stops after three. */
#include "ops/control_internal.h"

enum { SETTLE_ROUNDS = 4, SETTLE_DEPTH = 3 };

tn_graph *tn_control_graph(const tn_node *n, const char *name) {
    const tn_attr *a = tn_attr_find(n, name);
    return a && a->type == TN_ATTR_GRAPH ? a->g : NULL;
}

static tern_status need_graph(tn_infer *c, const char *name, tn_graph **out) {
    *out = tn_control_graph(c->node, name);
    return *out ? TERN_OK : tn_infer_fail(c, TERN_INVALID_MODEL, "the subgraph '%s' is missing", name);
}

/* ---- types ----------------------------------------------------------------------------------------------------- */

tern_status tn_body_types_init(tn_infer *c, tn_graph *g, tn_body_types *t) {
    *t = (tn_body_types){.graph = g};
    t->in = tn_arena_array(c->arena, (size_t)g->n_inputs + 1, sizeof *t->in);
    t->out = tn_arena_array(c->arena, (size_t)g->n_outputs + 1, sizeof *t->out);
    return t->in && t->out ? TERN_OK : tn_fail_oom(c->err, (size_t)g->n_outputs * sizeof *t->out);
}

/* False when the body can not be inferred; the reason is dropped. */
static bool infer_body(tn_infer *c, const tn_body_types *t) {
    tern_error quiet = {0}, *err = c->err;
    if (!c->infer_graph) return false;
    c->err = &quiet;
    tern_status s = c->infer_graph(c, t->graph, t->in, t->graph->n_inputs, t->out, t->graph->n_outputs);
    c->err = err;
    return s == TERN_OK;
}

static tern_status widen(tn_infer *c, tn_body_types *t, bool *stable) {
    *stable = true;
    for (int k = 0; k < t->n_states; k++) {
        tn_type *in = &t->in[t->first_in + k], joined;
        TN_TRY(tn_group_join(c, in, &t->out[t->first_out + k], &joined));
        if (tn_group_same_type(in, &joined)) continue;
        *stable = false;
        *in = joined;
    }
    return TERN_OK;
}

static void forget_outputs(tn_body_types *t) {
    for (int i = 0; i < t->graph->n_outputs; i++) t->out[i] = (tn_type){.kind = TERN_KIND_TENSOR};
}

tern_status tn_body_types_settle(tn_infer *c, tn_body_types *t) {
    /* Rounds multiply when loops nest: deep inside, one round must do. */
    for (int round = 0; round < SETTLE_ROUNDS && c->depth < SETTLE_DEPTH; round++) {
        bool stable;
        if (!infer_body(c, t)) break;
        TN_TRY(widen(c, t, &stable));
        if (stable) return TERN_OK;
    }
    for (int k = 0; k < t->n_states; k++) {
        tn_type *in = &t->in[t->first_in + k];
        *in = (tn_type){.kind = in->kind, .dtype = in->dtype};
    }
    bool stable = false;
    if (infer_body(c, t)) TN_TRY(widen(c, t, &stable));
    if (stable) return TERN_OK;
    forget_outputs(t);
    for (int k = 0; k < t->n_states; k++) t->in[t->first_in + k] = (tn_type){.kind = TERN_KIND_TENSOR};
    return TERN_OK;
}

tn_type tn_type_stacked(const tn_type *t, int64_t axis, int64_t dim) {
    tn_type out = {.kind = TERN_KIND_TENSOR, .dtype = t->kind == TERN_KIND_TENSOR ? t->dtype : TERN_UNDEFINED};
    int rank = t->shape.rank + 1;
    if (t->kind != TERN_KIND_TENSOR || !t->ranked || rank > TERN_MAX_RANK || axis < -rank || axis >= rank) return out;
    int at = (int)(axis < 0 ? axis + rank : axis);
    out.ranked = true;
    out.shape.rank = rank;
    for (int i = 0; i < rank; i++) out.shape.dims[i] = i == at ? dim : t->shape.dims[i - (i > at)];
    return out;
}

/* ---- running a body -------------------------------------------------------------------------------------------- */

tern_status tn_body_run_init(tn_run *c, tn_graph *g, int n_out, tn_body_run *b) {
    *b = (tn_body_run){.c = c, .graph = g, .n_in = g->n_inputs, .n_out = n_out};
    b->in = tn_calloc((size_t)(b->n_in + n_out) + 1, sizeof(tern_tensor *));
    if (!b->in) return tn_fail_oom(c->err, (size_t)b->n_in * sizeof *b->in);
    b->out = b->in + b->n_in;
    return TERN_OK;
}

void tn_body_run_drop_outputs(tn_body_run *b) {
    for (int i = 0; i < b->n_out; i++) {
        tn_run_drop(b->c, b->out[i]);
        b->out[i] = NULL;
    }
}

void tn_body_run_release(tn_body_run *b) {
    if (!b->in) return;
    for (int i = 0; i < b->n_in; i++) tn_run_drop(b->c, b->in[i]);
    tn_body_run_drop_outputs(b);
    tn_free(b->in);
}

void tn_body_run_set(tn_body_run *b, int i, tern_tensor *t) {
    tern_tensor *old = b->in[i];
    b->in[i] = tn_tensor_ref(t);
    tn_run_drop(b->c, old);
}

/* A state keeps its kind and, being a tensor, its element type. */
static tern_status check_state(tn_body_run *b, int k, const tern_tensor *before, const tern_tensor *after) {
    if (before->kind != TERN_KIND_TENSOR) return TERN_OK; /* an optional may become what it holds */
    if (after->kind == TERN_KIND_TENSOR && after->dtype == before->dtype) return TERN_OK;
    return tn_run_fail(b->c, TERN_TYPE_MISMATCH, "state %d was %s and became %s", k, tern_dtype_name(before->dtype),
                       after->kind == TERN_KIND_TENSOR ? tern_dtype_name(after->dtype)
                                                       : tn_group_kind_name(after->kind));
}

tern_status tn_body_run_step(tn_body_run *b, int64_t iteration, int first_in, int first_out, int n_states) {
    tern_status s = tn_run_graph(b->c, b->graph, b->in, b->n_in, b->out, b->n_out);
    for (int k = 0; s == TERN_OK && k < n_states; k++) {
        s = check_state(b, k, b->in[first_in + k], b->out[first_out + k]);
        tn_run_drop(b->c, b->in[first_in + k]);
        b->in[first_in + k] = b->out[first_out + k];
        b->out[first_out + k] = NULL;
    }
    if (s != TERN_OK) tn_error_prefix(b->c->err, "iteration %lld: ", (long long)iteration);
    return s;
}

tern_status tn_body_run_scalar(tn_body_run *b, int i, tern_dtype dtype, int64_t value) {
    tern_tensor *t = b->in[i];
    if (!t || t->refs != 1 || t->dtype != dtype) { /* the body may have kept the last one */
        const tn_type *declared = &b->graph->inputs[i]->type;
        tn_shape shape = {.rank = declared->kind == TERN_KIND_TENSOR && declared->ranked && declared->shape.rank == 1};
        shape.dims[0] = 1;
        TN_TRY(b->c->exec->alloc(b->c->exec, dtype, &shape, &t, b->c->err));
        tn_run_drop(b->c, b->in[i]);
        b->in[i] = t;
    }
    if (dtype == TERN_INT64)
        *(int64_t *)t->data = value;
    else
        *(uint8_t *)t->data = value != 0;
    return TERN_OK;
}

tern_status tn_body_empty_shape(tn_run *c, const tn_graph *g, int output, tern_dtype *dtype, tn_shape *shape) {
    const tn_value *v = g->outputs[output];
    const tn_type known = v->constant ? tn_type_of_tensor(v->constant) : v->type, *t = &known;
    if (t->kind != TERN_KIND_TENSOR || t->dtype == TERN_UNDEFINED)
        return tn_run_fail(c, TERN_INVALID_MODEL,
                           "no iteration runs, and the body does not declare the type of its output '%s'", v->name);
    *dtype = t->dtype;
    *shape = t->ranked ? t->shape : (tn_shape){.rank = 0};
    for (int i = 0; i < shape->rank; i++)
        if (!tn_dim_known(shape->dims[i]) || shape->dims[i] < 0) shape->dims[i] = 0;
    return TERN_OK;
}

/* ---- If -------------------------------------------------------------------------------------------------------- */

static tern_status check_branch(tn_infer *c, const tn_graph *g) {
    if (g->n_inputs == 0 && g->n_outputs >= c->node->n_out) return TERN_OK;
    return tn_infer_fail(c, TERN_INVALID_MODEL, "branch '%s' has %d inputs and %d outputs; 0 and %d are needed",
                         g->name, g->n_inputs, g->n_outputs, c->node->n_out);
}

static tern_status infer_if(tn_infer *c) {
    tn_graph *branch[2];
    TN_TRY(need_graph(c, "else_branch", &branch[0]));
    TN_TRY(need_graph(c, "then_branch", &branch[1]));
    TN_TRY(check_branch(c, branch[0]));
    TN_TRY(check_branch(c, branch[1]));
    if (!tn_args_has(c, 0)) return tn_infer_fail(c, TERN_INVALID_MODEL, "the condition is missing");
    TN_TRY(tn_group_need_scalar(c, 0, TN_T(BOOL)));
    const tern_tensor *cond = c->value[0];
    int first = 0, last = 1;
    if (cond && tn_shape_count(&cond->shape) == 1) first = last = *(const uint8_t *)cond->data != 0;
    tn_body_types t[2];
    for (int b = first; b <= last; b++) {
        TN_TRY(tn_body_types_init(c, branch[b], &t[b]));
        if (!infer_body(c, &t[b])) return TERN_OK; /* either branch may run: nothing is known */
    }
    for (int o = 0; o < c->node->n_out; o++) TN_TRY(tn_group_join(c, &t[first].out[o], &t[last].out[o], &c->out[o]));
    return TERN_OK;
}

static tern_status run_if(tn_run *c) {
    int64_t cond;
    TN_TRY(tn_group_scalar(c, c->in[0], "the condition", &cond));
    tn_graph *g = tn_control_graph(c->node, cond ? "then_branch" : "else_branch");
    tn_body_run b;
    TN_TRY(tn_body_run_init(c, g, c->node->n_out, &b));
    tern_status s = tn_run_graph(c, g, b.in, 0, b.out, b.n_out);
    if (s != TERN_OK) tn_error_prefix(c->err, "%s: ", cond ? "then_branch" : "else_branch");
    for (int o = 0; s == TERN_OK && o < b.n_out; o++) s = tn_run_share(c, o, b.out[o]);
    tn_body_run_release(&b);
    return s;
}

const tn_op tn_op_if = TN_ARGS_OP(infer_if, run_if, 1, 1, 1, -1, TN_OP_NO_FOLD | TN_OP_ALLOC);

/* ---- Loop ------------------------------------------------------------------------------------------------------ */

/* Inputs: trip count, condition, states. The body's: iteration, condition, states; its outputs: condition, states, scan
 * outputs. The node's outputs: states, scan outputs. */
static int loop_states(const tn_node *n) { return TN_MAX(n->n_in - 2, 0); }

static tern_status check_loop(tn_infer *c, const tn_graph *g) {
    int states = loop_states(c->node);
    if (g->n_inputs != states + 2 || g->n_outputs < states + 1 || c->node->n_out > g->n_outputs - 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL,
                             "the body '%s' has %d inputs and %d outputs; %d states and %d outputs of the node do not "
                             "fit",
                             g->name, g->n_inputs, g->n_outputs, states, c->node->n_out);
    for (int k = 0; k < states; k++)
        if (!tn_args_has(c, 2 + k)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is missing", 2 + k);
    TN_TRY(tn_group_need_scalar(c, 0, TN_T(INT64) | TN_T(INT32)));
    return tn_group_need_scalar(c, 1, TN_T(BOOL));
}

static tn_type scalar_type(const tn_graph *g, int i, tern_dtype dtype) {
    const tn_type *declared = &g->inputs[i]->type;
    tn_type t = {.kind = TERN_KIND_TENSOR, .dtype = dtype, .ranked = true};
    t.shape.rank = declared->kind == TERN_KIND_TENSOR && declared->ranked && declared->shape.rank == 1;
    t.shape.dims[0] = 1;
    return t;
}

static tern_status infer_loop(tn_infer *c) {
    tn_body_types t;
    tn_graph *g;
    TN_TRY(need_graph(c, "body", &g));
    TN_TRY(check_loop(c, g));
    TN_TRY(tn_body_types_init(c, g, &t));
    int states = loop_states(c->node);
    t.first_in = 2;
    t.first_out = 1;
    t.n_states = states;
    t.in[0] = scalar_type(g, 0, TERN_INT64);
    t.in[1] = scalar_type(g, 1, TERN_BOOL);
    for (int k = 0; k < states; k++) t.in[2 + k] = *c->in[2 + k];
    TN_TRY(tn_body_types_settle(c, &t));
    for (int o = 0; o < c->node->n_out; o++)
        c->out[o] = o < states ? t.in[2 + o] : tn_type_stacked(&t.out[1 + o], 0, TN_DIM_UNKNOWN);
    return TERN_OK;
}

/* The values of one scan output so far, in memory that doubles. */
typedef struct stack {
    tern_tensor *data; /* (cap, item...) */
    tn_shape item;
    int64_t count;
} stack;

static tn_shape stacked_shape(const stack *s, int64_t n) {
    tn_shape shape = {.rank = s->item.rank + 1, .dims = {n}};
    for (int i = 0; i < s->item.rank; i++) shape.dims[i + 1] = s->item.dims[i];
    return shape;
}

static tern_status grow_stack(tn_run *c, stack *s, tern_dtype dtype) {
    int64_t cap = s->data ? s->data->shape.dims[0] : 0;
    if (s->count < cap) return TERN_OK;
    tern_tensor *grown;
    tn_shape shape = stacked_shape(s, cap > INT64_MAX / 2 ? INT64_MAX : TN_MAX(cap * 2, 1));
    TN_TRY(c->exec->alloc(c->exec, dtype, &shape, &grown, c->err));
    if (s->data && tn_tensor_bytes(s->data)) memcpy(grown->data, s->data->data, tn_tensor_bytes(s->data));
    tn_run_drop(c, s->data);
    s->data = grown;
    return TERN_OK;
}

static tern_status push(tn_run *c, stack *s, const tern_tensor *t) {
    if (t->kind != TERN_KIND_TENSOR || t->shape.rank >= TERN_MAX_RANK)
        return tn_run_fail(c, TERN_UNSUPPORTED, "a scan output is a %s of rank %d", tn_group_kind_name(t->kind),
                           t->shape.rank);
    if (!s->data) s->item = t->shape;
    if (s->data && (t->dtype != s->data->dtype || !tn_shape_equal(&t->shape, &s->item))) {
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "a scan output is %s[%s] after %s[%s]", tern_dtype_name(t->dtype),
                           tn_shape_text(&t->shape, a, sizeof a), tern_dtype_name(s->data->dtype),
                           tn_shape_text(&s->item, b, sizeof b));
    }
    TN_TRY(grow_stack(c, s, t->dtype));
    size_t bytes = tn_tensor_bytes(t);
    if (bytes) memcpy((char *)s->data->data + (size_t)s->count * bytes, t->data, bytes);
    s->count++;
    return TERN_OK;
}

static tern_status finish_stack(tn_run *c, const stack *s, int o, const tn_graph *g, int body_output) {
    if (s->data && s->data->shape.dims[0] == s->count) return tn_run_share(c, o, s->data);
    stack empty = {0};
    tern_dtype dtype;
    if (s->data)
        dtype = s->data->dtype;
    else
        TN_TRY(tn_body_empty_shape(c, g, body_output, &dtype, &empty.item));
    if (empty.item.rank >= TERN_MAX_RANK)
        return tn_run_fail(c, TERN_UNSUPPORTED, "a scan output of rank %d", empty.item.rank);
    tn_shape shape = stacked_shape(s->data ? s : &empty, s->count);
    TN_TRY(tn_run_alloc(c, o, dtype, &shape));
    size_t bytes = tn_tensor_bytes(c->out[o]);
    if (bytes) memcpy(c->out[o]->data, s->data->data, bytes);
    return TERN_OK;
}

typedef struct loop {
    tn_body_run body;
    int states, scans; /* scan outputs that the node wants: output states + k of the node */
    stack *stacks;     /* scans */
    bool counts;       /* no condition is given: the body's is not looked at */
} loop;

static tern_status iterate(loop *l, int64_t i, bool *go) {
    tn_run *c = l->body.c;
    int64_t cond = 1;
    TN_TRY(tn_body_run_scalar(&l->body, 0, TERN_INT64, i));
    TN_TRY(tn_body_run_scalar(&l->body, 1, TERN_BOOL, true));
    TN_TRY(tn_body_run_step(&l->body, i, 2, 1, l->states));
    for (int k = 0; k < l->scans; k++)
        if (c->node->out[l->states + k]) TN_TRY(push(c, &l->stacks[k], l->body.out[1 + l->states + k]));
    TN_TRY(tn_group_scalar(c, l->body.out[0], "the condition that the body gives", &cond));
    *go = l->counts || cond != 0;
    tn_body_run_drop_outputs(&l->body);
    return TERN_OK;
}

static tern_status run_iterations(loop *l, int64_t most, bool go) {
    tn_run *c = l->body.c;
    for (int k = 0; k < l->states; k++) tn_body_run_set(&l->body, 2 + k, c->in[2 + k]);
    for (int64_t i = 0; i < most && go; i++) TN_TRY(iterate(l, i, &go));
    for (int k = 0; k < TN_MIN(l->states, c->node->n_out); k++) TN_TRY(tn_run_share(c, k, l->body.in[2 + k]));
    for (int k = 0; k < l->scans; k++)
        if (c->node->out[l->states + k])
            TN_TRY(finish_stack(c, &l->stacks[k], l->states + k, l->body.graph, 1 + l->states + k));
    return TERN_OK;
}

static tern_status run_loop(tn_run *c) {
    tn_graph *g = tn_control_graph(c->node, "body");
    int64_t most = INT64_MAX, go = true;
    const tern_tensor *trips = tn_args_in(c, 0), *cond = tn_args_in(c, 1);
    if (trips) TN_TRY(tn_group_scalar(c, trips, "the trip count", &most));
    if (cond) TN_TRY(tn_group_scalar(c, cond, "the condition", &go));
    /* Without a trip count the body's condition is the only end there is. */
    loop l = {.states = loop_states(c->node), .counts = trips && !cond};
    l.scans = TN_MAX(c->node->n_out - l.states, 0);
    l.stacks = tn_calloc((size_t)l.scans + 1, sizeof *l.stacks);
    if (!l.stacks) return tn_fail_oom(c->err, (size_t)l.scans * sizeof *l.stacks);
    tern_status s = tn_body_run_init(c, g, g->n_outputs, &l.body);
    if (s == TERN_OK) s = run_iterations(&l, most, go != 0);
    tn_body_run_release(&l.body);
    for (int k = 0; k < l.scans; k++) tn_run_drop(c, l.stacks[k].data);
    tn_free(l.stacks);
    return s;
}

const tn_op tn_op_loop = TN_ARGS_OP(infer_loop, run_loop, 0, -1, 0, -1, TN_OP_NO_FOLD | TN_OP_ALLOC);

/* ---- SequenceMap ----------------------------------------------------------------------------------------------- */

static tern_status infer_map(tn_infer *c) {
    tn_graph *g;
    tn_body_types t;
    TN_TRY(need_graph(c, "body", &g));
    TN_TRY(tn_group_need(c, 0, TERN_KIND_SEQUENCE));
    if (g->n_inputs != c->node->n_in || g->n_outputs < c->node->n_out)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "the body '%s' has %d inputs and %d outputs; %d and %d are needed",
                             g->name, g->n_inputs, g->n_outputs, c->node->n_in, c->node->n_out);
    TN_TRY(tn_body_types_init(c, g, &t));
    for (int i = 0; i < c->node->n_in; i++) {
        if (!tn_args_has(c, i)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is missing", i);
        if (c->in[i]->kind != TERN_KIND_SEQUENCE)
            t.in[i] = *c->in[i];
        else if (c->in[i]->element)
            t.in[i] = *c->in[i]->element;
    }
    bool known = infer_body(c, &t);
    for (int o = 0; o < c->node->n_out; o++) TN_TRY(tn_group_out(c, o, TERN_KIND_SEQUENCE, known ? &t.out[o] : NULL));
    return TERN_OK;
}

static tern_status map_items(tn_body_run *b, tern_tensor **items, size_t n) {
    tn_run *c = b->c;
    for (int k = 0; k < b->n_in; k++) {
        const tern_tensor *t = c->in[k];
        if (t->kind == TERN_KIND_SEQUENCE && t->n_items != n)
            return tn_run_fail(c, TERN_SHAPE_MISMATCH, "input %d has %zu items, input 0 has %zu", k, t->n_items, n);
        if (t->kind != TERN_KIND_SEQUENCE) tn_body_run_set(b, k, c->in[k]);
    }
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < b->n_in; k++)
            if (c->in[k]->kind == TERN_KIND_SEQUENCE) tn_body_run_set(b, k, c->in[k]->items[i]);
        TN_TRY(tn_body_run_step(b, (int64_t)i, 0, 0, 0));
        for (int o = 0; o < b->n_out; o++) {
            items[(size_t)o * n + i] = b->out[o];
            b->out[o] = NULL;
        }
    }
    return TERN_OK;
}

static tern_status run_map(tn_run *c) {
    tn_body_run b;
    size_t n = c->in[0]->n_items, total, n_out = (size_t)c->node->n_out;
    if (!tn_mul_size(n, n_out, &total)) return tn_fail_oom(c->err, SIZE_MAX);
    tern_tensor **items = tn_calloc(total + 1, sizeof *items);
    if (!items) return tn_fail_oom(c->err, total * sizeof *items);
    tern_status s = tn_body_run_init(c, tn_control_graph(c->node, "body"), c->node->n_out, &b);
    if (s == TERN_OK) s = map_items(&b, items, n);
    tn_body_run_release(&b);
    for (size_t o = 0; s == TERN_OK && o < n_out; o++) {
        tern_tensor *group;
        s = tn_tensor_new_group(&group, TERN_KIND_SEQUENCE, items + o * n, n, c->err);
        if (s == TERN_OK) s = tn_run_share(c, (int)o, group);
        if (s == TERN_OK) tn_tensor_unref(group);
    }
    for (size_t i = 0; i < total; i++) tn_run_drop(c, items[i]);
    tn_free(items);
    return s;
}

const tn_op tn_op_sequence_map = TN_ARGS_OP(infer_map, run_map, 1, -1, 1, -1, TN_OP_NO_FOLD | TN_OP_ALLOC);
