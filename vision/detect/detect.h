/* A network that finds objects in pictures: picture in, boxes in its pixels out.
 *
 *   letterbox -> network -> recognise the head (once per set of shapes) -> decode -> suppress -> back to the picture */
#ifndef TERN_VISION_DETECT_H
#define TERN_VISION_DETECT_H

#include "tern/session.h"
#include "vision/classify/preprocess.h"
#include "vision/detect/head.h"

typedef struct tern_detect_options {
    tern_head head;
    double conf, iou;
    int max_det;
    bool agnostic, multi_label;
    const int32_t *classes; /* borrowed */
    size_t n_classes;       /* 0: all */
    bool rect;              /* bars only up to a multiple of the stride, where the network's input is free */
    int width, height;      /* of the network's input where it is free; 0: what the metadata says, or 640 */
    tern_anchors anchors;   /* .count 0: what the metadata says */
    tern_preprocess preprocess;
    size_t names; /* number of class names; 0: not known */
} tern_detect_options;

/* 0.25, 0.45, 300; the rest cleared. */
void tern_detect_options_init(tern_detect_options *options);

typedef struct tern_detector {
    tern_session *session; /* borrowed */
    tern_detect_options options;
    tern_preprocess preprocess; /* resolved */
    tern_value_info input;
    bool free_width, free_height;
    int stride; /* of the coarsest level */
    bool classifies;
    tern_head_hints hints;
    tern_head_layout layout; /* after the first picture */
    int n_outputs;
    const char *output_names[TERN_MAX_HEAD_OUTPUTS];
} tern_detector;

/* The part of a mask that lies under its box, at the resolution of the prototypes. */
typedef struct tern_mask {
    int x, y, width, height; /* in cells; width 0: none */
    float *values;           /* 0..1; owned by the detections */
} tern_mask;

typedef struct tern_detection {
    tern_box box; /* pixels of the picture, inside it */
    float score;
    int32_t cls;
} tern_detection;

typedef struct tern_detections {
    tern_detection *items; /* best first */
    size_t count;
    int points, point_size;
    float *landmarks; /* (count, points, point_size): x y, and visibility where point_size is 3; NULL: none */
    tern_mask *masks; /* count; NULL: none */
    double mask_scale_x, mask_scale_y, mask_offset_x, mask_offset_y; /* cell = pixel * scale + offset */
    int width, height;                                               /* of the picture */
    float *class_scores; /* of a classifier: n_class_scores, and no items; NULL: a detector */
    size_t n_class_scores;
    uint64_t network_ns, boxes_ns; /* time of the network's run, and of all that comes after it */
} tern_detections;

/* Model and session must outlive the detector, which needs no release. What the options leave open comes from the
 * model's metadata: "stride", "anchors" (or "tern.anchors"), "kpt_shape", "imgsz", "tern.preprocess". */
tern_status tern_detector_init(tern_detector *out, const tern_model *model, tern_session *session,
                               const tern_detect_options *options, tern_error *err);
/* *out is released with tern_detections_release in any case. */
tern_status tern_detector_run(tern_detector *d, const tern_image *image, tern_detections *out, tern_error *err);
void tern_detections_release(tern_detections *d);

/* The same in two steps, for callers who run the network themselves: `begin` makes the network's input (a picture; the
 * first place of a fixed batch), `finish` takes its outputs, in the order of output_names and with one picture in them.
 * *input is owned by the pass. *again: the outputs show that the network wants other pictures; the detector is changed,
 * nothing found, and both steps are to be done once more. A detector may be copied, so that threads do not share one.
 */
typedef struct tern_detector_pass tern_detector_pass;
tern_status tern_detector_begin(const tern_detector *d, const tern_image *image, tern_detector_pass **out,
                                const tern_tensor **input, tern_error *err);
tern_status tern_detector_finish(tern_detector *d, tern_detector_pass *pass, tern_tensor *const *outputs,
                                 tern_detections *out, bool *again, tern_error *err);
void tern_detector_pass_free(tern_detector_pass *pass); /* NULL is fine */

/* Numbers of a text such as "[[10, 13], [16, 30]]" or "32"; false when there is something else in it or there are more
 * than `cap`. */
bool tern_parse_numbers(const char *text, double *out, int cap, int *count);

/* Row y of detection i's mask over pixels [x1, x2) of the picture: 1 where the object is. */
void tern_mask_row(const tern_detections *d, size_t i, int y, int x1, int x2, uint8_t *out);

/* "yolov5" and so on. */
const char *tern_head_name(tern_head head);
/* COCO's name of class `index` in [0, 80). */
#define TERN_COCO_CLASSES 80
const char *tern_coco_name(int index);

#endif
