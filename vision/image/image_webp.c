#include "vision/image/image_internal.h"

#if !defined HAVE_WEBP || !defined HAVE_WEBPDEMUX

tern_status tn_image_decode_webp(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("WebP", "libwebp-dev", err);
}
const char *tn_image_webp_library(void) { return NULL; }

#else

#include <webp/decode.h>
#include <webp/demux.h>

#include "vision/library/library.h"

const char *tn_image_webp_library(void) { return "libwebp"; }

/* What the headers' inline functions call with the version that they are of. */
#define DECODER_FUNCTIONS(F) \
    F(WebPInitDecoderConfigInternal) F(WebPGetFeaturesInternal) F(WebPDecode) F(WebPFreeDecBuffer)
#define DEMUX_FUNCTIONS(F)                \
    F(WebPDemuxInternal)                  \
    F(WebPDemuxGetChunk)                  \
    F(WebPDemuxReleaseChunkIterator)      \
    F(WebPDemuxDelete)                    \
    F(WebPAnimDecoderOptionsInitInternal) \
    F(WebPAnimDecoderNewInternal) F(WebPAnimDecoderGetInfo) F(WebPAnimDecoderGetNext) F(WebPAnimDecoderDelete)

typedef struct library {
    DECODER_FUNCTIONS(TN_LIBRARY_FIELD)
    DEMUX_FUNCTIONS(TN_LIBRARY_FIELD)
} library;

static tern_status load(library *lib, tern_error *err) {
#define ROW(NAME) TN_LIBRARY_ROW(library, NAME)
    static const tn_library_function decoder[] = {DECODER_FUNCTIONS(ROW)}, demux[] = {DEMUX_FUNCTIONS(ROW)};
    TN_TRY(tn_library_load(WEBP_SONAME, decoder, TN_COUNT(decoder), lib, err));
    return tn_library_load(WEBPDEMUX_SONAME, demux, TN_COUNT(demux), lib, err);
}

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

static int find_orientation(const library *lib, const tn_image_source *src) {
    WebPData data = {src->data, src->size};
    WebPDemuxer *demux = lib->WebPDemuxInternal(&data, 0, NULL, WEBP_DEMUX_ABI_VERSION);
    if (!demux) return 1;
    WebPChunkIterator chunk;
    int orientation = 1;
    if (lib->WebPDemuxGetChunk(demux, "EXIF", 1, &chunk)) {
        orientation = tn_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        lib->WebPDemuxReleaseChunkIterator(&chunk);
    }
    lib->WebPDemuxDelete(demux);
    return orientation;
}

/* The first frame of an animation, on its canvas. */
static tern_status decode_animation(const library *lib, tern_image *out, const tn_image_source *src, tern_error *err) {
    WebPAnimDecoderOptions options;
    if (!lib->WebPAnimDecoderOptionsInitInternal(&options, WEBP_DEMUX_ABI_VERSION))
        return tn_fail(err, TERN_INTERNAL, "libwebpdemux of another version");
    options.color_mode = MODE_RGBA;
    options.use_threads = 0;
    WebPData data = {src->data, src->size};
    WebPAnimDecoder *decoder = lib->WebPAnimDecoderNewInternal(&data, &options, WEBP_DEMUX_ABI_VERSION);
    if (!decoder) return tn_fail(err, TERN_INVALID_FORMAT, "the animation is damaged");
    uint8_t *rgba = NULL;
    int timestamp;
    WebPAnimInfo info;
    bool good = lib->WebPAnimDecoderGetInfo(decoder, &info) && (int)info.canvas_width == out->width &&
                (int)info.canvas_height == out->height && lib->WebPAnimDecoderGetNext(decoder, &rgba, &timestamp);
    size_t pixels = (size_t)out->width * (size_t)out->height;
    for (size_t i = 0; good && i < pixels; i++) memcpy(out->data + 3 * i, rgba + 4 * i, 3);
    lib->WebPAnimDecoderDelete(decoder);
    return good ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "the first frame of the animation is damaged");
}

tern_status tn_image_decode_webp(tern_image *out, tn_image_source *src, tern_error *err) {
    library lib;
    WebPDecoderConfig config;
    TN_TRY(load(&lib, err));
    if (!lib.WebPInitDecoderConfigInternal(&config, WEBP_DECODER_ABI_VERSION))
        return tn_fail(err, TERN_INTERNAL, "libwebp of another version");
    VP8StatusCode status = lib.WebPGetFeaturesInternal(src->data, src->size, &config.input, WEBP_DECODER_ABI_VERSION);
    if (status != VP8_STATUS_OK) return tn_fail(err, TERN_INVALID_FORMAT, "%s", status_text(status));
    TN_TRY(tn_image_start(out, src, (uint64_t)config.input.width, (uint64_t)config.input.height, err));
    src->orientation = find_orientation(&lib, src);
    if (config.input.has_animation) return decode_animation(&lib, out, src, err);
    size_t pitch = (size_t)out->width * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = out->data;
    config.output.u.RGBA.stride = (int)pitch;
    config.output.u.RGBA.size = pitch * (size_t)out->height;
    status = lib.WebPDecode(src->data, src->size, &config);
    lib.WebPFreeDecBuffer(&config.output);
    return status == VP8_STATUS_OK ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "%s", status_text(status));
}

#endif
