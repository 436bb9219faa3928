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

/* ---- classes --------------------------------------------------------------------------------------------------- */

#include "ops/unicode_class.inc"

enum { UNASSIGNED = (sizeof category_names - 1) / 2 - 1 };

/* Bit k: the category of number k is meant. 0: it is no name of categories. */
static uint32_t category_mask(tn_str name) {
    uint32_t mask = 0;
    if (name.len < 1 || name.len > 2) return 0;
    for (int k = 0; k < UNASSIGNED; k++)
        if (memcmp(category_names + 2 * k, name.data, name.len) == 0) mask |= (uint32_t)1 << k;
    return mask;
}

/* Number of the script; 0, that of characters of no script, when there is none of that name. */
static int script_number(tn_str name) {
    int number = 0;
    for (const char *p = script_names; *p; p += strlen(p) + 1, number++)
        if (number && tn_str_eq(name, tn_str_c(p))) return number;
    return 0;
}

static uint32_t run_length(const uint8_t **p) {
    uint32_t n = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        n |= (uint32_t)(b & 127) << shift;
        if (b < 128) return n;
    }
}

bool tn_unicode_class(tn_str name, bool (*fn)(void *context, uint32_t first, uint32_t last), void *context) {
    uint32_t categories = category_mask(name), at = 0, begin = 0;
    int script = categories ? 0 : script_number(name);
    bool open = false, more = true;
    if (tn_str_eq(name, tn_str_c("Any"))) {
        fn(context, 0, 0x10ffff);
        return true;
    }
    if (!categories && !script) return false;
    const uint8_t *p = categories ? category_runs : script_runs;
    const uint8_t *end = p + (categories ? sizeof category_runs : sizeof script_runs);
    while (more && p < end) { /* neighbouring runs of the class become one range */
        uint8_t head = *p++;
        bool in = categories ? categories >> (head & 31) & 1 : head == script;
        if (in && !open) begin = at;
        if (!in && open) more = fn(context, begin, at - 1);
        open = in;
        at += categories && head >> 5 ? head >> 5 : run_length(&p);
    }
    if (open && more) fn(context, begin, at - 1);
    return true;
}

/* ---- UTF-8 ----------------------------------------------------------------------------------------------------- */

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
