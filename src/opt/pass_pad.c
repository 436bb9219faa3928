#include "opt/opt.h"

/* Padding and windows. A Pad with zeros becomes the padding of the convolution or AveragePool behind it, and taps of a
 * kernel that no window has over the picture - those of a dilation as wide as the map - leave the weights. */

tern_status tn_pass_pad(tn_opt *o);

/* Dims 2 .. rank - 1 of something, `rank` values before and as many behind. */
typedef struct edges {
    int spatial;
    int64_t begin[TERN_MAX_RANK], end[TERN_MAX_RANK];
} edges;

static const int64_t *const_ints(const tn_value *v, size_t *count) {
    const tern_tensor *t = tn_opt_const(v);
    if (!t || t->dtype != TERN_INT64 || t->shape.rank != 1) return NULL;
    *count = (size_t)t->shape.dims[0];
    return t->data;
}

static bool pads_with_zero(const tn_node *n) {
    float value = 0;
    if (!tn_attr_is(n, "mode", "constant", "constant")) return false;
    if (n->since < 11) return tn_attr_f(n, "value", 0) == 0;
    return n->n_in < 3 || !n->in[2] || (tn_opt_scalar(n->in[2], &value) && value == 0);
}

/* What a Pad puts around the spatial dims; false when it does anything else, or it can not be told. */
static bool pad_edges(const tn_node *n, edges *e) {
    if (!tn_opt_is(n, "", "Pad") || n->since < 2 || !n->in[0]->type.ranked || !pads_with_zero(n)) return false;
    const int rank = n->in[0]->type.shape.rank;
    if (rank < 3 || rank > TERN_MAX_RANK) return false;
    size_t count = 0, n_axes = (size_t)rank;
    const int64_t *pads = n->since < 11 ? tn_attr_ints(n, "pads", &count) : const_ints(n->in[1], &count), *axes = NULL;
    if (n->n_in > 3 && n->in[3] && !(axes = const_ints(n->in[3], &n_axes))) return false;
    if (!pads || count != 2 * n_axes || n_axes > (size_t)rank) return false;
    memset(e, 0, sizeof *e);
    e->spatial = rank - 2;
    for (size_t i = 0; i < n_axes; i++) {
        int64_t axis = axes ? axes[i] : (int64_t)i, begin = pads[i], end = pads[n_axes + i];
        if (axis < 0) axis += rank;
        if (axis < 0 || axis >= rank || begin < 0 || end < 0 || begin > INT32_MAX || end > INT32_MAX) return false;
        if (axis < 2 && (begin || end)) return false;
        if (axis < 2) continue;
        e->begin[axis - 2] = begin;
        e->end[axis - 2] = end;
    }
    return true;
}

/* The pads of a convolution or pool over `spatial` dims; false for those that depend on a size. */
static bool window_edges(const tn_node *n, int spatial, edges *e) {
    size_t count;
    const int64_t *pads = tn_attr_ints(n, "pads", &count);
    memset(e, 0, sizeof *e);
    e->spatial = spatial;
    if (tn_attr_is(n, "auto_pad", "NOTSET", "VALID")) return true;
    if (!tn_attr_is(n, "auto_pad", "NOTSET", "NOTSET") || (count && count != 2 * (size_t)spatial)) return false;
    for (int i = 0; count && i < spatial; i++) {
        e->begin[i] = pads[i];
        e->end[i] = pads[spatial + i];
        if (pads[i] < 0 || pads[spatial + i] < 0 || pads[i] > INT32_MAX || pads[spatial + i] > INT32_MAX) return false;
    }
    return true;
}

/* Averages count zeros that stand in the picture, and zeros of the padding only when told to. */
static bool average_counts(const tn_node *n, const edges *own, const edges *pad) {
    size_t count;
    const int64_t *kernel = tn_attr_ints(n, "kernel_shape", &count);
    if (n->since < 7 || tn_attr_i(n, "ceil_mode", 0) || count != (size_t)own->spatial) return false;
    const bool counts = tn_attr_i(n, "count_include_pad", 0) != 0;
    for (int i = 0; i < own->spatial; i++) {
        if (!counts && (own->begin[i] || own->end[i])) return false;
        if (own->begin[i] + pad->begin[i] >= kernel[i] || own->end[i] + pad->end[i] >= kernel[i]) return false;
    }
    return true;
}

static tern_status set_pads(tn_opt *o, tn_node *n, const edges *e) {
    int64_t pads[2 * TERN_MAX_RANK];
    memcpy(pads, e->begin, (size_t)e->spatial * sizeof *pads);
    memcpy(pads + e->spatial, e->end, (size_t)e->spatial * sizeof *pads);
    TN_TRY(tn_opt_set_ints(o, n, "pads", pads, 2 * (size_t)e->spatial));
    return tn_opt_set_s(o, n, "auto_pad", "NOTSET");
}

