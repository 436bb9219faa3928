/* Matrix product in bfloat16 over its register tile.
 *
 * Packed B: panels of two vectors, (pairs of k, 2 * B, 2); the last panel is one vector wide when that is enough. Rows
 * of A are rounded, a band of them at a time, and are then the pixels of the tile. The unit of work is a chunk of tiles
 * against one panel; the next panel is fetched meanwhile. */
#include "kernels/bf16_gemm.h"

#include "kernels/bf16_internal.h"
#include "kernels/gemm_internal.h"

/* Rounded rows that stay in L2 while all panels go by, and at once. */
#define CHUNK_BYTES (384 * 1024)
#define BAND_BYTES  (4 * 1024 * 1024)
/* Rows of B that are float32 at a time while they are packed; even. */
#define PACK_ROWS 64
/* Multiply-adds of a thread, at least: some 5 microseconds. */
#define THREAD_WORK 1000000.0

typedef struct gemm_plan {
    const tn_bf16_kernels *q;
    const tn_gemm_f32 *g;
    int64_t b, pairs, panels;
    int64_t step;               /* from row to row of the rounded A: a cache line more, against aliasing */
    int64_t tiles, chunk, band; /* of all rows; of a chunk and a band at most */
} gemm_plan;

typedef struct gemm_job {
    gemm_plan p;
    const float *a, *bias;
    uint16_t *packed; /* only read when it runs */
    const float *b;
    float *c;
    uint16_t *rows;
    int64_t t0, t1, chunks; /* tiles of the band, in so many chunks */
} gemm_job;

static gemm_plan make_plan(tn_bf16_isa isa, const tn_gemm_f32 *g) {
    gemm_plan p = {.q = tn_bf16_kernels_get(isa), .g = g};
    p.b = p.q->base->width;
    p.pairs = g->k / 2 + g->k % 2;
    p.panels = tn_ceil_div(g->n, 2 * p.b);
    p.step = tn_round_up(g->k, 32) + 32;
    p.tiles = tn_ceil_div(g->m, p.q->tile_m);
    int64_t tile_bytes = p.step * 2 * p.q->tile_m;
    p.chunk = TN_MAX(CHUNK_BYTES / tile_bytes, 1);
    p.band = TN_MIN(TN_MAX(BAND_BYTES / tile_bytes / p.chunk, 1) * p.chunk, TN_MAX(p.tiles, 1));
    return p;
}

const char *tn_bf16_gemm_name(tn_bf16_isa isa) {
    static const char *const names[TN_BF16_ISA_COUNT] = {"gemm_bf16_scalar", "gemm_bf16_avx2", "gemm_bf16_avx512",
                                                         "gemm_bf16_avx512bf16"};
    return names[isa];
}

/* ---- B ----------------------------------------------------------------------------------------------------------- */

size_t tn_bf16_gemm_packed_bytes(tn_bf16_isa isa, const tn_gemm_f32 *g) {
    int64_t b = tn_bf16_kernels_get(isa)->base->width;
    size_t count;
    if (g->n < 0 || g->k < 0 || g->n > INT64_MAX / 2 || g->k > INT64_MAX / 2) return 0;
    if (!tn_mul_size((size_t)tn_round_up(g->k, 2), (size_t)tn_round_up(g->n, b), &count) || count > SIZE_MAX / 8)
        return 0;
    return (size_t)tn_round_up((int64_t)TN_MAX(count * 2, 1), 64);
}

static int64_t panel_width(const gemm_plan *p, int64_t panel) {
    return p->g->n - panel * 2 * p->b > p->b ? 2 * p->b : p->b;
}

static void pack_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    const gemm_plan *p = &j->p;
    _Alignas(TN_CACHE_LINE) float rows[PACK_ROWS * 32];
    (void)worker;
    for (int64_t panel = begin; panel < end; panel++) {
        int64_t j0 = panel * 2 * p->b, width = panel_width(p, panel);
        uint16_t *dst = j->packed + j0 * p->pairs * 2;
        for (int64_t i = 0; i < p->g->k; i += PACK_ROWS) {
            int64_t count = TN_MIN(p->g->k - i, PACK_ROWS);
            tn_gemm_pack_rows(p->q->base, p->g, j->b, j0, width, i, i + count, rows);
            for (int64_t r = 0; r < count; r += 2, dst += width * 2)
                p->q->bf16_interleave(rows + r * width, width, r + 1 < count ? 2 : 1, width, 2, dst);
        }
    }
}

void tn_bf16_gemm_pack(tn_bf16_isa isa, const tn_gemm_f32 *g, const float *b, void *packed, int threads) {
    gemm_job j = {.p = make_plan(isa, g), .b = b, .packed = packed};
    tn_parallel_for(threads, j.p.panels, pack_task, &j);
}

