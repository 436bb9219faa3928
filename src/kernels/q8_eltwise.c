#include "kernels/q8_eltwise.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* Elements, or pixels of a block, of one task. */
#define CHUNK        16384
#define CHUNK_PIXELS 1024

typedef struct flat_job {
    const tn_kernels *k;
    const char *x;
    char *y;
    int64_t n;
    float scale;
    int32_t zero;
    bool is_signed;
} flat_job;

static void quantize_task(void *context, int64_t begin, int64_t end, int worker) {
    const flat_job *j = context;
    (void)worker;
    int64_t at = begin * CHUNK, n = TN_MIN(end * CHUNK, j->n) - at;
    j->k->q8_quantize((const float *)j->x + at, n, j->scale, j->zero, j->is_signed, (uint8_t *)j->y + at);
}

static void dequantize_task(void *context, int64_t begin, int64_t end, int worker) {
    const flat_job *j = context;
    (void)worker;
    int64_t at = begin * CHUNK, n = TN_MIN(end * CHUNK, j->n) - at;
    j->k->q8_dequantize((const uint8_t *)j->x + at, n, j->scale, j->zero, j->is_signed, (float *)j->y + at);
}

static int32_t up(bool is_signed) { return is_signed ? 128 : 0; }

void tn_q8_quantize(tern_cpu_tier tier, const float *x, int64_t n, float scale, int32_t zero, bool y_signed, void *y,
                    int threads) {
    flat_job j = {tn_kernels_get(tier), (const char *)x, y, n, scale, zero + up(y_signed), y_signed};
    if (n > 0) tn_parallel_for(threads, tn_ceil_div(n, CHUNK), quantize_task, &j);
}

void tn_q8_dequantize(tern_cpu_tier tier, const void *x, int64_t n, float scale, int32_t zero, bool x_signed, float *y,
                      int threads) {
    flat_job j = {tn_kernels_get(tier), x, (char *)y, n, scale, zero + up(x_signed), x_signed};
    if (n > 0) tn_parallel_for(threads, tn_ceil_div(n, CHUNK), dequantize_task, &j);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

typedef struct block_job {
    const tn_kernels *k;
    const char *a, *b;
    char *y;
    int64_t c, hw, blocks, chunks;
    int block;
    float scale;
    int32_t zero;
    bool is_signed;
    tn_q8_sum sum;
    tn_q8_finish finish;
} block_job;

/* One chunk of pixels of one block. */
typedef struct block_part {
    int64_t channels, pixels;
    int64_t plain, blocked; /* where it begins, in elements */
} block_part;

static block_part part_of(const block_job *j, int64_t task) {
    int64_t chunk = task % j->chunks, cb = task / j->chunks % j->blocks, n = task / j->chunks / j->blocks;
    int64_t p = chunk * CHUNK_PIXELS;
    return (block_part){TN_MIN(j->c - cb * j->block, j->block), TN_MIN(j->hw - p, CHUNK_PIXELS),
                        (n * j->c + cb * j->block) * j->hw + p, ((n * j->blocks + cb) * j->hw + p) * j->block};
}

static void run_blocks(block_job *j, int64_t n, int threads, tn_task_fn fn) {
    j->blocks = tn_ceil_div(j->c, j->block);
    j->chunks = tn_ceil_div(j->hw, CHUNK_PIXELS);
    int64_t tasks = n * j->blocks * j->chunks;
    if (tasks > 0) tn_parallel_for(threads, tasks, fn, j);
}

static void quantize_block_task(void *context, int64_t begin, int64_t end, int worker) {
    const block_job *j = context;
    uint32_t quad[CHUNK_PIXELS];
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        block_part p = part_of(j, t);
        uint8_t *y = (uint8_t *)j->y + p.blocked;
        for (int q = 0; q < j->block / 4; q++) {
            int c = (int)TN_MAX(TN_MIN(p.channels - 4 * q, 4), 0);
            uint32_t *to = j->block == 4 ? (uint32_t *)(void *)y : quad;
            const float *x = (const float *)j->a + p.plain + (c > 0 ? 4 * q * j->hw : 0);
            j->k->q8_quantize_quad(x, j->hw, c, p.pixels, j->scale, j->zero, j->is_signed, to);
            for (int64_t i = 0; i < p.pixels && j->block != 4; i++) memcpy(y + i * j->block + 4 * q, &quad[i], 4);
        }
    }
}

void tn_q8_quantize_block(tern_cpu_tier tier, const float *x, int64_t n, int64_t c, int64_t hw, int block, float scale,
                          int32_t zero, bool y_signed, void *y, int threads) {
    block_job j = {.k = tn_kernels_get(tier), .a = (const char *)x, .y = y, .c = c, .hw = hw, .block = block};
    j.scale = scale;
    j.zero = zero + up(y_signed);
    j.is_signed = y_signed;
    run_blocks(&j, n, threads, quantize_block_task);
}

