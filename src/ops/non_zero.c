/* NonZero: where the elements are that are not zero, in two passes over parts of the tensor: how many, then which. */
#include "ops/args.h"

#define BLOCK 1024  /* elements that are looked at at once */
#define PART  65536 /* elements of a task */

static tern_status infer_non_zero(tn_infer *c) {
    TN_TRY(tn_args_need(c, 0, TN_TYPES_ALL));
    tn_shape s, out = tn_args_unknown_dims(2);
    if (tn_args_shape(c, 0, &s)) out.dims[0] = s.rank;
    tn_infer_out(c, 0, TERN_INT64, &out);
    return TERN_OK;
}

#define FLAGS(T, TEST)                        \
    do {                                      \
        const T *x = (const T *)t->data + at; \
        for (int64_t i = 0; i < n; i++) {     \
            T v = x[i];                       \
            flags[i] = TEST;                  \
        }                                     \
    } while (0)

/* Complex numbers: two parts each. */
#define FLAGS_COMPLEX(T)                                                               \
    do {                                                                               \
        const T *x = (const T *)t->data + 2 * at;                                      \
        for (int64_t i = 0; i < n; i++) flags[i] = x[2 * i] != 0 || x[2 * i + 1] != 0; \
    } while (0)

/* flags[i]: element at + i is not zero. Most float types have a sign bit that may be set in a zero; strings are zero
 * when they are empty. */
static void mark(const tern_tensor *t, int64_t at, int64_t n, uint8_t *flags) {
    switch (t->dtype) {
    case TERN_FLOAT:
        FLAGS(float, v != 0);
        break;
    case TERN_DOUBLE:
        FLAGS(double, v != 0);
        break;
    case TERN_FLOAT16:
    case TERN_BFLOAT16:
        FLAGS(uint16_t, (v & 0x7fff) != 0);
        break;
    case TERN_COMPLEX64:
        FLAGS_COMPLEX(float);
        break;
    case TERN_COMPLEX128:
        FLAGS_COMPLEX(double);
        break;
    case TERN_STRING:
        FLAGS(tern_string, v.len != 0);
        break;
    case TERN_FLOAT8E4M3FN:
    case TERN_FLOAT8E5M2:
        FLAGS(uint8_t, (v & 0x7f) != 0);
        break;
    case TERN_FLOAT4E2M1:
        FLAGS(uint8_t, (v & 0x7) != 0);
        break;
    case TERN_FLOAT8E8M0:
        memset(flags, 1, (size_t)n);
        break;
    default:
        switch (tern_dtype_size(t->dtype)) {
        case 1:
            FLAGS(uint8_t, v != 0);
            break;
        case 2:
            FLAGS(uint16_t, v != 0);
            break;
        case 4:
            FLAGS(uint32_t, v != 0);
            break;
        default:
            FLAGS(uint64_t, v != 0);
        }
    }
}
#undef FLAGS
#undef FLAGS_COMPLEX

typedef struct non_zero {
    const tern_tensor *x;
    int64_t count, *found; /* elements; by part: how many are not zero, then: how many in all before it */
    int64_t *y, columns;
} non_zero;

static void count_task(void *context, int64_t begin, int64_t end, int worker) {
    const non_zero *z = context;
    (void)worker;
    uint8_t flags[BLOCK];
    for (int64_t p = begin; p < end; p++) {
        int64_t found = 0, stop = TN_MIN((p + 1) * PART, z->count);
        for (int64_t at = p * PART, n; at < stop; at += n) {
            n = TN_MIN((int64_t)BLOCK, stop - at);
            mark(z->x, at, n, flags);
            for (int64_t i = 0; i < n; i++) found += flags[i];
        }
        z->found[p] = found;
    }
}

/* Writes the places of marked elements that are neighbours in the last dim; `place` is that of the first. Columns from
 * `limit` on are another task's. */
static int64_t write_places(const non_zero *z, const uint8_t *flags, int64_t n, const int64_t *place, int64_t column,
                            int64_t limit) {
    int last = z->x->shape.rank - 1;
    int64_t first = column, *y = z->y + last * z->columns;
    for (int64_t i = 0; i < n && column < limit; i++) {
        y[column] = place[last] + i;
        column += flags[i];
    }
    for (int d = 0; d < last; d++)
        for (int64_t k = first; k < column; k++) z->y[d * z->columns + k] = place[d];
    return column;
}

static void place_task(void *context, int64_t begin, int64_t end, int worker) {
    const non_zero *z = context;
    const tn_shape *s = &z->x->shape;
    (void)worker;
    uint8_t flags[BLOCK];
    int64_t place[TERN_MAX_RANK], rest = begin * PART;
    for (int d = s->rank - 1; d >= 0; d--) {
        place[d] = rest % s->dims[d];
        rest /= s->dims[d];
    }
    int64_t column = z->found[begin], limit = z->found[end], stop = TN_MIN(end * PART, z->count);
    int last = s->rank - 1;
    for (int64_t at = begin * PART, n; at < stop && column < limit; at += n) {
        n = TN_MIN(TN_MIN((int64_t)BLOCK, stop - at), s->dims[last] - place[last]);
        mark(z->x, at, n, flags);
        column = write_places(z, flags, n, place, column, limit);
        place[last] += n;
        for (int d = last; d > 0 && place[d] == s->dims[d]; d--) {
            place[d] = 0;
            place[d - 1]++;
        }
    }
}

static tern_status run_non_zero(tn_run *c) {
    const tern_tensor *x = c->in[0];
    non_zero z = {.x = x, .count = tn_shape_count(&x->shape)};
    int64_t parts = tn_ceil_div(z.count, PART), all = 0;
    if (!(z.found = tn_alloc_array((size_t)parts + 1, sizeof *z.found)))
        return tn_fail_oom(c->err, ((size_t)parts + 1) * sizeof *z.found);
    tn_parallel_for(c->threads, parts, count_task, &z);
    for (int64_t p = 0; p <= parts; p++) {
        int64_t own = p < parts ? z.found[p] : 0;
        z.found[p] = all;
        all += own;
    }
    tn_shape out = {.rank = 2, .dims = {x->shape.rank, all}};
    tern_status s = tn_run_alloc(c, 0, TERN_INT64, &out);
    if (s == TERN_OK && x->shape.rank > 0 && all > 0) {
        z.y = c->out[0]->data;
        z.columns = all;
        tn_parallel_for(c->threads, parts, place_task, &z);
    }
    tn_free(z.found);
    return s;
}

const tn_op tn_op_non_zero = TN_ARGS_OP(infer_non_zero, run_non_zero, 1, 1, 1, 1, TN_OP_ALLOC);
