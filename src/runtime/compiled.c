/* Sessions from compiled files, and files from sessions. */
#include "runtime/runtime.h"

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Packed forms of constants that the graph lost meanwhile are no loss: nobody asks for them. */
static tern_status add_packs(tern_session *s, const tn_compiled_part *part, tern_error *err) {
    for (size_t i = 0; i < part->n_packs; i++) {
        const tn_compiled_pack *p = &part->packs[i];
        const tn_value *v = tn_graph_find(s->model->graph, p->value);
        if (v && v->constant && !tn_pack_cache_add(s->packs, v->constant, p->key, p->bytes, p->data))
            return tn_fail_oom(err, sizeof *p);
    }
    return TERN_OK;
}

/* What runs read: packed constants, and what is used as it is. The rest is checked when something is packed from it. */
static tern_status check_used(tern_session *s, const tn_compiled_part *part, tern_error *err) {
    const tern_tensor **plain;
    size_t n_plain, n = part->n_packs;
    TN_TRY(tn_opt_read_tensors(s->model, &plain, &n_plain, err));
    tn_range *ranges = tn_alloc_array(n + n_plain + 1, sizeof *ranges);
    tern_status status = ranges ? TERN_OK : tn_fail_oom(err, n * sizeof *ranges);
    for (size_t i = 0; ranges && i < n; i++) ranges[i] = (tn_range){part->packs[i].data, part->packs[i].bytes};
    for (size_t i = 0; ranges && i < n_plain; i++) {
        const tern_tensor *t = plain[i];
        bool elements = t->kind == TERN_KIND_TENSOR && t->dtype != TERN_STRING;
        ranges[n + i] = (tn_range){elements ? t->data : NULL, elements ? tn_tensor_bytes(t) : 0};
    }
    if (ranges) status = tn_compiled_check(s->source->compiled, ranges, n + n_plain, s->options.threads, err);
    tn_free(ranges);
    tn_free(plain);
    return status;
}

static const tn_compiled_part *find_part(const tern_session *s) {
    const struct tn_compiled *c = s->source->compiled;
    for (size_t i = 0; i < c->n_parts; i++)
        if (c->parts[i].tier == s->tier && c->parts[i].precision == s->options.precision &&
            c->parts[i].machine == tn_compiled_machine())
            return &c->parts[i];
    return NULL;
}

tern_status tn_session_use_compiled(tern_session *s, bool *done, tern_error *err) {
    const tn_compiled_part *part = find_part(s);
    *done = part != NULL;
    if (!part) {
        tn_log(TERN_LOG_WARNING, "%s: was not compiled for %s%s on a machine like this one; it is optimised anew",
               s->source->path ? s->source->path : "the model", tn_cpu_tier_name(s->tier),
               s->options.precision == TERN_PRECISION_BF16 ? " in bf16" : "");
        return TERN_OK;
    }
    TN_TRY(tn_compiled_open(&s->model, s->source, part, err));
    TN_TRY(tn_graph_finish(s->model->graph, err));
    TN_TRY(tn_op_resolve_graph(s->model->graph, err));
    TN_TRY(check_used(s, part, err));
    s->part = part;
    return add_packs(s, part, err);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static const char *name_of_constant(const tern_session *s, const tern_tensor *value) {
    const tn_graph *g = s->model->graph;
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->constant == value) return g->values[i]->name;
    return NULL; /* of a subgraph: packed again when it is needed */
}

static tern_status describe(tern_session *s, tn_compiled_part *part, tn_arena *arena, tern_error *err) {
    size_t n = tn_pack_cache_count(s->packs);
    tn_compiled_pack *packs = tn_arena_array(arena, n + 1, sizeof *packs);
    if (!packs) return tn_fail_oom(err, n * sizeof *packs);
    *part = (tn_compiled_part){.tier = s->tier,
                               .precision = s->options.precision,
                               .machine = tn_compiled_machine(),
                               .model = s->model,
                               .packs = packs};
    tn_compiled_memory *memory = tn_arena_array(arena, s->n_plans + 1, sizeof *memory);
    if (!memory) return tn_fail_oom(err, s->n_plans * sizeof *memory);
    for (size_t i = 0; i < s->n_plans; i++) memory[i] = s->plans[i]->plan->memory;
    part->memory = memory;
    part->n_memory = s->n_plans;
    for (size_t i = 0; i < n; i++) {
        const tern_tensor *value;
        tn_compiled_pack p;
        tn_pack_cache_item(s->packs, i, &value, &p.key, &p.bytes, &p.data);
        p.value = name_of_constant(s, value);
        if (p.value) packs[part->n_packs++] = p;
    }
    return TERN_OK;
}

tern_status tn_session_compile(tern_session *const *sessions, size_t count, const char *path, tern_error *err) {
    tn_arena arena;
    tn_arena_init(&arena, 0);
    tn_compiled_part *parts = tn_arena_array(&arena, count + 1, sizeof *parts);
    tern_status status = parts && count ? TERN_OK : tn_fail_oom(err, count * sizeof *parts);
    for (size_t i = 0; status == TERN_OK && i < count; i++) status = describe(sessions[i], &parts[i], &arena, err);
    if (status == TERN_OK) status = tn_compiled_write(path, sessions[0]->source, parts, count, err);
    tn_arena_release(&arena);
    return status;
}
