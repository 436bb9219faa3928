/* tn_graph_finish: checks a graph and brings it into the form that everything else relies on. */
#include "graph/graph.h"

#include <stdio.h>

typedef struct finisher {
    tn_graph *g;
    tn_node **order; /* n_nodes: topological */
    int *stack;      /* n_nodes: ids of the nodes being visited */
    int *next_edge;  /* n_nodes: by node id, the next input or capture to look at */
    uint8_t *state;  /* n_nodes: by node id, see below */
    tern_error *err;
} finisher;

enum { UNSEEN = 0, ON_STACK, DONE };

static size_t graph_attr_count(const tn_attr *a) {
    return a->type == TN_ATTR_GRAPH ? 1 : a->type == TN_ATTR_GRAPHS ? a->count : 0;
}

static tn_graph *graph_attr(const tn_attr *a, size_t i) { return a->type == TN_ATTR_GRAPH ? a->g : a->graphs[i]; }

static bool belongs(const tn_graph *g, const tn_value *v) {
    return v->id >= 0 && v->id < g->n_values && g->values[v->id] == v;
}

static tern_status fail_foreign(const tn_graph *g, const tn_value *v, tern_error *err) {
    return tn_fail(err, TERN_INTERNAL, "graph '%s' uses value '%s', which is not one of its own", g->name, v->name);
}

/* Ids from positions; what is derived starts afresh. */
static void renumber(tn_graph *g) {
    for (int i = 0; i < g->n_values; i++) {
        tn_value *v = g->values[i];
        v->id = i;
        v->producer = NULL;
        v->n_uses = 0;
        v->is_input = false;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        g->nodes[i]->id = i;
        g->nodes[i]->graph = g;
    }
}

static bool captures_already(const tn_node *n, const tn_value *v) { return v->n_uses == -1 - n->id; }

/* captures = the values of g that the subgraphs of n stand in for, each once. While this runs, n_uses of a value in
 * g is -1 - id of the last node that was seen to capture it. */
static tern_status collect_captures(tn_graph *g, tn_node *n, tern_error *err) {
    size_t most = 0;
    for (int a = 0; a < n->n_attrs; a++) {
        for (size_t s = 0; s < graph_attr_count(&n->attrs[a]); s++) {
            const tn_graph *sub = graph_attr(&n->attrs[a], s);
            for (int i = 0; i < sub->n_values; i++) most += sub->values[i]->captured != NULL;
        }
    }
    if (most > (size_t)n->n_captures) {
        n->captures = tn_arena_array(&g->model->arena, most, sizeof *n->captures);
        if (!n->captures) return tn_fail_oom(err, most * sizeof *n->captures);
    }
    n->n_captures = 0;
    for (int a = 0; most && a < n->n_attrs; a++) {
        for (size_t s = 0; s < graph_attr_count(&n->attrs[a]); s++) {
            const tn_graph *sub = graph_attr(&n->attrs[a], s);
            for (int i = 0; i < sub->n_values; i++) {
                tn_value *v = sub->values[i]->captured;
                if (!v) continue;
                if (!belongs(g, v)) return fail_foreign(g, v, err);
                if (captures_already(n, v)) continue;
                v->n_uses = -1 - n->id;
                n->captures[n->n_captures++] = v;
            }
        }
    }
    return TERN_OK;
}

/* Of deep nesting the innermost levels are told. */
static void add_place(tern_error *err, const char *place) {
    if (err && strlen(err->text) < sizeof err->text / 2) tn_error_prefix(err, "%s: ", place);
}

static tern_status finish_subgraphs(tn_graph *g, tern_error *err) {
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int a = 0; a < n->n_attrs; a++) {
            for (size_t s = 0; s < graph_attr_count(&n->attrs[a]); s++) {
                tn_graph *sub = graph_attr(&n->attrs[a], s);
                sub->parent = g;
                tern_status status = tn_graph_finish(sub, err);
                if (status != TERN_OK) {
                    char text[TN_NODE_TEXT];
                    add_place(err, tn_node_text(n, text, sizeof text));
                    return status;
                }
            }
        }
        TN_TRY(collect_captures(g, n, err));
    }
    for (int i = 0; i < g->n_values; i++) g->values[i]->n_uses = 0;
    return TERN_OK;
}

