/* Operators that an older version does not have, put together from what it has. The formulas are those by which the
 * standard defines them as functions. */
#include "opt/opset_internal.h"

/* A chain of nodes that is being written; `failed` is sticky, and then the error is set. */
typedef struct chain {
    tn_adapt *a;
    tern_dtype dtype; /* of constants */
    bool failed;
} chain;

static tern_status failed(const chain *c) { return c->a->o.err ? c->a->o.err->status : TERN_OUT_OF_MEMORY; }

static tern_status start(chain *c, tn_adapt *a) {
    const tn_value *x = tn_adapt_in(a, 0);
    *c = (chain){.a = a, .dtype = x ? x->type.dtype : TERN_UNDEFINED};
    if (c->dtype == TERN_UNDEFINED)
        return tn_adapt_fail(a, "it is not there yet, and can be put together only for a type that is known");
    return TERN_OK;
}

static tn_value *put(chain *c, const char *op, tn_value *const *in, int n, tn_value *out, tn_node **made) {
    for (int i = 0; i < n && !c->failed; i++)
        if (!in[i]) {
            tn_adapt_fail(c->a, "it lacks an input that the operator needs");
            c->failed = true;
        }
    tn_type type = {.kind = TERN_KIND_TENSOR, .dtype = c->dtype};
    if (!c->failed && !out) out = tn_adapt_value(c->a, c->a->node->out[0]->name, &type);
    tn_value *v = c->failed || !out ? NULL : tn_adapt_node(c->a, op, in, n, out, made);
    if (!v) c->failed = true;
    return v;
}

static tn_value *one(chain *c, const char *op, tn_value *x) { return put(c, op, &x, 1, NULL, NULL); }
static tn_value *two(chain *c, const char *op, tn_value *x, tn_value *y) {
    return put(c, op, (tn_value *[]){x, y}, 2, NULL, NULL);
}
static tn_value *number(chain *c, double value) {
    tn_value *v = c->failed ? NULL : tn_adapt_float(c->a, c->dtype, value, 0);
    if (!v) c->failed = true;
    return v;
}

/* The last node gives what the replaced one gave. */
static tern_status finish(chain *c, const char *op, tn_value *x, tn_value *y) {
    put(c, op, (tn_value *[]){x, y}, y ? 2 : 1, c->a->node->out[0], NULL);
    return c->failed ? failed(c) : tn_adapt_remove(c->a);
}

/* x * max(0, min(1, x / 6 + 1 / 2)) */
tern_status tn_adapt_hard_swish_down(tn_adapt *a) {
    chain c;
    tn_node *made = NULL;
    TN_TRY(start(&c, a));
    tn_value *x = a->node->in[0], *gate = put(&c, "HardSigmoid", &x, 1, NULL, &made);
    if (made) {
        TN_TRY(tn_opt_set_f(&a->o, made, "alpha", 1.0f / 6));
        TN_TRY(tn_opt_set_f(&a->o, made, "beta", 0.5f));
    }
    return finish(&c, "Mul", x, gate);
}

tern_status tn_adapt_mish_down(tn_adapt *a) {
    chain c;
    TN_TRY(start(&c, a));
    tn_value *x = a->node->in[0];
    return finish(&c, "Mul", x, one(&c, "Tanh", one(&c, "Softplus", x)));
}

/* x * sigmoid(alpha * x) */
tern_status tn_adapt_swish_down(tn_adapt *a) {
    chain c;
    TN_TRY(start(&c, a));
    tn_value *x = a->node->in[0];
    float alpha = tn_attr_f(a->node, "alpha", 1);
    tn_value *inner = alpha == 1 ? x : two(&c, "Mul", x, number(&c, (double)alpha));
    return finish(&c, "Mul", x, one(&c, "Sigmoid", inner));
}

/* max(0, x) + min(0, alpha * (exp(x / alpha) - 1)), which is alpha * elu(x / alpha) */
tern_status tn_adapt_celu_down(tn_adapt *a) {
    chain c;
    TN_TRY(start(&c, a));
    double alpha = (double)tn_attr_f(a->node, "alpha", 1);
    tn_value *elu = one(&c, "Elu", two(&c, "Div", a->node->in[0], number(&c, alpha)));
    return finish(&c, "Mul", elu, number(&c, alpha));
}

