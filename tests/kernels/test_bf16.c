/* bfloat16 convolution, every algorithm on every instruction set, against double precision on the rounded operands.
 *
 * Tolerance: as in test_conv.c, K products and additions, each rounded once (the dot product instructions may keep
 * fewer bits of what is below 2^-126, which does not occur), so (2 K + 4) eps (sum |a b| + |bias| + |residual|), and
 * the rounding of the result to bfloat16, half a unit of its last place: 2^-8 of its size. Winograd rounds the
 * transformed input and weights to bfloat16 as well: (2^-8 + 2^-8 + 2^-16) of what bounds its products. */
#include "kernels/check.h"

#include "kernels/bf16_conv.h"
#include "kernels/bf16_pool.h"
#include "kernels/ref/ref.h"

#define HALF_UNIT (1.0 / 256) /* of bfloat16, relative */

typedef struct problem {
    tn_conv c;
    float *x, *w, *bias, *res; /* plain; bias may be NULL. x (unless plain), w and res are bfloat16 numbers */
    double *sum, *mag;         /* from the reference, for operands as they are multiplied */
    double *wino, *wide;       /* what bounds Winograd's products, in tiles of 2 x 2 and of 2 x 4 */
} problem;

static size_t outputs(const tn_conv *c) { return (size_t)(c->n * c->oc * c->oh * c->ow); }

static float *random_array(size_t n, bool rounded) {
    float *p = malloc(n * sizeof(float) + 1);
    ck_fill(p, n, -1, 1);
    for (size_t i = 0; rounded && i < n; i++) p[i] = tn_bf16_to_f32(tn_f32_to_bf16(p[i]));
    return p;
}

static problem make(const tn_conv *c) {
    problem p = {.c = *c};
    size_t n = (size_t)(c->n * c->ic * c->ih * c->iw);
    p.x = random_array(n, !c->in_plain);
    p.w = random_array((size_t)(c->oc * (c->ic / c->groups) * c->kh * c->kw), true);
    p.bias = ck_int(0, 1) ? random_array((size_t)c->oc, false) : NULL;
    p.res = random_array(outputs(c), true);
    p.sum = malloc(outputs(c) * sizeof(double) + 1);
    p.mag = malloc(outputs(c) * sizeof(double) + 1);
    p.wino = malloc(outputs(c) * sizeof(double) + 1);
    p.wide = malloc(outputs(c) * sizeof(double) + 1);
    float *x = malloc(n * sizeof(float) + 1);
    for (size_t i = 0; i < n; i++) x[i] = tn_bf16_to_f32(tn_f32_to_bf16(p.x[i]));
    tn_ref_conv(c, x, p.w, p.sum, p.mag);
    if (c->kh == 3 && c->kw == 3 && c->groups == 1 && c->sh == c->sw && c->sh < 3)
        tn_ref_winograd_mag(c, 2, 2, x, p.w, p.wino);
    if (c->kh == 3 && c->kw == 3 && c->groups == 1 && c->sh == 1 && c->sw == 1)
        tn_ref_winograd_mag(c, 2, 4, x, p.w, p.wide);
    free(x);
    return p;
}

static void release(problem *p) {
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->res);
    free(p->sum);
    free(p->mag);
    free(p->wino);
    free(p->wide);
}

static void to_blocked(const float *x, uint16_t *y, int64_t n, int64_t c, int64_t hw, int b) {
    size_t count = (size_t)(n * tn_round_up(c, b) * hw);
    float *wide = malloc(count * sizeof(float) + 1);
    ck_to_blocked(x, wide, n, c, hw, b);
    for (size_t i = 0; i < count; i++) y[i] = tn_f32_to_bf16(wide[i]);
    free(wide);
}

/* Runs an algorithm on guarded memory, which is filled with NaN before; the residual is y itself when `in_place`. y
 * comes back as float32. */
