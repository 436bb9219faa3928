/* L3: operators.
 *
 * An operator is a tn_op: functions that know nothing of how memory is planned or who calls them. It is listed in
 * op_list.inc, a row per (domain, name, since_version): rows of several versions share one tn_op where the behaviour
 * is the same or where the functions look at node->since. To add an operator: write its tn_op in the family's file
 * (or a new file, which the build finds), add its rows, add its test to tests/ops/.
 *
 * Life of a node:
 *   infer    types and shapes of the outputs from those of the inputs. The only place where ranks, types, attributes
 * and shapes are checked. Called at load with what is known, and again with numbers for every plan, or, where shapes
 * depend on data, right before run. Must cope with unknown ranks and dims (leave outputs unknown) and must not trust a
 * single attribute or value. prepare  optional; shapes of all inputs are known. Parses attributes into a state, chooses
 * kernels, packs constant weights, says how much scratch memory run needs. Once per plan. run      computes. Outputs
 * whose shapes infer could tell are allocated; the others run allocates itself. Many threads may run the same node at
 * once: state is read-only here.
 */
#ifndef TN_OPS_H
#define TN_OPS_H

#include "base/base.h"
#include "cpu/cpu.h"
#include "graph/graph.h"
#include "tensor/tensor.h"
#include "tern/op.h"
#include "thread/thread.h"

typedef struct tn_infer {
    const tn_node *node;
    tern_model *model;
    const tn_type *const *in;        /* n_in of the node; NULL: absent */
    const tern_tensor *const *value; /* the input's elements where they are known, else NULL; n_in */
    const int64_t *const *partial;   /* see tn_value.partial; n_in */
    const tn_type *const *captured;  /* types of node->captures */
    tn_type *out;                    /* n_out; arrive as unknown tensors */
    const int64_t **out_partial;     /* n_out; an operator that computes shapes may set it (memory from arena) */
    tn_arena *arena;                 /* lives as long as the outputs' types */
    /* Infers a subgraph's output types from types of its inputs (If, Loop, Scan). */
    tern_status (*infer_graph)(struct tn_infer *c, tn_graph *g, const tn_type *in, int n_in, tn_type *out, int n_out);
    int depth; /* of subgraphs around the node, from the graph where inference began */
    tern_error *err;
} tn_infer;

typedef struct tn_prepare {
    const tn_node *node;
    const tn_type *const *in;        /* known types and shapes; NULL: absent */
    const tern_tensor *const *value; /* constants; NULL: not constant */
    const tn_type *out;              /* shapes may be unknown where they depend on data */
    const int *in_block, *out_block; /* storage, see tern_tensor.block */
    tern_cpu_tier tier;
    int threads;                 /* the most that run may use */
    tn_arena *arena;             /* for state; lives as long as it */
    void *state;                 /* out: handed to run */
    size_t workspace;            /* out: bytes of scratch that run needs, aligned to 64 */
    struct tn_pack_cache *packs; /* see tn_pack_get */
    bool packs_later;            /* the caller ends with tn_pack_cache_make */
    struct tn_tuner *tuner;      /* chooses between algorithms by timing them; NULL: by estimate */
    tern_error *err;
} tn_prepare;

typedef struct tn_run {
    const tn_node *node;
    const void *state;
    tern_tensor *const *in; /* n_in; NULL: absent. Read-only */
    tern_tensor **out;      /* n_out; NULL: not wanted. With memory where the shape was known, else data == NULL */
    void *workspace;
    tern_cpu_tier tier;
    int threads;
    tn_arena *strings;    /* memory of string elements made by this run */
    uint64_t *seed;       /* of the session's random operators; advance it */
    struct tn_exec *exec; /* who runs it */
    tern_error *err;
} tn_run;

