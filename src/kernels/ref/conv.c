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

/* ---- magnitude of Winograd's sums
 * -------------------------------------------------------------------------------------- */

/* |B^T|, |G|, |A^T| for m = 2 and 4. */
static const double bt2[4][6] = {{1, 0, 1}, {0, 1, 1}, {0, 1, 1}, {0, 1, 0, 1}};
static const double bt4[6][6] = {{4, 0, 5, 0, 1, 0}, {0, 4, 4, 1, 1, 0}, {0, 4, 4, 1, 1, 0},
                                 {0, 2, 1, 2, 1, 0}, {0, 2, 1, 2, 1, 0}, {0, 4, 0, 5, 0, 1}};
static const double ag2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0, 0, 1}};
static const double ag4[6][3] = {{1.0 / 4, 0, 0},
                                 {1.0 / 6, 1.0 / 6, 1.0 / 6},
                                 {1.0 / 6, 1.0 / 6, 1.0 / 6},
                                 {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                 {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                 {0, 0, 1}};
static const double at2[2][6] = {{1, 1, 1, 0}, {0, 1, 1, 1}};
static const double at4[4][6] = {{1, 1, 1, 1, 1, 0}, {0, 1, 1, 2, 2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, 1, 8, 8, 1}};

/* Row i of |B^T|, |G| and |A^T|. */
static const double *row_b(int m, int i) { return m == 2 ? bt2[i] : bt4[i]; }
static const double *row_g(int m, int i) { return m == 2 ? ag2[i] : ag4[i]; }
static const double *row_a(int m, int i) { return m == 2 ? at2[i] : at4[i]; }

/* Adds (|G| |g| |G^T|) . (|B^T| |d| |B|) of one input channel to s; d is the tile at (oy, ox) of the output. */
static void add_products(const tn_conv *c, int m, const float *x, const float *g, int64_t oy, int64_t ox, double *s) {
    int e = m + 2;
    for (int i = 0; i < e; i++) {
        for (int j = 0; j < e; j++) {
            double u = 0, v = 0;
            for (int a = 0; a < 3; a++)
                for (int b = 0; b < 3; b++) u += row_g(m, i)[a] * fabs((double)g[a * 3 + b]) * row_g(m, j)[b];
            for (int a = 0; a < e; a++) {
                for (int b = 0; b < e; b++) {
                    int64_t iy = oy + a - c->pad_top, ix = ox + b - c->pad_left;
                    if (iy < 0 || iy >= c->ih || ix < 0 || ix >= c->iw) continue;
                    v += row_b(m, i)[a] * fabs((double)x[iy * c->iw + ix]) * row_b(m, j)[b];
                }
            }
            s[i * e + j] += u * v;
        }
    }
}

void tn_ref_winograd_mag(const tn_conv *c, int m, const float *x, const float *w, double *mag) {
    int e = m + 2;
    for (int64_t no = 0; no < c->n * c->oc; no++) {
        for (int64_t oy = 0; oy < c->oh; oy += m) {
            for (int64_t ox = 0; ox < c->ow; ox += m) {
                double s[36] = {0};
                for (int64_t i = 0; i < c->ic; i++)
                    add_products(c, m, x + (no / c->oc * c->ic + i) * c->ih * c->iw, w + (no % c->oc * c->ic + i) * 9,
                                 oy, ox, s);
                for (int64_t p = oy; p < TN_MIN(oy + m, c->oh); p++) {
                    for (int64_t q = ox; q < TN_MIN(ox + m, c->ow); q++) {
                        double sum = 0;
                        for (int i = 0; i < e; i++)
                            for (int j = 0; j < e; j++)
                                sum += row_a(m, (int)(p - oy))[i] * s[i * e + j] * row_a(m, (int)(q - ox))[j];
                        mag[(no * c->oh + p) * c->ow + q] = sum;
                    }
                }
            }
        }
    }
}
