/* Models to ModelProto.
 *
 * What the reader made of a file is written, not the file again: functions are inlined, sparse tensors dense, and an
 * input with an initializer is an initializer only. Subgraphs name outer values directly, as ONNX wants it: a value
 * that stands for an outer one goes by that one's name, provided that nothing nearer has the same name (checked). */
#include "onnx/onnx_internal.h"

#include <inttypes.h>

/* Protobuf's limit is 2 GB; below it, room for what is not tensors. */
#define MAX_MESSAGE_BYTES ((size_t)INT32_MAX)
#define MAX_TENSOR_BYTES  ((size_t)1900 << 20)
/* External tensors start at pages, so that a reader can map them. Small ones stay in the model. */
#define EXTERNAL_ALIGN     4096
#define EXTERNAL_MIN_BYTES 1024
/* Files of IR version 3 and older need every initializer among the inputs. */
#define MIN_IR_VERSION 4

typedef struct exporter {
    const tern_model *model;
    tn_pb_writer *w;
    const char *location;       /* of external data; NULL: all goes into the model */
    tn_pb_writer data;          /* external data */
    const tn_onnx_store *store; /* of compiled models: where elements go instead; NULL: none */
    bool notes;                 /* an optimised model: see TN_ONNX_NOTE */
    int depth;
    tern_error *err;
} exporter;

static tern_status put_graph(exporter *x, uint32_t field, const tn_graph *g);

/* ---- names ------------------------------------------------------------------------------------------------- */

static const tn_value *origin(const tn_value *v) {
    while (v->captured) v = v->captured;
    return v;
}

/* The name by which `v` of graph g can be read in the file: that of the value it stands for, which no graph in between
 * may have given away. */
static tern_status put_name(exporter *x, uint32_t field, const tn_graph *g, const tn_value *v) {
    const tn_value *from = origin(v);
    for (; v->captured; v = v->captured, g = g->parent) {
        const tn_value *other = tn_graph_find(g, from->name);
        if (other && !other->captured) {
            return tn_fail(x->err, TERN_UNSUPPORTED, "value '%s' is hidden by one of the same name in graph '%s'",
                           from->name, g->name);
        }
    }
    tn_pb_put_string(x->w, field, from->name);
    return TERN_OK;
}

/* ---- types ------------------------------------------------------------------------------------------------- */

static void put_shape(exporter *x, const tn_shape *shape) {
    size_t mark = tn_pb_begin(x->w, TYPE_SHAPE);
    for (int i = 0; i < shape->rank; i++) {
        size_t dim = tn_pb_begin(x->w, SHAPE_DIM);
        if (tn_dim_known(shape->dims[i])) {
            tn_pb_put_varint(x->w, DIM_VALUE, (uint64_t)shape->dims[i]);
        } else {
            const char *name = tn_model_symbol_name(x->model, shape->dims[i]);
            if (strcmp(name, "?") != 0) tn_pb_put_string(x->w, DIM_PARAM, name);
        }
        tn_pb_end(x->w, dim);
    }
    tn_pb_end(x->w, mark);
}

/* The content of a TypeProto. */
static void put_type(exporter *x, const tn_type *t) {
    static const uint32_t fields[] = {TYPE_TENSOR, TYPE_SEQUENCE, TYPE_OPTIONAL, TYPE_MAP};
    size_t mark = tn_pb_begin(x->w, fields[t->kind]);
    if (t->kind == TERN_KIND_TENSOR) {
        tn_pb_put_varint(x->w, TYPE_ELEM, t->dtype);
        if (t->ranked) put_shape(x, &t->shape);
    } else {
        if (t->kind == TERN_KIND_MAP) tn_pb_put_varint(x->w, TYPE_MAP_KEY, t->dtype);
        if (t->element) {
            size_t inner = tn_pb_begin(x->w, t->kind == TERN_KIND_MAP ? TYPE_MAP_VALUE : TYPE_ELEM);
            put_type(x, t->element);
            tn_pb_end(x->w, inner);
        }
    }
    tn_pb_end(x->w, mark);
}

static bool type_is_known(const tn_type *t) { return t->kind != TERN_KIND_TENSOR || t->dtype != TERN_UNDEFINED; }

