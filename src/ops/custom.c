/* Custom operators: the list, and the tn_op that stands for each entry.
 *
 * The list is one per process, guarded by a mutex. A model that finds an entry holds a reference, so that what was
 * taken from the list lives as long as a node points to it. Built-in operators are looked up first and can not be
 * registered again: nothing here is reached by a model without custom operators. */
#include "ops/args.h"
#include "ops/custom_internal.h"

#include <stdio.h>

static tn_mutex lock = TN_MUTEX_INIT;
static tn_custom *list; /* in the order of registration */

/* ---- references ------------------------------------------------------------------------------------------------ */

static void free_entry(tn_custom *c) {
    tn_arena_release(&c->arena);
    tn_free(c);
}

static void unref(void *object) {
    tn_custom *c = object;
    tn_mutex_lock(&lock);
    bool last = --c->refs == 0;
    tn_mutex_unlock(&lock);
    if (!last) return;
    if (c->user.release) c->user.release(c->user.user_data);
    free_entry(c);
}

/* ---- registration ---------------------------------------------------------------------------------------------- */

static tern_status check_params(const tern_op *op, const tern_op_param *params, size_t n, const char *what,
                                tern_error *err) {
    if (n > TERN_OP_MAX_PARAMS || (n && !params))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "operator '%s': %zu %ss, or none given; at most %d are possible",
                       op->name, n, what, TERN_OP_MAX_PARAMS);
    for (size_t i = 0; i < n; i++) {
        const tern_op_param *p = &params[i];
        const char *why = !p->name                                      ? "has no name"
                          : p->types & ~TN_TYPES_ALL                    ? "has element types that do not exist"
                          : p->variadic && i + 1 < n                    ? "is variadic, but not the last one"
                          : i && !p->optional && params[i - 1].optional ? "is not optional, but the one before is"
                                                                        : NULL;
        if (why) return tn_fail(err, TERN_INVALID_ARGUMENT, "operator '%s': %s %zu %s", op->name, what, i, why);
    }
    return TERN_OK;
}

static bool single_type(uint32_t types) { return types && (types & (types - 1)) == 0; }

/* Without infer, types of outputs must follow from those of inputs that are always there. */
static tern_status check_output_types(const tern_op *op, tern_error *err) {
    for (size_t o = 0; o < op->n_outputs && !op->infer; o++) {
        const tern_op_param *p = &op->outputs[o];
        bool told = single_type(p->types);
        for (size_t i = 0; i < op->n_inputs && p->same_as && !told; i++)
            told = op->inputs[i].same_as && !op->inputs[i].optional && strcmp(op->inputs[i].same_as, p->same_as) == 0;
        if (!told)
            return tn_fail(
                err, TERN_INVALID_ARGUMENT,
                "operator '%s': nothing tells the element type of output '%s'; it needs `infer`, one type, or "
                "the `same_as` of an input",
                op->name, p->name);
    }
    return TERN_OK;
}

static tern_status check_attributes(const tern_op *op, tern_error *err) {
    if (op->n_attributes && !op->attributes)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "operator '%s': attributes is NULL", op->name);
    for (size_t i = 0; i < op->n_attributes; i++) {
        const tern_op_attribute *a = &op->attributes[i];
        bool known = (a->type >= TERN_ATTR_FLOAT && a->type <= TERN_ATTR_TENSOR) ||
                     (a->type >= TERN_ATTR_FLOATS && a->type <= TERN_ATTR_STRINGS);
        if (!a->name || !known)
            return tn_fail(err, TERN_INVALID_ARGUMENT, "operator '%s': attribute %zu has no name, or type %d", op->name,
                           i, (int)a->type);
    }
    return TERN_OK;
}

static tern_status check_description(const tern_op *op, tern_error *err) {
    if (!op->name || !*op->name || !op->compute || op->n_outputs == 0)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "an operator needs a name, a compute function and an output");
    if (op->since < 0 || op->until < 0 || (op->until && op->until < op->since))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "operator '%s': versions %d to %d", op->name, op->since, op->until);
    TN_TRY(check_params(op, op->inputs, op->n_inputs, "input", err));
    TN_TRY(check_params(op, op->outputs, op->n_outputs, "output", err));
    TN_TRY(check_output_types(op, err));
    TN_TRY(check_attributes(op, err));
    const char *domain = op->domain ? op->domain : "";
    if (strcmp(domain, "tern") == 0 || tn_op_find(domain, op->name, INT32_MAX))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern has '%s' of domain '%s' itself, or keeps the domain", op->name,
                       *domain ? domain : "ai.onnx");
    return TERN_OK;
}

