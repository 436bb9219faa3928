/* The rules that ONNX's own checker enforces on a file, and those of the IR specification that it leaves out: names,
 * scopes, order, what a message must have. Import is more generous: it sorts nodes, and reads what is left out from
 * where it can be told. Types and shapes are not looked at here; the loader and inference do that. */
#include <inttypes.h>
#include <stdio.h>

#include "onnx/onnx_internal.h"

typedef struct scope {
    struct scope *outer;
    tn_map names;
} scope;

typedef struct checker {
    tn_onnx_problem_fn fn;
    void *context;
    const void *start;
    size_t count;
    tn_map domains; /* imported */
    int64_t ir_version;
    int depth;
    bool in_function;
    tern_error *err;
} checker;

static tern_status check_graph(checker *c, tn_str message, scope *outer, const char *where);

static void problem(checker *c, const char *where, const char *format, ...) TN_PRINTF(3, 4);
static void problem(checker *c, const char *where, const char *format, ...) {
    tn_text text;
    tn_text_init(&text);
    tn_text_add(&text, "%s%s", where, *where ? ": " : "");
    char more[600];
    va_list args;
    va_start(args, format);
    vsnprintf(more, sizeof more, format, args);
    va_end(args);
    tn_text_add(&text, "%s", more);
    if (!text.failed) {
        tn_utf8_clean_line(text.data);
        c->fn(c->context, text.data);
    }
    c->count++;
    tn_text_release(&text);
}

#define SHOW(s) (int)TN_MIN((s).len, (size_t)100), (s).data ? (s).data : ""

/* The last field of that number, as protobuf reads it. */
static bool field(tn_str message, uint32_t number, tn_pb_field *out) {
    tn_pb r = tn_pb_open(message);
    tn_pb_field f;
    bool found = false;
    while (tn_pb_next(&r, &f)) {
        if (f.number != number) continue;
        *out = f;
        found = true;
    }
    return found;
}

