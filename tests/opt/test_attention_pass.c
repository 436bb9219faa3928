/* Attention as exporters write it becomes one operator, which reads rows where they are; the same numbers as the plain
 * graph, and the same bits for any number of threads and for a sample alone. */
#include "fuse_test.h"

static tern_session *session_with(tern_model *m, int threads) {
    tern_options o;
    tern_options_init(&o);
    o.threads = threads;
    tern_session *s;
    tern_error err;
    if (tern_session_create(&s, m, &o, &err) != TERN_OK) fail_msg("%s", err.text);
    return s;
}

static tern_tensor *random_input(int64_t batch_dim, int64_t batch, int64_t length, int64_t width) {
    tern_tensor *x;
    tern_error err;
    int64_t dims[3] = {batch_dim ? length : batch, batch_dim ? batch : length, width};
    if (tern_tensor_create(&x, TERN_FLOAT, 3, dims, &err)) fail_msg("%s", err.text);
    tt_rng rng = tt_rng_init(11);
    tt_fill_f32(&rng, x->data, (size_t)(batch * length * width), -1, 1);
    return x;
}

/* Weighted means of values below `size`: scores of some 32 products of numbers below 3 err by 1e-5, weights by as much.
 */
static void check_close(const tern_tensor *a, const tern_tensor *b, double size) {
    assert_true(tn_shape_equal(&a->shape, &b->shape));
    const float *p = a->data, *q = b->data;
    for (int64_t i = 0; i < tn_shape_count(&a->shape); i++)
        if (!(fabs((double)p[i] - (double)q[i]) <= 4e-5 * size) && !(isnan(p[i]) && isnan(q[i])))
            fail_msg("element %d: %.9g, fused %.9g", (int)i, (double)p[i], (double)q[i]);
}

/* Fused against plain, for 1, 2, 3 and 7 threads; expects so many Attentions and none of the operators in `gone`. */
static void check_model(tern_model *m, const tern_tensor *x, int attentions, const char *const *gone) {
    tern_session *plain = session_of(m, false);
    tern_tensor *want = run_with(plain, x), *first = NULL;
    static const int threads[] = {1, 2, 3, 7};
    for (size_t i = 0; i < TN_COUNT(threads); i++) {
        tern_session *s = session_with(m, threads[i]);
        assert_int_equal(count_ops(s, "Attention"), attentions);
        for (int k = 0; gone[k]; k++)
            if (count_ops(s, gone[k])) fail_msg("there is still a %s", gone[k]);
        tern_tensor *y = run_with(s, x);
        check_close(want, y, 3);
        if (first) assert_memory_equal(y->data, first->data, tn_tensor_bytes(y));
        if (!first)
            first = y;
        else
            tern_tensor_free(y);
        tern_session_free(s);
    }
    tern_tensor_free(first);
    tern_tensor_free(want);
    tern_session_free(plain);
}

static const char *const all_gone[] = {"Softmax", "MatMul", "Transpose", "Slice", "Split",
                                       "Div",     "Mul",    "Squeeze",   NULL};

/* x (.., 24) W (24, 24 n) + b, as `name`. */
static void project(mb *b, const char *name, int64_t n) {
    char w[16], bias[16], product[16], args[48];
    snprintf(w, sizeof w, "w_%s", name);
    snprintf(bias, sizeof bias, "b_%s", name);
    snprintf(product, sizeof product, "p_%s", name);
    mb_random_in(b, w, 2, DIMS(24, 24 * n), -0.3f, 0.3f);
    mb_random(b, bias, 1, DIMS(24 * n));
    snprintf(args, sizeof args, "x %s", w);
    mb_node(b, "MatMul", args, product);
    snprintf(args, sizeof args, "%s %s", product, bias);
    mb_node(b, "Add", args, name);
}

static void transpose(mb *b, const char *from, const char *to, size_t rank, const int64_t *perm) {
    mb_ints(mb_node(b, "Transpose", from, to), "perm", rank, perm);
}

static void softmax(mb *b, const char *from, const char *to) { mb_int(mb_node(b, "Softmax", from, to), "axis", -1); }

