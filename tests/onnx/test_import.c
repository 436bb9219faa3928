/* ModelProto to graph: names, types, attributes, subgraphs, versions. */
#include "build.h"

#include "tern/model.h"

static void test_small_model(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_small_model(&w);
    tern_model *m = b_load_ok(&w);
    tn_graph *g = m->graph;
    assert_string_equal(g->name, "main");
    assert_int_equal(g->n_nodes, 2);
    assert_int_equal(g->n_inputs, 1);
    tn_node *add = b_find_op(g, "Add");
    assert_int_equal(add->opset, 17);
    assert_string_equal(add->domain, "");
    assert_ptr_equal(add->in[0]->producer, b_find_op(g, "Relu"));
    assert_true(*(const float *)add->in[1]->constant->data == 1.5f);
    assert_int_equal(add->in[1]->type.dtype, TERN_FLOAT);
    assert_ptr_equal(add->out[0], g->outputs[0]);
    b_free(m);
}

static void test_public_description(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_small_model(&w);
    size_t entry = tn_pb_begin(&w, MODEL_METADATA);
    tn_pb_put_string(&w, ENTRY_KEY, "labels");
    tn_pb_put_string(&w, ENTRY_VALUE, "cat\ndog");
    tn_pb_end(&w, entry);
    tn_pb_put_string(&w, MODEL_PRODUCER_NAME, "tests");
    tern_model *m = b_load_ok(&w);
    tern_value_info info;
    tern_error err = {0};
    assert_int_equal(tern_model_input_count(m), 1);
    assert_int_equal(tern_model_output_count(m), 1);
    assert_int_equal(tern_model_input(m, 0, &info, NULL), TERN_OK);
    assert_string_equal(info.name, "x");
    assert_int_equal(info.dtype, TERN_FLOAT);
    assert_int_equal(info.rank, 2);
    assert_int_equal(info.dims[0], -1);
    assert_string_equal(info.dim_names[0], "batch");
    assert_int_equal(info.dims[1], 3);
    assert_null(info.dim_names[1]);
    assert_int_equal(tern_model_input(m, 1, &info, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_model_output(m, -1, &info, &err), TERN_INVALID_ARGUMENT);
    assert_string_equal(tern_model_metadata(m, "labels"), "cat\ndog");
    assert_null(tern_model_metadata(m, "absent"));
    assert_string_equal(m->producer_name, "tests");
    b_free(m);
}

static void test_types(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    size_t info = tn_pb_begin(&w, GRAPH_INPUT), type, outer, inner, elem, tensor;
    tn_pb_put_string(&w, INFO_NAME, "seq");
    type = tn_pb_begin(&w, INFO_TYPE);
    outer = tn_pb_begin(&w, TYPE_OPTIONAL);
    inner = tn_pb_begin(&w, TYPE_ELEM);
    elem = tn_pb_begin(&w, TYPE_SEQUENCE);
    tensor = tn_pb_begin(&w, TYPE_ELEM);
    size_t leaf = tn_pb_begin(&w, TYPE_TENSOR);
    tn_pb_put_varint(&w, TYPE_ELEM, TERN_INT64);
    tn_pb_end(&w, leaf);
    tn_pb_end(&w, tensor);
    tn_pb_end(&w, elem);
    tn_pb_end(&w, inner);
    tn_pb_end(&w, outer);
    tn_pb_end(&w, type);
    tn_pb_end(&w, info);
    b_info(&w, GRAPH_INPUT, "unranked", TERN_BOOL, NULL);
    b_info(&w, GRAPH_INPUT, "scalar", TERN_BOOL, "");
    b_info(&w, GRAPH_INPUT, "odd", TERN_BOOL, "-1,?,N,N");
    b_info(&w, GRAPH_OUTPUT, "seq", TERN_BOOL, NULL); // an input keeps its type
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    tn_text text;
    tn_text_init(&text);
    for (int i = 0; i < 4; i++) {
        tn_type_text(m, &m->graph->inputs[i]->type, &text);
        tn_text_add(&text, " ");
    }
    assert_string_equal(text.data, "optional(sequence(int64[...])) bool[...] bool[] bool[?,?,N,N] ");
    tn_text_release(&text);
    tern_value_info described;
    assert_int_equal(tern_model_output(m, 0, &described, NULL), TERN_OK);
    assert_int_equal(described.kind, TERN_KIND_OPTIONAL);
    assert_int_equal(described.dtype, TERN_INT64);
    assert_int_equal(described.rank, -1);
    b_free(m);
}

static void test_initializer_hides_input(void **state) {
    (void)state;
    for (int ir = 3; ir <= 4; ir++) {
        tn_pb_writer w = {0};
        b_model(&w, ir, 7);
        size_t g = b_graph(&w, MODEL_GRAPH, "g");
        b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
        b_info(&w, GRAPH_INPUT, "w", TERN_FLOAT, "1");
        b_simple(&w, "Add", "x,w", "y");
        b_raw(&w, GRAPH_INITIALIZER, "w", TERN_FLOAT, "1", "abcd", 4);
        b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
        tn_pb_end(&w, g);
        tern_model *m = b_load_ok(&w);
        assert_int_equal(m->graph->n_inputs, 1);
        assert_string_equal(m->graph->inputs[0]->name, "x");
        assert_non_null(tn_graph_find(m->graph, "w")->constant);
        b_free(m);
    }
}

static void test_nodes_in_any_order(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    b_simple(&w, "Exp", "b", "y");
    b_simple(&w, "Relu", "a", "b");
    b_simple(&w, "Abs", "x", "a");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_string_equal(m->graph->nodes[0]->op_type, "Abs");
    assert_string_equal(m->graph->nodes[2]->op_type, "Exp");
    b_free(m);
}

static void test_absent_inputs_and_outputs(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    tn_pb_end(&w, b_node(&w, GRAPH_NODE, "ai.onnx", "Op", "n", ",x,,", ",y,,"));
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    tn_node *n = m->graph->nodes[0];
    assert_int_equal(n->n_in, 2);
    assert_int_equal(n->n_out, 2);
    assert_null(n->in[0]);
    assert_null(n->out[0]);
    assert_string_equal(n->domain, "");
    b_free(m);
}

static void put_many_attributes(tn_pb_writer *w, bool typed) {
    size_t a = b_attr(w, NODE_ATTRIBUTE, "f", typed ? B_FLOAT : 0);
    tn_pb_put_float(w, ATTR_F, 0.5f);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "i", typed ? B_INT : 0);
    tn_pb_put_varint(w, ATTR_I, (uint64_t)-3);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "s", typed ? B_STRING : 0);
    tn_pb_put_string(w, ATTR_S, "text");
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "ints", typed ? B_INTS : 0);
    tn_pb_put_varint(w, ATTR_INTS, 1);
    tn_pb_put_packed_i64(w, ATTR_INTS, (int64_t[]){2, -3}, 2);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "floats", typed ? B_FLOATS : 0);
    tn_pb_put_packed_f32(w, ATTR_FLOATS, (float[]){1, 2}, 2);
    tn_pb_put_float(w, ATTR_FLOATS, 3);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "strings", typed ? B_STRINGS : 0);
    tn_pb_put_string(w, ATTR_STRINGS, "one");
    tn_pb_put_string(w, ATTR_STRINGS, "");
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "t", typed ? B_TENSOR : 0);
    b_raw(w, ATTR_T, "", TERN_INT64, "1", &(int64_t){9}, 8);
    tn_pb_end(w, a);
}

