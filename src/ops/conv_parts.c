#include "ops/conv_parts.h"

#include "ops/conv_internal.h"

enum { D, H, W, MOST_PHASES = 4096, EDGE = 64 };

/* Pixels that are one row together, times what they read: within tn_conv_is_sane. */
#define ROW_READS (1 << 27)
/* What the taps of depth read of a band stays in L2 for the next output slice. */
#define BAND_BYTES (384 * 1024)

/* One dim of a convolution with stride >= 1, or of a phase: output i, at first + i * step of Y, is the sum over taps t
 * of x[i * stride + t * dilation - pad]. */
typedef struct axis {
    int64_t in, out, taps, stride, dilation, pad, first, step;
    int64_t tap0, tap_step; /* tap t in the weights of ConvTranspose */
} axis;

typedef struct phase {
    axis at[3];
    tn_conv conv;             /* with all slices */
    int64_t row;              /* slices that are one row together, at most; 1: they are not */
    int64_t x_slice, y_slice; /* pixels from one slice to the next */
    int64_t y_at;             /* pixel of Y */
    int64_t bands; /* pixels of a slice of such rows in so many parts, each over the whole depth; 1: not so */
    const tn_conv_algo *algo;
    const void *packed;
    /* Depthwise: slices are added up one by one, and what is not dense in Y is computed elsewhere. */
    bool one_by_one, scattered;
    size_t worker_bytes; /* workspace of a slice that one thread computes */
    int64_t y_block, y_row, y_pixel;
} phase;

struct tn_conv_parts {
    int64_t count, block;
    const phase *phases;
    size_t at_scratch;
};

/* ---- phases ------------------------------------------------------------------------------------------------------ */

static const axis unit_axis = {.in = 1, .out = 1, .taps = 1, .stride = 1, .dilation = 1, .step = 1};

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static axis whole_axis(const tn_window *w, int i) {
    return (axis){.in = w->in[i],
                  .out = w->out[i],
                  .taps = w->kernel[i],
                  .stride = w->stride[i],
                  .dilation = w->dilation[i],
                  .pad = w->pad[i],
                  .step = 1};
}

/* Phase p of a transposed dim: x[q + (p + pad - k * dilation) / stride] goes to output q * stride + p. */
static axis phase_axis(const tn_window *w, int i, int64_t p) {
    int64_t s = w->stride[i], k = w->kernel[i], dilation = w->dilation[i], at = p + w->pad[i], first = 0;
    int64_t g = gcd(s, dilation), every = s / g;
    while (first < TN_MIN(k, every) && (at - first * dilation) % s) first++;
    bool any = first < TN_MIN(k, every);
    axis a = {.in = w->in[i], .out = tn_ceil_div(w->out[i] - p, s), .stride = 1, .dilation = dilation / g, .first = p};
    a.step = s;
    a.taps = any ? (k - 1 - first) / every + 1 : 0;
    a.tap0 = first + (a.taps - 1) * every;
    a.tap_step = -every;
    a.pad = (a.tap0 * dilation - at) / s;
    return a;
}

static int64_t phases_of(const tn_conv_whole *c, int i) {
    return c->transposed ? TN_MIN(c->d.w.stride[i], c->d.w.out[i]) : 1;
}

/* 0: too many. */
static int64_t count_phases(const tn_conv_whole *c) {
    int64_t n = 1;
    for (int i = 0; i < c->d.w.rank && n <= MOST_PHASES; i++) n *= TN_MIN(phases_of(c, i), MOST_PHASES + 1);
    return n <= MOST_PHASES ? n : 0;
}

/* Slices of depth output o that exist: taps [*z0, *z1). */
static void slices_of(const axis *a, int64_t o, int64_t *z0, int64_t *z1) {
    int64_t start = o * a->stride - a->pad;
    *z0 = start < 0 ? tn_ceil_div(-start, a->dilation) : 0;
    *z1 = start >= a->in ? 0 : TN_MIN(a->taps, tn_ceil_div(a->in - start, a->dilation));
}

/* Whether every output reads something, and padding is less than the window. */
static bool reads_input(const axis *a) {
    int64_t extent = (a->taps - 1) * a->dilation + 1, end = (a->out - 1) * a->stride + extent - a->pad - a->in;
    return a->taps > 0 && a->pad >= 0 && a->pad < extent && end < extent && extent <= INT32_MAX && a->in > 0 &&
           a->in <= INT32_MAX && a->out > 0 && a->out <= INT32_MAX && a->stride <= INT32_MAX;
}

