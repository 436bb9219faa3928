/* Arrays of 16-bit floats. The AVX2 and AVX-512 forms give the same bits as the portable ones. */
#include "base/base.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>

#define AVX2 __attribute__((target("avx2,f16c")))

#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl")))

enum { NEITHER = 1, HAVE_AVX2, HAVE_AVX512 };

/* __builtin_cpu_supports would ask at the start of every process, and for more. */
static int ask(void) {
    enum { YMM_STATE = 0x6, ZMM_STATE = 0xe6 };
    unsigned eax, ebx = 0, ecx = 0, edx, saved, high;
    const unsigned need = bit_OSXSAVE | bit_AVX | bit_F16C, wide = bit_AVX512F | bit_AVX512BW | bit_AVX512VL;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & need) != need) return NEITHER;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0)); // which registers the operating system saves
    if ((saved & YMM_STATE) != YMM_STATE || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & bit_AVX2))
        return NEITHER;
    return (saved & ZMM_STATE) == ZMM_STATE && (ebx & wide) == wide ? HAVE_AVX512 : HAVE_AVX2;
}

static int have(void) {
    static atomic_int known; // 0: not asked yet; CPUID is slow in a virtual machine
    int state = atomic_load_explicit(&known, memory_order_relaxed);
    if (state == 0) {
        state = ask();
        atomic_store_explicit(&known, state, memory_order_relaxed);
    }
    return state;
}

// Each converts the first n / 8 * 8 elements and returns how many that were.

AVX2 static size_t f16_to_f32_avx2(const uint16_t *src, float *dst, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
    return i;
}

AVX2 static size_t f32_to_f16_avx2(const float *src, uint16_t *dst, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}

AVX2 static size_t bf16_to_f32_avx2(const uint16_t *src, float *dst, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(src + i)));
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    return i;
}

AVX2 static size_t f32_to_bf16_avx2(const float *src, uint16_t *dst, size_t n) {
    const __m256i half = _mm256_set1_epi32(0x7fff), one = _mm256_set1_epi32(1), quiet = _mm256_set1_epi32(0x40);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 f = _mm256_loadu_ps(src + i);
        __m256i bits = _mm256_castps_si256(f), top = _mm256_srli_epi32(bits, 16);
        __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, half), _mm256_and_si256(top, one));
        __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
        __m256i code = _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), _mm256_or_si256(top, quiet), nan);
        __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
        _mm_storeu_si128((__m128i *)(dst + i), packed);
    }
    return i;
}

AVX512 static size_t bf16_to_f32_avx512(const uint16_t *src, float *dst, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(src + i)));
        _mm512_storeu_ps(dst + i, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
    }
    return i + bf16_to_f32_avx2(src + i, dst + i, n - i);
}

AVX512 static size_t f32_to_bf16_avx512(const float *src, uint16_t *dst, size_t n) {
    const __m512i half = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1), quiet = _mm512_set1_epi32(0x40);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 f = _mm512_loadu_ps(src + i);
        __m512i bits = _mm512_castps_si512(f), top = _mm512_srli_epi32(bits, 16);
        __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, half), _mm512_and_si512(top, one));
        __m512i code = _mm512_srli_epi32(sum, 16);
        code = _mm512_mask_or_epi32(code, _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q), top, quiet);
        _mm256_storeu_si256((__m256i *)(dst + i), _mm512_cvtepi32_epi16(code));
    }
    return i + f32_to_bf16_avx2(src + i, dst + i, n - i);
}

#define FAST(name, src, dst, n)   (have() >= HAVE_AVX2 ? name##_avx2(src, dst, n) : 0)
#define FASTER(name, src, dst, n) (have() == HAVE_AVX512 ? name##_avx512(src, dst, n) : FAST(name, src, dst, n))
#else
#define FAST(name, src, dst, n)   0
#define FASTER(name, src, dst, n) 0
#endif

void tn_f16_to_f32_n(const uint16_t *src, float *dst, size_t n) {
    for (size_t i = FAST(f16_to_f32, src, dst, n); i < n; i++) dst[i] = tn_f16_to_f32(src[i]);
}

void tn_f32_to_f16_n(const float *src, uint16_t *dst, size_t n) {
    for (size_t i = FAST(f32_to_f16, src, dst, n); i < n; i++) dst[i] = tn_f32_to_f16(src[i]);
}

void tn_bf16_to_f32_n(const uint16_t *src, float *dst, size_t n) {
    for (size_t i = FASTER(bf16_to_f32, src, dst, n); i < n; i++) dst[i] = tn_bf16_to_f32(src[i]);
}

void tn_f32_to_bf16_n(const float *src, uint16_t *dst, size_t n) {
    for (size_t i = FASTER(f32_to_bf16, src, dst, n); i < n; i++) dst[i] = tn_f32_to_bf16(src[i]);
}
