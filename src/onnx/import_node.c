/* NodeProto. */
#include "onnx/onnx_internal.h"

#include <limits.h>

/* Everything reads attributes by a search through all of a node's. */
#define MAX_ATTRS 1000

static tern_status read_node_field(tn_importer *im, const tn_pb_field *f, tn_node_proto *p, int counts[3]) {
    switch (f->number) {
    case NODE_NAME:
        p->name = f->bytes;
        break;
    case NODE_OP_TYPE:
        p->op_type = f->bytes;
        break;
    case NODE_DOMAIN:
        p->domain = tn_str_eq(f->bytes, tn_str_c("ai.onnx")) ? (tn_str){0} : f->bytes;
        break;
    case NODE_OVERLOAD:
        p->overload = f->bytes;
        break;
    case NODE_INPUT:
        // An absent one at the end is the same as none.
        counts[0]++;
        if (f->bytes.len) p->n_inputs = counts[0];
        break;
    case NODE_OUTPUT:
        counts[1]++;
        if (f->bytes.len) p->n_outputs = counts[1];
        break;
    case NODE_ATTRIBUTE:
        p->n_attrs = ++counts[2];
        break;
    }
    for (int i = 0; i < 3; i++) {
        if (counts[i] == INT_MAX) return tn_fail(im->err, TERN_LIMIT_EXCEEDED, "a node with 2^31 inputs or outputs");
    }
    return TERN_OK;
}

static tern_status read_node_proto(tn_importer *im, tn_str message, int index, tn_node_proto *p) {
    *p = (tn_node_proto){.message = message, .index = index};
    int counts[3] = {0};
    tn_pb r = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.wire == TN_PB_BYTES) TN_TRY(read_node_field(im, &f, p, counts));
    }
    TN_TRY(tn_pb_check(&r, im->start, "NodeProto", im->err));
    if (p->n_attrs > MAX_ATTRS) {
        return tn_fail(im->err, TERN_LIMIT_EXCEEDED, "%d attributes; the limit is %d", p->n_attrs, MAX_ATTRS);
    }
    return p->op_type.len ? TERN_OK : tn_fail(im->err, TERN_INVALID_MODEL, "the node has no operator");
}

void tn_import_node_prefix(tn_importer *im, const tn_node_proto *p) {
    int op = (int)TN_MIN(p->op_type.len, (size_t)60), name = (int)TN_MIN(p->name.len, (size_t)100);
    if (name) {
        tn_import_prefix(im, "node %d (%.*s) '%.*s': ", p->index, op, p->op_type.data, name, p->name.data);
    } else {
        tn_import_prefix(im, "node %d (%.*s): ", p->index, op, p->op_type.data);
    }
}

static int imported_version(const tn_opsets *opsets, const char *domain) {
    int version = 0;
    for (size_t i = 0; i < opsets->count; i++) {
        if (strcmp(opsets->list[i].domain, domain) == 0) version = TN_MAX(version, opsets->list[i].version);
    }
    return version;
}

static tern_status find_opset(tn_importer *im, const tn_scope *s, const char *domain, int *opset) {
    *opset = imported_version(s->opsets, domain);
    if (!*opset) *opset = imported_version(&im->opsets, domain); // for functions that leave it to the model
    if (*opset) return TERN_OK;
    return tn_fail(im->err, TERN_INVALID_MODEL, "the model imports no opset of the operator's domain '%.80s'",
                   *domain ? domain : "ai.onnx");
}

static tern_status connect(tn_importer *im, tn_scope *s, const tn_node_proto *p, tn_node *node) {
    int in = 0, out = 0;
    tn_pb r = tn_pb_open(p->message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.wire != TN_PB_BYTES) continue;
        if (f.number == NODE_INPUT && in < node->n_in) {
            if (f.bytes.len) TN_TRY(tn_import_read(im, s, f.bytes, node, &node->in[in]));
            in++;
        } else if (f.number == NODE_OUTPUT && out < node->n_out) {
            if (f.bytes.len) TN_TRY(tn_import_output(im, s, f.bytes, node, &node->out[out]));
            out++;
        } else if (f.number == NODE_ATTRIBUTE) {
            TN_TRY(tn_import_attribute(im, s, node, f.bytes));
        }
    }
    return TERN_OK;
}

