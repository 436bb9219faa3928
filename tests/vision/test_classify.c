/* Preprocessing, labels and scores. */
#include "test_util.h"

#include <math.h>

#include "vision/classify/classify.h"
#include "vision/classify/labels.h"

static tern_value_info input_of(int64_t n, int64_t a, int64_t b, int64_t c) {
    return (tern_value_info){.name = "x", .dtype = TERN_FLOAT, .rank = 4, .dims = {n, a, b, c}};
}

static tern_preprocess parsed(const char *json) {
    tern_preprocess p;
    tern_error err;
    if (tern_preprocess_parse(&p, json, strlen(json), &err) != TERN_OK) fail_msg("%s", err.text);
    return p;
}

static void json_sets_what_it_says(void **state) {
    (void)state;
    tern_preprocess p =
        parsed("{\"size\": [320, 240], \"fit\": \"letterbox\", \"scale\": 0.5, \"mean\": [1, 2, 3], \"std\": 4,"
               " \"channels\": \"bgr\", \"layout\": \"nhwc\", \"filter\": \"area\", \"resize\": 256}");
    assert_int_equal(p.set, 0x1ff);
    assert_true(p.width == 320 && p.height == 240 && p.fit == TERN_FIT_LETTERBOX && p.filter == TERN_FILTER_AREA);
    assert_true(p.scale == 0.5 && p.n_mean == 3 && p.mean[2] == 3 && p.n_std == 1 && p.std[0] == 4);
    assert_true(p.channels == TERN_CHANNELS_BGR && p.layout == TERN_LAYOUT_NHWC && p.resize == 256);
    p = parsed("{\"size\": \"none\"}");
    assert_true(p.set == TERN_PRE_SIZE && p.width == 0);
    p = parsed("{\"size\": \"12x34\"}");
    assert_true(p.width == 12 && p.height == 34);
}

static void bad_json_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "[",
                                      "[]",
                                      "{\"size\": [0, 5]}",
                                      "{\"size\": \"5\"}",
                                      "{\"size\": [1.5, 5]}",
                                      "{\"scale\": \"x\"}",
                                      "{\"mean\": [1, 2, 3, 4]}",
                                      "{\"mean\": []}",
                                      "{\"fit\": \"squash\"}",
                                      "{\"layout\": 3}",
                                      "{\"colour\": \"rgb\"}"};
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        tern_preprocess p;
        tern_error err;
        if (tern_preprocess_parse(&p, bad[i], strlen(bad[i]), &err) != TERN_INVALID_FORMAT)
            fail_msg("%s was accepted", bad[i]);
    }
}

static tern_preprocess load_text(const char *json, tern_status want) {
    char path[] = "/tmp/tern-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, json, strlen(json)), (ssize_t)strlen(json));
    close(fd);
    tern_preprocess p;
    tern_error err = {.text = ""};
    tern_status status = tern_preprocess_load(&p, path, &err);
    unlink(path);
    if (status != want) fail_msg("%d %s", status, err.text);
    if (want != TERN_OK) assert_non_null(strstr(err.text, path));
    return p;
}

static void info_json_is_understood(void **state) {
    (void)state;
    tern_preprocess p = load_text("{\"preprocessing\": {\"resize\": \"prose\", \"channel_order\": \"RGB\", "
                                  "\"formula\": \"(u8 - 128) * 0.0078125\", \"layout\": \"NCHW\"}}",
                                  TERN_OK);
    assert_true(p.scale == 0.0078125 && p.mean[0] == 1 && !(p.set & TERN_PRE_STD) && !(p.set & TERN_PRE_RESIZE));
    p = load_text("{\"preprocessing\": {\"formula\": \"u8 / 255\"}}", TERN_OK);
    assert_true(p.scale == 1 / 255.0 && p.mean[0] == 0);
    p = load_text("{\"preprocessing\": {\"channel_order\": \"BGR\", \"mean\": [104, 117, 123], \"scale\": 1}}",
                  TERN_OK);
    assert_true(p.channels == TERN_CHANNELS_BGR && p.mean[1] == 117 && p.scale == 1);
    load_text("{\"preprocessing\": {\"formula\": \"sqrt(u8)\"}}", TERN_UNSUPPORTED);
    load_text("{\"other\": 1}", TERN_INVALID_FORMAT);
    p = load_text("{\"preprocess\": {\"scale\": 2}}", TERN_OK);
    assert_true(p.scale == 2);
}

