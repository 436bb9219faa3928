/* DFT, STFT, windows, MelWeightMatrix, Det, CumProd, BitCast. */
#include "ops/op_test.h"

static const double pi = 3.14159265358979323846;

/* ---- DFT -------------------------------------------------------------------------------------------------------- */

/* (2, n, 3, parts) along axis 1, straight from the sum. `n_fft` cuts or fills up. */
static void dft_case(int64_t n, int64_t n_fft, int parts, bool inverse, bool onesided, tern_dtype dtype, int opset) {
    op_test t;
    op_begin(&t, "DFT", opset);
    op_attr_i(&t, "inverse", inverse);
    op_attr_i(&t, "onesided", onesided);
    bool real_out = inverse && onesided;
    op_in(&t, op_rand(dtype, DIMS(2, n, 3, parts), -1, 1, (uint32_t)n));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS((double)n_fft)));
    if (opset < 20)
        op_attr_i(&t, "axis", 1);
    else
        op_in(&t, op_num(TERN_INT64, SCALAR, VALS(-3)));
    int64_t bins = onesided && !inverse ? n_fft / 2 + 1 : n_fft;
    tern_tensor *y = op_tensor(dtype, DIMS(2, bins, 3, real_out ? 1 : 2));
    for (int64_t line = 0; line < 6; line++)
        for (int64_t k = 0; k < bins; k++) {
            double re = 0, im = 0;
            for (int64_t i = 0; i < n_fft; i++) {
                int64_t j = real_out && i > n_fft / 2 ? n_fft - i : i;
                if (j >= n) continue;
                int64_t at = ((line / 3 * n + j) * 3 + line % 3) * parts;
                double a = tn_tensor_get_f64(t.in[0], at), b = parts == 2 ? tn_tensor_get_f64(t.in[0], at + 1) : 0;
                if (real_out) b = i == 0 || 2 * i == n_fft ? 0 : j == i ? b : -b;
                double angle = (inverse ? 2 : -2) * pi * (double)(i * k % n_fft) / (double)n_fft;
                re += a * cos(angle) - b * sin(angle);
                im += a * sin(angle) + b * cos(angle);
            }
            int64_t at = ((line / 3 * bins + k) * 3 + line % 3) * (real_out ? 1 : 2);
            op_set(y, at, inverse ? re / (double)n_fft : re);
            if (!real_out) op_set(y, at + 1, inverse ? im / (double)n_fft : im);
        }
    op_out(&t, y);
    double tolerance = dtype == TERN_DOUBLE ? 1e-11 : 1e-5;
    op_run(&t, tolerance, tolerance);
}

static void test_dft(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 2, 3, 8, 12, 17, 64, 97, 100};
    for (size_t i = 0; i < TN_COUNT(lengths); i++)
        for (int64_t more = -1; more <= 3; more += 2) {
            int64_t n = lengths[i], f = n + more < 1 ? 1 : n + more;
            dft_case(n, n, 2, false, false, TERN_DOUBLE, 20);
            dft_case(n, f, 1, false, false, TERN_DOUBLE, 17);
            dft_case(n, f, 2, true, false, TERN_DOUBLE, 20);
            dft_case(n, f, 1, false, true, TERN_FLOAT, 17);
            dft_case(n, f, 2, true, true, TERN_DOUBLE, 20);
        }
}

static void dft_refuses(int64_t length, int64_t axis, int parts, tern_status status, const char *word) {
    op_test t;
    op_begin(&t, "DFT", 20);
    op_attr_i(&t, "onesided", 1);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 4, parts), -1, 1, 1));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS((double)length)));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS((double)axis)));
    op_error(&t, status, STRS(word));
}

static void test_dft_refuses(void **state) {
    (void)state;
    dft_refuses(0, 1, 1, TERN_INVALID_MODEL, "dft_length is 0");
    dft_refuses(4, 2, 1, TERN_INVALID_MODEL, "axis 2");
    dft_refuses(4, 7, 1, TERN_INVALID_MODEL, "axis 7");
    dft_refuses(4, 1, 2, TERN_SHAPE_MISMATCH, "complex");
    dft_refuses(4, 1, 3, TERN_SHAPE_MISMATCH, "3");
    dft_refuses(INT64_C(1) << 60, 1, 1, TERN_LIMIT_EXCEEDED, "large");
}

/* ---- STFT ------------------------------------------------------------------------------------------------------- */

