#include "ops/ops.h"

#include <stdio.h>

#define OP(DOMAIN, NAME, SINCE, IMPL) extern const tn_op tn_op_##IMPL;
#include "ops/op_list.inc"
#undef OP

static const tn_op_row rows[] = {
#define OP(DOMAIN, NAME, SINCE, IMPL) {DOMAIN, #NAME, DOMAIN ":" #NAME, SINCE, &tn_op_##IMPL},
#include "ops/op_list.inc"
#undef OP
    {NULL, NULL, NULL, 0, NULL} /* keeps the array non-empty; not counted */
};
static const size_t n_rows = TN_COUNT(rows) - 1;

/* Newest version of each operator set that the rows were written for. A newer model runs with these rows and a
 * warning: later versions of the standard mostly add operators and types. */
static const struct {
    const char *domain;
    int newest;
} opsets[] = {{"", 28},
              {"ai.onnx.ml", 5},
              {"ai.onnx.preview", 1},
              {"ai.onnx.preview.training", 1},
              {"com.microsoft", 1},
              {"mmcv", 1},
              {"mmdeploy", 1},
              {"tern", 1}};

static const struct {
    const char *name;
    uint32_t types; /* bits of tn_attr_type */
} attr_types[] = {
#define A(TYPE)           (1u << TN_ATTR_##TYPE)
#define ATTR(NAME, TYPES) {#NAME, TYPES},
#include "ops/attr_list.inc"
#undef ATTR
};

/* What operators take where that leaves a choice, or something else. */
static const struct {
    const char *domain, *op;
    int from, to;
    const char *attr;
    uint32_t types;
} exact_types[] = {
#define END                                      INT32_MAX
#define EXACT(DOMAIN, OP, FROM, TO, ATTR, TYPES) {DOMAIN, #OP, FROM, TO, #ATTR, TYPES},
#include "ops/attr_exact_list.inc"
#undef EXACT
#undef END
#undef A
};

const tn_op_row *tn_op_rows(size_t *count) {
    *count = n_rows;
    return rows;
}

const char *tn_op_short_domain(const char *domain) { return strcmp(domain, "ai.onnx") == 0 ? "" : domain; }

int tn_op_newest_opset(const char *domain) {
    domain = tn_op_short_domain(domain);
    for (size_t i = 0; i < TN_COUNT(opsets); i++)
        if (strcmp(opsets[i].domain, domain) == 0) return opsets[i].newest;
    return 0;
}

/* First row of the operator; NULL when there is none. */
static const tn_op_row *first_row(const char *domain, const char *name) {
    domain = tn_op_short_domain(domain);
    for (size_t i = 0; i < n_rows; i++)
        if (strcmp(rows[i].name, name) == 0 && strcmp(rows[i].domain, domain) == 0) return &rows[i];
    return NULL;
}

static const tn_op_row *newest_row(const tn_op_row *first, int opset) {
    const tn_op_row *best = NULL;
    for (const tn_op_row *r = first; r < rows + n_rows && strcmp(r->key, first->key) == 0; r++)
        if (r->since <= opset) best = r;
    return best;
}

const tn_op_row *tn_op_find(const char *domain, const char *name, int opset) {
    const tn_op_row *first = first_row(domain, name);
    return first ? newest_row(first, opset) : NULL;
}

static tern_status node_fail(const tn_node *node, tern_error *err, tern_status status, const char *text) {
    char where[TN_NODE_TEXT];
    return tn_fail(err, status, "%s: %s", tn_node_text(node, where, sizeof where), text);
}

/* Marks entries of the map of attributes whose name is in exact_types. */
#define EXACT_FLAG ((uintptr_t)1 << 16)

