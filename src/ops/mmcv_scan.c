/* mmcv's running extremes (cummax, cummin, MMCVCornerPool) and MMCVMultiScaleDeformableAttention. */
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

/* ---- running extremes ------------------------------------------------------------------------------------------ */

typedef struct scan {
    const tern_tensor *x;
    tern_tensor *y, *index; /* index may be NULL */
    tn_rows r;
    bool min, back; /* back: from the last element to the first */
} scan;

/* Not a number stays; of equal elements the later one counts, as in PyTorch. */
static bool takes_over(const scan *s, double v, double best) {
    if (isnan(v)) return true;
    return !isnan(best) && (s->min ? v <= best : v >= best);
}

static void scan_task(void *context, int64_t begin, int64_t end, int worker) {
    const scan *s = context;
    (void)worker;
    for (int64_t line = begin; line < end; line++) {
        int64_t first = line / s->r.inner * s->r.dim * s->r.inner + line % s->r.inner, at = 0;
        double best = 0;
        for (int64_t i = 0; i < s->r.dim; i++) {
            int64_t k = s->back ? s->r.dim - 1 - i : i;
            double v = tn_tensor_get_f64(s->x, first + k * s->r.inner);
            if (i == 0 || takes_over(s, v, best)) best = v, at = k;
            if (s->y) tn_row_store_f64(s->y->dtype, s->y->data, first + k * s->r.inner, 1, &best);
            if (s->index) ((int64_t *)s->index->data)[first + k * s->r.inner] = at;
        }
    }
}

static void run_scan(const tn_run *c, scan *s, int axis) {
    s->x = c->in[0];
    s->y = tn_args_out(c, 0);
    s->r = tn_rows_of(&s->x->shape, axis);
    int64_t n = tn_shape_count(&s->x->shape);
    if (n) tn_parallel_for(n < 8192 ? 1 : c->threads, s->r.outer * s->r.inner, scan_task, s);
}

static tern_status infer_cum(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tn_shape x;
    int axis;
    tn_infer_out_like(c, 0, 0);
    if (!tn_args_shape(c, 0, &x)) {
        if (tn_args_wants(c, 1)) tn_infer_out(c, 1, TERN_INT64, NULL);
        return TERN_OK;
    }
    if (tn_args_wants(c, 1)) tn_infer_out(c, 1, TERN_INT64, &x);
    return tn_infer_axis(c, tn_attr_i(c->node, "dim", 0), x.rank, &axis, "dim");
}

static tern_status run_cum(tn_run *c) {
    scan s = {.index = tn_args_out(c, 1), .min = strcmp(c->node->op_type, "cummin") == 0};
    int axis = 0;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "dim", 0), c->in[0]->shape.rank, &axis, c->err));
    run_scan(c, &s, axis);
    return TERN_OK;
}

const tn_op tn_op_mmcv_cum = TN_ARGS_OP(infer_cum, run_cum, 1, 1, 1, 2, 0);

/* Modes: top (the largest value below), bottom (above), left (to the right), right (to the left). */
static tern_status infer_corner(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tn_shape x;
    int64_t mode = tn_attr_i(c->node, "mode", 0);
    if (mode < 0 || mode > 3)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode %lld is not 0 (top) to 3 (right)", (long long)mode);
    if (tn_args_shape(c, 0, &x) && x.rank != 4)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d instead of 4", x.rank);
    tn_infer_out_like(c, 0, 0);
    return TERN_OK;
}

static tern_status run_corner(tn_run *c) {
    int64_t mode = tn_attr_i(c->node, "mode", 0);
    scan s = {.back = mode % 2 == 0};
    run_scan(c, &s, mode < 2 ? 2 : 3);
    return TERN_OK;
}

const tn_op tn_op_mmcv_corner_pool = TN_ARGS_OP(infer_corner, run_corner, 1, 1, 1, 1, 0);

/* ---- MMCVMultiScaleDeformableAttention ------------------------------------------------------------------------- */

enum { VALUE, SHAPES, STARTS, LOCATIONS, WEIGHTS };

/* value (n, keys, heads, dim), shapes (levels, 2), starts (levels), locations (n, queries, heads, levels, points, 2),
 * weights (n, queries, heads, levels, points). */
