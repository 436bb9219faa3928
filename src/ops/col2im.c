/* Col2Im: columns of blocks added up to images. CenterCropPad: the middle of a tensor, or zeros around it. */
#include "ops/args.h"
#include "ops/conv_internal.h"
#include "ops/conv_shape.h"
#include "ops/copy.h"
#include "ops/rowio.h"

/* ---- Col2Im: shapes -------------------------------------------------------------------------------------------- */

#define COL_TYPES (TN_TYPES_NUMERIC | TN_T(BOOL) | TN_T(COMPLEX64) | TN_T(COMPLEX128))

/* The window that slid over an image of those dims; its number of positions must be the columns' length. */
static tern_status col_window(const tn_node *n, const tn_ints *image, const tn_ints *block, tn_window *w, int64_t *taps,
                              int64_t *positions, tern_error *err) {
    if (image->count < 1 || image->count > TN_MAX_SPATIAL || image->count != block->count)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "image_shape has %d elements, block_shape %d", image->count,
                       block->count);
    for (int i = 0; i < image->count; i++)
        if (image->v[i] < 1 || block->v[i] < 1 || image->v[i] > INT32_MAX || block->v[i] > INT32_MAX)
            return tn_fail(err, TERN_INVALID_ARGUMENT, "blocks of %lld in an image of %lld, dim %d",
                           (long long)block->v[i], (long long)image->v[i], i);
    TN_TRY(tn_ops_window(n, image->count, image->v, block->v, w, err));
    if (tn_args_product(w->kernel, w->rank, taps) && tn_args_product(w->out, w->rank, positions)) return TERN_OK;
    return tn_fail(err, TERN_LIMIT_EXCEEDED, "the block or the number of blocks is too large");
}

static tern_status infer_col2im(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, COL_TYPES));
    for (int i = 1; i < 3; i++) TN_TRY(tn_args_need(c, i, TN_T(INT64)));
    tn_ints image, block;
    TN_TRY(tn_ints_infer(c, "image_shape", 1, &image));
    TN_TRY(tn_ints_infer(c, "block_shape", 2, &block));
    tn_shape x, out, s;
    bool have = tn_args_shape(c, 0, &x);
    if (have && x.rank != 3) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d instead of 3", x.rank);
    if (!image.known || !block.known) {
        int64_t rank = TN_DIM_UNKNOWN;
        if (tn_args_shape(c, 1, &s) && s.rank == 1) rank = s.dims[0];
        if (image.known) rank = image.count;
        out = tn_args_unknown_dims(0);
        if (tn_dim_known(rank) && rank >= 1 && rank <= TN_MAX_SPATIAL) out = tn_args_unknown_dims((int)rank + 2);
        if (have && out.rank) out.dims[0] = x.dims[0];
        tn_infer_out(c, 0, c->in[0]->dtype, out.rank ? &out : NULL);
        return TERN_OK;
    }
    tn_window w;
    int64_t taps, positions;
    TN_TRY(col_window(c->node, &image, &block, &w, &taps, &positions, c->err));
    out = tn_args_unknown_dims(w.rank + 2);
    memcpy(out.dims + 2, image.v, (size_t)w.rank * sizeof *image.v);
    if (have) {
        out.dims[0] = x.dims[0];
        if (tn_dim_known(x.dims[1])) {
            if (x.dims[1] % taps)
                return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%lld rows are not a multiple of %lld block elements",
                                     (long long)x.dims[1], (long long)taps);
            out.dims[1] = x.dims[1] / taps;
        }
        if (tn_dim_known(x.dims[2]) && x.dims[2] != positions)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "%lld columns for %lld blocks", (long long)x.dims[2],
                                 (long long)positions);
    }
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
}

/* ---- Col2Im: run ----------------------------------------------------------------------------------------------- */

typedef struct col2im {
    tn_window w;
    int64_t taps, positions, in_plane, image;
    const tern_tensor *x;
    tern_tensor *y;
    float *work; /* float16 and bfloat16: an image and a line of positions for each worker */
} col2im;

