/* What `tern verify` does with outputs of random operators: a draw of the same distribution passes, others do not. */
#include "cli/random_check.h"
#include "subgraph_builder.h"

enum { N = 200 };

/* y = random numbers, as `op` draws them; saved to a file. */
static tt_temp save_model(const char *op, const tern_attr *attrs, size_t n_attrs) {
    tern_graph *g;
    tern_model *m;
    tern_error err;
    tt_temp file = tt_temp_file();
    const char *out = "y";
    assert_int_equal(tern_graph_create(&g, "random", 20, &err), TERN_OK);
    tern_node_info node = {.op_type = op, .outputs = &out, .n_outputs = 1, .attrs = attrs, .n_attrs = n_attrs};
    assert_int_equal(tern_graph_node(g, &node, &err), TERN_OK);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "y", .rank = -1}, &err), TERN_OK);
    if (tern_graph_finish(g, &m, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(tern_model_save(m, file.path, &err), TERN_OK);
    tern_model_free(m);
    tern_graph_free(g);
    return file;
}

static bool check(const tt_temp *file, const tern_tensor *want, char *why, size_t size) {
    tern_options options;
    tern_options_init(&options);
    cli_random_check c = {.path = file->path, .options = &options, .output = "y", .want = want};
    return cli_check_random(&c, why, size);
}

/* scale * (a draw of the model's own) + shift is expected; `word` is in the reason when that does not pass. */
static void expect(const char *op, const tern_attr *attrs, size_t n_attrs, float scale, float shift, const char *word) {
    tt_temp file = save_model(op, attrs, n_attrs);
    tern_model *m;
    tern_session *s;
    tern_tensor *y = NULL;
    tern_error err;
    tern_options options;
    tern_options_init(&options);
    options.seed = 987654321;
    assert_int_equal(tern_model_load(&m, file.path, NULL, &err), TERN_OK);
    assert_int_equal(tern_session_create(&s, m, &options, &err), TERN_OK);
    assert_true(cli_output_is_random(s, "y"));
    assert_int_equal(tern_session_run(s, NULL, 0, NULL, &y, 1, &err), TERN_OK);
    float *v = tern_tensor_data(y);
    for (int i = 0; i < N; i++) v[i] = scale * v[i] + shift;
    char why[400] = "";
    bool good = check(&file, y, why, sizeof why);
    if (good != (word == NULL)) fail_msg("%s: %s", op, good ? "passes" : why);
    if (word && !strstr(why, word)) fail_msg("'%s' does not mention '%s'", why, word);
    tern_tensor_free(y);
    tern_session_free(s);
    tern_model_free(m);
    tt_temp_remove(&file);
}

static const int64_t shape[] = {N};
static const tern_attr normal[] = {{.name = "shape", .type = TERN_ATTR_INTS, .count = 1, .ints = shape},
                                   {.name = "seed", .type = TERN_ATTR_FLOAT, .f = 5}};

static void test_normal(void **state) {
    (void)state;
    expect("RandomNormal", normal, 1, 1, 0, NULL);
    expect("RandomNormal", normal, 1, 1, 1, "sum is");
    expect("RandomNormal", normal, 1, 1.7f, 0, "spread is");
    expect("RandomNormal", normal, 1, 0.4f, 0, "spread is");
    expect("RandomNormal", normal, 1, 20, 0, "lie in");
}

/* The seed in the node is taken off, or every draw would be the same. */
static void test_own_seed(void **state) {
    (void)state;
    expect("RandomNormal", normal, 2, 1, 0, NULL);
    expect("RandomNormal", normal, 2, 1, 1, "sum is");
}

static void test_uniform(void **state) {
    (void)state;
    expect("RandomUniform", normal, 1, 1, 0, NULL);
    expect("RandomUniform", normal, 1, -1, 0.5f, "sum is");
    expect("RandomUniform", normal, 1, 1, 1, "lie in");
}

static void test_type_and_shape(void **state) {
    (void)state;
    tt_temp file = save_model("RandomNormal", normal, 1);
    char why[400];
    tern_tensor *want = sub_tensor(TERN_FLOAT, 1, DIMS(N + 1));
    assert_false(check(&file, want, why, sizeof why));
    assert_non_null(strstr(why, "shape"));
    tern_tensor_free(want);
    want = sub_tensor(TERN_DOUBLE, 1, DIMS(N));
    assert_false(check(&file, want, why, sizeof why));
    assert_non_null(strstr(why, "expected float64"));
    tern_tensor_free(want);
    tt_temp_remove(&file);
}

static void test_which_outputs(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 15);
    mb_input(&b, "x", TERN_FLOAT, 1, DIMS(3));
    mb_node(&b, "Neg", "x", "plain");
    mb_node(&b, "Bernoulli", "x", "r");
    mb_node(&b, "Add", "r x", "sum");
    mb_output(&b, "plain");
    mb_output(&b, "sum");
    tern_tensor *x = sub_floats(1, DIMS(3), (float[]){0, 0.5f, 1});
    sub_run r;
    sub_must(&r, mb_end(&b), &(tern_feed){"x", x}, 1);
    assert_false(cli_output_is_random(r.session, "plain"));
    assert_true(cli_output_is_random(r.session, "sum"));
    sub_end(&r);
    tern_tensor_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal),         cmocka_unit_test(test_own_seed),      cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_type_and_shape), cmocka_unit_test(test_which_outputs),
    };
    return cmocka_run_group_tests_name("random check", tests, NULL, NULL);
}
