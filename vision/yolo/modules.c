/* Single modules of torch.nn and of YOLOv5, and the walk through modules in modules. */
#include <math.h>
#include <stdio.h>

#include "vision/yolo/yolo_internal.h"

/* ---- the walk -------------------------------------------------------------------------------------------------- */

size_t yolo_enter(yolo_net *n, const char *name) {
    size_t mark = n->path.len;
    tn_text_add(&n->path, "%s%.100s", mark ? "." : "", name);
    tn_utf8_clean_line(n->path.data ? n->path.data + mark : n->path.data);
    return mark;
}

void yolo_leave(yolo_net *n, size_t mark) {
    n->path.len = mark;
    if (n->path.data) n->path.data[mark] = 0;
}

tern_status yolo_get_child(yolo_net *n, const tern_py *m, const char *name, const tern_py **out) {
    *out = tern_py_attr(m, name);
    if (yolo_is_module(*out)) return TERN_OK;
    return yolo_fail(n, TERN_INVALID_FORMAT, "%s has no module '%s'", yolo_class(m), name);
}

tern_status yolo_child(yolo_net *n, const tern_py *m, const char *name, const yolo_value *in, yolo_value *out) {
    const tern_py *child;
    TN_TRY(yolo_get_child(n, m, name, &child));
    return yolo_emit(n, child, name, in, 1, out);
}

tern_status yolo_join(yolo_net *n, const yolo_value *in, int count, yolo_value *out) {
    const char *names[YOLO_MAX_INPUTS];
    *out = in[0];
    if (count == 1) return TERN_OK;
    out->name = NULL;
    out->c = 0;
    for (int i = 0; i < count; i++) {
        TN_TRY(yolo_same_size(n, &in[0], &in[i]));
        names[i] = in[i].name;
        out->c += in[i].c;
    }
    TN_TRY(yolo_check_size(n, out));
    return yolo_concat(n, names, count, 1, &out->name);
}

tern_status yolo_add(yolo_net *n, const yolo_value *a, const yolo_value *b, yolo_value *out) {
    TN_TRY(yolo_same_size(n, a, b));
    if (a->c != b->c) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "%lld channels are added to %lld", (long long)b->c, (long long)a->c);
    }
    *out = *a;
    out->name = NULL;
    return yolo_binary(n, "Add", a->name, b->name, &out->name);
}

/* ---- containers and convolutions ------------------------------------------------------------------------------- */

static const char *key_of(const tern_py *modules, size_t i) {
    const char *key = tern_py_to_str(modules->dict.items[i].key);
    return key ? key : "?";
}

static tern_status sequential(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    const tern_py *modules = tern_py_modules(m);
    *out = in[0];
    for (size_t i = 0; modules && i < modules->dict.count; i++) {
        const tern_py *child = modules->dict.items[i].value;
        const tern_py *next = i + 1 < modules->dict.count ? modules->dict.items[i + 1].value : NULL;
        yolo_value x = *out;
        if (strcmp(yolo_class(child), "Conv2d") == 0 && strcmp(yolo_class(next), "BatchNorm2d") == 0) {
            size_t mark = yolo_enter(n, key_of(modules, i++));
            TN_TRY(yolo_conv_norm(n, child, next, false, &x, out));
            yolo_leave(n, mark);
        } else {
            TN_TRY(yolo_emit(n, child, key_of(modules, i), &x, 1, out));
        }
    }
    return TERN_OK;
}

static tern_status conv2d(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    return yolo_conv_norm(n, m, NULL, false, in, out);
}

static tern_status batchnorm(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_norm b;
    TN_TRY(yolo_norm_read(n, m, &b));
    tern_status status = yolo_norm_emit(n, &b, in, out);
    yolo_norm_release(&b);
    return status;
}

/* Conv: convolution, normalisation (gone in models saved after fuse()), activation. */
static tern_status conv_block(yolo_net *n, const tern_py *m, bool focus, const yolo_value *in, yolo_value *out) {
    const tern_py *conv, *bn = tern_py_attr(m, "bn"), *act = tern_py_attr(m, "act");
    yolo_value y;
    TN_TRY(yolo_get_child(n, m, "conv", &conv));
    TN_TRY(yolo_conv_norm(n, conv, yolo_is_module(bn) ? bn : NULL, focus, in, &y));
    if (!yolo_is_module(act)) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "%s has no module 'act'", yolo_class(m));
    }
    return yolo_emit(n, act, "act", &y, 1, out);
}

static tern_status conv(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    return conv_block(n, m, false, in, out);
}

