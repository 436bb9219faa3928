/* Arithmetic on two or more operands: Add Sub Mul Div Pow Mod PRelu BitShift, and the variadic Sum Mean Min Max. */
#include "ops/elementwise.h"

#include <tgmath.h>

#include "kernels/eltwise.h"

/* ---- loops --------------------------------------------------------------------------------------------------- */

#define LOOP(NAME, T, P, F, ...) TN_LOOP2(NAME, T, T, P, F, __VA_ARGS__)

/* Float32 by the kernel, float64 by its formula. */
#define ARITHMETIC(F, KIND, ...)                                                                                   \
    static void F##_FLOAT(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) { \
        tn_bin_f32(args->tier, KIND, in[0], step[0], in[1], step[1], out, n);                                      \
    }                                                                                                              \
    LOOP(DOUBLE, double, double, F, __VA_ARGS__)

ARITHMETIC(add, TN_BIN_ADD, a + b)
ARITHMETIC(sub, TN_BIN_SUB, a - b)
ARITHMETIC(mul, TN_BIN_MUL, a *b)
ARITHMETIC(div, TN_BIN_DIV, a / b)
/* NaN when either is. */
ARITHMETIC(min, TN_BIN_MIN, a != a || a < b ? a : b)
ARITHMETIC(max, TN_BIN_MAX, a != a || a > b ? a : b)

#define INT_ADD(NAME, T, P, F) LOOP(NAME, T, P, F, TN_WRAP_ADD(T, a, b))
#define INT_SUB(NAME, T, P, F) LOOP(NAME, T, P, F, TN_WRAP_SUB(T, a, b))
#define INT_MUL(NAME, T, P, F) LOOP(NAME, T, P, F, TN_WRAP_MUL(T, a, b))
/* Division by zero gives 0, the lowest number divided by -1 itself. */
#define SINT_DIV(NAME, T, P, F) LOOP(NAME, T, P, F, b == 0 ? 0 : b == -1 ? TN_WRAP_SUB(T, 0, a) : a / b)
TN_EACH_INT(INT_ADD, add)
TN_EACH_INT(INT_SUB, sub)
TN_EACH_INT(INT_MUL, mul)
TN_EACH_SINT(SINT_DIV, div)
TN_EACH_UINT(LOOP, div, b == 0 ? 0 : a / b)
TN_EACH_INT(LOOP, min, a < b ? a : b)
TN_EACH_INT(LOOP, max, a > b ? a : b)

/* The remainder with the sign of the divisor (mod) or of the dividend (fmod). */
#define SINT_REM(a, b) ((b) == 0 || (b) == -1 ? 0 : (a) % (b))
TN_EACH_FLOAT(LOOP, fmod, fmod(a, b))
TN_EACH_SINT(LOOP, fmod, SINT_REM(a, b))
TN_EACH_UINT(LOOP, fmod, b == 0 ? 0 : a % b)
TN_EACH_SINT(LOOP, mod, SINT_REM(a, b) + (SINT_REM(a, b) != 0 && (SINT_REM(a, b) < 0) != (b < 0) ? b : 0))
TN_EACH_UINT(LOOP, mod, b == 0 ? 0 : a % b)

TN_EACH_FLOAT(LOOP, prelu, a < 0 ? a * b : a)
#define INT_PRELU(NAME, T, P, F) LOOP(NAME, T, P, F, a < 0 ? TN_WRAP_MUL(T, a, b) : a)
TN_EACH_SINT(INT_PRELU, prelu)
TN_EACH_UINT(LOOP, prelu, a)

/* Shifts by the width or more leave nothing. */
TN_EACH_UINT(LOOP, shift_left, b < 8 * sizeof a ? (uint64_t)a << b : 0)
TN_EACH_UINT(LOOP, shift_right, b < 8 * sizeof a ? a >> b : 0)

/* ---- inference ----------------------------------------------------------------------------------------------- */

/* Most elements of a shape that is computed during inference. */
#define MAX_PARTIAL 64

typedef int64_t (*partial_fn)(int64_t a, int64_t b);

/* Numbers in the range of dims and symbols' encodings are not representable. */
static int64_t partial_number(bool fits, int64_t v) { return fits && tn_dim_known(v) ? v : TN_DIM_UNKNOWN; }

static int64_t partial_add(int64_t a, int64_t b) {
    int64_t v = 0;
    if (a == 0) return b;
    if (b == 0) return a;
    if (!tn_dim_known(a) || !tn_dim_known(b)) return TN_DIM_UNKNOWN;
    bool fits = tn_add_i64(a, b, &v);
    return partial_number(fits, v);
}

