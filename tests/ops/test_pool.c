#include "ops/conv_ref.h"

/* ---- pools by definition ------------------------------------------------------------------------------------- */

typedef struct pool_case {
    int rank;
    int64_t in[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
    int ceil_mode;
} pool_case;

static const pool_case pool_cases[] = {
    {1, {9}, {3}, {2}, {1}, {0}, {0}, 0},
    {1, {9}, {3}, {2}, {2}, {1}, {1}, 1},
    {2, {7, 8}, {3, 2}, {2, 3}, {1, 1}, {1, 0}, {1, 1}, 0},
    {2, {6, 5}, {2, 3}, {3, 2}, {2, 1}, {1, 2}, {0, 2}, 1},
    {2, {2, 2}, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1}, /* the last window would start in padding */
    {2, {4, 4}, {5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, 0},
    {3, {4, 5, 6}, {2, 3, 2}, {2, 1, 2}, {1, 1, 2}, {0, 1, 1}, {1, 1, 1}, 0},
    {3, {4, 5, 5}, {3, 2, 2}, {2, 2, 2}, {1, 1, 1}, {1, 0, 0}, {1, 0, 0}, 1},
    {1, {2600}, {5}, {1}, {3}, {6}, {6}, 0}, /* several segments of a row */
    {1, {5200}, {4}, {2}, {1}, {1}, {2}, 1}, /* and every other output */
    {1, {3}, {9}, {1}, {1}, {8}, {8}, 0},    /* windows larger than the input */
    {1, {40}, {3}, {11}, {4}, {2}, {2}, 1},  /* gaps between windows */
    {2, {3, 2}, {7, 6}, {1, 1}, {1, 1}, {5, 4}, {5, 4}, 0},
    {2, {17, 19}, {14, 15}, {1, 1}, {1, 1}, {7, 7}, {6, 7}, 0},
    {2, {12, 13}, {3, 4}, {1, 2}, {4, 3}, {2, 3}, {2, 3}, 1},
    {2, {30, 1}, {3, 1}, {2, 1}, {1, 1}, {1, 0}, {1, 0}, 0}, /* a sequence with a dim that nothing happens in */
    {3, {9, 1, 1}, {4, 1, 1}, {1, 1, 1}, {2, 1, 1}, {3, 0, 0}, {3, 0, 0}, 0},
    {3, {3, 2, 9}, {4, 4, 5}, {1, 2, 1}, {2, 1, 2}, {3, 2, 4}, {3, 2, 4}, 1},
};

static int64_t pool_out(const pool_case *c, int i) {
    int64_t slack = c->in[i] + c->pad[i] + c->pad_end[i] - (c->kernel[i] - 1) * c->dilation[i] - 1;
    int64_t out = slack / c->stride[i] + 1;
    if (c->ceil_mode && slack % c->stride[i] && out * c->stride[i] < c->in[i] + c->pad[i]) out++;
    return out;
}

typedef struct window_result {
    double max, sum, square;
    int64_t max_at, inside, padded;
} window_result;

/* One window of plane `plane`, element by element. */
static window_result window_at(const pool_case *c, const tern_tensor *x, int64_t plane, const int64_t *at) {
    window_result r = {-INFINITY, 0, 0, -1, 0, 0};
    for (int64_t t = 0; t < volume(c->rank, c->kernel); t++) {
        int64_t tap[3], xi = 0;
        bool inside = true, padded = true;
        coordinates(t, c->rank, c->kernel, tap);
        for (int d = 0; d < c->rank; d++) {
            int64_t p = at[d] * c->stride[d] + tap[d] * c->dilation[d] - c->pad[d];
            inside = inside && p >= 0 && p < c->in[d];
            padded = padded && p < c->in[d] + c->pad_end[d];
            xi = xi * c->in[d] + p;
        }
        r.padded += padded;
        if (!inside) continue;
        r.inside++;
        double v = tn_tensor_get_f64(x, plane * volume(c->rank, c->in) + xi);
        r.sum += v;
        r.square += v * v;
        if (v > r.max) r.max = v, r.max_at = plane * volume(c->rank, c->in) + xi;
    }
    return r;
}

static void begin_pool(op_test *t, const pool_case *c, const char *op, tern_dtype dtype) {
    op_begin(t, op, 22);
    int64_t pads[6], dims[5] = {2, 3};
    for (int i = 0; i < c->rank; i++) pads[i] = c->pad[i], pads[c->rank + i] = c->pad_end[i];
    memcpy(dims + 2, c->in, sizeof c->in);
    op_attr_ints(t, "kernel_shape", (size_t)c->rank, c->kernel);
    op_attr_ints(t, "strides", (size_t)c->rank, c->stride);
    op_attr_ints(t, "dilations", (size_t)c->rank, c->dilation);
    op_attr_ints(t, "pads", 2 * (size_t)c->rank, pads);
    op_attr_i(t, "ceil_mode", c->ceil_mode);
    bool bytes = dtype == TERN_INT8 || dtype == TERN_UINT8;
    op_in(t, op_rand(dtype, c->rank + 2, dims, bytes ? (dtype == TERN_INT8 ? -128 : 0) : -1, bytes ? 127 : 1, 7));
}

static double expected(const char *op, int count_pad, const window_result *r) {
    if (strcmp(op, "MaxPool") == 0) return r->max;
    if (strcmp(op, "LpPool") == 0) return sqrt(r->square);
    return r->sum / (double)(count_pad ? r->padded : r->inside);
}

/* `flag`: count_include_pad; of MaxPool: whether indices are wanted. */
static void check_pool(const pool_case *c, const char *op, tern_dtype dtype, int flag) {
    op_test t;
    begin_pool(&t, c, op, dtype);
    bool max = strcmp(op, "MaxPool") == 0;
    if (!max && strcmp(op, "LpPool") != 0) op_attr_i(&t, "count_include_pad", flag);
    op_out_any(&t);
    if (max && flag) op_out_any(&t);
    op_eval(&t);
    int64_t out[3];
    for (int i = 0; i < c->rank; i++) {
        out[i] = pool_out(c, i);
        assert_int_equal(t.result[0]->shape.dims[2 + i], out[i]);
    }
    int64_t sp = volume(c->rank, out);
    /* Double sums, rounded once. */
    double eps = dtype == TERN_DOUBLE    ? 0x1p-50
                 : dtype == TERN_FLOAT   ? 0x1p-23
                 : dtype == TERN_FLOAT16 ? 0x1p-10
                                         : 0x1p-7;
    for (int64_t i = 0; i < 6 * sp; i++) {
        int64_t at[3];
        coordinates(i % sp, c->rank, out, at);
        window_result r = window_at(c, t.in[0], i / sp, at);
        double want = expected(op, flag, &r), got = tn_tensor_get_f64(t.result[0], i);
        if (!op_close(want, got, max ? 0 : eps, max ? 0 : eps))
            fail_msg("%s, case %d, %s, element %lld: %.9g, expected %.9g", op, (int)(c - pool_cases),
                     tern_dtype_name(dtype), (long long)i, got, want);
        if (max && flag) assert_int_equal(tn_tensor_get_i64(t.result[1], i), r.max_at);
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_pools_by_definition(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8, TERN_UINT8};
    for (size_t i = 0; i < TN_COUNT(pool_cases); i++)
        for (size_t d = 0; d < TN_COUNT(types); d++) {
            check_pool(&pool_cases[i], "MaxPool", types[d], 0);
            check_pool(&pool_cases[i], "MaxPool", types[d], 1);
            if (d >= 4) continue;
            check_pool(&pool_cases[i], "LpPool", types[d], 0);
            check_pool(&pool_cases[i], "AveragePool", types[d], 0);
            check_pool(&pool_cases[i], "AveragePool", types[d], 1);
        }
}

static void test_max_pool_details(void **state) {
    (void)state;
    op_test t; /* the first of equals; NaN wins; column-major indices */
    op_begin(&t, "MaxPool", 12);
    op_attr_ints(&t, "kernel_shape", INTS(2, 2));
    op_attr_i(&t, "storage_order", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 4), VALS(1, 5, 5, NAN, 5, 2, NAN, 9)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 3), VALS(5, NAN, NAN)));
    op_out(&t, op_int(TERN_INT64, DIMS(1, 1, 1, 3), INTS(2, 5, 6)));
    op_run_exact(&t);
    for (int rows = 0; rows < 2; rows++) { /* a NaN wins over what comes before and after, in rows and columns */
        op_begin(&t, "MaxPool", 12);
        op_attr_ints(&t, "kernel_shape", INTS(3, 2));
        op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 3, 5),
                         VALS(1, 2, -INFINITY, 3, 4, 9, rows ? NAN : 0, 9, 1, 0, 5, 6, 7, 8, rows ? 1 : NAN)));
        const double *want = rows ? (const double[]){NAN, NAN, 9, 8} : (const double[]){9, 9, 9, NAN};
        op_out(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 1, 4), 4, want));
        op_run_exact(&t);
    }
    for (int i = 0; i < 2; i++) { /* the lowest value has a position, too */
        tern_dtype dtype = i ? TERN_INT8 : TERN_FLOAT;
        double v = i ? INT8_MIN : -INFINITY;
        op_begin(&t, "MaxPool", 12);
        op_attr_ints(&t, "kernel_shape", INTS(2, 2));
        op_attr_ints(&t, "pads", INTS(2, 1, 0, 0));
        op_in(&t, op_num(dtype, DIMS(1, 2, 2, 2), VALS(v, v, v, v, v, v, v, v)));
        op_out(&t, op_num(dtype, DIMS(1, 2, 3, 2), VALS(v, v, v, v, v, v, v, v, v, v, v, v)));
        op_out(&t, op_int(TERN_INT64, DIMS(1, 2, 3, 2), INTS(-1, -1, 0, 0, 0, 0, -1, -1, 4, 4, 4, 4)));
        op_run_exact(&t);
    }
    op_begin(&t, "MaxPool", 12); /* windows in padding alone */
    op_attr_ints(&t, "kernel_shape", INTS(1));
    op_attr_ints(&t, "pads", INTS(1, 0));
    op_in(&t, op_num(TERN_INT8, DIMS(1, 1, 1), VALS(-5)));
    op_out(&t, op_num(TERN_INT8, DIMS(1, 1, 2), VALS(-128, -5)));
    op_run_exact(&t);
}

