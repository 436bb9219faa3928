#include "kernels/eltwise.h"
#include "kernels/gemm.h"
#include "ops/conv_internal.h"

/* An unrolled tile aims at this many floats, so that it stays in the second-level cache. */
#define COL_FLOATS (128 * 1024)
#define MIN_TILE   64

bool tn_ops_reserve(size_t *bytes, int64_t count, size_t size, size_t *offset) {
    size_t need;
    *offset = *bytes;
    if (count < 0 || !tn_mul_size((size_t)count, size, &need) || need > SIZE_MAX / 2 - 64) return false;
    return tn_add_size(*bytes, (need + 63) / 64 * 64, bytes) && *bytes < SIZE_MAX / 2;
}

void tn_ops_to_f32(const tern_tensor *t, float *dst) {
    size_t n = (size_t)tn_tensor_stored_count(t);
    if (n == 0) return;
    if (t->dtype == TERN_FLOAT16)
        tn_f16_to_f32_n(t->data, dst, n);
    else if (t->dtype == TERN_BFLOAT16)
        tn_bf16_to_f32_n(t->data, dst, n);
    else
        memcpy(dst, t->data, n * sizeof *dst);
}

void tn_ops_from_f32(const float *src, tern_tensor *t) {
    size_t n = (size_t)tn_tensor_stored_count(t);
    if (n == 0) return;
    if (t->dtype == TERN_FLOAT16)
        tn_f32_to_f16_n(src, t->data, n);
    else if (t->dtype == TERN_BFLOAT16)
        tn_f32_to_bf16_n(src, t->data, n);
    else
        memcpy(t->data, src, n * sizeof *src);
}

static tern_status product(const int64_t *dims, int rank, int64_t *out, tern_error *err) {
    *out = 1;
    for (int i = 0; i < rank; i++) {
        if (!tn_mul_i64(*out, dims[i], out)) return tn_fail(err, TERN_LIMIT_EXCEEDED, "the convolution is too large");
    }
    return TERN_OK;
}

static bool is_point(const tn_conv_dims *d) {
    for (int i = 0; i < d->w.rank; i++)
        if (d->w.kernel[i] != 1 || d->w.stride[i] != 1 || d->w.pad[i] || d->w.pad_end[i]) return false;
    return true;
}

static tn_gemm_f32 tile_gemm(const tn_conv_plain *p, int64_t columns, int64_t k) {
    return (tn_gemm_f32){.m = p->ocg,
                         .n = columns,
                         .k = k,
                         .a_rs = p->k,
                         .a_cs = 1,
                         .b_rs = p->path == TN_CONV_POINT ? p->out_sp : columns,
                         .b_cs = 1,
                         .ldc = p->k_chunk || p->residual ? columns : p->out_sp,
                         .alpha = 1};
}

static int64_t task_count(const tn_conv_plain *p) {
    return p->d.n * (p->path == TN_CONV_DIRECT ? p->d.oc : p->d.groups * p->n_tiles);
}

static int gemm_threads(const tn_conv_plain *p) { return task_count(p) == 1 ? p->threads : 1; }

/* Offsets inside a worker's scratch follow each other: gemm, col, part, acc. */
static tern_status plan_scratch(tn_conv_plain *p, tern_error *err) {
    size_t at, total = 0;
    bool ok = true;
    if (p->path != TN_CONV_DIRECT) {
        tn_gemm_f32 g = tile_gemm(p, p->tile, p->k_chunk ? TN_MIN(p->k, p->k_chunk) : p->k);
        p->gemm_bytes = (tn_gemm_f32_workspace(p->tier, &g, false) + 63) / 64 * 64;
        ok = tn_ops_reserve(&p->col_bytes, p->path == TN_CONV_IM2COL ? g.k : 0, (size_t)p->tile * sizeof(float), &at);
    }
    int64_t rows = p->path == TN_CONV_DIRECT ? 1 : p->ocg, columns = p->path == TN_CONV_DIRECT ? p->out_sp : p->tile;
    if (p->k_chunk || p->residual) ok = ok && tn_ops_reserve(&p->part_bytes, rows * columns, sizeof(float), &at);
    if (p->k_chunk) ok = ok && tn_ops_reserve(&p->acc_bytes, rows * columns, sizeof(int32_t), &at);
    ok = ok && tn_ops_reserve(&total, (int64_t)p->gemm_bytes, 1, &at) &&
         tn_ops_reserve(&total, (int64_t)p->col_bytes, 1, &at) &&
         tn_ops_reserve(&total, (int64_t)p->part_bytes, 1, &at) &&
         tn_ops_reserve(&total, (int64_t)p->acc_bytes, 1, &at);
    p->worker_bytes = total;
    ok = ok && tn_ops_reserve(&p->workspace, TN_MAX(p->threads, 1), total, &at);
    return ok ? TERN_OK : tn_fail(err, TERN_LIMIT_EXCEEDED, "the convolution needs too much scratch memory");
}

