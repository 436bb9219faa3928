/* From the raw maps to boxes, as part of the graph. With s = sigmoid of the raw values, per anchor and pixel:
 *   centre     (2 s - 0.5 + pixel) * stride
 *   size       (2 s)^2 * anchor
 *   objectness, classes    s
 *   landmarks  raw * anchor + pixel * stride       (yolov5-face)
 *   masks      raw                                 (coefficients of Segment)
 * Rows are ordered by level, anchor, y, x. */
#include "vision/yolo/yolo_internal.h"

/* The official code separates classes by moving their boxes this far apart before suppression. */
#define MAX_SIDE 7680.0f

/* ---- the grid of pixels ---------------------------------------------------------------------------------------- */

/* [h * w, 2 * repeat]: (x, y) * stride + offset, repeated. Sizes are known. */
static tern_status fixed_grid(yolo_net *n, const yolo_value *raw, double stride, double offset, int64_t repeat,
                              const char **out) {
    tern_tensor *t;
    TN_TRY(tern_tensor_create(&t, TERN_FLOAT, 2, (int64_t[]){raw->h * raw->w, 2 * repeat}, n->err));
    float *dst = tern_tensor_data(t);
    for (int64_t y = 0; y < raw->h; y++) {
        for (int64_t x = 0; x < raw->w; x++) {
            for (int64_t i = 0; i < repeat; i++) {
                *dst++ = (float)((double)x * stride + offset);
                *dst++ = (float)((double)y * stride + offset);
            }
        }
    }
    *out = yolo_name(n, "grid");
    tern_status status = *out ? tern_graph_constant(n->graph, *out, t, n->err) : tn_fail_oom(n->err, 1);
    tern_tensor_free(t);
    return status;
}

/* 0, 1, ... dim - 1 of the map's dimension `axis` as floats, with a new axis at `where`. */
static tern_status ramp(yolo_net *n, const char *shape, int64_t axis, int64_t where, const char **out) {
    const char *index, *zero, *one, *size = NULL, *range = NULL, *real = NULL;
    TN_TRY(yolo_int(n, axis, &index));
    TN_TRY(yolo_int(n, 0, &zero));
    TN_TRY(yolo_int(n, 1, &one));
    TN_TRY(yolo_binary(n, "Gather", shape, index, &size));
    const char *in[] = {zero, size, one};
    TN_TRY(yolo_node(n, "Range", in, 3, NULL, 0, &range));
    TN_TRY(yolo_cast(n, range, TERN_FLOAT, &real));
    return yolo_unsqueeze(n, real, where, out);
}

/* The same with sizes from the map when the network runs. */
static tern_status free_grid(yolo_net *n, const yolo_value *raw, double stride, double offset, int64_t repeat,
                             const char **out) {
    const char *shape = NULL, *x = NULL, *y = NULL, *zero, *x0 = NULL, *y0 = NULL, *planes[2] = {NULL, NULL};
    const char *pixels[2] = {NULL, NULL}, *grid = NULL, *flat = NULL, *scaled = NULL, *factor, *shift;
    TN_TRY(yolo_unary(n, "Shape", raw->name, &shape));
    TN_TRY(ramp(n, shape, 3, 0, &x)); // [1, w]
    TN_TRY(ramp(n, shape, 2, 1, &y)); // [h, 1]
    TN_TRY(yolo_float(n, 0, &zero));
    TN_TRY(yolo_binary(n, "Mul", x, zero, &x0));
    TN_TRY(yolo_binary(n, "Mul", y, zero, &y0));
    TN_TRY(yolo_binary(n, "Add", x, y0, &pixels[0])); // [h, w]
    TN_TRY(yolo_binary(n, "Add", y, x0, &pixels[1]));
    for (int i = 0; i < 2; i++) TN_TRY(yolo_unsqueeze(n, pixels[i], 2, &planes[i]));
    TN_TRY(yolo_concat(n, planes, 2, 2, &grid));
    TN_TRY(yolo_reshape(n, grid, (int64_t[]){-1, 2}, 2, &flat));
    TN_TRY(yolo_float(n, (float)stride, &factor));
    TN_TRY(yolo_float(n, (float)offset, &shift));
    TN_TRY(yolo_binary(n, "Mul", flat, factor, &scaled));
    const char *one = NULL, *many[64];
    TN_TRY(yolo_binary(n, "Add", scaled, shift, repeat == 1 ? out : &one));
    if (repeat == 1) return TERN_OK;
    if (repeat > 64) return yolo_fail(n, TERN_LIMIT_EXCEEDED, "%lld landmarks", (long long)repeat);
    for (int64_t i = 0; i < repeat; i++) many[i] = one;
    return yolo_concat(n, many, (int)repeat, 1, out);
}

