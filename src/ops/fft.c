#include "ops/fft.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static tn_complex product(tn_complex a, tn_complex b) {
    return (tn_complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

static void reverse_bits(tn_complex *x, int64_t m) {
    for (int64_t i = 1, j = 0; i < m; i++) {
        int64_t bit = m >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j |= bit;
        if (i < j) {
            tn_complex t = x[i];
            x[i] = x[j];
            x[j] = t;
        }
    }
}

/* x[m], m a power of two, with roots of order m. */
static void radix2(const tn_complex *roots, tn_complex *x, int64_t m) {
    reverse_bits(x, m);
    for (int64_t half = 1; half < m; half *= 2) {
        int64_t step = m / (2 * half);
        for (int64_t start = 0; start < m; start += 2 * half) {
            tn_complex *a = x + start, *b = a + half;
            for (int64_t k = 0; k < half; k++) {
                tn_complex t = product(b[k], roots[k * step]);
                b[k] = (tn_complex){a[k].re - t.re, a[k].im - t.im};
                a[k] = (tn_complex){a[k].re + t.re, a[k].im + t.im};
            }
        }
    }
}

/* k^2 mod 2n keeps the angle exact for large k. */
static void fill_chirp(tn_fft *f) {
    int64_t square = 0;
    for (int64_t k = 0; k < f->n; k++) {
        double angle = -pi * (double)square / (double)f->n;
        f->chirp[k] = (tn_complex){cos(angle), sin(angle)};
        square = (square + 2 * k + 1) % (2 * f->n);
    }
}

static void fill_filter(tn_fft *f) {
    memset(f->filter, 0, (size_t)f->m * sizeof *f->filter);
    for (int64_t k = 0; k < f->n; k++) {
        tn_complex v = {f->chirp[k].re, -f->chirp[k].im};
        f->filter[k] = v;
        if (k) f->filter[f->m - k] = v;
    }
    radix2(f->roots, f->filter, f->m);
    for (int64_t k = 0; k < f->m; k++) {
        f->filter[k].re /= (double)f->m;
        f->filter[k].im /= (double)f->m;
    }
}

tern_status tn_fft_init(tn_fft *f, int64_t n, tern_error *err) {
    *f = (tn_fft){.n = n, .m = 1};
    if (n < 1 || n > (int64_t)1 << 40)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a Fourier transform of %lld elements", (long long)n);
    bool direct = (n & (n - 1)) == 0;
    while (f->m < (direct ? n : 2 * n - 1)) f->m *= 2;
    f->roots = tn_alloc_array((size_t)TN_MAX(f->m / 2, (int64_t)1), sizeof *f->roots);
    if (!direct) {
        f->chirp = tn_alloc_array((size_t)n, sizeof *f->chirp);
        f->filter = tn_alloc_array((size_t)f->m, sizeof *f->filter);
        f->scratch = (size_t)f->m;
    }
    if (!f->roots || (!direct && (!f->chirp || !f->filter))) {
        tn_fft_release(f);
        return tn_fail_oom(err, (size_t)f->m * sizeof *f->roots);
    }
    for (int64_t k = 0; k < f->m / 2; k++) {
        double angle = -2 * pi * (double)k / (double)f->m;
        f->roots[k] = (tn_complex){cos(angle), sin(angle)};
    }
    if (direct) return TERN_OK;
    fill_chirp(f);
    fill_filter(f);
    return TERN_OK;
}

void tn_fft_release(tn_fft *f) {
    tn_free(f->roots);
    tn_free(f->chirp);
    tn_free(f->filter);
    f->roots = f->chirp = f->filter = NULL;
}

static void conjugate(tn_complex *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i].im = -x[i].im;
}

/* Multiplies by the chirp, convolves with its conjugate, multiplies again. */
static void bluestein(const tn_fft *f, tn_complex *x, tn_complex *a) {
    for (int64_t k = 0; k < f->n; k++) a[k] = product(x[k], f->chirp[k]);
    memset(a + f->n, 0, (size_t)(f->m - f->n) * sizeof *a);
    radix2(f->roots, a, f->m);
    for (int64_t k = 0; k < f->m; k++) a[k] = product(a[k], f->filter[k]);
    conjugate(a, f->m);
    radix2(f->roots, a, f->m);
    for (int64_t k = 0; k < f->n; k++) x[k] = product((tn_complex){a[k].re, -a[k].im}, f->chirp[k]);
}

void tn_fft_run(const tn_fft *f, tn_complex *x, bool inverse, tn_complex *scratch) {
    if (inverse) conjugate(x, f->n);
    if (f->chirp)
        bluestein(f, x, scratch);
    else
        radix2(f->roots, x, f->n);
    if (inverse) conjugate(x, f->n);
}
