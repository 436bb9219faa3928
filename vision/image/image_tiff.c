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

#include "vision/library/library.h"

#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
const char *tn_image_tiff_library(void) { return "libtiff " TEXT_OF(TIFFLIB_VERSION); }

#if TIFFLIB_VERSION >= 20221213
#define OPENING(F)                         \
    F(TIFFOpenOptionsAlloc)                \
    F(TIFFOpenOptionsFree)                 \
    F(TIFFOpenOptionsSetMaxSingleMemAlloc) \
    F(TIFFOpenOptionsSetErrorHandlerExtR) F(TIFFOpenOptionsSetWarningHandlerExtR) F(TIFFClientOpenExt)
#else
#define OPENING(F) F(TIFFSetErrorHandler) F(TIFFSetWarningHandler) F(TIFFSetErrorHandlerExt) F(TIFFClientOpen)
#endif
#define FUNCTIONS(F) \
    OPENING(F)       \
    F(TIFFClose) F(TIFFGetField) F(TIFFRGBAImageOK) F(TIFFRGBAImageBegin) F(TIFFRGBAImageGet) F(TIFFRGBAImageEnd)

typedef struct library {
    FUNCTIONS(TN_LIBRARY_FIELD)
} library;

typedef struct tiff_reader {
    library lib;
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
    TIFFOpenOptions *options = r->lib.TIFFOpenOptionsAlloc();
    if (!options) return NULL;
    /* A strip of the largest picture at 16 bits with alpha, and no more. */
    r->lib.TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)TN_MAX(r->src->max_pixels * 8, (uint64_t)16 << 20));
    r->lib.TIFFOpenOptionsSetErrorHandlerExtR(options, on_error_of, r);
    r->lib.TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, r);
    TIFF *tiff = r->lib.TIFFClientOpenExt("picture", "r", r, read_bytes, write_bytes, seek_bytes, close_nothing,
                                          get_size, map_bytes, unmap_nothing, options);
    r->lib.TIFFOpenOptionsFree(options);
    return tiff;
}
#else
static TIFF *open_tiff(tiff_reader *r) {
    r->lib.TIFFSetErrorHandler(NULL);
    r->lib.TIFFSetWarningHandler(NULL);
    r->lib.TIFFSetErrorHandlerExt(on_error);
    return r->lib.TIFFClientOpen("picture", "r", r, read_bytes, write_bytes, seek_bytes, close_nothing, get_size,
                                 map_bytes, unmap_nothing);
}
#endif

static tern_status read_raster(TIFFRGBAImage *image, tern_image *out, const tiff_reader *r, tern_error *err) {
    size_t pixels = (size_t)out->width * (size_t)out->height;
    uint32_t *raster = tn_alloc_array(pixels, sizeof *raster);
    if (!raster) return tn_fail_oom(err, pixels * sizeof *raster);
    /* As stored: the caller turns it, which the library only half does. */
    image->orientation = image->req_orientation = ORIENTATION_TOPLEFT;
    bool good = r->lib.TIFFRGBAImageGet(image, raster, (uint32_t)out->width, (uint32_t)out->height);
    for (size_t i = 0; good && i < pixels; i++) {
        out->data[3 * i] = (uint8_t)TIFFGetR(raster[i]);
        out->data[3 * i + 1] = (uint8_t)TIFFGetG(raster[i]);
        out->data[3 * i + 2] = (uint8_t)TIFFGetB(raster[i]);
    }
    tn_free(raster);
    return good ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "%s", r->text[0] ? r->text : "the data is damaged");
}

tern_status tn_image_decode_tiff(tern_image *out, tn_image_source *src, tern_error *err) {
#define ROW(NAME) TN_LIBRARY_ROW(library, NAME)
    static const tn_library_function functions[] = {FUNCTIONS(ROW)};
    tiff_reader r = {.src = src};
    TN_TRY(tn_library_load(TIFF_SONAME, functions, TN_COUNT(functions), &r.lib, err));
    TIFF *tiff = open_tiff(&r);
    if (!tiff) return tn_fail(err, TERN_INVALID_FORMAT, "%s", r.text[0] ? r.text : "the header is damaged");
    uint32_t width = 0, height = 0;
    uint16_t orientation = 1;
    r.lib.TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    r.lib.TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
    if (r.lib.TIFFGetField(tiff, TIFFTAG_ORIENTATION, &orientation)) src->orientation = orientation;
    tern_status status = tn_image_start(out, src, width, height, err);
    if (status == TERN_OK) {
        char text[1024] = "";
        TIFFRGBAImage image;
        if (r.lib.TIFFRGBAImageOK(tiff, text) && r.lib.TIFFRGBAImageBegin(&image, tiff, 1, text)) {
            status = read_raster(&image, out, &r, err);
            r.lib.TIFFRGBAImageEnd(&image);
        } else {
            status = tn_fail(err, TERN_INVALID_FORMAT, "%s",
                             text[0]     ? text
                             : r.text[0] ? r.text
                                         : "a kind that can not be read");
        }
    }
    r.lib.TIFFClose(tiff);
    return status;
}

#endif
