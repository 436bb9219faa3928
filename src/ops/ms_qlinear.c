/* QLinearAdd, QLinearMul and QLinearGlobalAveragePool of com.microsoft, which the Q/DQ pass writes too. Source:
 * ContribOperators.md of ONNX Runtime. */
#include "kernels/q8_eltwise.h"
#include "ops/args.h"
#include "ops/broadcast.h"

#define BYTES (TN_T(INT8) | TN_T(UINT8))
#define CHUNK 2048 /* elements */

/* ---- shared ---------------------------------------------------------------------------------------------------- */

/* Inputs i (of bytes), i + 1 (its scale) and i + 2 (its zero point, which may be absent). */
static tern_status check_operand(tn_infer *c, int i, const char *what) {
    tn_shape s;
    int64_t count;
    TN_TRY(tn_args_need(c, i, BYTES));
    TN_TRY(tn_args_need(c, i + 1, TN_T(FLOAT)));
    TN_TRY(tn_infer_want(c, i + 2, BYTES));
    TN_TRY(tn_infer_same_type(c, i, i + 2));
    for (int k = i + 1; k <= i + 2; k++) {
        if (!tn_args_has(c, k) || !tn_args_shape(c, k, &s) || !tn_shape_known(&s)) continue;
        if (tn_shape_count_checked(&s, &count) && count == 1) continue;
        char text[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the %s of %s has shape %s; it must be one value",
                             k == i + 1 ? "scale" : "zero point", what, tn_shape_text(&s, text, sizeof text));
    }
    return TERN_OK;
}

/* The scale of the output is input i, its zero point i + 1. */
static tern_status check_output(tn_infer *c, int i) {
    tn_shape s;
    int64_t count;
    TN_TRY(tn_args_need(c, i, TN_T(FLOAT)));
    TN_TRY(tn_infer_want(c, i + 1, BYTES));
    TN_TRY(tn_infer_same_type(c, 0, i + 1));
    for (int k = i; k <= i + 1; k++) {
        if (!tn_args_has(c, k) || !tn_args_shape(c, k, &s) || !tn_shape_known(&s)) continue;
        if (!tn_shape_count_checked(&s, &count) || count != 1)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the scale or zero point of the output is not one value");
    }
    return TERN_OK;
}

static int32_t byte_at(const tern_tensor *t, int64_t i) {
    if (!t) return 0;
    return t->dtype == TERN_INT8 ? ((const int8_t *)t->data)[i] : ((const uint8_t *)t->data)[i];
}

/* ---- Add and Mul ----------------------------------------------------------------------------------------------- */

static tern_status infer_binary(tn_infer *c) {
    TN_TRY(check_operand(c, 0, "A"));
    TN_TRY(check_operand(c, 3, "B"));
    TN_TRY(tn_infer_same_type(c, 0, 3));
    TN_TRY(check_output(c, 6));
    tn_shape a, b, y;
    tn_infer_out(c, 0, c->in[0]->dtype, NULL);
    if (!tn_args_shape(c, 0, &a) || !tn_args_shape(c, 3, &b)) return TERN_OK;
    TN_TRY(tn_infer_broadcast(c, (const tn_shape *[]){&a, &b}, 2, &y));
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &y);
}

/* What a byte stands for: (q - zero) * scale. */
typedef struct real {
    float scale;
    int32_t zero;
    bool is_signed;
} real;

/* Scale input i, zero point input i + 1. */
static real real_of(const tn_run *c, int i) {
    return (real){*(const float *)c->in[i]->data, byte_at(tn_args_in(c, i + 1), 0), c->in[0]->dtype == TERN_INT8};
}

/* Operands are taken in units of the result. */
typedef struct binary {
    tn_broadcast b;
    const tern_tensor *in[2];
    real operand[2], result;
    bool mul;
    tern_cpu_tier tier;
    tern_tensor *y;
} binary;

/* Operand k of output elements [at, at + n). */
static void load_operand(const binary *s, int k, int64_t at, int64_t n, uint8_t *bytes, float *v) {
    const uint8_t *p = (const uint8_t *)s->in[k]->data + at;
    if (!tn_broadcast_dense(&s->b, k)) {
        tn_broadcast_gather(&s->b, k, s->in[k]->data, 1, at, n, bytes);
        p = bytes;
    }
    const real *r = &s->operand[k];
    tn_q8_dequantize(s->tier, p, n, r->scale, r->zero, r->is_signed, v, 1);
}

