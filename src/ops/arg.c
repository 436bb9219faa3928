/* ArgMax, ArgMin, TopK: positions of extremes along an axis. */
#include "kernels/row.h"
#include "ops/args.h"
#include "ops/keys.h"
#include "ops/rowio.h"

#define COLUMNS 256

/* Numbers in 64-bit integers of the same order: floats by their bits as float or double, with NaN above everything,
 * integers as they are, uint64 with its sign bit flipped. */
static void load_keys(tern_dtype dtype, const void *data, int64_t at, int64_t n, int64_t *keys) {
    if (!tn_type_in(dtype, TN_TYPES_FLOAT)) {
        tn_row_load_i64(dtype, data, at, n, keys);
        if (dtype == TERN_UINT64)
            for (int64_t i = 0; i < n; i++) keys[i] = (int64_t)((uint64_t)keys[i] ^ ((uint64_t)1 << 63));
        return;
    }
    for (int64_t i = 0; dtype == TERN_FLOAT && i < n; i++) {
        float v = ((const float *)data)[at + i] + 0.0f; /* -0 equals 0 */
        int32_t bits;
        memcpy(&bits, &v, sizeof bits);
        bits = bits < 0 ? (int32_t)((uint32_t)INT32_MIN - (uint32_t)bits) : bits;
        keys[i] = v != v ? INT64_MAX : bits;
    }
    for (int64_t i = 0; dtype != TERN_FLOAT && i < n; i++) {
        double v;
        int64_t bits;
        tn_row_load_f64(dtype, data, at + i, 1, &v);
        v += 0.0; /* -0 equals 0 */
        memcpy(&bits, &v, sizeof bits);
        /* The order of IEEE bits is that of the numbers, reversed for negative ones. */
        keys[i] = v != v ? INT64_MAX : bits < 0 ? (int64_t)((uint64_t)INT64_MIN - (uint64_t)bits) : bits;
    }
}

/* ---- ArgMax, ArgMin ---------------------------------------------------------------------------------------- */

#define ARG_TYPES (TN_TYPES_NUMERIC)

static tern_status infer_arg(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, ARG_TYPES));
    tn_shape s, out = {.rank = 0};
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, TERN_INT64, NULL);
        return TERN_OK;
    }
    int axis;
    bool keep = tn_attr_i(c->node, "keepdims", 1) != 0;
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
    if (s.dims[axis] == 0)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d is 0: there is no extreme element", axis);
    for (int i = 0; i < s.rank; i++) {
        if (i != axis)
            out.dims[out.rank++] = s.dims[i];
        else if (keep)
            out.dims[out.rank++] = 1;
    }
    tn_infer_out(c, 0, TERN_INT64, &out);
    return TERN_OK;
}

typedef struct arg_job {
    tn_rows r;
    const tern_tensor *x;
    int64_t *y;
    bool max, last; /* last: of equal elements */
    tern_cpu_tier tier;
} arg_job;

TN_INLINE void take(const arg_job *j, int64_t key, int64_t d, int64_t *best, int64_t *index) {
    if (key == *best ? !j->last : j->max ? key < *best : key > *best) return;
    *best = key;
    *index = d;
}

/* Smallest: NaN would lose against every number, but wins as it does for the largest. */
static void flip_nan(const arg_job *j, int64_t *keys, int64_t n) {
    if (j->max || !tn_type_in(j->x->dtype, TN_TYPES_FLOAT)) return;
    for (int64_t i = 0; i < n; i++)
        if (keys[i] == INT64_MAX) keys[i] = INT64_MIN;
}

/* float32, a row: the extreme first, then where it is. */
static int64_t arg_row_f32(const arg_job *j, const float *x) {
    const int64_t n = j->r.dim;
    float top = tn_row_extreme_f32(j->tier, x, (size_t)n, j->max);
    bool nan = top != top;
    if (j->last) {
        for (int64_t i = n - 1; i > 0; i--)
            if (nan ? x[i] != x[i] : x[i] == top) return i;
        return 0;
    }
    for (int64_t i = 0; i < n; i++)
        if (nan ? x[i] != x[i] : x[i] == top) return i;
    return 0;
}

/* float32, `width` columns from x on. Smallest: the largest of the negated. */
static void arg_columns_f32(const arg_job *j, const float *x, int64_t width, int64_t *index) {
    float best[COLUMNS];
    int32_t at[COLUMNS];
    const float sign = j->max ? 1.0f : -1.0f;
    for (int64_t i = 0; i < width; i++) best[i] = x[i] * sign;
    for (int64_t i = 0; i < width; i++) at[i] = 0;
    for (int64_t d = 1; d < j->r.dim; d++) {
        const int32_t row = (int32_t)d;
        x += j->r.inner;
        for (int64_t i = 0; i < width; i++) {
            /* Bit by bit, so that this becomes vectors. A NaN beats every number, and as the last one another NaN. */
            const float v = x[i] * sign, b = best[i];
            const bool again = (v == b) | ((v != v) & (b != b));
            const bool take = (v > b) | ((v != v) & (b == b)) | (j->last & again);
            best[i] = take ? v : b;
            at[i] = take ? row : at[i];
        }
    }
    for (int64_t i = 0; i < width; i++) index[i] = at[i];
}

