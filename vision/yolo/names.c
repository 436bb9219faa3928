/* Module trees for bare state dicts.
 *
 * "model.2.m.0.cv1.conv.weight" says that layer 2 has a module m, which has a module 0 ... The names of the tensors
 * make a tree; what class each of its modules is follows from the names of its children, and for layers from a
 * description. From it a tree of the kind that a pickle holds is made (tern_py values), which then goes the same way as
 * a pickled one. What names and shapes do not tell (strides, activations, shortcuts, eps) comes from the description.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "vision/yolo/yolo_internal.h"

#define MAX_TENSORS 20000
#define MAX_PARTS   32 /* of a name */

/* A part of the names: a module, or a tensor at the end. */
typedef struct part {
    const char *name;
    struct part *children, *next; /* in order of appearance */
    const tern_py *tensor;
    int n_children;
} part;

typedef struct maker {
    tn_arena *arena;
    tern_error *err;
    const yolo_arch *arch;
    double eps; /* of the normalisations of the layer */
    int layer;
    const char *class_name; /* of the layer, for messages */
} maker;

/* ---- finding the tensors --------------------------------------------------------------------------------------- */

static bool has_named_tensor(const tern_py *v) {
    for (size_t i = 0; v && v->kind == TERN_PY_DICT && i < v->dict.count; i++) {
        const char *key = tern_py_to_str(v->dict.items[i].key);
        if (key && strchr(key, '.') && v->dict.items[i].value->kind == TERN_PY_TENSOR) return true;
    }
    return false;
}

const tern_py *yolo_find_state_dict(const tern_py *root) {
    static const char *const keys[] = {"state_dict", "model_state_dict", "ema", "model", "net", "weights"};
    if (has_named_tensor(root)) return root;
    if (!root || root->kind != TERN_PY_DICT) return NULL;
    for (size_t i = 0; i < TN_COUNT(keys); i++) {
        const tern_py *v = tern_py_get(root, keys[i]);
        if (has_named_tensor(v)) return v;
    }
    return NULL;
}

/* ---- the tree of names ----------------------------------------------------------------------------------------- */

static bool is_number(const char *text, size_t len) {
    if (len == 0 || len > 6) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
    }
    return true;
}

static part *child_of(const part *p, const char *name) {
    for (part *c = p ? p->children : NULL; c; c = c->next) {
        if (strcmp(c->name, name) == 0) return c;
    }
    return NULL;
}

static part *add_child(tn_arena *arena, part *p, const char *name, size_t len) {
    part **link = &p->children;
    for (; *link; link = &(*link)->next) {
        if (strlen((*link)->name) == len && memcmp((*link)->name, name, len) == 0) return *link;
    }
    part *c = tn_arena_alloc(arena, sizeof *c);
    if (!c || !(c->name = tn_arena_strndup(arena, name, len))) return NULL;
    p->n_children++;
    return *link = c;
}

/* The name from its first number on: what is before it ("model.", "module.model.") says nothing. */
static tern_status add_tensor(tn_arena *arena, part *root, const char *key, const tern_py *tensor, tern_error *err) {
    size_t len = strcspn(key, ".");
    while (key[len] && !is_number(key, len)) {
        key += len + 1;
        len = strcspn(key, ".");
    }
    if (!is_number(key, len) || !key[len]) return TERN_OK;
    part *p = root;
    for (int depth = 0;; depth++) {
        len = strcspn(key, ".");
        if (depth == MAX_PARTS)
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "a tensor's name has more than %d parts", MAX_PARTS);
        if (!(p = add_child(arena, p, key, len))) return tn_fail_oom(err, sizeof *p);
        if (!key[len]) break;
        key += len + 1;
    }
    p->tensor = tensor;
    return TERN_OK;
}

static tern_status read_names(const tern_py *state, tn_arena *arena, part *root, tern_error *err) {
    if (state->dict.count > MAX_TENSORS) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "%zu tensors, more than %d", state->dict.count, MAX_TENSORS);
    }
    for (size_t i = 0; i < state->dict.count; i++) {
        const char *key = tern_py_to_str(state->dict.items[i].key);
        const tern_py *value = state->dict.items[i].value;
        if (key && value->kind == TERN_PY_TENSOR) TN_TRY(add_tensor(arena, root, key, value, err));
    }
    return TERN_OK;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static tern_py *new_value(maker *k, tern_py_kind kind) {
    tern_py *v = tn_arena_alloc(k->arena, sizeof *v);
    if (v) v->kind = kind;
    return v;
}

