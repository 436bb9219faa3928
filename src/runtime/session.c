#include "runtime/runtime.h"

#include <stdlib.h>

#include "kernels/tune.h"

/* ---- life ------------------------------------------------------------------------------------------------------ */

static tern_status prepare_model(tern_session *s, tern_error *err) {
    bool done = false;
    if (s->source->compiled && s->options.optimize) TN_TRY(tn_session_use_compiled(s, &done, err));
    if (done) return TERN_OK;
    TN_TRY(tn_opt_clone(&s->model, s->source, err));
    return tn_opt_run(s->model, s->tier, s->options.optimize, s->options.precision == TERN_PRECISION_BF16, err);
}

static bool is_conv(const tn_node *n) { return strcmp(n->op_type, "Conv") == 0; }

static tern_status open_tuner(tern_session *s, tern_error *err) {
    const tn_graph *g = s->model->graph;
    if (!s->options.tune) return TERN_OK;
    tn_tuner_options o = {.path = s->options.tune_cache,
                          .progress = s->options.tune_progress,
                          .progress_context = s->options.tune_context};
    for (int i = 0; i < g->n_nodes; i++) o.layers += is_conv(g->nodes[i]);
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->constant) o.weight_bytes += tn_tensor_bytes(g->values[i]->constant);
    s->tuner = tn_tuner_open(&o);
    return s->tuner ? TERN_OK : tn_fail_oom(err, 0);
}

/* Plans at once when every input has a fixed shape, so that loading finds all errors and the first run is fast. */
static tern_status plan_fixed_inputs(tern_session *s, tern_error *err) {
    const tn_graph *g = s->model->graph;
    tern_tensor *given = tn_calloc((size_t)g->n_inputs + 1, sizeof *given);
    tern_tensor **list = tn_alloc_array((size_t)g->n_inputs + 1, sizeof *list);
    tern_status status = given && list ? TERN_OK : tn_fail_oom(err, (size_t)g->n_inputs * sizeof *given);
    bool fixed = true;
    for (int i = 0; status == TERN_OK && i < g->n_inputs; i++) {
        const tn_type *t = &g->inputs[i]->type;
        int64_t count;
        if (t->kind != TERN_KIND_TENSOR || t->dtype == TERN_UNDEFINED || !t->ranked ||
            !tn_shape_count_checked(&t->shape, &count))
            fixed = false;
        given[i] = (tern_tensor){.kind = TERN_KIND_TENSOR, .dtype = t->dtype, .shape = t->shape};
        list[i] = &given[i];
    }
    if (status == TERN_OK && fixed) {
        tn_cached_plan *c;
        status = tn_session_plan(s, g, list, g->n_inputs, &c, err);
        if (status == TERN_OK) {
            tn_frame *frame;
            status = tn_session_take_frame(s, c, &frame, err);
            tn_session_release_plan(s, c, status == TERN_OK ? frame : NULL);
        }
    }
    tn_free(list);
    tn_free(given);
    return status;
}

tern_status tn_session_create(tern_session **out, tern_model *model, const tern_options *options, tern_error *err) {
    *out = NULL;
    if (options->precision != TERN_PRECISION_F32 && options->precision != TERN_PRECISION_BF16)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "precision %d is not one of tern_precision", options->precision);
    if (options->precision == TERN_PRECISION_BF16 && !options->optimize)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "precision bf16 is a choice of optimisation, which is turned off");
    tern_session *s = tn_calloc(1, sizeof *s);
    if (!s) return tn_fail_oom(err, sizeof *s);
    s->source = model;
    s->options = *options;
    if (s->options.threads <= 0) s->options.threads = tn_cpu_get_system()->physical_cores;
    if (!s->options.memory_limit) s->options.memory_limit = tn_memory_total();
    if (s->options.max_plans <= 0) s->options.max_plans = 8;
    s->tier = tn_cpu_tier();
    s->seed = options->seed ? options->seed : tn_clock_ns();
    if (!tn_mutex_init(&s->mutex)) {
        tn_free(s);
        return tn_fail(err, TERN_INTERNAL, "a mutex can not be made");
    }
    tern_status status = (s->packs = tn_pack_cache_new(model)) ? TERN_OK : tn_fail_oom(err, 0);
    if (status == TERN_OK) status = prepare_model(s, err);
    if (status == TERN_OK) status = open_tuner(s, err);
    if (status == TERN_OK) s->separates = tn_batch_separates(s->model->graph);
    if (status == TERN_OK) status = plan_fixed_inputs(s, err);
    if (status != TERN_OK) {
        tn_session_free(s);
        if (model->path) tn_error_prefix(err, "%s: ", model->path);
        return status;
    }
    *out = s;
    return TERN_OK;
}

