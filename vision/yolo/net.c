/* Nodes and constants of the network under construction; what differs between opsets is known here and nowhere else. */
#include <stdio.h>

#include "vision/yolo/yolo_internal.h"

tern_status yolo_fail(yolo_net *n, tern_status status, const char *format, ...) {
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tn_fail(n->err, status, "layer %d (%s, %s): %s", n->layer, n->class_name ? n->class_name : "?",
                   n->path.data ? n->path.data : "", text);
}

const char *yolo_name(yolo_net *n, const char *what) {
    char text[400];
    int len = snprintf(text, sizeof text, "%.300s/%s_%u", n->path.data ? n->path.data : "", what, ++n->fresh);
    return len < 0 ? NULL : tn_arena_strndup(&n->arena, text, (size_t)len);
}

tern_status yolo_node(yolo_net *n, const char *op, const char *const *in, size_t n_in, const tern_attr *attrs,
                      size_t n_attrs, const char **out) {
    const char *name = yolo_name(n, op);
    if (!*out) *out = name;
    if (!name) return tn_fail_oom(n->err, 1);
    tern_node_info info = {.op_type = op,
                           .name = name,
                           .inputs = in,
                           .n_inputs = n_in,
                           .outputs = out,
                           .n_outputs = 1,
                           .attrs = attrs,
                           .n_attrs = n_attrs};
    return tern_graph_node(n->graph, &info, n->err);
}

tern_status yolo_unary(yolo_net *n, const char *op, const char *in, const char **out) {
    return yolo_node(n, op, &in, 1, NULL, 0, out);
}

tern_status yolo_binary(yolo_net *n, const char *op, const char *a, const char *b, const char **out) {
    const char *in[] = {a, b};
    return yolo_node(n, op, in, 2, NULL, 0, out);
}

/* ---- constants ------------------------------------------------------------------------------------------------- */

static tern_status add_constant(yolo_net *n, const char *what, tern_dtype dtype, int rank, const int64_t *dims,
                                const void *data, const char **out) {
    tern_tensor *t;
    TN_TRY(tern_tensor_create(&t, dtype, rank, dims, n->err));
    if (tern_tensor_bytes(t)) memcpy(tern_tensor_data(t), data, tern_tensor_bytes(t));
    *out = yolo_name(n, what);
    tern_status status = *out ? tern_graph_constant(n->graph, *out, t, n->err) : tn_fail_oom(n->err, 1);
    tern_tensor_free(t);
    return status;
}

/* 65504 is the largest half: weights beyond it would become infinite. */
static tern_status store_half(yolo_net *n, const char *name, const tern_tensor *t) {
    tern_tensor *half;
    int64_t count = tern_tensor_count(t);
    const float *src = tern_tensor_const_data(t);
    for (int64_t i = 0; i < count; i++) {
        if (src[i] > 65504.0f || src[i] < -65504.0f) {
            return yolo_fail(n, TERN_UNSUPPORTED, "a weight is %g, too large for half precision", (double)src[i]);
        }
    }
    TN_TRY(tern_tensor_create(&half, TERN_FLOAT16, tern_tensor_rank(t), tern_tensor_dims(t), n->err));
    tn_f32_to_f16_n(src, tern_tensor_data(half), (size_t)count);
    tern_status status = tern_graph_constant(n->graph, name, half, n->err);
    tern_tensor_free(half);
    return status;
}

tern_status yolo_weight(yolo_net *n, const char *what, tern_tensor *t, const char **out) {
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "%s.%s", n->path.data, what);
    const char *name = text.failed ? NULL : tn_arena_strndup(&n->arena, text.data, text.len);
    tn_text_release(&text);
    if (!name) return tn_fail_oom(n->err, 1);
    *out = name;
    if (!n->options->fp16) return tern_graph_constant(n->graph, name, t, n->err);
    TN_TRY(store_half(n, name, t));
    *out = NULL;
    return yolo_cast(n, name, TERN_FLOAT, out);
}

tern_status yolo_floats(yolo_net *n, const float *values, int rank, const int64_t *dims, const char **out) {
    return add_constant(n, "value", TERN_FLOAT, rank, dims, values, out);
}

tern_status yolo_float(yolo_net *n, float value, const char **out) {
    return add_constant(n, "value", TERN_FLOAT, 0, NULL, &value, out);
}

tern_status yolo_ints(yolo_net *n, const int64_t *values, int64_t count, const char **out) {
    return add_constant(n, "value", TERN_INT64, 1, &count, values, out);
}

