/* ScatterElements (once Scatter) and ScatterND: a copy of the data with elements replaced or combined. */
#include "ops/args.h"
#include "ops/copy.h"
#include "ops/rowio.h"

#include <stdatomic.h>

typedef enum reduction { REPLACE, ADD, MUL, MAXIMUM, MINIMUM } reduction;

static tern_status reduction_of(const tn_node *n, reduction *out, tern_error *err) {
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    *out = REPLACE;
    if (n->since < 16 || strcmp(n->op_type, "Scatter") == 0) return TERN_OK;
    tn_str s = tn_attr_s(n, "reduction", "none");
    for (int i = 0; i < (n->since >= 18 ? 5 : 3); i++)
        if (tn_str_eq(s, tn_str_c(names[i]))) {
            *out = (reduction)i;
            return TERN_OK;
        }
    return tn_fail(err, TERN_INVALID_MODEL, "reduction '%.*s' is not known in version %d", (int)TN_MIN(s.len, 40u),
                   s.data, n->since);
}

/* ---- combining --------------------------------------------------------------------------------------------- */

#define COMBINE(T, WIDE)                                \
    do {                                                \
        T *y = (T *)dst + i;                            \
        T v = ((const T *)src)[j];                      \
        *y = how == ADD       ? (T)((WIDE)*y + (WIDE)v) \
             : how == MUL     ? (T)((WIDE)*y * (WIDE)v) \
             : how == MAXIMUM ? TN_MAX(*y, v)           \
                              : TN_MIN(*y, v);          \
    } while (0)

static float combine_f32(reduction how, float a, float b) {
    if (how == ADD) return a + b;
    if (how == MUL) return a * b;
    if (a != a || b != b) return a + b;
    return how == MAXIMUM ? TN_MAX(a, b) : TN_MIN(a, b);
}

static double combine_f64(reduction how, double a, double b) {
    if (how == ADD) return a + b;
    if (how == MUL) return a * b;
    if (a != a || b != b) return a + b;
    return how == MAXIMUM ? TN_MAX(a, b) : TN_MIN(a, b);
}

/* dst[i] = dst[i] op src[j]; integers wrap. */
static void combine(tern_dtype t, reduction how, void *dst, int64_t i, const void *src, int64_t j) {
    switch (t) {
    case TERN_FLOAT:
        ((float *)dst)[i] = combine_f32(how, ((float *)dst)[i], ((const float *)src)[j]);
        break;
    case TERN_DOUBLE:
        ((double *)dst)[i] = combine_f64(how, ((double *)dst)[i], ((const double *)src)[j]);
        break;
    case TERN_FLOAT16:
    case TERN_BFLOAT16: {
        float a, b;
        tn_row_load_f32(t, dst, i, 1, &a);
        tn_row_load_f32(t, src, j, 1, &b);
        a = combine_f32(how, a, b);
        tn_row_store_f32(t, dst, i, 1, &a);
        break;
    }
    case TERN_INT8:
        COMBINE(int8_t, int);
        break;
    case TERN_UINT8:
        COMBINE(uint8_t, unsigned);
        break;
    case TERN_INT16:
        COMBINE(int16_t, int);
        break;
    case TERN_UINT16:
        COMBINE(uint16_t, unsigned);
        break;
    case TERN_INT32:
        COMBINE(int32_t, uint32_t);
        break;
    case TERN_UINT32:
        COMBINE(uint32_t, uint32_t);
        break;
    case TERN_INT64:
        COMBINE(int64_t, uint64_t);
        break;
    case TERN_UINT64:
        COMBINE(uint64_t, uint64_t);
        break;
    default: { /* bool: or, and */
        uint8_t *y = (uint8_t *)dst + i, v = ((const uint8_t *)src)[j] != 0;
        *y = how == ADD || how == MAXIMUM ? *y || v : *y && v;
    }
    }
}

/* ---- shared ------------------------------------------------------------------------------------------------ */

