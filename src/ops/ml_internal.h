/* What the operators of ai.onnx.ml share. */
#ifndef TN_OPS_ML_INTERNAL_H
#define TN_OPS_ML_INTERNAL_H

#include "ops/group.h"

#define TN_ML_NUMBERS (TN_T(FLOAT) | TN_T(DOUBLE) | TN_T(INT64) | TN_T(INT32))

typedef enum tn_ml_post { TN_ML_NONE, TN_ML_SOFTMAX, TN_ML_LOGISTIC, TN_ML_SOFTMAX_ZERO, TN_ML_PROBIT } tn_ml_post;

/* The attribute post_transform; fails for a word that is none of them. */
tern_status tn_ml_post_transform(const tn_node *n, tn_ml_post *out, tern_error *err);
/* Applies it to one row of n scores. */
void tn_ml_apply(tn_ml_post post, double *scores, int64_t n);

/* Class labels, as integers or as strings. */
typedef struct tn_ml_labels {
    size_t count;
    const int64_t *ints;   /* NULL: strings */
    const tn_str *strings; /* NULL: integers */
} tn_ml_labels;

tn_ml_labels tn_ml_get_labels(const tn_node *n, const char *ints, const char *strings);
TN_INLINE tern_dtype tn_ml_label_type(const tn_ml_labels *l) { return l->strings ? TERN_STRING : TERN_INT64; }
/* Element i of `out` becomes label `index`, or `index` itself where there are no labels. */
void tn_ml_put_label(const tn_ml_labels *l, tern_tensor *out, int64_t i, int64_t index);

/* Rows and columns of [C] (one row) or [N,C]; false for other ranks or what is not known. */
bool tn_ml_matrix(const tn_shape *s, int64_t *rows, int64_t *columns);
/* Input 0 is numbers of rank 1 or 2. */
tern_status tn_ml_need_matrix(tn_infer *c, tn_shape *out, bool *known);

#endif
