/* Numbers to text and back. The C locale holds meanwhile, whatever the process has set. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "ops/cast_internal.h"

/* Longest text that is read as a number; also of what is written. */
#define MAX_TEXT 400

/* ---- numbers to text ----------------------------------------------------------------------------------------- */

/* The value of type `from` that is nearest to v, as float64. */
static double round_to(tern_dtype from, double v) {
    double back;
    uint64_t element = 0;
    if (from == TERN_DOUBLE) return v;
    tn_cast_elements(TERN_DOUBLE, &v, from, &element, 1);
    tn_cast_elements(from, &element, TERN_DOUBLE, &back, 1);
    return back;
}

/* The fewest digits that read back as the same element: 0.1, 2.0, 1e-05, 1.5e+20. */
static int float_text(tern_dtype from, double v, char *out, size_t size) {
    char digits[40] = "", sci[48];
    if (isnan(v)) return snprintf(out, size, "nan");
    if (isinf(v)) return snprintf(out, size, v < 0 ? "-inf" : "inf");
    for (int precision = 0; precision < 17; precision++) {
        snprintf(sci, sizeof sci, "%.*e", precision, v);
        if (round_to(from, strtod(sci, NULL)) == v) break;
    }
    /* sci is [-]d[.ddd]e(+|-)xx */
    const char *p = sci, *sign = *p == '-' ? "-" : "", *e = strchr(sci, 'e');
    int n = 0, exponent = (int)strtol(e + 1, NULL, 10);
    for (; p < e; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    if (exponent < -4 || exponent >= 16)
        return snprintf(out, size, "%s%c%s%se%+03d", sign, digits[0], n > 1 ? "." : "", digits + 1, exponent);
    if (exponent < 0) return snprintf(out, size, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits);
    if (n <= exponent + 1) return snprintf(out, size, "%s%s%.*s.0", sign, digits, exponent + 1 - n, "0000000000000000");
    return snprintf(out, size, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}

static int number_text(tern_dtype from, const void *element, char *out, size_t size) {
    if (tn_type_in(from, TN_TYPES_SMALL_FLOAT) || from == TERN_FLOAT || from == TERN_DOUBLE) {
        double v;
        tn_cast_elements(from, element, TERN_DOUBLE, &v, 1);
        return float_text(from, v, out, size);
    }
    if (from == TERN_UINT64) {
        uint64_t v;
        memcpy(&v, element, sizeof v);
        return snprintf(out, size, "%llu", (unsigned long long)v);
    }
    int64_t v;
    tn_cast_elements(from, element, TERN_INT64, &v, 1);
    return snprintf(out, size, "%lld", (long long)v);
}

static tern_status to_text(tn_run *c, const tn_cast *cast, const char *src, tern_string *dst, int64_t n) {
    char text[MAX_TEXT];
    size_t size = tern_dtype_size(cast->from);
    for (int64_t i = 0; i < n; i++) {
        int len = number_text(cast->from, src + (size_t)i * size, text, sizeof text);
        TN_TRY(tn_run_string(c, text, (size_t)len, &dst[i]));
    }
    return TERN_OK;
}

/* ---- text to numbers ----------------------------------------------------------------------------------------- */

/* Is text[0, end) all of it but spaces? */
static bool all_read(const char *text, const char *end) {
    if (end == text) return false;
    while (*end == ' ' || *end == '\t' || *end == '\n' || *end == '\r') end++;
    return *end == 0;
}

/* Reads one element; false when the text is no number. Whole numbers of 64 bits are exact. */
static bool parse(const tn_cast *cast, const char *text, void *element) {
    char *end;
    errno = 0;
    if (cast->to == TERN_BOOL && (!strcasecmp(text, "true") || !strcasecmp(text, "false"))) {
        *(uint8_t *)element = text[0] == 't' || text[0] == 'T';
        return true;
    }
    if (cast->to == TERN_UINT64 && !strchr(text, '-')) {
        unsigned long long v = strtoull(text, &end, 10);
        if (errno == 0 && all_read(text, end)) return *(uint64_t *)element = v, true;
    } else if (cast->to != TERN_FLOAT && cast->to != TERN_DOUBLE) {
        long long v = strtoll(text, &end, 10);
        const tn_cast from_int = {TERN_INT64, cast->to, cast->saturate, cast->round_mode};
        int64_t whole = v;
        if (errno == 0 && all_read(text, end)) return tn_cast_numbers(&from_int, &whole, element, 1), true;
    }
    if (cast->to == TERN_FLOAT) {
        *(float *)element = strtof(text, &end);
        return all_read(text, end);
    }
    double v = strtod(text, &end);
    const tn_cast from_double = {TERN_DOUBLE, cast->to, cast->saturate, cast->round_mode};
    tn_cast_numbers(&from_double, &v, element, 1);
    return all_read(text, end);
}

static tern_status from_text(tn_run *c, const tn_cast *cast, const tern_string *src, char *dst, int64_t n) {
    char text[MAX_TEXT];
    size_t size = tern_dtype_size(cast->to);
    for (int64_t i = 0; i < n; i++) {
        uint64_t element = 0;
        bool fits = src[i].len < sizeof text && (src[i].len == 0 || !memchr(src[i].data, 0, src[i].len));
        if (fits) {
            if (src[i].len > 0) memcpy(text, src[i].data, src[i].len);
            text[src[i].len] = 0;
        }
        if (!fits || !parse(cast, text, &element))
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "element %lld, '%.*s', is no number", (long long)i,
                               (int)TN_MIN(src[i].len, 60), src[i].data ? src[i].data : "");
        memcpy(dst + (size_t)i * size, &element, size);
    }
    return TERN_OK;
}

tern_status tn_cast_strings(tn_run *c, const tn_cast *cast, const void *src, void *dst, int64_t n) {
    if (cast->from == cast->to) {
        if (src != dst && n > 0) memcpy(dst, src, (size_t)n * sizeof(tern_string));
        return TERN_OK;
    }
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return tn_fail_oom(c->err, sizeof plain);
    locale_t before = uselocale(plain);
    tern_status s = cast->to == TERN_STRING ? to_text(c, cast, src, dst, n) : from_text(c, cast, src, dst, n);
    uselocale(before);
    freelocale(plain);
    return s;
}
