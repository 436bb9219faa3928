#include "kernels/probe.h"

#include "kernels/kernels_internal.h"
#include "thread/thread.h"

enum { TRIES = 8, READ_BYTES = 64 << 20, READ_TASKS = 64 };

typedef struct probe_job {
    const tn_kernels *k;
    int64_t rounds;
    const float *data;
    int64_t per_task;
    float sinks[READ_TASKS];
} probe_job;

int64_t tn_probe_flops(tern_cpu_tier tier, int64_t rounds, float *sink) {
    return tn_kernels_get(tier)->probe_fma_f32(rounds, sink);
}

static void fma_task(void *context, int64_t begin, int64_t end, int worker) {
    probe_job *j = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) j->k->probe_fma_f32(j->rounds, &j->sinks[i]);
}

double tn_probe_gflops(tern_cpu_tier tier, int threads) {
    probe_job j = {.k = tn_kernels_get(tier), .rounds = 2000};
    threads = TN_MIN(TN_MAX(threads, 1), READ_TASKS);
    /* So many rounds that a try takes about a millisecond: the clock and the start of the threads vanish in it. */
    int64_t flops = 0;
    for (uint64_t taken = 0; taken < 500000 && j.rounds < INT64_C(1) << 30;) {
        j.rounds *= 2;
        uint64_t start = tn_clock_ns();
        flops = j.k->probe_fma_f32(j.rounds, &j.sinks[0]);
        taken = tn_clock_ns() - start;
    }
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        uint64_t start = tn_clock_ns();
        tn_parallel_for(threads, threads, fma_task, &j);
        double rate = (double)flops * threads / (double)TN_MAX(tn_clock_ns() - start, (uint64_t)1);
        best = TN_MAX(best, rate);
    }
    return best;
}

static void read_task(void *context, int64_t begin, int64_t end, int worker) {
    probe_job *j = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) j->k->probe_read_f32(j->data + i * j->per_task, j->per_task, &j->sinks[i]);
}

double tn_probe_gbytes(tern_cpu_tier tier, int threads) {
    size_t bytes = TN_MAX((size_t)READ_BYTES, 2 * tn_cpu_get_system()->l3);
    bytes = TN_MIN(bytes, (size_t)512 << 20) / (READ_TASKS * 4096) * (READ_TASKS * 4096);
    float *data = tn_alloc_aligned(bytes, TN_CACHE_LINE);
    if (!data) return 0;
    memset(data, 0, bytes);
    probe_job j = {.k = tn_kernels_get(tier), .data = data, .per_task = (int64_t)(bytes / sizeof(float) / READ_TASKS)};
    double best = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t start = tn_clock_ns();
        tn_parallel_for(threads, READ_TASKS, read_task, &j);
        best = TN_MAX(best, (double)bytes / (double)TN_MAX(tn_clock_ns() - start, (uint64_t)1));
    }
    tn_free(data);
    return best;
}
