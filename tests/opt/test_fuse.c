/* Every pass against the plain graph: a random model run with and without fusion gives the same numbers, and the fused
 * graph holds what it should. */
#include "fuse_test.h"

/* ---- BatchNormalization and constants per channel ---------------------------------------------------------------- */

static void test_batchnorm_and_relu_into_conv(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 3, 9, 11));
    add_conv(&b, "x", "c", 3, 20, 3, 2);
    add_batchnorm(&b, "c", "n", 20);
    mb_node(&b, "Relu", "n", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 3, 9, 11), 27 + 4, 3);
    assert_int_equal(count_ops(s, "BatchNormalization"), 0);
    assert_int_equal(count_ops(s, "Relu"), 0);
    assert_int_equal(count_ops(s, "Conv"), 1);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_scale_and_shift_into_conv(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 5, 6, 6));
    add_conv(&b, "x", "c", 5, 7, 1, 1);
    mb_random(&b, "k", 3, DIMS(7, 1, 1));
    mb_random(&b, "t", 4, DIMS(1, 7, 1, 1));
    mb_node(&b, "Mul", "k c", "d");
    mb_node(&b, "Sub", "d t", "e");
    mb_scalar(&b, "two", 2);
    mb_node(&b, "Div", "e two", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(2, 5, 6, 6), 10, 2);
    assert_int_equal(count_ops(s, "Mul") + count_ops(s, "Sub") + count_ops(s, "Div"), 0);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_constant_minus_conv_stays(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 4, 5, 5));
    add_conv(&b, "x", "c", 4, 4, 3, 1);
    mb_random(&b, "k", 3, DIMS(4, 1, 1));
    mb_node(&b, "Sub", "k c", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 4, 5, 5), 40, 2);
    assert_int_equal(count_ops(s, "Sub"), 1);
    tern_session_free(s);
    tern_model_free(m);
}

/* Broadcasting along width, not channels: must not be merged. */
static void test_row_constant_stays(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 4, 6, 6));
    add_conv(&b, "x", "c", 4, 6, 1, 1);
    mb_random(&b, "k", 1, DIMS(6));
    mb_node(&b, "Mul", "c k", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 4, 6, 6), 8, 2);
    assert_int_equal(count_ops(s, "Mul"), 1);
    tern_session_free(s);
    tern_model_free(m);
}

/* A convolution that something else reads, too, keeps its result. */
static void test_shared_conv_keeps_its_output(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 4, 6, 6));
    add_conv(&b, "x", "c", 4, 6, 1, 1);
    mb_node(&b, "Relu", "c", "r");
    mb_node(&b, "Sub", "r c", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session_free(check_equal(m, 4, DIMS(1, 4, 6, 6), 8, 2));
    tern_model_free(m);
}