static const char *copy_text(tn_arena *a, const char *s) { return tn_arena_strndup(a, s, strlen(s)); }

static const tern_op_param *copy_params(tn_arena *a, const tern_op_param *from, size_t n) {
    tern_op_param *to = tn_arena_array(a, n + 1, sizeof *to);
    for (size_t i = 0; to && i < n; i++) {
        to[i] = from[i];
        if (!to[i].types) to[i].types = TN_TYPES_ALL;
        if (!(to[i].name = copy_text(a, from[i].name))) return NULL;
        if (from[i].same_as && !(to[i].same_as = copy_text(a, from[i].same_as))) return NULL;
    }
    return to;
}

static const tern_op_attribute *copy_attributes(tn_arena *a, const tern_op_attribute *from, size_t n) {
    tern_op_attribute *to = tn_arena_array(a, n + 1, sizeof *to);
    for (size_t i = 0; to && i < n; i++) {
        to[i] = from[i];
        if (!(to[i].name = copy_text(a, from[i].name))) return NULL;
    }
    return to;
}

static int8_t least(const tern_op_param *p, size_t n) {
    int8_t count = 0;
    for (size_t i = 0; i < n; i++) count += !p[i].optional;
    return count;
}

static int8_t most(const tern_op_param *p, size_t n) {
    return (int8_t)(n && p[n - 1].variadic ? TERN_OP_MAX_PARAMS : n);
}

static tern_status infer_custom(tn_infer *c);
static tern_status prepare_custom(tn_prepare *c);
static tern_status run_custom(tn_run *c);

static tn_custom *make_entry(const tern_op *op) {
    tn_custom *c = tn_calloc(1, sizeof *c);
    if (!c) return NULL;
    tn_arena_init(&c->arena, 0);
    tern_op *u = &c->user;
    *u = *op;
    u->since = TN_MAX(op->since, 1);
    u->domain = copy_text(&c->arena, tn_op_short_domain(op->domain ? op->domain : ""));
    u->name = copy_text(&c->arena, op->name);
    u->inputs = copy_params(&c->arena, op->inputs, op->n_inputs);
    u->outputs = copy_params(&c->arena, op->outputs, op->n_outputs);
    u->attributes = copy_attributes(&c->arena, op->attributes, op->n_attributes);
    if (!u->domain || !u->name || !u->inputs || !u->outputs || !u->attributes) {
        free_entry(c);
        return NULL;
    }
    c->op = (tn_op){.infer = infer_custom,
                    .prepare = prepare_custom,
                    .run = run_custom,
                    .min_in = least(op->inputs, op->n_inputs),
                    .max_in = most(op->inputs, op->n_inputs),
                    .min_out = least(op->outputs, op->n_outputs),
                    .max_out = most(op->outputs, op->n_outputs),
                    .flags = (uint16_t)(TN_OP_ALLOC | (op->random ? TN_OP_RANDOM : 0))};
    c->refs = 1; /* of the list */
    return c;
}

static bool same_name(const tn_custom *c, const char *domain, const char *name) {
    return strcmp(c->user.name, name) == 0 && strcmp(c->user.domain, domain) == 0;
}

static bool covers(const tern_op *op, int version) {
    return version >= op->since && (!op->until || version <= op->until);
}

static bool overlap(const tern_op *a, const tern_op *b) { return covers(a, b->since) || covers(b, a->since); }

