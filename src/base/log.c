/* The log hook. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdio.h>

// Process-wide by contract. The level is written last and read first: a reader that sees it sees the hook, too.
static struct {
    tern_log_fn fn;
    void *context;
    atomic_int level; // -1: silent
} hook = {.level = -1};

void tn_log_set_hook(tern_log_fn fn, void *context, tern_log_level level) {
    atomic_store_explicit(&hook.level, -1, memory_order_release);
    hook.fn = fn;
    hook.context = context;
    if (fn) atomic_store_explicit(&hook.level, (int)level, memory_order_release);
}

bool tn_log_enabled(tern_log_level level) {
    return (int)level <= atomic_load_explicit(&hook.level, memory_order_acquire);
}

void tn_log(tern_log_level level, const char *format, ...) {
    if (!tn_log_enabled(level)) return;
    char line[1200];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0) return;
    tn_utf8_clean_line(line);
    hook.fn(hook.context, level, line);
}
