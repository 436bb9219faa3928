/* Einsum: every label is a loop. Labels of the output come first, then those that are summed over; an operand moves by
 * a stride for each label (0 where it lacks the label or has size 1 there). Operands are contracted in pairs
 * (einsum_path.c); two float operands become matrix products where they can (einsum_product.c). */
#include "ops/copy.h"
#include "ops/einsum_internal.h"

#define MAX_LABELS   TN_EINSUM_LABELS
#define MAX_OPERANDS TN_EINSUM_OPERANDS
#define ELLIPSIS     52
#define TYPES        TN_TYPES_NUMERIC

/* Labels of a term in order: 0..51 letters (A-Z, a-z, the order of ASCII), ELLIPSIS once at most. */
typedef struct term {
    uint8_t label[TERN_MAX_RANK + 1];
    int count;
} term;

typedef struct equation {
    term in[MAX_OPERANDS], out;
    int n_in;
} equation;

/* ---- reading ------------------------------------------------------------------------------------------------- */

static tern_status bad(tern_error *err, tn_str s, const char *why) {
    return tn_fail(err, TERN_INVALID_MODEL, "equation '%.*s': %s", (int)TN_MIN(s.len, (size_t)200), s.data, why);
}

static int letter(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1; }

static bool has(const term *t, int label) {
    for (int i = 0; i < t->count; i++)
        if (t->label[i] == label) return true;
    return false;
}

/* One term from *at on, up to a comma, an arrow or the end. */
static tern_status read_term(tn_str s, size_t *at, term *t, tern_error *err) {
    t->count = 0;
    for (; *at < s.len && s.data[*at] != ',' && s.data[*at] != '-'; ++*at) {
        char c = s.data[*at];
        int label = letter(c);
        if (c == ' ') continue;
        if (c == '.') {
            if (s.len - *at < 3 || memcmp(s.data + *at, "...", 3) != 0 || has(t, ELLIPSIS))
                return bad(err, s, "dots that are not one '...' of a term");
            label = ELLIPSIS;
            *at += 2;
        }
        if (label < 0) return bad(err, s, "a character that is not a letter");
        if (t->count > TERN_MAX_RANK) return bad(err, s, "a term has too many labels");
        t->label[t->count++] = (uint8_t)label;
    }
    return TERN_OK;
}

/* Without an arrow: the ellipsis, then the letters that occur once, in order. */
static tern_status implicit_output(tn_str s, equation *e, tern_error *err) {
    int uses[ELLIPSIS + 1] = {0};
    for (int i = 0; i < e->n_in; i++)
        for (int k = 0; k < e->in[i].count; k++) uses[e->in[i].label[k]]++;
    e->out.count = 0;
    for (int k = -1; k < ELLIPSIS; k++) {
        int label = k < 0 ? ELLIPSIS : k;
        if (label == ELLIPSIS ? uses[label] == 0 : uses[label] != 1) continue;
        if (e->out.count > TERN_MAX_RANK) return bad(err, s, "the output has too many labels");
        e->out.label[e->out.count++] = (uint8_t)label;
    }
    return TERN_OK;
}

static tern_status check_output(tn_str s, const equation *e, tern_error *err) {
    for (int i = 0; i < e->out.count; i++) {
        bool known = e->out.label[i] == ELLIPSIS;
        for (int k = 0; k < e->n_in; k++) known = known || has(&e->in[k], e->out.label[i]);
        if (!known) return bad(err, s, "a label of the output is in no input");
        for (int k = 0; k < i; k++)
            if (e->out.label[k] == e->out.label[i]) return bad(err, s, "a label stands twice in the output");
    }
    return TERN_OK;
}

