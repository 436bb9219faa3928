#include "opt/opt.h"

#include <stdio.h>

#define PASS(FUNCTION, NEEDS_FUSE, IN_SUBGRAPHS) tern_status FUNCTION(tn_opt *o);
#include "opt/pass_list.inc"
#undef PASS

static const struct {
    tern_status (*run)(tn_opt *o);
    bool needs_fuse, in_subgraphs;
} passes[] = {
#define PASS(FUNCTION, NEEDS_FUSE, IN_SUBGRAPHS) {FUNCTION, NEEDS_FUSE, IN_SUBGRAPHS},
#include "opt/pass_list.inc"
#undef PASS
};

/* ---- for passes ------------------------------------------------------------------------------------------------ */

tern_status tn_opt_index(tn_opt *o) {
    const tn_graph *g = o->graph;
    o->sole_user = tn_arena_array(&o->scratch, (size_t)g->n_values + 1, sizeof(tn_node *));
    if (!o->sole_user) return tn_fail_oom(o->err, (size_t)g->n_values * sizeof(tn_node *));
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] && n->in[k]->n_uses == 1) o->sole_user[n->in[k]->id] = n;
    }
    return TERN_OK;
}

bool tn_opt_is(const tn_node *n, const char *domain, const char *op_type) {
    return n && strcmp(n->op_type, op_type) == 0 && strcmp(n->domain, domain) == 0;
}

const tern_tensor *tn_opt_const(const tn_value *v) {
    return v && v->constant && v->constant->kind == TERN_KIND_TENSOR ? v->constant : NULL;
}

bool tn_opt_scalar(const tn_value *v, float *out) {
    const tern_tensor *t = tn_opt_const(v);
    if (!t || t->dtype != TERN_FLOAT || tn_shape_count(&t->shape) != 1) return false;
    *out = *(const float *)t->data;
    return true;
}

bool tn_opt_may_write(const tn_opt *o, int first) { return !o->opset || o->opset >= first; }

tn_node *tn_opt_replace(tn_opt *o, int at, const char *domain, const char *op_type, int opset, int n_in, tn_node *old) {
    tn_graph *g = o->graph;
    if (o->opset && !*domain) opset = o->opset;
    tn_node *n = tn_graph_add_node(g, domain, op_type, opset, n_in, old ? old->n_out : 1);
    if (!n) {
        tn_fail_oom(o->err, sizeof *n);
        return NULL;
    }
    g->n_nodes--; /* it was appended; it belongs at its place */
    g->nodes[at] = n;
    n->id = at;
    if (old) {
        n->name = old->name;
        n->fused = old->fused;
        for (int i = 0; i < old->n_out; i++) {
            n->out[i] = old->out[i];
            if (n->out[i]) n->out[i]->producer = n;
        }
    }
    return n;
}

void tn_opt_remove(tn_node *n) {
    for (int i = 0; i < n->n_in; i++) n->in[i] = NULL;
    for (int i = 0; i < n->n_out; i++) {
        if (n->out[i] && n->out[i]->producer == n) n->out[i]->producer = NULL;
        n->out[i] = NULL;
    }
}

tn_value *tn_opt_new_const(tn_opt *o, const char *base_name, tern_tensor *t) {
    if (tn_model_own_tensor(o->model, t, o->err) != TERN_OK) return NULL;
    tn_value *v = tn_graph_new_value(o->graph, base_name);
    if (!v) {
        tn_fail_oom(o->err, sizeof *v);
        return NULL;
    }
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    return v;
}

static tn_attr *set_attr(tn_opt *o, tn_node *n, const char *name, tn_attr_type type) {
    tn_attr *a = (tn_attr *)(uintptr_t)tn_attr_find(n, name);
    if (!a) a = tn_node_add_attr(n, name, type);
    if (!a) {
        tn_fail_oom(o->err, sizeof *a);
        return NULL;
    }
    a->type = type;
    a->count = 1;
    return a;
}

tern_status tn_opt_set_i(tn_opt *o, tn_node *n, const char *name, int64_t value) {
    tn_attr *a = set_attr(o, n, name, TN_ATTR_INT);
    if (!a) return TERN_OUT_OF_MEMORY;
    a->i = value;
    return TERN_OK;
}