static tern_status infer_scatter_inputs(tn_infer *c, uint32_t index_types) {
    reduction how;
    TN_TRY(reduction_of(c->node, &how, c->err));
    TN_TRY(tn_args_need(c, 0, how == REPLACE ? TN_TYPES_ALL : TN_TYPES_NUMERIC | TN_T(BOOL)));
    TN_TRY(tn_args_need(c, 1, index_types));
    TN_TRY(tn_args_need(c, 2, TN_TYPES_ALL));
    TN_TRY(tn_infer_same_type(c, 0, 2));
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

TN_INLINE bool get_index(const tern_tensor *t, int64_t i, int64_t n, int64_t *out) {
    int64_t v = t->dtype == TERN_INT64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
    *out = v < 0 ? v + n : v;
    return v >= -n && v < n;
}

static tern_status index_fail(tn_run *c, int64_t i, int64_t n) {
    return tn_run_fail(c, TERN_INVALID_ARGUMENT, "index %lld is %lld, outside [-%lld, %lld)", (long long)i,
                       (long long)tn_tensor_get_i64(c->in[1], i), (long long)n, (long long)n);
}

static void copy_data(tn_run *c) {
    if (c->out[0]->data != c->in[0]->data)
        tn_copy_bytes(c->in[0]->data, c->out[0]->data, tn_tensor_bytes(c->out[0]), c->threads);
}

/* ---- ScatterElements --------------------------------------------------------------------------------------- */

static tern_status infer_scatter_elements(tn_infer *c) {
    TN_TRY(infer_scatter_inputs(c, TN_T(INT32) | TN_T(INT64)));
    tn_shape s, k, u;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    int axis = -1;
    bool data = tn_args_shape(c, 0, &s), indices = tn_args_shape(c, 1, &k), updates = tn_args_shape(c, 2, &u);
    if (data) TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
    bool fits = true;
    if (data && indices) {
        fits = s.rank == k.rank;
        for (int i = 0; fits && i < s.rank; i++)
            if (i != axis && tn_dim_known(s.dims[i]) && tn_dim_known(k.dims[i]) && k.dims[i] > s.dims[i]) fits = false;
        if (!fits)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "indices of shape %s do not fit data of shape %s (axis %d)",
                                 tn_shape_text(&k, a, sizeof a), tn_shape_text(&s, b, sizeof b), axis);
    }
    if (indices && updates) {
        fits = k.rank == u.rank;
        for (int i = 0; fits && i < k.rank; i++)
            if (tn_dim_known(k.dims[i]) && tn_dim_known(u.dims[i]) && k.dims[i] != u.dims[i]) fits = false;
        if (!fits)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "indices have shape %s, updates %s",
                                 tn_shape_text(&k, a, sizeof a), tn_shape_text(&u, b, sizeof b));
    }
    return TERN_OK;
}

typedef struct scatter_elements {
    const tern_tensor *index, *updates;
    tern_tensor *y;
    reduction how;
    int axis;
    int64_t stride[TERN_MAX_RANK]; /* of y */
    atomic_bool outside;           /* an index is */
} scatter_elements;

/* Row `row` (all dims of the indices but the last); base and step as in GatherElements. False: an index is outside. */
#define PUT_ROW(NAME, T)                                                                              \
    static bool NAME(const scatter_elements *s, int64_t base, int64_t step, int64_t row, int64_t n) { \
        T *y = (T *)s->y->data + base;                                                                \
        const T *u = (const T *)s->updates->data + row * n;                                           \
        const int64_t dim = s->y->shape.dims[s->axis], along = s->stride[s->axis];                    \
        for (int64_t j = 0; j < n; j++) {                                                             \
            int64_t to;                                                                               \
            if (!get_index(s->index, row * n + j, dim, &to)) return false;                            \
            y[j * step + to * along] = u[j];                                                          \
        }                                                                                             \
        return true;                                                                                  \
    }
PUT_ROW(put_row_1, uint8_t)
PUT_ROW(put_row_2, uint16_t)
PUT_ROW(put_row_4, uint32_t)
PUT_ROW(put_row_8, uint64_t)
PUT_ROW(put_row_16, tern_string)
#undef PUT_ROW

static bool combine_row(const scatter_elements *s, int64_t base, int64_t step, int64_t row, int64_t n) {
    const int64_t dim = s->y->shape.dims[s->axis], along = s->stride[s->axis];
    for (int64_t j = 0; j < n; j++) {
        int64_t to;
        if (!get_index(s->index, row * n + j, dim, &to)) return false;
        combine(s->y->dtype, s->how, s->y->data, base + j * step + to * along, s->updates->data, row * n + j);
    }
    return true;
}

static void scatter_elements_task(void *context, int64_t begin, int64_t end, int worker) {
    scatter_elements *s = context;
    (void)worker;
    const tn_shape *k = &s->index->shape;
    const int last = k->rank - 1;
    const size_t unit = tern_dtype_size(s->y->dtype);
    for (int64_t row = begin; row < end; row++) {
        int64_t rest = row, base = 0, n = k->dims[last], step = s->axis == last ? 0 : 1;
        for (int d = last - 1; d >= 0; d--) {
            if (d != s->axis) base += rest % k->dims[d] * s->stride[d];
            rest /= k->dims[d];
        }
        bool fits = s->how != REPLACE ? combine_row(s, base, step, row, n)
                    : unit == 1       ? put_row_1(s, base, step, row, n)
                    : unit == 2       ? put_row_2(s, base, step, row, n)
                    : unit == 4       ? put_row_4(s, base, step, row, n)
                    : unit == 8       ? put_row_8(s, base, step, row, n)
                                      : put_row_16(s, base, step, row, n);
        if (!fits) atomic_store_explicit(&s->outside, true, memory_order_relaxed);
    }
}

