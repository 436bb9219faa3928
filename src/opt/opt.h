/* L4: graph optimisation. A pass edits the graph of one model and leaves it finished (tn_graph_finish); pass_list.inc
 * says in which order they run. Passes are linear in the number of nodes. */
#ifndef TN_OPT_H
#define TN_OPT_H

#include "graph/graph.h"
#include "ops/ops.h"

/* A copy of the graph that passes may edit: nodes and values are new, tensors are shared. `src` must outlive it. */
tern_status tn_opt_clone(tern_model **out, const tern_model *src, tern_error *err);

/* Copies constants that lie unaligned in the file (tern_tensor.unaligned). Models that are not shared only. */
typedef enum tn_align_rule {
    TN_ALIGN_ALL,
    TN_ALIGN_BUT_WEIGHTS, /* not those that only products read, of a graph as it is in the file */
    TN_ALIGN_BUT_PACKED   /* not those that only packing reads, of resolved and optimised graphs */
} tn_align_rule;
tern_status tn_opt_align(tern_model *model, tn_align_rule rule, tern_error *err);
/* The tensors of a resolved and optimised model that are read by more than packing; the list is freed with tn_free. */
tern_status tn_opt_read_tensors(tern_model *model, const tern_tensor ***list, size_t *count, tern_error *err);

/* What a pass works with. */
typedef struct tn_opt {
    tern_model *model;
    tn_graph *graph;
    tern_cpu_tier tier;
    int opset;           /* simplifying: the version that the model imports, which new nodes have to be of; else 0 */
    bool bf16;           /* maps between convolutions and constant weights become bfloat16 */
    bool subgraphs;      /* passes run in them, too, and the types that the file declares there are forgotten */
    tn_arena scratch;    /* released after each pass */
    tn_node **sole_user; /* by value id: the one node that reads it once, NULL when there are more readers or none */
    int n_gradients;     /* nodes of Gradient that were expanded */
    tern_error *err;
} tn_opt;

/* Resolves operators, infers types, and runs all passes; without `fuse` only folding and clean-up. `bf16`: what the
 * layout pass may do in bfloat16, it does. */
tern_status tn_opt_run(tern_model *model, tern_cpu_tier tier, bool fuse, bool bf16, tern_error *err);

/* Replaces one Gradient node (ai.onnx.preview.training) of the model by the nodes that compute it; *found is false when
 * there is none. Types must have been inferred. Leaves the graph finished and resolved. */
tern_status tn_opt_expand_gradient(tn_opt *o, bool *found);

/* Rewrites the graph of a model, which must not be shared (tn_opt_clone), for another version of the standard's own
 * operators; the error names node and reason when that can not express it. Types of values decide some cases:
 * tn_opt_infer first. */
tern_status tn_opset_convert(tern_model *model, int opset, tern_error *err);
/* Resolves all operators and gives every value of the main graph its type, as far as it can be told. */
tern_status tn_opt_infer(tern_model *model, tern_error *err);

/* Folds constants and what is known of shapes, drops what does nothing, merges scales and offsets per channel into
 * convolutions, and writes activations and LayerNormalization as one node where the model's opset has it: the result
 * has standard operators of that opset only. */
tern_status tn_opt_simplify(tern_model *model, tern_error *err);

/* Weights and arithmetic in half precision: float32 values become `half` (FLOAT16 or BFLOAT16) where the operators of
 * the model's opset take it. Inputs and outputs keep their type. Nodes of other domains, nodes with subgraphs, nodes
 * whose operator or name `keep` says yes to, and those with constants that do not fit stay in float32, with Casts
 * around. *changed: how many nodes compute in half precision now. */
typedef bool (*tn_keep_fn)(void *context, const tn_node *node);
tern_status tn_opt_half(tern_model *model, tern_dtype half, tn_keep_fn keep, void *context, int *changed,
                        tern_error *err);
/* Whether the standard lets input (output) i of that node be of type `dtype`, in the model's opset. */
bool tn_opset_allows(const tn_node *node, bool output, int i, tern_dtype dtype);
/* Calls fn for every attribute of a standard operator that its version does not have, and for those that it must have
 * and the node has not; names that start with two underscores are free for all. */
void tn_opset_check_attrs(const tn_node *node, void (*fn)(void *context, const tn_node *node, const char *text),
                          void *context);

/* ---- for passes ------------------------------------------------------------------------------------------------ */

/* Rebuilds sole_user after tn_graph_finish. */
tern_status tn_opt_index(tn_opt *o);
bool tn_opt_is(const tn_node *n, const char *domain, const char *op_type);
/* The value's elements when it is a constant tensor; NULL otherwise. */
const tern_tensor *tn_opt_const(const tn_value *v);
/* True and the number when v is a constant float tensor with one element. */
bool tn_opt_scalar(const tn_value *v, float *out);
/* Whether a pass may write an operator that the standard has had since opset `first`. */
bool tn_opt_may_write(const tn_opt *o, int first);
/* A new node at position `at` of the list, in place of what was there; outputs are taken over from `old` when given.
 * Inputs are set by the caller. NULL: out of memory (err is set). */
tn_node *tn_opt_replace(tn_opt *o, int at, const char *domain, const char *op_type, int opset, int n_in, tn_node *old);
/* The node vanishes; its outputs must have no readers any more. */
void tn_opt_remove(tn_node *n);
/* A constant value made of `t` (the reference is taken over); NULL: out of memory (err is set). */
tn_value *tn_opt_new_const(tn_opt *o, const char *base_name, tern_tensor *t);
tern_status tn_opt_set_i(tn_opt *o, tn_node *n, const char *name, int64_t value);
tern_status tn_opt_set_f(tn_opt *o, tn_node *n, const char *name, float value);
tern_status tn_opt_set_s(tn_opt *o, tn_node *n, const char *name, const char *value);
tern_status tn_opt_set_ints(tn_opt *o, tn_node *n, const char *name, const int64_t *values, size_t count);
/* Notes in node->fused that `what` was merged into it. */
tern_status tn_opt_note(tn_opt *o, tn_node *n, const char *what);

#endif
