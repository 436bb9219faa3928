#include "ops/matmul_internal.h"

#include "kernels/bf16_gemm.h"
#include "ops/conv_internal.h"

#define TYPES (TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64) | TN_T(UINT32) | TN_T(UINT64))

/* ---- shapes -------------------------------------------------------------------------------------------------- */

/* Leading dims of an operand; a vector has none. */
static tn_shape lead_of(const tn_shape *s) {
    tn_shape lead = *s;
    lead.rank = TN_MAX(s->rank - 2, 0);
    return lead;
}

typedef struct sizes {
    int64_t m, n, ka, kb;
} sizes;

static sizes sizes_of(const tn_shape *a, const tn_shape *b) {
    return (sizes){.m = a->rank == 1 ? 1 : a->dims[a->rank - 2],
                   .n = b->rank == 1 ? 1 : b->dims[b->rank - 1],
                   .ka = a->dims[a->rank - 1],
                   .kb = b->rank == 1 ? b->dims[0] : b->dims[b->rank - 2]};
}

static tern_status matmul_shape(tn_infer *c, const tn_shape *a, const tn_shape *b, tn_shape *out) {
    if (a->rank < 1 || b->rank < 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has rank %d, B has rank %d; a scalar can not be multiplied",
                             a->rank, b->rank);
    sizes z = sizes_of(a, b);
    if (tn_dim_known(z.ka) && tn_dim_known(z.kb) && z.ka != z.kb) {
        char ta[TN_SHAPE_TEXT], tb[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has shape %s, B has shape %s: %lld columns against %lld rows",
                             tn_shape_text(a, ta, sizeof ta), tn_shape_text(b, tb, sizeof tb), (long long)z.ka,
                             (long long)z.kb);
    }
    tn_shape la = lead_of(a), lb = lead_of(b);
    TN_TRY(tn_infer_broadcast(c, (const tn_shape *[]){&la, &lb}, 2, out));
    if (a->rank > 1) out->dims[out->rank++] = z.m;
    if (b->rank > 1) out->dims[out->rank++] = z.n;
    return TERN_OK;
}

tern_status tn_ops_matmul_infer(tn_infer *c, int a, int b, tern_dtype out_type) {
    const tn_type *ta = c->in[a], *tb = c->in[b];
    tn_shape out;
    bool ranked = ta && tb && ta->ranked && tb->ranked;
    if (ranked) TN_TRY(matmul_shape(c, &ta->shape, &tb->shape, &out));
    tn_infer_out(c, 0, out_type, ranked ? &out : NULL);
    return TERN_OK;
}

static tern_status matmul_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TYPES));
    TN_TRY(tn_infer_want(c, 1, TYPES));
    TN_TRY(tn_infer_same_type(c, 0, 1));
    return tn_ops_matmul_infer(c, 0, 1, c->in[0] ? c->in[0]->dtype : TERN_UNDEFINED);
}

/* How a matrix of an operand lies in memory, in elements: from matrix to matrix, from row to row, from column to
 * column. */
typedef struct layout {
    int64_t matrix, row, column;
} layout;

/* The operand as the product sees it. FusedMatMul may take its last two dims swapped (transA, transB), and before that
 * its first dim as the rows of every matrix (transBatchA, transBatchB). *out may have unknown dims, *l is then void. */
static void operand_of(const tn_node *n, int i, const tn_shape *s, tn_shape *out, layout *l) {
    static const char *const swaps[] = {"transA", "transB"}, *const batches[] = {"transBatchA", "transBatchB"};
    bool fused = *n->domain != 0 && s->rank >= 2;
    bool swap = fused && tn_attr_i(n, swaps[i], 0) != 0, batch = fused && tn_attr_i(n, batches[i], 0) != 0;
    *out = *s;
    *l = (layout){0, 0, 1};
    if (s->rank < 1) return;
    int rows = s->rank - 2, columns = s->rank - 1;
    int64_t k = s->dims[columns];
    if (s->rank == 1) {
        /* A vector is a row of A, and a column of B. */
        *l = i ? (layout){k, 1, 1} : (layout){k, k, 1};
        return;
    }
    if (batch) {
        memmove(out->dims, out->dims + 1, (size_t)rows * sizeof *out->dims);
        out->dims[rows] = s->dims[0];
    }
    if (tn_shape_known(s)) {
        int64_t matrices = tn_shape_count_range(out, 0, rows);
        *l = batch ? (layout){k, matrices * k, 1} : (layout){s->dims[rows] * k, k, 1};
    }
    if (!swap) return;
    out->dims[columns] = out->dims[rows];
    out->dims[rows] = k;
    *l = (layout){l->matrix, l->column, l->row};
}

