/* Slice: attributes in version 1, inputs from version 10. */
#include "ops/args.h"
#include "ops/copy.h"

typedef struct slice_args {
    tn_ints starts, ends, axes, steps;
} slice_args;

/* First index, step and number of elements per dim. */
typedef struct slice_plan {
    int64_t start[TERN_MAX_RANK], step[TERN_MAX_RANK];
    tn_shape out;
} slice_plan;

/* Count of the range start:end:step of a dim of n, as in Python. */
static int64_t clamp_range(int64_t n, int64_t *start, int64_t end, int64_t step) {
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    int64_t s = *start < 0 ? (*start < -n ? low : *start + n) : *start;
    int64_t e = end < 0 ? (end < -n ? low : end + n) : end;
    s = TN_MIN(TN_MAX(s, low), high);
    e = TN_MIN(TN_MAX(e, low), high);
    *start = s;
    if (step > 0) return e > s ? 1 + (e - s - 1) / step : 0;
    return s > e ? 1 + (s - e - 1) / (step == INT64_MIN ? INT64_MAX : -step) : 0;
}

static tern_status plan_slice(const slice_args *a, const tn_shape *s, slice_plan *p, tern_error *err) {
    int n = a->starts.count;
    if (a->ends.count != n || (a->axes.given && a->axes.count != n) || (a->steps.given && a->steps.count != n))
        return tn_fail(err, TERN_INVALID_MODEL, "starts has %d values, ends %d, axes %d, steps %d", n, a->ends.count,
                       a->axes.given ? a->axes.count : n, a->steps.given ? a->steps.count : n);
    if (n > s->rank) return tn_fail(err, TERN_INVALID_MODEL, "starts has %d values, the input has rank %d", n, s->rank);
    p->out = *s;
    bool seen[TERN_MAX_RANK] = {false};
    for (int i = 0; i < s->rank; i++) {
        p->start[i] = 0;
        p->step[i] = 1;
    }
    for (int i = 0; i < n; i++) {
        int d = i;
        if (a->axes.given) TN_TRY(tn_args_axis(a->axes.v[i], s->rank, &d, err));
        if (seen[d]) return tn_fail(err, TERN_INVALID_MODEL, "axis %d is given twice", d);
        seen[d] = true;
        int64_t step = a->steps.given ? a->steps.v[i] : 1, start = a->starts.v[i], end = a->ends.v[i];
        if (step == 0) return tn_fail(err, TERN_INVALID_MODEL, "steps[%d] is 0", i);
        bool all = step == 1 && start == 0 && end >= INT32_MAX;
        if (tn_dim_known(s->dims[d]))
            p->out.dims[d] = clamp_range(s->dims[d], &start, end, step);
        else if (!all)
            p->out.dims[d] = TN_DIM_UNKNOWN;
        p->start[d] = start;
        p->step[d] = step;
    }
    return TERN_OK;
}

/* Of a shape tensor: the elements that are taken. */
static tern_status slice_partial(tn_infer *c, const slice_plan *p) {
    int64_t v[TN_INTS_MAX], out[TN_INTS_MAX];
    int n;
    if (!tn_args_is_index(c, 0) || p->out.rank != 1 || !tn_dim_known(p->out.dims[0]) ||
        !tn_infer_ints(c, 0, v, TN_INTS_MAX, &n))
        return TERN_OK;
    for (int64_t i = 0; i < p->out.dims[0]; i++) out[i] = v[p->start[0] + i * p->step[0]];
    return tn_infer_set_partial(c, 0, out, (int)p->out.dims[0]);
}

static tern_status infer_slice(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    bool attr = c->node->since < 10;
    slice_args a;
    for (int i = 1; !attr && i < c->node->n_in; i++) TN_TRY(tn_infer_want(c, i, TN_T(INT32) | TN_T(INT64)));
    TN_TRY(tn_ints_infer(c, "starts", attr ? -1 : 1, &a.starts));
    TN_TRY(tn_ints_infer(c, "ends", attr ? -1 : 2, &a.ends));
    TN_TRY(tn_ints_infer(c, "axes", attr ? -1 : 3, &a.axes));
    TN_TRY(tn_ints_infer(c, "steps", attr ? -1 : 4, &a.steps));
    if (attr) a.steps.given = false;
    if (!a.starts.given || !a.ends.given) return tn_infer_fail(c, TERN_INVALID_MODEL, "starts or ends are missing");
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    tn_shape out = tn_args_unknown_dims(s.rank);
    if (!a.axes.known || !a.starts.known || !a.ends.known || !a.steps.known) {
        bool mask[TERN_MAX_RANK];
        if (a.axes.known && a.axes.given) {
            TN_TRY(tn_args_axes(a.axes.v, a.axes.count, s.rank, mask, c->err));
            for (int i = 0; i < s.rank; i++)
                if (!mask[i]) out.dims[i] = s.dims[i];
        }
        tn_infer_out(c, 0, c->in[0]->dtype, &out);
        return TERN_OK;
    }
    slice_plan p;
    TN_TRY(plan_slice(&a, &s, &p, c->err));
    tn_infer_out(c, 0, c->in[0]->dtype, &p.out);
    return slice_partial(c, &p);
}

static tern_status run_slice(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    bool attr = c->node->since < 10;
    slice_args a;
    slice_plan p;
    TN_TRY(tn_ints_run(c, "starts", attr ? -1 : 1, &a.starts));
    TN_TRY(tn_ints_run(c, "ends", attr ? -1 : 2, &a.ends));
    TN_TRY(tn_ints_run(c, "axes", attr ? -1 : 3, &a.axes));
    TN_TRY(tn_ints_run(c, "steps", attr ? -1 : 4, &a.steps));
    if (attr) a.steps.given = false;
    TN_TRY(plan_slice(&a, &x->shape, &p, c->err));
    if (!tn_shape_equal(&p.out, &y->shape)) {
        char want[TN_SHAPE_TEXT], have[TN_SHAPE_TEXT];
        return tn_run_fail(c, TERN_INTERNAL, "the slice is %s, the output %s", tn_shape_text(&p.out, want, sizeof want),
                           tn_shape_text(&y->shape, have, sizeof have));
    }
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    int64_t xs[TERN_MAX_RANK], ys[TERN_MAX_RANK], first = 0;
    tn_copy_strides(&x->shape, xs);
    tn_copy_strides(&y->shape, ys);
    tn_copy k;
    tn_copy_init(&k, tern_dtype_size(x->dtype));
    for (int i = 0; i < x->shape.rank; i++) {
        first += p.start[i] * xs[i];
        /* A step past the dim is used once at most: its product with the stride must not overflow. */
        tn_copy_dim(&k, y->shape.dims[i], y->shape.dims[i] > 1 ? p.step[i] * xs[i] : 0, ys[i]);
    }
    tn_copy_run(&k, (const char *)x->data + first * (int64_t)tern_dtype_size(x->dtype), y->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_slice1 = TN_ARGS_OP(infer_slice, run_slice, 1, 1, 1, 1, 0);
const tn_op tn_op_slice = TN_ARGS_OP(infer_slice, run_slice, 3, 5, 1, 1, 0);
