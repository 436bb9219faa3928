/* Blocks made of other modules. What each computes is in the comment before it; x is the input, [a, b] the
 * concatenation of channels. */
#include <math.h>

#include "vision/yolo/yolo_internal.h"

/* ---- residual and cross-stage blocks --------------------------------------------------------------------------- */

/* cv2(cv1(x)), plus x when `add`. Also CrossConv. */
static tern_status bottleneck(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    bool add;
    yolo_value a, b;
    TN_TRY(yolo_attr_flag(n, m, "add", &add));
    TN_TRY(yolo_child(n, m, "cv1", in, &a));
    TN_TRY(yolo_child(n, m, "cv2", &a, &b));
    if (add) return yolo_add(n, in, &b, out);
    *out = b;
    return TERN_OK;
}

/* cv3([m(cv1(x)), cv2(x)]). Also C3TR, C3SPP, C3Ghost, C3x: they differ in m. */
static tern_status c3(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value a, parts[2], joined;
    TN_TRY(yolo_child(n, m, "cv1", in, &a));
    TN_TRY(yolo_child(n, m, "m", &a, &parts[0]));
    TN_TRY(yolo_child(n, m, "cv2", in, &parts[1]));
    TN_TRY(yolo_join(n, parts, 2, &joined));
    return yolo_child(n, m, "cv3", &joined, out);
}

/* The plain convolution `name`, with its channels of the normalisation that follows the concatenation. */
static tern_status csp_branch(yolo_net *n, const tern_py *m, const char *name, const yolo_norm *norm, int64_t *from,
                              const yolo_value *in, yolo_value *out) {
    const tern_py *module;
    yolo_conv c;
    TN_TRY(yolo_get_child(n, m, name, &module));
    size_t mark = yolo_enter(n, name);
    TN_TRY(yolo_conv_read(n, module, in->c, &c));
    tern_status status = norm ? yolo_conv_fold(n, &c, norm, *from) : TERN_OK;
    if (status == TERN_OK) status = yolo_conv_emit(n, &c, in, out);
    *from += c.oc;
    yolo_conv_release(&c);
    if (status == TERN_OK) yolo_leave(n, mark);
    return status;
}

static tern_status csp_join(yolo_net *n, const tern_py *m, const yolo_norm *norm, const yolo_value *inner,
                            const yolo_value *in, yolo_value *out) {
    int64_t channels = 0;
    const yolo_norm *fold = n->options->fuse ? norm : NULL;
    yolo_value parts[2], joined;
    TN_TRY(csp_branch(n, m, "cv3", fold, &channels, inner, &parts[0]));
    TN_TRY(csp_branch(n, m, "cv2", fold, &channels, in, &parts[1]));
    if (channels != norm->c) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "a normalisation of %lld channels after %lld channels",
                         (long long)norm->c, (long long)channels);
    }
    TN_TRY(yolo_join(n, parts, 2, &joined));
    if (!fold) return yolo_norm_emit(n, norm, &joined, out);
    *out = joined;
    return TERN_OK;
}

/* cv4(act(bn([cv3(m(cv1(x))), cv2(x)]))) */
static tern_status csp(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    const tern_py *bn;
    yolo_norm norm;
    yolo_value a, b, joined, active;
    TN_TRY(yolo_child(n, m, "cv1", in, &a));
    TN_TRY(yolo_child(n, m, "m", &a, &b));
    TN_TRY(yolo_get_child(n, m, "bn", &bn));
    TN_TRY(yolo_norm_read(n, bn, &norm));
    tern_status status = csp_join(n, m, &norm, &b, in, &joined);
    yolo_norm_release(&norm);
    TN_TRY(status);
    TN_TRY(yolo_child(n, m, "act", &joined, &active));
    return yolo_child(n, m, "cv4", &active, out);
}

/* [cv1(x), cv2(cv1(x))] */
static tern_status ghost_conv(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value parts[2];
    TN_TRY(yolo_child(n, m, "cv1", in, &parts[0]));
    TN_TRY(yolo_child(n, m, "cv2", &parts[0], &parts[1]));
    return yolo_join(n, parts, 2, out);
}

/* conv(x) + shortcut(x) */
static tern_status ghost_bottleneck(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value a, b;
    TN_TRY(yolo_child(n, m, "conv", in, &a));
    TN_TRY(yolo_child(n, m, "shortcut", in, &b));
    return yolo_add(n, &a, &b, out);
}

/* ---- pyramids -------------------------------------------------------------------------------------------------- */