/* torch's MultiheadAttention: x (length, batch, 24), parts by Slice, (batch * heads, length, size). */
static tern_model *torch_model(int64_t batch, int64_t length) {
    mb b;
    mb_begin(&b, 14);
    mb_input(&b, "x", TERN_FLOAT, 3, DIMS(length, batch, 24));
    project(&b, "qkv", 3);
    mb_int64s(&b, "last", 1, DIMS(-1));
    mb_int64s(&b, "rows", 3, DIMS(length, batch * 3, 8));
    mb_int64s(&b, "flat", 2, DIMS(length * batch, 24));
    static const char *const part[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        char start[8], end[8], args[40], sliced[8], shaped[8];
        snprintf(start, sizeof start, "s%d", i);
        snprintf(end, sizeof end, "e%d", i);
        snprintf(sliced, sizeof sliced, "%s0", part[i]);
        snprintf(shaped, sizeof shaped, "%s1", part[i]);
        mb_int64s(&b, start, 1, DIMS(24 * i));
        mb_int64s(&b, end, 1, DIMS(24 * i + 24));
        snprintf(args, sizeof args, "qkv %s %s last", start, end);
        mb_node(&b, "Slice", args, sliced);
        snprintf(args, sizeof args, "%s rows", sliced);
        mb_node(&b, "Reshape", args, shaped);
    }
    transpose(&b, "q1", "q2", 3, DIMS(1, 0, 2));
    transpose(&b, "k1", "k2", 3, DIMS(1, 2, 0));
    transpose(&b, "v1", "v2", 3, DIMS(1, 0, 2));
    mb_scalar(&b, "root", 2.8f);
    mb_node(&b, "Div", "q2 root", "q3");
    mb_node(&b, "MatMul", "q3 k2", "scores");
    softmax(&b, "scores", "weights");
    mb_node(&b, "MatMul", "weights v2", "z");
    transpose(&b, "z", "z1", 3, DIMS(1, 0, 2));
    mb_node(&b, "Reshape", "z1 flat", "y");
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_torch(void **state) {
    (void)state;
    for (int64_t batch = 1; batch <= 3; batch++)
        for (int64_t length = 1; length <= 65; length += 32) {
            tern_model *m = torch_model(batch, length);
            tern_tensor *x = random_input(1, batch, length, 24);
            check_model(m, x, 1, all_gone);
            tern_tensor_free(x);
            tern_model_free(m);
        }
}

/* timm's: x (batch, length, 24), batch and length free, one projection, (3, batch, heads, length, size) by Gather. */
static tern_model *timm_model(void) {
    mb b;
    mb_begin(&b, 13);
    mb_input(&b, "x", TERN_FLOAT, 3, DIMS(-1, 20, 24));
    project(&b, "qkv", 3);
    mb_int64s(&b, "five", 5, DIMS(-1, 20, 3, 3, 8));
    mb_int64s(&b, "three", 3, DIMS(-1, 20, 24));
    mb_node(&b, "Reshape", "qkv five", "p");
    transpose(&b, "p", "p1", 5, DIMS(2, 0, 3, 1, 4));
    static const char *const part[] = {"q", "k", "v"};
    for (int64_t i = 0; i < 3; i++) {
        char at[8], args[16];
        snprintf(at, sizeof at, "at%d", (int)i);
        memcpy(mb_constant(&b, at, TERN_INT64, 0, NULL)->data, &i, sizeof i);
        snprintf(args, sizeof args, "p1 %s", at);
        mb_int(mb_node(&b, "Gather", args, part[i]), "axis", 0);
    }
    transpose(&b, "k", "kt", 4, DIMS(0, 1, 3, 2));
    mb_scalar(&b, "scale", 0.35f);
    mb_node(&b, "MatMul", "q kt", "scores");
    mb_node(&b, "Mul", "scores scale", "scaled");
    softmax(&b, "scaled", "weights");
    mb_node(&b, "MatMul", "weights v", "z");
    transpose(&b, "z", "z1", 4, DIMS(0, 2, 1, 3));
    mb_node(&b, "Reshape", "z1 three", "y");
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_timm(void **state) {
    (void)state;
    tern_model *m = timm_model();
    for (int64_t batch = 1; batch <= 4; batch += 3) {
        tern_tensor *x = random_input(0, batch, 20, 24);
        check_model(m, x, 1, all_gone);
        tern_tensor_free(x);
    }
    tern_model_free(m);
}

/* A sample has the same bits alone and in a batch. */
static void test_alone(void **state) {
    (void)state;
    tern_model *m = timm_model();
    tern_session *s = session_with(m, 2);
    tern_tensor *all = random_input(0, 5, 20, 24), *y = run_with(s, all), *one = random_input(0, 1, 20, 24);
    for (int i = 0; i < 5; i++) {
        size_t bytes = tn_tensor_bytes(one);
        memcpy(one->data, (const char *)all->data + (size_t)i * bytes, bytes);
        tern_tensor *z = run_with(s, one);
        assert_memory_equal(z->data, (const char *)y->data + (size_t)i * bytes, bytes);
        tern_tensor_free(z);
    }
    tern_tensor_free(all);
    tern_tensor_free(one);
    tern_tensor_free(y);
    tern_session_free(s);
    tern_model_free(m);
}

/* BERT's: three projections, (batch, heads, length, size), a mask of (batch, 1, 1, length) or others. */
static tern_model *bert_model(int64_t mask_rank, const int64_t *mask_dims, bool mask_first) {
    mb b;
    mb_begin(&b, 12);
    mb_input(&b, "x", TERN_FLOAT, 3, DIMS(2, 10, 24));
    mb_int64s(&b, "split", 4, DIMS(0, 0, 3, 8));
    mb_int64s(&b, "join", 3, DIMS(0, 0, 24));
    static const char *const part[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        char shaped[8], args[16];
        project(&b, part[i], 1);
        snprintf(shaped, sizeof shaped, "%s1", part[i]);
        snprintf(args, sizeof args, "%s split", part[i]);
        mb_node(&b, "Reshape", args, shaped);
    }
    transpose(&b, "q1", "q2", 4, DIMS(0, 2, 1, 3));
    transpose(&b, "k1", "k2", 4, DIMS(0, 2, 3, 1));
    transpose(&b, "v1", "v2", 4, DIMS(0, 2, 1, 3));
    mb_node(&b, "MatMul", "q2 k2", "scores");
    mb_scalar(&b, "root", 2.8f);
    mb_node(&b, "Div", "scores root", "scaled");
    tern_tensor *mask = mb_constant(&b, "mask", TERN_FLOAT, (int)mask_rank, mask_dims);
    for (int64_t i = 0; i < tn_shape_count(&mask->shape); i++)
        ((float *)mask->data)[i] = i % 4 == 3 ? -INFINITY : (float)(i % 3) * 0.5f;
    mb_node(&b, "Add", mask_first ? "mask scaled" : "scaled mask", "biased");
    softmax(&b, "biased", "weights");
    mb_node(&b, "MatMul", "weights v2", "z");
    transpose(&b, "z", "z1", 4, DIMS(0, 2, 1, 3));
    mb_node(&b, "Reshape", "z1 join", "y");
    mb_output(&b, "y");
    return mb_end(&b);
}

static void test_bert(void **state) {
    (void)state;
    static const int64_t masks[][4] = {{2, 1, 1, 10}, {1, 1, 10, 10}, {2, 3, 10, 10}, {1, 3, 10, 1}};
    tern_tensor *x = random_input(0, 2, 10, 24);
    for (size_t i = 0; i < TN_COUNT(masks); i++) {
        tern_model *m = bert_model(4, masks[i], i % 2);
        check_model(m, x, 1, all_gone);
        tern_model_free(m);
    }
    tern_model *m = bert_model(1, DIMS(10), false);
    check_model(m, x, 1, all_gone);
    tern_model_free(m);
    tern_tensor_free(x);
}

/* What is no attention, or has another reader, stays. */
static void test_not_attention(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    for (int kind = 0; kind < 4; kind++) {
        mb b;
        mb_begin(&b, 13);
        mb_input(&b, "x", TERN_FLOAT, 3, DIMS(2, 8, 8));
        transpose(&b, "x", "xt", 3, DIMS(0, 2, 1));
        mb_node(&b, "MatMul", "x xt", "s");
        mb_scalar(&b, "k", kind == 1 ? -0.5f : 0.5f);
        mb_random(&b, "mask", 3, DIMS(2, 8, 8));
        mb_node(&b, kind == 2 ? "Add" : "Mul", kind == 2 ? "s mask" : "s k", "t");
        mb_int(mb_node(&b, "Softmax", "t", "w"), "axis", kind == 0 ? 1 : -1);
        mb_node(&b, "MatMul", "w x", "z");
        mb_node(&b, kind == 3 ? "Add" : "Identity", kind == 3 ? "z w" : "z", "y");
        mb_output(&b, "y");
        tern_model *m = mb_end(&b);
        tern_tensor *x = random_input(0, 2, 8, 8);
        /* A mask for each of (batch * heads) is one for each head. */
        check_model(m, x, kind == 2, none);
        tern_tensor_free(x);
        tern_model_free(m);
    }
}

/* ---- Reshapes ---------------------------------------------------------------------------------------------------- */

/* x (7, 1, 24) -> Gemm of rows -> back to (1, 7, 24) -> + x: all in the Gemm. */
static void test_residual_behind_reshape(void **state) {
    (void)state;
    mb b;
    mb_begin(&b, 14);
    mb_input(&b, "x", TERN_FLOAT, 3, DIMS(1, 7, 24));
    transpose(&b, "x", "t", 3, DIMS(1, 0, 2));
    mb_int64s(&b, "rows", 2, DIMS(7, 24));
    mb_int64s(&b, "back", 3, DIMS(7, 1, 24));
    mb_node(&b, "Reshape", "t rows", "r");
    mb_random_in(&b, "w", 2, DIMS(24, 24), -0.3f, 0.3f);
    mb_random(&b, "bias", 1, DIMS(24));
    mb_node(&b, "Gemm", "r w bias", "g");
    mb_node(&b, "Reshape", "g back", "g1");
    transpose(&b, "g1", "g2", 3, DIMS(1, 0, 2));
    mb_node(&b, "Add", "x g2", "y");
    mb_output(&b, "y");
    tern_model *m = mb_end(&b);
    static const char *const gone[] = {"Add", "Transpose", NULL};
    tern_tensor *x = random_input(0, 1, 7, 24);
    check_model(m, x, 0, gone);
    tern_tensor_free(x);
    tern_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),         cmocka_unit_test(test_timm),
        cmocka_unit_test(test_alone),         cmocka_unit_test(test_bert),
        cmocka_unit_test(test_not_attention), cmocka_unit_test(test_residual_behind_reshape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
