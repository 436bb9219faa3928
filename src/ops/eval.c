#include "ops/ops.h"

static tern_status heap_alloc(tn_exec *e, tern_dtype dtype, const tn_shape *shape, tern_tensor **out, tern_error *err) {
    (void)e;
    return tn_tensor_new(out, dtype, shape, err);
}

static tern_status no_graph(tn_exec *e, const tn_node *node, tn_graph *g, tern_tensor *const *in, int n_in,
                            tern_tensor **out, int n_out, tern_error *err) {
    (void)e, (void)g, (void)in, (void)n_in, (void)out, (void)n_out;
    char where[TN_NODE_TEXT];
    return tn_fail(err, TERN_INTERNAL, "%s: a node with subgraphs can not be evaluated by itself",
                   tn_node_text(node, where, sizeof where));
}

static void heap_drop(tn_exec *e, tern_tensor *t) {
    (void)e;
    tn_tensor_unref(t);
}

typedef struct eval {
    const tn_node *node;
    tn_arena arena;
    tn_type *types;          /* n_in + n_out */
    const tn_type **in;      /* n_in */
    const int64_t **partial; /* n_in + n_out, unused but for its memory */
    int *blocks;             /* n_in + n_out, zeros */
    tn_type *out;
} eval;

static tern_status setup(eval *e, tern_tensor *const *in, tern_error *err) {
    size_t n_in = (size_t)e->node->n_in, n = n_in + (size_t)e->node->n_out + 1;
    e->types = tn_arena_array(&e->arena, n, sizeof *e->types);
    e->in = tn_arena_array(&e->arena, n, sizeof *e->in);
    e->partial = tn_arena_array(&e->arena, n, sizeof *e->partial);
    e->blocks = tn_arena_array(&e->arena, n, sizeof *e->blocks);
    if (!e->types || !e->in || !e->partial || !e->blocks) return tn_fail_oom(err, n * sizeof *e->types);
    for (size_t i = 0; i < n_in; i++) {
        if (!in[i]) continue;
        e->types[i] = tn_type_of_tensor(in[i]);
        e->in[i] = &e->types[i];
    }
    e->out = e->types + n_in;
    return TERN_OK;
}

/* Memory for outputs of known shape; the others arrive in run without data. */
static tern_status alloc_outputs(eval *e, tern_tensor **out, tern_error *err) {
    for (int o = 0; o < e->node->n_out; o++) {
        const tn_type *t = &e->out[o];
        if (!e->node->out[o] || t->kind != TERN_KIND_TENSOR || !t->ranked || !tn_shape_known(&t->shape)) continue;
        TN_TRY(tn_tensor_new(&out[o], t->dtype, &t->shape, err));
    }
    return TERN_OK;
}

static tern_status evaluate(eval *e, tern_tensor *const *in, tern_tensor **out, tern_error *err) {
    const tn_op *op = e->node->op;
    TN_TRY(setup(e, in, err));
    const tern_tensor *const *values = (const tern_tensor *const *)in;
    tn_infer ic = {.node = e->node,
                   .model = e->node->graph->model,
                   .in = e->in,
                   .value = values,
                   .partial = e->partial,
                   .out = e->out,
                   .out_partial = e->partial + e->node->n_in,
                   .arena = &e->arena,
                   .err = err};
    if (!op->infer) return tn_fail(err, TERN_INTERNAL, "the operator has not been expanded");
    TN_TRY(op->infer(&ic));
    tn_prepare pc = {.node = e->node,
                     .in = e->in,
                     .value = values,
                     .out = e->out,
                     .in_block = e->blocks,
                     .out_block = e->blocks,
                     .tier = tn_cpu_tier(),
                     .threads = 1,
                     .arena = &e->arena,
                     .err = err};
    if (op->prepare) TN_TRY(op->prepare(&pc));
    TN_TRY(alloc_outputs(e, out, err));
    TN_TRY(tn_run_check_outputs(e->node, e->out, out, err));
    void *workspace = NULL;
    workspace = tn_alloc_aligned(TN_MAX(pc.workspace, 1), TN_CACHE_LINE); /* operators add offsets to it */
    if (!workspace) return tn_fail_oom(err, pc.workspace);
    tn_exec exec = {heap_alloc, no_graph, heap_drop};
    tn_arena strings;
    tn_arena_init(&strings, 0);
    uint64_t seed = 0;
    tn_run rc = {.node = e->node,
                 .state = pc.state,
                 .in = in,
                 .out = out,
                 .workspace = workspace,
                 .tier = pc.tier,
                 .threads = 1,
                 .strings = &strings,
                 .seed = &seed,
                 .exec = &exec,
                 .err = err};
    tern_status s = op->run(&rc);
    /* String elements made by run live in `strings`: deep copies take them along. */
    for (int o = 0; s == TERN_OK && o < e->node->n_out; o++) {
        if (!out[o] || out[o]->kind != TERN_KIND_TENSOR || out[o]->dtype != TERN_STRING) continue;
        tern_tensor *copy;
        s = tn_tensor_copy(&copy, out[o], err);
        if (s != TERN_OK) break;
        tn_tensor_unref(out[o]);
        out[o] = copy;
    }
    tn_arena_release(&strings);
    tn_free(workspace);
    return s;
}

/* Copies of inputs that are unaligned in their file; list: n_in. */
static tern_status align_inputs(const tn_node *node, tern_tensor *const *in, tern_tensor **list, tern_error *err) {
    tern_status s = TERN_OK;
    for (int i = 0; i < node->n_in; i++) list[i] = in[i];
    for (int i = 0; s == TERN_OK && i < node->n_in; i++) {
        if (in[i] && in[i]->unaligned) s = tn_tensor_copy(&list[i], in[i], err);
    }
    return s;
}

tern_status tn_node_eval(const tn_node *node, tern_tensor *const *in, tern_tensor **out, tern_error *err) {
    eval e = {.node = node};
    tn_arena_init(&e.arena, 0);
    for (int o = 0; o < node->n_out; o++) out[o] = NULL;
    tern_tensor **list = tn_arena_array(&e.arena, (size_t)node->n_in + 1, sizeof(tern_tensor *));
    tern_status s = list ? align_inputs(node, in, list, err) : tn_fail_oom(err, sizeof *list);
    if (s == TERN_OK) s = evaluate(&e, list, out, err);
    for (int i = 0; list && i < node->n_in; i++)
        if (list[i] != in[i]) tn_tensor_unref(list[i]);
    tn_arena_release(&e.arena);
    if (s != TERN_OK)
        for (int o = 0; o < node->n_out; o++) {
            tn_tensor_unref(out[o]);
            out[o] = NULL;
        }
    return s;
}
