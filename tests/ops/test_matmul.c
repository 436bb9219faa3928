#include "ops/op_test.h"

/* ---- MatMul against its definition ---------------------------------------------------------------------------- */

typedef struct matmul_case {
    int a_rank, b_rank, y_rank;
    int64_t a[5], b[5], y[5];
} matmul_case;

static const matmul_case cases[] = {
    {2, 2, 2, {3, 4}, {4, 5}, {3, 5}},
    {2, 2, 2, {1, 300}, {300, 70}, {1, 70}},
    {2, 2, 2, {65, 33}, {33, 129}, {65, 129}},
    {1, 1, 0, {7}, {7}, {0}},
    {1, 2, 1, {4}, {4, 6}, {6}},
    {2, 1, 1, {5, 4}, {4}, {5}},
    {1, 3, 2, {4}, {3, 4, 2}, {3, 2}},
    {3, 1, 2, {3, 2, 4}, {4}, {3, 2}},
    {3, 2, 3, {3, 2, 4}, {4, 5}, {3, 2, 5}},
    {2, 3, 3, {2, 4}, {3, 4, 5}, {3, 2, 5}},
    {4, 3, 4, {2, 1, 3, 4}, {5, 4, 2}, {2, 5, 3, 2}},
    {4, 4, 4, {2, 3, 2, 2}, {1, 3, 2, 3}, {2, 3, 2, 3}},
    {5, 4, 5, {2, 1, 3, 1, 2}, {4, 1, 2, 3}, {2, 4, 3, 1, 3}},
    {3, 3, 3, {0, 2, 3}, {1, 3, 2}, {0, 2, 2}},
    {2, 2, 2, {2, 0}, {0, 3}, {2, 3}},
};

/* Element of an operand whose leading dims are broadcast to `lead` (row-major index `i` of `rank` dims). */
static double element(const tern_tensor *t, int rank, const int64_t *lead, int64_t i, int64_t row, int64_t column) {
    int own = t->shape.rank - 2;
    int64_t at = 0, step = 1, size = t->shape.dims[own] * t->shape.dims[own + 1];
    for (int d = own - 1, l = rank - 1; d >= 0; d--, l--) {
        if (t->shape.dims[d] != 1) at += i % lead[l] * step;
        step *= t->shape.dims[d];
        i /= lead[l];
    }
    return tn_tensor_get_f64(t, at * size + row * t->shape.dims[own + 1] + column);
}

static void check_matmul(const matmul_case *c, tern_dtype dtype) {
    op_test t;
    op_begin(&t, "MatMul", 13);
    bool whole = tn_type_in(dtype, TN_TYPES_INT), sign = !tn_type_in(dtype, TN_TYPES_UINT);
    double lo = whole ? (sign ? -1000 : 0) : -1, hi = whole ? 1000 : 1;
    op_in(&t, op_rand(dtype, c->a_rank, c->a, lo, hi, 1));
    op_in(&t, op_rand(dtype, c->b_rank, c->b, lo, hi, 2));
    op_out_any(&t);
    op_eval(&t);
    tn_shape want_shape = tn_shape_of(c->y_rank, c->y);
    assert_true(tn_shape_equal(&want_shape, &t.result[0]->shape));
    /* Vectors as matrices. */
    tern_tensor a = *t.in[0], b = *t.in[1];
    if (c->a_rank == 1) a.shape = tn_shape_of(2, (int64_t[]){1, c->a[0]});
    if (c->b_rank == 1) b.shape = tn_shape_of(2, (int64_t[]){c->b[0], 1});
    int64_t lead[5], m = a.shape.dims[a.shape.rank - 2], k = a.shape.dims[a.shape.rank - 1];
    int64_t n = b.shape.dims[b.shape.rank - 1];
    int rank = c->y_rank - (c->a_rank > 1) - (c->b_rank > 1);
    for (int i = 0; i < rank; i++) lead[i] = c->y[i];
    double eps = dtype == TERN_DOUBLE ? 0x1p-53 : 0x1p-24;
    double out_eps = dtype == TERN_FLOAT16 ? 0x1p-11 : dtype == TERN_BFLOAT16 ? 0x1p-8 : eps;
    for (int64_t i = 0; i < tern_tensor_count(t.result[0]); i++) {
        double sum = 0, magnitude = 0;
        for (int64_t l = 0; l < k; l++) {
            double v = element(&a, rank, lead, i / n / m, i / n % m, l) * element(&b, rank, lead, i / n / m, l, i % n);
            sum += v, magnitude += fabs(v);
        }
        double tolerance = whole ? 0 : ((double)k + 1) * eps * magnitude + out_eps * fabs(sum);
        double got = tn_tensor_get_f64(t.result[0], i);
        if (!(fabs(got - sum) <= tolerance))
            fail_msg("case %d, %s, element %lld: %.9g, expected %.9g", (int)(c - cases), tern_dtype_name(dtype),
                     (long long)i, got, sum);
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_matmul(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT32,  TERN_UINT64};
    tern_cpu_tier best = tern_cpu_get_tier();
    for (int tier = TERN_CPU_SCALAR; tier <= (int)best; tier++) {
        assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)tier, NULL), TERN_OK);
        for (size_t i = 0; i < TN_COUNT(cases); i++)
            for (size_t d = 0; d < TN_COUNT(types); d++) check_matmul(&cases[i], types[d]);
    }
}

