#include "ops/conv_ref.h"

#include "ops/fused.h"

/* ---- Conv against its definition ------------------------------------------------------------------------------ */

static double epsilon_of(tern_dtype dtype) {
    return dtype == TERN_DOUBLE ? 0x1p-53 : dtype == TERN_FLOAT16 ? 0x1p-11 : dtype == TERN_BFLOAT16 ? 0x1p-8 : 0x1p-24;
}

/* Sums of k products in float32 (double for double), then one rounding to the output's type. */
static double tolerance(tern_dtype dtype, double k, double magnitude, double value) {
    double sum = dtype == TERN_DOUBLE ? 0x1p-53 : 0x1p-24;
    return (k + 2) * sum * magnitude + epsilon_of(dtype) * fabs(value) + (dtype == TERN_FLOAT16 ? 0x1p-25 : 0);
}

static void check_conv(const conv_case *c, tern_dtype dtype) {
    op_test t;
    op_begin(&t, "Conv", 22);
    conv_case_attrs(&t, c);
    op_in(&t, conv_case_x(c, dtype, -1, 1));
    op_in(&t, conv_case_w(c, dtype, -1, 1));
    if (c->bias) op_in(&t, op_rand(dtype, DIMS(c->oc), -1, 1, 3));
    op_out_any(&t);
    op_eval(&t);
    int64_t out[3], sp = conv_case_check_shape(c, t.result[0], out);
    double k = (double)(c->ic / c->groups * volume(c->rank, c->kernel)), magnitude;
    for (int64_t i = 0; i < c->n * c->oc * sp; i++) {
        int64_t at[3], oc = i / sp % c->oc;
        coordinates(i % sp, c->rank, out, at);
        double want = conv_ref_at(c, t.in[0], t.in[1], 0, 0, i / sp / c->oc, oc, at, &magnitude);
        double bias = c->bias ? tn_tensor_get_f64(t.in[2], oc) : 0;
        want += bias;
        double got = tn_tensor_get_f64(t.result[0], i);
        if (!(fabs(got - want) <= tolerance(dtype, k, magnitude + fabs(bias), want)))
            fail_msg("case %d, %s, element %lld: %.9g, expected %.9g", (int)(c - conv_cases), tern_dtype_name(dtype),
                     (long long)i, got, want);
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_conv_by_definition(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    tern_cpu_tier best = tern_cpu_get_tier();
    for (int tier = TERN_CPU_SCALAR; tier <= (int)best; tier++) {
        assert_int_equal(tern_cpu_set_mask((tern_cpu_tier)tier, NULL), TERN_OK);
        for (size_t i = 0; i < TN_COUNT(conv_cases); i++)
            for (size_t d = 0; d < TN_COUNT(types); d++) check_conv(&conv_cases[i], types[d]);
    }
}

static void conv_auto(const char *auto_pad, tern_tensor *y) {
    op_test t;
    op_begin(&t, "Conv", 11);
    op_attr_s(&t, "auto_pad", auto_pad);
    op_attr_ints(&t, "strides", INTS(2));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 4), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 3), VALS(1, 10, 100)));
    op_out(&t, y);
    op_run_exact(&t);
}

static void test_conv_auto_pad(void **state) {
    (void)state;
    conv_auto("SAME_UPPER", op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(321, 43)));
    conv_auto("SAME_LOWER", op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(210, 432)));
    conv_auto("VALID", op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(321)));
    conv_auto("NOTSET", op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(321)));
}

static void test_conv_empty_batch(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Conv", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(0, 2, 4, 4), NO_VALS));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(3, 2, 3, 3), -1, 1, 1));
    op_out(&t, op_num(TERN_FLOAT, DIMS(0, 3, 2, 2), NO_VALS));
    op_run_exact(&t);
}

/* ---- hostile attributes -------------------------------------------------------------------------------------- */

