/* Pools over windows and over everything, any spatial rank. Values are combined in double (maximum: as they are); a
 * window that lies in padding alone gives -inf (integers: the lowest) or 0. */
#include "kernels/pool.h"

#include <math.h>

#include "ops/conv_internal.h"

#define MAX_TYPES (TN_TYPES_FLOAT | TN_T(INT8) | TN_T(UINT8))

typedef enum pool_kind { POOL_MAX, POOL_AVERAGE, POOL_LP } pool_kind;

typedef struct pool_state {
    const char *kernel;
    pool_kind kind;
    tern_dtype dtype;
    tn_window w;
    int64_t planes, channels, in_sp, out_sp;
    double p; /* of the Lp norm */
    bool count_pad, column_major, global;
    bool wide; /* float16, bfloat16: computed on float32 copies */
    size_t at_x, at_y;
    tn_pool2d blocked;
} pool_state;

static pool_kind kind_of(const tn_node *node) {
    if (strstr(node->op_type, "Max")) return POOL_MAX;
    return strstr(node->op_type, "Average") ? POOL_AVERAGE : POOL_LP;
}

static bool is_global(const tn_node *node) { return strncmp(node->op_type, "Global", 6) == 0; }

/* ---- infer --------------------------------------------------------------------------------------------------- */

static tern_status read_p(const tn_node *node, double *p, tern_error *err) {
    const tn_attr *a = tn_attr_find(node, "p");
    *p = !a ? 2 : a->type == TN_ATTR_FLOAT ? (double)a->f : (double)a->i;
    if (!(*p >= 1 && *p <= 1e6)) return tn_fail(err, TERN_INVALID_MODEL, "attribute 'p' is %g", *p);
    return TERN_OK;
}

/* The window of a global pool is the whole picture. */
static tern_status global_window(int rank, const int64_t *in, tn_window *w, tern_error *err) {
    memset(w, 0, sizeof *w);
    if (rank < 1 || rank > TN_MAX_SPATIAL)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "the input has rank %d; it must be 3 to %d", rank + 2, TERN_MAX_RANK);
    w->rank = rank;
    for (int i = 0; i < rank; i++) {
        if (tn_dim_known(in[i]) && in[i] < 1) return tn_fail(err, TERN_SHAPE_MISMATCH, "spatial dim %d is empty", i);
        w->in[i] = w->kernel[i] = in[i];
        w->out[i] = w->stride[i] = w->dilation[i] = 1;
    }
    return TERN_OK;
}

static tern_status window_of(const tn_node *node, const tn_shape *x, tn_window *w, tern_error *err) {
    if (is_global(node)) return global_window(x->rank - 2, x->dims + 2, w, err);
    return tn_ops_window(node, x->rank - 2, x->dims + 2, NULL, w, err);
}

static tern_status pool_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, kind_of(c->node) == POOL_MAX ? MAX_TYPES : TN_TYPES_FLOAT));
    double p;
    TN_TRY(read_p(c->node, &p, c->err));
    const tn_type *x = c->in[0];
    tern_dtype dtype = x ? x->dtype : TERN_UNDEFINED;
    if (!x || !x->ranked) {
        tn_infer_out(c, 0, dtype, NULL);
        tn_infer_out(c, 1, TERN_INT64, NULL);
        return TERN_OK;
    }
    tn_window w;
    TN_TRY(window_of(c->node, &x->shape, &w, c->err));
    tn_shape y = x->shape;
    memcpy(y.dims + 2, w.out, (size_t)w.rank * sizeof *y.dims);
    tn_infer_out(c, 0, dtype, &y);
    tn_infer_out(c, 1, TERN_INT64, &y);
    return TERN_OK;
}

/* ---- blocked ------------------------------------------------------------------------------------------------- */

static bool wants_indices(const tn_node *node) { return node->n_out > 1 && node->out[1]; }

/* What the blocked kernels do; false where they can not. Unknown dims do not matter. */
static bool fits_blocked(const tn_node *node, const tn_window *w) {
    if (w->rank != 2 || wants_indices(node)) return false;
    if (is_global(node)) return true;
    for (int i = 0; i < 2; i++)
        if (!tn_dim_known(w->kernel[i]) || tn_window_extent(w, i) > INT32_MAX) return false;
    return true;
}

