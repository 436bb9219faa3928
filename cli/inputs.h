/* Tensors for a model's inputs, from files and from options. */
#ifndef CLI_INPUTS_H
#define CLI_INPUTS_H

#include "cli/cli.h"

typedef enum cli_fill { CLI_FILL_NONE = 0, CLI_FILL_RANDOM, CLI_FILL_ZEROS, CLI_FILL_ONES } cli_fill;

typedef struct cli_inputs {
    tern_tensor **tensors;
    tern_feed *feeds; /* names belong to the model */
    size_t count;
} cli_inputs;

typedef struct cli_input_options {
    const cli_strings *files;  /* NAME=FILE; NULL: none. The name may be left out when the model has one input */
    const cli_strings *shapes; /* NAME=1x3x224x224, likewise; NULL: none */
    cli_fill fill;             /* of inputs that no file gives; CLI_FILL_NONE: they are an error */
    int64_t free_dim; /* size of dims that are fixed neither by the model nor by a shape; 0: they are an error */
    uint64_t seed;    /* of CLI_FILL_RANDOM: uniform in [-1, 1); integers 0 or 1 */
} cli_input_options;

/* Tensors for all inputs of the model. Release them with cli_inputs_release in any case. */
tern_status cli_inputs_make(cli_inputs *out, const tern_model *model, const cli_input_options *options,
                            tern_error *err);
void cli_inputs_release(cli_inputs *in);

/* "1x3x224x224" (or commas) to dims; an empty text is a scalar. False when it is not of that form. */
bool cli_parse_shape(const char *text, int64_t *dims, int *rank);
/* "float32[1,3,224,224]", with names for free dims; returns buffer. */
const char *cli_value_text(const tern_value_info *info, char *buffer, size_t size);

#endif
