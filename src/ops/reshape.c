/* Reshape, Flatten, Squeeze, Unsqueeze, Identity: the same elements under another shape. */
#include "ops/args.h"
#include "ops/copy.h"

static tern_status run_alias(tn_run *c) {
    tern_tensor *in = c->in[0];
    if (in->kind != TERN_KIND_TENSOR) return tn_run_share(c, 0, in);
    tern_tensor *out = tn_args_out(c, 0);
    if (!out || out->data == in->data) return TERN_OK;
    size_t have = tn_tensor_bytes(in), need = tn_tensor_bytes(out);
    if (have != need)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "%zu bytes can not become a tensor of %zu bytes", have, need);
    tn_copy_bytes(in->data, out->data, have, c->threads);
    return TERN_OK;
}

/* The few elements of a shape tensor stay the same under another shape of rank 0 or 1. */
static tern_status pass_partial(tn_infer *c) {
    int64_t v[TN_INTS_MAX];
    int n;
    if (!tn_args_is_index(c, 0) || !tn_infer_ints(c, 0, v, TN_INTS_MAX, &n)) return TERN_OK;
    const tn_type *t = &c->out[0];
    if (!t->ranked || t->shape.rank > 1 || (t->shape.rank == 1 ? t->shape.dims[0] : 1) != n) return TERN_OK;
    return tn_infer_set_partial(c, 0, v, n);
}

/* ---- Reshape ----------------------------------------------------------------------------------------------- */

typedef struct target {
    tn_shape in, out;
    bool ranked;                /* of the input */
    bool copied[TERN_MAX_RANK]; /* out.dims[i] is in.dims[i], whatever it is */
    int rest;                   /* index of the -1, or -1 */
} target;

static tern_status reshape_fail(tn_infer *c, const target *t) {
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "shape %s can not become %s", tn_shape_text(&t->in, a, sizeof a),
                         tn_shape_text(&t->out, b, sizeof b));
}

static tern_status read_target(tn_infer *c, target *t, const int64_t *v, int n, bool allow_zero) {
    bool zero = false;
    t->rest = -1;
    t->out = tn_args_unknown_dims(n);
    for (int i = 0; i < n; i++) {
        t->out.dims[i] = v[i];
        if (v[i] == 0) zero = true;
        if (!tn_dim_known(v[i]) || v[i] > 0 || (v[i] == 0 && allow_zero)) continue;
        if (v[i] == 0) {
            if (t->ranked && i >= t->in.rank)
                return tn_infer_fail(c, TERN_INVALID_MODEL, "shape[%d] is 0, but the input has rank %d", i, t->in.rank);
            t->out.dims[i] = t->ranked ? t->in.dims[i] : TN_DIM_UNKNOWN;
            t->copied[i] = true;
        } else if (v[i] == -1 && t->rest < 0) {
            t->out.dims[i] = TN_DIM_UNKNOWN;
            t->rest = i;
        } else {
            return tn_infer_fail(c, TERN_INVALID_MODEL, "shape[%d] is %lld%s", i, (long long)v[i],
                                 v[i] == -1 ? ", a second -1" : "");
        }
    }
    if (allow_zero && zero && t->rest >= 0)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "allowzero with both 0 and -1 in the shape");
    return TERN_OK;
}

/* Products of the known dims of both sides after what is surely equal on both is left out. What remains unknown is
 * counted, and the last symbol that remains kept. */
typedef struct balance {
    int64_t in, out, symbol;
    int in_left, out_left;
    bool fits;
} balance;

static balance weigh(const target *t) {
    balance b = {1, 1, TN_DIM_UNKNOWN, 0, 0, true};
    bool done[TERN_MAX_RANK] = {false};
    for (int i = 0; i < t->out.rank; i++) {
        int64_t d = t->out.dims[i];
        if (i == t->rest) continue;
        if (tn_dim_known(d)) {
            b.fits = b.fits && tn_mul_i64(b.out, d, &b.out);
            continue;
        }
        int same = t->copied[i] && i < t->in.rank && !done[i] ? i : -1;
        for (int k = 0; same < 0 && k < t->in.rank; k++)
            if (!done[k] && tn_dim_is_symbol(d) && t->in.dims[k] == d) same = k;
        if (same < 0)
            b.out_left++;
        else
            done[same] = true;
    }
    for (int k = 0; k < t->in.rank; k++) {
        int64_t d = t->in.dims[k];
        if (done[k]) continue;
        if (tn_dim_known(d)) {
            b.fits = b.fits && tn_mul_i64(b.in, d, &b.in);
        } else {
            b.in_left++;
            b.symbol = d;
        }
    }
    return b;
}

