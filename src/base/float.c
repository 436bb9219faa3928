/* Small floats: one encoder and one decoder for every format with a sign, an exponent and a mantissa; what differs is
 * the bias, the largest code and what becomes of NaN and infinity. */
#include "base/base.h"

enum { F32_BIAS = 127, F32_MANTISSA = 23 };

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

// v / 2^shift, to nearest, ties to even; 1 <= shift <= 31, v < 2^31.
TN_INLINE uint32_t shift_rounded(uint32_t v, int shift) {
    uint32_t half = (uint32_t)1 << (shift - 1);
    return (v + half - 1 + ((v >> shift) & 1)) >> shift;
}

/* Exponent and mantissa of |f|, `magnitude` being its bits, finite, in a format with `mantissa` bits and `bias`, as if
 * its exponent had no upper end: the caller compares the code with the format's largest. */
TN_INLINE uint32_t encode(uint32_t magnitude, int mantissa, int bias) {
    int exponent = (int)(magnitude >> F32_MANTISSA) - F32_BIAS;
    // A carry out of the mantissa moves on into the exponent, as it should.
    if (exponent >= 1 - bias)
        return shift_rounded(magnitude - ((uint32_t)(F32_BIAS - bias) << F32_MANTISSA), F32_MANTISSA - mantissa);
    // Subnormal: a multiple of 2^(1 - bias - mantissa). Floats that are subnormal themselves are far below half of it.
    int shift = F32_MANTISSA - mantissa + 1 - bias - exponent;
    if (shift > F32_MANTISSA + 1) return 0;
    return shift_rounded((magnitude & 0x7fffff) | 0x800000, shift);
}

// The value of a code without its sign; not for NaN or infinity. Exact: float32 has all the bits that are needed.
TN_INLINE float decode(uint32_t code, int mantissa, int bias) {
    if (code >> mantissa == 0)
        return (float)code * float_of((uint32_t)(F32_BIAS + 1 - bias - mantissa) << F32_MANTISSA);
    return float_of((code << (F32_MANTISSA - mantissa)) + ((uint32_t)(F32_BIAS - bias) << F32_MANTISSA));
}

static float with_sign(float magnitude, bool negative) {
    return float_of(bits_of(magnitude) | (negative ? 0x80000000u : 0u));
}

/* ---- 16 bits ---- */

float tn_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, code = h & 0x7fff;
    if (code > 0x7c00) return float_of(sign | 0x7fc00000u | (code << 13)); // quiet, payload kept: what VCVTPH2PS does
    if (code == 0x7c00) return float_of(sign | 0x7f800000u);
    return with_sign(decode(code, 10, 15), sign != 0);
}

uint16_t tn_f32_to_f16(float f) {
    uint32_t bits = bits_of(f), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
    uint32_t code = magnitude == 0x7f800000u ? 0x7c00 : encode(magnitude, 10, 15);
    return (uint16_t)(sign | TN_MIN(code, 0x7c00u));
}

