/* OneHot, NonZero, Trilu, CumSum, ReverseSequence. */
#include "ops/args.h"
#include "ops/copy.h"
#include "ops/rowio.h"

/* ---- OneHot ------------------------------------------------------------------------------------------------ */

/* Depth as a number; it may come as any numeric type. */
static tern_status read_depth(const tern_tensor *t, int64_t *depth, tern_error *err) {
    if (tn_shape_count(&t->shape) != 1 || t->shape.rank > 1)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "depth has %lld elements where 1 is needed",
                       (long long)tn_shape_count(&t->shape));
    double d = tn_tensor_get_f64(t, 0);
    if (!(d >= 0) || d > 1e15) return tn_fail(err, TERN_INVALID_ARGUMENT, "depth is %g", d);
    *depth = (int64_t)d;
    return TERN_OK;
}

static tern_status infer_one_hot(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_NUMERIC));
    TN_TRY(tn_args_need(c, 1, TN_TYPES_NUMERIC));
    TN_TRY(tn_args_need(c, 2, TN_TYPES_ALL));
    tn_shape s, v;
    if (tn_args_shape(c, 2, &v) && (v.rank != 1 || (tn_dim_known(v.dims[0]) && v.dims[0] != 2)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "values must have the two elements off and on");
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[2]->dtype, NULL);
        return TERN_OK;
    }
    int axis;
    if (s.rank == TERN_MAX_RANK) return tn_infer_fail(c, TERN_UNSUPPORTED, "the output has rank %d", s.rank + 1);
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", -1), s.rank + 1, &axis, "axis"));
    for (int i = s.rank; i > axis; i--) s.dims[i] = s.dims[i - 1];
    s.rank++;
    s.dims[axis] = TN_DIM_UNKNOWN;
    if (c->value[1]) TN_TRY(read_depth(c->value[1], &s.dims[axis], c->err));
    return tn_args_out_shape(c, 0, c->in[2]->dtype, &s);
}

static tern_status run_one_hot(tn_run *c) {
    const tern_tensor *k = c->in[0];
    tern_tensor *y = c->out[0];
    int axis = 0;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", -1), y->shape.rank, &axis, c->err));
    tn_rows r = tn_rows_of(&y->shape, axis);
    size_t unit = tern_dtype_size(y->dtype);
    const char *values = c->in[2]->data;
    tn_copy_fill(y->data, values, unit, tn_shape_count(&y->shape));
    for (int64_t i = 0; i < r.outer * r.inner; i++) {
        double v = tn_tensor_get_f64(k, i);
        if (v < 0) v += (double)r.dim;
        if (!(v >= 0 && v < (double)r.dim)) continue; /* outside: all off */
        int64_t at = (i / r.inner * r.dim + (int64_t)v) * r.inner + i % r.inner;
        memcpy((char *)y->data + (size_t)at * unit, values + unit, unit);
    }
    return TERN_OK;
}

const tn_op tn_op_one_hot = TN_ARGS_OP(infer_one_hot, run_one_hot, 3, 3, 1, 1, 0);

/* ---- NonZero ----------------------------------------------------------------------------------------------- */

static tern_status infer_non_zero(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_shape s, out = tn_args_unknown_dims(2);
    if (tn_args_shape(c, 0, &s)) out.dims[0] = s.rank;
    tn_infer_out(c, 0, TERN_INT64, &out);
    return TERN_OK;
}

/* Float types have a sign bit that may be set in a zero; strings are zero when empty. */
static bool is_zero(const tern_tensor *t, int64_t i) {
    switch (t->dtype) {
    case TERN_FLOAT:
        return ((const float *)t->data)[i] == 0;
    case TERN_DOUBLE:
        return ((const double *)t->data)[i] == 0;
    case TERN_FLOAT16:
    case TERN_BFLOAT16:
        return (((const uint16_t *)t->data)[i] & 0x7fff) == 0;
    case TERN_COMPLEX64:
        return ((const float *)t->data)[2 * i] == 0 && ((const float *)t->data)[2 * i + 1] == 0;
    case TERN_COMPLEX128:
        return ((const double *)t->data)[2 * i] == 0 && ((const double *)t->data)[2 * i + 1] == 0;
    case TERN_STRING:
        return ((const tern_string *)t->data)[i].len == 0;
    case TERN_FLOAT8E4M3FN:
    case TERN_FLOAT8E5M2:
        return (((const uint8_t *)t->data)[i] & 0x7f) == 0;
    case TERN_FLOAT4E2M1:
        return (((const uint8_t *)t->data)[i] & 0x7) == 0;
    case TERN_FLOAT8E8M0:
        return false;
    default: {
        size_t unit = tern_dtype_size(t->dtype);
        static const char zero[16];
        return memcmp((const char *)t->data + (size_t)i * unit, zero, unit) == 0;
    }
    }
}

