/* NonMaxSuppression: per image and class, the boxes with the best scores that do not overlap a better one. */
#include "ops/args.h"

#include <math.h>
#include <stdlib.h>

/* Shape of input i must be (batches, count) in those two dims as far as known. */
static tern_status infer_nms(tn_infer *c) {
    static const uint32_t types[] = {TN_T(FLOAT), TN_T(FLOAT), TN_T(INT64), TN_T(FLOAT), TN_T(FLOAT)};
    for (int i = 0; i < c->node->n_in; i++)
        if (i < 2 || c->in[i]) TN_TRY(tn_args_need(c, i, types[i]));
    tn_shape b, s, out = tn_args_unknown_dims(2);
    bool boxes = tn_args_shape(c, 0, &b), scores = tn_args_shape(c, 1, &s);
    char tb[TN_SHAPE_TEXT], ts[TN_SHAPE_TEXT];
    if (boxes && (b.rank != 3 || (tn_dim_known(b.dims[2]) && b.dims[2] != 4)))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "boxes have shape %s, not (batch, boxes, 4)",
                             tn_shape_text(&b, tb, sizeof tb));
    if (scores && s.rank != 3)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "scores have shape %s, not (batch, classes, boxes)",
                             tn_shape_text(&s, ts, sizeof ts));
    if (boxes && scores &&
        ((tn_dim_known(b.dims[0]) && tn_dim_known(s.dims[0]) && b.dims[0] != s.dims[0]) ||
         (tn_dim_known(b.dims[1]) && tn_dim_known(s.dims[2]) && b.dims[1] != s.dims[2])))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "boxes have shape %s, scores %s", tn_shape_text(&b, tb, sizeof tb),
                             tn_shape_text(&s, ts, sizeof ts));
    int64_t center = tn_attr_i(c->node, "center_point_box", 0);
    if (center != 0 && center != 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "center_point_box is %lld", (long long)center);
    out.dims[1] = 3;
    tn_infer_out(c, 0, TERN_INT64, &out);
    return TERN_OK;
}

typedef struct box {
    float y1, x1, y2, x2, area, score;
    int64_t index;
} box;

static int by_score(const void *a, const void *b) {
    const box *p = a, *q = b;
    if (p->score != q->score) return p->score > q->score ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

static box make_box(const float *v, bool center) {
    box b;
    if (center) {
        b.x1 = v[0] - v[2] / 2;
        b.x2 = v[0] + v[2] / 2;
        b.y1 = v[1] - v[3] / 2;
        b.y2 = v[1] + v[3] / 2;
    } else {
        b.y1 = TN_MIN(v[0], v[2]);
        b.y2 = TN_MAX(v[0], v[2]);
        b.x1 = TN_MIN(v[1], v[3]);
        b.x2 = TN_MAX(v[1], v[3]);
    }
    b.area = (b.y2 - b.y1) * (b.x2 - b.x1);
    return b;
}

#define BLOCK 16

/* Kept boxes, BLOCK at a time by coordinate; the rest of the last block is empty boxes, which overlap nothing. */
typedef struct kept_block {
    float y1[BLOCK], x1[BLOCK], y2[BLOCK], x2[BLOCK], area[BLOCK];
} kept_block;

static void keep(kept_block *blocks, int64_t kept, const box *b) {
    kept_block *k = &blocks[kept / BLOCK];
    int64_t i = kept % BLOCK;
    for (int e = 0; i == 0 && e < BLOCK; e++) {
        k->y1[e] = k->x1[e] = k->area[e] = 0;
        k->y2[e] = k->x2[e] = -INFINITY;
    }
    k->y1[i] = b->y1;
    k->x1[i] = b->x1;
    k->y2[i] = b->y2;
    k->x2[i] = b->x2;
    k->area[i] = b->area;
}

/* Is intersection over union with one of them above the threshold? */
static bool overlaps(const kept_block *k, const box *b, float threshold) {
    int any = 0;
    for (int i = 0; i < BLOCK; i++) {
        float h = TN_MIN(k->y2[i], b->y2) - TN_MAX(k->y1[i], b->y1);
        float w = TN_MIN(k->x2[i], b->x2) - TN_MAX(k->x1[i], b->x1);
        float both = h * w, all = k->area[i] + b->area - both;
        any |= (h > 0) & (w > 0) & (all > 0) & (both / all > threshold);
    }
    return any != 0;
}

typedef struct nms {
    const float *boxes, *scores;
    int64_t batches, classes, count, max_out;
    float iou, score;
    bool by_score, center;
    box *work;          /* count */
    kept_block *blocks; /* room for count boxes */
    int64_t *result;
    size_t n, cap; /* numbers in result, 3 per box */
} nms;

/* Adds the boxes of one class that stay to the result. False: no memory. */
static bool select_class(nms *s, int64_t batch, int64_t class) {
    const float *scores = s->scores + (batch * s->classes + class) * s->count;
    int64_t n = 0, kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if ((s->by_score && !(scores[i] > s->score)) || scores[i] != scores[i]) continue;
        s->work[n] = make_box(s->boxes + (batch * s->count + i) * 4, s->center);
        s->work[n].score = scores[i];
        s->work[n++].index = i;
    }
    qsort(s->work, (size_t)n, sizeof *s->work, by_score);
    for (int64_t i = 0; i < n && kept < s->max_out; i++) {
        bool free_of_others = true;
        for (int64_t k = 0; free_of_others && k < kept; k += BLOCK)
            free_of_others = !overlaps(&s->blocks[k / BLOCK], &s->work[i], s->iou);
        if (!free_of_others) continue;
        keep(s->blocks, kept++, &s->work[i]);
        if (!tn_grow(&s->result, &s->cap, s->n + 3, sizeof *s->result)) return false;
        s->result[s->n++] = batch;
        s->result[s->n++] = class;
        s->result[s->n++] = s->work[i].index;
    }
    return true;
}

