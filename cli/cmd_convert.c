/* tern convert: a YOLOv5 checkpoint to an ONNX file, or an ONNX file to another one. */
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "cli/checkpoint.h"
#include "cli/cli.h"
#include "cli/convert_onnx.h"
#include "cli/dataset.h"
#include "cli/json.h"
#include "cli/options.h"
#include "tern/graph.h"
#include "vision/yolo/yolo.h"

typedef struct convert_args {
    cli_common common; // optimize: fold batch normalisation
    const char *output, *size, *arch;
    bool dynamic, fp16, bf16, simplify, external, embed;
    cli_strings shapes, extract_inputs, extract_outputs, keep, rename, metadata;
    int64_t batch, opset, max_det;
    int head;
    double conf, iou;
} convert_args;

static void defaults(void *args) {
    convert_args *a = args;
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    a->batch = o.batch;
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

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
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
    cli_print_name(path);
    tn_text_add(&text, "\n  from  %s\n  in    ", source ? source : "?");
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
    if (cli_same_file(checkpoint, output)) {
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

/* What only makes sense for the other kind of file is a mistake. */
static int check_onnx(const convert_args *a) {
    if (!a->output) return cli_usage_error(&cli_cmd_convert, "an ONNX file needs -o FILE");
    if (a->size || a->dynamic || a->arch || !a->common.optimize || a->head)
        return cli_usage_error(
            &cli_cmd_convert,
            "--size, --dynamic, --arch, --head and --no-fuse are for checkpoints, not for ONNX files");
    if (a->fp16 && a->bf16) return cli_usage_error(&cli_cmd_convert, "--fp16 and --bf16 exclude each other");
    if (a->keep.count && !a->fp16 && !a->bf16)
        return cli_usage_error(&cli_cmd_convert, "--keep-float needs --fp16 or --bf16");
    if (a->external && a->embed)
        return cli_usage_error(&cli_cmd_convert, "--external-data and --embed exclude each other");
    return CLI_OK;
}

static int convert_onnx(const convert_args *a, const char *in) {
    int code = check_onnx(a);
    if (code != CLI_OK) return code;
    if (cli_same_file(in, a->output)) {
        cli_error("%s: the output would replace the input; give another name with -o", a->output);
        return CLI_FAILED;
    }
    cli_onnx_options o = {.opset = a->opset,
                          .simplify = a->simplify,
                          .external = a->external,
                          .fp16 = a->fp16,
                          .bf16 = a->bf16,
                          .shapes = &a->shapes,
                          .inputs = &a->extract_inputs,
                          .outputs = &a->extract_outputs,
                          .keep = &a->keep,
                          .rename = &a->rename,
                          .metadata = &a->metadata,
                          .json = a->common.json};
    return cli_convert_onnx(&o, in, a->output);
}

static int check_checkpoint(const convert_args *a) {
    if (a->simplify || a->external || a->embed || a->bf16 || a->shapes.count || a->extract_inputs.count ||
        a->extract_outputs.count || a->keep.count || a->rename.count || a->metadata.count)
        return cli_usage_error(&cli_cmd_convert, "that option is for ONNX files; convert the checkpoint first");
    if (a->opset && a->opset < 9) return cli_usage_error(&cli_cmd_convert, "--opset is 9 to 28 for checkpoints");
    return CLI_OK;
}

static int run(void *args, char **operands, int count) {
    (void)count;
    const convert_args *a = args;
    bool model = ends_with(operands[0], ".onnx") || ends_with(operands[0], ".tern");
    if (model && !cli_is_checkpoint(operands[0])) return convert_onnx(a, operands[0]);
    int code = check_checkpoint(a);
    if (code != CLI_OK) return code;
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    o.batch = a->batch;
    o.dynamic = a->dynamic;
    if (a->opset) o.opset = (int)a->opset;
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
    code = convert(a, operands[0], a->output ? a->output : made, &o);
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
    {"opset", 0, CLI_INT, "N",
     "version of the operators: 1 to 28 (default: that of the file); checkpoints 9 to 28 (default: 13)",
     offsetof(convert_args, opset), 1, 28},
    {"head", 0, CLI_CHOICE, "raw|decoded|nms",
     "raw: maps as the network gives them (default); decoded: boxes; nms: the boxes that are left",
     offsetof(convert_args, head), 0, 0},
    {"fp16", 0, CLI_FLAG, NULL,
     "half precision: of weights and arithmetic, with Casts where an operator can not; of checkpoints, weights alone",
     offsetof(convert_args, fp16), 0, 0},
    {"bf16", 0, CLI_FLAG, NULL, "the same in bfloat16", offsetof(convert_args, bf16), 0, 0},
    {"keep-float", 0, CLI_STRINGS, "OP|NODE", "leave this operator, or the node of that name, in float32",
     offsetof(convert_args, keep), 0, 0},
    {"simplify", 0, CLI_FLAG, NULL,
     "fold constants and known shapes, drop what does nothing, merge normalisation into convolutions",
     offsetof(convert_args, simplify), 0, 0},
    {"fix-shape", 0, CLI_STRINGS, "NAME=1x3x640x640", "fix the shape of an input, and what follows from it",
     offsetof(convert_args, shapes), 0, 0},
    {"extract-inputs", 0, CLI_STRINGS, "VALUE", "cut out the part that begins at this value (may be repeated)",
     offsetof(convert_args, extract_inputs), 0, 0},
    {"extract-outputs", 0, CLI_STRINGS, "VALUE", "cut out the part that gives this value (may be repeated)",
     offsetof(convert_args, extract_outputs), 0, 0},
    {"external-data", 0, CLI_FLAG, NULL, "write the weights to FILE.data", offsetof(convert_args, external), 0, 0},
    {"embed", 0, CLI_FLAG, NULL, "write the weights into FILE (the default below 2 GB)", offsetof(convert_args, embed),
     0, 0},
    {"rename", 0, CLI_STRINGS, "OLD=NEW", "rename a value: an input, an output or one between",
     offsetof(convert_args, rename), 0, 0},
    {"set-metadata", 0, CLI_STRINGS, "KEY=VALUE", "set a pair of the metadata; an empty value takes it away",
     offsetof(convert_args, metadata), 0, 0},
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
                                       "tern convert yolov5s_param.pth --arch yolov5s@6.0 -o yolov5s.onnx",
                                       "tern convert net.onnx --opset 11 -o net11.onnx",
                                       "tern convert net.onnx --fix-shape images=1x3x640x640 --simplify -o fixed.onnx",
                                       "tern convert net.onnx --fp16 --keep-float Softmax -o half.onnx",
                                       "tern convert net.onnx --extract-outputs features -o backbone.onnx",
                                       NULL};

const cli_command cli_cmd_convert = {
    .name = "convert",
    .summary = "make an ONNX file of a YOLOv5 checkpoint, or change one",
    .operands = "CHECKPOINT|MODEL.onnx",
    .description =
        "Of a checkpoint: rebuilds the network from what the checkpoint holds (.pt, .pth, .pkl, .safetensors, .npz) "
        "and writes it\n"
        "as ONNX. Nothing in the checkpoint is executed. docs/from-checkpoint.md has the details.\n"
        "Of an ONNX file: another opset, fixed shapes, a simpler graph, half precision, a part of the model, other\n"
        "names. An operator that the opset can not express is an error that names the node and the reason.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the file can not be read, holds no YOLOv5 network, can not be expressed, or not be written",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(convert_args),
    .defaults = defaults,
    .run = run,
};
