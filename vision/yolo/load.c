/* From a checkpoint to a model: find the module tree (or make one for a bare state dict), walk its layers in order and
 * finish the graph. */
#include <stdio.h>

#include "vision/yolo/yolo_internal.h"

#define MIN_OPSET      9
#define MAX_OPSET      28
#define MAX_SIDE       16384
#define DEFAULT_SIDE   640
#define CLASSIFY_SIDE  224
#define MAX_WRAPPERS   8
#define MAX_CHANNELS   4096
#define MAX_DETECTIONS 100000

void tv_yolo_options_init(tv_yolo_options *options) {
    *options = (tv_yolo_options){
        .batch = 1, .opset = 13, .head = TV_YOLO_RAW, .fuse = true, .conf = 0.25, .iou = 0.45, .max_det = 300};
}

static tern_status check_options(const tv_yolo_options *o, tern_error *err) {
    if (o->opset < MIN_OPSET || o->opset > MAX_OPSET) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "opset %d is not one of %d to %d", o->opset, MIN_OPSET, MAX_OPSET);
    }
    if (o->width < 0 || o->width > MAX_SIDE || o->height < 0 || o->height > MAX_SIDE || !o->width != !o->height) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "an input of %dx%d is not between 1x1 and %dx%d", o->width,
                       o->height, MAX_SIDE, MAX_SIDE);
    }
    if (o->batch < 1 || o->batch > 65536) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a batch of %lld is not between 1 and 65536", (long long)o->batch);
    }
    if (o->head == TV_YOLO_NMS && o->opset < 10) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "NonMaxSuppression needs opset 10 or later, not %d", o->opset);
    }
    if (o->head != TV_YOLO_RAW && o->dynamic && o->opset < 11) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "decoding maps of free size needs opset 11 or later, not %d",
                       o->opset);
    }
    if (!(o->conf >= 0 && o->conf <= 1) || !(o->iou >= 0 && o->iou <= 1) || o->max_det < 1 ||
        o->max_det > MAX_DETECTIONS) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "confidence %g, IoU %g and %lld detections are out of range",
                       o->conf, o->iou, (long long)o->max_det);
    }
    return TERN_OK;
}

/* ---- the tree -------------------------------------------------------------------------------------------------- */

static const tern_py *module_or_null(const tern_py *v) { return yolo_is_module(v) ? v : NULL; }

static bool is_sequential(const tern_py *m) { return tern_py_is(m, NULL, "Sequential"); }

/* The model object and its layers: inside DataParallel (`module`), autoShape (`model`) and an ensemble of one. */
static bool unwrap(const tern_py *m, const tern_py **model, const tern_py **layers) {
    for (int i = 0; i < MAX_WRAPPERS && m; i++) {
        const tern_py *inner = module_or_null(tern_py_attr(m, "model")), *modules = tern_py_modules(m);
        *model = m;
        if (is_sequential(m)) inner = m;
        if (is_sequential(inner)) {
            *layers = inner;
            return true;
        }
        if (!inner) inner = module_or_null(tern_py_attr(m, "module"));
        if (!inner && tern_py_is(m, NULL, "Ensemble") && modules && modules->dict.count == 1) {
            inner = module_or_null(modules->dict.items[0].value);
        }
        m = inner;
    }
    return false;
}

/* 'ema' when there is one, as the official loader prefers it, else 'model'. */
static bool find_tree(const tern_py *root, const tern_py **model, const tern_py **layers) {
    if (yolo_is_module(root)) return unwrap(root, model, layers);
    if (!root || root->kind != TERN_PY_DICT) return false;
    const tern_py *ema = module_or_null(tern_py_get(root, "ema"));
    const tern_py *plain = module_or_null(tern_py_get(root, "model"));
    return unwrap(ema ? ema : plain, model, layers);
}

/* Channels that the first convolution takes; 0: none was found. */
static int64_t first_channels(const tern_py *m, int depth) {
    const tern_py *weight = tern_py_attr(m, "weight"), *modules = tern_py_modules(m);
    if (tern_py_is(m, NULL, "Conv2d") && weight && weight->kind == TERN_PY_TENSOR && weight->tensor->rank == 4) {
        int64_t groups = 1, channels = weight->tensor->dims[1];
        if (!tern_py_to_int(tern_py_attr(m, "groups"), &groups) || groups < 1) groups = 1;
        return tn_mul_i64(channels, groups, &channels) ? channels : 0;
    }
    for (size_t i = 0; modules && depth < YOLO_MAX_DEPTH && i < modules->dict.count; i++) {
        const tern_py *child = modules->dict.items[i].value;
        int64_t channels = yolo_is_module(child) ? first_channels(child, depth + 1) : 0;
        if (channels) return tern_py_is(m, NULL, "Focus") ? channels / 4 : channels;
    }
    return 0;
}

