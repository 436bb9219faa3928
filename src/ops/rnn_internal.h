/* RNN, GRU and LSTM: what inference makes of a node, and the loops that run it. */
#ifndef TN_OPS_RNN_INTERNAL_H
#define TN_OPS_RNN_INTERNAL_H

#include "kernels/act.h"
#include "kernels/gemm.h"
#include "ops/ops.h"

typedef enum tn_rnn_kind { TN_RNN, TN_GRU, TN_LSTM } tn_rnn_kind;

typedef enum tn_rnn_act_kind {
    TN_RNN_RELU,
    TN_RNN_TANH,
    TN_RNN_SIGMOID,
    TN_RNN_AFFINE,
    TN_RNN_LEAKY_RELU,
    TN_RNN_THRESHOLDED_RELU,
    TN_RNN_SCALED_TANH,
    TN_RNN_HARD_SIGMOID,
    TN_RNN_ELU,
    TN_RNN_SOFTSIGN,
    TN_RNN_SOFTPLUS,
    TN_RNN_ACT_COUNT
} tn_rnn_act_kind;

typedef struct tn_rnn_act {
    tn_rnn_act_kind kind;
    double alpha, beta;
} tn_rnn_act;

typedef struct tn_rnn {
    tn_rnn_kind kind;
    int gates, directions, n_acts; /* n_acts of a direction: f, g, h */
    bool reverse;                  /* the only direction runs backwards */
    bool batch_first;              /* layout 1 */
    bool linear_before_reset, input_forget;
    double clip; /* INFINITY: none */
    tn_rnn_act acts[6];
    int64_t length, batch, input, hidden;
} tn_rnn;

/* Working copies of inputs and outputs, float or double; NULL: absent. */
typedef struct tn_rnn_data {
    const void *x, *w, *r, *bias, *h0, *c0, *peep;
    const int32_t *lengths;
    void *y, *yh, *yc;
} tn_rnn_data;

/* X W^T; H R^T (GRU: of the gates z and r); GRU: H R^T of the hidden gate. */
typedef enum tn_rnn_product { TN_RNN_X, TN_RNN_R, TN_RNN_H, TN_RNN_PRODUCTS } tn_rnn_product;

/* What prepare makes of a node. Offsets are into the workspace, in bytes. */
typedef struct tn_rnn_plan {
    const char *kernel; /* first: see TN_OP_KERNEL_NAME; NULL for float64 */
    tn_rnn n;
    bool wide;                              /* float64 */
    tn_gemm_f32 gemm[TN_RNN_PRODUCTS];      /* m or n is 0: there is none */
    const void *packed[2][TN_RNN_PRODUCTS]; /* of each direction; NULL: not constant, or no product */
    size_t at_packed[TN_RNN_PRODUCTS];      /* H R^T of what is not constant is packed in every run */
    size_t at_gemm, at_xw, at_rec, at_h, at_c, at_rh, at_bias;
    size_t at_in[7], at_out[3]; /* float32 copies of float16 and bfloat16, in the order of tn_rnn_data */
} tn_rnn_plan;

/* Sizes of the products and of what a run needs besides; packs constant W and R (inputs 1 and 2) of float32. */
tern_status tn_ops_rnn_plan(tn_prepare *c, tn_rnn_plan *p);
void tn_ops_rnn_run(const tn_rnn_plan *p, const tn_rnn_data *d, void *workspace, tern_cpu_tier tier, int threads);

/* Element offsets of a hidden vector in Y and in the states, of a row in X. */
TN_INLINE int64_t tn_rnn_y_at(const tn_rnn *n, int64_t t, int64_t dir, int64_t b) {
    int64_t row = n->batch_first ? (b * n->length + t) * n->directions + dir : (t * n->directions + dir) * n->batch + b;
    return row * n->hidden;
}
TN_INLINE int64_t tn_rnn_state_at(const tn_rnn *n, int64_t dir, int64_t b) {
    return (n->batch_first ? b * n->directions + dir : dir * n->batch + b) * n->hidden;
}
TN_INLINE int64_t tn_rnn_x_row(const tn_rnn *n, int64_t t, int64_t b) {
    return n->batch_first ? b * n->length + t : t * n->batch + b;
}

#endif
