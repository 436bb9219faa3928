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

/* What stays of one image and class. */
typedef struct selected {
    int64_t *index; /* best first; owned */
    size_t n, cap;
    bool no_memory;
} selected;

typedef struct nms {
    const float *boxes, *scores;
    int64_t batches, classes, count, max_out;
    float iou, score;
    bool by_score, center;
    box *work;          /* count for each worker */
    kept_block *blocks; /* room for count boxes for each worker */
    selected *result;   /* one for each image and class */
} nms;

static void select_class(const nms *s, int64_t task, box *work, kept_block *blocks) {
    const float *scores = s->scores + task * s->count, *boxes = s->boxes + task / s->classes * s->count * 4;
    selected *out = &s->result[task];
    int64_t n = 0, kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if ((s->by_score && !(scores[i] > s->score)) || scores[i] != scores[i]) continue;
        work[n] = make_box(boxes + i * 4, s->center);
        work[n].score = scores[i];
        work[n++].index = i;
    }
    qsort(work, (size_t)n, sizeof *work, by_score);
    for (int64_t i = 0; i < n && kept < s->max_out; i++) {
        bool free_of_others = true;
        for (int64_t k = 0; free_of_others && k < kept; k += BLOCK)
            free_of_others = !overlaps(&blocks[k / BLOCK], &work[i], s->iou);
        if (!free_of_others) continue;
        keep(blocks, kept++, &work[i]);
        out->no_memory = !tn_grow(&out->index, &out->cap, out->n + 1, sizeof *out->index);
        if (out->no_memory) return;
        out->index[out->n++] = work[i].index;
    }
}

static void nms_task(void *context, int64_t begin, int64_t end, int worker) {
    const nms *s = context;
    for (int64_t t = begin; t < end; t++)
        select_class(s, t, s->work + worker * s->count, s->blocks + worker * tn_ceil_div(s->count, BLOCK));
}

/* Rows of (image, class, box). */
static tern_status write_selected(tn_run *c, const nms *s) {
    tn_shape out = {.rank = 2, .dims = {0, 3}};
    for (int64_t t = 0; t < s->batches * s->classes; t++) {
        if (s->result[t].no_memory) return tn_fail_oom(c->err, s->result[t].n * sizeof(int64_t));
        out.dims[0] += (int64_t)s->result[t].n;
    }
    TN_TRY(tn_run_alloc(c, 0, TERN_INT64, &out));
    int64_t *y = c->out[0]->data;
    for (int64_t t = 0; t < s->batches * s->classes; t++)
        for (size_t i = 0; i < s->result[t].n; i++) {
            *y++ = t / s->classes;
            *y++ = t % s->classes;
            *y++ = s->result[t].index[i];
        }
    return TERN_OK;
}

/* Memory for `threads` workers and all tasks. */
static tern_status select_all(tn_run *c, nms *s, int threads) {
    size_t tasks = (size_t)(s->batches * s->classes), blocks = (size_t)tn_ceil_div(s->count, BLOCK), n = 0, m = 0;
    bool fits = tn_mul_size((size_t)s->count, (size_t)threads, &n) && tn_mul_size(blocks, (size_t)threads, &m);
    s->work = fits ? tn_alloc_array(n, sizeof *s->work) : NULL;
    s->blocks = fits ? tn_alloc_array(m, sizeof *s->blocks) : NULL;
    s->result = tn_alloc_array(tasks, sizeof *s->result);
    if (!s->work || !s->blocks || !s->result) return tn_fail_oom(c->err, n * sizeof *s->work);
    if (tasks) memset(s->result, 0, tasks * sizeof *s->result);
    if (s->max_out) tn_parallel_for(threads, (int64_t)tasks, nms_task, s);
    tern_status status = write_selected(c, s);
    for (size_t t = 0; t < tasks; t++) tn_free(s->result[t].index);
    return status;
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
    if (s.max_out == 0) s.batches = 0;
    int threads = s.count * s.batches * s.classes < 4096 ? 1 : TN_MAX(c->threads, 1);
    tern_status status = select_all(c, &s, threads);
    tn_free(s.work);
    tn_free(s.blocks);
    tn_free(s.result);
    return status;
}

const tn_op tn_op_nms = TN_ARGS_OP(infer_nms, run_nms, 2, 5, 1, 1, TN_OP_ALLOC);
