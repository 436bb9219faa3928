/* Attention: several heads, shared keys (GQA), a cache of keys and values, masks, soft cap, scores as an output. */
#include "ops/args.h"
#include "ops/attention_internal.h"
#include "ops/conv_internal.h"
#include "ops/copy.h"
#include "ops/rowio.h"

#include <math.h>

enum { Q, K, V, MASK, PAST_K, PAST_V, VALID };
enum { Y, PRESENT_K, PRESENT_V, SCORES };

/* ---- inference ------------------------------------------------------------------------------------------------- */

/* Input i as heads, or output Y (i = 3). tern's operator may say how they lie. */
static tn_str layout_of(const tn_node *n, int i, int rank) {
    static const char *const names[] = {"q_layout", "k_layout", "v_layout", "y_layout"};
    const char *usual = rank == 4 ? "BHLD" : "BL(HD)";
    return *n->domain ? tn_attr_s(n, names[i], usual) : tn_str_c(usual);
}

/* Parts that input i has, and which of them is meant. */
static void part_of(const tn_node *n, int i, int64_t *parts, int64_t *part) {
    size_t count[2] = {0, 0};
    const int64_t *all = tn_attr_ints(n, "parts", &count[0]), *which = tn_attr_ints(n, "part", &count[1]);
    *parts = count[0] == 3 ? all[i] : 1;
    *part = count[1] == 3 ? which[i] : 0;
}

static tern_status heads_of(const tn_node *n, int i, const tn_shape *s, tn_attention_heads *d, tern_error *err) {
    static const char *const what[] = {"Q", "K", "V"};
    int64_t heads = tn_attr_i(n, i == Q ? "q_num_heads" : "kv_num_heads", 0), parts, part;
    bool given = *n->domain && tn_attr_find(n, i == Q ? "q_layout" : i == K ? "k_layout" : "v_layout") != NULL;
    part_of(n, i, &parts, &part);
    if (parts < 1 || part < 0 || part >= parts)
        return tn_fail(err, TERN_INVALID_MODEL, "part %lld of %lld of %s", (long long)part, (long long)parts, what[i]);
    if (!given && s->rank != 3 && s->rank != 4)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "%s has rank %d, not 3 or 4", what[i], s->rank);
    if (heads < (s->rank == 4 && !given ? 0 : 1))
        return tn_fail(err, TERN_INVALID_MODEL, "the number of heads of %s is %lld; 3-D inputs need the attribute",
                       what[i], (long long)heads);
    return tn_attention_heads_of(layout_of(n, i, s->rank), s, heads, parts, what[i], d, err);
}

static tern_status same_dim(tern_error *err, const char *what, int64_t a, int64_t b) {
    if (!tn_dim_known(a) || !tn_dim_known(b) || a == b) return TERN_OK;
    return tn_fail(err, TERN_SHAPE_MISMATCH, "%s is %lld and %lld", what, (long long)a, (long long)b);
}

static int64_t either(int64_t a, int64_t b) { return tn_dim_known(a) ? a : b; }

typedef struct attention_dims {
    tn_attention_heads q, k, v;
    int64_t past, total; /* keys in the cache, and with the new ones */
} attention_dims;

