/* Matrix products of 8-bit integers over the register tile of q8.h. A row of A is a pixel whose taps are its quads;
 * rows are used in place when they are unsigned and whole quads long, else copied with zeros behind. */
#include "kernels/q8_internal.h"

typedef struct gemm_plan {
    const tn_q8_kernels *q;
    const tn_q8_gemm *g;
    bool copied;
    int64_t k_quads, panel, panels, n_pad, step; /* step: bytes of a row as it is read */
    int64_t rows, row_chunks, chunks;            /* rows of a task; panels are cut into `chunks` */
    int64_t at_sums, at_acc, at_bytes, worker;
    int64_t at_bias, at_scale, shared;
} gemm_plan;

static gemm_plan make_plan(tn_q8_isa isa, const tn_q8_gemm *g) {
    const tn_q8_kernels *q = tn_q8_kernels_get(isa);
    gemm_plan p = {.q = q, .g = g, .copied = g->a_signed || g->k % 4};
    p.k_quads = tn_ceil_div(g->k, 4);
    p.panel = (int64_t)q->tile_nb * TN_Q8_BLOCK;
    p.panels = tn_ceil_div(g->n, p.panel);
    p.n_pad = tn_round_up(g->n, TN_Q8_BLOCK);
    p.step = p.copied ? p.k_quads * 4 : g->k;
    double work = (double)g->m * (double)g->n * (double)g->k / Q8_TASK_WORK;
    int64_t wanted = work < Q8_TASKS ? (int64_t)work + 1 : Q8_TASKS;
    int64_t tall = tn_ceil_div(g->m, q->tile_m);
    p.rows = tn_round_up(TN_MIN(tn_ceil_div(g->m, TN_MIN(wanted, TN_MAX(tall, 1))), 8 * q->tile_m), q->tile_m);
    p.row_chunks = tn_ceil_div(g->m, p.rows);
    p.chunks = TN_MIN(tn_ceil_div(wanted, TN_MAX(p.row_chunks, 1)), p.panels);
    p.at_sums = p.copied ? tn_round_up(p.rows * p.step, 64) : 0;
    p.at_acc = p.at_sums + tn_round_up((p.rows + 16) * 4, 64);
    p.at_bytes = p.at_acc + (q->tile_m + 4) * p.panel * 4;
    p.worker = p.at_bytes + (q->tile_m + 4) * TN_Q8_BLOCK;
    p.worker = tn_round_up(p.worker, 64);
    p.at_bias = 64; /* the one tap */
    p.at_scale = p.at_bias + p.n_pad * 4;
    p.shared = p.at_scale + p.n_pad * 4;
    return p;
}

static int64_t panel_bytes(const gemm_plan *p) { return p->k_quads * p->n_pad * q8_quad_bytes(p->q); }

size_t tn_q8_gemm_packed_bytes(tn_q8_isa isa, const tn_q8_gemm *g) {
    gemm_plan p = make_plan(isa, g);
    return q8_panels_at(p.n_pad) + (size_t)panel_bytes(&p) + (size_t)g->k * sizeof(int32_t);
}

void tn_q8_gemm_pack(tn_q8_isa isa, const tn_q8_gemm *g, const void *b, const void *b_zero, int64_t n_zero, void *dst) {
    gemm_plan p = make_plan(isa, g);
    char *panels = (char *)dst + q8_panels_at(p.n_pad);
    int32_t *sums = (int32_t *)((char *)dst + sizeof(q8_header)), *zeros = sums + p.n_pad;
    int32_t *place = (int32_t *)(panels + panel_bytes(&p));
    memset(dst, 0, tn_q8_gemm_packed_bytes(isa, g));
    for (int64_t i = 0; i < g->k; i++) place[i] = (int32_t)i;
    q8_source s = {b, g->b_signed, b_zero, n_zero};
    for (int64_t o = 0; o < g->n; o++) {
        int64_t first = o / p.panel * p.panel, width = TN_MIN(p.panel, p.n_pad - first);
        q8_column column = {.at = o * g->b_cs, .step = g->b_rs, .n = g->k, .place = place};
        q8_pack_channel(p.q, &s, &column, o, width, o - first, panels + first * p.k_quads * q8_quad_bytes(p.q), dst,
                        &sums[o], &zeros[o]);
    }
}

size_t tn_q8_gemm_workspace(tn_q8_isa isa, const tn_q8_gemm *g, int threads) {
    gemm_plan p = make_plan(isa, g);
    return (size_t)(p.shared + p.worker * TN_MAX(threads, 1));
}

typedef struct gemm_job {
    gemm_plan p;
    q8_packed packed;
    const uint8_t *a;
    uint8_t *c;
    const ptrdiff_t *tap;
    const int32_t *bias;
    const float *scale;
    uint8_t *workers;
    tn_q8_finish finish;
} gemm_job;

static void copy_rows(const gemm_job *j, int64_t r0, int64_t r1, uint8_t *dst) {
    const tn_q8_gemm *g = j->p.g;
    for (int64_t r = r0; r < r1; r++, dst += j->p.step) {
        q8_copy(j->p.q->base, dst, j->a + r * g->k, g->k, g->a_signed);
        memset(dst + g->k, 0, (size_t)(j->p.step - g->k));
    }
}

