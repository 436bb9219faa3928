/* The candidates are sorted by score (radix sort, stable), then taken best first. Each is compared only with the boxes
 * that stayed and are of its class, which a linked list per class finds; the walk ends with the max_det-th box that
 * stays. So the cost is (candidates) x (boxes that stay in one class), never the square of the candidates. */
#include "vision/detect/nms.h"

#define RADIX_BITS 11
#define RADIX      (1u << RADIX_BITS)
#define PASSES     3

typedef struct sort_item {
    uint32_t key, index;
} sort_item;

/* Keys that grow as the score falls; NaN sorts last or first, whichever: it has been filtered before. */
static uint32_t falling_key(float score) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~rising;
}

/* items[count] in place; `spare` has room for as many. */
static void radix_sort(sort_item *items, sort_item *spare, size_t count) {
    for (int pass = 0; pass < PASSES; pass++) {
        size_t starts[RADIX] = {0};
        int shift = pass * RADIX_BITS;
        for (size_t i = 0; i < count; i++) starts[items[i].key >> shift & (RADIX - 1)]++;
        size_t sum = 0;
        for (size_t i = 0; i < RADIX; i++) {
            size_t n = starts[i];
            starts[i] = sum;
            sum += n;
        }
        for (size_t i = 0; i < count; i++) spare[starts[items[i].key >> shift & (RADIX - 1)]++] = items[i];
        sort_item *swap = items;
        items = spare;
        spare = swap;
    }
    /* An odd number of passes: the result is in what came as spare, which `items` names now. */
    memcpy(spare, items, count * sizeof *items);
}

/* The few candidates of a usual picture do not pay the three passes over 2,048 counters. */
static void insertion_sort(sort_item *items, size_t count) {
    for (size_t i = 1; i < count; i++) {
        sort_item item = items[i];
        size_t at = i;
        for (; at > 0 && items[at - 1].key > item.key; at--) items[at] = items[at - 1];
        items[at] = item;
    }
}

/* Sorts the candidates, best first, and cuts them to *count <= limit. */
static tern_status sort_candidates(tern_candidate *items, size_t *count, size_t limit, tern_error *err) {
    size_t n = *count;
    if (n > UINT32_MAX) return tn_fail(err, TERN_LIMIT_EXCEEDED, "%zu boxes are too many", n);
    size_t have = TN_MIN(n, limit);
    sort_item *order = tn_alloc_array(n + 1, 2 * sizeof *order);
    tern_candidate *sorted = tn_alloc_array(have + 1, sizeof *sorted);
    tern_status status = TERN_OK;
    if (order && sorted) {
        for (size_t i = 0; i < n; i++) order[i] = (sort_item){falling_key(items[i].score), (uint32_t)i};
        if (n <= 64) {
            insertion_sort(order, n);
        } else {
            radix_sort(order, order + n, n);
        }
        for (size_t i = 0; i < have; i++) sorted[i] = items[order[i].index];
        memcpy(items, sorted, have * sizeof *items);
        *count = have;
    } else {
        status = tn_fail_oom(err, n * 2 * sizeof *order + have * sizeof *sorted);
    }
    tn_free(order);
    tn_free(sorted);
    return status;
}

static float area(const tern_box *b) { return (b->x2 - b->x1) * (b->y2 - b->y1); }

/* In single precision and this order of operations, as the usual implementations compute it. */
static float iou(const tern_box *a, float area_a, const tern_box *b, float area_b) {
    float w = TN_MIN(a->x2, b->x2) - TN_MAX(a->x1, b->x1), h = TN_MIN(a->y2, b->y2) - TN_MAX(a->y1, b->y1);
    float inter = TN_MAX(w, 0.0f) * TN_MAX(h, 0.0f);
    return inter / (area_a + area_b - inter);
}

typedef struct kept_box {
    tern_box box;
    float area;
    int32_t next; /* the box of the same class that stayed before; -1: none */
} kept_box;

static bool is_suppressed(const kept_box *kept, int32_t first, const tern_box *box, float box_area, double limit) {
    for (int32_t k = first; k >= 0; k = kept[k].next) {
        if ((double)iou(&kept[k].box, kept[k].area, box, box_area) > limit) return true;
    }
    return false;
}

/* items[n] are sorted. `last` is per class: the index in `kept` of the latest box that stayed. */
static size_t suppress(tern_candidate *items, size_t n, const tern_nms_options *options, kept_box *kept, int32_t *last,
                       size_t max_det) {
    size_t have = 0;
    for (size_t i = 0; i < n && have < max_det; i++) {
        int32_t *head = &last[options->agnostic ? 0 : items[i].cls];
        float a = area(&items[i].box);
        if (is_suppressed(kept, *head, &items[i].box, a, options->iou)) continue;
        kept[have] = (kept_box){items[i].box, a, *head};
        *head = (int32_t)have;
        items[have++] = items[i];
    }
    return have;
}

tern_status tern_nms(tern_candidate *items, size_t count, const tern_nms_options *options, size_t *kept,
                     tern_error *err) {
    *kept = 0;
    if (count == 0) return TERN_OK;
    TN_TRY(sort_candidates(items, &count, TERN_NMS_MAX_CANDIDATES, err));
    size_t max_det = TN_MIN((size_t)TN_MAX(options->max_det, 0), count), classes = 1;
    for (size_t i = 0; i < count && !options->agnostic; i++) classes = TN_MAX(classes, (size_t)items[i].cls + 1);
    kept_box *boxes = tn_alloc_array(max_det + 1, sizeof *boxes);
    int32_t *last = tn_alloc_array(classes, sizeof *last);
    tern_status status = TERN_OK;
    if (boxes && last) {
        for (size_t i = 0; i < classes; i++) last[i] = -1;
        *kept = suppress(items, count, options, boxes, last, max_det);
    } else {
        status = tn_fail_oom(err, max_det * sizeof *boxes + classes * sizeof *last);
    }
    tn_free(boxes);
    tn_free(last);
    return status;
}

tern_status tern_best_candidates(tern_candidate *items, size_t count, int max_det, size_t *kept, tern_error *err) {
    *kept = 0;
    if (count == 0) return TERN_OK;
    TN_TRY(sort_candidates(items, &count, (size_t)TN_MAX(max_det, 0), err));
    *kept = count;
    return TERN_OK;
}
