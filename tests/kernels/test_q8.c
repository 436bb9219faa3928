/* 8-bit kernels of all instruction sets against integers. Sums are exact, and every step from there to bytes is one
 * float32 operation: all of them must give the same bytes. */
#include "kernels/check.h"

#include "kernels/q8_conv.h"
#include "kernels/q8_eltwise.h"
#include "kernels/ref/ref.h"

/* n bytes that end right before a page that faults. */
typedef struct bytes {
    ck_buf buf;
    uint8_t *p;
} bytes;

static bytes bytes_alloc(size_t n, size_t align) {
    bytes b = {.buf = ck_alloc((n + 3) / 4, align)};
    b.p = (uint8_t *)b.buf.p + (align >= 4 ? 0 : (n + 3) / 4 * 4 - n);
    return b;
}
static void bytes_free(bytes *b) { ck_free(&b->buf); }

static int32_t low(bool is_signed) { return is_signed ? -128 : 0; }
static int32_t high(bool is_signed) { return is_signed ? 127 : 255; }
/* Random, or at an end now and then: the largest products. */
static int32_t any_byte(bool is_signed) {
    int at = ck_int(0, 9);
    return at == 0 ? low(is_signed) : at == 1 ? high(is_signed) : ck_int(low(is_signed), high(is_signed));
}

/* Plain int32 (n, c, hw) to blocks of bytes, zeros behind the last channel. */
static void to_blocks(const int32_t *x, uint8_t *y, int64_t n, int64_t c, int64_t hw, int block) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t b = 0; b < tn_ceil_div(c, block); b++)
            for (int64_t p = 0; p < hw; p++)
                for (int l = 0; l < block; l++)
                    *y++ = b * block + l < c ? (uint8_t)x[(i * c + b * block + l) * hw + p] : 0;
}

/* What the whole of finish is to do with one sum. */
static int32_t finish(const tn_q8_args *a, int32_t sum, float scale, int32_t z) {
    float v = rintf((float)sum * scale);
    if (a->z) {
        v = fmaxf(a->mid_low, fminf(v, a->mid_high));
        float mid = v * a->mid_scale, other = (float)(z - a->z_zero) * a->z_scale;
        v = rintf(mid + other);
    }
    double y = (double)v + a->y_zero;
    return (int32_t)fmax(a->y_low, fmin(y, a->y_high));
}

typedef struct problem {
    tn_q8_conv c;
    int32_t *x, *w, *bias, *w_zero, *z, *sums;
    float *scale;
    int64_t n_zero;
    tn_q8_args a; /* packed, bias, scale and z are set for each run */
    bool residual;
} problem;

static int32_t *ints(int64_t n, int32_t lo, int32_t hi) {
    int32_t *p = malloc((size_t)n * sizeof *p + 1);
    for (int64_t i = 0; i < n; i++) p[i] = ck_int(lo, hi);
    return p;
}