tern_status tn_ops_conv_plain_init(tn_conv_plain *p, const tn_conv_dims *d, const tn_conv_plain_options *options,
                                   tern_cpu_tier tier, int threads, tern_error *err) {
    memset(p, 0, sizeof *p);
    p->residual = options->residual;
    int64_t k_chunk = options->k_chunk;
    p->d = *d;
    p->tier = tier;
    p->threads = threads;
    p->k_chunk = k_chunk;
    p->icg = d->ic / d->groups;
    p->ocg = d->oc / d->groups;
    int64_t columns;
    TN_TRY(product(d->w.kernel, d->w.rank, &p->taps, err));
    TN_TRY(product(d->w.in, d->w.rank, &p->in_sp, err));
    TN_TRY(product(d->w.out, d->w.rank, &p->out_sp, err));
    TN_TRY(product((int64_t[]){p->icg, p->taps}, 2, &p->k, err));
    TN_TRY(product((int64_t[]){d->n, d->oc, p->out_sp}, 3, &columns, err));
    bool direct = options->wide || p->ocg < 4;
    if (k_chunk && p->k > k_chunk) direct = false;
    p->path = direct ? TN_CONV_DIRECT : is_point(d) ? TN_CONV_POINT : TN_CONV_IM2COL;
    columns = p->path == TN_CONV_POINT ? TN_MAX(COL_FLOATS / p->k, (int64_t)1024) : COL_FLOATS / p->k;
    p->tile = TN_MIN(TN_MAX(columns / 16 * 16, (int64_t)MIN_TILE), TN_MAX(p->out_sp, (int64_t)1));
    p->n_tiles = tn_ceil_div(p->out_sp, p->tile);
    return plan_scratch(p, err);
}

/* Coordinates of position `i` in a box of `rank` dims. */
static void unravel(int64_t i, int rank, const int64_t *dims, int64_t *at) {
    for (int d = rank - 1; d >= 0; d--) {
        at[d] = i % dims[d];
        i /= dims[d];
    }
}

/* ---- direct ------------------------------------------------------------------------------------------------------ */

bool tn_ops_tap_init(const tn_window *w, int64_t tap, tn_tap_box *b) {
    unravel(tap, w->rank, w->kernel, b->tap);
    for (int i = 0; i < w->rank; i++) {
        tn_ops_window_span(w, i, b->tap[i], &b->first[i], &b->last[i]);
        if (b->first[i] >= b->last[i]) return false;
    }
    return true;
}

bool tn_ops_tap_next_line(const tn_tap_box *b, int rank, int64_t *at) {
    for (int d = rank - 2; d >= 0; d--) {
        if (++at[d] < b->last[d]) return true;
        at[d] = b->first[d];
    }
    return false;
}

void tn_ops_tap_offsets(const tn_window *w, const tn_tap_box *b, const int64_t *at, int64_t *x, int64_t *y) {
    *x = 0, *y = 0;
    for (int d = 0; d < w->rank; d++) {
        *x = *x * w->in[d] + at[d] * w->stride[d] + b->tap[d] * w->dilation[d] - w->pad[d];
        *y = *y * w->out[d] + at[d];
    }
}

