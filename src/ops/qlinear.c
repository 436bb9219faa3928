/* QLinearConv, ConvInteger, QLinearMatMul, MatMulInteger.
 *
 * Sums are exact int32. The fast kernels (kernels/q8.h) do convolutions in blocked layout and products with constant
 * weights. The rest - other ranks, odd groups, weights that change - is computed by the float32 kernels on operands
 * less their zero points: a product is at most 255 * 255, so a few hundred of them add up below 2^24, where float32 is
 * exact; sums are cut into pieces of that length and the pieces added as integers. */
#include <math.h>

#include "ops/matmul_internal.h"
#include "ops/qlinear_internal.h"

#define BYTES       TN_TYPES_BYTE
#define MAX_PRODUCT (255 * 255)

/* ---- shared -------------------------------------------------------------------------------------------------- */

static const tern_tensor *input(const tn_run *c, int i) { return i >= 0 && i < c->node->n_in ? c->in[i] : NULL; }
static const tn_type *input_type(const tn_type *const *in, const tn_node *node, int i) {
    return i >= 0 && i < node->n_in ? in[i] : NULL;
}

static int64_t count_of(const tern_tensor *t) { return t ? tn_shape_count(&t->shape) : 0; }

int32_t tn_op_byte_at(const tern_tensor *t, int64_t i) {
    if (!t) return 0;
    return t->dtype == TERN_INT8 ? ((const int8_t *)t->data)[i] : ((const uint8_t *)t->data)[i];
}

/* dst[i] = x[at + i] - zero, i < n; exact. */
static void subtract(const tern_tensor *x, int64_t at, int64_t n, int32_t zero, float *dst) {
    if (x->dtype == TERN_INT8) {
        const int8_t *src = (const int8_t *)x->data + at;
        for (int64_t i = 0; i < n; i++) dst[i] = (float)(src[i] - zero);
    } else {
        const uint8_t *src = (const uint8_t *)x->data + at;
        for (int64_t i = 0; i < n; i++) dst[i] = (float)(src[i] - zero);
    }
}

/* round(v) + zero, saturated; halves go to even. NaN becomes the zero point. */
static int32_t requantize(float v, int32_t zero, int32_t low, int32_t high) {
    float min = (float)(low - zero), max = (float)(high - zero);
    v = v != v ? 0 : v < min ? min : v > max ? max : v;
    return (int32_t)((v + 12582912.0f) - 12582912.0f) + zero; /* the constant's last bit is 1 */
}

static void store_byte(tern_tensor *y, int64_t i, float v, int32_t zero) {
    if (y->dtype == TERN_INT8)
        ((int8_t *)y->data)[i] = (int8_t)requantize(v, zero, INT8_MIN, INT8_MAX);
    else
        ((uint8_t *)y->data)[i] = (uint8_t)requantize(v, zero, 0, UINT8_MAX);
}

tern_status tn_op_want_count(tn_infer *c, int i, int64_t many, const char *what) {
    const tn_type *t = input_type(c->in, c->node, i);
    int64_t count;
    if (!t || !t->ranked || !tn_shape_known(&t->shape)) return TERN_OK;
    if (tn_shape_count_checked(&t->shape, &count) && (count == 1 || count == many)) return TERN_OK;
    if (many == TN_DIM_UNKNOWN) return TERN_OK;
    char text[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d, the %s, has shape %s", i, what,
                         tn_shape_text(&t->shape, text, sizeof text));
}

/* ---- convolution --------------------------------------------------------------------------------------------- */

