#include "ops/conv_ref.h"

/* ---- QuantizeLinear, DequantizeLinear ------------------------------------------------------------------------ */

static void quantize(tern_dtype to, size_t n, const double *x, const double *y, double scale, double zero) {
    op_test t;
    op_begin(&t, "QuantizeLinear", 25);
    op_in(&t, op_num(TERN_FLOAT, DIMS((int64_t)n), n, x));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, 1, &scale));
    op_in(&t, op_num(to, SCALAR, 1, &zero));
    op_out(&t, op_num(to, DIMS((int64_t)n), n, y));
    op_run_exact(&t);
}

#define QUANTIZE(TO, SCALE, ZERO, X, Y) \
    quantize(TO, sizeof((double[])X) / sizeof(double), (const double[])X, (const double[])Y, SCALE, ZERO)
#define L(...) \
    { __VA_ARGS__ }

static void test_quantize_types(void **state) {
    (void)state;
    /* Halves go to even, then the zero point is added; ends saturate. */
    QUANTIZE(TERN_UINT8, 2, 1, L(0, 1, 3, 5, -1, -3, 1000, -1000, INFINITY), L(1, 1, 3, 3, 1, 0, 255, 0, 255));
    QUANTIZE(TERN_INT8, 2, -1, L(0, 1, 3, 5, -1, -3, 1000, -1000, -INFINITY), L(-1, -1, 1, 1, -1, -3, 127, -128, -128));
    QUANTIZE(TERN_UINT16, 0.5, 32767, L(0, 1, 1e6, -1e6), L(32767, 32769, 65535, 0));
    QUANTIZE(TERN_INT16, 0.5, 256, L(0, 1, 1e6, -1e6), L(256, 258, 32767, -32768));
    QUANTIZE(TERN_UINT4, 1, 8, L(0, 1.5, 2.5, 100, -100), L(8, 10, 10, 15, 0));
    QUANTIZE(TERN_INT4, 1, 1, L(0, 1.5, 2.5, 100, -100), L(1, 3, 3, 7, -8));
    QUANTIZE(TERN_UINT2, 1, 1, L(0, 1, 100, -100), L(1, 2, 3, 0));
    QUANTIZE(TERN_INT2, 1, 0, L(0, 0.5, 100, -100), L(0, 0, 1, -2));
    QUANTIZE(TERN_FLOAT8E4M3FN, 2, 0, L(0, 2, 1e6, -3), L(0, 1, 448, -1.5));
    QUANTIZE(TERN_FLOAT8E5M2, 2, 0, L(0, 2, 1e6, -3), L(0, 1, 57344, -1.5));
    QUANTIZE(TERN_FLOAT4E2M1, 2, 0, L(0, 2, 1e6, -3), L(0, 1, 6, -1.5));
}

static void test_quantize_forms(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "QuantizeLinear", 13); /* per channel, no zero point: uint8 */
    op_attr_i(&t, "axis", -2);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 2), VALS(1, 2, 10, 20)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 10)));
    op_out(&t, op_num(TERN_UINT8, DIMS(1, 2, 2), VALS(1, 2, 1, 2)));
    op_run_exact(&t);
    op_begin(&t, "QuantizeLinear", 21); /* blocks of 2 along an axis of 3 */
    op_attr_i(&t, "axis", 0);
    op_attr_i(&t, "block_size", 2);
    op_attr_i(&t, "output_dtype", TERN_INT8);
    op_in(&t, op_num(TERN_FLOAT16, DIMS(3, 2), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_FLOAT16, DIMS(2, 2), VALS(1, 2, 0.5, 3)));
    op_out(&t, op_num(TERN_INT8, DIMS(3, 2), VALS(1, 1, 3, 2, 10, 2)));
    op_run_exact(&t);
    op_begin(&t, "QuantizeLinear", 19); /* an int32 that float32 can not hold */
    op_in(&t, op_num(TERN_INT32, DIMS(2), VALS(16777217, -16777219)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(33554432)));
    op_in(&t, op_num(TERN_INT8, SCALAR, VALS(0)));
    op_out(&t, op_num(TERN_INT8, DIMS(2), VALS(1, -1)));
    op_run_exact(&t);
    op_begin(&t, "QuantizeLinear", 23); /* the quotient 3.4995 is 3.5 in float16, but not in float32 */
    op_attr_i(&t, "precision", TERN_FLOAT16);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(3.4995)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(1)));
    op_out(&t, op_num(TERN_UINT8, DIMS(1), VALS(4)));
    op_run_exact(&t);
}

