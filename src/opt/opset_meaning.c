/* Operators whose meaning or attributes changed. */
#include "opt/opset_internal.h"

#define OOM TERN_OUT_OF_MEMORY

/* ---- broadcasting before opset 7 ------------------------------------------------------------------------------- */

/* B stood against the dims of A from `axis` on: today that is B with ones behind it. */
tern_status tn_adapt_broadcast_up(tn_adapt *a) {
    bool broadcast = tn_attr_i(a->node, "broadcast", 0) != 0;
    const tn_attr *attr = tn_attr_find(a->node, "axis");
    int64_t axis = attr ? attr->i : 0;
    tn_adapt_drop_attr(a->node, "broadcast");
    tn_adapt_drop_attr(a->node, "axis");
    if (!broadcast || !attr) return TERN_OK;
    int ra = tn_adapt_rank(a->node->in[0]), rb = tn_adapt_rank(a->node->in[1]);
    if (ra < 0 || rb < 0 || !tn_adapt_axis(&axis, ra))
        return tn_adapt_fail(a, "its axis of broadcasting needs inputs of known rank");
    int64_t axes[TERN_MAX_RANK], behind = ra - axis - rb;
    if (behind <= 0) return TERN_OK;
    if (behind > TERN_MAX_RANK) return tn_adapt_fail(a, "its axis of broadcasting is out of range");
    for (int64_t i = 0; i < behind; i++) axes[i] = rb + i;
    tn_node *made;
    tn_value *b = tn_adapt_node(a, "Unsqueeze", &a->node->in[1], 1, NULL, &made);
    if (!b) return OOM;
    TN_TRY(tn_opt_set_ints(&a->o, made, "axes", axes, (size_t)behind));
    return tn_adapt_set_input(a, 1, b);
}

/* Whether b's dims are the last ones of a, or b has one element. */
static bool is_suffix(const tn_type *a, const tn_type *b) {
    int64_t count;
    if (tn_shape_count_checked(&b->shape, &count) && count == 1 && b->shape.rank <= a->shape.rank) return true;
    for (int i = 1; i <= b->shape.rank; i++)
        if (i > a->shape.rank || b->shape.dims[b->shape.rank - i] != a->shape.dims[a->shape.rank - i] ||
            b->shape.dims[b->shape.rank - i] == TN_DIM_UNKNOWN)
            return false;
    return true;
}

static bool same_shape(const tn_type *a, const tn_type *b) {
    return a->ranked && b->ranked && a->shape.rank == b->shape.rank && is_suffix(a, b) && is_suffix(b, a);
}

tern_status tn_adapt_broadcast_down(tn_adapt *a) {
    const tn_value *x = tn_adapt_in(a, 0), *y = tn_adapt_in(a, 1);
    if (!x || !y) return TERN_OK;
    if (same_shape(&x->type, &y->type)) return TERN_OK;
    if (x->type.ranked && y->type.ranked && is_suffix(&x->type, &y->type))
        return tn_opt_set_i(&a->o, a->node, "broadcast", 1);
    return tn_adapt_fail(a, "only the second input may be broadcast there, and only by its last dims");
}

tern_status tn_adapt_same_shapes_down(tn_adapt *a) {
    for (int i = 1; i < a->node->n_in; i++)
        if (!a->node->in[i] || !same_shape(&a->node->in[0]->type, &a->node->in[i]->type))
            return tn_adapt_fail(a, "its inputs must have one shape there");
    return TERN_OK;
}

tern_status tn_adapt_gemm_up(tn_adapt *a) {
    tn_adapt_drop_attr(a->node, "broadcast");
    return TERN_OK;
}

tern_status tn_adapt_gemm_down(tn_adapt *a) { return tn_opt_set_i(&a->o, a->node, "broadcast", 1); }

/* C may be left out since: zero. */
tern_status tn_adapt_gemm_down_11(tn_adapt *a) {
    if (tn_adapt_in(a, 2)) return TERN_OK;
    tern_dtype dtype = a->node->in[0]->type.dtype;
    if (dtype == TERN_UNDEFINED) return tn_adapt_fail(a, "it needs a third input there, of a type that is not known");
    return tn_adapt_set_input(a, 2, tn_adapt_float(a, dtype, 0, 1));
}