static tern_status read_equation(const tn_node *node, equation *e, tern_error *err) {
    tn_str s = tn_attr_s(node, "equation", NULL);
    if (s.len == 0) return tn_fail(err, TERN_INVALID_MODEL, "attribute 'equation' is missing");
    if (node->n_in > MAX_OPERANDS)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "%d operands; at most %d are supported", node->n_in, MAX_OPERANDS);
    size_t at = 0;
    for (e->n_in = 0;; at++) {
        if (e->n_in == node->n_in) return bad(err, s, "more terms than inputs");
        TN_TRY(read_term(s, &at, &e->in[e->n_in++], err));
        if (at >= s.len || s.data[at] == '-') break;
    }
    if (e->n_in != node->n_in) return bad(err, s, "fewer terms than inputs");
    if (at >= s.len) return implicit_output(s, e, err);
    if (s.len - at < 2 || s.data[at + 1] != '>') return bad(err, s, "'-' without '>'");
    at += 2;
    TN_TRY(read_term(s, &at, &e->out, err));
    if (at < s.len) return bad(err, s, "something follows the output");
    return check_output(s, e, err);
}

/* ---- loops --------------------------------------------------------------------------------------------------- */

typedef tn_einsum_loops loops;

/* Labels of each dim of an operand of known rank; the ellipsis becomes ELLIPSIS + 0.. aligned to the right. */
static bool expand(const term *t, int rank, int ellipsis_rank, int *out) {
    int extra = rank - (t->count - (has(t, ELLIPSIS) ? 1 : 0)), n = 0;
    if (extra < 0 || (extra > 0 && !has(t, ELLIPSIS))) return false;
    for (int i = 0; i < t->count; i++) {
        if (t->label[i] != ELLIPSIS)
            out[n++] = t->label[i];
        else
            for (int k = 0; k < extra; k++) out[n++] = ELLIPSIS + ellipsis_rank - extra + k;
    }
    return true;
}

static bool merge_dim(int64_t d, int64_t *size) {
    if (*size == d || d == 1) return true;
    if (*size == 1)
        *size = d;
    else if (!tn_dim_known(*size))
        *size = tn_dim_known(d) ? d : TN_DIM_UNKNOWN;
    else if (tn_dim_known(d))
        return false;
    return true;
}

/* `shapes`: one per operand, all ranked. */
static tern_status make_loops(const tn_node *node, const tn_shape *const *shapes, loops *l, tern_error *err) {
    equation e;
    TN_TRY(read_equation(node, &e, err));
    int ellipsis_rank = 0, place[MAX_LABELS];
    int64_t size[MAX_LABELS];
    for (int i = 0; i < MAX_LABELS; i++) size[i] = 1, place[i] = -1;
    for (int i = 0; i < e.n_in; i++)
        if (has(&e.in[i], ELLIPSIS)) ellipsis_rank = TN_MAX(ellipsis_rank, shapes[i]->rank - e.in[i].count + 1);
    memset(l, 0, sizeof *l);
    if (!has(&e.out, ELLIPSIS) && e.out.count > TERN_MAX_RANK)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "the output has %d dims", e.out.count);
    for (int i = 0; i < e.out.count; i++) {
        int label = e.out.label[i], n = label == ELLIPSIS ? ellipsis_rank : 1;
        if (l->n_out + n > TERN_MAX_RANK) return tn_fail(err, TERN_LIMIT_EXCEEDED, "the output has too many dims");
        for (int k = 0; k < n; k++) place[label + k] = l->n_out++;
    }
    l->n_all = l->n_out;
    for (int i = 0; i < e.n_in; i++) {
        int labels[TERN_MAX_RANK];
        const tn_shape *s = shapes[i];
        if (!expand(&e.in[i], s->rank, ellipsis_rank, labels))
            return tn_fail(err, TERN_SHAPE_MISMATCH, "input %d has rank %d, its term has %d labels", i, s->rank,
                           e.in[i].count);
        int64_t step = 1;
        for (int d = s->rank - 1; d >= 0; d--) {
            int label = labels[d];
            if (place[label] < 0) place[label] = l->n_all++;
            if (!merge_dim(s->dims[d], &size[label]))
                return tn_fail(err, TERN_SHAPE_MISMATCH, "dim %d of input %d is %lld where another label gives %lld", d,
                               i, (long long)s->dims[d], (long long)size[label]);
            if (!tn_dim_known(s->dims[d])) continue; /* strides do not matter yet */
            if (s->dims[d] != 1) l->stride[i][place[label]] += step;
            if (!tn_mul_i64(step, TN_MAX(s->dims[d], (int64_t)1), &step))
                return tn_fail(err, TERN_LIMIT_EXCEEDED, "input %d is too large", i);
        }
    }
    for (int i = 0; i < MAX_LABELS; i++)
        if (place[i] >= 0) l->size[place[i]] = size[i];
    return TERN_OK;
}

