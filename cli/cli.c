#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base.h"

static void print_line(const char *format, va_list args, const char *tail) {
    char text[2048];
    int n = vsnprintf(text, sizeof text, format, args);
    if (n < 0) n = 0;
    if ((size_t)n >= sizeof text) memcpy(text + sizeof text - 4, "...", 4);
    tn_utf8_clean_line(text);
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    fprintf(stderr, "tern: %s%s\n", text, tail);
}

void cli_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line(format, args, "");
    va_end(args);
}

void cli_note(const void *file, const char *text) { cli_error("%s: %s", (const char *)file, text); }

int cli_usage_error(const cli_command *command, const char *format, ...) {
    char tail[80];
    snprintf(tail, sizeof tail, " (tern %s --help)", command->name);
    va_list args;
    va_start(args, format);
    print_line(format, args, tail);
    va_end(args);
    return CLI_USAGE;
}

void cli_print_name(const char *text) {
    char *line = cli_must(tn_strdup(text));
    tn_utf8_clean_line(line);
    fputs(line, stdout);
    tn_free(line);
}

int cli_fail(const tern_error *err) {
    cli_error("%s", err->text);
    return CLI_FAILED;
}

void *cli_must(void *ptr) {
    if (!ptr) {
        cli_error("out of memory");
        exit(CLI_FAILED);
    }
    return ptr;
}

static void show_tuning(void *context, size_t done, size_t total) {
    cli_progress *bar = context;
    if (done == 1) cli_progress_begin(bar, "tune", (int64_t)total);
    cli_progress_step(bar, (int64_t)done - bar->done);
    if (done >= total) cli_progress_clear(bar);
}

tern_options cli_session_options(const cli_common *common) {
    tern_options options;
    tern_options_init(&options);
    options.threads = (int)common->threads;
    options.optimize = common->optimize;
    options.precision = (tern_precision)common->precision;
    options.memory_limit = (size_t)common->memory_limit;
    options.tune = common->tune || common->tune_cache;
    options.tune_cache = common->tune_cache;
    options.tune_progress = show_tuning;
    options.tune_context = (void *)(uintptr_t)&common->tuning; /* arguments as parsed are not constant */
    return options;
}
