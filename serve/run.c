/* The life of the server: signals, polling, draining. */
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "serve/http.h"
#include "serve/serve.h"

#define KEPT_BLOCK (8 << 20)

static void print_note(void *context, const char *line) {
    (void)context;
    cli_error("%s", line);
}

static void print_address(const serve_http *h, const serve_options *o) {
    const char *open = strchr(o->host, ':') ? "[" : "", *close = *open ? "]" : "";
    cli_error("listening on %s://%s%s%s:%d", o->tls_cert ? "https" : "http", open, o->host, close, serve_http_port(h));
}

static struct timespec seconds(double s) { return (struct timespec){(time_t)s, (long)((s - (double)(time_t)s) * 1e9)}; }

/* Waits for a signal, at most so long; 0: none came. */
static int wait_signal(const sigset_t *set, double limit) {
    struct timespec t = seconds(limit);
    int signal;
    do {
        signal = sigtimedwait(set, NULL, &t);
    } while (signal < 0 && errno == EINTR);
    return signal < 0 ? 0 : signal;
}

/* ---- the thread that looks at the repository ---------------------------------------------------------------- */

typedef struct poller {
    serve_repository *repository;
    double seconds; /* 0: only when asked */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool asked, stop;
    pthread_t thread;
} poller;

/* Waits for its time, or to be asked; false: to stop. */
static bool wait_turn(poller *p) {
    struct timespec until, step = seconds(p->seconds > 0 ? p->seconds : 3600);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += step.tv_sec + (until.tv_nsec + step.tv_nsec) / 1000000000;
    until.tv_nsec = (until.tv_nsec + step.tv_nsec) % 1000000000;
    pthread_mutex_lock(&p->mutex);
    int code = 0;
    while (!p->stop && !p->asked && code != ETIMEDOUT) code = pthread_cond_timedwait(&p->wake, &p->mutex, &until);
    bool go = !p->stop, asked = p->asked;
    p->asked = false;
    pthread_mutex_unlock(&p->mutex);
    if (go && (asked || p->seconds > 0)) serve_repository_poll(p->repository, asked);
    return go;
}

static void *poll_repository(void *context) {
    while (wait_turn(context)) {}
    return NULL;
}

static bool poller_start(poller *p, serve_repository *repository, double period) {
    *p = (poller){.repository = repository, .seconds = period};
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    return pthread_create(&p->thread, NULL, poll_repository, p) == 0;
}

static void poller_tell(poller *p, bool stop) {
    pthread_mutex_lock(&p->mutex);
    p->stop = p->stop || stop;
    p->asked = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->mutex);
}

/* A model that is being loaded is loaded first. */
static void poller_stop(poller *p) {
    poller_tell(p, true);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
}

/* ---- the whole ---------------------------------------------------------------------------------------------- */

/* Until one of the signals that end it. */
static int serve_until_signal(poller *p, const sigset_t *set) {
    for (;;) {
        int signal = wait_signal(set, 3600);
        if (signal == SIGTERM || signal == SIGINT) return signal;
        if (signal == SIGHUP) poller_tell(p, false);
    }
}

/* Whether a signal that ends the wait comes within so long; a look at the models makes no sense any more. */
static bool told_again(const sigset_t *set, double limit) {
    uint64_t end = tn_clock_ns() + (uint64_t)(limit * 1e9);
    for (;;) {
        uint64_t now = tn_clock_ns();
        int signal = wait_signal(set, now < end ? (double)(end - now) * 1e-9 : 0);
        if (signal != SIGHUP) return signal != 0;
    }
}

/* Not ready first, so that balancers look elsewhere; then no new connections; then the requests under way finish.
 * False: a second signal came, or the time was over with some of them left. */
static bool drain(serve_server *s, serve_http *h, const sigset_t *set, int signal) {
    atomic_store(&s->draining, true);
    double grace = signal == SIGTERM ? s->options->drain_seconds : 0;
    cli_error("draining: %d requests under way", atomic_load(&s->under_way));
    if (grace > 0 && told_again(set, grace)) return false;
    serve_http_quiesce(h);
    uint64_t end = tn_clock_ns() + (uint64_t)(s->options->exit_seconds * 1e9);
    while (atomic_load(&s->under_way) > 0 && tn_clock_ns() < end) {
        if (told_again(set, 0.02)) return false;
    }
    return atomic_load(&s->under_way) == 0;
}

/* Bodies and tensors of a few MB come with every request: glibc would give their pages back each time, and the kernel
 * clear new ones, which takes longer than reading them. Larger ones are still given back at once. */
static void keep_pages(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK);
    mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BLOCK);
#endif
}

int serve_run(const serve_options *options) {
    keep_pages();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    /* Before there are threads, which inherit it; signals are then taken by this one alone. */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    serve_server s;
    serve_http *h;
    tern_error err;
    if (!serve_http_library()) {
        cli_error("this build has no server; install libmicrohttpd-dev and rebuild");
        return CLI_FAILED;
    }
    if (serve_server_init(&s, options, print_note, NULL, &err) != TERN_OK) return cli_fail(&err);
    if (serve_http_start(&h, &s, print_note, NULL, &err) != TERN_OK) {
        serve_server_release(&s);
        return cli_fail(&err);
    }
    poller p;
    if (!poller_start(&p, s.repository, options->poll_seconds)) {
        serve_http_stop(h);
        serve_server_release(&s);
        cli_error("no thread can be started");
        return CLI_FAILED;
    }
    print_address(h, options);
    bool finished = drain(&s, h, &set, serve_until_signal(&p, &set));
    if (!finished) {
        /* At once: requests and a model being loaded still use what would be freed. */
        int left = atomic_load(&s.under_way);
        cli_error("stopped with %d requests under way", left);
        _exit(left > 0 ? CLI_FAILED : CLI_OK);
    }
    serve_http_stop(h);
    poller_stop(&p);
    serve_server_release(&s);
    cli_error("stopped");
    return CLI_OK;
}
