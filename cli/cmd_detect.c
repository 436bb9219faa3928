/* tern detect: where things are in a picture. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "cli/dataset.h"
#include "cli/detections.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/tensor_file.h"
#include "vision/draw/draw.h"
#include "vision/torch/torch.h"
#include "vision/yolo/yolo.h"

typedef struct detect_args {
    cli_common common;
    const char *output, *txt, *crops, *size, *labels, *classes, *anchors, *preprocess, *arch;
    int head; /* index into `heads` */
    double conf, iou, line_width;
    int64_t max_det, max_pixels, quality, top;
    bool agnostic, multi_label, rect, masks, save_conf, no_labels, no_scores, bgr;
} detect_args;

extern const cli_command cli_cmd_detect;

#define HEAD_WORDS "auto|yolov5|yolov6|yolov7|yolov8|yolov11|yolox|face|nms|classify"
static const tern_head heads[] = {TERN_HEAD_AUTO,   TERN_HEAD_YOLOV5,  TERN_HEAD_YOLOV5, TERN_HEAD_YOLOV5,
                                  TERN_HEAD_YOLOV8, TERN_HEAD_YOLOV8,  TERN_HEAD_YOLOX,  TERN_HEAD_FACE,
                                  TERN_HEAD_NMS,    TERN_HEAD_CLASSIFY};

typedef struct detect {
    const detect_args *args;
    tern_model *model;
    tern_session *session;
    tern_labels labels;
    int32_t *classes; /* owned; of the options */
    tern_detect_options options;
    tern_detector detector;
    cli_detections_output output;
    cli_progress progress;
    bool said;       /* what was assumed */
    bool needs_coco; /* a class was given by COCO's name, and the model has no names */
} detect;

/* ---- setting up --------------------------------------------------------------------------------------------- */

/* "0,2,5" or names of classes, "person,tie". */
static int parse_classes(detect *k) {
    const char *text = k->args->classes;
    if (!text) return CLI_OK;
    size_t cap = 0;
    while (*text) {
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
                int code =
                    cli_usage_error(&cli_cmd_detect, "--classes: '%s' is neither a number nor a class's name", word);
                tn_free(word);
                return code;
            }
        }
        tn_free(word);
        if (value < 0 || value >= TERN_MAX_CLASSES) {
            return cli_usage_error(&cli_cmd_detect, "--classes: there is no class %ld", value);
        }
        cli_must(tn_grow(&k->classes, &cap, k->options.n_classes + 1, sizeof *k->classes) ? k->classes : NULL);
        k->classes[k->options.n_classes++] = (int32_t)value;
        text += n;
        if (*text == ',') text++;
    }
    k->options.classes = k->classes;
    return CLI_OK;
}

static int options_from_flags(detect *k) {
    const detect_args *a = k->args;
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
            return cli_usage_error(&cli_cmd_detect, "--size wants WxH or one number, not '%s'", a->size);
        }
    }
    if (a->anchors &&
        (!tern_parse_numbers(a->anchors, o->anchors.sizes, (int)TN_COUNT(o->anchors.sizes), &o->anchors.count) ||
         o->anchors.count < 2)) {
        return cli_usage_error(&cli_cmd_detect, "--anchors wants pairs of width and height, level by level, not '%s'",
                               a->anchors);
    }
    if (a->bgr) {
        o->preprocess.channels = TERN_CHANNELS_BGR;
        o->preprocess.set |= TERN_PRE_CHANNELS;
    }
    return CLI_OK;
}

static tern_status add_preprocess(detect *k, const char *model, tern_error *err) {
    const char *file = k->args->preprocess;
    tern_preprocess more = {0};
    if (file && strcmp(file, "none") == 0) return TERN_OK;
    TN_TRY(file ? tern_preprocess_load(&more, file, err) : tern_preprocess_beside(&more, model, err));
    tern_preprocess_merge(&k->options.preprocess, &more);
    return TERN_OK;
}

