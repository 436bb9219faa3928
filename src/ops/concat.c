/* Concat and Split. On blocked tensors (n, ceil(c/B), h, w, B) both work on the stored layout: channels move in whole
 * blocks where the offsets allow it, else lane by lane. */
#include "ops/args.h"
#include "ops/copy.h"

/* ---- Concat ------------------------------------------------------------------------------------------------ */

static tern_status concat_axis(const tn_node *n, int rank, int *axis, tern_error *err) {
    const tn_attr *a = tn_attr_find(n, "axis");
    if (!a && n->since >= 4) return tn_fail(err, TERN_INVALID_MODEL, "attribute 'axis' is missing");
    return tn_args_axis(a ? a->i : 1, rank, axis, err);
}

/* Adds the dims of input i to those known so far. */
static tern_status join_shape(tn_infer *c, int i, int axis, const tn_shape *s, tn_shape *out) {
    for (int d = 0; d < out->rank; d++) {
        int64_t *o = &out->dims[d], x = s->dims[d];
        if (d == axis) {
            if (*o == 0)
                *o = x;
            else if (x != 0 && (!tn_dim_known(*o) || !tn_dim_known(x)))
                *o = TN_DIM_UNKNOWN;
            else if (!tn_add_i64(*o, x, o))
                return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "dim %d of the output is too large", d);
        } else if (tn_dim_known(*o) && tn_dim_known(x) && *o != x) {
            char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s, those before it %s (axis %d)", i,
                                 tn_shape_text(s, a, sizeof a), tn_shape_text(out, b, sizeof b), axis);
        } else if (!tn_dim_known(*o) && (tn_dim_known(x) || *o == TN_DIM_UNKNOWN)) {
            *o = x;
        }
    }
    return TERN_OK;
}

static tern_status concat_partial(tn_infer *c) {
    int64_t v[TN_INTS_MAX];
    int n = 0;
    bool some = false;
    for (int i = 0; i < c->node->n_in; i++) {
        int k;
        if (c->in[i]->dtype != TERN_INT64 && c->in[i]->dtype != TERN_INT32) return TERN_OK;
        if (tn_infer_ints(c, i, v + n, TN_INTS_MAX - n, &k)) {
            some = true;
        } else {
            int64_t dim = c->in[i]->shape.dims[0];
            if (!tn_dim_known(dim) || dim < 0 || dim > TN_INTS_MAX - n) return TERN_OK;
            for (k = 0; k < (int)dim; k++) v[n + k] = TN_DIM_UNKNOWN;
        }
        n += k;
    }
    return some ? tn_infer_set_partial(c, 0, v, n) : TERN_OK;
}

static tern_status infer_concat(tn_infer *c) {
    tern_dtype dtype = TERN_UNDEFINED;
    tn_shape out = {.rank = -1}, s;
    bool all = true;
    int axis = 0;
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_args_need(c, i, TN_TYPES_ALL));
        TN_TRY(tn_infer_same_type(c, 0, i));
        if (c->in[i]->dtype != TERN_UNDEFINED) dtype = c->in[i]->dtype;
    }
    for (int i = 0; i < c->node->n_in; i++) {
        if (!tn_args_shape(c, i, &s)) {
            all = false;
            continue;
        }
        if (out.rank < 0) {
            out = s;
            TN_TRY(concat_axis(c->node, s.rank, &axis, c->err));
            continue;
        }
        if (s.rank != out.rank) {
            char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s, those before it %s", i,
                                 tn_shape_text(&s, a, sizeof a), tn_shape_text(&out, b, sizeof b));
        }
        TN_TRY(join_shape(c, i, axis, &s, &out));
    }
    if (out.rank < 0) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    if (!all) out.dims[axis] = TN_DIM_UNKNOWN;
    TN_TRY(tn_args_out_shape(c, 0, dtype, &out));
    return all && out.rank == 1 ? concat_partial(c) : TERN_OK;
}

/* Elements after `axis` in the stored layout, where it is not the blocked one. */
static int64_t inner_count(const tern_tensor *t, int axis) {
    tn_shape s = tn_tensor_stored_shape(t);
    return tn_shape_count_range(&s, axis + 1, s.rank);
}

