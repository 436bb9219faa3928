#include "ops/resize_plan.h"

#include <math.h>

/* ---- attributes -------------------------------------------------------------------------------------------- */

static tern_status choose(const tn_node *n, const char *attr, const char *const *names, int count, int preset, int *out,
                          tern_error *err) {
    tn_str s = tn_attr_s(n, attr, names[preset]);
    for (int i = 0; i < count; i++)
        if (tn_str_eq(s, tn_str_c(names[i]))) {
            *out = i;
            return TERN_OK;
        }
    return tn_fail(err, TERN_INVALID_MODEL, "%s '%.*s' is not known in opset %d", attr, (int)TN_MIN(s.len, 60u), s.data,
                   n->opset);
}

static bool is_upsample(const tn_node *n) { return strcmp(n->op_type, "Upsample") == 0; }

tern_status tn_resize_modes(const tn_node *n, tn_resize *r, tern_error *err) {
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coords[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                                         "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    int v = 0;
    bool old = is_upsample(n) || n->since < 11;
    if (is_upsample(n) && tn_attr_is(n, "mode", "nearest", "bilinear"))
        v = TN_RESIZE_LINEAR;
    else
        TN_TRY(choose(n, "mode", modes, old ? 2 : 3, 0, &v, err));
    r->mode = (tn_resize_mode)v;
    r->coord = TN_COORD_ASYMMETRIC;
    r->round = TN_ROUND_SIMPLE;
    r->antialias = r->exclude_outside = false;
    r->cubic_a = -0.75;
    r->extrapolation = 0;
    if (old) return TERN_OK;
    TN_TRY(choose(n, "coordinate_transformation_mode", coords, 7, 0, &v, err));
    r->coord = (tn_resize_coord)v;
    TN_TRY(choose(n, "nearest_mode", rounds, 4, 0, &v, err));
    r->round = (tn_resize_round)v;
    r->antialias = n->since >= 18 && tn_attr_i(n, "antialias", 0) != 0;
    r->exclude_outside = tn_attr_i(n, "exclude_outside", 0) != 0;
    r->cubic_a = (double)tn_attr_f(n, "cubic_coeff_a", -0.75f);
    r->extrapolation = (double)tn_attr_f(n, "extrapolation_value", 0);
    return TERN_OK;
}

/* ---- shape ------------------------------------------------------------------------------------------------- */

static tern_status axes_of(const tn_node *n, int rank, int *axes, int *count, tern_error *err) {
    size_t k;
    const int64_t *a = tn_attr_ints(n, "axes", &k);
    *count = rank;
    for (int i = 0; i < rank; i++) axes[i] = i;
    if (is_upsample(n) || n->since < 18 || !tn_attr_find(n, "axes")) return TERN_OK;
    bool mask[TERN_MAX_RANK];
    if (k > TERN_MAX_RANK) return tn_fail(err, TERN_INVALID_MODEL, "axes has %zu values", k);
    TN_TRY(tn_args_axes(a, (int)k, rank, mask, err));
    *count = (int)k;
    for (size_t i = 0; i < k; i++) axes[i] = (int)(a[i] < 0 ? a[i] + rank : a[i]);
    return TERN_OK;
}

static tern_status want_count(const char *what, int have, int want, tern_error *err) {
    if (have == want) return TERN_OK;
    return tn_fail(err, TERN_INVALID_MODEL, "%s has %d values where %d are needed", what, have, want);
}

static tern_status shape_by_scales(const tn_resize_args *a, const int *axes, int n, tn_resize *r, tern_error *err) {
    TN_TRY(want_count("scales", a->n_scales, n, err));
    for (int i = 0; i < n; i++) {
        int d = axes[i];
        float s = a->scales[i];
        if (!(s > 0) || !isfinite(s))
            return tn_fail(err, TERN_INVALID_MODEL, "scale %g of dim %d is not above 0", (double)s, d);
        r->scale[d] = (double)s;
        if (s == 1 && r->roi_start[d] == 0 && r->roi_end[d] == 1) continue;
        r->active[d] = true;
        r->out.dims[d] = TN_DIM_UNKNOWN;
        if (!tn_dim_known(r->in.dims[d])) continue;
        /* In single precision, as the standard's own inference does. */
        float part = (float)(r->roi_end[d] - r->roi_start[d]), out = floorf((float)r->in.dims[d] * part * s);
        if (!(out >= 0) || out > 1e15f)
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "dim %d, %lld, can not be scaled by %g", d,
                           (long long)r->in.dims[d], (double)(part * s));
        r->out.dims[d] = (int64_t)out;
    }
    return TERN_OK;
}

