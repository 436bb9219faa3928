#include "serve/work.h"

#include <pthread.h>

#include "serve/server.h"

struct serve_work {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    serve_exchange *head, *tail;
    bool stop;
    pthread_t *threads;
    int n_threads;
};

static void *worker(void *context) {
    serve_work *w = context;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        serve_exchange *x = w->head;
        if (x) {
            w->head = x->next;
            if (!w->head) w->tail = NULL;
            pthread_mutex_unlock(&w->mutex);
            x->step(x);
            pthread_mutex_lock(&w->mutex);
        } else if (w->stop) {
            break;
        } else {
            pthread_cond_wait(&w->wake, &w->mutex);
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void serve_work_submit(serve_work *w, serve_exchange *x) {
    x->next = NULL;
    pthread_mutex_lock(&w->mutex);
    if (w->tail) {
        w->tail->next = x;
    } else {
        w->head = x;
    }
    w->tail = x;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

tern_status serve_work_create(serve_work **out, int threads, tern_error *err) {
    serve_work *w = *out = tn_calloc(1, sizeof *w);
    if (!w) return tn_fail_oom(err, sizeof *w);
    w->threads = tn_calloc((size_t)threads, sizeof *w->threads);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    while (w->threads && w->n_threads < threads && pthread_create(&w->threads[w->n_threads], NULL, worker, w) == 0) {
        w->n_threads++;
    }
    if (w->n_threads > 0) return TERN_OK;
    serve_work_free(w);
    *out = NULL;
    return tn_fail(err, TERN_INTERNAL, "no thread can be started");
}

void serve_work_free(serve_work *w) {
    if (!w) return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    for (int i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    tn_free(w->threads);
    tn_free(w);
}
