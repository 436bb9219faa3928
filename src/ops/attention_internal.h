/* Scaled dot-product attention over strided queries, keys and values; the operators bring their shapes to this form. */
#ifndef TN_OPS_ATTENTION_INTERNAL_H
#define TN_OPS_ATTENTION_INTERNAL_H

#include "ops/ops.h"

/* Elements from sample to sample, from head to head, from row to row; a row's elements are neighbours. */
typedef struct tn_attention_view {
    const void *data;
    int64_t sample, head, row;
} tn_attention_view;

/* How a tensor of any rank holds heads: a letter for each dim or, in parentheses, for what a dim is made of, outermost
 * first. B batch (none: 1), H heads, L length, D elements of a head, which come last, P equal parts of which one is
 * meant (queries, keys and values side by side), 1 nothing. "BHLD" and "BL(HD)" are what Attention takes; "BL(PHD)" is
 * the result of one product for queries, keys and values. */
typedef struct tn_attention_heads {
    int64_t batch, heads, length, size, parts;
    int64_t sample, head, row, part; /* steps in elements; when all sizes are known */
} tn_attention_heads;

/* heads 0: as many as there are. The error names `what`. */
tern_status tn_attention_heads_of(tn_str layout, const tn_shape *s, int64_t heads, int64_t parts, const char *what,
                                  tn_attention_heads *h, tern_error *err);
/* The shape of a tensor with that layout, which has no parts. */
tern_status tn_attention_shape_of(tn_str layout, const tn_attention_heads *h, const char *what, tn_shape *s,
                                  tern_error *err);

/* What the score output holds. */
typedef enum tn_attention_scores {
    TN_SCORES_RAW,
    TN_SCORES_CAPPED,
    TN_SCORES_BIASED,
    TN_SCORES_PROBABILITIES,
    TN_SCORES_COUNT
} tn_attention_scores;

typedef struct tn_attention {
    int64_t batch, q_heads, kv_heads; /* a head of keys serves q_heads / kv_heads heads of queries */
    int64_t q_len, kv_len, size, v_size;
    tn_attention_view q, k, v, y;
    bool wide;         /* elements of q, k, v and y are double, else float */
    double scale, cap; /* cap 0: none */
    /* Masks: keys [0, valid) of a sample count; a query at position `offset + row` sees keys up to itself (causal) and
     * within a window; -1: no bound. */
    bool causal;
    int64_t left, right, past;
    const int64_t *valid;    /* one for each sample; NULL: all */
    const tern_tensor *mask; /* bool, or a number to be added; NULL: none */
    int64_t mask_step[4];    /* elements along sample, head, row and key; 0: repeated */
    int64_t mask_keys;       /* keys past these are masked */
    bool zero_masked;        /* a query that sees nothing has probabilities of 0 instead of NaN */
    tern_dtype softmax_type; /* scores and probabilities are rounded to it; TERN_UNDEFINED: not rounded */
    const tern_tensor *scores_in;
    tern_tensor *scores_out; /* (batch, q_heads, q_len, kv_len) of any float type; NULL: not wanted */
    tn_attention_scores scores_kind;
    const float *sink;          /* q_heads: a score that only adds to the sum of exponentials; NULL: none */
    bool no_softmax, no_values; /* stop before; scores_in are probabilities with no_softmax */
} tn_attention;

/* Bytes of scratch, a multiple of 64; of the pointers in *a, only whether those of masks and scores are NULL counts.
 * SIZE_MAX: more than there can be. */
size_t tn_ops_attention_workspace(const tn_attention *a, tern_cpu_tier tier, int threads);
/* The same bits for any number of threads, and for a sample alone or in a batch. */
void tn_ops_attention(const tn_attention *a, tern_cpu_tier tier, int threads, void *workspace);
/* With scratch memory of its own. */
tern_status tn_ops_attention_alloc(const tn_attention *a, tern_cpu_tier tier, int threads, tern_error *err);

/* Turns the pairs of elements of a head, (i, i + half) or interleaved (2 i, 2 i + 1), by `half` angles. */
void tn_ops_rotate_head(int64_t half, bool interleaved, const float *cos, const float *sin, float *v);

/* Elements as float or double: t's own memory, or a converted copy in *copy, which the caller frees. NULL: no memory.
 */
const void *tn_ops_attention_real(const tern_tensor *t, bool wide, void **copy);

#endif
