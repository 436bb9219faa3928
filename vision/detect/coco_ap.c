#include "vision/detect/coco_ap.h"

#include <math.h>
#include <stdlib.h>

enum { RECALLS = 101 };

/* What became of a detection at one threshold. */
enum { WRONG = 0, RIGHT = 1, IGNORED = 2 };

typedef struct outcome {
    double score;
    uint8_t at[COCO_RANGES][COCO_THRESHOLDS];
} outcome;

typedef struct work {
    outcome *outcomes, *spare; /* of one class, all pictures; `spare` for sorting */
    size_t n_outcomes;
    int64_t positives[COCO_RANGES];
    double *iou;   /* (detections, truths) of one picture and class */
    size_t *order; /* of the truths: those that count, then the ignored ones */
    uint8_t *taken, *ignored;
    size_t iou_cap, truth_cap;
} work;

/* The areas are squares of 32, 96 and 100,000 pixels, both ends included. */
static const double ranges[COCO_RANGES][2] = {{0, 1e10}, {0, 1024}, {1024, 9216}, {9216, 1e10}};

/* The same steps, with the same rounding, as numpy's linspace(0.5, 0.95, 10), which COCO's own code compares with. */
static double threshold(int i) {
    return i == COCO_THRESHOLDS - 1 ? 0.95 : 0.5 + i * ((0.95 - 0.5) / (COCO_THRESHOLDS - 1));
}

static double recall_point(int i) { return i == RECALLS - 1 ? 1.0 : i * 0.01; }

double coco_iou(const coco_box *d, const coco_box *t, bool crowd) {
    double w = TN_MIN(d->x + d->w, t->x + t->w) - TN_MAX(d->x, t->x);
    double h = TN_MIN(d->y + d->h, t->y + t->h) - TN_MAX(d->y, t->y);
    if (!(w > 0) || !(h > 0)) return 0;
    double inter = w * h, own = d->w * d->h, all = crowd ? own : own + t->w * t->h - inter;
    return all > 0 ? inter / all : 0;
}

/* ---- one picture and class -------------------------------------------------------------------------------------- */

static tern_status reserve(work *w, size_t n_detections, size_t n_truths, tern_error *err) {
    size_t cells;
    bool fits = tn_mul_size(n_detections, n_truths, &cells) && tn_grow(&w->iou, &w->iou_cap, cells, sizeof *w->iou);
    if (fits && n_truths > w->truth_cap) {
        tn_free(w->order);
        tn_free(w->taken);
        tn_free(w->ignored);
        w->truth_cap = n_truths;
        w->order = tn_alloc_array(n_truths, sizeof *w->order);
        w->taken = tn_alloc(n_truths);
        w->ignored = tn_alloc(n_truths);
        fits = w->order && w->taken && w->ignored;
        if (!fits) w->truth_cap = 0;
    }
    return fits ? TERN_OK : tn_fail_oom(err, n_truths);
}

static void order_truths(work *w, const coco_truth *truths, size_t n, coco_range range) {
    size_t at = 0;
    for (size_t k = 0; k < n; k++) {
        w->ignored[k] = truths[k].crowd || truths[k].area < ranges[range][0] || truths[k].area > ranges[range][1];
        w->positives[range] += !w->ignored[k];
        if (!w->ignored[k]) w->order[at++] = k;
    }
    for (size_t k = 0; k < n; k++) {
        if (w->ignored[k]) w->order[at++] = k;
    }
}

/* The truth that detection i takes; n: none. Of equal IoUs the later truth, as COCO's own code has it. */
static size_t find_truth(const work *w, const coco_truth *truths, size_t n, size_t i, double limit) {
    size_t best = n;
    for (size_t at = 0; at < n; at++) {
        size_t k = w->order[at];
        if (best < n && !w->ignored[best] && w->ignored[k]) break;
        if (w->taken[k] && !truths[k].crowd) continue;
        if (w->iou[i * n + k] < limit) continue;
        limit = w->iou[i * n + k];
        best = k;
    }
    return best;
}