static tern_status run_non_zero(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int64_t n = tn_shape_count(&x->shape), found = 0, k = 0;
    for (int64_t i = 0; i < n; i++) found += !is_zero(x, i);
    tn_shape out = {.rank = 2, .dims = {x->shape.rank, found}};
    TN_TRY(tn_run_alloc(c, 0, TERN_INT64, &out));
    int64_t *y = c->out[0]->data;
    for (int64_t i = 0; i < n; i++) {
        if (is_zero(x, i)) continue;
        int64_t rest = i;
        for (int d = x->shape.rank - 1; d >= 0; d--) {
            y[d * found + k] = rest % x->shape.dims[d];
            rest /= x->shape.dims[d];
        }
        k++;
    }
    return TERN_OK;
}

const tn_op tn_op_non_zero = TN_ARGS_OP(infer_non_zero, run_non_zero, 1, 1, 1, 1, TN_OP_ALLOC);

/* ---- Trilu ------------------------------------------------------------------------------------------------- */

static tern_status infer_trilu(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_infer_want(c, 1, TN_T(INT64)));
    tn_shape s;
    if (tn_args_shape(c, 0, &s) && s.rank < 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d, less than 2", s.rank);
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

static tern_status run_trilu(tn_run *c) {
    const tern_tensor *x = c->in[0], *kt = tn_args_in(c, 1);
    tern_tensor *y = c->out[0];
    if (kt && tn_shape_count(&kt->shape) != 1)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "k has %lld elements where 1 is needed",
                           (long long)tn_shape_count(&kt->shape));
    int r = x->shape.rank;
    int64_t rows = x->shape.dims[r - 2], cols = x->shape.dims[r - 1];
    int64_t k = kt ? TN_MIN(TN_MAX(tn_tensor_get_i64(kt, 0), -rows), cols) : 0;
    bool upper = tn_attr_i(c->node, "upper", 1) != 0;
    size_t unit = tern_dtype_size(x->dtype);
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    int64_t all = tn_shape_count_range(&x->shape, 0, r - 1);
    for (int64_t i = 0; i < all; i++) {
        /* Columns [0, edge) are left of the diagonal; the lower triangle has the diagonal too. */
        int64_t edge = TN_MIN(TN_MAX(i % rows + k + (upper ? 0 : 1), 0), cols);
        int64_t from = upper ? edge : 0, to = upper ? cols : edge;
        char *d = (char *)y->data + (size_t)(i * cols) * unit;
        const char *s = (const char *)x->data + (size_t)(i * cols) * unit;
        memset(d, 0, (size_t)from * unit);
        memcpy(d + (size_t)from * unit, s + (size_t)from * unit, (size_t)(to - from) * unit);
        memset(d + (size_t)to * unit, 0, (size_t)(cols - to) * unit);
    }
    return TERN_OK;
}

const tn_op tn_op_trilu = TN_ARGS_OP(infer_trilu, run_trilu, 1, 2, 1, 1, 0);

/* ---- CumSum ------------------------------------------------------------------------------------------------ */

#define SUM_TYPES (TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64) | TN_T(UINT32) | TN_T(UINT64))

static tern_status cumsum_axis(const tern_tensor *t, int rank, int *axis, tern_error *err) {
    if (tn_shape_count(&t->shape) != 1)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "axis has %lld elements where 1 is needed",
                       (long long)tn_shape_count(&t->shape));
    return tn_args_axis(tn_tensor_get_i64(t, 0), rank, axis, err);
}

