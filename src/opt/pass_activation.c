#include "opt/match.h"

#include <math.h>

/* Activations written out by exporters become the one operator that they are: SiLU, HardSigmoid, HardSwish, GELU.
 * The parts vanish as dead nodes. */

tern_status tn_pass_activation(tn_opt *o);

static bool near(float a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static bool is_float(const tn_value *v) { return v->type.kind == TERN_KIND_TENSOR && v->type.dtype == TERN_FLOAT; }

/* clip(x + 3, 0, 6): returns x. */
static tn_value *relu6_of_x_plus_3(const tn_value *v) {
    tn_node *clip = tn_opt_sole_producer(v, "", "Clip");
    float lo, hi, three;
    tn_value *x;
    if (!clip || !tn_opt_clip_bounds(clip, &lo, &hi) || lo != 0 || hi != 6) return NULL;
    tn_node *add = tn_opt_sole_producer(clip->in[0], "", "Add");
    return add && tn_opt_scalar_operand(add, &three, &x) && three == 3 ? x : NULL;
}

/* Whether n divides its other operand by 6. */
static bool divides_by_6(const tn_node *n, tn_value **other) {
    float number;
    if (!tn_opt_scalar_operand(n, &number, other)) return false;
    if (tn_opt_is(n, "", "Div")) return number == 6 && n->in[0] == *other;
    return tn_opt_is(n, "", "Mul") && near(number, 1.0 / 6);
}

/* `first`: the version in which the operator came. Where the model has an older one, nothing changes. */
static tern_status become(tn_opt *o, int at, const char *op_type, int first, tn_value *x, const char *note,
                          tn_node **made) {
    if (made) *made = NULL;
    if (!tn_opt_may_write(o, first)) return TERN_OK;
    tn_node *n = tn_opt_replace(o, at, "", op_type, first, 1, o->graph->nodes[at]);
    if (!n) return TERN_OUT_OF_MEMORY;
    n->in[0] = x;
    n->since = first;
    if (made) *made = n;
    return tn_opt_note(o, n, note);
}

static tern_status hard_sigmoid(tn_opt *o, int at, tn_value *x) {
    tn_node *n;
    TN_TRY(become(o, at, "HardSigmoid", 6, x, "Add, Clip, Div", &n));
    if (!n) return TERN_OK;
    TN_TRY(tn_opt_set_f(o, n, "alpha", 1.0f / 6));
    return tn_opt_set_f(o, n, "beta", 0.5f);
}

/* x * g where g is computed from x alone. */
static tern_status match_gate(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    for (int i = 0; i < 2; i++) {
        tn_value *x = n->in[1 - i];
        tn_node *g = tn_opt_sole_producer(n->in[i], "", "Sigmoid");
        if (g && g->in[0] == x) return become(o, at, "Swish", 24, x, "Sigmoid, Mul", NULL);
        g = tn_opt_sole_producer(n->in[i], "", "HardSigmoid");
        if (g && g->in[0] == x && near(tn_attr_f(g, "alpha", 0.2f), 1.0 / 6) && tn_attr_f(g, "beta", 0.5f) == 0.5f)
            return become(o, at, "HardSwish", 14, x, "HardSigmoid, Mul", NULL);
    }
    return TERN_OK;
}

/* (x * clip(x + 3, 0, 6)) / 6, or clip(x + 3, 0, 6) / 6. */
static tern_status match_sixth(tn_opt *o, int at) {
    tn_value *v, *x;
    if (!divides_by_6(o->graph->nodes[at], &v)) return TERN_OK;
    if ((x = relu6_of_x_plus_3(v))) return hard_sigmoid(o, at, x);
    tn_node *mul = tn_opt_sole_producer(v, "", "Mul");
    for (int i = 0; mul && i < 2; i++)
        if ((x = relu6_of_x_plus_3(mul->in[i])) && mul->in[1 - i] == x)
            return become(o, at, "HardSwish", 14, x, "Add, Clip, Mul, Div", NULL);
    return TERN_OK;
}

/* 1 + erf(x / sqrt 2): returns x. */
static tn_value *one_plus_erf(const tn_value *v) {
    float number;
    tn_value *e, *x;
    tn_node *add = tn_opt_sole_producer(v, "", "Add");
    if (!add || !tn_opt_scalar_operand(add, &number, &e) || number != 1) return NULL;
    tn_node *erf = tn_opt_sole_producer(e, "", "Erf");
    tn_node *div = erf && erf->in[0]->n_uses == 1 ? erf->in[0]->producer : NULL;
    if (!div || !tn_opt_scalar_operand(div, &number, &x)) return NULL;
    if (tn_opt_is(div, "", "Div") && div->in[0] == x && near(number, M_SQRT2)) return x;
    return tn_opt_is(div, "", "Mul") && near(number, M_SQRT1_2) ? x : NULL;
}

/* The product of x, 1 + erf(x / sqrt 2) and 0.5 in any grouping. */
static tern_status match_gelu(tn_opt *o, int at) {
    tn_node *n = o->graph->nodes[at];
    float half;
    tn_value *v, *x;
    if (tn_opt_scalar_operand(n, &half, &v) && half == 0.5f) { /* (x * e) * 0.5 */
        tn_node *mul = tn_opt_sole_producer(v, "", "Mul");
        for (int i = 0; mul && i < 2; i++)
            if ((x = one_plus_erf(mul->in[i])) && mul->in[1 - i] == x) return become(o, at, "Gelu", 20, x, "Erf", NULL);
        return TERN_OK;
    }
    for (int i = 0; i < 2; i++) {
        tn_value *other = n->in[1 - i], *inner;
        tn_node *mul;
        if ((x = one_plus_erf(n->in[i]))) { /* (x * 0.5) * e */
            mul = tn_opt_sole_producer(other, "", "Mul");
            if (mul && tn_opt_scalar_operand(mul, &half, &inner) && half == 0.5f && inner == x)
                return become(o, at, "Gelu", 20, x, "Erf", NULL);
        }
        mul = tn_opt_sole_producer(n->in[i], "", "Mul"); /* x * (e * 0.5) */
        if (mul && tn_opt_scalar_operand(mul, &half, &inner) && half == 0.5f && one_plus_erf(inner) == other)
            return become(o, at, "Gelu", 20, other, "Erf", NULL);
    }
    return TERN_OK;
}

tern_status tn_pass_activation(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        bool mul = tn_opt_is(n, "", "Mul"), div = tn_opt_is(n, "", "Div");
        if ((!mul && !div) || n->n_in != 2 || !is_float(n->out[0])) continue;
        TN_TRY(match_sixth(o, i));
        if (mul && o->graph->nodes[i] == n) TN_TRY(match_gate(o, i));
        if (mul && o->graph->nodes[i] == n) TN_TRY(match_gelu(o, i));
    }
    return TERN_OK;
}