static int64_t partial_sub(int64_t a, int64_t b) {
    int64_t v = 0;
    if (b == 0) return a;
    if (a == b && a != TN_DIM_UNKNOWN) return 0;
    if (!tn_dim_known(a) || !tn_dim_known(b)) return TN_DIM_UNKNOWN;
    bool fits = !__builtin_sub_overflow(a, b, &v);
    return partial_number(fits, v);
}

static int64_t partial_mul(int64_t a, int64_t b) {
    int64_t v = 0;
    if (a == 0 || b == 0) return 0;
    if (a == 1) return b;
    if (b == 1) return a;
    if (!tn_dim_known(a) || !tn_dim_known(b)) return TN_DIM_UNKNOWN;
    bool fits = tn_mul_i64(a, b, &v);
    return partial_number(fits, v);
}

static int64_t partial_div(int64_t a, int64_t b) {
    if (b == 1) return a;
    return tn_dim_known(a) && tn_dim_known(b) && b > 0 ? a / b : TN_DIM_UNKNOWN;
}

static int64_t partial_min(int64_t a, int64_t b) {
    if (a == b) return a;
    return tn_dim_known(a) && tn_dim_known(b) ? TN_MIN(a, b) : TN_DIM_UNKNOWN;
}

static int64_t partial_max(int64_t a, int64_t b) {
    if (a == b) return a;
    return tn_dim_known(a) && tn_dim_known(b) ? TN_MAX(a, b) : TN_DIM_UNKNOWN;
}

/* Shape arithmetic: elements of the output as far as those of both inputs are known. */
static tern_status infer_partial(tn_infer *c, partial_fn fn) {
    int64_t a[MAX_PARTIAL], b[MAX_PARTIAL], y[MAX_PARTIAL];
    int na, nb;
    const tn_type *t = &c->out[0];
    if (c->node->n_in != 2 || t->dtype != TERN_INT64 || !t->ranked || t->shape.rank > 1) return TERN_OK;
    if (!tn_infer_ints(c, 0, a, MAX_PARTIAL, &na) || !tn_infer_ints(c, 1, b, MAX_PARTIAL, &nb)) return TERN_OK;
    int n = na == 1 ? nb : na;
    if (nb != 1 && nb != n) return TERN_OK;
    if (t->shape.rank == 1 && t->shape.dims[0] != n) return TERN_OK;
    if (t->shape.rank == 0 && n != 1) return TERN_OK;
    for (int i = 0; i < n; i++) y[i] = fn(a[na == 1 ? 0 : i], b[nb == 1 ? 0 : i]);
    return tn_infer_set_partial(c, 0, y, n);
}

/* ---- two operands of one type -------------------------------------------------------------------------------- */

#define TABLE(NAME, EACH) static const tn_loop_fn NAME##_table[TERN_DTYPE_COUNT] = {EACH(TN_LOOP_ENTRY, NAME)};
#define SAME              (TN_OP_INPLACE | TN_OP_BLOCKED)

#define BINARY(NAME, PARTIAL)                                                                                  \
    TABLE(NAME, TN_EACH_NUMERIC)                                                                               \
    static tern_status NAME##_infer(tn_infer *c) {                                                             \
        TN_TRY(tn_elementwise_infer(c, TN_TYPES_NUMERIC, TERN_UNDEFINED));                                     \
        return infer_partial(c, PARTIAL);                                                                      \
    }                                                                                                          \
    static tern_status NAME##_prepare(tn_prepare *c) { return tn_elementwise_prepare(c, NAME##_table, 0, 0); } \
    const tn_op tn_op_##NAME = TN_ELEMENTWISE_OP(NAME##_infer, NAME##_prepare, 2, 2, SAME);

BINARY(add, partial_add)
BINARY(sub, partial_sub)
BINARY(mul, partial_mul)
BINARY(div, partial_div)

TABLE(mod, TN_EACH_INT)
TABLE(fmod, TN_EACH_NUMERIC)
static tern_status mod_infer(tn_infer *c) {
    TN_TRY(tn_elementwise_infer(c, TN_TYPES_NUMERIC, TERN_UNDEFINED));
    tern_dtype t = c->out[0].dtype;
    if (t != TERN_UNDEFINED && tn_type_in(t, TN_TYPES_FLOAT) && tn_attr_i(c->node, "fmod", 0) == 0)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute fmod is 0, but must be 1 for %s", tern_dtype_name(t));
    return TERN_OK;
}
static tern_status mod_prepare(tn_prepare *c) {
    return tn_elementwise_prepare(c, tn_attr_i(c->node, "fmod", 0) ? fmod_table : mod_table, 0, 0);
}
const tn_op tn_op_mod = TN_ELEMENTWISE_OP(mod_infer, mod_prepare, 2, 2, SAME);

