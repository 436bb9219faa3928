/* What the elementwise operators share: blocked storage, memory shared with the output, threads, shape arithmetic. */
#include "ops/op_test.h"

#include "cpu/cpu.h"

/* ---- a node run by hand ---------------------------------------------------------------------------------------- */

typedef struct run_test {
    op_test t;
    int blocks[4]; /* of the inputs */
    int out_block;
    int threads;
    int in_place; /* the input whose memory the output takes; -1: none */
} run_test;

/* (n, ceil(c/block), spatial, block); lanes past c are zeros. */
static tern_tensor blocked_of(const tern_tensor *x, int block, float *memory) {
    tern_tensor y = *x;
    int64_t n = x->shape.dims[0], c = x->shape.dims[1], cb = tn_ceil_div(c, block);
    int64_t hw = tn_shape_count_range(&x->shape, 2, x->shape.rank);
    memset(memory, 0, (size_t)(n * cb * hw * block) * sizeof *memory);
    for (int64_t i = 0; i < n * c * hw; i++) {
        int64_t p = i % hw, k = i / hw % c, b = i / hw / c;
        memory[((b * cb + k / block) * hw + p) * block + k % block] = ((const float *)x->data)[i];
    }
    y.block = block;
    y.data = memory;
    y.buffer = NULL;
    return y;
}

/* Infers, prepares and runs as a session does; t.result[0] is the output in plain storage. Lanes past the channels must
 * be zeros. */
static void run_by_hand(run_test *r) {
    enum { MOST = 1 << 17 };
    op_test *t = &r->t;
    op_out_any(t);
    assert_int_equal(op_build(t), TERN_OK);
    tn_type in[4], out = {0};
    const tn_type *in_ptr[4] = {0};
    const tern_tensor *value[4] = {0};
    const int64_t *partial[4] = {0}, *out_partial = NULL;
    tern_tensor stored[4], result = {0}, *run_in[4] = {0}, *run_out[1] = {&result};
    float *memory[5];
    for (int i = 0; i < 5; i++) memory[i] = tn_alloc_aligned(MOST * sizeof(float), TN_CACHE_LINE);
    for (int i = 0; i < t->n_in; i++) {
        in[i] = tn_type_of_tensor(t->in[i]);
        in_ptr[i] = &in[i];
        stored[i] = *t->in[i];
        stored[i].data = memory[i];
        if (tern_tensor_bytes(t->in[i]) > 0) memcpy(memory[i], t->in[i]->data, tern_tensor_bytes(t->in[i]));
        if (r->blocks[i]) stored[i] = blocked_of(t->in[i], r->blocks[i], memory[i]);
        run_in[i] = &stored[i];
    }
    tn_infer ic = {.node = t->node,
                   .model = t->model,
                   .in = in_ptr,
                   .value = value,
                   .partial = partial,
                   .out = &out,
                   .out_partial = &out_partial,
                   .arena = &t->model->arena,
                   .err = &t->err};
    if (t->node->op->infer(&ic) != TERN_OK) fail_msg("%s", t->err.text);
    tn_prepare pc = {.node = t->node,
                     .in = in_ptr,
                     .value = value,
                     .out = &out,
                     .in_block = r->blocks,
                     .out_block = &r->out_block,
                     .tier = tn_cpu_tier(),
                     .threads = r->threads,
                     .arena = &t->model->arena,
                     .err = &t->err};
    if (t->node->op->prepare(&pc) != TERN_OK) fail_msg("%s", t->err.text);
    result = (tern_tensor){.dtype = out.dtype,
                           .block = r->out_block,
                           .shape = out.shape,
                           .data = r->in_place >= 0 ? memory[r->in_place] : memory[4]};
    tn_run rc = {.node = t->node,
                 .state = pc.state,
                 .in = run_in,
                 .out = run_out,
                 .tier = pc.tier,
                 .threads = r->threads,
                 .err = &t->err};
    if (t->node->op->run(&rc) != TERN_OK) fail_msg("%s", t->err.text);
    t->result[0] = op_tensor(out.dtype, out.shape.rank, out.shape.dims);
    if (r->out_block == 0) {
        if (tern_tensor_bytes(t->result[0]) > 0)
            memcpy(t->result[0]->data, result.data, tern_tensor_bytes(t->result[0]));
    } else {
        int64_t block = r->out_block, c = out.shape.dims[1], cb = tn_ceil_div(c, block);
        int64_t hw = tn_shape_count_range(&out.shape, 2, out.shape.rank), all = tn_tensor_stored_count(&result);
        for (int64_t i = 0; i < all; i++) {
            int64_t lane = i % block, p = i / block % hw, k = i / block / hw % cb * block + lane,
                    b = i / block / hw / cb;
            float v = ((const float *)result.data)[i];
            if (k >= c) {
                assert_true(v == 0);
            } else {
                ((float *)t->result[0]->data)[(b * c + k) * hw + p] = v;
            }
        }
    }
    for (int i = 0; i < 5; i++) tn_free(memory[i]);
}