static void dequantize(tern_dtype from, tern_dtype scale_type) {
    bool sign = from == TERN_INT8 || from == TERN_INT16 || from == TERN_INT4 || from == TERN_INT2 || from == TERN_INT32;
    double low = sign ? -2 : 0, zero = from == TERN_INT32 ? 0 : 1;
    op_test t;
    op_begin(&t, "DequantizeLinear", 25);
    op_in(&t, op_num(from, DIMS(3), VALS(low, 1, sign ? 0 : 3)));
    op_in(&t, op_num(scale_type, SCALAR, VALS(2)));
    op_in(&t, op_num(from, SCALAR, VALS(zero)));
    tern_dtype y = scale_type == TERN_FLOAT8E8M0 ? TERN_FLOAT : scale_type;
    if (y != scale_type) op_attr_i(&t, "output_dtype", y); /* there is no output of the scale's type */
    op_out(&t, op_num(y, DIMS(3), VALS(2 * (low - zero), 2 * (1 - zero), 2 * ((sign ? 0 : 3) - zero))));
    op_run_exact(&t);
}

static void test_dequantize_types(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "DequantizeLinear", 25);
    op_in(&t, op_num(TERN_INT8, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT8E8M0, SCALAR, VALS(2)));
    op_out_any(&t);
    op_error(&t, TERN_INVALID_MODEL, STRS("output_dtype"));
    static const tern_dtype types[] = {TERN_INT8,           TERN_UINT8,        TERN_INT16,          TERN_UINT16,
                                       TERN_INT32,          TERN_INT4,         TERN_UINT4,          TERN_INT2,
                                       TERN_UINT2,          TERN_FLOAT8E4M3FN, TERN_FLOAT8E4M3FNUZ, TERN_FLOAT8E5M2,
                                       TERN_FLOAT8E5M2FNUZ, TERN_FLOAT4E2M1};
    static const tern_dtype scales[] = {TERN_FLOAT, TERN_FLOAT16, TERN_BFLOAT16, TERN_FLOAT8E8M0};
    for (size_t i = 0; i < TN_COUNT(types); i++)
        for (size_t s = 0; s < TN_COUNT(scales); s++) dequantize(types[i], scales[s]);
}

/* More elements than a chunk, scales that change inside: against the definition. */
static void test_dequantize_long(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "DequantizeLinear", 21);
    op_attr_i(&t, "axis", 1);
    op_attr_i(&t, "block_size", 3);
    op_in(&t, op_rand(TERN_UINT8, DIMS(7, 10, 23), 0, 255, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(7, 4, 23), 0, 1, 2));
    op_in(&t, op_rand(TERN_UINT8, DIMS(7, 4, 23), 0, 255, 3));
    op_out_any(&t);
    op_eval(&t);
    for (int64_t i = 0; i < 7 * 10 * 23; i++) {
        int64_t s = (i / 230 * 4 + i / 23 % 10 / 3) * 23 + i % 23;
        float want =
            (float)(tn_tensor_get_i64(t.in[0], i) - tn_tensor_get_i64(t.in[2], s)) * ((float *)t.in[1]->data)[s];
        assert_true(((float *)t.result[0]->data)[i] == want);
    }
    op_check_infer(&t);
    op_end(&t);
}

