#include "ops/rnn_internal.h"

#include <math.h>

#include "ops/conv_internal.h"
#include "ops/matmul_internal.h"

/* ---- activations ----------------------------------------------------------------------------------------------- */

static double activate_one(const tn_rnn_act *a, double x) {
    switch (a->kind) {
    case TN_RNN_RELU:
        return x > 0 || x != x ? x : 0;
    case TN_RNN_TANH:
        return tanh(x);
    case TN_RNN_SIGMOID:
        return 1 / (1 + exp(-x));
    case TN_RNN_AFFINE:
        return a->alpha * x + a->beta;
    case TN_RNN_LEAKY_RELU:
        return x >= 0 ? x : a->alpha * x;
    case TN_RNN_THRESHOLDED_RELU:
        return x >= a->alpha || x != x ? x : 0;
    case TN_RNN_SCALED_TANH:
        return a->alpha * tanh(a->beta * x);
    case TN_RNN_HARD_SIGMOID:
        return fmin(fmax(a->alpha * x + a->beta, 0), 1);
    case TN_RNN_ELU:
        return x >= 0 ? x : a->alpha * expm1(x);
    case TN_RNN_SOFTSIGN:
        return x / (1 + fabs(x));
    default:
        return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    }
}

static void activate_f64(tern_cpu_tier tier, const tn_rnn_act *a, double *x, int64_t n) {
    (void)tier;
    for (int64_t i = 0; i < n; i++) x[i] = activate_one(a, x[i]);
}

