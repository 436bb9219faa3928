/* Small parts of transformers: RotaryEmbedding, SwiGLU, TensorScatter. */
#include "kernels/act.h"
#include "ops/args.h"
#include "ops/attention_internal.h"
#include "ops/copy.h"
#include "ops/rowio.h"

#include <math.h>

/* ---- RotaryEmbedding ------------------------------------------------------------------------------------------- */

#define ROTARY_TYPES (TN_T(FLOAT) | TN_T(FLOAT16) | TN_T(BFLOAT16))

/* Where the inputs are; the operator of com.microsoft has positions always, as numbers or as the first one. */
typedef struct rotary_inputs {
    int cos, sin, positions;
} rotary_inputs;

static rotary_inputs rotary_inputs_of(const tn_node *n) {
    return *n->domain ? (rotary_inputs){2, 3, 1} : (rotary_inputs){1, 2, 3};
}

typedef struct rotary {
    const tern_tensor *x, *cos, *sin, *positions;
    tern_tensor *y;
    int64_t heads, length, size, turned; /* turned: the first elements of a head, which rotate */
    int64_t head_step, row_step;         /* elements from head to head, from position to position */
    bool interleaved;
    float *work; /* per worker: cos, sin, head */
} rotary;

/* Heads of a row of `hidden` elements: what the attribute says, or, in com.microsoft, as many as the angles make. */
static int64_t rotary_heads(const tn_node *n, int64_t hidden, const tn_shape *cos) {
    int64_t heads = tn_attr_i(n, "num_heads", 0);
    if (heads || !*n->domain || !cos || cos->rank != 2 || !tn_dim_known(cos->dims[1]) || !tn_dim_known(hidden))
        return heads;
    return cos->dims[1] < 1 || cos->dims[1] > hidden ? 0 : hidden / cos->dims[1] / 2;
}

/* Sizes of (batch, heads, length, size) or (batch, length, heads * size). The shape of cos: NULL when not known. */
static tern_status rotary_dims(const tn_node *n, const tn_shape *x, const tn_shape *cos, rotary *r, tern_error *err) {
    r->turned = tn_attr_i(n, "rotary_embedding_dim", 0);
    if (x->rank == 4) {
        r->heads = x->dims[1], r->length = x->dims[2], r->size = x->dims[3];
        r->row_step = r->size;
        r->head_step = tn_dim_known(r->length) && tn_dim_known(r->size) ? r->length * r->size : 0;
    } else if (x->rank == 3) {
        r->heads = rotary_heads(n, x->dims[2], cos);
        r->length = x->dims[1];
        r->row_step = x->dims[2];
        if (r->heads < 1)
            return tn_fail(err, TERN_INVALID_MODEL, "num_heads is %lld; a 3-D input needs it", (long long)r->heads);
        if (tn_dim_known(x->dims[2]) && x->dims[2] % r->heads)
            return tn_fail(err, TERN_SHAPE_MISMATCH, "%lld elements are not a multiple of %lld heads",
                           (long long)x->dims[2], (long long)r->heads);
        r->size = r->head_step = tn_dim_known(x->dims[2]) ? x->dims[2] / r->heads : TN_DIM_UNKNOWN;
    } else {
        return tn_fail(err, TERN_SHAPE_MISMATCH, "the input has rank %d, not 3 or 4", x->rank);
    }
    if (r->turned == 0) r->turned = r->size;
    if (tn_dim_known(r->turned) && (r->turned < 0 || r->turned % 2 || (tn_dim_known(r->size) && r->turned > r->size)))
        return tn_fail(err, TERN_INVALID_MODEL, "%lld elements of a head of %lld can not rotate in pairs",
                       (long long)r->turned, (long long)r->size);
    return TERN_OK;
}

static bool clash(int64_t a, int64_t b) { return tn_dim_known(a) && tn_dim_known(b) && a != b; }

static tern_status check_cache(tn_infer *c, int i, const tn_shape *x, const rotary *r) {
    tn_shape s;
    if (!tn_args_shape(c, i, &s)) return TERN_OK;
    bool positions = tn_args_has(c, rotary_inputs_of(c->node).positions);
    bool fits = s.rank == (positions ? 2 : 3);
    if (fits && tn_dim_known(r->turned)) fits = !clash(s.dims[s.rank - 1], r->turned / 2);
    if (fits && !positions) fits = !clash(s.dims[0], x->dims[0]) && !clash(s.dims[1], r->length);
    if (fits) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has shape %s, which does not fit %s with %lld angles %s", i,
                         tn_shape_text(&s, a, sizeof a), tn_shape_text(x, b, sizeof b), (long long)(r->turned / 2),
                         positions ? "and positions" : "and no positions");
}

