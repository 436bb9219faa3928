/* RoiAlign and MaxRoiPool: a grid of values for each region of interest. And mmcv's forms of RoiAlign, whose regions
 * start with the number of their image: MMCVRoiAlign (image, x1, y1, x2, y2) and MMCVRoIAlignRotated (image, center,
 * width, height, angle). */
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define BINS        64                 /* whose samples are laid out at once, */
#define TAPS        1024               /* as far as they are no more than these: 64 K, which stay in the cache */
#define MAX_SAMPLES ((int64_t)1 << 24) /* of one region */

/* (rois, channels, height, width) from X (n, c, h, w) and the rois; sizes < 1 are refused. */
static tern_status infer_roi(tn_infer *c, int columns, int64_t height, int64_t width) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    TN_TRY(tn_args_need(c, 1, TN_TYPES_FLOAT));
    TN_TRY(tn_infer_same_type(c, 0, 1));
    tn_shape x, r, out = tn_args_unknown_dims(4);
    if (height < 1 || width < 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "an output of %lld x %lld", (long long)height, (long long)width);
    if (tn_args_shape(c, 0, &x)) {
        if (x.rank != 4) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X has rank %d instead of 4", x.rank);
        out.dims[1] = x.dims[1];
    }
    if (tn_args_shape(c, 1, &r)) {
        if (r.rank != 2 || (tn_dim_known(r.dims[1]) && r.dims[1] != columns)) {
            char text[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "rois have the shape %s, not one row of %d for each",
                                 tn_shape_text(&r, text, sizeof text), columns);
        }
        out.dims[0] = r.dims[0];
    }
    out.dims[2] = height;
    out.dims[3] = width;
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

/* X as float or double; *copy is freed by the caller. NULL: no memory. */
static const void *real_data(const tern_tensor *x, void **copy) {
    if (x->dtype == TERN_FLOAT || x->dtype == TERN_DOUBLE) return x->data;
    int64_t n = tn_shape_count(&x->shape);
    *copy = tn_alloc_array((size_t)n, sizeof(float));
    if (*copy) tn_row_load_f32(x->dtype, x->data, 0, n, *copy);
    return *copy;
}

/* Arithmetic of coordinates is that of the element type: bins hang on its rounding. */
static double rounded(bool wide, double v) { return wide ? v : (double)(float)v; }

/* ---- RoiAlign -------------------------------------------------------------------------------------------------- */

static tern_status infer_roi_align(tn_infer *c) {
    tn_shape b, r;
    TN_TRY(infer_roi(c, 4, tn_attr_i(c->node, "output_height", 1), tn_attr_i(c->node, "output_width", 1)));
    TN_TRY(tn_args_need(c, 2, TN_T(INT64)));
    if (!tn_attr_is(c->node, "mode", "avg", "avg") && !tn_attr_is(c->node, "mode", "avg", "max"))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode is neither avg nor max");
    const char *half = c->node->since < 16 ? "output_half_pixel" : "half_pixel";
    if (!tn_attr_is(c->node, "coordinate_transformation_mode", half, "half_pixel") &&
        !tn_attr_is(c->node, "coordinate_transformation_mode", half, "output_half_pixel"))
        return tn_infer_fail(c, TERN_INVALID_MODEL,
                             "coordinate_transformation_mode is not half_pixel or "
                             "output_half_pixel");
    if (tn_attr_i(c->node, "sampling_ratio", 0) < 0)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "sampling_ratio is %lld",
                             (long long)tn_attr_i(c->node, "sampling_ratio", 0));
    if (!tn_args_shape(c, 2, &b)) return TERN_OK;
    bool fits = b.rank == 1;
    if (fits && tn_args_shape(c, 1, &r))
        fits = !tn_dim_known(b.dims[0]) || !tn_dim_known(r.dims[0]) || b.dims[0] == r.dims[0];
    return fits ? TERN_OK : tn_infer_fail(c, TERN_SHAPE_MISMATCH, "batch_indices have not one element for each roi");
}

