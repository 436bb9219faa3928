#include "ops/ops.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Packed weights, keyed by the constant they come from and a number that tells packings apart. They live as long as
 * the session: plans of several input shapes share them. */
typedef struct pack {
    const tern_tensor *value;
    uint64_t key;
    size_t bytes;
    void *data;
    /* How to make it; NULL: made. The context is a copy in the cache's arena. */
    tn_pack_fn fn;
    const void *context;
    bool compiled; /* comes with a compiled model */
} pack;

/* Memory for packed forms comes in pieces; where there is much of it, in such that consist of large pages. What is not
 * used of a piece is never touched, and takes no memory. */
enum { SMALL_SLAB = 256 * 1024, LARGE_SLAB = 16 << 20, LARGE_PAGE = 2 << 20 };

struct tn_pack_cache {
    tn_mutex mutex;
    pack *packs;
    size_t count, cap, bytes;
    const tern_model *source; /* whose files hold the constants, or NULL */
    void **slabs;
    size_t n_slabs, cap_slabs, slab_used, slab_size; /* of the last slab */
    size_t n_later;                                  /* packs that are not made yet */
    tn_arena contexts;
};

tn_pack_cache *tn_pack_cache_new(const tern_model *source) {
    tn_pack_cache *c = tn_calloc(1, sizeof *c);
    if (!c) return NULL;
    c->source = source;
    tn_arena_init(&c->contexts, 0);
    if (!tn_mutex_init(&c->mutex)) {
        tn_free(c);
        return NULL;
    }
    return c;
}

void tn_pack_cache_free(tn_pack_cache *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_slabs; i++) tn_free(c->slabs[i]);
    tn_free(c->slabs);
    tn_free(c->packs);
    tn_arena_release(&c->contexts);
    tn_mutex_release(&c->mutex);
    tn_free(c);
}

static bool add_slab(tn_pack_cache *c, size_t size) {
    if (!tn_grow(&c->slabs, &c->cap_slabs, c->n_slabs + 1, sizeof *c->slabs)) return false;
    void *data = tn_alloc_aligned(size, size >= LARGE_PAGE ? LARGE_PAGE : TN_CACHE_LINE);
    if (!data) return false;
    c->slabs[c->n_slabs++] = data;
    c->slab_size = size;
    c->slab_used = 0;
    return true;
}

