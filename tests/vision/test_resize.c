/* Resizing against a naive double-precision reference, and its borders. With --pipe the program is a filter for
 * test_resize_opencv.sh: it reads "w h W H fit side filter\n" and pixels, and writes the pixels of the result. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vision/image/resize.h"

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static tern_image random_image(int w, int h, uint32_t seed) {
    tern_image image;
    assert_int_equal(tern_image_create(&image, w, h, NULL), TERN_OK);
    for (size_t i = 0; i < (size_t)w * (size_t)h * 3; i++) image.data[i] = (uint8_t)next_random(&seed);
    return image;
}

static double pixel(const tern_image *m, int x, int y, int c) {
    x = TN_MIN(TN_MAX(x, 0), m->width - 1);
    y = TN_MIN(TN_MAX(y, 0), m->height - 1);
    return m->data[((size_t)y * (size_t)m->width + (size_t)x) * 3 + (size_t)c];
}

static double linear_at(const tern_image *m, int w, int h, int x, int y, int c) {
    double fx = (x + 0.5) * m->width / w - 0.5, fy = (y + 0.5) * m->height / h - 0.5;
    int x0 = (int)floor(fx), y0 = (int)floor(fy);
    fx -= x0;
    fy -= y0;
    return (1 - fy) * ((1 - fx) * pixel(m, x0, y0, c) + fx * pixel(m, x0 + 1, y0, c)) +
           fy * ((1 - fx) * pixel(m, x0, y0 + 1, c) + fx * pixel(m, x0 + 1, y0 + 1, c));
}

/* Part of source pixel i under [begin, end). */
static double overlap(int i, double begin, double end) {
    return TN_MAX(0.0, TN_MIN(end, i + 1.0) - TN_MAX(begin, (double)i));
}

static double area_at(const tern_image *m, int w, int h, int x, int y, int c) {
    double sx = (double)m->width / w, sy = (double)m->height / h, sum = 0;
    for (int j = (int)(y * sy); j < m->height && j < (y + 1) * sy; j++) {
        for (int i = (int)(x * sx); i < m->width && i < (x + 1) * sx; i++) {
            sum += pixel(m, i, j, c) * overlap(i, x * sx, (x + 1) * sx) * overlap(j, y * sy, (y + 1) * sy);
        }
    }
    return sum / (sx * sy);
}

static void compare(int w, int h, int W, int H, tern_filter filter,
                    double (*reference)(const tern_image *, int, int, int, int, int), double tolerance) {
    tern_image src = random_image(w, h, (uint32_t)(w * 31 + h * 7 + W * 3 + H)), out;
    assert_int_equal(tern_image_resize(&out, &src, W, H, filter, NULL), TERN_OK);
    assert_int_equal(out.width, W);
    assert_int_equal(out.height, H);
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            for (int c = 0; c < 3; c++) {
                double want = reference(&src, W, H, x, y, c), have = pixel(&out, x, y, c);
                if (fabs(have - want) > tolerance)
                    fail_msg("%dx%d -> %dx%d at (%d, %d): %g, not %g", w, h, W, H, x, y, have, want);
            }
        }
    }
    tern_image_release(&src);
    tern_image_release(&out);
}

static const int sizes[][4] = {{1, 1, 1, 1},     {1, 1, 9, 5},   {7, 5, 14, 10},   {14, 10, 7, 5},
                               {31, 17, 30, 18}, {3, 50, 50, 3}, {64, 64, 32, 32}, {64, 48, 21, 11},
                               {100, 3, 7, 3},   {5, 5, 224, 1}, {200, 150, 3, 2}, {97, 89, 96, 88}};

/* Rounding of weights to 11 bits, of two rows and of the sum: less than one step. */
static void linear_is_bilinear(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(sizes); i++) {
        compare(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], TERN_FILTER_LINEAR, linear_at, 1.0);
    }
}

static void area_is_the_mean(void **state) {
    (void)state;
    for (size_t i = 0; i < TN_COUNT(sizes); i++) {
        if (sizes[i][2] > sizes[i][0] || sizes[i][3] > sizes[i][1]) continue;
        compare(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], TERN_FILTER_AREA, area_at, 0.51);
    }
}

static void auto_averages_only_below_half(void **state) {
    (void)state;
    compare(64, 48, 21, 11, TERN_FILTER_AUTO, area_at, 0.51);
    compare(64, 48, 32, 24, TERN_FILTER_AUTO, linear_at, 1.0);
    compare(64, 48, 40, 11, TERN_FILTER_AUTO, linear_at, 1.0);
}

static void same_size_is_a_copy(void **state) {
    (void)state;
    tern_image src = random_image(13, 7, 1), out;
    assert_int_equal(tern_image_resize(&out, &src, 13, 7, TERN_FILTER_AUTO, NULL), TERN_OK);
    assert_memory_equal(src.data, out.data, 13 * 7 * 3);
    tern_image_release(&src);
    tern_image_release(&out);
}

