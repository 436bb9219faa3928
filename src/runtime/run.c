#include "runtime/runtime.h"

/* tn_session_run: from the caller's named tensors to a frame and back. */

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

static tern_status check_input(const tern_session *s, const tn_value *v, const tern_tensor *t, tern_error *err) {
    const tn_type *want = &v->type;
    bool ok = want->kind == t->kind &&
              (want->dtype == TERN_UNDEFINED || want->dtype == t->dtype || t->kind != TERN_KIND_TENSOR);
    if (ok && want->kind == TERN_KIND_TENSOR && want->ranked) {
        ok = want->shape.rank == t->shape.rank;
        for (int i = 0; ok && i < t->shape.rank; i++)
            ok = !tn_dim_known(want->shape.dims[i]) || want->shape.dims[i] == t->shape.dims[i];
    }
    if (ok) return TERN_OK;
    tn_text a, b;
    tn_text_init(&a);
    tn_text_init(&b);
    tn_type got = tn_type_of_tensor(t);
    tn_type_text(s->model, &got, &a);
    tn_type_text(s->model, want, &b);
    tern_status status =
        tn_fail(err, want->dtype == t->dtype ? TERN_SHAPE_MISMATCH : TERN_TYPE_MISMATCH,
                "input '%s' is %s, but the model takes %s", v->name, a.data ? a.data : "?", b.data ? b.data : "?");
    tn_text_release(&a);
    tn_text_release(&b);
    return status;
}

/* Puts the feeds in the order of the graph's inputs. */
static tern_status collect_inputs(const tern_session *s, const tern_feed *inputs, size_t n_inputs, tern_tensor **given,
                                  tern_error *err) {
    const tn_graph *g = s->model->graph;
    for (int i = 0; i < g->n_inputs; i++) given[i] = NULL;
    for (size_t k = 0; k < n_inputs; k++) {
        int at = -1;
        for (int i = 0; at < 0 && i < g->n_inputs; i++)
            if (strcmp(g->inputs[i]->name, inputs[k].name) == 0) at = i;
        if (at < 0)
            return tn_fail(err, TERN_NOT_FOUND, "the model has no input '%s'; its first input is '%s'", inputs[k].name,
                           g->n_inputs ? g->inputs[0]->name : "");
        if (given[at]) return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' is given twice", inputs[k].name);
        TN_TRY(check_input(s, g->inputs[at], inputs[k].tensor, err));
        given[at] = (tern_tensor *)(uintptr_t)inputs[k].tensor; /* only read */
    }
    for (int i = 0; i < g->n_inputs; i++)
        if (!given[i]) return tn_fail(err, TERN_INVALID_ARGUMENT, "input '%s' is missing", g->inputs[i]->name);
    return TERN_OK;
}

/* ---- outputs --------------------------------------------------------------------------------------------------- */

static int find_output(const tn_graph *g, const char *const *names, size_t k) {
    if (!names) return (int)k;
    for (int i = 0; i < g->n_outputs; i++)
        if (strcmp(g->outputs[i]->name, names[k]) == 0) return i;
    return -1;
}

static tern_status check_outputs(const tern_session *s, const char *const *names, size_t n_outputs, tern_error *err) {
    const tn_graph *g = s->model->graph;
    if (!names && n_outputs != (size_t)g->n_outputs)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "the model has %d outputs, not %zu", g->n_outputs, n_outputs);
    for (size_t k = 0; k < n_outputs; k++)
        if (find_output(g, names, k) < 0) return tn_fail(err, TERN_NOT_FOUND, "the model has no output '%s'", names[k]);
    return TERN_OK;
}

static bool fits(const tern_tensor *t, const tn_slot *s) {
    return t->kind == TERN_KIND_TENSOR && t->dtype == s->type.dtype && tn_shape_equal(&t->shape, &s->type.shape);
}

static bool overlap(const tern_tensor *a, const tern_tensor *b) {
    if (!a->data || !b->data) return false;
    uintptr_t x = (uintptr_t)a->data, y = (uintptr_t)b->data;
    return x < y + tn_tensor_bytes(b) && y < x + tn_tensor_bytes(a);
}

/* The caller's tensor takes the result directly when it can. Intermediate values may live in it, too: it must not be an
 * input, or another output. */