static tern_status infer_attention(tn_infer *c) {
    for (int i = VALUE; i <= WEIGHTS; i++) {
        bool index = i == SHAPES || i == STARTS;
        TN_TRY(tn_args_need(c, i, index ? TN_T(INT64) | TN_T(INT32) : TN_T(FLOAT)));
    }
    static const int ranks[] = {4, 2, 1, 6, 5};
    tn_shape s[5], out = tn_args_unknown_dims(3);
    bool known[5];
    for (int i = 0; i < 5; i++) {
        known[i] = tn_args_shape(c, i, &s[i]);
        if (known[i] && s[i].rank != ranks[i])
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d instead of %d", i, s[i].rank, ranks[i]);
        if (!known[i]) s[i] = tn_args_unknown_dims(ranks[i]);
    }
    const int64_t pairs[][2] = {{s[VALUE].dims[0], s[LOCATIONS].dims[0]},
                                {s[VALUE].dims[2], s[LOCATIONS].dims[2]},
                                {s[SHAPES].dims[0], s[STARTS].dims[0]},
                                {s[SHAPES].dims[0], s[LOCATIONS].dims[3]},
                                {s[SHAPES].dims[1], 2},
                                {s[LOCATIONS].dims[5], 2},
                                {s[WEIGHTS].dims[0], s[LOCATIONS].dims[0]},
                                {s[WEIGHTS].dims[1], s[LOCATIONS].dims[1]},
                                {s[WEIGHTS].dims[2], s[LOCATIONS].dims[2]},
                                {s[WEIGHTS].dims[3], s[LOCATIONS].dims[3]},
                                {s[WEIGHTS].dims[4], s[LOCATIONS].dims[4]}};
    for (size_t i = 0; i < TN_COUNT(pairs); i++)
        if (tn_dim_known(pairs[i][0]) && tn_dim_known(pairs[i][1]) && pairs[i][0] != pairs[i][1])
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH,
                                 "batch, heads, levels, queries or points differ: %lld and %lld",
                                 (long long)pairs[i][0], (long long)pairs[i][1]);
    out.dims[0] = s[VALUE].dims[0];
    out.dims[1] = s[LOCATIONS].dims[1];
    if (tn_dim_known(s[VALUE].dims[2]) && tn_dim_known(s[VALUE].dims[3]) &&
        !tn_mul_i64(s[VALUE].dims[2], s[VALUE].dims[3], &out.dims[2]))
        return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "too many channels");
    return tn_args_out_shape(c, 0, TERN_FLOAT, &out);
}

typedef struct attention {
    const float *value, *locations, *weights;
    float *y;
    const tern_tensor *shapes, *starts;
    int64_t keys, heads, dim, queries, levels, points;
} attention;

/* y += weight * the bilinear sample of one level at (px, py); zeros around it. */
static void add_sample(const attention *a, const float *plane, int64_t h, int64_t w, double px, double py,
                       double weight, float *y) {
    if (!(px > -1 && py > -1 && px < (double)w && py < (double)h)) return;
    int64_t x0 = (int64_t)floor(px), y0 = (int64_t)floor(py), step = a->heads * a->dim;
    double fx = px - (double)x0, fy = py - (double)y0;
    for (int k = 0; k < 4; k++) {
        int64_t xx = x0 + k % 2, yy = y0 + k / 2;
        float f = (float)(weight * (k % 2 ? fx : 1 - fx) * (k / 2 ? fy : 1 - fy));
        if (xx < 0 || yy < 0 || xx >= w || yy >= h) continue;
        const float *v = plane + (yy * w + xx) * step;
        for (int64_t i = 0; i < a->dim; i++) y[i] += f * v[i];
    }
}

/* A task is one query of one image in one head. */
static void attention_task(void *context, int64_t begin, int64_t end, int worker) {
    const attention *a = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t head = t % a->heads, image = t / a->heads / a->queries;
        float *y = a->y + t * a->dim;
        memset(y, 0, (size_t)a->dim * sizeof *y);
        for (int64_t l = 0; l < a->levels; l++) {
            int64_t h = tn_tensor_get_i64(a->shapes, 2 * l), w = tn_tensor_get_i64(a->shapes, 2 * l + 1);
            int64_t start = tn_tensor_get_i64(a->starts, l);
            const float *plane = a->value + ((image * a->keys + start) * a->heads + head) * a->dim;
            for (int64_t p = 0; p < a->points; p++) {
                int64_t at = (t * a->levels + l) * a->points + p;
                double px = (double)a->locations[2 * at] * (double)w - 0.5;
                double py = (double)a->locations[2 * at + 1] * (double)h - 0.5;
                add_sample(a, plane, h, w, px, py, (double)a->weights[at], y);
            }
        }
    }
}

static tern_status run_attention(tn_run *c) {
    const int64_t *v = c->in[VALUE]->shape.dims, *l = c->in[LOCATIONS]->shape.dims;
    attention a = {c->in[VALUE]->data,
                   c->in[LOCATIONS]->data,
                   c->in[WEIGHTS]->data,
                   c->out[0]->data,
                   c->in[SHAPES],
                   c->in[STARTS],
                   v[1],
                   v[2],
                   v[3],
                   l[1],
                   l[3],
                   l[4]};
    for (int64_t i = 0; i < a.levels; i++) {
        int64_t h = tn_tensor_get_i64(a.shapes, 2 * i), w = tn_tensor_get_i64(a.shapes, 2 * i + 1), size;
        int64_t start = tn_tensor_get_i64(a.starts, i);
        if (h < 0 || w < 0 || start < 0 || !tn_mul_i64(h, w, &size) || size > a.keys || start > a.keys - size)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "level %lld of %lld x %lld from key %lld on, of %lld keys",
                               (long long)i, (long long)h, (long long)w, (long long)start, (long long)a.keys);
    }
    int64_t n = tn_shape_count(&c->out[0]->shape);
    if (n) tn_parallel_for(c->threads, v[0] * a.queries * a.heads, attention_task, &a);
    return TERN_OK;
}

const tn_op tn_op_mmcv_deform_attention = TN_ARGS_OP(infer_attention, run_attention, 5, 5, 1, 1, 0);
