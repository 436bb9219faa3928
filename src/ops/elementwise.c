#include "ops/elementwise.h"

/* Elements of a task: large enough to hide what a task costs, small enough for two threads on a small tensor. */
#define TASK_ELEMENTS 16384
/* Rows shorter than this are gathered into chunks instead of being computed one by one. */
#define SHORT_ROW 128

/* ---- inference ----------------------------------------------------------------------------------------------- */

tern_status tn_elementwise_infer_unary(tn_infer *c, uint32_t types, tern_dtype out) {
    TN_TRY(tn_infer_want(c, 0, types));
    tn_infer_out_like(c, 0, 0);
    if (out != TERN_UNDEFINED) c->out[0].dtype = out;
    return TERN_OK;
}

bool tn_elementwise_is_legacy(const tn_node *node) {
    return node->since < 7 && node->n_in == 2 && strcmp(node->op_type, "Min") && strcmp(node->op_type, "Max") &&
           strcmp(node->op_type, "Sum") && strcmp(node->op_type, "Mean");
}

/* Is b, laid at `axis` of a, equal to a's dims there, as far as they are known? */
static bool fits_at(const tn_shape *a, const tn_shape *b, int axis) {
    for (int i = 0; i < b->rank; i++) {
        int64_t da = a->dims[axis + i], db = b->dims[i];
        if (tn_dim_known(da) && tn_dim_known(db) && da != db && db != 1) return false;
    }
    return true;
}

tern_status tn_elementwise_legacy_shape(const tn_node *node, const tn_shape *a, const tn_shape *b, tn_shape *out,
                                        tern_error *err) {
    char ta[TN_SHAPE_TEXT], tb[TN_SHAPE_TEXT];
    int64_t n;
    *out = *b;
    if (tn_shape_count_checked(b, &n) && n == 1 && b->rank <= a->rank) return TERN_OK;
    bool prelu = strcmp(node->op_type, "PRelu") == 0; /* a slope per channel; no attributes */
    if (!prelu && tn_attr_i(node, "broadcast", 0) == 0) {
        if (a->rank == b->rank && fits_at(a, b, 0) && fits_at(b, a, 0)) return TERN_OK;
        return tn_fail(err, TERN_SHAPE_MISMATCH, "shapes %s and %s differ and attribute broadcast is 0",
                       tn_shape_text(a, ta, sizeof ta), tn_shape_text(b, tb, sizeof tb));
    }
    int64_t axis = (int64_t)a->rank - b->rank;
    if (prelu) {
        if (b->rank == 1 && a->rank > 1) axis = 1;
    } else if (tn_attr_find(node, "axis")) {
        axis = tn_attr_i(node, "axis", 0);
        if (axis < 0 && axis >= -a->rank) axis += a->rank;
    }
    if (axis < 0 || axis > (int64_t)a->rank - b->rank || !fits_at(a, b, (int)axis))
        return tn_fail(err, TERN_SHAPE_MISMATCH, "shape %s does not broadcast to %s at axis %lld",
                       tn_shape_text(b, tb, sizeof tb), tn_shape_text(a, ta, sizeof ta), (long long)axis);
    out->rank = a->rank - (int)axis;
    for (int i = b->rank; i < out->rank; i++) out->dims[i] = 1;
    return TERN_OK;
}

/* Two operands of opset 1 to 6: the output is shaped like input 0. */
static tern_status infer_legacy(tn_infer *c, tern_dtype out) {
    const tn_type *a = c->in[0], *b = c->in[1];
    if (a->ranked && b->ranked) {
        tn_shape ignored;
        TN_TRY(tn_elementwise_legacy_shape(c->node, &a->shape, &b->shape, &ignored, c->err));
    }
    tn_infer_out(c, 0, out, a->ranked ? &a->shape : NULL);
    return TERN_OK;
}

tern_status tn_elementwise_infer_shape(tn_infer *c, int first, tern_dtype out) {
    if (first == 0 && tn_elementwise_is_legacy(c->node)) return infer_legacy(c, out);
    bool ranked = true;
    for (int i = first; i < c->node->n_in; i++) {
        if (!c->in[i]) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is required but absent", i);
        ranked = ranked && c->in[i]->ranked;
    }
    if (!ranked) {
        tn_infer_out(c, 0, out, NULL);
        return TERN_OK;
    }
    tn_shape shape = c->in[first]->shape;
    for (int i = first + 1; i < c->node->n_in; i++) {
        const tn_shape *const pair[2] = {&shape, &c->in[i]->shape};
        tn_shape both;
        TN_TRY(tn_infer_broadcast(c, pair, 2, &both));
        shape = both;
    }
    tn_infer_out(c, 0, out, &shape);
    return TERN_OK;
}

