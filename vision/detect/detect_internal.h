#ifndef TERN_VISION_DETECT_INTERNAL_H
#define TERN_VISION_DETECT_INTERNAL_H

#include "vision/detect/detect.h"

/* Masks of d->items, which were made of the first d->count candidates. `place`: where the picture is in the network's
 * input of net_width x net_height. */
tern_status tn_detect_make_masks(tern_detections *d, const tern_head_layout *l, const tern_candidates *c,
                                 const tern_head_output *proto, int net_width, int net_height,
                                 const tern_placement *place, tern_error *err);

#endif
