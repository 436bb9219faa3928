/* Attention, QAttention and MultiHeadAttention of com.microsoft: their projections, packings and masks around the
 * operator that does the work. Source: ContribOperators.md of ONNX Runtime. */
#include "ops/args.h"
#include "ops/ms_internal.h"
#include "ops/rowio.h"

/* ---- expansion ------------------------------------------------------------------------------------------------- */

typedef struct heads {
    tn_value *q, *k, *v;       /* (batch, length, heads * size); k and v may be (batch, heads, length, size) */
    tn_value *mask, *bias;     /* 0 and 1 or lengths; what is added to the scores */
    tn_value *past_k, *past_v; /* (batch, heads, past, size) */
    tn_value *y, *present_k, *present_v, *scores; /* out */
} heads;

static void attend(tn_expand *x, heads *h) {
    int64_t n = tn_attr_i(x->node, "num_heads", 0);
    if (n < 1) tn_expand_fail(x, TERN_INVALID_MODEL, "num_heads is %lld; it must be positive", (long long)n);
    tn_value *bias = h->bias;
    if (h->mask) {
        tn_value *mask = tn_expand_node(x, "tern", "AttentionMask", 1, TN_EXPAND_IN(h->mask, h->q, h->k, h->past_k), 1);
        tn_expand_copy(x, "mask_filter_value");
        bias = bias ? tn_expand_op(x, "Add", TN_EXPAND_IN(mask, bias)) : mask;
    }
    h->y = tn_expand_node(x, "tern", "Attention", 1, TN_EXPAND_IN(h->q, h->k, h->v, bias, h->past_k, h->past_v), 4);
    h->present_k = tn_expand_result(x, 1);
    h->present_v = tn_expand_result(x, 2);
    h->scores = tn_expand_result(x, 3);
    tn_expand_i(x, "q_num_heads", n);
    tn_expand_i(x, "kv_num_heads", n);
    tn_expand_i(x, "is_causal", tn_attr_i(x->node, "unidirectional", 0) != 0);
    tn_expand_i(x, "qk_matmul_output_mode", 2);
    if (tn_attr_f(x->node, "scale", 0) != 0) tn_expand_copy(x, "scale");
}

/* Parts of v along an axis; sizes NULL: equal ones. */
static void split(tn_expand *x, tn_value *v, int64_t axis, tn_value *sizes, int n, tn_value **out) {
    tn_expand_node(x, "", "Split", TN_EXPAND_OPSET, TN_EXPAND_IN(v, sizes), n);
    for (int i = 0; i < n; i++) out[i] = tn_expand_result(x, i);
    tn_expand_i(x, "axis", axis);
    if (!sizes) tn_expand_i(x, "num_outputs", n);
}

/* past and present of both operators: (2, batch, heads, length, size). */
static void split_past(tn_expand *x, tn_value *past, heads *h) {
    tn_value *both[2], *axis = tn_expand_const_ints(x, TN_EXPAND_INTS(0));
    if (!past) return;
    split(x, past, 0, NULL, 2, both);
    h->past_k = tn_expand_op(x, "Squeeze", TN_EXPAND_IN(both[0], axis));
    h->past_v = tn_expand_op(x, "Squeeze", TN_EXPAND_IN(both[1], axis));
}

static tern_status joined_outputs(tn_expand *x, heads *h) {
    tn_expand_out(x, 0, h->y);
    if (!tn_expand_wants(x, 1)) return x->status;
    tn_value *axis = tn_expand_const_ints(x, TN_EXPAND_INTS(0));
    tn_value *k = tn_expand_op(x, "Unsqueeze", TN_EXPAND_IN(h->present_k, axis));
    tn_value *v = tn_expand_op(x, "Unsqueeze", TN_EXPAND_IN(h->present_v, axis));
    tn_value *both = tn_expand_op(x, "Concat", TN_EXPAND_IN(k, v));
    tn_expand_i(x, "axis", 0);
    return tn_expand_out(x, 1, both);
}

