/* QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear. Scales and zero points come per tensor, per index of an
 * axis, or per block along an axis; elements are done in chunks, each with the scales of its elements laid out beside
 * it. */
#include <math.h>

#include "kernels/q8_eltwise.h"
#include "kernels/row.h"
#include "ops/ops.h"

#define FLOATS       (TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16))
#define SMALL_FLOATS (TN_TYPES_FLOAT8 | TN_T(FLOAT4E2M1))
#define QUANTIZED                                                                                                  \
    (TN_T(INT8) | TN_T(UINT8) | TN_T(INT16) | TN_T(UINT16) | TN_T(INT4) | TN_T(UINT4) | TN_T(INT2) | TN_T(UINT2) | \
     SMALL_FLOATS)
#define SCALES (FLOATS | TN_T(INT32) | TN_T(FLOAT8E8M0))
#define CHUNK  512
/* Elements under one scale from which on the kernel of one scale pays. */
#define MIN_RUN 32

typedef union zero_point {
    int32_t i; /* integer types */
    float f;   /* small float types */
} zero_point;

typedef struct quantize_state {
    tern_dtype from, to, wide; /* `wide`: what the division is rounded to */
    bool saturate, small_float;
    bool fast; /* float32 and bytes, one scale for every `run` elements: kernels/q8_eltwise.h */
    int64_t run;
    int64_t count;
    /* Element (o, a, i) of (outer, axis, inner) uses scale (o, a / block, i) or, per axis, scale a. */
    int64_t axis, inner, block, scales;
    bool per_axis;
    size_t at_zero;
} quantize_state;

/* ---- infer --------------------------------------------------------------------------------------------------- */

static tern_status shape_fail(tn_infer *c, const tn_shape *x, const tn_shape *scale) {
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "x has shape %s, the scale has shape %s (axis %lld, block_size %lld)",
                         tn_shape_text(x, a, sizeof a), tn_shape_text(scale, b, sizeof b),
                         (long long)tn_attr_i(c->node, "axis", 1), (long long)tn_attr_i(c->node, "block_size", 0));
}

static bool dims_clash(int64_t a, int64_t b) { return tn_dim_known(a) && tn_dim_known(b) && a != b; }

static bool one_element(const tn_shape *s) { return s->rank == 0 || (s->rank == 1 && s->dims[0] == 1); }

static tern_status check_scale(tn_infer *c, const tn_type *xt, const tn_type *st) {
    if (!xt || !st || !xt->ranked || !st->ranked || one_element(&st->shape)) return TERN_OK;
    const tn_shape *x = &xt->shape, *s = &st->shape;
    int64_t block = tn_attr_i(c->node, "block_size", 0);
    int axis;
    if (x->rank == 0) return shape_fail(c, x, s);
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 1), x->rank, &axis, "axis"));
    if (block == 0) return s->rank != 1 || dims_clash(s->dims[0], x->dims[axis]) ? shape_fail(c, x, s) : TERN_OK;
    if (block < 0) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'block_size' is %lld", (long long)block);
    if (s->rank != x->rank) return shape_fail(c, x, s);
    for (int i = 0; i < x->rank; i++) {
        int64_t want = x->dims[i];
        if (i == axis && tn_dim_known(want)) want = want / block + (want % block != 0);
        if (i == axis && !tn_dim_known(want)) continue;
        if (dims_clash(s->dims[i], want)) return shape_fail(c, x, s);
    }
    return TERN_OK;
}

static tern_status check_zero_point(tn_infer *c) {
    const tn_type *s = c->in[1], *z = c->node->n_in > 2 ? c->in[2] : NULL;
    if (!s || !z || !s->ranked || !z->ranked || (one_element(&s->shape) && one_element(&z->shape))) return TERN_OK;
    bool ok = s->shape.rank == z->shape.rank;
    for (int i = 0; ok && i < s->shape.rank; i++) ok = !dims_clash(s->shape.dims[i], z->shape.dims[i]);
    if (ok) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the scale has shape %s, the zero point has shape %s",
                         tn_shape_text(&s->shape, a, sizeof a), tn_shape_text(&z->shape, b, sizeof b));
}

