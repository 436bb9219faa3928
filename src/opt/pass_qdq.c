#include "opt/match.h"

#include <math.h>

/* Quantised networks in Q/DQ form: DequantizeLinear around a float operator and QuantizeLinear behind it become the
 * integer operator that they describe. Besides being faster, sums are exact then, which is what such a network was
 * calibrated for: in float, results that lie between two steps may round the other way. */

tern_status tn_pass_qdq(tn_opt *o);

typedef struct quantised {
    tn_value *q, *scale, *zero;
} quantised;

static bool is_8_bit(const tn_value *v) { return v->type.dtype == TERN_UINT8 || v->type.dtype == TERN_INT8; }

static int64_t element_count(const tn_value *v) {
    const tern_tensor *t = tn_opt_const(v);
    return t ? tn_shape_count(&t->shape) : -1;
}

/* A zero point of 0 in the type of q, for nodes that leave it out. */
static tn_value *zero_point(tn_opt *o, const tn_value *q, tn_value *given) {
    if (given) return given;
    tern_tensor *t;
    tn_shape scalar = tn_shape_of(0, NULL);
    if (tn_tensor_new(&t, q->type.dtype, &scalar, o->err) != TERN_OK) return NULL;
    *(uint8_t *)t->data = 0;
    return tn_opt_new_const(o, "zero_point", t);
}

/* v = DequantizeLinear(q, scale, zero) with constant parameters; `elements` of them, 1: per tensor. */
static bool dequantised(const tn_value *v, int64_t elements, quantised *out) {
    const tn_node *n = v ? v->producer : NULL;
    if (!tn_opt_is(n, "", "DequantizeLinear") || tn_attr_i(n, "block_size", 0)) return false;
    tn_value *zero = n->n_in > 2 ? n->in[2] : NULL;
    const tern_tensor *scale = tn_opt_const(n->in[1]);
    if (!scale || scale->dtype != TERN_FLOAT || (zero && !tn_opt_const(zero))) return false;
    int64_t count = element_count(n->in[1]);
    if (count != 1 && count != elements) return false;
    if (zero && element_count(zero) != count) return false;
    *out = (quantised){n->in[0], n->in[1], zero};
    return true;
}

/* The QuantizeLinear to 8 bits, per tensor, that alone reads v. */
static tn_node *quantised_by(const tn_opt *o, const tn_value *v) {
    tn_node *q = v->n_uses == 1 ? o->sole_user[v->id] : NULL;
    if (!tn_opt_is(q, "", "QuantizeLinear") || q->in[0] != v || !is_8_bit(q->out[0])) return NULL;
    const tern_tensor *scale = tn_opt_const(q->in[1]);
    if (!scale || scale->dtype != TERN_FLOAT || element_count(q->in[1]) != 1) return NULL;
    return q->n_in > 2 && q->in[2] && element_count(q->in[2]) != 1 ? NULL : q;
}

/* Takes the place of node `at` and of the QuantizeLinear behind it. */
static tn_node *replace_with(tn_opt *o, int at, tn_node *q, const char *domain, const char *op_type, int opset,
                             int n_in) {
    tn_node *old = o->graph->nodes[at], *n = tn_opt_replace(o, at, domain, op_type, opset, n_in, NULL);
    if (!n) return NULL;
    n->name = old->name;
    n->out[0] = q->out[0];
    n->out[0]->producer = n;
    q->out[0] = NULL;
    tn_opt_remove(q);
    if (tn_opt_note(o, n, "DequantizeLinear, QuantizeLinear") != TERN_OK) return NULL;
    n->attrs = old->attrs;
    n->n_attrs = old->n_attrs;
    old->out[0] = NULL;
    tn_opt_remove(old);
    return n;
}

/* ---- Conv ------------------------------------------------------------------------------------------------------ */

/* Integer bias: its scale must be the product of the other two, which is what makes it addable to the sums. */
static bool integer_bias(const tn_value *bias, const quantised *x, const quantised *w, int64_t oc, quantised *out) {
    if (!dequantised(bias, oc, out) || out->q->type.dtype != TERN_INT32 || !tn_opt_const(out->q)) return false;
    const float *bs = tn_opt_const(out->scale)->data, *ws = tn_opt_const(w->scale)->data;
    float xs = *(const float *)tn_opt_const(x->scale)->data;
    int64_t nb = element_count(out->scale), nw = element_count(w->scale);
    for (int64_t c = 0; c < TN_MAX(nb, nw); c++) {
        double product = (double)xs * ws[nw == 1 ? 0 : c], scale = bs[nb == 1 ? 0 : c];
        if (!(fabs(product - scale) <= 1e-5 * fabs(scale))) return false;
    }
    if (!out->zero) return true;
    const int32_t *zero = tn_opt_const(out->zero)->data;
    for (int64_t c = 0; c < element_count(out->zero); c++)
        if (zero[c] != 0) return false;
    return true;
}

