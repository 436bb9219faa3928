/* Constant, ConstantOfShape, Shape, Size, Range, EyeLike: tensors made from attributes and shapes. */
#include "ops/args.h"
#include "ops/copy.h"

#include <math.h>

/* ---- Constant ---------------------------------------------------------------------------------------------- */

typedef struct constant_form {
    const char *name;
    tern_dtype dtype;
    bool list;
} constant_form;

static const constant_form constant_forms[] = {
    {"value_float", TERN_FLOAT, false}, {"value_floats", TERN_FLOAT, true},   {"value_int", TERN_INT64, false},
    {"value_ints", TERN_INT64, true},   {"value_string", TERN_STRING, false}, {"value_strings", TERN_STRING, true},
};

/* Exactly one attribute holds the value. *form is NULL when it is a tensor. */
static tern_status find_constant(const tn_node *n, const tn_attr **attr, const constant_form **form, tern_error *err) {
    int found = 0;
    static const char *const tensors[] = {"value", "sparse_value"};
    for (size_t i = 0; i < TN_COUNT(tensors); i++) {
        const tn_attr *a = tn_attr_find(n, tensors[i]);
        if (!a) continue;
        if (a->type != TN_ATTR_TENSOR && a->type != TN_ATTR_SPARSE_TENSOR)
            return tn_fail(err, TERN_INVALID_MODEL, "attribute '%s' is not a tensor", tensors[i]);
        if (!a->t) return tn_fail(err, TERN_INVALID_MODEL, "attribute '%s' is empty", tensors[i]);
        *attr = a;
        *form = NULL;
        found++;
    }
    for (size_t i = 0; i < TN_COUNT(constant_forms); i++) {
        const tn_attr *a = tn_attr_find(n, constant_forms[i].name);
        if (!a) continue;
        *attr = a;
        *form = &constant_forms[i];
        found++;
    }
    if (found != 1) return tn_fail(err, TERN_INVALID_MODEL, "%d attributes hold a value, 1 is needed", found);
    return TERN_OK;
}

static tern_status infer_constant(tn_infer *c) {
    const tn_attr *a = NULL;
    const constant_form *f = NULL;
    TN_TRY(find_constant(c->node, &a, &f, c->err));
    if (!f) {
        tn_infer_out(c, 0, a->t->dtype, &a->t->shape);
        return TERN_OK;
    }
    tn_shape s = {.rank = f->list ? 1 : 0};
    if (f->list) s.dims[0] = (int64_t)a->count;
    tn_infer_out(c, 0, f->dtype, &s);
    return TERN_OK;
}

static tern_status run_constant(tn_run *c) {
    const tn_attr *a = NULL;
    const constant_form *f = NULL;
    TN_TRY(find_constant(c->node, &a, &f, c->err));
    tern_tensor *y = c->out[0];
    if (!f) {
        if (tn_tensor_bytes(y)) memcpy(y->data, a->t->data, tn_tensor_bytes(y));
        return TERN_OK;
    }
    size_t n = f->list ? a->count : 1;
    if (n == 0) return TERN_OK;
    if (f->dtype == TERN_FLOAT) {
        memcpy(y->data, f->list ? a->floats : &a->f, n * sizeof(float));
    } else if (f->dtype == TERN_INT64) {
        memcpy(y->data, f->list ? a->ints : &a->i, n * sizeof(int64_t));
    } else {
        const tn_str *s = f->list ? a->strings : &a->s;
        for (size_t i = 0; i < n; i++) ((tern_string *)y->data)[i] = (tern_string){s[i].data, s[i].len};
    }
    return TERN_OK;
}

const tn_op tn_op_constant = TN_ARGS_OP(infer_constant, run_constant, 0, 0, 1, 1, 0);

/* ---- ConstantOfShape --------------------------------------------------------------------------------------- */

