/* 8-bit kernels without products: sums to bytes, addition, quantisation. No fused multiply-adds, so that all tiers give
 * the same bytes. */
#include "kernels/q8.h"
#include "kernels/template/q8_finish.h"

#define GROUP (4 / Q8_HALVES) /* pixels of a vb */

TN_INLINE vf q8_less(const uint8_t *p, int32_t flip, vi less) {
    vi v = vi_load_u8(p);
    if (flip) v = vi_flip(v);
    return vi_to_f(vi_add(v, less));
}

/* GROUP pixels from acc + 16 t on. */
TN_INLINE vb q8_finish_group(const tn_q8_finish *f, const q8_pass *p, const int32_t *acc, const int32_t *x_sum,
                             const uint8_t *z, const bool corrected, const bool residual) {
    vi r[4];
    TN_UNROLL
    for (int k = 0; k < 4; k++) {
        const int h = k % Q8_HALVES;
        vi v = vi_load(acc + k * VEC_W);
        if (corrected) v = vi_add(v, vi_mul(vi_set(x_sum[k / Q8_HALVES]), p->w_zero[h]));
        vf x = vf_mul(vi_to_f(v), p->scale[h]);
        if (residual) {
            x = vf_to_even(x, f->mid_low, f->mid_high);
            vf zv = q8_less(z + k * VEC_W, f->z_signed, vi_set(-f->z_zero));
            x = vf_add(vf_mul(x, vf_set(f->mid_scale)), vf_mul(zv, vf_set(f->z_scale)));
        }
        r[k] = vi_from_f(x);
    }
    return q8_bytes(p, r);
}

TN_INLINE void q8_finish_all(const tn_q8_finish *f, const int32_t *acc, const int32_t *x_sum, const uint8_t *z,
                             uint8_t *y, int64_t pixels, const bool corrected, const bool residual) {
    q8_pass p = q8_pass_of(f);
    int64_t t = 0;
    for (; t + GROUP <= pixels; t += GROUP)
        vb_store(y + t * 16, q8_finish_group(f, &p, acc + t * 16, x_sum + t, z + t * 16, corrected, residual));
    if (t == pixels) return;
    /* The sums may be read past their end, but not what others own. */
    uint8_t rest[VB_BYTES] = {0};
    int32_t sums[GROUP] = {0};
    if (residual) memcpy(rest, z + t * 16, (size_t)(pixels - t) * 16);
    if (corrected) memcpy(sums, x_sum + t, (size_t)(pixels - t) * sizeof *sums);
    vb_store_n(y + t * 16, q8_finish_group(f, &p, acc + t * 16, sums, rest, corrected, residual), (pixels - t) * 16);
}

/* acc: (pixels, 16), readable up to a multiple of four pixels; y, z: (pixels, 16). z may be y. */
void VEC_NAME(tn_q8_finish)(const tn_q8_finish *f, const int32_t *acc, const int32_t *x_sum, const uint8_t *z,
                            uint8_t *y, int64_t pixels) {
    if (!f->w_zero) x_sum = acc; /* not read, but moved along */
    if (!f->residual) z = y;
    if (f->residual)
        q8_finish_all(f, acc, x_sum, z, y, pixels, f->w_zero != NULL, true);
    else if (f->w_zero)
        q8_finish_all(f, acc, x_sum, z, y, pixels, true, false);
    else
        q8_finish_all(f, acc, x_sum, z, y, pixels, false, false);
}

