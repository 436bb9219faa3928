/* GridSample: values at positions given by a grid, over any number of spatial dims. AffineGrid: such a grid.
 *
 * The positions of a block of outputs become lists of (offset, weight) once, which all channels share. */
#include "ops/args.h"
#include "ops/copy.h"
#include "ops/rowio.h"

#include <math.h>

#define TABLE    8192 /* most taps of a block of outputs */
#define MAX_TAPS 4096
#define MAX_GRID (TERN_MAX_RANK - 2)

typedef enum sample_mode { SAMPLE_NEAREST, SAMPLE_LINEAR, SAMPLE_CUBIC, SAMPLE_UNKNOWN } sample_mode;
typedef enum edge_mode { EDGE_ZEROS, EDGE_BORDER, EDGE_REFLECTION, EDGE_UNKNOWN } edge_mode;

/* mmcv's grid_sampler has numbers where GridSample has names, as PyTorch's operator. */
static int64_t numbered(const tn_node *n, const char *attr, int64_t unknown) {
    int64_t v = tn_attr_i(n, attr, 0);
    return v >= 0 && v < unknown ? v : unknown;
}

static sample_mode sample_mode_of(const tn_node *n) {
    static const sample_mode of_number[] = {SAMPLE_LINEAR, SAMPLE_NEAREST, SAMPLE_CUBIC, SAMPLE_UNKNOWN};
    if (*n->domain) return of_number[numbered(n, "interpolation_mode", 3)];
    bool old = n->since < 20;
    const char *linear = old ? "bilinear" : "linear";
    if (tn_attr_is(n, "mode", linear, "nearest")) return SAMPLE_NEAREST;
    if (tn_attr_is(n, "mode", linear, linear)) return SAMPLE_LINEAR;
    return tn_attr_is(n, "mode", linear, old ? "bicubic" : "cubic") ? SAMPLE_CUBIC : SAMPLE_UNKNOWN;
}

static edge_mode edge_mode_of(const tn_node *n) {
    if (*n->domain) return (edge_mode)numbered(n, "padding_mode", EDGE_UNKNOWN);
    static const char *const names[] = {"zeros", "border", "reflection"};
    for (int i = 0; i < 3; i++)
        if (tn_attr_is(n, "padding_mode", "zeros", names[i])) return (edge_mode)i;
    return EDGE_UNKNOWN;
}

/* Taps of an output position; 0: too many. */
static int64_t tap_count(sample_mode m, int rank) {
    int64_t taps = 1, each = m == SAMPLE_NEAREST ? 1 : m == SAMPLE_LINEAR ? 2 : 4;
    for (int i = 0; i < rank; i++) taps *= each;
    return taps <= MAX_TAPS ? taps : 0;
}

/* ---- inference ------------------------------------------------------------------------------------------------- */

static tern_status check_sample_attrs(tn_infer *c) {
    bool mmcv = *c->node->domain;
    if (mmcv && (sample_mode_of(c->node) == SAMPLE_UNKNOWN || edge_mode_of(c->node) == EDGE_UNKNOWN))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "interpolation_mode is %lld and padding_mode %lld, not 0 to 2",
                             (long long)tn_attr_i(c->node, "interpolation_mode", 0),
                             (long long)tn_attr_i(c->node, "padding_mode", 0));
    tn_str none = {"", 0}, mode = mmcv ? none : tn_attr_s(c->node, "mode", "");
    tn_str padding = mmcv ? none : tn_attr_s(c->node, "padding_mode", "");
    if (sample_mode_of(c->node) == SAMPLE_UNKNOWN)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode '%.*s' is not one of this version",
                             (int)TN_MIN(mode.len, (size_t)40), mode.data);
    if (edge_mode_of(c->node) == EDGE_UNKNOWN)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "padding_mode '%.*s' is not zeros, border or reflection",
                             (int)TN_MIN(padding.len, (size_t)40), padding.data);
    uint32_t copied = TN_TYPES_NUMERIC | TN_T(BOOL) | TN_T(STRING) | TN_T(COMPLEX64) | TN_T(COMPLEX128);
    TN_TRY(tn_args_need(c, 0, sample_mode_of(c->node) == SAMPLE_NEAREST ? copied : copied & ~TN_T(STRING)));
    return tn_args_need(c, 1, TN_TYPES_FLOAT);
}

