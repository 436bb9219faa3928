/* L0: what everything else stands on. Nothing here knows of tensors, graphs or ONNX. */
#ifndef TN_BASE_H
#define TN_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tern/log.h"
#include "tern/status.h"

/* ---- compiler ---------------------------------------------------------------------------------------------- */

#define TN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define TN_INLINE            static inline __attribute__((always_inline))
#define TN_LIKELY(x)         __builtin_expect(!!(x), 1)
#define TN_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define TN_COUNT(array)      (sizeof(array) / sizeof((array)[0]))
#define TN_MIN(a, b)         ((a) < (b) ? (a) : (b))
#define TN_MAX(a, b)         ((a) > (b) ? (a) : (b))
#define TN_CACHE_LINE        64

/* ---- errors ------------------------------------------------------------------------------------------------ */

/* Writes status and text to `err` (may be NULL) and returns `status`: `return tn_fail(err, TERN_IO, "...")`. */
tern_status tn_fail(tern_error *err, tern_status status, const char *format, ...) TN_PRINTF(3, 4);
tern_status tn_fail_oom(tern_error *err, size_t bytes);
/* Puts context before the text already in `err`; the caller that knows the file or the node adds it on the way up. */
void tn_error_prefix(tern_error *err, const char *format, ...) TN_PRINTF(2, 3);

/* What is behind tern_status_name and tern_status_message. */
const char *tn_status_name(tern_status status);
const char *tn_status_message(tern_status status);

/* Returns from the calling function when `expr` is not TERN_OK. */
#define TN_TRY(expr)                                                       \
    do {                                                                   \
        tern_status tn_try_status_ = (expr);                               \
        if (TN_UNLIKELY(tn_try_status_ != TERN_OK)) return tn_try_status_; \
    } while (0)

/* ---- memory ------------------------------------------------------------------------------------------------ */

/* All return NULL when there is no memory or the size overflows; size 0 gives a unique pointer. */
void *tn_alloc(size_t bytes);                       /* aligned to 16, not cleared */
void *tn_alloc_aligned(size_t bytes, size_t align); /* not cleared */
void *tn_calloc(size_t count, size_t size);         /* cleared */
void *tn_alloc_array(size_t count, size_t size);    /* not cleared */
char *tn_strdup(const char *s);
char *tn_strndup(const char *s, size_t n);
void tn_free(void *ptr); /* NULL is fine */
/* Number of live allocations and of allocations made so far; what the no-allocation and leak tests look at. */
size_t tn_alloc_live(void);
size_t tn_alloc_total(void);
/* NULL restores malloc; see tern_set_allocator. */
void tn_alloc_set_hook(const tern_allocator *allocator);

/* Makes room for at least `need` elements in *array (capacity *cap); doubles. False when there is no memory. */
bool tn_grow(void *array_pointer, size_t *cap, size_t need, size_t element_size);

/* False on overflow. */
TN_INLINE bool tn_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
TN_INLINE bool tn_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
TN_INLINE bool tn_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
TN_INLINE bool tn_add_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
TN_INLINE int64_t tn_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
TN_INLINE int64_t tn_round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

/* Arena: many small objects freed together. Not thread-safe. */
typedef struct tn_arena {
    struct tn_arena_block *head;
    size_t used;  /* bytes handed out */
    size_t limit; /* 0 = none */
} tn_arena;

void tn_arena_init(tn_arena *arena, size_t limit);
void tn_arena_release(tn_arena *arena);
void *tn_arena_alloc(tn_arena *arena, size_t bytes);              /* cleared, aligned to 16; NULL: no memory */
void *tn_arena_array(tn_arena *arena, size_t count, size_t size); /* cleared */
char *tn_arena_strndup(tn_arena *arena, const char *s, size_t n);

/* ---- strings ----------------------------------------------------------------------------------------------- */

/* A byte string that is owned elsewhere; may hold any byte, is not terminated. */
typedef struct tn_str {
    const char *data;
    size_t len;
} tn_str;

