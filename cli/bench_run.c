#include "cli/bench_run.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/progress.h"
#include "kernels/probe.h"
#include "runtime/runtime.h"

enum { MAX_RUNS = 1000000, ROUNDS = 20 };

static double ms_since(uint64_t start) { return (double)(tn_clock_ns() - start) / 1e6; }

/* ---- statistics ------------------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double cli_percentile(const cli_variant *v, double p) {
    if (!v->count) return 0;
    size_t rank = (size_t)ceil(p / 100 * (double)v->count);
    return v->ms[TN_MIN(TN_MAX(rank, (size_t)1), v->count) - 1];
}

double cli_mean(const cli_variant *v) {
    double sum = 0;
    for (size_t i = 0; i < v->count; i++) sum += v->ms[i];
    return v->count ? sum / (double)v->count : 0;
}

double cli_deviation(const cli_variant *v) {
    double mean = cli_mean(v), sum = 0;
    for (size_t i = 0; i < v->count; i++) sum += (v->ms[i] - mean) * (v->ms[i] - mean);
    return v->count > 1 ? sqrt(sum / (double)(v->count - 1)) : 0;
}

const char *cli_noise(const cli_variant *v, char *buffer, size_t size) {
    double spread = v->count && v->ms[0] > 0 ? cli_percentile(v, 50) / v->ms[0] - 1 : 0;
    if (v->cpu_share > 0 && v->cpu_share < 0.9)
        snprintf(buffer, size, "other programs had %.0f %% of the time of this processor", 100 * (1 - v->cpu_share));
    else if (spread > 0.2)
        snprintf(buffer, size, "the median is %.0f %% above the minimum", 100 * spread);
    else if (v->count < 5)
        snprintf(buffer, size, "there are %zu runs only", v->count);
    else
        return NULL;
    return buffer;
}

/* ---- one stream ------------------------------------------------------------------------------------------------ */

typedef struct stream {
    cli_variant *v;
    tern_tensor **outputs;
    int n_outputs;
    int64_t runs;   /* to make; 0: until the time is over */
    double seconds; /* of this slice */
    double *ms;
    size_t count, cap;
    double thread_s; /* processor time of the calling thread */
    double wall_s;
    tern_status status;
    tern_error err;
} stream;

/* Outputs of data-dependent shape are made anew by every run; the others are written in place from the second run on.
 */
static void drop_if_not_reusable(const stream *s) {
    for (int i = 0; i < s->n_outputs; i++) {
        tern_value_info info;
        tern_error ignored;
        bool fixed = s->outputs[i] && tern_model_output(s->v->model, i, &info, &ignored) == TERN_OK &&
                     info.kind == TERN_KIND_TENSOR && info.rank >= 0 && tern_tensor_dtype(s->outputs[i]) != TERN_STRING;
        for (int d = 0; fixed && d < info.rank; d++) fixed = info.dims[d] >= 0;
        if (fixed) continue;
        tern_tensor_free(s->outputs[i]);
        s->outputs[i] = NULL;
    }
}

static double thread_seconds(void) {
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? (double)t.tv_sec + (double)t.tv_nsec * 1e-9 : 0;
}

static tern_status run_once(stream *s, double *ms) {
    drop_if_not_reusable(s);
    uint64_t start = tn_clock_ns();
    tern_status status = tern_session_run(s->v->session, s->v->in.feeds, s->v->in.count, NULL, s->outputs,
                                          (size_t)s->n_outputs, &s->err);
    *ms = ms_since(start);
    return status;
}

static void *run_slice(void *context) {
    stream *s = context;
    uint64_t start = tn_clock_ns();
    double cpu = thread_seconds();
    for (int64_t i = 0; s->status == TERN_OK && s->count < MAX_RUNS; i++) {
        double ms;
        if (s->runs ? i >= s->runs : i > 0 && ms_since(start) >= s->seconds * 1000) break;
        s->status = run_once(s, &ms);
        if (!tn_grow(&s->ms, &s->cap, s->count + 1, sizeof *s->ms)) cli_must(NULL);
        s->ms[s->count++] = ms;
    }
    s->thread_s += thread_seconds() - cpu;
    s->wall_s += ms_since(start) / 1000;
    return NULL;
}

/* ---- turns ----------------------------------------------------------------------------------------------------- */

static tern_status run_streams(stream *streams, int64_t count, int64_t runs, double seconds, tern_error *err) {
    pthread_t *threads = cli_must(calloc((size_t)count, sizeof *threads));
    int64_t started = 0;
    for (int64_t i = 0; i < count; i++) {
        streams[i].runs = runs;
        streams[i].seconds = seconds;
    }
    for (int64_t i = 1; i < count && pthread_create(&threads[i], NULL, run_slice, &streams[i]) == 0; i++) started = i;
    bool all = started == count - 1;
    if (all) run_slice(&streams[0]); /* the first one on this thread: alone, nothing is started */
    for (int64_t i = 1; i <= started; i++) pthread_join(threads[i], NULL);
    free(threads);
    if (!all) return tn_fail(err, TERN_INTERNAL, "%lld threads can not be started", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        if (streams[i].status == TERN_OK) continue;
        *err = streams[i].err;
        return streams[i].status;
    }
    return TERN_OK;
}

static stream *make_streams(cli_variant *v, int64_t count) {
    stream *list = cli_must(calloc((size_t)count, sizeof *list));
    for (int64_t i = 0; i < count; i++) {
        list[i].v = v;
        list[i].n_outputs = tern_model_output_count(v->model);
        list[i].outputs = cli_must(calloc((size_t)list[i].n_outputs + 1, sizeof *list[i].outputs));
    }
    return list;
}

