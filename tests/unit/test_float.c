/* Small floats against a slow reference: a code's value comes from the format's definition in double precision, and a
 * float's code from a search for the nearest value, ties to the even code. */
#include "test_util.h"

#include <math.h>

#include "base/base.h"

typedef struct format {
    const char *name;
    int exponent_bits, mantissa_bits, bias;
    uint32_t largest; // code of the largest finite value
    bool fnuz;        // one zero; NaN is the code of minus zero
    bool has_infinity;
    float (*decode)(uint32_t code);
    uint32_t (*encode)(float f, bool saturate);
} format;

static float f16_decode(uint32_t c) { return tn_f16_to_f32((uint16_t)c); }
static uint32_t f16_encode(float f, bool s) { return (void)s, tn_f32_to_f16(f); }
static float bf16_decode(uint32_t c) { return tn_bf16_to_f32((uint16_t)c); }
static uint32_t bf16_encode(float f, bool s) { return (void)s, tn_f32_to_bf16(f); }
static float e4m3fn_decode(uint32_t c) { return tn_f8e4m3fn_to_f32((uint8_t)c); }
static uint32_t e4m3fn_encode(float f, bool s) { return tn_f32_to_f8e4m3fn(f, s); }
static float e4m3fnuz_decode(uint32_t c) { return tn_f8e4m3fnuz_to_f32((uint8_t)c); }
static uint32_t e4m3fnuz_encode(float f, bool s) { return tn_f32_to_f8e4m3fnuz(f, s); }
static float e5m2_decode(uint32_t c) { return tn_f8e5m2_to_f32((uint8_t)c); }
static uint32_t e5m2_encode(float f, bool s) { return tn_f32_to_f8e5m2(f, s); }
static float e5m2fnuz_decode(uint32_t c) { return tn_f8e5m2fnuz_to_f32((uint8_t)c); }
static uint32_t e5m2fnuz_encode(float f, bool s) { return tn_f32_to_f8e5m2fnuz(f, s); }
static float e2m1_decode(uint32_t c) { return tn_f4e2m1_to_f32((uint8_t)c); }
static uint32_t e2m1_encode(float f, bool s) { return (void)s, tn_f32_to_f4e2m1(f); }

enum { F16, BF16, E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, E2M1, FORMATS };
static const format formats[FORMATS] = {
    [F16] = {"f16", 5, 10, 15, 0x7bff, false, true, f16_decode, f16_encode},
    [BF16] = {"bf16", 8, 7, 127, 0x7f7f, false, true, bf16_decode, bf16_encode},
    [E4M3FN] = {"e4m3fn", 4, 3, 7, 0x7e, false, false, e4m3fn_decode, e4m3fn_encode},
    [E4M3FNUZ] = {"e4m3fnuz", 4, 3, 8, 0x7f, true, false, e4m3fnuz_decode, e4m3fnuz_encode},
    [E5M2] = {"e5m2", 5, 2, 15, 0x7b, false, true, e5m2_decode, e5m2_encode},
    [E5M2FNUZ] = {"e5m2fnuz", 5, 2, 16, 0x7f, true, false, e5m2fnuz_decode, e5m2fnuz_encode},
    [E2M1] = {"e2m1", 2, 1, 1, 7, false, false, e2m1_decode, e2m1_encode},
};

static uint32_t sign_bit(const format *f) { return 1u << (f->exponent_bits + f->mantissa_bits); }

// Value of a code without its sign, by definition; also of codes one above the largest.
static double value_of(const format *f, uint32_t code) {
    uint32_t exponent = code >> f->mantissa_bits, mantissa = code & ((1u << f->mantissa_bits) - 1);
    if (exponent == 0) return ldexp(mantissa, 1 - f->bias - f->mantissa_bits);
    return ldexp((double)mantissa + (1 << f->mantissa_bits), (int)exponent - f->bias - f->mantissa_bits);
}

// Code of the magnitude nearest to v >= 0, at most largest + 1, which stands for "above the largest".
static uint32_t nearest(const format *f, double v) {
    uint32_t low = 0, high = f->largest + 1;
    if (v >= value_of(f, high)) return high;
    while (high - low > 1) { // value(low) <= v < value(high)
        uint32_t middle = (low + high) / 2;
        if (value_of(f, middle) <= v)
            low = middle;
        else
            high = middle;
    }
    double below = v - value_of(f, low), above = value_of(f, high) - v;
    return below < above || (below == above && low % 2 == 0) ? low : high;
}

static uint32_t reference(const format *f, float x, bool saturate) {
    uint32_t sign = signbit(x) ? sign_bit(f) : 0, code = nearest(f, fabs((double)x));
    bool ieee = f->exponent_bits + f->mantissa_bits == 15;
    if (code > f->largest) {
        if (f->exponent_bits == 2 || (saturate && !ieee))
            code = f->largest;
        else if (f->fnuz)
            return sign_bit(f);
        // Infinity comes right after the largest value; where there is none, NaN does.
    }
    return f->fnuz && code == 0 ? 0 : sign | code;
}

