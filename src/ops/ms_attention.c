/* Attention, QAttention and MultiHeadAttention of com.microsoft: their projections, packings and masks around the
 * operator that does the work. Source: ContribOperators.md of ONNX Runtime. */
#include <float.h>

#include "ops/args.h"
#include "ops/ms_internal.h"
#include "ops/rowio.h"

/* ---- expansion ------------------------------------------------------------------------------------------------- */

typedef struct heads {
    tn_value *q, *k, *v;       /* (batch, length, heads * size); k and v may be (batch, heads, length, size) */
    tn_value *mask, *bias;     /* 0 and 1 or lengths; what is added to the scores */
    tn_value *past_k, *past_v; /* (batch, heads, past, size) */
    tn_value *filled;          /* rows of the past that count, where it is a buffer; NULL: all */
    bool repeats;              /* a mask of one column means nothing */
    tn_value *y, *present_k, *present_v, *scores; /* out */
} heads;

/* Parts of v along an axis; sizes NULL: equal ones. */
static void split(tn_expand *x, tn_value *v, int64_t axis, tn_value *sizes, int n, tn_value **out) {
    tn_expand_node(x, "", "Split", TN_EXPAND_OPSET, TN_EXPAND_IN(v, sizes), n);
    for (int i = 0; i < n; i++) out[i] = tn_expand_result(x, i);
    tn_expand_i(x, "axis", axis);
    if (!sizes) tn_expand_i(x, "num_outputs", n);
}

static tn_value *concat(tn_expand *x, int64_t axis, tn_value *a, tn_value *b) {
    tn_value *y = tn_expand_op(x, "Concat", TN_EXPAND_IN(a, b));
    tn_expand_i(x, "axis", axis);
    return y;
}

/* Dim `axis` of v, as a list. */
static tn_value *dim_of(tn_expand *x, tn_value *v, int64_t axis) {
    tn_value *size = tn_expand_op(x, "Shape", TN_EXPAND_IN(v));
    tn_expand_i(x, "start", axis);
    tn_expand_i(x, "end", axis + 1);
    return size;
}

/* Rows of (batch, heads, rows, size): the first `count`, and those behind. Split refuses counts that do not fit. */
static void cut_rows(tn_expand *x, tn_value *v, tn_value *count, tn_value **out) {
    tn_value *rest = tn_expand_op(x, "Sub", TN_EXPAND_IN(dim_of(x, v, 2), count));
    split(x, v, 2, concat(x, 0, count, rest), 2, out);
}

/* The buffer as it goes out: old and new rows, then what lay behind them. */
static tn_value *refill(tn_expand *x, const heads *h, tn_value *present, tn_value *behind) {
    tn_value *rest[2];
    cut_rows(x, behind, tn_expand_op(x, "Sub", TN_EXPAND_IN(dim_of(x, present, 2), h->filled)), rest);
    return concat(x, 2, present, rest[1]);
}