/* Behind a pool there is no convolution to take the normalisation: one operator, with its activation. */
static void test_batchnorm_alone(void **state) {
    (void)state;
    static const char *const acts[] = {"Relu", "Sigmoid"};
    for (int k = 0; k < 4; k++) {
        int64_t channels = k < 2 ? 20 : 16;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 12, 12));
        add_conv(&b, "x", "a", 3, channels, 3, 1);
        mb_node(&b, "Relu", "a", "r");
        tn_node *pool = mb_node(&b, "MaxPool", "r", "p");
        mb_ints(pool, "kernel_shape", 2, DIMS(2, 2));
        mb_ints(pool, "strides", 2, DIMS(2, 2));
        add_batchnorm(&b, "p", "n", channels);
        mb_node(&b, acts[k % 2], "n", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 3, 12, 12), 27 + 4, 30);
        assert_int_equal(count_ops(s, "BatchNormalization") + count_ops(s, acts[k % 2]), 0);
        assert_int_equal(count_ops(s, "ScaleShift"), 1);
        assert_int_equal(count_ops(s, "Reorder"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* The same in plain layout, of other ranks. */
static void test_batchnorm_of_rows(void **state) {
    (void)state;
    for (int rank = 2; rank <= 5; rank++) {
        const int64_t dims[] = {3, 19, 5, 3, 2};
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, rank, dims);
        add_batchnorm(&b, "x", "n", 19);
        mb_node(&b, "LeakyRelu", "n", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, rank, dims, 4, 8);
        assert_int_equal(count_ops(s, "ScaleShift"), 1);
        assert_int_equal(s->model->graph->n_nodes, 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* LayerNormalization in its parts, with Pow and with Mul, axes as an attribute and as an input. */
static void test_layernorm(void **state) {
    (void)state;
    for (int k = 0; k < 4; k++) {
        bool input = k & 1, mul = k & 2;
        mb b;
        mb_begin(&b, input ? 18 : 13);
        mb_input(&b, "x", TERN_FLOAT, 3, DIMS(2, 5, 37));
        if (input) ((int64_t *)mb_constant(&b, "axes", TERN_INT64, 1, DIMS(1))->data)[0] = -1;
        mb_random_in(&b, "scale", 1, DIMS(37), 0.5f, 1.5f);
        mb_random(&b, "bias", 1, DIMS(37));
        mb_scalar(&b, "two", 2), mb_scalar(&b, "eps", 1e-3f);
        tn_node *mean = mb_node(&b, "ReduceMean", input ? "x axes" : "x", "m");
        mb_node(&b, "Sub", "x m", "d");
        mb_node(&b, mul ? "Mul" : "Pow", mul ? "d d" : "d two", "q");
        tn_node *variance = mb_node(&b, "ReduceMean", input ? "q axes" : "q", "v");
        if (!input) mb_ints(mean, "axes", 1, DIMS(-1)), mb_ints(variance, "axes", 1, DIMS(2));
        mb_node(&b, "Add", "v eps", "w");
        mb_node(&b, "Sqrt", "w", "r");
        mb_node(&b, "Div", "d r", "n");
        mb_node(&b, "Mul", "n scale", "t");
        mb_node(&b, "Add", "t bias", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 3, DIMS(2, 5, 37), 40, 4);
        assert_int_equal(s->model->graph->n_nodes, 1);
        assert_int_equal(count_ops(s, "LayerNormalization"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Over another axis, or of another value: stays. */
static void test_no_layernorm(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 2, DIMS(6, 6));
        mb_random(&b, "scale", 1, DIMS(6)), mb_random(&b, "bias", 1, DIMS(6));
        mb_scalar(&b, "two", 2), mb_scalar(&b, "eps", 1e-3f);
        mb_ints(mb_node(&b, "ReduceMean", "x", "m"), "axes", 1, DIMS(k ? 1 : 0));
        mb_node(&b, "Sub", "x m", "d");
        mb_node(&b, "Pow", k ? "x two" : "d two", "q");
        mb_ints(mb_node(&b, "ReduceMean", "q", "v"), "axes", 1, DIMS(k ? 1 : 0));
        mb_node(&b, "Add", "v eps", "w");
        mb_node(&b, "Sqrt", "w", "r");
        mb_node(&b, "Div", "d r", "n");
        mb_node(&b, "Mul", "n scale", "t");
        mb_node(&b, "Add", "t bias", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 2, DIMS(6, 6), 40, 4);
        assert_int_equal(count_ops(s, "LayerNormalization"), 0);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* A Pad by zero goes; one that adds a row stays. */
static void test_empty_pad(void **state) {
    (void)state;
    for (int rows = 0; rows < 2; rows++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 2, 3, 4));
        int64_t *pads = mb_constant(&b, "pads", TERN_INT64, 1, DIMS(8))->data;
        memset(pads, 0, 8 * sizeof *pads);
        pads[6] = rows;
        mb_node(&b, "Pad", "x pads", "p");
        mb_node(&b, "Relu", "p", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(1, 2, 3, 4), 1, 1);
        assert_int_equal(count_ops(s, "Pad"), rows);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Groups narrower than a block have a kernel where neighbours can be joined: the layout shows it. */
static void test_narrow_groups(void **state) {
    (void)state;
    static const struct {
        int64_t groups, ic, oc;
        bool joined;
    } cases[] = {{4, 8, 8, true},   {13, 8, 8, true}, {8, 4, 8, true},
                 {2, 12, 20, true}, {3, 5, 16, true}, {9, 5, 7, false}};
    for (size_t k = 0; k < TN_COUNT(cases); k++) {
        int64_t groups = cases[k].groups, ic = cases[k].ic, oc = cases[k].oc;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 11, 9));
        add_conv(&b, "x", "a", 3, groups * ic, 1, 1);
        mb_random(&b, "w", 4, DIMS(groups * oc, ic, 3, 3));
        mb_random(&b, "bias", 1, DIMS(groups * oc));
        tn_node *n = mb_node(&b, "Conv", "a w bias", "c");
        mb_ints(n, "pads", 4, DIMS(1, 1, 1, 1));
        mb_int(n, "group", groups);
        mb_node(&b, "HardSigmoid", "c", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 3, 11, 9), 9.0 * (double)ic * 3, 2);
        assert_int_equal(count_ops(s, "Reorder"), 1);
        const tn_node *last = s->model->graph->outputs[0]->producer; /* the border of the blocked region */
        assert_int_equal(strcmp(last->op_type, "Reorder") == 0, cases[k].joined);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* ---- residuals and activations ----------------------------------------------------------------------------------- */

static void test_residual_block(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 3, 12, 12));
    add_conv(&b, "x", "a", 3, 24, 3, 1);
    mb_node(&b, "Relu", "a", "ra");
    add_conv(&b, "ra", "c", 24, 24, 3, 1);
    mb_node(&b, "Relu", "c", "rc");
    add_conv(&b, "rc", "d", 24, 24, 3, 1);
    mb_node(&b, "Add", "d ra", "s");
    mb_node(&b, "Relu", "s", "t");
    mb_node(&b, "GlobalAveragePool", "t", "g");
    mb_node(&b, "Flatten", "g", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 3, 12, 12), 27 * 216 * 216.0, 0.02);
    assert_int_equal(count_ops(s, "Add") + count_ops(s, "Relu"), 0);
    tern_session_free(s);
    tern_model_free(m);
}

/* Both operands of the sum are convolutions of the same value. */
static void test_residual_of_two_convs(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 16, 7, 7));
    add_conv(&b, "x", "a", 16, 17, 1, 1);
    add_conv(&b, "x", "c", 16, 17, 3, 1);
    mb_node(&b, "Add", "a c", "s");
    mb_node(&b, "LeakyRelu", "s", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 16, 7, 7), 160, 1);
    assert_int_equal(count_ops(s, "Add"), 0);
    tern_session_free(s);
    tern_model_free(m);
}

static void check_written_out(void (*build)(mb *b), const char *becomes) {
    for (int with_conv = 0; with_conv < 2; with_conv++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, with_conv ? "x" : "c", TERN_FLOAT, 4, DIMS(1, 8, 6, 6));
        if (with_conv)
            add_conv(&b, "x", "c", 8, 8, 1, 1);
        else
            mb_node(&b, "Identity", "c", "z");
        build(&b);
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        if (with_conv) {
            tern_session *s = check_equal(m, 4, DIMS(1, 8, 6, 6), 40, 2);
            assert_int_equal(s->model->graph->n_nodes - count_ops(s, "Reorder"), 1);
            tern_session_free(s);
        } else {
            tern_session *s = session_of(m, true);
            assert_int_equal(count_ops(s, becomes), 1);
            assert_int_equal(s->model->graph->n_nodes, 1);
            tern_session_free(s);
        }
        tern_model_free(m);
    }
}

