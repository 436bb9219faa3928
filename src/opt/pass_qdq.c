#include "opt/match.h"

#include <math.h>

#include "kernels/q8.h"
#include "ops/fused.h"

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

/* What stands behind a float operator: perhaps Relu or Clip, then QuantizeLinear to 8 bits, per tensor. */
typedef struct tail {
    tn_node *act, *q;
    bool clamped;
    int32_t low, high; /* bounds of the quantised value, as stored */
} tail;

static float scalar_of(const tn_value *v) { return *(const float *)tn_opt_const(v)->data; }

/* The real bound as a quantised one: rounding is monotonic, so clamping before it is the same as after it. */
static int32_t quantised_bound(float bound, float scale, int32_t zero, int32_t min, int32_t max) {
    float v = rintf(bound / scale);
    return v <= (float)(min - zero) ? min : v >= (float)(max - zero) ? max : (int32_t)v + zero;
}

static void set_bounds(tail *t, float lo, float hi) {
    bool is_signed = t->q->out[0]->type.dtype == TERN_INT8;
    int32_t min = is_signed ? INT8_MIN : 0, max = is_signed ? INT8_MAX : UINT8_MAX, zero = 0;
    float scale = scalar_of(t->q->in[1]);
    const tern_tensor *z = t->q->n_in > 2 ? tn_opt_const(t->q->in[2]) : NULL;
    if (z) zero = is_signed ? *(const int8_t *)z->data : *(const uint8_t *)z->data;
    t->low = quantised_bound(lo, scale, zero, min, max);
    t->high = quantised_bound(hi, scale, zero, min, max);
    t->clamped = t->low > min || t->high < max;
}

/* The nodes, each the only reader of the one before, behind v. */
static bool find_tail(const tn_opt *o, const tn_value *v, tail *t) {
    float lo = -INFINITY, hi = INFINITY;
    *t = (tail){0};
    tn_node *n = v->n_uses == 1 ? o->sole_user[v->id] : NULL;
    bool relu = tn_opt_is(n, "", "Relu");
    if (n && n->in[0] == v && (relu || tn_opt_clip_bounds(n, &lo, &hi))) {
        if (relu) lo = 0;
        t->act = n;
        v = n->out[0];
        n = v && v->n_uses == 1 ? o->sole_user[v->id] : NULL;
    }
    if (!tn_opt_is(n, "", "QuantizeLinear") || n->in[0] != v || !is_8_bit(n->out[0])) return false;
    if (tn_attr_find(n, "precision")) return false;
    const tern_tensor *scale = tn_opt_const(n->in[1]);
    tn_value *zero = n->n_in > 2 ? n->in[2] : NULL;
    if (!scale || scale->dtype != TERN_FLOAT || element_count(n->in[1]) != 1 || !(*(const float *)scale->data > 0))
        return false;
    if (zero && element_count(zero) != 1) return false;
    t->q = n;
    if (t->act) set_bounds(t, lo, hi);
    return !(lo > hi);
}

/* Takes the place of node `at` and of its tail. */
static tn_node *replace_with(tn_opt *o, int at, const tail *t, const char *domain, const char *op_type, int opset,
                             int n_in) {
    tn_node *old = o->graph->nodes[at], *n = tn_opt_replace(o, at, domain, op_type, opset, n_in, NULL);
    if (!n) return NULL;
    n->name = old->name;
    n->out[0] = t->q->out[0];
    n->out[0]->producer = n;
    t->q->out[0] = NULL;
    tn_opt_remove(t->q);
    if (tn_opt_note(o, n, "DequantizeLinear, QuantizeLinear") != TERN_OK) return NULL;
    if (t->act && tn_opt_note(o, n, t->act->op_type) != TERN_OK) return NULL;
    if (t->act) tn_opt_remove(t->act);
    n->attrs = old->attrs;
    n->n_attrs = old->n_attrs;
    old->out[0] = NULL;
    tn_opt_remove(old);
    if (!t->clamped) return n;
    bool ok = tn_opt_set_i(o, n, "q_low", t->low) == TERN_OK && tn_opt_set_i(o, n, "q_high", t->high) == TERN_OK;
    return ok ? n : NULL;
}