static tern_py *new_int(maker *k, int64_t value) {
    tern_py *v = new_value(k, TERN_PY_INT);
    if (v) v->integer = value;
    return v;
}

static tern_py *new_real(maker *k, double value) {
    tern_py *v = new_value(k, TERN_PY_FLOAT);
    if (v) v->real = value;
    return v;
}

static tern_py *new_bool(maker *k, bool value) {
    tern_py *v = new_value(k, TERN_PY_BOOL);
    if (v) v->boolean = value;
    return v;
}

static tern_py *new_str(maker *k, const char *text) {
    tern_py *v = new_value(k, TERN_PY_STR);
    if (v) v->text = (tern_string){tn_arena_strndup(k->arena, text, strlen(text)), strlen(text)};
    return v && v->text.data ? v : NULL;
}

static tern_py *new_ints(maker *k, const int64_t *values, int count) {
    tern_py *v = new_value(k, TERN_PY_TUPLE);
    if (!v || !(v->seq.items = tn_arena_array(k->arena, (size_t)count, sizeof *v->seq.items))) return NULL;
    for (int i = 0; i < count; i++) {
        if (!(v->seq.items[i] = new_int(k, values[i]))) return NULL;
    }
    v->seq.count = (size_t)count;
    return v;
}

static tern_py *new_dict(maker *k, size_t room) {
    tern_py *v = new_value(k, TERN_PY_DICT);
    return v && (v->dict.items = tn_arena_array(k->arena, room, sizeof *v->dict.items)) ? v : NULL;
}

/* There must be room. False: no memory, or no value. */
static bool put(maker *k, tern_py *dict, const char *key, const tern_py *value) {
    tern_py *name = new_str(k, key);
    if (!dict || !name || !value) return false;
    dict->dict.items[dict->dict.count++] = (tern_py_pair){name, (tern_py *)value};
    return true;
}

#define MAX_ATTRIBUTES 16

/* An object of that class with room for attributes, and an empty dict `modules`. NULL: no memory. */
static tern_py *new_module(maker *k, const char *class_name, size_t tensors, size_t modules, tern_py **children) {
    tern_py *v = new_value(k, TERN_PY_OBJECT), *state = new_dict(k, tensors + MAX_ATTRIBUTES);
    *children = new_dict(k, modules);
    if (!v || !state || !*children || !(v->object = tn_arena_alloc(k->arena, sizeof *v->object))) return NULL;
    char *name = tn_arena_strndup(k->arena, class_name, strlen(class_name));
    if (!name) return NULL;
    *v->object = (tern_py_object){.module = "", .name = name, .state = state};
    return put(k, state, "_modules", *children) ? v : NULL;
}

static bool set(maker *k, tern_py *module, const char *key, const tern_py *value) {
    return put(k, module->object->state, key, value);
}

static tern_status out_of_memory(maker *k) { return tn_fail_oom(k->err, sizeof(tern_py)); }

static tern_status fail(maker *k, const char *text, const char *name) {
    return tn_fail(k->err, TERN_INVALID_FORMAT, "layer %d (%s): %s '%.100s'", k->layer, k->class_name, text, name);
}

/* ---- what a module is ------------------------------------------------------------------------------------------ */

/* What the description says of the modules inside. */
typedef struct hint {
    const char *class_name; /* "" unknown */
    int64_t stride, pad;    /* pad -1: half the kernel */
    bool shortcut;
    bool active; /* false: without an activation */
    const yolo_row *row;
} hint;

static int64_t dim(const part *p, const char *child, int i) {
    const part *c = child_of(p, child);
    return c && c->tensor && c->tensor->tensor->rank == 4 ? c->tensor->tensor->dims[i] : 0;
}

/* Dim i of the weight of the convolution in the Conv called `child`. */
static int64_t conv_dim(const part *p, const char *child, int i) {
    return dim(child_of(child_of(p, child), "conv"), "weight", i);
}

static bool is_conv2d(const part *p) { return dim(p, "weight", 0) > 0; }

