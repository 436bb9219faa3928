/* RNN, GRU, LSTM: attributes, shapes, and conversion to and from the working type. */
#include "ops/args.h"
#include "ops/conv_internal.h"
#include "ops/rnn_internal.h"
#include "ops/rowio.h"

#include <math.h>

enum { X, W, R, BIAS, LENGTHS, H0, C0, PEEP, N_INPUTS };

/* ---- attributes ------------------------------------------------------------------------------------------------ */

typedef struct act_row {
    const char *name;
    bool alpha, beta; /* which parameters it has */
    double default_alpha, default_beta;
} act_row;

static const act_row act_rows[TN_RNN_ACT_COUNT] = {
    [TN_RNN_RELU] = {"relu", false, false, 0, 0},
    [TN_RNN_TANH] = {"tanh", false, false, 0, 0},
    [TN_RNN_SIGMOID] = {"sigmoid", false, false, 0, 0},
    [TN_RNN_AFFINE] = {"affine", true, true, 1, 0},
    [TN_RNN_LEAKY_RELU] = {"leakyrelu", true, false, 0.01, 0},
    [TN_RNN_THRESHOLDED_RELU] = {"thresholdedrelu", true, false, 1, 0},
    [TN_RNN_SCALED_TANH] = {"scaledtanh", true, true, 1, 1},
    [TN_RNN_HARD_SIGMOID] = {"hardsigmoid", true, true, 0.2, 0.5},
    [TN_RNN_ELU] = {"elu", true, false, 1, 0},
    [TN_RNN_SOFTSIGN] = {"softsign", false, false, 0, 0},
    [TN_RNN_SOFTPLUS] = {"softplus", false, false, 0, 0},
};

/* Files write the names in several cases. */
static bool same_name(tn_str s, const char *name) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (name[i] == 0 || c != name[i]) return false;
    }
    return name[s.len] == 0;
}

static tern_status act_of(tn_str name, tn_rnn_act_kind *out, tern_error *err) {
    for (int k = 0; k < TN_RNN_ACT_COUNT; k++) {
        *out = (tn_rnn_act_kind)k;
        if (same_name(name, act_rows[k].name)) return TERN_OK;
    }
    return tn_fail(err, TERN_INVALID_MODEL, "activation '%.*s' is none that the standard knows",
                   (int)TN_MIN(name.len, (size_t)40), name.data);
}

/* Parameters are listed one for each activation, or only for those that have one, in their order. */
static double parameter(const float *list, size_t count, int total, int index, size_t *next, bool has,
                        double otherwise) {
    size_t at = count == (size_t)total ? (size_t)index : *next;
    if (!has) return otherwise;
    (*next)++;
    return at < count ? (double)list[at] : otherwise;
}

static tern_status read_activations(const tn_node *node, tn_rnn *n, tern_error *err) {
    static const tn_rnn_act_kind defaults[3][3] = {[TN_RNN] = {TN_RNN_TANH},
                                                   [TN_GRU] = {TN_RNN_SIGMOID, TN_RNN_TANH},
                                                   [TN_LSTM] = {TN_RNN_SIGMOID, TN_RNN_TANH, TN_RNN_TANH}};
    size_t count, n_alpha, n_beta, alpha = 0, beta = 0;
    const tn_str *names = tn_attr_strings(node, "activations", &count);
    const float *alphas = tn_attr_floats(node, "activation_alpha", &n_alpha);
    const float *betas = tn_attr_floats(node, "activation_beta", &n_beta);
    int total = n->n_acts * n->directions;
    /* The default of RNN lists two, whatever the direction. */
    bool fits = count == 0 || count == (size_t)total || (n->kind == TN_RNN && count == 2);
    if (!fits) return tn_fail(err, TERN_INVALID_MODEL, "%zu activations are listed where %d are needed", count, total);
    for (int i = 0; i < total; i++) {
        tn_rnn_act *a = &n->acts[i];
        a->kind = defaults[n->kind][i % n->n_acts];
        if (count) TN_TRY(act_of(names[i], &a->kind, err));
        const act_row *row = &act_rows[a->kind];
        a->alpha = parameter(alphas, n_alpha, total, i, &alpha, row->alpha, row->default_alpha);
        a->beta = parameter(betas, n_beta, total, i, &beta, row->beta, row->default_beta);
    }
    return TERN_OK;
}