static const tn_qconv_inputs qlinear_inputs = {0, 3, 2, 5, 1, 4, 6, 7, 8, 9, 10, 11, 12, 13};
static const tn_qconv_inputs integer_inputs = {0, 1, 2, 3, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

const tn_qconv_inputs *tn_op_qconv_inputs(const tn_node *node) {
    return strcmp(node->op_type, "ConvInteger") == 0 ? &integer_inputs : &qlinear_inputs;
}

typedef struct qconv_state {
    const char *kernel;
    bool blocked;
    tn_q8_conv_state q8;
    tn_conv_plain plain;
    const float *w; /* packed once; NULL: made by every run */
    size_t at_x, at_w, at_scale, at_plain;
} qconv_state;

static tern_status conv_shape(tn_infer *c, const tn_qconv_inputs *in, tern_dtype y) {
    const tn_type *x = c->in[in->x], *w = c->in[in->w];
    if (!x || !w || !x->ranked || !w->ranked) {
        tn_infer_out(c, 0, y, NULL);
        return TERN_OK;
    }
    tn_conv_dims d;
    TN_TRY(tn_ops_conv_dims(c->node, &x->shape, &w->shape, false, &d, c->err));
    TN_TRY(tn_op_want_count(c, in->w_zero, d.oc, "weights' zero point"));
    if (in->w_scale >= 0) TN_TRY(tn_op_want_count(c, in->w_scale, d.oc, "weights' scale"));
    const tn_type *bias = input_type(c->in, c->node, in->bias);
    if (bias && bias->ranked &&
        (bias->shape.rank != 1 ||
         (tn_dim_known(bias->shape.dims[0]) && tn_dim_known(d.oc) && bias->shape.dims[0] != d.oc)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the bias does not have one value for each of %lld channels",
                             (long long)d.oc);
    tn_shape shape = tn_ops_conv_out_shape(&d);
    tn_infer_out(c, 0, y, &shape);
    return TERN_OK;
}

static tern_status conv_integer_infer(tn_infer *c) {
    for (int i = 0; i < c->node->n_in; i++) TN_TRY(tn_infer_want(c, i, BYTES));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    TN_TRY(tn_infer_same_type(c, 1, 3));
    TN_TRY(tn_op_want_count(c, 2, 1, "zero point of x"));
    return conv_shape(c, &integer_inputs, TERN_INT32);
}

static tern_status qlinear_conv_infer(tn_infer *c) {
    static const uint32_t types[] = {BYTES, TN_T(FLOAT), BYTES, BYTES,      TN_T(FLOAT),
                                     BYTES, TN_T(FLOAT), BYTES, TN_T(INT32)};
    static const char *const scalars[] = {NULL, "scale of x", "zero point of x", NULL, NULL,
                                          NULL, "scale of y", "zero point of y", NULL};
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_infer_want(c, i, types[i]));
        if (scalars[i]) TN_TRY(tn_op_want_count(c, i, 1, scalars[i]));
    }
    TN_TRY(tn_infer_same_type(c, 0, 2));
    TN_TRY(tn_infer_same_type(c, 3, 5));
    return conv_shape(c, &qlinear_inputs, c->in[7] ? c->in[7]->dtype : TERN_UNDEFINED);
}

/* Of tern:QConv: what follows the inputs of QLinearConv. */
static tern_status fused_conv_infer(tn_infer *c) {
    static const uint32_t types[] = {BYTES, TN_T(FLOAT), BYTES, TN_T(FLOAT), BYTES};
    static const char *const scalars[] = {NULL, "scale of z", "zero point of z", "scale before z",
                                          "zero point before z"};
    tn_infer head = *c;
    tn_node node = *c->node;
    if (node.n_in > 9 && node.n_in != 14)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "%d inputs, not 8, 9 or 14", node.n_in);
    node.n_in = TN_MIN(node.n_in, 9);
    head.node = &node;
    TN_TRY(qlinear_conv_infer(&head));
    for (int i = 9; i < c->node->n_in; i++) {
        if (!c->in[i] && !c->node->in[i]) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is missing", i);
        TN_TRY(tn_infer_want(c, i, types[i - 9]));
        if (scalars[i - 9]) TN_TRY(tn_op_want_count(c, i, 1, scalars[i - 9]));
    }
    const tn_type *z = input_type(c->in, c->node, 9), *y = &c->out[0];
    if (c->node->n_in > 9) TN_TRY(tn_infer_same_type(c, 9, 11));
    if (!z || !z->ranked || !y->ranked || !tn_shape_known(&z->shape) || !tn_shape_known(&y->shape)) return TERN_OK;
    if (tn_shape_equal(&z->shape, &y->shape)) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "z has shape %s, the output %s", tn_shape_text(&z->shape, a, sizeof a),
                         tn_shape_text(&y->shape, b, sizeof b));
}

