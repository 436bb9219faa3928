/* Many requests at once: batches give the bits of single runs, queues are bounded, deadlines hold, and models change
 * under load without a failed request. */
#include <math.h>

#include "serve_test.h"
#include "tern/tern.h"

#define MANY 64

static void body_of(tn_text *t, tt_rng *rng, int rows, int columns) {
    tn_text_init(t);
    serve_put_open(t, NULL, '{');
    serve_put_open(t, "inputs", '[');
    serve_put_open(t, NULL, '{');
    serve_put_string(t, "name", "x");
    serve_put_string(t, "datatype", "FP32");
    serve_put_dims(t, "shape", (int64_t[]){rows, columns}, 2);
    serve_put_open(t, "data", '[');
    for (int i = 0; i < rows * columns; i++) serve_put_f32(t, NULL, (float)tt_random_real(rng, -3, 3));
    serve_put_close(t, ']');
    serve_put_close(t, '}');
    serve_put_close(t, ']');
    serve_put_close(t, '}');
}

static uint64_t number_after(const char *text, const char *key) {
    const char *at = strstr(text, key);
    if (!at) fail_msg("no %s in %s", key, text);
    return strtoull(at + strlen(key), NULL, 10);
}

static uint64_t stat_of(st_server *s, const char *model, const char *key) {
    char path[100];
    st_answer a;
    snprintf(path, sizeof path, "/v2/models/%s/stats", model);
    assert_int_equal(st_ask(s, &a, "GET", path, NULL), 200);
    uint64_t value = number_after(a.x.out.data, key);
    st_release(&a);
    return value;
}

/* The same requests one by one and all at once; the second time they share runs. */
static void batches_change_no_bit(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    const char config[] = "{\"max_batch\": 16, \"max_delay_us\": 200000, \"preferred\": [5]}";
    st_write(&s, "rows/config.json", config, strlen(config));
    st_start(&s);
    tt_rng rng = tt_rng_init(1);
    enum { DIFFERENT = 6 };
    tn_text bodies[DIFFERENT];
    char *alone[DIFFERENT];
    for (int i = 0; i < DIFFERENT; i++) {
        st_answer a;
        body_of(&bodies[i], &rng, 1 + i % 3, 4);
        st_send(&s, &a, "POST", "/v2/models/rows/infer", NULL, NULL, bodies[i].data, bodies[i].len);
        st_wait(&a);
        assert_int_equal(a.x.status, 200);
        assert_int_equal(a.x.times.batch, 1 + i % 3);
        alone[i] = strdup(a.x.out.data);
        st_release(&a);
    }
    uint64_t before = stat_of(&s, "rows", "\"execution_count\":");
    st_answer together[MANY];
    for (int i = 0; i < MANY; i++)
        st_send(&s, &together[i], "POST", "/v2/models/rows/infer", NULL, NULL, bodies[i % DIFFERENT].data,
                bodies[i % DIFFERENT].len);
    int64_t largest = 0;
    for (int i = 0; i < MANY; i++) {
        st_wait(&together[i]);
        assert_int_equal(together[i].x.status, 200);
        assert_string_equal(together[i].x.out.data, alone[i % DIFFERENT]);
        largest = TN_MAX(largest, together[i].x.times.batch);
        st_release(&together[i]);
    }
    uint64_t runs = stat_of(&s, "rows", "\"execution_count\":") - before;
    assert_true(runs < MANY / 2);
    assert_true(largest > 4 && largest <= 16);
    for (int i = 0; i < DIFFERENT; i++) {
        tn_text_release(&bodies[i]);
        free(alone[i]);
    }
    st_stop(&s);
}

