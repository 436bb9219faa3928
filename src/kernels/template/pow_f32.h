/* pow(x, y) = 2^(y log2 abs(x)), within 1 ULP. y may be hundreds and the logarithm's error counts y times, so it is the
 * sum of two floats, which needs fused multiply-add: the scalar tier takes the C library's. */
#if VEC_PORTABLE
static __attribute__((noinline)) vf vpow(vf x, vf y) {
    float xs[VEC_W], ys[VEC_W];
    vf_store(xs, x);
    vf_store(ys, y);
    for (int i = 0; i < VEC_W; i++) xs[i] = powf(xs[i], ys[i]);
    return vf_load(xs);
}
#else
/* log2 of a normal or subnormal a > 0: returns the high part, *low is the rest. With a = 2^e m, m in [sqrt 1/2, sqrt 2]
 * and s = (m - 1) / (m + 1): log2 m = 2 / log 2 * s (1 + s^2 / 3 + s^4 Q(s^2)). m - 1 is exact. */
TN_INLINE vf vlog2_parts(vf a, vf *low) {
    const vf one = vf_set(1.0f);
    vm tiny = vf_lt(a, vf_set(FLT_MIN));
    vf c = vf_sel(tiny, vf_mul(a, vf_set(16777216.0f)), a);
    c = vf_min(vf_max(c, vf_set(FLT_MIN)), vf_set(FLT_MAX)); /* zero, infinity and NaN: the caller's */
    vf e = vf_exponent(c), m = vf_scale(c, vf_sub(vf_zero(), e));
    vm above = vf_lt(vf_set(1.41421356f), m);
    m = vf_sel(above, vf_mul(m, vf_set(0.5f)), m);
    e = vf_add(e, vf_add(vf_sel(above, one, vf_zero()), vf_sel(tiny, vf_set(-24.0f), vf_zero())));

    vf f = vf_sub(m, one), d = vf_add(m, one), part = vf_sub(d, one);
    vf d_low = vf_add(vf_sub(one, vf_sub(d, part)), vf_sub(m, part));
    vf inverse = vf_div(one, d), s = vf_mul(f, inverse), minus = vf_sub(vf_zero(), s);
    vf s_low = vf_mul(vf_fma(minus, d_low, vf_fma(minus, d, f)), inverse);

    vf z = vf_mul(s, s), z_low = vf_fma(vf_add(s, s), s_low, vf_fma(s, s, vf_sub(vf_zero(), z)));
    vf q = vf_fma(vf_fma(vf_set(1.152456068e-01f), z, vf_set(1.428110505e-01f)), z, vf_set(2.000000758e-01f));
    const vf third = vf_set(3.333333433e-01f);
    vf zq = vf_mul(z, q), p = vf_add(third, zq);
    vf p_low = vf_add(vf_add(vf_sub(third, p), zq), vf_set(-9.934107481e-09f));
    vf u = vf_mul(z, p);
    vf u_low = vf_fma(z_low, p, vf_fma(z, p_low, vf_fma(z, p, vf_sub(vf_zero(), u))));
    vf v = vf_add(one, u), v_low = vf_add(vf_add(vf_sub(one, v), u), u_low);

    const vf scale = vf_set(2.885390043e+00f); /* 2 / log 2 */
    vf w = vf_mul(s, scale);
    vf w_low = vf_fma(s, vf_set(3.851925978e-08f), vf_fma(s_low, scale, vf_fma(s, scale, vf_sub(vf_zero(), w))));
    vf r = vf_mul(w, v), r_low = vf_fma(w_low, v, vf_fma(w, v_low, vf_fma(w, v, vf_sub(vf_zero(), r))));
    vf high = vf_add(e, r); /* e is 0 or the larger one */
    *low = vf_add(vf_add(vf_sub(e, high), r), r_low);
    return high;
}

/* 2^(t + rest); beyond [-150, 128] it is zero or infinity whatever the rest. NaN stays NaN. */
TN_INLINE vf vexp2_parts(vf t, vf rest) {
    const vf least = vf_set(-150.0f), most = vf_set(128.0f);
    vf c = vf_min(most, vf_max(least, t)), n = vf_round(c);
    rest = vf_sel(vf_lt(most, t), vf_zero(), vf_sel(vf_lt(t, least), vf_zero(), rest));
    vf f = vf_add(vf_sub(c, n), rest), p = vf_set(1.530372627e-05f);
    p = vf_fma(p, f, vf_set(1.546147076e-04f));
    p = vf_fma(p, f, vf_set(1.333347839e-03f));
    p = vf_fma(p, f, vf_set(9.618056612e-03f));
    p = vf_fma(p, f, vf_set(5.550410906e-02f));
    p = vf_fma(p, f, vf_set(2.402265092e-01f));
    p = vf_fma(p, f, vf_set(6.931471806e-01f));
    return vf_sel(vf_isnan(t), t, vf_scale(vf_fma(p, f, vf_set(1.0f)), n));
}

/* `r` = pow(abs(x), y) with the sign of x when y is odd; NaN when x < 0 is finite and y has a fraction. */
TN_INLINE vf vpow_sign(vf r, vf x, vf y) {
    const vf infinity = vf_set(INFINITY);
    vf half = vf_mul(y, vf_set(0.5f));
    vm fraction = vf_lt(vf_zero(), vf_abs(vf_sub(y, vf_round(y)))); /* infinite y: NaN, so none, and even */
    vm odd = vf_lt(vf_set(0.25f), vf_abs(vf_sub(half, vf_round(half))));
    vf nan = vf_sel(vf_lt(x, vf_zero()), vf_sel(vf_lt(vf_sub(vf_zero(), infinity), x), vf_set(NAN), r), r);
    return vf_sel(fraction, nan, vf_sel(odd, vf_copysign(r, x), r));
}

/* Special cases as C's pow has them (C11 F.10.4.4). Not inline: there are eight callers in a tier. */
static __attribute__((noinline)) vf vpow(vf x, vf y) {
    const vf infinity = vf_set(INFINITY), zero = vf_zero(), one = vf_set(1.0f);
    vf a = vf_abs(x), low, high = vlog2_parts(a, &low);
    vf finite = vf_min(vf_set(FLT_MAX), vf_max(vf_set(-FLT_MAX), y)); /* so that 1 to the infinite is 1 */
    vf t = vf_mul(finite, high);
    vf r = vexp2_parts(t, vf_fma(finite, low, vf_fma(finite, high, vf_sub(zero, t))));
    vm up = vf_lt(zero, y);
    r = vf_sel(vf_lt(zero, a), r, vf_sel(up, zero, infinity));
    r = vf_sel(vf_lt(a, infinity), r, vf_sel(up, infinity, zero));
    r = vpow_sign(r, x, y);
    r = vf_sel(vf_isnan(x), x, vf_sel(vf_isnan(y), y, r));
    /* 1 for x = 1 and for y = 0, even beside NaN: neither differs from it, nor is NaN */
    vf dx = vf_abs(vf_sub(x, one)), ay = vf_abs(y);
    r = vf_sel(vf_lt(zero, dx), r, vf_sel(vf_isnan(dx), r, one));
    return vf_sel(vf_lt(zero, ay), r, vf_sel(vf_isnan(ay), r, one));
}
#endif
