/* The memory plan: every planned value is an interval of steps, and intervals that overlap in time must not overlap in
 * memory. Minimal total size is NP-hard; largest first, each at the lowest offset that is free for its whole life,
 * stays within a few percent of the lower bound (the most bytes alive at one step) on most networks; where it does not,
 * some more orders are tried. */
#include "plan/plan.h"

#include <stdlib.h>

static int larger_first(const void *a, const void *b) {
    const tn_interval *x = *(tn_interval *const *)a, *y = *(tn_interval *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x < y ? -1 : x > y; /* a total order: the plan is the same on every machine */
}

/* `placed` is sorted by offset. The first gap of `bytes` between those that live together with v. */
static size_t lowest_gap(tn_interval *const *placed, size_t n, const tn_interval *v) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const tn_interval *p = placed[i];
        if (p->last < v->first || p->first > v->last) continue;
        if (p->offset >= at && p->offset - at >= v->bytes) break;
        at = TN_MAX(at, p->offset + p->bytes);
    }
    return at;
}

static size_t most_alive(const tn_interval *v, size_t count) {
    int last = 0;
    for (size_t i = 0; i < count; i++) last = TN_MAX(last, v[i].last);
    int64_t *change = tn_calloc((size_t)last + 2, sizeof *change);
    if (!change) return 0;
    for (size_t i = 0; i < count; i++) {
        change[v[i].first] += (int64_t)v[i].bytes;
        change[v[i].last + 1] -= (int64_t)v[i].bytes;
    }
    int64_t alive = 0, most = 0;
    for (int s = 0; s <= last; s++) {
        alive += change[s];
        most = TN_MAX(most, alive);
    }
    tn_free(change);
    return (size_t)most;
}

/* Places all in this order; returns the total. `placed` is scratch. */
static size_t place(tn_interval *const *order, size_t count, tn_interval **placed) {
    size_t total = 0;
    for (size_t n = 0; n < count; n++) {
        tn_interval *v = order[n];
        v->offset = lowest_gap(placed, n, v);
        total = TN_MAX(total, v->offset + v->bytes);
        size_t at = n;
        for (; at > 0 && placed[at - 1]->offset > v->offset; at--) placed[at] = placed[at - 1];
        placed[at] = v;
    }
    return total;
}

/* Whoever ends highest came too late to find a place below: next time it comes first. */
static void promote_highest(tn_interval **order, size_t count) {
    size_t top = 0;
    for (size_t i = 1; i < count; i++)
        if (order[i]->offset + order[i]->bytes > order[top]->offset + order[top]->bytes) top = i;
    tn_interval *v = order[top];
    memmove(order + 1, order, top * sizeof *order);
    order[0] = v;
}

/* Where largest first is not enough: some more orders, as many as take some milliseconds. Keeps the best. */
static size_t improve(tn_interval **order, size_t count, tn_interval **placed, size_t *best, size_t total,
                      size_t lower_bound, const tn_interval *all) {
    enum { TRIES = 64, WORK = 4000000 };
    size_t tries = count ? TN_MIN((size_t)TRIES, WORK / count / count) : 0;
    for (size_t i = 0; i < count; i++) best[i] = all[i].offset;
    for (size_t t = 0; t < tries && total > lower_bound; t++) {
        promote_highest(order, count);
        size_t now = place(order, count, placed);
        if (now >= total) continue;
        total = now;
        for (size_t i = 0; i < count; i++) best[i] = all[i].offset;
    }
    return total;
}

tern_status tn_plan_memory(tn_interval *intervals, size_t count, size_t *total, size_t *lower_bound, tern_error *err) {
    *total = 0;
    *lower_bound = most_alive(intervals, count);
    tn_interval **order = tn_alloc_array(count + 1, sizeof(tn_interval *));
    tn_interval **placed = tn_alloc_array(count + 1, sizeof(tn_interval *));
    size_t *best = tn_alloc_array(count + 1, sizeof *best);
    tern_status status = order && placed && best ? TERN_OK : tn_fail_oom(err, count * sizeof *order);
    if (status == TERN_OK) {
        for (size_t i = 0; i < count; i++) order[i] = &intervals[i];
        qsort(order, count, sizeof *order, larger_first);
        *total = place(order, count, placed);
        *total = improve(order, count, placed, best, *total, *lower_bound, intervals);
        for (size_t i = 0; i < count; i++) intervals[i].offset = best[i];
    }
    tn_free(order);
    tn_free(placed);
    tn_free(best);
    return status;
}

/* ---- plans from a file ----------------------------------------------------------------------------------------- */

uint64_t tn_plan_digest(const tn_interval *intervals, size_t count) {
    uint64_t digest = count;
    for (size_t i = 0; i < count; i++) {
        const tn_interval *v = &intervals[i];
        const uint64_t facts[] = {(uint64_t)v->first, (uint64_t)v->last, v->bytes};
        digest = tn_hash(facts, sizeof facts, digest);
    }
    return digest;
}

static int earlier_first(const void *a, const void *b) {
    const tn_interval *x = *(tn_interval *const *)a, *y = *(tn_interval *const *)b;
    return (x->first > y->first) - (x->first < y->first);
}

static bool overlap(const tn_interval *a, const tn_interval *b) {
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

bool tn_plan_take_offsets(tn_interval *intervals, size_t count, const uint64_t *offsets, size_t *total,
                          size_t *lower_bound) {
    tn_interval **order = tn_alloc_array(count + 1, sizeof(tn_interval *));
    bool good = order != NULL;
    *total = 0;
    *lower_bound = most_alive(intervals, count);
    for (size_t i = 0; good && i < count; i++) {
        tn_interval *v = order[i] = &intervals[i];
        size_t end;
        good = offsets[i] % 64 == 0 && tn_add_size(offsets[i], v->bytes, &end) && end <= INT64_MAX;
        v->offset = offsets[i];
        if (good) *total = TN_MAX(*total, end);
    }
    if (good) qsort(order, count, sizeof *order, earlier_first);
    for (size_t i = 0; good && i < count; i++)
        for (size_t k = i + 1; good && k < count && order[k]->first <= order[i]->last; k++)
            good = !overlap(order[i], order[k]);
    tn_free(order);
    return good;
}
