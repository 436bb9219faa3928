/* Matrix product against double precision, in float32 and of numbers rounded to bfloat16.
 *
 * Tolerance: a chain of k fused multiply-adds errs by at most k roundings of partial sums, each at most the sum of |a
 * b|; alpha and the bias add two more, the scalar tier (which rounds products too) one more per term. So (k + 4) eps
 * (sum |a b| + |bias|), first order; what C holds counts as a term. bfloat16: on the rounded operands, each product
 * rounded as well. */
#include "kernels/check.h"

#include "kernels/bf16_gemm.h"
#include "kernels/kernels_internal.h"
#include "kernels/ref/ref.h"

typedef struct problem {
    tn_gemm_f32 g;
    ck_buf a, b, bias;
    ck_buf c0; /* what C holds before, (m, n); none: C is only written */
} problem;

static problem make(int64_t m, int64_t n, int64_t k, bool ta, bool tb, int bias) {
    problem p = {.g = {.m = m, .n = n, .k = k, .alpha = 1, .bias_n = bias == 1, .bias_m = bias == 2}};
    int64_t lda = (ta ? m : k) + ck_int(0, 3), ldb = (tb ? k : n) + ck_int(0, 3);
    p.g.a_rs = ta ? 1 : lda, p.g.a_cs = ta ? lda : 1;
    p.g.b_rs = tb ? 1 : ldb, p.g.b_cs = tb ? ldb : 1;
    p.g.ldc = n + ck_int(0, 5);
    /* Exactly as much memory as is addressed. */
    size_t na = m && k ? (size_t)((m - 1) * p.g.a_rs + (k - 1) * p.g.a_cs + 1) : 0;
    size_t nb = n && k ? (size_t)((k - 1) * p.g.b_rs + (n - 1) * p.g.b_cs + 1) : 0;
    p.a = ck_random(na, 4), p.b = ck_random(nb, 4);
    p.bias = ck_random((size_t)(bias == 1 ? n : bias == 2 ? m : 0), 4);
    return p;
}

static void release(problem *p) {
    ck_free(&p->a);
    ck_free(&p->b);
    ck_free(&p->bias);
    if (p->g.accumulate) ck_free(&p->c0);
}

static void make_accumulate(problem *p) {
    p->g.accumulate = true;
    p->c0 = ck_random((size_t)(p->g.m * p->g.n), 4);
}

static size_t c_count(const tn_gemm_f32 *g) { return (size_t)((g->m - 1) * g->ldc + g->n); }

/* A way to compute it. */
typedef struct engine {
    bool bf16, packed;
    int level; /* tern_cpu_tier or tn_bf16_isa */
} engine;

static engine engines[2 * (TERN_CPU_AVX512 + 1) + TN_BF16_ISA_COUNT];
static size_t n_engines;

static int list_engines(void **state) {
    (void)state;
    for (int t = 0; t <= (int)ck_top(); t++)
        for (int packed = 0; packed < 2; packed++) engines[n_engines++] = (engine){false, packed, t};
    for (int isa = 0; isa < TN_BF16_ISA_COUNT; isa++)
        if (tn_bf16_available(isa)) engines[n_engines++] = (engine){true, true, isa};
    return 0;
}

/* Into c, whose rows may hold something before. */
static void multiply(const engine *e, const problem *p, float *c, int threads) {
    const tn_gemm_f32 *g = &p->g;
    const float *bias = p->bias.n ? p->bias.p : NULL;
    ck_buf pb = {0};
    if (e->bf16 && g->k == 0) return;
    if (e->packed)
        pb = ck_alloc((e->bf16 ? tn_bf16_gemm_packed_bytes(e->level, g) : tn_gemm_f32_packed_bytes(e->level, g)) / 4,
                      64);
    ck_buf ws = ck_alloc(
        (e->bf16 ? tn_bf16_gemm_workspace(e->level, g) : tn_gemm_f32_workspace(e->level, g, e->packed)) / 4, 64);
    if (e->bf16) {
        tn_bf16_gemm_pack(e->level, g, p->b.p, pb.p, ck_int(1, 3));
        tn_bf16_gemm_run(e->level, g, p->a.p, pb.p, bias, c, ws.p, threads);
    } else {
        if (e->packed) tn_gemm_f32_pack(e->level, g, p->b.p, pb.p, 1);
        tn_gemm_f32_run(e->level, g, p->a.p, e->packed ? NULL : p->b.p, e->packed ? pb.p : NULL, bias, c, ws.p,
                        threads);
    }
    ck_free(&ws);
    if (e->packed) ck_free(&pb);
}

