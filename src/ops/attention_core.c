#include "ops/attention_internal.h"

#include "kernels/act.h"
#include "kernels/gemm.h"
#include "ops/rowio.h"

#include <math.h>

#define TILE 64 /* rows */

typedef struct core {
    const tn_attention *a;
    tern_cpu_tier tier;
    bool has_bias;
    int64_t tiles; /* of a head */
    char *work;
    size_t work_step, gemm_bytes; /* of one worker */
} core;

typedef struct tile {
    int64_t sample, head, kv_head, row, rows;
} tile;

static tile tile_at(const core *c, int64_t i) {
    const tn_attention *a = c->a;
    tile t = {.row = i % c->tiles * TILE, .head = i / c->tiles % a->q_heads, .sample = i / c->tiles / a->q_heads};
    t.rows = TN_MIN((int64_t)TILE, a->q_len - t.row);
    t.kv_head = t.head / (a->q_heads / a->kv_heads);
    return t;
}

/* Keys [low, high) are those that the positions allow. */
static void visible(const tn_attention *a, int64_t sample, int64_t row, int64_t *low, int64_t *high) {
    int64_t offset = a->valid ? a->valid[sample] - a->q_len : a->past, p = row + offset;
    *low = 0;
    *high = a->kv_len;
    if (a->valid) *high = TN_MIN(*high, a->valid[sample]);
    if (a->causal) *high = TN_MIN(*high, p + 1);
    if (a->right >= 0 && a->right < a->kv_len) *high = TN_MIN(*high, p + a->right + 1);
    if (a->left >= 0 && a->left <= INT64_MAX / 2) *low = TN_MAX(*low, p - a->left);
    *high = TN_MAX(*high, (int64_t)0);
    *low = TN_MIN(*low, *high);
}

/* C (m x n, rows ldc apart) = alpha * A B; elements of a row of A are neighbours. */
typedef struct strides {
    int64_t m, n, k, a_rs, b_rs, b_cs, ldc;
    double alpha;
} strides;

static tn_gemm_f32 gemm_of(const strides *s) {
    return (tn_gemm_f32){.m = s->m,
                         .n = s->n,
                         .k = s->k,
                         .a_rs = s->a_rs,
                         .a_cs = 1,
                         .b_rs = s->b_rs,
                         .b_cs = s->b_cs,
                         .ldc = s->ldc,
                         .alpha = (float)s->alpha};
}

static void product_f32(tern_cpu_tier tier, const strides *s, const float *a, const float *b, float *c, void *space) {
    tn_gemm_f32 g = gemm_of(s);
    if (s->k > 0) {
        tn_gemm_f32_run(tier, &g, a, b, NULL, NULL, c, space, 1);
        return;
    }
    for (int64_t i = 0; i < s->m; i++) memset(c + i * s->ldc, 0, (size_t)s->n * sizeof *c);
}

static void product_f64(tern_cpu_tier tier, const strides *s, const double *a, const double *b, double *c,
                        void *space) {
    (void)tier, (void)space;
    for (int64_t i = 0; i < s->m; i++) {
        double *y = c + i * s->ldc;
        memset(y, 0, (size_t)s->n * sizeof *y);
        for (int64_t k = 0; k < s->k; k++) {
            double x = a[i * s->a_rs + k] * s->alpha;
            for (int64_t j = 0; j < s->n; j++) y[j] += x * b[k * s->b_rs + j * s->b_cs];
        }
    }
}

static void exp_f32(const core *c, float *x, int64_t n) {
    static const tn_act act = {.kind = TN_ACT_EXP};
    if (c->a->softmax_type == TERN_DOUBLE)
        for (int64_t i = 0; i < n; i++) x[i] = (float)exp((double)x[i]);
    else
        tn_act_f32(c->tier, &act, x, x, (size_t)n);
}

static void exp_f64(const core *c, double *x, int64_t n) {
    (void)c;
    for (int64_t i = 0; i < n; i++) x[i] = exp(x[i]);
}

static void cap_f32(const core *c, float *x, int64_t n) {
    static const tn_act act = {.kind = TN_ACT_TANH};
    float cap = (float)c->a->cap;
    for (int64_t i = 0; i < n; i++) x[i] /= cap;
    tn_act_f32(c->tier, &act, x, x, (size_t)n);
    for (int64_t i = 0; i < n; i++) x[i] *= cap;
}