static tern_status put_value_info(exporter *x, uint32_t field, const tn_graph *g, const tn_value *v) {
    size_t mark = tn_pb_begin(x->w, field);
    TN_TRY(put_name(x, INFO_NAME, g, v));
    if (type_is_known(&v->type)) {
        size_t type = tn_pb_begin(x->w, INFO_TYPE);
        put_type(x, &v->type);
        tn_pb_end(x->w, type);
    }
    tn_pb_end(x->w, mark);
    return TERN_OK;
}

/* ---- tensors ----------------------------------------------------------------------------------------------- */

static tern_status put_external(exporter *x, const tern_tensor *t, const char *name) {
    static const uint8_t zeros[EXTERNAL_ALIGN];
    tn_pb_writer *d = &x->data;
    size_t gap = (EXTERNAL_ALIGN - d->len % EXTERNAL_ALIGN) % EXTERNAL_ALIGN, bytes = tn_onnx_raw_bytes(t), need;
    if (!tn_add_size(d->len, gap, &need) || !tn_add_size(need, bytes, &need) || !tn_grow(&d->data, &d->cap, need, 1)) {
        return tn_fail_oom(x->err, bytes);
    }
    memcpy(d->data + d->len, zeros, gap);
    size_t offset = d->len + gap;
    tn_onnx_store_raw(t, d->data + offset);
    d->len = need;
    return tn_onnx_put_external(x->w, t, name, x->location, offset, x->err);
}

static tern_status put_stored(exporter *x, const tern_tensor *t, const char *name) {
    size_t offset;
    TN_TRY(x->store->put(x->store->context, t, &offset, x->err));
    return tn_onnx_put_external(x->w, t, name, ".", offset, x->err);
}

static tern_status put_tensor(exporter *x, uint32_t field, const tern_tensor *t, const char *name) {
    size_t mark = tn_pb_begin(x->w, field);
    if (x->store && t->kind == TERN_KIND_TENSOR && t->dtype != TERN_STRING && tn_tensor_bytes(t) >= 64 && !t->block) {
        TN_TRY(put_stored(x, t, name));
        tn_pb_end(x->w, mark);
        return TERN_OK;
    }
    bool large = t->kind == TERN_KIND_TENSOR && t->dtype != TERN_STRING && tn_onnx_raw_bytes(t) >= EXTERNAL_MIN_BYTES;
    TN_TRY(x->location && large && !t->block ? put_external(x, t, name) : tn_onnx_put_tensor(x->w, t, name, x->err));
    tn_pb_end(x->w, mark);
    return TERN_OK;
}

/* ---- attributes -------------------------------------------------------------------------------------------- */

static tern_status put_attr_list(exporter *x, const tn_attr *a) {
    switch (a->type) {
    case TN_ATTR_FLOATS:
        tn_pb_put_packed_f32(x->w, ATTR_FLOATS, a->floats, a->count);
        return TERN_OK;
    case TN_ATTR_INTS:
        tn_pb_put_packed_i64(x->w, ATTR_INTS, a->ints, a->count);
        return TERN_OK;
    case TN_ATTR_STRINGS:
        for (size_t i = 0; i < a->count; i++) {
            tn_pb_put_bytes(x->w, ATTR_STRINGS, a->strings[i].data, a->strings[i].len);
        }
        return TERN_OK;
    case TN_ATTR_TENSORS:
    case TN_ATTR_SPARSE_TENSORS:
        for (size_t i = 0; i < a->count; i++) TN_TRY(put_tensor(x, ATTR_TENSORS, a->tensors[i], ""));
        return TERN_OK;
    case TN_ATTR_GRAPHS:
        for (size_t i = 0; i < a->count; i++) TN_TRY(put_graph(x, ATTR_GRAPHS, a->graphs[i]));
        return TERN_OK;
    default:
        for (size_t i = 0; i < a->count; i++) {
            size_t mark = tn_pb_begin(x->w, ATTR_TYPE_PROTOS);
            put_type(x, a->type_protos[i]);
            tn_pb_end(x->w, mark);
        }
        return TERN_OK;
    }
}

