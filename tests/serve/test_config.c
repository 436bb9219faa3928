/* What is said about models: our words, Triton's, protobuf's text format, and what is refused. */
#include "serve/config.h"
#include "serve/scan.h"
#include "test_util.h"

static serve_config config;

static tern_status take(bool pbtxt, const char *text, tern_error *err) {
    serve_config_release(&config);
    serve_config_init(&config);
    return (pbtxt ? serve_config_pbtxt : serve_config_json)(&config, text, strlen(text), "net", err);
}

static void good(bool pbtxt, const char *text) {
    tern_error err;
    if (take(pbtxt, text, &err) != TERN_OK) fail_msg("%s: %s", text, err.text);
}

static void bad(bool pbtxt, const char *text, const char *part) {
    tern_error err = {.text = "nothing"};
    if (take(pbtxt, text, &err) == TERN_OK || !strstr(err.text, part))
        fail_msg("%s: %s; wanted %s", text, err.text, part);
}

static void our_words(void **unused) {
    (void)unused;
    good(false,
         "{\"max_batch\": 8, \"max_delay_us\": 500, \"preferred\": [8, 4], \"max_queue\": 7, \"timeout_us\": 9, "
         "\"instances\": 2, \"threads\": 3,"
         "\"version_policy\": {\"specific\": [3, 1]}, \"task\": \"detect\", \"output\": \"y\", \"labels\": "
         "\"names.txt\", \"softmax\": false,"
         "\"conf\": 0.5, \"iou\": 0.25, \"max_det\": 10, \"warmup\": false, \"preprocess\": {\"size\": [3, 5]}}");
    assert_int_equal(config.max_batch, 8);
    assert_true(config.batch_dim);
    assert_int_equal(config.max_delay_us, 500);
    assert_int_equal(config.n_preferred, 2);
    assert_int_equal(config.preferred[0], 4);
    assert_int_equal(config.max_queue, 7);
    assert_int_equal(config.timeout_us, 9);
    assert_int_equal(config.instances, 2);
    assert_int_equal(config.threads, 3);
    assert_int_equal(config.policy, SERVE_SPECIFIC);
    assert_int_equal(config.versions[1], 3);
    assert_int_equal(config.task, SERVE_TASK_DETECT);
    assert_string_equal(config.output, "y");
    assert_string_equal(config.labels, "names.txt");
    assert_int_equal(config.softmax, 0);
    assert_true(config.conf == 0.5 && config.iou == 0.25 && config.no_warmup);
    assert_int_equal(config.preprocess.width, 3);
    good(false, "{}");
    assert_int_equal(config.max_batch, 0);
    assert_int_equal(config.num_versions, 1);
    good(false, "{\"labels\": [\"a\", \"b\"], \"version_policy\": \"all\", \"name\": \"net\"}");
    assert_string_equal(config.label_list, "[\"a\",\"b\"]");
    assert_int_equal(config.policy, SERVE_ALL);
}

static void words_of_triton(void **unused) {
    (void)unused;
    good(true, "# a comment\n"
               "name: \"net\"\nbackend: 'onnxruntime' ; platform: \"a\" \"b\"\n"
               "max_batch_size: 16\n"
               "input [\n  {\n    name: \"x\", data_type: TYPE_FP32, dims: [ 3, -1, 224 ]\n  }\n]\n"
               "output { name: \"y\" data_type: TYPE_FP32 dims: 10 dims: 1 label_filename: \"l.txt\" }\n"
               "instance_group [ { count: 2, kind: KIND_CPU }, { count: 1 } ]\n"
               "version_policy: { latest { num_versions: 2 } }\n"
               "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100\n"
               "  default_queue_policy < max_queue_size: 3 timeout_action: REJECT default_timeout_microseconds: 5 "
               "allow_timeout_override: true > }\n"
               "default_model_filename: \"m.onnx\" parameters { key: \"a\" value: { string_value: \"b\\\"\\n\" } }");
    assert_int_equal(config.max_batch, 16);
    assert_int_equal(config.instances, 3);
    assert_int_equal(config.policy, SERVE_LATEST);
    assert_int_equal(config.num_versions, 2);
    assert_int_equal(config.n_preferred, 2);
    assert_int_equal(config.max_delay_us, 100);
    assert_int_equal(config.max_queue, 3);
    assert_int_equal(config.timeout_us, 5);
    assert_string_equal(config.labels, "l.txt");
    assert_string_equal(config.file, "m.onnx");
    good(true, "dynamic_batching { }");
    good(true, "");
    good(false, "{\"max_batch_size\": \"4\", \"dynamic_batching\": {\"max_queue_delay_microseconds\": \"70\"}, "
                "\"instance_group\": [{\"count\": 2}]}");
    assert_int_equal(config.max_batch, 4);
    assert_int_equal(config.max_delay_us, 70);
}

