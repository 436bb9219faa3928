#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>

#include "vision/classify/classify.h"
#include "vision/detect/detect_internal.h"
#include "vision/detect/letterbox.h"

#define DEFAULT_SIZE   640
#define CLASSIFY_SIZE  224
#define DEFAULT_STRIDE 32

void tern_detect_options_init(tern_detect_options *options) {
    *options = (tern_detect_options){.conf = 0.25, .iou = 0.45, .max_det = 300};
}

void tern_detections_release(tern_detections *d) {
    for (size_t i = 0; d->masks && i < d->count; i++) tn_free(d->masks[i].values);
    tn_free(d->masks);
    tn_free(d->landmarks);
    tn_free(d->items);
    tn_free(d->class_scores);
    *d = (tern_detections){0};
}

/* ---- what the metadata says --------------------------------------------------------------------------------- */

bool tern_parse_numbers(const char *text, double *out, int cap, int *count) {
    *count = 0;
    while (*text) {
        if (strchr("[](), \t\r\n", *text)) {
            text++;
            continue;
        }
        char *end;
        double value = strtod(text, &end);
        if (end == text || *count == cap || !isfinite(value)) return false;
        out[(*count)++] = value;
        text = end;
    }
    return true;
}

static tern_status metadata_numbers(const tern_model *model, const char *key, double *out, int cap, int *count,
                                    tern_error *err) {
    *count = 0;
    const char *text = tern_model_metadata(model, key);
    if (text && !tern_parse_numbers(text, out, cap, count)) {
        return tn_fail(err, TERN_INVALID_FORMAT, "metadata \"%s\": not a list of at most %d numbers", key, cap);
    }
    return TERN_OK;
}

/* Numbers of a list of lists, in order. */
static bool flatten_numbers(const cJSON *list, double *out, int cap, int *count) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (cJSON_IsArray(item)) {
            if (!flatten_numbers(item, out, cap, count)) return false;
        } else if (cJSON_IsNumber(item) && *count < cap) {
            out[(*count)++] = item->valuedouble;
        } else {
            return false;
        }
    }
    return true;
}

/* The object that tern's own conversion writes. */
static tern_status read_tern_yolo(tern_detector *d, const tern_model *model, tern_error *err) {
    const char *text = tern_model_metadata(model, "tern.yolo");
    if (!text) return TERN_OK;
    cJSON *root = cJSON_Parse(text);
    const cJSON *task = cJSON_GetObjectItemCaseSensitive(root, "task");
    const cJSON *anchors = cJSON_GetObjectItemCaseSensitive(root, "anchors");
    bool good = cJSON_IsObject(root);
    if (good && d->hints.head == TERN_HEAD_AUTO && cJSON_IsString(task)) {
        if (strcmp(task->valuestring, "face") == 0) d->hints.head = TERN_HEAD_FACE;
        if (strcmp(task->valuestring, "classify") == 0) d->hints.head = TERN_HEAD_CLASSIFY;
    }
    const cJSON *head = cJSON_GetObjectItemCaseSensitive(root, "head");
    if (good && cJSON_IsString(head) && strcmp(head->valuestring, "nms") == 0 && d->hints.head == TERN_HEAD_FACE) {
        d->hints.head = TERN_HEAD_NMS;
    }
    if (good && d->hints.anchors.count == 0 && cJSON_IsArray(anchors)) {
        good = flatten_numbers(anchors, d->hints.anchors.sizes, (int)TN_COUNT(d->hints.anchors.sizes),
                               &d->hints.anchors.count);
    }
    cJSON_Delete(root);
    return good ? TERN_OK : tn_fail(err, TERN_INVALID_FORMAT, "metadata \"tern.yolo\" is damaged");
}

