/* Pools over windows and over everything, any spatial rank. Values are combined in double (maximum: as they are); a
 * window that lies in padding alone gives -inf (integers: the lowest) or 0. Windows are separable: a row of outputs
 * first combines the input rows of its windows column by column, then the columns. Only the maximum with its position
 * goes over whole windows, in their order. */
#include "kernels/pool.h"
#include "kernels/bf16_pool.h"

#include <math.h>

#include "ops/conv_internal.h"

#define MAX_TYPES (TN_TYPES_FLOAT | TN_T(INT8) | TN_T(UINT8))

#define SEGMENT 1024 /* outputs of a task, so that its sums stay in the first-level cache */

typedef enum pool_kind { POOL_MAX, POOL_AVERAGE, POOL_LP } pool_kind;

typedef struct pool_state {
    const char *kernel;
    pool_kind kind;
    tern_dtype dtype;
    tn_window w;
    int64_t planes, in_sp, out_sp;
    int64_t segment, segments, width; /* outputs of a task, tasks of a row, columns that a task reads at most */
    int64_t tap_low, tap_high;        /* taps of the last dim that read inside the input */
    bool by_tap;                      /* several outputs for each of them */
    const double *counted;            /* per output of the last dim, see counted_taps */
    size_t scratch;                   /* bytes per thread */
    double p;                         /* of the Lp norm */
    bool count_pad, column_major, global;
    bool wide; /* float16, bfloat16: computed on float32 copies */
    size_t at_x, at_y, at_scratch;
    tn_pool2d blocked, depth; /* depth: of what `blocked` gives for each slice, when n is not 0 */
    size_t at_slices;
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
    if (w->rank > 3 || wants_indices(node)) return false;
    if (is_global(node)) return true;
    for (int i = 0; i < w->rank; i++) {
        if (!tn_dim_known(w->kernel[i]) || tn_window_extent(w, i) > INT32_MAX) return false;
        /* Windows in padding alone, of lanes that do not exist, would leave something in them. */
        if (w->rank == 3 && (w->pad[i] >= w->kernel[i] || w->pad_end[i] >= w->kernel[i] || w->dilation[i] > 1))
            return false;
    }
    return true;
}

/* One or three dims as two: the whole map, one row, or slices and then their depth. */
static void flatten_window(pool_state *s, tn_window *w, tn_window *depth) {
    static const tn_window unit = {
        .rank = 2, .in = {1, 1}, .out = {1, 1}, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}};
    tn_window all = *w;
    int last = all.rank - 1;
    *depth = unit;
    if (all.rank == 2) return;
    *w = unit;
    for (int i = TN_MAX(last - 1, 0), to = all.rank == 1 ? 1 : 0; i <= last; i++, to++) {
        w->in[to] = all.in[i];
        w->out[to] = all.out[i];
        w->kernel[to] = all.kernel[i];
        w->stride[to] = all.stride[i];
        w->dilation[to] = all.dilation[i];
        w->pad[to] = all.pad[i];
        w->pad_end[to] = all.pad_end[i];
    }
    if (all.rank == 1) return;
    if (s->global) {
        w->in[0] *= all.in[0];
        w->kernel[0] *= all.in[0];
        return;
    }
    depth->in[0] = all.in[0];
    depth->out[0] = all.out[0];
    depth->kernel[0] = all.kernel[0];
    depth->stride[0] = all.stride[0];
    depth->pad[0] = all.pad[0];
    depth->pad_end[0] = all.pad_end[0];
    depth->in[1] = depth->out[1] = w->out[0] * w->out[1];
}

