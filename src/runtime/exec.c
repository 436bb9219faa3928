#include "runtime/runtime.h"

tern_status tn_exec_alloc(tn_exec *e, tern_dtype dtype, const tn_shape *shape, tern_tensor **out, tern_error *err) {
    tn_run_state *run = ((tn_context *)e)->run;
    size_t bytes, limit = run->session->options.memory_limit;
    char text[TN_SHAPE_TEXT];
    if (!tn_bytes_for(dtype, shape, 0, &bytes))
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a result of shape %s is too large",
                       tn_shape_text(shape, text, sizeof text));
    if (bytes > limit || run->dynamic_bytes > limit - bytes)
        return tn_fail(err, TERN_LIMIT_EXCEEDED,
                       "a result of shape %s beside %zu bytes of other values is more than the limit of %zu bytes",
                       tn_shape_text(shape, text, sizeof text), run->dynamic_bytes, limit);
    run->dynamic_bytes += bytes;
    return tn_tensor_new(out, dtype, shape, err);
}

/* What goes with the last reference counts as free again. */
static size_t bytes_freed_with(const tern_tensor *t) {
    if (!t || t->refs != 1) return 0;
    if (t->kind == TERN_KIND_TENSOR) return t->buffer ? tn_tensor_bytes(t) : 0;
    size_t sum = 0;
    for (size_t i = 0; i < t->n_items; i++) sum += bytes_freed_with(t->items[i]);
    return sum;
}

void tn_exec_drop(tn_exec *e, tern_tensor *t) {
    tn_run_state *run = ((tn_context *)e)->run;
    run->dynamic_bytes -= TN_MIN(run->dynamic_bytes, bytes_freed_with(t));
    tn_tensor_unref(t);
}

static tern_status alloc_like(tn_context *c, const tn_type *t, int block, tern_tensor **out, tern_error *err) {
    if (!block) return tn_exec_alloc(&c->exec, t->dtype, &t->shape, out, err);
    /* Room for the padded channels: the stored shape, shown under the logical one. */
    tern_tensor shaped = {.kind = TERN_KIND_TENSOR, .dtype = t->dtype, .block = block, .shape = t->shape};
    tn_shape stored = tn_tensor_stored_shape(&shaped);
    TN_TRY(tn_exec_alloc(&c->exec, t->dtype, &stored, out, err));
    (*out)->shape = t->shape;
    (*out)->block = block;
    return TERN_OK;
}

/* ---- one step -------------------------------------------------------------------------------------------------- */

/* Memory for outputs of known shape that are not planned. */
static tern_status alloc_outputs(tn_context *c, const tn_step *step, const tn_type *types, tern_tensor **out,
                                 tern_error *err) {
    for (int i = 0; i < step->node->n_out; i++) {
        const tn_value *v = step->node->out[i];
        if (!v || out[i]) continue;
        const tn_type *t = types ? &types[i] : &c->cached->plan->slots[v->id].type;
        if (t->kind != TERN_KIND_TENSOR || !t->ranked || !tn_shape_known(&t->shape) || t->dtype == TERN_UNDEFINED)
            continue;
        TN_TRY(alloc_like(c, t, v->block, &out[i], err));
    }
    return TERN_OK;
}

/* Steps after this one were planned for the type that inference promised: they must not meet another one. */
static bool is_as_planned(const tn_type *t, const tern_tensor *real) {
    if (t->kind != TERN_KIND_TENSOR || t->dtype == TERN_UNDEFINED) return true;
    if (real->kind != TERN_KIND_TENSOR || real->dtype != t->dtype) return false;
    if (!t->ranked) return true;
    if (t->shape.rank != real->shape.rank) return false;
    for (int d = 0; d < t->shape.rank; d++)
        if (tn_dim_known(t->shape.dims[d]) && t->shape.dims[d] != real->shape.dims[d]) return false;
    return true;
}

static tern_status fail_type(const tn_context *c, int i, const tn_type *want, const tern_tensor *real,
                             tern_error *err) {
    tn_text a, b;
    tn_text_init(&a);
    tn_text_init(&b);
    tn_type got = tn_type_of_tensor(real);
    tn_type_text(c->run->session->model, want, &a);
    tn_type_text(c->run->session->model, &got, &b);
    tern_status s = tn_fail(err, TERN_SHAPE_MISMATCH, "output %d was inferred to be %s, but is %s", i,
                            a.data ? a.data : "?", b.data ? b.data : "?");
    tn_text_release(&a);
    tn_text_release(&b);
    return s;
}

