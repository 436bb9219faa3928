/* Building a model: everything is taken from the model's arena, but arrays that grow and hash maps, which
 * tn_model_free releases by walking all_graphs. */
#include "graph/graph.h"

#include <stdio.h>

#define DEFAULT_MAX_NODES   1000000
#define DEFAULT_MAX_NESTING 64

tern_model *tn_model_new(void) {
    tern_model *m = tn_calloc(1, sizeof *m);
    if (!m) return NULL;
    tn_arena_init(&m->arena, 0);
    m->limits = (tn_limits){DEFAULT_MAX_NODES, (size_t)16 << 30, (size_t)64 << 30, DEFAULT_MAX_NESTING};
    m->producer_name = m->producer_version = m->domain = m->doc = "";
    return m;
}

void tn_model_free(tern_model *m) {
    if (!m) return;
    for (tn_graph *g = m->all_graphs; g; g = g->next) {
        tn_free(g->values);
        tn_free(g->nodes);
        tn_free(g->inputs);
        tn_free(g->outputs);
        tn_map_release(&g->by_name);
    }
    for (size_t i = 0; i < m->n_tensors; i++) tn_tensor_unref(m->tensors[i]);
    tn_free(m->tensors);
    tn_free(m->symbols);
    tn_map_release(&m->symbol_by_name);
    for (size_t i = 0; i < m->n_held; i++) m->held[i].release(m->held[i].object);
    tn_free(m->held);
    for (size_t i = 0; i < m->n_files; i++) tn_file_unmap(&m->files[i]);
    tn_free(m->files);
    tn_arena_release(&m->arena);
    tn_free(m);
}

tern_status tn_model_check(const tern_model *m, const tern_tensor *t, tern_error *err) {
    if (!m->check || t->kind != TERN_KIND_TENSOR || t->dtype == TERN_STRING) return TERN_OK;
    return m->check(m->compiled, t->data, tn_tensor_bytes(t), err);
}

tern_status tn_model_check_all(const tern_model *m, tern_error *err) {
    for (size_t i = 0; m->check && i < m->n_tensors; i++) TN_TRY(tn_model_check(m, m->tensors[i], err));
    return TERN_OK;
}

tern_status tn_model_hold(tern_model *m, void *object, void (*release)(void *object), tern_error *err) {
    if (!tn_grow(&m->held, &m->cap_held, m->n_held + 1, sizeof *m->held)) {
        release(object);
        return tn_fail_oom(err, sizeof *m->held);
    }
    m->held[m->n_held++] = (tn_held){object, release};
    return TERN_OK;
}

tn_graph *tn_graph_new(tern_model *model, tn_graph *parent, const char *name) {
    tn_graph *g = tn_arena_alloc(&model->arena, sizeof *g);
    char *copy = tn_arena_strndup(&model->arena, name, strlen(name));
    if (!g || !copy) return NULL;
    g->model = model;
    g->parent = parent;
    g->name = copy;
    g->next = model->all_graphs;
    model->all_graphs = g;
    return g;
}

/* A value under a name that is already in the arena and that no other value of the graph has. */
static tn_value *add_value(tn_graph *g, const char *name) {
    if (g->n_values == INT32_MAX) return NULL;
    if (!tn_grow(&g->values, &g->cap_values, (size_t)g->n_values + 1, sizeof *g->values)) return NULL;
    tn_value *v = tn_arena_alloc(&g->model->arena, sizeof *v);
    if (!v || !tn_map_put(&g->by_name, tn_str_c(name), v)) return NULL;
    v->name = name;
    v->id = g->n_values;
    g->values[g->n_values++] = v;
    return v;
}

tn_value *tn_graph_find(const tn_graph *g, const char *name) { return tn_map_get(&g->by_name, tn_str_c(name)); }

