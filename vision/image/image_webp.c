#include "vision/image/image_internal.h"

#ifndef HAVE_WEBP

tern_status tn_image_decode_webp(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("WebP", "libwebp-dev", err);
}
const char *tn_image_webp_library(void) { return NULL; }

#else

#include <webp/decode.h>
#include <webp/demux.h>

const char *tn_image_webp_library(void) { return "libwebp"; }

static const char *status_text(VP8StatusCode status) {
    switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return "the file is truncated";
    case VP8_STATUS_OUT_OF_MEMORY:
        return "out of memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return "a feature that the library does not support";
    default:
        return "the data is damaged";
    }
}

static int find_orientation(const tn_image_source *src) {
    WebPData data = {src->data, src->size};
    WebPDemuxer *demux = WebPDemux(&data);
    if (!demux) return 1;
    WebPChunkIterator chunk;
    int orientation = 1;
    if (WebPDemuxGetChunk(demux, "EXIF", 1, &chunk)) {
        orientation = tn_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    WebPDemuxDelete(demux);
    return orientation;
}

/* The first frame of an animation, on its canvas. */
static tern_status decode_animation(tern_image *out, const tn_image_source *src, tern_error *err) {
    WebPAnimDecoderOptions options;
    if (!WebPAnimDecoderOptionsInit(&options)) return tn_fail(err, TERN_INTERNAL, "libwebpdemux of another version");
    options.color_mode = MODE_RGBA;
    options.use_threads = 0;
    WebPData data = {src->data, src->size};
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, &options);
    if (!decoder) return tn_fail(err, TERN_INVALID_FORMAT, "the animation is damaged");
    uint8_t *rgba = NULL;
    int timestamp;
    WebPAnimInfo info;
    bool good = WebPAnimDecoderGetInfo(decoder, &info) && (int)info.canvas_width == out->width &&
                (int)info.canvas_height == out->height && WebPAnimDecoderGetNext(decoder, &rgba, &timestamp);
    size_t pixels = (size_t)out->width * (size_t)out->height;
    for (size_t i = 0; good && i < pixels; i++) memcpy(out->data + 3 * i, rgba + 4 * i, 3);
    WebPAnimDecoderDelete(decoder);
    return good ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "the first frame of the animation is damaged");
}

tern_status tn_image_decode_webp(tern_image *out, tn_image_source *src, tern_error *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return tn_fail(err, TERN_INTERNAL, "libwebp of another version");
    VP8StatusCode status = WebPGetFeatures(src->data, src->size, &config.input);
    if (status != VP8_STATUS_OK) return tn_fail(err, TERN_INVALID_FORMAT, "%s", status_text(status));
    TN_TRY(tn_image_start(out, src, (uint64_t)config.input.width, (uint64_t)config.input.height, err));
    src->orientation = find_orientation(src);
    if (config.input.has_animation) return decode_animation(out, src, err);
    size_t pitch = (size_t)out->width * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = out->data;
    config.output.u.RGBA.stride = (int)pitch;
    config.output.u.RGBA.size = pitch * (size_t)out->height;
    status = WebPDecode(src->data, src->size, &config);
    WebPFreeDecBuffer(&config.output);
    return status == VP8_STATUS_OK ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "%s", status_text(status));
}

#endif
