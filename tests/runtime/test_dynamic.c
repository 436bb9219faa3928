/* What exporters have to work around for other engines, run as it is: shapes that are known when the model runs only,
 * strided slices and assignment to them, Resize to sizes of the moment, control flow in control flow. */
#include "subgraph_builder.h"

static tern_tensor *ints(int64_t n, const int64_t *values) {
    tern_tensor *t = sub_tensor(TERN_INT64, 1, &n);
    memcpy(t->data, values, (size_t)n * sizeof *values);
    return t;
}

#define INTS(...) ints(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

/* Opens a session on m, runs it and releases the feeds' tensors. */
static void run(sub_run *r, tern_model *m, tern_feed *feeds, size_t n) {
    sub_must(r, m, feeds, n);
    for (size_t i = 0; i < n; i++) tern_tensor_free((tern_tensor *)(uintptr_t)feeds[i].tensor);
}

/* ---- Slice ------------------------------------------------------------------------------------------------------ */

static void test_slices_from_the_back(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(-1, -1));
    const char *const names[] = {"starts", "ends", "axes", "steps"};
    for (int i = 0; i < 4; i++) mb_input(&b, names[i], TERN_INT64, 1, DIMS(-1));
    mb_node(&b, "Slice", "x starts ends axes steps", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    sub_run r;
    float v[12];
    for (int i = 0; i < 12; i++) v[i] = (float)i;
    /* x[::-2, -1:0:-2] of (3, 4), axes given from the back. */
    tern_feed feeds[] = {{"x", sub_floats(2, DIMS(3, 4), v)},
                         {"starts", INTS(-1, INT64_MAX)},
                         {"ends", INTS(0, INT64_MIN)},
                         {"axes", INTS(-1, -2)},
                         {"steps", INTS(-2, -2)}};
    run(&r, m, feeds, 5);
    EXPECT(r.out[0], ((int64_t[]){2, 2}), 11, 9, 3, 1);
    sub_end(&r);
}

/* ---- assignment to slices --------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    double y[4]; /* of {1, 2, 3, 4}, where 10 and 0.5 go to element 1 and -4 to element 3 */
} reductions[] = {{"none", {1, 0.5, 3, -4}},
                  {"add", {1, 12.5, 3, 0}},
                  {"mul", {1, 10, 3, -16}},
                  {"max", {1, 10, 3, 4}},
                  {"min", {1, 0.5, 3, -4}}};

static void test_scatter_reductions(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(reductions); i++)
        for (int nd = 0; nd < 2; nd++) {
            mb b;
            mb_begin(&b, 18);
            mb_input(&b, "x", TERN_FLOAT, 1, DIMS(-1));
            mb_input(&b, "at", TERN_INT64, 1, DIMS(-1));
            mb_input(&b, "u", TERN_FLOAT, 1, DIMS(-1));
            mb_int64s(&b, "last", 1, (int64_t[]){1});
            mb_node(&b, "Unsqueeze", "at last", "at2");
            tn_node *n = mb_node(&b, nd ? "ScatterND" : "ScatterElements", nd ? "x at2 u" : "x at u", "y");
            mb_attr(n, "reduction", TN_ATTR_STRING)->s = tn_str_c(reductions[i].name);
            mb_output(&b, "y");
            if (!nd) mb_output(&b, "at2");
            sub_run r;
            tern_feed feeds[] = {{"x", sub_floats(1, DIMS(4), (float[]){1, 2, 3, 4})},
                                 {"at", INTS(1, -3, 3)},
                                 {"u", sub_floats(1, DIMS(3), (float[]){10, 0.5f, -4})}};
            run(&r, mb_end(&b), feeds, 3);
            sub_expect(r.out[0], 1, DIMS(4), reductions[i].y);
            sub_end(&r);
        }
}

/* x[1:3, ::2] = 0 as exporters write it: indices made from Range at run time, then ScatterND. */
static void test_assignment_to_a_slice(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 18);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(-1, -1));
    mb_node(&b, "Shape", "x", "s");
    sub_int(&b, "zero", 0), sub_int(&b, "one", 1), sub_int(&b, "two", 2), sub_int(&b, "three", 3);
    mb_int64s(&b, "minus", 1, (int64_t[]){-1}), mb_int64s(&b, "first", 1, (int64_t[]){0});
    mb_node(&b, "Gather", "s one", "columns");
    mb_node(&b, "Range", "one three one", "rows");
    mb_node(&b, "Range", "zero columns two", "even");
    mb_node(&b, "Unsqueeze", "rows minus", "r1"); /* (rows, 1) */
    mb_node(&b, "Unsqueeze", "even first", "c1"); /* (1, columns) */
    mb_node(&b, "Add", "r1 c1", "sum");           /* for its shape */
    mb_node(&b, "Shape", "sum", "grid");
    mb_node(&b, "Expand", "r1 grid", "r2");
    mb_node(&b, "Expand", "c1 grid", "c2");
    mb_node(&b, "Unsqueeze", "r2 minus", "r3");
    mb_node(&b, "Unsqueeze", "c2 minus", "c3");
    mb_int(mb_node(&b, "Concat", "r3 c3", "at"), "axis", -1);
    mb_node(&b, "ConstantOfShape", "grid", "u");
    mb_node(&b, "ScatterND", "x at u", "y");
    mb_output(&b, "y");
    sub_run r;
    tern_feed feeds[] = {{"x", sub_floats(2, DIMS(3, 3), (float[]){1, 2, 3, 4, 5, 6, 7, 8, 9})}};
    run(&r, mb_end(&b), feeds, 1);
    EXPECT(r.out[0], ((int64_t[]){3, 3}), 1, 2, 3, 0, 5, 0, 0, 8, 0);
    sub_end(&r);
}

