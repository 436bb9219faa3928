#include "opt/opt.h"

/* Constant folding: nodes all of whose inputs are constants are evaluated once. */

tern_status tn_pass_fold(tn_opt *o);

/* Folding must not blow a small file up into a large model: Expand, Tile or ConstantOfShape stay nodes when their
 * result is large. */
static bool result_fits(const tn_node *n, const tn_type *types) {
    size_t in_bytes = 0, out_bytes = 0;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i]) in_bytes += tn_tensor_bytes(n->in[i]->constant);
    for (int i = 0; i < n->n_out; i++) {
        if (!n->out[i]) continue;
        const tn_type *t = &types[n->out[i]->id];
        size_t bytes;
        if (t->kind != TERN_KIND_TENSOR || !t->ranked || !tn_bytes_for(t->dtype, &t->shape, 0, &bytes)) return false;
        if (!tn_add_size(out_bytes, bytes, &out_bytes)) return false;
    }
    return out_bytes <= (1u << 20) || out_bytes / 8 <= in_bytes;
}

static bool foldable(const tn_node *n) {
    if (n->op->flags & (TN_OP_RANDOM | TN_OP_NO_FOLD) || n->n_out > 16 || n->n_in > 256 || n->n_captures) return false;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && !tn_opt_const(n->in[i])) return false;
    for (int a = 0; a < n->n_attrs; a++)
        if (n->attrs[a].type == TN_ATTR_GRAPH || n->attrs[a].type == TN_ATTR_GRAPHS) return false;
    return true;
}

static tern_status set_constant(tn_opt *o, tn_value *v, tern_tensor *t) {
    TN_TRY(tn_model_own_tensor(o->model, t, o->err));
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    v->producer = NULL;
    return TERN_OK;
}

static tern_status fold(tn_opt *o, tn_node *n) {
    tern_tensor *in[256] = {0}, *out[16] = {0};
    for (int i = 0; i < n->n_in; i++) in[i] = n->in[i] ? n->in[i]->constant : NULL;
    tern_status s = tn_node_eval(n, in, out, o->err);
    if (s != TERN_OK) {
        char where[TN_NODE_TEXT];
        tn_error_prefix(o->err, "%s: ", tn_node_text(n, where, sizeof where));
        return s;
    }
    for (int i = 0; i < n->n_out; i++) {
        if (!out[i]) continue;
        if (s == TERN_OK && n->out[i])
            s = set_constant(o, n->out[i], out[i]);
        else
            tn_tensor_unref(out[i]);
        n->out[i] = NULL;
    }
    if (s == TERN_OK) tn_opt_remove(n);
    return s;
}

static tern_status fold_known_values(tn_opt *o, tn_infer_env *env) {
    for (int i = 0; i < o->graph->n_values; i++) {
        tn_value *v = o->graph->values[i];
        if (!v->producer || v->constant || !env->values[i]) continue;
        tern_tensor *t;
        TN_TRY(tn_tensor_copy(&t, env->values[i], o->err));
        tn_node *n = v->producer;
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] == v) n->out[k] = NULL;
        TN_TRY(set_constant(o, v, t));
    }
    return TERN_OK;
}

static tern_status fold_graph(tn_opt *o, tn_infer_env *env) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        TN_TRY(tn_infer_env_node(env, n, o->err));
        if (!foldable(n) || !result_fits(n, env->types)) continue;
        tn_value *out[16];
        int n_out = n->n_out;
        for (int k = 0; k < n_out; k++) out[k] = n->out[k];
        TN_TRY(fold(o, n));
        for (int k = 0; k < n_out; k++) {
            if (!out[k]) continue;
            env->types[out[k]->id] = out[k]->type;
            env->values[out[k]->id] = out[k]->constant;
        }
    }
    return fold_known_values(o, env);
}

tern_status tn_pass_fold(tn_opt *o) {
    tn_infer_env env;
    tern_status s = tn_infer_env_init(&env, o->model, o->graph, NULL, &o->scratch, true, o->err);
    if (s == TERN_OK) s = fold_graph(o, &env);
    tn_infer_env_release(&env);
    return s;
}