static tern_status infer_grid_sample(tn_infer *c) {
    TN_TRY(check_sample_attrs(c));
    tn_shape x, g, y;
    bool have_x = tn_args_shape(c, 0, &x), have_g = tn_args_shape(c, 1, &g);
    if (have_x && have_g && x.rank != g.rank)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X has rank %d, the grid %d", x.rank, g.rank);
    if (!have_x && !have_g) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    y = tn_args_unknown_dims(have_x ? x.rank : g.rank);
    if (y.rank < 3 || (c->node->since < 20 && y.rank != 4))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "rank %d; this version takes %s", y.rank,
                             c->node->since < 20 ? "4" : "3 and more");
    if (!tap_count(sample_mode_of(c->node), y.rank - 2))
        return tn_infer_fail(c, TERN_UNSUPPORTED, "cubic interpolation over %d dims", y.rank - 2);
    if (have_x) memcpy(y.dims, x.dims, 2 * sizeof *y.dims);
    if (!have_g) return tn_args_out_shape(c, 0, c->in[0]->dtype, &y);
    if (tn_dim_known(g.dims[g.rank - 1]) && g.dims[g.rank - 1] != g.rank - 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the grid's vectors have %lld elements instead of %d",
                             (long long)g.dims[g.rank - 1], g.rank - 2);
    if (have_x && tn_dim_known(x.dims[0]) && tn_dim_known(g.dims[0]) && x.dims[0] != g.dims[0])
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X has the batch %lld, the grid %lld", (long long)x.dims[0],
                             (long long)g.dims[0]);
    if (!tn_dim_known(y.dims[0])) y.dims[0] = g.dims[0];
    for (int i = 2; i < y.rank; i++) y.dims[i] = g.dims[i - 1];
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &y);
}

/* ---- positions to taps ----------------------------------------------------------------------------------------- */

typedef struct sampler {
    sample_mode mode;
    edge_mode edge;
    bool align, wide_grid;
    bool clamp_taps; /* cubic with border: the pixels around a position are clamped, not the position (mmcv) */
    int rank;
    int64_t dims[MAX_GRID], step[MAX_GRID]; /* of the planes of X */
    int64_t taps, block;                    /* taps of an output; outputs of a task */
    int64_t channels, in_plane, out_plane, blocks;
    const tern_tensor *x, *grid;
    const void *data; /* of X as float, double or (nearest) as it is */
    tern_tensor *y;
    bool wide; /* data is double */
    int parts; /* numbers of an element: 2 of complex ones */
} sampler;

/* Folds v into [low, high] by mirrors at both ends. */
static double reflect(double v, double low, double high) {
    double range = high - low;
    if (range <= 0) return low;
    double d = fmod(fabs(v - low), 2 * range);
    if (!(d == d)) return low;
    return d > range ? high - (d - range) : low + d;
}

/* From [-1, 1] to pixels, in the precision of the grid. */
static double to_pixels(const sampler *s, double v, int64_t n) {
    if (s->wide_grid) return s->align ? (v + 1) / 2 * (double)(n - 1) : ((v + 1) * (double)n - 1) / 2;
    float f = (float)v, size = (float)n;
    return (double)(s->align ? (f + 1) / 2 * (size - 1) : ((f + 1) * size - 1) / 2);
}

static double clamp(double v, double low, double high) { return v >= low ? (v <= high ? v : high) : low; }

/* Pixel i of a dim, or -1 where there is nothing. */
static int64_t edge_index(const sampler *s, double i, int64_t n) {
    double last = (double)(n - 1);
    if (s->edge == EDGE_ZEROS) return i >= 0 && i <= last ? (int64_t)i : -1;
    if (s->edge == EDGE_REFLECTION) i = trunc(reflect(i, s->align ? 0 : -0.5, s->align ? last : last + 0.5));
    return (int64_t)clamp(i, 0, last);
}

static void cubic_weights(double x, double *w) {
    const double a = -0.75;
    for (int i = 0; i < 4; i++) {
        double d = fabs(x + 1 - i);
        w[i] = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    }
}

