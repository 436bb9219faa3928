/* `tern convert` on ONNX files. */
#ifndef CLI_CONVERT_ONNX_H
#define CLI_CONVERT_ONNX_H

#include "cli/cli.h"

typedef struct cli_onnx_options {
    int64_t opset; /* 0: as it is */
    bool simplify, external, fp16, bf16;
    const cli_strings *shapes;                   /* NAME=1x3x640x640 */
    const cli_strings *inputs, *outputs;         /* of the submodel */
    const cli_strings *keep, *rename, *metadata; /* operators or nodes left in float32; OLD=NEW; KEY=VALUE */
    bool json;
} cli_onnx_options;

/* The exit code; what is wrong has been printed. */
int cli_convert_onnx(const cli_onnx_options *options, const char *in, const char *out);

#endif
