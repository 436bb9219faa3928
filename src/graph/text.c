/* Nodes and types as text. */
#include "graph/graph.h"

#include <inttypes.h>
#include <stdio.h>

static const char *first_output(const tn_node *n) {
    for (int i = 0; i < n->n_out; i++) {
        if (n->out[i]) return n->out[i]->name;
    }
    return NULL;
}

const char *tn_node_text(const tn_node *n, char *buffer, size_t size) {
    // Long names must not push out what follows them.
    const char *dot = *n->domain ? "." : "", *output = first_output(n);
    if (*n->name) {
        snprintf(buffer, size, "node '%.100s' (%.40s%s%.60s, opset %d)", n->name, n->domain, dot, n->op_type, n->opset);
    } else if (output) {
        snprintf(buffer, size, "node %d with output '%.90s' (%.40s%s%.60s, opset %d)", n->id, output, n->domain, dot,
                 n->op_type, n->opset);
    } else {
        snprintf(buffer, size, "node %d (%.40s%s%.60s, opset %d)", n->id, n->domain, dot, n->op_type, n->opset);
    }
    return buffer;
}

static void add_shape(const tern_model *m, const tn_type *t, tn_text *out) {
    if (!t->ranked) {
        tn_text_add(out, "[...]");
        return;
    }
    tn_text_add(out, "[");
    for (int i = 0; i < t->shape.rank; i++) {
        int64_t d = t->shape.dims[i];
        if (i) tn_text_add(out, ",");
        if (tn_dim_known(d)) {
            tn_text_add(out, "%" PRId64, d);
        } else {
            tn_text_add(out, "%s", m ? tn_model_symbol_name(m, d) : "?");
        }
    }
    tn_text_add(out, "]");
}

void tn_type_text(const tern_model *m, const tn_type *t, tn_text *out) {
    static const char *const names[] = {"tensor", "sequence", "optional", "map"};
    int closing = 0;
    for (; t && t->kind != TERN_KIND_TENSOR; t = t->element, closing++) {
        tn_text_add(out, "%s(", names[t->kind]);
        if (t->kind == TERN_KIND_MAP) tn_text_add(out, "%s,", tn_dtype_name(t->dtype));
    }
    if (t) {
        tn_text_add(out, "%s", t->dtype == TERN_UNDEFINED ? "?" : tn_dtype_name(t->dtype));
        add_shape(m, t, out);
    } else {
        tn_text_add(out, "?");
    }
    while (closing--) tn_text_add(out, ")");
}

tn_type tn_type_of_tensor(const tern_tensor *t) {
    tn_type type = {.kind = t->kind, .dtype = t->dtype};
    if (t->kind == TERN_KIND_TENSOR) {
        type.ranked = true;
        type.shape = t->shape;
    } else if (t->kind == TERN_KIND_MAP && t->n_items) {
        type.dtype = t->items[0]->dtype;
    } else {
        type.dtype = TERN_UNDEFINED;
    }
    return type;
}
