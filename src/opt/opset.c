/* Models from one version of the standard's operators to another.
 *
 * Every node goes from its version to the target, one version at a time. Where an operator changed, opset_list.inc has
 * an adapter for the step, up and down; without one, the change was in types, attributes or inputs that were added, and
 * the node stays as it is. In the end every node is held against the signature that its operator has in the target
 * (schema_list.inc): what that does not know (an attribute that is not at its default, an input, a type) can not be
 * expressed, and the error names it. Nodes that an adapter adds are written for the version of the step and go the rest
 * of the way like the others. */
#include "opt/opset_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_IN = 12, MAX_OUT = 8, SEQUENCE_BIT = 30, OPTIONAL_BIT = 31 };

typedef struct schema {
    const char *name;
    int since, min_in, max_in, max_out;
    const char *attrs; /* NULL: deprecated */
    uint32_t in[MAX_IN], out[MAX_OUT];
} schema;

#define M(...) \
    { __VA_ARGS__ }
#define SCHEMA(NAME, SINCE, MIN_IN, MAX_IN_, MAX_OUT_, ATTRS, IN, OUT) \
    {#NAME, SINCE, MIN_IN, MAX_IN_, MAX_OUT_, ATTRS, IN, OUT},
#define GONE(NAME, SINCE) {#NAME, SINCE, 0, 0, 0, NULL, {0}, {0}},
static const schema schemas[] = {
#include "opt/schema_list.inc"
};
/* ai.onnx.ml */
static const schema ml_schemas[] = {
#include "opt/schema_ml_list.inc"
};
#undef M
#undef SCHEMA
#undef GONE

tern_status tn_adapt_none(tn_adapt *a);
#define ADAPT(OP, VERSION, UP, DOWN) tern_status tn_adapt_##UP(tn_adapt *a), tn_adapt_##DOWN(tn_adapt *a);
#include "opt/opset_list.inc"
#undef ADAPT

tern_status tn_adapt_none(tn_adapt *a) {
    (void)a;
    return TERN_OK;
}

static const struct {
    const char *op;
    int version;
    tn_adapt_fn up, down;
} adapters[] = {
#define ADAPT(OP, VERSION, UP, DOWN) {#OP, VERSION, tn_adapt_##UP, tn_adapt_##DOWN},
#include "opt/opset_list.inc"
#undef ADAPT
};

/* ---- signatures ------------------------------------------------------------------------------------------------ */

static const schema *newest(const schema *list, size_t n, const char *op, int version) {
    const schema *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, op) == 0 && list[i].since <= version) best = &list[i];
    return best;
}

/* The newest signature not above `version`; NULL: the operator is not there yet, or (deprecated) not any more. */
static const schema *find_schema(const char *op, int version) {
    return newest(schemas, TN_COUNT(schemas), op, version);
}

/* The text after the attribute's name in the list: "=default", "!", ""; NULL when it is not there. */
static const char *find_attr(const schema *s, const char *name, size_t *len) {
    size_t n = strlen(name);
    for (const char *p = s->attrs; *p;) {
        size_t item = strcspn(p, ",");
        if (item >= n && memcmp(p, name, n) == 0 && (item == n || p[n] == '=' || p[n] == '!')) {
            *len = item - n;
            return p + n;
        }
        p += item + (p[item] == ',');
    }
    return NULL;
}

static bool is_default(const tn_attr *a, const char *text, size_t len) {
    char value[64];
    if (len < 2 || len >= sizeof value || *text != '=') return false;
    snprintf(value, sizeof value, "%.*s", (int)(len - 1), text + 1);
    if (a->type == TN_ATTR_INT) return a->i == strtoll(value, NULL, 10);
    if (a->type == TN_ATTR_FLOAT) return a->f == strtof(value, NULL);
    return a->type == TN_ATTR_STRING && tn_str_eq(a->s, tn_str_c(value));
}

/* Attributes that the target does not know may go when they say nothing: at the default of the version they came from.
 */
