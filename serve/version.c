#include "serve/version.h"

#include <math.h>
#include <stdio.h>

#include "cli/embedded.h"
#include "runtime/runtime.h"
#include "serve/warmup.h"
#include "vision/torch/torch.h"
#include "vision/yolo/yolo.h"

#define AUTO_BATCH       8
#define IMAGENET_CLASSES 1000

/* ---- datatypes ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    tern_dtype dtype;
} datatypes[] = {
    {"FP32", TERN_FLOAT},   {"BOOL", TERN_BOOL},     {"UINT8", TERN_UINT8},   {"UINT16", TERN_UINT16},
    {"INT8", TERN_INT8},    {"UINT32", TERN_UINT32}, {"UINT64", TERN_UINT64}, {"INT16", TERN_INT16},
    {"INT32", TERN_INT32},  {"INT64", TERN_INT64},   {"FP16", TERN_FLOAT16},  {"FP64", TERN_DOUBLE},
    {"BYTES", TERN_STRING}, {"BF16", TERN_BFLOAT16},
};

const char *serve_datatype(tern_dtype dtype) {
    for (size_t i = 0; i < TN_COUNT(datatypes); i++) {
        if (datatypes[i].dtype == dtype) return datatypes[i].name;
    }
    return NULL;
}

tern_dtype serve_dtype_of(const char *datatype) {
    for (size_t i = 0; i < TN_COUNT(datatypes); i++) {
        if (strcmp(datatypes[i].name, datatype) == 0) return datatypes[i].dtype;
    }
    return TERN_UNDEFINED;
}

/* ---- references --------------------------------------------------------------------------------------------- */

serve_version *serve_version_ref(serve_version *v) {
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void serve_version_unref(serve_version *v) {
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) > 1) return;
    tern_session_free(v->session);
    tern_model_free(v->model);
    tern_labels_release(&v->labels);
    serve_config_release(&v->config);
    tn_free(v->inputs);
    tn_free(v->outputs);
    tn_free(v->output_names);
    tn_free(v->bytes);
    tn_free(v->name);
    tn_free(v);
}

/* ---- the network -------------------------------------------------------------------------------------------- */

/* Who overwrites a mapped file takes it away from under its users, so the bytes are copied. */
static tern_status read_bytes(serve_version *v, const char *path, tern_error *err) {
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    v->bytes = tn_alloc_aligned(TN_MAX(file.size, (size_t)1), 64);
    if (v->bytes && file.size) memcpy(v->bytes, file.data, file.size);
    v->n_bytes = file.size;
    tn_file_unmap(&file);
    return v->bytes ? TERN_OK : tn_fail_oom(err, v->n_bytes);
}

static tern_status load_checkpoint(serve_version *v, const char *path, tern_error *err) {
    tv_yolo_options o;
    tv_yolo_options_init(&o);
    o.head = TV_YOLO_RAW;
    o.dynamic = true; /* a free batch */
    v->platform = "pytorch_yolov5";
    tn_free(v->bytes);
    v->bytes = NULL;
    return tv_yolo_load(&v->model, path, &o, err);
}

static tern_status load_network(serve_version *v, const char *path, tern_error *err) {
    v->platform = "onnx_onnxv1";
    if (!path) {
        if (tern_embedded_fashion_size == 0) {
            return tn_fail(err, TERN_NOT_FOUND, "this build has no embedded model: models/fashion.onnx was not there");
        }
        v->n_bytes = tern_embedded_fashion_size;
        return tern_model_load_memory(&v->model, tern_embedded_fashion, tern_embedded_fashion_size, NULL, NULL, err);
    }
    TN_TRY(read_bytes(v, path, err));
    if (tern_ckpt_format_of(v->bytes, v->n_bytes) != TERN_CKPT_UNKNOWN) return load_checkpoint(v, path, err);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? tn_strndup(path, (size_t)(slash - path)) : tn_strdup(".");
    if (!folder) return tn_fail_oom(err, 0);
    tern_status status = tern_model_load_memory(&v->model, v->bytes, v->n_bytes, folder, NULL, err);
    tn_free(folder);
    return status;
}

