/* Arithmetic on two and more operands: types, broadcasting, old forms, storage, threads. */
#include "ops/op_test.h"

#include <float.h>

static const tern_dtype numeric[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,   TERN_INT16,
                                     TERN_INT32, TERN_INT64,  TERN_UINT8,   TERN_UINT16,   TERN_UINT32, TERN_UINT64};

static bool is_float(tern_dtype t) { return tn_type_in(t, TN_TYPES_FLOAT); }

static double f_add(double a, double b) { return a + b; }
static double f_sub(double a, double b) { return a - b; }
static double f_mul(double a, double b) { return a * b; }
static double f_div(double a, double b) { return a / b; }
static double f_min(double a, double b) { return a < b ? a : b; }
static double f_max(double a, double b) { return a > b ? a : b; }
static double f_prelu(double a, double b) { return a < 0 ? a * b : a; }
static double f_mean(double a, double b) { return (a + b) / 2; }
static double f_mod(double a, double b) { return a - b * floor(a / b); }

/* Element of `t` for output element i of shape `out`, straight from the definition of broadcasting. */
static double element(const tern_tensor *t, const tn_shape *out, int64_t i) {
    int64_t index = 0, stride = 1;
    for (int d = out->rank - 1, k = t->shape.rank - 1; d >= 0; d--, k--) {
        int64_t at = i % out->dims[d];
        i /= out->dims[d];
        if (k < 0) continue;
        if (t->shape.dims[k] > 1) index += at * stride;
        stride *= t->shape.dims[k];
    }
    return tn_tensor_get_f64(t, index);
}

static tn_shape broadcast_shape(const tern_tensor *a, const tern_tensor *b) {
    tn_shape out = {.rank = TN_MAX(a->shape.rank, b->shape.rank)};
    for (int d = 1; d <= out.rank; d++) {
        int64_t da = d <= a->shape.rank ? a->shape.dims[a->shape.rank - d] : 1;
        int64_t db = d <= b->shape.rank ? b->shape.dims[b->shape.rank - d] : 1;
        out.dims[out.rank - d] = da == 1 ? db : da;
    }
    return out;
}

static double epsilon_of(tern_dtype t) {
    return t == TERN_DOUBLE     ? DBL_EPSILON
           : t == TERN_FLOAT    ? (double)FLT_EPSILON
           : t == TERN_FLOAT16  ? 0x1p-10
           : t == TERN_BFLOAT16 ? 0x1p-7
                                : 0;
}

/* Takes over a and b. */
static void check(const char *name, int opset, double (*fn)(double, double), tern_tensor *a, tern_tensor *b) {
    op_test t;
    op_begin(&t, name, opset);
    tn_shape shape = broadcast_shape(a, b);
    tern_tensor *y = op_tensor(a->dtype, shape.rank, shape.dims);
    for (int64_t i = 0; i < tern_tensor_count(y); i++) op_set(y, i, fn(element(a, &shape, i), element(b, &shape, i)));
    op_in(&t, a);
    op_in(&t, b);
    op_out(&t, y);
    op_run(&t, epsilon_of(a->dtype), 0);
}

static const struct {
    const char *name;
    int opset;
    double (*fn)(double, double);
} operators[] = {{"Add", 14, f_add}, {"Sub", 14, f_sub}, {"Mul", 14, f_mul},    {"Div", 14, f_div},
                 {"Min", 13, f_min}, {"Max", 13, f_max}, {"PRelu", 16, f_prelu}};

/* Values whose results every type can hold: 12 is larger than each b. */
static void all_types(void **state) {
    (void)state;
    for (size_t o = 0; o < TN_COUNT(operators); o++)
        for (size_t k = 0; k < TN_COUNT(numeric); k++) {
            tern_tensor *a = op_num(numeric[k], DIMS(2, 3), VALS(12, 6, 8, 10, 6, 12));
            check(operators[o].name, operators[o].opset, operators[o].fn, a,
                  op_num(numeric[k], DIMS(3), VALS(2, 3, 4)));
        }
    for (size_t k = 0; k < TN_COUNT(numeric); k++) {
        if (!is_float(numeric[k])) continue;
        check("Sum", 13, f_add, op_num(numeric[k], DIMS(2), VALS(1, 2)), op_num(numeric[k], DIMS(2), VALS(3, -4)));
        check("Mean", 13, f_mean, op_num(numeric[k], DIMS(2), VALS(1, 2)), op_num(numeric[k], DIMS(2), VALS(3, -4)));
    }
}