static uint32_t types_of_attr(const tn_node *node, int since, const char *name, uintptr_t entry) {
    const char *domain = tn_op_short_domain(node->domain);
    for (size_t i = 0; entry & EXACT_FLAG && i < TN_COUNT(exact_types); i++)
        if (strcmp(exact_types[i].attr, name) == 0 && strcmp(exact_types[i].op, node->op_type) == 0 &&
            strcmp(exact_types[i].domain, domain) == 0 && since >= exact_types[i].from && since <= exact_types[i].to)
            return exact_types[i].types;
    return attr_types[(entry & (EXACT_FLAG - 1)) - 1].types;
}

static const char *attr_type_name(int type) {
    static const char *const names[] = {
        "UNDEFINED", "FLOAT",   "INT",    "STRING",        "TENSOR",         "GRAPH",      "FLOATS",     "INTS",
        "STRINGS",   "TENSORS", "GRAPHS", "SPARSE_TENSOR", "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"};
    return type >= 0 && (size_t)type < TN_COUNT(names) ? names[type] : "unknown";
}

static tern_status wrong_attr(const tn_node *node, const tn_attr *a, uint32_t types, tern_error *err) {
    char where[TN_NODE_TEXT], wanted[120] = "";
    size_t at = 0;
    for (int t = 0; t < 15; t++)
        if ((types >> t) & 1u && at < sizeof wanted)
            at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s%s", at ? " or " : "", attr_type_name(t));
    return tn_fail(err, TERN_INVALID_MODEL, "%s: attribute '%s' has the wrong type, %s instead of %s",
                   tn_node_text(node, where, sizeof where), a->name, attr_type_name((int)a->type), wanted);
}

static tern_status check_attrs(const tn_node *node, int since, const tn_map *attr_map, tern_error *err) {
    for (int i = 0; i < node->n_attrs; i++) {
        const tn_attr *a = &node->attrs[i];
        uintptr_t entry = (uintptr_t)tn_map_get(attr_map, tn_str_c(a->name));
        if (entry == 0) continue; /* no operator reads an attribute of this name */
        uint32_t types = types_of_attr(node, since, a->name, entry);
        if (!((types >> a->type) & 1u)) return wrong_attr(node, a, types, err);
    }
    return TERN_OK;
}

static tern_status check_count(const tn_node *node, const char *what, int n, int min, int max, tern_error *err) {
    if (n >= min && (max < 0 || n <= max)) return TERN_OK;
    char text[160];
    if (max < 0)
        snprintf(text, sizeof text, "has %d %s; the operator takes at least %d", n, what, min);
    else if (min == max)
        snprintf(text, sizeof text, "has %d %s; the operator takes %d", n, what, min);
    else
        snprintf(text, sizeof text, "has %d %s; the operator takes %d to %d", n, what, min, max);
    return node_fail(node, err, TERN_INVALID_MODEL, text);
}

static tern_status check_counts(const tn_node *node, const tn_op *op, tern_error *err) {
    TN_TRY(check_count(node, "inputs", node->n_in, op->min_in, op->max_in, err));
    TN_TRY(check_count(node, "outputs", node->n_out, op->min_out, op->max_out, err));
    for (int i = 0; i < op->min_in; i++)
        if (!node->in[i]) {
            char text[64];
            snprintf(text, sizeof text, "input %d is required but absent", i);
            return node_fail(node, err, TERN_INVALID_MODEL, text);
        }
    return TERN_OK;
}

static tern_status resolve_custom(tn_node *node, tern_error *err) {
    bool found;
    TN_TRY(tn_custom_resolve(node, &found, err));
    if (found) return check_counts(node, node->op, err);
    char text[400];
    snprintf(text, sizeof text,
             "tern has no operator '%s' in domain '%s'; replace it in the model, export it as standard operators, or "
             "register it (tern/op.h)",
             node->op_type, *node->domain ? node->domain : "ai.onnx");
    return node_fail(node, err, TERN_UNSUPPORTED, text);
}