static ck_buf run(tn_bf16_isa isa, tn_bf16_algo algo, const problem *p, int threads, bool in_place) {
    const tn_conv *c = &p->c;
    int b = tn_conv_block(tn_bf16_tier(isa));
    int64_t ihw = c->ih * c->iw, ohw = c->oh * c->ow, icp = tn_round_up(c->ic, b), ocp = tn_round_up(c->oc, b);
    ck_buf x = ck_alloc((size_t)(c->in_plain ? c->n * c->ic * ihw : c->n * icp * ihw / 2), 64);
    ck_buf y = ck_alloc((size_t)(c->n * ocp * ohw / 2), 64), res = ck_alloc(c->residual ? y.n : 0, 64);
    ck_buf w = ck_alloc(tn_bf16_conv_packed_bytes(isa, algo, c) / 4, 64);
    ck_buf ws = ck_alloc(tn_bf16_conv_workspace(isa, algo, c, threads) / 4, 64);
    ck_buf bias = ck_alloc(p->bias ? (size_t)c->oc : 0, 4);
    tn_bf16_conv_args a = {.x = x.p, .packed = w.p, .y = (uint16_t *)y.p};
    if (c->in_plain)
        memcpy(x.p, p->x, x.n * 4);
    else
        to_blocked(p->x, (uint16_t *)x.p, c->n, c->ic, ihw, b);
    a.residual = (uint16_t *)(in_place ? y.p : res.p);
    if (c->residual) to_blocked(p->res, (uint16_t *)(in_place ? y.p : res.p), c->n, c->oc, ohw, b);
    if (p->bias) memcpy(bias.p, p->bias, (size_t)c->oc * 4);
    a.bias = p->bias ? bias.p : NULL;
    tn_bf16_conv_pack(isa, algo, c, p->w, w.p);
    tn_bf16_conv_run(isa, algo, c, &a, ws.p, threads);
    ck_buf wide = ck_alloc(y.n * 2, 64);
    tn_bf16_to_f32_n(a.y, wide.p, wide.n);
    ck_free(&x);
    ck_free(&y);
    ck_free(&res);
    ck_free(&w);
    ck_free(&ws);
    ck_free(&bias);
    return wide;
}

static void check(tn_bf16_isa isa, tn_bf16_algo algo, const problem *p, const ck_buf *y) {
    const tn_conv *c = &p->c;
    int b = tn_conv_block(tn_bf16_tier(isa));
    int64_t hw = c->oh * c->ow;
    bool wino = algo == TN_BF16_WINOGRAD;
    const double *products = strstr(tn_bf16_conv_name(isa, algo, c), "2x4") ? p->wide : wino ? p->wino : p->mag;
    int64_t planes = c->sh == 2 ? 4 : 1; /* of one of Winograd's sums, at most */
    double chain = (double)(wino ? c->ic * planes : c->ic / c->groups * c->kh * c->kw);
    double terms = 2 * chain + (wino ? 24 : 4);
    for (int64_t i = 0; i < c->n * c->oc; i++) {
        for (int64_t j = 0; j < hw; j++) {
            size_t at = (size_t)(i * hw + j);
            double bias = p->bias ? (double)p->bias[i % c->oc] : 0, res = c->residual ? (double)p->res[at] : 0;
            double want = tn_ref_act(&c->act, p->sum[at] + bias + res), mag = products[at];
            double got = (double)y->p[ck_at(i / c->oc, i % c->oc, j, c->oc, hw, b)];
            double tol = terms * CK_EPS * (mag + fabs(bias) + fabs(res));
            if (wino) tol += (2 * HALF_UNIT + HALF_UNIT * HALF_UNIT) * mag;
            /* Slopes of at most 1.1, and errors of their own of at most 8 ULP (test_act). */
            if (c->act.kind != TN_ACT_NONE) tol = 1.1 * tol + 8 * ck_ulp(fabs(want) + tol);
            tol += HALF_UNIT * (fabs(want) + tol) + 0x1p-126;
            if (isnan(want) ? isnan(got) : fabs(got - want) <= tol) continue;
            fail_msg(
                "%s, %ldx%ldx%ldx%ld -> %ldx%ldx%ld, kernel %dx%d stride %d: channel %ld pixel %ld is %.9g instead "
                "of %.9g (+- %.3g)",
                tn_bf16_conv_name(isa, algo, c), (long)c->n, (long)c->ic, (long)c->ih, (long)c->iw, (long)c->oc,
                (long)c->oh, (long)c->ow, c->kh, c->kw, c->sw, (long)(i % c->oc), (long)j, got, want, tol);
        }
    }
    ck_lanes_zero(y->p, c->n, c->oc, hw, b);
}

