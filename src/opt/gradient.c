/* ai.onnx.preview.training:Gradient, expanded: reverse-mode differentiation by building the backward graph.
 *
 * Import has appended to the node's inputs v_1..v_n the values that "xs", "zs" and "y" name: x_1..x_n, y. The nodes
 * between the x and y are the function. Where the v are not the x themselves, its nodes that depend on them are copied
 * with v in place of x. Then nodes are visited from y back; each node's rule adds nodes for the gradients of its
 * inputs. The gradient of y itself is 1 everywhere: for a y of several elements, the outputs are the gradients of their
 * sum. Gradients of gradients need nothing more, as rules make nodes that have rules. */
#include "opt/gradient_internal.h"

/* Each costs a pass over the graph. */
#define MAX_GRADIENTS 64

/* ---- for rules ------------------------------------------------------------------------------------------------- */

static void fail_oom(tn_grad *d) {
    if (d->status != TERN_OK) return;
    bool limit = (int64_t)d->o->model->n_nodes_total >= d->o->model->limits.max_nodes;
    d->status = limit ? tn_fail(d->o->err, TERN_LIMIT_EXCEEDED, "the gradient takes the model beyond %lld nodes",
                                (long long)d->o->model->limits.max_nodes)
                      : tn_fail_oom(d->o->err, sizeof(tn_node));
}

static tn_value *give_output(tn_grad *d, tn_node *n, int k) {
    tn_value *v = tn_graph_new_value(d->graph, "gradient");
    if (!v) {
        fail_oom(d);
        return NULL;
    }
    v->producer = n;
    n->out[k] = v;
    return v;
}

tn_value *tn_grad_emit(tn_grad *d, const char *domain, const char *op_type, int n_in, tn_value *const *in) {
    if (d->status != TERN_OK) return NULL;
    tn_node *n = tn_graph_add_node(d->graph, domain, op_type, *domain ? 1 : TN_GRAD_OPSET, n_in, 1);
    if (!n) {
        fail_oom(d);
        return NULL;
    }
    n->name = d->node ? d->node->name : "";
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    return give_output(d, n, 0);
}

tn_value *tn_grad_emit1(tn_grad *d, const char *op_type, tn_value *a) { return tn_grad_emit(d, "", op_type, 1, &a); }
tn_value *tn_grad_emit2(tn_grad *d, const char *op_type, tn_value *a, tn_value *b) {
    return tn_grad_emit(d, "", op_type, 2, (tn_value *[]){a, b});
}
tn_value *tn_grad_emit3(tn_grad *d, const char *op_type, tn_value *a, tn_value *b, tn_value *c) {
    return tn_grad_emit(d, "", op_type, 3, (tn_value *[]){a, b, c});
}

tn_node *tn_grad_copy_node(tn_grad *d, const tn_node *n, int n_out) {
    if (d->status != TERN_OK) return NULL;
    tn_node *m = tn_graph_add_node(d->graph, n->domain, n->op_type, n->opset, n->n_in, n_out);
    if (m) m->attrs = tn_arena_array(&d->o->model->arena, (size_t)n->n_attrs + 1, sizeof *m->attrs);
    if (!m || !m->attrs) {
        fail_oom(d);
        return NULL;
    }
    m->name = n->name;
    /* One by one: tn_node_add_attr keeps to a capacity of its own. */
    m->n_attrs = 0;
    for (int i = 0; i < n->n_attrs; i++) {
        tn_attr *a = tn_node_add_attr(m, n->attrs[i].name, n->attrs[i].type);
        if (!a) {
            fail_oom(d);
            return NULL;
        }
        *a = n->attrs[i];
    }
    for (int i = 0; i < n->n_in; i++) m->in[i] = n->in[i];
    for (int k = 0; k < n_out && d->status == TERN_OK; k++) give_output(d, m, k);
    return d->status == TERN_OK ? m : NULL;
}