tern_status tn_opt_set_f(tn_opt *o, tn_node *n, const char *name, float value) {
    tn_attr *a = set_attr(o, n, name, TN_ATTR_FLOAT);
    if (!a) return TERN_OUT_OF_MEMORY;
    a->f = value;
    return TERN_OK;
}

tern_status tn_opt_set_s(tn_opt *o, tn_node *n, const char *name, const char *value) {
    tn_attr *a = set_attr(o, n, name, TN_ATTR_STRING);
    if (!a) return TERN_OUT_OF_MEMORY;
    a->s = tn_str_c(value); /* callers pass literals, or text of the arena */
    return TERN_OK;
}

tern_status tn_opt_set_ints(tn_opt *o, tn_node *n, const char *name, const int64_t *values, size_t count) {
    tn_attr *a = set_attr(o, n, name, TN_ATTR_INTS);
    int64_t *copy = tn_arena_array(&o->model->arena, count + 1, sizeof *copy);
    if (!a || !copy) return tn_fail_oom(o->err, count * sizeof *copy);
    memcpy(copy, values, count * sizeof *copy);
    a->ints = copy;
    a->count = count;
    return TERN_OK;
}

tern_status tn_opt_note(tn_opt *o, tn_node *n, const char *what) {
    char text[200];
    int len =
        n->fused ? snprintf(text, sizeof text, "%s, %s", n->fused, what) : snprintf(text, sizeof text, "%s", what);
    if (len < 0 || (size_t)len >= sizeof text) len = (int)sizeof text - 1;
    n->fused = tn_arena_strndup(&o->model->arena, text, (size_t)len);
    return n->fused ? TERN_OK : tn_fail_oom(o->err, (size_t)len);
}

/* ---- the driver ------------------------------------------------------------------------------------------------ */

/* In subgraphs, nothing that the file declares is believed: no run checks it, and a loop's state may change its shape.
 */
static void forget_declared(tern_model *m) {
    for (tn_graph *g = m->all_graphs; g; g = g->next)
        for (int i = 0; g->parent && i < g->n_values; i++)
            if (!g->values[i]->constant) g->values[i]->type = (tn_type){.kind = TERN_KIND_TENSOR};
}

/* Types and partial values of every value, as far as they can be told before a run. What the file declares of an inner
 * value fills the dims that inference can not tell. */
static tern_status infer_types(tn_opt *o) {
    tn_infer_env env;
    if (o->subgraphs) forget_declared(o->model);
    tern_status s = tn_infer_env_init(&env, o->model, o->graph, NULL, &o->model->arena, true, o->err);
    env.record = o->subgraphs;
    if (s == TERN_OK) s = tn_infer_env_graph(&env, o->err);
    for (int i = 0; s == TERN_OK && i < o->graph->n_values; i++) {
        tn_value *v = o->graph->values[i];
        const tn_type *t = &env.types[i];
        if (t->kind != TERN_KIND_TENSOR || t->ranked || (t->dtype != TERN_UNDEFINED && !v->type.ranked)) v->type = *t;
        v->partial = env.partials[i];
    }
    tn_infer_env_release(&env);
    return s;
}

/* Captured values that are constants become constants of the subgraph: the same tensors, which passes can look at and
 * of which packed forms are kept. */
static void take_constants(tern_model *m) {
    for (tn_graph *g = m->all_graphs; g; g = g->next)
        for (int i = 0; g->parent && i < g->n_values; i++) {
            tn_value *v = g->values[i];
            const tn_value *root = v;
            while (root->captured) root = root->captured;
            if (root == v || !root->constant) continue;
            v->constant = root->constant;
            v->type = tn_type_of_tensor(v->constant);
            v->captured = NULL;
        }
}

/* Runs the pass on one graph. It is not finished then. */
static tern_status pass_on(tn_opt *o, tn_graph *g, tern_status (*pass)(tn_opt *o)) {
    tn_graph *keep = o->graph;
    o->graph = g;
    tn_arena_init(&o->scratch, 0);
    tern_status s = tn_opt_index(o);
    if (s == TERN_OK) s = pass(o);
    tn_arena_release(&o->scratch);
    o->graph = keep;
    return s;
}

