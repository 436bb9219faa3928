/* Data sets with boxes, in COCO's format (https://cocodataset.org/#format-data), and results in its format. */
#ifndef CLI_COCO_H
#define CLI_COCO_H

#include "tern/tern.h"
#include "vision/detect/coco_ap.h"

typedef struct cli_coco_picture {
    int64_t id;
    char *file; /* relative to the folder of the pictures */
} cli_coco_picture;

typedef struct cli_coco_category {
    int64_t id;
    char *name;
} cli_coco_category;

typedef struct cli_coco {
    cli_coco_picture *pictures; /* by id; truths and detections hold their index */
    size_t n_pictures;
    cli_coco_category *categories; /* by id; likewise, as `cls` */
    size_t n_categories;
    coco_truth *truths;
    size_t n_truths;
} cli_coco;

/* Errors name the file and the entry. Release *out with cli_coco_release in any case. */
tern_status cli_coco_load(cli_coco *out, const char *path, tern_error *err);
void cli_coco_release(cli_coco *data);
/* A list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, as COCO's own tools read it. */
tern_status cli_coco_write_results(const cli_coco *data, const coco_detection *detections, size_t count,
                                   const char *path, tern_error *err);

#endif
