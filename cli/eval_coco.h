/* `tern eval --coco`: mean average precision of a detector. */
#ifndef CLI_EVAL_COCO_H
#define CLI_EVAL_COCO_H

#include "cli/detector.h"

typedef struct cli_eval_coco {
    const cli_command *command;
    const cli_common *common;
    const cli_detector_args *detector;
    const char *annotations, *model, *folder;
    const char *results; /* file for the detections; NULL: none */
} cli_eval_coco;

/* Prints the result; the exit code. */
int cli_eval_coco_run(const cli_eval_coco *e);

#endif
