/* Frames of a video: demuxer, decoder, conversion to RGB, rotation. */
#include "vision/video/video_internal.h"

#ifdef HAVE_FFMPEG

#include <math.h>
#include <stdio.h>
#include <time.h>

#define PATIENCE 30000000000u /* nanoseconds that a server may be silent */

struct tern_video_reader {
    tn_ffmpeg ff;
    char *path;
    tern_video_options options;
    tern_video_info info;
    AVFormatContext *format;
    AVCodecContext *decoder;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *frame, *rgb; /* rgb: stored size, before rotation */
    struct SwsContext *scale;
    int orientation; /* as in EXIF */
    bool flushing, timed_out, remote;
    uint64_t asked_ns; /* when the library was last asked for something */
    int64_t damaged, first_time, last_time, count;
};

static bool stopped(const tern_video_reader *r) { return r->options.stop && r->options.stop(r->options.context); }

/* Asked by the library while it waits. */
static int interrupted(void *opaque) {
    tern_video_reader *r = opaque;
    if (r->remote && tn_clock_ns() - r->asked_ns > PATIENCE) r->timed_out = true;
    return r->timed_out || stopped(r);
}

static tern_status fail(const tern_video_reader *r, tern_error *err, const char *what, int code) {
    if (r->timed_out) return tn_fail(err, TERN_IO, "%s: no answer for 30 seconds", r->path);
    return tn_ffmpeg_fail(&r->ff, err, r->path, what, code);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* A file's name is never taken for one of FFmpeg's own protocols (concat:, subfile: ...), and what a file says (a
 * playlist) opens other files at most. */
static tern_status open_input(tern_video_reader *r, const char *source, tern_error *err) {
    const tn_ffmpeg *ff = &r->ff;
    bool camera = strncmp(source, "/dev/video", 10) == 0;
    r->remote = strstr(source, "://") != NULL;
    if (camera) TN_TRY(tn_ffmpeg_load_devices(err));
    r->format = ff->avformat_alloc_context();
    if (!r->format) return tn_fail_oom(err, sizeof *r->format);
    if (camera) r->format->flags |= AVFMT_FLAG_NONBLOCK; /* it does not ask whether to stop while it waits */
    r->format->interrupt_callback = (AVIOInterruptCB){interrupted, r};
    tn_text url;
    tn_text_init(&url);
    tn_text_add(&url, "%s%s", camera || r->remote ? "" : "file:", source);
    if (url.failed) return tn_fail_oom(err, strlen(source));
    AVDictionary *options = NULL;
    if (!camera && !r->remote) ff->av_dict_set(&options, "protocol_whitelist", "file", 0);
    if (strncmp(source, "rtsp://", 7) == 0) ff->av_dict_set(&options, "rtsp_transport", "tcp", 0);
    r->asked_ns = tn_clock_ns();
    /* The context is freed when this fails. */
    int code =
        ff->avformat_open_input(&r->format, url.data, camera ? ff->av_find_input_format("v4l2") : NULL, &options);
    ff->av_dict_free(&options);
    tn_text_release(&url);
    return code < 0 ? fail(r, err, "can not be opened as a video", code) : TERN_OK;
}

/* The limit of pixels holds for the decoders that look for sizes, too. */
static int find_stream_info(tern_video_reader *r, const char *max_pixels) {
    const tn_ffmpeg *ff = &r->ff;
    unsigned count = r->format->nb_streams;
    AVDictionary **options = tn_calloc(count + 1, sizeof *options);
    if (!options) return AVERROR(ENOMEM);
    for (unsigned i = 0; i < count; i++) ff->av_dict_set(&options[i], "max_pixels", max_pixels, 0);
    int code = ff->avformat_find_stream_info(r->format, options);
    for (unsigned i = 0; i < count; i++) ff->av_dict_free(&options[i]);
    tn_free(options);
    return code;
}

static const uint8_t *display_matrix(const AVStream *stream, size_t *size) {
    *size = 0;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
    const AVCodecParameters *p = stream->codecpar;
    for (int i = 0; i < p->nb_coded_side_data; i++) {
        if (p->coded_side_data[i].type != AV_PKT_DATA_DISPLAYMATRIX) continue;
        *size = p->coded_side_data[i].size;
        return p->coded_side_data[i].data;
    }
#else
    for (int i = 0; i < stream->nb_side_data; i++) {
        if (stream->side_data[i].type != AV_PKT_DATA_DISPLAYMATRIX) continue;
        *size = (size_t)stream->side_data[i].size;
        return stream->side_data[i].data;
    }
#endif
    return NULL;
}

/* The display matrix maps (x, y) to (a x + c y, b x + d y). As an orientation of EXIF; 1 for what is none of them. */
static int read_orientation(const AVStream *stream) {
    size_t size;
    const uint8_t *data = display_matrix(stream, &size);
    int32_t m[9];
    if (!data || size < sizeof m) return 1;
    memcpy(m, data, sizeof m);
    int a = (m[0] > 0) - (m[0] < 0), b = (m[1] > 0) - (m[1] < 0), c = (m[3] > 0) - (m[3] < 0),
        d = (m[4] > 0) - (m[4] < 0);
    if (!b && !c && a && d) return a > 0 ? (d > 0 ? 1 : 4) : d > 0 ? 2 : 3;
    if (!a && !d && b && c) return b > 0 ? (c > 0 ? 5 : 6) : c > 0 ? 8 : 7;
    return 1;
}

static tern_video_rate rate_of(AVRational r) {
    return r.num > 0 && r.den > 0 ? (tern_video_rate){r.num, r.den} : (tern_video_rate){0, 1};
}

static void read_info(tern_video_reader *r) {
    const tn_ffmpeg *ff = &r->ff;
    AVRational aspect = ff->av_guess_sample_aspect_ratio(r->format, r->stream, NULL);
    bool turned = r->orientation >= 5;
    tern_video_info *info = &r->info;
    info->width = turned ? r->decoder->height : r->decoder->width;
    info->height = turned ? r->decoder->width : r->decoder->height;
    info->fps = rate_of(ff->av_guess_frame_rate(r->format, r->stream, NULL));
    info->unit = rate_of(r->stream->time_base);
    if (!info->unit.num) info->unit = (tern_video_rate){1, 90000};
    info->aspect = rate_of(turned ? av_inv_q(aspect) : aspect);
    if (!info->aspect.num) info->aspect = (tern_video_rate){1, 1};
    info->frames = r->stream->nb_frames;
    if (info->frames <= 0 && r->format->duration > 0 && info->fps.num) {
        info->frames = llround((double)r->format->duration / AV_TIME_BASE * info->fps.num / info->fps.den);
    }
    if (info->frames < 0) info->frames = 0;
}

static tern_status check_size(const tern_video_reader *r, int width, int height, tern_error *err) {
    if (width >= 1 && height >= 1 && width <= TERN_IMAGE_MAX_SIDE && height <= TERN_IMAGE_MAX_SIDE &&
        (uint64_t)width * (uint64_t)height <= r->options.max_pixels) {
        return TERN_OK;
    }
    return tn_fail(err, TERN_LIMIT_EXCEEDED,
                   "%s: frames of %d x %d pixels are not within 1 x 1 and the limit "
                   "(%d on a side, %llu in all)",
                   r->path, width, height, TERN_IMAGE_MAX_SIDE, (unsigned long long)r->options.max_pixels);
}

static tern_status open_decoder(tern_video_reader *r, const char *max_pixels, tern_error *err) {
    const tn_ffmpeg *ff = &r->ff;
    const AVCodec *codec = ff->avcodec_find_decoder(r->stream->codecpar->codec_id);
    if (!codec) return fail(r, err, "the video's codec", AVERROR_DECODER_NOT_FOUND);
    r->decoder = ff->avcodec_alloc_context3(codec);
    if (!r->decoder) return tn_fail_oom(err, sizeof *r->decoder);
    int code = ff->avcodec_parameters_to_context(r->decoder, r->stream->codecpar);
    r->decoder->pkt_timebase = r->stream->time_base;
    r->decoder->thread_count = 0; /* as many as there are processors */
    AVDictionary *options = NULL;
    ff->av_dict_set(&options, "max_pixels", max_pixels, 0);
    if (code >= 0) code = ff->avcodec_open2(r->decoder, codec, &options);
    ff->av_dict_free(&options);
    return code < 0 ? fail(r, err, "the decoder can not be started", code) : TERN_OK;
}

static tern_status open_video(tern_video_reader *r, const char *source, tern_error *err) {
    const tn_ffmpeg *ff = &r->ff;
    char max_pixels[24];
    snprintf(max_pixels, sizeof max_pixels, "%llu", (unsigned long long)r->options.max_pixels);
    TN_TRY(open_input(r, source, err));
    /* What the container says of sizes; the decoders that look for the rest would only say that something is invalid.
     */
    for (unsigned i = 0; i < r->format->nb_streams; i++) {
        const AVCodecParameters *said = r->format->streams[i]->codecpar;
        bool video = said->codec_type == AVMEDIA_TYPE_VIDEO && (said->width || said->height);
        if (video) TN_TRY(check_size(r, said->width, said->height, err));
    }
    r->asked_ns = tn_clock_ns();
    int code = find_stream_info(r, max_pixels);
    if (code < 0) return fail(r, err, "no streams are found", code);
    code = ff->av_find_best_stream(r->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (code < 0) return fail(r, err, "has no video in it", code);
    r->stream = r->format->streams[code];
    for (unsigned i = 0; i < r->format->nb_streams; i++) {
        if (r->format->streams[i] != r->stream) r->format->streams[i]->discard = AVDISCARD_ALL;
    }
    TN_TRY(open_decoder(r, max_pixels, err));
    TN_TRY(check_size(r, r->decoder->width, r->decoder->height, err));
    r->orientation = read_orientation(r->stream);
    read_info(r);
    r->packet = ff->av_packet_alloc();
    r->frame = ff->av_frame_alloc();
    r->rgb = tn_ffmpeg_frame(ff, r->decoder->width, r->decoder->height, AV_PIX_FMT_RGB24);
    return r->packet && r->frame && r->rgb ? TERN_OK : tn_fail_oom(err, 0);
}

tern_status tern_video_open(tern_video_reader **out, const char *source, const tern_video_options *options,
                            tern_error *err) {
    *out = NULL;
    tern_video_reader *r = tn_calloc(1, sizeof *r);
    if (!r) return tn_fail_oom(err, sizeof *r);
    if (options) r->options = *options;
    if (r->options.max_pixels == 0) r->options.max_pixels = TERN_IMAGE_MAX_PIXELS;
    r->path = tn_strdup(source);
    tern_status status = r->path ? tn_ffmpeg_load(&r->ff, err) : tn_fail_oom(err, strlen(source));
    if (status == TERN_OK) status = open_video(r, source, err);
    if (status == TERN_OK) {
        *out = r;
    } else {
        tern_video_close(r);
    }
    return status;
}

const tern_video_info *tern_video_get_info(const tern_video_reader *r) { return &r->info; }
int64_t tern_video_damaged(const tern_video_reader *r) { return r->damaged; }

void tern_video_close(tern_video_reader *r) {
    if (!r) return;
    const tn_ffmpeg *ff = &r->ff;
    if (r->scale) ff->sws_freeContext(r->scale);
    if (r->rgb) ff->av_frame_free(&r->rgb);
    if (r->frame) ff->av_frame_free(&r->frame);
    if (r->packet) ff->av_packet_free(&r->packet);
    if (r->decoder) ff->avcodec_free_context(&r->decoder);
    if (r->format) ff->avformat_close_input(&r->format);
    tn_free(r->path);
    tn_free(r);
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

/* r->frame to r->rgb, by the frame's own matrix and range; BT.601 where it does not say. */
static tern_status convert(tern_video_reader *r, tern_error *err) {
    const tn_ffmpeg *ff = &r->ff;
    const AVFrame *f = r->frame;
    TN_TRY(check_size(r, f->width, f->height, err));
    if (!ff->sws_isSupportedInput((enum AVPixelFormat)f->format)) {
        return tn_fail(err, TERN_UNSUPPORTED, "%s: frames of pixel format %d can not be converted", r->path, f->format);
    }
    r->scale = ff->sws_getCachedContext(r->scale, f->width, f->height, (enum AVPixelFormat)f->format, r->rgb->width,
                                        r->rgb->height, AV_PIX_FMT_RGB24,
                                        SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!r->scale) return tn_fail_oom(err, 0);
    int matrix = f->colorspace == AVCOL_SPC_BT709        ? SWS_CS_ITU709
                 : f->colorspace == AVCOL_SPC_BT2020_NCL ? SWS_CS_BT2020
                                                         : SWS_CS_ITU601;
    const int *coefficients = ff->sws_getCoefficients(matrix);
    /* Refused for formats that have no matrix, such as RGB. */
    (void)ff->sws_setColorspaceDetails(r->scale, coefficients, f->color_range == AVCOL_RANGE_JPEG, coefficients, 1, 0,
                                       TN_SWS_ONE, TN_SWS_ONE);
    int rows = ff->sws_scale(r->scale, (const uint8_t *const *)f->data, f->linesize, 0, f->height, r->rgb->data,
                             r->rgb->linesize);
    return rows == r->rgb->height ? TERN_OK : fail(r, err, "a frame can not be converted", AVERROR_INVALIDDATA);
}

static tern_status take_image(const tern_video_reader *r, tern_image *out, tern_error *err) {
    const AVFrame *rgb = r->rgb;
    if (out->width != rgb->width || out->height != rgb->height) {
        tern_image_release(out);
        TN_TRY(tern_image_create(out, rgb->width, rgb->height, err));
    }
    for (int y = 0; y < rgb->height; y++) {
        memcpy(out->data + (size_t)y * (size_t)rgb->width * 3, rgb->data[0] + (ptrdiff_t)y * rgb->linesize[0],
               (size_t)rgb->width * 3);
    }
    return tern_image_orient(out, r->orientation, err);
}

/* Since the first frame. One that does not say its time comes a frame's length after the last; time never stands still.
 * In a hostile file times may be anything: nothing overflows. */
static int64_t time_of(tern_video_reader *r) {
    const int64_t limit = INT64_MAX / 4;
    int64_t time = r->frame->best_effort_timestamp, since = 0;
    bool known = time != AV_NOPTS_VALUE;
    if (r->count++ == 0) {
        r->first_time = known ? time : 0;
        return r->last_time = 0;
    }
    if (known && !__builtin_sub_overflow(time, r->first_time, &since) && since > r->last_time && since < limit) {
        return r->last_time = since;
    }
    AVRational frame = {r->info.fps.den, r->info.fps.num}, unit = {r->info.unit.num, r->info.unit.den};
    int64_t step = !known && r->info.fps.num ? r->ff.av_rescale_q(1, frame, unit) : 1;
    return r->last_time += TN_MIN(TN_MAX(step, 1), limit >> 20);
}

/* Gives the decoder the next packet of the video, or the end. */
static tern_status feed(tern_video_reader *r, tern_error *err) {
    const tn_ffmpeg *ff = &r->ff;
    r->asked_ns = tn_clock_ns();
    int code = ff->av_read_frame(r->format, r->packet);
    if (code == AVERROR(EAGAIN)) {
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        return TERN_OK;
    }
    if (code < 0) {
        if (r->timed_out) return fail(r, err, "", code);
        /* What is broken off gives what was read. */
        if (code != AVERROR_EOF && !stopped(r)) r->damaged++;
        r->flushing = true;
        ff->avcodec_send_packet(r->decoder, NULL);
        return TERN_OK;
    }
    if (r->packet->stream_index == r->stream->index) {
        bool whole = !(r->packet->flags & AV_PKT_FLAG_CORRUPT);
        if (ff->avcodec_send_packet(r->decoder, r->packet) < 0 || !whole) r->damaged++;
    }
    ff->av_packet_unref(r->packet);
    return TERN_OK;
}

/* A frame into r->frame. Every turn takes a packet, until there is none. */
static tern_status decode(tern_video_reader *r, bool *got, tern_error *err) {
    *got = false;
    while (!stopped(r)) {
        int code = r->ff.avcodec_receive_frame(r->decoder, r->frame);
        if (code >= 0) {
            *got = true;
            return TERN_OK;
        }
        if (code != AVERROR(EAGAIN) && code != AVERROR_EOF) r->damaged++;
        if (r->flushing) return TERN_OK;
        TN_TRY(feed(r, err));
    }
    return TERN_OK;
}

tern_status tern_video_read(tern_video_reader *r, tern_video_frame *frame, bool *got, tern_error *err) {
    TN_TRY(decode(r, got, err));
    if (!*got) return TERN_OK;
    frame->time = time_of(r);
    frame->seconds = (double)frame->time * r->info.unit.num / r->info.unit.den;
    tern_status status = convert(r, err);
    r->ff.av_frame_unref(r->frame);
    if (status == TERN_OK) status = take_image(r, &frame->image, err);
    return status;
}

#endif