/* Shapes of all inputs but the mask; NULL: absent. */
static tern_status attention_dims_of(const tn_node *n, const tn_shape *const *in, attention_dims *d, tern_error *err) {
    TN_TRY(heads_of(n, Q, in[Q], &d->q, err));
    TN_TRY(heads_of(n, K, in[K], &d->k, err));
    TN_TRY(heads_of(n, V, in[V], &d->v, err));
    bool mixed = *n->domain != 0; /* com.microsoft gives keys and values of a cache to queries in rows */
    if (!mixed && (in[Q]->rank != in[K]->rank || in[Q]->rank != in[V]->rank))
        return tn_fail(err, TERN_SHAPE_MISMATCH, "Q, K and V have ranks %d, %d and %d", in[Q]->rank, in[K]->rank,
                       in[V]->rank);
    TN_TRY(same_dim(err, "the batch of Q and K", d->q.batch, d->k.batch));
    TN_TRY(same_dim(err, "the batch of K and V", d->k.batch, d->v.batch));
    TN_TRY(same_dim(err, "the number of heads of K and V", d->k.heads, d->v.heads));
    TN_TRY(same_dim(err, "the length of K and V", d->k.length, d->v.length));
    TN_TRY(same_dim(err, "the head size of Q and K", d->q.size, d->k.size));
    int64_t h = d->k.heads;
    if (tn_dim_known(d->q.heads) && tn_dim_known(h) && (h < 1 || d->q.heads % h))
        return tn_fail(err, TERN_SHAPE_MISMATCH, "%lld heads of Q are not a multiple of %lld of K",
                       (long long)d->q.heads, (long long)h);
    d->past = 0;
    for (int i = PAST_K; i <= PAST_V; i++) {
        const tn_shape *p = in[i];
        const tn_attention_heads *own = i == PAST_K ? &d->k : &d->v;
        if (!p) continue;
        if (p->rank != 4) return tn_fail(err, TERN_SHAPE_MISMATCH, "the cache has rank %d instead of 4", p->rank);
        TN_TRY(same_dim(err, "the batch of the cache and of new keys", p->dims[0], own->batch));
        TN_TRY(same_dim(err, "the number of heads of the cache and of new keys", p->dims[1], own->heads));
        TN_TRY(same_dim(err, "the head size of the cache and of new keys", p->dims[3], own->size));
        if (i == PAST_V) TN_TRY(same_dim(err, "the length of the caches", d->past, p->dims[2]));
        d->past = p->dims[2];
    }
    d->total = TN_DIM_UNKNOWN;
    if (tn_dim_known(d->past) && tn_dim_known(d->k.length) && !tn_add_i64(d->past, d->k.length, &d->total))
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "%lld keys after %lld", (long long)d->k.length, (long long)d->past);
    return TERN_OK;
}

/* The mask broadcasts to (batch, heads, queries, keys); from version 24 on its last dim may be shorter. */
static tern_status check_mask(const tn_node *n, const tn_shape *m, const attention_dims *d, tern_error *err) {
    int64_t want[4] = {d->q.batch, d->q.heads, d->q.length, d->total};
    bool fits = m->rank <= 4;
    for (int i = 0; fits && i < m->rank; i++) {
        int64_t have = m->dims[i], need = want[4 - m->rank + i];
        if (!tn_dim_known(have) || !tn_dim_known(need) || have == 1 || have == need) continue;
        fits = n->since >= 24 && i == m->rank - 1 && have < need;
    }
    if (fits) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    tn_shape w = tn_shape_of(4, want);
    return tn_fail(err, TERN_SHAPE_MISMATCH, "attn_mask of shape %s does not broadcast to %s",
                   tn_shape_text(m, a, sizeof a), tn_shape_text(&w, b, sizeof b));
}

static tern_status check_attention_attrs(tn_infer *c) {
    int64_t mode = tn_attr_i(c->node, "qk_matmul_output_mode", 0), type = tn_attr_i(c->node, "softmax_precision", 1);
    if (mode < 0 || mode >= TN_SCORES_COUNT)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "qk_matmul_output_mode is %lld, not 0 to 3", (long long)mode);
    if (type <= 0 || type >= TERN_DTYPE_COUNT || !tn_type_in((tern_dtype)type, TN_TYPES_FLOAT))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "softmax_precision %lld is not a float type", (long long)type);
    static const char *const windows[] = {"left_window_size", "right_window_size"};
    for (int i = 0; i < 2; i++)
        if (tn_attr_i(c->node, windows[i], -1) < -1)
            return tn_infer_fail(c, TERN_INVALID_MODEL, "%s is %lld, less than -1", windows[i],
                                 (long long)tn_attr_i(c->node, windows[i], -1));
    if (tn_args_has(c, PAST_K) != tn_args_has(c, PAST_V))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "only one of past_key and past_value is given");
    if (tn_args_has(c, PAST_K) && tn_args_has(c, VALID))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "nonpad_kv_seqlen is given together with past_key");
    if (!(tn_attr_f(c->node, "softcap", 0) >= 0))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "softcap is %g", (double)tn_attr_f(c->node, "softcap", 0));
    if (tn_attr_find(c->node, "scale") && !(tn_attr_f(c->node, "scale", 1) >= 0))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "scale is %g", (double)tn_attr_f(c->node, "scale", 1));
    return TERN_OK;
}