static problem make(const tn_q8_conv *c, bool extreme) {
    problem p = {.c = *c};
    int64_t n_w = c->oc * (c->ic / c->groups) * c->kh * c->kw, n_y = c->n * c->oc * c->oh * c->ow;
    p.x = ints(c->n * c->ic * c->ih * c->iw, low(c->x_signed), high(c->x_signed));
    p.w = ints(n_w, low(c->w_signed), high(c->w_signed));
    for (int64_t i = 0; i < n_w; i++)
        p.w[i] = extreme ? (i & 1 ? low(c->w_signed) : high(c->w_signed)) : any_byte(c->w_signed);
    for (int64_t i = 0; extreme && i < c->n * c->ic * c->ih * c->iw; i++) p.x[i] = high(c->x_signed);
    p.bias = ck_int(0, 3) ? ints(c->oc, -100000, 100000) : NULL;
    p.n_zero = ck_int(0, 1) ? c->oc : 1;
    p.w_zero = ints(c->oc, low(c->w_signed), high(c->w_signed));
    if (ck_int(0, 3) == 0) memset(p.w_zero, 0, (size_t)c->oc * sizeof(int32_t));
    for (int64_t o = 1; o < c->oc && p.n_zero == 1; o++) p.w_zero[o] = p.w_zero[0];
    p.residual = !c->y_int32 && !(c->groups > 1 && c->groups == c->ic) && ck_int(0, 1);
    p.a.z_signed = c->y_signed;
    p.z = ints(n_y, low(c->y_signed), high(c->y_signed));
    p.scale = malloc((size_t)c->oc * sizeof(float));
    for (int64_t o = 0; o < c->oc; o++)
        p.scale[o] = ck_int(0, 7) ? ck_float(0.0001f, 0.01f) : ck_int(0, 1) ? 0.5f : 40.0f;
    p.a.x_zero = any_byte(c->x_signed);
    p.a.y_zero = any_byte(c->y_signed);
    p.a.y_low = ck_int(0, 1) ? low(c->y_signed) : ck_int(low(c->y_signed), 20);
    p.a.y_high = ck_int(0, 1) ? high(c->y_signed) : ck_int(30, high(c->y_signed));
    int32_t mid_zero = any_byte(c->y_signed);
    p.a.mid_low = (float)(low(c->y_signed) - mid_zero);
    p.a.mid_high = (float)(high(c->y_signed) - mid_zero);
    p.a.mid_scale = ck_float(0.2f, 2.0f);
    p.a.z_scale = ck_float(0.2f, 2.0f);
    p.a.z_zero = any_byte(c->y_signed);
    p.sums = malloc((size_t)n_y * sizeof(int32_t) + 1);
    tn_ref_q8_conv(c, p.x, p.w, p.bias, p.a.x_zero, p.w_zero, p.sums);
    return p;
}

static void release(problem *p) {
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->w_zero);
    free(p->z);
    free(p->scale);
    free(p->sums);
}

static uint8_t *narrow(const int32_t *v, int64_t n) {
    uint8_t *p = malloc((size_t)n + 1);
    for (int64_t i = 0; i < n; i++) p[i] = (uint8_t)v[i];
    return p;
}

static bytes run(tn_q8_isa isa, const problem *p, int threads, bool in_place) {
    const tn_q8_conv *c = &p->c;
    size_t element = c->y_int32 ? 4 : 1;
    bytes x = bytes_alloc((size_t)(c->n * tn_round_up(c->ic, c->x_block) * c->ih * c->iw), 16);
    bytes y = bytes_alloc((size_t)(c->n * tn_round_up(c->oc, 16) * c->oh * c->ow) * element, 16);
    bytes z = bytes_alloc((size_t)(c->n * tn_round_up(c->oc, 16) * c->oh * c->ow), 16);
    bytes packed = bytes_alloc(tn_q8_conv_packed_bytes(isa, c), 64),
          ws = bytes_alloc(tn_q8_conv_workspace(isa, c, threads), 64);
    uint8_t *w = narrow(p->w, c->oc * (c->ic / c->groups) * c->kh * c->kw), *zero = narrow(p->w_zero, c->oc);
    to_blocks(p->x, x.p, c->n, c->ic, c->ih * c->iw, c->x_block);
    to_blocks(p->z, z.p, c->n, c->oc, c->oh * c->ow, 16);
    if (in_place) to_blocks(p->z, y.p, c->n, c->oc, c->oh * c->ow, 16);
    tn_q8_conv_pack(isa, c, w, p->n_zero == 1 && p->w_zero[0] == 0 ? NULL : zero, p->n_zero, packed.p);
    tn_q8_args a = p->a;
    a.packed = packed.p;
    a.bias = p->bias;
    a.scale = p->scale;
    a.z = !p->residual ? NULL : in_place ? y.p : z.p;
    tn_q8_conv_run(isa, c, &a, x.p, y.p, ws.p, threads);
    free(w);
    free(zero);
    bytes_free(&x);
    bytes_free(&z);
    bytes_free(&packed);
    bytes_free(&ws);
    return y;
}

