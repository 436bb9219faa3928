/* SequenceConstruct, SequenceEmpty, SequenceAt, SequenceInsert, SequenceErase, SequenceLength, SplitToSequence,
 * ConcatFromSequence. Sequences share their items: none of these but the last two copies an element. */
#include "ops/copy.h"
#include "ops/group.h"

#define INDEX_TYPES (TN_T(INT32) | TN_T(INT64))

/* What is known of the items of input i; NULL: nothing. */
static const tn_type *element_of(const tn_infer *c, int i) {
    return c->in[i]->kind == TERN_KIND_SEQUENCE ? c->in[i]->element : NULL;
}

static tern_status share_group(tn_run *c, tern_tensor *const *items, size_t n) {
    tern_tensor *group;
    TN_TRY(tn_tensor_new_group(&group, TERN_KIND_SEQUENCE, items, n, c->err));
    tern_status s = tn_run_share(c, 0, group);
    tn_tensor_unref(group);
    return s;
}

/* ---- making ---------------------------------------------------------------------------------------------------- */

static tern_status infer_construct(tn_infer *c) {
    tn_type element;
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_args_need(c, i, TN_TYPES_ALL));
        TN_TRY(tn_infer_same_type(c, 0, i));
        if (i == 0)
            element = *c->in[0];
        else
            TN_TRY(tn_group_join(c, &element, c->in[i], &element));
    }
    return tn_group_out(c, 0, TERN_KIND_SEQUENCE, &element);
}

static tern_status run_construct(tn_run *c) { return share_group(c, c->in, (size_t)c->node->n_in); }

const tn_op tn_op_sequence_construct = TN_ARGS_OP(infer_construct, run_construct, 1, -1, 1, 1, 0);

static tern_status infer_empty(tn_infer *c) {
    int64_t dtype = tn_attr_i(c->node, "dtype", TERN_FLOAT);
    if (dtype <= TERN_UNDEFINED || dtype >= TERN_DTYPE_COUNT)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "dtype %lld is not an element type", (long long)dtype);
    tn_type element = {.kind = TERN_KIND_TENSOR, .dtype = (tern_dtype)dtype};
    return tn_group_out(c, 0, TERN_KIND_SEQUENCE, &element);
}

static tern_status run_empty(tn_run *c) { return share_group(c, NULL, 0); }

const tn_op tn_op_sequence_empty = TN_ARGS_OP(infer_empty, run_empty, 0, 0, 1, 1, 0);

/* ---- positions ------------------------------------------------------------------------------------------------- */

/* The position in input `i`, negative ones counted from the end, in [0, most]; the last place when it is absent. */
static tern_status get_position(tn_run *c, int i, size_t n, bool past_end, size_t *out) {
    const tern_tensor *t = tn_args_in(c, i);
    int64_t low = -(int64_t)n, high = (int64_t)n - !past_end, at = high;
    if (t) TN_TRY(tn_group_scalar(c, t, "the position", &at));
    if (at < low || at > high || high < 0)
        return tn_run_fail(c, TERN_INVALID_ARGUMENT, "position %lld is outside [%lld, %lld] of a sequence of %zu items",
                           (long long)at, (long long)low, (long long)high, n);
    *out = (size_t)(at < 0 ? at + (int64_t)n : at);
    return TERN_OK;
}

