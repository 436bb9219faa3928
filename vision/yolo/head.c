/* Heads: what Detect, Segment and the head of yolov5-face hold, and the outputs of the model. */
#include <math.h>
#include <stdio.h>

#include "vision/yolo/yolo_internal.h"

bool yolo_is_head(const char *class_name) {
    return strcmp(class_name, "Detect") == 0 || strcmp(class_name, "Segment") == 0;
}

tern_status yolo_output(yolo_net *n, const char *from, const char *name, tern_dtype dtype, int rank,
                        const int64_t *dims, const char *const *dim_names) {
    if (strcmp(from, name) != 0) TN_TRY(yolo_unary(n, "Identity", from, &name));
    tern_value_info info = {.name = name, .dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) {
        info.dims[i] = dims[i];
        info.dim_names[i] = dim_names ? dim_names[i] : NULL;
    }
    return tern_graph_output(n->graph, &info, n->err);
}

/* [b, c, h, w]; the sizes are free with --dynamic. */
static tern_status output_map(yolo_net *n, const yolo_value *v, const char *name) {
    bool dynamic = n->options->dynamic;
    int64_t dims[] = {dynamic ? -1 : n->options->batch, v->c, dynamic ? -1 : v->h, dynamic ? -1 : v->w};
    char height[64], width[64];
    snprintf(height, sizeof height, "%s_height", name);
    snprintf(width, sizeof width, "%s_width", name);
    const char *names[] = {"batch", NULL, height, width};
    return yolo_output(n, v->name, name, TERN_FLOAT, 4, dims, names);
}

tern_status yolo_emit_logits(yolo_net *n, const yolo_value *x) {
    n->head = (yolo_head){.task = YOLO_CLASSIFY, .classes = x->c};
    const char *from = x->name;
    if (n->options->head == TV_YOLO_NMS) {
        return tn_fail(n->err, TERN_INVALID_ARGUMENT, "a classifier has no boxes: its head is raw or decoded");
    }
    if (n->options->head == TV_YOLO_DECODED) {
        from = NULL;
        TN_TRY(yolo_softmax(n, x->name, 1, &from));
    }
    int64_t dims[] = {n->options->dynamic ? -1 : n->options->batch, x->c};
    const char *names[] = {"batch", NULL};
    return yolo_output(n, from, "output", TERN_FLOAT, 2, dims, names);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Pixels of the input per pixel of the map: the nearest power of two, as sizes need not divide. */
static double measured_stride(const yolo_net *n, const yolo_value *raw) {
    return exp2(round(log2((double)n->height / (double)raw->h)));
}

static tern_status read_strides(yolo_net *n, const tern_py *m, const yolo_value *raw) {
    yolo_head *h = &n->head;
    tern_tensor *t = NULL;
    for (int i = 0; i < h->n_levels; i++) h->stride[i] = measured_stride(n, &raw[i]);
    if (n->from_names) return TERN_OK;
    TN_TRY(yolo_attr_optional_tensor(n, m, "stride", 1, &t));
    if (!t) return TERN_OK;
    bool fits = tern_tensor_count(t) == h->n_levels;
    for (int i = 0; fits && i < h->n_levels; i++) h->stride[i] = ((const float *)tern_tensor_const_data(t))[i];
    tern_tensor_free(t);
    for (int i = 0; fits && i < h->n_levels; i++) fits = h->stride[i] >= 1 && h->stride[i] <= 4096;
    if (fits) return TERN_OK;
    return yolo_fail(n, TERN_INVALID_FORMAT, "'stride' is not %d numbers from 1 to 4096", h->n_levels);
}

/* Anchors in pixels: the buffer anchor_grid where there is one (up to v5.0), else anchors, which are in strides. */
static tern_status read_anchors(yolo_net *n, const tern_py *m) {
    yolo_head *h = &n->head;
    const tern_py *grid = tern_py_attr(m, "anchor_grid");
    bool pixels = grid && grid->kind == TERN_PY_TENSOR;
    tern_tensor *t;
    TN_TRY(yolo_attr_tensor(n, m, pixels ? "anchor_grid" : "anchors", -1, &t));
    bool fits = tern_tensor_count(t) == (int64_t)h->n_levels * h->n_anchors * 2, finite = true;
    const float *src = tern_tensor_const_data(t);
    for (int i = 0; fits && i < h->n_levels; i++) {
        for (int k = 0; k < h->n_anchors; k++) {
            for (int axis = 0; axis < 2; axis++, src++) {
                h->anchors[i][k][axis] = pixels ? *src : (float)(*src * h->stride[i]);
                finite &= isfinite(*src) != 0;
            }
        }
    }
    tern_tensor_free(t);
    if (fits && finite) return TERN_OK;
    return yolo_fail(n, TERN_INVALID_FORMAT, "the anchors are not %d levels of %d pairs of finite numbers", h->n_levels,
                     h->n_anchors);
}

/* Classes, anchors per level and values per anchor; a tree made from names has only the tensors. */
static tern_status read_counts(yolo_net *n, const tern_py *m, const yolo_value *raw, const yolo_value *proto) {
    yolo_head *h = &n->head;
    const tern_py *anchors = tern_py_attr(m, "anchors");
    int64_t na;
    if (n->from_names) {
        if (!anchors || anchors->kind != TERN_PY_TENSOR || anchors->tensor->rank != 3) {
            return yolo_fail(n, TERN_INVALID_FORMAT, "there is no tensor 'anchors' [levels, anchors, 2]");
        }
        na = anchors->tensor->dims[1];
        if (na < 1 || raw->c % na) na = 1;
        h->landmarks = tern_py_attr(m, "face") ? 5 : 0;
        h->masks = proto ? proto->c : 0;
        h->classes = raw->c / na - 5 - h->masks - 2 * h->landmarks;
        h->no = raw->c / na;
    } else {
        TN_TRY(yolo_attr_int(n, m, "na", 1, YOLO_MAX_ANCHORS, &na));
        TN_TRY(yolo_attr_int(n, m, "nc", 1, 1 << 20, &h->classes));
        TN_TRY(yolo_attr_int(n, m, "no", 1, 1 << 21, &h->no));
        if (proto) TN_TRY(yolo_attr_int(n, m, "nm", 1, 1 << 16, &h->masks));
        h->landmarks = proto ? 0 : (h->no - 5 - h->classes) / 2;
    }
    h->n_anchors = (int)na;
    bool fits = h->classes >= 1 && na <= YOLO_MAX_ANCHORS && h->landmarks >= 0 && h->landmarks <= 1000 &&
                h->no == 5 + h->classes + h->masks + 2 * h->landmarks && (!proto || proto->c == h->masks);
    if (!fits) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "%lld classes with %lld values for each of %lld anchors",
                         (long long)h->classes, (long long)h->no, (long long)na);
    }
    return TERN_OK;
}