/* What run made goes to the frame; what it put in place of planned memory is copied there. */
static tern_status store_outputs(tn_context *c, const tn_step *step, tern_tensor **out, tern_error *err) {
    tern_status status = TERN_OK;
    for (int i = 0; i < step->node->n_out; i++) {
        const tn_value *v = step->node->out[i];
        if (!v) continue;
        const tn_slot *slot = &c->cached->plan->slots[v->id];
        if (slot->place == TN_PLACE_DYNAMIC) {
            c->frame->values[v->id] = out[i];
            if (!out[i] && v->n_uses && status == TERN_OK)
                status = tn_fail(err, TERN_INTERNAL, "output %d was not computed", i);
            else if (out[i] && !is_as_planned(&slot->type, out[i]) && status == TERN_OK)
                status = fail_type(c, i, &slot->type, out[i], err);
        } else if (slot->place == TN_PLACE_CONSTANT || slot->place == TN_PLACE_NONE) {
            tn_tensor_unref(out[i]);
        } else if (out[i] != c->frame->values[v->id]) {
            tern_tensor *to = c->frame->values[v->id];
            if (!out[i] || out[i]->dtype != to->dtype || tn_tensor_bytes(out[i]) != tn_tensor_bytes(to))
                status = tn_fail(err, TERN_INTERNAL, "output %d is not of the planned type", i);
            else
                memcpy(to->data, out[i]->data, tn_tensor_bytes(to));
            tn_tensor_unref(out[i]);
        }
        out[i] = NULL;
    }
    return status;
}

static void drop_outputs(tn_context *c, const tn_step *step, tern_tensor **out) {
    for (int i = 0; i < step->node->n_out; i++) {
        const tn_value *v = step->node->out[i];
        if (v && out[i] != c->frame->values[v->id]) tn_tensor_unref(out[i]);
        out[i] = NULL;
    }
}

/* Infers and prepares with the tensors as they are. */
static tern_status prepare_dynamic(tn_context *c, const tn_step *step, tern_tensor **in, tern_tensor **out,
                                   tn_arena *arena, tn_prepare *pc, tern_error *err) {
    const tn_node *n = step->node;
    size_t n_in = (size_t)n->n_in, n_out = (size_t)n->n_out, n_cap = (size_t)n->n_captures;
    tn_type *types = tn_arena_array(arena, n_in + n_cap + n_out + 1, sizeof *types);
    const tn_type **in_types = tn_arena_array(arena, n_in + n_cap + 1, sizeof *in_types);
    const int64_t **partial = tn_arena_array(arena, n_in + n_out + 1, sizeof *partial);
    int *blocks = tn_arena_array(arena, n_in + n_out + 1, sizeof *blocks);
    const tern_tensor **constants = tn_arena_array(arena, n_in + 1, sizeof *constants);
    if (!types || !in_types || !partial || !blocks || !constants) return tn_fail_oom(err, sizeof *types * n_in);
    for (size_t i = 0; i < n_in + n_cap; i++) {
        const tern_tensor *t = i < n_in ? in[i] : c->frame->values[n->captures[i - n_in]->id];
        if (!t) continue;
        types[i] = tn_type_of_tensor(t);
        in_types[i] = &types[i];
        if (i >= n_in) continue;
        blocks[i] = t->block;
        constants[i] = n->in[i]->constant;
    }
    for (size_t i = 0; i < n_out; i++) blocks[n_in + i] = n->out[i] ? n->out[i]->block : 0;
    tn_type *out_types = types + n_in + n_cap;
    tn_infer ic = {.node = n,
                   .model = c->run->session->model,
                   .in = in_types,
                   .value = (const tern_tensor *const *)in,
                   .partial = partial,
                   .captured = in_types + n_in,
                   .out = out_types,
                   .out_partial = partial + n_in,
                   .arena = arena,
                   .err = err};
    TN_TRY(n->op->infer(&ic));
    *pc = (tn_prepare){.node = n,
                       .in = in_types,
                       .value = constants,
                       .out = out_types,
                       .in_block = blocks,
                       .out_block = blocks + n_in,
                       .tier = c->run->session->tier,
                       .threads = c->run->session->options.threads,
                       .arena = arena,
                       .packs = c->run->session->packs,
                       .err = err};
    if (n->op->prepare) TN_TRY(n->op->prepare(pc));
    TN_TRY(alloc_outputs(c, step, out_types, out, err));
    return tn_run_check_outputs(n, out_types, out, err);
}

static tern_status call_run(tn_context *c, const tn_step *step, const void *state, void *workspace, tern_error *err) {
    const tn_node *n = step->node;
    tn_run rc = {.node = n,
                 .state = state,
                 .in = c->frame->args,
                 .out = c->frame->args + n->n_in,
                 .workspace = workspace,
                 .tier = c->run->session->tier,
                 .threads = c->run->session->options.threads,
                 .strings = &c->run->strings,
                 .seed = &c->run->seed,
                 .exec = &c->exec,
                 .err = err};
    return n->op->run(&rc);
}

