/* Building a model instead of reading one.
 *
 *   tern_graph *g; tern_model *m; tern_error err;
 *   tern_graph_create(&g, "net", 13, &err);
 *   tern_graph_input(g, &(tern_value_info){.name = "x", .dtype = TERN_FLOAT, .rank = 2, .dims = {-1, 8}}, &err);
 *   tern_graph_constant(g, "w", weights, &err);
 *   tern_graph_node(g, &(tern_node_info){.op_type = "MatMul", .inputs = (const char *[]){"x", "w"}, .n_inputs = 2,
 *                                        .outputs = (const char *[]){"y"}, .n_outputs = 1}, &err);
 *   tern_graph_output(g, &(tern_value_info){.name = "y", .rank = -1}, &err);
 *   tern_graph_finish(g, &m, &err);
 *   tern_graph_free(g);
 *   tern_model_save(m, "net.onnx", &err);
 *
 * Values are known by name, and a node may come before those that give its inputs. Strings and attributes are copied.
 * After a failure the graph can only be freed. */
#ifndef TERN_GRAPH_H
#define TERN_GRAPH_H

#include "tern/model.h"

typedef struct tern_graph tern_graph;

/* The values are those of AttributeProto. */
typedef enum tern_attr_type {
    TERN_ATTR_FLOAT = 1,
    TERN_ATTR_INT = 2,
    TERN_ATTR_STRING = 3,
    TERN_ATTR_TENSOR = 4,
    TERN_ATTR_FLOATS = 6,
    TERN_ATTR_INTS = 7,
    TERN_ATTR_STRINGS = 8
} tern_attr_type;

typedef struct tern_attr {
    const char *name;
    tern_attr_type type;
    size_t count; /* of the list forms */
    union {
        float f;
        int64_t i;
        const char *s;
        tern_tensor *t; /* shared */
        const float *floats;
        const int64_t *ints;
        const char *const *strings;
    };
} tern_attr;

typedef struct tern_node_info {
    const char *domain; /* NULL or "": the standard's own operators */
    const char *op_type;
    const char *name;          /* for messages and profiles; NULL: none */
    const char *const *inputs; /* names of values; NULL or "" where an optional input is left out */
    size_t n_inputs;
    const char *const *outputs; /* the same for outputs */
    size_t n_outputs;
    const tern_attr *attrs;
    size_t n_attrs;
} tern_node_info;

TERN_BEGIN_DECLS

/* An empty graph of operators of the standard's version `opset`. The caller frees *out with tern_graph_free, also after
 * tern_graph_finish. */
TERN_API tern_status tern_graph_create(tern_graph **out, const char *name, int opset, tern_error *err);
/* NULL is fine. */
TERN_API void tern_graph_free(tern_graph *graph);

/* Operators of another domain ("ai.onnx.ml", or that of a registered operator) in that version may be used too. */
TERN_API tern_status tern_graph_import(tern_graph *graph, const char *domain, int version, tern_error *err);
/* An input: a tensor of known type and rank. dims[i] < 0: free, with the name dim_names[i] when that is not NULL; equal
 * names are equal numbers. */
TERN_API tern_status tern_graph_input(tern_graph *graph, const tern_value_info *info, tern_error *err);
/* A constant value. The tensor is shared: it may be freed, but must not be written any more; borrowed memory must
 * outlive the model. */
TERN_API tern_status tern_graph_constant(tern_graph *graph, const char *name, tern_tensor *tensor, tern_error *err);
TERN_API tern_status tern_graph_node(tern_graph *graph, const tern_node_info *info, tern_error *err);
/* An output, in order. Its type and shape are found by inference; what `info` says is used where that finds none, and
 * names the dims that stay free. rank -1: nothing is said. */
TERN_API tern_status tern_graph_output(tern_graph *graph, const tern_value_info *info, tern_error *err);
/* A pair of the model's metadata; a key that is there already gets the new value. */
TERN_API tern_status tern_graph_metadata(tern_graph *graph, const char *key, const char *value, tern_error *err);
/* Who made the model. NULL version: none. */
TERN_API tern_status tern_graph_producer(tern_graph *graph, const char *name, const char *version, tern_error *err);

/* Checks the graph (operators, numbers of inputs, types and shapes, no cycle), drops what no output needs and gives the
 * model, which the caller frees with tern_model_free. */
TERN_API tern_status tern_graph_finish(tern_graph *graph, tern_model **out, tern_error *err);

/* Writes a model, built or loaded, as an ONNX file: under a temporary name, then renamed. Weights go to `<path>.data`
 * when the whole would not fit into 2 GB. */
TERN_API tern_status tern_model_save(const tern_model *model, const char *path, tern_error *err);

TERN_END_DECLS
#endif
