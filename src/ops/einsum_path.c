/* The order in which Einsum contracts its operands: pairs, so that the work is a sum of small products and not one
 * product over all labels. */
#include "ops/copy.h"
#include "ops/einsum_internal.h"

/* Results between the moves may take this many times what operands and output take, and FREE elements. */
#define GROWTH 16
#define FREE   ((int64_t)1 << 20)

typedef struct terms {
    const tn_einsum_loops *l;
    int n, n_live; /* slots, those not yet contracted */
    bool live[TN_EINSUM_SLOTS], has[TN_EINSUM_SLOTS][TN_EINSUM_LABELS];
    int uses[TN_EINSUM_LABELS]; /* live slots with the label, and the output */
} terms;

static int64_t times(int64_t a, int64_t b) {
    int64_t c;
    return tn_mul_i64(a, b, &c) ? c : INT64_MAX;
}

static int64_t plus(int64_t a, int64_t b) {
    int64_t c;
    return tn_add_i64(a, b, &c) ? c : INT64_MAX;
}

static bool is_empty(const tn_einsum_loops *l) {
    for (int d = 0; d < l->n_all; d++)
        if (l->size[d] < 1) return true;
    return false;
}

/* Labels of size 1 have no stride and are left out. */
static void init_terms(terms *t, const tn_einsum_loops *l, int n_in) {
    memset(t, 0, sizeof *t);
    t->l = l;
    t->n = t->n_live = n_in;
    for (int d = 0; d < l->n_all; d++) {
        t->uses[d] = d < l->n_out;
        for (int i = 0; i < n_in; i++) {
            t->has[i][d] = l->stride[i][d] != 0;
            t->uses[d] += t->has[i][d];
        }
    }
    for (int i = 0; i < n_in; i++) t->live[i] = true;
}

static tn_einsum_move move_of(const terms *t, int a, int b) {
    tn_einsum_move m = {.a = a, .b = b, .count = 1, .macs = 1};
    int rank = 0;
    for (int d = 0; d < t->l->n_all; d++) {
        int here = t->has[a][d] + (b >= 0 && t->has[b][d]);
        if (!here) continue;
        m.macs = times(m.macs, t->l->size[d]);
        m.has[d] = t->uses[d] > here;
        if (!m.has[d]) continue;
        m.count = times(m.count, t->l->size[d]);
        rank++;
    }
    if (rank > TN_COPY_RANK) m.count = INT64_MAX;
    return m;
}

static void take(terms *t, const tn_einsum_move *m, tn_einsum_path *p) {
    for (int d = 0; d < t->l->n_all; d++) {
        t->uses[d] += m->has[d] - t->has[m->a][d] - (m->b >= 0 && t->has[m->b][d]);
        t->has[t->n][d] = m->has[d];
    }
    t->live[m->a] = false;
    if (m->b >= 0) t->live[m->b] = false;
    t->live[t->n++] = true;
    t->n_live -= m->b >= 0;
    p->moves[p->n++] = *m;
}

/* The pair with the smallest result, of those the one with the fewest multiplications, of those the first. */
static tn_einsum_move best_pair(const terms *t) {
    tn_einsum_move best = {.a = -1};
    for (int a = 0; a < t->n; a++)
        for (int b = a + 1; b < t->n && t->live[a]; b++) {
            if (!t->live[b]) continue;
            tn_einsum_move m = move_of(t, a, b);
            if (best.a < 0 || m.count < best.count || (m.count == best.count && m.macs < best.macs)) best = m;
        }
    return best;
}

/* Whether the path is no more work than one nest of loops (half as much again is made up for by faster steps), and its
 * results in between are not out of proportion. */
static bool is_worth(const terms *t, int n_in, const tn_einsum_path *p) {
    int64_t whole = 1, held = p->moves[p->n - 1].count, work = 0, most = 0;
    for (int d = 0; d < t->l->n_all; d++) whole = times(whole, t->l->size[d]);
    for (int i = 0; i < n_in; i++) {
        int64_t count = 1;
        for (int d = 0; d < t->l->n_all; d++)
            if (t->has[i][d]) count = times(count, t->l->size[d]);
        held = plus(held, count);
    }
    for (int i = 0; i < p->n; i++) {
        work = plus(work, p->moves[i].macs);
        if (i + 1 < p->n) most = TN_MAX(most, p->moves[i].count);
    }
    return work <= plus(whole, whole / 2) && most < INT64_MAX && most <= plus(times(held, GROWTH), FREE);
}