static void refused(void **unused) {
    (void)unused;
    static const char *const json[][2] = {
        {"", "line 1: this is not JSON"},
        {"{\n\"max_batch\": 1,\n,}", "line 3: this is not JSON"},
        {"[]", "no JSON object"},
        {"{\"dynamic_batching\": 5}", "an object"},
        {"{\"dynamic_batching\": {\"default_queue_policy\": true}}", "an object"},
        {"{\"dynamic_batching\": {\"default_queue_policy\": {\"allow_timeout_override\": 3}}}", "true or false"},
        {"{\"max_batchs\": 1}", "\"max_batchs\" is no setting"},
        {"{\"max_batch\": -1}", "whole number"},
        {"{\"max_batch\": 1.5}", "whole number"},
        {"{\"max_batch\": 2000}", "from 0 to 1024"},
        {"{\"instances\": 0}", "from 1"},
        {"{\"name\": \"other\"}", "which is 'net'"},
        {"{\"labels\": \"../../etc/passwd\"}", "without '/'"},
        {"{\"labels\": \".secret\"}", "without '/'"},
        {"{\"default_model_filename\": \"a/b\"}", "without '/'"},
        {"{\"task\": \"x\"}", "classify"},
        {"{\"conf\": 2}", "from 0 to 1"},
        {"{\"version_policy\": \"newest\"}", "num_versions"},
        {"{\"version_policy\": {\"specific\": []}}", "at least one"},
        {"{\"softmax\": 1}", "true or false"},
        {"{\"preprocess\": {\"siez\": 1}}", "siez"},
        {"{\"sequence_batching\": {}}", "no setting"},
        {"{\"ensemble_scheduling\": {}}", "no setting"},
        {"{\"instance_group\": [{\"kind\": \"KIND_GPU\"}]}", "only CPUs"},
        {"{\"dynamic_batching\": {\"priority_levels\": 2}}", "not supported"},
        {"{\"dynamic_batching\": {\"default_queue_policy\": {\"timeout_action\": \"DELAY\"}}}", "REJECT"}};
    for (size_t i = 0; i < TN_COUNT(json); i++) bad(false, json[i][0], json[i][1]);
    static const char *const pbtxt[][2] = {
        {"a", "':' or '{'"},        {"max_batch_size: ", "a value is missing"}, {"name: \"x", "without an end"},
        {"x {", "name of a field"}, {"\n\nname: \"a\\q\"", "line 3"},           {"preferred: [1 2]", "',' or ']'"},
        {"}", "name of a field"},   {"sequence_batching { }", "no setting"}};
    for (size_t i = 0; i < TN_COUNT(pbtxt); i++) bad(true, pbtxt[i][0], pbtxt[i][1]);
    serve_config config;
    tern_error err;
    serve_config_init(&config);
    assert_int_not_equal(serve_config_pbtxt(&config, "max_batch_size: 4\0 x", 20, "net", &err), TERN_OK);
    serve_config_release(&config);
    char deep[400] = "";
    for (int i = 0; i < 100; i++) memcpy(deep + 3 * i, "a {", 4);
    bad(true, deep, "too many levels");
}

static void names(void **unused) {
    (void)unused;
    static const char *const fine[] = {"a", "yolov5s", "resnet50-v1.5", "a_b", "A+B@2=c"};
    static const char *const odd[] = {"", ".", "..", ".a", "a/b", "a b", "a%2f", "\xc3\xa4", "a\n", "a:b"};
    for (size_t i = 0; i < TN_COUNT(fine); i++) assert_true(serve_name_ok(fine[i]));
    for (size_t i = 0; i < TN_COUNT(odd); i++) assert_false(serve_name_ok(odd[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(our_words), cmocka_unit_test(words_of_triton),
                                       cmocka_unit_test(refused), cmocka_unit_test(names)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    serve_config_release(&config);
    return failed;
}