static int64_t input_channels(const tern_py *model, const tern_py *layers) {
    const tern_py *modules = tern_py_modules(layers), *yaml = tern_py_attr(model, "yaml");
    if (!yaml) yaml = tern_py_attr(model, "md"); // v1.0
    int64_t channels = 0;
    if (modules && modules->dict.count) channels = first_channels(modules->dict.items[0].value, 0);
    if (!channels && !tern_py_to_int(tern_py_get(yaml, "ch"), &channels)) channels = 3;
    return channels;
}

/* ---- layers ---------------------------------------------------------------------------------------------------- */

/* Values that the layer `index` takes: `f` counts from the first layer, or back from this one when negative. */
static tern_status layer_inputs(yolo_net *n, const tern_py *m, const yolo_value *image, const yolo_value *done,
                                int64_t index, yolo_value *in, int *count) {
    const tern_py *f = tern_py_attr(m, "f");
    int64_t from[YOLO_MAX_INPUTS] = {-1};
    *count = f ? tern_py_to_ints(f, from, YOLO_MAX_INPUTS) : 1;
    if (*count < 1) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "'f' is not the numbers of 1 to %d layers", YOLO_MAX_INPUTS);
    }
    for (int i = 0; i < *count; i++) {
        int64_t at = from[i] < 0 && from[i] >= -index - 1 ? index + from[i] : from[i];
        if (at == -1 && index == 0) {
            in[i] = *image;
        } else if (at >= 0 && at < index) {
            in[i] = done[at];
        } else {
            return yolo_fail(n, TERN_INVALID_FORMAT, "an input comes from layer %lld", (long long)from[i]);
        }
        if (!in[i].name) return yolo_fail(n, TERN_INVALID_FORMAT, "an input comes from a head");
    }
    return TERN_OK;
}

static tern_status emit_layers(yolo_net *n, const tern_py *modules, const yolo_value *image, yolo_value *done) {
    int64_t count = (int64_t)modules->dict.count, head_at = -1;
    for (int64_t i = 0; i < count; i++) {
        const tern_py *m = modules->dict.items[i].value;
        yolo_value in[YOLO_MAX_INPUTS];
        int n_in;
        char name[24];
        snprintf(name, sizeof name, "%lld", (long long)i);
        n->layer = (int)i;
        n->class_name = yolo_class(m);
        if (head_at >= 0)
            return yolo_fail(n, TERN_UNSUPPORTED, "a layer after the head (layer %lld)", (long long)head_at);
        TN_TRY(layer_inputs(n, m, image, done, i, in, &n_in));
        if (yolo_is_head(n->class_name)) {
            TN_TRY(yolo_emit_head(n, m, name, in, n_in));
            head_at = i;
        } else {
            TN_TRY(yolo_emit(n, m, name, in, n_in, &done[i]));
        }
    }
    if (head_at >= 0) return TERN_OK;
    if (strcmp(n->class_name, "Classify") == 0) return yolo_emit_logits(n, &done[count - 1]);
    return yolo_fail(n, TERN_UNSUPPORTED, "the network ends here, not in a Detect, Segment or Classify");
}

