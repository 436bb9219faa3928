#include "build.h"

#include "tern/model.h"

/* Calls `each` with every name of the list. */
static void put_names(tn_pb_writer *w, uint32_t field, const char *list) {
    if (!list || !*list) return;
    for (const char *at = list;;) {
        const char *comma = strchr(at, ',');
        size_t len = comma ? (size_t)(comma - at) : strlen(at);
        tn_pb_put_bytes(w, field, at, len);
        if (!comma) break;
        at = comma + 1;
    }
}

void b_opset(tn_pb_writer *w, uint32_t field, const char *domain, int64_t version) {
    size_t mark = tn_pb_begin(w, field);
    if (*domain) tn_pb_put_string(w, OPSET_DOMAIN, domain);
    tn_pb_put_varint(w, OPSET_VERSION, (uint64_t)version);
    tn_pb_end(w, mark);
}

void b_model(tn_pb_writer *w, int ir, int opset) {
    tn_pb_put_varint(w, MODEL_IR_VERSION, (uint64_t)ir);
    if (opset) b_opset(w, MODEL_OPSET_IMPORT, "", opset);
}

size_t b_graph(tn_pb_writer *w, uint32_t field, const char *name) {
    size_t mark = tn_pb_begin(w, field);
    tn_pb_put_string(w, GRAPH_NAME, name);
    return mark;
}

size_t b_node(tn_pb_writer *w, uint32_t field, const char *domain, const char *op, const char *name, const char *in,
              const char *out) {
    size_t mark = tn_pb_begin(w, field);
    put_names(w, NODE_INPUT, in);
    put_names(w, NODE_OUTPUT, out);
    if (*name) tn_pb_put_string(w, NODE_NAME, name);
    if (*op) tn_pb_put_string(w, NODE_OP_TYPE, op);
    if (*domain) tn_pb_put_string(w, NODE_DOMAIN, domain);
    return mark;
}

void b_simple(tn_pb_writer *w, const char *op, const char *in, const char *out) {
    tn_pb_end(w, b_node(w, GRAPH_NODE, "", op, "", in, out));
}

size_t b_attr(tn_pb_writer *w, uint32_t field, const char *name, int type) {
    size_t mark = tn_pb_begin(w, field);
    tn_pb_put_string(w, ATTR_NAME, name);
    if (type) tn_pb_put_varint(w, ATTR_TYPE, (uint64_t)type);
    return mark;
}

void b_attr_i(tn_pb_writer *w, const char *name, int64_t value) {
    size_t mark = b_attr(w, NODE_ATTRIBUTE, name, B_INT);
    tn_pb_put_varint(w, ATTR_I, (uint64_t)value);
    tn_pb_end(w, mark);
}

void b_attr_ref(tn_pb_writer *w, const char *name, int type, const char *ref) {
    size_t mark = b_attr(w, NODE_ATTRIBUTE, name, type);
    tn_pb_put_string(w, ATTR_REF_NAME, ref);
    tn_pb_end(w, mark);
}

size_t b_function(tn_pb_writer *w, const char *domain, const char *name, const char *in, const char *out) {
    size_t mark = tn_pb_begin(w, MODEL_FUNCTIONS);
    tn_pb_put_string(w, FUNCTION_NAME, name);
    tn_pb_put_string(w, FUNCTION_DOMAIN, domain);
    put_names(w, FUNCTION_INPUT, in);
    put_names(w, FUNCTION_OUTPUT, out);
    b_opset(w, FUNCTION_OPSET_IMPORT, "", 17);
    return mark;
}

/* The next of "batch,3,?": a number, or a name whose length is returned in *len. */
static const char *next_dim(const char *at, int64_t *value, size_t *len) {
    const char *comma = strchr(at, ',');
    char *end;
    *value = strtoll(at, &end, 10);
    *len = comma ? (size_t)(comma - at) : strlen(at);
    if (end == at + *len) *len = 0;
    return comma ? comma + 1 : NULL;
}

