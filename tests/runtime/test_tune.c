/* A tuned session runs what the tuning file says, with the same bits on any number of threads; a compiled model keeps
 * the choice. */
#include "kernels/tune.h"
#include "model_builder.h"
#include "runtime/runtime.h"
#include "tern/tern.h"

#define DIMS(...) \
    (const int64_t[]) { __VA_ARGS__ }

enum { MAX_ALGOS = 8, CHANNELS = 32, SIZE = 20 };

static char folder[] = "/tmp/tern-tuned-XXXXXX";
static char cache[64], compiled[64], onnx[64];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(cache, sizeof cache, "%s/tune.txt", folder);
    snprintf(onnx, sizeof onnx, "%s/net.onnx", folder);
    snprintf(compiled, sizeof compiled, "%s/net.tern", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(cache);
    unlink(compiled);
    unlink(onnx);
    return rmdir(folder);
}

/* Two convolutions, so that the second one's input is in blocks. */
static tern_model *network(void) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(-1, 3, SIZE, SIZE));
    mb_random(&b, "w1", 4, DIMS(CHANNELS, 3, 1, 1));
    mb_random(&b, "w2", 4, DIMS(CHANNELS, CHANNELS, 3, 3));
    mb_node(&b, "Conv", "x w1", "a");
    mb_node(&b, "Relu", "a", "r");
    mb_ints(mb_node(&b, "Conv", "r w2", "y"), "pads", 4, DIMS(1, 1, 1, 1));
    mb_output(&b, "y");
    return mb_end(&b);
}

static tern_session *open_session(tern_model *m, int threads, bool tune) {
    tern_options o;
    tern_options_init(&o);
    o.threads = threads;
    o.tune = tune;
    o.tune_cache = cache;
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, &o, &err) != TERN_OK) fail_msg("%s", err.text);
    return s;
}

static tern_tensor *run(tern_session *s, int64_t n) {
    tern_tensor *x = mb_random_tensor(7, 4, DIMS(n, 3, SIZE, SIZE)), *y = NULL;
    tern_error err;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_tensor_free(x);
    return y;
}

/* The kernel of the 3x3 convolution in the plan that a run has made. */
static const char *kernel(const tern_session *s) {
    const char *last = NULL;
    assert_true(s->n_plans > 0);
    const tn_plan *p = s->plans[0]->plan;
    for (int i = 0; i < p->n_steps; i++)
        if (strcmp(p->steps[i].node->op_type, "Conv") == 0) last = p->steps[i].kernel;
    return last;
}

/* Puts `algo` in place of what the file says of every layer; how many there are. */
static size_t rewrite(const char *algo) {
    tn_file file;
    tn_tune_table t = {0};
    tn_text text;
    assert_int_equal(tn_file_map(&file, cache, NULL), TERN_OK);
    const char *end = memchr(file.data, '\n', file.size);
    assert_non_null(end);
    char *heading = tn_strndup((const char *)file.data, (size_t)(end - (const char *)file.data));
    assert_int_equal(tn_tune_table_parse(&t, heading, (tn_str){(const char *)file.data, file.size}, NULL), TERN_OK);
    tn_file_unmap(&file);
    size_t count = t.count;
    for (size_t i = 0; i < count; i++) assert_true(tn_tune_table_put(&t, t.entries[i].key, algo));
    tn_text_init(&text);
    tn_tune_table_print(&t, heading, &text);
    assert_int_equal(tn_file_write(cache, text.data, text.len, NULL), TERN_OK);
    tn_text_release(&text);
    tn_free(heading);
    tn_tune_table_release(&t);
    return count;
}

static int candidates(const tn_conv_algo **list) {
    tn_conv c = {.n = 1, .ic = CHANNELS, .oc = CHANNELS, .groups = 1, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1};
    c.ih = c.iw = c.oh = c.ow = SIZE;
    c.sh = c.sw = c.dh = c.dw = 1;
    return tn_conv_candidates(tern_cpu_get_tier(), &c, list, MAX_ALGOS);
}

static void choice(void **state) {
    (void)state;
    enum { THREADS = 3 };
    const tn_conv_algo *list[MAX_ALGOS];
    int count = candidates(list);
    tern_model *m = network();
    assert_true(count >= 2);
    unlink(cache);
    for (int threads = 1; threads <= THREADS; threads++) {
        tern_session *s = open_session(m, threads, true);
        tern_tensor_free(run(s, 1));
        tern_session_free(s);
    }
    for (int i = 0; i < count; i++) {
        assert_int_equal(rewrite(list[i]->name), THREADS);
        tern_tensor *first = NULL;
        for (int threads = 1; threads <= THREADS; threads++) {
            tern_session *s = open_session(m, threads, true);
            tern_tensor *y = run(s, 1);
            assert_string_equal(kernel(s), list[i]->name);
            if (first) assert_true(tn_tensor_equal(first, y));
            if (first)
                tern_tensor_free(y);
            else
                first = y;
            tern_session_free(s);
        }
        tern_tensor_free(first);
    }
    tern_model_free(m);
}

static void compiled_choice(void **state) {
    (void)state;
    const tn_conv_algo *list[MAX_ALGOS];
    int count = candidates(list);
    tern_error err;
    tern_model *built = network(), *m, *loaded;
    tn_opset_import import = {.domain = "", .version = 13};
    built->opsets = &import;
    built->n_opsets = 1;
    if (tern_model_save(built, onnx, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_model_free(built);
    assert_int_equal(tern_model_load(&m, onnx, NULL, NULL), TERN_OK); /* a compiled file holds the source's bytes */
    for (int i = 0; i < count; i++) {
        unlink(cache);
        tern_session *s = open_session(m, 1, true);
        tern_tensor_free(run(s, 1));
        tern_session_free(s);
        rewrite(list[i]->name);
        s = open_session(m, 1, true);
        tern_tensor *want = run(s, 1);
        assert_int_equal(tn_session_compile(&s, 1, compiled, NULL), TERN_OK);
        tern_session_free(s);
        assert_int_equal(tern_model_load(&loaded, compiled, NULL, NULL), TERN_OK);
        s = open_session(loaded, 2, false);
        tern_tensor *y = run(s, 1);
        assert_string_equal(kernel(s), list[i]->name);
        assert_true(tn_tensor_equal(want, y));
        tern_tensor_free(want);
        tern_tensor_free(y);
        tern_session_free(s);
        tern_model_free(loaded);
    }
    tern_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(choice), cmocka_unit_test(compiled_choice)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
