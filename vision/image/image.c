#include "vision/image/image.h"

#include "vision/image/image_internal.h"

void tern_image_release(tern_image *image) {
    tn_free(image->data);
    *image = (tern_image){0};
}

tern_status tern_image_create(tern_image *out, int width, int height, tern_error *err) {
    *out = (tern_image){0};
    if (width < 1 || height < 1 || width > TERN_IMAGE_MAX_SIDE || height > TERN_IMAGE_MAX_SIDE) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "an image of %d x %d pixels is not possible", width, height);
    }
    size_t pixels = (size_t)width * (size_t)height;
    uint8_t *data = tn_calloc(pixels, 3);
    if (!data) return tn_fail_oom(err, pixels * 3);
    *out = (tern_image){width, height, data};
    return TERN_OK;
}

tern_status tn_image_start(tern_image *out, const tn_image_source *src, uint64_t width, uint64_t height,
                           tern_error *err) {
    if (width < 1 || height < 1) {
        return tn_fail(err, TERN_INVALID_FORMAT, "%llu x %llu pixels: the picture is empty", (unsigned long long)width,
                       (unsigned long long)height);
    }
    if (width > TERN_IMAGE_MAX_SIDE || height > TERN_IMAGE_MAX_SIDE || width * height > src->max_pixels) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED,
                       "%llu x %llu pixels are more than the limit (%d on a side, %llu in all)",
                       (unsigned long long)width, (unsigned long long)height, TERN_IMAGE_MAX_SIDE,
                       (unsigned long long)src->max_pixels);
    }
    return tern_image_create(out, (int)width, (int)height, err);
}

tern_status tn_image_missing(const char *format, const char *package, tern_error *err) {
    return tn_fail(err, TERN_UNSUPPORTED, "this build has no %s support; install %s and rebuild", format, package);
}

/* ---- orientation ------------------------------------------------------------------------------------------- */

tern_status tern_image_orient(tern_image *image, int orientation, tern_error *err) {
    if (orientation <= 1 || orientation > 8) return TERN_OK;
    int w = image->width, h = image->height;
    bool swap = orientation >= 5;
    tern_image out;
    TN_TRY(tern_image_create(&out, swap ? h : w, swap ? w : h, err));
    /* Where the upright picture's pixel (x, y) is in the stored one: start + x * right + y * down, in pixels. */
    ptrdiff_t sw = w, last_row = (ptrdiff_t)(h - 1) * w, last_col = w - 1;
    const struct {
        ptrdiff_t start, right, down;
    } walk[9] = {
        [2] = {last_col, -1, sw}, [3] = {last_row + last_col, -1, -sw}, [4] = {last_row, 1, -sw}, [5] = {0, sw, 1},
        [6] = {last_row, -sw, 1}, [7] = {last_row + last_col, -sw, -1}, [8] = {last_col, sw, -1}};
    uint8_t *dst = out.data;
    for (int y = 0; y < out.height; y++) {
        ptrdiff_t at = walk[orientation].start + y * walk[orientation].down;
        for (int x = 0; x < out.width; x++, dst += 3, at += walk[orientation].right)
            memcpy(dst, image->data + 3 * at, 3);
    }
    tern_image_release(image);
    *image = out;
    return TERN_OK;
}

/* ---- formats ----------------------------------------------------------------------------------------------- */

static bool starts(const tn_image_source *src, const char *magic, size_t n) {
    return src->size >= n && memcmp(src->data, magic, n) == 0;
}

