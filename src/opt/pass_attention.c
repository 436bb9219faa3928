#include "opt/match.h"

#include <math.h>

/* Attention written out by exporters: softmax(scale * Q K^T + mask) V, with Q, K and V brought to (batch, heads,
 * length, size) or (batch * heads, length, size) by Reshape, Transpose, Slice, Split and Gather. One tern:Attention
 * reads the rows where they are before all that, given a layout (see ops/attention_internal.h), and writes them where a
 * Transpose behind wants them. What nothing else reads vanishes. */

tern_status tn_pass_attention(tn_opt *o);

#define TOKENS_MAX 12

/* What a dim is made of: B batch, H heads, G both (batch * heads), L length, D size, P parts. */
typedef struct token {
    char letter;
    int dim;
    int64_t size; /* or a symbol */
} token;

/* A value, and what its dims mean. */
typedef struct view {
    tn_value *value;
    token at[TOKENS_MAX]; /* outermost first */
    int count, rank;
    int64_t heads;       /* that a G was split into; 0: none was */
    int64_t parts, part; /* 1, 0: there are none */
} view;

typedef struct attention {
    tn_node *scores, *softmax, *values, *turn; /* turn: a Transpose behind; or NULL */
    tn_value *mask;
    float scale;
    int64_t heads;
    view q, k, v, y;
} attention;

static bool is_float(const tn_value *v) { return v && v->type.dtype == TERN_FLOAT && v->type.ranked; }

/* Known to be the same. */
static bool same_size(int64_t a, int64_t b) { return a == b && a != TN_DIM_UNKNOWN; }

static view view_of(tn_value *v, const char *letters) {
    view w = {.value = v, .count = v->type.shape.rank, .rank = v->type.shape.rank, .parts = 1};
    for (int i = 0; i < w.rank; i++) w.at[i] = (token){letters[i], i, v->type.shape.dims[i]};
    return w;
}

static int find(const view *w, char letter) {
    for (int i = 0; i < w->count; i++)
        if (w->at[i].letter == letter) return i;
    return -1;
}

/* ---- one step towards the source ------------------------------------------------------------------------------- */

/* Tokens by the dims that `from` has, which holds the same elements in the same order. */
static bool regroup(view *w, tn_value *from) {
    const tn_shape *s = &from->type.shape;
    view out = *w;
    token reversed[TOKENS_MAX];
    int left = w->count, n = 0;
    for (int d = s->rank - 1; d >= 0; d--) {
        int64_t rest = s->dims[d];
        if (left > 0 && same_size(out.at[left - 1].size, rest)) {
            reversed[n] = out.at[--left];
            reversed[n++].dim = d;
            continue;
        }
        if (left > 0 && rest != 1 && out.at[left - 1].letter == 'B' && out.at[left - 1].size == TN_DIM_UNKNOWN) {
            reversed[n++] = (token){'B', d, rest};
            left--;
            continue;
        }
        if (!tn_dim_known(rest) || rest < 1) return false;
        while (rest > 1) {
            if (left == 0 || n == TOKENS_MAX) return false;
            token *t = &out.at[left - 1];
            if (tn_dim_known(t->size) && t->size > 0 && rest % t->size == 0) {
                bool shared = t->letter == 'G' && rest != s->dims[d]; /* with what is on its right: heads */
                if (shared) out.heads = t->size;
                reversed[n++] = (token){shared ? 'H' : t->letter, d, t->size};
                rest /= t->size;
                left--;
            } else if (t->letter == 'G' && (!tn_dim_known(t->size) || t->size % rest == 0)) {
                reversed[n++] = (token){'H', d, rest};
                out.heads = rest;
                *t = (token){'B', 0, tn_dim_known(t->size) ? t->size / rest : TN_DIM_UNKNOWN};
                rest = 1;
            } else {
                return false;
            }
        }
    }
    for (; left > 0; left--)
        if (out.at[left - 1].size != 1 || (out.at[left - 1].letter != 'B' && out.at[left - 1].letter != 'G'))
            return false;
    out.count = n;
    for (int i = 0; i < n; i++) out.at[i] = reversed[n - 1 - i];
    out.rank = s->rank;
    out.value = from;
    *w = out;
    return true;
}

