#include "ops/args.h"

static tern_status ints_from_attr(const tn_node *n, const char *name, tn_ints *out, tern_error *err) {
    size_t count;
    const int64_t *v = tn_attr_ints(n, name, &count);
    out->given = tn_attr_find(n, name) != NULL;
    out->known = true;
    if (count > TN_INTS_MAX)
        return tn_fail(err, TERN_INVALID_MODEL, "attribute '%s' has %zu values, more than %d", name, count,
                       TN_INTS_MAX);
    if (count) memcpy(out->v, v, count * sizeof *v);
    out->count = (int)count;
    return TERN_OK;
}

static tern_status ints_from_tensor(const tern_tensor *t, const char *name, tn_ints *out, tern_error *err) {
    if (t->kind != TERN_KIND_TENSOR || !tn_type_in(t->dtype, TN_TYPES_INT))
        return tn_fail(err, TERN_TYPE_MISMATCH, "'%s' is %s where integers are needed", name,
                       tern_dtype_name(t->dtype));
    int64_t n = tn_shape_count(&t->shape);
    if (t->shape.rank > 1)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "'%s' has rank %d where 1 is needed", name, t->shape.rank);
    if (n > TN_INTS_MAX)
        return tn_fail(err, TERN_INVALID_MODEL, "'%s' has %lld values, more than %d", name, (long long)n, TN_INTS_MAX);
    for (int64_t i = 0; i < n; i++) out->v[i] = tn_tensor_get_i64(t, i);
    out->count = (int)n;
    out->known = true;
    return TERN_OK;
}

tern_status tn_ints_infer(tn_infer *c, const char *name, int input, tn_ints *out) {
    out->given = out->known = false;
    out->count = 0;
    if (input < 0) return ints_from_attr(c->node, name, out, c->err);
    if (!tn_args_has(c, input)) {
        out->known = true;
        return TERN_OK;
    }
    out->given = true;
    TN_TRY(tn_args_need(c, input, TN_TYPES_INT));
    if (c->value[input]) return ints_from_tensor(c->value[input], name, out, c->err);
    return TERN_OK;
}

tern_status tn_ints_run(tn_run *c, const char *name, int input, tn_ints *out) {
    out->given = out->known = false;
    out->count = 0;
    if (input < 0) return ints_from_attr(c->node, name, out, c->err);
    const tern_tensor *t = tn_args_in(c, input);
    out->given = t != NULL;
    out->known = true;
    return t ? ints_from_tensor(t, name, out, c->err) : TERN_OK;
}

tern_status tn_args_need(tn_infer *c, int i, uint32_t types) {
    if (!tn_args_has(c, i)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is missing", i);
    return tn_infer_want(c, i, types);
}

bool tn_args_shape(const tn_infer *c, int i, tn_shape *out) {
    if (!tn_args_has(c, i) || c->in[i]->kind != TERN_KIND_TENSOR || !c->in[i]->ranked) return false;
    *out = c->in[i]->shape;
    return true;
}

tern_status tn_args_out_shape(tn_infer *c, int o, tern_dtype dtype, const tn_shape *shape) {
    size_t bytes;
    if (shape && tn_shape_known(shape)) {
        char text[TN_SHAPE_TEXT];
        for (int i = 0; i < shape->rank; i++)
            if (shape->dims[i] < 0)
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "output shape %s has a negative dim",
                                     tn_shape_text(shape, text, sizeof text));
        if (!tn_bytes_for(dtype == TERN_UNDEFINED ? TERN_UINT8 : dtype, shape, 0, &bytes) || bytes > INT64_MAX / 4)
            return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "output shape %s is too large",
                                 tn_shape_text(shape, text, sizeof text));
    }
    tn_infer_out(c, o, dtype, shape);
    return TERN_OK;
}

tn_shape tn_args_unknown_dims(int rank) {
    tn_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++) s.dims[i] = TN_DIM_UNKNOWN;
    return s;
}

tern_status tn_args_axes(const int64_t *axes, int count, int rank, bool *mask, tern_error *err) {
    memset(mask, 0, (size_t)rank * sizeof *mask);
    for (int i = 0; i < count; i++) {
        int a = 0;
        TN_TRY(tn_args_axis(axes[i], rank, &a, err));
        if (mask[a]) return tn_fail(err, TERN_INVALID_MODEL, "axis %d is given twice", a);
        mask[a] = true;
    }
    return TERN_OK;
}

tern_status tn_args_axis(int64_t axis, int rank, int *out, tern_error *err) {
    if (axis < -rank || axis >= rank)
        return tn_fail(err, TERN_INVALID_MODEL, "axis %lld is outside [-%d, %d)", (long long)axis, rank, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return TERN_OK;
}

bool tn_args_product(const int64_t *v, int n, int64_t *out) {
    int64_t p = 1;
    bool zero = false, fits = true;
    for (int i = 0; i < n; i++) {
        if (v[i] == 0) zero = true;
        fits = fits && tn_mul_i64(p, v[i], &p);
    }
    *out = zero ? 0 : p;
    return zero || fits;
}
