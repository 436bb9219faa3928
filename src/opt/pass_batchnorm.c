#include "opt/match.h"

#include <math.h>

/* What follows a convolution per channel becomes part of its weights: BatchNormalization, and multiplication or
 * addition of a constant per channel. With y = conv(x) the next node gives s[c] * y + t[c]: weights of output channel c
 * are scaled by s[c], its bias becomes s[c] * b[c] + t[c]. Computed in double. */

tern_status tn_pass_batchnorm(tn_opt *o);

typedef struct affine {
    int64_t channels;
    double *scale, *shift; /* channels each, from the scratch arena */
} affine;

static bool alloc_affine(tn_opt *o, affine *a, int64_t channels) {
    a->channels = channels;
    a->scale = tn_arena_array(&o->scratch, (size_t)channels + 1, sizeof *a->scale);
    a->shift = tn_arena_array(&o->scratch, (size_t)channels + 1, sizeof *a->shift);
    return a->scale && a->shift;
}

static const float *vector_of(const tn_value *v, int64_t channels) {
    const tern_tensor *t = tn_opt_const(v);
    return t && t->dtype == TERN_FLOAT && tn_shape_count(&t->shape) == channels ? t->data : NULL;
}

static bool batchnorm_affine(tn_opt *o, const tn_node *n, int64_t channels, affine *a) {
    if (n->n_in != 5 || tn_attr_i(n, "training_mode", 0) || (n->since < 7 && !tn_attr_i(n, "is_test", 0)) ||
        (n->since < 9 && !tn_attr_i(n, "spatial", 1)))
        return false;
    const float *s = vector_of(n->in[1], channels), *b = vector_of(n->in[2], channels);
    const float *mean = vector_of(n->in[3], channels), *var = vector_of(n->in[4], channels);
    if (!s || !b || !mean || !var || !alloc_affine(o, a, channels)) return false;
    double eps = tn_attr_f(n, "epsilon", 1e-5f);
    for (int64_t c = 0; c < channels; c++) {
        a->scale[c] = s[c] / sqrt((double)var[c] + eps);
        a->shift[c] = b[c] - mean[c] * a->scale[c];
        if (!isfinite(a->scale[c])) return false; /* leave odd statistics to the operator itself */
    }
    return true;
}

/* A constant of one element, or of one per channel in shape (C,1,..) or (1,C,1,..) for `spatial` dims behind it. */
static const float *per_channel(const tn_value *v, int64_t channels, int spatial, int *step) {
    const tern_tensor *t = tn_opt_const(v);
    if (!t || t->dtype != TERN_FLOAT || tn_shape_count(&t->shape) < 1) return NULL;
    int rank = t->shape.rank;
    if (rank > spatial + 2) return NULL;
    if (tn_shape_count(&t->shape) == 1) {
        *step = 0;
        return t->data;
    }
    int axis = rank - spatial - 1;
    if (axis < 0 || t->shape.dims[axis] != channels || tn_shape_count(&t->shape) != channels) return NULL;
    *step = 1;
    return t->data;
}

static bool arithmetic_affine(tn_opt *o, const tn_node *n, const tn_value *conv_out, int64_t channels, int spatial,
                              affine *a) {
    bool add = tn_opt_is(n, "", "Add"), sub = tn_opt_is(n, "", "Sub"), mul = tn_opt_is(n, "", "Mul"),
         div = tn_opt_is(n, "", "Div");
    if ((!add && !sub && !mul && !div) || n->since < 7) return false;
    int side = n->in[0] == conv_out ? 1 : 0, step;
    if ((sub || div) && side == 0) return false; /* constant - y, constant / y */
    const float *k = per_channel(n->in[side], channels, spatial, &step);
    if (!k || !alloc_affine(o, a, channels)) return false;
    for (int64_t c = 0; c < channels; c++) {
        double v = k[c * step];
        a->scale[c] = mul ? v : div ? 1 / v : 1;
        a->shift[c] = add ? v : sub ? -v : 0;
        if (!isfinite(a->scale[c])) return false;
    }
    return true;
}

/* Weights of output channel c times scale[c]. Of ConvTranspose they are (ic, oc / groups, ...). */
static void scale_weights(const tn_node *conv, const affine *a, const tn_shape *shape, float *w) {
    int64_t count = tn_shape_count(shape);
    bool transposed = tn_opt_is(conv, "", "ConvTranspose");
    int64_t per = tn_shape_count_range(shape, transposed ? 2 : 1, shape->rank), ocg = shape->dims[1];
    int64_t icg = shape->dims[0] / (transposed ? tn_attr_i(conv, "group", 1) : 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i / per;
        if (transposed) c = c / ocg / icg * ocg + c % ocg;
        w[i] = (float)(w[i] * a->scale[c]);
    }
}

