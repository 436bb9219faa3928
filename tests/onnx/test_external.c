/* External data: found beside the model, and nowhere else. */
#include "build.h"

#include "tern/model.h"

typedef struct folder {
    tt_temp root; /* holds the folder "models" and the file "secret" */
    char models[300];
} folder;

static void write_file(const char *base, const char *name, const void *data, size_t size) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", base, name);
    assert_int_equal(tn_file_write(path, data, size, NULL), TERN_OK);
}

static void remove_file(const char *base, const char *name) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", base, name);
    unlink(path);
}

static const float weights[] = {1, 2, 3, 4, 5, 6};

static int make_folder(void **state) {
    folder *f = calloc(1, sizeof *f);
    f->root = tt_temp_dir();
    snprintf(f->models, sizeof f->models, "%s/models", f->root.path);
    char path[400];
    assert_int_equal(mkdir(f->models, 0777), 0);
    snprintf(path, sizeof path, "%s/sub", f->models);
    assert_int_equal(mkdir(path, 0777), 0);
    write_file(f->root.path, "secret", weights, sizeof weights);
    write_file(f->models, "w.bin", weights, sizeof weights);
    write_file(f->models, "sub/w.bin", weights, sizeof weights);
    snprintf(path, sizeof path, "%s/link", f->models);
    assert_int_equal(symlink("../secret", path), 0);
    snprintf(path, sizeof path, "%s/out", f->models);
    assert_int_equal(symlink("..", path), 0);
    snprintf(path, sizeof path, "%s/inside", f->models);
    assert_int_equal(symlink("sub/w.bin", path), 0);
    *state = f;
    return 0;
}

static int remove_folder(void **state) {
    folder *f = *state;
    static const char *const files[] = {"w.bin", "sub/w.bin", "link", "out", "inside", "model.onnx"};
    for (size_t i = 0; i < TN_COUNT(files); i++) remove_file(f->models, files[i]);
    remove_file(f->root.path, "secret");
    char path[400];
    snprintf(path, sizeof path, "%s/sub", f->models);
    rmdir(path);
    rmdir(f->models);
    tt_temp_remove_dir(&f->root);
    free(f);
    assert_int_equal(tn_alloc_live(), 0);
    return 0;
}

static void put_entry(tn_pb_writer *w, const char *key, const char *value) {
    size_t e = tn_pb_begin(w, TENSOR_EXTERNAL_DATA);
    tn_pb_put_string(w, ENTRY_KEY, key);
    tn_pb_put_string(w, ENTRY_VALUE, value);
    tn_pb_end(w, e);
}

/* Two tensors in one file, as exporters of large models do it: w[2] at `offset`, v[2] at 16. NULL: no such entry. */
static void put_model(tn_pb_writer *w, const char *location, const char *offset, const char *length) {
    b_model(w, 8, 17);
    size_t g = b_graph(w, MODEL_GRAPH, "g");
    b_simple(w, "Add", "w,v", "y");
    for (int i = 0; i < 2; i++) {
        size_t t = tn_pb_begin(w, GRAPH_INITIALIZER);
        b_dims(w, TENSOR_DIMS, "2");
        tn_pb_put_varint(w, TENSOR_DATA_TYPE, TERN_FLOAT);
        tn_pb_put_string(w, TENSOR_NAME, i ? "v" : "w");
        if (location) put_entry(w, "location", location);
        if (i || offset) put_entry(w, "offset", i ? "16" : offset);
        if (length) put_entry(w, "length", length);
        put_entry(w, "checksum", "whatever");
        tn_pb_put_varint(w, TENSOR_DATA_LOCATION, LOCATION_EXTERNAL);
        tn_pb_end(w, t);
    }
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "2");
    tn_pb_end(w, g);
}