tn_value *tn_graph_value(tn_graph *g, const char *name) {
    tn_value *v = tn_graph_find(g, name);
    if (v) return v;
    char *copy = tn_arena_strndup(&g->model->arena, name, strlen(name));
    return copy ? add_value(g, copy) : NULL;
}

tn_value *tn_graph_new_value(tn_graph *g, const char *base_name) {
    size_t len = strlen(base_name), size;
    if (!tn_add_size(len, 24, &size)) return NULL;
    char *name = tn_arena_alloc(&g->model->arena, size);
    if (!name) return NULL;
    // The counter never goes back, so that names of the file which look like ours cost one try each, once.
    do {
        snprintf(name, size, "%s.%llu", base_name, (unsigned long long)++g->n_fresh);
    } while (tn_graph_find(g, name));
    return add_value(g, name);
}

tn_node *tn_graph_add_node(tn_graph *g, const char *domain, const char *op_type, int opset, int n_in, int n_out) {
    tern_model *m = g->model;
    if (g->n_nodes == INT32_MAX || (int64_t)m->n_nodes_total >= m->limits.max_nodes) return NULL;
    if (!tn_grow(&g->nodes, &g->cap_nodes, (size_t)g->n_nodes + 1, sizeof *g->nodes)) return NULL;
    tn_node *n = tn_arena_alloc(&m->arena, sizeof *n);
    if (!n) return NULL;
    n->name = "";
    n->domain = *domain ? tn_arena_strndup(&m->arena, domain, strlen(domain)) : "";
    n->op_type = tn_arena_strndup(&m->arena, op_type, strlen(op_type));
    // One at least, so that whoever looks at in[0] of a node without inputs sees that it is absent.
    n->in = tn_arena_array(&m->arena, (size_t)TN_MAX(n_in, 1), sizeof *n->in);
    n->out = tn_arena_array(&m->arena, (size_t)TN_MAX(n_out, 1), sizeof *n->out);
    if (!n->domain || !n->op_type || !n->in || !n->out) return NULL;
    n->opset = opset;
    n->n_in = n_in;
    n->n_out = n_out;
    n->graph = g;
    n->id = g->n_nodes;
    g->nodes[g->n_nodes++] = n;
    m->n_nodes_total++;
    return n;
}

tern_status tn_graph_add_input(tn_graph *g, tn_value *v, tern_error *err) {
    if (g->n_inputs == INT32_MAX || !tn_grow(&g->inputs, &g->cap_inputs, (size_t)g->n_inputs + 1, sizeof *g->inputs)) {
        return tn_fail_oom(err, sizeof *g->inputs);
    }
    g->inputs[g->n_inputs++] = v;
    v->is_input = true;
    return TERN_OK;
}

tern_status tn_graph_add_output(tn_graph *g, tn_value *v, tern_error *err) {
    if (g->n_outputs == INT32_MAX ||
        !tn_grow(&g->outputs, &g->cap_outputs, (size_t)g->n_outputs + 1, sizeof *g->outputs)) {
        return tn_fail_oom(err, sizeof *g->outputs);
    }
    g->outputs[g->n_outputs++] = v;
    return TERN_OK;
}

tern_status tn_model_own_tensor(tern_model *m, tern_tensor *t, tern_error *err) {
    if (!tn_grow(&m->tensors, &m->cap_tensors, m->n_tensors + 1, sizeof *m->tensors)) {
        tn_tensor_unref(t);
        return tn_fail_oom(err, sizeof *m->tensors);
    }
    m->tensors[m->n_tensors++] = t;
    return TERN_OK;
}

