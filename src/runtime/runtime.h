/* L5: sessions. A session owns an optimised copy of the model's graph, the packed weights, and a plan per set of input
 * types; runs share all of it and own a frame each. */
#ifndef TN_RUNTIME_H
#define TN_RUNTIME_H

#include "onnx/onnx.h"
#include "opt/opt.h"
#include "plan/plan.h"
#include "tern/session.h"

/* The memory of one run: made once, then passed from run to run of its plan. */
typedef struct tn_frame {
    struct tn_frame *next; /* in the plan's list of idle frames */
    tern_tensor **values;  /* by value id; NULL: not there (yet) */
    tern_tensor *headers;  /* by value id: tensors over planned memory */
    tern_tensor **args;    /* inputs, then outputs of the step that runs */
    tern_tensor **results; /* by graph output */
    uint8_t *memory;       /* plan->arena_bytes, then plan->workspace_bytes */
} tn_frame;

typedef struct tn_cached_plan {
    const tn_graph *graph;
    tn_type *inputs; /* graph inputs, then captured values */
    int n_inputs;
    tn_plan *plan;
    tn_frame *idle;
    int n_users; /* runs under way */
    uint64_t last_use;
    int max_args;
} tn_cached_plan;

/* One step of the main graph or, when plan->graph has a parent, of a subgraph, told right after it ran: `values` by
 * value id, as they are before a later step writes over them. For tools that look inside a run. */
typedef struct tn_observation {
    const tn_plan *plan;
    const tn_step *step;
    tern_tensor *const *values;
    uint64_t start_ns, end_ns; /* monotonic */
} tn_observation;
typedef void (*tn_observe_fn)(void *context, const tn_observation *o);

struct tern_session {
    tern_model *source; /* the caller's model: initializers' memory */
    tern_model *model;  /* the optimised copy */
    tern_options options;
    tern_cpu_tier tier;
    tn_pack_cache *packs;
    const tn_compiled_part *part; /* of the source, when it is compiled for this machine; or NULL */
    bool separates;               /* see tn_batch_separates */
    int64_t batch_count;          /* for tests: so many samples at a time; 0: by estimate */
    struct tn_tuner *tuner;       /* NULL: does not tune. Used while planning */
    tn_mutex mutex;               /* guards what follows, and planning */
    tn_cached_plan **plans;
    size_t n_plans, cap_plans;
    uint64_t uses, seed;
    tn_observe_fn observe; /* NULL: none. Set before any run */
    void *observe_context;
};

tern_status tn_session_create(tern_session **out, tern_model *model, const tern_options *options, tern_error *err);
void tn_session_free(tern_session *s);
tern_status tn_session_run(tern_session *s, const tern_feed *inputs, size_t n_inputs, const char *const *names,
                           tern_tensor **outputs, size_t n_outputs, tern_error *err);

/* Takes the optimised model and the packed constants of a compiled file; *done is false when it has none for this
 * machine, and the model is optimised anew (with a warning). */
tern_status tn_session_use_compiled(tern_session *s, bool *done, tern_error *err);
/* Writes one .tern file for all of these sessions, which were made of one model on different tiers. */
tern_status tn_session_compile(tern_session *const *sessions, size_t count, const char *path, tern_error *err);

/* The plan for inputs of these types; made when there is none. Hand it back with tn_session_release_plan. */
tern_status tn_session_plan(tern_session *s, const tn_graph *g, tern_tensor *const *given, int n_given,
                            tn_cached_plan **out, tern_error *err);
/* A frame of the plan, and back; frame NULL: there was none. */
tern_status tn_session_take_frame(tern_session *s, tn_cached_plan *c, tn_frame **out, tern_error *err);
void tn_session_release_plan(tern_session *s, tn_cached_plan *c, tn_frame *frame);

/* Bytes of the session and its model: packed weights, constants that are no part of a file in memory, and the frames
 * that runs have made so far. Waits while a plan is being made. */
size_t tn_session_bytes(tern_session *s);

/* Whether every sample (dim 0 of all inputs and outputs, free in the model) is computed from that sample alone. */
bool tn_batch_separates(const tn_graph *g);
/* How many samples a run of these inputs should take at a time, a divisor of the batch; 0: all of them. */
tern_status tn_batch_count(tern_session *s, tern_tensor *const *given, int64_t *count, tern_error *err);

/* What all nested graphs of one run share. */
typedef struct tn_run_state {
    tern_session *session;
    tn_arena strings;
    uint64_t seed;
    size_t dynamic_bytes; /* of dynamic values that are alive */
    int64_t n_graph_runs; /* subgraphs run so far */
} tn_run_state;

/* One graph being run. */
typedef struct tn_context {
    tn_exec exec; /* first: operators see this part */
    tn_run_state *run;
    tn_cached_plan *cached;
    tn_frame *frame;
} tn_context;

/* Runs all steps. frame->values of given slots and frame->results of RESULT slots are set by the caller. */
tern_status tn_exec_steps(tn_context *c, tern_error *err);
tern_status tn_exec_run_graph(tn_exec *e, const tn_node *node, tn_graph *g, tern_tensor *const *in, int n_in,
                              tern_tensor **out, int n_out, tern_error *err);
tern_status tn_exec_alloc(tn_exec *e, tern_dtype dtype, const tn_shape *shape, tern_tensor **out, tern_error *err);
void tn_exec_drop(tn_exec *e, tern_tensor *t);
/* Drops references to everything the run made. */
void tn_exec_clear(tn_context *c);

#endif