void tn_einsum_path_find(const tn_einsum_loops *l, int n_in, tn_einsum_path *p) {
    p->n = 0;
    if (n_in < 2 || is_empty(l)) return;
    terms t;
    init_terms(&t, l, n_in);
    for (int i = 0; i < n_in; i++) {
        tn_einsum_move m = move_of(&t, i, -1);
        if (m.count < m.macs) take(&t, &m, p);
    }
    while (t.n_live > 1) {
        tn_einsum_move m = best_pair(&t);
        take(&t, &m, p);
    }
    if (!is_worth(&t, n_in, p)) p->n = 0;
}

/* ---- loops of the steps -------------------------------------------------------------------------------------- */

static const int64_t no_stride[TN_EINSUM_LABELS];

static void add_label(tn_einsum_step *s, int64_t size, int64_t a, int64_t b) {
    int k = s->l.n_all++;
    s->l.size[k] = size;
    s->l.stride[0][k] = a;
    s->l.stride[1][k] = b;
}

/* The result of a move in the order in which a product leaves it: labels of both, of a, of b; that of one operand in
 * the order in which it lies. */
static void add_result(tn_einsum_step *s, const tn_einsum_loops *l, const tn_einsum_move *m, const int64_t *a,
                       const int64_t *b) {
    int label[TN_EINSUM_LABELS], n = 0;
    for (int part = 0; part < 3; part++)
        for (int d = 0; d < l->n_all; d++)
            if (m->has[d] && part == (!b[d] ? 1 : !a[d] ? 2 : 0)) label[n++] = d;
    for (int i = 1; i < n && m->b < 0; i++) {
        int d = label[i], k = i;
        for (; k > 0 && a[d] > a[label[k - 1]]; k--) label[k] = label[k - 1];
        label[k] = d;
    }
    for (int i = 0; i < n; i++) add_label(s, l->size[label[i]], a[label[i]], b[label[i]]);
    for (int64_t i = n - 1, step = 1; i >= 0; step *= l->size[label[i]], i--) s->stride[label[i]] = step;
}

static void make_step(const tn_einsum_loops *l, int n_in, const tn_einsum_move *m, bool last, tn_einsum_step *steps,
                      tn_einsum_step *s) {
    int slot[2] = {m->a, m->b};
    const int64_t *from[2] = {no_stride, no_stride};
    s->n_in = m->b < 0 ? 1 : 2;
    for (int i = 0; i < s->n_in; i++) {
        s->in[i] = slot[i];
        from[i] = slot[i] < n_in ? l->stride[slot[i]] : steps[slot[i] - n_in].stride;
    }
    if (last) {
        for (int d = 0; d < l->n_out; d++) add_label(s, l->size[d], from[0][d], from[1][d]);
    } else {
        add_result(s, l, m, from[0], from[1]);
    }
    s->l.n_out = s->l.n_all;
    s->count = m->count;
    for (int d = 0; d < l->n_all; d++)
        if ((from[0][d] || from[1][d]) && !m->has[d]) add_label(s, l->size[d], from[0][d], from[1][d]);
}

void tn_einsum_path_steps(const tn_einsum_loops *l, int n_in, const tn_einsum_path *p, tn_einsum_step *steps) {
    for (int i = 0; i < p->n; i++) make_step(l, n_in, &p->moves[i], i + 1 == p->n, steps, &steps[i]);
    if (p->n > 0) return;
    steps->l = *l;
    steps->n_in = n_in;
    steps->count = 1;
    for (int i = 0; i < n_in; i++) steps->in[i] = i;
    for (int d = 0; d < l->n_out; d++) steps->count = times(steps->count, l->size[d]);
}
