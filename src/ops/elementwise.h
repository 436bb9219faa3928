/* Elementwise operators: broadcasting, conversion of small floats, blocked storage and threads around typed loops.
 *
 * An operator is a table of loops by element type, a set of types and an infer rule; unary.c and binary.c have them as
 * rows of a list. Prepare picks the loop and the walk over the operands, run hands out chunks of a fixed number of
 * elements to the threads, so that nothing depends on how many there are. */
#ifndef TN_OPS_ELEMENTWISE_H
#define TN_OPS_ELEMENTWISE_H

#include "ops/broadcast.h"
#include "ops/typed.h"

/* ---- inference ----------------------------------------------------------------------------------------------- */

/* Output 0 is like input 0, which has one of `types`; of type `out` unless that is TERN_UNDEFINED. */
tern_status tn_elementwise_infer_unary(tn_infer *c, uint32_t types, tern_dtype out);
/* All inputs are of one type of `types` and broadcast; the output is of that type or of `out`. */
tern_status tn_elementwise_infer(tn_infer *c, uint32_t types, tern_dtype out);
/* The same for inputs [first, n_in) without a look at types. */
tern_status tn_elementwise_infer_shape(tn_infer *c, int first, tern_dtype out);
/* Does this version of a two-operand operator broadcast by attributes `broadcast` and `axis` (opset 1 to 6)? */
bool tn_elementwise_is_legacy(const tn_node *node);
/* Shape of input 1 as broadcasting sees it: opset 1 to 6 may align it with an axis of input 0, by adding dims of 1
 * behind. Shapes are known or not; fails when the axis does not fit. */
tern_status tn_elementwise_legacy_shape(const tn_node *node, const tn_shape *a, const tn_shape *b, tn_shape *out,
                                        tern_error *err);

/* ---- execution ----------------------------------------------------------------------------------------------- */

/* Elements of a chunk that is converted or gathered. */
#define TN_ELEMENTWISE_CHUNK 512

typedef struct tn_elementwise {
    tn_broadcast b;
    tn_loop_fn fn;
    tn_loop_args args;
    size_t in_size[TN_BROADCAST_MAX_IN], out_size; /* bytes of an element */
    tern_dtype small_in, small_out; /* converted to and from float32 around the loop; TERN_UNDEFINED: not converted */
    /* Blocked outputs: lanes [lanes, block) of the last block are cleared. block 0: nothing to clear. */
    int64_t n, blocks, spatial;
    int block, lanes;
} tn_elementwise;

/* Fills `e` for the node's inputs [0, n_in) and output 0; `table` is indexed by the type of input n_in - 1. */
tern_status tn_elementwise_init(tn_prepare *c, tn_elementwise *e, const tn_loop_fn *table, int n_in);
/* A state that tn_elementwise_run takes, with the attributes alpha and beta of the loops. */
tern_status tn_elementwise_prepare(tn_prepare *c, const tn_loop_fn *table, double alpha, double beta);
tern_status tn_elementwise_run(tn_run *c);
void tn_elementwise_exec(const tn_elementwise *e, const void *const *in, void *out, int threads);
/* Runs the loop on n elements, small floats converted. */
void tn_elementwise_call(const tn_elementwise *e, const void *const *in, const int *step, void *out, size_t n);
/* Writes zeros to the lanes past the channels. */
void tn_elementwise_clear_lanes(const tn_elementwise *e, void *out);

/* Initializer of a tn_op with one output whose state is a tn_elementwise. */
#define TN_ELEMENTWISE_OP(INFER, PREPARE, MIN_IN, MAX_IN, FLAGS)                                           \
    {                                                                                                      \
        .infer = INFER, .prepare = PREPARE, .run = tn_elementwise_run, .min_in = MIN_IN, .max_in = MAX_IN, \
        .min_out = 1, .max_out = 1, .flags = FLAGS                                                         \
    }

#endif
