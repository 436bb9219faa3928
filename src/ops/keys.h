/* Numbers in order of 64-bit keys, in linear time: for TopK and Unique. */
#ifndef TN_OPS_KEYS_H
#define TN_OPS_KEYS_H

#include "base/base.h"

typedef struct tn_key_item {
    union {
        uint64_t key;
        const void *of; /* Unique: what other elements are compared by */
    };
    int64_t index;
} tn_key_item;

/* Items that tn_keys_first needs as scratch memory; 0 < k <= n. */
int64_t tn_keys_scratch(int64_t n, int64_t k);
/* The k smallest of n keys, of equal ones those with the smaller index: ordered by (key, index), or by index when not
 * `sorted`. They lie in the scratch memory. */
const tn_key_item *tn_keys_first(const uint64_t *keys, int64_t n, int64_t k, bool sorted, tn_key_item *scratch);
/* By key; equal keys keep their order. A pass for each byte in which the keys differ, least significant first (Knuth,
 * The Art of Computer Programming 3, 5.2.5). `spare`: n items, too. The result lies in items. */
void tn_keys_sort(tn_key_item *items, int64_t n, tn_key_item *spare);

#endif
