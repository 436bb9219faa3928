/* Suppression of boxes as mmcv and mmdeploy have it: NonMaxSuppression and SoftNonMaxSuppression (one class, corners as
 * x1 y1 x2 y2), NMSRotated and NMSMatch (images and classes). Boxes of equal score are taken in their order. */
#include "ops/args.h"

#include <math.h>
#include <stdlib.h>

typedef struct ranked {
    float score;
    int64_t index;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *p = a, *q = b;
    if (p->score > q->score) return -1;
    if (p->score < q->score) return 1;
    /* Also where a score is not a number. */
    return p->index < q->index ? -1 : p->index > q->index;
}

static ranked *rank_boxes(const float *scores, int64_t n) {
    ranked *r = tn_alloc_array((size_t)n + 1, sizeof *r);
    for (int64_t i = 0; r && i < n; i++) r[i] = (ranked){scores[i] == scores[i] ? scores[i] : -INFINITY, i};
    if (r) qsort(r, (size_t)n, sizeof *r, by_score);
    return r;
}

/* Over the union; widths and heights are `offset` more than the difference of the corners. */
static float overlap(const float *a, const float *b, float offset) {
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]) + offset, h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]) + offset;
    float both = fmaxf(w, 0) * fmaxf(h, 0);
    float all = (a[2] - a[0] + offset) * (a[3] - a[1] + offset) + (b[2] - b[0] + offset) * (b[3] - b[1] + offset);
    return both / (all - both);
}

/* ---- one class ------------------------------------------------------------------------------------------------- */

/* Boxes (n, 4) and scores (n). */
static tern_status check_flat(tn_infer *c) {
    tn_shape b, s;
    for (int i = 0; i < 2; i++) TN_TRY(tn_args_need(c, i, TN_T(FLOAT)));
    int64_t offset = tn_attr_i(c->node, "offset", 0);
    if (offset != 0 && offset != 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "offset is %lld, not 0 or 1", (long long)offset);
    bool boxes = tn_args_shape(c, 0, &b), scores = tn_args_shape(c, 1, &s);
    char text[TN_SHAPE_TEXT];
    if (boxes && (b.rank != 2 || (tn_dim_known(b.dims[1]) && b.dims[1] != 4)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "boxes have shape %s, not (n, 4)",
                             tn_shape_text(&b, text, sizeof text));
    if (scores && s.rank != 1) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "scores have rank %d instead of 1", s.rank);
    if (boxes && scores && tn_dim_known(b.dims[0]) && tn_dim_known(s.dims[0]) && b.dims[0] != s.dims[0])
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%lld scores for %lld boxes", (long long)s.dims[0],
                             (long long)b.dims[0]);
    return TERN_OK;
}

static tern_status infer_nms(tn_infer *c) {
    tn_shape out = tn_args_unknown_dims(1);
    TN_TRY(check_flat(c));
    tn_infer_out(c, 0, TERN_INT64, &out);
    return TERN_OK;
}

/* Kept indices in front; returns how many. */
static int64_t suppress(const float *boxes, ranked *r, int64_t n, float threshold, float offset) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        bool keep = true;
        for (int64_t k = 0; keep && k < kept; k++)
            keep = !(overlap(boxes + 4 * r[k].index, boxes + 4 * r[i].index, offset) > threshold);
        if (keep) r[kept++] = r[i];
    }
    return kept;
}

static tern_status run_nms(tn_run *c) {
    int64_t n = c->in[0]->shape.dims[0];
    ranked *r = rank_boxes(c->in[1]->data, n);
    if (!r) return tn_fail_oom(c->err, (size_t)n * sizeof *r);
    int64_t kept =
        suppress(c->in[0]->data, r, n, tn_attr_f(c->node, "iou_threshold", 0), (float)tn_attr_i(c->node, "offset", 0));
    tern_status s = tn_run_alloc(c, 0, TERN_INT64, &(tn_shape){.rank = 1, .dims = {kept}});
    for (int64_t i = 0; s == TERN_OK && i < kept; i++) ((int64_t *)c->out[0]->data)[i] = r[i].index;
    tn_free(r);
    return s;
}

