/* tern detect: where things are in a picture. */
#include <stdio.h>

#include "base/base.h"
#include "cli/dataset.h"
#include "cli/detections.h"
#include "cli/detector.h"
#include "cli/progress.h"
#include "cli/tensor_file.h"
#include "cli/video.h"
#include "vision/draw/draw.h"

typedef struct detect_args {
    cli_common common;
    cli_detector_args detector;
    const char *input, *output, *txt, *crops;
    double line_width;
    int64_t quality, top, frames;
    bool masks, save_conf, no_labels, no_scores;
} detect_args;

extern const cli_command cli_cmd_detect;

typedef struct detect {
    const detect_args *args;
    cli_detector detector;
    cli_detections_output output;
    cli_progress progress;
} detect;

/* ---- setting up --------------------------------------------------------------------------------------------- */

/* -o of pictures: one file, or a folder. */
static int check_picture_output(detect *k, bool many) {
    const detect_args *a = k->args;
    k->output.picture = a->output;
    k->output.picture_is_folder = cli_is_folder(a->output) || !tern_image_can_save(a->output);
    if (many && !k->output.picture_is_folder) {
        return cli_usage_error(&cli_cmd_detect, "-o '%s' is one file, but there are many pictures: give a folder",
                               a->output);
    }
    if (!many && k->output.picture_is_folder && strrchr(a->output, '.') && !cli_is_folder(a->output) &&
        a->output[strlen(a->output) - 1] != '/') {
        return cli_usage_error(&cli_cmd_detect, "-o '%s': pictures are written as .jpg, .png or .ppm", a->output);
    }
    return CLI_OK;
}

