/* Pictures to files. */
#include <ctype.h>
#include <stdio.h>

#include "vision/draw/draw.h"

typedef struct bytes {
    uint8_t *data;
    size_t size, cap;
    bool failed;
} bytes;

static void add_bytes(bytes *b, const void *data, size_t n) {
    b->failed = b->failed || !tn_grow(&b->data, &b->cap, b->size + n, 1);
    if (b->failed) return;
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

/* ---- JPEG --------------------------------------------------------------------------------------------------- */

#ifdef HAVE_JPEG

#include <setjmp.h>
#include <stdlib.h>

#include <jpeglib.h>

typedef struct jpeg_state {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr destination;
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
    bytes *out;
    uint8_t buffer[1 << 16];
} jpeg_state;

static void stop(j_common_ptr c) {
    jpeg_state *s = c->client_data;
    c->err->format_message(c, s->text);
    longjmp(s->back, 1);
}

static void start_buffer(j_compress_ptr c) {
    jpeg_state *s = c->client_data;
    s->destination.next_output_byte = s->buffer;
    s->destination.free_in_buffer = sizeof s->buffer;
}

static boolean full_buffer(j_compress_ptr c) {
    jpeg_state *s = c->client_data;
    add_bytes(s->out, s->buffer, sizeof s->buffer);
    start_buffer(c);
    return TRUE;
}

static void end_buffer(j_compress_ptr c) {
    jpeg_state *s = c->client_data;
    add_bytes(s->out, s->buffer, sizeof s->buffer - s->destination.free_in_buffer);
}

static tern_status compress(jpeg_state *s, const tern_image *image, int quality, tern_error *err) {
    if (setjmp(s->back)) return tn_fail(err, TERN_INTERNAL, "the JPEG library says: %s", s->text);
    jpeg_create_compress(&s->c);
    s->c.dest = &s->destination;
    s->c.image_width = (JDIMENSION)image->width;
    s->c.image_height = (JDIMENSION)image->height;
    s->c.input_components = 3;
    s->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&s->c);
    jpeg_set_quality(&s->c, quality, TRUE);
    s->c.optimize_coding = TRUE;
    /* Colour at full resolution: thin coloured lines would blur. */
    s->c.comp_info[0].h_samp_factor = s->c.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&s->c, TRUE);
    while (s->c.next_scanline < s->c.image_height) {
        JSAMPROW row = image->data + (size_t)s->c.next_scanline * (size_t)image->width * 3;
        jpeg_write_scanlines(&s->c, &row, 1);
    }
    jpeg_finish_compress(&s->c);
    return TERN_OK;
}

static tern_status encode_jpeg(const tern_image *image, int quality, bytes *out, tern_error *err) {
    jpeg_state *s = tn_calloc(1, sizeof *s);
    if (!s) return tn_fail_oom(err, sizeof *s);
    s->out = out;
    s->c.err = jpeg_std_error(&s->errors);
    s->c.client_data = s;
    s->errors.error_exit = stop;
    s->destination.init_destination = start_buffer;
    s->destination.empty_output_buffer = full_buffer;
    s->destination.term_destination = end_buffer;
    tern_status status = compress(s, image, quality, err);
    jpeg_destroy_compress(&s->c);
    tn_free(s);
    return status;
}

#else

static tern_status encode_jpeg(const tern_image *image, int quality, bytes *out, tern_error *err) {
    (void)image;
    (void)quality;
    (void)out;
    return tn_fail(err, TERN_UNSUPPORTED, "this build has no JPEG support; install libjpeg-dev and rebuild");
}

#endif

/* ---- PNG ---------------------------------------------------------------------------------------------------- */

#ifdef HAVE_PNG

#include <setjmp.h>

#include <png.h>

typedef struct png_state {
    png_structp png;
    png_infop info;
    bytes *out;
    char text[200];
} png_state;

