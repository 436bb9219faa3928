#include "ops/rnn_internal.h"

#include "kernels/gemm.h"

#include <math.h>

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

/* ---- products -------------------------------------------------------------------------------------------------- */

/* X W^T; H R^T (GRU: of the gates z and r); GRU: H R^T of the hidden gate. */
enum { PRODUCT_X, PRODUCT_R, PRODUCT_H, PRODUCT_COUNT };

typedef struct product_dims {
    int64_t m, n, k, ldc;
} product_dims;

static void dims_of(const tn_rnn *n, product_dims *p) {
    int64_t g = n->gates * n->hidden;
    p[PRODUCT_X] = (product_dims){n->length * n->batch, g, n->input, g};
    p[PRODUCT_R] = (product_dims){n->batch, n->kind == TN_GRU ? 2 * n->hidden : g, n->hidden, g};
    p[PRODUCT_H] = (product_dims){n->batch, n->hidden, n->hidden, g};
}

static bool is_empty(const product_dims *p) { return p->m == 0 || p->n == 0; }

typedef struct products_f32 {
    tern_cpu_tier tier;
    product_dims dims[PRODUCT_COUNT];
    tn_gemm_f32 gemm[PRODUCT_COUNT];
    void *packed[PRODUCT_COUNT]; /* NULL: not packed */
    void *space;
} products_f32;

static void products_release_f32(products_f32 *p) {
    for (int i = 0; i < PRODUCT_COUNT; i++) tn_free(p->packed[i]);
    tn_free(p->space);
}

static tern_status products_init_f32(products_f32 *p, const tn_rnn *n, tern_cpu_tier tier, tern_error *err) {
    *p = (products_f32){.tier = tier};
    dims_of(n, p->dims);
    size_t space = 64;
    bool ok = true;
    for (int i = 0; i < PRODUCT_COUNT; i++) {
        const product_dims *d = &p->dims[i];
        p->gemm[i] = (tn_gemm_f32){.m = d->m, .n = d->n, .k = d->k, .a_rs = d->k, .a_cs = 1, .b_rs = 1, .b_cs = d->k};
        p->gemm[i].ldc = d->ldc;
        p->gemm[i].alpha = 1;
        if (is_empty(d) || d->k == 0 || (i == PRODUCT_H && n->kind != TN_GRU)) continue;
        bool packed = i != PRODUCT_X;
        space = TN_MAX(space, tn_gemm_f32_workspace(tier, &p->gemm[i], packed));
        size_t bytes = tn_gemm_f32_packed_bytes(tier, &p->gemm[i]);
        if (packed) ok = ok && bytes && (p->packed[i] = tn_alloc_aligned(bytes, 64)) != NULL;
    }
    p->space = tn_alloc_aligned((space + 63) / 64 * 64, 64);
    if (ok && p->space) return TERN_OK;
    products_release_f32(p);
    return tn_fail_oom(err, space);
}

static void pack_f32(products_f32 *p, int i, const float *b) {
    if (p->packed[i]) tn_gemm_f32_pack(p->tier, &p->gemm[i], b, p->packed[i], 1);
}

/* Rows of bias, or of zeros: what a product over nothing gives. */
#define EMPTY_PRODUCT(REAL)            \
    for (int64_t r = 0; r < d->m; r++) \
        for (int64_t j = 0; j < d->n; j++) c[r * d->ldc + j] = bias ? bias[j] : (REAL)0;

static void product_f32(products_f32 *p, int i, const float *a, const float *b, const float *bias, float *c,
                        int threads) {
    const product_dims *d = &p->dims[i];
    if (is_empty(d)) return;
    if (d->k == 0) {
        EMPTY_PRODUCT(float)
        return;
    }
    tn_gemm_f32 g = p->gemm[i];
    g.bias_n = bias != NULL;
    tn_gemm_f32_run(p->tier, &g, a, p->packed[i] ? NULL : b, p->packed[i], bias, c, p->space, threads);
}

typedef struct products_f64 {
    product_dims dims[PRODUCT_COUNT];
} products_f64;

static tern_status products_init_f64(products_f64 *p, const tn_rnn *n, tern_cpu_tier tier, tern_error *err) {
    (void)tier, (void)err;
    dims_of(n, p->dims);
    return TERN_OK;
}

static void products_release_f64(products_f64 *p) { (void)p; }
static void pack_f64(products_f64 *p, int i, const double *b) { (void)p, (void)i, (void)b; }

static void product_f64(products_f64 *p, int i, const double *a, const double *b, const double *bias, double *c,
                        int threads) {
    (void)threads;
    const product_dims *d = &p->dims[i];
    EMPTY_PRODUCT(double)
    for (int64_t r = 0; r < d->m; r++)
        for (int64_t j = 0; j < d->n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < d->k; k++) sum += a[r * d->k + k] * b[j * d->k + k];
            c[r * d->ldc + j] += sum;
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

tern_status tn_ops_rnn_run(const tn_rnn *n, const tn_rnn_data *d, bool wide, tern_cpu_tier tier, int threads,
                           tern_error *err) {
    return wide ? run_f64(n, d, tier, threads, err) : run_f32(n, d, tier, threads, err);
}