#define DIRECT_PLANE(NAME, T)                                                                                   \
    static void NAME(const tn_conv_plain *p, const T *x, const T *w, T bias, T *y) {                            \
        const tn_window *win = &p->d.w;                                                                         \
        int last = win->rank - 1;                                                                               \
        for (int64_t i = 0; i < p->out_sp; i++) y[i] = bias;                                                    \
        for (int64_t t = 0; t < p->taps; t++) {                                                                 \
            tn_tap_box box;                                                                                     \
            if (!tn_ops_tap_init(win, t, &box)) continue;                                                       \
            int64_t at[TN_MAX_SPATIAL], xo, yo, n = box.last[last] - box.first[last], step = win->stride[last]; \
            memcpy(at, box.first, sizeof at);                                                                   \
            do {                                                                                                \
                tn_ops_tap_offsets(win, &box, at, &xo, &yo);                                                    \
                for (int64_t c = 0; c < p->icg; c++) {                                                          \
                    const T *restrict xr = x + c * p->in_sp + xo;                                               \
                    T *restrict yr = y + yo;                                                                    \
                    T wv = w[c * p->taps + t];                                                                  \
                    if (step == 1)                                                                              \
                        for (int64_t i = 0; i < n; i++) yr[i] += wv * xr[i];                                    \
                    else                                                                                        \
                        for (int64_t i = 0; i < n; i++) yr[i] += wv * xr[i * step];                             \
                }                                                                                               \
            } while (tn_ops_tap_next_line(&box, win->rank, at));                                                \
        }                                                                                                       \
    }
DIRECT_PLANE(direct_plane_f32, float)
DIRECT_PLANE(direct_plane_f64, double)
#undef DIRECT_PLANE

/* ---- one run ------------------------------------------------------------------------------------------------- */

typedef struct run_f32 {
    const tn_conv_plain *p;
    const float *x, *w, *bias, *residual;
    const tn_act *act;
    float *y;
    tn_conv_emit_fn emit;
    const void *context;
    char *workspace;
} run_f32;

/* y = act(sums + residual); y may be the residual itself, which is why sums are kept elsewhere. */
static void finish(const run_f32 *r, const float *sums, int64_t at, int64_t n) {
    float *y = r->y + at;
    if (r->residual) tn_bin_f32(r->p->tier, TN_BIN_ADD, sums, 1, r->residual + at, 1, y, (size_t)n);
    if (r->act->kind != TN_ACT_NONE) tn_act_f32(r->p->tier, r->act, y, y, (size_t)n);
}

static const float *input_group(const run_f32 *r, int64_t n, int64_t group) {
    return r->x + (n * r->p->d.ic + group * r->p->icg) * r->p->in_sp;
}

static void direct_tasks_f32(void *context, int64_t begin, int64_t end, int worker) {
    const run_f32 *r = context;
    const tn_conv_plain *p = r->p;
    for (int64_t task = begin; task < end; task++) {
        int64_t n = task / p->d.oc, oc = task % p->d.oc, at = task * p->out_sp;
        float *sums = p->residual ? (float *)(r->workspace + (size_t)worker * p->worker_bytes) : r->y + at;
        direct_plane_f32(p, input_group(r, n, oc / p->ocg), r->w + oc * p->k, r->bias ? r->bias[oc] : 0, sums);
        finish(r, sums, at, p->out_sp);
    }
}

static void round_sums(const float *part, int32_t *acc, int64_t n, bool first) {
    if (first)
        for (int64_t i = 0; i < n; i++) acc[i] = (int32_t)part[i];
    else
        for (int64_t i = 0; i < n; i++) acc[i] = (int32_t)((uint32_t)acc[i] + (uint32_t)(int32_t)part[i]);
}

static void direct_tasks_i32(void *context, int64_t begin, int64_t end, int worker) {
    const run_f32 *r = context;
    const tn_conv_plain *p = r->p;
    char *scratch = r->workspace + (size_t)worker * p->worker_bytes;
    float *part = (float *)scratch;
    int32_t *acc = (int32_t *)(scratch + p->part_bytes);
    for (int64_t task = begin; task < end; task++) {
        int64_t n = task / p->d.oc, oc = task % p->d.oc;
        direct_plane_f32(p, input_group(r, n, oc / p->ocg), r->w + oc * p->k, 0, part);
        round_sums(part, acc, p->out_sp, true);
        r->emit(r->context, n, oc, 0, p->out_sp, acc);
    }
}

