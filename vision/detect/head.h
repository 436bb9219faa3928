/* What a detector's outputs mean: which head they are of, and the boxes in them.
 *
 *   yolov5   rows of x y w h, objectness, a score per class (and mask coefficients); YOLOv6 and YOLOv7 write the same.
 *            Decoded: one output (n, rows, 5 + classes). Raw: an output per level, (n, anchors * no, h, w) or
 *            (n, anchors, h, w, no), logits.
 *   face     yolov5-face: x y w h, objectness, five landmarks, classes; decoded or raw likewise.
 *   yolov8   (n, 4 + classes, columns): x y w h and a score per class, no objectness; then mask coefficients or
 *            landmarks; or transposed.
 *   yolox    rows as yolov5's, in units of the grid: x y relative to the cell, log of w h.
 *   nms      what is left after suppression in the network: rows of x1 y1 x2 y2 score class, rows of
 *            batch x1 y1 x2 y2 class score, or outputs for boxes, scores and classes (their number, landmarks, mask
 *            coefficients, indices of pictures), told by their names.
 *   classify one score per class for the whole picture. */
#ifndef TERN_VISION_HEAD_H
#define TERN_VISION_HEAD_H

#include "tern/tensor.h"
#include "vision/detect/nms.h"

typedef enum tern_head {
    TERN_HEAD_AUTO = 0,
    TERN_HEAD_YOLOV5,
    TERN_HEAD_FACE,
    TERN_HEAD_YOLOV8,
    TERN_HEAD_YOLOX,
    TERN_HEAD_NMS,
    TERN_HEAD_CLASSIFY
} tern_head;

#define TERN_MAX_LEVELS        5
#define TERN_MAX_ANCHORS       16 /* per level */
#define TERN_MAX_HEAD_OUTPUTS  8
#define TERN_MAX_CLASSES       (1 << 20)
#define TERN_FACE_LANDMARKS    5
#define TERN_MAX_EXTRA_NUMBERS 4096 /* landmarks or mask coefficients of a box */

/* Anchors in pixels of the network's input, level by level, w h w h ... */
typedef struct tern_anchors {
    double sizes[TERN_MAX_LEVELS * TERN_MAX_ANCHORS * 2];
    int count; /* numbers in it; 0: not known */
} tern_anchors;

/* An output of the network as float32. */
typedef struct tern_head_output {
    const char *name;
    int rank;
    int64_t dims[TERN_MAX_RANK];
    const float *data; /* all elements; may be NULL where only shapes are looked at */
} tern_head_output;

/* What is known besides the outputs. */
typedef struct tern_head_hints {
    tern_head head;         /* AUTO: to be recognised */
    int width, height;      /* of the network's input */
    size_t names;           /* number of class names; 0: not known */
    tern_anchors anchors;   /* .count 0: not known */
    int points, point_size; /* landmarks of a yolov8 head (kpt_shape); 0: none */
} tern_head_hints;

typedef struct tern_head_layout {
    tern_head head;
    bool raw;
    int classes;            /* >= 1 */
    int points, point_size; /* landmarks: how many, 2 or 3 numbers each */
    int masks;              /* coefficients per box */
    int proto;              /* index of the output with the prototypes (n, masks, h, w); -1: none */
    int n_levels;           /* outputs with boxes */
    int levels[TERN_MAX_LEVELS];
    int n_anchors; /* per cell, of raw heads */
    tern_anchors anchors;
    bool assumed_anchors;              /* standard ones, for want of others */
    bool transposed;                   /* yolov8: rows of boxes, not columns */
    int boxes, scores, labels, number; /* nms in several outputs: their indices; -1: none */
    int landmarks, coefficients, batches;
} tern_head_layout;

/* Only names, ranks and dims of the outputs are looked at. */
tern_status tern_head_recognise(tern_head_layout *out, const tern_head_output *outputs, int count,
                                const tern_head_hints *hints, tern_error *err);
/* True when rows that look decoded are in units of the grid, which the numbers alone tell: YOLOX. */
bool tern_head_is_grid(const tern_head_layout *layout, const tern_head_output *outputs, int width, int height);

/* ---- decoding ----------------------------------------------------------------------------------------------- */

typedef struct tern_decode_options {
    double conf;      /* only scores above it */
    bool multi_label; /* a candidate per class above it, not for the best class alone */
    const int32_t *classes;
    size_t n_classes; /* 0: all */
} tern_decode_options;

/* A run of positions with the same meaning: one level and anchor of a raw head, or all rows of a decoded one. */
typedef struct tern_head_block {
    const float *data;
    uint32_t positions;
    size_t position_step, component_step; /* in elements */
    int grid_width;
    float stride, anchor_w, anchor_h;
} tern_head_block;

typedef struct tern_candidates {
    tern_candidate *items; /* owned */
    size_t count, cap;
    tern_head_block *blocks; /* owned */
    size_t n_blocks;
} tern_candidates;

/* Boxes in pixels of the network's input, of the first picture of the batch, not yet suppressed. Boxes that are not
 * finite are left out. */
tern_status tern_head_decode(const tern_head_layout *layout, const tern_head_output *outputs, int width, int height,
                             const tern_decode_options *options, tern_candidates *out, tern_error *err);
void tern_candidates_release(tern_candidates *c);
/* Landmarks of a candidate: points * point_size numbers, x y (and visibility), pixels of the network's input. */
void tern_head_points(const tern_head_layout *layout, const tern_candidates *c, const tern_candidate *candidate,
                      float *out);
/* Mask coefficients of a candidate. */
void tern_head_masks(const tern_head_layout *layout, const tern_candidates *c, const tern_candidate *candidate,
                     float *out);

#endif