#define SHAPE(...) {__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / 8
static const struct {
    int64_t a[6];
    int rank_a;
    int64_t b[6];
    int rank_b;
} shapes[] = {
    {SHAPE(2, 3, 4, 5), SHAPE(2, 3, 4, 5)},
    {SHAPE(2, 3, 4, 5), SHAPE(5)},
    {SHAPE(2, 3, 4, 5), SHAPE(4, 1)},
    {SHAPE(2, 3, 4, 5), SHAPE(3, 1, 1)},
    {SHAPE(2, 3, 4, 5), SHAPE(2, 1, 1, 5)},
    {SHAPE(4, 5), SHAPE(2, 3, 4, 5)},
    {SHAPE(1, 4, 1), SHAPE(3, 1, 5)},
    {SHAPE(3, 1), SHAPE(1, 300)},
    {SHAPE(300, 7), SHAPE(7)},
    {SHAPE(300, 7), SHAPE(300, 1)},
    {SHAPE(1, 1, 1), SHAPE(2, 2)},
    {SHAPE(2, 1, 3, 1, 2, 1), SHAPE(1, 4, 1, 2, 1, 3)},
    {SHAPE(40, 1, 600), SHAPE(1, 3, 600)},
    {SHAPE(7, 20000), SHAPE(7, 1)},
    {SHAPE(50, 100, 10), SHAPE(50, 1, 10)},
    {SHAPE(2, 0, 3), SHAPE(1, 1, 3)},
    {SHAPE(0), SHAPE(1)},
    {SHAPE(130, 129), SHAPE(129)},
};

static void broadcasting(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_FLOAT16, TERN_INT64, TERN_UINT8};
    for (size_t i = 0; i < TN_COUNT(shapes); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++) {
            tern_tensor *a = op_rand(types[k], shapes[i].rank_a, shapes[i].a, 60, 120, 1);
            check("Sub", 14, f_sub, a, op_rand(types[k], shapes[i].rank_b, shapes[i].b, 1, 50, 2));
        }
}

static void integer_corners(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Div", 14); /* truncates; by zero gives zero; the lowest by -1 is itself */
    op_in(&t, op_num(TERN_INT32, DIMS(5), VALS(-7, 7, 5, INT32_MIN, INT32_MIN)));
    op_in(&t, op_num(TERN_INT32, DIMS(5), VALS(2, -2, 0, -1, 0)));
    op_out(&t, op_num(TERN_INT32, DIMS(5), VALS(-3, -3, 0, INT32_MIN, 0)));
    op_run_exact(&t);
    op_begin(&t, "Div", 14);
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(INT64_MIN, INT64_MAX)));
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(-1, -1)));
    op_out(&t, op_int(TERN_INT64, DIMS(2), INTS(INT64_MIN, -INT64_MAX)));
    op_run_exact(&t);
    op_begin(&t, "Div", 14);
    op_in(&t, op_num(TERN_UINT8, DIMS(2), VALS(9, 9)));
    op_in(&t, op_num(TERN_UINT8, DIMS(2), VALS(0, 2)));
    op_out(&t, op_num(TERN_UINT8, DIMS(2), VALS(0, 4)));
    op_run_exact(&t);
    op_begin(&t, "Add", 14); /* wraps */
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MAX)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(1)));
    op_out(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MIN)));
    op_run_exact(&t);
    op_begin(&t, "Mul", 14);
    op_in(&t, op_num(TERN_UINT16, DIMS(1), VALS(65535)));
    op_in(&t, op_num(TERN_UINT16, DIMS(1), VALS(65535)));
    op_out(&t, op_num(TERN_UINT16, DIMS(1), VALS(1)));
    op_run_exact(&t);
    op_begin(&t, "Sub", 14);
    op_in(&t, op_num(TERN_INT8, DIMS(1), VALS(-128)));
    op_in(&t, op_num(TERN_INT8, DIMS(1), VALS(1)));
    op_out(&t, op_num(TERN_INT8, DIMS(1), VALS(127)));
    op_run_exact(&t);
}

static void nan_in_min_and_max(void **state) {
    (void)state;
    static const char *const names[] = {"Min", "Max"};
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) {
            op_test t;
            op_begin(&t, names[i], 13);
            op_in(&t, op_num(numeric[k], DIMS(3), VALS(NAN, 1, 2)));
            op_in(&t, op_num(numeric[k], DIMS(3), VALS(1, NAN, 2)));
            op_out(&t, op_num(numeric[k], DIMS(3), VALS(NAN, NAN, 2)));
            op_run_exact(&t);
        }
}