static tern_status check_attention_types(tn_infer *c) {
    for (int i = Q; i <= V; i++) TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
    TN_TRY(tn_infer_same_type(c, Q, K));
    TN_TRY(tn_infer_want(c, MASK, TN_TYPES_NUMERIC | TN_T(BOOL)));
    for (int i = PAST_K; i <= PAST_V; i++) {
        TN_TRY(tn_infer_want(c, i, TN_TYPES_FLOAT));
        TN_TRY(tn_infer_same_type(c, i - PAST_K + K, i));
    }
    return tn_infer_want(c, VALID, TN_T(INT64));
}

static tern_status infer_attention(tn_infer *c) {
    TN_TRY(check_attention_types(c));
    TN_TRY(check_attention_attrs(c));
    tn_shape shapes[VALID + 1];
    const tn_shape *in[VALID + 1] = {NULL};
    for (int i = 0; i <= VALID; i++) {
        if (tn_args_shape(c, i, &shapes[i])) in[i] = &shapes[i];
        if (!in[i] && tn_args_has(c, i) && i != MASK && i != VALID) {
            tn_infer_out(c, Y, c->in[Q]->dtype, NULL);
            for (int o = PRESENT_K; o <= SCORES; o++)
                tn_infer_out(c, o, o == PRESENT_V ? c->in[V]->dtype : c->in[Q]->dtype, NULL);
            return TERN_OK;
        }
    }
    attention_dims d;
    TN_TRY(attention_dims_of(c->node, in, &d, c->err));
    if (in[MASK]) TN_TRY(check_mask(c->node, in[MASK], &d, c->err));
    int64_t batch = either(d.q.batch, d.k.batch), heads = either(d.k.heads, d.v.heads);
    if (in[VALID] && in[VALID]->rank != 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "nonpad_kv_seqlen has rank %d instead of 1", in[VALID]->rank);
    if (in[VALID]) TN_TRY(same_dim(c->err, "the batch of Q and of nonpad_kv_seqlen", batch, in[VALID]->dims[0]));
    tn_attention_heads yd = {.batch = batch, .heads = d.q.heads, .length = d.q.length, .size = d.v.size, .parts = 1};
    tn_shape y;
    TN_TRY(tn_attention_shape_of(layout_of(c->node, 3, in[Q]->rank), &yd, "Y", &y, c->err));
    TN_TRY(tn_args_out_shape(c, Y, c->in[Q]->dtype, &y));
    tn_shape k = {.rank = 4, .dims = {batch, heads, d.total, either(d.k.size, d.q.size)}};
    TN_TRY(tn_args_out_shape(c, PRESENT_K, c->in[K]->dtype, &k));
    k.dims[3] = d.v.size;
    TN_TRY(tn_args_out_shape(c, PRESENT_V, c->in[V]->dtype, &k));
    tn_shape s = {.rank = 4, .dims = {batch, d.q.heads, d.q.length, d.total}};
    return tn_args_out_shape(c, SCORES, c->in[Q]->dtype, &s);
}

/* ---- prepare --------------------------------------------------------------------------------------------------- */

typedef struct attention_state {
    const char *kernel;
    attention_dims d;
    tn_attention_heads y;
    tn_attention a;              /* without pointers */
    bool copied[3];              /* inputs that are brought to the working type, or joined with the past */
    size_t at[3], at_y, at_core; /* in the workspace */
} attention_state;

