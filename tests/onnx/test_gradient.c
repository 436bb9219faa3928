/* Gradient in files: the tensors that it names are tied to it, in functions too, and written back by name. */
#include "build.h"

#include "tern/tern.h"

#define TRAINING "ai.onnx.preview.training"

static void put_names(tn_pb_writer *w, const char *attr, const char *a, const char *b) {
    size_t mark = b_attr(w, NODE_ATTRIBUTE, attr, B_STRINGS);
    if (a) tn_pb_put_string(w, ATTR_STRINGS, a);
    if (b) tn_pb_put_string(w, ATTR_STRINGS, b);
    tn_pb_end(w, mark);
}

static void put_gradient(tn_pb_writer *w, uint32_t field, const char *in, const char *out, const char *x, const char *z,
                         const char *y) {
    size_t n = b_node(w, field, TRAINING, "Gradient", "grad", in, out), a;
    put_names(w, "xs", x, NULL);
    if (z) put_names(w, "zs", z, NULL);
    a = b_attr(w, NODE_ATTRIBUTE, "y", B_STRING);
    tn_pb_put_string(w, ATTR_S, y);
    tn_pb_end(w, a);
    tn_pb_end(w, n);
}

/* Square(p): d(p t)/dp at p, with t = p * p taken as given, which is t. Called twice: names of the body stand for
 * different values each time. */
static void put_model(tn_pb_writer *w) {
    b_model(w, 9, 17);
    b_opset(w, MODEL_OPSET_IMPORT, TRAINING, 1);
    b_opset(w, MODEL_OPSET_IMPORT, "my", 1);
    size_t f = b_function(w, "my", "Square", "p", "g");
    size_t n = b_node(w, FUNCTION_NODE, "", "Mul", "m1", "p,p", "t");
    tn_pb_end(w, n);
    n = b_node(w, FUNCTION_NODE, "", "Mul", "m2", "p,t", "y");
    tn_pb_end(w, n);
    b_opset(w, FUNCTION_OPSET_IMPORT, TRAINING, 1);
    put_gradient(w, FUNCTION_NODE, "p,t", "g", "p", "t", "y");
    tn_pb_end(w, f);
    size_t g = b_graph(w, MODEL_GRAPH, "g");
    n = b_node(w, GRAPH_NODE, "my", "Square", "one", "x", "s");
    tn_pb_end(w, n);
    n = b_node(w, GRAPH_NODE, "my", "Square", "two", "s", "y");
    tn_pb_end(w, n);
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "2");
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "2");
    tn_pb_end(w, g);
}

/* x^4 of {2, 3}. */
static void expect_fourth_power(tern_model *m) {
    tern_session *s;
    tern_error err;
    tern_tensor *x, *y = NULL;
    if (tern_session_create(&s, m, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(tern_tensor_create(&x, TERN_FLOAT, 1, (int64_t[]){2}, NULL), TERN_OK);
    ((float *)x->data)[0] = 2, ((float *)x->data)[1] = 3;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_true(((float *)y->data)[0] == 16 && ((float *)y->data)[1] == 81);
    tern_tensor_free(x);
    tern_tensor_free(y);
    tern_session_free(s);
}

static void test_functions_and_export(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    put_model(&w);
    tern_model *m = b_load_ok(&w), *again;
    void *bytes;
    size_t size;
    tern_error err;
    expect_fourth_power(m);
    if (tn_onnx_write_memory(m, &bytes, &size, &err) != TERN_OK) fail_msg("%s", err.text);
    if (tern_model_load_memory(&again, bytes, size, NULL, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    expect_fourth_power(again);
    tern_model_free(again);
    tn_free(bytes);
    b_free(m);
}

static void fails(const char *in, const char *x, const char *z, const char *y, const char *part) {
    tn_pb_writer w = {0};
    b_model(&w, 9, 17);
    b_opset(&w, MODEL_OPSET_IMPORT, TRAINING, 1);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    b_simple(&w, "Exp", "x", "e");
    put_gradient(&w, GRAPH_NODE, in, "d", x, z, y);
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "2");
    b_info(&w, GRAPH_OUTPUT, "d", TERN_FLOAT, "2");
    tn_pb_end(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, part);
}

static void test_names_that_do_not_fit(void **state) {
    (void)state;
    fails("x", "x", "e", "e", "1 inputs for 2 tensors");
    fails("x", "nothing", NULL, "e", "'nothing'");
    fails("x", "x", NULL, "nothing", "'nothing'");
    fails("x", "x", NULL, "", "is empty");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions_and_export),
        cmocka_unit_test(test_names_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
