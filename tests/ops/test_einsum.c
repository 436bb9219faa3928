#include "ops/op_test.h"

/* ---- Einsum -------------------------------------------------------------------------------------------------- */

static void begin(op_test *t, const char *equation) {
    op_begin(t, "Einsum", 12);
    op_attr_s(t, "equation", equation);
}

#define A23 DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)
#define B32 DIMS(3, 2), VALS(1, 2, 3, 4, 5, 6)

static void unary(const char *equation, tern_tensor *x, tern_tensor *y) {
    op_test t;
    begin(&t, equation);
    op_in(&t, x);
    op_out(&t, y);
    op_run_exact(&t);
}

static void binary(const char *equation, tern_tensor *a, tern_tensor *b, tern_tensor *y) {
    op_test t;
    begin(&t, equation);
    op_in(&t, a);
    op_in(&t, b);
    op_out(&t, y);
    op_run_exact(&t);
}

static void test_einsum(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,   TERN_INT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT8,   TERN_UINT16,   TERN_UINT32, TERN_UINT64};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        tern_dtype d = types[i];
        unary("ij->ji", op_num(d, A23), op_num(d, DIMS(3, 2), VALS(1, 4, 2, 5, 3, 6)));
        unary("ba", op_num(d, A23), op_num(d, DIMS(3, 2), VALS(1, 4, 2, 5, 3, 6)));
        unary("ij -> i", op_num(d, A23), op_num(d, DIMS(2), VALS(6, 15)));
        unary("ij->", op_num(d, A23), op_num(d, SCALAR, VALS(21)));
        unary("ii->i", op_num(d, DIMS(2, 2), VALS(1, 2, 3, 4)), op_num(d, DIMS(2), VALS(1, 4)));
        unary("ii", op_num(d, DIMS(2, 2), VALS(1, 2, 3, 4)), op_num(d, SCALAR, VALS(5)));
        unary("...i->...", op_num(d, A23), op_num(d, DIMS(2), VALS(6, 15)));
        binary("ij,jk", op_num(d, A23), op_num(d, B32), op_num(d, DIMS(2, 2), VALS(22, 28, 49, 64)));
        binary("ij,jk->ki", op_num(d, A23), op_num(d, B32), op_num(d, DIMS(2, 2), VALS(22, 49, 28, 64)));
        binary("i,j->ij", op_num(d, DIMS(2), VALS(2, 3)), op_num(d, DIMS(2), VALS(5, 7)),
               op_num(d, DIMS(2, 2), VALS(10, 14, 15, 21)));
        binary("...i,...i", op_num(d, A23), op_num(d, DIMS(3), VALS(1, 0, 2)), op_num(d, DIMS(2), VALS(7, 16)));
        binary("i...,i...->...", op_num(d, A23), op_num(d, DIMS(2, 1), VALS(1, 2)),
               op_num(d, DIMS(3), VALS(9, 12, 15)));
    }
}

static void test_einsum_many(void **state) {
    (void)state;
    op_test t;
    begin(&t, "ab,bc,c->a");
    op_in(&t, op_num(TERN_FLOAT, A23));
    op_in(&t, op_num(TERN_FLOAT, B32));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 10)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(302, 689)));
    op_run_exact(&t);
    begin(&t, "ab->a"); /* empty sums */
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 0), NO_VALS));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0)));
    op_run_exact(&t);
}

static void bad(const char *equation, tern_status status) {
    op_test t;
    begin(&t, equation);
    op_in(&t, op_num(TERN_FLOAT, A23));
    op_error(&t, status, STRS(""));
}

static void test_einsum_bad(void **state) {
    (void)state;
    bad("", TERN_INVALID_MODEL);
    bad("ij,jk", TERN_INVALID_MODEL);
    bad("i1->i", TERN_INVALID_MODEL);
    bad("ij->k", TERN_INVALID_MODEL);
    bad("ij->ii", TERN_INVALID_MODEL);
    bad("ij->i,j", TERN_INVALID_MODEL);
    bad("ij-i", TERN_INVALID_MODEL);
    bad("ij-", TERN_INVALID_MODEL);
    bad("ij..", TERN_INVALID_MODEL);
    bad("......", TERN_INVALID_MODEL);
    bad("abcdefghijklmnop", TERN_INVALID_MODEL);
    bad("i", TERN_SHAPE_MISMATCH);
    bad("ijk", TERN_SHAPE_MISMATCH);
    bad("ijk...", TERN_SHAPE_MISMATCH);
    bad("ii", TERN_SHAPE_MISMATCH);
}

/* ---- MaxUnpool ----------------------------------------------------------------------------------------------- */

static void begin_unpool(op_test *t, double last) {
    op_begin(t, "MaxUnpool", 11);
    op_attr_ints(t, "kernel_shape", INTS(2));
    op_attr_ints(t, "strides", INTS(2));
    op_in(t, op_num(TERN_FLOAT, DIMS(1, 2, 2), VALS(1, 2, 3, 4)));
    op_in(t, op_num(TERN_INT64, DIMS(1, 2, 2), VALS(0, 3, 5, last)));
}

static void test_max_unpool(void **state) {
    (void)state;
    op_test t;
    begin_unpool(&t, 6);
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 4), VALS(1, 0, 0, 2, 0, 3, 4, 0)));
    op_run_exact(&t);
    begin_unpool(&t, 6);
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(1, 2, 5)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 5), VALS(1, 0, 0, 2, 0, 0, 3, 4, 0, 0)));
    op_run_exact(&t);
    begin_unpool(&t, 8);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("index 8", "8 elements"));
    begin_unpool(&t, -1);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("index -1"));
    begin_unpool(&t, 6);
    op_in(&t, op_num(TERN_INT64, DIMS(3), VALS(1, 2, 3)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("output_shape"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_einsum),
        cmocka_unit_test(test_einsum_many),
        cmocka_unit_test(test_einsum_bad),
        cmocka_unit_test(test_max_unpool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
