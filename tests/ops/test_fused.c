/* tern's own operators, and blocked layout: fast and plain forms must give the same numbers. */
#include "ops/conv_ref.h"

#include "kernels/conv.h"
#include "ops/fused.h"

/* ---- tensors in blocks --------------------------------------------------------------------------------------- */

/* A copy of t with its channels in blocks (0: plain); what the operator must leave alone is poisoned. */
static tern_tensor *in_blocks(const tern_tensor *t, int block) {
    tern_tensor *out = NULL, *view = (tern_tensor *)(uintptr_t)t;
    int64_t channels = t->shape.dims[1], sp = tn_shape_count_range(&t->shape, 2, t->shape.rank);
    if (block == 0) {
        assert_int_equal(tn_tensor_copy(&out, view, NULL), TERN_OK);
        return out;
    }
    tn_shape stored = t->shape;
    stored.dims[1] = tn_round_up(channels, block);
    assert_int_equal(tn_tensor_new(&out, TERN_FLOAT, &stored, NULL), TERN_OK);
    memset(out->data, 0, (size_t)tn_shape_count(&stored) * sizeof(float));
    out->shape = t->shape;
    out->block = block;
    for (int64_t i = 0; i < tn_shape_count(&t->shape); i++) {
        int64_t c = i / sp % channels, n = i / sp / channels;
        int64_t to = ((n * tn_ceil_div(channels, block) + c / block) * sp + i % sp) * block + c % block;
        ((float *)out->data)[to] = ((const float *)t->data)[i];
    }
    return out;
}

/* Back to plain; lanes past the last channel must be zero. */
static tern_tensor *out_of_blocks(const tern_tensor *t) {
    tern_tensor *out = NULL;
    int64_t channels = t->shape.dims[1], sp = tn_shape_count_range(&t->shape, 2, t->shape.rank), block = t->block;
    int64_t blocks = tn_ceil_div(channels, block);
    assert_int_equal(tn_tensor_new(&out, TERN_FLOAT, &t->shape, NULL), TERN_OK);
    for (int64_t i = 0; i < t->shape.dims[0] * blocks * sp * block; i++) {
        int64_t c = i / (sp * block) % blocks * block + i % block, n = i / (sp * block) / blocks;
        float v = ((const float *)t->data)[i];
        if (c < channels)
            ((float *)out->data)[(n * channels + c) * sp + i / block % sp] = v;
        else
            assert_true(v == 0);
    }
    return out;
}

/* Runs the test's node with input i in blocks of in_block[i], the output in blocks of out_block. `residual_in_place`:
 * the output is input 3's memory. Gives the output in plain layout, or NULL where prepare refuses. */
static tern_tensor *run_blocked(op_test *t, const int *in_block, int out_block, bool residual_in_place) {
    assert_int_equal(op_build(t), TERN_OK);
    tn_arena arena;
    tn_arena_init(&arena, 0);
    tn_type types[OP_MAX], out_type = {0};
    const tn_type *in_types[OP_MAX] = {0};
    const tern_tensor *values[OP_MAX] = {0};
    const int64_t *partial[OP_MAX] = {0}, *out_partial[1] = {0};
    tern_tensor *in[OP_MAX] = {0}, *out[1] = {0}, *plain = NULL;
    int blocks[2] = {out_block, 0};
    for (int i = 0; i < t->n_in; i++) {
        if (!t->in[i]) continue;
        types[i] = tn_type_of_tensor(t->in[i]);
        in_types[i] = &types[i];
        in[i] = in_block[i] ? in_blocks(t->in[i], in_block[i]) : tn_tensor_ref(t->in[i]);
        if (i == 1) values[i] = t->in[i]; /* weights are constant */
    }
    tn_infer ic = {.node = t->node,
                   .model = t->model,
                   .in = in_types,
                   .value = values,
                   .partial = partial,
                   .out = &out_type,
                   .out_partial = out_partial,
                   .arena = &arena,
                   .err = &t->err};
    assert_int_equal(t->node->op->infer(&ic), TERN_OK);
    tn_prepare pc = {.node = t->node,
                     .in = in_types,
                     .value = values,
                     .out = &out_type,
                     .in_block = in_block,
                     .out_block = blocks,
                     .tier = tern_cpu_get_tier(),
                     .threads = 3,
                     .arena = &arena,
                     .err = &t->err};
    if (!t->node->op->prepare || t->node->op->prepare(&pc) == TERN_OK) {
        tn_shape stored = out_type.shape;
        if (out_block) stored.dims[1] = tn_round_up(stored.dims[1], out_block);
        if (residual_in_place) {
            out[0] = tn_tensor_ref(in[3]);
        } else {
            assert_int_equal(tn_tensor_new(&out[0], TERN_FLOAT, &stored, NULL), TERN_OK);
            memset(out[0]->data, 0xff, (size_t)tn_shape_count(&stored) * sizeof(float));
            out[0]->shape = out_type.shape;
            out[0]->block = out_block;
        }
        void *workspace = pc.workspace ? tn_alloc_aligned(pc.workspace, 64) : NULL;
        tn_run rc = {.node = t->node,
                     .state = pc.state,
                     .in = in,
                     .out = out,
                     .workspace = workspace,
                     .tier = pc.tier,
                     .threads = 3,
                     .err = &t->err};
        assert_int_equal(t->node->op->run(&rc), TERN_OK);
        if (out_block && (t->node->op->flags & TN_OP_KERNEL_NAME)) assert_non_null(*(const char *const *)pc.state);
        plain = out_block ? out_of_blocks(out[0]) : tn_tensor_ref(out[0]);
        tn_free(workspace);
    }
    for (int i = 0; i < t->n_in; i++) tn_tensor_unref(in[i]);
    tn_tensor_unref(out[0]);
    tn_arena_release(&arena);
    return plain;
}