static tern_status infer_rotary(tn_infer *c) {
    rotary_inputs at = rotary_inputs_of(c->node);
    const int real[] = {0, at.cos, at.sin};
    for (int i = 0; i < 3; i++) {
        TN_TRY(tn_args_need(c, real[i], ROTARY_TYPES));
        TN_TRY(tn_infer_same_type(c, 0, real[i]));
    }
    if (tn_args_has(c, at.positions)) TN_TRY(tn_args_need(c, at.positions, TN_T(INT64)));
    if (tn_attr_i(c->node, "is_packed_batching", 0))
        return tn_infer_fail(c, TERN_UNSUPPORTED, "is_packed_batching is not supported; export the model without it");
    tn_infer_out_like(c, 0, 0);
    tn_shape x, p, cos;
    if (!tn_args_shape(c, 0, &x)) return TERN_OK;
    rotary r = {0};
    bool has_cos = tn_args_shape(c, at.cos, &cos);
    if (*c->node->domain && !has_cos) return TERN_OK;
    TN_TRY(rotary_dims(c->node, &x, has_cos ? &cos : NULL, &r, c->err));
    for (int i = 1; i < 3; i++) TN_TRY(check_cache(c, real[i], &x, &r));
    if (!tn_args_shape(c, at.positions, &p)) return TERN_OK;
    if (*c->node->domain && p.rank <= 1 && (p.rank == 0 || !clash(p.dims[0], 1))) return TERN_OK;
    if (p.rank == 2 && !clash(p.dims[0], x.dims[0]) && !clash(p.dims[1], r.length)) return TERN_OK;
    char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "position_ids have shape %s for an input of %s",
                         tn_shape_text(&p, a, sizeof a), tn_shape_text(&x, b, sizeof b));
}

void tn_ops_rotate_head(int64_t half, bool interleaved, const float *cos, const float *sin, float *v) {
    int64_t step = interleaved ? 2 : 1;
    float *a = v, *b = interleaved ? v + 1 : v + half;
    for (int64_t i = 0; i < half; i++) {
        float x = a[i * step], y = b[i * step];
        a[i * step] = cos[i] * x - sin[i] * y;
        b[i * step] = sin[i] * x + cos[i] * y;
    }
}

/* Position of row t of all samples. */
static int64_t position_of(const rotary *r, int64_t t) {
    const int64_t *p = r->positions->data;
    return r->positions->shape.rank == 2 ? p[t] : (int64_t)((uint64_t)p[0] + (uint64_t)(t % r->length));
}

/* A task is a position of one sample. */
static void rotary_task(void *context, int64_t begin, int64_t end, int worker) {
    const rotary *r = context;
    int64_t half = r->turned / 2;
    float *cos = r->work + worker * (r->turned + r->size), *sin = cos + half, *v = sin + half;
    for (int64_t t = begin; t < end; t++) {
        int64_t row = r->positions ? position_of(r, t) : t;
        tn_row_load_f32(r->cos->dtype, r->cos->data, row * half, half, cos);
        tn_row_load_f32(r->sin->dtype, r->sin->data, row * half, half, sin);
        int64_t at = t / r->length * r->heads * r->length * r->size + t % r->length * r->row_step;
        for (int64_t h = 0; h < r->heads; h++, at += r->head_step) {
            tn_row_load_f32(r->x->dtype, r->x->data, at, r->size, v);
            tn_ops_rotate_head(half, r->interleaved, cos, sin, v);
            tn_row_store_f32(r->y->dtype, r->y->data, at, r->size, v);
        }
    }
}

