/* A build without FFmpeg's libraries. */
#include "vision/video/video.h"

#ifndef HAVE_FFMPEG

#define PACKAGES "libavformat-dev, libavcodec-dev, libswscale-dev and libavutil-dev"

static tern_status missing(const char *path, tern_error *err) {
    return tn_fail(err, TERN_UNSUPPORTED, "%s: this build has no video support; install " PACKAGES " and rebuild",
                   path);
}

const char *tern_video_library(void) { return NULL; }

tern_status tern_video_open(tern_video_reader **out, const char *source, const tern_video_options *options,
                            tern_error *err) {
    (void)options;
    *out = NULL;
    return missing(source, err);
}

tern_status tern_video_create(tern_video_writer **out, const char *path, const tern_video_info *info, tern_error *err) {
    (void)info;
    *out = NULL;
    return missing(path, err);
}

/* Nothing can be open: the rest is never reached. */
const tern_video_info *tern_video_get_info(const tern_video_reader *r) {
    (void)r;
    return NULL;
}

tern_status tern_video_read(tern_video_reader *r, tern_video_frame *frame, bool *got, tern_error *err) {
    (void)r;
    (void)frame;
    *got = false;
    return missing("video", err);
}

int64_t tern_video_damaged(const tern_video_reader *r) {
    (void)r;
    return 0;
}

void tern_video_close(tern_video_reader *r) { (void)r; }

tern_status tern_video_write(tern_video_writer *w, const tern_image *image, int64_t time, tern_error *err) {
    (void)w;
    (void)image;
    (void)time;
    return missing("video", err);
}

tern_status tern_video_finish(tern_video_writer **w, tern_error *err) {
    *w = NULL;
    return missing("video", err);
}

void tern_video_abandon(tern_video_writer *w) { (void)w; }

#endif
