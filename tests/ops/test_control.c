/* If, Loop, Scan, SequenceMap: every version's form, and bodies that do not fit. */
#include "subgraph_builder.h"

/* Loop(m, c, x): s = 2 s; goes on while s < limit; scan outputs s and i. */
static tern_model *doubling(int opset, const char *inputs, float limit) {
    mb b;
    mb_begin(&b, opset);
    mb_input(&b, "m", TERN_INT64, 0, NULL);
    mb_input(&b, "c", TERN_BOOL, 0, NULL);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(1));
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 1, DIMS(1));
    mb_scalar(&body, "two", 2);
    mb_floats(&body, "limit", 0, NULL, &limit);
    mb_node(&body, "Mul", "s two", "t");
    mb_node(&body, "Less", "t limit", "vector");
    mb_node(&body, "Reshape", "vector scalar", "on");
    mb_constant(&body, "scalar", TERN_INT64, 1, DIMS(0));
    mb_node(&body, "Identity", "i", "j");
    mb_output(&body, "on");
    mb_output(&body, "t");
    mb_output(&body, "t");
    mb_output(&body, "j");
    mb_value(&body, "t")->type =
        (tn_type){.kind = TERN_KIND_TENSOR, .dtype = TERN_FLOAT, .ranked = true, .shape = {1, {1}}};
    mb_value(&body, "j")->type = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = TERN_INT64, .ranked = true};
    sub_attr(mb_node(&b, "Loop", inputs, "y all n"), "body", &body);
    mb_output(&b, "y");
    mb_output(&b, "all");
    mb_output(&b, "n");
    return mb_end(&b);
}

static void run_doubling(sub_run *r, int opset, const char *inputs, int64_t trips, bool cond, float limit) {
    tern_tensor *m = sub_count(trips), *c = sub_flag(cond), *x = sub_floats(1, DIMS(1), (float[]){1});
    sub_must(r, doubling(opset, inputs, limit), (tern_feed[]){{"m", m}, {"c", c}, {"x", x}}, 3);
    tern_tensor_free(m);
    tern_tensor_free(c);
    tern_tensor_free(x);
}

static void test_loop_ends(void **state) {
    (void)state;
    sub_run r;
    run_doubling(&r, 13, "m c x", 3, true, 1e9f); /* by the trip count */
    EXPECT(r.out[0], ((int64_t[]){1}), 8);
    EXPECT(r.out[1], ((int64_t[]){3, 1}), 2, 4, 8);
    EXPECT(r.out[2], ((int64_t[]){3}), 0, 1, 2);
    sub_end(&r);
    run_doubling(&r, 16, "m c x", (int64_t)1 << 62, true, 16); /* by the condition: nothing is allocated up front */
    EXPECT(r.out[0], ((int64_t[]){1}), 16);
    EXPECT(r.out[2], ((int64_t[]){4}), 0, 1, 2, 3);
    sub_end(&r);
    run_doubling(&r, 21, "- c x", 0, true, 5); /* while */
    EXPECT(r.out[0], ((int64_t[]){1}), 8);
    sub_end(&r);
    run_doubling(&r, 13, "m - x", 4, true, 3); /* for: the body's condition is not looked at */
    EXPECT(r.out[0], ((int64_t[]){1}), 16);
    sub_end(&r);
}

static void test_loop_without_iterations(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        sub_run r;
        run_doubling(&r, 13, "m c x", how == 0 ? 0 : how == 1 ? -5 : 7, how != 2, 100);
        EXPECT(r.out[0], ((int64_t[]){1}), 1);
        EXPECT(r.out[1], ((int64_t[]){0, 1}), 0);
        EXPECT(r.out[2], ((int64_t[]){0}), 0);
        sub_end(&r);
    }
}