static tern_status read_metadata(tern_detector *d, const tern_model *model, tern_error *err) {
    TN_TRY(read_tern_yolo(d, model, err));
    tern_anchors *a = &d->hints.anchors;
    if (a->count == 0) {
        TN_TRY(metadata_numbers(model, "anchors", a->sizes, (int)TN_COUNT(a->sizes), &a->count, err));
    }
    double numbers[TERN_MAX_LEVELS];
    int count;
    d->stride = DEFAULT_STRIDE;
    TN_TRY(metadata_numbers(model, "stride", numbers, (int)TN_COUNT(numbers), &count, err));
    for (int i = 0; i < count; i++) {
        if (!(numbers[i] >= 1 && numbers[i] <= 4096)) {
            return tn_fail(err, TERN_INVALID_FORMAT, "metadata \"stride\": %g is no stride", numbers[i]);
        }
        d->stride = i == 0 ? (int)numbers[i] : TN_MAX(d->stride, (int)numbers[i]);
    }
    TN_TRY(metadata_numbers(model, "kpt_shape", numbers, 2, &count, err));
    if (count == 2) {
        bool good = numbers[0] >= 1 && numbers[0] <= 1024 && (numbers[1] == 2 || numbers[1] == 3);
        if (!good) return tn_fail(err, TERN_INVALID_FORMAT, "metadata \"kpt_shape\": no landmarks");
        d->hints.points = (int)numbers[0];
        d->hints.point_size = (int)numbers[1];
    }
    return TERN_OK;
}

/* ---- preprocessing ------------------------------------------------------------------------------------------ */

/* One output of rank 2 whose width is no row of a box. */
static bool looks_like_classifier(const tern_model *model, const tern_detect_options *options) {
    tern_value_info info;
    if (tern_model_output_count(model) != 1 || tern_model_output(model, 0, &info, NULL) != TERN_OK) return false;
    if (info.rank != 2) return false;
    bool row = info.dims[1] == 6 || info.dims[1] == 7;
    return !row || (size_t)info.dims[1] == options->names;
}

/* 640, or what the metadata says, both times if it says one number. */
static tern_status default_size(const tern_model *model, bool classifies, int *width, int *height, tern_error *err) {
    double size[2];
    int count;
    TN_TRY(metadata_numbers(model, "imgsz", size, 2, &count, err));
    *width = *height = classifies ? CLASSIFY_SIZE : DEFAULT_SIZE;
    for (int i = 0; i < count; i++) {
        if (!(size[i] >= 1 && size[i] <= TERN_IMAGE_MAX_SIDE)) {
            return tn_fail(err, TERN_INVALID_FORMAT, "metadata \"imgsz\": %g is no size", size[i]);
        }
    }
    if (count > 0) {
        *height = (int)size[0];
        *width = (int)size[count - 1];
    }
    return TERN_OK;
}

static void set_head_defaults(tern_preprocess *p, tern_head head) {
    if (head == TERN_HEAD_YOLOX) {
        tern_preprocess yolox = {.set = TERN_PRE_SCALE | TERN_PRE_CHANNELS, .scale = 1, .channels = TERN_CHANNELS_BGR};
        tern_preprocess_merge(p, &yolox);
    }
    tern_preprocess defaults = {
        .set = TERN_PRE_FIT | TERN_PRE_FILTER, .fit = TERN_FIT_LETTERBOX, .filter = TERN_FILTER_LINEAR};
    if (head == TERN_HEAD_CLASSIFY) {
        /* What YOLOv5's classifiers were trained with. */
        defaults = (tern_preprocess){.set = TERN_PRE_FIT | TERN_PRE_FILTER | TERN_PRE_MEAN | TERN_PRE_STD,
                                     .fit = TERN_FIT_CROP,
                                     .filter = TERN_FILTER_LINEAR,
                                     .mean = {0.485, 0.456, 0.406},
                                     .std = {0.229, 0.224, 0.225},
                                     .n_mean = 3,
                                     .n_std = 3};
    }
    tern_preprocess_merge(p, &defaults);
}

