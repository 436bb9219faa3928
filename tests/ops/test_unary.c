/* Operators of one operand, against their definitions computed in double. */
#include "ops/op_test.h"

#include <float.h>

static double f_exp(double x) { return exp(x); }
static double f_log(double x) { return log(x); }
static double f_sqrt(double x) { return sqrt(x); }
static double f_reciprocal(double x) { return 1 / x; }
static double f_sin(double x) { return sin(x); }
static double f_cos(double x) { return cos(x); }
static double f_tan(double x) { return tan(x); }
static double f_asin(double x) { return asin(x); }
static double f_acos(double x) { return acos(x); }
static double f_atan(double x) { return atan(x); }
static double f_sinh(double x) { return sinh(x); }
static double f_cosh(double x) { return cosh(x); }
static double f_tanh(double x) { return tanh(x); }
static double f_asinh(double x) { return asinh(x); }
static double f_acosh(double x) { return acosh(x); }
static double f_atanh(double x) { return atanh(x); }
static double f_erf(double x) { return erf(x); }
static double f_floor(double x) { return floor(x); }
static double f_ceil(double x) { return ceil(x); }
static double f_abs(double x) { return fabs(x); }
static double f_neg(double x) { return -x; }
static double f_sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
static double f_round(double x) {
    double below = floor(x), rest = x - below;
    if (rest != 0.5) return rest < 0.5 ? below : below + 1;
    return fmod(below, 2) == 0 ? below : below + 1;
}
static double f_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double f_softplus(double x) { return log(exp(x) + 1); }
static double f_softsign(double x) { return x / (1 + fabs(x)); }
static double f_relu(double x) { return x > 0 ? x : 0; }
static double f_leaky(double x) { return x < 0 ? (double)0.1f * x : x; }
static double f_leaky_default(double x) { return x < 0 ? (double)0.01f * x : x; }
static double f_thresholded(double x) { return x > 0.5 ? x : 0; }
static double f_elu(double x) { return x < 0 ? 2 * (exp(x) - 1) : x; }
static double f_selu(double x) {
    const double alpha = (double)1.67326319217681884765625f, gamma = (double)1.05070102214813232421875f;
    return x > 0 ? gamma * x : gamma * (alpha * exp(x) - alpha);
}
static double f_celu(double x) { return (x > 0 ? x : 0) + fmin(0, 2 * (exp(x / 2) - 1)); }
static double f_gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
static double f_gelu_tanh(double x) { return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static double f_mish(double x) { return x * tanh(log(1 + exp(x))); }
static double f_swish(double x) { return x / (1 + exp(-1.5 * x)); }
static double f_hard_sigmoid(double x) { return fmax(0, fmin(1, 0.25 * x + 0.75)); }
static double f_hard_swish(double x) { return x * fmax(0, fmin(1, x / 6 + 0.5)); }
static double f_shrink(double x) { return x < -1.5 ? x + 1.5 : x > 1.5 ? x - 1.5 : 0; }

/* `ulps`: error of the result in units of its type's epsilon, for float32: that of libm or of the kernel
 * (docs/numerics.md). Near a zero of the function the error is relative to the largest intermediate value, `scale`. */
static const struct function {
    const char *name;
    int opset;
    double (*fn)(double);
    double low, high;
    double ulps, scale;
    const char *attr[2];
    double value[2];
    const char *text_attr, *text;
} functions[] = {
    {"Exp", 13, f_exp, -10, 10, 4, 0, {0}, {0}, 0, 0},
    {"Log", 13, f_log, 0.01, 50, 4, 0, {0}, {0}, 0, 0},
    {"Sqrt", 13, f_sqrt, 0, 50, 2, 0, {0}, {0}, 0, 0},
    {"Reciprocal", 13, f_reciprocal, 0.1, 50, 2, 0, {0}, {0}, 0, 0},
    {"Sin", 7, f_sin, -10, 10, 4, 0, {0}, {0}, 0, 0},
    {"Cos", 22, f_cos, -10, 10, 4, 0, {0}, {0}, 0, 0},
    {"Tan", 7, f_tan, -1.5, 1.5, 4, 0, {0}, {0}, 0, 0},
    {"Asin", 22, f_asin, -1, 1, 4, 0, {0}, {0}, 0, 0},
    {"Acos", 7, f_acos, -1, 1, 4, 0, {0}, {0}, 0, 0},
    {"Atan", 7, f_atan, -10, 10, 4, 0, {0}, {0}, 0, 0},
    {"Sinh", 9, f_sinh, -5, 5, 4, 0, {0}, {0}, 0, 0},
    {"Cosh", 9, f_cosh, -5, 5, 4, 0, {0}, {0}, 0, 0},
    {"Tanh", 13, f_tanh, -5, 5, 4, 0, {0}, {0}, 0, 0},
    {"Asinh", 9, f_asinh, -5, 5, 4, 0, {0}, {0}, 0, 0},
    {"Acosh", 9, f_acosh, 1, 50, 4, 0, {0}, {0}, 0, 0},
    {"Atanh", 9, f_atanh, -0.99, 0.99, 4, 0, {0}, {0}, 0, 0},
    {"Erf", 13, f_erf, -4, 4, 4, 0, {0}, {0}, 0, 0},
    {"Floor", 13, f_floor, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Ceil", 6, f_ceil, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Round", 11, f_round, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Abs", 13, f_abs, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Neg", 13, f_neg, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Sign", 13, f_sign, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Relu", 14, f_relu, -20, 20, 0, 0, {0}, {0}, 0, 0},
    {"Sigmoid", 13, f_sigmoid, -10, 10, 4, 0, {0}, {0}, 0, 0},
    {"Softplus", 22, f_softplus, -10, 10, 4, 1, {0}, {0}, 0, 0},
    {"Softsign", 1, f_softsign, -10, 10, 4, 0, {0}, {0}, 0, 0},
    {"LeakyRelu", 16, f_leaky, -10, 10, 2, 0, {"alpha"}, {0.1}, 0, 0},
    {"LeakyRelu", 1, f_leaky_default, -10, 10, 2, 0, {0}, {0}, 0, 0},
    {"ThresholdedRelu", 10, f_thresholded, -2, 2, 0, 0, {"alpha"}, {0.5}, 0, 0},
    {"Elu", 6, f_elu, -5, 5, 4, 2, {"alpha"}, {2}, 0, 0},
    {"Selu", 6, f_selu, -5, 5, 4, 2, {0}, {0}, 0, 0},
    {"Celu", 28, f_celu, -5, 5, 4, 2, {"alpha"}, {2}, 0, 0},
    {"Gelu", 20, f_gelu, -5, 5, 4, 5, {0}, {0}, 0, 0},
    {"Gelu", 20, f_gelu_tanh, -5, 5, 4, 5, {0}, {0}, "approximate", "tanh"},
    {"Mish", 18, f_mish, -5, 5, 8, 5, {0}, {0}, 0, 0},
    {"Swish", 24, f_swish, -5, 5, 4, 0, {"alpha"}, {1.5}, 0, 0},
    {"HardSigmoid", 6, f_hard_sigmoid, -5, 5, 2, 1, {"alpha", "beta"}, {0.25, 0.75}, 0, 0},
    {"HardSwish", 14, f_hard_swish, -5, 5, 4, 1, {0}, {0}, 0, 0},
    {"Shrink", 9, f_shrink, -5, 5, 2, 2, {"lambd", "bias"}, {1.5, 1.5}, 0, 0},
};

static double epsilon_of(tern_dtype t) {
    return t == TERN_DOUBLE    ? DBL_EPSILON
           : t == TERN_FLOAT   ? (double)FLT_EPSILON
           : t == TERN_FLOAT16 ? 0x1p-10
                               : 0x1p-7;
}

static void check_function(const struct function *f, tern_dtype dtype, int64_t count) {
    op_test t;
    op_begin(&t, f->name, f->opset);
    for (int i = 0; i < 2; i++)
        if (f->attr[i]) op_attr_f(&t, f->attr[i], (float)f->value[i]);
    if (f->text_attr) op_attr_s(&t, f->text_attr, f->text);
    tern_tensor *x = op_rand(dtype, DIMS(count), f->low, f->high, 7), *y = op_tensor(dtype, DIMS(count));
    for (int64_t i = 0; i < count; i++) op_set(y, i, f->fn(tn_tensor_get_f64(x, i)));
    op_in(&t, x);
    op_out(&t, y);
    /* Small floats are computed as float32 and rounded once: an ulp is the most that the expected rounding may differ
     * by. */
    double eps = epsilon_of(dtype), tolerance = dtype == TERN_FLOAT || dtype == TERN_DOUBLE ? f->ulps * eps : eps;
    if (f->ulps == 0) tolerance = 0;
    op_run(&t, tolerance, tolerance * f->scale);
}

static void functions_in_all_types(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    for (size_t i = 0; i < TN_COUNT(functions); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++) check_function(&functions[i], types[k], 1031);
}

/* More elements than a task holds, and none at all. */
static void sizes(void **state) {
    (void)state;
    check_function(&functions[0], TERN_FLOAT, 40001);
    check_function(&functions[1], TERN_DOUBLE, 40001);
    check_function(&functions[0], TERN_FLOAT16, 0);
    check_function(&functions[0], TERN_FLOAT, 1);
}

static void integers(void **state) {
    (void)state;
    static const tern_dtype sint[] = {TERN_INT8, TERN_INT16, TERN_INT32, TERN_INT64};
    static const tern_dtype uint[] = {TERN_UINT8, TERN_UINT16, TERN_UINT32, TERN_UINT64};
    op_test t;
    for (int i = 0; i < 4; i++) {
        static const struct {
            const char *name;
            int opset;
            double y[4];
        } cases[] = {{"Abs", 13, {3, 0, 5, 100}},  {"Neg", 13, {3, 0, -5, -100}}, {"Sign", 13, {-1, 0, 1, 1}},
                     {"Relu", 14, {0, 0, 5, 100}}, {"Erf", 13, {0, 0, 0, 1}},     {"Shrink", 9, {-3, 0, 5, 100}}};
        for (size_t k = 0; k < TN_COUNT(cases); k++) {
            op_begin(&t, cases[k].name, cases[k].opset);
            op_in(&t, op_num(sint[i], DIMS(4), VALS(-3, 0, 5, 100)));
            op_out(&t, op_num(sint[i], DIMS(4), 4, cases[k].y));
            /* erf(5) is a little below 1. */
            op_run_exact(&t);
        }
        op_begin(&t, "Abs", 13);
        op_in(&t, op_num(uint[i], DIMS(3), VALS(0, 1, 200)));
        op_out(&t, op_num(uint[i], DIMS(3), VALS(0, 1, 200)));
        op_run_exact(&t);
        op_begin(&t, "Sign", 9);
        op_in(&t, op_num(uint[i], DIMS(3), VALS(0, 1, 200)));
        op_out(&t, op_num(uint[i], DIMS(3), VALS(0, 1, 1)));
        op_run_exact(&t);
        op_begin(&t, "BitwiseNot", 18);
        op_in(&t, op_num(sint[i], DIMS(3), VALS(0, 1, -5)));
        op_out(&t, op_num(sint[i], DIMS(3), VALS(-1, -2, 4)));
        op_run_exact(&t);
    }
    op_begin(&t, "BitwiseNot", 18);
    op_in(&t, op_num(TERN_UINT8, DIMS(2), VALS(0, 5)));
    op_out(&t, op_num(TERN_UINT8, DIMS(2), VALS(255, 250)));
    op_run_exact(&t);
    op_begin(&t, "Shrink", 9);
    op_attr_f(&t, "lambd", 2);
    op_attr_f(&t, "bias", 5);
    op_in(&t, op_num(TERN_UINT8, DIMS(3), VALS(1, 3, 9)));
    op_out(&t, op_num(TERN_UINT8, DIMS(3), VALS(0, 0, 4))); /* 3 - 5 is held at 0 */
    op_run_exact(&t);
    /* The lowest integer has no opposite. */
    op_begin(&t, "Abs", 13);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MIN)));
    op_out(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MIN)));
    op_run_exact(&t);
    op_begin(&t, "Neg", 13);
    op_in(&t, op_num(TERN_INT32, DIMS(1), VALS(INT32_MIN)));
    op_out(&t, op_num(TERN_INT32, DIMS(1), VALS(INT32_MIN)));
    op_run_exact(&t);
}

