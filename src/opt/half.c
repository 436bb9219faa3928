/* Half precision: which nodes can compute in it, and Casts where the others begin. */
#include <math.h>

#include "opt/opt.h"

typedef struct halver {
    tn_opt o;
    tern_dtype half;
    bool *is_half;       /* by node id */
    tn_value **as_half;  /* by value id: the value in half precision, once it is needed */
    tn_value **as_float; /* likewise in float32 */
    bool *half_stored;   /* by value id: what the node gives is half */
    int n_nodes, n_values;
} halver;

/* ---- which nodes ----------------------------------------------------------------------------------------------- */

static bool is_float(const tn_value *v) { return v && v->type.kind == TERN_KIND_TENSOR && v->type.dtype == TERN_FLOAT; }

/* Whether no finite element would become infinite, and a single one (an epsilon, a divisor) not zero. */
static bool fits(const halver *h, const tern_tensor *t) {
    if (t->dtype != TERN_FLOAT || h->half == TERN_BFLOAT16) return true;
    const float *x = t->data;
    for (int64_t i = 0, n = tn_shape_count(&t->shape); i < n; i++) {
        float a = fabsf(x[i]);
        if (isfinite(a) && a > 65504.0f) return false;
        if (n == 1 && a > 0 && tn_f32_to_f16(a) == 0) return false;
    }
    return true;
}

static bool has_graphs(const tn_node *n) {
    for (int i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].type == TN_ATTR_GRAPH || n->attrs[i].type == TN_ATTR_GRAPHS) return true;
    return false;
}

