/* Sequences and optionals. */
#include "op_test.h"

static tern_tensor *group(tern_kind kind, size_t n, tern_tensor **items) {
    tern_tensor *t;
    if (tern_tensor_group(&t, kind, items, n, NULL)) fail_msg("no memory");
    for (size_t i = 0; i < n; i++) tern_tensor_free(items[i]);
    return t;
}

static tern_tensor *number(double v) { return op_num(TERN_FLOAT, DIMS(1), 1, &v); }
static tern_tensor *position(double v) { return op_num(TERN_INT64, SCALAR, 1, &v); }

/* A sequence of n tensors [first], [first + 1] ... */
static tern_tensor *numbers(size_t n, double first) {
    tern_tensor *items[8];
    for (size_t i = 0; i < n; i++) items[i] = number(first + (double)i);
    return group(TERN_KIND_SEQUENCE, n, items);
}

static void test_construct_and_empty(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "SequenceConstruct", 11);
    for (int i = 0; i < 3; i++) op_in(&t, number(i));
    op_out(&t, numbers(3, 0));
    op_run_exact(&t);
    op_begin(&t, "SequenceConstruct", 11);
    op_in(&t, number(1));
    op_in(&t, position(1));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("float32", "int64"));
    op_begin(&t, "SequenceEmpty", 11);
    op_attr_i(&t, "dtype", TERN_INT64);
    op_out(&t, numbers(0, 0));
    op_run_exact(&t);
    op_begin(&t, "SequenceEmpty", 11);
    op_attr_i(&t, "dtype", 99);
    op_error(&t, TERN_INVALID_MODEL, STRS("99"));
}

static void at_is(double at, double want) {
    op_test t;
    op_begin(&t, "SequenceAt", 11);
    op_in(&t, numbers(3, 5));
    op_in(&t, position(at));
    op_out(&t, number(want));
    op_run_exact(&t);
}

static void test_at(void **state) {
    (void)state;
    at_is(0, 5);
    at_is(2, 7);
    at_is(-1, 7);
    at_is(-3, 5);
    static const int64_t wrong[] = {3, -4, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < 4; i++) {
        op_test t;
        op_begin(&t, "SequenceAt", 11);
        op_in(&t, numbers(3, 5));
        op_in(&t, op_int(TERN_INT64, SCALAR, 1, &wrong[i]));
        op_error(&t, TERN_INVALID_ARGUMENT, STRS("outside [-3, 2]"));
    }
    op_test t;
    op_begin(&t, "SequenceAt", 11);
    op_in(&t, number(1));
    op_in(&t, position(0));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("is a tensor where a sequence is needed"));
    op_begin(&t, "SequenceAt", 11);
    op_in(&t, numbers(0, 0));
    op_in(&t, position(0));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("0 items"));
}

static void test_insert_and_erase(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "SequenceInsert", 11);
    op_in(&t, numbers(2, 5));
    op_in(&t, number(7));
    op_out(&t, numbers(3, 5));
    op_run_exact(&t);
    op_begin(&t, "SequenceInsert", 11);
    op_in(&t, numbers(2, 5));
    op_in(&t, number(4));
    op_in(&t, position(-2));
    op_out(&t, numbers(3, 4));
    op_run_exact(&t);
    op_begin(&t, "SequenceInsert", 11);
    op_in(&t, numbers(2, 5));
    op_in(&t, number(4));
    op_in(&t, position(3));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("position 3", "[-2, 2]"));
    op_begin(&t, "SequenceInsert", 11);
    op_in(&t, numbers(2, 5));
    op_in(&t, position(4));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("int64", "float32"));
    op_begin(&t, "SequenceErase", 11);
    op_in(&t, numbers(3, 5));
    op_out(&t, numbers(2, 5));
    op_run_exact(&t);
    op_begin(&t, "SequenceErase", 11);
    op_in(&t, numbers(3, 5));
    op_in(&t, position(0));
    op_out(&t, numbers(2, 6));
    op_run_exact(&t);
    op_begin(&t, "SequenceErase", 11);
    op_in(&t, numbers(0, 0));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("0 items"));
    op_begin(&t, "SequenceLength", 11);
    op_in(&t, numbers(3, 5));
    op_out(&t, position(3));
    op_run_exact(&t);
}