static tern_status infer_at(tn_infer *c) {
    TN_TRY(tn_group_need(c, 0, TERN_KIND_SEQUENCE));
    if (!tn_args_has(c, 1)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input 1 is missing");
    TN_TRY(tn_group_need_scalar(c, 1, INDEX_TYPES));
    const tn_type *element = element_of(c, 0);
    if (element) c->out[0] = *element;
    return TERN_OK;
}

static tern_status run_at(tn_run *c) {
    size_t at;
    TN_TRY(get_position(c, 1, c->in[0]->n_items, false, &at));
    return tn_run_share(c, 0, c->in[0]->items[at]);
}

const tn_op tn_op_sequence_at = TN_ARGS_OP(infer_at, run_at, 2, 2, 1, 1, TN_OP_ALLOC);

static tern_status infer_insert(tn_infer *c) {
    TN_TRY(tn_group_need(c, 0, TERN_KIND_SEQUENCE));
    TN_TRY(tn_args_need(c, 1, TN_TYPES_ALL));
    TN_TRY(tn_group_need_scalar(c, 2, INDEX_TYPES));
    const tn_type *element = element_of(c, 0), *item = c->in[1];
    if (!element) return tn_group_out(c, 0, TERN_KIND_SEQUENCE, NULL);
    if (element->dtype != TERN_UNDEFINED && item->dtype != TERN_UNDEFINED && element->dtype != item->dtype)
        return tn_infer_fail(c, TERN_TYPE_MISMATCH, "a %s can not be put into a sequence of %s",
                             tern_dtype_name(item->dtype), tern_dtype_name(element->dtype));
    tn_type joined;
    TN_TRY(tn_group_join(c, element, item, &joined));
    return tn_group_out(c, 0, TERN_KIND_SEQUENCE, &joined);
}

static tern_status run_insert(tn_run *c) {
    const tern_tensor *seq = c->in[0];
    size_t at, n = seq->n_items;
    TN_TRY(get_position(c, 2, n, true, &at));
    if (n && (seq->items[0]->kind != c->in[1]->kind || seq->items[0]->dtype != c->in[1]->dtype))
        return tn_run_fail(c, TERN_TYPE_MISMATCH, "a %s can not be put into a sequence of %s",
                           tern_dtype_name(c->in[1]->dtype), tern_dtype_name(seq->items[0]->dtype));
    tern_tensor **items = tn_alloc_array(n + 1, sizeof *items);
    if (!items) return tn_fail_oom(c->err, n * sizeof *items);
    if (at) memcpy(items, seq->items, at * sizeof *items);
    items[at] = c->in[1];
    if (at < n) memcpy(items + at + 1, seq->items + at, (n - at) * sizeof *items);
    tern_status s = share_group(c, items, n + 1);
    tn_free(items);
    return s;
}

const tn_op tn_op_sequence_insert = TN_ARGS_OP(infer_insert, run_insert, 2, 3, 1, 1, 0);

static tern_status infer_erase(tn_infer *c) {
    TN_TRY(tn_group_need(c, 0, TERN_KIND_SEQUENCE));
    TN_TRY(tn_group_need_scalar(c, 1, INDEX_TYPES));
    return tn_group_out(c, 0, TERN_KIND_SEQUENCE, element_of(c, 0));
}

static tern_status run_erase(tn_run *c) {
    const tern_tensor *seq = c->in[0];
    size_t at, n = seq->n_items;
    TN_TRY(get_position(c, 1, n, false, &at));
    tern_tensor **items = tn_alloc_array(n, sizeof *items);
    if (!items) return tn_fail_oom(c->err, n * sizeof *items);
    if (at) memcpy(items, seq->items, at * sizeof *items);
    if (at + 1 < n) memcpy(items + at, seq->items + at + 1, (n - at - 1) * sizeof *items);
    tern_status s = share_group(c, items, n - 1);
    tn_free(items);
    return s;
}

const tn_op tn_op_sequence_erase = TN_ARGS_OP(infer_erase, run_erase, 1, 2, 1, 1, 0);

static tern_status infer_length(tn_infer *c) {
    TN_TRY(tn_group_need(c, 0, TERN_KIND_SEQUENCE));
    tn_infer_out(c, 0, TERN_INT64, &(tn_shape){.rank = 0});
    return TERN_OK;
}

static tern_status run_length(tn_run *c) {
    *(int64_t *)c->out[0]->data = (int64_t)c->in[0]->n_items;
    return TERN_OK;
}

const tn_op tn_op_sequence_length = TN_ARGS_OP(infer_length, run_length, 1, 1, 1, 1, 0);

/* ---- SplitToSequence ------------------------------------------------------------------------------------------- */

static tern_status infer_split(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    if (tn_args_has(c, 1)) TN_TRY(tn_args_need(c, 1, INDEX_TYPES));
    tn_shape s, lengths;
    tn_type element = {.kind = TERN_KIND_TENSOR, .dtype = c->in[0]->dtype};
    if (tn_args_shape(c, 1, &lengths) && lengths.rank > 1)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "'split' has rank %d where 0 or 1 is needed", lengths.rank);
    if (tn_args_shape(c, 0, &s)) {
        int axis;
        TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
        element.ranked = true;
        element.shape = s;
        element.shape.dims[axis] = tn_args_has(c, 1) ? TN_DIM_UNKNOWN : 1;
        if (!tn_args_has(c, 1) && tn_attr_i(c->node, "keepdims", 1) == 0) {
            element.shape.rank--;
            for (int i = axis; i < element.shape.rank; i++) element.shape.dims[i] = s.dims[i + 1];
        }
    }
    return tn_group_out(c, 0, TERN_KIND_SEQUENCE, &element);
}