static tern_status put_attr_value(exporter *x, const tn_attr *a) {
    switch (a->type) {
    case TN_ATTR_FLOAT:
        tn_pb_put_float(x->w, ATTR_F, a->f);
        return TERN_OK;
    case TN_ATTR_INT:
        tn_pb_put_varint(x->w, ATTR_I, (uint64_t)a->i);
        return TERN_OK;
    case TN_ATTR_STRING:
        tn_pb_put_bytes(x->w, ATTR_S, a->s.data, a->s.len);
        return TERN_OK;
    case TN_ATTR_TENSOR:
    case TN_ATTR_SPARSE_TENSOR:
        return put_tensor(x, ATTR_T, a->t, "");
    case TN_ATTR_GRAPH:
        return put_graph(x, ATTR_G, a->g);
    case TN_ATTR_TYPE_PROTO: {
        size_t mark = tn_pb_begin(x->w, ATTR_TYPE_PROTO);
        put_type(x, a->type_proto);
        tn_pb_end(x->w, mark);
        return TERN_OK;
    }
    default:
        return put_attr_list(x, a);
    }
}

/* Sparse tensors have become dense, and with them their attributes: Constant's sparse_value is a value now. */
static tern_status put_attr(exporter *x, const tn_node *n, const tn_attr *a) {
    bool sparse = a->type == TN_ATTR_SPARSE_TENSOR, sparse_list = a->type == TN_ATTR_SPARSE_TENSORS;
    bool constant = strcmp(n->op_type, "Constant") == 0 && !*n->domain && strcmp(a->name, "sparse_value") == 0;
    size_t mark = tn_pb_begin(x->w, NODE_ATTRIBUTE);
    tn_pb_put_string(x->w, ATTR_NAME, constant ? "value" : a->name);
    TN_TRY(put_attr_value(x, a));
    tn_pb_put_varint(x->w, ATTR_TYPE, sparse ? TN_ATTR_TENSOR : sparse_list ? TN_ATTR_TENSORS : a->type);
    tn_pb_end(x->w, mark);
    return TERN_OK;
}

/* ---- nodes and graphs -------------------------------------------------------------------------------------- */

static tern_status check_opset(exporter *x, const tn_node *n) {
    int version = 0;
    if (x->notes) return TERN_OK;
    for (size_t i = 0; i < x->model->n_opsets; i++) {
        const tn_opset_import *import = &x->model->opsets[i];
        if (strcmp(import->domain, n->domain) == 0) version = TN_MAX(version, import->version);
    }
    if (version == n->opset && strcmp(n->domain, "tern") != 0) return TERN_OK;
    char text[TN_NODE_TEXT];
    return tn_fail(x->err, TERN_UNSUPPORTED, "%s can not be written: the model imports opset %d of that domain",
                   tn_node_text(n, text, sizeof text), version);
}

/* Values may have other names now than those that the attributes of Gradient had in the file. */
static tern_status put_gradient_attrs(exporter *x, const tn_graph *g, const tn_node *n) {
    static const char *const names[] = {"xs", "zs", "y"};
    int nx = 0, nz = 0;
    bool ok = tn_gradient_counts(n, &nx, &nz) && n->n_in == 2 * (nx + nz) + 1;
    for (int i = 0; ok && i < n->n_in; i++) ok = n->in[i] != NULL;
    if (!ok) return tn_fail(x->err, TERN_INVALID_MODEL, "a Gradient node has not the inputs that it names");
    const int ends[] = {nx, nx + nz, nx + nz + 1};
    for (int k = 0, i = 0; k < 3; k++) {
        size_t mark = tn_pb_begin(x->w, NODE_ATTRIBUTE);
        tn_pb_put_string(x->w, ATTR_NAME, names[k]);
        tn_pb_put_varint(x->w, ATTR_TYPE, k == 2 ? TN_ATTR_STRING : TN_ATTR_STRINGS);
        for (; i < ends[k]; i++) TN_TRY(put_name(x, k == 2 ? ATTR_S : ATTR_STRINGS, g, n->in[n->n_in / 2 + i]));
        tn_pb_end(x->w, mark);
    }
    return TERN_OK;
}

static void put_notes(exporter *x, const tn_node *n) {
    size_t mark = tn_pb_begin(x->w, NODE_ATTRIBUTE);
    tn_pb_put_string(x->w, ATTR_NAME, TN_ONNX_NOTE);
    int64_t head[] = {n->opset, n->n_in, n->n_out};
    tn_pb_put_packed_i64(x->w, ATTR_INTS, head, TN_COUNT(head));
    for (int i = 0; i < n->n_out; i++) {
        int64_t block = n->out[i] ? n->out[i]->block : 0;
        tn_pb_put_packed_i64(x->w, ATTR_INTS, &block, 1);
    }
    tn_pb_put_varint(x->w, ATTR_TYPE, TN_ATTR_INTS);
    tn_pb_end(x->w, mark);
    mark = tn_pb_begin(x->w, NODE_ATTRIBUTE);
    tn_pb_put_string(x->w, ATTR_NAME, TN_ONNX_FUSED);
    tn_pb_put_string(x->w, ATTR_STRINGS, n->fused ? n->fused : "");
    for (int i = 0; i < n->n_out; i++)
        tn_pb_put_string(x->w, ATTR_STRINGS, n->out[i] && n->out[i]->blocked_of ? n->out[i]->blocked_of : "");
    tn_pb_put_varint(x->w, ATTR_TYPE, TN_ATTR_STRINGS);
    tn_pb_end(x->w, mark);
}