/* What run may ask of its executor. */
typedef struct tn_exec {
    tern_status (*alloc)(struct tn_exec *e, tern_dtype dtype, const tn_shape *shape, tern_tensor **out,
                         tern_error *err);
    tern_status (*run_graph)(struct tn_exec *e, const tn_node *node, tn_graph *g, tern_tensor *const *in, int n_in,
                             tern_tensor **out, int n_out, tern_error *err);
    /* Drops a reference to what alloc or run_graph gave, so that its memory counts as free again. */
    void (*drop)(struct tn_exec *e, tern_tensor *t);
} tn_exec;

typedef struct tn_expand tn_expand; /* ops/expand.h */

typedef enum tn_op_flags {
    TN_OP_ALIAS = 1 << 0,   /* output 0 is input 0's memory under another shape (Reshape): run has nothing to copy
                               when both data pointers are equal */
    TN_OP_INPLACE = 1 << 1, /* output 0 may overwrite an input of the same stored bytes that nobody reads later */
    TN_OP_BLOCKED = 1 << 2, /* takes blocked inputs and gives blocked outputs: all maps (rank 3 to 5) have one block */
    TN_OP_RANDOM = 1 << 3,  /* not folded, not merged with an equal node */
    TN_OP_NO_FOLD = 1 << 4, /* not evaluated at load even when all inputs are constant */
    TN_OP_ALLOC = 1 << 7,   /* run gives memory to tensor outputs whose shape depends on data; of all others, infer
                               can tell every shape once it knows its inputs' elements */
    TN_OP_INPLACE_RESIDUAL = 1 << 6, /* likewise, but only input 3 (tern:Conv, tern:Gemm) */
    TN_OP_PACKS = 1 << 8,            /* a constant float32 input 1 is read by tn_pack_get and tn_pack_later alone ... */
    TN_OP_PACKS_BLOCKED = 1 << 9,    /* ... where output 0 is blocked */
    TN_OP_KERNEL_NAME = 1 << 5       /* the state begins with a `const char *`: the fast kernel chosen, or NULL */
} tn_op_flags;

typedef struct tn_op {
    tern_status (*infer)(tn_infer *c);
    tern_status (*prepare)(tn_prepare *c); /* may be NULL */
    tern_status (*run)(tn_run *c);
    /* The operator is given as others: this makes them, and the three functions above are NULL. See ops/expand.h. */
    tern_status (*expand)(tn_expand *x);
    int8_t min_in, max_in; /* max -1: any number */
    int8_t min_out, max_out;
    uint16_t flags;
    /* With TN_OP_BLOCKED: whether this node can, given the types of its plain-layout inputs; NULL: always. */
    bool (*blocked_ok)(const tn_node *node, const tn_type *const *in, const tern_tensor *const *value, int block);
    /* Whether output 0 holds the inputs' memory one after the other. Where the plan then lets an input lie there from
     * the start, run has nothing to copy for it: its data pointer shows it. NULL: never. Shapes are known. */
    bool (*joins)(const tn_node *node, const tn_type *const *in, const tn_type *out, int block);
    /* Multiply-accumulates of one run, for inspect and profile; NULL: not counted. Shapes are known. */
    int64_t (*macs)(const tn_node *node, const tn_type *const *in, const tn_type *out);
} tn_op;

typedef struct tn_op_row {
    const char *domain, *name;
    const char *key; /* "domain:name" */
    int since;
    const tn_op *op;
} tn_op_row;

/* ---- registry ---------------------------------------------------------------------------------------------- */

/* The newest row not above `opset`; NULL when there is none. Domain "ai.onnx" equals "". */
const tn_op_row *tn_op_find(const char *domain, const char *name, int opset);
/* All rows; those of one operator stand together, ascending. */
const tn_op_row *tn_op_rows(size_t *count);
/* The newest opset of the domain that the rows cover (28 for ai.onnx); 0: unknown domain. */
int tn_op_newest_opset(const char *domain);
/* Warns of imported opsets above the newest. */
void tn_op_warn_about_opsets(const tern_model *m);
/* "" for "ai.onnx", else the domain itself. */
const char *tn_op_short_domain(const char *domain);
/* Replaces the nodes of all graphs whose operators are given as others (none is of ai.onnx), and finishes the graph
 * again. Comes before anything that looks at operators. */
