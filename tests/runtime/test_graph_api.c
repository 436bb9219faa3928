/* tern/graph.h: building a model, running it from memory, writing and reading it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "tern/tern.h"

static tern_status node(tern_graph *g, const char *op, const char *a, const char *b, const char *out, tern_error *err) {
    return tern_graph_node(g,
                           &(tern_node_info){.op_type = op,
                                             .name = op,
                                             .inputs = (const char *[]){a, b},
                                             .n_inputs = b ? 2 : 1,
                                             .outputs = (const char *[]){out},
                                             .n_outputs = 1},
                           err);
}

/* y = relu(x * w), x: [rows, 2], w: [2, 3] */
static tern_graph *small_graph(int opset) {
    tern_error err;
    tern_graph *g;
    assert_int_equal(tern_graph_create(&g, "small", opset, &err), TERN_OK);
    // Against the order of the data, which must not matter.
    assert_int_equal(node(g, "Relu", "p", NULL, "y", &err), TERN_OK);
    assert_int_equal(node(g, "MatMul", "x", "w", "p", &err), TERN_OK);
    tern_value_info x = {.name = "x", .dtype = TERN_FLOAT, .rank = 2, .dims = {-1, 2}, .dim_names = {"rows"}};
    assert_int_equal(tern_graph_input(g, &x, &err), TERN_OK);
    tern_tensor *w;
    assert_int_equal(tern_tensor_create(&w, TERN_FLOAT, 2, (int64_t[]){2, 3}, &err), TERN_OK);
    memcpy(tern_tensor_data(w), (float[]){1, 2, 3, 4, 5, -6}, 24);
    assert_int_equal(tern_graph_constant(g, "w", w, &err), TERN_OK);
    tern_tensor_free(w);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "y", .rank = -1}, &err), TERN_OK);
    assert_int_equal(tern_graph_metadata(g, "key", "first", &err), TERN_OK);
    assert_int_equal(tern_graph_metadata(g, "key", "second", &err), TERN_OK);
    assert_int_equal(tern_graph_producer(g, "test", NULL, &err), TERN_OK);
    return g;
}

static void check_run(tern_model *m) {
    tern_error err;
    tern_session *s;
    assert_int_equal(tern_session_create(&s, m, NULL, &err), TERN_OK);
    tern_tensor *x, *y = NULL;
    float values[] = {1, 1, -1, 0};
    assert_int_equal(tern_tensor_borrow(&x, TERN_FLOAT, 2, (int64_t[]){2, 2}, values, sizeof values, &err), TERN_OK);
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err), TERN_OK);
    const float want[] = {5, 7, 0, 0, 0, 0};
    assert_int_equal(tern_tensor_count(y), 6);
    assert_memory_equal(tern_tensor_const_data(y), want, sizeof want);
    tern_tensor_free(x);
    tern_tensor_free(y);
    tern_session_free(s);
}

static void check_interface(const tern_model *m) {
    tern_value_info info;
    assert_int_equal(tern_model_output_count(m), 1);
    assert_int_equal(tern_model_output(m, 0, &info, NULL), TERN_OK);
    assert_string_equal(info.name, "y");
    assert_int_equal(info.dtype, TERN_FLOAT);
    assert_int_equal(info.rank, 2);
    assert_int_equal(info.dims[0], -1);
    assert_string_equal(info.dim_names[0], "rows");
    assert_int_equal(info.dims[1], 3);
    assert_string_equal(tern_model_metadata(m, "key"), "second");
}

static void test_builds_and_runs(void **state) {
    (void)state;
    tern_error err;
    tern_model *m;
    tern_graph *g = small_graph(13);
    assert_int_equal(tern_graph_finish(g, &m, &err), TERN_OK);
    tern_graph_free(g);
    check_interface(m);
    check_run(m);
    tern_model_free(m);
}

