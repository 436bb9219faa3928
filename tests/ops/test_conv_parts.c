/* Blocked convolutions of one and three dims, and transposed ones, on every tier: against double precision, in guarded
 * memory, with the same bits for any number of threads and for a sample alone. */
#include "kernels/check.h"
#include "ops/conv_ref.h"

#include "kernels/conv.h"
#include "ops/fused.h"

typedef struct problem {
    conv_case c;
    bool transposed, in_plain;
    int64_t output_padding[3];
    int64_t out[3], in_sp, out_sp, taps;
    tern_tensor *x, *w, *bias, *z; /* w: as the standard has it */
} problem;

static void set_sizes(problem *p) {
    const conv_case *c = &p->c;
    for (int i = 0; i < c->rank; i++)
        p->out[i] = p->transposed ? (c->in[i] - 1) * c->stride[i] + (c->kernel[i] - 1) * c->dilation[i] + 1 +
                                        p->output_padding[i] - c->pad[i] - c->pad_end[i]
                                  : conv_case_out(c, i);
    p->in_sp = volume(c->rank, c->in);
    p->out_sp = volume(c->rank, p->out);
    p->taps = volume(c->rank, c->kernel);
}

static tern_tensor *tensor(int rank, int64_t n, int64_t channels, const int64_t *spatial, uint32_t seed) {
    int64_t dims[5] = {n, channels};
    memcpy(dims + 2, spatial, (size_t)rank * sizeof *dims);
    return op_rand(TERN_FLOAT, rank + 2, dims, -1, 1, seed);
}

static void make(problem *p) {
    conv_case *c = &p->c;
    set_sizes(p);
    p->x = tensor(c->rank, c->n, c->ic, c->in, 1);
    p->w = p->transposed ? tensor(c->rank, c->ic, c->oc / c->groups, c->kernel, 2)
                         : tensor(c->rank, c->oc, c->ic / c->groups, c->kernel, 2);
    p->bias = op_rand(TERN_FLOAT, DIMS(c->oc), -1, 1, 3);
    p->z = tensor(c->rank, c->n, c->oc, p->out, 4);
}

static void release(problem *p) {
    tn_tensor_unref(p->x);
    tn_tensor_unref(p->w);
    tn_tensor_unref(p->bias);
    tn_tensor_unref(p->z);
}

/* relu(conv + bias + z) of one output by definition. */
static double reference(const problem *p, int64_t i, double *magnitude) {
    const conv_case *c = &p->c;
    int64_t at[3], tap[3], icg = c->ic / c->groups, ocg = c->oc / c->groups, oc = i / p->out_sp % c->oc;
    const float *x = p->x->data, *w = p->w->data;
    double bias = ((const float *)p->bias->data)[oc], z = ((const float *)p->z->data)[i], sum = bias + z;
    *magnitude = fabs(bias) + fabs(z);
    coordinates(i % p->out_sp, c->rank, p->out, at);
    for (int64_t t = 0; t < p->taps; t++) {
        int64_t from = 0;
        bool inside = true;
        coordinates(t, c->rank, c->kernel, tap);
        for (int d = 0; d < c->rank && inside; d++) {
            int64_t q = p->transposed ? at[d] + c->pad[d] - tap[d] * c->dilation[d]
                                      : at[d] * c->stride[d] + tap[d] * c->dilation[d] - c->pad[d];
            if (p->transposed) {
                inside = q % c->stride[d] == 0;
                q /= c->stride[d];
            }
            inside = inside && q >= 0 && q < c->in[d];
            from = from * c->in[d] + q;
        }
        for (int64_t k = 0; k < icg && inside; k++) {
            int64_t ic = oc / ocg * icg + k;
            double v = x[(i / p->out_sp / c->oc * c->ic + ic) * p->in_sp + from];
            v *= w[(p->transposed ? ic * ocg + oc % ocg : oc * icg + k) * p->taps + t];
            sum += v;
            *magnitude += fabs(v);
        }
    }
    return sum < 0 ? 0 : sum;
}

