/* Comparing an output of random operators with an expected file, which holds another draw of the same numbers. */
#ifndef CLI_RANDOM_CHECK_H
#define CLI_RANDOM_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "tern/tern.h"

/* Whether output `index` of the model depends on what a random operator drew. */
bool cli_output_is_random(const tern_session *session, const char *name);

typedef struct cli_random_check {
    const char *path; /* of the model */
    const tern_options *options;
    const tern_feed *feeds;
    size_t n_feeds;
    const char *output;
    const tern_tensor *want;
} cli_random_check;

/* Kind, type and shape must be the expected ones. Then the model is run 2,000 times with different seeds (`seed`
 * attributes are taken off), and the expected elements must be a plausible draw: each within what was drawn for it,
 * widened by half on both sides, and their sum and the sum of their squared deviations within six standard deviations
 * of what the draws' moments predict. Deterministic. False: `why` says what does not fit. */
bool cli_check_random(const cli_random_check *c, char *why, size_t size);

#endif