/* Each module of the list `m` on x, after x itself when `with_input`. */
static tern_status each(yolo_net *n, const tern_py *m, const yolo_value *x, bool with_input, yolo_value *out) {
    const tern_py *list, *modules;
    yolo_value parts[YOLO_MAX_INPUTS];
    int count = 0;
    TN_TRY(yolo_get_child(n, m, "m", &list));
    modules = tern_py_modules(list);
    if (with_input) parts[count++] = *x;
    if (!modules || modules->dict.count == 0 || modules->dict.count >= YOLO_MAX_INPUTS) {
        return yolo_fail(n, TERN_INVALID_FORMAT, "%s with an empty list of modules, or more than %d", yolo_class(m),
                         YOLO_MAX_INPUTS - 1);
    }
    size_t mark = yolo_enter(n, "m");
    for (size_t i = 0; i < modules->dict.count; i++) {
        const char *key = tern_py_to_str(modules->dict.items[i].key);
        TN_TRY(yolo_emit(n, modules->dict.items[i].value, key ? key : "?", x, 1, &parts[count++]));
    }
    yolo_leave(n, mark);
    return yolo_join(n, parts, count, out);
}

/* cv2([y, m0(y), m1(y), ...]), y = cv1(x) */
static tern_status spp(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value y, joined;
    TN_TRY(yolo_child(n, m, "cv1", in, &y));
    TN_TRY(each(n, m, &y, true, &joined));
    return yolo_child(n, m, "cv2", &joined, out);
}

/* cv2([y, m(y), m(m(y)), m(m(m(y)))]), y = cv1(x) */
static tern_status sppf(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value parts[4], joined;
    TN_TRY(yolo_child(n, m, "cv1", in, &parts[0]));
    for (int i = 1; i < 4; i++) TN_TRY(yolo_child(n, m, "m", &parts[i - 1], &parts[i]));
    TN_TRY(yolo_join(n, parts, 4, &joined));
    return yolo_child(n, m, "cv2", &joined, out);
}

/* act(bn([m0(x), m1(x), ...])). Up to v6.0, when the activation was a LeakyReLU, x was added to it. */
static tern_status mixconv(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    const tern_py *act;
    yolo_value joined, norm, active;
    TN_TRY(yolo_get_child(n, m, "act", &act));
    TN_TRY(each(n, m, in, false, &joined));
    TN_TRY(yolo_child(n, m, "bn", &joined, &norm));
    TN_TRY(yolo_child(n, m, "act", &norm, &active));
    if (strcmp(yolo_class(act), "LeakyReLU") == 0) return yolo_add(n, in, &active, out);
    *out = active;
    return TERN_OK;
}

/* ---- transformer ----------------------------------------------------------------------------------------------- */

/* A sequence, [b, s, c]. */
typedef struct tokens {
    const char *name;
    int64_t c;
} tokens;

static tern_status linear(yolo_net *n, const tern_py *m, const char *name, const tokens *x, tokens *out) {
    const tern_py *child;
    TN_TRY(yolo_get_child(n, m, name, &child));
    size_t mark = yolo_enter(n, name);
    out->name = NULL;
    TN_TRY(yolo_linear(n, child, x->name, x->c, &out->c, &out->name));
    yolo_leave(n, mark);
    if (out->c == x->c) return TERN_OK;
    return yolo_fail(n, TERN_SHAPE_MISMATCH, "'%s' makes %lld features of %lld", name, (long long)out->c,
                     (long long)x->c);
}

/* Rows [part * c, part * c + c) of in_proj_weight and its bias on x, as heads [b, heads, s, c / heads]. `keys`: their
 * transpose. */