/* ---- Conv ---------------------------------------------------------------------------------------------------- */

/* relu(conv + bias + residual) by definition. */
static void compare_conv(const conv_case *c, const op_test *t, const tern_tensor *y, const char *how) {
    int64_t out[3], sp = conv_case_check_shape(c, y, out);
    double k = (double)(c->ic / c->groups * volume(c->rank, c->kernel));
    for (int64_t i = 0; i < c->n * c->oc * sp; i++) {
        int64_t at[3], oc = i / sp % c->oc;
        double magnitude, bias = tn_tensor_get_f64(t->in[2], oc), residual = tn_tensor_get_f64(t->in[3], i);
        coordinates(i % sp, c->rank, out, at);
        double want = conv_ref_at(c, t->in[0], t->in[1], 0, 0, i / sp / c->oc, oc, at, &magnitude) + bias + residual;
        want = want < 0 ? 0 : want;
        magnitude += fabs(bias) + fabs(residual);
        /* Winograd's transforms add a constant factor to the bound of a sum. */
        double tolerance = (k + 3) * 0x1p-24 * magnitude * 16, got = tn_tensor_get_f64(y, i);
        if (!(fabs(got - want) <= tolerance))
            fail_msg("case %d, %s, element %lld: %.9g, expected %.9g", (int)(c - conv_cases), how, (long long)i, got,
                     want);
    }
}

static void begin_conv(op_test *t, const conv_case *c) {
    op_begin_domain(t, "tern", "Conv", 1);
    conv_case_attrs(t, c);
    op_attr_s(t, "act", "relu");
    op_in(t, conv_case_x(c, TERN_FLOAT, -1, 1));
    op_in(t, conv_case_w(c, TERN_FLOAT, -1, 1));
    op_in(t, op_rand(TERN_FLOAT, DIMS(c->oc), -1, 1, 3));
    int64_t dims[5] = {c->n, c->oc};
    for (int i = 0; i < c->rank; i++) dims[2 + i] = conv_case_out(c, i);
    op_in(t, op_rand(TERN_FLOAT, c->rank + 2, dims, -1, 1, 4));
    op_out_any(t);
}

static void check_fused_conv(const conv_case *c, int *n_blocked) {
    op_test t;
    begin_conv(&t, c);
    op_eval(&t);
    compare_conv(c, &t, t.result[0], "plain");
    op_check_infer(&t);
    int block = tn_conv_block(tern_cpu_get_tier());
    t.node->in[1]->constant = tn_tensor_ref(t.in[1]);
    for (int plain_input = 0; plain_input < 2; plain_input++) {
        if (!tn_op_conv_blocked_ok(t.node, tern_cpu_get_tier(), plain_input, false)) continue;
        const int blocks[] = {plain_input ? 0 : block, 0, 0, block};
        for (int in_place = 0; in_place < 2; in_place++) {
            tern_tensor *y = run_blocked(&t, blocks, block, in_place);
            if (!y) fail_msg("blocked_ok, but: %s", t.err.text);
            compare_conv(c, &t, y, plain_input ? "plain to blocked" : "blocked");
            tn_tensor_unref(y);
            ++*n_blocked;
        }
    }
    const int plain[] = {0, 0, 0, 0};
    tern_tensor *y = run_blocked(&t, plain, 0, true); /* last: it overwrites the residual */
    op_test reference;
    begin_conv(&reference, c);
    compare_conv(c, &reference, y, "plain in place");
    op_end(&reference);
    tn_tensor_unref(y);
    tn_tensor_unref(t.node->in[1]->constant);
    t.node->in[1]->constant = NULL;
    op_end(&t);
}