static void test_loop_body_that_does_not_fit(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(2));
    sub_int(&b, "m", 2);
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_output(&body, "go");
    sub_attr(mb_node(&b, "Loop", "m - x", "y"), "body", &body);
    mb_output(&b, "y");
    tern_tensor *x = sub_tensor(TERN_FLOAT, 1, DIMS(2));
    sub_fails(mb_end(&b), &(tern_feed){"x", x}, 1, TERN_INVALID_MODEL, "'body' has 2 inputs and 1 outputs");
    tern_tensor_free(x);
}

/* The state is a float, the body gives the iteration. */
static void test_state_that_changes_its_type(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 0, NULL);
    mb_input(&b, "m", TERN_INT64, 0, NULL);
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    mb_input(&body, "s", TERN_FLOAT, 0, NULL);
    mb_node(&body, "Identity", "i", "t");
    mb_output(&body, "go");
    mb_output(&body, "t");
    sub_attr(mb_node(&b, "Loop", "m - x", "y"), "body", &body);
    mb_output(&b, "y");
    tern_tensor *x = sub_tensor(TERN_FLOAT, 0, NULL), *m = sub_count(2);
    sub_fails(mb_end(&b), (tern_feed[]){{"x", x}, {"m", m}}, 2, TERN_TYPE_MISMATCH,
              "iteration 0: state 0 was float32 and became int64");
    tern_tensor_free(x);
    tern_tensor_free(m);
}

/* A scan output of i elements in iteration i. */
static void test_scan_output_that_changes_its_shape(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "m", TERN_INT64, 0, NULL);
    mb body = sub_begin(&b, "body");
    mb_input(&body, "i", TERN_INT64, 0, NULL);
    mb_input(&body, "go", TERN_BOOL, 0, NULL);
    sub_int(&body, "zero", 0);
    sub_int(&body, "one", 1);
    mb_node(&body, "Range", "zero i one", "r");
    mb_output(&body, "go");
    mb_output(&body, "r");
    sub_attr(mb_node(&b, "Loop", "m -", "y"), "body", &body);
    mb_output(&b, "y");
    tern_tensor *m = sub_count(3);
    sub_fails(mb_end(&b), &(tern_feed){"m", m}, 1, TERN_SHAPE_MISMATCH, "a scan output is int64[1] after int64[0]");
    tern_tensor_free(m);
}

static void test_if(void **state) {
    (void)state;
    for (int cond = 0; cond < 2; cond++) {
        mb b;
        mb_begin(&b, cond ? 1 : 11);
        mb_input(&b, "c", TERN_BOOL, 1, DIMS(1));
        mb yes = sub_begin(&b, "yes"), no = sub_begin(&b, "no");
        mb_floats(&yes, "a", 1, DIMS(2), (float[]){1, 2});
        mb_output(&yes, "a");
        mb_floats(&no, "d", 2, DIMS(1, 3), (float[]){3, 4, 5});
        mb_output(&no, "d");
        tn_node *n = mb_node(&b, "If", "c", "y");
        sub_attr(n, "then_branch", &yes);
        sub_attr(n, "else_branch", &no);
        mb_output(&b, "y");
        tern_tensor *c = sub_tensor(TERN_BOOL, 1, DIMS(1));
        *(uint8_t *)c->data = (uint8_t)cond;
        sub_run r;
        sub_must(&r, mb_end(&b), &(tern_feed){"c", c}, 1);
        if (cond)
            EXPECT(r.out[0], ((int64_t[]){2}), 1, 2);
        else
            EXPECT(r.out[0], ((int64_t[]){1, 3}), 3, 4, 5);
        sub_end(&r);
        tern_tensor_free(c);
    }
}