static bool turn(view *w, const tn_node *n, tn_value *from) {
    size_t count = 0;
    const int64_t *perm = tn_attr_ints(n, "perm", &count);
    view out = *w;
    if (from->type.shape.rank != w->rank || (perm && count != (size_t)w->rank)) return false;
    out.count = 0;
    for (int d = 0; d < w->rank; d++) /* dim d of the source is dim i of the result */
        for (int i = 0; i < w->rank; i++) {
            if ((perm ? perm[i] : w->rank - 1 - i) != d) continue;
            for (int k = 0; k < w->count; k++)
                if (w->at[k].dim == i) out.at[out.count++] = (token){w->at[k].letter, d, w->at[k].size};
        }
    out.value = from;
    *w = out;
    return out.count == w->count;
}

/* Dim `axis` becomes `parts` times as long, of which it was number `part`; or it is a new one (`fresh`). */
static bool add_parts(view *w, int axis, int64_t parts, int64_t part, bool fresh, tn_value *from) {
    view out = *w;
    if (w->count == TOKENS_MAX || find(w, 'P') >= 0) return false;
    int at = 0;
    for (int i = 0; i < w->count; i++) {
        if (fresh && out.at[i].dim >= axis) out.at[i].dim++;
        at += w->at[i].dim < axis;
    }
    memmove(out.at + at + 1, out.at + at, (size_t)(w->count - at) * sizeof *out.at);
    out.at[at] = (token){'P', axis, parts};
    out.count++;
    out.rank += fresh;
    out.parts = parts;
    out.part = part;
    out.value = from;
    *w = out;
    return true;
}

/* An axis of a node's attribute or of one number; -1: not known, or out of range. */
static int axis_in(int64_t axis, int rank) {
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? (int)axis : -1;
}

/* Input i of the node as one constant number. */
static bool one_int(const tn_node *n, int i, int max_rank, int64_t *out) {
    const tern_tensor *t = i < n->n_in && n->in[i] ? tn_opt_const(n->in[i]) : NULL;
    if (!t || t->shape.rank > max_rank || tn_shape_count(&t->shape) != 1) return false;
    if (t->dtype != TERN_INT64 && t->dtype != TERN_INT32) return false;
    *out = t->dtype == TERN_INT64 ? *(const int64_t *)t->data : *(const int32_t *)t->data;
    return true;
}

/* From the elements [start, start + length) of an axis to all of it: a part of equal ones? */
static bool widen(view *w, int axis, int64_t start, tn_value *from) {
    if (axis < 0 || from->type.shape.rank != w->rank) return false;
    int64_t all = from->type.shape.dims[axis], length = w->value->type.shape.dims[axis];
    if (!tn_dim_known(all) || !tn_dim_known(length) || length < 1 || all % length) return false;
    if (start < 0) start += all;
    return start >= 0 && start % length == 0 && start + length <= all &&
           add_parts(w, axis, all / length, start / length, false, from);
}

static bool of_slice(view *w, const tn_node *n, tn_value *from) {
    int64_t start, axis, step = 1;
    if (n->since < 10 || !one_int(n, 1, 1, &start) || !one_int(n, 3, 1, &axis)) return false;
    if (n->n_in > 4 && n->in[4] && (!one_int(n, 4, 1, &step) || step != 1)) return false;
    return widen(w, axis_in(axis, w->rank), start, from);
}

static bool of_split(view *w, const tn_node *n, tn_value *from) {
    int axis = axis_in(tn_attr_i(n, "axis", 0), w->rank);
    int64_t start = 0;
    for (int i = 0; axis >= 0 && i < n->n_out; i++) {
        if (n->out[i] == w->value) return widen(w, axis, start, from);
        if (!n->out[i] || !n->out[i]->type.ranked || !tn_dim_known(n->out[i]->type.shape.dims[axis])) return false;
        start += n->out[i]->type.shape.dims[axis];
    }
    return false;
}