tern_status tn_elementwise_infer(tn_infer *c, uint32_t types, tern_dtype out) {
    tern_dtype dtype = TERN_UNDEFINED;
    int known = 0;
    for (int i = 0; i < c->node->n_in; i++) {
        if (!c->in[i]) return tn_infer_fail(c, TERN_INVALID_MODEL, "input %d is required but absent", i);
        TN_TRY(tn_infer_want(c, i, types));
        if (c->in[i]->dtype == TERN_UNDEFINED) continue;
        if (dtype != TERN_UNDEFINED) TN_TRY(tn_infer_same_type(c, known, i));
        dtype = c->in[i]->dtype;
        known = i;
    }
    return tn_elementwise_infer_shape(c, 0, out != TERN_UNDEFINED ? out : dtype);
}

/* ---- preparation --------------------------------------------------------------------------------------------- */

static void set_lanes(tn_elementwise *e, const tn_shape *out, int block) {
    if (block == 0 || out->dims[1] % block == 0) return;
    e->block = block;
    e->lanes = (int)(out->dims[1] % block);
    e->n = out->dims[0];
    e->blocks = tn_ceil_div(out->dims[1], block);
    e->spatial = tn_shape_count_range(out, 2, out->rank);
}

tern_status tn_elementwise_init(tn_prepare *c, tn_elementwise *e, const tn_loop_fn *table, int n_in) {
    const tn_shape *shapes[TN_BROADCAST_MAX_IN];
    int blocks[TN_BROADCAST_MAX_IN];
    tn_shape aligned;
    memset(e, 0, sizeof *e);
    for (int k = 0; k < n_in; k++) {
        shapes[k] = &c->in[k]->shape;
        blocks[k] = c->in_block[k];
        e->in_size[k] = tern_dtype_size(c->in[k]->dtype);
    }
    if (n_in == 2 && tn_elementwise_is_legacy(c->node)) {
        TN_TRY(tn_elementwise_legacy_shape(c->node, shapes[0], shapes[1], &aligned, c->err));
        shapes[1] = &aligned;
    }
    if (!tn_broadcast_init(&e->b, &c->out[0].shape, c->out_block[0], n_in, shapes, blocks)) {
        char text[TN_SHAPE_TEXT];
        return tn_fail(c->err, TERN_INTERNAL, "operands do not fit the output %s in their storage",
                       tn_shape_text(&c->out[0].shape, text, sizeof text));
    }
    tern_dtype type = c->in[n_in - 1]->dtype;
    e->out_size = tern_dtype_size(c->out[0].dtype);
    e->fn = table[type];
    if (!e->fn && tn_type_in(type, TN_TYPES_SMALL_FLOAT)) {
        e->fn = table[TERN_FLOAT];
        e->small_in = type;
        if (c->out[0].dtype == type) e->small_out = type;
    }
    if (!e->fn) return tn_fail(c->err, TERN_INTERNAL, "no loop for elements of type %s", tern_dtype_name(type));
    e->args.tier = c->tier;
    set_lanes(e, &c->out[0].shape, c->out_block[0]);
    return TERN_OK;
}

tern_status tn_elementwise_prepare(tn_prepare *c, const tn_loop_fn *table, double alpha, double beta) {
    tn_elementwise *e = tn_prepare_state(c, sizeof *e);
    if (!e) return c->err ? c->err->status : TERN_OUT_OF_MEMORY;
    TN_TRY(tn_elementwise_init(c, e, table, c->node->n_in));
    e->args.alpha = alpha;
    e->args.beta = beta;
    return TERN_OK;
}

/* ---- small floats -------------------------------------------------------------------------------------------- */