/* One scale for all axes, the smallest or the largest that the sizes ask for. */
static tern_status keep_ratio(const tn_resize_args *a, const int *axes, int n, bool larger, tn_resize *r,
                              tern_error *err) {
    double scale = larger ? 0 : INFINITY;
    for (int i = 0; i < n; i++) {
        int64_t in = r->in.dims[axes[i]], size = a->sizes[i];
        r->out.dims[axes[i]] = TN_DIM_UNKNOWN;
        if (!tn_dim_known(in) || !tn_dim_known(size)) scale = NAN;
        double s = (double)size / (double)in;
        if (larger ? s > scale : s < scale) scale = s;
    }
    for (int i = 0; i < n && scale == scale; i++) {
        int d = axes[i];
        double out = floor(scale * (double)r->in.dims[d] + 0.5);
        if (!(out >= 0) || out > 1e15)
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "dim %d, %lld, can not be scaled by %g", d,
                           (long long)r->in.dims[d], scale);
        r->scale[d] = scale;
        r->out.dims[d] = (int64_t)out;
    }
    return TERN_OK;
}

static tern_status shape_by_sizes(const tn_node *node, const tn_resize_args *a, const int *axes, int n, tn_resize *r,
                                  tern_error *err) {
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller"};
    int policy = 0;
    TN_TRY(want_count("sizes", a->n_sizes, n, err));
    if (node->since >= 18) TN_TRY(choose(node, "keep_aspect_ratio_policy", policies, 3, 0, &policy, err));
    r->by_sizes = true;
    for (int i = 0; i < n; i++) {
        int d = axes[i];
        int64_t in = r->in.dims[d], size = a->sizes[i];
        if (tn_dim_known(size) && (size < 0 || (size > 0 && in == 0)))
            return tn_fail(err, TERN_INVALID_MODEL, "dim %d, %lld, can not become %lld", d, (long long)in,
                           (long long)size);
        r->active[d] = in != size || policy != 0 || r->roi_start[d] != 0 || r->roi_end[d] != 1;
        r->out.dims[d] = size;
        if (tn_dim_known(size) && tn_dim_known(in) && in > 0) r->scale[d] = (double)size / (double)in;
    }
    return policy == 0 ? TERN_OK : keep_ratio(a, axes, n, policy == 2, r, err);
}

tern_status tn_resize_shape(const tn_node *n, const tn_resize_args *a, tn_resize *r, tern_error *err) {
    int axes[TERN_MAX_RANK], count;
    TN_TRY(axes_of(n, r->in.rank, axes, &count, err));
    r->out = r->in;
    r->by_sizes = false;
    for (int i = 0; i < r->in.rank; i++) {
        r->scale[i] = r->roi_end[i] = 1;
        r->roi_start[i] = 0;
        r->active[i] = false;
    }
    if (!a->known) {
        for (int i = 0; i < count; i++) r->out.dims[axes[i]] = TN_DIM_UNKNOWN;
        return TERN_OK;
    }
    if (r->coord == TN_COORD_TF_CROP) {
        TN_TRY(want_count("roi", a->n_roi, 2 * count, err));
        for (int i = 0; i < count; i++) {
            r->roi_start[axes[i]] = a->roi[i];
            r->roi_end[axes[i]] = a->roi[count + i];
            if (!(fabs(a->roi[i]) < 1e6) || !(fabs(a->roi[count + i]) < 1e6))
                return tn_fail(err, TERN_INVALID_ARGUMENT, "the roi of dim %d goes from %g to %g", axes[i], a->roi[i],
                               a->roi[count + i]);
        }
    }
    if ((a->n_scales > 0) == (a->n_sizes > 0) && count > 0)
        return tn_fail(err, TERN_INVALID_MODEL, "%s of scales and sizes must be given",
                       a->n_scales ? "only one" : "one");
    if (a->n_sizes > 0) return shape_by_sizes(n, a, axes, count, r, err);
    return shape_by_scales(a, axes, count, r, err);
}

/* ---- coordinates ------------------------------------------------------------------------------------------- */

/* Scales are single precision numbers: dividing by them in that precision hits whole coordinates (4 / 1.3333334 is 3).
 */
static double divide(const tn_resize *r, double x, double scale) {
    return r->by_sizes ? x / scale : (double)((float)x / (float)scale);
}

static double source_coordinate(const tn_resize *r, int d, int64_t j) {
    double x = (double)j, s = r->scale[d], in = (double)r->in.dims[d], out = (double)r->out.dims[d];
    double start = r->roi_start[d], end = r->roi_end[d];
    switch (r->coord) {
    case TN_COORD_HALF_PIXEL:
        return divide(r, x + 0.5, s) - 0.5;
    case TN_COORD_HALF_PIXEL_SYMMETRIC:
        return in / 2 * (1 - out / (s * in)) + divide(r, x + 0.5, s) - 0.5;
    case TN_COORD_PYTORCH_HALF_PIXEL:
        return out > 1 ? divide(r, x + 0.5, s) - 0.5 : 0;
    case TN_COORD_ALIGN_CORNERS:
        return out > 1 ? x * (in - 1) / (s * in - 1) : 0; /* s * in is not rounded to out */
    case TN_COORD_ASYMMETRIC:
        return divide(r, x, s);
    case TN_COORD_TF_HALF_PIXEL:
        return divide(r, x + 0.5, s);
    default:
        return out > 1 ? start * (in - 1) + x * (end - start) * (in - 1) / (out - 1) : 0.5 * (start + end) * (in - 1);
    }
}