static tern_status check_dtype_attr(tn_infer *c, const char *name, uint32_t types, tern_dtype *out) {
    int64_t v = tn_attr_i(c->node, name, 0);
    if (v != 0 && (v < 0 || v >= TERN_DTYPE_COUNT || !tn_type_in((tern_dtype)v, types)))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute '%s' is %lld, a type that can not be used here", name,
                             (long long)v);
    if (v != 0) *out = (tern_dtype)v;
    return TERN_OK;
}

static tern_status infer_common(tn_infer *c, tern_dtype y) {
    TN_TRY(check_scale(c, c->in[0], c->in[1]));
    TN_TRY(check_zero_point(c));
    tn_infer_out(c, 0, y, c->in[0] && c->in[0]->ranked ? &c->in[0]->shape : NULL);
    return TERN_OK;
}

static tern_status quantize_infer(tn_infer *c) {
    const tn_type *z = c->node->n_in > 2 ? c->in[2] : NULL;
    TN_TRY(tn_infer_want(c, 0, FLOATS | TN_T(INT32)));
    TN_TRY(tn_infer_want(c, 1, SCALES));
    TN_TRY(tn_infer_want(c, 2, QUANTIZED));
    tern_dtype y = TERN_UINT8, wide, wanted = TERN_UNDEFINED;
    TN_TRY(check_dtype_attr(c, "output_dtype", QUANTIZED, &wanted));
    TN_TRY(check_dtype_attr(c, "precision", FLOATS, &wide));
    if (z && z->dtype && wanted && z->dtype != wanted)
        return tn_infer_fail(c, TERN_TYPE_MISMATCH, "output_dtype is %s, the zero point is %s", tern_dtype_name(wanted),
                             tern_dtype_name(z->dtype));
    if (wanted)
        y = wanted;
    else if (z)
        y = z->dtype;
    return infer_common(c, y);
}

static tern_status dequantize_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, QUANTIZED | TN_T(INT32)));
    TN_TRY(tn_infer_want(c, 1, FLOATS | TN_T(FLOAT8E8M0)));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    tern_dtype y = c->in[1] ? c->in[1]->dtype : TERN_UNDEFINED;
    TN_TRY(check_dtype_attr(c, "output_dtype", FLOATS, &y));
    if (y == TERN_FLOAT8E8M0) /* the scale's type is the output's, which can not be this one */
        return tn_infer_fail(c, TERN_INVALID_MODEL, "the scale is %s: attribute 'output_dtype' has to say the output's",
                             tern_dtype_name(y));
    return infer_common(c, y);
}

/* ---- prepare ------------------------------------------------------------------------------------------------- */

