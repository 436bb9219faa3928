/* The graph: building, sorting, dropping, capturing, texts. */
#include "build.h"

/* A chain of n nodes in reverse order: node i reads v<i> and gives v<i+1>. */
static tern_model *reversed_chain(int n) {
    tern_model *m = tn_model_new();
    assert_non_null(m);
    tn_graph *g = m->graph = tn_graph_new(m, NULL, "chain");
    char name[32];
    for (int i = n - 1; i >= 0; i--) {
        tn_node *node = tn_graph_add_node(g, "", "Relu", 17, 1, 1);
        assert_non_null(node);
        snprintf(name, sizeof name, "v%d", i);
        node->in[0] = tn_graph_value(g, name);
        snprintf(name, sizeof name, "v%d", i + 1);
        node->out[0] = tn_graph_value(g, name);
    }
    assert_int_equal(tn_graph_add_input(g, tn_graph_value(g, "v0"), NULL), TERN_OK);
    assert_int_equal(tn_graph_add_output(g, tn_graph_value(g, name), NULL), TERN_OK); // v1
    snprintf(name, sizeof name, "v%d", n);
    g->outputs[0] = tn_graph_value(g, name);
    return m;
}

static void test_finish_sorts_long_chains(void **state) {
    (void)state;
    enum { N = 200000 };
    tern_model *m = reversed_chain(N);
    assert_int_equal(tn_graph_finish(m->graph, NULL), TERN_OK);
    assert_int_equal(m->graph->n_nodes, N);
    for (int i = 0; i < N; i++) {
        const tn_node *n = m->graph->nodes[i];
        assert_int_equal(n->id, i);
        assert_int_equal(n->in[0]->n_uses, 1);
        if (i) assert_ptr_equal(n->in[0]->producer, m->graph->nodes[i - 1]);
    }
    tn_model_free(m);
}

static void test_finish_keeps_file_order(void **state) {
    (void)state;
    tern_model *m = tn_model_new();
    tn_graph *g = m->graph = tn_graph_new(m, NULL, "g");
    tn_value *x = tn_graph_value(g, "x");
    tn_graph_add_input(g, x, NULL);
    tn_node *nodes[6];
    for (int i = 0; i < 6; i++) {
        nodes[i] = tn_graph_add_node(g, "", "Add", 17, 2, 1);
        nodes[i]->in[0] = x;
        nodes[i]->in[1] = i > 2 ? nodes[i - 3]->out[0] : x;
        nodes[i]->out[0] = tn_graph_new_value(g, "t");
        if (i >= 3) tn_graph_add_output(g, nodes[i]->out[0], NULL);
    }
    assert_int_equal(tn_graph_finish(g, NULL), TERN_OK);
    for (int i = 0; i < 6; i++) assert_ptr_equal(g->nodes[i], nodes[i]);
    assert_int_equal(x->n_uses, 9);
    tn_model_free(m);
}

static void test_finish_drops_what_nothing_reads(void **state) {
    (void)state;
    tern_model *m = reversed_chain(4);
    tn_graph *g = m->graph;
    tn_node *dead = tn_graph_add_node(g, "", "Exp", 17, 1, 1);
    dead->in[0] = tn_graph_value(g, "v2");
    dead->out[0] = tn_graph_value(g, "unread");
    assert_int_equal(tn_graph_finish(g, NULL), TERN_OK);
    assert_int_equal(g->n_nodes, 4);
    assert_null(tn_graph_find(g, "unread"));
    assert_int_equal(tn_graph_find(g, "v2")->n_uses, 1);
    for (int i = 0; i < g->n_values; i++) assert_int_equal(g->values[i]->id, i);
    tn_model_free(m);
}

static void test_finish_drops_folded_nodes(void **state) {
    (void)state;
    tern_model *m = reversed_chain(4);
    tn_graph *g = m->graph;
    tern_tensor *t;
    assert_int_equal(tn_tensor_new(&t, TERN_FLOAT, &(tn_shape){0}, NULL), TERN_OK);
    *(float *)t->data = 1;
    assert_int_equal(tn_model_own_tensor(m, t, NULL), TERN_OK);
    tn_graph_find(g, "v2")->constant = t;
    assert_int_equal(tn_graph_finish(g, NULL), TERN_OK);
    assert_int_equal(g->n_nodes, 2);
    assert_non_null(tn_graph_find(g, "v2"));
    assert_null(tn_graph_find(g, "v2")->producer);
    assert_null(tn_graph_find(g, "v1"));
    assert_non_null(tn_graph_find(g, "v0")); // inputs stay
    tn_model_free(m);
}

