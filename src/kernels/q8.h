/* What the 8-bit kernels are made of: a register tile of dot products of four, and what turns its sums into bytes.
 *
 * Activations are unsigned inside: where a tensor is int8, 128 is added on the way (its zero point moves with it), so
 * that every kernel multiplies uint8 by int8 weights. Sums are exact, modulo 2^32: no order or tile changes a bit.
 *
 * Blocked layout is that of conv.h with 16 channels on every tier, (n, ceil(c / 16), h, w, 16); images of at most four
 * channels may come as (n, 1, h, w, 4). */
#ifndef TN_KERNELS_Q8_H
#define TN_KERNELS_Q8_H

#include "base/base.h"
#include "cpu/cpu.h"

#define TN_Q8_BLOCK 16

/* Which instructions multiply. Within a tier, dot product instructions are there or not. */
typedef enum tn_q8_isa {
    TN_Q8_SCALAR,
    TN_Q8_AVX2, /* products of 16-bit words */
    TN_Q8_AVXVNNI,
    TN_Q8_AVX512, /* products of 16-bit words */
    TN_Q8_AVX512VNNI,
    TN_Q8_ISA_COUNT
} tn_q8_isa;

/* The best one of this machine within `tier`. */
tn_q8_isa tn_q8_best(tern_cpu_tier tier);
/* Whether this machine has it; for tests. */
bool tn_q8_available(tn_q8_isa isa);
tern_cpu_tier tn_q8_tier(tn_q8_isa isa);

/* acc[b][i][j] = bias[16 b + j] + sum over taps t, quads q and e < 4 of
 *     x[tap[t] + 4 q + e + i * step] * w[q of t][16 b + j][e]                          i < m pixels, b < nb blocks */
typedef struct tn_q8_tile {
    const uint8_t *x;
    const ptrdiff_t *tap;          /* offsets in bytes */
    int64_t taps, quads;           /* so many taps of so many quads, */
    int64_t last_taps, last_quads; /* then so many of so many (the last, partial channel block) */
    int64_t step;
    const void *w;       /* (quads, nb * 16, 4) int8, or 16-bit words sorted as even, odd; see tn_q8_kernels.words */
    const int32_t *bias; /* nb * 16 */
    int32_t *acc;        /* (nb, m, 16) */
} tn_q8_tile;

/* From sums of one block of channels to bytes:
 *     v = acc + x_sum * w_zero;  r = round(v * scale)
 *     r = round(clamp(r, mid_low, mid_high) * mid_scale + (z - z_zero) * z_scale)     with a residual z
 *     y = clamp(r + zero, low, high)
 * rounding to nearest even. zero, low, high, z_zero are those of the unsigned form. */
typedef struct tn_q8_finish {
    const float *scale;    /* 16 */
    const int32_t *w_zero; /* 16: minus the weights' zero points; NULL: none */
    int32_t zero;
    uint8_t low, high;
    bool y_signed;
    int lanes; /* channels of the block that exist; the others become zero bytes */
    bool residual, z_signed;
    int32_t z_zero;
    float mid_low, mid_high, mid_scale, z_scale;
} tn_q8_finish;

/* Depthwise, one block of channels of a strip of rows with its padding. */
typedef struct tn_q8_depthwise {
    const uint8_t *x;    /* first pixel of the first window; readable for 4 * (sw + kw + 4) pixels past the last row */
    const void *w;       /* (kh, ceil(kw / 4), 16, 4): int8, or words as in tn_q8_tile */
    const int32_t *bias; /* 16 */
    int64_t x_row;       /* bytes */
    int64_t rows, ow;    /* of y, which is dense */
    int kh, kw, sh, sw, dh, dw;
    const tn_q8_finish *finish; /* no residual */
    uint8_t *y;
} tn_q8_depthwise;

/* y = clamp(round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + zero, 0, 255), in unsigned form. */
typedef struct tn_q8_sum {
    float a_scale, b_scale;
    int32_t a_zero, b_zero, zero;
    uint8_t low, high;
    bool a_signed, b_signed, y_signed;
    int lanes; /* of 16 */
} tn_q8_sum;

#endif
