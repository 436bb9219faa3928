/* Sessions: inputs and outputs, plans per shape, memory, threads, determinism. */
#include <pthread.h>

#include "runtime/runtime.h"
#include "session_util.h"

/* x (n, 3, h, w) -> conv 3x3 s2 -> relu -> depthwise -> conv 1x1 -> pool -> gemm -> softmax. */
static tern_model *small_net(bool free_dims) {
    mb b;
    mb_begin(&b, 13);
    int64_t n = free_dims ? -1 : 1, hw = free_dims ? -1 : 33;
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(n, 3, hw, hw));
    mb_random(&b, "w1", 4, DIMS(24, 3, 3, 3));
    mb_random(&b, "wd", 4, DIMS(24, 1, 3, 3));
    mb_random(&b, "w2", 4, DIMS(40, 24, 1, 1));
    mb_random(&b, "w3", 2, DIMS(40, 10));
    mb_random(&b, "b3", 1, DIMS(10));
    mb_ints(mb_node(&b, "Conv", "x w1", "a"), "strides", 2, DIMS(2, 2));
    mb_node(&b, "Relu", "a", "ra");
    tn_node *dw = mb_node(&b, "Conv", "ra wd", "d");
    mb_int(dw, "group", 24);
    mb_ints(dw, "pads", 4, DIMS(1, 1, 1, 1));
    mb_node(&b, "Add", "d ra", "s");
    mb_node(&b, "Conv", "s w2", "e");
    mb_node(&b, "GlobalAveragePool", "e", "g");
    mb_node(&b, "Flatten", "g", "f");
    mb_node(&b, "Gemm", "f w3 b3", "l");
    mb_int(mb_node(&b, "Softmax", "l", "y"), "axis", -1);
    mb_output(&b, "y");
    return mb_end(&b);
}

static tern_tensor *run_x(tern_session *s, const tern_tensor *x) {
    tern_tensor *y = NULL;
    tern_error err;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err) != TERN_OK) fail_msg("%s", err.text);
    return y;
}

static void test_missing_and_unknown_inputs(void **state) {
    (void)state;
    tern_model *m = small_net(false);
    tern_session *s = open_session(m, 1);
    tern_tensor *x = mb_random_tensor(1, 4, DIMS(1, 3, 33, 33)), *bad = mb_random_tensor(1, 4, DIMS(1, 4, 33, 33)),
                *y = NULL;
    tern_error err;
    assert_int_equal(tern_session_run(s, NULL, 0, NULL, &y, 1, &err), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "'x' is missing"));
    assert_int_equal(tern_session_run(s, &(tern_feed){"z", x}, 1, NULL, &y, 1, &err), TERN_NOT_FOUND);
    assert_non_null(strstr(err.text, "no input 'z'"));
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", bad}, 1, NULL, &y, 1, &err), TERN_SHAPE_MISMATCH);
    assert_non_null(strstr(err.text, "[1,4,33,33]"));
    tern_feed twice[] = {{"x", x}, {"x", x}};
    assert_int_equal(tern_session_run(s, twice, 2, NULL, &y, 1, &err), TERN_INVALID_ARGUMENT);
    const char *name = "nothing";
    assert_int_equal(tern_session_run(s, twice, 1, &name, &y, 1, &err), TERN_NOT_FOUND);
    tern_tensor *two[2] = {0};
    assert_int_equal(tern_session_run(s, twice, 1, NULL, two, 2, &err), TERN_INVALID_ARGUMENT);
    assert_null(y);
    assert_int_equal(tern_session_run(NULL, twice, 1, NULL, &y, 1, &err), TERN_INVALID_ARGUMENT);
    tern_tensor_free(x);
    tern_tensor_free(bad);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_wrong_type(void **state) {
    (void)state;
    tern_model *m = small_net(false);
    tern_session *s = open_session(m, 1);
    tern_tensor *x, *y = NULL;
    tern_error err;
    assert_int_equal(tern_tensor_create(&x, TERN_DOUBLE, 4, DIMS(1, 3, 33, 33), &err), TERN_OK);
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err), TERN_TYPE_MISMATCH);
    assert_non_null(strstr(err.text, "float64"));
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_output_in_place(void **state) {
    (void)state;
    tern_model *m = small_net(false);
    tern_session *s = open_session(m, 1);
    tern_tensor *x = mb_random_tensor(3, 4, DIMS(1, 3, 33, 33)), *want = run_x(s, x);
    tern_tensor *y, *odd;
    tern_error err;
    float loose[11];
    assert_int_equal(tern_tensor_create(&y, TERN_FLOAT, 2, DIMS(1, 10), &err), TERN_OK);
    assert_int_equal(tern_tensor_borrow(&odd, TERN_FLOAT, 2, DIMS(1, 10), loose + 1, 40, &err), TERN_OK);
    tern_tensor *before = y;
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err), TERN_OK);
    assert_ptr_equal(before, y);
    assert_true(tn_tensor_equal(want, y));
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &odd, 1, &err), TERN_OK);
    assert_memory_equal(loose + 1, want->data, 40);
    tern_tensor *wrong;
    assert_int_equal(tern_tensor_create(&wrong, TERN_FLOAT, 2, DIMS(1, 11), &err), TERN_OK);
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &wrong, 1, &err), TERN_SHAPE_MISMATCH);
    tern_tensor_free(wrong);
    tern_tensor_free(odd);
    tern_tensor_free(y);
    tern_tensor_free(want);
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_no_allocation_in_a_static_run(void **state) {
    (void)state;
    tern_model *m = small_net(false);
    tern_session *s = open_session(m, 2);
    tern_tensor *x = mb_random_tensor(3, 4, DIMS(1, 3, 33, 33)), *y = run_x(s, x);
    tern_error err;
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err), TERN_OK);
    size_t before = tn_alloc_total();
    for (int i = 0; i < 5; i++)
        assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, &y, 1, &err), TERN_OK);
    assert_int_equal(tn_alloc_total(), before);
    tern_tensor_free(y);
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_nothing_is_left_behind(void **state) {
    (void)state;
    tn_thread_shutdown();
    size_t before = tn_alloc_live();
    tern_model *m = small_net(true);
    tern_session *s = open_session(m, 1);
    for (int64_t k = 9; k < 30; k += 2) { /* more shapes than plans are kept */
        tern_tensor *x = mb_random_tensor(3, 4, DIMS(1, 3, k, k)), *y = run_x(s, x);
        tern_tensor_free(y);
        tern_tensor_free(x);
    }
    assert_true(s->n_plans <= (size_t)s->options.max_plans);
    tern_session_free(s);
    tern_model_free(m);
    assert_int_equal(tn_alloc_live(), before);
}