static bool of_gather(view *w, const tn_node *n, tn_value *from) {
    int64_t which;
    int axis = axis_in(tn_attr_i(n, "axis", 0), from->type.shape.rank);
    if (axis < 0 || !one_int(n, 1, 0, &which) || from->type.shape.rank != w->rank + 1) return false;
    int64_t all = from->type.shape.dims[axis];
    if (!tn_dim_known(all)) return false;
    if (which < 0) which += all;
    return which >= 0 && which < all && add_parts(w, axis, all, which, true, from);
}

/* A product with a constant number, or a quotient by one. */
static bool constant_factor(const tn_node *n, float *scale, tn_value **other) {
    float c;
    if ((!tn_opt_is(n, "", "Mul") && !tn_opt_is(n, "", "Div")) || n->since < 7) return false;
    if (!tn_opt_scalar_operand(n, &c, other) || !is_float(*other)) return false;
    if (tn_opt_is(n, "", "Div") && (*other != n->in[0] || c == 0)) return false;
    *scale *= tn_opt_is(n, "", "Div") ? 1 / c : c;
    return true;
}

/* One step; false: the value is made in some other way. scale NULL: there must be no factor. */
static bool step(view *w, float *scale) {
    static const char *const same_order[] = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"};
    const tn_node *n = w->value->producer;
    tn_value *from = n && n->n_in > 0 ? n->in[0] : NULL;
    if (!n || *n->domain || !is_float(from)) return false;
    if (scale && constant_factor(n, scale, &from)) {
        if (from->type.shape.rank != w->rank) return false;
        w->value = from;
        return true;
    }
    for (size_t i = 0; i < TN_COUNT(same_order); i++)
        if (strcmp(n->op_type, same_order[i]) == 0) return regroup(w, from);
    if (strcmp(n->op_type, "Transpose") == 0) return turn(w, n, from);
    if (strcmp(n->op_type, "Slice") == 0) return of_slice(w, n, from);
    if (strcmp(n->op_type, "Split") == 0) return of_split(w, n, from);
    return strcmp(n->op_type, "Gather") == 0 && of_gather(w, n, from);
}

/* Whether a layout can say it: elements of a row are neighbours, and of the sizes that only shapes tell, a dim has one.
 */
static bool can_be_read(const view *w) {
    if (w->count == 0 || w->at[w->count - 1].letter != 'D' || w->at[w->count - 1].dim != w->rank - 1) return false;
    for (int d = 0; d < w->rank; d++) {
        int open = 0;
        for (int i = 0; i < w->count; i++) open += w->at[i].dim == d && strchr("BGLD", w->at[i].letter) != NULL;
        if (open > 1) return false;
    }
    return true;
}

/* As far towards the source as the rows can be read there. */
static bool trace(view *w, float *scale) {
    enum { STEPS = 16 };
    bool any = can_be_read(w);
    view now = *w;
    float factor = 1, sum = 1;
    for (int i = 0; i < STEPS && step(&now, scale ? &factor : NULL); i++) {
        if (!can_be_read(&now)) continue;
        *w = now;
        sum = factor;
        any = true;
    }
    if (scale) *scale *= sum;
    return any;
}

/* ---- the pattern ----------------------------------------------------------------------------------------------- */

static bool softmax_of_rows(const tn_node *n) {
    int rank = n->in[0] && n->in[0]->type.ranked ? n->in[0]->type.shape.rank : 0;
    int64_t axis = tn_attr_i(n, "axis", n->since < 13 ? 1 : -1);
    return rank >= 2 && rank <= 4 && (axis == -1 || axis == rank - 1);
}

/* From what goes into the softmax to the product behind it. */
static bool match_scores(tn_value *v, attention *a) {
    for (int i = 0; i < 4; i++) {
        tn_node *n = v && v->n_uses == 1 ? v->producer : NULL;
        tn_value *other;
        if (!n || !is_float(v)) return false;
        if (tn_opt_is(n, "", "MatMul")) {
            a->scores = n;
            return true;
        }
        if (constant_factor(n, &a->scale, &other)) {
            v = other;
            continue;
        }
        if (!tn_opt_is(n, "", "Add") || n->since < 7 || a->mask || a->scale != 1) return false;
        bool second = !n->in[0]->producer || n->in[0]->n_uses != 1 ||
                      (!tn_opt_is(n->in[0]->producer, "", "MatMul") && !tn_opt_is(n->in[0]->producer, "", "Mul") &&
                       !tn_opt_is(n->in[0]->producer, "", "Div"));
        v = n->in[second];
        a->mask = n->in[!second];
    }
    return false;
}