tern_status tn_adapt_gelu_down(tn_adapt *a) {
    chain c;
    TN_TRY(start(&c, a));
    tn_value *x = a->node->in[0], *half = number(&c, 0.5), *gate;
    if (tn_attr_is(a->node, "approximate", "none", "tanh")) {
        tn_value *cube = two(&c, "Mul", two(&c, "Mul", x, x), x);
        tn_value *sum = two(&c, "Add", x, two(&c, "Mul", cube, number(&c, 0.044715)));
        gate = one(&c, "Tanh", two(&c, "Mul", sum, number(&c, 0.7978845608028654)));
    } else {
        gate = one(&c, "Erf", two(&c, "Mul", x, number(&c, 0.7071067811865476)));
    }
    return finish(&c, "Mul", two(&c, "Mul", x, half), two(&c, "Add", gate, number(&c, 1)));
}

/* a >= b, which is false when either is NaN: so not "not less". */
tern_status tn_adapt_or_equal_down(tn_adapt *a) {
    tn_value *strict = tn_adapt_node(a, a->node->op_type[0] == 'G' ? "Greater" : "Less", a->node->in, 2, NULL, NULL);
    tn_value *equal = strict ? tn_adapt_node(a, "Equal", a->node->in, 2, NULL, NULL) : NULL;
    if (!equal) return TERN_OUT_OF_MEMORY;
    if (!tn_adapt_node(a, "Or", (tn_value *[]){strict, equal}, 2, a->node->out[0], NULL)) return TERN_OUT_OF_MEMORY;
    return tn_adapt_remove(a);
}

/* ---- normalisation --------------------------------------------------------------------------------------------- */

static tn_value *mean(chain *c, tn_value *x, const int64_t *axes, int n) {
    tn_node *made = NULL;
    tn_value *in[] = {x, NULL};
    int n_in = 1;
    if (c->a->at >= 18) { /* axes are an input there */
        in[1] = tn_adapt_i64(c->a, axes, n, 1);
        n_in = 2;
    }
    tn_value *v = put(c, "ReduceMean", in, n_in, NULL, &made);
    if (made && n_in == 1 && tn_opt_set_ints(&c->a->o, made, "axes", axes, (size_t)n) != TERN_OK) c->failed = true;
    return v;
}

/* The axes from `axis` to the last one. */
static tern_status last_axes(tn_adapt *a, int64_t *axes, int *count) {
    int rank = tn_adapt_rank(a->node->in[0]);
    int64_t axis = tn_attr_i(a->node, "axis", -1);
    if (rank < 0 || !tn_adapt_axis(&axis, rank) || axis >= rank)
        return tn_adapt_fail(a, "it is not there yet, and the rank of its input is not known");
    *count = 0;
    for (int64_t i = axis; i < rank; i++) axes[(*count)++] = i;
    return TERN_OK;
}

static tern_status want_float32(tn_adapt *a, const chain *c) {
    return c->dtype == TERN_FLOAT || c->dtype == TERN_DOUBLE
               ? TERN_OK
               : tn_adapt_fail(a, "it is not there yet, and computes in float32 on %s", tn_dtype_name(c->dtype));
}

tern_status tn_adapt_layer_norm_down(tn_adapt *a) {
    chain c;
    int64_t axes[TERN_MAX_RANK];
    int n;
    TN_TRY(start(&c, a));
    TN_TRY(want_float32(a, &c));
    TN_TRY(last_axes(a, axes, &n));
    tn_value *x = a->node->in[0], *middle = mean(&c, x, axes, n), *centred = two(&c, "Sub", x, middle);
    tn_value *variance = mean(&c, two(&c, "Mul", centred, centred), axes, n);
    tn_value *eps = number(&c, (double)tn_attr_f(a->node, "epsilon", 1e-5f));
    tn_value *deviation = one(&c, "Sqrt", two(&c, "Add", variance, eps)), *normal = two(&c, "Div", centred, deviation);
    if (a->node->n_out > 1 && a->node->out[1]) put(&c, "Identity", &middle, 1, a->node->out[1], NULL);
    if (a->node->n_out > 2 && a->node->out[2]) put(&c, "Reciprocal", &deviation, 1, a->node->out[2], NULL);
    if (!tn_adapt_in(a, 2)) return finish(&c, "Mul", normal, a->node->in[1]);
    return finish(&c, "Add", two(&c, "Mul", normal, a->node->in[1]), a->node->in[2]);
}

