#include "opt/opt.h"

/* Copies graphs into a new model. Strings, attribute lists and tensors stay where they are: the source outlives the
 * copy. */
typedef struct cloner {
    tern_model *model;
    tern_error *err;
} cloner;

static tern_status clone_graph(cloner *c, const tn_graph *src, tn_graph *parent, tn_value **outer_map, tn_graph **out);

static tern_status clone_values(cloner *c, const tn_graph *src, tn_graph *g, tn_value **outer_map, tn_value **map) {
    for (int i = 0; i < src->n_values; i++) {
        const tn_value *v = src->values[i];
        tn_value *w = tn_graph_value(g, v->name);
        if (!w) return tn_fail_oom(c->err, sizeof *w);
        w->type = v->type;
        w->partial = v->partial;
        w->block = v->block;
        if (v->constant) {
            w->constant = tn_tensor_ref(v->constant);
            TN_TRY(tn_model_own_tensor(c->model, w->constant, c->err));
        }
        if (v->captured) w->captured = outer_map[v->captured->id];
        map[v->id] = w;
    }
    return TERN_OK;
}

static tern_status clone_attr(cloner *c, tn_attr *a, tn_graph *g, tn_value **map) {
    if (a->type == TN_ATTR_GRAPH) return clone_graph(c, a->g, g, map, &a->g);
    if (a->type != TN_ATTR_GRAPHS) return TERN_OK;
    tn_graph **graphs = tn_arena_array(&c->model->arena, a->count, sizeof *graphs);
    if (!graphs && a->count) return tn_fail_oom(c->err, a->count * sizeof *graphs);
    for (size_t i = 0; i < a->count; i++) TN_TRY(clone_graph(c, a->graphs[i], g, map, &graphs[i]));
    a->graphs = graphs;
    return TERN_OK;
}

static tern_status clone_node(cloner *c, const tn_node *n, tn_graph *g, tn_value **map) {
    tn_node *m = tn_graph_add_node(g, n->domain, n->op_type, n->opset, n->n_in, n->n_out);
    if (!m) return tn_fail_oom(c->err, sizeof *m);
    m->name = n->name;
    m->since = n->since;
    m->op = n->op;
    m->fused = n->fused;
    for (int i = 0; i < n->n_in; i++) m->in[i] = n->in[i] ? map[n->in[i]->id] : NULL;
    for (int i = 0; i < n->n_out; i++) m->out[i] = n->out[i] ? map[n->out[i]->id] : NULL;
    size_t room = 1; /* as tn_node_add_attr counts on it */
    while (room < (size_t)n->n_attrs) room *= 2;
    m->attrs = tn_arena_array(&c->model->arena, room, sizeof *m->attrs);
    m->captures = tn_arena_array(&c->model->arena, (size_t)n->n_captures + 1, sizeof *m->captures);
    if (!m->attrs || !m->captures) return tn_fail_oom(c->err, sizeof *m->attrs);
    m->n_attrs = n->n_attrs;
    if (n->n_attrs) memcpy(m->attrs, n->attrs, (size_t)n->n_attrs * sizeof *n->attrs);
    m->n_captures = n->n_captures;
    for (int i = 0; i < n->n_captures; i++) m->captures[i] = map[n->captures[i]->id];
    for (int i = 0; i < n->n_attrs; i++) TN_TRY(clone_attr(c, &m->attrs[i], g, map));
    return TERN_OK;
}

static tern_status clone_graph(cloner *c, const tn_graph *src, tn_graph *parent, tn_value **outer_map, tn_graph **out) {
    tn_graph *g = tn_graph_new(c->model, parent, src->name);
    if (!g) return tn_fail_oom(c->err, sizeof *g);
    *out = g;
    tn_value **map = tn_alloc_array((size_t)src->n_values + 1, sizeof(tn_value *));
    if (!map) return tn_fail_oom(c->err, (size_t)src->n_values * sizeof *map);
    tern_status s = clone_values(c, src, g, outer_map, map);
    for (int i = 0; s == TERN_OK && i < src->n_inputs; i++) s = tn_graph_add_input(g, map[src->inputs[i]->id], c->err);
    for (int i = 0; s == TERN_OK && i < src->n_nodes; i++) s = clone_node(c, src->nodes[i], g, map);
    for (int i = 0; s == TERN_OK && i < src->n_outputs; i++)
        s = tn_graph_add_output(g, map[src->outputs[i]->id], c->err);
    tn_free(map);
    return s;
}

tern_status tn_opt_clone(tern_model **out, const tern_model *src, tern_error *err) {
    *out = NULL;
    TN_TRY(tn_model_check_all(src, err));
    tern_model *m = tn_model_new();
    if (!m) return tn_fail_oom(err, sizeof *m);
    m->limits = src->limits;
    m->ir_version = src->ir_version;
    m->opsets = src->opsets;
    m->n_opsets = src->n_opsets;
    m->metadata = src->metadata;
    m->n_metadata = src->n_metadata;
    m->producer_name = src->producer_name;
    m->producer_version = src->producer_version;
    cloner c = {m, err};
    tern_status s = TERN_OK;
    /* Symbols are numbered by position: copied in order, so that types keep their meaning. */
    for (size_t i = 0; s == TERN_OK && i < src->n_symbols; i++) {
        if (!tn_grow(&m->symbols, &m->cap_symbols, i + 1, sizeof *m->symbols))
            s = tn_fail_oom(err, sizeof(char *));
        else
            m->symbols[m->n_symbols++] = src->symbols[i];
    }
    if (s == TERN_OK) s = clone_graph(&c, src->graph, NULL, NULL, &m->graph);
    if (s == TERN_OK) s = tn_graph_finish(m->graph, err);
    if (s != TERN_OK) {
        tn_model_free(m);
        return s;
    }
    *out = m;
    return TERN_OK;
}
