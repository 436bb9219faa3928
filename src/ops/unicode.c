#include "ops/unicode.h"

typedef struct case_range {
    uint32_t first, last;
    int32_t step, distance;
} case_range;

#define CASE(FIRST, LAST, STEP, DISTANCE) {FIRST, LAST, STEP, DISTANCE},
static const case_range upper_ranges[] = {
#define TN_CASE_UPPER
#include "ops/unicode_case.inc"
#undef TN_CASE_UPPER
};
static const case_range lower_ranges[] = {
#define TN_CASE_LOWER
#include "ops/unicode_case.inc"
#undef TN_CASE_LOWER
};
#undef CASE

static uint32_t map_case(const case_range *ranges, size_t n, uint32_t c) {
    size_t low = 0, high = n;
    while (low < high) { /* the first range that does not end before c */
        size_t mid = low + (high - low) / 2;
        if (ranges[mid].last < c)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == n || c < ranges[low].first || (c - ranges[low].first) % (uint32_t)ranges[low].step) return c;
    return (uint32_t)((int64_t)c + ranges[low].distance);
}

uint32_t tn_unicode_lower(uint32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return map_case(lower_ranges, TN_COUNT(lower_ranges), c);
}

uint32_t tn_unicode_upper(uint32_t c) {
    if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
    return map_case(upper_ranges, TN_COUNT(upper_ranges), c);
}

size_t tn_unicode_read(const char *s, size_t n, uint32_t *out) {
    const uint8_t *b = (const uint8_t *)s;
    size_t len = tn_utf8_length(s, n);
    if (len == 2)
        *out = (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
    else if (len == 3)
        *out = (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
    else if (len == 4)
        *out = (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 | (uint32_t)(b[2] & 0x3f) << 6 |
               (b[3] & 0x3f);
    else
        *out = len == 1 ? b[0] : 0x110000u + b[0];
    return len ? len : 1;
}

size_t tn_unicode_write(uint32_t c, char *out) {
    if (c < 0x80 || c >= 0x110000) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    size_t n = c < 0x10000 ? 3 : 4, at = 0;
    out[at++] = (char)(n == 3 ? 0xe0 | c >> 12 : 0xf0 | c >> 18);
    if (n == 4) out[at++] = (char)(0x80 | (c >> 12 & 0x3f));
    out[at++] = (char)(0x80 | (c >> 6 & 0x3f));
    out[at] = (char)(0x80 | (c & 0x3f));
    return n;
}
