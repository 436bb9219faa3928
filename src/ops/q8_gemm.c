/* Products of 8-bit matrices with a constant B: what QLinearMatMul and MatMulInteger use where they can, and
 * tern:QGemm. */
#include "ops/fused.h"
#include "ops/qlinear_internal.h"

static const tn_type *type_of(const tn_prepare *c, int i) { return i >= 0 && i < c->node->n_in ? c->in[i] : NULL; }
static const tern_tensor *input(const tn_run *c, int i) { return i >= 0 && i < c->node->n_in ? c->in[i] : NULL; }

/* Absent, or so many values: one, or `many` when that is positive. */
static bool has_count(const tn_prepare *c, int i, int64_t many) {
    const tn_type *t = type_of(c, i);
    int64_t count = t ? tn_shape_count(&t->shape) : 1;
    return count == 1 || (many > 0 && count == many);
}

bool tn_op_q8_gemm_ok(const tn_prepare *c, const tn_qmatmul_inputs *in) {
    const tn_type *a = c->in[in->a], *b = c->in[in->b];
    if (!tn_type_in(a->dtype, TN_TYPES_BYTE) || !tn_type_in(b->dtype, TN_TYPES_BYTE)) return false;
    if (!c->value[in->b] || (type_of(c, in->b_zero) && !c->value[in->b_zero])) return false;
    if (a->shape.rank < 2 || b->shape.rank != 2) return false;
    const int64_t *d = b->shape.dims;
    if (d[0] < 1 || d[1] < 1 || d[0] > INT32_MAX || d[1] > INT32_MAX || (double)d[0] * (double)d[1] > 0x1p34)
        return false;
    const tn_type *scales[] = {type_of(c, in->a_scale), type_of(c, in->b_scale), type_of(c, in->y_scale)};
    for (size_t i = 0; i < TN_COUNT(scales); i++)
        if (scales[i] && scales[i]->dtype != TERN_FLOAT) return false;
    int64_t n = c->out[0].shape.dims[c->out[0].shape.rank - 1];
    return has_count(c, in->a_zero, 0) && has_count(c, in->a_scale, 0) && has_count(c, in->b_zero, n) &&
           has_count(c, in->b_scale, n);
}

typedef struct pack_context {
    const tn_q8_gemm_state *s;
    const tern_tensor *zero;
} pack_context;

static void pack_b(const void *context, const tern_tensor *b, void *dst) {
    const pack_context *p = context;
    tn_q8_gemm_pack(p->s->isa, &p->s->gemm, b->data, p->zero ? p->zero->data : NULL,
                    p->zero ? tn_shape_count(&p->zero->shape) : 0, dst);
}

