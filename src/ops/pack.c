#include "ops/ops.h"

/* Packed weights, keyed by the constant they come from and a number that tells packings apart. They live as long as
 * the session: plans of several input shapes share them. */
typedef struct pack {
    const tern_tensor *value;
    uint64_t key;
    size_t bytes;
    void *data;
    bool borrowed; /* in a compiled model's file */
} pack;

struct tn_pack_cache {
    tn_mutex mutex;
    pack *packs;
    size_t count, cap, bytes;
    const tern_model *source; /* whose files hold the constants, or NULL */
};

tn_pack_cache *tn_pack_cache_new(const tern_model *source) {
    tn_pack_cache *c = tn_calloc(1, sizeof *c);
    if (c) c->source = source;
    if (c && !tn_mutex_init(&c->mutex)) {
        tn_free(c);
        return NULL;
    }
    return c;
}

void tn_pack_cache_free(tn_pack_cache *c) {
    if (!c) return;
    for (size_t i = 0; i < c->count; i++)
        if (!c->packs[i].borrowed) tn_free(c->packs[i].data);
    tn_free(c->packs);
    tn_mutex_release(&c->mutex);
    tn_free(c);
}

size_t tn_pack_cache_bytes(tn_pack_cache *c) {
    tn_mutex_lock(&c->mutex);
    size_t n = c->bytes;
    tn_mutex_unlock(&c->mutex);
    return n;
}

bool tn_pack_cache_add(tn_pack_cache *c, const tern_tensor *value, uint64_t key, size_t bytes, const void *data) {
    tn_mutex_lock(&c->mutex);
    bool room = tn_grow(&c->packs, &c->cap, c->count + 1, sizeof *c->packs);
    if (room) c->packs[c->count++] = (pack){value, key, bytes, (void *)(uintptr_t)data, true};
    if (room) c->bytes += bytes;
    tn_mutex_unlock(&c->mutex);
    return room;
}

size_t tn_pack_cache_count(tn_pack_cache *c) {
    tn_mutex_lock(&c->mutex);
    size_t n = c->count;
    tn_mutex_unlock(&c->mutex);
    return n;
}

void tn_pack_cache_item(tn_pack_cache *c, size_t i, const tern_tensor **value, uint64_t *key, size_t *bytes,
                        const void **data) {
    tn_mutex_lock(&c->mutex);
    *value = c->packs[i].value;
    *key = c->packs[i].key;
    *bytes = c->packs[i].bytes;
    *data = c->packs[i].data;
    tn_mutex_unlock(&c->mutex);
}

/* The packed form is what runs read from here on: pages of the original need not stay in memory. */
static void evict(const tn_pack_cache *c, const tern_tensor *value) {
    enum { WORTH_A_CALL = 64 * 1024 };
    size_t bytes = tn_tensor_bytes(value);
    for (size_t i = 0; c->source && bytes >= WORTH_A_CALL && i < c->source->n_files; i++)
        tn_file_evict(&c->source->files[i], value->data, bytes);
}

static const void *find_or_make(tn_pack_cache *c, const tern_tensor *value, uint64_t key, size_t bytes, tn_pack_fn fn,
                                const void *context) {
    for (size_t i = 0; i < c->count; i++)
        if (c->packs[i].value == value && c->packs[i].key == key && c->packs[i].bytes == bytes) return c->packs[i].data;
    if (!tn_grow(&c->packs, &c->cap, c->count + 1, sizeof *c->packs)) return NULL;
    void *data = tn_alloc_aligned(bytes ? bytes : 1, TN_CACHE_LINE);
    if (!data) return NULL;
    fn(context, value, data);
    evict(c, value);
    c->packs[c->count++] = (pack){value, key, bytes, data, false};
    c->bytes += bytes;
    return data;
}

const void *tn_pack_get(tn_prepare *p, int i, uint64_t key, size_t bytes, tn_pack_fn fn, const void *context) {
    const tern_tensor *value = p->value[i];
    void *data;
    if (!p->packs) { /* a single evaluation: nothing to share */
        size_t padded;
        char *raw = tn_add_size(bytes, TN_CACHE_LINE, &padded) ? tn_arena_alloc(p->arena, padded) : NULL;
        data = raw ? raw + (-(uintptr_t)raw & (TN_CACHE_LINE - 1)) : NULL;
        if (data) fn(context, value, data);
    } else {
        tn_mutex_lock(&p->packs->mutex);
        data = (void *)(uintptr_t)find_or_make(p->packs, value, key, bytes, fn, context);
        tn_mutex_unlock(&p->packs->mutex);
    }
    if (!data) tn_fail_oom(p->err, bytes);
    return data;
}

void *tn_prepare_state(tn_prepare *c, size_t bytes) {
    void *s = tn_arena_alloc(c->arena, bytes);
    if (!s) tn_fail_oom(c->err, bytes);
    c->state = s;
    return s;
}
