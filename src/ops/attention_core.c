#include "ops/attention_internal.h"

#include "kernels/act.h"
#include "kernels/attention.h"
#include "kernels/eltwise.h"
#include "kernels/layout.h"
#include "ops/rowio.h"

#include <math.h>

/* Rows of a task: many, as keys are packed for each task, but some tasks for each sample. */
#define TASK_ROWS     256
#define TASK_ROWS_MIN 64
#define SAMPLE_TASKS  8

/* One query. */
typedef struct place {
    int64_t sample, head, row;
} place;

/* Keys [low, high) are those that the positions allow. */
static void visible(const tn_attention *a, const place *at, int64_t *low, int64_t *high) {
    int64_t offset = a->valid ? a->valid[at->sample] - a->q_len : a->past, p = at->row + offset;
    *low = 0;
    *high = a->kv_len;
    if (a->valid) *high = TN_MIN(*high, a->valid[at->sample]);
    if (a->causal) *high = TN_MIN(*high, p + 1);
    if (a->right >= 0 && a->right < a->kv_len) *high = TN_MIN(*high, p + a->right + 1);
    if (a->left >= 0 && a->left <= INT64_MAX / 2) *low = TN_MAX(*low, p - a->left);
    *high = TN_MAX(*high, (int64_t)0);
    *low = TN_MIN(*low, *high);
}

static bool has_range(const tn_attention *a) { return a->causal || a->left >= 0 || a->right >= 0 || a->valid; }