static tern_status read_attributes(const tn_node *node, tn_rnn_kind kind, tn_rnn *n, tern_error *err) {
    static const int gates[] = {[TN_RNN] = 1, [TN_GRU] = 3, [TN_LSTM] = 4};
    static const int acts[] = {[TN_RNN] = 1, [TN_GRU] = 2, [TN_LSTM] = 3};
    *n = (tn_rnn){.kind = kind, .gates = gates[kind], .n_acts = acts[kind], .directions = 1};
    tn_str direction = tn_attr_s(node, "direction", "forward");
    n->reverse = tn_str_eq(direction, tn_str_c("reverse"));
    if (tn_str_eq(direction, tn_str_c("bidirectional")))
        n->directions = 2;
    else if (!n->reverse && !tn_str_eq(direction, tn_str_c("forward")))
        return tn_fail(err, TERN_INVALID_MODEL, "direction '%.*s' is not forward, reverse or bidirectional",
                       (int)TN_MIN(direction.len, (size_t)40), direction.data);
    int64_t layout = tn_attr_i(node, "layout", 0);
    if (layout != 0 && layout != 1) return tn_fail(err, TERN_INVALID_MODEL, "layout is %lld", (long long)layout);
    n->batch_first = layout == 1;
    n->linear_before_reset = tn_attr_i(node, "linear_before_reset", 0) != 0;
    n->input_forget = tn_attr_i(node, "input_forget", 0) != 0;
    n->clip = tn_attr_find(node, "clip") ? (double)tn_attr_f(node, "clip", 0) : INFINITY;
    if (!(n->clip >= 0)) return tn_fail(err, TERN_INVALID_MODEL, "clip is %g", n->clip);
    return read_activations(node, n, err);
}

/* ---- inference ------------------------------------------------------------------------------------------------- */

/* Takes over a known dim, or compares it with the one known before. */
static tern_status join(tn_infer *c, int input, int dim, int64_t d, int64_t *known) {
    if (!tn_dim_known(*known)) *known = d;
    if (!tn_dim_known(d) || d == *known) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d of input %d is %lld where %lld is needed", dim, input,
                         (long long)d, (long long)*known);
}

static int64_t times(int64_t a, int64_t n) {
    int64_t r;
    return tn_dim_known(a) && tn_mul_i64(a, n, &r) ? r : TN_DIM_UNKNOWN;
}

/* The shape that input i has by what is known. */
static tn_shape wanted(const tn_rnn *n, int i) {
    int64_t d = n->directions, h = n->hidden;
    switch (i) {
    case X:
        return n->batch_first ? (tn_shape){3, {n->batch, n->length, n->input}}
                              : (tn_shape){3, {n->length, n->batch, n->input}};
    case W:
        return (tn_shape){3, {d, times(h, n->gates), n->input}};
    case R:
        return (tn_shape){3, {d, times(h, n->gates), h}};
    case BIAS:
        return (tn_shape){2, {d, times(h, 2 * n->gates)}};
    case LENGTHS:
        return (tn_shape){1, {n->batch}};
    case PEEP:
        return (tn_shape){2, {d, times(h, 3)}};
    default:
        return n->batch_first ? (tn_shape){3, {n->batch, d, h}} : (tn_shape){3, {d, n->batch, h}};
    }
}