/* Never NULL on success: operators add offsets to it. */
static tern_status alloc_workspace(const tn_run_state *run, size_t bytes, void **out, tern_error *err) {
    size_t limit = run->session->options.memory_limit;
    if (bytes > limit || run->dynamic_bytes > limit - bytes)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "%zu bytes of scratch memory beside %zu of values are more than %zu",
                       bytes, run->dynamic_bytes, limit);
    *out = tn_alloc_aligned(TN_MAX(bytes, 1), TN_CACHE_LINE);
    return *out ? TERN_OK : tn_fail_oom(err, bytes);
}

static tern_status run_dynamic(tn_context *c, const tn_step *step, tern_tensor **out, tern_error *err) {
    tn_arena arena;
    tn_arena_init(&arena, 0);
    tn_prepare pc = {0};
    void *workspace = NULL;
    tern_status s = prepare_dynamic(c, step, c->frame->args, out, &arena, &pc, err);
    if (s == TERN_OK) s = alloc_workspace(c->run, pc.workspace, &workspace, err);
    if (s == TERN_OK) s = call_run(c, step, pc.state, workspace, err);
    tn_free(workspace);
    tn_arena_release(&arena);
    return s;
}

static tern_status run_step(tn_context *c, const tn_step *step, tern_error *err) {
    const tn_node *n = step->node;
    tn_frame *f = c->frame;
    tern_tensor **in = f->args, **out = f->args + n->n_in;
    for (int i = 0; i < n->n_in; i++) in[i] = n->in[i] ? f->values[n->in[i]->id] : NULL;
    for (int i = 0; i < n->n_out; i++) {
        tn_place place = n->out[i] ? c->cached->plan->slots[n->out[i]->id].place : TN_PLACE_NONE;
        out[i] = place == TN_PLACE_ARENA || place == TN_PLACE_RESULT ? f->values[n->out[i]->id] : NULL;
    }
    tern_status s;
    if (step->dynamic) {
        s = run_dynamic(c, step, out, err);
    } else {
        s = alloc_outputs(c, step, NULL, out, err);
        if (s == TERN_OK) s = call_run(c, step, step->state, f->memory + c->cached->plan->arena_bytes, err);
    }
    if (s == TERN_OK) return store_outputs(c, step, out, err);
    drop_outputs(c, step, out);
    return s;
}

static void report(const tn_context *c, const tn_step *step, uint64_t start) {
    const tern_session *session = c->run->session;
    const tern_options *o = &session->options;
    uint64_t end = tn_clock_ns();
    tern_profile_event e = {.node = step->node->name,
                            .op_type = step->node->op_type,
                            .kernel = step->kernel,
                            .start_ns = start,
                            .end_ns = end,
                            .macs = step->macs,
                            .bytes = step->bytes};
    if (o->profile) o->profile(o->profile_context, &e);
    if (!session->observe) return;
    tn_observation seen = {c->cached->plan, step, c->frame->values, start, end};
    session->observe(session->observe_context, &seen);
}

tern_status tn_exec_steps(tn_context *c, tern_error *err) {
    const tn_plan *plan = c->cached->plan;
    const tern_session *session = c->run->session;
    bool timed = session->options.profile || session->observe;
    for (int i = 0; i < plan->n_steps; i++) {
        const tn_step *step = &plan->steps[i];
        uint64_t start = timed ? tn_clock_ns() : 0;
        tern_status s = run_step(c, step, err);
        if (s != TERN_OK) {
            char where[TN_NODE_TEXT];
            tn_error_prefix(err, "%s: ", tn_node_text(step->node, where, sizeof where));
            return s;
        }
        if (timed) report(c, step, start);
        for (int k = 0; k < step->n_release; k++) {
            tn_exec_drop(&c->exec, c->frame->values[step->release[k]]);
            c->frame->values[step->release[k]] = NULL;
        }
    }
    return TERN_OK;
}

void tn_exec_clear(tn_context *c) {
    const tn_plan *plan = c->cached->plan;
    for (int i = 0; i < plan->graph->n_values; i++) {
        tn_place place = plan->slots[i].place;
        if (place == TN_PLACE_DYNAMIC) tn_exec_drop(&c->exec, c->frame->values[i]);
        if (place == TN_PLACE_DYNAMIC || place == TN_PLACE_GIVEN) c->frame->values[i] = NULL;
    }
    for (int i = 0; i < plan->graph->n_outputs; i++) {
        tn_tensor_unref(c->frame->results[i]);
        c->frame->results[i] = NULL;
    }
}

/* ---- subgraphs ------------------------------------------------------------------------------------------------- */