static bool all_numbers(const part *p) {
    for (const part *c = p->children; c; c = c->next) {
        if (!is_number(c->name, strlen(c->name))) return false;
    }
    return p->children != NULL;
}

/* By the names of the children; the hint decides where these leave a choice. NULL: not known. */
static const char *class_of(const part *p, const hint *h) {
    static const struct {
        const char *child, *without, *class_name;
    } marks[] = {
        {"running_mean", NULL, "BatchNorm2d"}, {"in_proj_weight", NULL, "MultiheadAttention"},
        {"stem_1", NULL, "StemBlock"},         {"branch2", NULL, "ShuffleV2Block"},
        {"ma", NULL, "TransformerLayer"},      {"tr", NULL, "TransformerBlock"},
        {"cv4", NULL, "BottleneckCSP"},        {"proto", NULL, "Segment"},
        {"anchors", NULL, "Detect"},           {"linear", NULL, "Classify"},
    };
    for (size_t i = 0; i < TN_COUNT(marks); i++) {
        if (child_of(p, marks[i].child)) return marks[i].class_name;
    }
    const part *conv = child_of(p, "conv");
    if (is_conv2d(p)) return strstr(h->class_name, "ConvTranspose2d") ? "ConvTranspose2d" : "Conv2d";
    if (child_of(p, "weight")) return "Linear";
    if (child_of(p, "cv3")) return child_of(p, "m") ? "C3" : "Proto";
    if (conv && is_conv2d(conv)) return "Conv";
    if (conv) return child_of(conv, "conv") ? "Focus" : "GhostBottleneck";
    if (all_numbers(p)) return "Sequential";
    if (!child_of(p, "cv1") || !child_of(p, "cv2")) return child_of(p, "m") && child_of(p, "bn") ? "MixConv2d" : NULL;
    if (*h->class_name) return h->class_name;
    return NULL;
}

static tern_status make(maker *k, const part *p, const hint *h, tern_py **out);

/* ---- making modules -------------------------------------------------------------------------------------------- */

static tern_status make_plain(maker *k, const char *class_name, tern_py **out) {
    tern_py *modules;
    *out = new_module(k, class_name, 0, 0, &modules);
    return *out ? TERN_OK : out_of_memory(k);
}

static tern_status make_activation(maker *k, const char *class_name, tern_py **out) {
    TN_TRY(make_plain(k, class_name, out));
    bool good = true;
    if (strcmp(class_name, "LeakyReLU") == 0) good = set(k, *out, "negative_slope", new_real(k, k->arch->slope));
    return good ? TERN_OK : out_of_memory(k);
}

static tern_status make_maxpool(maker *k, int64_t size, int64_t stride, int64_t pad, bool ceil_mode, tern_py **out) {
    TN_TRY(make_plain(k, "MaxPool2d", out));
    bool good = set(k, *out, "kernel_size", new_int(k, size)) && set(k, *out, "stride", new_int(k, stride)) &&
                set(k, *out, "padding", new_int(k, pad)) && set(k, *out, "ceil_mode", new_bool(k, ceil_mode));
    return good ? TERN_OK : out_of_memory(k);
}

static bool geometry(maker *k, const part *p, const hint *h, tern_py *module) {
    int64_t kernel[2] = {dim(p, "weight", 2), dim(p, "weight", 3)};
    // A 1 x k convolution strides along its k only.
    int64_t stride[2] = {h->stride, h->stride}, pad[2] = {h->pad, h->pad};
    bool crossed = kernel[0] != kernel[1];
    for (int i = 0; i < 2; i++) {
        if (h->pad < 0) pad[i] = kernel[i] / 2;
        if (crossed && kernel[i] == 1) stride[i] = 1;
    }
    return set(k, module, "stride", new_ints(k, stride, 2)) && set(k, module, "padding", new_ints(k, pad, 2)) &&
           set(k, module, "output_padding", new_int(k, 0));
}

/* `add` of a Bottleneck: a shortcut, and as many channels out as in. */
static bool adds(const part *p, const hint *h) { return h->shortcut && conv_dim(p, "cv1", 1) == conv_dim(p, "cv2", 0); }

/* `module` is looked at when `status`, that of making it, is good. */
static tern_status add_module(maker *k, tern_py *modules, const char *name, tern_status status, tern_py **module) {
    TN_TRY(status);
    return put(k, modules, name, *module) ? TERN_OK : out_of_memory(k);
}

