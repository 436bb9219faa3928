/* DeformConv: a convolution whose taps are moved by offsets and weighted by a mask, over any number of spatial dims.
 *
 * A task unrolls the samples of a block of output positions into a matrix, which a product with W reduces. */
#include "kernels/gemm.h"
#include "ops/args.h"
#include "ops/conv_internal.h"
#include "ops/conv_shape.h"
#include "ops/rowio.h"

#include <math.h>

#define BLOCK 256 /* output positions of a task */

enum { X, W, OFFSET, BIAS, MASK };

/* ---- inference ------------------------------------------------------------------------------------------------- */

/* Dim 1 of offsets (or of the mask) is offset_group * taps * each, the others are (n, out...). */
static tern_status check_field(tn_infer *c, int i, const tn_conv_dims *d, int64_t groups, int64_t each) {
    tn_shape s;
    if (!tn_args_shape(c, i, &s)) return TERN_OK;
    bool fits = s.rank == d->w.rank + 2;
    int64_t need = groups;
    for (int k = 0; k < d->w.rank; k++)
        if (!tn_dim_known(d->w.kernel[k]) || !tn_dim_known(need) || !tn_mul_i64(need, d->w.kernel[k], &need))
            need = TN_DIM_UNKNOWN;
    if (!tn_dim_known(need) || !tn_mul_i64(need, each, &need)) need = TN_DIM_UNKNOWN;
    for (int k = 0; fits && k < s.rank; k++) {
        int64_t want = k == 0 ? d->n : k == 1 ? need : d->w.out[k - 2];
        fits = !tn_dim_known(want) || !tn_dim_known(s.dims[k]) || want == s.dims[k];
    }
    if (fits) return TERN_OK;
    char text[TN_SHAPE_TEXT], out[TN_SHAPE_TEXT];
    tn_shape y = tn_ops_conv_out_shape(d);
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s for an output of %s; its dim 1 must be %lld", i,
                         tn_shape_text(&s, text, sizeof text), tn_shape_text(&y, out, sizeof out),
                         (long long)(tn_dim_known(need) ? need : -1));
}

static tern_status infer_deform_conv(tn_infer *c) {
    for (int i = 0; i < c->node->n_in; i++) {
        if (i > OFFSET && !tn_args_has(c, i)) continue;
        TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
        TN_TRY(tn_infer_same_type(c, X, i));
    }
    tn_shape x, w, b;
    tn_conv_dims d;
    if (!tn_args_shape(c, X, &x) || !tn_args_shape(c, W, &w)) {
        tn_infer_out(c, 0, c->in[X]->dtype, NULL);
        return TERN_OK;
    }
    TN_TRY(tn_ops_conv_dims(c->node, &x, &w, false, &d, c->err));
    int64_t groups = tn_attr_i(c->node, "offset_group", 1);
    if (groups < 1 || (tn_dim_known(d.ic) && d.ic % groups))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "offset_group %lld does not divide %lld channels",
                             (long long)groups, (long long)d.ic);
    TN_TRY(check_field(c, OFFSET, &d, groups, d.w.rank));
    if (tn_args_has(c, MASK)) TN_TRY(check_field(c, MASK, &d, groups, 1));
    if (tn_args_shape(c, BIAS, &b) &&
        (b.rank != 1 || (tn_dim_known(b.dims[0]) && tn_dim_known(d.oc) && b.dims[0] != d.oc)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the bias has not one element for each of %lld channels",
                             (long long)d.oc);
    tn_shape y = tn_ops_conv_out_shape(&d);
    return tn_args_out_shape(c, 0, c->in[X]->dtype, &y);
}

/* ---- run ------------------------------------------------------------------------------------------------------- */

typedef struct deform {
    tn_conv_dims d;
    int64_t taps, corners, offset_groups, in_sp, out_sp, blocks;
    const void *x, *w, *bias; /* float or double */
    const tern_tensor *offset, *mask;
    void *y;
    bool wide;
    tern_cpu_tier tier;
    char *work;
    size_t work_step, gemm_bytes, col_bytes, table_bytes; /* of a worker: product, matrix, offsets, weights */
} deform;

/* The 2^rank pixels around a position; -1: outside of the input. */
static void corners_of(const deform *f, const double *at, double factor, int64_t *offset, double *weight) {
    const tn_window *w = &f->d.w;
    offset[0] = 0;
    weight[0] = factor;
    for (int axis = 0, count = 1; axis < w->rank; axis++, count *= 2) {
        double low = floor(at[axis]), part = at[axis] - low, n = (double)w->in[axis];
        bool near = at[axis] > -1 && at[axis] < n; /* false also for what is not a number */
        for (int i = count - 1; i >= 0; i--) {
            int64_t base = offset[i];
            double v = weight[i];
            for (int k = 1; k >= 0; k--) {
                double p = low + k;
                bool inside = near && base >= 0 && p >= 0 && p < n;
                offset[2 * i + k] = inside ? base * w->in[axis] + (int64_t)p : -1;
                weight[2 * i + k] = inside ? v * (k ? part : 1 - part) : 0;
            }
        }
    }
}

