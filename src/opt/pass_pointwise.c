#include "opt/match.h"

#include <math.h>

#include "kernels/conv.h"
#include "ops/fused.h"

/* Two 1x1 convolutions with nothing between them, as linear bottlenecks (Sandler et al., MobileNetV2, 2018) have them
 * where there is no residual sum, are one, with the product of their weights: B (A x + a) + b = (B A) x + (B a + b).
 * Done where it is less work, in double. */

tern_status tn_pass_pointwise(tn_opt *o);

/* Multiply-adds for the product of the weights: what loading a model may spend on it. */
#define MOST_WORK 0x1p22

/* Of a pixel, in multiply-adds: of less than two vectors of outputs, loading x takes as long. */
static double cost(const tn_opt *o, int64_t ic, int64_t oc) {
    int64_t b = tn_conv_block(o->tier);
    return (double)ic * (double)TN_MAX(tn_round_up(oc, b / 2), 2 * b);
}

/* The weights of a 1x1 convolution of one group, (oc, ic, 1, 1); NULL: it is none. */
static const tern_tensor *pointwise_weights(const tn_node *n) {
    if (!tn_opt_is(n, "tern", "Conv") || n->n_in != 4 || n->n_out != 1 || tn_attr_i(n, "group", 1) != 1 ||
        !tn_opt_all_are(n, "kernel_shape", 1) || !tn_opt_all_are(n, "pads", 0))
        return NULL;
    const tern_tensor *w = tn_opt_const(n->in[1]);
    bool known = w && w->dtype == TERN_FLOAT && w->shape.rank == 4 && w->shape.dims[2] == 1 && w->shape.dims[3] == 1;
    return known && (!n->in[2] || tn_opt_const(n->in[2])) ? w : NULL;
}

/* Numbers as they lie in a file, maybe unaligned. */
static float number_at(const tern_tensor *t, int64_t i) {
    float f;
    memcpy(&f, (const char *)t->data + i * (int64_t)sizeof f, sizeof f);
    return f;
}

/* Row i of the product, and its bias. `row`: ic + 1 numbers. False: some are not finite. */
static bool product_row(const tern_tensor *a, const tern_tensor *a_bias, const tern_tensor *b,
                        const tern_tensor *b_bias, int64_t i, double *row) {
    int64_t mid = a->shape.dims[0], ic = a->shape.dims[1];
    memset(row, 0, (size_t)(ic + 1) * sizeof *row);
    for (int64_t m = 0; m < mid; m++) {
        double f = (double)number_at(b, i * mid + m);
        for (int64_t c = 0; c < ic; c++) row[c] += f * (double)number_at(a, m * ic + c);
        if (a_bias) row[ic] += f * (double)number_at(a_bias, m);
    }
    if (b_bias) row[ic] += (double)number_at(b_bias, i);
    for (int64_t c = 0; c <= ic; c++)
        if (!isfinite((float)row[c])) return false;
    return true;
}

/* Fills w (oc, ic, 1, 1) and bias (oc). */
static tern_status multiply(tn_opt *o, const tn_node *first, const tn_node *second, tern_tensor *w, tern_tensor *bias,
                            bool *finite) {
    const tern_tensor *a = tn_opt_const(first->in[1]), *b = tn_opt_const(second->in[1]);
    const tern_tensor *a_bias = tn_opt_const(first->in[2]), *b_bias = tn_opt_const(second->in[2]);
    int64_t oc = w->shape.dims[0], ic = w->shape.dims[1];
    double *row = tn_arena_array(&o->scratch, (size_t)ic + 1, sizeof *row);
    if (!row) return tn_fail_oom(o->err, (size_t)ic * sizeof *row);
    *finite = true;
    for (int64_t i = 0; i < oc && *finite; i++) {
        *finite = product_row(a, a_bias, b, b_bias, i, row);
        for (int64_t c = 0; c < ic; c++) ((float *)w->data)[i * ic + c] = (float)row[c];
        ((float *)bias->data)[i] = (float)row[ic];
    }
    return TERN_OK;
}

static tern_status merge(tn_opt *o, tn_node *first, tn_node *second) {
    const tern_tensor *a = tn_opt_const(first->in[1]), *b = tn_opt_const(second->in[1]);
    tn_shape shape = b->shape, bias_shape = tn_shape_of(1, b->shape.dims);
    shape.dims[1] = a->shape.dims[1];
    tern_tensor *w, *bias = NULL;
    TN_TRY(tn_tensor_new(&w, TERN_FLOAT, &shape, o->err));
    tern_status s = tn_tensor_new(&bias, TERN_FLOAT, &bias_shape, o->err);
    bool finite = false;
    if (s == TERN_OK) s = multiply(o, first, second, w, bias, &finite);
    if (s != TERN_OK || !finite) {
        tn_tensor_unref(w);
        tn_tensor_unref(bias);
        return s;
    }
    tn_value *vw = tn_opt_new_const(o, second->in[1]->name, w), *vb = tn_opt_new_const(o, "bias", bias);
    if (!vw || !vb) return TERN_OUT_OF_MEMORY;
    second->in[0] = first->in[0];
    if (o->sole_user[first->in[0]->id] == first) o->sole_user[first->in[0]->id] = second;
    second->in[1] = vw;
    second->in[2] = vb;
    tn_opt_remove(first);
    return tn_opt_note(o, second, "Conv");
}

static tern_status visit(tn_opt *o, tn_node *second) {
    const tern_tensor *b = pointwise_weights(second);
    tn_node *first = b ? tn_opt_sole_producer(second->in[0], "tern", "Conv") : NULL;
    const tern_tensor *a = first ? pointwise_weights(first) : NULL;
    tn_act act;
    if (!a || first->in[3] || !tn_opt_all_are(first, "strides", 1) || !tn_op_act(first, &act) ||
        act.kind != TN_ACT_NONE)
        return TERN_OK;
    int64_t ic = a->shape.dims[1], mid = a->shape.dims[0], oc = b->shape.dims[0];
    if (b->shape.dims[1] != mid || (double)ic * (double)mid * (double)oc > MOST_WORK ||
        cost(o, ic, oc) > cost(o, ic, mid) + cost(o, mid, oc))
        return TERN_OK;
    return merge(o, first, second);
}

tern_status tn_pass_pointwise(tn_opt *o) {
    int n = o->graph->n_nodes;
    for (int i = 0; i < n; i++) TN_TRY(visit(o, o->graph->nodes[i]));
    return TERN_OK;
}
