/* Binarizer, Scaler, Normalizer, Imputer, FeatureVectorizer, ArrayFeatureExtractor. */
#include "ops/ml_internal.h"
#include "ops/typed.h"

#include <math.h>

/* Features: the last dim, 1 for a scalar. */
static int64_t features(const tn_shape *s) { return s->rank ? s->dims[s->rank - 1] : 1; }

static tern_status out_like(tn_infer *c, tern_dtype dtype) {
    tn_shape s;
    bool known = tn_args_shape(c, 0, &s);
    tn_infer_out(c, 0, dtype, known ? &s : NULL);
    return TERN_OK;
}

/* A list that must have 1 element or one per feature. */
static tern_status check_per_feature(tn_infer *c, const char *name, size_t n) {
    tn_shape s;
    if (n == 1 || !tn_args_shape(c, 0, &s) || !tn_dim_known(features(&s)) || features(&s) == (int64_t)n)
        return n ? TERN_OK : tn_infer_fail(c, TERN_INVALID_MODEL, "attribute '%s' is missing", name);
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "attribute '%s' has %zu values for %lld features", name, n,
                         (long long)features(&s));
}

/* ---- Binarizer ------------------------------------------------------------------------------------------------- */

static tern_status infer_binarizer(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_ML_NUMBERS));
    return out_like(c, c->in[0]->dtype);
}

static tern_status run_binarizer(tn_run *c) {
    const tern_tensor *x = c->in[0];
    double threshold = (double)tn_attr_f(c->node, "threshold", 0);
    for (int64_t i = 0, n = tn_shape_count(&x->shape); i < n; i++) {
        int64_t one = tn_tensor_get_f64(x, i) > threshold;
        tn_cast_elements(TERN_INT64, &one, x->dtype, (char *)c->out[0]->data + (size_t)i * tn_dtype_size(x->dtype), 1);
    }
    return TERN_OK;
}

const tn_op tn_op_binarizer = TN_ARGS_OP(infer_binarizer, run_binarizer, 1, 1, 1, 1, 0);

/* ---- Scaler ---------------------------------------------------------------------------------------------------- */

static tern_status infer_scaler(tn_infer *c) {
    size_t n_offset, n_scale;
    tn_attr_floats(c->node, "offset", &n_offset);
    tn_attr_floats(c->node, "scale", &n_scale);
    TN_TRY(tn_args_need(c, 0, TN_ML_NUMBERS));
    if (n_offset) TN_TRY(check_per_feature(c, "offset", n_offset));
    if (n_scale) TN_TRY(check_per_feature(c, "scale", n_scale));
    return out_like(c, TERN_FLOAT);
}

static tern_status run_scaler(tn_run *c) {
    const tern_tensor *x = c->in[0];
    size_t n_offset, n_scale;
    const float *offset = tn_attr_floats(c->node, "offset", &n_offset);
    const float *scale = tn_attr_floats(c->node, "scale", &n_scale);
    int64_t f = features(&x->shape);
    for (int64_t i = 0, n = tn_shape_count(&x->shape); i < n; i++) {
        int64_t k = i % f;
        double o = n_offset ? (double)offset[n_offset > 1 ? k : 0] : 0;
        double s = n_scale ? (double)scale[n_scale > 1 ? k : 0] : 1;
        ((float *)c->out[0]->data)[i] = (float)((tn_tensor_get_f64(x, i) - o) * s);
    }
    return TERN_OK;
}

const tn_op tn_op_scaler = TN_ARGS_OP(infer_scaler, run_scaler, 1, 1, 1, 1, 0);

/* ---- Normalizer ------------------------------------------------------------------------------------------------ */

typedef enum norm { MAX, L1, L2 } norm;

static tern_status get_norm(const tn_node *n, norm *out, tern_error *err) {
    static const char *const names[] = {"MAX", "L1", "L2"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        *out = (norm)i;
        if (tn_attr_is(n, "norm", "MAX", names[i])) return TERN_OK;
    }
    return tn_fail(err, TERN_INVALID_MODEL, "norm is none of MAX, L1 and L2");
}