/* The same node by tn_node_eval, in plain storage: both must give the same bits. */
static void compare_with_plain(run_test *r, const char *name, int opset) {
    run_by_hand(r);
    op_test plain;
    op_begin(&plain, name, opset);
    for (int i = 0; i < r->t.n_in; i++) {
        tern_tensor *copy;
        assert_int_equal(tn_tensor_copy(&copy, r->t.in[i], NULL), TERN_OK);
        op_in(&plain, copy);
    }
    op_out_any(&plain);
    op_eval(&plain);
    op_compare(name, plain.result[0], r->t.result[0], 0, 0);
    op_end(&plain);
    op_end(&r->t);
}

/* ---- blocked storage ------------------------------------------------------------------------------------------- */

static void blocked(const char *name, int opset, int block, tern_tensor *a, tern_tensor *b) {
    run_test r = {.out_block = block, .threads = 1, .in_place = -1};
    op_begin(&r.t, name, opset);
    op_in(&r.t, a);
    r.blocks[0] = tern_tensor_count(a) > 1 ? block : 0;
    if (b) {
        op_in(&r.t, b);
        r.blocks[1] = tern_tensor_count(b) > 1 ? block : 0;
    }
    compare_with_plain(&r, name, opset);
}

static void blocked_storage(void **state) {
    (void)state;
    static const int64_t channels[] = {3, 16, 19, 40};
    for (int block = 8; block <= 16; block += 8)
        for (int i = 0; i < 4; i++) {
            int64_t c = channels[i];
            /* What becomes of a zero must not stay in the lanes past c. */
            blocked("Exp", 13, block, op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1), NULL);
            blocked("Reciprocal", 13, block, op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1), NULL);
            tern_tensor *x = op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1);
            blocked("Div", 14, block, x, op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 2));
            x = op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1);
            blocked("Mul", 14, block, x, op_rand(TERN_FLOAT, DIMS(2, c, 1, 1), 1, 2, 2));
            x = op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1);
            blocked("Sub", 14, block, x, op_rand(TERN_FLOAT, DIMS(1, c, 1, 3), 1, 2, 2));
            x = op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1);
            blocked("Sub", 14, block, x, op_rand(TERN_FLOAT, DIMS(2, 1, 5, 3), 1, 2, 2)); /* one channel for all */
            x = op_rand(TERN_FLOAT, DIMS(2, 1, 1, 3), 1, 2, 1);
            blocked("Sub", 14, block, x, op_rand(TERN_FLOAT, DIMS(1, c, 5, 1), 1, 2, 2));
            x = op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 1);
            blocked("Add", 14, block, x, op_rand(TERN_FLOAT, SCALAR, 1, 2, 2));
            x = op_rand(TERN_FLOAT, DIMS(1, 1, 1, 1), 1, 2, 1);
            blocked("Sub", 14, block, x, op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), 1, 2, 2));
            x = op_rand(TERN_FLOAT, DIMS(2, c, 5, 3), -1, 1, 1);
            blocked("Clip", 13, block, x, op_num(TERN_FLOAT, SCALAR, VALS(0.25)));
            x = op_rand(TERN_FLOAT, DIMS(1, c, 40, 9), -1, 1, 1);
            blocked("PRelu", 16, block, x, op_rand(TERN_FLOAT, DIMS(1, c, 1, 1), 1, 2, 2));
        }
}