static void special_values(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int opset;
        double y[5]; /* of NaN, inf, -inf, 0, -0 */
    } cases[] = {
        {"Relu", 14, {NAN, INFINITY, 0, 0, 0}},
        {"Sigmoid", 13, {NAN, 1, 0, 0.5, 0.5}},
        {"Tanh", 13, {NAN, 1, -1, 0, 0}},
        {"Exp", 13, {NAN, INFINITY, 0, 1, 1}},
        {"Softplus", 1, {NAN, INFINITY, 0, M_LN2, M_LN2}},
        {"Abs", 13, {NAN, INFINITY, INFINITY, 0, 0}},
        {"Sign", 13, {NAN, 1, -1, 0, 0}},
        {"Sqrt", 13, {NAN, INFINITY, NAN, 0, 0}},
        {"Log", 13, {NAN, INFINITY, NAN, -INFINITY, -INFINITY}},
        {"Reciprocal", 13, {NAN, 0, 0, INFINITY, -INFINITY}},
        {"Floor", 13, {NAN, INFINITY, -INFINITY, 0, 0}},
        {"Erf", 13, {NAN, 1, -1, 0, 0}},
    };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        for (size_t k = 0; k < TN_COUNT(types); k++) {
            op_test t;
            op_begin(&t, cases[i].name, cases[i].opset);
            op_in(&t, op_num(types[k], DIMS(5), VALS(NAN, INFINITY, -INFINITY, 0.0, -0.0)));
            op_out(&t, op_num(types[k], DIMS(5), 5, cases[i].y));
            op_run(&t, 4 * epsilon_of(types[k]), 0);
        }
}

