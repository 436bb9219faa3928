/* Unique: the different elements of a tensor, or its different slices along an axis. */
#include "ops/args.h"
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

/* A slice along the axis, with what is needed to compare it. */
typedef struct slices {
    const tern_tensor *x;
    tn_rows r;
} slices;

typedef struct slice_ref {
    const slices *of;
    int64_t at; /* position along the axis */
} slice_ref;

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
    const slice_ref *a = x, *b = y;
    int order = compare_slices(a->of, a->at, b->at);
    return order ? order : a->at < b->at ? -1 : a->at > b->at;
}

typedef struct group {
    int64_t first, count, sorted; /* sorted: its number in the order of contents */
} group;

static int compare_groups(const void *x, const void *y) {
    const group *a = x, *b = y;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* Fills groups (in the order of the result) and of[position] = number of its group; returns how many groups. */
static int64_t make_groups(const slices *s, bool sorted, slice_ref *refs, group *groups, int64_t *of) {
    int64_t n = s->r.dim, count = 0;
    for (int64_t i = 0; i < n; i++) refs[i] = (slice_ref){s, i};
    qsort(refs, (size_t)n, sizeof *refs, compare_refs);
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || compare_slices(s, refs[i - 1].at, refs[i].at) != 0) {
            groups[count] = (group){refs[i].at, 0, count};
            count++;
        }
        groups[count - 1].count++;
        of[refs[i].at] = count - 1;
    }
    if (sorted) return count;
    qsort(groups, (size_t)count, sizeof *groups, compare_groups);
    /* refs is free now: it maps numbers in the order of contents to those in the order of appearance. */
    for (int64_t g = 0; g < count; g++) refs[groups[g].sorted].at = g;
    for (int64_t i = 0; i < n; i++) of[i] = refs[of[i]].at;
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
    slice_ref *refs = tn_alloc_array(n, sizeof *refs);
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