/* The node, whose weights are constant; false: it has no blocked form. */
static bool begin(op_test *t, problem *p, tern_cpu_tier tier) {
    const conv_case *c = &p->c;
    int64_t strides[TERN_MAX_RANK];
    conv_case given = *c;
    for (int round = 0; round < 2; round++) { /* transposed: the second time with the strides that the first gave */
        op_begin_domain(t, "tern", p->transposed ? "ConvTranspose" : "Conv", 1);
        conv_case_attrs(t, &given);
        if (p->transposed) op_attr_ints(t, "output_padding", (size_t)c->rank, p->output_padding);
        op_attr_s(t, "act", "relu");
        op_in(t, tn_tensor_ref(p->x));
        op_in(t, tn_tensor_ref(p->w));
        op_in(t, tn_tensor_ref(p->bias));
        op_in(t, tn_tensor_ref(p->z));
        op_out_any(t);
        assert_int_equal(op_build(t), TERN_OK);
        t->node->in[1]->constant = t->in[1];
        bool ok = p->transposed ? tn_op_conv_transpose_blocked_ok(t->node, tier, strides)
                                : tn_op_conv_blocked_ok(t->node, tier, p->in_plain, false);
        t->node->in[1]->constant = NULL;
        if (ok && (!p->transposed || round)) break;
        if (ok) memcpy(given.stride, strides, sizeof given.stride);
        op_end(t);
        if (!ok) return false;
    }
    if (!p->transposed) return true;
    tern_tensor *sorted = NULL;
    assert_int_equal(tn_tensor_copy(&sorted, p->w, NULL), TERN_OK);
    assert_true(tn_op_conv_transpose_weights(t->node, p->w, sorted->data));
    tn_tensor_unref(t->in[1]);
    t->in[1] = sorted;
    return true;
}

/* Samples [first, c.n) in guarded memory; y is blocked. `in_place`: z is y. */
static ck_buf run(op_test *t, const problem *p, int64_t first, int threads, bool in_place) {
    const conv_case *c = &p->c;
    int b = tn_conv_block(tern_cpu_get_tier());
    int64_t n = c->n - first;
    size_t y_count = (size_t)(n * tn_round_up(c->oc, b) * p->out_sp);
    ck_buf y = ck_alloc(y_count, 64), z = ck_alloc(in_place ? 0 : y_count, 64), bias = ck_alloc((size_t)c->oc, 4);
    ck_buf x = ck_alloc((size_t)(n * (p->in_plain ? c->ic : tn_round_up(c->ic, b)) * p->in_sp), 64);
    const float *from = (const float *)p->x->data + first * c->ic * p->in_sp;
    if (p->in_plain)
        memcpy(x.p, from, x.n * sizeof *from);
    else
        ck_to_blocked(from, x.p, n, c->ic, p->in_sp, b);
    ck_to_blocked((const float *)p->z->data + first * c->oc * p->out_sp, in_place ? y.p : z.p, n, c->oc, p->out_sp, b);
    memcpy(bias.p, p->bias->data, bias.n * sizeof *bias.p);
    tern_tensor in[4] = {*t->in[0], *t->in[1], *t->in[2], *t->in[3]}, out = *p->z;
    in[0].shape.dims[0] = in[3].shape.dims[0] = out.shape.dims[0] = n;
    in[0].data = x.p, in[2].data = bias.p, in[3].data = in_place ? y.p : z.p, out.data = y.p;
    in[0].block = p->in_plain ? 0 : b, in[3].block = out.block = b;
    tern_tensor *ins[4] = {&in[0], &in[1], &in[2], &in[3]}, *outs[1] = {&out};
    tn_type types[4], out_type = {0};
    const tn_type *in_types[4];
    const tern_tensor *values[4] = {NULL, &in[1]};
    const int64_t *partial[4] = {0}, *out_partial[1] = {0};
    for (int i = 0; i < 4; i++) in_types[i] = &types[i], types[i] = tn_type_of_tensor(ins[i]);
    tn_arena arena;
    tn_arena_init(&arena, 0);
    tn_infer ic = {.node = t->node, .model = t->model, .in = in_types, .value = values, .partial = partial};
    ic.out = &out_type, ic.out_partial = out_partial, ic.arena = &arena, ic.err = &t->err;
    assert_int_equal(t->node->op->infer(&ic), TERN_OK);
    assert_true(tn_shape_equal(&out_type.shape, &out.shape));
    int in_block[4] = {in[0].block, 0, 0, b}, out_block[1] = {b};
    tn_prepare pc = {.node = t->node, .in = in_types, .value = values, .out = &out_type, .in_block = in_block};
    pc.out_block = out_block, pc.tier = tern_cpu_get_tier(), pc.threads = threads, pc.arena = &arena, pc.err = &t->err;
    if (t->node->op->prepare(&pc) != TERN_OK) fail_msg("blocked_ok, but: %s", t->err.text);
    ck_buf workspace = ck_alloc(pc.workspace / sizeof(float), 64);
    tn_run rc = {.node = t->node, .state = pc.state, .in = ins, .out = outs, .workspace = workspace.p};
    rc.tier = pc.tier, rc.threads = threads, rc.err = &t->err;
    assert_int_equal(t->node->op->run(&rc), TERN_OK);
    tn_arena_release(&arena);
    ck_free(&workspace);
    ck_free(&x);
    ck_free(&z);
    ck_free(&bias);
    return y;
}

