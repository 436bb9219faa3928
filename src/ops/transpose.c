/* Transpose, DepthToSpace, SpaceToDepth, Expand, Tile: one strided copy each. */
#include "ops/args.h"
#include "ops/copy.h"

/* ---- Transpose --------------------------------------------------------------------------------------------- */

static tern_status read_perm(const tn_node *n, int rank, int *perm, tern_error *err) {
    size_t count;
    const int64_t *p = tn_attr_ints(n, "perm", &count);
    bool seen[TERN_MAX_RANK];
    if (!tn_attr_find(n, "perm")) {
        for (int i = 0; i < rank; i++) perm[i] = rank - 1 - i;
        return TERN_OK;
    }
    if (count != (size_t)rank)
        return tn_fail(err, TERN_INVALID_MODEL, "perm has %zu axes, the input has rank %d", count, rank);
    TN_TRY(tn_args_axes(p, rank, rank, seen, err));
    for (int i = 0; i < rank; i++) perm[i] = (int)(p[i] < 0 ? p[i] + rank : p[i]);
    return TERN_OK;
}

static tern_status infer_transpose(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_shape s, out;
    int perm[TERN_MAX_RANK];
    if (!tn_args_shape(c, 0, &s)) {
        size_t count;
        tn_attr_ints(c->node, "perm", &count);
        tn_shape unknown = tn_args_unknown_dims(count <= TERN_MAX_RANK ? (int)count : 0);
        tn_infer_out(c, 0, c->in[0]->dtype, count && count <= TERN_MAX_RANK ? &unknown : NULL);
        return TERN_OK;
    }
    TN_TRY(read_perm(c->node, s.rank, perm, c->err));
    out.rank = s.rank;
    for (int i = 0; i < s.rank; i++) out.dims[i] = s.dims[perm[i]];
    tn_infer_out(c, 0, c->in[0]->dtype, &out);
    return TERN_OK;
}

static tern_status run_transpose(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int perm[TERN_MAX_RANK];
    int64_t xs[TERN_MAX_RANK], ys[TERN_MAX_RANK];
    TN_TRY(read_perm(c->node, x->shape.rank, perm, c->err));
    tn_copy_strides(&x->shape, xs);
    tn_copy_strides(&y->shape, ys);
    tn_copy copy;
    tn_copy_init(&copy, tern_dtype_size(x->dtype));
    for (int i = 0; i < y->shape.rank; i++) tn_copy_dim(&copy, y->shape.dims[i], xs[perm[i]], ys[i]);
    tn_copy_run(&copy, x->data, y->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_transpose = TN_ARGS_OP(infer_transpose, run_transpose, 1, 1, 1, 1, 0);

/* ---- DepthToSpace, SpaceToDepth ---------------------------------------------------------------------------- */

static tern_status infer_depth_space(tn_infer *c, bool to_space) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    const tn_attr *attr = tn_attr_find(c->node, "blocksize");
    if (!attr) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'blocksize' is missing");
    int64_t b = attr->i, bb;
    if (b < 1 || !tn_mul_i64(b, b, &bb)) return tn_infer_fail(c, TERN_INVALID_MODEL, "blocksize is %lld", (long long)b);
    tn_str mode = tn_attr_s(c->node, "mode", "DCR");
    if (to_space && !tn_str_eq(mode, tn_str_c("DCR")) && !tn_str_eq(mode, tn_str_c("CRD")))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode '%.*s' is neither DCR nor CRD", (int)TN_MIN(mode.len, 40u),
                             mode.data);
    tn_shape s, out = tn_args_unknown_dims(4);
    if (tn_args_shape(c, 0, &s)) {
        if (s.rank != 4) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d, not 4", s.rank);
        out.dims[0] = s.dims[0];
        for (int i = 1; i < 4; i++) {
            if (!tn_dim_known(s.dims[i])) continue;
            bool divide = (i == 1) == to_space;
            int64_t by = i == 1 ? bb : b;
            if (divide && s.dims[i] % by)
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "dim %d is %lld, not a multiple of %lld", i,
                                     (long long)s.dims[i], (long long)by);
            if (divide)
                out.dims[i] = s.dims[i] / by;
            else if (!tn_mul_i64(s.dims[i], by, &out.dims[i]))
                return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "dim %d, %lld, times %lld is too large", i,
                                     (long long)s.dims[i], (long long)by);
        }
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