const tn_op tn_op_mmcv_nms = TN_ARGS_OP(infer_nms, run_nms, 2, 2, 1, 1, TN_OP_ALLOC);

static tern_status infer_soft_nms(tn_infer *c) {
    tn_shape dets = tn_args_unknown_dims(2), index = tn_args_unknown_dims(1);
    int64_t method = tn_attr_i(c->node, "method", 0);
    TN_TRY(check_flat(c));
    if (method < 0 || method > 2)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "method %lld is not 0 (naive), 1 (linear) or 2 (gaussian)",
                             (long long)method);
    if (method == 2 && !(tn_attr_f(c->node, "sigma", 0.5f) > 0))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "sigma is %g", (double)tn_attr_f(c->node, "sigma", 0.5f));
    dets.dims[1] = 5;
    tn_infer_out(c, 0, TERN_FLOAT, &dets);
    if (tn_args_wants(c, 1)) tn_infer_out(c, 1, TERN_INT64, &index);
    return TERN_OK;
}

typedef struct soft {
    float threshold, sigma, min_score, offset;
    int64_t method;
} soft;

static float decay(const soft *s, float iou) {
    if (s->method == 2) return expf(-(iou * iou) / s->sigma);
    if (!(iou >= s->threshold)) return 1;
    return s->method == 1 ? 1 - iou : 0;
}

/* Rows of r in the order of selection; scores decay. Boxes that fall below min_score are replaced by the last one. */
static int64_t soften(const soft *s, const float *boxes, ranked *r, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        int64_t best = i;
        for (int64_t k = i + 1; k < n; k++)
            if (r[k].score > r[best].score) best = k;
        ranked top = r[best];
        r[best] = r[i];
        r[i] = top;
        for (int64_t k = i + 1; k < n;) {
            r[k].score *= decay(s, overlap(boxes + 4 * top.index, boxes + 4 * r[k].index, s->offset));
            if (r[k].score < s->min_score)
                r[k] = r[--n];
            else
                k++;
        }
    }
    return n;
}

static tern_status run_soft_nms(tn_run *c) {
    const float *boxes = c->in[0]->data, *scores = c->in[1]->data;
    int64_t n = c->in[0]->shape.dims[0];
    soft s = {tn_attr_f(c->node, "iou_threshold", 0.3f), tn_attr_f(c->node, "sigma", 0.5f),
              tn_attr_f(c->node, "min_score", 1e-3f), (float)tn_attr_i(c->node, "offset", 0),
              tn_attr_i(c->node, "method", 0)};
    ranked *r = tn_alloc_array((size_t)n + 1, sizeof *r);
    if (!r) return tn_fail_oom(c->err, (size_t)n * sizeof *r);
    for (int64_t i = 0; i < n; i++) r[i] = (ranked){scores[i], i};
    n = soften(&s, boxes, r, n);
    tern_status status = tn_run_alloc(c, 0, TERN_FLOAT, &(tn_shape){.rank = 2, .dims = {n, 5}});
    tern_tensor *index = NULL;
    if (status == TERN_OK && c->node->n_out > 1 && c->node->out[1]) {
        status = tn_run_alloc(c, 1, TERN_INT64, &(tn_shape){.rank = 1, .dims = {n}});
        index = c->out[1];
    }
    for (int64_t i = 0; status == TERN_OK && i < n; i++) {
        float *row = (float *)c->out[0]->data + 5 * i;
        memcpy(row, boxes + 4 * r[i].index, 4 * sizeof *row);
        row[4] = r[i].score;
        if (index) ((int64_t *)index->data)[i] = r[i].index;
    }
    tn_free(r);
    return status;
}

const tn_op tn_op_mmcv_soft_nms = TN_ARGS_OP(infer_soft_nms, run_soft_nms, 2, 2, 1, 2, TN_OP_ALLOC);

/* ---- images and classes ---------------------------------------------------------------------------------------- */

