/* Passes in the bodies of If and Loop: they fuse, and what comes out is what comes out without them. */
#include <math.h>

#include "subgraph_builder.h"

static int count_ops(const tn_graph *g, const char *domain, const char *op) {
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        const tn_node *node = g->nodes[i];
        n += strcmp(node->op_type, op) == 0 && strcmp(node->domain, domain) == 0;
        for (int a = 0; a < node->n_attrs; a++)
            if (node->attrs[a].type == TN_ATTR_GRAPH) n += count_ops(node->attrs[a].g, domain, op);
    }
    return n;
}

/* Runs with and without passes; outputs agree. The run with passes stays open for the caller. */
static void both(sub_run *r, tern_model *(*make)(void), const tern_feed *feeds, size_t n) {
    sub_run plain;
    sub_options(&plain);
    plain.options.optimize = false;
    if (sub_try(&plain, make(), feeds, n) != TERN_OK) fail_msg("%s", plain.err.text);
    sub_must(r, make(), feeds, n);
    for (size_t o = 0; o < r->n_out; o++) {
        assert_true(tn_shape_equal(&r->out[o]->shape, &plain.out[o]->shape));
        for (int64_t i = 0; i < tern_tensor_count(r->out[o]); i++) {
            double a = tn_tensor_get_f64(r->out[o], i), b = tn_tensor_get_f64(plain.out[o], i);
            /* Sums of 27 products of numbers below 1, then below 30: float32 rounding. */
            if (fabs(a - b) > 27 * 0x1p-23 * (1 + fabs(b)))
                fail_msg("output %zu, %lld: %g, not %g", o, (long long)i, a, b);
        }
    }
    sub_end(&plain);
}

static void conv_weights(mb *b) {
    mb_random(b, "w", 4, DIMS(3, 3, 3, 3));
    mb_random(b, "bias", 1, DIMS(3));
    mb_random_in(b, "scale", 1, DIMS(3), 0.5f, 1.5f);
    mb_random(b, "shift", 1, DIMS(3));
    mb_random(b, "mean", 1, DIMS(3));
    mb_random_in(b, "var", 1, DIMS(3), 0.5f, 1.5f);
}

static void conv_block(mb *body, const char *in, const char *out) {
    char text[40];
    snprintf(text, sizeof text, "%s w bias", in);
    mb_ints(mb_node(body, "Conv", text, "c"), "pads", 4, DIMS(1, 1, 1, 1));
    mb_node(body, "BatchNormalization", "c scale shift mean var", "n");
    mb_node(body, "Relu", "n", out);
}

static const char *const weights[] = {"w", "bias", "scale", "shift", "mean", "var"};

/* if flag: Relu(BatchNormalization(Conv(x))) else: x * Sigmoid(x); weights and x are captured. */
static tern_model *branches(void) {
    mb b;
    mb_begin(&b, 15);
    mb_input(&b, "flag", TERN_BOOL, 0, NULL);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 3, 5, 5));
    conv_weights(&b);
    mb yes = sub_begin(&b, "yes"), no = sub_begin(&b, "no");
    for (size_t i = 0; i < TN_COUNT(weights); i++) sub_capture(&yes, &b, weights[i]);
    sub_capture(&yes, &b, "x");
    conv_block(&yes, "x", "r");
    mb_output(&yes, "r");
    sub_capture(&no, &b, "x");
    mb_node(&no, "Sigmoid", "x", "s");
    mb_node(&no, "Mul", "x s", "m");
    mb_output(&no, "m");
    tn_node *n = mb_node(&b, "If", "flag", "y");
    sub_attr(n, "then_branch", &yes);
    sub_attr(n, "else_branch", &no);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_branches(void **state) {
    (void)state;
    tern_tensor *x = mb_random_tensor(3, 4, DIMS(1, 3, 5, 5));
    for (int flag = 0; flag < 2; flag++) {
        tern_tensor *f = sub_flag(flag);
        sub_run r;
        both(&r, branches, (tern_feed[]){{"flag", f}, {"x", x}}, 2);
        const tn_graph *g = r.session->model->graph;
        assert_int_equal(count_ops(g, "tern", "Conv"), 1);
        assert_int_equal(count_ops(g, "", "BatchNormalization"), 0);
        assert_int_equal(count_ops(g, "", "Relu"), 0);
        assert_int_equal(count_ops(g, "", "Sigmoid"), 0);
        sub_end(&r);
        tern_tensor_free(f);
    }
    tern_tensor_free(x);
}

