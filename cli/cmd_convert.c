/* tern convert: a YOLOv5 checkpoint to an ONNX file. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/options.h"
#include "tern/graph.h"
#include "vision/yolo/yolo.h"

typedef struct convert_args {
    cli_common common; // optimize: fold batch normalisation
    const char *output, *size, *arch;
    bool dynamic, fp16;
    int64_t batch, opset, max_det;
    int head;
    double conf, iou;
} convert_args;

static void defaults(void *args) {
    convert_args *a = args;
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    a->batch = o.batch;
    a->opset = o.opset;
    a->max_det = o.max_det;
    a->head = (int)o.head;
    a->conf = o.conf;
    a->iou = o.iou;
}

/* "640" or "640x480". */
static bool read_size(const char *text, int *width, int *height) {
    if (strchr(text, 'x')) return cli_parse_size(text, width, height);
    tn_text both;
    tn_text_init(&both);
    tn_text_add(&both, "%sx%s", text, text);
    bool good = !both.failed && cli_parse_size(both.data, width, height);
    tn_text_release(&both);
    return good;
}

/* The checkpoint's path with .onnx for its ending. */
static char *default_output(const char *checkpoint) {
    const char *slash = strrchr(checkpoint, '/'), *dot = strrchr(checkpoint, '.');
    size_t stem = dot && (!slash || dot > slash + 1) ? (size_t)(dot - checkpoint) : strlen(checkpoint);
    tn_text text;
    tn_text_init(&text);
    tn_text_add_str(&text, checkpoint, stem);
    tn_text_add(&text, ".onnx");
    char *path = text.failed ? NULL : tn_strdup(text.data);
    tn_text_release(&text);
    return path;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void add_value(tn_text *text, const tern_value_info *v) {
    tn_text_add(text, "%s %s[", v->name, tern_dtype_name(v->dtype));
    for (int i = 0; i < v->rank; i++) {
        if (i) tn_text_add(text, ",");
        if (v->dims[i] >= 0) {
            tn_text_add(text, "%lld", (long long)v->dims[i]);
        } else {
            tn_text_add(text, "%s", v->dim_names[i] ? v->dim_names[i] : "?");
        }
    }
    tn_text_add(text, "]");
}

/* "images float32[1,3,640,640]" and the like, by index. */
static void add_values(tn_text *text, const tern_model *m, bool outputs) {
    int count = outputs ? tern_model_output_count(m) : tern_model_input_count(m);
    for (int i = 0; i < count; i++) {
        tern_value_info v;
        if (i) tn_text_add(text, ", ");
        if ((outputs ? tern_model_output(m, i, &v, NULL) : tern_model_input(m, i, &v, NULL)) == TERN_OK) {
            add_value(text, &v);
        }
    }
}

static void report_text(const tern_model *m, const char *path) {
    tn_text text;
    tn_text_init(&text);
    const char *source = tern_model_metadata(m, "tern.source");
    tn_text_add(&text, "%s\n  from  %s\n  in    ", path, source ? source : "?");
    add_values(&text, m, false);
    tn_text_add(&text, "\n  out   ");
    add_values(&text, m, true);
    if (!text.failed) puts(text.data);
    tn_text_release(&text);
}

static void json_values(cJSON *root, const char *key, const tern_model *m, bool outputs) {
    cJSON *list = cli_json_array(root, key);
    int count = outputs ? tern_model_output_count(m) : tern_model_input_count(m);
    for (int i = 0; i < count; i++) {
        tern_value_info v;
        if ((outputs ? tern_model_output(m, i, &v, NULL) : tern_model_input(m, i, &v, NULL)) != TERN_OK) continue;
        cJSON *item = cli_json_object(list, NULL);
        cli_json_string(item, "name", v.name);
        cli_json_string(item, "type", tern_dtype_name(v.dtype));
        cJSON *shape = cli_json_array(item, "shape");
        for (int k = 0; k < v.rank; k++) cli_json_int(shape, NULL, v.dims[k]);
    }
}

static void report_json(const tern_model *m, const char *path) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_string(root, "file", path);
    cli_json_string(root, "source", tern_model_metadata(m, "tern.source"));
    json_values(root, "inputs", m, false);
    json_values(root, "outputs", m, true);
    cli_json_print(root);
}

