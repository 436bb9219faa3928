/* What is counted per version of a model, for /v2/models/stats and /metrics. It outlives reloads. */
#ifndef SERVE_STATS_H
#define SERVE_STATS_H

#include <pthread.h>

#include "base/base.h"

typedef enum serve_stat {
    SERVE_STAT_SUCCESS = 0,
    SERVE_STAT_FAIL,
    SERVE_STAT_QUEUE,
    SERVE_STAT_INPUT,
    SERVE_STAT_INFER,
    SERVE_STAT_OUTPUT,
    SERVE_STAT_COUNT
} serve_stat;

typedef enum serve_failure {
    SERVE_FAILED_OTHER = 0, /* the request was wrong */
    SERVE_FAILED_REJECTED,  /* the queue was full */
    SERVE_FAILED_CANCELED,  /* its deadline passed */
    SERVE_FAILED_BACKEND,   /* the network failed */
    SERVE_FAILURE_COUNT
} serve_failure;

/* Upper bounds in seconds; one more bucket is for the rest. */
#define SERVE_BUCKETS 15
extern const double serve_bucket_bounds[SERVE_BUCKETS];
#define SERVE_BATCH_BUCKETS 11 /* 1, 2, 4 ... 1024 */

typedef struct serve_histogram {
    uint64_t buckets[SERVE_BUCKETS + 1];
    uint64_t count, sum_ns;
} serve_histogram;

typedef struct serve_batch_stat {
    int64_t size;
    uint64_t count, input_ns, infer_ns, output_ns;
} serve_batch_stat;
#define SERVE_BATCH_STATS 32

typedef struct serve_counts {
    uint64_t count[SERVE_STAT_COUNT], ns[SERVE_STAT_COUNT];
    uint64_t failures[SERVE_FAILURE_COUNT];
    uint64_t inferences, executions; /* rows, runs of the network */
    uint64_t last_ms;                /* wall clock of the last request */
    uint64_t pending;                /* requests taken and not yet answered */
    serve_histogram request, queue;
    uint64_t batch_buckets[SERVE_BATCH_BUCKETS + 1], batch_sum;
    serve_batch_stat batches[SERVE_BATCH_STATS];
    int n_batches;
} serve_counts;

typedef struct serve_stats {
    pthread_mutex_t mutex;
    serve_counts c;
} serve_stats;

/* Times of one request, in ns. */
typedef struct serve_times {
    uint64_t request, queue, input, infer, output;
    int64_t batch; /* rows of the run that it was part of */
} serve_times;

bool serve_stats_init(serve_stats *s);
void serve_stats_release(serve_stats *s);
void serve_stats_begin(serve_stats *s);
void serve_stats_success(serve_stats *s, const serve_times *t, int64_t rows);
void serve_stats_failure(serve_stats *s, serve_failure why, uint64_t request_ns);
void serve_stats_run(serve_stats *s, int64_t rows, uint64_t input_ns, uint64_t infer_ns, uint64_t output_ns);
/* A consistent copy. */
void serve_stats_copy(serve_stats *s, serve_counts *out);

/* Milliseconds since 1970. */
uint64_t serve_wall_ms(void);

#endif