/* ---- outputs --------------------------------------------------------------------------------------------------- */

static tern_status head_convs(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *raw) {
    const tern_py *list = tern_py_attr(m, "m"), *modules = tern_py_modules(list);
    // v1.0: the convolutions are layers of their own.
    if (!modules) {
        memcpy(raw, in, (size_t)n_in * sizeof *raw);
        return TERN_OK;
    }
    if (modules->dict.count != (size_t)n_in) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "%zu convolutions for %d inputs", modules->dict.count, n_in);
    }
    size_t mark = yolo_enter(n, "m");
    for (int i = 0; i < n_in; i++) {
        const char *key = tern_py_to_str(modules->dict.items[i].key);
        char name[16];
        snprintf(name, sizeof name, "out%d", i);
        if (n->options->head == TV_YOLO_RAW) n->next_name = tn_arena_strndup(&n->arena, name, strlen(name));
        TN_TRY(yolo_emit(n, modules->dict.items[i].value, key ? key : "?", &in[i], 1, &raw[i]));
        n->next_name = NULL;
    }
    yolo_leave(n, mark);
    return TERN_OK;
}

static tern_status check_raw(yolo_net *n, const yolo_value *raw) {
    const yolo_head *h = &n->head;
    for (int i = 0; i < h->n_levels; i++) {
        if (raw[i].c == h->n_anchors * h->no) continue;
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "input %d has %lld channels; %d anchors of %lld values need %lld", i,
                         (long long)raw[i].c, h->n_anchors, (long long)h->no, (long long)(h->n_anchors * h->no));
    }
    return TERN_OK;
}

static tern_status raw_outputs(yolo_net *n, const yolo_value *raw, const yolo_value *proto) {
    for (int i = 0; i < n->head.n_levels; i++) {
        char name[16];
        snprintf(name, sizeof name, "out%d", i);
        TN_TRY(output_map(n, &raw[i], tn_arena_strndup(&n->arena, name, strlen(name))));
    }
    return proto ? output_map(n, proto, "proto") : TERN_OK;
}

static tern_status emit(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in) {
    yolo_value raw[YOLO_MAX_LEVELS], mask_maps, *proto = NULL;
    bool segment = strcmp(yolo_class(m), "Segment") == 0;
    if (n_in > YOLO_MAX_LEVELS) return yolo_fail(n, TERN_LIMIT_EXCEEDED, "%d levels", n_in);
    n->head = (yolo_head){.n_levels = n_in};
    TN_TRY(head_convs(n, m, in, n_in, raw));
    if (segment) {
        TN_TRY(yolo_child(n, m, "proto", &in[0], &mask_maps));
        proto = &mask_maps;
    }
    TN_TRY(read_counts(n, m, &raw[0], proto));
    n->head.task = segment ? YOLO_SEGMENT : n->head.landmarks ? YOLO_FACE : YOLO_DETECT;
    TN_TRY(check_raw(n, raw));
    TN_TRY(read_strides(n, m, raw));
    TN_TRY(read_anchors(n, m));
    if (n->options->head == TV_YOLO_RAW) return raw_outputs(n, raw, proto);
    TN_TRY(yolo_decode(n, raw));
    return proto ? output_map(n, proto, n->options->head == TV_YOLO_DECODED ? "output1" : "proto") : TERN_OK;
}

tern_status yolo_emit_head(yolo_net *n, const tern_py *m, const char *name, const yolo_value *in, int n_in) {
    size_t mark = yolo_enter(n, name);
    TN_TRY(emit(n, m, in, n_in));
    yolo_leave(n, mark);
    return TERN_OK;
}