float tn_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t tn_f32_to_bf16(float f) {
    uint32_t bits = bits_of(f);
    if ((bits & 0x7fffffff) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40); // quiet
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* ---- 8 bits ---- */

/* The rules of Cast: what is out of range becomes the largest value when `saturate`, else infinity where the format
 * has one, else NaN. Infinity counts as out of range. */
typedef struct f8_format {
    int mantissa, bias;
    uint8_t largest;  // code of the largest value
    uint8_t overflow; // code for what is above it, unless saturated
    uint8_t nan;
    bool fnuz; // no negative zero, one NaN without a sign
} f8_format;

static const f8_format f8_e4m3fn = {3, 7, 0x7e, 0x7f, 0x7f, false};
static const f8_format f8_e4m3fnuz = {3, 8, 0x7f, 0x80, 0x80, true};
static const f8_format f8_e5m2 = {2, 15, 0x7b, 0x7c, 0x7e, false};
static const f8_format f8_e5m2fnuz = {2, 16, 0x7f, 0x80, 0x80, true};

TN_INLINE uint8_t encode_f8(float f, bool saturate, const f8_format *format) {
    uint32_t bits = bits_of(f), magnitude = bits & 0x7fffffff;
    uint8_t sign = bits >> 31 ? 0x80 : 0;
    if (magnitude > 0x7f800000u) return format->nan | sign;
    uint32_t code = magnitude == 0x7f800000u ? UINT32_MAX : encode(magnitude, format->mantissa, format->bias);
    if (code > format->largest) code = saturate ? format->largest : format->overflow;
    if (format->fnuz && code == 0) return 0;
    return (uint8_t)code | sign;
}

uint8_t tn_f32_to_f8e4m3fn(float f, bool saturate) { return encode_f8(f, saturate, &f8_e4m3fn); }
uint8_t tn_f32_to_f8e4m3fnuz(float f, bool saturate) { return encode_f8(f, saturate, &f8_e4m3fnuz); }
uint8_t tn_f32_to_f8e5m2(float f, bool saturate) { return encode_f8(f, saturate, &f8_e5m2); }
uint8_t tn_f32_to_f8e5m2fnuz(float f, bool saturate) { return encode_f8(f, saturate, &f8_e5m2fnuz); }

float tn_f8e4m3fn_to_f32(uint8_t b) {
    bool negative = b >> 7;
    uint32_t code = b & 0x7f;
    return with_sign(code == 0x7f ? float_of(0x7fc00000u) : decode(code, 3, 7), negative);
}

float tn_f8e5m2_to_f32(uint8_t b) {
    bool negative = b >> 7;
    uint32_t code = b & 0x7f;
    float magnitude = code > 0x7c ? float_of(0x7fc00000u) : code == 0x7c ? float_of(0x7f800000u) : decode(code, 2, 15);
    return with_sign(magnitude, negative);
}

float tn_f8e4m3fnuz_to_f32(uint8_t b) {
    return b == 0x80 ? float_of(0x7fc00000u) : with_sign(decode(b & 0x7f, 3, 8), b >> 7);
}

float tn_f8e5m2fnuz_to_f32(uint8_t b) {
    return b == 0x80 ? float_of(0x7fc00000u) : with_sign(decode(b & 0x7f, 2, 16), b >> 7);
}

/* ---- e8m0: a power of two, 2^(code - 127), 255 is NaN ---- */

float tn_f8e8m0_to_f32(uint8_t b) {
    if (b == 0xff) return float_of(0x7fc00000u);
    return float_of(b ? (uint32_t)b << F32_MANTISSA : 0x400000u);
}

uint8_t tn_f32_to_f8e8m0(float f, bool saturate, char round_mode) {
    enum { NAN_CODE = 0xff, LARGEST = 0xfe };
    const uint32_t smallest_bits = 0x400000u, largest_bits = (uint32_t)LARGEST << F32_MANTISSA; // 2^-127 and 2^127
    uint32_t bits = bits_of(f), magnitude = bits & 0x7fffffff;
    // The standard leaves negative values open: there is nothing near them.
    if (magnitude > 0x7f800000u || (bits >> 31 && magnitude)) return NAN_CODE;
    if (magnitude < smallest_bits) return saturate ? 0 : NAN_CODE;
    if (magnitude > largest_bits) return saturate ? LARGEST : NAN_CODE;
    uint32_t code = magnitude >> F32_MANTISSA, rest = magnitude & 0x7fffff;
    // Code 0 stands for 2^-127, a subnormal float: the distance to 2^-126 is half as long as the mantissa says.
    uint32_t middle = 0x400000u;
    if (code == 0) {
        rest -= smallest_bits;
        middle = 0x200000u;
    }
    bool up = round_mode == 'u' ? rest > 0 : round_mode == 'n' && rest >= middle;
    return (uint8_t)(code + up);
}

/* ---- 4 bits: e2m1, no infinity, no NaN ---- */

float tn_f4e2m1_to_f32(uint8_t b) { return with_sign(decode(b & 7, 1, 1), (b & 8) != 0); }

uint8_t tn_f32_to_f4e2m1(float f) {
    uint32_t bits = bits_of(f), magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000u) return 8; // there is no NaN: minus zero, as in the standard's own test
    uint32_t code = magnitude == 0x7f800000u ? 7 : encode(magnitude, 1, 1);
    return (uint8_t)(TN_MIN(code, 7u) | (bits >> 31 ? 8u : 0u));
}
