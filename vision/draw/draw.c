#include "vision/draw/draw.h"

#ifndef HAVE_CAIRO

const char *tern_draw_library(void) { return NULL; }

tern_status tern_draw_detections(tern_image *image, const tern_detections *d, const tern_draw_options *options,
                                 tern_error *err) {
    (void)image;
    (void)d;
    (void)options;
    return tn_fail(err, TERN_UNSUPPORTED, "this build can not draw; install libcairo2-dev and rebuild");
}

#else

#include <cairo.h>
#include <math.h>
#include <stdio.h>

#include "vision/library/library.h"

#define MASK_OPACITY 0.45
#define HALO_OPACITY 0.65 /* of the dark rim that parts a line from a background of its own colour */
#define MAX_SIDE     32767

const char *tern_draw_library(void) { return "cairo " CAIRO_VERSION_STRING; }

/* Fontconfig, behind cairo's text, loses a few bytes when it reads its configuration; not ours to report. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAKS_ARE_LOOKED_FOR
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_LOOKED_FOR
#endif
#ifdef LEAKS_ARE_LOOKED_FOR
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\n"; }
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "print_suppressions=0"; } /* stderr is for the user */
#endif

typedef struct library {
#define FN(NAME) TN_LIBRARY_FIELD(NAME)
#include "vision/draw/cairo_list.inc"
#undef FN
} library;

typedef struct canvas {
    library lib;
    cairo_surface_t *surface;
    cairo_t *cr;
    const tern_detections *d;
    const tern_draw_options *options;
    int width, height;
    double line, font; /* pixels */
} canvas;

/* ---- pixels ------------------------------------------------------------------------------------------------- */

static void to_surface(const tern_image *image, const canvas *c) {
    uint8_t *data = c->lib.cairo_image_surface_get_data(c->surface);
    size_t stride = (size_t)c->lib.cairo_image_surface_get_stride(c->surface);
    for (int y = 0; y < image->height; y++) {
        const uint8_t *src = image->data + (size_t)y * (size_t)image->width * 3;
        uint8_t *row = data + stride * (size_t)y;
        for (int x = 0; x < image->width; x++, src += 3) {
            uint32_t pixel = 0xff000000u | (uint32_t)src[0] << 16 | (uint32_t)src[1] << 8 | src[2];
            memcpy(row + 4 * (size_t)x, &pixel, 4);
        }
    }
    c->lib.cairo_surface_mark_dirty(c->surface);
}

static void from_surface(const canvas *c, tern_image *image) {
    c->lib.cairo_surface_flush(c->surface);
    const uint8_t *data = c->lib.cairo_image_surface_get_data(c->surface);
    size_t stride = (size_t)c->lib.cairo_image_surface_get_stride(c->surface);
    for (int y = 0; y < image->height; y++) {
        uint8_t *dst = image->data + (size_t)y * (size_t)image->width * 3;
        for (int x = 0; x < image->width; x++, dst += 3) {
            uint32_t pixel;
            memcpy(&pixel, data + stride * (size_t)y + 4 * (size_t)x, 4);
            dst[0] = (uint8_t)(pixel >> 16);
            dst[1] = (uint8_t)(pixel >> 8);
            dst[2] = (uint8_t)pixel;
        }
    }
}

static void set_color(const canvas *c, tern_color color, double opacity) {
    c->lib.cairo_set_source_rgba(c->cr, color.r / 255.0, color.g / 255.0, color.b / 255.0, opacity);
}

/* ---- masks -------------------------------------------------------------------------------------------------- */

