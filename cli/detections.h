/* What `detect` does with the detections of a picture: text, JSON, annotated pictures, label files, crops. */
#ifndef CLI_DETECTIONS_H
#define CLI_DETECTIONS_H

#include "cli/cli.h"
#include "cli/dataset.h"
#include "cli/json.h"
#include "vision/classify/labels.h"
#include "vision/detect/detect.h"

typedef struct cli_detections_output {
    const tern_labels *labels;
    cJSON *json;            /* list to add to; NULL: text on stdout */
    bool json_lines;        /* of frames: an object per line */
    bool masks;             /* in the JSON */
    size_t top;             /* classes of a classifier */
    const char *picture;    /* file or folder for annotated pictures; NULL: none */
    bool picture_is_folder; /* as are the next two */
    const char *txt, *crops;
    bool save_conf;
    int64_t quality;
    double line_width;
    bool no_labels, no_scores;
} cli_detections_output;

/* Refuses what would lose something: files of two pictures with one name, or a picture that is its own output. */
tern_status cli_detections_check(const cli_detections_output *o, const cli_paths *pictures, tern_error *err);
/* `image` may be drawn into. */
tern_status cli_detections_write(const cli_detections_output *o, const char *path, tern_image *image,
                                 const tern_detections *d, tern_error *err);
typedef struct cli_frame {
    const char *source;
    int64_t number; /* from 1 */
    double seconds; /* since the first */
    bool draw;      /* boxes into the image */
} cli_frame;
/* The same for a frame of a video; files are named after the source and the number. */
tern_status cli_detections_write_frame(const cli_detections_output *o, const cli_frame *frame, tern_image *image,
                                       const tern_detections *d, tern_error *err);
/* "folder/name.ending" of the picture at `path`; `ending` NULL: the picture's own. The caller frees it with tn_free. */
char *cli_output_path(const char *folder, const char *path, const char *suffix, const char *ending);

#endif