static tern_status run_rotary(tn_run *c) {
    rotary_inputs in = rotary_inputs_of(c->node);
    rotary r = {.x = c->in[0],
                .cos = c->in[in.cos],
                .sin = c->in[in.sin],
                .positions = tn_args_in(c, in.positions),
                .y = c->out[0],
                .interleaved = tn_attr_i(c->node, "interleaved", 0) != 0};
    TN_TRY(rotary_dims(c->node, &r.x->shape, &r.cos->shape, &r, c->err));
    if (tn_tensor_bytes(r.x) == 0) return TERN_OK;
    int64_t rows = r.x->shape.dims[0] * r.length, most = TN_MIN(r.cos->shape.dims[0], r.sin->shape.dims[0]);
    for (int64_t i = 0; r.positions && i < rows; i++) {
        int64_t p = position_of(&r, i);
        if (p < 0 || p >= most)
            return tn_run_fail(c, TERN_INVALID_ARGUMENT, "position %lld is outside [0, %lld) of the caches",
                               (long long)p, (long long)most);
    }
    int threads = tn_shape_count(&r.x->shape) < 8192 ? 1 : c->threads;
    r.work = tn_alloc_array((size_t)threads * (size_t)(r.turned + r.size), sizeof *r.work);
    if (!r.work) return tn_fail_oom(c->err, (size_t)(r.turned + r.size) * sizeof *r.work);
    tn_parallel_for(threads, rows, rotary_task, &r);
    tn_free(r.work);
    return TERN_OK;
}

const tn_op tn_op_rotary_embedding = TN_ARGS_OP(infer_rotary, run_rotary, 3, 4, 1, 1, 0);
const tn_op tn_op_ms_rotary_embedding = TN_ARGS_OP(infer_rotary, run_rotary, 4, 4, 1, 1, 0);

/* ---- SwiGLU ----------------------------------------------------------------------------------------------------- */

#define CHUNK 512

typedef struct swiglu {
    const tern_tensor *a, *b;
    tern_tensor *y;
    tn_act act;
    tern_cpu_tier tier;
} swiglu;

static tern_status infer_swiglu(tn_infer *c) {
    for (int i = 0; i < 2; i++) TN_TRY(tn_args_need(c, i, TN_TYPES_FLOAT));
    TN_TRY(tn_infer_same_type(c, 0, 1));
    tn_infer_out_like(c, 0, 0);
    tn_shape a, b;
    if (!tn_args_shape(c, 1, &b)) return TERN_OK;
    if (!tn_args_shape(c, 0, &a)) {
        tn_infer_out(c, 0, c->in[0]->dtype, &b);
        return TERN_OK;
    }
    bool same = a.rank == b.rank;
    for (int i = 0; same && i < a.rank; i++) same = !clash(a.dims[i], b.dims[i]);
    if (same) return TERN_OK;
    char ta[TN_SHAPE_TEXT], tb[TN_SHAPE_TEXT];
    return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "A has shape %s, B has %s; both must be the same",
                         tn_shape_text(&a, ta, sizeof ta), tn_shape_text(&b, tb, sizeof tb));
}

static void swiglu_task(void *context, int64_t begin, int64_t end, int worker) {
    const swiglu *s = context;
    (void)worker;
    tern_dtype t = s->a->dtype;
    int64_t count = tn_shape_count(&s->a->shape);
    for (int64_t k = begin; k < end; k++) {
        int64_t at = k * CHUNK, n = TN_MIN((int64_t)CHUNK, count - at);
        if (t == TERN_DOUBLE) {
            const double *a = (const double *)s->a->data + at, *b = (const double *)s->b->data + at;
            double *y = (double *)s->y->data + at, alpha = (double)s->act.alpha;
            for (int64_t i = 0; i < n; i++) y[i] = a[i] / (1 + exp(-alpha * a[i])) * b[i];
            continue;
        }
        float a[CHUNK], b[CHUNK];
        tn_row_load_f32(t, s->a->data, at, n, a);
        tn_row_load_f32(t, s->b->data, at, n, b);
        tn_act_f32(s->tier, &s->act, a, a, (size_t)n);
        for (int64_t i = 0; i < n; i++) a[i] *= b[i];
        tn_row_store_f32(t, s->y->data, at, n, a);
    }
}

static tern_status run_swiglu(tn_run *c) {
    swiglu s = {.a = c->in[0],
                .b = c->in[1],
                .y = c->out[0],
                .act = {.kind = TN_ACT_SILU, .alpha = tn_attr_f(c->node, "alpha", 1)},
                .tier = c->tier};
    int64_t n = tn_shape_count(&s.a->shape);
    tn_parallel_for(n < 8192 ? 1 : c->threads, tn_ceil_div(n, CHUNK), swiglu_task, &s);
    return TERN_OK;
}

const tn_op tn_op_swiglu = TN_ARGS_OP(infer_swiglu, run_swiglu, 2, 2, 1, 1, TN_OP_INPLACE);

/* ---- TensorScatter ---------------------------------------------------------------------------------------------- */

