/* CumProd: products along an axis, in the element type's own arithmetic (float16 and bfloat16 in float32). */
#include "ops/args.h"
#include "ops/rowio.h"

#define CUMPROD_TYPES (TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64) | TN_T(UINT32) | TN_T(UINT64))
#define COLUMNS       256

static tern_status cumprod_axis(const tern_tensor *t, int rank, int *axis, tern_error *err) {
    if (tn_shape_count(&t->shape) != 1)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "axis has %lld elements where 1 is needed",
                       (long long)tn_shape_count(&t->shape));
    return tn_args_axis(tn_tensor_get_i64(t, 0), rank, axis, err);
}

static tern_status infer_cumprod(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, CUMPROD_TYPES));
    TN_TRY(tn_args_need(c, 1, TN_T(INT32) | TN_T(INT64)));
    tn_shape s;
    int axis;
    if (tn_args_shape(c, 0, &s) && c->value[1]) TN_TRY(cumprod_axis(c->value[1], s.rank, &axis, c->err));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

typedef struct cumprod {
    const tern_tensor *x;
    tern_tensor *y;
    tn_rows r;
    bool exclusive, reverse;
} cumprod;

/* `width` neighbouring columns from element `at` on: the running products of all of them go down together. */
#define PRODUCTS(NAME, T, LOAD, STORE)                                               \
    static void NAME(const cumprod *p, int64_t at, int64_t width) {                  \
        T v[COLUMNS], run[COLUMNS], before[COLUMNS];                                 \
        for (int64_t i = 0; i < width; i++) run[i] = 1;                              \
        for (int64_t d = 0; d < p->r.dim; d++) {                                     \
            int64_t row = at + (p->reverse ? p->r.dim - 1 - d : d) * p->r.inner;     \
            LOAD(p->x->dtype, p->x->data, row, width, v);                            \
            memcpy(before, run, (size_t)width * sizeof *run);                        \
            for (int64_t i = 0; i < width; i++) run[i] *= v[i];                      \
            STORE(p->y->dtype, p->y->data, row, width, p->exclusive ? before : run); \
        }                                                                            \
    }

static void load_u64(tern_dtype dtype, const void *data, int64_t at, int64_t n, uint64_t *dst) {
    tn_row_load_i64(dtype, data, at, n, (int64_t *)dst);
}
static void store_u64(tern_dtype dtype, void *data, int64_t at, int64_t n, const uint64_t *src) {
    tn_row_store_i64(dtype, data, at, n, (const int64_t *)src);
}

PRODUCTS(products_f64, double, tn_row_load_f64, tn_row_store_f64)
PRODUCTS(products_f32, float, tn_row_load_f32, tn_row_store_f32)
PRODUCTS(products_u64, uint64_t, load_u64, store_u64) /* wraps; the low bits are those of every integer type */
#undef PRODUCTS

static void cumprod_task(void *context, int64_t begin, int64_t end, int worker) {
    const cumprod *p = context;
    (void)worker;
    int64_t parts = tn_ceil_div(p->r.inner, COLUMNS);
    for (int64_t t = begin; t < end; t++) {
        int64_t column = t % parts * COLUMNS, width = TN_MIN((int64_t)COLUMNS, p->r.inner - column);
        int64_t at = t / parts * p->r.dim * p->r.inner + column;
        if (p->x->dtype == TERN_DOUBLE)
            products_f64(p, at, width);
        else if (tn_type_in(p->x->dtype, TN_TYPES_FLOAT))
            products_f32(p, at, width);
        else
            products_u64(p, at, width);
    }
}

static tern_status run_cumprod(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    TN_TRY(cumprod_axis(c->in[1], x->shape.rank, &axis, c->err));
    cumprod p = {.x = x,
                 .y = c->out[0],
                 .r = tn_rows_of(&x->shape, axis),
                 .exclusive = tn_attr_i(c->node, "exclusive", 0) != 0,
                 .reverse = tn_attr_i(c->node, "reverse", 0) != 0};
    int64_t n = tn_shape_count(&x->shape);
    if (n == 0) return TERN_OK;
    tn_parallel_for(n < 8192 ? 1 : c->threads, p.r.outer * tn_ceil_div(p.r.inner, COLUMNS), cumprod_task, &p);
    return TERN_OK;
}

const tn_op tn_op_cumprod = TN_ARGS_OP(infer_cumprod, run_cumprod, 2, 2, 1, 1, 0);