static tern_status check_attrs(tn_adapt *a, const schema *from, const schema *to) {
    tn_node *n = a->node;
    for (int i = n->n_attrs - 1; i >= 0; i--) {
        const tn_attr *at = &n->attrs[i];
        size_t len;
        if (find_attr(to, at->name, &len)) continue;
        const char *text = from && from->attrs ? find_attr(from, at->name, &len) : NULL;
        if (strcmp(at->name, "consumed_inputs") != 0 && !(text && is_default(at, text, len)))
            return tn_adapt_fail(a, "it has no attribute '%s' there", at->name);
        tn_adapt_drop_attr(n, at->name);
    }
    for (const char *p = to->attrs; *p;) {
        size_t item = strcspn(p, ",");
        char name[64];
        if (item && item < sizeof name && p[item - 1] == '!') {
            snprintf(name, sizeof name, "%.*s", (int)(item - 1), p);
            if (!tn_attr_find(n, name)) return tn_adapt_fail(a, "it needs an attribute '%s' there", name);
        }
        p += item + (p[item] == ',');
    }
    return TERN_OK;
}

static bool type_allowed(const tn_type *t, uint32_t allowed) {
    if (!allowed) return true;
    if (t->kind == TERN_KIND_SEQUENCE) return allowed >> SEQUENCE_BIT & 1u;
    if (t->kind == TERN_KIND_OPTIONAL) return allowed >> OPTIONAL_BIT & 1u;
    return t->kind != TERN_KIND_TENSOR || t->dtype == TERN_UNDEFINED || tn_type_in(t->dtype, allowed);
}

static tern_status check_types(tn_adapt *a, tn_value *const *values, int n, const uint32_t *masks, int limit,
                               const char *what) {
    uint32_t last = 0;
    for (int i = 0; i < n; i++) {
        if (i < (limit < 0 ? MAX_OUT : limit) && masks[i]) last = masks[i]; /* of variadic ones the last counts */
        if (values[i] && !type_allowed(&values[i]->type, last))
            return tn_adapt_fail(a, "%s %d may not be %s there", what, i,
                                 values[i]->type.kind == TERN_KIND_TENSOR ? tn_dtype_name(values[i]->type.dtype)
                                                                          : "a sequence or optional");
    }
    return TERN_OK;
}

static int count_without_tail(tn_value *const *values, int n) {
    while (n > 0 && !values[n - 1]) n--;
    return n;
}

static tern_status check_signature(tn_adapt *a, const schema *from) {
    tn_node *n = a->node;
    const schema *to = find_schema(n->op_type, a->target);
    if (!to) return tn_adapt_fail(a, "the operator is not there yet");
    if (!to->attrs) return tn_adapt_fail(a, "the operator is deprecated there");
    n->n_in = count_without_tail(n->in, n->n_in);
    n->n_out = count_without_tail(n->out, n->n_out);
    if (n->n_in < to->min_in || (to->max_in >= 0 && n->n_in > to->max_in))
        return tn_adapt_fail(a, "it has %d inputs, and takes %s %d there", n->n_in,
                             n->n_in < to->min_in ? "at least" : "at most",
                             n->n_in < to->min_in ? to->min_in : to->max_in);
    if (to->max_out >= 0 && n->n_out > to->max_out)
        return tn_adapt_fail(a, "it has %d outputs, and gives at most %d there", n->n_out, to->max_out);
    TN_TRY(check_attrs(a, from, to));
    TN_TRY(check_types(a, n->in, n->n_in, to->in, to->max_in, "input"));
    return check_types(a, n->out, n->n_out, to->out, to->max_out, "output");
}

bool tn_opset_allows(const tn_node *node, bool output, int i, tern_dtype dtype) {
    const schema *s = *node->domain ? NULL : find_schema(node->op_type, node->opset);
    if (!s || !s->attrs) return false;
    int limit = output ? MAX_OUT : MAX_IN;
    uint32_t allowed = 0;
    for (int k = 0; k <= i && k < limit; k++) { /* of variadic ones the last counts */
        uint32_t mask = output ? s->out[k] : s->in[k];
        if (mask) allowed = mask;
    }
    return tn_type_in(dtype, allowed);
}

