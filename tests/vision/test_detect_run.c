/* From a picture to boxes in its pixels: letterbox, detector, masks, and what is drawn and written. */
#include "test_util.h"

#include <math.h>

#include "model_builder.h"
#include "vision/detect/detect.h"
#include "vision/detect/letterbox.h"
#include "vision/draw/draw.h"
#include "vision/torch/torch_internal.h"

static tern_image picture(int width, int height, uint64_t seed) {
    tern_image image;
    assert_int_equal(tern_image_create(&image, width, height, NULL), TERN_OK);
    tt_rng rng = tt_rng_init(seed);
    tt_fill_bytes(&rng, image.data, (size_t)width * (size_t)height * 3);
    return image;
}

static const uint8_t *pixel(const tern_image *image, int x, int y) {
    return image->data + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

static bool is_grey(const tern_image *image, int x, int y) {
    const uint8_t *p = pixel(image, x, y);
    return p[0] == 114 && p[1] == 114 && p[2] == 114;
}

/* ---- letterbox --------------------------------------------------------------------------------------------------- */

/* Expected by YOLOv5's formulas, worked out by hand. */
static void letterbox_geometry(void **state) {
    (void)state;
    static const struct {
        int w, h;
        tern_letterbox_options o;
        int out_w, out_h, left, top, inner_w, inner_h;
    } cases[] = {
        {810, 1080, {.width = 640, .height = 640}, 640, 640, 80, 0, 480, 640},
        {810, 1080, {.width = 640, .height = 640, .stride = 32}, 480, 640, 0, 0, 480, 640},
        {1280, 720, {.width = 640, .height = 640}, 640, 640, 0, 140, 640, 360},
        {1280, 720, {.width = 640, .height = 640, .stride = 32}, 640, 384, 0, 12, 640, 360},
        {100, 33, {.width = 64, .height = 64}, 64, 64, 0, 21, 64, 21}, /* 43 left over: 21 above, 22 below */
        {100, 33, {.width = 64, .height = 64, .stride = 32}, 64, 32, 0, 5, 64, 21}, /* 11 left over: 5 above */
        {200, 101, {.width = 100, .height = 100}, 100, 100, 0, 25, 100, 50},        /* 50.5 rounds to even, 50 */
        {200, 103, {.width = 100, .height = 100}, 100, 100, 0, 24, 100, 52},        /* 51.5 rounds to even, 52 */
        {10, 20, {.width = 64, .height = 64}, 64, 64, 16, 0, 32, 64},               /* grows */
        {1000, 2, {.width = 64, .height = 64}, 64, 64, 0, 31, 64, 1},               /* never nothing */
        {1280, 720, {.width = 640, .height = 640, .corner = true}, 640, 640, 0, 0, 640, 360},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_image src = picture(cases[i].w, cases[i].h, i + 1), out, inner;
        tern_placement place;
        assert_int_equal(tern_letterbox(&out, &src, &cases[i].o, &place, NULL), TERN_OK);
        assert_int_equal(out.width, cases[i].out_w);
        assert_int_equal(out.height, cases[i].out_h);
        assert_true(place.offset_x == cases[i].left && place.offset_y == cases[i].top);
        assert_true(place.scale_x == (double)cases[i].inner_w / cases[i].w);
        assert_true(place.scale_y == (double)cases[i].inner_h / cases[i].h);
        assert_int_equal(tern_image_resize(&inner, &src, cases[i].inner_w, cases[i].inner_h, TERN_FILTER_LINEAR, NULL),
                         TERN_OK);
        for (int y = 0; y < out.height; y++) {
            for (int x = 0; x < out.width; x++) {
                int ix = x - cases[i].left, iy = y - cases[i].top;
                bool inside = ix >= 0 && iy >= 0 && ix < inner.width && iy < inner.height;
                if (inside) {
                    assert_memory_equal(pixel(&out, x, y), pixel(&inner, ix, iy), 3);
                } else {
                    assert_true(is_grey(&out, x, y));
                }
            }
        }
        tern_image_release(&inner);
        tern_image_release(&out);
        tern_image_release(&src);
    }
    tern_image none = {0}, out;
    tern_placement place;
    assert_int_equal(tern_letterbox(&out, &none, &cases[0].o, &place, NULL), TERN_INVALID_ARGUMENT);
}

/* (1, 3, 640, 640) bytes from images.npy in an .npz; NULL: this build can not inflate. */
static uint8_t *load_npz(const char *path, size_t size) {
    tn_file file;
    assert_int_equal(tn_file_map(&file, path, NULL), TERN_OK);
    tn_zip zip;
    assert_int_equal(tn_zip_open(&zip, file.data, file.size, NULL), TERN_OK);
    const tn_zip_entry *entry = tn_zip_find(&zip, tn_str_c("images.npy"));
    assert_non_null(entry);
    const uint8_t *bytes;
    uint8_t *owned;
    tern_status status = tn_zip_read(&zip, entry, (uint64_t)1 << 30, &bytes, &owned, NULL);
    assert_true(status == TERN_OK || status == TERN_UNSUPPORTED);
    assert_true(entry->size > size);
    uint8_t *data = status == TERN_OK ? malloc(size) : NULL;
    if (data) memcpy(data, bytes + entry->size - size, size); /* after the header */
    if (status == TERN_OK) tn_free(owned);
    tn_zip_release(&zip);
    tn_file_unmap(&file);
    return data;
}

/* The exact inputs that OpenCV and YOLOv5's letterbox made: bit for bit. */
static void letterbox_of_the_original(void **state) {
    (void)state;
    const char *shared = tt_shared_dir();
    if (!shared) tt_skip("no shared data");
    static const char *const names[] = {"bus", "zidane"};
    const size_t plane = 640 * 640;
    for (int i = 0; i < 2; i++) {
        char path[600], npz[600];
        snprintf(path, sizeof path, "%s/images/%s.jpg", shared, names[i]);
        snprintf(npz, sizeof npz, "%s/models/yolov5/letterbox_%s_640.npz", shared, names[i]);
        if (access(path, R_OK) || access(npz, R_OK)) tt_skip("no shared letterboxed pictures");
        tern_image src, out;
        assert_int_equal(tern_image_load(&src, path, NULL, NULL), TERN_OK);
        tern_placement place;
        const tern_letterbox_options o = {.width = 640, .height = 640};
        assert_int_equal(tern_letterbox(&out, &src, &o, &place, NULL), TERN_OK);
        uint8_t *want = load_npz(npz, 3 * plane);
        if (!want) {
            tern_image_release(&src);
            tern_image_release(&out);
            skip();
        }
        size_t different = 0;
        int most = 0;
        for (size_t k = 0; k < plane; k++) {
            for (size_t c = 0; c < 3; c++) {
                int d = abs(out.data[3 * k + c] - want[c * plane + k]);
                different += d > 0;
                most = d > most ? d : most;
            }
        }
        print_message("# %s: %zu of %zu values differ, by %d at most\n", names[i], different, 3 * plane, most);
        assert_int_equal(different, 0);
        free(want);
        tern_image_release(&src);
        tern_image_release(&out);
    }
}

/* ---- the detector ------------------------------------------------------------------------------------------------ */

typedef struct network {
    tern_model *model;
    tern_session *session;
    tern_detector detector;
} network;

/* "tests/data/detect/<name>.onnx". */
static network load(const char *name, const tern_detect_options *options) {
    char path[600];
    snprintf(path, sizeof path, "%s/tests/data/detect/%s.onnx", TERN_SOURCE_DIR, name);
    network n = {0};
    tern_error err = {0};
    assert_int_equal(tern_model_load(&n.model, path, NULL, &err), TERN_OK);
    assert_int_equal(tern_session_create(&n.session, n.model, NULL, &err), TERN_OK);
    tern_status status = tern_detector_init(&n.detector, n.model, n.session, options, &err);
    if (status != TERN_OK) print_message("# %s\n", err.text);
    assert_int_equal(status, TERN_OK);
    return n;
}

static void unload(network *n) {
    tern_session_free(n->session);
    tern_model_free(n->model);
}

static void assert_detection(const tern_detection *d, double x1, double y1, double x2, double y2, double score,
                             int cls) {
    assert_true(fabs((double)d->box.x1 - x1) < 1e-3 && fabs((double)d->box.y1 - y1) < 1e-3);
    assert_true(fabs((double)d->box.x2 - x2) < 1e-3 && fabs((double)d->box.y2 - y2) < 1e-3);
    assert_true(fabs((double)d->score - score) < 1e-6);
    assert_int_equal(d->cls, cls);
}

/* 256 x 128 in 64 x 64: scaled by 1/4, 16 pixels of bar above. */
static void boxes_in_the_picture(void **state) {
    (void)state;
    tern_detect_options options;
    tern_detect_options_init(&options);
    options.names = 2;
    network n = load("plain", &options);
    tern_image image = picture(256, 128, 1);
    tern_detections d;
    assert_int_equal(tern_detector_run(&n.detector, &image, &d, NULL), TERN_OK);
    assert_int_equal(d.count, 2);
    assert_detection(&d.items[0], 64, 32, 192, 96, (double)(0.9f * 0.8f), 0);
    assert_detection(&d.items[1], 64, 36, 192, 100, (double)(0.7f * 0.9f), 1);
    tern_detections_release(&d);
    tern_image_release(&image);
    /* Wide and flat: the box reaches over the picture, and is cut. */
    image = picture(640, 80, 2);
    assert_int_equal(tern_detector_run(&n.detector, &image, &d, NULL), TERN_OK);
    assert_detection(&d.items[0], 160, 0, 480, 80, (double)(0.9f * 0.8f), 0);
    tern_detections_release(&d);
    tern_image_release(&image);
    unload(&n);
    options.agnostic = true;
    n = load("plain", &options);
    image = picture(64, 64, 3);
    assert_int_equal(tern_detector_run(&n.detector, &image, &d, NULL), TERN_OK);
    assert_int_equal(d.count, 1);
    tern_detections_release(&d);
    tern_image_release(&image);
    unload(&n);
}

static void rectangle(void **state) {
    (void)state;
    tern_detect_options options;
    tern_detect_options_init(&options);
    options.rect = true;
    options.width = options.height = 64;
    network n = load("free", &options);
    tern_image image = picture(256, 120, 1);
    tern_detections d;
    assert_int_equal(tern_detector_run(&n.detector, &image, &d, NULL), TERN_OK);
    /* 64 x 30 in 64 x 32: a bar of one pixel above. */
    assert_int_equal(n.detector.hints.width, 64);
    assert_int_equal(n.detector.hints.height, 32);
    assert_detection(&d.items[0], 64, (24 - 1) * 4, 192, 120, (double)(0.9f * 0.8f), 0);
    tern_detections_release(&d);
    tern_image_release(&image);
    unload(&n);
    /* A fixed input has no other form. */
    char path[600];
    snprintf(path, sizeof path, "%s/tests/data/detect/plain.onnx", TERN_SOURCE_DIR);
    assert_int_equal(tern_model_load(&n.model, path, NULL, NULL), TERN_OK);
    assert_int_equal(tern_session_create(&n.session, n.model, NULL, NULL), TERN_OK);
    assert_int_equal(tern_detector_init(&n.detector, n.model, n.session, &options, NULL), TERN_SHAPE_MISMATCH);
    unload(&n);
}

static void landmarks(void **state) {
    (void)state;
    tern_detect_options options;
    tern_detect_options_init(&options);
    options.names = 1;
    network n = load("face", &options);
    tern_image image = picture(128, 64, 1); /* scaled by 1/2, 16 pixels of bar above */
    tern_detections d;
    assert_int_equal(tern_detector_run(&n.detector, &image, &d, NULL), TERN_OK);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.points, 5);
    static const float want[] = {48, 16, 80, 16, 64, 32, 52, 48, 76, 48};
    for (int i = 0; i < 10; i++) assert_true(fabsf(d.landmarks[i] - want[i]) < 1e-3f);
    tern_detections_release(&d);
    tern_image_release(&image);
    unload(&n);
}

