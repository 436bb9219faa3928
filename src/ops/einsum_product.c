#include "kernels/gemm.h"
#include "ops/copy.h"
#include "ops/einsum_internal.h"
#include "thread/thread.h"

/* A product with fewer outputs, or fewer multiplications, is left to plain loops. */
#define LEAST_OUTPUTS  16
#define LEAST_PRODUCTS 512

typedef enum role { BATCH, ROW, COLUMN, SUM, ROLES } role;

static const role role_order_a[] = {BATCH, ROW, SUM}, role_order_b[] = {BATCH, SUM, COLUMN},
                  role_order_y[] = {BATCH, ROW, COLUMN};

static role role_of(const tn_einsum_loops *l, int d) {
    if (d >= l->n_out) return SUM;
    if (!l->stride[1][d]) return ROW;
    return l->stride[0][d] ? BATCH : COLUMN;
}

/* Strides in elements of the labels of the output. */
static void output_strides(const tn_einsum_loops *l, int64_t *stride) {
    int64_t step = 1;
    for (int d = l->n_out - 1; d >= 0; d--) {
        stride[d] = step;
        step *= l->size[d];
    }
}

/* The copy between an array with these strides and a dense one with the labels in the order of `roles`. */
static tn_copy copy_of(const tn_einsum_loops *l, const role *roles, const int64_t *stride, bool to_dense) {
    int order[TN_EINSUM_LABELS], n = 0;
    for (int i = 0; i < 3; i++)
        for (int d = 0; d < l->n_all; d++)
            if (l->size[d] != 1 && role_of(l, d) == roles[i]) order[n++] = d;
    int64_t dense[TN_EINSUM_LABELS], step = 1;
    for (int i = n - 1; i >= 0; i--) {
        dense[i] = step;
        step *= l->size[order[i]];
    }
    tn_copy c;
    tn_copy_init(&c, sizeof(float));
    for (int i = 0; i < n; i++)
        tn_copy_dim(&c, l->size[order[i]], to_dense ? stride[order[i]] : dense[i],
                    to_dense ? dense[i] : stride[order[i]]);
    return c;
}

static bool is_dense(const tn_copy *c) {
    for (int i = 0; i < c->rank; i++)
        if (c->src[i] != c->dst[i]) return false;
    return true;
}

static bool sizes_of(const tn_einsum_loops *l, tn_einsum_product *p) {
    int64_t size[ROLES] = {1, 1, 1, 1}, outputs, products;
    for (int d = 0; d < l->n_all; d++) {
        bool one_sided = d >= l->n_out && (!l->stride[0][d] || !l->stride[1][d]);
        if (l->size[d] == 1) continue;
        if (one_sided || !tn_mul_i64(size[role_of(l, d)], l->size[d], &size[role_of(l, d)])) return false;
    }
    p->batch = size[BATCH];
    p->m = size[ROW];
    p->n = size[COLUMN];
    p->k = size[SUM];
    return tn_mul_i64(p->m, p->n, &outputs) && tn_mul_i64(outputs, p->k, &products) && outputs >= LEAST_OUTPUTS &&
           products >= LEAST_PRODUCTS && p->batch > 0;
}

tern_status tn_einsum_product_plan(const tn_einsum_loops *l, tern_cpu_tier tier, int threads, size_t *workspace,
                                   tn_einsum_product *p, bool *use, tern_error *err) {
    *use = sizes_of(l, p);
    if (!*use) return TERN_OK;
    int64_t y[TN_EINSUM_LABELS];
    output_strides(l, y);
    tn_copy a = copy_of(l, role_order_a, l->stride[0], true), b = copy_of(l, role_order_b, l->stride[1], true);
    tn_copy back = copy_of(l, role_order_y, y, false);
    p->copy_a = !is_dense(&a);
    p->copy_b = !is_dense(&b);
    p->copy_y = !is_dense(&back);
    p->gemm = (tn_gemm_f32){
        .m = p->m, .n = p->n, .k = p->k, .a_rs = p->k, .a_cs = 1, .b_rs = p->n, .b_cs = 1, .ldc = p->n, .alpha = 1};
    p->whole = p->batch >= threads;
    p->gemm_bytes = tn_gemm_f32_workspace(tier, &p->gemm, false);
    p->gemm_bytes = (p->gemm_bytes + 63) / 64 * 64;
    bool ok = tn_ops_reserve(workspace, p->copy_a ? p->batch * p->m * p->k : 0, sizeof(float), &p->at_a) &&
              tn_ops_reserve(workspace, p->copy_b ? p->batch * p->k * p->n : 0, sizeof(float), &p->at_b) &&
              tn_ops_reserve(workspace, p->copy_y ? p->batch * p->m * p->n : 0, sizeof(float), &p->at_y) &&
              tn_ops_reserve(workspace, p->whole ? threads : 1, p->gemm_bytes, &p->at_gemm);
    return ok ? TERN_OK : tn_fail_oom(err, SIZE_MAX);
}

typedef struct product_job {
    const tn_einsum_product *p;
    tern_cpu_tier tier;
    const float *a, *b;
    float *y;
    char *space;
} product_job;

static void product(const product_job *j, int64_t i, void *space, int threads) {
    const tn_einsum_product *p = j->p;
    tn_gemm_f32_run(j->tier, &p->gemm, j->a + i * p->m * p->k, j->b + i * p->k * p->n, NULL, NULL,
                    j->y + i * p->m * p->n, space, threads);
}

static void product_task(void *context, int64_t begin, int64_t end, int worker) {
    const product_job *j = context;
    for (int64_t i = begin; i < end; i++) product(j, i, j->space + (size_t)worker * j->p->gemm_bytes, 1);
}

void tn_einsum_product_run(const tn_einsum_loops *l, const tn_einsum_product *p, tern_cpu_tier tier, int threads,
                           const float *a, const float *b, float *y, char *workspace) {
    product_job j = {p, tier, a, b, y, workspace + p->at_gemm};
    if (p->copy_a) {
        tn_copy c = copy_of(l, role_order_a, l->stride[0], true);
        tn_copy_run(&c, a, workspace + p->at_a, threads);
        j.a = (const float *)(const void *)(workspace + p->at_a);
    }
    if (p->copy_b) {
        tn_copy c = copy_of(l, role_order_b, l->stride[1], true);
        tn_copy_run(&c, b, workspace + p->at_b, threads);
        j.b = (const float *)(const void *)(workspace + p->at_b);
    }
    if (p->copy_y) j.y = (float *)(void *)(workspace + p->at_y);
    if (p->whole) {
        tn_parallel_for(threads, p->batch, product_task, &j);
    } else {
        for (int64_t i = 0; i < p->batch; i++) product(&j, i, j.space, threads);
    }
    if (!p->copy_y) return;
    int64_t stride[TN_EINSUM_LABELS];
    output_strides(l, stride);
    tn_copy c = copy_of(l, role_order_y, stride, false);
    tn_copy_run(&c, j.y, y, threads);
}