void tn_opset_check_attrs(const tn_node *node, void (*fn)(void *context, const tn_node *node, const char *text),
                          void *context) {
    const schema *s = *node->domain ? NULL : find_schema(node->op_type, node->opset);
    if (strcmp(node->domain, "ai.onnx.ml") == 0)
        s = newest(ml_schemas, TN_COUNT(ml_schemas), node->op_type, node->opset);
    char text[200], name[64];
    size_t len;
    if (!s || !s->attrs) return;
    for (int i = 0; i < node->n_attrs; i++) {
        const char *own = node->attrs[i].name;
        if (find_attr(s, own, &len) || strncmp(own, "__", 2) == 0) continue;
        snprintf(text, sizeof text, "version %d of the operator has no attribute '%.100s'", s->since, own);
        fn(context, node, text);
    }
    for (const char *p = s->attrs; *p;) {
        size_t item = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)TN_MIN(item, sizeof name), p);
        if (item && item < sizeof name && name[item - 1] == '!') {
            name[item - 1] = 0;
            snprintf(text, sizeof text, "attribute '%s', which version %d of the operator needs, is missing", name,
                     s->since);
            if (!tn_attr_find(node, name)) fn(context, node, text);
        }
        p += item + (p[item] == ',');
    }
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

/* Adapters count on a first output, which a file may leave out. */
static tern_status name_first_output(tn_adapt *a) {
    tn_node *n = a->node;
    if (n->out[0]) return TERN_OK;
    n->out[0] = tn_adapt_value(a, n->op_type, NULL);
    if (!n->out[0]) return TERN_OUT_OF_MEMORY;
    n->out[0]->producer = n;
    return TERN_OK;
}

/* Adapters count on the inputs that every node of the operator has, and on the first one being given. */
static tern_status check_inputs(tn_adapt *a, const schema *from) {
    const tn_node *n = a->node;
    const schema *s = from ? from : find_schema(n->op_type, a->target);
    if (!s || (n->n_in >= s->min_in && (s->min_in == 0 || n->in[0]))) return TERN_OK;
    return tn_adapt_fail(a, "it lacks an input that the operator needs");
}

static tern_status step(tn_adapt *a, bool up) {
    for (size_t i = 0; i < TN_COUNT(adapters); i++) {
        if (adapters[i].version != a->version || strcmp(adapters[i].op, a->node->op_type) != 0) continue;
        TN_TRY(name_first_output(a));
        return up ? adapters[i].up(a) : adapters[i].down(a);
    }
    return TERN_OK;
}

static tern_status convert_graph(tn_adapt *a, tn_graph *g);

static tern_status convert_subgraphs(tn_adapt *a, const tn_node *n) {
    for (int i = 0; i < n->n_attrs; i++) {
        const tn_attr *at = &n->attrs[i];
        if (at->type == TN_ATTR_GRAPH) TN_TRY(convert_graph(a, at->g));
        for (size_t k = 0; at->type == TN_ATTR_GRAPHS && k < at->count; k++) TN_TRY(convert_graph(a, at->graphs[k]));
    }
    return TERN_OK;
}

/* An operator of a version that the standard does not have yet keeps its form up to there. */
static tern_status convert_node(tn_adapt *a) {
    tn_node *n = a->node;
    const schema *from = find_schema(n->op_type, n->opset);
    bool up = n->opset < a->target;
    a->origin = n->opset;
    TN_TRY(check_inputs(a, from));
    while (n->opset != a->target && !a->gone) {
        a->version = up ? n->opset + 1 : n->opset;
        a->at = up ? n->opset + 1 : n->opset - 1;
        TN_TRY(step(a, up));
        n->opset = a->at;
        if (from && strcmp(from->name, n->op_type) != 0) from = find_schema(n->op_type, n->opset);
    }
    n->since = 0;
    n->op = NULL;
    return a->gone ? TERN_OK : check_signature(a, from);
}

