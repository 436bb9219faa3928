/* The parts of `tern inspect`. */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include <stdio.h>

#include "cli/cli.h"
#include "graph/graph.h"

/* tern_model_load for who reads elements itself: those of a compiled file are checked, too. */
tern_status cli_load_whole(tern_model **out, const char *path, tern_error *err);
/* The graph in Graphviz's language. */
void cli_inspect_dot(FILE *to, const tern_model *m);
/* The same as a picture, drawn by Graphviz's `dot`, which must be installed. */
tern_status cli_inspect_svg(const tern_model *m, const char *path, tern_error *err);
/* Violations of the standard's rules, one a line; 1 when there are any. */
int cli_inspect_check(const char *path, bool json);
/* Range, mean, deviation, zeros of every constant. */
void cli_inspect_weights(const tern_model *m, bool json);
/* What tells two models apart; 1 when anything does. */
int cli_inspect_diff(const char *a, const char *b, bool json);

#endif
