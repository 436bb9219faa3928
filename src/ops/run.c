#include "ops/ops.h"

#include <stdio.h>

tern_status tn_run_fail(tn_run *c, tern_status status, const char *format, ...) {
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tn_fail(c->err, status, "%s", text);
}

tern_status tn_run_alloc(tn_run *c, int o, tern_dtype dtype, const tn_shape *shape) {
    if (o >= c->node->n_out || !c->node->out[o]) return TERN_OK;
    tern_tensor *t;
    TN_TRY(c->exec->alloc(c->exec, dtype, shape, &t, c->err));
    tn_tensor_unref(c->out[o]);
    c->out[o] = t;
    return TERN_OK;
}

tern_status tn_run_share(tn_run *c, int o, tern_tensor *t) {
    if (o >= c->node->n_out || !c->node->out[o]) return TERN_OK;
    tern_tensor *old = c->out[o];
    c->out[o] = tn_tensor_ref(t);
    tn_tensor_unref(old);
    return TERN_OK;
}

tern_status tn_run_string(tn_run *c, const char *data, size_t len, tern_string *out) {
    char *copy = tn_arena_strndup(c->strings, data, len);
    if (!copy) return tn_fail_oom(c->err, len);
    *out = (tern_string){copy, len};
    return TERN_OK;
}

tern_status tn_run_graph(tn_run *c, tn_graph *g, tern_tensor *const *in, int n_in, tern_tensor **out, int n_out) {
    return c->exec->run_graph(c->exec, c->node, g, in, n_in, out, n_out, c->err);
}

void tn_run_drop(tn_run *c, tern_tensor *t) {
    if (t) c->exec->drop(c->exec, t);
}

tern_status tn_run_check_outputs(const tn_node *node, const tn_type *types, tern_tensor *const *out, tern_error *err) {
    if (node->op->flags & TN_OP_ALLOC) return TERN_OK;
    for (int i = 0; i < node->n_out; i++)
        if (node->out[i] && !out[i] && types[i].kind == TERN_KIND_TENSOR)
            return tn_fail(err, TERN_INVALID_MODEL, "the shape of output %d '%s' can not be told from the inputs", i,
                           node->out[i]->name);
    return TERN_OK;
}