static void begin_bad(op_test *t, const char *op) {
    op_begin(t, op, 11);
    op_in(t, op_rand(TERN_FLOAT, DIMS(1, 4, 5, 5), -1, 1, 1));
    op_in(t, op_rand(TERN_FLOAT, DIMS(4, 4, 3, 3), -1, 1, 1));
}

static void bad_ints(const char *name, size_t n, const int64_t *v, tern_status status) {
    static const char *const ops[] = {"Conv", "ConvTranspose"};
    for (size_t i = 0; i < TN_COUNT(ops); i++) {
        op_test t;
        begin_bad(&t, ops[i]);
        op_attr_ints(&t, name, n, v);
        op_error(&t, status, STRS(name));
    }
}

static void test_conv_bad_attributes(void **state) {
    (void)state;
    bad_ints("strides", INTS(0, 1), TERN_INVALID_MODEL);
    bad_ints("strides", INTS(-1, 1), TERN_INVALID_MODEL);
    bad_ints("strides", INTS(1), TERN_INVALID_MODEL);
    bad_ints("strides", INTS(1, INT64_MAX), TERN_INVALID_MODEL);
    bad_ints("dilations", INTS(1, 0), TERN_INVALID_MODEL);
    bad_ints("dilations", INTS(1, INT64_MIN), TERN_INVALID_MODEL);
    bad_ints("pads", INTS(0, 0, 0, -1), TERN_INVALID_MODEL);
    bad_ints("pads", INTS(0, 0, 0, INT64_MAX), TERN_INVALID_MODEL);
    bad_ints("pads", INTS(1, 1), TERN_INVALID_MODEL);
    bad_ints("kernel_shape", INTS(0, 3), TERN_INVALID_MODEL);
    bad_ints("kernel_shape", INTS(2, 3), TERN_SHAPE_MISMATCH);
    op_test t;
    begin_bad(&t, "Conv");
    op_attr_ints(&t, "dilations", INTS(3, 3));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("kernel covers 7", "5"));
    begin_bad(&t, "Conv");
    op_attr_s(&t, "auto_pad", "SOME");
    op_error(&t, TERN_INVALID_MODEL, STRS("SOME"));
    begin_bad(&t, "ConvTranspose");
    op_attr_ints(&t, "pads", INTS(4, 4, 4, 4));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("pads 4 and 4"));
    begin_bad(&t, "ConvTranspose");
    op_attr_ints(&t, "output_padding", INTS(-1, 0));
    op_error(&t, TERN_INVALID_MODEL, STRS("output_padding"));
}

static void test_conv_bad_groups(void **state) {
    (void)state;
    static const int64_t groups[] = {0, -1, 3, 2, INT64_MAX};
    for (size_t i = 0; i < TN_COUNT(groups); i++) {
        op_test t;
        begin_bad(&t, "Conv");
        op_attr_i(&t, "group", groups[i]);
        bool range = groups[i] < 1 || groups[i] > INT32_MAX;
        op_error(&t, range ? TERN_INVALID_MODEL : TERN_SHAPE_MISMATCH, STRS("group"));
    }
}

static void bad_shapes(tern_tensor *x, tern_tensor *w, tern_tensor *b, tern_status status) {
    op_test t;
    op_begin(&t, "Conv", 11);
    op_in(&t, x);
    op_in(&t, w);
    if (b) op_in(&t, b);
    op_error(&t, status, STRS(""));
}

#define RAND(...) op_rand(TERN_FLOAT, DIMS(__VA_ARGS__), -1, 1, 1)