static void arg_task(void *context, int64_t begin, int64_t end, int worker) {
    const arg_job *j = context;
    (void)worker;
    int64_t keys[COLUMNS], best[COLUMNS], parts = tn_ceil_div(j->r.inner, COLUMNS);
    for (int64_t t = begin; t < end; t++) {
        int64_t outer = t / parts, column = t % parts * COLUMNS;
        int64_t width = TN_MIN((int64_t)COLUMNS, j->r.inner - column), at = outer * j->r.dim * j->r.inner + column;
        int64_t *index = j->y + outer * j->r.inner + column;
        if (j->x->dtype == TERN_FLOAT && j->r.dim <= INT32_MAX) {
            const float *x = (const float *)j->x->data + at;
            if (j->r.inner == 1)
                *index = arg_row_f32(j, x);
            else
                arg_columns_f32(j, x, width, index);
            continue;
        }
        load_keys(j->x->dtype, j->x->data, at, width, best);
        flip_nan(j, best, width);
        for (int64_t i = 0; i < width; i++) index[i] = 0;
        if (j->r.inner == 1) {
            for (int64_t d = 1; d < j->r.dim; d += COLUMNS) {
                int64_t n = TN_MIN((int64_t)COLUMNS, j->r.dim - d);
                load_keys(j->x->dtype, j->x->data, at + d, n, keys);
                flip_nan(j, keys, n);
                for (int64_t i = 0; i < n; i++) take(j, keys[i], d + i, best, index);
            }
            continue;
        }
        for (int64_t d = 1; d < j->r.dim; d++) {
            load_keys(j->x->dtype, j->x->data, at + d * j->r.inner, width, keys);
            flip_nan(j, keys, width);
            for (int64_t i = 0; i < width; i++) take(j, keys[i], d, best + i, index + i);
        }
    }
}

static tern_status run_arg(tn_run *c, bool max) {
    int axis = 0;
    const tern_tensor *x = c->in[0];
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), x->shape.rank, &axis, c->err));
    arg_job j = {
        tn_rows_of(&x->shape, axis), x, c->out[0]->data, max, tn_attr_i(c->node, "select_last_index", 0) != 0, c->tier};
    int64_t n = tn_shape_count(&x->shape);
    if (n > 0) tn_parallel_for(n < 16384 ? 1 : c->threads, j.r.outer * tn_ceil_div(j.r.inner, COLUMNS), arg_task, &j);
    return TERN_OK;
}

static tern_status run_arg_max(tn_run *c) { return run_arg(c, true); }
static tern_status run_arg_min(tn_run *c) { return run_arg(c, false); }

const tn_op tn_op_arg_max = TN_ARGS_OP(infer_arg, run_arg_max, 1, 1, 1, 1, 0);
const tn_op tn_op_arg_min = TN_ARGS_OP(infer_arg, run_arg_min, 1, 1, 1, 1, 0);

/* ---- TopK -------------------------------------------------------------------------------------------------- */

static tern_status topk_count(const tn_node *n, const tern_tensor *k, int64_t dim, int64_t *out, tern_error *err) {
    if (n->since < 10) {
        const tn_attr *a = tn_attr_find(n, "k");
        if (!a) return tn_fail(err, TERN_INVALID_MODEL, "attribute 'k' is missing");
        *out = a->i;
    } else {
        if (tn_shape_count(&k->shape) != 1)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "k has %lld elements where 1 is needed",
                           (long long)tn_shape_count(&k->shape));
        *out = tn_tensor_get_i64(k, 0);
    }
    if (*out < 0 || (tn_dim_known(dim) && *out > dim))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "k is %lld, the axis has %lld elements", (long long)*out,
                       (long long)(tn_dim_known(dim) ? dim : -1));
    return TERN_OK;
}

static tern_status infer_topk(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, ARG_TYPES));
    bool input = c->node->since >= 10;
    if (input) TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tn_shape s;
    int axis;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        tn_infer_out(c, 1, TERN_INT64, NULL);
        return TERN_OK;
    }
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", -1), s.rank, &axis, "axis"));
    int64_t k = TN_DIM_UNKNOWN;
    if (!input || c->value[1]) TN_TRY(topk_count(c->node, input ? c->value[1] : NULL, s.dims[axis], &k, c->err));
    s.dims[axis] = k;
    tn_infer_out(c, 0, c->in[0]->dtype, &s);
    tn_infer_out(c, 1, TERN_INT64, &s);
    return TERN_OK;
}