static tern_status infer_depth_to_space(tn_infer *c) { return infer_depth_space(c, true); }
static tern_status infer_space_to_depth(tn_infer *c) { return infer_depth_space(c, false); }

static tern_status run_depth_to_space(tn_run *c) {
    const tn_shape *s = &c->out[0]->shape;
    int64_t b = tn_attr_i(c->node, "blocksize", 1), ch = s->dims[1], h = s->dims[2] / b, w = s->dims[3] / b;
    bool crd = tn_attr_is(c->node, "mode", "DCR", "CRD");
    int64_t step_c = crd ? b * b : 1, step_b = crd ? 1 : ch; /* in input channels */
    tn_copy k;
    tn_copy_init(&k, tern_dtype_size(c->in[0]->dtype));
    tn_copy_dim(&k, s->dims[0], ch * b * b * h * w, ch * b * b * h * w);
    tn_copy_dim(&k, ch, step_c * h * w, h * b * w * b);
    tn_copy_dim(&k, h, w, b * w * b);
    tn_copy_dim(&k, b, step_b * b * h * w, w * b);
    tn_copy_dim(&k, w, 1, b);
    tn_copy_dim(&k, b, step_b * h * w, 1);
    tn_copy_run(&k, c->in[0]->data, c->out[0]->data, c->threads);
    return TERN_OK;
}