static tern_status set_preprocess(tern_detector *d, const tern_model *model, tern_error *err) {
    tern_preprocess p = d->options.preprocess, more = {0};
    TN_TRY(tern_preprocess_metadata(&more, model, err));
    tern_preprocess_merge(&p, &more);
    d->options.preprocess = p; /* what somebody said; the rest may still change with the head */
    set_head_defaults(&p, d->classifies ? TERN_HEAD_CLASSIFY : d->hints.head);
    if (d->options.width > 0) {
        p.width = d->options.width;
        p.height = d->options.height;
        p.set |= TERN_PRE_SIZE;
    }
    /* Where a dim is free; resolve() takes and checks the fixed ones. */
    tern_preprocess probe = p;
    if (!(p.set & TERN_PRE_SIZE)) {
        probe.set |= TERN_PRE_SIZE;
        TN_TRY(default_size(model, d->classifies, &probe.width, &probe.height, err));
        bool nhwc = d->input.rank == 4 && d->input.dims[3] == 3 && d->input.dims[1] != 3;
        int64_t h = d->input.dims[nhwc ? 1 : 2], w = d->input.dims[nhwc ? 2 : 3];
        d->free_height = d->input.rank == 4 && h < 0;
        d->free_width = d->input.rank == 4 && w < 0;
        if (d->free_height || d->free_width) {
            if (h > 0) probe.height = (int)TN_MIN(h, TERN_IMAGE_MAX_SIDE);
            if (w > 0) probe.width = (int)TN_MIN(w, TERN_IMAGE_MAX_SIDE);
            p = probe;
        }
    } else if (d->input.rank == 4) {
        d->free_height = d->input.dims[2] < 0;
        d->free_width = d->input.dims[3] < 0;
    }
    TN_TRY(tern_preprocess_resolve(&p, &d->input, err));
    if (p.width == 0) {
        return tn_fail(err, TERN_UNSUPPORTED, "pictures of their own size are not possible here: give one (--size)");
    }
    d->preprocess = p;
    if (d->options.rect && !(d->free_width && d->free_height)) {
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "the rectangular form needs a free height and width, input '%s' is fixed to %d x %d",
                       d->input.name, p.width, p.height);
    }
    return TERN_OK;
}

tern_status tern_detector_init(tern_detector *out, const tern_model *model, tern_session *session,
                               const tern_detect_options *options, tern_error *err) {
    *out = (tern_detector){.session = session, .options = *options};
    int inputs = tern_model_input_count(model), outputs = tern_model_output_count(model);
    if (inputs != 1) return tn_fail(err, TERN_UNSUPPORTED, "a detector has one input; this model has %d", inputs);
    if (outputs < 1 || outputs > TERN_MAX_HEAD_OUTPUTS) {
        return tn_fail(err, TERN_UNSUPPORTED, "a detector has 1 to %d outputs; this model has %d",
                       TERN_MAX_HEAD_OUTPUTS, outputs);
    }
    TN_TRY(tern_model_input(model, 0, &out->input, err));
    for (int i = 0; i < outputs; i++) {
        tern_value_info info;
        TN_TRY(tern_model_output(model, i, &info, err));
        out->output_names[i] = info.name;
    }
    out->n_outputs = outputs;
    out->hints = (tern_head_hints){.head = options->head, .names = options->names, .anchors = options->anchors};
    TN_TRY(read_metadata(out, model, err));
    out->classifies = out->hints.head == TERN_HEAD_CLASSIFY ||
                      (out->hints.head == TERN_HEAD_AUTO && looks_like_classifier(model, options));
    if (out->input.rank == 4 && (out->input.dims[0] == 0 || out->input.dims[0] > 65536)) {
        return tn_fail(err, TERN_UNSUPPORTED, "input '%s' wants %lld pictures at a time", out->input.name,
                       (long long)out->input.dims[0]);
    }
    return set_preprocess(out, model, err);
}

/* ---- one picture -------------------------------------------------------------------------------------------- */

/* What the network's run needs and gives. */
struct tern_detector_pass {
    int width, height; /* of the picture */
    tern_image fitted;
    tern_placement place;
    tern_tensor *input;
    float *converted[TERN_MAX_HEAD_OUTPUTS];
    tern_head_output outputs[TERN_MAX_HEAD_OUTPUTS];
    tern_candidates candidates;
};
typedef tern_detector_pass pass;