static void expect_finish_error(tern_model *m, const char *a, const char *b) {
    tern_error err = {0};
    assert_int_equal(tn_graph_finish(m->graph, &err), TERN_INVALID_MODEL);
    if (!strstr(err.text, a) || !strstr(err.text, b)) fail_msg("'%s' and '%s' are not in: %s", a, b, err.text);
    tn_model_free(m);
}

static void test_finish_finds_cycles(void **state) {
    (void)state;
    tern_model *m = reversed_chain(3);
    m->graph->nodes[2]->in[0] = tn_graph_find(m->graph, "v2"); // v1 = Relu(v2)
    m->graph->nodes[2]->name = "back";
    m->graph->nodes[1]->name = "back";
    expect_finish_error(m, "cycle", "'back'");
    m = reversed_chain(1);
    m->graph->nodes[0]->in[0] = m->graph->nodes[0]->out[0];
    expect_finish_error(m, "cycle", "Relu");
}

static void test_finish_finds_missing_and_double_values(void **state) {
    (void)state;
    tern_model *m = reversed_chain(3);
    m->graph->nodes[1]->in[0] = tn_graph_value(m->graph, "nowhere");
    expect_finish_error(m, "'nowhere'", "Relu");
    m = reversed_chain(3);
    m->graph->nodes[1]->out[0] = m->graph->nodes[0]->out[0];
    expect_finish_error(m, "'v3'", "two nodes");
    m = reversed_chain(3);
    m->graph->nodes[1]->out[0] = tn_graph_find(m->graph, "v0");
    expect_finish_error(m, "'v0'", "input of the graph");
    m = reversed_chain(3);
    m->graph->outputs[0] = tn_graph_value(m->graph, "nothing");
    expect_finish_error(m, "graph output 'nothing'", "no node");
}

static void test_finish_refuses_foreign_values(void **state) {
    (void)state;
    tern_model *m = reversed_chain(2);
    tn_graph *other = tn_graph_new(m, NULL, "other");
    m->graph->nodes[0]->in[0] = tn_graph_value(other, "elsewhere");
    tern_error err;
    assert_int_equal(tn_graph_finish(m->graph, &err), TERN_INTERNAL);
    tn_model_free(m);
}

static void test_new_values_have_new_names(void **state) {
    (void)state;
    tern_model *m = tn_model_new();
    tn_graph *g = tn_graph_new(m, NULL, "g");
    tn_value *taken = tn_graph_value(g, "x.1");
    tn_value *a = tn_graph_new_value(g, "x"), *b = tn_graph_new_value(g, "x");
    assert_true(a != taken && b != taken && a != b);
    assert_string_not_equal(a->name, b->name);
    assert_ptr_equal(tn_graph_find(g, a->name), a);
    assert_ptr_equal(tn_graph_value(g, "x.1"), taken);
    tn_model_free(m);
}

static void test_replace_uses(void **state) {
    (void)state;
    tern_model *m = reversed_chain(3);
    tn_graph *g = m->graph;
    assert_int_equal(tn_graph_finish(g, NULL), TERN_OK);
    tn_graph_replace_uses(g, tn_graph_find(g, "v2"), tn_graph_find(g, "v1"));
    tn_graph_replace_uses(g, tn_graph_find(g, "v3"), tn_graph_find(g, "v1"));
    assert_int_equal(tn_graph_finish(g, NULL), TERN_OK);
    assert_int_equal(g->n_nodes, 1);
    assert_string_equal(g->outputs[0]->name, "v1");
    tn_model_free(m);
}

static void test_node_limit(void **state) {
    (void)state;
    tern_model *m = tn_model_new();
    tn_graph *g = tn_graph_new(m, NULL, "g");
    m->limits.max_nodes = 2;
    assert_non_null(tn_graph_add_node(g, "", "A", 1, 0, 0));
    assert_non_null(tn_graph_add_node(g, "", "A", 1, 0, 0));
    assert_null(tn_graph_add_node(g, "", "A", 1, 0, 0));
    tn_model_free(m);
}

