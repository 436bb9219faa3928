/* Attention against double precision: random and tail shapes, rows of several heads, strides, several blocks of keys,
 * huge scores, masked rows, NaN, sinks; guard pages behind all inputs.
 *
 * Tolerance: a score errs by at most (size + 4) eps sum |q k| scale, its distance to the maximum by two such errors and
 * the rounding of the difference; exp by 2 ULP. A weight is off by that factor, and so is the sum of weights; chains
 * over the keys, the corrections between blocks and the last product add (2 keys + 8) eps. */
#include "kernels/check.h"

#include "kernels/attention.h"

typedef struct problem {
    tn_attention_f32 a;
    ck_buf q, k, v, sink;
    int64_t heads;
    float *bias; /* (rows of all heads, keys); NULL: none */
    int64_t width;
} problem;

static size_t rows_count(int64_t heads, int64_t head, int64_t rows, int64_t row, int64_t size) {
    return heads && rows && size ? (size_t)((heads - 1) * head + (rows - 1) * row + size) : 0;
}

static problem make(int64_t heads, int64_t q_len, int64_t keys, int64_t size, int64_t v_size) {
    problem p = {.heads = heads};
    p.a = (tn_attention_f32){.rows = heads * q_len,
                             .q_len = q_len,
                             .keys = keys,
                             .size = size,
                             .v_size = v_size,
                             .block = tn_attention_f32_block(keys),
                             .scale = 1 / sqrtf((float)size),
                             .zero_masked = true};
    bool between = ck_int(0, 1); /* heads beside one another in a row, or rows of one head after the other */
    p.a.q_row = between ? heads * size + ck_int(0, 3) : size + ck_int(0, 3);
    p.a.q_head = between ? size : q_len * p.a.q_row;
    p.a.k_row = size + ck_int(0, 5);
    p.a.v_row = v_size + ck_int(0, 5);
    p.a.y_row = between ? heads * v_size + ck_int(0, 3) : v_size + ck_int(0, 3);
    p.a.y_head = between ? v_size : q_len * p.a.y_row;
    p.q = ck_random(rows_count(heads, p.a.q_head, q_len, p.a.q_row, size), 4);
    p.k = ck_random(rows_count(1, 0, keys, p.a.k_row, size), 4);
    p.v = ck_random(rows_count(1, 0, keys, p.a.v_row, v_size), 4);
    p.a.q = p.q.p, p.a.k = p.k.p, p.a.v = p.v.p;
    return p;
}

static void release(problem *p) {
    ck_free(&p->q);
    ck_free(&p->k);
    ck_free(&p->v);
    if (p->a.sink) ck_free(&p->sink);
    free(p->bias);
}

/* The kernel's hook: bias in the layout of the scores. */
static void add_bias(void *context, const tn_attention_part *part, float *space) {
    const problem *p = context;
    for (int64_t k = 0; k < part->keys; k++)
        for (int64_t i = 0; i < p->width; i++)
            space[k * p->width + i] = i < part->rows ? p->bias[(part->row + i) * p->a.keys + part->key + k] : -INFINITY;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) /* one of the tiers with this width; they agree */
        if (tn_attention_f32_width(t) == p->width) {
            tn_attention_f32_mask(t, space, part->scores, (size_t)(part->keys * p->width));
            return;
        }
}

static void give_bias(problem *p) {
    p->bias = malloc((size_t)(p->a.rows * p->a.keys) * sizeof *p->bias);
    assert_non_null(p->bias);
    for (int64_t i = 0; i < p->a.rows * p->a.keys; i++) p->bias[i] = ck_int(0, 3) ? ck_float(-2, 2) : -INFINITY;
    p->a.adjust = add_bias;
}

static size_t y_count(const problem *p) {
    return rows_count(p->heads, p->a.y_head, p->a.q_len, p->a.y_row, p->a.v_size);
}

static ck_buf run(tern_cpu_tier t, problem *p, int64_t first, int64_t rows) {
    ck_buf y = ck_alloc(y_count(p), 4), ws;
    tn_attention_f32 a = p->a;
    p->width = tn_attention_f32_width(t);
    a.first = first, a.rows = rows, a.y = y.p, a.context = p;
    ws = ck_alloc(tn_attention_f32_workspace(t, &a) / 4, 64);
    tn_attention_f32_run(t, &a, ws.p);
    ck_free(&ws);
    return y;
}

static int64_t at(const problem *p, int64_t row, int64_t head_step, int64_t row_step) {
    return row / p->a.q_len * head_step + row % p->a.q_len * row_step;
}