static tern_status infer_cumsum(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, SUM_TYPES));
    TN_TRY(tn_args_need(c, 1, TN_T(INT32) | TN_T(INT64)));
    tn_shape s;
    int axis;
    if (tn_args_shape(c, 0, &s) && c->value[1]) TN_TRY(cumsum_axis(c->value[1], s.rank, &axis, c->err));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

static tern_status run_cumsum(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int axis = 0;
    TN_TRY(cumsum_axis(c->in[1], x->shape.rank, &axis, c->err));
    tn_rows r = tn_rows_of(&x->shape, axis);
    bool exclusive = tn_attr_i(c->node, "exclusive", 0) != 0, reverse = tn_attr_i(c->node, "reverse", 0) != 0;
    bool floats = tn_type_in(x->dtype, TN_TYPES_FLOAT);
    for (int64_t t = 0; t < r.outer * r.inner; t++) {
        double f = 0, fv = 0;
        int64_t i = 0, iv = 0;
        for (int64_t d = 0; d < r.dim; d++) {
            int64_t at = (t / r.inner * r.dim + (reverse ? r.dim - 1 - d : d)) * r.inner + t % r.inner;
            if (floats) {
                tn_row_load_f64(x->dtype, x->data, at, 1, &fv);
                double sum = f + fv;
                tn_row_store_f64(y->dtype, y->data, at, 1, exclusive ? &f : &sum);
                f = sum;
            } else {
                tn_row_load_i64(x->dtype, x->data, at, 1, &iv);
                int64_t sum = (int64_t)((uint64_t)i + (uint64_t)iv);
                tn_row_store_i64(y->dtype, y->data, at, 1, exclusive ? &i : &sum);
                i = sum;
            }
        }
    }
    return TERN_OK;
}

const tn_op tn_op_cumsum = TN_ARGS_OP(infer_cumsum, run_cumsum, 2, 2, 1, 1, 0);

/* ---- ReverseSequence --------------------------------------------------------------------------------------- */

static tern_status infer_reverse_sequence(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    int64_t batch = tn_attr_i(c->node, "batch_axis", 1), time = tn_attr_i(c->node, "time_axis", 0);
    if (!((batch == 0 && time == 1) || (batch == 1 && time == 0)))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "batch_axis is %lld, time_axis %lld: one must be 0, the other 1",
                             (long long)batch, (long long)time);
    tn_shape s, k;
    if (tn_args_shape(c, 0, &s)) {
        if (s.rank < 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d, less than 2", s.rank);
        int64_t n = s.dims[batch];
        if (tn_args_shape(c, 1, &k) &&
            (k.rank != 1 || (tn_dim_known(n) && tn_dim_known(k.dims[0]) && n != k.dims[0]))) {
            char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "sequence_lens has shape %s, the input %s",
                                 tn_shape_text(&k, a, sizeof a), tn_shape_text(&s, b, sizeof b));
        }
    }
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

static tern_status run_reverse_sequence(tn_run *c) {
    const tern_tensor *x = c->in[0];
    bool batch_first = tn_attr_i(c->node, "batch_axis", 1) == 0;
    int64_t batches = x->shape.dims[batch_first ? 0 : 1], steps = x->shape.dims[batch_first ? 1 : 0];
    size_t bytes = (size_t)tn_shape_count_range(&x->shape, 2, x->shape.rank) * tern_dtype_size(x->dtype);
    for (int64_t b = 0; b < batches; b++) {
        int64_t n = ((const int64_t *)c->in[1]->data)[b];
        if (n < 0 || n > steps)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "sequence_lens[%lld] is %lld, the sequences have %lld steps",
                               (long long)b, (long long)n, (long long)steps);
        for (int64_t t = 0; bytes && t < steps; t++) {
            int64_t from = t < n ? n - 1 - t : t;
            int64_t to_at = batch_first ? b * steps + t : t * batches + b;
            int64_t from_at = batch_first ? b * steps + from : from * batches + b;
            memcpy((char *)c->out[0]->data + (size_t)to_at * bytes, (const char *)x->data + (size_t)from_at * bytes,
                   bytes);
        }
    }
    return TERN_OK;
}

const tn_op tn_op_reverse_sequence = TN_ARGS_OP(infer_reverse_sequence, run_reverse_sequence, 2, 2, 1, 1, 0);
