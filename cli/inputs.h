/* Tensors for a model's inputs, from files and from options. */
#ifndef CLI_INPUTS_H
#define CLI_INPUTS_H

#include "cli/cli.h"

typedef enum cli_fill { CLI_FILL_NONE = 0, CLI_FILL_RANDOM, CLI_FILL_ZEROS, CLI_FILL_ONES, CLI_FILL_ARANGE } cli_fill;

typedef struct cli_inputs {
    tern_tensor **tensors;
    tern_feed *feeds; /* names belong to the model */
    size_t count;
} cli_inputs;

typedef struct cli_input_options {
    /* NAME=FILE; NULL: none. The name may be left out when the model has one input, or when the file is called as
     * pplnn calls them: NAME-1_3_224_224-fp32.dat. */
    const cli_strings *files;
    const cli_strings *shapes; /* NAME=1x3x224x224, likewise; NULL: none */
    const cli_strings *dtypes; /* NAME=float32, likewise: of raw files and filled inputs whose type is open */
    const char *blob;          /* one raw file with the elements of all inputs in order; NULL: none */
    cli_fill fill;             /* of inputs that no file gives; CLI_FILL_NONE: they are an error */
    int64_t free_dim; /* size of dims that are fixed neither by the model nor by a shape; 0: they are an error */
    int64_t batch;    /* size of the first dim where it is free; 0: as the others */
    /* CLI_FILL_RANDOM: uniform in [-1, 1), integers 0 or 1. CLI_FILL_ARANGE: 0, 1, 2 ..., modulo 256 for types of at
     * most 16 bits. */
    uint64_t seed;
} cli_input_options;

/* Tensors for all inputs of the model. Release them with cli_inputs_release in any case. */
tern_status cli_inputs_make(cli_inputs *out, const tern_model *model, const cli_input_options *options,
                            tern_error *err);
void cli_inputs_release(cli_inputs *in);

/* "1x3x224x224" (or commas, or underscores) to dims; an empty text is a scalar. False when it is not of that form. */
bool cli_parse_shape(const char *text, int64_t *dims, int *rank);
/* "float32[1,3,224,224]", with names for free dims; returns buffer. */
const char *cli_value_text(const tern_value_info *info, char *buffer, size_t size);

#endif