static tern_status fused_matmul_infer(tn_infer *c) {
    for (int i = 0; i < 2; i++) TN_TRY(tn_infer_want(c, i, TN_TYPES_FLOAT));
    TN_TRY(tn_infer_same_type(c, 0, 1));
    tern_dtype dtype = c->in[0] ? c->in[0]->dtype : TERN_UNDEFINED;
    tn_shape s[2], out;
    layout l;
    for (int i = 0; i < 2; i++) {
        if (!c->in[i] || !c->in[i]->ranked) {
            tn_infer_out(c, 0, dtype, NULL);
            return TERN_OK;
        }
        operand_of(c->node, i, &c->in[i]->shape, &s[i], &l);
    }
    TN_TRY(matmul_shape(c, &s[0], &s[1], &out));
    tn_infer_out(c, 0, dtype, &out);
    return TERN_OK;
}

/* Steps of an operand over the broadcast leading dims. */
static void steps_of(const tn_shape *lead, const tn_shape *own, int64_t *step) {
    int64_t next = 1;
    for (int i = lead->rank - 1; i >= 0; i--) {
        int o = i - (lead->rank - own->rank);
        step[i] = o < 0 || own->dims[o] == 1 ? 0 : next;
        if (o >= 0) next *= own->dims[o];
    }
}

void tn_ops_matmul_plan(tn_matmul_plan *p, const tn_shape *a, const tn_shape *b, const tn_shape *out, bool collapse) {
    memset(p, 0, sizeof *p);
    int64_t count;
    if (!tn_shape_count_checked(out, &count) || count == 0) return;
    sizes z = sizes_of(a, b);
    p->m = z.m, p->n = z.n, p->k = z.ka;
    tn_shape la = lead_of(a), lb = lead_of(b);
    p->lead.rank = TN_MAX(la.rank, lb.rank);
    memcpy(p->lead.dims, out->dims, (size_t)p->lead.rank * sizeof *out->dims);
    p->batch = tn_shape_count(&p->lead);
    p->a_count = tn_shape_count(&la);
    p->b_count = tn_shape_count(&lb);
    steps_of(&p->lead, &la, p->a_step);
    steps_of(&p->lead, &lb, p->b_step);
    if (collapse && p->b_count == 1 && p->a_count == p->batch) {
        p->m *= p->batch;
        p->batch = p->a_count = 1;
        p->lead.rank = 0;
    }
}

void tn_ops_matmul_at(const tn_matmul_plan *p, int64_t i, int64_t *a, int64_t *b) {
    *a = 0, *b = 0;
    for (int d = p->lead.rank - 1; d >= 0; d--) {
        *a += i % p->lead.dims[d] * p->a_step[d];
        *b += i % p->lead.dims[d] * p->b_step[d];
        i /= p->lead.dims[d];
    }
}

const char *tn_ops_gemm_name(tern_cpu_tier tier) {
    static const char *const names[] = {"gemm_f32_scalar", "gemm_f32_avx2", "gemm_f32_avx512"};
    return names[tier];
}

/* ---- prepare ------------------------------------------------------------------------------------------------- */

typedef struct one_pack {
    tern_cpu_tier tier;
    bool bf16;
    tn_gemm_f32 gemm;
    int threads;
} one_pack;

static void pack_one(const void *context, const tern_tensor *value, void *dst) {
    const one_pack *p = context;
    if (p->bf16)
        tn_bf16_gemm_pack(tn_bf16_best(p->tier), &p->gemm, value->data, dst, p->threads);
    else
        tn_gemm_f32_pack(p->tier, &p->gemm, value->data, dst, p->threads);
}

