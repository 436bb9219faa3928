/* mmcv's operators: what they refuse. tests/ops/test_mmcv.sh compares their results. */
#include "op_test.h"

static void begin(op_test *t, const char *name) { op_begin_domain(t, "mmcv", name, 1); }

static tern_tensor *boxes(int64_t rank2) { return op_rand(TERN_FLOAT, DIMS(4, rank2), 0, 1, 1); }

static void test_suppression(void **state) {
    (void)state;
    op_test t;
    begin(&t, "NonMaxSuppression");
    op_in(&t, boxes(5));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(4), 0, 1, 2));
    op_out_any(&t);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("4x5", "(n, 4)"));
    begin(&t, "NonMaxSuppression");
    op_in(&t, boxes(4));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(3), 0, 1, 2));
    op_out_any(&t);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3 scores for 4 boxes"));
    begin(&t, "SoftNonMaxSuppression");
    op_in(&t, boxes(4));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(4), 0, 1, 2));
    op_attr_i(&t, "method", 3);
    op_out_any(&t);
    op_error(&t, TERN_INVALID_MODEL, STRS("method 3"));
}

static void test_regions(void **state) {
    (void)state;
    op_test t;
    begin(&t, "MMCVRoiAlign");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), 0, 1, 1));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 5), VALS(1, 0, 0, 2, 2)));
    op_out_any(&t);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("index 1 of roi 0", "[0, 1)"));
    begin(&t, "MMCVRoIAlignRotated");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), 0, 1, 1));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 5), VALS(0, 0, 0, 2, 2)));
    op_out_any(&t);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x5", "one row of 6"));
}

static void test_convolution(void **state) {
    (void)state;
    op_test t;
    begin(&t, "MMCVDeformConv2d");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 8, 2, 2), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 3, 3), 0, 1, 1));
    op_out_any(&t);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x8x2x2", "must be 18"));
    begin(&t, "MMCVDeformConv2d");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 18, 2, 2), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 3, 3), 0, 1, 1));
    op_attr_ints(&t, "padding", INTS(1, 1, 1));
    op_out_any(&t);
    op_error(&t, TERN_INVALID_MODEL, STRS("padding has 3 elements"));
}

static void test_attention_levels(void **state) {
    (void)state;
    op_test t;
    begin(&t, "MMCVMultiScaleDeformableAttention");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 6, 1, 2), 0, 1, 1));
    op_in(&t, op_int(TERN_INT64, DIMS(1, 2), INTS(3, 3)));
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(0)));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 1, 1, 1, 2), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 1, 1, 1), 0, 1, 1));
    op_out_any(&t);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("3 x 3", "6 keys"));
}

static void test_attributes_by_operator(void **state) {
    (void)state;
    op_test t;
    begin(&t, "MMCVCornerPool");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 2, 2), 0, 1, 1));
    op_attr_s(&t, "mode", "top");
    op_out_any(&t);
    op_error(&t, TERN_INVALID_MODEL, STRS("'mode' has the wrong type"));
    begin(&t, "grid_sampler");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 2, 2), 0, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 2, 2), 0, 1, 1));
    op_attr_i(&t, "interpolation_mode", 3);
    op_out_any(&t);
    op_error(&t, TERN_INVALID_MODEL, STRS("interpolation_mode is 3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suppression),
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_attention_levels),
        cmocka_unit_test(test_attributes_by_operator),
    };
    return cmocka_run_group_tests_name("mmcv", tests, NULL, NULL);
}
