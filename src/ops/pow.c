/* Pow: the result has the base's type, the exponent may have another. */
#include "ops/elementwise.h"

#include <math.h>

#include "kernels/eltwise.h"

/* Wraps; 1 / base^|e| rounded towards zero for negative exponents, 0 where that is infinite. */
static int64_t int_pow(int64_t base, int64_t e) {
    if (e < 0) return base == 1 ? 1 : base == -1 ? (e & 1 ? -1 : 1) : 0;
    uint64_t result = 1, factor = (uint64_t)base;
    for (uint64_t bits = (uint64_t)e; bits; bits >>= 1) {
        if (bits & 1) result *= factor;
        factor *= factor;
    }
    return (int64_t)result;
}

/* Constant exponents 2 and 3 are products; all others: ELSE. */
#define FLOAT_POW(NAME, T, ELSE)                                                                                    \
    static void pow_##NAME(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) { \
        const T *x = in[0], *e = in[1];                                                                             \
        T *y = out;                                                                                                 \
        const int sx = step[0], se = step[1];                                                                       \
        (void)args;                                                                                                 \
        if (!se && sx && e[0] == 2) {                                                                               \
            for (size_t i = 0; i < n; i++) y[i] = x[i] * x[i];                                                      \
        } else if (!se && sx && e[0] == 3) {                                                                        \
            for (size_t i = 0; i < n; i++) y[i] = x[i] * x[i] * x[i];                                               \
        } else {                                                                                                    \
            ELSE;                                                                                                   \
        }                                                                                                           \
    }
FLOAT_POW(FLOAT, float, tn_bin_f32(args->tier, TN_BIN_POW, x, sx, e, se, y, n))
FLOAT_POW(DOUBLE, double, for (size_t i = 0; i < n; i++) y[i] = pow(x[i * (size_t)sx], e[i * (size_t)se]))
TN_LOOP2(INT32, int32_t, int32_t, double, pow, int_pow(a, b))
TN_LOOP2(INT64, int64_t, int64_t, double, pow, int_pow(a, b))

/* Types differ: alpha and beta hold the base's and the exponent's. Integers to the power of integers are exact, all
 * others go through float64. */
static void pow_mixed(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) {
    enum { CHUNK = 256 };
    union {
        double f[CHUNK];
        int64_t i[CHUNK];
    } x, e;
    const tern_dtype base = (tern_dtype)args->alpha, exponent = (tern_dtype)args->beta;
    const bool ints = tn_type_in(base, TN_TYPES_INT) && tn_type_in(exponent, TN_TYPES_INT);
    const tern_dtype via = ints ? TERN_INT64 : TERN_DOUBLE;
    const size_t base_size = tern_dtype_size(base), exponent_size = tern_dtype_size(exponent);
    for (size_t done = 0; done < n; done += CHUNK) {
        const size_t m = TN_MIN(n - done, (size_t)CHUNK), sx = (size_t)step[0], se = (size_t)step[1];
        tn_cast_elements(base, (const char *)in[0] + done * sx * base_size, via, &x, sx ? m : 1);
        tn_cast_elements(exponent, (const char *)in[1] + done * se * exponent_size, via, &e, se ? m : 1);
        /* From the end: with step 0 the result grows over the one element that is read last. */
        for (size_t i = m; i-- > 0;) {
            if (ints) {
                x.i[i] = int_pow(x.i[i * sx], e.i[i * se]);
            } else {
                x.f[i] = pow(x.f[i * sx], e.f[i * se]);
            }
        }
        tn_cast_elements(via, &x, base, (char *)out + done * base_size, m);
    }
}

static const tn_loop_fn pow_table[TERN_DTYPE_COUNT] = {
    [TERN_FLOAT] = pow_FLOAT, [TERN_DOUBLE] = pow_DOUBLE, [TERN_INT32] = pow_INT32, [TERN_INT64] = pow_INT64};

static const tn_loop_fn mixed_table[TERN_DTYPE_COUNT] = {
#define X(NAME, VALUE, TEXT, BITS, BYTES) [TERN_##NAME] = pow_mixed,
    TERN_DTYPE_LIST(X)
#undef X
};

static tern_status pow_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_TYPES_FLOAT | TN_T(INT32) | TN_T(INT64)));
    TN_TRY(tn_infer_want(c, 1, TN_TYPES_NUMERIC));
    if (c->node->since < 12) TN_TRY(tn_infer_same_type(c, 0, 1));
    return tn_elementwise_infer_shape(c, 0, c->in[0]->dtype);
}

static tern_status pow_prepare(tn_prepare *c) {
    tern_dtype base = c->in[0]->dtype, exponent = c->in[1]->dtype;
    return tn_elementwise_prepare(c, base == exponent ? pow_table : mixed_table, base, exponent);
}

/* Not in place: an exponent of a wider type may have the bytes of the output, but not its elements. */
const tn_op tn_op_pow = TN_ELEMENTWISE_OP(pow_infer, pow_prepare, 2, 2, TN_OP_BLOCKED);