static void keep(tn_grad *d, tern_status s) {
    if (d->status == TERN_OK) d->status = s;
}
void tn_grad_set_i(tn_grad *d, tn_node *n, const char *name, int64_t v) {
    if (d->status == TERN_OK) keep(d, tn_opt_set_i(d->o, n, name, v));
}
void tn_grad_set_f(tn_grad *d, tn_node *n, const char *name, float v) {
    if (d->status == TERN_OK) keep(d, tn_opt_set_f(d->o, n, name, v));
}
void tn_grad_set_s(tn_grad *d, tn_node *n, const char *name, const char *literal) {
    if (d->status == TERN_OK) keep(d, tn_opt_set_s(d->o, n, name, literal));
}
void tn_grad_set_ints(tn_grad *d, tn_node *n, const char *name, const int64_t *v, size_t count) {
    if (d->status == TERN_OK) keep(d, tn_opt_set_ints(d->o, n, name, v, count));
}

/* The graph that d works on need not be the main one, which tn_opt_new_const serves. */
static tn_value *new_const(tn_grad *d, tern_dtype dtype, int rank, int64_t count, const void *data) {
    tn_shape shape = {.rank = rank, .dims = {count}};
    tern_tensor *t;
    if (d->status != TERN_OK) return NULL;
    keep(d, tn_tensor_new(&t, dtype, &shape, d->o->err));
    if (d->status != TERN_OK) return NULL;
    if (tn_tensor_bytes(t)) memcpy(t->data, data, tn_tensor_bytes(t));
    keep(d, tn_model_own_tensor(d->o->model, t, d->o->err));
    if (d->status != TERN_OK) return NULL;
    tn_value *v = tn_graph_new_value(d->graph, "gradient");
    if (!v) {
        fail_oom(d);
        return NULL;
    }
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    return v;
}

tn_value *tn_grad_scalar(tn_grad *d, double v, tn_value *like) {
    return tn_grad_emit2(d, "CastLike", new_const(d, TERN_DOUBLE, 0, 1, &v), like);
}

tn_value *tn_grad_ints(tn_grad *d, const int64_t *v, int count) {
    return count < 0 ? new_const(d, TERN_INT64, 0, 1, v) : new_const(d, TERN_INT64, 1, count, v);
}

tn_value *tn_grad_full(tn_grad *d, double v, tn_value *like) {
    return tn_grad_emit2(d, "Expand", tn_grad_scalar(d, v, like), tn_grad_emit1(d, "Shape", like));
}

tn_value *tn_grad_sum_to(tn_grad *d, tn_value *g, tn_value *like, int axis) {
    tn_value *v = tn_grad_emit(d, "tern", "SumTo", 2, (tn_value *[]){g, like});
    if (v && axis >= 0) tn_grad_set_i(d, v->producer, "axis", axis);
    return v;
}

tn_value *tn_grad_of(const tn_grad *d, const tn_value *v) { return v && v->id < d->n_values ? d->of[v->id] : NULL; }

bool tn_grad_wants(const tn_grad *d, const tn_node *n, int input) {
    return input < n->n_in && n->in[input] && n->in[input]->id < d->n_values && d->active[n->in[input]->id];
}

void tn_grad_give(tn_grad *d, const tn_node *n, int input, tn_value *g) {
    if (!tn_grad_wants(d, n, input) || !g) return;
    tn_value **sum = &d->of[n->in[input]->id];
    *sum = *sum ? tn_grad_emit2(d, "Add", *sum, g) : g;
}

void tn_grad_refuse(tn_grad *d, const tn_node *n, const char *why) {
    char where[TN_NODE_TEXT];
    if (d->status == TERN_OK)
        d->status = tn_fail(d->o->err, TERN_UNSUPPORTED, "%s can not be differentiated: %s",
                            tn_node_text(n, where, sizeof where), why);
}

/* ---- one Gradient node ----------------------------------------------------------------------------------------- */

typedef struct expansion {
    tn_grad d;
    tn_node *node;     /* the Gradient */
    int nx, n;         /* of xs; of xs and zs */
    tn_node **forward; /* the function's nodes, in order; copies where inputs were replaced */
    int n_forward;
    tn_value **target; /* n values of the function whose gradients are asked for */
    tn_value *y;
} expansion;

