/* Tuning: the table and its file, what happens to damaged and foreign files, many writers, and that the tuner does what
 * the file says. Nothing here depends on which algorithm is faster. */
#include "kernels/check.h"

#include <sys/wait.h>

#include "kernels/tune.h"

#define HEADING "tern tune 1, 1.2.3, A CPU"

static char folder[] = "/tmp/tern-tune-XXXXXX";
static char path[64];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/tune.txt", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static tn_text print(const tn_tune_table *t, const char *heading) {
    tn_text text;
    tn_text_init(&text);
    tn_tune_table_print(t, heading, &text);
    assert_false(text.failed);
    return text;
}

static tn_text read_text(void) {
    tn_file file;
    tn_text text;
    tern_error err;
    tn_text_init(&text);
    assert_int_equal(tn_file_map(&file, path, &err), TERN_OK);
    tn_text_add_str(&text, (const char *)file.data, file.size);
    tn_file_unmap(&file);
    return text;
}

static void write_text(const char *data, size_t size) {
    tern_error err;
    assert_int_equal(tn_file_write(path, data, size, &err), TERN_OK);
}

/* ---- table and file -------------------------------------------------------------------------------------------- */

static void table(void **state) {
    (void)state;
    tn_tune_table t = {0}, back = {0};
    tern_error err;
    assert_true(tn_tune_table_put(&t, "conv 1", "a"));
    assert_true(tn_tune_table_put(&t, "conv 2", "b"));
    assert_true(tn_tune_table_put(&t, "conv 1", "longer"));
    assert_false(tn_tune_table_put(&t, "", "a"));
    assert_false(tn_tune_table_put(&t, "x", ""));
    assert_false(tn_tune_table_put(&t, "x", "two words"));
    assert_false(tn_tune_table_put(&t, "line\nbreak", "a"));
    char long_key[400];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    assert_false(tn_tune_table_put(&t, long_key, "a"));
    assert_string_equal(tn_tune_table_get(&t, "conv 1"), "longer");
    assert_string_equal(tn_tune_table_get(&t, "conv 2"), "b");
    assert_null(tn_tune_table_get(&t, "conv"));
    tn_text text = print(&t, HEADING);
    assert_int_equal(tn_tune_table_parse(&back, HEADING, (tn_str){text.data, text.len}, &err), TERN_OK);
    assert_int_equal(back.count, 2);
    assert_string_equal(tn_tune_table_get(&back, "conv 1"), "longer");
    tn_tune_table_release(&back);
    assert_int_equal(tn_tune_table_parse(&back, HEADING "!", (tn_str){text.data, text.len}, &err), TERN_INVALID_FORMAT);
    assert_non_null(strstr(err.text, "another version"));
    assert_int_equal(back.count, 0);
    tn_text_release(&text);
    tn_tune_table_release(&t);
}

/* Every cut and every changed byte is noticed, and adds nothing. */
static void damage(void **state) {
    (void)state;
    tn_tune_table t = {0}, back = {0};
    tern_error err;
    for (int i = 0; i < 5; i++) {
        char key[20];
        snprintf(key, sizeof key, "conv layer %d", i);
        assert_true(tn_tune_table_put(&t, key, i % 2 ? "direct" : "winograd"));
    }
    tn_text text = print(&t, HEADING);
    for (size_t n = 0; n < text.len; n++)
        assert_int_not_equal(tn_tune_table_parse(&back, HEADING, (tn_str){text.data, n}, &err), TERN_OK);
    for (size_t i = 0; i < text.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            text.data[i] = (char)(text.data[i] ^ 1 << bit);
            assert_int_not_equal(tn_tune_table_parse(&back, HEADING, (tn_str){text.data, text.len}, &err), TERN_OK);
            text.data[i] = (char)(text.data[i] ^ 1 << bit);
        }
    }
    tn_text_add(&text, "more\n");
    assert_int_not_equal(tn_tune_table_parse(&back, HEADING, (tn_str){text.data, text.len}, &err), TERN_OK);
    assert_int_equal(back.count, 0);
    tn_tune_table_release(&back);
    tn_text_release(&text);
    tn_tune_table_release(&t);
}