static void match_picture(work *w, const coco_detection *dets, size_t n_dets, const coco_truth *truths, size_t n) {
    outcome *out = w->outcomes + w->n_outcomes;
    for (size_t i = 0; i < n_dets; i++) {
        out[i].score = dets[i].score;
        for (size_t k = 0; k < n; k++) w->iou[i * n + k] = coco_iou(&dets[i].box, &truths[k].box, truths[k].crowd);
    }
    for (int range = 0; range < COCO_RANGES; range++) {
        order_truths(w, truths, n, (coco_range)range);
        for (int t = 0; t < COCO_THRESHOLDS; t++) {
            if (n) memset(w->taken, 0, n);
            for (size_t i = 0; i < n_dets; i++) {
                size_t k = find_truth(w, truths, n, i, TN_MIN(threshold(t), 1 - 1e-10));
                double area = dets[i].box.w * dets[i].box.h;
                bool outside = area < ranges[range][0] || area > ranges[range][1];
                if (k < n) w->taken[k] = 1;
                out[i].at[range][t] = k < n ? (w->ignored[k] ? IGNORED : RIGHT) : outside ? IGNORED : WRONG;
            }
        }
    }
    w->n_outcomes += n_dets;
}

/* ---- one class -------------------------------------------------------------------------------------------------- */

/* A merge sort, because equal scores stay in order. */
static void sort_outcomes(outcome *items, outcome *spare, size_t n) {
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t middle = TN_MIN(from + width, n), end = TN_MIN(from + 2 * width, n), a = from, b = middle;
            for (size_t i = from; i < end; i++) {
                bool left = a < middle && (b == end || items[a].score >= items[b].score);
                spare[i] = left ? items[a++] : items[b++];
            }
        }
        memcpy(items, spare, n * sizeof *items);
    }
}

/* From the last detection back, the best precision so far is the one for every recall above that of the detection
 * before it. */
static double average_precision(const outcome *items, size_t n, int64_t positives, coco_range range, int t) {
    if (positives == 0) return NAN;
    int64_t right = 0, wrong = 0;
    for (size_t i = 0; i < n; i++) {
        right += items[i].at[range][t] == RIGHT;
        wrong += items[i].at[range][t] == WRONG;
    }
    double best = 0, sum = 0;
    int point = RECALLS - 1;
    while (point >= 0 && recall_point(point) > (double)right / (double)positives) point--;
    for (size_t i = n; i > 0 && point >= 0; i--) {
        uint8_t what = items[i - 1].at[range][t];
        if (what == IGNORED) continue;
        best = TN_MAX(best, (double)right / (double)(right + wrong));
        right -= what == RIGHT;
        wrong -= what == WRONG;
        // Recalls above what remains are reached by this detection at the earliest.
        for (double below = (double)right / (double)positives; point >= 0 && recall_point(point) > below; point--) {
            sum += best;
        }
    }
    // Recall 0 is reached by the first detection, right or wrong.
    return (sum + (point == 0 ? best : 0)) / RECALLS;
}

