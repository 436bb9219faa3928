/* Subgraphs in sessions: captured values through several levels, shapes that change, plans, limits. */
#include "subgraph_builder.h"

/* s goes round; the body appends x (captured) to it. Inputs: x (k), m. Outputs: s. */
static tern_model *growing_loop(void) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(-1));
    mb_input(&b, "m", TERN_INT64, 0, NULL);
    mb_floats(&b, "s0", 1, DIMS(1), (float[]){5});
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 1, DIMS(-1));
    sub_capture(&body, &b, "x");
    mb_int(mb_node(&body, "Concat", "s x", "t"), "axis", 0);
    mb_node(&body, "Neg", "t", "u");
    mb_node(&body, "Neg", "u", "v");
    mb_node(&body, "Identity", "go", "on");
    mb_output(&body, "on");
    mb_output(&body, "v");
    sub_attr(mb_node(&b, "Loop", "m - s0", "y"), "body", &body);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_growing_state(void **state) {
    (void)state;
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, 2}), *m = sub_count(300);
    sub_run r;
    sub_must(&r, growing_loop(), (tern_feed[]){{"x", x}, {"m", m}}, 2);
    assert_int_equal(r.out[0]->shape.dims[0], 601);
    assert_true(((float *)r.out[0]->data)[0] == 5 && ((float *)r.out[0]->data)[600] == 2);
    /* 300 shapes were met; the plans of the body stay few. */
    assert_true(r.session->n_plans <= 2 * (size_t)r.session->options.max_plans);
    sub_end(&r);
    tern_tensor_free(x);
    tern_tensor_free(m);
}

/* Two loops, one in the other; the inner body reads a value of the main graph and one of the outer body. */
static void test_nested_captures(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(2));
    sub_int(&b, "three", 3);
    mb_floats(&b, "zero", 1, DIMS(2), (float[]){0, 0});
    mb outer = sub_begin(&b, "outer");
    mb_input(&outer, "i", TERN_INT64, 0, NULL);
    mb_input(&outer, "go", TERN_BOOL, 0, NULL);
    mb_input(&outer, "s", TERN_FLOAT, 1, DIMS(2));
    sub_capture(&outer, &b, "x");
    sub_capture(&outer, &b, "three");
    mb_int(mb_node(&outer, "Cast", "i", "fi"), "to", TERN_FLOAT);
    mb inner = sub_begin(&outer, "inner");
    mb_input(&inner, "j", TERN_INT64, 0, NULL);
    mb_input(&inner, "go2", TERN_BOOL, 0, NULL);
    mb_input(&inner, "t", TERN_FLOAT, 1, DIMS(2));
    sub_capture(&inner, &outer, "x");
    sub_capture(&inner, &outer, "fi");
    mb_node(&inner, "Mul", "x fi", "p");
    mb_node(&inner, "Add", "t p", "t2");
    mb_node(&inner, "Identity", "go2", "on2");
    mb_output(&inner, "on2");
    mb_output(&inner, "t2");
    sub_attr(mb_node(&outer, "Loop", "three - s", "s2"), "body", &inner);
    mb_node(&outer, "Identity", "go", "on");
    mb_output(&outer, "on");
    mb_output(&outer, "s2");
    sub_attr(mb_node(&b, "Loop", "three - zero", "y"), "body", &outer);
    mb_output(&b, "y");
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, 10});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){2}), 9, 90); /* 3 times x * (0 + 1 + 2) */
    sub_end(&r);
    tern_tensor_free(x);
}

/* A loop without an end: the state is m floats. */
static tern_model *endless_loop(int64_t m) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(m));
    sub_int(&b, "trips", (int64_t)1 << 62);
    sub_bool(&b, "yes", true);
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 1, DIMS(m));
    mb_node(&body, "Neg", "s", "t");
    mb_node(&body, "Identity", "go", "on");
    mb_output(&body, "on");
    mb_output(&body, "t");
    sub_attr(mb_node(&b, "Loop", "trips yes x", "y"), "body", &body);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_limit_of_iterations(void **state) {
    (void)state;
    tern_tensor *x = sub_tensor(TERN_FLOAT, 1, DIMS(4));
    sub_run r;
    sub_options(&r);
    r.options.max_iterations = 1000;
    assert_int_equal(sub_try(&r, endless_loop(4), &(tern_feed){"x", x}, 1), TERN_LIMIT_EXCEEDED);
    assert_non_null(strstr(r.err.text, "1000 times"));
    assert_non_null(strstr(r.err.text, "max_iterations"));
    sub_end(&r);
    tern_tensor_free(x);
}

/* The limit is on what is alive, not on what all iterations together took. */
static void test_memory_limit_counts_what_lives(void **state) {
    (void)state;
    tern_tensor *x = sub_tensor(TERN_FLOAT, 1, DIMS(1000));
    sub_run r;
    sub_options(&r);
    r.options.max_iterations = 5000;
    r.options.memory_limit = 64 * 1024;
    assert_int_equal(sub_try(&r, endless_loop(1000), &(tern_feed){"x", x}, 1), TERN_LIMIT_EXCEEDED);
    assert_non_null(strstr(r.err.text, "max_iterations"));
    sub_end(&r);
    tern_tensor_free(x);
}