/* Cuts the picture into its four pixel phases and convolves them: one convolution of the picture. */
static tern_status focus(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    const tern_py *inner;
    TN_TRY(yolo_get_child(n, m, "conv", &inner));
    if (in->h % 2 || in->w % 2) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "maps of %lldx%lld pixels; Focus needs even sizes", (long long)in->w,
                         (long long)in->h);
    }
    size_t mark = yolo_enter(n, "conv");
    TN_TRY(conv_block(n, inner, true, in, out));
    yolo_leave(n, mark);
    return TERN_OK;
}

/* ---- sizes ----------------------------------------------------------------------------------------------------- */

/* Same number twice, or from `size`; a factor of 1/64 to 64 of the map. */
static tern_status upsample_scales(yolo_net *n, const tern_py *m, const yolo_value *in, double scale[2]) {
    const tern_py *factor = tern_py_attr(m, "scale_factor");
    int64_t size[2];
    if (tern_py_to_real(factor, &scale[0])) {
        scale[1] = scale[0];
    } else if (tern_py_count(factor) == 2 && tern_py_to_real(tern_py_item(factor, 0), &scale[0]) &&
               tern_py_to_real(tern_py_item(factor, 1), &scale[1])) {
    } else if (!n->options->dynamic && factor && factor->kind == TERN_PY_NONE) {
        TN_TRY(yolo_attr_pair(n, m, "size", 1, 1 << 20, size));
        scale[0] = (double)size[0] / (double)in->h;
        scale[1] = (double)size[1] / (double)in->w;
    } else {
        return yolo_fail(n, TERN_UNSUPPORTED, "Upsample without a scale_factor");
    }
    for (int i = 0; i < 2; i++) {
        if (!(scale[i] >= 1.0 / 64 && scale[i] <= 64)) {
            return yolo_fail(n, TERN_UNSUPPORTED, "Upsample by %g", scale[i]);
        }
    }
    return TERN_OK;
}

static tern_status resize(yolo_net *n, const char *x, const double scale[2], bool linear, bool corners,
                          const char **out) {
    int opset = n->options->opset;
    const char *in[3] = {x, "", NULL};
    float values[] = {1, 1, (float)scale[0], (float)scale[1]};
    TN_TRY(yolo_floats(n, values, 1, (int64_t[]){4}, &in[2]));
    tern_attr mode = YOLO_STRING("mode", linear ? "linear" : "nearest");
    if (opset < 11) {
        if (linear) return yolo_fail(n, TERN_UNSUPPORTED, "bilinear Upsample needs opset 11 or later");
        const char *old[] = {x, in[2]};
        return yolo_node(n, opset < 10 ? "Upsample" : "Resize", old, 2, &mode, 1, out);
    }
    const char *transform = !linear ? "asymmetric" : corners ? "align_corners" : "half_pixel";
    tern_attr attrs[] = {mode, YOLO_STRING("coordinate_transformation_mode", transform),
                         YOLO_STRING("nearest_mode", "floor")};
    // Before opset 13 the region could not be left out; an empty one was the custom.
    if (opset < 13) TN_TRY(yolo_floats(n, values, 1, (int64_t[]){0}, &in[1]));
    return yolo_node(n, "Resize", in, 3, attrs, linear ? 2 : 3, out);
}

static tern_status upsample(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    const char *mode = tern_py_to_str(tern_py_attr(m, "mode"));
    bool linear = mode && strcmp(mode, "bilinear") == 0, corners = false;
    if (!linear && (!mode || strcmp(mode, "nearest") != 0)) {
        return yolo_fail(n, TERN_UNSUPPORTED, "Upsample of mode '%s'", mode ? mode : "?");
    }
    const tern_py *align = tern_py_attr(m, "align_corners");
    if (align && align->kind != TERN_PY_NONE) TN_TRY(yolo_attr_flag(n, m, "align_corners", &corners));
    double scale[2];
    TN_TRY(upsample_scales(n, m, in, scale));
    *out = (yolo_value){
        .c = in->c, .h = (int64_t)floor((double)in->h * scale[0]), .w = (int64_t)floor((double)in->w * scale[1])};
    TN_TRY(yolo_check_size(n, out));
    return resize(n, in->name, scale, linear, corners, &out->name);
}

static int64_t pool_size(int64_t in, int64_t k, int64_t stride, int64_t pad, bool ceil_mode) {
    int64_t room = in + 2 * pad - k;
    if (room < 0) return 0;
    int64_t size = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    // A window that begins in the padding at the end does not count.
    return ceil_mode && (size - 1) * stride >= in + pad ? size - 1 : size;
}

