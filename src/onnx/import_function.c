/* Model functions, inlined where they are called.
 *
 * A call makes a scope for the function's body within the caller's graph: formal inputs mean the caller's values,
 * formal outputs the values that the call gives, everything else is new. Attributes of the body that refer to the
 * function's attributes are read from the call (or the function's defaults), in the scope that they were written in. */
#include "onnx/onnx_internal.h"

/* The map's key: the parts with their lengths, so that no choice of names makes two functions look alike. */
static tern_status function_key(tn_importer *im, tn_str domain, tn_str name, tn_str overload, tn_str *key) {
    size_t sizes[3] = {domain.len, name.len, overload.len};
    size_t total = sizeof sizes;
    for (int i = 0; i < 3; i++) {
        if (!tn_add_size(total, sizes[i], &total)) return tn_fail_oom(im->err, SIZE_MAX);
    }
    char *text = tn_arena_alloc(&im->temp, total), *at = text;
    if (!text) return tn_fail_oom(im->err, total);
    memcpy(at, sizes, sizeof sizes);
    at += sizeof sizes;
    const tn_str parts[3] = {domain, name, overload};
    for (int i = 0; i < 3; i++) {
        if (parts[i].len) memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    *key = (tn_str){text, total};
    return TERN_OK;
}

const tn_function *tn_import_find_function(tn_importer *im, tn_str domain, tn_str name, tn_str overload) {
    if (!im->functions.count) return NULL;
    tn_str key;
    return function_key(im, domain, name, overload, &key) == TERN_OK ? tn_map_get(&im->functions, key) : NULL;
}

static tern_status make_function_room(tn_importer *im, tn_function *f) {
    tn_pb r = tn_pb_open(f->message);
    size_t inputs = 0, outputs = 0, opsets = 0;
    for (tn_pb_field field; tn_pb_next(&r, &field);) {
        inputs += field.number == FUNCTION_INPUT;
        outputs += field.number == FUNCTION_OUTPUT;
        opsets += field.number == FUNCTION_OPSET_IMPORT;
    }
    TN_TRY(tn_pb_check(&r, im->start, "FunctionProto", im->err));
    f->inputs = tn_arena_array(&im->temp, inputs, sizeof *f->inputs);
    f->outputs = tn_arena_array(&im->temp, outputs, sizeof *f->outputs);
    f->opsets.list = tn_arena_array(&im->temp, opsets, sizeof *f->opsets.list);
    return f->inputs && f->outputs && f->opsets.list ? TERN_OK : tn_fail_oom(im->err, inputs * sizeof *f->inputs);
}

static tern_status read_function(tn_importer *im, tn_function *f) {
    TN_TRY(make_function_room(im, f));
    tn_pb r = tn_pb_open(f->message);
    for (tn_pb_field field; tn_pb_next(&r, &field);) {
        if (field.wire != TN_PB_BYTES) continue;
        if (field.number == FUNCTION_NAME) f->name = field.bytes;
        if (field.number == FUNCTION_OVERLOAD) f->overload = field.bytes;
        if (field.number == FUNCTION_INPUT) f->inputs[f->n_inputs++] = field.bytes;
        if (field.number == FUNCTION_OUTPUT) f->outputs[f->n_outputs++] = field.bytes;
        if (field.number == FUNCTION_OPSET_IMPORT) TN_TRY(tn_import_opset(im, field.bytes, &f->opsets));
        if (field.number == FUNCTION_DOMAIN) {
            f->domain = tn_str_eq(field.bytes, tn_str_c("ai.onnx")) ? (tn_str){0} : field.bytes;
        }
    }
    return TERN_OK;
}

tern_status tn_import_function(tn_importer *im, tn_str message) {
    tn_function *f = tn_arena_alloc(&im->temp, sizeof *f);
    if (!f) return tn_fail_oom(im->err, sizeof *f);
    f->message = message;
    tern_status status = read_function(im, f);
    tn_str key;
    if (status == TERN_OK) status = function_key(im, f->domain, f->name, f->overload, &key);
    if (status == TERN_OK && tn_map_get(&im->functions, key)) {
        status = tn_fail(im->err, TERN_INVALID_MODEL, "it is there twice");
    }
    if (status == TERN_OK && !tn_map_put(&im->functions, key, f)) status = tn_fail_oom(im->err, sizeof *f);
    if (status != TERN_OK) {
        tn_import_prefix(im, "function '%.*s': ", (int)TN_MIN(f->name.len, (size_t)100), f->name.data);
    }
    return status;
}

tern_status tn_import_charge(tn_importer *im, size_t bytes) {
    if (bytes > im->inline_left) {
        return tn_fail(im->err, TERN_LIMIT_EXCEEDED, "the model's functions are too large after inlining");
    }
    im->inline_left -= bytes;
    return TERN_OK;
}

/* ---- calls ------------------------------------------------------------------------------------------------- */

static tern_status check_call(tn_importer *im, const tn_scope *s, const tn_node_proto *p, const tn_function *f) {
    for (const tn_call *c = s->call; c; c = c->caller) {
        if (c->function == f) return tn_fail(im->err, TERN_INVALID_MODEL, "the function calls itself");
    }
    if (p->n_inputs > f->n_inputs || p->n_outputs > f->n_outputs) {
        return tn_fail(im->err, TERN_INVALID_MODEL,
                       "the call has %d inputs and %d outputs, the function only %d and %d", p->n_inputs, p->n_outputs,
                       f->n_inputs, f->n_outputs);
    }
    return tn_import_charge(im, f->message.len);
}

static tern_status bind_attr(tn_importer *im, tn_call *call, tn_str name, tn_str message, tn_scope *scope) {
    tn_attr_source *source = tn_arena_alloc(&im->temp, sizeof *source);
    if (!source) return tn_fail_oom(im->err, sizeof *source);
    *source = (tn_attr_source){message, scope};
    return tn_map_put(&call->attrs, name, source) ? TERN_OK : tn_fail_oom(im->err, sizeof *source);
}

/* The function's defaults, then what the call gives. */
static tern_status bind_attrs(tn_importer *im, tn_scope *caller, const tn_node_proto *p, tn_scope *body,
                              tn_call *call) {
    tn_str name, ref;
    tn_pb r = tn_pb_open(call->function->message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number != FUNCTION_ATTRIBUTE_PROTO || f.wire != TN_PB_BYTES) continue;
        TN_TRY(tn_import_attribute_name(im, f.bytes, &name, &ref));
        TN_TRY(bind_attr(im, call, name, f.bytes, body));
    }
    r = tn_pb_open(p->message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number != NODE_ATTRIBUTE || f.wire != TN_PB_BYTES) continue;
        TN_TRY(tn_import_attribute_name(im, f.bytes, &name, &ref));
        if (!ref.len) {
            TN_TRY(bind_attr(im, call, name, f.bytes, caller));
            continue;
        }
        // Handed on from the caller's own call, where it is bound to its origin already.
        const tn_attr_source *source = caller->call ? tn_map_get(&caller->call->attrs, ref) : NULL;
        if (source) TN_TRY(bind_attr(im, call, name, source->message, source->scope));
    }
    return TERN_OK;
}