static void earlier_sources_win(void **state) {
    (void)state;
    tern_preprocess flags = parsed("{\"scale\": 1}"), file = parsed("{\"scale\": 2, \"mean\": [5, 6, 7]}");
    tern_preprocess_merge(&flags, &file);
    assert_true(flags.scale == 1 && flags.n_mean == 3 && flags.mean[1] == 6);
}

static void input_completes_the_rest(void **state) {
    (void)state;
    tern_preprocess p = {0};
    tern_value_info info = input_of(-1, 3, 224, 200);
    assert_int_equal(tern_preprocess_resolve(&p, &info, NULL), TERN_OK);
    assert_true(p.width == 200 && p.height == 224 && p.layout == TERN_LAYOUT_NCHW && p.channels == TERN_CHANNELS_RGB);
    assert_true(p.scale == 1 / 255.0 && p.mean[0] == 0 && p.std[0] == 1 && p.fit == TERN_FIT_STRETCH);
    p = (tern_preprocess){0};
    info = input_of(1, 224, 200, 3);
    assert_int_equal(tern_preprocess_resolve(&p, &info, NULL), TERN_OK);
    assert_true(p.width == 200 && p.height == 224 && p.layout == TERN_LAYOUT_NHWC);
    p = (tern_preprocess){0};
    info = input_of(1, 1, 28, 28);
    assert_int_equal(tern_preprocess_resolve(&p, &info, NULL), TERN_OK);
    assert_true(p.channels == TERN_CHANNELS_GREY);
    p = (tern_preprocess){0};
    info.dtype = TERN_UINT8;
    assert_int_equal(tern_preprocess_resolve(&p, &info, NULL), TERN_OK);
    assert_true(p.scale == 1);
}

static void refuse(const char *json, tern_value_info info, tern_status want, const char *text) {
    tern_preprocess p = parsed(json);
    tern_error err = {.text = ""};
    tern_status status = tern_preprocess_resolve(&p, &info, &err);
    if (status != want || !strstr(err.text, text)) fail_msg("%d '%s', not %d '%s'", status, err.text, want, text);
}

static void contradictions_are_refused(void **state) {
    (void)state;
    refuse("{}", input_of(1, 3, -1, -1), TERN_INVALID_ARGUMENT, "free");
    refuse("{\"size\": [10, 10]}", input_of(1, 3, 224, 224), TERN_SHAPE_MISMATCH, "224 x 224, not 10 x 10");
    refuse("{\"size\": \"none\"}", input_of(1, 3, 224, 224), TERN_SHAPE_MISMATCH, "fixed");
    refuse("{}", input_of(1, 4, 224, 224), TERN_SHAPE_MISMATCH, "4 channels");
    refuse("{\"channels\": \"bgr\"}", input_of(1, 1, 28, 28), TERN_SHAPE_MISMATCH, "1 channels");
    refuse("{\"mean\": [1, 2]}", input_of(1, 3, 8, 8), TERN_INVALID_ARGUMENT, "2 means");
    refuse("{\"std\": 0}", input_of(1, 3, 8, 8), TERN_INVALID_ARGUMENT, "deviation");
    tern_value_info flat = input_of(1, 3, 8, 8);
    flat.rank = 2;
    refuse("{}", flat, TERN_UNSUPPORTED, "rank 4");
}

static tern_image two_pixels(void) {
    tern_image m;
    assert_int_equal(tern_image_create(&m, 2, 1, NULL), TERN_OK);
    memcpy(m.data, ((const uint8_t[]){10, 20, 30, 255, 0, 100}), 6);
    return m;
}