static ck_buf run(const engine *e, const problem *p, int threads) {
    const tn_gemm_f32 *g = &p->g;
    ck_buf c = ck_alloc(c_count(g), 4);
    for (int64_t i = 0; g->accumulate && i < g->m; i++)
        memcpy(c.p + i * g->ldc, p->c0.p + i * g->n, (size_t)g->n * sizeof *c.p);
    multiply(e, p, c.p, threads);
    /* What lies between the rows is untouched. */
    for (int64_t i = 0; i + 1 < g->m; i++)
        for (int64_t j = g->n; j < g->ldc; j++) {
            uint32_t bits;
            memcpy(&bits, &c.p[i * g->ldc + j], 4);
            assert_int_equal(bits, CK_CANARY);
        }
    return c;
}

static float rounded(float x) { return tn_bf16_to_f32(tn_f32_to_bf16(x)); }

/* Sums of the operands as the engine multiplies them. */
static void reference(const engine *e, const problem *p, double *sum, double *mag) {
    tn_gemm_f32 g = p->g;
    float *a = malloc(p->a.n * 4 + 1), *b = malloc(p->b.n * 4 + 1);
    for (size_t i = 0; i < p->a.n; i++) a[i] = e->bf16 ? rounded(p->a.p[i]) : p->a.p[i];
    for (size_t i = 0; i < p->b.n; i++) b[i] = e->bf16 ? rounded(p->b.p[i] * g.alpha) : p->b.p[i];
    if (e->bf16) g.alpha = 1;
    tn_ref_gemm(&g, a, b, sum, mag);
    free(a);
    free(b);
}

static void check(const engine *e, const problem *p, const ck_buf *c) {
    const tn_gemm_f32 *g = &p->g;
    if (e->bf16 && g->k == 0) return; /* its callers need no product then */
    double *sum = malloc((size_t)(g->m * g->n) * 8), *mag = malloc((size_t)(g->m * g->n) * 8);
    reference(e, p, sum, mag);
    double terms = (double)g->k * (e->bf16 || e->level == TERN_CPU_SCALAR ? 2 : 1) + 4;
    for (int64_t i = 0; i < g->m; i++) {
        for (int64_t j = 0; j < g->n; j++) {
            double bias = g->bias_n ? (double)p->bias.p[j] : g->bias_m ? (double)p->bias.p[i] : 0;
            double c0 = g->accumulate ? (double)p->c0.p[i * g->n + j] : 0;
            double want = tn_ref_act(&g->act, sum[i * g->n + j] + c0 + bias), got = (double)c->p[i * g->ldc + j];
            double tol = terms * CK_EPS * (mag[i * g->n + j] + fabs(c0) + fabs(bias));
            /* Every activation tested here has a slope of at most 1.1; its own error is test_act's matter: 8 ULP. */
            if (g->act.kind != TN_ACT_NONE) tol = 1.1 * tol + 8 * ck_ulp(fabs(want) + tol);
            if (!(fabs(got - want) <= tol))
                fail_msg("%s %d, %ldx%ldx%ld at %ld,%ld: %.9g instead of %.9g (+- %.3g)", e->bf16 ? "bf16" : "tier",
                         e->level, (long)g->m, (long)g->n, (long)g->k, (long)i, (long)j, got, want, tol);
        }
    }
    free(sum);
    free(mag);
}

static void same_bits(const tn_gemm_f32 *g, const ck_buf *a, const ck_buf *b) {
    for (int64_t i = 0; i < g->m; i++) assert_memory_equal(a->p + i * g->ldc, b->p + i * g->ldc, (size_t)g->n * 4);
}

static const tn_act acts[] = {
    {TN_ACT_NONE, 0, 0}, {TN_ACT_RELU, 0, 0}, {TN_ACT_CLIP, -0.5f, 0.75f}, {TN_ACT_SILU, 1, 0}, {TN_ACT_GELU, 0, 0}};

static void one_shape(int64_t m, int64_t n, int64_t k) {
    problem p = make(m, n, k, ck_int(0, 1), ck_int(0, 1), ck_int(0, 2));
    p.g.act = acts[ck_int(0, TN_COUNT(acts) - 1)];
    p.g.alpha = ck_int(0, 3) ? 1.0f : 0.37f;
    if (ck_int(0, 3) == 0) make_accumulate(&p);
    ck_buf c = {0}; /* of a tier, not packed: packed are the same bits */
    for (size_t i = 0; i < n_engines; i++) {
        ck_buf d = run(&engines[i], &p, 1);
        check(&engines[i], &p, &d);
        if (engines[i].packed && !engines[i].bf16) same_bits(&p.g, &c, &d);
        if (c.map) ck_free(&c);
        c = d;
    }
    ck_free(&c);
    release(&p);
}

static void small_shapes(void **state) {
    (void)state;
    for (int m = 1; m <= 30; m++) one_shape(m, ck_int(1, 80), ck_int(1, 70));
    for (int n = 1; n <= 70; n++) one_shape(ck_int(1, 16), n, ck_int(1, 40));
    for (int k = 0; k <= 20; k++) one_shape(ck_int(1, 16), ck_int(1, 40), k);
}