static void check(const format *f, float x) {
    for (int saturate = 0; saturate < 2; saturate++) {
        uint32_t got = f->encode(x, saturate), want = reference(f, x, saturate);
        if (got != want) fail_msg("%s: %a (saturate %d) gives %#x, not %#x", f->name, (double)x, saturate, got, want);
    }
}

static void test_decode_every_code(void **state) {
    (void)state;
    for (int k = 0; k < FORMATS; k++) {
        const format *f = &formats[k];
        for (uint32_t code = 0; code < 2 * sign_bit(f); code++) {
            uint32_t magnitude = code & (sign_bit(f) - 1);
            bool negative = code & sign_bit(f);
            float got = f->decode(code);
            if ((f->fnuz && code == sign_bit(f)) ||
                (magnitude > f->largest && !(f->has_infinity && magnitude == f->largest + 1))) {
                if (!isnan(got)) fail_msg("%s: code %#x is %a, not NaN", f->name, code, (double)got);
                continue;
            }
            double want = magnitude > f->largest ? INFINITY : value_of(f, magnitude);
            if (got != (negative ? -want : want) || !signbit(got) != !negative)
                fail_msg("%s: code %#x is %a, not %a", f->name, code, (double)got, want);
        }
    }
}

static void test_codes_survive_the_round_trip(void **state) {
    (void)state;
    for (int k = 0; k < FORMATS; k++) {
        const format *f = &formats[k];
        for (uint32_t code = 0; code < 2 * sign_bit(f); code++) {
            float x = f->decode(code);
            if (isnan(x)) {
                assert_true(isnan(f->decode(f->encode(x, true))) && isnan(f->decode(f->encode(x, false))));
                continue;
            }
            assert_int_equal(f->encode(x, false), code);
            if (!isinf(x)) assert_int_equal(f->encode(x, true), code);
        }
    }
}

static void test_encode_around_every_boundary(void **state) {
    (void)state;
    for (int k = 0; k < FORMATS; k++) {
        const format *f = &formats[k];
        for (uint32_t code = 0; code <= f->largest; code++) {
            double middle = (value_of(f, code) + value_of(f, code + 1)) / 2;
            const float points[] = {(float)value_of(f, code), (float)middle};
            for (size_t i = 0; i < TN_COUNT(points); i++) {
                if (isinf(points[i])) continue; // above the largest bf16
                check(f, points[i]);
                check(f, -points[i]);
                check(f, nextafterf(points[i], INFINITY) < INFINITY ? nextafterf(points[i], INFINITY) : points[i]);
                check(f, nextafterf(points[i], -INFINITY));
            }
        }
    }
}

static void test_encode_random_bits(void **state) {
    (void)state;
    tt_rng rng = tt_rng_init(11);
    for (int i = 0; i < 400000; i++) {
        uint32_t bits = (uint32_t)(tt_random(&rng) >> 32);
        float x;
        memcpy(&x, &bits, sizeof x);
        if (isnan(x) || isinf(x)) continue;
        for (int k = 0; k < FORMATS; k++) check(&formats[k], x);
        float near = (float)tt_random_real(&rng, -600, 600);
        for (int k = 0; k < FORMATS; k++) check(&formats[k], near);
    }
}

