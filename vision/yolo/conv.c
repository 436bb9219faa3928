/* Convolutions and normalisations: read from modules, merged, written.
 *
 * Merging y = (w * x + b - mean) * gamma / sqrt(var + eps) + beta is done in double precision and rounded once. */
#include <math.h>

#include "vision/yolo/yolo_internal.h"

/* ---- convolutions ---------------------------------------------------------------------------------------------- */

void yolo_conv_release(yolo_conv *c) {
    tern_tensor_free(c->w);
    tern_tensor_free(c->b);
    *c = (yolo_conv){0};
}

/* `padding` may be a word in newer files. */
static tern_status read_padding(yolo_net *n, const tern_py *m, yolo_conv *c) {
    const char *word = tern_py_to_str(tern_py_attr(m, "padding"));
    if (word && strcmp(word, "valid") == 0) return TERN_OK;
    if (word && strcmp(word, "same") == 0) {
        for (int i = 0; i < 2; i++) {
            int64_t total = c->dilation[i] * (c->k[i] - 1);
            c->pad[i] = total / 2;
            c->pad[i + 2] = total - total / 2;
        }
        return TERN_OK;
    }
    int64_t pad[2];
    TN_TRY(yolo_attr_pair(n, m, "padding", 0, 1000, pad));
    c->pad[0] = c->pad[2] = pad[0];
    c->pad[1] = c->pad[3] = pad[1];
    return TERN_OK;
}

/* A tree made from names does not say `groups`: so many as make the input fit. */
static tern_status read_groups(yolo_net *n, const tern_py *m, int64_t in, int64_t per_group, yolo_conv *c) {
    if (!n->from_names) {
        TN_TRY(yolo_attr_int(n, m, "groups", 1, 1 << 20, &c->groups));
    } else {
        c->groups = c->transposed || in % per_group ? 1 : in / per_group;
    }
    return TERN_OK;
}

static tern_status read_geometry(yolo_net *n, const tern_py *m, yolo_conv *c) {
    const char *mode = tern_py_to_str(tern_py_attr(m, "padding_mode"));
    if (mode && strcmp(mode, "zeros") != 0) {
        return yolo_fail(n, TERN_UNSUPPORTED, "padding_mode '%s' is not supported", mode);
    }
    TN_TRY(yolo_attr_pair(n, m, "stride", 1, 1000, c->stride));
    if (tern_py_attr(m, "dilation")) TN_TRY(yolo_attr_pair(n, m, "dilation", 1, 1000, c->dilation));
    TN_TRY(read_padding(n, m, c));
    if (c->transposed) TN_TRY(yolo_attr_pair(n, m, "output_padding", 0, 1000, c->out_pad));
    return TERN_OK;
}

static tern_status check_conv(yolo_net *n, int64_t in, const int64_t *dims, yolo_conv *c) {
    int64_t outer = dims[0], inner = dims[1], total;
    c->oc = c->transposed ? inner * c->groups : outer;
    if (!tn_mul_i64(inner, c->groups, &total)) total = 0;
    c->ic = c->transposed ? outer : total;
    if (c->ic != in || outer % c->groups) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH,
                         "%lld channels come in; weights of %lldx%lldx%lldx%lld in %lld groups do not fit",
                         (long long)in, (long long)dims[0], (long long)dims[1], (long long)dims[2], (long long)dims[3],
                         (long long)c->groups);
    }
    if (c->b && tern_tensor_count(c->b) != c->oc) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "the bias has %lld elements for %lld channels",
                         (long long)tern_tensor_count(c->b), (long long)c->oc);
    }
    return TERN_OK;
}

static tern_status read_conv(yolo_net *n, const tern_py *m, int64_t in, yolo_conv *c) {
    TN_TRY(yolo_attr_tensor(n, m, "weight", 4, &c->w));
    TN_TRY(yolo_attr_optional_tensor(n, m, "bias", 1, &c->b));
    const int64_t *dims = tern_tensor_dims(c->w);
    c->k[0] = dims[2];
    c->k[1] = dims[3];
    TN_TRY(read_groups(n, m, in, dims[1], c));
    TN_TRY(read_geometry(n, m, c));
    return check_conv(n, in, dims, c);
}