/* ---- the tuner ------------------------------------------------------------------------------------------------- */

static int warnings;
static char last_warning[1200];

static void count_warning(void *context, tern_log_level level, const char *text) {
    (void)context;
    if (level > TERN_LOG_WARNING) return;
    warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", text);
}

static tn_conv layer(int64_t channels, int64_t size) {
    tn_conv c = {.n = 1, .ic = channels, .oc = channels, .groups = 1, .kh = 3, .kw = 3};
    c.ih = c.iw = c.oh = c.ow = size;
    c.sh = c.sw = c.dh = c.dw = c.pad_top = c.pad_left = 1;
    return c;
}

static size_t steps;
static void count_step(void *context, size_t done, size_t total) {
    assert_ptr_equal(context, &steps);
    assert_int_equal(total, 3);
    steps = done;
}

static tn_tuner *open_tuner(size_t weight_bytes) {
    tn_tuner_options o = {.path = path, .weight_bytes = weight_bytes, .layers = 3};
    o.progress = count_step;
    o.progress_context = &steps;
    tn_tuner *t = tn_tuner_open(&o);
    assert_non_null(t);
    return t;
}

/* Times the layer and leaves a file. */
static const tn_conv_algo *tune(const tn_conv *c, int threads) {
    tn_tuner *t = open_tuner(0);
    const tn_conv_algo *algo = tn_tuner_conv(t, ck_top(), threads, c);
    tn_tuner_save(t);
    tn_tuner_close(t);
    return algo;
}

static bool is_candidate(const tn_conv *c, const tn_conv_algo *algo) {
    const tn_conv_algo *list[8];
    int count = tn_conv_candidates(ck_top(), c, list, 8);
    for (int i = 0; i < count; i++)
        if (list[i] == algo) return true;
    return false;
}

static char *heading_of(const tn_text *text) {
    const char *end = strchr(text->data, '\n');
    assert_non_null(end);
    return tn_strndup(text->data, (size_t)(end - text->data));
}

static void chooses(void **state) {
    (void)state;
    tn_conv c = layer(16, 12), one = layer(16, 9);
    one.kh = one.kw = 1, one.pad_top = one.pad_left = 0;
    unlink(path);
    tn_tuner *t = open_tuner(0);
    steps = 0;
    assert_true(is_candidate(&c, tn_tuner_conv(t, ck_top(), 1, &c)));
    assert_true(is_candidate(&c, tn_tuner_conv(t, ck_top(), 2, &c)));
    /* Nothing to choose from, nothing to keep. */
    assert_ptr_equal(tn_tuner_conv(t, ck_top(), 1, &one), tn_conv_select(ck_top(), &one));
    assert_int_equal(steps, 3);
    one.groups = 5;
    assert_null(tn_tuner_conv(t, ck_top(), 1, &one));
    assert_int_not_equal(access(path, F_OK), 0);
    tn_tuner_save(t);
    tn_tuner_close(t);
    tn_text text = read_text();
    tn_tune_table read = {0};
    char *heading = heading_of(&text);
    assert_int_equal(tn_tune_table_parse(&read, heading, (tn_str){text.data, text.len}, NULL), TERN_OK);
    assert_int_equal(read.count, 2); /* one line for each number of threads */
    tn_tune_table_release(&read);
    tn_free(heading);
    tn_text_release(&text);
}

