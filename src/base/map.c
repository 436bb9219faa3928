/* Hash and hash map (open addressing, linear probing, at most 3/4 full). The map's hash has a random seed per process:
 * names come out of files, and nobody should be able to choose names that all collide. */
#include "base/base.h"

#include <stdatomic.h>
#include <sys/random.h>

struct tn_map_entry {
    tn_str key;
    void *value;
    uint64_t hash; // 0: free
};

__extension__ typedef unsigned __int128 u128;

static uint64_t mix(uint64_t a, uint64_t b) {
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

// Odd constants with about half of their bits set: digits of sqrt(2), sqrt(3), sqrt(5).
static const uint64_t K0 = 0x6a09e667f3bcc909u, K1 = 0xbb67ae8584caa73bu, K2 = 0x3c6ef372fe94f82bu;

// Long inputs, 64 bytes at a time: four products that do not wait for each other.
static uint64_t mix_lanes(const uint8_t **data, size_t *left, uint64_t state, uint64_t seed) {
    uint64_t a = state, b = state ^ K0, c = state ^ K1, d = state ^ K2;
    const uint8_t *p = *data;
    size_t n = *left;
    for (; n > 64; n -= 64, p += 64) {
        a = mix(load(p, 8) ^ K1 ^ a, load(p + 8, 8) ^ K2 ^ seed);
        b = mix(load(p + 16, 8) ^ K1 ^ b, load(p + 24, 8) ^ K2 ^ seed);
        c = mix(load(p + 32, 8) ^ K1 ^ c, load(p + 40, 8) ^ K2 ^ seed);
        d = mix(load(p + 48, 8) ^ K1 ^ d, load(p + 56, 8) ^ K2 ^ seed);
    }
    *data = p;
    *left = n;
    return mix(mix(a ^ K0, b ^ K1) ^ K2, mix(c ^ K1, d ^ K2) ^ K0);
}

uint64_t tn_hash(const void *data, size_t n, uint64_t seed) {
    const uint8_t *p = data;
    uint64_t state = mix(seed ^ K0, K1 ^ (uint64_t)n);
    size_t left = n;
    if (left > 256) state = mix_lanes(&p, &left, state, seed);
    for (; left > 16; left -= 16, p += 16) state = mix(load(p, 8) ^ K1 ^ state, load(p + 8, 8) ^ K2 ^ seed);
    uint64_t a = left > 8 ? load(p, 8) : left ? load(p, left) : 0;
    uint64_t b = left > 8 ? load(p + 8, left - 8) : 0;
    state = mix(a ^ K1 ^ state, b ^ K2 ^ seed);
    return mix(state ^ K0, K2 ^ (uint64_t)n);
}

static uint64_t process_seed(void) {
    static atomic_uint_least64_t seed;
    uint64_t value = atomic_load_explicit(&seed, memory_order_relaxed);
    if (value) return value;
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != (ssize_t)sizeof value)
        value = tn_clock_ns() * K0 ^ (uint64_t)(uintptr_t)&seed;
    value |= 1;
    uint64_t expected = 0; // another thread may have been first
    return atomic_compare_exchange_strong(&seed, &expected, value) ? value : expected;
}

static uint64_t key_hash(tn_str key) {
    uint64_t hash = tn_hash(key.data, key.len, process_seed());
    return hash ? hash : 1;
}

// The entry of the key, or the free one where it belongs. The map must have a free entry.
static struct tn_map_entry *find(const tn_map *map, tn_str key, uint64_t hash) {
    size_t i = (size_t)hash & (map->cap - 1);
    while (map->entries[i].hash && !(map->entries[i].hash == hash && tn_str_eq(map->entries[i].key, key)))
        i = (i + 1) & (map->cap - 1);
    return &map->entries[i];
}

void tn_map_release(tn_map *map) {
    tn_free(map->entries);
    *map = (tn_map){0};
}

void *tn_map_get(const tn_map *map, tn_str key) {
    if (map->count == 0) return NULL;
    struct tn_map_entry *entry = find(map, key, key_hash(key));
    return entry->hash ? entry->value : NULL;
}

static bool resize(tn_map *map, size_t cap) {
    tn_map bigger = {tn_calloc(cap, sizeof *bigger.entries), map->count, cap};
    if (!bigger.entries) return false;
    for (size_t i = 0; i < map->cap; i++) {
        const struct tn_map_entry *entry = &map->entries[i];
        if (entry->hash) *find(&bigger, entry->key, entry->hash) = *entry;
    }
    tn_free(map->entries);
    *map = bigger;
    return true;
}

bool tn_map_put(tn_map *map, tn_str key, void *value) {
    if (map->count >= map->cap / 4 * 3 && !resize(map, map->cap ? map->cap * 2 : 16)) return false;
    uint64_t hash = key_hash(key);
    struct tn_map_entry *entry = find(map, key, hash);
    if (!entry->hash) {
        map->count++;
        entry->key = key;
        entry->hash = hash;
    }
    entry->value = value;
    return true;
}