static bool can_be_half(const halver *h, const tn_node *n) {
    bool any = false;
    if (*n->domain || has_graphs(n) || n->n_captures) return false;
    for (int i = 0; i < n->n_in; i++) {
        const tn_value *v = n->in[i];
        if (!is_float(v)) continue;
        any = true;
        if (!tn_opset_allows(n, false, i, h->half) || (v->constant && !fits(h, v->constant))) return false;
    }
    for (int i = 0; i < n->n_out; i++)
        if (is_float(n->out[i]) && !tn_opset_allows(n, true, i, h->half)) return false;
    /* A node that makes floats of something else (Cast, Constant, RandomNormal) says the type in an attribute. */
    return any && !tn_attr_find(n, "to") && !tn_attr_find(n, "dtype") && !tn_attr_find(n, "output_dtype");
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static tn_value *half_constant(halver *h, const tn_value *v) {
    tern_tensor *t;
    if (tn_tensor_new(&t, h->half, &v->constant->shape, h->o.err) != TERN_OK) return NULL;
    size_t n = (size_t)tn_shape_count(&t->shape);
    if (h->half == TERN_FLOAT16)
        tn_f32_to_f16_n(v->constant->data, t->data, n);
    else
        tn_f32_to_bf16_n(v->constant->data, t->data, n);
    return tn_opt_new_const(&h->o, v->name, t);
}

static tn_value *cast(halver *h, tn_value *from, tern_dtype to, const char *base) {
    int opset = 0;
    for (size_t i = 0; i < h->o.model->n_opsets; i++)
        if (!*h->o.model->opsets[i].domain) opset = h->o.model->opsets[i].version;
    tn_node *n = tn_graph_add_node(h->o.graph, "", "Cast", opset, 1, 1);
    tn_value *v = n ? tn_graph_new_value(h->o.graph, base) : NULL;
    if (!v) {
        tn_fail_oom(h->o.err, sizeof *n);
        return NULL;
    }
    n->in[0] = from;
    n->out[0] = v;
    v->producer = n;
    v->type = from->type;
    v->type.dtype = to;
    return tn_opt_set_i(&h->o, n, "to", to) == TERN_OK ? v : NULL;
}

/* The form of `v` that a node reads. */
static tn_value *form(halver *h, tn_value *v, bool half) {
    tn_value **have = half ? h->as_half : h->as_float;
    if (!is_float(v) || v->id >= h->n_values) return v;
    if (have[v->id]) return have[v->id];
    tn_value *other =
        v->constant ? half_constant(h, v)
                    : cast(h, half ? h->as_float[v->id] : h->as_half[v->id], half ? h->half : TERN_FLOAT, v->name);
    return have[v->id] = other;
}

/* What a half node gives goes under a new name; the old one, in float32, is an output of the graph or read by others.
 */
static tern_status split_outputs(halver *h, tn_node *n) {
    for (int i = 0; i < n->n_out; i++) {
        tn_value *v = n->out[i];
        if (!is_float(v)) continue;
        tn_value *made = tn_graph_new_value(h->o.graph, v->name);
        if (!made) return tn_fail_oom(h->o.err, sizeof *made);
        made->type = v->type;
        made->type.dtype = h->half;
        made->producer = n;
        n->out[i] = made;
        h->as_half[v->id] = made;
        h->half_stored[v->id] = true;
    }
    return TERN_OK;
}

/* ---- the graph ------------------------------------------------------------------------------------------------- */

static tern_status rewire(halver *h, tn_node *n, bool half) {
    for (int i = 0; i < n->n_in; i++) {
        if (!is_float(n->in[i])) continue;
        tn_value *v = form(h, n->in[i], half);
        if (!v) return TERN_OUT_OF_MEMORY;
        n->in[i] = v;
    }
    return TERN_OK;
}

/* The float32 form of a value that the graph gives, or a subgraph reads, keeps the name: a Cast makes it. */
static tern_status keep_name(halver *h, tn_value *v) {
    if (v->id >= h->n_values || !h->half_stored[v->id] || h->as_float[v->id] == v) return TERN_OK;
    int opset = 0;
    for (size_t i = 0; i < h->o.model->n_opsets; i++)
        if (!*h->o.model->opsets[i].domain) opset = h->o.model->opsets[i].version;
    tn_node *n = tn_graph_add_node(h->o.graph, "", "Cast", opset, 1, 1);
    if (!n) return tn_fail_oom(h->o.err, sizeof *n);
    n->in[0] = h->as_half[v->id];
    n->out[0] = v;
    v->producer = n;
    h->as_float[v->id] = v;
    return tn_opt_set_i(&h->o, n, "to", TERN_FLOAT);
}

static tern_status halve(halver *h, int *changed) {
    tn_graph *g = h->o.graph;
    for (int i = 0; i < h->n_values; i++) h->as_float[i] = g->values[i];
    for (int i = 0; i < h->n_nodes; i++) {
        if (!h->is_half[i]) continue;
        (*changed)++;
        TN_TRY(split_outputs(h, g->nodes[i]));
    }
    for (int i = 0; i < h->n_values; i++)
        if (h->half_stored[i]) h->as_float[i] = NULL;
    for (int i = 0; i < g->n_outputs; i++) TN_TRY(keep_name(h, g->outputs[i]));
    for (int i = 0; i < h->n_nodes; i++)
        for (int k = 0; k < g->nodes[i]->n_captures; k++) TN_TRY(keep_name(h, g->nodes[i]->captures[k]));
    for (int i = 0; i < h->n_nodes; i++) TN_TRY(rewire(h, g->nodes[i], h->is_half[i]));
    return tn_graph_finish(g, h->o.err);
}

tern_status tn_opt_half(tern_model *model, tern_dtype half, tn_keep_fn keep, void *context, int *changed,
                        tern_error *err) {
    tn_graph *g = model->graph;
    halver h = {
        .o = {.model = model, .graph = g, .err = err}, .half = half, .n_nodes = g->n_nodes, .n_values = g->n_values};
    *changed = 0;
    TN_TRY(tn_opt_infer(model, err));
    tn_arena_init(&h.o.scratch, 0);
    size_t n = (size_t)g->n_values + 1;
    h.is_half = tn_arena_array(&h.o.scratch, (size_t)g->n_nodes + 1, sizeof *h.is_half);
    h.as_half = tn_arena_array(&h.o.scratch, n, sizeof *h.as_half);
    h.as_float = tn_arena_array(&h.o.scratch, n, sizeof *h.as_float);
    h.half_stored = tn_arena_array(&h.o.scratch, n, sizeof *h.half_stored);
    tern_status status = h.is_half && h.as_half && h.as_float && h.half_stored ? TERN_OK : tn_fail_oom(err, n);
    for (int i = 0; status == TERN_OK && i < g->n_nodes; i++)
        h.is_half[i] = can_be_half(&h, g->nodes[i]) && !(keep && keep(context, g->nodes[i]));
    if (status == TERN_OK) status = halve(&h, changed);
    tn_arena_release(&h.o.scratch);
    return status;
}