tern_status tn_op_expand_model(tern_model *m, tern_error *err);
/* Sets node->op and node->since and checks the number of inputs and outputs; the error names op, opset and what to do.
 */
tern_status tn_op_resolve(tn_node *node, tern_error *err);
tern_status tn_op_resolve_graph(tn_graph *g, tern_error *err); /* all nodes, subgraphs too */

/* ---- custom operators (tern/op.h) --------------------------------------------------------------------------- */

/* An entry of the list. Models that found it hold a reference. */
typedef struct tn_custom {
    tn_op op;     /* first: what node->op points to */
    tern_op user; /* a deep copy but for user_data */
    tn_arena arena;
    size_t refs;
    struct tn_custom *next;
} tn_custom;

tern_status tn_custom_register(const tern_op *op, tern_error *err);
tern_status tn_custom_unregister(const char *domain, const char *name, int since, tern_error *err);
/* Sets node->op and node->since when the list has the operator in node->opset (*found), and checks the node's
 * attributes; node->graph->model holds the entry from then on. */
tern_status tn_custom_resolve(tn_node *node, bool *found, tern_error *err);
/* Calls fn for every entry, in the order of registration, with the list locked. */
void tn_custom_visit(void (*fn)(void *context, const tern_op *op), void *context);

/* ---- helpers for infer ------------------------------------------------------------------------------------- */

/* Fails unless input i is a tensor of one of `types` (an unknown type passes). */
tern_status tn_infer_want(tn_infer *c, int i, uint32_t types);
/* Fails unless two inputs' element types agree (unknown passes). */
tern_status tn_infer_same_type(tn_infer *c, int a, int b);
/* Output o is a tensor of that type and shape (shape NULL: rank unknown). */
void tn_infer_out(tn_infer *c, int o, tern_dtype dtype, const tn_shape *shape);
void tn_infer_out_like(tn_infer *c, int o, int i); /* type and shape of input i */
/* ONNX multidirectional broadcasting of n shapes; unknown dims stay unknown. The error names both shapes. */
tern_status tn_infer_broadcast(tn_infer *c, const tn_shape *const *shapes, int n, tn_shape *out);
/* Axis in [-rank, rank) to [0, rank); fails otherwise, naming `what`. */
tern_status tn_infer_axis(tn_infer *c, int64_t axis, int rank, int *out, const char *what);
/* Elements of a 0-D or 1-D integer input, dims encoding: from its value or partial value. False when not known.
 * *count <= max; more is an error for the caller to report. */
bool tn_infer_ints(tn_infer *c, int i, int64_t *out, int max, int *count);
/* Stores the partial value of output o (copied into the arena). */
tern_status tn_infer_set_partial(tn_infer *c, int o, const int64_t *values, int count);
/* Fails with "input 'name' (float32[2,3]): <text>" style context; use for all messages of infer. */
tern_status tn_infer_fail(tn_infer *c, tern_status status, const char *format, ...) TN_PRINTF(3, 4);

/* ---- helpers for prepare ----------------------------------------------------------------------------------- */

/* A packed form of constant input `i`, made once per session and shared by all plans: `fn` fills `bytes` bytes. `key`
 * tells apart different packings of one input. NULL on error (c->err is set). */
typedef void (*tn_pack_fn)(const void *context, const tern_tensor *value, void *dst);
const void *tn_pack_get(tn_prepare *c, int i, uint64_t key, size_t bytes, tn_pack_fn fn, const void *context);
/* Likewise, but filled before the first run only, many at a time, with a copy of the context: for large weights. */
const void *tn_pack_later(tn_prepare *c, int i, uint64_t key, size_t bytes, tn_pack_fn fn, const void *context,
                          size_t context_size);
/* Whether that packed form comes with the compiled model. */
bool tn_pack_is_compiled(const tn_prepare *c, int i, uint64_t key, size_t bytes);
/* State from the arena, cleared; NULL on error (c->err is set). */
void *tn_prepare_state(tn_prepare *c, size_t bytes);

