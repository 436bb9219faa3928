/* Model functions: what inlining makes of them. */
#include "build.h"

/* y = Twice(x), with Twice(a) = Add(a, a) through a local value; opset 17. */
static void put_call(tn_pb_writer *w, const char *op, const char *name, const char *in, const char *out) {
    tn_pb_end(w, b_node(w, GRAPH_NODE, "my", op, name, in, out));
}

static void in_function(tn_pb_writer *w, const char *op, const char *name, const char *in, const char *out) {
    tn_pb_end(w, b_node(w, FUNCTION_NODE, "", op, name, in, out));
}

static void put_twice(tn_pb_writer *w) {
    size_t f = b_function(w, "my", "Twice", "a", "b");
    in_function(w, "Identity", "copy", "a", "t");
    in_function(w, "Add", "add", "a,t", "b");
    tn_pb_end(w, f);
}

static void test_calls_are_inlined(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    put_twice(&w);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "Twice", "first", "x", "t"); // the graph's own t is not the function's
    put_call(&w, "Twice", "", "t", "y");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(m->graph->n_nodes, 4);
    const char *const ops[] = {"Identity", "Add", "Identity", "Add"};
    const char *const names[] = {"first/copy", "first/add", "Twice/copy", "Twice/add"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(m->graph->nodes[i]->op_type, ops[i]);
        assert_string_equal(m->graph->nodes[i]->name, names[i]);
        assert_int_equal(m->graph->nodes[i]->opset, 17);
    }
    assert_string_equal(m->graph->nodes[1]->out[0]->name, "t");
    assert_string_equal(m->graph->outputs[0]->name, "y");
    assert_ptr_equal(m->graph->nodes[2]->in[0], m->graph->nodes[1]->out[0]);
    b_free(m);
}

static void test_made_up_names_meet_no_names_of_the_file(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    put_twice(&w);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "Twice", "", "x", "a");
    // Whatever the function's values are called now, these are others.
    b_simple(&w, "Relu", "a", "t.1");
    b_simple(&w, "Exp", "t.1", "t.2");
    put_call(&w, "Twice", "", "t.2", "t.3");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "t.3", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(m->graph->n_nodes, 6);
    assert_string_equal(m->graph->outputs[0]->name, "t.3");
    tn_node *exp = b_find_op(m->graph, "Exp"), *relu = b_find_op(m->graph, "Relu");
    assert_ptr_equal(exp->in[0], relu->out[0]);
    assert_string_equal(relu->in[0]->name, "a");
    b_free(m);
}

static void test_functions_in_functions(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t f = b_function(&w, "my", "Four", "a", "b"); // before what it calls
    tn_pb_end(&w, b_node(&w, FUNCTION_NODE, "my", "Twice", "one", "a", "t"));
    tn_pb_end(&w, b_node(&w, FUNCTION_NODE, "my", "Twice", "two", "t", "b"));
    tn_pb_end(&w, f);
    put_twice(&w);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "Four", "four", "x", "y");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(m->graph->n_nodes, 4);
    assert_string_equal(m->graph->nodes[3]->name, "four/two/add");
    b_free(m);
}

/* A function with attributes "alpha" (default 0.25), "axis" (none), handed through one more function. */
static void put_attribute_functions(tn_pb_writer *w) {
    size_t f = b_function(w, "my", "Inner", "a", "b");
    tn_pb_put_string(w, 6, "axis");
    size_t a = b_attr(w, FUNCTION_ATTRIBUTE_PROTO, "alpha", B_FLOAT);
    tn_pb_put_float(w, ATTR_F, 0.25f);
    tn_pb_end(w, a);
    size_t n = b_node(w, FUNCTION_NODE, "", "Op", "op", "a", "b");
    b_attr_ref(w, "slope", B_FLOAT, "alpha");
    b_attr_ref(w, "dim", B_INT, "axis");
    tn_pb_end(w, n);
    tn_pb_end(w, f);
    f = b_function(w, "my", "Wrapper", "a", "b");
    n = b_node(w, FUNCTION_NODE, "my", "Inner", "inner", "a", "b");
    b_attr_ref(w, "axis", B_INT, "where");
    b_attr_ref(w, "alpha", B_FLOAT, "steep");
    tn_pb_end(w, n);
    tn_pb_end(w, f);
}

static void test_attributes_of_functions(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 9, 17);
    put_attribute_functions(&w);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "Inner", "", "x", "p");
    size_t n = b_node(&w, GRAPH_NODE, "my", "Inner", "", "p", "q");
    size_t a = b_attr(&w, NODE_ATTRIBUTE, "alpha", B_FLOAT);
    tn_pb_put_float(&w, ATTR_F, 0.75f);
    tn_pb_end(&w, a);
    tn_pb_end(&w, n);
    n = b_node(&w, GRAPH_NODE, "my", "Wrapper", "", "q", "y");
    b_attr_i(&w, "where", 5);
    tn_pb_end(&w, n);
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(m->graph->n_nodes, 3);
    tn_node *const *nodes = m->graph->nodes;
    assert_true(tn_attr_f(nodes[0], "slope", 9) == 0.25f);
    assert_null(tn_attr_find(nodes[0], "dim")); // not given, no default: the operator's own
    assert_true(tn_attr_f(nodes[1], "slope", 9) == 0.75f);
    assert_true(tn_attr_f(nodes[2], "slope", 9) == 0.25f); // "steep" is not given
    assert_int_equal(tn_attr_i(nodes[2], "dim", 9), 5);
    b_free(m);
}