static void blocked_variadic(void **state) {
    (void)state;
    run_test r = {.blocks = {16, 16, 0}, .out_block = 16, .threads = 1, .in_place = -1};
    op_begin(&r.t, "Mean", 13);
    op_in(&r.t, op_rand(TERN_FLOAT, DIMS(2, 19, 5, 3), 1, 2, 1));
    op_in(&r.t, op_rand(TERN_FLOAT, DIMS(2, 19, 1, 1), 1, 2, 2));
    op_in(&r.t, op_num(TERN_FLOAT, SCALAR, VALS(3)));
    compare_with_plain(&r, "Mean", 13);
}

/* ---- output in an input's memory ------------------------------------------------------------------------------- */

static void in_place(void **state) {
    (void)state;
    static const char *const names[] = {"Sub", "Div", "Min", "PRelu"};
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_INT32};
    for (int n = 0; n < 4; n++)
        for (int k = 0; k < 4; k++)
            for (int at = 0; at < 2; at++) {
                run_test r = {.threads = 1, .in_place = at};
                op_begin(&r.t, names[n], 16);
                tern_tensor *full = op_rand(types[k], DIMS(9, 70, 5), 20, 90, 1);
                tern_tensor *part = op_rand(types[k], DIMS(9, 1, 5), 1, 9, 2);
                bool swap = at == 1 && n < 3;
                if (at == 1 && !swap) {
                    tern_tensor_free(part);
                    part = op_rand(types[k], DIMS(9, 70, 5), 1, 9, 2);
                }
                op_in(&r.t, swap ? part : full);
                op_in(&r.t, swap ? full : part);
                compare_with_plain(&r, names[n], 16);
            }
}

/* The output of a sum may be the memory of an operand that is added late. */
static void in_place_variadic(void **state) {
    (void)state;
    for (int at = 0; at < 4; at++) {
        run_test r = {.threads = 1, .in_place = at};
        op_begin(&r.t, "Sum", 13);
        for (int i = 0; i < 4; i++) op_in(&r.t, op_rand(TERN_FLOAT, DIMS(3, 1001), -1, 1, (uint32_t)i));
        compare_with_plain(&r, "Sum", 13);
    }
}