/* A slope per channel stood against dim 1. */
tern_status tn_adapt_prelu_up(tn_adapt *a) {
    int rx = tn_adapt_rank(a->node->in[0]), rs = tn_adapt_rank(a->node->in[1]);
    if (rx < 0 || rs < 0) return tn_adapt_fail(a, "its inputs need known ranks");
    if (rs != 1 || rx <= 2 || a->node->in[1]->type.shape.dims[0] == 1) return TERN_OK;
    int64_t axes[TERN_MAX_RANK];
    for (int i = 0; i < rx - 2; i++) axes[i] = i + 1;
    tn_node *made;
    tn_value *slope = tn_adapt_node(a, "Unsqueeze", &a->node->in[1], 1, NULL, &made);
    if (!slope) return OOM;
    TN_TRY(tn_opt_set_ints(&a->o, made, "axes", axes, (size_t)(rx - 2)));
    return tn_adapt_set_input(a, 1, slope);
}

/* ---- training that is gone ------------------------------------------------------------------------------------- */

tern_status tn_adapt_drop_is_test(tn_adapt *a) {
    tn_adapt_drop_attr(a->node, "is_test");
    return TERN_OK;
}

tern_status tn_adapt_set_is_test(tn_adapt *a) { return tn_opt_set_i(&a->o, a->node, "is_test", 1); }

static int wanted_outputs(const tn_node *n) {
    int count = 0;
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i]) count = i + 1;
    return count;
}

tern_status tn_adapt_batchnorm_up_7(tn_adapt *a) {
    if (wanted_outputs(a->node) > 1) return tn_adapt_fail(a, "training of normalisation has another form there");
    tn_adapt_drop_attr(a->node, "is_test");
    return TERN_OK;
}

tern_status tn_adapt_batchnorm_down_7(tn_adapt *a) {
    TN_TRY(tn_opt_set_i(&a->o, a->node, "is_test", 1));
    static const int64_t hint[] = {0, 0, 0, 1, 1}; /* version 1 wants it */
    return a->target < 6 ? tn_opt_set_ints(&a->o, a->node, "consumed_inputs", hint, 5) : TERN_OK;
}

tern_status tn_adapt_batchnorm_up_9(tn_adapt *a) {
    if (!tn_attr_i(a->node, "spatial", 1)) return tn_adapt_fail(a, "it normalises per element (spatial = 0)");
    tn_adapt_drop_attr(a->node, "spatial");
    return TERN_OK;
}

tern_status tn_adapt_batchnorm_up_14(tn_adapt *a) {
    return wanted_outputs(a->node) > 1 ? tn_adapt_fail(a, "training of normalisation has another form there") : TERN_OK;
}

tern_status tn_adapt_batchnorm_down_14(tn_adapt *a) {
    if (tn_attr_i(a->node, "training_mode", 0)) return tn_adapt_fail(a, "it trains (training_mode)");
    tn_adapt_drop_attr(a->node, "training_mode");
    return TERN_OK;
}

/* The mask was of the input's type. */
static tern_status cast_mask(tn_adapt *a, tern_dtype now, tern_dtype wanted) {
    tn_value *mask = a->node->n_out > 1 ? a->node->out[1] : NULL;
    if (!mask) return TERN_OK;
    if (wanted == TERN_UNDEFINED || now == TERN_UNDEFINED)
        return tn_adapt_fail(a, "its mask has a type that is not known");
    tn_type type = mask->type;
    type.dtype = now;
    tn_value *other = tn_adapt_value(a, mask->name, &type);
    tn_node *made;
    if (!other || !tn_adapt_node(a, "Cast", &other, 1, mask, &made)) return OOM;
    a->node->out[1] = other;
    other->producer = a->node;
    return tn_opt_set_i(&a->o, made, "to", wanted);
}

tern_status tn_adapt_mask_up(tn_adapt *a) { return cast_mask(a, TERN_BOOL, a->node->in[0]->type.dtype); }
tern_status tn_adapt_mask_down(tn_adapt *a) { return cast_mask(a, a->node->in[0]->type.dtype, TERN_BOOL); }

