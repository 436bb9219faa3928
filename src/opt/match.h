/* Recognising nodes, for the passes of this folder. */
#ifndef TN_OPT_MATCH_H
#define TN_OPT_MATCH_H

#include "opt/opt.h"

/* The bounds of a Clip with constant bounds (absent ones are infinite), for any opset. False: not such a node. */
bool tn_opt_clip_bounds(const tn_node *n, float *lo, float *hi);
/* For a two-input node: the constant scalar on either side and the other input. */
bool tn_opt_scalar_operand(const tn_node *n, float *number, tn_value **other);
/* Whether v is made by a node of that type which nothing else reads. */
tn_node *tn_opt_sole_producer(const tn_value *v, const char *domain, const char *op_type);
/* Whether every number of an attribute is this one; an absent list counts as such. */
bool tn_opt_all_are(const tn_node *n, const char *name, int64_t number);

#endif