static void tests_of_values(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_FLOAT8E5M2};
    op_test t;
    for (size_t k = 0; k < TN_COUNT(types); k++) {
        op_begin(&t, "IsNaN", 20);
        op_in(&t, op_num(types[k], DIMS(4), VALS(NAN, 1, -2, 0)));
        op_out(&t, op_num(TERN_BOOL, DIMS(4), VALS(1, 0, 0, 0)));
        op_run_exact(&t);
        for (int flags = 0; flags < 4 && types[k] != TERN_FLOAT8E5M2; flags++) {
            op_begin(&t, "IsInf", 20);
            op_attr_i(&t, "detect_negative", flags & 1);
            op_attr_i(&t, "detect_positive", flags >> 1);
            op_in(&t, op_num(types[k], DIMS(4), VALS(NAN, INFINITY, -INFINITY, 3)));
            op_out(&t, op_num(TERN_BOOL, DIMS(4), VALS(0, flags >> 1, flags & 1, 0)));
            op_run_exact(&t);
        }
    }
    op_begin(&t, "IsInf", 10);
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(-INFINITY)));
    op_out(&t, op_num(TERN_BOOL, SCALAR, VALS(1)));
    op_run_exact(&t);
    op_begin(&t, "Not", 1);
    op_in(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(0, 1, 1, 0)));
    op_out(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(1, 0, 0, 1)));
    op_run_exact(&t);
}

