/* CumSum and CumProd: running sums and products along an axis. Sums of floats add up in double; products are in the
 * element type's own arithmetic (float16 and bfloat16 in float32). */
#include "ops/args.h"
#include "ops/rowio.h"

#define TYPES (TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64) | TN_T(UINT32) | TN_T(UINT64))
#define BLOCK 256

static tern_status axis_of(const tern_tensor *t, int rank, int *axis, tern_error *err) {
    if (tn_shape_count(&t->shape) != 1)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "axis has %lld elements where 1 is needed",
                       (long long)tn_shape_count(&t->shape));
    return tn_args_axis(tn_tensor_get_i64(t, 0), rank, axis, err);
}

static tern_status infer_cumulative(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TYPES));
    TN_TRY(tn_args_need(c, 1, TN_T(INT32) | TN_T(INT64)));
    tn_shape s;
    int axis;
    if (tn_args_shape(c, 0, &s) && c->value[1]) TN_TRY(axis_of(c->value[1], s.rank, &axis, c->err));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

typedef struct cumulative cumulative;
typedef void (*cumulative_fn)(const cumulative *p, int64_t at, int64_t width);

struct cumulative {
    const tern_tensor *x;
    tern_tensor *y;
    tn_rows r;
    bool exclusive, reverse;
    cumulative_fn line, columns;
};

/* NAME_line: the neighbouring elements of one line, which starts at `at`. NAME_columns: `width` neighbouring columns,
 * which start at `at`; all of them go down together. */
#define RUNNING(NAME, T, LOAD, STORE, FIRST, OP)                                 \
    static void NAME##_line(const cumulative *p, int64_t at, int64_t width) {    \
        T v[BLOCK], run = FIRST;                                                 \
        (void)width;                                                             \
        for (int64_t done = 0, n; done < p->r.dim; done += n) {                  \
            n = TN_MIN((int64_t)BLOCK, p->r.dim - done);                         \
            int64_t from = at + (p->reverse ? p->r.dim - done - n : done);       \
            LOAD(p->x->dtype, p->x->data, from, n, v);                           \
            for (int64_t k = 0; k < n; k++) {                                    \
                T *e = &v[p->reverse ? n - 1 - k : k], next = run OP * e;        \
                *e = p->exclusive ? run : next;                                  \
                run = next;                                                      \
            }                                                                    \
            STORE(p->y->dtype, p->y->data, from, n, v);                          \
        }                                                                        \
    }                                                                            \
    static void NAME##_columns(const cumulative *p, int64_t at, int64_t width) { \
        T v[BLOCK], run[BLOCK];                                                  \
        for (int64_t i = 0; i < width; i++) run[i] = FIRST;                      \
        for (int64_t d = 0; d < p->r.dim; d++) {                                 \
            int64_t row = at + (p->reverse ? p->r.dim - 1 - d : d) * p->r.inner; \
            LOAD(p->x->dtype, p->x->data, row, width, v);                        \
            if (p->exclusive) STORE(p->y->dtype, p->y->data, row, width, run);   \
            for (int64_t i = 0; i < width; i++) run[i] = run[i] OP v[i];         \
            if (!p->exclusive) STORE(p->y->dtype, p->y->data, row, width, run);  \
        }                                                                        \
    }

static void load_u64(tern_dtype dtype, const void *data, int64_t at, int64_t n, uint64_t *dst) {
    tn_row_load_i64(dtype, data, at, n, (int64_t *)dst);
}
static void store_u64(tern_dtype dtype, void *data, int64_t at, int64_t n, const uint64_t *src) {
    tn_row_store_i64(dtype, data, at, n, (const int64_t *)src);
}

/* uint64 wraps; its low bits are those of every integer type. */
RUNNING(sum_f64, double, tn_row_load_f64, tn_row_store_f64, 0, +)
RUNNING(sum_u64, uint64_t, load_u64, store_u64, 0, +)
RUNNING(product_f64, double, tn_row_load_f64, tn_row_store_f64, 1, *)
RUNNING(product_f32, float, tn_row_load_f32, tn_row_store_f32, 1, *)
RUNNING(product_u64, uint64_t, load_u64, store_u64, 1, *)
#undef RUNNING

static void cumulative_task(void *context, int64_t begin, int64_t end, int worker) {
    const cumulative *p = context;
    (void)worker;
    int64_t parts = tn_ceil_div(p->r.inner, BLOCK);
    cumulative_fn fn = p->r.inner == 1 ? p->line : p->columns;
    for (int64_t t = begin; t < end; t++) {
        int64_t column = t % parts * BLOCK;
        fn(p, t / parts * p->r.dim * p->r.inner + column, TN_MIN((int64_t)BLOCK, p->r.inner - column));
    }
}

static tern_status run_cumulative(tn_run *c, cumulative_fn line, cumulative_fn columns) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    TN_TRY(axis_of(c->in[1], x->shape.rank, &axis, c->err));
    cumulative p = {.x = x,
                    .y = c->out[0],
                    .r = tn_rows_of(&x->shape, axis),
                    .exclusive = tn_attr_i(c->node, "exclusive", 0) != 0,
                    .reverse = tn_attr_i(c->node, "reverse", 0) != 0,
                    .line = line,
                    .columns = columns};
    int64_t n = tn_shape_count(&x->shape);
    if (n == 0) return TERN_OK;
    tn_parallel_for(n < 8192 ? 1 : c->threads, p.r.outer * tn_ceil_div(p.r.inner, BLOCK), cumulative_task, &p);
    return TERN_OK;
}

static tern_status run_cumsum(tn_run *c) {
    return tn_type_in(c->in[0]->dtype, TN_TYPES_FLOAT) ? run_cumulative(c, sum_f64_line, sum_f64_columns)
                                                       : run_cumulative(c, sum_u64_line, sum_u64_columns);
}

static tern_status run_cumprod(tn_run *c) {
    tern_dtype t = c->in[0]->dtype;
    if (t == TERN_DOUBLE) return run_cumulative(c, product_f64_line, product_f64_columns);
    if (tn_type_in(t, TN_TYPES_FLOAT)) return run_cumulative(c, product_f32_line, product_f32_columns);
    return run_cumulative(c, product_u64_line, product_u64_columns);
}

const tn_op tn_op_cumsum = TN_ARGS_OP(infer_cumulative, run_cumsum, 2, 2, 1, 1, 0);
const tn_op tn_op_cumprod = TN_ARGS_OP(infer_cumulative, run_cumprod, 2, 2, 1, 1, 0);
