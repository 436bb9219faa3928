/* Attributes that became inputs, and axes that may be negative since. */
#include "opt/opset_internal.h"

enum { MAX_INTS = 64 };

/* ---- between a list in an attribute and an input --------------------------------------------------------------- */

static tern_status ints_to_input(tn_adapt *a, const char *name, int at, int rank) {
    size_t count;
    const tn_attr *attr = tn_attr_find(a->node, name);
    if (!attr) return TERN_OK;
    const int64_t *values = rank ? tn_attr_ints(a->node, name, &count) : &attr->i;
    if (!rank) count = 1;
    tn_value *v = tn_adapt_i64(a, values, (int)count, 1);
    TN_TRY(tn_adapt_set_input(a, at, v));
    tn_adapt_drop_attr(a->node, name);
    return TERN_OK;
}

static tern_status input_to_ints(tn_adapt *a, int at, const char *name) {
    int64_t values[MAX_INTS];
    int count;
    tn_value *v = tn_adapt_in(a, at);
    if (!v) return TERN_OK;
    if (!tn_adapt_ints(v, values, MAX_INTS, &count))
        return tn_adapt_fail(a, "'%s' is an attribute there, and '%s' is no constant", name, v->name);
    TN_TRY(tn_opt_set_ints(&a->o, a->node, name, values, (size_t)count));
    a->node->in[at] = NULL;
    return TERN_OK;
}

tern_status tn_adapt_axes_up(tn_adapt *a) { return ints_to_input(a, "axes", 1, 1); }
tern_status tn_adapt_axes_down(tn_adapt *a) { return input_to_ints(a, 1, "axes"); }

/* The node becomes an Identity. */
static tern_status become_identity(tn_adapt *a) {
    if (!tn_adapt_node(a, "Identity", a->node->in, 1, a->node->out[0], NULL)) return TERN_OUT_OF_MEMORY;
    return tn_adapt_remove(a);
}

/* No axes: all of them, or with noop_with_empty_axes none. */
tern_status tn_adapt_reduce_axes_down(tn_adapt *a) {
    bool noop = tn_attr_i(a->node, "noop_with_empty_axes", 0) != 0;
    int64_t axes[MAX_INTS];
    int count = 0;
    tn_value *v = tn_adapt_in(a, 1);
    bool known = tn_adapt_ints(v, axes, MAX_INTS, &count);
    if (noop && (!v || (known && !count))) {
        static const char *const same[] = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"};
        for (size_t i = 0; i < TN_COUNT(same); i++)
            if (strcmp(a->node->op_type, same[i]) == 0) return become_identity(a);
        return tn_adapt_fail(a, "no reduction at all (noop_with_empty_axes) is not there yet");
    }
    if (v && noop && !known) return tn_adapt_fail(a, "axes that are no constant may be none at all");
    tn_adapt_drop_attr(a->node, "noop_with_empty_axes");
    if (known && !count) { /* an empty list means all, which the attribute says by being absent */
        a->node->in[1] = NULL;
        return TERN_OK;
    }
    return input_to_ints(a, 1, "axes");
}

/* ---- negative axes --------------------------------------------------------------------------------------------- */

tern_status tn_adapt_positive_axis(tn_adapt *a) {
    const tn_attr *attr = tn_attr_find(a->node, "axis");
    if (!attr || attr->type != TN_ATTR_INT || attr->i >= 0) return TERN_OK;
    int64_t axis = attr->i;
    if (!tn_adapt_axis(&axis, tn_adapt_rank(a->node->in[0])))
        return tn_adapt_fail(a, "axis %lld is negative, and the rank of its input is not known", (long long)axis);
    return tn_opt_set_i(&a->o, a->node, "axis", axis);
}

static tern_status positive_axes(tn_adapt *a, int rank) {
    size_t count;
    const int64_t *axes = tn_attr_ints(a->node, "axes", &count);
    int64_t list[MAX_INTS];
    bool any = false;
    if (count > MAX_INTS) return tn_adapt_fail(a, "it has %zu axes", count);
    for (size_t i = 0; i < count; i++) {
        list[i] = axes[i];
        any |= axes[i] < 0;
        if (!tn_adapt_axis(&list[i], rank))
            return tn_adapt_fail(a, "axis %lld is negative, and the rank of its input is not known",
                                 (long long)axes[i]);
    }
    return any ? tn_opt_set_ints(&a->o, a->node, "axes", list, count) : TERN_OK;
}