tern_status yolo_conv_read(yolo_net *n, const tern_py *m, int64_t in, yolo_conv *out) {
    const char *name = yolo_class(m);
    *out = (yolo_conv){.dilation = {1, 1}};
    out->transposed = strcmp(name, "ConvTranspose2d") == 0 || strcmp(name, "DWConvTranspose2d") == 0;
    if (!out->transposed && strcmp(name, "Conv2d") != 0) {
        return yolo_fail(n, TERN_UNSUPPORTED, "a convolution is expected where there is '%s'", name);
    }
    tern_status status = read_conv(n, m, in, out);
    if (status != TERN_OK) yolo_conv_release(out);
    return status;
}

static int64_t conv_size(const yolo_conv *c, int i, int64_t in) {
    int64_t span = c->dilation[i] * (c->k[i] - 1) + 1;
    if (c->transposed) return (in - 1) * c->stride[i] + span + c->out_pad[i] - c->pad[i] - c->pad[i + 2];
    int64_t room = in + c->pad[i] + c->pad[i + 2] - span;
    return room < 0 ? 0 : room / c->stride[i] + 1;
}

tern_status yolo_conv_emit(yolo_net *n, const yolo_conv *c, const yolo_value *x, yolo_value *out) {
    *out = (yolo_value){.name = n->next_name, .c = c->oc, .h = conv_size(c, 0, x->h), .w = conv_size(c, 1, x->w)};
    n->next_name = NULL;
    TN_TRY(yolo_check_size(n, out));
    const char *in[3] = {x->name};
    TN_TRY(yolo_weight(n, "weight", c->w, &in[1]));
    if (c->b) TN_TRY(yolo_weight(n, "bias", c->b, &in[2]));
    tern_attr attrs[] = {
        YOLO_INTS("kernel_shape", 2, c->k), YOLO_INTS("strides", 2, c->stride),
        YOLO_INTS("pads", 4, c->pad),       YOLO_INTS("dilations", 2, c->dilation),
        YOLO_INT("group", c->groups),       YOLO_INTS("output_padding", 2, c->out_pad),
    };
    return yolo_node(n, c->transposed ? "ConvTranspose" : "Conv", in, c->b ? 3 : 2, attrs, c->transposed ? 6 : 5,
                     &out->name);
}

/* The module before cut the picture into four of half the size, (even, even), (odd row, even column), (even, odd
 * column) and (odd, odd): phase g = row % 2 + 2 * (column % 2) has the channels [g * c, g * c + c). Tap (y, x) of phase
 * g is tap (2 y + row, 2 x + column) of a kernel that is twice as large and looks at the whole picture; zero padding of
 * the small pictures is twice as much of the large one. The same products in another order of summation. */
tern_status yolo_conv_unfocus(yolo_net *n, yolo_conv *c) {
    if (c->groups != 1 || c->dilation[0] != 1 || c->dilation[1] != 1 || c->transposed || c->ic % 4) {
        return yolo_fail(n, TERN_UNSUPPORTED, "the convolution of a Focus has groups, dilation or %lld channels",
                         (long long)c->ic);
    }
    int64_t ic = c->ic / 4, kh = c->k[0], kw = c->k[1];
    tern_tensor *w;
    TN_TRY(tern_tensor_create(&w, TERN_FLOAT, 4, (int64_t[]){c->oc, ic, 2 * kh, 2 * kw}, n->err));
    const float *src = tern_tensor_const_data(c->w);
    float *dst = tern_tensor_data(w);
    for (int64_t o = 0; o < c->oc; o++) {
        for (int64_t k = 0; k < c->ic; k++) {
            int64_t row = k / ic % 2, column = k / ic / 2;
            float *plane = dst + (o * ic + k % ic) * 4 * kh * kw;
            for (int64_t y = 0; y < kh; y++) {
                for (int64_t x = 0; x < kw; x++) plane[(2 * y + row) * 2 * kw + 2 * x + column] = *src++;
            }
        }
    }
    tern_tensor_free(c->w);
    c->w = w;
    c->ic = ic;
    for (int i = 0; i < 2; i++) {
        c->k[i] *= 2;
        c->stride[i] *= 2;
        c->pad[i] *= 2;
        c->pad[i + 2] *= 2;
    }
    return TERN_OK;
}

