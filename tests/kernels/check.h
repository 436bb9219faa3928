/* What the kernel tests share: guarded memory, random numbers, tiers, ULPs, layouts. Include after cmocka. */
#ifndef TESTS_KERNELS_CHECK_H
#define TESTS_KERNELS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "cpu/cpu.h"

#define CK_EPS    5.9604644775390625e-08 /* half an ULP of 1: the relative error of one rounding */
#define CK_CANARY 0x7fa5a5a5u            /* a NaN: poisons whatever reads it */

/* `n` floats that end within 64 bytes before a page that faults, with canaries on both sides. */
typedef struct ck_buf {
    float *p;
    size_t n;
    uint8_t *map;
    size_t bytes, front, back; /* of the map; canary bytes before and after p */
} ck_buf;

static inline ck_buf ck_alloc(size_t n, size_t align) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), need = n * sizeof(float);
    size_t inner = (need + align - 1) / align * align;
    size_t body = (inner + page - 1) / page * page + page;
    ck_buf b = {.n = n, .bytes = body + page};
    b.map = mmap(NULL, b.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(b.map != MAP_FAILED);
    assert_int_equal(mprotect(b.map + body, page, PROT_NONE), 0);
    b.front = body - inner;
    b.back = inner - need;
    b.p = (float *)(void *)(b.map + b.front);
    for (size_t i = 0; i < body / 4; i++) ((uint32_t *)(void *)b.map)[i] = CK_CANARY;
    return b;
}

static inline void ck_free(ck_buf *b) {
    const uint32_t *w = (const uint32_t *)(const void *)b->map;
    for (size_t i = 0; i < b->front / 4; i++) assert_int_equal(w[i], CK_CANARY);
    for (size_t i = 0; i < b->back / 4; i++) assert_int_equal(w[b->front / 4 + b->n + i], CK_CANARY);
    munmap(b->map, b->bytes);
}

static uint64_t ck_state = 0x9e3779b97f4a7c15u;
static inline uint64_t ck_rand(void) {
    ck_state ^= ck_state << 13;
    ck_state ^= ck_state >> 7;
    ck_state ^= ck_state << 17;
    return ck_state;
}
static inline int ck_int(int lo, int hi) { return lo + (int)(ck_rand() % (uint64_t)(hi - lo + 1)); }
static inline float ck_float(float lo, float hi) {
    return lo + (hi - lo) * (float)((double)(ck_rand() >> 40) / 16777216.0);
}
static inline void ck_fill(float *p, size_t n, float lo, float hi) {
    for (size_t i = 0; i < n; i++) p[i] = ck_float(lo, hi);
}
static inline ck_buf ck_random(size_t n, size_t align) {
    ck_buf b = ck_alloc(n, align);
    ck_fill(b.p, n, -1.0f, 1.0f);
    return b;
}

/* for (tern_cpu_tier t = 0; t <= ck_top(); t++) */
static inline tern_cpu_tier ck_top(void) { return tn_cpu_get_info()->tier; }

static inline double ck_ulp(double ref) {
    int e;
    frexp(ref, &e);
    return ldexp(1.0, (e - 1 < -126 ? -126 : e - 1) - 23);
}

/* Same bits, or both NaN. */
static inline bool ck_same(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }

static inline void ck_to_blocked(const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block) {
    int64_t cb = tn_ceil_div(c, block);
    for (int64_t i = 0; i < n; i++)
        for (int64_t b = 0; b < cb; b++)
            for (int64_t p = 0; p < hw; p++)
                for (int l = 0; l < block; l++) *y++ = b * block + l < c ? x[(i * c + b * block + l) * hw + p] : 0.0f;
}
/* Index into blocked memory of channel c of pixel p. */
static inline size_t ck_at(int64_t n, int64_t c, int64_t p, int64_t channels, int64_t hw, int block) {
    int64_t cb = tn_ceil_div(channels, block);
    return (size_t)((((n * cb + c / block) * hw) + p) * block + c % block);
}
/* Every lane past the last channel is +0 or -0. */
static inline void ck_lanes_zero(const float *y, int64_t n, int64_t c, int64_t hw, int block) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t l = c; l < tn_round_up(c, block); l++)
            for (int64_t p = 0; p < hw; p++) assert_true(y[ck_at(i, l, p, c, hw, block)] == 0.0f);
}

#endif
