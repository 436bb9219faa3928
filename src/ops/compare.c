/* Comparisons: Equal Greater GreaterOrEqual Less LessOrEqual. */
#include "ops/elementwise.h"

#define LOOP(NAME, T, P, F, ...) TN_LOOP2(NAME, T, uint8_t, P, F, __VA_ARGS__)

TN_EACH_NUMERIC(LOOP, equal, a == b)
TN_EACH_BOOL(LOOP, equal, a == b)
TN_EACH_NUMERIC(LOOP, greater, a > b)
TN_EACH_NUMERIC(LOOP, greater_equal, a >= b)
TN_EACH_NUMERIC(LOOP, less, a < b)
TN_EACH_NUMERIC(LOOP, less_equal, a <= b)

TN_LOOP2(STRING, tern_string, uint8_t, double, equal, a.len == b.len && (a.len == 0 || !memcmp(a.data, b.data, a.len)))

#define EACH_EQUAL(X, F) TN_EACH_NUMERIC(X, F) TN_EACH_BOOL(X, F) X(STRING, tern_string, double, F)

#define COMPARE(NAME, EACH, TYPES, PARTIAL)                                                                    \
    static const tn_loop_fn NAME##_table[TERN_DTYPE_COUNT] = {EACH(TN_LOOP_ENTRY, NAME)};                      \
    static tern_status NAME##_infer(tn_infer *c) {                                                             \
        TN_TRY(tn_elementwise_infer(c, TYPES, TERN_BOOL));                                                     \
        return PARTIAL;                                                                                        \
    }                                                                                                          \
    static tern_status NAME##_prepare(tn_prepare *c) { return tn_elementwise_prepare(c, NAME##_table, 0, 0); } \
    const tn_op tn_op_##NAME = TN_ELEMENTWISE_OP(NAME##_infer, NAME##_prepare, 2, 2, 0);

/* Equality of two elements of shape arithmetic: a symbol stands for a dim, which is not negative. */
static int64_t equal_partial(int64_t a, int64_t b) {
    if (a == b) return a == TN_DIM_UNKNOWN ? TN_DIM_UNKNOWN : 1;
    if (tn_dim_known(a) && tn_dim_known(b)) return 0;
    if (tn_dim_is_symbol(a) && tn_dim_known(b) && b < 0) return 0;
    if (tn_dim_is_symbol(b) && tn_dim_known(a) && a < 0) return 0;
    return TN_DIM_UNKNOWN;
}

static tern_status infer_equal_partial(tn_infer *c) {
    enum { MAX = 64 };
    int64_t a[MAX], b[MAX], y[MAX];
    int na, nb;
    const tn_type *t = &c->out[0];
    if (c->in[0]->dtype != TERN_INT64 || !t->ranked || t->shape.rank > 1) return TERN_OK;
    if (!tn_infer_ints(c, 0, a, MAX, &na) || !tn_infer_ints(c, 1, b, MAX, &nb)) return TERN_OK;
    int n = na == 1 ? nb : na;
    if ((nb != 1 && nb != n) || (t->shape.rank == 1 ? t->shape.dims[0] != n : n != 1)) return TERN_OK;
    for (int i = 0; i < n; i++) y[i] = equal_partial(a[na == 1 ? 0 : i], b[nb == 1 ? 0 : i]);
    return tn_infer_set_partial(c, 0, y, n);
}

COMPARE(equal, EACH_EQUAL, TN_TYPES_NUMERIC | TN_T(BOOL) | TN_T(STRING), infer_equal_partial(c))
COMPARE(greater, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_OK)
COMPARE(greater_equal, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_OK)
COMPARE(less, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_OK)
COMPARE(less_equal, TN_EACH_NUMERIC, TN_TYPES_NUMERIC, TERN_OK)
