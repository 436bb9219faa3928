/* Scaled dot-product attention, float32, without a matrix of scores: keys go by in blocks, and of the scores there is
 * one block of keys by one vector or two of queries at a time, in L1.
 *
 * Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); Dao et al., "FlashAttention"
 * (2022).
 *
 * What a query gets depends on its own row, the keys and values and the shape alone: not on the queries beside it, nor
 * on how tasks are shared. */
#ifndef TN_KERNELS_ATTENTION_H
#define TN_KERNELS_ATTENTION_H

#include "cpu/cpu.h"

/* The scores of a vector of queries and a block of keys: (keys, width) with width = tn_attention_f32_width, query
 * `row + i` in lane i. Lanes from `rows` on are not needed. */
typedef struct tn_attention_part {
    int64_t row, rows;
    int64_t key, keys;
    float *scores;
} tn_attention_part;

/* Queries that share keys and values: `rows` from `first` on of those of several heads one after the other, `q_len` of
 * each. Elements of a row are neighbours; heads and rows are *_head and *_row elements apart. */
typedef struct tn_attention_f32 {
    int64_t first, rows, q_len, keys, size, v_size;
    int64_t block; /* keys at a time; tn_attention_f32_block, or all of them */
    const float *q, *k, *v;
    int64_t q_head, q_row, k_row, v_row;
    float *y; /* NULL: values are not wanted (nor read) */
    int64_t y_head, y_row;
    float scale;       /* of the scores */
    bool zero_masked;  /* a query whose scores are all -inf gets zeros instead of NaN */
    bool given;        /* `adjust` makes the scores; q and k are not read */
    bool no_softmax;   /* scores are weights of the values as they are */
    const float *sink; /* by head: a score that only adds to the sum of exponentials; NULL: none */
    /* Keys outside [low, high) have scores of -inf for all of these rows. NULL: all keys count. */
    void (*range)(void *context, int64_t row, int64_t rows, int64_t *low, int64_t *high);
    /* Between product and softmax: masks, caps. NULL: nothing. `space`: (width + width, block) floats. */
    void (*adjust)(void *context, const tn_attention_part *part, float *space);
    /* After it, with probabilities, which are then made before they meet values; `block` is all keys. NULL: nothing. */
    void (*after)(void *context, const tn_attention_part *part, float *space);
    void *context;
} tn_attention_f32;

/* Queries side by side in a vector. */
int tn_attention_f32_width(tern_cpu_tier tier);
/* Keys at a time for so many. */
int64_t tn_attention_f32_block(int64_t keys);
/* Bytes of scratch for one call with `rows` queries or fewer, a multiple of 64; SIZE_MAX on overflow. Of the pointers,
 * only whether they are NULL counts. */
size_t tn_attention_f32_workspace(tern_cpu_tier tier, const tn_attention_f32 *a);
/* One thread; the workspace is aligned to 64. */
void tn_attention_f32_run(tern_cpu_tier tier, const tn_attention_f32 *a, void *workspace);
/* scores += bias, n of each; -inf where the bias is. */
void tn_attention_f32_mask(tern_cpu_tier tier, const float *bias, float *scores, size_t n);

#endif
