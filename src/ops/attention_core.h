/* Rows of scores in one type; included by attention_core.c with REAL, FN, LOAD and STORE defined. */

/* What is added to the scores of keys [k0, k0 + n) of a row, -INFINITY where a key is masked. */
static void FN(row_bias)(const tn_attention *a, const place *p, int64_t k0, int64_t n, REAL *bias) {
    int64_t low, high;
    visible(a, p, &low, &high);
    low = TN_MIN(TN_MAX(low, k0), k0 + n);
    high = TN_MAX(TN_MIN(high, k0 + n), low);
    int64_t end = a->mask ? TN_MAX(TN_MIN(high, a->mask_keys), low) : high;
    for (int64_t j = k0; j < low; j++) bias[j - k0] = -INFINITY;
    for (int64_t j = end; j < k0 + n; j++) bias[j - k0] = -INFINITY;
    bias += low - k0;
    n = end - low;
    if (!a->mask || n == 0) {
        for (int64_t j = 0; j < n; j++) bias[j] = 0;
        return;
    }
    int64_t at = p->sample * a->mask_step[0] + p->head * a->mask_step[1] + p->row * a->mask_step[2],
            s = a->mask_step[3];
    if (a->mask->dtype == TERN_BOOL) {
        const uint8_t *m = (const uint8_t *)a->mask->data + at + low * s;
        for (int64_t j = 0; j < n; j++) bias[j] = m[j * s] ? 0 : -INFINITY;
    } else if (s) {
        LOAD(a->mask->dtype, a->mask->data, at + low, n, bias);
    } else {
        LOAD(a->mask->dtype, a->mask->data, at, 1, bias);
        for (int64_t j = 1; j < n; j++) bias[j] = bias[0];
    }
}

static void FN(round_row)(tern_dtype type, REAL *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (type == TERN_FLOAT16) x[i] = (REAL)tn_f16_to_f32(tn_f32_to_f16((float)x[i]));
        if (type == TERN_BFLOAT16) x[i] = (REAL)tn_bf16_to_f32(tn_f32_to_bf16((float)x[i]));
        if (type == TERN_FLOAT) x[i] = (REAL)(float)x[i];
    }
}

static void FN(load_scores)(const tn_attention *a, const place *p, int64_t k0, int64_t n, REAL *x) {
    LOAD(a->scores_in->dtype, a->scores_in->data, scores_at(a, p) + k0, n, x);
}

static void FN(store_scores)(const tn_attention *a, const place *p, int64_t k0, int64_t n, const REAL *x) {
    STORE(a->scores_out->dtype, a->scores_out->data, scores_at(a, p) + k0, n, x);
}