static tn_pool2d pool_of(const pool_state *s, const tn_window *w, int64_t n, int64_t channels) {
    return (tn_pool2d){.n = n,
                       .c = channels,
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
}

static bool pool_blocked_ok(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value, int block) {
    (void)value, (void)block;
    tn_window w;
    return in[0]->dtype == TERN_FLOAT && in[0]->ranked && in[0]->shape.rank <= 5 &&
           window_of(node, &in[0]->shape, &w, NULL) == TERN_OK && fits_blocked(node, &w);
}

static tern_status prepare_blocked(tn_prepare *c, pool_state *s, const tn_shape *x) {
    static const char *const names[2][3] = {{"pool2d_f32_scalar", "pool2d_f32_avx2", "pool2d_f32_avx512"},
                                            {"pool2d_bf16_scalar", "pool2d_bf16_avx2", "pool2d_bf16_avx512"}};
    bool bf16 = s->dtype == TERN_BFLOAT16;
    tn_window plane = s->w, depth, *w = &plane;
    bool fits = s->kind != POOL_LP && (s->dtype == TERN_FLOAT || (bf16 && w->rank == 2)) && fits_blocked(c->node, w);
    flatten_window(s, w, &depth);
    for (int i = 0; fits && i < 2; i++) fits = w->in[i] <= INT32_MAX && w->out[i] <= INT32_MAX;
    if (!fits || c->in_block[0] != c->out_block[0])
        return tn_fail(c->err, TERN_INTERNAL, "this pool has no blocked form (X in blocks of %d, Y in blocks of %d)",
                       c->in_block[0], c->out_block[0]);
    s->kernel = names[bf16][c->tier];
    s->blocked = pool_of(s, w, x->dims[0], x->dims[1]);
    if (depth.in[0] > 1 || depth.out[0] > 1) {
        int64_t slices = x->dims[0] * tn_ceil_div(x->dims[1], c->in_block[0]) * depth.in[0];
        s->depth = pool_of(s, &depth, x->dims[0], x->dims[1]);
        s->blocked.n = slices;
        s->blocked.c = c->in_block[0];
        bool ok =
            tn_ops_reserve(&c->workspace, slices * c->in_block[0], (size_t)depth.in[1] * sizeof(float), &s->at_slices);
        if (!ok || depth.in[1] > INT32_MAX) return tn_fail_oom(c->err, SIZE_MAX);
    }
    if (bf16) c->workspace = tn_bf16_pool2d_workspace(c->tier, &s->blocked, c->threads);
    return TERN_OK;
}

static double counted_taps(const pool_state *s, int d, int64_t o);

/* Trailing dims that nothing happens in make short rows. */
static void drop_unit_dims(tn_window *w) {
    for (int d = w->rank - 1; d > 0; d--, w->rank--)
        if (w->in[d] != 1 || w->out[d] != 1 || w->kernel[d] != 1 || w->pad[d] || w->pad_end[d]) return;
}

/* How the last dim is walked. */
static tern_status prepare_rows(tn_prepare *c, pool_state *s) {
    drop_unit_dims(&s->w);
    const tn_window *w = &s->w;
    int last = w->rank - 1;
    int64_t out = w->out[last], extent = tn_window_extent(w, last), taps = 0;
    double *counted = s->out_sp ? tn_arena_alloc(c->arena, (size_t)out * sizeof *counted) : NULL;
    if (s->out_sp && !counted) return tn_fail_oom(c->err, (size_t)out * sizeof *counted);
    s->counted = counted;
    s->tap_low = w->kernel[last];
    for (int64_t o = 0; s->out_sp && o < out; o++) {
        int64_t low, high;
        tn_ops_window_taps(w, last, o, &low, &high);
        counted[o] = counted_taps(s, last, o);
        if (low >= high) continue;
        taps += high - low;
        s->tap_low = TN_MIN(s->tap_low, low);
        s->tap_high = TN_MAX(s->tap_high, high);
    }
    s->by_tap = s->tap_high > s->tap_low && taps / (s->tap_high - s->tap_low) >= 4;
    s->segment = TN_MAX((int64_t)1, TN_MIN(out, TN_MAX((int64_t)SEGMENT, extent / w->stride[last])));
    s->segments = tn_ceil_div(out, s->segment);
    s->width = TN_MIN(w->in[last], (s->segment - 1) * w->stride[last] + extent);
    s->scratch = (size_t)tn_round_up((s->width + s->segment) * (int64_t)sizeof(double), 64);
    bool ok = tn_ops_reserve(&c->workspace, TN_MAX(c->threads, 1), s->scratch, &s->at_scratch);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
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
    s->planes = x->dims[0] * x->dims[1];
    s->in_sp = tn_shape_count_range(x, 2, x->rank);
    s->out_sp = tn_shape_count_range(&c->out[0].shape, 2, x->rank);
    s->wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    bool ok = tn_ops_reserve(&c->workspace, s->wide ? s->planes * s->in_sp : 0, sizeof(float), &s->at_x) &&
              tn_ops_reserve(&c->workspace, s->wide ? count : 0, sizeof(float), &s->at_y);
    return ok ? prepare_rows(c, s) : tn_fail_oom(c->err, SIZE_MAX);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* A segment of one output row: outputs [from, to) of the last dim read columns [low, high) of the input. */
typedef struct segment {
    int64_t from, to, low, high;
    int64_t at[TN_MAX_SPATIAL];                          /* of the row; the last dim is not used */
    int64_t start[TN_MAX_SPATIAL];                       /* coordinate of tap 0, all dims but the last */
    int64_t first[TN_MAX_SPATIAL], last[TN_MAX_SPATIAL]; /* taps inside the input, the same dims */
    double counted;                                      /* taps that an average counts, the same dims */
    bool empty;
} segment;

/* Taps of output `o` in dim d that an average divides by. */
static double counted_taps(const pool_state *s, int d, int64_t o) {
    const tn_window *w = &s->w;
    int64_t first, last;
    tn_ops_window_taps(w, d, o, &first, &last);
    if (!s->count_pad) return (double)TN_MAX(last - first, (int64_t)0);
    int64_t taps = tn_ceil_div(w->in[d] + w->pad_end[d] + w->pad[d] - o * w->stride[d], w->dilation[d]);
    return (double)TN_MIN(taps, w->kernel[d]);
}

/* Segment `number` of row `row` of a plane. */
static void segment_of(const pool_state *s, int64_t row, int64_t number, segment *g) {
    const tn_window *w = &s->w;
    int last = w->rank - 1;
    g->empty = false;
    g->counted = 1;
    for (int d = last - 1; d >= 0; d--) {
        int64_t o = row % w->out[d];
        row /= w->out[d];
        g->start[d] = o * w->stride[d] - w->pad[d];
        tn_ops_window_taps(w, d, o, &g->first[d], &g->last[d]);
        g->empty = g->empty || g->first[d] >= g->last[d];
        g->counted *= counted_taps(s, d, o);
    }
    g->from = number * s->segment;
    g->to = TN_MIN(g->from + s->segment, w->out[last]);
    int64_t low = g->from * w->stride[last] - w->pad[last];
    int64_t high = (g->to - 1) * w->stride[last] - w->pad[last] + tn_window_extent(w, last);
    g->low = TN_MIN(TN_MAX(low, (int64_t)0), w->in[last]);
    g->high = TN_MAX(TN_MIN(high, w->in[last]), g->low);
}

/* Offset of the input row that `tap` names. */
static int64_t row_offset(const tn_window *w, const segment *g, const int64_t *tap) {
    int64_t at = 0;
    for (int d = 0; d < w->rank - 1; d++) at = at * w->in[d] + g->start[d] + tap[d] * w->dilation[d];
    return at * w->in[w->rank - 1];
}

static bool next_row(const tn_window *w, const segment *g, int64_t *tap) {
    for (int d = w->rank - 2; d >= 0; d--) {
        if (++tap[d] < g->last[d]) return true;
        tap[d] = g->first[d];
    }
    return false;
}

/* BODY sees the offset `row` of every input row that the segment's windows cover. */
#define EACH_ROW(BODY)                           \
    if (!g->empty) {                             \
        int64_t tap[TN_MAX_SPATIAL];             \
        memcpy(tap, g->first, sizeof tap);       \
        do {                                     \
            int64_t row = row_offset(w, g, tap); \
            BODY;                                \
        } while (next_row(w, g, tap));           \
    }

/* Taps of the last dim over a segment: BODY combines element `i` of the input row into output `o`. The inner loop runs
 * over outputs where a tap has several of them, over taps elsewhere. */
#define EACH_TAP(BODY)                                                            \
    if (s->by_tap) {                                                              \
        for (int64_t k = s->tap_low; k < s->tap_high; k++) {                      \
            int64_t from, to;                                                     \
            tn_ops_window_span(w, last, k, &from, &to);                           \
            from = TN_MAX(from, g->from);                                         \
            to = TN_MIN(to, g->to);                                               \
            int64_t offset = k * w->dilation[last] - w->pad[last];                \
            if (w->stride[last] == 1)                                             \
                for (int64_t o = from; o < to; o++) {                             \
                    int64_t i = o + offset;                                       \
                    BODY;                                                         \
                }                                                                 \
            else                                                                  \
                for (int64_t o = from, i = from * stride + offset; o < to; o++) { \
                    BODY;                                                         \
                    i += stride;                                                  \
                }                                                                 \
        }                                                                         \
    } else {                                                                      \
        for (int64_t o = g->from; o < g->to; o++) {                               \
            int64_t k, end, start = o * stride - w->pad[last];                    \
            tn_ops_window_taps(w, last, o, &k, &end);                             \
            for (; k < end; k++) {                                                \
                int64_t i = start + k * w->dilation[last];                        \
                BODY;                                                             \
            }                                                                     \
        }                                                                         \
    }

#define LAST_DIM                \
    const tn_window *w = &s->w; \
    int last = w->rank - 1;     \
    int64_t stride = w->stride[last]

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

/* From positions in the plane at offset `plane` to what MaxPool says. A window without a value above the lowest one has
 * none yet: it is that of its first element. */
static void finish_index(const pool_state *s, const segment *g, int64_t *index, int64_t plane) {
    LAST_DIM;
    int64_t row = g->empty ? 0 : row_offset(w, g, g->first);
    for (int64_t o = g->from; o < g->to; o++) {
        if (index[o] < 0) {
            int64_t k, end;
            tn_ops_window_taps(w, last, o, &k, &end);
            if (g->empty || k >= end) continue;
            index[o] = row + o * stride - w->pad[last] + k * w->dilation[last];
        }
        index[o] = plane + (s->column_major ? to_column_major(w, index[o]) : index[o]);
    }
}

/* Whether E comes before BEST: a NaN wins over everything, the first of equals stays. Without branches. */
#define BEATS(E, BEST) (!((E) <= (BEST)) & ((BEST) == (BEST)))

/* Maximum with its position: NAME(state, segment, plane x, row y, row index, offset of the plane). Maximum alone:
 * first the rows of a window, then its columns (`scratch`: one segment of the input's width). */
#define MAX_SEGMENT(T, LOWEST, SUFFIX)                                                                              \
    static void max_at_##SUFFIX(const pool_state *s, const segment *g, const T *x, T *restrict y,                   \
                                int64_t *restrict index, int64_t plane) {                                           \
        LAST_DIM;                                                                                                   \
        for (int64_t o = g->from; o < g->to; o++) y[o] = LOWEST, index[o] = -1;                                     \
        EACH_ROW(const T *e = x + row; EACH_TAP(bool take = BEATS(e[i], y[o]); y[o] = take ? e[i] : y[o];           \
                                                index[o] = take ? row + i : index[o]))                              \
        finish_index(s, g, index, plane);                                                                           \
    }                                                                                                               \
    static void max_##SUFFIX(const pool_state *s, const segment *g, const T *x, T *restrict y, void *scratch) {     \
        LAST_DIM;                                                                                                   \
        T *restrict column = scratch;                                                                               \
        int64_t low = g->low, n = g->high - low;                                                                    \
        for (int64_t i = 0; i < n; i++) column[i] = LOWEST;                                                         \
        EACH_ROW(const T *e = x + row + low;                                                                        \
                 for (int64_t i = 0; i < n; i++) column[i] = BEATS(e[i], column[i]) ? e[i] : column[i])             \
        for (int64_t o = g->from; o < g->to; o++) y[o] = LOWEST;                                                    \
        EACH_TAP(T e = column[i - low]; y[o] = BEATS(e, y[o]) ? e : y[o])                                           \
    }                                                                                                               \
    static void max_segment_##SUFFIX(const pool_state *s, const segment *g, const void *x, void *y, int64_t *index, \
                                     int64_t plane, void *scratch) {                                                \
        if (index)                                                                                                  \
            max_at_##SUFFIX(s, g, x, y, index, plane);                                                              \
        else                                                                                                        \
            max_##SUFFIX(s, g, x, y, scratch);                                                                      \
    }