static void compare(const problem *p, const ck_buf *y) {
    const conv_case *c = &p->c;
    int b = tn_conv_block(tern_cpu_get_tier());
    double k = (double)(c->ic / c->groups * p->taps);
    for (int64_t i = 0; i < c->n * c->oc * p->out_sp; i++) {
        double magnitude, want = reference(p, i, &magnitude);
        double got =
            (double)y->p[ck_at(i / p->out_sp / c->oc, i / p->out_sp % c->oc, i % p->out_sp, c->oc, p->out_sp, b)];
        /* Winograd's transforms add a constant factor to the bound of a sum. */
        if (fabs(got - want) <= (k + 3) * CK_EPS * magnitude * 16) continue;
        fail_msg("%s %d-D, in %ldx%ldx%ld, %ld to %ld, kernel %ldx%ldx%ld: element %ld is %.9g instead of %.9g",
                 p->transposed ? "transposed" : "convolution", c->rank, (long)c->in[0], (long)c->in[1], (long)c->in[2],
                 (long)c->ic, (long)c->oc, (long)c->kernel[0], (long)c->kernel[1], (long)c->kernel[2], (long)i, got,
                 want);
    }
    ck_lanes_zero(y->p, c->n, c->oc, p->out_sp, b);
}

static int check_all(problem *p) {
    int checked = 0;
    make(p);
    for (tern_cpu_tier tier = 0; tier <= ck_top(); tier++) {
        op_test t;
        assert_int_equal(tern_cpu_set_mask(tier, NULL), TERN_OK);
        if (!begin(&t, p, tier)) continue;
        checked++;
        ck_buf y = run(&t, p, 0, 1, false);
        compare(p, &y);
        static const int threads[] = {2, 3, 7};
        for (size_t i = 0; i < TN_COUNT(threads); i++) {
            ck_buf other = run(&t, p, 0, threads[i], i == 1);
            assert_memory_equal(y.p, other.p, y.n * sizeof *y.p);
            ck_free(&other);
        }
        if (p->c.n > 1) {
            ck_buf one = run(&t, p, p->c.n - 1, 1, false);
            assert_memory_equal(y.p + y.n - one.n, one.p, one.n * sizeof *y.p);
            ck_free(&one);
        }
        ck_free(&y);
        op_end(&t);
    }
    release(p);
    assert_int_equal(tern_cpu_set_mask(ck_top(), NULL), TERN_OK);
    return checked;
}

static problem random_problem(int rank, bool transposed) {
    problem p = {.transposed = transposed};
    conv_case *c = &p.c;
    *c = (conv_case){.rank = rank, .n = ck_int(0, 2) ? 1 : 2, .groups = 1, .ic = ck_int(1, 40), .oc = ck_int(1, 70)};
    bool cube = ck_int(0, 2) == 0; /* 3 x 3 of stride 1, which Winograd takes */
    for (int i = 0; i < rank; i++) {
        c->in[i] = ck_int(1, rank == 1 ? 300 : rank == 2 ? 12 : i ? 9 : 5);
        c->kernel[i] = cube && i ? 3 : ck_int(1, 4);
        c->stride[i] = cube && i ? 1 : ck_int(1, 3);
        c->dilation[i] = cube || ck_int(0, 2) ? 1 : ck_int(1, 3);
        int64_t extent = (c->kernel[i] - 1) * c->dilation[i] + 1;
        c->pad[i] = ck_int(0, (int)extent - 1), c->pad_end[i] = ck_int(0, (int)extent - 1);
        if (transposed && ck_int(0, 9)) { /* every phase has a tap */
            c->kernel[i] = TN_MAX(c->kernel[i], c->stride[i]);
            c->dilation[i] = 1;
            extent = c->kernel[i];
            c->pad[i] = ck_int(0, (int)(c->kernel[i] - c->stride[i])), c->pad_end[i] = ck_int(0, (int)c->pad[i]);
        }
        if (transposed) {
            p.output_padding[i] = ck_int(0, (int)c->stride[i] - 1);
            int64_t out = (c->in[i] - 1) * c->stride[i] + extent + p.output_padding[i];
            if (c->pad[i] + c->pad_end[i] >= out) c->pad[i] = c->pad_end[i] = 0;
        } else {
            c->in[i] = TN_MAX(c->in[i], extent - c->pad[i] - c->pad_end[i]);
        }
    }
    if (ck_int(0, 3) == 0) c->groups = c->oc = c->ic = ck_int(2, 40);
    if (ck_int(0, 5) == 0) c->groups = ck_int(2, 3), c->ic = c->groups * 16, c->oc = c->groups * 32;
    p.in_plain = !transposed && c->groups == 1 && ck_int(0, 4) == 0;
    if (p.in_plain) c->ic = ck_int(1, 4);
    return p;
}