typedef struct weights_context {
    const tern_tensor *zero;
    int64_t oc, k;
} weights_context;

static void convert_weights(const void *context, const tern_tensor *w, void *dst) {
    const weights_context *wc = context;
    bool many = count_of(wc->zero) > 1;
    for (int64_t oc = 0; oc < wc->oc; oc++)
        subtract(w, oc * wc->k, wc->k, tn_op_byte_at(wc->zero, many ? oc : 0), (float *)dst + oc * wc->k);
}

uint64_t tn_op_zero_key(const tern_tensor *zero) {
    return zero ? tn_hash(zero->data, (size_t)count_of(zero), 0x51 + (uint64_t)zero->dtype) : 0x51;
}

static tern_status qconv_prepare(tn_prepare *c) {
    const tn_qconv_inputs *in = tn_op_qconv_inputs(c->node);
    qconv_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    tn_conv_dims d;
    TN_TRY(tn_ops_conv_dims(c->node, &c->in[in->x]->shape, &c->in[in->w]->shape, false, &d, c->err));
    s->blocked = c->out_block[0] != 0;
    if (s->blocked) return tn_op_q8_conv_prepare(c, &d, &s->q8, &s->kernel);
    tn_conv_plain_options options = {.k_chunk = tn_exact_chunk(MAX_PRODUCT)};
    TN_TRY(tn_ops_conv_plain_init(&s->plain, &d, &options, c->tier, c->threads, c->err));
    const tn_conv_plain *p = &s->plain;
    bool has_zero = input_type(c->in, c->node, in->w_zero) != NULL;
    const tern_tensor *zero = has_zero ? c->value[in->w_zero] : NULL;
    if (c->value[in->w] && (zero || !has_zero)) {
        size_t bytes;
        weights_context wc = {zero, d.oc, p->k};
        if (!tn_mul_size((size_t)(d.oc * p->k), sizeof(float), &bytes)) return tn_fail_oom(c->err, SIZE_MAX);
        s->w = tn_pack_get(c, in->w, tn_op_zero_key(zero), bytes, convert_weights, &wc);
        if (!s->w) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    }
    bool ok = tn_ops_reserve(&c->workspace, d.n * d.ic * p->in_sp, sizeof(float), &s->at_x) &&
              tn_ops_reserve(&c->workspace, s->w ? 0 : d.oc * p->k, sizeof(float), &s->at_w) &&
              tn_ops_reserve(&c->workspace, d.oc, sizeof(float), &s->at_scale) &&
              tn_ops_reserve(&c->workspace, (int64_t)p->workspace, 1, &s->at_plain);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

typedef struct emit_context {
    const tn_conv_plain *p;
    tern_tensor *y;
    const int32_t *bias;
    const float *scale; /* oc */
    int32_t zero;
} emit_context;

static void emit_int32(const void *context, int64_t n, int64_t oc, int64_t at, int64_t count, const int32_t *sums) {
    const emit_context *e = context;
    memcpy((int32_t *)e->y->data + (n * e->p->d.oc + oc) * e->p->out_sp + at, sums, (size_t)count * sizeof *sums);
}

static void emit_bytes(const void *context, int64_t n, int64_t oc, int64_t at, int64_t count, const int32_t *sums) {
    const emit_context *e = context;
    uint32_t bias = e->bias ? (uint32_t)e->bias[oc] : 0;
    float scale = e->scale[oc];
    at += (n * e->p->d.oc + oc) * e->p->out_sp;
    for (int64_t i = 0; i < count; i++)
        store_byte(e->y, at + i, (float)(int32_t)((uint32_t)sums[i] + bias) * scale, e->zero);
}

static tern_status qconv_run(tn_run *c) {
    const qconv_state *s = c->state;
    const tn_qconv_inputs *in = tn_op_qconv_inputs(c->node);
    const tn_conv_plain *p = &s->plain;
    if (!c->out[0] || tn_shape_count(&c->out[0]->shape) == 0) return TERN_OK;
    if (s->blocked) {
        tn_op_q8_conv_run(c, &s->q8);
        return TERN_OK;
    }
    char *ws = c->workspace;
    float *x = (float *)(ws + s->at_x), *w = (float *)(ws + s->at_w), *scale = (float *)(ws + s->at_scale);
    subtract(c->in[in->x], 0, count_of(c->in[in->x]), tn_op_byte_at(input(c, in->x_zero), 0), x);
    weights_context wc = {input(c, in->w_zero), p->d.oc, p->k};
    if (!s->w) convert_weights(&wc, c->in[in->w], w);
    emit_context e = {.p = p, .y = c->out[0], .scale = scale};
    if (in->y_scale >= 0) {
        const float *xs = c->in[in->x_scale]->data, *wsc = c->in[in->w_scale]->data, *ys = c->in[in->y_scale]->data;
        bool many = count_of(c->in[in->w_scale]) > 1;
        for (int64_t i = 0; i < p->d.oc; i++) scale[i] = xs[0] * wsc[many ? i : 0] / ys[0];
        const tern_tensor *bias = input(c, in->bias);
        e.bias = bias ? bias->data : NULL;
        e.zero = tn_op_byte_at(c->in[in->y_zero], 0);
    }
    tn_ops_conv_plain_i32(p, x, s->w ? s->w : w, in->y_scale >= 0 ? emit_bytes : emit_int32, &e, ws + s->at_plain);
    return TERN_OK;
}

static int64_t qconv_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    const tn_qconv_inputs *at = tn_op_qconv_inputs(node);
    const tn_type *pair[2] = {in[at->x], in[at->w]};
    return tn_ops_conv_macs(node, pair, out);
}

