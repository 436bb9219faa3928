#ifndef TERN_VISION_VIDEO_INTERNAL_H
#define TERN_VISION_VIDEO_INTERNAL_H

#include "vision/video/video.h"

#ifdef HAVE_FFMPEG

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>

#define TN_SWS_ONE (1 << 16) /* 1.0 of contrast and saturation in swscale */

/* FFmpeg's functions under their own names. They are loaded when a video is opened: linked, they would bring a hundred
 * libraries into every start of the command (some 25 ms). */
typedef struct tn_ffmpeg {
#define FN(LIBRARY, NAME) __typeof__(NAME) *NAME;
#include "vision/video/ffmpeg_list.inc"
#undef FN
} tn_ffmpeg;

tern_status tn_ffmpeg_load(tn_ffmpeg *out, tern_error *err);
/* Registers cameras as formats. */
tern_status tn_ffmpeg_load_devices(tern_error *err);
/* "PATH: what: the library's text for `code`". */
tern_status tn_ffmpeg_fail(const tn_ffmpeg *ff, tern_error *err, const char *path, const char *what, int code);
/* A frame with room around its rows, which swscale may read and write; NULL: no memory. */
AVFrame *tn_ffmpeg_frame(const tn_ffmpeg *ff, int width, int height, int format);

#endif

#endif