static tern_status solve_target(tn_infer *c, target *t) {
    balance b = weigh(t);
    if (!b.fits) {
        int64_t n;
        if (tn_shape_known(&t->in) && !tn_shape_count_checked(&t->in, &n)) return reshape_fail(c, t);
        bool known = tn_shape_known(&t->in) && b.out_left == 0;
        return known && (t->rest >= 0 || n != 0) ? reshape_fail(c, t) : TERN_OK;
    }
    if (b.in_left || b.out_left) {
        if (t->rest >= 0 && b.in_left == 1 && b.out_left == 0 && b.in == b.out && b.in > 0)
            t->out.dims[t->rest] = b.symbol;
        return TERN_OK;
    }
    if (t->rest < 0) return b.in == b.out ? TERN_OK : reshape_fail(c, t);
    if (b.out == 0) {
        /* Any number of elements in that dim gives none in all. */
        if (b.in != 0) return reshape_fail(c, t);
        t->out.dims[t->rest] = 0;
        return TERN_OK;
    }
    if (b.in % b.out) return reshape_fail(c, t);
    t->out.dims[t->rest] = b.in / b.out;
    return TERN_OK;
}

static tern_status infer_reshape(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    target t = {.in = {0}};
    t.ranked = tn_args_shape(c, 0, &t.in);
    tern_dtype dtype = c->in[0]->dtype;
    int64_t v[TN_INTS_MAX];
    int n = 0;
    if (c->node->since < 5) {
        tn_ints attr;
        TN_TRY(tn_ints_infer(c, "shape", -1, &attr));
        n = attr.count;
        memcpy(v, attr.v, sizeof v);
    } else {
        TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
        const tn_type *s = c->in[1];
        if (s->ranked && s->shape.rank != 1)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the shape has rank %d where 1 is needed", s->shape.rank);
        if (s->ranked && tn_dim_known(s->shape.dims[0]) && s->shape.dims[0] > TERN_MAX_RANK)
            return tn_infer_fail(c, TERN_UNSUPPORTED, "the shape has %lld dims, more than %d",
                                 (long long)s->shape.dims[0], TERN_MAX_RANK);
        if (!tn_infer_ints(c, 1, v, TN_INTS_MAX, &n)) {
            bool counted = s->ranked && tn_dim_known(s->shape.dims[0]) && s->shape.dims[0] >= 0;
            tn_shape unknown = tn_args_unknown_dims(counted ? (int)s->shape.dims[0] : 0);
            tn_infer_out(c, 0, dtype, counted ? &unknown : NULL);
            return TERN_OK;
        }
    }
    if (n > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "the shape has %d dims, more than %d", n, TERN_MAX_RANK);
    TN_TRY(read_target(c, &t, v, n, tn_attr_i(c->node, "allowzero", 0) != 0));
    if (t.ranked) TN_TRY(solve_target(c, &t));
    TN_TRY(tn_args_out_shape(c, 0, dtype, &t.out));
    return pass_partial(c);
}

const tn_op tn_op_reshape1 = TN_ARGS_OP(infer_reshape, run_alias, 1, 1, 1, 1, TN_OP_ALIAS);
const tn_op tn_op_reshape = TN_ARGS_OP(infer_reshape, run_alias, 2, 2, 1, 1, TN_OP_ALIAS);

/* ---- Flatten ----------------------------------------------------------------------------------------------- */

/* Product of dims [from, to): a number, a symbol when it is the only factor that is not 1, or unknown. */
static int64_t flat_dim(const tn_shape *s, int from, int to) {
    int64_t p = 1, unknown = 1;
    int n = 0;
    for (int i = from; i < to; i++) {
        if (!tn_dim_known(s->dims[i])) {
            unknown = s->dims[i];
            n++;
        } else if (s->dims[i] == 0) {
            return 0;
        } else if (!tn_mul_i64(p, s->dims[i], &p)) {
            return TN_DIM_UNKNOWN;
        }
    }
    return n == 0 ? p : n == 1 && p == 1 ? unknown : TN_DIM_UNKNOWN;
}