tern_status tn_adapt_positive_axes(tn_adapt *a) { return positive_axes(a, tn_adapt_rank(a->node->in[0])); }

/* These axes count in the output. */
tern_status tn_adapt_unsqueeze_axes(tn_adapt *a) {
    size_t count;
    int rank = tn_adapt_rank(a->node->in[0]);
    tn_attr_ints(a->node, "axes", &count);
    return positive_axes(a, rank < 0 ? -1 : rank + (int)count);
}

/* ---- Reshape, Split, TopK, Slice, Tile ------------------------------------------------------------------------- */

tern_status tn_adapt_reshape_up(tn_adapt *a) { return ints_to_input(a, "shape", 1, 1); }
tern_status tn_adapt_reshape_down(tn_adapt *a) { return input_to_ints(a, 1, "shape"); }

tern_status tn_adapt_reshape_down_14(tn_adapt *a) {
    int64_t shape[MAX_INTS];
    int count;
    if (!tn_attr_i(a->node, "allowzero", 0)) return TERN_OK;
    if (!tn_adapt_ints(tn_adapt_in(a, 1), shape, MAX_INTS, &count))
        return tn_adapt_fail(a, "with allowzero, its shape must be a constant");
    for (int i = 0; i < count; i++)
        if (shape[i] == 0) return tn_adapt_fail(a, "a dim of 0 means there that it is copied");
    tn_adapt_drop_attr(a->node, "allowzero");
    return TERN_OK;
}

tern_status tn_adapt_split_up(tn_adapt *a) { return ints_to_input(a, "split", 1, 1); }
tern_status tn_adapt_split_down(tn_adapt *a) { return input_to_ints(a, 1, "split"); }

/* Version 1 took the list as an attribute or as an input. */
tern_status tn_adapt_split_up_2(tn_adapt *a) { return input_to_ints(a, 1, "split"); }

tern_status tn_adapt_split_up_18(tn_adapt *a) {
    return tn_adapt_in(a, 1) ? TERN_OK : tn_opt_set_i(&a->o, a->node, "num_outputs", a->node->n_out);
}

/* Equal parts; the last one is smaller when the dim can not be divided, which only a list can say. */
tern_status tn_adapt_split_down_18(tn_adapt *a) {
    int64_t axis = tn_attr_i(a->node, "axis", 0), parts = tn_attr_i(a->node, "num_outputs", 0), list[MAX_INTS];
    int rank = tn_adapt_rank(a->node->in[0]);
    tn_adapt_drop_attr(a->node, "num_outputs");
    if (!parts || tn_adapt_in(a, 1)) return TERN_OK;
    if (parts > MAX_INTS || !tn_adapt_axis(&axis, rank) || axis >= rank ||
        !tn_dim_known(a->node->in[0]->type.shape.dims[axis]))
        return tn_adapt_fail(a, "num_outputs needs a dim of known size there");
    int64_t size = a->node->in[0]->type.shape.dims[axis], part = tn_ceil_div(size, parts);
    for (int64_t i = 0; i < parts; i++) list[i] = TN_MAX(TN_MIN(part, size - i * part), 0);
    return tn_adapt_set_input(a, 1, tn_adapt_i64(a, list, (int)parts, 1));
}

tern_status tn_adapt_topk_up(tn_adapt *a) { return ints_to_input(a, "k", 1, 0); }

tern_status tn_adapt_topk_down(tn_adapt *a) {
    int64_t k[1];
    int count;
    if (!tn_adapt_ints(tn_adapt_in(a, 1), k, 1, &count) || count != 1)
        return tn_adapt_fail(a, "'k' is an attribute there, and its input is no constant");
    a->node->in[1] = NULL;
    return tn_opt_set_i(&a->o, a->node, "k", k[0]);
}

tern_status tn_adapt_topk_down_11(tn_adapt *a) {
    if (!tn_attr_i(a->node, "largest", 1)) return tn_adapt_fail(a, "it gives the smallest elements (largest = 0)");
    tn_adapt_drop_attr(a->node, "largest");
    tn_adapt_drop_attr(a->node, "sorted"); /* elements in order satisfy those who want any */
    return tn_adapt_positive_axis(a);
}

tern_status tn_adapt_slice_up(tn_adapt *a) {
    TN_TRY(ints_to_input(a, "starts", 1, 1));
    TN_TRY(ints_to_input(a, "ends", 2, 1));
    return ints_to_input(a, "axes", 3, 1);
}

