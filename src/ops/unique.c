/* Unique: the different elements of a tensor, or its different slices along an axis. */
#include "ops/args.h"
#include "ops/keys.h"
#include "ops/rowio.h"

#include <stdlib.h>

#define UNIQUE_TYPES (TN_TYPES_NUMERIC | TN_T(STRING) | TN_T(BOOL) | TN_T(COMPLEX64) | TN_T(COMPLEX128))

static tern_status infer_unique(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, UNIQUE_TYPES));
    tn_shape s, list = tn_args_unknown_dims(1);
    bool flat = !tn_attr_find(c->node, "axis");
    if (flat) {
        tn_infer_out(c, 0, c->in[0]->dtype, &list);
    } else if (tn_args_shape(c, 0, &s)) {
        int axis;
        TN_TRY(tn_infer_axis(c, tn_attr_i(c->node, "axis", 0), s.rank, &axis, "axis"));
        s.dims[axis] = TN_DIM_UNKNOWN;
        tn_infer_out(c, 0, c->in[0]->dtype, &s);
    } else {
        tn_infer_out(c, 0, c->in[0]->dtype, NULL);
    }
    for (int o = 1; o < 4; o++) tn_infer_out(c, o, TERN_INT64, &list);
    return TERN_OK;
}

/* The slices along the axis, with what is needed to compare them. */
typedef struct slices {
    const tern_tensor *x;
    tn_rows r;
} slices;

/* A key is in the order of the numbers, and equal for equal ones; `of` points to the slices where they are more than
 * a number each. The index is the position along the axis. */

static int compare_elements(const tern_tensor *t, int64_t i, int64_t j) {
    if (t->dtype == TERN_STRING) {
        const tern_string *a = (const tern_string *)t->data + i, *b = (const tern_string *)t->data + j;
        size_t n = TN_MIN(a->len, b->len);
        int order = n ? memcmp(a->data, b->data, n) : 0;
        return order ? order : a->len < b->len ? -1 : a->len > b->len;
    }
    if (t->dtype == TERN_UINT64) {
        uint64_t a = ((const uint64_t *)t->data)[i], b = ((const uint64_t *)t->data)[j];
        return a < b ? -1 : a > b;
    }
    if (!tn_type_in(t->dtype, TN_TYPES_FLOAT)) {
        int64_t a, b;
        tn_row_load_i64(t->dtype, t->data, i, 1, &a);
        tn_row_load_i64(t->dtype, t->data, j, 1, &b);
        return a < b ? -1 : a > b;
    }
    /* Complex numbers by their real parts, then by the imaginary ones. */
    bool complex = t->dtype == TERN_COMPLEX64 || t->dtype == TERN_COMPLEX128;
    tern_dtype part = t->dtype == TERN_COMPLEX64 ? TERN_FLOAT : complex ? TERN_DOUBLE : t->dtype;
    int64_t parts = complex ? 2 : 1;
    for (int64_t k = 0; k < parts; k++) {
        double a, b;
        tn_row_load_f64(part, t->data, i * parts + k, 1, &a);
        tn_row_load_f64(part, t->data, j * parts + k, 1, &b);
        if (a != a || b != b) return (a != a) - (b != b); /* NaN last, all alike */
        if (a != b) return a < b ? -1 : 1;
    }
    return 0;
}

static int compare_slices(const slices *s, int64_t i, int64_t j) {
    for (int64_t o = 0; o < s->r.outer; o++)
        for (int64_t k = 0; k < s->r.inner; k++) {
            int64_t base = o * s->r.dim * s->r.inner + k;
            int order = compare_elements(s->x, base + i * s->r.inner, base + j * s->r.inner);
            if (order) return order;
        }
    return 0;
}

/* By content, then by position. */
static int compare_refs(const void *x, const void *y) {
    const tn_key_item *a = x, *b = y;
    int order = compare_slices(a->of, a->index, b->index);
    return order ? order : a->index < b->index ? -1 : a->index > b->index;
}

/* ---- slices of one number -------------------------------------------------------------------------------------- */

static bool has_keys(const slices *s) {
    tern_dtype t = s->x->dtype;
    return s->r.outer == 1 && s->r.inner == 1 && t != TERN_STRING && t != TERN_COMPLEX64 && t != TERN_COMPLEX128;
}

/* NaN last, all alike; -0 equals 0. */
static uint64_t key_of_double(double v) {
    const uint64_t sign = (uint64_t)1 << 63;
    uint64_t bits;
    if (v != v) return UINT64_MAX;
    v += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &v, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

static void load_keys(const tern_tensor *x, int64_t n, tn_key_item *refs) {
    enum { CHUNK = 256 };
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t m = TN_MIN((int64_t)CHUNK, n - i), whole[CHUNK];
        double real[CHUNK];
        bool is_real = tn_type_in(x->dtype, TN_TYPES_FLOAT), is_u64 = x->dtype == TERN_UINT64;
        if (is_real)
            tn_row_load_f64(x->dtype, x->data, i, m, real);
        else if (!is_u64)
            tn_row_load_i64(x->dtype, x->data, i, m, whole);
        for (int64_t k = 0; k < m; k++) {
            uint64_t key = is_real  ? key_of_double(real[k])
                           : is_u64 ? ((const uint64_t *)x->data)[i + k]
                                    : (uint64_t)whole[k] ^ (uint64_t)1 << 63;
            refs[i + k] = (tn_key_item){.key = key, .index = i + k};
        }
    }
}

