/* Non-maximum suppression: of boxes that lie over each other, the best stays. */
#ifndef TERN_VISION_NMS_H
#define TERN_VISION_NMS_H

#include "base/base.h"

/* Corners, x1 <= x2 and y1 <= y2 in a sound box; pixels. */
typedef struct tern_box {
    float x1, y1, x2, y2;
} tern_box;

typedef struct tern_candidate {
    tern_box box; /* finite */
    float score;
    int32_t cls;    /* >= 0 */
    uint32_t block; /* where it was decoded from; carried along */
    uint32_t position;
} tern_candidate;

/* More candidates than this are cut to the best before suppression. */
#define TERN_NMS_MAX_CANDIDATES 30000

typedef struct tern_nms_options {
    double iou;    /* suppress where intersection over union is above it */
    int max_det;   /* keep at most this many */
    bool agnostic; /* boxes of different classes suppress each other too */
} tern_nms_options;

/* Best first, equal scores in the order they came; a box goes when its IoU with a better one that stayed (of its class)
 * is above the limit. Moves those that stay to the front and returns their number in *kept. NaN as IoU (boxes without
 * an area) suppresses nothing. */
tern_status tern_nms(tern_candidate *items, size_t count, const tern_nms_options *options, size_t *kept,
                     tern_error *err);
/* The same without suppression: the best max_det, in order. */
tern_status tern_best_candidates(tern_candidate *items, size_t count, int max_det, size_t *kept, tern_error *err);

#endif