/* Pools of SPP: kernels 5, 9, 13 unless the description says others. */
static tern_status make_pools(maker *k, const hint *h, tern_py *modules) {
    tern_py *list, *pools;
    if (!(list = new_module(k, "ModuleList", 0, YOLO_MAX_ARGS + 3, &pools))) return out_of_memory(k);
    static const double usual[] = {5, 9, 13};
    const double *sizes = h->row && h->row->n_args > 1 ? h->row->args + 1 : usual;
    int count = h->row && h->row->n_args > 1 ? h->row->n_args - 1 : 3;
    for (int i = 0; i < count; i++) {
        tern_py *pool;
        char name[16];
        int64_t size = sizes[i] >= 1 && sizes[i] < 1000 ? (int64_t)sizes[i] : 0;
        snprintf(name, sizeof name, "%d", i);
        TN_TRY(add_module(k, pools, name, make_maxpool(k, size, 1, size / 2, false, &pool), &pool));
    }
    return add_module(k, modules, "m", TERN_OK, &list);
}

/* Modules without tensors that the class has besides. */
static tern_status add_silent(maker *k, const char *class_name, const part *p, const hint *h, tern_py *module,
                              tern_py *modules) {
    tern_py *v;
    if (strcmp(class_name, "Conv") == 0) {
        return add_module(k, modules, "act", make_activation(k, h->active ? k->arch->activation : "Identity", &v), &v);
    }
    if (strcmp(class_name, "BottleneckCSP") == 0) {
        return add_module(k, modules, "act", make_activation(k, k->arch->csp_activation, &v), &v);
    }
    if (strcmp(class_name, "MixConv2d") == 0) return add_module(k, modules, "act", make_activation(k, "SiLU", &v), &v);
    if (strcmp(class_name, "SPP") == 0) return make_pools(k, h, modules);
    if (strcmp(class_name, "SPPF") == 0) {
        int64_t size = h->row && h->row->n_args > 1 && h->row->args[1] >= 1 && h->row->args[1] < 1000
                           ? (int64_t)h->row->args[1]
                           : 5;
        return add_module(k, modules, "m", make_maxpool(k, size, 1, size / 2, false, &v), &v);
    }
    if (strcmp(class_name, "StemBlock") == 0) {
        return add_module(k, modules, "stem_2p", make_maxpool(k, 2, 2, 0, true, &v), &v);
    }
    if (strcmp(class_name, "Proto") == 0) {
        TN_TRY(make_plain(k, "Upsample", &v));
        bool good = set(k, v, "scale_factor", new_int(k, 2)) && set(k, v, "mode", new_str(k, "nearest"));
        return good ? add_module(k, modules, "upsample", TERN_OK, &v) : out_of_memory(k);
    }
    if (strcmp(class_name, "Classify") == 0) {
        TN_TRY(make_plain(k, "AdaptiveAvgPool2d", &v));
        if (!set(k, v, "output_size", new_int(k, 1))) return out_of_memory(k);
        return add_module(k, modules, child_of(p, "linear") ? "pool" : "aap", TERN_OK, &v);
    }
    if (strcmp(class_name, "GhostBottleneck") == 0 && !child_of(p, "shortcut")) {
        return add_module(k, modules, "shortcut", make_plain(k, "Identity", &v), &v);
    }
    bool good = true;
    if (strcmp(class_name, "Bottleneck") == 0 || strcmp(class_name, "CrossConv") == 0) {
        good = set(k, module, "add", new_bool(k, adds(p, h)));
    } else if (strcmp(class_name, "Conv2d") == 0 || strcmp(class_name, "ConvTranspose2d") == 0) {
        good = geometry(k, p, h, module);
    } else if (strcmp(class_name, "BatchNorm2d") == 0) {
        good = set(k, module, "eps", new_real(k, k->eps));
    } else if (strcmp(class_name, "ShuffleV2Block") == 0) {
        good = set(k, module, "stride", new_int(k, child_of(p, "branch1") ? 2 : 1));
    } else if (strcmp(class_name, "Detect") == 0 && k->arch->face) {
        good = set(k, module, "face", new_bool(k, true));
    }
    return good ? TERN_OK : out_of_memory(k);
}

