/* Where the time of a run goes: a row per step, gathered over some runs, and the reports made of them. */
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include "cli/cli.h"
#include "runtime/runtime.h"

/* What one step did in all runs. */
typedef struct cli_profile_row {
    const tn_node *node; /* of the session's model */
    const char *kernel;  /* NULL: the portable one */
    char *shapes;        /* "1x3x224x224, 32x3x3x3 -> 1x32x112x112" */
    bool inner;          /* of a subgraph: its time is part of the node around it */
    bool dynamic;
    int64_t calls, macs, bytes; /* macs and bytes of one call; 0: not known */
    uint64_t total_ns, min_ns;
    int64_t nodes; /* of a sum over nodes: how many; else 0 */
} cli_profile_row;

typedef struct cli_profile_event {
    size_t row;
    uint64_t start_ns, end_ns;
} cli_profile_event;

typedef struct cli_profile {
    cli_profile_row *rows; /* main graph: in order of execution; inner ones as they were met */
    size_t n_rows, cap_rows;
    tn_map index;              /* address of a node, as bytes -> row + 1 */
    cli_profile_event *events; /* of the runs that a trace is made of */
    size_t n_events, cap_events;
    bool record; /* events */
    int64_t runs;
    uint64_t run_ns, step_ns; /* in all runs: around them; in the steps of the main graph */
    uint64_t first_ns;
    double peak_gflops, peak_gbytes; /* of the machine, measured */
} cli_profile;

/* Watches the session's runs from now on. */
void cli_profile_watch(cli_profile *p, tern_session *session);
void cli_profile_release(cli_profile *p);

/* Of one call, in units of 1e9 a second; 0: not known. */
double cli_profile_gflops(const cli_profile_row *r);
double cli_profile_gbytes(const cli_profile_row *r);
/* What the machine allows for this row's work per byte, in GFLOP/s; and the share of it that is reached, in percent: of
 * arithmetic where that is counted, else of the memory's rate. */
double cli_profile_roof(const cli_profile *p, const cli_profile_row *r);
double cli_profile_roof_share(const cli_profile *p, const cli_profile_row *r);
/* Of the arithmetic peak alone, in % of direct computation: Winograd may pass 100. 0 where nothing is multiplied. */
double cli_profile_peak_share(const cli_profile *p, const cli_profile_row *r);
/* Takes more than CLI_SLOW_TIME % of the time at less than CLI_SLOW_PEAK % of the arithmetic peak. */
enum { CLI_SLOW_TIME = 2, CLI_SLOW_PEAK = 80 };
bool cli_profile_is_slow(const cli_profile *p, const cli_profile_row *r);
/* Milliseconds of a run, and percent of all steps. */
double cli_profile_ms(const cli_profile *p, const cli_profile_row *r);
double cli_profile_share(const cli_profile *p, const cli_profile_row *r);

/* Events of Chrome's trace format, which Perfetto opens. */
tern_status cli_profile_trace(const cli_profile *p, const char *path, tern_error *err);
/* A page that needs nothing else: bars per node, roofline, memory plan. `plan` may be NULL. */
tern_status cli_profile_html(const cli_profile *p, const tern_model *model, const char *setting, const tn_plan *plan,
                             const char *path, tern_error *err);

#endif
