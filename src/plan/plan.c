/* Planning one graph for one set of input types.
 *
 *   1. infer all types with numbers; what can be computed from shapes alone becomes a constant, and its nodes vanish;
 *   2. a node whose types are all known is a static step, the others are dynamic: they infer, prepare and allocate when
 * they run;
 *   3. prepare the static steps: kernels, packed weights, scratch memory;
 *   4. values of static steps form classes that share memory (views, in-place results, parts of a concatenation); each
 * class gets an interval of steps, and memory.c an offset. A class that holds a graph output lives in the caller's
 * tensor instead. */
#include "plan/plan.h"

typedef struct planner {
    tn_plan *plan;
    const tn_graph *g;
    const tn_plan_options *options;
    int *class_of;     /* by value id: representative of its class; -1: not planned */
    size_t *within;    /* by value id: offset in the class */
    tn_part *parts;    /* by value id */
    int *parts_last;   /* by value id: last step that reads the value or something inside it */
    bool *has_parts;   /* by value id */
    tn_interval *life; /* by class representative */
    bool *pinned;      /* by class representative: lives in the tensor of a graph output */
    int *last_read;    /* by value id: last step that reads it; n_steps for graph outputs */
    tern_error *err;
} planner;

/* ---- types ----------------------------------------------------------------------------------------------------- */

static tern_status infer_all(planner *p, const tn_type *inputs, const tn_type *captured,
                             const tern_tensor *const *constants) {
    tn_infer_env *env = &p->plan->env;
    TN_TRY(tn_infer_env_init(env, p->g->model, p->g, NULL, &p->plan->arena, false, p->err));
    for (int i = 0; i < p->g->n_inputs; i++) env->types[p->g->inputs[i]->id] = inputs[i];
    for (int i = 0, c = 0; i < p->g->n_values; i++) {
        if (!p->g->values[i]->captured) continue;
        env->types[i] = captured[c];
        env->values[i] = constants[c];
        c++;
    }
    return tn_infer_env_graph(env, p->err);
}

static bool known_tensor(const tn_type *t) {
    return t->kind == TERN_KIND_TENSOR && t->dtype != TERN_UNDEFINED && t->ranked && tn_shape_known(&t->shape);
}

static bool all_known(const planner *p, tn_value *const *values, int n) {
    for (int i = 0; i < n; i++)
        if (values[i] && !known_tensor(&p->plan->env.types[values[i]->id])) return false;
    return true;
}

static bool has_graphs(const tn_node *n) {
    for (int i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].type == TN_ATTR_GRAPH || n->attrs[i].type == TN_ATTR_GRAPHS) return true;
    return false;
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

static bool outputs_computed(const planner *p, const tn_node *n) {
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] && n->out[i]->n_uses && !p->plan->env.values[n->out[i]->id]) return false;
    return true;
}

static int64_t bytes_moved(const planner *p, const tn_node *n) {
    int64_t sum = 0;
    for (int i = 0; i < n->n_in; i++) {
        size_t b;
        const tn_type *t = n->in[i] ? &p->plan->env.types[n->in[i]->id] : NULL;
        if (t && known_tensor(t) && tn_bytes_for(t->dtype, &t->shape, n->in[i]->block, &b)) sum += (int64_t)b;
    }
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i]) sum += (int64_t)p->plan->slots[n->out[i]->id].bytes;
    return sum;
}

