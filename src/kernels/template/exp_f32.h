/* exp(x) = 2^n * exp(r), r = x - n log 2 in [-0.35, 0.35], exp(r) = 1 + r + r^2 P(r) with P a minimax polynomial of
 * degree 4. log 2 is subtracted in two parts; n times the first is exact, so this is right without fused multiply-add
 * too. Within 2 ULP; infinite above 88.73, zero below -103.98. */
#define LOG2_E  1.44269504f
#define LN2_HI  0.693359375f
#define LN2_LO  (-2.12194440e-4f)
#define EXP_MAX 89.0f     /* exp is infinite in float above 88.73 */
#define EXP_MIN (-104.0f) /* and zero below -103.98 */

TN_INLINE vf exp_reduce(vf x, vf *n) {
    *n = vf_round(vf_mul(x, vf_set(LOG2_E)));
    vf r = vf_fma(*n, vf_set(-LN2_HI), x);
    return vf_fma(*n, vf_set(-LN2_LO), r);
}

/* r + r^2 P(r) = exp(r) - 1 */
TN_INLINE vf expm1_core(vf r) {
    vf p = vf_set(1.395297004e-03f);
    p = vf_fma(p, r, vf_set(8.370321244e-03f));
    p = vf_fma(p, r, vf_set(4.166616872e-02f));
    p = vf_fma(p, r, vf_set(1.666650623e-01f));
    p = vf_fma(p, r, vf_set(0.5f));
    return vf_fma(vf_mul(r, r), p, r);
}

TN_INLINE vf vexp(vf x) {
    vf n, r = exp_reduce(vf_min(vf_set(EXP_MAX), vf_max(vf_set(EXP_MIN), x)), &n);
    return vf_scale(vf_add(expm1_core(r), vf_set(1.0f)), n);
}