static void test_fused_conv(void **state) {
    (void)state;
    tern_cpu_tier best = tern_cpu_get_tier();
    for (int tier = TERN_CPU_SCALAR; tier <= (int)best; tier++) {
        int n_blocked = 0;
        assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)tier, NULL), TERN_OK);
        for (size_t i = 0; i < TN_COUNT(conv_cases); i++) check_fused_conv(&conv_cases[i], &n_blocked);
        assert_true(n_blocked >= 10);
    }
}

static void test_blocked_refused(void **state) {
    (void)state;
    op_test t;
    begin_conv(&t, &conv_cases[3]);
    const int blocks[] = {3, 0, 0, 5}; /* blocks that do not exist */
    assert_null(run_blocked(&t, blocks, 5, false));
    assert_int_equal(t.err.status, TERN_INTERNAL);
    assert_false(tn_op_conv_blocked_ok(t.node, tern_cpu_get_tier(), true, false)); /* the weights are not constant */
    op_end(&t);
}

static void test_fused_bad(void **state) {
    (void)state;
    op_test t;
    op_begin_domain(&t, "tern", "Conv", 1);
    op_attr_s(&t, "act", "relux");
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), -1, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(3, 2, 3, 3), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("act"));
    op_begin_domain(&t, "tern", "Conv", 1);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), -1, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(3, 2, 3, 3), -1, 1, 1));
    op_in(&t, NULL);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 3, 2, 1), -1, 1, 1));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("residual", "1x3x2x1"));
    op_begin_domain(&t, "tern", "Reorder", 1);
    op_attr_i(&t, "block", 7);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 2, 4, 4), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("7"));
}

static void test_act_names(void **state) {
    (void)state;
    for (int k = 0; k < TN_ACT_COUNT; k++) {
        op_test t;
        tn_act act;
        op_begin_domain(&t, "tern", "Gemm", 1);
        op_attr_s(&t, "act", tn_op_act_name((tn_act_kind)k));
        op_attr_f(&t, "act_alpha", 0.5f);
        op_attr_f(&t, "act_beta", 2);
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(0.75)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(2)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(-2.5)));
        op_out_any(&t);
        op_eval(&t);
        assert_true(tn_op_act(t.node, &act));
        assert_int_equal(act.kind, k);
        float x = -1, y;
        tn_act_f32(tern_cpu_get_tier(), &act, &x, &y, 1);
        assert_memory_equal(&y, t.result[0]->data, sizeof y); /* log: NaN */
        op_end(&t);
    }
}

/* ---- pools, BatchNormalization, Reorder ---------------------------------------------------------------------- */

static void check_blocked(op_test *t, double tolerance) {
    op_out_any(t);
    op_eval(t);
    int block = tn_conv_block(tern_cpu_get_tier());
    const int blocks[OP_MAX] = {block};
    const tn_type type = tn_type_of_tensor(t->in[0]);
    const tn_type *types[OP_MAX];
    const tern_tensor *values[OP_MAX] = {0};
    for (int i = 0; i < OP_MAX; i++) types[i] = &type;
    assert_true(t->node->op->flags & TN_OP_BLOCKED);
    assert_true(t->node->op->blocked_ok(t->node, types, values, block));
    tern_tensor *y = run_blocked(t, blocks, block, false);
    assert_non_null(y);
    op_compare(t->name, t->result[0], y, tolerance, tolerance);
    tn_tensor_unref(y);
    op_end(t);
}

static void begin_picture(op_test *t, const char *op, int64_t channels) {
    op_begin(t, op, 22);
    op_in(t, op_rand(TERN_FLOAT, DIMS(2, channels, 9, 7), -1, 1, 1));
}