/* One algorithm; threads, memory and batches must not change a bit. */
static void check_one(tn_bf16_isa isa, tn_bf16_algo algo, const problem *p) {
    const tn_conv *c = &p->c;
    ck_buf y = run(isa, algo, p, 1, false);
    check(isa, algo, p, &y);
    static const int threads[] = {2, 3, 7};
    for (int k = 0; k < 3; k++) {
        ck_buf z = run(isa, algo, p, threads[k], c->residual && ck_int(0, 1));
        assert_memory_equal(y.p, z.p, y.n * 4);
        ck_free(&z);
    }
    if (c->n > 1) {
        problem last = *p;
        last.c.n = 1;
        last.x += (c->n - 1) * c->ic * c->ih * c->iw;
        last.res += (c->n - 1) * c->oc * c->oh * c->ow;
        ck_buf alone = run(isa, algo, &last, 1, false);
        assert_memory_equal(alone.p, y.p + y.n - alone.n, alone.n * 4);
        ck_free(&alone);
    }
    ck_free(&y);
}

/* Returns how many algorithms took the shape on the last instruction set. */
static int one(const tn_conv *c) {
    problem p = make(c);
    int count = 0;
    for (tn_bf16_isa isa = 0; isa < TN_BF16_ISA_COUNT; isa++) {
        if (!tn_bf16_available(isa)) continue;
        count = 0;
        for (tn_bf16_algo algo = 0; algo < TN_BF16_ALGO_COUNT; algo++) {
            if (!tn_bf16_conv_takes(isa, algo, c)) continue;
            check_one(isa, algo, &p);
            count++;
        }
    }
    release(&p);
    return count;
}

static const tn_act acts[] = {{TN_ACT_NONE, 0, 0},    {TN_ACT_RELU, 0, 0}, {TN_ACT_CLIP, 0.25f, 0.75f},
                              {TN_ACT_SIGMOID, 0, 0}, {TN_ACT_SILU, 1, 0}, {TN_ACT_LEAKY, 0.1f, 0}};

/* Output sizes from input, kernel and padding on all sides. */
static void set_output(tn_conv *c, int pad_bottom, int pad_right) {
    c->oh = (c->ih + c->pad_top + pad_bottom - (c->kh - 1) * c->dh - 1) / c->sh + 1;
    c->ow = (c->iw + c->pad_left + pad_right - (c->kw - 1) * c->dw - 1) / c->sw + 1;
}

static tn_conv random_conv(int max_kernel) {
    tn_conv c = {.n = ck_int(0, 3) ? 1 : 2, .groups = 1, .ic = ck_int(1, 40), .oc = ck_int(1, 70)};
    c.kh = ck_int(1, max_kernel), c.kw = ck_int(1, max_kernel);
    c.sh = ck_int(1, 3), c.sw = ck_int(1, 3);
    c.dh = ck_int(0, 3) ? 1 : 2, c.dw = ck_int(0, 3) ? 1 : 3;
    int eh = (c.kh - 1) * c.dh + 1, ew = (c.kw - 1) * c.dw + 1;
    c.pad_top = ck_int(0, eh), c.pad_left = ck_int(0, ew);
    c.ih = ck_int(1, 12), c.iw = ck_int(1, 30);
    int pb = ck_int(0, eh), pr = ck_int(0, ew);
    /* At least one window fits. */
    pb = TN_MAX(pb, eh - (int)c.ih - c.pad_top);
    pr = TN_MAX(pr, ew - (int)c.iw - c.pad_left);
    set_output(&c, pb, pr);
    c.residual = ck_int(0, 1);
    c.act = acts[ck_int(0, TN_COUNT(acts) - 1)];
    return c;
}