static void test_lp_pool_p(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "LpPool", 1);
    op_attr_f(&t, "p", 3);
    op_attr_ints(&t, "kernel_shape", INTS(2));
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 2), VALS(-1, 2)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 1), VALS(cbrt(9))));
    op_run(&t, 1e-15, 0);
    op_begin(&t, "GlobalLpPool", 2);
    op_attr_i(&t, "p", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 2), VALS(-1, 2, 3, -4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 1), VALS(3, 7)));
    op_run_exact(&t);
    op_begin(&t, "LpPool", 11);
    op_attr_i(&t, "p", 0);
    op_attr_ints(&t, "kernel_shape", INTS(2));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(-1, 2)));
    op_error(&t, TERN_INVALID_MODEL, STRS("'p'"));
}

static void test_global_pools(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "GlobalAveragePool", 1);
    op_in(&t, op_num(TERN_FLOAT16, DIMS(1, 2, 2, 2), VALS(1, 2, 3, 4, 10, 20, 30, 40)));
    op_out(&t, op_num(TERN_FLOAT16, DIMS(1, 2, 1, 1), VALS(2.5, 25)));
    op_run_exact(&t);
    op_begin(&t, "GlobalMaxPool", 22);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 2, 2, 1, 2), VALS(1, 7, 3, 4, -10, -20, -30, -40)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(1, 2, 1, 1, 1), VALS(7, -10)));
    op_run_exact(&t);
    op_begin(&t, "GlobalMaxPool", 22);
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(1, 2, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("empty"));
}