/* A checkpoint becomes a network whose heads are decoded here; anything else is taken for an ONNX file. */
static tern_status load_network(detect *k, const char *path, tern_error *err) {
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

static tern_status load_model(detect *k, const char *path, tern_error *err) {
    TN_TRY(load_network(k, path, err));
    TN_TRY(add_preprocess(k, path, err));
    TN_TRY(k->args->labels ? tern_labels_load(&k->labels, k->args->labels, err)
                           : tern_labels_metadata(&k->labels, k->model, err));
    tern_options options = cli_session_options(&k->args->common);
    return tern_session_create(&k->session, k->model, &options, err);
}

static int set_up(detect *k, const char *path) {
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

static int set_up_output(detect *k, bool many) {
    const detect_args *a = k->args;
    tern_error err;
    k->output = (cli_detections_output){.labels = &k->labels,
                                        .masks = a->masks,
                                        .top = (size_t)a->top,
                                        .picture = a->output,
                                        .txt = a->txt,
                                        .crops = a->crops,
                                        .save_conf = a->save_conf,
                                        .quality = a->quality,
                                        .line_width = a->line_width,
                                        .no_labels = a->no_labels,
                                        .no_scores = a->no_scores};
    if (a->output && !tern_draw_library()) {
        cli_error("this build can not draw; install libcairo2-dev and rebuild");
        return CLI_FAILED;
    }
    if (a->output) {
        k->output.picture_is_folder = cli_is_folder(a->output) || !tern_image_can_save(a->output);
        if (many && !k->output.picture_is_folder) {
            return cli_usage_error(&cli_cmd_detect, "-o '%s' is one file, but there are many pictures: give a folder",
                                   a->output);
        }
        if (!many && k->output.picture_is_folder && strrchr(a->output, '.') && !cli_is_folder(a->output) &&
            a->output[strlen(a->output) - 1] != '/') {
            return cli_usage_error(&cli_cmd_detect, "-o '%s': pictures are written as .jpg, .png or .ppm", a->output);
        }
    }
    const char *const folders[] = {k->output.picture_is_folder ? a->output : NULL, a->txt, a->crops};
    for (size_t i = 0; i < TN_COUNT(folders); i++) {
        if (folders[i] && cli_make_folder(folders[i], &err) != TERN_OK) return cli_fail(&err);
    }
    if (a->common.json) k->output.json = cli_json_array(NULL, NULL);
    return CLI_OK;
}

/* ---- the work ----------------------------------------------------------------------------------------------- */

/* 80 classes without names are COCO's. */
static void name_coco(detect *k) {
    if (k->labels.count > 0 || k->detector.layout.classes != TERN_COCO_CLASSES) return;
    k->labels.names = cli_must(tn_calloc(TERN_COCO_CLASSES, sizeof *k->labels.names));
    for (int i = 0; i < TERN_COCO_CLASSES; i++) k->labels.names[i] = cli_must(tn_strdup(tern_coco_name(i)));
    k->labels.count = TERN_COCO_CLASSES;
}

/* Guesses are said once, so that nobody wonders about odd boxes. */
static void say_assumptions(detect *k) {
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

static int run_picture(detect *k, const char *path) {
    const tern_image_options options = {.max_pixels = (uint64_t)k->args->max_pixels};
    tern_image image;
    tern_error err;
    if (tern_image_load(&image, path, &options, &err) != TERN_OK) return cli_fail(&err);
    tern_detections found;
    tern_status status = tern_detector_run(&k->detector, &image, &found, &err);
    if (status == TERN_OK && k->needs_coco && k->detector.layout.classes != TERN_COCO_CLASSES) {
        status = tn_fail(&err, TERN_NOT_FOUND, "the model has no names of classes: give --classes as numbers");
    }
    if (status != TERN_OK) {
        tn_error_prefix(&err, "%s: ", path);
    } else {
        say_assumptions(k);
        cli_progress_clear(&k->progress);
        status = cli_detections_write(&k->output, path, &image, &found, &err);
    }
    tern_detections_release(&found);
    tern_image_release(&image);
    return status == TERN_OK ? CLI_OK : cli_fail(&err);
}

/* A picture that can not be read is reported and left out. */
static int run_all(detect *k, const cli_paths *list) {
    int code = set_up_output(k, list->count > 1);
    if (code != CLI_OK) return code;
    cli_progress_begin(&k->progress, "detect", (int64_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        if (run_picture(k, list->items[i]) != CLI_OK) code = CLI_FAILED;
        cli_progress_step(&k->progress, 1);
    }
    cli_progress_clear(&k->progress);
    if (k->output.json) cli_json_print(k->output.json);
    return code;
}

static int run(void *args, char **operands, int count) {
    const detect_args *a = args;
    cli_paths list = {0};
    tern_error err;
    int code = CLI_OK;
    for (int i = 1; i < count; i++) {
        if (!cli_is_folder(operands[i])) {
            cli_paths_add(&list, operands[i]);
        } else if (cli_paths_add_folder(&list, operands[i], &err) != TERN_OK) {
            code = cli_fail(&err);
        }
    }
    if (list.count > 0) {
        detect k = {.args = a};
        int result = set_up(&k, operands[0]);
        if (result == CLI_OK) result = run_all(&k, &list);
        if (result != CLI_OK) code = result;
        tern_labels_release(&k.labels);
        tn_free(k.classes);
        tern_session_free(k.session);
        tern_model_free(k.model);
    }
    cli_paths_release(&list);
    return code;
}

static void defaults(void *args) {
    detect_args *a = args;
    a->conf = 0.25;
    a->iou = 0.45;
    a->max_det = 300;
    a->quality = 90;
    a->top = 5;
}

#define ROW(field) offsetof(detect_args, field)
static const cli_option options[] = {
    {"output", 'o', CLI_STRING, "FILE|FOLDER", "write the picture with its boxes drawn in (.jpg, .png, .ppm)",
     ROW(output), 0, 0},
    {"conf", 'c', CLI_REAL, "X", "only boxes with a score above X (default: 0.25)", ROW(conf), 0, 1},
    {"iou", 0, CLI_REAL, "X", "of boxes of a class that overlap by more than X, keep the best (default: 0.45)",
     ROW(iou), 0, 1},
    {"max-det", 0, CLI_INT, "N", "at most N boxes per picture (default: 300)", ROW(max_det), 1, 30000},
    {"classes", 0, CLI_STRING, "0,2,5", "only these classes, by number or name", ROW(classes), 0, 0},
    {"agnostic", 0, CLI_FLAG, NULL, "boxes of different classes suppress each other too", ROW(agnostic), 0, 0},
    {"multi-label", 0, CLI_FLAG, NULL, "a box per class above the limit, not for the best class alone",
     ROW(multi_label), 0, 0},
    {"head", 0, CLI_CHOICE, HEAD_WORDS, "what the outputs mean (default: recognised from shapes and metadata)",
     ROW(head), 0, 0},
    {"anchors", 0, CLI_STRING, "W,H,W,H,...", "anchors in pixels, level by level, of outputs per level", ROW(anchors),
     0, 0},
    {"size", 's', CLI_STRING, "WxH|N", "size of the network's input where it is free (default: 640)", ROW(size), 0, 0},
    {"rect", 0, CLI_FLAG, NULL, "bars only up to the next multiple of the stride, where the input is free", ROW(rect),
     0, 0},
    {"bgr", 0, CLI_FLAG, NULL, "the network wants blue first", ROW(bgr), 0, 0},
    {"preprocess", 0, CLI_STRING, "FILE|none", "JSON file with settings, instead of one beside the model",
     ROW(preprocess), 0, 0},
    {"labels", 'l', CLI_STRING, "FILE", "names of the classes, one per line or a JSON list", ROW(labels), 0, 0},
    {"arch", 0, CLI_STRING, "NAME|FILE",
     "of checkpoints without a description of the network: yolov5s@6.0, or the official YAML file", ROW(arch), 0, 0},
    {"txt", 0, CLI_STRING, "FOLDER", "write a label file per picture: class, middle and size as parts of the picture",
     ROW(txt), 0, 0},
    {"save-conf", 0, CLI_FLAG, NULL, "with --txt: the score after them", ROW(save_conf), 0, 0},
    {"crop", 0, CLI_STRING, "FOLDER", "write what is in each box as a picture", ROW(crops), 0, 0},
    {"masks", 0, CLI_FLAG, NULL, "with --json: masks of a segmentation network, as COCO's run lengths", ROW(masks), 0,
     0},
    {"top", 'k', CLI_INT, "K", "of a network that classifies: print the best K classes (default: 5)", ROW(top), 1,
     100000},
    {"quality", 'q', CLI_INT, "N", "of JPEG pictures written (default: 90)", ROW(quality), 1, 100},
    {"line-width", 0, CLI_REAL, "X", "of boxes, in pixels (default: by the picture's size)", ROW(line_width), 0, 100},
    {"no-labels", 0, CLI_FLAG, NULL, "draw boxes without names", ROW(no_labels), 0, 0},
    {"no-scores", 0, CLI_FLAG, NULL, "draw names without scores", ROW(no_scores), 0, 0},
    {"max-pixels", 0, CLI_INT, "N", "refuse larger pictures (default: 67108864)", ROW(max_pixels), 1, 4e9},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};

static const char *const examples[] = {
    "tern detect yolov5n.onnx photo.jpg -o boxes.jpg",
    "tern detect yolov5s.pt photo.jpg -o boxes.jpg            a checkpoint of PyTorch",
    "tern detect yolov5n.onnx photos/ -o boxes/ --classes person,car --conf 0.4",
    "tern detect yolov8n.onnx photo.jpg --json",
    "tern detect yolov7-raw.onnx photo.jpg --anchors "
    "12,16,19,36,40,28,36,75,76,55,72,146,142,110,192,243,459,401",
    NULL,
};

const cli_command cli_cmd_detect = {
    .name = "detect",
    .summary = "find objects in pictures",
    .operands = "MODEL IMAGE|FOLDER...",
    .description =
        "Runs a detector of the YOLO family, an ONNX file or a YOLOv5 checkpoint, over pictures and prints a list of\n"
        "boxes for each, best first: score, left, top, right and bottom in pixels of the picture, class. Of a folder,\n"
        "all pictures are taken.\n"
        "Networks that give masks, landmarks or one class for the whole picture are understood, too.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model or a picture could not be used",
    .min_operands = 2,
    .max_operands = -1,
    .args_size = sizeof(detect_args),
    .defaults = defaults,
    .run = run,
};
