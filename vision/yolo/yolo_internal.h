/* What the files of vision/yolo/ share: a network under construction and what is put into it. */
#ifndef TERN_VISION_YOLO_INTERNAL_H
#define TERN_VISION_YOLO_INTERNAL_H

#include "base/base.h"
#include "tern/graph.h"
#include "vision/torch/torch.h"
#include "vision/yolo/yolo.h"

/* Bounds that no real network comes near and that keep hostile ones short. */
#define YOLO_MAX_LAYERS   1000
#define YOLO_MAX_INPUTS   64         /* of one layer */
#define YOLO_MAX_MODULES  100000     /* visited in all */
#define YOLO_MAX_DEPTH    40         /* of modules in modules */
#define YOLO_MAX_ELEMENTS 1000000000 /* of one value, for a batch of one */
#define YOLO_MAX_LEVELS   16
#define YOLO_MAX_ANCHORS  64 /* of one level */

/* A value of the graph: [batch, c, h, w]. With free sizes, h and w are those at the nominal size. */
typedef struct yolo_value {
    const char *name;
    int64_t c, h, w;
} yolo_value;

typedef enum yolo_task { YOLO_DETECT, YOLO_SEGMENT, YOLO_CLASSIFY, YOLO_FACE } yolo_task;

/* The detection head, as far as decoding needs it. */
typedef struct yolo_head {
    yolo_task task;
    int64_t classes, masks, landmarks, no; /* no: values per anchor */
    int n_levels, n_anchors;               /* anchors per level */
    double stride[YOLO_MAX_LEVELS];
    float anchors[YOLO_MAX_LEVELS][YOLO_MAX_ANCHORS][2]; /* w, h in pixels */
} yolo_head;

typedef struct yolo_net {
    tern_graph *graph;
    tern_ckpt *ckpt;
    const tv_yolo_options *options;
    tn_arena arena; /* names */
    tern_error *err;
    tn_text path; /* of the module at hand: "model.3.cv1" */
    const char *class_name;
    const tern_py *model; /* the object around the layers, with names and stride; NULL: none */
    bool from_names;      /* the tree was made from the names of tensors: groups are found from shapes */
    int height, width;    /* of the input */
    int64_t input_channels;
    int layer, depth;
    int64_t visited;
    unsigned fresh;        /* names made so far */
    const char *next_name; /* of the output of the next convolution; NULL: any */
    yolo_head head;
} yolo_net;

/* ---- net.c: the graph ------------------------------------------------------------------------------------------ */

/* Puts "layer 3 (Conv, model.3.cv1): " before the text. */
tern_status yolo_fail(yolo_net *n, tern_status status, const char *format, ...) TN_PRINTF(3, 4);
/* "<path>/<what>_7"; NULL: no memory, which the next call reports. */
const char *yolo_name(yolo_net *n, const char *what);
/* One node with one output. *out, when it is not NULL on entry, names the output; else it gets a new name. */
tern_status yolo_node(yolo_net *n, const char *op, const char *const *in, size_t n_in, const tern_attr *attrs,
                      size_t n_attrs, const char **out);
/* The same for one and two inputs without attributes. */
tern_status yolo_unary(yolo_net *n, const char *op, const char *in, const char **out);
tern_status yolo_binary(yolo_net *n, const char *op, const char *a, const char *b, const char **out);
/* Constants. With options->fp16, weights are stored in half precision and widened by a Cast. */
tern_status yolo_weight(yolo_net *n, const char *what, tern_tensor *t, const char **out);
tern_status yolo_floats(yolo_net *n, const float *values, int rank, const int64_t *dims, const char **out);
tern_status yolo_float(yolo_net *n, float value, const char **out);
tern_status yolo_ints(yolo_net *n, const int64_t *values, int64_t count, const char **out); /* 1-D */
tern_status yolo_int(yolo_net *n, int64_t value, const char **out);                         /* 0-D */
/* Operators whose form depends on the opset. */
tern_status yolo_reshape(yolo_net *n, const char *x, const int64_t *dims, int rank, const char **out);
tern_status yolo_transpose(yolo_net *n, const char *x, const int64_t *perm, int rank, const char **out);
tern_status yolo_concat(yolo_net *n, const char *const *in, int count, int64_t axis, const char **out);
tern_status yolo_slice(yolo_net *n, const char *x, int64_t axis, int64_t from, int64_t to, const char **out);
tern_status yolo_softmax(yolo_net *n, const char *x, int64_t axis, const char **out);
tern_status yolo_unsqueeze(yolo_net *n, const char *x, int64_t axis, const char **out);
tern_status yolo_cast(yolo_net *n, const char *x, tern_dtype dtype, const char **out);
/* [b, c, hw] or the like back to [b, c, h, w] of `like`. */
tern_status yolo_to_image(yolo_net *n, const char *x, const yolo_value *like, const char **out);
tern_status yolo_same_size(yolo_net *n, const yolo_value *a, const yolo_value *b);
tern_status yolo_check_size(yolo_net *n, const yolo_value *v);