static void activate_f32(tern_cpu_tier tier, const tn_rnn_act *a, float *x, int64_t n) {
    static const tn_act_kind fast[TN_RNN_ACT_COUNT] = {
        [TN_RNN_RELU] = TN_ACT_RELU,         [TN_RNN_TANH] = TN_ACT_TANH, [TN_RNN_SIGMOID] = TN_ACT_SIGMOID,
        [TN_RNN_LEAKY_RELU] = TN_ACT_LEAKY,  [TN_RNN_ELU] = TN_ACT_ELU,   [TN_RNN_HARD_SIGMOID] = TN_ACT_HARDSIGMOID,
        [TN_RNN_SOFTPLUS] = TN_ACT_SOFTPLUS,
    };
    if (fast[a->kind] != TN_ACT_NONE) {
        tn_act act = {fast[a->kind], (float)a->alpha, (float)a->beta};
        tn_act_f32(tier, &act, x, x, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) x[i] = (float)activate_one(a, (double)x[i]);
}

/* ---- plan ------------------------------------------------------------------------------------------------------ */

static bool has_product(const tn_gemm_f32 *g) { return g->m > 0 && g->n > 0 && g->k > 0; }

static bool describe_products(tn_rnn_plan *p) {
    const tn_rnn *n = &p->n;
    const int64_t h = n->hidden;
    int64_t g, rows, all;
    if (!tn_mul_i64(h, n->gates, &g) || !tn_mul_i64(n->length, n->batch, &rows) || !tn_mul_i64(rows, g, &all) ||
        !tn_mul_i64(n->batch, g, &all))
        return false;
    p->gemm[TN_RNN_X] = (tn_gemm_f32){.m = rows, .n = g, .k = n->input};
    p->gemm[TN_RNN_R] = (tn_gemm_f32){.m = n->batch, .n = n->kind == TN_GRU ? 2 * h : g, .k = h};
    if (n->kind == TN_GRU) p->gemm[TN_RNN_H] = (tn_gemm_f32){.m = n->batch, .n = h, .k = h};
    for (int i = 0; i < TN_RNN_PRODUCTS; i++) {
        tn_gemm_f32 *m = &p->gemm[i];
        m->a_rs = m->b_cs = m->k;
        m->a_cs = m->b_rs = m->alpha = 1;
        m->ldc = g;
    }
    return true;
}

/* Where the matrix of a product begins in W or R, in elements. */
static int64_t matrix_at(const tn_rnn *n, int dir, tn_rnn_product i) {
    int64_t per = n->gates * n->hidden * (i == TN_RNN_X ? n->input : n->hidden);
    return dir * per + (i == TN_RNN_H ? 2 * n->hidden * n->hidden : 0);
}

typedef struct pack_context {
    tern_cpu_tier tier;
    tn_gemm_f32 gemm;
    int64_t at;
} pack_context;

static void pack_matrix(const void *context, const tern_tensor *value, void *dst) {
    const pack_context *c = context;
    tn_gemm_f32_pack(c->tier, &c->gemm, (const float *)value->data + c->at, dst, 1);
}

static tern_status pack_constant(tn_prepare *c, tn_rnn_plan *p, int dir, tn_rnn_product i, size_t bytes) {
    const pack_context context = {c->tier, p->gemm[i], matrix_at(&p->n, dir, i)};
    const int64_t key[] = {c->tier, context.at, p->gemm[i].n};
    p->packed[dir][i] = tn_pack_later(c, i == TN_RNN_X ? 1 : 2, tn_hash(key, sizeof key, 0), bytes, pack_matrix,
                                      &context, sizeof context);
    return p->packed[dir][i] ? TERN_OK : c->err ? c->err->status : TERN_OUT_OF_MEMORY;
}

static tern_status plan_products(tn_prepare *c, tn_rnn_plan *p) {
    size_t space = 0;
    p->kernel = tn_ops_gemm_name(c->tier);
    for (int i = 0; i < TN_RNN_PRODUCTS; i++) {
        if (!has_product(&p->gemm[i])) continue;
        const tern_tensor *w = c->value[i == TN_RNN_X ? 1 : 2];
        const bool constant = w && w->dtype == TERN_FLOAT, packed = constant || i != TN_RNN_X;
        size_t bytes = tn_gemm_f32_packed_bytes(c->tier, &p->gemm[i]);
        if (bytes == 0) return tn_fail_oom(c->err, SIZE_MAX);
        for (int dir = 0; constant && dir < p->n.directions; dir++) TN_TRY(pack_constant(c, p, dir, i, bytes));
        if (packed && !constant && !tn_ops_reserve(&c->workspace, 1, bytes, &p->at_packed[i]))
            return tn_fail_oom(c->err, SIZE_MAX);
        space = TN_MAX(space, tn_gemm_f32_workspace(c->tier, &p->gemm[i], packed));
    }
    return tn_ops_reserve(&c->workspace, 1, space, &p->at_gemm) ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

tern_status tn_ops_rnn_plan(tn_prepare *c, tn_rnn_plan *p) {
    const tn_rnn *n = &p->n;
    const size_t size = p->wide ? sizeof(double) : sizeof(float);
    if (!describe_products(p)) return tn_fail_oom(c->err, SIZE_MAX);
    if (!p->wide) TN_TRY(plan_products(c, p));
    const int64_t g = n->gates * n->hidden, state = n->batch * n->hidden;
    size_t *w = &c->workspace;
    bool ok = tn_ops_reserve(w, n->length * n->batch * g, size, &p->at_xw) &&
              tn_ops_reserve(w, n->batch * g, size, &p->at_rec) && tn_ops_reserve(w, state, size, &p->at_h) &&
              tn_ops_reserve(w, n->kind == TN_LSTM ? state : 0, size, &p->at_c) &&
              tn_ops_reserve(w, n->kind == TN_GRU ? state : 0, size, &p->at_rh) &&
              tn_ops_reserve(w, g, size, &p->at_bias);
    return ok ? TERN_OK : tn_fail_oom(c->err, SIZE_MAX);
}

/* ---- products -------------------------------------------------------------------------------------------------- */

/* Of one direction. */
typedef struct products {
    const tn_rnn_plan *plan;
    const void *packed[TN_RNN_PRODUCTS]; /* NULL: not packed */
    char *workspace;
    tern_cpu_tier tier;
    int threads;
} products;

static void pack_f32(products *p, tn_rnn_product i, int dir, const float *b) {
    const tn_gemm_f32 *g = &p->plan->gemm[i];
    p->packed[i] = p->plan->packed[dir][i];
    if (p->packed[i] || i == TN_RNN_X || !has_product(g)) return;
    void *space = p->workspace + p->plan->at_packed[i];
    tn_gemm_f32_pack(p->tier, g, b, space, p->threads);
    p->packed[i] = space;
}

/* Rows of bias, or of zeros: what a product over nothing gives. */
#define EMPTY_PRODUCT(REAL)           \
    for (int64_t r = 0; r < g.m; r++) \
        for (int64_t j = 0; j < g.n; j++) c[r * g.ldc + j] = bias ? bias[j] : (REAL)0;

static void product_f32(const products *p, tn_rnn_product i, const float *a, const float *b, const float *bias,
                        float *c) {
    tn_gemm_f32 g = p->plan->gemm[i];
    if (g.k == 0) {
        EMPTY_PRODUCT(float)
        return;
    }
    g.bias_n = bias != NULL;
    if (has_product(&g))
        tn_gemm_f32_run(p->tier, &g, a, p->packed[i] ? NULL : b, p->packed[i], bias, c, p->workspace + p->plan->at_gemm,
                        p->threads);
}

static void pack_f64(products *p, tn_rnn_product i, int dir, const double *b) { (void)p, (void)i, (void)dir, (void)b; }

static void product_f64(const products *p, tn_rnn_product i, const double *a, const double *b, const double *bias,
                        double *c) {
    const tn_gemm_f32 g = p->plan->gemm[i];
    EMPTY_PRODUCT(double)
    for (int64_t r = 0; r < g.m; r++)
        for (int64_t j = 0; j < g.n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < g.k; k++) sum += a[r * g.k + k] * b[j * g.k + k];
            c[r * g.ldc + j] += sum;
        }
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

#define REAL     float
#define FN(NAME) NAME##_f32
#include "ops/rnn_core.h"
#undef REAL
#undef FN

#define REAL     double
#define FN(NAME) NAME##_f64
#include "ops/rnn_core.h"
#undef REAL
#undef FN

void tn_ops_rnn_run(const tn_rnn_plan *p, const tn_rnn_data *d, void *workspace, tern_cpu_tier tier, int threads) {
    products m = {.plan = p, .workspace = workspace, .tier = tier, .threads = threads};
    if (p->wide)
        run_f64(d, &m);
    else
        run_f32(d, &m);
}
