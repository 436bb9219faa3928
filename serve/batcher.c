#include "serve/batcher.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "serve/version.h"
#include "thread/thread.h"

struct serve_batcher {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    serve_version *first; /* versions with a queue that is not empty */
    uint64_t vtime;       /* of the queue that was served last */
    int running;          /* executors at work */
    bool stop;
    pthread_t *threads;
    int n_threads;   /* that were started */
    int n_executors; /* that are to be: n_threads changes while the first ones run */
};

/* ---- running ------------------------------------------------------------------------------------------------ */

static void run_alone(serve_job *job) {
    serve_version *v = job->version;
    tern_feed feeds_of_few[8], *feeds = feeds_of_few;
    job->begin_ns = job->infer_ns = tn_clock_ns();
    job->batch = TN_MAX(job->rows, 1);
    if (v->n_inputs > (int)TN_COUNT(feeds_of_few)) feeds = tn_alloc_array((size_t)v->n_inputs, sizeof *feeds);
    if (feeds) {
        for (int i = 0; i < v->n_inputs; i++) feeds[i] = (tern_feed){v->inputs[i].name, job->inputs[i]};
        job->status = tern_session_run(v->session, feeds, (size_t)v->n_inputs, v->output_names, job->outputs,
                                       (size_t)v->n_outputs, &job->err);
    } else {
        job->status = tn_fail_oom(&job->err, (size_t)v->n_inputs * sizeof *feeds);
    }
    if (feeds != feeds_of_few) tn_free(feeds);
    job->inferred_ns = job->end_ns = tn_clock_ns();
    serve_stats_run(v->stats, job->batch, 0, job->end_ns - job->begin_ns, 0);
}

/* Input `index` of all jobs, one below the other. */
static tern_status stack(serve_job *const *jobs, int count, int64_t rows, int index, tern_tensor **out,
                         tern_error *err) {
    const tern_tensor *first = jobs[0]->inputs[index];
    int64_t dims[TERN_MAX_RANK];
    int rank = tern_tensor_rank(first);
    memcpy(dims, tern_tensor_dims(first), (size_t)rank * sizeof *dims);
    dims[0] = rows;
    TN_TRY(tern_tensor_create(out, tern_tensor_dtype(first), rank, dims, err));
    char *to = tern_tensor_data(*out);
    for (int i = 0; i < count; i++) {
        size_t bytes = tern_tensor_bytes(jobs[i]->inputs[index]);
        if (bytes) memcpy(to, tern_tensor_const_data(jobs[i]->inputs[index]), bytes);
        to += bytes;
    }
    return TERN_OK;
}

/* Gives each job its rows of output `index`. */
static tern_status deal(serve_job *const *jobs, int count, int64_t rows, int index, const tern_tensor *all,
                        tern_error *err) {
    int rank = tern_tensor_kind(all) == TERN_KIND_TENSOR ? tern_tensor_rank(all) : 0;
    if (rank == 0 || tern_tensor_dims(all)[0] != rows || tern_tensor_dtype(all) == TERN_STRING) {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' has no row per row of the inputs",
                       jobs[0]->version->outputs[index].name);
    }
    int64_t dims[TERN_MAX_RANK];
    memcpy(dims, tern_tensor_dims(all), (size_t)rank * sizeof *dims);
    const char *from = tern_tensor_const_data(all);
    size_t each = tern_tensor_bytes(all) / (size_t)rows;
    for (int i = 0; i < count; i++) {
        dims[0] = jobs[i]->rows;
        TN_TRY(tern_tensor_create(&jobs[i]->outputs[index], tern_tensor_dtype(all), rank, dims, err));
        size_t bytes = each * (size_t)jobs[i]->rows;
        if (bytes) memcpy(tern_tensor_data(jobs[i]->outputs[index]), from, bytes);
        from += bytes;
    }
    return TERN_OK;
}

typedef struct batch {
    tern_feed *feeds;
    tern_tensor **inputs, **outputs;
    uint64_t begin_ns, infer_ns, inferred_ns;
} batch;

