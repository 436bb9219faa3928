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

/* ---- who is placed already ---------------------------------------------------------------------------------------
 *
 * Two complete binary trees. `last` is over the intervals by their first step: the greatest last step of those placed;
 * it lists whoever lives together with a value, in a time that grows with their number only. `sum` and `top` are over
 * the steps: bytes placed, and where the highest ends, each as a node's own share for all steps below it (`most`: the
 * greatest of the whole subtree). At a step where both are the same there is no gap: in a heap of values that live at
 * the same time nobody has to be listed. */
enum { LISTED = 16384 };

typedef struct placed {
    tn_interval **by_first; /* count */
    size_t *rank;           /* by interval: its place in by_first */
    int *last;              /* 2 * leaves; -1: nobody */
    size_t leaves;
    size_t *sum, *top, *most; /* 2 * steps */
    size_t steps;
    tn_interval **by_offset; /* of those placed, up to LISTED in all */
    size_t n_placed;
    tn_interval **found; /* scratch: count */
    size_t n_found, most_found, work, limit;
    const tn_interval *all;
    size_t count;
} placed;

static size_t power_of_two(size_t n) {
    size_t p = 1;
    while (p < n) p *= 2;
    return p;
}

static int earlier_first(const void *a, const void *b) {
    const tn_interval *x = *(tn_interval *const *)a, *y = *(tn_interval *const *)b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x < y ? -1 : x > y;
}

static void placed_release(placed *x) {
    tn_free(x->by_first);
    tn_free(x->rank);
    tn_free(x->last);
    tn_free(x->sum);
    tn_free(x->top);
    tn_free(x->most);
    tn_free(x->found);
    tn_free(x->by_offset);
}

static tern_status placed_init(placed *x, tn_interval *v, size_t count, tern_error *err) {
    int last = 0;
    for (size_t i = 0; i < count; i++) last = TN_MAX(last, v[i].last);
    *x = (placed){.all = v, .count = count, .leaves = power_of_two(count), .steps = power_of_two((size_t)last + 1)};
    x->by_first = tn_alloc_array(count + 1, sizeof(tn_interval *));
    x->found = tn_alloc_array(count + 1, sizeof(tn_interval *));
    x->by_offset = tn_alloc_array(count + 1, sizeof(tn_interval *));
    x->rank = tn_alloc_array(count + 1, sizeof *x->rank);
    x->last = tn_alloc_array(2 * x->leaves, sizeof *x->last);
    x->sum = tn_alloc_array(2 * x->steps, sizeof *x->sum);
    x->top = tn_alloc_array(2 * x->steps, sizeof *x->top);
    x->most = tn_alloc_array(2 * x->steps, sizeof *x->most);
    if (!x->by_first || !x->found || !x->by_offset || !x->rank || !x->last || !x->sum || !x->top || !x->most) {
        placed_release(x);
        return tn_fail_oom(err, count * sizeof *v);
    }
    for (size_t i = 0; i < count; i++) x->by_first[i] = &v[i];
    qsort(x->by_first, count, sizeof(tn_interval *), earlier_first);
    for (size_t i = 0; i < count; i++) x->rank[x->by_first[i] - v] = i;
    return TERN_OK;
}

static void placed_clear(placed *x) {
    for (size_t i = 0; i < 2 * x->leaves; i++) x->last[i] = -1;
    x->n_placed = 0;
    memset(x->sum, 0, 2 * x->steps * sizeof *x->sum);
    memset(x->top, 0, 2 * x->steps * sizeof *x->top);
    memset(x->most, 0, 2 * x->steps * sizeof *x->most);
}

/* Over the steps [begin, begin + size) of a node. */
static void add_steps(placed *x, size_t node, size_t begin, size_t size, const tn_interval *v) {
    size_t first = (size_t)v->first, last = (size_t)v->last, end = v->offset + v->bytes;
    if (last < begin || first >= begin + size) return;
    x->most[node] = TN_MAX(x->most[node], end);
    if (first <= begin && begin + size - 1 <= last) {
        x->sum[node] += v->bytes;
        x->top[node] = TN_MAX(x->top[node], end);
        return;
    }
    add_steps(x, 2 * node, begin, size / 2, v);
    add_steps(x, 2 * node + 1, begin + size / 2, size / 2, v);
}

