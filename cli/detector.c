/* A detector as the command line describes it. */
#include "cli/detector.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "cli/options.h"
#include "vision/torch/torch.h"
#include "vision/yolo/yolo.h"

/* In the order of CLI_HEAD_WORDS. */
static const tern_head heads[] = {TERN_HEAD_AUTO,   TERN_HEAD_YOLOV5,  TERN_HEAD_YOLOV5, TERN_HEAD_YOLOV5,
                                  TERN_HEAD_YOLOV8, TERN_HEAD_YOLOV8,  TERN_HEAD_YOLOX,  TERN_HEAD_FACE,
                                  TERN_HEAD_NMS,    TERN_HEAD_CLASSIFY};

void cli_detector_defaults(cli_detector_args *args) {
    args->conf = 0.25;
    args->iou = 0.45;
    args->max_det = 300;
}

/* "0,2,5" or names of classes, "person,tie". */
static int parse_classes(cli_detector *k) {
    const char *text = k->args->classes;
    if (!text) return CLI_OK;
    size_t cap = 0;
    do {
        size_t n = strcspn(text, ",");
        char *word = cli_must(tn_strndup(text, n));
        char *end;
        long value = strtol(word, &end, 10);
        if (n == 0 || *end != '\0') {
            value = -1;
            for (size_t i = 0; i < k->labels.count; i++) {
                if (strcmp(k->labels.names[i], word) == 0) value = (long)i;
            }
            for (int i = 0; k->labels.count == 0 && i < TERN_COCO_CLASSES; i++) {
                if (strcmp(tern_coco_name(i), word) != 0) continue;
                value = i;
                k->needs_coco = true;
            }
            if (value < 0) {
                int code = cli_usage_error(k->command, "--classes: '%s' is neither a number nor a class's name", word);
                tn_free(word);
                return code;
            }
        }
        tn_free(word);
        if (value < 0 || value >= TERN_MAX_CLASSES) {
            return cli_usage_error(k->command, "--classes: there is no class %ld", value);
        }
        cli_must(tn_grow(&k->classes, &cap, k->options.n_classes + 1, sizeof *k->classes) ? k->classes : NULL);
        k->classes[k->options.n_classes++] = (int32_t)value;
        text += n;
        if (*text == ',') text++;
    } while (*text);
    k->options.classes = k->classes;
    return CLI_OK;
}

static int options_from_flags(cli_detector *k) {
    const cli_detector_args *a = k->args;
    tern_detect_options *o = &k->options;
    tern_detect_options_init(o);
    o->head = heads[a->head];
    o->conf = a->conf;
    o->iou = a->iou;
    o->max_det = (int)a->max_det;
    o->agnostic = a->agnostic;
    o->multi_label = a->multi_label;
    o->rect = a->rect;
    if (a->size && !cli_parse_size(a->size, &o->width, &o->height)) {
        char both[64];
        snprintf(both, sizeof both, "%.20sx%.20s", a->size, a->size);
        if (!cli_parse_size(both, &o->width, &o->height)) {
            return cli_usage_error(k->command, "--size wants WxH or one number, not '%s'", a->size);
        }
    }
    if (a->anchors &&
        (!tern_parse_numbers(a->anchors, o->anchors.sizes, (int)TN_COUNT(o->anchors.sizes), &o->anchors.count) ||
         o->anchors.count < 2)) {
        return cli_usage_error(k->command, "--anchors wants pairs of width and height, level by level, not '%s'",
                               a->anchors);
    }
    if (a->bgr) {
        o->preprocess.channels = TERN_CHANNELS_BGR;
        o->preprocess.set |= TERN_PRE_CHANNELS;
    }
    return CLI_OK;
}

static tern_status add_preprocess(cli_detector *k, const char *model, tern_error *err) {
    const char *file = k->args->preprocess;
    tern_preprocess more = {0};
    if (file && strcmp(file, "none") == 0) return TERN_OK;
    TN_TRY(file ? tern_preprocess_load(&more, file, err) : tern_preprocess_beside(&more, model, err));
    tern_preprocess_merge(&k->options.preprocess, &more);
    return TERN_OK;
}

