/* Resize and Upsample.
 *
 * Nearest copies rows through tables of source positions; a row equal to the one before is copied from it. Linear and
 * cubic run one pass per dim that changes, each with a table of weights, so that no loop over elements computes
 * coordinates. A blocked tensor (n, c/B, h, w, B) is resized in h and w as it is stored, B being one more inner dim. */
#include "ops/args.h"
#include "ops/resize_plan.h"
#include "ops/rowio.h"

#include <math.h>

/* ---- arguments --------------------------------------------------------------------------------------------- */

typedef struct lists {
    tn_resize_args a;
    float scales[TN_INTS_MAX];
    int64_t sizes[TN_INTS_MAX];
    double roi[TN_INTS_MAX];
} lists;

static bool is_upsample(const tn_node *n) { return strcmp(n->op_type, "Upsample") == 0; }

/* Index of the inputs in this version; -1: there is none. */
static int scales_input(const tn_node *n) {
    if (is_upsample(n)) return n->since >= 9 ? 1 : -1;
    return n->since >= 11 ? 2 : 1;
}
static int sizes_input(const tn_node *n) { return !is_upsample(n) && n->since >= 11 ? 3 : -1; }
static int roi_input(const tn_node *n) { return !is_upsample(n) && n->since >= 11 ? 1 : -1; }

static tern_status read_count(const tern_tensor *t, const char *what, int *n, tern_error *err) {
    int64_t count = tn_shape_count(&t->shape);
    if (t->shape.rank > 1 || count > TN_INTS_MAX)
        return tn_fail(err, TERN_INVALID_MODEL, "%s has rank %d and %lld values", what, t->shape.rank,
                       (long long)count);
    *n = (int)count;
    return TERN_OK;
}

static tern_status read_scales(lists *l, const tern_tensor *t, tern_error *err) {
    TN_TRY(read_count(t, "scales", &l->a.n_scales, err));
    for (int i = 0; i < l->a.n_scales; i++) l->scales[i] = (float)tn_tensor_get_f64(t, i);
    return TERN_OK;
}

static tern_status read_roi(lists *l, const tern_tensor *t, tern_error *err) {
    TN_TRY(read_count(t, "roi", &l->a.n_roi, err));
    for (int i = 0; i < l->a.n_roi; i++) l->roi[i] = tn_tensor_get_f64(t, i);
    return TERN_OK;
}

static void lists_init(lists *l) { l->a = (tn_resize_args){l->scales, 0, l->sizes, 0, l->roi, 0, true}; }

/* Versions 1 and 7 of Upsample. */
static tern_status scales_from_attr(lists *l, const tn_node *n, tern_error *err) {
    if (n->since >= 7) {
        size_t count;
        const float *v = tn_attr_floats(n, "scales", &count);
        if (count == 0 || count > TN_INTS_MAX)
            return tn_fail(err, TERN_INVALID_MODEL, "attribute 'scales' has %zu values", count);
        memcpy(l->scales, v, count * sizeof *v);
        l->a.n_scales = (int)count;
        return TERN_OK;
    }
    l->a.n_scales = 4;
    l->scales[0] = l->scales[1] = 1;
    l->scales[2] = tn_attr_f(n, "height_scale", 0);
    l->scales[3] = tn_attr_f(n, "width_scale", 0);
    return TERN_OK;
}

/* An input of known length 0 is absent. */
static bool is_empty(const tn_type *t) { return t->ranked && t->shape.rank == 1 && t->shape.dims[0] == 0; }

