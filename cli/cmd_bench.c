/* tern bench: how fast a model runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/base.h"
#include "cli/bench_run.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cpu/cpu.h"

typedef struct bench_args {
    cli_common common;
    cli_strings inputs, shapes, vary;
    cli_ints threads;
    int64_t iterations, warmup, streams, batch;
    double seconds;
    const char *compare;
} bench_args;

enum { MAX_RUNS = 1000000, MAX_VARIANTS = 64 };

extern const cli_command cli_cmd_bench;

/* ---- what is measured ------------------------------------------------------------------------------------------ */

typedef struct variants {
    cli_variant list[MAX_VARIANTS];
    size_t count;
} variants;

static cli_variant base_variant(const bench_args *a, const char *path) {
    int64_t threads = a->threads.count ? a->threads.values[0] : tn_cpu_get_system()->physical_cores;
    return (cli_variant){.path = path,
                         .threads = (int)threads,
                         .tier = (int)tern_cpu_get_tier(),
                         .optimize = a->common.optimize,
                         .precision = a->common.precision,
                         .tune = a->common.tune || a->common.tune_cache,
                         .batch = a->batch};
}

/* "threads=2", "batch=8", "cpu=avx2", "precision=bf16", "tune", "no-fuse". */
static bool apply_setting(cli_variant *v, const char *text) {
    const char *value = strchr(text, '=');
    size_t n = value ? (size_t)(value - text) : strlen(text);
    char *end = NULL;
    long number = value ? strtol(value + 1, &end, 10) : 0;
    bool good = value && *end == '\0' && end != value + 1 && number >= 1;
    if (n == 7 && strncmp(text, "threads", n) == 0 && good && number <= 1024) {
        v->threads = (int)number;
    } else if (n == 5 && strncmp(text, "batch", n) == 0 && good && number <= 1000000) {
        v->batch = number;
    } else if (strcmp(text, "tune") == 0) {
        v->tune = true;
    } else if (strcmp(text, "no-fuse") == 0) {
        v->optimize = false;
    } else if (n == 9 && strncmp(text, "precision", n) == 0 && value) {
        v->precision = strcmp(value + 1, "bf16") == 0 ? TERN_PRECISION_BF16 : TERN_PRECISION_F32;
        return v->precision == TERN_PRECISION_BF16 || strcmp(value + 1, "f32") == 0;
    } else if (n == 3 && strncmp(text, "cpu", n) == 0 && value) {
        tern_cpu_tier tier;
        if (tn_cpu_tier_parse(value + 1, &tier, NULL) != TERN_OK) return false;
        v->tier = (int)tier;
    } else {
        return false;
    }
    return true;
}

static int add_variant(variants *all, cli_variant v) {
    if (all->count == MAX_VARIANTS)
        return cli_usage_error(&cli_cmd_bench, "at most %d variants are measured at once", (int)MAX_VARIANTS);
    all->list[all->count++] = v;
    return CLI_OK;
}

/* Every number of threads for each model, then what --vary asks for. */
static int list_variants(const bench_args *a, const char *path, variants *all) {
    const char *paths[] = {path, a->compare};
    int code = CLI_OK;
    for (size_t t = 0; t < TN_MAX(a->threads.count, (size_t)1) && code == CLI_OK; t++) {
        for (size_t m = 0; m < (a->compare ? 2u : 1u) && code == CLI_OK; m++) {
            cli_variant v = base_variant(a, paths[m]);
            if (a->threads.count) v.threads = (int)a->threads.values[t];
            code = add_variant(all, v);
        }
    }
    for (size_t i = 0; i < a->vary.count && code == CLI_OK; i++) {
        cli_variant v = base_variant(a, path);
        if (!apply_setting(&v, a->vary.items[i]))
            return cli_usage_error(&cli_cmd_bench,
                                   "--vary wants threads=N, batch=N, cpu=TIER, precision=P, tune or no-fuse, not '%s'",
                                   a->vary.items[i]);
        code = add_variant(all, v);
    }
    return code;
}