static tern_status maxpool(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    int64_t k[2], stride[2], pad[2], dilation[2] = {1, 1};
    bool ceil_mode = false;
    TN_TRY(yolo_attr_pair(n, m, "kernel_size", 1, 1000, k));
    TN_TRY(yolo_attr_pair(n, m, "stride", 1, 1000, stride));
    TN_TRY(yolo_attr_pair(n, m, "padding", 0, 500, pad));
    if (tern_py_attr(m, "dilation")) TN_TRY(yolo_attr_pair(n, m, "dilation", 1, 1, dilation));
    if (tern_py_attr(m, "ceil_mode")) TN_TRY(yolo_attr_flag(n, m, "ceil_mode", &ceil_mode));
    if (2 * pad[0] > k[0] || 2 * pad[1] > k[1]) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "MaxPool2d with more padding than half its kernel");
    }
    *out = (yolo_value){.c = in->c,
                        .h = pool_size(in->h, k[0], stride[0], pad[0], ceil_mode),
                        .w = pool_size(in->w, k[1], stride[1], pad[1], ceil_mode)};
    TN_TRY(yolo_check_size(n, out));
    bool same = out->h == pool_size(in->h, k[0], stride[0], pad[0], false) &&
                out->w == pool_size(in->w, k[1], stride[1], pad[1], false);
    if (same && !n->options->dynamic) ceil_mode = false;
    if (ceil_mode && n->options->opset < 10) {
        return yolo_fail(n, TERN_UNSUPPORTED, "MaxPool2d with ceil_mode needs opset 10 or later");
    }
    const int64_t pads[] = {pad[0], pad[1], pad[0], pad[1]};
    tern_attr attrs[] = {YOLO_INTS("kernel_shape", 2, k), YOLO_INTS("strides", 2, stride), YOLO_INTS("pads", 4, pads),
                         YOLO_INT("ceil_mode", 1)};
    return yolo_node(n, "MaxPool", &in->name, 1, attrs, ceil_mode ? 4 : 3, &out->name);
}

static tern_status zeropad(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    int64_t p[4]; // left, right, top, bottom
    int count = tern_py_to_ints(tern_py_attr(m, "padding"), p, 4);
    if (count == 1) p[1] = p[2] = p[3] = p[0];
    for (int i = 0; i < 4; i++) {
        if ((count != 1 && count != 4) || p[i] < 0 || p[i] > 1000) {
            return yolo_fail(n, TERN_INVALID_FORMAT, "'padding' is not four numbers from 0 to 1000");
        }
    }
    *out = (yolo_value){.c = in->c, .h = in->h + p[2] + p[3], .w = in->w + p[0] + p[1]};
    TN_TRY(yolo_check_size(n, out));
    const int64_t pads[] = {0, 0, p[2], p[0], 0, 0, p[3], p[1]};
    if (n->options->opset < 11) {
        tern_attr attr = YOLO_INTS("pads", 8, pads);
        return yolo_node(n, "Pad", &in->name, 1, &attr, 1, &out->name);
    }
    const char *list;
    TN_TRY(yolo_ints(n, pads, 8, &list));
    return yolo_binary(n, "Pad", in->name, list, &out->name);
}

static tern_status average(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    int64_t size[2];
    TN_TRY(yolo_attr_pair(n, m, "output_size", 1, 1, size));
    *out = (yolo_value){.c = in->c, .h = 1, .w = 1};
    return yolo_unary(n, "GlobalAveragePool", in->name, &out->name);
}

/* [b, c, h, w] to [b, c * g * g, h / g, w / g] (Contract) and back (Expand): both order as the standard does. */
static tern_status contract(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    int64_t g;
    TN_TRY(yolo_attr_int(n, m, "gain", 1, 64, &g));
    if (in->h % g || in->w % g) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "maps of %lldx%lld pixels for a gain of %lld", (long long)in->w,
                         (long long)in->h, (long long)g);
    }
    *out = (yolo_value){.c = in->c * g * g, .h = in->h / g, .w = in->w / g};
    tern_attr attr = YOLO_INT("blocksize", g);
    return yolo_node(n, "SpaceToDepth", &in->name, 1, &attr, 1, &out->name);
}

static tern_status expand(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    int64_t g;
    TN_TRY(yolo_attr_int(n, m, "gain", 1, 64, &g));
    if (in->c % (g * g)) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "%lld channels for a gain of %lld", (long long)in->c, (long long)g);
    }
    *out = (yolo_value){.c = in->c / (g * g), .h = in->h * g, .w = in->w * g};
    TN_TRY(yolo_check_size(n, out));
    tern_attr attr = YOLO_INT("blocksize", g);
    return yolo_node(n, "DepthToSpace", &in->name, 1, &attr, 1, &out->name);
}