static void check_loads(const folder *f, const char *location, const char *offset, const char *length, float first) {
    tn_pb_writer w = {0};
    tern_model *m;
    tern_error err;
    char path[400];
    put_model(&w, location, offset, length);
    write_file(f->models, "model.onnx", w.data, w.len);
    tn_pb_release(&w);
    snprintf(path, sizeof path, "%s/model.onnx", f->models);
    if (tern_model_load(&m, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    const float *data = tn_graph_find(m->graph, "w")->constant->data;
    assert_true(data[0] == first && data[1] == first + 1);
    data = tn_graph_find(m->graph, "v")->constant->data;
    assert_true(data[0] == 5 && data[1] == 6);
    assert_int_equal(m->n_files, 2);
    tern_model_free(m);
}

static void check_fails(const folder *f, const char *location, const char *offset, const char *length,
                        tern_status status, const char *part) {
    tn_pb_writer w = {0};
    tern_model *m;
    tern_error err;
    put_model(&w, location, offset, length);
    assert_int_equal(tern_model_load_memory(&m, w.data, w.len, f->models, NULL, &err), status);
    assert_null(m);
    if (!strstr(err.text, part) || !strstr(err.text, "initializer 'w'")) fail_msg("'%s' is not in: %s", part, err.text);
    tn_pb_release(&w);
}

static void test_data_beside_the_model(void **state) {
    check_loads(*state, "w.bin", "0", "8", 1);
    check_loads(*state, "w.bin", NULL, NULL, 1);
    check_loads(*state, "w.bin", "8", NULL, 3);
    check_loads(*state, "./w.bin", "4", "8", 2);
    check_loads(*state, "sub/w.bin", "4", "8", 2);
    check_loads(*state, "sub//./w.bin", "4", "8", 2);
    check_loads(*state, "inside", "4", "8", 2); // a link that stays inside is fine
}

static void test_paths_that_leave_the_folder(void **state) {
    const folder *f = *state;
    char absolute[400];
    snprintf(absolute, sizeof absolute, "%s/w.bin", f->models);
    check_fails(f, "../secret", "0", "8", TERN_INVALID_MODEL, "leaves the model's folder");
    check_fails(f, "sub/../../secret", "0", "8", TERN_INVALID_MODEL, "leaves the model's folder");
    check_fails(f, "sub/../w.bin", "0", "8", TERN_INVALID_MODEL, "leaves the model's folder");
    check_fails(f, "..", "0", "8", TERN_INVALID_MODEL, "leaves the model's folder");
    check_fails(f, absolute, "0", "8", TERN_INVALID_MODEL, "absolute");
    check_fails(f, "link", "0", "8", TERN_INVALID_MODEL, "a link leaves");
    check_fails(f, "out/secret", "0", "8", TERN_INVALID_MODEL, "a link leaves");
    check_fails(f, "/etc/passwd", "0", "8", TERN_INVALID_MODEL, "absolute");
}

static void test_what_is_not_there(void **state) {
    const folder *f = *state;
    check_fails(f, "absent.bin", "0", "8", TERN_IO, "no such file");
    check_fails(f, "sub", "0", "8", TERN_IO, "directory");
    check_fails(f, "", "0", "8", TERN_INVALID_MODEL, "no location");
    check_fails(f, NULL, "0", "8", TERN_INVALID_MODEL, "no location");
    check_fails(f, "w.bin", "20", "8", TERN_INVALID_MODEL, "bytes 20 to 28 are wanted, the file has 24");
    check_fails(f, "w.bin", "18446744073709551615", "8", TERN_INVALID_MODEL, "the file has 24");
    check_fails(f, "w.bin", "18446744073709551616", "8", TERN_INVALID_MODEL, "not a number");
    check_fails(f, "w.bin", "-1", "8", TERN_INVALID_MODEL, "not a number");
    check_fails(f, "w.bin", "1x", "8", TERN_INVALID_MODEL, "not a number");
    check_fails(f, "w.bin", "0", "", TERN_INVALID_MODEL, "not a number");
    check_fails(f, "w.bin", "0", "12", TERN_INVALID_MODEL, "needs 8");
}

static void test_no_folder_no_data(void **state) {
    (void)state;
    tn_pb_writer w = {0};
    put_model(&w, "w.bin", "0", "8");
    b_load_fails(&w, TERN_IO, "no folder");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_beside_the_model),
        cmocka_unit_test(test_paths_that_leave_the_folder),
        cmocka_unit_test(test_what_is_not_there),
        cmocka_unit_test(test_no_folder_no_data),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
