/* Pictures of another size. The results are OpenCV's (INTER_LINEAR, INTER_AREA) to within a rounding. */
#ifndef TERN_VISION_RESIZE_H
#define TERN_VISION_RESIZE_H

#include "vision/image/image.h"

typedef enum tern_filter {
    TERN_FILTER_AUTO = 0, /* area when both sides shrink by more than 2, else linear */
    TERN_FILTER_LINEAR,   /* bilinear between the centres of pixels; no averaging when it shrinks */
    TERN_FILTER_AREA      /* average over the area of a new pixel; linear when a side grows */
} tern_filter;

typedef enum tern_fit {
    TERN_FIT_STRETCH = 0, /* to the size, whatever happens to the proportions */
    TERN_FIT_CROP,        /* scaled to cover the size, then the middle of it */
    TERN_FIT_LETTERBOX    /* scaled to fit inside, bars of grey 114 around it (YOLOv5's rounding) */
} tern_fit;

/* How a fitted picture lies over the one it was made from: fitted = source * scale + offset, in pixels. */
typedef struct tern_placement {
    double scale_x, scale_y;
    double offset_x, offset_y; /* negative where a crop begins inside */
} tern_placement;

/* *out is a new image, also when the size is the same. `src` must not be empty. */
tern_status tern_image_resize(tern_image *out, const tern_image *src, int width, int height, tern_filter filter,
                              tern_error *err);
/* The part of that size from (x, y) on, which must be inside. */
tern_status tern_image_crop(tern_image *out, const tern_image *src, int x, int y, int width, int height,
                            tern_error *err);
/* Brings a picture to a network's size. `short_side` > 0, for TERN_FIT_CROP: the shorter side is scaled to that many
 * pixels first (256 for a crop of 224, the usual way to evaluate); 0: to just cover. `placement` may be NULL. */
tern_status tern_image_fit(tern_image *out, const tern_image *src, int width, int height, tern_fit fit, int short_side,
                           tern_filter filter, tern_placement *placement, tern_error *err);

#endif