MAX_SEGMENT(float, -INFINITY, f32)
MAX_SEGMENT(double, -INFINITY, f64)
MAX_SEGMENT(int8_t, INT8_MIN, i8)
MAX_SEGMENT(uint8_t, 0, u8)
#undef MAX_SEGMENT

static double root(double sum, double p) { return p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, 1 / p); }

/* out[o] = the windows' sums from those of their columns; scratch: `width` columns, then the sums of a segment. */
static double *sum_columns(const pool_state *s, const segment *g, double *scratch) {
    LAST_DIM;
    const double *restrict column = scratch;
    double *restrict sum = scratch + s->width;
    int64_t low = g->low, first = g->from;
    memset(sum, 0, (size_t)(g->to - first) * sizeof *sum);
    EACH_TAP(sum[o - first] += column[i - low])
    return sum;
}

/* Averages and Lp norms: first the rows of a window, then its columns. */
#define SUM_SEGMENT(NAME, T)                                                                                        \
    static void NAME(const pool_state *s, const segment *g, const T *x, T *restrict y, double *scratch) {           \
        const tn_window *w = &s->w;                                                                                 \
        double *restrict column = scratch;                                                                          \
        int64_t low = g->low, n = g->high - low;                                                                    \
        memset(column, 0, (size_t)n * sizeof *column);                                                              \
        double p = s->kind == POOL_LP ? s->p : 0;                                                                   \
        EACH_ROW(const T *e = x + row + low; if (p == 0) for (int64_t i = 0; i < n; i++) column[i] += (double)e[i]; \
                 else if (p == 1) for (int64_t i = 0; i < n; i++) column[i] += fabs((double)e[i]);                  \
                 else if (p == 2) for (int64_t i = 0; i < n; i++) column[i] += (double)e[i] * (double)e[i];         \
                 else for (int64_t i = 0; i < n; i++) column[i] += pow(fabs((double)e[i]), p))                      \
        const double *sum = sum_columns(s, g, scratch);                                                             \
        for (int64_t o = g->from; o < g->to; o++) {                                                                 \
            double counted = g->counted * s->counted[o], total = sum[o - g->from];                                  \
            y[o] = (T)(p > 0 ? root(total, p) : counted > 0 ? total / counted : 0);                                 \
        }                                                                                                           \
    }