/* `first` is the operator's first row or NULL. */
static tern_status resolve(tn_node *node, const tn_op_row *first, const tn_map *attr_map, tern_error *err) {
    if (!first) return resolve_custom(node, err);
    const tn_op_row *row = newest_row(first, node->opset);
    if (!row) {
        char text[200];
        snprintf(text, sizeof text,
                 "the operator exists since opset %d, but the model imports opset %d; raise the model's opset",
                 first->since, node->opset);
        return node_fail(node, err, TERN_INVALID_MODEL, text);
    }
    const tn_op *op = row->op;
    TN_TRY(check_counts(node, op, err));
    if (attr_map) TN_TRY(check_attrs(node, row->since, attr_map, err));
    node->op = op;
    node->since = row->since;
    return TERN_OK;
}

static bool build_attr_map(tn_map *map) {
    for (size_t i = 0; i < TN_COUNT(attr_types); i++)
        if (!tn_map_put(map, tn_str_c(attr_types[i].name), (void *)(uintptr_t)(i + 1))) return false;
    for (size_t i = 0; i < TN_COUNT(exact_types); i++) {
        tn_str name = tn_str_c(exact_types[i].attr);
        if (!tn_map_put(map, name, (void *)((uintptr_t)tn_map_get(map, name) | EXACT_FLAG))) return false;
    }
    return true;
}

tern_status tn_op_resolve(tn_node *node, tern_error *err) {
    tn_map attrs = {0};
    tern_status s = build_attr_map(&attrs) ? resolve(node, first_row(node->domain, node->op_type), &attrs, err)
                                           : tn_fail_oom(err, 0);
    tn_map_release(&attrs);
    return s;
}

typedef struct resolver {
    tn_map ops;   /* key of the first row -> row */
    tn_map attrs; /* attribute name -> index + 1 in attr_types */
} resolver;

static tern_status resolve_graph(const resolver *r, tn_graph *g, tern_error *err) {
    for (int i = 0; i < g->n_nodes; i++) {
        tn_node *n = g->nodes[i];
        char key[200];
        int len = snprintf(key, sizeof key, "%s:%s", tn_op_short_domain(n->domain), n->op_type);
        const tn_op_row *first = NULL;
        if (len > 0 && (size_t)len < sizeof key) first = tn_map_get(&r->ops, (tn_str){key, (size_t)len});
        TN_TRY(resolve(n, first, &r->attrs, err));
        for (int a = 0; a < n->n_attrs; a++) {
            const tn_attr *at = &n->attrs[a];
            if (at->type == TN_ATTR_GRAPH) TN_TRY(resolve_graph(r, at->g, err));
            if (at->type == TN_ATTR_GRAPHS)
                for (size_t k = 0; k < at->count; k++) TN_TRY(resolve_graph(r, at->graphs[k], err));
        }
    }
    return TERN_OK;
}

void tn_op_warn_about_opsets(const tern_model *m) {
    for (size_t i = 0; i < m->n_opsets; i++) {
        int newest = tn_op_newest_opset(m->opsets[i].domain);
        if (newest && m->opsets[i].version > newest)
            tn_log(TERN_LOG_WARNING, "the model imports opset %d of '%s'; tern knows up to %d and runs it as that",
                   m->opsets[i].version, *m->opsets[i].domain ? m->opsets[i].domain : "ai.onnx", newest);
    }
}

tern_status tn_op_resolve_graph(tn_graph *g, tern_error *err) {
    resolver r = {0};
    bool ok = build_attr_map(&r.attrs);
    for (size_t i = 0; ok && i < n_rows; i++)
        if (i == 0 || strcmp(rows[i].key, rows[i - 1].key) != 0)
            ok = tn_map_put(&r.ops, tn_str_c(rows[i].key), (void *)(uintptr_t)&rows[i]);
    tern_status s = ok ? resolve_graph(&r, g, err) : tn_fail_oom(err, 0);
    tn_map_release(&r.ops);
    tn_map_release(&r.attrs);
    return s;
}