static tern_status run_stacked(serve_job *const *jobs, int count, int64_t rows, batch *b, tern_error *err) {
    serve_version *v = jobs[0]->version;
    b->begin_ns = tn_clock_ns();
    b->feeds = tn_alloc_array((size_t)v->n_inputs, sizeof *b->feeds);
    b->inputs = tn_calloc((size_t)v->n_inputs, sizeof *b->inputs);
    b->outputs = tn_calloc((size_t)v->n_outputs, sizeof *b->outputs);
    if (!b->feeds || !b->inputs || !b->outputs) return tn_fail_oom(err, 0);
    for (int i = 0; i < v->n_inputs; i++) {
        TN_TRY(stack(jobs, count, rows, i, &b->inputs[i], err));
        b->feeds[i] = (tern_feed){v->inputs[i].name, b->inputs[i]};
    }
    b->infer_ns = tn_clock_ns();
    TN_TRY(tern_session_run(v->session, b->feeds, (size_t)v->n_inputs, v->output_names, b->outputs,
                            (size_t)v->n_outputs, err));
    b->inferred_ns = tn_clock_ns();
    for (int i = 0; i < v->n_outputs; i++) TN_TRY(deal(jobs, count, rows, i, b->outputs[i], err));
    return TERN_OK;
}

static void drop_outputs(serve_job *job) {
    for (int i = 0; i < job->version->n_outputs; i++) {
        tern_tensor_free(job->outputs[i]);
        job->outputs[i] = NULL;
    }
}

void serve_run_jobs(serve_job *const *jobs, int count) {
    if (count == 1) {
        run_alone(jobs[0]);
        return;
    }
    serve_version *v = jobs[0]->version;
    int64_t rows = 0;
    for (int i = 0; i < count; i++) rows += jobs[i]->rows;
    batch b = {0};
    tern_error err;
    tern_status status = run_stacked(jobs, count, rows, &b, &err);
    uint64_t end = tn_clock_ns();
    for (int i = 0; i < v->n_inputs && b.inputs; i++) tern_tensor_free(b.inputs[i]);
    for (int i = 0; i < v->n_outputs && b.outputs; i++) tern_tensor_free(b.outputs[i]);
    tn_free(b.feeds);
    tn_free(b.inputs);
    tn_free(b.outputs);
    for (int i = 0; i < count; i++) {
        serve_job *job = jobs[i];
        if (status != TERN_OK) {
            drop_outputs(job);
            run_alone(job);
            continue;
        }
        job->status = TERN_OK;
        job->batch = rows;
        job->begin_ns = b.begin_ns;
        job->infer_ns = b.infer_ns;
        job->inferred_ns = b.inferred_ns;
        job->end_ns = end;
    }
    if (status != TERN_OK) return;
    serve_stats_run(v->stats, rows, b.infer_ns - b.begin_ns, b.inferred_ns - b.infer_ns, end - b.inferred_ns);
}

/* ---- choosing ----------------------------------------------------------------------------------------------- */

/* Whether their inputs differ in nothing but the first dim. */
static bool stackable(const serve_job *a, const serve_job *b) {
    if (a->rows == 0 || b->rows == 0) return false;
    for (int i = 0; i < a->version->n_inputs; i++) {
        const tern_tensor *x = a->inputs[i], *y = b->inputs[i];
        int rank = tern_tensor_rank(x);
        if (tern_tensor_dtype(x) != tern_tensor_dtype(y) || rank != tern_tensor_rank(y)) return false;
        for (int d = 1; d < rank; d++) {
            if (tern_tensor_dims(x)[d] != tern_tensor_dims(y)[d]) return false;
        }
    }
    return true;
}

static int64_t largest_batch(const serve_version *v) { return v->sizes[v->n_sizes - 1]; }

/* Rows that could run with the oldest request, up to the largest batch. */
static int64_t rows_waiting(const serve_version *v) {
    const serve_job *head = v->queue.head;
    int64_t rows = TN_MAX(head->rows, 1), most = largest_batch(v);
    if (!v->batchable) return rows;
    for (const serve_job *j = head->next; j && rows < most; j = j->next) {
        if (stackable(head, j) && rows + j->rows <= most) rows += j->rows;
    }
    return rows;
}

/* The largest batch that is run of that many rows. */
static int64_t size_for(const serve_version *v, int64_t rows) {
    int64_t best = 1;
    for (int i = 0; i < v->n_sizes && v->sizes[i] <= rows; i++) best = v->sizes[i];
    return best;
}