static void build_silu(mb *b) {
    mb_node(b, "Sigmoid", "c", "s");
    mb_node(b, "Mul", "c s", "y");
}

static void build_hard_swish(mb *b) {
    mb_scalar(b, "three", 3), mb_scalar(b, "zero", 0), mb_scalar(b, "six", 6);
    mb_node(b, "Add", "c three", "p");
    mb_node(b, "Clip", "p zero six", "q");
    mb_node(b, "Mul", "c q", "r");
    mb_node(b, "Div", "r six", "y");
}

static void build_hard_swish_by_gate(mb *b) {
    mb_scalar(b, "three", 3), mb_scalar(b, "zero", 0), mb_scalar(b, "six", 6);
    mb_node(b, "Add", "c three", "p");
    mb_node(b, "Clip", "p zero six", "q");
    mb_node(b, "Div", "q six", "r");
    mb_node(b, "Mul", "c r", "y");
}

static void build_gelu(mb *b) {
    mb_scalar(b, "root2", 1.41421356f), mb_scalar(b, "one", 1), mb_scalar(b, "half", 0.5f);
    mb_node(b, "Div", "c root2", "p");
    mb_node(b, "Erf", "p", "q");
    mb_node(b, "Add", "q one", "r");
    mb_node(b, "Mul", "c r", "s");
    mb_node(b, "Mul", "s half", "y");
}

static void build_gelu_other_order(mb *b) {
    mb_scalar(b, "root2", 1.41421356f), mb_scalar(b, "one", 1), mb_scalar(b, "half", 0.5f);
    mb_node(b, "Div", "c root2", "p");
    mb_node(b, "Erf", "p", "q");
    mb_node(b, "Add", "q one", "r");
    mb_node(b, "Mul", "c half", "s");
    mb_node(b, "Mul", "s r", "y");
}

static void test_silu(void **state) { (void)state, check_written_out(build_silu, "Swish"); }
static void test_gelu(void **state) { (void)state, check_written_out(build_gelu, "Gelu"); }
static void test_gelu_other_order(void **state) { (void)state, check_written_out(build_gelu_other_order, "Gelu"); }
static void test_hard_swish(void **state) { (void)state, check_written_out(build_hard_swish, "HardSwish"); }
static void test_hard_swish_by_gate(void **state) {
    (void)state, check_written_out(build_hard_swish_by_gate, "HardSwish");
}