/* ---- several inputs -------------------------------------------------------------------------------------------- */

static tern_status concat(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    int64_t d;
    TN_TRY(yolo_attr_int(n, m, "d", -4, 3, &d));
    if (d != 1 && d != -3) return yolo_fail(n, TERN_UNSUPPORTED, "Concat along dimension %lld", (long long)d);
    return yolo_join(n, in, n_in, out);
}

/* x0 + x1 * w0 + ..., with w = 2 * sigmoid of the parameter; w = 1 without `weight`. */
static tern_status sum(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    bool weighted;
    tern_tensor *w = NULL;
    TN_TRY(yolo_attr_flag(n, m, "weight", &weighted));
    if (weighted) TN_TRY(yolo_attr_tensor(n, m, "w", 1, &w));
    tern_status status = TERN_OK;
    if (w && tern_tensor_count(w) < n_in - 1) {
        status = yolo_fail(n, TERN_SHAPE_MISMATCH, "%lld weights for %d inputs", (long long)tern_tensor_count(w), n_in);
    }
    *out = in[0];
    for (int i = 1; status == TERN_OK && i < n_in; i++) {
        yolo_value a = *out, x = in[i];
        if (w) {
            const char *factor;
            double s = ((const float *)tern_tensor_const_data(w))[i - 1];
            status = yolo_float(n, (float)(2 / (1 + exp(-s))), &factor);
            x.name = NULL;
            if (status == TERN_OK) status = yolo_binary(n, "Mul", in[i].name, factor, &x.name);
        }
        if (status == TERN_OK) status = yolo_add(n, &a, &x, out);
    }
    tern_tensor_free(w);
    return status;
}

static tern_status pass(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n;
    (void)m;
    (void)n_in;
    *out = in[0];
    return TERN_OK;
}

static tern_status activation(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    return yolo_activation(n, m, in, out);
}

/* ---- table ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    yolo_emit_fn emit;
    bool many; /* takes a list of inputs */
} table[] = {
    {"Conv", conv, false},
    {"DWConv", conv, false},
    {"Focus", focus, false},
    {"Sequential", sequential, false},
    {"Conv2d", conv2d, false},
    {"ConvTranspose2d", conv2d, false},
    {"DWConvTranspose2d", conv2d, false},
    {"BatchNorm2d", batchnorm, false},
    {"Upsample", upsample, false},
    {"MaxPool2d", maxpool, false},
    {"ZeroPad2d", zeropad, false},
    {"AdaptiveAvgPool2d", average, false},
    {"Contract", contract, false},
    {"Expand", expand, false},
    {"Concat", concat, true},
    {"Sum", sum, true},
    {"Identity", pass, false},
    {"Dropout", pass, false},
    {"Dropout2d", pass, false},
};

static tern_status find_emitter(yolo_net *n, const char *name, int n_in, yolo_emit_fn *out) {
    bool many = false;
    *out = yolo_find_block(name);
    for (size_t i = 0; !*out && i < TN_COUNT(table); i++) {
        if (strcmp(table[i].name, name) != 0) continue;
        *out = table[i].emit;
        many = table[i].many;
    }
    if (!*out && yolo_is_activation(name)) *out = activation;
    if (!*out) return yolo_fail(n, TERN_UNSUPPORTED, "modules of class '%s' are not known", name);
    // A classifier's head takes what it gets, as one.
    if (n_in == 1 || many || strcmp(name, "Classify") == 0) return TERN_OK;
    return yolo_fail(n, TERN_INVALID_FORMAT, "%d inputs for a module of class '%s', which takes one", n_in, name);
}

tern_status yolo_emit(yolo_net *n, const tern_py *m, const char *name, const yolo_value *in, int n_in,
                      yolo_value *out) {
    if (!yolo_is_module(m)) return yolo_fail(n, TERN_INVALID_FORMAT, "'%s' is not a module", name);
    if (++n->visited > YOLO_MAX_MODULES) {
        return yolo_fail(n, TERN_LIMIT_EXCEEDED, "the network has more than %d modules", YOLO_MAX_MODULES);
    }
    if (n->depth >= YOLO_MAX_DEPTH) {
        return yolo_fail(n, TERN_LIMIT_EXCEEDED, "modules nest deeper than %d", YOLO_MAX_DEPTH);
    }
    size_t mark = yolo_enter(n, name);
    n->depth++;
    yolo_emit_fn emit;
    TN_TRY(find_emitter(n, yolo_class(m), n_in, &emit));
    TN_TRY(emit(n, m, in, n_in, out));
    n->depth--;
    yolo_leave(n, mark);
    return TERN_OK;
}