tern_status tn_adapt_dropout_up(tn_adapt *a) {
    const tn_attr *ratio = tn_attr_find(a->node, "ratio");
    if (!ratio) return TERN_OK;
    TN_TRY(tn_adapt_set_input(a, 1, tn_adapt_float(a, TERN_FLOAT, (double)ratio->f, 0)));
    tn_adapt_drop_attr(a->node, "ratio");
    return TERN_OK;
}

tern_status tn_adapt_dropout_down(tn_adapt *a) {
    const tern_tensor *ratio = tn_adapt_const(tn_adapt_in(a, 1)), *training = tn_adapt_const(tn_adapt_in(a, 2));
    if (tn_adapt_in(a, 2) && (!training || tn_tensor_get_f64(training, 0) != 0))
        return tn_adapt_fail(a, "it may train (training_mode)");
    tn_adapt_drop_attr(a->node, "seed");
    if (a->node->n_in > 2) a->node->in[2] = NULL;
    if (!tn_adapt_in(a, 1)) return TERN_OK;
    if (ratio) TN_TRY(tn_opt_set_f(&a->o, a->node, "ratio", (float)tn_tensor_get_f64(ratio, 0)));
    a->node->in[1] = NULL; /* without training, the ratio changes nothing */
    return TERN_OK;
}

/* ---- types as text, floats as integers ------------------------------------------------------------------------- */

static const char *const type_names[] = {"UNDEFINED", "FLOAT",  "UINT8", "INT8",    "UINT16", "INT16",  "INT32",
                                         "INT64",     "STRING", "BOOL",  "FLOAT16", "DOUBLE", "UINT32", "UINT64"};

tern_status tn_adapt_cast_up_6(tn_adapt *a) {
    tn_str to = tn_attr_s(a->node, "to", "");
    for (size_t i = 1; i < TN_COUNT(type_names); i++) {
        if (!tn_str_eq(to, tn_str_c(type_names[i]))) continue;
        tn_adapt_drop_attr(a->node, "to");
        return tn_opt_set_i(&a->o, a->node, "to", (int64_t)i);
    }
    return tn_adapt_fail(a, "it casts to '%.*s', which is no type", (int)TN_MIN(to.len, (size_t)40), to.data);
}

tern_status tn_adapt_cast_down_6(tn_adapt *a) {
    int64_t to = tn_attr_i(a->node, "to", 0);
    if (to < 1 || to >= (int64_t)TN_COUNT(type_names))
        return tn_adapt_fail(a, "it casts to a type that is not there yet");
    tn_adapt_drop_attr(a->node, "to");
    return tn_opt_set_s(&a->o, a->node, "to", type_names[to]);
}

/* `saturate` concerns the types of 8 bits alone. */
tern_status tn_adapt_cast_down_19(tn_adapt *a) {
    int64_t to = tn_attr_i(a->node, "to", 0);
    if (to < TERN_FLOAT8E4M3FN) tn_adapt_drop_attr(a->node, "saturate");
    return TERN_OK;
}

tern_status tn_adapt_cast_like_down(tn_adapt *a) {
    const tn_value *like = tn_adapt_in(a, 1);
    tern_dtype to = like ? like->type.dtype : TERN_UNDEFINED;
    tn_node *made;
    if (to == TERN_UNDEFINED)
        return tn_adapt_fail(a, "it is not there yet, and the type that it casts to is not known");
    if (!tn_adapt_node(a, "Cast", a->node->in, 1, a->node->out[0], &made)) return OOM;
    TN_TRY(tn_opt_set_i(&a->o, made, "to", to));
    return tn_adapt_remove(a);
}

tern_status tn_adapt_p_up(tn_adapt *a) {
    const tn_attr *p = tn_attr_find(a->node, "p");
    if (!p || p->type != TN_ATTR_FLOAT) return TERN_OK;
    int64_t whole = p->f >= 1 && p->f < 1e6f ? (int64_t)p->f : 0;
    if ((float)whole != p->f) return tn_adapt_fail(a, "its p is %g, and must be a whole number", (double)p->f);
    return tn_opt_set_i(&a->o, a->node, "p", whole);
}

