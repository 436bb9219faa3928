/* GridSample, AffineGrid, RoiAlign, MaxRoiPool, DeformConv, Col2Im, CenterCropPad. */
#include "ops/op_test.h"

/* ---- GridSample -------------------------------------------------------------------------------------------------- */

static double fold(double v, double low, double high) {
    if (high <= low) return low;
    while (v < low || v > high) v = v < low ? 2 * low - v : 2 * high - v;
    return v;
}

static double pixel(const double *line, int64_t n, double i, const char *edge, bool align) {
    if (edge[0] == 'z') return i >= 0 && i < (double)n ? line[(int64_t)i] : 0;
    if (edge[0] == 'r') i = trunc(fold(i, align ? 0 : -0.5, align ? (double)n - 1 : (double)n - 0.5));
    return line[(int64_t)fmin(fmax(i, 0), (double)n - 1)];
}

static double keys(double d) {
    d = fabs(d);
    return d <= 1 ? (1.25 * d - 2.25) * d * d + 1 : d < 2 ? ((-0.75 * d + 3.75) * d - 6) * d + 3 : 0;
}

/* One dim, at the normalised position v. */
static double sample_line(const double *line, int64_t n, double v, const char *mode, const char *edge, bool align) {
    double x = align ? (v + 1) / 2 * (double)(n - 1) : ((v + 1) * (double)n - 1) / 2, sum = 0;
    if (mode[0] == 'n') x = nearbyint(x);
    if (edge[0] == 'b') x = fmin(fmax(x, 0), (double)n - 1);
    if (edge[0] == 'r') x = fold(x, align ? 0 : -0.5, align ? (double)n - 1 : (double)n - 0.5);
    if (mode[0] == 'n') return pixel(line, n, nearbyint(x), edge, align);
    for (int k = -1; k <= 2; k++) {
        double p = floor(x) + k, w = mode[0] == 'l' ? fmax(0, 1 - fabs(x - p)) : keys(x - p);
        sum += w * pixel(line, n, p, edge, align);
    }
    return sum;
}

static void grid_case(const char *mode, const char *edge, bool align, tern_dtype dtype) {
    enum { N = 2, C = 2, H = 3, W = 5, P = 40 };
    op_test t;
    op_begin(&t, "GridSample", 22);
    op_attr_s(&t, "mode", mode);
    op_attr_s(&t, "padding_mode", edge);
    op_attr_i(&t, "align_corners", align);
    op_in(&t, op_rand(dtype, DIMS(N, C, H, W), -9, 9, 1));
    op_in(&t, op_rand(TERN_DOUBLE, DIMS(N, 1, P, 2), -2.2, 2.2, 2));
    tern_tensor *y = op_tensor(dtype, DIMS(N, C, 1, P));
    for (int64_t plane = 0; plane < N * C; plane++)
        for (int64_t p = 0; p < P; p++) {
            int64_t at = (plane / C * P + p) * 2;
            double column[H], row[W];
            for (int r = 0; r < H; r++) {
                for (int i = 0; i < W; i++) row[i] = tn_tensor_get_f64(t.in[0], (plane * H + r) * W + i);
                column[r] = sample_line(row, W, tn_tensor_get_f64(t.in[1], at), mode, edge, align);
            }
            double v = sample_line(column, H, tn_tensor_get_f64(t.in[1], at + 1), mode, edge, align);
            op_set(y, plane * P + p, dtype == TERN_INT32 ? trunc(v) : v);
        }
    op_out(&t, y);
    double tolerance = dtype == TERN_FLOAT16 ? 2e-2 : dtype == TERN_FLOAT ? 1e-4 : 1e-9;
    op_run(&t, tolerance, tolerance);
}

static void test_grid_sample(void **state) {
    (void)state;
    static const char *const modes[] = {"nearest", "linear", "cubic"}, *const edges[] = {"zeros", "border",
                                                                                         "reflection"};
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_INT32};
    for (int m = 0; m < 3; m++)
        for (int e = 0; e < 3; e++)
            for (int k = 0; k < 8; k++) grid_case(modes[m], edges[e], k & 1, types[k / 2]);
}