const tn_op tn_op_conv_integer = {.infer = conv_integer_infer,
                                  .prepare = qconv_prepare,
                                  .run = qconv_run,
                                  .min_in = 2,
                                  .max_in = 4,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .flags = TN_OP_KERNEL_NAME,
                                  .macs = qconv_macs};
const tn_op tn_op_qlinear_conv = {.infer = qlinear_conv_infer,
                                  .prepare = qconv_prepare,
                                  .run = qconv_run,
                                  .min_in = 8,
                                  .max_in = 9,
                                  .min_out = 1,
                                  .max_out = 1,
                                  .flags = TN_OP_KERNEL_NAME,
                                  .macs = qconv_macs};
const tn_op tn_op_fused_qconv = {.infer = fused_conv_infer,
                                 .prepare = qconv_prepare,
                                 .run = qconv_run,
                                 .min_in = 8,
                                 .max_in = 14,
                                 .min_out = 1,
                                 .max_out = 1,
                                 .flags = TN_OP_KERNEL_NAME,
                                 .macs = qconv_macs};

/* ---- matrix product ------------------------------------------------------------------------------------------ */

static const tn_qmatmul_inputs qlinear_matmul_inputs = {0, 3, 2, 5, 1, 4, 6, 7, -1};
static const tn_qmatmul_inputs integer_matmul_inputs = {0, 1, 2, 3, -1, -1, -1, -1, -1};

static const tn_qmatmul_inputs *matmul_inputs_of(const tn_node *node) {
    return strcmp(node->op_type, "MatMulInteger") == 0 ? &integer_matmul_inputs : &qlinear_matmul_inputs;
}

typedef struct qmatmul_state {
    const char *kernel;
    bool fast;
    tn_q8_gemm_state q8;
    tn_matmul_plan p;
    bool small_float; /* float8: sums are float32, and never cut */
    int64_t chunk;    /* terms of a piece */
    tn_gemm_f32 gemm;
    size_t at_a, at_b, at_part, at_sum, at_gemm;
    const float *b; /* converted once; NULL: by every run */
} qmatmul_state;

/* How a parameter with `count` values maps to row (or column) `line` of matrix `matrix`. */
static int64_t parameter_at(int64_t count, int64_t lines, int64_t matrix, int64_t line) {
    return count == 1 ? 0 : count == lines ? line : matrix * lines + line;
}