tern_status tn_adapt_p_down(tn_adapt *a) {
    return tn_opt_set_f(&a->o, a->node, "p", (float)tn_attr_i(a->node, "p", 2));
}

/* value_float and the like became a tensor. */
tern_status tn_adapt_constant_down_12(tn_adapt *a) {
    static const char *const names[] = {"value_float", "value_floats", "value_int",
                                        "value_ints",  "value_string", "value_strings"};
    const tn_attr *at = NULL;
    for (size_t i = 0; !at && i < TN_COUNT(names); i++) at = tn_attr_find(a->node, names[i]);
    if (!at) return TERN_OK;
    bool list = at->type == TN_ATTR_FLOATS || at->type == TN_ATTR_INTS || at->type == TN_ATTR_STRINGS;
    bool text = at->type == TN_ATTR_STRING || at->type == TN_ATTR_STRINGS,
         real = at->type == TN_ATTR_FLOAT || at->type == TN_ATTR_FLOATS;
    tn_shape shape = {.rank = list, .dims = {(int64_t)at->count}};
    tern_tensor *t;
    TN_TRY(tn_tensor_new(&t, text ? TERN_STRING : real ? TERN_FLOAT : TERN_INT64, &shape, a->o.err));
    if (text) memset(t->data, 0, tn_tensor_bytes(t));
    tern_status status = tn_model_own_tensor(a->o.model, t, a->o.err);
    for (size_t i = 0; status == TERN_OK && i < at->count; i++) {
        const tn_str *s = list ? &at->strings[i] : &at->s;
        if (text)
            status = tn_tensor_set_string(t, (int64_t)i, s->data, s->len, a->o.err);
        else if (real)
            ((float *)t->data)[i] = list ? at->floats[i] : at->f;
        else
            ((int64_t *)t->data)[i] = list ? at->ints[i] : at->i;
    }
    TN_TRY(status);
    tn_adapt_drop_attr(a->node, at->name);
    tn_attr *value = tn_node_add_attr(a->node, "value", TN_ATTR_TENSOR);
    if (!value) return OOM;
    value->t = t;
    return TERN_OK;
}

/* ---- Softmax and its like -------------------------------------------------------------------------------------- */

/* Before opset 13, all dims from `axis` on were one. */
tern_status tn_adapt_softmax_up(tn_adapt *a) {
    tn_value *x = a->node->in[0], *out = a->node->out[0];
    int64_t axis = tn_attr_i(a->node, "axis", 1);
    int rank = tn_adapt_rank(x);
    if (!tn_adapt_axis(&axis, rank))
        return tn_adapt_fail(a, "its axis is negative, and the rank of its input is not known");
    if (rank >= 0 && axis == rank - 1) return tn_opt_set_i(&a->o, a->node, "axis", -1);
    tn_node *flatten;
    tn_value *flat = tn_adapt_node(a, "Flatten", &x, 1, NULL, &flatten),
             *shape = tn_adapt_node(a, "Shape", &x, 1, NULL, NULL);
    tn_value *soft = tn_adapt_value(a, out->name, NULL);
    if (!flat || !shape || !soft) return OOM;
    TN_TRY(tn_opt_set_i(&a->o, flatten, "axis", axis));
    if (!tn_adapt_node(a, "Reshape", (tn_value *[]){soft, shape}, 2, out, NULL)) return OOM;
    a->node->in[0] = flat;
    a->node->out[0] = soft;
    soft->producer = a->node;
    return tn_opt_set_i(&a->o, a->node, "axis", -1);
}