static bool pool_blocked_ok(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value, int block) {
    (void)value, (void)block;
    tn_window w;
    return in[0]->dtype == TERN_FLOAT && in[0]->ranked && in[0]->shape.rank == 4 &&
           window_of(node, &in[0]->shape, &w, NULL) == TERN_OK && fits_blocked(node, &w);
}

static tern_status prepare_blocked(tn_prepare *c, pool_state *s, const tn_shape *x) {
    static const char *const names[] = {"pool2d_f32_scalar", "pool2d_f32_avx2", "pool2d_f32_avx512"};
    const tn_window *w = &s->w;
    bool fits = s->kind != POOL_LP && s->dtype == TERN_FLOAT && fits_blocked(c->node, w);
    for (int i = 0; fits && i < 2; i++) fits = w->in[i] <= INT32_MAX && w->out[i] <= INT32_MAX;
    if (!fits || c->in_block[0] != c->out_block[0])
        return tn_fail(c->err, TERN_INTERNAL, "this pool has no blocked form (X in blocks of %d, Y in blocks of %d)",
                       c->in_block[0], c->out_block[0]);
    s->kernel = names[c->tier];
    s->blocked = (tn_pool2d){.n = x->dims[0],
                             .c = x->dims[1],
                             .ih = w->in[0],
                             .iw = w->in[1],
                             .oh = w->out[0],
                             .ow = w->out[1],
                             .kh = (int)w->kernel[0],
                             .kw = (int)w->kernel[1],
                             .sh = (int)w->stride[0],
                             .sw = (int)w->stride[1],
                             .dh = (int)w->dilation[0],
                             .dw = (int)w->dilation[1],
                             .pad_top = (int)w->pad[0],
                             .pad_left = (int)w->pad[1],
                             .pad_bottom = (int)w->pad_end[0],
                             .pad_right = (int)w->pad_end[1],
                             .average = s->kind == POOL_AVERAGE,
                             .count_pad = s->count_pad};
    return TERN_OK;
}