static tern_status prepare(planner *p, tn_step *step) {
    const tn_node *n = step->node;
    tn_arena *arena = &p->plan->arena;
    const tn_infer_env *env = &p->plan->env;
    const tn_type **in = tn_arena_array(arena, (size_t)n->n_in + 1, sizeof *in);
    const tern_tensor **values = tn_arena_array(arena, (size_t)n->n_in + 1, sizeof *values);
    tn_type *out = tn_arena_array(arena, (size_t)n->n_out + 1, sizeof *out);
    int *blocks = tn_arena_array(arena, (size_t)(n->n_in + n->n_out) + 1, sizeof *blocks);
    if (!in || !values || !out || !blocks) return tn_fail_oom(p->err, sizeof *out);
    for (int i = 0; i < n->n_in; i++) {
        if (!n->in[i]) continue;
        in[i] = &env->types[n->in[i]->id];
        values[i] = n->in[i]->constant; /* packed forms are kept for the session, so are only constants of the model */
        blocks[i] = n->in[i]->block;
    }
    for (int i = 0; i < n->n_out; i++) {
        if (!n->out[i]) continue;
        out[i] = env->types[n->out[i]->id];
        blocks[n->n_in + i] = n->out[i]->block;
    }
    if (n->op->macs) step->macs = n->op->macs(n, in, out);
    step->bytes = bytes_moved(p, n);
    if (!n->op->prepare) return TERN_OK;
    tn_prepare c = {.node = n,
                    .in = in,
                    .value = values,
                    .out = out,
                    .in_block = blocks,
                    .out_block = blocks + n->n_in,
                    .tier = p->options->tier,
                    .threads = p->options->threads,
                    .arena = arena,
                    .packs = p->options->packs,
                    .packs_later = true,
                    .tuner = p->options->tuner,
                    .err = p->err};
    tern_status s = n->op->prepare(&c);
    if (s != TERN_OK) {
        char where[TN_NODE_TEXT];
        tn_error_prefix(p->err, "%s: ", tn_node_text(n, where, sizeof where));
        return s;
    }
    step->state = c.state;
    if ((n->op->flags & TN_OP_KERNEL_NAME) && c.state) step->kernel = *(const char *const *)c.state;
    p->plan->workspace_bytes = TN_MAX(p->plan->workspace_bytes, c.workspace);
    return TERN_OK;
}

static tern_status set_slot(planner *p, const tn_value *v, tn_place place) {
    tn_slot *s = &p->plan->slots[v->id];
    s->place = place;
    s->type = p->plan->env.types[v->id];
    s->block = v->block;
    if (!known_tensor(&s->type) || place == TN_PLACE_DYNAMIC) return TERN_OK;
    size_t bytes, padded;
    if (!tn_bytes_for(s->type.dtype, &s->type.shape, v->block, &bytes) || !tn_add_size(bytes, 63, &padded))
        return tn_fail(p->err, TERN_LIMIT_EXCEEDED, "value '%s' is too large", v->name);
    s->bytes = TN_MAX(padded & ~(size_t)63, (size_t)64);
    return TERN_OK;
}

static tern_status place_sources(planner *p) {
    for (int i = 0; i < p->g->n_values; i++) {
        const tn_value *v = p->g->values[i];
        if (v->producer && !p->plan->env.values[i]) continue;
        TN_TRY(set_slot(p, v, p->plan->env.values[i] ? TN_PLACE_CONSTANT : TN_PLACE_GIVEN));
        p->plan->slots[i].constant = p->plan->env.values[i];
    }
    return TERN_OK;
}

static tern_status make_steps(planner *p) {
    tn_plan *plan = p->plan;
    plan->steps = tn_arena_array(&plan->arena, (size_t)p->g->n_nodes + 1, sizeof *plan->steps);
    if (!plan->steps) return tn_fail_oom(p->err, (size_t)p->g->n_nodes * sizeof *plan->steps);
    for (int i = 0; i < p->g->n_nodes; i++) {
        const tn_node *n = p->g->nodes[i];
        if (outputs_computed(p, n)) continue;
        tn_step *step = &plan->steps[plan->n_steps++];
        step->node = n;
        step->dynamic = has_graphs(n) || !all_known(p, n->in, n->n_in) || !all_known(p, n->out, n->n_out);
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] && plan->slots[n->out[k]->id].place == TN_PLACE_NONE)
                TN_TRY(set_slot(p, n->out[k], step->dynamic ? TN_PLACE_DYNAMIC : TN_PLACE_ARENA));
        if (!step->dynamic) TN_TRY(prepare(p, step));
    }
    return TERN_OK;
}

/* What a dynamic step reads lives on the heap: it may keep a reference (sequences, subgraphs), which planned memory
 * can not give. */
static void unplan(planner *p, const tn_value *v) {
    if (v && p->plan->slots[v->id].place == TN_PLACE_ARENA) p->plan->slots[v->id].place = TN_PLACE_DYNAMIC;
}