static bool reads_slices(const axis *a) {
    for (int64_t o = 0; a->dilation > 1 && o < a->out; o++) {
        int64_t z0, z1;
        slices_of(a, o, &z0, &z1);
        if (z0 >= z1) return false;
    }
    return true;
}

/* Rows of pixels do without copies as slices, but few pixels at the ends are a part of their own. */
static bool row_is_depth(const axis *a, bool in_plain) {
    if (a->stride > 1 || in_plain) return false;
    return (a->dilation > 1 || a->out >= EDGE * (a->taps - 1)) && reads_slices(a);
}

/* The axes of a phase, the last ones first. */
static void place(const tn_conv_whole *c, int64_t number, phase *p) {
    const tn_window *w = &c->d.w;
    for (int i = 0; i < 3; i++) p->at[i] = unit_axis;
    for (int i = w->rank - 1, n = 1; i >= 0; i--) {
        axis *a = &p->at[3 - w->rank + i];
        *a = c->transposed ? phase_axis(w, i, number / n % phases_of(c, i)) : whole_axis(w, i);
        n *= (int)phases_of(c, i);
    }
}

static void make_depth(const tn_conv_whole *c, phase *p) {
    if (c->d.w.rank == 1 && c->d.groups == 1 && row_is_depth(&p->at[W], c->in_plain)) {
        p->at[D] = p->at[W];
        p->at[W] = unit_axis;
    }
}

/* Pixels from one index to the next in the whole input and output; dims are those of axes. */
static void steps_of(const tn_conv_whole *c, const phase *p, int64_t x[3], int64_t y[3]) {
    const tn_window *w = &c->d.w;
    x[W] = y[W] = 1;
    bool depth = w->rank == 1 && p->at[W].in == 1 && p->at[D].in == w->in[0];
    x[H] = p->at[W].in;
    x[D] = x[H] * p->at[H].in;
    y[H] = depth ? 1 : w->out[w->rank - 1];
    y[D] = w->rank > 2 ? y[H] * w->out[1] : y[H];
}

static bool is_row(const phase *p) {
    const axis *a = p->at;
    for (int i = H; i <= W; i++)
        if (a[i].taps > 1 || a[i].stride > 1 || a[i].pad || a[i].in != a[i].out) return false;
    bool dense = a[H].step == 1 && a[W].step == 1 && a[D].step == 1;
    return a[D].stride == 1 && (dense || a[H].out * a[W].out == 1);
}

/* False when there is no such convolution. */
static bool make_phase(const tn_conv_whole *c, int64_t number, phase *p) {
    memset(p, 0, sizeof *p);
    place(c, number, p);
    make_depth(c, p);
    axis *a = p->at;
    for (int i = 0; i < 3; i++)
        if (!reads_input(&a[i])) return false;
    if (!reads_slices(&a[D])) return false;
    int64_t x[3], y[3];
    steps_of(c, p, x, y);
    p->x_slice = x[D];
    p->y_slice = y[D] * a[D].step;
    p->y_at = a[D].first * y[D] + a[H].first * y[H] + a[W].first * y[W];
    p->conv = (tn_conv){.n = c->d.n,
                        .ic = c->d.ic,
                        .ih = a[H].in,
                        .iw = a[W].in,
                        .oc = c->d.oc,
                        .oh = a[H].out,
                        .ow = a[W].out,
                        .groups = c->d.groups,
                        .kh = (int)a[H].taps,
                        .kw = (int)a[W].taps,
                        .sh = (int)a[H].stride,
                        .sw = (int)a[W].stride,
                        .dh = (int)a[H].dilation,
                        .dw = (int)a[W].dilation,
                        .pad_top = (int)a[H].pad,
                        .pad_left = (int)a[W].pad,
                        .in_plain = c->in_plain,
                        .residual = c->residual,
                        .act = c->act,
                        .slices = (int)a[D].taps,
                        .slice1 = (int)a[D].taps,
                        .x_slice = x[D] * a[D].dilation,
                        .x_block = x[D] * a[D].in,
                        .y_row = y[H] * a[H].step,
                        .y_pixel = y[W] * a[W].step};
    p->conv.y_block = 1;
    for (int i = 0; i < c->d.w.rank; i++) p->conv.y_block *= c->d.w.out[i];
    p->row = p->bands = 1;
    double reads = (double)(c->d.ic + 15) * (double)(a[D].taps * a[H].out) * (double)a[W].out;
    p->one_by_one = c->d.groups > 1 && c->d.groups == c->d.ic && c->d.groups == c->d.oc;
    p->y_block = p->conv.y_block;
    p->y_row = p->conv.y_row;
    p->y_pixel = p->conv.y_pixel;
    p->scattered = p->one_by_one && (p->y_pixel > 1 || p->y_row > a[W].out);
    if (p->scattered) p->conv.y_row = p->conv.y_pixel = p->conv.y_block = 0;
    if (p->one_by_one || !is_row(p)) return true;
    if (a[D].taps > 1 && reads * sizeof(float) > BAND_BYTES && c->d.w.rank > 1)
        p->bands = TN_MIN((int64_t)(reads * sizeof(float) / BAND_BYTES) + 1, a[H].out * a[W].out);
    else
        p->row = TN_MAX((int64_t)(ROW_READS / reads), 1);
    return true;
}