SUM_SEGMENT(sum_f32, float)
SUM_SEGMENT(sum_f64, double)
#undef SUM_SEGMENT

/* ---- run ----------------------------------------------------------------------------------------------------- */

typedef struct pool_args {
    const pool_state *s;
    tern_dtype dtype; /* of x and y */
    const char *x;
    char *y;
    int64_t *index;
    char *scratch; /* per thread */
} pool_args;

/* x, y and index: of the plane, of the row. */
static void max_segment(const pool_args *r, const segment *g, const void *x, void *y, int64_t *index, int64_t plane,
                        void *scratch) {
    switch (r->dtype) {
    case TERN_DOUBLE:
        max_segment_f64(r->s, g, x, y, index, plane, scratch);
        break;
    case TERN_INT8:
        max_segment_i8(r->s, g, x, y, index, plane, scratch);
        break;
    case TERN_UINT8:
        max_segment_u8(r->s, g, x, y, index, plane, scratch);
        break;
    default:
        max_segment_f32(r->s, g, x, y, index, plane, scratch);
    }
}

/* A task is one segment of one row of one plane. */
static void pool_segments(void *context, int64_t begin, int64_t end, int worker) {
    const pool_args *r = context;
    const pool_state *s = r->s;
    size_t size = tern_dtype_size(r->dtype);
    void *scratch = r->scratch + (size_t)worker * s->scratch;
    int64_t width = s->w.out[s->w.rank - 1], rows = s->out_sp / width;
    for (int64_t task = begin; task < end; task++) {
        int64_t row = task / s->segments, plane = row / rows;
        segment g;
        segment_of(s, row % rows, task % s->segments, &g);
        const void *x = r->x + (size_t)(plane * s->in_sp) * size;
        void *y = r->y + (size_t)(row * width) * size;
        if (s->kind == POOL_MAX)
            max_segment(r, &g, x, y, r->index ? r->index + row * width : NULL, plane * s->in_sp, scratch);
        else if (r->dtype == TERN_DOUBLE)
            sum_f64(s, &g, x, y, scratch);
        else
            sum_f32(s, &g, x, y, scratch);
    }
}