static void deadlines_and_full_queues(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    const char config[] = "{\"max_batch\": 64, \"preferred\": [64], \"max_delay_us\": 300000, \"max_queue\": 3}";
    st_write(&s, "rows/config.json", config, strlen(config));
    st_start(&s);
    uint64_t before = stat_of(&s, "rows", "\"execution_count\":");
    static const char hasty[] = "{\"parameters\":{\"timeout\":1},\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\","
                                "\"shape\":[1,4],\"data\":[1,2,3,4]}]}";
    static const char patient[] =
        "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}";
    st_answer a[5];
    for (int i = 0; i < 5; i++) {
        const char *body = i == 0 ? hasty : patient;
        st_send(&s, &a[i], "POST", "/v2/models/rows/infer", NULL, NULL, body, strlen(body));
    }
    for (int i = 0; i < 5; i++) st_wait(&a[i]);
    assert_int_equal(a[0].x.status, 504);
    assert_non_null(strstr(a[0].x.out.data, "deadline"));
    assert_int_equal(a[1].x.status, 200);
    assert_int_equal(a[2].x.status, 200);
    for (int i = 3; i < 5; i++) {
        assert_int_equal(a[i].x.status, 503);
        assert_true(a[i].x.retry_after > 0);
    }
    for (int i = 0; i < 5; i++) st_release(&a[i]);
    /* The late one was not run. */
    assert_int_equal(stat_of(&s, "rows", "\"execution_count\":") - before, 1);
    assert_int_equal(stat_of(&s, "rows", "\"fail\":{\"count\":"), 3);
    st_stop(&s);
}

typedef struct caller {
    st_server *s;
    atomic_bool *stop;
    int answers, failures;
    pthread_t thread;
} caller;

static void *call_until_stopped(void *context) {
    caller *c = context;
    static const char body[] =
        "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}";
    while (!atomic_load(c->stop)) {
        st_answer a;
        st_send(c->s, &a, "POST", "/v2/models/rows/infer", NULL, NULL, body, sizeof body - 1);
        st_wait(&a);
        c->answers++;
        c->failures += a.x.status != 200;
        st_release(&a);
    }
    return NULL;
}

/* A changed file is seen when it has stayed the same for one poll. */
static void poll_twice(st_server *s) {
    serve_repository_poll(s->server.repository, false);
    serve_repository_poll(s->server.repository, false);
}

/* What a version is made of is more than the file that is called model.onnx. */
static void other_files_change(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    const char config[] = "{\"default_model_filename\": \"other.onnx\"}";
    st_write(&s, "rows/config.json", config, strlen(config));
    st_write(&s, "rows/1/other.onnx", "broken", 6);
    st_start(&s);
    st_expect(&s, 503, "damaged", "GET", "/v2/models/rows", NULL);
    st_add_rows(&s, "good", 1, 1);
    char from[600], to[600];
    snprintf(from, sizeof from, "%s/good/1/model.onnx", s.folder.path);
    snprintf(to, sizeof to, "%s/rows/1/other.onnx", s.folder.path);
    assert_int_equal(rename(from, to), 0);
    poll_twice(&s);
    st_expect(&s, 200, "\"versions\":[\"1\"]", "GET", "/v2/models/rows", NULL);
    st_expect(&s, 200, "\"0.", "POST", "/v2/models/rows/infer",
              "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}],"
              "\"outputs\":[{\"name\":\"y\",\"parameters\":{\"classification\":1}}]}");
    const char labels[] = "{\"default_model_filename\": \"other.onnx\", \"labels\": \"labels.txt\"}";
    st_write(&s, "rows/labels.txt", "a\na\na\n", 6);
    st_write(&s, "rows/config.json", labels, strlen(labels));
    poll_twice(&s);
    st_write(&s, "rows/labels.txt", "bee\nbee\nbee\n", 12);
    poll_twice(&s);
    st_expect(&s, 200, ":bee\"", "POST", "/v2/models/rows/infer",
              "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}],"
              "\"outputs\":[{\"name\":\"y\",\"parameters\":{\"classification\":1}}]}");
    st_stop(&s);
}