/* The mask broadcasts to the scores, and with as many dims to (batch, heads, length, keys). */
static bool mask_fits(const attention *a) {
    const tn_shape *s = &a->scores->out[0]->type.shape;
    const tn_type *m = a->mask ? &a->mask->type : NULL;
    if (!m) return true;
    if (!is_float(a->mask) || m->shape.rank > s->rank) return false;
    for (int i = 0; i < m->shape.rank; i++) {
        int at = s->rank - m->shape.rank + i;
        if (m->shape.dims[i] == 1) continue;
        if (!same_size(m->shape.dims[i], s->dims[at])) return false;
        if (s->rank == 3 && at == 0 && find(&a->y, 'B') >= 0) return false;
    }
    return true;
}

/* Q, K and V have the same leading dims. */
static bool same_batch(const tn_value *q, const tn_value *k, const tn_value *v) {
    int rank = q->type.shape.rank;
    if (k->type.shape.rank != rank || v->type.shape.rank != rank) return false;
    for (int i = 0; i < rank - 2; i++)
        if (!same_size(q->type.shape.dims[i], k->type.shape.dims[i]) ||
            !same_size(q->type.shape.dims[i], v->type.shape.dims[i]))
            return false;
    return true;
}

/* The number of heads: of a dim of its own, or what (batch * heads) was made of, or else all of that. */
static bool find_heads(attention *a) {
    const view *all[] = {&a->q, &a->k, &a->v};
    int64_t heads = 0;
    for (int i = 0; i < 3; i++) {
        if (!all[i]->heads) continue;
        if (heads && heads != all[i]->heads) return false;
        heads = all[i]->heads;
    }
    const tn_type *t = &a->values->out[0]->type;
    int64_t lead = t->shape.rank > 2 ? t->shape.dims[t->shape.rank - 3] : 1;
    if (t->shape.rank == 4 || (!heads && tn_dim_known(lead))) heads = lead;
    if (!heads) heads = 1;
    a->heads = heads;
    return tn_dim_known(heads) && heads > 0;
}

/* Gs become heads, a batch, or both. */
static void split_heads(view *w, int64_t heads) {
    int g = find(w, 'G');
    if (g < 0) return;
    token *t = &w->at[g];
    if (t->size == heads || heads == 1) {
        t->letter = t->size == heads && heads > 1 ? 'H' : 'B';
        return;
    }
    memmove(t + 1, t, (size_t)(w->count - g) * sizeof *t);
    w->count++;
    t[0].letter = 'B';
    t[1].letter = 'H';
}

static bool find_layouts(attention *a) {
    static const char *const rows[] = {"LD", "GLD", "BHLD"}, *const columns[] = {"DL", "GDL", "BHDL"};
    tn_value *q = a->scores->in[0], *k = a->scores->in[1], *v = a->values->in[1], *z = a->values->out[0];
    if (!is_float(q) || !is_float(k) || !is_float(v) || !is_float(z) || !same_batch(q, k, v)) return false;
    int rank = q->type.shape.rank - 2;
    if (rank < 0 || rank > 2 || z->type.shape.rank != rank + 2) return false;
    a->q = view_of(q, rows[rank]);
    a->k = view_of(k, columns[rank]);
    a->v = view_of(v, rows[rank]);
    a->y = view_of(z, rows[rank]);
    if (!trace(&a->q, &a->scale) || !trace(&a->k, &a->scale) || !trace(&a->v, NULL) || !find_heads(a)) return false;
    view *all[] = {&a->q, &a->k, &a->v, &a->y};
    for (int i = 0; i < 4; i++) {
        if (all[i]->count >= TOKENS_MAX - 2) return false;
        split_heads(all[i], a->heads);
    }
    return a->scale >= 0 && isfinite(a->scale) && mask_fits(a);
}