/* A scale per channel of long rows, and of short ones: against the definition. */
static void long_rows(bool back, tern_dtype byte, int64_t inner) {
    op_test t;
    op_begin(&t, back ? "DequantizeLinear" : "QuantizeLinear", 13);
    bool sign = byte == TERN_INT8;
    double low = sign ? -128 : 0, high = sign ? 127 : 255;
    if (back)
        op_in(&t, op_rand(byte, DIMS(3, 5, inner), low, high, 1));
    else
        op_in(&t, op_rand(TERN_FLOAT, DIMS(3, 5, inner), -40, 40, 1));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(5), 0.1, 1, 2));
    op_in(&t, op_rand(byte, DIMS(5), low / 2, high / 2, 3));
    op_out_any(&t);
    op_eval(&t);
    for (int64_t i = 0; i < 15 * inner; i++) {
        int64_t k = i / inner % 5, zero = tn_tensor_get_i64(t.in[2], k);
        float scale = ((float *)t.in[1]->data)[k];
        if (back) {
            assert_true(((float *)t.result[0]->data)[i] == (float)(tn_tensor_get_i64(t.in[0], i) - zero) * scale);
        } else {
            double want = rint((double)(((float *)t.in[0]->data)[i] / scale)) + (double)zero;
            assert_true(tn_tensor_get_f64(t.result[0], i) == TN_MAX(TN_MIN(want, high), low));
        }
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_long_rows(void **state) {
    (void)state;
    static const int64_t inner[] = {31, 32, 33, 200};
    for (size_t i = 0; i < TN_COUNT(inner); i++)
        for (int k = 0; k < 4; k++) long_rows(k & 1, k & 2 ? TERN_INT8 : TERN_UINT8, inner[i]);
}

/* Over several chunks of the search for the range, with what is no number and has no part in it. */
static void test_dynamic_quantize_long(void **state) {
    (void)state;
    op_test t;
    int64_t n = 40001;
    op_begin(&t, "DynamicQuantizeLinear", 11);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(n), -1, 1, 5));
    float *x = t.in[0]->data;
    x[3] = NAN, x[20000] = -2.5f, x[40000] = 7.5f;
    op_out_any(&t), op_out_any(&t), op_out_any(&t);
    op_eval(&t);
    float scale = *(float *)t.result[1]->data;
    assert_true(scale == 10.0f / 255);
    assert_int_equal(tn_tensor_get_i64(t.result[2], 0), 64);
    for (int64_t i = 0; i < n; i++) {
        double want = x[i] != x[i] ? 64 : rint((double)(x[i] / scale)) + 64;
        assert_true(tn_tensor_get_f64(t.result[0], i) == TN_MAX(TN_MIN(want, 255.0), 0.0));
    }
    op_end(&t);
}

static void bad_scale(int64_t axis, int64_t block, int rank, const int64_t *dims, tern_status status) {
    op_test t;
    op_begin(&t, "QuantizeLinear", 21);
    op_attr_i(&t, "axis", axis);
    op_attr_i(&t, "block_size", block);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(4, 6), -1, 1, 1));
    op_in(&t, op_rand(TERN_FLOAT, rank, dims, 0, 1, 1));
    op_error(&t, status, STRS(""));
}

static void test_quantize_bad(void **state) {
    (void)state;
    bad_scale(1, 0, DIMS(4), TERN_SHAPE_MISMATCH);
    bad_scale(2, 0, DIMS(4), TERN_INVALID_MODEL);
    bad_scale(0, 0, DIMS(4, 1), TERN_SHAPE_MISMATCH);
    bad_scale(1, 2, DIMS(4, 2), TERN_SHAPE_MISMATCH);
    bad_scale(1, 2, DIMS(3), TERN_SHAPE_MISMATCH);
    bad_scale(1, -2, DIMS(4, 3), TERN_INVALID_MODEL);
    bad_scale(1, INT64_MAX, DIMS(4, 2), TERN_SHAPE_MISMATCH);
    op_test t;
    op_begin(&t, "QuantizeLinear", 21);
    op_attr_i(&t, "output_dtype", TERN_FLOAT);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(4), -1, 1, 1));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("output_dtype"));
    op_begin(&t, "DequantizeLinear", 13);
    op_in(&t, op_tensor(TERN_UINT8, DIMS(4, 3)));
    op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
    op_in(&t, op_tensor(TERN_UINT8, DIMS(2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("zero point", "2", "3"));
}

static void test_dynamic_quantize(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "DynamicQuantizeLinear", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(4), VALS(-51, 0, 102, 204)));
    op_out(&t, op_num(TERN_UINT8, DIMS(4), VALS(0, 51, 153, 255)));
    op_out(&t, op_num(TERN_FLOAT, SCALAR, VALS(1)));
    op_out(&t, op_num(TERN_UINT8, SCALAR, VALS(51)));
    op_run_exact(&t);
    op_begin(&t, "DynamicQuantizeLinear", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0)));
    op_out(&t, op_num(TERN_UINT8, DIMS(2), VALS(0, 0)));
    op_out_any(&t);
    op_out(&t, op_num(TERN_UINT8, SCALAR, VALS(0)));
    op_run_exact(&t);
}