static int64_t scores_at(const tn_attention *a, const place *p) {
    return ((p->sample * a->q_heads + p->head) * a->q_len + p->row) * a->kv_len;
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

typedef struct core {
    const tn_attention *a;
    tern_cpu_tier tier;
    int64_t task_rows, slices; /* rows of a task at most; tasks for the rows that share keys */
    char *work;
    size_t work_step; /* bytes of one worker */
} core;

/* ---- float: between the steps of the kernel -------------------------------------------------------------------- */

/* What a task's hooks know: which sample, which head of keys. */
typedef struct task {
    const core *c;
    int64_t sample, kv_head;
} task;

static place place_of(const task *t, int64_t row) {
    const tn_attention *a = t->c->a;
    return (place){t->sample, t->kv_head * (a->q_heads / a->kv_heads) + row / a->q_len, row % a->q_len};
}

static void range_of_rows(void *context, int64_t row, int64_t rows, int64_t *low, int64_t *high) {
    const task *t = context;
    *low = INT64_MAX;
    *high = 0;
    for (int64_t i = row; i < row + rows; i++) {
        int64_t l, h;
        place p = place_of(t, i);
        visible(t->c->a, &p, &l, &h);
        *low = TN_MIN(*low, l);
        *high = TN_MAX(*high, h);
    }
}

static void take_scores(const task *t, const tn_attention_part *part, float *space) {
    for (int64_t i = 0; i < part->rows; i++) {
        place p = place_of(t, part->row + i);
        load_scores_f32(t->c->a, &p, part->key, part->keys, space + i * part->keys);
    }
    tn_layout_block_f32(t->c->tier, space, part->scores, 1, part->rows, part->keys, tn_attention_f32_width(t->c->tier),
                        1);
}

static void give_scores(const task *t, const tn_attention_part *part, tn_attention_scores kind, float *space) {
    const tn_attention *a = t->c->a;
    if (!a->scores_out || a->scores_kind != kind) return;
    tn_layout_unblock_f32(t->c->tier, part->scores, space, 1, part->rows, part->keys,
                          tn_attention_f32_width(t->c->tier), 1);
    for (int64_t i = 0; i < part->rows; i++) {
        place p = place_of(t, part->row + i);
        store_scores_f32(a, &p, part->key, part->keys, space + i * part->keys);
    }
}

static void cap_scores(const task *t, const tn_attention_part *part) {
    static const tn_act act = {.kind = TN_ACT_TANH};
    tern_cpu_tier tier = t->c->tier;
    float cap = (float)t->c->a->cap;
    size_t n = (size_t)(part->keys * tn_attention_f32_width(tier));
    tn_bin_f32(tier, TN_BIN_DIV, part->scores, 1, &cap, 0, part->scores, n);
    tn_act_f32(tier, &act, part->scores, part->scores, n);
    tn_bin_f32(tier, TN_BIN_MUL, part->scores, 1, &cap, 0, part->scores, n);
}

/* -INFINITY where the positions do not allow a key. */
static void cut_scores(const task *t, const tn_attention_part *part) {
    int width = tn_attention_f32_width(t->c->tier);
    for (int64_t i = 0; i < part->rows; i++) {
        int64_t low, high;
        place p = place_of(t, part->row + i);
        visible(t->c->a, &p, &low, &high);
        low = TN_MIN(low - part->key, part->keys);
        high = TN_MAX(high - part->key, (int64_t)0);
        for (int64_t k = 0; k < low; k++) part->scores[k * width + i] = -INFINITY;
        for (int64_t k = high; k < part->keys; k++) part->scores[k * width + i] = -INFINITY;
    }
}

static void mask_scores(const task *t, const tn_attention_part *part, float *space) {
    const tn_attention *a = t->c->a;
    int width = tn_attention_f32_width(t->c->tier);
    float *blocked = space + part->keys * width;
    bool alike = !has_range(a) && a->mask_step[2] == 0;
    for (int64_t i = 0; i < part->rows; i++) {
        place p = place_of(t, part->row + i);
        float *bias = space + i * part->keys;
        if (alike && i > 0 && (p.row > 0 || a->mask_step[1] == 0))
            memcpy(bias, bias - part->keys, (size_t)part->keys * sizeof *bias);
        else
            row_bias_f32(a, &p, part->key, part->keys, bias);
    }
    tn_layout_block_f32(t->c->tier, space, blocked, 1, part->rows, part->keys, width, 1);
    tn_attention_f32_mask(t->c->tier, blocked, part->scores, (size_t)(part->keys * width));
}

static void round_scores(const task *t, const tn_attention_part *part) {
    if (t->c->a->softmax_type)
        round_row_f32(t->c->a->softmax_type, part->scores, part->keys * tn_attention_f32_width(t->c->tier));
}

static void adjust(void *context, const tn_attention_part *part, float *space) {
    const task *t = context;
    const tn_attention *a = t->c->a;
    if (a->scores_in) take_scores(t, part, space);
    give_scores(t, part, TN_SCORES_RAW, space);
    if (a->no_softmax) return;
    if (a->cap > 0) cap_scores(t, part);
    give_scores(t, part, TN_SCORES_CAPPED, space);
    if (a->mask)
        mask_scores(t, part, space);
    else if (has_range(a))
        cut_scores(t, part);
    give_scores(t, part, TN_SCORES_BIASED, space);
    round_scores(t, part);
}

static void after(void *context, const tn_attention_part *part, float *space) {
    round_scores(context, part);
    give_scores(context, part, TN_SCORES_PROBABILITIES, space);
}

/* ---- float: tasks ---------------------------------------------------------------------------------------------- */

static bool is_half(tern_dtype t) { return t == TERN_FLOAT16 || t == TERN_BFLOAT16; }

/* The kernel's view of the problem, but for where the rows are. */
static tn_attention_f32 kernel_of(const tn_attention *a) {
    bool stores = a->scores_out && !(a->no_softmax && a->scores_kind != TN_SCORES_RAW);
    bool exact = !a->no_softmax && (is_half(a->softmax_type) || (stores && a->scores_kind == TN_SCORES_PROBABILITIES));
    tn_attention_f32 k = {.q_len = a->q_len,
                          .keys = a->kv_len,
                          .size = a->size,
                          .v_size = a->v_size,
                          .block = exact ? TN_MAX(a->kv_len, (int64_t)1) : tn_attention_f32_block(a->kv_len),
                          .q_head = a->q.head,
                          .q_row = a->q.row,
                          .k_row = a->k.row,
                          .v_row = a->v.row,
                          .y_head = a->y.head,
                          .y_row = a->y.row,
                          .scale = (float)a->scale,
                          .zero_masked = a->zero_masked,
                          .given = a->scores_in != NULL,
                          .no_softmax = a->no_softmax};
    if (stores || a->scores_in || a->cap > 0 || a->mask || has_range(a) || is_half(a->softmax_type)) k.adjust = adjust;
    if (exact) k.after = after;
    if (has_range(a) && !stores && !a->no_softmax) k.range = range_of_rows;
    return k;
}

static void task_f32(void *context, int64_t begin, int64_t end, int worker) {
    const core *c = context;
    const tn_attention *a = c->a;
    int64_t group = a->q_heads / a->kv_heads, rows = group * a->q_len;
    tn_attention_f32 k = kernel_of(a);
    for (int64_t i = begin; i < end; i++) {
        task t = {c, i / c->slices / a->kv_heads, i / c->slices % a->kv_heads};
        int64_t q = t.sample * a->q.sample + t.kv_head * group * a->q.head;
        int64_t y = t.sample * a->y.sample + t.kv_head * group * a->y.head;
        k.first = i % c->slices * c->task_rows;
        k.rows = TN_MIN(c->task_rows, rows - k.first);
        if (!k.given) k.q = (const float *)a->q.data + q;
        if (!k.given) k.k = (const float *)a->k.data + t.sample * a->k.sample + t.kv_head * a->k.head;
        if (!a->no_values) k.v = (const float *)a->v.data + t.sample * a->v.sample + t.kv_head * a->v.head;
        if (!a->no_values) k.y = (float *)(uintptr_t)a->y.data + y;
        k.sink = a->sink ? a->sink + t.kv_head * group : NULL;
        k.context = &t;
        tn_attention_f32_run(c->tier, &k, c->work + (size_t)worker * c->work_step);
    }
}

/* ---- double ---------------------------------------------------------------------------------------------------- */

static const double *row_of(const tn_attention_view *v, int64_t sample, int64_t head, int64_t row) {
    return (const double *)v->data + sample * v->sample + head * v->head + row * v->row;
}

static void softmax_f64(const tn_attention *a, const place *p, double *x) {
    int64_t n = a->kv_len;
    double top = a->sink ? (double)a->sink[p->head] : -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) top = x[j] > top ? x[j] : top;
    if (top == -INFINITY && a->zero_masked) {
        memset(x, 0, (size_t)n * sizeof *x);
        return;
    }
    if (a->sink) sum = exp((double)a->sink[p->head] - top);
    for (int64_t j = 0; j < n; j++) sum += x[j] = exp(x[j] - top);
    for (int64_t j = 0; j < n; j++) x[j] /= sum;
}