void tern_detector_pass_free(tern_detector_pass *p) {
    if (!p) return;
    tern_image_release(&p->fitted);
    tern_tensor_free(p->input);
    for (int i = 0; i < TERN_MAX_HEAD_OUTPUTS; i++) tn_free(p->converted[i]);
    tern_candidates_release(&p->candidates);
    tn_free(p);
}

static tern_status fit(const tern_detector *d, const tern_image *image, pass *p, tern_error *err) {
    const tern_preprocess *pre = &d->preprocess;
    if (pre->fit != TERN_FIT_LETTERBOX) {
        return tern_image_fit(&p->fitted, image, pre->width, pre->height, pre->fit, pre->resize, pre->filter, &p->place,
                              err);
    }
    tern_letterbox_options o = {.width = pre->width,
                                .height = pre->height,
                                .stride = d->options.rect ? d->stride : 0,
                                .corner = d->hints.head == TERN_HEAD_YOLOX};
    return tern_letterbox(&p->fitted, image, &o, &p->place, err);
}

/* Other places of a fixed batch stay zero. */
static tern_status make_input(const tern_detector *d, pass *p, tern_error *err) {
    tern_preprocess pre = d->preprocess;
    pre.fit = TERN_FIT_STRETCH;
    pre.resize = 0;
    int width = p->fitted.width, height = p->fitted.height;
    int64_t batch = TN_MAX(d->input.dims[0], 1), channels = tern_preprocess_channels(&pre);
    int64_t dims[4] = {batch, channels, height, width};
    if (pre.layout == TERN_LAYOUT_NHWC) {
        dims[1] = height;
        dims[2] = width;
        dims[3] = channels;
    }
    TN_TRY(tern_tensor_create(&p->input, d->input.dtype, 4, dims, err));
    return tern_preprocess_image(&pre, &p->fitted, width, height, d->input.dtype, tern_tensor_data(p->input), err);
}

static tern_status to_float(const tern_tensor *t, const char *name, float **out, tern_error *err) {
    size_t n = (size_t)tern_tensor_count(t);
    float *f = *out = tn_alloc_array(n + 1, sizeof *f);
    if (!f) return tn_fail_oom(err, n * sizeof *f);
    f[n] = 0; /* what an empty output seems to say when somebody looks at its first number */
    const void *data = tern_tensor_const_data(t);
    switch (n ? tern_tensor_dtype(t) : TERN_FLOAT) {
    case TERN_FLOAT:
        return TERN_OK;
    case TERN_FLOAT16:
        tn_f16_to_f32_n(data, f, n);
        return TERN_OK;
    case TERN_BFLOAT16:
        tn_bf16_to_f32_n(data, f, n);
        return TERN_OK;
    case TERN_DOUBLE:
        for (size_t i = 0; i < n; i++) f[i] = (float)((const double *)data)[i];
        return TERN_OK;
    case TERN_INT64:
        for (size_t i = 0; i < n; i++) f[i] = (float)((const int64_t *)data)[i];
        return TERN_OK;
    case TERN_INT32:
        for (size_t i = 0; i < n; i++) f[i] = (float)((const int32_t *)data)[i];
        return TERN_OK;
    default:
        return tn_fail(err, TERN_UNSUPPORTED, "output '%s': boxes can not be of type %s", name,
                       tern_dtype_name(tern_tensor_dtype(t)));
    }
}

static tern_status read_outputs(const tern_detector *d, pass *p, tern_tensor *const *tensors, tern_error *err) {
    for (int i = 0; i < d->n_outputs; i++) {
        const tern_tensor *t = tensors[i];
        tern_head_output *o = &p->outputs[i];
        if (tern_tensor_kind(t) != TERN_KIND_TENSOR) {
            return tn_fail(err, TERN_UNSUPPORTED, "output '%s' is no tensor", d->output_names[i]);
        }
        o->name = d->output_names[i];
        o->rank = tern_tensor_rank(t);
        memcpy(o->dims, tern_tensor_dims(t), (size_t)o->rank * sizeof *o->dims);
        if (tern_tensor_dtype(t) == TERN_FLOAT && tern_tensor_count(t) > 0) {
            o->data = tern_tensor_const_data(t);
        } else {
            TN_TRY(to_float(t, o->name, &p->converted[i], err));
            o->data = p->converted[i];
        }
    }
    return TERN_OK;
}