static void unplan_inputs_of_dynamic_steps(planner *p) {
    for (int s = 0; s < p->plan->n_steps; s++) {
        const tn_step *step = &p->plan->steps[s];
        if (!step->dynamic) continue;
        for (int k = 0; k < step->node->n_in; k++) unplan(p, step->node->in[k]);
        for (int k = 0; k < step->node->n_captures; k++) unplan(p, step->node->captures[k]);
    }
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static void find_last_reads(planner *p) {
    for (int i = 0; i < p->g->n_values; i++) p->last_read[i] = -1;
    for (int s = 0; s < p->plan->n_steps; s++) {
        const tn_node *n = p->plan->steps[s].node;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) p->last_read[n->in[k]->id] = s;
        for (int k = 0; k < n->n_captures; k++) p->last_read[n->captures[k]->id] = s;
    }
    for (int i = 0; i < p->g->n_outputs; i++) p->last_read[p->g->outputs[i]->id] = p->plan->n_steps;
}

static void start_class(planner *p, int id, int step) {
    p->class_of[id] = id;
    p->life[id] = (tn_interval){step, TN_MAX(step, p->last_read[id]), p->plan->slots[id].bytes, 0};
}

static void join_class(planner *p, int id, int class, size_t within) {
    p->class_of[id] = class;
    p->within[id] = within;
    p->life[class].last = TN_MAX(p->life[class].last, p->last_read[id]);
}

/* The output shares the memory of input k: a view. Of memory that is not planned, too: nothing is copied. */
static bool try_alias(planner *p, const tn_step *step, int out_id) {
    if (!(step->node->op->flags & TN_OP_ALIAS) || step->dynamic || !step->node->n_in) return false;
    const tn_value *in = step->node->in[0];
    if (!in) return false;
    const tn_slot *from = &p->plan->slots[in->id], *to = &p->plan->slots[out_id];
    if (from->place != TN_PLACE_ARENA || from->bytes != to->bytes || from->block != to->block) return false;
    join_class(p, out_id, p->class_of[in->id], p->within[in->id]);
    return true;
}

static bool try_in_place(planner *p, const tn_step *step, int s, int out_id) {
    const tn_node *n = step->node;
    bool any = n->op->flags & TN_OP_INPLACE, residual = n->op->flags & TN_OP_INPLACE_RESIDUAL;
    if (step->dynamic || (!any && !residual)) return false;
    for (int k = residual ? 3 : 0; k < n->n_in && (any || k == 3); k++) {
        const tn_value *in = n->in[k];
        if (!in || p->plan->slots[in->id].place != TN_PLACE_ARENA) continue;
        const tn_slot *from = &p->plan->slots[in->id], *to = &p->plan->slots[out_id];
        int class = p->class_of[in->id];
        size_t exact_in, exact_out; /* slots are rounded up: compare what is really stored */
        if (p->life[class].last != s || from->block != to->block || from->type.dtype != to->type.dtype ||
            !tn_bytes_for(from->type.dtype, &from->type.shape, from->block, &exact_in) ||
            !tn_bytes_for(to->type.dtype, &to->type.shape, to->block, &exact_out) || exact_in != exact_out)
            continue;
        bool read_twice = false;
        for (int m = 0; m < n->n_in; m++)
            if (m != k && n->in[m] && p->class_of[n->in[m]->id] == class) read_twice = true;
        if (read_twice) continue;
        join_class(p, out_id, class, p->within[in->id]);
        return true;
    }
    return false;
}

/* The value lies inside another one: their memory begins to live with the first of its parts. */
static bool try_part(planner *p, int s, int id) {
    if (p->parts[id].whole < 0) return false;
    size_t within = 0;
    int whole = id;
    for (; p->parts[whole].whole >= 0; whole = p->parts[whole].whole) within += p->parts[whole].offset;
    if (p->class_of[whole] < 0) {
        start_class(p, whole, s);
        p->life[whole].last = p->parts_last[whole];
    }
    join_class(p, id, whole, within);
    return true;
}

static tern_status find_parts(planner *p) {
    TN_TRY(tn_plan_parts(p->plan, p->parts, p->err));
    for (int i = 0; i < p->g->n_values; i++) {
        p->parts_last[i] = TN_MAX(p->parts_last[i], p->last_read[i]);
        for (int whole = p->parts[i].whole; whole >= 0; whole = p->parts[whole].whole) {
            p->has_parts[whole] = true;
            p->parts_last[whole] = TN_MAX(p->parts_last[whole], p->last_read[i]);
        }
    }
    return TERN_OK;
}