static void test_stft(void **state) {
    (void)state;
    for (int onesided = 0; onesided < 2; onesided++) {
        enum { L = 11, STEP = 3, N = 5, WINDOW = 4, FRAMES = 1 + (L - N) / STEP };
        int64_t bins = onesided ? N / 2 + 1 : N;
        op_test t;
        op_begin(&t, "STFT", 17);
        op_attr_i(&t, "onesided", onesided);
        op_in(&t, op_rand(TERN_FLOAT, DIMS(2, L, 1), -1, 1, 1));
        op_in(&t, op_num(TERN_INT64, SCALAR, VALS(STEP)));
        op_in(&t, op_num(TERN_FLOAT, DIMS(WINDOW), VALS(1, 2, 3, 4)));
        op_in(&t, op_num(TERN_INT64, SCALAR, VALS(N)));
        tern_tensor *y = op_tensor(TERN_FLOAT, DIMS(2, FRAMES, bins, 2));
        for (int64_t b = 0; b < 2; b++)
            for (int64_t f = 0; f < FRAMES; f++)
                for (int64_t k = 0; k < bins; k++) {
                    double re = 0, im = 0;
                    for (int64_t i = 0; i < WINDOW; i++) {
                        double v = tn_tensor_get_f64(t.in[0], b * L + f * STEP + i) * (double)(i + 1);
                        re += v * cos(2 * pi * (double)(i * k) / N);
                        im -= v * sin(2 * pi * (double)(i * k) / N);
                    }
                    op_set(y, ((b * FRAMES + f) * bins + k) * 2, re);
                    op_set(y, ((b * FRAMES + f) * bins + k) * 2 + 1, im);
                }
        op_out(&t, y);
        op_run(&t, 1e-5, 1e-5);
    }
    op_test t;
    op_begin(&t, "STFT", 17);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 4, 1), -1, 1, 1));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(1)));
    op_in(&t, NULL);
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(5)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("5", "4"));
    op_begin(&t, "STFT", 17);
    op_in(&t, op_rand(TERN_FLOAT, DIMS(1, 4, 1), -1, 1, 1));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(0)));
    op_error(&t, TERN_INVALID_MODEL, STRS("frame_step is 0"));
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void window_case(const char *name, bool periodic, double size, size_t n, const double *want) {
    op_test t;
    op_begin(&t, name, 17);
    op_attr_i(&t, "periodic", periodic);
    op_attr_i(&t, "output_datatype", TERN_DOUBLE);
    op_in(&t, op_num(TERN_INT32, SCALAR, VALS(size)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS((int64_t)n), n, want));
    op_run(&t, 1e-12, 1e-12);
}

static void test_windows(void **state) {
    (void)state;
    window_case("HannWindow", true, 4, VALS(0, 0.5, 1, 0.5));
    window_case("HannWindow", false, 5, VALS(0, 0.5, 1, 0.5, 0));
    window_case("HammingWindow", true, 4, VALS(4.0 / 46, 25.0 / 46, 1, 25.0 / 46));
    window_case("BlackmanWindow", true, 4, VALS(0, 0.34, 1, 0.34));
    window_case("BlackmanWindow", false, 1, VALS(1));
    window_case("HannWindow", true, 0, NO_VALS);
    op_test t;
    op_begin(&t, "HannWindow", 17);
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(-1)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("-1"));
    op_begin(&t, "HannWindow", 17);
    op_attr_i(&t, "output_datatype", TERN_STRING);
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(4)));
    op_error(&t, TERN_INVALID_MODEL, STRS("output_datatype 8"));
}

static void mel_begin(op_test *t, double bins, double rate, double low, double high) {
    op_begin(t, "MelWeightMatrix", 17);
    op_in(t, op_num(TERN_INT32, SCALAR, VALS(bins)));
    op_in(t, op_num(TERN_INT32, SCALAR, VALS(16)));
    op_in(t, op_num(TERN_INT32, SCALAR, VALS(rate)));
    op_in(t, op_num(TERN_FLOAT, SCALAR, VALS(low)));
    op_in(t, op_num(TERN_FLOAT, SCALAR, VALS(high)));
}