static void free_cached(tn_cached_plan *c) {
    while (c->idle) {
        tn_frame *f = c->idle;
        c->idle = f->next;
        tn_free(f->memory);
        tn_free(f);
    }
    tn_plan_free(c->plan);
    tn_free(c->inputs);
    tn_free(c);
}

void tn_session_free(tern_session *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_plans; i++) free_cached(s->plans[i]);
    tn_free(s->plans);
    tn_tuner_close(s->tuner);
    tn_model_free(s->model);
    tn_pack_cache_free(s->packs);
    tn_mutex_release(&s->mutex);
    tn_free(s);
}

/* ---- plans ----------------------------------------------------------------------------------------------------- */

static bool same_type(const tn_type *t, const tern_tensor *v) {
    if (t->kind != v->kind || t->dtype != v->dtype) return false;
    if (t->kind != TERN_KIND_TENSOR || !t->ranked) return true;
    if (t->shape.rank != v->shape.rank) return false;
    for (int i = 0; i < t->shape.rank; i++)
        if (tn_dim_known(t->shape.dims[i]) && t->shape.dims[i] != v->shape.dims[i]) return false;
    return true;
}

static tn_cached_plan *find_plan(tern_session *s, const tn_graph *g, tern_tensor *const *given, int n_given) {
    for (size_t i = 0; i < s->n_plans; i++) {
        tn_cached_plan *c = s->plans[i];
        bool same = c->graph == g && c->n_inputs == n_given;
        for (int k = 0; same && k < n_given; k++) same = same_type(&c->inputs[k], given[k]);
        if (same) return c;
    }
    return NULL;
}

/* Makes room when max_plans of this graph are there (true): the one unused for longest goes, if no run is in it. */
static bool evict_plan(tern_session *s, const tn_graph *g) {
    size_t oldest = s->n_plans;
    int count = 0;
    for (size_t i = 0; i < s->n_plans; i++) {
        const tn_cached_plan *c = s->plans[i];
        if (c->graph != g) continue;
        count++;
        if (c->n_users == 0 && (oldest == s->n_plans || c->last_use < s->plans[oldest]->last_use)) oldest = i;
    }
    if (count < s->options.max_plans) return false;
    if (oldest == s->n_plans) return true;
    free_cached(s->plans[oldest]);
    s->plans[oldest] = s->plans[--s->n_plans];
    return true;
}

static void widen_input(tn_type *t, const tn_type *other) {
    if (t->kind != TERN_KIND_TENSOR || other->kind != TERN_KIND_TENSOR) return;
    t->ranked = t->ranked && other->ranked && t->shape.rank == other->shape.rank;
    for (int d = 0; t->ranked && d < t->shape.rank; d++)
        if (t->shape.dims[d] != other->shape.dims[d]) t->shape.dims[d] = TN_DIM_UNKNOWN;
}

/* A subgraph that has met many shapes will meet more: its next plan leaves open what has changed so far, and its steps
 * infer when they run. Planning anew in every iteration of a loop that grows a tensor would cost more. */
static void widen_inputs(const tern_session *s, tn_cached_plan *c) {
    for (size_t i = 0; i < s->n_plans; i++)
        for (int k = 0; s->plans[i]->graph == c->graph && k < c->n_inputs; k++)
            widen_input(&c->inputs[k], &s->plans[i]->inputs[k]);
}