/* One row in double; `bound` is the factor of sum p |v| that y may be off by. */
static void reference(const problem *p, int64_t row, double *y, double *magnitude, double *bound) {
    const tn_attention_f32 *a = &p->a;
    const float *q = a->q + at(p, row, a->q_head, a->q_row);
    double *s = malloc((size_t)(a->keys + 1) * sizeof *s), worst = 0;
    double top = a->sink ? (double)a->sink[row / a->q_len] : -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->keys; j++) {
        double score = 0, size = 0;
        for (int64_t i = 0; i < a->size; i++) {
            double term = (double)q[i] * (double)a->k[j * a->k_row + i] * (double)a->scale;
            score += term;
            size += fabs(term);
        }
        if (p->bias) score += (double)p->bias[row * a->keys + j];
        if (p->bias && isfinite(p->bias[row * a->keys + j])) size += fabs((double)p->bias[row * a->keys + j]);
        s[j] = score;
        worst = fmax(worst, ((double)a->size + 6) * CK_EPS * size);
        top = score > top ? score : top;
    }
    if (a->sink) sum = exp((double)a->sink[row / a->q_len] - top);
    for (int64_t d = 0; d < a->v_size; d++) y[d] = magnitude[d] = 0;
    for (int64_t j = 0; j < a->keys; j++) {
        double w = top == -INFINITY ? 0 : exp(s[j] - top);
        sum += w;
        for (int64_t d = 0; d < a->v_size; d++) {
            y[d] += w * (double)a->v[j * a->v_row + d];
            magnitude[d] += w * fabs((double)a->v[j * a->v_row + d]);
        }
    }
    double factor = sum > 0 ? 1 / sum : a->zero_masked ? 0 : NAN;
    for (int64_t d = 0; d < a->v_size; d++) y[d] *= factor, magnitude[d] *= factor;
    *bound = 2 * expm1(2 * worst) + (2 * (double)a->keys + 24) * CK_EPS;
    free(s);
}

static void check(problem *p) {
    double *y = malloc((size_t)(2 * p->a.v_size + 1) * sizeof *y), *size = y + p->a.v_size;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        ck_buf got = run(t, p, 0, p->a.rows);
        for (int64_t r = 0; r < p->a.rows; r++) {
            double bound;
            const float *g = got.p + at(p, r, p->a.y_head, p->a.y_row);
            reference(p, r, y, size, &bound);
            for (int64_t d = 0; d < p->a.v_size; d++) {
                if (isnan(y[d]) ? isnan(g[d]) : fabs((double)g[d] - y[d]) <= bound * size[d] + 1e-37) continue;
                fail_msg("tier %d, %d rows, %d keys, %d x %d: row %d, %d: %.9g, not %.9g", (int)t, (int)p->a.rows,
                         (int)p->a.keys, (int)p->a.size, (int)p->a.v_size, (int)r, (int)d, (double)g[d], y[d]);
            }
        }
        ck_free(&got);
    }
    free(y);
}

static void shapes(void **state) {
    (void)state;
    for (int i = 0; i < 150; i++) {
        static const int64_t sizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 128, 129};
        int64_t heads = ck_int(1, 3), rows = i % 4 ? ck_int(1, 40) : 1, keys = i % 5 ? ck_int(1, 70) : ck_int(250, 600);
        int64_t size = i % 2 ? sizes[ck_int(0, 11)] : ck_int(1, 40), v = i % 2 ? sizes[ck_int(0, 11)] : ck_int(1, 40);
        problem p = make(heads, rows, keys, size, v);
        if (i % 3 == 0) give_bias(&p);
        if (i % 7 == 0) p.a.block = keys;
        if (i % 6 == 1) {
            p.sink = ck_random((size_t)heads, 4);
            p.a.sink = p.sink.p;
        }
        check(&p);
        release(&p);
    }
}

static void huge_scores(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) {
        problem p = make(1, ck_int(1, 20), i % 2 ? ck_int(1, 50) : ck_int(257, 400), 8, ck_int(1, 20));
        p.a.scale = i % 3 ? 300.0f : 3e5f; /* the largest weight is 1, nearly all others vanish */
        if (i % 3) check(&p);
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            ck_buf y = run(t, &p, 0, p.a.rows);
            for (size_t k = 0; k < y.n && p.a.y_row == p.a.v_size; k++) assert_true(fabsf(y.p[k]) <= 1.0001f);
            ck_free(&y);
        }
        release(&p);
    }
}