static tern_status infer_constant_of_shape(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_T(INT64)));
    const tern_tensor *value = tn_attr_tensor(c->node, "value");
    if (value && tn_shape_count(&value->shape) != 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'value' has %lld elements where 1 is needed",
                             (long long)tn_shape_count(&value->shape));
    tern_dtype dtype = value ? value->dtype : TERN_FLOAT;
    int64_t v[TN_INTS_MAX];
    int n;
    const tn_type *t = c->in[0];
    if (t->ranked && t->shape.rank != 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the shape has rank %d where 1 is needed", t->shape.rank);
    if (t->ranked && tn_dim_known(t->shape.dims[0]) && t->shape.dims[0] > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "the shape has %lld dims, more than %d", (long long)t->shape.dims[0],
                             TERN_MAX_RANK);
    if (!tn_infer_ints(c, 0, v, TERN_MAX_RANK, &n)) {
        bool counted = t->ranked && tn_dim_known(t->shape.dims[0]);
        tn_shape unknown = tn_args_unknown_dims(counted ? (int)t->shape.dims[0] : 0);
        tn_infer_out(c, 0, dtype, counted ? &unknown : NULL);
        return TERN_OK;
    }
    tn_shape out = tn_shape_of(n, v);
    TN_TRY(tn_args_out_shape(c, 0, dtype, &out));
    bool small = dtype == TERN_INT64 && (n == 0 || (n == 1 && tn_dim_known(v[0]) && v[0] <= TN_INTS_MAX));
    if (!small) return TERN_OK;
    int64_t fill[TN_INTS_MAX], count = n ? v[0] : 1;
    for (int64_t i = 0; i < count; i++) fill[i] = tn_tensor_get_i64(value, 0);
    return tn_infer_set_partial(c, 0, fill, (int)count);
}

static tern_status run_constant_of_shape(tn_run *c) {
    static const float zero = 0;
    tern_tensor *y = c->out[0];
    const tern_tensor *value = tn_attr_tensor(c->node, "value");
    tn_copy_fill(y->data, value ? value->data : (const void *)&zero, tern_dtype_size(y->dtype),
                 tn_shape_count(&y->shape));
    return TERN_OK;
}

const tn_op tn_op_constant_of_shape = TN_ARGS_OP(infer_constant_of_shape, run_constant_of_shape, 1, 1, 1, 1, 0);

/* ---- Shape, Size ------------------------------------------------------------------------------------------- */

static void shape_range(const tn_node *n, int rank, int *start, int *end) {
    int64_t s = tn_attr_i(n, "start", 0), e = tn_attr_i(n, "end", rank);
    if (n->since < 15) {
        s = 0;
        e = rank;
    }
    s = TN_MIN(TN_MAX(s < 0 ? s + rank : s, 0), rank);
    e = TN_MIN(TN_MAX(e < 0 ? e + rank : e, 0), rank);
    *start = (int)s;
    *end = (int)TN_MAX(s, e);
}

static tern_status infer_shape(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_shape s, out = tn_args_unknown_dims(1);
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, TERN_INT64, &out);
        return TERN_OK;
    }
    int start, end;
    shape_range(c->node, s.rank, &start, &end);
    out.dims[0] = end - start;
    tn_infer_out(c, 0, TERN_INT64, &out);
    return tn_infer_set_partial(c, 0, s.dims + start, end - start);
}

static tern_status run_shape(tn_run *c) {
    int start, end;
    shape_range(c->node, c->in[0]->shape.rank, &start, &end);
    if (end > start) memcpy(c->out[0]->data, c->in[0]->shape.dims + start, (size_t)(end - start) * sizeof(int64_t));
    return TERN_OK;
}

static tern_status infer_size(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_shape s, out = {.rank = 0};
    tn_infer_out(c, 0, TERN_INT64, &out);
    int64_t n;
    if (!tn_args_shape(c, 0, &s) || !tn_shape_count_checked(&s, &n)) return TERN_OK;
    return tn_infer_set_partial(c, 0, &n, 1);
}

