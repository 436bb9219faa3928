/* Matrix product over the register tile.
 *
 * Packed B: panels of two vectors, (k, 2 * width) each; the last panel is one vector wide when that is enough. A is
 * packed a band of rows at a time, as (kc, width) for each tile, by all threads before any of them multiplies. The unit
 * of work is a chunk of tiles against one panel. A thread has a range of units: the chunk's rows go by again and again
 * (from L2, or streaming from L3), each time against another panel of B, which is in L2 since it was prefetched during
 * the one before. So B comes from memory once for each chunk. Between blocks of k, where there are several, the sums
 * rest in C, which does not change them. */
#include "kernels/gemm.h"

#include "kernels/gemm_internal.h"
#include "thread/thread.h"

/* Columns of A in one go. Long ones beat short ones, though rows and panel leave L2 above 768 or so: between blocks the
 * sums would have to be read and written again, rows of C far apart. */
#define KC 3072
/* Lanes that hold a column of a chunk: 16 tiles of 14 rows, held in 16. */
#define CHUNK_LANES 256
/* Packed rows of A at once, but for one chunk at least. */
#define BAND_BYTES (2 * 1024 * 1024)
/* Rows of B packed at once. */
#define PACK_ROWS 16
/* Rows of an unpacked B read before the next panel: few enough for the TLB when rows are far apart. */
#define KC_DIRECT 64
/* Multiply-adds of a thread, at least: some 5 microseconds. */
#define THREAD_WORK 500000.0
/* Panels that an activation is applied to at once: what was written is still near. */
#define ACT_PANELS 4

static const ptrdiff_t no_offset[1] = {0};

typedef struct gemm_job {
    const tn_kernels *k;
    const tn_gemm_f32 *g;
    const float *a, *b, *bias;
    float *packed; /* all panels, or only the last one when the others are read from b */
    float *c;
    float *rows; /* packed rows of A */
    int64_t tiles, panels;
    int64_t t0, t1, chunks; /* the band: tiles, in so many chunks */
    int64_t k0, k1, kc;     /* columns at hand, in blocks of kc: one when A is packed */
    bool direct_b, direct_a;
} gemm_job;

/* Tiles [t0, t1) against panels [p0, p1), columns [k, k + kc). */
typedef struct gemm_block {
    int64_t t0, t1, p0, p1, k, kc;
    int64_t p_end; /* panels up to here follow */
} gemm_block;

static int64_t panel_width(const tn_kernels *k, const tn_gemm_f32 *g, int64_t panel) {
    return g->n - panel * 2 * k->width > k->width ? 2 * k->width : k->width;
}

/* Elements of packed B; false on overflow. */
static bool packed_count(const tn_kernels *k, const tn_gemm_f32 *g, size_t *count) {
    if (g->n < 0 || g->k < 0 || g->n > INT64_MAX - 2 * k->width) return false;
    size_t bytes;
    return tn_mul_size((size_t)g->k, (size_t)tn_round_up(g->n, k->width), count) &&
           tn_mul_size(*count, sizeof(float), &bytes) && bytes <= SIZE_MAX / 2;
}

size_t tn_gemm_f32_packed_bytes(tern_cpu_tier tier, const tn_gemm_f32 *g) {
    size_t count;
    if (!packed_count(tn_kernels_get(tier), g, &count)) return 0;
    return (size_t)tn_round_up((int64_t)TN_MAX(count * sizeof(float), 1), 64);
}

static bool columns_are_contiguous(const tn_gemm_f32 *g) { return g->b_rs == 1 && g->b_cs != 1; }

void tn_gemm_pack_rows(const tn_kernels *kn, const tn_gemm_f32 *g, const float *b, int64_t j0, int64_t width,
                       int64_t i0, int64_t i1, float *dst) {
    int64_t cols = TN_MIN(width, g->n - j0), vw = kn->width;
    const float *src = b + j0 * g->b_cs + i0 * g->b_rs;
    if (columns_are_contiguous(g)) { /* transpose */
        for (int64_t v = 0; v < width; v += vw)
            kn->layout_block_f32(src + v * g->b_cs, g->b_cs, dst + v, width, TN_MIN(cols - v, vw), i1 - i0);
    } else {
        for (int64_t i = 0; i < i1 - i0; i++) {
            float *row = dst + i * width;
            if (g->b_cs == 1)
                memcpy(row, src + i * g->b_rs, (size_t)cols * sizeof *row);
            else
                for (int64_t j = 0; j < cols; j++) row[j] = src[i * g->b_rs + j * g->b_cs];
            for (int64_t j = cols; j < width; j++) row[j] = 0.0f;
        }
    }
    if (g->alpha != 1.0f) kn->bin_f32(TN_BIN_MUL, dst, 1, &g->alpha, 0, dst, (size_t)((i1 - i0) * width));
}