/* A scalar plus a vector of one element is a vector: the operator for both would give a scalar. */
static void test_hard_sigmoid_of_a_scalar(void **state) {
    (void)state;
    for (int rank = 0; rank < 2; rank++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, rank, DIMS(1));
        mb_floats(&b, "three", 1, DIMS(1), &(float){3});
        mb_scalar(&b, "zero", 0), mb_scalar(&b, "six", 6);
        mb_node(&b, "Add", "x three", "p");
        mb_node(&b, "Clip", "p zero six", "q");
        mb_node(&b, "Div", "q six", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = session_of(m, true);
        assert_int_equal(count_ops(s, "HardSigmoid"), rank);
        tern_session_free(s);
        tern_model_free(m);
    }
}

static void test_clip_bounds(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 8, 6, 6));
    add_conv(&b, "x", "c", 8, 8, 1, 1);
    mb_scalar(&b, "lo", -0.25f), mb_scalar(&b, "hi", 0.75f);
    mb_node(&b, "Clip", "c lo hi", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 8, 6, 6), 8, 1);
    assert_int_equal(count_ops(s, "Clip"), 0);
    tern_session_free(s);
    tern_model_free(m);
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

/* Pools, sums, activations, squeeze-excite and concat between convolutions: reorders stand at the borders alone. */
static void test_layout_region(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 3, 16, 16));
    add_conv(&b, "x", "a", 3, 32, 3, 1);
    tn_node *pool = mb_node(&b, "MaxPool", "a", "p");
    mb_ints(pool, "kernel_shape", 2, DIMS(2, 2));
    mb_ints(pool, "strides", 2, DIMS(2, 2));
    mb_node(&b, "GlobalAveragePool", "p", "g");
    add_conv(&b, "g", "q", 32, 32, 1, 1);
    mb_node(&b, "Sigmoid", "q", "s");
    mb_node(&b, "Mul", "p s", "e");
    add_conv(&b, "e", "h", 32, 32, 3, 1);
    tn_node *cat = mb_node(&b, "Concat", "e h", "k");
    mb_int(cat, "axis", 1);
    add_conv(&b, "k", "y", 64, 19, 1, 1);
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 3, 16, 16), 27 * 288.0, 8);
    assert_int_equal(count_ops(s, "Reorder"), 1); /* of the output alone: the first layer reads plain */
    tern_session_free(s);
    tern_model_free(m);
}

/* Units of ShuffleNet: Concat, shuffle, and what reads it: Slices, a Split, a convolution, or a convolution and a
 * Slice. Nothing is reordered in between. */
static void test_channel_shuffle(void **state) {
    (void)state;
    for (int k = 0; k < 8; k++) {
        int64_t half = k & 1 ? 29 : 32, channels = 2 * half;
        int reader = k >> 1;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 6, 5));
        add_conv(&b, "x", "a", 3, half, 3, 1);
        add_conv(&b, "a", "c", half, half, 1, 1);
        mb_int(mb_node(&b, "Concat", "a c", "d"), "axis", 1);
        mb_int64s(&b, "five", 5, DIMS(2, 2, half, 6, 5)), mb_int64s(&b, "four", 4, DIMS(2, channels, 6, 5));
        mb_node(&b, "Reshape", "d five", "e");
        mb_ints(mb_node(&b, "Transpose", "e", "f"), "perm", 5, DIMS(0, 2, 1, 3, 4));
        mb_node(&b, "Reshape", "f four", "g");
        mb_int64s(&b, "zero", 1, DIMS(0)), mb_int64s(&b, "half", 1, DIMS(half)), mb_int64s(&b, "one", 1, DIMS(1));
        mb_int64s(&b, "most", 1, DIMS(INT64_MAX));
        if (reader == 1) {
            mb_int(mb_node(&b, "Split", "g", "h i"), "axis", 1);
        } else if (reader == 0 || reader == 3) {
            mb_node(&b, "Slice", "g zero half one", "h");
            if (reader == 0) mb_node(&b, "Slice", "g half most one", "i");
        }
        if (reader == 2)
            add_conv(&b, "g", "p", channels, half, 1, 1);
        else
            add_conv(&b, "h", "p", half, half, 1, 1);
        if (reader == 3) add_conv(&b, "g", "i", channels, half, 1, 1);
        mb_node(&b, "Add", reader == 2 ? "p a" : "p i", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 3, 6, 5), 27 * 32 * 64, 1);
        /* 1x1 convolutions pick channels themselves, where nothing else reads them. */
        static const int picks[] = {1, 1, 0, 1};
        assert_int_equal(count_ops(s, "Channels"), picks[reader]);
        assert_int_equal(count_ops(s, "Transpose") + count_ops(s, "Reshape") + count_ops(s, "Split"), 0);
        assert_int_equal(count_ops(s, "Slice"), reader == 3);
        if (reader < 3) assert_int_equal(count_ops(s, "Reorder"), 1);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Units of ShuffleNet one after the other: channels that wait for several units are read where they were made. */
