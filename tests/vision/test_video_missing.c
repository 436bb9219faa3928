/* A build without FFmpeg's libraries: the same sources, compiled as if there were none, say what to install. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#undef HAVE_FFMPEG
#include "vision/video/missing.c"

static void test_what_to_install(void **state) {
    (void)state;
    tern_video_reader *r = (tern_video_reader *)1;
    tern_video_writer *w = (tern_video_writer *)1;
    const tern_video_info info = {.width = 8, .height = 8};
    tern_error err = {TERN_OK, ""};
    assert_null(tern_video_library());
    assert_int_equal(tern_video_open(&r, "clip.mp4", NULL, &err), TERN_UNSUPPORTED);
    assert_null(r);
    assert_string_equal(err.text, "clip.mp4: this build has no video support; install libavformat-dev, libavcodec-dev, "
                                  "libswscale-dev and libavutil-dev and rebuild");
    assert_int_equal(tern_video_create(&w, "out.mp4", &info, &err), TERN_UNSUPPORTED);
    assert_null(w);
    assert_memory_equal(err.text, "out.mp4: this build has no video support", 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_to_install)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