static tern_status quantize_prepare(tn_prepare *c) {
    quantize_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    const tn_shape *x = &c->in[0]->shape, *scale = &c->in[1]->shape;
    s->from = c->in[0]->dtype;
    s->to = c->out[0].dtype;
    s->wide = (tern_dtype)tn_attr_i(c->node, "precision", c->in[1]->dtype);
    s->saturate = tn_attr_i(c->node, "saturate", 1) != 0;
    s->small_float = tn_type_in(strcmp(c->node->op_type, "QuantizeLinear") == 0 ? s->to : s->from, SMALL_FLOATS);
    s->count = tn_shape_count(x);
    s->scales = tn_shape_count(scale);
    s->inner = s->axis = s->block = 1;
    if (!one_element(scale)) {
        int64_t axis = tn_attr_i(c->node, "axis", 1);
        int at = (int)(axis < 0 ? axis + x->rank : axis);
        s->block = TN_MAX(tn_attr_i(c->node, "block_size", 0), (int64_t)1);
        s->per_axis = scale->rank == 1 && tn_attr_i(c->node, "block_size", 0) == 0;
        s->axis = x->dims[at];
        s->inner = tn_shape_count_range(x, at + 1, x->rank);
    }
    size_t bytes;
    if (!tn_mul_size((size_t)s->scales, sizeof(float) + sizeof(zero_point), &bytes))
        return tn_fail_oom(c->err, SIZE_MAX);
    s->at_zero = (size_t)s->scales * sizeof(float);
    c->workspace = bytes;
    bool quantize = strcmp(c->node->op_type, "QuantizeLinear") == 0;
    tern_dtype q = quantize ? s->to : s->from, real = quantize ? s->from : s->to;
    s->run = s->scales == 1 ? s->count : s->per_axis ? s->inner : 1;
    s->fast = (q == TERN_INT8 || q == TERN_UINT8) && real == TERN_FLOAT && c->in[1]->dtype == TERN_FLOAT &&
              (s->scales == 1 || s->run >= MIN_RUN) && (!quantize || s->wide == TERN_FLOAT);
    int block = c->out_block[0];
    if (c->in_block[0] || (block && (!s->fast || s->scales != 1 || !quantize || (block != 4 && block != 16))))
        return tn_fail(c->err, TERN_INTERNAL, "no blocked form: X in blocks of %d, Y in blocks of %d", c->in_block[0],
                       block);
    return TERN_OK;
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

typedef struct quantize_args {
    const quantize_state *s;
    const void *x;
    void *y;
    const float *scale; /* s->scales each */
    const zero_point *zero;
} quantize_args;

/* Scale and zero point of each of `n` elements from `at` on. */
static void lay_out(const quantize_args *r, int64_t at, int64_t n, float *scale, zero_point *zero) {
    const quantize_state *s = r->s;
    if (s->scales == 1) {
        for (int64_t i = 0; i < n; i++) scale[i] = r->scale[0], zero[i] = r->zero[0];
        return;
    }
    int64_t inner = at % s->inner, axis = at / s->inner % s->axis, outer = at / s->inner / s->axis;
    int64_t blocks = tn_ceil_div(s->axis, s->block);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = s->per_axis ? axis : (outer * blocks + axis / s->block) * s->inner + inner;
        scale[i] = r->scale[k];
        zero[i] = r->zero[k];
        if (++inner < s->inner) continue;
        inner = 0;
        if (++axis < s->axis) continue;
        axis = 0;
        outer++;
    }
}

static void round_to(tern_dtype dtype, float *v, int64_t n) {
    uint16_t half[CHUNK];
    if (dtype == TERN_FLOAT16) {
        tn_f32_to_f16_n(v, half, (size_t)n);
        tn_f16_to_f32_n(half, v, (size_t)n);
    } else if (dtype == TERN_BFLOAT16) {
        tn_f32_to_bf16_n(v, half, (size_t)n);
        tn_bf16_to_f32_n(half, v, (size_t)n);
    }
}

/* x / scale. An int32 that float32 can not hold is divided in double, so that it is rounded once. */
static void divide(const quantize_args *r, int64_t at, int64_t n, const float *scale, float *v) {
    const quantize_state *s = r->s;
    if (s->from == TERN_INT32) {
        const int32_t *x = (const int32_t *)r->x + at;
        for (int64_t i = 0; i < n; i++) v[i] = (float)rint((double)x[i] / (double)scale[i]);
        return;
    }
    const float *x = v;
    if (s->from == TERN_FLOAT16)
        tn_f16_to_f32_n((const uint16_t *)r->x + at, v, (size_t)n);
    else if (s->from == TERN_BFLOAT16)
        tn_bf16_to_f32_n((const uint16_t *)r->x + at, v, (size_t)n);
    else
        x = (const float *)r->x + at;
    for (int64_t i = 0; i < n; i++) v[i] = x[i] / scale[i];
    round_to(s->wide, v, n);
}

static void int_range(tern_dtype dtype, int32_t *low, int32_t *high) {
    int bits = dtype == TERN_INT16 || dtype == TERN_UINT16 ? 16
               : dtype == TERN_INT8 || dtype == TERN_UINT8 ? 8
               : dtype == TERN_INT4 || dtype == TERN_UINT4 ? 4
                                                           : 2;
    bool sign = tn_type_in(dtype, TN_T(INT16) | TN_T(INT8) | TN_T(INT4) | TN_T(INT2));
    *low = sign ? -(1 << (bits - 1)) : 0;
    *high = sign ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
}

