/* Pictures: any common file format to 8-bit RGB. The format is told by content, never by name.
 *
 * What comes out is what OpenCV's imread(IMREAD_COLOR) gives, as RGB: alpha is dropped, of 16 bits the high byte is
 * kept, grey and palettes are expanded, CMYK is taken as Adobe writes it (inverted), EXIF orientation is applied. */
#ifndef TERN_VISION_IMAGE_H
#define TERN_VISION_IMAGE_H

#include "base/base.h"

typedef struct tern_image {
    int width, height;
    uint8_t *data; /* (height, width, 3), red first; owned, freed by tern_image_release */
} tern_image;

#define TERN_IMAGE_MAX_SIDE   65535
#define TERN_IMAGE_MAX_PIXELS ((uint64_t)64 << 20) /* unless a caller says otherwise; takes 192 MiB */

typedef struct tern_image_options {
    uint64_t max_pixels;     /* width * height; 0: TERN_IMAGE_MAX_PIXELS */
    bool ignore_orientation; /* as stored, whatever EXIF says */
} tern_image_options;

/* `options` may be NULL. On failure *out is empty. */
tern_status tern_image_load(tern_image *out, const char *path, const tern_image_options *options, tern_error *err);
tern_status tern_image_decode(tern_image *out, const void *data, size_t size, const tern_image_options *options,
                              tern_error *err);
/* "JPEG" and so on, told by the first bytes; NULL when they are of no known format. */
const char *tern_image_format_of(const void *data, size_t size);
/* An image of that size, black. */
tern_status tern_image_create(tern_image *out, int width, int height, tern_error *err);
void tern_image_release(tern_image *image);
/* Turns and mirrors so that the picture is upright; `orientation` is 1..8 as in TIFF and EXIF. */
tern_status tern_image_orient(tern_image *image, int orientation, tern_error *err);

/* What this build can read. */
typedef struct tern_image_format {
    const char *name;    /* "JPEG" */
    const char *library; /* "libjpeg-turbo 2.1.5"; "built in"; NULL: not in this build */
    const char *package; /* Debian package that would add it; NULL for those built in */
} tern_image_format;
#define TERN_IMAGE_FORMATS 8
void tern_image_formats(tern_image_format out[TERN_IMAGE_FORMATS]);

#endif