static tern_status run_space_to_depth(tn_run *c) {
    const tn_shape *s = &c->in[0]->shape;
    int64_t b = tn_attr_i(c->node, "blocksize", 1), ch = s->dims[1], h = s->dims[2] / b, w = s->dims[3] / b;
    tn_copy k;
    tn_copy_init(&k, tern_dtype_size(c->in[0]->dtype));
    tn_copy_dim(&k, s->dims[0], ch * b * b * h * w, ch * b * b * h * w);
    tn_copy_dim(&k, b, w * b, b * ch * h * w);
    tn_copy_dim(&k, b, 1, ch * h * w);
    tn_copy_dim(&k, ch, h * b * w * b, h * w);
    tn_copy_dim(&k, h, b * w * b, w);
    tn_copy_dim(&k, w, b, 1);
    tn_copy_run(&k, c->in[0]->data, c->out[0]->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_depth_to_space = TN_ARGS_OP(infer_depth_to_space, run_depth_to_space, 1, 1, 1, 1, 0);
const tn_op tn_op_space_to_depth = TN_ARGS_OP(infer_space_to_depth, run_space_to_depth, 1, 1, 1, 1, 0);

/* ---- Expand ------------------------------------------------------------------------------------------------ */

static tern_status infer_expand(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tern_dtype dtype = c->in[0]->dtype;
    int64_t v[TN_INTS_MAX];
    int n;
    tn_shape s, want = {0}, out;
    bool ranked = tn_args_shape(c, 0, &s), counted = false;
    const tn_type *t = c->in[1];
    if (tn_infer_ints(c, 1, v, TN_INTS_MAX, &n)) {
        if (n > TERN_MAX_RANK)
            return tn_infer_fail(c, TERN_UNSUPPORTED, "the shape has %d dims, more than %d", n, TERN_MAX_RANK);
        want = tn_shape_of(n, v);
        for (int i = 0; i < n; i++)
            if (tn_dim_known(v[i]) && v[i] < 0)
                return tn_infer_fail(c, TERN_INVALID_MODEL, "shape[%d] is %lld", i, (long long)v[i]);
        counted = true;
    } else if (t->ranked && t->shape.rank == 1 && tn_dim_known(t->shape.dims[0]) && t->shape.dims[0] <= TERN_MAX_RANK) {
        want = tn_args_unknown_dims((int)t->shape.dims[0]);
        counted = true;
    }
    if (!ranked || !counted) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    const tn_shape *both[2] = {&s, &want};
    TN_TRY(tn_infer_broadcast(c, both, 2, &out));
    return tn_args_out_shape(c, 0, dtype, &out);
}

static tern_status run_expand(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int64_t xs[TERN_MAX_RANK], ys[TERN_MAX_RANK];
    tn_copy_strides(&x->shape, xs);
    tn_copy_strides(&y->shape, ys);
    int lead = y->shape.rank - x->shape.rank;
    tn_copy k;
    tn_copy_init(&k, tern_dtype_size(x->dtype));
    for (int i = 0; i < y->shape.rank; i++) {
        bool repeat = i < lead || x->shape.dims[i - lead] == 1;
        tn_copy_dim(&k, y->shape.dims[i], repeat ? 0 : xs[i - lead], ys[i]);
    }
    tn_copy_run(&k, x->data, y->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_expand = TN_ARGS_OP(infer_expand, run_expand, 2, 2, 1, 1, 0);

/* ---- Tile -------------------------------------------------------------------------------------------------- */

/* Version 1 repeats one axis: inputs `tiles` and `axis`, scalars of the data's type. */
static tern_status infer_tile1(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_TYPES_NUMERIC));
    TN_TRY(tn_args_need(c, 2, TN_TYPES_NUMERIC));
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    tn_shape out = tn_args_unknown_dims(s.rank);
    const tern_tensor *tiles = c->value[1], *axis = c->value[2];
    if (tiles && axis) {
        if (tn_shape_count(&tiles->shape) != 1 || tn_shape_count(&axis->shape) != 1)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "tiles and axis must have one element each");
        int64_t times = tn_tensor_get_i64(tiles, 0);
        int a;
        TN_TRY(tn_infer_axis(c, tn_tensor_get_i64(axis, 0), s.rank, &a, "axis"));
        if (times < 0) return tn_infer_fail(c, TERN_INVALID_MODEL, "tiles is %lld", (long long)times);
        out = s;
        if (!tn_dim_known(s.dims[a]))
            out.dims[a] = TN_DIM_UNKNOWN;
        else if (!tn_mul_i64(s.dims[a], times, &out.dims[a]))
            return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "dim %lld times %lld is too large", (long long)s.dims[a],
                                 (long long)times);
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

static tern_status infer_tile(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_T(INT64)));
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    tn_shape out = tn_args_unknown_dims(s.rank);
    int64_t v[TN_INTS_MAX];
    int n;
    if (tn_infer_ints(c, 1, v, TN_INTS_MAX, &n)) {
        if (n != s.rank)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "repeats has %d values, the input has rank %d", n, s.rank);
        for (int i = 0; i < n; i++) {
            if (tn_dim_known(v[i]) && v[i] < 0)
                return tn_infer_fail(c, TERN_INVALID_MODEL, "repeats[%d] is %lld", i, (long long)v[i]);
            if (v[i] == 1)
                out.dims[i] = s.dims[i];
            else if (s.dims[i] == 1)
                out.dims[i] = v[i];
            else if (tn_dim_known(v[i]) && tn_dim_known(s.dims[i]) && !tn_mul_i64(v[i], s.dims[i], &out.dims[i]))
                return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "dim %lld times %lld is too large", (long long)s.dims[i],
                                     (long long)v[i]);
        }
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

static tern_status run_tile(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int64_t xs[TERN_MAX_RANK], ys[TERN_MAX_RANK];
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    tn_copy_strides(&x->shape, xs);
    tn_copy_strides(&y->shape, ys);
    tn_copy k;
    tn_copy_init(&k, tern_dtype_size(x->dtype));
    for (int i = 0; i < y->shape.rank; i++) {
        int64_t n = x->shape.dims[i];
        tn_copy_dim(&k, y->shape.dims[i] / n, 0, n * ys[i]);
        tn_copy_dim(&k, n, xs[i], ys[i]);
    }
    tn_copy_run(&k, x->data, y->data, c->threads);
    return TERN_OK;
}

const tn_op tn_op_tile1 = TN_ARGS_OP(infer_tile1, run_tile, 3, 3, 1, 1, 0);
const tn_op tn_op_tile = TN_ARGS_OP(infer_tile, run_tile, 2, 2, 1, 1, 0);
