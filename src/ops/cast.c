/* Cast and CastLike.
 *
 * Types that C has are converted directly, by a loop per pair. Small floats pass through float32, which holds each of
 * their values; on the way to one of them wider types are rounded to odd, so that rounding twice gives what rounding
 * once would. Integers of 4 and 2 bits are in memory as 8-bit ones. */
#include "ops/cast_internal.h"

#include <math.h>

#include "ops/elementwise.h"

/* ---- pairs of C types ---------------------------------------------------------------------------------------- */

#define TRUNCATE(T, x) ((T)(x))
/* What an integer can not hold is undefined in the standard. Here, as with most others: narrow types and negative
 * numbers in unsigned ones lose their higher bits, wide types take their nearest value; NaN is 0. */
#define FROM_FLOAT(T, x)                               \
    _Generic((T)0, int8_t                              \
             : (T)tn_f64_to_i32((double)(x)), int16_t  \
             : (T)tn_f64_to_i32((double)(x)), uint8_t  \
             : (T)tn_f64_to_i32((double)(x)), uint16_t \
             : (T)tn_f64_to_i32((double)(x)), int32_t  \
             : tn_f64_to_i32((double)(x)), uint32_t    \
             : (T)tn_f64_to_i64((double)(x)), int64_t  \
             : tn_f64_to_i64((double)(x)), uint64_t    \
             : (x) < 0 ? (uint64_t)tn_f64_to_i64((double)(x)) : tn_f64_to_u64((double)(x)))