/* The model's own limit holds for those who ask for a longer one, or for none. */
static void limits_can_not_be_lengthened(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    const char config[] = "{\"max_batch\": 64, \"preferred\": [64], \"max_delay_us\": 300000, \"timeout_us\": 1}";
    st_write(&s, "rows/config.json", config, strlen(config));
    st_start(&s);
    static const char *const timeouts[] = {"0", "50000000"};
    for (size_t i = 0; i < 2; i++) {
        char body[200];
        snprintf(body, sizeof body,
                 "{\"parameters\":{\"timeout\":%s},\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],"
                 "\"data\":[1,2,3,4]}]}",
                 timeouts[i]);
        st_expect(&s, 504, "deadline", "POST", "/v2/models/rows/infer", body);
    }
    st_stop(&s);
}

static void models_change_under_load(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    st_start(&s);
    atomic_bool stop;
    atomic_init(&stop, false);
    caller callers[4];
    for (int i = 0; i < 4; i++) {
        callers[i] = (caller){.s = &s, .stop = &stop};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_until_stopped, &callers[i]), 0);
    }
    /* Another network in the same file. */
    st_answer a;
    assert_int_equal(st_ask(&s, &a, "POST", "/v2/models/rows/infer",
                            "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"),
                     200);
    char *first = strdup(a.x.out.data);
    st_release(&a);
    for (int i = 0; i < 5; i++) {
        st_add_rows(&s, "rows", 1, 1.5f + 0.1f * (float)i);
        poll_twice(&s);
    }
    assert_int_equal(st_ask(&s, &a, "POST", "/v2/models/rows/infer",
                            "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"),
                     200);
    assert_string_not_equal(a.x.out.data, first);
    st_release(&a);
    free(first);
    /* A broken one: the old one stays. */
    st_write(&s, "rows/1/model.onnx", "broken", 6);
    poll_twice(&s);
    st_expect(&s, 200, "not reloaded", "POST", "/v2/repository/index", NULL);
    st_expect(&s, 200, "true", "GET", "/v2/health/ready", NULL);
    /* A broken new version: the old one goes on. */
    st_add_rows(&s, "rows", 1, 1);
    poll_twice(&s);
    st_write(&s, "rows/2/model.onnx", "broken", 6);
    poll_twice(&s);
    st_expect(&s, 200, "\"versions\":[\"1\"]", "GET", "/v2/models/rows", NULL);
    /* A good one takes over. */
    st_add_rows(&s, "rows", 3, 2);
    poll_twice(&s);
    st_expect(&s, 200, "\"versions\":[\"3\"]", "GET", "/v2/models/rows", NULL);
    /* By a client, with another policy. */
    st_expect(&s, 400, "no setting", "POST", "/v2/repository/models/rows/load",
              "{\"parameters\":{\"config\":\"{\\\"x\\\":1}\"}}");
    st_expect(&s, 404, "error", "POST", "/v2/repository/models/other/load", NULL);
    /* What was refused is not kept. */
    st_add_rows(&s, "rows", 4, 2);
    poll_twice(&s);
    st_expect(&s, 200, "\"versions\":[\"4\"]", "GET", "/v2/models/rows", NULL);
    st_write(&s, "rows/2/model.onnx", "", 0);
    st_add_rows(&s, "rows", 2, 2);
    st_expect(&s, 200, "{}", "POST", "/v2/repository/models/rows/load",
              "{\"parameters\":{\"config\":\"{\\\"version_policy\\\":{\\\"all\\\":{}}}\"}}");
    st_expect(&s, 200, "\"versions\":[\"1\",\"2\",\"3\",\"4\"]", "GET", "/v2/models/rows", NULL);
    atomic_store(&stop, true);
    int answers = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].failures, 0);
        answers += callers[i].answers;
    }
    assert_true(answers > 20);
    st_expect(&s, 200, "{}", "POST", "/v2/repository/models/rows/unload", NULL);
    st_expect(&s, 503, "not ready", "GET", "/v2/models/rows", NULL);
    st_stop(&s);
}