static void block_task(void *context, int64_t begin, int64_t end, int worker) {
    const block_job *j = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        block_part p = part_of(j, t);
        for (int64_t i = 0; i < p.pixels; i++)
            for (int64_t l = 0; l < j->block; l++)
                j->y[p.blocked + i * j->block + l] = l < p.channels ? j->a[p.plain + l * j->hw + i] : 0;
    }
}

static void unblock_task(void *context, int64_t begin, int64_t end, int worker) {
    const block_job *j = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        block_part p = part_of(j, t);
        for (int64_t l = 0; l < p.channels; l++)
            for (int64_t i = 0; i < p.pixels; i++) j->y[p.plain + l * j->hw + i] = j->a[p.blocked + i * j->block + l];
    }
}

void tn_q8_block(const void *x, void *y, int64_t n, int64_t c, int64_t hw, int block, int threads) {
    block_job j = {.a = x, .y = y, .c = c, .hw = hw, .block = block};
    run_blocks(&j, n, threads, block_task);
}

void tn_q8_unblock(const void *x, void *y, int64_t n, int64_t c, int64_t hw, int block, int threads) {
    block_job j = {.a = x, .y = y, .c = c, .hw = hw, .block = block};
    run_blocks(&j, n, threads, unblock_task);
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

static void add_task(void *context, int64_t begin, int64_t end, int worker) {
    const block_job *j = context;
    tn_q8_sum s = j->sum;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        block_part p = part_of(j, t);
        s.lanes = (int)p.channels;
        j->k->q8_add(&s, (const uint8_t *)j->a + p.blocked, (const uint8_t *)j->b + p.blocked,
                     (uint8_t *)j->y + p.blocked, p.pixels);
    }
}

void tn_q8_add(tern_cpu_tier tier, const tn_q8_real *a, const tn_q8_real *b, const tn_q8_real *y, int32_t low,
               int32_t high, const void *pa, const void *pb, void *py, int64_t n, int64_t c, int64_t hw, int threads) {
    block_job j = {.k = tn_kernels_get(tier), .a = pa, .b = pb, .y = py, .c = c, .hw = hw, .block = TN_Q8_BLOCK};
    j.sum = (tn_q8_sum){.a_scale = a->scale / y->scale,
                        .b_scale = b->scale / y->scale,
                        .a_zero = a->zero + up(a->is_signed),
                        .b_zero = b->zero + up(b->is_signed),
                        .zero = y->zero + up(y->is_signed),
                        .low = (uint8_t)(low + up(y->is_signed)),
                        .high = (uint8_t)(high + up(y->is_signed)),
                        .a_signed = a->is_signed,
                        .b_signed = b->is_signed,
                        .y_signed = y->is_signed};
    run_blocks(&j, n, threads, add_task);
}

/* Here the "pixels" of the result are cut: one for each block. */
static void mean_task(void *context, int64_t begin, int64_t end, int worker) {
    const block_job *j = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int32_t sum[4 * TN_Q8_BLOCK] = {0}; /* one pixel, of four that are read */
        const uint8_t *x = (const uint8_t *)j->a + t * j->hw * TN_Q8_BLOCK;
        j->k->q8_channel_sums(x, j->hw, j->sum.a_signed, sum);
        float scale[TN_Q8_BLOCK];
        for (int l = 0; l < TN_Q8_BLOCK; l++) {
            sum[l] -= (int32_t)j->hw * j->zero;
            scale[l] = j->scale;
        }
        tn_q8_finish f = j->finish;
        f.scale = scale;
        f.lanes = (int)TN_MIN(j->c - t % j->blocks * TN_Q8_BLOCK, TN_Q8_BLOCK);
        j->k->q8_finish(&f, sum, NULL, NULL, (uint8_t *)j->y + t * TN_Q8_BLOCK, 1);
    }
}

void tn_q8_mean(tern_cpu_tier tier, const tn_q8_real *x, const tn_q8_real *y, const void *px, void *py, int64_t n,
                int64_t c, int64_t hw, int threads) {
    block_job j = {.k = tn_kernels_get(tier), .a = px, .y = py, .c = c, .hw = hw, .block = TN_Q8_BLOCK};
    j.scale = x->scale / ((float)hw * y->scale);
    j.zero = x->zero + up(x->is_signed);
    j.sum.a_signed = x->is_signed;
    j.finish = (tn_q8_finish){.zero = y->zero + up(y->is_signed), .low = 0, .high = 255, .y_signed = y->is_signed};
    j.blocks = tn_ceil_div(c, TN_Q8_BLOCK);
    if (n * j.blocks > 0) tn_parallel_for(threads, n * j.blocks, mean_task, &j);
}
