/* Softmax, LogSoftmax, Hardmax. Up to version 12 the input is seen as 2-D, split at `axis`; from 13 on along `axis`. */
#include "kernels/act.h"
#include "kernels/eltwise.h"
#include "kernels/row.h"
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define COLUMNS 256

static tern_status softmax_axis(const tn_node *n, int rank, int *axis, tern_error *err) {
    int64_t a = tn_attr_i(n, "axis", n->since < 13 ? 1 : -1);
    /* A scalar is a vector of one; a 2-D view may also be split before the first or after the last dim. */
    if (n->since < 13 && a == rank) {
        *axis = rank;
        return TERN_OK;
    }
    *axis = 0;
    return rank == 0 && (a == 0 || a == -1) ? TERN_OK : tn_args_axis(a, rank, axis, err);
}

static tern_status infer_softmax(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tn_shape s;
    int axis;
    if (tn_args_shape(c, 0, &s)) TN_TRY(softmax_axis(c->node, s.rank, &axis, c->err));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

typedef struct softmax {
    tn_rows r;
    tern_dtype dtype;
    tern_cpu_tier tier;
    bool log;
    const void *x;
    void *y;
} softmax;

/* ---- rows: inner is 1 -------------------------------------------------------------------------------------- */

/* float16 and bfloat16, converted COLUMNS elements at a time. */
static void small_row(const softmax *s, int64_t at) {
    float buf[COLUMNS], top = -INFINITY;
    int64_t n = s->r.dim;
    double sum = 0;
    for (int64_t j = 0; j < n; j += COLUMNS) {
        int64_t m = TN_MIN((int64_t)COLUMNS, n - j);
        tn_row_load_f32(s->dtype, s->x, at + j, m, buf);
        top = tn_row_max_f32(s->tier, buf, (size_t)m, top);
    }
    for (int64_t j = 0; j < n; j += COLUMNS) {
        int64_t m = TN_MIN((int64_t)COLUMNS, n - j);
        tn_row_load_f32(s->dtype, s->x, at + j, m, buf);
        sum += tn_row_exp_f32(s->tier, buf, top, buf, (size_t)m);
    }
    float scale = (float)(1 / sum), shift = (float)((double)top + log(sum));
    for (int64_t j = 0; j < n; j += COLUMNS) {
        int64_t m = TN_MIN((int64_t)COLUMNS, n - j);
        tn_row_load_f32(s->dtype, s->x, at + j, m, buf);
        if (!s->log) tn_row_exp_f32(s->tier, buf, top, buf, (size_t)m);
        tn_bin_f32(s->tier, s->log ? TN_BIN_SUB : TN_BIN_MUL, buf, 1, s->log ? &shift : &scale, 0, buf, (size_t)m);
        tn_row_store_f32(s->dtype, s->y, at + j, m, buf);
    }
}

static void float_row(const softmax *s, int64_t at) {
    const float *x = (const float *)s->x + at;
    float *y = (float *)s->y + at, top = tn_row_max_f32(s->tier, x, (size_t)s->r.dim, -INFINITY), by;
    if (s->log) { /* y may be x: the exponentials go nowhere */
        float buf[COLUMNS];
        double sum = 0;
        for (int64_t j = 0; j < s->r.dim; j += COLUMNS)
            sum += tn_row_exp_f32(s->tier, x + j, top, buf, (size_t)TN_MIN((int64_t)COLUMNS, s->r.dim - j));
        by = (float)((double)top + log(sum));
        tn_bin_f32(s->tier, TN_BIN_SUB, x, 1, &by, 0, y, (size_t)s->r.dim);
        return;
    }
    by = (float)(1 / tn_row_exp_f32(s->tier, x, top, y, (size_t)s->r.dim));
    tn_bin_f32(s->tier, TN_BIN_MUL, y, 1, &by, 0, y, (size_t)s->r.dim);
}

static void row_task(void *context, int64_t begin, int64_t end, int worker) {
    const softmax *s = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        if (s->dtype == TERN_FLOAT)
            float_row(s, t * s->r.dim);
        else
            small_row(s, t * s->r.dim);
    }
}

/* ---- columns: inner is more than 1 ------------------------------------------------------------------------- */