/* ---- groups ---------------------------------------------------------------------------------------------------- */

typedef struct group {
    int64_t first, count;
} group;

/* of[position] = number of its group in the order of contents; returns how many groups. */
static int64_t group_by_content(const slices *s, tn_key_item *refs, tn_key_item *spare, int64_t *of) {
    int64_t n = s->r.dim, count = 0;
    bool keys = has_keys(s);
    if (keys) {
        load_keys(s->x, n, refs);
        tn_keys_sort(refs, n, spare);
    } else {
        for (int64_t i = 0; i < n; i++) refs[i] = (tn_key_item){.of = s, .index = i};
        qsort(refs, (size_t)n, sizeof *refs, compare_refs);
    }
    for (int64_t i = 0; i < n; i++) {
        bool same =
            i > 0 && (keys ? refs[i - 1].key == refs[i].key : !compare_slices(s, refs[i - 1].index, refs[i].index));
        count += !same;
        of[refs[i].index] = count - 1;
    }
    return count;
}

/* Fills groups (n elements; in the order of the result) and of[position] = number of its group; returns how many. */
static int64_t make_groups(const slices *s, bool sorted, tn_key_item *refs, group *groups, int64_t *of) {
    _Static_assert(sizeof(group) == sizeof(tn_key_item), "groups are the spare memory of the sort");
    int64_t n = s->r.dim, count = group_by_content(s, refs, (tn_key_item *)groups, of), seen = 0;
    for (int64_t g = 0; g < count; g++) {
        groups[g] = (group){0, 0};
        refs[g].index = -1;
    }
    /* refs is free now: it maps numbers in the order of contents to those in the order of appearance. */
    for (int64_t i = 0; i < n; i++) {
        if (!sorted) {
            tn_key_item *number = &refs[of[i]];
            if (number->index < 0) number->index = seen++;
            of[i] = number->index;
        }
        group *g = &groups[of[i]];
        if (g->count++ == 0) g->first = i;
    }
    return count;
}

static tern_status write_unique(tn_run *c, const slices *s, const tn_shape *shape, int axis, const group *groups,
                                int64_t count, const int64_t *of) {
    tn_shape out = *shape, list = {.rank = 1, .dims = {count}};
    size_t unit = tern_dtype_size(s->x->dtype), bytes = (size_t)s->r.inner * unit;
    out.dims[axis] = count;
    TN_TRY(tn_run_alloc(c, 0, s->x->dtype, &out));
    TN_TRY(tn_run_alloc(c, 1, TERN_INT64, &list));
    TN_TRY(tn_run_alloc(c, 3, TERN_INT64, &list));
    list.dims[0] = s->r.dim;
    TN_TRY(tn_run_alloc(c, 2, TERN_INT64, &list));
    tern_tensor *y = tn_args_out(c, 0), *first = tn_args_out(c, 1), *inverse = tn_args_out(c, 2),
                *counts = tn_args_out(c, 3);
    for (int64_t o = 0; y && bytes && o < s->r.outer; o++)
        for (int64_t g = 0; g < count; g++)
            memcpy((char *)y->data + (size_t)(o * count + g) * bytes,
                   (const char *)s->x->data + (size_t)(o * s->r.dim + groups[g].first) * bytes, bytes);
    for (int64_t g = 0; g < count; g++) {
        if (first) ((int64_t *)first->data)[g] = groups[g].first;
        if (counts) ((int64_t *)counts->data)[g] = groups[g].count;
    }
    if (inverse && s->r.dim) memcpy(inverse->data, of, (size_t)s->r.dim * sizeof *of);
    return TERN_OK;
}

static tern_status run_unique(tn_run *c) {
    const tern_tensor *x = c->in[0];
    tn_shape shape = x->shape;
    int axis = 0;
    if (tn_attr_find(c->node, "axis"))
        TN_TRY(tn_args_axis(tn_attr_i(c->node, "axis", 0), shape.rank, &axis, c->err));
    else
        shape = (tn_shape){.rank = 1, .dims = {tn_shape_count(&x->shape)}};
    slices s = {x, tn_rows_of(&shape, axis)};
    size_t n = (size_t)s.r.dim;
    tn_key_item *refs = tn_alloc_array(n, sizeof *refs);
    group *groups = tn_alloc_array(n, sizeof *groups);
    int64_t *of = tn_alloc_array(n, sizeof *of);
    tern_status status;
    if (!refs || !groups || !of) {
        status = tn_fail_oom(c->err, n * (sizeof *refs + sizeof *groups + sizeof *of));
    } else {
        int64_t count = make_groups(&s, tn_attr_i(c->node, "sorted", 1) != 0, refs, groups, of);
        status = write_unique(c, &s, &shape, axis, groups, count, of);
    }
    tn_free(refs);
    tn_free(groups);
    tn_free(of);
    return status;
}

const tn_op tn_op_unique = TN_ARGS_OP(infer_unique, run_unique, 1, 1, 1, 4, TN_OP_ALLOC);
