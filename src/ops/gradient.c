/* ai.onnx.preview.training:Gradient, which src/opt/gradient.c replaces before anything runs, and the operators that
 * only backward graphs use: tern:SumTo, tern:ConvInputGrad, tern:ConvWeightGrad. */
#include "ops/args.h"
#include "ops/broadcast.h"
#include "ops/conv_shape.h"

/* ---- Gradient -------------------------------------------------------------------------------------------------- */

static tern_status gradient_infer(tn_infer *c) {
    const tn_node *n = c->node;
    int nx = 0, nz = 0;
    if (!tn_gradient_counts(n, &nx, &nz) || nx == 0)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "attributes 'xs' and 'y' must name tensors");
    if (n->n_out > nx)
        return tn_infer_fail(c, TERN_INVALID_MODEL, "there are %d outputs for %d tensors in 'xs'", n->n_out, nx);
    /* Import appends what xs, zs and y name. */
    if (n->n_in != 2 * (nx + nz) + 1)
        return tn_infer_fail(c, TERN_INVALID_MODEL,
                             "%d tensors are named in 'xs' and 'zs'; the node must have an input for each", nx + nz);
    for (int i = 0; i < n->n_in; i++)
        if (!n->in[i]) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is absent", i);
    for (int i = 0; i < n->n_out; i++)
        if (tn_args_wants(c, i)) tn_infer_out_like(c, i, i);
    return TERN_OK;
}

static tern_status gradient_run(tn_run *c) { return tn_run_fail(c, TERN_INTERNAL, "Gradient was not expanded"); }

const tn_op tn_op_gradient = TN_ARGS_OP(gradient_infer, gradient_run, 1, -1, 1, -1, TN_OP_NO_FOLD);

/* ---- SumTo ----------------------------------------------------------------------------------------------------- */

/* The shape that input 1 has for broadcasting to input 0: with "axis", its dims start there. */
static bool aligned_shape(const tn_node *node, const tn_shape *g, const tn_shape *like, tn_shape *out) {
    *out = *like;
    int64_t axis = tn_attr_i(node, "axis", -1);
    if (axis < 0) return like->rank <= g->rank;
    if (axis > g->rank || like->rank > g->rank - axis) return false;
    out->rank = g->rank - (int)axis;
    for (int i = like->rank; i < out->rank; i++) out->dims[i] = 1;
    return true;
}

static tern_status sum_to_infer(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    TN_TRY(tn_args_need(c, 1, TN_TYPES_ALL));
    tn_shape g, like, aligned;
    bool known = tn_args_shape(c, 1, &like);
    tn_infer_out(c, 0, c->in[0]->dtype, known ? &like : NULL);
    if (!known || !tn_args_shape(c, 0, &g)) return TERN_OK;
    bool ok = aligned_shape(c->node, &g, &like, &aligned);
    for (int i = 0; ok && i < aligned.rank; i++) {
        int64_t a = aligned.dims[i], b = g.dims[g.rank - aligned.rank + i];
        ok = !tn_dim_known(a) || !tn_dim_known(b) || a == b || a == 1;
    }
    return ok ? TERN_OK
              : tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the gradient has no shape that its value broadcasts to");
}

static void store(tern_tensor *y, const double *sums, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (y->dtype == TERN_DOUBLE)
            ((double *)y->data)[i] = sums[i];
        else if (y->dtype == TERN_FLOAT)
            ((float *)y->data)[i] = (float)sums[i];
        else if (y->dtype == TERN_FLOAT16)
            ((uint16_t *)y->data)[i] = tn_f32_to_f16((float)sums[i]);
        else
            ((uint16_t *)y->data)[i] = tn_f32_to_bf16((float)sums[i]);
    }
}

/* Element by element in the order of g, in double: the result depends on shapes alone. */
static void add_up(const tn_broadcast *b, const tern_tensor *g, double *sums) {
    int64_t rows = b->inner ? b->count / b->inner : 0, step = b->strides[0][b->rank - 1];
    for (int64_t r = 0; r < rows; r++) {
        double *to = sums + tn_broadcast_row(b, 0, r);
        for (int64_t i = 0; i < b->inner; i++) to[i * step] += tn_tensor_get_f64(g, r * b->inner + i);
    }
}

