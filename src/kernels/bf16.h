/* What the bfloat16 kernels are made of: a register tile of dot products of two, and conversions.
 *
 * Activations are stored as bfloat16 in the blocks of conv.h; sums, bias, residual and activation are float32, and what
 * is stored is rounded to nearest even. docs/numerics.md says what is the same on which machine. */
#ifndef TN_KERNELS_BF16_H
#define TN_KERNELS_BF16_H

#include "base/base.h"
#include "cpu/cpu.h"

/* Which instructions multiply. All but the last one widen to float32 and use its multiply-adds. */
typedef enum tn_bf16_isa {
    TN_BF16_SCALAR,
    TN_BF16_AVX2,
    TN_BF16_AVX512,
    TN_BF16_AVX512BF16,
    TN_BF16_ISA_COUNT
} tn_bf16_isa;

/* The best one of this machine within `tier`. */
tn_bf16_isa tn_bf16_best(tern_cpu_tier tier);
/* Whether this machine has it; for tests. */
bool tn_bf16_available(tn_bf16_isa isa);
tern_cpu_tier tn_bf16_tier(tn_bf16_isa isa);
const char *tn_bf16_isa_name(tn_bf16_isa isa);

/* Between plain float32 (n, c, hw) and blocked bfloat16 (n, ceil(c / B), hw, B), B = tn_conv_block(tier). */
void tn_bf16_block(tern_cpu_tier tier, const float *x, uint16_t *y, int64_t n, int64_t c, int64_t hw, int threads);
void tn_bf16_unblock(tern_cpu_tier tier, const uint16_t *x, float *y, int64_t n, int64_t c, int64_t hw, int threads);

/* y[i][j] = clamp(bias[j] + sum over taps t and pairs q and e < 2 of
 *     x[tap[t] + 2 q + e + i * step] * w[q of t][j][e]  + residual[i][j])              i < m pixels, j < nv * B
 * A pair is one step of the sum: tiles of any size give the same bits. */
typedef struct tn_bf16_tile {
    const uint16_t *x;
    const ptrdiff_t *tap;          /* offsets in elements */
    int64_t taps, pairs;           /* so many taps of so many pairs, */
    int64_t last_taps, last_pairs; /* then so many of so many (the last, partial channel block) */
    int64_t step;                  /* from pixel to pixel, in elements */
    const uint16_t *w;             /* (pairs, nv, B, 2) */
    int64_t ahead, ahead_step;     /* fetched meanwhile: w + ahead, a step further on with each pair */
    const float *bias;             /* nv vectors, the last `valid` lanes long, or NULL */
    const float *bias_m;           /* one for each pixel, or NULL */
    const uint16_t *residual;      /* addressed like y, or NULL */
    uint16_t *y;                   /* rounded; lanes past `valid` become zeros */
    float *y32;                    /* instead of y, when it is not NULL; lanes past `valid` stay as they are */
    int64_t y_pixel, y_vec;        /* steps of y: from pixel to pixel, from vector to vector */
    int64_t y32_pixel, y32_vec;
    int64_t valid; /* lanes of the last vector that exist */
    bool raw;      /* y32 gets the sums (m, nv, B) and nothing else happens */
    bool resume;   /* what y32 holds is added, too */
    bool silu;     /* and activated before the clamp: x / (1 + exp(-alpha x)), relative error below 2^-12 */
    float alpha;
    float lo, hi; /* clamp; -inf and inf when there is none */
} tn_bf16_tile;

#endif
