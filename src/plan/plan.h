/* L4: a graph prepared for one set of input types: which node runs when, with which kernel, and where each value lives.
 */
#ifndef TN_PLAN_H
#define TN_PLAN_H

#include "graph/graph.h"
#include "onnx/onnx.h"
#include "ops/ops.h"

/* Where a value's memory comes from. */
typedef enum tn_place {
    TN_PLACE_NONE = 0, /* nothing reads it */
    TN_PLACE_GIVEN,    /* graph input, captured value: the caller's tensor */
    TN_PLACE_CONSTANT, /* initializer, or computed while planning */
    TN_PLACE_ARENA,    /* at a fixed offset in the run's arena */
    TN_PLACE_RESULT,   /* a graph output of known type: in the tensor that the caller receives */
    TN_PLACE_DYNAMIC   /* allocated when it is computed: its shape depends on data, or it is no tensor */
} tn_place;

typedef struct tn_slot {
    tn_place place;
    tn_type type; /* known shape for ARENA and RESULT */
    int block;
    size_t bytes, offset; /* ARENA: offset in the arena */
    int result;           /* RESULT: index of the graph output */
    const tern_tensor *constant;
} tn_slot;

typedef struct tn_step {
    const tn_node *node;
    const void *state; /* from prepare; unused when dynamic */
    bool dynamic;      /* types are inferred, and the operator prepared, when it runs */
    const char *kernel;
    int64_t macs, bytes;
    int *release; /* DYNAMIC values that nobody reads after this step */
    int n_release;
} tn_step;

typedef struct tn_plan {
    tn_arena arena; /* all of the plan's memory but the tensors of env */
    tn_infer_env env;
    const tn_graph *graph;
    tn_slot *slots; /* by value id */
    tn_step *steps;
    int n_steps;
    size_t arena_bytes;        /* of a run's values */
    size_t workspace_bytes;    /* the largest scratch memory of a step */
    size_t value_bytes;        /* what the values would take without reuse */
    size_t lower_bound;        /* most bytes alive at one step: no plan can take less */
    tn_compiled_memory memory; /* where they lie, for a compiled file */
} tn_plan;

typedef struct tn_plan_options {
    tern_cpu_tier tier;
    int threads;
    tn_pack_cache *packs;
    struct tn_tuner *tuner;           /* or NULL */
    const tn_compiled_memory *memory; /* memory plans from a compiled file, or NULL */
    size_t n_memory;
} tn_plan_options;

/* `inputs`: types of graph->inputs, then `captured`: of the values that stand for outer ones, in value order; both with
 * known shapes. `constants`: elements of captured values that never change, or NULL each. */
tern_status tn_plan_create(tn_plan **out, const tn_graph *g, const tn_type *inputs, const tn_type *captured,
                           const tern_tensor *const *constants, const tn_plan_options *options, tern_error *err);
void tn_plan_free(tn_plan *plan);

/* Places intervals of `bytes` at offsets so that those which live at the same time do not overlap; see memory.c. */
typedef struct tn_interval {
    int first, last; /* steps, both included */
    size_t bytes;    /* multiple of 64 */
    size_t offset;   /* result */
} tn_interval;
/* A value that lies inside another one, as the input of a Concat may; see parts.c. */
typedef struct tn_part {
    int whole;     /* value id; -1: it lies on its own */
    size_t offset; /* bytes, multiple of 64 */
} tn_part;
/* Fills parts by value id. */
tern_status tn_plan_parts(tn_plan *plan, tn_part *parts, tern_error *err);

/* Sets the offsets so that intervals which share a step share no byte; `total` bytes are needed, and no plan can do
 * with less than `lower_bound`. Sizes are multiples of 64, their sum is below 2^63. */
tern_status tn_plan_memory(tn_interval *intervals, size_t count, size_t *total, size_t *lower_bound, tern_error *err);
/* A number for sizes and lifetimes. */
uint64_t tn_plan_digest(const tn_interval *intervals, size_t count);
/* Offsets from elsewhere, of as many intervals: taken (true) when none is astray and those that live at the same time
 * do not overlap, which takes a time of n log n; false, too, for want of memory. */
bool tn_plan_take_offsets(tn_interval *intervals, size_t count, const uint64_t *offsets, size_t *total,
                          size_t *lower_bound);

#endif