static tern_status put_node(exporter *x, const tn_graph *g, const tn_node *n) {
    TN_TRY(check_opset(x, n));
    size_t mark = tn_pb_begin(x->w, GRAPH_NODE);
    bool gradient = tn_node_is_gradient(n);
    for (int i = 0; i < (gradient ? n->n_in / 2 : n->n_in); i++) {
        if (n->in[i]) {
            TN_TRY(put_name(x, NODE_INPUT, g, n->in[i]));
        } else {
            tn_pb_put_string(x->w, NODE_INPUT, "");
        }
    }
    for (int i = 0; i < n->n_out; i++) tn_pb_put_string(x->w, NODE_OUTPUT, n->out[i] ? n->out[i]->name : "");
    if (*n->name) tn_pb_put_string(x->w, NODE_NAME, n->name);
    tn_pb_put_string(x->w, NODE_OP_TYPE, n->op_type);
    for (int i = 0; i < n->n_attrs && !gradient; i++) TN_TRY(put_attr(x, n, &n->attrs[i]));
    if (gradient) TN_TRY(put_gradient_attrs(x, g, n));
    if (x->notes) put_notes(x, n);
    if (*n->domain) tn_pb_put_string(x->w, NODE_DOMAIN, n->domain);
    tn_pb_end(x->w, mark);
    return TERN_OK;
}

static tern_status put_graph_content(exporter *x, const tn_graph *g) {
    for (int i = 0; i < g->n_nodes; i++) TN_TRY(put_node(x, g, g->nodes[i]));
    tn_pb_put_string(x->w, GRAPH_NAME, *g->name ? g->name : "graph"); // must not be empty
    for (int i = 0; i < g->n_values; i++) {
        const tn_value *v = g->values[i];
        if (v->constant) TN_TRY(put_tensor(x, GRAPH_INITIALIZER, v->constant, v->name));
    }
    for (int i = 0; i < g->n_inputs; i++) TN_TRY(put_value_info(x, GRAPH_INPUT, g, g->inputs[i]));
    for (int i = 0; i < g->n_outputs; i++) TN_TRY(put_value_info(x, GRAPH_OUTPUT, g, g->outputs[i]));
    for (int i = 0; i < g->n_values; i++) {
        const tn_value *v = g->values[i];
        if (v->producer && type_is_known(&v->type)) TN_TRY(put_value_info(x, GRAPH_VALUE_INFO, g, v));
    }
    return TERN_OK;
}

static tern_status put_graph(exporter *x, uint32_t field, const tn_graph *g) {
    if (x->depth >= x->model->limits.max_nesting) {
        return tn_fail(x->err, TERN_LIMIT_EXCEEDED, "graphs nest deeper than %d", x->model->limits.max_nesting);
    }
    x->depth++;
    size_t mark = tn_pb_begin(x->w, field);
    TN_TRY(put_graph_content(x, g));
    tn_pb_end(x->w, mark);
    x->depth--;
    return TERN_OK;
}

/* ---- the model --------------------------------------------------------------------------------------------- */

static void put_text(exporter *x, uint32_t field, const char *text) {
    if (text && *text) tn_pb_put_string(x->w, field, text);
}