static tn_attention_view view_of(const tn_attention_heads *d, const void *data, size_t unit, int64_t part) {
    return (tn_attention_view){(const char *)data + (size_t)(part * d->part) * unit, d->sample, d->head, d->row};
}

/* (batch, heads, length, size) without gaps. */
static tn_attention_heads dense(const tn_attention_heads *d, int64_t length) {
    tn_attention_heads h = *d;
    h.length = length;
    h.parts = 1;
    h.part = 0;
    h.row = d->size;
    h.head = length * d->size;
    h.sample = d->heads * h.head;
    return h;
}

static int64_t elements(const tn_attention_heads *d) { return d->batch * d->heads * d->length * d->size; }

static bool wants(const tn_prepare *c, int o) { return o < c->node->n_out && c->node->out[o]; }

static void set_options(const tn_prepare *c, attention_state *s) {
    tn_attention *a = &s->a;
    const tn_node *n = c->node;
    tern_dtype softmax = (tern_dtype)tn_attr_i(n, "softmax_precision", TERN_UNDEFINED);
    *a = (tn_attention){.batch = s->d.q.batch,
                        .q_heads = s->d.q.heads,
                        .kv_heads = s->d.k.heads,
                        .q_len = s->d.q.length,
                        .kv_len = s->d.total,
                        .size = s->d.q.size,
                        .v_size = s->d.v.size};
    a->wide = c->in[Q]->dtype == TERN_DOUBLE || c->in[V]->dtype == TERN_DOUBLE || softmax == TERN_DOUBLE;
    a->scale = tn_attr_find(n, "scale") ? (double)tn_attr_f(n, "scale", 1) : 1 / sqrt((double)s->d.q.size);
    a->cap = (double)tn_attr_f(n, "softcap", 0);
    a->causal = tn_attr_i(n, "is_causal", 0) != 0;
    a->left = tn_attr_i(n, "left_window_size", -1);
    a->right = tn_attr_i(n, "right_window_size", -1);
    a->past = s->d.past;
    a->zero_masked = !*n->domain || tn_attr_i(n, "masked_nan", 0) == 0;
    a->softmax_type = softmax;
    a->scores_kind = (tn_attention_scores)tn_attr_i(n, "qk_matmul_output_mode", 0);
    a->no_values = !wants(c, Y);
}

/* The steps of rows, as they will be in run. */
static void set_views(const tn_prepare *c, attention_state *s) {
    const tn_attention_heads *d[3] = {&s->d.q, &s->d.k, &s->d.v};
    tn_attention_view *view[3] = {&s->a.q, &s->a.k, &s->a.v};
    tern_dtype real = s->a.wide ? TERN_DOUBLE : TERN_FLOAT;
    for (int i = Q; i <= V; i++) {
        bool past = i != Q && i - K + PAST_K < c->node->n_in && c->node->in[i - K + PAST_K];
        bool present = i != Q && wants(c, i - K + PRESENT_K);
        s->copied[i] = c->in[i]->dtype != real || (past && !present);
        tn_attention_heads h = s->copied[i] || present ? dense(d[i], i == Q ? d[i]->length : s->d.total) : *d[i];
        *view[i] = view_of(&h, NULL, 1, 0);
    }
    s->a.y = view_of(&s->y, NULL, 1, 0);
}