static void sum_rows(const gemm_job *j, const uint8_t *src, int64_t rows, int32_t *sums) {
    for (int64_t r = 0; r < rows; r++, src += j->p.step) {
        uint32_t total = 0;
        for (int64_t i = 0; i < j->p.g->k; i++) total += src[i];
        sums[r] = (int32_t)total;
    }
}

/* Columns [o, o + lanes) of `m` rows from row r on. */
static void store_block(const gemm_job *j, const tn_q8_finish *f, const int32_t *acc, const int32_t *sum, int64_t r,
                        int64_t m, int64_t o, uint8_t *bytes) {
    const tn_q8_gemm *g = j->p.g;
    if (g->c_int32) {
        int32_t *c = (int32_t *)j->c + r * g->n + o;
        for (int64_t i = 0; i < m; i++, c += g->n)
            for (int l = 0; l < f->lanes; l++) {
                uint32_t v = (uint32_t)acc[i * TN_Q8_BLOCK + l];
                if (f->w_zero) v += (uint32_t)sum[i] * (uint32_t)f->w_zero[l];
                c[l] = (int32_t)v;
            }
        return;
    }
    j->p.q->base->q8_finish(f, acc, sum, NULL, bytes, m);
    uint8_t *c = j->c + r * g->n + o;
    for (int64_t i = 0; i < m; i++, c += g->n) memcpy(c, bytes + i * TN_Q8_BLOCK, (size_t)f->lanes);
}

static void run_panel(const gemm_job *j, tn_q8_tile *t, const uint8_t *src, const int32_t *sums, int64_t r0, int64_t r1,
                      int64_t o, uint8_t *bytes) {
    const gemm_plan *p = &j->p;
    int64_t channels = TN_MIN(p->g->n - o, p->panel), rows = r1 - r0, tiles = tn_ceil_div(rows, p->q->tile_m);
    int nb = (int)tn_ceil_div(channels, TN_Q8_BLOCK);
    tn_q8_finish f = j->finish;
    t->w = j->packed.panels + o * p->k_quads * q8_quad_bytes(p->q);
    t->bias = j->bias + o;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t q = i * rows / tiles, m = (i + 1) * rows / tiles - q;
        t->x = src + q * p->step;
        p->q->q8_tile(t, (int)m, nb);
        for (int b = 0; b < nb; b++) {
            f.lanes = (int)TN_MIN(channels - b * TN_Q8_BLOCK, TN_Q8_BLOCK);
            f.scale = j->scale + o + b * TN_Q8_BLOCK;
            f.w_zero = sums ? j->packed.zeros + o + b * TN_Q8_BLOCK : NULL;
            store_block(j, &f, t->acc + b * m * TN_Q8_BLOCK, sums ? sums + q : NULL, r0 + q, m, o + b * TN_Q8_BLOCK,
                        bytes);
        }
    }
}

static void gemm_task(void *context, int64_t begin, int64_t end, int worker) {
    const gemm_job *j = context;
    const gemm_plan *p = &j->p;
    uint8_t *memory = j->workers + worker * p->worker;
    int64_t copied = -1;
    tn_q8_tile t = {.tap = j->tap, .taps = 1, .quads = p->k_quads, .step = p->step};
    t.acc = (int32_t *)(memory + p->at_acc);
    for (int64_t task = begin; task < end; task++) {
        int64_t chunk = task % p->chunks, r = task / p->chunks, r0 = r * p->rows, r1 = TN_MIN(r0 + p->rows, p->g->m);
        const uint8_t *src = p->copied ? memory : j->a + r0 * p->step;
        int32_t *sums = j->packed.header->corrected ? (int32_t *)(memory + p->at_sums) : NULL;
        if (copied != r) {
            if (p->copied) copy_rows(j, r0, r1, memory);
            if (sums) sum_rows(j, src, r1 - r0, sums);
        }
        copied = r;
        for (int64_t i = chunk * p->panels / p->chunks; i < (chunk + 1) * p->panels / p->chunks; i++)
            run_panel(j, &t, src, sums, r0, r1, i * p->panel, memory + p->at_bytes);
    }
}

void tn_q8_gemm_run(tn_q8_isa isa, const tn_q8_gemm *g, const tn_q8_args *args, const void *a, void *c, void *workspace,
                    int threads) {
    if (g->m == 0 || g->n == 0) return;
    gemm_job j = {.p = make_plan(isa, g), .a = a, .c = c};
    char *ws = workspace;
    int32_t *bias = (int32_t *)(ws + j.p.at_bias);
    float *scale = (float *)(ws + j.p.at_scale);
    j.packed = q8_open(args->packed, j.p.n_pad);
    q8_begin(&j.packed, args, g->n, j.p.n_pad, args->x_zero + (g->a_signed ? 128 : 0), bias, scale);
    *(ptrdiff_t *)ws = 0;
    j.tap = (const ptrdiff_t *)ws;
    j.bias = bias;
    j.scale = scale;
    j.workers = (uint8_t *)ws + j.p.shared;
    j.finish = q8_finish_of(args, g->c_signed);
    tn_parallel_for(threads, j.p.row_chunks * j.p.chunks, gemm_task, &j);
}

const char *tn_q8_gemm_name(tn_q8_isa isa) {
    static const char *const names[TN_Q8_ISA_COUNT] = {"gemm_q8_scalar", "gemm_q8_avx2", "gemm_q8_avxvnni",
                                                       "gemm_q8_avx512", "gemm_q8_avx512vnni"};
    return names[isa];
}