static void test_shuffle_units(void **state) {
    (void)state;
    for (int odd = 0; odd < 2; odd++) {
        int64_t half = odd ? 29 : 32, channels = 2 * half;
        enum { UNITS = 4 };
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 6, 5));
        mb_int64s(&b, "five", 5, DIMS(2, 2, half, 6, 5)), mb_int64s(&b, "four", 4, DIMS(2, channels, 6, 5));
        add_conv(&b, "x", "l0", 3, half, 3, 1);
        add_conv(&b, "x", "r0", 3, half, 3, 1);
        for (int u = 0; u < UNITS; u++) {
            char in[40], n[8][12];
            static const char names[] = "defghlrc";
            for (int k = 0; k < 8; k++) snprintf(n[k], sizeof n[k], "%c%d", names[k], u + (k == 5 || k == 6));
            snprintf(in, sizeof in, "l%d r%d", u, u);
            mb_int(mb_node(&b, "Concat", in, n[0]), "axis", 1);
            snprintf(in, sizeof in, "%s five", n[0]);
            mb_node(&b, "Reshape", in, n[1]);
            mb_ints(mb_node(&b, "Transpose", n[1], n[2]), "perm", 5, DIMS(0, 2, 1, 3, 4));
            snprintf(in, sizeof in, "%s four", n[2]);
            mb_node(&b, "Reshape", in, n[3]);
            if (u == UNITS - 1) break;
            snprintf(in, sizeof in, "%s %s", n[5], n[7]);
            mb_int(mb_node(&b, "Split", n[3], in), "axis", 1);
            add_conv(&b, n[7], n[6], half, half, 1, 1);
        }
        mb_node(&b, "Relu", "g3", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, 3, 6, 5), 27 * 32 * 32 * 32, 2);
        assert_int_equal(count_ops(s, "Channels"), 1);
        assert_int_equal(count_ops(s, "Transpose") + count_ops(s, "Reshape") + count_ops(s, "Split"), 0);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Squeeze-and-excitation between a depthwise and a 1x1 convolution: no pass over the map is left. With `other`
 * something else reads the product, or the factors are not one for each channel: then it stays. */
static void test_squeeze_excite(void **state) {
    (void)state;
    for (int k = 0; k < 6; k++) {
        int64_t c = k & 1 ? 24 : 32;
        int other = k >> 1;
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, c, 9, 8));
        mb_random(&b, "wd", 4, DIMS(c, 1, 3, 3));
        tn_node *d = mb_node(&b, "Conv", "x wd", "d");
        mb_ints(d, "pads", 4, DIMS(1, 1, 1, 1));
        mb_int(d, "group", c);
        mb_node(&b, "Relu", "d", "e");
        if (other == 2)
            mb_node(&b, "Relu", "e", "f");
        else
            mb_node(&b, "GlobalAveragePool", "e", "f");
        add_conv(&b, "f", "g", c, 8, 1, 1);
        mb_node(&b, "Relu", "g", "h");
        add_conv(&b, "h", "i", 8, c, 1, 1);
        mb_node(&b, "Sigmoid", "i", "s");
        mb_node(&b, "Mul", k & 1 ? "s e" : "e s", "m");
        add_conv(&b, "m", "p", c, 20, 1, 1);
        if (other == 1) {
            add_conv(&b, "m", "q", c, 20, 1, 1);
            mb_node(&b, "Add", "p q", "y");
        } else {
            mb_node(&b, "Relu", "p", "y");
        }
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(2, c, 9, 8), 9 * 32, 4);
        assert_int_equal(count_ops(s, "Mul"), other != 0);
        assert_int_equal(count_ops(s, "GlobalAveragePool"), 0);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Lists that grow, as DenseNet has them: each Concat takes the one before, and all lie in the memory of the last. */