static tern_status prepare_attention(tn_prepare *c) {
    static const char *const names[] = {"attention_f32_scalar", "attention_f32_avx2", "attention_f32_avx512"};
    static const tern_tensor some;
    attention_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    const tn_shape *shapes[VALID + 1] = {NULL};
    for (int i = 0; i <= VALID && i < c->node->n_in; i++) shapes[i] = c->in[i] ? &c->in[i]->shape : NULL;
    TN_TRY(attention_dims_of(c->node, shapes, &s->d, c->err));
    set_options(c, s);
    tn_shape y;
    tn_str layout = layout_of(c->node, 3, shapes[Q]->rank);
    s->y = (tn_attention_heads){s->d.q.batch, s->d.q.heads, s->d.q.length, s->d.v.size, 1, 0, 0, 0, 0};
    TN_TRY(tn_attention_shape_of(layout, &s->y, "Y", &y, c->err));
    TN_TRY(tn_attention_heads_of(layout, &y, s->d.q.heads, 1, "Y", &s->y, c->err));
    set_views(c, s);
    if (!s->a.wide) s->kernel = names[c->tier];
    tn_attention with = s->a; /* what decides how much scratch it needs */
    with.mask = MASK < c->node->n_in && c->node->in[MASK] ? &some : NULL;
    with.scores_out = wants(c, SCORES) ? (tern_tensor *)(uintptr_t)&some : NULL;
    static const int64_t no_valid;
    with.valid = VALID < c->node->n_in && c->node->in[VALID] ? &no_valid : NULL;
    size_t unit = s->a.wide ? sizeof(double) : sizeof(float),
           core = tn_ops_attention_workspace(&with, c->tier, c->threads);
    const tn_attention_heads *d[3] = {&s->d.q, &s->d.k, &s->d.v};
    bool ok = core < SIZE_MAX / 2;
    for (int i = Q; i <= V; i++) {
        tn_attention_heads h = dense(d[i], i == Q ? d[i]->length : s->d.total);
        ok = ok && tn_ops_reserve(&c->workspace, s->copied[i] ? elements(&h) : 0, unit, &s->at[i]);
    }
    bool direct = s->a.no_values || c->out[Y].dtype == (s->a.wide ? TERN_DOUBLE : TERN_FLOAT);
    ok = ok && tn_ops_reserve(&c->workspace, direct ? 0 : elements(&s->y), unit, &s->at_y) &&
         tn_ops_reserve(&c->workspace, (int64_t)core, 1, &s->at_core);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

/* Copies rows as they are into rows [from, from + length) of a dense tensor of `total` rows. */
static void append(const tern_tensor *src, const tn_attention_heads *d, int64_t part, tern_tensor *dst, int64_t from,
                   int64_t total) {
    tn_copy k;
    size_t unit = tern_dtype_size(src->dtype);
    tn_copy_init(&k, unit);
    tn_copy_dim(&k, d->batch, d->sample, d->heads * total * d->size);
    tn_copy_dim(&k, d->heads, d->head, total * d->size);
    tn_copy_dim(&k, d->length, d->row, d->size);
    tn_copy_dim(&k, d->size, 1, 1);
    if (elements(d))
        tn_copy_run(&k, (const char *)src->data + (size_t)(part * d->part) * unit,
                    (char *)dst->data + (size_t)(from * d->size) * unit, 1);
}

/* Likewise, in the working type. */
static void append_real(const tern_tensor *src, const tn_attention_heads *d, int64_t part, bool wide, void *dst,
                        int64_t from, int64_t total) {
    for (int64_t i = 0; i < d->batch * d->heads; i++)
        for (int64_t r = 0; r < d->length; r++) {
            int64_t at = i / d->heads * d->sample + i % d->heads * d->head + r * d->row + part * d->part;
            int64_t to = (i * total + from + r) * d->size;
            if (wide)
                tn_row_load_f64(src->dtype, src->data, at, d->size, (double *)dst + to);
            else
                tn_row_load_f32(src->dtype, src->data, at, d->size, (float *)dst + to);
        }
}

/* Where the rows of input i are, once those of the past are before them. */
static tn_attention_view rows_of(tn_run *c, int i) {
    const attention_state *s = c->state;
    const tn_attention_heads *d[3] = {&s->d.q, &s->d.k, &s->d.v};
    const tern_tensor *fresh = c->in[i], *past = i == Q ? NULL : tn_args_in(c, i - K + PAST_K);
    tern_tensor *present = i == Q ? NULL : tn_args_out(c, i - K + PRESENT_K);
    int64_t parts, part, total = i == Q ? s->d.q.length : s->d.total;
    tn_attention_heads old = dense(d[i], s->d.past), all = dense(d[i], total);
    part_of(c->node, i, &parts, &part);
    if (present) {
        if (past) append(past, &old, 0, present, 0, total);
        append(fresh, d[i], part, present, s->d.past, total);
    }
    if (!s->copied[i] && present) return view_of(&all, present->data, 1, 0);
    if (!s->copied[i]) return view_of(d[i], fresh->data, tern_dtype_size(fresh->dtype), part);
    void *copy = (char *)c->workspace + s->at[i];
    if (past) append_real(past, &old, 0, s->a.wide, copy, 0, total);
    append_real(fresh, d[i], part, s->a.wide, copy, i == Q ? 0 : s->d.past, total);
    return view_of(&all, copy, 1, 0);
}

static tern_status check_valid(tn_run *c, const attention_dims *d) {
    const tern_tensor *t = tn_args_in(c, VALID);
    for (int64_t i = 0; t && i < d->q.batch; i++) {
        int64_t v = ((const int64_t *)t->data)[i];
        if (v < 0 || v > d->total)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "nonpad_kv_seqlen %lld of sample %lld is outside [0, %lld]",
                               (long long)v, (long long)i, (long long)d->total);
    }
    return TERN_OK;
}