/* The axis goes to the end, where both meanings agree. */
tern_status tn_adapt_softmax_down(tn_adapt *a) {
    tn_value *x = a->node->in[0], *out = a->node->out[0];
    int64_t axis = tn_attr_i(a->node, "axis", -1), perm[TERN_MAX_RANK];
    int rank = tn_adapt_rank(x);
    if (rank < 0 || !tn_adapt_axis(&axis, rank) || axis >= TN_MAX(rank, 1))
        return tn_adapt_fail(a, "the rank of its input is not known");
    if (rank == 0) return tn_adapt_fail(a, "its input is a scalar");
    TN_TRY(tn_opt_set_i(&a->o, a->node, "axis", rank - 1));
    if (axis == rank - 1) return TERN_OK;
    for (int i = 0; i < rank; i++) perm[i] = i;
    perm[axis] = rank - 1;
    perm[rank - 1] = axis;
    tn_type type = x->type;
    type.shape.dims[axis] = x->type.shape.dims[rank - 1];
    type.shape.dims[rank - 1] = x->type.shape.dims[axis];
    tn_value *turned = tn_adapt_value(a, out->name, &type), *soft = tn_adapt_value(a, out->name, &type);
    tn_node *there, *back;
    if (!turned || !soft || !tn_adapt_node(a, "Transpose", &x, 1, turned, &there) ||
        !tn_adapt_node(a, "Transpose", &soft, 1, out, &back))
        return OOM;
    TN_TRY(tn_opt_set_ints(&a->o, there, "perm", perm, (size_t)rank));
    TN_TRY(tn_opt_set_ints(&a->o, back, "perm", perm, (size_t)rank));
    a->node->in[0] = turned;
    a->node->out[0] = soft;
    soft->producer = a->node;
    return TERN_OK;
}

/* ---- Resize and Upsample --------------------------------------------------------------------------------------- */

/* Known scales of all dims; false when there are none. */
static bool known_scales(const tn_value *v, float *scales, int *count) {
    const tern_tensor *t = tn_adapt_const(v);
    if (!t || t->dtype != TERN_FLOAT || t->shape.rank != 1 || t->shape.dims[0] > TERN_MAX_RANK) return false;
    *count = (int)t->shape.dims[0];
    for (int i = 0; i < *count; i++) scales[i] = ((const float *)t->data)[i];
    return true;
}

static tn_value *float_list(tn_adapt *a, const float *values, int count) {
    tn_shape shape = {.rank = 1, .dims = {count}};
    tern_tensor *t;
    if (tn_tensor_new(&t, TERN_FLOAT, &shape, a->o.err) != TERN_OK) return NULL;
    if (count) memcpy(t->data, values, (size_t)count * sizeof *values);
    return tn_opt_new_const(&a->o, "scales", t);
}

tern_status tn_adapt_upsample_up_7(tn_adapt *a) {
    float scales[] = {1, 1, tn_attr_f(a->node, "height_scale", 1), tn_attr_f(a->node, "width_scale", 1)};
    tn_attr *attr = tn_node_add_attr(a->node, "scales", TN_ATTR_FLOATS);
    float *copy = tn_arena_array(&a->o.model->arena, 4, sizeof *copy);
    if (!attr || !copy) return tn_fail_oom(a->o.err, sizeof scales);
    memcpy(copy, scales, sizeof scales);
    attr->floats = copy;
    attr->count = 4;
    tn_adapt_drop_attr(a->node, "height_scale");
    tn_adapt_drop_attr(a->node, "width_scale");
    return TERN_OK;
}

tern_status tn_adapt_upsample_down_7(tn_adapt *a) {
    size_t count;
    const float *scales = tn_attr_floats(a->node, "scales", &count);
    if (count != 4 || scales[0] != 1 || scales[1] != 1) return tn_adapt_fail(a, "it may change height and width only");
    float h = scales[2], w = scales[3];
    tn_adapt_drop_attr(a->node, "scales");
    TN_TRY(tn_opt_set_f(&a->o, a->node, "height_scale", h));
    return tn_opt_set_f(&a->o, a->node, "width_scale", w);
}

tern_status tn_adapt_upsample_up_9(tn_adapt *a) {
    size_t count;
    const float *scales = tn_attr_floats(a->node, "scales", &count);
    if (!scales || count > TERN_MAX_RANK) return tn_adapt_fail(a, "it has no usable scales");
    TN_TRY(tn_adapt_set_input(a, 1, float_list(a, scales, (int)count)));
    tn_adapt_drop_attr(a->node, "scales");
    return TERN_OK;
}

