/* One direction of a recurrent layer for one element type; included by rnn_core.c with REAL and FN defined.
 *
 * The products of all inputs with W are one matrix product before the first step; a step is a product of the states
 * with R and a pass over the samples. */

typedef struct FN(step) {
    const tn_rnn *n;
    const tn_rnn_data *d;
    tern_cpu_tier tier;
    int dir;
    bool backward;
    int64_t s;          /* steps done */
    REAL *xw;           /* (length * batch, gates * hidden): X W^T and biases */
    REAL *rec;          /* (batch, gates * hidden): H R^T */
    REAL *h, *c;        /* (batch, hidden) */
    REAL *rh;           /* GRU: (batch, hidden), reset gate times state */
    REAL *bias;         /* gates * hidden */
    const REAL *r_bias; /* GRU, linear_before_reset: recurrent bias of the hidden gate; NULL: none */
    const REAL *peep;   /* LSTM: i, o, f; NULL: none */
} FN(step);

static void FN(clip_act)(const FN(step) * p, int act, REAL *x) {
    const tn_rnn *n = p->n;
    REAL limit = (REAL)n->clip;
    if (n->clip < INFINITY)
        for (int64_t j = 0; j < n->hidden; j++) x[j] = x[j] > limit ? limit : x[j] < -limit ? -limit : x[j];
    FN(activate)(p->tier, &n->acts[p->dir * n->n_acts + act], x, n->hidden);
}

/* Time of this step for sample b; false when its sequence is over. */
static bool FN(time_of)(const FN(step) * p, int64_t b, int64_t *t) {
    int64_t length = p->d->lengths ? p->d->lengths[b] : p->n->length;
    *t = p->backward ? length - 1 - p->s : p->s;
    return p->s < length;
}

static void FN(emit)(const FN(step) * p, int64_t t, int64_t b, const REAL *h) {
    if (p->d->y) memcpy((REAL *)p->d->y + tn_rnn_y_at(p->n, t, p->dir, b), h, (size_t)p->n->hidden * sizeof *h);
}

static void FN(rnn_cell)(const FN(step) * p, int64_t t, int64_t b) {
    int64_t n = p->n->hidden;
    const REAL *x = p->xw + tn_rnn_x_row(p->n, t, b) * n, *rec = p->rec + b * n;
    REAL *h = p->h + b * n;
    for (int64_t j = 0; j < n; j++) h[j] = x[j] + rec[j];
    FN(clip_act)(p, 0, h);
    FN(emit)(p, t, b, h);
}

/* Gates in the order i, o, f, c. */
static void FN(lstm_cell)(const FN(step) * p, int64_t t, int64_t b) {
    int64_t n = p->n->hidden;
    const REAL *x = p->xw + tn_rnn_x_row(p->n, t, b) * 4 * n, *pi = p->peep, *po = pi ? pi + n : NULL,
               *pf = pi ? pi + 2 * n : NULL;
    REAL *i = p->rec + b * 4 * n, *o = i + n, *f = o + n, *g = f + n, *h = p->h + b * n, *c = p->c + b * n;
    for (int64_t j = 0; j < 4 * n; j++) i[j] += x[j];
    if (pi) {
        for (int64_t j = 0; j < n; j++) i[j] += pi[j] * c[j];
        for (int64_t j = 0; j < n; j++) f[j] += pf[j] * c[j];
    }
    FN(clip_act)(p, 0, i);
    if (p->n->input_forget)
        for (int64_t j = 0; j < n; j++) f[j] = 1 - i[j];
    else
        FN(clip_act)(p, 0, f);
    FN(clip_act)(p, 1, g);
    for (int64_t j = 0; j < n; j++) c[j] = f[j] * c[j] + i[j] * g[j];
    if (po)
        for (int64_t j = 0; j < n; j++) o[j] += po[j] * c[j];
    FN(clip_act)(p, 0, o);
    memcpy(h, c, (size_t)n * sizeof *h);
    FN(clip_act)(p, 2, h);
    for (int64_t j = 0; j < n; j++) h[j] *= o[j];
    FN(emit)(p, t, b, h);
}

/* z and r, in place in rec; r times the state. */
static void FN(gru_gates)(const FN(step) * p, int64_t t, int64_t b) {
    int64_t n = p->n->hidden;
    const REAL *x = p->xw + tn_rnn_x_row(p->n, t, b) * 3 * n, *h = p->h + b * n;
    REAL *z = p->rec + b * 3 * n, *r = z + n, *rh = p->rh + b * n;
    for (int64_t j = 0; j < 2 * n; j++) z[j] += x[j];
    FN(clip_act)(p, 0, z);
    FN(clip_act)(p, 0, r);
    for (int64_t j = 0; j < n; j++) rh[j] = r[j] * h[j];
}

static void FN(gru_cell)(const FN(step) * p, int64_t t, int64_t b) {
    int64_t n = p->n->hidden;
    const REAL *x = p->xw + (tn_rnn_x_row(p->n, t, b) * 3 + 2) * n;
    REAL *z = p->rec + b * 3 * n, *r = z + n, *g = r + n, *h = p->h + b * n;
    if (p->n->linear_before_reset) {
        if (p->r_bias)
            for (int64_t j = 0; j < n; j++) g[j] += p->r_bias[j];
        for (int64_t j = 0; j < n; j++) g[j] = x[j] + r[j] * g[j];
    } else {
        for (int64_t j = 0; j < n; j++) g[j] += x[j];
    }
    FN(clip_act)(p, 1, g);
    for (int64_t j = 0; j < n; j++) h[j] = (1 - z[j]) * g[j] + z[j] * h[j];
    FN(emit)(p, t, b, h);
}