typedef struct topk {
    tn_rows r;
    int64_t k;
    bool largest, sorted;
    const tern_tensor *x;
    tern_tensor *values, *indices;
    int64_t width;        /* columns of a task */
    int64_t keys;         /* of a worker: width * r.dim */
    uint64_t *key;        /* keys per worker */
    tn_key_item *scratch; /* each per worker */
    int64_t each;
} topk;

/* Keys of columns [column, column + width), one column after the other, such that the smallest comes first. */
static void topk_load(const topk *t, int64_t base, int64_t width, uint64_t *key) {
    int64_t v[COLUMNS];
    const uint64_t flip = (uint64_t)1 << 63;
    int64_t step = t->r.inner == 1 ? TN_MIN((int64_t)COLUMNS, t->r.dim) : 1;
    for (int64_t d = 0; d < t->r.dim; d += step) {
        int64_t n = t->r.inner == 1 ? TN_MIN(step, t->r.dim - d) : width;
        load_keys(t->x->dtype, t->x->data, base + d * t->r.inner, n, v);
        uint64_t *to = key + d;
        int64_t stride = t->r.inner == 1 ? 1 : t->r.dim;
        for (int64_t i = 0; i < n; i++) to[i * stride] = (uint64_t)(t->largest ? ~v[i] : v[i]) ^ flip;
    }
}

static void topk_column(const topk *t, int64_t outer, int64_t column, const uint64_t *key, tn_key_item *scratch) {
    int64_t base = outer * t->r.dim * t->r.inner + column;
    const tn_key_item *best = tn_keys_first(key, t->r.dim, t->k, t->sorted, scratch);
    size_t unit = tern_dtype_size(t->x->dtype);
    for (int64_t i = 0; i < t->k; i++) {
        int64_t to = (outer * t->k + i) * t->r.inner + column, from = base + best[i].index * t->r.inner;
        if (t->values)
            memcpy((char *)t->values->data + (size_t)to * unit, (const char *)t->x->data + (size_t)from * unit, unit);
        if (t->indices) ((int64_t *)t->indices->data)[to] = best[i].index;
    }
}

static void topk_task(void *context, int64_t begin, int64_t end, int worker) {
    const topk *t = context;
    int64_t parts = tn_ceil_div(t->r.inner, t->width);
    uint64_t *key = t->key + worker * t->keys;
    for (int64_t i = begin; i < end; i++) {
        int64_t outer = i / parts, column = i % parts * t->width, width = TN_MIN(t->width, t->r.inner - column);
        topk_load(t, outer * t->r.dim * t->r.inner + column, width, key);
        for (int64_t k = 0; k < width; k++)
            topk_column(t, outer, column + k, key + k * t->r.dim, t->scratch + worker * t->each);
    }
}

/* Memory for `threads` workers. */
static bool topk_memory(topk *t, size_t threads) {
    size_t keys, items;
    t->each = tn_keys_scratch(t->r.dim, t->k);
    if (!tn_mul_size((size_t)t->keys, threads, &keys) || !tn_mul_size((size_t)t->each, threads, &items)) return false;
    t->key = tn_alloc_array(keys, sizeof *t->key);
    t->scratch = tn_alloc_array(items, sizeof *t->scratch);
    return t->key && t->scratch;
}

static tern_status run_topk(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    topk t = {.x = x, .values = tn_args_out(c, 0), .indices = tn_args_out(c, 1)};
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", -1), x->shape.rank, &axis, c->err));
    t.r = tn_rows_of(&x->shape, axis);
    TN_TRY(topk_count(c->node, tn_args_in(c, 1), t.r.dim, &t.k, c->err));
    t.largest = tn_attr_i(c->node, "largest", 1) != 0;
    t.sorted = tn_attr_i(c->node, "sorted", 1) != 0;
    int64_t rows = t.r.outer * t.r.inner;
    if (rows == 0 || t.k == 0) return TERN_OK;
    int threads = rows * t.r.dim < 4096 ? 1 : TN_MAX(c->threads, 1);
    /* Neighbouring columns share the cache lines that they read. */
    t.width = TN_MAX(TN_MIN(TN_MIN((int64_t)16, t.r.inner), 65536 / t.r.dim), (int64_t)1);
    t.keys = t.width * t.r.dim;
    bool fits = topk_memory(&t, (size_t)threads);
    if (fits) tn_parallel_for(threads, t.r.outer * tn_ceil_div(t.r.inner, t.width), topk_task, &t);
    tn_free(t.key);
    tn_free(t.scratch);
    return fits ? TERN_OK : tn_fail_oom(c->err, (size_t)t.keys * sizeof *t.key);
}

const tn_op tn_op_topk1 = TN_ARGS_OP(infer_topk, run_topk, 1, 1, 2, 2, 0);
const tn_op tn_op_topk = TN_ARGS_OP(infer_topk, run_topk, 2, 2, 2, 2, 0);