static tern_status pool_prepare(tn_prepare *c) {
    pool_state *s = tn_prepare_state(c, sizeof *s);
    if (!s) return TERN_OUT_OF_MEMORY;
    const tn_shape *x = &c->in[0]->shape;
    s->kind = kind_of(c->node);
    s->global = is_global(c->node);
    s->dtype = c->in[0]->dtype;
    TN_TRY(read_p(c->node, &s->p, c->err));
    TN_TRY(window_of(c->node, x, &s->w, c->err));
    s->count_pad = tn_attr_i(c->node, "count_include_pad", 0) != 0;
    s->column_major = tn_attr_i(c->node, "storage_order", 0) != 0;
    if (c->out_block[0] || c->in_block[0]) return prepare_blocked(c, s, x);
    int64_t count;
    if (!tn_shape_count_checked(&c->out[0].shape, &count))
        return tn_fail(c->err, TERN_LIMIT_EXCEEDED, "the output is too large");
    s->channels = x->dims[1];
    s->planes = x->dims[0] * x->dims[1];
    s->in_sp = tn_shape_count_range(x, 2, x->rank);
    s->out_sp = tn_shape_count_range(&c->out[0].shape, 2, x->rank);
    s->wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    bool ok = tn_ops_reserve(&c->workspace, s->wide ? s->planes * s->in_sp : 0, sizeof(float), &s->at_x) &&
              tn_ops_reserve(&c->workspace, s->wide ? count : 0, sizeof(float), &s->at_y);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* ---- windows ------------------------------------------------------------------------------------------------- */

/* The part of one window that lies inside the input: `lines` runs along the last dim. */
typedef struct view {
    int64_t first[TN_MAX_SPATIAL], last[TN_MAX_SPATIAL]; /* taps */
    int64_t start[TN_MAX_SPATIAL];                       /* coordinate of tap 0 */
    double counted;                                      /* taps inside the padded input */
    bool empty;
} view;

static void view_dim(const pool_state *s, int d, int64_t o, view *v) {
    const tn_window *w = &s->w;
    v->start[d] = o * w->stride[d] - w->pad[d];
    tn_ops_window_taps(w, d, o, &v->first[d], &v->last[d]);
}

static void view_finish(const pool_state *s, view *v) {
    const tn_window *w = &s->w;
    v->empty = false;
    v->counted = 1;
    for (int d = 0; d < w->rank; d++) {
        if (v->first[d] >= v->last[d]) v->empty = true;
        int64_t taps = tn_ceil_div(w->in[d] + w->pad_end[d] - v->start[d], w->dilation[d]);
        v->counted *=
            (double)(s->count_pad ? TN_MIN(taps, w->kernel[d]) : TN_MAX(v->last[d] - v->first[d], (int64_t)0));
    }
}

/* Offset of the first element of the run that `tap` names (all dims but the last). */
static int64_t run_offset(const tn_window *w, const view *v, const int64_t *tap) {
    int64_t at = 0;
    for (int d = 0; d < w->rank; d++) at = at * w->in[d] + v->start[d] + tap[d] * w->dilation[d];
    return at;
}

static bool next_run(const tn_window *w, const view *v, int64_t *tap) {
    for (int d = w->rank - 2; d >= 0; d--) {
        if (++tap[d] < v->last[d]) return true;
        tap[d] = v->first[d];
    }
    return false;
}

/* Position in a plane whose first spatial dim varies fastest. */
static int64_t to_column_major(const tn_window *w, int64_t at) {
    int64_t coordinate[TN_MAX_SPATIAL], out = 0;
    for (int d = w->rank - 1; d >= 0; d--) {
        coordinate[d] = at % w->in[d];
        at /= w->in[d];
    }
    for (int d = w->rank - 1; d >= 0; d--) out = out * w->in[d] + coordinate[d];
    return out;
}

/* One plane: PLANE_FN(state, x, y, index or NULL, offset of the plane). BODY sees run `xr` of n elements, `step` apart.
 */
#define EACH_WINDOW(BEFORE, BODY, AFTER)                                                \
    const tn_window *w = &s->w;                                                         \
    int last = w->rank - 1;                                                             \
    int64_t step = w->dilation[last], at[TN_MAX_SPATIAL] = {0}, tap[TN_MAX_SPATIAL];    \
    view v;                                                                             \
    for (int64_t o = 0; o < s->out_sp; o++) {                                           \
        for (int d = last, carry = 1; d >= 0 && (carry || o == 0); d--) {               \
            if (o > 0) {                                                                \
                carry = ++at[d] == w->out[d];                                           \
                if (carry) at[d] = 0;                                                   \
            }                                                                           \
            view_dim(s, d, at[d], &v);                                                  \
        }                                                                               \
        view_finish(s, &v);                                                             \
        memcpy(tap, v.first, sizeof tap);                                               \
        BEFORE;                                                                         \
        if (!v.empty) do {                                                              \
                int64_t run = run_offset(w, &v, tap), n = v.last[last] - v.first[last]; \
                BODY;                                                                   \
            } while (next_run(w, &v, tap));                                             \
        AFTER;                                                                          \
    }

/* The first of equal elements wins; a NaN wins over everything. */
#define MAX_PLANE(NAME, T, LOWEST)                                                                     \
    static void NAME(const pool_state *s, const T *x, T *y, int64_t *index, int64_t offset) {          \
        EACH_WINDOW(                                                                                   \
            T best = LOWEST; int64_t best_at = -1,                                                     \
                             for (int64_t i = 0; i < n; i++) {                                         \
                                 T e = x[run + i * step];                                              \
                                 if (best_at >= 0 && !(e > best) && e == e) continue;                  \
                                 if (best_at >= 0 && best != best) continue;                           \
                                 best = e;                                                             \
                                 best_at = run + i * step;                                             \
                             },                                                                        \
                             y[o] = best;                                                              \
            if (index) index[o] =                                                                      \
                best_at < 0 ? -1 : offset + (s->column_major ? to_column_major(w, best_at) : best_at)) \
    }
MAX_PLANE(max_f32, float, -INFINITY)
MAX_PLANE(max_f64, double, -INFINITY)
MAX_PLANE(max_i8, int8_t, INT8_MIN)
MAX_PLANE(max_u8, uint8_t, 0)
#undef MAX_PLANE

#define SUM_PLANE(NAME, T)                                                                            \
    static void NAME(const pool_state *s, const T *x, T *y) {                                         \
        EACH_WINDOW(double sum = 0, for (int64_t i = 0; i < n; i++) sum += (double)x[run + i * step], \
                    y[o] = (T)(v.counted > 0 ? sum / v.counted : 0))                                  \
    }
SUM_PLANE(average_f32, float)
SUM_PLANE(average_f64, double)
#undef SUM_PLANE

static double power(double v, double p) { return p == 1 ? fabs(v) : p == 2 ? v * v : pow(fabs(v), p); }
static double root(double sum, double p) { return p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, 1 / p); }