static void check_many_attributes(const tn_node *n) {
    size_t count;
    assert_true(tn_attr_f(n, "f", 0) == 0.5f);
    assert_int_equal(tn_attr_i(n, "i", 0), -3);
    assert_true(tn_attr_is(n, "s", "", "text"));
    const int64_t *ints = tn_attr_ints(n, "ints", &count);
    assert_int_equal(count, 3);
    assert_true(ints[0] == 1 && ints[1] == 2 && ints[2] == -3);
    const float *floats = tn_attr_floats(n, "floats", &count);
    assert_int_equal(count, 3);
    assert_true(floats[0] == 1 && floats[1] == 2 && floats[2] == 3);
    const tn_str *strings = tn_attr_strings(n, "strings", &count);
    assert_int_equal(count, 2);
    assert_true(tn_str_eq(strings[0], tn_str_c("one")) && strings[1].len == 0);
    assert_int_equal(tn_tensor_get_i64(tn_attr_tensor(n, "t"), 0), 9);
}

static void test_attributes_with_and_without_type(void **state) {
    (void)state;
    for (int typed = 0; typed < 2; typed++) {
        tn_pb_writer w = {0};
        b_model(&w, typed ? 8 : 1, typed ? 17 : 0);
        size_t g = b_graph(&w, MODEL_GRAPH, "g"), n = b_node(&w, GRAPH_NODE, "", "Op", "", "", "y");
        put_many_attributes(&w, typed);
        tn_pb_end(&w, n);
        b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
        tn_pb_end(&w, g);
        tern_model *m = b_load_ok(&w);
        assert_int_equal(m->graph->nodes[0]->opset, typed ? 17 : 1);
        check_many_attributes(m->graph->nodes[0]);
        b_free(m);
    }
}

