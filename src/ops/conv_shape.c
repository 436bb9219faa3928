#include "ops/conv_shape.h"

static bool positive(int64_t v) { return v >= 1 && v <= INT32_MAX; }

static bool not_negative(int64_t v) { return v >= 0 && v <= INT32_MAX; }

/* An INTS attribute of exactly `want` values within limits into dst; `fallback` in all of them when it is absent. */
static tern_status read_ints(const tn_node *node, const char *name, size_t want, bool (*ok)(int64_t), int64_t fallback,
                             int64_t *dst, tern_error *err) {
    size_t count = 0;
    const int64_t *values = tn_attr_ints(node, name, &count);
    if (count == 0) values = NULL;
    if (values && count != want)
        return tn_fail(err, TERN_INVALID_MODEL, "attribute '%s' has %zu values, the input's spatial rank asks for %zu",
                       name, count, want);
    for (size_t i = 0; i < want; i++) {
        dst[i] = values ? values[i] : fallback;
        if (!ok(dst[i]))
            return tn_fail(err, TERN_INVALID_MODEL, "attribute '%s' has value %lld, which is out of range", name,
                           (long long)dst[i]);
    }
    return TERN_OK;
}

static tern_status read_kernel(const tn_node *node, int rank, const int64_t *kernel, tn_window *w, tern_error *err) {
    bool given = tn_attr_find(node, "kernel_shape") != NULL;
    if (!given && !kernel) return tn_fail(err, TERN_INVALID_MODEL, "attribute 'kernel_shape' is missing");
    int64_t from_attr[TN_MAX_SPATIAL];
    if (given) TN_TRY(read_ints(node, "kernel_shape", (size_t)rank, positive, 1, from_attr, err));
    for (int i = 0; i < rank; i++) {
        bool known = kernel && tn_dim_known(kernel[i]);
        if (known && !positive(kernel[i]))
            return tn_fail(err, TERN_INVALID_MODEL, "the weights have kernel size %lld in spatial dim %d",
                           (long long)kernel[i], i);
        if (known && given && kernel[i] != from_attr[i])
            return tn_fail(err, TERN_SHAPE_MISMATCH, "kernel_shape has %lld in spatial dim %d, the weights have %lld",
                           (long long)from_attr[i], i, (long long)kernel[i]);
        w->kernel[i] = known ? kernel[i] : given ? from_attr[i] : TN_DIM_UNKNOWN;
    }
    return TERN_OK;
}

typedef enum auto_pad { PAD_EXPLICIT, PAD_SAME_UPPER, PAD_SAME_LOWER, PAD_VALID } auto_pad;

static tern_status read_auto_pad(const tn_node *node, auto_pad *out, tern_error *err) {
    static const char *const names[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    tn_str s = tn_attr_s(node, "auto_pad", "NOTSET");
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        if (!tn_str_eq(s, tn_str_c(names[i]))) continue;
        *out = (auto_pad)i;
        return TERN_OK;
    }
    if (s.len == 0) { /* some exporters write an empty string */
        *out = PAD_EXPLICIT;
        return TERN_OK;
    }
    return tn_fail(err, TERN_INVALID_MODEL, "auto_pad is '%.*s'", (int)TN_MIN(s.len, (size_t)40), s.data);
}

/* All but `in` and `out`. Explicit pads end up in pad and pad_end, which are zero otherwise. */
static tern_status read_window(const tn_node *node, int rank, const int64_t *in, const int64_t *kernel, tn_window *w,
                               auto_pad *mode, tern_error *err) {
    memset(w, 0, sizeof *w);
    if (rank < 1 || rank > TN_MAX_SPATIAL)
        return tn_fail(err, TERN_INVALID_MODEL, "the input has rank %d; it must be 3 to %d", rank + 2, TERN_MAX_RANK);
    w->rank = rank;
    TN_TRY(read_kernel(node, rank, kernel, w, err));
    TN_TRY(read_ints(node, "strides", (size_t)rank, positive, 1, w->stride, err));
    TN_TRY(read_ints(node, "dilations", (size_t)rank, positive, 1, w->dilation, err));
    TN_TRY(read_auto_pad(node, mode, err));
    if (*mode == PAD_EXPLICIT) {
        int64_t pads[2 * TN_MAX_SPATIAL];
        TN_TRY(read_ints(node, "pads", 2 * (size_t)rank, not_negative, 0, pads, err));
        memcpy(w->pad, pads, (size_t)rank * sizeof *pads);
        memcpy(w->pad_end, pads + rank, (size_t)rank * sizeof *pads);
    }
    for (int i = 0; i < rank; i++) {
        w->in[i] = in ? in[i] : TN_DIM_UNKNOWN;
        /* Positions stay far below 2^63: padded inputs below 2^41, kernel extents below 2^62. */
        if (tn_dim_known(w->in[i]) && (w->in[i] < 0 || w->in[i] > (int64_t)1 << 40))
            return tn_fail(err, TERN_LIMIT_EXCEEDED, "the input has %lld in spatial dim %d", (long long)w->in[i], i);
        w->out[i] = TN_DIM_UNKNOWN;
    }
    return TERN_OK;
}