static void test_mel(void **state) {
    (void)state;
    op_test t;
    /* Every column is a triangle with the peak 1. */
    mel_begin(&t, 4, 8192, 0, 4096);
    op_out_any(&t);
    op_eval(&t);
    for (int m = 0; m < 4; m++) {
        double top = 0;
        for (int j = 0; j < 9; j++) top = fmax(top, tn_tensor_get_f64(t.result[0], j * 4 + m));
        assert_true(top == 1);
    }
    op_check_infer(&t);
    op_end(&t);
    mel_begin(&t, 4, 0, 0, 4096);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("sample_rate of 0"));
    mel_begin(&t, -1, 8192, 0, 4096);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("-1 mel bins"));
    mel_begin(&t, 4, 8192, 0, NAN);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("nan"));
}

/* ---- Det, CumProd, BitCast --------------------------------------------------------------------------------------- */

static void test_det(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Det", 11);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 3, 3), VALS(0, 2, 1, 3, 0, 1, 1, 1, 0, 1, 2, 3, 2, 4, 6, 1, 1, 1)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(5, 0)));
    op_run(&t, 1e-6, 1e-6);
    op_begin(&t, "Det", 22);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(0, 0), NO_VALS));
    op_out(&t, op_num(TERN_DOUBLE, SCALAR, VALS(1)));
    op_run_exact(&t);
    op_begin(&t, "Det", 22);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 2), VALS(1, 2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x2"));
}

static void cumprod_case(tern_dtype dtype, double axis, bool exclusive, bool reverse, size_t n, const double *want) {
    op_test t;
    op_begin(&t, "CumProd", 26);
    op_attr_i(&t, "exclusive", exclusive);
    op_attr_i(&t, "reverse", reverse);
    op_in(&t, op_num(dtype, DIMS(2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT32, SCALAR, VALS(axis)));
    op_out(&t, op_num(dtype, DIMS(2, 3), n, want));
    op_run_exact(&t);
}

static void test_cumprod(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16,
                                       TERN_INT32, TERN_INT64,  TERN_UINT32,  TERN_UINT64};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        cumprod_case(types[i], 1, false, false, VALS(1, 2, 6, 4, 20, 120));
        cumprod_case(types[i], -1, true, false, VALS(1, 1, 2, 1, 4, 20));
        cumprod_case(types[i], 1, false, true, VALS(6, 6, 3, 120, 30, 6));
        cumprod_case(types[i], 0, true, true, VALS(4, 5, 6, 1, 1, 1));
    }
    op_test t;
    op_begin(&t, "CumProd", 26);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_INT64, SCALAR, VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("axis 1"));
}

static void bitcast_case(tern_tensor *x, tern_tensor *y) {
    op_test t;
    op_begin(&t, "BitCast", 26);
    op_attr_i(&t, "to", y->dtype);
    op_in(&t, x);
    op_out(&t, y);
    op_run_exact(&t);
}

static void test_bitcast(void **state) {
    (void)state;
    bitcast_case(op_num(TERN_FLOAT, DIMS(2), VALS(1, -2)), op_num(TERN_UINT32, DIMS(2), VALS(0x3f800000, 0xc0000000)));
    bitcast_case(op_num(TERN_INT64, DIMS(1), VALS(-1)), op_int(TERN_UINT64, DIMS(1), INTS(-1)));
    bitcast_case(op_num(TERN_INT4, DIMS(3), VALS(-1, -8, 7)), op_num(TERN_UINT4, DIMS(3), VALS(15, 8, 7)));
    bitcast_case(op_num(TERN_UINT2, DIMS(4), VALS(0, 1, 2, 3)), op_num(TERN_INT2, DIMS(4), VALS(0, 1, -2, -1)));
    bitcast_case(op_num(TERN_UINT8, DIMS(2), VALS(0, 2)), op_num(TERN_BOOL, DIMS(2), VALS(0, 1)));
    bitcast_case(op_num(TERN_COMPLEX64, DIMS(1), VALS(1, 0)), op_int(TERN_INT64, DIMS(1), INTS(0x3f800000)));
    op_test t;
    op_begin(&t, "BitCast", 26);
    op_attr_i(&t, "to", TERN_FLOAT16);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_TYPE_MISMATCH, STRS("32", "16"));
    op_begin(&t, "BitCast", 26);
    op_attr_i(&t, "to", TERN_STRING);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_error(&t, TERN_INVALID_MODEL, STRS("'to' is 8"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dft),     cmocka_unit_test(test_dft_refuses), cmocka_unit_test(test_stft),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_mel),         cmocka_unit_test(test_det),
        cmocka_unit_test(test_cumprod), cmocka_unit_test(test_bitcast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