static tern_status refuse(tn_expand *x, const char *attr) {
    if (!tn_attr_i(x->node, attr, 0)) return x->status;
    return tn_expand_fail(x, TERN_UNSUPPORTED, "%s is not supported; export the model without it", attr);
}

/* Cuts the projected input into queries, keys and values. */
static tern_status split_projection(tn_expand *x, tn_value *qkv, heads *h) {
    size_t n = 0;
    tn_value *part[3], *sizes = NULL;
    const int64_t *given = tn_attr_ints(x->node, "qkv_hidden_sizes", &n);
    if (given && n != 3) return tn_expand_fail(x, TERN_INVALID_MODEL, "qkv_hidden_sizes has %zu elements, not 3", n);
    if (given) sizes = tn_expand_const_ints(x, given, 3);
    split(x, qkv, -1, sizes, 3, part);
    h->q = part[0], h->k = part[1], h->v = part[2];
    return x->status;
}

static tern_status expand_attention(tn_expand *x) {
    enum { INPUT, WEIGHTS, BIAS, MASK, PAST, ATTENTION_BIAS, PAST_LENGTH };
    TN_TRY(refuse(x, "do_rotary"));
    TN_TRY(refuse(x, "past_present_share_buffer"));
    if (tn_expand_in(x, PAST_LENGTH))
        return tn_expand_fail(x, TERN_UNSUPPORTED, "input %d, past_sequence_length, is not supported", PAST_LENGTH);
    tn_value *qkv = tn_expand_op(x, "MatMul", TN_EXPAND_IN(tn_expand_in(x, INPUT), tn_expand_in(x, WEIGHTS)));
    if (tn_expand_in(x, BIAS)) qkv = tn_expand_op(x, "Add", TN_EXPAND_IN(qkv, tn_expand_in(x, BIAS)));
    heads h = {.mask = tn_expand_in(x, MASK), .bias = tn_expand_in(x, ATTENTION_BIAS)};
    TN_TRY(split_projection(x, qkv, &h));
    split_past(x, tn_expand_in(x, PAST), &h);
    attend(x, &h);
    return joined_outputs(x, &h);
}

static tern_status expand_qattention(tn_expand *x) {
    enum { INPUT, WEIGHT, BIAS, INPUT_SCALE, WEIGHT_SCALE, MASK, INPUT_ZERO, WEIGHT_ZERO, PAST };
    TN_TRY(refuse(x, "do_rotary"));
    TN_TRY(refuse(x, "past_present_share_buffer"));
    ms_product p = {.a = tn_expand_in(x, INPUT),
                    .b = tn_expand_in(x, WEIGHT),
                    .a_scale = tn_expand_in(x, INPUT_SCALE),
                    .b_scale = tn_expand_in(x, WEIGHT_SCALE),
                    .a_zero = tn_expand_in(x, INPUT_ZERO),
                    .b_zero = tn_expand_in(x, WEIGHT_ZERO),
                    .bias = tn_expand_in(x, BIAS)};
    tn_value *qkv = tn_expand_op(x, "CastLike", TN_EXPAND_IN(tn_ms_integer_product(x, &p), p.a_scale));
    heads h = {.mask = tn_expand_in(x, MASK)};
    TN_TRY(split_projection(x, qkv, &h));
    split_past(x, tn_expand_in(x, PAST), &h);
    attend(x, &h);
    return joined_outputs(x, &h);
}

/* (batch, length, heads, n, size) to n tensors of (batch, length, heads * size). */
static void unpack(tn_expand *x, tn_value *packed, int n, tn_value **out) {
    tn_value *rows = tn_expand_const_ints(x, TN_EXPAND_INTS(0, 0, -1));
    split(x, packed, 3, NULL, n, out);
    for (int i = 0; i < n; i++) out[i] = tn_expand_op(x, "Reshape", TN_EXPAND_IN(out[i], rows));
}

