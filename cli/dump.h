/* Every tensor that a run computes: written to a folder with an index, or compared with such a folder. */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/tensor_file.h"

typedef struct cli_dump cli_dump;

typedef struct cli_dump_options {
    const char *folder; /* to write to; NULL: nowhere */
    cli_format format;  /* of its files; .pb for what the format can not hold */
    const char *with;   /* folder to compare with; NULL: none. Of tern's, or <name>.npy or .pb of another engine */
    /* Two tensors part when any elements are further apart than atol + rtol * the largest element of the other one. */
    double rtol, atol;
} cli_dump_options;

/* Watches all runs of the session from now on; there should be one. NULL on failure. */
cli_dump *cli_dump_begin(const cli_dump_options *options, const tern_model *model, tern_session *session,
                         tern_error *err);
/* Inputs of the model are part of a dump, but not of a comparison. */
void cli_dump_inputs(cli_dump *d, const tern_feed *feeds, size_t count);
/* Writes the index, index.json: {"tensors": [{name, node, op_type, dtype, shape, file}], "absent": [name]}, the latter
 * with the values of the model that were fused or folded away. The first error of the run is reported here. */
tern_status cli_dump_end(cli_dump *d, tern_error *err);
/* After the end: prints the comparison, as text, or into `root`. False when any tensor parts. */
bool cli_dump_report(const cli_dump *d, cJSON *root);
void cli_dump_free(cli_dump *d);

#endif
