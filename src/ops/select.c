/* OneHot, Trilu, ReverseSequence. */
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

typedef struct trilu {
    const char *x;
    char *y;
    int64_t rows, cols, k;
    bool upper;
    size_t unit;
} trilu;

static void trilu_task(void *context, int64_t begin, int64_t end, int worker) {
    const trilu *t = context;
    (void)worker;
    const size_t unit = t->unit, row = (size_t)t->cols * unit;
    for (int64_t i = begin; i < end; i++) {
        /* Columns [0, edge) are left of the diagonal; the lower triangle has the diagonal too. */
        int64_t edge = TN_MIN(TN_MAX(i % t->rows + t->k + (t->upper ? 0 : 1), 0), t->cols);
        size_t from = t->upper ? (size_t)edge * unit : 0, to = t->upper ? row : (size_t)edge * unit;
        char *d = t->y + (size_t)i * row;
        const char *s = t->x + (size_t)i * row;
        memset(d, 0, from);
        memcpy(d + from, s + from, to - from);
        memset(d + to, 0, row - to);
    }
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
    trilu t = {x->data, y->data, rows, cols, k, tn_attr_i(c->node, "upper", 1) != 0, tern_dtype_size(x->dtype)};
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    tn_parallel_for(tn_tensor_bytes(y) < (1 << 17) ? 1 : c->threads, tn_shape_count_range(&x->shape, 0, r - 1),
                    trilu_task, &t);
    return TERN_OK;
}

const tn_op tn_op_trilu = TN_ARGS_OP(infer_trilu, run_trilu, 1, 2, 1, 1, 0);

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