static void split_same(int64_t total, auto_pad mode, int64_t *pad, int64_t *pad_end) {
    total = TN_MAX(total, 0);
    *pad = mode == PAD_SAME_UPPER ? total / 2 : total - total / 2;
    *pad_end = total - *pad;
}

static tern_status window_dim(tn_window *w, int i, auto_pad mode, bool ceil_mode, tern_error *err) {
    bool same = mode == PAD_SAME_UPPER || mode == PAD_SAME_LOWER;
    int64_t in = w->in[i];
    if (!tn_dim_known(in) || !tn_dim_known(w->kernel[i])) {
        bool keeps = w->stride[i] == 1 &&
                     (same || (tn_dim_known(w->kernel[i]) && w->pad[i] + w->pad_end[i] == tn_window_extent(w, i) - 1));
        w->out[i] = keeps ? in : TN_DIM_UNKNOWN;
        return TERN_OK;
    }
    int64_t extent = tn_window_extent(w, i), stride = w->stride[i];
    if (same) {
        if (in < 1) return tn_fail(err, TERN_SHAPE_MISMATCH, "the input is empty in spatial dim %d", i);
        w->out[i] = tn_ceil_div(in, stride);
        split_same((w->out[i] - 1) * stride + extent - in, mode, &w->pad[i], &w->pad_end[i]);
        return TERN_OK;
    }
    int64_t slack = in + w->pad[i] + w->pad_end[i] - extent;
    if (slack < 0)
        return tn_fail(err, TERN_SHAPE_MISMATCH,
                       "spatial dim %d: the kernel covers %lld, the input with its padding has only %lld", i,
                       (long long)extent, (long long)(slack + extent));
    w->out[i] = slack / stride + 1;
    /* The extra window of ceil_mode must start inside the input or the padding before it. */
    if (ceil_mode && mode == PAD_EXPLICIT && slack % stride != 0 && w->out[i] * stride < in + w->pad[i]) w->out[i]++;
    return TERN_OK;
}

tern_status tn_ops_window(const tn_node *node, int rank, const int64_t *in, const int64_t *kernel, tn_window *out,
                          tern_error *err) {
    auto_pad mode;
    TN_TRY(read_window(node, rank, in, kernel, out, &mode, err));
    bool ceil_mode = tn_attr_i(node, "ceil_mode", 0) != 0;
    for (int i = 0; i < rank; i++) TN_TRY(window_dim(out, i, mode, ceil_mode, err));
    return TERN_OK;
}

static tern_status transposed_dim(tn_window *w, int i, auto_pad mode, int64_t wanted, int64_t output_padding,
                                  tern_error *err) {
    bool same = mode == PAD_SAME_UPPER || mode == PAD_SAME_LOWER;
    if (!tn_dim_known(w->in[i]) || !tn_dim_known(w->kernel[i])) {
        w->out[i] = wanted ? wanted : TN_DIM_UNKNOWN;
        return TERN_OK;
    }
    if (w->in[i] < 1) return tn_fail(err, TERN_SHAPE_MISMATCH, "the input is empty in spatial dim %d", i);
    int64_t full, extent = tn_window_extent(w, i);
    if (!tn_mul_i64(w->in[i] - 1, w->stride[i], &full) || !tn_add_i64(full, extent, &full) ||
        !tn_add_i64(full, output_padding, &full) || full > INT64_MAX / 4)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "spatial dim %d of the output is too large", i);
    if (wanted || same) {
        w->out[i] = wanted ? wanted : w->in[i] * w->stride[i];
        split_same(full - w->out[i], mode, &w->pad[i], &w->pad_end[i]);
        return TERN_OK;
    }
    w->out[i] = full - w->pad[i] - w->pad_end[i];
    if (w->out[i] < 1)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "spatial dim %d: pads %lld and %lld leave nothing of %lld", i,
                       (long long)w->pad[i], (long long)w->pad_end[i], (long long)full);
    return TERN_OK;
}

