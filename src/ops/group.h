/* Types and checks for sequences, optionals and maps. */
#ifndef TN_OPS_GROUP_H
#define TN_OPS_GROUP_H

#include "ops/args.h"

/* Nothing is known of it: not even that it is a tensor. */
TN_INLINE bool tn_group_unknown(const tn_type *t) {
    return t->kind == TERN_KIND_TENSOR && t->dtype == TERN_UNDEFINED && !t->ranked;
}
/* Input i is there and of that kind (or unknown). */
tern_status tn_group_need(tn_infer *c, int i, tern_kind kind);
/* Output o is a group whose items are of type `element` (NULL: unknown), which is copied. */
tern_status tn_group_out(tn_infer *c, int o, tern_kind kind, const tn_type *element);
/* The type that holds for both: what differs becomes unknown. */
tern_status tn_group_join(tn_infer *c, const tn_type *a, const tn_type *b, tn_type *out);
bool tn_group_same_type(const tn_type *a, const tn_type *b);
const char *tn_group_kind_name(tern_kind kind);
/* A whole number from a tensor of one element, of any integer type; fails naming `what`. */
tern_status tn_group_scalar(tn_run *c, const tern_tensor *t, const char *what, int64_t *out);
/* Fails for a tensor type that is known and can not be a single element. */
tern_status tn_group_need_scalar(tn_infer *c, int i, uint32_t types);

#endif