static void random_shapes(int rank, bool transposed, int count) {
    int checked = 0, tiers = (int)ck_top() + 1;
    for (int i = 0; i < count; i++) {
        problem p = random_problem(rank, transposed);
        checked += check_all(&p);
    }
    assert_true(checked * 3 >= count * tiers); /* others have phases without a tap, or windows in padding alone */
}

static void conv_1d(void **state) {
    (void)state;
    random_shapes(1, false, 60);
}
static void conv_3d(void **state) {
    (void)state;
    random_shapes(3, false, 60);
}
static void transposed_1d(void **state) {
    (void)state;
    random_shapes(1, true, 60);
}
static void transposed_2d(void **state) {
    (void)state;
    random_shapes(2, true, 80);
}
static void transposed_3d(void **state) {
    (void)state;
    random_shapes(3, true, 50);
}

/* Shapes of networks, all of which have a blocked form. */
static void known_shapes(void **state) {
    (void)state;
    static const problem known[] = {
        {.c = {1, 1, 24, 33, 1, {700}, {3}, {1}, {128}, {128}, {128}, true}},
        {.c = {3, 1, 32, 32, 1, {4, 14, 14}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, true}},
        {.c = {3, 1, 45, 64, 1, {6, 30, 30}, {3, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 0, 0}, {1, 0, 0}, true}},
        {.c = {3, 1, 700, 20, 1, {5, 9, 9}, {3, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 0, 0}, {1, 0, 0}, true}},
        {.c = {3, 1, 3, 20, 1, {5, 20, 20}, {3, 7, 7}, {1, 2, 2}, {1, 1, 1}, {1, 3, 3}, {1, 3, 3}, true},
         .in_plain = true},
        {.c = {2, 2, 100, 40, 1, {1, 1}, {4, 4}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, true}, .transposed = true},
        {.c = {2, 1, 40, 40, 1, {8, 8}, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true}, .transposed = true},
        {.c = {2, 1, 40, 19, 1, {9, 17}, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true}, .transposed = true},
        {.c = {2, 1, 20, 21, 1, {5, 6}, {16, 16}, {8, 8}, {1, 1}, {4, 4}, {4, 4}, true}, .transposed = true},
        {.c = {2, 1, 20, 21, 1, {20, 20}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, true}, .transposed = true},
        {.c = {3, 1, 20, 21, 1, {3, 6, 6}, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, true},
         .transposed = true},
        {.c = {2, 1, 40, 40, 40, {9, 17}, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true}, .transposed = true},
        {.c = {3, 2, 20, 20, 20, {5, 9, 17}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, true}},
        {.c = {1, 2, 20, 20, 20, {90}, {9}, {1}, {1}, {4}, {4}, true}},
        {.c = {2, 1, 64, 32, 2, {9, 17}, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true}, .transposed = true},
    };
    for (size_t i = 0; i < TN_COUNT(known); i++) {
        problem p = known[i];
        assert_int_equal(check_all(&p), ck_top() + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_1d),       cmocka_unit_test(conv_3d),       cmocka_unit_test(transposed_1d),
        cmocka_unit_test(transposed_2d), cmocka_unit_test(transposed_3d), cmocka_unit_test(known_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
