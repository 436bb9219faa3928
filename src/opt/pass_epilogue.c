#include "opt/match.h"

#include <math.h>

/* What follows a convolution or matrix product elementwise moves into its epilogue: a bias (products; convolutions have
 * theirs by then), a residual sum, then an activation. */

tern_status tn_pass_epilogue(tn_opt *o);

typedef struct activation {
    const char *name; /* as the `act` attribute has it */
    float alpha, beta;
} activation;

static bool clip_activation(const tn_node *n, activation *a) {
    float lo, hi;
    if (!tn_opt_clip_bounds(n, &lo, &hi) || isnan(lo) || isnan(hi) || lo > hi) return false;
    *a = lo == 0 && hi == INFINITY ? (activation){"relu", 0, 0} : (activation){"clip", lo, hi};
    return true;
}

static bool activation_of(const tn_node *n, activation *a) {
    static const struct {
        const char *op, *act;
        float alpha, beta; /* defaults of the operator's attributes */
    } table[] = {
        {"Relu", "relu", 0, 0},           {"LeakyRelu", "leaky", 0.01f, 0}, {"Sigmoid", "sigmoid", 0, 0},
        {"Swish", "silu", 1, 0},          {"Tanh", "tanh", 0, 0},           {"HardSigmoid", "hardsigmoid", 0.2f, 0.5f},
        {"HardSwish", "hardswish", 0, 0}, {"Mish", "mish", 0, 0},           {"Elu", "elu", 1, 0}};
    if (*n->domain || n->n_out != 1 || !n->in[0]) return false;
    for (size_t i = 0; i < TN_COUNT(table); i++) {
        if (strcmp(n->op_type, table[i].op)) continue;
        *a = (activation){table[i].act, tn_attr_f(n, "alpha", table[i].alpha), tn_attr_f(n, "beta", table[i].beta)};
        return true;
    }
    if (strcmp(n->op_type, "Gelu") == 0) {
        *a = (activation){tn_attr_is(n, "approximate", "none", "tanh") ? "gelu_tanh" : "gelu", 0, 0};
        return true;
    }
    return clip_activation(n, a);
}

/* n writes what `next` wrote, and `next` is gone. */
static tern_status swallow(tn_opt *o, tn_node *n, tn_node *next) {
    tn_value *dead = n->out[0];
    TN_TRY(tn_opt_note(o, n, next->op_type));
    n->out[0] = next->out[0];
    n->out[0]->producer = n;
    dead->producer = NULL;
    next->out[0] = NULL;
    tn_opt_remove(next);
    return TERN_OK;
}

static bool same_known_shape(const tn_value *a, const tn_value *b) {
    if (!a->type.ranked || !b->type.ranked || a->type.dtype != b->type.dtype) return false;
    for (int i = 0; i < a->type.shape.rank; i++)
        if (a->type.shape.dims[i] == TN_DIM_UNKNOWN) return false;
    return tn_shape_equal(&a->type.shape, &b->type.shape);
}

static tern_status merge_residual(tn_opt *o, tn_node *n, tn_node *next, bool *merged) {
    if (!tn_opt_is(next, "", "Add") || next->since < 7 || n->in[3]) return TERN_OK;
    tn_value *other = next->in[0] == n->out[0] ? next->in[1] : next->in[0];
    if (other == n->out[0] || !same_known_shape(other, n->out[0])) return TERN_OK;
    /* A constant would hide from runtime/batch.c that it differs from sample to sample. */
    if (other->constant && tn_opt_is(n, "tern", "Gemm")) return TERN_OK;
    n->in[3] = other;
    if (o->sole_user[other->id] == next) o->sole_user[other->id] = n;
    *merged = true;
    return swallow(o, n, next);
}

/* A constant row. */
static tern_status merge_bias(tn_opt *o, tn_node *n, tn_node *next, bool *merged) {
    if (!tn_opt_is(next, "", "Add") || next->since < 7 || n->in[2] || tn_attr_f(n, "beta", 1) != 1) return TERN_OK;
    tn_value *other = next->in[0] == n->out[0] ? next->in[1] : next->in[0];
    const tern_tensor *row = tn_opt_const(other);
    const tn_shape *b = &n->in[1]->type.shape;
    if (!row || row->dtype != TERN_FLOAT || row->shape.rank != 1 ||
        row->shape.dims[0] != b->dims[tn_attr_i(n, "transB", 0) != 0 ? 0 : 1])
        return TERN_OK;
    n->in[2] = other;
    if (o->sole_user[other->id] == next) o->sole_user[other->id] = n;
    *merged = true;
    return swallow(o, n, next);
}

static tern_status merge_activation(tn_opt *o, tn_node *n, tn_node *next, bool *merged) {
    activation a;
    if (!activation_of(next, &a) || next->in[0] != n->out[0]) return TERN_OK;
    TN_TRY(tn_opt_set_s(o, n, "act", a.name));
    TN_TRY(tn_opt_set_f(o, n, "act_alpha", a.alpha));
    TN_TRY(tn_opt_set_f(o, n, "act_beta", a.beta));
    *merged = true;
    return swallow(o, n, next);
}

static tern_status merge_all(tn_opt *o, tn_node *n, bool takes_residual, bool takes_bias) {
    bool merged = true;
    while (merged && !tn_attr_find(n, "act")) {
        merged = false;
        tn_value *out = n->out[0];
        tn_node *next = out && out->n_uses == 1 ? o->sole_user[out->id] : NULL;
        if (!next || out->type.dtype != TERN_FLOAT) return TERN_OK;
        if (takes_bias) TN_TRY(merge_bias(o, n, next, &merged));
        if (takes_residual && !merged) TN_TRY(merge_residual(o, n, next, &merged));
        if (!merged) TN_TRY(merge_activation(o, n, next, &merged));
    }
    return TERN_OK;
}

tern_status tn_pass_epilogue(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        if (tn_opt_is(n, "tern", "Conv") || tn_opt_is(n, "tern", "ConvTranspose")) TN_TRY(merge_all(o, n, true, false));
        if (tn_opt_is(n, "tern", "Gemm")) TN_TRY(merge_all(o, n, true, true));
        if (tn_opt_is(n, "tern", "ScaleShift")) TN_TRY(merge_all(o, n, false, false));
    }
    return TERN_OK;
}
