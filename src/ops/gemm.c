#include "kernels/bf16_gemm.h"
#include "kernels/eltwise.h"
#include "ops/conv_internal.h"
#include "ops/fused.h"
#include "ops/matmul_internal.h"

#define TYPES (TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64) | TN_T(UINT32) | TN_T(UINT64))

typedef enum c_form {
    C_NONE,
    C_ROW,    /* n values, the same for every row; or one value */
    C_COLUMN, /* m values, the same for every column */
    C_FULL    /* any other: added in a pass of its own */
} c_form;

typedef struct gemm_state {
    const char *kernel;
    tern_cpu_tier tier;
    tern_dtype dtype;
    int64_t m, n, k;
    int64_t a_rs, a_cs, b_rs, b_cs, c_rs, c_cs; /* strides in elements; of C: 0 where it is broadcast */
    float alpha, beta;
    tn_act act;
    c_form form;
    bool wide;   /* float16, bfloat16: computed on float32 copies */
    bool copy_c; /* the bias must be scaled or repeated first */
    bool bf16;   /* numbers are rounded to bfloat16, by the kernels of isa */
    tn_bf16_isa isa;
    tn_gemm_f32 gemm;
    const void *packed;
    size_t at_a, at_b, at_c, at_y, at_bias, at_gemm;
} gemm_state;

/* ---- infer --------------------------------------------------------------------------------------------------- */

static const tn_type *c_type(const tn_type *const *in, const tn_node *node) { return node->n_in > 2 ? in[2] : NULL; }

static tern_status check_c(tn_infer *c, const tn_shape *y) {
    const tn_type *t = c_type(c->in, c->node);
    if (!t || !t->ranked) return TERN_OK;
    bool ok = t->shape.rank <= 2;
    for (int i = 0; ok && i < t->shape.rank; i++) {
        int64_t d = t->shape.dims[i], want = y->dims[i + 2 - t->shape.rank];
        ok = !tn_dim_known(d) || d == 1 || !tn_dim_known(want) || d == want;
    }
    if (ok) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "C has shape %s, which does not broadcast to the output's %s",
                         tn_shape_text(&t->shape, a, sizeof a), tn_shape_text(y, b, sizeof b));
}

static tern_status infer_gemm(tn_infer *c, uint32_t types) {
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_infer_want(c, i, types));
        TN_TRY(tn_infer_same_type(c, 0, i));
    }
    tn_shape y = {.rank = 2, .dims = {TN_DIM_UNKNOWN, TN_DIM_UNKNOWN}};
    int64_t k[2] = {TN_DIM_UNKNOWN, TN_DIM_UNKNOWN};
    for (int i = 0; i < 2; i++) {
        const tn_type *t = c->in[i];
        bool transposed = tn_attr_i(c->node, i ? "transB" : "transA", 0) != 0;
        if (!t || !t->ranked) continue;
        if (t->shape.rank != 2)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s has rank %d, not 2", i ? "B" : "A", t->shape.rank);
        y.dims[i] = t->shape.dims[transposed ? 1 - i : i];
        k[i] = t->shape.dims[transposed ? i : 1 - i];
    }
    if (tn_dim_known(k[0]) && tn_dim_known(k[1]) && k[0] != k[1])
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has %lld columns, B has %lld rows", (long long)k[0],
                             (long long)k[1]);
    TN_TRY(check_c(c, &y));
    tn_infer_out(c, 0, c->in[0] ? c->in[0]->dtype : TERN_UNDEFINED, &y);
    return TERN_OK;
}

static tern_status gemm_infer(tn_infer *c) { return infer_gemm(c, TYPES); }

/* A with more than two dims: a product for each row, like MatMul; the output keeps the leading dims. */
static tern_status infer_rows(tn_infer *c) {
    const tn_type *a = c->in[0], *b = c->in[1];
    tn_shape y = a->shape;
    y.dims[y.rank - 1] = TN_DIM_UNKNOWN;
    if (tn_attr_i(c->node, "transA", 0) != 0) return tn_infer_fail(c, TERN_INVALID_MODEL, "transA with rows of rows");
    if (b && b->ranked) {
        bool transposed = tn_attr_i(c->node, "transB", 0) != 0;
        if (b->shape.rank != 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "B has rank %d, not 2", b->shape.rank);
        int64_t ka = a->shape.dims[a->shape.rank - 1], kb = b->shape.dims[transposed ? 1 : 0];
        if (tn_dim_known(ka) && tn_dim_known(kb) && ka != kb)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has %lld columns, B has %lld rows", (long long)ka,
                                 (long long)kb);
        y.dims[y.rank - 1] = b->shape.dims[transposed ? 0 : 1];
    }
    const tn_type *bias = c_type(c->in, c->node);
    if (bias && bias->ranked && (bias->shape.rank != 1 || bias->shape.dims[0] != y.dims[y.rank - 1]))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "C is no row of the output");
    tn_infer_out(c, 0, TERN_FLOAT, &y);
    return TERN_OK;
}

