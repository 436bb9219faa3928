/* Clip: bounds from attributes (opset 1 and 6) or from inputs of one element (opset 11 on). */
#include "ops/elementwise.h"

#include <float.h>
#include <math.h>

#include "kernels/act.h"

/* a: the element, b and c are scalars; a maximum below the minimum wins; NaN stays. */
#define CLIP(NAME, T, P, F)                                                                                         \
    static void F##_##NAME(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) { \
        const T *x = in[0], low = *(const T *)in[1], high = *(const T *)in[2];                                      \
        T *y = out;                                                                                                 \
        (void)args, (void)step;                                                                                     \
        for (size_t i = 0; i < n; i++) {                                                                            \
            const T v = x[i] < low ? low : x[i];                                                                    \
            y[i] = v > high ? high : v;                                                                             \
        }                                                                                                           \
    }
CLIP(DOUBLE, double, double, clip)
TN_EACH_INT(CLIP, clip)

static void clip_FLOAT(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) {
    const tn_act act = {TN_ACT_CLIP, *(const float *)in[1], *(const float *)in[2]};
    (void)step;
    tn_act_f32(args->tier, &act, in[0], out, n);
}

static const tn_loop_fn clip_table[TERN_DTYPE_COUNT] = {TN_EACH_NUMERIC(TN_LOOP_ENTRY, clip)};

/* An element of any type. */
typedef union scalar {
    uint64_t bits;
    double f64;
    uint8_t bytes[8];
} scalar;

typedef struct clip {
    tn_elementwise e;
    scalar low, high; /* where no input gives them */
} clip;

static tern_status clip_infer(tn_infer *c) {
    TN_TRY(tn_elementwise_infer_unary(c, TN_TYPES_NUMERIC, TERN_UNDEFINED));
    if (c->node->since < 11 && c->node->n_in > 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "has %d inputs, but takes 1 before opset 11", c->node->n_in);
    for (int i = 1; i < c->node->n_in; i++) {
        int64_t n;
        if (!c->in[i]) continue;
        TN_TRY(tn_infer_want(c, i, TN_TYPES_NUMERIC));
        TN_TRY(tn_infer_same_type(c, 0, i));
        if (c->out[0].dtype == TERN_UNDEFINED) c->out[0].dtype = c->in[i]->dtype;
        if (!c->in[i]->ranked || !tn_shape_count_checked(&c->in[i]->shape, &n) || n == 1) continue;
        char text[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%s is of shape %s, but must have one element",
                             i == 1 ? "min" : "max", tn_shape_text(&c->in[i]->shape, text, sizeof text));
    }
    return TERN_OK;
}

/* What the type can not hold becomes its nearest value. */
static void set_bound(scalar *s, tern_dtype type, double v) {
    switch (type) {
#define X(NAME, T, P, F)           \
    case TERN_##NAME:              \
        *(T *)s = TN_F64_TO(T, v); \
        break;
        TN_EACH_INT(X, bound)
#undef X
    default:
        tn_cast_elements(TERN_DOUBLE, &v, type, s, 1);
        break;
    }
}

static tern_status clip_prepare(tn_prepare *c) {
    clip *s = tn_prepare_state(c, sizeof *s);
    if (!s) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    tern_dtype type = c->in[0]->dtype;
    TN_TRY(tn_elementwise_init(c, &s->e, clip_table, 1));
    /* The walk has one operand; the bounds are two more of step 0. */
    s->e.b.n_in = 3;
    s->e.in_size[1] = s->e.in_size[2] = s->e.in_size[0];
    double low = -INFINITY, high = INFINITY;
    if (c->node->since < 11) {
        if (tn_attr_find(c->node, "min")) low = (double)tn_attr_f(c->node, "min", 0);
        if (tn_attr_find(c->node, "max")) high = (double)tn_attr_f(c->node, "max", 0);
    }
    set_bound(&s->low, type, low);
    set_bound(&s->high, type, high);
    return TERN_OK;
}

static tern_status clip_run(tn_run *c) {
    const clip *s = c->state;
    scalar low = s->low, high = s->high;
    if (!c->out[0]) return TERN_OK;
    /* Copies: the output may be the memory of a bound. */
    if (c->node->n_in > 1 && c->in[1]) memcpy(low.bytes, c->in[1]->data, s->e.in_size[0]);
    if (c->node->n_in > 2 && c->in[2]) memcpy(high.bytes, c->in[2]->data, s->e.in_size[0]);
    const void *const in[3] = {c->in[0]->data, &low, &high};
    tn_elementwise_exec(&s->e, in, c->out[0]->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_clip = {.infer = clip_infer,
                          .prepare = clip_prepare,
                          .run = clip_run,
                          .min_in = 1,
                          .max_in = 3,
                          .min_out = 1,
                          .max_out = 1,
                          .flags = TN_OP_INPLACE | TN_OP_BLOCKED};
