/* Where: moves elements by their size, whatever their type. */
#include "ops/elementwise.h"

typedef struct pair64 {
    uint64_t a, b;
} pair64;

#define WHERE(NAME, T)                                                                                                \
    static void where_##NAME(const tn_loop_args *args, const void *const *in, const int *step, void *out, size_t n) { \
        const uint8_t *cond = in[0];                                                                                  \
        const T *x = in[1], *z = in[2];                                                                               \
        T *y = out;                                                                                                   \
        (void)args;                                                                                                   \
        if (step[0] && step[1] && step[2]) {                                                                          \
            for (size_t i = 0; i < n; i++) {                                                                          \
                const T a = x[i], b = z[i];                                                                           \
                y[i] = cond[i] ? a : b;                                                                               \
            }                                                                                                         \
        } else if (step[0] && step[1]) {                                                                              \
            const T b = z[0];                                                                                         \
            for (size_t i = 0; i < n; i++) {                                                                          \
                const T a = x[i];                                                                                     \
                y[i] = cond[i] ? a : b;                                                                               \
            }                                                                                                         \
        } else if (step[0] && step[2]) {                                                                              \
            const T a = x[0];                                                                                         \
            for (size_t i = 0; i < n; i++) {                                                                          \
                const T b = z[i];                                                                                     \
                y[i] = cond[i] ? a : b;                                                                               \
            }                                                                                                         \
        } else {                                                                                                      \
            const size_t sc = (size_t)step[0], sx = (size_t)step[1], sz = (size_t)step[2];                            \
            for (size_t i = 0; i < n; i++) y[i] = cond[i * sc] ? x[i * sx] : z[i * sz];                               \
        }                                                                                                             \
    }
WHERE(1, uint8_t)
WHERE(2, uint16_t)
WHERE(4, uint32_t)
WHERE(8, uint64_t)
WHERE(16, pair64)

static const tn_loop_fn where_table[TERN_DTYPE_COUNT] = {
#define X(NAME, VALUE, TEXT, BITS, BYTES) [TERN_##NAME] = where_##BYTES,
    TERN_DTYPE_LIST(X)
#undef X
};

/* Shape arithmetic: picks elements where the condition is known. */
static tern_status infer_partial(tn_infer *c) {
    enum { MAX = 64 };
    int64_t v[3][MAX], y[MAX];
    int n[3], most = 1;
    const tn_type *t = &c->out[0];
    if (t->dtype != TERN_INT64 || !t->ranked || t->shape.rank > 1) return TERN_OK;
    for (int k = 0; k < 3; k++) {
        if (!tn_infer_ints(c, k, v[k], MAX, &n[k])) return TERN_OK;
        if (n[k] != 1) most = n[k];
    }
    for (int k = 0; k < 3; k++)
        if (n[k] != 1 && n[k] != most) return TERN_OK;
    if (t->shape.rank == 1 ? t->shape.dims[0] != most : most != 1) return TERN_OK;
    for (int i = 0; i < most; i++) {
        int64_t cond = v[0][n[0] == 1 ? 0 : i], a = v[1][n[1] == 1 ? 0 : i], b = v[2][n[2] == 1 ? 0 : i];
        if (tn_dim_known(cond)) {
            y[i] = cond ? a : b;
        } else {
            y[i] = a == b ? a : TN_DIM_UNKNOWN;
        }
    }
    return tn_infer_set_partial(c, 0, y, most);
}

static tern_status where_infer(tn_infer *c) {
    TN_TRY(tn_infer_want(c, 0, TN_T(BOOL)));
    for (int i = 1; i < 3; i++) TN_TRY(tn_infer_want(c, i, TN_TYPES_ALL));
    TN_TRY(tn_infer_same_type(c, 1, 2));
    tern_dtype type = c->in[1]->dtype != TERN_UNDEFINED ? c->in[1]->dtype : c->in[2]->dtype;
    TN_TRY(tn_elementwise_infer_shape(c, 0, type));
    return infer_partial(c);
}

static tern_status where_prepare(tn_prepare *c) { return tn_elementwise_prepare(c, where_table, 0, 0); }

const tn_op tn_op_where = TN_ELEMENTWISE_OP(where_infer, where_prepare, 3, 3, TN_OP_INPLACE);
