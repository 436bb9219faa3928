/* tern bench: how fast a model runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cpu/cpu.h"

typedef struct bench_args {
    cli_common common;
    cli_strings inputs, shapes;
    int64_t iterations, warmup;
    double seconds;
} bench_args;

typedef struct timings {
    double *ms;
    size_t count, cap;
    double load_ms, first_ms, sum_ms;
} timings;

enum { MAX_RUNS = 1000000 };

static double ms_since(uint64_t start) { return (double)(tn_clock_ns() - start) / 1e6; }

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Nearest-rank percentile of sorted times. */
static double percentile(const timings *t, double p) {
    size_t i = (size_t)(p / 100 * (double)t->count);
    return t->ms[TN_MIN(i, t->count - 1)];
}

static double peak_rss_mb(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss / 1024 : 0;
}

static tern_status run_once(tern_session *session, const cli_inputs *in, tern_tensor **outputs, size_t n, double *ms,
                            tern_error *err) {
    uint64_t start = tn_clock_ns();
    tern_status s = tern_session_run(session, in->feeds, in->count, NULL, outputs, n, err);
    *ms = ms_since(start);
    return s;
}

/* Outputs of data-dependent shape are made anew by every run; the others are written in place from the second run on.
 */
static void drop_if_not_reusable(const tern_model *model, tern_tensor **outputs, int n) {
    for (int i = 0; i < n; i++) {
        tern_value_info info;
        tern_error ignored;
        bool fixed = tern_model_output(model, i, &info, &ignored) == TERN_OK && info.kind == TERN_KIND_TENSOR &&
                     info.rank >= 0 && tern_tensor_dtype(outputs[i]) != TERN_STRING;
        for (int d = 0; fixed && d < info.rank; d++) fixed = info.dims[d] >= 0;
        if (fixed) continue;
        tern_tensor_free(outputs[i]);
        outputs[i] = NULL;
    }
}

static tern_status measure(const bench_args *a, const tern_model *model, tern_session *session, const cli_inputs *in,
                           timings *t, tern_error *err) {
    int n = tern_model_output_count(model);
    tern_tensor **outputs = cli_must(calloc((size_t)n + 1, sizeof *outputs));
    double ms;
    tern_status s = run_once(session, in, outputs, (size_t)n, &t->first_ms, err);
    for (int64_t i = 0; s == TERN_OK && i < a->warmup; i++) {
        drop_if_not_reusable(model, outputs, n);
        s = run_once(session, in, outputs, (size_t)n, &ms, err);
    }
    cli_progress bar;
    cli_progress_begin(&bar, "bench", a->iterations ? a->iterations : 100);
    uint64_t start = tn_clock_ns();
    int64_t shown = 0;
    while (s == TERN_OK && t->count < MAX_RUNS) {
        double elapsed = ms_since(start) / 1000;
        if (a->iterations ? (int64_t)t->count >= a->iterations : t->count > 0 && elapsed >= a->seconds) break;
        int64_t now = a->iterations ? (int64_t)t->count : (int64_t)(elapsed / a->seconds * 100);
        if (now > shown) cli_progress_step(&bar, now - shown);
        shown = TN_MAX(shown, now);
        drop_if_not_reusable(model, outputs, n);
        s = run_once(session, in, outputs, (size_t)n, &ms, err);
        if (!tn_grow(&t->ms, &t->cap, t->count + 1, sizeof *t->ms)) cli_must(NULL);
        t->ms[t->count++] = ms;
        t->sum_ms += ms;
    }
    cli_progress_clear(&bar);
    for (int i = 0; i < n; i++) tern_tensor_free(outputs[i]);
    free(outputs);
    return s;
}

static int64_t threads_of(const cli_common *c) { return c->threads ? c->threads : tn_cpu_get_info()->physical_cores; }