static tern_status lists_infer(tn_infer *c, const tn_resize *r, lists *l) {
    int si = scales_input(c->node), zi = sizes_input(c->node), ri = roi_input(c->node);
    lists_init(l);
    if (si < 0) return scales_from_attr(l, c->node, c->err);
    if (tn_args_has(c, si)) {
        TN_TRY(tn_args_need(c, si, TN_T(FLOAT)));
        if (c->value[si])
            TN_TRY(read_scales(l, c->value[si], c->err));
        else if (!is_empty(c->in[si]))
            l->a.known = false;
    }
    if (zi > 0 && tn_args_has(c, zi)) {
        TN_TRY(tn_args_need(c, zi, TN_T(INT64)));
        if (!tn_infer_ints(c, zi, l->sizes, TN_INTS_MAX, &l->a.n_sizes)) {
            l->a.n_sizes = 0;
            if (c->value[zi]) return read_count(c->value[zi], "sizes", &l->a.n_sizes, c->err);
            if (!is_empty(c->in[zi])) l->a.known = false;
        }
    }
    if (ri > 0 && r->coord == TN_COORD_TF_CROP && tn_args_has(c, ri)) {
        TN_TRY(tn_args_need(c, ri, TN_TYPES_FLOAT));
        if (c->value[ri])
            TN_TRY(read_roi(l, c->value[ri], c->err));
        else if (!is_empty(c->in[ri]))
            l->a.known = false;
    }
    return TERN_OK;
}

static tern_status lists_run(tn_run *c, lists *l) {
    int si = scales_input(c->node), zi = sizes_input(c->node), ri = roi_input(c->node);
    lists_init(l);
    if (si < 0) return scales_from_attr(l, c->node, c->err);
    const tern_tensor *scales = tn_args_in(c, si), *sizes = zi > 0 ? tn_args_in(c, zi) : NULL;
    const tern_tensor *roi = ri > 0 ? tn_args_in(c, ri) : NULL;
    if (scales) TN_TRY(read_scales(l, scales, c->err));
    if (roi) TN_TRY(read_roi(l, roi, c->err));
    if (!sizes) return TERN_OK;
    TN_TRY(read_count(sizes, "sizes", &l->a.n_sizes, c->err));
    for (int i = 0; i < l->a.n_sizes; i++) l->sizes[i] = tn_tensor_get_i64(sizes, i);
    return TERN_OK;
}

#define COMPLEX         (TN_T(COMPLEX64) | TN_T(COMPLEX128))
#define NUMERIC_OR_BOOL (TN_TYPES_NUMERIC | TN_T(BOOL))

static tern_status infer_resize(tn_infer *c) {
    tn_resize r;
    lists l;
    TN_TRY(tn_resize_modes(c->node, &r, c->err));
    TN_TRY(tn_args_need(c, 0, r.mode == TN_RESIZE_NEAREST ? TN_TYPES_ALL : NUMERIC_OR_BOOL | COMPLEX));
    if (roi_input(c->node) > 0) TN_TRY(tn_infer_want(c, roi_input(c->node), TN_TYPES_FLOAT));
    TN_TRY(lists_infer(c, &r, &l));
    if (!tn_args_shape(c, 0, &r.in)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    if (r.mode != TN_RESIZE_NEAREST && tn_type_in(c->in[0]->dtype, COMPLEX) && r.in.rank == TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "interpolation of complex numbers over %d dims", r.in.rank);
    TN_TRY(tn_resize_shape(c->node, &l.a, &r, c->err));
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &r.out);
}

/* ---- nearest ----------------------------------------------------------------------------------------------- */

/* All as stored: a blocked tensor has one more dim. */
typedef struct near {
    int rank; /* dims up to the last one that changes, at least 1 */
    int64_t in[TERN_MAX_RANK + 1], out[TERN_MAX_RANK + 1];
    const int64_t *from[TERN_MAX_RANK + 1]; /* NULL: the dim does not change */
    size_t pixel;                           /* bytes of what lies inside those dims */
    const char *x;
    char *y;
} near;

