#include "kernels/layout.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* Pixels of one task: 16 channels of them, read and written, stay in L2. */
#define CHUNK 2048

typedef struct layout_job {
    const tn_kernels *k;
    const float *x;
    float *y;
    int64_t c, hw, blocks, chunks;
    int block;
    bool to_blocked;
} layout_job;

/* For a block that is not the tier's vector width. */
static void block_plain(const float *x, int64_t hw_stride, float *y, int64_t c, int64_t count, int block) {
    for (int64_t p = 0; p < count; p++)
        for (int i = 0; i < block; i++) y[p * block + i] = i < c ? x[i * hw_stride + p] : 0.0f;
}

static void unblock_plain(const float *x, float *y, int64_t hw_stride, int64_t c, int64_t count, int block) {
    for (int64_t i = 0; i < c; i++)
        for (int64_t p = 0; p < count; p++) y[i * hw_stride + p] = x[p * block + i];
}

static void layout_task(void *context, int64_t begin, int64_t end, int worker) {
    const layout_job *j = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t chunk = t % j->chunks, cb = t / j->chunks % j->blocks, n = t / j->chunks / j->blocks;
        int64_t p = chunk * CHUNK, count = TN_MIN(j->hw - p, CHUNK), c = TN_MIN(j->c - cb * j->block, j->block);
        int64_t plain = (n * j->c + cb * j->block) * j->hw + p, blocked = ((n * j->blocks + cb) * j->hw + p) * j->block;
        bool fast = j->block == j->k->width;
        if (j->to_blocked) {
            if (fast)
                j->k->layout_block_f32(j->x + plain, j->hw, j->y + blocked, j->block, c, count);
            else
                block_plain(j->x + plain, j->hw, j->y + blocked, c, count, j->block);
        } else {
            if (fast)
                j->k->layout_unblock_f32(j->x + blocked, j->y + plain, j->hw, c, count);
            else
                unblock_plain(j->x + blocked, j->y + plain, j->hw, c, count, j->block);
        }
    }
}

static void layout_run(layout_job *j, int64_t n, int threads) {
    j->blocks = tn_ceil_div(j->c, j->block);
    j->chunks = tn_ceil_div(j->hw, CHUNK);
    int64_t tasks = n * j->blocks * j->chunks;
    if (tasks > 0) tn_parallel_for(threads, tasks, layout_task, j);
}

void tn_layout_block_f32(tern_cpu_tier tier, const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block,
                         int threads) {
    layout_job j = {.k = tn_kernels_get(tier), .x = x, .y = y, .c = c, .hw = hw, .block = block, .to_blocked = true};
    layout_run(&j, n, threads);
}

void tn_layout_unblock_f32(tern_cpu_tier tier, const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block,
                           int threads) {
    layout_job j = {.k = tn_kernels_get(tier), .x = x, .y = y, .c = c, .hw = hw, .block = block};
    layout_run(&j, n, threads);
}

void tn_layout_channels_f32(tern_cpu_tier tier, const tn_channel_source *sources, int count, float *y, int64_t hw) {
    tn_kernels_get(tier)->layout_channels_f32(sources, count, y, hw);
}
