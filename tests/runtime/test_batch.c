/* Batches in pieces: the same bits as the whole batch, and only for graphs whose samples are independent. */
#include "runtime/runtime.h"
#include "session_util.h"

enum { BATCH = 12 };

/* Convolutions, a residual sum, a concatenation, a factor for each channel, a mean and a product; a larger map, whose
 * pixels become rows of another product. */
static tern_model *network(void) {
    mb b;
    mb_begin(&b, 17);
    mb_input(&b, "x", TERN_FLOAT, 4, DIMS(-1, 3, 17, 17));
    mb_random(&b, "w1", 4, DIMS(24, 3, 3, 3));
    mb_random(&b, "wd", 4, DIMS(24, 1, 3, 3));
    mb_random(&b, "w2", 4, DIMS(40, 48, 1, 1));
    mb_random(&b, "w3", 2, DIMS(40, 10));
    mb_random(&b, "b3", 1, DIMS(10));
    mb_ints(mb_node(&b, "Conv", "x w1", "a"), "strides", 2, DIMS(2, 2));
    mb_node(&b, "Relu", "a", "ra");
    tn_node *dw = mb_node(&b, "Conv", "ra wd", "d");
    mb_int(dw, "group", 24);
    mb_ints(dw, "pads", 4, DIMS(1, 1, 1, 1));
    mb_node(&b, "Add", "d ra", "s");
    mb_int(mb_node(&b, "Concat", "s ra", "c"), "axis", 1);
    mb_node(&b, "Conv", "c w2", "e");
    mb_node(&b, "GlobalAveragePool", "e", "g");
    mb_random(&b, "ws", 4, DIMS(40, 40, 1, 1));
    mb_floats(&b, "k", 1, DIMS(4), (const float[]){1, 1, 2, 2});
    mb_int64s(&b, "rows", 3, DIMS(0, 40, -1));
    mb_random(&b, "gain", 1, DIMS(40));
    mb_random(&b, "w4", 2, DIMS(40, 6));
    mb_node(&b, "Conv", "g ws", "gs");
    mb_node(&b, "Sigmoid", "gs", "factor");
    mb_node(&b, "Mul", "e factor", "es");
    mb_node(&b, "Resize", "es - k", "z");
    mb_node(&b, "Reshape", "z rows", "q");
    mb_ints(mb_node(&b, "Transpose", "q", "t"), "perm", 3, DIMS(0, 2, 1));
    mb_node(&b, "LayerNormalization", "t gain", "u");
    mb_node(&b, "MatMul", "u w4", "m");
    mb_node(&b, "Flatten", "g", "f");
    mb_node(&b, "Gemm", "f w3 b3", "l");
    mb_int(mb_node(&b, "Softmax", "l", "y"), "axis", -1);
    mb_output(&b, "y");
    mb_output(&b, "m");
    return mb_end(&b);
}

static void run(tern_session *s, const tern_tensor *x, tern_tensor **out) {
    tern_error err;
    if (tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, out, 2, &err) != TERN_OK) fail_msg("%s", err.text);
}

static size_t plans_of(const tern_session *s, int64_t batch) {
    size_t found = 0;
    for (size_t i = 0; i < s->n_plans; i++) found += s->plans[i]->inputs[0].shape.dims[0] == batch;
    return found;
}

static void same_bits(void **state) {
    (void)state;
    tern_model *m = network();
    tern_tensor *x = mb_random_tensor(3, 4, DIMS(BATCH, 3, 17, 17)), *want[2] = {NULL, NULL};
    tern_session *whole = open_session(m, 1);
    assert_true(whole->separates);
    whole->batch_count = BATCH;
    run(whole, x, want);
    for (int threads = 1; threads <= 3; threads++) {
        for (int64_t count = 1; count < BATCH; count++) {
            tern_session *s = open_session(m, threads);
            s->batch_count = count; /* where it does not divide the batch, that runs as a whole */
            tern_tensor *got[2] = {NULL, NULL};
            run(s, x, got);
            assert_int_equal(plans_of(s, count), BATCH % count ? 0 : 1);
            assert_int_equal(plans_of(s, BATCH), BATCH % count ? 1 : 0);
            for (int i = 0; i < 2; i++) assert_true(tn_tensor_equal(got[i], want[i]));
            /* Into tensors of the caller's. */
            for (int i = 0; i < 2; i++) memset(got[i]->data, 0, tn_tensor_bytes(got[i]));
            run(s, x, got);
            for (int i = 0; i < 2; i++) {
                assert_true(tn_tensor_equal(got[i], want[i]));
                tern_tensor_free(got[i]);
            }
            tern_session_free(s);
        }
    }
    for (int i = 0; i < 2; i++) tern_tensor_free(want[i]);
    tern_tensor_free(x);
    tern_session_free(whole);
    tern_model_free(m);
}

