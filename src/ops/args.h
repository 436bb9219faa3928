/* Shape-like arguments (axes, pads, starts, sizes ...) that older versions of an operator take as attributes and newer
 * ones as inputs, and checks that many operators share. */
#ifndef TN_OPS_ARGS_H
#define TN_OPS_ARGS_H

#include "ops/ops.h"

#define TN_INTS_MAX 64

typedef struct tn_ints {
    bool given; /* the attribute or input is there */
    bool known; /* v and count are valid; true, with count 0, when it is not given */
    int count;
    int64_t v[TN_INTS_MAX];
} tn_ints;

/* input < 0: from the attribute `name`; else from that input. */
tern_status tn_ints_infer(tn_infer *c, const char *name, int input, tn_ints *out);
tern_status tn_ints_run(tn_run *c, const char *name, int input, tn_ints *out);

/* Input i is there and is a tensor of one of `types` (or of a type not known yet). */
tern_status tn_args_need(tn_infer *c, int i, uint32_t types);
TN_INLINE bool tn_args_has(const tn_infer *c, int i) { return i < c->node->n_in && c->in[i]; }
TN_INLINE bool tn_args_wants(const tn_infer *c, int o) { return o < c->node->n_out && c->node->out[o]; }
TN_INLINE const tern_tensor *tn_args_in(const tn_run *c, int i) { return i < c->node->n_in ? c->in[i] : NULL; }
TN_INLINE tern_tensor *tn_args_out(const tn_run *c, int o) { return o < c->node->n_out ? c->out[o] : NULL; }
/* The shape of input i when its rank is known. */
bool tn_args_shape(const tn_infer *c, int i, tn_shape *out);
/* tn_infer_out, after a check that the number of elements can be held. */
tern_status tn_args_out_shape(tn_infer *c, int o, tern_dtype dtype, const tn_shape *shape);
/* Rank known, dims not. */
tn_shape tn_args_unknown_dims(int rank);
/* Marks the axes in `mask` (rank entries, cleared first); fails for axes out of range and, unless allowed, twice. */
tern_status tn_args_axes(const int64_t *axes, int count, int rank, bool *mask, tern_error *err);
/* One axis in [-rank, rank). */
tern_status tn_args_axis(int64_t axis, int rank, int *out, tern_error *err);
/* Product, false on overflow. All factors are >= 0. */
bool tn_args_product(const int64_t *v, int n, int64_t *out);

/* Only integers can be dims: what is known of other inputs' elements is of no use as partial values. */
TN_INLINE bool tn_args_is_index(const tn_infer *c, int i) {
    return c->in[i]->dtype == TERN_INT64 || c->in[i]->dtype == TERN_INT32;
}

/* A tn_op without preparation: inputs and outputs are given as least and most. */
#define TN_ARGS_OP(INFER, RUN, MIN_IN, MAX_IN, MIN_OUT, MAX_OUT, FLAGS)                                         \
    {                                                                                                           \
        .infer = INFER, .run = RUN, .min_in = MIN_IN, .max_in = MAX_IN, .min_out = MIN_OUT, .max_out = MAX_OUT, \
        .flags = FLAGS                                                                                          \
    }

#endif