static tern_status fail_two_producers(const tn_node *n, const tn_value *v, tern_error *err) {
    char a[TN_NODE_TEXT], b[TN_NODE_TEXT];
    tn_node_text(n, a, sizeof a);
    if (v->producer) {
        return tn_fail(err, TERN_INVALID_MODEL, "value '%s' is an output of two nodes: %s and %s", v->name,
                       tn_node_text(v->producer, b, sizeof b), a);
    }
    return tn_fail(err, TERN_INVALID_MODEL, "value '%s' is an output of %s, but also an input of the graph", v->name,
                   a);
}

static tern_status set_producers(tn_graph *g, tern_error *err) {
    for (int i = 0; i < g->n_inputs; i++) {
        if (!belongs(g, g->inputs[i])) return fail_foreign(g, g->inputs[i], err);
        g->inputs[i]->is_input = true;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_out; k++) {
            tn_value *v = n->out[k];
            if (!v) continue;
            if (!belongs(g, v)) return fail_foreign(g, v, err);
            if (v->constant) {
                // Folded: readers take the constant. The operator still gets a place to write to.
                v = n->out[k] = tn_graph_new_value(g, v->name);
                if (!v) return tn_fail_oom(err, sizeof *v);
            }
            if (v->is_input || v->producer) return fail_two_producers(n, v, err);
            v->captured = NULL;
            v->producer = n;
        }
    }
    return TERN_OK;
}

static bool has_source(const tn_value *v) { return v->producer || v->is_input || v->constant || v->captured; }

static tern_status check_read(const tn_graph *g, const tn_node *n, const tn_value *v, tern_error *err) {
    if (!belongs(g, v)) return fail_foreign(g, v, err);
    if (has_source(v)) return TERN_OK;
    char text[TN_NODE_TEXT];
    return tn_fail(err, TERN_INVALID_MODEL, "%s reads '%s', which no node, input or initializer gives",
                   tn_node_text(n, text, sizeof text), v->name);
}

static tern_status check_reads(const tn_graph *g, tern_error *err) {
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (n->in[k]) TN_TRY(check_read(g, n, n->in[k], err));
        }
        for (int k = 0; k < n->n_captures; k++) TN_TRY(check_read(g, n, n->captures[k], err));
    }
    for (int i = 0; i < g->n_outputs; i++) {
        if (!belongs(g, g->outputs[i])) return fail_foreign(g, g->outputs[i], err);
        if (!has_source(g->outputs[i])) {
            return tn_fail(err, TERN_INVALID_MODEL, "graph output '%s' is given by no node, input or initializer",
                           g->outputs[i]->name);
        }
    }
    return TERN_OK;
}

/* The node behind edge `e` of n: inputs first, then captures. NULL: not from a node. */
static tn_node *edge_source(const tn_node *n, int e) {
    const tn_value *v = e < n->n_in ? n->in[e] : n->captures[e - n->n_in];
    return v && !v->constant ? v->producer : NULL;
}

/* Depth first in file order, producers before the node: an order that is right already comes out unchanged, and a node
 * which a pass appended lands just before its first reader. The stack is explicit, for long chains. */
static tern_status sort_nodes(finisher *f) {
    const tn_graph *g = f->g;
    int n_order = 0;
    for (int root = 0; root < g->n_nodes; root++) {
        if (f->state[root] != UNSEEN) continue;
        int depth = 0;
        f->stack[depth++] = root;
        f->state[root] = ON_STACK;
        while (depth) {
            tn_node *n = g->nodes[f->stack[depth - 1]];
            if (f->next_edge[n->id] == n->n_in + n->n_captures) {
                f->state[n->id] = DONE;
                f->order[n_order++] = n;
                depth--;
                continue;
            }
            const tn_node *source = edge_source(n, f->next_edge[n->id]++);
            if (!source || f->state[source->id] == DONE) continue;
            if (f->state[source->id] == ON_STACK) {
                char text[TN_NODE_TEXT];
                return tn_fail(f->err, TERN_INVALID_MODEL, "the graph has a cycle through %s",
                               tn_node_text(source, text, sizeof text));
            }
            f->state[source->id] = ON_STACK;
            f->stack[depth++] = source->id;
        }
    }
    return TERN_OK;
}