static void check(tn_q8_isa isa, const problem *p, const uint8_t *y) {
    const tn_q8_conv *c = &p->c;
    int64_t hw = c->oh * c->ow, blocks = tn_ceil_div(c->oc, 16);
    tn_q8_args a = p->a;
    a.z = p->residual ? p : NULL;
    for (int64_t n = 0; n < c->n; n++)
        for (int64_t o = 0; o < blocks * 16; o++)
            for (int64_t i = 0; i < hw; i++) {
                int64_t at = ((n * blocks + o / 16) * hw + i) * 16 + o % 16, from = (n * c->oc + o) * hw + i;
                int32_t got = c->y_int32 ? ((const int32_t *)(const void *)y)[at] : c->y_signed ? (int8_t)y[at] : y[at];
                int32_t want = o >= c->oc   ? 0
                               : c->y_int32 ? p->sums[from]
                                            : finish(&a, p->sums[from], p->scale[o], p->z[from]);
                if (got == want) continue;
                fail_msg("%s, %ldx%ldx%ldx%ld -> %ldx%ldx%ld, kernel %dx%d stride %dx%d groups %ld: channel %ld pixel "
                         "%ld is %d instead of %d",
                         tn_q8_conv_name(isa, c), (long)c->n, (long)c->ic, (long)c->ih, (long)c->iw, (long)c->oc,
                         (long)c->oh, (long)c->ow, c->kh, c->kw, c->sh, c->sw, (long)c->groups, (long)o, (long)i, got,
                         want);
            }
}

static void check_all(const problem *p) {
    assert_true(tn_q8_conv_takes(&p->c));
    for (tn_q8_isa isa = 0; isa < TN_Q8_ISA_COUNT; isa++) {
        if (!tn_q8_available(isa)) continue;
        bytes y = run(isa, p, 1, false);
        check(isa, p, y.p);
        bytes z = run(isa, p, ck_int(2, 7), p->residual);
        assert_memory_equal(y.p, z.p, y.buf.n * 4);
        bytes_free(&y);
        bytes_free(&z);
    }
}

static void set_output(tn_q8_conv *c, int pad_bottom, int pad_right) {
    c->oh = (c->ih + c->pad_top + pad_bottom - (c->kh - 1) * c->dh - 1) / c->sh + 1;
    c->ow = (c->iw + c->pad_left + pad_right - (c->kw - 1) * c->dw - 1) / c->sw + 1;
}

static tn_q8_conv random_conv(int max_kernel) {
    tn_q8_conv c = {.n = ck_int(0, 3) ? 1 : 2, .groups = 1, .ic = ck_int(1, 40), .oc = ck_int(1, 70), .x_block = 16};
    c.kh = ck_int(1, max_kernel), c.kw = ck_int(1, max_kernel);
    c.sh = ck_int(1, 3), c.sw = ck_int(1, 3);
    c.dh = ck_int(0, 3) ? 1 : 2, c.dw = ck_int(0, 3) ? 1 : 3;
    int eh = (c.kh - 1) * c.dh + 1, ew = (c.kw - 1) * c.dw + 1;
    c.pad_top = ck_int(0, eh - 1), c.pad_left = ck_int(0, ew - 1);
    c.ih = ck_int(1, 12), c.iw = ck_int(1, 30);
    int pb = ck_int(0, eh - 1), pr = ck_int(0, ew - 1);
    /* At least one window fits. */
    pb = TN_MAX(pb, eh - (int)c.ih - c.pad_top);
    pr = TN_MAX(pr, ew - (int)c.iw - c.pad_left);
    set_output(&c, pb, pr);
    c.x_signed = ck_int(0, 1), c.w_signed = ck_int(0, 1), c.y_signed = ck_int(0, 1);
    c.y_int32 = ck_int(0, 4) == 0;
    return c;
}

static void one(const tn_q8_conv *c, bool extreme) {
    problem p = make(c, extreme);
    check_all(&p);
    release(&p);
}

static void random_shapes(void **state) {
    (void)state;
    for (int i = 0; i < 150; i++) {
        tn_q8_conv c = random_conv(i % 3 ? 3 : 7);
        one(&c, i % 8 == 0);
    }
}

static void pointwise(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        tn_q8_conv c = random_conv(1);
        c.pad_top = c.pad_left = 0;
        c.sh = c.sw = i % 3 ? 1 : 2;
        set_output(&c, 0, 0);
        if (i % 5 == 0) c.ih = c.iw = c.oh = c.ow = 1, c.sh = c.sw = 1, c.oc = ck_int(30, 150);
        one(&c, i % 8 == 0);
    }
}

