/* Operator cases as one file: what fuzz_op reads, mutates and writes.
 *
 *   u32 size, ModelProto; then, for each input of the graph in order: u32 size, TensorProto, SequenceProto or
 *   OptionalProto as the input's type says. Numbers are little-endian.
 *
 * Models that fail to load as a whole can not be mutated by structure, and are not written. */
#ifndef TN_FUZZ_OP_CASE_H
#define TN_FUZZ_OP_CASE_H

#include "base/base.h"
#include "graph/graph.h"
#include "onnx/onnx.h"
#include "tensor/tensor.h"
#include "tern/tern.h"

enum { OP_CASE_INPUTS = 24, OP_CASE_TENSOR_BYTES = 1 << 22 };

typedef struct op_case {
    tern_model *model;
    tern_tensor *in[OP_CASE_INPUTS]; /* of the model's inputs; NULL: the file holds no readable value */
    int n_in;
} op_case;

/* The next block of the file; false when there is none. */
static inline bool op_case_block(const uint8_t **data, size_t *size, const uint8_t **block, size_t *block_size) {
    uint32_t n;
    if (*size < sizeof n) return false;
    memcpy(&n, *data, sizeof n);
    if (n > *size - sizeof n) return false;
    *block = *data + sizeof n;
    *block_size = n;
    *data += sizeof n + n;
    *size -= sizeof n + n;
    return true;
}

static inline void op_case_release(op_case *c) {
    for (int i = 0; i < c->n_in; i++) tn_tensor_unref(c->in[i]);
    tern_model_free(c->model);
    memset(c, 0, sizeof *c);
}

/* Values that do not read stay NULL; a model that does not load is the only failure. `data` must outlive the case. */
static inline bool op_case_read(op_case *c, const uint8_t *data, size_t size) {
    const uint8_t *block;
    size_t n;
    tern_model_options options;
    tern_model_options_init(&options);
    options.max_nodes = 500;
    options.max_tensor_bytes = OP_CASE_TENSOR_BYTES;
    memset(c, 0, sizeof *c);
    if (!op_case_block(&data, &size, &block, &n) ||
        tern_model_load_memory(&c->model, block, n, NULL, &options, NULL) != TERN_OK)
        return false;
    c->n_in = TN_MIN(c->model->graph->n_inputs, OP_CASE_INPUTS);
    for (int i = 0; i < c->n_in && op_case_block(&data, &size, &block, &n); i++) {
        tern_kind kind = c->model->graph->inputs[i]->type.kind;
        if (tn_onnx_read_value(&c->in[i], kind, block, n, NULL, NULL) != TERN_OK) c->in[i] = NULL;
        if (c->in[i] && tn_tensor_bytes(c->in[i]) > OP_CASE_TENSOR_BYTES) {
            tn_tensor_unref(c->in[i]);
            c->in[i] = NULL;
        }
    }
    return true;
}

static inline bool op_case_put(uint8_t *out, size_t max, size_t *at, const void *block, size_t n) {
    uint32_t size = (uint32_t)n;
    if (n > UINT32_MAX || max - *at < sizeof size || n > max - *at - sizeof size) return false;
    memcpy(out + *at, &size, sizeof size);
    if (n) memcpy(out + *at + sizeof size, block, n);
    *at += sizeof size + n;
    return true;
}

/* Bytes written; 0 when the case can not be written or needs more than max. */
static inline size_t op_case_write(const op_case *c, uint8_t *out, size_t max) {
    void *bytes = NULL;
    size_t n = 0, at = 0;
    if (tn_onnx_write_memory(c->model, &bytes, &n, NULL) != TERN_OK) return 0;
    bool ok = op_case_put(out, max, &at, bytes, n);
    tn_free(bytes);
    for (int i = 0; ok && i < c->n_in; i++) {
        bytes = NULL;
        n = 0;
        ok = !c->in[i] || tn_onnx_write_value(c->in[i], "", &bytes, &n, NULL) == TERN_OK;
        ok = ok && op_case_put(out, max, &at, bytes, n);
        tn_free(bytes);
    }
    return ok ? at : 0;
}

#endif