static tern_status grid_of(yolo_net *n, const yolo_value *raw, double stride, double offset, int64_t repeat,
                           const char **out) {
    if (n->options->dynamic) return free_grid(n, raw, stride, offset, repeat, out);
    return fixed_grid(n, raw, stride, offset, repeat, out);
}

/* [anchors, 1, 2 * repeat]: w, h of each anchor times `factor`, repeated. */
static tern_status anchors_of(yolo_net *n, int level, float factor, int64_t repeat, const char **out) {
    const yolo_head *h = &n->head;
    tern_tensor *t;
    TN_TRY(tern_tensor_create(&t, TERN_FLOAT, 3, (int64_t[]){h->n_anchors, 1, 2 * repeat}, n->err));
    float *dst = tern_tensor_data(t);
    for (int k = 0; k < h->n_anchors; k++) {
        for (int64_t i = 0; i < 2 * repeat; i++) *dst++ = factor * h->anchors[level][k][i % 2];
    }
    *out = yolo_name(n, "anchors");
    tern_status status = *out ? tern_graph_constant(n->graph, *out, t, n->err) : tn_fail_oom(n->err, 1);
    tern_tensor_free(t);
    return status;
}

/* ---- one level ------------------------------------------------------------------------------------------------- */

/* s: [b, anchors, hw, >= 4] of sigmoids; *out: centres and sizes. */
static tern_status decode_boxes(yolo_net *n, int level, const yolo_value *raw, const char *s, const char *out[2]) {
    double stride = n->head.stride[level];
    const char *xy = NULL, *wh = NULL, *scaled = NULL, *squares = NULL, *factor, *grid = NULL, *anchors;
    TN_TRY(yolo_slice(n, s, 3, 0, 2, &xy));
    TN_TRY(yolo_slice(n, s, 3, 2, 4, &wh));
    TN_TRY(yolo_float(n, (float)(2 * stride), &factor));
    TN_TRY(grid_of(n, raw, stride, -0.5 * stride, 1, &grid));
    TN_TRY(yolo_binary(n, "Mul", xy, factor, &scaled));
    TN_TRY(yolo_binary(n, "Add", scaled, grid, &out[0]));
    TN_TRY(anchors_of(n, level, 4, 1, &anchors));
    TN_TRY(yolo_binary(n, "Mul", wh, wh, &squares));
    return yolo_binary(n, "Mul", squares, anchors, &out[1]);
}

static tern_status decode_landmarks(yolo_net *n, int level, const yolo_value *raw, const char *t, const char **out) {
    int64_t points = n->head.landmarks;
    const char *part = NULL, *anchors, *grid = NULL, *scaled = NULL;
    TN_TRY(yolo_slice(n, t, 3, 5, 5 + 2 * points, &part));
    TN_TRY(anchors_of(n, level, 1, points, &anchors));
    TN_TRY(grid_of(n, raw, n->head.stride[level], 0, points, &grid));
    TN_TRY(yolo_binary(n, "Mul", part, anchors, &scaled));
    return yolo_binary(n, "Add", scaled, grid, out);
}

/* [b, anchors * no, h, w] to [b, anchors * h * w, no] */
static tern_status decode_level(yolo_net *n, int level, const yolo_value *raw, const char **out) {
    const yolo_head *h = &n->head;
    const char *split = NULL, *t = NULL, *s = NULL, *parts[5] = {NULL, NULL, NULL, NULL, NULL}, *joined = NULL;
    int count = 3;
    TN_TRY(yolo_reshape(n, raw->name, (int64_t[]){0, h->n_anchors, h->no, -1}, 4, &split));
    TN_TRY(yolo_transpose(n, split, (int64_t[]){0, 1, 3, 2}, 4, &t));
    TN_TRY(yolo_unary(n, "Sigmoid", t, &s));
    TN_TRY(decode_boxes(n, level, raw, s, parts));
    if (h->landmarks) {
        TN_TRY(yolo_slice(n, s, 3, 4, 5, &parts[2]));
        TN_TRY(decode_landmarks(n, level, raw, t, &parts[3]));
        TN_TRY(yolo_slice(n, s, 3, 5 + 2 * h->landmarks, h->no, &parts[4]));
        count = 5;
    } else {
        TN_TRY(yolo_slice(n, s, 3, 4, 5 + h->classes, &parts[2]));
        if (h->masks) TN_TRY(yolo_slice(n, t, 3, 5 + h->classes, h->no, &parts[count++]));
    }
    TN_TRY(yolo_concat(n, parts, count, 3, &joined));
    return yolo_reshape(n, joined, (int64_t[]){0, -1, h->no}, 3, out);
}