static void test_dense_block(void **state) {
    (void)state;
    for (int odd = 0; odd < 2; odd++) {
        char list[40] = "f0", next[3][20] = {"f1", "f2", "f3"};
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 3, 8, 8));
        add_conv(&b, "x", "f0", 3, odd ? 21 : 32, 3, 1);
        int64_t channels = odd ? 21 : 32;
        for (int k = 0; k < 3; k++) {
            char in[8] = "f0";
            if (k) {
                snprintf(in, sizeof in, "c%d", k);
                mb_int(mb_node(&b, "Concat", list, in), "axis", 1);
            }
            add_conv(&b, in, next[k], channels, 16, 3, 1);
            channels += 16;
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, " %.3s", next[k]);
        }
        mb_int(mb_node(&b, "Concat", list, "c"), "axis", 1);
        mb_node(&b, "Relu", "c", "r");
        add_conv(&b, "r", "y", channels, 8, 1, 1);
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 4, DIMS(1, 3, 8, 8), 1e5, 1);
        for (int i = 0; i < s->model->graph->n_nodes; i++)
            if (tn_opt_is(s->model->graph->nodes[i], "", "Concat"))
                assert_int_equal(s->model->graph->nodes[i]->n_in, 2);
        assert_int_equal(count_ops(s, "Concat"), 3);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* Parts that are used in more than one place, twice in one list, and whose whole is an output. */
static void test_concat_parts(void **state) {
    (void)state;
    static const char *const lists[] = {"a b", "b a", "a a", "a b a", "k a", "a k b"};
    for (size_t k = 0; k < TN_COUNT(lists); k++) {
        for (int more = 0; more < 3; more++) {
            mb b;
            mb_begin(&b, 13);
            mb_input(&b, "x", TERN_FLOAT, 2, DIMS(1, 32));
            mb_random(&b, "k", 2, DIMS(1, 16));
            mb_node(&b, "Exp", "x", "a");
            mb_node(&b, "Tanh", "a", "b");
            mb_int(mb_node(&b, "Concat", lists[k], "c"), "axis", 1);
            mb_int(mb_node(&b, "Concat", "b c a", "d"), "axis", more == 1 ? -1 : 1);
            mb_node(&b, "Neg", "c", "e");
            if (more == 2) mb_output(&b, "c");
            mb_int(mb_node(&b, "Concat", "d e a", "y"), "axis", 1);
            if (more < 2) mb_output(&b, "y");
            tern_model *m = mb_end(&b);
            tern_session_free(check_equal(m, 2, DIMS(1, 32), 4, 4));
            tern_model_free(m);
        }
    }
}

/* Channels that do not fill their last block, on both sides of a depthwise convolution, and a plain reader in between.
 */
static void test_layout_odd_channels(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 10, 9));
    add_conv(&b, "x", "a", 3, 21, 3, 1);
    mb_node(&b, "Sigmoid", "a", "sa");
    mb_random(&b, "wd", 4, DIMS(21, 1, 3, 3));
    tn_node *dw = mb_node(&b, "Conv", "sa wd", "d");
    mb_int(dw, "group", 21);
    mb_ints(dw, "pads", 4, DIMS(1, 1, 1, 1));
    add_conv(&b, "d", "e", 21, 5, 1, 1);
    tn_node *t = mb_node(&b, "Transpose", "e", "f");
    mb_ints(t, "perm", 4, DIMS(0, 2, 3, 1));
    mb_node(&b, "Flatten", "f", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session_free(check_equal(m, 4, DIMS(2, 3, 10, 9), 30 * 21.0, 4));
    tern_model_free(m);
}

static void test_free_height_and_width(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(-1, 3, -1, -1));
    add_conv(&b, "x", "a", 3, 20, 3, 2);
    mb_node(&b, "Relu", "a", "r");
    add_conv(&b, "r", "c", 20, 20, 3, 1);
    mb_node(&b, "Add", "c r", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    for (int64_t k = 5; k < 40; k += 9)
        tern_session_free(check_equal(m, 4, DIMS(1 + k % 2, 3, k, k + 3), 27 * 180.0, 4));
    tern_model_free(m);
}

/* ---- folding ----------------------------------------------------------------------------------------------------- */

static void test_shape_arithmetic_folds(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 3, 4, 5));
    mb_node(&b, "Shape", "x", "shape");
    mb_int64s(&b, "zero", 1, DIMS(0));
    mb_node(&b, "Gather", "shape zero", "n");
    mb_int64s(&b, "rest", 1, DIMS(-1));
    tn_node *cat = mb_node(&b, "Concat", "n rest", "target");
    mb_int(cat, "axis", 0);
    mb_node(&b, "Reshape", "x target", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(2, 3, 4, 5), 1, 1);
    assert_int_equal(s->model->graph->n_nodes, 1);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_identities_vanish(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(3, 4));
    mb_node(&b, "Identity", "x", "a");
    mb_node(&b, "Dropout", "a", "d");
    mb_int(mb_node(&b, "Cast", "d", "e"), "to", TERN_FLOAT);
    mb_node(&b, "Neg", "e", "f");
    mb_node(&b, "Identity", "f", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 2, DIMS(3, 4), 1, 1);
    assert_int_equal(s->model->graph->n_nodes, 1);
    assert_string_equal(s->model->graph->outputs[0]->name, "y");
    tern_session_free(s);
    tern_model_free(m);
}