static void test_split(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "SplitToSequence", 11); /* one each, the axis kept */
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(5, 6, 7)));
    op_out(&t, numbers(3, 5));
    op_run_exact(&t);
    op_begin(&t, "SplitToSequence", 24); /* one each, without the axis */
    op_attr_i(&t, "keepdims", 0);
    op_attr_i(&t, "axis", -1);
    op_in(&t, op_num(TERN_BFLOAT16, DIMS(2, 2), VALS(1, 2, 3, 4)));
    op_out(&t, group(TERN_KIND_SEQUENCE, 2,
                     (tern_tensor *[]){op_num(TERN_BFLOAT16, DIMS(2), VALS(1, 3)),
                                       op_num(TERN_BFLOAT16, DIMS(2), VALS(2, 4))}));
    op_run_exact(&t);
    op_begin(&t, "SplitToSequence", 11); /* equal parts, the last one shorter */
    op_attr_i(&t, "axis", 1);
    op_in(&t, op_num(TERN_INT32, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, position(2));
    op_out(&t, group(TERN_KIND_SEQUENCE, 2,
                     (tern_tensor *[]){op_num(TERN_INT32, DIMS(2, 2), VALS(1, 2, 4, 5)),
                                       op_num(TERN_INT32, DIMS(2, 1), VALS(3, 6))}));
    op_run_exact(&t);
    op_begin(&t, "SplitToSequence", 11); /* listed parts */
    op_in(&t, op_str(DIMS(3), STRS("a", "b", "c")));
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(1, 0, 2)));
    op_out(&t, group(TERN_KIND_SEQUENCE, 3,
                     (tern_tensor *[]){op_str(DIMS(1), STRS("a")), op_str(DIMS(0), 0, NULL),
                                       op_str(DIMS(2), STRS("b", "c"))}));
    op_run_exact(&t);
}

static void test_split_refuses(void **state) {
    (void)state;
    static const double parts[][2] = {{1, 1}, {4, -1}, {9e18, 9e18}};
    for (size_t i = 0; i < 3; i++) {
        op_test t;
        op_begin(&t, "SplitToSequence", 11);
        op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(5, 6, 7)));
        op_in(&t, op_num(TERN_INT64, DIMS(2), 2, parts[i]));
        op_error(&t, TERN_INVALID_ARGUMENT, i == 1 ? 1 : 0, (const char *const[]){"split[1] is -1"});
    }
    op_test t;
    op_begin(&t, "SplitToSequence", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(5, 6, 7)));
    op_in(&t, position(0));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("parts of length 0"));
    op_begin(&t, "SplitToSequence", 11);
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(5)));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 0"));
}

static void test_concat(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "ConcatFromSequence", 11);
    op_attr_i(&t, "axis", 0);
    op_in(&t, numbers(3, 5));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(5, 6, 7)));
    op_run_exact(&t);
    op_begin(&t, "ConcatFromSequence", 11);
    op_attr_i(&t, "axis", -1);
    op_attr_i(&t, "new_axis", 1);
    op_in(&t,
          group(TERN_KIND_SEQUENCE, 2,
                (tern_tensor *[]){op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)), op_num(TERN_FLOAT, DIMS(2), VALS(3, 4))}));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 3, 2, 4)));
    op_run_exact(&t);
    op_begin(&t, "ConcatFromSequence", 11);
    op_attr_i(&t, "axis", 0);
    op_in(&t, numbers(0, 0));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("empty"));
    op_begin(&t, "ConcatFromSequence", 11);
    op_attr_i(&t, "axis", 0);
    op_attr_i(&t, "new_axis", 1);
    op_in(&t, group(TERN_KIND_SEQUENCE, 2, (tern_tensor *[]){number(1), op_num(TERN_FLOAT, DIMS(2), VALS(3, 4))}));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("item 1 is float32[2]", "item 0 is float32[1]"));
}

static void test_optional(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Optional", 15);
    op_in(&t, number(5));
    op_out(&t, group(TERN_KIND_OPTIONAL, 1, (tern_tensor *[]){number(5)}));
    op_run_exact(&t);
    op_begin(&t, "Optional", 15);
    op_error(&t, TERN_INVALID_MODEL, STRS("'type'"));
    for (int has = 0; has < 2; has++) {
        op_begin(&t, "OptionalHasElement", 15 + 3 * has);
        op_in(&t, group(TERN_KIND_OPTIONAL, (size_t)has, (tern_tensor *[]){has ? number(5) : NULL}));
        op_out(&t, op_num(TERN_BOOL, SCALAR, VALS(has)));
        op_run_exact(&t);
    }
    op_begin(&t, "OptionalGetElement", 18);
    op_in(&t, group(TERN_KIND_OPTIONAL, 1, (tern_tensor *[]){numbers(2, 5)}));
    op_out(&t, numbers(2, 5));
    op_run_exact(&t);
    op_begin(&t, "OptionalGetElement", 18);
    op_in(&t, group(TERN_KIND_OPTIONAL, 0, NULL));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("no element"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_construct_and_empty),
        cmocka_unit_test(test_at),
        cmocka_unit_test(test_insert_and_erase),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_refuses),
        cmocka_unit_test(test_concat),
        cmocka_unit_test(test_optional),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