static int convert(const convert_args *a, const char *checkpoint, const char *output, const tv_yolo_options *o) {
    tern_error err;
    tern_model *model;
    if (same_file(checkpoint, output)) {
        cli_error("%s: the output would replace the checkpoint; give another name with -o", output);
        return CLI_FAILED;
    }
    if (tv_yolo_load(&model, checkpoint, o, &err) != TERN_OK) return cli_fail(&err);
    tern_status status = tern_model_save(model, output, &err);
    if (status == TERN_OK && a->common.json) report_json(model, output);
    if (status == TERN_OK && !a->common.json) report_text(model, output);
    tern_model_free(model);
    return status == TERN_OK ? CLI_OK : cli_fail(&err);
}

extern const cli_command cli_cmd_convert;

static int run(void *args, char **operands, int count) {
    (void)count;
    const convert_args *a = args;
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    o.batch = a->batch;
    o.dynamic = a->dynamic;
    o.opset = (int)a->opset;
    o.head = (tv_yolo_head)a->head;
    o.fp16 = a->fp16;
    o.fuse = a->common.optimize;
    o.conf = a->conf;
    o.iou = a->iou;
    o.max_det = a->max_det;
    o.arch = a->arch;
    o.note = cli_note;
    o.note_context = operands[0];
    if (a->size && !read_size(a->size, &o.width, &o.height)) {
        return cli_usage_error(&cli_cmd_convert, "--size %s: not a number of pixels or WxH", a->size);
    }
    char *made = a->output ? NULL : cli_must(default_output(operands[0]));
    int code = convert(a, operands[0], a->output ? a->output : made, &o);
    tn_free(made);
    return code;
}

static const cli_option options[] = {
    {"output", 'o', CLI_STRING, "FILE", "write this file (default: the checkpoint's name with .onnx)",
     offsetof(convert_args, output), 0, 0},
    {"size", 's', CLI_STRING, "N|WxH", "size of the input (default: what the model says, else 640; classifiers: 224)",
     offsetof(convert_args, size), 0, 0},
    {"dynamic", 0, CLI_FLAG, NULL, "leave batch, height and width free", offsetof(convert_args, dynamic), 0, 0},
    {"batch", 'b', CLI_INT, "N", "pictures per run (default: 1)", offsetof(convert_args, batch), 1, 65536},
    {"opset", 0, CLI_INT, "N", "version of the operators, 9 to 28 (default: 13)", offsetof(convert_args, opset), 9, 28},
    {"head", 0, CLI_CHOICE, "raw|decoded|nms",
     "raw: maps as the network gives them (default); decoded: boxes; nms: the boxes that are left",
     offsetof(convert_args, head), 0, 0},
    {"fp16", 0, CLI_FLAG, NULL, "store weights in half precision (arithmetic stays float32)",
     offsetof(convert_args, fp16), 0, 0},
    {"no-fuse", 0, CLI_FLAG_OFF, NULL, "keep batch normalisation as nodes", offsetof(cli_common, optimize), 0, 0},
    {"arch", 0, CLI_STRING, "NAME|FILE", "structure of a bare state dict: yolov5s@6.0, or a model's YAML file",
     offsetof(convert_args, arch), 0, 0},
    {"conf", 0, CLI_REAL, "X", "with --head nms: least score (default: 0.25)", offsetof(convert_args, conf), 0, 1},
    {"iou", 0, CLI_REAL, "X", "with --head nms: boxes that overlap more are one (default: 0.45)",
     offsetof(convert_args, iou), 0, 1},
    {"max-det", 0, CLI_INT, "N", "with --head nms: detections per picture (default: 300)",
     offsetof(convert_args, max_det), 1, 100000},
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern convert yolov5s.pt -o yolov5s.onnx",
                                       "tern convert best.pt --size 640x384 --head decoded --opset 17",
                                       "tern convert yolov5s_param.pth --arch yolov5s@6.0 -o yolov5s.onnx", NULL};

const cli_command cli_cmd_convert = {
    .name = "convert",
    .summary = "make an ONNX file of a YOLOv5 checkpoint",
    .operands = "CHECKPOINT",
    .description =
        "Rebuilds the network from what the checkpoint holds (.pt, .pth, .pkl, .safetensors, .npz) and writes it\n"
        "as ONNX. Nothing in the checkpoint is executed. docs/from-checkpoint.md has the details.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the checkpoint can not be read, holds no YOLOv5 network, or the file can not be written",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(convert_args),
    .defaults = defaults,
    .run = run,
};