/* The loops from one type; INT is how an integer is made of it. */
#define CASTS(FROM, T, INT)                                              \
    TN_LOOP1(FLOAT, T, float, double, cast_##FROM, x)                    \
    TN_LOOP1(DOUBLE, T, double, double, cast_##FROM, x)                  \
    TN_LOOP1(BOOL, T, uint8_t, double, cast_##FROM, x != 0)              \
    TN_LOOP1(INT8, T, int8_t, double, cast_##FROM, INT(int8_t, x))       \
    TN_LOOP1(INT16, T, int16_t, double, cast_##FROM, INT(int16_t, x))    \
    TN_LOOP1(INT32, T, int32_t, double, cast_##FROM, INT(int32_t, x))    \
    TN_LOOP1(INT64, T, int64_t, double, cast_##FROM, INT(int64_t, x))    \
    TN_LOOP1(UINT8, T, uint8_t, double, cast_##FROM, INT(uint8_t, x))    \
    TN_LOOP1(UINT16, T, uint16_t, double, cast_##FROM, INT(uint16_t, x)) \
    TN_LOOP1(UINT32, T, uint32_t, double, cast_##FROM, INT(uint32_t, x)) \
    TN_LOOP1(UINT64, T, uint64_t, double, cast_##FROM, INT(uint64_t, x))
#define ENTRIES(FROM) \
    [TERN_##FROM] = {TN_EACH_NUMERIC(TN_LOOP_ENTRY, cast_##FROM) TN_EACH_BOOL(TN_LOOP_ENTRY, cast_##FROM)},

CASTS(FLOAT, float, FROM_FLOAT)
CASTS(DOUBLE, double, FROM_FLOAT)
CASTS(BOOL, uint8_t, TRUNCATE)
CASTS(INT8, int8_t, TRUNCATE)
CASTS(INT16, int16_t, TRUNCATE)
CASTS(INT32, int32_t, TRUNCATE)
CASTS(INT64, int64_t, TRUNCATE)
CASTS(UINT8, uint8_t, TRUNCATE)
CASTS(UINT16, uint16_t, TRUNCATE)
CASTS(UINT32, uint32_t, TRUNCATE)
CASTS(UINT64, uint64_t, TRUNCATE)

static const tn_loop_fn loops[TERN_DTYPE_COUNT][TERN_DTYPE_COUNT] = {
    ENTRIES(FLOAT) ENTRIES(DOUBLE) ENTRIES(BOOL) ENTRIES(INT8) ENTRIES(INT16) ENTRIES(INT32) ENTRIES(INT64)
        ENTRIES(UINT8) ENTRIES(UINT16) ENTRIES(UINT32) ENTRIES(UINT64)};

static void cast_direct(tern_dtype from, const void *src, tern_dtype to, void *dst, size_t n) {
    static const tn_loop_args args = {0};
    static const int step = 1;
    loops[from][to](&args, &src, &step, dst, n);
}

/* ---- small types --------------------------------------------------------------------------------------------- */

#define CHUNK 512

/* The type that the elements have in memory. */
static tern_dtype storage(tern_dtype t) {
    switch (t) {
    case TERN_INT4:
    case TERN_INT2:
        return TERN_INT8;
    case TERN_UINT4:
    case TERN_UINT2:
        return TERN_UINT8;
    default:
        return t;
    }
}

/* Rounds to float32 so that the last bit of an inexact result is 1. */
static float f64_to_f32_odd(double v) {
    union {
        float f;
        uint32_t bits;
    } u = {(float)v};
    if ((double)u.f == v || v != v || (u.bits & 1)) return u.f;
    u.bits += fabs((double)u.f) < fabs(v) ? 1u : UINT32_MAX;
    return u.f;
}

/* Likewise to the 53 bits of float64. */
static uint64_t u64_to_53_odd(uint64_t v) { return v >> 53 ? (v & ~(uint64_t)0x7ff) | ((v & 0x7ff) ? 0x800 : 0) : v; }
static double i64_to_f64_odd(int64_t v) {
    double magnitude = (double)u64_to_53_odd(v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    return v < 0 ? -magnitude : magnitude;
}

/* Any type of C to float32, inexact ones rounded to odd. n <= CHUNK. */
static void to_f32_odd(tern_dtype from, const void *src, float *dst, size_t n) {
    double wide[CHUNK];
    switch (from) {
    case TERN_INT64:
        for (size_t i = 0; i < n; i++) dst[i] = f64_to_f32_odd(i64_to_f64_odd(((const int64_t *)src)[i]));
        break;
    case TERN_UINT64:
        for (size_t i = 0; i < n; i++) dst[i] = f64_to_f32_odd((double)u64_to_53_odd(((const uint64_t *)src)[i]));
        break;
    case TERN_DOUBLE:
    case TERN_INT32:
    case TERN_UINT32:
        cast_direct(from, src, TERN_DOUBLE, wide, n);
        for (size_t i = 0; i < n; i++) dst[i] = f64_to_f32_odd(wide[i]);
        break;
    default:
        cast_direct(from, src, TERN_FLOAT, dst, n);
        break;
    }
}

/* 8-bit elements lose the bits that the narrower type has not. */
static void narrow(tern_dtype to, void *data, size_t n) {
    int8_t *s = data;
    uint8_t *u = data;
    const int half = to == TERN_INT4 || to == TERN_UINT4 ? 8 : 2, mask = 2 * half - 1;
    if (to == TERN_INT4 || to == TERN_INT2) {
        for (size_t i = 0; i < n; i++) s[i] = (int8_t)(((s[i] & mask) ^ half) - half);
    } else {
        for (size_t i = 0; i < n; i++) u[i] = (uint8_t)(u[i] & mask);
    }
}

/* n <= CHUNK */
static void cast_chunk(const tn_cast *cast, const void *src, void *dst, size_t n) {
    float f[CHUNK];
    tern_dtype from = storage(cast->from), to = storage(cast->to);
    if (tn_type_in(from, TN_TYPES_SMALL_FLOAT)) {
        tn_small_to_f32(from, src, f, n);
        src = f;
        from = TERN_FLOAT;
    }
    if (tn_type_in(to, TN_TYPES_SMALL_FLOAT)) {
        if (from != TERN_FLOAT) to_f32_odd(from, src, f, n);
        tn_f32_to_small(to, from == TERN_FLOAT ? src : f, dst, n, cast->saturate, cast->round_mode);
        return;
    }
    cast_direct(from, src, to, dst, n);
    if (to != cast->to) narrow(cast->to, dst, n);
}

void tn_cast_numbers(const tn_cast *cast, const void *src, void *dst, size_t n) {
    size_t from_size = tern_dtype_size(cast->from), to_size = tern_dtype_size(cast->to);
    if (cast->from == cast->to) {
        if (src != dst) memcpy(dst, src, n * from_size);
        return;
    }
    for (size_t done = 0; done < n; done += CHUNK) {
        const char *s = (const char *)src + done * from_size;
        cast_chunk(cast, s, (char *)dst + done * to_size, TN_MIN(n - done, (size_t)CHUNK));
    }
}

void tn_cast_elements(tern_dtype from, const void *src, tern_dtype to, void *dst, size_t n) {
    const tn_cast cast = {from, to, true, 'n'};
    tn_cast_numbers(&cast, src, dst, n);
}

/* ---- operators ----------------------------------------------------------------------------------------------- */

#define CAST_TYPES (TN_TYPES_ALL & ~(TN_T(COMPLEX64) | TN_T(COMPLEX128)))

/* Attribute `to`: a number of TensorProto.DataType, in opset 1 its name. */
static tern_status target_type(tn_infer *c, tern_dtype *to) {
    const tn_attr *a = tn_attr_find(c->node, "to");
    if (!a) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute to is missing");
    *to = TERN_UNDEFINED;
    if (a->type == TN_ATTR_STRING) {
#define X(NAME, VALUE, TEXT, BITS, BYTES) \
    if (tn_str_eq(a->s, tn_str_c(#NAME))) *to = TERN_##NAME;
        TERN_DTYPE_LIST(X)
#undef X
        if (*to != TERN_UNDEFINED && tn_type_in(*to, CAST_TYPES)) return TERN_OK;
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute to is '%.*s', which is no type that Cast makes",
                             (int)TN_MIN(a->s.len, 40), a->s.data);
    }
    if (a->i <= 0 || a->i >= TERN_DTYPE_COUNT || !tn_type_in((tern_dtype)a->i, CAST_TYPES))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute to is %lld, which is no type that Cast makes",
                             (long long)a->i);
    *to = (tern_dtype)a->i;
    return TERN_OK;
}

/* Integers of shape arithmetic keep their symbols. */
static tern_status infer_to(tn_infer *c, tern_dtype to) {
    enum { MAX = 64 };
    int64_t v[MAX];
    int n;
    TN_TRY(tn_elementwise_infer_unary(c, CAST_TYPES, TERN_UNDEFINED));
    c->out[0].dtype = to;
    if (!tn_attr_is(c->node, "round_mode", "up", "up") && !tn_attr_is(c->node, "round_mode", "up", "down") &&
        !tn_attr_is(c->node, "round_mode", "up", "nearest"))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute round_mode is none of 'up', 'down' and 'nearest'");
    if (!c->partial[0] || (to != TERN_INT64 && to != TERN_INT32) || !tn_infer_ints(c, 0, v, MAX, &n)) return TERN_OK;
    if (!c->out[0].ranked || c->out[0].shape.rank > 1) return TERN_OK;
    for (int i = 0; i < n; i++)
        if (to == TERN_INT32 && tn_dim_known(v[i]) && (v[i] > INT32_MAX || v[i] < INT32_MIN)) return TERN_OK;
    return tn_infer_set_partial(c, 0, v, n);
}

static tern_status cast_infer(tn_infer *c) {
    tern_dtype to = TERN_UNDEFINED;
    TN_TRY(target_type(c, &to));
    return infer_to(c, to);
}

static tern_status cast_like_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 1, CAST_TYPES));
    return infer_to(c, c->in[1]->dtype);
}

static tern_status cast_prepare(tn_prepare *c) {
    tn_cast *s = tn_prepare_state(c, sizeof *s);
    if (!s) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    s->from = c->in[0]->dtype;
    s->to = c->out[0].dtype;
    s->saturate = tn_attr_i(c->node, "saturate", 1) != 0;
    s->round_mode = tn_attr_s(c->node, "round_mode", "up").data[0];
    return TERN_OK;
}

typedef struct job {
    const tn_cast *cast;
    const char *src;
    char *dst;
    int64_t n;
} job;

#define TASK (32 * CHUNK)

static void run_tasks(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const job *j = context;
    size_t from = (size_t)begin * TASK, to = (size_t)TN_MIN(end * TASK, j->n);
    const char *src = j->src + from * tern_dtype_size(j->cast->from);
    tn_cast_numbers(j->cast, src, j->dst + from * tern_dtype_size(j->cast->to), to - from);
}

static tern_status cast_run(tn_run *c) {
    const tn_cast *s = c->state;
    if (!c->out[0]) return TERN_OK;
    const tern_tensor *x = c->in[0];
    int64_t n = tern_tensor_count(x);
    if (s->from == TERN_STRING || s->to == TERN_STRING) return tn_cast_strings(c, s, x->data, c->out[0]->data, n);
    job j = {s, x->data, c->out[0]->data, n};
    tn_parallel_for(c->threads, tn_ceil_div(n, TASK), run_tasks, &j);
    return TERN_OK;
}

const tn_op tn_op_cast = {.infer = cast_infer,
                          .prepare = cast_prepare,
                          .run = cast_run,
                          .min_in = 1,
                          .max_in = 1,
                          .min_out = 1,
                          .max_out = 1,
                          .flags = TN_OP_INPLACE};
/* Not in place: the second input, whose bytes may be the output's, is any tensor. */
const tn_op tn_op_cast_like = {.infer = cast_like_infer,
                               .prepare = cast_prepare,
                               .run = cast_run,
                               .min_in = 2,
                               .max_in = 2,
                               .min_out = 1,
                               .max_out = 1};
