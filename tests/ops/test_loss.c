/* NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss against their definitions; optimiser steps. */
#include "ops/op_test.h"

typedef struct loss_case {
    const char *reduction;
    bool softmax, weights, ignore;
    tern_dtype dtype;
} loss_case;

/* (2, 3 classes, 300): more columns than a chunk has. */
static void check_loss(const loss_case *k) {
    enum { N = 2, C = 3, D = 300 };
    op_test t;
    op_begin(&t, k->softmax ? "SoftmaxCrossEntropyLoss" : "NegativeLogLikelihoodLoss", 13);
    op_attr_s(&t, "reduction", k->reduction);
    if (k->ignore) op_attr_i(&t, "ignore_index", -7);
    op_in(&t, op_rand(k->dtype, DIMS(N, C, D), -3, 3, 1));
    op_in(&t, op_tensor(TERN_INT64, DIMS(N, D)));
    for (int i = 0; i < N * D; i++) op_set(t.in[1], i, k->ignore && i % 5 == 0 ? -7 : i * 7 % C);
    op_in(&t, k->weights ? op_num(k->dtype, DIMS(C), VALS(0.5, 1, 2)) : NULL);
    tern_tensor *each = op_tensor(k->dtype, DIMS(N, D)), *log_prob = op_tensor(k->dtype, DIMS(N, C, D));
    double sum = 0, weight = 0;
    for (int n = 0; n < N; n++)
        for (int d = 0; d < D; d++) {
            double total = 0, x[C];
            for (int c = 0; c < C; c++) total += exp(x[c] = tn_tensor_get_f64(t.in[0], (n * C + c) * D + d));
            for (int c = 0; c < C; c++) {
                if (k->softmax) x[c] -= log(total);
                op_set(log_prob, (n * C + c) * D + d, x[c]);
            }
            int label = (int)tn_tensor_get_i64(t.in[1], n * D + d);
            double w = label < 0 ? 0 : k->weights ? tn_tensor_get_f64(t.in[2], label) : 1;
            double v = label < 0 ? 0 : -x[label] * w;
            op_set(each, n * D + d, v);
            sum += v;
            weight += w;
        }
    if (strcmp(k->reduction, "none") == 0) {
        op_out(&t, each);
    } else {
        op_out(&t, op_num(k->dtype, SCALAR, VALS(k->reduction[0] == 'm' ? sum / weight : sum)));
        tern_tensor_free(each);
    }
    if (k->softmax)
        op_out(&t, log_prob);
    else
        tern_tensor_free(log_prob);
    double tolerance = k->dtype == TERN_DOUBLE ? 1e-12 : k->dtype == TERN_FLOAT ? 1e-5 : 1e-2;
    op_run(&t, tolerance, tolerance);
}

static void test_losses(void **state) {
    (void)state;
    static const char *const reductions[] = {"none", "sum", "mean"};
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16};
    for (int r = 0; r < 3; r++)
        for (int bits = 0; bits < 8; bits++)
            for (int k = 0; k < 3; k++) {
                loss_case c = {reductions[r], bits & 1, bits & 2, bits & 4, types[k]};
                check_loss(&c);
            }
}

static void test_nothing_counts(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "NegativeLogLikelihoodLoss", 22);
    op_attr_i(&t, "ignore_index", 0);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_INT32, DIMS(1), VALS(0)));
    op_out(&t, op_num(TERN_FLOAT, SCALAR, VALS(NAN)));
    op_run_exact(&t);
}

static void test_losses_refuse(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "NegativeLogLikelihoodLoss", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(2)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("label 2", "[0, 2)"));
    op_begin(&t, "SoftmaxCrossEntropyLoss", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("labels", "1x2"));
    op_begin(&t, "SoftmaxCrossEntropyLoss", 13);
    op_attr_s(&t, "reduction", "median");
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(0)));
    op_error(&t, TERN_INVALID_MODEL, STRS("median"));
    op_begin(&t, "SoftmaxCrossEntropyLoss", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(0)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(0, 0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("weights", "2 classes"));
}

/* ---- optimisers ------------------------------------------------------------------------------------------------- */

static void optimizer_begin(op_test *t, const char *name, double rate, double count, int states) {
    op_begin_domain(t, "ai.onnx.preview.training", name, 1);
    op_in(t, op_num(TERN_FLOAT, SCALAR, VALS(rate)));
    op_in(t, op_num(TERN_INT64, SCALAR, VALS(count)));
    /* Two tensors, of different types and shapes. */
    for (int g = 0; g < 2 + states; g++) {
        op_in(t, op_num(TERN_FLOAT, DIMS(1), VALS(g + 1)));
        op_in(t, op_num(TERN_DOUBLE, DIMS(2), VALS(g + 2, g + 3)));
    }
}

static void test_optimizers(void **state) {
    (void)state;
    op_test t;
    optimizer_begin(&t, "Momentum", 0.1, 1, 1);
    op_attr_f(&t, "alpha", 0.5f);
    op_attr_f(&t, "beta", 2);
    op_attr_f(&t, "norm_coefficient", 0);
    op_attr_s(&t, "mode", "standard");
    /* V = 0.5 V + 2 G; X -= 0.1 V */
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1 - 0.55)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(2 - 0.8, 3 - 1.05)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(5.5)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(8, 10.5)));
    op_run(&t, 1e-6, 0);

    optimizer_begin(&t, "Adagrad", 0.1, 0, 1);
    op_attr_f(&t, "norm_coefficient", 1);
    /* G = X + G; H += G G; X -= 0.1 G / sqrt(H) */
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1 - 0.3 / sqrt(12))));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(2 - 0.5 / sqrt(29), 3 - 0.7 / sqrt(54))));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(12)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(29, 54)));
    op_run(&t, 1e-6, 0);

    optimizer_begin(&t, "Adam", 1, 1, 2);
    op_attr_f(&t, "alpha", 0.5f);
    op_attr_f(&t, "beta", 0.75f);
    /* V = (V + G) / 2; H = 0.75 H + 0.25 G G; X -= sqrt(0.25) / 0.5 V / sqrt(H) */
    double h[3] = {4, 6, 8.5}, v[3] = {2.5, 3.5, 4.5};
    h[1] = 0.75 * 5 + 0.25 * 9, h[2] = 0.75 * 6 + 0.25 * 16;
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1 - v[0] / sqrt(h[0]))));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(2 - v[1] / sqrt(h[1]), 3 - v[2] / sqrt(h[2]))));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(v[0])));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(v[1], v[2])));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1), VALS(h[0])));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(h[1], h[2])));
    op_run(&t, 1e-6, 0);
}

static void test_optimizers_refuse(void **state) {
    (void)state;
    op_test t;
    optimizer_begin(&t, "Adagrad", 0.1, 0, 2);
    op_error(&t, TERN_INVALID_MODEL, STRS("10 inputs"));
    op_begin_domain(&t, "ai.onnx.preview.training", "Adagrad", 1);
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(1)));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("input 3"));
    optimizer_begin(&t, "Momentum", 0.1, 0, 1);
    op_error(&t, TERN_INVALID_MODEL, STRS("alpha"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_nothing_counts),
        cmocka_unit_test(test_losses_refuse),
        cmocka_unit_test(test_optimizers),
        cmocka_unit_test(test_optimizers_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
