/* Pools and means in the passes: against the plain graph, and what they become. */
#include "fuse_test.h"

static void test_mean_over_the_map(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        bool keep = k & 1, input = k & 2;
        mb b;
        mb_begin(&b, input ? 18 : 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 9, 9));
        add_conv(&b, "x", "c", 3, 20, 3, 1);
        if (input) {
            int64_t *axes = mb_constant(&b, "axes", TERN_INT64, 1, DIMS(2))->data;
            axes[0] = 3, axes[1] = -2;
        }
        tn_node *mean = mb_node(&b, "ReduceMean", input ? "c axes" : "c", "y");
        if (!input) mb_ints(mean, "axes", 2, DIMS(2, 3));
        mb_int(mean, "keepdims", keep);
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 3, 9, 9), 81 + 27, 1);
        assert_int_equal(count_ops(s, "ReduceMean"), 0);
        assert_int_equal(count_ops(s, "GlobalAveragePool"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* A mean over windows, or over all (5), goes before a 1x1 convolution, unless it has padding (1), unfinished windows
 * (2) or steps of 1 (3), or the convolution's result is read elsewhere as well (4), or its kernel is larger (6). */
static void test_mean_before_conv(void **state) {
    (void)state;
    for (int c = 0; c < 7; c++) {
        bool moves = c == 0 || c == 5, global = c == 5;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 24, 9, 11));
        add_conv(&b, "x", "c", 24, 20, c == 6 ? 3 : 1, 1);
        add_batchnorm(&b, "c", "n", 20);
        tn_node *pool = mb_node(&b, global ? "GlobalAveragePool" : "AveragePool", "n", c == 4 ? "p" : "y");
        if (!global) {
            mb_ints(pool, "kernel_shape", 2, DIMS(2, 3));
            mb_ints(pool, "strides", 2, c == 3 ? DIMS(1, 1) : DIMS(2, 2));
            if (c == 1) mb_ints(pool, "pads", 4, DIMS(0, 1, 0, 1));
            if (c == 2) mb_int(pool, "ceil_mode", 1);
        }
        if (c == 4) {
            mb_node(&b, "GlobalAveragePool", "n", "g");
            mb_node(&b, "Add", "p g", "y");
        }
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 24, 9, 11), 24 * 9 + 99, 3);
        const tn_graph *g = s->model->graph;
        int conv = -1, mean = -1;
        for (int i = 0; i < g->n_nodes; i++) {
            if (strcmp(g->nodes[i]->op_type, "Conv") == 0) conv = i;
            if (strstr(g->nodes[i]->op_type, "AveragePool")) mean = i;
        }
        assert_true(conv >= 0 && mean >= 0);
        assert_int_equal(mean < conv, moves);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* MaxPool of 2 x 2 goes into a 3x3 convolution (0: with ReLU, 1: without, 2: odd dims), unless its windows overlap (3),
 * it has padding (4), the activation is no clamp (5), or the convolution's result is read elsewhere (6). */
static void test_maxima_of_conv(void **state) {
    (void)state;
    for (int c = 0; c < 7; c++) {
        int64_t size = c == 2 ? 11 : 12;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, size, size + 2));
        add_conv(&b, "x", "c", 3, 24, 3, 1);
        add_conv(&b, "c", "d", 24, 20, 3, 1);
        if (c != 1) mb_node(&b, c == 5 ? "Tanh" : "Relu", "d", "r");
        const char *from = c == 1 ? "d" : "r";
        tn_node *pool = mb_node(&b, "MaxPool", from, "p");
        mb_ints(pool, "kernel_shape", 2, c == 3 ? DIMS(3, 3) : DIMS(2, 2));
        mb_ints(pool, "strides", 2, DIMS(2, 2));
        if (c == 4) mb_ints(pool, "pads", 4, DIMS(1, 1, 1, 1));
        if (c == 6) mb_node(&b, "GlobalAveragePool", "r", "g");
        mb_node(&b, c == 6 ? "Add" : "Neg", c == 6 ? "p g" : "p", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 3, size, size + 2), 27 * 216 * 16, 1);
        assert_int_equal(count_ops(s, "MaxPool"), c > 2);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Means over other axes are what they were. */
static void test_other_means_stay(void **state) {
    (void)state;
    static const int64_t axes[][2] = {{1, 2}, {3, 3}, {-1, 1}};
    for (size_t k = 0; k < TN_COUNT(axes); k++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 4, 3, 5));
        tn_node *mean = mb_node(&b, "ReduceMean", "x", "y");
        mb_ints(mean, "axes", k == 1 ? 1 : 2, axes[k]);
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 4, 3, 5), 20, 1);
        assert_int_equal(count_ops(s, "ReduceMean"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean_over_the_map),
        cmocka_unit_test(test_other_means_stay),
        cmocka_unit_test(test_mean_before_conv),
        cmocka_unit_test(test_maxima_of_conv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