/* One row of the unrolled matrix: outputs [c0, c1) of one channel seen through one tap. */
static void unroll_row(const tn_window *w, const tn_tap_box *b, bool any, const float *x, int64_t c0, int64_t c1,
                       float *dst) {
    if (!any) {
        memset(dst, 0, (size_t)(c1 - c0) * sizeof *dst);
        return;
    }
    int last = w->rank - 1;
    int64_t ow = w->out[last], step = w->stride[last];
    for (int64_t c = c0, o0, o1; c < c1; c += o1 - o0) {
        int64_t at[TN_MAX_SPATIAL], xo = 0, line = c / ow;
        o0 = c % ow;
        o1 = TN_MIN(ow, o0 + (c1 - c));
        unravel(line, last, w->out, at);
        bool inside = true;
        for (int d = 0; d < last; d++) {
            inside = inside && at[d] >= b->first[d] && at[d] < b->last[d];
            xo = (xo + at[d] * w->stride[d] + b->tap[d] * w->dilation[d] - w->pad[d]) * w->in[d + 1];
        }
        int64_t f = inside ? TN_MIN(TN_MAX(b->first[last], o0), o1) : o1;
        int64_t l = inside ? TN_MIN(TN_MAX(b->last[last], f), o1) : o1;
        memset(dst, 0, (size_t)(f - o0) * sizeof *dst);
        if (l > f) {
            const float *src = x + xo + f * step + b->tap[last] * w->dilation[last] - w->pad[last];
            if (step == 1)
                memcpy(dst + (f - o0), src, (size_t)(l - f) * sizeof *dst);
            else
                for (int64_t i = 0; i < l - f; i++) dst[f - o0 + i] = src[i * step];
        }
        memset(dst + (l - o0), 0, (size_t)(o1 - l) * sizeof *dst);
        dst += o1 - o0;
    }
}

/* Rows [k0, k1) of columns [c0, c1): x (icg, in...) to col (k1 - k0, c1 - c0). */
static void unroll(const tn_conv_plain *p, const float *x, int64_t k0, int64_t k1, int64_t c0, int64_t c1, float *col) {
    for (int64_t k = k0; k < k1; k++) {
        tn_tap_box box;
        bool any = tn_ops_tap_init(&p->d.w, k % p->taps, &box);
        unroll_row(&p->d.w, &box, any, x + k / p->taps * p->in_sp, c0, c1, col + (k - k0) * (c1 - c0));
    }
}

/* A task is a tile of positions of one image and group. */
typedef struct tile {
    int64_t n, group, c0, c1;
} tile;

static tile tile_of(const tn_conv_plain *p, int64_t task) {
    int64_t t = task % p->n_tiles, plane = task / p->n_tiles;
    return (tile){plane / p->d.groups, plane % p->d.groups, t * p->tile, TN_MIN((t + 1) * p->tile, p->out_sp)};
}

static const float *tile_matrix(const run_f32 *r, const tile *t, int64_t k0, int64_t k1, float *col) {
    const float *x = input_group(r, t->n, t->group);
    if (r->p->path == TN_CONV_POINT) return x + k0 * r->p->in_sp + t->c0;
    unroll(r->p, x, k0, k1, t->c0, t->c1, col);
    return col;
}

static void tile_tasks_f32(void *context, int64_t begin, int64_t end, int worker) {
    const run_f32 *r = context;
    const tn_conv_plain *p = r->p;
    char *scratch = r->workspace + (size_t)worker * p->worker_bytes;
    for (int64_t task = begin; task < end; task++) {
        tile t = tile_of(p, task);
        int64_t oc = t.group * p->ocg, at = (t.n * p->d.oc + oc) * p->out_sp + t.c0;
        const float *col = tile_matrix(r, &t, 0, p->k, (float *)(scratch + p->gemm_bytes));
        tn_gemm_f32 g = tile_gemm(p, t.c1 - t.c0, p->k);
        g.bias_m = r->bias != NULL;
        if (!p->residual) g.act = *r->act;
        float *sums = p->residual ? (float *)(scratch + p->gemm_bytes + p->col_bytes) : r->y + at;
        tn_gemm_f32_run(p->tier, &g, r->w + oc * p->k, col, NULL, r->bias ? r->bias + oc : NULL, sums, scratch,
                        gemm_threads(p));
        for (int64_t i = 0; p->residual && i < p->ocg; i++) finish(r, sums + i * g.n, at + i * p->out_sp, g.n);
    }
}