TABLE(prelu, TN_EACH_NUMERIC)
/* The output is shaped like input 0: the slope must not make it larger. */
static tern_status prelu_infer(tn_infer *c) {
    TN_TRY(tn_elementwise_infer(c, TN_TYPES_NUMERIC, TERN_UNDEFINED));
    const tn_type *x = c->in[0];
    tern_dtype type = c->out[0].dtype;
    if (x->ranked && c->out[0].ranked && tn_shape_known(&x->shape) && !tn_shape_equal(&x->shape, &c->out[0].shape)) {
        char tx[TN_SHAPE_TEXT], ts[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "slope of shape %s does not broadcast to %s",
                             tn_shape_text(&c->in[1]->shape, ts, sizeof ts), tn_shape_text(&x->shape, tx, sizeof tx));
    }
    tn_infer_out(c, 0, type, x->ranked ? &x->shape : NULL);
    return TERN_OK;
}
static tern_status prelu_prepare(tn_prepare *c) { return tn_elementwise_prepare(c, prelu_table, 0, 0); }
const tn_op tn_op_prelu = TN_ELEMENTWISE_OP(prelu_infer, prelu_prepare, 2, 2, SAME);

TABLE(shift_left, TN_EACH_UINT)
TABLE(shift_right, TN_EACH_UINT)
static tern_status shift_infer(tn_infer *c) {
    if (!tn_attr_is(c->node, "direction", "", "LEFT") && !tn_attr_is(c->node, "direction", "", "RIGHT")) {
        tn_str s = tn_attr_s(c->node, "direction", "");
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute direction is '%.*s', not 'LEFT' or 'RIGHT'",
                             (int)TN_MIN(s.len, 40), s.data);
    }
    return tn_elementwise_infer(c, TN_TYPES_UINT, TERN_UNDEFINED);
}
static tern_status shift_prepare(tn_prepare *c) {
    bool left = tn_attr_is(c->node, "direction", "", "LEFT");
    return tn_elementwise_prepare(c, left ? shift_left_table : shift_right_table, 0, 0);
}
const tn_op tn_op_bit_shift = TN_ELEMENTWISE_OP(shift_infer, shift_prepare, 2, 2, TN_OP_INPLACE);

/* ---- any number of operands ---------------------------------------------------------------------------------- */

#define MEAN_END(NAME, T, P, F) TN_LOOP1(NAME, T, T, P, F, x / alpha)
TN_EACH_FLOAT(MEAN_END, mean_end)
TABLE(mean_end, TN_EACH_FLOAT)
TABLE(min, TN_EACH_NUMERIC)
TABLE(max, TN_EACH_NUMERIC)

typedef struct variadic {
    tn_elementwise pair;  /* exactly two operands */
    tn_elementwise *each; /* else: a walk per operand, all with the table's loop */
    int n;
    tn_loop_fn end; /* on the accumulated elements; NULL: none */
    tern_dtype type, accumulate;
} variadic;

static tern_status same_shapes(tn_infer *c) {
    for (int i = 1; i < c->node->n_in; i++) {
        const tn_type *a = c->in[0], *b = c->in[i];
        if (!a->ranked || !b->ranked || !tn_shape_known(&a->shape) || !tn_shape_known(&b->shape)) continue;
        char ta[TN_SHAPE_TEXT], tb[TN_SHAPE_TEXT];
        if (!tn_shape_equal(&a->shape, &b->shape))
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "shapes %s and %s differ; opset %d does not broadcast them",
                                 tn_shape_text(&a->shape, ta, sizeof ta), tn_shape_text(&b->shape, tb, sizeof tb),
                                 c->node->opset);
    }
    return TERN_OK;
}

static tern_status variadic_infer(tn_infer *c, uint32_t types, partial_fn fn) {
    TN_TRY(tn_elementwise_infer(c, types, TERN_UNDEFINED));
    if (c->node->since < 8) TN_TRY(same_shapes(c));
    return fn ? infer_partial(c, fn) : TERN_OK;
}

static tern_status variadic_prepare(tn_prepare *c, const tn_loop_fn *table, bool mean) {
    variadic *v = tn_prepare_state(c, sizeof *v);
    if (!v) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    v->n = c->node->n_in;
    v->type = c->out[0].dtype;
    v->accumulate = tn_type_in(v->type, TN_TYPES_SMALL_FLOAT) ? TERN_FLOAT : v->type;
    v->end = mean ? mean_end_table[v->accumulate] : NULL;
    if (v->n == 2 && !mean) return tn_elementwise_init(c, &v->pair, table, 2);
    v->each = tn_arena_array(c->arena, (size_t)v->n, sizeof *v->each);
    if (!v->each) return tn_fail_oom(c->err, (size_t)v->n * sizeof *v->each);
    for (int i = 0; i < v->n; i++) {
        tn_prepare one = *c;
        one.in += i;
        one.in_block += i;
        TN_TRY(tn_elementwise_init(&one, &v->each[i], table, 1));
    }
    v->each[0].args.alpha = v->n;
    return TERN_OK;
}

