/* Operators that are given as other operators.
 *
 * A tn_op with `expand` is never run: before anything else looks at a graph, each of its nodes is replaced by the nodes
 * that expand makes of it, which passes and plans then treat like any other. Types are not known yet; what depends on
 * them is computed in the graph (Shape, CastLike), where it folds away once they are.
 *
 *   static tern_status expand_bias_gelu(tn_expand *x) {
 *       tn_value *sum = tn_expand_op(x, "Add", TN_EXPAND_IN(tn_expand_in(x, 0), tn_expand_in(x, 1)));
 *       return tn_expand_out(x, 0, tn_expand_op(x, "Gelu", TN_EXPAND_IN(sum)));
 *   }
 *
 * The first error stays: everything after it does nothing, so that only the end of an expansion needs to look. */
#ifndef TN_OPS_EXPAND_H
#define TN_OPS_EXPAND_H

#include "ops/ops.h"

/* What new nodes of domain "" are versions of. */
#define TN_EXPAND_OPSET 25

struct tn_expand {
    tn_node *node;   /* the one to be replaced */
    tn_node *last;   /* made last: attributes go to it; NULL after an error */
    int first;       /* index of the first new node */
    const char *tag; /* name of new nodes: that of the node and its operator */
    tern_status status;
    tern_error *err;
};

/* Input i; NULL: absent. */
tn_value *tn_expand_in(const tn_expand *x, int i);
bool tn_expand_wants(const tn_expand *x, int o);

#define TN_EXPAND_IN(...) \
    (int)(sizeof((tn_value *[]){__VA_ARGS__}) / sizeof(tn_value *)), (tn_value *const[]) { __VA_ARGS__ }

/* A node with one output, which is returned. Absent inputs are NULL; those at the end are dropped. */
tn_value *tn_expand_op(tn_expand *x, const char *op_type, int n_in, tn_value *const *in);
/* The same for any domain, opset and number of outputs. */
tn_value *tn_expand_node(tn_expand *x, const char *domain, const char *op_type, int opset, int n_in,
                         tn_value *const *in, int n_out);
/* Another output of the node made last. */
tn_value *tn_expand_result(const tn_expand *x, int o);

/* Attributes of the node made last. */
void tn_expand_i(tn_expand *x, const char *name, int64_t value);
void tn_expand_f(tn_expand *x, const char *name, float value);
void tn_expand_s(tn_expand *x, const char *name, const char *literal);
void tn_expand_ints(tn_expand *x, const char *name, const int64_t *values, size_t count);
/* As the replaced node has it, if it does. */
void tn_expand_copy(tn_expand *x, const char *name);
void tn_expand_copy_as(tn_expand *x, const char *name, const char *new_name);

/* Constants: a scalar, or a list of int64. */
tn_value *tn_expand_const_f(tn_expand *x, float value);
tn_value *tn_expand_const_i32(tn_expand *x, int32_t value);
tn_value *tn_expand_const_ints(tn_expand *x, const int64_t *values, int count);
#define TN_EXPAND_INTS(...) (const int64_t[]){__VA_ARGS__}, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
/* A scalar in the type of another value. */
tn_value *tn_expand_const_like(tn_expand *x, float value, tn_value *like);

/* Output o is v (nothing happens when nobody wants it). Returns the status so far. */
tern_status tn_expand_out(tn_expand *x, int o, tn_value *v);
/* Fails unless input i is there, naming it. */
tern_status tn_expand_need(tn_expand *x, int i, const char *what);
tern_status tn_expand_fail(tn_expand *x, tern_status status, const char *format, ...) TN_PRINTF(3, 4);

/* Initializer of a tn_op that is expanded; the counts are checked before expand runs. */
#define TN_EXPAND_OP(EXPAND, MIN_IN, MAX_IN, MIN_OUT, MAX_OUT) \
    { .expand = EXPAND, .min_in = MIN_IN, .max_in = MAX_IN, .min_out = MIN_OUT, .max_out = MAX_OUT }

#endif
