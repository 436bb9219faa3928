/* L8: what every subcommand is made of. A command is one file, cli/cmd_<name>.c, which defines `cli_cmd_<name>`, and
 * one row in cli/command_list.inc. Its table of options creates the parsing and the text of --help.
 *
 *   typedef struct bench_args { cli_common common; int64_t iterations; const char *shape; } bench_args;
 *   static const cli_option options[] = {
 *       {"iterations", 'n', CLI_INT, "N", "run the network N times", offsetof(bench_args, iterations), .min = 1, .max =
 * 1e9}, CLI_OPT_THREADS, CLI_OPT_CPU, CLI_OPT_JSON,
 *   };
 *   static void defaults(void *args) { ((bench_args *)args)->iterations = 100; }
 *   static int run(void *args, char **operands, int count) { ... return CLI_OK; }
 *   const cli_command cli_cmd_bench = {.name = "bench", ...};
 *
 * Results go to stdout and nothing else does; diagnostics go to stderr through cli_error, one line each. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/progress.h"
#include "tern/tern.h"

/* Exit codes. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

typedef enum cli_type {
    CLI_FLAG,     /* bool, set to true */
    CLI_FLAG_OFF, /* bool, set to false; its default is true */
    CLI_INT,      /* int64_t, min <= value <= max */
    CLI_REAL,     /* double, min <= value <= max */
    CLI_BYTES,    /* int64_t: 4096, 512K, 64M, 2G; at least 1 */
    CLI_INTS,     /* cli_ints: 1,2,4, each min <= value <= max */
    CLI_STRING,   /* const char *, NULL when absent */
    CLI_STRINGS,  /* cli_strings; the option may be repeated */
    CLI_REALS,    /* cli_reals: 1,2.5,3 */
    CLI_CHOICE    /* int: index of the word among those of `value`, "a|b|c" */
} cli_type;

typedef struct cli_strings {
    const char **items; /* owned by the parser */
    size_t count;
} cli_strings;

#define CLI_MAX_REALS 16
typedef struct cli_reals {
    double values[CLI_MAX_REALS];
    size_t count;
} cli_reals;

#define CLI_MAX_INTS 16
typedef struct cli_ints {
    int64_t values[CLI_MAX_INTS];
    size_t count;
} cli_ints;

typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* short form; 0: none */
    cli_type type;
    const char *value; /* how help names the value; the words of a CLI_CHOICE; NULL for flags */
    const char *help;
    size_t offset;   /* of the field in the command's struct of arguments */
    double min, max; /* of numbers; both 0: no limits */
} cli_option;

/* The struct of arguments of every command begins with this. */
typedef struct cli_common {
    int64_t threads; /* 0: one per physical core */
    int cpu;         /* a tern_cpu_tier; -1: the best there is */
    int precision;   /* a tern_precision */
    bool optimize;   /* true unless --no-fuse */
    bool tune;
    const char *tune_cache; /* NULL: the usual place */
    cli_progress tuning;
    int64_t memory_limit; /* bytes of a run's values; 0: the machine's memory */
    bool json;
} cli_common;

/* Rows for the common options; a command takes those that mean something to it. */
#define CLI_OPT_THREADS                                                                                            \
    {                                                                                                              \
        .name = "threads", .letter = 't', .type = CLI_INT, .value = "N",                                           \
        .help = "use at most N threads (default: one per physical core)", .offset = offsetof(cli_common, threads), \
        .min = 1, .max = 1024                                                                                      \
    }
#define CLI_OPT_CPU                                                                        \
    {                                                                                      \
        .name = "cpu", .type = CLI_CHOICE, .value = "scalar|avx2|avx512",                  \
        .help = "use no instructions above this tier", .offset = offsetof(cli_common, cpu) \
    }
#define CLI_OPT_PRECISION                                                                  \
    {                                                                                      \
        .name = "precision", .type = CLI_CHOICE, .value = "f32|bf16",                      \
        .help = "bf16: round weights and maps to bfloat16; faster with AVX512-BF16 [f32]", \
        .offset = offsetof(cli_common, precision)                                          \
    }
#define CLI_OPT_NO_FUSE                                                                             \
    {                                                                                               \
        .name = "no-fuse", .type = CLI_FLAG_OFF, .help = "do not fuse operators or change layouts", \
        .offset = offsetof(cli_common, optimize)                                                    \
    }
#define CLI_OPT_MEMORY_LIMIT                                                                                \
    {                                                                                                       \
        .name = "memory-limit", .type = CLI_BYTES, .value = "SIZE",                                         \
        .help = "fail rather than use more than SIZE (64K, 512M, 2G) for the values of a run [the memory]", \
        .offset = offsetof(cli_common, memory_limit)                                                        \
    }
#define CLI_OPT_TUNE                                                                                             \
    {.name = "tune",                                                                                             \
     .type = CLI_FLAG,                                                                                           \
     .help = "choose between algorithms by timing each layer's when the model is loaded; what is found is kept", \
     .offset = offsetof(cli_common, tune)},                                                                      \
    {                                                                                                            \
        .name = "tune-cache", .type = CLI_STRING, .value = "FILE",                                               \
        .help = "the same, kept in FILE instead of tern/tune.txt in $XDG_CACHE_HOME or ~/.cache",                \
        .offset = offsetof(cli_common, tune_cache)                                                               \
    }
#define CLI_OPT_JSON \
    { .name = "json", .type = CLI_FLAG, .help = "print the result as JSON", .offset = offsetof(cli_common, json) }

typedef struct cli_command {
    const char *name;
    const char *summary;     /* for the list of commands: one short line without a full stop */
    const char *operands;    /* as in the synopsis: "MODEL IMAGE..." */
    const char *description; /* one or more lines for --help */
    const cli_option *options;
    size_t n_options;
    const char *const *examples;    /* command lines, NULL at the end */
    const char *failure;            /* when the exit code is 1: "an image can not be read" */
    int min_operands, max_operands; /* max -1: any number */
    size_t args_size;
    void (*defaults)(void *args);                       /* args is cleared, its cli_common set; may be NULL */
    int (*run)(void *args, char **operands, int count); /* the exit code */
} cli_command;

/* Prints "tern: ..." and a newline to stderr; a progress bar on the terminal makes room. Control characters in the text
 * (they come from file names) are shown as '?', so that it stays one line. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "FILE: text", for what is no error; `file` is the path. */
void cli_note(const void *file, const char *text);
/* The same for a wrong command line, with a hint at --help. Returns CLI_USAGE. */
int cli_usage_error(const cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the text of `err` and returns CLI_FAILED. */
int cli_fail(const tern_error *err);
/* Prints text that comes from a file to stdout; '?' stands for control characters and what is not UTF-8. */
void cli_print_name(const char *text);
/* For the allocations of the command line itself, of sizes that no input decides: says so and exits with 1. */
void *cli_must(void *ptr);

/* Options of a session from the common ones. */
tern_options cli_session_options(const cli_common *common);

#endif