/* Rounds half to even: |v| is at most 2^17 once clamped, and this constant's last bit is 1. NaN becomes the zero point.
 */
static int32_t to_int(float v, int32_t zero, int32_t low, int32_t high) {
    float min = (float)(low - zero), max = (float)(high - zero);
    v = v != v ? 0 : v < min ? min : v > max ? max : v;
    return (int32_t)((v + 12582912.0f) - 12582912.0f) + zero;
}

static void store_ints(const quantize_state *s, void *y, int64_t at, int64_t n, const float *v,
                       const zero_point *zero) {
    int32_t low, high;
    int_range(s->to, &low, &high);
    if (s->to == TERN_INT16 || s->to == TERN_UINT16) {
        uint16_t *out = (uint16_t *)y + at;
        for (int64_t i = 0; i < n; i++) out[i] = (uint16_t)to_int(v[i], zero[i].i, low, high);
    } else {
        uint8_t *out = (uint8_t *)y + at;
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)to_int(v[i], zero[i].i, low, high);
    }
}

static uint8_t to_small_float(tern_dtype dtype, float v, bool saturate) {
    switch (dtype) {
    case TERN_FLOAT8E4M3FN:
        return tn_f32_to_f8e4m3fn(v, saturate);
    case TERN_FLOAT8E4M3FNUZ:
        return tn_f32_to_f8e4m3fnuz(v, saturate);
    case TERN_FLOAT8E5M2:
        return tn_f32_to_f8e5m2(v, saturate);
    case TERN_FLOAT8E5M2FNUZ:
        return tn_f32_to_f8e5m2fnuz(v, saturate);
    default:
        return tn_f32_to_f4e2m1(v);
    }
}

static void quantize_chunks(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const quantize_args *r = context;
    const quantize_state *s = r->s;
    float v[CHUNK], scale[CHUNK];
    zero_point zero[CHUNK];
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t at = chunk * CHUNK, n = TN_MIN(s->count - at, (int64_t)CHUNK);
        lay_out(r, at, n, scale, zero);
        divide(r, at, n, scale, v);
        if (!s->small_float) {
            store_ints(s, r->y, at, n, v, zero);
            continue;
        }
        uint8_t *out = (uint8_t *)r->y + at;
        for (int64_t i = 0; i < n; i++) out[i] = to_small_float(s->to, v[i] + zero[i].f, s->saturate);
    }
}

static float from_small_float(tern_dtype dtype, uint8_t b) {
    switch (dtype) {
    case TERN_FLOAT8E4M3FN:
        return tn_f8e4m3fn_to_f32(b);
    case TERN_FLOAT8E4M3FNUZ:
        return tn_f8e4m3fnuz_to_f32(b);
    case TERN_FLOAT8E5M2:
        return tn_f8e5m2_to_f32(b);
    case TERN_FLOAT8E5M2FNUZ:
        return tn_f8e5m2fnuz_to_f32(b);
    default:
        return tn_f4e2m1_to_f32(b);
    }
}

#define SUBTRACT(T) \
    for (int64_t i = 0; i < n; i++) v[i] = (float)((int64_t)((const T *)r->x)[at + i] - zero[i].i)

/* x - zero point. */
static void subtract(const quantize_args *r, int64_t at, int64_t n, const zero_point *zero, float *v) {
    switch (r->s->from) {
    case TERN_INT8:
    case TERN_INT4:
    case TERN_INT2:
        SUBTRACT(int8_t);
        break;
    case TERN_UINT8:
    case TERN_UINT4:
    case TERN_UINT2:
        SUBTRACT(uint8_t);
        break;
    case TERN_INT16:
        SUBTRACT(int16_t);
        break;
    case TERN_UINT16:
        SUBTRACT(uint16_t);
        break;
    case TERN_INT32:
        SUBTRACT(int32_t);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            v[i] = from_small_float(r->s->from, ((const uint8_t *)r->x)[at + i]) - zero[i].f;
    }
}

