/* Gather, GatherElements, GatherND, Compress: elements picked by index. */
#include "ops/args.h"
#include "ops/copy.h"

#include <stdatomic.h>

#define INDEX_TYPES (TN_T(INT32) | TN_T(INT64))

/* Reads index i of an int32 or int64 tensor, negative ones counted from the end; false when it is outside [-n, n). */
TN_INLINE bool get_index(const tern_tensor *t, int64_t i, int64_t n, int64_t *out) {
    int64_t v = t->dtype == TERN_INT64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
    *out = v < 0 ? v + n : v;
    return v >= -n && v < n;
}

static tern_status index_fail(tn_run *c, int64_t i, int64_t n) {
    return tn_run_fail(c, TERN_INVALID_ARGUMENT, "index %lld is %lld, outside [-%lld, %lld)", (long long)i,
                       (long long)tn_tensor_get_i64(c->in[1], i), (long long)n, (long long)n);
}

static tern_status need_data_and_indices(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    return tn_args_need(c, 1, INDEX_TYPES);
}

/* ---- Gather ------------------------------------------------------------------------------------------------ */

static tern_status gather_partial(tn_infer *c) {
    int64_t v[TN_INTS_MAX], k[TN_INTS_MAX], out[TN_INTS_MAX];
    int n, m;
    if (!tn_args_is_index(c, 0) || c->out[0].shape.rank > 1 || !tn_infer_ints(c, 0, v, TN_INTS_MAX, &n) ||
        !tn_infer_ints(c, 1, k, TN_INTS_MAX, &m))
        return TERN_OK;
    for (int i = 0; i < m; i++) {
        if (!tn_dim_known(k[i])) return TERN_OK;
        if (k[i] < -n || k[i] >= n)
            return tn_infer_fail(c, TERN_INVALID_ARGUMENT, "index %d is %lld, outside [-%d, %d)", i, (long long)k[i], n,
                                 n);
        out[i] = v[k[i] < 0 ? k[i] + n : k[i]];
    }
    return tn_infer_set_partial(c, 0, out, m);
}

static tern_status infer_gather(tn_infer *c) {
    TN_TRY(need_data_and_indices(c));
    tn_shape s, k;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    int axis;
    if (s.rank < 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the data is a scalar");
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
    if (!tn_args_shape(c, 1, &k)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    if (s.rank - 1 + k.rank > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "ranks %d and %d make more than %d dims", s.rank, k.rank,
                             TERN_MAX_RANK);
    tn_shape out = {.rank = 0};
    for (int i = 0; i < axis; i++) out.dims[out.rank++] = s.dims[i];
    for (int i = 0; i < k.rank; i++) out.dims[out.rank++] = k.dims[i];
    for (int i = axis + 1; i < s.rank; i++) out.dims[out.rank++] = s.dims[i];
    TN_TRY(tn_args_out_shape(c, 0, c->in[0]->dtype, &out));
    return s.rank == 1 ? gather_partial(c) : TERN_OK;
}

typedef struct gather {
    const char *src;
    char *dst;
    const tern_tensor *index;
    int64_t n, dim;
    size_t bytes; /* of one slice */
} gather;

/* Task t is slice t of the output. Indices were checked before. */
static void gather_task(void *context, int64_t begin, int64_t end, int worker) {
    const gather *g = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t outer = t / g->n, at;
        get_index(g->index, t % g->n, g->dim, &at);
        const char *s = g->src + (size_t)(outer * g->dim + at) * g->bytes;
        char *d = g->dst + (size_t)t * g->bytes;
        if (g->bytes == 4)
            memcpy(d, s, 4);
        else if (g->bytes == 8)
            memcpy(d, s, 8);
        else
            memcpy(d, s, g->bytes);
    }
}

static tern_status run_gather(tn_run *c) {
    const tern_tensor *x = c->in[0], *k = c->in[1];
    int axis;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), x->shape.rank, &axis, c->err));
    gather g = {x->data, c->out[0]->data, k, tn_shape_count(&k->shape), x->shape.dims[axis], 0};
    for (int64_t i = 0, at; i < g.n; i++)
        if (!get_index(k, i, g.dim, &at)) return index_fail(c, i, g.dim);
    if (tn_tensor_bytes(c->out[0]) == 0) return TERN_OK;
    int64_t outer = tn_shape_count_range(&x->shape, 0, axis);
    g.bytes = (size_t)tn_shape_count_range(&x->shape, axis + 1, x->shape.rank) * tern_dtype_size(x->dtype);
    tn_parallel_for(tn_tensor_bytes(c->out[0]) < (1 << 17) ? 1 : c->threads, outer * g.n, gather_task, &g);
    return TERN_OK;
}

const tn_op tn_op_gather = TN_ARGS_OP(infer_gather, run_gather, 2, 2, 1, 1, 0);

/* ---- GatherElements ---------------------------------------------------------------------------------------- */