static void test_zeros_may_be_left_out(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "g"), n = b_node(&w, GRAPH_NODE, "", "Op", "", "", "y");
    const char *const names[] = {"f", "i", "s", "floats", "ints"};
    const int types[] = {B_FLOAT, B_INT, B_STRING, B_FLOATS, B_INTS};
    for (int i = 0; i < 5; i++) tn_pb_end(&w, b_attr(&w, NODE_ATTRIBUTE, names[i], types[i]));
    tn_pb_end(&w, n);
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    tn_node *node = m->graph->nodes[0];
    size_t count = 9;
    assert_int_equal(tn_attr_i(node, "i", 7), 0);
    assert_true(tn_attr_f(node, "f", 7) == 0);
    assert_true(tn_attr_is(node, "s", "default", ""));
    assert_non_null(tn_attr_find(node, "ints"));
    tn_attr_ints(node, "ints", &count);
    assert_int_equal(count, 0);
    b_free(m);
}

static void bad_attribute(tn_pb_writer *w, const char *name, int type, tern_status status, const char *part) {
    tn_pb_writer all = {0};
    b_model(&all, 8, 17);
    size_t g = b_graph(&all, MODEL_GRAPH, "g"), n = b_node(&all, GRAPH_NODE, "", "Op", "n1", "", "y");
    size_t a = b_attr(&all, NODE_ATTRIBUTE, name, type);
    if (w->len) {
        assert_true(tn_grow(&all.data, &all.cap, all.len + w->len, 1));
        memcpy(all.data + all.len, w->data, w->len);
        all.len += w->len;
    }
    tn_pb_release(w);
    tn_pb_end(&all, a);
    tn_pb_end(&all, n);
    tn_pb_end(&all, g);
    b_load_fails(&all, status, part);
}

static void test_bad_attributes(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    bad_attribute(&w, "a", 99, TERN_INVALID_MODEL, "node 0 (Op) 'n1': attribute 'a': type 99");
    bad_attribute(&w, "a", 0, TERN_INVALID_MODEL, "neither type nor value");
    bad_attribute(&w, "", B_INT, TERN_INVALID_MODEL, "no name");
    bad_attribute(&w, "a", B_TENSOR, TERN_INVALID_MODEL, "missing");
    bad_attribute(&w, "a", B_GRAPH, TERN_INVALID_MODEL, "missing");
    tn_pb_put_bytes(&w, ATTR_FLOATS, "abc", 3);
    bad_attribute(&w, "a", B_FLOATS, TERN_INVALID_FORMAT, "damaged");
    tn_pb_put_string(&w, ATTR_REF_NAME, "outer");
    bad_attribute(&w, "a", B_INT, TERN_INVALID_MODEL, "in none");
}