typedef struct splitter {
    const tern_tensor *x;
    int axis;
    bool squeeze;          /* items of length 1 lose the axis */
    const tern_tensor *by; /* lengths; NULL: 1 each */
    int64_t each;          /* one length for all but the last; 0: `by` lists them */
    int64_t count;
} splitter;

static int64_t part_length(const splitter *p, int64_t i, int64_t at) {
    return p->each ? TN_MIN(p->each, p->x->shape.dims[p->axis] - at) : tn_tensor_get_i64(p->by, i);
}

static tern_status plan_split(tn_run *c, splitter *p) {
    int64_t dim, sum = 0;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), p->x->shape.rank, &p->axis, c->err));
    dim = p->x->shape.dims[p->axis];
    p->squeeze = !p->by && tn_attr_i(c->node, "keepdims", 1) == 0;
    p->each = !p->by ? 1 : p->by->shape.rank == 0 ? tn_tensor_get_i64(p->by, 0) : 0;
    if (p->by && p->by->shape.rank == 0 && p->each <= 0)
        return tn_run_fail(c, TERN_INVALID_ARGUMENT, "parts of length %lld", (long long)p->each);
    p->count = p->each ? dim / p->each + (dim % p->each != 0) : tn_shape_count(&p->by->shape);
    if (p->each) return TERN_OK;
    for (int64_t i = 0; i < p->count; i++) {
        int64_t v = tn_tensor_get_i64(p->by, i);
        if (v < 0) return tn_run_fail(c, TERN_INVALID_ARGUMENT, "split[%lld] is %lld", (long long)i, (long long)v);
        if (!tn_add_i64(sum, v, &sum)) sum = INT64_MAX;
    }
    if (sum == dim) return TERN_OK;
    return tn_run_fail(c, TERN_INVALID_ARGUMENT, "the parts are %lld long, axis %d is %lld", (long long)sum, p->axis,
                       (long long)dim);
}

static tern_status make_part(tn_run *c, const splitter *p, int64_t at, int64_t length, tern_tensor **out) {
    const tn_shape *s = &p->x->shape;
    tn_shape shape = *s;
    shape.dims[p->axis] = length;
    if (p->squeeze) {
        shape.rank--;
        for (int i = p->axis; i < shape.rank; i++) shape.dims[i] = s->dims[i + 1];
    }
    TN_TRY(c->exec->alloc(c->exec, p->x->dtype, &shape, out, c->err));
    int64_t outer = tn_shape_count_range(s, 0, p->axis), inner = tn_shape_count_range(s, p->axis + 1, s->rank);
    size_t unit = tn_dtype_size(p->x->dtype), row = (size_t)(length * inner) * unit;
    for (int64_t o = 0; row && o < outer; o++)
        memcpy((char *)(*out)->data + (size_t)o * row,
               (const char *)p->x->data + (size_t)((o * s->dims[p->axis] + at) * inner) * unit, row);
    return TERN_OK;
}