/* What the file says is done, whatever it is; a name that is no candidate's is timed anew. */
static void obeys_the_file(void **state) {
    (void)state;
    tn_conv c = layer(16, 12);
    const tn_conv_algo *list[8];
    int count = tn_conv_candidates(ck_top(), &c, list, 8);
    assert_true(count >= 2);
    unlink(path);
    tune(&c, 1);
    tn_text text = read_text();
    char *heading = heading_of(&text);
    for (int i = 0; i <= count; i++) {
        tn_tune_table t = {0};
        assert_int_equal(tn_tune_table_parse(&t, heading, (tn_str){text.data, text.len}, NULL), TERN_OK);
        assert_true(tn_tune_table_put(&t, t.entries[0].key, i < count ? list[i]->name : "no_such_algorithm"));
        tn_text changed = print(&t, heading);
        write_text(changed.data, changed.len);
        const tn_conv_algo *got = tune(&c, 1);
        if (i < count)
            assert_ptr_equal(got, list[i]);
        else
            assert_true(is_candidate(&c, got));
        tn_text_release(&changed);
        tn_tune_table_release(&t);
    }
    tn_free(heading);
    tn_text_release(&text);
}

static void bad_files(void **state) {
    (void)state;
    tn_conv c = layer(16, 12);
    tn_log_set_hook(count_warning, NULL, TERN_LOG_WARNING);
    unlink(path);
    warnings = 0;
    tune(&c, 1);
    assert_int_equal(warnings, 0); /* that there is none yet is no reason for one */
    tn_text good = read_text();
    write_text(good.data, good.len - 3); /* damaged: replaced */
    tune(&c, 1);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(last_warning, "it is damaged; it is replaced"));
    tune(&c, 1);
    assert_int_equal(warnings, 1);
    tn_tune_table empty = {0};
    tn_text foreign = print(&empty, HEADING);
    write_text(foreign.data, foreign.len); /* of another CPU: replaced */
    tune(&c, 1);
    assert_int_equal(warnings, 2);
    assert_non_null(strstr(last_warning, "another CPU; it is replaced"));
    tune(&c, 1);
    assert_int_equal(warnings, 2);
    write_text("a letter\n", 9); /* somebody's: stays */
    tune(&c, 1);
    assert_int_equal(warnings, 3);
    assert_non_null(strstr(last_warning, "it stays as it is"));
    tn_text letter = read_text();
    assert_string_equal(letter.data, "a letter\n");
    unlink(path);
    tn_tuner_options nowhere = {.path = "/nowhere/at/all/tune.txt"};
    tn_tuner *t = tn_tuner_open(&nowhere);
    assert_true(is_candidate(&c, tn_tuner_conv(t, ck_top(), 1, &c)));
    tn_tuner_save(t);
    tn_tuner_close(t);
    assert_int_equal(warnings, 4);
    tn_text_release(&letter);
    tn_text_release(&foreign);
    tn_text_release(&good);
    tn_log_set_hook(NULL, NULL, TERN_LOG_ERROR);
}

/* Processes that began with the same file and write at the same time: nothing is lost. */
static void many_writers(void **state) {
    (void)state;
    enum { WRITERS = 6, EACH = 4 };
    unlink(path);
    pid_t child[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i]) continue;
        tn_tuner_options o = {.path = path};
        tn_tuner *t = tn_tuner_open(&o);
        for (int k = 0; t && k < EACH; k++) {
            tn_conv c = layer(8 + i, 5 + k);
            tn_tuner_conv(t, ck_top(), 1, &c);
            tn_tuner_save(t);
        }
        tn_tuner_close(t);
        _exit(t ? 0 : 1);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    tn_text text = read_text();
    char *heading = heading_of(&text);
    tn_tune_table t = {0};
    assert_int_equal(tn_tune_table_parse(&t, heading, (tn_str){text.data, text.len}, NULL), TERN_OK);
    assert_int_equal(t.count, WRITERS * EACH);
    tn_tune_table_release(&t);
    tn_free(heading);
    tn_text_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),          cmocka_unit_test(damage),    cmocka_unit_test(chooses),
        cmocka_unit_test(obeys_the_file), cmocka_unit_test(bad_files), cmocka_unit_test(many_writers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
