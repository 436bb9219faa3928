#include "kernels/ref/ref.h"

void tn_ref_q8_conv(const tn_q8_conv *c, const int32_t *x, const int32_t *w, const int32_t *bias, int32_t x_zero,
                    const int32_t *w_zero, int32_t *sums) {
    int64_t icg = c->ic / c->groups, ocg = c->oc / c->groups;
    for (int64_t n = 0; n < c->n; n++)
        for (int64_t o = 0; o < c->oc; o++)
            for (int64_t oy = 0; oy < c->oh; oy++)
                for (int64_t ox = 0; ox < c->ow; ox++) {
                    uint32_t sum = bias ? (uint32_t)bias[o] : 0;
                    for (int64_t i = 0; i < icg; i++)
                        for (int64_t ky = 0; ky < c->kh; ky++)
                            for (int64_t kx = 0; kx < c->kw; kx++) {
                                int64_t iy = oy * c->sh + ky * c->dh - c->pad_top;
                                int64_t ix = ox * c->sw + kx * c->dw - c->pad_left;
                                if (iy < 0 || iy >= c->ih || ix < 0 || ix >= c->iw) continue;
                                int64_t plane = n * c->ic + o / ocg * icg + i;
                                int32_t xv = x[(plane * c->ih + iy) * c->iw + ix] - x_zero;
                                int32_t wv = w[((o * icg + i) * c->kh + ky) * c->kw + kx] - w_zero[o];
                                sum += (uint32_t)(xv * wv);
                            }
                    *sums++ = (int32_t)sum;
                }
}