static void masked_rows(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        problem p = make(2, ck_int(1, 20), i % 2 ? ck_int(1, 50) : ck_int(257, 400), 5, 7);
        give_bias(&p);
        for (int64_t r = 0; r < p.a.rows; r += 3)
            for (int64_t k = 0; k < p.a.keys; k++) p.bias[r * p.a.keys + k] = -INFINITY;
        /* Nothing but the first block, and nothing but the last key. */
        if (p.a.rows > 2)
            for (int64_t k = 0; k < p.a.keys; k++) {
                p.bias[p.a.keys + k] = k == 0 ? 0 : -INFINITY;
                p.bias[2 * p.a.keys + k] = k == p.a.keys - 1 ? 0 : -INFINITY;
            }
        p.a.zero_masked = i % 4 < 2;
        check(&p);
        release(&p);
    }
}

/* A NaN in a query spoils its row alone; one in a key all rows, unless it is masked. */
static void nan_spreads(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        problem p = make(1, ck_int(2, 20), ck_int(1, 300), 5, 7);
        int64_t bad = ck_int(0, (int)p.a.rows - 1);
        p.q.p[bad * p.a.q_row] = NAN;
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            ck_buf y = run(t, &p, 0, p.a.rows);
            for (int64_t r = 0; r < p.a.rows; r++)
                for (int64_t d = 0; d < p.a.v_size; d++) assert_true(isnan(y.p[r * p.a.y_row + d]) == (r == bad));
            ck_free(&y);
        }
        p.q.p[bad * p.a.q_row] = 0;
        int64_t key = ck_int(0, (int)p.a.keys - 1);
        p.k.p[key * p.a.k_row] = NAN;
        if (i % 2) give_bias(&p);
        for (int64_t r = 0; i % 2 && r < p.a.rows; r++) p.bias[r * p.a.keys + key] = -INFINITY;
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            ck_buf y = run(t, &p, 0, p.a.rows);
            for (int64_t r = 0; r < p.a.rows; r++) assert_true(isnan(y.p[r * p.a.y_row]) == (i % 2 == 0));
            ck_free(&y);
        }
        release(&p);
    }
}

/* Bits do not depend on which rows are computed together. */
static void rows_alone(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        problem p = make(ck_int(1, 3), ck_int(1, 40), i % 2 ? ck_int(1, 100) : ck_int(250, 520), ck_int(1, 70), 9);
        if (i % 3 == 0) give_bias(&p);
        for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
            ck_buf all = run(t, &p, 0, p.a.rows);
            for (int64_t r = 0; r < p.a.rows; r += ck_int(1, 9)) {
                int64_t some_rows = ck_int(1, 20), n = TN_MIN(some_rows, p.a.rows - r);
                ck_buf some = run(t, &p, r, n);
                for (int64_t k = r; k < r + n; k++) {
                    int64_t y = at(&p, k, p.a.y_head, p.a.y_row);
                    assert_memory_equal(some.p + y, all.p + y, (size_t)p.a.v_size * sizeof(float));
                }
                ck_free(&some);
            }
            ck_free(&all);
        }
        release(&p);
    }
}

/* Scratch memory does not grow with the number of keys, and no keys give zeros. */
static void scratch(void **state) {
    (void)state;
    for (tern_cpu_tier t = 0; t <= ck_top(); t++) {
        problem p = make(1, 3, 1, 4, 5);
        ck_buf y;
        tn_attention_f32 a = p.a;
        a.y = p.v.p;
        a.keys = 512, a.block = tn_attention_f32_block(512);
        size_t few = tn_attention_f32_workspace(t, &a);
        a.keys = 1 << 20, a.block = tn_attention_f32_block(1 << 20);
        assert_int_equal(tn_attention_f32_workspace(t, &a), few);
        a.size = INT64_MAX / 8;
        assert_true(tn_attention_f32_workspace(t, &a) == SIZE_MAX);
        p.a.keys = 0;
        y = run(t, &p, 0, p.a.rows);
        for (int64_t r = 0; r < 3; r++)
            for (int64_t d = 0; d < 5; d++) assert_true(y.p[r * p.a.y_row + d] == 0);
        ck_free(&y);
        release(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes),      cmocka_unit_test(huge_scores),
                                       cmocka_unit_test(masked_rows), cmocka_unit_test(nan_spreads),
                                       cmocka_unit_test(rows_alone),  cmocka_unit_test(scratch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