static tern_status draw_mask(const tern_detections *d, size_t i, tern_image *image, tern_error *err) {
    const tern_box *b = &d->items[i].box;
    int x1 = (int)b->x1, x2 = (int)ceilf(b->x2), y2 = (int)ceilf(b->y2);
    if (x2 <= x1) return TERN_OK;
    uint8_t *row = tn_alloc((size_t)(x2 - x1));
    if (!row) return tn_fail_oom(err, (size_t)(x2 - x1));
    tern_color color = tern_class_color(d->items[i].cls);
    const uint8_t rgb[3] = {color.r, color.g, color.b};
    for (int y = (int)b->y1; y < y2; y++) {
        tern_mask_row(d, i, y, x1, x2, row);
        uint8_t *p = image->data + ((size_t)y * (size_t)image->width + (size_t)x1) * 3;
        for (int x = 0; x < x2 - x1; x++, p += 3) {
            if (!row[x]) continue;
            for (int k = 0; k < 3; k++) p[k] = (uint8_t)lrint(p[k] * (1 - MASK_OPACITY) + rgb[k] * MASK_OPACITY);
        }
    }
    tn_free(row);
    return TERN_OK;
}

/* ---- lines -------------------------------------------------------------------------------------------------- */

static void draw_box(const canvas *c, const tern_detection *item) {
    const tern_box *b = &item->box;
    /* Wholly inside the picture, also at its edge. */
    double half = c->line / 2;
    double x1 = TN_MIN((double)b->x1 + half, c->width - half), y1 = TN_MIN((double)b->y1 + half, c->height - half);
    double w = TN_MAX((double)b->x2 - half - x1, 0.0), h = TN_MAX((double)b->y2 - half - y1, 0.0);
    c->lib.cairo_set_line_join(c->cr, CAIRO_LINE_JOIN_ROUND);
    c->lib.cairo_rectangle(c->cr, x1, y1, w, h);
    c->lib.cairo_set_source_rgba(c->cr, 0, 0, 0, HALO_OPACITY);
    c->lib.cairo_set_line_width(c->cr, c->line + TN_MAX(2.0, c->line * 0.5));
    c->lib.cairo_stroke_preserve(c->cr);
    set_color(c, tern_class_color(item->cls), 1);
    c->lib.cairo_set_line_width(c->cr, c->line);
    c->lib.cairo_stroke(c->cr);
}

static void draw_landmarks(const canvas *c, size_t i) {
    const tern_detections *d = c->d;
    const float *p = d->landmarks + i * (size_t)d->points * (size_t)d->point_size;
    double size = (double)TN_MAX(d->items[i].box.x2 - d->items[i].box.x1, d->items[i].box.y2 - d->items[i].box.y1);
    double radius = TN_MIN(TN_MAX(size * 0.02, 1.5), c->line * 1.5);
    for (int k = 0; k < d->points; k++, p += d->point_size) {
        if (d->point_size == 3 && !(p[2] > 0.5f)) continue;
        if (!isfinite(p[0]) || !isfinite(p[1])) continue;
        c->lib.cairo_arc(c->cr, (double)p[0], (double)p[1], radius + 1, 0, 2 * M_PI);
        c->lib.cairo_set_source_rgba(c->cr, 0, 0, 0, HALO_OPACITY);
        c->lib.cairo_fill(c->cr);
        c->lib.cairo_arc(c->cr, (double)p[0], (double)p[1], radius, 0, 2 * M_PI);
        set_color(c, tern_class_color(k), 1);
        c->lib.cairo_fill(c->cr);
    }
}

/* ---- labels ------------------------------------------------------------------------------------------------- */

static void label_text(const canvas *c, const tern_detection *item, char *text, size_t size) {
    const tern_draw_options *o = c->options;
    const char *name = (size_t)item->cls < o->n_names ? o->names[item->cls] : NULL;
    char number[32];
    snprintf(number, sizeof number, "class %d", (int)item->cls);
    if (o->no_scores) {
        snprintf(text, size, "%s", name ? name : number);
    } else {
        snprintf(text, size, "%.80s %.2f", name ? name : number, (double)item->score);
    }
    tn_utf8_clean_line(text);
}