/* ---- A and the product ------------------------------------------------------------------------------------------- */

size_t tn_bf16_gemm_workspace(tn_bf16_isa isa, const tn_gemm_f32 *g) {
    gemm_plan p = make_plan(isa, g);
    return (size_t)(p.band * p.q->tile_m * p.step) * sizeof(uint16_t);
}

static int64_t first_row(const gemm_plan *p, int64_t tile) { return tile * p->g->m / p->tiles; }

static void rows_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    const gemm_plan *p = &j->p;
    const tn_gemm_f32 *g = p->g;
    int64_t first = first_row(p, j->t0);
    (void)worker;
    for (int64_t r = begin; r < end; r++) {
        uint16_t *dst = j->rows + r * p->step;
        const float *a = j->a + (first + r) * g->a_rs;
        if (g->a_cs == 1)
            tn_f32_to_bf16_n(a, dst, (size_t)g->k);
        else
            for (int64_t i = 0; i < g->k; i++) dst[i] = tn_f32_to_bf16(a[i * g->a_cs]);
        if (g->k % 2) dst[g->k] = 0;
    }
}

/* Activations that the tile does not apply, over `rows` rows of a panel. */
static void activate(const gemm_job *j, float *c, int64_t rows, int64_t cols) {
    const tn_gemm_f32 *g = j->p.g;
    for (int64_t r = 0; r < rows; r++) j->p.q->base->act_f32(&g->act, c + r * g->ldc, c + r * g->ldc, (size_t)cols);
}

/* Tiles [t0, t1) against one panel. */
static void run_panel(const gemm_job *j, int64_t t0, int64_t t1, int64_t panel) {
    static const ptrdiff_t no_offset[1] = {0};
    const gemm_plan *p = &j->p;
    const tn_gemm_f32 *g = p->g;
    int64_t j0 = panel * 2 * p->b, width = panel_width(p, panel), nv = width / p->b, first = first_row(p, j->t0);
    tn_bf16_tile t = {.tap = no_offset, .taps = 1, .pairs = p->pairs, .step = p->step, .y32_pixel = g->ldc};
    t.w = j->packed + j0 * p->pairs * 2;
    t.y32_vec = p->b;
    t.valid = TN_MIN(g->n - j0 - (nv - 1) * p->b, p->b);
    t.resume = g->accumulate;
    t.bias = g->bias_n ? j->bias + j0 : NULL;
    tn_act_clamp(&g->act, &t.lo, &t.hi);
    for (int64_t i = t0; i < t1; i++) {
        int64_t r = first_row(p, i), m = first_row(p, i + 1) - r;
        t.x = j->rows + (r - first) * p->step;
        t.y32 = j->c + r * g->ldc + j0;
        t.bias_m = g->bias_m ? j->bias + r : NULL;
        bf16_fetch_ahead(&t, p->pairs * width * 2, width, i - t0, t1 - t0);
        p->q->bf16_tile(&t, (int)m, (int)nv);
        if (!tn_act_is_clamp(g->act.kind)) activate(j, t.y32, m, TN_MIN(width, g->n - j0));
    }
}

static void units_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    int64_t tiles = j->t1 - j->t0;
    (void)worker;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t chunk = unit / j->p.panels;
        run_panel(j, j->t0 + chunk * tiles / j->chunks, j->t0 + (chunk + 1) * tiles / j->chunks, unit % j->p.panels);
    }
}

void tn_bf16_gemm_run(tn_bf16_isa isa, const tn_gemm_f32 *g, const float *a, const void *packed, const float *bias,
                      float *c, void *workspace, int threads) {
    if (g->m <= 0 || g->n <= 0) return;
    gemm_job j = {.p = make_plan(isa, g), .a = a, .bias = bias, .c = c, .rows = workspace};
    j.packed = (uint16_t *)(uintptr_t)packed; /* only read from here on */
    double work = (double)g->m * (double)g->n * (double)g->k / THREAD_WORK;
    if (work < threads) threads = (int)work + 1;
    for (j.t0 = 0; j.t0 < j.p.tiles; j.t0 = j.t1) {
        j.t1 = TN_MIN(j.t0 + j.p.band, j.p.tiles);
        j.chunks = tn_ceil_div(j.t1 - j.t0, j.p.chunk);
        tn_parallel_for(threads, first_row(&j.p, j.t1) - first_row(&j.p, j.t0), rows_task, &j);
        tn_parallel_for(threads, j.chunks * j.p.panels, units_task, &j);
    }
}