static void scores_f64(const tn_attention *a, const place *p, int64_t kv_head, double *x) {
    const double *q = row_of(&a->q, p->sample, p->head, p->row);
    for (int64_t j = 0; j < a->kv_len; j++) {
        const double *k = row_of(&a->k, p->sample, kv_head, j);
        double sum = 0;
        for (int64_t i = 0; i < a->size; i++) sum += q[i] * k[i];
        x[j] = sum * a->scale;
    }
}

/* From the raw scores of a row to its probabilities. */
static void score_row_f64(const tn_attention *a, const place *p, double *x, double *bias) {
    int64_t n = a->kv_len;
    for (int kind = TN_SCORES_RAW; kind < TN_SCORES_COUNT; kind++) {
        if (kind == TN_SCORES_CAPPED && a->cap > 0)
            for (int64_t j = 0; j < n; j++) x[j] = tanh(x[j] / a->cap) * a->cap;
        if (kind == TN_SCORES_BIASED && (a->mask || has_range(a))) {
            row_bias_f64(a, p, 0, n, bias);
            for (int64_t j = 0; j < n; j++) x[j] = bias[j] == -INFINITY ? -INFINITY : x[j] + bias[j];
        }
        if (kind == TN_SCORES_PROBABILITIES) {
            if (a->softmax_type) round_row_f64(a->softmax_type, x, n);
            softmax_f64(a, p, x);
            if (a->softmax_type) round_row_f64(a->softmax_type, x, n);
        }
        if (a->scores_out && a->scores_kind == (tn_attention_scores)kind) store_scores_f64(a, p, 0, n, x);
        if (a->no_softmax) return;
    }
}