static void binary_task(void *context, int64_t begin, int64_t end, int worker) {
    const binary *s = context;
    (void)worker;
    float a[CHUNK], b[CHUNK];
    uint8_t bytes[CHUNK];
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t * CHUNK, n = TN_MIN((int64_t)CHUNK, s->b.count - at);
        load_operand(s, 0, at, n, bytes, a);
        load_operand(s, 1, at, n, bytes, b);
        if (s->mul)
            for (int64_t i = 0; i < n; i++) a[i] *= b[i];
        else
            for (int64_t i = 0; i < n; i++) a[i] += b[i];
        tn_q8_quantize(s->tier, a, n, 1, s->result.zero, s->result.is_signed, (uint8_t *)s->y->data + at, 1);
    }
}

static tern_status run_binary(tn_run *c, bool mul) {
    static const int plain[2] = {0, 0};
    tern_tensor *y = c->out[0];
    if (!y || tn_shape_count(&y->shape) == 0) return TERN_OK;
    binary s = {.in = {c->in[0], c->in[3]},
                .operand = {real_of(c, 1), real_of(c, 4)},
                .result = real_of(c, 6),
                .mul = mul,
                .tier = c->tier,
                .y = y};
    s.operand[0].scale = mul ? s.operand[0].scale * s.operand[1].scale : s.operand[0].scale;
    s.operand[0].scale /= s.result.scale;
    s.operand[1].scale = mul ? 1 : s.operand[1].scale / s.result.scale;
    const tn_shape *shapes[2] = {&s.in[0]->shape, &s.in[1]->shape};
    if (!tn_broadcast_init(&s.b, &y->shape, 0, 2, shapes, plain))
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "the operands do not broadcast");
    int64_t tasks = tn_ceil_div(s.b.count, CHUNK);
    tn_parallel_for(tasks < 4 ? 1 : c->threads, tasks, binary_task, &s);
    return TERN_OK;
}

static tern_status run_add(tn_run *c) { return run_binary(c, false); }
static tern_status run_mul(tn_run *c) { return run_binary(c, true); }

const tn_op tn_op_qlinear_add = TN_ARGS_OP(infer_binary, run_add, 7, 8, 1, 1, 0);
const tn_op tn_op_qlinear_mul = TN_ARGS_OP(infer_binary, run_mul, 7, 8, 1, 1, 0);

/* ---- GlobalAveragePool ----------------------------------------------------------------------------------------- */

static tern_status infer_pool(tn_infer *c) {
    TN_TRY(check_operand(c, 0, "X"));
    TN_TRY(check_output(c, 3));
    tn_shape s;
    tn_infer_out(c, 0, c->in[0]->dtype, NULL);
    if (!tn_args_shape(c, 0, &s)) return TERN_OK;
    if (s.rank < 3) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X has rank %d, less than 3", s.rank);
    bool last = tn_attr_i(c->node, "channels_last", 0) != 0;
    for (int i = last ? 1 : 2; i < s.rank - last; i++) {
        if (s.dims[i] == 0) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d of X is 0: there is no average", i);
        s.dims[i] = 1;
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &s);
}

typedef struct pool {
    const tern_tensor *x;
    tern_tensor *y;
    int64_t channels, spatial;
    bool last;
    real in, out;
    tern_cpu_tier tier;
} pool;

/* A task is a channel of a sample. */
static void pool_task(void *context, int64_t begin, int64_t end, int worker) {
    const pool *p = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t sum = 0, step = p->last ? p->channels : 1;
        int64_t at = p->last ? t / p->channels * p->channels * p->spatial + t % p->channels : t * p->spatial;
        if (p->x->dtype == TERN_INT8)
            for (int64_t i = 0; i < p->spatial; i++) sum += ((const int8_t *)p->x->data)[at + i * step];
        else
            for (int64_t i = 0; i < p->spatial; i++) sum += ((const uint8_t *)p->x->data)[at + i * step];
        sum -= p->in.zero * p->spatial;
        float mean = (float)sum * (p->in.scale / ((float)p->spatial * p->out.scale));
        tn_q8_quantize(p->tier, &mean, 1, 1, p->out.zero, p->out.is_signed, (uint8_t *)p->y->data + t, 1);
    }
}

static tern_status run_pool(tn_run *c) {
    tern_tensor *y = c->out[0];
    if (!y || tn_shape_count(&y->shape) == 0) return TERN_OK;
    const tn_shape *s = &c->in[0]->shape;
    bool last = tn_attr_i(c->node, "channels_last", 0) != 0;
    pool p = {.x = c->in[0],
              .y = y,
              .channels = s->dims[last ? s->rank - 1 : 1],
              .last = last,
              .in = real_of(c, 1),
              .out = real_of(c, 3),
              .tier = c->tier};
    int64_t tasks = s->dims[0] * p.channels;
    p.spatial = tn_shape_count(s) / tasks;
    tn_parallel_for(tasks * p.spatial < 8192 ? 1 : c->threads, tasks, pool_task, &p);
    return TERN_OK;
}

const tn_op tn_op_qlinear_global_average_pool = TN_ARGS_OP(infer_pool, run_pool, 4, 5, 1, 1, 0);