/* Adds the parts of a bias that belong to queries, keys and values. */
static void add_bias(tn_expand *x, tn_value *bias, tn_value **qkv) {
    tn_value *size[3], *part[3];
    for (int i = 0; i < 3; i++) {
        size[i] = tn_expand_op(x, "Shape", TN_EXPAND_IN(qkv[i]));
        tn_expand_i(x, "start", 2);
    }
    tn_value *sizes = tn_expand_op(x, "Concat", 3, size);
    tn_expand_i(x, "axis", 0);
    split(x, bias, 0, sizes, 3, part);
    for (int i = 0; i < 3; i++) qkv[i] = tn_expand_op(x, "Add", TN_EXPAND_IN(qkv[i], part[i]));
}

static tern_status expand_multi_head_attention(tn_expand *x) {
    enum { QUERY, KEY, VALUE, BIAS, MASK, ATTENTION_BIAS, PAST_KEY, PAST_VALUE, PAST_LENGTH, INDIRECTION };
    if (tn_expand_in(x, PAST_LENGTH) || tn_expand_in(x, INDIRECTION))
        return tn_expand_fail(x, TERN_UNSUPPORTED, "past_sequence_length and cache_indirection are not supported");
    if (tn_expand_in(x, VALUE) && !tn_expand_in(x, KEY))
        return tn_expand_fail(x, TERN_INVALID_MODEL, "input %d, value, is given without key", VALUE);
    tn_value *qkv[3] = {tn_expand_in(x, QUERY), tn_expand_in(x, KEY), tn_expand_in(x, VALUE)};
    if (!qkv[1])
        unpack(x, qkv[0], 3, qkv);
    else if (!qkv[2])
        unpack(x, qkv[1], 2, qkv + 1);
    if (tn_expand_in(x, BIAS)) add_bias(x, tn_expand_in(x, BIAS), qkv);
    heads h = {.q = qkv[0],
               .k = qkv[1],
               .v = qkv[2],
               .mask = tn_expand_in(x, MASK),
               .bias = tn_expand_in(x, ATTENTION_BIAS),
               .past_k = tn_expand_in(x, PAST_KEY),
               .past_v = tn_expand_in(x, PAST_VALUE)};
    attend(x, &h);
    tn_expand_out(x, 0, h.y);
    tn_expand_out(x, 1, h.present_k);
    tn_expand_out(x, 2, h.present_v);
    return tn_expand_out(x, 3, h.scores);
}

const tn_op tn_op_ms_attention = TN_EXPAND_OP(expand_attention, 2, 7, 1, 2);
const tn_op tn_op_ms_qattention = TN_EXPAND_OP(expand_qattention, 5, 9, 1, 2);
const tn_op tn_op_ms_multi_head_attention = TN_EXPAND_OP(expand_multi_head_attention, 1, 10, 1, 4);

/* ---- tern's AttentionMask -------------------------------------------------------------------------------------- */

/* From a mask of int32 to what is added to the scores: (batch, 1, queries or 1, keys) in the type of the queries, 0
 * where a key counts and mask_filter_value where it does not. The mask is one of (batch, keys), (batch, queries, keys),
 * (batch, 1, most, most)   not 0 where a key counts (batch) numbers of keys (2 * batch) ends, then starts (3 * batch +
 * 2)                                                 numbers of keys, then what is not needed and the other inputs, of
 * which only the shapes count, are queries, keys and keys of the past. */

enum { MASK, QUERIES, KEYS, PAST_KEYS };

typedef struct mask_dims {
    int64_t batch, queries, keys, past;
} mask_dims;

/* False: not known. */
static bool mask_dims_of(const tn_shape *const *in, mask_dims *d) {
    const tn_shape *q = in[QUERIES], *k = in[KEYS], *p = in[PAST_KEYS];
    if (!q || !k || q->rank != 3 || (k->rank != 3 && k->rank != 4) || (p && p->rank != 4)) return false;
    *d = (mask_dims){q->dims[0], q->dims[1], k->dims[k->rank == 4 ? 2 : 1], p ? p->dims[2] : 0};
    if (!tn_dim_known(d->batch) || !tn_dim_known(d->queries) || !tn_dim_known(d->keys) || !tn_dim_known(d->past))
        return false;
    return tn_add_i64(d->keys, d->past, &d->keys);
}