static void tile_tasks_i32(void *context, int64_t begin, int64_t end, int worker) {
    const run_f32 *r = context;
    const tn_conv_plain *p = r->p;
    char *scratch = r->workspace + (size_t)worker * p->worker_bytes;
    float *col = (float *)(scratch + p->gemm_bytes), *part = (float *)((char *)col + p->col_bytes);
    int32_t *acc = (int32_t *)((char *)part + p->part_bytes);
    for (int64_t task = begin; task < end; task++) {
        tile t = tile_of(p, task);
        int64_t oc = t.group * p->ocg, columns = t.c1 - t.c0;
        for (int64_t k0 = 0; k0 < p->k; k0 += p->k_chunk) {
            int64_t k1 = TN_MIN(p->k, k0 + p->k_chunk);
            tn_gemm_f32 g = tile_gemm(p, columns, k1 - k0);
            tn_gemm_f32_run(p->tier, &g, r->w + oc * p->k + k0, tile_matrix(r, &t, k0, k1, col), NULL, NULL, part,
                            scratch, gemm_threads(p));
            round_sums(part, acc, p->ocg * columns, k0 == 0);
        }
        for (int64_t i = 0; i < p->ocg; i++) r->emit(r->context, t.n, oc + i, t.c0, columns, acc + i * columns);
    }
}

static void run_tasks(run_f32 *r, tn_task_fn direct, tn_task_fn tiled) {
    const tn_conv_plain *p = r->p;
    if (p->d.n * p->d.oc * p->out_sp == 0) return;
    int threads = gemm_threads(p) > 1 ? 1 : p->threads;
    tn_parallel_for(threads, task_count(p), p->path == TN_CONV_DIRECT ? direct : tiled, r);
}

void tn_ops_conv_plain_f32(const tn_conv_plain *p, const float *x, const float *w, const float *bias,
                           const float *residual, const tn_act *act, float *y, void *workspace) {
    run_f32 r = {
        .p = p, .x = x, .w = w, .bias = bias, .residual = residual, .act = act, .y = y, .workspace = workspace};
    run_tasks(&r, direct_tasks_f32, tile_tasks_f32);
}

void tn_ops_conv_plain_i32(const tn_conv_plain *p, const float *x, const float *w, tn_conv_emit_fn emit,
                           const void *context, void *workspace) {
    run_f32 r = {.p = p, .x = x, .w = w, .emit = emit, .context = context, .workspace = workspace};
    run_tasks(&r, direct_tasks_i32, tile_tasks_i32);
}

typedef struct run_f64 {
    const tn_conv_plain *p;
    const double *x, *w, *bias;
    double *y;
} run_f64;

static void direct_tasks_f64(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const run_f64 *r = context;
    const tn_conv_plain *p = r->p;
    for (int64_t task = begin; task < end; task++) {
        int64_t n = task / p->d.oc, oc = task % p->d.oc, ic = oc / p->ocg * p->icg;
        direct_plane_f64(p, r->x + (n * p->d.ic + ic) * p->in_sp, r->w + oc * p->k, r->bias ? r->bias[oc] : 0,
                         r->y + task * p->out_sp);
    }
}

void tn_ops_conv_plain_f64(const tn_conv_plain *p, const double *x, const double *w, const double *bias, double *y) {
    if (p->d.n * p->d.oc * p->out_sp == 0) return;
    run_f64 r = {p, x, w, bias, y};
    tn_parallel_for(p->threads, p->d.n * p->d.oc, direct_tasks_f64, &r);
}