static tern_status name_node(tn_importer *im, const tn_scope *s, tn_str name, tn_node *node) {
    size_t prefix = strlen(s->prefix);
    if (!prefix || !name.len) return tn_import_text(im, &im->model->arena, name, &node->name);
    char *text = tn_arena_alloc(&im->temp, prefix + name.len);
    if (!text) return tn_fail_oom(im->err, prefix + name.len);
    memcpy(text, s->prefix, prefix);
    memcpy(text + prefix, name.data, name.len);
    return tn_import_text(im, &im->model->arena, (tn_str){text, prefix + name.len}, &node->name);
}

/* The tensors that a Gradient names become inputs: names mean something in their scope alone. */
static tern_status bind_gradient(tn_importer *im, tn_scope *s, tn_node *node) {
    int nx, nz, n = node->n_in;
    if (!tn_gradient_counts(node, &nx, &nz)) {
        return tn_fail(im->err, TERN_INVALID_MODEL, "attributes 'xs' or 'y' are missing or of the wrong type");
    }
    if (nx + nz != n) {
        return tn_fail(im->err, TERN_INVALID_MODEL, "%d inputs for %d tensors in 'xs' and 'zs'", n, nx + nz);
    }
    size_t count;
    const tn_str *xs = tn_attr_strings(node, "xs", &count), *zs = tn_attr_strings(node, "zs", &count);
    tn_value **in = tn_arena_array(&im->model->arena, 2 * (size_t)n + 1, sizeof(tn_value *));
    if (!in) return tn_fail_oom(im->err, (size_t)n * sizeof *in);
    for (int i = 0; i < 2 * n + 1; i++) {
        if (i < n) {
            in[i] = node->in[i];
        } else {
            tn_str name = i == 2 * n ? tn_attr_s(node, "y", "") : i - n < nx ? xs[i - n] : zs[i - n - nx];
            if (name.len) TN_TRY(tn_import_read(im, s, name, node, &in[i]));
        }
        if (!in[i]) return tn_fail(im->err, TERN_INVALID_MODEL, "an input, or a name in 'xs', 'zs' or 'y', is empty");
    }
    node->in = in;
    node->n_in = 2 * n + 1;
    return TERN_OK;
}

static tern_status add_node(tn_importer *im, tn_scope *s, const tn_node_proto *p) {
    tern_model *m = im->model;
    const char *domain, *op_type;
    int opset;
    TN_TRY(tn_import_text(im, &im->temp, p->domain, &domain));
    TN_TRY(tn_import_text(im, &im->temp, p->op_type, &op_type));
    TN_TRY(find_opset(im, s, domain, &opset));
    if ((int64_t)m->n_nodes_total >= m->limits.max_nodes) {
        return tn_fail(im->err, TERN_LIMIT_EXCEEDED, "the model has more than %lld nodes",
                       (long long)m->limits.max_nodes);
    }
    tn_node *node = tn_graph_add_node(s->graph, domain, op_type, opset, p->n_inputs, p->n_outputs);
    if (!node) return tn_fail_oom(im->err, sizeof *node);
    TN_TRY(name_node(im, s, p->name, node));
    TN_TRY(connect(im, s, p, node));
    return tn_node_is_gradient(node) ? bind_gradient(im, s, node) : TERN_OK;
}

tern_status tn_import_node(tn_importer *im, tn_scope *s, tn_str message, int index) {
    tn_node_proto p;
    tern_status status = read_node_proto(im, message, index, &p);
    if (status == TERN_OK) {
        const tn_function *function = tn_import_find_function(im, p.domain, p.op_type, p.overload);
        status = function ? tn_import_call(im, s, &p, function) : add_node(im, s, &p);
    }
    if (status != TERN_OK) tn_import_node_prefix(im, &p);
    return status;
}