static tern_status sum_to_run(tn_run *c) {
    const tern_tensor *g = c->in[0];
    tern_tensor *y = c->out[0];
    if (!y) return TERN_OK;
    if (tn_shape_equal(&g->shape, &y->shape)) {
        if (tn_tensor_bytes(y) && y->data != g->data) memcpy(y->data, g->data, tn_tensor_bytes(y));
        return TERN_OK;
    }
    tn_shape aligned;
    tn_broadcast b;
    int block = 0;
    if (!aligned_shape(c->node, &g->shape, &y->shape, &aligned) ||
        !tn_broadcast_init(&b, &g->shape, 0, 1, (const tn_shape *[]){&aligned}, &block))
        return tn_run_fail(c, TERN_SHAPE_MISMATCH, "the gradient has no shape that its value broadcasts to");
    int64_t n = tn_shape_count(&y->shape);
    double *sums = tn_calloc((size_t)n + 1, sizeof *sums);
    if (!sums) return tn_fail_oom(c->err, (size_t)n * sizeof *sums);
    add_up(&b, g, sums);
    store(y, sums, n);
    tn_free(sums);
    return TERN_OK;
}

const tn_op tn_op_sum_to = TN_ARGS_OP(sum_to_infer, sum_to_run, 2, 2, 1, 1, 0);

/* ---- gradients of Conv ----------------------------------------------------------------------------------------- */

/* Inputs: dY (n, oc, out...), X (n, ic, in...), W (oc, ic/group, kernel...). */
static tern_status conv_grad_infer(tn_infer *c, int like) {
    for (int i = 0; i < 3; i++) TN_TRY(tn_args_need(c, i, TN_T(FLOAT)));
    tn_shape dy, x, w;
    tn_infer_out_like(c, 0, like);
    if (!tn_args_shape(c, 0, &dy) || !tn_args_shape(c, 1, &x) || !tn_args_shape(c, 2, &w)) return TERN_OK;
    tn_conv_dims d;
    TN_TRY(tn_ops_conv_dims(c->node, &x, &w, false, &d, c->err));
    tn_shape want = tn_ops_conv_out_shape(&d);
    bool ok = want.rank == dy.rank;
    for (int i = 0; ok && i < dy.rank; i++)
        ok = !tn_dim_known(dy.dims[i]) || !tn_dim_known(want.dims[i]) || dy.dims[i] == want.dims[i];
    return ok ? TERN_OK : tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the gradient has not the shape of the convolution");
}
static tern_status conv_input_grad_infer(tn_infer *c) { return conv_grad_infer(c, 1); }
static tern_status conv_weight_grad_infer(tn_infer *c) { return conv_grad_infer(c, 2); }

typedef struct conv_grad {
    tn_conv_dims d;
    int64_t in_size, out_size, taps; /* elements of one channel, of one filter */
    const float *dy, *x, *w;
    float *dx, *dw; /* one of them */
} conv_grad;

/* The plane pair (x or dx, dy) for one tap: dx[in] += w dy[out], or the sum of x[in] dy[out] is returned. `k` are the
 * tap's coordinates. */
static double tap_plane(const tn_window *w, const int64_t *k, const float *dy, const float *x, float *dx,
                        float weight) {
    int64_t first[TN_MAX_SPATIAL], last[TN_MAX_SPATIAL], at[TN_MAX_SPATIAL];
    int r = w->rank - 1;
    for (int i = 0; i < w->rank; i++) {
        tn_ops_window_span(w, i, k[i], &first[i], &last[i]);
        if (first[i] >= last[i]) return 0;
        at[i] = first[i];
    }
    double sum = 0;
    for (;;) {
        int64_t in = 0, out = 0;
        for (int i = 0; i < w->rank; i++) {
            in = in * w->in[i] + at[i] * w->stride[i] + k[i] * w->dilation[i] - w->pad[i];
            out = out * w->out[i] + at[i];
        }
        for (int64_t j = 0; j < last[r] - first[r]; j++) {
            if (dx)
                dx[in + j * w->stride[r]] += weight * dy[out + j];
            else
                sum += (double)x[in + j * w->stride[r]] * (double)dy[out + j];
        }
        int i = r - 1;
        for (; i >= 0 && ++at[i] == last[i]; i--) at[i] = first[i];
        if (i < 0) return sum;
    }
}

