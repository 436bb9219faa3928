/* Every convolution algorithm of every tier against double precision.
 *
 * Tolerance: the sum of one output is a chain of K fused multiply-adds, at most K roundings of partial sums that are at
 * most sum |a b|; the scalar tier rounds products too; bias and residual add two. So (K + 4) eps (sum |a b| + |bias| +
 * |residual|). Factors of the input are rounded once into it or into the weights, here into the input: two more. */
#include "kernels/check.h"

#include "kernels/conv.h"
#include "kernels/ref/ref.h"

enum { MAPS = 4, CHANNELS = 40 };

typedef struct problem {
    tn_conv c;
    float *x, *w, *bias, *res; /* plain; bias may be NULL */
    double *sum, *mag;         /* from the reference */
    const float *raw, *scale;  /* with c.scaled: x is raw (n, ic, ...) times scale (n, ic) */
    /* With maps: channel i of x is channel `channel[i]` of map `from[i]`. */
    int maps, from[CHANNELS];
    int64_t map_channels[MAPS], channel[CHANNELS];
    const float *map[MAPS];
} problem;

static size_t outputs(const tn_conv *c) { return (size_t)(c->n * c->oc * c->oh * c->ow); }

static float *random_array(size_t n) {
    float *p = malloc(n * sizeof(float) + 1);
    ck_fill(p, n, -1, 1);
    return p;
}

static problem make(const tn_conv *c, bool bias) {
    problem p = {.c = *c};
    p.x = random_array((size_t)(c->n * c->ic * c->ih * c->iw));
    p.w = random_array((size_t)(c->oc * (c->ic / c->groups) * c->kh * c->kw));
    p.bias = bias ? random_array((size_t)c->oc) : NULL;
    p.res = random_array(outputs(c));
    p.sum = malloc(outputs(c) * sizeof(double) + 1);
    p.mag = malloc(outputs(c) * sizeof(double) + 1);
    tn_ref_conv(c, p.x, p.w, p.sum, p.mag);
    return p;
}

static void release(problem *p) {
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->res);
    free(p->sum);
    free(p->mag);
}

static size_t blocked_count(const tn_conv *c, int64_t channels, int64_t hw, int b) {
    return (size_t)(c->n * tn_round_up(channels, b) * hw);
}

/* The channels of x as runs of neighbours in blocks of the maps. */
static void set_picks(problem *p, int b, tn_conv_pick *picks) {
    tn_conv *c = &p->c;
    c->picks = picks;
    c->n_picks = 0;
    for (int64_t i = 0; p->maps && i < c->ic; i++) {
        bool joins = i && p->from[i] == p->from[i - 1] && p->channel[i] == p->channel[i - 1] + 1 && p->channel[i] % b;
        if (joins)
            picks[c->n_picks - 1].count++;
        else
            picks[c->n_picks++] = (tn_conv_pick){p->from[i], p->map_channels[p->from[i]], p->channel[i], 1};
    }
}

/* What is in no order of its own: maps, factors, means. */
typedef struct extras {
    ck_buf map[MAPS], scale, mean;
    const float *maps[MAPS];
} extras;

static void make_extras(extras *e, const problem *p, tn_conv *c, int b) {
    int64_t ihw = c->ih * c->iw;
    for (int i = 0; i < p->maps; i++) {
        e->map[i] = ck_alloc(blocked_count(c, p->map_channels[i], ihw, b), 64);
        ck_to_blocked(p->map[i], e->map[i].p, c->n, p->map_channels[i], ihw, b);
        e->maps[i] = e->map[i].p;
    }
    e->scale = ck_alloc(c->scaled ? blocked_count(c, c->ic, 1, b) : 0, 64);
    if (c->scaled) ck_to_blocked(p->scale, e->scale.p, c->n, c->ic, 1, b);
    e->mean = ck_alloc(c->means ? blocked_count(c, c->oc, 1, b) : 0, 64);
    c->maps = e->maps;
    c->scale = e->scale.p;
    c->mean = e->mean.p;
}

