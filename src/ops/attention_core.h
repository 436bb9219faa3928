/* The body of attention for one element type; included by attention_core.c with REAL and FN defined.
 *
 * A task is a tile of rows of one head: scores, softmax and values of the tile stay in cache, and what is computed
 * depends on the shape alone. */

typedef struct FN(worker) {
    REAL *scores, *bias; /* TILE * kv_len, kv_len */
    void *gemm;
} FN(worker);

/* scores = scale * q k^T of `rows` rows. */
static void FN(tile_scores)(const core *c, const tile *t, const FN(worker) * w) {
    const tn_attention *a = c->a;
    const REAL *q = (const REAL *)a->q.data + t->sample * a->q.sample + t->head * a->q.head + t->row * a->q.row;
    const REAL *k = (const REAL *)a->k.data + t->sample * a->k.sample + t->kv_head * a->k.head;
    strides s = {.m = t->rows,
                 .n = a->kv_len,
                 .k = a->size,
                 .a_rs = a->q.row,
                 .b_rs = 1,
                 .b_cs = a->k.row,
                 .ldc = a->kv_len,
                 .alpha = a->scale};
    FN(product)(c->tier, &s, q, k, w->scores, w->gemm);
}

static void FN(tile_values)(const core *c, const tile *t, const FN(worker) * w) {
    const tn_attention *a = c->a;
    const REAL *v = (const REAL *)a->v.data + t->sample * a->v.sample + t->kv_head * a->v.head;
    REAL *y = (REAL *)(uintptr_t)a->y.data + t->sample * a->y.sample + t->head * a->y.head + t->row * a->y.row;
    strides s = {.m = t->rows,
                 .n = a->v_size,
                 .k = a->kv_len,
                 .a_rs = a->kv_len,
                 .b_rs = a->v.row,
                 .b_cs = 1,
                 .ldc = a->y.row,
                 .alpha = 1};
    FN(product)(c->tier, &s, w->scores, v, y, w->gemm);
}

static void FN(read)(const tern_tensor *t, int64_t at, int64_t n, REAL *dst) { LOAD(t->dtype, t->data, at, n, dst); }

/* What is added to the scores of a row, -INFINITY where a key is masked. False when every key is. */
static bool FN(row_bias)(const core *c, const tile *t, int64_t row, REAL *bias) {
    const tn_attention *a = c->a;
    int64_t low, high, n = a->kv_len;
    visible(a, t->sample, row, &low, &high);
    bool any = false;
    for (int64_t j = 0; j < low; j++) bias[j] = -INFINITY;
    for (int64_t j = high; j < n; j++) bias[j] = -INFINITY;
    if (!a->mask) {
        for (int64_t j = low; j < high; j++) bias[j] = 0;
        return low < high;
    }
    int64_t at = t->sample * a->mask_step[0] + t->head * a->mask_step[1] + row * a->mask_step[2];
    int64_t end = TN_MIN(high, a->mask_keys);
    for (int64_t j = TN_MAX(low, end); j < high; j++) bias[j] = -INFINITY;
    if (a->mask->dtype == TERN_BOOL) {
        const uint8_t *m = (const uint8_t *)a->mask->data + at;
        for (int64_t j = low; j < end; j++) bias[j] = m[j * a->mask_step[3]] ? 0 : -INFINITY;
    } else if (a->mask_step[3]) {
        if (low < end) FN(read)(a->mask, at + low, end - low, bias + low);
    } else {
        REAL one;
        FN(read)(a->mask, at, 1, &one);
        for (int64_t j = low; j < end; j++) bias[j] = one;
    }
    for (int64_t j = low; j < end; j++) any = any || bias[j] != -INFINITY;
    return any;
}

static void FN(round_row)(tern_dtype type, REAL *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (type == TERN_FLOAT16) x[i] = (REAL)tn_f16_to_f32(tn_f32_to_f16((float)x[i]));
        if (type == TERN_BFLOAT16) x[i] = (REAL)tn_bf16_to_f32(tn_f32_to_bf16((float)x[i]));
        if (type == TERN_FLOAT) x[i] = (REAL)(float)x[i];
    }
}