static void test_pool_hostile(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "MaxPool", 12);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 4, 4), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("kernel_shape"));
    op_begin(&t, "AveragePool", 11);
    op_attr_ints(&t, "kernel_shape", INTS(2, 2, 2));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 4, 4), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("kernel_shape", "3", "2"));
    op_begin(&t, "AveragePool", 11);
    op_attr_ints(&t, "kernel_shape", INTS(5, 5));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 1, 4, 4), -1, 1, 1));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("covers 5"));
    op_begin(&t, "AveragePool", 11);
    op_attr_ints(&t, "kernel_shape", INTS(2));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(4), -1, 1, 1));
    op_error(&t, TERN_INVALID_MODEL, STRS("rank 1"));
    /* A huge window over a tiny input costs what the input does. */
    op_begin(&t, "AveragePool", 19);
    op_attr_ints(&t, "kernel_shape", INTS(INT32_MAX, INT32_MAX, INT32_MAX));
    op_attr_ints(&t, "pads", INTS(INT32_MAX, INT32_MAX, INT32_MAX, 0, 0, 0));
    op_attr_ints(&t, "strides", INTS(INT32_MAX, INT32_MAX, INT32_MAX));
    op_attr_i(&t, "count_include_pad", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1, 1), VALS(3)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1, 1), VALS(0)));
    op_run_exact(&t);
}

