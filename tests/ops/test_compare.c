/* Comparisons, logic and Where. */
#include "ops/op_test.h"

static const tern_dtype numeric[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,   TERN_INT16,
                                     TERN_INT32, TERN_INT64,  TERN_UINT8,   TERN_UINT16,   TERN_UINT32, TERN_UINT64};

static void comparisons(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int opset;
        double y[6]; /* of 1 2 3 against 2, then against 3 */
    } cases[] = {{"Equal", 19, {0, 1, 0, 0, 0, 1}},
                 {"Greater", 13, {0, 0, 1, 0, 0, 0}},
                 {"GreaterOrEqual", 16, {0, 1, 1, 0, 0, 1}},
                 {"Less", 13, {1, 0, 0, 1, 1, 0}},
                 {"LessOrEqual", 16, {1, 1, 0, 1, 1, 1}}};
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        for (size_t k = 0; k < TN_COUNT(numeric); k++) {
            op_test t;
            op_begin(&t, cases[i].name, cases[i].opset);
            op_in(&t, op_num(numeric[k], DIMS(3), VALS(1, 2, 3)));
            op_in(&t, op_num(numeric[k], DIMS(2, 1), VALS(2, 3)));
            op_out(&t, op_num(TERN_BOOL, DIMS(2, 3), 6, cases[i].y));
            op_run_exact(&t);
        }
}

static void comparisons_of_extremes(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Less", 13); /* NaN compares false */
    op_in(&t, op_num(TERN_FLOAT, DIMS(4), VALS(NAN, 1, -INFINITY, -0.0)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(4), VALS(1, NAN, INFINITY, 0.0)));
    op_out(&t, op_num(TERN_BOOL, DIMS(4), VALS(0, 0, 1, 0)));
    op_run_exact(&t);
    op_begin(&t, "Equal", 11);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(NAN, -0.0)));
    op_in(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(NAN, 0.0)));
    op_out(&t, op_num(TERN_BOOL, DIMS(2), VALS(0, 1)));
    op_run_exact(&t);
    op_begin(&t, "Greater", 9); /* not to be compared as doubles, nor as signed */
    op_in(&t, op_int(TERN_UINT64, DIMS(2), INTS(-1, INT64_MAX)));
    op_in(&t, op_int(TERN_UINT64, DIMS(2), INTS(-2, INT64_MIN)));
    op_out(&t, op_num(TERN_BOOL, DIMS(2), VALS(1, 0)));
    op_run_exact(&t);
    op_begin(&t, "Less", 9);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MAX - 1)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(INT64_MAX)));
    op_out(&t, op_num(TERN_BOOL, DIMS(1), VALS(1)));
    op_run_exact(&t);
}

static void equal_bool_and_string(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Equal", 1);
    op_attr_i(&t, "broadcast", 1);
    op_in(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(0, 1, 1, 0)));
    op_in(&t, op_num(TERN_BOOL, DIMS(2), VALS(0, 0)));
    op_out(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(1, 0, 0, 1)));
    op_run_exact(&t);
    op_begin(&t, "Equal", 19);
    op_in(&t, op_str(DIMS(2, 2), STRS("a", "", "abc", "abd")));
    op_in(&t, op_str(DIMS(2, 1), STRS("a", "abc")));
    op_out(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(1, 0, 1, 0)));
    op_run_exact(&t);
    op_begin(&t, "Greater", 13);
    op_in(&t, op_str(DIMS(1), STRS("a")));
    op_in(&t, op_str(DIMS(1), STRS("b")));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("string"));
}

static void logic(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double y[4];
    } cases[] = {{"And", {0, 0, 0, 1}}, {"Or", {0, 1, 1, 1}}, {"Xor", {0, 1, 1, 0}}};
    for (int i = 0; i < 3; i++) {
        op_test t;
        op_begin(&t, cases[i].name, 7);
        op_in(&t, op_num(TERN_BOOL, DIMS(2, 1), VALS(0, 1)));
        op_in(&t, op_num(TERN_BOOL, DIMS(2), VALS(0, 1)));
        op_out(&t, op_num(TERN_BOOL, DIMS(2, 2), 4, cases[i].y));
        op_run_exact(&t);
        op_begin(&t, cases[i].name, 1);
        op_attr_i(&t, "broadcast", 1);
        op_attr_i(&t, "axis", 0);
        op_in(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(0, 0, 1, 1)));
        op_in(&t, op_num(TERN_BOOL, DIMS(2), VALS(0, 1)));
        double y[4] = {cases[i].y[0], cases[i].y[0], cases[i].y[3], cases[i].y[3]};
        op_out(&t, op_num(TERN_BOOL, DIMS(2, 2), 4, y));
        op_run_exact(&t);
    }
    static const tern_dtype ints[] = {TERN_INT8,  TERN_INT16,  TERN_INT32,  TERN_INT64,
                                      TERN_UINT8, TERN_UINT16, TERN_UINT32, TERN_UINT64};
    static const struct {
        const char *name;
        double y[3];
    } bits[] = {{"BitwiseAnd", {8, 0, 5}}, {"BitwiseOr", {14, 7, 125}}, {"BitwiseXor", {6, 7, 120}}};
    for (int i = 0; i < 3; i++)
        for (size_t k = 0; k < TN_COUNT(ints); k++) {
            op_test t;
            op_begin(&t, bits[i].name, 18);
            op_in(&t, op_num(ints[k], DIMS(3), VALS(12, 3, 125)));
            op_in(&t, op_num(ints[k], DIMS(3), VALS(10, 4, 5)));
            op_out(&t, op_num(ints[k], DIMS(3), 3, bits[i].y));
            op_run_exact(&t);
        }
}