static int64_t nearest(const tn_resize *r, int d, double x) {
    double f = floor(x), v;
    switch (r->round) {
    case TN_ROUND_PREFER_FLOOR:
        v = x - f > 0.5 ? f + 1 : f;
        break;
    case TN_ROUND_PREFER_CEIL:
        v = x - f >= 0.5 ? f + 1 : f;
        break;
    case TN_ROUND_FLOOR:
        v = f;
        break;
    case TN_ROUND_CEIL:
        v = ceil(x);
        break;
    default:
        v = r->scale[d] < 1 ? ceil(x) : f;
        break;
    }
    double last = (double)(r->in.dims[d] - 1);
    return (int64_t)(v < 0 ? 0 : v > last ? last : v);
}

/* ---- weights ----------------------------------------------------------------------------------------------- */

static double kernel(const tn_resize *r, double x) {
    double a = r->cubic_a;
    x = fabs(x);
    if (r->mode == TN_RESIZE_LINEAR) return x < 1 ? 1 - x : 0;
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Adds the taps of coordinate x to w[taps], which stands for inputs from `first` on. What lies outside the input goes
 * to its edge or, with exclude_outside, is left out. */
static void fill_taps(const tn_resize *r, int d, double x, double support, double shrink, int64_t first, int64_t taps,
                      double *w) {
    int64_t in = r->in.dims[d];
    double total = 0;
    for (int64_t p = (int64_t)floor(x - support) + 1; (double)p < x + support; p++) {
        double k = kernel(r, ((double)p - x) * shrink);
        if (r->exclude_outside && (p < 0 || p >= in)) continue;
        int64_t at = TN_MIN(TN_MAX(p, 0), in - 1) - first;
        w[TN_MIN(TN_MAX(at, 0), taps - 1)] += k;
        total += k;
    }
    if (total != 0 && total != 1)
        for (int64_t i = 0; i < taps; i++) w[i] /= total;
}

static tern_status make_weights(const tn_resize *r, int d, tn_resize_map *m, tern_error *err) {
    double shrink = r->antialias && r->scale[d] < 1 ? r->scale[d] : 1;
    double support = (r->mode == TN_RESIZE_LINEAR ? 1 : 2) / shrink;
    if (support > 4 * (double)m->in + 16)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "scale %g is too small for a dim of %lld", r->scale[d],
                       (long long)m->in);
    m->taps = TN_MIN(2 * (int64_t)ceil(support), m->in);
    size_t n;
    if (!tn_mul_size((size_t)m->out, (size_t)m->taps, &n)) return tn_fail_oom(err, SIZE_MAX);
    m->weight = tn_calloc(n, sizeof *m->weight);
    m->weight_f32 = tn_calloc(n, sizeof *m->weight_f32);
    if (!m->weight || !m->weight_f32) return tn_fail_oom(err, n * sizeof *m->weight);
    for (int64_t j = 0; j < m->out; j++) {
        double x = source_coordinate(r, d, j);
        /* Far outside, all taps are the edge's: the same as just outside. */
        x = TN_MIN(TN_MAX(x, -support - 1), (double)m->in + support);
        int64_t first = (int64_t)floor(x - support) + 1;
        m->first[j] = TN_MIN(TN_MAX(first, 0), m->in - m->taps);
        fill_taps(r, d, x, support, shrink, m->first[j], m->taps, m->weight + j * m->taps);
    }
    for (size_t i = 0; i < n; i++) m->weight_f32[i] = (float)m->weight[i];
    return TERN_OK;
}

tern_status tn_resize_map_make(const tn_resize *r, int dim, tn_resize_map *m, tern_error *err) {
    *m = (tn_resize_map){.in = r->in.dims[dim], .out = r->out.dims[dim], .taps = 1};
    m->first = tn_alloc_array((size_t)m->out, sizeof *m->first);
    if (!m->first) return tn_fail_oom(err, (size_t)m->out * sizeof *m->first);
    if (r->coord == TN_COORD_TF_CROP) {
        m->outside = tn_calloc((size_t)m->out, sizeof *m->outside);
        if (!m->outside) return tn_fail_oom(err, (size_t)m->out);
        for (int64_t j = 0; j < m->out; j++) {
            double x = source_coordinate(r, dim, j);
            m->outside[j] = x < 0 || x > (double)(m->in - 1);
        }
    }
    if (r->mode != TN_RESIZE_NEAREST) return make_weights(r, dim, m, err);
    for (int64_t j = 0; j < m->out; j++) m->first[j] = nearest(r, dim, source_coordinate(r, dim, j));
    return TERN_OK;
}

void tn_resize_map_release(tn_resize_map *m) {
    tn_free(m->first);
    tn_free(m->weight);
    tn_free(m->weight_f32);
    tn_free(m->outside);
    *m = (tn_resize_map){0};
}
