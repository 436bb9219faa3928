/* The operators that this build has, for `tern inspect --ops` and docs/operators.md. */
#ifndef CLI_OPERATORS_H
#define CLI_OPERATORS_H

typedef enum cli_operators_form { CLI_OPERATORS_TEXT, CLI_OPERATORS_JSON, CLI_OPERATORS_MARKDOWN } cli_operators_form;

/* Prints them and returns an exit code. */
int cli_print_operators(cli_operators_form form);

#endif