/* The 1, 2 or 4 pixels of one dim and their weights. */
static int axis_taps(const sampler *s, double v, int axis, int64_t *index, double *weight) {
    int64_t n = s->dims[axis];
    double x = to_pixels(s, v, n), last = (double)(n - 1);
    if (s->mode == SAMPLE_NEAREST) x = nearbyint(x);
    if (s->edge == EDGE_BORDER && !s->clamp_taps) x = clamp(x, 0, last);
    if (s->edge == EDGE_REFLECTION) x = reflect(x, s->align ? 0 : -0.5, s->align ? last : last + 0.5);
    double low = floor(x);
    if (!(fabs(x) < 1e15)) { /* also not a number: outside of everything */
        x = low = -10;
        if (s->edge != EDGE_ZEROS) x = low = 0;
    }
    int taps = s->mode == SAMPLE_NEAREST ? 1 : s->mode == SAMPLE_LINEAR ? 2 : 4;
    if (taps == 1) {
        weight[0] = 1;
        index[0] = edge_index(s, nearbyint(x), n);
        return 1;
    }
    if (taps == 2) {
        weight[0] = 1 - (x - low);
        weight[1] = x - low;
    } else {
        cubic_weights(x - low, weight);
        low -= 1;
    }
    for (int i = 0; i < taps; i++) index[i] = edge_index(s, low + i, n);
    return taps;
}

/* Offsets in a plane and weights of one output; -1: outside. The grid lists the innermost dim first. */
static void point_taps(const sampler *s, const double *v, int64_t *offset, double *weight) {
    int64_t count = 1, index[4];
    double w[4];
    offset[0] = 0;
    weight[0] = 1;
    for (int axis = 0; axis < s->rank; axis++) {
        int n = axis_taps(s, v[s->rank - 1 - axis], axis, index, w);
        for (int64_t i = count - 1; i >= 0; i--) {
            int64_t base = offset[i];
            double factor = weight[i];
            for (int k = n - 1; k >= 0; k--) {
                offset[i * n + k] = base < 0 || index[k] < 0 ? -1 : base + index[k] * s->step[axis];
                weight[i * n + k] = factor * w[k];
            }
        }
        count *= n;
    }
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

#define SUM_TAPS(NAME, T)                                                                                      \
    static void NAME(const sampler *s, const T *plane, const int64_t *offset, const double *weight, int64_t n, \
                     T *out) {                                                                                 \
        const int parts = s->parts;                                                                            \
        for (int64_t i = 0; i < n; i++, offset += s->taps, weight += s->taps)                                  \
            for (int p = 0; p < parts; p++) {                                                                  \
                T sum = 0;                                                                                     \
                for (int64_t k = 0; k < s->taps; k++)                                                          \
                    if (offset[k] >= 0) sum += plane[offset[k] * parts + p] * (T)weight[k];                    \
                out[i * parts + p] = sum;                                                                      \
            }                                                                                                  \
    }
SUM_TAPS(sum_taps_f32, float)
SUM_TAPS(sum_taps_f64, double)
#undef SUM_TAPS

static void copy_nearest(const sampler *s, int64_t plane, const int64_t *offset, int64_t n, int64_t at) {
    size_t unit = tern_dtype_size(s->x->dtype);
    const char *from = (const char *)s->x->data + (size_t)(plane * s->in_plane) * unit;
    char *to = (char *)s->y->data + (size_t)at * unit;
    for (int64_t i = 0; i < n; i++, to += unit) {
        if (offset[i] >= 0)
            memcpy(to, from + (size_t)offset[i] * unit, unit);
        else
            memset(to, 0, unit);
    }
}

static void store_wide(const sampler *s, int64_t at, int64_t n, const double *out) {
    if (s->parts == 2)
        memcpy((double *)s->y->data + 2 * at, out, (size_t)n * 2 * sizeof *out);
    else if (s->y->dtype == TERN_BOOL) /* as numbers become truth values elsewhere: all but 0 are true */
        for (int64_t i = 0; i < n; i++) ((uint8_t *)s->y->data)[at + i] = out[i] != 0;
    else
        tn_row_store_f64(s->y->dtype, s->y->data, at, n, out);
}

/* Outputs [first, first + n) of one sample. */
static void sample_block(const sampler *s, int64_t sample, int64_t first, int64_t n) {
    int64_t offset[TABLE];
    double weight[TABLE], v[MAX_GRID];
    for (int64_t i = 0; i < n; i++) {
        tn_row_load_f64(s->grid->dtype, s->grid->data, (sample * s->out_plane + first + i) * s->rank, s->rank, v);
        point_taps(s, v, offset + i * s->taps, weight + i * s->taps);
    }
    for (int64_t ch = 0; ch < s->channels; ch++) {
        int64_t plane = sample * s->channels + ch, at = plane * s->out_plane + first;
        if (s->mode == SAMPLE_NEAREST) {
            copy_nearest(s, plane, offset, n, at);
        } else if (s->wide) {
            double out[2 * 256];
            sum_taps_f64(s, (const double *)s->data + plane * s->in_plane * s->parts, offset, weight, n, out);
            store_wide(s, at, n, out);
        } else {
            float out[2 * 256];
            sum_taps_f32(s, (const float *)s->data + plane * s->in_plane * s->parts, offset, weight, n, out);
            if (s->parts == 2)
                memcpy((float *)s->y->data + 2 * at, out, (size_t)n * 2 * sizeof *out);
            else
                tn_row_store_f32(s->y->dtype, s->y->data, at, n, out);
        }
    }
}

static void sample_task(void *context, int64_t begin, int64_t end, int worker) {
    const sampler *s = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t first = t % s->blocks * s->block;
        sample_block(s, t / s->blocks, first, TN_MIN(s->block, s->out_plane - first));
    }
}