#define EACH_SMALL(X)                                                                     \
    X(FLOAT8E4M3FN, tn_f8e4m3fn_to_f32(s[i]), tn_f32_to_f8e4m3fn(src[i], saturate))       \
    X(FLOAT8E4M3FNUZ, tn_f8e4m3fnuz_to_f32(s[i]), tn_f32_to_f8e4m3fnuz(src[i], saturate)) \
    X(FLOAT8E5M2, tn_f8e5m2_to_f32(s[i]), tn_f32_to_f8e5m2(src[i], saturate))             \
    X(FLOAT8E5M2FNUZ, tn_f8e5m2fnuz_to_f32(s[i]), tn_f32_to_f8e5m2fnuz(src[i], saturate)) \
    X(FLOAT8E8M0, tn_f8e8m0_to_f32(s[i]), tn_f32_to_f8e8m0(src[i], saturate, round_mode)) \
    X(FLOAT4E2M1, tn_f4e2m1_to_f32(s[i]), tn_f32_to_f4e2m1(src[i]))

void tn_small_to_f32(tern_dtype dtype, const void *src, float *dst, size_t n) {
    const uint8_t *s = src;
    switch (dtype) {
    case TERN_FLOAT16:
        tn_f16_to_f32_n(src, dst, n);
        break;
    case TERN_BFLOAT16:
        tn_bf16_to_f32_n(src, dst, n);
        break;
#define X(NAME, FROM, TO)                             \
    case TERN_##NAME:                                 \
        for (size_t i = 0; i < n; i++) dst[i] = FROM; \
        break;
        EACH_SMALL(X)
#undef X
    default:
        memset(dst, 0, n * sizeof *dst);
        break;
    }
}

void tn_f32_to_small(tern_dtype dtype, const float *src, void *dst, size_t n, bool saturate, char round_mode) {
    uint8_t *d = dst;
    switch (dtype) {
    case TERN_FLOAT16:
        tn_f32_to_f16_n(src, dst, n);
        break;
    case TERN_BFLOAT16:
        tn_f32_to_bf16_n(src, dst, n);
        break;
#define X(NAME, FROM, TO)                         \
    case TERN_##NAME:                             \
        for (size_t i = 0; i < n; i++) d[i] = TO; \
        break;
        EACH_SMALL(X)
#undef X
    default:
        break;
    }
}

static void call_small(const tn_elementwise *e, const void *const *in, const int *step, void *out, size_t n) {
    float converted[TN_BROADCAST_MAX_IN][TN_ELEMENTWISE_CHUNK], result[TN_ELEMENTWISE_CHUNK];
    const void *operand[TN_BROADCAST_MAX_IN];
    for (size_t done = 0; done < n; done += TN_ELEMENTWISE_CHUNK) {
        size_t m = TN_MIN(n - done, (size_t)TN_ELEMENTWISE_CHUNK);
        for (int k = 0; k < e->b.n_in; k++) {
            operand[k] = converted[k];
            const char *src = (const char *)in[k] + (step[k] ? done * e->in_size[k] : 0);
            tn_small_to_f32(e->small_in, src, converted[k], step[k] ? m : 1);
        }
        char *dst = (char *)out + done * e->out_size;
        e->fn(&e->args, operand, step, e->small_out ? (void *)result : dst, m);
        if (e->small_out) tn_f32_to_small(e->small_out, result, dst, m, true, 'n');
    }
}

void tn_elementwise_call(const tn_elementwise *e, const void *const *in, const int *step, void *out, size_t n) {
    if (e->small_in) {
        call_small(e, in, step, out, n);
    } else {
        e->fn(&e->args, in, step, out, n);
    }
}

/* ---- execution ----------------------------------------------------------------------------------------------- */

typedef struct job {
    const tn_elementwise *e;
    const void *const *in;
    void *out;
    int64_t task; /* elements */
} job;

/* Whole rows or parts of them, where rows are long. */
static void run_rows(const job *j, int64_t pos, int64_t end) {
    const tn_elementwise *e = j->e;
    const tn_broadcast *b = &e->b;
    const void *operand[TN_BROADCAST_MAX_IN];
    int step[TN_BROADCAST_MAX_IN];
    for (int k = 0; k < b->n_in; k++) step[k] = (int)b->strides[k][b->rank - 1];
    while (pos < end) {
        int64_t row = pos / b->inner, col = pos % b->inner, n = TN_MIN(b->inner - col, end - pos);
        for (int k = 0; k < b->n_in; k++) {
            int64_t offset = tn_broadcast_row(b, k, row) + (step[k] ? col : 0);
            operand[k] = (const char *)j->in[k] + (size_t)offset * e->in_size[k];
        }
        tn_elementwise_call(e, operand, step, (char *)j->out + (size_t)pos * e->out_size, (size_t)n);
        pos += n;
    }
}