static tern_status infer_sizes(tn_infer *c, tn_rnn *n) {
    tn_shape s;
    n->length = n->batch = n->input = TN_DIM_UNKNOWN;
    n->hidden = tn_attr_i(c->node, "hidden_size", TN_DIM_UNKNOWN);
    if (tn_dim_known(n->hidden) && n->hidden < 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "hidden_size is %lld", (long long)n->hidden);
    if (tn_args_shape(c, X, &s) && s.rank == 3) {
        n->length = s.dims[n->batch_first ? 1 : 0];
        n->batch = s.dims[n->batch_first ? 0 : 1];
        n->input = s.dims[2];
    }
    if (tn_args_shape(c, R, &s) && s.rank == 3) TN_TRY(join(c, R, 2, s.dims[2], &n->hidden));
    for (int i = X; i < TN_MIN(c->node->n_in, (int)N_INPUTS); i++) {
        if (!tn_args_shape(c, i, &s)) continue;
        tn_shape w = wanted(n, i);
        if (s.rank != w.rank)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d instead of %d", i, s.rank, w.rank);
        for (int d = 0; d < s.rank; d++) TN_TRY(join(c, i, d, s.dims[d], &w.dims[d]));
        if (i == LENGTHS || i == H0) n->batch = w.dims[i == H0 && !n->batch_first ? 1 : 0];
        if (i == W) n->input = w.dims[2];
    }
    return TERN_OK;
}

static tern_status infer_recurrent(tn_infer *c, tn_rnn_kind kind) {
    tn_rnn n;
    TN_TRY(read_attributes(c->node, kind, &n, c->err));
    for (int i = X; i < c->node->n_in; i++) {
        if (i == LENGTHS) {
            TN_TRY(tn_infer_want(c, i, TN_T(INT32)));
        } else if (i <= R || tn_args_has(c, i)) {
            TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
            TN_TRY(tn_infer_same_type(c, X, i));
        }
    }
    TN_TRY(infer_sizes(c, &n));
    tern_dtype dtype = c->in[X]->dtype;
    tn_shape y = {4, {n.length, n.directions, n.batch, n.hidden}};
    if (n.batch_first) y = (tn_shape){4, {n.batch, n.length, n.directions, n.hidden}};
    TN_TRY(tn_args_out_shape(c, 0, dtype, &y));
    tn_shape state = wanted(&n, H0);
    for (int o = 1; o < c->node->n_out; o++) TN_TRY(tn_args_out_shape(c, o, dtype, &state));
    return TERN_OK;
}

static tern_status infer_rnn(tn_infer *c) { return infer_recurrent(c, TN_RNN); }
static tern_status infer_gru(tn_infer *c) { return infer_recurrent(c, TN_GRU); }
static tern_status infer_lstm(tn_infer *c) { return infer_recurrent(c, TN_LSTM); }

/* ---- prepare ----------------------------------------------------------------------------------------------------- */

/* Inputs that the loops read, and outputs, in the order of tn_rnn_data. */
static const int data_inputs[] = {X, W, R, BIAS, H0, C0, PEEP};
enum { N_OUTPUTS = 3 };

static bool is_half(tern_dtype t) { return t == TERN_FLOAT16 || t == TERN_BFLOAT16; }

static bool reads(const tn_rnn *n, int input) { return input < C0 || n->kind == TN_LSTM; }

/* Room for float32 copies of what is float16 or bfloat16. */
static tern_status reserve_copies(tn_prepare *c, tn_rnn_plan *p) {
    bool ok = true;
    for (size_t i = 0; i < TN_COUNT(data_inputs); i++) {
        const int input = data_inputs[i];
        if (input < c->node->n_in && c->in[input] && reads(&p->n, input))
            ok = ok && tn_ops_reserve(&c->workspace, tn_shape_count(&c->in[input]->shape), sizeof(float), &p->at_in[i]);
    }
    for (int o = 0; o < TN_MIN(c->node->n_out, (int)N_OUTPUTS); o++)
        ok = ok && tn_ops_reserve(&c->workspace, tn_shape_count(&c->out[o].shape), sizeof(float), &p->at_out[o]);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

static tern_status prepare_recurrent(tn_prepare *c, tn_rnn_kind kind) {
    tn_rnn_plan *p = tn_prepare_state(c, sizeof *p);
    if (!p) return TERN_OUT_OF_MEMORY;
    tn_rnn *n = &p->n;
    TN_TRY(read_attributes(c->node, kind, n, c->err));
    const tn_shape *x = &c->in[X]->shape;
    n->length = x->dims[n->batch_first ? 1 : 0];
    n->batch = x->dims[n->batch_first ? 0 : 1];
    n->input = x->dims[2];
    n->hidden = c->in[R]->shape.dims[2];
    p->wide = c->in[X]->dtype == TERN_DOUBLE;
    if (is_half(c->in[X]->dtype)) TN_TRY(reserve_copies(c, p));
    return tn_ops_rnn_plan(c, p);
}

static tern_status prepare_rnn(tn_prepare *c) { return prepare_recurrent(c, TN_RNN); }
static tern_status prepare_gru(tn_prepare *c) { return prepare_recurrent(c, TN_GRU); }
static tern_status prepare_lstm(tn_prepare *c) { return prepare_recurrent(c, TN_LSTM); }

static int64_t recurrent_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    (void)node, (void)out;
    const tn_shape *x = &in[X]->shape, *w = &in[W]->shape;
    const int64_t factors[] = {x->dims[0], x->dims[1], w->dims[0], w->dims[1]};
    int64_t rows, macs;
    if (!tn_args_product(factors, TN_COUNT(factors), &rows)) return 0;
    return tn_mul_i64(rows, w->dims[2] + in[R]->shape.dims[2], &macs) ? macs : 0;
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

static tern_status check_lengths(tn_run *c, const tn_rnn *n, const tern_tensor *t) {
    for (int64_t b = 0; t && b < n->batch; b++) {
        int32_t v = ((const int32_t *)t->data)[b];
        if (v < 0 || v > n->length)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "sequence length %d of sample %lld is outside [0, %lld]", v,
                               (long long)b, (long long)n->length);
    }
    return TERN_OK;
}