/* The input goes straight to the output: it has to be copied. */
static void test_input_is_output(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(3, 4));
    mb_node(&b, "Identity", "x", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session_free(check_equal(m, 2, DIMS(3, 4), 1, 1));
    tern_model_free(m);
}

/* MatMul, bias, GELU and MatMul, bias, residual become two products. The residual is x itself, which must stay as it
 * is, or a value of the graph, which the sum may overwrite. */
static void test_matmul_epilogue(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        mb b;
        mb_begin(&b, 20);
        mb_input(&b, "x", TERN_FLOAT, 3, DIMS(2, 19, 40));
        mb_node(&b, "Neg", "x", "n");
        mb_random(&b, "w", 2, DIMS(40, 70));
        mb_random(&b, "c", 1, DIMS(70));
        mb_random(&b, "v", 2, DIMS(70, 40));
        mb_random(&b, "d", 1, DIMS(40));
        mb_node(&b, "MatMul", own ? "n w" : "x w", "p");
        mb_node(&b, "Add", "c p", "q");
        mb_node(&b, "Gelu", "q", "g");
        mb_node(&b, "MatMul", "g v", "r");
        mb_node(&b, "Add", "r d", "s");
        mb_node(&b, "Add", own ? "n s" : "x s", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_session *s = check_equal(m, 3, DIMS(2, 19, 40), 3000, 1);
        assert_int_equal(count_ops(s, "Gemm"), 2);
        assert_int_equal(s->model->graph->n_nodes, own ? 3 : 2);
        tern_session_free(s);
        tern_model_free(m);
    }
}

/* What looks alike but is none of it: a bias of one element, a sum with a constant of the output's size, a bias after
 * Gemm with beta. */
static void test_no_matmul_epilogue(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 20);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(9, 24));
    mb_random(&b, "w", 2, DIMS(24, 24));
    mb_random(&b, "one", 1, DIMS(1));
    mb_random(&b, "full", 2, DIMS(9, 24));
    mb_random(&b, "row", 1, DIMS(24));
    mb_node(&b, "MatMul", "x w", "p");
    mb_node(&b, "Add", "p one", "q");
    mb_node(&b, "MatMul", "q w", "r");
    mb_node(&b, "Add", "r full", "t");
    tn_node *g = mb_node(&b, "Gemm", "t w", "u");
    mb_float(g, "beta", 0.5f);
    mb_node(&b, "Add", "u row", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 2, DIMS(9, 24), 24 * 24 * 24, 1);
    assert_int_equal(count_ops(s, "Add"), 3);
    tern_session_free(s);
    tern_model_free(m);
}

/* ---- padding ----------------------------------------------------------------------------------------------------- */

/* x (1, 4, 9, 10), padded by a Pad of that mode and value, into a Conv (3x3, pads 1) or AveragePool (3x3). */
static void pad_then(const char *op_type, const char *mode, float value, const int64_t *pads, int64_t own, int stay) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 4, 9, 10));
    mb_int64s(&b, "pads", 8, pads);
    mb_scalar(&b, "value", value);
    tn_attr *a = mb_attr(mb_node(&b, "Pad", "x pads value", "p"), "mode", TN_ATTR_STRING);
    a->s = tn_str_c(mode);
    if (strcmp(op_type, "Conv") == 0) {
        add_conv(&b, "p", "y", 4 + pads[1] + pads[5], 6, 3, 2);
    } else {
        tn_node *n = mb_node(&b, op_type, "p", "y");
        mb_ints(n, "kernel_shape", 2, DIMS(3, 3));
        mb_ints(n, "pads", 4, DIMS(own, own, own, own));
    }
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(1, 4, 9, 10), 60, 1);
    assert_int_equal(count_ops(s, "Pad"), stay);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_pad_into_windows(void **state) {
    (void)state;
    pad_then("Conv", "constant", 0, DIMS(0, 0, 1, 2, 0, 0, 3, 0), 0, 0);
    pad_then("AveragePool", "constant", 0, DIMS(0, 0, 1, 0, 0, 0, 2, 1), 0, 0);
    pad_then("AveragePool", "constant", 0, DIMS(0, 0, 1, 0, 0, 0, 3, 1), 0, 1); /* a window of zeros alone */
    pad_then("AveragePool", "constant", 0, DIMS(0, 0, 1, 1, 0, 0, 1, 1), 1, 1); /* its own are not counted */
    pad_then("MaxPool", "constant", 0, DIMS(0, 0, 1, 1, 0, 0, 1, 1), 0, 1);     /* zeros may be the largest */
    pad_then("Conv", "constant", 1, DIMS(0, 0, 1, 1, 0, 0, 1, 1), 0, 1);
    pad_then("Conv", "reflect", 0, DIMS(0, 0, 1, 1, 0, 0, 1, 1), 0, 1);
    pad_then("Conv", "constant", 0, DIMS(0, 0, -1, 1, 0, 0, 1, 1), 0, 1);
    pad_then("Conv", "constant", 0, DIMS(0, 1, 0, 0, 0, 0, 0, 0), 0, 1);
}

