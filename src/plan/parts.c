/* Concatenation without copies. Where the inputs of a step lie one after the other in its output (tn_op.joins), they
 * are given their places there from the start, and who makes them writes there. A value has one place, so it is part of
 * the first output that asks for it and is copied into the others; parts nest (DenseNet's blocks, each of which appends
 * to the one before). Graph outputs stay whole and apart: they belong to the caller. */
#include "plan/plan.h"

/* Parts nest so deep at most: walks from a part to the whole stay short. */
#define MOST_NESTED 256

typedef struct finder {
    tn_plan *plan;
    tn_part *parts;
    bool *output; /* by value id: a graph output */
    int *height;  /* by value id: how deep parts nest in it */
    tn_arena scratch;
} finder;

static bool exact_bytes(const tn_slot *s, size_t *bytes) {
    return tn_bytes_for(s->type.dtype, &s->type.shape, s->block, bytes) && *bytes > 0;
}

static bool may_be_part(const finder *f, const tn_value *v, const tn_slot *whole) {
    const tn_slot *s = &f->plan->slots[v->id];
    return s->place == TN_PLACE_ARENA && s->block == whole->block && f->parts[v->id].whole < 0 && !f->output[v->id] &&
           f->height[v->id] < MOST_NESTED;
}

static tern_status place_inputs(finder *f, const tn_step *step, tern_error *err) {
    const tn_node *n = step->node;
    const tn_value *y = n->n_out ? n->out[0] : NULL;
    if (step->dynamic || !n->op->joins || !y || f->output[y->id]) return TERN_OK;
    const tn_slot *whole = &f->plan->slots[y->id];
    const tn_type **types = tn_arena_array(&f->scratch, (size_t)n->n_in + 1, sizeof *types);
    if (!types) return tn_fail_oom(err, (size_t)n->n_in * sizeof *types);
    for (int i = 0; i < n->n_in; i++) {
        if (!n->in[i] || f->plan->env.types[n->in[i]->id].dtype != whole->type.dtype) return TERN_OK;
        types[i] = &f->plan->env.types[n->in[i]->id];
    }
    if (whole->place != TN_PLACE_ARENA || !n->op->joins(n, types, &whole->type, whole->block)) return TERN_OK;
    size_t at = 0, bytes;
    for (int i = 0; i < n->n_in; i++) {
        const tn_value *v = n->in[i];
        tn_slot in = f->plan->slots[v->id];
        in.type = *types[i]; /* constants have no slot type */
        in.block = whole->block;
        if (!exact_bytes(&in, &bytes)) return TERN_OK;
        /* Kernels want vectors where they expect them: an unaligned part is copied. */
        if (at % 64 == 0 && may_be_part(f, v, whole)) {
            f->parts[v->id] = (tn_part){.whole = y->id, .offset = at};
            f->height[y->id] = TN_MAX(f->height[y->id], f->height[v->id] + 1);
        }
        at += bytes;
    }
    return TERN_OK;
}

tern_status tn_plan_parts(tn_plan *plan, tn_part *parts, tern_error *err) {
    const tn_graph *g = plan->graph;
    finder f = {.plan = plan, .parts = parts};
    tn_arena_init(&f.scratch, 0);
    f.output = tn_arena_array(&f.scratch, (size_t)g->n_values + 1, sizeof *f.output);
    f.height = tn_arena_array(&f.scratch, (size_t)g->n_values + 1, sizeof *f.height);
    tern_status s = f.output && f.height ? TERN_OK : tn_fail_oom(err, (size_t)g->n_values);
    for (int i = 0; i < g->n_values; i++) parts[i] = (tn_part){.whole = -1};
    for (int i = 0; s == TERN_OK && i < g->n_outputs; i++) f.output[g->outputs[i]->id] = true;
    for (int i = 0; s == TERN_OK && i < plan->n_steps; i++) s = place_inputs(&f, &plan->steps[i], err);
    tn_arena_release(&f.scratch);
    return s;
}
