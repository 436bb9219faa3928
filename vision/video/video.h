/* Moving pictures, through FFmpeg's libraries: files, network streams and cameras to upright RGB frames, and frames to
 * files.
 *
 * A reader and a writer hold a few frames each, whatever the length of the video. Errors begin with the path. */
#ifndef TERN_VISION_VIDEO_H
#define TERN_VISION_VIDEO_H

#include "vision/image/image.h"

/* "libavformat 59.27.100, libavcodec 59.37.100"; NULL: this build has no video. */
const char *tern_video_library(void);

/* ---- reading ------------------------------------------------------------------------------------------------ */

typedef struct tern_video_options {
    uint64_t max_pixels;         /* of a frame, as in tern_image_options; 0: the same default */
    bool (*stop)(void *context); /* asked between packets and while waiting for them: true ends the video; or NULL */
    void *context;
} tern_video_options;

typedef struct tern_video_rate {
    int num, den; /* num / den; num 0: not known */
} tern_video_rate;

typedef struct tern_video_info {
    int width, height;      /* of the frames read, upright */
    tern_video_rate fps;    /* frames per second on average */
    tern_video_rate unit;   /* of time: a frame's time is a multiple of num / den seconds */
    tern_video_rate aspect; /* width / height of a pixel */
    int64_t frames;         /* as the file says, or by its length; 0: not known */
} tern_video_info;

typedef struct tern_video_frame {
    tern_image image; /* owned by the caller, who reuses or releases it */
    int64_t time;     /* in units of tern_video_info.unit since the first frame; grows from frame to frame */
    double seconds;   /* the same */
} tern_video_frame;

typedef struct tern_video_reader tern_video_reader;

/* `source` is a file, a URL (rtsp://, http:// ...) or a camera (/dev/video0). A file can not make further files or
 * addresses be opened. `options` may be NULL. A server that is silent for 30 seconds is an error. */
tern_status tern_video_open(tern_video_reader **out, const char *source, const tern_video_options *options,
                            tern_error *err);
const tern_video_info *tern_video_get_info(const tern_video_reader *r);
/* The next frame; *got is false at the end. frame->image must be empty or one that was read before. A frame of another
 * size than the first (a stream may change) is scaled to that. Packets that can not be decoded are left out and
 * counted.
 */
tern_status tern_video_read(tern_video_reader *r, tern_video_frame *frame, bool *got, tern_error *err);
/* Packets that were damaged so far. */
int64_t tern_video_damaged(const tern_video_reader *r);
void tern_video_close(tern_video_reader *r); /* NULL is fine */

/* Whether `source` is a URL, a camera, or has an ending that videos have. */
bool tern_video_is_source(const char *source);

/* ---- writing ------------------------------------------------------------------------------------------------ */

typedef struct tern_video_writer tern_video_writer;

/* By the ending of `path`: .mp4, .m4v, .mov, .mkv, .avi, .webm. Size, rate, unit and aspect are those of `info`.
 * The file appears under its name when tern_video_finish has been called, whole. */
tern_status tern_video_create(tern_video_writer **out, const char *path, const tern_video_info *info, tern_error *err);
/* `time` in units of the info; it must grow. The image must have the info's size. */
tern_status tern_video_write(tern_video_writer *w, const tern_image *image, int64_t time, tern_error *err);
/* Writes what is left and closes; *w is freed and NULL in any case. On failure no file is left. */
tern_status tern_video_finish(tern_video_writer **w, tern_error *err);
/* Drops the file. NULL is fine. */
void tern_video_abandon(tern_video_writer *w);
/* False when the ending is none of those. */
bool tern_video_can_write(const char *path);

#endif
