/* The ImageDecoder operator, on the pictures of tests/data/images. Run from the root of the repository. */
#include "test_util.h"

#include "base/base.h"
#include "tern/tern.h"
#include "vision/image/image.h"
#include "vision/op/op.h"

static int setup(void **state) {
    (void)state;
    tern_error err;
    return tern_vision_register_operators(&err) != TERN_OK;
}

static tern_status decode(const void *data, size_t size, const char *format, tern_tensor **out, tern_error *err) {
    tern_graph *g;
    tern_model *m;
    tern_session *s;
    tern_tensor *x;
    int64_t bytes = (int64_t)size;
    const char *in = "x", *result = "y";
    tern_attr a = {.name = "pixel_format", .type = TERN_ATTR_STRING, .s = format};
    assert_int_equal(tern_graph_create(&g, "decode", 20, err), TERN_OK);
    tern_value_info x_info = {.name = "x", .dtype = TERN_UINT8, .rank = 1, .dims = {-1}};
    assert_int_equal(tern_graph_input(g, &x_info, err), TERN_OK);
    tern_node_info node = {.op_type = "ImageDecoder",
                           .inputs = &in,
                           .n_inputs = 1,
                           .outputs = &result,
                           .n_outputs = 1,
                           .attrs = &a,
                           .n_attrs = format != NULL};
    assert_int_equal(tern_graph_node(g, &node, err), TERN_OK);
    assert_int_equal(tern_graph_output(g, &(tern_value_info){.name = "y", .rank = -1}, err), TERN_OK);
    tern_status status = tern_graph_finish(g, &m, err);
    tern_graph_free(g);
    if (status != TERN_OK) return status;
    assert_int_equal(tern_session_create(&s, m, NULL, err), TERN_OK);
    assert_int_equal(tern_tensor_create(&x, TERN_UINT8, 1, &bytes, err), TERN_OK);
    if (size) memcpy(tern_tensor_data(x), data, size);
    *out = NULL;
    status = tern_session_run(s, &(tern_feed){"x", x}, 1, NULL, out, 1, err);
    tern_tensor_free(x);
    tern_session_free(s);
    tern_model_free(m);
    return status;
}

static void expect_dims(const tern_tensor *t, int64_t h, int64_t w, int64_t c) {
    assert_int_equal(tern_tensor_dtype(t), TERN_UINT8);
    assert_int_equal(tern_tensor_rank(t), 3);
    const int64_t *dims = tern_tensor_dims(t);
    assert_true(dims[0] == h && dims[1] == w && dims[2] == c);
}

/* A PPM needs no library: its last bytes are its pixels. */
static void test_pixel_formats(void **state) {
    (void)state;
    tn_file file;
    tern_error err;
    assert_int_equal(tn_file_map(&file, "tests/data/images/rgb.ppm", &err), TERN_OK);
    tern_image want;
    assert_int_equal(tern_image_decode(&want, file.data, file.size, NULL, &err), TERN_OK);
    static const char *const formats[] = {NULL, "RGB", "BGR", "Grayscale"};
    for (int f = 0; f < 4; f++) {
        tern_tensor *y;
        if (decode(file.data, file.size, formats[f], &y, &err) != TERN_OK) fail_msg("%s", err.text);
        expect_dims(y, want.height, want.width, f == 3 ? 1 : 3);
        const uint8_t *p = tern_tensor_const_data(y);
        for (int i = 0; i < want.width * want.height; i++) {
            const uint8_t *rgb = want.data + 3 * i;
            double grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
            if (f == 3 && (p[i] < grey - 0.51 || p[i] > grey + 0.51)) fail_msg("pixel %d is %d, not %g", i, p[i], grey);
            for (int k = 0; k < 3 && f < 3; k++) assert_int_equal(p[3 * i + k], rgb[f == 2 ? 2 - k : k]);
        }
        tern_tensor_free(y);
    }
    tern_image_release(&want);
    tn_file_unmap(&file);
}

/* EXIF says that this one is to be turned by a quarter: the operator gives what is stored. */
static void test_orientation_is_ignored(void **state) {
    (void)state;
    tn_file file;
    tern_error err;
    tern_tensor *y;
    assert_int_equal(tn_file_map(&file, "tests/data/images/orient6.tif", &err), TERN_OK);
    tern_status s = decode(file.data, file.size, "RGB", &y, &err);
    if (s == TERN_UNSUPPORTED) tt_skip("this build has no TIFF support");
    assert_int_equal(s, TERN_OK);
    tern_image upright;
    assert_int_equal(tern_image_decode(&upright, file.data, file.size, NULL, &err), TERN_OK);
    expect_dims(y, upright.width, upright.height, 3);
    tern_image_release(&upright);
    tern_tensor_free(y);
    tn_file_unmap(&file);
}

static void test_no_picture_is_empty(void **state) {
    (void)state;
    tern_error err;
    tern_tensor *y;
    assert_int_equal(decode("hello", 5, "RGB", &y, &err), TERN_OK);
    expect_dims(y, 0, 0, 3);
    tern_tensor_free(y);
    assert_int_equal(decode("P6 5 5 255 x", 12, "Grayscale", &y, &err), TERN_OK);
    expect_dims(y, 0, 0, 1);
    tern_tensor_free(y);
    assert_int_equal(decode("", 0, "BGR", &y, &err), TERN_OK);
    expect_dims(y, 0, 0, 3);
    tern_tensor_free(y);
}

static void test_errors(void **state) {
    (void)state;
    tern_error err;
    tern_tensor *y;
    assert_int_equal(decode("", 0, "CMYK", &y, &err), TERN_INVALID_MODEL);
    assert_non_null(strstr(err.text, "pixel_format is 'CMYK'"));
    assert_non_null(strstr(err.text, "ImageDecoder"));
    static const char huge[] = "P6 60000 60000 255 ";
    assert_int_equal(decode(huge, sizeof huge - 1, "RGB", &y, &err), TERN_LIMIT_EXCEEDED);
    assert_int_equal(tern_vision_register_operators(&err), TERN_INVALID_ARGUMENT); /* once is enough */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pixel_formats),
        cmocka_unit_test(test_orientation_is_ignored),
        cmocka_unit_test(test_no_picture_is_empty),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests_name("ImageDecoder", tests, setup, NULL);
}