static void label(cli_variant *v, int64_t streams) {
    char batch[40] = "", more[40] = "";
    if (v->batch) snprintf(batch, sizeof batch, ", batch %lld", (long long)v->batch);
    if (streams > 1) snprintf(more, sizeof more, ", %lld streams", (long long)streams);
    snprintf(v->label, sizeof v->label, "%d thread%s, %s%s%s%s%s%s", v->threads, v->threads == 1 ? "" : "s",
             tern_cpu_tier_name((tern_cpu_tier)v->tier), v->precision ? ", bf16" : "", v->optimize ? "" : ", not fused",
             v->tune ? ", tuned" : "", batch, more);
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static double peak_rss_mb(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss / 1024 : 0;
}

/* Runs of the batch a second. */
static double throughput(const cli_variant *v) {
    return v->wall_s > 0 ? (double)v->count / v->wall_s * (double)TN_MAX(v->batch, (int64_t)1) : 0;
}

/* 1e9 floating-point operations a second: in the median run, or of all streams together. */
static double gflops(const cli_variant *v, int64_t streams) {
    double seconds = streams > 1 && v->count ? v->wall_s / (double)v->count : cli_percentile(v, 50) / 1e3;
    return seconds > 0 ? 2 * (double)v->macs / seconds * 1e-9 : 0;
}

static void add_json(cJSON *o, const bench_args *a, const cli_variant *v) {
    char noise[200];
    cli_json_string(o, "model", v->path);
    cli_json_int(o, "threads", v->threads);
    cli_json_string(o, "cpu", tern_cpu_tier_name((tern_cpu_tier)v->tier));
    cli_json_string(o, "precision", v->precision ? "bf16" : "f32");
    cli_json_bool(o, "fused", v->optimize);
    cli_json_bool(o, "tuned", v->tune);
    cli_json_int(o, "streams", a->streams);
    cli_json_int(o, "batch", TN_MAX(v->batch, (int64_t)1));
    cli_json_int(o, "runs", (int64_t)v->count);
    cli_json_double(o, "min_ms", cli_percentile(v, 0));
    cli_json_double(o, "median_ms", cli_percentile(v, 50));
    cli_json_double(o, "mean_ms", cli_mean(v));
    cli_json_double(o, "p90_ms", cli_percentile(v, 90));
    cli_json_double(o, "p99_ms", cli_percentile(v, 99));
    cli_json_double(o, "std_ms", cli_deviation(v));
    cli_json_double(o, "throughput", throughput(v));
    cli_json_double(o, "load_ms", v->load_ms);
    cli_json_double(o, "first_ms", v->first_ms);
    cli_json_int(o, "planned_bytes", (int64_t)v->planned_bytes);
    cli_json_int(o, "macs", v->macs);
    cli_json_double(o, "gflops", gflops(v, a->streams));
    cli_json_double(o, "peak_gflops", v->peak_gflops);
    cli_json_double(o, "percent_of_peak", v->peak_gflops > 0 ? 100 * gflops(v, a->streams) / v->peak_gflops : 0);
    cli_json_string(o, "noise", cli_noise(v, noise, sizeof noise));
}

static void print_json(const bench_args *a, const variants *all) {
    cJSON *root = cli_json_object(NULL, NULL);
    if (all->count == 1) {
        add_json(root, a, &all->list[0]);
    } else {
        cJSON *list = cli_json_array(root, "variants");
        for (size_t i = 0; i < all->count; i++) add_json(cli_json_object(list, NULL), a, &all->list[i]);
    }
    cli_json_double(root, "peak_rss_mb", peak_rss_mb());
    cli_json_print(root);
}

static void print_text(const bench_args *a, const cli_variant *v, const cli_variant *first) {
    char noise[200];
    printf("%s: %zu runs, %s\n", v->path, v->count, v->label);
    printf("  min %.3f ms, median %.3f ms, mean %.3f ms, p90 %.3f ms, p99 %.3f ms, std %.3f ms\n", cli_percentile(v, 0),
           cli_percentile(v, 50), cli_mean(v), cli_percentile(v, 90), cli_percentile(v, 99), cli_deviation(v));
    printf("  throughput %.1f/s", throughput(v));
    if (v->macs)
        printf(", %.1f GFLOP/s, %.0f %% of the %.0f that this machine reached", gflops(v, a->streams),
               v->peak_gflops > 0 ? 100 * gflops(v, a->streams) / v->peak_gflops : 0, v->peak_gflops);
    printf("\n  load %.1f ms, first run %.1f ms, %.2f MB planned for values\n", v->load_ms, v->first_ms,
           (double)v->planned_bytes / 1e6);
    if (cli_noise(v, noise, sizeof noise)) printf("  noisy, do not trust these times: %s\n", noise);
    if (v != first && cli_percentile(v, 50) > 0)
        printf("  %.2f times the speed of the first (minimum %.2f)\n",
               cli_percentile(first, 50) / cli_percentile(v, 50), cli_percentile(first, 0) / cli_percentile(v, 0));
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static int run(void *args, char **operands, int count) {
    const bench_args *a = args;
    variants all = {.count = 0};
    (void)count;
    int code = list_variants(a, operands[0], &all);
    if (code != CLI_OK) return code;
    cli_bench_plan plan = {
        .iterations = a->iterations,
        .warmup = a->warmup,
        .seconds = a->seconds,
        .streams = a->streams,
        .options = cli_session_options(&a->common),
        .inputs = {.files = &a->inputs, .shapes = &a->shapes, .fill = CLI_FILL_RANDOM, .free_dim = 1}};
    tern_error err;
    tern_status s = TERN_OK;
    for (size_t i = 0; i < all.count && s == TERN_OK; i++) {
        label(&all.list[i], a->streams);
        s = cli_variant_open(&all.list[i], &plan, &err);
    }
    if (s == TERN_OK) s = cli_bench_measure(all.list, all.count, &plan, &err);
    if (s == TERN_OK && a->common.json) print_json(a, &all);
    for (size_t i = 0; i < all.count && s == TERN_OK && !a->common.json; i++) print_text(a, &all.list[i], &all.list[0]);
    if (s == TERN_OK && !a->common.json) printf("  peak memory of the process %.1f MB\n", peak_rss_mb());
    for (size_t i = 0; i < all.count; i++) cli_variant_close(&all.list[i]);
    return s == TERN_OK ? CLI_OK : cli_fail(&err);
}

static void defaults(void *args) {
    bench_args *a = args;
    a->seconds = 3;
    a->warmup = 3;
    a->streams = 1;
}

static const cli_option options[] = {
    {"iterations", 'n', CLI_INT, "N", "run N times (each variant, each stream)", offsetof(bench_args, iterations),
     .min = 1, .max = MAX_RUNS},
    {"seconds", 0, CLI_REAL, "S", "run for S seconds in all when --iterations is not given (default: 3)",
     offsetof(bench_args, seconds), .min = 0.001, .max = 86400},
    {"warmup", 'w', CLI_INT, "N", "runs before measuring, besides the first (default: 3)", offsetof(bench_args, warmup),
     .min = 0, .max = MAX_RUNS},
    {"threads", 't', CLI_INTS, "N,N...",
     "measure with each of these numbers of threads (default: one per physical core)", offsetof(bench_args, threads),
     .min = 1, .max = 1024},
    {"streams", 0, CLI_INT, "N", "so many independent requests at once, each with its own threads (default: 1)",
     offsetof(bench_args, streams), .min = 1, .max = 256},
    {"batch", 'b', CLI_INT, "N", "size of the first dim of the inputs, where it is free", offsetof(bench_args, batch),
     .min = 1, .max = 1000000},
    {"compare", 0, CLI_STRING, "MODEL", "measure this model, too, in turns", offsetof(bench_args, compare), .min = 0},
    {"vary", 0, CLI_STRINGS, "SETTING",
     "measure MODEL with another setting, too, in turns: threads=N, batch=N, cpu=TIER, precision=P, tune or "
     "no-fuse",
     offsetof(bench_args, vary), .min = 0},
    {"input", 'i', CLI_STRINGS, "NAME=FILE", "an input from a file (see tern run) instead of random numbers",
     offsetof(bench_args, inputs), .min = 0},
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224", "shape of an input; free dims are 1 otherwise",
     offsetof(bench_args, shapes), .min = 0},
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_MEMORY_LIMIT,
    CLI_OPT_TUNE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern bench net.onnx --threads 1,2,4",
                                       "tern bench net.onnx --iterations 100 --json",
                                       "tern bench net.onnx --shape images=1x3x320x320 --seconds 10",
                                       "tern bench net.onnx --threads 1 --compare other.onnx",
                                       "tern bench net.onnx --threads 1 --vary cpu=avx2 --vary no-fuse",
                                       "tern bench net.onnx --threads 1 --streams 4 --batch 8",
                                       NULL};

const cli_command cli_cmd_bench = {
    .name = "bench",
    .summary = "measure how fast a model loads and runs",
    .operands = "MODEL",
    .description =
        "Inputs are random numbers in [-1, 1). `load` is reading, optimising and planning; `first run` is the\n"
        "first inference. The minimum is the time to compare; the median is what a user sees. GFLOP/s count a\n"
        "multiply-accumulate as two operations of direct convolution, whatever the algorithm, in the median run; the\n"
        "peak is measured before and after with multiply-adds that touch registers only. Several variants take\n"
        "turns, so that what else the machine does meets all of them.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "a model can not be read or run",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(bench_args),
    .defaults = defaults,
    .run = run,
};