static tern_status emit_network(yolo_net *n, const tern_py *layers) {
    const tern_py *modules = tern_py_modules(layers);
    if (!modules || modules->dict.count == 0 || modules->dict.count > YOLO_MAX_LAYERS) {
        return tn_fail(n->err, TERN_INVALID_FORMAT, "the network has %zu layers, not 1 to %d",
                       modules ? modules->dict.count : 0, YOLO_MAX_LAYERS);
    }
    bool dynamic = n->options->dynamic;
    tern_value_info info = {.name = "images",
                            .dtype = TERN_FLOAT,
                            .rank = 4,
                            .dims = {dynamic ? -1 : n->options->batch, n->input_channels, dynamic ? -1 : n->height,
                                     dynamic ? -1 : n->width},
                            .dim_names = {"batch", NULL, "height", "width"}};
    TN_TRY(tern_graph_input(n->graph, &info, n->err));
    yolo_value image = {"images", n->input_channels, n->height, n->width};
    yolo_value *done = tn_calloc(modules->dict.count, sizeof *done);
    if (!done) return tn_fail_oom(n->err, modules->dict.count * sizeof *done);
    tn_text_add(&n->path, "model");
    tern_status status = emit_layers(n, modules, &image, done);
    tn_free(done);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

/* The attribute `imgsz` of the model, a number or height and width, is the size that it is meant for. The official
 * releases have no such attribute; what they note of their training (`opt`) is no such statement. */
static tern_status choose_size(yolo_net *n, const tern_py *layers) {
    const tern_py *modules = tern_py_modules(layers), *own = tern_py_attr(n->model, "imgsz");
    size_t count = modules ? modules->dict.count : 0;
    bool classify = count && strcmp(yolo_class(modules->dict.items[count - 1].value), "Classify") == 0;
    int64_t size[2] = {classify ? CLASSIFY_SIDE : DEFAULT_SIDE};
    n->width = n->options->width;
    n->height = n->options->height;
    if (n->width) return TERN_OK;
    int numbers = own && own->kind != TERN_PY_NONE ? tern_py_to_ints(own, size, 2) : 1;
    if (numbers == 1) size[1] = size[0];
    if (numbers < 1 || size[0] < 1 || size[0] > MAX_SIDE || size[1] < 1 || size[1] > MAX_SIDE) {
        return tn_fail(n->err, TERN_INVALID_FORMAT,
                       "the model's 'imgsz' is not a size from 1 to %d: give one with --size", MAX_SIDE);
    }
    n->height = (int)size[0];
    n->width = (int)size[1];
    return TERN_OK;
}

static tern_status build(yolo_net *n, const tern_py *layers, tern_model **out) {
    tn_text source;
    TN_TRY(choose_size(n, layers));
    n->input_channels = input_channels(n->model, layers);
    if (n->input_channels < 1 || n->input_channels > MAX_CHANNELS) {
        return tn_fail(n->err, TERN_INVALID_FORMAT, "the first layer takes %lld channels",
                       (long long)n->input_channels);
    }
    TN_TRY(tern_graph_create(&n->graph, "yolov5", n->options->opset, n->err));
    TN_TRY(emit_network(n, layers));
    tn_text_init(&source);
    if (n->from_names) {
        tn_text_add(&source, "state dict");
    } else {
        tn_text_add(&source, "%.100s.%.100s", n->model->object->module, n->model->object->name);
    }
    tern_status status = source.failed ? tn_fail_oom(n->err, 1)
                                       : yolo_metadata(n, (int)tern_py_modules(layers)->dict.count, source.data);
    tn_text_release(&source);
    TN_TRY(status);
    return tern_graph_finish(n->graph, out, n->err);
}

static tern_status load(yolo_net *n, tern_model **out) {
    const tern_py *root = tern_ckpt_root(n->ckpt), *layers = NULL, *state;
    if (find_tree(root, &n->model, &layers)) {
        if (n->options->arch) {
            return tn_fail(n->err, TERN_INVALID_ARGUMENT,
                           "the checkpoint holds its own module tree; a description (%s) would not be used",
                           n->options->arch);
        }
        return build(n, layers, out);
    }
    if (!(state = yolo_find_state_dict(root))) {
        return tn_fail(n->err, TERN_UNSUPPORTED, "there is neither a YOLOv5 model nor a state dict in it");
    }
    n->from_names = true;
    tn_text note;
    tn_text_init(&note);
    tern_status status = yolo_tree_from_names(state, n->options->arch, &n->arena, &layers, &note, n->err);
    if (status == TERN_OK && n->options->note && note.len && !note.failed) {
        n->options->note(n->options->note_context, note.data);
    }
    tn_text_release(&note);
    TN_TRY(status);
    return build(n, layers, out);
}

tern_status tv_yolo_build(tern_model **out, tern_ckpt *ckpt, const tv_yolo_options *options, tern_error *err) {
    tv_yolo_options defaults;
    tv_yolo_options_init(&defaults);
    yolo_net n = {.options = options ? options : &defaults, .ckpt = ckpt, .err = err};
    *out = NULL;
    TN_TRY(check_options(n.options, err));
    tn_arena_init(&n.arena, 0);
    tn_text_init(&n.path);
    tern_status status = load(&n, out);
    if (status == TERN_OK && n.path.failed) status = tn_fail_oom(err, n.path.len);
    if (status != TERN_OK) {
        tern_model_free(*out);
        *out = NULL;
    }
    tern_graph_free(n.graph);
    tn_text_release(&n.path);
    tn_arena_release(&n.arena);
    return status;
}

tern_status tv_yolo_load(tern_model **out, const char *checkpoint, const tv_yolo_options *options, tern_error *err) {
    tern_ckpt *ckpt;
    *out = NULL;
    TN_TRY(tern_ckpt_open(&ckpt, checkpoint, NULL, err));
    tern_status status = tv_yolo_build(out, ckpt, options, err);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", checkpoint);
    tern_ckpt_free(ckpt);
    return status;
}