static void free_streams(stream *list, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        for (int k = 0; k < list[i].n_outputs; k++) tern_tensor_free(list[i].outputs[k]);
        free(list[i].outputs);
        tn_free(list[i].ms);
    }
    free(list);
}

static void probe(cli_variant *v, int64_t streams) {
    int threads = (int)TN_MIN(v->threads * streams, (int64_t)tn_cpu_get_system()->logical_cores);
    v->peak_gflops = TN_MAX(v->peak_gflops, tn_probe_gflops((tern_cpu_tier)v->tier, threads));
}

/* What the streams measured becomes the variant's. */
static void collect(cli_variant *v, const stream *streams, int64_t count) {
    double cpu = 0, wall = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!tn_grow(&v->ms, &v->cap, v->count + streams[i].count, sizeof *v->ms)) cli_must(NULL);
        if (streams[i].count) memcpy(v->ms + v->count, streams[i].ms, streams[i].count * sizeof *v->ms);
        v->count += streams[i].count;
        cpu += streams[i].thread_s;
        wall += streams[i].wall_s;
        v->wall_s = TN_MAX(v->wall_s, streams[i].wall_s);
    }
    /* More streams than processors wait for each other, not for other programs. */
    bool room = count <= tn_cpu_get_system()->logical_cores;
    if (v->threads == 1 && wall > 0 && room) v->cpu_share = cpu / wall;
    if (v->count) qsort(v->ms, v->count, sizeof *v->ms, by_value);
}

tern_status cli_bench_measure(cli_variant *variants, size_t count, const cli_bench_plan *plan, tern_error *err) {
    stream **streams = cli_must(calloc(count, sizeof *streams));
    tern_status status = TERN_OK;
    for (size_t i = 0; i < count; i++) {
        streams[i] = make_streams(&variants[i], plan->streams);
        probe(&variants[i], plan->streams);
    }
    for (size_t i = 0; i < count && status == TERN_OK && plan->warmup; i++) {
        status = run_streams(streams[i], plan->streams, plan->warmup, 0, err);
        for (int64_t k = 0; k < plan->streams; k++)
            streams[i][k].count = 0, streams[i][k].thread_s = 0, streams[i][k].wall_s = 0;
    }
    /* With one run a turn, two variants meet the same noise; with time for turns, short runs do not pay for turning. */
    int64_t rounds = plan->iterations ? (count > 1 ? plan->iterations : TN_MIN(plan->iterations, ROUNDS)) : ROUNDS;
    cli_progress bar;
    cli_progress_begin(&bar, "bench", rounds);
    uint64_t start = tn_clock_ns();
    for (int64_t r = 0; r < rounds && status == TERN_OK; r++) {
        if (!plan->iterations && r > 0 && ms_since(start) >= plan->seconds * 1000) break; /* runs longer than a turn */
        int64_t runs = plan->iterations * (r + 1) / rounds - plan->iterations * r / rounds;
        for (size_t i = 0; i < count && status == TERN_OK; i++)
            status = run_streams(streams[i], plan->streams, runs, plan->seconds / (double)rounds / (double)count, err);
        cli_progress_step(&bar, 1);
    }
    cli_progress_clear(&bar);
    for (size_t i = 0; i < count; i++) {
        probe(&variants[i], plan->streams);
        collect(&variants[i], streams[i], plan->streams);
        free_streams(streams[i], plan->streams);
    }
    free(streams);
    return status;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

static tern_status look_at_plan(cli_variant *v, tern_error *err) {
    tn_cached_plan *cached;
    TN_TRY(tn_session_plan(v->session, v->session->model->graph, v->in.tensors, (int)v->in.count, &cached, err));
    const tn_plan *p = cached->plan;
    for (int i = 0; i < p->n_steps; i++) v->macs += p->steps[i].macs;
    v->planned_bytes = p->arena_bytes + p->workspace_bytes;
    tn_session_release_plan(v->session, cached, NULL);
    return TERN_OK;
}

tern_status cli_variant_open(cli_variant *v, const cli_bench_plan *plan, tern_error *err) {
    tern_options options = plan->options;
    cli_input_options inputs = plan->inputs;
    options.threads = v->threads;
    options.optimize = v->optimize;
    options.precision = (tern_precision)v->precision;
    options.tune = v->tune;
    inputs.batch = v->batch;
    tern_cpu_tier before = tern_cpu_get_tier();
    TN_TRY(tern_cpu_set_mask((tern_cpu_tier)v->tier, err));
    uint64_t start = tn_clock_ns();
    tern_status status = tern_model_load(&v->model, v->path, NULL, err);
    if (status == TERN_OK) status = tern_session_create(&v->session, v->model, &options, err);
    v->load_ms = ms_since(start);
    if (status == TERN_OK && (status = cli_inputs_make(&v->in, v->model, &inputs, err)) != TERN_OK)
        tn_error_prefix(err, "%s: ", v->path);
    stream *first = status == TERN_OK ? make_streams(v, 1) : NULL;
    if (first && (status = run_once(first, &v->first_ms)) != TERN_OK) *err = first->err;
    if (first) free_streams(first, 1);
    if (status == TERN_OK) status = look_at_plan(v, err);
    tern_error ignored;
    tern_cpu_set_mask(before, &ignored); /* it was in force: it is there */
    return status;
}

void cli_variant_close(cli_variant *v) {
    tn_free(v->ms);
    cli_inputs_release(&v->in);
    tern_session_free(v->session);
    tern_model_free(v->model);
}