tern_status tn_ops_gemm_pack(tn_prepare *c, const tn_gemm_f32 *g, bool bf16, const void **packed) {
    tn_bf16_isa isa = tn_bf16_best(c->tier);
    size_t bytes = bf16 ? tn_bf16_gemm_packed_bytes(isa, g) : tn_gemm_f32_packed_bytes(c->tier, g);
    if (bytes == 0) return tn_fail_oom(c->err, SIZE_MAX);
    struct {
        float alpha;
        int kernel, transposed;
    } key = {g->alpha, bf16 ? 0x100 + (int)isa : (int)c->tier, g->b_rs == 1 && g->b_cs != 1};
    one_pack p = {c->tier, bf16, *g, c->threads};
    *packed = tn_pack_later(c, 1, tn_hash(&key, sizeof key, 0), bytes, pack_one, &p, sizeof p);
    return *packed ? TERN_OK : c->err ? c->err->status : TERN_OUT_OF_MEMORY;
}

typedef struct matmul_state {
    const char *kernel;
    tern_dtype dtype;
    tn_matmul_plan p;
    layout a, b;
    double alpha;
    tn_gemm_f32 gemm;
    const char *packed;  /* b_count matrices; NULL: B is not constant or not float32 */
    const float *wide_b; /* float16 and bfloat16 are computed in float32: a copy of constant B */
    size_t packed_bytes, gemm_bytes;
    size_t at_a, at_b, at_y, at_gemm;
    bool wide;
    bool bf16; /* numbers are rounded to bfloat16, by the kernels of isa */
    tn_bf16_isa isa;
} matmul_state;

typedef struct pack_context {
    tern_cpu_tier tier;
    const matmul_state *s; /* of the plan that has the packing done */
    int threads;
} pack_context;

static void pack_b(const void *context, const tern_tensor *value, void *dst) {
    const pack_context *c = context;
    const matmul_state *s = c->s;
    for (int64_t i = 0; i < s->p.b_count; i++)
        tn_gemm_f32_pack(c->tier, &s->gemm, (const float *)value->data + i * s->b.matrix,
                         (char *)dst + (size_t)i * s->packed_bytes, c->threads);
}

static void widen(const void *context, const tern_tensor *value, void *dst) {
    (void)context;
    tn_ops_to_f32(value, dst);
}

static tern_status status_of(const tn_prepare *c) { return c->err ? c->err->status : TERN_OUT_OF_MEMORY; }

static tern_status pack_constant(tn_prepare *c, matmul_state *s) {
    size_t bytes, count = (size_t)s->p.b_count;
    if (s->wide) {
        bytes = count * (size_t)(s->p.k * s->p.n) * sizeof(float);
        s->wide_b = tn_pack_get(c, 1, TERN_FLOAT, bytes, widen, NULL);
        return s->wide_b ? TERN_OK : status_of(c);
    }
    if (s->bf16) {
        const void *packed;
        s->isa = tn_bf16_best(c->tier);
        s->kernel = tn_bf16_gemm_name(s->isa);
        TN_TRY(tn_ops_gemm_pack(c, &s->gemm, true, &packed));
        s->packed = packed;
        return TERN_OK;
    }
    s->packed_bytes = tn_gemm_f32_packed_bytes(c->tier, &s->gemm);
    if (s->packed_bytes == 0 || !tn_mul_size(s->packed_bytes, count, &bytes)) return tn_fail_oom(c->err, SIZE_MAX);
    pack_context p = {c->tier, s, c->threads};
    uint64_t key = 0x100 + (uint64_t)c->tier;
    if (s->alpha != 1 || s->b.column != 1) key = tn_hash(&s->b, sizeof s->b, tn_hash(&s->alpha, sizeof s->alpha, key));
    s->packed = tn_pack_later(c, 1, key, bytes, pack_b, &p, sizeof p);
    return s->packed ? TERN_OK : status_of(c);
}

/* Many products go to threads whole, few are shared out by the rows inside. Results are the same. */
static bool by_batch(const tn_matmul_plan *p, int threads) { return p->batch >= threads; }

