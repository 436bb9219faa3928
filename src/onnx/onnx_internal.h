/* What the files of this folder share. */
#ifndef TN_ONNX_INTERNAL_H
#define TN_ONNX_INTERNAL_H

#include "onnx/fields.h"
#include "onnx/onnx.h"
#include "proto/proto.h"

/* ---- tensors ----------------------------------------------------------------------------------------------- */

/* How tensors are read: from a model, or from a file of their own. */
typedef struct tn_tensor_source {
    const void *start; /* of the whole input, for positions in error texts */
    size_t max_bytes;  /* of one tensor in memory */
    size_t dense_left; /* bytes that sparse tensors may still grow to */
    bool borrow;       /* tensors may point into the input */
    bool unaligned;    /* large ones also where their elements are not aligned there */
    /* External data: bytes [offset, offset + length) of a file. NULL: there is none. */
    tern_status (*external)(void *context, tn_str location, uint64_t offset, uint64_t length, const uint8_t **data,
                            tern_error *err);
    void *context;
    /* Called for external elements that are read at once, as they have another form in memory; NULL: not. */
    tern_status (*check)(void *context, const uint8_t *data, size_t size, tern_error *err);
} tn_tensor_source;

/* What a sparse tensor may take as a dense one, all of a file together: a few bytes could ask for any size. */
#define TN_ONNX_DENSE_BYTES ((size_t)1 << 30)

/* TensorProto and SparseTensorProto to a new tensor. `name` (may be NULL) points into the message. */
tern_status tn_onnx_tensor(tn_tensor_source *source, tn_str message, tern_tensor **out, tn_str *name, tern_error *err);
tern_status tn_onnx_sparse_tensor(tn_tensor_source *source, tn_str message, tern_tensor **out, tn_str *name,
                                  tern_error *err);

/* The other way. `name` may be "". */
tern_status tn_onnx_put_tensor(tn_pb_writer *w, const tern_tensor *t, const char *name, tern_error *err);
tern_status tn_onnx_put_external(tn_pb_writer *w, const tern_tensor *t, const char *name, const char *location,
                                 size_t offset, tern_error *err);
size_t tn_onnx_raw_bytes(const tern_tensor *t); /* not for strings */
void tn_onnx_store_raw(const tern_tensor *t, uint8_t *dst);

/* ---- import ------------------------------------------------------------------------------------------------ */

typedef struct tn_opsets {
    tn_opset_import *list;
    size_t count;
} tn_opsets;

/* A FunctionProto. */
typedef struct tn_function {
    tn_str message, name, domain, overload;
    tn_opsets opsets;
    tn_str *inputs, *outputs;
    int n_inputs, n_outputs;
} tn_function;

/* The attribute that a ref_attr_name stands for, and the scope in which its graphs look up names. */
typedef struct tn_attr_source {
    tn_str message;
    struct tn_scope *scope;
} tn_attr_source;

/* A function call being inlined. */
typedef struct tn_call {
    const tn_function *function;
    const struct tn_call *caller; /* NULL: called from the main graph or its subgraphs */
    tn_map attrs;                 /* name -> tn_attr_source */
} tn_call;

/* Where names of a file mean something: a graph, or the body of a function within the graph that it is inlined to. */
typedef struct tn_scope {
    struct tn_scope *outer; /* NULL: main graph and functions, which see nothing around them */
    tn_graph *graph;        /* where nodes go */
    tn_map *names;          /* name in the file -> tn_value; graph->by_name where both are the same */
    tn_map own;
    const tn_call *call; /* NULL: not within a function */
    const tn_opsets *opsets;
    const char *prefix;    /* of node names */
    struct tn_scope *next; /* list of all scopes */
} tn_scope;

/* A name that was read before anything gave it a value. */
typedef struct tn_pending {
    tn_scope *scope;
    tn_value *value;
    tn_str name;
    const tn_node *node; /* NULL: a function call or the list of outputs */
} tn_pending;

typedef struct tn_importer {
    tern_model *model;
    const void *start; /* of the file */
    char *folder;      /* of external data; NULL: none. Absolute and without links */
    tn_tensor_source tensors;
    tn_arena temp; /* lives until the import is over */
    tn_opsets opsets;
    tn_map functions; /* key of domain, name and overload -> tn_function */
    tn_map external;  /* location -> index in model->files + 1 */
    tn_map stand_ins; /* graph and value (two pointers) -> the value that stands for it in the graph */
    tn_scope *scopes;
    tn_call **calls;
    size_t n_calls, cap_calls;
    tn_pending *pending;
    size_t n_pending, cap_pending;
    tn_value absent; /* what a function's input means when the caller left it out */
    bool any_absent;
    int depth;          /* subgraphs and calls that are open */
    size_t inline_left; /* bytes of function bodies that may still be read */
    tern_error *err;
} tn_importer;