#define YOLO_INT(NAME, VALUE) \
    (tern_attr) { .name = NAME, .type = TERN_ATTR_INT, .i = VALUE }
#define YOLO_FLOAT(NAME, VALUE) \
    (tern_attr) { .name = NAME, .type = TERN_ATTR_FLOAT, .f = VALUE }
#define YOLO_STRING(NAME, VALUE) \
    (tern_attr) { .name = NAME, .type = TERN_ATTR_STRING, .s = VALUE }
#define YOLO_INTS(NAME, COUNT, VALUES) \
    (tern_attr) { .name = NAME, .type = TERN_ATTR_INTS, .count = COUNT, .ints = VALUES }

/* ---- attr.c: attributes of modules, checked -------------------------------------------------------------------- */

tern_status yolo_attr_int(yolo_net *n, const tern_py *m, const char *name, int64_t min, int64_t max, int64_t *out);
/* One number, or two of them; one counts for both. */
tern_status yolo_attr_pair(yolo_net *n, const tern_py *m, const char *name, int64_t min, int64_t max, int64_t out[2]);
tern_status yolo_attr_real(yolo_net *n, const tern_py *m, const char *name, double *out);
tern_status yolo_attr_flag(yolo_net *n, const tern_py *m, const char *name, bool *out);
/* A tensor as float32 of that rank (any when -1), not empty. The caller frees it. */
tern_status yolo_attr_tensor(yolo_net *n, const tern_py *m, const char *name, int rank, tern_tensor **out);
/* A tensor that may be None or absent: *out is NULL then. */
tern_status yolo_attr_optional_tensor(yolo_net *n, const tern_py *m, const char *name, int rank, tern_tensor **out);
bool yolo_is_module(const tern_py *m); /* an object, not a class or None */
const char *yolo_class(const tern_py *m);

/* ---- conv.c ---------------------------------------------------------------------------------------------------- */

/* A convolution with its weights, [oc, ic / groups, kh, kw]; transposed: [ic, oc / groups, kh, kw]. */
typedef struct yolo_conv {
    tern_tensor *w, *b; /* b may be NULL */
    int64_t oc, ic, groups, k[2], stride[2], dilation[2], pad[4] /* top, left, bottom, right */, out_pad[2];
    bool transposed;
} yolo_conv;

/* y = x * scale + shift per channel. */
typedef struct yolo_norm {
    tern_tensor *gamma, *beta, *mean, *var;
    double eps;
    int64_t c;
} yolo_norm;

/* `in` channels come in: they must fit. */
tern_status yolo_conv_read(yolo_net *n, const tern_py *m, int64_t in, yolo_conv *out);
void yolo_conv_release(yolo_conv *c);
tern_status yolo_norm_read(yolo_net *n, const tern_py *m, yolo_norm *out);
void yolo_norm_release(yolo_norm *b);
/* Channels [from, from + oc) of the normalisation go into the convolution. */
tern_status yolo_conv_fold(yolo_net *n, yolo_conv *c, const yolo_norm *b, int64_t from);
/* A convolution of the four pixel phases becomes one of the picture: kernel, stride and padding double. */
tern_status yolo_conv_unfocus(yolo_net *n, yolo_conv *c);
tern_status yolo_conv_emit(yolo_net *n, const yolo_conv *c, const yolo_value *x, yolo_value *out);
tern_status yolo_norm_emit(yolo_net *n, const yolo_norm *b, const yolo_value *x, yolo_value *out);
/* A convolution module and the normalisation after it (NULL: none); `focus` as in yolo_conv_unfocus. */
tern_status yolo_conv_norm(yolo_net *n, const tern_py *conv, const tern_py *norm, bool focus, const yolo_value *x,
                           yolo_value *out);
tern_status yolo_linear(yolo_net *n, const tern_py *m, const char *x, int64_t in, int64_t *out_features,
                        const char **out);