static void near_row(const near *n, const char *s, char *d) {
    int64_t count = n->out[n->rank - 1];
    const int64_t *from = n->from[n->rank - 1];
    if (!from) {
        memcpy(d, s, (size_t)count * n->pixel);
        return;
    }
    switch (n->pixel) {
    case 1:
        for (int64_t j = 0; j < count; j++) d[j] = s[from[j]];
        break;
    case 4:
        for (int64_t j = 0; j < count; j++) memcpy(d + 4 * j, s + 4 * from[j], 4);
        break;
    case 32:
        for (int64_t j = 0; j < count; j++) memcpy(d + 32 * j, s + 32 * from[j], 32);
        break;
    case 64:
        for (int64_t j = 0; j < count; j++) memcpy(d + 64 * j, s + 64 * from[j], 64);
        break;
    default:
        for (int64_t j = 0; j < count; j++) memcpy(d + (size_t)j * n->pixel, s + (size_t)from[j] * n->pixel, n->pixel);
    }
}

/* A task is a plane: all rows that differ in the last but one dim. */
static void near_task(void *context, int64_t begin, int64_t end, int worker) {
    const near *n = context;
    (void)worker;
    int r = n->rank;
    int64_t rows = r > 1 ? n->out[r - 2] : 1, in_rows = r > 1 ? n->in[r - 2] : 1;
    size_t in_row = (size_t)n->in[r - 1] * n->pixel, out_row = (size_t)n->out[r - 1] * n->pixel;
    for (int64_t t = begin; t < end; t++) {
        int64_t rest = t, plane = 0, step = 1, last = -1;
        for (int i = r - 3; i >= 0; i--) {
            int64_t k = rest % n->out[i];
            rest /= n->out[i];
            plane += (n->from[i] ? n->from[i][k] : k) * step;
            step *= n->in[i];
        }
        char *d = n->y + (size_t)(t * rows) * out_row;
        for (int64_t k = 0; k < rows; k++, d += out_row) {
            int64_t row = r > 1 && n->from[r - 2] ? n->from[r - 2][k] : k;
            if (row == last)
                memcpy(d, d - out_row, out_row);
            else
                near_row(n, n->x + (size_t)(plane * in_rows + row) * in_row, d);
            last = row;
        }
    }
}

static void run_nearest(tn_run *c, const tn_shape *in, const tn_shape *out, const tn_resize_map *maps) {
    near n = {.rank = 1, .pixel = tern_dtype_size(c->in[0]->dtype), .x = c->in[0]->data, .y = c->out[0]->data};
    for (int i = 0; i < in->rank; i++) {
        n.in[i] = in->dims[i];
        n.out[i] = out->dims[i];
        n.from[i] = maps[i].first;
        if (n.from[i]) n.rank = i + 1;
    }
    for (int i = n.rank; i < in->rank; i++) n.pixel *= (size_t)in->dims[i];
    int64_t planes = 1;
    for (int i = 0; i + 2 < n.rank; i++) planes *= n.out[i];
    tn_parallel_for(tn_tensor_bytes(c->out[0]) < (1 << 17) ? 1 : c->threads, planes, near_task, &n);
}

/* ---- linear and cubic -------------------------------------------------------------------------------------- */

typedef struct pass {
    const tn_resize_map *m;
    int64_t outer, inner;
    const void *x;
    void *y;
} pass;

