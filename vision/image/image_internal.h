/* One decoder per file; image.c chooses among them and turns the result upright. */
#ifndef TERN_VISION_IMAGE_INTERNAL_H
#define TERN_VISION_IMAGE_INTERNAL_H

#include "vision/image/image.h"

typedef struct tn_image_source {
    const uint8_t *data;
    size_t size;
    uint64_t max_pixels;
    int orientation; /* set by the decoder: 1..8 as in TIFF and EXIF; 1 where the file does not say */
} tn_image_source;

/* A decoder may leave *out half filled on failure; the caller releases it. Texts of errors name neither file nor
 * format: the caller puts both before them. */
typedef tern_status (*tn_image_decoder)(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_jpeg(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_png(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_bmp(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_pnm(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_webp(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_tiff(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_gif(tern_image *out, tn_image_source *src, tern_error *err);
tern_status tn_image_decode_jp2(tern_image *out, tn_image_source *src, tern_error *err);

/* Versions of the libraries; NULL when the build is without. */
const char *tn_image_jpeg_library(void);
const char *tn_image_png_library(void);
const char *tn_image_webp_library(void);
const char *tn_image_tiff_library(void);
const char *tn_image_gif_library(void);
const char *tn_image_jp2_library(void);

/* The body of a decoder whose library was not there. */
tern_status tn_image_missing(const char *format, const char *package, tern_error *err);

/* Refuses sizes that are not positive, above TERN_IMAGE_MAX_SIDE or above the limit of pixels; else allocates, cleared.
 */
tern_status tn_image_start(tern_image *out, const tn_image_source *src, uint64_t width, uint64_t height,
                           tern_error *err);

/* Orientation in a block of EXIF data (a TIFF header, with or without "Exif\0\0" before it); 1 when it has none. */
int tn_exif_orientation(const uint8_t *data, size_t size);

#endif