static void first_layers(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_q8_conv c = random_conv(i % 2 ? 7 : 3);
        c.ic = ck_int(1, 4);
        c.x_block = 4;
        one(&c, i % 8 == 0);
    }
}

static void depthwise(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        tn_q8_conv c = random_conv(i % 7 ? 5 : 9);
        c.groups = c.ic = c.oc = ck_int(2, 40);
        c.y_int32 = false;
        if (i % 2) {
            c.kh = c.kw = i % 4 == 1 ? 3 : 5;
            c.dh = c.dw = 1;
            c.pad_top = c.pad_left = c.kh / 2;
            c.sh = c.sw = ck_int(1, 2);
            set_output(&c, c.kh / 2, c.kh / 2);
            if (c.oh < 1 || c.ow < 1) continue;
        }
        one(&c, i % 8 == 0);
    }
}

static void grouped(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) {
        tn_q8_conv c = random_conv(3);
        c.groups = ck_int(2, 4);
        c.ic = c.groups * 16 * ck_int(1, 2);
        c.oc = c.groups * 16 * ck_int(1, 3);
        one(&c, i % 8 == 0);
    }
}

/* Enough work for several strips, chunks and tasks. */
static void larger(void **state) {
    (void)state;
    static const int64_t shapes[][6] = {/* ic, size, oc, kernel, stride, groups */
                                        {64, 30, 96, 1, 1, 1},  {40, 28, 48, 3, 2, 1},     {600, 7, 300, 1, 1, 1},
                                        {96, 40, 40, 3, 1, 1},  {130, 40, 130, 3, 1, 130}, {33, 70, 33, 3, 2, 33},
                                        {128, 14, 520, 1, 1, 1}};
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        const int64_t *s = shapes[i];
        tn_q8_conv c = {
            .n = 1, .ic = s[0], .ih = s[1], .iw = s[1], .oc = s[2], .groups = s[5], .x_block = 16, .dh = 1, .dw = 1};
        c.kh = c.kw = (int)s[3], c.sh = c.sw = (int)s[4], c.pad_top = c.pad_left = c.kh / 2;
        set_output(&c, c.kh / 2, c.kh / 2);
        c.x_signed = i & 1;
        one(&c, false);
    }
}

/* ---- matrix product ---------------------------------------------------------------------------------------------- */

static void one_gemm(int64_t m, int64_t n, int64_t k, bool transposed) {
    tn_q8_gemm g = {.m = m, .n = n, .k = k, .b_rs = transposed ? 1 : n, .b_cs = transposed ? k : 1};
    g.a_signed = ck_int(0, 1), g.b_signed = ck_int(0, 1), g.c_signed = ck_int(0, 1), g.c_int32 = ck_int(0, 2) == 0;
    tn_q8_conv c = {
        .n = 1, .ic = k, .ih = 1, .iw = m, .oc = n, .oh = 1, .ow = m, .groups = 1, .kh = 1, .kw = 1, .sh = 1};
    c.sw = c.dh = c.dw = 1;
    c.x_signed = g.a_signed, c.w_signed = g.b_signed, c.y_signed = g.c_signed, c.y_int32 = g.c_int32;
    problem p = make(&c, false); /* its x is (k, m), its w (n, k), its y (n, m) */
    p.residual = false;
    for (tn_q8_isa isa = 0; isa < TN_Q8_ISA_COUNT; isa++) {
        if (!tn_q8_available(isa)) continue;
        size_t element = g.c_int32 ? 4 : 1;
        bytes a = bytes_alloc((size_t)(m * k), 1), b = bytes_alloc((size_t)(n * k), 1),
              y = bytes_alloc((size_t)(m * n) * element, element);
        bytes packed = bytes_alloc(tn_q8_gemm_packed_bytes(isa, &g), 64);
        int threads = ck_int(1, 4);
        bytes ws = bytes_alloc(tn_q8_gemm_workspace(isa, &g, threads), 64);
        uint8_t *zero = narrow(p.w_zero, n);
        for (int64_t i = 0; i < m * k; i++) a.p[i] = (uint8_t)p.x[i % k * m + i / k];
        for (int64_t o = 0; o < n; o++)
            for (int64_t i = 0; i < k; i++) b.p[i * g.b_rs + o * g.b_cs] = (uint8_t)p.w[o * k + i];
        tn_q8_gemm_pack(isa, &g, b.p, zero, p.n_zero, packed.p);
        tn_q8_args args = p.a;
        args.packed = packed.p, args.bias = p.bias, args.scale = p.scale;
        tn_q8_gemm_run(isa, &g, &args, a.p, y.p, ws.p, threads);
        for (int64_t i = 0; i < m * n; i++) {
            int64_t from = i % n * m + i / n;
            int32_t got = g.c_int32 ? ((const int32_t *)(const void *)y.p)[i] : g.c_signed ? (int8_t)y.p[i] : y.p[i];
            int32_t want = g.c_int32 ? p.sums[from] : finish(&args, p.sums[from], p.scale[i % n], 0);
            if (got != want)
                fail_msg("%s %ldx%ldx%ld: element %ld is %d instead of %d", tn_q8_gemm_name(isa), (long)m, (long)n,
                         (long)k, (long)i, got, want);
        }
        free(zero);
        bytes_free(&a);
        bytes_free(&b);
        bytes_free(&y);
        bytes_free(&packed);
        bytes_free(&ws);
    }
    release(&p);
}

