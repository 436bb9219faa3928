/* L1: one pool of worker threads per process, shared by all sessions.
 *
 * A job is `count` tasks, numbered from 0. They are handed out in static, contiguous shares: participant p of P runs
 * tasks [p*count/P, (p+1)*count/P). What a task computes must depend on its number alone, never on P: that is what
 * makes results bit-identical for any number of threads. Workers spin for a bounded time, then sleep. The caller
 * takes part. Two callers at once: the second one runs its job alone instead of waiting for the first. A job started
 * inside a task runs on the calling thread. */
#ifndef TN_THREAD_H
#define TN_THREAD_H

#include "base/base.h"

/* Runs tasks [begin, end) on one thread. `worker` is this participant's number, 0 <= worker < the `threads` given to
 * tn_parallel_for: an index for per-thread scratch memory. */
typedef void (*tn_task_fn)(void *context, int64_t begin, int64_t end, int worker);

/* Runs `count` tasks on at most `threads` threads (including the caller); returns when all are done. Grows the pool
 * when it has fewer workers. `threads` <= 1 or count <= 1: on the caller alone, without touching the pool. */
void tn_parallel_for(int threads, int64_t count, tn_task_fn fn, void *context);

/* on: what the calling thread starts from now on runs on it alone, as inside a task. For programs that run several jobs
 * side by side, which together fill the machine better than each on all threads. Returns the former setting. */
bool tn_thread_alone(bool on);

/* Around a run of a network, which is many jobs: while several runs are under way, a job leaves a CPU to each of the
 * others instead of waiting for workers that have none. Nested pairs on one thread count as one. */
void tn_thread_run_begin(void);
void tn_thread_run_end(void);

/* Stops the workers; for tests and leak checks. The pool starts again when it is needed. */
void tn_thread_shutdown(void);

/* A mutex and a once-flag, so that nothing above includes pthread.h. */
typedef struct tn_mutex {
    uint64_t opaque[6];
} tn_mutex;
/* For `static tn_mutex m = TN_MUTEX_INIT`: on Linux (glibc and musl) a mutex of zeros is an unlocked one. */
#define TN_MUTEX_INIT \
    {                 \
        { 0 }         \
    }
bool tn_mutex_init(tn_mutex *m);
void tn_mutex_release(tn_mutex *m);
void tn_mutex_lock(tn_mutex *m);
void tn_mutex_unlock(tn_mutex *m);

#endif
