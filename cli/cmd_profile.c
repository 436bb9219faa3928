/* tern profile: where the time of a run goes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "kernels/probe.h"

typedef struct profile_args {
    cli_common common;
    cli_strings inputs, shapes;
    int64_t iterations, warmup, batch, top;
    double seconds;
    int sort;
    const char *trace, *html;
} profile_args;

enum { MAX_RUNS = 1000000, TRACE_RUNS = 20, SORT_TIME = 0 };

/* ---- measuring ------------------------------------------------------------------------------------------------- */

static tern_status run_once(tern_session *session, const tern_model *model, const cli_inputs *in, uint64_t *ns,
                            tern_error *err) {
    int n = tern_model_output_count(model);
    tern_tensor **outputs = cli_must(calloc((size_t)n + 1, sizeof *outputs));
    uint64_t start = tn_clock_ns();
    tern_status s = tern_session_run(session, in->feeds, in->count, NULL, outputs, (size_t)n, err);
    *ns = tn_clock_ns() - start;
    for (int i = 0; i < n; i++) tern_tensor_free(outputs[i]);
    free(outputs);
    return s;
}

static tern_status measure(const profile_args *a, tern_session *session, const tern_model *model, const cli_inputs *in,
                           cli_profile *p, tern_error *err) {
    uint64_t ns;
    for (int64_t i = 0; i <= a->warmup; i++) TN_TRY(run_once(session, model, in, &ns, err));
    cli_profile_watch(p, session);
    cli_progress bar;
    cli_progress_begin(&bar, "profile", a->iterations ? a->iterations : 100);
    uint64_t start = tn_clock_ns();
    int64_t shown = 0;
    while (p->runs < MAX_RUNS) {
        double elapsed = (double)(tn_clock_ns() - start) * 1e-9;
        if (a->iterations ? p->runs >= a->iterations : p->runs > 0 && elapsed >= a->seconds) break;
        int64_t now = a->iterations ? p->runs : (int64_t)(elapsed / a->seconds * 100);
        if (now > shown) cli_progress_step(&bar, now - shown);
        shown = TN_MAX(shown, now);
        p->record = a->trace && p->runs < TRACE_RUNS;
        TN_TRY(run_once(session, model, in, &ns, err));
        p->run_ns += ns;
        p->runs++;
    }
    cli_progress_clear(&bar);
    session->observe = NULL;
    return TERN_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

static int more_time(const void *a, const void *b) {
    const cli_profile_row *x = *(cli_profile_row *const *)a, *y = *(cli_profile_row *const *)b;
    if (x->total_ns != y->total_ns) return x->total_ns < y->total_ns ? 1 : -1;
    return x < y ? -1 : x > y;
}

/* Rows of one type added up; macs and bytes of all calls. */
static cli_profile_row *sum_types(const cli_profile *p, size_t *count) {
    cli_profile_row *sums = cli_must(calloc(p->n_rows + 1, sizeof *sums));
    *count = 0;
    for (size_t i = 0; i < p->n_rows; i++) {
        const cli_profile_row *r = &p->rows[i];
        size_t k = 0;
        while (k < *count && (sums[k].inner != r->inner || strcmp(sums[k].node->op_type, r->node->op_type) != 0)) k++;
        if (k == *count) sums[(*count)++] = (cli_profile_row){.node = r->node, .inner = r->inner};
        sums[k].calls += r->calls;
        sums[k].total_ns += r->total_ns;
        sums[k].macs += r->macs * r->calls;
        sums[k].bytes += r->bytes * r->calls;
        sums[k].nodes++;
    }
    for (size_t k = 0; k < *count; k++) {
        if (!sums[k].calls) continue;
        sums[k].macs /= sums[k].calls;
        sums[k].bytes /= sums[k].calls;
    }
    return sums;
}

static cli_profile_row **sorted(cli_profile_row *rows, size_t count, bool by_time) {
    cli_profile_row **list = cli_must(calloc(count + 1, sizeof *list));
    for (size_t i = 0; i < count; i++) list[i] = &rows[i];
    if (by_time && count) qsort(list, count, sizeof *list, more_time);
    return list;
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

static void print_rate(const cli_profile *p, const cli_profile_row *r) {
    if (r->macs)
        printf(" %8.1f %6.0f", cli_profile_gflops(r), cli_profile_peak_share(p, r));
    else
        printf(" %8s %6s", "-", "-");
    if (r->bytes)
        printf(" %7.1f %6.0f", cli_profile_gbytes(r), cli_profile_roof_share(p, r));
    else
        printf(" %7s %6s", "-", "-");
}

static void print_types(const cli_profile *p) {
    size_t count;
    cli_profile_row *sums = sum_types(p, &count), **list = sorted(sums, count, true);
    printf("\n%-24s %6s %7s %9s %6s %8s %6s %7s %6s\n", "type", "nodes", "calls", "ms", "%", "GFLOP/s", "% peak",
           "GB/s", "% roof");
    for (size_t i = 0; i < count; i++) {
        const cli_profile_row *r = list[i];
        char name[64];
        snprintf(name, sizeof name, "%s%.30s", r->inner ? "  in a subgraph: " : "", r->node->op_type);
        printf("%-24s %6" PRId64 " %7.6g %9.4f %6.1f", name, r->nodes, (double)r->calls / (double)p->runs,
               cli_profile_ms(p, r), cli_profile_share(p, r));
        print_rate(p, r);
        printf("\n");
    }
    free(list);
    free(sums);
}

static void print_node(const cli_profile *p, const cli_profile_row *r) {
    printf("%9.4f %6.1f", cli_profile_ms(p, r), cli_profile_share(p, r));
    print_rate(p, r);
    printf("  %s%s", r->inner ? "  in a subgraph: " : "", r->node->op_type);
    if (r->node->fused) printf(" + %s", r->node->fused);
    printf(" '");
    cli_print_name(*r->node->name ? r->node->name : r->node->out[0] ? r->node->out[0]->name : "");
    printf("' %s [%s]", r->shapes, r->kernel ? r->kernel : "portable");
    if (r->calls != p->runs) printf(" %.6g calls", (double)r->calls / (double)p->runs);
    printf("\n");
}

static void print_slow(const cli_profile *p) {
    cli_profile_row **list = sorted(p->rows, p->n_rows, true);
    bool any = false;
    printf("\nabove %d %% of the time below %d %% of the peak:", CLI_SLOW_TIME, CLI_SLOW_PEAK);
    for (size_t i = 0; i < p->n_rows; i++) {
        if (!cli_profile_is_slow(p, list[i])) continue;
        if (!any) printf("\n");
        any = true;
        print_node(p, list[i]);
    }
    if (!any) printf(" no layer\n");
    free(list);
}

static void print_nodes(const profile_args *a, const cli_profile *p) {
    cli_profile_row **list = sorted(p->rows, p->n_rows, a->sort == SORT_TIME);
    size_t shown = a->top ? TN_MIN(p->n_rows, (size_t)a->top) : p->n_rows;
    printf("\n%9s %6s %8s %6s %7s %6s  %s\n", "ms", "%", "GFLOP/s", "% peak", "GB/s", "% roof", "node");
    for (size_t i = 0; i < shown; i++) print_node(p, list[i]);
    if (shown < p->n_rows) printf("... and %zu more (--top 0 shows all)\n", p->n_rows - shown);
    free(list);
}

static void print_text(const profile_args *a, const char *setting, const cli_profile *p) {
    double ms = (double)p->run_ns / (double)p->runs * 1e-6, steps = (double)p->step_ns / (double)p->runs * 1e-6;
    printf("%s\n", setting);
    printf("  %.3f ms a run (mean of %" PRId64 "): %.3f ms in %zu steps, %.3f ms (%.1f %%) between them\n", ms, p->runs,
           steps, p->n_rows, ms - steps, ms > 0 ? 100 * (ms - steps) / ms : 0);
    printf("  this machine reaches %.1f GFLOP/s and %.1f GB/s with these threads\n", p->peak_gflops, p->peak_gbytes);
    print_types(p);
    print_nodes(a, p);
    print_slow(p);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void json_row(cJSON *list, const cli_profile *p, const cli_profile_row *r) {
    cJSON *o = cli_json_object(list, NULL);
    cli_json_string(o, "name", r->node->name);
    cli_json_string(o, "op_type", r->node->op_type);
    cli_json_string(o, "fused", r->node->fused);
    cli_json_string(o, "kernel", r->kernel);
    cli_json_string(o, "shapes", r->shapes);
    cli_json_bool(o, "in_subgraph", r->inner);
    cli_json_double(o, "calls", (double)r->calls / (double)p->runs);
    cli_json_double(o, "ms", cli_profile_ms(p, r));
    cli_json_double(o, "min_ms", (double)r->min_ns * 1e-6);
    cli_json_double(o, "percent", cli_profile_share(p, r));
    cli_json_int(o, "macs", r->macs);
    cli_json_int(o, "bytes", r->bytes);
    cli_json_double(o, "gflops", cli_profile_gflops(r));
    cli_json_double(o, "gbytes_per_s", cli_profile_gbytes(r));
    cli_json_double(o, "percent_of_roof", cli_profile_roof_share(p, r));
    cli_json_double(o, "percent_of_peak", cli_profile_peak_share(p, r));
    cli_json_bool(o, "slow", cli_profile_is_slow(p, r));
}

static void print_json(const profile_args *a, const char *setting, const cli_profile *p) {
    cJSON *root = cli_json_object(NULL, NULL);
    cli_json_string(root, "setting", setting);
    cli_json_int(root, "runs", p->runs);
    cli_json_double(root, "run_ms", (double)p->run_ns / (double)p->runs * 1e-6);
    cli_json_double(root, "steps_ms", (double)p->step_ns / (double)p->runs * 1e-6);
    cli_json_double(root, "lost_percent", p->run_ns ? 100 - 100 * (double)p->step_ns / (double)p->run_ns : 0);
    cli_json_double(root, "peak_gflops", p->peak_gflops);
    cli_json_double(root, "peak_gbytes_per_s", p->peak_gbytes);
    size_t count;
    cli_profile_row *sums = sum_types(p, &count), **list = sorted(sums, count, true);
    cJSON *types = cli_json_array(root, "types");
    for (size_t i = 0; i < count; i++) {
        cJSON *o = cli_json_object(types, NULL);
        cli_json_string(o, "op_type", list[i]->node->op_type);
        cli_json_bool(o, "in_subgraph", list[i]->inner);
        cli_json_int(o, "nodes", list[i]->nodes);
        cli_json_double(o, "calls", (double)list[i]->calls / (double)p->runs);
        cli_json_double(o, "ms", cli_profile_ms(p, list[i]));
        cli_json_double(o, "percent", cli_profile_share(p, list[i]));
    }
    free(list);
    free(sums);
    cJSON *nodes = cli_json_array(root, "nodes");
    list = sorted(p->rows, p->n_rows, a->sort == SORT_TIME);
    for (size_t i = 0; i < p->n_rows; i++) json_row(nodes, p, list[i]);
    free(list);
    cli_json_print(root);
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static tern_status write_files(const profile_args *a, tern_session *session, const tern_model *model,
                               const cli_inputs *in, const char *setting, const cli_profile *p, tern_error *err) {
    if (a->trace) TN_TRY(cli_profile_trace(p, a->trace, err));
    if (!a->html) return TERN_OK;
    tn_cached_plan *cached;
    TN_TRY(tn_session_plan(session, session->model->graph, in->tensors, (int)in->count, &cached, err));
    tern_status s = cli_profile_html(p, model, setting, cached->plan, a->html, err);
    tn_session_release_plan(session, cached, NULL);
    return s;
}

static tern_status profile(const profile_args *a, const char *path, tern_model *model, tern_session **session,
                           cli_inputs *in, cli_profile *p, tern_error *err) {
    cli_input_options io = {
        .files = &a->inputs, .shapes = &a->shapes, .fill = CLI_FILL_RANDOM, .free_dim = 1, .batch = a->batch};
    tern_options options = cli_session_options(&a->common);
    tern_status s = cli_inputs_make(in, model, &io, err);
    if (s != TERN_OK) tn_error_prefix(err, "%s: ", path);
    if (s == TERN_OK) s = tern_session_create(session, model, &options, err);
    if (s == TERN_OK) s = measure(a, *session, model, in, p, err);
    if (s != TERN_OK) return s;
    int threads = (*session)->options.threads;
    p->peak_gflops = tn_probe_gflops((*session)->tier, threads);
    p->peak_gbytes = tn_probe_gbytes((*session)->tier, threads);
    char setting[600];
    snprintf(setting, sizeof setting, "%.400s: %d thread%s, %s%s", path, threads, threads == 1 ? "" : "s",
             tern_cpu_tier_name((*session)->tier), a->common.optimize ? "" : ", not fused");
    TN_TRY(write_files(a, *session, model, in, setting, p, err));
    if (a->common.json)
        print_json(a, setting, p);
    else
        print_text(a, setting, p);
    return TERN_OK;
}

static int run(void *args, char **operands, int count) {
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_error err;
    cli_inputs in = {0};
    cli_profile p = {0};
    (void)count;
    tern_status s = tern_model_load(&model, operands[0], NULL, &err);
    if (s == TERN_OK) s = profile(args, operands[0], model, &session, &in, &p, &err);
    cli_profile_release(&p);
    cli_inputs_release(&in);
    tern_session_free(session);
    tern_model_free(model);
    return s == TERN_OK ? CLI_OK : cli_fail(&err);
}

static void defaults(void *args) {
    profile_args *a = args;
    a->seconds = 2;
    a->warmup = 3;
    a->top = 30;
}

static const cli_option options[] = {
    {"iterations", 'n', CLI_INT, "N", "run N times", offsetof(profile_args, iterations), .min = 1, .max = MAX_RUNS},
    {"seconds", 0, CLI_REAL, "S", "run for S seconds when --iterations is not given (default: 2)",
     offsetof(profile_args, seconds), .min = 0.001, .max = 86400},
    {"warmup", 'w', CLI_INT, "N", "runs before measuring, besides the first (default: 3)",
     offsetof(profile_args, warmup), .min = 0, .max = MAX_RUNS},
    {"sort", 0, CLI_CHOICE, "time|order", "the nodes by time (default), or as they run", offsetof(profile_args, sort),
     .min = 0},
    {"top", 0, CLI_INT, "N", "show N nodes (default: 30; 0: all)", offsetof(profile_args, top), .min = 0, .max = 1e9},
    {"trace", 0, CLI_STRING, "FILE", "write the first 20 runs for Perfetto or chrome://tracing",
     offsetof(profile_args, trace), .min = 0},
    {"html", 0, CLI_STRING, "FILE", "write a page with bars, roofline and memory plan", offsetof(profile_args, html),
     .min = 0},
    {"batch", 'b', CLI_INT, "N", "size of the first dim of the inputs, where it is free", offsetof(profile_args, batch),
     .min = 1, .max = 1000000},
    {"input", 'i', CLI_STRINGS, "NAME=FILE", "an input from a file (see tern run) instead of random numbers",
     offsetof(profile_args, inputs), .min = 0},
    {"shape", 's', CLI_STRINGS, "NAME=1x3x224x224", "shape of an input; free dims are 1 otherwise",
     offsetof(profile_args, shapes), .min = 0},
    CLI_OPT_THREADS,
    CLI_OPT_CPU,
    CLI_OPT_PRECISION,
    CLI_OPT_NO_FUSE,
    CLI_OPT_MEMORY_LIMIT,
    CLI_OPT_TUNE,
    CLI_OPT_JSON,
};
static const char *const examples[] = {"tern profile net.onnx --threads 1",
                                       "tern profile net.onnx --html report.html --trace trace.json",
                                       "tern profile net.onnx --sort order --top 0 --json", NULL};

const cli_command cli_cmd_profile = {
    .name = "profile",
    .summary = "show where the time of a run goes",
    .operands = "MODEL",
    .description =
        "Times per type of operator and per node, with the rates of arithmetic and of memory, and the share of\n"
        "what the machine allows for that much work per byte (the roofline, measured in the same process; bytes are\n"
        "those of inputs, weights and outputs), and of the arithmetic peak alone. The last list has layers that take "
        "more\n"
        "than 2 % of the time below 80 % of that peak. Time between the steps is the engine's own, and the profiler's.",
    .options = options,
    .n_options = TN_COUNT(options),
    .examples = examples,
    .failure = "the model can not be read or run, or a report not be written",
    .min_operands = 1,
    .max_operands = 1,
    .args_size = sizeof(profile_args),
    .defaults = defaults,
    .run = run,
};
