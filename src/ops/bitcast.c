/* BitCast: the same bits as another type of the same width. */
#include "ops/args.h"
#include "ops/copy.h"

#define BITCAST_TYPES (TN_TYPES_ALL & ~TN_T(STRING))

static tern_status infer_bitcast(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, BITCAST_TYPES));
    int64_t to = tn_attr_i(c->node, "to", 0);
    if (to <= 0 || to >= TERN_DTYPE_COUNT || !tn_type_in((tern_dtype)to, BITCAST_TYPES))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "'to' is %lld, not a type with a fixed number of bits",
                             (long long)to);
    tern_dtype from = c->in[0]->dtype;
    if (from != TERN_UNDEFINED && tn_dtype_bits(from) != tn_dtype_bits((tern_dtype)to))
        return tn_infer_fail(c, TERN_TYPE_MISMATCH, "%s has %d bits, %s has %d", tern_dtype_name(from),
                             tn_dtype_bits(from), tern_dtype_name((tern_dtype)to), tn_dtype_bits((tern_dtype)to));
    tn_infer_out_like(c, 0, 0);
    c->out[0].dtype = (tern_dtype)to;
    return TERN_OK;
}

/* Types of less than 8 bits take a byte each, sign-extended where they are signed. */
static void cast_small(const uint8_t *x, tern_tensor *y, int64_t n) {
    int bits = tn_dtype_bits(y->dtype);
    uint8_t mask = (uint8_t)((1u << bits) - 1), sign = (uint8_t)(1u << (bits - 1));
    bool is_signed = y->dtype == TERN_INT4 || y->dtype == TERN_INT2;
    uint8_t *out = y->data;
    for (int64_t i = 0; i < n; i++) {
        uint8_t v = x[i] & mask;
        out[i] = is_signed && (v & sign) ? (uint8_t)(v | (uint8_t)~mask) : v;
    }
}

static tern_status run_bitcast(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tern_tensor *y = c->out[0];
    int64_t n = tn_shape_count(&x->shape);
    if (n == 0) return TERN_OK;
    if (tn_dtype_bits(y->dtype) < 8) {
        cast_small(x->data, y, n);
    } else if (y->dtype == TERN_BOOL) {
        /* Any bit set is true: a bool in memory is 0 or 1. */
        const uint8_t *from = x->data;
        uint8_t *to = y->data;
        for (int64_t i = 0; i < n; i++) to[i] = from[i] != 0;
    } else if (x->data != y->data) {
        tn_copy_bytes(x->data, y->data, tn_tensor_bytes(x), c->threads);
    }
    return TERN_OK;
}

const tn_op tn_op_bitcast = TN_ARGS_OP(infer_bitcast, run_bitcast, 1, 1, 1, 1, TN_OP_INPLACE);
