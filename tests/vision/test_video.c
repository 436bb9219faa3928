/* Videos written and read again, without anything but the two. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vision/video/video.h"

enum { WIDTH = 64, HEIGHT = 48, FRAMES = 12 };

static char folder[] = "/tmp/tern-video-XXXXXX";

static const char *path_of(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static bool there_is_video(void) {
    if (!tern_video_library()) print_message("this build has no video support\n");
    return tern_video_library() != NULL;
}

/* Grey, a step brighter in each frame; the right half red. */
static void paint(tern_image *image, int frame) {
    for (int y = 0; y < image->height; y++) {
        for (int x = 0; x < image->width; x++) {
            uint8_t *p = image->data + 3 * ((size_t)y * (size_t)image->width + (size_t)x);
            p[0] = p[1] = p[2] = (uint8_t)(20 + 15 * frame);
            if (x >= image->width / 2) {
                p[0] = 200;
                p[1] = p[2] = 30;
            }
        }
    }
}

static int64_t time_of(int frame) { return frame * 100 + (frame % 3) * 7; }

static void write_video(const char *path, tern_video_rate unit) {
    const tern_video_info info = {
        .width = WIDTH, .height = HEIGHT, .fps = {10, 1}, .unit = unit, .aspect = {4, 3}, .frames = 0};
    tern_video_writer *w;
    tern_image image;
    tern_error err;
    assert_int_equal(tern_image_create(&image, WIDTH, HEIGHT, &err), TERN_OK);
    assert_int_equal(tern_video_create(&w, path, &info, &err), TERN_OK);
    for (int i = 0; i < FRAMES; i++) {
        paint(&image, i);
        assert_int_equal(tern_video_write(w, &image, time_of(i), &err), TERN_OK);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    tern_image wrong;
    assert_int_equal(tern_image_create(&wrong, WIDTH, HEIGHT + 2, &err), TERN_OK);
    assert_int_equal(tern_video_write(w, &wrong, 5000, &err), TERN_SHAPE_MISMATCH);
    tern_image_release(&wrong);
    assert_int_equal(tern_video_finish(&w, &err), TERN_OK);
    assert_null(w);
    assert_int_equal(access(path, F_OK), 0);
    tern_image_release(&image);
}

static void assert_color(const tern_image *image, int x, int r, int g, int b) {
    const uint8_t *p = image->data + 3 * ((size_t)(HEIGHT / 2) * WIDTH + (size_t)x);
    assert_in_range(p[0] + 12 - r, 0, 24);
    assert_in_range(p[1] + 12 - g, 0, 24);
    assert_in_range(p[2] + 12 - b, 0, 24);
}

static void test_round_trip(void **state) {
    (void)state;
    static const char *const names[] = {"a.mp4", "a.mkv", "a.MOV"};
    if (!there_is_video()) skip();
    for (size_t k = 0; k < TN_COUNT(names); k++) {
        const char *path = path_of(names[k]);
        tern_error err;
        tern_video_reader *r;
        write_video(path, (tern_video_rate){1, 1000});
        assert_int_equal(tern_video_open(&r, path, NULL, &err), TERN_OK);
        const tern_video_info *info = tern_video_get_info(r);
        assert_int_equal(info->width, WIDTH);
        assert_int_equal(info->height, HEIGHT);
        assert_int_equal(info->aspect.num * 3, info->aspect.den * 4);
        tern_video_frame frame = {0};
        bool got = true;
        for (int i = 0; i <= FRAMES; i++) {
            assert_int_equal(tern_video_read(r, &frame, &got, &err), TERN_OK);
            assert_int_equal(got, i < FRAMES);
            if (!got) break;
            assert_true(llround(frame.seconds * 1000) == time_of(i));
            assert_color(&frame.image, WIDTH / 4, 20 + 15 * i, 20 + 15 * i, 20 + 15 * i);
            assert_color(&frame.image, WIDTH * 3 / 4, 200, 30, 30);
        }
        assert_int_equal(tern_video_damaged(r), 0);
        tern_image_release(&frame.image);
        tern_video_close(r);
        unlink(path);
    }
}

static void test_abandoned(void **state) {
    (void)state;
    if (!there_is_video()) skip();
    const tern_video_info info = {
        .width = WIDTH, .height = HEIGHT, .fps = {0, 1}, .unit = {1, 90000}, .aspect = {1, 1}};
    tern_video_writer *w;
    tern_error err;
    tern_image image;
    assert_int_equal(tern_image_create(&image, WIDTH, HEIGHT, &err), TERN_OK);
    assert_int_equal(tern_video_create(&w, path_of("gone.avi"), &info, &err), TERN_OK);
    assert_int_equal(tern_video_write(w, &image, 0, &err), TERN_OK);
    tern_video_abandon(w); /* remove_folder fails if anything is left */
    tern_image_release(&image);
    assert_int_equal(tern_video_create(&w, path_of("a.txt"), &info, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_video_create(&w, folder, &info, &err), TERN_INVALID_ARGUMENT);
    assert_int_equal(tern_video_create(&w, path_of("no/a.mp4"), &info, &err), TERN_IO);
}

static bool stop_at_once(void *context) {
    ++*(int *)context;
    return true;
}

static void test_stop_and_limit(void **state) {
    (void)state;
    if (!there_is_video()) skip();
    const char *path = path_of("b.mp4");
    int asked = 0;
    tern_error err;
    tern_video_reader *r;
    tern_video_frame frame = {0};
    bool got = true;
    write_video(path, (tern_video_rate){1, 1000});
    tern_video_options options = {.max_pixels = WIDTH * HEIGHT - 1};
    assert_int_equal(tern_video_open(&r, path, &options, &err), TERN_LIMIT_EXCEEDED);
    assert_null(r);
    options = (tern_video_options){.max_pixels = WIDTH * HEIGHT, .stop = stop_at_once, .context = &asked};
    if (tern_video_open(&r, path, &options, &err) == TERN_OK) { /* some demuxers ask while they open */
        assert_int_equal(tern_video_read(r, &frame, &got, &err), TERN_OK);
        assert_false(got);
        tern_video_close(r);
    }
    assert_true(asked > 0);
    unlink(path);
}

/* Every prefix and every damaged byte ends: with frames, or with an error that has a text. */
static void test_damage(void **state) {
    (void)state;
    if (!there_is_video()) skip();
    const char *path = path_of("c.mkv");
    write_video(path, (tern_video_rate){1, 1000});
    tn_file file;
    tern_error err;
    assert_int_equal(tn_file_map(&file, path, &err), TERN_OK);
    size_t size = file.size;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    memcpy(bytes, file.data, size);
    tn_file_unmap(&file);
    for (size_t i = 0; i < 60; i++) {
        size_t at = (i * 2654435761u) % size;
        bool cut = i % 3 == 0;
        uint8_t old = bytes[at];
        bytes[at] = (uint8_t)(old ^ 0x5a);
        assert_int_equal(tn_file_write(path, bytes, cut ? at : size, &err), TERN_OK);
        bytes[at] = old;
        tern_video_reader *r;
        tern_video_frame frame = {0};
        bool got = true;
        err.text[0] = 0;
        if (tern_video_open(&r, path, NULL, &err) != TERN_OK) {
            assert_true(err.text[0]);
            continue;
        }
        int frames = 0;
        while (tern_video_read(r, &frame, &got, &err) == TERN_OK && got) frames++;
        assert_true(frames <= 2 * FRAMES);
        tern_image_release(&frame.image);
        tern_video_close(r);
    }
    free(bytes);
    unlink(path);
}

static void test_names(void **state) {
    (void)state;
    assert_true(tern_video_is_source("a/b.MP4"));
    assert_true(tern_video_is_source("rtsp://host/x"));
    assert_true(tern_video_is_source("/dev/video0"));
    assert_false(tern_video_is_source("a.png"));
    assert_false(tern_video_is_source("mp4"));
    assert_true(tern_video_can_write("x.Webm"));
    assert_false(tern_video_can_write("x.mp"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_abandoned), cmocka_unit_test(test_stop_and_limit),
        cmocka_unit_test(test_damage),     cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
