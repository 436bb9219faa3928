/* Resize and Upsample, element by element from the standard's text. */
#include "ops/op_test.h"

typedef struct setup {
    const char *mode, *coord, *nearest;
    bool antialias, exclude;
} setup;

static double original(const setup *s, double x, double scale, double in, double out) {
    if (strcmp(s->coord, "asymmetric") == 0) return x / scale;
    if (strcmp(s->coord, "align_corners") == 0) return out == 1 ? 0 : x * (in - 1) / (out - 1);
    if (strcmp(s->coord, "pytorch_half_pixel") == 0 && out == 1) return 0;
    return (x + 0.5) / scale - 0.5;
}

static double weight(const setup *s, double d) {
    const double a = -0.75;
    d = fabs(d);
    if (s->mode[0] == 'l') return d < 1 ? 1 - d : 0;
    if (d < 1) return (a + 2) * d * d * d - (a + 3) * d * d + 1;
    return d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a : 0;
}

/* One dim of n elements `step` apart, at output position j. */
static double sample(const setup *s, const double *v, int64_t n, int64_t step, int64_t j, int64_t out) {
    double scale = (double)out / (double)n, x = original(s, (double)j, scale, (double)n, (double)out);
    if (s->mode[0] == 'n') {
        double f = floor(x), k = strcmp(s->nearest, "floor") == 0               ? f
                                 : strcmp(s->nearest, "ceil") == 0              ? ceil(x)
                                 : strcmp(s->nearest, "round_prefer_ceil") == 0 ? floor(x + 0.5)
                                                                                : ceil(x - 0.5);
        return v[(int64_t)fmin(fmax(k, 0), (double)(n - 1)) * step];
    }
    double shrink = s->antialias && scale < 1 ? scale : 1, sum = 0, total = 0;
    for (int64_t p = -200; p < n + 200; p++) {
        double w = weight(s, ((double)p - x) * shrink);
        if (s->exclude && (p < 0 || p >= n)) continue;
        sum += w * v[TN_MIN(TN_MAX(p, 0), n - 1) * step];
        total += w;
    }
    return sum / total;
}

static tern_tensor *expected(const setup *s, const tern_tensor *x, int64_t oh, int64_t ow) {
    int64_t planes = x->shape.dims[0] * x->shape.dims[1], h = x->shape.dims[2], w = x->shape.dims[3];
    tern_tensor *y = op_tensor(x->dtype, DIMS(x->shape.dims[0], x->shape.dims[1], oh, ow));
    double row[64], column[64];
    for (int64_t i = 0; i < planes * oh * ow; i++) {
        int64_t plane = i / (oh * ow);
        for (int64_t k = 0; k < h; k++) {
            for (int64_t m = 0; m < w; m++) row[m] = tn_tensor_get_f64(x, (plane * h + k) * w + m);
            column[k] = sample(s, row, w, 1, i % ow, ow);
        }
        op_set(y, i, sample(s, column, h, 1, i / ow % oh, oh));
    }
    return y;
}

static tern_tensor *blocked_of(const tern_tensor *x, int block) {
    const int64_t *d = x->shape.dims;
    int64_t hw = d[2] * d[3], cb = (d[1] + block - 1) / block;
    tern_tensor *b = op_tensor(TERN_FLOAT, DIMS(d[0], cb, hw, block));
    for (int64_t i = 0; i < tern_tensor_count(x); i++) {
        int64_t n = i / hw / d[1], c = i / hw % d[1];
        ((float *)b->data)[((n * cb + c / block) * hw + i % hw) * block + c % block] = ((const float *)x->data)[i];
    }
    b->shape = x->shape;
    b->block = block;
    return b;
}

static void resize_case(const setup *s, tern_dtype dtype, int64_t oh, int64_t ow, int64_t h, int64_t w) {
    op_test t;
    op_begin(&t, "Resize", 19);
    tern_tensor *x = op_rand(dtype, DIMS(2, 3, h, w), -9, 9, 5);
    op_in(&t, x);
    op_in(&t, NULL);
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(4), INTS(2, 3, oh, ow)));
    op_attr_s(&t, "mode", s->mode);
    op_attr_s(&t, "coordinate_transformation_mode", s->coord);
    op_attr_s(&t, "nearest_mode", s->nearest);
    op_attr_i(&t, "antialias", s->antialias);
    op_attr_i(&t, "exclude_outside", s->exclude);
    tern_tensor *want = expected(s, x, oh, ow);
    op_out(&t, want);
    if (dtype == TERN_FLOAT && oh * ow > 0) {
        /* The same on blocked storage: the same bits but for the order of the two passes. */
        op_eval(&t);
        tern_tensor *in = blocked_of(x, 8), *plain = blocked_of(t.result[0], 8), *got = blocked_of(want, 8);
        tern_tensor *run_in[4] = {in, NULL, NULL, t.in[3]};
        memset(got->data, 0x55, tn_tensor_bytes(got));
        tn_run run = {.node = t.node, .in = run_in, .out = &got, .threads = 1, .err = &t.err};
        assert_int_equal(t.node->op->run(&run), TERN_OK);
        assert_memory_equal(got->data, plain->data, tn_tensor_bytes(got));
        tern_tensor_free(in);
        tern_tensor_free(plain);
        tern_tensor_free(got);
        tern_tensor_free(t.result[0]);
        t.result[0] = NULL;
    }
    /* Sums of at most 32 products of numbers below 18, in single precision. */
    double atol = s->mode[0] == 'n'       ? 0
                  : dtype == TERN_FLOAT   ? 32 * 18 * 0x1p-23
                  : dtype == TERN_FLOAT16 ? 0x1p-7
                                          : 1e-12;
    op_run(&t, 0, atol);
}