tern_status tn_custom_register(const tern_op *op, tern_error *err) {
    TN_TRY(check_description(op, err));
    tn_custom *c = make_entry(op);
    if (!c) return tn_fail_oom(err, sizeof *c);
    tn_mutex_lock(&lock);
    tn_custom **end = &list;
    bool twice = false;
    for (; *end && !twice; end = &(*end)->next)
        twice = same_name(*end, c->user.domain, c->user.name) && overlap(&(*end)->user, &c->user);
    if (!twice) *end = c;
    tn_mutex_unlock(&lock);
    if (!twice) return TERN_OK;
    tern_status s = tn_fail(err, TERN_INVALID_ARGUMENT, "'%s' of domain '%s' is registered already for version %d",
                            c->user.name, *c->user.domain ? c->user.domain : "ai.onnx", c->user.since);
    free_entry(c);
    return s;
}

tern_status tn_custom_unregister(const char *domain, const char *name, int since, tern_error *err) {
    domain = tn_op_short_domain(domain);
    tn_custom *found = NULL;
    tn_mutex_lock(&lock);
    for (tn_custom **p = &list; *p && !found; p = &(*p)->next) {
        if (!same_name(*p, domain, name) || (*p)->user.since != TN_MAX(since, 1)) continue;
        found = *p;
        *p = found->next;
        break;
    }
    tn_mutex_unlock(&lock);
    if (!found)
        return tn_fail(err, TERN_NOT_FOUND, "'%s' of domain '%s' since version %d is not registered", name, domain,
                       since);
    unref(found);
    return TERN_OK;
}

void tn_custom_visit(void (*fn)(void *context, const tern_op *op), void *context) {
    tn_mutex_lock(&lock);
    for (const tn_custom *c = list; c; c = c->next) fn(context, &c->user);
    tn_mutex_unlock(&lock);
}

/* ---- looking up ------------------------------------------------------------------------------------------------ */

static tern_status check_node_attributes(const tn_node *node, const tern_op *op, tern_error *err) {
    char where[TN_NODE_TEXT];
    for (int i = 0; i < node->n_attrs; i++) {
        const tn_attr *a = &node->attrs[i];
        const tern_op_attribute *d = NULL;
        for (size_t k = 0; k < op->n_attributes && !d; k++)
            if (strcmp(op->attributes[k].name, a->name) == 0) d = &op->attributes[k];
        if (!d)
            return tn_fail(err, TERN_INVALID_MODEL, "%s: the operator has no attribute '%s'",
                           tn_node_text(node, where, sizeof where), a->name);
        if ((int)d->type != (int)a->type)
            return tn_fail(err, TERN_INVALID_MODEL,
                           "%s: attribute '%s' has the wrong type (%d in AttributeProto, not %d)",
                           tn_node_text(node, where, sizeof where), a->name, (int)a->type, (int)d->type);
    }
    for (size_t k = 0; k < op->n_attributes; k++)
        if (op->attributes[k].required && !tn_attr_find(node, op->attributes[k].name))
            return tn_fail(err, TERN_INVALID_MODEL, "%s: attribute '%s' is missing",
                           tn_node_text(node, where, sizeof where), op->attributes[k].name);
    return TERN_OK;
}

static tn_custom *find_held(const tern_model *m, const char *domain, const tn_node *n) {
    for (size_t i = 0; i < m->n_held; i++) {
        tn_custom *c = m->held[i].object;
        if (m->held[i].release == unref && same_name(c, domain, n->op_type) && covers(&c->user, n->opset)) return c;
    }
    return NULL;
}

/* With a reference for the caller. `other`: a version that does not fit, 0: none. */
static tn_custom *find_listed(const char *domain, const tn_node *n, int *other) {
    tn_custom *found = NULL;
    *other = 0;
    tn_mutex_lock(&lock);
    for (tn_custom *c = list; c && !found; c = c->next) {
        if (!same_name(c, domain, n->op_type)) continue;
        if (covers(&c->user, n->opset))
            found = c;
        else
            *other = c->user.since;
    }
    if (found) found->refs++;
    tn_mutex_unlock(&lock);
    return found;
}

tern_status tn_custom_resolve(tn_node *node, bool *found, tern_error *err) {
    tern_model *m = node->graph->model;
    const char *domain = tn_op_short_domain(node->domain);
    int other = 0;
    tn_custom *c = find_held(m, domain, node);
    if (!c && (c = find_listed(domain, node, &other))) TN_TRY(tn_model_hold(m, c, unref, err));
    *found = c != NULL;
    char where[TN_NODE_TEXT];
    if (!c && other)
        return tn_fail(err, TERN_UNSUPPORTED, "%s: the operator is registered since version %d, not for this one",
                       tn_node_text(node, where, sizeof where), other);
    if (!c) return TERN_OK;
    TN_TRY(check_node_attributes(node, &c->user, err));
    node->op = &c->op;
    node->since = c->user.since;
    return TERN_OK;
}

