/* FlexAttention (ai.onnx.preview): attention whose scores and probabilities may pass through a subgraph each. */
#include "ops/args.h"
#include "ops/attention_internal.h"
#include "ops/rowio.h"

#include <math.h>

static const tn_graph *graph_of(const tn_node *n, const char *name) {
    const tn_attr *a = tn_attr_find(n, name);
    return a ? a->g : NULL;
}

static tern_status precision_of(const tn_node *n, tern_dtype input, tern_dtype *out, tern_error *err) {
    int64_t d = tn_attr_i(n, "softmax_precision", input == TERN_DOUBLE ? TERN_DOUBLE : TERN_FLOAT);
    *out = (tern_dtype)d;
    if (d > 0 && d < TERN_DTYPE_COUNT && tn_type_in((tern_dtype)d, TN_TYPES_FLOAT)) return TERN_OK;
    return tn_fail(err, TERN_INVALID_MODEL, "softmax_precision %lld is not a float type", (long long)d);
}

static tern_status same_dim(tn_infer *c, const char *what, int64_t a, int64_t b) {
    if (!tn_dim_known(a) || !tn_dim_known(b) || a == b) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s is %lld and %lld", what, (long long)a, (long long)b);
}

/* The subgraph gives what it got: one tensor of that type and shape. */
static tern_status check_graph(tn_infer *c, const char *name, const tn_type *scores) {
    tn_graph *g = (tn_graph *)(uintptr_t)graph_of(c->node, name);
    if (!g) return TERN_OK;
    if (g->n_inputs != 1 || g->n_outputs != 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "%s has %d inputs and %d outputs instead of one each", name,
                             g->n_inputs, g->n_outputs);
    if (!c->infer_graph || scores->dtype == TERN_UNDEFINED) return TERN_OK;
    tn_type out = {0};
    TN_TRY(c->infer_graph(c, g, scores, 1, &out, 1));
    bool fits = out.kind == TERN_KIND_TENSOR && (out.dtype == TERN_UNDEFINED || out.dtype == scores->dtype);
    if (fits && out.ranked) fits = out.shape.rank == 4;
    for (int i = 0; fits && out.ranked && i < 4; i++)
        fits = !tn_dim_known(out.shape.dims[i]) || !tn_dim_known(scores->shape.dims[i]) ||
               out.shape.dims[i] == scores->shape.dims[i];
    if (fits) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s gives another type or shape than it gets", name);
}

static tern_status infer_flex(tn_infer *c) {
    tn_shape s[3];
    for (int i = 0; i < 3; i++) {
        TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
        TN_TRY(tn_infer_same_type(c, 0, i));
        s[i] = tn_args_unknown_dims(4);
        if (tn_args_shape(c, i, &s[i]) && s[i].rank != 4)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d instead of 4", i, s[i].rank);
    }
    const int64_t *q = s[0].dims, *k = s[1].dims, *v = s[2].dims;
    TN_TRY(same_dim(c, "the batch of Q and K", q[0], k[0]));
    TN_TRY(same_dim(c, "the batch of K and V", k[0], v[0]));
    TN_TRY(same_dim(c, "the batch of Q and V", q[0], v[0]));
    TN_TRY(same_dim(c, "the number of heads of K and V", k[1], v[1]));
    TN_TRY(same_dim(c, "the length of K and V", k[2], v[2]));
    TN_TRY(same_dim(c, "the head size of Q and K", q[3], k[3]));
    if (tn_dim_known(q[1]) && tn_dim_known(k[1]) && (k[1] < 1 || q[1] % k[1]))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%lld heads of Q are not a multiple of %lld of K", (long long)q[1],
                             (long long)k[1]);
    tn_type scores = {.kind = TERN_KIND_TENSOR, .ranked = true};
    if (c->in[0]->dtype != TERN_UNDEFINED) TN_TRY(precision_of(c->node, c->in[0]->dtype, &scores.dtype, c->err));
    scores.shape = (tn_shape){.rank = 4, .dims = {q[0], q[1], q[2], k[2]}};
    TN_TRY(check_graph(c, "score_mod", &scores));
    TN_TRY(check_graph(c, "prob_mod", &scores));
    tn_shape y = {.rank = 4, .dims = {q[0], q[1], q[2], v[3]}};
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &y);
}

/* *t becomes what the subgraph makes of it. */
static tern_status modify(tn_run *c, const char *name, tern_tensor **t) {
    tern_tensor *out = NULL;
    tn_graph *g = (tn_graph *)(uintptr_t)graph_of(c->node, name);
    if (g->n_inputs != 1 || g->n_outputs != 1)
        return tn_run_fail(c, TERN_INVALID_MODEL, "%s has %d inputs and %d outputs instead of one each", name,
                           g->n_inputs, g->n_outputs);
    TN_TRY(tn_run_graph(c, g, t, 1, &out, 1));
    bool fits =
        out && out->kind == TERN_KIND_TENSOR && out->dtype == (*t)->dtype && tn_shape_equal(&out->shape, &(*t)->shape);
    tn_tensor_unref(*t);
    *t = out;
    return fits ? TERN_OK : tn_run_fail(c, TERN_SHAPE_MISMATCH, "%s gives another type or shape than it got", name);
}