/* ---- activation.c ---------------------------------------------------------------------------------------------- */

/* False when the class is none. */
bool yolo_is_activation(const char *class_name);
tern_status yolo_activation(yolo_net *n, const tern_py *m, const yolo_value *x, yolo_value *out);

/* ---- modules.c, blocks.c --------------------------------------------------------------------------------------- */

/* A module called `name` in the module at hand, with all that it holds. */
tern_status yolo_emit(yolo_net *n, const tern_py *m, const char *name, const yolo_value *in, int n_in, yolo_value *out);
/* The child `name` of m, one input. */
tern_status yolo_child(yolo_net *n, const tern_py *m, const char *name, const yolo_value *in, yolo_value *out);
tern_status yolo_get_child(yolo_net *n, const tern_py *m, const char *name, const tern_py **out);
tern_status yolo_join(yolo_net *n, const yolo_value *in, int count, yolo_value *out);
tern_status yolo_add(yolo_net *n, const yolo_value *a, const yolo_value *b, yolo_value *out);
/* Push and pop of the path. */
size_t yolo_enter(yolo_net *n, const char *name);
void yolo_leave(yolo_net *n, size_t mark);

typedef tern_status (*yolo_emit_fn)(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out);
/* Blocks made of other modules (blocks.c); NULL: not known there. */
yolo_emit_fn yolo_find_block(const char *class_name);

/* ---- head.c, decode.c ------------------------------------------------------------------------------------------ */

bool yolo_is_head(const char *class_name);
/* Detect and its kind: reads the head, makes the outputs. */
tern_status yolo_emit_head(yolo_net *n, const tern_py *m, const char *name, const yolo_value *in, int n_in);
/* A classifier's last value. */
tern_status yolo_emit_logits(yolo_net *n, const yolo_value *x);
/* Raw maps to output0 or to boxes, scores and classes. */
tern_status yolo_decode(yolo_net *n, const yolo_value *raw);
tern_status yolo_output(yolo_net *n, const char *from, const char *name, tern_dtype dtype, int rank,
                        const int64_t *dims, const char *const *dim_names);

/* ---- metadata.c ------------------------------------------------------------------------------------------------ */

tern_status yolo_metadata(yolo_net *n, int n_layers, const char *source);

/* ---- names.c: trees for bare state dicts ----------------------------------------------------------------------- */

#define YOLO_MAX_ARGS 8

/* One row of a description. */
typedef struct yolo_row {
    int64_t from[YOLO_MAX_INPUTS];
    int n_from;
    char module[32];
    double args[YOLO_MAX_ARGS]; /* of the module, lists flattened; NAN for what is no number */
    int n_args;
} yolo_row;

typedef struct yolo_arch {
    yolo_row *rows;
    int n_rows;
    bool face;
    char activation[24]; /* class of Conv's activation */
    double slope;        /* of LeakyReLU */
    char csp_activation[24];
    double eps;
} yolo_arch;

/* Is it a DICT of tensors by name, or does it hold one ("state_dict", "model", "ema")? NULL: no. */
const tern_py *yolo_find_state_dict(const tern_py *root);
/* The module tree for a state dict: a Sequential of layers. The values live in `arena`. To `note` is added what was
 * assumed for want of `arch`. */
tern_status yolo_tree_from_names(const tern_py *state, const char *arch, tn_arena *arena, const tern_py **layers,
                                 tn_text *note, tern_error *err);
/* Built-in description "yolov5s@6.0"; rows are allocated. */
tern_status yolo_arch_builtin(yolo_arch *out, const char *name, tern_error *err);
/* All of them; two may be the same network in everything that matters. The name is one that gives it. */
size_t yolo_arch_count(void);
tern_status yolo_arch_at(yolo_arch *out, size_t index, tern_error *err);
const char *yolo_arch_name(size_t index, char *buffer, size_t size);
bool yolo_arch_equivalent(size_t a, size_t b);
bool yolo_arch_is_rare(size_t index);
bool yolo_arch_same_tensors(size_t a, size_t b);
tern_status yolo_arch_activation(yolo_arch *arch, const char *activation, double slope, const char *csp, double eps);
/* A model description of the official repository: "FILE.yaml" or, where the release matters, "FILE.yaml@3.1". */
tern_status yolo_arch_yaml(yolo_arch *out, const char *path, tern_error *err);
void yolo_arch_release(yolo_arch *arch);

#endif