/* A line of n positions of one tap; `step` pixels apart in the image. Elements consist of `parts` numbers. */
#define ADD_LINE(NAME, T, ADD)                                                                                     \
    static void NAME(void *image, int64_t to, int64_t step, const void *col, int64_t from, int64_t n, int parts) { \
        T *y = (T *)image + to * parts;                                                                            \
        const T *x = (const T *)col + from * parts;                                                                \
        for (int p = 0; p < parts; p++)                                                                            \
            for (int64_t i = 0; i < n; i++) {                                                                      \
                T a = y[i * step * parts + p], b = x[i * parts + p];                                               \
                y[i * step * parts + p] = (T)(ADD);                                                                \
            }                                                                                                      \
    }
ADD_LINE(add_u8, uint8_t, (unsigned)a + (unsigned)b)
ADD_LINE(add_u16, uint16_t, (unsigned)a + (unsigned)b)
ADD_LINE(add_u32, uint32_t, a + b)
ADD_LINE(add_u64, uint64_t, a + b)
ADD_LINE(add_bool, uint8_t, a | b)
ADD_LINE(add_f32, float, a + b)
ADD_LINE(add_f64, double, a + b)
#undef ADD_LINE

typedef void (*add_fn)(void *image, int64_t to, int64_t step, const void *col, int64_t from, int64_t n, int parts);

/* Signed integers wrap as unsigned ones do. */
static add_fn adder_of(tern_dtype t, int *parts) {
    *parts = t == TERN_COMPLEX64 || t == TERN_COMPLEX128 ? 2 : 1;
    if (t == TERN_BOOL) return add_bool;
    if (t == TERN_DOUBLE || t == TERN_COMPLEX128) return add_f64;
    if (tn_type_in(t, TN_TYPES_FLOAT) || t == TERN_COMPLEX64) return add_f32;
    size_t size = tern_dtype_size(t);
    return size == 1 ? add_u8 : size == 2 ? add_u16 : size == 4 ? add_u32 : add_u64;
}

static bool is_small(tern_dtype t) { return t == TERN_FLOAT16 || t == TERN_BFLOAT16; }

/* One channel of one sample. */
static void add_plane(const col2im *k, int64_t plane, float *work) {
    tern_dtype t = k->x->dtype;
    int parts, last = k->w.rank - 1;
    add_fn add = adder_of(t, &parts);
    size_t unit = tern_dtype_size(t);
    bool small = is_small(t);
    char *y = (char *)k->y->data + (size_t)(plane * k->image) * unit;
    void *image = small ? (void *)work : (void *)y;
    memset(image, 0, (size_t)k->image * (small ? sizeof(float) : unit));
    for (int64_t tap = 0; tap < k->taps; tap++) {
        tn_tap_box box;
        if (!tn_ops_tap_init(&k->w, tap, &box)) continue;
        int64_t at[TN_MAX_SPATIAL], to, from, n = box.last[last] - box.first[last];
        int64_t row = (plane * k->taps + tap) * k->positions;
        memcpy(at, box.first, sizeof at);
        do {
            tn_ops_tap_offsets(&k->w, &box, at, &to, &from);
            if (small) {
                tn_row_load_f32(t, k->x->data, row + from, n, work + k->image);
                add(image, to, k->w.stride[last], work + k->image, 0, n, 1);
            } else {
                add(image, to, k->w.stride[last], k->x->data, row + from, n, parts);
            }
        } while (tn_ops_tap_next_line(&box, k->w.rank, at));
    }
    if (small) tn_row_store_f32(t, k->y->data, plane * k->image, k->image, work);
}

static void col2im_task(void *context, int64_t begin, int64_t end, int worker) {
    const col2im *k = context;
    float *work = k->work ? k->work + worker * (k->image + k->w.out[k->w.rank - 1]) : NULL;
    for (int64_t t = begin; t < end; t++) add_plane(k, t, work);
}

static tern_status run_col2im(tn_run *c) {
    col2im k = {.x = c->in[0], .y = c->out[0]};
    tn_ints image, block;
    TN_TRY(tn_ints_run(c, "image_shape", 1, &image));
    TN_TRY(tn_ints_run(c, "block_shape", 2, &block));
    TN_TRY(col_window(c->node, &image, &block, &k.w, &k.taps, &k.positions, c->err));
    if (tn_tensor_bytes(k.y) == 0) return TERN_OK;
    k.image = tn_shape_count_range(&k.y->shape, 2, k.y->shape.rank);
    int64_t planes = k.y->shape.dims[0] * k.y->shape.dims[1];
    int threads = tn_shape_count(&k.x->shape) < 8192 ? 1 : (int)TN_MIN((int64_t)c->threads, planes);
    if (is_small(k.x->dtype)) {
        size_t n = (size_t)(k.image + k.w.out[k.w.rank - 1]);
        if (!tn_mul_size(n, (size_t)threads, &n) || !(k.work = tn_alloc_array(n, sizeof *k.work)))
            return tn_fail_oom(c->err, n);
    }
    tn_parallel_for(threads, planes, col2im_task, &k);
    tn_free(k.work);
    return TERN_OK;
}