tern_status tn_adapt_upsample_down_9(tn_adapt *a) {
    float scales[TERN_MAX_RANK];
    int count;
    if (!known_scales(tn_adapt_in(a, 1), scales, &count)) return tn_adapt_fail(a, "its scales are no constant");
    float *copy = tn_arena_array(&a->o.model->arena, (size_t)count + 1, sizeof *copy);
    tn_attr *attr = tn_node_add_attr(a->node, "scales", TN_ATTR_FLOATS);
    if (!attr || !copy) return tn_fail_oom(a->o.err, sizeof scales);
    memcpy(copy, scales, (size_t)count * sizeof *copy);
    attr->floats = copy;
    attr->count = (size_t)count;
    a->node->in[1] = NULL;
    return TERN_OK;
}

/* Resize came with the same meaning. */
tern_status tn_adapt_upsample_up_10(tn_adapt *a) {
    a->node->op_type = "Resize";
    return TERN_OK;
}

tern_status tn_adapt_resize_down_10(tn_adapt *a) {
    float scales[TERN_MAX_RANK];
    int count;
    if (!known_scales(tn_adapt_in(a, 1), scales, &count)) return tn_adapt_fail(a, "its scales are no constant");
    for (int i = 0; i < count; i++)
        if (scales[i] < 1) return tn_adapt_fail(a, "it makes dim %d smaller, and Upsample can not", i);
    a->node->op_type = "Upsample";
    return TERN_OK;
}

tern_status tn_adapt_resize_up_11(tn_adapt *a) {
    tn_value *scales = a->node->in[1], *roi = float_list(a, NULL, 0);
    if (!roi) return OOM;
    TN_TRY(tn_opt_set_s(&a->o, a->node, "coordinate_transformation_mode", "asymmetric"));
    if (tn_attr_is(a->node, "mode", "nearest", "nearest"))
        TN_TRY(tn_opt_set_s(&a->o, a->node, "nearest_mode", "floor"));
    return tn_adapt_inputs(a, (tn_value *[]){a->node->in[0], roi, scales}, 3);
}

/* Scales of a Resize whose sizes are given; the result must be the same, rounded down. */
static bool scales_from_sizes(const tn_adapt *a, float *scales, int *count) {
    int64_t sizes[TERN_MAX_RANK];
    const tn_value *x = a->node->in[0];
    if (!tn_adapt_ints(tn_adapt_in(a, 3), sizes, TERN_MAX_RANK, count) || tn_adapt_rank(x) != *count) return false;
    for (int i = 0; i < *count; i++) {
        int64_t d = x->type.shape.dims[i];
        if (!tn_dim_known(d) || d <= 0) return false;
        scales[i] = (float)sizes[i] / (float)d;
        if ((int64_t)((float)d * scales[i]) != sizes[i]) return false;
    }
    return true;
}

tern_status tn_adapt_resize_down_11(tn_adapt *a) {
    float scales[TERN_MAX_RANK];
    int count = 0;
    bool nearest = tn_attr_is(a->node, "mode", "nearest", "nearest");
    tn_value *given = tn_adapt_in(a, 2), *v = given;
    const tern_tensor *constant = tn_adapt_const(given);
    if (!tn_attr_is(a->node, "coordinate_transformation_mode", "half_pixel", "asymmetric"))
        return tn_adapt_fail(a, "there is no coordinate_transformation_mode but what is 'asymmetric' now");
    if (nearest && !tn_attr_is(a->node, "nearest_mode", "round_prefer_floor", "floor"))
        return tn_adapt_fail(a, "there is no nearest_mode but what is 'floor' now");
    if (!given || (constant && tn_shape_count(&constant->shape) == 0)) {
        if (!scales_from_sizes(a, scales, &count)) return tn_adapt_fail(a, "its sizes can not be told as scales");
        if (!(v = float_list(a, scales, count))) return OOM;
    }
    static const char *const gone[] = {"coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a",
                                       "exclude_outside", "extrapolation_value"};
    if (tn_attr_is(a->node, "mode", "nearest", "cubic")) return tn_adapt_fail(a, "there is no cubic mode");
    for (size_t i = 0; i < TN_COUNT(gone); i++) tn_adapt_drop_attr(a->node, gone[i]);
    return tn_adapt_inputs(a, (tn_value *[]){a->node->in[0], v}, 2);
}