/* Scale and zero point of the result. */
static bool set_result(tn_opt *o, const tail *t, tn_value **scale, tn_value **zero) {
    *scale = t->q->in[1];
    *zero = zero_point(o, t->q->out[0], t->q->n_in > 2 ? t->q->in[2] : NULL);
    return *zero != NULL;
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
    tn_node *n = o->graph->nodes[at];
    tail t;
    quantised x, w, b = {0};
    if (!find_tail(o, n->out[0], &t) || !dequantised(n->in[0], 1, &x) || !is_8_bit(x.q)) return TERN_OK;
    const tern_tensor *wt = n->in[1]->producer ? tn_opt_const(n->in[1]->producer->in[0]) : NULL;
    if (!wt || wt->shape.rank < 3 || !dequantised(n->in[1], wt->shape.dims[0], &w) || !is_8_bit(w.q)) return TERN_OK;
    int64_t oc = wt->shape.dims[0];
    if (element_count(w.scale) != 1 && tn_attr_i(n->in[1]->producer, "axis", 1) != 0) return TERN_OK;
    bool biased = n->n_in > 2 && n->in[2];
    if (biased && !integer_bias(n->in[2], &x, &w, oc, &b)) return TERN_OK;
    if (w.zero && element_count(w.zero) != element_count(w.scale) && element_count(w.zero) != 1) return TERN_OK;
    tn_value *in[9] = {x.q, x.scale, zero_point(o, x.q, x.zero), w.q, w.scale, zero_point(o, w.q, w.zero)};
    in[8] = b.q;
    if (!set_result(o, &t, &in[6], &in[7]) || !in[2] || !in[5]) return TERN_OUT_OF_MEMORY;
    /* Bounds need the blocked form. */
    if (t.clamped) {
        tn_node probe = *n;
        probe.op_type = "QLinearConv";
        probe.in = in;
        probe.n_in = biased ? 9 : 8;
        if (!tn_op_q8_conv_ok(&probe, TN_Q8_BLOCK)) return TERN_OK;
    }
    tn_node *c = replace_with(o, at, &t, t.clamped ? "tern" : "", t.clamped ? "QConv" : "QLinearConv",
                              t.clamped ? 1 : 10, biased ? 9 : 8);
    if (!c) return TERN_OUT_OF_MEMORY;
    memcpy(c->in, in, (size_t)c->n_in * sizeof *in);
    return TERN_OK;
}

/* ---- MatMul and Gemm ------------------------------------------------------------------------------------------- */

/* A float matrix product by a constant that was quantised as a whole or per column. */
static tern_status match_gemm(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    bool gemm = tn_opt_is(n, "", "Gemm"), trans_b = gemm && tn_attr_i(n, "transB", 0) != 0;
    tail t;
    quantised a, b, c = {0};
    if (!find_tail(o, n->out[0], &t) || !dequantised(n->in[0], 1, &a) || !is_8_bit(a.q)) return TERN_OK;
    if (gemm && (tn_attr_i(n, "transA", 0) || tn_attr_f(n, "alpha", 1) != 1 || tn_attr_f(n, "beta", 1) != 1))
        return TERN_OK;
    const tern_tensor *bt = n->in[1]->producer ? tn_opt_const(n->in[1]->producer->in[0]) : NULL;
    if (!bt || bt->shape.rank != 2 || !a.q->type.ranked || a.q->type.shape.rank < 2) return TERN_OK;
    int64_t columns = bt->shape.dims[trans_b ? 0 : 1], axis = tn_attr_i(n->in[1]->producer, "axis", 1);
    if (columns < 1 || bt->shape.dims[trans_b ? 1 : 0] < 1 || !dequantised(n->in[1], columns, &b) || !is_8_bit(b.q))
        return TERN_OK;
    if (element_count(b.scale) != 1 && (axis < 0 ? axis + 2 : axis) != (trans_b ? 0 : 1)) return TERN_OK;
    bool biased = gemm && n->n_in > 2 && n->in[2];
    if (biased && (!integer_bias(n->in[2], &a, &b, columns, &c) || tn_opt_const(c.q)->shape.rank != 1 ||
                   element_count(c.q) != columns))
        return TERN_OK;
    tn_value *in[9] = {a.q, a.scale, zero_point(o, a.q, a.zero), b.q, b.scale, zero_point(o, b.q, b.zero)};
    in[8] = c.q;
    if (!set_result(o, &t, &in[6], &in[7]) || !in[2] || !in[5]) return TERN_OUT_OF_MEMORY;
    tn_node *q = replace_with(o, at, &t, "tern", "QGemm", 1, biased ? 9 : 8);
    if (!q) return TERN_OUT_OF_MEMORY;
    memcpy(q->in, in, (size_t)q->n_in * sizeof *in);
    return TERN_OK;
}

/* ---- Add and GlobalAveragePool --------------------------------------------------------------------------------- */

