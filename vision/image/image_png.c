#include "vision/image/image_internal.h"

#ifndef HAVE_PNG

tern_status tn_image_decode_png(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("PNG", "libpng-dev", err);
}
const char *tn_image_png_library(void) { return NULL; }

#else

#include <setjmp.h>

#include <png.h>

#define MAX_CHUNK_BYTES (8 << 20) /* of an ancillary chunk, unpacked */

const char *tn_image_png_library(void) { return "libpng " PNG_LIBPNG_VER_STRING; }

typedef struct png_state {
    png_structp png;
    png_infop info, end;
    const tn_image_source *src;
    size_t at;
    uint8_t **rows;
    char text[200];
} png_state;

static void on_error(png_structp png, png_const_charp message) {
    png_state *s = png_get_error_ptr(png);
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "%s", message);
    if (!text.failed) {
        memcpy(s->text, text.data, TN_MIN(text.len, sizeof s->text - 1));
        s->text[TN_MIN(text.len, sizeof s->text - 1)] = '\0';
    }
    tn_text_release(&text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void read_bytes(png_structp png, png_bytep dst, size_t n) {
    png_state *s = png_get_io_ptr(png);
    if (n > s->src->size - s->at) png_error(png, "the file is truncated");
    memcpy(dst, s->src->data + s->at, n);
    s->at += n;
}

static int find_orientation(const png_state *s) {
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 n = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(s->png, s->info, &n, &exif) || png_get_eXIf_1(s->png, s->end, &n, &exif)) {
        return tn_exif_orientation(exif, n);
    }
#endif
    (void)s;
    return 1;
}

/* Every kind of PNG to 8-bit RGB. */
static void set_transforms(png_state *s) {
    png_byte color = png_get_color_type(s->png, s->info);
    png_set_strip_16(s->png); /* keeps the high byte */
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(s->png);
    if (!(color & PNG_COLOR_MASK_COLOR)) {
        png_set_expand_gray_1_2_4_to_8(s->png);
        png_set_gray_to_rgb(s->png);
    }
    png_set_strip_alpha(s->png);
    png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->info);
}

static tern_status decode(png_state *s, tern_image *out, tn_image_source *src, tern_error *err) {
    if (setjmp(png_jmpbuf(s->png))) return tn_fail(err, TERN_INVALID_FORMAT, "%s", s->text);
    png_set_read_fn(s->png, s, read_bytes);
    png_set_user_limits(s->png, TERN_IMAGE_MAX_SIDE, TERN_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(s->png, MAX_CHUNK_BYTES);
    png_read_info(s->png, s->info);
    TN_TRY(tn_image_start(out, src, png_get_image_width(s->png, s->info), png_get_image_height(s->png, s->info), err));
    set_transforms(s);
    size_t pitch = (size_t)out->width * 3;
    if (png_get_rowbytes(s->png, s->info) != pitch) {
        return tn_fail(err, TERN_UNSUPPORTED, "a row has %zu bytes, not %zu", png_get_rowbytes(s->png, s->info), pitch);
    }
    s->rows = tn_alloc_array((size_t)out->height, sizeof *s->rows);
    if (!s->rows) return tn_fail_oom(err, (size_t)out->height * sizeof *s->rows);
    for (int y = 0; y < out->height; y++) s->rows[y] = out->data + pitch * (size_t)y;
    png_read_image(s->png, s->rows);
    png_read_end(s->png, s->end);
    src->orientation = find_orientation(s);
    return TERN_OK;
}

tern_status tn_image_decode_png(tern_image *out, tn_image_source *src, tern_error *err) {
    png_state s = {.src = src, .text = "damaged"};
    s.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning);
    s.info = s.png ? png_create_info_struct(s.png) : NULL;
    s.end = s.info ? png_create_info_struct(s.png) : NULL;
    tern_status status = s.end ? decode(&s, out, src, err) : tn_fail_oom(err, 0);
    png_destroy_read_struct(&s.png, &s.info, &s.end);
    tn_free(s.rows);
    return status;
}

#endif
