/* Where the heads of a tensor are. */
#include "ops/attention_internal.h"

#define LETTERS_MAX 16

/* The letters of a layout in order, and the dim that each belongs to. */
typedef struct letters {
    char at[LETTERS_MAX];
    int dim[LETTERS_MAX];
    int count, rank;
} letters;

static bool seen(const letters *l, char c) { return memchr(l->at, c, (size_t)l->count) != NULL; }

static bool parse(tn_str text, letters *l) {
    bool inside = false;
    *l = (letters){.count = 0};
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '(' || c == ')') {
            if ((c == ')') != inside) return false;
            inside = !inside;
            if (!inside) l->rank++;
            continue;
        }
        if (l->count == LETTERS_MAX || !memchr("BHLDP1", c, 6) || (c != '1' && seen(l, c))) return false;
        l->at[l->count] = c;
        l->dim[l->count++] = l->rank;
        if (!inside) l->rank++;
    }
    return !inside && seen(l, 'H') && seen(l, 'L') && l->count > 0 && l->at[l->count - 1] == 'D' &&
           l->rank <= TERN_MAX_RANK;
}

static int64_t *size_of(tn_attention_heads *h, char letter, int64_t *one) {
    return letter == 'B'   ? &h->batch
           : letter == 'H' ? &h->heads
           : letter == 'L' ? &h->length
           : letter == 'D' ? &h->size
           : letter == 'P' ? &h->parts
                           : one;
}

/* The one size of dim d that is not known from the others, if there is one. */
static tern_status solve_dim(const letters *l, int d, int64_t dim, const char *what, tn_attention_heads *h,
                             tern_error *err) {
    int64_t product = 1, one = 1, *open = NULL;
    for (int i = 0; i < l->count; i++) {
        if (l->dim[i] != d) continue;
        int64_t *size = size_of(h, l->at[i], &one);
        if (tn_dim_known(*size)) {
            if (!tn_mul_i64(product, *size, &product)) product = 0;
        } else if (open) {
            return tn_fail(err, TERN_INVALID_MODEL, "the layout of %s has two unknown sizes in dim %d", what, d);
        } else {
            open = size;
        }
    }
    if (open && product == 1) *open = dim;
    if (!tn_dim_known(dim)) return TERN_OK;
    if (open && product > 0 && dim % product == 0) {
        *open = dim / product;
        return TERN_OK;
    }
    if (!open && product == dim) return TERN_OK;
    return tn_fail(err, TERN_SHAPE_MISMATCH, "%lld elements of %s in dim %d do not fit %lld heads", (long long)dim,
                   what, d, (long long)h->heads);
}

static tern_status bad_layout(tn_str text, const char *what, tern_error *err) {
    return tn_fail(err, TERN_INVALID_MODEL, "the layout '%.*s' of %s is not one", (int)TN_MIN(text.len, 32u), text.data,
                   what);
}

tern_status tn_attention_heads_of(tn_str layout, const tn_shape *s, int64_t heads, int64_t parts, const char *what,
                                  tn_attention_heads *h, tern_error *err) {
    letters l;
    if (!parse(layout, &l)) return bad_layout(layout, what, err);
    if (s->rank != l.rank) return tn_fail(err, TERN_SHAPE_MISMATCH, "%s has rank %d, not %d", what, s->rank, l.rank);
    *h = (tn_attention_heads){.batch = seen(&l, 'B') ? TN_DIM_UNKNOWN : 1,
                              .heads = heads > 0 ? heads : TN_DIM_UNKNOWN,
                              .length = TN_DIM_UNKNOWN,
                              .size = TN_DIM_UNKNOWN,
                              .parts = seen(&l, 'P') ? parts : 1};
    for (int d = 0; d < l.rank; d++) TN_TRY(solve_dim(&l, d, s->dims[d], what, h, err));
    int64_t step = 1, one = 1, part = 0, *steps[] = {&h->sample, &h->head, &h->row};
    for (int i = l.count - 1; i >= 0; i--) {
        int64_t size = *size_of(h, l.at[i], &one);
        for (int k = 0; k < 3; k++)
            if (l.at[i] == "BHL"[k]) *steps[k] = step;
        if (l.at[i] == 'P') part = step;
        if (!tn_dim_known(size)) break; /* steps are of use only when all is known */
        if (!tn_mul_i64(step, size, &step)) break;
    }
    h->part = part;
    return TERN_OK;
}

tern_status tn_attention_shape_of(tn_str layout, const tn_attention_heads *h, const char *what, tn_shape *s,
                                  tern_error *err) {
    letters l;
    tn_attention_heads copy = *h;
    int64_t one = 1;
    if (!parse(layout, &l) || seen(&l, 'P') || (!seen(&l, 'B') && tn_dim_known(h->batch) && h->batch != 1))
        return bad_layout(layout, what, err);
    *s = (tn_shape){.rank = l.rank};
    for (int d = 0; d < l.rank; d++) s->dims[d] = 1;
    for (int i = 0; i < l.count; i++) {
        int64_t size = *size_of(&copy, l.at[i], &one), *dim = &s->dims[l.dim[i]];
        if (*dim == 1) {
            *dim = size;
        } else if (size != 1) {
            if (!tn_dim_known(*dim) || !tn_dim_known(size))
                *dim = TN_DIM_UNKNOWN;
            else if (!tn_mul_i64(*dim, size, dim))
                return tn_fail(err, TERN_LIMIT_EXCEEDED, "%lld heads of %lld elements", (long long)h->heads,
                               (long long)h->size);
        }
    }
    return TERN_OK;
}
