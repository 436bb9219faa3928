/* Characters of UTF-8 text. */
#ifndef TN_OPS_UNICODE_H
#define TN_OPS_UNICODE_H

#include "base/base.h"

/* Reads one character; bytes that are not UTF-8 count as one character each (0x110000 + byte), so that text goes
 * through unchanged. `n` > 0; returns its length in bytes. */
size_t tn_unicode_read(const char *s, size_t n, uint32_t *out);
/* Writes up to 4 bytes; returns how many. */
size_t tn_unicode_write(uint32_t c, char *out);
/* Simple mapping, one character to one, the same in every locale. */
uint32_t tn_unicode_lower(uint32_t c);
uint32_t tn_unicode_upper(uint32_t c);
/* Calls fn for the ranges of characters of a class, ascending: a general category ("Lu", "L": all that begin so), a
 * script ("Greek") or "Any". What is not assigned is in no category, as in RE2. False, without a call, when there is no
 * class of that name. fn returns false to stop. */
bool tn_unicode_class(tn_str name, bool (*fn)(void *context, uint32_t first, uint32_t last), void *context);

#endif