/* ---- subgraphs --------------------------------------------------------------------------------------------- */

/* Op(body = graph with Add(x, local) and a graph in it that reads x and y of the outermost graph), y given later. */
static void put_nested_graphs(tn_pb_writer *w) {
    b_model(w, 8, 17);
    size_t main = b_graph(w, MODEL_GRAPH, "main");
    size_t op = b_node(w, GRAPH_NODE, "", "Outer", "", "", "result");
    size_t attr = b_attr(w, NODE_ATTRIBUTE, "body", B_GRAPH), body = b_graph(w, ATTR_G, "body");
    b_simple(w, "Add", "x,local", "sum");
    b_simple(w, "Relu", "x", "local");
    size_t inner_op = b_node(w, GRAPH_NODE, "", "Inner", "", "sum", "inner_result");
    size_t inner_attr = b_attr(w, NODE_ATTRIBUTE, "body", B_GRAPH), inner = b_graph(w, ATTR_G, "inner");
    b_simple(w, "Mul", "x,y", "product");
    b_simple(w, "Sub", "product,local", "difference");
    b_info(w, GRAPH_OUTPUT, "difference", TERN_FLOAT, NULL);
    tn_pb_end(w, inner);
    tn_pb_end(w, inner_attr);
    tn_pb_end(w, inner_op);
    b_info(w, GRAPH_OUTPUT, "inner_result", TERN_FLOAT, NULL);
    tn_pb_end(w, body);
    tn_pb_end(w, attr);
    tn_pb_end(w, op);
    b_simple(w, "Exp", "x", "y");
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(w, GRAPH_OUTPUT, "result", TERN_FLOAT, "1");
    tn_pb_end(w, main);
}

static void test_subgraphs_capture(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    put_nested_graphs(&w);
    tern_model *m = b_load_ok(&w);
    tn_graph *g = m->graph;
    tn_node *outer = b_find_op(g, "Outer");
    assert_string_equal(g->nodes[0]->op_type, "Exp"); // what is captured comes first
    assert_int_equal(outer->n_captures, 2);
    assert_true((outer->captures[0] == tn_graph_find(g, "x") && outer->captures[1] == tn_graph_find(g, "y")) ||
                (outer->captures[1] == tn_graph_find(g, "x") && outer->captures[0] == tn_graph_find(g, "y")));
    tn_graph *body = tn_attr_find(outer, "body")->g;
    assert_ptr_equal(body->parent, g);
    tn_node *inner_op = b_find_op(body, "Inner");
    assert_int_equal(inner_op->n_captures, 3); // x, y, local
    tn_graph *inner = tn_attr_find(inner_op, "body")->g;
    tn_node *mul = b_find_op(inner, "Mul"), *sub = b_find_op(inner, "Sub");
    assert_ptr_equal(mul->in[1]->captured->captured, tn_graph_find(g, "y"));
    assert_ptr_equal(mul->in[0]->captured, b_find_op(body, "Add")->in[0]);
    assert_ptr_equal(sub->in[1]->captured, b_find_op(body, "Relu")->out[0]);
    b_free(m);
}

static void test_captures_follow_edits(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    put_nested_graphs(&w);
    tern_model *m = b_load_ok(&w);
    tn_graph *g = m->graph;
    tn_node *outer = b_find_op(g, "Outer");
    tn_graph_replace_uses(g, tn_graph_find(g, "y"), tn_graph_find(g, "x"));
    assert_int_equal(tn_graph_finish(g, NULL), TERN_OK);
    assert_int_equal(g->n_nodes, 1);
    assert_int_equal(outer->n_captures, 1);
    assert_ptr_equal(outer->captures[0], tn_graph_find(g, "x"));
    b_free(m);
}

