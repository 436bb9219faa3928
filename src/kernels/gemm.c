/* Matrix product over the register tile.
 *
 * Packed B: panels of two vectors, (k, 2 * width) each; the last panel is one vector wide when that is enough. A task
 * is a chunk of rows by a range of panels; it packs its rows of A, KC columns at a time, as (kc, width) per tile, and
 * runs every tile against every panel. Between blocks of k the sums rest in C, which does not change them. Chunks
 * depend on the shape only. */
#include "kernels/gemm.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* Columns of A packed at once: 16 tiles of 14 (held in 16) rows are 512 KiB, a panel of B 64 KiB; both stay in L2. */
#define KC          512
#define CHUNK_TILES 16
/* Rows of B packed at once. */
#define PACK_ROWS 16
/* Panels of a task at least, when it packs more than a few rows for them. */
#define CHUNK_PANELS 8
/* B up to this size comes from near enough to be read many times. */
#define SMALL_B (1024.0 * 1024)
/* Rows of an unpacked B read before the next panel: few enough for the TLB when rows are far apart. */
#define KC_DIRECT 64
/* Multiply-adds of a task, at least: some 5 microseconds. */
#define TASK_WORK 500000
#define TASKS     16

static const ptrdiff_t no_offset[1] = {0};

typedef struct gemm_job {
    const tn_kernels *k;
    const tn_gemm_f32 *g;
    const float *a, *b, *bias;
    float *packed; /* all panels, or only the last one when the others are read from b */
    float *c;
    float *scratch; /* packed rows of A, scratch_floats for each thread */
    size_t scratch_floats;
    int64_t tiles, panels, m_chunks, n_chunks;
    bool direct_b, direct_a;
} gemm_job;

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

/* Rows [i0, i1) of columns [j0, j0 + width) of B (zeros past n), times alpha, into dst (k, width). */
static void pack_panel(const tn_kernels *kn, const tn_gemm_f32 *g, const float *b, int64_t j0, int64_t width,
                       int64_t i0, int64_t i1, float *dst) {
    int64_t cols = TN_MIN(width, g->n - j0), vw = kn->width;
    const float *src = b + j0 * g->b_cs + i0 * g->b_rs;
    dst += i0 * width;
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
            pack_panel(j->k, j->g, j->b, j0, panel_width(j->k, j->g, p), i, TN_MIN(i + rows, j->g->k),
                       j->packed + j0 * j->g->k);
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

static size_t scratch_floats(const tn_kernels *k, const tn_gemm_f32 *g) {
    if (g->m == 1) return 0;
    int64_t tiles = TN_MIN(tn_ceil_div(g->m, k->tile_m), CHUNK_TILES);
    return (size_t)(tiles * k->width * TN_MIN(g->k, KC));
}

/* Elements of the workspace that hold B. */
static size_t workspace_b(const tn_kernels *k, const tn_gemm_f32 *g) {
    if (reads_b_in_place(k, g)) return (size_t)(g->k * 2 * k->width);
    size_t count;
    return packed_count(k, g, &count) ? (size_t)tn_round_up((int64_t)count, 16) : SIZE_MAX / 8;
}

size_t tn_gemm_f32_workspace(tern_cpu_tier tier, const tn_gemm_f32 *g, bool packed_b, int threads) {
    const tn_kernels *k = tn_kernels_get(tier);
    size_t count = (size_t)tn_round_up((int64_t)scratch_floats(k, g), 16) * (size_t)TN_MAX(threads, 1);
    if (!packed_b) count += workspace_b(k, g);
    return count * sizeof(float);
}

/* Rows [r, r + rows) and columns [k0, k0 + kc) of A into dst (kc, width). */
static void pack_rows(const gemm_job *j, int64_t r, int64_t rows, int64_t k0, int64_t kc, float *dst) {
    const tn_gemm_f32 *g = j->g;
    const float *a = j->a + r * g->a_rs + k0 * g->a_cs;
    if (g->a_cs == 1) {
        j->k->layout_block_f32(a, g->a_rs, dst, j->k->width, rows, kc);
        return;
    }
    for (int64_t i = 0; i < kc; i++)
        for (int64_t row = 0; row < rows; row++) dst[i * j->k->width + row] = a[row * g->a_rs + i * g->a_cs];
}

/* One panel, or two for low tiles, against the tiles [t0, t1) and columns [k0, k0 + kc) of A. Returns how many panels.
 */
static int64_t run_panels(const gemm_job *j, tn_tile *t, int64_t panel, int64_t panel_end, int64_t t0, int64_t t1,
                          int64_t k0, const float *rows) {
    const tn_gemm_f32 *g = j->g;
    int64_t vw = j->k->width, j0 = panel * 2 * vw, width = panel_width(j->k, g, panel), nv = width / vw, used = 1;
    int64_t tile_rows = tn_ceil_div(g->m, j->tiles);
    bool last_direct = j->direct_b && g->n - j0 < width;
    t->w =
        j->direct_b && !last_direct ? j->b + k0 * g->b_rs + j0 : j->packed + (j->direct_b ? 0 : j0 * g->k) + k0 * width;
    t->w_step = j->direct_b && !last_direct ? g->b_rs : width;
    if (nv == 2 && tile_rows <= j->k->tile_m_wide && panel + 1 < panel_end && g->n - j0 >= 4 * vw) {
        nv = 4;
        used = 2;
        t->w2 = j->direct_b ? t->w + 2 * vw : t->w + g->k * width;
    }
    t->valid = TN_MIN(g->n - j0 - (nv - 1) * vw, vw);
    for (int64_t i = t0; i < t1; i++) {
        int64_t r = i * g->m / j->tiles, m = (i + 1) * g->m / j->tiles - r;
        t->x = j->direct_a ? j->a + r * g->a_rs + k0 * g->a_cs : rows + (i - t0) * vw * TN_MIN(g->k, KC);
        t->y = j->c + r * g->ldc + j0;
        if (t->bias) t->bias = j->bias + j0;
        if (t->bias_m) t->bias_m = j->bias + r;
        j->k->tile_f32(TN_TILE_PANEL, (int)m, (int)nv)(t);
    }
    return used;
}

static void gemm_chunk(const gemm_job *j, int64_t t0, int64_t t1, int64_t p0, int64_t p1, float *rows) {
    const tn_gemm_f32 *g = j->g;
    int64_t kc_max = j->direct_b ? KC_DIRECT : KC, k0 = 0;
    do { /* once for k == 0 too */
        int64_t kc = TN_MIN(g->k - k0, kc_max);
        bool last = k0 + kc == g->k;
        for (int64_t i = t0; i < t1 && !j->direct_a; i++) {
            int64_t r = i * g->m / j->tiles;
            pack_rows(j, r, (i + 1) * g->m / j->tiles - r, k0, kc, rows + (i - t0) * j->k->width * TN_MIN(g->k, KC));
        }
        tn_tile t = {.tap = no_offset, .taps = 1, .lanes = kc, .y_pixel = g->ldc, .y_vec = j->k->width};
        t.lane_step = j->direct_a ? g->a_cs : j->k->width;
        t.keep_rest = true;
        t.resume = k0 > 0;
        t.bias = last && g->bias_n ? j->bias : NULL;
        t.bias_m = last && g->bias_m ? j->bias : NULL;
        tn_act_clamp(last ? &g->act : NULL, &t.lo, &t.hi);
        for (int64_t p = p0; p < p1;) p += run_panels(j, &t, p, p1, t0, t1, k0, rows);
        k0 += kc;
    } while (k0 < g->k);
    if (tn_act_is_clamp(g->act.kind)) return;
    int64_t col = p0 * 2 * j->k->width, cols = TN_MIN(p1 * 2 * j->k->width, g->n) - col;
    for (int64_t r = t0 * g->m / j->tiles; r < t1 * g->m / j->tiles; r++)
        j->k->act_f32(&g->act, j->c + r * g->ldc + col, j->c + r * g->ldc + col, (size_t)cols);
}

static void gemm_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    float *rows = j->scratch + (size_t)worker * j->scratch_floats;
    for (int64_t task = begin; task < end; task++) {
        int64_t mc = task / j->n_chunks, nc = task % j->n_chunks;
        gemm_chunk(j, mc * j->tiles / j->m_chunks, (mc + 1) * j->tiles / j->m_chunks, nc * j->panels / j->n_chunks,
                   (nc + 1) * j->panels / j->n_chunks, rows);
    }
}

