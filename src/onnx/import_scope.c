/* Names to values. */
#include "onnx/onnx_internal.h"

tn_scope *tn_import_scope(tn_importer *im, tn_graph *graph, tn_scope *outer) {
    tn_scope *s = tn_arena_alloc(&im->temp, sizeof *s);
    if (!s) return NULL;
    s->outer = outer;
    s->graph = graph;
    // Inlined functions put values of made-up names into the graph, which later names of the file must not meet.
    s->names = im->functions.count ? &s->own : &graph->by_name;
    s->call = outer ? outer->call : NULL;
    s->opsets = outer ? outer->opsets : &im->opsets;
    s->prefix = outer ? outer->prefix : "";
    s->next = im->scopes;
    im->scopes = s;
    return s;
}

bool tn_import_has_source(const tn_value *v) { return v->producer || v->is_input || v->constant || v->captured; }

tern_status tn_import_define(tn_importer *im, tn_scope *s, tn_str name, tn_value **out) {
    *out = tn_map_get(s->names, name);
    if (*out) return TERN_OK;
    if (!name.len) return tn_fail(im->err, TERN_INVALID_MODEL, "a value has no name");
    const char *text;
    TN_TRY(tn_import_text(im, &im->temp, name, &text));
    // A function's values are none of the graph's names; a name of the graph may be taken by one of them.
    bool body = s->call && !s->outer;
    bool fresh = s->names == &s->own && (body || tn_graph_find(s->graph, text));
    *out = fresh ? tn_graph_new_value(s->graph, text) : tn_graph_value(s->graph, text);
    if (!*out) return tn_fail_oom(im->err, sizeof **out);
    if (s->names == &s->own && !tn_map_put(s->names, name, *out)) return tn_fail_oom(im->err, sizeof *out);
    return TERN_OK;
}

tern_status tn_import_output(tn_importer *im, tn_scope *s, tn_str name, tn_node *node, tn_value **out) {
    TN_TRY(tn_import_define(im, s, name, out));
    if (*out != &im->absent && !tn_import_has_source(*out)) {
        (*out)->producer = node;
        return TERN_OK;
    }
    const char *other = (*out)->constant   ? "an initializer"
                        : (*out)->producer ? "an output of another node"
                                           : "an input of the graph or function";
    return tn_fail(im->err, TERN_INVALID_MODEL, "output '%.*s' is already %s", (int)TN_MIN(name.len, (size_t)200),
                   name.data, other);
}

/* Whether the function around gives the name to an input that the caller left out. */
static bool is_absent(const tn_importer *im, const tn_scope *s, tn_str name) {
    for (s = im->any_absent ? s->outer : NULL; s; s = s->outer) {
        const tn_value *v = tn_map_get(s->names, name);
        if (v) return v == &im->absent;
    }
    return false;
}

tern_status tn_import_read(tn_importer *im, tn_scope *s, tn_str name, const tn_node *node, tn_value **out) {
    *out = tn_map_get(s->names, name);
    if (*out == &im->absent)
        *out = NULL;
    else if (!*out && !is_absent(im, s, name))
        TN_TRY(tn_import_define(im, s, name, out));
    if (!*out || tn_import_has_source(*out)) return TERN_OK;
    if (!tn_grow(&im->pending, &im->cap_pending, im->n_pending + 1, sizeof *im->pending)) {
        return tn_fail_oom(im->err, sizeof *im->pending);
    }
    im->pending[im->n_pending++] = (tn_pending){s, *out, name, node};
    return TERN_OK;
}

/* The value that stands in `g` for `v` of the graph `home` further out; made in every graph in between. `here` (may be
 * NULL) is a value of g that shall be it. */
static tn_value *stand_in(tn_importer *im, tn_graph *g, tn_value *v, const tn_graph *home, tn_value *here) {
    if (g == home) return v;
    tn_value *outer = g->parent ? stand_in(im, g->parent, v, home, NULL) : NULL;
    const void **key = outer ? tn_arena_array(&im->temp, 2, sizeof *key) : NULL;
    if (!key) return NULL;
    key[0] = g;
    key[1] = outer;
    tn_str text = {(const char *)key, 2 * sizeof *key};
    tn_value *known = tn_map_get(&im->stand_ins, text);
    if (known && !here) return known;
    if (!here)
        here = tn_graph_find(g, outer->name) ? tn_graph_new_value(g, outer->name) : tn_graph_value(g, outer->name);
    if (!here) return NULL;
    here->captured = outer;
    if (!known && !tn_map_put(&im->stand_ins, text, here)) return NULL;
    return here;
}

static tern_status fail_unknown(tn_importer *im, const tn_pending *p) {
    char text[TN_NODE_TEXT];
    const char *reader = p->node ? tn_node_text(p->node, text, sizeof text) : "a call or the list of outputs";
    return tn_fail(im->err, TERN_INVALID_MODEL,
                   "graph '%s': %s reads '%.*s', which no node, input or initializer gives", p->scope->graph->name,
                   reader, (int)TN_MIN(p->name.len, (size_t)200), p->name.data);
}

static tern_status resolve(tn_importer *im, const tn_pending *p) {
    if (tn_import_has_source(p->value)) return TERN_OK;
    for (const tn_scope *s = p->scope->outer; s; s = s->outer) {
        tn_value *v = tn_map_get(s->names, p->name);
        if (!v || !tn_import_has_source(v)) continue;
        return stand_in(im, p->scope->graph, v, s->graph, p->value) ? TERN_OK : tn_fail_oom(im->err, sizeof *v);
    }
    return fail_unknown(im, p);
}

tern_status tn_import_resolve(tn_importer *im) {
    for (size_t i = 0; i < im->n_pending; i++) TN_TRY(resolve(im, &im->pending[i]));
    return TERN_OK;
}
