/* Frames to a file: conversion from RGB, encoder, muxer. */
#include "vision/video/video_internal.h"

#ifdef HAVE_FFMPEG

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_FPS   25
#define MPEG4_MAX_DEN 65535 /* of its unit of time */

struct tern_video_writer {
    tn_ffmpeg ff;
    char *path, *target, *temporary; /* as given; behind links; what is being written */
    tern_video_info info;
    AVFormatContext *format;
    AVCodecContext *encoder;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *rgb, *yuv;
    struct SwsContext *scale;
    int64_t last; /* time of the last frame in the encoder's unit; -1: none */
    bool header;  /* has been written */
};

static tern_status fail(const tern_video_writer *w, tern_error *err, const char *what, int code) {
    return tn_ffmpeg_fail(&w->ff, err, w->path, what, code);
}

/* ---- the file ----------------------------------------------------------------------------------------------- */

/* A name beside the target that nobody has. */
static tern_status open_temporary(tern_video_writer *w, tern_error *err) {
    static atomic_uint counter;
    struct stat st;
    if (stat(w->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return tn_fail(err, TERN_IO, "%s: is there and is no regular file", w->path);
    }
    char real[PATH_MAX];
    w->target = tn_strdup(realpath(w->path, real) ? real : w->path);
    tn_text name;
    tn_text_init(&name);
    tn_text_add(&name, "file:%s.tmp-%ld-%u", w->target ? w->target : "", (long)getpid(), atomic_fetch_add(&counter, 1));
    w->temporary = name.failed ? NULL : tn_strdup(name.data);
    tn_text_release(&name);
    if (!w->target || !w->temporary) return tn_fail_oom(err, strlen(w->path));
    int code = w->ff.avio_open(&w->format->pb, w->temporary, AVIO_FLAG_WRITE);
    return code < 0 ? fail(w, err, "can not be created", code) : TERN_OK;
}

static const char *temporary_path(const tern_video_writer *w) { return w->temporary + strlen("file:"); }

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* The unit of the source where the container and the codec can have it: times stay as they are. */
static AVRational time_base(const tern_video_writer *w, AVRational fps) {
    AVRational unit = {w->info.unit.num, w->info.unit.den};
    bool any = strcmp(w->format->oformat->name, "avi") != 0; /* which counts frames */
    bool fits = w->encoder->codec_id != AV_CODEC_ID_MPEG4 || unit.den <= MPEG4_MAX_DEN;
    if (any && fits && unit.num > 0) return unit;
    return fps.num <= MPEG4_MAX_DEN ? av_inv_q(fps) : (AVRational){1, fps.num / fps.den};
}

/* H.264 halves colour in both directions, which odd sizes do not allow. */
static enum AVPixelFormat pixel_format(const tern_video_writer *w) {
    bool odd = w->info.width % 2 || w->info.height % 2;
    return odd && w->encoder->codec_id == AV_CODEC_ID_H264 ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P;
}

static int open_encoder(tern_video_writer *w, const AVCodec *codec) {
    const tn_ffmpeg *ff = &w->ff;
    AVCodecContext *c = w->encoder = ff->avcodec_alloc_context3(codec);
    if (!c) return AVERROR(ENOMEM);
    AVRational fps = {w->info.fps.num, w->info.fps.den};
    if (fps.num <= 0 || fps.num / fps.den > 1000 || fps.den / fps.num > 1000) fps = (AVRational){DEFAULT_FPS, 1};
    c->width = w->info.width;
    c->height = w->info.height;
    c->framerate = fps;
    c->time_base = time_base(w, fps);
    c->sample_aspect_ratio = (AVRational){w->info.aspect.num, w->info.aspect.den};
    c->pix_fmt = pixel_format(w);
    c->color_range = AVCOL_RANGE_MPEG;
    c->colorspace = AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    /* Good to look at, fast to write; MPEG-4 has a fixed quantiser, the others a quality. */
    c->flags |= AV_CODEC_FLAG_QSCALE;
    c->global_quality = 3 * FF_QP2LAMBDA;
    if (w->format->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    AVDictionary *options = NULL;
    bool vpx = codec->id == AV_CODEC_ID_VP8 || codec->id == AV_CODEC_ID_VP9;
    ff->av_dict_set(&options, "crf", vpx ? "28" : "20", 0);
    if (vpx) {
        c->flags &= ~AV_CODEC_FLAG_QSCALE;
        ff->av_dict_set(&options, "b", codec->id == AV_CODEC_ID_VP9 ? "0" : "4000000", 0);
        ff->av_dict_set(&options, "deadline", "realtime", 0);
        ff->av_dict_set(&options, "cpu-used", "6", 0);
    } else {
        ff->av_dict_set(&options, "preset", "veryfast", 0);
    }
    int code = ff->avcodec_open2(c, codec, &options);
    ff->av_dict_free(&options);
    return code;
}

static tern_status open_scale(tern_video_writer *w, tern_error *err) {
    const tn_ffmpeg *ff = &w->ff;
    int width = w->info.width, height = w->info.height;
    w->scale = ff->sws_getCachedContext(NULL, width, height, AV_PIX_FMT_RGB24, width, height, w->encoder->pix_fmt,
                                        SWS_BICUBIC | SWS_ACCURATE_RND, NULL, NULL, NULL);
    w->rgb = tn_ffmpeg_frame(ff, width, height, AV_PIX_FMT_RGB24);
    w->yuv = tn_ffmpeg_frame(ff, width, height, w->encoder->pix_fmt);
    w->packet = ff->av_packet_alloc();
    if (!w->scale || !w->rgb || !w->yuv || !w->packet) return tn_fail_oom(err, (size_t)width * (size_t)height * 3);
    const int *bt709 = ff->sws_getCoefficients(SWS_CS_ITU709);
    ff->sws_setColorspaceDetails(w->scale, bt709, 1, bt709, 0, 0, TN_SWS_ONE, TN_SWS_ONE);
    w->yuv->color_range = w->encoder->color_range;
    w->yuv->colorspace = w->encoder->colorspace;
    return TERN_OK;
}

static tern_status open_file(tern_video_writer *w, tern_error *err) {
    const tn_ffmpeg *ff = &w->ff;
    int code = ff->avformat_alloc_output_context2(&w->format, NULL, NULL, w->path);
    if (code < 0) return fail(w, err, "no container of that ending", code);
    const AVOutputFormat *container = w->format->oformat;
    enum AVCodecID id = ff->av_guess_codec(container, NULL, w->path, NULL, AVMEDIA_TYPE_VIDEO);
    const AVCodec *codec = ff->avcodec_find_encoder(id);
    if (!codec) return fail(w, err, "the container's codec", AVERROR_ENCODER_NOT_FOUND);
    code = open_encoder(w, codec);
    if (code < 0) return fail(w, err, "the encoder can not be started", code);
    w->stream = ff->avformat_new_stream(w->format, NULL);
    if (!w->stream) return tn_fail_oom(err, sizeof *w->stream);
    w->stream->time_base = w->encoder->time_base;
    w->stream->avg_frame_rate = w->encoder->framerate;
    w->stream->sample_aspect_ratio = w->encoder->sample_aspect_ratio;
    code = ff->avcodec_parameters_from_context(w->stream->codecpar, w->encoder);
    if (code < 0) return fail(w, err, "the encoder", code);
    TN_TRY(open_scale(w, err));
    TN_TRY(open_temporary(w, err));
    code = ff->avformat_write_header(w->format, NULL);
    w->header = code >= 0;
    return code < 0 ? fail(w, err, "can not be written", code) : TERN_OK;
}

tern_status tern_video_create(tern_video_writer **out, const char *path, const tern_video_info *info, tern_error *err) {
    *out = NULL;
    if (!tern_video_can_write(path)) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: videos are written as .mp4, .m4v, .mov, .mkv, .avi or .webm",
                       path);
    }
    tern_video_writer *w = tn_calloc(1, sizeof *w);
    if (!w) return tn_fail_oom(err, sizeof *w);
    w->info = *info;
    w->last = -1;
    w->path = tn_strdup(path);
    tern_status status = w->path ? tn_ffmpeg_load(&w->ff, err) : tn_fail_oom(err, strlen(path));
    if (status == TERN_OK) status = open_file(w, err);
    if (status == TERN_OK) {
        *out = w;
    } else {
        tern_video_abandon(w);
    }
    return status;
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

/* What the encoder has ready; `frame` NULL: all that is left. */
static tern_status encode(tern_video_writer *w, const AVFrame *frame, tern_error *err) {
    const tn_ffmpeg *ff = &w->ff;
    int code = ff->avcodec_send_frame(w->encoder, frame);
    while (code >= 0) {
        code = ff->avcodec_receive_packet(w->encoder, w->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return TERN_OK;
        if (code < 0) break;
        ff->av_packet_rescale_ts(w->packet, w->encoder->time_base, w->stream->time_base);
        w->packet->stream_index = w->stream->index;
        code = ff->av_interleaved_write_frame(w->format, w->packet); /* takes what the packet holds */
    }
    return fail(w, err, "can not be written", code);
}

tern_status tern_video_write(tern_video_writer *w, const tern_image *image, int64_t time, tern_error *err) {
    const tn_ffmpeg *ff = &w->ff;
    AVRational unit = {w->info.unit.num, w->info.unit.den};
    if (image->width != w->info.width || image->height != w->info.height) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "%s: a frame of %d x %d pixels in a video of %d x %d", w->path,
                       image->width, image->height, w->info.width, w->info.height);
    }
    if (ff->av_frame_make_writable(w->yuv) < 0) return tn_fail_oom(err, 0);
    size_t row = (size_t)image->width * 3;
    for (int y = 0; y < image->height; y++) {
        memcpy(w->rgb->data[0] + (ptrdiff_t)y * w->rgb->linesize[0], image->data + (size_t)y * row, row);
    }
    ff->sws_scale(w->scale, (const uint8_t *const *)w->rgb->data, w->rgb->linesize, 0, image->height, w->yuv->data,
                  w->yuv->linesize);
    /* Where the file's unit is coarser, two frames may fall on one tick. */
    w->last = TN_MAX(ff->av_rescale_q(time, unit, w->encoder->time_base), w->last + 1);
    w->yuv->pts = w->last;
    w->yuv->quality = w->encoder->global_quality;
    return encode(w, w->yuv, err);
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static tern_status finish_file(tern_video_writer *w, tern_error *err) {
    TN_TRY(encode(w, NULL, err));
    int code = w->ff.av_write_trailer(w->format);
    w->header = false;
    int closed = w->ff.avio_closep(&w->format->pb);
    if (code >= 0) code = closed;
    if (code < 0) return fail(w, err, "can not be written", code);
    struct stat st;
    if (stat(w->target, &st) == 0) (void)chmod(temporary_path(w), st.st_mode & 0777);
    if (rename(temporary_path(w), w->target) == 0) {
        tn_free(w->temporary);
        w->temporary = NULL;
        return TERN_OK;
    }
    return fail(w, err, "can not be renamed into place", AVERROR(errno));
}

tern_status tern_video_finish(tern_video_writer **w, tern_error *err) {
    tern_status status = finish_file(*w, err);
    tern_video_abandon(*w);
    *w = NULL;
    return status;
}

void tern_video_abandon(tern_video_writer *w) {
    if (!w) return;
    const tn_ffmpeg *ff = &w->ff;
    /* Some muxers free what they hold in the trailer only. */
    if (w->header) ff->av_write_trailer(w->format);
    if (w->scale) ff->sws_freeContext(w->scale);
    if (w->rgb) ff->av_frame_free(&w->rgb);
    if (w->yuv) ff->av_frame_free(&w->yuv);
    if (w->packet) ff->av_packet_free(&w->packet);
    if (w->encoder) ff->avcodec_free_context(&w->encoder);
    if (w->format && w->format->pb) {
        ff->avio_closep(&w->format->pb);
    }
    if (w->temporary) unlink(temporary_path(w));
    if (w->format) ff->avformat_free_context(w->format);
    tn_free(w->temporary);
    tn_free(w->target);
    tn_free(w->path);
    tn_free(w);
}

#endif