static void pack_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    (void)worker;
    /* A few rows of all panels before the next ones: whole panels would touch a page for each row, again and again. */
    int64_t rows = columns_are_contiguous(j->g) ? j->g->k : PACK_ROWS;
    for (int64_t i = 0; i < j->g->k; i += rows)
        for (int64_t p = begin; p < end; p++) {
            int64_t j0 = p * 2 * j->k->width;
            int64_t width = panel_width(j->k, j->g, p);
            tn_gemm_pack_rows(j->k, j->g, j->b, j0, width, i, TN_MIN(i + rows, j->g->k),
                              j->packed + j0 * j->g->k + i * width);
        }
}

void tn_gemm_f32_pack(tern_cpu_tier tier, const tn_gemm_f32 *g, const float *b, void *packed, int threads) {
    gemm_job j = {.k = tn_kernels_get(tier), .g = g, .b = b, .packed = packed};
    tn_parallel_for(threads, tn_ceil_div(g->n, 2 * j.k->width), pack_task, &j);
}

/* Reading B in place pays while packing it would cost as much as using it. */
static bool reads_b_in_place(const tn_kernels *k, const tn_gemm_f32 *g) {
    return g->b_cs == 1 && g->alpha == 1.0f && g->m <= 2 * k->tile_m;
}

static int64_t chunk_tiles(const tn_kernels *k) { return CHUNK_LANES / k->width; }

/* Tiles of a band. */
static int64_t band_tiles(const tn_kernels *k, const tn_gemm_f32 *g) {
    int64_t chunk_bytes = CHUNK_LANES * (int64_t)sizeof(float) * TN_MAX(TN_MIN(g->k, KC), 1);
    int64_t chunks = TN_MAX(BAND_BYTES / chunk_bytes, 1);
    return TN_MIN(tn_ceil_div(g->m, k->tile_m), chunks * chunk_tiles(k));
}

/* Elements of the workspace that hold rows of A. */
static size_t workspace_a(const tn_kernels *k, const tn_gemm_f32 *g) {
    return g->m == 1 ? 0 : (size_t)(band_tiles(k, g) * k->width * TN_MIN(g->k, KC));
}

/* Elements of the workspace that hold B. */
static size_t workspace_b(const tn_kernels *k, const tn_gemm_f32 *g) {
    if (reads_b_in_place(k, g)) return (size_t)(g->k * 2 * k->width);
    size_t count;
    return packed_count(k, g, &count) ? (size_t)tn_round_up((int64_t)count, 16) : SIZE_MAX / 8;
}

size_t tn_gemm_f32_workspace(tern_cpu_tier tier, const tn_gemm_f32 *g, bool packed_b) {
    const tn_kernels *k = tn_kernels_get(tier);
    size_t count = (size_t)tn_round_up((int64_t)workspace_a(k, g), 16);
    if (!packed_b) count += workspace_b(k, g);
    return count * sizeof(float);
}

/* ---- rows of A ----------------------------------------------------------------------------------------------- */

static int64_t first_row(const gemm_job *j, int64_t tile) { return tile * j->g->m / j->tiles; }

/* Where columns [k, k + kc) of a tile's rows are packed: all tiles of a block of k one after the other. */
static float *rows_at(const gemm_job *j, int64_t tile, int64_t k, int64_t kc) {
    return j->rows + ((k - j->k0) * (j->t1 - j->t0) + (tile - j->t0) * kc) * j->k->width;
}

static void pack_rows(const gemm_job *j, int64_t tile, int64_t k, int64_t kc) {
    const tn_gemm_f32 *g = j->g;
    int64_t r = first_row(j, tile), rows = first_row(j, tile + 1) - r;
    const float *a = j->a + r * g->a_rs + k * g->a_cs;
    float *dst = rows_at(j, tile, k, kc);
    if (g->a_cs == 1) {
        j->k->layout_block_f32(a, g->a_rs, dst, j->k->width, rows, kc);
        return;
    }
    for (int64_t i = 0; i < kc; i++)
        for (int64_t row = 0; row < rows; row++) dst[i * j->k->width + row] = a[row * g->a_rs + i * g->a_cs];
}

