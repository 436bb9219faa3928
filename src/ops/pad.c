/* Pad: constant, reflect, edge, wrap; attributes in versions 1 and 2, inputs from 11 on. */
#include "ops/args.h"
#include "ops/copy.h"
#include "ops/rowio.h"

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP } pad_mode;

typedef struct pad_plan {
    pad_mode mode;
    int64_t begin[TERN_MAX_RANK], end[TERN_MAX_RANK];
} pad_plan;

static tern_status pad_mode_of(const tn_node *n, pad_mode *out, tern_error *err) {
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    tn_str s = tn_attr_s(n, "mode", "constant");
    for (int i = 0; i < (n->since >= 19 ? 4 : 3); i++)
        if (tn_str_eq(s, tn_str_c(names[i]))) {
            *out = (pad_mode)i;
            return TERN_OK;
        }
    return tn_fail(err, TERN_INVALID_MODEL, "mode '%.*s' is not one of constant, reflect, edge%s",
                   (int)TN_MIN(s.len, 40u), s.data, n->since >= 19 ? ", wrap" : "");
}

static tern_status plan_pads(const tn_ints *pads, const tn_ints *axes, int rank, pad_plan *p, tern_error *err) {
    int n = axes->given ? axes->count : rank;
    bool mask[TERN_MAX_RANK];
    memset(p->begin, 0, sizeof p->begin);
    memset(p->end, 0, sizeof p->end);
    if (axes->given) TN_TRY(tn_args_axes(axes->v, axes->count, rank, mask, err));
    if (pads->count != 2 * n)
        return tn_fail(err, TERN_INVALID_MODEL, "pads has %d values where %d are needed", pads->count, 2 * n);
    for (int i = 0; i < n; i++) {
        int64_t a = axes->given ? axes->v[i] : i;
        if (a < 0) a += rank;
        p->begin[a] = pads->v[i];
        p->end[a] = pads->v[n + i];
    }
    return TERN_OK;
}

static tern_status padded_shape(const pad_plan *p, const tn_shape *s, tn_shape *out, tern_error *err) {
    out->rank = s->rank;
    for (int i = 0; i < s->rank; i++) {
        int64_t b = p->begin[i], e = p->end[i], d = s->dims[i];
        out->dims[i] = b == 0 && e == 0 ? d : TN_DIM_UNKNOWN;
        if (!tn_dim_known(d)) continue;
        if (!tn_add_i64(d, b, &d) || !tn_add_i64(d, e, &d) || d < 0)
            return tn_fail(err, TERN_INVALID_MODEL, "dim %d, %lld, can not be padded by %lld and %lld", i,
                           (long long)s->dims[i], (long long)b, (long long)e);
        if (s->dims[i] == 0 && d > 0 && p->mode != PAD_CONSTANT)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "dim %d is 0 and has nothing to pad with", i);
        out->dims[i] = d;
    }
    return TERN_OK;
}

static const char *pads_name(const tn_node *n) { return n->since == 1 ? "paddings" : "pads"; }

