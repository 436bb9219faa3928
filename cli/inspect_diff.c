/* tern inspect A B: what tells two models apart. Nodes are matched by the name of their first output, constants by
 * theirs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/compare.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "tensor/tensor.h"

typedef struct differ {
    const tern_model *a, *b;
    cJSON *list; /* NULL: text */
    size_t count;
    int64_t same_nodes, same_weights;
} differ;

static void tell(differ *d, const char *format, ...) TN_PRINTF(2, 3);
static void tell(differ *d, const char *format, ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->count++;
    if (d->list) {
        cli_json_string(d->list, NULL, text);
    } else {
        cli_print_name(text);
        printf("\n");
    }
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

enum { MAX_SHOWN = 16 };

static void attr_text(const tn_attr *a, tn_text *out) {
    switch (a->type) {
    case TN_ATTR_FLOAT:
        tn_text_add(out, "%.9g", (double)a->f);
        break;
    case TN_ATTR_INT:
        tn_text_add(out, "%" PRId64, a->i);
        break;
    case TN_ATTR_STRING:
        tn_text_add(out, "\"%.*s\"", (int)TN_MIN(a->s.len, (size_t)100), a->s.data);
        break;
    case TN_ATTR_FLOATS:
        for (size_t i = 0; i < TN_MIN(a->count, (size_t)MAX_SHOWN); i++)
            tn_text_add(out, "%s%.9g", i ? "," : "", (double)a->floats[i]);
        break;
    case TN_ATTR_INTS:
        for (size_t i = 0; i < TN_MIN(a->count, (size_t)MAX_SHOWN); i++)
            tn_text_add(out, "%s%" PRId64, i ? "," : "", a->ints[i]);
        break;
    case TN_ATTR_TENSOR: {
        const tn_type type = tn_type_of_tensor(a->t);
        tn_type_text(NULL, &type, out);
        break;
    }
    default:
        tn_text_add(out, "(%zu)", a->count);
    }
    if ((a->type == TN_ATTR_FLOATS || a->type == TN_ATTR_INTS) && a->count > MAX_SHOWN)
        tn_text_add(out, ",... (%zu in all)", a->count);
}

static bool same_strings(const tn_attr *x, const tn_attr *y) {
    bool same = true;
    for (size_t i = 0; same && i < x->count; i++) same = tn_str_eq(x->strings[i], y->strings[i]);
    return same;
}

static bool same_attr(const tn_attr *x, const tn_attr *y) {
    if (x->type != y->type || x->count != y->count) return false;
    switch (x->type) {
    case TN_ATTR_FLOAT:
        return memcmp(&x->f, &y->f, sizeof x->f) == 0;
    case TN_ATTR_INT:
        return x->i == y->i;
    case TN_ATTR_STRING:
        return tn_str_eq(x->s, y->s);
    case TN_ATTR_TENSOR:
        return tn_tensor_equal(x->t, y->t);
    case TN_ATTR_FLOATS:
        return !x->count || memcmp(x->floats, y->floats, x->count * sizeof *x->floats) == 0;
    case TN_ATTR_INTS:
        return !x->count || memcmp(x->ints, y->ints, x->count * sizeof *x->ints) == 0;
    case TN_ATTR_STRINGS:
        return same_strings(x, y);
    default:
        return true; /* graphs are compared by themselves */
    }
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static const char *key_of(const tn_node *n) {
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i]) return n->out[i]->name;
    return n->name;
}

static const tn_value *origin(const tn_value *v) {
    while (v && v->captured) v = v->captured;
    return v;
}

static bool same_values(tn_value *const *x, int n, tn_value *const *y, int m) {
    for (int i = 0; i < TN_MAX(n, m); i++) {
        const tn_value *a = i < n ? origin(x[i]) : NULL, *b = i < m ? origin(y[i]) : NULL;
        if (!a != !b || (a && strcmp(a->name, b->name) != 0)) return false;
    }
    return true;
}

static void diff_graph(differ *d, const tn_graph *a, const tn_graph *b);

