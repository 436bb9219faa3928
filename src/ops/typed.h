/* Typed loops: one expression, a loop per element type.
 *
 * A family's file names the element types with the lists below and generates its loops with TN_LOOP1..3, once:
 *
 *   #define SQUARE(NAME, T, P, F) TN_LOOP1(NAME, T, T, P, F, x *x)
 *   TN_EACH_FLOAT(SQUARE, square)                       // square_FLOAT, square_DOUBLE
 *   static const tn_loop_fn square_loops[TERN_DTYPE_COUNT] = {TN_EACH_FLOAT(TN_LOOP_ENTRY, square)};
 *
 * Float16, bfloat16 and the 8-bit floats need no loops of their own: a table without an entry for them runs its float32
 * loop on chunks that are converted (see elementwise.h). */
#ifndef TN_OPS_TYPED_H
#define TN_OPS_TYPED_H

#include "ops/ops.h"

/* ---- element types: X(name in tern_dtype, C type, type of attributes in expressions, ...) --------------------- */

#define TN_EACH_FLOAT(X, ...)           \
    X(FLOAT, float, float, __VA_ARGS__) \
    X(DOUBLE, double, double, __VA_ARGS__)
#define TN_EACH_SINT(X, ...)               \
    X(INT8, int8_t, double, __VA_ARGS__)   \
    X(INT16, int16_t, double, __VA_ARGS__) \
    X(INT32, int32_t, double, __VA_ARGS__) \
    X(INT64, int64_t, double, __VA_ARGS__)
#define TN_EACH_UINT(X, ...)                 \
    X(UINT8, uint8_t, double, __VA_ARGS__)   \
    X(UINT16, uint16_t, double, __VA_ARGS__) \
    X(UINT32, uint32_t, double, __VA_ARGS__) \
    X(UINT64, uint64_t, double, __VA_ARGS__)
#define TN_EACH_BOOL(X, ...)    X(BOOL, uint8_t, double, __VA_ARGS__)
#define TN_EACH_INT(X, ...)     TN_EACH_SINT(X, __VA_ARGS__) TN_EACH_UINT(X, __VA_ARGS__)
#define TN_EACH_NUMERIC(X, ...) TN_EACH_FLOAT(X, __VA_ARGS__) TN_EACH_INT(X, __VA_ARGS__)

/* A row of a table of loops. */
#define TN_LOOP_ENTRY(NAME, T, P, F) [TERN_##NAME] = F##_##NAME,

/* ---- loops --------------------------------------------------------------------------------------------------- */

/* What every loop gets besides its operands. */
typedef struct tn_loop_args {
    tern_cpu_tier tier;
    double alpha, beta; /* attributes of the operator */
} tn_loop_args;

/* out[i] = f(in[0][i * step[0]], in[1][i * step[1]], ...), steps 0 or 1. `out` may be an input that has step 1. */
typedef void (*tn_loop_fn)(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n);

#define TN_LOOP_BEGIN(NAME, P, F)                                                                                   \
    static void F##_##NAME(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) { \
        const P alpha = (P)args->alpha, beta = (P)args->beta;                                                       \
        (void)alpha, (void)beta, (void)step;

/* One operand `x`, step 1. TI: its type, TO: the result's, P: of the attributes alpha and beta. */
#define TN_LOOP1(NAME, TI, TO, P, F, ...) \
    TN_LOOP_BEGIN(NAME, P, F)             \
    const TI *px = in[0];                 \
    TO *y = out;                          \
    for (size_t i = 0; i < n; i++) {      \
        const TI x = px[i];               \
        y[i] = (TO)(__VA_ARGS__);         \
    }                                     \
    }