static tern_status describe(serve_version *v, tern_error *err) {
    v->n_inputs = tern_model_input_count(v->model);
    v->n_outputs = tern_model_output_count(v->model);
    v->inputs = tn_calloc((size_t)v->n_inputs + 1, sizeof *v->inputs);
    v->outputs = tn_calloc((size_t)v->n_outputs + 1, sizeof *v->outputs);
    v->output_names = tn_calloc((size_t)v->n_outputs + 1, sizeof *v->output_names);
    if (!v->inputs || !v->outputs || !v->output_names) return tn_fail_oom(err, 0);
    for (int i = 0; i < v->n_inputs; i++) {
        TN_TRY(tern_model_input(v->model, i, &v->inputs[i], err));
        const tern_value_info *in = &v->inputs[i];
        if (in->kind != TERN_KIND_TENSOR || !serve_datatype(in->dtype)) {
            return tn_fail(err, TERN_UNSUPPORTED, "input '%s' is of a type that the protocol can not carry", in->name);
        }
    }
    for (int i = 0; i < v->n_outputs; i++) {
        TN_TRY(tern_model_output(v->model, i, &v->outputs[i], err));
        v->output_names[i] = v->outputs[i].name;
    }
    return TERN_OK;
}

/* ---- batching ----------------------------------------------------------------------------------------------- */

/* NULL: its first dim can be the batch. */
static const char *why_no_batch(const tern_value_info *info) {
    if (info->kind != TERN_KIND_TENSOR) return "is no tensor";
    if (info->dtype == TERN_STRING) return "is a tensor of strings";
    if (info->rank < 1) return "has no first dimension";
    return info->dims[0] >= 0 ? "has a fixed first dimension" : NULL;
}

static void add_size(serve_version *v, int64_t size) {
    int at = 0;
    while (at < v->n_sizes && v->sizes[at] < size) at++;
    if (size < 1 || size > v->max_batch || v->n_sizes == SERVE_MAX_SIZES) return;
    if (at < v->n_sizes && v->sizes[at] == size) return;
    memmove(v->sizes + at + 1, v->sizes + at, (size_t)(v->n_sizes - at) * sizeof *v->sizes);
    v->sizes[at] = size;
    v->n_sizes++;
}

static tern_status choose_batching(serve_version *v, tern_error *err) {
    serve_config *c = &v->config;
    v->batchable = c->max_batch != 1;
    const char *why = NULL;
    for (int i = 0; i < v->n_inputs + v->n_outputs && !why; i++) {
        bool input = i < v->n_inputs;
        const tern_value_info *info = input ? &v->inputs[i] : &v->outputs[i - v->n_inputs];
        why = why_no_batch(info);
        if (!why || !c->batch_dim || c->max_batch == 1) continue; /* of one row nothing is asked */
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a largest batch is configured, but %s '%s' %s",
                       input ? "input" : "output", info->name, why);
    }
    v->batchable = v->batchable && !why && v->n_inputs > 0;
    v->max_batch = !v->batchable ? 1 : c->max_batch ? c->max_batch : AUTO_BATCH;
    for (int64_t size = 1; size <= v->max_batch; size *= 2) add_size(v, size);
    for (int i = 0; i < c->n_preferred; i++) add_size(v, c->preferred[i]);
    add_size(v, v->max_batch);
    return TERN_OK;
}

/* ---- pictures ----------------------------------------------------------------------------------------------- */