static void test_grid_sample_far_away(void **state) {
    (void)state;
    static const char *const edges[] = {"zeros", "border", "reflection"};
    for (int e = 0; e < 3; e++)
        for (int align = 0; align < 2; align++) {
            op_test t;
            op_begin(&t, "GridSample", 16);
            op_attr_s(&t, "padding_mode", edges[e]);
            op_attr_i(&t, "align_corners", align);
            op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(3, 3)));
            op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 4, 2), VALS(NAN, 0, INFINITY, 0, -1e30, 0, 1e9, NAN)));
            op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 4), VALS(e ? 3 : 0, e ? 3 : 0, e ? 3 : 0, e ? 3 : 0)));
            op_run(&t, 1e-6, 0);
        }
    op_test t;
    op_begin(&t, "GridSample", 20);
    op_attr_s(&t, "mode", "bilinear");
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(3)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(0, 0)));
    op_error(&t, TERN_INVALID_MODEL, STRS("bilinear"));
    op_begin(&t, "GridSample", 20);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(3)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 3), VALS(0, 0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3 elements"));
    op_begin(&t, "GridSample", 20);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 0, 1), NO_VALS));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("no element"));
}

static void test_grid_sample_strings(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "GridSample", 22);
    op_attr_s(&t, "mode", "nearest");
    op_in(&t, op_str(DIMS(1, 1, 2), STRS("a", "bc")));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 3, 1), VALS(0.5, -0.5, 5)));
    op_out(&t, op_str(DIMS(1, 1, 3), STRS("bc", "a", "")));
    op_run_exact(&t);
}

static void test_affine_grid(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "AffineGrid", 20);
    op_attr_i(&t, "align_corners", 1);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT64, DIMS(4), VALS(1, 7, 2, 3)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 2, 3, 2), VALS(0, -3, 1, 1, 2, 5, 4, 7, 5, 11, 6, 15)));
    op_run(&t, 1e-6, 1e-6);
    op_begin(&t, "AffineGrid", 20);
    op_in(&t, op_num(TERN_DOUBLE, DIMS(1, 3, 4), VALS(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 9)));
    op_in(&t, op_num(TERN_INT64, DIMS(5), VALS(1, 1, 1, 1, 2)));
    op_out(&t, op_num(TERN_DOUBLE, DIMS(1, 1, 1, 2, 3), VALS(-0.5, 0, 9, 0.5, 0, 9)));
    op_run(&t, 1e-12, 1e-12);
    op_begin(&t, "AffineGrid", 20);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT64, DIMS(4), VALS(1, 7, 0, 3)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("element 0"));
    op_begin(&t, "AffineGrid", 20);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 3), VALS(1, 2, 3, 4, 5, 6)));
    op_in(&t, op_num(TERN_INT64, DIMS(5), VALS(1, 1, 1, 1, 1)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1x2x3"));
}

/* ---- regions ------------------------------------------------------------------------------------------------------
 */

static void roi_begin(op_test *t, int opset, double batch, double x1, double y1, double x2, double y2) {
    op_begin(t, "RoiAlign", opset);
    op_attr_i(t, "output_width", 2);
    op_in(t, op_num(TERN_FLOAT, DIMS(1, 1, 4, 4), VALS(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
    op_in(t, op_num(TERN_FLOAT, DIMS(1, 4), VALS(x1, y1, x2, y2)));
    op_in(t, op_num(TERN_INT64, DIMS(1), VALS(batch)));
}

static void test_roi_align(void **state) {
    (void)state;
    op_test t;
    /* A plane x + 4 y: bins give their middles. */
    roi_begin(&t, 16, 0, 0.5, 0.5, 3.5, 3.5);
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(0.75 + 6, 2.25 + 6)));
    op_run(&t, 1e-5, 1e-5);
    roi_begin(&t, 10, 0, 0, 0, 3, 3);
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(0.75 + 6, 2.25 + 6)));
    op_run(&t, 1e-5, 1e-5);
    roi_begin(&t, 22, 1, 0, 0, 3, 3);
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("batch index 1"));
    roi_begin(&t, 22, 0, 0, 0, 1e12, 3);
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("roi 0"));
    roi_begin(&t, 22, 0, NAN, 0, 1, 3);
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("roi 0"));
    roi_begin(&t, 22, 0, 0, 0, NAN, 3);
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("roi 0", "nan"));
    roi_begin(&t, 22, 0, 0, 3, 1e30, 0); /* wider than an integer, and of no height */
    op_error(&t, TERN_LIMIT_EXCEEDED, STRS("roi 0", "5e+29"));
    roi_begin(&t, 22, 0, 0, 0, 1, 3);
    op_attr_i(&t, "output_height", 0);
    op_error(&t, TERN_INVALID_MODEL, STRS("0 x 2"));
}

