/* RNN, GRU and LSTM: what inference makes of a node, and the loops that run it. */
#ifndef TN_OPS_RNN_INTERNAL_H
#define TN_OPS_RNN_INTERNAL_H

#include "kernels/act.h"
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

tern_status tn_ops_rnn_run(const tn_rnn *n, const tn_rnn_data *d, bool wide, tern_cpu_tier tier, int threads,
                           tern_error *err);

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
