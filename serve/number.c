/* Float texts.
 *
 * Reading: the digits become an integer m of at most 19 digits and a power of ten, and m * 10^e is computed in double
 * precision, which is wrong by a few units in its last place at most. A double is 29 bits longer than a float, so the
 * nearest float is certain unless the double lies within that error of the middle between two floats; only then, about
 * once in 30 million numbers, does strtof decide. (The idea of a fast path with a guarded fallback is Clinger's, "How
 * to read floating point numbers accurately", 1990.)
 *
 * Writing: value * 10^k in double precision has nine digits before the point and an error below 1e-6 of the last one.
 * Floats are at least 5 such units apart, so nine digits always suffice; fewer do as long as the rounded number stays
 * within half the distance to the next float. */
#include "serve/number.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define MAX_POWER  22
#define MAX_DIGITS 19

/* ---- reading ------------------------------------------------------------------------------------------------ */

typedef struct token {
    const char *begin;
    uint64_t digits; /* the first 19 significant ones */
    int64_t exponent;
    bool negative, whole, cut; /* whole: neither fraction nor exponent; cut: digits were left out */
} token;

TN_INLINE bool is_digit(const char *p, const char *end) { return p < end && (unsigned)(*p - '0') < 10; }

typedef struct digits {
    uint64_t value;
    int significant;
    int64_t dropped;
    bool cut;
} digits;

/* A run of digits. */
TN_INLINE const char *take_digits(const char *p, const char *end, digits *d) {
    while (is_digit(p, end)) {
        unsigned v = (unsigned)(*p++ - '0');
        if (TN_LIKELY(d->significant < MAX_DIGITS)) {
            d->value = d->value * 10 + v;
            d->significant += d->value != 0;
        } else {
            d->dropped++;
            d->cut |= v != 0;
        }
    }
    return p;
}

static const char *take_exponent(const char *p, const char *end, int64_t *exponent, const char **why) {
    p++;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    if (!is_digit(p, end)) {
        *why = "no digits after the e of a number";
        return NULL;
    }
    int64_t value = 0;
    while (is_digit(p, end)) {
        if (value < 100000) value = value * 10 + (*p - '0');
        p++;
    }
    *exponent += negative ? -value : value;
    return p;
}

TN_INLINE bool scan(const char **at, const char *end, token *t, const char **why) {
    const char *p = *at;
    *t = (token){.begin = p, .whole = true};
    if (p < end && *p == '-') {
        t->negative = true;
        p++;
    }
    if (!is_digit(p, end)) {
        *why = "not a number";
        return false;
    }
    digits d = {0};
    if (*p == '0') {
        p++;
        if (is_digit(p, end)) {
            *why = "a number with a zero in front";
            return false;
        }
    } else {
        p = take_digits(p, end, &d);
    }
    t->exponent = d.dropped;
    if (p < end && *p == '.') {
        const char *first = ++p;
        int64_t before = d.dropped;
        p = take_digits(p, end, &d);
        if (p == first) {
            *why = "no digits after the point of a number";
            return false;
        }
        t->exponent -= (p - first) - (d.dropped - before);
        t->whole = false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p = take_exponent(p, end, &t->exponent, why);
        if (!p) return false;
        t->whole = false;
    }
    if (p - t->begin > SERVE_MAX_NUMBER) {
        *why = "a number of more than 1000 characters";
        return false;
    }
    t->digits = d.value;
    t->cut = d.cut;
    *at = p;
    return true;
}

/* digits * 10^exponent with an error of at most four units in the last place; false: out of the tables' range. */
TN_INLINE bool approximate(const token *t, double *out) {
    double d = (double)t->digits;
    int64_t e = t->exponent;
    if (e < -2 * MAX_POWER || e > MAX_POWER) return false;
    if (e < -MAX_POWER) {
        d /= powers[MAX_POWER];
        e += MAX_POWER;
    }
    *out = e < 0 ? d / powers[-e] : d * powers[e];
    return true;
}

static const char too_large[] = "a number too large for the type";

static bool slow_f32(const token *t, const char *end, float *out, const char **why) {
    char text[SERVE_MAX_NUMBER + 1];
    size_t n = (size_t)(end - t->begin);
    memcpy(text, t->begin, n);
    text[n] = '\0';
    *out = strtof(text, NULL);
    if (isfinite(*out)) return true;
    *why = too_large;
    return false;
}

bool serve_parse_f32(const char **p, const char *end, float *out, const char **why) {
    token t;
    if (!scan(p, end, &t, why)) return false;
    double d;
    if (TN_LIKELY(approximate(&t, &d))) {
        uint64_t bits;
        memcpy(&bits, &d, sizeof bits);
        int64_t from_middle = (int64_t)(bits & 0x1fffffff) - 0x10000000;
        bool certain = from_middle > 8 || from_middle < -8;
        if (TN_LIKELY(certain && d >= 2 * (double)FLT_MIN && d < (double)FLT_MAX)) {
            *out = t.negative ? -(float)d : (float)d;
            return true;
        }
        if (d == 0) {
            *out = t.negative ? -0.0f : 0.0f;
            return true;
        }
    }
    return slow_f32(&t, *p, out, why);
}