/* A checkpoint becomes a network whose heads are decoded here; anything else is taken for an ONNX file. */
static tern_status load_network(cli_detector *k, const char *path, tern_error *err) {
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    bool checkpoint = tern_ckpt_format_of(file.data, file.size) != TERN_CKPT_UNKNOWN;
    tn_file_unmap(&file);
    if (!checkpoint && k->args->arch) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s: --arch is for checkpoints, which this file is not", path);
    }
    if (!checkpoint) return tern_model_load(&k->model, path, NULL, err);
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    o.width = k->options.width;
    o.height = k->options.height;
    o.dynamic = k->options.rect;
    o.head = TV_YOLO_RAW;
    o.arch = k->args->arch;
    o.note = cli_note;
    o.note_context = path;
    return tv_yolo_load(&k->model, path, &o, err);
}

static tern_status load_model(cli_detector *k, const char *path, tern_error *err) {
    TN_TRY(load_network(k, path, err));
    TN_TRY(add_preprocess(k, path, err));
    TN_TRY(k->args->labels ? tern_labels_load(&k->labels, k->args->labels, err)
                           : tern_labels_metadata(&k->labels, k->model, err));
    tern_options options = cli_session_options(k->common);
    return tern_session_create(&k->session, k->model, &options, err);
}

/* 80 classes without names are COCO's. */
static void name_coco(cli_detector *k) {
    if (k->labels.count > 0 || k->detector.layout.classes != TERN_COCO_CLASSES) return;
    k->labels.names = cli_must(tn_calloc(TERN_COCO_CLASSES, sizeof *k->labels.names));
    for (int i = 0; i < TERN_COCO_CLASSES; i++) k->labels.names[i] = cli_must(tn_strdup(tern_coco_name(i)));
    k->labels.count = TERN_COCO_CLASSES;
}

/* Guesses are said once, so that nobody wonders about odd boxes. */
static void say_assumptions(cli_detector *k) {
    if (k->said) return;
    k->said = true;
    const tern_head_layout *l = &k->detector.layout;
    if (l->assumed_anchors) {
        cli_error("the model does not say its anchors: %s assumed (--anchors gives others)",
                  l->head == TERN_HEAD_FACE ? "yolov5-face's"
                  : l->n_levels == 4        ? "YOLOv5's for four levels"
                                            : "YOLOv5's for three levels");
    }
    if (l->head == TERN_HEAD_YOLOX && k->options.head == TERN_HEAD_AUTO) {
        cli_error("boxes in units of the grid: YOLOX's head assumed (--head gives another)");
    }
    if (l->head != TERN_HEAD_CLASSIFY && l->head != TERN_HEAD_NMS) name_coco(k);
}

int cli_detector_init(cli_detector *out, const cli_command *command, const cli_common *common,
                      const cli_detector_args *args, const char *path) {
    cli_detector *k = out;
    *k = (cli_detector){.command = command, .common = common, .args = args};
    int code = options_from_flags(k);
    if (code != CLI_OK) return code;
    tern_error err;
    if (load_model(k, path, &err) != TERN_OK) return cli_fail(&err);
    code = parse_classes(k);
    if (code != CLI_OK) return code;
    k->options.names = k->labels.count;
    if (tern_detector_init(&k->detector, k->model, k->session, &k->options, &err) != TERN_OK) {
        tn_error_prefix(&err, "%s: ", path);
        return cli_fail(&err);
    }
    return CLI_OK;
}

tern_status cli_detector_run(cli_detector *k, const char *path, const tern_image *image, tern_detections *out,
                             tern_error *err) {
    tern_status status = tern_detector_run(&k->detector, image, out, err);
    if (status == TERN_OK && k->needs_coco && k->detector.layout.classes != TERN_COCO_CLASSES) {
        status = tn_fail(err, TERN_NOT_FOUND, "the model has no names of classes: give --classes as numbers");
    }
    if (status == TERN_OK) {
        say_assumptions(k);
    } else {
        tn_error_prefix(err, "%s: ", path);
    }
    return status;
}

void cli_detector_release(cli_detector *k) {
    tern_labels_release(&k->labels);
    tn_free(k->classes);
    tern_session_free(k->session);
    tern_model_free(k->model);
}
