/* Timing of sessions, several of them in turn, so that what else the machine does meets all of them. */
#ifndef CLI_BENCH_RUN_H
#define CLI_BENCH_RUN_H

#include "cli/cli.h"
#include "cli/inputs.h"

/* One model with one set of settings. */
typedef struct cli_variant {
    const char *path;
    char label[160]; /* tells it from the others */
    int threads;
    int tier, precision;
    bool optimize, tune;
    int64_t batch; /* 0: none was asked for */
    tern_model *model;
    tern_session *session;
    cli_inputs in;
    /* results */
    double *ms; /* of each run, sorted in the end */
    size_t count, cap;
    double load_ms, first_ms, wall_s; /* wall_s: of the measured slices */
    int64_t macs;
    size_t planned_bytes; /* values and scratch of one run */
    double peak_gflops;   /* of this tier and number of threads; probed before and after */
    double cpu_share;     /* of one processor, in runs of one thread; 0: not measured */
} cli_variant;

typedef struct cli_bench_plan {
    int64_t iterations; /* runs of each variant and stream; 0: as many as fit into seconds */
    int64_t warmup;
    double seconds;
    int64_t streams;
    tern_options options; /* what all have in common */
    cli_input_options inputs;
} cli_bench_plan;

/* Loads and prepares, runs once, and looks at the plan. */
tern_status cli_variant_open(cli_variant *v, const cli_bench_plan *plan, tern_error *err);
/* Warm-up, then rounds in which every variant has its turn. */
tern_status cli_bench_measure(cli_variant *variants, size_t count, const cli_bench_plan *plan, tern_error *err);
void cli_variant_close(cli_variant *v);

/* Nearest-rank percentile, p in (0, 100]. */
double cli_percentile(const cli_variant *v, double p);
double cli_mean(const cli_variant *v);
double cli_deviation(const cli_variant *v);
/* Why the times should not be trusted; NULL: nothing speaks against them. */
const char *cli_noise(const cli_variant *v, char *buffer, size_t size);

#endif