/* One sample of a bin: offsets and weights of the four pixels around it. */
typedef struct roi_tap {
    int64_t at[4];
    double w[4];
} roi_tap;

typedef struct roi_align {
    const tern_tensor *x, *rois;
    const int64_t *batch;
    int columns;  /* of rois: 4, 5 with the image first, 6 for center and angle */
    double angle; /* factor of the angle: -1 for clockwise */
    const void *data;
    tern_tensor *y;
    int64_t channels, height, width, out_h, out_w, ratio;
    double scale, shift; /* shift: half a pixel or 0 */
    bool max, wide;
    bool max_of_samples; /* max is over interpolated samples, not over single weighted pixels */
} roi_align;

typedef struct roi_box {
    double x, y, bin_w, bin_h;
    double sin, cos, center_x, center_y; /* x and y are relative to the center, which is 0 but for rotated regions */
    int64_t grid_w, grid_h;              /* samples of a bin */
} roi_box;

/* False when the region needs too many samples or is not finite. */
static bool roi_box_of(const roi_align *r, int64_t roi, roi_box *b) {
    double row[6], *v = r->columns == 4 ? row : row + 1, angle = 0;
    bool rotated = r->columns == 6;
    tn_row_load_f64(r->rois->dtype, r->rois->data, roi * r->columns, r->columns, row);
    for (int i = 0; i < 4; i++)
        v[i] = rounded(r->wide, rounded(r->wide, v[i] * r->scale) - (rotated && i >= 2 ? 0 : r->shift));
    double w = rotated ? v[2] : rounded(r->wide, v[2] - v[0]), h = rotated ? v[3] : rounded(r->wide, v[3] - v[1]);
    if (r->shift == 0) {
        w = fmax(w, 1);
        h = fmax(h, 1);
    }
    *b = (roi_box){.x = v[0], .y = v[1], .cos = 1};
    b->bin_w = rounded(r->wide, w / (double)r->out_w);
    b->bin_h = rounded(r->wide, h / (double)r->out_h);
    if (rotated) {
        angle = row[5] * r->angle;
        *b = (roi_box){-w / 2, -h / 2, b->bin_w, b->bin_h, sin(angle), cos(angle), v[0], v[1], 0, 0};
        if (!(fabs(angle) < 1e15)) return false;
    }
    double nw = r->ratio > 0 ? (double)r->ratio : ceil(b->bin_w), nh = r->ratio > 0 ? (double)r->ratio : ceil(b->bin_h);
    nw = fmax(nw, 0);
    nh = fmax(nh, 0);
    if (!(fabs(v[0]) < 1e15 && fabs(v[1]) < 1e15 && isfinite(b->bin_w) && isfinite(b->bin_h))) return false;
    if (!(nw <= MAX_SAMPLES && nh <= MAX_SAMPLES && nw * nh * (double)r->out_w * (double)r->out_h <= MAX_SAMPLES))
        return false;
    b->grid_w = (int64_t)nw;
    b->grid_h = (int64_t)nh;
    return true;
}

/* Two neighbours of a coordinate in [-1, n]; false outside of that. */
static bool roi_axis(double v, int64_t n, int64_t *low, int64_t *high, double *part) {
    if (!(v >= -1 && v <= (double)n)) return false;
    v = fmax(v, 0);
    *low = (int64_t)v;
    *high = *low + 1;
    if (*low >= n - 1) {
        *low = *high = n - 1;
        v = (double)*low;
    }
    *part = v - (double)*low;
    return true;
}

static roi_tap roi_tap_at(const roi_align *r, double y, double x) {
    roi_tap t = {{0}, {0}};
    int64_t y0, y1, x0, x1;
    double ly, lx;
    if (!roi_axis(y, r->height, &y0, &y1, &ly) || !roi_axis(x, r->width, &x0, &x1, &lx)) return t;
    int64_t at[4] = {y0 * r->width + x0, y0 * r->width + x1, y1 * r->width + x0, y1 * r->width + x1};
    double w[4] = {(1 - ly) * (1 - lx), (1 - ly) * lx, ly * (1 - lx), ly * lx};
    memcpy(t.at, at, sizeof at);
    memcpy(t.w, w, sizeof w);
    return t;
}