static void diff_attrs(differ *d, const tn_node *x, const tn_node *y, const char *where) {
    for (int i = 0; i < x->n_attrs; i++) {
        const tn_attr *p = &x->attrs[i], *q = tn_attr_find(y, p->name);
        tn_text s, t;
        tn_text_init(&s);
        tn_text_init(&t);
        attr_text(p, &s);
        if (q) attr_text(q, &t);
        if (!q)
            tell(d, "- %s: attribute %s = %s", where, p->name, s.data ? s.data : "");
        else if (!same_attr(p, q))
            tell(d, "~ %s: attribute %s is %s, was %s", where, p->name, t.data ? t.data : "", s.data ? s.data : "");
        tn_text_release(&s);
        tn_text_release(&t);
        if (q && p->type == TN_ATTR_GRAPH && q->type == TN_ATTR_GRAPH) diff_graph(d, p->g, q->g);
    }
    for (int i = 0; i < y->n_attrs; i++) {
        const tn_attr *q = &y->attrs[i];
        if (tn_attr_find(x, q->name)) continue;
        tn_text t;
        tn_text_init(&t);
        attr_text(q, &t);
        tell(d, "+ %s: attribute %s = %s", where, q->name, t.data ? t.data : "");
        tn_text_release(&t);
    }
}

static void diff_node(differ *d, const tn_node *x, const tn_node *y) {
    char where[TN_NODE_TEXT];
    size_t before = d->count;
    tn_node_text(x, where, sizeof where);
    if (strcmp(x->op_type, y->op_type) != 0 || strcmp(x->domain, y->domain) != 0)
        tell(d, "~ %s: is a %s%s%s now", where, y->domain, *y->domain ? "." : "", y->op_type);
    if (!same_values(x->in, x->n_in, y->in, y->n_in)) tell(d, "~ %s: reads other values", where);
    if (!same_values(x->out, x->n_out, y->out, y->n_out)) tell(d, "~ %s: gives other values", where);
    diff_attrs(d, x, y, where);
    d->same_nodes += d->count == before;
}

/* ---- weights --------------------------------------------------------------------------------------------------- */

static void diff_weight(differ *d, const tn_value *x, const tn_value *y) {
    const tern_tensor *p = x->constant, *q = y->constant;
    if (tn_tensor_equal(p, q)) {
        d->same_weights++;
        return;
    }
    if (p->dtype != q->dtype || !tn_shape_equal(&p->shape, &q->shape)) {
        char s[TN_SHAPE_TEXT], t[TN_SHAPE_TEXT];
        tell(d, "~ weight '%s': is %s %s, was %s %s", x->name, tern_dtype_name(q->dtype),
             tn_shape_text(&q->shape, t, sizeof t), tern_dtype_name(p->dtype), tn_shape_text(&p->shape, s, sizeof s));
        return;
    }
    cli_difference e = cli_measure_difference(q, p);
    tell(d, "~ weight '%s': max abs %.4g, max ULP %.0f, cosine %.9f", x->name, e.max_abs, e.max_ulp, e.cosine);
}

static void diff_weights(differ *d, const tn_graph *a, const tn_graph *b) {
    for (int i = 0; i < a->n_values; i++) {
        const tn_value *x = a->values[i], *y;
        if (!x->constant) continue;
        y = tn_graph_find(b, x->name);
        if (!y || !y->constant)
            tell(d, "- weight '%s'", x->name);
        else
            diff_weight(d, x, y);
    }
    for (int i = 0; i < b->n_values; i++) {
        const tn_value *y = b->values[i], *x = y->constant ? tn_graph_find(a, y->name) : NULL;
        if (y->constant && (!x || !x->constant)) tell(d, "+ weight '%s'", y->name);
    }
}

/* ---- graphs ---------------------------------------------------------------------------------------------------- */