/* Nodes between the x and y, in the graph's order. */
static tern_status find_function(expansion *e, tn_arena *arena) {
    const tn_graph *g = e->d.graph;
    bool *needed = tn_arena_array(arena, (size_t)g->n_values + 1, sizeof *needed);
    bool *stop = tn_arena_array(arena, (size_t)g->n_values + 1, sizeof *stop);
    e->forward = tn_arena_array(arena, (size_t)g->n_nodes + 1, sizeof(tn_node *));
    if (!needed || !stop || !e->forward) return tn_fail_oom(e->d.o->err, (size_t)g->n_values);
    for (int i = 0; i < e->n; i++) stop[e->node->in[e->n + i]->id] = true;
    needed[e->y->id] = true;
    int first = g->n_nodes;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        tn_node *n = g->nodes[i];
        bool in_function = false;
        for (int k = 0; k < n->n_out; k++) in_function |= n->out[k] && needed[n->out[k]->id] && !stop[n->out[k]->id];
        if (!in_function) continue;
        e->forward[--first] = n;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) needed[n->in[k]->id] = true;
        for (int k = 0; k < n->n_captures; k++) needed[n->captures[k]->id] = true;
    }
    e->forward += first;
    e->n_forward = g->n_nodes - first;
    return TERN_OK;
}

/* The copy's outputs are known as well as the original's, but for dims: v may have others than x. */
static void copy_types(const tn_node *from, const tn_node *to) {
    for (int k = 0; k < from->n_out; k++) {
        if (!from->out[k]) continue;
        to->out[k]->type = from->out[k]->type;
        for (int i = 0; i < TERN_MAX_RANK; i++) to->out[k]->type.shape.dims[i] = TN_DIM_UNKNOWN;
    }
}

static void replace_node(expansion *e, int at, tn_value **subst, int n_subst) {
    tn_node *n = e->forward[at];
    bool changed = false;
    for (int k = 0; k < n->n_in; k++) changed |= n->in[k] && n->in[k]->id < n_subst && subst[n->in[k]->id];
    for (int k = 0; k < n->n_captures; k++)
        if (n->captures[k]->id < n_subst && subst[n->captures[k]->id])
            tn_grad_refuse(&e->d, n, "its subgraph reads a value that the Gradient replaces");
    if (!changed) return;
    if (n->n_captures) tn_grad_refuse(&e->d, n, "it has a subgraph");
    tn_node *copy = tn_grad_copy_node(&e->d, n, n->n_out);
    if (!copy) return;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && n->in[k]->id < n_subst && subst[n->in[k]->id]) copy->in[k] = subst[n->in[k]->id];
    copy_types(n, copy);
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k]) subst[n->out[k]->id] = copy->out[k];
    e->forward[at] = copy;
}

/* v in place of x. Each gets a value of its own, as two x may be given one v. */
static tern_status replace_inputs(expansion *e, tn_arena *arena) {
    tn_graph *g = e->d.graph;
    int n_subst = g->n_values;
    tn_value **subst = tn_arena_array(arena, (size_t)n_subst + 1, sizeof *subst);
    e->target = tn_arena_array(arena, (size_t)e->n + 1, sizeof *e->target);
    if (!subst || !e->target) return tn_fail_oom(e->d.o->err, (size_t)n_subst * sizeof *subst);
    for (int i = 0; i < e->n; i++) {
        tn_value *v = e->node->in[i], *x = e->node->in[e->n + i];
        e->target[i] = x;
        if (v == x) continue;
        e->target[i] = tn_grad_emit1(&e->d, "Identity", v);
        if (!e->target[i]) return e->d.status;
        e->target[i]->type = v->type;
        subst[x->id] = e->target[i];
    }
    for (int i = 0; i < e->n_forward && e->d.status == TERN_OK; i++) replace_node(e, i, subst, n_subst);
    if (subst[e->y->id]) e->y = subst[e->y->id];
    return e->d.status;
}

static bool is_active(const tn_grad *d, const tn_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && d->active[n->in[k]->id]) return true;
    for (int k = 0; k < n->n_captures; k++)
        if (d->active[n->captures[k]->id]) return true;
    return false;
}

static void differentiate_node(tn_grad *d, const tn_node *n) {
    bool flows = false;
    for (int k = 0; k < n->n_out; k++) flows |= tn_grad_of(d, n->out[k]) != NULL;
    if (!flows || !is_active(d, n)) return;
    tn_grad_rule rule = tn_grad_find_rule(n);
    d->node = n;
    if (rule)
        rule(d, n);
    else
        tn_grad_refuse(d, n, "tern has no derivative of the operator");
    d->node = NULL;
}