/* `width` neighbouring columns from element `at` on, `inner` elements from row to row. */
static void softmax_columns(const softmax *s, int64_t at, int64_t width) {
    static const tn_act exp_act = {.kind = TN_ACT_EXP};
    float buf[COLUMNS], top[COLUMNS];
    double sum[COLUMNS];
    for (int64_t i = 0; i < width; i++) {
        top[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t d = 0; d < s->r.dim; d++) {
        tn_row_load_f32(s->dtype, s->x, at + d * s->r.inner, width, buf);
        for (int64_t i = 0; i < width; i++) top[i] = buf[i] > top[i] ? buf[i] : top[i];
    }
    for (int64_t d = 0; d < s->r.dim; d++) {
        tn_row_load_f32(s->dtype, s->x, at + d * s->r.inner, width, buf);
        for (int64_t i = 0; i < width; i++) buf[i] -= top[i];
        tn_act_f32(s->tier, &exp_act, buf, buf, (size_t)width);
        for (int64_t i = 0; i < width; i++) sum[i] += (double)buf[i];
    }
    for (int64_t d = 0; d < s->r.dim; d++) {
        tn_row_load_f32(s->dtype, s->x, at + d * s->r.inner, width, buf);
        for (int64_t i = 0; i < width; i++) buf[i] -= top[i];
        if (s->log) {
            for (int64_t i = 0; i < width; i++) buf[i] = (float)((double)buf[i] - log(sum[i]));
        } else {
            tn_act_f32(s->tier, &exp_act, buf, buf, (size_t)width);
            for (int64_t i = 0; i < width; i++) buf[i] = (float)((double)buf[i] / sum[i]);
        }
        tn_row_store_f32(s->dtype, s->y, at + d * s->r.inner, width, buf);
    }
}

static void column_task(void *context, int64_t begin, int64_t end, int worker) {
    const softmax *s = context;
    (void)worker;
    int64_t parts = tn_ceil_div(s->r.inner, COLUMNS);
    for (int64_t t = begin; t < end; t++) {
        int64_t column = t % parts * COLUMNS;
        softmax_columns(s, t / parts * s->r.dim * s->r.inner + column, TN_MIN((int64_t)COLUMNS, s->r.inner - column));
    }
}

/* ---- double ------------------------------------------------------------------------------------------------ */

static void f64_task(void *context, int64_t begin, int64_t end, int worker) {
    const softmax *s = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t / s->r.inner * s->r.dim * s->r.inner + t % s->r.inner, step = s->r.inner;
        const double *x = (const double *)s->x + at;
        double *y = (double *)s->y + at, top = -INFINITY, sum = 0;
        for (int64_t d = 0; d < s->r.dim; d++) top = x[d * step] > top ? x[d * step] : top;
        for (int64_t d = 0; d < s->r.dim; d++) sum += exp(x[d * step] - top);
        for (int64_t d = 0; d < s->r.dim; d++)
            y[d * step] = s->log ? x[d * step] - top - log(sum) : exp(x[d * step] - top) / sum;
    }
}

/* ---- operators --------------------------------------------------------------------------------------------- */

static tn_rows view(const tn_node *n, const tn_shape *shape, int axis) {
    if (shape->rank == 0) return (tn_rows){1, 1, 1};
    if (n->since >= 13) return tn_rows_of(shape, axis);
    return (tn_rows){tn_shape_count_range(shape, 0, axis), tn_shape_count_range(shape, axis, shape->rank), 1};
}

static tern_status run_either(tn_run *c, bool log) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    TN_TRY(softmax_axis(c->node, x->shape.rank, &axis, c->err));
    softmax s = {view(c->node, &x->shape, axis), x->dtype, c->tier, log, x->data, c->out[0]->data};
    int64_t n = tn_shape_count(&x->shape);
    if (n == 0) return TERN_OK;
    int threads = n < 4096 ? 1 : c->threads;
    if (x->dtype == TERN_DOUBLE)
        tn_parallel_for(threads, s.r.outer * s.r.inner, f64_task, &s);
    else if (s.r.inner == 1)
        tn_parallel_for(threads, s.r.outer, row_task, &s);
    else
        tn_parallel_for(threads, s.r.outer * tn_ceil_div(s.r.inner, COLUMNS), column_task, &s);
    return TERN_OK;
}

static tern_status run_softmax(tn_run *c) { return run_either(c, false); }
static tern_status run_log_softmax(tn_run *c) { return run_either(c, true); }

/* 1 at the first largest element, 0 elsewhere. */
static void hardmax_task(void *context, int64_t begin, int64_t end, int worker) {
    const softmax *s = context;
    (void)worker;
    static const double one = 1;
    const int64_t step = s->r.inner;
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t / step * s->r.dim * step + t % step, best = at;
        double top = -INFINITY, v;
        if (s->dtype == TERN_FLOAT && step == 1) {
            const float *x = (const float *)s->x + at;
            float high = tn_row_max_f32(s->tier, x, (size_t)s->r.dim, -INFINITY);
            while (high > -INFINITY && s->r.dim && *x != high) x++, best++;
        } else {
            for (int64_t d = 0; d < s->r.dim; d++) {
                tn_row_load_f64(s->dtype, s->x, at + d * step, 1, &v);
                if (v <= top || v != v) continue;
                top = v;
                best = at + d * step;
            }
        }
        tn_row_store_f64(s->dtype, s->y, best, 1, &one);
    }
}

static tern_status run_hardmax(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    TN_TRY(softmax_axis(c->node, x->shape.rank, &axis, c->err));
    softmax s = {view(c->node, &x->shape, axis), x->dtype, c->tier, false, x->data, c->out[0]->data};
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    memset(c->out[0]->data, 0, tn_tensor_bytes(x));
    tn_parallel_for(tn_shape_count(&x->shape) < 4096 ? 1 : c->threads, s.r.outer * s.r.inner, hardmax_task, &s);
    return TERN_OK;
}

const tn_op tn_op_softmax = TN_ARGS_OP(infer_softmax, run_softmax, 1, 1, 1, 1, TN_OP_INPLACE);
const tn_op tn_op_log_softmax = TN_ARGS_OP(infer_softmax, run_log_softmax, 1, 1, 1, 1, TN_OP_INPLACE);
const tn_op tn_op_hardmax = TN_ARGS_OP(infer_softmax, run_hardmax, 1, 1, 1, 1, 0);