/* y down, x to the right: a positive angle turns counterclockwise as it is seen. */
static roi_tap sample_at(const roi_align *r, const roi_box *b, double y, double x) {
    return roi_tap_at(r, y * b->cos - x * b->sin + b->center_y, y * b->sin + x * b->cos + b->center_x);
}

/* All samples of a bin. */
static void fill_bin(const roi_align *r, const roi_box *b, int64_t bin, roi_tap *taps) {
    int64_t ph = bin / r->out_w, pw = bin % r->out_w;
    for (int64_t iy = 0; iy < b->grid_h; iy++)
        for (int64_t ix = 0; ix < b->grid_w; ix++)
            *taps++ = sample_at(r, b, b->y + (double)ph * b->bin_h + ((double)iy + 0.5) * b->bin_h / (double)b->grid_h,
                                b->x + (double)pw * b->bin_w + ((double)ix + 0.5) * b->bin_w / (double)b->grid_w);
}

/* Taps of a few bins, which all channels share. */
typedef struct roi_bins {
    const roi_tap *taps;
    int64_t samples, first, n; /* samples of a bin; bins [first, first + n) */
} roi_bins;

/* Means of the samples. The sum is the element type's own where that is double, else float in chains of a bin. */
#define MEAN_BINS(NAME, T)                                                                     \
    static void NAME(const roi_bins *b, const T *plane, double *out) {                         \
        const roi_tap *t = b->taps;                                                            \
        for (int64_t i = 0; i < b->n; i++) {                                                   \
            double sum = 0;                                                                    \
            for (int64_t s = 0; s < b->samples; s++, t++)                                      \
                sum += t->w[0] * (double)plane[t->at[0]] + t->w[1] * (double)plane[t->at[1]] + \
                       t->w[2] * (double)plane[t->at[2]] + t->w[3] * (double)plane[t->at[3]];  \
            out[i] = b->samples ? sum / (double)b->samples : 0;                                \
        }                                                                                      \
    }
MEAN_BINS(mean_bins_f32, float)
MEAN_BINS(mean_bins_f64, double)
#undef MEAN_BINS

/* The largest weighted pixel or sample of each bin. */
#define MAX_BINS(NAME, T)                                                               \
    static void NAME(const roi_bins *b, bool of_samples, const T *plane, double *out) { \
        const roi_tap *t = b->taps;                                                     \
        for (int64_t i = 0; i < b->n; i++) {                                            \
            double top = -INFINITY;                                                     \
            for (int64_t s = 0; s < b->samples; s++, t++) {                             \
                double sample = 0;                                                      \
                for (int k = 0; k < 4; k++) {                                           \
                    double v = t->w[k] * (double)plane[t->at[k]];                       \
                    sample += v;                                                        \
                    top = !of_samples && v > top ? v : top;                             \
                }                                                                       \
                top = of_samples && sample > top ? sample : top;                        \
            }                                                                           \
            out[i] = b->samples ? top : 0;                                              \
        }                                                                               \
    }
MAX_BINS(max_bins_f32, float)
MAX_BINS(max_bins_f64, double)
#undef MAX_BINS

static void align_bins(const roi_align *r, int64_t roi, const roi_bins *b) {
    double out[BINS];
    int64_t plane = r->height * r->width;
    for (int64_t c = 0; c < r->channels; c++) {
        int64_t from = (r->batch[roi] * r->channels + c) * plane;
        const float *f = (const float *)r->data + (r->wide ? 0 : from);
        const double *d = (const double *)r->data + (r->wide ? from : 0);
        if (r->max && r->wide)
            max_bins_f64(b, r->max_of_samples, d, out);
        else if (r->max)
            max_bins_f32(b, r->max_of_samples, f, out);
        else if (r->wide)
            mean_bins_f64(b, d, out);
        else
            mean_bins_f32(b, f, out);
        tn_row_store_f64(r->y->dtype, r->y->data, (roi * r->channels + c) * r->out_h * r->out_w + b->first, b->n, out);
    }
}