static tern_status evaluate_class(work *w, coco_class_ap *out, const coco_detection *dets, size_t n_dets,
                                  const coco_truth *truths, size_t n_truths, tern_error *err) {
    size_t d = 0, t = 0;
    w->n_outcomes = 0;
    memset(w->positives, 0, sizeof w->positives);
    while (d < n_dets || t < n_truths) {
        int32_t picture = d < n_dets ? dets[d].picture : truths[t].picture;
        if (t < n_truths) picture = TN_MIN(picture, truths[t].picture);
        size_t d_end = d, t_end = t;
        while (d_end < n_dets && dets[d_end].picture == picture) d_end++;
        while (t_end < n_truths && truths[t_end].picture == picture) t_end++;
        size_t count = TN_MIN(d_end - d, (size_t)COCO_MAX_DETECTIONS);
        TN_TRY(reserve(w, count, t_end - t, err));
        match_picture(w, dets + d, count, truths + t, t_end - t);
        d = d_end;
        t = t_end;
    }
    sort_outcomes(w->outcomes, w->spare, w->n_outcomes);
    for (int range = 0; range < COCO_RANGES; range++) {
        for (int k = 0; k < COCO_THRESHOLDS; k++) {
            out->ap[range][k] =
                average_precision(w->outcomes, w->n_outcomes, w->positives[range], (coco_range)range, k);
        }
    }
    out->truths = w->positives[COCO_ALL];
    return TERN_OK;
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static int compare_int(int32_t a, int32_t b) { return (a > b) - (a < b); }

/* By class, then picture, then place in the list, which is their place in memory before sorting. */
static int by_truth(const void *a, const void *b) {
    const coco_truth *const *x = a, *const *y = b;
    int order = compare_int((*x)->cls, (*y)->cls);
    if (order == 0) order = compare_int((*x)->picture, (*y)->picture);
    return order ? order : (*x > *y) - (*x < *y);
}

static int by_detection(const void *a, const void *b) {
    const coco_detection *const *x = a, *const *y = b;
    int order = compare_int((*x)->cls, (*y)->cls);
    if (order == 0) order = compare_int((*x)->picture, (*y)->picture);
    if (order == 0) order = ((*x)->score < (*y)->score) - ((*x)->score > (*y)->score);
    return order ? order : (*x > *y) - (*x < *y);
}

/* Stable, which qsort by itself is not: pointers are sorted, and the items moved after them. */
static tern_status sort_items(void *items, size_t n, size_t size, int (*compare)(const void *, const void *),
                              tern_error *err) {
    if (n < 2) return TERN_OK;
    char **pointers = tn_alloc_array(n, sizeof *pointers), *copy = tn_alloc_array(n, size);
    if (pointers && copy) {
        for (size_t i = 0; i < n; i++) pointers[i] = (char *)items + i * size;
        qsort(pointers, n, sizeof *pointers, compare);
        for (size_t i = 0; i < n; i++) memcpy(copy + i * size, pointers[i], size);
        memcpy(items, copy, n * size);
    }
    bool done = pointers && copy;
    tn_free(pointers);
    tn_free(copy);
    return done ? TERN_OK : tn_fail_oom(err, n * size);
}

static tern_status evaluate(work *w, coco_class_ap *out, const coco_data *data, tern_error *err) {
    size_t d = 0, t = 0;
    for (int32_t c = 0; c < data->classes; c++) {
        size_t d_end = d, t_end = t;
        while (d_end < data->n_detections && data->detections[d_end].cls == c) d_end++;
        while (t_end < data->n_truths && data->truths[t_end].cls == c) t_end++;
        TN_TRY(evaluate_class(w, &out[c], data->detections + d, d_end - d, data->truths + t, t_end - t, err));
        d = d_end;
        t = t_end;
    }
    return TERN_OK;
}

tern_status coco_evaluate(coco_class_ap **out, coco_data *data, tern_error *err) {
    work w = {0};
    *out = NULL;
    TN_TRY(sort_items(data->truths, data->n_truths, sizeof *data->truths, by_truth, err));
    TN_TRY(sort_items(data->detections, data->n_detections, sizeof *data->detections, by_detection, err));
    w.outcomes = tn_alloc_array(data->n_detections + 1, sizeof *w.outcomes);
    w.spare = tn_alloc_array(data->n_detections + 1, sizeof *w.spare);
    coco_class_ap *ap = tn_calloc((size_t)data->classes + 1, sizeof *ap);
    tern_status status =
        w.outcomes && w.spare && ap ? evaluate(&w, ap, data, err) : tn_fail_oom(err, data->n_detections);
    tn_free(w.outcomes);
    tn_free(w.spare);
    tn_free(w.iou);
    tn_free(w.order);
    tn_free(w.taken);
    tn_free(w.ignored);
    if (status != TERN_OK) {
        tn_free(ap);
        return status;
    }
    *out = ap;
    return TERN_OK;
}

double coco_class_mean(const coco_class_ap *ap, coco_range range, int from, int to) {
    double sum = 0;
    for (int t = from; t < to; t++) sum += ap->ap[range][t];
    return sum / (to - from);
}

double coco_mean(const coco_class_ap *ap, int32_t classes, coco_range range, int from, int to) {
    double sum = 0;
    int32_t count = 0;
    for (int32_t c = 0; c < classes; c++) {
        if (isnan(ap[c].ap[range][from])) continue;
        sum += coco_class_mean(&ap[c], range, from, to);
        count++;
    }
    return count ? sum / count : NAN;
}