tern_status tn_ops_window_transposed(const tn_node *node, int rank, const int64_t *in, const int64_t *kernel,
                                     tn_window *out, tern_error *err) {
    auto_pad mode;
    TN_TRY(read_window(node, rank, in, kernel, out, &mode, err));
    int64_t output_padding[TN_MAX_SPATIAL], wanted[TERN_MAX_RANK] = {0};
    TN_TRY(read_ints(node, "output_padding", (size_t)rank, not_negative, 0, output_padding, err));
    size_t count = 0;
    const int64_t *shape = tn_attr_ints(node, "output_shape", &count);
    /* Early exporters gave n and c too. */
    int skip = count == (size_t)rank + 2 ? 2 : 0;
    if (shape && count > 0) {
        TN_TRY(read_ints(node, "output_shape", (size_t)(rank + skip), positive, 1, wanted, err));
    }
    for (int i = 0; i < rank; i++) TN_TRY(transposed_dim(out, i, mode, wanted[i + skip], output_padding[i], err));
    return TERN_OK;
}

void tn_ops_window_taps(const tn_window *w, int i, int64_t o, int64_t *first, int64_t *last) {
    int64_t start = o * w->stride[i] - w->pad[i], dilation = w->dilation[i];
    *first = start < 0 ? tn_ceil_div(-start, dilation) : 0;
    *last = start >= w->in[i] ? 0 : TN_MIN(w->kernel[i], tn_ceil_div(w->in[i] - start, dilation));
}

void tn_ops_window_span(const tn_window *w, int i, int64_t k, int64_t *first, int64_t *last) {
    int64_t offset = k * w->dilation[i] - w->pad[i], stride = w->stride[i]; /* reads o * stride + offset */
    *first = offset < 0 ? tn_ceil_div(-offset, stride) : 0;
    *last = offset >= w->in[i] ? 0 : TN_MIN(w->out[i], tn_ceil_div(w->in[i] - offset, stride));
    *first = TN_MIN(*first, w->out[i]);
    *last = TN_MAX(*last, *first);
}

tern_status tn_ops_conv_dims(const tn_node *node, const tn_shape *x, const tn_shape *w, bool transposed,
                             tn_conv_dims *out, tern_error *err) {
    memset(out, 0, sizeof *out);
    if (x->rank != w->rank || x->rank < 3)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "X has rank %d, W has rank %d; they must be equal and at least 3",
                       x->rank, w->rank);
    out->groups = tn_attr_i(node, "group", 1);
    if (!positive(out->groups))
        return tn_fail(err, TERN_INVALID_MODEL, "attribute 'group' is %lld", (long long)out->groups);
    for (int i = 0; i < 2; i++) {
        if (tn_dim_known(w->dims[i]) && w->dims[i] < 1)
            return tn_fail(err, TERN_INVALID_MODEL, "dim %d of W is %lld", i, (long long)w->dims[i]);
    }
    out->n = x->dims[0];
    out->ic = x->dims[1];
    int64_t whole = w->dims[0], per_group = w->dims[1];
    if (tn_dim_known(whole) && whole % out->groups != 0)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "%lld groups do not divide the %lld channels of dim 0 of W",
                       (long long)out->groups, (long long)whole);
    int64_t product = TN_DIM_UNKNOWN;
    if (tn_dim_known(per_group) && !tn_mul_i64(per_group, out->groups, &product))
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "W has %lld channels in each of %lld groups", (long long)per_group,
                       (long long)out->groups);
    int64_t weights_ic = transposed ? whole : product;
    out->oc = transposed ? product : whole;
    if (tn_dim_known(out->ic) && tn_dim_known(weights_ic) && out->ic != weights_ic)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "X has %lld channels, W (group %lld) expects %lld", (long long)out->ic,
                       (long long)out->groups, (long long)weights_ic);
    if (!tn_dim_known(out->ic)) out->ic = weights_ic;
    return (transposed ? tn_ops_window_transposed : tn_ops_window)(node, x->rank - 2, x->dims + 2, w->dims + 2, &out->w,
                                                                   err);
}

tn_shape tn_ops_conv_out_shape(const tn_conv_dims *d) {
    tn_shape s = {.rank = d->w.rank + 2, .dims = {d->n, d->oc}};
    memcpy(s.dims + 2, d->w.out, (size_t)d->w.rank * sizeof *s.dims);
    return s;
}