static void test_threads_give_the_same_bits(void **state) {
    (void)state;
    tern_model *m = small_net(true);
    tern_tensor *x = mb_random_tensor(5, 4, DIMS(3, 3, 65, 50)), *want = NULL;
    static const int threads[] = {1, 2, 3, 7};
    for (size_t i = 0; i < TN_COUNT(threads); i++) {
        tern_session *s = open_session(m, threads[i]);
        tern_tensor *y = run_x(s, x);
        if (want)
            assert_true(tn_tensor_equal(want, y));
        else
            want = tn_tensor_ref(y);
        tern_tensor_free(y);
        tern_session_free(s);
    }
    tn_tensor_unref(want);
    tern_tensor_free(x);
    tern_model_free(m);
}

static void test_alone_or_in_a_batch(void **state) {
    (void)state;
    tern_model *m = small_net(true);
    tern_session *s = open_session(m, 2);
    tern_tensor *x = mb_random_tensor(5, 4, DIMS(5, 3, 40, 40)), *all = run_x(s, x);
    for (int64_t i = 0; i < 5; i++) {
        tern_tensor *one, *y;
        float *data = (float *)x->data + i * 3 * 40 * 40;
        assert_int_equal(tern_tensor_borrow(&one, TERN_FLOAT, 4, DIMS(1, 3, 40, 40), data, 3 * 40 * 40 * 4, NULL),
                         TERN_OK);
        y = run_x(s, one);
        assert_memory_equal(y->data, (float *)all->data + i * 10, 40);
        tern_tensor_free(one);
        tern_tensor_free(y);
    }
    tern_tensor_free(all);
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
}

typedef struct worker {
    tern_session *session;
    const tern_tensor *x, *want;
    int wrong;
} worker;

static void *work(void *p) {
    worker *w = p;
    for (int i = 0; i < 20; i++) {
        tern_tensor *y = NULL;
        if (tern_session_run(w->session, &(tern_feed){"x", w->x}, 1, NULL, &y, 1, NULL) != TERN_OK ||
            !tn_tensor_equal(y, w->want))
            w->wrong++;
        tern_tensor_free(y);
    }
    return NULL;
}