/* ---- Where --------------------------------------------------------------------------------------------------- */

static void where_all_types(void **state) {
    (void)state;
    for (int d = 1; d < TERN_DTYPE_COUNT; d++) {
        if (d == TERN_STRING || d == TERN_COMPLEX64 || d == TERN_COMPLEX128) continue;
        op_test t;
        op_begin(&t, "Where", 16);
        op_in(&t, op_num(TERN_BOOL, DIMS(2, 2), VALS(1, 0, 0, 1)));
        op_in(&t, op_num((tern_dtype)d, DIMS(2), VALS(1, 0)));
        op_in(&t, op_num((tern_dtype)d, DIMS(2, 1), VALS(1, 0)));
        op_out(&t, op_num((tern_dtype)d, DIMS(2, 2), VALS(1, 1, 0, 0)));
        op_run_exact(&t);
    }
    op_test t;
    op_begin(&t, "Where", 9);
    op_in(&t, op_num(TERN_BOOL, DIMS(3), VALS(1, 0, 1)));
    op_in(&t, op_str(SCALAR, STRS("yes")));
    op_in(&t, op_str(DIMS(3), STRS("a", "b", "c")));
    op_out(&t, op_str(DIMS(3), STRS("yes", "b", "yes")));
    op_run_exact(&t);
    op_begin(&t, "Where", 9);
    op_in(&t, op_num(TERN_BOOL, DIMS(2), VALS(1, 0)));
    op_in(&t, op_num(TERN_COMPLEX128, DIMS(2), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_COMPLEX128, DIMS(1), VALS(5, 6)));
    op_out(&t, op_num(TERN_COMPLEX128, DIMS(2), VALS(1, 2, 5, 6)));
    op_run_exact(&t);
}

static double even(int64_t i) { return (double)(i % 2 == 0); }
static double up(int64_t i) { return (double)i; }
static double down(int64_t i) { return (double)-i; }
static double picked(int64_t i) { return (double)(i % 2 == 0 ? i : -(i / 300)); }

static void where_large(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Where", 16);
    op_in(&t, op_gen(TERN_BOOL, DIMS(300), even));
    op_in(&t, op_gen(TERN_FLOAT, DIMS(100, 300), up));
    op_in(&t, op_gen(TERN_FLOAT, DIMS(100, 1), down));
    op_out(&t, op_gen(TERN_FLOAT, DIMS(100, 300), picked));
    op_run_exact(&t);
}

static void errors(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Where", 16);
    op_in(&t, op_tensor(TERN_UINT8, DIMS(2)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("uint8", "bool"));
    op_begin(&t, "Where", 16);
    op_in(&t, op_tensor(TERN_BOOL, DIMS(2)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_tensor(TERN_INT32, DIMS(2)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32", "int32"));
    op_begin(&t, "Where", 16);
    op_in(&t, op_tensor(TERN_BOOL, DIMS(2, 3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2, 3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3, 2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2x3", "3x2"));
    op_begin(&t, "And", 7);
    op_in(&t, op_tensor(TERN_INT32, DIMS(2)));
    op_in(&t, op_tensor(TERN_INT32, DIMS(2)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("int32", "bool"));
    op_begin(&t, "BitwiseAnd", 18);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32"));
    op_begin(&t, "Less", 7);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(2)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("2", "3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons),
        cmocka_unit_test(comparisons_of_extremes),
        cmocka_unit_test(equal_bool_and_string),
        cmocka_unit_test(logic),
        cmocka_unit_test(where_all_types),
        cmocka_unit_test(where_large),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