static void print_json(const bench_args *a, const char *model, const timings *t) {
    cJSON *o = cli_json_object(NULL, NULL);
    cli_json_string(o, "model", model);
    cli_json_int(o, "threads", threads_of(&a->common));
    cli_json_string(o, "cpu", tern_cpu_tier_name(tern_cpu_get_tier()));
    cli_json_int(o, "runs", (int64_t)t->count);
    cli_json_double(o, "min_ms", t->ms[0]);
    cli_json_double(o, "median_ms", percentile(t, 50));
    cli_json_double(o, "mean_ms", t->sum_ms / (double)t->count);
    cli_json_double(o, "p99_ms", percentile(t, 99));
    cli_json_double(o, "load_ms", t->load_ms);
    cli_json_double(o, "first_ms", t->first_ms);
    cli_json_double(o, "peak_rss_mb", peak_rss_mb());
    cli_json_print(o);
}

static void print_text(const bench_args *a, const char *model, const timings *t) {
    printf("%s: %zu runs, %lld thread%s, %s\n", model, t->count, (long long)threads_of(&a->common),
           threads_of(&a->common) == 1 ? "" : "s", tern_cpu_tier_name(tern_cpu_get_tier()));
    printf("  min %.3f ms, median %.3f ms, mean %.3f ms, p99 %.3f ms\n", t->ms[0], percentile(t, 50),
           t->sum_ms / (double)t->count, percentile(t, 99));
    printf("  load %.1f ms, first run %.1f ms, peak memory %.1f MB\n", t->load_ms, t->first_ms, peak_rss_mb());
}

static int run(void *args, char **operands, int count) {
    const bench_args *a = args;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_error err;
    cli_inputs in = {0};
    timings t = {0};
    (void)count;
    cli_input_options io = {.files = &a->inputs, .shapes = &a->shapes, .fill = CLI_FILL_RANDOM, .free_dim = 1};
    tern_options options = cli_session_options(&a->common);
    uint64_t start = tn_clock_ns();
    tern_status s = tern_model_load(&model, operands[0], NULL, &err);
    if (s == TERN_OK) s = tern_session_create(&session, model, &options, &err);
    t.load_ms = ms_since(start);
    if (s == TERN_OK && (s = cli_inputs_make(&in, model, &io, &err)) != TERN_OK)
        tn_error_prefix(&err, "%s: ", operands[0]);
    if (s == TERN_OK) s = measure(a, model, session, &in, &t, &err);
    if (s == TERN_OK) {
        qsort(t.ms, t.count, sizeof *t.ms, by_value);
        if (a->common.json)
            print_json(a, operands[0], &t);
        else
            print_text(a, operands[0], &t);
    }
    tn_free(t.ms);
    cli_inputs_release(&in);
    tern_session_free(session);
    tern_model_free(model);
    return s == TERN_OK ? CLI_OK : cli_fail(&err);
}

static void defaults(void *args) {
    bench_args *a = args;
    a->seconds = 3;
    a->warmup = 3;
}

static const cli_option options[] = {
    {"iterations", 'n', CLI_INT, "N", "run N times", offsetof(bench_args, iterations), .min = 1, .max = MAX_RUNS},
    {"seconds", 0, CLI_REAL, "S", "run for S seconds when --iterations is not given (default: 3)",
     offsetof(bench_args, seconds), .min = 0.001, .max = 86400},
    {"warmup", 'w', CLI_INT, "N", "runs before measuring, besides the first (default: 3)", offsetof(bench_args, warmup),
     .min = 0, .max = MAX_RUNS},
    {"input", 'i', CLI_STRINGS, "NAME=FILE", "an input from a .npy, .pb or .bin file instead of random numbers",
     offsetof(bench_args, inputs), .min = 0},
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224", "shape of an input; free dims are 1 otherwise",
     offsetof(bench_args, shapes), .min = 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_NO_FUSE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern bench net.onnx --threads 1", "tern bench net.onnx --iterations 100 --json",
                                       "tern bench net.onnx --shape images=1x3x320x320 --seconds 10", NULL};

const cli_command cli_cmd_bench = {
    .name = "bench",
    .summary = "measure how fast a model loads and runs",
    .operands = "MODEL",
    .description =
        "Inputs are random numbers in [-1, 1). `load` is reading, optimising and planning; `first run` is the\n"
        "first inference. The minimum is the time to compare; the median is what a user sees.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model can not be read or run",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(bench_args),
    .defaults = defaults,
    .run = run,
};