/* Two models on one executor: neither waits for all that the other has. */
static void busy_model_starves_nobody(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    st_add_slow(&s, "slow", 40);
    const char config[] = "{\"max_batch\": 1, \"max_queue\": 200}";
    st_write(&s, "slow/config.json", config, strlen(config));
    s.options.executors = 1;
    st_start(&s);
    tt_rng rng = tt_rng_init(2);
    tn_text slow;
    body_of(&slow, &rng, 64, 256);
    enum { SLOW = 60 };
    static st_answer busy[SLOW];
    for (int i = 0; i < SLOW; i++)
        st_send(&s, &busy[i], "POST", "/v2/models/slow/infer", NULL, NULL, slow.data, slow.len);
    st_expect(&s, 200, "rows", "POST", "/v2/models/rows/infer",
              "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}");
    uint64_t slow_before = stat_of(&s, "slow", "\"execution_count\":");
    for (int i = 0; i < SLOW; i++) {
        st_wait(&busy[i]);
        assert_int_equal(busy[i].x.status, 200);
        st_release(&busy[i]);
    }
    assert_true(slow_before < SLOW);
    tn_text_release(&slow);
    st_stop(&s);
}

/* Sum of the times in the network over the time that all of them took, for runs that may not share a batch. */
static double runs_at_a_time(const char *config) {
    st_server s;
    st_begin(&s);
    st_add_slow(&s, "slow", 200); /* long beside the time in which the requests are sent */
    st_write(&s, "slow/config.json", config, strlen(config));
    s.options.executors = 3;
    st_start(&s);
    tt_rng rng = tt_rng_init(3);
    tn_text body;
    body_of(&body, &rng, 64, 256);
    enum { RUNS = 12 };
    static st_answer a[RUNS];
    uint64_t begin = tn_clock_ns(), infer = 0;
    for (int i = 0; i < RUNS; i++) st_send(&s, &a[i], "POST", "/v2/models/slow/infer", NULL, NULL, body.data, body.len);
    char *first = NULL;
    for (int i = 0; i < RUNS; i++) {
        st_wait(&a[i]);
        assert_int_equal(a[i].x.status, 200);
        infer += a[i].x.times.infer;
        if (!first) first = strdup(a[i].x.out.data);
        assert_string_equal(a[i].x.out.data, first);
        st_release(&a[i]);
    }
    double ratio = (double)infer / (double)(tn_clock_ns() - begin);
    free(first);
    tn_text_release(&body);
    st_stop(&s);
    return ratio;
}

/* A long queue is worked off by all executors, one thread each; a configured number of instances is kept to. */
static void long_queues_use_all_executors(void **unused) {
    (void)unused;
    assert_true(runs_at_a_time("{\"max_batch\": 1, \"instances\": 1}") <= 1);
    assert_true(runs_at_a_time("{\"max_batch\": 1}") > 1);
}

static void memory_returns(void **unused) {
    (void)unused;
    st_server s;
    st_begin(&s);
    st_add_rows(&s, "rows", 1, 1);
    st_start(&s);
    size_t live = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(st_ask(&s, NULL, "POST", "/v2/repository/models/rows/unload", NULL), 200);
        assert_int_equal(st_ask(&s, NULL, "POST", "/v2/repository/models/rows/load", NULL), 200);
        if (i == 10) live = tn_alloc_live();
    }
    assert_int_equal(tn_alloc_live(), live);
    st_stop(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_change_no_bit),    cmocka_unit_test(deadlines_and_full_queues),
        cmocka_unit_test(other_files_change),       cmocka_unit_test(limits_can_not_be_lengthened),
        cmocka_unit_test(models_change_under_load), cmocka_unit_test(busy_model_starves_nobody),
        cmocka_unit_test(memory_returns),           cmocka_unit_test(long_queues_use_all_executors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