static void task_f64(void *context, int64_t begin, int64_t end, int worker) {
    const core *c = context;
    const tn_attention *a = c->a;
    double *x = (double *)(void *)(c->work + (size_t)worker * c->work_step);
    for (int64_t i = begin; i < end; i++) {
        place p = {i / a->q_len / a->q_heads, i / a->q_len % a->q_heads, i % a->q_len};
        int64_t kv_head = p.head / (a->q_heads / a->kv_heads);
        if (a->scores_in)
            load_scores_f64(a, &p, 0, a->kv_len, x);
        else
            scores_f64(a, &p, kv_head, x);
        if (!a->scores_in || !a->no_softmax) score_row_f64(a, &p, x, x + a->kv_len);
        if (a->no_values) continue;
        double *y = (double *)(uintptr_t)row_of(&a->y, p.sample, p.head, p.row);
        memset(y, 0, (size_t)a->v_size * sizeof *y);
        for (int64_t j = 0; j < a->kv_len; j++) {
            const double *v = row_of(&a->v, p.sample, kv_head, j);
            for (int64_t d = 0; d < a->v_size; d++) y[d] += x[j] * v[d];
        }
    }
}

/* ---- attention ------------------------------------------------------------------------------------------------- */

/* Returns the number of tasks. The shape of a sample decides how its rows are cut. */
static int64_t plan_tasks(const tn_attention *a, tern_cpu_tier tier, core *c) {
    if (a->batch == 0 || a->q_heads == 0 || a->q_len == 0) return 0;
    if (a->wide) return a->batch * a->q_heads * a->q_len;
    int64_t rows = a->q_heads / a->kv_heads * a->q_len, band = 2 * tn_attention_f32_width(tier);
    int64_t some = TN_MIN(tn_ceil_div(SAMPLE_TASKS, a->kv_heads), tn_ceil_div(rows, TASK_ROWS_MIN));
    int64_t slices = TN_MAX(tn_ceil_div(rows, TASK_ROWS), some);
    c->task_rows = tn_round_up(tn_ceil_div(rows, slices), band);
    c->slices = tn_ceil_div(rows, c->task_rows);
    return a->batch * a->kv_heads * c->slices;
}

/* Bytes of one worker; SIZE_MAX on overflow. */
static size_t worker_bytes(const tn_attention *a, tern_cpu_tier tier, const core *c) {
    float some;
    size_t bytes;
    if (a->wide)
        return tn_mul_size((size_t)a->kv_len, 2 * sizeof(double), &bytes) && bytes < SIZE_MAX / 2
                   ? (size_t)tn_round_up((int64_t)bytes, 64)
                   : SIZE_MAX;
    tn_attention_f32 k = kernel_of(a);
    k.rows = c->task_rows;
    k.y = a->no_values ? NULL : &some;
    return tn_attention_f32_workspace(tier, &k);
}

size_t tn_ops_attention_workspace(const tn_attention *a, tern_cpu_tier tier, int threads) {
    core c = {.a = a};
    int64_t tasks = plan_tasks(a, tier, &c);
    if (tasks == 0) return 0;
    size_t one = worker_bytes(a, tier, &c), bytes;
    return tn_mul_size(one, (size_t)TN_MIN((int64_t)threads, tasks), &bytes) && bytes < SIZE_MAX / 2 ? bytes : SIZE_MAX;
}

void tn_ops_attention(const tn_attention *a, tern_cpu_tier tier, int threads, void *workspace) {
    core c = {.a = a, .tier = tier, .work = workspace};
    int64_t tasks = plan_tasks(a, tier, &c);
    if (tasks == 0) return;
    c.work_step = worker_bytes(a, tier, &c);
    tn_parallel_for((int)TN_MIN((int64_t)threads, tasks), tasks, a->wide ? task_f64 : task_f32, &c);
}

tern_status tn_ops_attention_alloc(const tn_attention *a, tern_cpu_tier tier, int threads, tern_error *err) {
    size_t bytes = tn_ops_attention_workspace(a, tier, threads);
    void *work = bytes < SIZE_MAX ? tn_alloc_aligned(TN_MAX(bytes, 1), 64) : NULL;
    if (!work) return tn_fail_oom(err, bytes);
    tn_ops_attention(a, tier, threads, work);
    tn_free(work);
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