/* One dim, for a working type. With inner 1 a task is a row, else one of `out` slices of a row. */
#define PASS(T, W)                                                                                         \
    static void pass_row_##T(const pass *p, const T *x, T *y) {                                            \
        const tn_resize_map *m = p->m;                                                                     \
        const T *w = m->W;                                                                                 \
        if (m->taps == 2) {                                                                                \
            for (int64_t j = 0; j < m->out; j++) {                                                         \
                const T *v = x + m->first[j];                                                              \
                y[j] = v[0] * w[2 * j] + v[1] * w[2 * j + 1];                                              \
            }                                                                                              \
            return;                                                                                        \
        }                                                                                                  \
        for (int64_t j = 0; j < m->out; j++, w += m->taps) {                                               \
            T sum = 0;                                                                                     \
            for (int64_t k = 0; k < m->taps; k++) sum += x[m->first[j] + k] * w[k];                        \
            y[j] = sum;                                                                                    \
        }                                                                                                  \
    }                                                                                                      \
    static void pass_slice_##T(const pass *p, int64_t j, const T *x, T *y) {                               \
        const T *w = p->m->W + j * p->m->taps;                                                             \
        x += p->m->first[j] * p->inner;                                                                    \
        if (p->m->taps == 2 && w[1] != 0) {                                                                \
            const T *v = x + p->inner, w0 = w[0], w1 = w[1];                                               \
            for (int64_t i = 0; i < p->inner; i++) y[i] = x[i] * w0 + v[i] * w1;                           \
            return;                                                                                        \
        }                                                                                                  \
        for (int64_t i = 0; i < p->inner; i++) y[i] = x[i] * w[0];                                         \
        for (int64_t k = 1; k < p->m->taps; k++) {                                                         \
            const T *v = x + k * p->inner;                                                                 \
            T f = w[k];                                                                                    \
            if (f == 0) continue;                                                                          \
            for (int64_t i = 0; i < p->inner; i++) y[i] += v[i] * f;                                       \
        }                                                                                                  \
    }                                                                                                      \
    static void pass_task_##T(void *context, int64_t begin, int64_t end, int worker) {                     \
        const pass *p = context;                                                                           \
        (void)worker;                                                                                      \
        for (int64_t t = begin; t < end; t++) {                                                            \
            if (p->inner == 1) {                                                                           \
                pass_row_##T(p, (const T *)p->x + t * p->m->in, (T *)p->y + t * p->m->out);                \
            } else {                                                                                       \
                int64_t o = t / p->m->out, j = t % p->m->out;                                              \
                pass_slice_##T(p, j, (const T *)p->x + o * p->m->in * p->inner, (T *)p->y + t * p->inner); \
            }                                                                                              \
        }                                                                                                  \
    }
PASS(float, weight_f32)
PASS(double, weight)

typedef struct smooth {
    tn_shape shape;  /* of what has been computed so far, as stored */
    void *buffer[2]; /* intermediate results; owned */
    bool f32;
    int threads;
    tern_error *err;
} smooth;

static tern_status new_buffer(smooth *s, int which, const tn_shape *shape) {
    size_t bytes;
    tn_free(s->buffer[which]);
    s->buffer[which] = tn_bytes_for(s->f32 ? TERN_FLOAT : TERN_DOUBLE, shape, 0, &bytes) ? tn_alloc(bytes) : NULL;
    return s->buffer[which] ? TERN_OK : tn_fail_oom(s->err, bytes);
}

static void run_pass(const smooth *s, int dim, const tn_resize_map *m, const void *x, void *y) {
    pass p = {m, tn_shape_count_range(&s->shape, 0, dim), tn_shape_count_range(&s->shape, dim + 1, s->shape.rank), x,
              y};
    int64_t tasks = p.inner == 1 ? p.outer : p.outer * m->out;
    int threads = p.outer * m->out * p.inner < 16384 ? 1 : s->threads;
    tn_parallel_for(threads, tasks, s->f32 ? pass_task_float : pass_task_double, &p);
}

/* The dim that shrinks most, or grows least, comes first; of equal ones the last, because the pass over another one
 * goes through long runs of memory and is better done on more of it. -1: none is left. */
static int next_dim(const tn_resize_map *maps, const bool *done, int rank) {
    int best = -1;
    for (int i = 0; i < rank; i++) {
        if (!maps[i].first || done[i]) continue;
        if (best < 0 || (double)maps[i].out / (double)maps[i].in <= (double)maps[best].out / (double)maps[best].in)
            best = i;
    }
    return best;
}

/* Passes from x (working type, stored shape s->shape) into y. */
static tern_status all_passes(smooth *s, const tn_resize_map *maps, const void *x, void *y) {
    bool done[TERN_MAX_RANK + 1] = {false};
    int turn = 0, dim = next_dim(maps, done, s->shape.rank);
    while (dim >= 0) {
        done[dim] = true;
        int following = next_dim(maps, done, s->shape.rank);
        tn_shape out = s->shape;
        out.dims[dim] = maps[dim].out;
        void *to = y;
        if (following >= 0) {
            TN_TRY(new_buffer(s, turn, &out));
            to = s->buffer[turn];
            turn ^= 1;
        }
        run_pass(s, dim, &maps[dim], x, to);
        s->shape = out;
        x = to;
        dim = following;
    }
    return TERN_OK;
}