static void gemm(void **state) {
    (void)state;
    for (int i = 0; i < 120; i++) one_gemm(ck_int(1, 40), ck_int(1, 80), ck_int(1, 50), i & 1);
    one_gemm(1, 1000, 300, false);
    one_gemm(200, 130, 300, true);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static void quantize(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        int64_t c = ck_int(1, 40), hw = ck_int(1, 90), n = c * hw;
        bool is_signed = ck_int(0, 1);
        int32_t zero = any_byte(is_signed);
        float scale = i % 3 ? ck_float(0.01f, 0.1f) : 0.5f;
        ck_buf x = ck_alloc((size_t)n, 4), back = ck_alloc((size_t)n, 4);
        ck_fill(x.p, x.n, -10, 10);
        for (size_t e = 0; e < x.n && i % 3 == 0; e++) x.p[e] = rintf(x.p[e] * 4) / 4; /* halves */
        x.p[0] = NAN;
        if (n > 2) x.p[1] = INFINITY, x.p[2] = -1e30f;
        int block = c <= 4 && i % 2 ? 4 : 16;
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            bytes q = bytes_alloc((size_t)n, 1), b = bytes_alloc((size_t)(tn_round_up(c, block) * hw), 4),
                  u = bytes_alloc((size_t)n, 1);
            bytes b2 = bytes_alloc((size_t)(tn_round_up(c, block) * hw), 4);
            tn_q8_quantize(t, x.p, n, scale, zero, is_signed, q.p, ck_int(1, 3));
            for (int64_t e = 0; e < n; e++) {
                double r = isnan(x.p[e]) ? 0 : rint((double)(x.p[e] / scale));
                int32_t want = (int32_t)fmax(low(is_signed), fmin(high(is_signed), r + zero));
                assert_int_equal(is_signed ? (int8_t)q.p[e] : q.p[e], want);
            }
            tn_q8_quantize_block(t, x.p, 1, c, hw, block, scale, zero, is_signed, b.p, 2);
            tn_q8_unblock(b.p, u.p, 1, c, hw, block, 2);
            assert_memory_equal(u.p, q.p, (size_t)n);
            tn_q8_block(q.p, b2.p, 1, c, hw, block, 2);
            assert_memory_equal(b2.p, b.p, (size_t)(tn_round_up(c, block) * hw));
            tn_q8_dequantize(t, q.p, n, scale, zero, is_signed, back.p, 2);
            for (int64_t e = 0; e < n; e++) {
                float want = (float)((is_signed ? (int8_t)q.p[e] : q.p[e]) - zero) * scale;
                assert_true(back.p[e] == want);
            }
            bytes_free(&q);
            bytes_free(&b);
            bytes_free(&b2);
            bytes_free(&u);
        }
        ck_free(&x);
        ck_free(&back);
    }
}

