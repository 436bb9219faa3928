/* What the model says of itself; vision/yolo/yolo.h has the keys. */
#include <stdio.h>

#include "tern/version.h"

#include "vision/yolo/yolo_internal.h"

#define MAX_NAME 200 /* bytes of a class name that are kept */

/* The name of class `index` in a list, or in a dict by number; NULL: there is none. */
static const tern_py *name_at(const tern_py *names, int64_t index) {
    if (tern_py_count(names) >= 0) return tern_py_item(names, index);
    if (!names || names->kind != TERN_PY_DICT) return NULL;
    // Such dicts are in order, as a rule.
    int64_t key;
    if ((uint64_t)index < names->dict.count && tern_py_to_int(names->dict.items[index].key, &key) && key == index) {
        return names->dict.items[index].value;
    }
    for (size_t i = 0; i < names->dict.count; i++) {
        if (tern_py_to_int(names->dict.items[i].key, &key) && key == index) return names->dict.items[i].value;
    }
    return NULL;
}

/* In quotes, on one line, cut to a sane length at a character's end. */
static void add_name(tn_text *text, const tern_py *name, int64_t index) {
    char clean[MAX_NAME + 1];
    int64_t number;
    if (name && name->kind == TERN_PY_STR && name->text.len > 0) {
        size_t len = 0;
        while (len < name->text.len) {
            size_t step = tn_utf8_length(name->text.data + len, name->text.len - len);
            if (step == 0) step = 1;
            if (len + step > MAX_NAME) break;
            len += step;
        }
        memcpy(clean, name->text.data, len);
        for (size_t i = 0; i < len; i++) {
            if (!clean[i]) clean[i] = '?';
        }
        clean[len] = 0;
    } else if (tern_py_to_int(name, &number)) {
        snprintf(clean, sizeof clean, "%lld", (long long)number);
    } else {
        snprintf(clean, sizeof clean, "class%lld", (long long)index);
    }
    tn_utf8_clean_line(clean);
    tn_text_add_str(text, "'", 1);
    for (const char *c = clean; *c; c++) {
        if (*c == '\'' || *c == '\\') tn_text_add_str(text, "\\", 1);
        tn_text_add_str(text, c, 1);
    }
    tn_text_add_str(text, "'", 1);
}

static tern_status put(yolo_net *n, const char *key, tn_text *text) {
    tern_status status =
        text->failed ? tn_fail_oom(n->err, text->len) : tern_graph_metadata(n->graph, key, text->data, n->err);
    tn_text_release(text);
    return status;
}

static tern_status put_names(yolo_net *n) {
    const tern_py *names = tern_py_attr(n->model, "names");
    if (!names || (tern_py_count(names) < 0 && names->kind != TERN_PY_DICT)) return TERN_OK;
    tn_text text;
    tn_text_init(&text);
    for (int64_t i = 0; i < n->head.classes; i++) {
        tn_text_add(&text, "%s%lld: ", i ? ", " : "{", (long long)i);
        add_name(&text, name_at(names, i), i);
    }
    tn_text_add(&text, "}");
    return put(n, "names", &text);
}

static tern_status put_stride(yolo_net *n) {
    double stride = 0;
    for (int i = 0; i < n->head.n_levels; i++) stride = TN_MAX(stride, n->head.stride[i]);
    if (n->head.n_levels == 0) return TERN_OK;
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "%d", (int)stride);
    return put(n, "stride", &text);
}

/* The size to use: fixed, or where free the nominal one. */
static tern_status put_size(yolo_net *n) {
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "[%d, %d]", n->height, n->width);
    return put(n, "imgsz", &text);
}

static tern_status put_head(yolo_net *n) {
    static const char *const tasks[] = {"detect", "segment", "classify", "face"};
    static const char *const heads[] = {"raw", "decoded", "nms"};
    const yolo_head *h = &n->head;
    tn_text t;
    tn_text_init(&t);
    tn_text_add(&t, "{\"task\": \"%s\", \"head\": \"%s\", \"classes\": %lld", tasks[h->task], heads[n->options->head],
                (long long)h->classes);
    if (h->n_levels) tn_text_add(&t, ", \"strides\": [");
    for (int i = 0; i < h->n_levels; i++) tn_text_add(&t, "%s%.9g", i ? ", " : "", h->stride[i]);
    if (h->n_levels) tn_text_add(&t, "], \"anchors\": [");
    for (int i = 0; i < h->n_levels; i++) {
        tn_text_add(&t, "%s[", i ? ", " : "");
        for (int k = 0; k < h->n_anchors; k++) {
            tn_text_add(&t, "%s%.9g, %.9g", k ? ", " : "", (double)h->anchors[i][k][0], (double)h->anchors[i][k][1]);
        }
        tn_text_add(&t, "]");
    }
    if (h->n_levels) tn_text_add(&t, "]");
    if (h->masks) tn_text_add(&t, ", \"masks\": %lld", (long long)h->masks);
    if (h->landmarks) tn_text_add(&t, ", \"landmarks\": %lld", (long long)h->landmarks);
    tn_text_add(&t, "}");
    return put(n, "tern.yolo", &t);
}

/* Classifiers: the shorter side to the input's, the middle cut out, ImageNet's statistics. Detectors: RGB / 255 in a
 * letterbox. A free size is not said. */
static tern_status put_preprocess(yolo_net *n) {
    tn_text t;
    tn_text_init(&t);
    tn_text_add(&t, "{");
    if (!n->options->dynamic) tn_text_add(&t, "\"size\": [%d, %d], ", n->width, n->height);
    tn_text_add(&t, "\"channels\": \"rgb\", \"scale\": 0.00392156862745098, ");
    if (n->head.task == YOLO_CLASSIFY) {
        tn_text_add(&t, "\"fit\": \"crop\", \"filter\": \"linear\", \"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, "
                        "0.224, 0.225]}");
    } else {
        tn_text_add(&t, "\"fit\": \"letterbox\", \"mean\": [0, 0, 0], \"std\": [1, 1, 1]}");
    }
    return put(n, "tern.preprocess", &t);
}

tern_status yolo_metadata(yolo_net *n, int n_layers, const char *source) {
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "%s, %d layers", source, n_layers);
    if (text.data) tn_utf8_clean_line(text.data);
    TN_TRY(put(n, "tern.source", &text));
    TN_TRY(put_names(n));
    TN_TRY(put_stride(n));
    TN_TRY(put_size(n));
    TN_TRY(put_head(n));
    if (n->input_channels == 3) TN_TRY(put_preprocess(n));
    return tern_graph_producer(n->graph, "tern", tern_version(), n->err);
}
