/* L2: a model in memory. Graphs own nodes and values through the model's arena; nothing is freed one by one. */
#ifndef TN_GRAPH_H
#define TN_GRAPH_H

#include "base/base.h"
#include "tensor/tensor.h"

typedef struct tn_graph tn_graph;
typedef struct tn_node tn_node;
typedef struct tn_value tn_value;
typedef struct tn_attr tn_attr;
struct tn_op; /* ops/ops.h */

/* ---- types ------------------------------------------------------------------------------------------------- */

/* What is known of a value before it exists. */
typedef struct tn_type {
    tern_kind kind;
    tern_dtype dtype;              /* TERN_UNDEFINED: unknown. Map: type of the keys */
    bool ranked;                   /* shape.rank is known; single dims may not be */
    tn_shape shape;                /* see TN_DIM_UNKNOWN */
    const struct tn_type *element; /* sequence, optional, map value; NULL: unknown */
} tn_type;

/* ---- attributes -------------------------------------------------------------------------------------------- */

typedef enum tn_attr_type { /* AttributeProto.AttributeType */
                            TN_ATTR_FLOAT = 1,
                            TN_ATTR_INT,
                            TN_ATTR_STRING,
                            TN_ATTR_TENSOR,
                            TN_ATTR_GRAPH,
                            TN_ATTR_FLOATS,
                            TN_ATTR_INTS,
                            TN_ATTR_STRINGS,
                            TN_ATTR_TENSORS,
                            TN_ATTR_GRAPHS,
                            TN_ATTR_SPARSE_TENSOR,
                            TN_ATTR_SPARSE_TENSORS,
                            TN_ATTR_TYPE_PROTO,
                            TN_ATTR_TYPE_PROTOS
} tn_attr_type;

struct tn_attr {
    const char *name;
    tn_attr_type type;
    size_t count; /* of the list forms; 1 otherwise */
    union {
        float f;
        int64_t i;
        tn_str s;
        tern_tensor *t; /* also sparse: made dense at import */
        tn_graph *g;
        tn_type *type_proto;
        const float *floats;
        const int64_t *ints;
        const tn_str *strings;
        tern_tensor **tensors;
        tn_graph **graphs;
        tn_type **type_protos;
    };
};

/* ---- nodes and values -------------------------------------------------------------------------------------- */

struct tn_value {
    int id;           /* index in graph->values */
    const char *name; /* unique in its graph; "" never occurs */
    tn_type type;
    int block;              /* storage of dim 1, see tern_tensor.block; set by the layout pass */
    const char *blocked_of; /* name of the value whose blocked form this is; NULL: it stands for itself */
    tern_tensor *constant;  /* initializer or folded result; NULL otherwise. Owned by model->tensors */
    /* Known elements of a small integer tensor (rank 0 or 1) whose elements are partly symbols; NULL otherwise. */
    const int64_t *partial; /* shape.dims[0] (or 1) elements */
    tn_node *producer;      /* NULL: graph input, initializer or captured */
    tn_value *captured;     /* the value of graph->parent that this one stands for; NULL otherwise */
    bool is_input;          /* among graph->inputs */
    int n_uses;             /* node inputs, graph outputs and captures that read it */
};

struct tn_node {
    int id;             /* index in graph->nodes */
    const char *name;   /* from the file; may be "" */
    const char *domain; /* "" is ai.onnx; "tern" are the internal fused ones */
    const char *op_type;
    int opset;              /* the model's version of that domain */
    int since;              /* since_version of the row that was found; 0: not resolved yet */
    const struct tn_op *op; /* NULL: not resolved yet */
    tn_value **in;          /* n_in, NULL where an optional input is absent */
    tn_value **out;         /* n_out, NULL where an optional output is not wanted */
    int n_in, n_out;
    tn_attr *attrs;
    int n_attrs;
    tn_value **captures; /* outer values that its subgraphs read: implicit inputs */
    int n_captures;
    tn_graph *graph;
    const char *fused; /* what fusion merged into it ("BatchNormalization, Relu"), for inspect; NULL: nothing */
};

struct tn_graph {
    struct tern_model *model;
    tn_graph *parent; /* NULL for the main graph */
    const char *name;
    tn_value **values;
    tn_node **nodes;   /* in an order in which every node follows its producers, once sorted */
    tn_value **inputs; /* initializers that are also listed as inputs are not among them */
    tn_value **outputs;
    int n_values, n_nodes, n_inputs, n_outputs;
    size_t cap_values, cap_nodes, cap_inputs, cap_outputs;
    tn_map by_name;   /* name -> tn_value */
    uint64_t n_fresh; /* names made by tn_graph_new_value so far */
    tn_graph *next;   /* list of all graphs of the model */
};

typedef struct tn_opset_import {
    const char *domain;
    int version;
} tn_opset_import;

typedef struct tn_property {
    const char *key, *value;
} tn_property;

/* Something that lives at least as long as the model. */
typedef struct tn_held {
    void *object;
    void (*release)(void *object);
} tn_held;

typedef struct tn_limits {
    int64_t max_nodes; /* after inlining, all graphs together */
    size_t max_tensor_bytes;
    size_t max_model_bytes; /* of the file */
    int max_nesting;        /* subgraphs, functions, protobuf messages */
} tn_limits;