/* What the parent's class says of its child. */
static hint hint_for(const char *class_name, const hint *h, const part *child) {
    hint c = {.class_name = "", .stride = 1, .pad = -1, .shortcut = h->shortcut, .active = h->active, .row = NULL};
    bool same =
        strcmp(class_name, "Focus") == 0 || strcmp(class_name, "Conv") == 0 || strcmp(class_name, "Sequential") == 0;
    if (same) c = *h;
    if (strcmp(class_name, "C3") == 0 || strcmp(class_name, "BottleneckCSP") == 0) {
        if (strcmp(child->name, "m") == 0) {
            c.class_name = strcmp(h->class_name, "C3x") == 0     ? "CrossConv"
                           : strcmp(h->class_name, "C3SPP") == 0 ? "SPP"
                                                                 : "Bottleneck";
        }
    } else if (strcmp(class_name, "GhostConv") == 0 || strcmp(class_name, "CrossConv") == 0) {
        // The first of GhostConv and both of CrossConv stride.
        c.stride = strcmp(child->name, "cv1") == 0 || strcmp(class_name, "CrossConv") == 0 ? h->stride : 1;
    } else if (strcmp(class_name, "GhostBottleneck") == 0) {
        c.class_name = "GhostConv";
    } else if (strcmp(class_name, "StemBlock") == 0) {
        bool strided = strcmp(child->name, "stem_1") == 0 || strcmp(child->name, "stem_2b") == 0;
        c.stride = strided ? 2 : 1;
    } else if (strcmp(class_name, "MixConv2d") == 0) {
        c.stride = h->stride;
    }
    return c;
}

/* GhostBottleneck's `conv` holds GhostConv 0 and 2, the latter without activations. */
static bool last_of_ghost(const hint *h, const part *child) {
    return strcmp(h->class_name, "GhostConv") == 0 && strcmp(child->name, "2") == 0;
}

/* ShuffleV2Block's branches: convolutions, normalisations and activations in a row; the activation follows the
 * normalisation of every 1 x 1 convolution and has no tensors. Depthwise ones stride. */
static tern_status make_branch(maker *k, const part *p, int64_t stride, tern_py **out) {
    tern_py *modules, *v;
    if (!(*out = new_module(k, "Sequential", 0, 3 * (size_t)p->n_children + 1, &modules))) return out_of_memory(k);
    bool pointwise = false;
    for (const part *c = p->children; c; c = c->next) {
        bool conv = is_conv2d(c);
        hint h = {.class_name = "", .stride = 1, .pad = -1};
        if (conv) {
            pointwise = dim(c, "weight", 2) == 1;
            if (!pointwise) h.stride = stride;
        }
        TN_TRY(make(k, c, &h, &v));
        TN_TRY(add_module(k, modules, c->name, TERN_OK, &v));
        if (conv || !pointwise) continue;
        TN_TRY(make_activation(k, "SiLU", &v));
        TN_TRY(add_module(k, modules, "act", TERN_OK, &v));
    }
    return TERN_OK;
}

static tern_status make_children(maker *k, const char *class_name, const part *p, const hint *h, tern_py *module,
                                 tern_py *modules) {
    bool shuffle = strcmp(class_name, "ShuffleV2Block") == 0;
    int64_t stride = child_of(p, "branch1") ? 2 : 1;
    for (const part *c = p->children; c; c = c->next) {
        tern_py *v;
        if (c->tensor) {
            if (!set(k, module, c->name, c->tensor)) return out_of_memory(k);
            continue;
        }
        if (shuffle) {
            TN_TRY(add_module(k, modules, c->name, make_branch(k, c, stride, &v), &v));
            continue;
        }
        hint inner = hint_for(class_name, h, c);
        if (last_of_ghost(h, c)) inner.active = false;
        TN_TRY(make(k, c, &inner, &v));
        TN_TRY(add_module(k, modules, c->name, TERN_OK, &v));
    }
    return TERN_OK;
}

/* Depth is bounded by the parts of a name. */
static tern_status make(maker *k, const part *p, const hint *h, tern_py **out) {
    const char *class_name = class_of(p, h);
    if (!class_name) return fail(k, "it is not clear from its tensors what class the module is:", p->name);
    tern_py *modules;
    *out = new_module(k, class_name, (size_t)p->n_children, (size_t)p->n_children + 4, &modules);
    if (!*out) return out_of_memory(k);
    TN_TRY(make_children(k, class_name, p, h, *out, modules));
    return add_silent(k, class_name, p, h, *out, modules);
}

