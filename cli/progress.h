/* A progress bar on stderr; nothing at all when stderr is not a terminal. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    bool on;
    const char *label; /* borrowed */
    const char *unit;  /* borrowed; NULL: no rate is shown */
    int64_t done, total;
    uint64_t start_ns, drawn_ns;
} cli_progress;

/* total <= 1: no bar. */
void cli_progress_begin(cli_progress *p, const char *label, int64_t total);
/* With a rate, "24.1 frames per second"; total 0: not known. */
void cli_progress_begin_rate(cli_progress *p, const char *label, const char *unit, int64_t total);
void cli_progress_step(cli_progress *p, int64_t count);
/* Takes the bar off the line: before a result is printed to a terminal, and at the end. */
void cli_progress_clear(const cli_progress *p);

#endif