static tern_status scalar_input(tn_run *c, int i, double *out) {
    const tern_tensor *t = tn_args_in(c, i);
    if (!t) return TERN_OK;
    if (tn_shape_count(&t->shape) != 1)
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "input %d has %lld elements where 1 is needed", i,
                           (long long)tn_shape_count(&t->shape));
    *out = tn_tensor_get_f64(t, 0);
    return TERN_OK;
}

static tern_status run_nms(tn_run *c) {
    const tern_tensor *boxes = c->in[0], *scores = c->in[1];
    double max_out = 0, iou = 0, score = 0;
    TN_TRY(scalar_input(c, 2, &max_out));
    TN_TRY(scalar_input(c, 3, &iou));
    TN_TRY(scalar_input(c, 4, &score));
    if (!(iou >= 0 && iou <= 1))
        return tn_run_fail(c, TERN_INVALID_ARGUMENT, "iou_threshold %g is outside [0, 1]", iou);
    nms s = {.boxes = boxes->data,
             .scores = scores->data,
             .batches = boxes->shape.dims[0],
             .classes = scores->shape.dims[1],
             .count = boxes->shape.dims[1],
             .iou = (float)iou,
             .score = (float)score,
             .by_score = tn_args_in(c, 4) != NULL,
             .center = tn_attr_i(c->node, "center_point_box", 0) != 0};
    s.max_out = max_out <= 0 ? 0 : max_out >= (double)s.count ? s.count : (int64_t)max_out;
    s.work = tn_alloc_array((size_t)s.count, sizeof *s.work);
    s.blocks = tn_alloc_array((size_t)tn_ceil_div(s.count, BLOCK), sizeof *s.blocks);
    bool fits = s.work && s.blocks;
    for (int64_t b = 0; fits && s.max_out && b < s.batches; b++)
        for (int64_t k = 0; fits && k < s.classes; k++) fits = select_class(&s, b, k);
    tern_status status = fits ? TERN_OK : tn_fail_oom(c->err, (size_t)s.count * sizeof *s.work);
    tn_shape out = {.rank = 2, .dims = {(int64_t)s.n / 3, 3}};
    if (status == TERN_OK) status = tn_run_alloc(c, 0, TERN_INT64, &out);
    if (status == TERN_OK && s.n) memcpy(c->out[0]->data, s.result, s.n * sizeof *s.result);
    tn_free(s.work);
    tn_free(s.blocks);
    tn_free(s.result);
    return status;
}

const tn_op tn_op_nms = TN_ARGS_OP(infer_nms, run_nms, 2, 5, 1, 1, TN_OP_ALLOC);
