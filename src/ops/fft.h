/* Discrete Fourier transforms of any length in O(n log n), in double. */
#ifndef TN_OPS_FFT_H
#define TN_OPS_FFT_H

#include "base/base.h"

typedef struct tn_complex {
    double re, im;
} tn_complex;

/* Powers of two directly (radix 2); other lengths as a convolution of such a length (Bluestein). */
typedef struct tn_fft {
    int64_t n, m;       /* transform length; power of two that does the work */
    tn_complex *roots;  /* m / 2: exp(-2 pi i k / m) */
    tn_complex *chirp;  /* n: exp(-pi i k^2 / n); NULL when n is a power of two */
    tn_complex *filter; /* m: transform of the conjugate chirp, divided by m */
    size_t scratch;     /* tn_complex elements that run needs */
} tn_fft;

/* n >= 1. */
tern_status tn_fft_init(tn_fft *f, int64_t n, tern_error *err);
void tn_fft_release(tn_fft *f);
/* x[n] becomes its transform, not scaled; `inverse` takes the conjugate roots. */
void tn_fft_run(const tn_fft *f, tn_complex *x, bool inverse, tn_complex *scratch);

#endif