static bool concat_joins(const tn_node *n, const tn_type *const *in, const tn_type *out, int block) {
    int axis;
    if (concat_axis(n, out->shape.rank, &axis, NULL) != TERN_OK || tn_shape_count_range(&out->shape, 0, axis) != 1)
        return false;
    for (int i = 0; block && axis == 1 && i + 1 < n->n_in; i++)
        if (in[i]->shape.dims[1] % block) return false;
    return !block || axis == 1;
}

static void concat_channels(tn_run *c) {
    tern_tensor *y = c->out[0];
    tn_copy_channels k = {.n = y->shape.dims[0],
                          .hw = tn_shape_count_range(&y->shape, 2, y->shape.rank),
                          .dst_channels = y->shape.dims[1],
                          .block = y->block,
                          .unit = tern_dtype_size(y->dtype)};
    for (int i = 0; i < c->node->n_in; i++) {
        k.src_channels = k.count = c->in[i]->shape.dims[1];
        if (c->in[i]->data != (char *)y->data + (size_t)(k.dst_c * k.hw) * k.unit)
            tn_copy_blocked(&k, c->in[i]->data, y->data, c->threads);
        k.dst_c += k.count;
    }
    tn_copy_clear_tail(y->data, k.n, k.dst_channels, k.hw, k.block, k.unit);
}

static tern_status run_concat(tn_run *c) {
    tern_tensor *y = c->out[0];
    int axis;
    TN_TRY(concat_axis(c->node, y->shape.rank, &axis, c->err));
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    if (y->block && axis == 1) {
        concat_channels(c);
        return TERN_OK;
    }
    size_t unit = tern_dtype_size(y->dtype);
    tn_shape stored = tn_tensor_stored_shape(y);
    int64_t outer = tn_shape_count_range(&stored, 0, axis), inner = inner_count(y, axis);
    int64_t row = stored.dims[axis] * inner, at = 0;
    for (int i = 0; i < c->node->n_in; i++) {
        int64_t part = c->in[i]->shape.dims[axis] * inner;
        if (part == 0) continue;
        char *to = (char *)y->data + (size_t)at * unit;
        at += part;
        if (c->in[i]->data == to) continue;
        tn_copy k;
        tn_copy_init(&k, unit);
        tn_copy_dim(&k, outer, part, row);
        tn_copy_dim(&k, part, 1, 1);
        tn_copy_run(&k, c->in[i]->data, to, c->threads);
    }
    return TERN_OK;
}

const tn_op tn_op_concat = {.infer = infer_concat,
                            .run = run_concat,
                            .min_in = 1,
                            .max_in = -1,
                            .min_out = 1,
                            .max_out = 1,
                            .flags = TN_OP_BLOCKED,
                            .joins = concat_joins};

/* ---- Split ------------------------------------------------------------------------------------------------- */

/* Sizes of the n parts of a dim, or an error. `given` has the sizes of attribute or input `split`. */
static tern_status split_sizes(const tn_node *node, int64_t dim, const tn_ints *given, int64_t *sizes,
                               tern_error *err) {
    int64_t n = node->n_out, total = 0;
    if (given->given) {
        if (given->count != n)
            return tn_fail(err, TERN_INVALID_MODEL, "split has %d values for %lld outputs", given->count, (long long)n);
        for (int64_t i = 0; i < n; i++) {
            sizes[i] = given->v[i];
            if (sizes[i] < 0 || !tn_add_i64(total, sizes[i], &total))
                return tn_fail(err, TERN_INVALID_MODEL, "split[%lld] is %lld", (long long)i, (long long)sizes[i]);
        }
        if (tn_dim_known(dim) && total != dim)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "the split sizes add up to %lld, the dim is %lld",
                           (long long)total, (long long)dim);
        return TERN_OK;
    }
    /* Since version 18 the last part may be smaller. */
    if (tn_dim_known(dim) && node->since < 18 && dim % n)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "a dim of %lld can not be split into %lld equal parts", (long long)dim,
                       (long long)n);
    int64_t part = tn_dim_known(dim) ? tn_ceil_div(dim, n) : TN_DIM_UNKNOWN;
    for (int64_t i = 0; i < n; i++)
        sizes[i] = tn_dim_known(dim) ? TN_MAX(TN_MIN(part, dim - i * part), 0) : n == 1 ? dim : TN_DIM_UNKNOWN;
    return TERN_OK;
}

static int split_input(const tn_node *n) { return n->since == 1 || n->since >= 13 ? 1 : -1; }

