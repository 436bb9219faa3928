/* GroupQueryAttention of com.microsoft: attention with a cache that every sample has filled to its own length.
 * Source: ContribOperators.md of ONNX Runtime. */
#include <math.h>

#include "ops/args.h"
#include "ops/attention_internal.h"
#include "ops/copy.h"
#include "ops/rowio.h"

enum {
    QUERY,
    KEY,
    VALUE,
    PAST_K,
    PAST_V,
    LENGTHS,
    TOTAL,
    COS,
    SIN,
    POSITIONS,
    BIAS,
    SINK,
    K_SCALE,
    V_SCALE,
    Q_NORM,
    K_NORM,
    INPUTS
};
enum { Y, PRESENT_K, PRESENT_V, SCORES };
enum { NO_SCORES, BEFORE_SOFTMAX, PROBABILITIES }; /* qk_output */

#define TYPES (TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16))

/* ---- inference ------------------------------------------------------------------------------------------------- */

typedef struct gqa_dims {
    int64_t batch, rows, size; /* samples, new positions, elements of a head */
    int64_t q_heads, kv_heads;
    int64_t past; /* rows of the cache that comes in */
    bool packed;  /* query holds keys and values too */
} gqa_dims;

static tern_status refuse(tn_infer *c, bool there, const char *what) {
    if (!there) return TERN_OK;
    return tn_infer_fail(c, TERN_UNSUPPORTED, "%s is not supported; export the model without it", what);
}

static tern_status check_attrs(tn_infer *c) {
    const tn_node *n = c->node;
    int64_t q = tn_attr_i(n, "num_heads", 0), kv = tn_attr_i(n, "kv_num_heads", 0);
    if (q < 1 || kv < 1 || q % kv)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "num_heads is %lld, kv_num_heads %lld", (long long)q,
                             (long long)kv);
    int64_t window = tn_attr_i(n, "local_window_size", -1);
    if (window == 0 || window < -1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "local_window_size is %lld", (long long)window);
    static const char *const numbers[] = {"softcap", "qk_norm_epsilon", "scale"};
    for (int i = 0; i < 3; i++) {
        float v = tn_attr_f(n, numbers[i], 0);
        if (!isfinite(v) || (v < 0 && i < 2))
            return tn_infer_fail(c, TERN_INVALID_MODEL, "%s is %g", numbers[i], (double)v);
    }
    TN_TRY(refuse(c, tn_args_has(c, K_SCALE) || tn_args_has(c, V_SCALE), "a quantised cache (k_scale, v_scale)"));
    if (tn_args_has(c, Q_NORM) != tn_args_has(c, K_NORM))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "only one of q_norm_weight and k_norm_weight is given");
    TN_TRY(refuse(c, tn_attr_i(n, "sliding_window_cache", 0) != 0, "sliding_window_cache"));
    int64_t scores = tn_attr_i(n, "qk_output", NO_SCORES);
    if (scores < NO_SCORES || scores > PROBABILITIES)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "qk_output is %lld, not 0 to 2", (long long)scores);
    if (tn_args_wants(c, SCORES) && scores == NO_SCORES)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "output 3, output_qk, is wanted, but qk_output is 0");
    if (tn_args_has(c, PAST_K) != tn_args_has(c, PAST_V))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "only one of past_key and past_value is given");
    if (tn_args_has(c, KEY) != tn_args_has(c, VALUE))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "only one of key and value is given");
    if (tn_attr_i(n, "do_rotary", 0) && !(tn_args_has(c, COS) && tn_args_has(c, SIN)))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "do_rotary is set without cos_cache and sin_cache");
    return TERN_OK;
}

static tern_status check_types(tn_infer *c) {
    static const int real[] = {QUERY, KEY, VALUE, PAST_K, PAST_V, COS, SIN, BIAS, SINK, Q_NORM, K_NORM};
    for (size_t i = 0; i < TN_COUNT(real); i++) {
        if (!tn_args_has(c, real[i])) continue;
        TN_TRY(tn_args_need(c, real[i], TYPES));
        TN_TRY(tn_infer_same_type(c, QUERY, real[i]));
    }
    TN_TRY(tn_args_need(c, LENGTHS, TN_T(INT32)));
    TN_TRY(tn_args_need(c, TOTAL, TN_T(INT32)));
    return tn_infer_want(c, POSITIONS, TN_T(INT64));
}