/* ---- layers ---------------------------------------------------------------------------------------------------- */

static const char *plain_class(const yolo_row *row) {
    return strncmp(row->module, "nn.", 3) == 0 ? row->module + 3 : row->module;
}

static bool is_silent(const char *class_name) {
    static const char *const names[] = {"Concat",   "Upsample", "MaxPool2d", "ZeroPad2d",
                                        "Contract", "Expand",   "Identity"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        if (strcmp(names[i], class_name) == 0) return true;
    }
    return false;
}

static int64_t whole(const yolo_row *row, int i, int64_t otherwise) {
    return i < row->n_args && row->args[i] >= 0 && row->args[i] <= 1000 ? (int64_t)row->args[i] : otherwise;
}

/* A layer that has no tensors, from its row alone. */
static tern_status make_silent(maker *k, const yolo_row *row, tern_py **out) {
    const char *name = plain_class(row);
    if (strcmp(name, "MaxPool2d") == 0) {
        return make_maxpool(k, whole(row, 0, 0), whole(row, 1, whole(row, 0, 0)), whole(row, 2, 0), false, out);
    }
    TN_TRY(make_plain(k, name, out));
    bool good = true;
    if (strcmp(name, "Concat") == 0) {
        good = set(k, *out, "d", new_int(k, whole(row, 0, 1)));
    } else if (strcmp(name, "Upsample") == 0) {
        double scale = row->n_args > 1 ? row->args[1] : NAN;
        good = set(k, *out, "scale_factor", new_real(k, scale)) && set(k, *out, "mode", new_str(k, "nearest"));
    } else if (strcmp(name, "ZeroPad2d") == 0) {
        int64_t pad[4] = {whole(row, 0, 0), whole(row, 1, 0), whole(row, 2, 0), whole(row, 3, 0)};
        good = set(k, *out, "padding", new_ints(k, pad, row->n_args == 1 ? 1 : 4));
    } else if (strcmp(name, "Identity") != 0) {
        good = set(k, *out, "gain", new_int(k, whole(row, 0, 2)));
    }
    return good ? TERN_OK : out_of_memory(k);
}

/* Arguments by class: Conv and the like [out, kernel, stride, padding]; C3 and the like [out, shortcut]. */
static hint row_hint(const yolo_row *row, const char *class_name) {
    hint h = {.class_name = class_name, .stride = 1, .pad = -1, .shortcut = true, .active = true, .row = row};
    bool conv = strstr(class_name, "Conv") != NULL || strcmp(class_name, "Focus") == 0;
    if (conv) h.stride = whole(row, 2, 1);
    if (conv) h.pad = whole(row, 3, -1);
    if (strcmp(class_name, "Conv2d") == 0 && row->n_args < 4) h.pad = 0;
    if (strcmp(class_name, "ConvTranspose2d") == 0 && row->n_args < 4) h.pad = 0;
    if (strcmp(class_name, "CrossConv") == 0)
        h = (hint){class_name, whole(row, 2, 1), -1, whole(row, 5, 0) != 0, true, row};
    if (!conv) h.shortcut = whole(row, 1, 1) != 0;
    return h;
}

static bool row_fits(const part *p, const yolo_row *row);

/* Of the modules that have children of their own kind; repeated ones are in a Sequential. */
static bool can_be_told(const part *p, const char *name) {
    static const char *const names[] = {"Conv", "Focus",  "BottleneckCSP", "C3",
                                        "SPP",  "Detect", "Segment",       "StemBlock"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        if (strncmp(name, names[i], strlen(names[i])) == 0) return strcmp(name, "Conv2d") != 0 && !all_numbers(p);
    }
    return false;
}

