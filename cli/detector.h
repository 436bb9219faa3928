/* What the commands that detect share: the options that say what the network is and which boxes to keep, and a detector
 * set up from them. */
#ifndef CLI_DETECTOR_H
#define CLI_DETECTOR_H

#include "cli/cli.h"
#include "vision/classify/labels.h"
#include "vision/detect/detect.h"

typedef struct cli_detector_args {
    const char *size, *labels, *classes, *anchors, *preprocess, *arch;
    int head; /* index of a word of CLI_HEAD_WORDS */
    double conf, iou;
    int64_t max_det, max_pixels; /* 0 pixels: the default limit */
    bool agnostic, multi_label, rect, bgr;
} cli_detector_args;

#define CLI_HEAD_WORDS "auto|yolov5|yolov6|yolov7|yolov8|yolov11|yolox|face|nms|classify"

/* Rows of options about the network; ARGS is the command's struct, with a cli_detector_args `detector` in it. */
#define CLI_DETECTOR_OPTIONS(ARGS)                                                                         \
    {"head",                                                                                               \
     0,                                                                                                    \
     CLI_CHOICE,                                                                                           \
     CLI_HEAD_WORDS,                                                                                       \
     "what the outputs mean (default: recognised from shapes and metadata)",                               \
     offsetof(ARGS, detector.head),                                                                        \
     0,                                                                                                    \
     0},                                                                                                   \
        {"anchors",                                                                                        \
         0,                                                                                                \
         CLI_STRING,                                                                                       \
         "W,H,W,H,...",                                                                                    \
         "anchors in pixels, level by level, of outputs per level",                                        \
         offsetof(ARGS, detector.anchors),                                                                 \
         0,                                                                                                \
         0},                                                                                               \
        {"rect",                                                                                           \
         0,                                                                                                \
         CLI_FLAG,                                                                                         \
         NULL,                                                                                             \
         "bars only up to the next multiple of the stride, where the input is free",                       \
         offsetof(ARGS, detector.rect),                                                                    \
         0,                                                                                                \
         0},                                                                                               \
    {                                                                                                      \
        "arch", 0, CLI_STRING, "NAME|FILE",                                                                \
            "of checkpoints without a description of the network: yolov5s@6.0, or the official YAML file", \
            offsetof(ARGS, detector.arch), 0, 0                                                            \
    }

typedef struct cli_detector {
    const cli_command *command;
    const cli_common *common;
    const cli_detector_args *args;
    tern_model *model;
    tern_session *session;
    tern_labels labels; /* empty: the classes have no names; COCO's for 80 of them, after the first picture */
    int32_t *classes;   /* owned; of the options */
    tern_detect_options options;
    tern_detector detector;
    bool said;       /* what was assumed */
    bool needs_coco; /* a class was given by COCO's name, and the model has no names */
} cli_detector;

/* Confidence 0.25, IoU 0.45, 300 detections, as `detect` has them. */
void cli_detector_defaults(cli_detector_args *args);
/* `path` is an ONNX file or a checkpoint; all arguments are borrowed until the release. Prints its own errors;
 * cli_detector_release in any case. */
int cli_detector_init(cli_detector *out, const cli_command *command, const cli_common *common,
                      const cli_detector_args *args, const char *path);
/* tern_detector_run, which says on stderr what was assumed of the model, once. `path` of the picture is for errors. */
tern_status cli_detector_run(cli_detector *d, const char *path, const tern_image *image, tern_detections *out,
                             tern_error *err);
void cli_detector_release(cli_detector *d);

#endif
