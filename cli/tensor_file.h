/* Tensors that a command writes to files named after values of a model. */
#ifndef CLI_TENSOR_FILE_H
#define CLI_TENSOR_FILE_H

#include "cli/cli.h"

typedef enum cli_format { CLI_FORMAT_NPY = 0, CLI_FORMAT_PB, CLI_FORMAT_RAW, CLI_FORMAT_JSON } cli_format;
#define CLI_FORMAT_WORDS "npy|pb|raw|json"

/* "<folder>/<name>.<ending>" in memory of the caller (free). Names come from a model: what could leave the folder or
 * hide the file becomes '_'. */
char *cli_tensor_path(const char *folder, const char *name, cli_format format);
/* .json: {"name", "dtype", "shape", "data" (flat; null for NaN and infinities)}. Symbolic links are not followed. */
tern_status cli_tensor_write(const tern_tensor *t, const char *name, const char *path, cli_format format,
                             tern_error *err);
/* Whether an .npy file can hold it; .pb takes everything. */
bool cli_fits_npy(const tern_tensor *t);
/* Makes the folder when it is not there. */
tern_status cli_make_folder(const char *path, tern_error *err);

#endif
