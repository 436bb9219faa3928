/* Detections drawn into a picture, and pictures written to files. */
#ifndef TERN_VISION_DRAW_H
#define TERN_VISION_DRAW_H

#include "vision/detect/detect.h"

typedef struct tern_draw_options {
    const char *const *names; /* of the classes; NULL entries and those from n_names on: "class 7" */
    size_t n_names;
    bool no_labels, no_scores;
    double line_width; /* pixels; 0: by the picture's size */
} tern_draw_options;

typedef struct tern_color {
    uint8_t r, g, b;
} tern_color;

/* A colour per class, far from those of its neighbours; never too dark or too light to be seen. */
tern_color tern_class_color(int32_t cls);
/* Black or white, whichever is easier to read on `background`. */
tern_color tern_text_color(tern_color background);

/* "cairo 1.16.0"; NULL: this build can not draw. */
const char *tern_draw_library(void);
/* Masks, boxes, landmarks, then labels, into the picture. */
tern_status tern_draw_detections(tern_image *image, const tern_detections *d, const tern_draw_options *options,
                                 tern_error *err);

/* By the ending of `path`: .jpg, .jpeg (quality 1..100), .png, .ppm. Never half a file. */
tern_status tern_image_save(const tern_image *image, const char *path, int quality, tern_error *err);
/* The same into memory, which the caller frees with tn_free. */
tern_status tern_image_encode(const tern_image *image, const char *name, int quality, uint8_t **data, size_t *size,
                              tern_error *err);
/* False when the ending is none of those. */
bool tern_image_can_save(const char *path);

#endif