static void *alloc_pack(tn_pack_cache *c, size_t bytes) {
    size_t padded = (TN_MAX(bytes, (size_t)1) + TN_CACHE_LINE - 1) & ~(size_t)(TN_CACHE_LINE - 1);
    if (padded > c->slab_size - c->slab_used) {
        bool small = padded <= SMALL_SLAB && c->bytes < (size_t)4 * SMALL_SLAB;
        size_t size =
            small ? SMALL_SLAB : TN_MAX((padded + LARGE_PAGE - 1) & ~(size_t)(LARGE_PAGE - 1), (size_t)LARGE_SLAB);
        if (!add_slab(c, size)) return NULL;
    }
    void *data = (char *)c->slabs[c->n_slabs - 1] + c->slab_used;
    c->slab_used += padded;
    return data;
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
    if (room) c->packs[c->count++] = (pack){value, key, bytes, (void *)(uintptr_t)data, NULL, NULL, true};
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

/* Packing functions read elements: what is unaligned in the file is copied into `stage` first, or, without one, into
 * memory of its own. False: no memory. */
static bool call(tn_pack_fn fn, const void *context, const tern_tensor *value, void *dst, void *stage) {
    tern_tensor aligned = *value;
    void *own = NULL;
    if (value->unaligned) {
        size_t bytes = tn_tensor_bytes(value);
        aligned.data = stage ? stage : (own = tn_alloc_aligned(bytes, TN_CACHE_LINE));
        if (!aligned.data) return false;
        memcpy(aligned.data, value->data, bytes);
        aligned.unaligned = false;
    }
    fn(context, &aligned, dst);
    tn_free(own);
    return true;
}

static bool make(tn_pack_cache *c, pack *p, void *stage) {
    if (p->fn && !call(p->fn, p->context, p->value, p->data, stage)) return false;
    if (p->fn) evict(c, p->value);
    p->fn = NULL;
    return true;
}

static pack *find(tn_pack_cache *c, const tern_tensor *value, uint64_t key, size_t bytes) {
    for (size_t i = 0; i < c->count; i++)
        if (c->packs[i].value == value && c->packs[i].key == key && c->packs[i].bytes == bytes) return &c->packs[i];
    return NULL;
}

static const void *find_or_make(tn_pack_cache *c, const pack *wanted, size_t context_size, bool later) {
    pack *p = find(c, wanted->value, wanted->key, wanted->bytes);
    if (!p) {
        if (!tn_grow(&c->packs, &c->cap, c->count + 1, sizeof *c->packs)) return NULL;
        p = &c->packs[c->count];
        *p = *wanted;
        void *copy = later ? tn_arena_alloc(&c->contexts, context_size) : NULL;
        p->data = alloc_pack(c, p->bytes);
        if (!p->data || (later && !copy)) return NULL;
        if (copy) p->context = memcpy(copy, wanted->context, context_size);
        if (!later && !make(c, p, NULL)) return NULL;
        c->bytes += p->bytes;
        c->count++;
        c->n_later += later;
        return p->data;
    }
    if (!p->fn) return p->data;
    if (!make(c, p, NULL)) return NULL;
    c->n_later--;
    return p->data;
}

static const void *get(tn_prepare *p, int i, const pack *wanted, size_t context_size, bool later) {
    const void *data = NULL;
    if (!p->packs) { /* a single evaluation: nothing to share */
        size_t padded;
        char *raw = tn_add_size(wanted->bytes, TN_CACHE_LINE, &padded) ? tn_arena_alloc(p->arena, padded) : NULL;
        char *dst = raw ? raw + (-(uintptr_t)raw & (TN_CACHE_LINE - 1)) : NULL;
        if (dst && call(wanted->fn, wanted->context, p->value[i], dst, NULL)) data = dst;
    } else {
        tn_pack_cache *c = p->packs;
        tern_status readable = TERN_OK;
        tn_mutex_lock(&c->mutex);
        if (c->source && c->source->check && !find(c, wanted->value, wanted->key, wanted->bytes))
            readable = tn_model_check(c->source, wanted->value, p->err);
        if (readable == TERN_OK) data = find_or_make(c, wanted, context_size, later);
        tn_mutex_unlock(&c->mutex);
        if (readable != TERN_OK) return NULL;
    }
    if (!data) tn_fail_oom(p->err, wanted->bytes);
    return data;
}

bool tn_pack_is_compiled(const tn_prepare *p, int i, uint64_t key, size_t bytes) {
    tn_pack_cache *c = p->packs;
    bool found = false;
    if (!c) return false;
    tn_mutex_lock(&c->mutex);
    for (size_t k = 0; k < c->count && !found; k++) {
        const pack *have = &c->packs[k];
        found = have->compiled && have->value == p->value[i] && have->key == key && have->bytes == bytes;
    }
    tn_mutex_unlock(&c->mutex);
    return found;
}

const void *tn_pack_get(tn_prepare *c, int i, uint64_t key, size_t bytes, tn_pack_fn fn, const void *context) {
    return get(c, i, &(pack){.value = c->value[i], .key = key, .bytes = bytes, .fn = fn, .context = context}, 0, false);
}

const void *tn_pack_later(tn_prepare *c, int i, uint64_t key, size_t bytes, tn_pack_fn fn, const void *context,
                          size_t context_size) {
    return get(c, i, &(pack){.value = c->value[i], .key = key, .bytes = bytes, .fn = fn, .context = context},
               context_size, c->packs_later);
}

/* ---- all that is left to make ------------------------------------------------------------------------------------ */

typedef struct making {
    tn_pack_cache *cache;
    pack **list; /* largest first */
    size_t count, stage_bytes;
    atomic_size_t next;
    atomic_bool failed;
} making;

/* A thread takes the next one when it is done: they differ a lot in size. What comes out does not depend on who. */
static void make_task(void *context, int64_t begin, int64_t end, int worker) {
    making *m = context;
    (void)begin, (void)end, (void)worker;
    void *stage = m->stage_bytes ? tn_alloc_aligned(m->stage_bytes, TN_CACHE_LINE) : NULL;
    if (m->stage_bytes && !stage) atomic_store(&m->failed, true);
    for (size_t i; (!m->stage_bytes || stage) && (i = atomic_fetch_add(&m->next, 1)) < m->count;)
        if (!make(m->cache, m->list[i], stage)) atomic_store(&m->failed, true);
    tn_free(stage);
}

static int larger_first(const void *a, const void *b) {
    const pack *x = *(pack *const *)a, *y = *(pack *const *)b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : x < y ? -1 : x > y;
}

static tern_status make_all(tn_pack_cache *c, int threads, tern_error *err) {
    enum { WORTH_THREADS = 2 << 20, HUGE_PACK = 32 << 20 };
    making m = {.cache = c, .list = tn_alloc_array(c->n_later, sizeof *m.list)};
    size_t bytes = 0;
    if (!m.list) return tn_fail_oom(err, c->n_later * sizeof *m.list);
    for (size_t i = 0; i < c->count; i++) {
        pack *p = &c->packs[i];
        if (!p->fn) continue;
        m.list[m.count++] = p;
        bytes += p->bytes;
        if (p->value->unaligned && p->bytes < HUGE_PACK)
            m.stage_bytes = TN_MAX(m.stage_bytes, tn_tensor_bytes(p->value));
    }
    qsort(m.list, m.count, sizeof *m.list, larger_first);
    /* The pages of a huge constant are to go before those of others come, so it is packed alone. */
    while (m.next < m.count && m.list[m.next]->bytes >= HUGE_PACK)
        if (!make(c, m.list[m.next++], NULL)) m.failed = true;
    int workers = bytes < WORTH_THREADS ? 1 : threads;
    tn_parallel_for(workers, TN_MAX(workers, 1), make_task, &m);
    tn_free(m.list);
    c->n_later = 0;
    if (!atomic_load(&m.failed)) return TERN_OK;
    return tn_fail_oom(err, m.stage_bytes);
}

tern_status tn_pack_cache_make(tn_pack_cache *c, int threads, tern_error *err) {
    tern_status s = TERN_OK;
    tn_mutex_lock(&c->mutex);
    if (c->n_later) s = make_all(c, threads, err);
    tn_mutex_unlock(&c->mutex);
    return s;
}

void *tn_prepare_state(tn_prepare *c, size_t bytes) {
    void *s = tn_arena_alloc(c->arena, bytes);
    if (!s) tn_fail_oom(c->err, bytes);
    c->state = s;
    return s;
}