/* Corners of tap `tap` for outputs [first, first + n) of one image and offset group. */
static void fill_table(const deform *f, int64_t image, int64_t group, int64_t tap, int64_t first, int64_t n,
                       int64_t *offset, double *weight) {
    const tn_window *w = &f->d.w;
    double shift[TN_MAX_SPATIAL][BLOCK], mask[BLOCK];
    int64_t t[TN_MAX_SPATIAL], o[TN_MAX_SPATIAL], rest = tap;
    int64_t field = (image * f->offset_groups + group) * f->taps + tap;
    for (int i = w->rank - 1; i >= 0; rest /= w->kernel[i--]) t[i] = rest % w->kernel[i];
    for (int i = 0; i < w->rank; i++)
        tn_row_load_f64(f->offset->dtype, f->offset->data, (field * w->rank + i) * f->out_sp + first, n, shift[i]);
    if (f->mask) tn_row_load_f64(f->mask->dtype, f->mask->data, field * f->out_sp + first, n, mask);
    rest = first;
    for (int i = w->rank - 1; i >= 0; rest /= w->out[i--]) o[i] = rest % w->out[i];
    for (int64_t k = 0; k < n; k++) {
        double at[TN_MAX_SPATIAL];
        for (int i = 0; i < w->rank; i++)
            at[i] = (double)(o[i] * w->stride[i] - w->pad[i] + t[i] * w->dilation[i]) + shift[i][k];
        corners_of(f, at, f->mask ? mask[k] : 1, offset + k * f->corners, weight + k * f->corners);
        for (int i = w->rank - 1; i >= 0 && ++o[i] == w->out[i]; i--) o[i] = 0;
    }
}

#define SAMPLE_ROW(NAME, T)                                                                                   \
    static void NAME(const deform *f, const T *plane, const int64_t *offset, const double *weight, int64_t n, \
                     T *restrict out) {                                                                       \
        for (int64_t i = 0; i < n; i++, offset += f->corners, weight += f->corners) {                         \
            T sum = 0;                                                                                        \
            for (int64_t k = 0; k < f->corners; k++)                                                          \
                if (offset[k] >= 0) sum += plane[offset[k]] * (T)weight[k];                                   \
            out[i] = sum;                                                                                     \
        }                                                                                                     \
    }
SAMPLE_ROW(sample_row_f32, float)
SAMPLE_ROW(sample_row_f64, double)
#undef SAMPLE_ROW

/* The matrix (ic * taps, n) of one image. */
static void unroll(const deform *f, int64_t image, int64_t first, int64_t n, void *col, int64_t *offset,
                   double *weight) {
    int64_t each = f->d.ic / f->offset_groups;
    for (int64_t g = 0; g < f->offset_groups; g++)
        for (int64_t tap = 0; tap < f->taps; tap++) {
            fill_table(f, image, g, tap, first, n, offset, weight);
            for (int64_t c = g * each; c < (g + 1) * each; c++) {
                int64_t from = (image * f->d.ic + c) * f->in_sp, to = (c * f->taps + tap) * n;
                if (f->wide)
                    sample_row_f64(f, (const double *)f->x + from, offset, weight, n, (double *)col + to);
                else
                    sample_row_f32(f, (const float *)f->x + from, offset, weight, n, (float *)col + to);
            }
        }
}

static tn_gemm_f32 gemm_of(const deform *f, int64_t n) {
    int64_t k = f->d.ic / f->d.groups * f->taps;
    return (tn_gemm_f32){.m = f->d.oc / f->d.groups,
                         .n = n,
                         .k = k,
                         .a_rs = k,
                         .a_cs = 1,
                         .b_rs = n,
                         .b_cs = 1,
                         .ldc = f->out_sp,
                         .alpha = 1,
                         .bias_m = f->bias != NULL};
}

static void product_f64(const tn_gemm_f32 *g, const double *a, const double *b, const double *bias, double *c) {
    for (int64_t i = 0; i < g->m; i++) {
        double *restrict y = c + i * g->ldc;
        for (int64_t j = 0; j < g->n; j++) y[j] = bias ? bias[i] : 0;
        for (int64_t k = 0; k < g->k; k++)
            for (int64_t j = 0; j < g->n; j++) y[j] += a[i * g->k + k] * b[k * g->n + j];
    }
}

