/* Models for tests, written field by field: also such as no exporter would write. Names in lists are separated by
 * commas; an empty one is an absent input or output. */
#ifndef ONNX_BUILD_H
#define ONNX_BUILD_H

#include "graph/graph.h"
#include "onnx/fields.h"
#include "onnx/onnx.h"
#include "proto/proto.h"
#include "test_util.h"

/* Numbers of attribute types, for b_attr_head. */
enum { B_FLOAT = 1, B_INT, B_STRING, B_TENSOR, B_GRAPH, B_FLOATS, B_INTS, B_STRINGS };

/* ir_version and an import of ai.onnx; opset 0: none. */
void b_model(tn_pb_writer *w, int ir, int opset);
void b_opset(tn_pb_writer *w, uint32_t field, const char *domain, int64_t version);

/* Opened here, closed by tn_pb_end. */
size_t b_graph(tn_pb_writer *w, uint32_t field, const char *name);
size_t b_node(tn_pb_writer *w, uint32_t field, const char *domain, const char *op, const char *name, const char *in,
              const char *out);
size_t b_attr(tn_pb_writer *w, uint32_t field, const char *name, int type);
size_t b_function(tn_pb_writer *w, const char *domain, const char *name, const char *in, const char *out);

/* A node of ai.onnx in a graph, without attributes. */
void b_simple(tn_pb_writer *w, const char *op, const char *in, const char *out);
void b_attr_i(tn_pb_writer *w, const char *name, int64_t value);
/* An attribute of type `type` that refers to the function's attribute `ref`. */
void b_attr_ref(tn_pb_writer *w, const char *name, int type, const char *ref);
/* `dims` like "batch,3,224,?" ; NULL: of unknown rank. */
void b_info(tn_pb_writer *w, uint32_t field, const char *name, tern_dtype dtype, const char *dims);
void b_dims(tn_pb_writer *w, uint32_t field, const char *dims);
/* A TensorProto with raw_data. */
void b_raw(tn_pb_writer *w, uint32_t field, const char *name, tern_dtype dtype, const char *dims, const void *data,
           size_t bytes);

/* y = Add(Relu(x), w) with a scalar initializer w: "x" and "y" are float32[batch,3]. */
void b_small_model(tn_pb_writer *w);

/* Loads what was written and releases it. The model keeps pointing into memory that b_free_all frees at the end. */
tern_status b_load(tn_pb_writer *w, tern_model **out, tern_error *err);
/* The same, which must work; with graphs finished. */
tern_model *b_load_ok(tn_pb_writer *w);
/* The same, which must fail with that status and a one-line text that holds `part`. */
void b_load_fails(tn_pb_writer *w, tern_status status, const char *part);
/* Frees the model and what it points into. */
void b_free(tern_model *model);

/* The only node with that operator; NULL when there is none, a failed test when there are several. */
tn_node *b_find_op(const tn_graph *g, const char *op);

#endif
