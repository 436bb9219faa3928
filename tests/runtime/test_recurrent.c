/* RNN, GRU and LSTM in a session: constant weights, which are packed at load, give the bits of weights that are fed;
 * the same for any number of threads; and a run of static shape allocates nothing. */
#include "session_util.h"

enum { LENGTH = 5, BATCH = 3, INPUT = 11, HIDDEN = 19 };

/* x (LENGTH, BATCH, INPUT), w, r and b constant or, with random elements of the same seeds, inputs. */
static tern_model *net(const char *op_type, int gates, const char *direction, tern_tensor *const *weights) {
    const int64_t d = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    const int64_t dims[3][3] = {{d, gates * HIDDEN, INPUT}, {d, gates * HIDDEN, HIDDEN}, {d, 2 * gates * HIDDEN}};
    static const char *const names[] = {"w", "r", "b"};
    mb b;
    mb_begin(&b, 14);
    mb_input(&b, "x", TERN_FLOAT, 3, DIMS(LENGTH, BATCH, INPUT));
    for (int i = 0; i < 3; i++) {
        if (weights)
            mb_floats(&b, names[i], i < 2 ? 3 : 2, dims[i], weights[i]->data);
        else
            mb_input(&b, names[i], TERN_FLOAT, i < 2 ? 3 : 2, dims[i]);
    }
    tn_node *n = mb_node(&b, op_type, "x w r b", "y");
    mb_int(n, "hidden_size", HIDDEN);
    mb_attr(n, "direction", TN_ATTR_STRING)->s = tn_str_c(direction);
    mb_output(&b, "y");
    return mb_end(&b);
}

static void check(const char *op_type, int gates, const char *direction) {
    const int64_t d = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    tern_tensor *w[] = {mb_random_tensor(2, 3, DIMS(d, gates * HIDDEN, INPUT)),
                        mb_random_tensor(3, 3, DIMS(d, gates * HIDDEN, HIDDEN)),
                        mb_random_tensor(4, 2, DIMS(d, 2 * gates * HIDDEN))};
    tern_tensor *x = mb_random_tensor(5, 3, DIMS(LENGTH, BATCH, INPUT)), *fed = NULL;
    const tern_feed feeds[] = {{"x", x}, {"w", w[0]}, {"r", w[1]}, {"b", w[2]}};
    tern_error err;
    tern_model *open = net(op_type, gates, direction, NULL);
    tern_session *s = open_session(open, 1);
    assert_int_equal(tern_session_run(s, feeds, 4, NULL, &fed, 1, &err), TERN_OK);
    tern_session_free(s);
    for (int threads = 1; threads <= 3; threads++) {
        tern_model *m = net(op_type, gates, direction, w);
        tern_tensor *y = NULL;
        s = open_session(m, threads);
        assert_int_equal(tern_session_run(s, feeds, 1, NULL, &y, 1, &err), TERN_OK);
        assert_true(tn_tensor_equal(fed, y));
        size_t before = tn_alloc_total();
        assert_int_equal(tern_session_run(s, feeds, 1, NULL, &y, 1, &err), TERN_OK);
        assert_int_equal(tn_alloc_total(), before);
        assert_true(tn_tensor_equal(fed, y));
        tern_tensor_free(y);
        tern_session_free(s);
        tern_model_free(m);
    }
    for (int i = 0; i < 3; i++) tern_tensor_free(w[i]);
    tern_tensor_free(fed);
    tern_tensor_free(x);
    tern_model_free(open);
}

static void test_constant_weights(void **state) {
    (void)state;
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    for (size_t i = 0; i < TN_COUNT(directions); i++) {
        check("RNN", 1, directions[i]);
        check("GRU", 3, directions[i]);
        check("LSTM", 4, directions[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_constant_weights)};
    return cmocka_run_group_tests_name("recurrent", tests, NULL, NULL);
}
