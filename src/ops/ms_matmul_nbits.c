/* MatMulNBits of com.microsoft: floats times weights of 2, 4 or 8 bits with a scale for each block of a column. Weights
 * stay packed; a task unpacks some columns, and the float32 kernel does the rest. Source: ContribOperators.md of ONNX
 * Runtime. */
#include "kernels/gemm.h"
#include "ops/args.h"
#include "ops/rowio.h"

enum { A, B, SCALES, ZEROS, GROUPS, BIAS };

#define TILE  64 /* columns of a task */
#define TYPES (TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16))

typedef struct nbits_dims {
    int64_t k, n, block, blocks; /* blocks of a column */
    int64_t bits, blob;          /* bytes of a block */
    int64_t zero_row;            /* bytes of a column's packed zero points */
} nbits_dims;

static tern_status dims_of(const tn_node *n, nbits_dims *d, tern_error *err) {
    *d = (nbits_dims){.k = tn_attr_i(n, "K", 0),
                      .n = tn_attr_i(n, "N", 0),
                      .block = tn_attr_i(n, "block_size", 0),
                      .bits = tn_attr_i(n, "bits", 4)};
    if (d->k < 1 || d->n < 1 || d->k > INT32_MAX || d->n > INT32_MAX)
        return tn_fail(err, TERN_INVALID_MODEL, "K is %lld, N is %lld", (long long)d->k, (long long)d->n);
    if (d->block < 16 || d->block > (1 << 24) || (d->block & (d->block - 1)))
        return tn_fail(err, TERN_INVALID_MODEL, "block_size is %lld, not a power of 2 from 16", (long long)d->block);
    if (d->bits != 2 && d->bits != 4 && d->bits != 8)
        return tn_fail(err, TERN_UNSUPPORTED, "weights of %lld bits; 2, 4 and 8 are supported", (long long)d->bits);
    d->blocks = tn_ceil_div(d->k, d->block);
    d->blob = d->block * d->bits / 8;
    d->zero_row = tn_ceil_div(d->blocks * d->bits, 8);
    return TERN_OK;
}

/* ---- inference ------------------------------------------------------------------------------------------------- */

/* Input i has that many elements, however they are arranged. */
static tern_status want_count(tn_infer *c, int i, int64_t count, const char *what) {
    tn_shape s;
    int64_t have;
    if (!tn_args_has(c, i) || !tn_args_shape(c, i, &s) || !tn_shape_known(&s)) return TERN_OK;
    if (tn_shape_count_checked(&s, &have) && have == count) return TERN_OK;
    char text[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s have shape %s; %lld elements are needed", what,
                         tn_shape_text(&s, text, sizeof text), (long long)count);
}

static tern_status check_weights(tn_infer *c, const nbits_dims *d) {
    TN_TRY(want_count(c, B, d->n * d->blocks * d->blob, "the weights"));
    TN_TRY(want_count(c, SCALES, d->n * d->blocks, "the scales"));
    if (tn_args_has(c, ZEROS)) {
        TN_TRY(tn_args_need(c, ZEROS, TYPES | TN_T(UINT8)));
        bool packed = c->in[ZEROS]->dtype == TERN_UINT8;
        if (c->in[ZEROS]->dtype != TERN_UNDEFINED)
            TN_TRY(want_count(c, ZEROS, d->n * (packed ? d->zero_row : d->blocks), "the zero points"));
    }
    TN_TRY(tn_infer_want(c, GROUPS, TN_T(INT32)));
    if (tn_args_has(c, GROUPS)) {
        tn_shape s;
        bool padded = tn_args_shape(c, GROUPS, &s) && s.rank == 1 && s.dims[0] == d->blocks * d->block;
        if (!padded) TN_TRY(want_count(c, GROUPS, d->k, "the group indices"));
    }
    TN_TRY(tn_infer_want(c, BIAS, TYPES));
    return want_count(c, BIAS, d->n, "the biases");
}