static bool mask_fits(const tn_shape *m, const mask_dims *d) {
    const int64_t *s = m->dims;
    switch (m->rank) {
    case 1:
        return s[0] == d->batch || s[0] == 2 * d->batch || s[0] == 3 * d->batch + 2;
    case 2:
        return s[0] == d->batch && s[1] == d->keys;
    case 3:
        return s[0] == d->batch && s[1] == d->queries && s[2] == d->keys;
    case 4:
        return s[0] == d->batch && s[1] == 1 && s[2] == s[3] && s[3] >= d->keys && d->queries + d->past <= s[2];
    }
    return false;
}

static tern_status infer_mask(tn_infer *c) {
    TN_TRY(tn_args_need(c, MASK, TN_T(INT32)));
    tern_dtype dtype = c->in[QUERIES]->dtype;
    tn_shape shapes[4];
    const tn_shape *in[4] = {NULL};
    for (int i = 0; i < 4; i++) {
        if (tn_args_shape(c, i, &shapes[i])) in[i] = &shapes[i];
        if (in[i] || !tn_args_has(c, i)) continue;
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    mask_dims d;
    bool rows = in[MASK]->rank >= 3;
    if (!mask_dims_of(in, &d) || !tn_shape_known(in[MASK])) {
        tn_shape unknown = tn_args_unknown_dims(4);
        tn_infer_out(c, 0, dtype, &unknown);
        return TERN_OK;
    }
    char text[TN_SHAPE_TEXT];
    if (!mask_fits(in[MASK], &d))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the mask has shape %s for %lld samples, %lld queries, %lld keys",
                             tn_shape_text(in[MASK], text, sizeof text), (long long)d.batch, (long long)d.queries,
                             (long long)d.keys);
    tn_shape out = {.rank = 4, .dims = {d.batch, 1, rows ? d.queries : 1, d.keys}};
    return tn_args_out_shape(c, 0, dtype, &out);
}

static bool counts(const tern_tensor *mask, const mask_dims *d, int64_t sample, int64_t row, int64_t key) {
    const int32_t *m = mask->data;
    const int64_t *s = mask->shape.dims;
    switch (mask->shape.rank) {
    case 1:
        return key < m[sample] && (s[0] != 2 * d->batch || key >= m[d->batch + sample]);
    case 2:
        return m[sample * d->keys + key] != 0;
    case 3:
        return m[(sample * d->queries + row) * d->keys + key] != 0;
    default:
        return m[(sample * s[2] + d->past + row) * s[3] + key] != 0;
    }
}

static tern_status run_mask(tn_run *c) {
    const tn_shape *in[4] = {NULL};
    for (int i = 0; i < 4; i++)
        if (tn_args_in(c, i)) in[i] = &c->in[i]->shape;
    mask_dims d;
    tern_tensor *y = c->out[0];
    if (!mask_dims_of(in, &d) || !y) return tn_run_fail(c, TERN_SHAPE_MISMATCH, "queries or keys have a wrong rank");
    float *row = tn_alloc_array((size_t)d.keys + 1, sizeof *row), filter;
    if (!row) return tn_fail_oom(c->err, (size_t)d.keys * sizeof *row);
    filter = tn_attr_f(c->node, "mask_filter_value", -10000.0f);
    int64_t rows = y->shape.dims[2];
    for (int64_t i = 0; i < d.batch * rows; i++) {
        for (int64_t k = 0; k < d.keys; k++) row[k] = counts(c->in[MASK], &d, i / rows, i % rows, k) ? 0 : filter;
        tn_row_store_f32(y->dtype, y->data, i * d.keys, d.keys, row);
    }
    tn_free(row);
    return TERN_OK;
}

const tn_op tn_op_attention_mask = TN_ARGS_OP(infer_mask, run_mask, 3, 4, 1, 1, 0);