static tern_status convert_graph(tn_adapt *a, tn_graph *g) {
    for (int i = 0; i < g->n_nodes; i++) { /* the list grows */
        tn_adapt inner = *a;
        inner.o.graph = g;
        inner.node = g->nodes[i];
        inner.gone = false;
        TN_TRY(convert_subgraphs(a, inner.node));
        if (*inner.node->domain == '\0' && inner.node->n_out) TN_TRY(convert_node(&inner));
    }
    return TERN_OK;
}

/* The IR version that came with a version of the operators: older readers refuse newer ones. */
static int64_t ir_version_of(int opset) {
    static const struct {
        int opset, ir;
    } table[] = {{27, 14}, {26, 13}, {25, 12}, {24, 11}, {23, 11}, {21, 10},
                 {19, 9},  {15, 8},  {12, 7},  {11, 6},  {10, 5}};
    for (size_t i = 0; i < TN_COUNT(table); i++)
        if (opset >= table[i].opset) return table[i].ir;
    return 4;
}

static tn_opset_import *standard_import(tern_model *m) {
    for (size_t i = 0; i < m->n_opsets; i++)
        if (!*m->opsets[i].domain || strcmp(m->opsets[i].domain, "ai.onnx") == 0) return &m->opsets[i];
    return NULL;
}

tern_status tn_opset_convert(tern_model *m, int target, tern_error *err) {
    tn_adapt a = {.o = {.model = m, .graph = m->graph, .err = err}, .target = target};
    int newest = tn_op_newest_opset("");
    if (target < 1 || target > newest)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "there is no opset %d; 1 to %d exist", target, newest);
    /* The list of imports may be shared with the model that this one was copied from. */
    tn_opset_import *own = tn_arena_array(&m->arena, m->n_opsets + 1, sizeof *own);
    if (!own) return tn_fail_oom(err, sizeof *own);
    if (m->n_opsets) memcpy(own, m->opsets, m->n_opsets * sizeof *own);
    m->opsets = own;
    tn_opset_import *import = standard_import(m);
    if (!import) return TERN_OK; /* no operator of the standard */
    TN_TRY(convert_graph(&a, m->graph));
    bool down = target < import->version;
    import->version = target;
    m->ir_version = down ? TN_MIN(m->ir_version, ir_version_of(target)) : TN_MAX(m->ir_version, ir_version_of(target));
    TN_TRY(tn_graph_finish(m->graph, err));
    return TERN_OK;
}

/* ---- for adapters ---------------------------------------------------------------------------------------------- */

tern_status tn_adapt_fail(tn_adapt *a, const char *format, ...) {
    char where[TN_NODE_TEXT], text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tn_node shown = *a->node;
    shown.opset = a->origin;
    return tn_fail(a->o.err, TERN_UNSUPPORTED, "%s: can not be written in opset %d: %s",
                   tn_node_text(&shown, where, sizeof where), a->target, text);
}

const tern_tensor *tn_adapt_const(const tn_value *v) {
    while (v && v->captured) v = v->captured;
    if (!v) return NULL;
    if (v->constant) return v->constant->kind == TERN_KIND_TENSOR ? v->constant : NULL;
    const tn_node *n = v->producer;
    return tn_opt_is(n, "", "Constant") ? tn_attr_tensor(n, "value") : NULL;
}

bool tn_adapt_ints(const tn_value *v, int64_t *out, int max, int *count) {
    const tern_tensor *t = tn_adapt_const(v);
    if (!t || t->shape.rank > 1 || !tn_type_in(t->dtype, TN_TYPES_INT)) return false;
    int64_t n = tn_shape_count(&t->shape);
    if (n > max) return false;
    for (int64_t i = 0; i < n; i++) out[i] = tn_tensor_get_i64(t, i);
    *count = (int)n;
    return true;
}

int tn_adapt_rank(const tn_value *v) {
    return v && v->type.kind == TERN_KIND_TENSOR && v->type.ranked ? v->type.shape.rank : -1;
}

bool tn_adapt_axis(int64_t *axis, int rank) {
    if (*axis >= 0) return true;
    if (rank < 0) return false;
    *axis += rank;
    return *axis >= 0;
}