int64_t tn_model_symbol(tern_model *m, const char *name) {
    uintptr_t known = name ? (uintptr_t)tn_map_get(&m->symbol_by_name, tn_str_c(name)) : 0;
    if (known) return tn_dim_symbol((uint32_t)(known - 1));
    // Unknown is always a right answer: all that is lost is that two such dims are equal.
    if (m->n_symbols >= UINT32_MAX - 1) return TN_DIM_UNKNOWN;
    if (!tn_grow(&m->symbols, &m->cap_symbols, m->n_symbols + 1, sizeof *m->symbols)) return TN_DIM_UNKNOWN;
    char *copy = NULL;
    if (name) {
        copy = tn_arena_strndup(&m->arena, name, strlen(name));
        if (!copy || !tn_map_put(&m->symbol_by_name, tn_str_c(copy), (void *)(uintptr_t)(m->n_symbols + 1))) {
            return TN_DIM_UNKNOWN;
        }
    }
    m->symbols[m->n_symbols] = copy;
    return tn_dim_symbol((uint32_t)m->n_symbols++);
}

const char *tn_model_symbol_name(const tern_model *m, int64_t dim) {
    if (!tn_dim_is_symbol(dim)) return "?";
    uint32_t index = tn_dim_symbol_index(dim);
    return index < m->n_symbols && m->symbols[index] ? m->symbols[index] : "?";
}

bool tn_node_is_gradient(const tn_node *n) {
    return strcmp(n->op_type, "Gradient") == 0 && strcmp(n->domain, "ai.onnx.preview.training") == 0;
}

bool tn_gradient_counts(const tn_node *n, int *nx, int *nz) {
    const tn_attr *xs = tn_attr_find(n, "xs"), *zs = tn_attr_find(n, "zs"), *y = tn_attr_find(n, "y");
    if (!xs || xs->type != TN_ATTR_STRINGS || !y || y->type != TN_ATTR_STRING) return false;
    if ((zs && zs->type != TN_ATTR_STRINGS) || xs->count > INT32_MAX / 8 || (zs && zs->count > INT32_MAX / 8))
        return false;
    *nx = (int)xs->count;
    *nz = zs ? (int)zs->count : 0;
    return true;
}

static bool is_power_of_two(int n) { return (n & (n - 1)) == 0; }

tn_attr *tn_node_add_attr(tn_node *n, const char *name, tn_attr_type type) {
    tn_arena *arena = &n->graph->model->arena;
    // Capacity is the next power of two of n_attrs: full exactly when n_attrs is one.
    if (is_power_of_two(n->n_attrs)) {
        if (n->n_attrs > INT32_MAX / 2) return NULL;
        tn_attr *grown = tn_arena_array(arena, (size_t)TN_MAX(1, 2 * n->n_attrs), sizeof *grown);
        if (!grown) return NULL;
        if (n->n_attrs) memcpy(grown, n->attrs, (size_t)n->n_attrs * sizeof *grown);
        n->attrs = grown;
    }
    tn_attr *a = &n->attrs[n->n_attrs];
    *a = (tn_attr){.name = tn_arena_strndup(arena, name, strlen(name)), .type = type, .count = 1};
    if (!a->name) return NULL;
    n->n_attrs++;
    return a;
}

void tn_graph_replace_uses(tn_graph *g, tn_value *from, tn_value *to) {
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (n->in[k] == from) n->in[k] = to;
        }
        bool captured = false;
        for (int k = 0; k < n->n_captures; k++) {
            if (n->captures[k] == from) n->captures[k] = to, captured = true;
        }
        for (int a = 0; captured && a < n->n_attrs; a++) {
            const tn_attr *attr = &n->attrs[a];
            size_t count = attr->type == TN_ATTR_GRAPH ? 1 : attr->type == TN_ATTR_GRAPHS ? attr->count : 0;
            for (size_t s = 0; s < count; s++) {
                tn_graph *sub = attr->type == TN_ATTR_GRAPH ? attr->g : attr->graphs[s];
                for (int k = 0; k < sub->n_values; k++) {
                    if (sub->values[k]->captured == from) sub->values[k]->captured = to;
                }
            }
        }
    }
    for (int i = 0; i < g->n_outputs; i++) {
        if (g->outputs[i] == from) g->outputs[i] = to;
    }
}