static void cap_f64(const core *c, double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = tanh(x[i] / c->a->cap) * c->a->cap;
}

static void load_f32(tern_dtype dtype, const void *data, int64_t at, int64_t n, float *dst) {
    if (dtype == TERN_FLOAT || dtype == TERN_FLOAT16 || dtype == TERN_BFLOAT16) {
        tn_row_load_f32(dtype, data, at, n, dst);
        return;
    }
    double v[256];
    for (int64_t i = 0; i < n; i += 256) {
        int64_t m = TN_MIN((int64_t)256, n - i);
        tn_row_load_f64(dtype, data, at + i, m, v);
        for (int64_t j = 0; j < m; j++) dst[i + j] = (float)v[j];
    }
}

static void store_f32(tern_dtype dtype, void *data, int64_t at, int64_t n, const float *src) {
    if (dtype != TERN_DOUBLE) {
        tn_row_store_f32(dtype, data, at, n, src);
        return;
    }
    for (int64_t i = 0; i < n; i++) ((double *)data)[at + i] = (double)src[i];
}

#define REAL     float
#define FN(NAME) NAME##_f32
#define LOAD     load_f32
#define STORE    store_f32
#include "ops/attention_core.h"
#undef REAL
#undef FN
#undef LOAD
#undef STORE

#define REAL     double
#define FN(NAME) NAME##_f64
#define LOAD     tn_row_load_f64
#define STORE    tn_row_store_f64
#include "ops/attention_core.h"
#undef REAL
#undef FN
#undef LOAD
#undef STORE

/* Scratch of the larger one of both products. */
static size_t gemm_space(const tn_attention *a, tern_cpu_tier tier) {
    if (a->wide) return 0;
    int64_t rows = TN_MIN((int64_t)TILE, a->q_len);
    strides scores = {rows, a->kv_len, a->size, a->q.row, 1, a->k.row, a->kv_len, a->scale};
    strides values = {rows, a->v_size, a->kv_len, a->kv_len, a->v.row, 1, a->y.row, 1};
    tn_gemm_f32 g = gemm_of(&scores), h = gemm_of(&values);
    size_t s = a->size && !a->scores_in ? tn_gemm_f32_workspace(tier, &g, false) : 0;
    size_t v = a->v_size && !a->no_values ? tn_gemm_f32_workspace(tier, &h, false) : 0;
    return (TN_MAX(s, v) + 63) / 64 * 64;
}

static bool has_bias(const tn_attention *a) {
    return a->causal || a->left >= 0 || a->right >= 0 || a->valid || a->mask;
}

tern_status tn_ops_attention(const tn_attention *a, tern_cpu_tier tier, int threads, tern_error *err) {
    core c = {.a = a, .tier = tier, .has_bias = has_bias(a), .tiles = tn_ceil_div(a->q_len, TILE)};
    int64_t tasks = a->batch * a->q_heads * c.tiles;
    if (tasks == 0) return TERN_OK;
    size_t bytes;
    threads = (int)TN_MIN((int64_t)threads, tasks);
    c.gemm_bytes = gemm_space(a, tier);
    bool ok = tn_mul_size((size_t)a->kv_len, (TILE + 1) * (a->wide ? sizeof(double) : sizeof(float)), &c.work_step) &&
              tn_add_size(c.work_step, c.gemm_bytes + 63, &c.work_step);
    c.work_step = c.work_step / 64 * 64;
    ok = ok && tn_mul_size(c.work_step, (size_t)threads, &bytes);
    c.work = ok ? tn_alloc_aligned(bytes ? bytes : 1, 64) : NULL;
    if (!c.work) return tn_fail_oom(err, ok ? bytes : SIZE_MAX);
    tn_parallel_for(threads, tasks, a->wide ? task_f64 : task_f32, &c);
    tn_free(c.work);
    return TERN_OK;
}

const void *tn_ops_attention_real(const tern_tensor *t, bool wide, void **copy) {
    *copy = NULL;
    if (t->dtype == (wide ? TERN_DOUBLE : TERN_FLOAT)) return t->data;
    int64_t n = tn_shape_count(&t->shape);
    *copy = tn_alloc_array((size_t)n, wide ? sizeof(double) : sizeof(float));
    if (*copy && wide) tn_row_load_f64(t->dtype, t->data, 0, n, *copy);
    if (*copy && !wide) load_f32(t->dtype, t->data, 0, n, *copy);
    return *copy;
}