static void tap_coordinates(const tn_window *w, int64_t tap, int64_t *k) {
    for (int i = w->rank - 1; i >= 0; i--) {
        k[i] = tap % w->kernel[i];
        tap /= w->kernel[i];
    }
}

/* One task: sample n, input channel ic. */
static void input_task(void *context, int64_t begin, int64_t end, int worker) {
    const conv_grad *c = context;
    int64_t icg = c->d.ic / c->d.groups, ocg = c->d.oc / c->d.groups, k[TN_MAX_SPATIAL];
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t n = t / c->d.ic, ic = t % c->d.ic, group = ic / icg;
        float *dx = c->dx + t * c->in_size;
        for (int64_t oc = group * ocg; oc < (group + 1) * ocg; oc++)
            for (int64_t tap = 0; tap < c->taps; tap++) {
                tap_coordinates(&c->d.w, tap, k);
                tap_plane(&c->d.w, k, c->dy + (n * c->d.oc + oc) * c->out_size, NULL, dx,
                          c->w[(oc * icg + ic % icg) * c->taps + tap]);
            }
    }
}

/* One task: output channel oc, input channel of its group. */
static void weight_task(void *context, int64_t begin, int64_t end, int worker) {
    const conv_grad *c = context;
    int64_t icg = c->d.ic / c->d.groups, ocg = c->d.oc / c->d.groups, k[TN_MAX_SPATIAL];
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t oc = t / icg, ic = oc / ocg * icg + t % icg;
        for (int64_t tap = 0; tap < c->taps; tap++) {
            double sum = 0;
            tap_coordinates(&c->d.w, tap, k);
            for (int64_t n = 0; n < c->d.n; n++)
                sum += tap_plane(&c->d.w, k, c->dy + (n * c->d.oc + oc) * c->out_size,
                                 c->x + (n * c->d.ic + ic) * c->in_size, NULL, 0);
            c->dw[t * c->taps + tap] = (float)sum;
        }
    }
}

static tern_status conv_grad_run(tn_run *r, bool input) {
    conv_grad c = {.dy = r->in[0]->data, .x = r->in[1]->data, .w = r->in[2]->data};
    if (!r->out[0]) return TERN_OK;
    TN_TRY(tn_ops_conv_dims(r->node, &r->in[1]->shape, &r->in[2]->shape, false, &c.d, r->err));
    c.in_size = tn_shape_count_range(&r->in[1]->shape, 2, r->in[1]->shape.rank);
    c.out_size = tn_shape_count_range(&r->in[0]->shape, 2, r->in[0]->shape.rank);
    c.taps = tn_shape_count_range(&r->in[2]->shape, 2, r->in[2]->shape.rank);
    size_t bytes = tn_tensor_bytes(r->out[0]);
    if (bytes) memset(r->out[0]->data, 0, bytes);
    if (input)
        c.dx = r->out[0]->data;
    else
        c.dw = r->out[0]->data;
    if (!bytes || !c.out_size) return TERN_OK;
    if (input)
        tn_parallel_for(r->threads, c.d.n * c.d.ic, input_task, &c);
    else
        tn_parallel_for(r->threads, c.d.oc * (c.d.ic / c.d.groups), weight_task, &c);
    return TERN_OK;
}
static tern_status conv_input_grad_run(tn_run *c) { return conv_grad_run(c, true); }
static tern_status conv_weight_grad_run(tn_run *c) { return conv_grad_run(c, false); }

const tn_op tn_op_conv_input_grad = TN_ARGS_OP(conv_input_grad_infer, conv_input_grad_run, 3, 3, 1, 1, 0);
const tn_op tn_op_conv_weight_grad = TN_ARGS_OP(conv_weight_grad_infer, conv_weight_grad_run, 3, 3, 1, 1, 0);