static void diff_values(differ *d, const char *what, tn_value *const *x, int n, tn_value *const *y, int m) {
    for (int i = 0; i < TN_MAX(n, m); i++) {
        tn_text s, t;
        tn_text_init(&s);
        tn_text_init(&t);
        if (i < n) {
            tn_text_add(&s, "%s ", x[i]->name);
            tn_type_text(d->a, &x[i]->type, &s);
        }
        if (i < m) {
            tn_text_add(&t, "%s ", y[i]->name);
            tn_type_text(d->b, &y[i]->type, &t);
        }
        if (i >= m)
            tell(d, "- %s %s", what, s.data ? s.data : "");
        else if (i >= n)
            tell(d, "+ %s %s", what, t.data ? t.data : "");
        else if (s.data && t.data && strcmp(s.data, t.data) != 0)
            tell(d, "~ %s is %s, was %s", what, t.data, s.data);
        tn_text_release(&s);
        tn_text_release(&t);
    }
}

static void index_nodes(tn_map *map, const tn_graph *g) {
    for (int i = 0; i < g->n_nodes; i++)
        if (!tn_map_put(map, tn_str_c(key_of(g->nodes[i])), g->nodes[i])) cli_must(NULL);
}

static void diff_graph(differ *d, const tn_graph *a, const tn_graph *b) {
    tn_map in_a = {0}, in_b = {0};
    char where[TN_NODE_TEXT];
    index_nodes(&in_a, a);
    index_nodes(&in_b, b);
    diff_values(d, "input", a->inputs, a->n_inputs, b->inputs, b->n_inputs);
    diff_values(d, "output", a->outputs, a->n_outputs, b->outputs, b->n_outputs);
    for (int i = 0; i < a->n_nodes; i++) {
        const tn_node *y = tn_map_get(&in_b, tn_str_c(key_of(a->nodes[i])));
        if (y)
            diff_node(d, a->nodes[i], y);
        else
            tell(d, "- %s", tn_node_text(a->nodes[i], where, sizeof where));
    }
    for (int i = 0; i < b->n_nodes; i++)
        if (!tn_map_get(&in_a, tn_str_c(key_of(b->nodes[i]))))
            tell(d, "+ %s", tn_node_text(b->nodes[i], where, sizeof where));
    diff_weights(d, a, b);
    tn_map_release(&in_a);
    tn_map_release(&in_b);
}

static int version_of(const tern_model *m, const char *domain) {
    for (size_t i = 0; i < m->n_opsets; i++)
        if (strcmp(m->opsets[i].domain, domain) == 0) return m->opsets[i].version;
    return 0;
}

static void diff_head(differ *d) {
    if (d->a->ir_version != d->b->ir_version)
        tell(d, "~ IR version is %" PRId64 ", was %" PRId64, d->b->ir_version, d->a->ir_version);
    for (int side = 0; side < 2; side++) {
        const tern_model *m = side ? d->b : d->a;
        for (size_t i = 0; i < m->n_opsets; i++) {
            const char *domain = m->opsets[i].domain;
            int x = version_of(d->a, domain), y = version_of(d->b, domain);
            if (x != y && !(side && x)) tell(d, "~ opset of '%s' is %d, was %d", *domain ? domain : "ai.onnx", y, x);
        }
    }
}

int cli_inspect_diff(const char *a, const char *b, bool json) {
    tern_model *x = NULL, *y = NULL;
    tern_error err;
    if (cli_load_whole(&x, a, &err) != TERN_OK || cli_load_whole(&y, b, &err) != TERN_OK) {
        tern_model_free(x);
        return cli_fail(&err);
    }
    cJSON *root = json ? cli_json_object(NULL, NULL) : NULL;
    differ d = {.a = x, .b = y, .list = root ? cli_json_array(root, "differences") : NULL};
    diff_head(&d);
    diff_graph(&d, x->graph, y->graph);
    if (root) {
        cli_json_int(root, "equal_nodes", d.same_nodes);
        cli_json_int(root, "equal_weights", d.same_weights);
        cli_json_print(root);
    } else {
        printf("%zu differences; %" PRId64 " nodes and %" PRId64 " weights are equal\n", d.count, d.same_nodes,
               d.same_weights);
    }
    tern_model_free(x);
    tern_model_free(y);
    return d.count ? CLI_FAILED : CLI_OK;
}