static void test_own_opsets(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 11); // b_function imports 17
    put_twice(&w);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "Twice", "", "x", "r");
    b_simple(&w, "Relu", "r", "y");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(b_find_op(m->graph, "Add")->opset, 17);
    assert_int_equal(b_find_op(m->graph, "Relu")->opset, 11);
    b_free(m);
}

static void test_optional_inputs_and_outputs(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t f = b_function(&w, "my", "F", "a,min,max", "p,q,same");
    in_function(&w, "Clip", "", "a,min,max", "p");
    in_function(&w, "Exp", "", "a", "q");
    size_t n = b_node(&w, FUNCTION_NODE, "", "If", "", "a", "unread");
    size_t a = b_attr(&w, NODE_ATTRIBUTE, "then_branch", B_GRAPH), sub = b_graph(&w, ATTR_G, "then");
    b_simple(&w, "Clip", "a,min,max", "clipped");
    b_info(&w, GRAPH_OUTPUT, "clipped", TERN_FLOAT, NULL);
    tn_pb_end(&w, sub);
    tn_pb_end(&w, a);
    tn_pb_end(&w, n);
    in_function(&w, "Add", "", "unread,a", "same");
    tn_pb_end(&w, f);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "F", "", "x,,x", "y,,z");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "z", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    tn_node *clip = b_find_op(m->graph, "Clip");
    assert_int_equal(clip->n_in, 3);
    assert_null(clip->in[1]);
    assert_ptr_equal(clip->in[2], m->graph->inputs[0]);
    assert_null(b_find_op(m->graph, "Exp")); // nobody wants q
    tn_node *inner = b_find_op(tn_attr_find(b_find_op(m->graph, "If"), "then_branch")->g, "Clip");
    assert_null(inner->in[1]);
    assert_ptr_equal(inner->in[2]->captured, m->graph->inputs[0]);
    b_free(m);
}

static void test_outputs_that_are_inputs(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    tn_pb_end(&w, b_function(&w, "my", "Pass", "a", "a"));
    size_t f = b_function(&w, "my", "Both", "a", "b,b");
    in_function(&w, "Exp", "", "a", "b");
    tn_pb_end(&w, f);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    put_call(&w, "Pass", "", "x", "p");
    put_call(&w, "Both", "", "p", "y,z");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "z", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(m->graph->n_nodes, 3);
    assert_string_equal(m->graph->nodes[0]->op_type, "Identity");
    assert_ptr_equal(m->graph->nodes[0]->in[0], m->graph->inputs[0]);
    assert_string_equal(m->graph->outputs[0]->producer->op_type, "Exp");
    assert_string_equal(m->graph->outputs[1]->producer->op_type, "Identity");
    b_free(m);
}

/* A graph handed to a function reads the names around the call, not those of the function. */
static void test_graph_attributes_see_the_caller(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t f = b_function(&w, "my", "Apply", "a", "b");
    in_function(&w, "Exp", "", "a", "v");
    size_t n = b_node(&w, FUNCTION_NODE, "", "Loop", "", "v", "b");
    b_attr_ref(&w, "body", B_GRAPH, "body");
    tn_pb_end(&w, n);
    tn_pb_end(&w, f);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    n = b_node(&w, GRAPH_NODE, "my", "Apply", "", "x", "y");
    size_t a = b_attr(&w, NODE_ATTRIBUTE, "body", B_GRAPH), sub = b_graph(&w, ATTR_G, "body");
    b_simple(&w, "Abs", "v", "w");
    b_info(&w, GRAPH_OUTPUT, "w", TERN_FLOAT, NULL);
    tn_pb_end(&w, sub);
    tn_pb_end(&w, a);
    tn_pb_end(&w, n);
    b_simple(&w, "Relu", "x", "v");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    tn_node *loop = b_find_op(m->graph, "Loop");
    const tn_graph *body = tn_attr_find(loop, "body")->g;
    assert_ptr_equal(b_find_op(body, "Abs")->in[0]->captured, b_find_op(m->graph, "Relu")->out[0]);
    assert_ptr_equal(loop->in[0], b_find_op(m->graph, "Exp")->out[0]);
    assert_int_equal(loop->n_captures, 1);
    b_free(m);
}