static tern_status align_region(const roi_align *r, int64_t roi, tern_error *err) {
    roi_box b;
    if (!roi_box_of(r, roi, &b))
        return tn_fail(err, TERN_LIMIT_EXCEEDED,
                       "roi %lld at %g, %g with %lld x %lld bins of %g x %g needs too many samples or is not finite",
                       (long long)roi, b.x, b.y, (long long)r->out_w, (long long)r->out_h, b.bin_w, b.bin_h);
    int64_t samples = b.grid_w * b.grid_h, bins = r->out_h * r->out_w;
    int64_t group = TN_MAX(TN_MIN(TN_MIN((int64_t)BINS, bins), TAPS / TN_MAX(samples, (int64_t)1)), (int64_t)1);
    roi_tap *taps = tn_alloc_array((size_t)(samples * group), sizeof *taps);
    if (!taps) return tn_fail_oom(err, (size_t)(samples * group) * sizeof *taps);
    for (int64_t first = 0; first < bins; first += group) {
        roi_bins part = {taps, samples, first, TN_MIN(group, bins - first)};
        for (int64_t i = 0; i < part.n; i++) fill_bin(r, &b, first + i, taps + i * samples);
        align_bins(r, roi, &part);
    }
    tn_free(taps);
    return TERN_OK;
}

typedef struct roi_job {
    const roi_align *r;
    tern_error *errors; /* one for each roi */
} roi_job;

static void align_task(void *context, int64_t begin, int64_t end, int worker) {
    const roi_job *j = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        j->errors[i].status = TERN_OK;
        (void)align_region(j->r, i, &j->errors[i]);
    }
}

static tern_status align_all(tn_run *c, const roi_align *r, int64_t rois) {
    roi_job job = {r, tn_alloc_array((size_t)rois, sizeof *job.errors)};
    if (!job.errors) return tn_fail_oom(c->err, (size_t)rois * sizeof *job.errors);
    tn_parallel_for(c->threads, rois, align_task, &job);
    tern_status s = TERN_OK;
    for (int64_t i = 0; i < rois && s == TERN_OK; i++)
        if (job.errors[i].status != TERN_OK) s = tn_run_fail(c, job.errors[i].status, "%s", job.errors[i].text);
    tn_free(job.errors);
    return s;
}

/* What all forms have in common; `batch`: the image of each region. */
static tern_status run_regions(tn_run *c, const int64_t *batch, int columns, bool half, bool max_of_samples) {
    const tern_tensor *x = c->in[0];
    roi_align r = {.x = x,
                   .rois = c->in[1],
                   .batch = batch,
                   .columns = columns,
                   .angle = tn_attr_i(c->node, "clockwise", 0) ? -1 : 1,
                   .max_of_samples = max_of_samples,
                   .y = c->out[0],
                   .channels = x->shape.dims[1],
                   .height = x->shape.dims[2],
                   .width = x->shape.dims[3],
                   .out_h = c->out[0]->shape.dims[2],
                   .out_w = c->out[0]->shape.dims[3],
                   .ratio = tn_attr_i(c->node, "sampling_ratio", 0),
                   .scale = (double)tn_attr_f(c->node, "spatial_scale", 1),
                   .shift = half ? 0.5 : 0,
                   .max = tn_attr_is(c->node, "mode", "avg", "max"),
                   .wide = x->dtype == TERN_DOUBLE};
    int64_t rois = c->in[1]->shape.dims[0];
    if (tn_tensor_bytes(r.y) == 0) return TERN_OK;
    if (r.height * r.width == 0) return tn_run_fail(c, TERN_SHAPE_MISMATCH, "X has no element to sample");
    for (int64_t i = 0; i < rois; i++)
        if (r.batch[i] < 0 || r.batch[i] >= x->shape.dims[0])
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "batch index %lld of roi %lld is outside [0, %lld)",
                               (long long)r.batch[i], (long long)i, (long long)x->shape.dims[0]);
    void *copy = NULL;
    r.data = real_data(x, &copy);
    tern_status s = r.data ? align_all(c, &r, rois) : tn_fail_oom(c->err, tn_tensor_bytes(x));
    tn_free(copy);
    return s;
}