static void run_blocked(tn_run *c, const pool_state *s) {
    const tn_pool2d *p = &s->blocked;
    int block = c->out[0]->block;
    if (s->dtype == TERN_BFLOAT16)
        tn_bf16_pool2d(c->tier, p, c->in[0]->data, c->out[0]->data, c->workspace, c->threads);
    else if (s->global && p->average)
        tn_pool_global_avg_f32(c->tier, c->in[0]->data, c->out[0]->data, p->n, p->c, p->ih * p->iw, block, c->threads);
    else if (s->depth.n == 0)
        tn_pool2d_f32(c->tier, p, c->in[0]->data, c->out[0]->data, block, c->threads);
    else {
        float *slices = (float *)((char *)c->workspace + s->at_slices);
        tn_pool2d_f32(c->tier, p, c->in[0]->data, slices, block, c->threads);
        tn_pool2d_f32(c->tier, &s->depth, slices, c->out[0]->data, block, c->threads);
    }
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
    pool_args r = {
        s, s->dtype, c->in[0]->data, y->data, index ? index->data : NULL, (char *)c->workspace + s->at_scratch};
    if (s->wide) {
        float *x = (float *)((char *)c->workspace + s->at_x);
        tn_ops_to_f32(c->in[0], x);
        r.dtype = TERN_FLOAT;
        r.x = (char *)x;
        r.y = (char *)c->workspace + s->at_y;
    }
    int64_t rows = s->planes * (s->out_sp / s->w.out[s->w.rank - 1]);
    tn_parallel_for(c->threads, rows * s->segments, pool_segments, &r);
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