static tern_status put_model(exporter *x) {
    const tern_model *m = x->model;
    tn_pb_put_varint(x->w, MODEL_IR_VERSION, (uint64_t)TN_MAX(m->ir_version, MIN_IR_VERSION));
    put_text(x, MODEL_PRODUCER_NAME, m->producer_name);
    put_text(x, MODEL_PRODUCER_VERSION, m->producer_version);
    put_text(x, MODEL_DOMAIN, m->domain);
    if (m->model_version) tn_pb_put_varint(x->w, MODEL_VERSION, (uint64_t)m->model_version);
    put_text(x, MODEL_DOC, m->doc);
    TN_TRY(put_graph(x, MODEL_GRAPH, m->graph));
    for (size_t i = 0; i < m->n_opsets; i++) {
        size_t mark = tn_pb_begin(x->w, MODEL_OPSET_IMPORT);
        tn_pb_put_string(x->w, OPSET_DOMAIN, m->opsets[i].domain);
        tn_pb_put_varint(x->w, OPSET_VERSION, (uint64_t)m->opsets[i].version);
        tn_pb_end(x->w, mark);
    }
    if (x->notes) { /* the domain of fused operators */
        size_t mark = tn_pb_begin(x->w, MODEL_OPSET_IMPORT);
        tn_pb_put_string(x->w, OPSET_DOMAIN, "tern");
        tn_pb_put_varint(x->w, OPSET_VERSION, 1);
        tn_pb_end(x->w, mark);
    }
    for (size_t i = 0; i < m->n_metadata; i++) {
        size_t mark = tn_pb_begin(x->w, MODEL_METADATA);
        tn_pb_put_string(x->w, ENTRY_KEY, m->metadata[i].key);
        tn_pb_put_string(x->w, ENTRY_VALUE, m->metadata[i].value);
        tn_pb_end(x->w, mark);
    }
    if (x->w->failed) return tn_fail_oom(x->err, x->w->len);
    if (x->w->len <= MAX_MESSAGE_BYTES) return TERN_OK;
    return tn_fail(x->err, TERN_LIMIT_EXCEEDED, "the model would have %zu bytes; protobuf allows %zu", x->w->len,
                   MAX_MESSAGE_BYTES);
}

static tern_status build(const tern_model *model, const char *location, tn_pb_writer *w, tn_pb_writer *data,
                         tern_error *err) {
    exporter x = {.model = model, .w = w, .location = location, .err = err};
    tern_status status = put_model(&x);
    *data = x.data;
    if (status != TERN_OK) {
        tn_pb_release(w);
        tn_pb_release(data);
    }
    return status;
}

tern_status tn_onnx_write_internal(const tern_model *model, const tn_onnx_store *store, bool notes, void **data,
                                   size_t *size, tern_error *err) {
    tn_pb_writer w = {0};
    exporter x = {.model = model, .w = &w, .store = store, .notes = notes, .err = err};
    *data = NULL;
    tern_status status = put_model(&x);
    if (status != TERN_OK) {
        tn_pb_release(&w);
        return status;
    }
    *data = w.data;
    *size = w.len;
    return TERN_OK;
}

tern_status tn_onnx_write_memory(const tern_model *model, void **data, size_t *size, tern_error *err) {
    TN_TRY(tn_model_check_all(model, err));
    tn_pb_writer w = {0}, none;
    *data = NULL;
    TN_TRY(build(model, NULL, &w, &none, err));
    *data = w.data;
    *size = w.len;
    return TERN_OK;
}

/* Of all that the model holds: more than what is written, where a tensor has lost its readers. */
static size_t tensor_bytes(const tern_model *m) {
    size_t total = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (!tn_add_size(total, tn_tensor_bytes(m->tensors[i]), &total)) return SIZE_MAX;
    }
    return total;
}

static tern_status write_files(const tern_model *model, const char *path, const char *data_path, const char *location,
                               tern_error *err) {
    tn_pb_writer w = {0}, data = {0};
    TN_TRY(build(model, location, &w, &data, err));
    tern_status status = TERN_OK;
    // The data first: a model without its data would be half a result.
    if (data.len) status = tn_file_write(data_path, data.data, data.len, err);
    if (status == TERN_OK) status = tn_file_write(path, w.data, w.len, err);
    tn_pb_release(&w);
    tn_pb_release(&data);
    return status;
}

tern_status tn_onnx_write_model(const tern_model *model, const char *path, bool external, tern_error *err) {
    TN_TRY(tn_model_check_all(model, err));
    tn_text data_path;
    tn_text_init(&data_path);
    tn_text_add(&data_path, "%s.data", path);
    tern_status status = data_path.failed ? tn_fail_oom(err, strlen(path)) : TERN_OK;
    const char *slash = strrchr(data_path.data, '/'), *location = slash ? slash + 1 : data_path.data;
    external |= tensor_bytes(model) > MAX_TENSOR_BYTES;
    if (status == TERN_OK) status = write_files(model, path, data_path.data, external ? location : NULL, err);
    tn_text_release(&data_path);
    return status;
}
