/* Versions of operators that newer ones replaced: the forms of their own, and that the others do as their successors.
 */
#include "op_test.h"

static void consumed(op_test *t) { op_attr_ints(t, "consumed_inputs", INTS(0)); }

/* ---- opset 1: consumed_inputs, an optimisation hint that means nothing ------------------------------------------- */

static void test_consumed_inputs(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double x[3], y[3];
    } ops[] = {{"Abs", {-1, 0, 2}, {1, 0, 2}},
               {"Neg", {-1, 0, 2}, {1, 0, -2}},
               {"Exp", {-1, 0, 1}, {0.36787944, 1, 2.7182818}},
               {"Log", {1, 2, 4}, {0, 0.69314718, 1.3862944}},
               {"Sqrt", {0, 1, 4}, {0, 1, 2}},
               {"Reciprocal", {1, 2, -4}, {1, 0.5, -0.25}},
               {"Tanh", {-1, 0, 1}, {-0.76159416, 0, 0.76159416}},
               {"Floor", {-1.5, 0.5, 2}, {-2, 0, 2}},
               {"Ceil", {-1.5, 0.5, 2}, {-1, 1, 2}},
               {"Relu", {-1, 0, 2}, {0, 0, 2}},
               {"Elu", {-1, 0, 2}, {-0.63212056, 0, 2}},
               {"Sigmoid", {-1, 0, 1}, {0.26894142, 0.5, 0.73105858}},
               {"HardSigmoid", {-5, 0, 1}, {0, 0.5, 0.7}},
               /* alpha and gamma had four digits: 1.0507 * 1.6732 * (exp(-1) - 1) */
               {"Selu", {-1, 0, 2}, {-1.0507 * 1.6732 * 0.63212056, 0, 2 * 1.0507}}};
    for (size_t i = 0; i < TN_COUNT(ops); i++) {
        op_test t;
        op_begin(&t, ops[i].op, 1);
        consumed(&t);
        op_in(&t, op_num(TERN_FLOAT, DIMS(3), 3, ops[i].x));
        op_out(&t, op_num(TERN_FLOAT, DIMS(3), 3, ops[i].y));
        op_run(&t, 1e-6, 1e-7);
    }
}

static void test_consumed_inputs_of_several(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double y[2];
    } ops[] = {{"Add", {5, 1}}, {"Sub", {-1, -3}}, {"Mul", {6, -2}}, {"Div", {2.0 / 3, -0.5}},
               {"Max", {3, 2}}, {"Min", {2, -1}},  {"Sum", {5, 1}},  {"Mean", {2.5, 0.5}}};
    for (size_t i = 0; i < TN_COUNT(ops); i++) {
        op_test t;
        op_begin(&t, ops[i].op, 1);
        op_attr_ints(&t, "consumed_inputs", INTS(0, 0));
        op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(2, -1)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(3, 2)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(2), 2, ops[i].y));
        op_run(&t, 1e-6, 1e-7);
    }
}

/* B's dims stand at `axis` of A's: a suffix when there is no axis. */
static void test_broadcast_by_attribute(void **state) {
    (void)state;
    static const char *const ops[] = {"Add", "Sub", "Mul",   "Div",  "Pow",    "And",
                                      "Or",  "Xor", "Equal", "Less", "Greater"};
    for (size_t i = 0; i < TN_COUNT(ops); i++)
        for (int suffix = 0; suffix < 2; suffix++) {
            bool logic = i >= 5 && i < 8, compares = i >= 8;
            tern_dtype in = logic ? TERN_BOOL : TERN_FLOAT;
            bool whole = strcmp(ops[i], "Equal") == 0; /* its opset 1 takes integers and bool only */
            if (whole) in = TERN_INT32;
            op_test old, now;
            double lo = logic ? 0 : 1, hi = logic ? 1.99 : 3.99;
            op_begin(&old, ops[i], 1);
            op_attr_i(&old, "broadcast", 1);
            if (!suffix) op_attr_i(&old, "axis", 1);
            op_in(&old, op_rand(in, DIMS(2, 3, 2), lo, hi, 1));
            op_in(&old, suffix ? op_rand(in, DIMS(3, 2), lo, hi, 2) : op_rand(in, DIMS(3), lo, hi, 2));
            op_out_any(&old);
            op_eval(&old);
            op_begin(&now, ops[i], 7);
            op_in(&now, op_rand(in, DIMS(2, 3, 2), lo, hi, 1));
            op_in(&now, suffix ? op_rand(in, DIMS(1, 3, 2), lo, hi, 2) : op_rand(in, DIMS(3, 1), lo, hi, 2));
            op_out_any(&now);
            op_eval(&now);
            assert_int_equal(old.result[0]->dtype, logic || compares ? TERN_BOOL : in);
            op_compare(ops[i], now.result[0], old.result[0], 0, 0);
            op_end(&old);
            op_end(&now);
        }
}