static tern_status infer_normalizer(tn_infer *c) {
    norm how;
    tn_shape s;
    bool known;
    TN_TRY(get_norm(c->node, &how, c->err));
    TN_TRY(tn_ml_need_matrix(c, &s, &known));
    return out_like(c, TERN_FLOAT);
}

static tern_status run_normalizer(tn_run *c) {
    const tern_tensor *x = c->in[0];
    norm how;
    int64_t rows = 0, columns = 0;
    TN_TRY(get_norm(c->node, &how, c->err));
    tn_ml_matrix(&x->shape, &rows, &columns);
    for (int64_t r = 0; r < rows; r++) {
        double sum = how == MAX && columns ? tn_tensor_get_f64(x, r * columns) : 0;
        for (int64_t i = 0; i < columns; i++) {
            double v = tn_tensor_get_f64(x, r * columns + i);
            sum = how == MAX ? TN_MAX(sum, v) : sum + (how == L1 ? fabs(v) : v * v);
        }
        if (how == L2) sum = sqrt(sum);
        for (int64_t i = 0; i < columns; i++) {
            double v = tn_tensor_get_f64(x, r * columns + i);
            ((float *)c->out[0]->data)[r * columns + i] = (float)(sum == 0 ? v : v / sum);
        }
    }
    return TERN_OK;
}

const tn_op tn_op_ml_normalizer = TN_ARGS_OP(infer_normalizer, run_normalizer, 1, 1, 1, 1, 0);

/* ---- Imputer --------------------------------------------------------------------------------------------------- */

static bool is_float(tern_dtype t) { return t == TERN_FLOAT || t == TERN_DOUBLE; }

static tern_status infer_imputer(tn_infer *c) {
    size_t n;
    TN_TRY(tn_args_need(c, 0, TN_ML_NUMBERS));
    const char *name = is_float(c->in[0]->dtype) ? "imputed_value_floats" : "imputed_value_int64s";
    if (is_float(c->in[0]->dtype))
        tn_attr_floats(c->node, name, &n);
    else
        tn_attr_ints(c->node, name, &n);
    if (c->in[0]->dtype != TERN_UNDEFINED) TN_TRY(check_per_feature(c, name, n));
    return out_like(c, c->in[0]->dtype);
}

static void impute_floats(const tn_run *c, int64_t n, int64_t f) {
    size_t count, unit = tn_dtype_size(c->in[0]->dtype);
    const float *values = tn_attr_floats(c->node, "imputed_value_floats", &count);
    double bad = (double)tn_attr_f(c->node, "replaced_value_float", 0);
    for (int64_t i = 0; i < n; i++) {
        double v = tn_tensor_get_f64(c->in[0], i);
        bool replace = v == bad || (isnan(v) && isnan(bad));
        if (replace) v = (double)values[count > 1 ? i % f : 0];
        tn_cast_elements(TERN_DOUBLE, &v, c->in[0]->dtype, (char *)c->out[0]->data + (size_t)i * unit, 1);
    }
}

static void impute_ints(const tn_run *c, int64_t n, int64_t f) {
    size_t count, unit = tn_dtype_size(c->in[0]->dtype);
    const int64_t *values = tn_attr_ints(c->node, "imputed_value_int64s", &count);
    int64_t bad = tn_attr_i(c->node, "replaced_value_int64", 0);
    for (int64_t i = 0; i < n; i++) {
        int64_t v = tn_tensor_get_i64(c->in[0], i);
        if (v == bad) v = values[count > 1 ? i % f : 0];
        tn_cast_elements(TERN_INT64, &v, c->in[0]->dtype, (char *)c->out[0]->data + (size_t)i * unit, 1);
    }
}

static tern_status run_imputer(tn_run *c) {
    int64_t n = tn_shape_count(&c->in[0]->shape), f = features(&c->in[0]->shape);
    if (is_float(c->in[0]->dtype))
        impute_floats(c, n, f);
    else
        impute_ints(c, n, f);
    return TERN_OK;
}

const tn_op tn_op_imputer = TN_ARGS_OP(infer_imputer, run_imputer, 1, 1, 1, 1, 0);

/* ---- FeatureVectorizer ----------------------------------------------------------------------------------------- */

