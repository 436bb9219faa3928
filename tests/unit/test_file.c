/* File map and file writer. */
#include "test_util.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/base.h"

static void test_map_gives_the_bytes(void **state) {
    (void)state;
    tt_temp temp = tt_temp_file_with("hello\0world", 11);
    tn_file file;
    tern_error err;
    assert_int_equal(tn_file_map(&file, temp.path, &err), TERN_OK);
    assert_int_equal(file.size, 11);
    assert_memory_equal(file.data, "hello\0world", 11);
    tn_file_unmap(&file);
    tn_file_unmap(&file); // twice is fine
    tt_temp_remove(&temp);
}

static void test_map_empty_file(void **state) {
    (void)state;
    tt_temp temp = tt_temp_file();
    tn_file file;
    assert_int_equal(tn_file_map(&file, temp.path, NULL), TERN_OK);
    assert_int_equal(file.size, 0);
    assert_non_null(file.data);
    tn_file_unmap(&file);
    tt_temp_remove(&temp);
}

static void expect_io_error(const char *path) {
    tn_file file;
    tern_error err = {0};
    assert_int_equal(tn_file_map(&file, path, &err), TERN_IO);
    assert_null(file.data);
    assert_int_equal(err.status, TERN_IO);
    assert_non_null(strstr(err.text, path));
}

static void test_map_refuses(void **state) {
    (void)state;
    tt_temp dir = tt_temp_dir();
    expect_io_error("/nonexistent/file");
    expect_io_error(dir.path);
    expect_io_error("/dev/null");
    char fifo[300];
    snprintf(fifo, sizeof fifo, "%s/fifo", dir.path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_io_error(fifo); // and does not hang
    unlink(fifo);
    tt_temp_remove_dir(&dir);
}

static void expect_content(const char *path, const char *want) {
    tn_file file;
    assert_int_equal(tn_file_map(&file, path, NULL), TERN_OK);
    assert_int_equal(file.size, strlen(want));
    assert_memory_equal(file.data, want, file.size);
    tn_file_unmap(&file);
}

static void test_write_new_and_again(void **state) {
    (void)state;
    tt_temp dir = tt_temp_dir();
    char path[300], link[300];
    snprintf(path, sizeof path, "%s/out", dir.path);
    snprintf(link, sizeof link, "%s/link", dir.path);
    tern_error err;
    assert_int_equal(tn_file_write(path, "one", 3, &err), TERN_OK);
    expect_content(path, "one");
    assert_int_equal(chmod(path, 0640), 0);
    const tn_str parts[] = {{"two", 3}, {NULL, 0}, {" three", 6}};
    assert_int_equal(tn_file_write_parts(path, parts, 3, &err), TERN_OK);
    expect_content(path, "two three");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    // A link stays a link.
    assert_int_equal(symlink("out", link), 0);
    assert_int_equal(tn_file_write(link, "four", 4, &err), TERN_OK);
    expect_content(path, "four");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(link), unlink(path);
    // Nothing else was left behind.
    assert_int_equal(rmdir(dir.path), 0);
}

static void test_write_refuses(void **state) {
    (void)state;
    tt_temp dir = tt_temp_dir();
    tern_error err = {0};
    assert_int_equal(tn_file_write(dir.path, "x", 1, &err), TERN_IO);
    assert_int_equal(tn_file_write("/nonexistent/folder/file", "x", 1, &err), TERN_IO);
    assert_non_null(strstr(err.text, "/nonexistent/folder/file"));
    tt_temp_remove_dir(&dir);
}

static void test_write_to_devices(void **state) {
    (void)state;
    tern_error err = {0};
    assert_int_equal(tn_file_write("/dev/null", "x", 1, &err), TERN_OK);
    if (access("/dev/full", W_OK) != 0) tt_skip("no /dev/full");
    assert_int_equal(tn_file_write("/dev/full", "x", 1, &err), TERN_IO);
}

/* A process that ends in the middle leaves nothing: here by the signal that a file above the limit brings. */
static void test_write_killed(void **state) {
    (void)state;
    static const char bytes[1 << 16];
    tt_temp dir = tt_temp_dir();
    char path[300];
    snprintf(path, sizeof path, "%s/out", dir.path);
    int nameless = open(dir.path, O_WRONLY | O_TMPFILE, 0600);
    if (nameless < 0) tt_skip("files without a name are not known here");
    close(nameless);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {4096, 4096};
        signal(SIGXFSZ, SIG_DFL);
        if (setrlimit(RLIMIT_FSIZE, &limit) == 0) tn_file_write(path, bytes, sizeof bytes, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
    assert_int_equal(rmdir(dir.path), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_gives_the_bytes), cmocka_unit_test(test_map_empty_file),
        cmocka_unit_test(test_map_refuses),         cmocka_unit_test(test_write_new_and_again),
        cmocka_unit_test(test_write_refuses),       cmocka_unit_test(test_write_to_devices),
        cmocka_unit_test(test_write_killed),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