/* (pixels, 16) each. y may be a or b. */
void VEC_NAME(tn_q8_add)(const tn_q8_sum *s, const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t pixels) {
    vb low = vb_set(s->low), high = vb_set(s->high), keep = vb_lanes(s->lanes), flip = vb_set(s->y_signed ? 128 : 0);
    vi az = vi_set(-s->a_zero), bz = vi_set(-s->b_zero);
    vf as = vf_set(s->a_scale), bs = vf_set(s->b_scale);
    uint8_t ta[VB_BYTES] = {0}, tb[VB_BYTES] = {0};
    for (int64_t t = 0; t < pixels; t += GROUP) {
        const uint8_t *pa = a + t * 16, *pb = b + t * 16;
        int64_t n = TN_MIN(pixels - t, GROUP) * 16;
        if (n < VB_BYTES) {
            memcpy(ta, pa, (size_t)n);
            memcpy(tb, pb, (size_t)n);
            pa = ta;
            pb = tb;
        }
        vi r[4];
        TN_UNROLL
        for (int k = 0; k < 4; k++)
            r[k] = vi_from_f(vf_add(vf_mul(q8_less(pa + k * VEC_W, s->a_signed, az), as),
                                    vf_mul(q8_less(pb + k * VEC_W, s->b_signed, bz), bs)));
        vb v = vb_max(vb_min(vb_pack(r, s->zero), high), low);
        v = vb_and(vb_xor(v, flip), keep);
        if (n == VB_BYTES)
            vb_store(y + t * 16, v);
        else
            vb_store_n(y + t * 16, v, n);
    }
}

/* sum[p] = all bytes of pixel p of all blocks. */
void VEC_NAME(tn_q8_pixel_sums)(const uint8_t *x, int64_t blocks, int64_t block_step, int64_t pixels, int32_t *sum) {
    const int64_t group = VB_BYTES / 16;
    for (int64_t p = 0; p < pixels; p += group) {
        int64_t n = TN_MIN(pixels - p, group);
        vi acc = vi_zero();
        for (int64_t b = 0; b < blocks; b++) {
            const uint8_t *from = x + b * block_step + p * 16;
            uint8_t rest[VB_BYTES] = {0};
            if (n < group) from = memcpy(rest, from, (size_t)n * 16);
            acc = vi_add_pixels(acc, vb_load(from));
        }
        int32_t t[VEC_W];
        vi_store(t, acc);
        for (int64_t i = 0; i < n; i++) sum[p + i] = t[4 * i];
    }
}

/* sum[i] = the four bytes at x + 4 i. */
void VEC_NAME(tn_q8_quad_sums)(const uint8_t *x, int64_t n, int32_t *sum) {
    vi mask = vi_set(0x00ff00ff), low = vi_set(0xffff);
    for (int64_t i = 0; i < n; i += VEC_W) {
        int32_t from[VEC_W] = {0}, to[VEC_W];
        int64_t count = TN_MIN(n - i, VEC_W);
        if (count < VEC_W) memcpy(from, x + 4 * i, (size_t)count * 4);
        vi v = count < VEC_W ? vi_load(from) : vi_load((const int32_t *)(const void *)(x + 4 * i));
        v = vi_add(vi_and(v, mask), vi_and(vi_shr(v, 8), mask));
        v = vi_and(vi_add(v, vi_shr(v, 16)), low);
        if (count == VEC_W) {
            vi_store(sum + i, v);
            continue;
        }
        vi_store(to, v);
        memcpy(sum + i, to, (size_t)count * sizeof *to);
    }
}

/* sum[i] += x[i] */
void VEC_NAME(tn_q8_add_sums)(const int32_t *x, int64_t n, int32_t *sum) {
    int64_t i = 0;
    for (; i + VEC_W <= n; i += VEC_W) vi_store(sum + i, vi_add(vi_load(sum + i), vi_load(x + i)));
    for (; i < n; i++) sum[i] += x[i];
}

/* y[i] = x[i] ^ 128; y may be x. */
void VEC_NAME(tn_q8_flip)(const uint8_t *x, int64_t n, uint8_t *y) {
    vb flip = vb_set(128);
    int64_t i = 0;
    for (; i + VB_BYTES <= n; i += VB_BYTES) vb_store(y + i, vb_xor(vb_load(x + i), flip));
    for (; i < n; i++) y[i] = x[i] ^ 128;
}