static void large_shapes(void **state) {
    (void)state;
    one_shape(1, 700, 1100);
    one_shape(3, 130, 513);
    one_shape(29, 64, 512);
    one_shape(115, 97, 1025);
    one_shape(230, 200, 64);
    /* Beyond one block of k, one chunk of rows, one band of them. */
    one_shape(1, 100, 3100);
    one_shape(30, 70, 6200);
    one_shape(500, 40, 3073);
    one_shape(1000, 33, 900);
    one_shape(7000, 50, 65);
}

/* Bits depend neither on the number of threads nor on the rows that are computed along with a row. */
static void threads_and_rows(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{1, 1000, 300}, {5, 333, 600}, {40, 200, 530}, {250, 90, 70}, {300, 65, 3200}};
    for (size_t s = 0; s < TN_COUNT(shapes); s++) {
        problem p = make(shapes[s][0], shapes[s][1], shapes[s][2], false, s % 2, 1);
        p.g.act = acts[s];
        if (s % 2) make_accumulate(&p);
        for (size_t e = 0; e < n_engines; e++) {
            ck_buf c = run(&engines[e], &p, 1);
            static const int threads[] = {2, 3, 7};
            for (size_t i = 0; i < TN_COUNT(threads); i++) {
                ck_buf d = run(&engines[e], &p, threads[i]);
                same_bits(&p.g, &c, &d);
                ck_free(&d);
            }
            problem one = p;
            one.g.m = 1;
            int64_t row = ck_int(0, (int)p.g.m - 1);
            one.a.p += row * p.g.a_rs;
            if (p.g.accumulate) one.c0.p += row * p.g.n;
            ck_buf d = run(&engines[e], &one, 1);
            assert_memory_equal(d.p, c.p + row * p.g.ldc, (size_t)p.g.n * 4);
            ck_free(&d);
            ck_free(&c);
        }
        release(&p);
    }
}

/* Cancellation: the largest terms come first and last and cancel; NaN and infinity go through. */
static void worst_case(void **state) {
    (void)state;
    problem p = make(17, 45, 64, false, false, 0);
    for (int64_t i = 0; i < p.g.m; i++) {
        p.a.p[i * p.g.a_rs] = 1e6f;
        p.a.p[i * p.g.a_rs + 63] = -1e6f;
    }
    for (int64_t j = 0; j < p.g.n; j++) p.b.p[j] = p.b.p[63 * p.g.b_rs + j] = 1.0f;
    for (size_t e = 0; e < n_engines; e++) {
        ck_buf c = run(&engines[e], &p, 1);
        check(&engines[e], &p, &c);
        ck_free(&c);
    }
    p.a.p[3 * p.g.a_rs + 5] = NAN;
    p.g.act = acts[1];
    for (size_t e = 0; e < n_engines; e++) {
        ck_buf c = run(&engines[e], &p, 1);
        for (int64_t j = 0; j < p.g.n; j++) assert_true(isnan(c.p[3 * p.g.ldc + j]) && !isnan(c.p[4 * p.g.ldc + j]));
        ck_free(&c);
    }
    release(&p);
}

static void tile_table(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        const tn_kernels *k = tn_kernels_get(t);
        for (int kind = 0; kind < TN_TILE_KINDS; kind++) {
            for (int m = 1; m <= k->tile_m; m++) assert_true(k->tile_f32(kind, m, 1) && k->tile_f32(kind, m, 2));
            bool wide = kind != TN_TILE_BLOCKED2 && kind != TN_TILE_PANEL2;
            for (int m = 1; m <= k->tile_m_wide; m++) assert_true((k->tile_f32(kind, m, 4) != NULL) == wide);
            assert_null(k->tile_f32(kind, k->tile_m + 1, 2));
            bool blocked = kind == TN_TILE_BLOCKED, half = blocked || kind == TN_TILE_PANEL2;
            for (int m = (k->tile_m_3 + 1) / 2; m && m <= k->tile_m_3; m++)
                assert_true((k->tile_f32(kind, m, 3) != NULL) == blocked);
            for (int m = (k->tile_m_half + 1) / 2; m && m <= k->tile_m_half; m++)
                assert_true((k->tile_f32(kind, m, 2 | TN_TILE_HALF) != NULL) == half);
            for (int m = (k->tile_m_3_half + 1) / 2; m && m <= k->tile_m_3_half; m++)
                assert_true((k->tile_f32(kind, m, 3 | TN_TILE_HALF) != NULL) == blocked);
            assert_null(k->tile_f32(kind, k->tile_m_3 + 1, 3));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tile_table), cmocka_unit_test(small_shapes),
                                       cmocka_unit_test(large_shapes), cmocka_unit_test(threads_and_rows),
                                       cmocka_unit_test(worst_case)};
    return cmocka_run_group_tests(tests, list_engines, NULL);
}
