/* MaxUnpool: every value goes where its index says, into zeros. Indices count in the tensor that the pool's attributes
 * give; output_shape may be larger than it. */
#include "ops/conv_shape.h"
#include "ops/ops.h"

static tern_status natural_shape(const tn_node *node, const tn_shape *x, tn_shape *y, tern_error *err) {
    tn_window w;
    /* The attributes' checks are those of a pool; sizes are made here. */
    TN_TRY(tn_ops_window(node, x->rank - 2, NULL, NULL, &w, err));
    *y = *x;
    for (int i = 0; i < w.rank; i++) {
        int64_t d = x->dims[2 + i], size;
        y->dims[2 + i] = TN_DIM_UNKNOWN;
        if (!tn_dim_known(d)) continue;
        if (!tn_mul_i64(d - 1, w.stride[i], &size) || !tn_add_i64(size, w.kernel[i], &size))
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "spatial dim %d of the output is too large", i);
        size -= w.pad[i] + w.pad_end[i];
        if (d < 1 || size < 1)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "spatial dim %d of the output would be %lld", i, (long long)size);
        y->dims[2 + i] = size;
    }
    return TERN_OK;
}

static tern_status unpool_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_TYPES_FLOAT));
    TN_TRY(tn_infer_want(c, 1, TN_T(INT64)));
    TN_TRY(tn_infer_want(c, 2, TN_T(INT64)));
    const tn_type *x = c->in[0], *index = c->in[1];
    tern_dtype dtype = x ? x->dtype : TERN_UNDEFINED;
    if (!x || !x->ranked) {
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    tn_shape y;
    TN_TRY(natural_shape(c->node, &x->shape, &y, c->err));
    if (index && index->ranked && tn_shape_known(&index->shape) && tn_shape_known(&x->shape) &&
        !tn_shape_equal(&index->shape, &x->shape))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "X and I have different shapes");
    if (c->node->n_in > 2 && c->in[2]) {
        int64_t dims[TERN_MAX_RANK];
        int count;
        if (tn_infer_ints(c, 2, dims, TERN_MAX_RANK, &count)) {
            bool ok = count == y.rank;
            for (int i = 0; ok && i < count; i++)
                ok = !tn_dim_known(dims[i]) || (dims[i] >= 0 && (!tn_dim_known(y.dims[i]) || dims[i] >= y.dims[i]));
            if (!ok) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "output_shape does not hold the unpooled tensor");
            memcpy(y.dims, dims, (size_t)count * sizeof *dims);
        } else {
            for (int i = 0; i < y.rank; i++) y.dims[i] = TN_DIM_UNKNOWN;
        }
    }
    tn_infer_out(c, 0, dtype, &y);
    return TERN_OK;
}

static tern_status unpool_run(tn_run *c) {
    const tern_tensor *x = c->in[0], *given = c->node->n_in > 2 ? c->in[2] : NULL;
    tn_shape natural, shape;
    int64_t size, count = tn_shape_count(&x->shape);
    TN_TRY(natural_shape(c->node, &x->shape, &natural, c->err));
    if (!tn_shape_count_checked(&natural, &size)) return tn_run_fail(c, TERN_LIMIT_EXCEEDED, "the output is too large");
    shape = natural;
    if (given) {
        if (tn_shape_count(&given->shape) != natural.rank)
            return tn_run_fail(c, TERN_SHAPE_MISMATCH, "output_shape does not have %d values", natural.rank);
        for (int i = 0; i < natural.rank; i++) {
            shape.dims[i] = tn_tensor_get_i64(given, i);
            if (shape.dims[i] < natural.dims[i])
                return tn_run_fail(c, TERN_SHAPE_MISMATCH, "output_shape does not hold the unpooled tensor");
        }
    }
    if (!c->out[0] || !c->out[0]->data) TN_TRY(tn_run_alloc(c, 0, x->dtype, &shape));
    tern_tensor *y = c->out[0];
    if (!y || !y->data) return TERN_OK;
    size_t bytes = tern_dtype_size(x->dtype);
    memset(y->data, 0, tn_tensor_bytes(y));
    for (int64_t i = 0; i < count; i++) {
        int64_t from = ((const int64_t *)c->in[1]->data)[i], to = 0, step = 1;
        if (from < 0 || from >= size)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "index %lld is outside a tensor of %lld elements",
                               (long long)from, (long long)size);
        for (int d = natural.rank - 1; d >= 0; d--) {
            to += from % natural.dims[d] * step;
            from /= natural.dims[d];
            step *= shape.dims[d];
        }
        memcpy((char *)y->data + (size_t)to * bytes, (const char *)x->data + (size_t)i * bytes, bytes);
    }
    return TERN_OK;
}

const tn_op tn_op_max_unpool = {.infer = unpool_infer,
                                .run = unpool_run,
                                .flags = TN_OP_ALLOC,
                                .min_in = 2,
                                .max_in = 3,
                                .min_out = 1,
                                .max_out = 1};