bool serve_parse_f64(const char **p, const char *end, double *out, const char **why) {
    token t;
    if (!scan(p, end, &t, why)) return false;
    /* Both numbers exact, hence one rounding. */
    if (t.digits <= (uint64_t)1 << 53 && t.exponent >= -MAX_POWER && t.exponent <= MAX_POWER && !t.cut) {
        double d = (double)t.digits;
        d = t.exponent < 0 ? d / powers[-t.exponent] : d * powers[t.exponent];
        *out = t.negative ? -d : d;
        return true;
    }
    char text[SERVE_MAX_NUMBER + 1];
    size_t n = (size_t)(*p - t.begin);
    memcpy(text, t.begin, n);
    text[n] = '\0';
    *out = strtod(text, NULL);
    if (isfinite(*out)) return true;
    *why = too_large;
    return false;
}

static bool scan_whole(const char **p, const char *end, token *t, const char **why) {
    const char *begin = *p;
    if (!scan(p, end, t, why)) return false;
    if (!t->whole) {
        *why = "not a whole number";
    } else if (t->exponent > 1 || (t->exponent == 1 && t->digits > UINT64_MAX / 10)) {
        *why = too_large;
    } else {
        if (t->exponent == 1) {
            unsigned last = (unsigned)((*p)[-1] - '0');
            t->digits *= 10;
            if (t->digits <= UINT64_MAX - last) {
                t->digits += last;
                return true;
            }
            *why = too_large;
            *p = begin;
            return false;
        }
        return true;
    }
    *p = begin;
    return false;
}

bool serve_parse_u64(const char **p, const char *end, uint64_t *out, const char **why) {
    token t;
    if (!scan_whole(p, end, &t, why)) return false;
    *out = t.digits;
    if (!t.negative || t.digits == 0) return true;
    *p = t.begin;
    *why = "a negative number for an unsigned type";
    return false;
}

bool serve_parse_i64(const char **p, const char *end, int64_t *out, const char **why) {
    token t;
    if (!scan_whole(p, end, &t, why)) return false;
    uint64_t limit = (uint64_t)INT64_MAX + t.negative;
    *out = (int64_t)(t.negative ? 0 - t.digits : t.digits);
    if (t.digits <= limit) return true;
    *p = t.begin;
    *why = too_large;
    return false;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

int serve_print_u64(char *to, uint64_t value) {
    char digits[20], *p = digits + sizeof digits;
    while (value >= 100) {
        p -= 2;
        memcpy(p, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        p -= 2;
        memcpy(p, pairs + value * 2, 2);
    } else {
        *--p = (char)('0' + value);
    }
    int n = (int)(digits + sizeof digits - p);
    memcpy(to, p, (size_t)n);
    return n;
}

int serve_print_i64(char *to, int64_t value) {
    if (value >= 0) return serve_print_u64(to, (uint64_t)value);
    *to = '-';
    return 1 + serve_print_u64(to + 1, 0 - (uint64_t)value);
}

/* 10^k, |k| up to 60, with an error of at most two units in the last place. */
static double power(int k) {
    double p = powers[TN_MIN(abs(k), MAX_POWER)];
    for (int left = abs(k) - MAX_POWER; left > 0; left -= MAX_POWER) p *= powers[TN_MIN(left, MAX_POWER)];
    return k < 0 ? 1 / p : p;
}

static double power_of_two(int k) {
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double p;
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* n digits of `value`, the first of which stands for 10^point. */
static int layout(char *to, uint64_t value, int point) {
    char digits[20];
    int n = serve_print_u64(digits, value), len = 0;
    while (n > 1 && digits[n - 1] == '0') n--;
    if (point < -5 || point >= 16) {
        to[len++] = digits[0];
        if (n > 1) to[len++] = '.';
        for (int i = 1; i < n; i++) to[len++] = digits[i];
        to[len++] = 'e';
        return len + serve_print_i64(to + len, point);
    }
    if (point < 0) {
        to[len++] = '0';
        to[len++] = '.';
        for (int i = -1; i > point; i--) to[len++] = '0';
        for (int i = 0; i < n; i++) to[len++] = digits[i];
        return len;
    }
    for (int i = 0; i < n || i <= point; i++) {
        if (i == point + 1) to[len++] = '.';
        to[len++] = i < n ? digits[i] : '0';
    }
    return len;
}

int serve_print_f32(char *to, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    int len = 0;
    if (bits >> 31) to[len++] = '-';
    bits &= 0x7fffffff;
    if (bits == 0) {
        to[len++] = '0';
        return len;
    }
    double a = fabs((double)value);
    uint64_t wide;
    memcpy(&wide, &a, sizeof wide);
    int log2 = (int)(wide >> 52) - 1023;
    int point = (log2 * 1233) >> 12; /* floor(log10) or one less */
    double p = power(8 - point), v = a * p;
    if (v >= 1e9) {
        p = power(8 - ++point);
        v = a * p;
    }
    /* Half the distance to the next float; below a power of two it is half of that again, but for denormals. */
    int gap = TN_MAX(log2, -126) - 24 - ((bits & 0x7fffff) == 0 && log2 > -126);
    double half = power_of_two(gap) * p * (1 - 1e-6);
    uint64_t best = (uint64_t)(v + 0.5);
    const uint64_t whole = (uint64_t)v; /* not `best`, which is rounded already */
    for (uint64_t step = 10; step <= 1000000000; step *= 10) {
        uint64_t shorter = (whole + step / 2) / step * step;
        if (fabs((double)shorter - v) >= half) break;
        best = shorter;
    }
    if (best >= 1000000000) point++;
    return len + layout(to + len, best, point);
}

int serve_print_f64(char *to, double value) {
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(to, SERVE_NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(to, NULL) == value) break;
    }
    return n;
}