static tern_status differentiate(expansion *e, tn_arena *arena) {
    tn_grad *d = &e->d;
    d->n_values = d->graph->n_values;
    d->of = tn_arena_array(arena, (size_t)d->n_values + 1, sizeof *d->of);
    d->active = tn_arena_array(arena, (size_t)d->n_values + 1, sizeof *d->active);
    if (!d->of || !d->active) return tn_fail_oom(d->o->err, (size_t)d->n_values * sizeof *d->of);
    for (int i = 0; i < e->nx; i++) d->active[e->target[i]->id] = true;
    for (int i = 0; i < e->n_forward; i++) {
        const tn_node *n = e->forward[i];
        bool active = is_active(d, n);
        /* A node that also gives one of the x keeps that one's mark. */
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] && active) d->active[n->out[k]->id] = true;
    }
    d->of[e->y->id] = tn_grad_full(d, 1, e->y);
    for (int i = e->n_forward - 1; i >= 0 && d->status == TERN_OK; i--) differentiate_node(d, e->forward[i]);
    return d->status;
}

static tern_status connect_outputs(expansion *e) {
    for (int i = 0; i < e->node->n_out; i++) {
        tn_value *out = e->node->out[i];
        if (!out) continue;
        tn_value *g = tn_grad_of(&e->d, e->target[i]);
        if (!g) g = tn_grad_full(&e->d, 0, e->target[i]);
        tn_value *made = tn_grad_emit1(&e->d, "Identity", g);
        if (!made) return e->d.status;
        made->producer->out[0] = out;
        out->producer = made->producer;
        e->node->out[i] = NULL;
    }
    tn_opt_remove(e->node);
    return TERN_OK;
}

static tern_status expand(tn_opt *o, tn_graph *g, tn_node *node) {
    tn_arena arena;
    expansion e = {.d = {.o = o, .graph = g}, .node = node};
    int nx = 0, nz = 0;
    char where[TN_NODE_TEXT];
    bool ok = tn_gradient_counts(node, &nx, &nz) && node->n_in == 2 * (nx + nz) + 1 && node->n_out <= nx;
    for (int i = 0; ok && i < node->n_in; i++) ok = node->in[i] != NULL;
    if (!ok)
        return tn_fail(o->err, TERN_INVALID_MODEL, "%s: it has not the inputs that 'xs', 'zs' and 'y' name",
                       tn_node_text(node, where, sizeof where));
    e.nx = nx;
    e.n = nx + nz;
    e.y = node->in[2 * e.n];
    tn_arena_init(&arena, 0);
    tern_status s = find_function(&e, &arena);
    if (s == TERN_OK) s = replace_inputs(&e, &arena);
    if (s == TERN_OK) s = differentiate(&e, &arena);
    if (s == TERN_OK) s = connect_outputs(&e);
    tn_arena_release(&arena);
    if (s != TERN_OK) {
        tn_error_prefix(o->err, "%s: ", tn_node_text(node, where, sizeof where));
    }
    return s;
}

/* ---- all of a model -------------------------------------------------------------------------------------------- */

static tn_node *first_gradient(tern_model *m, tn_graph *g, tn_graph **home) {
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        if (tn_node_is_gradient(n)) {
            *home = g;
            return n;
        }
        for (int a = 0; a < n->n_attrs; a++) {
            const tn_attr *at = &n->attrs[a];
            size_t count = at->type == TN_ATTR_GRAPH ? 1 : at->type == TN_ATTR_GRAPHS ? at->count : 0;
            for (size_t k = 0; k < count; k++) {
                tn_node *found = first_gradient(m, at->type == TN_ATTR_GRAPH ? at->g : at->graphs[k], home);
                if (found) return found;
            }
        }
    }
    return NULL;
}

tern_status tn_opt_expand_gradient(tn_opt *o, bool *found) {
    tn_graph *home = NULL;
    tn_node *n = first_gradient(o->model, o->graph, &home);
    *found = n != NULL;
    if (!n) return TERN_OK;
    if (o->n_gradients++ == MAX_GRADIENTS)
        return tn_fail(o->err, TERN_LIMIT_EXCEEDED, "the model has more than %d nodes of Gradient", MAX_GRADIENTS);
    TN_TRY(expand(o, home, n));
    TN_TRY(tn_graph_finish(o->graph, o->err));
    return tn_op_resolve_graph(o->graph, o->err);
}