/* The mean of what was written, in double; hw additions and a division. */
static void check_means(const tn_conv *c, const float *y, const float *mean, int b) {
    int64_t hw = c->oh * c->ow;
    for (int64_t i = 0; i < c->n * c->oc; i++) {
        double sum = 0, mag = 0;
        for (int64_t j = 0; j < hw; j++) {
            double v = (double)y[ck_at(i / c->oc, i % c->oc, j, c->oc, hw, b)];
            sum += v;
            mag += fabs(v);
        }
        double got = (double)mean[ck_at(i / c->oc, i % c->oc, 0, c->oc, 1, b)];
        if (!(fabs(got - sum / (double)hw) <= (double)(hw + 1) * CK_EPS * mag / (double)hw))
            fail_msg("mean of channel %ld: %.9g instead of %.9g", (long)i, got, sum / (double)hw);
    }
    ck_lanes_zero(mean, c->n, c->oc, 1, b);
}

static void free_extras(extras *e, const problem *p) {
    for (int i = 0; i < p->maps; i++) ck_free(&e->map[i]);
    ck_free(&e->scale);
    ck_free(&e->mean);
}

/* Runs an algorithm on guarded memory, which is filled with NaN before; the residual is y itself when `in_place`. */
static ck_buf run(const tn_conv_algo *algo, tern_cpu_tier t, const problem *p, int threads, bool in_place) {
    tn_conv conv = p->c, *c = &conv;
    int b = tn_conv_block(t);
    int64_t ihw = c->ih * c->iw, ohw = c->oh * c->ow;
    extras e;
    make_extras(&e, p, c, b);
    ck_buf x = ck_alloc(c->in_plain ? (size_t)(c->n * c->ic * ihw) : blocked_count(c, c->ic, ihw, b), 64);
    if (c->pooled) ohw = (c->oh / 2) * (c->ow / 2);
    ck_buf y = ck_alloc(blocked_count(c, c->oc, ohw, b), 64), res = ck_alloc(c->residual ? y.n : 0, 64);
    ck_buf w = ck_alloc(algo->packed_bytes(c) / 4, 64), ws = ck_alloc(algo->workspace(c, threads) / 4, 64);
    ck_buf bias = ck_alloc(p->bias ? (size_t)c->oc : 0, 4);
    if (c->in_plain)
        memcpy(x.p, p->x, x.n * 4);
    else
        ck_to_blocked(c->scaled ? p->raw : p->x, x.p, c->n, c->ic, ihw, b);
    if (c->residual) ck_to_blocked(p->res, in_place ? y.p : res.p, c->n, c->oc, ohw, b);
    if (p->bias) memcpy(bias.p, p->bias, (size_t)c->oc * 4);
    algo->pack(c, p->w, w.p);
    algo->run(c, p->maps ? NULL : x.p, w.p, p->bias ? bias.p : NULL, in_place ? y.p : res.p, y.p, ws.p, threads);
    if (c->means) check_means(c, y.p, e.mean.p, b);
    free_extras(&e, p);
    ck_free(&x);
    ck_free(&res);
    ck_free(&w);
    ck_free(&ws);
    ck_free(&bias);
    return y;
}