/* ---- the operator -------------------------------------------------------------------------------------------- */

static tern_status einsum_infer(tn_infer *c) {
    const tn_shape *shapes[MAX_OPERANDS];
    bool ranked = c->node->n_in <= MAX_OPERANDS;
    for (int i = 0; i < c->node->n_in; i++) {
        TN_TRY(tn_infer_want(c, i, TYPES));
        TN_TRY(tn_infer_same_type(c, 0, i));
        ranked = ranked && c->in[i] && c->in[i]->ranked;
        if (ranked) shapes[i] = &c->in[i]->shape;
    }
    tern_dtype dtype = c->in[0] ? c->in[0]->dtype : TERN_UNDEFINED;
    if (!ranked) {
        equation e;
        TN_TRY(read_equation(c->node, &e, c->err));
        tn_infer_out(c, 0, dtype, NULL);
        return TERN_OK;
    }
    loops l;
    TN_TRY(make_loops(c->node, shapes, &l, c->err));
    tn_shape y = tn_shape_of(l.n_out, l.size);
    tn_infer_out(c, 0, dtype, &y);
    return TERN_OK;
}

typedef struct einsum_state {
    int n_in, n_steps;
    tern_dtype dtype; /* in which it is computed */
    bool wide;        /* float16, bfloat16: on float32 copies */
    int64_t count;    /* of the output */
    size_t at_in[MAX_OPERANDS], at_out;
    tn_einsum_step steps[];
} einsum_state;

/* Products of the steps, which share their scratch memory, and memory for the results between them. */
static tern_status prepare_steps(tn_prepare *c, einsum_state *s) {
    for (int i = 0; i + 1 < s->n_steps; i++)
        if (!tn_ops_reserve(&c->workspace, s->steps[i].count, tern_dtype_size(s->dtype), &s->steps[i].at))
            return tn_fail_oom(c->err, SIZE_MAX);
    size_t base = c->workspace;
    for (int i = 0; i < s->n_steps && s->dtype == TERN_FLOAT && s->count > 0; i++) {
        tn_einsum_step *e = &s->steps[i];
        size_t end = base;
        if (e->n_in != 2) continue;
        TN_TRY(tn_einsum_product_plan(&e->l, c->tier, c->threads, &end, &e->product, &e->as_product, c->err));
        c->workspace = TN_MAX(c->workspace, end);
    }
    return TERN_OK;
}