static void placed_add(placed *x, tn_interval *v) {
    size_t at = x->leaves + x->rank[v - x->all];
    for (; at >= 1; at /= 2) x->last[at] = TN_MAX(x->last[at], v->last);
    add_steps(x, 1, 0, x->steps, v);
    if (x->count > LISTED) return;
    for (at = x->n_placed++; at > 0 && x->by_offset[at - 1]->offset > v->offset; at--)
        x->by_offset[at] = x->by_offset[at - 1];
    x->by_offset[at] = v;
}

/* The highest end in the steps that v lives, and a step where it is. */
static size_t highest(const placed *x, size_t node, size_t begin, size_t size, const tn_interval *v, size_t *step) {
    size_t first = (size_t)v->first, last = (size_t)v->last, half = size / 2, at[2] = {0, 0};
    *step = TN_MAX(first, begin);
    if (last < begin || first >= begin + size) return 0;
    if (size == 1 || x->top[node] == x->most[node]) return x->top[node];
    size_t below = highest(x, 2 * node, begin, half, v, &at[0]),
           above = highest(x, 2 * node + 1, begin + half, half, v, &at[1]);
    if (TN_MAX(below, above) <= x->top[node]) return x->top[node];
    *step = at[above > below];
    return TN_MAX(below, above);
}

static size_t bytes_at(const placed *x, size_t step) {
    size_t sum = 0;
    for (size_t node = x->steps + step; node >= 1; node /= 2) sum += x->sum[node];
    return sum;
}

/* Those placed that live together with v. The intervals below a node are by_first[begin, begin + size). */
static void list_together(placed *x, size_t node, size_t begin, size_t size, const tn_interval *v) {
    x->work++;
    if (begin >= x->count || x->last[node] < v->first || x->by_first[begin]->first > v->last) return;
    if (x->n_found > x->most_found) return;
    if (size == 1) {
        x->found[x->n_found++] = x->by_first[begin];
        return;
    }
    list_together(x, 2 * node, begin, size / 2, v);
    list_together(x, 2 * node + 1, begin + size / 2, size / 2, v);
}

static int lower_first(const void *a, const void *b) {
    const tn_interval *x = *(tn_interval *const *)a, *y = *(tn_interval *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The first gap of v's size between those of the list, by offset, that live together with it. */
static size_t first_gap(tn_interval *const *list, size_t n, const tn_interval *v) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const tn_interval *p = list[i];
        if (p->last < v->first || p->first > v->last) continue;
        if (p->offset >= at && p->offset - at >= v->bytes) break;
        at = TN_MAX(at, p->offset + p->bytes);
    }
    return at;
}

/* The lowest offset that is free for v's whole life. When there was too much to look at: on top. */
static size_t lowest_gap(placed *x, const tn_interval *v) {
    size_t step, top = highest(x, 1, 0, x->steps, v, &step);
    if (bytes_at(x, step) == top || (x->count > LISTED && x->work >= x->limit)) return top;
    x->n_found = 0;
    x->most_found = x->count > LISTED ? x->count : x->n_placed / 16;
    list_together(x, 1, 0, x->leaves, v);
    if (x->n_found > x->most_found) return first_gap(x->by_offset, x->n_placed, v);
    qsort(x->found, x->n_found, sizeof(tn_interval *), lower_first);
    return first_gap(x->found, x->n_found, v);
}

/* ---- orders ---------------------------------------------------------------------------------------------------- */

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