/* Dims of the indices may not exceed those of the data, but along the axis. */
static tern_status check_element_shapes(tn_infer *c, const tn_shape *s, const tn_shape *k, int axis) {
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    bool fits = s->rank == k->rank;
    for (int i = 0; fits && i < s->rank; i++)
        if (i != axis && tn_dim_known(s->dims[i]) && tn_dim_known(k->dims[i]) && k->dims[i] > s->dims[i]) fits = false;
    if (fits) return TERN_OK;
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "indices of shape %s do not fit data of shape %s (axis %d)",
                         tn_shape_text(k, a, sizeof a), tn_shape_text(s, b, sizeof b), axis);
}

static tern_status infer_gather_elements(tn_infer *c) {
    TN_TRY(need_data_and_indices(c));
    tn_shape s, k;
    bool indices = tn_args_shape(c, 1, &k);
    if (tn_args_shape(c, 0, &s)) {
        int axis;
        TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
        if (indices) TN_TRY(check_element_shapes(c, &s, &k, axis));
        if (!indices) k = tn_args_unknown_dims(s.rank);
        indices = true;
    }
    tn_infer_out(c, 0, c->in[0]->dtype, indices ? &k : NULL);
    return TERN_OK;
}

typedef struct gather_elements {
    const tern_tensor *x, *index;
    tern_tensor *y;
    int axis;
    int64_t stride[TERN_MAX_RANK]; /* of x */
    atomic_bool outside;           /* an index is */
} gather_elements;

/* Elements of row `row` (all dims of the indices but the last) from `base` on, `step` apart where the axis is not the
 * last one. False: an index is outside. */
#define PICK_ROW(NAME, T)                                                                            \
    static bool NAME(const gather_elements *g, int64_t base, int64_t step, int64_t row, int64_t n) { \
        const T *x = (const T *)g->x->data + base;                                                   \
        T *y = (T *)g->y->data + row * n;                                                            \
        const int64_t dim = g->x->shape.dims[g->axis], along = g->stride[g->axis];                   \
        for (int64_t j = 0; j < n; j++) {                                                            \
            int64_t from;                                                                            \
            if (!get_index(g->index, row * n + j, dim, &from)) return false;                         \
            y[j] = x[j * step + from * along];                                                       \
        }                                                                                            \
        return true;                                                                                 \
    }
PICK_ROW(pick_row_1, uint8_t)
PICK_ROW(pick_row_2, uint16_t)
PICK_ROW(pick_row_4, uint32_t)
PICK_ROW(pick_row_8, uint64_t)
PICK_ROW(pick_row_16, tern_string)
_Static_assert(sizeof(tern_string) == 16, "moves whatever has 16 bytes");
#undef PICK_ROW

static void gather_elements_task(void *context, int64_t begin, int64_t end, int worker) {
    gather_elements *g = context;
    (void)worker;
    const tn_shape *k = &g->index->shape;
    const int last = k->rank - 1;
    const size_t unit = tern_dtype_size(g->x->dtype);
    for (int64_t row = begin; row < end; row++) {
        int64_t rest = row, base = 0, n = k->dims[last], step = g->axis == last ? 0 : 1;
        for (int d = last - 1; d >= 0; d--) {
            if (d != g->axis) base += rest % k->dims[d] * g->stride[d];
            rest /= k->dims[d];
        }
        bool fits = unit == 1   ? pick_row_1(g, base, step, row, n)
                    : unit == 2 ? pick_row_2(g, base, step, row, n)
                    : unit == 4 ? pick_row_4(g, base, step, row, n)
                    : unit == 8 ? pick_row_8(g, base, step, row, n)
                                : pick_row_16(g, base, step, row, n);
        if (!fits) atomic_store_explicit(&g->outside, true, memory_order_relaxed);
    }
}

static tern_status run_gather_elements(tn_run *c) {
    const tern_tensor *x = c->in[0], *k = c->in[1];
    gather_elements g = {.x = x, .index = k, .y = c->out[0]};
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), x->shape.rank, &g.axis, c->err));
    int64_t n = tn_shape_count(&k->shape), rank = k->shape.rank, from;
    if (n == 0) return TERN_OK;
    tn_copy_strides(&x->shape, g.stride);
    atomic_init(&g.outside, false);
    tn_parallel_for(n < 16384 ? 1 : c->threads, n / k->shape.dims[rank - 1], gather_elements_task, &g);
    if (!atomic_load_explicit(&g.outside, memory_order_relaxed)) return TERN_OK;
    int64_t i = 0;
    while (get_index(k, i, x->shape.dims[g.axis], &from)) i++;
    return index_fail(c, i, x->shape.dims[g.axis]);
}

const tn_op tn_op_gather_elements = TN_ARGS_OP(infer_gather_elements, run_gather_elements, 2, 2, 1, 1, 0);

/* ---- GatherND ---------------------------------------------------------------------------------------------- */