static bool is_jpeg(const tn_image_source *s) { return starts(s, "\xff\xd8\xff", 3); }
static bool is_png(const tn_image_source *s) { return starts(s, "\x89PNG\r\n\x1a\n", 8); }
static bool is_bmp(const tn_image_source *s) { return starts(s, "BM", 2); }
static bool is_webp(const tn_image_source *s) {
    return starts(s, "RIFF", 4) && s->size >= 12 && memcmp(s->data + 8, "WEBP", 4) == 0;
}
static bool is_tiff(const tn_image_source *s) {
    return starts(s, "II*\0", 4) || starts(s, "MM\0*", 4) || starts(s, "II+\0", 4) || starts(s, "MM\0+", 4);
}
static bool is_gif(const tn_image_source *s) { return starts(s, "GIF87a", 6) || starts(s, "GIF89a", 6); }
static bool is_jp2(const tn_image_source *s) {
    return starts(s, "\0\0\0\fjP  \r\n\x87\n", 12) || starts(s, "\xff\x4f\xff\x51", 4);
}
static bool is_pnm(const tn_image_source *s) {
    return s->size >= 3 && s->data[0] == 'P' && s->data[1] >= '1' && s->data[1] <= '7' &&
           (s->data[2] == '#' || s->data[2] == ' ' || (s->data[2] >= '\t' && s->data[2] <= '\r'));
}

static const struct {
    const char *name;
    bool (*is)(const tn_image_source *src);
    tn_image_decoder decode;
} formats[] = {
    {"JPEG", is_jpeg, tn_image_decode_jpeg}, {"PNG", is_png, tn_image_decode_png},
    {"BMP", is_bmp, tn_image_decode_bmp},    {"WebP", is_webp, tn_image_decode_webp},
    {"TIFF", is_tiff, tn_image_decode_tiff}, {"GIF", is_gif, tn_image_decode_gif},
    {"PNM", is_pnm, tn_image_decode_pnm},    {"JPEG 2000", is_jp2, tn_image_decode_jp2},
};

_Static_assert(TN_COUNT(formats) == TERN_IMAGE_FORMATS, "one row per format");

void tern_image_formats(tern_image_format out[TERN_IMAGE_FORMATS]) {
    const char *const library[] = {tn_image_jpeg_library(), tn_image_png_library(), "built in", tn_image_webp_library(),
                                   tn_image_tiff_library(), tn_image_gif_library(), "built in", tn_image_jp2_library()};
    const char *const package[] = {"libjpeg-dev", "libpng-dev", NULL, "libwebp-dev",
                                   "libtiff-dev", "libgif-dev", NULL, "libopenjp2-7-dev"};
    for (size_t i = 0; i < TN_COUNT(formats); i++) {
        out[i] = (tern_image_format){formats[i].name, library[i], package[i]};
    }
}

const char *tern_image_format_of(const void *data, size_t size) {
    tn_image_source src = {.data = data, .size = size};
    for (size_t i = 0; i < TN_COUNT(formats); i++) {
        if (formats[i].is(&src)) return formats[i].name;
    }
    return NULL;
}

tern_status tern_image_decode(tern_image *out, const void *data, size_t size, const tern_image_options *options,
                              tern_error *err) {
    *out = (tern_image){0};
    tn_image_source src = {.data = data, .size = size, .max_pixels = TERN_IMAGE_MAX_PIXELS, .orientation = 1};
    if (options && options->max_pixels) src.max_pixels = options->max_pixels;
    if (size == 0) return tn_fail(err, TERN_INVALID_FORMAT, "the file is empty");
    for (size_t i = 0; i < TN_COUNT(formats); i++) {
        if (!formats[i].is(&src)) continue;
        tern_status status = formats[i].decode(out, &src, err);
        if (status == TERN_OK && !(options && options->ignore_orientation)) {
            status = tern_image_orient(out, src.orientation, err);
        }
        if (status == TERN_OK) return TERN_OK;
        tern_image_release(out);
        if (status != TERN_UNSUPPORTED) tn_error_prefix(err, "%s picture: ", formats[i].name);
        return status;
    }
    return tn_fail(err, TERN_INVALID_FORMAT,
                   "not a picture of a known format (JPEG, PNG, BMP, WebP, TIFF, GIF, PNM, JPEG 2000)");
}

tern_status tern_image_load(tern_image *out, const char *path, const tern_image_options *options, tern_error *err) {
    *out = (tern_image){0};
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err)); /* its text names the file */
    tern_status status = tern_image_decode(out, file.data, file.size, options, err);
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}