static tern_status merge_pad(tn_opt *o, tn_node *n) {
    const tn_node *pad = n->in[0]->producer;
    const bool average = tn_opt_is(n, "", "AveragePool");
    edges e, own;
    if (!pad || !pad_edges(pad, &e) || !window_edges(n, e.spatial, &own)) return TERN_OK;
    if (average && !average_counts(n, &own, &e)) return TERN_OK;
    for (int i = 0; i < e.spatial; i++) {
        own.begin[i] += e.begin[i];
        own.end[i] += e.end[i];
    }
    TN_TRY(set_pads(o, n, &own));
    n->in[0] = pad->in[0];
    if (average) TN_TRY(tn_opt_set_i(o, n, "count_include_pad", 1));
    return tn_opt_note(o, n, "Pad");
}

/* ---- taps ------------------------------------------------------------------------------------------------------ */

/* Whether some window has tap k over the picture: it reads at k * dilation - begin + stride * (0 .. out - 1). */
static bool tap_reads(int64_t k, int64_t dilation, int64_t begin, int64_t stride, int64_t out, int64_t in) {
    int64_t first, last;
    if (!tn_mul_i64(k, dilation, &first) || !tn_mul_i64(out - 1, stride, &last)) return true;
    first -= begin;
    return first < in && (!tn_add_i64(first, last, &last) || last >= 0);
}

/* The taps [from, to) of dim i that are needed; the paddings that go with them replace those of `e`. */
static void needed_taps(const tn_node *n, int i, int64_t in, int64_t taps, int64_t out, edges *e, int64_t *from,
                        int64_t *to) {
    size_t n_strides, n_dilations;
    const int64_t *strides = tn_attr_ints(n, "strides", &n_strides);
    const int64_t *dilations = tn_attr_ints(n, "dilations", &n_dilations);
    const int64_t stride = (size_t)i < n_strides ? strides[i] : 1,
                  dilation = (size_t)i < n_dilations ? dilations[i] : 1;
    *from = 0;
    *to = taps;
    if (stride < 1 || dilation < 1) return;
    /* The size of Y is to stay, so that paddings shrink with the kernel; they can not be negative. */
    while (*to - *from > 1 && e->begin[i] >= dilation && !tap_reads(0, dilation, e->begin[i], stride, out, in)) {
        (*from)++;
        e->begin[i] -= dilation;
    }
    while (*to - *from > 1 && e->end[i] >= dilation &&
           !tap_reads(*to - *from - 1, dilation, e->begin[i], stride, out, in)) {
        (*to)--;
        e->end[i] -= dilation;
    }
}

/* w[:, :, from0:to0, from1:to1] of float32 weights of rank 4. */
static tern_status slice_taps(tn_opt *o, const tern_tensor *w, const int64_t *from, const int64_t *to,
                              tern_tensor **out) {
    const int64_t kh = w->shape.dims[2], kw = w->shape.dims[3], h = to[0] - from[0], width = to[1] - from[1];
    const int64_t planes = w->shape.dims[0] * w->shape.dims[1];
    tn_shape shape = w->shape;
    shape.dims[2] = h;
    shape.dims[3] = width;
    TN_TRY(tn_tensor_new(out, TERN_FLOAT, &shape, o->err));
    const char *src = w->data; /* may be unaligned */
    float *dst = (*out)->data;
    for (int64_t p = 0; p < planes; p++)
        for (int64_t y = from[0]; y < to[0]; y++, dst += width)
            memcpy(dst, src + (size_t)((p * kh + y) * kw + from[1]) * sizeof *dst, (size_t)width * sizeof *dst);
    return TERN_OK;
}

static tern_status trim_taps(tn_opt *o, tn_node *n) {
    const tern_tensor *w = n->n_in > 1 ? tn_opt_const(n->in[1]) : NULL;
    const tn_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    edges e;
    if (!w || w->dtype != TERN_FLOAT || w->shape.rank != 4 || !x->ranked || x->shape.rank != 4 || !y->ranked ||
        y->shape.rank != 4 || !window_edges(n, 2, &e))
        return TERN_OK;
    int64_t from[2], to[2], dropped = 0;
    for (int i = 0; i < 2; i++) {
        const int64_t in = x->shape.dims[i + 2], out = y->shape.dims[i + 2];
        if (!tn_dim_known(in) || !tn_dim_known(out) || in < 1 || out < 1) return TERN_OK;
        needed_taps(n, i, in, w->shape.dims[i + 2], out, &e, &from[i], &to[i]);
        dropped += w->shape.dims[i + 2] - (to[i] - from[i]);
    }
    if (dropped == 0) return TERN_OK;
    tern_tensor *trimmed;
    TN_TRY(slice_taps(o, w, from, to, &trimmed));
    tn_value *v = tn_opt_new_const(o, n->in[1]->name, trimmed);
    if (!v) return TERN_OUT_OF_MEMORY;
    n->in[1] = v;
    TN_TRY(set_pads(o, n, &e));
    return tn_opt_set_ints(o, n, "kernel_shape", trimmed->shape.dims + 2, 2);
}

tern_status tn_pass_pad(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        const bool conv = tn_opt_is(n, "", "Conv");
        if (conv || tn_opt_is(n, "", "AveragePool")) TN_TRY(merge_pad(o, n));
        if (conv) TN_TRY(trim_taps(o, n));
    }
    return TERN_OK;
}