static void dequantize_chunks(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const quantize_args *r = context;
    const quantize_state *s = r->s;
    float v[CHUNK], scale[CHUNK];
    zero_point zero[CHUNK];
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t at = chunk * CHUNK, n = TN_MIN(s->count - at, (int64_t)CHUNK);
        lay_out(r, at, n, scale, zero);
        subtract(r, at, n, zero, v);
        float *out = s->to == TERN_FLOAT ? (float *)r->y + at : v;
        for (int64_t i = 0; i < n; i++) out[i] = v[i] * scale[i];
        if (s->to == TERN_FLOAT16)
            tn_f32_to_f16_n(v, (uint16_t *)r->y + at, (size_t)n);
        else if (s->to == TERN_BFLOAT16)
            tn_f32_to_bf16_n(v, (uint16_t *)r->y + at, (size_t)n);
    }
}

static tern_status run_chunks(tn_run *c, tn_task_fn fn) {
    const quantize_state *s = c->state;
    if (!c->out[0] || s->count == 0) return TERN_OK;
    float *scale = c->workspace;
    zero_point *zero = (zero_point *)((char *)c->workspace + s->at_zero);
    const tern_tensor *z = c->node->n_in > 2 ? c->in[2] : NULL;
    for (int64_t i = 0; i < s->scales; i++) {
        scale[i] = (float)tn_tensor_get_f64(c->in[1], i);
        zero[i].i = 0;
        if (z && s->small_float)
            zero[i].f = (float)tn_tensor_get_f64(z, i);
        else if (z)
            zero[i].i = (int32_t)tn_tensor_get_i64(z, i);
    }
    quantize_args r = {s, c->in[0]->data, c->out[0]->data, scale, zero};
    tn_parallel_for(c->threads, tn_ceil_div(s->count, CHUNK), fn, &r);
    return TERN_OK;
}

static int32_t zero_of(const tn_run *c, int64_t i) {
    const tern_tensor *z = c->node->n_in > 2 ? c->in[2] : NULL;
    return z ? (int32_t)tn_tensor_get_i64(z, i) : 0;
}

/* One run of elements under one scale. */
static void quantize_runs(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const tn_run *c = context;
    const quantize_state *s = c->state;
    for (int64_t i = begin; i < end; i++) {
        int64_t k = i % s->axis;
        tn_q8_quantize(c->tier, (const float *)c->in[0]->data + i * s->run, s->run, ((const float *)c->in[1]->data)[k],
                       zero_of(c, k), s->to == TERN_INT8, (uint8_t *)c->out[0]->data + i * s->run, 1);
    }
}

static void dequantize_runs(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const tn_run *c = context;
    const quantize_state *s = c->state;
    for (int64_t i = begin; i < end; i++) {
        int64_t k = i % s->axis;
        tn_q8_dequantize(c->tier, (const uint8_t *)c->in[0]->data + i * s->run, s->run,
                         ((const float *)c->in[1]->data)[k], zero_of(c, k), s->from == TERN_INT8,
                         (float *)c->out[0]->data + i * s->run, 1);
    }
}

static tern_status quantize_run(tn_run *c) {
    const quantize_state *s = c->state;
    if (!c->out[0] || s->count == 0) return TERN_OK;
    if (!s->fast) return run_chunks(c, quantize_chunks);
    const tn_shape *x = &c->in[0]->shape;
    float scale = *(const float *)c->in[1]->data;
    if (s->scales != 1)
        tn_parallel_for(c->threads, s->count / s->run, quantize_runs, c);
    else if (c->out[0]->block)
        tn_q8_quantize_block(c->tier, c->in[0]->data, x->dims[0], x->dims[1], tn_shape_count_range(x, 2, x->rank),
                             c->out[0]->block, scale, zero_of(c, 0), s->to == TERN_INT8, c->out[0]->data, c->threads);
    else
        tn_q8_quantize(c->tier, c->in[0]->data, s->count, scale, zero_of(c, 0), s->to == TERN_INT8, c->out[0]->data,
                       c->threads);
    return TERN_OK;
}

