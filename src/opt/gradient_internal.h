/* What the driver (gradient.c) and the rules (gradient_rules.c) of ai.onnx.preview.training:Gradient share.
 *
 * A rule adds the nodes that compute, from the gradients of a node's outputs, those of its inputs. All nodes that rules
 * make are of the opset below, whatever the model imports. After the first failure every call is a no-op. */
#ifndef TN_OPT_GRADIENT_INTERNAL_H
#define TN_OPT_GRADIENT_INTERNAL_H

#include "opt/opt.h"

#define TN_GRAD_OPSET 18

typedef struct tn_grad {
    tn_opt *o;
    tn_graph *graph;
    int n_values;  /* of the forward graph; ids below it index the arrays */
    tn_value **of; /* gradient of each value so far; NULL: zero */
    bool *active;  /* values that depend on one of xs */
    tern_status status;
    const tn_node *node; /* whose rule is at work */
} tn_grad;

typedef void (*tn_grad_rule)(tn_grad *d, const tn_node *n);

/* NULL: the operator has none. A rule that does nothing: all derivatives are zero. */
tn_grad_rule tn_grad_find_rule(const tn_node *n);

/* A new node of one output; inputs may be NULL only where the operator lets them be absent. */
tn_value *tn_grad_emit(tn_grad *d, const char *domain, const char *op_type, int n_in, tn_value *const *in);
tn_value *tn_grad_emit1(tn_grad *d, const char *op_type, tn_value *a);
tn_value *tn_grad_emit2(tn_grad *d, const char *op_type, tn_value *a, tn_value *b);
tn_value *tn_grad_emit3(tn_grad *d, const char *op_type, tn_value *a, tn_value *b, tn_value *c);
/* A copy of the node with other inputs and outputs of its own; outputs beyond those that `n` has may be asked for. */
tn_node *tn_grad_copy_node(tn_grad *d, const tn_node *n, int n_out);
void tn_grad_set_i(tn_grad *d, tn_node *n, const char *name, int64_t v);
void tn_grad_set_f(tn_grad *d, tn_node *n, const char *name, float v);
void tn_grad_set_s(tn_grad *d, tn_node *n, const char *name, const char *literal);
void tn_grad_set_ints(tn_grad *d, tn_node *n, const char *name, const int64_t *v, size_t count);
/* A number in the type of `like`. */
tn_value *tn_grad_scalar(tn_grad *d, double v, tn_value *like);
/* An int64 tensor: rank 1, or rank 0 where count is -1. */
tn_value *tn_grad_ints(tn_grad *d, const int64_t *v, int count);
/* `v` everywhere in the shape and type of `like`. */
tn_value *tn_grad_full(tn_grad *d, double v, tn_value *like);
/* g, summed over the dims along which `like` was broadcast; axis < 0: aligned at the last dim, as ONNX broadcasts. */
tn_value *tn_grad_sum_to(tn_grad *d, tn_value *g, tn_value *like, int axis);

/* The gradient of a value so far, NULL: zero. */
tn_value *tn_grad_of(const tn_grad *d, const tn_value *v);
bool tn_grad_wants(const tn_grad *d, const tn_node *n, int input);
/* g is added to the gradient of input `input`. */
void tn_grad_give(tn_grad *d, const tn_node *n, int input, tn_value *g);
/* Says why the node can not be differentiated; names operator and node. */
void tn_grad_refuse(tn_grad *d, const tn_node *n, const char *why);

#endif