tern_status yolo_int(yolo_net *n, int64_t value, const char **out) {
    return add_constant(n, "value", TERN_INT64, 0, NULL, &value, out);
}

/* ---- operators ------------------------------------------------------------------------------------------------- */

tern_status yolo_reshape(yolo_net *n, const char *x, const int64_t *dims, int rank, const char **out) {
    const char *shape;
    TN_TRY(yolo_ints(n, dims, rank, &shape));
    return yolo_binary(n, "Reshape", x, shape, out);
}

tern_status yolo_transpose(yolo_net *n, const char *x, const int64_t *perm, int rank, const char **out) {
    tern_attr attr = YOLO_INTS("perm", (size_t)rank, perm);
    return yolo_node(n, "Transpose", &x, 1, &attr, 1, out);
}

tern_status yolo_concat(yolo_net *n, const char *const *in, int count, int64_t axis, const char **out) {
    tern_attr attr = YOLO_INT("axis", axis);
    return yolo_node(n, "Concat", in, (size_t)count, &attr, 1, out);
}

tern_status yolo_slice(yolo_net *n, const char *x, int64_t axis, int64_t from, int64_t to, const char **out) {
    if (n->options->opset < 10) {
        tern_attr attrs[] = {YOLO_INTS("axes", 1, &axis), YOLO_INTS("starts", 1, &from), YOLO_INTS("ends", 1, &to)};
        return yolo_node(n, "Slice", &x, 1, attrs, 3, out);
    }
    const char *in[4] = {x};
    TN_TRY(yolo_ints(n, &from, 1, &in[1]));
    TN_TRY(yolo_ints(n, &to, 1, &in[2]));
    TN_TRY(yolo_ints(n, &axis, 1, &in[3]));
    return yolo_node(n, "Slice", in, 4, NULL, 0, out);
}

/* Of the last axis: there the flattening of opsets before 13 makes no difference. */
tern_status yolo_softmax(yolo_net *n, const char *x, int64_t axis, const char **out) {
    tern_attr attr = YOLO_INT("axis", axis);
    return yolo_node(n, "Softmax", &x, 1, &attr, 1, out);
}

tern_status yolo_unsqueeze(yolo_net *n, const char *x, int64_t axis, const char **out) {
    if (n->options->opset < 13) {
        tern_attr attr = YOLO_INTS("axes", 1, &axis);
        return yolo_node(n, "Unsqueeze", &x, 1, &attr, 1, out);
    }
    const char *axes;
    TN_TRY(yolo_ints(n, &axis, 1, &axes));
    return yolo_binary(n, "Unsqueeze", x, axes, out);
}

tern_status yolo_cast(yolo_net *n, const char *x, tern_dtype dtype, const char **out) {
    tern_attr attr = YOLO_INT("to", dtype);
    return yolo_node(n, "Cast", &x, 1, &attr, 1, out);
}

tern_status yolo_to_image(yolo_net *n, const char *x, const yolo_value *like, const char **out) {
    if (!n->options->dynamic) return yolo_reshape(n, x, (int64_t[]){0, like->c, like->h, like->w}, 4, out);
    const char *shape = NULL;
    TN_TRY(yolo_unary(n, "Shape", like->name, &shape));
    return yolo_binary(n, "Reshape", x, shape, out);
}

/* ---- sizes ----------------------------------------------------------------------------------------------------- */

tern_status yolo_same_size(yolo_net *n, const yolo_value *a, const yolo_value *b) {
    if (a->h == b->h && a->w == b->w) return TERN_OK;
    return yolo_fail(n, TERN_SHAPE_MISMATCH,
                     "maps of %lldx%lld and %lldx%lld pixels do not fit for an input of %dx%d (widths and heights must "
                     "be multiples of the largest stride)",
                     (long long)a->w, (long long)a->h, (long long)b->w, (long long)b->h, n->width, n->height);
}

tern_status yolo_check_size(yolo_net *n, const yolo_value *v) {
    int64_t area, all;
    if (v->c < 1 || v->h < 1 || v->w < 1) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH,
                         "nothing is left of an input of %dx%d: the result would be %lldx%lldx%lld", n->width,
                         n->height, (long long)v->c, (long long)v->h, (long long)v->w);
    }
    if (tn_mul_i64(v->h, v->w, &area) && tn_mul_i64(area, v->c, &all) && all <= YOLO_MAX_ELEMENTS) return TERN_OK;
    return yolo_fail(n, TERN_LIMIT_EXCEEDED, "the result would have %lldx%lldx%lld elements, more than %d",
                     (long long)v->c, (long long)v->h, (long long)v->w, YOLO_MAX_ELEMENTS);
}