static tern_status load_labels(serve_version *v, const serve_load *load, tern_error *err) {
    const serve_config *c = &v->config;
    if (c->label_list) return tern_labels_parse(&v->labels, c->label_list, strlen(c->label_list), err);
    if (!c->labels) return tern_labels_metadata(&v->labels, v->model, err);
    tn_text path;
    tn_text_init(&path);
    tn_text_add(&path, "%s/%s", load->folder, c->labels);
    tern_status status = path.failed ? tn_fail_oom(err, 0) : tern_labels_load(&v->labels, path.data, err);
    tn_text_release(&path);
    return status;
}

/* Names that everybody knows, for networks that do not bring theirs. */
static tern_status usual_labels(serve_version *v, size_t classes, tern_error *err) {
    if (v->labels.count > 0) return TERN_OK;
    if (v->task == SERVE_TASK_CLASSIFY && classes == IMAGENET_CLASSES) {
        return tern_labels_parse(&v->labels, tern_embedded_imagenet, tern_embedded_imagenet_size, err);
    }
    if (v->task != SERVE_TASK_DETECT || classes != TERN_COCO_CLASSES) return TERN_OK;
    v->labels.names = tn_calloc(TERN_COCO_CLASSES, sizeof *v->labels.names);
    if (!v->labels.names) return tn_fail_oom(err, 0);
    v->labels.count = TERN_COCO_CLASSES;
    for (int i = 0; i < TERN_COCO_CLASSES; i++) {
        if (!(v->labels.names[i] = tn_strdup(tern_coco_name(i)))) return tn_fail_oom(err, 0);
    }
    return TERN_OK;
}

static serve_task guess_task(const serve_version *v) {
    const tern_value_info *in = v->inputs, *out = v->outputs;
    if (v->n_inputs != 1 || v->n_outputs < 1 || in->rank != 4) return SERVE_TASK_NONE;
    const char *yolo = tern_model_metadata(v->model, "tern.yolo");
    if (yolo) return strstr(yolo, "\"classify\"") ? SERVE_TASK_CLASSIFY : SERVE_TASK_DETECT;
    bool flat = out->rank >= 2 && v->n_outputs == 1;
    for (int i = 2; flat && i < out->rank; i++) flat = out->dims[i] == 1;
    return flat ? SERVE_TASK_CLASSIFY : SERVE_TASK_DETECT;
}

static tern_status set_up_classifier(serve_version *v, const tern_preprocess *said, tern_error *err) {
    tern_preprocess p = *said, more;
    TN_TRY(tern_preprocess_metadata(&more, v->model, err));
    tern_preprocess_merge(&p, &more);
    TN_TRY(tern_classifier_init(&v->classifier, v->model, v->session, &p, v->config.output, err));
    for (int i = 0; i < v->n_outputs; i++) {
        if (strcmp(v->output_names[i], v->classifier.output) == 0) v->score_output = i;
    }
    const tern_value_info *out = &v->outputs[v->score_output];
    int64_t widest = 0;
    for (int i = 1; i < out->rank; i++) widest = TN_MAX(widest, out->dims[i]);
    return usual_labels(v, (size_t)widest, err);
}

static tern_status set_up_detector(serve_version *v, const tern_preprocess *said, tern_error *err) {
    const serve_config *c = &v->config;
    tern_detect_options o;
    tern_detect_options_init(&o);
    if (c->conf >= 0) o.conf = c->conf;
    if (c->iou >= 0) o.iou = c->iou;
    if (c->max_det) o.max_det = (int)c->max_det;
    o.preprocess = *said;
    o.names = v->labels.count;
    return tern_detector_init(&v->detector, v->model, v->session, &o, err);
}

/* One grey picture: whether the outputs are those of a detector is seen only then. */
static tern_status try_detector(serve_version *v, tern_error *err) {
    tern_image image;
    tern_detections found = {0};
    TN_TRY(tern_image_create(&image, 64, 64, err));
    memset(image.data, 114, (size_t)64 * 64 * 3);
    tern_detector d = v->detector;
    tern_status status = tern_detector_run(&d, &image, &found, err);
    if (status == TERN_OK) {
        v->detector = d; /* what was recognised */
        status = usual_labels(v, (size_t)d.layout.classes, err);
    }
    tern_detections_release(&found);
    tern_image_release(&image);
    return status;
}