static void test_matmul_wraps(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "MatMul", 9);
    op_in(&t, op_int(TERN_INT64, DIMS(1, 2), INTS(INT64_MAX, 1)));
    op_in(&t, op_int(TERN_INT64, DIMS(2, 1), INTS(1, 1)));
    op_out(&t, op_int(TERN_INT64, DIMS(1, 1), INTS(INT64_MIN)));
    op_run_exact(&t);
}

static void bad_matmul(tern_tensor *a, tern_tensor *b, tern_status status) {
    op_test t;
    op_begin(&t, "MatMul", 13);
    op_in(&t, a);
    op_in(&t, b);
    op_error(&t, status, STRS(""));
}

#define RAND(...) op_rand(TERN_FLOAT, DIMS(__VA_ARGS__), -1, 1, 1)

static void test_matmul_bad(void **state) {
    (void)state;
    bad_matmul(RAND(2, 3), RAND(2, 3), TERN_SHAPE_MISMATCH);
    bad_matmul(RAND(3), RAND(2), TERN_SHAPE_MISMATCH);
    bad_matmul(RAND(2, 2, 3), RAND(3, 3, 2), TERN_SHAPE_MISMATCH);
    bad_matmul(op_rand(TERN_FLOAT, SCALAR, -1, 1, 1), RAND(1), TERN_SHAPE_MISMATCH);
    bad_matmul(RAND(2, 2), op_tensor(TERN_DOUBLE, DIMS(2, 2)), TERN_TYPE_MISMATCH);
    bad_matmul(op_tensor(TERN_INT8, DIMS(2, 2)), op_tensor(TERN_INT8, DIMS(2, 2)), TERN_TYPE_MISMATCH);
}

/* ---- Gemm ---------------------------------------------------------------------------------------------------- */