/* X as float (float types of up to 32 bits) or double, unless its elements are only copied. */
static tern_status sample_data(sampler *s, void **copy, tern_error *err) {
    tern_dtype t = s->x->dtype;
    s->data = s->x->data;
    s->wide = !tn_type_in(t, TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16) | TN_T(COMPLEX64));
    s->parts = tn_type_in(t, TN_T(COMPLEX64) | TN_T(COMPLEX128)) ? 2 : 1;
    if (s->mode == SAMPLE_NEAREST || s->parts == 2 || t == TERN_FLOAT || t == TERN_DOUBLE) return TERN_OK;
    int64_t n = tn_shape_count(&s->x->shape);
    s->data = *copy = tn_alloc_array((size_t)n, s->wide ? sizeof(double) : sizeof(float));
    if (!*copy) return tn_fail_oom(err, (size_t)n * sizeof(double));
    if (s->wide)
        tn_row_load_f64(t, s->x->data, 0, n, *copy);
    else
        tn_row_load_f32(t, s->x->data, 0, n, *copy);
    return TERN_OK;
}

static tern_status run_grid_sample(tn_run *c) {
    const tern_tensor *x = c->in[0], *grid = c->in[1];
    tern_tensor *y = c->out[0];
    sampler s = {.mode = sample_mode_of(c->node),
                 .edge = edge_mode_of(c->node),
                 .align = tn_attr_i(c->node, "align_corners", 0) != 0,
                 .clamp_taps = *c->node->domain != 0 && sample_mode_of(c->node) == SAMPLE_CUBIC,
                 .wide_grid = grid->dtype == TERN_DOUBLE,
                 .rank = x->shape.rank - 2,
                 .channels = x->shape.dims[1],
                 .in_plane = tn_shape_count_range(&x->shape, 2, x->shape.rank),
                 .out_plane = tn_shape_count_range(&y->shape, 2, y->shape.rank),
                 .x = x,
                 .grid = grid,
                 .y = y};
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    if (s.in_plane == 0) return tn_run_fail(c, TERN_SHAPE_MISMATCH, "X has no element to sample");
    int64_t step = 1;
    for (int i = s.rank - 1; i >= 0; i--) {
        s.dims[i] = x->shape.dims[i + 2];
        s.step[i] = step;
        step *= s.dims[i];
    }
    s.taps = tap_count(s.mode, s.rank);
    s.block = TN_MIN((int64_t)256, TABLE / s.taps);
    s.blocks = tn_ceil_div(s.out_plane, s.block);
    void *copy = NULL;
    TN_TRY(sample_data(&s, &copy, c->err));
    int threads = tn_shape_count(&y->shape) < 2048 ? 1 : c->threads;
    tn_parallel_for(threads, x->shape.dims[0] * s.blocks, sample_task, &s);
    tn_free(copy);
    return TERN_OK;
}

const tn_op tn_op_grid_sample = TN_ARGS_OP(infer_grid_sample, run_grid_sample, 2, 2, 1, 1, 0);

/* ---- AffineGrid ------------------------------------------------------------------------------------------------ */