static tern_status run_roi_align(tn_run *c) {
    const char *mode = c->node->since < 16 ? "output_half_pixel" : "half_pixel";
    bool half = tn_attr_is(c->node, "coordinate_transformation_mode", mode, "half_pixel");
    return run_regions(c, c->in[2]->data, 4, half, false);
}

const tn_op tn_op_roi_align = TN_ARGS_OP(infer_roi_align, run_roi_align, 3, 3, 1, 1, 0);

/* ---- mmcv ------------------------------------------------------------------------------------------------------ */

static tern_status infer_mmcv(tn_infer *c, int columns) {
    TN_TRY(infer_roi(c, columns, tn_attr_i(c->node, "output_height", 1), tn_attr_i(c->node, "output_width", 1)));
    if (tn_attr_i(c->node, "sampling_ratio", 0) < 0)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "sampling_ratio is %lld",
                             (long long)tn_attr_i(c->node, "sampling_ratio", 0));
    if (columns == 5 && !tn_attr_is(c->node, "mode", "avg", "avg") && !tn_attr_is(c->node, "mode", "avg", "max"))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode is neither avg nor max");
    return TERN_OK;
}
static tern_status infer_mmcv_align(tn_infer *c) { return infer_mmcv(c, 5); }
static tern_status infer_mmcv_rotated(tn_infer *c) { return infer_mmcv(c, 6); }

static tern_status run_mmcv(tn_run *c, int columns) {
    const tern_tensor *rois = c->in[1];
    int64_t n = rois->shape.dims[0], *batch = tn_alloc_array((size_t)n, sizeof *batch);
    if (!batch) return tn_fail_oom(c->err, (size_t)n * sizeof *batch);
    tern_status s = TERN_OK;
    for (int64_t i = 0; i < n && s == TERN_OK; i++) {
        double image = tn_tensor_get_f64(rois, i * columns);
        if (!(image > -1 && image < 0x1p53))
            s = tn_run_fail(c, TERN_INVALID_ARGUMENT, "roi %lld is of image %g", (long long)i, image);
        else
            batch[i] = (int64_t)image;
    }
    if (s == TERN_OK) s = run_regions(c, batch, columns, tn_attr_i(c->node, "aligned", 1) != 0, true);
    tn_free(batch);
    return s;
}
static tern_status run_mmcv_align(tn_run *c) { return run_mmcv(c, 5); }
static tern_status run_mmcv_rotated(tn_run *c) { return run_mmcv(c, 6); }

const tn_op tn_op_mmcv_roi_align = TN_ARGS_OP(infer_mmcv_align, run_mmcv_align, 2, 2, 1, 1, 0);
const tn_op tn_op_mmcv_roi_align_rotated = TN_ARGS_OP(infer_mmcv_rotated, run_mmcv_rotated, 2, 2, 1, 1, 0);

/* ---- MaxRoiPool ------------------------------------------------------------------------------------------------ */

static tern_status infer_max_roi_pool(tn_infer *c) {
    size_t n;
    const int64_t *shape = tn_attr_ints(c->node, "pooled_shape", &n);
    if (n != 2) return tn_infer_fail(c, TERN_INVALID_MODEL, "pooled_shape has %zu elements instead of 2", n);
    return infer_roi(c, 5, shape[0], shape[1]);
}