static void test_max_roi_pool(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "MaxRoiPool", 1);
    op_attr_ints(&t, "pooled_shape", INTS(2, 2));
    op_attr_f(&t, "spatial_scale", 0.5f);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 3, 3), VALS(1, 2, 3, 4, 5, 6, 7, 8, 9)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 5), VALS(0, 0, 0, 4, 4, 0, 2, 2, 1e9, 1e9)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2, 1, 2, 2), VALS(5, 6, 8, 9, 9, 0, 0, 0)));
    op_run_exact(&t);
    op_begin(&t, "MaxRoiPool", 22);
    op_attr_ints(&t, "pooled_shape", INTS(2, 2));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 5), VALS(NAN, 0, 0, 4, 4)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("batch index"));
}

/* ---- DeformConv ----------------------------------------------------------------------------------------------------
 */

/* Value at (y, x), zero outside, linear between. */
static double bilinear(const tern_tensor *t, int64_t plane, double y, double x) {
    int64_t h = t->shape.dims[2], w = t->shape.dims[3];
    double sum = 0;
    for (int64_t r = 0; r < h; r++)
        for (int64_t c = 0; c < w; c++)
            sum += tn_tensor_get_f64(t, (plane * h + r) * w + c) * fmax(0, 1 - fabs(y - (double)r)) *
                   fmax(0, 1 - fabs(x - (double)c));
    return sum;
}

static void deform_case(int64_t groups, int64_t offset_groups, bool mask, tern_dtype dtype) {
    enum { N = 2, IC = 4, OC = 6, H = 6, W = 5, K = 3, OH = 3, OW = 3 };
    op_test t;
    op_begin(&t, "DeformConv", 19);
    op_attr_i(&t, "group", groups);
    op_attr_i(&t, "offset_group", offset_groups);
    op_attr_ints(&t, "pads", INTS(1, 1, 1, 1));
    op_attr_ints(&t, "strides", INTS(2, 2));
    op_in(&t, op_rand(dtype, DIMS(N, IC, H, W), -1, 1, 1));
    op_in(&t, op_rand(dtype, DIMS(OC, IC / groups, K, K), -1, 1, 2));
    op_in(&t, op_rand(dtype, DIMS(N, offset_groups * K * K * 2, OH, OW), -2, 2, 3));
    op_in(&t, op_rand(dtype, DIMS(OC), -1, 1, 4));
    op_in(&t, mask ? op_rand(dtype, DIMS(N, offset_groups * K * K, OH, OW), 0, 1, 5) : NULL);
    tern_tensor *y = op_tensor(dtype, DIMS(N, OC, OH, OW));
    int64_t icg = IC / groups, ocg = OC / groups;
    for (int64_t i = 0; i < tern_tensor_count(y); i++) {
        int64_t n = i / (OC * OH * OW), oc = i / (OH * OW) % OC, at = i % (OH * OW);
        double sum = tn_tensor_get_f64(t.in[3], oc);
        for (int64_t c = 0; c < icg; c++)
            for (int64_t k = 0; k < K * K; k++) {
                int64_t ic = oc / ocg * icg + c, f = (n * offset_groups + ic / (IC / offset_groups)) * K * K + k;
                double dy = tn_tensor_get_f64(t.in[2], 2 * f * OH * OW + at);
                double dx = tn_tensor_get_f64(t.in[2], (2 * f + 1) * OH * OW + at);
                double v = bilinear(t.in[0], n * IC + ic, (double)(at / OW * 2 - 1 + k / K) + dy,
                                    (double)(at % OW * 2 - 1 + k % K) + dx);
                if (mask) v *= tn_tensor_get_f64(t.in[4], f * OH * OW + at);
                sum += v * tn_tensor_get_f64(t.in[1], (oc * icg + c) * K * K + k);
            }
        op_set(y, i, sum);
    }
    op_out(&t, y);
    double tolerance = dtype == TERN_DOUBLE ? 1e-12 : dtype == TERN_FLOAT ? 2e-5 : 2e-2;
    op_run(&t, tolerance, tolerance);
}

static void test_deform_conv(void **state) {
    (void)state;
    for (int mask = 0; mask < 2; mask++) {
        deform_case(1, 1, mask, TERN_FLOAT);
        deform_case(2, 4, mask, TERN_FLOAT);
        deform_case(2, 2, mask, TERN_DOUBLE);
        deform_case(1, 2, mask, TERN_FLOAT16);
    }
    op_test t;
    op_begin(&t, "DeformConv", 22);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(5)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 2, 1, 1), VALS(NAN, INFINITY)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(0)));
    op_run_exact(&t);
    op_begin(&t, "DeformConv", 22);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(5)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 1), VALS(2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 3, 1, 1), VALS(0, 0, 0)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("input 2", "must be 2"));
}

/* ---- Col2Im, CenterCropPad ------------------------------------------------------------------------------------------
 */