/* A Transpose behind, the only reader, whose result still has rows of neighbours. */
static void find_turn(const tn_opt *o, attention *a) {
    tn_value *z = a->values->out[0];
    tn_node *n = z->n_uses == 1 ? o->sole_user[z->id] : NULL;
    size_t count = 0;
    const int64_t *perm = tn_opt_is(n, "", "Transpose") ? tn_attr_ints(n, "perm", &count) : NULL;
    view out = a->y;
    if (!perm || count != (size_t)a->y.rank || perm[count - 1] != (int64_t)count - 1) return;
    out.count = 0;
    for (int d = 0; d < out.rank; d++)
        for (int k = 0; k < a->y.count; k++)
            if (a->y.at[k].dim == perm[d]) out.at[out.count++] = (token){a->y.at[k].letter, d, a->y.at[k].size};
    a->y = out;
    a->turn = n;
}

/* ---- the node -------------------------------------------------------------------------------------------------- */

static tern_status set_layout(tn_opt *o, tn_node *n, const char *name, const view *w) {
    char text[4 * TERN_MAX_RANK + 4 * TOKENS_MAX];
    size_t len = 0;
    for (int d = 0; d < w->rank; d++) {
        char group[TOKENS_MAX + 1];
        int k = 0;
        for (int i = 0; i < w->count; i++) {
            if (w->at[i].dim != d) continue;
            if (w->at[i].letter == 'D' && find(w, 'H') < 0) group[k++] = 'H';
            group[k++] = w->at[i].letter;
        }
        if (k == 0) group[k++] = '1';
        if (k > 1) text[len++] = '(';
        memcpy(text + len, group, (size_t)k);
        len += (size_t)k;
        if (k > 1) text[len++] = ')';
    }
    const char *kept = tn_arena_strndup(&o->model->arena, text, len);
    return kept ? tn_opt_set_s(o, n, name, kept) : tn_fail_oom(o->err, len);
}

static tern_status write_node(tn_opt *o, const attention *a) {
    tn_node *last = a->turn ? a->turn : a->values;
    tn_node *n = tn_opt_replace(o, last->id, "tern", "Attention", 1, a->mask ? 4 : 3, last);
    if (!n) return TERN_OUT_OF_MEMORY;
    n->in[0] = a->q.value;
    n->in[1] = a->k.value;
    n->in[2] = a->v.value;
    if (a->mask) n->in[3] = a->mask;
    const int64_t parts[] = {a->q.parts, a->k.parts, a->v.parts}, part[] = {a->q.part, a->k.part, a->v.part};
    TN_TRY(set_layout(o, n, "q_layout", &a->q));
    TN_TRY(set_layout(o, n, "k_layout", &a->k));
    TN_TRY(set_layout(o, n, "v_layout", &a->v));
    TN_TRY(set_layout(o, n, "y_layout", &a->y));
    TN_TRY(tn_opt_set_ints(o, n, "parts", parts, 3));
    TN_TRY(tn_opt_set_ints(o, n, "part", part, 3));
    TN_TRY(tn_opt_set_i(o, n, "q_num_heads", a->heads));
    TN_TRY(tn_opt_set_i(o, n, "kv_num_heads", a->heads));
    TN_TRY(tn_opt_set_f(o, n, "scale", a->scale));
    TN_TRY(tn_opt_set_i(o, n, "masked_nan", 1));
    return tn_opt_note(o, n, a->mask ? "MatMul, Add, Softmax, MatMul" : "MatMul, Softmax, MatMul");
}

static tern_status match(tn_opt *o, tn_node *values) {
    attention a = {.values = values, .scale = 1};
    a.softmax = tn_opt_sole_producer(values->in[0], "", "Softmax");
    if (!a.softmax || !softmax_of_rows(a.softmax) || !match_scores(a.softmax->in[0], &a)) return TERN_OK;
    if (!find_layouts(&a)) return TERN_OK;
    find_turn(o, &a);
    return write_node(o, &a);
}

tern_status tn_pass_attention(tn_opt *o) {
    for (int i = 0; i < o->graph->n_nodes; i++) {
        tn_node *n = o->graph->nodes[i];
        if (tn_opt_is(n, "", "MatMul")) TN_TRY(match(o, n));
    }
    return TERN_OK;
}