static void check(const tn_conv_algo *algo, tern_cpu_tier t, const problem *p, const ck_buf *y) {
    const tn_conv *c = &p->c;
    int b = tn_conv_block(t);
    int64_t hw = c->oh * c->ow;
    int m = strstr(algo->name, "winograd4") ? 4 : strstr(algo->name, "winograd2") ? 2 : 1;
    double chain = (double)(m > 1 ? c->ic * c->sh * c->sw : c->ic / c->groups * c->kh * c->kw);
    double terms = chain * (t == TERN_CPU_SCALAR ? 2 : 1) + (m > 1 ? 24 : 4) + (c->scaled ? 2 : 0);
    double *mag = p->mag;
    if (m > 1) {
        mag = malloc(outputs(c) * sizeof(double));
        tn_ref_winograd_mag(c, m, m, p->x, p->w, mag);
    }
    for (int64_t i = 0; i < c->n * c->oc; i++) {
        for (int64_t j = 0; j < hw; j++) {
            size_t at = (size_t)(i * hw + j);
            double bias = p->bias ? (double)p->bias[i % c->oc] : 0, res = c->residual ? (double)p->res[at] : 0;
            double want = tn_ref_act(&c->act, p->sum[at] + bias + res);
            double got = (double)y->p[ck_at(i / c->oc, i % c->oc, j, c->oc, hw, b)];
            double tol = terms * CK_EPS * (mag[at] + fabs(bias) + fabs(res));
            /* The activations tested have slopes of at most 1.1, and an error of their own of at most 8 ULP (test_act).
             */
            if (c->act.kind != TN_ACT_NONE) tol = 1.1 * tol + 8 * ck_ulp(fabs(want) + tol);
            if (isnan(want) ? isnan(got) : fabs(got - want) <= tol) continue;
            fail_msg("%s, %ldx%ldx%ldx%ld -> %ldx%ldx%ld, kernel %dx%d: channel %ld pixel %ld is %.9g instead of %.9g "
                     "(+- %.3g)",
                     algo->name, (long)c->n, (long)c->ic, (long)c->ih, (long)c->iw, (long)c->oc, (long)c->oh,
                     (long)c->ow, c->kh, c->kw, (long)(i % c->oc), (long)j, got, want, tol);
        }
    }
    if (m > 1) free(mag);
    ck_lanes_zero(y->p, c->n, c->oc, hw, b);
}

/* Its last sample alone. */
static problem last_sample(const problem *p) {
    const tn_conv *c = &p->c;
    int64_t before = c->n - 1, ihw = c->ih * c->iw;
    problem last = *p;
    last.c.n = 1;
    last.x += before * c->ic * ihw;
    last.res += before * c->oc * c->oh * c->ow;
    if (c->scaled) last.raw += before * c->ic * ihw, last.scale += before * c->ic;
    for (int i = 0; i < p->maps; i++) last.map[i] += before * p->map_channels[i] * ihw;
    return last;
}

/* All algorithms of all tiers; threads and batches must not change a bit. */
static void check_all(problem *p) {
    const tn_conv *c = &p->c;
    tn_conv_pick picks[CHANNELS];
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        const tn_conv_algo *algos[8];
        set_picks(p, tn_conv_block(t), picks);
        int count = tn_conv_candidates(t, c, algos, 8);
        if (c->groups == 1 || c->groups == c->ic) assert_true(count > 0);
        for (int i = 0; i < count; i++) {
            ck_buf y = run(algos[i], t, p, 1, false);
            ck_buf z = run(algos[i], t, p, ck_int(2, 7), c->residual && ck_int(0, 1));
            check(algos[i], t, p, &y);
            assert_memory_equal(y.p, z.p, y.n * 4);
            ck_free(&z);
            if (c->n > 1) {
                problem last = last_sample(p);
                ck_buf one = run(algos[i], t, &last, 1, false);
                assert_memory_equal(one.p, y.p + y.n - one.n, one.n * 4);
                ck_free(&one);
            }
            ck_free(&y);
        }
    }
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

static void one(const tn_conv *c) {
    problem p = make(c, ck_int(0, 1));
    check_all(&p);
    release(&p);
}

static void random_shapes(void **state) {
    (void)state;
    for (int i = 0; i < 150; i++) {
        tn_conv c = random_conv(i % 3 ? 3 : 7);
        one(&c);
    }
}

static void pointwise(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(1);
        c.pad_top = c.pad_left = 0;
        c.sh = c.sw = i % 3 ? 1 : 2;
        set_output(&c, 0, 0);
        if (i % 5 == 0) c.ih = c.iw = c.oh = c.ow = 1, c.sh = c.sw = 1, c.oc = ck_int(30, 150);
        one(&c);
    }
}