/* When the queue is to be served: now or earlier when it is ready. */
static uint64_t ready_at(const serve_version *v, bool stop) {
    const serve_config *c = &v->config;
    const serve_job *head = v->queue.head;
    if (c->max_delay_us == 0 || !v->batchable || head->rows == 0 || stop) return 0;
    int64_t rows = rows_waiting(v);
    if (rows >= largest_batch(v)) return 0;
    for (int i = 0; i < c->n_preferred; i++) {
        if (rows == c->preferred[i]) return 0;
    }
    return head->queued_ns + (uint64_t)c->max_delay_us * 1000;
}

/* Runs beside others that what waits in the queue is worth. An eighth of the largest batch: to wait for more would
 * leave cores idle, fewer rows would not save much by sharing a run. */
static int64_t runs_waiting(const serve_version *v) { return v->queue.rows / TN_MAX(largest_batch(v) / 8, 1); }

/* Whether another run of this version may begin. Without a configured number of instances it is one at a time, on all
 * threads, which answers soonest; until so much waits that runs of one thread each fill the machine. Those do more in
 * all, as the threads of a run wait for each other in every layer. */
static bool may_start(const serve_batcher *b, const serve_version *v) {
    int64_t running = v->queue.running;
    if (v->config.instances) return running < v->config.instances;
    return running == 0 || running + runs_waiting(v) >= b->n_executors;
}

static bool any_may_start(const serve_batcher *b) {
    for (const serve_version *v = b->first; v; v = v->queue.next) {
        if (may_start(b, v)) return true;
    }
    return false;
}

/* Whether the run that begins should keep to one thread: with those under way and those that wait there is one for each
 * executor. */
static bool is_crowded(const serve_batcher *b) {
    int64_t runs = b->running + 1;
    for (const serve_version *v = b->first; v && runs < b->n_executors; v = v->queue.next) {
        int64_t waiting = runs_waiting(v);
        runs += v->queue.running == 0 ? TN_MAX(waiting, 1) : waiting;
    }
    return b->n_executors > 1 && runs >= b->n_executors;
}

static serve_version *choose(serve_batcher *b, uint64_t now, uint64_t *wake) {
    serve_version *best = NULL;
    *wake = UINT64_MAX;
    for (serve_version *v = b->first; v; v = v->queue.next) {
        if (!may_start(b, v)) continue;
        uint64_t at = ready_at(v, b->stop);
        if (at > now) {
            *wake = TN_MIN(*wake, at);
        } else if (!best || v->queue.vtime < best->queue.vtime) {
            best = v;
        }
    }
    return best;
}

static void unlist(serve_batcher *b, serve_version *v) {
    serve_queue *q = &v->queue;
    if (q->prev) q->prev->queue.next = q->next;
    if (q->next) q->next->queue.prev = q->prev;
    if (b->first == v) b->first = q->next;
    q->next = q->prev = NULL;
    q->listed = false;
}

/* Takes the oldest request and those that run with it out of the queue; expired ones into *expired. */
static int take(serve_version *v, uint64_t now, serve_job **jobs, serve_job **expired) {
    serve_queue *q = &v->queue;
    serve_job **link = &q->head, *last = NULL, *job;
    int count = 0;
    int64_t rows = 0, limit = 0;
    *expired = NULL;
    while ((job = *link)) {
        bool late = job->deadline_ns && job->deadline_ns <= now;
        bool fits = count == 0 || (rows < limit && stackable(jobs[0], job) && rows + job->rows <= limit);
        if (!late && !fits) {
            last = job;
            link = &job->next;
            if (rows >= limit) break;
            continue;
        }
        if (!late && count == 0) limit = v->batchable && job->rows ? size_for(v, rows_waiting(v)) : 0;
        *link = job->next;
        q->length--;
        q->rows -= TN_MAX(job->rows, 1);
        if (late) {
            job->next = *expired;
            *expired = job;
            continue;
        }
        jobs[count++] = job;
        rows += job->rows;
    }
    if (!*link) q->tail = last;
    return count;
}

static void expire(serve_job *list) {
    while (list) {
        serve_job *job = list;
        list = job->next;
        job->status = tn_fail(&job->err, TERN_CANCELLED, "the request's deadline passed while it waited");
        job->begin_ns = job->infer_ns = job->inferred_ns = job->end_ns = tn_clock_ns();
        job->done(job);
    }
}