static bool is_read(const tn_node *n) {
    for (int i = 0; i < n->n_out; i++) {
        if (n->out[i] && n->out[i]->n_uses) return true;
    }
    return false;
}

/* Counts uses from the outputs back, and keeps the nodes that something reads. */
static void drop_nodes(finisher *f) {
    tn_graph *g = f->g;
    for (int i = 0; i < g->n_outputs; i++) g->outputs[i]->n_uses++;
    int kept = g->n_nodes;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        tn_node *n = f->order[i];
        if (!is_read(n)) {
            for (int k = 0; k < n->n_out; k++) {
                if (n->out[k]) n->out[k]->producer = NULL;
            }
            g->model->n_nodes_total--;
            continue;
        }
        for (int k = 0; k < n->n_in; k++) {
            if (n->in[k]) n->in[k]->n_uses++;
        }
        for (int k = 0; k < n->n_captures; k++) n->captures[k]->n_uses++;
        g->nodes[--kept] = n;
    }
    g->n_nodes -= kept;
    if (g->n_nodes) memmove(g->nodes, g->nodes + kept, (size_t)g->n_nodes * sizeof *g->nodes);
    for (int i = 0; i < g->n_nodes; i++) g->nodes[i]->id = i;
}

static tern_status drop_values(tn_graph *g, tern_error *err) {
    int kept = 0;
    for (int i = 0; i < g->n_values; i++) {
        tn_value *v = g->values[i];
        if (v->n_uses || v->is_input || v->producer) {
            v->id = kept;
            g->values[kept++] = v;
        } else {
            v->id = -1;
        }
    }
    if (kept == g->n_values) return TERN_OK;
    g->n_values = kept;
    tn_map_release(&g->by_name);
    g->by_name = (tn_map){0};
    for (int i = 0; i < kept; i++) {
        if (!tn_map_put(&g->by_name, tn_str_c(g->values[i]->name), g->values[i])) {
            return tn_fail_oom(err, (size_t)kept * sizeof(void *));
        }
    }
    return TERN_OK;
}

static tern_status sort_and_drop(tn_graph *g, tern_error *err) {
    size_t n = (size_t)g->n_nodes;
    finisher f = {.g = g, .err = err};
    f.order = tn_calloc(n, sizeof *f.order);
    f.stack = tn_calloc(n, sizeof *f.stack);
    f.next_edge = tn_calloc(n, sizeof *f.next_edge);
    f.state = tn_calloc(n, sizeof *f.state);
    tern_status status = TERN_OK;
    if (!f.order || !f.stack || !f.next_edge || !f.state) status = tn_fail_oom(err, n * sizeof *f.order);
    if (status == TERN_OK) status = sort_nodes(&f);
    if (status == TERN_OK) drop_nodes(&f);
    tn_free(f.order);
    tn_free(f.stack);
    tn_free(f.next_edge);
    tn_free(f.state);
    return status == TERN_OK ? drop_values(g, err) : status;
}

static tern_status finish_graph(tn_graph *g, tern_error *err) {
    renumber(g);
    TN_TRY(finish_subgraphs(g, err));
    TN_TRY(set_producers(g, err));
    TN_TRY(check_reads(g, err));
    return sort_and_drop(g, err);
}

tern_status tn_graph_finish(tn_graph *g, tern_error *err) {
    tern_status status = finish_graph(g, err);
    if (status != TERN_OK) {
        char text[128];
        snprintf(text, sizeof text, "graph '%.100s'", g->name);
        add_place(err, text);
    }
    return status;
}