/* ---- convolution --------------------------------------------------------------------------------------------- */

static double low_of(tern_dtype t) { return t == TERN_INT8 ? -128 : 0; }
static double high_of(tern_dtype t) { return t == TERN_INT8 ? 127.9 : 255.9; }

/* The whole range of both types: sums are compared exactly. */
static void check_conv_integer(const conv_case *c, tern_dtype xt, tern_dtype wt, bool per_channel) {
    op_test t;
    op_begin(&t, "ConvInteger", 10);
    conv_case_attrs(&t, c);
    op_in(&t, conv_case_x(c, xt, low_of(xt), high_of(xt)));
    op_in(&t, conv_case_w(c, wt, low_of(wt), high_of(wt)));
    op_in(&t, op_num(xt, SCALAR, VALS(xt == TERN_INT8 ? -128 : 255)));
    op_in(&t, op_rand(wt, DIMS(per_channel ? c->oc : 1), low_of(wt), high_of(wt), 5));
    op_out_any(&t);
    op_eval(&t);
    int64_t out[3], sp = conv_case_check_shape(c, t.result[0], out);
    for (int64_t i = 0; i < c->n * c->oc * sp; i++) {
        int64_t at[3], oc = i / sp % c->oc;
        double magnitude, xz = tn_tensor_get_f64(t.in[2], 0), wz = tn_tensor_get_f64(t.in[3], per_channel ? oc : 0);
        coordinates(i % sp, c->rank, out, at);
        double want = conv_ref_at(c, t.in[0], t.in[1], xz, wz, i / sp / c->oc, oc, at, &magnitude);
        if (tn_tensor_get_f64(t.result[0], i) != want)
            fail_msg("case %d, %s by %s, element %lld: %.0f, expected %.0f", (int)(c - conv_cases), tern_dtype_name(xt),
                     tern_dtype_name(wt), (long long)i, tn_tensor_get_f64(t.result[0], i), want);
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_conv_integer(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_UINT8, TERN_INT8};
    for (size_t i = 0; i < TN_COUNT(conv_cases); i++)
        for (int k = 0; k < 8; k++) check_conv_integer(&conv_cases[i], types[k & 1], types[k >> 1 & 1], k & 4);
}

/* The requantised value, from exact sums: what the operator rounds must be within 2 ulp of it. */
static void check_qlinear_conv(const conv_case *c, tern_dtype xt, tern_dtype wt) {
    op_test t;
    op_begin(&t, "QLinearConv", 10);
    conv_case_attrs(&t, c);
    double reach = 60.0 * sqrt((double)(c->ic / c->groups * volume(c->rank, c->kernel)));
    op_in(&t, conv_case_x(c, xt, low_of(xt), high_of(xt)));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0.02)));
    op_in(&t, op_num(xt, SCALAR, VALS(xt == TERN_INT8 ? 3 : 120)));
    op_in(&t, conv_case_w(c, wt, low_of(wt), high_of(wt)));
    op_in(&t, op_rand(TERN_FLOAT, DIMS(c->oc), 0.01, 0.03, 6));
    op_in(&t, op_rand(wt, DIMS(c->oc), 100, 110, 5));
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0.02 * 0.02 * reach)));
    op_in(&t, op_num(xt, SCALAR, VALS(xt == TERN_INT8 ? -4 : 128)));
    if (c->bias) op_in(&t, op_rand(TERN_INT32, DIMS(c->oc), -5000, 5000, 3));
    op_out_any(&t);
    op_eval(&t);
    int64_t out[3], sp = conv_case_check_shape(c, t.result[0], out), inner = 0;
    for (int64_t i = 0; i < c->n * c->oc * sp; i++) {
        int64_t at[3], oc = i / sp % c->oc;
        double magnitude,
            scale = tn_tensor_get_f64(t.in[1], 0) * tn_tensor_get_f64(t.in[4], oc) / tn_tensor_get_f64(t.in[6], 0);
        coordinates(i % sp, c->rank, out, at);
        double sum = conv_ref_at(c, t.in[0], t.in[3], tn_tensor_get_f64(t.in[2], 0), tn_tensor_get_f64(t.in[5], oc),
                                 i / sp / c->oc, oc, at, &magnitude);
        if (c->bias) sum += tn_tensor_get_f64(t.in[8], oc);
        double value = sum * scale, got = tn_tensor_get_f64(t.result[0], i) - tn_tensor_get_f64(t.in[7], 0);
        double lo = low_of(xt) - tn_tensor_get_f64(t.in[7], 0), hi = lo + 255;
        inner += value > lo && value < hi;
        /* scale is made of three roundings, its product with the sum (itself rounded) of two more */
        double slack = fabs(value) * 5 * 0x1p-24;
        double least = fmin(fmax(rint(value - slack), lo), hi), most = fmin(fmax(rint(value + slack), lo), hi);
        if (!(got >= least && got <= most))
            fail_msg("case %d, element %lld: %.0f, expected %.6f", (int)(c - conv_cases), (long long)i, got, value);
    }
    assert_true(inner > 0);
    op_check_infer(&t);
    op_end(&t);
}