/* Checks the elements of `size`, (n, c, h, w) or (n, c, d, h, w), and gives the grid's shape. */
static tern_status affine_shape(const int64_t *size, int count, tn_shape *out, tern_error *err) {
    if (count != 4 && count != 5) return tn_fail(err, TERN_SHAPE_MISMATCH, "size has %d elements, not 4 or 5", count);
    for (int i = 0; i < count; i++)
        if (size[i] < 1) return tn_fail(err, TERN_INVALID_ARGUMENT, "size has the element %lld", (long long)size[i]);
    *out = (tn_shape){.rank = count};
    out->dims[0] = size[0];
    for (int i = 2; i < count; i++) out->dims[i - 1] = size[i];
    out->dims[count - 1] = count - 2;
    return TERN_OK;
}

static tern_status infer_affine_grid(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tn_shape theta, size, out;
    bool have_theta = tn_args_shape(c, 0, &theta), have_size = false;
    tn_ints v;
    TN_TRY(tn_ints_infer(c, "size", 1, &v));
    int count = v.known ? v.count : 0;
    if (!v.known && tn_args_shape(c, 1, &size) && size.rank == 1 && tn_dim_known(size.dims[0]))
        count = (int)TN_MIN(size.dims[0], (int64_t)TN_INTS_MAX);
    if (have_theta && theta.rank != 3)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "theta has rank %d instead of 3", theta.rank);
    if (!count && have_theta && tn_dim_known(theta.dims[1])) count = (int)TN_MIN(theta.dims[1], (int64_t)9) + 2;
    if (!count) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    if (v.known) {
        TN_TRY(affine_shape(v.v, v.count, &out, c->err));
        have_size = true;
    } else if (count != 4 && count != 5) {
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "size has %d elements, not 4 or 5", count);
    }
    if (have_theta && ((tn_dim_known(theta.dims[1]) && theta.dims[1] != count - 2) ||
                       (tn_dim_known(theta.dims[2]) && theta.dims[2] != count - 1) ||
                       (have_size && tn_dim_known(theta.dims[0]) && theta.dims[0] != out.dims[0]))) {
        char text[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "theta of shape %s for a grid over %d dims",
                             tn_shape_text(&theta, text, sizeof text), count - 2);
    }
    if (!have_size) {
        out = tn_args_unknown_dims(count);
        if (have_theta) out.dims[0] = theta.dims[0];
        out.dims[count - 1] = count - 2;
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

/* Position i of n in [-1, 1]; the only one is the middle. */
static double grid_position(int64_t i, int64_t n, bool align) {
    if (align) return n > 1 ? -1 + 2 * (double)i / (double)(n - 1) : 0;
    return (2 * (double)i + 1) / (double)n - 1;
}

typedef struct affine_grid {
    const tern_tensor *theta;
    tern_tensor *y;
    int rank;
    bool align;
} affine_grid;

/* A task is a line of the grid. */
static void affine_task(void *context, int64_t begin, int64_t end, int worker) {
    const affine_grid *g = context;
    (void)worker;
    const int64_t *dims = g->y->shape.dims + 1;
    int r = g->rank;
    int64_t width = dims[r - 1], lines = tn_shape_count_range(&g->y->shape, 1, r);
    for (int64_t t = begin; t < end; t++) {
        double m[12], at[3], out[3];
        int64_t rest = t % lines;
        tn_row_load_f64(g->theta->dtype, g->theta->data, t / lines * r * (r + 1), r * (r + 1), m);
        for (int i = r - 2; i >= 0; i--) {
            at[r - 1 - i] = grid_position(rest % dims[i], dims[i], g->align);
            rest /= dims[i];
        }
        for (int64_t x = 0; x < width; x++) {
            at[0] = grid_position(x, width, g->align);
            for (int i = 0; i < r; i++) {
                out[i] = m[i * (r + 1) + r];
                for (int k = 0; k < r; k++) out[i] += m[i * (r + 1) + k] * at[k];
            }
            tn_row_store_f64(g->y->dtype, g->y->data, (t * width + x) * r, r, out);
        }
    }
}

static tern_status run_affine_grid(tn_run *c) {
    affine_grid g = {c->in[0], c->out[0], c->out[0]->shape.rank - 2, tn_attr_i(c->node, "align_corners", 0) != 0};
    int64_t n = tn_shape_count(&g.y->shape);
    if (n == 0) return TERN_OK;
    int64_t lines = n / g.rank / g.y->shape.dims[g.rank];
    tn_parallel_for(n < 8192 ? 1 : c->threads, lines, affine_task, &g);
    return TERN_OK;
}

const tn_op tn_op_affine_grid = TN_ARGS_OP(infer_affine_grid, run_affine_grid, 2, 2, 1, 1, 0);