const tn_op tn_op_col2im = TN_ARGS_OP(infer_col2im, run_col2im, 3, 3, 1, 1, 0);

/* ---- CenterCropPad --------------------------------------------------------------------------------------------- */

/* *out becomes the wanted shape. */
static tern_status crop_shape(const tn_node *n, const tn_shape *x, const tn_ints *want, tn_shape *out,
                              tern_error *err) {
    size_t count;
    const int64_t *axes = tn_attr_ints(n, "axes", &count);
    bool mask[TERN_MAX_RANK];
    *out = *x;
    if (!tn_attr_find(n, "axes")) count = (size_t)x->rank;
    if (count > TERN_MAX_RANK || (size_t)want->count != count)
        return tn_fail(err, TERN_SHAPE_MISMATCH, "shape has %d elements for %zu axes", want->count, count);
    if (axes) TN_TRY(tn_args_axes(axes, (int)count, x->rank, mask, err));
    for (int i = 0; i < want->count; i++) {
        int axis = i;
        if (want->v[i] < 0) return tn_fail(err, TERN_INVALID_ARGUMENT, "shape has the dim %lld", (long long)want->v[i]);
        if (axes) TN_TRY(tn_args_axis(axes[i], x->rank, &axis, err));
        out->dims[axis] = want->v[i];
    }
    return TERN_OK;
}

static tern_status infer_center_crop_pad(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    TN_TRY(tn_args_need(c, 1, TN_T(INT32) | TN_T(INT64)));
    tn_shape x, out;
    tn_ints want;
    TN_TRY(tn_ints_infer(c, "shape", 1, &want));
    if (!tn_args_shape(c, 0, &x)) {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
        return TERN_OK;
    }
    if (want.known) {
        TN_TRY(crop_shape(c->node, &x, &want, &out, c->err));
        return tn_args_out_shape(c, 0, c->in[0]->dtype, &out);
    }
    size_t count;
    const int64_t *axes = tn_attr_ints(c->node, "axes", &count);
    bool mask[TERN_MAX_RANK];
    memset(mask, !tn_attr_find(c->node, "axes"), sizeof mask);
    if (axes && count <= TERN_MAX_RANK) TN_TRY(tn_args_axes(axes, (int)count, x.rank, mask, c->err));
    for (int i = 0; i < x.rank; i++)
        if (mask[i]) x.dims[i] = TN_DIM_UNKNOWN;
    return tn_args_out_shape(c, 0, c->in[0]->dtype, &x);
}

static tern_status run_center_crop_pad(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    size_t unit = tern_dtype_size(x->dtype);
    int64_t xs[TERN_MAX_RANK], ys[TERN_MAX_RANK], from = 0, to = 0;
    bool whole = true, empty = tn_tensor_bytes(x) == 0;
    tn_copy k;
    if (tn_tensor_bytes(y) == 0) return TERN_OK;
    tn_copy_init(&k, unit);
    tn_copy_strides(&x->shape, xs);
    tn_copy_strides(&y->shape, ys);
    for (int i = 0; i < x->shape.rank; i++) {
        int64_t a = x->shape.dims[i], b = y->shape.dims[i];
        if (a > b)
            from += (a - b) / 2 * xs[i];
        else
            to += (b - a) / 2 * ys[i];
        if (a < b) whole = false;
        tn_copy_dim(&k, TN_MIN(a, b), xs[i], ys[i]);
    }
    if (!whole) memset(y->data, 0, tn_tensor_bytes(y)); /* zero bytes are zero, or an empty string */
    if (!empty)
        tn_copy_run(&k, (const char *)x->data + (size_t)from * unit, (char *)y->data + (size_t)to * unit, c->threads);
    return TERN_OK;
}

const tn_op tn_op_center_crop_pad = TN_ARGS_OP(infer_center_crop_pad, run_center_crop_pad, 2, 2, 1, 1, 0);