static void check_gemm(tern_dtype dtype, int trans_a, int trans_b, int c_form, float alpha, float beta) {
    const int64_t m = 5, n = 19, k = 23;
    bool whole = tn_type_in(dtype, TN_TYPES_INT);
    double lo = whole && tn_type_in(dtype, TN_TYPES_UINT) ? 0 : whole ? -9 : -1, hi = whole ? 9 : 1;
    op_test t;
    op_begin(&t, "Gemm", 13);
    op_attr_i(&t, "transA", trans_a);
    op_attr_i(&t, "transB", trans_b);
    op_attr_f(&t, "alpha", alpha);
    op_attr_f(&t, "beta", beta);
    op_in(&t, op_rand(dtype, DIMS(trans_a ? k : m, trans_a ? m : k), lo, hi, 1));
    op_in(&t, op_rand(dtype, DIMS(trans_b ? n : k, trans_b ? k : n), lo, hi, 2));
    static const int64_t c_dims[][2] = {{5, 19}, {1, 19}, {5, 1}, {1, 1}, {19, 0}, {1, 0}, {0, 0}};
    static const int c_ranks[] = {2, 2, 2, 2, 1, 1, 0};
    if (c_form >= 0) op_in(&t, op_rand(dtype, c_ranks[c_form], c_dims[c_form], lo, hi, 3));
    op_out_any(&t);
    op_eval(&t);
    double eps = dtype == TERN_DOUBLE ? 0x1p-53 : 0x1p-24;
    double out_eps = dtype == TERN_FLOAT16 ? 0x1p-11 : dtype == TERN_BFLOAT16 ? 0x1p-8 : 4 * eps;
    for (int64_t i = 0; i < m * n; i++) {
        double sum = 0, magnitude = 0, add = 0;
        for (int64_t l = 0; l < k; l++) {
            double v = tn_tensor_get_f64(t.in[0], trans_a ? l * m + i / n : i / n * k + l) *
                       tn_tensor_get_f64(t.in[1], trans_b ? i % n * k + l : l * n + i % n);
            sum += v, magnitude += fabs(v);
        }
        if (c_form >= 0) {
            const int64_t at[] = {i, i % n, i / n, 0, i % n, 0, 0};
            add = (double)beta * tn_tensor_get_f64(t.in[2], at[c_form]);
        }
        double want = (double)alpha * sum + add, got = tn_tensor_get_f64(t.result[0], i);
        double tolerance = ((double)k + 4) * eps * (fabs((double)alpha) * magnitude + fabs(add)) + out_eps * fabs(want);
        if (whole) tolerance = alpha == 1 && beta == 1 ? 0 : 2;
        if (!(fabs(got - want) <= tolerance))
            fail_msg("%s, transA %d, transB %d, C form %d, element %lld: %.9g, expected %.9g", tern_dtype_name(dtype),
                     trans_a, trans_b, c_form, (long long)i, got, want);
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_gemm(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT32,  TERN_UINT64};
    for (size_t d = 0; d < TN_COUNT(types); d++)
        for (int trans = 0; trans < 4; trans++)
            for (int form = -1; form < 7; form++) {
                check_gemm(types[d], trans & 1, trans >> 1, form, 1, 1);
                check_gemm(types[d], trans & 1, trans >> 1, form, 0.5f, 0.25f);
            }
}

static void test_gemm_empty_sum(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Gemm", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 0), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(0, 2), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 2), VALS(1, 2, 1, 2)));
    op_run_exact(&t);
}

static void bad_gemm(tern_tensor *a, tern_tensor *b, tern_tensor *c) {
    op_test t;
    op_begin(&t, "Gemm", 13);
    op_in(&t, a);
    op_in(&t, b);
    if (c) op_in(&t, c);
    op_error(&t, TERN_SHAPE_MISMATCH, STRS(""));
}

static void test_gemm_bad(void **state) {
    (void)state;
    bad_gemm(RAND(2, 3), RAND(2, 3), NULL);
    bad_gemm(RAND(1, 2, 3), RAND(3, 2), NULL);
    bad_gemm(RAND(2, 3), RAND(3), NULL);
    bad_gemm(RAND(2, 3), RAND(3, 4), RAND(3));
    bad_gemm(RAND(2, 3), RAND(3, 4), RAND(4, 1));
    bad_gemm(RAND(2, 3), RAND(3, 4), RAND(1, 2, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul), cmocka_unit_test(test_matmul_wraps),   cmocka_unit_test(test_matmul_bad),
        cmocka_unit_test(test_gemm),   cmocka_unit_test(test_gemm_empty_sum), cmocka_unit_test(test_gemm_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