/* Four threads, two shapes, one session that has planned neither. */
static void test_many_threads_one_session(void **state) {
    (void)state;
    tern_model *m = small_net(true);
    tern_session *first = open_session(m, 2), *s = open_session(m, 2);
    tern_tensor *x[2] = {mb_random_tensor(1, 4, DIMS(1, 3, 31, 31)), mb_random_tensor(2, 4, DIMS(2, 3, 20, 27))};
    tern_tensor *want[2] = {run_x(first, x[0]), run_x(first, x[1])};
    pthread_t threads[4];
    worker workers[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker){s, x[i % 2], want[i % 2], 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    for (int i = 0; i < 2; i++) {
        tern_tensor_free(x[i]);
        tern_tensor_free(want[i]);
    }
    tern_session_free(first);
    tern_session_free(s);
    tern_model_free(m);
}

/* NonZero: a shape that depends on data, in the middle of a graph, and again as an output. */
static void test_data_dependent_shape(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(2, 3));
    mb_node(&b, "Relu", "x", "r");
    mb_node(&b, "NonZero", "r", "z");
    mb_ints(mb_node(&b, "Transpose", "z", "y"), "perm", 2, DIMS(1, 0));
    mb_output(&b, "y");
    mb_output(&b, "z");
    tern_model *m = mb_end(&b);
    tern_session *s = open_session(m, 1);
    for (int round = 0; round < 3; round++) {
        tern_tensor *x, *out[2] = {0};
        tern_error err;
        assert_int_equal(tern_tensor_create(&x, TERN_FLOAT, 2, DIMS(2, 3), &err), TERN_OK);
        for (int i = 0; i < 6; i++) ((float *)x->data)[i] = i % (round + 2) == 0 ? 1.0f : -1.0f;
        if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, out, 2, &err) != TERN_OK) fail_msg("%s", err.text);
        int64_t count = 0;
        for (int i = 0; i < 6; i++) {
            if (i % (round + 2)) continue;
            assert_int_equal(((int64_t *)out[0]->data)[count * 2], i / 3);
            assert_int_equal(((int64_t *)out[0]->data)[count * 2 + 1], i % 3);
            count++;
        }
        assert_int_equal(out[0]->shape.dims[0], count);
        assert_int_equal(out[1]->shape.dims[1], count);
        tern_tensor_free(out[0]);
        tern_tensor_free(out[1]);
        tern_tensor_free(x);
    }
    tern_session_free(s);
    tern_model_free(m);
}

/* One value under two output names, a constant as output, an output that later nodes read. */
static void test_outputs_that_share(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 2, DIMS(2, 3));
    mb_node(&b, "Neg", "x", "a");
    mb_int64s(&b, "six", 1, DIMS(6));
    mb_node(&b, "Reshape", "a six", "b");
    mb_node(&b, "Abs", "a", "c");
    mb_random(&b, "k", 1, DIMS(4));
    mb_output(&b, "a");
    mb_output(&b, "b");
    mb_output(&b, "c");
    mb_output(&b, "k");
    tern_model *m = mb_end(&b);
    tern_session *s = open_session(m, 1);
    tern_tensor *x = mb_random_tensor(1, 2, DIMS(2, 3)), *out[4] = {0};
    tern_error err;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, out, 4, &err) != TERN_OK) fail_msg("%s", err.text);
    for (int i = 0; i < 6; i++) {
        float v = ((float *)x->data)[i];
        assert_true(((float *)out[0]->data)[i] == -v);
        assert_true(((float *)out[1]->data)[i] == -v);
        assert_true(((float *)out[2]->data)[i] == (v < 0 ? -v : v));
    }
    assert_int_equal(out[1]->shape.rank, 1);
    /* The caller's copy of a constant is his own. */
    ((float *)out[3]->data)[0] = 99;
    tern_tensor *again[4] = {0};
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, again, 4, &err), TERN_OK);
    assert_true(((float *)again[3]->data)[0] != 99);
    for (int i = 0; i < 4; i++) {
        tern_tensor_free(out[i]);
        tern_tensor_free(again[i]);
    }
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
}

static void test_memory_limit(void **state) {
    (void)state;
    tern_model *m = small_net(false);
    tern_options o;
    tern_options_init(&o);
    o.memory_limit = 1000;
    tern_session *s = NULL;
    tern_error err;
    assert_int_equal(tern_session_create(&s, m, &o, &err), TERN_LIMIT_EXCEEDED);
    assert_non_null(strstr(err.text, "1000"));
    assert_null(s);
    tern_model_free(m);
}

static void count_event(void *context, const tern_profile_event *e) {
    assert_true(e->end_ns >= e->start_ns);
    assert_non_null(e->op_type);
    ++*(int *)context;
}

static void test_profile_hook(void **state) {
    (void)state;
    tern_model *m = small_net(false);
    int events = 0;
    tern_options o;
    tern_options_init(&o);
    o.profile = count_event;
    o.profile_context = &events;
    o.threads = 1;
    tern_session *s;
    assert_int_equal(tern_session_create(&s, m, &o, NULL), TERN_OK);
    tern_tensor *x = mb_random_tensor(5, 4, DIMS(1, 3, 33, 33));
    tern_tensor_free(run_x(s, x));
    assert_int_equal(events, s->plans[0]->plan->n_steps);
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_and_unknown_inputs),
        cmocka_unit_test(test_wrong_type),
        cmocka_unit_test(test_output_in_place),
        cmocka_unit_test(test_no_allocation_in_a_static_run),
        cmocka_unit_test(test_nothing_is_left_behind),
        cmocka_unit_test(test_threads_give_the_same_bits),
        cmocka_unit_test(test_alone_or_in_a_batch),
        cmocka_unit_test(test_many_threads_one_session),
        cmocka_unit_test(test_data_dependent_shape),
        cmocka_unit_test(test_outputs_that_share),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_profile_hook),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