static tern_status fused_infer(tn_infer *c) {
    tn_act act;
    if (!tn_op_act(c->node, &act)) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    bool rows = c->in[0] && c->in[0]->ranked && c->in[0]->shape.rank > 2;
    for (int i = 0; i < c->node->n_in && rows; i++) TN_TRY(tn_infer_want(c, i, TN_T(FLOAT)));
    TN_TRY(rows ? infer_rows(c) : infer_gemm(c, TN_T(FLOAT)));
    const tn_type *z = c->node->n_in > 3 ? c->in[3] : NULL;
    if (z && z->ranked && c->out[0].ranked && tn_shape_known(&z->shape) && tn_shape_known(&c->out[0].shape) &&
        !tn_shape_equal(&z->shape, &c->out[0].shape))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "Z has another shape than the output");
    return TERN_OK;
}

/* ---- prepare ------------------------------------------------------------------------------------------------- */

static void read_sizes(const tn_prepare *c, gemm_state *s) {
    const tn_shape *a = &c->in[0]->shape, *b = &c->in[1]->shape;
    bool ta = tn_attr_i(c->node, "transA", 0) != 0, tb = tn_attr_i(c->node, "transB", 0) != 0;
    s->m = ta ? a->dims[1] : tn_shape_count_range(a, 0, a->rank - 1);
    s->k = a->dims[ta ? 0 : a->rank - 1];
    s->n = b->dims[tb ? 0 : 1];
    s->a_rs = ta ? 1 : s->k, s->a_cs = ta ? s->m : 1;
    s->b_rs = tb ? 1 : s->n, s->b_cs = tb ? s->k : 1;
    s->alpha = tn_attr_f(c->node, "alpha", 1);
    s->beta = tn_attr_f(c->node, "beta", 1);
}

static void read_c(const tn_prepare *c, gemm_state *s) {
    const tn_type *t = c_type(c->in, c->node);
    if (!t) return;
    int64_t rows = t->shape.rank == 2 ? t->shape.dims[0] : 1,
            columns = t->shape.rank ? t->shape.dims[t->shape.rank - 1] : 1;
    s->c_rs = rows == 1 ? 0 : columns;
    s->c_cs = columns == 1 ? 0 : 1;
    s->form = rows == 1 ? C_ROW : columns == 1 ? C_COLUMN : C_FULL;
    s->copy_c = s->form != C_FULL && (s->beta != 1 || (s->form == C_ROW && columns != s->n));
}

static tern_status pack_constant(tn_prepare *c, gemm_state *s) {
    s->bf16 = tn_attr_i(c->node, "bf16", 0) != 0;
    s->isa = tn_bf16_best(c->tier);
    if (s->bf16) s->kernel = tn_bf16_gemm_name(s->isa);
    return tn_ops_gemm_pack(c, &s->gemm, s->bf16, &s->packed);
}