TN_INLINE tn_str tn_str_c(const char *s) { return (tn_str){s, s ? strlen(s) : 0}; }
TN_INLINE bool tn_str_eq(tn_str a, tn_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
bool tn_utf8_valid(const char *s, size_t n);
/* Length of the valid UTF-8 character at the start of s[0, n); 0 when there is none. */
size_t tn_utf8_length(const char *s, size_t n);
/* Makes terminated text fit for one line of UTF-8: control characters and bytes that are not UTF-8 become '?'. */
void tn_utf8_clean_line(char *s);
uint64_t tn_hash(const void *data, size_t n, uint64_t seed); /* not cryptographic */

/* Growing text. `failed` is sticky: check it once at the end. Always terminated. */
typedef struct tn_text {
    char *data;
    size_t len, cap;
    bool failed;
} tn_text;

void tn_text_init(tn_text *t);
void tn_text_release(tn_text *t);
void tn_text_add(tn_text *t, const char *format, ...) TN_PRINTF(2, 3);
void tn_text_add_str(tn_text *t, const char *s, size_t n);
/* Room for n more bytes and the terminator, for the caller to write at data + len; false, and failed, without memory.
 */
bool tn_text_reserve(tn_text *t, size_t n);

/* Hash map from string to pointer; keys are borrowed and must outlive the map. Zero-initialised is empty. */
typedef struct tn_map {
    struct tn_map_entry *entries;
    size_t count, cap;
} tn_map;

void tn_map_release(tn_map *map);
void *tn_map_get(const tn_map *map, tn_str key);       /* NULL when absent */
bool tn_map_put(tn_map *map, tn_str key, void *value); /* replaces; false: no memory */

/* ---- small floats ------------------------------------------------------------------------------------------ */

/* Bits to float and back, round to nearest even. ONNX's names; `saturate` as in the Cast operator. */
float tn_f16_to_f32(uint16_t h);
uint16_t tn_f32_to_f16(float f);
float tn_bf16_to_f32(uint16_t h);
uint16_t tn_f32_to_bf16(float f);
float tn_f8e4m3fn_to_f32(uint8_t b);
float tn_f8e4m3fnuz_to_f32(uint8_t b);
float tn_f8e5m2_to_f32(uint8_t b);
float tn_f8e5m2fnuz_to_f32(uint8_t b);
float tn_f8e8m0_to_f32(uint8_t b);
float tn_f4e2m1_to_f32(uint8_t b); /* the low four bits */
uint8_t tn_f32_to_f8e4m3fn(float f, bool saturate);
uint8_t tn_f32_to_f8e4m3fnuz(float f, bool saturate);
uint8_t tn_f32_to_f8e5m2(float f, bool saturate);
uint8_t tn_f32_to_f8e5m2fnuz(float f, bool saturate);
/* round_mode: 'u' up, 'd' down, 'n' nearest (Cast-24's attribute). */
uint8_t tn_f32_to_f8e8m0(float f, bool saturate, char round_mode);
uint8_t tn_f32_to_f4e2m1(float f);
/* Arrays; vectorised where the CPU can. */
void tn_f16_to_f32_n(const uint16_t *src, float *dst, size_t n);
void tn_f32_to_f16_n(const float *src, uint16_t *dst, size_t n);
void tn_bf16_to_f32_n(const uint16_t *src, float *dst, size_t n);
void tn_f32_to_bf16_n(const float *src, uint16_t *dst, size_t n);

/* ---- files and time ---------------------------------------------------------------------------------------- */

/* A whole file, mapped read-only. */
typedef struct tn_file {
    const uint8_t *data;
    size_t size;
} tn_file;

tern_status tn_file_map(tn_file *file, const char *path, tern_error *err);
void tn_file_unmap(tn_file *file);
/* The bytes stay readable but leave memory until then; nothing when they are not of this file. */
void tn_file_evict(const tn_file *file, const void *data, size_t size);
/* Writes beside `path` under a temporary name, then renames: never half a file. */
tern_status tn_file_write(const char *path, const void *data, size_t size, tern_error *err);
/* The same for a file in several parts. */
tern_status tn_file_write_parts(const char *path, const tn_str *parts, size_t count, tern_error *err);
/* Monotonic nanoseconds. */
uint64_t tn_clock_ns(void);
/* Bytes of memory of the machine, or of the control group where that has less; SIZE_MAX: not known. */
size_t tn_memory_total(void);

/* ---- log --------------------------------------------------------------------------------------------------- */

/* See tern_set_log. */
void tn_log_set_hook(tern_log_fn fn, void *context, tern_log_level level);
bool tn_log_enabled(tern_log_level level);
void tn_log(tern_log_level level, const char *format, ...) TN_PRINTF(2, 3);

#endif
