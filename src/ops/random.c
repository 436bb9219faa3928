/* Random numbers: RandomNormal, RandomUniform and their Like forms, Bernoulli, Multinomial.
 *
 * Number i of a stream is a hash of (seed, i), so that work can be shared out without changing what comes out. */
#include "ops/args.h"
#include "ops/rowio.h"

#include <math.h>

#define BLOCK 512

/* ---- the stream ---------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t v) {
    v ^= v >> 30;
    v *= 0xbf58476d1ce4e5b9u;
    v ^= v >> 27;
    v *= 0x94d049bb133111ebu;
    return v ^ (v >> 31);
}

static uint64_t bits_at(uint64_t seed, uint64_t i) { return mix(mix(seed) + i * 0x9e3779b97f4a7c15u); }

/* In [0, 1). */
static double uniform_at(uint64_t seed, uint64_t i) { return (double)(bits_at(seed, i) >> 11) * 0x1p-53; }

/* Box and Muller. */
static double normal_at(uint64_t seed, uint64_t i) {
    double u = 1 - uniform_at(seed, 2 * i), v = uniform_at(seed, 2 * i + 1);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* The node's own seed, else the next one of the session. */
static uint64_t take_seed(tn_run *c) {
    if (tn_attr_find(c->node, "seed")) {
        float f = tn_attr_f(c->node, "seed", 0);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        return bits;
    }
    *c->seed += 0x9e3779b97f4a7c15u;
    return *c->seed;
}

typedef struct stream {
    uint64_t seed;
    double a, b; /* mean and scale, or low and high */
    bool normal;
    const tern_tensor *p; /* Bernoulli: probabilities */
    tern_tensor *y;
} stream;

static void stream_task(void *context, int64_t begin, int64_t end, int worker) {
    const stream *s = context;
    (void)worker;
    double v[BLOCK], p[BLOCK];
    int64_t count = tn_shape_count(&s->y->shape);
    for (int64_t t = begin; t < end; t++) {
        int64_t at = t * BLOCK, n = TN_MIN((int64_t)BLOCK, count - at);
        if (s->p) tn_row_load_f64(s->p->dtype, s->p->data, at, n, p);
        for (int64_t i = 0; i < n; i++) {
            uint64_t k = (uint64_t)(at + i);
            if (s->p)
                v[i] = uniform_at(s->seed, k) < p[i];
            else
                v[i] = s->normal ? s->a + s->b * normal_at(s->seed, k) : s->a + (s->b - s->a) * uniform_at(s->seed, k);
        }
        tn_row_store_f64(s->y->dtype, s->y->data, at, n, v);
    }
}

static tern_status draw(tn_run *c, stream *s) {
    s->y = c->out[0];
    s->seed = take_seed(c);
    int64_t n = tn_shape_count(&s->y->shape);
    tn_parallel_for(n < 4096 ? 1 : c->threads, tn_ceil_div(n, BLOCK), stream_task, s);
    return TERN_OK;
}

/* ---- RandomNormal, RandomUniform ----------------------------------------------------------------------------- */

/* The attribute dtype, or `other` when it is absent. */
static tern_status out_type(tn_infer *c, tern_dtype other, uint32_t types, tern_dtype *out) {
    int64_t d = tn_attr_i(c->node, "dtype", other);
    *out = (tern_dtype)d;
    if (d == TERN_UNDEFINED && !tn_attr_find(c->node, "dtype")) return TERN_OK;
    if (d > 0 && d < TERN_DTYPE_COUNT && tn_type_in((tern_dtype)d, types)) return TERN_OK;
    return tn_infer_fail(c, TERN_TYPE_MISMATCH, "output type %s (%lld) is not one that the operator gives",
                         d > 0 && d < TERN_DTYPE_COUNT ? tern_dtype_name((tern_dtype)d) : "unknown", (long long)d);
}

static tern_status infer_random(tn_infer *c) {
    tern_dtype dtype;
    TN_TRY(out_type(c, TERN_FLOAT, TN_TYPES_FLOAT, &dtype));
    size_t rank;
    const int64_t *dims = tn_attr_ints(c->node, "shape", &rank);
    if (!tn_attr_find(c->node, "shape")) return tn_infer_fail(c, TERN_INVALID_MODEL, "attribute 'shape' is missing");
    if (rank > TERN_MAX_RANK)
        return tn_infer_fail(c, TERN_LIMIT_EXCEEDED, "'shape' has %zu dims, more than %d", rank, TERN_MAX_RANK);
    tn_shape s = {.rank = (int)rank};
    for (size_t i = 0; i < rank; i++) {
        s.dims[i] = dims[i];
        if (dims[i] < 0) return tn_infer_fail(c, TERN_INVALID_MODEL, "'shape' has the dim %lld", (long long)dims[i]);
    }
    return tn_args_out_shape(c, 0, dtype, &s);
}

static tern_status infer_random_like(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tern_dtype dtype;
    TN_TRY(out_type(c, c->in[0]->dtype, TN_TYPES_FLOAT, &dtype));
    tn_shape s;
    return tn_args_out_shape(c, 0, dtype, tn_args_shape(c, 0, &s) ? &s : NULL);
}

static tern_status run_random_normal(tn_run *c) {
    stream s = {
        .a = (double)tn_attr_f(c->node, "mean", 0), .b = (double)tn_attr_f(c->node, "scale", 1), .normal = true};
    return draw(c, &s);
}

static tern_status run_random_uniform(tn_run *c) {
    stream s = {.a = (double)tn_attr_f(c->node, "low", 0), .b = (double)tn_attr_f(c->node, "high", 1)};
    return draw(c, &s);
}

const tn_op tn_op_random_normal = TN_ARGS_OP(infer_random, run_random_normal, 0, 0, 1, 1, TN_OP_RANDOM);
const tn_op tn_op_random_uniform = TN_ARGS_OP(infer_random, run_random_uniform, 0, 0, 1, 1, TN_OP_RANDOM);
const tn_op tn_op_random_normal_like = TN_ARGS_OP(infer_random_like, run_random_normal, 1, 1, 1, 1, TN_OP_RANDOM);
const tn_op tn_op_random_uniform_like = TN_ARGS_OP(infer_random_like, run_random_uniform, 1, 1, 1, 1, TN_OP_RANDOM);

/* ---- Bernoulli ------------------------------------------------------------------------------------------------ */

static tern_status infer_bernoulli(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tern_dtype dtype;
    TN_TRY(out_type(c, c->in[0]->dtype, TN_TYPES_NUMERIC | TN_T(BOOL), &dtype));
    tn_shape s;
    return tn_args_out_shape(c, 0, dtype, tn_args_shape(c, 0, &s) ? &s : NULL);
}

static tern_status run_bernoulli(tn_run *c) {
    const tern_tensor *x = c->in[0];
    int64_t n = tn_shape_count(&x->shape);
    double p[BLOCK];
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t m = TN_MIN((int64_t)BLOCK, n - at);
        tn_row_load_f64(x->dtype, x->data, at, m, p);
        for (int64_t i = 0; i < m; i++)
            if (!(p[i] >= 0 && p[i] <= 1))
                return tn_run_fail(c, TERN_INVALID_ARGUMENT, "element %lld of the input is %g, not a probability",
                                   (long long)(at + i), p[i]);
    }
    stream s = {.p = x};
    return draw(c, &s);
}