static void test_file_is_the_same_model(void **state) {
    (void)state;
    char path[] = "/tmp/tern_graph_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int opset = 7; opset <= 28; opset += 7) {
        tern_error err;
        tern_model *m, *read;
        tern_graph *g = small_graph(opset);
        assert_int_equal(tern_graph_finish(g, &m, &err), TERN_OK);
        tern_graph_free(g);
        assert_int_equal(tern_model_save(m, path, &err), TERN_OK);
        tern_model_free(m);
        assert_int_equal(tern_model_load(&read, path, NULL, &err), TERN_OK);
        check_interface(read);
        check_run(read);
        tern_model_free(read);
    }
    unlink(path);
}

static void test_attributes_are_copied(void **state) {
    (void)state;
    tern_error err;
    tern_graph *g;
    tern_model *m;
    assert_int_equal(tern_graph_create(&g, "attrs", 13, &err), TERN_OK);
    tern_value_info x = {.name = "x", .dtype = TERN_FLOAT, .rank = 3, .dims = {2, 3, 4}};
    assert_int_equal(tern_graph_input(g, &x, &err), TERN_OK);
    int64_t perm[] = {2, 0, 1};
    tern_attr attr = {.name = "perm", .type = TERN_ATTR_INTS, .count = 3, .ints = perm};
    tern_node_info n = {.op_type = "Transpose",
                        .inputs = (const char *[]){"x"},
                        .n_inputs = 1,
                        .outputs = (const char *[]){"y"},
                        .n_outputs = 1,
                        .attrs = &attr,
                        .n_attrs = 1};
    assert_int_equal(tern_graph_node(g, &n, &err), TERN_OK);
    memset(perm, 0, sizeof perm);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "y", .rank = -1}, &err), TERN_OK);
    assert_int_equal(tern_graph_finish(g, &m, &err), TERN_OK);
    tern_value_info y;
    assert_int_equal(tern_model_output(m, 0, &y, NULL), TERN_OK);
    assert_int_equal(y.rank, 3);
    assert_memory_equal(y.dims, ((int64_t[]){4, 2, 3}), 24);
    tern_model_free(m);
    tern_graph_free(g);
}

static void test_errors_say_what_is_wrong(void **state) {
    (void)state;
    tern_error err;
    tern_graph *g;
    tern_model *m;
    assert_int_equal(tern_graph_create(&g, "bad", 1000, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "opset 1000"));
    g = small_graph(13);
    tern_value_info x = {.name = "x", .dtype = TERN_FLOAT, .rank = 0};
    assert_int_equal(tern_graph_input(g, &x, &err), TERN_INVALID_MODEL);
    assert_non_null(strstr(err.text, "'x'"));
    tern_graph_free(g);

    g = small_graph(13);
    assert_int_equal(node(g, "NoSuchOperator", "x", NULL, "z", &err), TERN_OK);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "z", .rank = -1}, &err), TERN_OK);
    assert_int_not_equal(tern_graph_finish(g, &m, &err), TERN_OK);
    assert_non_null(strstr(err.text, "NoSuchOperator"));
    tern_graph_free(g);

    g = small_graph(13); // shapes that do not fit: [rows, 3] x [2, 3]
    assert_int_equal(node(g, "MatMul", "y", "w", "z", &err), TERN_OK);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "z", .rank = -1}, &err), TERN_OK);
    assert_int_not_equal(tern_graph_finish(g, &m, &err), TERN_OK);
    assert_null(m);
    tern_graph_free(g);

    g = small_graph(13); // nothing gives "q"
    assert_int_equal(node(g, "Add", "y", "q", "z", &err), TERN_OK);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "z", .rank = -1}, &err), TERN_OK);
    assert_int_equal(tern_graph_finish(g, &m, &err), TERN_INVALID_MODEL);
    assert_non_null(strstr(err.text, "'q'"));
    tern_graph_free(g);
    tern_graph_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builds_and_runs),
        cmocka_unit_test(test_file_is_the_same_model),
        cmocka_unit_test(test_attributes_are_copied),
        cmocka_unit_test(test_errors_say_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