/* On a plate of the box's colour: above the box, inside it where there is no room above. */
static void draw_label(const canvas *c, const tern_detection *item) {
    char text[160];
    label_text(c, item, text, sizeof text);
    cairo_text_extents_t size;
    cairo_font_extents_t font;
    c->lib.cairo_text_extents(c->cr, text, &size);
    c->lib.cairo_font_extents(c->cr, &font);
    double pad = TN_MAX(2.0, c->font * 0.2), w = size.x_advance + 2 * pad, h = font.ascent + font.descent + pad;
    double x = TN_MAX(0.0, TN_MIN((double)item->box.x1, c->width - w)), y = (double)item->box.y1 - h;
    if (y < 0) y = TN_MAX(0.0, TN_MIN((double)item->box.y1, c->height - h));
    tern_color color = tern_class_color(item->cls);
    c->lib.cairo_rectangle(c->cr, x, y, w, h);
    c->lib.cairo_set_source_rgba(c->cr, 0, 0, 0, HALO_OPACITY);
    c->lib.cairo_set_line_width(c->cr, 2);
    c->lib.cairo_stroke_preserve(c->cr);
    set_color(c, color, 1);
    c->lib.cairo_fill(c->cr);
    c->lib.cairo_move_to(c->cr, x + pad, y + pad / 2 + font.ascent);
    set_color(c, tern_text_color(color), 1);
    c->lib.cairo_show_text(c->cr, text);
    c->lib.cairo_new_path(c->cr);
}

/* ---- the door ----------------------------------------------------------------------------------------------- */

/* The best ones last, on top; a label must not be crossed by lines, so labels come after all boxes. */
static void draw_all(const canvas *c) {
    for (size_t i = c->d->count; i-- > 0;) draw_box(c, &c->d->items[i]);
    for (size_t i = c->d->count; c->d->landmarks && i-- > 0;) draw_landmarks(c, i);
    for (size_t i = c->d->count; !c->options->no_labels && i-- > 0;) draw_label(c, &c->d->items[i]);
}

static tern_status draw_on_surface(tern_image *image, canvas *c, tern_error *err) {
    c->surface = c->lib.cairo_image_surface_create(CAIRO_FORMAT_RGB24, image->width, image->height);
    c->cr = c->lib.cairo_create(c->surface);
    if (c->lib.cairo_status(c->cr) == CAIRO_STATUS_SUCCESS) {
        to_surface(image, c);
        c->lib.cairo_select_font_face(c->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
        c->lib.cairo_set_font_size(c->cr, c->font);
        draw_all(c);
    }
    cairo_status_t status = c->lib.cairo_status(c->cr);
    if (status == CAIRO_STATUS_SUCCESS) from_surface(c, image);
    c->lib.cairo_destroy(c->cr);
    c->lib.cairo_surface_destroy(c->surface);
    if (status == CAIRO_STATUS_SUCCESS) return TERN_OK;
    if (status == CAIRO_STATUS_NO_MEMORY) return tn_fail_oom(err, (size_t)image->width * (size_t)image->height * 4);
    return tn_fail(err, TERN_INTERNAL, "cairo can not draw: %s", c->lib.cairo_status_to_string(status));
}

tern_status tern_draw_detections(tern_image *image, const tern_detections *d, const tern_draw_options *options,
                                 tern_error *err) {
    if (image->width != d->width || image->height != d->height) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "detections of a picture of %d x %d in one of %d x %d", d->width,
                       d->height, image->width, image->height);
    }
    if (image->width > MAX_SIDE || image->height > MAX_SIDE) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a picture of %d x %d is too large to draw in (%d on a side)",
                       image->width, image->height, MAX_SIDE);
    }
    for (size_t i = d->count; d->masks && i-- > 0;) TN_TRY(draw_mask(d, i, image, err));
    double side = (image->width + image->height) / 2.0;
    canvas c = {.d = d, .options = options, .width = image->width, .height = image->height};
    static const tn_library_function functions[] = {
#define FN(NAME) TN_LIBRARY_ROW(library, NAME)
#include "vision/draw/cairo_list.inc"
#undef FN
    };
    TN_TRY(tn_library_load(CAIRO_SONAME, functions, TN_COUNT(functions), &c.lib, err));
    c.line = options->line_width > 0 ? options->line_width : TN_MAX(side * 0.003, 2.0);
    c.font = TN_MAX(c.line * 5.5, 11.0);
    return draw_on_surface(image, &c, err);
}

#endif