static void FN(softmax_row)(const core *c, const float *sink, REAL *x, int64_t n) {
    REAL top = sink ? (REAL)*sink : -INFINITY;
    double sum = 0;
    for (int64_t j = 0; j < n; j++) top = x[j] > top ? x[j] : top;
    if (top == -INFINITY && c->a->zero_masked) {
        memset(x, 0, (size_t)n * sizeof *x);
        return;
    }
    if (top == INFINITY) top = 0; /* inf - inf is not a number either way; keeps exp's argument defined */
    for (int64_t j = 0; j < n; j++) x[j] -= top;
    FN(exp)(c, x, n);
    if (sink) sum = exp((double)*sink - (double)top);
    for (int64_t j = 0; j < n; j++) sum += (double)x[j];
    REAL scale = (REAL)(1 / sum);
    for (int64_t j = 0; j < n; j++) x[j] *= scale;
}

static void FN(store_scores)(const core *c, const tile *t, int64_t row, const REAL *x) {
    const tn_attention *a = c->a;
    tern_tensor *out = a->scores_out;
    if (!out) return;
    int64_t at = ((t->sample * a->q_heads + t->head) * a->q_len + row) * a->kv_len;
    STORE(out->dtype, out->data, at, a->kv_len, x);
}

/* From the raw scores of a row to its probabilities. */
static void FN(score_row)(const core *c, const tile *t, int64_t row, REAL *x, REAL *bias) {
    const tn_attention *a = c->a;
    int64_t n = a->kv_len;
    tn_attention_scores kind = a->scores_kind;
    if (kind == TN_SCORES_RAW) FN(store_scores)(c, t, row, x);
    if (a->no_softmax) return;
    if (a->cap > 0) FN(cap)(c, x, n);
    if (kind == TN_SCORES_CAPPED) FN(store_scores)(c, t, row, x);
    bool any = true;
    if (c->has_bias) {
        any = FN(row_bias)(c, t, row, bias);
        for (int64_t j = 0; j < n; j++) x[j] = bias[j] == -INFINITY ? -INFINITY : x[j] + bias[j];
    }
    if (kind == TN_SCORES_BIASED) FN(store_scores)(c, t, row, x);
    if (!any && a->zero_masked) {
        memset(x, 0, (size_t)n * sizeof *x);
    } else {
        if (a->softmax_type) FN(round_row)(a->softmax_type, x, n);
        FN(softmax_row)(c, a->sink ? a->sink + t->head : NULL, x, n);
        if (a->softmax_type) FN(round_row)(a->softmax_type, x, n);
    }
    if (kind == TN_SCORES_PROBABILITIES) FN(store_scores)(c, t, row, x);
}

static void FN(task)(void *context, int64_t begin, int64_t end, int worker) {
    const core *c = context;
    const tn_attention *a = c->a;
    char *mine = c->work + (size_t)worker * c->work_step;
    FN(worker) w = {.scores = (REAL *)(mine + c->gemm_bytes), .gemm = mine};
    w.bias = w.scores + TILE * a->kv_len;
    for (int64_t i = begin; i < end; i++) {
        tile t = tile_at(c, i);
        if (a->scores_in) {
            int64_t at = ((t.sample * a->q_heads + t.head) * a->q_len + t.row) * a->kv_len;
            FN(read)(a->scores_in, at, t.rows * a->kv_len, w.scores);
        } else {
            FN(tile_scores)(c, &t, &w);
        }
        if (!a->scores_in || !a->no_softmax)
            for (int64_t r = 0; r < t.rows; r++) FN(score_row)(c, &t, t.row + r, w.scores + r * a->kv_len, w.bias);
        if (!a->no_values) FN(tile_values)(c, &t, &w);
    }
}