static void on_error(png_structp png, png_const_charp message) {
    png_state *s = png_get_error_ptr(png);
    snprintf(s->text, sizeof s->text, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void write_bytes(png_structp png, png_bytep data, size_t n) {
    png_state *s = png_get_io_ptr(png);
    add_bytes(s->out, data, n);
}

static void flush_bytes(png_structp png) { (void)png; }

static tern_status write_png(png_state *s, const tern_image *image, tern_error *err) {
    if (setjmp(png_jmpbuf(s->png))) return tn_fail(err, TERN_INTERNAL, "the PNG library says: %s", s->text);
    png_set_write_fn(s->png, s, write_bytes, flush_bytes);
    png_set_compression_level(s->png, 3);
    png_set_IHDR(s->png, s->info, (png_uint_32)image->width, (png_uint_32)image->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(s->png, s->info);
    for (int y = 0; y < image->height; y++) {
        png_write_row(s->png, image->data + (size_t)y * (size_t)image->width * 3);
    }
    png_write_end(s->png, NULL);
    return TERN_OK;
}

static tern_status encode_png(const tern_image *image, bytes *out, tern_error *err) {
    png_state s = {.out = out};
    s.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning);
    s.info = s.png ? png_create_info_struct(s.png) : NULL;
    tern_status status = s.info ? write_png(&s, image, err) : tn_fail_oom(err, 0);
    png_destroy_write_struct(&s.png, &s.info);
    return status;
}

#else

static tern_status encode_png(const tern_image *image, bytes *out, tern_error *err) {
    (void)image;
    (void)out;
    return tn_fail(err, TERN_UNSUPPORTED, "this build has no PNG support; install libpng-dev and rebuild");
}

#endif

/* ---- the doors ---------------------------------------------------------------------------------------------- */

typedef enum file_type { TYPE_NONE = 0, TYPE_JPEG, TYPE_PNG, TYPE_PPM } file_type;

static file_type type_of(const char *path) {
    static const struct {
        const char *ending;
        file_type type;
    } endings[] = {{".jpg", TYPE_JPEG}, {".jpeg", TYPE_JPEG}, {".png", TYPE_PNG}, {".ppm", TYPE_PPM}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < TN_COUNT(endings); i++) {
        const char *a = dot, *b = endings[i].ending;
        while (*a && tolower((unsigned char)*a) == *b) {
            a++;
            b++;
        }
        if (!*a && !*b) return endings[i].type;
    }
    return TYPE_NONE;
}

bool tern_image_can_save(const char *path) { return type_of(path) != TYPE_NONE; }

static tern_status encode(const tern_image *image, const char *path, int quality, bytes *out, tern_error *err) {
    char header[64];
    switch (type_of(path)) {
    case TYPE_JPEG:
        TN_TRY(encode_jpeg(image, quality, out, err));
        break;
    case TYPE_PNG:
        TN_TRY(encode_png(image, out, err));
        break;
    case TYPE_PPM:
        snprintf(header, sizeof header, "P6\n%d %d\n255\n", image->width, image->height);
        add_bytes(out, header, strlen(header));
        add_bytes(out, image->data, (size_t)image->width * (size_t)image->height * 3);
        break;
    default:
        return tn_fail(err, TERN_INVALID_ARGUMENT, "pictures are written as .jpg, .png or .ppm");
    }
    return out->failed ? tn_fail_oom(err, out->size) : TERN_OK;
}

tern_status tern_image_encode(const tern_image *image, const char *name, int quality, uint8_t **data, size_t *size,
                              tern_error *err) {
    bytes out = {0};
    tern_status status = encode(image, name, TN_MIN(TN_MAX(quality, 1), 100), &out, err);
    if (status != TERN_OK) tn_free(out.data);
    *data = status == TERN_OK ? out.data : NULL;
    *size = status == TERN_OK ? out.size : 0;
    return status;
}

tern_status tern_image_save(const tern_image *image, const char *path, int quality, tern_error *err) {
    uint8_t *data;
    size_t size;
    tern_status status = tern_image_encode(image, path, quality, &data, &size, err);
    if (status != TERN_OK) {
        tn_error_prefix(err, "%s: ", path);
    } else {
        status = tn_file_write(path, data, size, err);
    }
    tn_free(data);
    return status;
}
