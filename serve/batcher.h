/* Who runs when. Requests wait in a queue per version; a few executor threads take from the queues what can share a
 * run. Rows are stacked on the first dim, and each request gets its own rows of the outputs: the engine gives the same
 * bits for a row alone or among others, so nobody can tell.
 *
 * A queue is ready when its oldest request has waited max_delay, or a preferred or the largest batch is complete.
 * Among ready queues the one whose model has used least time goes first (virtual time, as in start-time fair queuing),
 * so that a busy model can not starve another. A request whose deadline has passed is dropped before it is run. When a
 * batch fails, its requests are run one by one, so that a bad one does not fail the others. */
#ifndef SERVE_BATCHER_H
#define SERVE_BATCHER_H

#include "tern/tensor.h"

#include "base/base.h"

typedef struct serve_version serve_version;
typedef struct serve_batcher serve_batcher;
typedef struct serve_job serve_job;

struct serve_job {
    serve_version *version; /* the caller holds a reference until `done` */
    tern_tensor **inputs;   /* in the model's order; the caller's */
    int64_t rows;           /* first dim of the inputs; 0: must be run alone */
    uint64_t deadline_ns;   /* tn_clock_ns; 0: none */
    void (*done)(serve_job *job);
    void *context;
    /* The result. */
    tern_status status;    /* TERN_CANCELLED: the deadline passed */
    tern_tensor **outputs; /* in the model's order, an array of the caller's; the tensors become the caller's */
    tern_error err;
    int64_t batch; /* rows of the run */
    uint64_t queued_ns, begin_ns, infer_ns, inferred_ns, end_ns;
    serve_job *next; /* the batcher's */
};

/* The batcher's part of a version. */
typedef struct serve_queue {
    serve_job *head, *tail;
    int64_t length, rows; /* jobs, and rows of them; a job without rows counts as one */
    int running;          /* executors in it */
    uint64_t vtime;       /* ns used, not below that of the queue served last when it began to wait */
    bool listed;
    serve_version *next, *prev; /* of the queues that are not empty */
} serve_queue;

#define SERVE_DEFAULT_QUEUE 256

tern_status serve_batcher_create(serve_batcher **out, int executors, tern_error *err);
/* Runs what waits, then ends. NULL is fine. */
void serve_batcher_free(serve_batcher *b);
/* Queues the job; `done` is called later from an executor. False: the queue is full, nothing happened. */
bool serve_batcher_submit(serve_batcher *b, serve_job *job);
/* Runs the jobs now, on this thread, as one batch (or one by one when it fails); sets their results, calls no `done`.
 */
void serve_run_jobs(serve_job *const *jobs, int count);

#endif
