/* Attention: several heads, shared keys (GQA), a cache of keys and values, masks, soft cap, scores as an output. */
#include "ops/args.h"
#include "ops/attention_internal.h"
#include "ops/copy.h"
#include "ops/rowio.h"

#include <math.h>

enum { Q, K, V, MASK, PAST_K, PAST_V, VALID };
enum { Y, PRESENT_K, PRESENT_V, SCORES };

/* ---- inference ------------------------------------------------------------------------------------------------- */

/* (batch, heads, length, size) of a 4-D input, or of a 3-D one and a number of heads. */
typedef struct heads_dims {
    int64_t batch, heads, length, size;
    bool packed; /* 3-D: (batch, length, heads * size) */
} heads_dims;

static tern_status heads_of(const tn_shape *s, int64_t heads, const char *what, heads_dims *d, tern_error *err) {
    if (s->rank == 4) {
        *d = (heads_dims){s->dims[0], s->dims[1], s->dims[2], s->dims[3], false};
        if (heads && tn_dim_known(d->heads) && heads != d->heads)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "%s has %lld heads, the attribute says %lld", what,
                           (long long)d->heads, (long long)heads);
        return TERN_OK;
    }
    if (s->rank != 3) return tn_fail(err, TERN_SHAPE_MISMATCH, "%s has rank %d, not 3 or 4", what, s->rank);
    if (heads < 1)
        return tn_fail(err, TERN_INVALID_MODEL, "the number of heads of %s is %lld; 3-D inputs need the attribute",
                       what, (long long)heads);
    *d = (heads_dims){s->dims[0], heads, s->dims[1], TN_DIM_UNKNOWN, true};
    if (!tn_dim_known(s->dims[2])) return TERN_OK;
    d->size = s->dims[2] / heads;
    if (s->dims[2] % heads == 0) return TERN_OK;
    return tn_fail(err, TERN_SHAPE_MISMATCH, "%lld elements of %s are not a multiple of %lld heads",
                   (long long)s->dims[2], what, (long long)heads);
}

static tern_status same_dim(tern_error *err, const char *what, int64_t a, int64_t b) {
    if (!tn_dim_known(a) || !tn_dim_known(b) || a == b) return TERN_OK;
    return tn_fail(err, TERN_SHAPE_MISMATCH, "%s is %lld and %lld", what, (long long)a, (long long)b);
}

static int64_t either(int64_t a, int64_t b) { return tn_dim_known(a) ? a : b; }

typedef struct attention_dims {
    heads_dims q, k, v;
    int64_t past, total; /* keys in the cache, and with the new ones */
} attention_dims;

/* Shapes of all inputs but the mask; NULL: absent. */
static tern_status attention_dims_of(const tn_node *n, const tn_shape *const *in, attention_dims *d, tern_error *err) {
    int64_t q_heads = tn_attr_i(n, "q_num_heads", 0), kv_heads = tn_attr_i(n, "kv_num_heads", 0);
    TN_TRY(heads_of(in[Q], q_heads, "Q", &d->q, err));
    TN_TRY(heads_of(in[K], kv_heads, "K", &d->k, err));
    TN_TRY(heads_of(in[V], kv_heads, "V", &d->v, err));
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
        const heads_dims *own = i == PAST_K ? &d->k : &d->v;
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
    tn_shape y = {.rank = 4, .dims = {batch, d.q.heads, d.q.length, d.v.size}};
    if (d.q.packed) {
        y = (tn_shape){.rank = 3, .dims = {batch, d.q.length, TN_DIM_UNKNOWN}};
        if (tn_dim_known(d.v.size) && !tn_mul_i64(d.q.heads, d.v.size, &y.dims[2]))
            return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "%lld heads of %lld elements", (long long)d.q.heads,
                                 (long long)d.v.size);
    }
    TN_TRY(tn_args_out_shape(c, Y, c->in[Q]->dtype, &y));
    tn_shape k = {.rank = 4, .dims = {batch, heads, d.total, either(d.k.size, d.q.size)}};
    TN_TRY(tn_args_out_shape(c, PRESENT_K, c->in[K]->dtype, &k));
    k.dims[3] = d.v.size;
    TN_TRY(tn_args_out_shape(c, PRESENT_V, c->in[V]->dtype, &k));
    tn_shape s = {.rank = 4, .dims = {batch, d.q.heads, d.q.length, d.total}};
    return tn_args_out_shape(c, SCORES, c->in[Q]->dtype, &s);
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

static tn_attention_view view_of(const heads_dims *d, const void *data) {
    if (d->packed) return (tn_attention_view){data, d->length * d->heads * d->size, d->size, d->heads * d->size};
    return (tn_attention_view){data, d->heads * d->length * d->size, d->length * d->size, d->size};
}

/* Copies (batch, heads, length, size) into rows [from, from + length) of a dense tensor of `total` rows. */
static void append(const tern_tensor *src, const heads_dims *d, tern_tensor *dst, int64_t from, int64_t total) {
    tn_copy k;
    size_t unit = tern_dtype_size(src->dtype);
    tn_attention_view v = view_of(d, NULL);
    tn_copy_init(&k, unit);
    tn_copy_dim(&k, d->batch, v.sample, d->heads * total * d->size);
    tn_copy_dim(&k, d->heads, v.head, total * d->size);
    tn_copy_dim(&k, d->length, v.row, d->size);
    tn_copy_dim(&k, d->size, 1, 1);
    if (d->batch && d->heads && d->length && d->size)
        tn_copy_run(&k, src->data, (char *)dst->data + (size_t)(from * d->size) * unit, 1);
}