static const tern_tensor *model_constant(const tn_value *v) {
    while (v->captured) v = v->captured;
    return v->constant;
}

static int most_args(const tn_graph *g) {
    int most = 0;
    for (int i = 0; i < g->n_nodes; i++) most = TN_MAX(most, g->nodes[i]->n_in + g->nodes[i]->n_out);
    return most;
}

/* Values, scratch memory and results of a run of the plan. */
static tern_status check_memory(const tern_session *s, const tn_plan *plan, tern_error *err) {
    size_t need, result;
    bool fits = tn_add_size(plan->arena_bytes, plan->workspace_bytes, &need);
    for (int i = 0; fits && i < plan->graph->n_values; i++) {
        const tn_slot *slot = &plan->slots[i];
        if (slot->place != TN_PLACE_RESULT) continue;
        fits = tn_bytes_for(slot->type.dtype, &slot->type.shape, 0, &result) && tn_add_size(need, result, &need);
    }
    if (fits && need <= s->options.memory_limit) return TERN_OK;
    return tn_fail(err, TERN_LIMIT_EXCEEDED, "the run needs %zu bytes for its values; the limit is %zu",
                   fits ? need : SIZE_MAX, s->options.memory_limit);
}

static tern_status build_plan(tern_session *s, tn_cached_plan *c, tern_error *err) {
    const tn_graph *g = c->graph;
    int n_captured = c->n_inputs - g->n_inputs;
    const tern_tensor **constants = tn_calloc((size_t)n_captured + 1, sizeof *constants);
    if (!constants) return tn_fail_oom(err, (size_t)n_captured * sizeof *constants);
    for (int i = 0, k = 0; i < g->n_values; i++)
        if (g->values[i]->captured) constants[k++] = model_constant(g->values[i]);
    tn_plan_options po = {.tier = s->tier, .threads = s->options.threads, .packs = s->packs, .tuner = s->tuner};
    if (s->part) po.memory = s->part->memory, po.n_memory = s->part->n_memory;
    tern_status status = tn_plan_create(&c->plan, g, c->inputs, c->inputs + g->n_inputs, constants, &po, err);
    tn_free(constants);
    if (s->tuner) tn_tuner_save(s->tuner);
    if (status != TERN_OK) return status;
    return check_memory(s, c->plan, err);
}

static tern_status make_plan(tern_session *s, const tn_graph *g, tern_tensor *const *given, int n_given,
                             tn_cached_plan **out, tern_error *err) {
    bool many = evict_plan(s, g);
    tn_cached_plan *c = tn_calloc(1, sizeof *c);
    if (!c) return tn_fail_oom(err, sizeof *c);
    c->graph = g;
    c->n_inputs = n_given;
    c->max_args = most_args(g);
    c->inputs = tn_calloc((size_t)n_given + 1, sizeof *c->inputs);
    tern_status status = c->inputs ? TERN_OK : tn_fail_oom(err, (size_t)n_given * sizeof *c->inputs);
    for (int i = 0; status == TERN_OK && i < n_given; i++) c->inputs[i] = tn_type_of_tensor(given[i]);
    if (status == TERN_OK && many && g->parent) widen_inputs(s, c);
    if (status == TERN_OK) status = build_plan(s, c, err);
    if (status == TERN_OK && !tn_grow(&s->plans, &s->cap_plans, s->n_plans + 1, sizeof *s->plans))
        status = tn_fail_oom(err, sizeof *s->plans);
    if (status != TERN_OK) {
        free_cached(c);
        return status;
    }
    s->plans[s->n_plans++] = c;
    *out = c;
    return TERN_OK;
}