static void test_col2im(void **state) {
    (void)state;
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16, TERN_BFLOAT16, TERN_INT8,
                                       TERN_UINT8, TERN_INT16,  TERN_UINT32,  TERN_INT64};
    for (size_t i = 0; i < TN_COUNT(types); i++) {
        op_test t;
        op_begin(&t, "Col2Im", 18);
        op_in(&t, op_num(types[i], DIMS(1, 4, 4), VALS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)));
        op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(3, 3)));
        op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(2, 2)));
        op_out(&t, op_num(types[i], DIMS(1, 1, 3, 3), VALS(1, 7, 6, 12, 34, 22, 11, 27, 16)));
        op_run_exact(&t);
    }
    op_test t;
    op_begin(&t, "Col2Im", 18);
    op_in(&t, op_num(TERN_BOOL, DIMS(1, 2, 1), VALS(1, 0)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(2)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(2)));
    op_out(&t, op_num(TERN_BOOL, DIMS(1, 1, 2), VALS(1, 0)));
    op_run_exact(&t);
    op_begin(&t, "Col2Im", 18);
    op_in(&t, op_num(TERN_COMPLEX64, DIMS(1, 2, 2), VALS(1, 2, 3, 4, 5, 6, 7, 8)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(3)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(2)));
    op_out(&t, op_num(TERN_COMPLEX64, DIMS(1, 1, 3), VALS(1, 2, 8, 10, 7, 8)));
    op_run_exact(&t);
    op_begin(&t, "Col2Im", 18);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 4, 3), VALS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(3, 3)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(2, 2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("3 columns", "4 blocks"));
    op_begin(&t, "Col2Im", 18);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1), VALS(1)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(-3, 3)));
    op_in(&t, op_num(TERN_INT64, DIMS(2), VALS(1, 1)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("-3"));
}

static void test_center_crop_pad(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "CenterCropPad", 18);
    op_in(&t, op_num(TERN_INT8, DIMS(1, 4), VALS(1, 2, 3, 4)));
    op_in(&t, op_num(TERN_INT32, DIMS(2), VALS(2, 1)));
    op_out(&t, op_num(TERN_INT8, DIMS(2, 1), VALS(2, 0)));
    op_run_exact(&t);
    op_begin(&t, "CenterCropPad", 18);
    op_attr_ints(&t, "axes", INTS(-1));
    op_in(&t, op_str(DIMS(1, 2), STRS("a", "b")));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(5)));
    op_out(&t, op_str(DIMS(1, 5), STRS("", "a", "b", "", "")));
    op_run_exact(&t);
    op_begin(&t, "CenterCropPad", 18);
    op_in(&t, op_num(TERN_FLOAT, DIMS(0), NO_VALS));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0, 0)));
    op_run_exact(&t);
    op_begin(&t, "CenterCropPad", 18);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(1)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(-2)));
    op_error(&t, TERN_INVALID_ARGUMENT, STRS("-2"));
    op_begin(&t, "CenterCropPad", 18);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1), VALS(1)));
    op_in(&t, op_num(TERN_INT64, DIMS(1), VALS(2)));
    op_error(&t, TERN_SHAPE_MISMATCH, STRS("1 elements", "2 axes"));
}

/* The middle of four pixels: complex numbers part by part, truth values as numbers are made them. */
static void test_grid_sample_types(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "GridSample", 20);
    op_in(&t, op_num(TERN_COMPLEX128, DIMS(1, 1, 2, 2), VALS(1, 10, 2, 20, 3, 30, 4, 80)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 1, 2), VALS(0, 0)));
    op_out(&t, op_num(TERN_COMPLEX128, DIMS(1, 1, 1, 1), VALS(2.5, 35)));
    op_run(&t, 1e-12, 0);
    op_begin(&t, "GridSample", 20);
    op_in(&t, op_num(TERN_BOOL, DIMS(1, 1, 2, 2), VALS(0, 0, 0, 1)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1, 1, 2, 2), VALS(0, 0, -0.5, -0.5)));
    op_out(&t, op_num(TERN_BOOL, DIMS(1, 1, 1, 2), VALS(1, 0)));
    op_run_exact(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid_sample_types),
        cmocka_unit_test(test_grid_sample),
        cmocka_unit_test(test_grid_sample_far_away),
        cmocka_unit_test(test_grid_sample_strings),
        cmocka_unit_test(test_affine_grid),
        cmocka_unit_test(test_roi_align),
        cmocka_unit_test(test_max_roi_pool),
        cmocka_unit_test(test_deform_conv),
        cmocka_unit_test(test_col2im),
        cmocka_unit_test(test_center_crop_pad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