/* New weights and bias for the convolution. */
static tern_status apply(tn_opt *o, int at, tn_node *conv, const affine *a, tn_node *next) {
    const tern_tensor *w = conv->in[1]->constant;
    const float *b = conv->n_in > 2 && conv->in[2] ? (const float *)conv->in[2]->constant->data : NULL;
    tern_tensor *nw, *nb;
    tn_shape bias_shape = tn_shape_of(1, &a->channels);
    TN_TRY(tn_tensor_new(&nw, TERN_FLOAT, &w->shape, o->err));
    tern_status s = tn_tensor_new(&nb, TERN_FLOAT, &bias_shape, o->err);
    if (s != TERN_OK) {
        tn_tensor_unref(nw);
        return s;
    }
    float *dst = nw->data, *bias = nb->data;
    memcpy(dst, w->data, tn_tensor_bytes(w)); /* which may be unaligned */
    scale_weights(conv, a, &w->shape, dst);
    for (int64_t c = 0; c < a->channels; c++) bias[c] = (float)((b ? b[c] : 0) * a->scale[c] + a->shift[c]);
    tn_value *vw = tn_opt_new_const(o, conv->in[1]->name, nw), *vb = tn_opt_new_const(o, "bias", nb);
    if (!vw || !vb) return TERN_OUT_OF_MEMORY;
    tn_node *n = tn_opt_replace(o, at, conv->domain, conv->op_type, conv->opset, 3, NULL);
    if (!n) return TERN_OUT_OF_MEMORY;
    n->name = conv->name;
    n->fused = conv->fused;
    n->attrs = conv->attrs;
    n->n_attrs = conv->n_attrs;
    n->op = conv->op;
    n->since = conv->since;
    n->in[0] = conv->in[0];
    n->in[1] = vw;
    n->in[2] = vb;
    n->out[0] = next->out[0];
    n->out[0]->producer = n;
    TN_TRY(tn_opt_note(o, n, next->op_type));
    /* The old two read and write nothing from here on. */
    next->out[0] = NULL;
    tn_opt_remove(next);
    conv->out[0] = NULL;
    tn_opt_remove(conv);
    return TERN_OK;
}

static bool constant_float(const tn_value *v) {
    const tern_tensor *t = tn_opt_const(v);
    return t && t->dtype == TERN_FLOAT;
}

/* Merges the next node into the convolution at `at` if it can be; says whether it did. */
static tern_status merge_next(tn_opt *o, int at, bool *merged) {
    tn_node *conv = o->graph->nodes[at];
    *merged = false;
    bool transposed = tn_opt_is(conv, "", "ConvTranspose");
    if ((!transposed && !tn_opt_is(conv, "", "Conv")) || !conv->out[0] || !constant_float(conv->in[1]) ||
        (conv->n_in > 2 && conv->in[2] && !constant_float(conv->in[2])))
        return TERN_OK;
    const tn_shape *ws = &conv->in[1]->constant->shape;
    tn_node *next = conv->out[0]->n_uses == 1 ? o->sole_user[conv->out[0]->id] : NULL;
    int64_t groups = tn_attr_i(conv, "group", 1), channels = 0;
    if (!next || ws->rank < 3 || ws->dims[0] < 1 || ws->dims[1] < 1 || groups < 1 || ws->dims[0] % groups ||
        !tn_mul_i64(transposed ? ws->dims[1] : ws->dims[0], transposed ? groups : 1, &channels))
        return TERN_OK;
    for (int i = 1; i < next->n_out; i++)
        if (next->out[i] && next->out[i]->n_uses) return TERN_OK;
    affine a;
    bool ok = tn_opt_is(next, "", "BatchNormalization") && next->in[0] == conv->out[0]
                  ? batchnorm_affine(o, next, channels, &a)
                  : arithmetic_affine(o, next, conv->out[0], channels, ws->rank - 2, &a);
    if (!ok) return TERN_OK;
    *merged = true;
    return apply(o, at, conv, &a, next);
}

/* Where there is no convolution to take it, a normalisation with constant statistics is a product and a sum. */
static tern_status to_scale_shift(tn_opt *o, int at) {
    tn_node *bn = o->graph->nodes[at];
    /* Others may have no input, and those that were merged have none any more. */
    if (!tn_opt_is(bn, "", "BatchNormalization") || !bn->in[0]) return TERN_OK;
    const tn_type *x = &bn->in[0]->type;
    affine a;
    if (x->dtype != TERN_FLOAT || !x->ranked || x->shape.rank < 2 || !tn_dim_known(x->shape.dims[1]) ||
        x->shape.dims[1] < 1 || !batchnorm_affine(o, bn, x->shape.dims[1], &a))
        return TERN_OK;
    for (int i = 1; i < bn->n_out; i++)
        if (bn->out[i] && bn->out[i]->n_uses) return TERN_OK;
    const double *from[2] = {a.scale, a.shift};
    tn_value *made[2];
    for (int k = 0; k < 2; k++) {
        tern_tensor *t;
        tn_shape shape = tn_shape_of(1, &a.channels);
        TN_TRY(tn_tensor_new(&t, TERN_FLOAT, &shape, o->err));
        for (int64_t c = 0; c < a.channels; c++) ((float *)t->data)[c] = (float)from[k][c];
        made[k] = tn_opt_new_const(o, bn->in[1 + k]->name, t);
        if (!made[k]) return TERN_OUT_OF_MEMORY;
    }
    tn_node *n = tn_opt_replace(o, at, "tern", "ScaleShift", 1, 3, bn);
    if (!n) return TERN_OUT_OF_MEMORY;
    n->n_out = 1;
    n->in[0] = bn->in[0];
    n->in[1] = made[0];
    n->in[2] = made[1];
    return tn_opt_note(o, n, "BatchNormalization");
}

tern_status tn_pass_batchnorm(tn_opt *o) {
    int n = o->graph->n_nodes;
    for (int i = 0; i < n; i++) {
        bool merged = true;
        /* After a merge the convolution stands where it was and writes what the next node wrote. */
        while (merged) {
            TN_TRY(merge_next(o, i, &merged));
            if (merged) {
                tn_value *out = o->graph->nodes[i]->out[0];
                if (out->id >= 0 && out->n_uses != 1) break;
            }
        }
    }
    for (int i = 0; i < n; i++) TN_TRY(to_scale_shift(o, i));
    return TERN_OK;
}