static void test_qlinear_conv(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_UINT8, TERN_INT8};
    for (size_t i = 0; i < TN_COUNT(conv_cases); i++)
        for (int k = 0; k < 4; k++) check_qlinear_conv(&conv_cases[i], types[k & 1], types[k >> 1]);
}

static void test_qconv_bad(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "ConvInteger", 10);
    op_in(&t, op_tensor(TERN_UINT8, DIMS(1, 2, 4)));
    op_in(&t, op_tensor(TERN_UINT8, DIMS(3, 2, 2)));
    op_in(&t, op_tensor(TERN_UINT8, DIMS(2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("zero point of x"));
    op_begin(&t, "ConvInteger", 10);
    op_in(&t, op_tensor(TERN_UINT8, DIMS(1, 2, 4)));
    op_in(&t, op_tensor(TERN_UINT8, DIMS(3, 2, 2)));
    op_in(&t, NULL);
    op_in(&t, op_tensor(TERN_UINT8, DIMS(2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("weights' zero point"));
    op_begin(&t, "ConvInteger", 10);
    op_in(&t, op_tensor(TERN_UINT8, DIMS(1, 2, 4)));
    op_in(&t, op_tensor(TERN_INT8, DIMS(3, 2, 2)));
    op_in(&t, op_tensor(TERN_INT8, SCALAR));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("int8"));
}

/* ---- matrix products ----------------------------------------------------------------------------------------- */

static void check_matmul_integer(tern_dtype at, tern_dtype bt, int64_t k, int64_t a_zeros, int64_t b_zeros) {
    const int64_t m = 5, n = 37;
    op_test t;
    op_begin(&t, "MatMulInteger", 10);
    op_in(&t, op_rand(at, DIMS(2, m, k), low_of(at), high_of(at), 1));
    op_in(&t, op_rand(bt, DIMS(k, n), low_of(bt), high_of(bt), 2));
    op_in(&t, a_zeros ? op_rand(at, DIMS(a_zeros), low_of(at), high_of(at), 3) : NULL);
    op_in(&t, b_zeros ? op_rand(bt, DIMS(b_zeros), low_of(bt), high_of(bt), 4) : NULL);
    op_out_any(&t);
    op_eval(&t);
    for (int64_t i = 0; i < 2 * m * n; i++) {
        double az = a_zeros ? tn_tensor_get_f64(t.in[2], a_zeros > 1 ? i / n % m : 0) : 0, sum = 0;
        double bz = b_zeros ? tn_tensor_get_f64(t.in[3], b_zeros > 1 ? i % n : 0) : 0;
        for (int64_t l = 0; l < k; l++)
            sum += (tn_tensor_get_f64(t.in[0], i / n * k + l) - az) * (tn_tensor_get_f64(t.in[1], l * n + i % n) - bz);
        assert_true(tn_tensor_get_f64(t.result[0], i) == sum);
    }
    op_check_infer(&t);
    op_end(&t);
}

static void test_matmul_integer(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_UINT8, TERN_INT8};
    for (int k = 0; k < 4; k++) {
        check_matmul_integer(types[k & 1], types[k >> 1], 9, 0, 0);
        check_matmul_integer(types[k & 1], types[k >> 1], 258, 1, 1);
        check_matmul_integer(types[k & 1], types[k >> 1], 259, 5, 1);
        check_matmul_integer(types[k & 1], types[k >> 1], 1500, 1, 37);
    }
}

/* Long sums of the largest products: beyond what float32 holds. */
static double constant_255(int64_t i) { return (void)i, 255; }

static void test_matmul_integer_long(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "MatMulInteger", 10);
    op_in(&t, op_gen(TERN_UINT8, DIMS(1, 30001), constant_255));
    op_in(&t, op_gen(TERN_UINT8, DIMS(30001, 1), constant_255));
    op_out(&t, op_num(TERN_INT32, DIMS(1, 1), VALS(30001.0 * 65025.0)));
    op_run_exact(&t);
}

