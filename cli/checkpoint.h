/* What `tern inspect` says about checkpoints. */
#ifndef CLI_CHECKPOINT_H
#define CLI_CHECKPOINT_H

#include <stdbool.h>

/* Whether the file's content is that of a checkpoint (PyTorch, pickle, safetensors, .npz) and not of a model; false
 * also when it can not be read. */
bool cli_is_checkpoint(const char *path);
/* Prints format, classes, hyper-parameters, tensors and warnings; the exit code. */
int cli_inspect_checkpoint(const char *path, bool json);

#endif
