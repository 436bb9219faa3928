/* UTF-8 and growing text. */
#include "base/base.h"

#include <stdio.h>

size_t tn_utf8_length(const char *s, size_t n) {
    if (n == 0) return 0;
    const uint8_t *b = (const uint8_t *)s;
    if (b[0] < 0x80) return 1;
    // Lead bytes C2..F4; the second byte's range excludes overlong forms, surrogates and what is above U+10FFFF.
    size_t length = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4 || n < length) return 0;
    uint8_t low = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;
    if (b[1] < low || b[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((b[i] & 0xc0) != 0x80) return 0;
    return length;
}

bool tn_utf8_valid(const char *s, size_t n) {
    for (size_t i = 0, length; i < n; i += length) {
        length = tn_utf8_length(s + i, n - i);
        if (length == 0) return false;
    }
    return true;
}

void tn_utf8_clean_line(char *s) {
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        size_t length = tn_utf8_length(s + i, n - i);
        bool control =
            (uint8_t)s[i] < 0x20 || s[i] == 0x7f || (length == 2 && (uint8_t)s[i] == 0xc2 && (uint8_t)s[i + 1] < 0xa0);
        if (length == 0 || control) {
            length = TN_MAX(length, (size_t)1);
            memset(s + i, '?', length);
        }
        i += length;
    }
}

static char empty_text[1];

void tn_text_init(tn_text *t) { *t = (tn_text){.data = empty_text}; }

void tn_text_release(tn_text *t) {
    if (t->cap) tn_free(t->data);
    tn_text_init(t);
}

bool tn_text_reserve(tn_text *t, size_t n) {
    size_t need;
    if (!t->cap) t->data = NULL; // the shared empty text is not ours to grow
    if (!t->failed &&
        (!tn_add_size(t->len, n, &need) || !tn_add_size(need, 1, &need) || !tn_grow(&t->data, &t->cap, need, 1)))
        t->failed = true;
    if (!t->data) t->data = empty_text;
    return !t->failed;
}

void tn_text_add_str(tn_text *t, const char *s, size_t n) {
    if (!tn_text_reserve(t, n)) return;
    if (n) memcpy(t->data + t->len, s, n);
    t->len += n;
    t->data[t->len] = 0;
}

void tn_text_add(tn_text *t, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) t->failed = true;
    if (n >= 0 && tn_text_reserve(t, (size_t)n)) {
        vsnprintf(t->data + t->len, (size_t)n + 1, format, again);
        t->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}