static tern_status bind_name(tn_importer *im, tn_scope *body, tn_str name, tn_value *v) {
    if (tn_map_get(&body->own, name)) {
        return tn_fail(im->err, TERN_INVALID_MODEL, "two inputs or outputs of the function are called '%.*s'",
                       (int)TN_MIN(name.len, (size_t)80), name.data);
    }
    return tn_map_put(&body->own, name, v) ? TERN_OK : tn_fail_oom(im->err, sizeof *v);
}

/* An output that is one of the function's inputs, or a second name for another output, comes from an Identity. */
static tern_status copy_output(tn_importer *im, tn_scope *caller, tn_value *from, tn_str name) {
    tern_model *m = im->model;
    if ((int64_t)m->n_nodes_total >= m->limits.max_nodes) {
        return tn_fail(im->err, TERN_LIMIT_EXCEEDED, "the model has more than %lld nodes",
                       (long long)m->limits.max_nodes);
    }
    int opset = 1; // Identity is there since opset 1, and the model may import no opset of the domain at all
    for (size_t i = 0; i < im->opsets.count; i++) {
        if (!*im->opsets.list[i].domain) opset = im->opsets.list[i].version;
    }
    tn_node *node = tn_graph_add_node(caller->graph, "", "Identity", opset, 1, 1);
    if (!node) return tn_fail_oom(im->err, sizeof *node);
    node->in[0] = from;
    return tn_import_output(im, caller, name, node, &node->out[0]);
}

static tern_status bind_inputs(tn_importer *im, tn_scope *caller, const tn_node_proto *p, const tn_function *f,
                               tn_scope *body) {
    int i = 0;
    tn_pb r = tn_pb_open(p->message);
    for (tn_pb_field field; i < p->n_inputs && tn_pb_next(&r, &field);) {
        if (field.number != NODE_INPUT || field.wire != TN_PB_BYTES) continue;
        tn_value *v = NULL;
        if (field.bytes.len) TN_TRY(tn_import_read(im, caller, field.bytes, NULL, &v));
        im->any_absent |= v == NULL;
        TN_TRY(bind_name(im, body, f->inputs[i++], v ? v : &im->absent));
    }
    for (; i < f->n_inputs; i++) {
        im->any_absent = true;
        TN_TRY(bind_name(im, body, f->inputs[i], &im->absent));
    }
    return TERN_OK;
}