static tern_status project(yolo_net *n, const tern_tensor *w, const tern_tensor *b, int part, const tokens *x,
                           int64_t heads, bool keys, const char **out) {
    int64_t c = x->c;
    tern_tensor *slice, *bias;
    TN_TRY(tern_tensor_create(&slice, TERN_FLOAT, 2, (int64_t[]){c, c}, n->err));
    const float *src = (const float *)tern_tensor_const_data(w) + part * c * c;
    float *dst = tern_tensor_data(slice);
    for (int64_t i = 0; i < c; i++) {
        for (int64_t k = 0; k < c; k++) dst[k * c + i] = src[i * c + k];
    }
    static const char *const names[] = {"query", "key", "value"};
    static const char *const bias_names[] = {"query_bias", "key_bias", "value_bias"};
    const char *weight, *product = NULL, *split = NULL;
    tern_status status = yolo_weight(n, names[part], slice, &weight);
    tern_tensor_free(slice);
    TN_TRY(status);
    TN_TRY(yolo_binary(n, "MatMul", x->name, weight, &product));
    if (b) {
        const char *added = NULL, *bias_name;
        TN_TRY(tern_tensor_create(&bias, TERN_FLOAT, 1, &c, n->err));
        memcpy(tern_tensor_data(bias), (const float *)tern_tensor_const_data(b) + part * c, (size_t)c * sizeof(float));
        status = yolo_weight(n, bias_names[part], bias, &bias_name);
        tern_tensor_free(bias);
        TN_TRY(status);
        TN_TRY(yolo_binary(n, "Add", product, bias_name, &added));
        product = added;
    }
    TN_TRY(yolo_reshape(n, product, (int64_t[]){0, -1, heads, c / heads}, 4, &split));
    return yolo_transpose(n, split, keys ? (int64_t[]){0, 2, 3, 1} : (int64_t[]){0, 2, 1, 3}, 4, out);
}

/* softmax(q k / sqrt(d)) v, heads joined: [b, s, c] */
static tern_status attend(yolo_net *n, const char *q, const char *k, const char *v, int64_t c, int64_t heads,
                          const char **out) {
    const char *factor, *scaled = NULL, *scores = NULL, *weights = NULL, *mixed = NULL, *back = NULL;
    TN_TRY(yolo_float(n, (float)(1 / sqrt((double)(c / heads))), &factor));
    TN_TRY(yolo_binary(n, "Mul", q, factor, &scaled));
    TN_TRY(yolo_binary(n, "MatMul", scaled, k, &scores));
    TN_TRY(yolo_softmax(n, scores, 3, &weights));
    TN_TRY(yolo_binary(n, "MatMul", weights, v, &mixed));
    TN_TRY(yolo_transpose(n, mixed, (int64_t[]){0, 2, 1, 3}, 4, &back));
    return yolo_reshape(n, back, (int64_t[]){0, -1, c}, 3, out);
}

static tern_status attention_of(yolo_net *n, const tern_py *ma, const tern_tensor *w, const tern_tensor *b,
                                const tokens qkv[3], tokens *out) {
    int64_t c = qkv[0].c, heads;
    // State dicts do not say it; every release has four.
    if (n->from_names) {
        heads = 4;
    } else {
        TN_TRY(yolo_attr_int(n, ma, "num_heads", 1, 4096, &heads));
    }
    const int64_t *d = tern_tensor_dims(w);
    if (d[0] != 3 * c || d[1] != c || c % heads || (b && tern_tensor_count(b) != 3 * c)) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "attention weights of %lldx%lld for %lld features and %lld heads",
                         (long long)d[0], (long long)d[1], (long long)c, (long long)heads);
    }
    const char *parts[3] = {NULL, NULL, NULL};
    for (int i = 0; i < 3; i++) TN_TRY(project(n, w, b, i, &qkv[i], heads, i == 1, &parts[i]));
    tokens mixed = {NULL, c};
    TN_TRY(attend(n, parts[0], parts[1], parts[2], c, heads, &mixed.name));
    return linear(n, ma, "out_proj", &mixed, out);
}

static tern_status attention(yolo_net *n, const tern_py *m, const tokens qkv[3], tokens *out) {
    const tern_py *ma;
    TN_TRY(yolo_get_child(n, m, "ma", &ma));
    size_t mark = yolo_enter(n, "ma");
    tern_tensor *w, *b = NULL;
    TN_TRY(yolo_attr_tensor(n, ma, "in_proj_weight", 2, &w));
    tern_status status = yolo_attr_optional_tensor(n, ma, "in_proj_bias", 1, &b);
    if (status == TERN_OK) status = attention_of(n, ma, w, b, qkv, out);
    tern_tensor_free(w);
    tern_tensor_free(b);
    if (status == TERN_OK) yolo_leave(n, mark);
    return status;
}

/* y = ma(q(x), k(x), v(x)) + x; fc2(fc1(y)) + y */
static tern_status transformer_layer(yolo_net *n, const tern_py *m, const tokens *x, tokens *out) {
    tokens qkv[3], a, y = {NULL, x->c}, f, g;
    TN_TRY(linear(n, m, "q", x, &qkv[0]));
    TN_TRY(linear(n, m, "k", x, &qkv[1]));
    TN_TRY(linear(n, m, "v", x, &qkv[2]));
    TN_TRY(attention(n, m, qkv, &a));
    TN_TRY(yolo_binary(n, "Add", a.name, x->name, &y.name));
    TN_TRY(linear(n, m, "fc1", &y, &f));
    TN_TRY(linear(n, m, "fc2", &f, &g));
    *out = (tokens){NULL, x->c};
    return yolo_binary(n, "Add", g.name, y.name, &out->name);
}

