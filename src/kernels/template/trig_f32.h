/* Trigonometric functions and their inverses; polynomials as in Cephes (S. L. Moshier), error in ULP in
 * docs/numerics.md.
 *
 * x = q pi / 2 + r, |r| <= pi / 4. pi / 2 is subtracted in four parts; q times each of the first three, of 11 bits, is
 * exact for |q| <= 2^13, so that this is right without fused multiply-add too. */
#define TRIG_LIMIT 12800.0f /* of |x|, so of |q| <= 2^13 */
#define TRIG_CHUNK 256

/* Is one of n elements beyond the limit, or not a number? */
TN_INLINE bool trig_far(const float *x, size_t n) {
    vf far = vf_zero(), limit = vf_set(TRIG_LIMIT);
    for (size_t i = 0; i < n; i += VEC_W) {
        size_t rest = n - i;
        vf v = vf_abs(rest >= VEC_W ? vf_load(x + i) : vf_load_n(x + i, (int64_t)rest));
        far = vf_sel(vf_lt(limit, v), v, far);
    }
    float lane[VEC_W];
    bool any = false;
    vf_store(lane, far);
    for (int i = 0; i < VEC_W; i++) any |= lane[i] > TRIG_LIMIT;
    return any;
}

TN_INLINE vf trig_reduce(vf x, vf *q) {
    vf k = vf_round(vf_mul(x, vf_set(0.636619772f)));
    vf r = vf_fma(k, vf_set(-1.5703125f), x);
    r = vf_fma(k, vf_set(-4.83751297e-04f), r);
    r = vf_fma(k, vf_set(-7.54953362e-08f), r);
    *q = k;
    return vf_fma(k, vf_set(-2.56334407e-12f), r);
}

/* sin r and cos r for |r| <= pi / 4, u = r^2. */
TN_INLINE vf sin_core(vf r, vf u) {
    vf p = vf_set(-1.9515295891e-4f);
    p = vf_fma(p, u, vf_set(8.3321608736e-3f));
    p = vf_fma(p, u, vf_set(-1.6666654611e-1f));
    return vf_fma(vf_mul(r, u), p, r);
}
TN_INLINE vf cos_core(vf u) {
    vf p = vf_set(2.443315711809948e-5f);
    p = vf_fma(p, u, vf_set(-1.388731625493765e-3f));
    p = vf_fma(p, u, vf_set(4.166664568298827e-2f));
    vf half = vf_mul(u, vf_set(0.5f)), top = vf_sub(vf_set(1.0f), half);
    vf lost = vf_sub(vf_sub(vf_set(1.0f), top), half); /* of 1 - u / 2 in rounding */
    return vf_add(top, vf_fma(vf_mul(u, u), p, lost));
}

/* The sine of x + quarters pi / 2. */
TN_INLINE vf vsin(vf x, float quarters) {
    vf q, r = trig_reduce(x, &q), u = vf_mul(r, r);
    /* q modulo 4, one of -2 to 2: 0 sine, 1 cosine, 2 or -2 minus sine, -1 minus cosine */
    q = vf_add(q, vf_set(quarters));
    q = vf_fma(vf_round(vf_mul(q, vf_set(0.25f))), vf_set(-4.0f), q);
    vm odd = vf_lt(vf_abs(vf_sub(vf_abs(q), vf_set(1.0f))), vf_set(0.5f));
    vm minus = vf_lt(vf_set(1.0f), vf_abs(vf_sub(q, vf_set(0.5f))));
    vf y = vf_sel(odd, cos_core(u), sin_core(r, u));
    y = vf_sel(minus, vf_sub(vf_zero(), y), y);
    return quarters == 0.0f ? vf_sel(vf_lt(vf_abs(x), vf_set(1e-4f)), x, y) : y; /* keeps the sign of zero */
}

