#include "ops/group.h"

const char *tn_group_kind_name(tern_kind kind) {
    static const char *const names[] = {"tensor", "sequence", "optional", "map"};
    return (unsigned)kind < TN_COUNT(names) ? names[kind] : "unknown kind";
}

tern_status tn_group_need(tn_infer *c, int i, tern_kind kind) {
    if (!tn_args_has(c, i)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is missing", i);
    const tn_type *t = c->in[i];
    if (t->kind == kind || tn_group_unknown(t)) return TERN_OK;
    return tn_infer_fail(c, TERN_TYPE_MISMATCH, "input %d '%s' is a %s where a %s is needed", i, c->node->in[i]->name,
                         tn_group_kind_name(t->kind), tn_group_kind_name(kind));
}

static tern_status copy_type(tn_infer *c, const tn_type *t, const tn_type **out) {
    tn_type *copy = NULL;
    if (t && !(copy = tn_arena_alloc(c->arena, sizeof *copy))) return tn_fail_oom(c->err, sizeof *copy);
    if (t) *copy = *t;
    *out = copy;
    return TERN_OK;
}

tern_status tn_group_out(tn_infer *c, int o, tern_kind kind, const tn_type *element) {
    if (o >= c->node->n_out) return TERN_OK;
    c->out[o] = (tn_type){.kind = kind};
    return copy_type(c, element, &c->out[o].element);
}

static tern_status join_tensors(const tn_type *a, const tn_type *b, tn_type *out) {
    *out = (tn_type){.kind = TERN_KIND_TENSOR, .dtype = a->dtype == b->dtype ? a->dtype : TERN_UNDEFINED};
    out->ranked = a->ranked && b->ranked && a->shape.rank == b->shape.rank;
    if (!out->ranked) return TERN_OK;
    out->shape.rank = a->shape.rank;
    for (int i = 0; i < a->shape.rank; i++)
        out->shape.dims[i] = a->shape.dims[i] == b->shape.dims[i] ? a->shape.dims[i] : TN_DIM_UNKNOWN;
    return TERN_OK;
}

tern_status tn_group_join(tn_infer *c, const tn_type *a, const tn_type *b, tn_type *out) {
    if (a->kind != b->kind) {
        *out = (tn_type){.kind = TERN_KIND_TENSOR};
        return TERN_OK;
    }
    if (a->kind == TERN_KIND_TENSOR) return join_tensors(a, b, out);
    tn_type element;
    *out = (tn_type){.kind = a->kind, .dtype = a->dtype == b->dtype ? a->dtype : TERN_UNDEFINED};
    if (!a->element || !b->element) return TERN_OK;
    TN_TRY(tn_group_join(c, a->element, b->element, &element));
    return copy_type(c, &element, &out->element);
}

bool tn_group_same_type(const tn_type *a, const tn_type *b) {
    if (a->kind != b->kind || a->dtype != b->dtype || a->ranked != b->ranked) return false;
    if (a->ranked && !tn_shape_equal(&a->shape, &b->shape)) return false;
    if (!a->element || !b->element) return !a->element && !b->element;
    return tn_group_same_type(a->element, b->element);
}

tern_status tn_group_scalar(tn_run *c, const tern_tensor *t, const char *what, int64_t *out) {
    if (t->kind != TERN_KIND_TENSOR || !tn_type_in(t->dtype, TN_TYPES_INT | TN_T(BOOL)) ||
        tn_shape_count(&t->shape) != 1) {
        char text[TN_SHAPE_TEXT];
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "%s is %s[%s] where one element is needed", what,
                           t->kind == TERN_KIND_TENSOR ? tern_dtype_name(t->dtype) : tn_group_kind_name(t->kind),
                           tn_shape_text(&t->shape, text, sizeof text));
    }
    *out = tn_tensor_get_i64(t, 0);
    return TERN_OK;
}

tern_status tn_group_need_scalar(tn_infer *c, int i, uint32_t types) {
    if (!tn_args_has(c, i)) return TERN_OK;
    TN_TRY(tn_args_need(c, i, types));
    int64_t n;
    tn_shape s;
    if (tn_args_shape(c, i, &s) && tn_shape_count_checked(&s, &n) && n != 1) {
        char text[TN_SHAPE_TEXT];
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d '%s' of shape [%s] must be a single element", i,
                             c->node->in[i]->name, tn_shape_text(&s, text, sizeof text));
    }
    return TERN_OK;
}