static tern_status infer_flatten(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_shape s, out = tn_args_unknown_dims(2);
    if (tn_args_shape(c, 0, &s)) {
        int64_t axis = tn_attr_i(c->node, "axis", 1), low = c->node->since < 11 ? 0 : -s.rank;
        if (axis < low || axis > s.rank)
            return tn_infer_fail(c, TERN_INVALID_MODEL, "axis %lld is outside [%lld, %d]", (long long)axis,
                                 (long long)low, s.rank);
        int a = (int)(axis < 0 ? axis + s.rank : axis);
        out.dims[0] = flat_dim(&s, 0, a);
        out.dims[1] = flat_dim(&s, a, s.rank);
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

const tn_op tn_op_flatten = TN_ARGS_OP(infer_flatten, run_alias, 1, 1, 1, 1, TN_OP_ALIAS);

/* ---- Squeeze, Unsqueeze ------------------------------------------------------------------------------------ */

static tern_status squeeze_shape(tn_infer *c, const tn_shape *s, const tn_ints *axes, tn_shape *out) {
    bool drop[TERN_MAX_RANK];
    TN_TRY(tn_args_axes(axes->v, axes->count, s->rank, drop, c->err));
    out->rank = 0;
    for (int i = 0; i < s->rank; i++) {
        if (!axes->given) drop[i] = s->dims[i] == 1;
        if (!drop[i]) {
            out->dims[out->rank++] = s->dims[i];
        } else if (tn_dim_known(s->dims[i]) && s->dims[i] != 1) {
            char text[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d of shape %s is %lld, only 1 can be squeezed", i,
                                 tn_shape_text(s, text, sizeof text), (long long)s->dims[i]);
        }
    }
    return TERN_OK;
}

static tern_status infer_squeeze(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_ints axes;
    TN_TRY(tn_ints_infer(c, "axes", c->node->since < 13 ? -1 : 1, &axes));
    tern_dtype dtype = c->in[0]->dtype;
    tn_shape s, out;
    bool ranked = tn_args_shape(c, 0, &s);
    if (!ranked || !axes.known || (!axes.given && !tn_shape_known(&s))) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    TN_TRY(squeeze_shape(c, &s, &axes, &out));
    tn_infer_out(c, 0, dtype, &out);
    return pass_partial(c);
}

static tern_status infer_unsqueeze(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    bool attr = c->node->since < 13;
    if (!attr) TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tn_ints axes;
    TN_TRY(tn_ints_infer(c, "axes", attr ? -1 : 1, &axes));
    if (!axes.given) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'axes' is missing");
    tern_dtype dtype = c->in[0]->dtype;
    tn_shape s, out;
    if (!tn_args_shape(c, 0, &s) || !axes.known) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    bool new_dim[TERN_MAX_RANK];
    if (s.rank + axes.count > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "rank %d and %d axes make more than %d dims", s.rank, axes.count,
                             TERN_MAX_RANK);
    out.rank = s.rank + axes.count;
    TN_TRY(tn_args_axes(axes.v, axes.count, out.rank, new_dim, c->err));
    for (int i = 0, k = 0; i < out.rank; i++) out.dims[i] = new_dim[i] ? 1 : s.dims[k++];
    tn_infer_out(c, 0, dtype, &out);
    return pass_partial(c);
}

const tn_op tn_op_squeeze1 = TN_ARGS_OP(infer_squeeze, run_alias, 1, 1, 1, 1, TN_OP_ALIAS);
const tn_op tn_op_squeeze = TN_ARGS_OP(infer_squeeze, run_alias, 1, 2, 1, 1, TN_OP_ALIAS);
const tn_op tn_op_unsqueeze1 = TN_ARGS_OP(infer_unsqueeze, run_alias, 1, 1, 1, 1, TN_OP_ALIAS);
const tn_op tn_op_unsqueeze = TN_ARGS_OP(infer_unsqueeze, run_alias, 2, 2, 1, 1, TN_OP_ALIAS);

/* ---- Identity ---------------------------------------------------------------------------------------------- */

static tern_status infer_identity(tn_infer *c) {
    tn_infer_out_like(c, 0, 0);
    if (c->in[0] && c->in[0]->kind == TERN_KIND_TENSOR) return pass_partial(c);
    return TERN_OK;
}

const tn_op tn_op_identity = TN_ARGS_OP(infer_identity, run_alias, 1, 1, 1, 1, TN_OP_ALIAS | TN_OP_BLOCKED);