static void test_modes(void **state) {
    (void)state;
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coords[] = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    static const int64_t sizes[][4] = {{8, 12, 4, 6}, {3, 5, 6, 10}, {7, 1, 4, 5},
                                       {4, 9, 1, 6},  {5, 3, 5, 11}, {1, 1, 1, 1}};
    static const tern_dtype types[] = {TERN_FLOAT, TERN_DOUBLE, TERN_FLOAT16};
    for (int m = 0; m < 3; m++)
        for (int c = 0; c < 4; c++)
            for (int r = 0; r < 4; r++)
                for (size_t z = 0; z < TN_COUNT(sizes); z++) {
                    setup s = {modes[m], coords[c], rounds[r], m && r & 1, m && r & 2};
                    resize_case(&s, types[(z + (size_t)r) % 3], sizes[z][0], sizes[z][1], sizes[z][2], sizes[z][3]);
                }
}

static void test_old_versions(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Upsample", 7);
    op_attr_floats(&t, "scales", VALS(1, 1, 2, 2));
    op_in(&t, op_num(TERN_INT8, DIMS(1, 1, 1, 2), VALS(1, 2)));
    op_out(&t, op_num(TERN_INT8, DIMS(1, 1, 2, 4), VALS(1, 1, 2, 2, 1, 1, 2, 2)));
    op_run_exact(&t);
    op_begin(&t, "Upsample", 9);
    op_attr_s(&t, "mode", "linear");
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(2)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(4), VALS(1, 1.5, 2, 2)));
    op_run_exact(&t);
    op_begin(&t, "Resize", 10);
    op_in(&t, op_str(DIMS(4), STRS("a", "b", "c", "d")));
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(0.5)));
    op_out(&t, op_str(DIMS(2), STRS("a", "c")));
    op_run_exact(&t);
}

static void test_policy_and_roi(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Resize", 18);
    op_attr_s(&t, "keep_aspect_ratio_policy", "not_larger");
    op_attr_ints(&t, "axes", INTS(1, 0));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2, 4), VALS(1, 2, 3, 4, 5, 6, 7, 8)));
    op_in(&t, NULL);
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(8, 100)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(4, 8),
                      VALS(1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 5, 5, 6, 6, 7, 7, 8,
                           8)));
    op_run_exact(&t);
    op_begin(&t, "Resize", 13);
    op_attr_s(&t, "mode", "linear");
    op_attr_s(&t, "coordinate_transformation_mode", "tf_crop_and_resize");
    op_attr_f(&t, "extrapolation_value", 10);
    op_in(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1, 2, 4)));
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(0.25, 1.25)));
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(3)));
    op_out(&t, op_num(TERN_FLOAT, DIMS(3), VALS(1.5, 3, 10)));
    op_run(&t, 1e-6, 0);
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        double scale;
        tern_status status;
        const char *word;
    } bad[] = {{0, TERN_INVALID_MODEL, "scale 0"},
               {-1, TERN_INVALID_MODEL, "scale -1"},
               {NAN, TERN_INVALID_MODEL, "scale"},
               {1e30, TERN_LIMIT_EXCEEDED, "1e+30"}};
    for (size_t i = 0; i < TN_COUNT(bad); i++) {
        op_test t;
        op_begin(&t, "Resize", 13);
        op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
        op_in(&t, NULL);
        op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(bad[i].scale)));
        op_error(&t, bad[i].status, 1, &bad[i].word);
    }
    op_test t;
    op_begin(&t, "Resize", 13);
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_in(&t, NULL);
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(2), INTS(3, 4)));
    op_error(&t, TERN_INVALID_MODEL, STRS("sizes has 2"));
    op_begin(&t, "Resize", 13);
    op_attr_s(&t, "nearest_mode", "up");
    op_in(&t, op_num(TERN_FLOAT, DIMS(2), VALS(1, 2)));
    op_in(&t, NULL);
    op_in(&t, op_num(TERN_FLOAT, DIMS(1), VALS(2)));
    op_error(&t, TERN_INVALID_MODEL, STRS("'up'"));
}

static void test_complex(void **state) {
    (void)state;
    op_test t;
    op_begin(&t, "Resize", 19);
    op_attr_s(&t, "mode", "linear");
    op_in(&t, op_num(TERN_COMPLEX64, DIMS(2), VALS(1, 10, 3, 20)));
    op_in(&t, NULL);
    op_in(&t, NULL);
    op_in(&t, op_int(TERN_INT64, DIMS(1), INTS(4)));
    op_out(&t, op_num(TERN_COMPLEX64, DIMS(4), VALS(1, 10, 1.5, 12.5, 2.5, 17.5, 3, 20)));
    op_run(&t, 1e-6, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complex),        cmocka_unit_test(test_modes),  cmocka_unit_test(test_old_versions),
        cmocka_unit_test(test_policy_and_roi), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
