/* What If, Loop, Scan and SequenceMap share. */
#ifndef TN_OPS_CONTROL_INTERNAL_H
#define TN_OPS_CONTROL_INTERNAL_H

#include "ops/group.h"

/* The subgraph in an attribute; NULL when it is missing. */
tn_graph *tn_control_graph(const tn_node *n, const char *name);

/* A body and what is known of it: `in` is given, `out` is filled. Input first_in + k and output first_out + k are one
 * state that goes round, 0 <= k < n_states. */
typedef struct tn_body_types {
    tn_graph *graph;
    tn_type *in, *out;
    int first_in, first_out, n_states;
} tn_body_types;

/* Arrays for all inputs and outputs, unknown at first. */
tern_status tn_body_types_init(tn_infer *c, tn_graph *g, tn_body_types *t);
/* Widens the states' types until they hold for every iteration, then infers the outputs. What can not be told stays
 * unknown: a body that fails may never run, so its errors are those of the run. */
tern_status tn_body_types_settle(tn_infer *c, tn_body_types *t);
/* A tensor type with `dim` put in at `axis` (negative: from the end); unknown rank where it is not known. */
tn_type tn_type_stacked(const tn_type *t, int64_t axis, int64_t dim);

/* The inputs and outputs of a body while it runs, all references of its own. */
typedef struct tn_body_run {
    tn_run *c;
    tn_graph *graph;
    tern_tensor **in, **out;
    int n_in, n_out;
} tn_body_run;

tern_status tn_body_run_init(tn_run *c, tn_graph *g, int n_out, tn_body_run *b);
void tn_body_run_release(tn_body_run *b);
void tn_body_run_set(tn_body_run *b, int i, tern_tensor *t); /* takes another reference */
/* Runs the body; output first_out + k becomes input first_in + k. Errors name the iteration. */
tern_status tn_body_run_step(tn_body_run *b, int64_t iteration, int first_in, int first_out, int n_states);
void tn_body_run_drop_outputs(tn_body_run *b);
/* An input of the body as a scalar (or a vector of one, where the body declares that). */
tern_status tn_body_run_scalar(tn_body_run *b, int i, tern_dtype dtype, int64_t value);

/* What an output of the body is declared to be, as the shape of a result without iterations: free dims are 0. */
tern_status tn_body_empty_shape(tn_run *c, const tn_graph *g, int output, tern_dtype *dtype, tn_shape *shape);

#endif