static tern_status smooth_any(smooth *s, const tern_tensor *x, tern_tensor *y, const tn_resize_map *maps) {
    size_t bytes;
    tn_shape out = tn_tensor_stored_shape(y);
    bool convert = !tn_type_in(x->dtype, COMPLEX) && x->dtype != (s->f32 ? TERN_FLOAT : TERN_DOUBLE);
    int64_t n_in = tn_shape_count(&s->shape), n_out = tn_shape_count(&out);
    if (!convert) return all_passes(s, maps, x->data, y->data);
    tern_dtype work = s->f32 ? TERN_FLOAT : TERN_DOUBLE;
    void *wide_in = tn_bytes_for(work, &s->shape, 0, &bytes) ? tn_alloc(bytes) : NULL;
    void *wide_out = tn_bytes_for(work, &out, 0, &bytes) ? tn_alloc(bytes) : NULL;
    tern_status st = wide_in && wide_out ? TERN_OK : tn_fail_oom(s->err, bytes);
    if (st == TERN_OK) {
        if (s->f32)
            tn_row_load_f32(x->dtype, x->data, 0, n_in, wide_in);
        else
            tn_row_load_f64(x->dtype, x->data, 0, n_in, wide_in);
        st = all_passes(s, maps, wide_in, wide_out);
    }
    if (st == TERN_OK) {
        if (s->f32)
            tn_row_store_f32(y->dtype, y->data, 0, n_out, wide_out);
        else
            tn_row_store_f64(y->dtype, y->data, 0, n_out, wide_out);
    }
    tn_free(wide_in);
    tn_free(wide_out);
    return st;
}

static tern_status run_smooth(tn_run *c, const tn_resize_map *maps) {
    const tern_tensor *x = c->in[0];
    smooth s = {.shape = tn_tensor_stored_shape(x), .threads = c->threads, .err = c->err};
    s.f32 = tn_type_in(x->dtype, TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16) | TN_T(COMPLEX64));
    if (tn_type_in(x->dtype, COMPLEX)) s.shape.dims[s.shape.rank++] = 2; /* one more dim, which does not change */
    tern_status st = smooth_any(&s, x, c->out[0], maps);
    tn_free(s.buffer[0]);
    tn_free(s.buffer[1]);
    return st;
}

/* ---- operators --------------------------------------------------------------------------------------------- */

/* tf_crop_and_resize: what lies outside the input. */
static void fill_outside(const tn_resize *r, const tn_resize_map *maps, tern_tensor *y) {
    int64_t n = tn_shape_count(&y->shape);
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i;
        bool outside = false;
        for (int d = y->shape.rank - 1; d >= 0; d--) {
            if (maps[d].outside && maps[d].outside[rest % y->shape.dims[d]]) outside = true;
            rest /= y->shape.dims[d];
        }
        if (outside && y->dtype == TERN_COMPLEX64)
            memcpy((float *)y->data + 2 * i, (float[2]){(float)r->extrapolation, 0}, 2 * sizeof(float));
        else if (outside && y->dtype == TERN_COMPLEX128)
            memcpy((double *)y->data + 2 * i, (double[2]){r->extrapolation, 0}, 2 * sizeof(double));
        else if (outside)
            tn_row_store_f64(y->dtype, y->data, i, 1, &r->extrapolation);
    }
}