static void make_classes(planner *p) {
    for (int i = 0; i < p->g->n_values; i++) p->class_of[i] = -1;
    for (int s = 0; s < p->plan->n_steps; s++) {
        const tn_step *step = &p->plan->steps[s];
        for (int k = 0; k < step->node->n_out; k++) {
            const tn_value *v = step->node->out[k];
            if (!v || p->plan->slots[v->id].place != TN_PLACE_ARENA || p->class_of[v->id] >= 0) continue;
            if (try_part(p, s, v->id)) continue;
            if (k == 0 && (try_alias(p, step, v->id) || try_in_place(p, step, s, v->id))) continue;
            start_class(p, v->id, s);
        }
    }
}

/* A class with one graph output lives in the tensor that the caller receives; with more, the others are copied out. So
 * is a view of a value that has parts: it may be smaller than the class. */
static void place_results(planner *p) {
    for (int o = 0; o < p->g->n_outputs; o++) {
        int id = p->g->outputs[o]->id;
        if (p->plan->slots[id].place != TN_PLACE_ARENA) continue;
        int class = p->class_of[id];
        if (p->pinned[class] || p->has_parts[class]) continue;
        p->pinned[class] = true;
        for (int i = 0; i < p->g->n_values; i++) {
            if (p->class_of[i] != class) continue;
            p->plan->slots[i].place = TN_PLACE_RESULT;
            p->plan->slots[i].result = o;
        }
    }
}

/* As a compiled file has it, or anew; kept for such a file. */
static tern_status place_intervals(planner *p, tn_interval *list, size_t count) {
    tn_plan *plan = p->plan;
    uint64_t digest = tn_plan_digest(list, count), *offsets = tn_arena_array(&plan->arena, count + 1, sizeof *offsets);
    bool placed = false;
    if (!offsets) return tn_fail_oom(p->err, count * sizeof *offsets);
    for (size_t i = 0; i < p->options->n_memory && !placed; i++) {
        const tn_compiled_memory *m = &p->options->memory[i];
        placed = m->digest == digest && m->count == count &&
                 tn_plan_take_offsets(list, count, m->offsets, &plan->arena_bytes, &plan->lower_bound);
    }
    if (!placed) TN_TRY(tn_plan_memory(list, count, &plan->arena_bytes, &plan->lower_bound, p->err));
    for (size_t i = 0; i < count; i++) offsets[i] = list[i].offset;
    plan->memory = (tn_compiled_memory){digest, count, offsets};
    return TERN_OK;
}

static tern_status place_arena(planner *p) {
    tn_interval *list = tn_alloc_array((size_t)p->g->n_values + 1, sizeof *list);
    int *owner = tn_alloc_array((size_t)p->g->n_values + 1, sizeof *owner);
    size_t count = 0, sum = 0;
    tern_status s = list && owner ? TERN_OK : tn_fail_oom(p->err, (size_t)p->g->n_values * sizeof *list);
    for (int i = 0; s == TERN_OK && i < p->g->n_values; i++) {
        if (p->plan->slots[i].place != TN_PLACE_ARENA) continue;
        p->plan->value_bytes += p->plan->slots[i].bytes;
        if (p->class_of[i] != i) continue;
        /* With the sum in range, no offset and no size that the memory plan computes can overflow. */
        if (!tn_add_size(sum, p->life[i].bytes, &sum) || sum > INT64_MAX)
            s = tn_fail(p->err, TERN_LIMIT_EXCEEDED, "the values of the graph are too large together");
        owner[count] = i;
        list[count++] = p->life[i];
    }
    if (s == TERN_OK) s = place_intervals(p, list, count);
    for (size_t i = 0; s == TERN_OK && i < count; i++) p->life[owner[i]].offset = list[i].offset;
    for (int i = 0; s == TERN_OK && i < p->g->n_values; i++)
        if (p->plan->slots[i].place == TN_PLACE_ARENA)
            p->plan->slots[i].offset = p->life[p->class_of[i]].offset + p->within[i];
    tn_free(list);
    tn_free(owner);
    return s;
}