/* (n, c, h, w) of bytes with c known: what the 8-bit kernels' blocks are made of. */
static bool is_byte_map(const tn_value *v) {
    return is_8_bit(v) && v->type.ranked && v->type.shape.rank == 4 && tn_dim_known(v->type.shape.dims[1]) &&
           v->type.shape.dims[1] > 0;
}

/* Dims that are equal for sure, symbols too. */
static bool same_shape(const tn_value *a, const tn_value *b) {
    if (a->type.shape.rank != b->type.shape.rank) return false;
    for (int i = 0; i < a->type.shape.rank; i++) {
        int64_t d = a->type.shape.dims[i];
        if (d != b->type.shape.dims[i] || d == TN_DIM_UNKNOWN) return false;
    }
    return true;
}

static tern_status match_add(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    tail t;
    quantised a, b;
    if (!find_tail(o, n->out[0], &t) || !dequantised(n->in[0], 1, &a) || !dequantised(n->in[1], 1, &b)) return TERN_OK;
    if (!is_byte_map(a.q) || !is_byte_map(b.q) || !same_shape(a.q, b.q)) return TERN_OK;
    tn_value *in[8] = {a.q, a.scale, zero_point(o, a.q, a.zero), b.q, b.scale, zero_point(o, b.q, b.zero)};
    if (!set_result(o, &t, &in[6], &in[7]) || !in[2] || !in[5]) return TERN_OUT_OF_MEMORY;
    tn_node *s = replace_with(o, at, &t, "tern", "QAdd", 1, 8);
    if (!s) return TERN_OUT_OF_MEMORY;
    memcpy(s->in, in, sizeof in);
    return TERN_OK;
}

static tern_status match_pool(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    tail t;
    quantised x;
    if (!find_tail(o, n->out[0], &t) || t.clamped || !dequantised(n->in[0], 1, &x) || !is_byte_map(x.q)) return TERN_OK;
    tn_value *in[5] = {x.q, x.scale, zero_point(o, x.q, x.zero)};
    if (!set_result(o, &t, &in[3], &in[4]) || !in[2]) return TERN_OUT_OF_MEMORY;
    tn_node *p = replace_with(o, at, &t, "tern", "QGlobalAveragePool", 1, 5);
    if (!p) return TERN_OUT_OF_MEMORY;
    memcpy(p->in, in, sizeof in);
    return TERN_OK;
}

/* ---- functions of one number ----------------------------------------------------------------------------------- */

static bool is_function(const tn_node *n) {
    static const char *const names[] = {"Relu", "Clip", "LeakyRelu", "PRelu",    "Sigmoid", "HardSigmoid", "HardSwish",
                                        "Tanh", "Elu",  "Selu",      "Softplus", "Mish",    "Gelu",        "Erf",
                                        "Exp",  "Sqrt", "Abs",       "Neg",      "Swish"};
    if (*n->domain || n->n_out != 1) return false;
    for (int i = 1; i < n->n_in; i++) { /* other operands: one constant number each */
        const tern_tensor *t = tn_opt_const(n->in[i]);
        if (n->in[i] && (!t || tn_shape_count(&t->shape) != 1 || t->shape.rank > 1)) return false;
    }
    for (size_t i = 0; i < TN_COUNT(names); i++)
        if (strcmp(n->op_type, names[i]) == 0) return true;
    return false;
}

/* What the nodes of `chain`, one after the other, make of all 256 bytes. */
static tern_status tabulate(tn_opt *o, tern_dtype dtype, tn_node *const *chain, int count, tern_tensor **out) {
    tn_shape shape = tn_shape_of(1, (const int64_t[]){256});
    tern_tensor *t;
    TN_TRY(tn_tensor_new(&t, dtype, &shape, o->err));
    for (int i = 0; i < 256; i++) ((uint8_t *)t->data)[i] = (uint8_t)i;
    for (int k = 0; k < count; k++) {
        tern_tensor *in[8] = {t}, *y[1] = {NULL};
        for (int i = 1; i < chain[k]->n_in && i < 8; i++) in[i] = chain[k]->in[i] ? chain[k]->in[i]->constant : NULL;
        tern_status s = tn_node_eval(chain[k], in, y, o->err);
        tn_tensor_unref(t);
        if (s != TERN_OK) return s;
        t = y[0];
    }
    *out = t;
    return TERN_OK;
}