static tern_status infer_nbits(tn_infer *c) {
    nbits_dims d;
    TN_TRY(tn_args_need(c, A, TYPES));
    TN_TRY(tn_args_need(c, B, TN_T(UINT8)));
    TN_TRY(tn_args_need(c, SCALES, TYPES));
    TN_TRY(dims_of(c->node, &d, c->err));
    TN_TRY(check_weights(c, &d));
    tn_shape s;
    tn_infer_out(c, 0, c->in[A]->dtype, NULL);
    if (!tn_args_shape(c, A, &s)) return TERN_OK;
    if (s.rank < 1 || (tn_dim_known(s.dims[s.rank - 1]) && s.dims[s.rank - 1] != d.k)) {
        char text[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has shape %s, K is %lld", tn_shape_text(&s, text, sizeof text),
                             (long long)d.k);
    }
    s.dims[s.rank - 1] = d.n;
    return tn_args_out_shape(c, 0, c->in[A]->dtype, &s);
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

typedef struct nbits {
    nbits_dims d;
    const tern_tensor *b, *scales, *zeros, *groups;
    const float *a, *bias; /* (rows, k); n or NULL */
    float *y;              /* (rows, n) */
    int64_t rows;
    tern_cpu_tier tier;
    tn_gemm_f32 gemm;
    char *work;
    size_t step, gemm_bytes; /* of one worker */
} nbits;

static float zero_of(const nbits *s, int64_t column, int64_t block) {
    const nbits_dims *d = &s->d;
    if (!s->zeros) return (float)(1 << (d->bits - 1));
    float zero;
    if (s->zeros->dtype != TERN_UINT8) {
        tn_row_load_f32(s->zeros->dtype, s->zeros->data, column * d->blocks + block, 1, &zero);
        return zero;
    }
    const uint8_t *row = (const uint8_t *)s->zeros->data + column * d->zero_row;
    int64_t bit = block * d->bits;
    return (float)(row[bit / 8] >> bit % 8 & ((1 << d->bits) - 1));
}

/* The integers of a block, the low bits of a byte first. */
static void unpack(const nbits_dims *d, const uint8_t *blob, int64_t n, float *dst) {
    int per = (int)(8 / d->bits), mask = (1 << d->bits) - 1;
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(blob[i / per] >> i % per * d->bits & mask);
}

static void unpack_column(const nbits *s, int64_t column, float *dst) {
    const nbits_dims *d = &s->d;
    const uint8_t *blobs = (const uint8_t *)s->b->data + column * d->blocks * d->blob;
    for (int64_t block = 0; block < d->blocks; block++) {
        float scale, zero = zero_of(s, column, block), *v = dst + block * d->block;
        int64_t n = TN_MIN(d->block, d->k - block * d->block);
        unpack(d, blobs + block * d->blob, n, v);
        if (s->groups) continue;
        tn_row_load_f32(s->scales->dtype, s->scales->data, column * d->blocks + block, 1, &scale);
        for (int64_t i = 0; i < n; i++) v[i] = (v[i] - zero) * scale;
    }
    for (int64_t i = 0; s->groups && i < d->k; i++) {
        int64_t g = ((const int32_t *)s->groups->data)[i];
        float scale;
        tn_row_load_f32(s->scales->dtype, s->scales->data, column * d->blocks + g, 1, &scale);
        dst[i] = (dst[i] - zero_of(s, column, g)) * scale;
    }
}

static void nbits_task(void *context, int64_t begin, int64_t end, int worker) {
    const nbits *s = context;
    char *space = s->work + (size_t)worker * s->step;
    float *columns = (float *)(space + s->gemm_bytes);
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t * TILE;
        tn_gemm_f32 g = s->gemm;
        g.n = TN_MIN((int64_t)TILE, s->d.n - at);
        for (int64_t j = 0; j < g.n; j++) unpack_column(s, at + j, columns + j * s->d.k);
        tn_gemm_f32_run(s->tier, &g, s->a, columns, NULL, s->bias ? s->bias + at : NULL, s->y + at, space, 1);
    }
}

