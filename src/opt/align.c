#include "opt/opt.h"

#include <stdlib.h>

/* Constants that lie unaligned in the file (tern_tensor.unaligned) and whose elements somebody may read are copied.
 * Left as they are: float32 weights that are input 1 of products, as those are packed before anything reads them. */

typedef struct aligner {
    tern_model *model;
    bool *leave; /* by value id of the main graph */
    tern_error *err;
} aligner;

static bool is_unaligned(const tn_value *v) { return v && v->constant && v->constant->unaligned; }

/* Before operators are resolved, their names must do: passes read weights of Conv, Gemm and MatMul as bytes only. Then
 * flags tell. */
static bool packs(const tn_node *n, bool resolved) {
    if (resolved) {
        const tn_value *y = n->n_out ? n->out[0] : NULL;
        return (n->op->flags & TN_OP_PACKS) || ((n->op->flags & TN_OP_PACKS_BLOCKED) && y && y->block);
    }
    return *n->domain == 0 &&
           (strcmp(n->op_type, "Conv") == 0 || strcmp(n->op_type, "Gemm") == 0 || strcmp(n->op_type, "MatMul") == 0);
}

static void look_at_uses(aligner *a, const tn_graph *g, bool resolved) {
    for (int i = 0; i < g->n_values; i++) a->leave[i] = true;
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] && (k != 1 || !packs(n, resolved))) a->leave[n->in[k]->id] = false;
        for (int k = 0; k < n->n_captures; k++) a->leave[n->captures[k]->id] = false;
    }
    for (int i = 0; i < g->n_outputs; i++) a->leave[g->outputs[i]->id] = false;
}

static tern_status align_value(aligner *a, tn_value *v) {
    tern_tensor *copy;
    TN_TRY(tn_tensor_copy(&copy, v->constant, a->err));
    TN_TRY(tn_model_own_tensor(a->model, copy, a->err));
    v->constant = copy;
    return TERN_OK;
}

tern_status tn_opt_align(tern_model *model, tn_align_rule rule, tern_error *err) {
    aligner a = {.model = model, .err = err};
    tern_status s = TERN_OK;
    a.leave = tn_calloc((size_t)model->graph->n_values + 1, sizeof *a.leave);
    if (!a.leave) return tn_fail_oom(err, (size_t)model->graph->n_values);
    if (rule != TN_ALIGN_ALL) look_at_uses(&a, model->graph, rule == TN_ALIGN_BUT_PACKED);
    for (tn_graph *g = model->all_graphs; s == TERN_OK && g; g = g->next)
        for (int i = 0; s == TERN_OK && i < g->n_values; i++)
            if (is_unaligned(g->values[i]) && (g != model->graph || !a.leave[i])) s = align_value(&a, g->values[i]);
    tn_free(a.leave);
    return s;
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t) * (tern_tensor *const *)a, y = (uintptr_t) * (tern_tensor *const *)b;
    return x < y ? -1 : x > y;
}

tern_status tn_opt_read_tensors(tern_model *model, const tern_tensor ***list, size_t *count, tern_error *err) {
    const tn_graph *g = model->graph;
    aligner a = {.model = model, .err = err, .leave = tn_calloc((size_t)g->n_values + 1, sizeof *a.leave)};
    const tern_tensor **left = tn_alloc_array((size_t)g->n_values + 1, sizeof(tern_tensor *));
    *count = 0;
    *list = tn_alloc_array(model->n_tensors + 1, sizeof(tern_tensor *));
    if (a.leave && left && *list) {
        size_t n_left = 0;
        look_at_uses(&a, g, true);
        for (int i = 0; i < g->n_values; i++)
            if (g->values[i]->constant && a.leave[i]) left[n_left++] = g->values[i]->constant;
        qsort(left, n_left, sizeof *left, by_address);
        for (size_t i = 0; i < model->n_tensors; i++)
            if (!bsearch(&model->tensors[i], left, n_left, sizeof *left, by_address))
                (*list)[(*count)++] = model->tensors[i];
    }
    bool ok = a.leave && left && *list;
    tn_free(a.leave);
    tn_free(left);
    if (ok) return TERN_OK;
    tn_free(*list);
    *list = NULL;
    return tn_fail_oom(err, model->n_tensors * sizeof(tern_tensor *));
}