static void check_pools(int64_t channels) {
    static const char *const ops[] = {"MaxPool", "AveragePool"};
    for (int k = 0; k < 8; k++) {
        op_test t;
        begin_picture(&t, ops[k & 1], channels);
        op_attr_ints(&t, "kernel_shape", INTS(3, 2));
        op_attr_ints(&t, "strides", INTS(2, 1));
        op_attr_ints(&t, "pads", INTS(1, 0, 1, 1));
        op_attr_i(&t, "ceil_mode", k >> 1 & 1);
        if (k & 1) op_attr_i(&t, "count_include_pad", k >> 2);
        check_blocked(&t, k & 1 ? 8 * 0x1p-24 : 0);
    }
    op_test t;
    begin_picture(&t, "GlobalMaxPool", channels);
    check_blocked(&t, 0);
    begin_picture(&t, "GlobalAveragePool", channels);
    check_blocked(&t, 65 * 0x1p-24);
    begin_picture(&t, "BatchNormalization", channels);
    for (int i = 0; i < 4; i++) op_in(&t, op_rand(TERN_FLOAT, DIMS(channels), 0.5, 1, 2));
    check_blocked(&t, 0);
}

/* Of one and three dims. */
static void check_deep_pools(int64_t channels) {
    static const char *const ops[] = {"MaxPool", "AveragePool"};
    static const int64_t kernels[][3] = {{2, 3, 2}, {1, 2, 2}, {3, 1, 1}}, strides[] = {2, 2, 1};
    for (int k = 0; k < 12; k++) {
        op_test t;
        op_begin(&t, ops[k & 1], 22);
        op_in(&t, op_rand(TERN_FLOAT, DIMS(2, channels, 5, 6, 7), -1, 1, 1));
        op_attr_ints(&t, "kernel_shape", 3, kernels[k / 4]);
        op_attr_ints(&t, "strides", 3, strides);
        if (k < 4) op_attr_ints(&t, "pads", INTS(1, 1, 0, 0, 2, 1));
        if (k & 1) op_attr_i(&t, "count_include_pad", k >> 1 & 1);
        check_blocked(&t, k & 1 ? 16 * 0x1p-24 : 0);
        op_begin(&t, ops[k & 1], 22);
        op_in(&t, op_rand(TERN_FLOAT, DIMS(2, channels, 33), -1, 1, 1));
        op_attr_ints(&t, "kernel_shape", INTS(3));
        op_attr_ints(&t, "strides", 1, kernels[k / 4]);
        op_attr_ints(&t, "pads", INTS(1, 0));
        check_blocked(&t, k & 1 ? 16 * 0x1p-24 : 0);
    }
    static const char *const global[] = {"GlobalMaxPool", "GlobalAveragePool"};
    for (int k = 0; k < 4; k++) {
        op_test t;
        op_begin(&t, global[k & 1], 22);
        op_in(&t, k < 2 ? op_rand(TERN_FLOAT, DIMS(2, channels, 3, 4, 5), -1, 1, 1)
                        : op_rand(TERN_FLOAT, DIMS(2, channels, 29), -1, 1, 1));
        check_blocked(&t, 65 * 0x1p-24);
    }
}

static void test_blocked_others(void **state) {
    (void)state;
    tern_cpu_tier best = tern_cpu_get_tier();
    for (int tier = TERN_CPU_SCALAR; tier <= (int)best; tier++) {
        assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)tier, NULL), TERN_OK);
        check_pools(16);
        check_pools(19);
        check_pools(3);
        check_deep_pools(19);
    }
}

static void test_reorder(void **state) {
    (void)state;
    for (int block = 0; block <= 16; block += 8) {
        op_test t;
        op_begin_domain(&t, "tern", "Reorder", 1);
        op_attr_i(&t, "block", block);
        op_in(&t, block == 8 ? op_rand(TERN_FLOAT, DIMS(2, 19, 3, 5, 2), -1, 1, 1)
                             : op_rand(TERN_FLOAT, DIMS(2, 19, 3, 5), -1, 1, 1));
        op_out_any(&t);
        for (int to = 0; to <= 1; to++) {
            const int blocks[] = {to ? block : 0};
            tern_tensor *y = run_blocked(&t, blocks, to ? 0 : block, false);
            op_compare("Reorder", t.in[0], y, 0, 0);
            tn_tensor_unref(y);
        }
        op_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fused_conv), cmocka_unit_test(test_blocked_refused), cmocka_unit_test(test_fused_bad),
        cmocka_unit_test(test_act_names),  cmocka_unit_test(test_blocked_others),  cmocka_unit_test(test_reorder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
