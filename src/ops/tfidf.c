/* TfIdfVectorizer: counts n-grams of a vocabulary, with gaps between their items.
 *
 * Items (integers or strings) become numbers first, 0 for those which occur in no n-gram; n-grams are then found in a
 * hash table, so that the cost is one look-up per position, length and gap whatever the size of the vocabulary. */
#include "ops/args.h"

typedef struct gram {
    const int64_t *items;         /* of `length` */
    int64_t length, column, next; /* next: in the chain of its bucket, + 1 */
    float weight;
} gram;

typedef struct vocabulary {
    tn_arena arena;
    tn_map ids; /* item's bytes -> id */
    int64_t *pool;
    gram *grams;
    int64_t n_grams, columns;
    int64_t *buckets; /* gram + 1; n_buckets is a power of 2 */
    size_t n_buckets;
    int64_t min, max, skips;
    bool idf, weighted;
} vocabulary;

static tern_status infer_tfidf(tn_infer *c) {
    size_t n_columns, n_ints, n_strings, n_counts;
    const int64_t *columns = tn_attr_ints(c->node, "ngram_indexes", &n_columns);
    const int64_t *counts = tn_attr_ints(c->node, "ngram_counts", &n_counts);
    tn_attr_ints(c->node, "pool_int64s", &n_ints);
    tn_attr_strings(c->node, "pool_strings", &n_strings);
    if ((n_ints > 0) == (n_strings > 0))
        return tn_infer_fail(c, TERN_INVALID_MODEL, "one of pool_int64s and pool_strings is needed");
    TN_TRY(tn_args_need(c, 0, n_strings ? TN_T(STRING) : TN_T(INT32) | TN_T(INT64)));
    int64_t last = -1, min = tn_attr_i(c->node, "min_gram_length", 0), max = tn_attr_i(c->node, "max_gram_length", 0);
    for (size_t i = 0; i < n_columns; i++) {
        if (columns[i] < 0 || columns[i] > INT32_MAX)
            return tn_infer_fail(c, TERN_INVALID_MODEL, "ngram_indexes[%zu] is %lld", i, (long long)columns[i]);
        last = TN_MAX(last, columns[i]);
    }
    for (size_t i = 0; i < n_counts; i++)
        if (counts[i] < (i ? counts[i - 1] : 0) || counts[i] > (int64_t)(n_ints + n_strings))
            return tn_infer_fail(c, TERN_INVALID_MODEL, "ngram_counts[%zu] is %lld in a pool of %zu items", i,
                                 (long long)counts[i], n_ints + n_strings);
    if (min < 1 || max < min || max > (int64_t)n_counts || tn_attr_i(c->node, "max_skip_count", 0) < 0 || last < 0)
        return tn_infer_fail(c, TERN_INVALID_MODEL,
                             "n-grams of length %lld to %lld with %zu ngram_counts, %zu ngram_indexes, %lld skips",
                             (long long)min, (long long)max, n_counts, n_columns,
                             (long long)tn_attr_i(c->node, "max_skip_count", 0));
    tn_shape s;
    if (!tn_args_shape(c, 0, &s)) {
        tn_infer_out(c, 0, TERN_FLOAT, NULL);
        return TERN_OK;
    }
    if (s.rank < 1 || s.rank > 2)
        return tn_infer_fail(c, TERN_SHAPE_MISMATCH, "an input of rank %d where 1 or 2 is needed", s.rank);
    s.dims[s.rank - 1] = last + 1;
    return tn_args_out_shape(c, 0, TERN_FLOAT, &s);
}

static tn_str item_bytes(const void *ints, const tn_str *strings, size_t i) {
    return strings ? strings[i] : (tn_str){(const char *)ints + i * sizeof(int64_t), sizeof(int64_t)};
}

static tern_status number_items(tn_run *c, vocabulary *v, size_t *n_items) {
    size_t n_ints, n_strings;
    const int64_t *ints = tn_attr_ints(c->node, "pool_int64s", &n_ints);
    const tn_str *strings = tn_attr_strings(c->node, "pool_strings", &n_strings);
    size_t n = n_ints + n_strings, used = 0;
    v->pool = tn_arena_array(&v->arena, n + 1, sizeof *v->pool);
    if (!v->pool) return tn_fail_oom(c->err, n * sizeof *v->pool);
    for (size_t i = 0; i < n; i++) {
        tn_str key = item_bytes(ints, strings, i);
        size_t id = (size_t)(uintptr_t)tn_map_get(&v->ids, key);
        if (!id && !tn_map_put(&v->ids, key, (void *)(uintptr_t)(id = ++used))) return tn_fail_oom(c->err, key.len);
        v->pool[i] = (int64_t)id;
    }
    *n_items = n;
    return TERN_OK;
}

static uint64_t gram_hash(const int64_t *items, int64_t length) {
    return tn_hash(items, (size_t)length * sizeof *items, (uint64_t)length);
}