static void random_shapes(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(i % 3 ? 3 : 7);
        assert_true(one(&c) > 0);
    }
}

static void pointwise(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        tn_conv c = random_conv(1);
        c.pad_top = c.pad_left = 0;
        c.sh = c.sw = i % 3 ? 1 : 2;
        set_output(&c, 0, 0);
        if (i % 5 == 0) c.ih = c.iw = c.oh = c.ow = 1, c.sh = c.sw = 1, c.oc = ck_int(30, 150);
        assert_true(one(&c) > 0);
    }
}

static void first_layers(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        tn_conv c = random_conv(i % 2 ? 7 : 3);
        c.ic = ck_int(1, 4);
        c.in_plain = true;
        assert_int_equal(one(&c), 1);
    }
}

static void groups(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(i % 2 ? 5 : 3);
        if (i % 2) {
            c.groups = c.ic = c.oc = ck_int(2, 40);
            if (c.ic % 2 == 0) c.ic = c.oc = c.groups;
        } else {
            c.groups = ck_int(2, 4);
            c.ic = c.groups * (i % 4 ? 16 * ck_int(1, 2) : 4);
            c.oc = c.groups * (i % 4 ? 16 * ck_int(1, 3) : 4);
        }
        assert_true(one(&c) > 0);
    }
}

/* Maps with all remainders of tiles, paddings of all kinds, one block and many; channels a multiple of `unit`. At least
 * `least` of the shapes must be ones that the named tiles take. */
static void winograd_shapes(int stride, int unit, const char *name, int least) {
    for (int i = 0; i < 30; i++) {
        tn_conv c = {.n = ck_int(1, 2), .groups = 1, .oc = ck_int(30, 70), .kh = 3, .kw = 3, .dh = 1, .dw = 1};
        c.ic = tn_round_up(ck_int(30, 70), unit);
        c.sh = c.sw = stride;
        c.pad_top = ck_int(0, 2), c.pad_left = ck_int(0, 2);
        c.ih = ck_int(3 + 2 * stride, 3 + 14 * stride), c.iw = ck_int(3 + 2 * stride, 3 + 16 * stride);
        if (i % 10 == 0) c.n = 1, c.ic = unit > 1 ? 48 : 33, c.oc = 49, c.ih = 40 * stride, c.iw = 45 * stride;
        set_output(&c, ck_int(0, 2), ck_int(0, 2));
        c.residual = ck_int(0, 1);
        c.act = acts[ck_int(0, TN_COUNT(acts) - 1)];
        bool taken = one(&c) == 2;
        if (taken && strstr(tn_bf16_conv_name(TN_BF16_SCALAR, TN_BF16_WINOGRAD, &c), name)) least--;
    }
    assert_true(least <= 0);
}

static void winograd(void **state) {
    (void)state;
    winograd_shapes(1, 1, "winograd2x4", 4);
    winograd_shapes(1, 1, "winograd2_", 4);
    winograd_shapes(2, 16, "winograd2s2", 4);
}

#define SHAPE(IC, IH, OC, OH, G, K, S, P)                                                                           \
    {                                                                                                               \
        .n = 1, .ic = IC, .ih = IH, .iw = IH, .oc = OC, .oh = OH, .ow = OH, .groups = G, .kh = K, .kw = K, .sh = S, \
        .sw = S, .dh = 1, .dw = 1, .pad_top = P, .pad_left = P                                                      \
    }

/* Enough work for several strips, chunks and tasks. */
static void larger(void **state) {
    (void)state;
    static const tn_conv shapes[] = {SHAPE(64, 30, 96, 30, 1, 1, 1, 0), SHAPE(40, 28, 48, 14, 1, 3, 2, 1),
                                     SHAPE(256, 7, 200, 7, 1, 3, 1, 1), SHAPE(3, 64, 40, 32, 1, 7, 2, 3),
                                     SHAPE(130, 40, 130, 40, 130, 3, 1, 1)};
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        tn_conv c = shapes[i];
        c.in_plain = c.ic == 3;
        c.act = acts[i % TN_COUNT(acts)];
        c.residual = i % 2;
        assert_true(one(&c) > 0);
    }
}

