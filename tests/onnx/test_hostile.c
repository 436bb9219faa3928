/* Files that are broken, or made to do harm: always an error of one line, never a crash, and fast. */
#include "build.h"

#include "tern/model.h"

static void load_bytes(const void *data, size_t size, tern_status *status, tern_error *err) {
    // An exact copy, so that a sanitizer sees the first byte past the end.
    void *copy = tn_alloc(size);
    memcpy(copy, data, size);
    tern_model *m;
    *err = (tern_error){0};
    *status = tern_model_load_memory(&m, copy, size, NULL, NULL, err);
    if (*status == TERN_OK) {
        tern_model_free(m);
    } else {
        assert_null(m);
        assert_true(err->text[0] && !strchr(err->text, '\n'));
    }
    tn_free(copy);
}

static void test_truncated_at_every_byte(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_small_model(&w);
    tern_status status;
    tern_error err;
    load_bytes(w.data, w.len, &status, &err);
    assert_int_equal(status, TERN_OK);
    for (size_t n = 0; n < w.len; n++) {
        load_bytes(w.data, n, &status, &err);
        assert_true(status == TERN_INVALID_FORMAT || status == TERN_INVALID_MODEL);
    }
    tn_pb_release(&w);
}

/* What the sanitizers and the counter of allocations have to say; flipped names and numbers may well load. */
static void test_every_bit_flipped(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_small_model(&w);
    size_t live = tn_alloc_live(), refused = 0;
    for (size_t i = 0; i < w.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            tern_status status;
            tern_error err;
            w.data[i] ^= (uint8_t)(1 << bit);
            load_bytes(w.data, w.len, &status, &err);
            w.data[i] ^= (uint8_t)(1 << bit);
            refused += status != TERN_OK;
            assert_int_equal(tn_alloc_live(), live);
        }
    }
    assert_true(refused > w.len);
    tn_pb_release(&w);
}

static void test_random_bytes(void **state) {
    (void)state;
    tt_rng rng = tt_rng_init(7);
    uint8_t bytes[300];
    for (int i = 0; i < 20000; i++) {
        size_t size = tt_random_below(&rng, sizeof bytes);
        tt_fill_bytes(&rng, bytes, size);
        tern_status status;
        tern_error err;
        load_bytes(bytes, size, &status, &err);
        assert_int_not_equal(status, TERN_OK);
    }
}