static void modulo(void **state) {
    (void)state;
    static const tern_dtype sint[] = {TERN_INT8, TERN_INT16, TERN_INT32, TERN_INT64};
    op_test t;
    for (int k = 0; k < 4; k++) {
        op_begin(&t, "Mod", 13); /* the sign of the divisor */
        op_in(&t, op_num(sint[k], DIMS(7), VALS(-4, 7, 5, 4, -7, 8, 9)));
        op_in(&t, op_num(sint[k], DIMS(7), VALS(2, -3, 8, -2, 3, 5, 0)));
        op_out(&t, op_num(sint[k], DIMS(7), VALS(0, -2, 5, 0, 2, 3, 0)));
        op_run_exact(&t);
        op_begin(&t, "Mod", 10); /* the sign of the dividend */
        op_attr_i(&t, "fmod", 1);
        op_in(&t, op_num(sint[k], DIMS(7), VALS(-4, 7, 5, 4, -7, 8, 9)));
        op_in(&t, op_num(sint[k], DIMS(7), VALS(2, -3, 8, -2, 3, 5, 0)));
        op_out(&t, op_num(sint[k], DIMS(7), VALS(0, 1, 5, 0, -1, 3, 0)));
        op_run_exact(&t);
    }
    check("Mod", 13, f_mod, op_num(TERN_UINT8, DIMS(3), VALS(200, 7, 3)), op_num(TERN_UINT8, DIMS(1), VALS(4)));
    for (size_t k = 0; k < 4; k++) {
        op_begin(&t, "Mod", 13);
        op_attr_i(&t, "fmod", 1);
        op_in(&t, op_num(numeric[k], DIMS(4), VALS(-4.5, 7, 1, INFINITY)));
        op_in(&t, op_num(numeric[k], DIMS(4), VALS(2, -3, 0, 2)));
        op_out(&t, op_num(numeric[k], DIMS(4), VALS(-0.5, 1, NAN, NAN)));
        op_run_exact(&t);
    }
    op_begin(&t, "Mod", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("fmod", "float32"));
    op_begin(&t, "Mod", 13);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MIN)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(-1)));
    op_out(&t, op_int(TERN_INT64, DIMS(1), INTS(0)));
    op_run_exact(&t);
}

static void bit_shift(void **state) {
    (void)state;
    static const tern_dtype uint[] = {TERN_UINT8, TERN_UINT16, TERN_UINT32, TERN_UINT64};
    op_test t;
    for (int k = 0; k < 4; k++) {
        op_begin(&t, "BitShift", 11);
        op_attr_s(&t, "direction", "LEFT");
        op_in(&t, op_num(uint[k], DIMS(3), VALS(16, 4, 1)));
        op_in(&t, op_num(uint[k], DIMS(3), VALS(1, 2, 64)));
        op_out(&t, op_num(uint[k], DIMS(3), VALS(32, 16, 0)));
        op_run_exact(&t);
        op_begin(&t, "BitShift", 11);
        op_attr_s(&t, "direction", "RIGHT");
        op_in(&t, op_num(uint[k], DIMS(3), VALS(16, 4, 1)));
        op_in(&t, op_num(uint[k], DIMS(3), VALS(1, 2, 200)));
        op_out(&t, op_num(uint[k], DIMS(3), VALS(8, 1, 0)));
        op_run_exact(&t);
    }
    op_begin(&t, "BitShift", 11);
    op_in(&t, op_num(TERN_UINT8, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_UINT8, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("direction", "LEFT"));
}

/* ---- Pow ----------------------------------------------------------------------------------------------------- */

static void pow_same_type(void **state) {
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        for (int e = -2; e <= 3; e++) {
            tern_tensor *x = op_rand(numeric[k], DIMS(100), 0.5, 3, 5);
            double half = e == 0 ? 0.5 : e;
            check("Pow", 15, pow, x, op_num(numeric[k], SCALAR, VALS(half)));
        }
        check("Pow", 7, pow, op_num(numeric[k], SCALAR, VALS(2)), op_rand(numeric[k], DIMS(9), -3, 3, 6));
        check("Pow", 13, pow, op_rand(numeric[k], DIMS(3, 4), 0.5, 3, 5), op_rand(numeric[k], DIMS(4), -3, 3, 6));
    }
    op_test t;
    static const tern_dtype ints[] = {TERN_INT32, TERN_INT64};
    for (int k = 0; k < 2; k++) {
        op_begin(&t, "Pow", 13);
        op_in(&t, op_num(ints[k], DIMS(8), VALS(3, -2, 0, 0, 1, -1, -1, 2)));
        op_in(&t, op_num(ints[k], DIMS(8), VALS(4, 3, 0, -1, -5, -5, -4, -1)));
        op_out(&t, op_num(ints[k], DIMS(8), VALS(81, -8, 1, 0, 1, -1, 1, 0)));
        op_run_exact(&t);
    }
}