/* Output channels that fill half of their last vector or less, or an odd number of vectors, on lines of all lengths. */
static void odd_vectors(void **state) {
    (void)state;
    static const int channels[] = {1, 8, 9, 17, 20, 24, 25, 32, 33, 36, 40, 41, 47, 48, 56, 57, 72, 73, 80, 88};
    for (int i = 0; i < 80; i++) {
        tn_conv c = random_conv(i % 4 ? 1 : 3);
        c.oc = channels[(size_t)i % TN_COUNT(channels)];
        c.ic = i % 4 == 2 ? ck_int(1, 4) : c.ic;
        c.in_plain = i % 4 == 2;
        c.kh = c.kw = i % 4 == 2 ? 3 : c.kh;
        c.pad_top = c.pad_left = 0;
        c.dh = c.dw = 1;
        c.sh = c.sw = i % 4 == 2 ? 2 : 1;
        c.ih = ck_int(7, 9), c.iw = ck_int(7, 60);
        set_output(&c, 0, 0);
        one(&c);
    }
}

/* 1x1 on maps of all sizes, so that either side is scaled. */
static void scaled(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(1);
        c.pad_top = c.pad_left = 0;
        c.sh = c.sw = i % 3 ? 1 : 2;
        if (i % 4 == 0) c.ih = c.iw = ck_int(1, 3), c.oc = ck_int(30, 150);
        set_output(&c, 0, 0);
        c.scaled = true;
        problem p = make(&c, ck_int(0, 1));
        size_t count = (size_t)(c.n * c.ic * c.ih * c.iw);
        float *raw = p.x, *scale = random_array((size_t)(c.n * c.ic));
        p.x = malloc(count * sizeof(float));
        for (size_t k = 0; k < count; k++) p.x[k] = raw[k] * scale[k / (size_t)(c.ih * c.iw)];
        p.raw = raw, p.scale = scale;
        tn_ref_conv(&c, p.x, p.w, p.sum, p.mag);
        check_all(&p);
        free(raw);
        free(scale);
        release(&p);
    }
}

/* 1x1 over channels of several maps: runs of all lengths, channels in any order and twice. */
static void picked(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(1);
        c.ic = ck_int(1, CHANNELS);
        c.pad_top = c.pad_left = 0;
        c.sh = c.sw = 1;
        if (i % 4 == 0) c.ih = c.iw = ck_int(1, 3), c.oc = ck_int(30, 150);
        set_output(&c, 0, 0);
        problem p = make(&c, ck_int(0, 1));
        int64_t hw = c.ih * c.iw;
        float *maps[MAPS];
        p.maps = ck_int(1, MAPS);
        for (int m = 0; m < p.maps; m++) {
            p.map_channels[m] = ck_int(1, 50);
            p.map[m] = maps[m] = random_array((size_t)(c.n * p.map_channels[m] * hw));
        }
        for (int64_t k = 0; k < c.ic; k++) {
            bool next = k && p.channel[k - 1] + 1 < p.map_channels[p.from[k - 1]] && ck_int(0, i % 8);
            p.from[k] = next ? p.from[k - 1] : ck_int(0, p.maps - 1);
            p.channel[k] = next ? p.channel[k - 1] + 1 : ck_int(0, (int)p.map_channels[p.from[k]] - 1);
            for (int64_t n = 0; n < c.n; n++)
                memcpy(p.x + (n * c.ic + k) * hw, maps[p.from[k]] + (n * p.map_channels[p.from[k]] + p.channel[k]) * hw,
                       (size_t)hw * 4);
        }
        tn_ref_conv(&c, p.x, p.w, p.sum, p.mag);
        check_all(&p);
        for (int m = 0; m < p.maps; m++) free(maps[m]);
        release(&p);
    }
}

static void first_layers(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(i % 2 ? 7 : 3);
        c.ic = ck_int(1, 4);
        c.in_plain = true;
        one(&c);
    }
}