static void in_place_unary(void **state) {
    (void)state;
    run_test r = {.threads = 1, .in_place = 0};
    op_begin(&r.t, "Sigmoid", 13);
    op_in(&r.t, op_rand(TERN_BFLOAT16, DIMS(3, 1001), -1, 1, 3));
    compare_with_plain(&r, "Sigmoid", 13);
    r = (run_test){.threads = 1, .in_place = 1}; /* the bound's memory */
    op_begin(&r.t, "Clip", 13);
    op_in(&r.t, op_num(TERN_FLOAT, SCALAR, VALS(-5)));
    op_in(&r.t, op_num(TERN_FLOAT, SCALAR, VALS(-2)));
    compare_with_plain(&r, "Clip", 13);
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

static void same_bits_for_any_threads(void **state) {
    (void)state;
    for (int threads = 2; threads <= 5; threads++) {
        run_test r = {.threads = threads, .in_place = -1};
        op_begin(&r.t, "Mul", 14);
        op_in(&r.t, op_rand(TERN_FLOAT, DIMS(11, 100, 90), -1, 1, 1));
        op_in(&r.t, op_rand(TERN_FLOAT, DIMS(11, 1, 90), -1, 1, 2));
        compare_with_plain(&r, "Mul", 14);
        r = (run_test){.threads = threads, .in_place = -1};
        op_begin(&r.t, "Tanh", 13);
        op_in(&r.t, op_rand(TERN_FLOAT, DIMS(99991), -1, 1, 1));
        compare_with_plain(&r, "Tanh", 13);
        r = (run_test){.threads = threads, .in_place = -1};
        op_begin(&r.t, "Mean", 13);
        for (int i = 0; i < 3; i++) op_in(&r.t, op_rand(TERN_FLOAT, DIMS(99991), -1, 1, (uint32_t)i));
        compare_with_plain(&r, "Mean", 13);
    }
    tn_thread_shutdown();
}

/* ---- shape arithmetic ------------------------------------------------------------------------------------------ */

#define A_SYMBOL tn_dim_symbol(0)

/* Inference of `name` on int64 vectors that are known as far as a and b say; what it says of the output must be y. */
static void partial_is(const char *name, int n, const int64_t *a, const int64_t *b, const int64_t *y) {
    op_test t;
    op_begin(&t, name, 20);
    if (strcmp(name, "Cast") == 0) op_attr_i(&t, "to", TERN_INT64);
    op_in(&t, op_tensor(TERN_INT64, DIMS(n)));
    if (b) op_in(&t, op_tensor(TERN_INT64, DIMS(n)));
    op_out_any(&t);
    assert_int_equal(op_build(&t), TERN_OK);
    tn_type type = tn_type_of_tensor(t.in[0]), out = {0};
    const tn_type *in[2] = {&type, &type};
    const tern_tensor *value[2] = {0};
    const int64_t *partial[2] = {a, b}, *out_partial = NULL;
    tn_infer c = {.node = t.node,
                  .model = t.model,
                  .in = in,
                  .value = value,
                  .partial = partial,
                  .out = &out,
                  .out_partial = &out_partial,
                  .arena = &t.model->arena,
                  .err = &t.err};
    if (t.node->op->infer(&c) != TERN_OK) fail_msg("%s", t.err.text);
    assert_non_null(out_partial);
    for (int i = 0; i < n; i++)
        if (out_partial[i] != y[i]) fail_msg("%s: element %d is %lld", name, i, (long long)out_partial[i]);
    op_end(&t);
}

#define VECTOR(...) ((const int64_t[]){__VA_ARGS__})
static void shape_arithmetic(void **state) {
    (void)state;
    const int64_t s = A_SYMBOL, u = TN_DIM_UNKNOWN;
    partial_is("Add", 5, VECTOR(1, s, 0, u, INT64_MAX), VECTOR(2, 0, s, 1, 1), VECTOR(3, s, s, u, u));
    partial_is("Sub", 5, VECTOR(1, s, s, u, 0), VECTOR(2, 0, s, 1, s), VECTOR(-1, s, 0, u, u));
    partial_is("Mul", 5, VECTOR(3, s, 0, s, INT64_MAX), VECTOR(2, 1, s, 2, 2), VECTOR(6, s, 0, u, u));
    partial_is("Div", 5, VECTOR(7, s, s, 1, 1), VECTOR(2, 1, 2, 0, u), VECTOR(3, s, u, u, u));
    partial_is("Min", 3, VECTOR(7, s, s), VECTOR(2, s, 2), VECTOR(2, s, u));
    partial_is("Max", 3, VECTOR(7, s, s), VECTOR(2, s, 2), VECTOR(7, s, u));
    partial_is("Equal", 4, VECTOR(7, s, s, s), VECTOR(7, s, -1, 2), VECTOR(1, 1, 0, u));
    partial_is("Cast", 3, VECTOR(7, s, u), NULL, VECTOR(7, s, u));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocked_storage),  cmocka_unit_test(blocked_variadic),
        cmocka_unit_test(in_place),         cmocka_unit_test(in_place_variadic),
        cmocka_unit_test(in_place_unary),   cmocka_unit_test(same_bits_for_any_threads),
        cmocka_unit_test(shape_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