/* ---- BatchNormalization -------------------------------------------------------------------------------------- */

static void batchnorm_inputs(op_test *t, tern_dtype x, tern_dtype p) {
    op_in(t, op_num(x, DIMS(2, 2, 2), VALS(1, 3, 10, 20, 5, 7, 30, 40)));
    op_in(t, op_num(p, DIMS(2), VALS(2, 0.5)));
    op_in(t, op_num(p, DIMS(2), VALS(1, -1)));
    op_in(t, op_num(p, DIMS(2), VALS(3, 20)));
    op_in(t, op_num(p, DIMS(2), VALS(4, 25)));
    op_attr_f(t, "epsilon", 0);
}

static void test_batchnorm(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        op_test t;
        op_begin(&t, "BatchNormalization", 15);
        batchnorm_inputs(&t, types[i], i == 2 ? TERN_FLOAT : types[i]);
        op_out(&t, op_num(types[i], DIMS(2, 2, 2), VALS(-1, 1, -2, -1, 3, 5, 0, 1)));
        op_run(&t, 1e-6, 1e-6);
    }
}

/* Means 4 and 25, variances 5 and 125. */
static void test_batchnorm_training(void **state) {
    (void)state;
    double a = 2 / sqrt(5), b = 0.5 / sqrt(125);
    for (int old = 0; old < 2; old++) {
        op_test t;
        op_begin(&t, "BatchNormalization", old ? 9 : 15);
        batchnorm_inputs(&t, TERN_DOUBLE, TERN_DOUBLE);
        op_attr_f(&t, "momentum", 0.5f);
        if (!old) op_attr_i(&t, "training_mode", 1);
        op_out(&t, op_num(TERN_DOUBLE, DIMS(2, 2, 2),
                          VALS(1 - 3 * a, 1 - a, -1 - 15 * b, -1 - 5 * b, 1 + a, 1 + 3 * a, -1 + 5 * b, -1 + 15 * b)));
        op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(3.5, 22.5)));
        op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(4.5, 75)));
        if (old) {
            op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(4, 25)));
            op_out(&t, op_num(TERN_DOUBLE, DIMS(2), VALS(5, 125)));
        }
        op_run(&t, 1e-14, 0);
    }
}

static void test_batchnorm_forms(void **state) {
    (void)state;
    op_test t; /* a vector is one channel */
    op_begin(&t, "BatchNormalization", 9);
    op_attr_f(&t, "epsilon", 0);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    for (int i = 0; i < 4; i++) op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 3)));
    op_run_exact(&t);
    op_begin(&t, "BatchNormalization", 7); /* statistics per element */
    op_attr_f(&t, "epsilon", 0);
    op_attr_i(&t, "spatial", 0);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(5, 6)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(0, 1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2), VALS(1, 4)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(4, 5)));
    op_run_exact(&t);
    op_begin(&t, "BatchNormalization", 9);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 3), VALS(1, 2, 3)));
    for (int i = 0; i < 4; i++) op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("input 1", "2", "3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pools_by_definition), cmocka_unit_test(test_max_pool_details),
        cmocka_unit_test(test_lp_pool_p),           cmocka_unit_test(test_global_pools),
        cmocka_unit_test(test_pool_hostile),        cmocka_unit_test(test_batchnorm),
        cmocka_unit_test(test_batchnorm_training),  cmocka_unit_test(test_batchnorm_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