static void test_qlinear_matmul(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "QLinearMatMul", 21); /* a scale and zero point per row of a, per column of b */
    op_in(&t, op_num(TERN_INT8, DIMS(2, 2), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_FLOAT16, DIMS(2), VALS(1, 2)));
    op_in(&t, op_num(TERN_INT8, DIMS(2), VALS(0, 1)));
    op_in(&t, op_num(TERN_UINT8, DIMS(2, 2), VALS(10, 20, 30, 40)));
    op_in(&t, op_num(TERN_FLOAT16, DIMS(2), VALS(0.5, 0.25)));
    op_in(&t, op_num(TERN_UINT8, DIMS(2), VALS(10, 0)));
    op_in(&t, op_num(TERN_FLOAT16, SCALAR, VALS(1)));
    op_in(&t, op_num(TERN_INT8, SCALAR, VALS(-10)));
    /* sums: 40 100 / 60 160; scales 0.5 0.25 / 1 0.5 */
    op_out(&t, op_num(TERN_INT8, DIMS(2, 2), VALS(10, 15, 50, 70)));
    op_run_exact(&t);
    op_begin(&t, "QLinearMatMul", 21);
    for (int i = 0; i < 2; i++) {
        op_in(&t, op_num(TERN_FLOAT8E4M3FN, DIMS(2, 2), VALS(1, 2, 3, 4)));
        op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0.5)));
        op_in(&t, op_num(TERN_FLOAT8E4M3FN, SCALAR, VALS(0)));
    }
    op_in(&t, op_num(TERN_FLOAT, SCALAR, VALS(0.25)));
    op_in(&t, op_num(TERN_FLOAT8E4M3FN, SCALAR, VALS(0)));
    op_out(&t, op_num(TERN_FLOAT8E4M3FN, DIMS(2, 2), VALS(7, 10, 15, 22)));
    op_run_exact(&t);
    op_begin(&t, "QLinearMatMul", 10);
    for (int i = 0; i < 2; i++) {
        op_in(&t, op_tensor(TERN_UINT8, DIMS(2, 2)));
        op_in(&t, op_tensor(TERN_FLOAT, DIMS(3)));
        op_in(&t, op_tensor(TERN_UINT8, SCALAR));
    }
    op_in(&t, op_tensor(TERN_FLOAT, SCALAR));
    op_in(&t, op_tensor(TERN_UINT8, SCALAR));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("rows", "3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize_types),      cmocka_unit_test(test_quantize_forms),
        cmocka_unit_test(test_dequantize_types),    cmocka_unit_test(test_dequantize_long),
        cmocka_unit_test(test_long_rows),           cmocka_unit_test(test_dynamic_quantize_long),
        cmocka_unit_test(test_quantize_bad),        cmocka_unit_test(test_dynamic_quantize),
        cmocka_unit_test(test_conv_integer),        cmocka_unit_test(test_qlinear_conv),
        cmocka_unit_test(test_qconv_bad),           cmocka_unit_test(test_matmul_integer),
        cmocka_unit_test(test_matmul_integer_long), cmocka_unit_test(test_qlinear_matmul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