/* ---- attributes that became inputs, and other forms ---------------------------------------------------------------
 */

static void test_forms_of_opset_1(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Reshape", 1);
    consumed(&t);
    op_attr_ints(&t, "shape", INTS(0, -1));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2, 1), VALS(1, 2, 3, 4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 2, 3, 4)));
    op_run_exact(&t);
    op_begin(&t, "Concat", 1); /* axis is 1 by default */
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(3, 4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 3, 2, 4)));
    op_run_exact(&t);
    op_begin(&t, "Split", 1);
    op_attr_i(&t, "axis", 0);
    op_attr_ints(&t, "split", INTS(1, 2));
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(2, 3)));
    op_run_exact(&t);
    op_begin(&t, "Tile", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(3)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 3), VALS(1, 1, 1, 2, 2, 2)));
    op_run_exact(&t);
    op_begin(&t, "Pad", 1);
    op_attr_ints(&t, "paddings", INTS(0, 1, 0, 0));
    op_attr_f(&t, "value", 9);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 1), VALS(1, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(9, 1, 9, 2)));
    op_run_exact(&t);
    op_begin(&t, "Upsample", 1);
    op_attr_f(&t, "height_scale", 1);
    op_attr_f(&t, "width_scale", 2);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(1, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 4), VALS(1, 1, 2, 2)));
    op_run_exact(&t);
    op_begin(&t, "TopK", 1);
    op_attr_i(&t, "k", 2);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 3, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(3, 2)));
    op_out(&t, op_int(TERN_INT64, DIMS(2), INTS(1, 2)));
    op_run_exact(&t);
    op_begin(&t, "Cast", 1);
    op_attr_s(&t, "to", "INT32");
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1.5, -2.5)));
    op_out(&t, op_num(TERN_INT32, DIMS(2), VALS(1, -2)));
    op_run_exact(&t);
}

static void test_modes_of_opset_1(void **state) {
    (void)state;
    op_test t;
    for (int since = 1; since <= 6; since += 5) { /* is_test: nothing is dropped */
        op_begin(&t, "Dropout", since);
        if (since == 1) consumed(&t);
        op_attr_i(&t, "is_test", 1);
        op_attr_f(&t, "ratio", 0.9f);
        op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 3, 2)));
        op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 3, 2)));
        op_run_exact(&t);
    }
    op_begin(&t, "Gemm", 1); /* C of rank 1 and `broadcast` */
    op_attr_i(&t, "broadcast", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(10, 20)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(17, 30)));
    op_run_exact(&t);
    for (int spatial = 0; spatial < 2; spatial++) { /* spatial 0: statistics for every position */
        op_begin(&t, "BatchNormalization", 1);
        op_attr_ints(&t, "consumed_inputs", INTS(0, 0, 0, 1, 1));
        op_attr_i(&t, "is_test", 1);
        op_attr_i(&t, "spatial", spatial);
        op_attr_f(&t, "epsilon", 0);
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(1, 2)));
        for (int i = 0; i < 4; i++)
            op_in(&t, spatial ? op_num(TERN_FLOAT, DIMS(1), VALS(1))
                              : op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, i == 1 ? 0 : 4)));
        if (spatial) /* (x - 1) * 1 + 1 */
            op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(1, 2)));
        else /* position 1: (2 - 4) / 2 * 4 + 0 */
            op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(1, -4)));
        op_run(&t, 1e-6, 1e-6);
    }
    op_begin(&t, "Scatter", 11); /* deprecated there, but still what it was */
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(2, 0)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(8, 9)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(9, 2, 8)));
    op_run_exact(&t);
}