static tern_status infer_gather_nd(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tn_shape s, k;
    int64_t batch = tn_attr_i(c->node, "batch_dims", 0);
    if (!tn_args_shape(c, 0, &s) || !tn_args_shape(c, 1, &k) || (k.rank > 0 && !tn_dim_known(k.dims[k.rank - 1]))) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    int64_t depth = k.rank > 0 ? k.dims[k.rank - 1] : 0;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    if (s.rank < 1 || k.rank < 1 || batch < 0 || batch >= TN_MIN(s.rank, k.rank) || depth < 1 ||
        depth > s.rank - batch || k.rank - 1 + s.rank - depth - batch > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH,
                             "indices of shape %s do not fit data of shape %s (batch_dims %lld)",
                             tn_shape_text(&k, a, sizeof a), tn_shape_text(&s, b, sizeof b), (long long)batch);
    for (int i = 0; i < batch; i++)
        if (tn_dim_known(s.dims[i]) && tn_dim_known(k.dims[i]) && s.dims[i] != k.dims[i])
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "batch dims of indices, %s, and data, %s, differ",
                                 tn_shape_text(&k, a, sizeof a), tn_shape_text(&s, b, sizeof b));
    tn_shape out = tn_shape_of(k.rank - 1, k.dims);
    for (int i = (int)(batch + depth); i < s.rank; i++) out.dims[out.rank++] = s.dims[i];
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

static tern_status run_gather_nd(tn_run *c) {
    const tern_tensor *x = c->in[0], *k = c->in[1];
    int batch = (int)tn_attr_i(c->node, "batch_dims", 0), depth = (int)k->shape.dims[k->shape.rank - 1];
    int64_t batches = tn_shape_count_range(&x->shape, 0, batch);
    int64_t each = tn_shape_count_range(&k->shape, batch, k->shape.rank - 1);
    int64_t inner = tn_shape_count_range(&x->shape, batch + depth, x->shape.rank);
    int64_t image = tn_shape_count_range(&x->shape, batch, x->shape.rank);
    size_t bytes = (size_t)inner * tern_dtype_size(x->dtype);
    for (int64_t i = 0; i < batches * each; i++) {
        int64_t at = 0;
        for (int d = 0; d < depth; d++) {
            int64_t n = x->shape.dims[batch + d], v;
            if (!get_index(k, i * depth + d, n, &v)) return index_fail(c, i * depth + d, n);
            at = at * n + v;
        }
        if (bytes == 0) continue;
        memcpy((char *)c->out[0]->data + (size_t)i * bytes,
               (const char *)x->data + (size_t)(i / each * image + at * inner) * tern_dtype_size(x->dtype), bytes);
    }
    return TERN_OK;
}

const tn_op tn_op_gather_nd = TN_ARGS_OP(infer_gather_nd, run_gather_nd, 2, 2, 1, 1, 0);

/* ---- Compress ---------------------------------------------------------------------------------------------- */

static tern_status infer_compress(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_T(BOOL)));
    tn_shape s, k, out = tn_args_unknown_dims(1);
    if (tn_args_shape(c, 1, &k) && k.rank != 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the condition has rank %d where 1 is needed", k.rank);
    if (!tn_attr_find(c->node, "axis")) {
        tn_infer_out(c, 0, c->in[0]->dtype, &out);
        return TERN_OK;
    }
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    int axis;
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
    s.dims[axis] = TN_DIM_UNKNOWN;
    tn_infer_out(c, 0, c->in[0]->dtype, &s);
    return TERN_OK;
}

static tern_status run_compress(tn_run *c) {
    const tern_tensor *x = c->in[0];
    const uint8_t *pick = c->in[1]->data;
    int axis = 0;
    bool flat = !tn_attr_find(c->node, "axis");
    tn_shape out = x->shape;
    if (flat) {
        out.rank = 1;
        out.dims[0] = tn_shape_count(&x->shape);
    } else {
        TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), x->shape.rank, &axis, c->err));
    }
    int64_t dim = out.dims[axis], n = TN_MIN(c->in[1]->shape.dims[0], dim), picked = 0;
    for (int64_t i = 0; i < n; i++) picked += pick[i] != 0;
    int64_t outer = tn_shape_count_range(&out, 0, axis);
    size_t bytes = (size_t)tn_shape_count_range(&out, axis + 1, out.rank) * tern_dtype_size(x->dtype);
    out.dims[axis] = picked;
    TN_TRY(tn_run_alloc(c, 0, x->dtype, &out));
    char *d = c->out[0]->data;
    if (bytes == 0) return TERN_OK;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n; i++) {
            if (!pick[i]) continue;
            memcpy(d, (const char *)x->data + (size_t)(o * dim + i) * bytes, bytes);
            d += bytes;
        }
    return TERN_OK;
}

const tn_op tn_op_compress = TN_ARGS_OP(infer_compress, run_compress, 2, 2, 1, 1, TN_OP_ALLOC);