static void set_mask(const tn_run *c, tn_attention *a) {
    const tern_tensor *m = tn_args_in(c, MASK);
    a->mask = m;
    a->mask_keys = a->kv_len;
    int64_t step = 1;
    for (int i = m ? m->shape.rank - 1 : -1; i >= 0; i--) {
        int64_t d = m->shape.dims[i];
        a->mask_step[4 - m->shape.rank + i] = d == 1 ? 0 : step;
        step *= d;
    }
    if (!m || m->shape.rank == 0 || c->node->since < 24) return;
    int64_t last = m->shape.dims[m->shape.rank - 1];
    if (last < a->kv_len) a->mask_keys = last;
}

static tern_status run_attention(tn_run *c) {
    const attention_state *s = c->state;
    tn_attention a = s->a;
    tern_tensor *y = tn_args_out(c, Y);
    const tern_tensor *valid = tn_args_in(c, VALID);
    TN_TRY(check_valid(c, &s->d));
    set_mask(c, &a);
    a.valid = valid ? valid->data : NULL;
    a.scores_out = tn_args_out(c, SCORES);
    a.q = rows_of(c, Q);
    a.k = rows_of(c, K);
    a.v = rows_of(c, V);
    bool direct = !y || y->dtype == (a.wide ? TERN_DOUBLE : TERN_FLOAT);
    void *real = (char *)c->workspace + s->at_y;
    a.y.data = !y ? NULL : direct ? y->data : real;
    tn_ops_attention(&a, c->tier, c->threads, (char *)c->workspace + s->at_core);
    if (!direct && a.wide) tn_row_store_f64(y->dtype, y->data, 0, tn_shape_count(&y->shape), real);
    if (!direct && !a.wide) tn_row_store_f32(y->dtype, y->data, 0, tn_shape_count(&y->shape), real);
    return TERN_OK;
}

static int64_t attention_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    const tn_shape *shapes[VALID + 1] = {NULL};
    attention_dims d;
    tern_error err;
    int64_t n;
    (void)out;
    for (int i = 0; i <= VALID && i < node->n_in; i++) shapes[i] = in[i] ? &in[i]->shape : NULL;
    if (attention_dims_of(node, shapes, &d, &err)) return 0;
    bool ok = tn_mul_i64(d.q.batch, d.q.heads, &n) && tn_mul_i64(n, d.q.length, &n) && tn_mul_i64(n, d.total, &n) &&
              tn_mul_i64(n, d.q.size + d.v.size, &n);
    return ok ? n : INT64_MAX;
}

const tn_op tn_op_attention = {.infer = infer_attention,
                               .prepare = prepare_attention,
                               .run = run_attention,
                               .min_in = 3,
                               .max_in = 7,
                               .min_out = 1,
                               .max_out = 4,
                               .flags = TN_OP_KERNEL_NAME,
                               .macs = attention_macs};