static void pow_mixed_types(void **state) {
    (void)state;
    static const tern_dtype bases[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT32, TERN_INT64};
    for (size_t b = 0; b < TN_COUNT(bases); b++)
        for (size_t k = 0; k < TN_COUNT(numeric); k++) {
            tern_tensor *x = op_num(bases[b], DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6));
            check("Pow", 15, pow, x, op_num(numeric[k], DIMS(3), VALS(3, 1, 2)));
            x = op_num(bases[b], SCALAR, VALS(2));
            check("Pow", 15, pow, x, op_num(numeric[k], DIMS(3), VALS(3, 1, 2)));
        }
    op_test t;
    op_begin(&t, "Pow", 7);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32", "int64"));
}

/* ---- any number of operands ---------------------------------------------------------------------------------- */

static void variadic(void **state) {
    (void)state;
    static const char *const names[] = {"Sum", "Mean", "Min", "Max"};
    static const double expected[4][4] = {{9, 6, 10, 7}, {3, 2, 10.0 / 3, 7.0 / 3}, {-2, -2, -1, -2}, {10, 7, 10, 7}};
    for (size_t k = 0; k < 4; k++)
        for (int n = 0; n < 4; n++) {
            op_test t;
            op_begin(&t, names[n], 13);
            op_in(&t, op_num(numeric[k], DIMS(2), VALS(10, 7)));
            op_in(&t, op_num(numeric[k], DIMS(2, 1), VALS(1, 2)));
            op_in(&t, op_num(numeric[k], DIMS(2, 1), VALS(-2, -1)));
            double y[4] = {expected[n][0], expected[n][1], expected[n][2], expected[n][3]};
            if (n == 0) y[2] = 11, y[3] = 8;
            if (n == 1) y[2] = 11.0 / 3, y[3] = 8.0 / 3;
            if (n == 2) y[2] = -1, y[3] = -1;
            op_out(&t, op_num(numeric[k], DIMS(2, 2), 4, y));
            op_run(&t, epsilon_of(numeric[k]), 0);
            op_begin(&t, names[n], 8); /* one operand */
            op_in(&t, op_num(numeric[k], DIMS(2), VALS(10, 7)));
            op_out(&t, op_num(numeric[k], DIMS(2), VALS(10, 7)));
            op_run_exact(&t);
        }
    op_test t;
    op_begin(&t, "Max", 12);
    for (int i = 0; i < 20; i++) op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(i, 100 - i)));
    op_out(&t, op_num(TERN_INT64, DIMS(2), VALS(19, 100)));
    op_run_exact(&t);
    op_begin(&t, "Sum", 6);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2", "1", "6"));
}

static void variadic_large(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Sum", 13);
    tern_tensor *a = op_rand(TERN_FLOAT, DIMS(3, 70, 101), -1, 1, 1), *b = op_rand(TERN_FLOAT, DIMS(70, 1), -1, 1, 2);
    tern_tensor *c = op_rand(TERN_FLOAT, DIMS(101), -1, 1, 3), *y = op_tensor(TERN_FLOAT, DIMS(3, 70, 101));
    for (int64_t i = 0; i < tern_tensor_count(y); i++)
        op_set(y, i, element(a, &y->shape, i) + element(b, &y->shape, i) + element(c, &y->shape, i));
    op_in(&t, a);
    op_in(&t, b);
    op_in(&t, c);
    op_out(&t, y);
    op_run(&t, 0, 2 * 3 * (double)FLT_EPSILON); /* two sums of at most 3 */
}

/* ---- opset 1 to 6 -------------------------------------------------------------------------------------------- */

