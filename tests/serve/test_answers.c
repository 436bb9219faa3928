/* What answers hold and how much of them: masks, what metadata says of outputs that the protocol has no word for, the
 * limit on all answers together, versions and their numbers. */
#include "model_builder.h"
#include "serve/warmup.h"
#include "serve_test.h"
#include "tern/graph.h"

static void save(const st_server *s, mb *b, const char *place) {
    char path[700];
    tern_error err;
    tn_opset_import standard = {"", b->opset};
    tern_model *m = mb_end(b);
    m->opsets = &standard;
    m->n_opsets = 1;
    st_write(s, place, "", 0);
    snprintf(path, sizeof path, "%s/%s", s->folder.path, place);
    if (tern_model_save(m, path, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_model_free(m);
}

/* A detector that finds, whatever it sees, one object with a mask: prototype 0 is 4 right of the middle and -4 left of
 * it, its coefficient -1, so that the mask is what of the box is in the left half. */
static void add_segmenter(const st_server *s, const float *box) {
    mb b;
    enum { ROWS = 3 * 84, NUMBERS = 5 + 1 + 2 };
    static float rows[ROWS * NUMBERS], proto[2 * 16 * 16];
    const float row[NUMBERS] = {box[0], box[1], box[2], box[3], 0.9f, 0.9f, -1, 0};
    memcpy(rows, row, sizeof row);
    for (int i = 0; i < 2 * 16 * 16; i++) proto[i] = i % 16 < 8 ? -4 : 4;
    mb_begin(&b, 13);
    mb_input(&b, "images", TERN_FLOAT, 4, (int64_t[]){1, 3, 64, 64});
    mb_int64s(&b, "one", 1, (int64_t[]){1});
    mb_floats(&b, "c0", 3, (int64_t[]){1, ROWS, NUMBERS}, rows);
    mb_floats(&b, "c1", 4, (int64_t[]){1, 2, 16, 16}, proto);
    mb_scalar(&b, "zero", 0);
    mb_node(&b, "ReduceMean", "images", "mean");
    mb_node(&b, "Reshape", "mean one", "flat");
    mb_node(&b, "Mul", "flat zero", "nothing");
    mb_node(&b, "Add", "c0 nothing", "output0");
    mb_node(&b, "Add", "c1 nothing", "output1");
    mb_output(&b, "output0");
    mb_output(&b, "output1");
    save(s, &b, "segment/1/model.onnx");
}

/* A grey picture of 128 x 128, which the network sees at half the size. */
#define SIDE 128
static size_t picture(char *to, size_t size) {
    int n = snprintf(to, size, "P6\n%d %d\n255\n", SIDE, SIDE);
    memset(to + n, 100, (size_t)SIDE * SIDE * 3);
    return (size_t)n + (size_t)SIDE * SIDE * 3;
}

static int ask_masks(st_server *s, st_answer *a, const char *path) {
    static char body[SIDE * SIDE * 3 + 40];
    st_send(s, a, "POST", path, NULL, NULL, body, picture(body, sizeof body));
    st_wait(a);
    return a->x.status;
}

/* The mask's pixels, from its run lengths. */
static void decode_mask(const char *json, uint8_t *mask) {
    const char *at = strstr(json, "\"mask\":{\"size\":[128,128],\"counts\":[");
    if (!at) fail_msg("no mask in %s", json);
    at = strstr(at, "counts") + strlen("counts\":[");
    size_t place = 0;
    for (uint8_t value = 0;; value = !value) {
        char *end;
        unsigned long run = strtoul(at, &end, 10);
        assert_ptr_not_equal(at, end);
        assert_true(run <= SIDE * SIDE - place);
        memset(mask + place, value, run);
        place += run;
        if (*end != ',') break;
        at = end + 1;
    }
    assert_int_equal(place, SIDE * SIDE);
}

static void masks_are_cocos_run_lengths(void **unused) {
    (void)unused;
    static const struct {
        float box[4]; /* centre and size, in the network's pixels */
        int x1, y1, x2, y2;
    } cases[] = {
        {{32, 32, 40, 20}, 24, 44, 104, 84},
        {{32, 32, 64, 64}, 0, 0, 128, 128}, /* whole columns: runs go on from one to the next */
        {{16, 56, 16, 16}, 16, 96, 48, 128},
        {{50, 32, 20, 20}, 80, 44, 120, 84}, /* nothing of it in the left half */
    };
    for (size_t k = 0; k < TN_COUNT(cases); k++) {
        st_server s;
        st_answer a;
        static uint8_t mask[SIDE * SIDE];
        st_begin(&s);
        add_segmenter(&s, cases[k].box);
        st_start(&s);
        assert_int_equal(ask_masks(&s, &a, "/v1/models/segment:detect?masks=true"), 200);
        decode_mask(a.x.out.data, mask);
        for (int x = 0; x < SIDE; x++) {
            for (int y = 0; y < SIDE; y++) {
                bool want =
                    x >= cases[k].x1 && x < TN_MIN(cases[k].x2, SIDE / 2) && y >= cases[k].y1 && y < cases[k].y2;
                assert_int_equal(mask[x * SIDE + y], want);
            }
        }
        st_release(&a);
        assert_int_equal(ask_masks(&s, &a, "/v1/models/segment:detect"), 200);
        assert_null(strstr(a.x.out.data, "mask"));
        st_release(&a);
        assert_int_equal(ask_masks(&s, &a, "/v1/models/segment:detect?masks=maybe"), 400);
        st_release(&a);
        st_stop(&s);
    }
}

static void outputs_without_a_word(void **unused) {
    (void)unused;
    st_server s;
    mb b;
    st_begin(&s);
    mb_begin(&b, 17);
    mb_input(&b, "x", TERN_FLOAT, 2, (int64_t[]){1, 4});
    mb_input(&b, "shape", TERN_INT64, 1, (int64_t[]){-1});
    mb_node(&b, "SequenceConstruct", "x x", "both");
    mb_node(&b, "Reshape", "x shape", "free");
    mb_value(&b, "both")->type = (tn_type){.kind = TERN_KIND_SEQUENCE, .dtype = TERN_FLOAT};
    mb_value(&b, "free")->type = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = TERN_FLOAT};
    mb_output(&b, "both");
    mb_output(&b, "free");
    save(&s, &b, "odd/1/model.onnx");
    st_start(&s);
    st_expect(&s, 200, "{\"name\":\"both\",\"datatype\":\"SEQUENCE\",\"shape\":[-1]}", "GET", "/v2/models/odd", NULL);
    st_expect(&s, 200, "{\"name\":\"free\",\"datatype\":\"FP32\",\"shape\":[-1]}", "GET", "/v2/models/odd", NULL);
    st_expect(&s, 200, "TYPE_SEQUENCE", "GET", "/v2/models/odd/config", NULL);
#define INPUTS                                                                               \
    "\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}," \
    "{\"name\":\"shape\",\"datatype\":\"INT64\",\"shape\":[2],\"data\":[2,2]}]"
    st_expect(&s, 200, "\"shape\":[2,2],\"data\":[1,2,3,4]", "POST", "/v2/models/odd/infer",
              "{" INPUTS ",\"outputs\":[{\"name\":\"free\"}]}");
    st_expect(&s, 400, "can not carry", "POST", "/v2/models/odd/infer", "{" INPUTS "}");
    st_stop(&s);
}

#define ROW "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"

static void answers_together_are_limited(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    s.options.max_answers = 1000;
    st_start(&s);
    st_answer held[20];
    int good = 0, full = 0;
    for (int i = 0; i < 20; i++) {
        st_send(&s, &held[i], "POST", "/v2/models/rows/infer", NULL, NULL, ROW, strlen(ROW));
        st_wait(&held[i]);
        good += held[i].x.status == 200;
        if (held[i].x.status == 200) continue;
        assert_int_equal(held[i].x.status, 503);
        assert_int_equal(held[i].x.retry_after, 1);
        assert_non_null(strstr(held[i].x.out.data, "large answers"));
        full++;
    }
    assert_true(good >= 4 && full >= 4); /* an answer has about 130 bytes */
    for (int i = 0; i < 20; i++) st_release(&held[i]);
    assert_int_equal(atomic_load(&s.server.answer_bytes), 0);
    st_expect(&s, 200, "rows", "POST", "/v2/models/rows/infer", ROW);
    st_stop(&s);
    /* One alone that has more. */
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    s.options.max_answers = 10;
    st_start(&s);
    st_expect(&s, 400, "--max-answers", "POST", "/v2/models/rows/infer", ROW);
    assert_int_equal(atomic_load(&s.server.answer_bytes), 0);
    st_stop(&s);
}

static void versions_have_one_name(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    st_add_rows(&s, "both", 1, 1);
    st_write(&s, "both/01/model.onnx", "", 0);
    st_add_rows(&s, "zero", 7, 1);
    st_start(&s);
    st_expect(&s, 200, "rows", "GET", "/v2/models/rows/versions/1", NULL);
    static const char *const paths[] = {"/v2/models/rows/versions/01", "/v2/models/rows/versions/01/ready",
                                        "/v2/models/rows/versions/01/stats", "/v2/models/rows/versions/01/config",
                                        "/v2/models/rows/versions/2"};
    for (size_t i = 0; i < TN_COUNT(paths); i++) st_expect(&s, 404, "error", "GET", paths[i], NULL);
    st_expect(&s, 404, "without zeros", "POST", "/v2/models/rows/versions/001/infer", ROW);
    /* Nobody can say which is meant; the others are served. */
    st_expect(&s, 200, "two folders for version 1", "POST", "/v2/repository/index", NULL);
    st_expect(&s, 503, "two folders for version 1", "GET", "/v2/models/both", NULL);
    st_expect(&s, 200, "\"versions\":[\"7\"]", "GET", "/v2/models/zero", NULL);
    st_stop(&s);
}

/* Only what makes a row faster is run. */
static void slow_batches_are_left_out(void **unused) {
    (void)unused;
    static const struct {
        uint64_t times[4]; /* of 1, 2, 4 and 8 rows */
        int tested, n;
        int64_t sizes[4];
    } cases[] = {
        {{1000000, 1500000, 2000000, 3000000}, 4, 4, {1, 2, 4, 8}},
        {{1000000, 1800000, 4400000, 9000000}, 4, 2, {1, 2}},
        {{1000000, 1990000, 3900000, 7000000}, 4, 2, {1, 8}}, /* next to nothing is no reason to wait for others */
        {{1000000, 2200000, 2000000, 3000000}, 4, 3, {1, 4, 8}},
        {{1000000, 1800000, 0, 0}, 2, 2, {1, 2}}, /* no time to try the others */
        {{1000, 5000, 20000, 300000}, 4, 3, {1, 2, 4}},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        serve_version v = {.n_sizes = 4, .sizes = {1, 2, 4, 8}};
        serve_keep_sizes(&v, cases[i].times, cases[i].tested);
        assert_int_equal(v.n_sizes, cases[i].n);
        assert_memory_equal(v.sizes, cases[i].sizes, (size_t)cases[i].n * sizeof *v.sizes);
    }
    serve_version v = {.n_sizes = 4, .sizes = {1, 2, 4, 8}, .config = {.preferred = {4}, .n_preferred = 1}};
    serve_keep_sizes(&v, cases[1].times, 2);
    assert_int_equal(v.n_sizes, 3);
    assert_int_equal(v.sizes[2], 4);
}

/* "max_batch": 1 asks for nothing that a network of a fixed batch has not. */
static void a_batch_of_one_fits_all(void **unused) {
    (void)unused;
    static const char *const configs[] = {"{\"max_batch\": 1}", "{\"max_batch\": 2}"};
    for (size_t i = 0; i < TN_COUNT(configs); i++) {
        st_server s;
        st_begin(&s);
        add_segmenter(&s, (float[]){32, 32, 40, 20});
        st_write(&s, "segment/config.json", configs[i], strlen(configs[i]));
        st_start(&s);
        st_expect(&s, i == 0 ? 200 : 503, "", "GET", "/v2/models/segment/ready", NULL);
        if (i == 1) st_expect(&s, 200, "fixed first dimension", "POST", "/v2/repository/index", "");
        st_stop(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_cocos_run_lengths),  cmocka_unit_test(outputs_without_a_word),
        cmocka_unit_test(answers_together_are_limited), cmocka_unit_test(versions_have_one_name),
        cmocka_unit_test(slow_batches_are_left_out),    cmocka_unit_test(a_batch_of_one_fits_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