#define LP_PLANE(NAME, T)                                                                                          \
    static void NAME(const pool_state *s, const T *x, T *y) {                                                      \
        EACH_WINDOW(double sum = 0, for (int64_t i = 0; i < n; i++) sum += power((double)x[run + i * step], s->p), \
                    y[o] = (T)root(sum, s->p))                                                                     \
    }
LP_PLANE(lp_f32, float)
LP_PLANE(lp_f64, double)
#undef LP_PLANE

/* ---- run ----------------------------------------------------------------------------------------------------- */

typedef struct pool_args {
    const pool_state *s;
    tern_dtype dtype; /* of x and y */
    const char *x;
    char *y;
    int64_t *index;
} pool_args;

static void max_plane(const pool_args *r, const void *x, void *y, int64_t plane) {
    int64_t *index = r->index ? r->index + plane * r->s->out_sp : NULL, offset = plane * r->s->in_sp;
    switch (r->dtype) {
    case TERN_DOUBLE:
        max_f64(r->s, x, y, index, offset);
        break;
    case TERN_INT8:
        max_i8(r->s, x, y, index, offset);
        break;
    case TERN_UINT8:
        max_u8(r->s, x, y, index, offset);
        break;
    default:
        max_f32(r->s, x, y, index, offset);
    }
}

static void pool_planes(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const pool_args *r = context;
    const pool_state *s = r->s;
    size_t size = tern_dtype_size(r->dtype);
    for (int64_t plane = begin; plane < end; plane++) {
        const void *x = r->x + (size_t)(plane * s->in_sp) * size;
        void *y = r->y + (size_t)(plane * s->out_sp) * size;
        if (s->kind == POOL_MAX)
            max_plane(r, x, y, plane);
        else if (r->dtype == TERN_DOUBLE)
            (s->kind == POOL_LP ? lp_f64 : average_f64)(s, x, y);
        else
            (s->kind == POOL_LP ? lp_f32 : average_f32)(s, x, y);
    }
}

static void run_blocked(tn_run *c, const pool_state *s) {
    const tn_pool2d *p = &s->blocked;
    int block = c->out[0]->block;
    if (s->global && p->average)
        tn_pool_global_avg_f32(c->tier, c->in[0]->data, c->out[0]->data, p->n, p->c, p->ih * p->iw, block, c->threads);
    else
        tn_pool2d_f32(c->tier, p, c->in[0]->data, c->out[0]->data, block, c->threads);
}

static tern_status pool_run(tn_run *c) {
    const pool_state *s = c->state;
    tern_tensor *y = c->out[0], *index = c->node->n_out > 1 ? c->out[1] : NULL;
    if (s->kernel) {
        if (y && tn_shape_count(&y->shape) > 0) run_blocked(c, s);
        return TERN_OK;
    }
    if (s->planes == 0 || s->out_sp == 0) return TERN_OK;
    if (!y) return tn_run_fail(c, TERN_UNSUPPORTED, "Indices are wanted, but not the pooled values");
    pool_args r = {s, s->dtype, c->in[0]->data, y->data, index ? index->data : NULL};
    if (s->wide) {
        float *x = (float *)((char *)c->workspace + s->at_x);
        tn_ops_to_f32(c->in[0], x);
        r.dtype = TERN_FLOAT;
        r.x = (char *)x;
        r.y = (char *)c->workspace + s->at_y;
    }
    tn_parallel_for(c->threads, s->planes, pool_planes, &r);
    if (s->wide) tn_ops_from_f32((float *)r.y, y);
    return TERN_OK;
}

#define POOL(NAME, MAX_OUT, FLAGS, BLOCKED)                   \
    const tn_op NAME = {.infer = pool_infer,                  \
                        .prepare = pool_prepare,              \
                        .run = pool_run,                      \
                        .min_in = 1,                          \
                        .max_in = 1,                          \
                        .min_out = 1,                         \
                        .max_out = MAX_OUT,                   \
                        .flags = TN_OP_KERNEL_NAME | (FLAGS), \
                        .blocked_ok = BLOCKED}
POOL(tn_op_max_pool, 2, TN_OP_BLOCKED, pool_blocked_ok);
POOL(tn_op_pool, 1, TN_OP_BLOCKED, pool_blocked_ok);
POOL(tn_op_lp_pool, 1, 0, NULL);