static tern_status prepare_f32(tn_prepare *c, matmul_state *s) {
    const tn_matmul_plan *p = &s->p;
    s->kernel = tn_ops_gemm_name(c->tier);
    s->gemm = (tn_gemm_f32){.m = p->m,
                            .n = p->n,
                            .k = p->k,
                            .a_rs = s->a.row,
                            .a_cs = s->a.column,
                            .b_rs = s->b.row,
                            .b_cs = s->b.column,
                            .ldc = p->n,
                            .alpha = (float)s->alpha};
    s->bf16 = c->value[1] && !s->wide && p->batch == 1 && p->b_count == 1 && tn_attr_i(c->node, "bf16", 0) != 0;
    if (c->value[1]) TN_TRY(pack_constant(c, s));
    bool whole = by_batch(p, c->threads);
    s->gemm_bytes = s->bf16 ? tn_bf16_gemm_workspace(s->isa, &s->gemm)
                            : tn_gemm_f32_workspace(c->tier, &s->gemm, s->packed != NULL);
    s->gemm_bytes = (s->gemm_bytes + 63) / 64 * 64;
    size_t total = 0;
    bool ok = tn_ops_reserve(&total, s->wide ? p->a_count * p->m * p->k : 0, sizeof(float), &s->at_a) &&
              tn_ops_reserve(&total, s->wide && !s->wide_b ? p->b_count * p->k * p->n : 0, sizeof(float), &s->at_b) &&
              tn_ops_reserve(&total, s->wide ? p->batch * p->m * p->n : 0, sizeof(float), &s->at_y) &&
              tn_ops_reserve(&total, whole ? c->threads : 1, s->gemm_bytes, &s->at_gemm);
    c->workspace = total;
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

static tern_status matmul_prepare(tn_prepare *c) {
    matmul_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    s->dtype = c->in[0]->dtype;
    s->wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    bool f32 = s->wide || s->dtype == TERN_FLOAT;
    tn_shape a, b;
    operand_of(c->node, 0, &c->in[0]->shape, &a, &s->a);
    operand_of(c->node, 1, &c->in[1]->shape, &b, &s->b);
    s->alpha = (double)tn_attr_f(c->node, "alpha", 1);
    bool dense = s->a.column == 1 && (a.rank < 2 || s->a.row == a.dims[a.rank - 1]);
    tn_ops_matmul_plan(&s->p, &a, &b, &c->out[0].shape, f32 && dense);
    return f32 && s->p.batch > 0 && s->p.k > 0 ? prepare_f32(c, s) : TERN_OK;
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

typedef struct matmul_run_args {
    const matmul_state *s;
    const void *a, *b;
    void *y;
    char *gemm_space;
    tern_cpu_tier tier;
    int threads;
} matmul_run_args;

static void product_f32(const matmul_run_args *r, int64_t i, void *workspace, int threads) {
    const matmul_state *s = r->s;
    int64_t a, b;
    tn_ops_matmul_at(&s->p, i, &a, &b);
    const float *am = (const float *)r->a + a * s->a.matrix;
    const float *bm = s->packed ? NULL : (const float *)r->b + b * s->b.matrix;
    const void *packed = s->packed ? s->packed + (size_t)b * s->packed_bytes : NULL;
    if (s->bf16) {
        tn_bf16_gemm_run(s->isa, &s->gemm, am, packed, NULL, (float *)r->y, workspace, threads);
        return;
    }
    tn_gemm_f32_run(r->tier, &s->gemm, am, bm, packed, NULL, (float *)r->y + i * s->p.m * s->p.n, workspace, threads);
}

static void batch_f32(void *context, int64_t begin, int64_t end, int worker) {
    const matmul_run_args *r = context;
    for (int64_t i = begin; i < end; i++) product_f32(r, i, r->gemm_space + (size_t)worker * r->s->gemm_bytes, 1);
}

static void multiply_f32(const matmul_run_args *r) {
    if (by_batch(&r->s->p, r->threads)) {
        tn_parallel_for(r->threads, r->s->p.batch, batch_f32, (void *)(uintptr_t)r);
    } else {
        for (int64_t i = 0; i < r->s->p.batch; i++) product_f32(r, i, r->gemm_space, r->threads);
    }
}

/* Rows [begin, end) of all products, numbered through. Unsigned types give what signed ones do when they wrap. */
#define ROWS(NAME, T)                                                                         \
    static void NAME(void *context, int64_t begin, int64_t end, int worker) {                 \
        (void)worker;                                                                         \
        const matmul_run_args *r = context;                                                   \
        const tn_matmul_plan *p = &r->s->p;                                                   \
        for (int64_t row = begin; row < end; row++) {                                         \
            int64_t am, bm;                                                                   \
            tn_ops_matmul_at(p, row / p->m, &am, &bm);                                        \
            const layout *la = &r->s->a, *lb = &r->s->b;                                      \
            const T *a = (const T *)r->a + am * la->matrix + row % p->m * la->row;            \
            const T *b = (const T *)r->b + bm * lb->matrix;                                   \
            T *restrict y = (T *)r->y + row * p->n;                                           \
            for (int64_t j = 0; j < p->n; j++) y[j] = 0;                                      \
            for (int64_t k = 0; k < p->k; k++, a += la->column, b += lb->row)                 \
                for (int64_t j = 0; j < p->n; j++) y[j] += (T)ALPHA * *a * b[j * lb->column]; \
        }                                                                                     \
    }
#define ALPHA r->s->alpha
ROWS(rows_f64, double)
#undef ALPHA
#define ALPHA 1
ROWS(rows_u32, uint32_t)
ROWS(rows_u64, uint64_t)
#undef ALPHA
#undef ROWS

static void run_wide(tn_run *c, const matmul_state *s, matmul_run_args *r) {
    char *ws = c->workspace;
    float *a = (float *)(ws + s->at_a), *b = (float *)(ws + s->at_b), *y = (float *)(ws + s->at_y);
    tn_ops_to_f32(c->in[0], a);
    if (!s->wide_b) tn_ops_to_f32(c->in[1], b);
    r->a = a;
    r->b = s->wide_b ? s->wide_b : b;
    r->y = y;
    multiply_f32(r);
    tn_ops_from_f32(y, c->out[0]);
}

static tern_status matmul_run(tn_run *c) {
    const matmul_state *s = c->state;
    if (!c->out[0] || s->p.batch == 0) return TERN_OK;
    if (s->p.k == 0) {
        memset(c->out[0]->data, 0, tn_tensor_bytes(c->out[0]));
        return TERN_OK;
    }
    matmul_run_args r = {.s = s,
                         .a = c->in[0]->data,
                         .b = c->in[1]->data,
                         .y = c->out[0]->data,
                         .gemm_space = (char *)c->workspace + s->at_gemm,
                         .tier = c->tier,
                         .threads = c->threads};
    int64_t rows = s->p.batch * s->p.m;
    if (s->wide)
        run_wide(c, s, &r);
    else if (s->dtype == TERN_FLOAT)
        multiply_f32(&r);
    else if (s->dtype == TERN_DOUBLE)
        tn_parallel_for(c->threads, rows, rows_f64, &r);
    else if (s->dtype == TERN_INT32 || s->dtype == TERN_UINT32)
        tn_parallel_for(c->threads, rows, rows_u32, &r);
    else
        tn_parallel_for(c->threads, rows, rows_u64, &r);
    return TERN_OK;
}

int64_t tn_ops_matmul_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    (void)node;
    int64_t total;
    if (!tn_shape_count_checked(&out->shape, &total) || in[0]->shape.rank < 1) return 0;
    return tn_mul_i64(total, in[0]->shape.dims[in[0]->shape.rank - 1], &total) ? total : INT64_MAX;
}

const tn_op tn_op_matmul = {.infer = matmul_infer,
                            .prepare = matmul_prepare,
                            .run = matmul_run,
                            .min_in = 2,
                            .max_in = 2,
                            .min_out = 1,
                            .max_out = 1,
                            .flags = TN_OP_KERNEL_NAME | TN_OP_PACKS,
                            .macs = tn_ops_matmul_macs};
const tn_op tn_op_fused_matmul = {.infer = fused_matmul_infer,
                                  .prepare = matmul_prepare,
                                  .run = matmul_run,
                                  .min_in = 2,
                                  .max_in = 2,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .flags = TN_OP_KERNEL_NAME | TN_OP_PACKS};