static void test_things_that_are_no_model(void **state) {
    (void)state;
    tern_status status;
    tern_error err;
    load_bytes("", 0, &status, &err);
    assert_int_equal(status, TERN_INVALID_FORMAT);
    assert_string_equal(err.text, "model: the file is empty");
    static const char page[] = "<!DOCTYPE html>\n<html>";
    load_bytes(page, sizeof page, &status, &err);
    assert_int_equal(status, TERN_INVALID_FORMAT);
    load_bytes("\x08\x08", 2, &status, &err);
    assert_int_equal(status, TERN_INVALID_MODEL);
    assert_string_equal(err.text, "model: the model has no graph");
    tern_model *m;
    assert_int_equal(tern_model_load(&m, "/nonexistent/model.onnx", NULL, &err), TERN_IO);
    assert_non_null(strstr(err.text, "/nonexistent/model.onnx"));
    assert_int_equal(tern_model_load(&m, "/", NULL, &err), TERN_IO);
    assert_int_equal(tern_model_load(NULL, NULL, NULL, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_model_load_memory(&m, NULL, 5, NULL, NULL, &err), TERN_INVALID_ARGUMENT);
}

static void test_errors_name_the_file_and_the_place(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main");
    b_simple(&w, "Relu", "x", "a");
    tn_pb_end(&w, b_node(&w, GRAPH_NODE, "", "", "conv1", "a", "b"));
    tn_pb_end(&w, g);
    tt_temp file = tt_temp_file_with(w.data, w.len);
    tn_pb_release(&w);
    tern_model *m;
    tern_error err;
    assert_int_equal(tern_model_load(&m, file.path, NULL, &err), TERN_INVALID_MODEL);
    char want[400];
    snprintf(want, sizeof want, "%s: graph 'main': node 1 () 'conv1': the node has no operator", file.path);
    assert_string_equal(err.text, want);
    tt_temp_remove(&file);
}

/* ---- graphs that make no sense ----------------------------------------------------------------------------- */

static void put_ends(tn_pb_writer *w, size_t graph) {
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(w, graph);
}

static void test_senseless_graphs(void **state) {
    (void)state;
    static const struct {
        const char *in1, *out1, *in2, *out2, *part;
    } cases[] = {
        {"b", "a", "a", "b,y", "cycle through"},
        {"a", "a", "x", "y", "cycle through"},
        {"x", "a,y", "x", "a", "output 'a' is already an output of another node"},
        {"x", "x", "x", "y", "output 'x' is already an input"},
        {"x", "a,a", "a", "y", "output 'a' is already an output"},
        {"x", "w", "w", "y", "output 'w' is already an initializer"},
        {"x", "a", "unknown", "y", "reads 'unknown', which no node"},
        {"x", "a", "a", "b", "reads 'y', which no node"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        tn_pb_writer w = {0};
        b_model(&w, 8, 17);
        size_t g = b_graph(&w, MODEL_GRAPH, "main");
        b_raw(&w, GRAPH_INITIALIZER, "w", TERN_FLOAT, "1", "abcd", 4);
        b_simple(&w, "A", cases[i].in1, cases[i].out1);
        b_simple(&w, "B", cases[i].in2, cases[i].out2);
        put_ends(&w, g);
        b_load_fails(&w, TERN_INVALID_MODEL, cases[i].part);
    }
}

static void test_double_names(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "1");
    put_ends(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, "two inputs are called 'x'");
    b_model(&w, 8, 17);
    g = b_graph(&w, MODEL_GRAPH, "main");
    for (int i = 0; i < 2; i++) b_raw(&w, GRAPH_INITIALIZER, "w", TERN_FLOAT, "1", "abcd", 4);
    put_ends(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, "two initializers are called 'w'");
    b_model(&w, 8, 17);
    g = b_graph(&w, MODEL_GRAPH, "one");
    tn_pb_end(&w, g);
    g = b_graph(&w, MODEL_GRAPH, "two");
    tn_pb_end(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, "two graphs");
    b_model(&w, 8, 17);
    g = b_graph(&w, MODEL_GRAPH, "main");
    size_t n = b_node(&w, GRAPH_NODE, "", "Op", "", "x", "y");
    for (int i = 0; i < 2; i++) b_attr_i(&w, "axis", i);
    tn_pb_end(&w, n);
    put_ends(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, "attribute 'axis': the attribute is there twice");
}

static void test_names_that_break_lines_and_encodings(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "ma\nin\x80\xff");
    b_simple(&w, "Op\n", "no\x1b[31m\nsuch", "y");
    put_ends(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, "no?[31m?such"); // b_load_fails looks for newlines
    b_model(&w, 8, 17);
    g = b_graph(&w, MODEL_GRAPH, "main");
    size_t n = tn_pb_begin(&w, GRAPH_NODE);
    tn_pb_put_bytes(&w, NODE_OUTPUT, "a\0b", 3);
    tn_pb_put_string(&w, NODE_OP_TYPE, "Op");
    tn_pb_end(&w, n);
    put_ends(&w, g);
    b_load_fails(&w, TERN_INVALID_MODEL, "NUL");
}

/* ---- limits ------------------------------------------------------------------------------------------------ */

static void put_nested_subgraphs(tn_pb_writer *w, int depth) {
    size_t n = b_node(w, GRAPH_NODE, "", "If", "", "x", "y");
    if (depth) {
        size_t a = b_attr(w, NODE_ATTRIBUTE, "then_branch", B_GRAPH), g = b_graph(w, ATTR_G, "then");
        put_nested_subgraphs(w, depth - 1);
        b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
        tn_pb_end(w, g);
        tn_pb_end(w, a);
    }
    tn_pb_end(w, n);
}

static void test_deep_nesting(void **state) {
    (void)state;
    for (int depth = 60; depth <= 2000; depth += 1940) {
        tn_pb_writer w = {0};
        b_model(&w, 8, 17);
        size_t g = b_graph(&w, MODEL_GRAPH, "main");
        put_nested_subgraphs(&w, depth);
        put_ends(&w, g);
        if (depth == 60) {
            b_free(b_load_ok(&w));
        } else {
            b_load_fails(&w, TERN_LIMIT_EXCEEDED, "nest deeper than 64");
        }
    }
}