static void deform_task(void *context, int64_t begin, int64_t end, int worker) {
    const deform *f = context;
    char *mine = f->work + (size_t)worker * f->work_step, *col = mine + f->gemm_bytes;
    int64_t *offset = (int64_t *)(void *)(col + f->col_bytes);
    double *weight = (double *)(void *)(col + f->col_bytes + f->table_bytes);
    for (int64_t t = begin; t < end; t++) {
        int64_t image = t / f->blocks, first = t % f->blocks * BLOCK, n = TN_MIN((int64_t)BLOCK, f->out_sp - first);
        unroll(f, image, first, n, col, offset, weight);
        tn_gemm_f32 g = gemm_of(f, n);
        for (int64_t k = 0; k < f->d.groups; k++) {
            int64_t y = (image * f->d.oc + k * g.m) * f->out_sp + first;
            if (f->wide)
                product_f64(&g, (const double *)f->w + k * g.m * g.k, (const double *)(void *)col + k * g.k * n,
                            f->bias ? (const double *)f->bias + k * g.m : NULL, (double *)f->y + y);
            else
                tn_gemm_f32_run(f->tier, &g, (const float *)f->w + k * g.m * g.k,
                                (const float *)(void *)col + k * g.k * n, NULL,
                                f->bias ? (const float *)f->bias + k * g.m : NULL, (float *)f->y + y, mine, 1);
        }
    }
}

static tern_status run_blocks(deform *f, int threads, tern_error *err) {
    tn_gemm_f32 g = gemm_of(f, TN_MIN((int64_t)BLOCK, f->out_sp));
    int64_t rows;
    size_t total = 0, at;
    f->gemm_bytes = f->wide ? 0 : (tn_gemm_f32_workspace(f->tier, &g, false) + 63) / 64 * 64;
    f->table_bytes = (size_t)(BLOCK * f->corners) * sizeof(int64_t);
    bool ok = tn_mul_i64(f->d.ic, f->taps, &rows) && tn_mul_i64(rows, BLOCK, &rows) &&
              tn_ops_reserve(&total, rows, f->wide ? sizeof(double) : sizeof(float), &at);
    f->col_bytes = total;
    ok = ok && tn_add_size(total, f->gemm_bytes + 2 * f->table_bytes, &f->work_step) &&
         tn_mul_size(f->work_step, (size_t)threads, &total);
    f->work = ok ? tn_alloc_aligned(total, 64) : NULL;
    if (!f->work) return tn_fail_oom(err, ok ? total : SIZE_MAX);
    tn_parallel_for(threads, f->d.n * f->blocks, deform_task, f);
    tn_free(f->work);
    return TERN_OK;
}

/* Elements as float or double. */
static bool real_data(const tern_tensor *t, const void **out, void **copy) {
    *out = t ? t->data : NULL;
    if (!t || t->dtype == TERN_FLOAT || t->dtype == TERN_DOUBLE) return true;
    int64_t n = tn_shape_count(&t->shape);
    *out = *copy = tn_alloc_array((size_t)n, sizeof(float));
    if (*copy) tn_row_load_f32(t->dtype, t->data, 0, n, *copy);
    return *copy != NULL;
}

static tern_status run_deform_conv(tn_run *c) {
    const tern_tensor *x = c->in[X];
    tern_tensor *y = c->out[0];
    deform f = {.offset = c->in[OFFSET],
                .mask = tn_args_in(c, MASK),
                .wide = x->dtype == TERN_DOUBLE,
                .tier = c->tier,
                .offset_groups = tn_attr_i(c->node, "offset_group", 1)};
    TN_TRY(tn_ops_conv_dims(c->node, &x->shape, &c->in[W]->shape, false, &f.d, c->err));
    f.out_sp = tn_shape_count_range(&y->shape, 2, y->shape.rank);
    f.in_sp = tn_shape_count_range(&x->shape, 2, x->shape.rank);
    f.taps = tn_shape_count_range(&c->in[W]->shape, 2, x->shape.rank);
    f.corners = (int64_t)1 << f.d.w.rank;
    f.blocks = tn_ceil_div(f.out_sp, BLOCK);
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    if (f.d.ic == 0) return tn_run_fail(c, TERN_SHAPE_MISMATCH, "X has no channel");
    void *copies[4] = {NULL};
    bool ok = real_data(x, &f.x, &copies[0]) && real_data(c->in[W], &f.w, &copies[1]) &&
              real_data(tn_args_in(c, BIAS), &f.bias, &copies[2]);
    bool direct = y->dtype == TERN_FLOAT || y->dtype == TERN_DOUBLE;
    int64_t n = tn_shape_count(&y->shape);
    f.y = direct ? y->data : (copies[3] = tn_alloc_array((size_t)n, sizeof(float)));
    tern_status s = ok && f.y ? run_blocks(&f, c->threads, c->err) : tn_fail_oom(c->err, (size_t)n * sizeof(float));
    if (s == TERN_OK && !direct) tn_row_store_f32(y->dtype, y->data, 0, n, f.y);
    for (int i = 0; i < 4; i++) tn_free(copies[i]);
    return s;
}

const tn_op tn_op_deform_conv = TN_ARGS_OP(infer_deform_conv, run_deform_conv, 3, 5, 1, 1, 0);