static tern_status prepare_f32(tn_prepare *c, gemm_state *s) {
    s->kernel = tn_ops_gemm_name(c->tier);
    s->gemm = (tn_gemm_f32){.m = s->m,
                            .n = s->n,
                            .k = s->k,
                            .a_rs = s->a_rs,
                            .a_cs = s->a_cs,
                            .b_rs = s->b_rs,
                            .b_cs = s->b_cs,
                            .ldc = s->n,
                            .alpha = s->alpha};
    s->gemm.accumulate = c->node->n_in > 3 && c->in[3];
    s->gemm.bias_n = s->form == C_ROW;
    s->gemm.bias_m = s->form == C_COLUMN;
    if (s->form != C_FULL) s->gemm.act = s->act;
    if (c->value[1] && !s->wide && s->k > 0) TN_TRY(pack_constant(c, s));
    size_t total = 0, gemm_bytes = 0;
    if (s->k > 0)
        gemm_bytes = s->bf16 ? tn_bf16_gemm_workspace(s->isa, &s->gemm)
                             : tn_gemm_f32_workspace(c->tier, &s->gemm, s->packed != NULL);
    int64_t c_count = c_type(c->in, c->node) ? tn_shape_count(&c_type(c->in, c->node)->shape) : 0;
    bool ok = tn_ops_reserve(&total, s->wide ? s->m * s->k : 0, sizeof(float), &s->at_a) &&
              tn_ops_reserve(&total, s->wide ? s->k * s->n : 0, sizeof(float), &s->at_b) &&
              tn_ops_reserve(&total, s->wide ? c_count : 0, sizeof(float), &s->at_c) &&
              tn_ops_reserve(&total, s->wide ? s->m * s->n : 0, sizeof(float), &s->at_y) &&
              tn_ops_reserve(&total, s->copy_c ? TN_MAX(s->m, s->n) : 0, sizeof(float), &s->at_bias) &&
              tn_ops_reserve(&total, (int64_t)gemm_bytes, 1, &s->at_gemm);
    c->workspace = total;
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

static tern_status gemm_prepare(tn_prepare *c) {
    gemm_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    s->tier = c->tier;
    s->dtype = c->in[0]->dtype;
    s->wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    if (!tn_op_act(c->node, &s->act)) return tn_fail(c->err, TERN_INVALID_MODEL, "attribute 'act' names no activation");
    read_sizes(c, s);
    read_c(c, s);
    int64_t count;
    if (!tn_shape_count_checked(&c->out[0].shape, &count))
        return tn_fail(c->err, TERN_LIMIT_EXCEEDED, "the output is too large");
    if (count == 0) return TERN_OK;
    return s->wide || s->dtype == TERN_FLOAT ? prepare_f32(c, s) : TERN_OK;
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

static void add_full(const gemm_state *s, const float *cv, float *y) {
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) y[i * s->n + j] += s->beta * cv[i * s->c_rs + j * s->c_cs];
}

static const float *bias_of(const gemm_state *s, const float *cv, float *space) {
    if (!s->copy_c) return cv;
    int64_t count = s->form == C_ROW ? s->n : s->m, step = s->form == C_ROW ? s->c_cs : s->c_rs;
    for (int64_t i = 0; i < count; i++) space[i] = s->beta * cv[i * step];
    return space;
}

static void run_f32(tn_run *c, const gemm_state *s, const float *a, const float *b, const float *cv, float *y) {
    char *ws = c->workspace;
    const float *bias = s->form == C_ROW || s->form == C_COLUMN ? bias_of(s, cv, (float *)(ws + s->at_bias)) : NULL;
    if (s->k == 0) { /* nothing to multiply */
        for (int64_t i = 0; i < s->m * s->n; i++) {
            float sum = s->gemm.accumulate ? y[i] : 0;
            y[i] = sum + (s->form == C_ROW ? bias[i % s->n] : s->form == C_COLUMN ? bias[i / s->n] : 0);
        }
        if (s->form != C_FULL) tn_act_f32(c->tier, &s->act, y, y, (size_t)(s->m * s->n));
    } else if (s->bf16) {
        tn_bf16_gemm_run(s->isa, &s->gemm, a, s->packed, bias, y, ws + s->at_gemm, c->threads);
    } else {
        tn_gemm_f32_run(c->tier, &s->gemm, a, s->packed ? NULL : b, s->packed, bias, y, ws + s->at_gemm, c->threads);
    }
    if (s->form != C_FULL) return;
    add_full(s, cv, y);
    if (s->act.kind != TN_ACT_NONE) tn_act_f32(c->tier, &s->act, y, y, (size_t)(s->m * s->n));
}

static void run_wide(tn_run *c, const gemm_state *s) {
    char *ws = c->workspace;
    float *a = (float *)(ws + s->at_a), *b = (float *)(ws + s->at_b), *cv = (float *)(ws + s->at_c);
    float *y = (float *)(ws + s->at_y);
    tn_ops_to_f32(c->in[0], a);
    tn_ops_to_f32(c->in[1], b);
    if (s->form != C_NONE) tn_ops_to_f32(c->in[2], cv);
    run_f32(c, s, a, b, cv, y);
    tn_ops_from_f32(y, c->out[0]);
}

typedef struct rows_args {
    const gemm_state *s;
    const void *a, *b, *c;
    void *y;
} rows_args;

/* alpha and beta are applied in double where they are not 1 (the standard has no rule for integers), and saturate. */
static double scale_f64(float by, double v) { return (double)by * v; }

#define SCALE_INT(NAME, T, MIN, MAX)                                                        \
    static T NAME(float by, T v) {                                                          \
        double d = (double)by * (double)v;                                                  \
        return d >= (double)(MAX) ? (MAX) : d <= (double)(MIN) ? (MIN) : d == d ? (T)d : 0; \
    }
SCALE_INT(scale_i32, int32_t, INT32_MIN, INT32_MAX)
SCALE_INT(scale_u32, uint32_t, 0, UINT32_MAX)
SCALE_INT(scale_i64, int64_t, INT64_MIN, INT64_MAX)
SCALE_INT(scale_u64, uint64_t, 0, UINT64_MAX)
#undef SCALE_INT

/* T is the unsigned twin of SIGNED: sums wrap. */
#define ROWS(NAME, T, SIGNED, SCALE)                                                                     \
    static void NAME(void *context, int64_t begin, int64_t end, int worker) {                            \
        (void)worker;                                                                                    \
        const rows_args *r = context;                                                                    \
        const gemm_state *s = r->s;                                                                      \
        const T *a = r->a, *b = r->b, *cv = r->c;                                                        \
        for (int64_t i = begin; i < end; i++) {                                                          \
            T *restrict y = (T *)r->y + i * s->n;                                                        \
            for (int64_t j = 0; j < s->n; j++) y[j] = 0;                                                 \
            for (int64_t k = 0; k < s->k; k++)                                                           \
                for (int64_t j = 0; j < s->n; j++)                                                       \
                    y[j] += a[i * s->a_rs + k * s->a_cs] * b[k * s->b_rs + j * s->b_cs];                 \
            for (int64_t j = 0; s->alpha != 1 && j < s->n; j++) y[j] = (T)SCALE(s->alpha, (SIGNED)y[j]); \
            for (int64_t j = 0; cv && j < s->n; j++) {                                                   \
                T v = cv[i * s->c_rs + j * s->c_cs];                                                     \
                y[j] += s->beta == 1 ? v : (T)SCALE(s->beta, (SIGNED)v);                                 \
            }                                                                                            \
        }                                                                                                \
    }
ROWS(rows_f64, double, double, scale_f64)
ROWS(rows_i32, uint32_t, int32_t, scale_i32)
ROWS(rows_u32, uint32_t, uint32_t, scale_u32)
ROWS(rows_i64, uint64_t, int64_t, scale_i64)
ROWS(rows_u64, uint64_t, uint64_t, scale_u64)
#undef ROWS

static tern_status gemm_run(tn_run *c) {
    const gemm_state *s = c->state;
    if (!c->out[0] || s->m == 0 || s->n == 0) return TERN_OK;
    const void *cv = s->form != C_NONE ? c->in[2]->data : NULL;
    rows_args r = {s, c->in[0]->data, c->in[1]->data, cv, c->out[0]->data};
    tn_task_fn rows = s->dtype == TERN_DOUBLE   ? rows_f64
                      : s->dtype == TERN_INT32  ? rows_i32
                      : s->dtype == TERN_UINT32 ? rows_u32
                      : s->dtype == TERN_INT64  ? rows_i64
                                                : rows_u64;
    if (s->wide)
        run_wide(c, s);
    else if (s->dtype == TERN_FLOAT) {
        if (s->gemm.accumulate && r.y != c->in[3]->data) memcpy(r.y, c->in[3]->data, tn_tensor_bytes(c->out[0]));
        run_f32(c, s, r.a, r.b, cv, r.y);
    } else
        tn_parallel_for(c->threads, s->m, rows, &r);
    return TERN_OK;
}

static int64_t gemm_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    int64_t total, k = in[0]->shape.dims[tn_attr_i(node, "transA", 0) != 0 ? 0 : in[0]->shape.rank - 1];
    return tn_shape_count_checked(&out->shape, &total) && tn_mul_i64(total, k, &total) ? total : INT64_MAX;
}

#define GEMM(NAME, INFER, MAX_IN, FLAGS)                                    \
    const tn_op NAME = {.infer = INFER,                                     \
                        .prepare = gemm_prepare,                            \
                        .run = gemm_run,                                    \
                        .min_in = 2,                                        \
                        .max_in = MAX_IN,                                   \
                        .min_out = 1,                                       \
                        .max_out = 1,                                       \
                        .flags = TN_OP_KERNEL_NAME | TN_OP_PACKS | (FLAGS), \
                        .macs = gemm_macs}
GEMM(tn_op_gemm, gemm_infer, 3, 0);
GEMM(tn_op_fused_gemm, fused_infer, 4, TN_OP_INPLACE_RESIDUAL);