/* Keys or values of one run. */
typedef struct cache {
    tern_tensor *joined; /* past and new ones when nobody wants them as an output */
    void *real;          /* converted copy */
    tn_attention_view view;
} cache;

static tern_status join_cache(tn_run *c, int i, const heads_dims *d, const attention_dims *all, bool wide, cache *out) {
    const tern_tensor *fresh = c->in[i], *past = tn_args_in(c, i - K + PAST_K), *use = fresh;
    tern_tensor *present = tn_args_out(c, i - K + PRESENT_K);
    heads_dims joined = {d->batch, d->heads, all->total, d->size, false};
    if (past && !present) {
        tn_shape s = {.rank = 4, .dims = {d->batch, d->heads, all->total, d->size}};
        TN_TRY(tn_tensor_new(&out->joined, fresh->dtype, &s, c->err));
        present = out->joined;
    }
    if (present) {
        heads_dims old = {d->batch, d->heads, all->past, d->size, false};
        if (past) append(past, &old, present, 0, all->total);
        append(fresh, d, present, all->past, all->total);
        use = present;
    }
    const void *data = tn_ops_attention_real(use, wide, &out->real);
    if (!data && tn_tensor_bytes(use)) return tn_fail_oom(c->err, tn_tensor_bytes(use));
    out->view = view_of(use == fresh ? d : &joined, data);
    return TERN_OK;
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

static void set_options(const tn_run *c, const attention_dims *d, tn_attention *a) {
    const tern_tensor *valid = tn_args_in(c, VALID);
    a->scale = tn_attr_find(c->node, "scale") ? (double)tn_attr_f(c->node, "scale", 1) : 1 / sqrt((double)d->q.size);
    a->cap = (double)tn_attr_f(c->node, "softcap", 0);
    a->causal = tn_attr_i(c->node, "is_causal", 0) != 0;
    a->left = tn_attr_i(c->node, "left_window_size", -1);
    a->right = tn_attr_i(c->node, "right_window_size", -1);
    a->past = d->past;
    a->valid = valid ? valid->data : NULL;
    a->zero_masked = true;
    a->softmax_type = (tern_dtype)tn_attr_i(c->node, "softmax_precision", TERN_UNDEFINED);
    a->scores_out = tn_args_out(c, SCORES);
    a->scores_kind = (tn_attention_scores)tn_attr_i(c->node, "qk_matmul_output_mode", 0);
}

/* Y in the working type, then converted where that is not its own. */
static tern_status run_into(tn_run *c, tn_attention *a, const heads_dims *yd) {
    tern_tensor *y = tn_args_out(c, Y);
    bool direct = y && y->dtype == (a->wide ? TERN_DOUBLE : TERN_FLOAT);
    int64_t n = y ? tn_shape_count(&y->shape) : 0;
    void *real = NULL;
    a->no_values = !y;
    if (y && !direct && !(real = tn_alloc_array((size_t)n, a->wide ? sizeof(double) : sizeof(float))))
        return tn_fail_oom(c->err, (size_t)n * sizeof(double));
    a->y = view_of(yd, direct ? y->data : real);
    tern_status s = tn_ops_attention(a, c->tier, c->threads, c->err);
    if (s == TERN_OK && real) {
        if (a->wide)
            tn_row_store_f64(y->dtype, y->data, 0, n, real);
        else
            tn_row_store_f32(y->dtype, y->data, 0, n, real);
    }
    tn_free(real);
    return s;
}

static tern_status run_attention(tn_run *c) {
    const tn_shape *shapes[VALID + 1] = {NULL};
    attention_dims d;
    for (int i = 0; i <= VALID; i++) shapes[i] = tn_args_in(c, i) ? &c->in[i]->shape : NULL;
    TN_TRY(attention_dims_of(c->node, shapes, &d, c->err));
    TN_TRY(check_valid(c, &d));
    tn_attention a = {.batch = d.q.batch,
                      .q_heads = d.q.heads,
                      .kv_heads = d.k.heads,
                      .q_len = d.q.length,
                      .kv_len = d.total,
                      .size = d.q.size,
                      .v_size = d.v.size,
                      .wide = c->in[Q]->dtype == TERN_DOUBLE || c->in[V]->dtype == TERN_DOUBLE};
    set_options(c, &d, &a);
    set_mask(c, &a);
    cache k = {0}, v = {0};
    void *q = NULL;
    a.q = view_of(&d.q, tn_ops_attention_real(c->in[Q], a.wide, &q));
    tern_status s = a.q.data || !tn_tensor_bytes(c->in[Q]) ? TERN_OK : tn_fail_oom(c->err, tn_tensor_bytes(c->in[Q]));
    if (s == TERN_OK) s = join_cache(c, K, &d.k, &d, a.wide, &k);
    if (s == TERN_OK) s = join_cache(c, V, &d.v, &d, a.wide, &v);
    heads_dims yd = {d.q.batch, d.q.heads, d.q.length, d.v.size, d.q.packed};
    a.k = k.view;
    a.v = v.view;
    if (s == TERN_OK) s = run_into(c, &a, &yd);
    tn_free(q);
    tn_free(k.real);
    tn_free(v.real);
    tn_tensor_unref(k.joined);
    tn_tensor_unref(v.joined);
    return s;
}

const tn_op tn_op_attention = TN_ARGS_OP(infer_attention, run_attention, 3, 7, 1, 4, 0);