static tern_status run_scatter_elements(tn_run *c) {
    const tern_tensor *k = c->in[1];
    scatter_elements s = {.index = k, .updates = c->in[2], .y = c->out[0]};
    TN_TRY(reduction_of(c->node, &s.how, c->err));
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), s.y->shape.rank, &s.axis, c->err));
    int64_t n = tn_shape_count(&k->shape), dim = s.y->shape.dims[s.axis], to;
    copy_data(c);
    if (n == 0) return TERN_OK;
    tn_copy_strides(&s.y->shape, s.stride);
    atomic_init(&s.outside, false);
    /* Rows along the axis do not meet; others may write to one place, where the last one stays. */
    int threads = n < 16384 || s.axis != k->shape.rank - 1 ? 1 : c->threads;
    tn_parallel_for(threads, n / k->shape.dims[k->shape.rank - 1], scatter_elements_task, &s);
    if (!atomic_load_explicit(&s.outside, memory_order_relaxed)) return TERN_OK;
    int64_t i = 0;
    while (get_index(k, i, dim, &to)) i++;
    return index_fail(c, i, dim);
}

const tn_op tn_op_scatter_elements = TN_ARGS_OP(infer_scatter_elements, run_scatter_elements, 3, 3, 1, 1, 0);

/* ---- ScatterND --------------------------------------------------------------------------------------------- */

static tern_status infer_scatter_nd(tn_infer *c) {
    TN_TRY(infer_scatter_inputs(c, TN_T(INT64)));
    tn_shape s, k, u;
    if (!tn_args_shape(c, 0, &s) || !tn_args_shape(c, 1, &k)) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT], d[TN_SHAPE_TEXT];
    if (k.rank < 1 || s.rank < 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "data has rank %d, indices %d", s.rank, k.rank);
    int64_t depth = k.dims[k.rank - 1];
    if (!tn_dim_known(depth)) return TERN_OK;
    bool fits = depth >= 0 && depth <= s.rank;
    if (fits && tn_args_shape(c, 2, &u)) {
        fits = u.rank == k.rank - 1 + s.rank - depth;
        for (int i = 0; fits && i < u.rank; i++) {
            int64_t want = i < k.rank - 1 ? k.dims[i] : s.dims[i - (k.rank - 1) + depth];
            if (tn_dim_known(want) && tn_dim_known(u.dims[i]) && want != u.dims[i]) fits = false;
        }
    } else {
        u.rank = 0;
    }
    if (fits) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "indices %s and updates %s do not fit data %s",
                         tn_shape_text(&k, a, sizeof a), tn_shape_text(&u, b, sizeof b),
                         tn_shape_text(&s, d, sizeof d));
}

static tern_status run_scatter_nd(tn_run *c) {
    const tern_tensor *k = c->in[1], *u = c->in[2];
    tern_tensor *y = c->out[0];
    reduction how;
    TN_TRY(reduction_of(c->node, &how, c->err));
    int depth = (int)k->shape.dims[k->shape.rank - 1];
    int64_t n = tn_shape_count_range(&k->shape, 0, k->shape.rank - 1);
    int64_t inner = tn_shape_count_range(&y->shape, depth, y->shape.rank);
    size_t bytes = (size_t)inner * tern_dtype_size(y->dtype);
    copy_data(c);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0, v;
        for (int d = 0; d < depth; d++) {
            int64_t dim = y->shape.dims[d];
            if (!get_index(k, i * depth + d, dim, &v)) return index_fail(c, i * depth + d, dim);
            at = at * dim + v;
        }
        if (bytes == 0) continue;
        if (how == REPLACE) {
            memcpy((char *)y->data + (size_t)at * bytes, (const char *)u->data + (size_t)i * bytes, bytes);
            continue;
        }
        for (int64_t e = 0; e < inner; e++) combine(y->dtype, how, y->data, at * inner + e, u->data, i * inner + e);
    }
    return TERN_OK;
}

const tn_op tn_op_scatter_nd = TN_ARGS_OP(infer_scatter_nd, run_scatter_nd, 3, 3, 1, 1, 0);