static void test_attributes(void **state) {
    (void)state;
    tern_model *m = tn_model_new();
    tn_node *n = tn_graph_add_node(tn_graph_new(m, NULL, "g"), "", "Op", 17, 0, 0);
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "a%d", i);
        tn_attr *a = tn_node_add_attr(n, name, TN_ATTR_INT);
        assert_non_null(a);
        a->i = i * i;
    }
    tn_node_add_attr(n, "s", TN_ATTR_STRING)->s = tn_str_c("same");
    tn_attr *list = tn_node_add_attr(n, "list", TN_ATTR_INTS);
    list->ints = (const int64_t[]){4, 5};
    list->count = 2;
    assert_int_equal(tn_attr_i(n, "a99", -1), 99 * 99);
    assert_int_equal(tn_attr_i(n, "absent", -1), -1);
    assert_int_equal(tn_attr_i(n, "s", -1), -1); // of another type
    assert_true(tn_attr_is(n, "s", "no", "same"));
    assert_true(tn_attr_is(n, "t", "default", "default"));
    assert_true(tn_attr_f(n, "f", 0.5f) == 0.5f);
    size_t count;
    assert_int_equal(tn_attr_ints(n, "list", &count)[1], 5);
    assert_int_equal(count, 2);
    assert_null(tn_attr_floats(n, "list", &count));
    assert_int_equal(count, 0);
    assert_null(tn_attr_tensor(n, "list"));
    tn_model_free(m);
}

static void test_texts(void **state) {
    (void)state;
    tern_model *m = tn_model_new();
    tn_graph *g = tn_graph_new(m, NULL, "g");
    tn_node *n = tn_graph_add_node(g, "", "Conv", 13, 0, 1);
    char text[TN_NODE_TEXT];
    n->name = "conv1";
    assert_string_equal(tn_node_text(n, text, sizeof text), "node 'conv1' (Conv, opset 13)");
    n->name = "";
    n->out[0] = tn_graph_value(g, "y");
    assert_string_equal(tn_node_text(n, text, sizeof text), "node 0 with output 'y' (Conv, opset 13)");
    int64_t batch = tn_model_symbol(m, "batch"), unnamed = tn_model_symbol(m, NULL);
    assert_true(batch == tn_model_symbol(m, "batch"));
    assert_true(unnamed != tn_model_symbol(m, NULL));
    assert_string_equal(tn_model_symbol_name(m, batch), "batch");
    assert_string_equal(tn_model_symbol_name(m, unnamed), "?");
    assert_string_equal(tn_model_symbol_name(m, 3), "?");
    tn_type tensor = {.dtype = TERN_FLOAT, .ranked = true};
    tensor.shape = tn_shape_of(4, (int64_t[]){batch, 3, TN_DIM_UNKNOWN, 224});
    tn_type sequence = {.kind = TERN_KIND_SEQUENCE, .element = &tensor};
    tn_type map = {.kind = TERN_KIND_MAP, .dtype = TERN_STRING, .element = &sequence};
    tn_text out;
    tn_text_init(&out);
    tn_type_text(m, &map, &out);
    assert_string_equal(out.data, "map(string,sequence(float32[batch,3,?,224]))");
    tn_text_release(&out);
    tn_type_text(m, &(tn_type){0}, &out);
    assert_string_equal(out.data, "?[...]");
    tn_text_release(&out);
    tn_model_free(m);
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finish_sorts_long_chains),
        cmocka_unit_test(test_finish_keeps_file_order),
        cmocka_unit_test(test_finish_drops_what_nothing_reads),
        cmocka_unit_test(test_finish_drops_folded_nodes),
        cmocka_unit_test(test_finish_finds_cycles),
        cmocka_unit_test(test_finish_finds_missing_and_double_values),
        cmocka_unit_test(test_finish_refuses_foreign_values),
        cmocka_unit_test(test_new_values_have_new_names),
        cmocka_unit_test(test_replace_uses),
        cmocka_unit_test(test_node_limit),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