/* One output, given one of the wrong shape: the error is that of a whole run. */
static void wrong_output(void **state) {
    (void)state;
    tern_model *m = network();
    tern_session *s = open_session(m, 1);
    s->batch_count = 2;
    tern_tensor *x = mb_random_tensor(3, 4, DIMS(4, 3, 17, 17)), *y = mb_random_tensor(3, 2, DIMS(5, 10));
    const char *name = "y";
    tern_error err;
    tern_tensor *out = y;
    assert_int_equal(tern_session_run(s, &(tern_feed){"x", x}, 1, &name, &out, 1, &err), TERN_SHAPE_MISMATCH);
    assert_ptr_equal(out, y);
    tern_tensor_free(x);
    tern_tensor_free(y);
    tern_session_free(s);
    tern_model_free(m);
}

typedef enum mixture {
    NONE,
    FIXED_BATCH,
    SOFTMAX_OVER_BATCH,
    CONCAT_OVER_BATCH,
    CONSTANT_FOR_EACH,
    OTHER_RANK,
    TRANSPOSED,
    TRANSPOSED_ROWS,
    SUM_OVER_BATCH,
    INDICES_IN_BATCH,
    STATISTICS_OF_BATCH,
    OLD_BROADCAST,
    RESIZED_BATCH,
    BATCH_IN_ROWS,
    MIXTURES
} mixture;

static tern_model *mixing(mixture kind) {
    mb b;
    mb_begin(&b, kind == STATISTICS_OF_BATCH ? 15 : kind == OLD_BROADCAST ? 6 : 13);
    if (kind == INDICES_IN_BATCH)
        mb_input(&b, "x", TERN_FLOAT, 3, DIMS(-1, 2, 4));
    else
        mb_input(&b, "x", TERN_FLOAT, 2, DIMS(kind == FIXED_BATCH ? 4 : -1, 4));
    mb_random(&b, "w", 2, DIMS(4, 4));
    mb_node(&b, "Relu", "x", "r");
    if (kind == SOFTMAX_OVER_BATCH)
        mb_int(mb_node(&b, "Softmax", "r", "y"), "axis", 0);
    else if (kind == CONCAT_OVER_BATCH)
        mb_int(mb_node(&b, "Concat", "r x", "y"), "axis", -2);
    else if (kind == CONSTANT_FOR_EACH)
        mb_node(&b, "Mul", "r w", "y");
    else if (kind == OTHER_RANK) {
        mb_input(&b, "z", TERN_FLOAT, 1, DIMS(-1));
        mb_node(&b, "Add", "r z", "y");
    } else if (kind == TRANSPOSED)
        mb_ints(mb_node(&b, "Transpose", "r", "y"), "perm", 2, DIMS(1, 0));
    else if (kind == TRANSPOSED_ROWS)
        mb_int(mb_node(&b, "Gemm", "r w", "y"), "transA", 1);
    else if (kind == SUM_OVER_BATCH)
        mb_ints(mb_node(&b, "ReduceMax", "r", "y"), "axes", 1, DIMS(0));
    else if (kind == INDICES_IN_BATCH) {
        mb_ints(mb_node(&b, "MaxPool", "r", "y i"), "kernel_shape", 1, DIMS(2));
        mb_output(&b, "i");
    } else if (kind == STATISTICS_OF_BATCH) {
        mb_random(&b, "s", 1, DIMS(4));
        mb_int(mb_node(&b, "BatchNormalization", "r s s s s", "y"), "training_mode", 1);
    } else if (kind == OLD_BROADCAST) { /* one factor for each sample */
        mb_random(&b, "k", 1, DIMS(4));
        tn_node *n = mb_node(&b, "Mul", "r k", "y");
        mb_int(n, "broadcast", 1), mb_int(n, "axis", 0);
    } else if (kind == RESIZED_BATCH) {
        mb_floats(&b, "k", 1, DIMS(2), (const float[]){2, 1});
        mb_node(&b, "Resize", "r - k", "y");
    } else if (kind == BATCH_IN_ROWS) {
        mb_int64s(&b, "k", 2, DIMS(4, -1));
        mb_node(&b, "Reshape", "r k", "y");
    } else
        mb_node(&b, "Tanh", "r", "y");
    mb_output(&b, "y");
    return mb_end(&b);
}

static void only_independent_samples(void **state) {
    (void)state;
    for (mixture kind = NONE; kind < MIXTURES; kind++) {
        tern_model *m = mixing(kind);
        tern_session *s = open_session(m, 1);
        if (s->separates != (kind == NONE)) fail_msg("graph %d", (int)kind);
        tern_session_free(s);
        tern_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(wrong_output),
                                       cmocka_unit_test(only_independent_samples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