tern_status tn_adapt_slice_down(tn_adapt *a) {
    int64_t steps[MAX_INTS];
    int count = 0;
    tn_value *v = tn_adapt_in(a, 4);
    if (v && !tn_adapt_ints(v, steps, MAX_INTS, &count)) return tn_adapt_fail(a, "its steps are no constant");
    for (int i = 0; i < count; i++)
        if (steps[i] != 1) return tn_adapt_fail(a, "it has a step of %lld", (long long)steps[i]);
    if (v) a->node->in[4] = NULL;
    TN_TRY(input_to_ints(a, 1, "starts"));
    TN_TRY(input_to_ints(a, 2, "ends"));
    return input_to_ints(a, 3, "axes");
}

tern_status tn_adapt_slice_axes_down(tn_adapt *a) {
    int64_t axes[MAX_INTS];
    int count, rank = tn_adapt_rank(a->node->in[0]);
    bool any = false;
    tn_value *v = tn_adapt_in(a, 3);
    if (!v) return TERN_OK;
    if (!tn_adapt_ints(v, axes, MAX_INTS, &count))
        return tn_adapt_fail(a, "its axes are no constant, and might be negative");
    for (int i = 0; i < count; i++) {
        any |= axes[i] < 0;
        if (!tn_adapt_axis(&axes[i], rank))
            return tn_adapt_fail(a, "an axis is negative, and the rank of its input is not known");
    }
    return any ? tn_adapt_set_input(a, 3, tn_adapt_i64(a, axes, count, 1)) : TERN_OK;
}

tern_status tn_adapt_tile_6(tn_adapt *a) {
    return tn_adapt_fail(a, "Tile has another form in opset 1, and its repeats are inputs in both");
}

/* ---- Pad ------------------------------------------------------------------------------------------------------- */

tern_status tn_adapt_pad_up_2(tn_adapt *a) {
    size_t count;
    const int64_t *pads = tn_attr_ints(a->node, "paddings", &count);
    if (!pads) return TERN_OK;
    TN_TRY(tn_opt_set_ints(&a->o, a->node, "pads", pads, count));
    tn_adapt_drop_attr(a->node, "paddings");
    return TERN_OK;
}

tern_status tn_adapt_pad_down_2(tn_adapt *a) {
    size_t count;
    const int64_t *pads = tn_attr_ints(a->node, "pads", &count);
    if (!pads) return TERN_OK;
    TN_TRY(tn_opt_set_ints(&a->o, a->node, "paddings", pads, count));
    tn_adapt_drop_attr(a->node, "pads");
    return TERN_OK;
}

tern_status tn_adapt_pad_up(tn_adapt *a) {
    tern_dtype dtype = a->node->in[0] ? a->node->in[0]->type.dtype : TERN_UNDEFINED;
    float value = tn_attr_f(a->node, "value", 0);
    TN_TRY(ints_to_input(a, "pads", 1, 1));
    tn_adapt_drop_attr(a->node, "value");
    if (value == 0) return TERN_OK; /* also the default of the input */
    return tn_adapt_set_input(a, 2, tn_adapt_float(a, dtype ? dtype : TERN_FLOAT, (double)value, 0));
}

tern_status tn_adapt_pad_down(tn_adapt *a) {
    const tern_tensor *value = tn_adapt_const(tn_adapt_in(a, 2));
    if (tn_adapt_in(a, 2) && (!value || tn_shape_count(&value->shape) != 1))
        return tn_adapt_fail(a, "'value' is an attribute there, and '%s' is no constant", a->node->in[2]->name);
    if (value) {
        TN_TRY(tn_opt_set_f(&a->o, a->node, "value", (float)tn_tensor_get_f64(value, 0)));
        a->node->in[2] = NULL;
    }
    return input_to_ints(a, 1, "pads");
}

