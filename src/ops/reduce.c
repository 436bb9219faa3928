/* Reductions over any set of axes.
 *
 * The dims of the input are merged into groups that are kept or reduced in turn. Where the innermost group is reduced,
 * an output element is the sum over runs of contiguous elements, taken in LANES independent chains; where it is kept,
 * COLUMNS neighbouring outputs are computed together. Either way an output's result depends on the shape alone. Floats
 * of all widths accumulate in double, integers in 64 bits with wraparound; sums and extremes of float32 are the row
 * kernels' (row.h), which add up a few numbers in float before they go on in double. */
#include "kernels/eltwise.h"
#include "kernels/row.h"
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define LANES   16
#define COLUMNS ((int64_t)256)

#define SHORT_SUM 16 /* in columns; rows: COLUMNS elements, which are 4 or 8 for each lane */

typedef enum reduce_kind { SUM, MEAN, MAX, MIN, PROD, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE } reduce_kind;

/* ---- accumulation ------------------------------------------------------------------------------------------ */

/* EXP_SUM is the second pass of LOG_SUM_EXP, after MAX. */
typedef enum step_kind { STEP_ADD, STEP_MAX, STEP_MIN, STEP_MUL, STEP_ABS, STEP_SQUARE, STEP_EXP } step_kind;

static double add_f64(double a, double b) { return a + b; }
static double mul_f64(double a, double b) { return a * b; }
static double abs_f64(double a) { return fabs(a); }
/* NaN wins. */
static double max_f64(double a, double b) { return b > a || b != b ? b : a; }
static double min_f64(double a, double b) { return b < a || b != b ? b : a; }
static double exp_f64(double v, double shift) { return exp(v - shift); }

static int64_t add_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static int64_t mul_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static int64_t abs_i64(int64_t a) { return a < 0 ? (int64_t)(0 - (uint64_t)a) : a; }
static int64_t max_i64(int64_t a, int64_t b) { return TN_MAX(a, b); }
static int64_t min_i64(int64_t a, int64_t b) { return TN_MIN(a, b); }
static int64_t exp_i64(int64_t v, int64_t shift) { return v - shift; } /* integers never take STEP_EXP */

