/* Einsum: the loops of an equation, the order in which its operands are contracted, and the way to take two float
 * operands as matrix products. */
#ifndef TN_OPS_EINSUM_INTERNAL_H
#define TN_OPS_EINSUM_INTERNAL_H

#include "kernels/gemm.h"
#include "ops/conv_internal.h"

#define TN_EINSUM_LABELS   (52 + TERN_MAX_RANK) /* letters, then dims of the ellipsis from the left */
#define TN_EINSUM_OPERANDS 16

typedef struct tn_einsum_loops {
    int n_out, n_all;                                     /* labels of the output, all labels */
    int64_t size[TN_EINSUM_LABELS];                       /* in loop order; may be unknown in infer */
    int64_t stride[TN_EINSUM_OPERANDS][TN_EINSUM_LABELS]; /* elements; 0 where the operand lacks the label */
} tn_einsum_loops;

/* y (batch, m, n) = a (batch, m, k) b (batch, k, n): labels of both operands that stay, of a, of b, and of both that
 * are summed over. Operands and output are brought into that order by copies where they are not in it. */
typedef struct tn_einsum_product {
    int64_t batch, m, n, k;
    bool copy_a, copy_b, copy_y;
    tn_gemm_f32 gemm;
    size_t gemm_bytes, at_a, at_b, at_y, at_gemm; /* in the workspace */
    bool whole;                                   /* a thread takes products as a whole */
} tn_einsum_product;

/* Plans it and reserves *workspace. *use is false where the loops are no such product, or one too small to pay. */
tern_status tn_einsum_product_plan(const tn_einsum_loops *l, tern_cpu_tier tier, int threads, size_t *workspace,
                                   tn_einsum_product *p, bool *use, tern_error *err);
void tn_einsum_product_run(const tn_einsum_loops *l, const tn_einsum_product *p, tern_cpu_tier tier, int threads,
                           const float *a, const float *b, float *y, char *workspace);

/* ---- pairs of operands --------------------------------------------------------------------------------------- */

/* Slots are the operands, then the results of the moves in order. */
#define TN_EINSUM_MOVES (2 * TN_EINSUM_OPERANDS - 1)
#define TN_EINSUM_SLOTS (TN_EINSUM_OPERANDS + TN_EINSUM_MOVES)

/* Slots a and b contracted, or labels of a alone summed over (b < 0). */
typedef struct tn_einsum_move {
    int a, b;
    bool has[TN_EINSUM_LABELS]; /* labels of the result, in the loops' numbers */
    int64_t count, macs;        /* elements of the result, multiplications; saturate */
} tn_einsum_move;

typedef struct tn_einsum_path {
    int n; /* 0: all operands at once, by one nest of loops */
    tn_einsum_move moves[TN_EINSUM_MOVES];
} tn_einsum_path;

typedef struct tn_einsum_step {
    tn_einsum_loops l;
    int n_in, in[TN_EINSUM_OPERANDS]; /* slots */
    int64_t count;                    /* elements of the result */
    int64_t stride[TN_EINSUM_LABELS]; /* of the result, by the label's number in the equation's loops */
    bool as_product;
    tn_einsum_product product;
    size_t at; /* of the result in the workspace; the last one is the output */
} tn_einsum_step;

/* First every label that one operand has alone is summed there, then the pair with the smallest result is contracted
 * until one is left (the greedy order of Smith and Gray, opt_einsum, JOSS 2018). Known sizes. */
void tn_einsum_path_find(const tn_einsum_loops *l, int n_in, tn_einsum_path *p);
/* Loops of each move, into steps[max(p->n, 1)] (cleared). */
void tn_einsum_path_steps(const tn_einsum_loops *l, int n_in, const tn_einsum_path *p, tn_einsum_step *steps);

#endif