static bool usable(const tn_context *c, const tern_tensor *t, const tn_slot *s) {
    if (!fits(t, s) || t->dtype == TERN_STRING || ((uintptr_t)t->data & (TN_CACHE_LINE - 1)) != 0) return false;
    const tn_graph *g = c->cached->graph;
    for (int i = 0; i < g->n_inputs; i++) {
        const tern_tensor *in = c->frame->values[g->inputs[i]->id];
        if (in && overlap(t, in)) return false;
    }
    for (int i = 0; i < g->n_outputs; i++)
        if (c->frame->results[i] && overlap(t, c->frame->results[i])) return false;
    return true;
}

static tern_status make_results(tn_context *c, const char *const *names, tern_tensor **outputs, size_t n_outputs,
                                tern_error *err) {
    const tn_plan *plan = c->cached->plan;
    const tn_graph *g = plan->graph;
    for (size_t k = 0; k < n_outputs; k++) {
        int o = find_output(g, names, k);
        const tn_slot *s = &plan->slots[g->outputs[o]->id];
        if (s->place == TN_PLACE_RESULT && s->result == o && outputs[k] && usable(c, outputs[k], s))
            c->frame->results[o] = tn_tensor_ref(outputs[k]);
    }
    for (int i = 0; i < g->n_values; i++) {
        const tn_slot *s = &plan->slots[i];
        if (s->place != TN_PLACE_RESULT) continue;
        if (!c->frame->results[s->result]) {
            const tn_type *t = &plan->slots[g->outputs[s->result]->id].type;
            TN_TRY(tn_tensor_new(&c->frame->results[s->result], t->dtype, &t->shape, err));
        }
        c->frame->headers[i].data = c->frame->results[s->result]->data;
    }
    return TERN_OK;
}

static tern_status copy_into(tern_tensor *to, const tern_tensor *from, const char *name, tern_error *err) {
    if (to->kind != from->kind || to->dtype != from->dtype || !tn_shape_equal(&to->shape, &from->shape)) {
        char a[TN_SHAPE_TEXT], b[TN_SHAPE_TEXT];
        return tn_fail(err, TERN_SHAPE_MISMATCH, "output '%s' is %s %s, but the given tensor is %s %s", name,
                       tern_dtype_name(from->dtype), tn_shape_text(&from->shape, a, sizeof a),
                       tern_dtype_name(to->dtype), tn_shape_text(&to->shape, b, sizeof b));
    }
    if (to->kind != TERN_KIND_TENSOR || to->dtype == TERN_STRING)
        return tn_fail(err, TERN_UNSUPPORTED, "output '%s' holds strings or is no tensor: let the run make it", name);
    if (to->data != from->data) memcpy(to->data, from->data, tn_tensor_bytes(from));
    return TERN_OK;
}

/* A tensor for the caller to keep: the run's own when nothing else refers to it, else a copy. String elements live in
 * memory of the run. */
static tern_status hand_over(tern_tensor *t, bool made_by_run, tern_tensor **out, tern_error *err) {
    if (made_by_run && t->kind == TERN_KIND_TENSOR && t->dtype != TERN_STRING && t->buffer && !t->block &&
        t->refs == 1) {
        *out = tn_tensor_ref(t);
        return TERN_OK;
    }
    return tn_tensor_copy(out, t, err);
}

static tern_status give_outputs(tn_context *c, const char *const *names, tern_tensor **outputs, size_t n_outputs,
                                tern_tensor **made, tern_error *err) {
    const tn_graph *g = c->cached->graph;
    for (size_t k = 0; k < n_outputs; k++) {
        int o = find_output(g, names, k);
        const tn_value *v = g->outputs[o];
        const tn_slot *s = &c->cached->plan->slots[v->id];
        tern_tensor *t = c->frame->values[v->id];
        if (s->place == TN_PLACE_RESULT && s->result == o) t = c->frame->results[o];
        if (outputs[k]) {
            TN_TRY(copy_into(outputs[k], t, v->name, err));
        } else {
            bool made_by_run = s->place == TN_PLACE_DYNAMIC || t == c->frame->results[o];
            TN_TRY(hand_over(t, made_by_run, &made[k], err));
        }
    }
    return TERN_OK;
}

/* ---- the run --------------------------------------------------------------------------------------------------- */

typedef struct call {
    const char *const *names;
    tern_tensor **outputs;
    size_t n_outputs;
    tern_tensor **given;
    tern_tensor **made; /* n_outputs, NULL at first */
} call;

