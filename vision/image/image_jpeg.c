#include "vision/image/image_internal.h"

#ifndef HAVE_JPEG

tern_status tn_image_decode_jpeg(tern_image *out, tn_image_source *src, tern_error *err) {
    (void)out;
    (void)src;
    return tn_image_missing("JPEG", "libjpeg-dev", err);
}
const char *tn_image_jpeg_library(void) { return NULL; }

#else

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive file of a few bytes per scan can ask for thousands of passes over the whole picture. */
#define MAX_SCANS   200
#define EXIF_MARKER (JPEG_APP0 + 1)

#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
#if defined(LIBJPEG_TURBO_VERSION)
const char *tn_image_jpeg_library(void) { return "libjpeg-turbo " TEXT_OF(LIBJPEG_TURBO_VERSION); }
#else
const char *tn_image_jpeg_library(void) { return "libjpeg " TEXT_OF(JPEG_LIB_VERSION); }
#endif

typedef struct jpeg_state {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    uint8_t *row; /* of a CMYK picture */
    char text[JMSG_LENGTH_MAX];
} jpeg_state;

static void stop(j_common_ptr d) {
    jpeg_state *s = d->client_data;
    d->err->format_message(d, s->text);
    longjmp(s->back, 1);
}

/* Level -1 is a warning: the library would go on with made-up pixels. Where data is missing that is an error here. */
static void on_message(j_common_ptr d, int level) {
    if (level >= 0) return;
    switch (d->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
        stop(d);
        break;
    default:
        break;
    }
}

static void on_progress(j_common_ptr d) {
    jpeg_state *s = d->client_data;
    if (s->d.input_scan_number <= MAX_SCANS) return;
    snprintf(s->text, sizeof s->text, "more than %d scans", MAX_SCANS);
    longjmp(s->back, 1);
}

/* Inverted CMYK (255 is no ink), which is what Adobe writes and everybody else copied; OpenCV's arithmetic. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, int width) {
    for (int x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        int k = cmyk[3];
        for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(k - ((255 - cmyk[c]) * k >> 8));
    }
}

static int find_orientation(const jpeg_state *s) {
    for (jpeg_saved_marker_ptr m = s->d.marker_list; m; m = m->next) {
        if (m->marker == EXIF_MARKER && m->data_length >= 6 && memcmp(m->data, "Exif\0\0", 6) == 0) {
            return tn_exif_orientation(m->data, m->data_length);
        }
    }
    return 1;
}

static tern_status read_rows(jpeg_state *s, tern_image *out, tern_error *err) {
    size_t pitch = (size_t)out->width * 3;
    bool cmyk = s->d.out_color_space == JCS_CMYK;
    if (cmyk) {
        s->row = tn_alloc_array((size_t)out->width, 4);
        if (!s->row) return tn_fail_oom(err, (size_t)out->width * 4);
    }
    while (s->d.output_scanline < s->d.output_height) {
        uint8_t *dst = out->data + pitch * s->d.output_scanline;
        JSAMPROW row = cmyk ? s->row : dst;
        if (jpeg_read_scanlines(&s->d, &row, 1) != 1) return tn_fail(err, TERN_INVALID_FORMAT, "no more rows");
        if (cmyk) cmyk_to_rgb(s->row, dst, out->width);
    }
    return TERN_OK;
}

static tern_status decode(jpeg_state *s, tern_image *out, tn_image_source *src, tern_error *err) {
    if (setjmp(s->back)) return tn_fail(err, TERN_INVALID_FORMAT, "%s", s->text);
    jpeg_create_decompress(&s->d);
    s->d.progress = &s->progress;
    jpeg_save_markers(&s->d, EXIF_MARKER, 0xffff);
    jpeg_mem_src(&s->d, src->data, (unsigned long)src->size);
    jpeg_read_header(&s->d, TRUE);
    src->orientation = find_orientation(s);
    s->d.out_color_space = s->d.num_components == 4 ? JCS_CMYK : JCS_RGB;
    TN_TRY(tn_image_start(out, src, s->d.image_width, s->d.image_height, err));
    jpeg_start_decompress(&s->d);
    TN_TRY(read_rows(s, out, err));
    jpeg_finish_decompress(&s->d);
    return TERN_OK;
}

tern_status tn_image_decode_jpeg(tern_image *out, tn_image_source *src, tern_error *err) {
    jpeg_state *s = tn_calloc(1, sizeof *s);
    if (!s) return tn_fail_oom(err, sizeof *s);
    s->d.err = jpeg_std_error(&s->errors);
    s->d.client_data = s;
    s->errors.error_exit = stop;
    s->errors.emit_message = on_message;
    s->progress.progress_monitor = on_progress;
    tern_status status = decode(s, out, src, err);
    jpeg_destroy_decompress(&s->d);
    tn_free(s->row);
    tn_free(s);
    return status;
}

#endif