static tern_status run_split(tn_run *c) {
    splitter p = {.x = c->in[0], .by = tn_args_in(c, 1)};
    TN_TRY(plan_split(c, &p));
    tern_tensor **items = tn_calloc((size_t)p.count + 1, sizeof *items);
    if (!items) return tn_fail_oom(c->err, (size_t)p.count * sizeof *items);
    tern_status s = TERN_OK;
    for (int64_t i = 0, at = 0; s == TERN_OK && i < p.count; i++) {
        int64_t length = part_length(&p, i, at);
        s = make_part(c, &p, at, length, &items[i]);
        at += length;
    }
    if (s == TERN_OK) s = share_group(c, items, (size_t)p.count);
    for (int64_t i = 0; i < p.count; i++) tn_tensor_unref(items[i]);
    tn_free(items);
    return s;
}

const tn_op tn_op_split_to_sequence = TN_ARGS_OP(infer_split, run_split, 1, 2, 1, 1, 0);

/* ---- ConcatFromSequence ---------------------------------------------------------------------------------------- */

static tern_status infer_concat(tn_infer *c) {
    TN_TRY(tn_group_need(c, 0, TERN_KIND_SEQUENCE));
    const tn_type *element = element_of(c, 0);
    bool fresh = tn_attr_i(c->node, "new_axis", 0) != 0;
    if (!tn_attr_find(c->node, "axis")) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'axis' is missing");
    tn_infer_out(c, 0, element ? element->dtype : TERN_UNDEFINED, NULL);
    if (!element || !element->ranked) return TERN_OK;
    tn_shape s = element->shape;
    int axis, rank = s.rank + fresh;
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), rank, &axis, "axis"));
    if (rank > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "a result of rank %d; at most %d are possible", rank, TERN_MAX_RANK);
    if (fresh) memmove(s.dims + axis + 1, s.dims + axis, (size_t)(s.rank - axis) * sizeof *s.dims);
    s.rank = rank;
    s.dims[axis] = TN_DIM_UNKNOWN;
    tn_infer_out(c, 0, element->dtype, &s);
    return TERN_OK;
}

/* The shape of the result; every item must fit the first one but along the axis. */
static tern_status concat_shape(tn_run *c, int axis, bool fresh, tn_shape *out) {
    const tern_tensor *seq = c->in[0], *first = seq->items[0];
    *out = first->shape;
    int64_t sum = 0;
    for (size_t i = 0; i < seq->n_items; i++) {
        const tern_tensor *t = seq->items[i];
        bool fits = t->kind == TERN_KIND_TENSOR && t->dtype == first->dtype && t->shape.rank == first->shape.rank;
        for (int d = 0; fits && d < t->shape.rank; d++)
            fits = t->shape.dims[d] == first->shape.dims[d] || (d == axis && !fresh);
        if (!fits) {
            char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
            return tn_run_fail(c, TERN_SHAPE_MISMATCH, "item %zu is %s[%s], item 0 is %s[%s] (axis %d)", i,
                               tern_dtype_name(t->dtype), tn_shape_text(&t->shape, a, sizeof a),
                               tern_dtype_name(first->dtype), tn_shape_text(&first->shape, b, sizeof b), axis);
        }
        if (!tn_add_i64(sum, fresh ? 1 : t->shape.dims[axis], &sum))
            return tn_run_fail(c, TERN_LIMIT_EXCEEDED, "the items together are too long");
    }
    if (fresh) memmove(out->dims + axis + 1, out->dims + axis, (size_t)(out->rank - axis) * sizeof *out->dims);
    out->rank += fresh;
    out->dims[axis] = sum;
    return TERN_OK;
}

