#include "serve/stats.h"

#include <time.h>

const double serve_bucket_bounds[SERVE_BUCKETS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                   0.25,   0.5,   1,      2.5,   5,    10,    30};

uint64_t serve_wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool serve_stats_init(serve_stats *s) {
    *s = (serve_stats){0};
    return pthread_mutex_init(&s->mutex, NULL) == 0;
}

void serve_stats_release(serve_stats *s) { pthread_mutex_destroy(&s->mutex); }

static void add(serve_counts *c, serve_stat what, uint64_t ns) {
    c->count[what]++;
    c->ns[what] += ns;
}

static void observe(serve_histogram *h, uint64_t ns) {
    int i = 0;
    while (i < SERVE_BUCKETS && (double)ns * 1e-9 > serve_bucket_bounds[i]) i++;
    h->buckets[i]++;
    h->count++;
    h->sum_ns += ns;
}

void serve_stats_begin(serve_stats *s) {
    pthread_mutex_lock(&s->mutex);
    s->c.pending++;
    s->c.last_ms = serve_wall_ms();
    pthread_mutex_unlock(&s->mutex);
}

void serve_stats_success(serve_stats *s, const serve_times *t, int64_t rows) {
    pthread_mutex_lock(&s->mutex);
    serve_counts *c = &s->c;
    c->pending--;
    c->inferences += (uint64_t)rows;
    add(c, SERVE_STAT_SUCCESS, t->request);
    add(c, SERVE_STAT_QUEUE, t->queue);
    add(c, SERVE_STAT_INPUT, t->input);
    add(c, SERVE_STAT_INFER, t->infer);
    add(c, SERVE_STAT_OUTPUT, t->output);
    observe(&c->request, t->request);
    observe(&c->queue, t->queue);
    pthread_mutex_unlock(&s->mutex);
}

void serve_stats_failure(serve_stats *s, serve_failure why, uint64_t request_ns) {
    pthread_mutex_lock(&s->mutex);
    s->c.pending--;
    s->c.failures[why]++;
    add(&s->c, SERVE_STAT_FAIL, request_ns);
    pthread_mutex_unlock(&s->mutex);
}

void serve_stats_run(serve_stats *s, int64_t rows, uint64_t input_ns, uint64_t infer_ns, uint64_t output_ns) {
    pthread_mutex_lock(&s->mutex);
    serve_counts *c = &s->c;
    c->executions++;
    int bucket = 0;
    while (bucket < SERVE_BATCH_BUCKETS && rows > (int64_t)1 << bucket) bucket++;
    c->batch_buckets[bucket]++;
    c->batch_sum += (uint64_t)rows;
    int i = 0;
    while (i < c->n_batches && c->batches[i].size != rows) i++;
    if (i < SERVE_BATCH_STATS) {
        serve_batch_stat *b = &c->batches[i];
        if (i == c->n_batches) c->n_batches++;
        b->size = rows;
        b->count++;
        b->input_ns += input_ns;
        b->infer_ns += infer_ns;
        b->output_ns += output_ns;
    }
    pthread_mutex_unlock(&s->mutex);
}

void serve_stats_copy(serve_stats *s, serve_counts *out) {
    pthread_mutex_lock(&s->mutex);
    *out = s->c;
    pthread_mutex_unlock(&s->mutex);
}
