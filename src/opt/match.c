#include "opt/match.h"

#include <math.h>

bool tn_opt_clip_bounds(const tn_node *n, float *lo, float *hi) {
    if (!tn_opt_is(n, "", "Clip")) return false;
    if (n->since < 11) {
        *lo = tn_attr_f(n, "min", -INFINITY);
        *hi = tn_attr_f(n, "max", INFINITY);
        return true;
    }
    *lo = -INFINITY;
    *hi = INFINITY;
    if (n->n_in > 1 && n->in[1] && !tn_opt_scalar(n->in[1], lo)) return false;
    if (n->n_in > 2 && n->in[2] && !tn_opt_scalar(n->in[2], hi)) return false;
    return true;
}

bool tn_opt_scalar_operand(const tn_node *n, float *number, tn_value **other) {
    if (n->n_in != 2 || !n->in[0] || !n->in[1]) return false;
    for (int i = 0; i < 2; i++) {
        const tern_tensor *t = tn_opt_const(n->in[i]);
        const tn_type *type = &n->in[1 - i]->type;
        /* A constant of higher rank would raise the rank of the result. */
        if (!t || t->shape.rank > (type->ranked ? TN_MIN(type->shape.rank, 1) : 0)) continue;
        if (!tn_opt_scalar(n->in[i], number)) continue;
        *other = n->in[1 - i];
        return true;
    }
    return false;
}

tn_node *tn_opt_sole_producer(const tn_value *v, const char *domain, const char *op_type) {
    return v && v->n_uses == 1 && tn_opt_is(v->producer, domain, op_type) ? v->producer : NULL;
}

bool tn_opt_all_are(const tn_node *n, const char *name, int64_t number) {
    size_t count;
    const int64_t *list = tn_attr_ints(n, name, &count);
    for (size_t i = 0; i < count; i++)
        if (list[i] != number) return false;
    return true;
}