/* ---- normalisations -------------------------------------------------------------------------------------------- */

void yolo_norm_release(yolo_norm *b) {
    tern_tensor_free(b->gamma);
    tern_tensor_free(b->beta);
    tern_tensor_free(b->mean);
    tern_tensor_free(b->var);
    *b = (yolo_norm){0};
}

static tern_status read_norm(yolo_net *n, const tern_py *m, yolo_norm *b) {
    TN_TRY(yolo_attr_tensor(n, m, "running_mean", 1, &b->mean));
    TN_TRY(yolo_attr_tensor(n, m, "running_var", 1, &b->var));
    TN_TRY(yolo_attr_optional_tensor(n, m, "weight", 1, &b->gamma));
    TN_TRY(yolo_attr_optional_tensor(n, m, "bias", 1, &b->beta));
    TN_TRY(yolo_attr_real(n, m, "eps", &b->eps));
    b->c = tern_tensor_count(b->mean);
    if (!b->gamma) { // affine=False
        TN_TRY(tern_tensor_create(&b->gamma, TERN_FLOAT, 1, &b->c, n->err));
        for (int64_t i = 0; i < b->c; i++) ((float *)tern_tensor_data(b->gamma))[i] = 1;
    }
    if (!b->beta) TN_TRY(tern_tensor_create(&b->beta, TERN_FLOAT, 1, &b->c, n->err));
    if (tern_tensor_count(b->var) != b->c || tern_tensor_count(b->gamma) != b->c ||
        tern_tensor_count(b->beta) != b->c) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "the tensors of the batch normalisation differ in length");
    }
    const float *var = tern_tensor_const_data(b->var);
    for (int64_t i = 0; i < b->c; i++) {
        if (var[i] + b->eps > 0) continue;
        return yolo_fail(n, TERN_INVALID_FORMAT, "the variance of channel %lld is %g (eps %g)", (long long)i,
                         (double)var[i], b->eps);
    }
    return TERN_OK;
}

tern_status yolo_norm_read(yolo_net *n, const tern_py *m, yolo_norm *out) {
    *out = (yolo_norm){0};
    if (strcmp(yolo_class(m), "BatchNorm2d") != 0) {
        return yolo_fail(n, TERN_UNSUPPORTED, "a BatchNorm2d is expected where there is '%s'", yolo_class(m));
    }
    tern_status status = read_norm(n, m, out);
    if (status != TERN_OK) yolo_norm_release(out);
    return status;
}

tern_status yolo_conv_fold(yolo_net *n, yolo_conv *c, const yolo_norm *b, int64_t from) {
    if (c->transposed || from + c->oc > b->c) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "a normalisation of %lld channels after a convolution to %lld",
                         (long long)b->c, (long long)c->oc);
    }
    if (!c->b) TN_TRY(tern_tensor_create(&c->b, TERN_FLOAT, 1, &c->oc, n->err));
    const float *gamma = tern_tensor_const_data(b->gamma), *beta = tern_tensor_const_data(b->beta);
    const float *mean = tern_tensor_const_data(b->mean), *var = tern_tensor_const_data(b->var);
    float *w = tern_tensor_data(c->w), *bias = tern_tensor_data(c->b);
    int64_t each = tern_tensor_count(c->w) / c->oc;
    for (int64_t o = 0; o < c->oc; o++) {
        double scale = gamma[from + o] / sqrt((double)var[from + o] + b->eps);
        for (int64_t i = 0; i < each; i++) w[o * each + i] = (float)(w[o * each + i] * scale);
        bias[o] = (float)(((double)bias[o] - mean[from + o]) * scale + beta[from + o]);
    }
    return TERN_OK;
}

tern_status yolo_norm_emit(yolo_net *n, const yolo_norm *b, const yolo_value *x, yolo_value *out) {
    if (x->c != b->c) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "a normalisation of %lld channels after %lld channels",
                         (long long)b->c, (long long)x->c);
    }
    *out = *x;
    out->name = NULL;
    const char *in[5] = {x->name};
    TN_TRY(yolo_weight(n, "bn.weight", b->gamma, &in[1]));
    TN_TRY(yolo_weight(n, "bn.bias", b->beta, &in[2]));
    TN_TRY(yolo_weight(n, "bn.running_mean", b->mean, &in[3]));
    TN_TRY(yolo_weight(n, "bn.running_var", b->var, &in[4]));
    tern_attr eps = YOLO_FLOAT("epsilon", (float)b->eps);
    return yolo_node(n, "BatchNormalization", in, 5, &eps, 1, &out->name);
}