/* Values of a scale or zero point: one, one per line, or one per line of every matrix. */
static tern_status check_parameter(tn_infer *c, int operand, int i, bool columns) {
    const tn_type *t = input_type(c->in, c->node, i), *m = c->in[operand];
    int64_t count, all;
    if (!t || !m || !t->ranked || !m->ranked || !tn_shape_known(&t->shape) || !tn_shape_known(&m->shape))
        return TERN_OK;
    const tn_shape *s = &m->shape;
    bool ok = tn_shape_count_checked(&t->shape, &count) && tn_shape_count_checked(s, &all);
    if (ok && count != 1) {
        ok = s->rank >= 2;
        int64_t lines = ok ? s->dims[s->rank - (columns ? 1 : 2)] : 0;
        int64_t matrices = ok ? tn_shape_count_range(s, 0, s->rank - 2) : 0;
        ok = ok && (count == lines || count == lines * matrices);
    }
    if (ok) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s, which does not fit the %s of input %d (%s)", i,
                         tn_shape_text(&t->shape, a, sizeof a), columns ? "columns" : "rows", operand,
                         tn_shape_text(s, b, sizeof b));
}

static tern_status matmul_integer_infer(tn_infer *c) {
    for (int i = 0; i < c->node->n_in; i++) TN_TRY(tn_infer_want(c, i, BYTES));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    TN_TRY(tn_infer_same_type(c, 1, 3));
    TN_TRY(check_parameter(c, 0, 2, false));
    TN_TRY(check_parameter(c, 1, 3, true));
    return tn_ops_matmul_infer(c, 0, 1, TERN_INT32);
}

static tern_status qlinear_matmul_infer(tn_infer *c) {
    uint32_t scales = TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16), data = BYTES | TN_TYPES_FLOAT8;
    const uint32_t types[] = {data, scales, data, data, scales, data, scales, data};
    for (int i = 0; i < 8; i++) TN_TRY(tn_infer_want(c, i, types[i]));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    TN_TRY(tn_infer_same_type(c, 3, 5));
    const tn_type *a = c->in[0], *b = c->in[3], *y = c->in[7];
    uint32_t used = (a ? 1u << a->dtype : 0) | (b ? 1u << b->dtype : 0) | (y ? 1u << y->dtype : 0);
    if ((used & BYTES) && (used & TN_TYPES_FLOAT8))
        return tn_infer_fail(c, TERN_TYPE_MISMATCH, "float8 and integer types are mixed");
    for (int i = 1; i <= 2; i++) TN_TRY(check_parameter(c, 0, i, false));
    for (int i = 4; i <= 5; i++) TN_TRY(check_parameter(c, 3, i, true));
    TN_TRY(tn_ops_matmul_infer(c, 0, 3, y ? y->dtype : TERN_UNDEFINED));
    for (int i = 6; i <= 7; i++) TN_TRY(tn_op_want_count(c, i, 1, "parameter of y"));
    return TERN_OK;
}

/* Element minus zero point as a float. */
static float less_zero(const tern_tensor *t, int64_t i, const tern_tensor *zero, int64_t z) {
    if (tn_type_in(t->dtype, BYTES)) return (float)(tn_op_byte_at(t, i) - tn_op_byte_at(zero, z));
    return (float)(tn_tensor_get_f64(t, i) - (zero ? tn_tensor_get_f64(zero, z) : 0));
}

typedef struct operand_context {
    const tern_tensor *zero;
    int64_t matrices, rows, columns;
    bool by_column; /* the zero point varies with the column, else with the row */
} operand_context;

static void convert_operand(const void *context, const tern_tensor *t, void *dst) {
    const operand_context *o = context;
    float *out = dst;
    int64_t zeros = count_of(o->zero), lines = o->by_column ? o->columns : o->rows;
    for (int64_t m = 0; m < o->matrices; m++)
        for (int64_t r = 0; r < o->rows; r++) {
            int64_t at = (m * o->rows + r) * o->columns;
            if (zeros <= 1 && tn_type_in(t->dtype, BYTES)) {
                subtract(t, at, o->columns, tn_op_byte_at(o->zero, 0), out + at);
                continue;
            }
            for (int64_t k = 0; k < o->columns; k++) {
                int64_t z = zeros <= 1 ? 0 : parameter_at(zeros, lines, m, o->by_column ? k : r);
                out[at + k] = less_zero(t, at + k, o->zero, z);
            }
        }
}