static tern_status make_layer(maker *k, const part *p, const yolo_row *row, tern_py **out) {
    const char *name = plain_class(row);
    k->class_name = row->module;
    // A classifier's head is put on a finished network, whose eps it does not take over.
    k->eps = strcmp(name, "Classify") == 0 ? 1e-5 : k->arch->eps;
    if (is_silent(name)) {
        if (p) return fail(k, "there are tensors of a module that has none:", p->name);
        TN_TRY(make_silent(k, row, out));
    } else {
        if (!p) return fail(k, "there are no tensors of the module", row->module);
        if (can_be_told(p, name) && !row_fits(p, row)) {
            return fail(k, "its tensors are not those of the module", row->module);
        }
        hint h = row_hint(row, name);
        // Hints name the class where children do not; what has its own name there is found by it.
        if (strcmp(name, "C3") == 0 || strcmp(name, "Detect") == 0) h.class_name = "";
        TN_TRY(make(k, p, &h, out));
    }
    return set(k, *out, "f", new_ints(k, row->from, row->n_from)) ? TERN_OK : out_of_memory(k);
}

static tern_status make_layers(maker *k, const part *root, const tern_py **layers) {
    tern_py *modules, *top = new_module(k, "Sequential", 0, (size_t)k->arch->n_rows, &modules);
    if (!top) return out_of_memory(k);
    for (const part *c = root->children; c; c = c->next) {
        if (strtol(c->name, NULL, 10) < k->arch->n_rows) continue;
        return tn_fail(k->err, TERN_INVALID_FORMAT, "there are tensors of layer %s; the description has %d layers",
                       c->name, k->arch->n_rows);
    }
    for (int i = 0; i < k->arch->n_rows; i++) {
        char name[16];
        tern_py *layer;
        snprintf(name, sizeof name, "%d", i);
        k->layer = i;
        TN_TRY(make_layer(k, child_of(root, name), &k->arch->rows[i], &layer));
        TN_TRY(add_module(k, modules, name, TERN_OK, &layer));
    }
    *layers = top;
    return TERN_OK;
}

/* ---- which description ----------------------------------------------------------------------------------------- */

/* Same layers with tensors, of classes that their children agree with. */
static bool row_fits(const part *p, const yolo_row *row) {
    const char *name = plain_class(row);
    if (is_silent(name)) return !p;
    if (!p) return false;
    hint none = {.class_name = ""};
    const char *seen = class_of(p, &none);
    bool c3 = strncmp(name, "C3", 2) == 0, pyramid = strncmp(name, "SPP", 3) == 0;
    if (c3) {
        const part *m = child_of(p, "m"), *first = m ? m->children : NULL;
        bool transformer = m && child_of(m, "tr"), ghost = first && child_of(first, "conv") && !child_of(first, "cv1");
        return seen && strcmp(seen, "C3") == 0 && transformer == (strcmp(name, "C3TR") == 0) &&
               ghost == (strcmp(name, "C3Ghost") == 0);
    }
    if (pyramid || strcmp(name, "GhostConv") == 0 || strcmp(name, "Bottleneck") == 0) {
        if (seen && strcmp(seen, "Sequential") == 0) return strcmp(name, "Bottleneck") == 0;
        // Pools join four maps; what else has cv1 and cv2 takes one.
        bool joins = conv_dim(p, "cv2", 1) == 4 * conv_dim(p, "cv1", 0);
        return !seen && child_of(p, "cv1") && pyramid == joins;
    }
    if (strcmp(name, "DWConv") == 0) name = "Conv";
    return seen && strcmp(seen, name) == 0;
}

/* Channels that the convolutions of a layer take and give; 0: its tensors do not say. */
static void channels(const part *p, const char *name, int64_t *in, int64_t *out) {
    *in = *out = 0;
    if (strcmp(name, "Conv") == 0) {
        *in = dim(child_of(p, "conv"), "weight", 1);
        *out = dim(child_of(p, "conv"), "weight", 0);
    } else if (strcmp(name, "Focus") == 0) {
        *out = conv_dim(p, "conv", 0);
    } else if (strncmp(name, "C3", 2) == 0 || strncmp(name, "SPP", 3) == 0 || strcmp(name, "BottleneckCSP") == 0) {
        const char *last = child_of(p, "cv4") ? "cv4" : child_of(p, "cv3") ? "cv3" : "cv2";
        *in = conv_dim(p, "cv1", 1);
        *out = conv_dim(p, last, 0);
    }
}