typedef struct variadic_job {
    const variadic *v;
    tern_tensor *const *in;
    char *out;
} variadic_job;

/* Elements [pos, pos + n) of operand i as the accumulator's type; in place where they are so already, else in `memory`.
 */
static const void *load_operand(const variadic_job *j, int i, int64_t pos, int64_t n, char *memory) {
    const tn_elementwise *e = &j->v->each[i];
    const void *data = j->in[i]->data, *dense = (const char *)data + (size_t)pos * e->in_size[0];
    bool is_dense = tn_broadcast_dense(&e->b, 0);
    if (j->v->accumulate == j->v->type) {
        if (is_dense) return dense;
        tn_broadcast_gather(&e->b, 0, data, e->in_size[0], pos, n, memory);
        return memory;
    }
    uint16_t raw[TN_ELEMENTWISE_CHUNK];
    if (!is_dense) tn_broadcast_gather(&e->b, 0, data, e->in_size[0], pos, n, raw);
    tn_small_to_f32(j->v->type, is_dense ? dense : raw, (float *)(void *)memory, (size_t)n);
    return memory;
}

/* All operands of a chunk are read before it is written: the output may be any of them. */
static void variadic_tasks(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const variadic_job *j = context;
    const variadic *v = j->v;
    const tn_elementwise *e = &v->each[0];
    _Alignas(TN_CACHE_LINE) char acc[TN_ELEMENTWISE_CHUNK * sizeof(double)],
        next[TN_ELEMENTWISE_CHUNK * sizeof(double)];
    static const int step[2] = {1, 1};
    size_t size = tern_dtype_size(v->accumulate);
    for (int64_t task = begin; task < end; task++) {
        int64_t pos = task * TN_ELEMENTWISE_CHUNK, n = TN_MIN(TN_ELEMENTWISE_CHUNK, e->b.count - pos);
        const void *operand[2] = {load_operand(j, 0, pos, n, acc), NULL};
        if (operand[0] != acc) memcpy(acc, operand[0], (size_t)n * size);
        operand[0] = acc;
        for (int i = 1; i < v->n; i++) {
            operand[1] = load_operand(j, i, pos, n, next);
            e->fn(&e->args, operand, step, acc, (size_t)n);
        }
        if (v->end) v->end(&e->args, operand, step, acc, (size_t)n);
        char *out = j->out + (size_t)pos * e->out_size;
        if (v->accumulate == v->type) {
            memcpy(out, acc, (size_t)n * size);
        } else {
            tn_f32_to_small(v->type, (const float *)(const void *)acc, out, (size_t)n, true, 'n');
        }
    }
}

static tern_status variadic_run(tn_run *c) {
    const variadic *v = c->state;
    if (!c->out[0]) return TERN_OK;
    if (!v->each) {
        const void *const in[2] = {c->in[0]->data, c->in[1]->data};
        tn_elementwise_exec(&v->pair, in, c->out[0]->data, c->threads);
        return TERN_OK;
    }
    variadic_job j = {v, c->in, c->out[0]->data};
    int64_t count = v->each[0].b.count;
    int threads = count >= 32 * TN_ELEMENTWISE_CHUNK ? c->threads : 1;
    tn_parallel_for(threads, tn_ceil_div(count, TN_ELEMENTWISE_CHUNK), variadic_tasks, &j);
    tn_elementwise_clear_lanes(&v->each[0], j.out);
    return TERN_OK;
}

#define VARIADIC(NAME, TABLE_OF, TYPES, PARTIAL, MEAN)                                                       \
    static tern_status NAME##_infer(tn_infer *c) { return variadic_infer(c, TYPES, PARTIAL); }               \
    static tern_status NAME##_prepare(tn_prepare *c) { return variadic_prepare(c, TABLE_OF##_table, MEAN); } \
    const tn_op tn_op_##NAME = {.infer = NAME##_infer,                                                       \
                                .prepare = NAME##_prepare,                                                   \
                                .run = variadic_run,                                                         \
                                .min_in = 1,                                                                 \
                                .max_in = -1,                                                                \
                                .min_out = 1,                                                                \
                                .max_out = 1,                                                                \
                                .flags = SAME};

VARIADIC(sum, add, TN_TYPES_FLOAT, NULL, false)
VARIADIC(mean, add, TN_TYPES_FLOAT, NULL, true)
VARIADIC(min, min, TN_TYPES_NUMERIC, partial_min, false)
VARIADIC(max, max, TN_TYPES_NUMERIC, partial_max, false)
