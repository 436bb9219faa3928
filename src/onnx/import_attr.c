/* AttributeProto. */
#include "onnx/onnx_internal.h"

#include <inttypes.h>

/* An AttributeProto after one pass over its fields. */
typedef struct attr_proto {
    tn_str message, name, ref;
    int64_t type;
    tn_pb_field single[ATTR_SPARSE_TENSOR + 1]; /* the last field of each number below, number 0: absent */
    size_t counts[ATTR_SPARSE_TENSORS + 1];     /* elements of the list forms, by field number */
} attr_proto;

static const struct {
    tn_attr_type type;
    uint32_t field;
    tn_pb_wire wire; /* of one element */
    bool list;
} forms[] = {
    {TN_ATTR_FLOAT, ATTR_F, TN_PB_FIXED32, false},
    {TN_ATTR_INT, ATTR_I, TN_PB_VARINT, false},
    {TN_ATTR_STRING, ATTR_S, TN_PB_BYTES, false},
    {TN_ATTR_TENSOR, ATTR_T, TN_PB_BYTES, false},
    {TN_ATTR_GRAPH, ATTR_G, TN_PB_BYTES, false},
    {TN_ATTR_FLOATS, ATTR_FLOATS, TN_PB_FIXED32, true},
    {TN_ATTR_INTS, ATTR_INTS, TN_PB_VARINT, true},
    {TN_ATTR_STRINGS, ATTR_STRINGS, TN_PB_BYTES, true},
    {TN_ATTR_TENSORS, ATTR_TENSORS, TN_PB_BYTES, true},
    {TN_ATTR_GRAPHS, ATTR_GRAPHS, TN_PB_BYTES, true},
    {TN_ATTR_SPARSE_TENSOR, ATTR_SPARSE_TENSOR, TN_PB_BYTES, false},
    {TN_ATTR_SPARSE_TENSORS, ATTR_SPARSE_TENSORS, TN_PB_BYTES, true},
    {TN_ATTR_TYPE_PROTO, ATTR_TYPE_PROTO, TN_PB_BYTES, false},
    {TN_ATTR_TYPE_PROTOS, ATTR_TYPE_PROTOS, TN_PB_BYTES, true},
};

static tern_status read_value_field(tn_importer *im, const tn_pb_field *f, attr_proto *a) {
    for (size_t i = 0; i < TN_COUNT(forms); i++) {
        if (forms[i].field != f->number) continue;
        size_t count = 1;
        bool ok = f->wire == forms[i].wire;
        if (forms[i].list && forms[i].wire != TN_PB_BYTES) ok = tn_pb_count(f, forms[i].wire, &count);
        if (!ok) return tn_fail(im->err, TERN_INVALID_FORMAT, "the value is damaged");
        if (forms[i].list) {
            a->counts[f->number] += count;
        } else {
            a->single[f->number] = *f;
        }
    }
    return TERN_OK;
}

static tern_status read_attr_proto(tn_importer *im, tn_str message, attr_proto *a) {
    *a = (attr_proto){.message = message};
    tn_pb r = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == ATTR_NAME && f.wire == TN_PB_BYTES) a->name = f.bytes;
        if (f.number == ATTR_REF_NAME && f.wire == TN_PB_BYTES) a->ref = f.bytes;
        if (f.number == ATTR_TYPE && f.wire == TN_PB_VARINT) a->type = (int64_t)f.value;
        TN_TRY(read_value_field(im, &f, a));
    }
    return tn_pb_check(&r, im->start, "AttributeProto", im->err);
}

tern_status tn_import_attribute_name(tn_importer *im, tn_str message, tn_str *name, tn_str *ref) {
    attr_proto a;
    TN_TRY(read_attr_proto(im, message, &a));
    *name = a.name;
    *ref = a.ref;
    return TERN_OK;
}

/* The first files had no type field: what is there tells. */
static size_t find_form(const attr_proto *a) {
    for (size_t i = 0; i < TN_COUNT(forms); i++) {
        bool present = forms[i].list ? a->counts[forms[i].field] != 0 : a->single[forms[i].field].number != 0;
        if (a->type ? a->type == (int64_t)forms[i].type : present) return i;
    }
    return TN_COUNT(forms);
}

/* Elements one after the other into dst, whose element size is that of `wire`. */
static void fill_numbers(const attr_proto *a, uint32_t field, tn_pb_wire wire, void *dst) {
    tn_pb r = tn_pb_open(a->message);
    size_t at = 0, count = 0;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number != field || !tn_pb_count(&f, wire, &count) || count == 0) continue;
        if (wire == TN_PB_VARINT) {
            tn_pb_get_i64(&f, (int64_t *)dst + at);
        } else {
            tn_pb_get_f32(&f, (float *)dst + at);
        }
        at += count;
    }
}

static tern_status read_tensor(tn_importer *im, tn_str message, bool sparse, tern_tensor **out) {
    TN_TRY(sparse ? tn_onnx_sparse_tensor(&im->tensors, message, out, NULL, im->err)
                  : tn_onnx_tensor(&im->tensors, message, out, NULL, im->err));
    return tn_model_own_tensor(im->model, *out, im->err);
}

static tern_status read_type(tn_importer *im, tn_str message, tn_type **out) {
    *out = tn_arena_alloc(&im->model->arena, sizeof **out);
    return *out ? tn_import_type(im, message, *out) : tn_fail_oom(im->err, sizeof **out);
}