static tern_status set_up_pictures(serve_version *v, const serve_load *load, tern_error *err) {
    v->task = v->config.task == SERVE_TASK_AUTO ? guess_task(v) : v->config.task;
    if (v->task == SERVE_TASK_NONE) {
        snprintf(v->task_error, sizeof v->task_error, "its inputs and outputs are not those of a network for pictures");
        return TERN_OK;
    }
    tern_preprocess p = v->config.preprocess, more = {0};
    if (load->path) TN_TRY(tern_preprocess_beside(&more, load->path, err));
    tern_preprocess_merge(&p, &more);
    tern_error why;
    tern_status status = v->task == SERVE_TASK_CLASSIFY ? set_up_classifier(v, &p, &why) : set_up_detector(v, &p, &why);
    if (status == TERN_OK && v->task == SERVE_TASK_DETECT) status = try_detector(v, &why);
    if (status == TERN_OK) return TERN_OK;
    if (v->config.task != SERVE_TASK_AUTO) return tn_fail(err, status, "%s", why.text);
    /* Tensors can still be served; what is wrong is told to those who send pictures. */
    snprintf(v->task_error, sizeof v->task_error, "%.280s", why.text);
    v->task = SERVE_TASK_NONE;
    return TERN_OK;
}

/* ---- loading ------------------------------------------------------------------------------------------------ */

static tern_status copy_text(char **to, const char *from, tern_error *err) {
    *to = from ? tn_strdup(from) : NULL;
    return !from || *to ? TERN_OK : tn_fail_oom(err, strlen(from));
}

static tern_status copy_config(serve_config *to, const serve_config *from, tern_error *err) {
    *to = *from;
    to->output = to->labels = to->label_list = to->file = NULL;
    TN_TRY(copy_text(&to->output, from->output, err));
    TN_TRY(copy_text(&to->labels, from->labels, err));
    return copy_text(&to->label_list, from->label_list, err);
}

static tern_status load_all(serve_version *v, const serve_load *load, tern_error *err) {
    v->number = load->number;
    snprintf(v->number_text, sizeof v->number_text, "%lld", (long long)load->number);
    TN_TRY(copy_text(&v->name, load->name, err));
    TN_TRY(copy_config(&v->config, load->config, err));
    TN_TRY(load_network(v, load->path, err));
    TN_TRY(describe(v, err));
    TN_TRY(choose_batching(v, err));
    tern_options o;
    tern_options_init(&o);
    o.threads = v->config.threads ? (int)v->config.threads : load->threads;
    o.max_plans = v->n_sizes + 7;
    if (v->config.has_precision ? v->config.bf16 : load->bf16) o.precision = TERN_PRECISION_BF16;
    o.tune = load->tune;
    o.tune_cache = load->tune_cache;
    TN_TRY(tern_session_create(&v->session, v->model, &o, err));
    TN_TRY(load_labels(v, load, err));
    TN_TRY(set_up_pictures(v, load, err));
    TN_TRY(serve_warm_up(v, err));
    v->memory = tn_session_bytes(v->session) + (v->bytes ? v->n_bytes : 0);
    return TERN_OK;
}

tern_status serve_version_load(serve_version **out, const serve_load *load, tern_error *err) {
    uint64_t begin = tn_clock_ns();
    serve_version *v = *out = tn_calloc(1, sizeof *v);
    if (!v) return tn_fail_oom(err, sizeof *v);
    atomic_init(&v->refs, 1);
    v->stats = load->stats;
    tern_status status = load_all(v, load, err);
    v->load_ns = tn_clock_ns() - begin;
    if (status == TERN_OK) return TERN_OK;
    serve_version_unref(v);
    *out = NULL;
    return status;
}
