#include "opt/match.h"

/* A mean over windows and a 1x1 convolution before it may change places: the weights of a mean add up to 1, so the bias
 * stays as it is. The convolution then has only the pixels that the pool leaves (a quarter of them behind the dense
 * blocks of DenseNet, Huang et al., 2017). */

tern_status tn_pass_pool(tn_opt *o);

/* Each pixel of its output comes from the same pixel of its input. */
static bool is_pointwise(const tn_node *n) {
    const tern_tensor *w = n->n_in > 1 ? tn_opt_const(n->in[1]) : NULL;
    if (!w || w->dtype != TERN_FLOAT || !tn_opt_all_are(n, "strides", 1) || !tn_opt_all_are(n, "pads", 0)) return false;
    for (int d = 2; d < w->shape.rank; d++)
        if (w->shape.dims[d] != 1) return false;
    return true;
}

/* Means over whole windows, fewer than there are pixels. */
static bool is_smaller_mean(const tn_node *n) {
    if (tn_opt_is(n, "", "GlobalAveragePool")) return true;
    return tn_opt_is(n, "", "AveragePool") && tn_opt_all_are(n, "pads", 0) && !tn_opt_all_are(n, "strides", 1) &&
           !tn_attr_i(n, "ceil_mode", 0) &&
           (tn_attr_is(n, "auto_pad", "NOTSET", "NOTSET") || tn_attr_is(n, "auto_pad", "NOTSET", "VALID"));
}

tern_status tn_pass_pool(tn_opt *o) {
    int n = o->graph->n_nodes;
    for (int i = 0; i < n; i++) {
        tn_node *pool = o->graph->nodes[i];
        if (!is_smaller_mean(pool)) continue;
        tn_node *conv = tn_opt_sole_producer(pool->in[0], "", "Conv");
        if (!conv || !is_pointwise(conv)) continue;
        tn_value *v = tn_graph_new_value(o->graph, pool->in[0]->name);
        if (!v) return tn_fail_oom(o->err, sizeof *v);
        tn_value *y = pool->out[0];
        pool->in[0] = conv->in[0];
        pool->out[0] = v;
        v->producer = pool;
        conv->in[0] = v;
        conv->out[0] = y;
        y->producer = conv;
    }
    return TERN_OK;
}
