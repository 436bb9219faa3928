/* Every picture of tests/data/images against the pixels it was made from, and broken ones against an error. Run from
 * the root of the repository. */
#include "test_util.h"

#include "vision/image/image.h"

#define IMAGES "tests/data/images/"

static bool in_this_build(const char *name) {
    tern_image_format formats[TERN_IMAGE_FORMATS];
    tern_image_formats(formats);
    tn_file file;
    assert_int_equal(tn_file_map(&file, name, NULL), TERN_OK);
    const char *format = tern_image_format_of(file.data, file.size);
    tn_file_unmap(&file);
    assert_non_null(format);
    for (size_t i = 0; i < TERN_IMAGE_FORMATS; i++) {
        if (strcmp(formats[i].name, format) == 0) return formats[i].library != NULL;
    }
    return false;
}

static void compare(const char *name, const char *reference, int tolerance) {
    char path[200], reference_path[200];
    snprintf(path, sizeof path, IMAGES "%s", name);
    snprintf(reference_path, sizeof reference_path, IMAGES "%s", reference);
    if (!in_this_build(path)) {
        print_message("# no library for %s in this build\n", name);
        return;
    }
    tern_image have, want;
    tern_error err;
    if (tern_image_load(&have, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(tern_image_load(&want, reference_path, NULL, &err), TERN_OK);
    if (have.width != want.width || have.height != want.height) {
        fail_msg("%s: %d x %d, not %d x %d", name, have.width, have.height, want.width, want.height);
    }
    for (size_t i = 0; i < (size_t)want.width * (size_t)want.height * 3; i++) {
        int difference = abs(have.data[i] - want.data[i]);
        if (difference > tolerance) fail_msg("%s: byte %zu is %d, not %d", name, i, have.data[i], want.data[i]);
    }
    tern_image_release(&have);
    tern_image_release(&want);
}

/* The next line of expected.txt; name and reference point into `line`. */
static bool next_picture(FILE *list, char line[300], char **name, char **reference, int *tolerance) {
    if (!fgets(line, 300, list)) return false;
    char *rest = NULL;
    *name = strtok_r(line, " \n", &rest);
    *reference = strtok_r(NULL, " \n", &rest);
    const char *number = strtok_r(NULL, " \n", &rest);
    assert_non_null(number);
    *tolerance = (int)strtol(number, NULL, 10);
    return true;
}

static void all_pictures(void **state) {
    (void)state;
    FILE *list = fopen(IMAGES "expected.txt", "r");
    assert_non_null(list);
    char line[300], *name, *reference;
    int tolerance, count = 0;
    while (next_picture(list, line, &name, &reference, &tolerance)) {
        compare(name, reference, tolerance);
        count++;
    }
    fclose(list);
    assert_true(count > 80);
}

/* The pixels of the references themselves, which the reader of PPM gives: a few, by the formula that made them. */
static void reference_pixels(void **state) {
    (void)state;
    tern_image m;
    assert_int_equal(tern_image_load(&m, IMAGES "rgb.ppm", NULL, NULL), TERN_OK);
    assert_int_equal(m.width, 23);
    assert_int_equal(m.height, 17);
    const uint8_t first[] = {40, 220, 60}, last[] = {240, 40, 180};
    assert_memory_equal(m.data, first, 3);
    assert_memory_equal(m.data + (23 * 17 - 1) * 3, last, 3);
    tern_image_release(&m);
}

static void orientation_can_be_ignored(void **state) {
    (void)state;
    if (!in_this_build(IMAGES "orient6.tif")) tt_skip("this build reads no TIFF");
    tern_image m;
    tern_image_options options = {.ignore_orientation = true};
    assert_int_equal(tern_image_load(&m, IMAGES "orient6.tif", &options, NULL), TERN_OK);
    assert_int_equal(m.width, 17);
    assert_int_equal(m.height, 23);
    tern_image_release(&m);
}

/* No prefix of a file may crash, leak or hang; nearly all are errors, with a text. */
static void truncated_pictures(void **state) {
    (void)state;
    static const char *const names[] = {
        "rgb24.bmp",       "rle8.bmp",       "pal4.bmp", "rgb8.png",           "pal4_interlaced.png", "rgb420.jpg",
        "progressive.jpg", "lossy.webp",     "rgb.jp2",  "rgb_codestream.j2k", "lossy.jp2",           "animated.webp",
        "plain.gif",       "rgb8_tiled.tif", "lzw.tif",  "raw16.ppm",          "plain.ppm",           "rgba.pam"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        char path[200];
        snprintf(path, sizeof path, IMAGES "%s", names[i]);
        tn_file file;
        assert_int_equal(tn_file_map(&file, path, NULL), TERN_OK);
        size_t step = file.size / 150 + 1, good = 0, tried = 0;
        for (size_t n = 0; n < file.size; n += step, tried++) {
            uint8_t *copy = malloc(n + 1);
            memcpy(copy, file.data, n);
            tern_image m;
            tern_error err = {.text = ""};
            if (tern_image_decode(&m, copy, n, NULL, &err) == TERN_OK) {
                good++;
            } else {
                assert_null(m.data);
                assert_true(err.text[0] != '\0');
                assert_null(strchr(err.text, '\n'));
            }
            tern_image_release(&m);
            free(copy);
        }
        /* What may be missing is an end mark. */
        if (good * 20 > tried) fail_msg("%s: %zu of %zu truncated files were read", names[i], good, tried);
        tn_file_unmap(&file);
    }
}

/* Random bytes in the place of some. Only that it comes back matters (and the sanitizers). */
static void damaged_pictures(void **state) {
    (void)state;
    FILE *list = fopen(IMAGES "expected.txt", "r");
    assert_non_null(list);
    tt_rng rng = tt_rng_init(3);
    char line[300], *name, *reference;
    int tolerance;
    while (next_picture(list, line, &name, &reference, &tolerance)) {
        char path[200];
        snprintf(path, sizeof path, IMAGES "%s", name);
        tn_file file;
        assert_int_equal(tn_file_map(&file, path, NULL), TERN_OK);
        uint8_t *copy = malloc(file.size);
        for (int round = 0; round < 40; round++) {
            memcpy(copy, file.data, file.size);
            size_t reach = round % 2 ? file.size : TN_MIN(file.size, (size_t)64);
            for (int k = 0; k <= round % 5; k++) copy[tt_random_below(&rng, reach)] = (uint8_t)tt_random(&rng);
            tern_image m;
            tern_image_options options = {.max_pixels = 1 << 20};
            tern_image_decode(&m, copy, file.size, &options, NULL);
            tern_image_release(&m);
        }
        free(copy);
        tn_file_unmap(&file);
    }
    fclose(list);
}

static void expect_error(const void *data, size_t size, tern_status status, const char *text) {
    tern_image m;
    tern_error err;
    tern_status have = tern_image_decode(&m, data, size, NULL, &err);
    if (have != status || !strstr(err.text, text)) fail_msg("%d '%s', not %d '%s'", have, err.text, status, text);
    assert_null(m.data);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    expect_error("", 0, TERN_INVALID_FORMAT, "empty");
    expect_error("hello, world", 12, TERN_INVALID_FORMAT, "not a picture of a known format");
    expect_error("P6 70000 1 255\n", 15, TERN_LIMIT_EXCEEDED, "70000 x 1");
    expect_error("P6 60000 60000 255\n", 19, TERN_LIMIT_EXCEEDED, "60000 x 60000");
    expect_error("P6 0 5 255\n", 11, TERN_INVALID_FORMAT, "0 x 5");
    expect_error("P6 99999999999999999999 5 255\n", 30, TERN_LIMIT_EXCEEDED, "x 5");
    expect_error("P6 2 2 70000\n", 13, TERN_INVALID_FORMAT, "70000");
    expect_error("P6 2 2 255\nabc", 14, TERN_INVALID_FORMAT, "truncated");
    expect_error("P7\nWIDTH 2\nFOO 3\nENDHDR\n", 24, TERN_INVALID_FORMAT, "header");
    expect_error("BM", 2, TERN_INVALID_FORMAT, "header");
}

static void missing_file_is_named(void **state) {
    (void)state;
    tern_image m;
    tern_error err;
    assert_int_equal(tern_image_load(&m, "no/such.jpg", NULL, &err), TERN_IO);
    assert_non_null(strstr(err.text, "no/such.jpg"));
}

/* A BMP header that asks for 30000 x 30000 pixels in a file of 60 bytes, within and above a raised limit. */
static void size_without_data(void **state) {
    (void)state;
    uint8_t bmp[60] = {'B', 'M'};
    bmp[10] = 54;
    bmp[14] = 40;
    bmp[18] = bmp[22] = 0x30;
    bmp[19] = bmp[23] = 0x75;
    bmp[26] = 1;
    bmp[28] = 24;
    expect_error(bmp, sizeof bmp, TERN_LIMIT_EXCEEDED, "30000 x 30000");
    bmp[19] = bmp[23] = 0x01;
    expect_error(bmp, sizeof bmp, TERN_INVALID_FORMAT, "truncated");
    bmp[28] = 7;
    expect_error(bmp, sizeof bmp, TERN_INVALID_FORMAT, "7 bits");
    bmp[28] = 24;
    bmp[30] = 4;
    expect_error(bmp, sizeof bmp, TERN_INVALID_FORMAT, "compression 4");
}

static void no_allocation_is_left(void **state) {
    (void)state;
    assert_int_equal(tn_alloc_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pictures),
        cmocka_unit_test(reference_pixels),
        cmocka_unit_test(orientation_can_be_ignored),
        cmocka_unit_test(truncated_pictures),
        cmocka_unit_test(damaged_pictures),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(missing_file_is_named),
        cmocka_unit_test(size_without_data),
        cmocka_unit_test(no_allocation_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