static tern_status run_size(tn_run *c) {
    *(int64_t *)c->out[0]->data = tn_shape_count(&c->in[0]->shape);
    return TERN_OK;
}

const tn_op tn_op_shape = TN_ARGS_OP(infer_shape, run_shape, 1, 1, 1, 1, TN_OP_BLOCKED);
const tn_op tn_op_size = TN_ARGS_OP(infer_size, run_size, 1, 1, 1, 1, TN_OP_BLOCKED);

/* ---- Range ------------------------------------------------------------------------------------------------- */

#define RANGE_TYPES (TN_TYPES_FLOAT | TN_T(INT16) | TN_T(INT32) | TN_T(INT64))

/* Number of elements of start, start + delta ... before limit. */
static tern_status range_count(tern_dtype dtype, const tern_tensor *const *v, int64_t *count, tern_error *err) {
    for (int i = 0; i < 3; i++)
        if (tn_shape_count(&v[i]->shape) != 1)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "input %d has %lld elements where 1 is needed", i,
                           (long long)tn_shape_count(&v[i]->shape));
    if (tn_type_in(dtype, TN_TYPES_FLOAT)) {
        double start = tn_tensor_get_f64(v[0], 0), limit = tn_tensor_get_f64(v[1], 0),
               delta = tn_tensor_get_f64(v[2], 0);
        double n = ceil((limit - start) / delta);
        if (!(delta != 0) || !isfinite(n) || n > 1e15)
            return tn_fail(err, TERN_INVALID_ARGUMENT, "no range goes from %g to %g in steps of %g", start, limit,
                           delta);
        *count = n > 0 ? (int64_t)n : 0;
        return TERN_OK;
    }
    int64_t start = tn_tensor_get_i64(v[0], 0), limit = tn_tensor_get_i64(v[1], 0), delta = tn_tensor_get_i64(v[2], 0);
    if (delta == 0) return tn_fail(err, TERN_INVALID_ARGUMENT, "delta is 0");
    bool none = delta > 0 ? limit <= start : limit >= start;
    uint64_t span = delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
    uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
    uint64_t n = none ? 0 : (span - 1) / step + 1;
    if (n > INT64_MAX / 16)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a range from %lld to %lld in steps of %lld is too long",
                       (long long)start, (long long)limit, (long long)delta);
    *count = (int64_t)n;
    return TERN_OK;
}

static tern_status infer_range(tn_infer *c) {
    for (int i = 0; i < 3; i++) {
        TN_TRY(tn_args_need(c, i, RANGE_TYPES));
        TN_TRY(tn_infer_same_type(c, 0, i));
    }
    tn_shape out = tn_args_unknown_dims(1);
    tern_dtype dtype = c->in[0]->dtype;
    int64_t v[3];
    int n[3];
    if (c->value[0] && c->value[1] && c->value[2]) {
        TN_TRY(range_count(c->value[0]->dtype, c->value, &out.dims[0], c->err));
    } else if (tn_infer_ints(c, 0, v, 1, n) && tn_infer_ints(c, 1, v + 1, 1, n + 1) &&
               tn_infer_ints(c, 2, v + 2, 1, n + 2) && n[0] + n[1] + n[2] == 3 && v[0] == 0 && v[2] == 1 &&
               !tn_dim_known(v[1])) {
        out.dims[0] = v[1]; /* range(batch): a dim is never negative */
    }
    return tn_args_out_shape(c, 0, dtype, &out);
}