static tern_status einsum_prepare(tn_prepare *c) {
    const tn_shape *shapes[MAX_OPERANDS];
    int n_in = c->node->n_in;
    loops l;
    tn_einsum_path path;
    int64_t count;
    for (int i = 0; i < n_in; i++) shapes[i] = &c->in[i]->shape;
    TN_TRY(make_loops(c->node, shapes, &l, c->err));
    if (!tn_shape_count_checked(&c->out[0].shape, &count))
        return tn_fail(c->err, TERN_LIMIT_EXCEEDED, "the output is too large");
    tn_einsum_path_find(&l, n_in, &path);
    int n_steps = TN_MAX(path.n, 1);
    einsum_state *s = tn_prepare_state(c, sizeof *s + (size_t)n_steps * sizeof s->steps[0]);
    if (!s) return TERN_OUT_OF_MEMORY;
    s->n_in = n_in;
    s->n_steps = n_steps;
    s->count = count;
    s->dtype = c->in[0]->dtype;
    s->wide = s->dtype == TERN_FLOAT16 || s->dtype == TERN_BFLOAT16;
    if (s->wide) s->dtype = TERN_FLOAT;
    tn_einsum_path_steps(&l, n_in, &path, s->steps);
    bool ok = !s->wide || tn_ops_reserve(&c->workspace, s->count, sizeof(float), &s->at_out);
    for (int i = 0; i < s->n_in && s->wide; i++)
        ok = ok && tn_ops_reserve(&c->workspace, tn_shape_count(shapes[i]), sizeof(float), &s->at_in[i]);
    return ok ? prepare_steps(c, s) : tn_fail_oom(c->err, SIZE_MAX);
}

typedef struct einsum_args {
    const tn_einsum_step *s;
    const void *in[MAX_OPERANDS];
    void *y;
} einsum_args;

/* Moves on to the next index of loops [from, to); false after the last. Offsets follow. */
static bool step_loops(const tn_einsum_step *s, int from, int to, int64_t *at, int64_t *offset) {
    for (int d = to - 1; d >= from; d--) {
        for (int i = 0; i < s->n_in; i++) offset[i] += s->l.stride[i][d];
        if (++at[d] < s->l.size[d]) return true;
        for (int i = 0; i < s->n_in; i++) offset[i] -= s->l.size[d] * s->l.stride[i][d];
        at[d] = 0;
    }
    return false;
}

/* Indices and offsets of output `begin`. */
static void start_loops(const tn_einsum_step *s, int64_t begin, int64_t *at, int64_t *offset) {
    for (int64_t d = s->l.n_out - 1, rest = begin; d >= 0; rest /= s->l.size[d], d--) {
        at[d] = rest % s->l.size[d];
        for (int i = 0; i < s->n_in; i++) offset[i] += at[d] * s->l.stride[i][d];
    }
}

static bool sums_nothing(const loops *l) {
    for (int d = l->n_out; d < l->n_all; d++)
        if (l->size[d] == 0) return true;
    return false;
}

/* Outputs along the last label that are summed side by side, where operands lie densely along it or lack it. */
#define TILE 64

static bool by_tiles(const tn_einsum_step *s) {
    int last = s->l.n_out - 1;
    if (last < 0 || s->l.size[last] < 8) return false;
    for (int i = 0; i < s->n_in; i++)
        if (s->l.stride[i][last] != 0 && s->l.stride[i][last] != 1) return false;
    return true;
}

/* Moves the last label of the output on by `by` indices, and what is before it where that is its end. */
static void step_tile(const tn_einsum_step *s, int64_t by, int64_t *at, int64_t *offset) {
    int last = s->l.n_out - 1;
    at[last] += by - 1;
    for (int i = 0; i < s->n_in; i++) offset[i] += (by - 1) * s->l.stride[i][last];
    step_loops(s, 0, s->l.n_out, at, offset);
}

/* NAME: outputs [begin, end). Otherwise than in tiles, the last summed label is the inner loop.
 * NAME_add: sum[t] += the product of the operands at t along the last label of the output. */