static void test_conv_bad_shapes(void **state) {
    (void)state;
    bad_shapes(RAND(1, 4, 5, 5), RAND(4, 4, 3), NULL, TERN_SHAPE_MISMATCH);
    bad_shapes(RAND(1, 4, 5, 5), RAND(4, 3, 3, 3), NULL, TERN_SHAPE_MISMATCH);
    bad_shapes(RAND(1, 4), RAND(4, 4), NULL, TERN_SHAPE_MISMATCH);
    bad_shapes(RAND(1, 4, 5, 5), RAND(4, 4, 3, 3), RAND(3), TERN_SHAPE_MISMATCH);
    bad_shapes(RAND(1, 4, 5, 5), RAND(4, 4, 3, 3), RAND(1, 4), TERN_SHAPE_MISMATCH);
    bad_shapes(RAND(1, 4, 5, 5), RAND(4, 4, 0, 3), NULL, TERN_INVALID_MODEL);
    bad_shapes(RAND(1, 4, 5, 5), RAND(0, 4, 3, 3), NULL, TERN_INVALID_MODEL);
    bad_shapes(RAND(1, 4, 0, 5), RAND(4, 4, 3, 3), NULL, TERN_SHAPE_MISMATCH);
    bad_shapes(op_tensor(TERN_INT32, DIMS(1, 4, 5, 5)), op_tensor(TERN_INT32, DIMS(4, 4, 3, 3)), NULL,
               TERN_TYPE_MISMATCH);
    bad_shapes(RAND(1, 4, 5, 5), op_tensor(TERN_DOUBLE, DIMS(4, 4, 3, 3)), NULL, TERN_TYPE_MISMATCH);
}

/* ---- ConvTranspose: the adjoint of Conv ---------------------------------------------------------------------- */

/* y_t . x == sum over all (x position, tap): checked element by element through Conv's definition: dY/dX of a
 * convolution from Y (oc channels) to X (ic channels) with the same weights. */