/* A pass may edit the nodes of the subgraph that it is given; those around it are not touched meanwhile. */
static tern_status pass_on_subgraphs(tn_opt *o, const tn_graph *g, tern_status (*pass)(tn_opt *o), bool *any) {
    for (int i = 0; i < g->n_nodes; i++)
        for (int a = 0; a < g->nodes[i]->n_attrs; a++) {
            const tn_attr *at = &g->nodes[i]->attrs[a];
            size_t n = at->type == TN_ATTR_GRAPH ? 1 : at->type == TN_ATTR_GRAPHS ? at->count : 0;
            for (size_t k = 0; k < n; k++) {
                tn_graph *inner = at->type == TN_ATTR_GRAPH ? at->g : at->graphs[k];
                *any = true;
                TN_TRY(pass_on_subgraphs(o, inner, pass, any));
                TN_TRY(pass_on(o, inner, pass));
            }
        }
    return TERN_OK;
}

static tern_status run_pass(tn_opt *o, tern_status (*pass)(tn_opt *o), bool in_subgraphs) {
    bool any = false;
    TN_TRY(pass_on(o, o->graph, pass));
    TN_TRY(tn_graph_finish(o->graph, o->err));
    if (in_subgraphs && o->subgraphs) {
        take_constants(o->model);
        TN_TRY(pass_on_subgraphs(o, o->graph, pass, &any));
    }
    if (any) TN_TRY(tn_graph_finish(o->graph, o->err));
    return tn_op_resolve_graph(o->graph, o->err);
}

/* One by one: the rules look at types, and a gradient of a gradient at those of what the first one made. */
static tern_status expand_gradients(tn_opt *o) {
    for (bool found = true; found;) {
        tn_arena_init(&o->scratch, 0);
        tern_status s = tn_opt_expand_gradient(o, &found);
        tn_arena_release(&o->scratch);
        TN_TRY(s);
        if (found) TN_TRY(infer_types(o));
    }
    return TERN_OK;
}

tern_status tn_opt_run(tern_model *model, tern_cpu_tier tier, bool fuse, bool bf16, tern_error *err) {
    tn_opt o = {.model = model, .graph = model->graph, .tier = tier, .subgraphs = true, .bf16 = bf16, .err = err};
    tn_op_warn_about_opsets(model);
    TN_TRY(tn_opt_align(model, TN_ALIGN_BUT_WEIGHTS, err));
    TN_TRY(tn_op_expand_model(model, err));
    TN_TRY(tn_op_resolve_graph(o.graph, err));
    TN_TRY(infer_types(&o));
    TN_TRY(expand_gradients(&o));
    for (size_t p = 0; p < TN_COUNT(passes); p++) {
        if (passes[p].needs_fuse && !fuse) continue;
        TN_TRY(run_pass(&o, passes[p].run, passes[p].in_subgraphs));
        /* New values have no types yet, and later passes look at them. */
        TN_TRY(infer_types(&o));
    }
    return tn_opt_align(model, TN_ALIGN_BUT_PACKED, err);
}

tern_status tn_opt_infer(tern_model *model, tern_error *err) {
    tn_opt o = {.model = model, .graph = model->graph, .err = err};
    TN_TRY(tn_opt_align(model, TN_ALIGN_ALL, err));
    TN_TRY(tn_op_resolve_graph(o.graph, err));
    return infer_types(&o);
}

tern_status tn_opt_simplify(tern_model *model, tern_error *err) {
    /* The passes whose results are standard operators of the same opset. */
    static tern_status (*const standard[])(tn_opt * o) = {tn_pass_fold, tn_pass_identity, tn_pass_activation,
                                                          tn_pass_layernorm, tn_pass_batchnorm};
    tn_opt o = {.model = model, .graph = model->graph, .tier = tn_cpu_tier(), .err = err};
    for (size_t i = 0; i < model->n_opsets; i++)
        if (!*model->opsets[i].domain) o.opset = model->opsets[i].version;
    TN_TRY(tn_opt_infer(model, err));
    /* What one pass leaves may be work for another; every round that goes on has removed a node. */
    for (int before = o.graph->n_nodes + 1; o.graph->n_nodes < before;) {
        before = o.graph->n_nodes;
        for (size_t p = 0; p < TN_COUNT(standard); p++) {
            TN_TRY(run_pass(&o, standard[p], false));
            TN_TRY(infer_types(&o));
        }
    }
    return TERN_OK;
}