TN_INLINE vf vtan(vf x) {
    vf q, r = trig_reduce(x, &q), u = vf_mul(r, r), s = sin_core(r, u), c = cos_core(u);
    vf whole = vf_fma(vf_round(vf_mul(q, vf_set(0.5f))), vf_set(-2.0f), q);
    vm odd = vf_lt(vf_set(0.5f), vf_abs(whole));
    vf y = vf_div(vf_sel(odd, vf_sub(vf_zero(), c), s), vf_sel(odd, s, c));
    return vf_sel(vf_lt(vf_abs(x), vf_set(1e-4f)), x, y);
}

/* asin a - a for 0 <= a <= 1/2, u = a^2, divided by a. */
TN_INLINE vf asin_core(vf u) {
    vf p = vf_set(4.2163199048e-2f);
    p = vf_fma(p, u, vf_set(2.4181311049e-2f));
    p = vf_fma(p, u, vf_set(4.5470025998e-2f));
    p = vf_fma(p, u, vf_set(7.4953002686e-2f));
    p = vf_fma(p, u, vf_set(1.6666752422e-1f));
    return vf_mul(p, u);
}

/* Above 1/2: pi/2 - 2 asin(sqrt((1 - a) / 2)). pi/2 has a second part, 7.5e-8 less its rounding. */
TN_INLINE vf vasin(vf x) {
    vf a = vf_abs(x);
    vm high = vf_lt(vf_set(0.5f), a);
    vf u = vf_sel(high, vf_mul(vf_sub(vf_set(1.0f), a), vf_set(0.5f)), vf_mul(a, a));
    vf t = vf_sel(high, vf_sqrt(u), a), p = vf_fma(t, asin_core(u), t);
    vf y = vf_sub(vf_set(1.57079637f), vf_fma(vf_set(2.0f), p, vf_set(4.37113883e-8f)));
    return vf_copysign(vf_sel(high, y, p), x);
}

TN_INLINE vf vacos(vf x) {
    vf a = vf_abs(x);
    vm high = vf_lt(vf_set(0.5f), a), minus = vf_lt(x, vf_zero());
    vf u = vf_sel(high, vf_mul(vf_sub(vf_set(1.0f), a), vf_set(0.5f)), vf_mul(a, a));
    vf t = vf_sel(high, vf_sqrt(u), x), p = vf_fma(t, asin_core(u), t);
    vf twice = vf_add(p, p);
    vf far = vf_sel(minus, vf_sub(vf_set(3.14159274f), vf_add(twice, vf_set(8.74227766e-8f))), twice);
    return vf_sel(high, far, vf_sub(vf_set(1.57079637f), vf_add(p, vf_set(4.37113883e-8f))));
}

/* Above tan(3 pi / 8): pi/2 + atan(-1 / a); above tan(pi / 8): pi/4 + atan((a - 1) / (a + 1)). */
TN_INLINE vf vatan(vf x) {
    vf a = vf_abs(x);
    vm high = vf_lt(vf_set(2.41421356f), a), middle = vf_lt(vf_set(0.414213562f), a);
    vf top = vf_sel(high, vf_set(-1.0f), vf_sel(middle, vf_sub(a, vf_set(1.0f)), a));
    vf low = vf_sel(high, a, vf_sel(middle, vf_add(a, vf_set(1.0f)), vf_set(1.0f)));
    vf t = vf_div(top, low), u = vf_mul(t, t), p = vf_set(8.05374449538e-2f);
    p = vf_fma(p, u, vf_set(-1.38776856032e-1f));
    p = vf_fma(p, u, vf_set(1.99777106478e-1f));
    p = vf_fma(p, u, vf_set(-3.33329491539e-1f));
    p = vf_fma(vf_mul(t, u), p, t);
    vf base = vf_sel(high, vf_set(1.57079637f), vf_sel(middle, vf_set(0.785398185f), vf_zero()));
    return vf_copysign(vf_add(base, p), x);
}