/* ---- Resize ----------------------------------------------------------------------------------------------------- */

static tern_model *resize(const char *mode, const char *place, const char *rounding, bool fixed) {
    mb b;
    mb_begin(&b, 19);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(1, -1, -1, -1));
    if (fixed)
        mb_int64s(&b, "sizes", 4, (int64_t[]){1, 2, 7, 3});
    else
        mb_input(&b, "sizes", TERN_INT64, 1, DIMS(4));
    tn_node *n = mb_node(&b, "Resize", "x - - sizes", "y");
    mb_attr(n, "mode", TN_ATTR_STRING)->s = tn_str_c(mode);
    mb_attr(n, "coordinate_transformation_mode", TN_ATTR_STRING)->s = tn_str_c(place);
    mb_attr(n, "nearest_mode", TN_ATTR_STRING)->s = tn_str_c(rounding);
    mb_output(&b, "y");
    return mb_end(&b);
}

/* Sizes that are fed give the bits of sizes that are constant, which tests/ops/test_resize.c compares by definition. */
static void test_resize_to_fed_sizes(void **state) {
    (void)state;
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const places[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                                         "asymmetric"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    for (size_t i = 0; i < TN_COUNT(modes); i++)
        for (size_t k = 0; k < TN_COUNT(places); k++)
            for (size_t q = 0; q < (i ? 1 : TN_COUNT(roundings)); q++) {
                sub_run a, b;
                tern_tensor *x = mb_random_tensor(3, 4, DIMS(1, 2, 4, 5)), *sizes = INTS(1, 2, 7, 3);
                sub_must(&a, resize(modes[i], places[k], roundings[q], true), &(tern_feed){"x", x}, 1);
                sub_must(&b, resize(modes[i], places[k], roundings[q], false),
                         (tern_feed[]){{"x", x}, {"sizes", sizes}}, 2);
                assert_int_equal(b.out[0]->shape.dims[2], 7);
                assert_true(tn_tensor_equal(a.out[0], b.out[0]));
                tern_tensor_free(x);
                tern_tensor_free(sizes);
                sub_end(&a);
                sub_end(&b);
            }
}

/* ---- free dims -------------------------------------------------------------------------------------------------- */

/* (n, c, h, w) -> (n, h * w, c) by a shape that is computed, one session for all sizes. */
static void test_shapes_that_are_computed(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(-1, -1, -1, -1));
    sub_int(&b, "i0", 0), sub_int(&b, "i1", 1);
    mb_int64s(&b, "flat", 1, (int64_t[]){-1}), mb_int64s(&b, "first", 1, (int64_t[]){0});
    mb_node(&b, "Shape", "x", "s");
    mb_node(&b, "Gather", "s i0", "n"), mb_node(&b, "Gather", "s i1", "c");
    mb_node(&b, "Unsqueeze", "n first", "n1"), mb_node(&b, "Unsqueeze", "c first", "c1");
    mb_int(mb_node(&b, "Concat", "n1 c1 flat", "to"), "axis", 0);
    mb_node(&b, "Reshape", "x to", "r");
    mb_ints(mb_node(&b, "Transpose", "r", "y"), "perm", 3, (int64_t[]){0, 2, 1});
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    for (int64_t k = 0; k < 12; k++) {
        int64_t d[4] = {1 + k % 3, 1 + k % 2, 2 + k, 3};
        tern_tensor *x = mb_random_tensor(1, 4, d), *y = NULL;
        if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_true(y->shape.rank == 3 && y->shape.dims[0] == d[0] && y->shape.dims[1] == d[2] * d[3] &&
                    y->shape.dims[2] == d[1]);
        for (int64_t i = 0; i < tern_tensor_count(y); i++) {
            int64_t c = i % d[1], p = i / d[1] % (d[2] * d[3]), n = i / d[1] / (d[2] * d[3]);
            assert_true(((float *)y->data)[i] == ((float *)x->data)[(n * d[1] + c) * d[2] * d[3] + p]);
        }
        tern_tensor_free(x);
        tern_tensor_free(y);
    }
    tern_session_free(s);
    tern_model_free(m);
}

/* ---- control flow in control flow ------------------------------------------------------------------------------- */

/* A Scan over rows, in it a Loop that appends the row's capture until an If in it says stop: state of changing shape,
 * names from three levels out. Row i gives i + 1 copies of `w` times the row's value, which are summed. */
