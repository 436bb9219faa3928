/* Average precision of detections, as COCO's evaluation defines it (https://cocodataset.org/#detection-eval; T.-Y. Lin
 * et al., "Microsoft COCO: Common Objects in Context", ECCV 2014):
 *
 * Per class and picture, the best 100 detections take, in the order of their scores, the ground truth of highest IoU
 * that is still free, if the IoU is at least the threshold. Ground truth that is ignored (crowds, and boxes outside of
 * the range of areas) is taken only where no other fits, crowds by any number of detections and with the intersection
 * over the detection's own area; such detections count neither as right nor as wrong, nor do detections outside of the
 * range of areas that take nothing. Precision at a recall is the best at that recall or a higher one; AP is its mean at
 * the recalls 0, 0.01, ..., 1. */
#ifndef TERN_VISION_COCO_AP_H
#define TERN_VISION_COCO_AP_H

#include "base/base.h"

enum { COCO_THRESHOLDS = 10 /* 0.5, 0.55, ..., 0.95 */, COCO_MAX_DETECTIONS = 100 /* per picture and class */ };

/* Areas in pixels: all; up to 32 x 32; from there to 96 x 96; from there on. */
typedef enum coco_range { COCO_ALL = 0, COCO_SMALL, COCO_MEDIUM, COCO_LARGE, COCO_RANGES } coco_range;

/* Pixels of the picture; the numbers are finite, width and height not negative. */
typedef struct coco_box {
    double x, y, w, h; /* corner of the least x and y, size */
} coco_box;

typedef struct coco_truth {
    int32_t picture, cls; /* from 0 */
    coco_box box;
    double area; /* of the object, which may be less than its box's */
    bool crowd;  /* many objects in one box */
} coco_truth;

typedef struct coco_detection {
    int32_t picture, cls;
    coco_box box;
    double score;
} coco_detection;

typedef struct coco_data {
    int32_t classes;
    coco_truth *truths; /* are put into order */
    size_t n_truths;
    coco_detection *detections; /* are put into order; of equal scores the earlier one is first */
    size_t n_detections;
} coco_data;

/* Of one class; NaN: there is no ground truth in the range. */
typedef struct coco_class_ap {
    double ap[COCO_RANGES][COCO_THRESHOLDS];
    int64_t truths; /* that count: no crowds, of all areas */
} coco_class_ap;

/* (classes), which the caller frees with tn_free. */
tern_status coco_evaluate(coco_class_ap **out, coco_data *data, tern_error *err);

/* Means over thresholds [from, to), and over the classes as well; NaN when no class has ground truth. */
double coco_class_mean(const coco_class_ap *ap, coco_range range, int from, int to);
double coco_mean(const coco_class_ap *ap, int32_t classes, coco_range range, int from, int to);

/* Intersection over union; with a crowd, over the area of the first. 0 where there is no area. */
double coco_iou(const coco_box *detection, const coco_box *truth, bool crowd);

#endif