static void serve(serve_batcher *b, serve_version *v, uint64_t now) {
    serve_job *jobs[SERVE_MAX_BATCH], *expired;
    int count = take(v, now, jobs, &expired);
    if (!v->queue.head) unlist(b, v);
    b->vtime = TN_MAX(b->vtime, v->queue.vtime);
    bool alone = is_crowded(b);
    v->queue.running++;
    b->running++;
    if (any_may_start(b)) pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->mutex);
    /* The jobs' references may be the last ones; the queue is needed until the end. */
    serve_version_ref(v);
    expire(expired);
    uint64_t begin = tn_clock_ns();
    tn_thread_alone(alone);
    if (count > 0) serve_run_jobs(jobs, count);
    tn_thread_alone(false);
    uint64_t used = tn_clock_ns() - begin;
    for (int i = 0; i < count; i++) jobs[i]->done(jobs[i]);
    pthread_mutex_lock(&b->mutex);
    v->queue.running--;
    b->running--;
    v->queue.vtime += used;
    pthread_mutex_unlock(&b->mutex);
    serve_version_unref(v);
    pthread_mutex_lock(&b->mutex);
}

static void wait_until(serve_batcher *b, uint64_t wake) {
    if (wake == UINT64_MAX) {
        pthread_cond_wait(&b->wake, &b->mutex);
        return;
    }
    struct timespec t = {(time_t)(wake / 1000000000), (long)(wake % 1000000000)};
    pthread_cond_timedwait(&b->wake, &b->mutex, &t);
}

static void *executor(void *context) {
    serve_batcher *b = context;
    pthread_mutex_lock(&b->mutex);
    for (;;) {
        uint64_t wake, now = tn_clock_ns();
        serve_version *v = choose(b, now, &wake);
        if (v) {
            serve(b, v, now);
        } else if (b->stop && !b->first) {
            break;
        } else {
            wait_until(b, wake);
        }
    }
    /* The others may be asleep over a queue that has just become empty. */
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->mutex);
    return NULL;
}

/* ---- the door ----------------------------------------------------------------------------------------------- */

bool serve_batcher_submit(serve_batcher *b, serve_job *job) {
    serve_version *v = job->version;
    serve_queue *q = &v->queue;
    int64_t most = v->config.max_queue ? v->config.max_queue : SERVE_DEFAULT_QUEUE;
    job->next = NULL;
    job->queued_ns = tn_clock_ns();
    pthread_mutex_lock(&b->mutex);
    bool room = q->length < most && !b->stop;
    if (room) {
        if (q->tail) {
            q->tail->next = job;
        } else {
            q->head = job;
        }
        q->tail = job;
        q->length++;
        q->rows += TN_MAX(job->rows, 1);
        if (!q->listed) {
            q->listed = true;
            q->vtime = TN_MAX(q->vtime, b->vtime);
            q->prev = NULL;
            q->next = b->first;
            if (b->first) b->first->queue.prev = v;
            b->first = v;
        }
        /* Otherwise whoever runs this version looks at the queue when it is done. */
        if (may_start(b, v)) pthread_cond_signal(&b->wake);
    }
    pthread_mutex_unlock(&b->mutex);
    return room;
}

tern_status serve_batcher_create(serve_batcher **out, int executors, tern_error *err) {
    serve_batcher *b = *out = tn_calloc(1, sizeof *b);
    if (!b) return tn_fail_oom(err, sizeof *b);
    pthread_condattr_t monotonic;
    bool good = (b->threads = tn_calloc((size_t)executors, sizeof *b->threads)) != NULL;
    good = good && pthread_mutex_init(&b->mutex, NULL) == 0 && pthread_condattr_init(&monotonic) == 0;
    if (!good) {
        tn_free(b->threads);
        tn_free(b);
        *out = NULL;
        return tn_fail_oom(err, 0);
    }
    b->n_executors = executors;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&b->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    while (b->n_threads < executors && pthread_create(&b->threads[b->n_threads], NULL, executor, b) == 0)
        b->n_threads++;
    if (b->n_threads > 0) return TERN_OK;
    serve_batcher_free(b);
    *out = NULL;
    return tn_fail(err, TERN_INTERNAL, "no thread can be started");
}

void serve_batcher_free(serve_batcher *b) {
    if (!b) return;
    pthread_mutex_lock(&b->mutex);
    b->stop = true;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->mutex);
    for (int i = 0; i < b->n_threads; i++) pthread_join(b->threads[i], NULL);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->mutex);
    tn_free(b->threads);
    tn_free(b);
}
