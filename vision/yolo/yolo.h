/* YOLOv5 checkpoints to models: the network is rebuilt from the pickled module tree (classes, connections, parameters
 * of the convolutions, eps of the normalisations, activations), never from the version it might be of. Bare state dicts
 * have no tree; theirs comes from the names and shapes of the tensors and, where that leaves a choice, from an official
 * description.
 *
 * Metadata of the model made:
 *   names            {0: 'person', 1: 'bicycle'}, as the official export writes it; absent when there are none
 *   stride           the largest stride, "32"; absent for classifiers
 *   imgsz            [height, width] of the input; where they are free, those to use
 *   tern.preprocess  see docs/classify.md
 *   tern.yolo        a JSON object:
 *       "task"       "detect", "segment", "classify" or "face"
 *       "head"       "raw", "decoded" or "nms"
 *       "classes"    number of classes
 *       "strides"    [8, 16, 32], one per level, in the order of the outputs
 *       "anchors"    [[w, h, w, h, w, h], ...] in pixels, one list per level
 *       "masks"      of "segment": number of prototypes
 *       "landmarks"  of "face": number of points
 *   tern.source      "models.yolo.DetectionModel, 25 layers" and the like
 *
 * Inputs and outputs, where b is the batch, no = 5 + classes (face: 5 + 2 * landmarks + classes; segment: 5 + classes +
 * masks), n = all anchors of all levels, k = detections that are left:
 *   all      images [b, 3, h, w], RGB in 0..1 (classifiers: normalised)
 *   raw      out0, out1, ... [b, anchors * no, h / stride, w / stride] in the order of "strides"; segment: proto
 *   decoded  output0 [b, n, no]: box as centre and size in pixels, objectness, (landmarks as x, y,) class scores, (raw
 *            mask coefficients); segment: output1 = the prototypes [b, masks, h / 4, w / 4]
 *   nms      boxes [k, 4] as corners in pixels, scores [k], classes [k] int64; segment: masks [k, masks] and proto;
 * face: landmarks [k, 2 * landmarks]; when b is not 1: batches [k], the index of the picture classifiers: output [b,
 * classes], logits when raw, probabilities when decoded */
#ifndef TERN_VISION_YOLO_H
#define TERN_VISION_YOLO_H

#include <stdbool.h>

#include "tern/model.h"
#include "vision/torch/torch.h"

typedef enum tv_yolo_head { TV_YOLO_RAW = 0, TV_YOLO_DECODED, TV_YOLO_NMS } tv_yolo_head;

typedef struct tv_yolo_options {
    int width, height; /* 0: the model's own `imgsz`, else 640 x 640; classifiers: 224 x 224 */
    int64_t batch;     /* [1] */
    bool dynamic;      /* batch, height and width are free */
    int opset;         /* [13], 9 to 28 */
    tv_yolo_head head; /* [TV_YOLO_RAW] */
    bool fp16;         /* weights in half precision, arithmetic in float32 */
    bool fuse;         /* [true] batch normalisation becomes part of the convolutions */
    double conf, iou;  /* of TV_YOLO_NMS [0.25, 0.45] */
    int64_t max_det;   /* of TV_YOLO_NMS [300] */
    const char *arch;  /* of bare state dicts: "yolov5s@6.0" or a YAML file; NULL: from the tensors */
    /* Is told, in one line, what was assumed of a bare state dict without `arch`; NULL: nobody. */
    void (*note)(const void *context, const char *text);
    const void *note_context;
} tv_yolo_options;

void tv_yolo_options_init(tv_yolo_options *options);

/* The checkpoint as a model in memory, with metadata. `options` may be NULL. Errors name the file, and the layer. */
tern_status tv_yolo_load(tern_model **out, const char *checkpoint, const tv_yolo_options *options, tern_error *err);
/* The same of a checkpoint that is open; the model takes nothing from it. */
tern_status tv_yolo_build(tern_model **out, tern_ckpt *ckpt, const tv_yolo_options *options, tern_error *err);

#endif
