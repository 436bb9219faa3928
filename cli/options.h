/* Parsing of a command line by a command's table of options, and help made from the same table. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdio.h>

#include "cli/cli.h"

typedef struct cli_parsed {
    void *args;      /* the command's struct */
    char **operands; /* point into argv */
    int n_operands;
    bool help; /* --help was given; nothing else was checked then */
    const cli_command *command;
} cli_parsed;

/* argv[0] is the first word after the command's name. On failure an error has been printed and the result is CLI_USAGE.
 * cli_parsed_release must be called in either case. */
int cli_parse(cli_parsed *out, const cli_command *command, int argc, char **argv);
void cli_parsed_release(cli_parsed *parsed);

/* Synopsis, options, examples and exit codes. */
void cli_print_help(FILE *to, const cli_command *command);

/* Number of single-letter edits (insert, delete, replace, swap of neighbours) between two words; 100 when they are
 * long. */
int cli_edit_distance(const char *a, const char *b);
/* The candidate that `word` was probably meant to be; NULL when none is near. */
const char *cli_suggest(const char *word, const char *const *candidates, size_t count);

/* "640x480" to positive numbers not above 65535; false for anything else. */
bool cli_parse_size(const char *text, int *width, int *height);

#endif