/* Dynamic values are freed after the last step that reads them. */
static tern_status list_releases(planner *p) {
    tn_plan *plan = p->plan;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->g->n_values; i++) {
            if (plan->slots[i].place != TN_PLACE_DYNAMIC || p->last_read[i] >= plan->n_steps) continue;
            int at = p->last_read[i];
            for (int s = 0; at < 0 && s < plan->n_steps; s++) /* never read: right after it is made */
                if (plan->steps[s].node == p->g->values[i]->producer) at = s;
            if (at < 0) continue;
            tn_step *step = &plan->steps[at];
            if (pass == 1) step->release[step->n_release] = i;
            step->n_release++;
        }
        for (int s = 0; pass == 0 && s < plan->n_steps; s++) {
            tn_step *step = &plan->steps[s];
            if (!step->n_release) continue;
            step->release = tn_arena_array(&plan->arena, (size_t)step->n_release, sizeof *step->release);
            if (!step->release) return tn_fail_oom(p->err, (size_t)step->n_release * sizeof *step->release);
            step->n_release = 0;
        }
    }
    return TERN_OK;
}

static tern_status plan_memory(planner *p) {
    tn_arena scratch;
    tn_arena_init(&scratch, 0);
    size_t n = (size_t)p->g->n_values + 1;
    p->class_of = tn_arena_array(&scratch, n, sizeof *p->class_of);
    p->life = tn_arena_array(&scratch, n, sizeof *p->life);
    p->pinned = tn_arena_array(&scratch, n, sizeof *p->pinned);
    p->last_read = tn_arena_array(&scratch, n, sizeof *p->last_read);
    p->within = tn_arena_array(&scratch, n, sizeof *p->within);
    p->parts = tn_arena_array(&scratch, n, sizeof *p->parts);
    p->parts_last = tn_arena_array(&scratch, n, sizeof *p->parts_last);
    p->has_parts = tn_arena_array(&scratch, n, sizeof *p->has_parts);
    tern_status s = TERN_OK;
    if (!p->class_of || !p->life || !p->pinned || !p->last_read || !p->within || !p->parts || !p->parts_last ||
        !p->has_parts)
        s = tn_fail_oom(p->err, n * sizeof *p->life);
    if (s == TERN_OK) {
        unplan_inputs_of_dynamic_steps(p);
        find_last_reads(p);
        s = find_parts(p);
    }
    if (s == TERN_OK) {
        make_classes(p);
        place_results(p);
        s = place_arena(p);
    }
    if (s == TERN_OK) s = list_releases(p);
    tn_arena_release(&scratch);
    return s;
}

/* ---- entry ----------------------------------------------------------------------------------------------------- */

tern_status tn_plan_create(tn_plan **out, const tn_graph *g, const tn_type *inputs, const tn_type *captured,
                           const tern_tensor *const *constants, const tn_plan_options *options, tern_error *err) {
    *out = NULL;
    tn_plan *plan = tn_calloc(1, sizeof *plan);
    if (!plan) return tn_fail_oom(err, sizeof *plan);
    tn_arena_init(&plan->arena, 0);
    plan->graph = g;
    planner p = {.plan = plan, .g = g, .options = options, .err = err};
    plan->slots = tn_arena_array(&plan->arena, (size_t)g->n_values + 1, sizeof *plan->slots);
    tern_status s = plan->slots ? TERN_OK : tn_fail_oom(err, (size_t)g->n_values * sizeof *plan->slots);
    if (s == TERN_OK) s = infer_all(&p, inputs, captured, constants);
    if (s == TERN_OK) s = place_sources(&p);
    if (s == TERN_OK) s = make_steps(&p);
    /* What was left to pack refers to the plan, also to one that failed. */
    tern_status packed = options->packs ? tn_pack_cache_make(options->packs, options->threads, err) : TERN_OK;
    if (s == TERN_OK) s = packed;
    if (s == TERN_OK) s = plan_memory(&p);
    if (s != TERN_OK) {
        tn_plan_free(plan);
        return s;
    }
    *out = plan;
    return TERN_OK;
}

void tn_plan_free(tn_plan *plan) {
    if (!plan) return;
    tn_infer_env_release(&plan->env);
    tn_arena_release(&plan->arena);
    tn_free(plan);
}