static void test_overloads(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 10, 17);
    const char *const ops[] = {"Exp", "Abs"}, *const overloads[] = {"", "second"};
    for (int i = 0; i < 2; i++) {
        size_t f = b_function(&w, "my", "F", "a", "b");
        in_function(&w, ops[i], "", "a", "b");
        tn_pb_put_string(&w, FUNCTION_OVERLOAD, overloads[i]);
        tn_pb_end(&w, f);
    }
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    size_t n = b_node(&w, GRAPH_NODE, "my", "F", "", "x", "y");
    tn_pb_put_string(&w, NODE_OVERLOAD, "second");
    tn_pb_end(&w, n);
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(m->graph->n_nodes, 1);
    assert_string_equal(m->graph->nodes[0]->op_type, "Abs");
    b_free(m);
}

/* ---- broken ones ------------------------------------------------------------------------------------------- */

static void finish_with_call(tn_pb_writer *w, const char *in, const char *out, tern_status status, const char *part) {
    size_t g = b_graph(w, MODEL_GRAPH, "g");
    put_call(w, "F", "call", in, out);
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(w, g);
    b_load_fails(w, status, part);
}

static void test_recursion(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t f = b_function(&w, "my", "F", "a", "b");
    tn_pb_end(&w, b_node(&w, FUNCTION_NODE, "my", "G", "", "a", "b"));
    tn_pb_end(&w, f);
    f = b_function(&w, "my", "G", "a", "b");
    tn_pb_end(&w, b_node(&w, FUNCTION_NODE, "my", "F", "", "a", "b"));
    tn_pb_end(&w, f);
    finish_with_call(&w, "x", "y", TERN_INVALID_MODEL, "calls itself");
}

/* Each function calls the one before 20 times: 20^30 nodes. */
static void test_explosion(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    char name[16], callee[16];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, i == 29 ? "F" : "F%d", i);
        snprintf(callee, sizeof callee, "F%d", i - 1);
        size_t f = b_function(&w, "my", name, "a", "b");
        for (int k = 0; k < 20; k++) {
            tn_pb_end(&w, b_node(&w, FUNCTION_NODE, i ? "my" : "", i ? callee : "Exp", "", "a", k ? "" : "b"));
        }
        tn_pb_end(&w, f);
    }
    finish_with_call(&w, "x", "y", TERN_LIMIT_EXCEEDED, "");
}

static void test_deep_calls(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    char name[16], callee[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, i ? "F%d" : "F", i);
        snprintf(callee, sizeof callee, "F%d", i + 1);
        size_t f = b_function(&w, "my", name, "a", "b");
        tn_pb_end(&w, b_node(&w, FUNCTION_NODE, "my", callee, "", "a", "b"));
        tn_pb_end(&w, f);
    }
    finish_with_call(&w, "x", "y", TERN_LIMIT_EXCEEDED, "nest deeper than 64");
}

static void one_function(tn_pb_writer *w, const char *in, const char *out, const char *node_in, const char *node_out) {
    b_model(w, 8, 17);
    size_t f = b_function(w, "my", "F", in, out);
    in_function(w, "Op", "body", node_in, node_out);
    tn_pb_end(w, f);
}

static void test_broken_functions(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    one_function(&w, "a", "b", "a", "c");
    finish_with_call(&w, "x", "y", TERN_INVALID_MODEL,
                     "node 0 (F) 'call': nothing in the function gives its output 'b'");
    one_function(&w, "a", "b", "a", "b");
    finish_with_call(&w, "x,x", "y", TERN_INVALID_MODEL, "2 inputs and 1 outputs, the function only 1 and 1");
    one_function(&w, "a", "b", "unknown", "b");
    finish_with_call(&w, "x", "y", TERN_INVALID_MODEL, "'unknown'");
    one_function(&w, "a", "b", "x", "b"); // the graph's names mean nothing inside
    finish_with_call(&w, "x", "y", TERN_INVALID_MODEL, "'x'");
    one_function(&w, "a,a", "b", "a", "b");
    finish_with_call(&w, "x,x", "y", TERN_INVALID_MODEL, "two inputs or outputs");
    one_function(&w, "a", "b", "a", "a");
    finish_with_call(&w, "x", "y", TERN_INVALID_MODEL, "'a' is already an input");
    one_function(&w, "a", "b", "a", "b");
    finish_with_call(&w, "x", "x", TERN_INVALID_MODEL, "'x' has a value already");
    one_function(&w, "a", "a", "a", "c"); // passes on what is not there
    finish_with_call(&w, "", "y", TERN_INVALID_MODEL, "nothing in the function gives");
    b_model(&w, 8, 17);
    put_twice(&w);
    put_twice(&w);
    finish_with_call(&w, "x", "y", TERN_INVALID_MODEL, "function 'Twice': it is there twice");
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_are_inlined),
        cmocka_unit_test(test_made_up_names_meet_no_names_of_the_file),
        cmocka_unit_test(test_functions_in_functions),
        cmocka_unit_test(test_attributes_of_functions),
        cmocka_unit_test(test_own_opsets),
        cmocka_unit_test(test_optional_inputs_and_outputs),
        cmocka_unit_test(test_outputs_that_are_inputs),
        cmocka_unit_test(test_graph_attributes_see_the_caller),
        cmocka_unit_test(test_overloads),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_explosion),
        cmocka_unit_test(test_deep_calls),
        cmocka_unit_test(test_broken_functions),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
