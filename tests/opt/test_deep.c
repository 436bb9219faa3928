/* Networks of one and three spatial dims, and transposed convolutions, with and without fusion and blocked layout. */
#include "fuse_test.h"

static void norm(mb *b, const char *in, const char *out, int64_t channels) {
    mb_random_in(b, "scale", 1, &channels, 0.5f, 1.5f);
    mb_random(b, "shift", 1, &channels);
    mb_random(b, "mean", 1, &channels);
    mb_random_in(b, "var", 1, &channels, 0.5f, 1.5f);
    char args[80];
    snprintf(args, sizeof args, "%s scale shift mean var", in);
    mb_node(b, "BatchNormalization", args, out);
}

static tn_node *conv(mb *b, const char *op, const char *in, const char *out, int rank, const int64_t *weights) {
    char w[64], args[160];
    snprintf(w, sizeof w, "w_%s", out);
    mb_random(b, w, rank + 2, weights);
    snprintf(args, sizeof args, "%s %s", in, w);
    return mb_node(b, op, args, out);
}

/* Two convolutions with BatchNormalization, a residual sum, a pool, a concatenation and means: one region. */
static void test_three_dims(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 5, DIMS(2, 3, 4, 9, 10));
    mb_ints(conv(&b, "Conv", "x", "a", 3, DIMS(20, 3, 3, 3, 3)), "pads", 6, DIMS(1, 1, 1, 1, 1, 1));
    norm(&b, "a", "an", 20);
    mb_node(&b, "Relu", "an", "ar");
    mb_ints(conv(&b, "Conv", "ar", "b", 3, DIMS(20, 20, 3, 3, 3)), "pads", 6, DIMS(1, 1, 1, 1, 1, 1));
    mb_node(&b, "Add", "b ar", "s");
    mb_node(&b, "Relu", "s", "sr");
    tn_node *pool = mb_node(&b, "MaxPool", "sr", "p");
    mb_ints(pool, "kernel_shape", 3, DIMS(2, 3, 2));
    mb_ints(pool, "strides", 3, DIMS(2, 2, 2));
    mb_node(&b, "Sigmoid", "p", "q");
    mb_int(mb_node(&b, "Concat", "p q", "pq"), "axis", 1);
    conv(&b, "Conv", "pq", "c", 3, DIMS(30, 40, 1, 1, 1));
    mb_node(&b, "GlobalAveragePool", "c", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 5, DIMS(2, 3, 4, 9, 10), 20 * 27 * 81, 30);
    assert_int_equal(count_ops(s, "BatchNormalization") + count_ops(s, "Relu") + count_ops(s, "Add"), 0);
    assert_true(count_ops(s, "Reorder") <= 2);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_one_dim(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 3, DIMS(1, 20, 300));
    tn_node *n = conv(&b, "Conv", "x", "a", 1, DIMS(20, 20, 3));
    mb_ints(n, "dilations", 1, DIMS(32));
    mb_ints(n, "pads", 2, DIMS(64, 0));
    mb_node(&b, "Tanh", "a", "t");
    conv(&b, "Conv", "t", "c", 1, DIMS(20, 20, 1));
    mb_node(&b, "Add", "c x", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 3, DIMS(1, 20, 300), 20 * 60, 2);
    assert_int_equal(count_ops(s, "Tanh") + count_ops(s, "Add"), 0);
    assert_int_equal(count_ops(s, "Reorder"), 2);
    tern_session_free(s);
    tern_model_free(m);
}

/* Of groups, of a dim of 1, with output_padding; and what stays as the standard has it. */
static void test_transposed(void **state) {
    (void)state;
    static const struct {
        int64_t ic, oc, group, kernel, pad, extra, size;
        bool blocked;
    } cases[] = {{20, 24, 1, 4, 1, 0, 5, true}, {32, 16, 2, 3, 1, 1, 5, true}, {20, 1, 20, 4, 1, 0, 5, true},
                 {20, 24, 1, 4, 0, 0, 1, true}, {20, 2, 1, 4, 1, 0, 5, false}, {20, 24, 1, 1, 0, 0, 5, false}};
    for (size_t k = 0; k < TN_COUNT(cases); k++) {
        int64_t oc = cases[k].oc * cases[k].group, pad = cases[k].pad, size = cases[k].size;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, cases[k].ic, size, size));
        tn_node *n =
            conv(&b, "ConvTranspose", "x", "a", 2, DIMS(cases[k].ic, cases[k].oc, cases[k].kernel, cases[k].kernel));
        mb_ints(n, "strides", 2, DIMS(2, 2));
        mb_ints(n, "pads", 4, DIMS(pad, pad, pad, pad));
        mb_ints(n, "output_padding", 2, DIMS(cases[k].extra, cases[k].extra));
        mb_int(n, "group", cases[k].group);
        norm(&b, "a", "n", oc);
        mb_node(&b, "Relu", "n", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, cases[k].ic, size, size), 100, 10);
        assert_int_equal(count_ops(s, "BatchNormalization"), 0);
        assert_int_equal(count_ops(s, "Relu"), cases[k].blocked ? 0 : 1);
        assert_int_equal(count_ops(s, "Reorder"), cases[k].blocked ? 2 : 0);
        tern_session_free(s);
        tern_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_dims),
        cmocka_unit_test(test_one_dim),
        cmocka_unit_test(test_transposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
