/* Multidirectional broadcasting over strides.
 *
 * A tn_broadcast walks the elements of an output in the order they are stored; per operand it knows how many elements
 * a step along each dim moves, 0 where the operand is repeated. Adjacent dims that all operands walk alike are merged,
 * so that most cases end as one or two dims, and the last one always has strides 0 or 1. */
#ifndef TN_OPS_BROADCAST_H
#define TN_OPS_BROADCAST_H

#include "ops/ops.h"

#define TN_BROADCAST_MAX_IN   3
#define TN_BROADCAST_MAX_DIMS (TERN_MAX_RANK + 1) /* the lanes of blocked storage are a dim */

typedef struct tn_broadcast {
    int n_in;
    int rank; /* >= 1; of the merged dims */
    int64_t dims[TN_BROADCAST_MAX_DIMS];
    int64_t strides[TN_BROADCAST_MAX_IN][TN_BROADCAST_MAX_DIMS]; /* in elements */
    int64_t count;                                               /* elements of the output, lanes included */
    int64_t inner;                                               /* dims[rank - 1] */
} tn_broadcast;

/* Shapes are logical; a block is 0 or the lanes of blocked storage (tern_tensor.block). False when the operands can not
 * be walked together: a shape that does not broadcast to `out`, or blocked and plain operands of several elements. */
bool tn_broadcast_init(tn_broadcast *b, const tn_shape *out, int out_block, int n_in, const tn_shape *const *in,
                       const int *in_block);

/* Every output element has its own element of operand k, in the same order. */
bool tn_broadcast_dense(const tn_broadcast *b, int k);
/* All output elements have element 0 of operand k. */
bool tn_broadcast_scalar(const tn_broadcast *b, int k);
/* Index in operand k of the element for the output's row `row` (output elements [row * inner, (row + 1) * inner)). */
int64_t tn_broadcast_row(const tn_broadcast *b, int k, int64_t row);
/* Copies the elements of operand k (of `size` bytes each) for output elements [begin, begin + n) to dst. */
void tn_broadcast_gather(const tn_broadcast *b, int k, const void *src, size_t size, int64_t begin, int64_t n,
                         void *dst);

#endif