static void rows_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        int64_t k = j->k0 + i / (j->t1 - j->t0) * j->kc;
        pack_rows(j, j->t0 + i % (j->t1 - j->t0), k, TN_MIN(j->k1 - k, j->kc));
    }
}

/* ---- tiles --------------------------------------------------------------------------------------------------- */

/* What of B the tiles of panel p take: one panel, or two for low tiles. Returns how many vectors. */
static int64_t set_panel(const gemm_job *j, const gemm_block *b, int64_t p, tn_tile *t) {
    const tn_gemm_f32 *g = j->g;
    int64_t vw = j->k->width, j0 = p * 2 * vw, width = panel_width(j->k, g, p), nv = width / vw;
    bool in_place = j->direct_b && g->n - j0 >= width;
    t->w = in_place ? j->b + b->k * g->b_rs + j0 : j->packed + (j->direct_b ? 0 : j0 * g->k) + b->k * width;
    t->w_step = in_place ? g->b_rs : width;
    if (nv == 2 && tn_ceil_div(g->m, j->tiles) <= j->k->tile_m_wide && p + 1 < b->p1 && g->n - j0 >= 4 * vw) {
        nv = 4;
        t->w2 = j->direct_b ? t->w + 2 * vw : t->w + g->k * width;
    }
    t->valid = TN_MIN(g->n - j0 - (nv - 1) * vw, vw);
    return nv;
}

/* While panel p is used, tile i of it fetches its part of the next one. */
static void set_next(const gemm_job *j, const gemm_block *b, int64_t p, int64_t i, tn_tile *t) {
    t->next = NULL;
    if (j->direct_b || b->t1 - b->t0 < 2 || ++p >= b->p_end) return;
    int64_t width = panel_width(j->k, j->g, p);
    t->next_step = tn_ceil_div(width, b->t1 - b->t0);
    if (i * t->next_step >= width) return;
    t->next = j->packed + p * 2 * j->k->width * j->g->k + b->k * width + i * t->next_step * b->kc;
}

static void run_panels(const gemm_job *j, const gemm_block *b, tn_tile *t) {
    const tn_gemm_f32 *g = j->g;
    for (int64_t p = b->p0; p < b->p1;) {
        int64_t nv = set_panel(j, b, p, t), j0 = p * 2 * j->k->width;
        for (int64_t i = b->t0; i < b->t1; i++) {
            int64_t r = first_row(j, i), m = first_row(j, i + 1) - r;
            t->x = j->direct_a ? j->a + b->k * g->a_cs : rows_at(j, i, b->k, b->kc);
            t->y = j->c + r * g->ldc + j0;
            if (t->bias) t->bias = j->bias + j0;
            if (t->bias_m) t->bias_m = j->bias + r;
            set_next(j, b, p, i - b->t0, t);
            j->k->tile_f32(TN_TILE_PRODUCT, (int)m, (int)nv)(t);
        }
        p += nv == 4 ? 2 : 1;
    }
}

static void activate(const gemm_job *j, const gemm_block *b) {
    int64_t col = b->p0 * 2 * j->k->width, cols = TN_MIN(b->p1 * 2 * j->k->width, j->g->n) - col;
    for (int64_t r = first_row(j, b->t0); r < first_row(j, b->t1); r++) {
        float *c = j->c + r * j->g->ldc + col;
        j->k->act_f32(&j->g->act, c, c, (size_t)cols);
    }
}

/* The last block of k: with bias and activation. */
static void run_last(const gemm_job *j, const gemm_block *b, tn_tile *t) {
    const tn_gemm_f32 *g = j->g;
    t->bias = g->bias_n ? j->bias : NULL;
    t->bias_m = g->bias_m ? j->bias : NULL;
    tn_act_clamp(&g->act, &t->lo, &t->hi);
    if (tn_act_is_clamp(g->act.kind)) {
        run_panels(j, b, t);
        return;
    }
    for (gemm_block few = *b; few.p0 < b->p1; few.p0 = few.p1) {
        few.p1 = TN_MIN(few.p0 + ACT_PANELS, b->p1);
        run_panels(j, &few, t);
        activate(j, &few);
    }
}