tern_status tn_adapt_resize_up_13(tn_adapt *a) {
    if (tn_attr_is(a->node, "coordinate_transformation_mode", "half_pixel", "tf_half_pixel_for_nn"))
        return tn_adapt_fail(a, "coordinate_transformation_mode 'tf_half_pixel_for_nn' is gone there");
    /* An empty list said what is now left out. */
    for (int i = 1; i < a->node->n_in; i++) {
        const tern_tensor *t = tn_adapt_const(a->node->in[i]);
        if (t && tn_shape_count(&t->shape) == 0) a->node->in[i] = NULL;
    }
    return TERN_OK;
}

tern_status tn_adapt_resize_down_13(tn_adapt *a) {
    for (int i = 1; i <= 2; i++)
        if (!tn_adapt_in(a, i)) TN_TRY(tn_adapt_set_input(a, i, float_list(a, NULL, 0)));
    return TERN_OK;
}

/* Sizes or scales of some axes become those of all. */
static tern_status widen_resize(tn_adapt *a, const int64_t *axes, int n, int rank) {
    float scales[TERN_MAX_RANK], all[TERN_MAX_RANK];
    int64_t sizes[TERN_MAX_RANK], whole[TERN_MAX_RANK];
    int count;
    if (tn_adapt_in(a, 2)) {
        if (!known_scales(a->node->in[2], scales, &count) || count != n)
            return tn_adapt_fail(a, "its scales are no constant");
        for (int i = 0; i < rank; i++) all[i] = 1;
        for (int i = 0; i < n; i++) all[axes[i]] = scales[i];
        return tn_adapt_set_input(a, 2, float_list(a, all, rank));
    }
    if (!tn_adapt_ints(tn_adapt_in(a, 3), sizes, TERN_MAX_RANK, &count) || count != n)
        return tn_adapt_fail(a, "its sizes are no constant");
    for (int i = 0; i < rank; i++) whole[i] = a->node->in[0]->type.shape.dims[i];
    for (int i = 0; i < n; i++) whole[axes[i]] = sizes[i];
    for (int i = 0; i < rank; i++)
        if (!tn_dim_known(whole[i])) return tn_adapt_fail(a, "dim %d of its input is not known", i);
    return tn_adapt_set_input(a, 3, tn_adapt_i64(a, whole, rank, 1));
}

tern_status tn_adapt_resize_down_18(tn_adapt *a) {
    size_t n;
    const int64_t *axes = tn_attr_ints(a->node, "axes", &n);
    int64_t list[TERN_MAX_RANK];
    int rank = tn_adapt_rank(a->node->in[0]);
    if (!axes) return TERN_OK;
    if (!tn_attr_is(a->node, "keep_aspect_ratio_policy", "stretch", "stretch"))
        return tn_adapt_fail(a, "it keeps the ratio of sizes");
    if (tn_attr_is(a->node, "coordinate_transformation_mode", "half_pixel", "tf_crop_and_resize"))
        return tn_adapt_fail(a, "its axes count for the region, too");
    if (rank < 0 || n > (size_t)rank) return tn_adapt_fail(a, "its axes need an input of known rank");
    for (size_t i = 0; i < n; i++) {
        list[i] = axes[i];
        if (!tn_adapt_axis(&list[i], rank) || list[i] >= rank) return tn_adapt_fail(a, "an axis is out of range");
    }
    TN_TRY(widen_resize(a, list, (int)n, rank));
    tn_adapt_drop_attr(a->node, "axes");
    return TERN_OK;
}