/* Do the layers fit one another, as far as their tensors say? */
static bool wiring_fits(const part *root, const yolo_arch *arch) {
    int64_t given[YOLO_MAX_LAYERS];
    for (int i = 0; i < arch->n_rows && i < YOLO_MAX_LAYERS; i++) {
        const yolo_row *row = &arch->rows[i];
        int64_t come = 0, in, out;
        char name[16];
        for (int k = 0; k < row->n_from; k++) {
            int64_t at = row->from[k] < 0 ? i + row->from[k] : row->from[k];
            int64_t c = at >= 0 && at < i ? given[at] : 0;
            come = c && (come || k == 0) ? come + c : 0;
        }
        snprintf(name, sizeof name, "%d", i);
        channels(child_of(root, name), plain_class(row), &in, &out);
        if (come && in && come != in) return false;
        bool same = strcmp(row->module, "Concat") == 0 || strcmp(row->module, "nn.Upsample") == 0;
        given[i] = same ? come : out;
    }
    return true;
}

static bool arch_fits(const part *root, const yolo_arch *arch) {
    for (const part *c = root->children; c; c = c->next) {
        if (strtol(c->name, NULL, 10) >= arch->n_rows) return false;
    }
    for (int i = 0; i < arch->n_rows; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (!row_fits(child_of(root, name), &arch->rows[i])) return false;
    }
    return wiring_fits(root, arch);
}

/* Nothing in a state dict tells activations and eps: they are those of the description. */
static void describe(size_t index, const yolo_arch *arch, tn_text *note) {
    char name[64];
    tn_text_add(note, "a bare state dict, taken for %s by its tensors", yolo_arch_name(index, name, sizeof name));
    tn_text_add(note, ": %s after Conv, eps %g, anchors as stored", arch->activation, arch->eps);
    for (size_t i = 0; i < yolo_arch_count(); i++) {
        if (!yolo_arch_is_rare(i) || !yolo_arch_same_tensors(i, index)) continue;
        tn_text_add(note, "; %s has the same tensors", yolo_arch_name(i, name, sizeof name));
    }
    tn_text_add(note, " (--arch NAME or FILE.yaml says otherwise)");
}

/* The one built-in description that fits. */
static tern_status recognise(const part *root, yolo_arch *out, tn_text *note, tern_error *err) {
    size_t found = SIZE_MAX;
    char name[64], other[64];
    for (size_t i = 0; i < yolo_arch_count(); i++) {
        yolo_arch candidate;
        if (yolo_arch_is_rare(i)) continue;
        TN_TRY(yolo_arch_at(&candidate, i, err));
        bool fits = arch_fits(root, &candidate);
        yolo_arch_release(&candidate);
        if (!fits || (found != SIZE_MAX && yolo_arch_equivalent(i, found))) continue;
        if (found != SIZE_MAX) {
            return tn_fail(err, TERN_INVALID_ARGUMENT,
                           "the tensors fit %s as well as %s: say which with --arch, or give the model's YAML file",
                           yolo_arch_name(found, name, sizeof name), yolo_arch_name(i, other, sizeof other));
        }
        found = i;
    }
    if (found != SIZE_MAX) {
        TN_TRY(yolo_arch_at(out, found, err));
        describe(found, out, note);
        return TERN_OK;
    }
    return tn_fail(err, TERN_UNSUPPORTED,
                   "a state dict that fits no official network: give the model's YAML file with --arch");
}

static bool is_yaml(const char *arch) {
    const char *at = strrchr(arch, '@');
    size_t len = at && !strchr(at, '/') ? (size_t)(at - arch) : strlen(arch);
    return (len > 5 && strncmp(arch + len - 5, ".yaml", 5) == 0) ||
           (len > 4 && strncmp(arch + len - 4, ".yml", 4) == 0);
}

tern_status yolo_tree_from_names(const tern_py *state, const char *arch_name, tn_arena *arena, const tern_py **layers,
                                 tn_text *note, tern_error *err) {
    part root = {0};
    yolo_arch arch = {0};
    TN_TRY(read_names(state, arena, &root, err));
    if (!root.children) return tn_fail(err, TERN_UNSUPPORTED, "no tensor has a name like 'model.0.conv.weight'");
    tern_status status = !arch_name           ? recognise(&root, &arch, note, err)
                         : is_yaml(arch_name) ? yolo_arch_yaml(&arch, arch_name, err)
                                              : yolo_arch_builtin(&arch, arch_name, err);
    maker k = {.arena = arena, .err = err, .arch = &arch};
    if (status == TERN_OK) status = make_layers(&k, &root, layers);
    yolo_arch_release(&arch);
    return status;
}