static tern_status run_main(tn_context *c, const call *a, tern_error *err) {
    const tn_graph *g = c->cached->graph;
    for (int i = 0; i < g->n_inputs; i++) c->frame->values[g->inputs[i]->id] = a->given[i];
    tern_status s = make_results(c, a->names, a->outputs, a->n_outputs, err);
    if (s == TERN_OK) s = tn_exec_steps(c, err);
    if (s == TERN_OK) s = give_outputs(c, a->names, a->outputs, a->n_outputs, a->made, err);
    tn_exec_clear(c);
    return s;
}

static tern_status run_planned(tern_session *session, const call *a, tern_error *err) {
    tn_run_state run = {.session = session};
    tn_context c = {.exec = {tn_exec_alloc, tn_exec_run_graph, tn_exec_drop}, .run = &run};
    TN_TRY(tn_session_plan(session, session->model->graph, a->given, session->model->graph->n_inputs, &c.cached, err));
    tn_arena_init(&run.strings, 0);
    tn_mutex_lock(&session->mutex);
    run.seed = session->seed++;
    tn_mutex_unlock(&session->mutex);
    tern_status s = tn_session_take_frame(session, c.cached, &c.frame, err);
    if (s == TERN_OK) s = run_main(&c, a, err);
    tn_session_release_plan(session, c.cached, c.frame);
    tn_arena_release(&run.strings);
    return s;
}

/* ---- a batch in pieces ----------------------------------------------------------------------------------------- */

enum { PIECE_TENSORS = 32 };

typedef struct pieces {
    tern_session *session;
    const call *whole; /* its outputs are all there, in `made` or given */
    int64_t count;     /* samples of a piece */
    tern_status *status;
    tern_error *errors; /* of each piece */
} pieces;

/* Samples [first, first + count) of t. */
static tern_tensor part_of(const tern_tensor *t, int64_t first, int64_t count) {
    tern_tensor part = *t;
    size_t sample = tn_tensor_bytes(t) / (size_t)t->shape.dims[0];
    part.shape.dims[0] = count;
    part.data = (uint8_t *)t->data + sample * (size_t)first;
    part.buffer = NULL;
    part.refs = 1u << 30; /* never freed one by one */
    return part;
}

static void run_piece(const pieces *p, int64_t i) {
    const call *w = p->whole;
    tern_tensor parts[PIECE_TENSORS], *list[PIECE_TENSORS], *made[PIECE_TENSORS] = {NULL};
    size_t n_given = (size_t)p->session->model->graph->n_inputs;
    for (size_t k = 0; k < n_given + w->n_outputs; k++) {
        size_t o = k - n_given;
        const tern_tensor *t = k < n_given ? w->given[k] : w->outputs[o] ? w->outputs[o] : w->made[o];
        parts[k] = part_of(t, i * p->count, p->count);
        list[k] = &parts[k];
    }
    call a = {w->names, list + n_given, w->n_outputs, list, made};
    p->status[i] = run_planned(p->session, &a, &p->errors[i]);
}

static void piece_task(void *context, int64_t begin, int64_t end, int worker) {
    (void)worker;
    for (int64_t i = begin; i < end; i++) run_piece(context, i);
}

/* Tensors for the outputs that the caller did not give. False: the plan of a piece has outputs of another kind. */
static tern_status make_whole_outputs(tern_session *s, const call *a, int64_t batch, int64_t count, bool *fine,
                                      tern_error *err) {
    const tn_graph *g = s->model->graph;
    tern_tensor parts[PIECE_TENSORS], *list[PIECE_TENSORS];
    tn_cached_plan *c;
    for (int i = 0; i < g->n_inputs; i++) {
        parts[i] = part_of(a->given[i], 0, count);
        list[i] = &parts[i];
    }
    TN_TRY(tn_session_plan(s, g, list, g->n_inputs, &c, err));
    tern_status status = TERN_OK;
    *fine = true;
    for (size_t k = 0; k < a->n_outputs && *fine && status == TERN_OK; k++) {
        const tn_slot *slot = &c->plan->slots[g->outputs[find_output(g, a->names, k)]->id];
        tn_shape shape = slot->type.shape;
        *fine = (slot->place == TN_PLACE_RESULT || slot->place == TN_PLACE_ARENA) && slot->type.dtype != TERN_STRING &&
                shape.rank > 0 && shape.dims[0] == count;
        if (*fine) shape.dims[0] = batch;
        const tern_tensor *t = a->outputs[k];
        if (*fine && t) *fine = t->dtype == slot->type.dtype && !t->block && tn_shape_equal(&t->shape, &shape);
        if (*fine && !t) status = tn_tensor_new(&a->made[k], slot->type.dtype, &shape, err);
    }
    tn_session_release_plan(s, c, NULL);
    return status;
}