static operand_context operand_a(const tn_matmul_plan *p, const tern_tensor *zero) {
    return (operand_context){zero, p->a_count, p->m, p->k, false};
}

static operand_context operand_b(const tn_matmul_plan *p, const tern_tensor *zero) {
    return (operand_context){zero, p->b_count, p->k, p->n, true};
}

static tern_status qmatmul_prepare(tn_prepare *c) {
    const tn_qmatmul_inputs *in = matmul_inputs_of(c->node);
    qmatmul_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    tn_matmul_plan *p = &s->p;
    tn_ops_matmul_plan(p, &c->in[in->a]->shape, &c->in[in->b]->shape, &c->out[0].shape, false);
    if (p->batch == 0 || p->k == 0) return TERN_OK;
    s->fast = tn_op_q8_gemm_ok(c, in);
    if (s->fast) return tn_op_q8_gemm_prepare(c, in, false, &s->q8, &s->kernel);
    s->small_float = tn_type_in(c->in[in->a]->dtype, TN_TYPES_FLOAT8);
    s->chunk = s->small_float ? p->k : TN_MIN(p->k, tn_exact_chunk(MAX_PRODUCT));
    s->gemm = (tn_gemm_f32){
        .m = p->m, .n = p->n, .k = s->chunk, .a_rs = p->k, .a_cs = 1, .b_rs = p->n, .b_cs = 1, .ldc = p->n, .alpha = 1};
    size_t gemm_bytes = tn_gemm_f32_workspace(c->tier, &s->gemm, false);
    bool has_zero = input_type(c->in, c->node, in->b_zero) != NULL;
    const tern_tensor *zero = has_zero ? c->value[in->b_zero] : NULL;
    if (c->value[in->b] && (zero || !has_zero)) {
        size_t bytes;
        operand_context o = operand_b(p, zero);
        if (!tn_mul_size((size_t)(p->b_count * p->k * p->n), sizeof(float), &bytes))
            return tn_fail_oom(c->err, SIZE_MAX);
        s->b = tn_pack_get(c, in->b, tn_op_zero_key(zero), bytes, convert_operand, &o);
        if (!s->b) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    }
    bool ok = tn_ops_reserve(&c->workspace, p->a_count * p->m * p->k, sizeof(float), &s->at_a) &&
              tn_ops_reserve(&c->workspace, s->b ? 0 : p->b_count * p->k * p->n, sizeof(float), &s->at_b) &&
              tn_ops_reserve(&c->workspace, p->m * p->n, sizeof(float), &s->at_part) &&
              tn_ops_reserve(&c->workspace, p->m * p->n, sizeof(int32_t), &s->at_sum) &&
              tn_ops_reserve(&c->workspace, (int64_t)gemm_bytes, 1, &s->at_gemm);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* Product of matrices a and b: int32 in sum, or, for float8, float32 in part. */
static void multiply(tn_run *c, const qmatmul_state *s, const float *a, const float *b, float *part, int32_t *sum) {
    const tn_matmul_plan *p = &s->p;
    for (int64_t k = 0; k < p->k; k += s->chunk) {
        tn_gemm_f32 g = s->gemm;
        g.k = TN_MIN(s->chunk, p->k - k);
        tn_gemm_f32_run(c->tier, &g, a + k, b + k * p->n, NULL, NULL, part, (char *)c->workspace + s->at_gemm,
                        c->threads);
        if (s->small_float) return;
        for (int64_t i = 0; i < p->m * p->n; i++)
            sum[i] = (int32_t)((k ? (uint32_t)sum[i] : 0) + (uint32_t)(int32_t)part[i]);
    }
}

static void store_small_float(tern_tensor *y, int64_t i, float v) {
    uint8_t *out = (uint8_t *)y->data + i;
    switch (y->dtype) {
    case TERN_FLOAT8E4M3FN:
        *out = tn_f32_to_f8e4m3fn(v, true);
        break;
    case TERN_FLOAT8E4M3FNUZ:
        *out = tn_f32_to_f8e4m3fnuz(v, true);
        break;
    case TERN_FLOAT8E5M2:
        *out = tn_f32_to_f8e5m2(v, true);
        break;
    default:
        *out = tn_f32_to_f8e5m2fnuz(v, true);
    }
}

static float scale_at(const tern_tensor *t, int64_t lines, int64_t matrix, int64_t line) {
    return (float)tn_tensor_get_f64(t, parameter_at(count_of(t), lines, matrix, line));
}

/* Product number i, matrices am and bm, to the output. */
static void requantize_product(tn_run *c, const qmatmul_state *s, int64_t i, int64_t am, int64_t bm, const float *part,
                               const int32_t *sum) {
    const tn_qmatmul_inputs *in = matmul_inputs_of(c->node);
    const tn_matmul_plan *p = &s->p;
    const tern_tensor *as = c->in[in->a_scale], *bs = c->in[in->b_scale], *yz = c->in[in->y_zero];
    float y_scale = (float)tn_tensor_get_f64(c->in[in->y_scale], 0);
    float y_zero = s->small_float ? (float)tn_tensor_get_f64(yz, 0) : 0, column_scale = 0;
    bool many = count_of(bs) > 1;
    for (int64_t r = 0; r < p->m; r++) {
        float row_scale = scale_at(as, p->m, am, r);
        for (int64_t k = 0; k < p->n; k++) {
            int64_t at = r * p->n + k, to = i * p->m * p->n + at;
            if (many || k == 0) column_scale = row_scale * scale_at(bs, p->n, bm, k) / y_scale;
            if (s->small_float)
                store_small_float(c->out[0], to, part[at] * column_scale + y_zero);
            else
                store_byte(c->out[0], to, (float)sum[at] * column_scale, tn_op_byte_at(yz, 0));
        }
    }
}

static tern_status qmatmul_run(tn_run *c) {
    const qmatmul_state *s = c->state;
    const tn_qmatmul_inputs *in = matmul_inputs_of(c->node);
    const tn_matmul_plan *p = &s->p;
    if (!c->out[0] || p->batch == 0) return TERN_OK;
    if (s->fast) {
        tn_op_q8_gemm_run(c, in, &s->q8);
        return TERN_OK;
    }
    char *ws = c->workspace;
    if (p->k == 0) { /* empty sums */
        const tern_tensor *zero = input(c, in->y_zero);
        memset(c->out[0]->data, zero ? *(const uint8_t *)zero->data : 0, tn_tensor_bytes(c->out[0]));
        return TERN_OK;
    }
    float *a = (float *)(ws + s->at_a), *b = (float *)(ws + s->at_b), *part = (float *)(ws + s->at_part);
    int32_t *sum = (int32_t *)(ws + s->at_sum);
    operand_context oa = operand_a(p, input(c, in->a_zero)), ob = operand_b(p, input(c, in->b_zero));
    convert_operand(&oa, c->in[in->a], a);
    if (!s->b) convert_operand(&ob, c->in[in->b], b);
    for (int64_t i = 0; i < p->batch; i++) {
        int64_t am, bm;
        tn_ops_matmul_at(p, i, &am, &bm);
        int32_t *to = in->y_scale < 0 ? (int32_t *)c->out[0]->data + i * p->m * p->n : sum;
        multiply(c, s, a + am * p->m * p->k, (s->b ? s->b : b) + bm * p->k * p->n, part, to);
        if (in->y_scale >= 0) requantize_product(c, s, i, am, bm, part, sum);
    }
    return TERN_OK;
}

const tn_op tn_op_matmul_integer = {.infer = matmul_integer_infer,
                                    .prepare = qmatmul_prepare,
                                    .run = qmatmul_run,
                                    .min_in = 2,
                                    .max_in = 4,
                                    .min_out = 1,
                                    .max_out = 1,
                                    .flags = TN_OP_KERNEL_NAME,
                                    .macs = tn_ops_matmul_macs};
const tn_op tn_op_qlinear_matmul = {.infer = qlinear_matmul_infer,
                                    .prepare = qmatmul_prepare,
                                    .run = qmatmul_run,
                                    .min_in = 8,
                                    .max_in = 8,
                                    .min_out = 1,
                                    .max_out = 1,
                                    .flags = TN_OP_KERNEL_NAME,
                                    .macs = tn_ops_matmul_macs};
