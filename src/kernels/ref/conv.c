#include <math.h>

#include "kernels/ref/ref.h"

static void conv_one(const tn_conv *c, const float *x, const float *w, int64_t oy, int64_t ox, double *sum,
                     double *mag) {
    double s = 0, t = 0;
    for (int64_t i = 0; i < c->ic / c->groups; i++) {
        for (int ky = 0; ky < c->kh; ky++) {
            for (int kx = 0; kx < c->kw; kx++) {
                int64_t iy = oy * c->sh - c->pad_top + ky * c->dh, ix = ox * c->sw - c->pad_left + kx * c->dw;
                if (iy < 0 || iy >= c->ih || ix < 0 || ix >= c->iw) continue;
                double v = (double)x[(i * c->ih + iy) * c->iw + ix] * (double)w[(i * c->kh + ky) * c->kw + kx];
                s += v;
                t += fabs(v);
            }
        }
    }
    *sum = s;
    *mag = t;
}

void tn_ref_conv(const tn_conv *c, const float *x, const float *w, double *sum, double *mag) {
    int64_t icg = c->ic / c->groups, ocg = c->oc / c->groups;
    for (int64_t n = 0; n < c->n; n++)
        for (int64_t o = 0; o < c->oc; o++)
            for (int64_t oy = 0; oy < c->oh; oy++)
                for (int64_t ox = 0; ox < c->ow; ox++)
                    conv_one(c, x + (n * c->ic + o / ocg * icg) * c->ih * c->iw, w + o * icg * c->kh * c->kw, oy, ox,
                             sum++, mag++);
}