static void test_if_refuses(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "c", TERN_BOOL, 1, DIMS(2));
    mb yes = sub_begin(&b, "yes");
    mb_floats(&yes, "a", 0, NULL, (float[]){1});
    mb_output(&yes, "a");
    tn_node *n = mb_node(&b, "If", "c", "y");
    sub_attr(n, "then_branch", &yes);
    mb_output(&b, "y");
    tern_tensor *c = sub_tensor(TERN_BOOL, 1, DIMS(2));
    sub_fails(mb_end(&b), &(tern_feed){"c", c}, 1, TERN_INVALID_MODEL, "'else_branch' is missing");
    mb_begin(&b, 13);
    mb_input(&b, "c", TERN_BOOL, 1, DIMS(2));
    yes = sub_begin(&b, "yes");
    mb_floats(&yes, "a", 0, NULL, (float[]){1});
    mb_output(&yes, "a");
    mb no = sub_begin(&b, "no");
    mb_floats(&no, "a", 0, NULL, (float[]){1});
    mb_output(&no, "a");
    n = mb_node(&b, "If", "c", "y");
    sub_attr(n, "then_branch", &yes);
    sub_attr(n, "else_branch", &no);
    mb_output(&b, "y");
    sub_fails(mb_end(&b), &(tern_feed){"c", c}, 1, TERN_SHAPE_MISMATCH, "must be a single element");
    tern_tensor_free(c);
}

/* Running sums of the columns of x (2, 3), from the right, written backwards along the last axis. */
static void test_scan_axes_and_directions(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 11);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(2, 3));
    mb_floats(&b, "zero", 1, DIMS(2), (float[]){0, 0});
    mb body = sub_begin(&b, "body");
    mb_input(&body, "s", TERN_FLOAT, 1, DIMS(2));
    mb_input(&body, "column", TERN_FLOAT, 1, DIMS(2));
    mb_node(&body, "Add", "s column", "t");
    mb_output(&body, "t");
    mb_output(&body, "t");
    tn_node *n = mb_node(&b, "Scan", "zero x", "last all");
    sub_attr(n, "body", &body);
    mb_int(n, "num_scan_inputs", 1);
    mb_ints(n, "scan_input_axes", 1, DIMS(-1));
    mb_ints(n, "scan_input_directions", 1, DIMS(1));
    mb_ints(n, "scan_output_axes", 1, DIMS(1));
    mb_ints(n, "scan_output_directions", 1, DIMS(1));
    mb_output(&b, "last");
    mb_output(&b, "all");
    tern_tensor *x = sub_floats(2, DIMS(2, 3), (float[]){1, 2, 3, 10, 20, 30});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){2}), 6, 60);
    EXPECT(r.out[1], ((int64_t[]){2, 3}), 6, 5, 3, 60, 50, 30);
    sub_end(&r);
    tern_tensor_free(x);
}

/* Opset 8: a batch of two sequences, one of them shorter. */
static void test_scan8(void **state) {
    (void)state;
    for (int lengths = 0; lengths < 2; lengths++) {
        mb b;
        mb_begin(&b, 8);
        mb_input(&b, "x", TERN_FLOAT, 2, DIMS(2, 3));
        mb_floats(&b, "s0", 1, DIMS(2), (float[]){0, 100});
        mb_int64s(&b, "len", 2, DIMS(2, 3));
        mb body = sub_begin(&b, "body");
        mb_input(&body, "s", TERN_FLOAT, 0, NULL);
        mb_input(&body, "v", TERN_FLOAT, 0, NULL);
        mb_node(&body, "Add", "s v", "t");
        mb_output(&body, "t");
        mb_output(&body, "t");
        tn_node *n = mb_node(&b, "Scan", lengths ? "len s0 x" : "- s0 x", "last all");
        sub_attr(n, "body", &body);
        mb_int(n, "num_scan_inputs", 1);
        mb_output(&b, "last");
        mb_output(&b, "all");
        tern_tensor *x = sub_floats(2, DIMS(2, 3), (float[]){1, 2, 3, 10, 20, 30});
        sub_run r;
        sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
        EXPECT(r.out[0], ((int64_t[]){2}), lengths ? 3 : 6, 160);
        EXPECT(r.out[1], ((int64_t[]){2, 3}), 1, 3, lengths ? 0 : 6, 110, 130, 160);
        sub_end(&r);
        tern_tensor_free(x);
    }
}

