#include "serve/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

struct serve_access_log {
    int fd;
};

tern_status serve_access_log_open(serve_access_log **out, const char *path, tern_error *err) {
    *out = NULL;
    if (!path) return TERN_OK;
    int fd = strcmp(path, "-") == 0 ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) return tn_fail(err, TERN_IO, "%s: can not be opened for the access log: %s", path, strerror(errno));
    *out = tn_calloc(1, sizeof **out);
    if (!*out) return tn_fail_oom(err, sizeof **out);
    (*out)->fd = fd;
    return TERN_OK;
}

void serve_access_log_close(serve_access_log *log) {
    if (log && log->fd != STDOUT_FILENO) close(log->fd);
    tn_free(log);
}

/* "2026-01-31T12:00:00.123Z" */
static void put_time(tn_text *t) {
    struct timespec now;
    struct tm utc;
    char text[80];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
             utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
    serve_put_string(t, "time", text);
}

/* "00-<32 hex>-<16 hex>-<2 hex>", as W3C's Trace Context has it; anything else is left out of the log. */
static bool is_traceparent(const char *s) {
    static const int groups[] = {2, 32, 16, 2};
    for (size_t g = 0; g < TN_COUNT(groups); g++) {
        for (int i = 0; i < groups[g]; i++, s++) {
            if (!((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'f'))) return false;
        }
        if (*s != (g == 3 ? '\0' : '-')) return false;
        s++;
    }
    return true;
}

static void put_times(tn_text *t, const serve_exchange *x) {
    serve_put_fixed(t, "ms", (double)(x->done_ns - x->begin_ns) * 1e-6, 3);
    if (!x->times.batch) return;
    serve_put_i64(t, "batch", x->times.batch);
    serve_put_fixed(t, "queue_ms", (double)x->times.queue * 1e-6, 3);
    serve_put_fixed(t, "infer_ms", (double)x->times.infer * 1e-6, 3);
}

void serve_access_log_write(serve_access_log *log, const serve_exchange *x, bool delivered) {
    if (!log) return;
    tn_text t;
    tn_text_init(&t);
    serve_put_open(&t, NULL, '{');
    put_time(&t);
    serve_put_string(&t, "client", x->client);
    serve_put_string(&t, "method", x->method);
    serve_put_string(&t, "path", x->path);
    serve_put_i64(&t, "status", x->status);
    serve_put_u64(&t, "bytes_in", serve_body(x).len);
    serve_put_u64(&t, "bytes_out", x->fixed.data ? x->fixed.len : x->out.len);
    put_times(&t, x);
    if (x->model[0]) serve_put_string(&t, "model", x->model);
    if (x->version[0]) serve_put_string(&t, "version", x->version);
    if (x->id[0]) serve_put_string(&t, "id", x->id);
    if (x->headers.traceparent && is_traceparent(x->headers.traceparent))
        serve_put_string(&t, "traceparent", x->headers.traceparent);
    if (x->headers.user_agent) serve_put_string(&t, "agent", x->headers.user_agent);
    if (!delivered) serve_put_bool(&t, "aborted", true);
    serve_put_close(&t, '}');
    tn_text_add_str(&t, "\n", 1);
    /* One write per line: lines of different threads do not mix. A full disk must not stop the server. */
    if (!t.failed && write(log->fd, t.data, t.len) < 0) errno = 0;
    tn_text_release(&t);
}