/* The state goes through the block three times; the iteration's number is added. */
static tern_model *loop(void) {
    mb b;
    mb_begin(&b, 15);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, 3, -1, -1));
    sub_int(&b, "three", 3);
    conv_weights(&b);
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 4, DIMS(1, 3, -1, -1));
    for (size_t i = 0; i < TN_COUNT(weights); i++) sub_capture(&body, &b, weights[i]);
    conv_block(&body, "s", "r");
    mb_int(mb_node(&body, "Cast", "i", "f"), "to", TERN_FLOAT);
    mb_node(&body, "Add", "r f", "t");
    mb_node(&body, "Identity", "go", "on");
    mb_output(&body, "on");
    mb_output(&body, "t");
    sub_attr(mb_node(&b, "Loop", "three - x", "y"), "body", &body);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_loop(void **state) {
    (void)state;
    tern_tensor *x = mb_random_tensor(4, 4, DIMS(1, 3, 6, 4));
    sub_run r;
    both(&r, loop, &(tern_feed){"x", x}, 1);
    const tn_graph *g = r.session->model->graph;
    assert_int_equal(count_ops(g, "tern", "Conv"), 1);
    assert_int_equal(count_ops(g, "", "BatchNormalization") + count_ops(g, "", "Relu"), 0);
    sub_end(&r);
    tern_tensor_free(x);
}

/* The file says that the state has one element and the body believes it; it has one more each time. What is computed
 * from its shape must not become a constant. */
static tern_model *growing(void) {
    mb b;
    mb_begin(&b, 15);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(1));
    sub_int(&b, "four", 4);
    mb_int64s(&b, "two", 1, (int64_t[]){2});
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 1, DIMS(1));
    sub_capture(&body, &b, "x");
    sub_capture(&body, &b, "two");
    mb_int(mb_node(&body, "Concat", "s x", "t"), "axis", 0);
    mb_node(&body, "Shape", "s", "shape");
    mb_node(&body, "Mul", "shape two", "twice");
    mb_node(&body, "Identity", "go", "on");
    mb_output(&body, "on");
    mb_output(&body, "t");
    mb_output(&body, "twice");
    sub_attr(mb_node(&b, "Loop", "four - x", "y sizes"), "body", &body);
    mb_output(&b, "y");
    mb_output(&b, "sizes");
    return mb_end(&b);
}

static void test_declared_shapes_are_not_believed(void **state) {
    (void)state;
    tern_tensor *x = sub_floats(1, DIMS(1), (float[]){7});
    sub_run r;
    both(&r, growing, &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){5}), 7, 7, 7, 7, 7);
    EXPECT(r.out[1], ((int64_t[]){4, 1}), 2, 4, 6, 8);
    sub_end(&r);
    tern_tensor_free(x);
}

/* Constants of the main graph, of the loop's body and of a branch in it, folded together; a value of the body is read
 * by the branch alone. */
static tern_model *nested(void) {
    mb b;
    mb_begin(&b, 15);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(2));
    sub_int(&b, "two", 2);
    mb_floats(&b, "k", 1, DIMS(2), (float[]){1, 2});
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 1, DIMS(2));
    sub_capture(&body, &b, "k");
    sub_bool(&body, "yes", true);
    mb_node(&body, "Neg", "s", "minus");
    mb then = sub_begin(&body, "then"), other = sub_begin(&body, "else");
    sub_capture(&then, &body, "minus");
    sub_capture(&then, &body, "k");
    mb_node(&then, "Add", "k k", "kk");
    mb_node(&then, "Identity", "minus", "same");
    mb_node(&then, "Mul", "same kk", "p");
    mb_output(&then, "p");
    sub_capture(&other, &body, "k");
    mb_node(&other, "Identity", "k", "q");
    mb_output(&other, "q");
    tn_node *n = mb_node(&body, "If", "go", "z");
    sub_attr(n, "then_branch", &then);
    sub_attr(n, "else_branch", &other);
    mb_node(&body, "Identity", "go", "on");
    mb_output(&body, "on");
    mb_output(&body, "z");
    sub_attr(mb_node(&b, "Loop", "two - x", "y"), "body", &body);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_nested(void **state) {
    (void)state;
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, 10});
    sub_run r;
    both(&r, nested, &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){2}), 4, 160); /* x * (-2k)^2 */
    assert_int_equal(count_ops(r.session->model->graph, "", "Add"), 0);
    sub_end(&r);
    tern_tensor_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_branches),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_declared_shapes_are_not_believed),
        cmocka_unit_test(test_nested),
    };
    return cmocka_run_group_tests_name("passes in subgraphs", tests, NULL, NULL);
}