static tern_status make_results(tn_context *c, tern_error *err) {
    const tn_plan *plan = c->cached->plan;
    for (int i = 0; i < plan->graph->n_values; i++) {
        const tn_slot *s = &plan->slots[i];
        if (s->place != TN_PLACE_RESULT) continue;
        if (!c->frame->results[s->result]) {
            const tn_type *t = &plan->slots[plan->graph->outputs[s->result]->id].type;
            TN_TRY(tn_exec_alloc(&c->exec, t->dtype, &t->shape, &c->frame->results[s->result], err));
        }
        c->frame->headers[i].data = c->frame->results[s->result]->data;
    }
    return TERN_OK;
}

/* A copy that outlives the frame. The bytes of string elements live as long as the run: they stay where they are. */
static tern_status copy_out(tn_context *c, const tern_tensor *t, tern_tensor **out, tern_error *err) {
    const tn_type type = tn_type_of_tensor(t);
    TN_TRY(alloc_like(c, &type, t->block, out, err));
    size_t bytes = tn_tensor_bytes(t);
    if (bytes) memcpy((*out)->data, t->data, bytes);
    return TERN_OK;
}

static tern_status take_outputs(tn_context *c, tern_tensor **out, int n_out, tern_error *err) {
    const tn_graph *g = c->cached->graph;
    for (int i = 0; i < n_out; i++) {
        const tn_slot *s = &c->cached->plan->slots[g->outputs[i]->id];
        tern_tensor *t = c->frame->values[g->outputs[i]->id];
        if (s->place == TN_PLACE_RESULT && s->result == i)
            out[i] = tn_tensor_ref(c->frame->results[i]);
        else if (s->place == TN_PLACE_RESULT || s->place == TN_PLACE_ARENA)
            TN_TRY(copy_out(c, t, &out[i], err));
        else
            out[i] = tn_tensor_ref(t);
    }
    return TERN_OK;
}

static tern_status run_inner(tn_context *c, tern_tensor *const *given, tern_tensor **out, int n_out, tern_error *err) {
    const tn_graph *g = c->cached->graph;
    for (int i = 0; i < g->n_inputs; i++)
        if (c->cached->plan->slots[g->inputs[i]->id].place == TN_PLACE_GIVEN)
            c->frame->values[g->inputs[i]->id] = given[i];
    for (int i = 0, k = g->n_inputs; i < g->n_values; i++) {
        if (!g->values[i]->captured) continue;
        if (c->cached->plan->slots[i].place == TN_PLACE_GIVEN) c->frame->values[i] = given[k];
        k++;
    }
    tern_status s = make_results(c, err);
    if (s == TERN_OK) s = tn_exec_steps(c, err);
    if (s == TERN_OK) s = take_outputs(c, out, n_out, err);
    tn_exec_clear(c);
    return s;
}

tern_status tn_exec_run_graph(tn_exec *e, const tn_node *node, tn_graph *g, tern_tensor *const *in, int n_in,
                              tern_tensor **out, int n_out, tern_error *err) {
    tn_context *outer = (tn_context *)e;
    (void)node;
    for (int i = 0; i < n_out; i++) out[i] = NULL;
    int64_t limit = outer->run->session->options.max_iterations;
    if (limit > 0 && outer->run->n_graph_runs++ >= limit)
        return tn_fail(err, TERN_LIMIT_EXCEEDED,
                       "subgraphs ran more than %lld times in one run (option max_iterations)", (long long)limit);
    if (n_in != g->n_inputs || n_out > g->n_outputs)
        return tn_fail(err, TERN_INVALID_MODEL, "subgraph '%s' has %d inputs and %d outputs; %d and %d are needed",
                       g->name, g->n_inputs, g->n_outputs, n_in, n_out);
    tern_tensor **given = tn_alloc_array((size_t)n_in + (size_t)g->n_values + 1, sizeof(tern_tensor *));
    if (!given) return tn_fail_oom(err, (size_t)g->n_values * sizeof *given);
    int n_given = 0;
    for (int i = 0; i < n_in; i++) given[n_given++] = in[i];
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->captured) given[n_given++] = outer->frame->values[g->values[i]->captured->id];
    tn_context c = {.exec = {tn_exec_alloc, tn_exec_run_graph, tn_exec_drop}, .run = outer->run};
    tern_status s = tn_session_plan(outer->run->session, g, given, n_given, &c.cached, err);
    if (s == TERN_OK) {
        s = tn_session_take_frame(outer->run->session, c.cached, &c.frame, err);
        if (s == TERN_OK) s = run_inner(&c, given, out, n_out, err);
        tn_session_release_plan(outer->run->session, c.cached, c.frame);
    }
    tn_free(given);
    for (int i = 0; s != TERN_OK && i < n_out; i++) {
        tn_tensor_unref(out[i]);
        out[i] = NULL;
    }
    return s;
}