static void test_subgraph_that_gives_an_outer_value(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t main = b_graph(&w, MODEL_GRAPH, "main");
    size_t op = b_node(&w, GRAPH_NODE, "", "If", "", "x", "y");
    size_t attr = b_attr(&w, NODE_ATTRIBUTE, "then_branch", B_GRAPH), body = b_graph(&w, ATTR_G, "then");
    b_info(&w, GRAPH_OUTPUT, "x", TERN_BOOL, NULL);
    tn_pb_end(&w, body);
    tn_pb_end(&w, attr);
    tn_pb_end(&w, op);
    b_info(&w, GRAPH_INPUT, "x", TERN_BOOL, "");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_BOOL, "");
    tn_pb_end(&w, main);
    tern_model *m = b_load_ok(&w);
    const tn_graph *then = tn_attr_find(m->graph->nodes[0], "then_branch")->g;
    assert_ptr_equal(then->outputs[0]->captured, m->graph->inputs[0]);
    b_free(m);
}

/* ---- versions ---------------------------------------------------------------------------------------------- */

static void test_opsets_by_domain(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 0);
    b_opset(&w, MODEL_OPSET_IMPORT, "ai.onnx", 11);
    b_opset(&w, MODEL_OPSET_IMPORT, "ai.onnx.ml", 3);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    b_simple(&w, "Relu", "x", "a");
    tn_pb_end(&w, b_node(&w, GRAPH_NODE, "ai.onnx.ml", "Scaler", "", "a", "y"));
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    assert_int_equal(b_find_op(m->graph, "Relu")->opset, 11);
    assert_int_equal(b_find_op(m->graph, "Scaler")->opset, 3);
    b_free(m);
}

static void with_imports(const char *domain, int64_t version, int ir, tern_status status, const char *part) {
    tn_pb_writer w = {0};
    b_model(&w, ir, 0);
    if (version != INT64_MIN) b_opset(&w, MODEL_OPSET_IMPORT, domain, version);
    size_t g = b_graph(&w, MODEL_GRAPH, "g");
    b_simple(&w, "Relu", "x", "y");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, g);
    if (status == TERN_OK) {
        b_free(b_load_ok(&w));
    } else {
        b_load_fails(&w, status, part);
    }
}

static void test_missing_imports(void **state) {
    (void)state;
    with_imports("", INT64_MIN, 3, TERN_INVALID_MODEL, "imports no operator set");
    with_imports("", INT64_MIN, 2, TERN_OK, "");
    with_imports("other", 1, 8, TERN_INVALID_MODEL, "node 0 (Relu): the model imports no opset");
    with_imports("", 0, 8, TERN_INVALID_MODEL, "opset 0");
    with_imports("", 1ll << 40, 8, TERN_INVALID_MODEL, "opset 1099511627776");
    with_imports("", 99, 8, TERN_OK, ""); // the registry knows what it has
}

static void note_warning(void *context, tern_log_level level, const char *line) {
    if (level == TERN_LOG_WARNING && strstr(line, "IR version 99")) *(int *)context += 1;
}

static void test_newer_ir_versions_warn(void **state) {
    (void)state;
    int warnings = 0;
    tn_log_set_hook(note_warning, &warnings, TERN_LOG_WARNING);
    with_imports("", 17, 99, TERN_OK, "");
    with_imports("", 17, TN_ONNX_NEWEST_IR, TERN_OK, "");
    tn_log_set_hook(NULL, NULL, TERN_LOG_ERROR);
    assert_int_equal(warnings, 1);
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_model),
        cmocka_unit_test(test_public_description),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_initializer_hides_input),
        cmocka_unit_test(test_nodes_in_any_order),
        cmocka_unit_test(test_absent_inputs_and_outputs),
        cmocka_unit_test(test_attributes_with_and_without_type),
        cmocka_unit_test(test_zeros_may_be_left_out),
        cmocka_unit_test(test_bad_attributes),
        cmocka_unit_test(test_subgraphs_capture),
        cmocka_unit_test(test_captures_follow_edits),
        cmocka_unit_test(test_subgraph_that_gives_an_outer_value),
        cmocka_unit_test(test_opsets_by_domain),
        cmocka_unit_test(test_missing_imports),
        cmocka_unit_test(test_newer_ir_versions_warn),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