static void legacy(const char *name, int opset, bool broadcast, int axis, tern_tensor *b,
                   double (*fn)(double, double)) {
    op_test t;
    op_begin(&t, name, opset);
    op_attr_i(&t, "broadcast", broadcast);
    if (axis >= 0) op_attr_i(&t, "axis", axis);
    op_attr_ints(&t, "consumed_inputs", INTS(0, 0));
    tern_tensor *a = op_rand(TERN_FLOAT, DIMS(2, 3, 4, 5), 1, 2, 3), *y = op_tensor(TERN_FLOAT, DIMS(2, 3, 4, 5));
    int at = axis >= 0 ? axis : 4 - b->shape.rank;
    for (int64_t i = 0; i < 120; i++) {
        const int64_t index[4] = {i / 60, i / 20 % 3, i / 5 % 4, i % 5};
        int64_t k = 0;
        for (int d = 0; d < b->shape.rank; d++) k = k * b->shape.dims[d] + (b->shape.dims[d] == 1 ? 0 : index[at + d]);
        op_set(y, i, fn(tn_tensor_get_f64(a, i), tn_tensor_get_f64(b, k)));
    }
    op_in(&t, a);
    op_in(&t, b);
    op_out(&t, y);
    op_run(&t, (double)FLT_EPSILON, 0);
}

static void legacy_broadcast(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double (*fn)(double, double);
    } ops[] = {{"Add", f_add}, {"Sub", f_sub}, {"Mul", f_mul}, {"Div", f_div}, {"Pow", pow}};
    for (size_t i = 0; i < TN_COUNT(ops); i++) {
        int opset = i % 2 ? 6 : 1;
        legacy(ops[i].name, opset, false, -1, op_rand(TERN_FLOAT, DIMS(2, 3, 4, 5), 1, 2, 9), ops[i].fn);
        legacy(ops[i].name, opset, true, -1, op_rand(TERN_FLOAT, DIMS(4, 5), 1, 2, 9), ops[i].fn);
        legacy(ops[i].name, opset, true, 1, op_rand(TERN_FLOAT, DIMS(3, 4), 1, 2, 9), ops[i].fn);
        legacy(ops[i].name, opset, true, 0, op_rand(TERN_FLOAT, DIMS(2), 1, 2, 9), ops[i].fn);
        legacy(ops[i].name, opset, true, 1, op_rand(TERN_FLOAT, DIMS(3), 1, 2, 9), ops[i].fn);
        legacy(ops[i].name, opset, true, -1, op_rand(TERN_FLOAT, DIMS(1, 1), 1, 2, 9), ops[i].fn);
        legacy(ops[i].name, opset, true, -1, op_rand(TERN_FLOAT, SCALAR, 1, 2, 9), ops[i].fn);
    }
}

static void legacy_prelu(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "PRelu", 6); /* a slope per channel */
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 1, 2), VALS(-1, 1, -2, -3)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0.5, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 1, 2), VALS(-0.5, 1, -4, -6)));
    op_run_exact(&t);
    op_begin(&t, "PRelu", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(-1, 1, -2, -3)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(0.5)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(-0.5, 1, -1, -1.5)));
    op_run_exact(&t);
}

/* ---- errors -------------------------------------------------------------------------------------------------- */

static void hostile(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Add", 14);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 4)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2x3", "2x4"));
    op_begin(&t, "Add", 14);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_tensor(TERN_DOUBLE, DIMS(2)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32", "float64"));
    op_begin(&t, "Add", 14);
    op_in(&t, op_tensor(TERN_BOOL, DIMS(2)));
    op_in(&t, op_tensor(TERN_BOOL, DIMS(2)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("bool"));
    static const int64_t axes[] = {3, -5, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 4; i++) {
        op_begin(&t, "Mul", 6);
        op_attr_i(&t, "broadcast", 1);
        op_attr_i(&t, "axis", axes[i]);
        op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3, 4)));
        op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
        op_error(&t, TERN_SHAPE_MISMATCH, STRS("axis", "2x3x4"));
    }
    op_begin(&t, "Mul", 6);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("broadcast", "2x3"));
    op_begin(&t, "Mul", 6); /* B may not be the larger one */
    op_attr_i(&t, "broadcast", 1);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2x3"));
    op_begin(&t, "PRelu", 16);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("slope", "2x3"));
    op_begin(&t, "Add", 14);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, NULL);
    op_error(&t, TERN_INVALID_MODEL, STRS("input 1"));
    op_begin(&t, "Sum", 13);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, NULL);
    op_error(&t, TERN_INVALID_MODEL, STRS("input 1"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types),        cmocka_unit_test(broadcasting),
        cmocka_unit_test(integer_corners),  cmocka_unit_test(nan_in_min_and_max),
        cmocka_unit_test(modulo),           cmocka_unit_test(bit_shift),
        cmocka_unit_test(pow_same_type),    cmocka_unit_test(pow_mixed_types),
        cmocka_unit_test(variadic),         cmocka_unit_test(variadic_large),
        cmocka_unit_test(legacy_broadcast), cmocka_unit_test(legacy_prelu),
        cmocka_unit_test(hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