static void letterbox_has_bars(void **state) {
    (void)state;
    tern_image src = random_image(100, 50, 1), out, inner;
    tern_placement place;
    assert_int_equal(tern_image_fit(&out, &src, 64, 64, TERN_FIT_LETTERBOX, 0, TERN_FILTER_LINEAR, &place, NULL),
                     TERN_OK);
    assert_int_equal(tern_image_resize(&inner, &src, 64, 32, TERN_FILTER_LINEAR, NULL), TERN_OK);
    assert_true(place.offset_x == 0 && place.offset_y == 16 && place.scale_x == 0.64 && place.scale_y == 0.64);
    for (int y = 0; y < 64; y++) {
        for (int x = 0; x < 64 * 3; x++) {
            uint8_t have = out.data[y * 64 * 3 + x];
            assert_int_equal(have, y < 16 || y >= 48 ? 114 : inner.data[(y - 16) * 64 * 3 + x]);
        }
    }
    tern_image_release(&src);
    tern_image_release(&out);
    tern_image_release(&inner);
}

static void crop_takes_the_middle(void **state) {
    (void)state;
    tern_image src = random_image(40, 20, 1), out;
    tern_placement place;
    assert_int_equal(tern_image_fit(&out, &src, 20, 20, TERN_FIT_CROP, 0, TERN_FILTER_AUTO, &place, NULL), TERN_OK);
    for (int y = 0; y < 20; y++) assert_memory_equal(out.data + y * 60, src.data + (y * 40 + 10) * 3, 60);
    assert_true(place.offset_x == -10 && place.offset_y == 0);
    tern_image_release(&out);
    /* The short side to 10 first: 20 x 10, then the middle 8 x 8. */
    tern_image small;
    assert_int_equal(tern_image_resize(&small, &src, 20, 10, TERN_FILTER_LINEAR, NULL), TERN_OK);
    assert_int_equal(tern_image_fit(&out, &src, 8, 8, TERN_FIT_CROP, 10, TERN_FILTER_LINEAR, NULL, NULL), TERN_OK);
    for (int y = 0; y < 8; y++) assert_memory_equal(out.data + y * 24, small.data + ((y + 1) * 20 + 6) * 3, 24);
    tern_image_release(&src);
    tern_image_release(&small);
    tern_image_release(&out);
}

static void impossible_sizes_are_refused(void **state) {
    (void)state;
    tern_image src = random_image(40, 20, 1), out;
    tern_error err;
    assert_int_equal(tern_image_resize(&out, &src, 0, 5, TERN_FILTER_AUTO, &err), TERN_INVALID_ARGUMENT);
    assert_null(out.data);
    assert_int_equal(tern_image_resize(&out, &src, 70000, 5, TERN_FILTER_AUTO, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_image_crop(&out, &src, 30, 0, 11, 5, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_image_crop(&out, &src, -1, 0, 5, 5, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_image_fit(&out, &src, 30, 30, TERN_FIT_CROP, 25, TERN_FILTER_AUTO, NULL, &err),
                     TERN_INVALID_ARGUMENT);
    tern_image_release(&src);
    src = random_image(4000, 1, 1);
    assert_int_equal(tern_image_fit(&out, &src, 100, 100, TERN_FIT_CROP, 0, TERN_FILTER_AUTO, NULL, &err),
                     TERN_LIMIT_EXCEEDED);
    assert_non_null(strstr(err.text, "400000 x 100"));
    tern_image_release(&src);
}

static int run_pipe(void) {
    char line[200];
    while (fgets(line, sizeof line, stdin)) {
        int n[7]; /* w h W H fit side filter */
        char *p = line;
        for (size_t i = 0; i < TN_COUNT(n); i++) n[i] = (int)strtol(p, &p, 10);
        tern_image src, out;
        if (*p != '\n' || tern_image_create(&src, n[0], n[1], NULL) != TERN_OK) return 1;
        size_t pixels = (size_t)n[0] * (size_t)n[1];
        if (fread(src.data, 3, pixels, stdin) != pixels) return 1;
        if (tern_image_fit(&out, &src, n[2], n[3], (tern_fit)n[4], n[5], (tern_filter)n[6], NULL, NULL) != TERN_OK)
            return 1;
        fwrite(out.data, 3, (size_t)out.width * (size_t)out.height, stdout);
        fflush(stdout);
        tern_image_release(&src);
        tern_image_release(&out);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--pipe") == 0) return run_pipe();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_is_bilinear),
        cmocka_unit_test(area_is_the_mean),
        cmocka_unit_test(auto_averages_only_below_half),
        cmocka_unit_test(same_size_is_a_copy),
        cmocka_unit_test(letterbox_has_bars),
        cmocka_unit_test(crop_takes_the_middle),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