static void depthwise(void **state) {
    (void)state;
    for (int i = 0; i < 120; i++) {
        tn_conv c = random_conv(5);
        c.groups = c.ic = c.oc = ck_int(2, 40);
        if (i % 2) {
            c.kh = c.kw = i % 4 == 1 ? 3 : 5;
            c.dh = c.dw = 1;
            c.pad_top = c.pad_left = c.kh / 2;
            c.sh = c.sw = ck_int(1, 2);
            set_output(&c, c.kh / 2, c.kh / 2);
            if (c.oh < 1 || c.ow < 1) continue;
        }
        c.means = i % 3 == 0;
        one(&c);
    }
}

static bool has_algo(const tn_conv *c, const char *name) {
    const tn_conv_algo *algos[8];
    int count = tn_conv_candidates(ck_top(), c, algos, 8);
    for (int i = 0; i < count; i++)
        if (strstr(algos[i]->name, name)) return true;
    return false;
}

/* Maps with all remainders of tiles, paddings of all kinds, one block and many. */
static void winograd(void **state) {
    (void)state;
    int seen2 = 0, seen4 = 0, strided = 0;
    for (int i = 0; i < 60; i++) {
        tn_conv c = {.n = ck_int(1, 2), .groups = 1, .ic = ck_int(8, 40), .oc = ck_int(8, 40), .kh = 3, .kw = 3};
        c.sh = c.sw = c.dh = c.dw = 1;
        c.pad_top = ck_int(0, 2), c.pad_left = ck_int(0, 2);
        c.ih = ck_int(3, 17), c.iw = ck_int(3, 19);
        if (i % 10 == 0) c.n = 1, c.ic = 9, c.oc = 17, c.ih = 60, c.iw = 65;
        if (i % 3 == 1) c.sh = c.sw = 2, c.ic = 16 * ck_int(1, 3), c.ih += 14, c.iw += 20;
        if (i == 7) c.ih = 90, c.iw = 75;                     /* many blocks */
        if (i == 13) c.ic = 256, c.oc = 70, c.ih = c.iw = 23; /* groups of panels */
        set_output(&c, ck_int(0, 2), ck_int(0, 2));
        c.residual = ck_int(0, 1);
        c.act = acts[ck_int(0, TN_COUNT(acts) - 1)];
        seen2 += has_algo(&c, "winograd2");
        seen4 += has_algo(&c, "winograd4");
        strided += has_algo(&c, "winograd2s2") && has_algo(&c, "winograd4s2");
        one(&c);
    }
    assert_true(seen2 >= 5 && seen4 >= 5 && strided >= 15);
}

static void grouped(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) {
        tn_conv c = random_conv(3);
        c.groups = ck_int(2, 4);
        c.ic = c.groups * 16 * ck_int(1, 2);
        c.oc = c.groups * 16 * ck_int(1, 3);
        one(&c);
    }
}

/* Groups narrower than a block: joined, also where the last joined group is not full. */
static void narrow_groups(void **state) {
    (void)state;
    int taken = 0;
    for (int i = 0; i < 60; i++) {
        tn_conv c = random_conv(3);
        int64_t width = (int64_t)1 << ck_int(1, 3);
        c.groups = ck_int(2, 9);
        c.ic = c.groups * (i % 3 ? width : ck_int(1, 12));
        c.oc = c.groups * (i % 3 ? width : ck_int(2, 12));
        const tn_conv_algo *algo;
        taken += tn_conv_candidates(TERN_CPU_SCALAR, &c, &algo, 1);
        one(&c);
    }
    assert_true(taken >= 30);
}

