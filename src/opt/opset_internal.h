/* What the files of the opset converter share. */
#ifndef TN_OPT_OPSET_INTERNAL_H
#define TN_OPT_OPSET_INTERNAL_H

#include "opt/opt.h"

/* One node on its way from one version of the standard to the next, up or down. */
typedef struct tn_adapt {
    tn_opt o; /* model, graph, err: for the helpers of passes */
    tn_node *node;
    int version; /* up: the version that is reached; down: the one that is left */
    int at;      /* version that new nodes are written for */
    int target;
    int origin; /* the node's own version, for messages */
    bool gone;  /* the node was replaced */
} tn_adapt;
typedef tern_status (*tn_adapt_fn)(tn_adapt *a);

/* "node 'n' (Op, opset 13): can not be written in opset 9: <text>". */
tern_status tn_adapt_fail(tn_adapt *a, const char *format, ...) TN_PRINTF(2, 3);

/* The elements of a value that never changes: an initializer, or what a Constant gives; NULL otherwise. */
const tern_tensor *tn_adapt_const(const tn_value *v);
/* Integers of such a value of rank 0 or 1; false when it is none, or has more than `max`. */
bool tn_adapt_ints(const tn_value *v, int64_t *out, int max, int *count);
/* The rank of a value; -1: not known. */
int tn_adapt_rank(const tn_value *v);

tn_value *tn_adapt_value(tn_adapt *a, const char *base, const tn_type *type); /* type NULL: not known */
tn_value *tn_adapt_i64(tn_adapt *a, const int64_t *values, int count, int rank);
/* A scalar (rank 0) or list of one element (rank 1) of a float type. */
tn_value *tn_adapt_float(tn_adapt *a, tern_dtype dtype, double value, int rank);
/* A new node with one output, `out`, or a new value when that is NULL; returns the output, NULL on failure (err set).
 * Absent inputs are NULL. */
tn_value *tn_adapt_node(tn_adapt *a, const char *op, tn_value *const *in, int n_in, tn_value *out, tn_node **made);
/* The node gets other inputs. */
tern_status tn_adapt_inputs(tn_adapt *a, tn_value *const *in, int n_in);
/* Puts `v` at input i, growing the list when need be. */
tern_status tn_adapt_set_input(tn_adapt *a, int i, tn_value *v);
/* The node vanishes; its first output now comes from `v` (by an Identity where the name has to stay). */
tern_status tn_adapt_remove(tn_adapt *a);
void tn_adapt_drop_attr(tn_node *n, const char *name);
TN_INLINE tn_value *tn_adapt_in(const tn_adapt *a, int i) { return i < a->node->n_in ? a->node->in[i] : NULL; }
/* Negative axes count from the back; false when that needs a rank that is not known. */
bool tn_adapt_axis(int64_t *axis, int rank);

/* Adapter that others call. */
tern_status tn_adapt_positive_axis(tn_adapt *a);

#endif
