/* Dropout: in inference the input itself, in training mode a random part of it. */
#include "ops/args.h"
#include "ops/copy.h"

static tern_status infer_dropout(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_FLOAT | TN_TYPES_FLOAT8));
    for (int i = 1; i < c->node->n_in; i++) {
        TN_TRY(tn_infer_want(c, i, i == 1 ? TN_TYPES_FLOAT | TN_TYPES_FLOAT8 : TN_T(BOOL)));
        tn_shape s;
        if (tn_args_shape(c, i, &s) && (s.rank > 1 || (s.rank == 1 && tn_dim_known(s.dims[0]) && s.dims[0] != 1)))
            return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "input %d has rank %d where a scalar is needed", i, s.rank);
    }
    tn_infer_out_like(c, 0, 0);
    tn_infer_out_like(c, 1, 0);
    /* Before version 10 the mask had the type of the data. */
    if (c->node->n_out > 1 && c->node->since >= 10) c->out[1].dtype = TERN_BOOL;
    return TERN_OK;
}

static void fill_mask(tern_tensor *mask) {
    int64_t n = tn_tensor_stored_count(mask);
    if (mask->dtype == TERN_BOOL) {
        memset(mask->data, 1, (size_t)n);
        return;
    }
    static const uint16_t half = 0x3c00, bfloat = 0x3f80;
    static const float f32 = 1;
    static const double f64 = 1;
    const void *one = mask->dtype == TERN_FLOAT     ? (const void *)&f32
                      : mask->dtype == TERN_DOUBLE  ? (const void *)&f64
                      : mask->dtype == TERN_FLOAT16 ? (const void *)&half
                                                    : (const void *)&bfloat;
    tn_copy_fill(mask->data, one, tern_dtype_size(mask->dtype), n);
}

static tern_status run_dropout_inference(tn_run *c) {
    if (tn_args_out(c, 1) && tn_tensor_bytes(c->out[1])) fill_mask(c->out[1]);
    if (c->out[0] && c->out[0]->data != c->in[0]->data)
        tn_copy_bytes(c->in[0]->data, c->out[0]->data, tn_tensor_bytes(c->in[0]), c->threads);
    return TERN_OK;
}

/* Mersenne Twister 19937, seeded and read as NumPy's RandomState does, on which the standard's reference stands: the
 * same seed gives the same mask. */
typedef struct twister {
    uint32_t state[624];
    int at;
} twister;

static void twister_init(twister *t, uint32_t seed) {
    for (uint32_t i = 0; i < 624; i++) {
        t->state[i] = seed;
        seed = 1812433253u * (seed ^ (seed >> 30)) + i + 1;
    }
    t->at = 624;
}

static uint32_t twister_next(twister *t) {
    if (t->at == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (t->state[i] & 0x80000000u) | (t->state[(i + 1) % 624] & 0x7fffffffu);
            t->state[i] = t->state[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        t->at = 0;
    }
    uint32_t y = t->state[t->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* In [0, 1), 53 bits. */
static double twister_uniform(twister *t) {
    uint32_t high = twister_next(t) >> 5, low = twister_next(t) >> 6;
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

static void scale_element(tern_dtype dtype, const void *x, void *y, int64_t i, double scale) {
    switch (dtype) {
    case TERN_FLOAT:
        ((float *)y)[i] = ((const float *)x)[i] * (float)scale;
        break;
    case TERN_DOUBLE:
        ((double *)y)[i] = ((const double *)x)[i] * scale;
        break;
    case TERN_FLOAT16:
        ((uint16_t *)y)[i] = tn_f32_to_f16(tn_f16_to_f32(((const uint16_t *)x)[i]) * (float)scale);
        break;
    default:
        ((uint16_t *)y)[i] = tn_f32_to_bf16(tn_bf16_to_f32(((const uint16_t *)x)[i]) * (float)scale);
        break;
    }
}

static tern_status run_dropout_training(tn_run *c, double ratio) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = tn_args_out(c, 0), *mask = tn_args_out(c, 1);
    if (!(ratio >= 0 && ratio < 1)) return tn_run_fail(c, TERN_INVALID_MODEL, "ratio %g is outside [0, 1)", ratio);
    if (!tn_type_in(x->dtype, TN_TYPES_FLOAT))
        return tn_run_fail(c, TERN_UNSUPPORTED, "training mode for %s", tern_dtype_name(x->dtype));
    twister random;
    if (tn_attr_find(c->node, "seed")) {
        twister_init(&random, (uint32_t)tn_attr_i(c->node, "seed", 0));
    } else {
        *c->seed += 0x9e3779b97f4a7c15u;
        twister_init(&random, (uint32_t)(*c->seed >> 32));
    }
    if (mask) fill_mask(mask);
    int64_t n = tn_tensor_stored_count(x);
    size_t mask_size = mask ? tern_dtype_size(mask->dtype) : 0;
    for (int64_t i = 0; i < n; i++) {
        bool keep = twister_uniform(&random) >= ratio;
        if (y) scale_element(x->dtype, x->data, y->data, i, keep ? 1 / (1 - ratio) : 0);
        if (mask && !keep) memset((char *)mask->data + (size_t)i * mask_size, 0, mask_size);
    }
    return TERN_OK;
}

static tern_status run_dropout(tn_run *c) {
    const tern_tensor *ratio = tn_args_in(c, 1), *training = tn_args_in(c, 2);
    bool train;
    double r;
    if (c->node->since >= 12) {
        train = training && tn_shape_count(&training->shape) > 0 && tn_tensor_get_i64(training, 0) != 0;
        r = ratio && tn_shape_count(&ratio->shape) > 0 ? tn_tensor_get_f64(ratio, 0) : 0.5;
    } else {
        train = tn_attr_i(c->node, "is_test", 0) == 0;
        r = (double)tn_attr_f(c->node, "ratio", 0.5f);
    }
    return train && r != 0 ? run_dropout_training(c, r) : run_dropout_inference(c);
}

const tn_op tn_op_dropout1 = TN_ARGS_OP(infer_dropout, run_dropout, 1, 1, 1, 2, TN_OP_INPLACE | TN_OP_RANDOM);
const tn_op tn_op_dropout7 = TN_ARGS_OP(infer_dropout, run_dropout_inference, 1, 1, 1, 2, TN_OP_ALIAS | TN_OP_BLOCKED);
const tn_op tn_op_dropout = TN_ARGS_OP(infer_dropout, run_dropout, 1, 3, 1, 2, TN_OP_INPLACE | TN_OP_RANDOM);