/* Enough work for several strips, chunks and tasks. */
static void larger(void **state) {
    (void)state;
    static const tn_conv shapes[] = {
        {.n = 1,
         .ic = 64,
         .ih = 30,
         .iw = 31,
         .oc = 96,
         .oh = 30,
         .ow = 31,
         .groups = 1,
         .kh = 1,
         .kw = 1,
         .sh = 1,
         .sw = 1,
         .dh = 1,
         .dw = 1},
        {.n = 2,
         .ic = 40,
         .ih = 28,
         .iw = 28,
         .oc = 48,
         .oh = 14,
         .ow = 14,
         .groups = 1,
         .kh = 3,
         .kw = 3,
         .sh = 2,
         .sw = 2,
         .dh = 1,
         .dw = 1,
         .pad_top = 1,
         .pad_left = 1},
        {.n = 1,
         .ic = 256,
         .ih = 7,
         .iw = 7,
         .oc = 200,
         .oh = 7,
         .ow = 7,
         .groups = 1,
         .kh = 3,
         .kw = 3,
         .sh = 1,
         .sw = 1,
         .dh = 1,
         .dw = 1,
         .pad_top = 1,
         .pad_left = 1},
        {.n = 1,
         .ic = 3,
         .ih = 64,
         .iw = 70,
         .oc = 40,
         .oh = 32,
         .ow = 35,
         .groups = 1,
         .kh = 7,
         .kw = 7,
         .sh = 2,
         .sw = 2,
         .dh = 1,
         .dw = 1,
         .pad_top = 3,
         .pad_left = 3,
         .in_plain = true},
        {.n = 1,
         .ic = 130,
         .ih = 40,
         .iw = 40,
         .oc = 130,
         .oh = 40,
         .ow = 40,
         .groups = 130,
         .kh = 3,
         .kw = 3,
         .sh = 1,
         .sw = 1,
         .dh = 1,
         .dw = 1,
         .pad_top = 1,
         .pad_left = 1},
    };
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        tn_conv c = shapes[i];
        c.act = acts[i % TN_COUNT(acts)];
        c.residual = i % 2;
        c.means = c.groups > 1;
        one(&c);
    }
}

/* NaN and infinity in one input pixel reach exactly the outputs that see it, and never the lanes past the last channel.
 */
static void not_finite(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        tn_conv c = {.n = 1,
                     .ic = 5,
                     .ih = 9,
                     .iw = 9,
                     .oc = 21,
                     .groups = 1,
                     .kh = 3,
                     .kw = 3,
                     .sh = 2,
                     .sw = 2,
                     .dh = 1,
                     .dw = 1};
        c.in_plain = i & 1;
        if (i & 2) c.ic = c.oc = c.groups = 21, c.in_plain = false;
        if (i & 4) c.kh = c.kw = 1;
        set_output(&c, 0, 0);
        problem p = make(&c, true);
        p.x[(c.ic / 2 * c.ih + 4) * c.iw + 4] = NAN;
        tn_ref_conv(&c, p.x, p.w, p.sum, p.mag);
        check_all(&p);
        release(&p);
    }
}

static void refused(void **state) {
    (void)state;
    tn_conv c = {.n = 1,
                 .ic = 32,
                 .ih = 9,
                 .iw = 9,
                 .oc = 32,
                 .oh = 9,
                 .ow = 9,
                 .groups = 1,
                 .kh = 3,
                 .kw = 3,
                 .sh = 1,
                 .sw = 1,
                 .dh = 1,
                 .dw = 1};
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        tn_conv bad = c;
        bad.groups = 11, bad.ic = bad.oc = 33; /* groups of three: no joined ones fill blocks */
        assert_null(tn_conv_select(t, &bad));
        bad = c;
        bad.dw = 1 << 30;
        assert_null(tn_conv_select(t, &bad));
        bad = c;
        bad.ow = (int64_t)1 << 40;
        assert_null(tn_conv_select(t, &bad));
        assert_non_null(tn_conv_select(t, &c));
    }
}

