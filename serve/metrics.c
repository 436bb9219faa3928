/* GET /metrics: Prometheus' text format (version 0.0.4). Names that begin with nv_ are Triton's, in its units. */
#include <stdio.h>
#include <unistd.h>

#include "serve/server.h"

typedef struct row {
    const serve_entry *entry;
    serve_counts counts;
    char labels[600];
} row;

typedef struct page {
    tn_text *t;
    const row *rows;
    size_t count;
} page;

/* Backslash, quote and newline are escaped in a label. */
static void escape_label(char *to, size_t size, const char *from) {
    size_t n = 0;
    for (; *from && n + 3 < size; from++) {
        if (*from == '\\' || *from == '"' || *from == '\n') to[n++] = '\\';
        to[n++] = *from == '\n' ? 'n' : *from;
    }
    to[n] = '\0';
}

static void head(page *p, const char *name, const char *type, const char *help) {
    tn_text_add(p->t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

typedef uint64_t (*get)(const serve_counts *c);
static uint64_t get_success(const serve_counts *c) { return c->count[SERVE_STAT_SUCCESS]; }
static uint64_t get_inferences(const serve_counts *c) { return c->inferences; }
static uint64_t get_executions(const serve_counts *c) { return c->executions; }
static uint64_t get_pending(const serve_counts *c) { return c->pending; }
static uint64_t get_request(const serve_counts *c) { return c->ns[SERVE_STAT_SUCCESS] / 1000; }
static uint64_t get_queue(const serve_counts *c) { return c->ns[SERVE_STAT_QUEUE] / 1000; }
static uint64_t get_input(const serve_counts *c) { return c->ns[SERVE_STAT_INPUT] / 1000; }
static uint64_t get_infer(const serve_counts *c) { return c->ns[SERVE_STAT_INFER] / 1000; }
static uint64_t get_output(const serve_counts *c) { return c->ns[SERVE_STAT_OUTPUT] / 1000; }

static const struct {
    const char *name, *type, *help;
    get get;
} simple[] = {
    {"nv_inference_request_success", "counter", "Inference requests that succeeded", get_success},
    {"nv_inference_count", "counter", "Inferences performed: rows of all requests", get_inferences},
    {"nv_inference_exec_count", "counter", "Runs of the network, each of one batch", get_executions},
    {"nv_inference_pending_request_count", "gauge", "Requests taken and not yet answered", get_pending},
    {"nv_inference_request_duration_us", "counter", "Time of requests, queue included", get_request},
    {"nv_inference_queue_duration_us", "counter", "Time spent waiting in queues", get_queue},
    {"nv_inference_compute_input_duration_us", "counter", "Time spent making inputs", get_input},
    {"nv_inference_compute_infer_duration_us", "counter", "Time spent running the network", get_infer},
    {"nv_inference_compute_output_duration_us", "counter", "Time spent taking outputs", get_output},
};

static void put_failures(page *p) {
    static const char *const reasons[] = {"OTHER", "REJECTED", "CANCELED", "BACKEND"};
    head(p, "nv_inference_request_failure", "counter", "Inference requests that failed, by reason");
    for (size_t i = 0; i < p->count; i++) {
        for (int k = 0; k < SERVE_FAILURE_COUNT; k++) {
            tn_text_add(p->t, "nv_inference_request_failure{%s,reason=\"%s\"} %llu\n", p->rows[i].labels, reasons[k],
                        (unsigned long long)p->rows[i].counts.failures[k]);
        }
    }
}

static void put_histogram(page *p, const char *name, const char *help, size_t offset) {
    head(p, name, "histogram", help);
    for (size_t i = 0; i < p->count; i++) {
        const row *r = &p->rows[i];
        const serve_histogram *h = (const serve_histogram *)(const void *)((const char *)&r->counts + offset);
        uint64_t sum = 0;
        for (int k = 0; k < SERVE_BUCKETS; k++) {
            sum += h->buckets[k];
            tn_text_add(p->t, "%s_bucket{%s,le=\"%g\"} %llu\n", name, r->labels, serve_bucket_bounds[k],
                        (unsigned long long)sum);
        }
        tn_text_add(p->t, "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %.9f\n%s_count{%s} %llu\n", name, r->labels,
                    (unsigned long long)h->count, name, r->labels, (double)h->sum_ns * 1e-9, name, r->labels,
                    (unsigned long long)h->count);
    }
}

static void put_batch_sizes(page *p) {
    head(p, "tern_batch_size", "histogram", "Rows per run of the network");
    for (size_t i = 0; i < p->count; i++) {
        const row *r = &p->rows[i];
        uint64_t sum = 0;
        for (int k = 0; k < SERVE_BATCH_BUCKETS; k++) {
            sum += r->counts.batch_buckets[k];
            tn_text_add(p->t, "tern_batch_size_bucket{%s,le=\"%d\"} %llu\n", r->labels, 1 << k,
                        (unsigned long long)sum);
        }
        tn_text_add(p->t,
                    "tern_batch_size_bucket{%s,le=\"+Inf\"} %llu\ntern_batch_size_sum{%s} %llu\n"
                    "tern_batch_size_count{%s} %llu\n",
                    r->labels, (unsigned long long)r->counts.executions, r->labels,
                    (unsigned long long)r->counts.batch_sum, r->labels, (unsigned long long)r->counts.executions);
    }
}

static unsigned long long resident_bytes(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    char line[100];
    if (!file) return 0;
    if (fgets(line, sizeof line, file)) {
        const char *second = strchr(line, ' ');
        for (second = second ? second + 1 : ""; *second >= '0' && *second <= '9'; second++)
            pages = pages * 10 + (unsigned long long)(*second - '0');
    }
    fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void put_process(page *p, const serve_server *s) {
    head(p, "tern_ready", "gauge", "1 when the server is ready for requests");
    tn_text_add(p->t, "tern_ready %d\n", !atomic_load(&s->draining) && serve_repository_ready(s->repository));
    head(p, "tern_requests_under_way", "gauge", "HTTP requests that are being received, worked on or answered");
    tn_text_add(p->t, "tern_requests_under_way %d\n", atomic_load(&s->under_way));
    head(p, "process_resident_memory_bytes", "gauge", "Resident memory of the process");
    tn_text_add(p->t, "process_resident_memory_bytes %llu\n", resident_bytes());
    head(p, "process_start_time_seconds", "gauge", "When the process started, since 1970");
    tn_text_add(p->t, "process_start_time_seconds %.3f\n", (double)s->start_ms / 1000);
    head(p, "tern_model_ready", "gauge", "1 when the version of the model is ready");
    for (size_t i = 0; i < p->count; i++)
        tn_text_add(p->t, "tern_model_ready{%s} %d\n", p->rows[i].labels, p->rows[i].entry->state == SERVE_READY);
}

static void put_all(page *p, const serve_server *s) {
    for (size_t k = 0; k < TN_COUNT(simple); k++) {
        head(p, simple[k].name, simple[k].type, simple[k].help);
        for (size_t i = 0; i < p->count; i++)
            tn_text_add(p->t, "%s{%s} %llu\n", simple[k].name, p->rows[i].labels,
                        (unsigned long long)simple[k].get(&p->rows[i].counts));
    }
    put_failures(p);
    put_histogram(p, "tern_request_duration_seconds", "Time of successful requests, queue included",
                  offsetof(serve_counts, request));
    put_histogram(p, "tern_queue_duration_seconds", "Time that successful requests waited",
                  offsetof(serve_counts, queue));
    put_batch_sizes(p);
    put_process(p, s);
}

void serve_metrics(serve_exchange *x, tn_str model, tn_str version) {
    (void)model;
    (void)version;
    serve_entry *entries;
    size_t count, n = 0;
    tern_error err;
    if (serve_repository_list(x->server->repository, &entries, &count, &err) != TERN_OK) {
        serve_failed(x, &err);
        return;
    }
    row *rows = tn_calloc(count + 1, sizeof *rows);
    for (size_t i = 0; rows && i < count; i++) {
        if (entries[i].number < 0) continue;
        char name[256];
        escape_label(name, sizeof name, entries[i].name);
        rows[n].entry = &entries[i];
        serve_stats_copy(entries[i].stats, &rows[n].counts);
        snprintf(rows[n].labels, sizeof rows[n].labels, "model=\"%s\",version=\"%lld\"", name,
                 (long long)entries[i].number);
        n++;
    }
    page p = {&x->out, rows, n};
    x->status = 200;
    x->type = "text/plain; version=0.0.4; charset=utf-8";
    if (rows) {
        put_all(&p, x->server);
    } else {
        serve_error(x, 503, "no memory");
    }
    tn_free(rows);
    serve_entries_release(entries, count);
}