/* An output that lies over an input may be written only when all of the input has been read. */
static bool may_run_in_pieces(const tern_session *s, const call *a) {
    size_t n_given = (size_t)s->model->graph->n_inputs;
    for (size_t i = 0; i < n_given; i++)
        for (size_t k = 0; k < a->n_outputs; k++)
            if (a->outputs[k] && overlap(a->given[i], a->outputs[k])) return false;
    for (size_t i = 0; i < a->n_outputs; i++)
        for (size_t k = 0; k < i; k++)
            if (a->outputs[i] && a->outputs[k] && overlap(a->outputs[i], a->outputs[k])) return false;
    return n_given + a->n_outputs <= PIECE_TENSORS;
}

/* *done is false, and nothing has happened, where the batch is to run as a whole. */
static tern_status run_in_pieces(tern_session *s, const call *a, bool *done, tern_error *err) {
    enum { MANY_PER_THREAD = 4, MOST_PIECES = 4096 };
    int64_t count;
    *done = false;
    if (!s->separates || !may_run_in_pieces(s, a)) return TERN_OK;
    const int64_t batch = a->given[0]->shape.dims[0];
    TN_TRY(tn_batch_count(s, a->given, &count, err));
    if (count < 1 || count >= batch || batch / count > MOST_PIECES) return TERN_OK;
    TN_TRY(make_whole_outputs(s, a, batch, count, done, err));
    int64_t n = batch / count;
    pieces p = {s, a, count, *done ? tn_calloc((size_t)n, sizeof *p.status) : NULL, NULL};
    if (*done) p.errors = tn_calloc((size_t)n, sizeof *p.errors);
    if (!p.status || !p.errors) *done = false;
    /* Pieces side by side, where that keeps all threads busy; what watches a run expects it on one. */
    bool watched = s->observe || s->options.profile;
    bool beside = !watched && (n % s->options.threads == 0 || n >= (int64_t)MANY_PER_THREAD * s->options.threads);
    tern_status status = TERN_OK;
    if (*done) tn_parallel_for(beside ? s->options.threads : 1, n, piece_task, &p);
    for (int64_t i = n; *done && i-- > 0;) {
        if (p.status[i] == TERN_OK) continue;
        status = p.status[i];
        if (err) *err = p.errors[i];
    }
    for (size_t k = 0; !*done && k < a->n_outputs; k++) {
        tn_tensor_unref(a->made[k]);
        a->made[k] = NULL;
    }
    tn_free(p.status);
    tn_free(p.errors);
    return status;
}

tern_status tn_session_run(tern_session *s, const tern_feed *inputs, size_t n_inputs, const char *const *names,
                           tern_tensor **outputs, size_t n_outputs, tern_error *err) {
    tern_tensor *few[32] = {0}, **many = NULL, **list = few;
    size_t n_given = (size_t)s->model->graph->n_inputs, total;
    TN_TRY(check_outputs(s, names, n_outputs, err));
    if (!tn_add_size(n_given, n_outputs, &total)) return tn_fail_oom(err, SIZE_MAX);
    if (total > TN_COUNT(few) && !(list = many = tn_calloc(total, sizeof(tern_tensor *))))
        return tn_fail_oom(err, total * sizeof *many);
    call a = {names, outputs, n_outputs, list, list + n_given};
    tern_status status = collect_inputs(s, inputs, n_inputs, a.given, err);
    bool done = false;
    tn_thread_run_begin();
    if (status == TERN_OK) status = run_in_pieces(s, &a, &done, err);
    if (status == TERN_OK && !done) status = run_planned(s, &a, err);
    tn_thread_run_end();
    for (size_t k = 0; k < n_outputs; k++) {
        if (status == TERN_OK && a.made[k]) outputs[k] = a.made[k];
        if (status != TERN_OK) tn_tensor_unref(a.made[k]);
    }
    tn_free(many);
    if (status != TERN_OK && s->source->path) tn_error_prefix(err, "%s: ", s->source->path);
    return status;
}