tern_status tern_detector_begin(const tern_detector *d, const tern_image *image, tern_detector_pass **out,
                                const tern_tensor **input, tern_error *err) {
    pass *p = *out = tn_calloc(1, sizeof *p);
    if (!p) return tn_fail_oom(err, sizeof *p);
    p->width = image->width;
    p->height = image->height;
    tern_status status = fit(d, image, p, err);
    if (status == TERN_OK) status = make_input(d, p, err);
    *input = p->input;
    if (status == TERN_OK) return TERN_OK;
    tern_detector_pass_free(p);
    *out = NULL;
    return status;
}

/* ---- back to the picture ------------------------------------------------------------------------------------ */

static float back(float v, double offset, double scale, int limit) {
    double at = ((double)v - offset) / scale;
    return (float)TN_MIN(TN_MAX(at, 0.0), (double)limit);
}

static tern_status take_landmarks(const tern_detector *d, const pass *p, tern_detections *out, tern_error *err) {
    const tern_head_layout *l = &d->layout;
    size_t each = (size_t)l->points * (size_t)l->point_size;
    if (each == 0) return TERN_OK;
    out->points = l->points;
    out->point_size = l->point_size;
    out->landmarks = tn_alloc_array(out->count * each + 1, sizeof *out->landmarks);
    if (!out->landmarks) return tn_fail_oom(err, out->count * each * sizeof *out->landmarks);
    for (size_t i = 0; i < out->count; i++) {
        float *v = out->landmarks + i * each;
        tern_head_points(l, &p->candidates, &p->candidates.items[i], v);
        for (size_t k = 0; k < each; k += (size_t)l->point_size) {
            v[k] = back(v[k], p->place.offset_x, p->place.scale_x, out->width);
            v[k + 1] = back(v[k + 1], p->place.offset_y, p->place.scale_y, out->height);
        }
    }
    return TERN_OK;
}

static tern_status take_boxes(const tern_detector *d, const pass *p, size_t count, tern_detections *out,
                              tern_error *err) {
    out->items = tn_alloc_array(count + 1, sizeof *out->items);
    if (!out->items) return tn_fail_oom(err, count * sizeof *out->items);
    const tern_placement *at = &p->place;
    for (size_t i = 0; i < count; i++) {
        const tern_candidate *c = &p->candidates.items[i];
        tern_box box = {back(c->box.x1, at->offset_x, at->scale_x, out->width),
                        back(c->box.y1, at->offset_y, at->scale_y, out->height),
                        back(c->box.x2, at->offset_x, at->scale_x, out->width),
                        back(c->box.y2, at->offset_y, at->scale_y, out->height)};
        out->items[i] = (tern_detection){box, c->score, c->cls};
    }
    out->count = count;
    TN_TRY(take_landmarks(d, p, out, err));
    if (d->layout.masks == 0) return TERN_OK;
    return tn_detect_make_masks(out, &d->layout, &p->candidates, &p->outputs[d->layout.proto], p->fitted.width,
                                p->fitted.height, at, err);
}

static tern_status find_boxes(const tern_detector *d, pass *p, tern_detections *out, tern_error *err) {
    const tern_detect_options *o = &d->options;
    tern_decode_options decode = {
        .conf = o->conf, .multi_label = o->multi_label, .classes = o->classes, .n_classes = o->n_classes};
    TN_TRY(tern_head_decode(&d->layout, p->outputs, p->fitted.width, p->fitted.height, &decode, &p->candidates, err));
    size_t kept;
    if (d->layout.head == TERN_HEAD_NMS) {
        TN_TRY(tern_best_candidates(p->candidates.items, p->candidates.count, o->max_det, &kept, err));
    } else {
        tern_nms_options nms = {.iou = o->iou, .max_det = o->max_det, .agnostic = o->agnostic};
        TN_TRY(tern_nms(p->candidates.items, p->candidates.count, &nms, &kept, err));
    }
    return take_boxes(d, p, kept, out, err);
}