void b_info(tn_pb_writer *w, uint32_t field, const char *name, tern_dtype dtype, const char *dims) {
    size_t info = tn_pb_begin(w, field);
    tn_pb_put_string(w, INFO_NAME, name);
    size_t type = tn_pb_begin(w, INFO_TYPE), tensor = tn_pb_begin(w, TYPE_TENSOR);
    tn_pb_put_varint(w, TYPE_ELEM, dtype);
    size_t shape = dims ? tn_pb_begin(w, TYPE_SHAPE) : 0;
    for (const char *at = dims; at && *at;) {
        int64_t value;
        size_t len, dim = tn_pb_begin(w, SHAPE_DIM);
        const char *next = next_dim(at, &value, &len);
        if (!len) tn_pb_put_varint(w, DIM_VALUE, (uint64_t)value);
        if (len && *at != '?') tn_pb_put_bytes(w, DIM_PARAM, at, len);
        tn_pb_end(w, dim);
        at = next;
    }
    if (dims) tn_pb_end(w, shape);
    tn_pb_end(w, tensor);
    tn_pb_end(w, type);
    tn_pb_end(w, info);
}

void b_dims(tn_pb_writer *w, uint32_t field, const char *dims) {
    for (const char *at = dims; at && *at;) {
        int64_t value;
        size_t len;
        at = next_dim(at, &value, &len);
        tn_pb_put_varint(w, field, (uint64_t)value);
    }
}

void b_raw(tn_pb_writer *w, uint32_t field, const char *name, tern_dtype dtype, const char *dims, const void *data,
           size_t bytes) {
    size_t mark = tn_pb_begin(w, field);
    b_dims(w, TENSOR_DIMS, dims);
    tn_pb_put_varint(w, TENSOR_DATA_TYPE, dtype);
    if (*name) tn_pb_put_string(w, TENSOR_NAME, name);
    tn_pb_put_bytes(w, TENSOR_RAW_DATA, data, bytes);
    tn_pb_end(w, mark);
}

void b_small_model(tn_pb_writer *w) {
    b_model(w, 8, 17);
    size_t g = b_graph(w, MODEL_GRAPH, "main");
    b_simple(w, "Relu", "x", "r");
    b_simple(w, "Add", "r,w", "y");
    b_raw(w, GRAPH_INITIALIZER, "w", TERN_FLOAT, "", &(float){1.5f}, sizeof(float));
    b_info(w, GRAPH_INPUT, "x", TERN_FLOAT, "batch,3");
    b_info(w, GRAPH_OUTPUT, "y", TERN_FLOAT, "batch,3");
    tn_pb_end(w, g);
}

/* ---- loading ----------------------------------------------------------------------------------------------- */

/* Which memory a model points into. One model at a time is enough for tests. */
enum { MAX_OPEN = 8 };
static struct {
    const tern_model *model;
    void *data;
} open_models[MAX_OPEN];

tern_status b_load(tn_pb_writer *w, tern_model **out, tern_error *err) {
    assert_false(w->failed);
    tern_status status = tern_model_load_memory(out, w->data, w->len, NULL, NULL, err);
    if (status != TERN_OK) {
        assert_null(*out);
        tn_pb_release(w);
        return status;
    }
    for (int i = 0; i < MAX_OPEN; i++) {
        if (open_models[i].model) continue;
        open_models[i].model = *out;
        open_models[i].data = w->data;
        *w = (tn_pb_writer){0};
        return TERN_OK;
    }
    fail_msg("too many models are open");
    return TERN_INTERNAL;
}

tern_model *b_load_ok(tn_pb_writer *w) {
    tern_model *m;
    tern_error err;
    if (b_load(w, &m, &err) != TERN_OK) fail_msg("%s", err.text);
    return m;
}

void b_load_fails(tn_pb_writer *w, tern_status status, const char *part) {
    tern_model *m;
    tern_error err = {0};
    size_t live = tn_alloc_live() - (w->data != NULL);
    assert_int_equal(b_load(w, &m, &err), status);
    assert_int_equal(err.status, status);
    assert_null(strchr(err.text, '\n'));
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
    assert_int_equal(tn_alloc_live(), live);
}

void b_free(tern_model *model) {
    for (int i = 0; i < MAX_OPEN; i++) {
        if (open_models[i].model != model) continue;
        tern_model_free(model);
        tn_free(open_models[i].data);
        open_models[i].model = NULL;
        return;
    }
    fail_msg("not a model of b_load");
}

tn_node *b_find_op(const tn_graph *g, const char *op) {
    tn_node *found = NULL;
    for (int i = 0; i < g->n_nodes; i++) {
        if (strcmp(g->nodes[i]->op_type, op) != 0) continue;
        assert_null(found);
        found = g->nodes[i];
    }
    return found;
}