/* The first pixel of a band. */
static int64_t band_at(const phase *p, int64_t band) { return p->at[H].out * p->at[W].out * band / p->bands; }

/* The part of a band that begins with depth output o; gives how many slices it has. */
static int64_t part_at(const phase *p, int64_t band, int64_t o, tn_conv *conv) {
    int64_t z0, z1, next0, next1, run = 1;
    slices_of(&p->at[D], o, &z0, &z1);
    for (; run < p->row && o + run < p->at[D].out; run++) {
        slices_of(&p->at[D], o + run, &next0, &next1);
        if (next0 != z0 || next1 != z1) break;
    }
    *conv = p->conv;
    conv->slice0 = (int)z0;
    conv->slice1 = (int)z1;
    if (p->row == 1 && p->bands == 1) return 1;
    if (conv->oh * conv->ow == 1) conv->y_pixel = p->y_slice;
    conv->iw = conv->ow = p->bands > 1 ? band_at(p, band + 1) - band_at(p, band) : run * conv->oh * conv->ow;
    conv->ih = conv->oh = 1;
    conv->y_row = conv->ow * conv->y_pixel;
    return run;
}

/* The convolution that the algorithm is chosen and weights are packed for. */
static tn_conv typical(const phase *p) {
    tn_conv conv;
    part_at(p, 0, p->at[D].out / 2, &conv);
    conv.slice0 = 0;
    conv.slice1 = conv.slices;
    return conv;
}