tern_status tn_adapt_resize_down_19(tn_adapt *a) {
    return tn_attr_is(a->node, "coordinate_transformation_mode", "half_pixel", "half_pixel_symmetric")
               ? tn_adapt_fail(a, "coordinate_transformation_mode 'half_pixel_symmetric' is not there yet")
               : TERN_OK;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

tern_status tn_adapt_concat_up(tn_adapt *a) {
    return tn_attr_find(a->node, "axis") ? TERN_OK : tn_opt_set_i(&a->o, a->node, "axis", 1);
}

tern_status tn_adapt_drop_output_sequence(tn_adapt *a) {
    tn_adapt_drop_attr(a->node, "output_sequence");
    return TERN_OK;
}

tern_status tn_adapt_rnn_layout_down(tn_adapt *a) {
    return tn_attr_i(a->node, "layout", 0) ? tn_adapt_fail(a, "the batch comes first (layout = 1)") : TERN_OK;
}

tern_status tn_adapt_scan_9(tn_adapt *a) {
    return tn_adapt_fail(a, "Scan of opset 8 has a batch and lengths, and no later one has");
}

tern_status tn_adapt_quantize_down_13(tn_adapt *a) {
    int64_t count;
    const tn_value *scale = tn_adapt_in(a, 1);
    bool one = scale && scale->type.ranked && tn_shape_count_checked(&scale->type.shape, &count) && count == 1;
    if (!one) return tn_adapt_fail(a, "there is one scale for the whole tensor");
    tn_adapt_drop_attr(a->node, "axis");
    return TERN_OK;
}

tern_status tn_adapt_pow_down(tn_adapt *a) {
    tn_value *x = tn_adapt_in(a, 0), *y = tn_adapt_in(a, 1);
    if (!x || !y || x->type.dtype == y->type.dtype) return TERN_OK;
    if (x->type.dtype == TERN_UNDEFINED || y->type.dtype == TERN_UNDEFINED)
        return tn_adapt_fail(a, "its types are not known");
    tn_node *made;
    tn_type type = y->type;
    type.dtype = x->type.dtype;
    tn_value *cast = tn_adapt_value(a, y->name, &type);
    if (!cast || !tn_adapt_node(a, "Cast", &y, 1, cast, &made)) return OOM;
    TN_TRY(tn_opt_set_i(&a->o, made, "to", x->type.dtype));
    return tn_adapt_set_input(a, 1, cast);
}

tern_status tn_adapt_grid_sample_up(tn_adapt *a) {
    if (tn_attr_is(a->node, "mode", "bilinear", "bilinear")) return tn_opt_set_s(&a->o, a->node, "mode", "linear");
    return tn_attr_is(a->node, "mode", "", "bicubic") ? tn_opt_set_s(&a->o, a->node, "mode", "cubic") : TERN_OK;
}

tern_status tn_adapt_grid_sample_down(tn_adapt *a) {
    if (tn_adapt_rank(a->node->in[0]) != 4) return tn_adapt_fail(a, "its input must have rank 4 there");
    if (tn_attr_is(a->node, "mode", "linear", "linear")) return tn_opt_set_s(&a->o, a->node, "mode", "bilinear");
    return tn_attr_is(a->node, "mode", "", "cubic") ? tn_opt_set_s(&a->o, a->node, "mode", "bicubic") : TERN_OK;
}

tern_status tn_adapt_roi_align_up(tn_adapt *a) {
    return tn_opt_set_s(&a->o, a->node, "coordinate_transformation_mode", "output_half_pixel");
}

tern_status tn_adapt_roi_align_down(tn_adapt *a) {
    if (!tn_attr_is(a->node, "coordinate_transformation_mode", "half_pixel", "output_half_pixel"))
        return tn_adapt_fail(a, "there is no coordinate_transformation_mode but what is 'output_half_pixel' now");
    tn_adapt_drop_attr(a->node, "coordinate_transformation_mode");
    return TERN_OK;
}

tern_status tn_adapt_scatter_up(tn_adapt *a) {
    a->node->op_type = "ScatterElements";
    return TERN_OK;
}

tern_status tn_adapt_scatter_down(tn_adapt *a) {
    a->node->op_type = "Scatter";
    return tn_adapt_positive_axis(a);
}

tern_status tn_adapt_reduction_down(tn_adapt *a) {
    tn_str r = tn_attr_s(a->node, "reduction", "none");
    if (tn_str_eq(r, tn_str_c("max")) || tn_str_eq(r, tn_str_c("min")))
        return tn_adapt_fail(a, "there is no reduction '%.*s' yet", (int)r.len, r.data);
    return TERN_OK;
}

tern_status tn_adapt_optional_down(tn_adapt *a) {
    const tn_value *v = tn_adapt_in(a, 0);
    return v && v->type.kind == TERN_KIND_OPTIONAL ? TERN_OK : tn_adapt_fail(a, "its input must be an optional there");
}