/* ---- what the engine calls ------------------------------------------------------------------------------------- */

tern_dtype tn_custom_output_type(const tern_op *op, size_t o, const tn_type *const *in, size_t n_in) {
    const tern_op_param *p = tn_custom_param(op->outputs, op->n_outputs, o);
    for (size_t i = 0; i < n_in && p->same_as; i++) {
        const tern_op_param *q = tn_custom_param(op->inputs, op->n_inputs, i);
        if (in[i] && in[i]->dtype != TERN_UNDEFINED && q->same_as && strcmp(q->same_as, p->same_as) == 0)
            return in[i]->dtype;
    }
    return single_type(p->types) ? (tern_dtype)__builtin_ctz(p->types) : TERN_UNDEFINED;
}

static tern_status check_inputs(tn_infer *c, const tern_op *op) {
    for (int i = 0; i < c->node->n_in; i++) {
        const tern_op_param *p = tn_custom_param(op->inputs, op->n_inputs, (size_t)i);
        TN_TRY(tn_infer_want(c, i, p->types));
        for (int k = 0; k < i && p->same_as && c->in[i]; k++) {
            const tern_op_param *q = tn_custom_param(op->inputs, op->n_inputs, (size_t)k);
            if (q->same_as && strcmp(q->same_as, p->same_as) == 0) TN_TRY(tn_infer_same_type(c, k, i));
        }
    }
    return TERN_OK;
}

/* What a function of the operator's author left behind. */
static tern_status judge(tern_op_context *x, tern_status returned, tern_error *why) {
    tern_status s = x->status != TERN_OK ? x->status : returned;
    if (s == TERN_OK) return TERN_OK;
    if ((unsigned)s > TERN_INTERNAL) s = TERN_INTERNAL;
    bool said = why->status != TERN_OK && why->text[0];
    return tn_fail(x->infer ? x->infer->err : x->run->err, s, "%s",
                   said ? why->text : "the operator's function failed without saying why");
}

static tern_status infer_custom(tn_infer *c) {
    const tern_op *op = tn_custom_of(c->node);
    TN_TRY(check_inputs(c, op));
    for (int o = 0; o < c->node->n_out; o++)
        tn_infer_out(c, o, tn_custom_output_type(op, (size_t)o, c->in, (size_t)c->node->n_in), NULL);
    if (!op->infer) return TERN_OK;
    tern_error why = {TERN_OK, ""};
    tern_op_context x = {.node = c->node, .infer = c, .err = &why};
    return judge(&x, op->infer(&x, op->user_data), &why);
}

/* The state is the outputs' element types, which run can not tell otherwise. */
static tern_status prepare_custom(tn_prepare *c) {
    size_t n = (size_t)c->node->n_out;
    tern_dtype *types = tn_prepare_state(c, (n + 1) * sizeof *types);
    if (!types) return TERN_OUT_OF_MEMORY;
    for (size_t o = 0; o < n; o++) {
        types[o] = c->out[o].dtype;
        if (c->node->out[o] && types[o] == TERN_UNDEFINED)
            return tn_fail(c->err, TERN_INTERNAL, "the operator's infer function gave output %zu no element type", o);
    }
    return TERN_OK;
}

static tern_status run_custom(tn_run *c) {
    const tern_op *op = tn_custom_of(c->node);
    tern_error why = {TERN_OK, ""};
    tern_op_context x = {.node = c->node, .run = c, .types = c->state, .err = &why};
    TN_TRY(judge(&x, op->compute(&x, op->user_data), &why));
    for (int o = 0; o < c->node->n_out; o++)
        if (c->node->out[o] && !((x.given >> o) & 1u))
            return tn_run_fail(c, TERN_INTERNAL, "the operator's compute function did not give output %d '%s'", o,
                               c->node->out[o]->name);
    return TERN_OK;
}
