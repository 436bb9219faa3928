/* GraphProto. */
#include "onnx/onnx_internal.h"

static tern_status add_initializer(tn_importer *im, tn_scope *s, const tn_pb_field *f) {
    tern_tensor *t;
    tn_str name = {0};
    im->tensors.unaligned = f->number == GRAPH_INITIALIZER && !s->graph->parent;
    tern_status status = f->number == GRAPH_INITIALIZER
                             ? tn_onnx_tensor(&im->tensors, f->bytes, &t, &name, im->err)
                             : tn_onnx_sparse_tensor(&im->tensors, f->bytes, &t, &name, im->err);
    im->tensors.unaligned = false;
    if (status != TERN_OK) {
        tn_import_prefix(im, "initializer '%.*s': ", (int)TN_MIN(name.len, (size_t)200), name.data);
        return status;
    }
    TN_TRY(tn_model_own_tensor(im->model, t, im->err));
    tn_value *v;
    TN_TRY(tn_import_define(im, s, name, &v));
    if (v->constant) return tn_fail(im->err, TERN_INVALID_MODEL, "two initializers are called '%s'", v->name);
    v->constant = t;
    v->type = tn_type_of_tensor(t);
    return TERN_OK;
}

static tern_status add_input(tn_importer *im, tn_scope *s, tn_str message) {
    tn_str name;
    tn_type type;
    tn_value *v;
    bool typed;
    TN_TRY(tn_import_value_info(im, message, &name, &type, &typed));
    TN_TRY(tn_import_define(im, s, name, &v));
    if (v->is_input) return tn_fail(im->err, TERN_INVALID_MODEL, "two inputs are called '%s'", v->name);
    if (v->constant) return TERN_OK;
    v->type = type;
    return tn_graph_add_input(s->graph, v, im->err);
}

static tern_status add_output(tn_importer *im, tn_scope *s, tn_str message) {
    tn_str name;
    tn_type type;
    tn_value *v;
    bool typed;
    TN_TRY(tn_import_value_info(im, message, &name, &type, &typed));
    TN_TRY(tn_import_read(im, s, name, NULL, &v));
    if (!v) {
        return tn_fail(im->err, TERN_INVALID_MODEL,
                       "output '%.*s' is an input of the function that the caller left out",
                       (int)TN_MIN(name.len, (size_t)200), name.data);
    }
    // An input or initializer has its own type already.
    if (typed && !v->is_input && !v->constant) v->type = type;
    return tn_graph_add_output(s->graph, v, im->err);
}

/* Values of inlined functions must not take the names by which callers ask for outputs. */
static tern_status reserve_output(tn_importer *im, tn_scope *s, tn_str message) {
    tn_str name;
    tn_type type;
    tn_value *v;
    bool typed;
    if (s->graph->parent || !im->functions.count) return TERN_OK;
    TN_TRY(tn_import_value_info(im, message, &name, &type, &typed));
    return tn_import_define(im, s, name, &v);
}

static tern_status add_value_info(tn_importer *im, tn_scope *s, tn_str message) {
    tn_str name;
    tn_type type;
    bool typed;
    TN_TRY(tn_import_value_info(im, message, &name, &type, &typed));
    tn_value *v = tn_map_get(s->names, name);
    if (typed && v && v->producer && v->type.dtype == TERN_UNDEFINED) v->type = type;
    return TERN_OK;
}

/* What is read in which pass: a name must be known as an input or initializer before nodes define outputs. */
enum { PASS_INITIALIZERS, PASS_INPUTS, PASS_OUTPUT_NAMES, PASS_NODES, PASS_OUTPUTS, PASS_TYPES, N_PASSES };

static tern_status read_field(tn_importer *im, tn_scope *s, const tn_pb_field *f, int pass, int *node) {
    switch (f->number) {
    case GRAPH_INITIALIZER:
    case GRAPH_SPARSE_INITIALIZER:
        return pass == PASS_INITIALIZERS ? add_initializer(im, s, f) : TERN_OK;
    case GRAPH_INPUT:
        return pass == PASS_INPUTS ? add_input(im, s, f->bytes) : TERN_OK;
    case GRAPH_NODE:
        return pass == PASS_NODES ? tn_import_node(im, s, f->bytes, (*node)++) : TERN_OK;
    case GRAPH_OUTPUT:
        if (pass == PASS_OUTPUT_NAMES) return reserve_output(im, s, f->bytes);
        return pass == PASS_OUTPUTS ? add_output(im, s, f->bytes) : TERN_OK;
    case GRAPH_VALUE_INFO:
        return pass == PASS_TYPES ? add_value_info(im, s, f->bytes) : TERN_OK;
    }
    return TERN_OK;
}

static tern_status read_graph(tn_importer *im, tn_str message, tn_scope *s) {
    for (int pass = 0; pass < N_PASSES; pass++) {
        tn_pb r = tn_pb_open(message);
        int node = 0;
        for (tn_pb_field f; tn_pb_next(&r, &f);) {
            if (f.wire == TN_PB_BYTES) TN_TRY(read_field(im, s, &f, pass, &node));
        }
        TN_TRY(tn_pb_check(&r, im->start, "GraphProto", im->err));
    }
    return TERN_OK;
}

static tern_status graph_name(tn_importer *im, tn_str message, const char **name) {
    tn_pb r = tn_pb_open(message);
    tn_str text = {0};
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == GRAPH_NAME && f.wire == TN_PB_BYTES) text = f.bytes;
    }
    return tn_import_text(im, &im->temp, text, name);
}

tern_status tn_import_graph(tn_importer *im, tn_str message, tn_graph *parent, tn_scope *outer, tn_graph **out) {
    const char *name;
    TN_TRY(tn_import_enter(im));
    TN_TRY(graph_name(im, message, &name));
    tn_graph *g = *out = tn_graph_new(im->model, parent, name);
    tn_scope *s = g ? tn_import_scope(im, g, outer) : NULL;
    if (!s) return tn_fail_oom(im->err, sizeof *s);
    tern_status status = read_graph(im, message, s);
    if (status != TERN_OK) tn_import_prefix(im, "graph '%s': ", name);
    im->depth--;
    return status;
}
