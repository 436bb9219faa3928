/* Process-wide hooks: allocation and logging. Set them before any other call of the library. */
#ifndef TERN_LOG_H
#define TERN_LOG_H

#include <stddef.h>

#include "tern/export.h"

typedef enum tern_log_level { TERN_LOG_ERROR = 0, TERN_LOG_WARNING, TERN_LOG_INFO, TERN_LOG_DEBUG } tern_log_level;

/* Receives one line of UTF-8 without a newline. May be called from any thread, also from two at once. */
typedef void (*tern_log_fn)(void *context, tern_log_level level, const char *line);

typedef struct tern_allocator {
    /* `size` > 0 bytes, aligned to `align` (a power of two); NULL when there are none. Any thread. */
    void *(*alloc)(void *context, size_t size, size_t align);
    /* `ptr` came from alloc (never NULL). Any thread. */
    void (*free)(void *context, void *ptr);
    void *context;
} tern_allocator;

TERN_BEGIN_DECLS

/* Sends the library's messages up to `level` to `fn`; NULL silences it, which is the default. */
TERN_API void tern_set_log(tern_log_fn fn, void *context, tern_log_level level);

/* Replaces malloc; NULL restores it. The struct is copied. Call it before the library has allocated anything. */
TERN_API void tern_set_allocator(const tern_allocator *allocator);

TERN_END_DECLS
#endif
