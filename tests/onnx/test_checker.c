/* onnx.checker likes what is exported. Skipped without Debian's python3-onnx. */
#include "build.h"

#include "tern/model.h"

#define PYTHON "/usr/bin/python3"

static bool have_onnx(void) { return system(PYTHON " -c 'import onnx' 2>/dev/null") == 0; }

/* Exports the model, with its weights in another file if `external`, and has it checked. Frees nothing. */
static void check_export(const tern_model *m, bool external) {
    tt_temp dir = tt_temp_dir();
    char path[300], data[310], command[700];
    snprintf(path, sizeof path, "%s/m.onnx", dir.path);
    snprintf(data, sizeof data, "%s.data", path);
    tern_error err;
    if (tn_onnx_write_model(m, path, external, &err) != TERN_OK) fail_msg("%s", err.text);
    snprintf(command, sizeof command,
             PYTHON " -c 'import onnx, sys; onnx.checker.check_model(sys.argv[1], full_check=True)' %s", path);
    int status = system(command);
    unlink(path);
    unlink(data);
    tt_temp_remove_dir(&dir);
    assert_int_equal(status, 0);
}

static void test_small_model(void **state) {
    (void)state;
    if (!have_onnx()) tt_skip("Debian's python3-onnx is not installed");
    tn_pb_writer w = {0};
    b_small_model(&w);
    tern_model *m = b_load_ok(&w);
    check_export(m, false);
    b_free(m);
}

static void put_branch(tn_pb_writer *w, const char *attr, const char *op) {
    size_t a = b_attr(w, NODE_ATTRIBUTE, attr, B_GRAPH), g = b_graph(w, ATTR_G, attr);
    b_simple(w, op, "x,k", "r");
    b_info(w, GRAPH_OUTPUT, "r", TERN_FLOAT, "4");
    tn_pb_end(w, g);
    tn_pb_end(w, a);
}

static void test_subgraphs(void **state) {
    (void)state;
    if (!have_onnx()) tt_skip("Debian's python3-onnx is not installed");
    tn_pb_writer w = {0};
    b_model(&w, 8, 17);
    size_t g = b_graph(&w, MODEL_GRAPH, "main");
    b_raw(&w, GRAPH_INITIALIZER, "k", TERN_FLOAT, "4", (float[]){1, 2, 3, 4}, 16);
    size_t n = b_node(&w, GRAPH_NODE, "", "If", "choice", "c", "y");
    put_branch(&w, "then_branch", "Add");
    put_branch(&w, "else_branch", "Sub");
    tn_pb_end(&w, n);
    b_info(&w, GRAPH_INPUT, "c", TERN_BOOL, "");
    b_info(&w, GRAPH_INPUT, "x", TERN_FLOAT, "4");
    b_info(&w, GRAPH_OUTPUT, "y", TERN_FLOAT, "4");
    tn_pb_end(&w, g);
    tern_model *m = b_load_ok(&w);
    check_export(m, false);
    b_free(m);
}

static void test_shared_model(void **state) {
    (void)state;
    if (!tt_shared_dir() || !have_onnx()) tt_skip("no shared data, or no python3-onnx");
    static const char *const names[] = {"classify/mobilenet_v1_0.25_128_f32", "classify/mobilenet_v1_0.25_128_qdq",
                                        "yolov5/yolov5n_dynamic"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        char path[4096];
        tern_model *m;
        tern_error err;
        snprintf(path, sizeof path, "%s/models/%s/model.onnx", tt_shared_dir(), names[i]);
        if (tern_model_load(&m, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
        check_export(m, i == 0);
        tern_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_model),
        cmocka_unit_test(test_subgraphs),
        cmocka_unit_test(test_shared_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