static void values_follow_the_formula(void **state) {
    (void)state;
    tern_image m = two_pixels();
    tern_value_info info = input_of(1, 3, 1, 2);
    tern_preprocess p = parsed("{\"scale\": 0.5, \"mean\": [1, 2, 3], \"std\": [2, 4, 8]}");
    assert_int_equal(tern_preprocess_resolve(&p, &info, NULL), TERN_OK);
    float f[6];
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_FLOAT, f, NULL), TERN_OK);
    const float nchw[] = {2, 63.25f, 2, -0.5f, 1.5f, 5.875f};
    assert_memory_equal(f, nchw, sizeof nchw);
    p.layout = TERN_LAYOUT_NHWC;
    p.channels = TERN_CHANNELS_BGR; /* mean and std are in the order of the network's channels */
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_FLOAT, f, NULL), TERN_OK);
    const float nhwc[] = {7, 2, 0.25f, 24.5f, -0.5f, 15.5625f};
    assert_memory_equal(f, nhwc, sizeof nhwc);
    double d[6];
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_DOUBLE, d, NULL), TERN_OK);
    uint16_t h[6], b[6];
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_FLOAT16, h, NULL), TERN_OK);
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_BFLOAT16, b, NULL), TERN_OK);
    for (int i = 0; i < 6; i++) {
        assert_true(d[i] == (double)nhwc[i]);
        assert_true(h[i] == tn_f32_to_f16(nhwc[i]) && b[i] == tn_f32_to_bf16(nhwc[i]));
    }
    tern_error err;
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_INT64, d, &err), TERN_UNSUPPORTED);
    tern_image_release(&m);
}

static void integers_are_saturated(void **state) {
    (void)state;
    tern_image m = two_pixels();
    tern_value_info info = input_of(1, 1, 1, 2);
    info.dtype = TERN_UINT8;
    tern_preprocess p = parsed("{\"mean\": 50}");
    assert_int_equal(tern_preprocess_resolve(&p, &info, NULL), TERN_OK);
    uint8_t u[2];
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_UINT8, u, NULL), TERN_OK);
    /* luma 18 and 88 */
    assert_true(u[0] == 0 && u[1] == 38);
    p.mean[0] = -100;
    int8_t s[2];
    assert_int_equal(tern_preprocess_image(&p, &m, 2, 1, TERN_INT8, s, NULL), TERN_OK);
    assert_true(s[0] == 118 && s[1] == 127);
    tern_image_release(&m);
}

static void check_labels(const char *text, size_t count, const char *last) {
    tern_labels labels;
    tern_error err;
    if (tern_labels_parse(&labels, text, strlen(text), &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(labels.count, count);
    assert_string_equal(tern_labels_get(&labels, count - 1), last);
    assert_null(tern_labels_get(&labels, count));
    tern_labels_release(&labels);
}

static void labels_in_every_form(void **state) {
    (void)state;
    check_labels("cat\ndog\n", 2, "dog");
    check_labels("cat\r\nred fox", 2, "red fox");
    check_labels("[\"cat\", \"d\\u00f6g\"]", 2, "d\xc3\xb6g");
    check_labels("{0: 'person', 1: \"bi'cycle\", 2: 'a\\'b'}", 3, "a'b");
    check_labels("{\"0\": \"x\", \"1\": \"y\"}", 2, "y");
    check_labels("[not json\nsecond", 2, "second");
    static const char *const bad[] = {"",       "{", "{0: 'a', 2: 'b'}", "{0: 'a'", "{0: 'a' 1: 'b'}", "{0: a}",
                                      "[1, 2]", "{}"};
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        tern_labels labels;
        tern_error err;
        if (tern_labels_parse(&labels, bad[i], strlen(bad[i]), &err) == TERN_OK) fail_msg("'%s' was accepted", bad[i]);
        assert_null(labels.names);
    }
}

static void best_come_first(void **state) {
    (void)state;
    const float scores[] = {1, NAN, 5, 3, 5, -INFINITY};
    tern_score best[6];
    assert_int_equal(tern_top_k(scores, 6, best, 3), 3);
    assert_true(best[0].index == 2 && best[1].index == 4 && best[2].index == 3);
    assert_int_equal(tern_top_k(scores, 6, best, 6), 6);
    assert_true(best[4].index == 5 && best[5].index == 1);
    assert_int_equal(tern_top_k(scores, 1, best, 5), 1);
}

static void softmax_sums_to_one(void **state) {
    (void)state;
    float s[] = {1000, 1001, 1002};
    tern_softmax(s, 3);
    assert_true(fabs(s[0] + (double)s[1] + s[2] - 1) < 1e-6);
    assert_true(fabs(s[2] - 1 / (1 + exp(-1) + exp(-2))) < 1e-7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_sets_what_it_says),    cmocka_unit_test(bad_json_is_refused),
        cmocka_unit_test(info_json_is_understood),   cmocka_unit_test(earlier_sources_win),
        cmocka_unit_test(input_completes_the_rest),  cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(values_follow_the_formula), cmocka_unit_test(integers_are_saturated),
        cmocka_unit_test(labels_in_every_form),      cmocka_unit_test(best_come_first),
        cmocka_unit_test(softmax_sums_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