static tern_status multiply(tn_run *c, nbits *s) {
    int64_t tasks = tn_ceil_div(s->d.n, TILE);
    int threads = (int)TN_MIN((int64_t)c->threads, tasks);
    s->gemm = (tn_gemm_f32){.m = s->rows,
                            .n = TN_MIN((int64_t)TILE, s->d.n),
                            .k = s->d.k,
                            .a_rs = s->d.k,
                            .a_cs = 1,
                            .b_rs = 1,
                            .b_cs = s->d.k,
                            .ldc = s->d.n,
                            .alpha = 1,
                            .bias_n = s->bias != NULL};
    s->gemm_bytes = (tn_gemm_f32_workspace(c->tier, &s->gemm, false) + 63) / 64 * 64;
    size_t columns, bytes;
    bool ok = tn_mul_size((size_t)s->d.k, TILE * sizeof(float), &columns) &&
              tn_add_size(s->gemm_bytes, (columns + 63) / 64 * 64, &s->step) &&
              tn_mul_size(s->step, (size_t)threads, &bytes);
    s->work = ok ? tn_alloc_aligned(bytes, 64) : NULL;
    if (!s->work) return tn_fail_oom(c->err, ok ? bytes : SIZE_MAX);
    s->tier = c->tier;
    tn_parallel_for(threads, tasks, nbits_task, s);
    tn_free(s->work);
    return TERN_OK;
}

static tern_status check_groups(tn_run *c, const nbits *s) {
    for (int64_t i = 0; s->groups && i < s->d.k; i++) {
        int64_t g = ((const int32_t *)s->groups->data)[i];
        if (g < 0 || g >= s->d.blocks)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "group index %lld of row %lld is outside [0, %lld)",
                               (long long)g, (long long)i, (long long)s->d.blocks);
    }
    return TERN_OK;
}

/* t's elements, or a converted copy in *copy. False: no memory. */
static bool as_f32(const tern_tensor *t, const float **out, float **copy) {
    if (!t) return true;
    *out = t->data;
    if (t->dtype == TERN_FLOAT) return true;
    int64_t n = tn_shape_count(&t->shape);
    if (!(*copy = tn_alloc_array((size_t)n + 1, sizeof **copy))) return false;
    tn_row_load_f32(t->dtype, t->data, 0, n, *copy);
    *out = *copy;
    return true;
}

static tern_status run_nbits(tn_run *c) {
    nbits s = {.b = c->in[B], .scales = c->in[SCALES], .zeros = tn_args_in(c, ZEROS), .groups = tn_args_in(c, GROUPS)};
    TN_TRY(dims_of(c->node, &s.d, c->err));
    tern_tensor *y = c->out[0];
    if (!y || tn_shape_count(&y->shape) == 0) return TERN_OK;
    TN_TRY(check_groups(c, &s));
    int64_t count = tn_shape_count(&y->shape);
    s.rows = count / s.d.n;
    bool narrow = y->dtype != TERN_FLOAT;
    float *copies[3] = {NULL, NULL, NULL};
    bool ok = as_f32(c->in[A], &s.a, &copies[0]) && as_f32(tn_args_in(c, BIAS), &s.bias, &copies[1]);
    if (ok && narrow) ok = (copies[2] = tn_alloc_array((size_t)count, sizeof(float))) != NULL;
    s.y = narrow ? copies[2] : y->data;
    tern_status status = ok ? multiply(c, &s) : tn_fail_oom(c->err, (size_t)count * sizeof(float));
    if (status == TERN_OK && narrow) tn_row_store_f32(y->dtype, y->data, 0, count, s.y);
    for (int i = 0; i < 3; i++) tn_free(copies[i]);
    return status;
}

static int64_t nbits_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    (void)in;
    int64_t total, k = tn_attr_i(node, "K", 0);
    return tn_shape_count_checked(&out->shape, &total) && tn_mul_i64(total, k, &total) ? total : INT64_MAX;
}

const tn_op tn_op_matmul_nbits = {
    .infer = infer_nbits, .run = run_nbits, .min_in = 3, .max_in = 6, .min_out = 1, .max_out = 1, .macs = nbits_macs};
