/* What custom.c (the list, and the tn_op that stands for each entry) and custom_context.c (what an operator's functions
 * may ask) share. */
#ifndef TN_OPS_CUSTOM_INTERNAL_H
#define TN_OPS_CUSTOM_INTERNAL_H

#include "ops/ops.h"

struct tern_op_context {
    const tn_node *node;
    tn_infer *infer;         /* in infer, else NULL */
    tn_run *run;             /* in compute, else NULL */
    const tern_dtype *types; /* in compute: of the outputs */
    uint64_t given;          /* in compute: outputs that were asked for */
    tern_status status;      /* of the first tern_op_fail */
    tern_error *err;
};

_Static_assert(TERN_OP_MAX_PARAMS <= 64, "tern_op_context.given has a bit per output");

TN_INLINE const tern_op *tn_custom_of(const tn_node *n) { return &((const tn_custom *)(const void *)n->op)->user; }

/* Description of input or output k: the last one when it is variadic. */
TN_INLINE const tern_op_param *tn_custom_param(const tern_op_param *list, size_t n, size_t k) {
    return &list[k < n ? k : n - 1];
}

/* The element type of output o as far as `types` and `same_as` tell it from the inputs' types. */
tern_dtype tn_custom_output_type(const tern_op *op, size_t o, const tn_type *const *in, size_t n_in);

#endif
