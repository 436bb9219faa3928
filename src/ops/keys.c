#include "ops/keys.h"

#define SMALL 64 /* insertion is faster up to here */

static void insertion_sort(tn_key_item *items, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        tn_key_item it = items[i];
        int64_t j = i;
        for (; j > 0 && it.key < items[j - 1].key; j--) items[j] = items[j - 1];
        items[j] = it;
    }
}

void tn_keys_sort(tn_key_item *items, int64_t n, tn_key_item *spare) {
    if (n <= SMALL) {
        insertion_sort(items, n);
        return;
    }
    int64_t start[8][256] = {{0}};
    tn_key_item *from = items, *to = spare;
    uint64_t all = UINT64_MAX, any = 0;
    for (int64_t i = 0; i < n; i++) {
        all &= items[i].key;
        any |= items[i].key;
    }
    const uint64_t differ = all ^ any;
    for (int b = 0; b < 8; b++)
        for (int64_t i = 0; (differ >> 8 * b & 255) && i < n; i++) start[b][items[i].key >> 8 * b & 255]++;
    for (int b = 0; b < 8; b++) {
        if (!(differ >> 8 * b & 255)) continue;
        int64_t *at = start[b], sum = 0;
        for (int v = 0; v < 256; v++) {
            int64_t count = at[v];
            at[v] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) to[at[from[i].key >> 8 * b & 255]++] = from[i];
        tn_key_item *t = from;
        from = to;
        to = t;
    }
    if (from != items) memcpy(items, from, (size_t)n * sizeof *items);
}

/* The key of rank k - 1 (0 < k <= n): byte by byte, among those that begin with the bytes found so far. *less: how many
 * are smaller. */
static uint64_t rank_key(const tn_key_item *items, int64_t n, int64_t k, int64_t *less) {
    uint64_t prefix = 0, mask = 0;
    *less = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        int64_t count[256] = {0};
        for (int64_t i = 0; i < n; i++)
            if ((items[i].key & mask) == prefix) count[items[i].key >> shift & 255]++;
        int v = 0;
        while (*less + count[v] < k) *less += count[v++];
        prefix |= (uint64_t)v << shift;
        mask |= (uint64_t)255 << shift;
    }
    return prefix;
}

/* Keeps the first k of n, in the order in which they are: ascending indices stay so. Returns the last key of them. */
static uint64_t keep_first(tn_key_item *items, int64_t n, int64_t k) {
    int64_t less, kept = 0;
    uint64_t last = rank_key(items, n, k, &less);
    int64_t equal = k - less;
    for (int64_t i = 0; i < n; i++) {
        if (items[i].key > last || (items[i].key == last && equal-- <= 0)) continue;
        items[kept++] = items[i];
    }
    return last;
}

/* Candidates are gathered up to twice k before they are thinned out, so that each costs a constant time. */
static int64_t room(int64_t n, int64_t k) { return k > n / 2 ? n : TN_MIN(n, TN_MAX(2 * k, k + 256)); }

int64_t tn_keys_scratch(int64_t n, int64_t k) { return room(n, k) + k; }

/* Up to SMALL: a sorted list. */
static const tn_key_item *select_few(const uint64_t *keys, int64_t n, int64_t k, bool sorted, tn_key_item *list) {
    int64_t held = 0;
    for (int64_t i = 0; i < n; i++) {
        if (held == k && keys[i] >= list[k - 1].key) continue;
        int64_t j = held < k ? held++ : k - 1;
        for (; j > 0 && keys[i] < list[j - 1].key; j--) list[j] = list[j - 1];
        list[j] = (tn_key_item){.key = keys[i], .index = i};
    }
    for (int64_t i = 1; !sorted && i < k; i++) {
        tn_key_item it = list[i];
        int64_t j = i;
        for (; j > 0 && it.index < list[j - 1].index; j--) list[j] = list[j - 1];
        list[j] = it;
    }
    return list;
}

const tn_key_item *tn_keys_first(const uint64_t *keys, int64_t n, int64_t k, bool sorted, tn_key_item *scratch) {
    int64_t cap = room(n, k), held = 0;
    if (k <= SMALL) return select_few(keys, n, k, sorted, scratch);
    uint64_t limit = UINT64_MAX;
    bool limited = false;
    for (int64_t i = 0; i < n; i++) {
        if (limited && keys[i] >= limit) continue;
        scratch[held++] = (tn_key_item){.key = keys[i], .index = i};
        if (held < cap || i + 1 == n) continue;
        limit = keep_first(scratch, held, k);
        limited = true;
        held = k;
    }
    if (held > k) keep_first(scratch, held, k);
    if (sorted) tn_keys_sort(scratch, k, scratch + cap);
    return scratch;
}