/* Boxes (images, n, columns), scores (images, classes, n); rows of the result are `width` wide. */
static tern_status infer_images(tn_infer *c, int columns, int width) {
    tn_shape b, s, out = tn_args_unknown_dims(2);
    for (int i = 0; i < c->node->n_in; i++) TN_TRY(tn_args_need(c, i, TN_T(FLOAT)));
    bool boxes = tn_args_shape(c, 0, &b), scores = tn_args_shape(c, 1, &s);
    char text[TN_SHAPE_TEXT], other[TN_SHAPE_TEXT];
    if (boxes && (b.rank != 3 || (tn_dim_known(b.dims[2]) && b.dims[2] != columns)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "boxes have shape %s, not (images, n, %d)",
                             tn_shape_text(&b, text, sizeof text), columns);
    if (scores && s.rank != 3)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "scores have shape %s, not (images, classes, n)",
                             tn_shape_text(&s, text, sizeof text));
    if (boxes && scores &&
        ((tn_dim_known(b.dims[0]) && tn_dim_known(s.dims[0]) && b.dims[0] != s.dims[0]) ||
         (tn_dim_known(b.dims[1]) && tn_dim_known(s.dims[2]) && b.dims[1] != s.dims[2])))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "boxes have shape %s, scores %s",
                             tn_shape_text(&b, text, sizeof text), tn_shape_text(&s, other, sizeof other));
    out.dims[1] = width;
    tn_infer_out(c, 0, TERN_INT64, &out);
    return TERN_OK;
}
static tern_status infer_rotated(tn_infer *c) { return infer_images(c, 5, 3); }
static tern_status infer_match(tn_infer *c) { return infer_images(c, 4, 4); }

typedef struct rows {
    int64_t *v;
    size_t n, cap;
} rows;

static bool add_row(rows *r, const int64_t *v, size_t width) {
    if (!tn_grow(&r->v, &r->cap, r->n + width, sizeof *r->v)) return false;
    memcpy(r->v + r->n, v, width * sizeof *v);
    r->n += width;
    return true;
}

/* What follows does with one class of one image: boxes in the order of their scores. */
typedef struct images {
    float iou, score;
    bool (*select)(const struct images *m, const float *boxes, ranked *r, int64_t n, int64_t *row, rows *out);
    int columns, width;
} images;

static tern_status run_images(tn_run *c, const images *m) {
    const float *boxes = c->in[0]->data, *scores = c->in[1]->data;
    int64_t n_images = c->in[0]->shape.dims[0], n = c->in[0]->shape.dims[1], classes = c->in[1]->shape.dims[1];
    rows out = {0};
    bool ok = true;
    for (int64_t t = 0; ok && n && t < n_images * classes; t++) {
        int64_t row[4] = {t / classes, t % classes};
        ranked *r = rank_boxes(scores + t * n, n);
        ok = r && m->select(m, boxes + row[0] * n * m->columns, r, n, row, &out);
        tn_free(r);
    }
    tn_shape shape = {.rank = 2, .dims = {(int64_t)out.n / m->width, m->width}};
    tern_status s = ok ? tn_run_alloc(c, 0, TERN_INT64, &shape) : tn_fail_oom(c->err, out.n * sizeof *out.v);
    if (s == TERN_OK && out.n) memcpy(c->out[0]->data, out.v, out.n * sizeof *out.v);
    tn_free(out.v);
    return s;
}

/* ---- rotated boxes --------------------------------------------------------------------------------------------- */

typedef struct point {
    double x, y;
} point;

/* Corners of (center, width, height, angle) around the origin `from`, counterclockwise. */
static void corners_of(const float *box, point from, point *out) {
    double c = cos((double)box[4]) / 2, s = sin((double)box[4]) / 2;
    double wx = c * (double)box[2], wy = s * (double)box[2], hx = -s * (double)box[3], hy = c * (double)box[3];
    double x = (double)box[0] - from.x, y = (double)box[1] - from.y;
    out[0] = (point){x - wx - hx, y - wy - hy};
    out[1] = (point){x + wx - hx, y + wy - hy};
    out[2] = (point){x + wx + hx, y + wy + hy};
    out[3] = (point){x - wx + hx, y - wy + hy};
}