/* Fails unless the shape, where it is known, has these dims; -1 fits anything. */
static tern_status want_shape(tern_error *err, const tn_shape *s, int rank, const int64_t *dims, const char *what) {
    if (!s) return TERN_OK;
    bool fits = s->rank == rank;
    for (int i = 0; fits && i < rank; i++)
        fits = dims[i] < 0 || !tn_dim_known(s->dims[i]) || !tn_dim_known(dims[i]) || s->dims[i] == dims[i];
    if (fits) return TERN_OK;
    char have[TN_SHAPE_TEXT];
    return tn_fail(err, TERN_SHAPE_MISMATCH, "%s has shape %s, which does not fit the heads and the other inputs", what,
                   tn_shape_text(s, have, sizeof have));
}

/* The query's shape is known; those of other inputs are NULL where absent or not known. */
static tern_status dims_of(const tn_node *n, const tn_shape *const *in, gqa_dims *d, tern_error *err) {
    const tn_shape *q = in[QUERY];
    *d = (gqa_dims){.q_heads = tn_attr_i(n, "num_heads", 0), .kv_heads = tn_attr_i(n, "kv_num_heads", 0)};
    d->packed = n->n_in <= KEY || !n->in[KEY];
    if (q->rank != 3) return tn_fail(err, TERN_SHAPE_MISMATCH, "query has rank %d, not 3", q->rank);
    d->batch = q->dims[0], d->rows = q->dims[1], d->size = TN_DIM_UNKNOWN;
    int64_t heads = d->q_heads;
    if (d->q_heads > INT32_MAX || d->kv_heads > INT32_MAX)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "%lld heads", (long long)d->q_heads);
    if (d->packed) heads += 2 * d->kv_heads;
    if (tn_dim_known(q->dims[2])) {
        if (q->dims[2] == 0 || q->dims[2] % heads)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "rows of %lld elements are not %lld heads", (long long)q->dims[2],
                           (long long)heads);
        d->size = q->dims[2] / heads;
    }
    int64_t hidden = tn_dim_known(d->size) ? d->size * d->kv_heads : -1;
    const int64_t fresh[] = {d->batch, d->rows, hidden}, old[] = {d->batch, d->kv_heads, -1, d->size};
    TN_TRY(want_shape(err, in[KEY], 3, fresh, "key"));
    TN_TRY(want_shape(err, in[VALUE], 3, fresh, "value"));
    TN_TRY(want_shape(err, in[PAST_K], 4, old, "past_key"));
    const int64_t like_k[] = {d->batch, d->kv_heads, in[PAST_K] ? in[PAST_K]->dims[2] : -1, d->size};
    TN_TRY(want_shape(err, in[PAST_V], 4, like_k, "past_value"));
    d->past = in[PAST_K] ? in[PAST_K]->dims[2] : 0;
    const int64_t per_sample[] = {d->batch}, per_head[] = {d->q_heads}, per_element[] = {d->size},
                  bias[] = {-1, -1, d->rows, -1};
    if (in[LENGTHS] && in[LENGTHS]->rank == 2) { /* (batch, 1) is common too */
        const int64_t column[] = {d->batch, 1};
        TN_TRY(want_shape(err, in[LENGTHS], 2, column, "seqlens_k"));
    } else {
        TN_TRY(want_shape(err, in[LENGTHS], 1, per_sample, "seqlens_k"));
    }
    TN_TRY(want_shape(err, in[SINK], 1, per_head, "head_sink"));
    TN_TRY(want_shape(err, in[Q_NORM], 1, per_element, "q_norm_weight"));
    TN_TRY(want_shape(err, in[K_NORM], 1, per_element, "k_norm_weight"));
    TN_TRY(want_shape(err, in[BIAS], 4, bias, "attention_bias"));
    for (int i = 0; in[BIAS] && i < 2; i++) {
        int64_t have = in[BIAS]->dims[i], want = i ? d->q_heads : d->batch;
        if (tn_dim_known(have) && tn_dim_known(want) && have != 1 && have != want)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "attention_bias has %lld in dim %d, not 1 or %lld",
                           (long long)have, i, (long long)want);
    }
    const int64_t angles[] = {-1, -1}, ids[] = {d->batch, d->rows};
    TN_TRY(want_shape(err, in[COS], 2, angles, "cos_cache"));
    if (in[COS]) TN_TRY(want_shape(err, in[SIN], 2, in[COS]->dims, "sin_cache"));
    if (in[COS] && tn_dim_known(in[COS]->dims[1]) && tn_dim_known(d->size) && in[COS]->dims[1] > d->size / 2)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "cos_cache has %lld angles for heads of %lld elements",
                       (long long)in[COS]->dims[1], (long long)d->size);
    return want_shape(err, in[POSITIONS], 2, ids, "position_ids");
}

