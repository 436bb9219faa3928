/* ArgMax, ArgMin, TopK: positions of extremes along an axis. */
#include "ops/args.h"
#include "ops/rowio.h"

#include <stdlib.h>

#define COLUMNS 256

/* Numbers in an order that all types share: floats as double with NaN above everything, integers in 64 bits, uint64
 * with its sign bit flipped. */
static void load_keys(tern_dtype dtype, const void *data, int64_t at, int64_t n, int64_t *keys) {
    if (!tn_type_in(dtype, TN_TYPES_FLOAT)) {
        tn_row_load_i64(dtype, data, at, n, keys);
        if (dtype == TERN_UINT64)
            for (int64_t i = 0; i < n; i++) keys[i] = (int64_t)((uint64_t)keys[i] ^ ((uint64_t)1 << 63));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
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

static void arg_task(void *context, int64_t begin, int64_t end, int worker) {
    const arg_job *j = context;
    (void)worker;
    int64_t keys[COLUMNS], best[COLUMNS], parts = tn_ceil_div(j->r.inner, COLUMNS);
    for (int64_t t = begin; t < end; t++) {
        int64_t outer = t / parts, column = t % parts * COLUMNS;
        int64_t width = TN_MIN((int64_t)COLUMNS, j->r.inner - column), at = outer * j->r.dim * j->r.inner + column;
        int64_t *index = j->y + outer * j->r.inner + column;
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
    arg_job j = {tn_rows_of(&x->shape, axis), x, c->out[0]->data, max, tn_attr_i(c->node, "select_last_index", 0) != 0};
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

typedef struct item {
    int64_t key, index;
} item;

/* Before: nearer to the front of the result. Keys are such that larger comes first. */
TN_INLINE bool before(item a, item b) { return a.key != b.key ? a.key > b.key : a.index < b.index; }

static int compare_items(const void *x, const void *y) {
    item a = *(const item *)x, b = *(const item *)y;
    return before(a, b) ? -1 : before(b, a) ? 1 : 0;
}

static int compare_index(const void *x, const void *y) {
    int64_t a = ((const item *)x)->index, b = ((const item *)y)->index;
    return a < b ? -1 : a > b;
}

/* heap[0] is the last of those kept. */
static void sift(item *heap, int64_t n, int64_t i) {
    for (;;) {
        int64_t worst = i, l = 2 * i + 1, r = l + 1;
        if (l < n && before(heap[worst], heap[l])) worst = l;
        if (r < n && before(heap[worst], heap[r])) worst = r;
        if (worst == i) return;
        item t = heap[i];
        heap[i] = heap[worst];
        heap[worst] = t;
        i = worst;
    }
}

typedef struct topk {
    tn_rows r;
    int64_t k;
    bool largest, sorted;
    const tern_tensor *x;
    tern_tensor *values, *indices;
    item *heaps; /* k per worker */
} topk;

static void topk_row(const topk *t, int64_t outer, int64_t column, item *heap) {
    int64_t base = outer * t->r.dim * t->r.inner + column, n = 0;
    for (int64_t d = 0; d < t->r.dim; d++) {
        item it = {0, d};
        load_keys(t->x->dtype, t->x->data, base + d * t->r.inner, 1, &it.key);
        if (!t->largest) it.key = ~it.key;
        if (n < t->k) {
            heap[n++] = it;
            if (n == t->k)
                for (int64_t i = n / 2; i-- > 0;) sift(heap, n, i);
        } else if (before(it, heap[0])) {
            heap[0] = it;
            sift(heap, n, 0);
        }
    }
    qsort(heap, (size_t)n, sizeof *heap, t->sorted ? compare_items : compare_index);
    size_t unit = tern_dtype_size(t->x->dtype);
    for (int64_t i = 0; i < n; i++) {
        int64_t to = (outer * t->k + i) * t->r.inner + column, from = base + heap[i].index * t->r.inner;
        if (t->values)
            memcpy((char *)t->values->data + (size_t)to * unit, (const char *)t->x->data + (size_t)from * unit, unit);
        if (t->indices) ((int64_t *)t->indices->data)[to] = heap[i].index;
    }
}

static void topk_task(void *context, int64_t begin, int64_t end, int worker) {
    const topk *t = context;
    for (int64_t i = begin; i < end; i++) topk_row(t, i / t->r.inner, i % t->r.inner, t->heaps + worker * t->k);
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
    size_t items = 0;
    if (tn_mul_size((size_t)t.k, (size_t)threads, &items)) t.heaps = tn_alloc_array(items, sizeof *t.heaps);
    if (!t.heaps) return tn_fail_oom(c->err, items * sizeof *t.heaps);
    tn_parallel_for(threads, rows, topk_task, &t);
    tn_free(t.heaps);
    return TERN_OK;
}

const tn_op tn_op_topk1 = TN_ARGS_OP(infer_topk, run_topk, 1, 1, 2, 2, 0);
const tn_op tn_op_topk = TN_ARGS_OP(infer_topk, run_topk, 2, 2, 2, 2, 0);