tern_status tn_adapt_rms_norm_down(tn_adapt *a) {
    chain c;
    int64_t axes[TERN_MAX_RANK];
    int n;
    TN_TRY(start(&c, a));
    TN_TRY(want_float32(a, &c));
    TN_TRY(last_axes(a, axes, &n));
    tn_value *x = a->node->in[0], *square = mean(&c, two(&c, "Mul", x, x), axes, n);
    tn_value *eps = number(&c, (double)tn_attr_f(a->node, "epsilon", 1e-5f));
    tn_value *normal = two(&c, "Div", x, one(&c, "Sqrt", two(&c, "Add", square, eps)));
    return finish(&c, "Mul", normal, a->node->in[1]);
}

/* x as (n, groups, rest), normalised per group, then scaled per channel. */
tern_status tn_adapt_group_norm_down(tn_adapt *a) {
    chain c;
    TN_TRY(start(&c, a));
    TN_TRY(want_float32(a, &c));
    int rank = tn_adapt_rank(a->node->in[0]);
    int64_t groups = tn_attr_i(a->node, "num_groups", 0), split[] = {0, groups, -1}, per_channel[TERN_MAX_RANK];
    if (rank < 2 || groups < 1 || groups > 1 << 24) return tn_adapt_fail(a, "it needs an input of known rank");
    tn_shape list = {.rank = 1, .dims = {groups}};
    tern_tensor *ones, *zeros;
    TN_TRY(tn_tensor_new(&ones, c.dtype, &list, a->o.err));
    tn_value *unit = tn_opt_new_const(&a->o, "ones", ones);
    TN_TRY(tn_tensor_new(&zeros, c.dtype, &list, a->o.err));
    tn_value *nothing = tn_opt_new_const(&a->o, "zeros", zeros);
    if (!unit || !nothing) return TERN_OUT_OF_MEMORY;
    memset(zeros->data, 0, tn_tensor_bytes(zeros));
    for (int64_t i = 0; i < groups; i++) {
        if (c.dtype == TERN_FLOAT) ((float *)ones->data)[i] = 1;
        if (c.dtype == TERN_DOUBLE) ((double *)ones->data)[i] = 1;
    }
    for (int i = 0; i < rank - 1; i++) per_channel[i] = i ? 1 : -1;
    tn_value *x = a->node->in[0], *shape = one(&c, "Shape", x);
    if (shape) shape->type = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = TERN_INT64};
    tn_node *norm = NULL;
    tn_value *grouped = two(&c, "Reshape", x, tn_adapt_i64(a, split, 3, 1));
    tn_value *normal = put(&c, "InstanceNormalization", (tn_value *[]){grouped, unit, nothing}, 3, NULL, &norm);
    if (norm) TN_TRY(tn_opt_set_f(&a->o, norm, "epsilon", tn_attr_f(a->node, "epsilon", 1e-5f)));
    normal = two(&c, "Reshape", normal, shape);
    tn_value *scale = two(&c, "Reshape", a->node->in[1], tn_adapt_i64(a, per_channel, rank - 1, 1));
    tn_value *bias = two(&c, "Reshape", a->node->in[2], tn_adapt_i64(a, per_channel, rank - 1, 1));
    return finish(&c, "Add", two(&c, "Mul", normal, scale), bias);
}

/* Scale and bias were per group: each is repeated for the channels of its group. */
tern_status tn_adapt_group_norm_up(tn_adapt *a) {
    int64_t groups = tn_attr_i(a->node, "num_groups", 0), flat = -1;
    if (tn_adapt_rank(a->node->in[0]) < 2 || groups < 1 || !tn_dim_known(a->node->in[0]->type.shape.dims[1]))
        return tn_adapt_fail(a, "it needs a known number of channels");
    int64_t wide[] = {groups, a->node->in[0]->type.shape.dims[1] / groups}, tall[] = {groups, 1};
    for (int i = 1; i <= 2; i++) {
        chain c;
        TN_TRY(start(&c, a));
        tn_value *column = two(&c, "Reshape", a->node->in[i], tn_adapt_i64(a, tall, 2, 1));
        tn_value *all = two(&c, "Expand", column, tn_adapt_i64(a, wide, 2, 1));
        tn_value *list = two(&c, "Reshape", all, tn_adapt_i64(a, &flat, 1, 1));
        if (c.failed) return failed(&c);
        TN_TRY(tn_adapt_set_input(a, i, list));
    }
    return TERN_OK;
}