/* Kernels wider than the map, of which `rows` x `cols` taps meet it. */
static void trimmed(int64_t k, const int64_t *pads, int64_t dilation, int64_t stride, int64_t rows, int64_t cols) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(2, 5, 7, 9));
    mb_random(&b, "w", 4, DIMS(6, 5, k, k));
    tn_node *n = mb_node(&b, "Conv", "x w", "y");
    mb_ints(n, "pads", 4, pads);
    mb_ints(n, "dilations", 2, DIMS(dilation, dilation));
    mb_ints(n, "strides", 2, DIMS(stride, stride));
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s = check_equal(m, 4, DIMS(2, 5, 7, 9), (double)(5 * k * k), 1);
    for (int i = 0; i < s->model->graph->n_nodes; i++) {
        const tn_node *c = s->model->graph->nodes[i];
        if (strcmp(c->op_type, "Conv") != 0) continue;
        assert_int_equal(c->in[1]->constant->shape.dims[2], rows);
        assert_int_equal(c->in[1]->constant->shape.dims[3], cols);
    }
    tern_session_free(s);
    tern_model_free(m);
}

static void test_taps_outside_the_map(void **state) {
    (void)state;
    trimmed(3, DIMS(12, 12, 12, 12), 12, 1, 1, 1);
    trimmed(3, DIMS(8, 8, 8, 8), 8, 1, 1, 3); /* the map is 9 wide: one column still meets it */
    trimmed(5, DIMS(8, 10, 8, 10), 4, 1, 3, 5);
    trimmed(3, DIMS(12, 12, 11, 13), 12, 2, 2, 1); /* paddings less than the dilation can not go */
    trimmed(3, DIMS(1, 1, 1, 1), 1, 1, 3, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batchnorm_and_relu_into_conv),
        cmocka_unit_test(test_scale_and_shift_into_conv),
        cmocka_unit_test(test_constant_minus_conv_stays),
        cmocka_unit_test(test_row_constant_stays),
        cmocka_unit_test(test_batchnorm_alone),
        cmocka_unit_test(test_batchnorm_of_rows),
        cmocka_unit_test(test_empty_pad),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_channel_shuffle),
        cmocka_unit_test(test_shuffle_units),
        cmocka_unit_test(test_squeeze_excite),
        cmocka_unit_test(test_dense_block),
        cmocka_unit_test(test_concat_parts),
        cmocka_unit_test(test_no_layernorm),
        cmocka_unit_test(test_narrow_groups),
        cmocka_unit_test(test_shared_conv_keeps_its_output),
        cmocka_unit_test(test_residual_block),
        cmocka_unit_test(test_residual_of_two_convs),
        cmocka_unit_test(test_silu),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_gelu_other_order),
        cmocka_unit_test(test_hard_swish),
        cmocka_unit_test(test_hard_swish_by_gate),
        cmocka_unit_test(test_hard_sigmoid_of_a_scalar),
        cmocka_unit_test(test_clip_bounds),
        cmocka_unit_test(test_layout_region),
        cmocka_unit_test(test_layout_odd_channels),
        cmocka_unit_test(test_free_height_and_width),
        cmocka_unit_test(test_shape_arithmetic_folds),
        cmocka_unit_test(test_identities_vanish),
        cmocka_unit_test(test_input_is_output),
        cmocka_unit_test(test_matmul_epilogue),
        cmocka_unit_test(test_no_matmul_epilogue),
        cmocka_unit_test(test_pad_into_windows),
        cmocka_unit_test(test_taps_outside_the_map),
    };
    return cmocka_run_group_tests_name("fuse", tests, NULL, NULL);
}