#define EINSUM(NAME, T, ACC)                                                                                        \
    static void NAME##_add(const einsum_args *r, const int64_t *offset, ACC *sum, int64_t n) {                      \
        const tn_einsum_step *s = r->s;                                                                             \
        const T *row[MAX_OPERANDS];                                                                                 \
        ACC factor = 1, product[TILE];                                                                              \
        int rows = 0;                                                                                               \
        for (int i = 0; i < s->n_in; i++) {                                                                         \
            const T *x = (const T *)r->in[i] + offset[i];                                                           \
            if (s->l.stride[i][s->l.n_out - 1])                                                                     \
                row[rows++] = x;                                                                                    \
            else                                                                                                    \
                factor *= (ACC)*x;                                                                                  \
        }                                                                                                           \
        if (rows == 1) {                                                                                            \
            for (int64_t t = 0; t < n; t++) sum[t] += factor * (ACC)row[0][t];                                      \
            return;                                                                                                 \
        }                                                                                                           \
        for (int64_t t = 0; t < n; t++) product[t] = factor;                                                        \
        for (int i = 0; i < rows; i++)                                                                              \
            for (int64_t t = 0; t < n; t++) product[t] *= (ACC)row[i][t];                                           \
        for (int64_t t = 0; t < n; t++) sum[t] += product[t];                                                       \
    }                                                                                                               \
    static void NAME##_tiles(const einsum_args *r, int64_t begin, int64_t end) {                                    \
        const tn_einsum_step *s = r->s;                                                                             \
        int last = s->l.n_out - 1;                                                                                  \
        int64_t at[MAX_LABELS] = {0}, offset[MAX_OPERANDS] = {0}, n;                                                \
        bool empty = sums_nothing(&s->l);                                                                           \
        start_loops(s, begin, at, offset);                                                                          \
        for (int64_t o = begin; o < end; o += n) {                                                                  \
            ACC sum[TILE] = {0};                                                                                    \
            n = TN_MIN(TN_MIN(end - o, s->l.size[last] - at[last]), (int64_t)TILE);                                 \
            if (!empty) do                                                                                          \
                    NAME##_add(r, offset, sum, n);                                                                  \
                while (step_loops(s, s->l.n_out, s->l.n_all, at, offset));                                          \
            for (int64_t t = 0; t < n; t++) ((T *)r->y)[o + t] = (T)sum[t];                                         \
            step_tile(s, n, at, offset);                                                                            \
        }                                                                                                           \
    }                                                                                                               \
    static void NAME(void *context, int64_t begin, int64_t end, int worker) {                                       \
        (void)worker;                                                                                               \
        const einsum_args *r = context;                                                                             \
        const tn_einsum_step *s = r->s;                                                                             \
        const loops *l = &s->l;                                                                                     \
        bool sums = l->n_all > l->n_out, empty = sums_nothing(l);                                                   \
        int last = l->n_all - 1, n_in = s->n_in;                                                                    \
        int64_t at[MAX_LABELS] = {0}, offset[MAX_OPERANDS] = {0}, n = sums ? l->size[last] : 1;                     \
        if (by_tiles(s)) {                                                                                          \
            NAME##_tiles(r, begin, end);                                                                            \
            return;                                                                                                 \
        }                                                                                                           \
        start_loops(s, begin, at, offset);                                                                          \
        for (int64_t o = begin; o < end; o++) {                                                                     \
            ACC sum = 0;                                                                                            \
            if (!empty) do {                                                                                        \
                    for (int64_t k = 0; k < n; k++) {                                                               \
                        ACC product = 1;                                                                            \
                        for (int i = 0; i < n_in; i++)                                                              \
                            product *= (ACC)((const T *)r->in[i])[offset[i] + (sums ? k * l->stride[i][last] : 0)]; \
                        sum += product;                                                                             \
                    }                                                                                               \
                } while (sums && step_loops(s, l->n_out, last, at, offset));                                        \
            ((T *)r->y)[o] = (T)sum;                                                                                \
            step_loops(s, 0, l->n_out, at, offset);                                                                 \
        }                                                                                                           \
    }
EINSUM(einsum_f32, float, double)
EINSUM(einsum_f64, double, double)
EINSUM(einsum_u8, uint8_t, uint32_t) /* unsigned types give what signed ones do when they wrap */
EINSUM(einsum_u16, uint16_t, uint32_t)
EINSUM(einsum_u32, uint32_t, uint32_t)
EINSUM(einsum_u64, uint64_t, uint64_t)
#undef EINSUM