/* Logits become probabilities; numbers that are some already stay. */
static tern_status take_classes(const tern_detector *d, const pass *p, tern_detections *out, tern_error *err) {
    size_t n = (size_t)d->layout.classes;
    out->class_scores = tn_alloc_array(n, sizeof *out->class_scores);
    if (!out->class_scores) return tn_fail_oom(err, n * sizeof *out->class_scores);
    memcpy(out->class_scores, p->outputs[0].data, n * sizeof *out->class_scores);
    out->n_class_scores = n;
    double sum = 0;
    bool in_range = true;
    for (size_t i = 0; i < n; i++) {
        sum += (double)out->class_scores[i];
        in_range = in_range && out->class_scores[i] >= 0 && out->class_scores[i] <= 1;
    }
    if (!in_range || fabs(sum - 1) > 1e-2) tern_softmax(out->class_scores, n);
    return TERN_OK;
}

/* YOLOX wants other pictures than what was assumed. */
static void turn_to_yolox(tern_detector *d) {
    d->hints.head = TERN_HEAD_YOLOX;
    tern_preprocess yolox = d->options.preprocess;
    set_head_defaults(&yolox, TERN_HEAD_YOLOX);
    d->preprocess.scale = yolox.set & TERN_PRE_SCALE ? yolox.scale : d->preprocess.scale;
    d->preprocess.channels = yolox.channels;
}

static tern_status finish(tern_detector *d, pass *p, tern_tensor *const *outputs, tern_detections *out, bool *again,
                          tern_error *err) {
    uint64_t start = tn_clock_ns();
    TN_TRY(read_outputs(d, p, outputs, err));
    d->hints.width = p->fitted.width;
    d->hints.height = p->fitted.height;
    TN_TRY(tern_head_recognise(&d->layout, p->outputs, d->n_outputs, &d->hints, err));
    *again =
        d->hints.head == TERN_HEAD_AUTO && tern_head_is_grid(&d->layout, p->outputs, p->fitted.width, p->fitted.height);
    if (*again) {
        turn_to_yolox(d);
        return TERN_OK;
    }
    TN_TRY(d->layout.head == TERN_HEAD_CLASSIFY ? take_classes(d, p, out, err) : find_boxes(d, p, out, err));
    out->boxes_ns = tn_clock_ns() - start;
    return TERN_OK;
}

tern_status tern_detector_finish(tern_detector *d, tern_detector_pass *p, tern_tensor *const *outputs,
                                 tern_detections *out, bool *again, tern_error *err) {
    *out = (tern_detections){.width = p->width, .height = p->height};
    *again = false;
    tern_status status = finish(d, p, outputs, out, again, err);
    if (status != TERN_OK) tern_detections_release(out);
    return status;
}

static tern_status run_once(tern_detector *d, const tern_image *image, tern_detections *out, bool *again,
                            tern_error *err) {
    pass *p;
    tern_feed feed = {.name = d->input.name};
    tern_tensor *outputs[TERN_MAX_HEAD_OUTPUTS] = {NULL};
    TN_TRY(tern_detector_begin(d, image, &p, &feed.tensor, err));
    uint64_t start = tn_clock_ns();
    tern_status status = tern_session_run(d->session, &feed, 1, d->output_names, outputs, (size_t)d->n_outputs, err);
    uint64_t network_ns = tn_clock_ns() - start;
    if (status == TERN_OK) status = tern_detector_finish(d, p, outputs, out, again, err);
    out->network_ns = network_ns;
    for (int i = 0; i < d->n_outputs; i++) tern_tensor_free(outputs[i]);
    tern_detector_pass_free(p);
    return status;
}

tern_status tern_detector_run(tern_detector *d, const tern_image *image, tern_detections *out, tern_error *err) {
    *out = (tern_detections){.width = image->width, .height = image->height};
    bool again = false;
    TN_TRY(run_once(d, image, out, &again, err));
    return again ? run_once(d, image, out, &again, err) : TERN_OK;
}