static tn_str text_field(tn_str message, uint32_t number) {
    tn_pb_field f;
    return field(message, number, &f) && f.wire == TN_PB_BYTES ? f.bytes : (tn_str){"", 0};
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static bool is_known(const scope *s, tn_str name) {
    for (; s; s = s->outer)
        if (tn_map_get(&s->names, name)) return true;
    return false;
}

static tern_status define(checker *c, scope *s, tn_str name) {
    return tn_map_put(&s->names, name, c) ? TERN_OK : tn_fail_oom(c->err, name.len);
}

/* Every name has one origin, also across graphs: SSA form. */
static tern_status define_once(checker *c, scope *s, tn_str name, const char *where) {
    if (is_known(s, name))
        problem(c, where, "the name '%.*s' is given more than once; the standard wants every value to have one origin",
                SHOW(name));
    return define(c, s, name);
}

/* ---- types ----------------------------------------------------------------------------------------------------- */

static void check_value_info(checker *c, tn_str message, const char *what, const char *where) {
    tn_str name = text_field(message, INFO_NAME), type = text_field(message, INFO_TYPE);
    tn_pb_field f;
    if (!name.len) problem(c, where, "%s without a name", what);
    if (!field(message, INFO_TYPE, &f)) {
        problem(c, where, "%s '%.*s' has no type", what, SHOW(name));
        return;
    }
    if (!field(type, TYPE_TENSOR, &f) || f.wire != TN_PB_BYTES) return;
    tn_str tensor = f.bytes;
    if (!field(tensor, TYPE_ELEM, &f) || f.value == 0)
        problem(c, where, "%s '%.*s' has no element type", what, SHOW(name));
    if (!field(tensor, TYPE_SHAPE, &f)) problem(c, where, "%s '%.*s' has no shape", what, SHOW(name));
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

static void check_tensor(checker *c, tn_str message, const char *what, const char *where) {
    static const uint32_t data[] = {TENSOR_FLOAT_DATA, TENSOR_INT32_DATA,  TENSOR_STRING_DATA, TENSOR_INT64_DATA,
                                    TENSOR_RAW_DATA,   TENSOR_DOUBLE_DATA, TENSOR_UINT64_DATA};
    tn_pb_field f;
    int forms = 0;
    bool external = field(message, TENSOR_DATA_LOCATION, &f) && f.value == LOCATION_EXTERNAL;
    tn_str name = text_field(message, TENSOR_NAME);
    if (!field(message, TENSOR_DATA_TYPE, &f) || f.value == 0)
        problem(c, where, "%s '%.*s' has no data type", what, SHOW(name));
    bool strings = field(message, TENSOR_DATA_TYPE, &f) && f.value == TERN_STRING;
    for (size_t i = 0; i < TN_COUNT(data); i++) forms += field(message, data[i], &f);
    if (forms > 1) problem(c, where, "%s '%.*s' has its elements in %d forms", what, SHOW(name), forms);
    if (external && !field(message, TENSOR_EXTERNAL_DATA, &f))
        problem(c, where, "%s '%.*s' is external, but does not say where", what, SHOW(name));
    if (strings && field(message, TENSOR_RAW_DATA, &f))
        problem(c, where, "%s '%.*s' has strings as raw data", what, SHOW(name));
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static int count_forms(tn_str message, uint64_t type, bool *fits) {
    static const struct {
        uint32_t field;
        uint64_t type;
        bool list;
    } forms[] = {{ATTR_F, TN_ATTR_FLOAT, false},
                 {ATTR_I, TN_ATTR_INT, false},
                 {ATTR_S, TN_ATTR_STRING, false},
                 {ATTR_T, TN_ATTR_TENSOR, false},
                 {ATTR_G, TN_ATTR_GRAPH, false},
                 {ATTR_TYPE_PROTO, TN_ATTR_TYPE_PROTO, false},
                 {ATTR_SPARSE_TENSOR, TN_ATTR_SPARSE_TENSOR, false},
                 {ATTR_FLOATS, TN_ATTR_FLOATS, true},
                 {ATTR_INTS, TN_ATTR_INTS, true},
                 {ATTR_STRINGS, TN_ATTR_STRINGS, true},
                 {ATTR_TENSORS, TN_ATTR_TENSORS, true},
                 {ATTR_GRAPHS, TN_ATTR_GRAPHS, true},
                 {ATTR_TYPE_PROTOS, TN_ATTR_TYPE_PROTOS, true},
                 {ATTR_SPARSE_TENSORS, TN_ATTR_SPARSE_TENSORS, true}};
    int count = 0;
    tn_pb_field f;
    *fits = true;
    for (size_t i = 0; i < TN_COUNT(forms); i++) {
        bool present = field(message, forms[i].field, &f);
        count += present;
        if (type == forms[i].type && !present && !forms[i].list) *fits = false;
        if (present && type && type != forms[i].type) *fits = false;
    }
    return count;
}

static tern_status check_attribute(checker *c, tn_str message, scope *s, tn_map *names, const char *where) {
    tn_str name = text_field(message, ATTR_NAME);
    tn_pb_field f;
    uint64_t type = field(message, ATTR_TYPE, &f) ? f.value : 0;
    bool reference = text_field(message, ATTR_REF_NAME).len > 0, fits;
    int forms = count_forms(message, type, &fits);
    if (!name.len) problem(c, where, "an attribute has no name");
    if (tn_map_get(names, name)) problem(c, where, "attribute '%.*s' is there twice", SHOW(name));
    if (!tn_map_put(names, name, c)) return tn_fail_oom(c->err, name.len);
    if (!type && c->ir_version >= 2) problem(c, where, "attribute '%.*s' has no type", SHOW(name));
    if (reference && !c->in_function)
        problem(c, where, "attribute '%.*s' refers to one of a function, but is in none", SHOW(name));
    else if (!reference && (forms > 1 || !fits))
        problem(c, where, "attribute '%.*s' does not hold exactly what its type says", SHOW(name));
    tn_pb r = tn_pb_open(message);
    while (tn_pb_next(&r, &f)) {
        if (f.wire != TN_PB_BYTES) continue;
        if (f.number == ATTR_G || f.number == ATTR_GRAPHS) TN_TRY(check_graph(c, f.bytes, s, where));
        if (f.number == ATTR_T || f.number == ATTR_TENSORS) check_tensor(c, f.bytes, "tensor", where);
    }
    return TERN_OK;
}

static tern_status check_node(checker *c, tn_str message, scope *s, int64_t index, const char *graph) {
    tn_str name = text_field(message, NODE_NAME), op = text_field(message, NODE_OP_TYPE),
           domain = text_field(message, NODE_DOMAIN);
    char where[300];
    snprintf(where, sizeof where, "%.100s%snode %" PRId64 " (%.*s)%s%.*s%s", graph, *graph ? ", " : "", index, SHOW(op),
             name.len ? " '" : "", (int)TN_MIN(name.len, (size_t)80), name.data, name.len ? "'" : "");
    if (!op.len) problem(c, where, "has no operator");
    if (tn_str_eq(domain, tn_str_c("ai.onnx"))) domain = (tn_str){"", 0};
    if (!c->in_function && !tn_map_get(&c->domains, domain) && c->ir_version >= 3)
        problem(c, where, "the model imports no opset of the domain '%.*s'", SHOW(domain));
    tn_map attrs = {0};
    int64_t values = 0;
    tern_status status = TERN_OK;
    tn_pb_field f;
    tn_pb r = tn_pb_open(message);
    while (status == TERN_OK && tn_pb_next(&r, &f)) {
        if (f.wire != TN_PB_BYTES) continue;
        values += f.number == NODE_INPUT || f.number == NODE_OUTPUT;
        if (f.number == NODE_INPUT && f.bytes.len && !is_known(s, f.bytes))
            problem(c, where, "reads '%.*s', which nothing before it gives", SHOW(f.bytes));
        if (f.number == NODE_ATTRIBUTE) status = check_attribute(c, f.bytes, s, &attrs, where);
    }
    for (r = tn_pb_open(message); status == TERN_OK && tn_pb_next(&r, &f);)
        if (f.number == NODE_OUTPUT && f.wire == TN_PB_BYTES && f.bytes.len) status = define_once(c, s, f.bytes, where);
    if (status == TERN_OK && !values) problem(c, where, "has neither inputs nor outputs");
    tn_map_release(&attrs);
    return status;
}

/* ---- graphs ---------------------------------------------------------------------------------------------------- */

static tern_status check_initializer(checker *c, tn_str tensor, scope *s, tn_map *seen, const char *where) {
    tn_str name = text_field(tensor, TENSOR_NAME);
    if (!name.len) problem(c, where, "an initializer has no name");
    if (tn_map_get(seen, name)) problem(c, where, "there are two initializers '%.*s'", SHOW(name));
    if (!tn_map_put(seen, name, c)) return tn_fail_oom(c->err, name.len);
    if (c->ir_version < 4 && !tn_map_get(&s->names, name))
        problem(c, where, "initializer '%.*s' is not among the inputs, as IR version %" PRId64 " wants it", SHOW(name),
                c->ir_version);
    check_tensor(c, tensor, "initializer", where);
    return define(c, s, name);
}

static tern_status check_sources(checker *c, tn_str message, scope *s, const char *where) {
    tn_pb_field f;
    tn_pb r = tn_pb_open(message);
    tn_map seen = {0};
    tern_status status = TERN_OK;
    while (status == TERN_OK && tn_pb_next(&r, &f)) {
        if (f.number != GRAPH_INPUT || f.wire != TN_PB_BYTES) continue;
        check_value_info(c, f.bytes, "input", where);
        status = define_once(c, s, text_field(f.bytes, INFO_NAME), where);
    }
    for (r = tn_pb_open(message); status == TERN_OK && tn_pb_next(&r, &f);) {
        if (f.wire != TN_PB_BYTES) continue;
        if (f.number == GRAPH_INITIALIZER) status = check_initializer(c, f.bytes, s, &seen, where);
        if (f.number == GRAPH_SPARSE_INITIALIZER)
            status = check_initializer(c, text_field(f.bytes, SPARSE_VALUES), s, &seen, where);
    }
    tn_map_release(&seen);
    return status;
}

static tern_status check_content(checker *c, tn_str message, scope *s, const char *where) {
    if (!text_field(message, GRAPH_NAME).len) problem(c, where, "the graph has no name");
    TN_TRY(check_sources(c, message, s, where));
    int64_t index = 0, outputs = 0;
    tn_pb_field f;
    tn_pb r = tn_pb_open(message);
    while (tn_pb_next(&r, &f))
        if (f.number == GRAPH_NODE && f.wire == TN_PB_BYTES) TN_TRY(check_node(c, f.bytes, s, index++, where));
    TN_TRY(tn_pb_check(&r, c->start, "GraphProto", c->err));
    for (r = tn_pb_open(message); tn_pb_next(&r, &f);) {
        if (f.number != GRAPH_OUTPUT || f.wire != TN_PB_BYTES) continue;
        tn_str name = text_field(f.bytes, INFO_NAME);
        if (!s->outer) check_value_info(c, f.bytes, "output", where);
        if (name.len && !is_known(s, name)) problem(c, where, "nothing gives output '%.*s'", SHOW(name));
        outputs++;
    }
    if (!outputs) problem(c, where, "the graph has no output");
    return TERN_OK;
}

static tern_status check_graph(checker *c, tn_str message, scope *outer, const char *where) {
    if (c->depth >= 64) return tn_fail(c->err, TERN_LIMIT_EXCEEDED, "graphs nest deeper than 64");
    c->depth++;
    scope s = {.outer = outer};
    tern_status status = check_content(c, message, &s, where);
    tn_map_release(&s.names);
    c->depth--;
    return status;
}

static tern_status check_function(checker *c, tn_str message) {
    tn_str name = text_field(message, FUNCTION_NAME);
    char where[160];
    snprintf(where, sizeof where, "function '%.*s'", SHOW(name));
    if (!name.len) problem(c, where, "has no name");
    scope s = {0};
    tern_status status = TERN_OK;
    tn_pb_field f;
    tn_pb r = tn_pb_open(message);
    while (status == TERN_OK && tn_pb_next(&r, &f))
        if (f.number == FUNCTION_INPUT && f.wire == TN_PB_BYTES) status = define_once(c, &s, f.bytes, where);
    int64_t index = 0;
    c->in_function = true;
    for (r = tn_pb_open(message); status == TERN_OK && tn_pb_next(&r, &f);)
        if (f.number == FUNCTION_NODE && f.wire == TN_PB_BYTES) status = check_node(c, f.bytes, &s, index++, where);
    c->in_function = false;
    tn_map_release(&s.names);
    return status;
}

/* ---- the model ------------------------------------------------------------------------------------------------- */

static tern_status check_import(checker *c, tn_str message) {
    tn_str domain = text_field(message, OPSET_DOMAIN);
    if (tn_str_eq(domain, tn_str_c("ai.onnx"))) domain = (tn_str){"", 0};
    tn_pb_field f;
    if (!field(message, OPSET_VERSION, &f)) problem(c, "", "the import of domain '%.*s' has no version", SHOW(domain));
    if (tn_map_get(&c->domains, domain)) problem(c, "", "the domain '%.*s' is imported twice", SHOW(domain));
    return tn_map_put(&c->domains, domain, c) ? TERN_OK : tn_fail_oom(c->err, domain.len);
}

static tern_status check_head(checker *c, tn_str message) {
    tn_pb_field f;
    tn_map keys = {0};
    tern_status status = TERN_OK;
    tn_pb r = tn_pb_open(message);
    while (status == TERN_OK && tn_pb_next(&r, &f)) {
        if (f.number == MODEL_OPSET_IMPORT && f.wire == TN_PB_BYTES) status = check_import(c, f.bytes);
        if (f.number != MODEL_METADATA || f.wire != TN_PB_BYTES) continue;
        tn_str key = text_field(f.bytes, ENTRY_KEY);
        if (tn_map_get(&keys, key)) problem(c, "", "the metadata have '%.*s' twice", SHOW(key));
        if (!tn_map_put(&keys, key, c)) status = tn_fail_oom(c->err, key.len);
    }
    tn_map_release(&keys);
    TN_TRY(status);
    TN_TRY(tn_pb_check(&r, c->start, "ModelProto", c->err));
    if (!field(message, MODEL_IR_VERSION, &f)) problem(c, "", "the model has no IR version");
    c->ir_version = field(message, MODEL_IR_VERSION, &f) ? (int64_t)f.value : 1;
    if (c->ir_version > TN_ONNX_NEWEST_IR)
        problem(c, "", "IR version %" PRId64 " is newer than %d", c->ir_version, TN_ONNX_NEWEST_IR);
    if (c->ir_version >= 3 && !c->domains.count) problem(c, "", "the model imports no opset");
    if (c->ir_version < 3 && c->domains.count)
        problem(c, "", "IR version %" PRId64 " has no imports of opsets", c->ir_version);
    return TERN_OK;
}

/* Domains that functions belong to count as imported: their nodes call them. */
static tern_status check_all(checker *c, tn_str message) {
    TN_TRY(check_head(c, message));
    tn_pb_field f;
    if (!field(message, MODEL_GRAPH, &f) || f.wire != TN_PB_BYTES)
        problem(c, "", "the model has no graph");
    else
        TN_TRY(check_graph(c, f.bytes, NULL, ""));
    tn_pb r = tn_pb_open(message);
    while (tn_pb_next(&r, &f)) {
        if (f.number != MODEL_FUNCTIONS || f.wire != TN_PB_BYTES) continue;
        TN_TRY(check_function(c, f.bytes));
    }
    return TERN_OK;
}

tern_status tn_onnx_check(const void *data, size_t size, tn_onnx_problem_fn fn, void *context, size_t *count,
                          tern_error *err) {
    checker c = {.fn = fn, .context = context, .start = data, .err = err};
    tern_status status = check_all(&c, (tn_str){data, size});
    tn_map_release(&c.domains);
    *count = c.count;
    return status;
}