/* ---- Clip ---------------------------------------------------------------------------------------------------- */

static void clip_by_attributes(void **state) {
    (void)state;
    op_test t;
    for (int opset = 1; opset <= 6; opset += 5) {
        op_begin(&t, "Clip", opset);
        op_attr_f(&t, "min", -1);
        op_attr_f(&t, "max", 2);
        op_in(&t, op_num(TERN_FLOAT, DIMS(5), VALS(-3, -1, 0.5, 2.5, NAN)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(5), VALS(-1, -1, 0.5, 2, NAN)));
        op_run_exact(&t);
    }
    op_begin(&t, "Clip", 6);
    op_attr_f(&t, "max", 0);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(3), VALS(-1e300, 1, 0)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(3), VALS(-1e300, 0, 0)));
    op_run_exact(&t);
    op_begin(&t, "Clip", 6);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(-1, 1, 0)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0)));
    op_error(&t, TERN_INVALID_MODEL, STRS("2 inputs", "11"));
}

static void clip_by_inputs(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,   TERN_INT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT8,   TERN_UINT16,   TERN_UINT32, TERN_UINT64};
    op_test t;
    for (size_t k = 0; k < TN_COUNT(types); k++) {
        op_begin(&t, "Clip", 13);
        op_in(&t, op_num(types[k], DIMS(4), VALS(0, 3, 50, 100)));
        op_in(&t, op_num(types[k], SCALAR, VALS(2)));
        op_in(&t, op_num(types[k], DIMS(1), VALS(60)));
        op_out(&t, op_num(types[k], DIMS(4), VALS(2, 3, 50, 60)));
        op_run_exact(&t);
        op_begin(&t, "Clip", 12); /* no maximum */
        op_in(&t, op_num(types[k], DIMS(4), VALS(0, 3, 50, 100)));
        op_in(&t, op_num(types[k], SCALAR, VALS(2)));
        op_out(&t, op_num(types[k], DIMS(4), VALS(2, 3, 50, 100)));
        op_run_exact(&t);
        op_begin(&t, "Clip", 13); /* no minimum; none at all is in the next one */
        op_in(&t, op_num(types[k], DIMS(4), VALS(0, 3, 50, 100)));
        op_in(&t, NULL);
        op_in(&t, op_num(types[k], SCALAR, VALS(40)));
        op_out(&t, op_num(types[k], DIMS(4), VALS(0, 3, 40, 40)));
        op_run_exact(&t);
        op_begin(&t, "Clip", 13); /* the maximum wins */
        op_in(&t, op_num(types[k], DIMS(2), VALS(0, 100)));
        op_in(&t, op_num(types[k], SCALAR, VALS(50)));
        op_in(&t, op_num(types[k], SCALAR, VALS(20)));
        op_out(&t, op_num(types[k], DIMS(2), VALS(20, 20)));
        op_run_exact(&t);
    }
    op_begin(&t, "Clip", 13);
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(-5, 5)));
    op_out(&t, op_num(TERN_INT64, DIMS(2), VALS(-5, 5)));
    op_run_exact(&t);
    op_begin(&t, "Clip", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(-5, 5)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("min", "2"));
    op_begin(&t, "Clip", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(-5, 5)));
    op_in(&t, op_num(TERN_DOUBLE, SCALAR, VALS(0)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32", "float64"));
}

/* ---- errors -------------------------------------------------------------------------------------------------- */

static void wrong_types(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Exp", 13);
    op_in(&t, op_num(TERN_INT32, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("int32", "float32"));
    op_begin(&t, "Not", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32", "bool"));
    op_begin(&t, "Neg", 13);
    op_in(&t, op_num(TERN_UINT8, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("uint8"));
    op_begin(&t, "Gelu", 20);
    op_attr_s(&t, "approximate", "sigmoid");
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("approximate", "sigmoid"));
    op_begin(&t, "LeakyRelu", 16);
    op_attr_i(&t, "alpha", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("alpha"));
    op_begin(&t, "Exp", 13);
    op_error(&t, TERN_INVALID_MODEL, STRS("Exp", "0 inputs"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_in_all_types),
        cmocka_unit_test(sizes),
        cmocka_unit_test(integers),
        cmocka_unit_test(special_values),
        cmocka_unit_test(tests_of_values),
        cmocka_unit_test(clip_by_attributes),
        cmocka_unit_test(clip_by_inputs),
        cmocka_unit_test(wrong_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