/* Columns that input i gets: as listed, or as many as it has. */
static tern_status input_columns(const tn_node *n, int i, int64_t has, int64_t *out, tern_error *err) {
    size_t count;
    const int64_t *want = tn_attr_ints(n, "inputdimensions", &count);
    *out = has;
    if (!count) return TERN_OK;
    if (count != (size_t)n->n_in || want[i] < 0)
        return tn_fail(err, TERN_INVALID_MODEL, "inputdimensions has %zu values for %d inputs, or a negative one",
                       count, n->n_in);
    *out = want[i];
    return TERN_OK;
}

static tern_status infer_vectorizer(tn_infer *c) {
    int64_t rows = TN_DIM_UNKNOWN, sum = 0;
    for (int i = 0; i < c->node->n_in; i++) {
        tn_shape s;
        int64_t r, columns = TN_DIM_UNKNOWN;
        TN_TRY(tn_args_need(c, i, TN_ML_NUMBERS));
        if (tn_args_shape(c, i, &s)) {
            if (!tn_ml_matrix(&s, &r, &columns))
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d where 1 or 2 is needed", i, s.rank);
            if (tn_dim_known(rows) && tn_dim_known(r) && rows != r)
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has %lld rows, others %lld", i, (long long)r,
                                     (long long)rows);
            if (!tn_dim_known(rows)) rows = r;
        }
        TN_TRY(input_columns(c->node, i, columns, &columns, c->err));
        if (!tn_dim_known(columns) || !tn_dim_known(sum))
            sum = TN_DIM_UNKNOWN;
        else if (!tn_add_i64(sum, columns, &sum))
            return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "too many columns");
    }
    tn_shape out = {.rank = 2, .dims = {rows, sum}};
    return tn_args_out_shape(c, 0, TERN_FLOAT, &out);
}

/* Inputs that are wider than their inputdimensions are cut, narrower ones are filled up with zeros. */
static tern_status run_vectorizer(tn_run *c) {
    tern_tensor *y = c->out[0];
    int64_t at = 0, total = y->shape.dims[1];
    if (tn_tensor_bytes(y)) memset(y->data, 0, tn_tensor_bytes(y));
    for (int i = 0; i < c->node->n_in; i++) {
        const tern_tensor *x = c->in[i];
        int64_t rows = 0, has = 0, columns;
        tn_ml_matrix(&x->shape, &rows, &has);
        TN_TRY(input_columns(c->node, i, has, &columns, c->err));
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < TN_MIN(columns, has); k++)
                ((float *)y->data)[r * total + at + k] = (float)tn_tensor_get_f64(x, r * has + k);
        at += columns;
    }
    return TERN_OK;
}

const tn_op tn_op_feature_vectorizer = TN_ARGS_OP(infer_vectorizer, run_vectorizer, 1, -1, 1, 1, 0);

/* ---- ArrayFeatureExtractor ------------------------------------------------------------------------------------- */

static tern_status infer_extractor(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_ML_NUMBERS | TN_T(STRING)));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tn_shape s, k;
    int64_t n = TN_DIM_UNKNOWN;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    if (s.rank < 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the data is a scalar");
    if (tn_args_shape(c, 1, &k) && !tn_shape_count_checked(&k, &n)) n = TN_DIM_UNKNOWN;
    if (s.rank == 1) s = (tn_shape){.rank = 2, .dims = {1, n}};
    s.dims[s.rank - 1] = n;
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &s);
}

static tern_status run_extractor(tn_run *c) {
    const tern_tensor *x = c->in[0];
    const int64_t *k = c->in[1]->data;
    int64_t n = tn_shape_count(&c->in[1]->shape), f = features(&x->shape);
    int64_t rows = tn_shape_count_range(&x->shape, 0, x->shape.rank - 1);
    size_t unit = tn_dtype_size(x->dtype);
    for (int64_t i = 0; i < n; i++)
        if (k[i] < 0 || k[i] >= f)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "index %lld is %lld, outside [0, %lld)", (long long)i,
                               (long long)k[i], (long long)f);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)c->out[0]->data + (size_t)(r * n + i) * unit,
                   (const char *)x->data + (size_t)(r * f + k[i]) * unit, unit);
    return TERN_OK;
}

const tn_op tn_op_array_feature_extractor = TN_ARGS_OP(infer_extractor, run_extractor, 2, 2, 1, 1, 0);
