/* One dimension of Winograd's transforms. Interpolation points at stride 1: 0, 1, -1, (2, -2,) infinity, or, in
 * input_4p and output_4p, 0, P, -P, Q, -Q, infinity; of the even inputs at stride 2: 0, 1, (-1, 2,) infinity. */
#ifndef TN_KERNELS_WINOGRAD_LINES_H
#define TN_KERNELS_WINOGRAD_LINES_H

#include "kernels/winograd.h"

/* One dimension of B^T d; in and out step through t by `s`. */
TN_INLINE void input_2(const vf *d, vf *t, const int s) {
    t[0] = vf_sub(d[0], d[2 * s]);
    t[s] = vf_add(d[s], d[2 * s]);
    t[2 * s] = vf_sub(d[2 * s], d[s]);
    t[3 * s] = vf_sub(d[s], d[3 * s]);
}

TN_INLINE void input_4(const vf *d, vf *t, const int s) {
    vf d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    vf two = vf_set(2.0f), m4 = vf_set(-4.0f), m5 = vf_set(-5.0f), four = vf_set(4.0f);
    vf even = vf_fma(m4, d2, d4), odd = vf_fma(m4, d1, d3); /* d4 - 4 d2, d3 - 4 d1 */
    vf e2 = vf_sub(d4, d2), o2 = vf_sub(d3, d1);
    t[0] = vf_fma(four, d0, vf_fma(m5, d2, d4));
    t[s] = vf_add(even, odd);
    t[2 * s] = vf_sub(even, odd);
    t[3 * s] = vf_fma(two, o2, e2);
    t[4 * s] = vf_fma(vf_set(-2.0f), o2, e2);
    t[5 * s] = vf_fma(four, d1, vf_fma(m5, d3, d5));
}

/* Even inputs e0 .. e2 by F(2, 2), odd ones as they are: (e, o) of the first sum, e of the second, (e, o) of the last.
 */
TN_INLINE void input_2s2(const vf *d, vf *t) {
    t[0] = vf_sub(d[0], d[2]);
    t[1] = d[1];
    t[2] = d[2];
    t[3] = vf_sub(d[4], d[2]);
    t[4] = d[3];
}

/* Even inputs by F(4, 2). The odd ones' part of output i is o_i times the middle tap; of the sums, those at 0, 1, -1
 * and infinity are enough to give four numbers. */
TN_INLINE void input_4s2(const vf *d, vf *t) {
    vf two = vf_set(2.0f), up = vf_sub(d[6], d[2]), down = vf_sub(d[6], d[4]);
    t[0] = vf_fma(two, vf_sub(d[0], d[4]), up);
    t[1] = vf_sub(d[1], d[5]);
    t[2] = vf_fma(vf_set(-2.0f), d[2], down);
    t[3] = vf_add(d[3], d[5]);
    t[4] = vf_fma(two, vf_sub(d[2], d[4]), down);
    t[5] = vf_sub(d[5], d[3]);
    t[6] = up;
    t[7] = vf_fma(vf_set(-2.0f), up, vf_sub(d[8], d[4]));
    t[8] = vf_sub(d[7], d[3]);
}

/* One dimension of A^T m: m + 2 values to m. */
TN_INLINE void output_2(const vf *t, vf *y, const int from, const int to) {
    vf a = vf_add(t[from], t[2 * from]), b = vf_sub(t[from], t[2 * from]);
    y[0] = vf_add(t[0], a);
    y[to] = vf_sub(b, t[3 * from]);
}

TN_INLINE void output_4(const vf *t, vf *y, const int from, const int to) {
    vf p = vf_add(t[from], t[2 * from]), q = vf_sub(t[from], t[2 * from]);
    vf r = vf_add(t[3 * from], t[4 * from]), s = vf_sub(t[3 * from], t[4 * from]);
    y[0] = vf_add(vf_add(t[0], p), r);
    y[to] = vf_fma(vf_set(2.0f), s, q);
    y[2 * to] = vf_fma(vf_set(4.0f), r, p);
    y[3 * to] = vf_add(vf_fma(vf_set(8.0f), s, q), t[5 * from]);
}