static void test_memory_limit_of_a_growing_state(void **state) {
    (void)state;
    tern_tensor *x = sub_tensor(TERN_FLOAT, 1, DIMS(1000)), *m = sub_count(100000);
    sub_run r;
    sub_options(&r);
    r.options.memory_limit = 1 << 20;
    assert_int_equal(sub_try(&r, growing_loop(), (tern_feed[]){{"x", x}, {"m", m}}, 2), TERN_LIMIT_EXCEEDED);
    assert_non_null(strstr(r.err.text, "1048576 bytes"));
    sub_end(&r);
    tern_tensor_free(x);
    tern_tensor_free(m);
}

/* The branch that is not taken may be wrong for the shape at hand: exporters write Squeeze like this. */
static void test_branch_that_does_not_fit(void **state) {
    (void)state;
    for (int one = 0; one < 2; one++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 2, DIMS(-1, 2));
        mb_int64s(&b, "zero", 1, DIMS(0));
        sub_int(&b, "at", 0);
        sub_int(&b, "first", 1);
        mb_node(&b, "Shape", "x", "shape");
        mb_node(&b, "Gather", "shape at", "n");
        mb_node(&b, "Equal", "n first", "cond");
        mb yes = sub_begin(&b, "yes"), no = sub_begin(&b, "no");
        sub_capture(&yes, &b, "x");
        sub_capture(&yes, &b, "zero");
        mb_node(&yes, "Squeeze", "x zero", "a");
        mb_output(&yes, "a");
        sub_capture(&no, &b, "x");
        mb_node(&no, "Identity", "x", "a");
        mb_output(&no, "a");
        tn_node *n = mb_node(&b, "If", "cond", "z");
        sub_attr(n, "then_branch", &yes);
        sub_attr(n, "else_branch", &no);
        mb_node(&b, "Neg", "z", "y");
        mb_output(&b, "y");
        tern_tensor *x = sub_floats(2, one ? DIMS(1, 2) : DIMS(2, 2), (float[]){1, 2, 3, 4});
        sub_run r;
        sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
        assert_int_equal(r.out[0]->shape.rank, one ? 1 : 2);
        assert_true(((float *)r.out[0]->data)[1] == -2);
        sub_end(&r);
        tern_tensor_free(x);
    }
}

/* One session, many inputs: results do not depend on what ran before. */
static void test_runs_in_turn(void **state) {
    (void)state;
    tern_model *model = growing_loop();
    sub_run r;
    sub_options(&r);
    assert_int_equal(tern_session_create(&r.session, model, &r.options, &r.err), TERN_OK);
    for (int64_t k = 0; k < 40; k++) {
        int64_t len = k % 5, trips = k % 7;
        tern_tensor *x = sub_tensor(TERN_FLOAT, 1, &len), *m = sub_count(trips), *y = NULL;
        for (int64_t i = 0; i < len; i++) ((float *)x->data)[i] = (float)(i + 1);
        tern_feed feeds[] = {{"x", x}, {"m", m}};
        if (tern_session_run(r.session, feeds, 2, NULL, &y, 1, &r.err) != TERN_OK) fail_msg("%s", r.err.text);
        assert_int_equal(y->shape.dims[0], 1 + len * trips);
        for (int64_t i = 0; i < len * trips; i++) assert_true(((float *)y->data)[1 + i] == (float)(i % len + 1));
        tern_tensor_free(x);
        tern_tensor_free(m);
        tern_tensor_free(y);
    }
    tern_session_free(r.session);
    tern_model_free(model);
}

/* Results of a body may be its inputs, constants, or one value twice. */
static void test_outputs_that_are_not_computed(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "c", TERN_BOOL, 0, NULL);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(2));
    mb yes = sub_begin(&b, "yes"), no = sub_begin(&b, "no");
    sub_capture(&yes, &b, "x");
    mb_node(&yes, "Neg", "x", "n");
    mb_output(&yes, "x");
    mb_output(&yes, "n");
    mb_output(&yes, "n");
    mb_floats(&no, "k", 1, DIMS(2), (float[]){7, 8});
    mb_output(&no, "k");
    mb_output(&no, "k");
    mb_output(&no, "k");
    tn_node *n = mb_node(&b, "If", "c", "p q r");
    sub_attr(n, "then_branch", &yes);
    sub_attr(n, "else_branch", &no);
    mb_output(&b, "p");
    mb_output(&b, "q");
    mb_output(&b, "r");
    tern_model *model = mb_end(&b);
    sub_run s;
    sub_options(&s);
    assert_int_equal(tern_session_create(&s.session, model, &s.options, &s.err), TERN_OK);
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, 2});
    for (int c = 0; c < 2; c++) {
        tern_tensor *cond = sub_flag(c), *y[3] = {0};
        tern_feed feeds[] = {{"c", cond}, {"x", x}};
        if (tern_session_run(s.session, feeds, 2, NULL, y, 3, &s.err) != TERN_OK) fail_msg("%s", s.err.text);
        assert_true(y[0]->data != x->data && y[1]->data != y[2]->data);
        for (int i = 0; i < 3; i++) {
            assert_true(((float *)y[i]->data)[1] == (c == 0 ? 8 : i == 0 ? 2 : -2));
            tern_tensor_free(y[i]);
        }
        tern_tensor_free(cond);
    }
    tern_tensor_free(x);
    tern_session_free(s.session);
    tern_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growing_state),
        cmocka_unit_test(test_nested_captures),
        cmocka_unit_test(test_limit_of_iterations),
        cmocka_unit_test(test_memory_limit_counts_what_lives),
        cmocka_unit_test(test_memory_limit_of_a_growing_state),
        cmocka_unit_test(test_branch_that_does_not_fit),
        cmocka_unit_test(test_runs_in_turn),
        cmocka_unit_test(test_outputs_that_are_not_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