static double side(point a, point b, point p) { return (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x); }

/* The part of polygon p to the left of the line from a to b (Sutherland-Hodgman); returns its corners in q. */
static int clip_by(point a, point b, const point *p, int n, point *q) {
    int m = 0;
    for (int i = 0; i < n; i++) {
        point here = p[i], next = p[(i + 1) % n];
        double d = side(a, b, here), e = side(a, b, next);
        if (d >= 0) q[m++] = here;
        if ((d > 0 && e < 0) || (d < 0 && e > 0)) {
            double t = d / (d - e);
            q[m++] = (point){here.x + t * (next.x - here.x), here.y + t * (next.y - here.y)};
        }
    }
    return m;
}

/* Each cut of a convex polygon adds at most one corner. */
static double rotated_overlap(const float *a, const float *b) {
    point from = {((double)a[0] + (double)b[0]) / 2, ((double)a[1] + (double)b[1]) / 2}, clip[4], buffers[2][16];
    int n = 4;
    corners_of(a, from, buffers[0]);
    corners_of(b, from, clip);
    for (int i = 0; i < 4 && n; i++) n = clip_by(clip[i], clip[(i + 1) % 4], buffers[i % 2], n, buffers[(i + 1) % 2]);
    double both = 0;
    for (int i = 1; i + 1 < n; i++) both += side(buffers[0][0], buffers[0][i], buffers[0][i + 1]) / 2;
    return both / ((double)a[2] * (double)a[3] + (double)b[2] * (double)b[3] - both);
}

static bool select_rotated(const images *m, const float *boxes, ranked *r, int64_t n, int64_t *row, rows *out) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        bool keep = true;
        for (int64_t k = 0; keep && k < kept; k++)
            keep = !(rotated_overlap(boxes + 5 * r[k].index, boxes + 5 * r[i].index) > (double)m->iou);
        if (!keep) continue;
        r[kept++] = r[i];
        row[2] = r[i].index;
        if (r[i].score > m->score && !add_row(out, row, 3)) return false;
    }
    return true;
}

static tern_status run_rotated(tn_run *c) {
    images m = {tn_attr_f(c->node, "iou_threshold", 0), tn_attr_f(c->node, "score_threshold", 0), select_rotated, 5, 3};
    return run_images(c, &m);
}

const tn_op tn_op_mmcv_nms_rotated = TN_ARGS_OP(infer_rotated, run_rotated, 2, 2, 1, 1, TN_OP_ALLOC);

/* ---- what was suppressed, and by whom -------------------------------------------------------------------------- */

static bool select_match(const images *m, const float *boxes, ranked *r, int64_t n, int64_t *row, rows *out) {
    int64_t left = n;
    while (left) {
        ranked top = r[0];
        int64_t rest = 0;
        row[2] = top.index;
        for (int64_t k = 1; k < left; k++) {
            if (!(overlap(boxes + 4 * top.index, boxes + 4 * r[k].index, 0) >= m->iou)) {
                r[rest++] = r[k];
                continue;
            }
            row[3] = r[k].index;
            if (top.score > m->score && !add_row(out, row, 4)) return false;
        }
        left = rest;
    }
    return true;
}

static tern_status run_match(tn_run *c) {
    images m = {0, 0, select_match, 4, 4};
    for (int i = 2; i < 4; i++)
        if (tn_shape_count(&c->in[i]->shape) != 1)
            return tn_run_fail(c, TERN_SHAPE_MISMATCH, "input %d has %lld elements instead of 1", i,
                               (long long)tn_shape_count(&c->in[i]->shape));
    m.iou = *(const float *)c->in[2]->data;
    m.score = *(const float *)c->in[3]->data;
    return run_images(c, &m);
}

const tn_op tn_op_mmcv_nms_match = TN_ARGS_OP(infer_match, run_match, 4, 4, 1, 1, TN_OP_ALLOC);