static void check_transpose(const conv_case *c, tern_dtype dtype, const int64_t *output_padding) {
    op_test t;
    op_begin(&t, "ConvTranspose", 22);
    conv_case_attrs(&t, c);
    op_attr_ints(&t, "output_padding", (size_t)c->rank, output_padding);
    int64_t x_dims[5] = {c->n, c->ic}, w_dims[5] = {c->ic, c->oc / c->groups}, y_dims[5] = {c->n, c->oc};
    for (int i = 0; i < c->rank; i++) {
        x_dims[2 + i] = c->in[i], w_dims[2 + i] = c->kernel[i];
        y_dims[2 + i] = (c->in[i] - 1) * c->stride[i] + (c->kernel[i] - 1) * c->dilation[i] + 1 + output_padding[i] -
                        c->pad[i] - c->pad_end[i];
    }
    int rank = c->rank + 2;
    op_in(&t, op_rand(dtype, rank, x_dims, -1, 1, 1));
    op_in(&t, op_rand(dtype, rank, w_dims, -1, 1, 2));
    if (c->bias) op_in(&t, op_rand(dtype, DIMS(c->oc), -1, 1, 3));
    op_out_any(&t);
    op_eval(&t);
    tn_shape want_shape = tn_shape_of(rank, y_dims);
    assert_true(tn_shape_equal(&want_shape, &t.result[0]->shape));
    int64_t icg = c->ic / c->groups, ocg = c->oc / c->groups, taps = volume(c->rank, c->kernel);
    int64_t x_sp = volume(c->rank, c->in), y_sp = volume(c->rank, y_dims + 2), count = c->n * c->oc * y_sp;
    double *sum = tn_calloc((size_t)count, sizeof *sum), *magnitude = tn_calloc((size_t)count, sizeof *magnitude);
    for (int64_t i = 0; i < c->n * c->ic * x_sp; i++) {
        int64_t n = i / x_sp / c->ic, ic = i / x_sp % c->ic, xp[3], tap[3];
        coordinates(i % x_sp, c->rank, c->in, xp);
        for (int64_t o = 0; o < ocg * taps; o++) {
            int64_t yi = n * c->oc + ic / icg * ocg + o / taps;
            bool inside = true;
            coordinates(o % taps, c->rank, c->kernel, tap);
            for (int d = 0; d < c->rank; d++) {
                int64_t p = xp[d] * c->stride[d] + tap[d] * c->dilation[d] - c->pad[d];
                inside = inside && p >= 0 && p < y_dims[2 + d];
                yi = yi * y_dims[2 + d] + p;
            }
            if (!inside) continue;
            double v = tn_tensor_get_f64(t.in[0], i) * tn_tensor_get_f64(t.in[1], ic * ocg * taps + o);
            sum[yi] += v;
            magnitude[yi] += fabs(v);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        double bias = c->bias ? tn_tensor_get_f64(t.in[2], i / y_sp % c->oc) : 0, want = sum[i] + bias;
        double got = tn_tensor_get_f64(t.result[0], i);
        if (!(fabs(got - want) <= tolerance(dtype, (double)(icg * taps), magnitude[i] + fabs(bias), want)))
            fail_msg("%s, %lld channels, element %lld: %.9g, expected %.9g", tern_dtype_name(dtype), (long long)c->ic,
                     (long long)i, got, want);
    }
    tn_free(sum);
    tn_free(magnitude);
    op_check_infer(&t);
    op_end(&t);
}

static void test_conv_transpose(void **state) {
    (void)state;
    static const conv_case cases[] = {
        {1, 2, 3, 5, 1, {7}, {3}, {2}, {1}, {1}, {0}, true},
        {2, 1, 16, 6, 1, {5, 4}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true},
        {2, 2, 24, 8, 2, {3, 6}, {4, 2}, {2, 1}, {1, 2}, {0, 1}, {2, 0}, false},
        {2, 1, 8, 8, 8, {4, 4}, {4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, true},
        {2, 1, 64, 70, 1, {9, 9}, {2, 2}, {3, 3}, {1, 1}, {0, 0}, {0, 0}, true},
        {3, 1, 9, 2, 1, {3, 2, 4}, {2, 3, 2}, {1, 2, 2}, {2, 1, 1}, {1, 0, 0}, {0, 1, 0}, true},
    };
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16};
    static const int64_t none[3] = {0}, some[3] = {1, 0, 1};
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        for (size_t d = 0; d < TN_COUNT(types); d++) {
            check_transpose(&cases[i], types[d], none);
            check_transpose(&cases[i], types[d], some);
        }
}

static void transpose_shaped(const char *auto_pad, size_t n, const int64_t *shape, tern_tensor *y) {
    op_test t;
    op_begin(&t, "ConvTranspose", 11);
    op_attr_ints(&t, "strides", INTS(2));
    if (auto_pad) op_attr_s(&t, "auto_pad", auto_pad);
    if (shape) op_attr_ints(&t, "output_shape", n, shape);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 3), VALS(1, 10, 100)));
    op_out(&t, y);
    op_run_exact(&t);
}

/* In full: 1 10 102 20 200. */
static void test_conv_transpose_output_shape(void **state) {
    (void)state;
    transpose_shaped("SAME_UPPER", 0, NULL, op_num(TERN_FLOAT, DIMS(1, 1, 4), VALS(1, 10, 102, 20)));
    transpose_shaped("SAME_LOWER", 0, NULL, op_num(TERN_FLOAT, DIMS(1, 1, 4), VALS(10, 102, 20, 200)));
    transpose_shaped(NULL, INTS(4), op_num(TERN_FLOAT, DIMS(1, 1, 4), VALS(10, 102, 20, 200)));
    transpose_shaped(NULL, INTS(1, 1, 5), op_num(TERN_FLOAT, DIMS(1, 1, 5), VALS(1, 10, 102, 20, 200)));
    transpose_shaped(NULL, INTS(7), op_num(TERN_FLOAT, DIMS(1, 1, 7), VALS(1, 10, 102, 20, 200, 0, 0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_by_definition), cmocka_unit_test(test_conv_auto_pad),
        cmocka_unit_test(test_conv_empty_batch),   cmocka_unit_test(test_conv_bad_attributes),
        cmocka_unit_test(test_conv_bad_groups),    cmocka_unit_test(test_conv_bad_shapes),
        cmocka_unit_test(test_conv_transpose),     cmocka_unit_test(test_conv_transpose_output_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