static void scan_refuses(const char *attr, int64_t value, const char *word) {
    mb b;
    mb_begin(&b, 11);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(2, 3));
    mb body = sub_begin(&b, "body");
    mb_input(&body, "v", TERN_FLOAT, 1, DIMS(3));
    mb_node(&body, "Neg", "v", "t");
    mb_output(&body, "t");
    tn_node *n = mb_node(&b, "Scan", "x", "y");
    sub_attr(n, "body", &body);
    if (strcmp(attr, "num_scan_inputs") != 0) mb_int(n, "num_scan_inputs", 1);
    if (strcmp(attr, "num_scan_inputs") == 0)
        mb_int(n, attr, value);
    else
        mb_ints(n, attr, 1, &value);
    mb_output(&b, "y");
    tern_tensor *x = sub_tensor(TERN_FLOAT, 2, DIMS(2, 3));
    sub_fails(mb_end(&b), &(tern_feed){"x", x}, 1, TERN_INVALID_MODEL, word);
    tern_tensor_free(x);
}

static void test_scan_refuses(void **state) {
    (void)state;
    scan_refuses("num_scan_inputs", 0, "num_scan_inputs is 0");
    scan_refuses("num_scan_inputs", INT64_MAX, "num_scan_inputs is 9223372036854775807");
    scan_refuses("scan_input_axes", 2, "outside [-2, 2)");
    scan_refuses("scan_input_axes", INT64_MIN, "outside [-2, 2)");
    scan_refuses("scan_output_axes", 5, "outside [-2, 2)");
    scan_refuses("scan_input_directions", 7, "has the value 7");
}

/* A sequence and a tensor; the second sequence is one item short. */
static tern_model *map_model(int items) {
    mb b;
    mb_begin(&b, 17);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(-1));
    mb_node(&b, "SequenceConstruct", "x x x", "s");
    mb_node(&b, "SequenceConstruct", items == 3 ? "x x x" : "x x", "t");
    mb body = sub_begin(&b, "body");
    mb_input(&body, "a", TERN_FLOAT, 1, DIMS(-1));
    mb_input(&body, "d", TERN_FLOAT, 1, DIMS(-1));
    mb_input(&body, "e", TERN_FLOAT, 1, DIMS(-1));
    mb_node(&body, "Sum", "a d e", "f");
    mb_output(&body, "f");
    sub_attr(mb_node(&b, "SequenceMap", "s t x", "u"), "body", &body);
    mb_int(mb_node(&b, "ConcatFromSequence", "u", "y"), "axis", 0);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_sequence_map(void **state) {
    (void)state;
    tern_tensor *x = sub_floats(1, DIMS(2), (float[]){1, 2});
    sub_run r;
    sub_must(&r, map_model(3), &(tern_feed){"x", x}, 1);
    EXPECT(r.out[0], ((int64_t[]){6}), 3, 6, 3, 6, 3, 6);
    sub_end(&r);
    sub_fails(map_model(2), &(tern_feed){"x", x}, 1, TERN_SHAPE_MISMATCH, "input 1 has 2 items, input 0 has 3");
    tern_tensor_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_ends),
        cmocka_unit_test(test_loop_without_iterations),
        cmocka_unit_test(test_loop_body_that_does_not_fit),
        cmocka_unit_test(test_state_that_changes_its_type),
        cmocka_unit_test(test_scan_output_that_changes_its_shape),
        cmocka_unit_test(test_if),
        cmocka_unit_test(test_if_refuses),
        cmocka_unit_test(test_scan_axes_and_directions),
        cmocka_unit_test(test_scan8),
        cmocka_unit_test(test_scan_refuses),
        cmocka_unit_test(test_sequence_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