/* sum[j] += byte j of all pixels of one block, j < 16. */
void VEC_NAME(tn_q8_channel_sums)(const uint8_t *x, int64_t pixels, bool x_signed, int32_t *sum) {
    vi acc[Q8_HALVES];
    for (int h = 0; h < Q8_HALVES; h++) acc[h] = vi_load(sum + h * VEC_W);
    for (int64_t p = 0; p < pixels; p++) {
        TN_UNROLL
        for (int h = 0; h < Q8_HALVES; h++) {
            vi v = vi_load_u8(x + p * 16 + h * VEC_W);
            acc[h] = vi_add(acc[h], x_signed ? vi_flip(v) : v);
        }
    }
    for (int h = 0; h < Q8_HALVES; h++) vi_store(sum + h * VEC_W, acc[h]);
}

/* round(x / scale) + zero, unsigned form, NaN: the zero point. */
TN_INLINE vi q8_quantized(vf x, vf scale) {
    vf q = vf_div(x, scale);
    return vi_from_f(vf_sel(vf_isnan(q), vf_zero(), q));
}

void VEC_NAME(tn_q8_quantize)(const float *x, int64_t n, float scale, int32_t zero, bool y_signed, uint8_t *y) {
    vf s = vf_set(scale);
    vb flip = vb_set(y_signed ? 128 : 0);
    float rest[4 * VEC_W] = {0};
    for (int64_t i = 0; i < n; i += VB_BYTES) {
        const float *from = x + i;
        if (n - i < VB_BYTES) from = memcpy(rest, from, (size_t)(n - i) * sizeof *rest);
        vi r[4];
        TN_UNROLL
        for (int k = 0; k < 4; k++) r[k] = q8_quantized(vf_load(from + k * VEC_W), s);
        vb v = vb_xor(vb_pack(r, zero), flip);
        if (n - i >= VB_BYTES)
            vb_store(y + i, v);
        else
            vb_store_n(y + i, v, n - i);
    }
}

/* y[i] = the bytes of c <= 4 planes, x_step floats apart; those past c are zero. */
void VEC_NAME(tn_q8_quantize_quad)(const float *x, int64_t x_step, int c, int64_t n, float scale, int32_t zero,
                                   bool y_signed, uint32_t *y) {
    vf s = vf_set(scale);
    vb flip = vb_set(y_signed ? 128 : 0);
    for (int64_t i = 0; i < n; i += VEC_W) {
        int64_t left = TN_MIN(n - i, VEC_W);
        uint8_t bytes[4][VEC_W * 4] = {{0}};
        vi all = vi_zero();
        for (int k = 0; k < c; k++) {
            const float *from = x + k * x_step + i;
            vf v = left == VEC_W ? vf_load(from) : vf_load_n(from, left);
            vi r[4] = {q8_quantized(v, s), vi_zero(), vi_zero(), vi_zero()};
            vb_store(bytes[k], vb_xor(vb_pack(r, zero), flip));
            all = vi_or(all, vi_shl(vi_load_u8(bytes[k]), 8 * k));
        }
        int32_t t[VEC_W];
        if (left == VEC_W) {
            vi_store((int32_t *)y + i, all);
            continue;
        }
        vi_store(t, all);
        memcpy(y + i, t, (size_t)left * sizeof *t);
    }
}

void VEC_NAME(tn_q8_dequantize)(const uint8_t *x, int64_t n, float scale, int32_t zero, bool x_signed, float *y) {
    vf s = vf_set(scale);
    vi z = vi_set(-zero);
    uint8_t rest[VEC_W] = {0};
    for (int64_t i = 0; i < n; i += VEC_W) {
        const uint8_t *from = x + i;
        if (n - i < VEC_W) from = memcpy(rest, from, (size_t)(n - i));
        vf v = vf_mul(q8_less(from, x_signed, z), s);
        if (n - i >= VEC_W)
            vf_store(y + i, v);
        else
            vf_store_n(y + i, v, n - i);
    }
}