TN_INLINE void output_2s2(const vf *t, vf *y, const int from) {
    y[0] = vf_add(t[0], t[from]);
    y[1] = vf_add(t[from], t[2 * from]);
}

TN_INLINE void output_4s2(const vf *t, vf *y, const int from) {
    vf p = vf_add(t[from], t[2 * from]), q = vf_sub(t[from], t[2 * from]), r = t[3 * from];
    y[0] = vf_add(vf_add(t[0], p), r);
    y[1] = vf_fma(vf_set(2.0f), r, q);
    y[2] = vf_fma(vf_set(4.0f), r, p);
    y[3] = vf_add(vf_fma(vf_set(8.0f), r, q), t[4 * from]);
}

/* Among points that are exact with their powers these multiply the rounding of transformed operands least: by 2.2,
 * where 1 and 2 multiply it by 3.3 (the root of the mean, over the four outputs, of the sum of A^2 |B|^2 |G|^2 / 3). */
#define WINOGRAD_P 0.6875f
#define WINOGRAD_Q 1.5f

TN_INLINE void input_4p(const vf *d, vf *t) {
    const float p2 = WINOGRAD_P * WINOGRAD_P, q2 = WINOGRAD_Q * WINOGRAD_Q;
    vf product = vf_set(p2 * q2), sum = vf_set(-p2 - q2);
    vf even_p = vf_fma(vf_set(-q2), d[2], d[4]), odd_p = vf_fma(vf_set(-q2), d[1], d[3]);
    vf even_q = vf_fma(vf_set(-p2), d[2], d[4]), odd_q = vf_fma(vf_set(-p2), d[1], d[3]);
    t[0] = vf_fma(product, d[0], vf_fma(sum, d[2], d[4]));
    t[1] = vf_fma(vf_set(WINOGRAD_P), odd_p, even_p);
    t[2] = vf_fma(vf_set(-WINOGRAD_P), odd_p, even_p);
    t[3] = vf_fma(vf_set(WINOGRAD_Q), odd_q, even_q);
    t[4] = vf_fma(vf_set(-WINOGRAD_Q), odd_q, even_q);
    t[5] = vf_fma(product, d[1], vf_fma(sum, d[3], d[5]));
}

TN_INLINE void output_4p(const vf *t, vf *y) {
    const float p = WINOGRAD_P, q = WINOGRAD_Q;
    vf p_sum = vf_add(t[1], t[2]), p_difference = vf_mul(vf_set(p), vf_sub(t[1], t[2]));
    vf q_sum = vf_add(t[3], t[4]), q_difference = vf_mul(vf_set(q), vf_sub(t[3], t[4]));
    y[0] = vf_add(vf_add(t[0], p_sum), q_sum);
    y[1] = vf_add(p_difference, q_difference);
    y[2] = vf_fma(vf_set(p * p), p_sum, vf_mul(vf_set(q * q), q_sum));
    y[3] = vf_fma(vf_set(p * p), p_difference, vf_fma(vf_set(q * q), q_difference, t[5]));
}

TN_INLINE void input_1d(const vf *d, vf *t, const int m, const int stride) {
    if (stride == 1 && m == 2) input_2(d, t, 1);
    if (stride == 1 && m == 4) input_4(d, t, 1);
    if (stride == 2 && m == 2) input_2s2(d, t);
    if (stride == 2 && m == 4) input_4s2(d, t);
}

TN_INLINE void output_1d(const vf *t, vf *y, const int from, const int m, const int stride) {
    if (stride == 1 && m == 2) output_2(t, y, from, 1);
    if (stride == 1 && m == 4) output_4(t, y, from, 1);
    if (stride == 2 && m == 2) output_2s2(t, y, from);
    if (stride == 2 && m == 4) output_4s2(t, y, from);
}

#endif