/* ---- versions that do as a later one does -------------------------------------------------------------------------
 */

static tern_tensor *x232(void) { return op_rand(TERN_FLOAT, DIMS(2, 3, 2), 0.5, 3, 1); }

static void plain(op_test *t) { op_in(t, x232()); }
static void small(op_test *t) { op_in(t, op_rand(TERN_FLOAT, DIMS(2, 3, 2), -0.9, 0.9, 1)); }
static void two(op_test *t) { op_in(t, x232()), op_in(t, op_rand(TERN_FLOAT, DIMS(3, 1), 0.5, 3, 2)); }
static void axis1(op_test *t) { op_in(t, x232()), op_attr_i(t, "axis", 1); }
static void axes1(op_test *t) { op_in(t, x232()), op_attr_ints(t, "axes", INTS(1)), op_attr_i(t, "keepdims", 0); }
static void squares(op_test *t) { op_in(t, op_rand(TERN_FLOAT, DIMS(1, 4, 2, 2), -1, 1, 1)); }
static void blocks(op_test *t) { squares(t), op_attr_i(t, "blocksize", 2); }
static void gather(op_test *t) { op_in(t, x232()), op_in(t, op_int(TERN_INT64, DIMS(2), INTS(1, -2))); }
static void gather_elements(op_test *t) {
    op_in(t, x232()), op_in(t, op_int(TERN_INT64, DIMS(1, 3, 2), INTS(1, 0, 1, 1, 0, 0)));
}
static void gather_nd(op_test *t) { op_in(t, x232()), op_in(t, op_int(TERN_INT64, DIMS(2, 2), INTS(0, 1, 1, 2))); }
static void compress(op_test *t) {
    plain(t), op_in(t, op_num(TERN_BOOL, DIMS(3), VALS(1, 0, 1))), op_attr_i(t, "axis", 1);
}
static void scatter_elements(op_test *t) { gather_elements(t), op_in(t, op_rand(TERN_FLOAT, DIMS(1, 3, 2), 0, 1, 3)); }
static void scatter_nd(op_test *t) { gather_nd(t), op_in(t, op_rand(TERN_FLOAT, DIMS(2, 2), 0, 1, 3)); }
static void one_hot(op_test *t) {
    op_in(t, op_int(TERN_INT64, DIMS(2), INTS(1, 0)));
    op_in(t, op_int(TERN_INT64, SCALAR, INTS(3)));
    op_in(t, op_num(TERN_FLOAT, DIMS(2), VALS(-1, 5)));
}
static void cumsum(op_test *t) { plain(t), op_in(t, op_int(TERN_INT64, SCALAR, INTS(1))), op_attr_i(t, "reverse", 1); }
static void slice(op_test *t) {
    plain(t);
    op_in(t, op_int(TERN_INT64, DIMS(1), INTS(-1)));
    op_in(t, op_int(TERN_INT64, DIMS(1), INTS(-100)));
    op_in(t, op_int(TERN_INT64, DIMS(1), INTS(1)));
    op_in(t, op_int(TERN_INT64, DIMS(1), INTS(-2)));
}
static void pads(op_test *t) { plain(t), op_in(t, op_int(TERN_INT64, DIMS(6), INTS(0, 1, 0, 0, 0, 2))); }
static void reshape(op_test *t) { plain(t), op_in(t, op_int(TERN_INT64, DIMS(2), INTS(0, -1))); }
static void shape_of(op_test *t) { op_in(t, op_int(TERN_INT64, DIMS(2), INTS(2, 1))); }
static void pool(op_test *t) {
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 5), -1, 1, 1));
    op_attr_ints(t, "kernel_shape", INTS(2, 3));
    op_attr_ints(t, "strides", INTS(1, 2));
}
static void transposed(op_test *t) {
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, 2, 3, 3), -1, 1, 1)),
        op_in(t, op_rand(TERN_FLOAT, DIMS(2, 1, 2, 2), -1, 1, 2));
}
static void gemm(op_test *t) {
    op_in(t, op_rand(TERN_FLOAT, DIMS(2, 3), -1, 1, 1));
    op_in(t, op_rand(TERN_FLOAT, DIMS(3, 2), -1, 1, 2));
    op_in(t, op_rand(TERN_FLOAT, DIMS(2), -1, 1, 3));
}
static void norm(op_test *t) {
    plain(t);
    for (uint32_t i = 2; i < 4; i++) op_in(t, op_rand(TERN_FLOAT, DIMS(3), 0.5, 1, i));
}
static void batch_norm(op_test *t) {
    plain(t);
    for (uint32_t i = 2; i < 6; i++) op_in(t, op_rand(TERN_FLOAT, DIMS(3), 0.5, 1, i));
}
static void lrn(op_test *t) { squares(t), op_attr_i(t, "size", 3); }
static void quantized(op_test *t) {
    op_in(t, op_num(TERN_UINT8, DIMS(2, 2), VALS(3, 200, 128, 255)));
    op_in(t, op_num(TERN_FLOAT, SCALAR, VALS(0.25)));
    op_in(t, op_num(TERN_UINT8, SCALAR, VALS(128)));
}
static void loss(op_test *t) { plain(t), op_in(t, op_int(TERN_INT64, DIMS(2, 2), INTS(0, 2, 1, 1))); }
static void recurrent(op_test *t, int64_t gates) {
    op_in(t, op_rand(TERN_FLOAT, DIMS(3, 2, 2), -1, 1, 1));
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, gates * 2, 2), -1, 1, 2));
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, gates * 2, 2), -1, 1, 3));
    op_attr_i(t, "hidden_size", 2);
}
static void rnn(op_test *t) { recurrent(t, 1); }
static void gru(op_test *t) { recurrent(t, 3), op_attr_i(t, "linear_before_reset", 1); }
static void lstm(op_test *t) { recurrent(t, 4); }