/* With c.pooled the same algorithm gives the maxima of what it gives without, NaN where one of the four is. */
static void check_pooled(const tn_conv_algo *algo, tern_cpu_tier t, const problem *p) {
    int b = tn_conv_block(t);
    int64_t oh = p->c.oh, ow = p->c.ow, blocks = p->c.n * tn_ceil_div(p->c.oc, b);
    problem pooled = *p;
    pooled.c.pooled = true;
    ck_buf y = run(algo, t, p, 1, false), z = run(algo, t, &pooled, 1, false), again = run(algo, t, &pooled, 3, false);
    const float *q = z.p;
    assert_memory_equal(z.p, again.p, (size_t)(blocks * (oh / 2) * (ow / 2) * b) * 4);
    for (int64_t at = 0; at < blocks * (oh / 2) * (ow / 2) * b; at++, q++) {
        int64_t lane = at % b, ox = at / b % (ow / 2), oy = at / b / (ow / 2) % (oh / 2),
                block = at / b / (ow / 2) / (oh / 2);
        const float *first = y.p + ((block * oh + 2 * oy) * ow + 2 * ox) * b + lane;
        float v[4] = {first[0], first[b], first[ow * b], first[(ow + 1) * b]}, max = v[0];
        for (int i = 1; i < 4; i++) max = isnan(max) || max > v[i] ? max : v[i];
        if (isnan(max) ? !isnan(*q) : *q != max)
            fail_msg("%s: block %ld, pixel %ld,%ld, lane %ld is %.9g instead of %.9g", algo->name, (long)block,
                     (long)oy, (long)ox, (long)lane, (double)*q, (double)max);
    }
    ck_free(&y);
    ck_free(&z);
    ck_free(&again);
}

static void maxima(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        tn_conv c = {.n = ck_int(1, 2), .groups = 1, .ic = ck_int(8, 40), .oc = ck_int(8, 70)};
        c.kh = c.kw = 3, c.sh = c.sw = c.dh = c.dw = 1;
        c.pad_top = ck_int(0, 2), c.pad_left = ck_int(0, 2);
        c.ih = ck_int(4, 20), c.iw = ck_int(4, 30);
        set_output(&c, ck_int(0, 2), ck_int(0, 2));
        c.act = acts[i % 3];
        problem p = make(&c, i % 2);
        if (i % 4 == 3) p.x[ck_rand() % (uint64_t)(c.n * c.ic * c.ih * c.iw)] = NAN;
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            const tn_conv_algo *algos[8];
            c.pooled = true;
            int count = tn_conv_candidates(t, &c, algos, 8);
            assert_int_equal(count, 2);
            for (int k = 0; k < count; k++) check_pooled(algos[k], t, &p);
        }
        release(&p);
    }
}

/* What it can not be done for has no algorithm. */
static void no_maxima(void **state) {
    (void)state;
    const tn_conv ok = {.n = 1,
                        .groups = 1,
                        .ic = 16,
                        .oc = 16,
                        .kh = 3,
                        .kw = 3,
                        .sh = 1,
                        .sw = 1,
                        .dh = 1,
                        .dw = 1,
                        .ih = 8,
                        .iw = 8,
                        .oh = 6,
                        .ow = 6,
                        .pooled = true};
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        tn_conv c[4] = {ok, ok, ok, ok};
        c[1].residual = true, c[2].act = (tn_act){TN_ACT_SILU, 1, 0}, c[3].kh = 1, c[3].oh = 8;
        assert_non_null(tn_conv_select(t, &c[0]));
        for (int i = 1; i < 4; i++) assert_null(tn_conv_select(t, &c[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes), cmocka_unit_test(pointwise),     cmocka_unit_test(first_layers),
        cmocka_unit_test(odd_vectors),   cmocka_unit_test(scaled),        cmocka_unit_test(picked),
        cmocka_unit_test(maxima),        cmocka_unit_test(no_maxima),     cmocka_unit_test(depthwise),
        cmocka_unit_test(grouped),       cmocka_unit_test(narrow_groups), cmocka_unit_test(winograd),
        cmocka_unit_test(larger),        cmocka_unit_test(not_finite),    cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
