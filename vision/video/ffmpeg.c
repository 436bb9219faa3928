/* Loading of FFmpeg's libraries, and what reader and writer share. */
#include "vision/video/video_internal.h"

#ifdef HAVE_FFMPEG

#include "vision/library/library.h"

typedef enum library { AVUTIL, AVCODEC, AVFORMAT, SWSCALE, LIBRARIES } library;

#define TEXT(NUMBER)        #NUMBER
#define SONAME(NAME, MAJOR) NAME ".so." TEXT(MAJOR)

/* The versions that the headers were of: another one has other structs. */
static const char *const sonames[LIBRARIES] = {
    [AVUTIL] = SONAME("libavutil", LIBAVUTIL_VERSION_MAJOR),
    [AVCODEC] = SONAME("libavcodec", LIBAVCODEC_VERSION_MAJOR),
    [AVFORMAT] = SONAME("libavformat", LIBAVFORMAT_VERSION_MAJOR),
    [SWSCALE] = SONAME("libswscale", LIBSWSCALE_VERSION_MAJOR),
};
/* It has had avformat's number for ten years; its headers are not needed for one function. */
static const char devices_soname[] = SONAME("libavdevice", LIBAVFORMAT_VERSION_MAJOR);

static const tn_library_function functions[] = {
#define FN(LIBRARY, NAME) TN_LIBRARY_ROW(tn_ffmpeg, NAME)
#include "vision/video/ffmpeg_list.inc"
#undef FN
};
static const uint8_t library_of[] = {
#define FN(LIBRARY, NAME) LIBRARY,
#include "vision/video/ffmpeg_list.inc"
#undef FN
};

tern_status tn_ffmpeg_load(tn_ffmpeg *out, tern_error *err) {
    void *handles[LIBRARIES];
    for (int i = 0; i < LIBRARIES; i++) TN_TRY(tn_library_open(&handles[i], sonames[i], err));
    for (size_t i = 0; i < TN_COUNT(functions); i++)
        TN_TRY(tn_library_find(handles[library_of[i]], sonames[library_of[i]], &functions[i], 1, out, err));
    out->av_log_set_level(AV_LOG_QUIET); /* errors are ours to print */
    return TERN_OK;
}

tern_status tn_ffmpeg_load_devices(tern_error *err) {
    static const tn_library_function function = {"avdevice_register_all", 0};
    void (*register_all)(void);
    TN_TRY(tn_library_load(devices_soname, &function, 1, &register_all, err));
    register_all();
    return TERN_OK;
}

const char *tern_video_library(void) { return LIBAVFORMAT_IDENT ", " LIBAVCODEC_IDENT; }

tern_status tn_ffmpeg_fail(const tn_ffmpeg *ff, tern_error *err, const char *path, const char *what, int code) {
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    ff->av_strerror(code, text, sizeof text);
    tern_status status = code == AVERROR(ENOMEM)                                             ? TERN_OUT_OF_MEMORY
                         : code == AVERROR_INVALIDDATA || code == AVERROR_EOF                ? TERN_INVALID_FORMAT
                         : code == AVERROR_DECODER_NOT_FOUND || code == AVERROR_PATCHWELCOME ? TERN_UNSUPPORTED
                                                                                             : TERN_IO;
    return tn_fail(err, status, "%s: %s: %s", path, what, text);
}

AVFrame *tn_ffmpeg_frame(const tn_ffmpeg *ff, int width, int height, int format) {
    AVFrame *f = ff->av_frame_alloc();
    if (!f) return NULL;
    f->width = width;
    f->height = height;
    f->format = format;
    if (ff->av_frame_get_buffer(f, 0) < 0) ff->av_frame_free(&f);
    return f;
}

#endif