/* ---- suppression ----------------------------------------------------------------------------------------------- */

/* Score and class of the best class: [b, n, 1] both. */
static tern_status best_class(yolo_net *n, const char *rows, const char **score, const char **class_index) {
    const yolo_head *h = &n->head;
    int64_t first = 5 + 2 * h->landmarks, two = 2;
    const char *objectness = NULL, *classes = NULL, *product = NULL;
    TN_TRY(yolo_slice(n, rows, 2, 4, 5, &objectness));
    TN_TRY(yolo_slice(n, rows, 2, first, first + h->classes, &classes));
    TN_TRY(yolo_binary(n, "Mul", classes, objectness, &product));
    tern_attr argmax[] = {YOLO_INT("axis", 2), YOLO_INT("keepdims", 1)};
    TN_TRY(yolo_node(n, "ArgMax", &product, 1, argmax, 2, class_index));
    if (n->options->opset < 18) {
        tern_attr attrs[] = {YOLO_INTS("axes", 1, &two), YOLO_INT("keepdims", 1)};
        return yolo_node(n, "ReduceMax", &product, 1, attrs, 2, score);
    }
    const char *axes;
    TN_TRY(yolo_ints(n, &two, 1, &axes));
    return yolo_binary(n, "ReduceMax", product, axes, score);
}

/* [k, 3] of picture, 0, row. Classes are kept apart by moving their boxes. */
static tern_status select_boxes(yolo_net *n, const char *rows, const char *score, const char *class_index,
                                const char **out) {
    const char *boxes = NULL, *real = NULL, *shift = NULL, *moved = NULL, *apart;
    const float sides[] = {MAX_SIDE, MAX_SIDE, 0, 0};
    TN_TRY(yolo_slice(n, rows, 2, 0, 4, &boxes));
    TN_TRY(yolo_cast(n, class_index, TERN_FLOAT, &real));
    TN_TRY(yolo_floats(n, sides, 1, (int64_t[]){4}, &apart));
    TN_TRY(yolo_binary(n, "Mul", real, apart, &shift));
    TN_TRY(yolo_binary(n, "Add", boxes, shift, &moved));
    const char *in[5] = {moved, NULL};
    TN_TRY(yolo_transpose(n, score, (int64_t[]){0, 2, 1}, 3, &in[1]));
    TN_TRY(yolo_int(n, n->options->max_det, &in[2]));
    TN_TRY(yolo_float(n, (float)n->options->iou, &in[3]));
    TN_TRY(yolo_float(n, (float)n->options->conf, &in[4]));
    tern_attr center = YOLO_INT("center_point_box", 1);
    return yolo_node(n, "NonMaxSuppression", in, 5, &center, 1, out);
}

static tern_status gather(yolo_net *n, const char *x, const char *index, int64_t axis, const char **out) {
    const char *in[] = {x, index};
    tern_attr attr = YOLO_INT("axis", axis);
    return yolo_node(n, "Gather", in, 2, &attr, 1, out);
}

/* Number of the row among those of all pictures. */
static tern_status flat_index(yolo_net *n, const char *rows, const char *selected, const char *picture,
                              const char **out) {
    const char *one, *two, *shape = NULL, *per_picture = NULL, *row = NULL, *first = NULL;
    TN_TRY(yolo_int(n, 1, &one));
    TN_TRY(yolo_int(n, 2, &two));
    TN_TRY(yolo_unary(n, "Shape", rows, &shape));
    TN_TRY(gather(n, shape, one, 0, &per_picture));
    TN_TRY(gather(n, selected, two, 1, &row));
    TN_TRY(yolo_binary(n, "Mul", picture, per_picture, &first));
    return yolo_binary(n, "Add", first, row, out);
}