/* One element of a form that is a message or bytes: to[index] of the list's array. */
static tern_status read_element(tn_importer *im, tn_scope *s, const tn_node *node, tn_attr_type type, tn_str message,
                                void *to, size_t index) {
    switch (type) {
    case TN_ATTR_STRINGS:
        ((tn_str *)to)[index] = message;
        return TERN_OK;
    case TN_ATTR_TENSORS:
    case TN_ATTR_SPARSE_TENSORS:
        return read_tensor(im, message, type == TN_ATTR_SPARSE_TENSORS, (tern_tensor **)to + index);
    case TN_ATTR_GRAPHS:
        return tn_import_graph(im, message, node->graph, s, (tn_graph **)to + index);
    default:
        return read_type(im, message, (tn_type **)to + index);
    }
}

static tern_status read_list(tn_importer *im, tn_scope *s, const tn_node *node, const attr_proto *a, size_t form,
                             tn_attr *attr) {
    uint32_t field = forms[form].field;
    tn_attr_type type = forms[form].type;
    size_t size = type == TN_ATTR_FLOATS ? sizeof(float) : type == TN_ATTR_STRINGS ? sizeof(tn_str) : 8;
    _Static_assert(sizeof(void *) == 8 && sizeof(int64_t) == 8, "size of the other elements");
    attr->count = a->counts[field];
    void *array = tn_arena_array(&im->model->arena, attr->count, size);
    if (!array) return tn_fail_oom(im->err, attr->count * size);
    attr->ints = array; // all list members of the union are pointers in one place
    if (forms[form].wire != TN_PB_BYTES) {
        fill_numbers(a, field, forms[form].wire, array);
        return TERN_OK;
    }
    tn_pb r = tn_pb_open(a->message);
    size_t index = 0;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == field) TN_TRY(read_element(im, s, node, type, f.bytes, array, index++));
    }
    return TERN_OK;
}

static tern_status read_single(tn_importer *im, tn_scope *s, const tn_node *node, const attr_proto *a, size_t form,
                               tn_attr *attr) {
    const tn_pb_field *f = &a->single[forms[form].field];
    tn_attr_type type = forms[form].type;
    // Numbers that are 0 and empty strings may have been left out; messages not.
    bool message = type != TN_ATTR_FLOAT && type != TN_ATTR_INT && type != TN_ATTR_STRING;
    if (message && !f->number) return tn_fail(im->err, TERN_INVALID_MODEL, "the value is missing");
    switch (type) {
    case TN_ATTR_FLOAT:
        attr->f = tn_pb_float(f);
        return TERN_OK;
    case TN_ATTR_INT:
        attr->i = (int64_t)f->value;
        return TERN_OK;
    case TN_ATTR_STRING:
        attr->s = f->number ? f->bytes : (tn_str){"", 0};
        return TERN_OK;
    case TN_ATTR_TENSOR:
    case TN_ATTR_SPARSE_TENSOR:
        return read_tensor(im, f->bytes, type == TN_ATTR_SPARSE_TENSOR, &attr->t);
    case TN_ATTR_GRAPH:
        return tn_import_graph(im, f->bytes, node->graph, s, &attr->g);
    default:
        return read_type(im, f->bytes, &attr->type_proto);
    }
}

static tern_status add_attribute(tn_importer *im, tn_scope *s, tn_node *node, const char *name, const attr_proto *a) {
    size_t form = find_form(a);
    if (form == TN_COUNT(forms)) {
        return tn_fail(im->err, TERN_INVALID_MODEL,
                       a->type ? "type %" PRId64 " of an attribute does not exist"
                               : "the attribute has neither type nor value",
                       a->type);
    }
    if (tn_attr_find(node, name)) return tn_fail(im->err, TERN_INVALID_MODEL, "the attribute is there twice");
    // A graph may hold nodes without end: read into a local, as the node's array must not move meanwhile.
    tn_attr value = {.count = 1};
    TN_TRY(forms[form].list ? read_list(im, s, node, a, form, &value) : read_single(im, s, node, a, form, &value));
    tn_attr *attr = tn_node_add_attr(node, name, forms[form].type);
    if (!attr) return tn_fail_oom(im->err, sizeof *attr);
    value.name = attr->name;
    value.type = attr->type;
    *attr = value;
    return TERN_OK;
}

static tern_status read_attribute(tn_importer *im, tn_scope *s, tn_node *node, attr_proto *a) {
    const char *name;
    if (!a->name.len) return tn_fail(im->err, TERN_INVALID_MODEL, "it has no name");
    TN_TRY(tn_import_text(im, &im->temp, a->name, &name));
    if (!a->ref.len) return add_attribute(im, s, node, name, a);
    if (!s->call) {
        return tn_fail(im->err, TERN_INVALID_MODEL, "it refers to '%.*s' of a function, but is in none",
                       (int)TN_MIN(a->ref.len, (size_t)80), a->ref.data);
    }
    // Neither given nor with a default: the operator's own default counts.
    const tn_attr_source *source = tn_map_get(&s->call->attrs, a->ref);
    if (!source) return TERN_OK;
    TN_TRY(tn_import_charge(im, source->message.len));
    TN_TRY(read_attr_proto(im, source->message, a));
    return add_attribute(im, source->scope, node, name, a);
}

tern_status tn_import_attribute(tn_importer *im, tn_scope *s, tn_node *node, tn_str message) {
    attr_proto a;
    tern_status status = read_attr_proto(im, message, &a);
    tn_str name = a.name;
    if (status == TERN_OK) status = read_attribute(im, s, node, &a);
    if (status != TERN_OK) {
        tn_import_prefix(im, "attribute '%.*s': ", (int)TN_MIN(name.len, (size_t)100), name.data);
    }
    return status;
}