/* Pads of some axes become pads of all. */
tern_status tn_adapt_pad_axes_down(tn_adapt *a) {
    int64_t axes[MAX_INTS], pads[2 * MAX_INTS], all[2 * MAX_INTS] = {0};
    int n_axes, n_pads, rank = tn_adapt_rank(a->node->in[0]);
    tn_value *v = tn_adapt_in(a, 3);
    if (!v) return TERN_OK;
    if (rank < 0 || !tn_adapt_ints(v, axes, MAX_INTS, &n_axes) ||
        !tn_adapt_ints(tn_adapt_in(a, 1), pads, 2 * MAX_INTS, &n_pads) || n_pads != 2 * n_axes)
        return tn_adapt_fail(a, "its axes need constant pads and an input of known rank");
    for (int i = 0; i < n_axes; i++) {
        if (!tn_adapt_axis(&axes[i], rank) || axes[i] >= rank) return tn_adapt_fail(a, "an axis is out of range");
        all[axes[i]] = pads[i];
        all[rank + axes[i]] = pads[n_axes + i];
    }
    a->node->in[3] = NULL;
    return tn_adapt_set_input(a, 1, tn_adapt_i64(a, all, 2 * rank, 1));
}

tern_status tn_adapt_pad_mode_down(tn_adapt *a) {
    return tn_attr_is(a->node, "mode", "constant", "wrap") ? tn_adapt_fail(a, "it pads by wrapping around") : TERN_OK;
}

/* ---- Clip ------------------------------------------------------------------------------------------------------ */

tern_status tn_adapt_clip_up(tn_adapt *a) {
    static const char *const names[] = {"min", "max"};
    tern_dtype dtype = a->node->in[0] ? a->node->in[0]->type.dtype : TERN_UNDEFINED;
    for (int i = 0; i < 2; i++) {
        const tn_attr *attr = tn_attr_find(a->node, names[i]);
        if (!attr) continue;
        TN_TRY(tn_adapt_set_input(a, i + 1, tn_adapt_float(a, dtype ? dtype : TERN_FLOAT, (double)attr->f, 0)));
        tn_adapt_drop_attr(a->node, names[i]);
    }
    return TERN_OK;
}

/* Bounds that are no constants: Min(Max(x, min), max), which broadcasts since opset 8. */
static tern_status clip_by_min_max(tn_adapt *a) {
    tn_value *x = a->node->in[0], *lo = tn_adapt_in(a, 1), *hi = tn_adapt_in(a, 2), *out = a->node->out[0];
    if (lo) {
        tn_value *mid = hi ? tn_adapt_value(a, out->name, &x->type) : out;
        if (!tn_adapt_node(a, "Max", (tn_value *[]){x, lo}, 2, mid, NULL)) return TERN_OUT_OF_MEMORY;
        x = mid;
    }
    if (hi && !tn_adapt_node(a, "Min", (tn_value *[]){x, hi}, 2, out, NULL)) return TERN_OUT_OF_MEMORY;
    return tn_adapt_remove(a);
}

tern_status tn_adapt_clip_down(tn_adapt *a) {
    const tern_tensor *bounds[2];
    bool constant = true;
    for (int i = 0; i < 2; i++) {
        bounds[i] = tn_adapt_const(tn_adapt_in(a, i + 1));
        constant &= !tn_adapt_in(a, i + 1) || (bounds[i] && tn_shape_count(&bounds[i]->shape) == 1);
    }
    /* A float32 attribute can not hold every double. */
    if (!constant || a->node->in[0]->type.dtype == TERN_DOUBLE) return clip_by_min_max(a);
    for (int i = 0; i < 2; i++) {
        if (!bounds[i]) continue;
        TN_TRY(tn_opt_set_f(&a->o, a->node, i ? "max" : "min", (float)tn_tensor_get_f64(bounds[i], 0)));
        a->node->in[i + 1] = NULL;
    }
    return TERN_OK;
}

/* ---- DFT ------------------------------------------------------------------------------------------------------- */

tern_status tn_adapt_dft_up(tn_adapt *a) {
    int64_t axis = tn_attr_i(a->node, "axis", 1);
    tn_adapt_drop_attr(a->node, "axis");
    return tn_adapt_set_input(a, 2, tn_adapt_i64(a, &axis, 1, 0));
}

tern_status tn_adapt_dft_down(tn_adapt *a) {
    int64_t axis = -2;
    int count, rank = tn_adapt_rank(a->node->in[0]);
    if (tn_adapt_in(a, 2) && (!tn_adapt_ints(a->node->in[2], &axis, 1, &count) || count != 1))
        return tn_adapt_fail(a, "'axis' is an attribute there, and its input is no constant");
    if (!tn_adapt_axis(&axis, rank))
        return tn_adapt_fail(a, "its axis is negative, and the rank of its input is not known");
    if (tn_adapt_in(a, 2)) a->node->in[2] = NULL;
    return tn_opt_set_i(&a->o, a->node, "axis", axis);
}
