/* The command line: a table of commands, and what is common to them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "vision/op/op.h"

#define COMMAND(name) extern const cli_command cli_cmd_##name;
#include "cli/command_list.inc"
#undef COMMAND

static const cli_command *const commands[] = {
#define COMMAND(name) &cli_cmd_##name,
#include "cli/command_list.inc"
#undef COMMAND
};

static void print_overview(FILE *to) {
    fputs("usage: tern COMMAND [OPTION...] ...\n\n"
          "Runs ONNX networks on the CPU.\n\ncommands:\n",
          to);
    for (size_t i = 0; i < TN_COUNT(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n`tern COMMAND --help` explains a command, `tern --version` prints the version.\n", to);
}

static const cli_command *find_command(const char *name) {
    for (size_t i = 0; i < TN_COUNT(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name) {
    if (name[0] == '-') {
        cli_error("no option '%s' here; options come after the command (tern --help)", name);
        return CLI_USAGE;
    }
    const char *names[TN_COUNT(commands)];
    for (size_t i = 0; i < TN_COUNT(commands); i++) names[i] = commands[i]->name;
    const char *near = cli_suggest(name, names, TN_COUNT(commands));
    if (near) {
        cli_error("no command '%s'; did you mean '%s'? (tern --help lists all)", name, near);
    } else {
        cli_error("no command '%s' (tern --help lists all)", name);
    }
    return CLI_USAGE;
}

/* A result that did not reach its file is a failure: a full disk, a closed pipe. */
static int finish(int code) {
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("can not write to standard output: %s", errno ? strerror(errno) : "an earlier write failed");
        return code == CLI_OK ? CLI_FAILED : code;
    }
    return code;
}

static void show_warning(void *context, tern_log_level level, const char *line) {
    (void)context;
    cli_error("%s%s", level == TERN_LOG_WARNING ? "warning: " : "", line);
}

static int set_cpu(const cli_common *common) {
    if (common->cpu < 0) return CLI_OK;
    tern_error err;
    return tern_cpu_set_mask((tern_cpu_tier)common->cpu, &err) == TERN_OK ? CLI_OK : cli_fail(&err);
}

static int run_command(const cli_command *command, int argc, char **argv) {
    cli_parsed parsed;
    int code = cli_parse(&parsed, command, argc, argv);
    if (code == CLI_OK) {
        if (parsed.help) {
            cli_print_help(stdout, command);
        } else {
            code = set_cpu(parsed.args);
            if (code == CLI_OK) code = command->run(parsed.args, parsed.operands, parsed.n_operands);
        }
    }
    cli_parsed_release(&parsed);
    return finish(code);
}

int main(int argc, char **argv) {
    signal(SIGXFSZ, SIG_IGN); /* a file above the limit of the shell is an error like a full disk */
    tern_set_log(show_warning, NULL, TERN_LOG_WARNING);
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("tern %s\n", tern_version());
        return finish(CLI_OK);
    }
    bool help_word = strcmp(name, "help") == 0;
    if (help_word && argc > 2) {
        const cli_command *command = find_command(argv[2]);
        if (!command) return unknown_command(argv[2]);
        cli_print_help(stdout, command);
        return finish(CLI_OK);
    }
    if (help_word || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_overview(stdout);
        return finish(CLI_OK);
    }
    tern_error err;
    if (tern_vision_register_operators(&err) != TERN_OK) return cli_fail(&err);
    const cli_command *command = find_command(name);
    return command ? run_command(command, argc - 2, argv + 2) : unknown_command(name);
}