/* import_model.c */
tern_status tn_import_opset(tn_importer *im, tn_str message, tn_opsets *opsets);
/* Terminated copy in the arena; fails when the text holds a NUL. */
tern_status tn_import_text(tn_importer *im, tn_arena *arena, tn_str text, const char **out);
/* tn_error_prefix, as long as the text stays short enough: of deep nesting the innermost levels are told. */
void tn_import_prefix(tn_importer *im, const char *format, ...) TN_PRINTF(2, 3);
tern_status tn_import_enter(tn_importer *im); /* one level deeper, within the limit; im->depth-- leaves it */

/* import_scope.c */
tn_scope *tn_import_scope(tn_importer *im, tn_graph *graph, tn_scope *outer);            /* NULL: no memory */
tern_status tn_import_define(tn_importer *im, tn_scope *s, tn_str name, tn_value **out); /* the value may be defined */
tern_status tn_import_output(tn_importer *im, tn_scope *s, tn_str name, tn_node *node, tn_value **out);
tern_status tn_import_read(tn_importer *im, tn_scope *s, tn_str name, const tn_node *node, tn_value **out);
tern_status tn_import_resolve(tn_importer *im); /* at the end: ties what is pending to the graphs around */
bool tn_import_has_source(const tn_value *v);

/* import_graph.c */
tern_status tn_import_graph(tn_importer *im, tn_str message, tn_graph *parent, tn_scope *outer, tn_graph **out);

/* import_node.c */
tern_status tn_import_node(tn_importer *im, tn_scope *s, tn_str message, int index);
tern_status tn_import_attribute_name(tn_importer *im, tn_str message, tn_str *name, tn_str *ref);

/* import_attr.c */
tern_status tn_import_attribute(tn_importer *im, tn_scope *s, tn_node *node, tn_str message);

/* import_function.c */
tern_status tn_import_function(tn_importer *im, tn_str message);
/* Counts bytes of the file that are read again for a call. */
tern_status tn_import_charge(tn_importer *im, size_t bytes);
const tn_function *tn_import_find_function(tn_importer *im, tn_str domain, tn_str name, tn_str overload);

/* A node as it is in the file. */
typedef struct tn_node_proto {
    tn_str message, name, op_type, domain, overload;
    int n_inputs, n_outputs, n_attrs; /* inputs and outputs without absent ones at the end */
    int index;                        /* in its graph or function */
} tn_node_proto;
tern_status tn_import_call(tn_importer *im, tn_scope *s, const tn_node_proto *proto, const tn_function *function);
/* "node 12 (Conv) 'conv1': " before the text in im->err. */
void tn_import_node_prefix(tn_importer *im, const tn_node_proto *proto);

/* import_type.c */
tern_status tn_import_type(tn_importer *im, tn_str message, tn_type *out);
tern_status tn_import_value_info(tn_importer *im, tn_str message, tn_str *name, tn_type *type, bool *typed);

/* external.c */
tern_status tn_import_external(void *importer, tn_str location, uint64_t offset, uint64_t length, const uint8_t **data,
                               tern_error *err);

/* ---- compiled models --------------------------------------------------------------------------------------- */

/* Puts a tensor's elements somewhere; *offset says where. */
typedef struct tn_onnx_store {
    tern_status (*put)(void *context, const tern_tensor *t, size_t *offset, tern_error *err);
    void *context;
} tn_onnx_store;

/* An optimised model: nodes of the domain "tern" and of any opset, blocked values. What ONNX has no word for stands in
 * an attribute of each node, TN_ONNX_NOTE, which tn_onnx_read_notes takes off again. */
#define TN_ONNX_NOTE  "tern.note"  /* opset, number of inputs, of outputs, then the block of each output */
#define TN_ONNX_FUSED "tern.fused" /* node->fused, then blocked_of of each output */
tern_status tn_onnx_write_internal(const tern_model *model, const tn_onnx_store *store, bool notes, void **data,
                                   size_t *size, tern_error *err);
tern_status tn_onnx_read_notes(tern_model *m, tern_error *err);
/* Reads a model whose external data are at offsets of the blob; both must outlive it. */
tern_status tn_onnx_load_parts(tern_model *m, tn_str message, const struct tn_compiled *c, tern_error *err);
/* The source model of a .tern file, which must outlive it. */
tern_status tn_compiled_load(tern_model *m, tn_str file, tern_error *err);

#endif