/* A NaN in one input pixel reaches exactly the outputs that see it, and never the lanes past the last channel. */
static void not_finite(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        tn_conv c = SHAPE(5, 9, 21, 4, 1, 3, 2, 0);
        if (i & 2) c.ic = c.oc = c.groups = 21;
        /* A window of an odd number of elements reads one more of each row, times zero. */
        if (i == 1) c.ic = 3, c.in_plain = true, c.kh = c.kw = 4, c.oh = c.ow = 3;
        problem p = make(&c);
        p.x[(c.ic / 2 * c.ih + 4) * c.iw + 4] = NAN;
        tn_ref_conv(&c, p.x, p.w, p.sum, p.mag);
        for (size_t k = 0; k < outputs(&c); k++)
            if (!isnan(p.sum[k])) p.mag[k] = 1e30; /* only where the NaNs are matters here */
        for (tn_bf16_isa isa = 0; isa < TN_BF16_ISA_COUNT; isa++) {
            tn_bf16_algo algo;
            if (!tn_bf16_available(isa)) continue;
            assert_true(tn_bf16_conv_select(isa, &c, &algo));
            check_one(isa, algo, &p);
        }
        release(&p);
    }
}

static void layout(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        int64_t n = ck_int(1, 2), c = ck_int(1, 40), hw = ck_int(1, 400);
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            int b = tn_conv_block(t);
            size_t blocked = (size_t)(n * tn_round_up(c, b) * hw);
            ck_buf x = ck_random((size_t)(n * c * hw), 4), y = ck_alloc(blocked / 2, 64), z = ck_alloc(x.n, 4);
            uint16_t *want = malloc(blocked * 2);
            to_blocked(x.p, want, n, c, hw, b);
            tn_bf16_block(t, x.p, (uint16_t *)y.p, n, c, hw, ck_int(1, 3));
            assert_memory_equal(y.p, want, blocked * 2);
            tn_bf16_unblock(t, want, z.p, n, c, hw, ck_int(1, 3));
            for (size_t k = 0; k < x.n; k++) assert_true(z.p[k] == tn_bf16_to_f32(tn_f32_to_bf16(x.p[k])));
            free(want);
            ck_free(&x);
            ck_free(&y);
            ck_free(&z);
        }
    }
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

static tn_pool2d random_pool(void) {
    tn_pool2d p = {.n = ck_int(1, 2), .c = ck_int(1, 35), .average = ck_int(0, 1), .count_pad = ck_int(0, 1)};
    p.kh = ck_int(1, 5), p.kw = ck_int(1, 5), p.sh = ck_int(1, 3), p.sw = ck_int(1, 3);
    p.dh = ck_int(1, 2), p.dw = ck_int(1, 2);
    p.pad_top = ck_int(0, p.kh - 1), p.pad_left = ck_int(0, p.kw - 1);
    p.pad_bottom = ck_int(0, p.kh - 1), p.pad_right = ck_int(0, p.kw - 1);
    int eh = (p.kh - 1) * p.dh + 1, ew = (p.kw - 1) * p.dw + 1;
    p.ih = ck_int(eh, eh + (ck_int(0, 3) ? 9 : 90)), p.iw = ck_int(ew, ew + (ck_int(0, 3) ? 20 : 90));
    p.oh = (p.ih + p.pad_top + p.pad_bottom - eh) / p.sh + 1;
    p.ow = (p.iw + p.pad_left + p.pad_right - ew) / p.sw + 1;
    return p;
}

/* ref: of the map, in double. A maximum is one of its numbers; an average is the float32 one, (taps + 1) roundings, and
 * is rounded. */
