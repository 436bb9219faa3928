/* Labelled pictures, one after the other: a pair of IDX files (.gz too), or a folder with a folder per class. */
#ifndef CLI_DATASET_H
#define CLI_DATASET_H

#include "vision/classify/labels.h"
#include "vision/image/image.h"

typedef struct cli_dataset cli_dataset;

/* *skipped: the picture could not be read, *err says why; go on. */
typedef struct cli_sample {
    tern_image image; /* the caller's, to be released */
    size_t label;
    bool skipped;
} cli_sample;

/* IDX: `images` holds unsigned bytes (n, h, w), (n, h, w, 1) or (n, h, w, 3), `labels` unsigned bytes (n). */
tern_status cli_dataset_open_idx(cli_dataset **out, const char *images, const char *labels, tern_error *err);
/* A folder of folders. Their names are class numbers, names in `labels` or the first words of these (n01440764); when
 * there are no labels and the names are no numbers, the classes are the sorted names. */
tern_status cli_dataset_open_folder(cli_dataset **out, const char *folder, const tern_labels *labels, tern_error *err);
/* Number of pictures. */
size_t cli_dataset_count(const cli_dataset *data);
/* The next picture. A failure other than a skipped picture ends the data set. */
tern_status cli_dataset_next(cli_dataset *data, cli_sample *sample, tern_error *err);
void cli_dataset_close(cli_dataset *data);

/* Sorted paths of the pictures of a folder, by their content or the ending of their name. */
typedef struct cli_paths {
    char **items;
    size_t count, cap;
} cli_paths;
void cli_paths_add(cli_paths *paths, const char *path);
void cli_paths_release(cli_paths *paths);
tern_status cli_paths_add_folder(cli_paths *paths, const char *folder, tern_error *err);
bool cli_is_folder(const char *path);
bool cli_is_picture(const char *path);
/* Whether both names are of one file that is there. */
bool cli_same_file(const char *a, const char *b);

#endif