static tern_status read_split_infer(tn_infer *c, tn_ints *out) {
    if (c->node->n_out > TN_INTS_MAX)
        return tn_infer_fail(c, TERN_UNSUPPORTED, "%d outputs, more than %d", c->node->n_out, TN_INTS_MAX);
    TN_TRY(tn_ints_infer(c, "split", split_input(c->node), out));
    /* Version 1 has both forms. */
    if (c->node->since == 1 && !out->given) TN_TRY(tn_ints_infer(c, "split", -1, out));
    return TERN_OK;
}

static tern_status infer_split(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_ints given;
    TN_TRY(read_split_infer(c, &given));
    const tn_attr *parts = tn_attr_find(c->node, "num_outputs");
    if (c->node->since >= 18 && parts && parts->i != c->node->n_out)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "num_outputs is %lld, the node has %d outputs", (long long)parts->i,
                             c->node->n_out);
    if (c->node->since >= 18 && parts && given.given)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "both the input 'split' and num_outputs are given");
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        for (int o = 0; o < c->node->n_out; o++) tn_infer_out(c, o, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    int axis;
    TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
    int64_t sizes[TN_INTS_MAX];
    if (given.known) TN_TRY(split_sizes(c->node, s.dims[axis], &given, sizes, c->err));
    for (int o = 0; o < c->node->n_out; o++) {
        tn_shape out = s;
        out.dims[axis] = given.known ? sizes[o] : TN_DIM_UNKNOWN;
        tn_infer_out(c, o, c->in[0]->dtype, &out);
    }
    return TERN_OK;
}

static tern_status read_split_run(tn_run *c, int64_t dim, int64_t *sizes) {
    tn_ints given;
    TN_TRY(tn_ints_run(c, "split", split_input(c->node), &given));
    if (c->node->since == 1 && !given.given) TN_TRY(tn_ints_run(c, "split", -1, &given));
    return split_sizes(c->node, dim, &given, sizes, c->err);
}

static void split_channels(tn_run *c, const int64_t *sizes) {
    const tern_tensor *x = c->in[0];
    tn_copy_channels k = {.n = x->shape.dims[0],
                          .hw = tn_shape_count_range(&x->shape, 2, x->shape.rank),
                          .src_channels = x->shape.dims[1],
                          .block = x->block,
                          .unit = tern_dtype_size(x->dtype)};
    for (int o = 0; o < c->node->n_out; o++) {
        tern_tensor *y = c->out[o];
        k.dst_channels = k.count = sizes[o];
        if (y && tn_tensor_bytes(y)) {
            tn_copy_blocked(&k, x->data, y->data, c->threads);
            tn_copy_clear_tail(y->data, k.n, k.count, k.hw, k.block, k.unit);
        }
        k.src_c += sizes[o];
    }
}

static tern_status run_split(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int axis = 0;
    int64_t sizes[TN_INTS_MAX], at = 0;
    TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), x->shape.rank, &axis, c->err));
    TN_TRY(read_split_run(c, x->shape.dims[axis], sizes));
    if (tn_tensor_bytes(x) == 0) return TERN_OK;
    if (x->block && axis == 1) {
        split_channels(c, sizes);
        return TERN_OK;
    }
    size_t unit = tern_dtype_size(x->dtype);
    tn_shape stored = tn_tensor_stored_shape(x);
    int64_t outer = tn_shape_count_range(&stored, 0, axis), inner = inner_count(x, axis);
    int64_t row = stored.dims[axis] * inner;
    for (int o = 0; o < c->node->n_out; o++) {
        int64_t part = sizes[o] * inner;
        tern_tensor *y = c->out[o];
        if (y && part) {
            tn_copy k;
            tn_copy_init(&k, unit);
            tn_copy_dim(&k, outer, row, part);
            tn_copy_dim(&k, part, 1, 1);
            tn_copy_run(&k, (const char *)x->data + (size_t)at * unit, y->data, c->threads);
        }
        at += part;
    }
    return TERN_OK;
}

const tn_op tn_op_split1 = TN_ARGS_OP(infer_split, run_split, 1, 2, 1, -1, TN_OP_BLOCKED);
const tn_op tn_op_split2 = TN_ARGS_OP(infer_split, run_split, 1, 1, 1, -1, TN_OP_BLOCKED);
const tn_op tn_op_split = TN_ARGS_OP(infer_split, run_split, 1, 2, 1, -1, TN_OP_BLOCKED);