static tern_status infer_gqa(tn_infer *c) {
    TN_TRY(check_types(c));
    TN_TRY(check_attrs(c));
    tn_shape shapes[INPUTS];
    const tn_shape *in[INPUTS] = {NULL};
    for (int i = 0; i < INPUTS; i++)
        if (tn_args_shape(c, i, &shapes[i])) in[i] = &shapes[i];
    for (int o = 0; o < c->node->n_out; o++) tn_infer_out(c, o, c->in[QUERY]->dtype, NULL);
    if (!in[QUERY]) return TERN_OK;
    gqa_dims d;
    TN_TRY(dims_of(c->node, in, &d, c->err));
    tn_shape y = {.rank = 3, .dims = {d.batch, d.rows, TN_DIM_UNKNOWN}};
    if (tn_dim_known(d.size)) y.dims[2] = d.size * d.q_heads;
    TN_TRY(tn_args_out_shape(c, Y, c->in[QUERY]->dtype, &y));
    int64_t total;
    int count = 0;
    tn_shape k = {.rank = 4, .dims = {d.batch, d.kv_heads, TN_DIM_UNKNOWN, d.size}};
    tn_shape scores = {.rank = 4, .dims = {d.batch, d.q_heads, d.rows, TN_DIM_UNKNOWN}};
    bool past_known = !tn_args_has(c, PAST_K) || (in[PAST_K] && tn_dim_known(d.past));
    if (tn_infer_ints(c, TOTAL, &total, 1, &count) && count == 1 && tn_dim_known(total)) {
        if (total < 1)
            return tn_infer_fail(c, TERN_INVALID_ARGUMENT, "total_sequence_length is %lld", (long long)total);
        if (past_known) k.dims[2] = TN_MAX(total, d.past);
        scores.dims[3] = total;
    }
    TN_TRY(tn_args_out_shape(c, SCORES, c->in[QUERY]->dtype, &scores));
    for (int o = PRESENT_K; o <= PRESENT_V; o++) TN_TRY(tn_args_out_shape(c, o, c->in[QUERY]->dtype, &k));
    return TERN_OK;
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

typedef struct gqa {
    tn_run *c;
    gqa_dims d;
    int64_t total, most; /* rows of the longest sample, rows of the cache that goes out */
    bool first;          /* the prompt: nothing is in the cache yet */
    tern_tensor *k, *v;  /* (batch, kv_heads, most, size) */
    float *q;            /* (rows, q_heads, size) of a sample, rotated */
    float *y;            /* likewise */
    float *wide[2];      /* keys and values in float32 where the cache is not: (kv_heads, most, size) */
    float *row;          /* heads of one position; then cos and sin, or weights */
    float *sink;         /* q_heads; NULL: none */
} gqa;

static int64_t past_of(const gqa *g, int64_t sample) {
    const int32_t *lengths = g->c->in[LENGTHS]->data;
    return g->first ? 0 : (int64_t)lengths[sample] + 1 - g->d.rows;
}

static tern_status check_lengths(const gqa *g) {
    const int32_t *lengths = g->c->in[LENGTHS]->data;
    for (int64_t b = 0; b < g->d.batch; b++) {
        int64_t n = (int64_t)lengths[b] + 1, past = past_of(g, b);
        if (n >= 1 && n <= g->most && past >= 0 && past + g->d.rows <= g->most && (past <= g->d.past)) continue;
        return tn_run_fail(g->c, TERN_INVALID_ARGUMENT,
                           "seqlens_k %lld of sample %lld does not fit %lld new rows, %lld past ones and a cache of "
                           "%lld",
                           (long long)lengths[b], (long long)b, (long long)g->d.rows, (long long)g->d.past,
                           (long long)g->most);
    }
    return TERN_OK;
}

static int64_t position_of(const gqa *g, int64_t sample, int64_t row) {
    const tern_tensor *t = tn_args_in(g->c, POSITIONS);
    if (!t) return past_of(g, sample) + row;
    const int64_t *p = t->data;
    return g->first ? (int64_t)((uint64_t)p[0] + (uint64_t)row) : p[sample * g->d.rows + row];
}

static tern_status check_positions(const gqa *g) {
    const tern_tensor *cos = tn_args_in(g->c, COS);
    if (!tn_attr_i(g->c->node, "do_rotary", 0)) return TERN_OK;
    for (int64_t i = 0; i < g->d.batch * g->d.rows; i++) {
        int64_t p = position_of(g, i / g->d.rows, i % g->d.rows);
        if (p < 0 || p >= cos->shape.dims[0])
            return tn_run_fail(g->c, TERN_INVALID_ARGUMENT, "position %lld is outside [0, %lld) of the caches",
                               (long long)p, (long long)cos->shape.dims[0]);
    }
    return TERN_OK;
}

/* Divides each head in g->row by its root mean square and multiplies it by the weights. */
static void normalise_heads(const gqa *g, const tern_tensor *weights, int64_t heads) {
    float *weight = g->row + g->d.q_heads * g->d.size;
    double epsilon = (double)tn_attr_f(g->c->node, "qk_norm_epsilon", 1e-6f);
    tn_row_load_f32(weights->dtype, weights->data, 0, g->d.size, weight);
    for (int64_t h = 0; h < heads; h++) {
        float *v = g->row + h * g->d.size;
        double sum = 0;
        for (int64_t i = 0; i < g->d.size; i++) sum += (double)v[i] * (double)v[i];
        float factor = (float)(1 / sqrt(sum / (double)g->d.size + epsilon));
        for (int64_t i = 0; i < g->d.size; i++) v[i] *= factor * weight[i];
    }
}

/* Heads of one new position in g->row, normalised and rotated if they are to be. `at`: where they are in input `i`;
 * norm: their weights' input. */
static void load_heads(const gqa *g, int i, int64_t at, int64_t heads, int64_t position, int norm) {
    const tern_tensor *t = g->c->in[i], *weights = norm ? tn_args_in(g->c, norm) : NULL, *cos, *sin;
    tn_row_load_f32(t->dtype, t->data, at, heads * g->d.size, g->row);
    if (weights) normalise_heads(g, weights, heads);
    if (!norm || !tn_attr_i(g->c->node, "do_rotary", 0)) return;
    cos = tn_args_in(g->c, COS), sin = tn_args_in(g->c, SIN);
    int64_t half = cos->shape.dims[1];
    float *angles = g->row + g->d.q_heads * g->d.size;
    tn_row_load_f32(cos->dtype, cos->data, position * half, half, angles);
    tn_row_load_f32(sin->dtype, sin->data, position * half, half, angles + half);
    bool interleaved = tn_attr_i(g->c->node, "rotary_interleaved", 0) != 0;
    for (int64_t h = 0; h < heads; h++)
        tn_ops_rotate_head(half, interleaved, angles, angles + half, g->row + h * g->d.size);
}

/* The new rows of a sample: queries to g->q, keys and values to the cache. */
static void take_rows(const gqa *g, int64_t sample) {
    const gqa_dims *d = &g->d;
    int64_t q_width = d->q_heads * d->size, kv_width = d->kv_heads * d->size, past = past_of(g, sample);
    int64_t width = d->packed ? q_width + 2 * kv_width : q_width;
    bool rotate = tn_attr_i(g->c->node, "do_rotary", 0) != 0;
    for (int64_t r = 0; r < d->rows; r++) {
        int64_t i = sample * d->rows + r, position = rotate ? position_of(g, sample, r) : 0;
        load_heads(g, QUERY, i * width, d->q_heads, position, Q_NORM);
        memcpy(g->q + r * q_width, g->row, (size_t)q_width * sizeof *g->q);
        for (int kv = 0; kv < 2; kv++) {
            tern_tensor *cache = kv ? g->v : g->k;
            int64_t at = d->packed ? i * width + q_width + kv * kv_width : i * kv_width;
            load_heads(g, d->packed ? QUERY : KEY + kv, at, d->kv_heads, position, kv ? 0 : K_NORM);
            for (int64_t h = 0; h < d->kv_heads; h++)
                tn_row_store_f32(cache->dtype, cache->data, ((sample * d->kv_heads + h) * g->most + past + r) * d->size,
                                 d->size, g->row + h * d->size);
        }
    }
}

/* Keys or values of a sample as float32. */
static tn_attention_view cache_view(const gqa *g, int kv, int64_t sample, int64_t rows) {
    const tern_tensor *t = kv ? g->v : g->k;
    const gqa_dims *d = &g->d;
    int64_t at = sample * d->kv_heads * g->most * d->size, head = g->most * d->size;
    if (t->dtype == TERN_FLOAT) return (tn_attention_view){(const float *)t->data + at, 0, head, d->size};
    for (int64_t h = 0; h < d->kv_heads; h++)
        tn_row_load_f32(t->dtype, t->data, at + h * head, rows * d->size, g->wide[kv] + h * head);
    return (tn_attention_view){g->wide[kv], 0, head, d->size};
}

static void set_bias(const gqa *g, int64_t sample, tn_attention *a, tern_tensor *mask) {
    const tern_tensor *bias = tn_args_in(g->c, BIAS);
    if (!bias) return;
    const int64_t *s = bias->shape.dims;
    int64_t plane = s[2] * s[3];
    *mask = *bias; /* of this sample alone */
    mask->data = (char *)bias->data + (size_t)(s[0] == 1 ? 0 : sample * s[1] * plane) * tern_dtype_size(bias->dtype);
    a->mask = mask;
    a->mask_step[1] = s[1] == 1 ? 0 : plane;
    a->mask_step[2] = s[3];
    a->mask_step[3] = 1;
    a->mask_keys = TN_MIN(s[3], a->kv_len);
}

/* A sample's scores or probabilities into its part of output_qk; 0 where there is no key, or one that is not seen. */
static void put_scores(const gqa *g, int64_t sample, const tern_tensor *scores) {
    tern_tensor *y = g->c->out[SCORES];
    int64_t rows = g->d.q_heads * g->d.rows, n = scores->shape.dims[3];
    float *row = scores->data;
    size_t unit = tern_dtype_size(y->dtype);
    memset((char *)y->data + (size_t)(sample * rows * g->total) * unit, 0, (size_t)(rows * g->total) * unit);
    for (int64_t r = 0; r < rows; r++, row += n) {
        for (int64_t i = 0; i < n; i++) row[i] = row[i] == -INFINITY ? 0 : row[i];
        tn_row_store_f32(y->dtype, y->data, (sample * rows + r) * g->total, TN_MIN(n, g->total), row);
    }
}

static tern_status attend(const gqa *g, int64_t sample) {
    const gqa_dims *d = &g->d;
    const tn_node *n = g->c->node;
    int64_t length = (int64_t)((const int32_t *)g->c->in[LENGTHS]->data)[sample] + 1;
    int64_t width = d->q_heads * d->size, window = tn_attr_i(n, "local_window_size", -1);
    float scale = tn_attr_f(n, "scale", 0);
    tern_tensor *y = g->c->out[Y], mask;
    int64_t at = sample * d->rows * width;
    float *to = y && y->dtype == TERN_FLOAT ? (float *)y->data + at : g->y;
    tn_attention a = {.batch = 1,
                      .q_heads = d->q_heads,
                      .kv_heads = d->kv_heads,
                      .q_len = d->rows,
                      .kv_len = length,
                      .size = d->size,
                      .v_size = d->size,
                      .q = {g->q, 0, d->size, width},
                      .k = cache_view(g, 0, sample, length),
                      .v = cache_view(g, 1, sample, length),
                      .y = {to, 0, d->size, width},
                      .scale = scale != 0 ? (double)scale : 1 / sqrt((double)d->size),
                      .cap = (double)tn_attr_f(n, "softcap", 0),
                      .causal = tn_attr_i(n, "causal", 1) != 0,
                      .left = window > 0 ? window - 1 : -1,
                      .right = -1,
                      .past = past_of(g, sample),
                      .zero_masked = true,
                      .sink = g->sink};
    set_bias(g, sample, &a, &mask);
    tern_tensor *scores = NULL;
    if (tn_args_out(g->c, SCORES)) {
        tn_shape s = {.rank = 4, .dims = {1, d->q_heads, d->rows, length}};
        TN_TRY(g->c->exec->alloc(g->c->exec, TERN_FLOAT, &s, &scores, g->c->err));
        a.scores_out = scores;
        a.scores_kind = tn_attr_i(n, "qk_output", 0) == PROBABILITIES ? TN_SCORES_PROBABILITIES : TN_SCORES_BIASED;
    }
    tern_status status = tn_ops_attention_alloc(&a, g->c->tier, g->c->threads, g->c->err);
    if (status == TERN_OK && scores) put_scores(g, sample, scores);
    tn_run_drop(g->c, scores);
    TN_TRY(status);
    if (y && to == g->y) tn_row_store_f32(y->dtype, y->data, at, d->rows * width, g->y);
    return TERN_OK;
}

/* The rows that a sample has filled, then zeros up to those that go out. */
static void carry_cache(const gqa *g, const tern_tensor *past, tern_tensor *present) {
    size_t unit = tern_dtype_size(present->dtype) * (size_t)g->d.size;
    size_t step = (size_t)g->d.past * unit, all = (size_t)g->most * unit;
    for (int64_t i = 0; i < g->d.batch * g->d.kv_heads; i++) {
        char *to = (char *)present->data + (size_t)i * all;
        size_t filled = past ? (size_t)past_of(g, i / g->d.kv_heads) * unit : 0;
        if (filled) memcpy(to, (const char *)past->data + (size_t)i * step, filled);
        memset(to + filled, 0, all - filled);
    }
}

static bool alloc_scratch(gqa *g) {
    const gqa_dims *d = &g->d;
    size_t width = (size_t)(d->q_heads * d->size), n = (size_t)d->rows * width + 1;
    size_t cache = (size_t)(d->kv_heads * g->most * d->size) + 1;
    bool narrow = g->c->in[QUERY]->dtype != TERN_FLOAT;
    g->q = tn_alloc_array(n, sizeof(float));
    g->row = tn_alloc_array(width + (size_t)d->size + 2, sizeof(float));
    bool ok = g->q && g->row;
    if (narrow || !g->c->out[Y]) ok = ok && (g->y = tn_alloc_array(n, sizeof(float)));
    if (narrow) {
        for (int i = 0; i < 2; i++) ok = ok && (g->wide[i] = tn_alloc_array(cache, sizeof(float)));
    }
    const tern_tensor *sink = tn_args_in(g->c, SINK);
    if (!sink && !tn_attr_i(g->c->node, "smooth_softmax", 0)) return ok;
    ok = ok && (g->sink = tn_calloc((size_t)d->q_heads, sizeof(float)));
    if (ok && sink) tn_row_load_f32(sink->dtype, sink->data, 0, d->q_heads, g->sink);
    return ok;
}

/* The cache that goes out, or one of our own where nobody wants it. */
static tern_status cache_of(const gqa *g, int o, tern_tensor **own, tern_tensor **use) {
    *use = tn_args_out(g->c, o);
    if (!*use) {
        tn_shape s = {.rank = 4, .dims = {g->d.batch, g->d.kv_heads, g->most, g->d.size}};
        TN_TRY(g->c->exec->alloc(g->c->exec, g->c->in[QUERY]->dtype, &s, own, g->c->err));
        *use = *own;
    }
    carry_cache(g, tn_args_in(g->c, o - PRESENT_K + PAST_K), *use);
    return TERN_OK;
}

static tern_status run_gqa(tn_run *c) {
    const tn_shape *in[INPUTS] = {NULL};
    gqa g = {.c = c};
    for (int i = 0; i < INPUTS; i++) in[i] = tn_args_in(c, i) ? &c->in[i]->shape : NULL;
    TN_TRY(dims_of(c->node, in, &g.d, c->err));
    if (tn_shape_count(&c->in[TOTAL]->shape) != 1)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "total_sequence_length is not one number");
    g.total = *(const int32_t *)c->in[TOTAL]->data;
    if (g.total < 1) return tn_run_fail(c, TERN_INVALID_ARGUMENT, "total_sequence_length is %lld", (long long)g.total);
    g.most = TN_MAX(g.total, g.d.past);
    g.first = g.d.rows == g.total;
    TN_TRY(check_lengths(&g));
    TN_TRY(check_positions(&g));
    tern_tensor *own[2] = {NULL, NULL};
    tern_status s = cache_of(&g, PRESENT_K, &own[0], &g.k);
    if (s == TERN_OK) s = cache_of(&g, PRESENT_V, &own[1], &g.v);
    if (s == TERN_OK && !alloc_scratch(&g)) s = tn_fail_oom(c->err, (size_t)(g.d.rows * g.d.size) * sizeof(float));
    for (int64_t b = 0; s == TERN_OK && b < g.d.batch; b++) {
        take_rows(&g, b);
        if (c->out[Y] || tn_args_out(c, SCORES)) s = attend(&g, b);
    }
    float *scratch[] = {g.q, g.row, g.y, g.wide[0], g.wide[1], g.sink};
    for (size_t i = 0; i < TN_COUNT(scratch); i++) tn_free(scratch[i]);
    for (int i = 0; i < 2; i++) tn_run_drop(c, own[i]);
    return s;
}

const tn_op tn_op_group_query_attention = TN_ARGS_OP(infer_gqa, run_gqa, 1, 16, 1, 4, 0);