/* Two operands `a` and `b`. Scalars are held outside the loop so that each loop vectorises. */
#define TN_LOOP2(NAME, TI, TO, P, F, ...)         \
    TN_LOOP_BEGIN(NAME, P, F)                     \
    const TI *pa = in[0], *pb = in[1];            \
    TO *y = out;                                  \
    if (step[0] && step[1]) {                     \
        for (size_t i = 0; i < n; i++) {          \
            const TI a = pa[i], b = pb[i];        \
            (void)a, (void)b;                     \
            y[i] = (TO)(__VA_ARGS__);             \
        }                                         \
    } else if (step[0]) {                         \
        const TI b = pb[0];                       \
        (void)b;                                  \
        for (size_t i = 0; i < n; i++) {          \
            const TI a = pa[i];                   \
            y[i] = (TO)(__VA_ARGS__);             \
        }                                         \
    } else {                                      \
        const TI a = pa[0];                       \
        for (size_t i = 0; i < n; i++) {          \
            const TI b = pb[i * (size_t)step[1]]; \
            (void)b;                              \
            y[i] = (TO)(__VA_ARGS__);             \
        }                                         \
    }                                             \
    }

/* ---- integer arithmetic without undefined behaviour ---------------------------------------------------------- */

/* Two's complement wraps. */
#define TN_WRAP_ADD(T, a, b) ((T)((uint64_t)(a) + (uint64_t)(b)))
#define TN_WRAP_SUB(T, a, b) ((T)((uint64_t)(a) - (uint64_t)(b)))
#define TN_WRAP_MUL(T, a, b) ((T)((uint64_t)(a) * (uint64_t)(b)))

/* Truncates towards zero; what the type can not hold becomes its nearest value, NaN 0. */
TN_INLINE int64_t tn_f64_to_i64(double v) {
    if (!(v > -9223372036854775808.0)) return v != v ? 0 : INT64_MIN;
    return v >= 9223372036854775808.0 ? INT64_MAX : (int64_t)v;
}
TN_INLINE uint64_t tn_f64_to_u64(double v) {
    if (!(v > 0)) return 0;
    return v >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)v;
}
#define TN_F64_TO_SMALL(NAME, T, LOW, HIGH)  \
    TN_INLINE T tn_f64_to_##NAME(double v) { \
        v = v != v ? 0 : v;                  \
        v = v < (LOW) ? (LOW) : v;           \
        return (T)(v > (HIGH) ? (HIGH) : v); \
    }
TN_F64_TO_SMALL(i8, int8_t, INT8_MIN, INT8_MAX)
TN_F64_TO_SMALL(i16, int16_t, INT16_MIN, INT16_MAX)
TN_F64_TO_SMALL(i32, int32_t, INT32_MIN, INT32_MAX)
TN_F64_TO_SMALL(u8, uint8_t, 0, UINT8_MAX)
TN_F64_TO_SMALL(u16, uint16_t, 0, UINT16_MAX)
TN_F64_TO_SMALL(u32, uint32_t, 0, UINT32_MAX)

/* The one of the target's type: TN_F64_TO(int8_t, v). */
#define TN_F64_TO(T, v)                \
    _Generic((T)0, int8_t              \
             : tn_f64_to_i8, int16_t   \
             : tn_f64_to_i16, int32_t  \
             : tn_f64_to_i32, int64_t  \
             : tn_f64_to_i64, uint8_t  \
             : tn_f64_to_u8, uint16_t  \
             : tn_f64_to_u16, uint32_t \
             : tn_f64_to_u32, uint64_t \
             : tn_f64_to_u64)(v)

/* ---- small floats -------------------------------------------------------------------------------------------- */

/* Types whose elements are computed as float32. */
#define TN_TYPES_SMALL_FLOAT (TN_T(FLOAT16) | TN_T(BFLOAT16) | TN_TYPES_FLOAT8 | TN_T(FLOAT8E8M0) | TN_T(FLOAT4E2M1))

/* Elements of a small float type to float32. */
void tn_small_to_f32(tern_dtype dtype, const void *src, float *dst, size_t n);
/* And back, to nearest even. `saturate` and `round_mode` ('u', 'd', 'n') are for 8-bit types, as in Cast. */
void tn_f32_to_small(tern_dtype dtype, const float *src, void *dst, size_t n, bool saturate, char round_mode);

/* Elements of any numeric type or bool to another as Cast does it (float8 saturates); never both the same memory unless
 * the types have one size. */
void tn_cast_elements(tern_dtype from, const void *src, tern_dtype to, void *dst, size_t n);

#endif