/* How an operand reaches the loop when rows are short. */
typedef enum source { DENSE, ONE, GATHERED } source;

/* A gathered operand that repeats along the second innermost dim is the same for all chunks within one run of it: then
 * this is the run's number, else -1. `begin` is a multiple of inner. */
static int64_t repeat_of(const tn_broadcast *b, int k, int64_t begin, int64_t n) {
    if (b->rank < 2 || b->strides[k][b->rank - 2] != 0) return -1;
    int64_t run = b->inner * b->dims[b->rank - 2], first = begin / run;
    return (begin + n - 1) / run == first ? first : -1;
}

static void run_gathered(const job *j, int64_t pos, int64_t end) {
    const tn_elementwise *e = j->e;
    const tn_broadcast *b = &e->b;
    _Alignas(TN_CACHE_LINE) char chunk[TN_BROADCAST_MAX_IN][TN_ELEMENTWISE_CHUNK * 16];
    int64_t held[TN_BROADCAST_MAX_IN], held_n[TN_BROADCAST_MAX_IN]; /* what chunk[k] repeats */
    source from[TN_BROADCAST_MAX_IN];
    int step[TN_BROADCAST_MAX_IN];
    const void *operand[TN_BROADCAST_MAX_IN];
    for (int k = 0; k < b->n_in; k++) {
        from[k] = tn_broadcast_dense(b, k) ? DENSE : tn_broadcast_scalar(b, k) ? ONE : GATHERED;
        step[k] = from[k] != ONE;
        held[k] = -1, held_n[k] = 0;
        operand[k] = from[k] == GATHERED ? chunk[k] : j->in[k];
    }
    int64_t whole = TN_ELEMENTWISE_CHUNK / b->inner * b->inner;
    for (; pos < end; pos += whole) {
        int64_t n = TN_MIN(whole, end - pos);
        for (int k = 0; k < b->n_in; k++) {
            if (from[k] == DENSE) operand[k] = (const char *)j->in[k] + (size_t)pos * e->in_size[k];
            if (from[k] != GATHERED) continue;
            int64_t run = repeat_of(b, k, pos, n);
            if (run >= 0 && run == held[k] && n <= held_n[k]) continue;
            tn_broadcast_gather(b, k, j->in[k], e->in_size[k], pos, n, chunk[k]);
            held[k] = run, held_n[k] = n;
        }
        tn_elementwise_call(e, operand, step, (char *)j->out + (size_t)pos * e->out_size, (size_t)n);
    }
}

static bool short_rows(const tn_broadcast *b) { return b->rank > 1 && b->inner < SHORT_ROW; }

static void run_tasks(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const job *j = context;
    int64_t count = j->e->b.count, from = begin * j->task, to = TN_MIN(end * j->task, count);
    if (short_rows(&j->e->b)) {
        run_gathered(j, from, to);
    } else {
        run_rows(j, from, to);
    }
}

void tn_elementwise_exec(const tn_elementwise *e, const void *const *in, void *out, int threads) {
    if (e->b.count == 0) return;
    job j = {e, in, out, TASK_ELEMENTS};
    if (short_rows(&e->b)) j.task = tn_round_up(j.task, e->b.inner);
    tn_parallel_for(threads, tn_ceil_div(e->b.count, j.task), run_tasks, &j);
    tn_elementwise_clear_lanes(e, out);
}

void tn_elementwise_clear_lanes(const tn_elementwise *e, void *out) {
    if (e->block == 0) return;
    size_t keep = (size_t)e->lanes * e->out_size, pixel = (size_t)e->block * e->out_size;
    for (int64_t n = 0; n < e->n; n++) {
        char *p = (char *)out + (size_t)((n * e->blocks + e->blocks - 1) * e->spatial) * pixel;
        for (int64_t i = 0; i < e->spatial; i++) memset(p + (size_t)i * pixel + keep, 0, pixel - keep);
    }
}

tern_status tn_elementwise_run(tn_run *c) {
    const tn_elementwise *e = c->state;
    const void *in[TN_BROADCAST_MAX_IN];
    for (int k = 0; k < e->b.n_in; k++) in[k] = c->in[k]->data;
    if (c->out[0]) tn_elementwise_exec(e, in, c->out[0]->data, c->threads);
    return TERN_OK;
}