static tern_status transformer_layers(yolo_net *n, const tern_py *m, tokens *x) {
    const tern_py *tr, *modules;
    TN_TRY(yolo_get_child(n, m, "tr", &tr));
    modules = tern_py_modules(tr);
    size_t mark = yolo_enter(n, "tr");
    for (size_t i = 0; modules && i < modules->dict.count; i++) {
        const tern_py *layer = modules->dict.items[i].value;
        const char *key = tern_py_to_str(modules->dict.items[i].key);
        if (strcmp(yolo_class(layer), "TransformerLayer") != 0 || ++n->visited > YOLO_MAX_MODULES) {
            return yolo_fail(n, TERN_UNSUPPORTED, "'%s' is no TransformerLayer, or there are too many",
                             yolo_class(layer));
        }
        size_t inner = yolo_enter(n, key ? key : "?");
        tokens y;
        TN_TRY(transformer_layer(n, layer, x, &y));
        *x = y;
        yolo_leave(n, inner);
    }
    yolo_leave(n, mark);
    return TERN_OK;
}

/* The pixels as a sequence p: tr(p + linear(p)), as a picture again. */
static tern_status transformer(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    const tern_py *conv = tern_py_attr(m, "conv");
    yolo_value x = *in;
    if (yolo_is_module(conv)) TN_TRY(yolo_emit(n, conv, "conv", in, 1, &x));
    tokens p = {NULL, x.c}, e, y = {NULL, x.c};
    const char *flat = NULL, *back = NULL;
    TN_TRY(yolo_reshape(n, x.name, (int64_t[]){0, x.c, -1}, 3, &flat));
    TN_TRY(yolo_transpose(n, flat, (int64_t[]){0, 2, 1}, 3, &p.name));
    TN_TRY(linear(n, m, "linear", &p, &e));
    TN_TRY(yolo_binary(n, "Add", p.name, e.name, &y.name));
    TN_TRY(transformer_layers(n, m, &y));
    TN_TRY(yolo_transpose(n, y.name, (int64_t[]){0, 2, 1}, 3, &back));
    *out = x;
    out->name = NULL;
    return yolo_to_image(n, back, &x, &out->name);
}

/* ---- of yolov5-face -------------------------------------------------------------------------------------------- */

/* stem_3([stem_2b(stem_2a(y)), stem_2p(y)]), y = stem_1(x) */
static tern_status stem(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value y, a, parts[2], joined;
    TN_TRY(yolo_child(n, m, "stem_1", in, &y));
    TN_TRY(yolo_child(n, m, "stem_2a", &y, &a));
    TN_TRY(yolo_child(n, m, "stem_2b", &a, &parts[0]));
    TN_TRY(yolo_child(n, m, "stem_2p", &y, &parts[1]));
    TN_TRY(yolo_join(n, parts, 2, &joined));
    return yolo_child(n, m, "stem_3", &joined, out);
}

/* Channel i of the first half goes to 2 i, of the second half to 2 i + 1. */
static tern_status shuffle(yolo_net *n, const yolo_value *x, yolo_value *out) {
    const char *split = NULL, *swapped = NULL;
    TN_TRY(yolo_reshape(n, x->name, (int64_t[]){0, 2, x->c / 2, -1}, 4, &split));
    TN_TRY(yolo_transpose(n, split, (int64_t[]){0, 2, 1, 3}, 4, &swapped));
    *out = *x;
    out->name = NULL;
    return yolo_to_image(n, swapped, x, &out->name);
}

/* stride 1: shuffle([first half of x, branch2(second half)]); else shuffle([branch1(x), branch2(x)]) */
static tern_status shuffle_block(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    int64_t stride;
    yolo_value parts[2] = {*in, *in}, second = *in, joined;
    TN_TRY(yolo_attr_int(n, m, "stride", 1, 3, &stride));
    if (stride == 1) {
        if (in->c % 2) return yolo_fail(n, TERN_SHAPE_MISMATCH, "%lld channels in two halves", (long long)in->c);
        parts[0].c = second.c = in->c / 2;
        parts[0].name = second.name = NULL;
        TN_TRY(yolo_slice(n, in->name, 1, 0, in->c / 2, &parts[0].name));
        TN_TRY(yolo_slice(n, in->name, 1, in->c / 2, in->c, &second.name));
    } else {
        TN_TRY(yolo_child(n, m, "branch1", in, &parts[0]));
    }
    TN_TRY(yolo_child(n, m, "branch2", &second, &parts[1]));
    TN_TRY(yolo_join(n, parts, 2, &joined));
    if (joined.c % 2) return yolo_fail(n, TERN_SHAPE_MISMATCH, "%lld channels are shuffled", (long long)joined.c);
    return shuffle(n, &joined, out);
}

