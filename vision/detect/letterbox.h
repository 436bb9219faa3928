/* A picture inside a rectangle, with grey bars: as YOLOv5 does it. */
#ifndef TERN_VISION_LETTERBOX_H
#define TERN_VISION_LETTERBOX_H

#include "vision/image/resize.h"

typedef struct tern_letterbox_options {
    int width, height;
    int stride;  /* > 0: bars only up to the next multiple of it, so the result may be smaller; 0: the whole size */
    bool corner; /* the picture is in the upper left corner, not in the middle (YOLOX) */
} tern_letterbox_options;

/* Scaled (bilinear) to fit into width x height, sides rounded half to even; then bars of grey 114. Half a pixel left
 * over goes below and right. `placement` says where the picture is. */
tern_status tern_letterbox(tern_image *out, const tern_image *src, const tern_letterbox_options *options,
                           tern_placement *placement, tern_error *err);

#endif