/* Before the body is read: formal outputs that the call wants become the caller's values. */
static tern_status bind_outputs(tn_importer *im, tn_scope *caller, const tn_node_proto *p, const tn_function *f,
                                tn_scope *body) {
    int i = 0;
    tn_pb r = tn_pb_open(p->message);
    for (tn_pb_field field; i < p->n_outputs && tn_pb_next(&r, &field);) {
        if (field.number != NODE_OUTPUT || field.wire != TN_PB_BYTES) continue;
        tn_str formal = f->outputs[i++];
        if (!field.bytes.len || tn_map_get(&body->own, formal)) continue;
        tn_value *v;
        TN_TRY(tn_import_define(im, caller, field.bytes, &v));
        if (v == &im->absent || tn_import_has_source(v)) {
            return tn_fail(im->err, TERN_INVALID_MODEL, "output '%s' has a value already", v->name);
        }
        TN_TRY(bind_name(im, body, formal, v));
    }
    return TERN_OK;
}

/* After it: every wanted output must have come about. */
static tern_status check_outputs(tn_importer *im, tn_scope *caller, const tn_node_proto *p, const tn_function *f,
                                 const tn_scope *body) {
    int i = 0;
    tn_pb r = tn_pb_open(p->message);
    for (tn_pb_field field; i < p->n_outputs && tn_pb_next(&r, &field);) {
        if (field.number != NODE_OUTPUT || field.wire != TN_PB_BYTES) continue;
        tn_str formal = f->outputs[i++];
        if (!field.bytes.len) continue;
        tn_value *inside = tn_map_get(&body->own, formal), *outside = tn_map_get(caller->names, field.bytes);
        if (inside && inside != &im->absent && inside != outside) {
            TN_TRY(copy_output(im, caller, inside, field.bytes));
        } else if (!inside || inside == &im->absent || !tn_import_has_source(inside)) {
            return tn_fail(im->err, TERN_INVALID_MODEL, "nothing in the function gives its output '%.*s'",
                           (int)TN_MIN(formal.len, (size_t)80), formal.data);
        }
    }
    return TERN_OK;
}

static tern_status read_body(tn_importer *im, tn_scope *body, const tn_function *f) {
    tn_pb r = tn_pb_open(f->message);
    int index = 0;
    for (tn_pb_field field; tn_pb_next(&r, &field);) {
        if (field.number != FUNCTION_NODE || field.wire != TN_PB_BYTES) continue;
        TN_TRY(tn_import_node(im, body, field.bytes, index++));
    }
    return TERN_OK;
}

/* "caller's prefix/name of the call/" for names of the nodes inside. */
static const char *body_prefix(tn_importer *im, const tn_scope *caller, const tn_node_proto *p) {
    tn_str own = p->name.len ? p->name : p->op_type;
    size_t before = strlen(caller->prefix), total;
    if (!tn_add_size(before, own.len, &total) || !tn_add_size(total, 2, &total)) return NULL;
    char *text = tn_arena_alloc(&im->temp, total);
    if (!text) return NULL;
    memcpy(text, caller->prefix, before);
    memcpy(text + before, own.data, own.len);
    text[before + own.len] = '/';
    return text;
}

static tern_status open_call(tn_importer *im, tn_scope *caller, const tn_node_proto *p, const tn_function *f,
                             tn_scope **out) {
    tn_call *call = tn_arena_alloc(&im->temp, sizeof *call);
    if (!call || !tn_grow(&im->calls, &im->cap_calls, im->n_calls + 1, sizeof *im->calls)) {
        return tn_fail_oom(im->err, sizeof *call);
    }
    im->calls[im->n_calls++] = call;
    call->function = f;
    call->caller = caller->call;
    tn_scope *body = *out = tn_import_scope(im, caller->graph, NULL);
    if (!body) return tn_fail_oom(im->err, sizeof *body);
    body->call = call;
    body->opsets = &f->opsets;
    body->prefix = body_prefix(im, caller, p);
    if (!body->prefix) return tn_fail_oom(im->err, p->name.len);
    return bind_attrs(im, caller, p, body, call);
}

tern_status tn_import_call(tn_importer *im, tn_scope *caller, const tn_node_proto *p, const tn_function *f) {
    tn_scope *body = NULL;
    TN_TRY(check_call(im, caller, p, f));
    TN_TRY(tn_import_enter(im));
    TN_TRY(open_call(im, caller, p, f, &body));
    TN_TRY(bind_inputs(im, caller, p, f, body));
    TN_TRY(bind_outputs(im, caller, p, f, body));
    TN_TRY(read_body(im, body, f));
    im->depth--;
    return check_outputs(im, caller, p, f, body);
}