static tern_status scores_tensor(const tn_attention *a, tern_dtype dtype, tern_tensor **out, tern_error *err) {
    tn_shape s = {.rank = 4, .dims = {a->batch, a->q_heads, a->q_len, a->kv_len}};
    return tn_tensor_new(out, dtype, &s, err);
}

/* The stages up to values, with the subgraphs between them. *held: scores or probabilities on their way. */
static tern_status run_stages(tn_run *c, tn_attention *a, tern_dtype precision, tern_tensor **held) {
    bool score = graph_of(c->node, "score_mod") != NULL, prob = graph_of(c->node, "prob_mod") != NULL;
    if (score) {
        TN_TRY(scores_tensor(a, precision, held, c->err));
        tn_attention first = *a;
        first.scores_out = *held;
        first.no_softmax = first.no_values = true;
        TN_TRY(tn_ops_attention_alloc(&first, c->tier, c->threads, c->err));
        TN_TRY(modify(c, "score_mod", held));
        a->scores_in = *held;
    }
    if (prob) {
        tern_tensor *probabilities;
        TN_TRY(scores_tensor(a, precision, &probabilities, c->err));
        tn_attention second = *a;
        second.scores_out = probabilities;
        second.scores_kind = TN_SCORES_PROBABILITIES;
        second.no_values = true;
        tern_status s = tn_ops_attention_alloc(&second, c->tier, c->threads, c->err);
        tn_tensor_unref(*held);
        *held = probabilities;
        TN_TRY(s);
        TN_TRY(modify(c, "prob_mod", held));
        a->scores_in = *held;
        a->no_softmax = true;
    }
    return tn_ops_attention_alloc(a, c->tier, c->threads, c->err);
}

static tern_status run_flex(tn_run *c) {
    const tern_tensor *in[3] = {c->in[0], c->in[1], c->in[2]};
    const int64_t *q = in[0]->shape.dims, *k = in[1]->shape.dims, *v = in[2]->shape.dims;
    tern_tensor *y = c->out[0], *held = NULL;
    tern_dtype precision;
    TN_TRY(precision_of(c->node, in[0]->dtype, &precision, c->err));
    tn_attention a = {.batch = q[0],
                      .q_heads = q[1],
                      .kv_heads = k[1],
                      .q_len = q[2],
                      .kv_len = k[2],
                      .size = q[3],
                      .v_size = v[3],
                      .left = -1,
                      .right = -1,
                      .wide = in[0]->dtype == TERN_DOUBLE || precision == TERN_DOUBLE,
                      .softmax_type = precision};
    a.scale = tn_attr_find(c->node, "scale") ? (double)tn_attr_f(c->node, "scale", 1) : 1 / sqrt((double)q[3]);
    void *copy[4] = {NULL};
    const void *data[3];
    tern_status s = TERN_OK;
    for (int i = 0; i < 3; i++) {
        data[i] = tn_ops_attention_real(in[i], a.wide, &copy[i]);
        if (!data[i] && tn_tensor_bytes(in[i])) s = tn_fail_oom(c->err, tn_tensor_bytes(in[i]));
    }
    a.q = (tn_attention_view){data[0], q[1] * q[2] * q[3], q[2] * q[3], q[3]};
    a.k = (tn_attention_view){data[1], k[1] * k[2] * k[3], k[2] * k[3], k[3]};
    a.v = (tn_attention_view){data[2], v[1] * v[2] * v[3], v[2] * v[3], v[3]};
    a.y = (tn_attention_view){y->data, q[1] * q[2] * v[3], q[2] * v[3], v[3]};
    int64_t n = tn_shape_count(&y->shape);
    bool direct = y->dtype == (a.wide ? TERN_DOUBLE : TERN_FLOAT);
    if (s == TERN_OK && !direct) {
        a.y.data = copy[3] = tn_alloc_array((size_t)n, a.wide ? sizeof(double) : sizeof(float));
        if (!copy[3]) s = tn_fail_oom(c->err, (size_t)n * sizeof(double));
    }
    if (s == TERN_OK) s = run_stages(c, &a, precision, &held);
    if (s == TERN_OK && !direct && a.wide) tn_row_store_f64(y->dtype, y->data, 0, n, copy[3]);
    if (s == TERN_OK && !direct && !a.wide) tn_row_store_f32(y->dtype, y->data, 0, n, copy[3]);
    for (int i = 0; i < 4; i++) tn_free(copy[i]);
    tn_tensor_unref(held);
    return s;
}

const tn_op tn_op_flex_attention = TN_ARGS_OP(infer_flex, run_flex, 3, 3, 1, 1, 0);