static tern_status match_conv(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at], *q = quantised_by(o, n->out[0]);
    quantised x, w, b = {0};
    if (!q || !dequantised(n->in[0], 1, &x) || !is_8_bit(x.q)) return TERN_OK;
    const tern_tensor *wt = n->in[1]->producer ? tn_opt_const(n->in[1]->producer->in[0]) : NULL;
    if (!wt || wt->shape.rank < 3 || !dequantised(n->in[1], wt->shape.dims[0], &w) || !is_8_bit(w.q)) return TERN_OK;
    int64_t oc = wt->shape.dims[0];
    if (element_count(w.scale) != 1 && tn_attr_i(n->in[1]->producer, "axis", 1) != 0) return TERN_OK;
    bool biased = n->n_in > 2 && n->in[2];
    if (biased && !integer_bias(n->in[2], &x, &w, oc, &b)) return TERN_OK;
    tn_value *in[9] = {x.q,
                       x.scale,
                       zero_point(o, x.q, x.zero),
                       w.q,
                       w.scale,
                       w.zero,
                       q->in[1],
                       zero_point(o, q->out[0], q->n_in > 2 ? q->in[2] : NULL),
                       b.q};
    if (!w.zero) in[5] = zero_point(o, w.q, NULL);
    if (!in[2] || !in[5] || !in[7]) return TERN_OUT_OF_MEMORY;
    if (element_count(in[5]) != element_count(w.scale) && element_count(in[5]) != 1) return TERN_OK;
    tn_node *c = replace_with(o, at, q, "", "QLinearConv", 10, biased ? 9 : 8);
    if (!c) return TERN_OUT_OF_MEMORY;
    memcpy(c->in, in, (size_t)c->n_in * sizeof *in);
    return TERN_OK;
}

/* ---- Add and GlobalAveragePool --------------------------------------------------------------------------------- */

static tern_status match_add(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at], *q = quantised_by(o, n->out[0]);
    quantised a, b;
    if (!q || !dequantised(n->in[0], 1, &a) || !dequantised(n->in[1], 1, &b)) return TERN_OK;
    if (!is_8_bit(a.q) || a.q->type.dtype != b.q->type.dtype || a.q->type.dtype != q->out[0]->type.dtype)
        return TERN_OK;
    tn_value *in[8] = {a.q,
                       a.scale,
                       zero_point(o, a.q, a.zero),
                       b.q,
                       b.scale,
                       zero_point(o, b.q, b.zero),
                       q->in[1],
                       zero_point(o, q->out[0], q->n_in > 2 ? q->in[2] : NULL)};
    if (!in[2] || !in[5] || !in[7]) return TERN_OUT_OF_MEMORY;
    tn_node *s = replace_with(o, at, q, "com.microsoft", "QLinearAdd", 1, 8);
    if (!s) return TERN_OUT_OF_MEMORY;
    memcpy(s->in, in, sizeof in);
    return TERN_OK;
}

static tern_status match_pool(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at], *q = quantised_by(o, n->out[0]);
    quantised x;
    if (!q || !dequantised(n->in[0], 1, &x) || !is_8_bit(x.q) || x.q->type.dtype != q->out[0]->type.dtype)
        return TERN_OK;
    tn_value *in[5] = {x.q, x.scale, zero_point(o, x.q, x.zero), q->in[1],
                       zero_point(o, q->out[0], q->n_in > 2 ? q->in[2] : NULL)};
    if (!in[2] || !in[4]) return TERN_OUT_OF_MEMORY;
    tn_node *p = replace_with(o, at, q, "com.microsoft", "QLinearGlobalAveragePool", 1, 5);
    if (!p) return TERN_OUT_OF_MEMORY;
    memcpy(p->in, in, sizeof in);
    return TERN_OK;
}

tern_status tn_pass_qdq(tn_opt *o) {
    bool has_add = tn_op_find("com.microsoft", "QLinearAdd", 1) != NULL;
    bool has_pool = tn_op_find("com.microsoft", "QLinearGlobalAveragePool", 1) != NULL;
    for (int i = 0; i < o->graph->n_nodes; i++) {
        const tn_node *n = o->graph->nodes[i];
        if (!n->out[0]) continue;
        if (tn_opt_is(n, "", "Conv")) TN_TRY(match_conv(o, i));
        if (has_add && tn_opt_is(n, "", "Add") && n->since >= 7) TN_TRY(match_add(o, i));
        if (has_pool && tn_opt_is(n, "", "GlobalAveragePool")) TN_TRY(match_pool(o, i));
    }
    return TERN_OK;
}