static void test_no_option_overflows_the_stack(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main");
    put_nested_subgraphs(&w, 3000);
    put_ends(&w, g);
    tern_model_options options = {.max_nesting = INT32_MAX};
    tern_model *m;
    tern_error err;
    assert_int_equal(tern_model_load_memory(&m, w.data, w.len, NULL, &options, &err), TERN_LIMIT_EXCEEDED);
    tn_pb_release(&w);
}

static void test_deep_types(void **state) {
    (void)state;
    enum { DEPTH = 5000 };
    size_t marks[2 * DEPTH];
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main"), info = tn_pb_begin(&w, GRAPH_INPUT);
    tn_pb_put_string(&w, INFO_NAME, "deep");
    size_t type = tn_pb_begin(&w, INFO_TYPE);
    for (int i = 0; i < 2 * DEPTH; i++) marks[i] = tn_pb_begin(&w, i % 2 ? TYPE_ELEM : TYPE_SEQUENCE);
    for (int i = 2 * DEPTH - 1; i >= 0; i--) tn_pb_end(&w, marks[i]);
    tn_pb_end(&w, type);
    tn_pb_end(&w, info);
    tn_pb_end(&w, g);
    b_load_fails(&w, TERN_LIMIT_EXCEEDED, "type of 'deep': graphs, functions or types nest deeper than 64");
}

static void expect_limit(const tern_model_options *options, const char *part) {
    tn_pb_writer w = {0};
    b_small_model(&w);
    tern_model *m;
    tern_error err;
    assert_int_equal(tern_model_load_memory(&m, w.data, w.len, NULL, options, &err), TERN_LIMIT_EXCEEDED);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
    tn_pb_release(&w);
}

static void test_limits(void **state) {
    (void)state;
    expect_limit(&(tern_model_options){.max_nodes = 1}, "more than 1 nodes");
    expect_limit(&(tern_model_options){.max_tensor_bytes = 3}, "limit of 3 bytes");
    expect_limit(&(tern_model_options){.max_model_bytes = 20}, "the limit is 20");
}

static void test_many_attributes(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main"), n = b_node(&w, GRAPH_NODE, "", "Op", "", "x", "y");
    char name[16];
    for (int i = 0; i < 1001; i++) {
        snprintf(name, sizeof name, "a%d", i);
        b_attr_i(&w, name, i);
    }
    tn_pb_end(&w, n);
    put_ends(&w, g);
    b_load_fails(&w, TERN_LIMIT_EXCEEDED, "1001 attributes");
}

/* 100,000 nodes in reverse order, each of which reads a name of the graph around it that comes later still: what is not
 * linear would take minutes. */
static void test_many_names_take_linear_time(void **state) {
    (void)state;
    enum { N = 100000 };
    tn_pb_writer w = {0};
    char in[64], out[64];
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main"), n = b_node(&w, GRAPH_NODE, "", "If", "", "x", "y");
    size_t a = b_attr(&w, NODE_ATTRIBUTE, "then_branch", B_GRAPH), sub = b_graph(&w, ATTR_G, "then");
    for (int i = N; i > 0; i--) {
        snprintf(in, sizeof in, "v%d,o%d", i - 1, i);
        snprintf(out, sizeof out, i == N ? "y" : "v%d", i);
        b_simple(&w, "Add", in, out);
    }
    b_simple(&w, "Neg", "x", "v0");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "1");
    tn_pb_end(&w, sub);
    tn_pb_end(&w, a);
    tn_pb_end(&w, n);
    for (int i = N; i > 0; i--) {
        snprintf(out, sizeof out, "o%d", i);
        b_simple(&w, "Relu", "x", out);
    }
    put_ends(&w, g);
    uint64_t start = tn_clock_ns();
    tern_model *m = b_load_ok(&w);
    assert_true(tn_clock_ns() - start < 60ull * 1000000000);
    assert_int_equal(m->graph->n_nodes, N + 1);
    assert_int_equal(m->graph->nodes[N]->n_captures, N + 1);
    b_free(m);
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_every_bit_flipped),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_things_that_are_no_model),
        cmocka_unit_test(test_errors_name_the_file_and_the_place),
        cmocka_unit_test(test_senseless_graphs),
        cmocka_unit_test(test_double_names),
        cmocka_unit_test(test_names_that_break_lines_and_encodings),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_no_option_overflows_the_stack),
        cmocka_unit_test(test_deep_types),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_attributes),
        cmocka_unit_test(test_many_names_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