struct tern_model {
    tn_arena arena; /* everything below, but tensors' memory */
    tn_graph *graph;
    tn_graph *all_graphs; /* linked by next; subgraphs too, also those of dropped nodes */
    char *path;           /* for messages; NULL: from memory */
    tn_file *files;       /* mapped: the model and its external data. Initializers point into them */
    size_t n_files, cap_files;
    int64_t ir_version;
    const char *producer_name, *producer_version, *domain, *doc;
    int64_t model_version;
    tn_opset_import *opsets;
    size_t n_opsets;
    tn_property *metadata;
    size_t n_metadata;
    const char **symbols; /* names of symbolic dims; NULL entries are anonymous */
    size_t n_symbols, cap_symbols;
    tn_map symbol_by_name; /* name -> index + 1 */
    tern_tensor **tensors; /* every tensor that attributes and constants refer to: freed with the model */
    size_t n_tensors, cap_tensors;
    struct tn_held *held; /* see tn_model_hold */
    size_t n_held, cap_held;
    size_t n_nodes_total;
    tn_limits limits;
    const struct tn_compiled *compiled; /* what a .tern file holds besides (onnx/onnx.h), in the arena; NULL: nothing */
    /* Of a .tern file: whether these bytes are as they were written; NULL: nothing to check. */
    tern_status (*check)(const struct tn_compiled *c, const void *data, size_t size, tern_error *err);
};

typedef struct tern_model tern_model;

/* ---- building ---------------------------------------------------------------------------------------------- */
/* All return NULL (or an error) only when memory is out or a limit is reached. Strings are copied into the arena. */

tern_model *tn_model_new(void);
void tn_model_free(tern_model *model);
tn_graph *tn_graph_new(tern_model *model, tn_graph *parent, const char *name);
/* Finds or makes the value of that name in this graph alone. */
tn_value *tn_graph_value(tn_graph *g, const char *name);
tn_value *tn_graph_find(const tn_graph *g, const char *name);     /* NULL when absent */
tn_value *tn_graph_new_value(tn_graph *g, const char *base_name); /* unique name made from base_name */
tn_node *tn_graph_add_node(tn_graph *g, const char *domain, const char *op_type, int opset, int n_in, int n_out);
tern_status tn_graph_add_input(tn_graph *g, tn_value *v, tern_error *err);
tern_status tn_graph_add_output(tn_graph *g, tn_value *v, tern_error *err);
/* The model takes over the reference. */
tern_status tn_model_own_tensor(tern_model *m, tern_tensor *t, tern_error *err);
/* To be called before elements of the tensor are read, which is one of the model's, or points to the same memory: those
 * of a .tern file are not looked at before. */
tern_status tn_model_check(const tern_model *m, const tern_tensor *t, tern_error *err);
/* The same for all tensors of the model. */
tern_status tn_model_check_all(const tern_model *m, tern_error *err);
/* Calls release(object) when the model is freed; on failure at once. Once per object. */
tern_status tn_model_hold(tern_model *m, void *object, void (*release)(void *object), tern_error *err);
int64_t tn_model_symbol(tern_model *m, const char *name);           /* NULL name: a new anonymous one */
const char *tn_model_symbol_name(const tern_model *m, int64_t dim); /* "?" when it has none */
tn_attr *tn_node_add_attr(tn_node *n, const char *name, tn_attr_type type);

/* ---- editing and checking ---------------------------------------------------------------------------------- */

/* Sorts the nodes topologically (an order that is right already stays as it is), sets producers, ids, captures and use
 * counts, drops nodes and values that nothing reads; fails on a cycle, on a value with two producers or with none.
 * Subgraphs are finished too. A node that gives a value which has become constant loses that output, and goes when it
 * has no other one. Call it after import and after each pass that edited. Linear. */
tern_status tn_graph_finish(tn_graph *g, tern_error *err);
/* Every use of `from` in nodes, outputs and captures becomes `to`. Linear in the number of nodes: batch where it
 * matters. */
void tn_graph_replace_uses(tn_graph *g, tn_value *from, tn_value *to);
/* ai.onnx.preview.training:Gradient. Its n inputs of the file are followed by n values that its attributes "xs" and
 * "zs" name, and the one of "y": so they can be renamed and are kept. */
bool tn_node_is_gradient(const tn_node *n);
/* How many names "xs" and "zs" have; false when one of the three attributes is of another type. */
bool tn_gradient_counts(const tn_node *n, int *nx, int *nz);
/* "node 'conv1' (Conv, opset 13)" and the like, for error texts. */
const char *tn_node_text(const tn_node *n, char *buffer, size_t size);
#define TN_NODE_TEXT 256
/* "float32[batch,3,224,224]". */
void tn_type_text(const tern_model *m, const tn_type *t, tn_text *out);
tn_type tn_type_of_tensor(const tern_tensor *t);

/* ---- attribute access -------------------------------------------------------------------------------------- */

const tn_attr *tn_attr_find(const tn_node *n, const char *name); /* NULL when absent */
/* The default when absent. A wrong type is found by the registry's attribute check before any operator runs. */
int64_t tn_attr_i(const tn_node *n, const char *name, int64_t default_value);
float tn_attr_f(const tn_node *n, const char *name, float default_value);
/* Compare with tn_str_eq / tn_attr_is. */
tn_str tn_attr_s(const tn_node *n, const char *name, const char *default_value);
bool tn_attr_is(const tn_node *n, const char *name, const char *default_value, const char *expected);
/* NULL and *count = 0 when absent. */
const int64_t *tn_attr_ints(const tn_node *n, const char *name, size_t *count);
const float *tn_attr_floats(const tn_node *n, const char *name, size_t *count);
const tn_str *tn_attr_strings(const tn_node *n, const char *name, size_t *count);
const tern_tensor *tn_attr_tensor(const tn_node *n, const char *name);

#endif