static tern_model *scan_loop_if(void) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "rows", TERN_FLOAT, 1, DIMS(-1));
    mb_input(&b, "w", TERN_FLOAT, 1, DIMS(2));
    sub_bool(&b, "yes", true);
    sub_int(&b, "one", 1), sub_int(&b, "many", 100);
    mb_int64s(&b, "axis0", 1, (int64_t[]){0});
    mb_constant(&b, "none", TERN_FLOAT, 1, DIMS(0));
    sub_int(&b, "start", 0);
    mb scan = sub_begin(&b, "scan");
    const char *const captured[] = {"w", "yes", "one", "many", "axis0", "none"};
    for (int i = 0; i < 6; i++) sub_capture(&scan, &b, captured[i]);
    mb_input(&scan, "row_index", TERN_INT64, 0, NULL);
    mb_input(&scan, "row", TERN_FLOAT, 0, NULL);
    mb loop = sub_begin(&scan, "loop");
    for (int i = 0; i < 3; i++) sub_capture(&loop, &scan, captured[i == 1 ? 2 : i == 2 ? 0 : 1]);
    sub_capture(&loop, &scan, "row"), sub_capture(&loop, &scan, "row_index");
    mb_input(&loop, "i", TERN_INT64, 0, NULL), mb_input(&loop, "go", TERN_BOOL, 0, NULL);
    mb_input(&loop, "list", TERN_FLOAT, 1, DIMS(-1));
    mb_node(&loop, "Mul", "w row", "piece");
    mb_int(mb_node(&loop, "Concat", "list piece", "longer"), "axis", 0);
    mb_node(&loop, "Less", "i row_index", "before");
    mb then_b = sub_begin(&loop, "then"), else_b = sub_begin(&loop, "else");
    sub_capture(&then_b, &loop, "yes");
    mb_node(&then_b, "Identity", "yes", "t");
    mb_output(&then_b, "t");
    sub_capture(&else_b, &loop, "yes");
    mb_node(&else_b, "Not", "yes", "e");
    mb_output(&else_b, "e");
    tn_node *branch = mb_node(&loop, "If", "before", "on");
    sub_attr(branch, "then_branch", &then_b);
    sub_attr(branch, "else_branch", &else_b);
    mb_output(&loop, "on"), mb_output(&loop, "longer");
    sub_attr(mb_node(&scan, "Loop", "many yes none", "list_out"), "body", &loop);
    mb_int(mb_node(&scan, "ReduceSum", "list_out axis0", "total"), "keepdims", 0);
    mb_node(&scan, "Add", "row_index one", "next");
    mb_output(&scan, "next"), mb_output(&scan, "total");
    tn_node *n = mb_node(&b, "Scan", "start rows", "end totals");
    mb_int(n, "num_scan_inputs", 1);
    sub_attr(n, "body", &scan);
    mb_output(&b, "end"), mb_output(&b, "totals");
    return mb_end(&b);
}

static void test_if_in_loop_in_scan(void **state) {
    (void)state;
    sub_run r;
    tern_feed feeds[] = {{"rows", sub_floats(1, DIMS(3), (float[]){1, 10, 100})},
                         {"w", sub_floats(1, DIMS(2), (float[]){1, 2})}};
    run(&r, scan_loop_if(), feeds, 2);
    EXPECT_SCALAR(r.out[0], 3);
    EXPECT(r.out[1], ((int64_t[]){3}), 3, 60, 900);
    sub_end(&r);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* Sizes of the file or of an input that ask for more memory than there is are an error that names the node. */
static void test_huge_results_are_refused(void **state) {
    (void)state;
    static const char *const ops[] = {"Expand", "ConstantOfShape", "Tile", "Pad"};
    for (size_t i = 0; i < TN_COUNT(ops); i++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 2, DIMS(1, 1));
        mb_input(&b, "s", TERN_INT64, 1, DIMS(-1));
        mb_node(&b, ops[i], i == 1 ? "s" : "x s", "y")->name = "huge";
        mb_output(&b, "y");
        if (i == 1) mb_node(&b, "Identity", "x", "x2"), mb_output(&b, "x2");
        tern_tensor *x = sub_floats(2, DIMS(1, 1), (float[]){1});
        tern_tensor *s = i == 3 ? INTS(0, 0, 1000000, 1000000) : INTS(1000000, 1000000);
        sub_fails(mb_end(&b), (tern_feed[]){{"x", x}, {"s", s}}, 2, TERN_LIMIT_EXCEEDED, "node 'huge'");
        tern_tensor_free(x);
        tern_tensor_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_from_the_back),     cmocka_unit_test(test_scatter_reductions),
        cmocka_unit_test(test_assignment_to_a_slice),    cmocka_unit_test(test_resize_to_fed_sizes),
        cmocka_unit_test(test_shapes_that_are_computed), cmocka_unit_test(test_if_in_loop_in_scan),
        cmocka_unit_test(test_huge_results_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