/* ---- helpers for run --------------------------------------------------------------------------------------- */

/* Gives output o memory; the operator has TN_OP_ALLOC. Not cleared. */
tern_status tn_run_alloc(tn_run *c, int o, tern_dtype dtype, const tn_shape *shape);
/* Output o becomes another reference to `t` (sequences, optionals, Identity, If). */
tern_status tn_run_share(tn_run *c, int o, tern_tensor *t);
/* A string element whose bytes live as long as the run. */
tern_status tn_run_string(tn_run *c, const char *data, size_t len, tern_string *out);
/* Runs a subgraph on inputs; fills outputs with references that the caller drops. */
tern_status tn_run_graph(tn_run *c, tn_graph *g, tern_tensor *const *in, int n_in, tern_tensor **out, int n_out);
/* Drops a reference to a tensor of this run (NULL is fine). tn_tensor_unref would do, but for the memory limit. */
void tn_run_drop(tn_run *c, tern_tensor *t);
/* Before run: fails when a wanted tensor output has no memory although run will not allocate it. */
tern_status tn_run_check_outputs(const tn_node *node, const tn_type *types, tern_tensor *const *out, tern_error *err);
tern_status tn_run_fail(tn_run *c, tern_status status, const char *format, ...) TN_PRINTF(3, 4);

/* ---- inference over a graph ---------------------------------------------------------------------------------- */

/* What is known of the values of one graph, indexed by tn_value.id. */
typedef struct tn_infer_env {
    tern_model *model;
    const tn_graph *graph;
    struct tn_infer_env *outer; /* of the graph around; captured values are looked up there */
    tn_type *types;
    const tern_tensor **values; /* known elements; the env holds a reference to those in `owned` only */
    const int64_t **partials;
    tn_arena *arena;
    tern_tensor **owned; /* tensors that inference computed */
    size_t n_owned, cap_owned;
    size_t max_value_bytes; /* computes outputs up to this size from known inputs */
    bool record;            /* what is found of values of subgraphs is written to tn_value.type */
} tn_infer_env;

/* Everything unknown but constants and, with `declared`, what the file says of inputs. arena must outlive the env. */
tern_status tn_infer_env_init(tn_infer_env *env, tern_model *model, const tn_graph *g, tn_infer_env *outer,
                              tn_arena *arena, bool declared, tern_error *err);
void tn_infer_env_release(tn_infer_env *env);
/* Infers one node whose inputs are in env; writes its outputs there. The error text has the node's context. */
tern_status tn_infer_env_node(tn_infer_env *env, const tn_node *node, tern_error *err);
tern_status tn_infer_env_graph(tn_infer_env *env, tern_error *err); /* all nodes in order */

/* Packed weights of a session. All of its functions may be called by any thread. */
typedef struct tn_pack_cache tn_pack_cache;
/* source: the model whose files hold the constants; it outlives the cache. NULL: constants lie elsewhere. */
tn_pack_cache *tn_pack_cache_new(const tern_model *source);
void tn_pack_cache_free(tn_pack_cache *cache);
size_t tn_pack_cache_bytes(tn_pack_cache *cache);
/* A packed form that was made before and lives elsewhere, for longer than the cache; false: no memory. */
bool tn_pack_cache_add(tn_pack_cache *cache, const tern_tensor *value, uint64_t key, size_t bytes, const void *data);
/* Makes all that tn_pack_later left. */
tern_status tn_pack_cache_make(tn_pack_cache *cache, int threads, tern_error *err);
size_t tn_pack_cache_count(tn_pack_cache *cache);
void tn_pack_cache_item(tn_pack_cache *cache, size_t i, const tern_tensor **value, uint64_t *key, size_t *bytes,
                        const void **data);

/* ---- one node, evaluated by itself ------------------------------------------------------------------------- */

/* Infers, prepares and runs `node` on concrete inputs with memory from the heap: constant folding and tests.
 * out[n_out] receives references. */
tern_status tn_node_eval(const tn_node *node, tern_tensor *const *in, tern_tensor **out, tern_error *err);

#endif