static tern_status dequantize_run(tn_run *c) {
    const quantize_state *s = c->state;
    if (!c->out[0] || s->count == 0) return TERN_OK;
    if (!s->fast) return run_chunks(c, dequantize_chunks);
    if (s->scales != 1)
        tn_parallel_for(c->threads, s->count / s->run, dequantize_runs, c);
    else
        tn_q8_dequantize(c->tier, c->in[0]->data, s->count, *(const float *)c->in[1]->data, zero_of(c, 0),
                         s->from == TERN_INT8, c->out[0]->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_quantize_linear = {.infer = quantize_infer,
                                     .prepare = quantize_prepare,
                                     .run = quantize_run,
                                     .min_in = 2,
                                     .max_in = 3,
                                     .min_out = 1,
                                     .max_out = 1};
const tn_op tn_op_dequantize_linear = {.infer = dequantize_infer,
                                       .prepare = quantize_prepare,
                                       .run = dequantize_run,
                                       .min_in = 2,
                                       .max_in = 3,
                                       .min_out = 1,
                                       .max_out = 1};

/* ---- DynamicQuantizeLinear ----------------------------------------------------------------------------------- */

static tern_status dynamic_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_T(FLOAT)));
    tn_shape scalar = {0};
    tn_infer_out(c, 0, TERN_UINT8, c->in[0] && c->in[0]->ranked ? &c->in[0]->shape : NULL);
    tn_infer_out(c, 1, TERN_FLOAT, &scalar);
    tn_infer_out(c, 2, TERN_UINT8, &scalar);
    return TERN_OK;
}

#define RANGE_CHUNK 16384

typedef struct range {
    float low, high;
} range;

typedef struct range_job {
    tern_cpu_tier tier;
    const float *x;
    int64_t count;
    range *parts; /* one for each chunk */
} range_job;

/* The range of the numbers among n elements, and of 0. */
static range range_of(tern_cpu_tier tier, const float *x, int64_t n) {
    range r = {tn_row_extreme_f32(tier, x, (size_t)n, false), tn_row_max_f32(tier, x, (size_t)n, 0)};
    if (r.low != r.low) { /* NaN, which has no part in it */
        r.low = 0;
        for (int64_t i = 0; i < n; i++) r.low = x[i] < r.low ? x[i] : r.low;
    }
    r.low = TN_MIN(r.low, 0.0f);
    return r;
}

static void find_ranges(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const range_job *j = context;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i * RANGE_CHUNK;
        j->parts[i] = range_of(j->tier, j->x + at, TN_MIN(j->count - at, (int64_t)RANGE_CHUNK));
    }
}

static tern_status dynamic_prepare(tn_prepare *c) {
    c->workspace = (size_t)tn_ceil_div(tn_shape_count(&c->in[0]->shape), RANGE_CHUNK) * sizeof(range);
    return TERN_OK;
}

static tern_status dynamic_run(tn_run *c) {
    range_job j = {c->tier, c->in[0]->data, tn_shape_count(&c->in[0]->shape), c->workspace};
    int64_t chunks = tn_ceil_div(j.count, RANGE_CHUNK);
    range all = {0, 0};
    tn_parallel_for(c->threads, chunks, find_ranges, &j);
    for (int64_t i = 0; i < chunks; i++)
        all = (range){TN_MIN(all.low, j.parts[i].low), TN_MAX(all.high, j.parts[i].high)};
    /* All zeros: any scale will do, but not 0. */
    float scale = all.high == all.low ? 1 : (all.high - all.low) / 255.0f;
    uint8_t zero = (uint8_t)to_int(-all.low / scale, 0, 0, 255);
    if (c->out[0]) tn_q8_quantize(c->tier, j.x, j.count, scale, zero, false, c->out[0]->data, c->threads);
    if (c->node->n_out > 1 && c->out[1]) *(float *)c->out[1]->data = scale;
    if (c->node->n_out > 2 && c->out[2]) *(uint8_t *)c->out[2]->data = zero;
    return TERN_OK;
}

const tn_op tn_op_dynamic_quantize_linear = {.infer = dynamic_infer,
                                             .prepare = dynamic_prepare,
                                             .run = dynamic_run,
                                             .min_in = 1,
                                             .max_in = 1,
                                             .min_out = 1,
                                             .max_out = 3};