/* One operand of which nothing is summed: a transpose or a diagonal. */
static bool only_moves(const tn_einsum_step *s) { return s->n_in == 1 && s->l.n_all == s->l.n_out; }

static void move(const tn_einsum_step *s, const void *x, void *y, size_t unit, int threads) {
    tn_copy copy;
    int64_t to[MAX_LABELS], step = 1;
    for (int d = s->l.n_out - 1; d >= 0; step *= s->l.size[d--]) to[d] = step;
    tn_copy_init(&copy, unit);
    for (int d = 0; d < s->l.n_out; d++) tn_copy_dim(&copy, s->l.size[d], s->l.stride[0][d], to[d]);
    tn_copy_run(&copy, x, y, threads);
}

static tn_task_fn function_of(tern_dtype dtype) {
    if (dtype == TERN_FLOAT) return einsum_f32;
    if (dtype == TERN_DOUBLE) return einsum_f64;
    switch (tern_dtype_size(dtype)) {
    case 1:
        return einsum_u8;
    case 2:
        return einsum_u16;
    case 4:
        return einsum_u32;
    default:
        return einsum_u64;
    }
}

static tern_status einsum_run(tn_run *c) {
    const einsum_state *s = c->state;
    if (!c->out[0] || s->count == 0) return TERN_OK;
    const void *slot[TN_EINSUM_SLOTS];
    char *ws = c->workspace;
    for (int i = 0; i < s->n_in; i++) {
        slot[i] = s->wide ? ws + s->at_in[i] : c->in[i]->data;
        if (s->wide) tn_ops_to_f32(c->in[i], (float *)(ws + s->at_in[i]));
    }
    void *out = s->wide ? ws + s->at_out : c->out[0]->data;
    for (int i = 0; i < s->n_steps; i++) {
        const tn_einsum_step *e = &s->steps[i];
        einsum_args r = {.s = e, .y = i + 1 < s->n_steps ? ws + e->at : out};
        for (int k = 0; k < e->n_in; k++) r.in[k] = slot[e->in[k]];
        if (e->as_product)
            tn_einsum_product_run(&e->l, &e->product, c->tier, c->threads, r.in[0], r.in[1], r.y, ws);
        else if (only_moves(e))
            move(e, r.in[0], r.y, tern_dtype_size(s->dtype), c->threads);
        else
            tn_parallel_for(c->threads, e->count, function_of(s->dtype), &r);
        slot[s->n_in + i] = r.y;
    }
    if (s->wide) tn_ops_from_f32(out, c->out[0]);
    return TERN_OK;
}

static int64_t einsum_macs(const tn_node *node, const tn_type *const *in, const tn_type *out) {
    (void)out;
    const tn_shape *shapes[MAX_OPERANDS];
    loops l;
    for (int i = 0; i < node->n_in && i < MAX_OPERANDS; i++) shapes[i] = &in[i]->shape;
    if (make_loops(node, shapes, &l, NULL) != TERN_OK) return 0;
    tn_einsum_path path;
    tn_einsum_path_find(&l, node->n_in, &path);
    int64_t total = path.n == 0;
    for (int i = 0; i < l.n_all && path.n == 0; i++)
        if (!tn_mul_i64(total, l.size[i], &total)) return INT64_MAX;
    for (int i = 0; i < path.n; i++)
        if (!tn_add_i64(total, path.moves[i].macs, &total)) return INT64_MAX;
    return total;
}

const tn_op tn_op_einsum = {.infer = einsum_infer,
                            .prepare = einsum_prepare,
                            .run = einsum_run,
                            .min_in = 1,
                            .max_in = -1,
                            .min_out = 1,
                            .max_out = 1,
                            .macs = einsum_macs};
