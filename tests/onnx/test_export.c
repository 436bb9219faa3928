/* Models written and read again are the same; with external data, too. */
#include "build.h"

#include "tern/model.h"

static void same_graph(const tn_graph *a, const tn_graph *b);

static void same_type(const tn_type *a, const tn_type *b) {
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->ranked, b->ranked);
    assert_int_equal(a->shape.rank, b->shape.rank);
    assert_int_equal(a->element != NULL, b->element != NULL);
    if (a->element) same_type(a->element, b->element);
    for (int i = 0; a->ranked && i < a->shape.rank; i++) {
        if (tn_dim_known(a->shape.dims[i])) assert_true(a->shape.dims[i] == b->shape.dims[i]);
    }
}

static void same_value(const tn_value *a, const tn_value *b) {
    assert_int_equal(a != NULL, b != NULL);
    if (!a) return;
    while (a->captured) a = a->captured;
    while (b->captured) b = b->captured;
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->constant != NULL, b->constant != NULL);
    if (a->constant) assert_true(tn_tensor_equal(a->constant, b->constant));
    same_type(&a->type, &b->type);
}

static void same_attr_list(const tn_attr *a, const tn_attr *b) {
    for (size_t i = 0; i < a->count; i++) {
        switch (a->type) {
        case TN_ATTR_FLOATS:
            assert_memory_equal(&a->floats[i], &b->floats[i], sizeof(float));
            break;
        case TN_ATTR_INTS:
            assert_true(a->ints[i] == b->ints[i]);
            break;
        case TN_ATTR_STRINGS:
            assert_true(tn_str_eq(a->strings[i], b->strings[i]));
            break;
        case TN_ATTR_GRAPHS:
            same_graph(a->graphs[i], b->graphs[i]);
            break;
        case TN_ATTR_TENSORS:
            assert_true(tn_tensor_equal(a->tensors[i], b->tensors[i]));
            break;
        default:
            fail_msg("attribute type %d", a->type);
        }
    }
}

static void same_attr(const tn_attr *a, const tn_attr *b) {
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->count, b->count);
    switch (a->type) {
    case TN_ATTR_FLOAT:
        assert_memory_equal(&a->f, &b->f, sizeof a->f);
        break;
    case TN_ATTR_INT:
        assert_true(a->i == b->i);
        break;
    case TN_ATTR_STRING:
        assert_true(tn_str_eq(a->s, b->s));
        break;
    case TN_ATTR_TENSOR:
        assert_true(tn_tensor_equal(a->t, b->t));
        break;
    case TN_ATTR_GRAPH:
        same_graph(a->g, b->g);
        break;
    case TN_ATTR_TYPE_PROTO:
        same_type(a->type_proto, b->type_proto);
        break;
    default:
        same_attr_list(a, b);
    }
}

static void same_node(const tn_node *a, const tn_node *b) {
    assert_string_equal(a->op_type, b->op_type);
    assert_string_equal(a->domain, b->domain);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->opset, b->opset);
    assert_int_equal(a->n_in, b->n_in);
    assert_int_equal(a->n_out, b->n_out);
    assert_int_equal(a->n_attrs, b->n_attrs);
    assert_int_equal(a->n_captures, b->n_captures);
    for (int i = 0; i < a->n_in; i++) same_value(a->in[i], b->in[i]);
    for (int i = 0; i < a->n_out; i++) same_value(a->out[i], b->out[i]);
    for (int i = 0; i < a->n_attrs; i++) same_attr(&a->attrs[i], &b->attrs[i]);
}

static void same_graph(const tn_graph *a, const tn_graph *b) {
    assert_int_equal(a->n_nodes, b->n_nodes);
    assert_int_equal(a->n_inputs, b->n_inputs);
    assert_int_equal(a->n_outputs, b->n_outputs);
    assert_int_equal(a->n_values, b->n_values);
    for (int i = 0; i < a->n_nodes; i++) same_node(a->nodes[i], b->nodes[i]);
    for (int i = 0; i < a->n_inputs; i++) same_value(a->inputs[i], b->inputs[i]);
    for (int i = 0; i < a->n_outputs; i++) same_value(a->outputs[i], b->outputs[i]);
}

static void same_model(const tern_model *a, const tern_model *b) {
    assert_string_equal(a->producer_name, b->producer_name);
    assert_int_equal(a->n_opsets, b->n_opsets);
    assert_int_equal(a->n_metadata, b->n_metadata);
    for (size_t i = 0; i < a->n_metadata; i++) {
        assert_string_equal(a->metadata[i].key, b->metadata[i].key);
        assert_string_equal(a->metadata[i].value, b->metadata[i].value);
    }
    same_graph(a->graph, b->graph);
}

static void put_sub(tn_pb_writer *w, uint32_t field, const char *op, const char *in) {
    size_t g = b_graph(w, field, op);
    b_simple(w, op, in, "inner");
    b_info(w, GRAPH_OUTPUT, "inner", TERN_FLOAT, NULL);
    tn_pb_end(w, g);
}

/* One of everything: attributes of all kinds, subgraphs that capture, absent inputs, strings, packed and sparse
 * tensors. */