/* Rounds to pixels, within bounds that keep later sums from overflowing. */
static int64_t pixel(double v, double scale) {
    double r = round(v * scale);
    return (int64_t)(r > -1e9 ? (r < 1e9 ? r : 1e9) : -1e9);
}

/* Pixels [*from, *to) of bin i of n, of a region of `size` pixels from `start` on, cut to the image. */
static void pool_range(int64_t i, int64_t n, int64_t start, int64_t size, int64_t limit, int64_t *from, int64_t *to) {
    double bin = (double)size / (double)n;
    *from = TN_MIN(TN_MAX(start + (int64_t)floor((double)i * bin), (int64_t)0), limit);
    *to = TN_MIN(TN_MAX(start + (int64_t)ceil((double)(i + 1) * bin), (int64_t)0), limit);
}

static double largest(const tern_tensor *x, int64_t plane, const int64_t *rows, const int64_t *columns) {
    int64_t width = x->shape.dims[3];
    double top = -INFINITY, v[64];
    for (int64_t y = rows[0]; y < rows[1]; y++)
        for (int64_t at = columns[0]; at < columns[1]; at += 64) {
            int64_t n = TN_MIN((int64_t)64, columns[1] - at);
            tn_row_load_f64(x->dtype, x->data, (plane * x->shape.dims[2] + y) * width + at, n, v);
            for (int64_t i = 0; i < n; i++) top = v[i] > top ? v[i] : top;
        }
    return rows[0] < rows[1] && columns[0] < columns[1] ? top : 0; /* nothing of the image in the bin */
}

typedef struct roi_pool {
    const tern_tensor *x, *rois;
    tern_tensor *y;
    double scale;
} roi_pool;

static void pool_task(void *context, int64_t begin, int64_t end, int worker) {
    const roi_pool *p = context;
    (void)worker;
    const int64_t *xd = p->x->shape.dims, *yd = p->y->shape.dims;
    for (int64_t roi = begin; roi < end; roi++) {
        double v[5];
        tn_row_load_f64(p->rois->dtype, p->rois->data, roi * 5, 5, v);
        int64_t x0 = pixel(v[1], p->scale), y0 = pixel(v[2], p->scale);
        int64_t w = TN_MAX(pixel(v[3], p->scale) - x0 + 1, (int64_t)1);
        int64_t h = TN_MAX(pixel(v[4], p->scale) - y0 + 1, (int64_t)1);
        for (int64_t bin = 0; bin < yd[2] * yd[3]; bin++) {
            int64_t rows[2], columns[2];
            pool_range(bin / yd[3], yd[2], y0, h, xd[2], &rows[0], &rows[1]);
            pool_range(bin % yd[3], yd[3], x0, w, xd[3], &columns[0], &columns[1]);
            for (int64_t c = 0; c < xd[1]; c++) {
                double top = largest(p->x, (int64_t)v[0] * xd[1] + c, rows, columns);
                tn_row_store_f64(p->y->dtype, p->y->data, (roi * xd[1] + c) * yd[2] * yd[3] + bin, 1, &top);
            }
        }
    }
}

static tern_status run_max_roi_pool(tn_run *c) {
    roi_pool p = {c->in[0], c->in[1], c->out[0], (double)tn_attr_f(c->node, "spatial_scale", 1)};
    int64_t rois = p.rois->shape.dims[0];
    if (tn_tensor_bytes(p.y) == 0) return TERN_OK;
    for (int64_t i = 0; i < rois; i++) {
        double v;
        tn_row_load_f64(p.rois->dtype, p.rois->data, i * 5, 1, &v);
        if (!(v >= 0 && v < (double)p.x->shape.dims[0]) || v != floor(v))
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "batch index %g of roi %lld is outside [0, %lld)", v,
                               (long long)i, (long long)p.x->shape.dims[0]);
    }
    tn_parallel_for(c->threads, rois, pool_task, &p);
    return TERN_OK;
}

const tn_op tn_op_max_roi_pool = TN_ARGS_OP(infer_max_roi_pool, run_max_roi_pool, 2, 2, 1, 1, 0);