// The table of the Cast operator.
static void test_special_values(void **state) {
    (void)state;
    const float inf = INFINITY, nan = NAN;
    assert_int_equal(tn_f32_to_f8e4m3fn(inf, true), 0x7e);
    assert_int_equal(tn_f32_to_f8e4m3fn(-inf, true), 0xfe);
    assert_int_equal(tn_f32_to_f8e4m3fn(inf, false), 0x7f);
    assert_int_equal(tn_f32_to_f8e4m3fn(-inf, false), 0xff);
    assert_int_equal(tn_f32_to_f8e4m3fn(-0.0f, true), 0x80);
    assert_int_equal(tn_f32_to_f8e4m3fn(464.0f, false), 0x7e); // the middle to 480 goes to the even code
    assert_int_equal(tn_f32_to_f8e4m3fn(465.0f, false), 0x7f);
    assert_int_equal(tn_f32_to_f8e4m3fnuz(inf, true), 0x7f);
    assert_int_equal(tn_f32_to_f8e4m3fnuz(-inf, true), 0xff);
    assert_int_equal(tn_f32_to_f8e4m3fnuz(-inf, false), 0x80);
    assert_int_equal(tn_f32_to_f8e4m3fnuz(-0.0f, true), 0);
    assert_int_equal(tn_f32_to_f8e4m3fnuz(-1e-9f, true), 0);
    assert_int_equal(tn_f32_to_f8e5m2(inf, true), 0x7b);
    assert_int_equal(tn_f32_to_f8e5m2(inf, false), 0x7c);
    assert_int_equal(tn_f32_to_f8e5m2(-1e6f, false), 0xfc);
    assert_int_equal(tn_f32_to_f8e5m2fnuz(1e6f, true), 0x7f);
    assert_int_equal(tn_f32_to_f8e5m2fnuz(1e6f, false), 0x80);
    for (int k = E4M3FN; k <= E5M2FNUZ; k++) assert_true(isnan(formats[k].decode(formats[k].encode(nan, true))));
    assert_int_equal(tn_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(tn_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(tn_f32_to_f16(-inf), 0xfc00);
    assert_int_equal(tn_f32_to_bf16(3.4e38f), 0x7f80);
    assert_int_equal(tn_f32_to_f4e2m1(1e9f), 7);
    assert_int_equal(tn_f32_to_f4e2m1(-inf), 0xf);
    assert_int_equal(tn_f32_to_f4e2m1(nan), 8);
    assert_int_equal(tn_f32_to_f4e2m1(0.25f), 0);
    assert_int_equal(tn_f32_to_f4e2m1(0.75f), 2);
}

static void test_e8m0(void **state) {
    (void)state;
    for (int code = 0; code < 255; code++) {
        float x = tn_f8e8m0_to_f32((uint8_t)code);
        assert_true((double)x == ldexp(1, code - 127));
        for (const char *mode = "udn"; *mode; mode++) assert_int_equal(tn_f32_to_f8e8m0(x, code % 2, *mode), code);
        if (code == 254) break;
        const double parts[] = {1.0 + 0x1p-21, 1.25, 1.5 - 0x1p-21, 1.5, 1.75, 2.0 - 0x1p-21};
        for (size_t i = 0; i < TN_COUNT(parts); i++) {
            float y = (float)((double)x * parts[i]);
            assert_int_equal(tn_f32_to_f8e8m0(y, true, 'u'), code + 1);
            assert_int_equal(tn_f32_to_f8e8m0(y, true, 'd'), code);
            assert_int_equal(tn_f32_to_f8e8m0(y, true, 'n'), code + (parts[i] >= 1.5));
        }
    }
    assert_true(isnan(tn_f8e8m0_to_f32(255)));
    assert_int_equal(tn_f32_to_f8e8m0(0, true, 'u'), 0);
    assert_int_equal(tn_f32_to_f8e8m0(0, false, 'n'), 255);
    assert_int_equal(tn_f32_to_f8e8m0(NAN, true, 'u'), 255);
    assert_int_equal(tn_f32_to_f8e8m0(-1, true, 'u'), 255);
    assert_int_equal(tn_f32_to_f8e8m0(INFINITY, true, 'u'), 254);
    assert_int_equal(tn_f32_to_f8e8m0(INFINITY, false, 'n'), 255);
    assert_int_equal(tn_f32_to_f8e8m0(3e38f, true, 'u'), 254);
    assert_int_equal(tn_f32_to_f8e8m0(3e38f, false, 'n'), 255);
    assert_int_equal(tn_f32_to_f8e8m0(1e-45f, true, 'u'), 0);
    assert_int_equal(tn_f32_to_f8e8m0(1e-45f, false, 'n'), 255);
}

// The array forms give the bits of the single ones, for every f16 and bf16 code and any length.
static void test_arrays(void **state) {
    (void)state;
    enum { N = 65536 };
    uint16_t *codes = malloc(N * sizeof *codes), *back = malloc(N * sizeof *back);
    float *values = malloc(N * sizeof *values);
    uint32_t *bits = (uint32_t *)values;
    for (uint32_t i = 0; i < N; i++) codes[i] = (uint16_t)i;
    tn_f16_to_f32_n(codes, values, N);
    for (uint32_t i = 0; i < N; i++) {
        float one = tn_f16_to_f32(codes[i]);
        assert_memory_equal(&one, &values[i], 4);
    }
    tn_bf16_to_f32_n(codes, values, N);
    for (uint32_t i = 0; i < N; i++) assert_int_equal(bits[i], i << 16);
    tt_rng rng = tt_rng_init(5);
    for (int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < N; i++) {
            bits[i] = (uint32_t)(tt_random(&rng) >> 32);
            if (i % 2) bits[i] = (bits[i] & 0x87ffffff) | 0x38000000; // the range of f16
            if (i % 64 == 0) bits[i] |= 0x7f800000;                   // NaN, mostly
        }
        size_t n = N - (size_t)round;
        tn_f32_to_f16_n(values, back, n);
        for (size_t i = 0; i < n; i++) assert_int_equal(back[i], tn_f32_to_f16(values[i]));
        tn_f32_to_bf16_n(values, back, n);
        for (size_t i = 0; i < n; i++) assert_int_equal(back[i], tn_f32_to_bf16(values[i]));
    }
    for (size_t n = 0; n < 40; n++) { // nothing is written past the end
        memset(back, 0x5a, N * sizeof *back);
        tn_f32_to_f16_n(values, back, n);
        assert_int_equal(back[n], 0x5a5a);
        tn_f32_to_bf16_n(values, back, n);
        assert_int_equal(back[n], 0x5a5a);
    }
    free(codes), free(back), free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_every_code),
        cmocka_unit_test(test_codes_survive_the_round_trip),
        cmocka_unit_test(test_encode_around_every_boundary),
        cmocka_unit_test(test_encode_random_bits),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_e8m0),
        cmocka_unit_test(test_arrays),
    };
    return cmocka_run_group_tests_name("float", tests, NULL, NULL);
}