/* Of [k, no], the first four as corners. */
static tern_status corners(yolo_net *n, const char *rows, const char **out) {
    const char *xy = NULL, *wh = NULL, *half, *sides = NULL, *parts[2] = {NULL, NULL};
    TN_TRY(yolo_slice(n, rows, 1, 0, 2, &xy));
    TN_TRY(yolo_slice(n, rows, 1, 2, 4, &wh));
    TN_TRY(yolo_float(n, 0.5f, &half));
    TN_TRY(yolo_binary(n, "Mul", wh, half, &sides));
    TN_TRY(yolo_binary(n, "Sub", xy, sides, &parts[0]));
    TN_TRY(yolo_binary(n, "Add", xy, sides, &parts[1]));
    return yolo_concat(n, parts, 2, 1, out);
}

/* x, [b, n, 1], at the rows `index`: [k], an output of the model. */
static tern_status pick(yolo_net *n, const char *x, const char *index, const char *name, tern_dtype dtype) {
    const char *flat = NULL, *out = name;
    TN_TRY(yolo_reshape(n, x, (int64_t[]){-1}, 1, &flat));
    TN_TRY(gather(n, flat, index, 0, &out));
    return yolo_output(n, out, name, dtype, 1, (int64_t[]){-1}, (const char *[]){"detections"});
}

static tern_status extra(yolo_net *n, const char *rows, int64_t from, int64_t count, const char *name) {
    const char *out = name;
    TN_TRY(yolo_slice(n, rows, 1, from, from + count, &out));
    return yolo_output(n, out, name, TERN_FLOAT, 2, (int64_t[]){-1, count}, (const char *[]){"detections", NULL});
}

static tern_status suppress(yolo_net *n, const char *rows) {
    const yolo_head *h = &n->head;
    const char *score = NULL, *class_index = NULL, *selected = NULL, *zero, *picture = NULL, *index = NULL;
    const char *all = NULL, *kept = NULL, *boxes = "boxes";
    TN_TRY(best_class(n, rows, &score, &class_index));
    TN_TRY(select_boxes(n, rows, score, class_index, &selected));
    TN_TRY(yolo_int(n, 0, &zero));
    TN_TRY(gather(n, selected, zero, 1, &picture));
    TN_TRY(flat_index(n, rows, selected, picture, &index));
    TN_TRY(yolo_reshape(n, rows, (int64_t[]){-1, h->no}, 2, &all));
    TN_TRY(gather(n, all, index, 0, &kept));
    TN_TRY(corners(n, kept, &boxes));
    TN_TRY(yolo_output(n, boxes, "boxes", TERN_FLOAT, 2, (int64_t[]){-1, 4}, (const char *[]){"detections", NULL}));
    TN_TRY(pick(n, score, index, "scores", TERN_FLOAT));
    TN_TRY(pick(n, class_index, index, "classes", TERN_INT64));
    if (h->landmarks) TN_TRY(extra(n, kept, 5, 2 * h->landmarks, "landmarks"));
    if (h->masks) TN_TRY(extra(n, kept, 5 + h->classes, h->masks, "masks"));
    if (n->options->batch == 1 && !n->options->dynamic) return TERN_OK;
    return yolo_output(n, picture, "batches", TERN_INT64, 1, (int64_t[]){-1}, (const char *[]){"detections"});
}

tern_status yolo_decode(yolo_net *n, const yolo_value *raw) {
    const yolo_head *h = &n->head;
    bool nms = n->options->head == TV_YOLO_NMS;
    const char *levels[YOLO_MAX_LEVELS] = {NULL}, *rows = nms ? NULL : "output0";
    int64_t count = 0;
    for (int i = 0; i < h->n_levels; i++) {
        TN_TRY(decode_level(n, i, &raw[i], &levels[i]));
        count += raw[i].h * raw[i].w * h->n_anchors;
    }
    TN_TRY(yolo_concat(n, levels, h->n_levels, 1, &rows));
    if (nms) return suppress(n, rows);
    bool dynamic = n->options->dynamic;
    int64_t dims[] = {dynamic ? -1 : n->options->batch, dynamic ? -1 : count, h->no};
    return yolo_output(n, rows, "output0", TERN_FLOAT, 3, dims, (const char *[]){"batch", "anchors", NULL});
}