static int set_up_output(detect *k, bool many) {
    const detect_args *a = k->args;
    tern_error err;
    k->output = (cli_detections_output){.labels = &k->detector.labels,
                                        .masks = a->masks,
                                        .top = (size_t)a->top,
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
    if (a->output && !a->input) {
        int code = check_picture_output(k, many);
        if (code != CLI_OK) return code;
    }
    const char *const folders[] = {k->output.picture_is_folder ? a->output : NULL, a->txt, a->crops};
    for (size_t i = 0; i < TN_COUNT(folders); i++) {
        if (folders[i] && cli_make_folder(folders[i], &err) != TERN_OK) return cli_fail(&err);
    }
    k->output.json_lines = a->common.json && a->input;
    if (a->common.json && !a->input) k->output.json = cli_json_array(NULL, NULL);
    return CLI_OK;
}

/* ---- the work ----------------------------------------------------------------------------------------------- */

static int run_picture(detect *k, const char *path) {
    const tern_image_options options = {.max_pixels = (uint64_t)k->args->detector.max_pixels};
    tern_image image;
    tern_error err;
    if (tern_image_load(&image, path, &options, &err) != TERN_OK) return cli_fail(&err);
    tern_detections found;
    tern_status status = cli_detector_run(&k->detector, path, &image, &found, &err);
    if (status == TERN_OK) {
        cli_progress_clear(&k->progress);
        status = cli_detections_write(&k->output, path, &image, &found, &err);
    }
    tern_detections_release(&found);
    tern_image_release(&image);
    return status == TERN_OK ? CLI_OK : cli_fail(&err);
}

static tern_status run_frame(void *context, int64_t number, tern_video_frame *frame, tern_error *err) {
    detect *k = context;
    const cli_frame f = {
        .source = k->args->input, .number = number, .seconds = frame->seconds, .draw = k->args->output != NULL};
    tn_text name;
    tn_text_init(&name);
    tn_text_add(&name, "%s: frame %lld", f.source, (long long)number);
    cli_must(name.failed ? NULL : name.data);
    tern_detections found;
    tern_status status = cli_detector_run(&k->detector, name.data, &frame->image, &found, err);
    if (status == TERN_OK) status = cli_detections_write_frame(&k->output, &f, &frame->image, &found, err);
    tern_detections_release(&found);
    tn_text_release(&name);
    return status;
}

static int run_video(detect *k) {
    const detect_args *a = k->args;
    if (a->output && cli_same_file(a->input, a->output)) {
        cli_error("%s: the output would replace the video; give another name with -o", a->output);
        return CLI_FAILED;
    }
    int code = set_up_output(k, false);
    if (code != CLI_OK) return code;
    const cli_video video = {.label = "detect",
                             .source = a->input,
                             .output = a->output,
                             .max_pixels = (uint64_t)a->detector.max_pixels,
                             .frames = a->frames,
                             .frame = run_frame,
                             .context = k};
    return cli_video_run(&video);
}

/* A picture that can not be read is reported and left out. */
static int run_all(detect *k, const cli_paths *list) {
    tern_error err;
    int code = set_up_output(k, list->count > 1);
    if (code != CLI_OK) return code;
    if (cli_detections_check(&k->output, list, &err) != TERN_OK) return cli_fail(&err);
    cli_progress_begin(&k->progress, "detect", (int64_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        if (run_picture(k, list->items[i]) != CLI_OK) code = CLI_FAILED;
        cli_progress_step(&k->progress, 1);
    }
    cli_progress_clear(&k->progress);
    if (k->output.json) cli_json_print(k->output.json);
    return code;
}

static int check_operands(const detect_args *a, char **operands, int count) {
    if (!a->input && count < 2) {
        return cli_usage_error(&cli_cmd_detect, "a picture or folder is missing, or a video as --input");
    }
    if (a->input && count > 1) {
        return cli_usage_error(&cli_cmd_detect, "'%s': either pictures or a video, not both", operands[1]);
    }
    if (a->frames && !a->input) return cli_usage_error(&cli_cmd_detect, "--frames is for videos (--input)");
    if (a->input && a->output && !tern_video_can_write(a->output)) {
        return cli_usage_error(&cli_cmd_detect, "-o '%s': videos are written as .mp4, .m4v, .mov, .mkv, .avi or .webm",
                               a->output);
    }
    for (int i = 1; i < count; i++) {
        if (tern_video_is_source(operands[i]) && !cli_is_folder(operands[i])) {
            return cli_usage_error(&cli_cmd_detect, "'%s' is a video: give it as --input", operands[i]);
        }
    }
    return CLI_OK;
}

/* Paths of all pictures; a folder that can not be read is reported and left out. */
static int list_pictures(cli_paths *list, char **operands, int count) {
    tern_error err;
    int code = CLI_OK;
    for (int i = 1; i < count; i++) {
        if (!cli_is_folder(operands[i])) {
            cli_paths_add(list, operands[i]);
        } else if (cli_paths_add_folder(list, operands[i], &err) != TERN_OK) {
            code = cli_fail(&err);
        }
    }
    return code;
}

static int run(void *args, char **operands, int count) {
    const detect_args *a = args;
    int code = check_operands(a, operands, count);
    if (code != CLI_OK) return code;
    if (a->input) cli_video_hold_signals();
    cli_paths list = {0};
    code = list_pictures(&list, operands, count);
    if (list.count > 0 || a->input) {
        detect k = {.args = a};
        int result = cli_detector_init(&k.detector, &cli_cmd_detect, &a->common, &a->detector, operands[0]);
        if (result == CLI_OK) result = a->input ? run_video(&k) : run_all(&k, &list);
        if (result != CLI_OK) code = result;
        cli_detector_release(&k.detector);
    }
    cli_paths_release(&list);
    return code;
}

static void defaults(void *args) {
    detect_args *a = args;
    cli_detector_defaults(&a->detector);
    a->quality = 90;
    a->top = 5;
}

#define ROW(field) offsetof(detect_args, field)
static const cli_option options[] = {
    {"input", 'i', CLI_STRING, "VIDEO", "a video instead of pictures: a file, rtsp://..., /dev/video0", ROW(input), 0,
     0},
    {"output", 'o', CLI_STRING, "FILE|FOLDER",
     "write the picture with its boxes drawn in (.jpg, .png, .ppm), or the video (.mp4, .mkv, ...)", ROW(output), 0, 0},
    {"frames", 0, CLI_INT, "N", "of a video: stop after N frames", ROW(frames), 1, 1e15},
    {"conf", 'c', CLI_REAL, "X", "only boxes with a score above X (default: 0.25)", ROW(detector.conf), 0, 1},
    {"iou", 0, CLI_REAL, "X", "of boxes of a class that overlap by more than X, keep the best (default: 0.45)",
     ROW(detector.iou), 0, 1},
    {"max-det", 0, CLI_INT, "N", "at most N boxes per picture (default: 300)", ROW(detector.max_det), 1, 30000},
    {"classes", 0, CLI_STRING, "0,2,5", "only these classes, by number or name", ROW(detector.classes), 0, 0},
    {"agnostic", 0, CLI_FLAG, NULL, "boxes of different classes suppress each other too", ROW(detector.agnostic), 0, 0},
    {"multi-label", 0, CLI_FLAG, NULL, "a box per class above the limit, not for the best class alone",
     ROW(detector.multi_label), 0, 0},
    CLI_DETECTOR_OPTIONS(detect_args),
    {"size", 's', CLI_STRING, "WxH|N", "size of the network's input where it is free (default: 640)",
     ROW(detector.size), 0, 0},
    {"bgr", 0, CLI_FLAG, NULL, "the network wants blue first", ROW(detector.bgr), 0, 0},
    {"preprocess", 0, CLI_STRING, "FILE|none", "JSON file with settings, instead of one beside the model",
     ROW(detector.preprocess), 0, 0},
    {"labels", 'l', CLI_STRING, "FILE", "names of the classes, one per line or a JSON list", ROW(detector.labels), 0,
     0},
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
    {"max-pixels", 0, CLI_INT, "N", "refuse larger pictures and frames (default: 67108864)", ROW(detector.max_pixels),
     1, 4e9},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_TUNE,
    CLI_OPT_JSON,
};

static const char *const examples[] = {
    "tern detect yolov5n.onnx photo.jpg -o boxes.jpg",
    "tern detect yolov5s.pt photo.jpg -o boxes.jpg            a checkpoint of PyTorch",
    "tern detect yolov5n.onnx photos/ -o boxes/ --classes person,car --conf 0.4",
    "tern detect yolov8n.onnx photo.jpg --json",
    "tern detect yolov5n.onnx --input clip.mp4 -o boxes.mp4",
    "tern detect yolov5n.onnx --input rtsp://camera/stream --json    a line per frame, until Ctrl-C",
    "tern detect yolov7-raw.onnx photo.jpg --anchors "
    "12,16,19,36,40,28,36,75,76,55,72,146,142,110,192,243,459,401",
    NULL,
};

const cli_command cli_cmd_detect = {
    .name = "detect",
    .summary = "find objects in pictures and videos",
    .operands = "MODEL [IMAGE|FOLDER...]",
    .description =
        "Runs a detector of the YOLO family, an ONNX file or a YOLOv5 checkpoint, over pictures and prints a list of\n"
        "boxes for each, best first: score, left, top, right and bottom in pixels of the picture, class. Of a folder,\n"
        "all pictures are taken. Of a video (--input), frames are taken one by one; --json prints a line for each, "
        "Ctrl-C\n"
        "ends it and leaves a whole file.\n"
        "Networks that give masks, landmarks or one class for the whole picture are understood, too.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model, a picture or the video could not be used",
    .min_operands = 1,
    .max_operands = -1,
    .args_size = sizeof(detect_args),
    .defaults = defaults,
    .run = run,
};
