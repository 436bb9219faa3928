#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/base.h"

#define BAR_WIDTH 30
#define REDRAW_NS 50000000u

void cli_progress_begin(cli_progress *p, const char *label, int64_t total) {
    *p = (cli_progress){
        .on = total > 1 && isatty(STDERR_FILENO), .label = label, .total = total, .start_ns = tn_clock_ns()};
}

void cli_progress_begin_rate(cli_progress *p, const char *label, const char *unit, int64_t total) {
    cli_progress_begin(p, label, total);
    p->unit = unit;
    p->on = isatty(STDERR_FILENO);
}

static void draw(const cli_progress *p, uint64_t now) {
    char bar[BAR_WIDTH + 1], rate[64] = "";
    double passed = (double)(now - p->start_ns) * 1e-9;
    if (p->unit) snprintf(rate, sizeof rate, ", %.1f %s per second", (double)p->done / passed, p->unit);
    if (p->total < p->done || p->total == 0) { /* not known, or told wrong */
        fprintf(stderr, "\r%s %lld%s\033[K", p->label, (long long)p->done, rate);
        fflush(stderr);
        return;
    }
    int full = (int)((double)p->done / (double)p->total * BAR_WIDTH);
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    double left = p->done > 0 ? passed * (double)(p->total - p->done) / (double)p->done : 0;
    fprintf(stderr, "\r%s [%s] %lld/%lld%s, %.0f s left\033[K", p->label, bar, (long long)p->done, (long long)p->total,
            rate, left);
    fflush(stderr);
}

void cli_progress_step(cli_progress *p, int64_t count) {
    p->done += count;
    if (!p->on) return;
    uint64_t now = tn_clock_ns();
    if (now - p->drawn_ns < REDRAW_NS && p->done != p->total) return;
    p->drawn_ns = now;
    draw(p, now);
}

void cli_progress_clear(const cli_progress *p) {
    if (!p->on) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}