void tn_gemm_f32_run(tern_cpu_tier tier, const tn_gemm_f32 *g, const float *a, const float *b, const void *packed_b,
                     const float *bias, float *c, void *workspace, int threads) {
    if (g->m <= 0 || g->n <= 0) return;
    const tn_kernels *k = tn_kernels_get(tier);
    gemm_job j = {.k = k, .g = g, .a = a, .b = b, .bias = bias, .c = c, .scratch = workspace, .direct_a = g->m == 1};
    j.tiles = tn_ceil_div(g->m, k->tile_m);
    j.panels = tn_ceil_div(g->n, 2 * k->width);
    j.scratch_floats = (size_t)tn_round_up((int64_t)scratch_floats(k, g), 16);
    if (packed_b) {
        j.packed = (float *)(uintptr_t)packed_b; /* only read from here on */
    } else {
        j.packed = j.scratch + j.scratch_floats * (size_t)TN_MAX(threads, 1);
        j.direct_b = reads_b_in_place(k, g);
        int64_t j0 = (j.panels - 1) * 2 * k->width, width = panel_width(k, g, j.panels - 1);
        if (!j.direct_b)
            tn_parallel_for(threads, j.panels, pack_task, &j);
        else if (g->n - j0 < width)
            pack_panel(k, g, b, j0, width, 0, g->k, j.packed);
    }
    double work = (double)g->m * (double)g->n * (double)g->k / TASK_WORK;
    int64_t wanted = work < TASKS ? (int64_t)work + 1 : TASKS;
    /* Every chunk of rows reads all of B, every chunk of columns packs its rows of A again. */
    bool small_b = (double)g->n * (double)g->k * sizeof(float) <= SMALL_B;
    j.m_chunks = tn_ceil_div(j.tiles, CHUNK_TILES);
    if (small_b) j.m_chunks = TN_MAX(TN_MIN(wanted, tn_ceil_div(j.tiles, 2)), j.m_chunks);
    int64_t columns = j.tiles > 1 ? tn_ceil_div(j.panels, CHUNK_PANELS) : j.panels;
    j.n_chunks = TN_MIN(tn_ceil_div(wanted, j.m_chunks), columns);
    tn_parallel_for(threads, j.m_chunks * j.n_chunks, gemm_task, &j);
}