static tern_status match_function(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    tail t;
    quantised x;
    if (!is_function(n) || n->n_in > 8 || !find_tail(o, n->out[0], &t) || !dequantised(n->in[0], 1, &x)) return TERN_OK;
    if (!is_8_bit(x.q) || n->in[0]->type.dtype != TERN_FLOAT) return TERN_OK;
    tn_node *chain[4] = {n->in[0]->producer, n};
    int count = 2;
    if (t.act) chain[count++] = t.act;
    chain[count++] = t.q;
    tern_tensor *table;
    TN_TRY(tabulate(o, x.q->type.dtype, chain, count, &table));
    tn_value *v = tn_opt_new_const(o, "table", table);
    if (!v) return TERN_OUT_OF_MEMORY;
    const char *name = n->op_type;
    t.clamped = false; /* it is in the table */
    tn_node *q = replace_with(o, at, &t, "tern", "QLookup", 1, 2);
    if (!q) return TERN_OUT_OF_MEMORY;
    q->in[0] = x.q;
    q->in[1] = v;
    return tn_opt_note(o, q, name);
}

tern_status tn_pass_qdq(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        const tn_node *n = o->graph->nodes[i];
        if (!n->out[0]) continue;
        if (tn_opt_is(n, "", "Conv")) TN_TRY(match_conv(o, i));
        if (tn_opt_is(n, "", "MatMul") || tn_opt_is(n, "", "Gemm")) TN_TRY(match_gemm(o, i));
        if (tn_opt_is(n, "", "Add") && n->since >= 7) TN_TRY(match_add(o, i));
        if (tn_opt_is(n, "", "GlobalAveragePool")) TN_TRY(match_pool(o, i));
        TN_TRY(match_function(o, i));
    }
    return TERN_OK;
}

/* ---- sums into convolutions ------------------------------------------------------------------------------------ */

tern_status tn_pass_q8_sum(tn_opt *o);

/* A convolution that only this sum reads, and that can take the other operand in its epilogue. */
static tn_node *addable(tn_value *v) {
    tn_node *c = v->n_uses == 1 ? v->producer : NULL;
    bool q = tn_opt_is(c, "", "QLinearConv") || tn_opt_is(c, "tern", "QConv");
    if (!q || c->n_in > 9 || !tn_op_q8_conv_ok(c, TN_Q8_BLOCK)) return NULL;
    bool depthwise = tn_attr_i(c, "group", 1) > 1 && tn_opt_const(c->in[3])->shape.dims[1] == 1;
    return depthwise ? NULL : c;
}

static tern_status fuse_sum(tn_opt *o, int at) {
    tn_node *s = o->graph->nodes[at], *c = addable(s->in[0]);
    int z = 3;
    if (!c) {
        c = addable(s->in[3]);
        z = 0;
    }
    if (!c || s->in[0] == s->in[3]) return TERN_OK;
    tn_node *n = tn_opt_replace(o, at, "tern", "QConv", 1, 14, s);
    if (!n) return TERN_OUT_OF_MEMORY;
    n->name = c->name;
    n->fused = c->fused;
    TN_TRY(tn_opt_note(o, n, "Add"));
    memcpy(n->in, c->in, (size_t)c->n_in * sizeof *n->in);
    n->in[6] = s->in[6];
    n->in[7] = s->in[7];
    memcpy(n->in + 9, s->in + z, 3 * sizeof *n->in);
    n->in[12] = c->in[6];
    n->in[13] = c->in[7];
    n->attrs = c->attrs;
    n->n_attrs = c->n_attrs;
    int64_t any = INT64_MIN, low = tn_attr_i(c, "q_low", any), high = tn_attr_i(c, "q_high", any);
    if (low != any) TN_TRY(tn_opt_set_i(o, n, "mid_low", low));
    if (high != any) TN_TRY(tn_opt_set_i(o, n, "mid_high", high));
    /* The bounds of the sum; those of the convolution have become those in the middle. */
    bool y_signed = n->out[0]->type.dtype == TERN_INT8;
    if (low != any) TN_TRY(tn_opt_set_i(o, n, "q_low", tn_attr_i(s, "q_low", y_signed ? INT8_MIN : 0)));
    if (high != any) TN_TRY(tn_opt_set_i(o, n, "q_high", tn_attr_i(s, "q_high", y_signed ? INT8_MAX : UINT8_MAX)));
    if (low == any && tn_attr_find(s, "q_low")) TN_TRY(tn_opt_set_i(o, n, "q_low", tn_attr_i(s, "q_low", 0)));
    if (high == any && tn_attr_find(s, "q_high")) TN_TRY(tn_opt_set_i(o, n, "q_high", tn_attr_i(s, "q_high", 0)));
    tn_opt_remove(s);
    c->out[0] = NULL;
    tn_opt_remove(c);
    return TERN_OK;
}

tern_status tn_pass_q8_sum(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++)
        if (tn_opt_is(o->graph->nodes[i], "tern", "QAdd")) TN_TRY(fuse_sum(o, i));
    return TERN_OK;
}
