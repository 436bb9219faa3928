/* Registration of custom operators. What their functions may call is defined in src/ops/custom_context.c. */
#include "ops/ops.h"

tern_status tern_op_register(const tern_op *op, tern_error *err) {
    if (!op) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_op_register: op must not be NULL");
    return tn_custom_register(op, err);
}

tern_status tern_op_unregister(const char *domain, const char *name, int since, tern_error *err) {
    if (!name) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_op_unregister: name must not be NULL");
    return tn_custom_unregister(domain ? domain : "", name, since, err);
}
