#include <math.h>

#include "kernels/ref/ref.h"

static double pool_one(const tn_pool2d *p, const float *plane, int64_t oy, int64_t ox) {
    double acc = p->average ? 0 : -INFINITY;
    int64_t inside = 0, padded = 0;
    for (int ky = 0; ky < p->kh; ky++) {
        for (int kx = 0; kx < p->kw; kx++) {
            int64_t iy = oy * p->sh - p->pad_top + ky * p->dh, ix = ox * p->sw - p->pad_left + kx * p->dw;
            if (iy < p->ih + p->pad_bottom && ix < p->iw + p->pad_right) padded++;
            if (iy < 0 || iy >= p->ih || ix < 0 || ix >= p->iw) continue;
            double v = (double)plane[iy * p->iw + ix];
            inside++;
            if (p->average)
                acc += v;
            else if (isnan(v) || v > acc)
                acc = isnan(acc) ? acc : v;
        }
    }
    if (!p->average) return acc;
    int64_t count = p->count_pad ? padded : inside;
    return acc / (double)(count > 0 ? count : 1);
}

void tn_ref_pool2d(const tn_pool2d *p, const float *x, double *y) {
    for (int64_t plane = 0; plane < p->n * p->c; plane++)
        for (int64_t oy = 0; oy < p->oh; oy++)
            for (int64_t ox = 0; ox < p->ow; ox++) *y++ = pool_one(p, x + plane * p->ih * p->iw, oy, ox);
}