static tern_status infer_pad(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    bool attr = c->node->since < 11;
    pad_plan p;
    tn_ints pads, axes = {.known = true};
    TN_TRY(pad_mode_of(c->node, &p.mode, c->err));
    if (!attr) {
        TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
        TN_TRY(tn_infer_same_type(c, 0, 2));
        tn_shape v;
        if (tn_args_shape(c, 2, &v) && (v.rank > 1 || (v.rank == 1 && tn_dim_known(v.dims[0]) && v.dims[0] > 1)))
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the constant value is not a scalar");
        TN_TRY(tn_infer_want(c, 3, TN_T(INT32) | TN_T(INT64)));
        TN_TRY(tn_ints_infer(c, "axes", 3, &axes));
    } else {
        TN_TRY(tn_infer_want(c, 0, TN_TYPES_NUMERIC));
    }
    TN_TRY(tn_ints_infer(c, pads_name(c->node), attr ? -1 : 1, &pads));
    if (!pads.given) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute '%s' is missing", pads_name(c->node));
    tn_shape s, out;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    out = tn_args_unknown_dims(s.rank);
    if (pads.known && axes.known) {
        TN_TRY(plan_pads(&pads, &axes, s.rank, &p, c->err));
        TN_TRY(padded_shape(&p, &s, &out, c->err));
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

/* The element whose value goes to output position o. */
static int64_t source_of(pad_mode mode, int64_t o, int64_t begin, int64_t n) {
    int64_t i = o - begin;
    if (i >= 0 && i < n) return i;
    if (mode == PAD_EDGE) return i < 0 ? 0 : n - 1;
    int64_t period = mode == PAD_WRAP ? n : 2 * (n - 1);
    if (period == 0) return 0;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

/* The part of the input that stays, at its place in the output. */
static void copy_inside(const pad_plan *p, const tern_tensor *x, tern_tensor *y, int threads) {
    size_t unit = tern_dtype_size(x->dtype);
    int64_t xs[TERN_MAX_RANK], ys[TERN_MAX_RANK], from = 0, to = 0;
    tn_copy_strides(&x->shape, xs);
    tn_copy_strides(&y->shape, ys);
    tn_copy k;
    tn_copy_init(&k, unit);
    for (int i = 0; i < x->shape.rank; i++) {
        int64_t first = TN_MAX(-p->begin[i], 0), n = x->shape.dims[i] - first + TN_MIN(p->end[i], 0);
        if (n <= 0) return;
        from += first * xs[i];
        to += TN_MAX(p->begin[i], 0) * ys[i];
        tn_copy_dim(&k, n, xs[i], ys[i]);
    }
    tn_copy_run(&k, (const char *)x->data + (size_t)from * unit, (char *)y->data + (size_t)to * unit, threads);
}

/* Rows of the output one after the other: the inner part of each in one piece, its ends element by element. */
static void pad_rows(const pad_plan *p, const tern_tensor *x, tern_tensor *y) {
    size_t unit = tern_dtype_size(x->dtype);
    int last = x->shape.rank - 1;
    int64_t xs[TERN_MAX_RANK], n = x->shape.dims[last], width = y->shape.dims[last];
    int64_t rows = tn_shape_count_range(&y->shape, 0, last), begin = p->begin[last];
    int64_t low = TN_MIN(TN_MAX(begin, 0), width), high = TN_MAX(low, TN_MIN(width, begin + n));
    tn_copy_strides(&x->shape, xs);
    char *d = y->data;
    for (int64_t r = 0; r < rows; r++, d += (size_t)width * unit) {
        int64_t rest = r, at = 0;
        for (int i = last - 1; i >= 0; i--) {
            at += source_of(p->mode, rest % y->shape.dims[i], p->begin[i], x->shape.dims[i]) * xs[i];
            rest /= y->shape.dims[i];
        }
        const char *s = (const char *)x->data + (size_t)at * unit;
        if (high > low) memcpy(d + (size_t)low * unit, s + (size_t)(low - begin) * unit, (size_t)(high - low) * unit);
        for (int64_t o = 0; o < low; o++)
            memcpy(d + (size_t)o * unit, s + (size_t)source_of(p->mode, o, begin, n) * unit, unit);
        for (int64_t o = high; o < width; o++)
            memcpy(d + (size_t)o * unit, s + (size_t)source_of(p->mode, o, begin, n) * unit, unit);
    }
}

static tern_status pad_value(tn_run *c, uint8_t *out) {
    tern_dtype t = c->in[0]->dtype;
    memset(out, 0, 16);
    if (c->node->since < 11) {
        double v = (double)tn_attr_f(c->node, "value", 0);
        tn_row_store_f64(t, out, 0, 1, &v);
        return TERN_OK;
    }
    const tern_tensor *v = tn_args_in(c, 2);
    if (!v || tn_shape_count(&v->shape) == 0) return TERN_OK;
    memcpy(out, v->data, tern_dtype_size(t));
    return TERN_OK;
}

static tern_status run_pad(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    bool attr = c->node->since < 11;
    pad_plan p;
    tn_ints pads, axes = {.known = true};
    tn_shape out;
    TN_TRY(pad_mode_of(c->node, &p.mode, c->err));
    TN_TRY(tn_ints_run(c, pads_name(c->node), attr ? -1 : 1, &pads));
    if (!attr) TN_TRY(tn_ints_run(c, "axes", 3, &axes));
    TN_TRY(plan_pads(&pads, &axes, x->shape.rank, &p, c->err));
    TN_TRY(padded_shape(&p, &x->shape, &out, c->err));
    if (!tn_shape_equal(&out, &y->shape)) return tn_run_fail(c, TERN_INTERNAL, "the output has another shape");
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    if (p.mode != PAD_CONSTANT && x->shape.rank > 0) {
        pad_rows(&p, x, y);
        return TERN_OK;
    }
    uint8_t value[16];
    TN_TRY(pad_value(c, value));
    tn_copy_fill(y->data, value, tern_dtype_size(y->dtype), tn_shape_count(&y->shape));
    copy_inside(&p, x, y, c->threads);
    return TERN_OK;
}

const tn_op tn_op_pad1 = TN_ARGS_OP(infer_pad, run_pad, 1, 1, 1, 1, 0);
const tn_op tn_op_pad = TN_ARGS_OP(infer_pad, run_pad, 2, 4, 1, 1, 0);