tn_value *tn_adapt_value(tn_adapt *a, const char *base, const tn_type *type) {
    tn_value *v = tn_graph_new_value(a->o.graph, base);
    if (!v) tn_fail_oom(a->o.err, sizeof *v);
    if (v && type) v->type = *type;
    return v;
}

static tn_value *new_const(tn_adapt *a, tern_dtype dtype, int count, int rank, tern_tensor **t) {
    tn_shape shape = {.rank = rank, .dims = {count}};
    if (tn_tensor_new(t, dtype, &shape, a->o.err) != TERN_OK) return NULL;
    const tn_value *out = a->node->n_out ? a->node->out[0] : NULL;
    return tn_opt_new_const(&a->o, out ? out->name : "constant", *t);
}

tn_value *tn_adapt_i64(tn_adapt *a, const int64_t *values, int count, int rank) {
    tern_tensor *t;
    tn_value *v = new_const(a, TERN_INT64, count, rank, &t);
    if (v && count) memcpy(t->data, values, (size_t)count * sizeof *values);
    return v;
}

tn_value *tn_adapt_float(tn_adapt *a, tern_dtype dtype, double value, int rank) {
    tern_tensor *t;
    tn_value *v = new_const(a, dtype, 1, rank, &t);
    if (!v) return NULL;
    switch (dtype) {
    case TERN_DOUBLE:
        *(double *)t->data = value;
        break;
    case TERN_FLOAT16:
        *(uint16_t *)t->data = tn_f32_to_f16((float)value);
        break;
    case TERN_BFLOAT16:
        *(uint16_t *)t->data = tn_f32_to_bf16((float)value);
        break;
    case TERN_FLOAT:
        *(float *)t->data = (float)value;
        break;
    default:
        tn_adapt_fail(a, "a constant of type %s would be needed", tn_dtype_name(dtype));
        return NULL;
    }
    return v;
}

tn_value *tn_adapt_node(tn_adapt *a, const char *op, tn_value *const *in, int n_in, tn_value *out, tn_node **made) {
    tn_node *n = tn_graph_add_node(a->o.graph, "", op, a->at, n_in, 1);
    if (!n) {
        tn_fail_oom(a->o.err, sizeof *n);
        return NULL;
    }
    n->name = a->node->name;
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    if (!out) out = tn_adapt_value(a, a->node->n_out && a->node->out[0] ? a->node->out[0]->name : op, NULL);
    n->out[0] = out;
    if (out) out->producer = n;
    if (made) *made = n;
    return out;
}

tern_status tn_adapt_inputs(tn_adapt *a, tn_value *const *in, int n_in) {
    tn_value **list = tn_arena_array(&a->o.model->arena, (size_t)n_in + 1, sizeof *list);
    if (!list) return tn_fail_oom(a->o.err, sizeof *list);
    for (int i = 0; i < n_in; i++) list[i] = in[i];
    a->node->in = list;
    a->node->n_in = n_in;
    return TERN_OK;
}

tern_status tn_adapt_set_input(tn_adapt *a, int i, tn_value *v) {
    if (!v) return a->o.err ? a->o.err->status : TERN_OUT_OF_MEMORY; /* whoever made no value has said why */
    tn_value *list[MAX_IN] = {0};
    int n = TN_MAX(a->node->n_in, i + 1);
    if (n > MAX_IN) return tn_adapt_fail(a, "it has too many inputs");
    for (int k = 0; k < a->node->n_in; k++) list[k] = a->node->in[k];
    list[i] = v;
    return tn_adapt_inputs(a, list, n);
}

tern_status tn_adapt_remove(tn_adapt *a) {
    tn_node *n = a->node;
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] && n->out[i]->producer != n) n->out[i] = NULL;
    tn_opt_remove(n);
    n->n_in = n->n_out = 0;
    n->opset = a->target;
    a->gone = true;
    return TERN_OK;
}

void tn_adapt_drop_attr(tn_node *n, const char *name) {
    for (int i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, name) != 0) continue;
        memmove(&n->attrs[i], &n->attrs[i + 1], (size_t)(n->n_attrs - i - 1) * sizeof *n->attrs);
        n->n_attrs--;
        return;
    }
}
