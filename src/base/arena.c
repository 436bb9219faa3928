/* Arena: blocks of growing size, each one allocation; objects are cut off the newest block. Under AddressSanitizer
 * a gap of poisoned bytes follows every object, so that an overrun inside a block is found as well. */
#include "base/base.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(ARENA_ASAN)
#define ARENA_ASAN 1
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { GAP = 16 };
static void poison(const void *ptr, size_t n) { ASAN_POISON_MEMORY_REGION(ptr, n); }
static void unpoison(const void *ptr, size_t n) { ASAN_UNPOISON_MEMORY_REGION(ptr, n); }
#else
enum { GAP = 0 };
static void poison(const void *ptr, size_t n) { (void)ptr, (void)n; }
static void unpoison(const void *ptr, size_t n) { (void)ptr, (void)n; }
#endif

enum { ALIGN = 16, FIRST_BLOCK = 4096 - 64, LAST_BLOCK = 1 << 20 };

struct tn_arena_block {
    struct tn_arena_block *next;
    size_t used, size; // bytes after the header
    size_t padding;    // keeps the objects aligned to 16
};

void tn_arena_init(tn_arena *arena, size_t limit) { *arena = (tn_arena){.limit = limit}; }

void tn_arena_release(tn_arena *arena) {
    for (struct tn_arena_block *block = arena->head, *next; block; block = next) {
        next = block->next;
        unpoison(block + 1, block->size);
        tn_free(block);
    }
    arena->head = NULL;
    arena->used = 0;
}

static struct tn_arena_block *add_block(tn_arena *arena, size_t need) {
    struct tn_arena_block *head = arena->head;
    size_t size = head ? TN_MIN(head->size * 2, (size_t)LAST_BLOCK) : FIRST_BLOCK;
    size = TN_MAX(size, need);
    if (size > SIZE_MAX - sizeof *head) return NULL;
    struct tn_arena_block *block = tn_calloc(1, sizeof *block + size);
    if (!block) return NULL;
    block->size = size;
    poison(block + 1, size);
    // An object of its own block must not end the use of a block that still has room.
    if (head && need > LAST_BLOCK / 4 && head->size - head->used > need / 64) {
        block->next = head->next;
        head->next = block;
    } else {
        block->next = head;
        arena->head = block;
    }
    return block;
}

void *tn_arena_alloc(tn_arena *arena, size_t bytes) {
    if (bytes > PTRDIFF_MAX) return NULL;
    size_t need = (bytes + (ALIGN - 1)) / ALIGN * ALIGN;
    need = TN_MAX(need, (size_t)ALIGN) + GAP;
    size_t used;
    if (!tn_add_size(arena->used, need, &used) || (arena->limit && used > arena->limit)) return NULL;
    struct tn_arena_block *block = arena->head;
    if (!block || block->size - block->used < need) {
        block = add_block(arena, need);
        if (!block) return NULL;
    }
    void *ptr = (uint8_t *)(block + 1) + block->used;
    block->used += need;
    arena->used = used;
    unpoison(ptr, bytes);
    return ptr;
}

void *tn_arena_array(tn_arena *arena, size_t count, size_t size) {
    size_t bytes;
    return tn_mul_size(count, size, &bytes) ? tn_arena_alloc(arena, bytes) : NULL;
}

char *tn_arena_strndup(tn_arena *arena, const char *s, size_t n) {
    char *copy = n < PTRDIFF_MAX ? tn_arena_alloc(arena, n + 1) : NULL;
    if (copy && n) memcpy(copy, s, n);
    return copy;
}