tern_status tn_session_plan(tern_session *s, const tn_graph *g, tern_tensor *const *given, int n_given,
                            tn_cached_plan **out, tern_error *err) {
    tn_mutex_lock(&s->mutex);
    tern_status status = TERN_OK;
    tn_cached_plan *c = find_plan(s, g, given, n_given);
    if (!c) status = make_plan(s, g, given, n_given, &c, err);
    if (status == TERN_OK) {
        c->n_users++;
        c->last_use = ++s->uses;
        *out = c;
    }
    tn_mutex_unlock(&s->mutex);
    return status;
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

/* Tensors over planned memory. They are never freed one by one: the reference count starts far from 0. */
#define HEADER_REFS (1u << 30)

static void init_headers(const tn_plan *plan, tn_frame *f) {
    for (int i = 0; i < plan->graph->n_values; i++) {
        const tn_slot *s = &plan->slots[i];
        if (s->place == TN_PLACE_CONSTANT) f->values[i] = (tern_tensor *)(uintptr_t)s->constant;
        if (s->place != TN_PLACE_ARENA && s->place != TN_PLACE_RESULT) continue;
        f->headers[i] = (tern_tensor){.kind = TERN_KIND_TENSOR,
                                      .dtype = s->type.dtype,
                                      .block = s->block,
                                      .shape = s->type.shape,
                                      .refs = HEADER_REFS};
        if (s->place == TN_PLACE_ARENA) f->headers[i].data = f->memory + s->offset;
        f->values[i] = &f->headers[i];
    }
}

static tern_status make_frame(tn_cached_plan *c, tn_frame **out, tern_error *err) {
    const tn_plan *plan = c->plan;
    size_t n = (size_t)plan->graph->n_values, n_out = (size_t)plan->graph->n_outputs, n_args = (size_t)c->max_args;
    size_t pointers = (n + n_args + n_out) * sizeof(tern_tensor *), headers = n * sizeof(tern_tensor);
    tn_frame *f = tn_calloc(1, sizeof *f + pointers + headers);
    enum { LARGE_PAGE = 2 << 20 }; /* begun at one, all of it can be in such pages, which costs fewer faults */
    size_t bytes = plan->arena_bytes + plan->workspace_bytes + TN_CACHE_LINE, short_of = -bytes % LARGE_PAGE;
    if (bytes >= 2 * LARGE_PAGE && short_of <= LARGE_PAGE / 2) bytes += short_of;
    uint8_t *memory = tn_alloc_aligned(bytes, bytes >= 2 * LARGE_PAGE ? LARGE_PAGE : TN_CACHE_LINE);
    if (!f || !memory) {
        tn_free(f);
        tn_free(memory);
        return tn_fail_oom(err, plan->arena_bytes + plan->workspace_bytes);
    }
    f->headers = (tern_tensor *)(f + 1);
    f->values = (tern_tensor **)(f->headers + n);
    f->args = f->values + n;
    f->results = f->args + n_args;
    f->memory = memory;
    init_headers(plan, f);
    *out = f;
    return TERN_OK;
}

tern_status tn_session_take_frame(tern_session *s, tn_cached_plan *c, tn_frame **out, tern_error *err) {
    tn_mutex_lock(&s->mutex);
    tn_frame *f = c->idle;
    if (f) c->idle = f->next;
    tn_mutex_unlock(&s->mutex);
    *out = f;
    return f ? TERN_OK : make_frame(c, out, err);
}

void tn_session_release_plan(tern_session *s, tn_cached_plan *c, tn_frame *frame) {
    tn_mutex_lock(&s->mutex);
    if (frame) {
        frame->next = c->idle;
        c->idle = frame;
    }
    c->n_users--;
    tn_mutex_unlock(&s->mutex);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static size_t constant_bytes(const tern_model *m) {
    size_t sum = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i]->buffer) sum += tn_tensor_bytes(m->tensors[i]);
    }
    return sum;
}

size_t tn_session_bytes(tern_session *s) {
    size_t sum = tn_pack_cache_bytes(s->packs) + constant_bytes(s->source) + constant_bytes(s->model);
    tn_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->n_plans; i++) {
        const tn_cached_plan *c = s->plans[i];
        size_t frames = (size_t)c->n_users;
        for (const tn_frame *f = c->idle; f; f = f->next) frames++;
        sum += frames * (c->plan->arena_bytes + c->plan->workspace_bytes);
    }
    tn_mutex_unlock(&s->mutex);
    return sum;
}