/* ---- indices and shapes ---------------------------------------------------------------------------------------- */

/* The indices, where negative: with the depth added (they count from the back since opset 11), or out of range. */
static tern_status one_hot(tn_adapt *a, bool add) {
    tn_value *indices = a->node->in[0], *depth = a->node->in[1];
    const tern_tensor *known = tn_adapt_const(indices);
    tern_dtype dtype = indices->type.dtype;
    bool negative = !known;
    for (int64_t i = 0; known && i < tn_shape_count(&known->shape); i++) negative |= tn_tensor_get_f64(known, i) < 0;
    if (!negative || tn_type_in(dtype, TN_TYPES_UINT)) return TERN_OK;
    if (dtype != TERN_INT64 && dtype != TERN_INT32 && dtype != TERN_FLOAT)
        return tn_adapt_fail(a, "negative indices have another meaning there");
    chain c = {.a = a, .dtype = dtype};
    tn_node *cast = NULL;
    int64_t zero = 0;
    tn_value *d = put(&c, "Cast", &depth, 1, NULL, &cast), *nil;
    if (cast) TN_TRY(tn_opt_set_i(&a->o, cast, "to", dtype));
    if (dtype == TERN_FLOAT) {
        nil = tn_adapt_float(a, TERN_FLOAT, 0, 0);
    } else {
        nil = tn_adapt_i64(a, &zero, 1, 0);
        tn_node *to = NULL;
        if (dtype == TERN_INT32) nil = put(&c, "Cast", &nil, 1, NULL, &to);
        if (to) TN_TRY(tn_opt_set_i(&a->o, to, "to", dtype));
    }
    /* What is below the range stays out of range: the depth itself, where neither version finds a place. */
    for (int round = add ? 0 : 1; round < 2; round++) {
        tn_value *below = two(&c, "Less", indices, nil), *instead = round == 0 ? two(&c, "Add", indices, d) : d;
        if (below) below->type.dtype = TERN_BOOL;
        indices = put(&c, "Where", (tn_value *[]){below, instead, indices}, 3, NULL, NULL);
    }
    return c.failed ? failed(&c) : tn_adapt_set_input(a, 0, indices);
}

tern_status tn_adapt_one_hot_up(tn_adapt *a) { return one_hot(a, false); }

tern_status tn_adapt_one_hot_down(tn_adapt *a) {
    TN_TRY(one_hot(a, true));
    /* -1, the last axis of the output, was there from the beginning. */
    const tn_attr *axis = tn_attr_find(a->node, "axis");
    if (!axis || axis->i >= -1) return TERN_OK;
    int64_t positive = axis->i;
    int rank = tn_adapt_rank(a->node->in[0]);
    if (rank < 0) rank = tn_adapt_rank(a->node->out[0]) - 1;
    if (rank < 0 || !tn_adapt_axis(&positive, rank + 1)) return tn_adapt_fail(a, "its axis needs a known rank");
    return tn_opt_set_i(&a->o, a->node, "axis", positive);
}

/* A part of the shape: all of it, then a slice. */
tern_status tn_adapt_shape_down(tn_adapt *a) {
    const tn_attr *first = tn_attr_find(a->node, "start"), *last = tn_attr_find(a->node, "end");
    int64_t start_at = first ? first->i : 0, end_at = last ? last->i : INT64_MAX, zero = 0;
    if (!first && !last) return TERN_OK;
    tn_type type = {.kind = TERN_KIND_TENSOR, .dtype = TERN_INT64};
    tn_value *out = a->node->out[0], *whole = tn_adapt_value(a, out->name, &type);
    tn_value *from = tn_adapt_i64(a, &start_at, 1, 1), *to = tn_adapt_i64(a, &end_at, 1, 1),
             *axis = tn_adapt_i64(a, &zero, 1, 1);
    if (!whole || !from || !to || !axis ||
        !tn_adapt_node(a, "Slice", (tn_value *[]){whole, from, to, axis}, 4, out, NULL))
        return TERN_OUT_OF_MEMORY;
    a->node->out[0] = whole;
    whole->producer = a->node;
    tn_adapt_drop_attr(a->node, "start");
    tn_adapt_drop_attr(a->node, "end");
    return TERN_OK;
}