/* ---- both ------------------------------------------------------------------------------------------------------ */

static tern_status emit_pair(yolo_net *n, yolo_conv *c, const yolo_norm *b, bool focus, const yolo_value *x,
                             yolo_value *out) {
    bool fold = b && n->options->fuse && !c->transposed;
    if (b && b->c != c->oc) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "a normalisation of %lld channels after a convolution to %lld",
                         (long long)b->c, (long long)c->oc);
    }
    if (fold) TN_TRY(yolo_conv_fold(n, c, b, 0));
    if (focus) TN_TRY(yolo_conv_unfocus(n, c));
    yolo_value y;
    TN_TRY(yolo_conv_emit(n, c, x, &y));
    if (b && !fold) return yolo_norm_emit(n, b, &y, out);
    *out = y;
    return TERN_OK;
}

tern_status yolo_conv_norm(yolo_net *n, const tern_py *conv, const tern_py *norm, bool focus, const yolo_value *x,
                           yolo_value *out) {
    yolo_conv c;
    yolo_norm b = {0};
    TN_TRY(yolo_conv_read(n, conv, focus ? 4 * x->c : x->c, &c));
    tern_status status = norm ? yolo_norm_read(n, norm, &b) : TERN_OK;
    if (status == TERN_OK) status = emit_pair(n, &c, norm ? &b : NULL, focus, x, out);
    yolo_norm_release(&b);
    yolo_conv_release(&c);
    return status;
}

/* ---- linear ---------------------------------------------------------------------------------------------------- */

/* [out, in] to [in, out], what MatMul takes. */
static tern_status transposed(yolo_net *n, const tern_tensor *w, tern_tensor **out) {
    const int64_t *d = tern_tensor_dims(w);
    TN_TRY(tern_tensor_create(out, TERN_FLOAT, 2, (int64_t[]){d[1], d[0]}, n->err));
    const float *src = tern_tensor_const_data(w);
    float *dst = tern_tensor_data(*out);
    for (int64_t i = 0; i < d[0]; i++) {
        for (int64_t k = 0; k < d[1]; k++) dst[k * d[0] + i] = src[i * d[1] + k];
    }
    return TERN_OK;
}

static tern_status emit_linear(yolo_net *n, tern_tensor *w, tern_tensor *b, const char *x, int64_t in,
                               int64_t *out_features, const char **out) {
    const int64_t *d = tern_tensor_dims(w);
    if (d[1] != in || (b && tern_tensor_count(b) != d[0])) {
        return yolo_fail(n, TERN_SHAPE_MISMATCH, "a linear layer of %lldx%lld for %lld inputs", (long long)d[0],
                         (long long)d[1], (long long)in);
    }
    *out_features = d[0];
    tern_tensor *t;
    const char *weight, *bias, *product = NULL;
    TN_TRY(transposed(n, w, &t));
    tern_status status = yolo_weight(n, "weight", t, &weight);
    tern_tensor_free(t);
    TN_TRY(status);
    if (!b) return yolo_binary(n, "MatMul", x, weight, out);
    TN_TRY(yolo_binary(n, "MatMul", x, weight, &product));
    TN_TRY(yolo_weight(n, "bias", b, &bias));
    return yolo_binary(n, "Add", product, bias, out);
}

tern_status yolo_linear(yolo_net *n, const tern_py *m, const char *x, int64_t in, int64_t *out_features,
                        const char **out) {
    tern_tensor *w, *b = NULL;
    TN_TRY(yolo_attr_tensor(n, m, "weight", 2, &w));
    tern_status status = yolo_attr_optional_tensor(n, m, "bias", 1, &b);
    if (status == TERN_OK) status = emit_linear(n, w, b, x, in, out_features, out);
    tern_tensor_free(w);
    tern_tensor_free(b);
    return status;
}