const tn_op tn_op_bernoulli = TN_ARGS_OP(infer_bernoulli, run_bernoulli, 1, 1, 1, 1, TN_OP_RANDOM);

/* ---- Multinomial ---------------------------------------------------------------------------------------------- */

static tern_status infer_multinomial(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT));
    tern_dtype dtype;
    TN_TRY(out_type(c, TERN_INT32, TN_T(INT32) | TN_T(INT64), &dtype));
    int64_t samples = tn_attr_i(c->node, "sample_size", 1);
    if (samples < 1) return tn_infer_fail(c, TERN_INVALID_MODEL, "sample_size is %lld", (long long)samples);
    tn_shape s;
    if (tn_args_shape(c, 0, &s)) {
        if (s.rank != 2) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has rank %d instead of 2", s.rank);
        if (s.dims[1] == 0) return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "the input has no class");
    } else {
        s = tn_args_unknown_dims(2);
    }
    s.dims[1] = samples;
    return tn_args_out_shape(c, 0, dtype, &s);
}

/* The first class whose cumulative weight exceeds `at`. */
static int64_t find_class(const double *sums, int64_t n, double at) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        if (sums[mid] > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* Log weights to cumulative weights; false when they make no distribution. */
static bool accumulate(double *w, int64_t n) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (w[i] != w[i]) return false;
        top = TN_MAX(top, w[i]);
    }
    if (!(top > -INFINITY && top < INFINITY)) return false;
    for (int64_t i = 0; i < n; i++) w[i] = sum += exp(w[i] - top);
    return true;
}

static tern_status run_multinomial(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int64_t batch = x->shape.dims[0], classes = x->shape.dims[1], samples = y->shape.dims[1];
    double *sums = tn_alloc_array((size_t)classes, sizeof *sums);
    if (!sums) return tn_fail_oom(c->err, (size_t)classes * sizeof *sums);
    uint64_t seed = take_seed(c);
    tern_status s = TERN_OK;
    for (int64_t b = 0; b < batch && s == TERN_OK; b++) {
        tn_row_load_f64(x->dtype, x->data, b * classes, classes, sums);
        if (!accumulate(sums, classes)) {
            s = tn_run_fail(c, TERN_INVALID_ARGUMENT, "row %lld of the input has no finite largest element",
                            (long long)b);
            break;
        }
        for (int64_t i = b * samples; i < (b + 1) * samples; i++) {
            int64_t k = find_class(sums, classes, uniform_at(seed, (uint64_t)i) * sums[classes - 1]);
            tn_row_store_i64(y->dtype, y->data, i, 1, &k);
        }
    }
    tn_free(sums);
    return s;
}

const tn_op tn_op_multinomial = TN_ARGS_OP(infer_multinomial, run_multinomial, 1, 1, 1, 1, TN_OP_RANDOM);