static const struct {
    const char *op;
    void (*inputs)(op_test *t);
    int as;          /* the version that the published cases use */
    int versions[8]; /* those that must do the same */
} same[] = {
    {"Log", plain, 13, {6}},
    {"Reciprocal", plain, 13, {6}},
    {"Floor", plain, 13, {6}},
    {"Relu", small, 14, {13}},
    {"Asin", small, 22, {7}},
    {"Erf", small, 13, {9}},
    {"IsNaN", plain, 20, {9, 13}},
    {"PRelu", two, 16, {7, 9}},
    {"Mul", two, 14, {7, 13}},
    {"Pow", two, 15, {7, 12, 13}},
    {"Min", two, 13, {8, 12}},
    {"Mean", two, 13, {8}},
    {"Greater", two, 13, {7, 9}},
    {"Less", two, 13, {7, 9}},
    {"GreaterOrEqual", two, 16, {12}},
    {"LessOrEqual", two, 16, {12}},
    {"Flatten", axis1, 13, {1, 9, 11, 21, 23, 24, 25}},
    {"Identity", plain, 25, {1, 13, 14, 16, 19, 21}},
    {"Transpose", plain, 25, {1, 13, 21}},
    {"Reshape", reshape, 25, {5, 13, 14, 19, 21}},
    {"Shape", plain, 25, {1, 13, 15, 19, 21}},
    {"Size", plain, 25, {1, 13, 19, 21, 24}},
    {"DepthToSpace", blocks, 13, {1, 11}},
    {"SpaceToDepth", blocks, 13, {1}},
    {"Concat", axis1, 13, {4, 11}},
    {"Slice", slice, 13, {10, 11}},
    {"Gather", gather, 13, {1, 11}},
    {"GatherElements", gather_elements, 13, {11}},
    {"GatherND", gather_nd, 13, {11, 12}},
    {"Compress", compress, 11, {9}},
    {"ConstantOfShape", shape_of, 25, {9, 20, 21}},
    {"Pad", pads, 25, {11, 13, 18, 19, 21, 23}},
    {"ScatterElements", scatter_elements, 18, {11, 13, 16}},
    {"ScatterND", scatter_nd, 18, {11, 13, 16}},
    {"OneHot", one_hot, 11, {9}},
    {"NonZero", plain, 13, {9}},
    {"CumSum", cumsum, 14, {11}},
    {"ReduceSum", axes1, 11, {1}},
    {"ReduceMean", axes1, 13, {1, 11}},
    {"ReduceMax", axes1, 13, {1, 11, 12}},
    {"ReduceMin", axes1, 13, {1, 11, 12}},
    {"ReduceProd", axes1, 13, {1, 11}},
    {"ReduceL1", axes1, 13, {1, 11}},
    {"ReduceL2", axes1, 13, {1, 11}},
    {"ReduceLogSum", axes1, 13, {1, 11}},
    {"ReduceLogSumExp", axes1, 13, {1, 11}},
    {"ReduceSumSquare", axes1, 13, {1, 11}},
    {"Softmax", axis1, 1, {11}},
    {"LogSoftmax", axis1, 1, {11}},
    {"Hardmax", axis1, 1, {11}},
    {"ArgMax", axis1, 13, {1, 11, 12}},
    {"ArgMin", axis1, 13, {1, 11, 12}},
    {"InstanceNormalization", norm, 22, {1, 6}},
    {"LRN", lrn, 13, {1}},
    {"MeanVarianceNormalization", squares, 13, {9}},
    {"BatchNormalization", batch_norm, 15, {9, 14}},
    {"MaxPool", pool, 22, {1, 8, 10, 11, 12}},
    {"AveragePool", pool, 22, {1, 7, 10, 11, 19}},
    {"LpPool", pool, 22, {2, 11, 18}},
    {"GlobalMaxPool", squares, 22, {1}},
    {"GlobalLpPool", squares, 22, {2}},
    {"ConvTranspose", transposed, 22, {1, 11}},
    {"Gemm", gemm, 13, {7, 9, 11}},
    {"DequantizeLinear", quantized, 25, {10, 13, 19, 21, 23, 24}},
    {"NegativeLogLikelihoodLoss", loss, 22, {12, 13}},
    {"SoftmaxCrossEntropyLoss", loss, 13, {12}},
    {"RNN", rnn, 22, {7, 14}},
    {"GRU", gru, 22, {7, 14}},
    {"LSTM", lstm, 22, {7, 14}},
};

static void eval_version(op_test *t, size_t i, int version) {
    op_begin(t, same[i].op, version);
    same[i].inputs(t);
    op_out_any(t);
    op_eval(t);
    assert_int_equal(t->node->since, version);
}

static void test_versions_that_do_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(same); i++)
        for (int k = 0; k < 8 && same[i].versions[k]; k++) {
            op_test a, b;
            eval_version(&a, i, same[i].as);
            eval_version(&b, i, same[i].versions[k]);
            op_compare(same[i].op, a.result[0], b.result[0], 0, 0);
            op_end(&a);
            op_end(&b);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumed_inputs),        cmocka_unit_test(test_consumed_inputs_of_several),
        cmocka_unit_test(test_broadcast_by_attribute), cmocka_unit_test(test_forms_of_opset_1),
        cmocka_unit_test(test_modes_of_opset_1),       cmocka_unit_test(test_versions_that_do_the_same),
    };
    return cmocka_run_group_tests_name("old_versions", tests, NULL, NULL);
}