/* relu(branch1(x) + shortcut(x)), with x itself when there is no pool. */
static tern_status blaze(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    bool pool;
    yolo_value a, b = *in, added;
    TN_TRY(yolo_attr_flag(n, m, "use_pool", &pool));
    TN_TRY(yolo_child(n, m, "branch1", in, &a));
    if (pool) TN_TRY(yolo_child(n, m, "shortcut", in, &b));
    TN_TRY(yolo_add(n, &a, &b, &added));
    return yolo_child(n, m, "relu", &added, out);
}

/* ---- ends of networks ------------------------------------------------------------------------------------------ */

/* cv3(cv2(upsample(cv1(x)))) */
static tern_status proto(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    (void)n_in;
    yolo_value a, b, c;
    TN_TRY(yolo_child(n, m, "cv1", in, &a));
    TN_TRY(yolo_child(n, m, "upsample", &a, &b));
    TN_TRY(yolo_child(n, m, "cv2", &b, &c));
    return yolo_child(n, m, "cv3", &c, out);
}

/* From [b, c, 1, 1] to [b, c]; kept as c x 1 x 1. */
static tern_status flatten(yolo_net *n, const yolo_value *x, yolo_value *out) {
    if (x->h != 1 || x->w != 1) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "the classifier pools to %lldx%lld pixels, not to one",
                         (long long)x->w, (long long)x->h);
    }
    *out = *x;
    out->name = NULL;
    tern_attr axis = YOLO_INT("axis", 1);
    return yolo_node(n, "Flatten", &x->name, 1, &axis, 1, &out->name);
}

/* linear(pool(conv(x))) since v6.2; before, conv(aap(x)). */
static tern_status classify(yolo_net *n, const tern_py *m, const yolo_value *in, int n_in, yolo_value *out) {
    yolo_value x, a, b, flat;
    const tern_py *module;
    if (yolo_is_module(tern_py_attr(m, "aap"))) {
        yolo_value pooled[YOLO_MAX_INPUTS];
        for (int i = 0; i < n_in; i++) TN_TRY(yolo_child(n, m, "aap", &in[i], &pooled[i]));
        TN_TRY(yolo_join(n, pooled, n_in, &x));
        TN_TRY(yolo_child(n, m, "conv", &x, &a));
        return flatten(n, &a, out);
    }
    TN_TRY(yolo_join(n, in, n_in, &x));
    TN_TRY(yolo_child(n, m, "conv", &x, &a));
    TN_TRY(yolo_child(n, m, "pool", &a, &b));
    TN_TRY(flatten(n, &b, &flat));
    TN_TRY(yolo_get_child(n, m, "linear", &module));
    size_t mark = yolo_enter(n, "linear");
    *out = (yolo_value){.h = 1, .w = 1};
    TN_TRY(yolo_linear(n, module, flat.name, flat.c, &out->c, &out->name));
    yolo_leave(n, mark);
    return TERN_OK;
}

/* ---- table ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    yolo_emit_fn emit;
} table[] = {
    {"Bottleneck", bottleneck},
    {"CrossConv", bottleneck},
    {"BottleneckCSP", csp},
    {"C3", c3},
    {"C3TR", c3},
    {"C3SPP", c3},
    {"C3Ghost", c3},
    {"C3x", c3},
    {"GhostConv", ghost_conv},
    {"GhostBottleneck", ghost_bottleneck},
    {"SPP", spp},
    {"SPPF", sppf},
    {"MixConv2d", mixconv},
    {"TransformerBlock", transformer},
    {"StemBlock", stem},
    {"ShuffleV2Block", shuffle_block},
    {"BlazeBlock", blaze},
    {"DoubleBlazeBlock", blaze},
    {"Proto", proto},
    {"Classify", classify},
};

yolo_emit_fn yolo_find_block(const char *class_name) {
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        if (strcmp(table[i].name, class_name) == 0) return table[i].emit;
    }
    return NULL;
}