static void attend(tn_expand *x, heads *h) {
    tn_value *k[2] = {h->past_k}, *v[2] = {h->past_v};
    if (h->filled) {
        tn_value *one = tn_expand_op(x, "Reshape", TN_EXPAND_IN(h->filled, tn_expand_const_ints(x, TN_EXPAND_INTS(1))));
        h->filled = tn_expand_op(x, "Cast", TN_EXPAND_IN(one));
        tn_expand_i(x, "to", TERN_INT64);
        cut_rows(x, h->past_k, h->filled, k);
        cut_rows(x, h->past_v, h->filled, v);
        h->past_k = k[0], h->past_v = v[0];
    }
    int64_t n = tn_attr_i(x->node, "num_heads", 0);
    if (n < 1) tn_expand_fail(x, TERN_INVALID_MODEL, "num_heads is %lld; it must be positive", (long long)n);
    tn_value *bias = h->bias;
    if (h->mask) {
        tn_value *mask = tn_expand_node(x, "tern", "AttentionMask", 1, TN_EXPAND_IN(h->mask, h->q, h->k, h->past_k), 1);
        tn_expand_copy(x, "mask_filter_value");
        if (h->repeats) tn_expand_i(x, "broadcast", 1);
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
    if (tn_attr_i(x->node, "unidirectional", 0) && tn_expand_wants(x, 3)) /* what ONNX Runtime has for later keys */
        h->scores = tn_expand_op(x, "Max", TN_EXPAND_IN(h->scores, tn_expand_const_like(x, -FLT_MAX, h->scores)));
    if (!h->filled) return;
    h->present_k = refill(x, h, h->present_k, k[1]);
    h->present_v = refill(x, h, h->present_v, v[1]);
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
    return tn_expand_out(x, 1, concat(x, 0, k, v));
}

static tern_status refuse(tn_expand *x, const char *attr) {
    if (!tn_attr_i(x->node, attr, 0)) return x->status;
    return tn_expand_fail(x, TERN_UNSUPPORTED, "%s is not supported; export the model without it", attr);
}

/* past_present_share_buffer: the past is longer than what counts of it. */
static tern_status shared_buffer(tn_expand *x, int past, int length, heads *h) {
    if (!tn_attr_i(x->node, "past_present_share_buffer", 0) || !tn_expand_in(x, past)) return x->status;
    h->filled = tn_expand_in(x, length);
    return tn_expand_need(x, length, "past_sequence_length");
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
    tn_value *qkv = tn_expand_op(x, "MatMul", TN_EXPAND_IN(tn_expand_in(x, INPUT), tn_expand_in(x, WEIGHTS)));
    if (tn_expand_in(x, BIAS)) qkv = tn_expand_op(x, "Add", TN_EXPAND_IN(qkv, tn_expand_in(x, BIAS)));
    heads h = {.mask = tn_expand_in(x, MASK), .bias = tn_expand_in(x, ATTENTION_BIAS), .repeats = true};
    TN_TRY(shared_buffer(x, PAST, PAST_LENGTH, &h));
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
    heads h = {.mask = tn_expand_in(x, MASK), .repeats = true};
    TN_TRY(split_projection(x, qkv, &h));
    split_past(x, tn_expand_in(x, PAST), &h);
    attend(x, &h);
    return joined_outputs(x, &h);
}

/* (batch, length, heads, n, size) to n tensors of (batch, length, heads * size). */
static void unpack(tn_expand *x, tn_value *packed, int n, tn_value **out) {
    tn_value *rows = tn_expand_const_ints(x, TN_EXPAND_INTS(0, 0, -1));
    split(x, packed, 3, tn_expand_const_ints(x, (const int64_t[]){1, 1, 1}, n), n, out);
    for (int i = 0; i < n; i++) out[i] = tn_expand_op(x, "Reshape", TN_EXPAND_IN(out[i], rows));
}

/* True if v is known to be (batch, heads, length, size): its type says so, or that of what is transposed to it. */
static bool has_heads(const tn_value *v) {
    size_t n = 0;
    if (v->type.ranked) return v->type.shape.rank == 4;
    const tn_node *from = v->producer;
    return from && strcmp(from->op_type, "Transpose") == 0 && tn_attr_ints(from, "perm", &n) && n == 4;
}

/* The bias of keys and values that come with heads was added to them where they were made. */
static void add_query_bias(tn_expand *x, tn_value *bias, tn_value **q) {
    tn_value *part[2], *count = dim_of(x, *q, 2);
    tn_value *rest = tn_expand_op(x, "Sub", TN_EXPAND_IN(dim_of(x, bias, 0), count));
    split(x, bias, 0, concat(x, 0, count, rest), 2, part);
    *q = tn_expand_op(x, "Add", TN_EXPAND_IN(*q, part[0]));
}

/* Adds the parts of a bias that belong to queries, keys and values. */
static void add_bias(tn_expand *x, tn_value *bias, tn_value **qkv) {
    tn_value *size[3], *part[3];
    for (int i = 0; i < 3; i++) size[i] = dim_of(x, qkv[i], 2);
    tn_value *sizes = tn_expand_op(x, "Concat", 3, size);
    tn_expand_i(x, "axis", 0);
    split(x, bias, 0, sizes, 3, part);
    for (int i = 0; i < 3; i++) qkv[i] = tn_expand_op(x, "Add", TN_EXPAND_IN(qkv[i], part[i]));
}

/* Which input is what. */
typedef struct multi_head_inputs {
    int bias, mask, attention_bias, past_k, past_v, past_length, indirection;
} multi_head_inputs;

static tern_status expand_multi_head(tn_expand *x, const multi_head_inputs *i, bool shared) {
    enum { QUERY, KEY, VALUE };
    tn_value *qkv[3] = {tn_expand_in(x, QUERY), tn_expand_in(x, KEY), tn_expand_in(x, VALUE)};
    tn_value *bias = tn_expand_in(x, i->bias);
    if (tn_expand_in(x, i->indirection))
        return tn_expand_fail(x, TERN_UNSUPPORTED, "input %d, cache_indirection, is not supported", i->indirection);
    TN_TRY(tn_expand_need(x, QUERY, "query"));
    if (qkv[2] && !qkv[1]) return tn_expand_fail(x, TERN_INVALID_MODEL, "input %d, value, is given without key", VALUE);
    heads h = {.mask = tn_expand_in(x, i->mask),
               .bias = tn_expand_in(x, i->attention_bias),
               .past_k = tn_expand_in(x, i->past_k),
               .past_v = tn_expand_in(x, i->past_v)};
    if (!h.past_k != !h.past_v)
        return tn_expand_fail(x, TERN_INVALID_MODEL, "only one of past_key and past_value is given");
    if (shared && h.past_k) {
        TN_TRY(tn_expand_need(x, i->past_length, "past_sequence_length"));
        h.filled = tn_expand_in(x, i->past_length);
    }
    bool own_heads = qkv[1] && qkv[2] && has_heads(qkv[1]);
    if (!qkv[1])
        unpack(x, qkv[0], 3, qkv);
    else if (!qkv[2])
        unpack(x, qkv[1], 2, qkv + 1);
    if (bias && own_heads)
        add_query_bias(x, bias, qkv);
    else if (bias)
        add_bias(x, bias, qkv);
    h.q = qkv[0], h.k = qkv[1], h.v = qkv[2];
    attend(x, &h);
    tn_expand_out(x, 0, h.y);
    tn_expand_out(x, 1, h.present_k);
    tn_expand_out(x, 2, h.present_v);
    return tn_expand_out(x, 3, h.scores);
}

static tern_status expand_multi_head_attention(tn_expand *x) {
    static const multi_head_inputs in = {3, 4, 5, 6, 7, 8, 9};
    return expand_multi_head(x, &in, tn_expand_in(x, in.past_length) != NULL);
}

/* The same for one new position, with its inputs in another order. */
static tern_status expand_decoder_attention(tn_expand *x) {
    static const multi_head_inputs in = {10, 3, 4, 5, 6, 7, 9};
    return expand_multi_head(x, &in, tn_attr_i(x->node, "past_present_share_buffer", 0) != 0);
}

const tn_op tn_op_ms_attention = TN_EXPAND_OP(expand_attention, 2, 7, 1, 2);
const tn_op tn_op_ms_qattention = TN_EXPAND_OP(expand_qattention, 5, 9, 1, 2);
const tn_op tn_op_ms_decoder_attention = TN_EXPAND_OP(expand_decoder_attention, 1, 11, 1, 4);
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

/* One column for all keys (Attention only): ONNX Runtime takes it and does without. */
static bool repeats(const tn_node *n, const tn_shape *m, const mask_dims *d) {
    if (!tn_attr_i(n, "broadcast", 0) || m->rank != 2 || m->dims[1] != 1) return false;
    return m->dims[0] == d->batch ? d->keys != 1 : m->dims[0] == 1;
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
    if (!mask_fits(in[MASK], &d) && !repeats(c->node, in[MASK], &d))
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
    bool all = repeats(c->node, in[MASK], &d);
    for (int64_t i = 0; i < d.batch * rows; i++) {
        for (int64_t k = 0; k < d.keys; k++)
            row[k] = all || counts(c->in[MASK], &d, i / rows, i % rows, k) ? 0 : filter;
        tn_row_store_f32(y->dtype, y->data, i * d.keys, d.keys, row);
    }
    tn_free(row);
    return TERN_OK;
}

const tn_op tn_op_attention_mask = TN_ARGS_OP(infer_mask, run_mask, 3, 4, 1, 1, 0);