static void put_rich_model(tn_pb_writer *w) {
    float big[600];
    for (int i = 0; i < 600; i++) big[i] = (float)i * 0.5f;
    b_model(w, 8, 17);
    b_opset(w, MODEL_OPSET_IMPORT, "my", 2);
    tn_pb_put_string(w, MODEL_PRODUCER_NAME, "tests");
    size_t e = tn_pb_begin(w, MODEL_METADATA);
    tn_pb_put_string(w, ENTRY_KEY, "k");
    tn_pb_put_string(w, ENTRY_VALUE, "");
    tn_pb_end(w, e);
    size_t g = b_graph(w, MODEL_GRAPH, "main");
    b_raw(w, GRAPH_INITIALIZER, "big", TERN_FLOAT, "20,30", big, sizeof big);
    b_raw(w, GRAPH_INITIALIZER, "nibbles", TERN_INT4, "5", "\x21\x43\x0f", 3);
    size_t t = tn_pb_begin(w, GRAPH_INITIALIZER);
    b_dims(w, TENSOR_DIMS, "2");
    tn_pb_put_varint(w, TENSOR_DATA_TYPE, TERN_STRING);
    tn_pb_put_string(w, TENSOR_NAME, "strings");
    tn_pb_put_string(w, TENSOR_STRING_DATA, "one");
    tn_pb_put_string(w, TENSOR_STRING_DATA, "");
    tn_pb_end(w, t);
    size_t n = b_node(w, GRAPH_NODE, "my", "Op", "op", "x,,strings,nibbles", "a,,b");
    b_attr_i(w, "i", -5);
    size_t a = b_attr(w, NODE_ATTRIBUTE, "floats", B_FLOATS);
    tn_pb_put_packed_f32(w, ATTR_FLOATS, (float[]){1, 2.5f}, 2);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "none", B_INTS);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "names", B_STRINGS);
    tn_pb_put_string(w, ATTR_STRINGS, "p");
    tn_pb_put_string(w, ATTR_STRINGS, "");
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "tensors", TN_ATTR_TENSORS);
    b_raw(w, ATTR_TENSORS, "", TERN_INT64, "1", &(int64_t){4}, 8);
    tn_pb_end(w, a);
    a = b_attr(w, NODE_ATTRIBUTE, "branches", TN_ATTR_GRAPHS);
    put_sub(w, ATTR_GRAPHS, "Relu", "x");
    put_sub(w, ATTR_GRAPHS, "Exp", "big");
    tn_pb_end(w, a);
    tn_pb_end(w, n);
    n = b_node(w, GRAPH_NODE, "", "If", "", "a", "y");
    a = b_attr(w, NODE_ATTRIBUTE, "then_branch", B_GRAPH);
    put_sub(w, ATTR_G, "Neg", "b");
    tn_pb_end(w, a);
    tn_pb_end(w, n);
    b_simple(w, "Add", "y,big", "z");
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "batch,?,3");
    b_info(w, GRAPH_OUTPUT, "z", TERN_FLOAT, "batch,2");
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, NULL);
    tn_pb_end(w, g);
}

static void test_round_trip(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    put_rich_model(&w);
    tern_model *a = b_load_ok(&w), *b;
    void *bytes;
    size_t size;
    tern_error err;
    if (tn_onnx_write_memory(a, &bytes, &size, &err) != TERN_OK) fail_msg("%s", err.text);
    if (tern_model_load_memory(&b, bytes, size, NULL, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    same_model(a, b);
    tern_model_free(b);
    tn_free(bytes);
    b_free(a);
}

static void test_external_data(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    put_rich_model(&w);
    tern_model *a = b_load_ok(&w), *b;
    tt_temp dir = tt_temp_dir();
    char path[300], data[310];
    snprintf(path, sizeof path, "%s/m.onnx", dir.path);
    snprintf(data, sizeof data, "%s.data", path);
    tern_error err;
    if (tn_onnx_write_model(a, path, true, &err) != TERN_OK) fail_msg("%s", err.text);
    struct stat st;
    assert_int_equal(stat(data, &st), 0);
    assert_int_equal(st.st_size, 600 * sizeof(float)); // the small tensors stay in the model
    if (tern_model_load(&b, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    same_model(a, b);
    const uint8_t *big = tn_graph_find(b->graph, "big")->constant->data;
    assert_true(big >= b->files[1].data && big < b->files[1].data + b->files[1].size); // in the map, not a copy
    tern_model_free(b);
    unlink(path);
    unlink(data);
    assert_int_equal(tn_onnx_write_model(a, path, false, &err), TERN_OK);
    assert_int_not_equal(stat(data, &st), 0);
    assert_int_equal(tn_onnx_write_model(a, "/nonexistent/m.onnx", false, &err), TERN_IO);
    unlink(path);
    tt_temp_remove_dir(&dir);
    b_free(a);
}

static void write_fails(tern_model *m, const char *part) {
    void *bytes;
    size_t size;
    tern_error err;
    assert_int_equal(tn_onnx_write_memory(m, &bytes, &size, &err), TERN_UNSUPPORTED);
    assert_null(bytes);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
    b_free(m);
}

static void test_what_can_not_be_written(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    b_small_model(&w);
    tern_model *m = b_load_ok(&w);
    b_find_op(m->graph, "Relu")->opset = 12;
    write_fails(m, "imports opset 17");
    b_small_model(&w);
    m = b_load_ok(&w);
    b_find_op(m->graph, "Relu")->domain = "tern";
    write_fails(m, "tern.Relu");
}

static int no_leaks(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_external_data),
        cmocka_unit_test(test_what_can_not_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