/* Places all in this order; returns the total. */
static size_t place(tn_interval *const *order, placed *x) {
    size_t total = 0;
    placed_clear(x);
    for (size_t n = 0; n < x->count; n++) {
        tn_interval *v = order[n];
        v->offset = lowest_gap(x, v);
        total = TN_MAX(total, v->offset + v->bytes);
        placed_add(x, v);
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

/* The same for everybody who ends above the least possible, `spare` being scratch: for many values, of which one at a
 * time would take too long. */
static void promote_high(tn_interval **order, size_t count, size_t limit, tn_interval **spare) {
    size_t high = 0, low = 0;
    for (size_t i = 0; i < count; i++) {
        tn_interval *v = order[i];
        if (v->offset + v->bytes > limit)
            order[high++] = v;
        else
            spare[low++] = v;
    }
    memcpy(order + high, spare, low * sizeof *order);
}

/* Where largest first is not enough: some more orders, for a fraction of a second at most. Keeps the best. */
static size_t improve(tn_interval **order, placed *x, size_t *best, size_t total, size_t lower_bound) {
    enum { TRIES = 64, MANY = 2000, WORK = 12000000 };
    size_t visits = x->count * 40 + 1, tries = TN_MIN((size_t)TRIES, WORK / visits);
    for (size_t i = 0; i < x->count; i++) best[i] = x->all[i].offset;
    x->limit = x->work + WORK;
    for (size_t t = 0; t < tries && total > lower_bound && x->work < x->limit; t++) {
        if (x->count > MANY)
            promote_high(order, x->count, lower_bound, x->found);
        else
            promote_highest(order, x->count);
        size_t now = place(order, x);
        if (now >= total) continue;
        total = now;
        for (size_t i = 0; i < x->count; i++) best[i] = x->all[i].offset;
    }
    return total;
}

tern_status tn_plan_memory(tn_interval *intervals, size_t count, size_t *total, size_t *lower_bound, tern_error *err) {
    enum { WORK = 20000000 }; /* about half a second */
    placed x;
    *total = 0;
    *lower_bound = most_alive(intervals, count);
    TN_TRY(placed_init(&x, intervals, count, err));
    tn_interval **order = tn_alloc_array(count + 1, sizeof(tn_interval *));
    size_t *best = tn_alloc_array(count + 1, sizeof *best);
    tern_status status = order && best ? TERN_OK : tn_fail_oom(err, count * sizeof *order);
    if (status == TERN_OK) {
        for (size_t i = 0; i < count; i++) order[i] = &intervals[i];
        qsort(order, count, sizeof *order, larger_first);
        x.limit = WORK;
        *total = place(order, &x);
        *total = improve(order, &x, best, *total, *lower_bound);
        for (size_t i = 0; i < count; i++) intervals[i].offset = best[i];
    }
    tn_free(order);
    tn_free(best);
    placed_release(&x);
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

/* Whether no two of the intervals, by offset, share memory while both live: each begins where those before it end. */
static bool are_apart(placed *x, tn_interval *const *by_offset) {
    size_t step;
    placed_clear(x);
    for (size_t i = 0; i < x->count; i++) {
        const tn_interval *v = by_offset[i];
        if (!v->bytes) continue;
        if (highest(x, 1, 0, x->steps, v, &step) > v->offset) return false;
        add_steps(x, 1, 0, x->steps, v);
    }
    return true;
}

bool tn_plan_take_offsets(tn_interval *intervals, size_t count, const uint64_t *offsets, size_t *total,
                          size_t *lower_bound) {
    placed x;
    *total = 0;
    *lower_bound = most_alive(intervals, count);
    if (placed_init(&x, intervals, count, NULL) != TERN_OK) return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        tn_interval *v = x.found[i] = &intervals[i];
        size_t end;
        good = offsets[i] % 64 == 0 && tn_add_size(offsets[i], v->bytes, &end) && end <= INT64_MAX;
        v->offset = offsets[i];
        if (good) *total = TN_MAX(*total, end);
    }
    if (good) qsort(x.found, count, sizeof *x.found, lower_first);
    good = good && are_apart(&x, x.found);
    placed_release(&x);
    return good;
}