static tern_status run_range(tn_run *c) {
    tern_tensor *y = c->out[0];
    int64_t n = y->shape.dims[0], si = 0, di = 0;
    double sf = tn_tensor_get_f64(c->in[0], 0), df = tn_tensor_get_f64(c->in[2], 0);
    if (!tn_type_in(y->dtype, TN_TYPES_FLOAT)) {
        si = tn_tensor_get_i64(c->in[0], 0);
        di = tn_tensor_get_i64(c->in[2], 0);
    }
    for (int64_t i = 0; i < n; i++) {
        double f = sf + (double)i * df;
        int64_t k = (int64_t)((uint64_t)si + (uint64_t)i * (uint64_t)di);
        switch (y->dtype) {
        case TERN_FLOAT:
            ((float *)y->data)[i] = (float)f;
            break;
        case TERN_DOUBLE:
            ((double *)y->data)[i] = f;
            break;
        case TERN_FLOAT16:
            ((uint16_t *)y->data)[i] = tn_f32_to_f16((float)f);
            break;
        case TERN_BFLOAT16:
            ((uint16_t *)y->data)[i] = tn_f32_to_bf16((float)f);
            break;
        case TERN_INT16:
            ((int16_t *)y->data)[i] = (int16_t)k;
            break;
        case TERN_INT32:
            ((int32_t *)y->data)[i] = (int32_t)k;
            break;
        default:
            ((int64_t *)y->data)[i] = k;
            break;
        }
    }
    return TERN_OK;
}

const tn_op tn_op_range = TN_ARGS_OP(infer_range, run_range, 3, 3, 1, 1, 0);

/* ---- EyeLike ----------------------------------------------------------------------------------------------- */

#define EYE_TYPES (TN_TYPES_NUMERIC | TN_T(BOOL))

static tern_status infer_eye_like(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    const tn_attr *a = tn_attr_find(c->node, "dtype");
    tern_dtype dtype = c->in[0]->dtype;
    if (a) {
        if (a->i <= 0 || a->i >= TERN_DTYPE_COUNT || !tn_type_in((tern_dtype)a->i, EYE_TYPES))
            return tn_infer_fail(c, TERN_UNSUPPORTED, "dtype is %lld", (long long)a->i);
        dtype = (tern_dtype)a->i;
    } else if (dtype != TERN_UNDEFINED) {
        TN_TRY(tn_infer_want(c, 0, EYE_TYPES));
    }
    tn_shape s, unknown = tn_args_unknown_dims(2);
    if (!tn_args_shape(c, 0, &s)) s = unknown;
    if (s.rank != 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d where 2 is needed", s.rank);
    tn_infer_out(c, 0, dtype, &s);
    return TERN_OK;
}

static void set_one(tern_tensor *t, int64_t i) {
    switch (t->dtype) {
    case TERN_FLOAT:
        ((float *)t->data)[i] = 1;
        break;
    case TERN_DOUBLE:
        ((double *)t->data)[i] = 1;
        break;
    case TERN_FLOAT16:
        ((uint16_t *)t->data)[i] = 0x3c00;
        break;
    case TERN_BFLOAT16:
        ((uint16_t *)t->data)[i] = 0x3f80;
        break;
    case TERN_INT16:
    case TERN_UINT16:
        ((uint16_t *)t->data)[i] = 1;
        break;
    case TERN_INT32:
    case TERN_UINT32:
        ((uint32_t *)t->data)[i] = 1;
        break;
    case TERN_INT64:
    case TERN_UINT64:
        ((uint64_t *)t->data)[i] = 1;
        break;
    default:
        ((uint8_t *)t->data)[i] = 1;
        break;
    }
}

static tern_status run_eye_like(tn_run *c) {
    tern_tensor *y = c->out[0];
    int64_t rows = y->shape.dims[0], cols = y->shape.dims[1], k = tn_attr_i(c->node, "k", 0);
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    memset(y->data, 0, tn_tensor_bytes(y));
    if (k <= -rows || k >= cols) return TERN_OK;
    for (int64_t r = TN_MAX(-k, 0); r < rows && r + k < cols; r++) set_one(y, r * cols + r + k);
    return TERN_OK;
}

const tn_op tn_op_eye_like = TN_ARGS_OP(infer_eye_like, run_eye_like, 1, 1, 1, 1, 0);