bool tn_conv_parts_ok(const tn_conv_whole *c, tern_cpu_tier tier) {
    int64_t count = count_phases(c);
    for (int64_t i = 0; i < count; i++) {
        phase p;
        if (!make_phase(c, i, &p)) return false;
        tn_conv conv = typical(&p);
        if (!tn_conv_select(tier, &conv)) return false;
    }
    return count > 0;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static int64_t phase_taps(const phase *p) { return p->at[D].taps * p->at[H].taps * p->at[W].taps; }

void tn_conv_parts_sort_weights(const tn_conv_dims *d, const void *w, float *dst) {
    const tn_conv_whole c = {.d = *d, .transposed = true};
    int64_t icg = d->ic / d->groups, ocg = d->oc / d->groups, k[3] = {1, 1, 1};
    for (int i = 0; i < d->w.rank; i++) k[3 - d->w.rank + i] = d->w.kernel[i];
    for (int64_t number = 0, count = count_phases(&c); number < count; number++) {
        phase p;
        place(&c, number, &p);
        for (int64_t oc = 0; oc < d->oc; oc++) {
            for (int64_t i = 0; i < icg; i++) {
                const char *from = (const char *)w + ((oc / ocg * icg + i) * ocg + oc % ocg) * k[D] * k[H] * k[W] * 4;
                for (int64_t t = 0; t < phase_taps(&p); t++) {
                    int64_t at = 0, tap[3] = {t / p.at[W].taps / p.at[H].taps, t / p.at[W].taps % p.at[H].taps,
                                              t % p.at[W].taps};
                    for (int n = 0; n < 3; n++) at = at * k[n] + p.at[n].tap0 + tap[n] * p.at[n].tap_step;
                    memcpy(dst++, from + at * 4, sizeof *dst);
                }
            }
        }
    }
}

typedef struct pack_context {
    const tn_conv_algo *algo;
    tn_conv conv;
    int64_t first;
} pack_context;

static void pack(const void *context, const tern_tensor *value, void *dst) {
    const pack_context *p = context;
    p->algo->pack(&p->conv, (const float *)value->data + p->first, dst);
}

/* ---- prepare and run --------------------------------------------------------------------------------------------- */

/* Whether threads take whole slices, which share nothing: an even share of them. */
static bool by_slices(const phase *p, int threads) {
    int64_t out = p->at[D].out;
    return threads > 1 && !p->one_by_one && p->row == 1 && p->bands == 1 && (out % threads == 0 || out >= 4 * threads);
}

static bool prepare_phase(tn_prepare *c, phase *p, int64_t first) {
    tn_conv conv = typical(p);
    p->algo = tn_conv_select(c->tier, &conv);
    if (!p->algo) {
        tn_fail(c->err, TERN_INTERNAL, "no blocked algorithm takes this convolution");
        return false;
    }
    pack_context context = {p->algo, conv, first};
    uint64_t key = tn_hash(p->algo->name, strlen(p->algo->name), (uint64_t)first * 4 + 2 + conv.in_plain);
    p->packed = tn_pack_later(c, 1, key, p->algo->packed_bytes(&conv), pack, &context, sizeof context);
    for (int64_t band = 0; band < p->bands; band++) {
        for (int64_t o = 0, run; o < p->at[D].out; o += run) {
            run = part_at(p, band, o, &conv);
            c->workspace = TN_MAX(c->workspace, p->algo->workspace(&conv, c->threads));
            p->worker_bytes = TN_MAX(p->worker_bytes, (p->algo->workspace(&conv, 1) + 63) / 64 * 64);
        }
    }
    for (int threads = 2; threads <= c->threads; threads++) /* a run may have fewer */
        if (by_slices(p, threads)) c->workspace = TN_MAX(c->workspace, p->worker_bytes * (size_t)threads);
    return p->packed != NULL;
}

const tn_conv_parts *tn_conv_parts_prepare(tn_prepare *c, const tn_conv_whole *w) {
    int64_t count = count_phases(w), first = 0, channels = w->d.oc * (w->d.ic / w->d.groups);
    tn_conv_parts *parts = tn_arena_alloc(c->arena, sizeof *parts);
    phase *phases = tn_arena_array(c->arena, (size_t)count + 1, sizeof *phases);
    if (!parts || !phases) {
        tn_fail_oom(c->err, (size_t)count * sizeof *phases);
        return NULL;
    }
    *parts = (tn_conv_parts){count, tn_conv_block(c->tier), phases, 0};
    bool ok = count > 0;
    for (int64_t i = 0; ok && i < count; i++) {
        ok = make_phase(w, i, &phases[i]);
        if (ok && !prepare_phase(c, &phases[i], first)) return NULL;
        first += channels * phase_taps(&phases[i]);
    }
    size_t scratch = 0;
    for (int64_t i = 0; ok && i < count; i++) {
        size_t bytes, n = (size_t)(w->d.n * tn_ceil_div(w->d.oc, parts->block) * parts->block) * sizeof(float);
        ok = tn_mul_size(n, (size_t)(phases[i].conv.oh * phases[i].conv.ow), &bytes);
        if (ok && phases[i].scattered) scratch = TN_MAX(scratch, bytes);
    }
    parts->at_scratch = (c->workspace + 63) / 64 * 64;
    if (scratch && !tn_add_size(parts->at_scratch, scratch, &c->workspace)) ok = false;
    if (ok) return parts;
    tn_fail(c->err, TERN_INTERNAL, "this convolution has no blocked form");
    return NULL;
}

const char *tn_conv_parts_name(const tn_conv_parts *p) { return p->phases[p->count - 1].algo->name; }

typedef struct scatter {
    const phase *p;
    int64_t block;
    float *y, *dense; /* y: its first pixel */
    bool back;        /* from y */
} scatter;

/* Rows of what a phase computed elsewhere. */
static void scatter_rows(void *context, int64_t begin, int64_t end, int worker) {
    const scatter *s = context;
    const tn_conv *c = &s->p->conv;
    int64_t b = s->block;
    (void)worker;
    for (int64_t row = begin; row < end; row++) {
        float *y = s->y + (row / c->oh * s->p->y_block + row % c->oh * s->p->y_row) * b,
              *dense = s->dense + row * c->ow * b;
        for (int64_t i = 0; i < c->ow; i++, y += s->p->y_pixel * b, dense += b)
            memcpy(s->back ? dense : y, s->back ? y : dense, (size_t)b * sizeof *y);
    }
}

/* Depth output o, slice by slice. */
static void run_slices(const tn_conv_parts *parts, const phase *p, int64_t o, const tn_run *c, const float *x,
                       const float *bias, const float *residual, float *y) {
    tn_conv conv = p->conv;
    int64_t z0, z1, rows = conv.n * tn_ceil_div(conv.oc, parts->block) * conv.oh;
    slices_of(&p->at[D], o, &z0, &z1);
    float *dense = p->scattered ? (float *)((char *)c->workspace + parts->at_scratch) : y;
    scatter s = {p, parts->block, (float *)(uintptr_t)residual, dense, true};
    if (p->scattered && residual) {
        tn_parallel_for(c->threads, rows, scatter_rows, &s);
        residual = dense;
    }
    for (int64_t z = z0; z < z1; z++) {
        int64_t slice = o * p->at[D].stride - p->at[D].pad + z * p->at[D].dilation;
        conv.slice0 = (int)z;
        conv.residual = z > z0 || residual;
        conv.act = z == z1 - 1 ? p->conv.act : (tn_act){0};
        p->algo->run(&conv, x + slice * p->x_slice * parts->block, p->packed, z == z0 ? bias : NULL,
                     z == z0 ? residual : dense, dense, c->workspace, c->threads);
    }
    s.y = y, s.back = false;
    if (p->scattered) tn_parallel_for(c->threads, rows, scatter_rows, &s);
}

static void run_band(const tn_conv_parts *parts, const phase *p, int64_t band, const tn_run *c, const float *x,
                     const float *bias, const float *residual, float *y) {
    int64_t block = parts->block;
    for (int64_t o = 0, run; o < p->at[D].out; o += run) {
        tn_conv conv;
        run = part_at(p, band, o, &conv);
        int64_t slice = o * p->at[D].stride - p->at[D].pad + conv.slice0 * p->at[D].dilation;
        int64_t x_at = (slice * p->x_slice + band_at(p, band)) * (conv.in_plain ? 1 : block);
        int64_t y_at = (p->y_at + o * p->y_slice + band_at(p, band)) * block;
        if (p->one_by_one) {
            run_slices(parts, p, o, c, x, bias, residual ? residual + y_at : NULL, y + y_at);
            continue;
        }
        p->algo->run(&conv, x + x_at, p->packed, bias, residual ? residual + y_at : NULL, y + y_at, c->workspace,
                     c->threads);
    }
}

typedef struct slice_job {
    const tn_conv_parts *parts;
    const phase *p;
    const tn_run *c;
    const float *x, *bias, *residual;
    float *y;
} slice_job;

static void slice_task(void *context, int64_t begin, int64_t end, int worker) {
    const slice_job *j = context;
    const phase *p = j->p;
    char *workspace = (char *)j->c->workspace + (size_t)worker * p->worker_bytes;
    for (int64_t o = begin; o < end; o++) {
        tn_conv conv;
        part_at(p, 0, o, &conv);
        int64_t slice = o * p->at[D].stride - p->at[D].pad + conv.slice0 * p->at[D].dilation;
        int64_t x_at = slice * p->x_slice * (conv.in_plain ? 1 : j->parts->block);
        int64_t y_at = (p->y_at + o * p->y_slice) * j->parts->block;
        p->algo->run(&conv, j->x + x_at, p->packed, j->bias, j->residual ? j->residual + y_at : NULL, j->y + y_at,
                     workspace, 1);
    }
}

void tn_conv_parts_run(const tn_conv_parts *parts, const tn_run *c, const float *x, const float *bias,
                       const float *residual, float *y) {
    for (int64_t i = 0; i < parts->count; i++) {
        slice_job j = {parts, &parts->phases[i], c, x, bias, residual, y};
        if (by_slices(j.p, c->threads)) {
            tn_parallel_for(c->threads, j.p->at[D].out, slice_task, &j);
            continue;
        }
        for (int64_t band = 0; band < parts->phases[i].bands; band++)
            run_band(parts, &parts->phases[i], band, c, x, bias, residual, y);
    }
}
