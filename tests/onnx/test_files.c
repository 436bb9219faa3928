/* Every model of the shared data, and of ONNX's own tests where TERN_ONNX_TESTS names their folder: loads, is written
 * and loads again with as many nodes. Prints how long the slow ones took. */
#include "build.h"

#include <ftw.h>

#include "tern/model.h"

/* nftw has no place for a context. */
static int n_models;
static int n_written;

static void check_model(const char *path) {
    tern_model *m, *again;
    tern_error err;
    uint64_t start = tn_clock_ns();
    if (tern_model_load(&m, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    double ms = (double)(tn_clock_ns() - start) * 1e-6;
    if (ms > 50) print_message("# %s: %.0f ms\n", path, ms);
    n_models++;
    void *bytes;
    size_t size;
    if (tn_onnx_write_memory(m, &bytes, &size, &err) == TERN_OK) {
        if (tern_model_load_memory(&again, bytes, size, NULL, NULL, &err) != TERN_OK)
            fail_msg("%s: %s", path, err.text);
        assert_int_equal(again->graph->n_nodes, m->graph->n_nodes);
        assert_int_equal(tern_model_input_count(again), tern_model_input_count(m));
        tern_model_free(again);
        tn_free(bytes);
        n_written++;
    } else if (err.status != TERN_UNSUPPORTED) {
        fail_msg("%s: %s", path, err.text);
    }
    tern_model_free(m);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    size_t len = strlen(path);
    if (type == FTW_F && len > 5 && strcmp(path + len - 5, ".onnx") == 0) check_model(path);
    return 0;
}

static void check_folder(const char *path) {
    n_models = n_written = 0;
    assert_int_equal(nftw(path, visit, 16, FTW_PHYS), 0);
    print_message("# %d models, %d written and read again\n", n_models, n_written);
    assert_true(n_models > 0);
    assert_int_equal(n_written, n_models);
    assert_int_equal(tn_alloc_live(), 0);
}

static void test_shared_models(void **state) {
    (void)state;
    char path[4096];
    if (!tt_shared_dir()) tt_skip("no shared data");
    snprintf(path, sizeof path, "%s/models", tt_shared_dir());
    check_folder(path);
}

/* ONNX's own cases: 1,730 small models. */
static void test_onnx_tests(void **state) {
    (void)state;
    char archive[4096], command[9000];
    snprintf(archive, sizeof archive, "%s/onnx/onnx-tests.tar.xz", tt_shared_dir() ? tt_shared_dir() : "");
    if (access(archive, R_OK) != 0) tt_skip("no shared onnx/onnx-tests.tar.xz");
    tt_temp folder = tt_temp_dir();
    snprintf(command, sizeof command, "tar -xf '%s' -C '%s' 2>/dev/null", archive, folder.path);
    bool unpacked = system(command) == 0;
    if (unpacked) check_folder(folder.path);
    snprintf(command, sizeof command, "rm -rf '%s'", folder.path);
    assert_int_equal(system(command), 0);
    if (!unpacked) tt_skip("tar can not unpack .xz here");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_models), cmocka_unit_test(test_onnx_tests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