tern_status tn_op_q8_gemm_prepare(tn_prepare *c, const tn_qmatmul_inputs *in, bool trans_b, tn_q8_gemm_state *s,
                                  const char **kernel) {
    const tn_shape *a = &c->in[in->a]->shape, *b = &c->in[in->b]->shape;
    int64_t k = a->dims[a->rank - 1], n = b->dims[trans_b ? 0 : 1];
    s->isa = tn_q8_best(c->tier);
    s->gemm = (tn_q8_gemm){.m = tn_shape_count_range(a, 0, a->rank - 1), .n = n, .k = k};
    s->gemm.b_rs = trans_b ? 1 : n;
    s->gemm.b_cs = trans_b ? k : 1;
    s->gemm.a_signed = c->in[in->a]->dtype == TERN_INT8;
    s->gemm.b_signed = c->in[in->b]->dtype == TERN_INT8;
    s->gemm.c_signed = c->out[0].dtype == TERN_INT8;
    s->gemm.c_int32 = c->out[0].dtype == TERN_INT32;
    *kernel = tn_q8_gemm_name(s->isa);
    pack_context p = {s, type_of(c, in->b_zero) ? c->value[in->b_zero] : NULL};
    uint64_t key = tn_op_zero_key(p.zero) ^ tn_hash(*kernel, strlen(*kernel), trans_b);
    s->packed = tn_pack_get(c, in->b, key, tn_q8_gemm_packed_bytes(s->isa, &s->gemm), pack_b, &p);
    if (!s->packed) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    c->workspace = tn_q8_gemm_workspace(s->isa, &s->gemm, c->threads);
    bool ok = tn_ops_reserve(&c->workspace, n, sizeof(float), &s->at_scale);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

void tn_op_q8_gemm_run(tn_run *c, const tn_qmatmul_inputs *in, const tn_q8_gemm_state *s) {
    const tern_tensor *bias = input(c, in->bias);
    tn_q8_args a = {.packed = s->packed, .x_zero = tn_op_byte_at(input(c, in->a_zero), 0)};
    a.bias = bias ? bias->data : NULL;
    if (in->y_scale >= 0) {
        const tern_tensor *bs = c->in[in->b_scale];
        const float *as = c->in[in->a_scale]->data, *ys = c->in[in->y_scale]->data, *values = bs->data;
        float *scale = (float *)((char *)c->workspace + s->at_scale);
        bool many = tn_shape_count(&bs->shape) > 1;
        for (int64_t i = 0; i < s->gemm.n; i++) scale[i] = as[0] * values[many ? i : 0] / ys[0];
        a.scale = scale;
        a.y_zero = tn_op_byte_at(c->in[in->y_zero], 0);
        tn_op_q8_bounds(c->node, "q_low", "q_high", s->gemm.c_signed, &a.y_low, &a.y_high);
    }
    tn_q8_gemm_run(s->isa, &s->gemm, &a, c->in[in->a]->data, c->out[0]->data, c->workspace, c->threads);
}

/* ---- tern:QGemm -------------------------------------------------------------------------------------------------- */

static const tn_qmatmul_inputs gemm_inputs = {0, 3, 2, 5, 1, 4, 6, 7, 8};

typedef struct qgemm_state {
    const char *kernel;
    tn_q8_gemm_state q8;
} qgemm_state;

static tern_status qgemm_infer(tn_infer *c) {
    static const uint32_t types[] = {TN_TYPES_BYTE, TN_T(FLOAT), TN_TYPES_BYTE, TN_TYPES_BYTE, TN_T(FLOAT),
                                     TN_TYPES_BYTE, TN_T(FLOAT), TN_TYPES_BYTE, TN_T(INT32)};
    static const int single[] = {1, 2, 6, 7};
    for (int i = 0; i < c->node->n_in; i++) TN_TRY(tn_infer_want(c, i, types[i]));
    for (size_t i = 0; i < TN_COUNT(single); i++) TN_TRY(tn_op_want_count(c, single[i], 1, "scale or zero point"));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    TN_TRY(tn_infer_same_type(c, 3, 5));
    const tn_type *a = c->in[0], *b = c->in[3], *bias = c->node->n_in > 8 ? c->in[8] : NULL;
    tern_dtype y = c->in[7] ? c->in[7]->dtype : TERN_UNDEFINED;
    if (!a || !b || !a->ranked || !b->ranked) {
        tn_infer_out(c, 0, y, NULL);
        return TERN_OK;
    }
    bool trans_b = tn_attr_i(c->node, "transB", 0) != 0;
    if (a->shape.rank < 2 || b->shape.rank != 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has rank %d, B has rank %d", a->shape.rank, b->shape.rank);
    tn_shape out = a->shape;
    int64_t k = out.dims[out.rank - 1], kb = b->shape.dims[trans_b ? 1 : 0], n = b->shape.dims[trans_b ? 0 : 1];
    if (tn_dim_known(k) && tn_dim_known(kb) && k != kb)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has %lld columns, B has %lld rows", (long long)k,
                             (long long)kb);
    TN_TRY(tn_op_want_count(c, 4, n, "scale of B"));
    TN_TRY(tn_op_want_count(c, 5, n, "zero point of B"));
    if (bias && bias->ranked &&
        (bias->shape.rank != 1 || (tn_dim_known(bias->shape.dims[0]) && tn_dim_known(n) && bias->shape.dims[0] != n)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the bias does not have %lld values", (long long)n);
    out.dims[out.rank - 1] = n;
    tn_infer_out(c, 0, y, &out);
    return TERN_OK;
}

static tern_status qgemm_prepare(tn_prepare *c) {
    qgemm_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    if (!tn_op_q8_gemm_ok(c, &gemm_inputs))
        return tn_fail(c->err, TERN_UNSUPPORTED,
                       "this operator is made by optimisation; B and its zero point must be constants");
    return tn_op_q8_gemm_prepare(c, &gemm_inputs, tn_attr_i(c->node, "transB", 0) != 0, &s->q8, &s->kernel);
}

static tern_status qgemm_run(tn_run *c) {
    const qgemm_state *s = c->state;
    if (c->out[0] && tn_shape_count(&c->out[0]->shape) > 0) tn_op_q8_gemm_run(c, &gemm_inputs, &s->q8);
    return TERN_OK;
}

static int64_t qgemm_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    (void)node;
    int64_t total = tn_shape_count(&out->shape), k = in[0]->shape.dims[in[0]->shape.rank - 1];
    return tn_mul_i64(total, k, &total) ? total : INT64_MAX;
}

const tn_op tn_op_q8_gemm = {.infer = qgemm_infer,
                             .prepare = qgemm_prepare,
                             .run = qgemm_run,
                             .min_in = 8,
                             .max_in = 9,
                             .min_out = 1,
                             .max_out = 1,
                             .flags = TN_OP_KERNEL_NAME,
                             .macs = qgemm_macs};