/* A network of constants: `outputs` of them, each a float constant that does not depend on the picture. */
static network constants(mb *b, const tern_detect_options *options, int outputs) {
    static const char *const names[] = {"output0", "output1"};
    network n = {0};
    mb_scalar(b, "zero", 0);
    mb_node(b, "ReduceMean", "images", "mean");
    mb_node(b, "Reshape", "mean one", "flat");
    mb_node(b, "Mul", "flat zero", "nothing");
    for (int i = 0; i < outputs; i++) {
        mb_node(b, "Add", i ? "c1 nothing" : "c0 nothing", names[i]);
        mb_output(b, names[i]);
    }
    n.model = mb_end(b);
    tern_error err = {0};
    if (tern_session_create(&n.session, n.model, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    if (tern_detector_init(&n.detector, n.model, n.session, options, &err) != TERN_OK) fail_msg("%s", err.text);
    return n;
}

static void begin_network(mb *b) {
    mb_begin(b, 13);
    mb_input(b, "images", TERN_FLOAT, 4, (int64_t[]){1, 3, 64, 64});
    mb_int64s(b, "one", 1, (int64_t[]){1});
}

/* A mask that is the left half of the picture: prototype 0 is -4 left and 4 right, its coefficient -1. */
static void masks(void **state) {
    (void)state;
    mb b;
    begin_network(&b);
    enum { ROWS = 3 * 84, NUMBERS = 5 + 1 + 2 };
    static float rows[ROWS * NUMBERS], proto[2 * 16 * 16];
    static const float row[NUMBERS] = {32, 32, 40, 20, 0.9f, 0.9f, -1, 0};
    memcpy(rows, row, sizeof row);
    for (int i = 0; i < 2 * 16 * 16; i++) proto[i] = i % 16 < 8 ? -4 : 4;
    mb_floats(&b, "c0", 3, (int64_t[]){1, ROWS, NUMBERS}, rows);
    mb_floats(&b, "c1", 4, (int64_t[]){1, 2, 16, 16}, proto);
    tern_detect_options options;
    tern_detect_options_init(&options);
    network n = constants(&b, &options, 2);
    tern_image image = picture(128, 128, 1);
    tern_detections d;
    tern_error err = {0};
    if (tern_detector_run(&n.detector, &image, &d, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(d.count, 1);
    assert_detection(&d.items[0], 24, 44, 104, 84, (double)(0.9f * 0.9f), 0);
    assert_non_null(d.masks);
    uint8_t line[128];
    for (int y = 0; y < 128; y++) {
        tern_mask_row(&d, 0, y, 0, 128, line);
        for (int x = 0; x < 128; x++) assert_int_equal(line[x], y >= 44 && y < 84 && x >= 24 && x < 64);
    }
    if (tern_draw_library()) { /* drawn: the left half of the box changes, what is outside does not */
        tern_image drawn = picture(128, 128, 1);
        tern_draw_options draw = {.no_labels = true};
        assert_int_equal(tern_draw_detections(&drawn, &d, &draw, NULL), TERN_OK);
        assert_memory_not_equal(pixel(&drawn, 40, 60), pixel(&image, 40, 60), 3);
        assert_memory_equal(pixel(&drawn, 80, 60), pixel(&image, 80, 60), 3);
        assert_memory_equal(pixel(&drawn, 10, 60), pixel(&image, 10, 60), 3);
        tern_image_release(&drawn);
    }
    tern_detections_release(&d);
    tern_image_release(&image);
    unload(&n);
}

static void classifier(void **state) {
    (void)state;
    for (int probabilities = 0; probabilities < 2; probabilities++) {
        mb b;
        begin_network(&b);
        static const float logits[4] = {1, 3, -2, 0}, parts[4] = {0.1f, 0.6f, 0.1f, 0.2f};
        mb_floats(&b, "c0", 2, (int64_t[]){1, 4}, probabilities ? parts : logits);
        tern_detect_options options;
        tern_detect_options_init(&options);
        network n = constants(&b, &options, 1);
        tern_image image = picture(50, 70, 1);
        tern_detections d;
        assert_int_equal(tern_detector_run(&n.detector, &image, &d, NULL), TERN_OK);
        assert_int_equal(d.n_class_scores, 4);
        double sum = exp(1) + exp(3) + exp(-2) + 1;
        for (int i = 0; i < 4; i++) {
            double want = probabilities ? (double)parts[i] : exp((double)logits[i]) / sum;
            assert_true(fabs((double)d.class_scores[i] - want) < 1e-6);
        }
        tern_detections_release(&d);
        tern_image_release(&image);
        unload(&n);
    }
}

/* ---- drawing and writing ------------------------------------------------------------------------------------------
 */

static int difference(tern_color a, tern_color b) { return abs(a.r - b.r) + abs(a.g - b.g) + abs(a.b - b.b); }

static double channel(uint8_t v) {
    double s = v / 255.0;
    return s <= 0.04045 ? s / 12.92 : pow((s + 0.055) / 1.055, 2.4);
}
static double brightness(tern_color c) { return 0.2126 * channel(c.r) + 0.7152 * channel(c.g) + 0.0722 * channel(c.b); }

static void colors(void **state) {
    (void)state;
    for (int i = 0; i < 80; i++) {
        tern_color a = tern_class_color(i), text = tern_text_color(a);
        for (int k = 0; k < i; k++) assert_true(difference(a, tern_class_color(k)) > 8);
        for (int k = i + 1; k < i + 8; k++) assert_true(difference(a, tern_class_color(k)) > 60);
        double light = fmax(brightness(a), brightness(text)), dark = fmin(brightness(a), brightness(text));
        assert_true((light + 0.05) / (dark + 0.05) >= 4.5);
    }
    tern_class_color(INT32_MAX);
}

/* Boxes of every kind, on backgrounds of every kind: no error, and the box can be seen. */
static void drawing(void **state) {
    (void)state;
    if (!tern_draw_library()) tt_skip("this build has no cairo");
    const tern_detection odd[] = {{.box = {20, 30, 80, 60}, .score = 0.9f, .cls = 2},
                                  {.box = {0, 0, 100, 90}, .score = 0.8f, .cls = 0},
                                  {.box = {50, 50, 50, 50}, .score = 0.7f, .cls = 1},
                                  {.box = {99, 89, 100, 90}, .score = 0.5f, .cls = 900000}};
    tern_detections d = {.items = (tern_detection *)(uintptr_t)odd, .count = 4, .width = 100, .height = 90};
    static const char *const names[] = {"a very long name that does not fit into the picture at all, whatever happens",
                                        "\xff\xfe not UTF-8", "\xc3\xa9t\xc3\xa9"};
    for (int level = 0; level <= 255; level += 51) {
        tern_image image;
        assert_int_equal(tern_image_create(&image, 100, 90, NULL), TERN_OK);
        memset(image.data, level, 100 * 90 * 3);
        tern_draw_options options = {.names = names, .n_names = 3};
        tern_error err = {0};
        if (tern_draw_detections(&image, &d, &options, &err) != TERN_OK) fail_msg("%s", err.text);
        int most = 0;
        for (int x = 15; x < 25; x++) {
            const uint8_t *p = pixel(&image, x, 45);
            most = TN_MAX(most, abs(p[0] - level) + abs(p[1] - level) + abs(p[2] - level));
        }
        assert_true(most > 100);
        tern_image_release(&image);
    }
    tern_image other = picture(10, 10, 1);
    tern_draw_options options = {0};
    assert_int_equal(tern_draw_detections(&other, &d, &options, NULL), TERN_INVALID_ARGUMENT);
    tern_image_release(&other);
}

static void written_and_read(void **state) {
    (void)state;
    static const char *const endings[] = {".png", ".ppm", ".PNG", ".jpg"};
    tern_image image;
    assert_int_equal(tern_image_create(&image, 61, 37, NULL), TERN_OK);
    for (int y = 0; y < 37; y++) {
        for (int x = 0; x < 61; x++) {
            uint8_t *p = image.data + (y * 61 + x) * 3;
            p[0] = (uint8_t)(x * 4);
            p[1] = (uint8_t)(y * 6);
            p[2] = (uint8_t)(x + y);
        }
    }
    tt_temp folder = tt_temp_dir();
    for (size_t i = 0; i < 4; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/picture%s", folder.path, endings[i]);
        tern_error err = {0};
        tern_status status = tern_image_save(&image, path, 95, &err);
        if (status == TERN_UNSUPPORTED) continue; /* a build without the library says so */
        assert_int_equal(status, TERN_OK);
        tern_image back;
        assert_int_equal(tern_image_load(&back, path, NULL, &err), TERN_OK);
        assert_int_equal(back.width, 61);
        assert_int_equal(back.height, 37);
        for (size_t k = 0; k < 61 * 37 * 3; k++) assert_true(abs(back.data[k] - image.data[k]) <= (i == 3 ? 16 : 0));
        tern_image_release(&back);
        unlink(path);
    }
    assert_int_equal(tern_image_save(&image, "picture.gif", 90, NULL), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_image_save(&image, "/no/such/folder/x.ppm", 90, NULL), TERN_IO);
    assert_true(tern_image_can_save("a.b.JPeG"));
    assert_false(tern_image_can_save("jpg"));
    tt_temp_remove_dir(&folder);
    tern_image_release(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(letterbox_geometry),
                                       cmocka_unit_test(letterbox_of_the_original),
                                       cmocka_unit_test(boxes_in_the_picture),
                                       cmocka_unit_test(rectangle),
                                       cmocka_unit_test(landmarks),
                                       cmocka_unit_test(masks),
                                       cmocka_unit_test(classifier),
                                       cmocka_unit_test(colors),
                                       cmocka_unit_test(drawing),
                                       cmocka_unit_test(written_and_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
