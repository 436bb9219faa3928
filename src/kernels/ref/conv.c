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

/* One dimension of a form of it, in absolute values: rows of B^T and G for each plane, the sum that the plane is part
 * of, and columns of A^T for each sum. */
typedef struct winograd_ref {
    int m, stride, inputs, planes, sums;
    double b[9][9], g[9][3];
    int sum[9];
    double a[4][6];
} winograd_ref;

#define P  0.6875
#define Q  1.5
#define P2 (P * P)
#define Q2 (Q * Q)
static const winograd_ref forms[] = {
    {2,
     1,
     4,
     4,
     4,
     {{1, 0, 1}, {0, 1, 1}, {0, 1, 1}, {0, 1, 0, 1}},
     {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, {0, 0, 1}},
     {0, 1, 2, 3},
     {{1, 1, 1, 0}, {0, 1, 1, 1}}},
    {4,
     1,
     6,
     6,
     6,
     {{4, 0, 5, 0, 1, 0},
      {0, 4, 4, 1, 1, 0},
      {0, 4, 4, 1, 1, 0},
      {0, 2, 1, 2, 1, 0},
      {0, 2, 1, 2, 1, 0},
      {0, 4, 0, 5, 0, 1}},
     {{1.0 / 4, 0, 0},
      {1.0 / 6, 1.0 / 6, 1.0 / 6},
      {1.0 / 6, 1.0 / 6, 1.0 / 6},
      {1.0 / 24, 1.0 / 12, 1.0 / 6},
      {1.0 / 24, 1.0 / 12, 1.0 / 6},
      {0, 0, 1}},
     {0, 1, 2, 3, 4, 5},
     {{1, 1, 1, 1, 1, 0}, {0, 1, 1, 2, 2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, 1, 8, 8, 1}}},
    {2,
     2,
     5,
     5,
     3,
     {{1, 0, 1}, {0, 1}, {0, 0, 1}, {0, 0, 1, 0, 1}, {0, 0, 0, 1}},
     {{1, 0, 0}, {0, 1, 0}, {1, 0, 1}, {0, 0, 1}, {0, 1, 0}},
     {0, 0, 1, 2, 2},
     {{1, 1, 0}, {0, 1, 1}}},
    {4,
     2,
     9,
     9,
     5,
     {{2, 0, 1, 0, 2, 0, 1},
      {0, 1, 0, 0, 0, 1},
      {0, 0, 2, 0, 1, 0, 1},
      {0, 0, 0, 1, 0, 1},
      {0, 0, 2, 0, 3, 0, 1},
      {0, 0, 0, 1, 0, 1},
      {0, 0, 1, 0, 0, 0, 1},
      {0, 0, 2, 0, 1, 0, 2, 0, 1},
      {0, 0, 0, 1, 0, 0, 0, 1}},
     {{0.5, 0, 0},
      {0, 1, 0},
      {0.5, 0, 0.5},
      {0, 0.5, 0},
      {1.0 / 6, 0, 1.0 / 6},
      {0, 0.5, 0},
      {1.0 / 6, 0, 1.0 / 3},
      {0, 0, 1},
      {0, 1, 0}},
     {0, 0, 1, 1, 2, 2, 3, 4, 4},
     {{1, 1, 1, 1, 0}, {0, 1, 1, 2, 0}, {0, 1, 1, 4, 0}, {0, 1, 1, 8, 1}}},
    /* Points 0, +-P, +-Q, infinity. */
    {4,
     1,
     6,
     6,
     6,
     {{P2 * Q2, 0, P2 + Q2, 0, 1, 0},
      {0, P *Q2, Q2, P, 1, 0},
      {0, P *Q2, Q2, P, 1, 0},
      {0, Q *P2, P2, Q, 1, 0},
      {0, Q *P2, P2, Q, 1, 0},
      {0, P2 *Q2, 0, P2 + Q2, 0, 1}},
     {{1 / (P2 * Q2), 0, 0},
      {1 / (2 * P2 * (Q2 - P2)), P / (2 * P2 * (Q2 - P2)), P2 / (2 * P2 * (Q2 - P2))},
      {1 / (2 * P2 * (Q2 - P2)), P / (2 * P2 * (Q2 - P2)), P2 / (2 * P2 * (Q2 - P2))},
      {1 / (2 * Q2 * (Q2 - P2)), Q / (2 * Q2 * (Q2 - P2)), Q2 / (2 * Q2 * (Q2 - P2))},
      {1 / (2 * Q2 * (Q2 - P2)), Q / (2 * Q2 * (Q2 - P2)), Q2 / (2 * Q2 * (Q2 - P2))},
      {0, 0, 1}},
     {0, 1, 2, 3, 4, 5},
     {{1, 1, 1, 1, 1, 0}, {0, P, P, Q, Q, 0}, {0, P2, P2, Q2, Q2, 0}, {0, P2 *P, P2 *P, Q2 *Q, Q2 *Q, 1}}},
};

/* Adds (|G| |g| |G^T|) . (|B^T| |d| |B|) of one input channel to s; d is the tile at (oy, ox) of the output. */
static void add_products(const tn_conv *c, const winograd_ref *r, const winograd_ref *f, const float *x, const float *g,
                         int64_t oy, int64_t ox, double *s) {
    double half[9][9] = {{0}}; /* |B^T| |d| */
    for (int a = 0; a < r->inputs; a++) {
        for (int b = 0; b < f->inputs; b++) {
            int64_t iy = oy * c->sh + a - c->pad_top, ix = ox * c->sw + b - c->pad_left;
            if (iy < 0 || iy >= c->ih || ix < 0 || ix >= c->iw) continue;
            for (int i = 0; i < r->planes; i++) half[i][b] += r->b[i][a] * fabs((double)x[iy * c->iw + ix]);
        }
    }
    for (int i = 0; i < r->planes; i++) {
        for (int j = 0; j < f->planes; j++) {
            double u = 0, v = 0;
            for (int a = 0; a < 3; a++)
                for (int b = 0; b < 3; b++) u += r->g[i][a] * fabs((double)g[a * 3 + b]) * f->g[j][b];
            for (int b = 0; b < f->inputs; b++) v += half[i][b] * f->b[j][b];
            s[r->sum[i] * f->sums + f->sum[j]] += u * v;
        }
    }
}

void tn_ref_winograd_mag(const tn_conv *c, int rows, int cols, const float *x, const float *w, double *mag) {
    const winograd_ref *r = &forms[(c->sh == 2 ? 2 : 0) + (rows == 4 ? 1 : 0)];
    const winograd_ref *f = rows == cols ? r : &forms[4];
    for (int64_t no = 0; no < c->n * c->oc; no++) {
        for (int64_t oy = 0; oy < c->oh; oy += rows) {
            for (int64_t ox = 0; ox < c->ow; ox += cols) {
                double s[36] = {0};
                for (int64_t i = 0; i < c->ic; i++)
                    add_products(c, r, f, x + (no / c->oc * c->ic + i) * c->ih * c->iw,
                                 w + (no % c->oc * c->ic + i) * 9, oy, ox, s);
                for (int64_t p = oy; p < TN_MIN(oy + rows, c->oh); p++) {
                    for (int64_t q = ox; q < TN_MIN(ox + cols, c->ow); q++) {
                        double sum = 0;
                        for (int i = 0; i < r->sums; i++)
                            for (int j = 0; j < f->sums; j++)
                                sum += r->a[p - oy][i] * s[i * f->sums + j] * f->a[q - ox][j];
                        mag[(no * c->oh + p) * c->ow + q] = sum;
                    }
                }
            }
        }
    }
}
