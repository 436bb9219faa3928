/* Numbers between JSON and memory: every float both ways, against the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/number.h"

static float parse(const char *text) {
    const char *p = text, *why = NULL;
    float value = -77;
    if (!serve_parse_f32(&p, text + strlen(text), &value, &why)) fail_msg("%s: %s", text, why);
    assert_ptr_equal(p, text + strlen(text));
    return value;
}

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static void same_as_strtof(const char *text) {
    float have = parse(text), want = strtof(text, NULL);
    if (bits_of(have) != bits_of(want)) fail_msg("%s: %.9g, not %.9g", text, (double)have, (double)want);
}

static uint64_t next(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void reads_as_strtof(void **unused) {
    (void)unused;
    static const char *const texts[] = {"0",
                                        "-0",
                                        "1",
                                        "-1.5",
                                        "0.1",
                                        "3.4028234e38",
                                        "3.4028235e+38",
                                        "1e-45",
                                        "7e-46",
                                        "1.17549435e-38",
                                        "1.1754942e-38",
                                        "16777217",
                                        "16777217.0000000000000001",
                                        "1.00000005960464477539062",
                                        "1.00000005960464477539062500001",
                                        "0.000000000000000000000000000000000000011754943508222875079687365372222456778",
                                        "123456789012345678901234567890",
                                        "0.12345678806304932",
                                        "1E5",
                                        "1e0",
                                        "9e37",
                                        "33554431.000000001",
                                        "0.00000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < TN_COUNT(texts); i++) same_as_strtof(texts[i]);
    uint64_t state = 1;
    for (int i = 0; i < 400000; i++) {
        uint32_t bits = (uint32_t)next(&state);
        float f;
        memcpy(&f, &bits, sizeof f);
        if (!isfinite(f)) continue;
        char text[64];
        snprintf(text, sizeof text, "%.*g", 1 + (int)(next(&state) % 20), (double)f);
        if (!isfinite(strtof(text, NULL))) continue;
        same_as_strtof(text);
        /* In the middle between two floats, and just beside. */
        float up = nextafterf(f, INFINITY);
        if (!isfinite(up)) continue;
        double middle = ((double)f + (double)up) / 2;
        char exact[200];
        snprintf(exact, sizeof exact, "%.120g", middle);
        if (strlen(exact) < sizeof exact - 1) same_as_strtof(exact);
        snprintf(text, sizeof text, "%.17g", nextafter(middle, i & 1 ? INFINITY : -INFINITY));
        same_as_strtof(text);
    }
}

static void writes_what_reads_back(void **unused) {
    (void)unused;
    uint64_t state = 7;
    size_t longest = 0;
    for (int i = 0; i < 3000000; i++) {
        uint32_t bits = i < 300000 ? (uint32_t)i : (uint32_t)next(&state);
        float f;
        memcpy(&f, &bits, sizeof f);
        if (!isfinite(f)) continue;
        char text[SERVE_NUMBER_TEXT + 1];
        int n = serve_print_f32(text, f);
        assert_in_range(n, 1, SERVE_NUMBER_TEXT);
        text[n] = '\0';
        float back = strtof(text, NULL);
        if (bits_of(back) != bits) fail_msg("%.9g is written as %s", (double)f, text);
        longest = TN_MAX(longest, (size_t)n);
    }
    assert_true(longest <= 24);
}

static void writes_as_short_as_can_be(void **unused) {
    (void)unused;
    static const struct {
        float value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0f, "-0"},
                 {1, "1"},
                 {0.1f, "0.1"},
                 {-2.5f, "-2.5"},
                 {100, "100"},
                 {1e10f, "10000000000"},
                 {1e20f, "1e20"},
                 {3.4028235e38f, "3.4028235e38"},
                 {1e-45f, "1e-45"},
                 {0.3333333433f, "0.33333334"},
                 {1.17549435e-38f, "1.1754944e-38"},
                 {772.0409545898f, "772.04095"}, /* nearer than ...96, which reads back, too */
                 {16777216, "16777216"},
                 {0.00012f, "0.00012"},
                 {9.999999e9f, "9999999000"}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        char text[SERVE_NUMBER_TEXT + 1];
        text[serve_print_f32(text, cases[i].value)] = '\0';
        assert_string_equal(text, cases[i].text);
    }
}

static void bad_numbers(void **unused) {
    (void)unused;
    static const char *const texts[] = {
        "",    "-",   "+1",       ".5",        "1.",   "1.e5", "01",     "-01",           "1e",
        "1e+", "NaN", "Infinity", "-Infinity", "0x10", "1e39", "-1e400", "1e999999999999"};
    for (size_t i = 0; i < TN_COUNT(texts); i++) {
        const char *p = texts[i], *end = p + strlen(p), *why = NULL;
        float value;
        bool good = serve_parse_f32(&p, end, &value, &why) && p == end;
        if (good) fail_msg("'%s' is taken for %g", texts[i], (double)value);
        if (p != end) continue;
        assert_non_null(why);
    }
    char many[1200];
    memset(many, '1', sizeof many);
    const char *p = many, *why = NULL;
    float value;
    assert_false(serve_parse_f32(&p, many + sizeof many, &value, &why));
    assert_non_null(strstr(why, "1000"));
}

static void whole_numbers(void **unused) {
    (void)unused;
    static const struct {
        const char *text;
        bool is_signed, is_unsigned;
        int64_t value;
    } cases[] = {{"0", 1, 1, 0},
                 {"-0", 1, 1, 0},
                 {"42", 1, 1, 42},
                 {"-9223372036854775808", 1, 0, INT64_MIN},
                 {"9223372036854775807", 1, 1, INT64_MAX},
                 {"9223372036854775808", 0, 1, INT64_MIN},
                 {"-9223372036854775809", 0, 0, 0},
                 {"18446744073709551615", 0, 1, -1},
                 {"18446744073709551616", 0, 0, 0},
                 {"99999999999999999999", 0, 0, 0},
                 {"1.0", 0, 0, 0},
                 {"1e3", 0, 0, 0},
                 {"-1", 1, 0, -1},
                 {"", 0, 0, 0}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        const char *end = cases[i].text + strlen(cases[i].text), *why = NULL, *p = cases[i].text;
        int64_t s;
        uint64_t u;
        assert_int_equal(serve_parse_i64(&p, end, &s, &why), cases[i].is_signed);
        if (cases[i].is_signed) assert_true(s == cases[i].value && p == end);
        p = cases[i].text;
        assert_int_equal(serve_parse_u64(&p, end, &u, &why), cases[i].is_unsigned);
        if (cases[i].is_unsigned) assert_true(u == (uint64_t)cases[i].value && p == end);
        char text[SERVE_NUMBER_TEXT + 1];
        if (!cases[i].is_signed || cases[i].text[1] == '0') continue;
        text[serve_print_i64(text, s)] = '\0';
        assert_string_equal(text, cases[i].text);
    }
}

static void doubles(void **unused) {
    (void)unused;
    uint64_t state = 3;
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = next(&state);
        double d, back;
        memcpy(&d, &bits, sizeof d);
        if (!isfinite(d)) continue;
        char text[SERVE_NUMBER_TEXT + 1];
        int n = serve_print_f64(text, d);
        const char *p = text, *why = NULL;
        assert_true(serve_parse_f64(&p, text + n, &back, &why));
        assert_memory_equal(&back, &d, sizeof d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_as_strtof),
        cmocka_unit_test(writes_what_reads_back),
        cmocka_unit_test(writes_as_short_as_can_be),
        cmocka_unit_test(bad_numbers),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