static void sums(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        int64_t n = ck_int(1, 2), c = ck_int(1, 40), hw = i % 10 ? ck_int(1, 60) : 1500;
        tn_q8_real a = {.is_signed = ck_int(0, 1)}, b = {.is_signed = ck_int(0, 1)}, y = {.is_signed = ck_int(0, 1)};
        a.zero = any_byte(a.is_signed), b.zero = any_byte(b.is_signed), y.zero = any_byte(y.is_signed);
        a.scale = ck_float(0.1f, 1), b.scale = ck_float(0.1f, 1), y.scale = ck_float(0.1f, 1);
        int32_t *pa = ints(n * c * hw, low(a.is_signed), high(a.is_signed)),
                *pb = ints(n * c * hw, low(b.is_signed), high(b.is_signed));
        size_t size = (size_t)(n * tn_round_up(c, 16) * hw), small = (size_t)(n * tn_round_up(c, 16));
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            bytes qa = bytes_alloc(size, 16), qb = bytes_alloc(size, 16), qy = bytes_alloc(size, 16),
                  mean = bytes_alloc(small, 16);
            to_blocks(pa, qa.p, n, c, hw, 16);
            to_blocks(pb, qb.p, n, c, hw, 16);
            int32_t lo = low(y.is_signed) + (i % 2 ? 9 : 0), hi = high(y.is_signed) - (i % 2 ? 9 : 0);
            tn_q8_add(t, &a, &b, &y, lo, hi, qa.p, qb.p, qy.p, n, c, hw, 2);
            tn_q8_mean(t, &a, &y, qa.p, mean.p, n, c, hw, 2);
            int64_t blocks = tn_ceil_div(c, 16);
            for (int64_t s = 0; s < n; s++)
                for (int64_t o = 0; o < blocks * 16; o++) {
                    int64_t total = 0;
                    for (int64_t e = 0; e < hw; e++) {
                        int64_t at = ((s * blocks + o / 16) * hw + e) * 16 + o % 16, from = (s * c + o) * hw + e;
                        int32_t got = y.is_signed ? (int8_t)qy.p[at] : qy.p[at], want = 0;
                        if (o < c) {
                            float va = (float)(pa[from] - a.zero) * (a.scale / y.scale);
                            float vb = (float)(pb[from] - b.zero) * (b.scale / y.scale);
                            want = TN_MAX(lo, TN_MIN(hi, (int32_t)rintf(va + vb) + y.zero));
                            total += pa[from] - a.zero;
                        }
                        assert_int_equal(got, want);
                    }
                    int64_t at = (s * blocks + o / 16) * 16 + o % 16;
                    int32_t got = y.is_signed ? (int8_t)mean.p[at] : mean.p[at];
                    float m = (float)total * (a.scale / ((float)hw * y.scale));
                    int32_t want = TN_MAX(low(y.is_signed), TN_MIN(high(y.is_signed), (int32_t)rintf(m) + y.zero));
                    assert_int_equal(got, o < c ? want : 0);
                }
            bytes_free(&qa);
            bytes_free(&qb);
            bytes_free(&qy);
            bytes_free(&mean);
        }
        free(pa);
        free(pb);
    }
}

static void refused(void **state) {
    (void)state;
    tn_q8_conv c = {
        .n = 1, .ic = 32, .ih = 9, .iw = 9, .oc = 32, .oh = 9, .ow = 9, .groups = 1, .kh = 1, .kw = 1, .sh = 1};
    c.sw = c.dh = c.dw = 1;
    c.x_block = 16;
    assert_true(tn_q8_conv_takes(&c));
    tn_q8_conv bad = c;
    bad.groups = 16; /* two channels of a group */
    assert_false(tn_q8_conv_takes(&bad));
    bad = c;
    bad.x_block = 4; /* for up to four channels */
    assert_false(tn_q8_conv_takes(&bad));
    bad = c;
    bad.ow = (int64_t)1 << 40;
    assert_false(tn_q8_conv_takes(&bad));
    bad = c;
    bad.kw = 3;
    bad.dw = 1 << 30;
    assert_false(tn_q8_conv_takes(&bad));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes), cmocka_unit_test(pointwise), cmocka_unit_test(first_layers),
        cmocka_unit_test(depthwise),     cmocka_unit_test(grouped),   cmocka_unit_test(larger),
        cmocka_unit_test(gemm),          cmocka_unit_test(quantize),  cmocka_unit_test(sums),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
