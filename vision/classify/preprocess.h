/* From a picture to a network's input: value = (pixel * scale - mean) / std, pixel 0..255.
 *
 * What a model wants is said, field by field, by the first of these that says it: the caller (flags), a JSON file
 * beside the model, the model's metadata, the shape of its input. docs/classify.md has the format. */
#ifndef TERN_VISION_PREPROCESS_H
#define TERN_VISION_PREPROCESS_H

#include "tern/model.h"
#include "vision/image/resize.h"

typedef enum tern_channels { TERN_CHANNELS_RGB = 0, TERN_CHANNELS_BGR, TERN_CHANNELS_GREY } tern_channels;
typedef enum tern_layout { TERN_LAYOUT_NCHW = 0, TERN_LAYOUT_NHWC } tern_layout;

/* Which fields have been given. */
enum {
    TERN_PRE_SIZE = 1 << 0,
    TERN_PRE_FIT = 1 << 1,
    TERN_PRE_RESIZE = 1 << 2,
    TERN_PRE_FILTER = 1 << 3,
    TERN_PRE_SCALE = 1 << 4,
    TERN_PRE_MEAN = 1 << 5,
    TERN_PRE_STD = 1 << 6,
    TERN_PRE_CHANNELS = 1 << 7,
    TERN_PRE_LAYOUT = 1 << 8
};

#define TERN_MAX_CHANNELS 3

typedef struct tern_preprocess {
    unsigned set;
    int width, height; /* 0 x 0, when TERN_PRE_SIZE is set: the picture's own size */
    tern_fit fit;
    int resize; /* short side before a crop; 0: just cover */
    tern_filter filter;
    double scale;
    double mean[TERN_MAX_CHANNELS], std[TERN_MAX_CHANNELS]; /* in the order of the input's channels */
    int n_mean, n_std;                                      /* 1: for all channels */
    tern_channels channels;
    tern_layout layout;
} tern_preprocess;

/* The JSON object of docs/classify.md; a key or value that is not of the format is an error. */
tern_status tern_preprocess_parse(tern_preprocess *out, const char *json, size_t len, tern_error *err);
/* A JSON file: the object under "preprocess", or what "preprocessing" says in the words of an info.json. */
tern_status tern_preprocess_load(tern_preprocess *out, const char *path, tern_error *err);
/* Looks beside the model for <model without .onnx>.json, preprocess.json and info.json, in that order, and reads the
 * first that describes preprocessing. None: nothing is set. */
tern_status tern_preprocess_beside(tern_preprocess *out, const char *model_path, tern_error *err);
/* From the metadata key "tern.preprocess"; nothing is set when there is none. */
tern_status tern_preprocess_metadata(tern_preprocess *out, const tern_model *model, tern_error *err);
/* Takes from `more` what `p` does not say. */
void tern_preprocess_merge(tern_preprocess *p, const tern_preprocess *more);
/* Completes `p` from the network's input and checks that both agree. After it everything is set. */
tern_status tern_preprocess_resolve(tern_preprocess *p, const tern_value_info *input, tern_error *err);

/* 1 or 3. */
int tern_preprocess_channels(const tern_preprocess *p);
/* Fits the picture to width x height and writes its values, one picture of the batch: (c, h, w) or (h, w, c) elements
 * of `dtype` (float32, float64, float16, bfloat16, uint8, int8). Integers are rounded and saturated. */
tern_status tern_preprocess_image(const tern_preprocess *p, const tern_image *image, int width, int height,
                                  tern_dtype dtype, void *dst, tern_error *err);

#endif