static tern_status resize_with(tn_run *c, const tn_resize *r, tn_resize_map *maps) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    bool any = false;
    for (int i = 0; i < r->in.rank; i++) {
        if (!r->active[i]) continue;
        any = true;
        TN_TRY(tn_resize_map_make(r, i, &maps[i], c->err));
    }
    if (!any) {
        memcpy(y->data, x->data, tn_tensor_bytes(y));
        return TERN_OK;
    }
    if (x->block && (maps[0].first || maps[1].first))
        return tn_run_fail(c, TERN_INTERNAL, "blocked layout, but batch or channels are resized");
    tn_shape in = tn_tensor_stored_shape(x), out = tn_tensor_stored_shape(y);
    if (r->mode == TN_RESIZE_NEAREST)
        run_nearest(c, &in, &out, maps);
    else
        TN_TRY(run_smooth(c, maps));
    if (r->coord == TN_COORD_TF_CROP) {
        if (!tn_type_in(y->dtype, NUMERIC_OR_BOOL | COMPLEX) || y->block)
            return tn_run_fail(c, TERN_UNSUPPORTED, "tf_crop_and_resize of %s", tern_dtype_name(y->dtype));
        fill_outside(r, maps, y);
    }
    return TERN_OK;
}

static tern_status run_resize(tn_run *c) {
    tn_resize r;
    lists l;
    TN_TRY(tn_resize_modes(c->node, &r, c->err));
    TN_TRY(lists_run(c, &l));
    r.in = c->in[0]->shape;
    TN_TRY(tn_resize_shape(c->node, &l.a, &r, c->err));
    if (!tn_shape_equal(&r.out, &c->out[0]->shape)) {
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        return tn_run_fail(c, TERN_INTERNAL, "the result is %s, the output %s", tn_shape_text(&r.out, a, sizeof a),
                           tn_shape_text(&c->out[0]->shape, b, sizeof b));
    }
    if (tn_tensor_bytes(c->out[0]) == 0) return TERN_OK;
    tn_resize_map maps[TERN_MAX_RANK + 1];
    memset(maps, 0, sizeof maps);
    tern_status s = resize_with(c, &r, maps);
    for (int i = 0; i <= TERN_MAX_RANK; i++) tn_resize_map_release(&maps[i]);
    return s;
}

/* Batch and channels stay as they are, for sure. */
static bool resize_blocked_ok(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value,
                              int block) {
    (void)block;
    tn_resize r;
    lists l;
    lists_init(&l);
    int si = scales_input(node), zi = sizes_input(node);
    if (!in[0] || !in[0]->ranked || in[0]->dtype != TERN_FLOAT || tn_resize_modes(node, &r, NULL) != TERN_OK ||
        r.coord == TN_COORD_TF_CROP)
        return false;
    r.in = in[0]->shape;
    if (si < 0 && scales_from_attr(&l, node, NULL) != TERN_OK) return false;
    if (si >= 0 && si < node->n_in && in[si]) {
        if (!value[si] || read_scales(&l, value[si], NULL) != TERN_OK) return false;
    }
    if (zi >= 0 && zi < node->n_in && in[zi]) {
        if (!value[zi] || read_count(value[zi], "sizes", &l.a.n_sizes, NULL) != TERN_OK) return false;
        for (int i = 0; i < l.a.n_sizes; i++) l.sizes[i] = tn_tensor_get_i64(value[zi], i);
    }
    return tn_resize_shape(node, &l.a, &r, NULL) == TERN_OK && r.in.rank >= 3 && !r.active[0] && !r.active[1];
}

#define RESIZE_OP(MIN_IN, MAX_IN)                                                                                 \
    {                                                                                                             \
        .infer = infer_resize, .run = run_resize, .min_in = MIN_IN, .max_in = MAX_IN, .min_out = 1, .max_out = 1, \
        .flags = TN_OP_BLOCKED, .blocked_ok = resize_blocked_ok                                                   \
    }

const tn_op tn_op_upsample7 = RESIZE_OP(1, 1);
const tn_op tn_op_upsample = RESIZE_OP(2, 2);
const tn_op tn_op_resize10 = RESIZE_OP(2, 2);
const tn_op tn_op_resize = RESIZE_OP(1, 4);