/* acc[i % width] op= x[i] for all i < n; width divides n but in the last call of a run. */
#define STEPS(T, SUFFIX)                                                                                      \
    static void step_##SUFFIX(step_kind kind, T *acc, const T *shift, const T *x, int64_t n, int64_t width) { \
        for (int64_t j = 0; j < n; j += width) {                                                              \
            int64_t m = TN_MIN(width, n - j);                                                                 \
            const T *v = x + j;                                                                               \
            switch (kind) {                                                                                   \
            case STEP_ADD:                                                                                    \
                EACH(add_##SUFFIX(acc[i], v[i]));                                                             \
            case STEP_MAX:                                                                                    \
                EACH(max_##SUFFIX(acc[i], v[i]));                                                             \
            case STEP_MIN:                                                                                    \
                EACH(min_##SUFFIX(acc[i], v[i]));                                                             \
            case STEP_MUL:                                                                                    \
                EACH(mul_##SUFFIX(acc[i], v[i]));                                                             \
            case STEP_ABS:                                                                                    \
                EACH(add_##SUFFIX(acc[i], abs_##SUFFIX(v[i])));                                               \
            case STEP_SQUARE:                                                                                 \
                EACH(add_##SUFFIX(acc[i], mul_##SUFFIX(v[i], v[i])));                                         \
            case STEP_EXP:                                                                                    \
                EACH(add_##SUFFIX(acc[i], exp_##SUFFIX(v[i], shift[i])));                                     \
            }                                                                                                 \
        }                                                                                                     \
    }                                                                                                         \
    static T join_##SUFFIX(step_kind kind, const T *acc) {                                                    \
        T r = acc[0];                                                                                         \
        for (int i = 1; i < LANES; i++)                                                                       \
            r = kind == STEP_MAX   ? max_##SUFFIX(r, acc[i])                                                  \
                : kind == STEP_MIN ? min_##SUFFIX(r, acc[i])                                                  \
                : kind == STEP_MUL ? mul_##SUFFIX(r, acc[i])                                                  \
                                   : add_##SUFFIX(r, acc[i]);                                                 \
        return r;                                                                                             \
    }
#define EACH(EXPR)                                 \
    for (int64_t i = 0; i < m; i++) acc[i] = EXPR; \
    break
STEPS(double, f64)
STEPS(int64_t, i64)
#undef EACH

/* ---- plan -------------------------------------------------------------------------------------------------- */

typedef union cell {
    double f;
    int64_t i;
} cell;

typedef struct plan {
    reduce_kind kind;
    step_kind step;
    bool floats;     /* cells hold doubles */
    bool unsigned64; /* compared after a flip of the sign bit */
    tern_dtype dtype;
    int n_keep, n_reduce; /* groups; strides in elements of the input */
    int64_t keep[TERN_MAX_RANK], keep_stride[TERN_MAX_RANK];
    int64_t reduce[TERN_MAX_RANK], reduce_stride[TERN_MAX_RANK];
    int64_t count;            /* elements reduced into one */
    int64_t run;              /* contiguous elements reduced together; 0: the innermost group is kept */
    int64_t outer;            /* positions of the reduced groups but the run */
    int64_t outputs, columns; /* columns: size of the innermost kept group, when run is 0 */
    tern_cpu_tier tier;
    const void *x;
    void *y;
} plan;

static void add_group(plan *p, bool reduced, int64_t n, int64_t stride, bool join) {
    int64_t *dims = reduced ? p->reduce : p->keep, *strides = reduced ? p->reduce_stride : p->keep_stride;
    int *count = reduced ? &p->n_reduce : &p->n_keep;
    if (join) {
        dims[*count - 1] *= n;
        strides[*count - 1] = stride;
        return;
    }
    dims[*count] = n;
    strides[*count] = stride;
    ++*count;
}

static void make_groups(plan *p, const tn_shape *s, const bool *mask) {
    int64_t strides[TERN_MAX_RANK], step = 1;
    int last = -1;
    for (int i = s->rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= s->dims[i];
    }
    for (int i = 0; i < s->rank; i++) {
        if (s->dims[i] == 1) continue;
        add_group(p, mask[i], s->dims[i], strides[i], last >= 0 && mask[last] == mask[i]);
        last = i;
    }
    if (last < 0 || mask[last]) {
        p->run = p->n_reduce ? p->reduce[--p->n_reduce] : 1;
        p->columns = 1;
    } else {
        p->columns = p->keep[--p->n_keep];
    }
    p->outer = 1;
    for (int i = 0; i < p->n_reduce; i++) p->outer *= p->reduce[i];
}

static int64_t offset_of(int64_t index, int n, const int64_t *dims, const int64_t *strides) {
    int64_t at = 0;
    for (int i = n - 1; i >= 0; i--) {
        at += index % dims[i] * strides[i];
        index /= dims[i];
    }
    return at;
}

/* ---- execution --------------------------------------------------------------------------------------------- */

static cell identity(const plan *p, step_kind step) {
    cell c = {.i = 0};
    if (p->floats)
        c.f = step == STEP_MAX ? -INFINITY : step == STEP_MIN ? INFINITY : step == STEP_MUL ? 1 : 0;
    else
        c.i = step == STEP_MAX ? INT64_MIN : step == STEP_MIN ? INT64_MAX : step == STEP_MUL ? 1 : 0;
    return c;
}

static void load(const plan *p, int64_t at, int64_t n, cell *dst) {
    if (p->floats) {
        tn_row_load_f64(p->dtype, p->x, at, n, &dst->f);
        return;
    }
    tn_row_load_i64(p->dtype, p->x, at, n, &dst->i);
    if (p->unsigned64)
        for (int64_t i = 0; i < n; i++) dst[i].i = (int64_t)((uint64_t)dst[i].i ^ ((uint64_t)1 << 63));
}

/* One pass over all that is reduced into `width` outputs from `base` on (width 1 with a run). */
static void pass(const plan *p, step_kind step, int64_t base, int64_t width, const cell *shift, cell *acc) {
    cell x[COLUMNS], start = identity(p, step);
    int64_t lanes = p->run ? LANES : width, length = p->run ? p->run : width;
    for (int64_t i = 0; i < lanes; i++) acc[i] = start;
    for (int64_t r = 0; r < p->outer; r++) {
        int64_t at = base + offset_of(r, p->n_reduce, p->reduce, p->reduce_stride);
        for (int64_t j = 0; j < length; j += COLUMNS) {
            int64_t n = TN_MIN(COLUMNS, length - j);
            load(p, at + j, n, x);
            if (p->floats)
                step_f64(step, &acc->f, &shift->f, &x->f, n, lanes);
            else
                step_i64(step, &acc->i, &shift->i, &x->i, n, lanes);
        }
    }
    if (!p->run) return;
    if (p->floats)
        acc->f = join_f64(step, &acc->f);
    else
        acc->i = join_i64(step, &acc->i);
}

/* ---- float32 ------------------------------------------------------------------------------------------------- */

/* The kernels have these steps. */
static bool has_kernel(const plan *p) {
    bool steps = p->step == STEP_ADD || p->step == STEP_SQUARE || p->step == STEP_MAX || p->step == STEP_MIN;
    return p->dtype == TERN_FLOAT && steps && p->count > 0;
}

static double fast_run(const plan *p, step_kind step, int64_t base) {
    double acc = identity(p, step).f;
    for (int64_t r = 0; r < p->outer; r++) {
        const float *x = (const float *)p->x + base + offset_of(r, p->n_reduce, p->reduce, p->reduce_stride);
        size_t n = (size_t)p->run;
        if (step == STEP_ADD)
            for (size_t j = 0; j < n; j += COLUMNS)
                acc += tn_row_sum_f32(p->tier, x + j, TN_MIN(n - j, (size_t)COLUMNS));
        else if (step == STEP_SQUARE)
            for (size_t j = 0; j < n; j += COLUMNS)
                acc += tn_row_square_f32(p->tier, x + j, 0, TN_MIN(n - j, (size_t)COLUMNS));
        else if (step == STEP_MAX)
            acc = max_f64(acc, (double)tn_row_extreme_f32(p->tier, x, n, true));
        else
            acc = min_f64(acc, (double)tn_row_extreme_f32(p->tier, x, n, false));
        if (acc != acc) break;
    }
    return acc;
}

static bool has_rows(const plan *p) { return p->dtype == TERN_FLOAT && p->run && p->count > 0; }

/* The sum of exp(x - shift). */
static double fast_exp(const plan *p, int64_t base, float shift) {
    float e[COLUMNS];
    double acc = 0;
    for (int64_t r = 0; r < p->outer; r++) {
        const float *x = (const float *)p->x + base + offset_of(r, p->n_reduce, p->reduce, p->reduce_stride);
        for (int64_t j = 0; j < p->run; j += COLUMNS)
            acc += tn_row_exp_f32(p->tier, x + j, shift, e, (size_t)TN_MIN(COLUMNS, p->run - j));
    }
    return acc;
}

/* `width` neighbouring outputs. */
static void fast_columns(const plan *p, int64_t base, int64_t width, double *acc) {
    float part[COLUMNS], square[COLUMNS];
    const float start = (float)identity(p, p->step).f;
    const bool sum = p->step == STEP_ADD || p->step == STEP_SQUARE;
    const tn_bin_kind op = sum ? TN_BIN_ADD : p->step == STEP_MAX ? TN_BIN_MAX : TN_BIN_MIN;
    for (int64_t i = 0; i < width; i++) acc[i] = 0;
    for (int64_t i = 0; i < width; i++) part[i] = start;
    for (int64_t r = 0; r < p->outer; r++) {
        const float *x = (const float *)p->x + base + offset_of(r, p->n_reduce, p->reduce, p->reduce_stride);
        if (p->step == STEP_SQUARE) {
            tn_bin_f32(p->tier, TN_BIN_MUL, x, 1, x, 1, square, (size_t)width);
            x = square;
        }
        tn_bin_f32(p->tier, op, part, 1, x, 1, part, (size_t)width);
        if (!sum || (r + 1) % SHORT_SUM) continue;
        for (int64_t i = 0; i < width; i++) acc[i] += (double)part[i];
        for (int64_t i = 0; i < width; i++) part[i] = 0;
    }
    for (int64_t i = 0; i < width; i++) acc[i] = sum ? acc[i] + (double)part[i] : (double)part[i];
}

static double finish_float(const plan *p, double v, double shift) {
    switch (p->kind) {
    case MEAN:
        return v / (double)p->count;
    case L2:
        return sqrt(v);
    case LOG_SUM:
        return log(v);
    case LOG_SUM_EXP:
        return log(v) + shift;
    default:
        return v;
    }
}

/* Extremes of empty sets are those of the type. */
static int64_t clamp_to_type(tern_dtype t, int64_t v) {
    int bits = (int)tern_dtype_size(t) * 8;
    if (t == TERN_BOOL) return v > 0;
    if (bits == 64) return v;
    bool is_signed = tn_type_in(t, TN_TYPES_SINT);
    int64_t high = (int64_t)(((uint64_t)1 << (is_signed ? bits - 1 : bits)) - 1), low = is_signed ? -high - 1 : 0;
    return TN_MIN(TN_MAX(v, low), high);
}

static int64_t finish_int(const plan *p, int64_t v) {
    if (p->unsigned64) return (int64_t)((uint64_t)v ^ ((uint64_t)1 << 63));
    if (p->kind == MAX || p->kind == MIN) return clamp_to_type(p->dtype, v);
    if (p->kind != MEAN) return v;
    if (p->count == 0) return 0;
    return p->dtype == TERN_UINT64 ? (int64_t)((uint64_t)v / (uint64_t)p->count) : v / p->count;
}

static void reduce_columns(const plan *p, int64_t base, int64_t out, int64_t width) {
    cell acc[COLUMNS], shift[COLUMNS];
    int64_t lanes = p->run ? LANES : width;
    memset(shift, 0, (size_t)lanes * sizeof *shift);
    if (p->kind == LOG_SUM_EXP && has_rows(p)) {
        shift->f = fast_run(p, STEP_MAX, base);
        if (!isfinite(shift->f)) shift->f = 0;
    } else if (p->kind == LOG_SUM_EXP) {
        pass(p, STEP_MAX, base, width, shift, shift);
        for (int64_t i = 0; i < lanes; i++) {
            if (p->run) shift[i] = shift[0];
            if (!isfinite(shift[i].f)) shift[i].f = 0;
        }
    }
    if (p->kind == LOG_SUM_EXP && has_rows(p))
        acc->f = fast_exp(p, base, (float)shift->f);
    else if (!has_kernel(p))
        pass(p, p->step, base, width, shift, acc);
    else if (p->run)
        acc->f = fast_run(p, p->step, base);
    else
        fast_columns(p, base, width, &acc->f);
    if (p->floats) {
        for (int64_t i = 0; i < width; i++) acc[i].f = finish_float(p, acc[i].f, shift[i].f);
        tn_row_store_f64(p->dtype, p->y, out, width, &acc->f);
    } else {
        for (int64_t i = 0; i < width; i++) acc[i].i = finish_int(p, acc[i].i);
        tn_row_store_i64(p->dtype, p->y, out, width, &acc->i);
    }
}

/* A task is one output, or COLUMNS neighbouring ones. */
static void reduce_task(void *context, int64_t begin, int64_t end, int worker) {
    const plan *p = context;
    (void)worker;
    int64_t parts = tn_ceil_div(p->columns, COLUMNS);
    for (int64_t t = begin; t < end; t++) {
        int64_t row = t / parts, column = t % parts * COLUMNS;
        int64_t base = offset_of(row, p->n_keep, p->keep, p->keep_stride) + column;
        reduce_columns(p, base, row * p->columns + column, TN_MIN(COLUMNS, p->columns - column));
    }
}

static step_kind step_of(reduce_kind kind) {
    static const step_kind steps[] = {
        [SUM] = STEP_ADD,         [MEAN] = STEP_ADD,         [MAX] = STEP_MAX,   [MIN] = STEP_MIN,
        [PROD] = STEP_MUL,        [L1] = STEP_ABS,           [L2] = STEP_SQUARE, [LOG_SUM] = STEP_ADD,
        [LOG_SUM_EXP] = STEP_EXP, [SUM_SQUARE] = STEP_SQUARE};
    return steps[kind];
}

/* ---- operators --------------------------------------------------------------------------------------------- */

#define REDUCE_TYPES  (TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64) | TN_T(UINT32) | TN_T(UINT64))
#define EXTREME_TYPES (REDUCE_TYPES | TN_T(INT8) | TN_T(UINT8) | TN_T(BOOL))

static int axes_input(const tn_node *n, reduce_kind kind) { return n->since >= (kind == SUM ? 13 : 18) ? 1 : -1; }

/* Which dims are reduced. */
static tern_status reduce_mask(const tn_node *n, const tn_ints *axes, int rank, bool *mask, tern_error *err) {
    if (axes->given && axes->count) return tn_args_axes(axes->v, axes->count, rank, mask, err);
    bool all = tn_attr_i(n, "noop_with_empty_axes", 0) == 0;
    for (int i = 0; i < rank; i++) mask[i] = all;
    return TERN_OK;
}

static tern_status infer_reduce(tn_infer *c, reduce_kind kind) {
    TN_TRY(tn_args_need(c, 0, kind == MAX || kind == MIN ? EXTREME_TYPES : REDUCE_TYPES));
    tn_ints axes;
    TN_TRY(tn_ints_infer(c, "axes", axes_input(c->node, kind), &axes));
    bool keep = tn_attr_i(c->node, "keepdims", 1) != 0, mask[TERN_MAX_RANK];
    tern_dtype dtype = c->in[0]->dtype;
    tn_shape s, out = {.rank = 0};
    if (!tn_args_shape(c, 0, &s) || (!axes.known && !keep)) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    if (!axes.known) {
        out = tn_args_unknown_dims(s.rank);
        tn_infer_out(c, 0, dtype, &out);
        return TERN_OK;
    }
    TN_TRY(reduce_mask(c->node, &axes, s.rank, mask, c->err));
    for (int i = 0; i < s.rank; i++) {
        if (!mask[i])
            out.dims[out.rank++] = s.dims[i];
        else if (keep)
            out.dims[out.rank++] = 1;
    }
    tn_infer_out(c, 0, dtype, &out);
    return TERN_OK;
}

static tern_status run_reduce(tn_run *c, reduce_kind kind) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    tn_ints axes;
    bool mask[TERN_MAX_RANK] = {false};
    TN_TRY(tn_ints_run(c, "axes", axes_input(c->node, kind), &axes));
    TN_TRY(reduce_mask(c->node, &axes, x->shape.rank, mask, c->err));
    plan p = {.kind = kind,
              .step = step_of(kind),
              .dtype = x->dtype,
              .tier = c->tier,
              .x = x->data,
              .y = y->data,
              .count = 1};
    p.outputs = tn_shape_count(&y->shape);
    p.floats = tn_type_in(x->dtype, TN_TYPES_FLOAT) || kind == L2 || kind == LOG_SUM || kind == LOG_SUM_EXP;
    p.unsigned64 = x->dtype == TERN_UINT64 && (kind == MAX || kind == MIN) && !p.floats;
    if (p.outputs == 0) return TERN_OK;
    for (int i = 0; i < x->shape.rank; i++)
        if (mask[i]) p.count *= x->shape.dims[i];
    if (p.count == 0) {
        /* Nothing to read: every output is what the reduction starts from. */
        p.columns = p.outputs;
        p.outer = 0;
    } else {
        make_groups(&p, &x->shape, mask);
    }
    int64_t tasks = p.outputs / p.columns * tn_ceil_div(p.columns, COLUMNS);
    tn_parallel_for(p.outputs * p.count < 16384 ? 1 : c->threads, tasks, reduce_task, &p);
    return TERN_OK;
}

#define REDUCE(NAME, KIND)                                                                    \
    static tern_status infer_##NAME(tn_infer *c) { return infer_reduce(c, KIND); }            \
    static tern_status run_##NAME(tn_run *c) { return run_reduce(c, KIND); }                  \
    const tn_op tn_op_reduce_##NAME##1 = TN_ARGS_OP(infer_##NAME, run_##NAME, 1, 1, 1, 1, 0); \
    const tn_op tn_op_reduce_##NAME = TN_ARGS_OP(infer_##NAME, run_##NAME, 1, 2, 1, 1, 0);
REDUCE(sum, SUM)
REDUCE(mean, MEAN)
REDUCE(max, MAX)
REDUCE(min, MIN)
REDUCE(prod, PROD)
REDUCE(l1, L1)
REDUCE(l2, L2)
REDUCE(log_sum, LOG_SUM)
REDUCE(log_sum_exp, LOG_SUM_EXP)
REDUCE(sum_square, SUM_SQUARE)
