#include "vision/image/image_internal.h"

#ifndef HAVE_TIFF

tern_status tn_image_decode_tiff(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("TIFF", "libtiff-dev", err);
}
const char *tn_image_tiff_library(void) { return NULL; }

#else

#include <stdio.h>

#include <tiffio.h>

#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
const char *tn_image_tiff_library(void) { return "libtiff " TEXT_OF(TIFFLIB_VERSION); }

typedef struct tiff_reader {
    const tn_image_source *src;
    uint64_t at;
    char text[300]; /* the first error */
} tiff_reader;

static tmsize_t read_bytes(thandle_t handle, void *dst, tmsize_t n) {
    tiff_reader *r = handle;
    if (n <= 0 || r->at >= r->src->size) return 0;
    size_t count = TN_MIN((size_t)n, r->src->size - (size_t)r->at);
    memcpy(dst, r->src->data + r->at, count);
    r->at += count;
    return (tmsize_t)count;
}

static tmsize_t write_bytes(thandle_t handle, void *src, tmsize_t n) {
    (void)handle;
    (void)src;
    (void)n;
    return 0;
}

static toff_t seek_bytes(thandle_t handle, toff_t offset, int whence) {
    tiff_reader *r = handle;
    if (whence == SEEK_CUR) offset += r->at;
    if (whence == SEEK_END) offset += r->src->size;
    r->at = offset;
    return offset;
}

static int close_nothing(thandle_t handle) {
    (void)handle;
    return 0;
}

/* The file is in memory, so the library needs no copies of strips; besides, libtiff 4.5 can not read tiles of less than
 * 1,024 bytes from a file that is not mapped. */
static int map_bytes(thandle_t handle, void **base, toff_t *size) {
    tiff_reader *r = handle;
    *base = (void *)(uintptr_t)r->src->data;
    *size = r->src->size;
    return 1;
}

static void unmap_nothing(thandle_t handle, void *base, toff_t size) {
    (void)handle;
    (void)base;
    (void)size;
}

static toff_t get_size(thandle_t handle) { return ((tiff_reader *)handle)->src->size; }

/* The library's handlers are process-wide in old versions, hence the handle as context. */
static TN_PRINTF(3, 0) void on_error(thandle_t handle, const char *module, const char *format, va_list args) {
    (void)module;
    tiff_reader *r = handle;
    if (r && r->text[0] == '\0') vsnprintf(r->text, sizeof r->text, format, args);
}

#if TIFFLIB_VERSION >= 20221213
static TN_PRINTF(4, 0) int on_error_of(TIFF *tiff, void *context, const char *module, const char *format,
                                       va_list args) {
    (void)tiff;
    on_error(context, module, format, args);
    return 1;
}

static TN_PRINTF(4, 0) int on_warning(TIFF *tiff, void *context, const char *module, const char *format, va_list args) {
    (void)tiff;
    (void)context;
    (void)module;
    (void)format;
    (void)args;
    return 1;
}

static TIFF *open_tiff(tiff_reader *r) {
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) return NULL;
    /* A strip of the largest picture at 16 bits with alpha, and no more. */
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)TN_MAX(r->src->max_pixels * 8, (uint64_t)16 << 20));
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error_of, r);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, r);
    TIFF *tiff = TIFFClientOpenExt("picture", "r", r, read_bytes, write_bytes, seek_bytes, close_nothing, get_size,
                                   map_bytes, unmap_nothing, options);
    TIFFOpenOptionsFree(options);
    return tiff;
}
#else
static TIFF *open_tiff(tiff_reader *r) {
    TIFFSetErrorHandler(NULL);
    TIFFSetWarningHandler(NULL);
    TIFFSetErrorHandlerExt(on_error);
    return TIFFClientOpen("picture", "r", r, read_bytes, write_bytes, seek_bytes, close_nothing, get_size, map_bytes,
                          unmap_nothing);
}
#endif

static tern_status read_raster(TIFFRGBAImage *image, tern_image *out, const tiff_reader *r, tern_error *err) {
    size_t pixels = (size_t)out->width * (size_t)out->height;
    uint32_t *raster = tn_alloc_array(pixels, sizeof *raster);
    if (!raster) return tn_fail_oom(err, pixels * sizeof *raster);
    /* As stored: the caller turns it, which the library only half does. */
    image->orientation = image->req_orientation = ORIENTATION_TOPLEFT;
    bool good = TIFFRGBAImageGet(image, raster, (uint32_t)out->width, (uint32_t)out->height);
    for (size_t i = 0; good && i < pixels; i++) {
        out->data[3 * i] = (uint8_t)TIFFGetR(raster[i]);
        out->data[3 * i + 1] = (uint8_t)TIFFGetG(raster[i]);
        out->data[3 * i + 2] = (uint8_t)TIFFGetB(raster[i]);
    }
    tn_free(raster);
    return good ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "%s", r->text[0] ? r->text : "the data is damaged");
}

tern_status tn_image_decode_tiff(tern_image *out, tn_image_source *src, tern_error *err) {
    tiff_reader r = {.src = src};
    TIFF *tiff = open_tiff(&r);
    if (!tiff) return tn_fail(err, TERN_INVALID_FORMAT, "%s", r.text[0] ? r.text : "the header is damaged");
    uint32_t width = 0, height = 0;
    uint16_t orientation = 1;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
    if (TIFFGetField(tiff, TIFFTAG_ORIENTATION, &orientation)) src->orientation = orientation;
    tern_status status = tn_image_start(out, src, width, height, err);
    if (status == TERN_OK) {
        char text[1024] = "";
        TIFFRGBAImage image;
        if (TIFFRGBAImageOK(tiff, text) && TIFFRGBAImageBegin(&image, tiff, 1, text)) {
            status = read_raster(&image, out, &r, err);
            TIFFRGBAImageEnd(&image);
        } else {
            status = tn_fail(err, TERN_INVALID_FORMAT, "%s",
                             text[0]     ? text
                             : r.text[0] ? r.text
                                         : "a kind that can not be read");
        }
    }
    TIFFClose(tiff);
    return status;
}

#endif