static tern_status run_concat(tn_run *c) {
    const tern_tensor *seq = c->in[0];
    bool fresh = tn_attr_i(c->node, "new_axis", 0) != 0;
    if (!seq->n_items) return tn_run_fail(c, TERN_INVALID_ARGUMENT, "the sequence is empty: nothing to concatenate");
    const tern_tensor *first = seq->items[0];
    int axis, rank = first->shape.rank + fresh;
    if (first->kind != TERN_KIND_TENSOR || rank > TERN_MAX_RANK)
        return tn_run_fail(c, TERN_UNSUPPORTED, "a result of rank %d; at most %d are possible", rank, TERN_MAX_RANK);
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), rank, &axis, c->err));
    tn_shape out;
    TN_TRY(concat_shape(c, axis, fresh, &out));
    TN_TRY(tn_run_alloc(c, 0, first->dtype, &out));
    int64_t outer = tn_shape_count_range(&out, 0, axis);
    size_t unit = tn_dtype_size(first->dtype);
    size_t row = (size_t)tn_shape_count_range(&out, axis, rank) * unit, at = 0;
    for (size_t i = 0; row && i < seq->n_items; i++) {
        const tern_tensor *t = seq->items[i];
        size_t part = (size_t)tn_shape_count_range(&t->shape, axis, t->shape.rank) * unit;
        for (int64_t o = 0; part && o < outer; o++)
            memcpy((char *)c->out[0]->data + (size_t)o * row + at, (const char *)t->data + (size_t)o * part, part);
        at += part;
    }
    return TERN_OK;
}

const tn_op tn_op_concat_from_sequence = TN_ARGS_OP(infer_concat, run_concat, 1, 1, 1, 1, TN_OP_ALLOC);

/* ---- optionals ------------------------------------------------------------------------------------------------- */

static tern_status infer_optional(tn_infer *c) {
    if (tn_args_has(c, 0)) return tn_group_out(c, 0, TERN_KIND_OPTIONAL, c->in[0]);
    const tn_attr *a = tn_attr_find(c->node, "type");
    if (!a) return tn_infer_fail(c, TERN_INVALID_MODEL, "neither an input nor the attribute 'type' is given");
    const tn_type *t = a->type_proto;
    return tn_group_out(c, 0, TERN_KIND_OPTIONAL, t && t->kind == TERN_KIND_OPTIONAL ? t->element : t);
}

static tern_status run_optional(tn_run *c) {
    tern_tensor *group, *item = c->node->n_in ? c->in[0] : NULL;
    TN_TRY(tn_tensor_new_group(&group, TERN_KIND_OPTIONAL, &item, item != NULL, c->err));
    tern_status s = tn_run_share(c, 0, group);
    tn_tensor_unref(group);
    return s;
}

const tn_op tn_op_optional = TN_ARGS_OP(infer_optional, run_optional, 0, 1, 1, 1, 0);

/* What is no optional counts as one that is filled, before opset 18 too: the state of a Loop whose body declares an
 * optional is a plain tensor or sequence as soon as the body gives one. */
static tern_status infer_has_element(tn_infer *c) {
    tn_infer_out(c, 0, TERN_BOOL, &(tn_shape){.rank = 0});
    return TERN_OK;
}

static tern_status run_has_element(tn_run *c) {
    const tern_tensor *t = tn_args_in(c, 0);
    *(uint8_t *)c->out[0]->data = t && (t->kind != TERN_KIND_OPTIONAL || t->n_items > 0);
    return TERN_OK;
}

const tn_op tn_op_optional_has_element = TN_ARGS_OP(infer_has_element, run_has_element, 0, 1, 1, 1, 0);

static tern_status infer_get_element(tn_infer *c) {
    if (!tn_args_has(c, 0)) return tn_infer_fail(c, TERN_INVALID_MODEL, "input 0 is missing");
    if (c->in[0]->kind != TERN_KIND_OPTIONAL)
        c->out[0] = *c->in[0];
    else if (c->in[0]->element)
        c->out[0] = *c->in[0]->element;
    return TERN_OK;
}

static tern_status run_get_element(tn_run *c) {
    tern_tensor *t = c->in[0];
    if (t->kind != TERN_KIND_OPTIONAL) return tn_run_share(c, 0, t);
    if (!t->n_items) return tn_run_fail(c, TERN_INVALID_ARGUMENT, "the optional has no element");
    return tn_run_share(c, 0, t->items[0]);
}

const tn_op tn_op_optional_get_element = TN_ARGS_OP(infer_get_element, run_get_element, 1, 1, 1, 1, TN_OP_ALLOC);
