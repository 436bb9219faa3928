#include "opt/opt.h"

/* The mean over height and width is a GlobalAveragePool, which has a kernel for blocked layout; where the dims do not
 * stay, a Flatten behind it drops them. */

tern_status tn_pass_mean(tn_opt *o);

/* Whether n averages over dims 2 and 3 of a map. */
static bool over_the_map(const tn_node *n) {
    if (!tn_opt_is(n, "", "ReduceMean")) return false; /* others may have no input */
    const tn_type *x = &n->in[0]->type;
    if (x->dtype != TERN_FLOAT || !x->ranked || x->shape.rank != 4) return false;
    size_t count = 0;
    const int64_t *axes = tn_attr_ints(n, "axes", &count);
    if (n->since >= 18) {
        const tern_tensor *t = n->n_in > 1 ? tn_opt_const(n->in[1]) : NULL;
        if (!t || t->dtype != TERN_INT64) return false;
        axes = t->data;
        count = (size_t)tn_shape_count(&t->shape);
    }
    int seen = 0;
    for (size_t i = 0; i < count; i++) seen |= 1 << (axes[i] & 3); /* -1 and -2 are 3 and 2 */
    for (size_t i = 0; i < count; i++)
        if (axes[i] < -4 || axes[i] > 3) return false;
    return seen == (1 << 2 | 1 << 3);
}

static tern_status become_pool(tn_opt *o, int at) {
    tn_node *mean = o->graph->nodes[at];
    bool keep = tn_attr_i(mean, "keepdims", 1) != 0;
    tn_node *pool = tn_opt_replace(o, at, "", "GlobalAveragePool", 1, 1, keep ? mean : NULL);
    if (!pool) return TERN_OUT_OF_MEMORY;
    pool->in[0] = mean->in[0];
    pool->name = mean->name;
    TN_TRY(tn_opt_note(o, pool, "ReduceMean"));
    if (keep) return TERN_OK;
    tn_value *v = tn_graph_new_value(o->graph, mean->out[0]->name);
    tn_node *flatten = v ? tn_graph_add_node(o->graph, "", "Flatten", 13, 1, 1) : NULL;
    if (!flatten) return tn_fail_oom(o->err, sizeof *flatten);
    pool->out[0] = v;
    v->producer = pool;
    flatten->name = mean->name;
    flatten->in[0] = v;
    flatten->out[0] = mean->out[0];
    flatten->out[0]->producer = flatten;
    return TERN_OK;
}

tern_status tn_pass_mean(tn_opt *o) {
    int n = o->graph->n_nodes;
    for (int i = 0; i < n; i++)
        if (over_the_map(o->graph->nodes[i])) TN_TRY(become_pool(o, i));
    return TERN_OK;
}