static tern_status scatter_axis(const tn_node *n, int rank, int *axis, tern_error *err) {
    TN_TRY(tn_args_axis(tn_attr_i(n, "axis", -2), rank, axis, err));
    if (*axis == 0) return tn_fail(err, TERN_INVALID_MODEL, "axis 0 is the batch, not the sequence");
    return TERN_OK;
}

static tern_status infer_tensor_scatter(tn_infer *c) {
    for (int i = 0; i < 2; i++) TN_TRY(tn_args_need(c, i, TN_TYPES_ALL));
    TN_TRY(tn_infer_same_type(c, 0, 1));
    if (tn_args_has(c, 2)) TN_TRY(tn_args_need(c, 2, TN_T(INT64)));
    tn_str mode = tn_attr_s(c->node, "mode", "linear");
    if (!tn_str_eq(mode, tn_str_c("linear")) && !tn_str_eq(mode, tn_str_c("circular")))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "mode '%.*s' is neither linear nor circular",
                             (int)TN_MIN(mode.len, (size_t)40), mode.data);
    tn_infer_out_like(c, 0, 0);
    tn_shape p, u, w;
    int axis = 0;
    if (!tn_args_shape(c, 0, &p)) return TERN_OK;
    TN_TRY(scatter_axis(c->node, p.rank, &axis, c->err));
    if (tn_args_shape(c, 1, &u)) {
        bool fits = u.rank == p.rank;
        for (int i = 0; fits && i < p.rank; i++)
            fits = !tn_dim_known(u.dims[i]) || !tn_dim_known(p.dims[i]) ||
                   (i == axis ? u.dims[i] <= p.dims[i] : u.dims[i] == p.dims[i]);
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        if (!fits)
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "an update of shape %s for a cache of shape %s, axis %d",
                                 tn_shape_text(&u, a, sizeof a), tn_shape_text(&p, b, sizeof b), axis);
    }
    if (tn_args_shape(c, 2, &w) && (w.rank != 1 || clash(w.dims[0], p.dims[0])))
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "write_indices do not have one element for each of %lld samples",
                             (long long)p.dims[0]);
    return TERN_OK;
}

static tern_status scatter_start(tn_run *c, int64_t sample, int64_t length, int64_t most, bool circular,
                                 int64_t *start) {
    const tern_tensor *w = tn_args_in(c, 2);
    *start = w ? ((const int64_t *)w->data)[sample] : 0;
    if (circular ? length <= most : *start >= 0 && *start <= most - length) {
        if (most && (*start %= most) < 0) *start += most; /* circular: counted from the end, as a modulo is */
        return TERN_OK;
    }
    return tn_run_fail(c, TERN_INVALID_ARGUMENT, "write index %lld of sample %lld: %lld elements into a cache of %lld",
                       (long long)*start, (long long)sample, (long long)length, (long long)most);
}

static tern_status run_tensor_scatter(tn_run *c) {
    const tern_tensor *past = c->in[0], *update = c->in[1];
    tern_tensor *y = c->out[0];
    int axis = 0;
    TN_TRY(scatter_axis(c->node, past->shape.rank, &axis, c->err));
    bool circular = tn_attr_is(c->node, "mode", "linear", "circular");
    if (y->data != past->data) tn_copy_bytes(past->data, y->data, tn_tensor_bytes(past), c->threads);
    tn_rows p = tn_rows_of(&past->shape, axis), u = tn_rows_of(&update->shape, axis);
    if (tn_tensor_bytes(update) == 0) return TERN_OK;
    size_t unit = tern_dtype_size(past->dtype) * (size_t)p.inner;
    int64_t middle = p.outer / past->shape.dims[0];
    for (int64_t t = 0; t < p.outer; t++) {
        int64_t start = 0;
        TN_TRY(scatter_start(c, t / middle, u.dim, p.dim, circular, &start));
        int64_t first = TN_MIN(u.dim, p.dim - start);
        char *to = (char *)y->data + (size_t)(t * p.dim) * unit;
        const char *from = (const char *)update->data + (size_t)(t * u.dim) * unit;
        memcpy(to + (size_t)start * unit, from, (size_t)first * unit);
        if (first < u.dim) memcpy(to, from + (size_t)first * unit, (size_t)(u.dim - first) * unit);
    }
    return TERN_OK;
}

const tn_op tn_op_tensor_scatter = TN_ARGS_OP(infer_tensor_scatter, run_tensor_scatter, 2, 3, 1, 1, 0);
