/* The allocator hook and the counters. Every allocation of the library goes through this file. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SMALL_ALIGN = 16 };

// Above 1 TiB a size is taken for a computation gone wrong: there is no memory. AddressSanitizer would abort there.
static const size_t MAX_BYTES = ((size_t)1 << 40) - ((size_t)1 << 20);

static void *system_alloc(void *context, size_t size, size_t align) {
    (void)context;
    if (align <= SMALL_ALIGN) return malloc(size);
    void *ptr = NULL;
    return posix_memalign(&ptr, align, size) == 0 ? ptr : NULL;
}

static void system_free(void *context, void *ptr) {
    (void)context;
    free(ptr);
}

static const tern_allocator system_allocator = {system_alloc, system_free, NULL};
// Process-wide by contract; set before the first allocation, so reading it needs no lock.
static tern_allocator hook = {system_alloc, system_free, NULL};
static atomic_size_t live, total;

void tn_alloc_set_hook(const tern_allocator *allocator) { hook = allocator ? *allocator : system_allocator; }

size_t tn_alloc_live(void) { return atomic_load_explicit(&live, memory_order_relaxed); }
size_t tn_alloc_total(void) { return atomic_load_explicit(&total, memory_order_relaxed); }

static void *counted(void *ptr) {
    if (ptr) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&total, 1, memory_order_relaxed);
    }
    return ptr;
}

/* Asks the system for large pages where they fit in: they save faults and TLB misses. */
static void *advised(void *data, size_t bytes) {
    uintptr_t page = (uintptr_t)2 << 20, begin = ((uintptr_t)data + page - 1) / page * page,
              end = ((uintptr_t)data + bytes) / page * page;
#ifdef MADV_HUGEPAGE
    if (data && bytes >= 2 * page && end > begin) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
    return data;
}

void *tn_alloc_aligned(size_t bytes, size_t align) {
    if (bytes > MAX_BYTES) return NULL;
    return advised(counted(hook.alloc(hook.context, bytes ? bytes : 1, align)), bytes);
}

void *tn_alloc(size_t bytes) { return tn_alloc_aligned(bytes, SMALL_ALIGN); }

void *tn_alloc_array(size_t count, size_t size) {
    size_t bytes;
    return tn_mul_size(count, size, &bytes) ? tn_alloc(bytes) : NULL;
}

void *tn_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!tn_mul_size(count, size, &bytes) || bytes > MAX_BYTES) return NULL;
    // The system clears large blocks lazily.
    if (hook.alloc == system_alloc) return counted(calloc(1, bytes ? bytes : 1));
    void *ptr = tn_alloc(bytes);
    if (ptr) memset(ptr, 0, bytes);
    return ptr;
}

char *tn_strndup(const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *copy = tn_alloc(n + 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *tn_strdup(const char *s) { return tn_strndup(s, strlen(s)); }

void tn_free(void *ptr) {
    if (!ptr) return;
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    hook.free(hook.context, ptr);
}

bool tn_grow(void *array_pointer, size_t *cap, size_t need, size_t element_size) {
    if (need <= *cap) return true;
    size_t more = *cap > SIZE_MAX / 2 ? SIZE_MAX : *cap * 2;
    more = TN_MAX(TN_MAX(more, need), 8);
    void *bigger = tn_alloc_array(more, element_size);
    if (!bigger && more > need) { // doubling may be too much where the need alone still fits
        more = need;
        bigger = tn_alloc_array(more, element_size);
    }
    if (!bigger) return false;
    void *array;
    memcpy(&array, array_pointer, sizeof array);
    if (*cap) memcpy(bigger, array, *cap * element_size);
    tn_free(array);
    memcpy(array_pointer, &bigger, sizeof bigger);
    *cap = more;
    return true;
}