static void FN(cells)(void *context, int64_t begin, int64_t end, int worker) {
    const FN(step) *p = context;
    (void)worker;
    for (int64_t b = begin, t; b < end; b++) {
        if (!FN(time_of)(p, b, &t)) continue;
        if (p->n->kind == TN_RNN) FN(rnn_cell)(p, t, b);
        if (p->n->kind == TN_GRU) FN(gru_cell)(p, t, b);
        if (p->n->kind == TN_LSTM) FN(lstm_cell)(p, t, b);
    }
}

static void FN(reset_gates)(void *context, int64_t begin, int64_t end, int worker) {
    const FN(step) *p = context;
    (void)worker;
    for (int64_t b = begin, t; b < end; b++)
        if (FN(time_of)(p, b, &t)) FN(gru_gates)(p, t, b);
}

/* Wb + Rb; with linear_before_reset the hidden gate's Rb stays apart. */
static const REAL *FN(add_bias)(FN(step) * p) {
    const tn_rnn *n = p->n;
    int64_t g = n->gates * n->hidden, apart = n->kind == TN_GRU && n->linear_before_reset ? n->hidden : 0;
    if (!p->d->bias) return NULL;
    const REAL *wb = (const REAL *)p->d->bias + p->dir * 2 * g, *rb = wb + g;
    for (int64_t j = 0; j < g; j++) p->bias[j] = wb[j] + (j < g - apart ? rb[j] : 0);
    p->r_bias = apart ? rb + 2 * n->hidden : NULL;
    return p->bias;
}

static void FN(load_state)(const FN(step) * p, const REAL *from, REAL *to) {
    size_t bytes = (size_t)p->n->hidden * sizeof *to;
    for (int64_t b = 0; b < p->n->batch; b++) {
        if (from)
            memcpy(to + b * p->n->hidden, from + tn_rnn_state_at(p->n, p->dir, b), bytes);
        else
            memset(to + b * p->n->hidden, 0, bytes);
    }
}

static void FN(store_state)(const FN(step) * p, const REAL *from, REAL *to) {
    for (int64_t b = 0; to && b < p->n->batch; b++)
        memcpy(to + tn_rnn_state_at(p->n, p->dir, b), from + b * p->n->hidden, (size_t)p->n->hidden * sizeof *to);
}

/* All steps of one direction. */
static void FN(direction)(FN(step) * p, products *m) {
    const tn_rnn *n = p->n;
    const int cell_threads = n->batch * n->gates * n->hidden < 8192 ? 1 : m->threads;
    const REAL *w = (const REAL *)p->d->w + matrix_at(n, p->dir, TN_RNN_X);
    const REAL *r = (const REAL *)p->d->r + matrix_at(n, p->dir, TN_RNN_R);
    const REAL *hidden = (const REAL *)p->d->r + matrix_at(n, p->dir, TN_RNN_H);
    const REAL *bias = FN(add_bias)(p);
    FN(load_state)(p, p->d->h0, p->h);
    if (n->kind == TN_LSTM) FN(load_state)(p, p->d->c0, p->c);
    if (p->d->peep) p->peep = (const REAL *)p->d->peep + p->dir * 3 * n->hidden;
    FN(pack)(m, TN_RNN_X, p->dir, w);
    FN(pack)(m, TN_RNN_R, p->dir, r);
    if (n->kind == TN_GRU) FN(pack)(m, TN_RNN_H, p->dir, hidden);
    FN(product)(m, TN_RNN_X, p->d->x, w, bias, p->xw);
    for (p->s = 0; p->s < n->length; p->s++) {
        FN(product)(m, TN_RNN_R, p->h, r, NULL, p->rec);
        if (n->kind == TN_GRU) {
            tn_parallel_for(cell_threads, n->batch, FN(reset_gates), p);
            FN(product)(m, TN_RNN_H, n->linear_before_reset ? p->h : p->rh, hidden, NULL, p->rec + 2 * n->hidden);
        }
        tn_parallel_for(cell_threads, n->batch, FN(cells), p);
    }
    FN(store_state)(p, p->h, p->d->yh);
    if (n->kind == TN_LSTM) FN(store_state)(p, p->c, p->d->yc);
}

static void FN(run)(const tn_rnn_data *d, products *m) {
    const tn_rnn_plan *plan = m->plan;
    const tn_rnn *n = &plan->n;
    FN(step) p = {.n = n, .d = d, .tier = m->tier};
    p.xw = (REAL *)(void *)(m->workspace + plan->at_xw);
    p.rec = (REAL *)(void *)(m->workspace + plan->at_rec);
    p.h = (REAL *)(void *)(m->workspace + plan->at_h);
    p.c = (REAL *)(void *)(m->workspace + plan->at_c);
    p.rh = (REAL *)(void *)(m->workspace + plan->at_rh);
    p.bias = (REAL *)(void *)(m->workspace + plan->at_bias);
    for (p.dir = 0; p.dir < n->directions; p.dir++) {
        p.backward = n->reverse || p.dir == 1;
        FN(direction)(&p, m);
    }
}
