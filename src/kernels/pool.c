#include "kernels/pool.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

/* The block must be the vector width of some tier; take the kernels of that one when it is not the tier's own. */
static const tn_kernels *kernels_for_block(tern_cpu_tier tier, int block) {
    const tn_kernels *k = tn_kernels_get(tier);
    return k->width == block ? k : tn_kernels_get(TN_MIN(tier, TERN_CPU_AVX2));
}

typedef struct pool_job {
    const tn_kernels *k;
    const tn_pool2d *p;
    const float *x;
    float *y;
    int64_t blocks, c, hw;
    int block;
} pool_job;

static void pool2d_task(void *context, int64_t begin, int64_t end, int worker) {
    const pool_job *j = context;
    const tn_pool2d *p = j->p;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t oy = t % p->oh, plane = t / p->oh, cb = plane % j->blocks;
        int64_t lanes = TN_MIN(p->c - cb * j->block, j->block);
        j->k->pool2d_row_f32(p, j->x + plane * p->ih * p->iw * j->block, j->y + t * p->ow * j->block, oy, lanes);
    }
}

void tn_pool2d_f32(tern_cpu_tier tier, const tn_pool2d *p, const float *x, float *y, int block, int threads) {
    pool_job j = {.k = kernels_for_block(tier, block), .p = p, .x = x, .y = y, .block = block};
    j.blocks = tn_ceil_div(p->c, block);
    int64_t tasks = p->n * j.blocks * p->oh;
    if (tasks > 0) tn_parallel_for(threads, tasks, pool2d_task, &j);
}

static void mean_task(void *context, int64_t begin, int64_t end, int worker) {
    const pool_job *j = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t lanes = TN_MIN(j->c - t % j->blocks * j->block, j->block);
        j->k->pool_mean_f32(j->x + t * j->hw * j->block, j->y + t * j->block, j->hw, lanes);
    }
}

void tn_pool_global_avg_f32(tern_cpu_tier tier, const float *x, float *y, int64_t n, int64_t c, int64_t hw, int block,
                            int threads) {
    pool_job j = {.k = kernels_for_block(tier, block), .x = x, .y = y, .c = c, .hw = hw, .block = block};
    j.blocks = tn_ceil_div(c, block);
    if (n * j.blocks > 0) tn_parallel_for(threads, n * j.blocks, mean_task, &j);
}