static void check_pool(const tn_pool2d *p, const double *ref, const uint16_t *y, int b) {
    int64_t ohw = p->oh * p->ow;
    double tol = p->average ? (double)(p->kh * p->kw + 1) * CK_EPS : 0; /* |x| <= 1 */
    for (int64_t i = 0; i < p->n * tn_round_up(p->c, b); i++) {
        int64_t n = i / tn_round_up(p->c, b), c = i % tn_round_up(p->c, b);
        for (int64_t j = 0; j < ohw; j++) {
            double got = (double)tn_bf16_to_f32(y[ck_at(n, c, j, p->c, ohw, b)]);
            double want = c < p->c ? ref[(n * p->c + c) * ohw + j] : 0;
            double room = tol + (p->average ? HALF_UNIT * (fabs(want) + tol) : 0);
            if (isnan(want) ? !isnan(got) : !(got == want || fabs(got - want) <= room))
                fail_msg("channel %ld pixel %ld is %.9g instead of %.9g", (long)c, (long)j, got, want);
        }
    }
}

static void one_pool(tern_cpu_tier t, const tn_pool2d *p, const float *plain, const double *ref) {
    static const int threads[] = {1, 2, 3, 7};
    int b = tn_conv_block(t);
    size_t nx = (size_t)(p->n * tn_round_up(p->c, b) * p->ih * p->iw);
    size_t ny = (size_t)(p->n * tn_round_up(p->c, b) * p->oh * p->ow);
    uint16_t *first = malloc(ny * sizeof *first);
    for (int k = 0; k < 4; k++) {
        ck_buf x = ck_alloc(nx / 2, 64), y = ck_alloc(ny / 2, 64);
        ck_buf ws = ck_alloc(tn_bf16_pool2d_workspace(t, p, threads[k]) / 4, 64);
        to_blocked(plain, (uint16_t *)x.p, p->n, p->c, p->ih * p->iw, b);
        tn_bf16_pool2d(t, p, (uint16_t *)x.p, (uint16_t *)y.p, ws.p, threads[k]);
        if (k == 0) {
            check_pool(p, ref, (uint16_t *)y.p, b);
            memcpy(first, y.p, ny * sizeof *first);
        }
        assert_memory_equal(first, y.p, ny * sizeof *first);
        ck_free(&x);
        ck_free(&y);
        ck_free(&ws);
    }
    free(first);
}

static void pools(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_pool2d p = random_pool();
        size_t nx = (size_t)(p.n * p.c * p.ih * p.iw), ny = (size_t)(p.n * p.c * p.oh * p.ow);
        float *plain = random_array(nx, true);
        if (i % 3 == 0) plain[ck_rand() % nx] = i % 2 ? NAN : -NAN;
        double *ref = malloc(ny * sizeof *ref);
        tn_ref_pool2d(&p, plain, ref);
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) one_pool(t, &p, plain, ref);
        free(plain);
        free(ref);
    }
}

static void refused(void **state) {
    (void)state;
    for (tn_bf16_isa isa = 0; isa < TN_BF16_ISA_COUNT; isa++) {
        tn_conv c = SHAPE(32, 9, 32, 9, 1, 3, 1, 1);
        tn_bf16_algo algo;
        assert_true(tn_bf16_conv_select(isa, &c, &algo));
        c.sw = INT32_MAX;
        assert_false(tn_bf16_conv_select(isa, &c, &algo));
        c.sw = 1;
        c.in_plain = true; /* more than four channels */
        assert_false(tn_bf16_conv_select(isa, &c, &algo));
        c.in_plain = false;
        c.groups = 11, c.ic = c.oc = 33; /* groups of three: no joined ones fill blocks */
        assert_false(tn_bf16_conv_select(isa, &c, &algo));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes), cmocka_unit_test(pointwise), cmocka_unit_test(first_layers),
        cmocka_unit_test(groups),        cmocka_unit_test(winograd),  cmocka_unit_test(larger),
        cmocka_unit_test(not_finite),    cmocka_unit_test(layout),    cmocka_unit_test(pools),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
