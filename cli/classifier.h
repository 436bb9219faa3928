/* What `classify` and `eval` share: the options that describe preprocessing, and a classifier set up from them. */
#ifndef CLI_CLASSIFIER_H
#define CLI_CLASSIFIER_H

#include "cli/cli.h"
#include "vision/classify/classify.h"
#include "vision/classify/labels.h"

typedef struct cli_classifier_args {
    cli_common common;
    const char *size, *labels, *preprocess, *output;
    int fit, filter; /* -1: not given */
    int64_t resize, batch, max_pixels;
    double scale; /* NaN: not given */
    cli_reals mean, std;
    bool bgr, nhwc, softmax;
} cli_classifier_args;

#define CLI_CLASSIFIER_ROW(field) offsetof(cli_classifier_args, field)
#define CLI_CLASSIFIER_OPTIONS                                                                                        \
    {"size",                                                                                                          \
     's',                                                                                                             \
     CLI_STRING,                                                                                                      \
     "WxH|none",                                                                                                      \
     "size of the network's pictures; none: each picture's own (default: what the model says)",                       \
     CLI_CLASSIFIER_ROW(size),                                                                                        \
     0,                                                                                                               \
     0},                                                                                                              \
        {"fit",                                                                                                       \
         0,                                                                                                           \
         CLI_CHOICE,                                                                                                  \
         "stretch|crop|letterbox",                                                                                    \
         "how a picture is brought to the size: proportions ignored; covering it, the middle cut out; inside it, "    \
         "grey bars around (default: stretch)",                                                                       \
         CLI_CLASSIFIER_ROW(fit),                                                                                     \
         0,                                                                                                           \
         0},                                                                                                          \
        {"resize",                                                                                                    \
         0,                                                                                                           \
         CLI_INT,                                                                                                     \
         "N",                                                                                                         \
         "with --fit crop: scale the short side to N pixels first, 256 for a crop of 224",                            \
         CLI_CLASSIFIER_ROW(resize),                                                                                  \
         1,                                                                                                           \
         65535},                                                                                                      \
        {"filter",                                                                                                    \
         0,                                                                                                           \
         CLI_CHOICE,                                                                                                  \
         "auto|linear|area",                                                                                          \
         "how to scale; auto: area when both sides shrink by more than 2, else linear (default: auto)",               \
         CLI_CLASSIFIER_ROW(filter),                                                                                  \
         0,                                                                                                           \
         0},                                                                                                          \
        {"scale",                                                                                                     \
         0,                                                                                                           \
         CLI_REAL,                                                                                                    \
         "X",                                                                                                         \
         "value = (pixel * X - mean) / std, pixel 0 to 255 (default: 1/255)",                                         \
         CLI_CLASSIFIER_ROW(scale),                                                                                   \
         0,                                                                                                           \
         0},                                                                                                          \
        {"mean", 0, CLI_REALS, "A,B,C", "mean, one number or one per channel (default: 0)", CLI_CLASSIFIER_ROW(mean), \
         0,      0},                                                                                                  \
        {"std", 0, CLI_REALS, "A,B,C", "standard deviation, likewise (default: 1)", CLI_CLASSIFIER_ROW(std), 0, 0},   \
        {"bgr", 0, CLI_FLAG, NULL, "the network wants blue first", CLI_CLASSIFIER_ROW(bgr), 0, 0},                    \
        {"nhwc", 0, CLI_FLAG, NULL, "the network wants the channels last", CLI_CLASSIFIER_ROW(nhwc), 0, 0},           \
        {"preprocess",                                                                                                \
         0,                                                                                                           \
         CLI_STRING,                                                                                                  \
         "FILE|none",                                                                                                 \
         "JSON file with these settings, instead of one beside the model or the model's metadata; none: use neither", \
         CLI_CLASSIFIER_ROW(preprocess),                                                                              \
         0,                                                                                                           \
         0},                                                                                                          \
        {"labels",                                                                                                    \
         'l',                                                                                                         \
         CLI_STRING,                                                                                                  \
         "FILE",                                                                                                      \
         "names of the classes, one per line or a JSON list",                                                         \
         CLI_CLASSIFIER_ROW(labels),                                                                                  \
         0,                                                                                                           \
         0},                                                                                                          \
        {"output",                                                                                                    \
         0,                                                                                                           \
         CLI_STRING,                                                                                                  \
         "NAME",                                                                                                      \
         "the model's output with the scores (default: the first)",                                                   \
         CLI_CLASSIFIER_ROW(output),                                                                                  \
         0,                                                                                                           \
         0},                                                                                                          \
        {"batch",                                                                                                     \
         'b',                                                                                                         \
         CLI_INT,                                                                                                     \
         "N",                                                                                                         \
         "pictures at a time, where the model leaves that free (default: 8)",                                         \
         CLI_CLASSIFIER_ROW(batch),                                                                                   \
         1,                                                                                                           \
         1024},                                                                                                       \
    {                                                                                                                 \
        "max-pixels", 0, CLI_INT, "N", "refuse larger pictures (default: 67108864)", CLI_CLASSIFIER_ROW(max_pixels),  \
            1, 4e9                                                                                                    \
    }

typedef struct cli_classifier {
    tern_model *model;
    tern_session *session;
    tern_classifier classifier;
    tern_labels labels; /* empty: the classes have no names */
} cli_classifier;

void cli_classifier_defaults(cli_classifier_args *args);
/* `path` is a file, or "default" for the embedded model. Prints its own errors; cli_classifier_release in any case. */
int cli_classifier_init(cli_classifier *out, const cli_command *command, const cli_classifier_args *args,
                        const char *path);
void cli_classifier_release(cli_classifier *c);
/* Once the number of classes is known: ImageNet's names for 1,000 nameless ones. */
void cli_classifier_choose_labels(cli_classifier *c, size_t classes);

#endif