/* The n-grams of each length stand one after the other in the pool; ngram_counts tells where each length begins. */
static tern_status list_grams(tn_run *c, vocabulary *v, size_t n_items) {
    size_t n_counts, n_columns, n_weights;
    const int64_t *counts = tn_attr_ints(c->node, "ngram_counts", &n_counts);
    const int64_t *columns = tn_attr_ints(c->node, "ngram_indexes", &n_columns);
    const float *weights = tn_attr_floats(c->node, "weights", &n_weights);
    v->grams = tn_arena_array(&v->arena, n_columns + 1, sizeof *v->grams);
    for (v->n_buckets = 16; v->n_buckets < 2 * n_columns;) v->n_buckets *= 2;
    v->buckets = tn_arena_array(&v->arena, v->n_buckets, sizeof *v->buckets);
    if (!v->grams || !v->buckets) return tn_fail_oom(c->err, n_columns * sizeof *v->grams);
    for (size_t k = 0; k < n_counts; k++) {
        int64_t length = (int64_t)k + 1, end = k + 1 < n_counts ? counts[k + 1] : (int64_t)n_items;
        for (int64_t at = counts[k]; at + length <= end; at += length) {
            if (v->n_grams >= (int64_t)n_columns)
                return tn_run_fail(c, TERN_INVALID_MODEL, "the pool holds more n-grams than ngram_indexes, %zu",
                                   n_columns);
            gram *g = &v->grams[v->n_grams];
            *g = (gram){.items = v->pool + at, .length = length, .column = columns[v->n_grams], .weight = 1};
            if (v->n_grams < (int64_t)n_weights) g->weight = weights[v->n_grams];
            int64_t *bucket = &v->buckets[gram_hash(g->items, length) & (v->n_buckets - 1)];
            g->next = *bucket;
            *bucket = ++v->n_grams;
        }
    }
    return TERN_OK;
}

static const gram *find_gram(const vocabulary *v, const int64_t *items, int64_t length) {
    for (int64_t i = v->buckets[gram_hash(items, length) & (v->n_buckets - 1)]; i; i = v->grams[i - 1].next) {
        const gram *g = &v->grams[i - 1];
        if (g->length == length && memcmp(g->items, items, (size_t)length * sizeof *items) == 0) return g;
    }
    return NULL;
}

/* Counts the n-grams of one row. `window`: max items. */
static void count_row(const vocabulary *v, const int64_t *row, int64_t n, int64_t *window, float *out) {
    for (int64_t gap = 0; gap <= v->skips && gap < TN_MAX(n, (int64_t)1); gap++) {
        for (int64_t start = 0; start < n; start++) {
            for (int64_t length = 1; length <= v->max; length++) {
                int64_t at = start + (length - 1) * (gap + 1);
                if (at >= n || row[at] == 0) break;
                window[length - 1] = row[at];
                if (length < v->min || (length == 1 && gap > 0)) continue;
                const gram *g = find_gram(v, window, length);
                if (!g) continue;
                float *y = &out[g->column];
                *y = v->idf ? g->weight : *y + (v->weighted ? g->weight : 1);
            }
        }
    }
}

static void number_row(const vocabulary *v, const tern_tensor *x, int64_t first, int64_t n, int64_t *row) {
    for (int64_t i = 0; i < n; i++) {
        int64_t value = x->dtype == TERN_STRING ? 0 : tn_tensor_get_i64(x, first + i);
        tn_str key = {(const char *)&value, sizeof value};
        if (x->dtype == TERN_STRING) {
            tern_string s = ((const tern_string *)x->data)[first + i];
            key = (tn_str){s.data, s.len};
        }
        row[i] = (int64_t)(uintptr_t)tn_map_get(&v->ids, key);
    }
}

static tern_status count_all(tn_run *c, vocabulary *v) {
    const tern_tensor *x = c->in[0];
    int64_t n = x->shape.dims[x->shape.rank - 1], rows = x->shape.rank == 2 ? x->shape.dims[0] : 1;
    tern_tensor *y = c->out[0];
    int64_t columns = y->shape.dims[y->shape.rank - 1];
    int64_t *row = tn_arena_array(&v->arena, (size_t)n + 1, sizeof *row);
    int64_t *window = tn_arena_array(&v->arena, (size_t)v->max + 1, sizeof *window);
    if (!row || !window) return tn_fail_oom(c->err, (size_t)n * sizeof *row);
    if (tn_tensor_bytes(y)) memset(y->data, 0, tn_tensor_bytes(y));
    for (int64_t r = 0; r < rows; r++) {
        number_row(v, x, r * n, n, row);
        count_row(v, row, n, window, (float *)y->data + r * columns);
    }
    return TERN_OK;
}

static tern_status run_tfidf(tn_run *c) {
    vocabulary v = {.min = tn_attr_i(c->node, "min_gram_length", 1),
                    .max = tn_attr_i(c->node, "max_gram_length", 1),
                    .skips = tn_attr_i(c->node, "max_skip_count", 0),
                    .idf = tn_attr_is(c->node, "mode", "TF", "IDF"),
                    .weighted = tn_attr_is(c->node, "mode", "TF", "TFIDF")};
    size_t n_items = 0;
    tn_arena_init(&v.arena, 0);
    tern_status s = number_items(c, &v, &n_items);
    if (s == TERN_OK) s = list_grams(c, &v, n_items);
    if (s == TERN_OK) s = count_all(c, &v);
    tn_map_release(&v.ids);
    tn_arena_release(&v.arena);
    return s;
}

const tn_op tn_op_tfidf = TN_ARGS_OP(infer_tfidf, run_tfidf, 1, 1, 1, 1, 0);
