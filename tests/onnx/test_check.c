/* The rules of the standard for files: each is broken once. */
#include "build.h"

typedef struct heard {
    char text[8000];
    size_t count;
} heard;

static void hear(void *context, const char *text) {
    heard *h = context;
    size_t at = strlen(h->text);
    snprintf(h->text + at, sizeof h->text - at, "%s\n", text);
    h->count++;
}

static size_t check(tn_pb_writer *w, heard *h) {
    size_t count = 0;
    tern_error err;
    *h = (heard){.count = 0};
    assert_false(w->failed);
    assert_int_equal(tn_onnx_check(w->data, w->len, hear, h, &count, &err), TERN_OK);
    assert_int_equal(count, h->count);
    tn_pb_release(w);
    return count;
}

static void expect_one(tn_pb_writer *w, const char *part) {
    heard h;
    size_t count = check(w, &h);
    if (count != 1 || !strstr(h.text, part)) fail_msg("wanted '%s', have %zu:\n%s", part, count, h.text);
}

/* A model whose graph is: x -> (nodes written by `middle`) -> y. */
static void around(tn_pb_writer *w, int ir, int opset, void (*middle)(tn_pb_writer *w)) {
    b_model(w, ir, opset);
    size_t g = b_graph(w, MODEL_GRAPH, "g");
    middle(w);
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "2");
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "2");
    tn_pb_end(w, g);
}

static void good(tn_pb_writer *w) { b_simple(w, "Relu", "x", "y"); }
static void wrong_order(tn_pb_writer *w) {
    b_simple(w, "Relu", "t", "y");
    b_simple(w, "Abs", "x", "t");
}
static void given_twice(tn_pb_writer *w) {
    good(w);
    b_simple(w, "Abs", "x", "y");
}
static void over_input(tn_pb_writer *w) {
    good(w);
    b_simple(w, "Abs", "x", "x");
}
static void no_operator(tn_pb_writer *w) { b_simple(w, "", "x", "y"); }
static void nothing_at_all(tn_pb_writer *w) {
    good(w);
    b_simple(w, "Relu", "", "");
}
static void other_domain(tn_pb_writer *w) { tn_pb_end(w, b_node(w, GRAPH_NODE, "my.ops", "Relu", "", "x", "y")); }
static void no_output(tn_pb_writer *w) { b_simple(w, "Relu", "x", "z"); }
static void attribute_twice(tn_pb_writer *w) {
    size_t n = b_node(w, GRAPH_NODE, "", "Elu", "odd", "x", "y");
    b_attr_i(w, "k", 1);
    b_attr_i(w, "k", 1);
    tn_pb_end(w, n);
}
static void attribute_of_other_type(tn_pb_writer *w) {
    size_t n = b_node(w, GRAPH_NODE, "", "Elu", "odd", "x", "y"), a = b_attr(w, NODE_ATTRIBUTE, "k", B_FLOAT);
    tn_pb_put_varint(w, ATTR_I, 3);
    tn_pb_end(w, a);
    tn_pb_end(w, n);
}
static void attribute_reference(tn_pb_writer *w) {
    size_t n = b_node(w, GRAPH_NODE, "", "Elu", "odd", "x", "y");
    b_attr_ref(w, "k", B_INT, "outer");
    tn_pb_end(w, n);
}
static void two_initializers(tn_pb_writer *w) {
    good(w);
    for (int i = 0; i < 2; i++) b_raw(w, GRAPH_INITIALIZER, "c", TERN_FLOAT, "1", "\0\0\0\0", 4);
}
static void initializer(tn_pb_writer *w) {
    good(w);
    b_raw(w, GRAPH_INITIALIZER, "c", TERN_FLOAT, "1", "\0\0\0\0", 4);
}
static void shadow(tn_pb_writer *w) { /* a subgraph that gives a name of the graph around it */
    size_t n = b_node(w, GRAPH_NODE, "", "If", "if", "x", "y"), a = b_attr(w, NODE_ATTRIBUTE, "then_branch", B_GRAPH);
    size_t g = b_graph(w, ATTR_G, "then");
    b_simple(w, "Abs", "x", "x");
    b_info(w, GRAPH_OUTPUT, "x", TERN_FLOAT, "2");
    tn_pb_end(w, g);
    tn_pb_end(w, a);
    tn_pb_end(w, n);
}

static void each_rule(void **state) {
    (void)state;
    static const struct {
        void (*middle)(tn_pb_writer *w);
        int ir, opset;
        const char *part;
    } cases[] = {
        {wrong_order, 8, 13, "node 0 (Relu): reads 't', which nothing before it gives"},
        {given_twice, 8, 13, "'y' is given more than once"},
        {over_input, 8, 13, "'x' is given more than once"},
        {no_operator, 8, 13, "has no operator"},
        {nothing_at_all, 8, 13, "neither inputs nor outputs"},
        {other_domain, 8, 13, "imports no opset of the domain 'my.ops'"},
        {no_output, 8, 13, "nothing gives output 'y'"},
        {attribute_twice, 8, 13, "node 0 (Elu) 'odd': attribute 'k' is there twice"},
        {attribute_of_other_type, 8, 13, "does not hold exactly what its type says"},
        {attribute_reference, 8, 13, "refers to one of a function"},
        {two_initializers, 8, 13, "two initializers 'c'"},
        {initializer, 3, 13, "not among the inputs"},
        {shadow, 8, 13, "'x' is given more than once"},
        {good, 99, 13, "IR version 99 is newer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_pb_writer w = {0};
        around(&w, cases[i].ir, cases[i].opset, cases[i].middle);
        expect_one(&w, cases[i].part);
    }
}

static void what_is_right_is_quiet(void **state) {
    (void)state;
    heard h;
    tn_pb_writer w = {0};
    around(&w, 8, 13, good);
    assert_int_equal(check(&w, &h), 0);
    around(&w, 8, 13, initializer);
    assert_int_equal(check(&w, &h), 0);
    b_small_model(&w);
    assert_int_equal(check(&w, &h), 0);
}

static void heads(void **state) {
    (void)state;
    heard h;
    tn_pb_writer w = {0};
    tn_pb_put_varint(&w, MODEL_IR_VERSION, 8);
    assert_int_equal(check(&w, &h), 2);
    assert_non_null(strstr(h.text, "imports no opset"));
    assert_non_null(strstr(h.text, "has no graph"));
    around(&w, 8, 13, good);
    b_opset(&w, MODEL_OPSET_IMPORT, "ai.onnx", 14);
    expect_one(&w, "imported twice");
    b_model(&w, 8, 13);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    good(&w);
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, NULL);
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "2");
    tn_pb_end(&w, g);
    expect_one(&w, "input 'x' has no shape");
}

static void damage_is_an_error(void **state) {
    (void)state;
    heard h = {.count = 0};
    size_t count;
    tern_error err;
    assert_int_not_equal(tn_onnx_check("\x08", 1, hear, &h, &count, &err), TERN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule),
        cmocka_unit_test(what_is_right_is_quiet),
        cmocka_unit_test(heads),
        cmocka_unit_test(damage_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