static void run_block(const gemm_job *j, gemm_block b) {
    const tn_gemm_f32 *g = j->g;
    b.k = j->k0;
    do { /* once for k == 0 too */
        b.kc = TN_MIN(j->k1 - b.k, j->kc);
        tn_tile t = {.tap = no_offset, .taps = 1, .lanes = b.kc, .y_pixel = g->ldc, .y_vec = j->k->width};
        t.lane_step = j->direct_a ? g->a_cs : j->k->width;
        t.keep_rest = true;
        t.resume = b.k > 0 || g->accumulate;
        tn_act_clamp(NULL, &t.lo, &t.hi);
        if (b.k + b.kc == g->k)
            run_last(j, &b, &t);
        else
            run_panels(j, &b, &t);
        b.k += b.kc;
    } while (b.k < j->k1);
}

static void units_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    (void)worker;
    int64_t tiles = j->t1 - j->t0;
    while (begin < end) {
        int64_t chunk = begin / j->panels, p = begin % j->panels, count = TN_MIN(end - begin, j->panels - p);
        run_block(j, (gemm_block){.t0 = j->t0 + chunk * tiles / j->chunks,
                                  .t1 = j->t0 + (chunk + 1) * tiles / j->chunks,
                                  .p0 = p,
                                  .p1 = p + count,
                                  .p_end = p + count});
        begin += count;
    }
}

static void run_band(gemm_job *j, int threads) {
    j->chunks = tn_ceil_div(j->t1 - j->t0, chunk_tiles(j->k));
    for (j->k0 = 0; j->k0 < j->g->k || j->k0 == 0; j->k0 = j->k1) {
        j->k1 = j->direct_a ? j->g->k : TN_MIN(j->g->k, j->k0 + KC);
        if (!j->direct_a) tn_parallel_for(threads, (j->t1 - j->t0) * tn_ceil_div(j->k1 - j->k0, j->kc), rows_task, j);
        tn_parallel_for(threads, j->chunks * j->panels, units_task, j);
        if (j->k1 == j->g->k) break;
    }
}

/* ---- the product --------------------------------------------------------------------------------------------- */

static void pack_or_find_b(gemm_job *j, const void *packed_b, float *space, int threads) {
    const tn_gemm_f32 *g = j->g;
    if (packed_b) {
        j->packed = (float *)(uintptr_t)packed_b; /* only read from here on */
        return;
    }
    j->packed = space;
    j->direct_b = reads_b_in_place(j->k, g);
    int64_t j0 = (j->panels - 1) * 2 * j->k->width, width = panel_width(j->k, g, j->panels - 1);
    if (!j->direct_b)
        tn_parallel_for(threads, j->panels, pack_task, j);
    else if (g->n - j0 < width)
        tn_gemm_pack_rows(j->k, g, j->b, j0, width, 0, g->k, space);
}

void tn_gemm_f32_run(tern_cpu_tier tier, const tn_gemm_f32 *g, const float *a, const float *b, const void *packed_b,
                     const float *bias, float *c, void *workspace, int threads) {
    if (g->m <= 0 || g->n <= 0) return;
    const tn_kernels *k = tn_kernels_get(tier);
    gemm_job j = {.k = k, .g = g, .a = a, .b = b, .bias = bias, .c = c, .rows = workspace, .direct_a = g->m == 1};
    double work = (double)g->m * (double)g->n * (double)g->k / THREAD_WORK;
    if (work < threads) threads = (int)work + 1;
    j.tiles = tn_ceil_div(g->m, k->tile_m);
    j.panels = tn_ceil_div(g->n, 2 * k->width);
    pack_or_find_b(&j, packed_b, j.rows + tn_round_up((int64_t)workspace_a(k, g), 16), threads);
    j.kc = j.direct_b ? KC_DIRECT : j.direct_a ? TN_MAX(g->k, 1) : KC;
    int64_t band = band_tiles(k, g), bands = tn_ceil_div(j.tiles, band);
    for (int64_t i = 0; i < bands; i++) {
        j.t0 = i * j.tiles / bands;
        j.t1 = (i + 1) * j.tiles / bands;
        run_band(&j, threads);
    }
}