/* Elements of an input as float or double: its own memory, or a converted copy. */
static const void *real_input(const tern_tensor *t, void *copy) {
    if (!t || !is_half(t->dtype)) return t ? t->data : NULL;
    tn_row_load_f32(t->dtype, t->data, 0, tn_shape_count(&t->shape), copy);
    return copy;
}

static tern_status run_recurrent(tn_run *c) {
    const tn_rnn_plan *p = c->state;
    const tern_tensor *lengths = tn_args_in(c, LENGTHS);
    char *space = c->workspace;
    TN_TRY(check_lengths(c, &p->n, lengths));
    const void *in[TN_COUNT(data_inputs)] = {NULL};
    for (size_t i = 0; i < TN_COUNT(data_inputs); i++)
        if (reads(&p->n, data_inputs[i])) in[i] = real_input(tn_args_in(c, data_inputs[i]), space + p->at_in[i]);
    tn_rnn_data d = {.x = in[0], .w = in[1], .r = in[2], .bias = in[3], .h0 = in[4], .c0 = in[5], .peep = in[6]};
    d.lengths = lengths ? lengths->data : NULL;
    void **out[N_OUTPUTS] = {&d.y, &d.yh, &d.yc};
    for (int o = 0; o < N_OUTPUTS; o++) {
        const tern_tensor *t = tn_args_out(c, o);
        if (t) *out[o] = is_half(t->dtype) ? space + p->at_out[o] : t->data;
    }
    /* Positions past the end of a sequence are never written. */
    if (d.y && lengths) memset(d.y, 0, (size_t)tn_shape_count(&c->out[0]->shape) * (p->wide ? 8 : 4));
    tn_ops_rnn_run(p, &d, space, c->tier, c->threads);
    for (int o = 0; o < N_OUTPUTS; o++) {
        tern_tensor *t = tn_args_out(c, o);
        if (t && is_half(t->dtype)) tn_row_store_f32(t->dtype, t->data, 0, tn_shape_count(&t->shape), *out[o]);
    }
    return TERN_OK;
}

#define RECURRENT_OP(KIND, MAX_IN, MAX_OUT)                                                                    \
    {                                                                                                          \
        .infer = infer_##KIND, .prepare = prepare_##KIND, .run = run_recurrent, .min_in = 3, .max_in = MAX_IN, \
        .min_out = 0, .max_out = MAX_OUT, .flags = TN_OP_KERNEL_NAME, .macs = recurrent_macs                   \
    }
const tn_op tn_op_rnn = RECURRENT_OP(rnn, 6, 2);
const tn_op tn_op_gru = RECURRENT_OP(gru, 6, 2);
const tn_op tn_op_lstm = RECURRENT_OP(lstm, 8, 3);
