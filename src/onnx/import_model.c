/* ModelProto: what surrounds the graph, and the way in.
 *
 * Import is one walk over the message in place. Graphs are built through graph/graph.h as their nodes are read, calls
 * of functions are replaced by the function's nodes on the way (import_function.c), and names are tied to values by
 * scopes (import_scope.c). Names that nothing has given a value yet are noted and settled at the very end, as nodes
 * may come in any order and subgraphs may read what a graph around them gives further down. */
#include "onnx/onnx_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Recursion costs stack: no option lifts the nesting above this. */
#define MAX_NESTING 256

tern_status tn_import_text(tn_importer *im, tn_arena *arena, tn_str text, const char **out) {
    if (text.len && memchr(text.data, 0, text.len)) {
        return tn_fail(im->err, TERN_INVALID_MODEL, "a name holds a NUL character: '%.*s'",
                       (int)TN_MIN(text.len, (size_t)80), text.data);
    }
    *out = text.len ? tn_arena_strndup(arena, text.data, text.len) : "";
    return *out ? TERN_OK : tn_fail_oom(im->err, text.len);
}

void tn_import_prefix(tn_importer *im, const char *format, ...) {
    char text[400];
    if (!im->err || strlen(im->err->text) > sizeof im->err->text / 2) return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tn_error_prefix(im->err, "%s", text);
}

tern_status tn_import_enter(tn_importer *im) {
    if (im->depth >= im->model->limits.max_nesting) {
        return tn_fail(im->err, TERN_LIMIT_EXCEEDED, "graphs, functions or types nest deeper than %d",
                       im->model->limits.max_nesting);
    }
    im->depth++;
    return TERN_OK;
}

tern_status tn_import_opset(tn_importer *im, tn_str message, tn_opsets *opsets) {
    tn_pb r = tn_pb_open(message);
    tn_str domain = {0};
    int64_t version = 0;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == OPSET_DOMAIN && f.wire == TN_PB_BYTES) domain = f.bytes;
        if (f.number == OPSET_VERSION && f.wire == TN_PB_VARINT) version = (int64_t)f.value;
    }
    TN_TRY(tn_pb_check(&r, im->start, "OperatorSetIdProto", im->err));
    if (tn_str_eq(domain, tn_str_c("ai.onnx"))) domain = (tn_str){0};
    if (version < 1 || version > INT32_MAX) {
        return tn_fail(im->err, TERN_INVALID_MODEL, "opset %" PRId64 " of domain '%.*s' does not exist", version,
                       (int)TN_MIN(domain.len, (size_t)80), domain.data);
    }
    tn_opset_import *import = &opsets->list[opsets->count];
    import->version = (int)version;
    TN_TRY(tn_import_text(im, &im->model->arena, domain, &import->domain));
    opsets->count++;
    return TERN_OK;
}

static tern_status read_metadata(tn_importer *im, tn_str message) {
    tn_pb r = tn_pb_open(message);
    tn_str key = {0}, value = {0};
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == ENTRY_KEY && f.wire == TN_PB_BYTES) key = f.bytes;
        if (f.number == ENTRY_VALUE && f.wire == TN_PB_BYTES) value = f.bytes;
    }
    TN_TRY(tn_pb_check(&r, im->start, "metadata entry", im->err));
    tern_model *m = im->model;
    tn_property *p = &m->metadata[m->n_metadata];
    TN_TRY(tn_import_text(im, &m->arena, key, &p->key));
    TN_TRY(tn_import_text(im, &m->arena, value, &p->value));
    m->n_metadata++;
    return TERN_OK;
}

static tern_status read_bytes_field(tn_importer *im, const tn_pb_field *f, tn_str *graph) {
    tern_model *m = im->model;
    switch (f->number) {
    case MODEL_PRODUCER_NAME:
        return tn_import_text(im, &m->arena, f->bytes, &m->producer_name);
    case MODEL_PRODUCER_VERSION:
        return tn_import_text(im, &m->arena, f->bytes, &m->producer_version);
    case MODEL_DOMAIN:
        return tn_import_text(im, &m->arena, f->bytes, &m->domain);
    case MODEL_DOC:
        return tn_import_text(im, &m->arena, f->bytes, &m->doc);
    case MODEL_OPSET_IMPORT:
        return tn_import_opset(im, f->bytes, &im->opsets);
    case MODEL_METADATA:
        return read_metadata(im, f->bytes);
    case MODEL_FUNCTIONS:
        return tn_import_function(im, f->bytes);
    case MODEL_GRAPH:
        if (graph->data) return tn_fail(im->err, TERN_INVALID_MODEL, "the model has two graphs");
        *graph = f->bytes;
        return TERN_OK;
    }
    return TERN_OK;
}

/* Numbers of opset imports and metadata entries, for which there is room then. */
static tern_status make_room(tn_importer *im, tn_str message) {
    tern_model *m = im->model;
    tn_pb r = tn_pb_open(message);
    size_t opsets = 0, metadata = 0;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        opsets += f.number == MODEL_OPSET_IMPORT && f.wire == TN_PB_BYTES;
        metadata += f.number == MODEL_METADATA && f.wire == TN_PB_BYTES;
    }
    TN_TRY(tn_pb_check(&r, im->start, "ModelProto", im->err));
    im->opsets.list = tn_arena_array(&m->arena, opsets + 1, sizeof *im->opsets.list); // + 1: old IR
    m->metadata = tn_arena_array(&m->arena, metadata, sizeof *m->metadata);
    return im->opsets.list && m->metadata ? TERN_OK : tn_fail_oom(im->err, metadata * sizeof *m->metadata);
}

static tern_status check_versions(tn_importer *im) {
    tern_model *m = im->model;
    if (m->ir_version > TN_ONNX_NEWEST_IR) {
        tn_log(TERN_LOG_WARNING, "%s: IR version %" PRId64 " is newer than %d, the newest one known",
               m->path ? m->path : "model", m->ir_version, TN_ONNX_NEWEST_IR);
    }
    if (im->opsets.count == 0) {
        // Operators had no versions before IR version 3: what was there is opset 1.
        if (m->ir_version >= 3) return tn_fail(im->err, TERN_INVALID_MODEL, "the model imports no operator set");
        im->opsets.list[im->opsets.count++] = (tn_opset_import){"", 1};
    }
    m->opsets = im->opsets.list;
    m->n_opsets = im->opsets.count;
    return TERN_OK;
}

static tern_status read_model(tn_importer *im, tn_str message) {
    tern_model *m = im->model;
    tn_str graph = {0};
    TN_TRY(make_room(im, message));
    tn_pb r = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.wire == TN_PB_BYTES) TN_TRY(read_bytes_field(im, &f, &graph));
        if (f.number == MODEL_IR_VERSION && f.wire == TN_PB_VARINT) m->ir_version = (int64_t)f.value;
        if (f.number == MODEL_VERSION && f.wire == TN_PB_VARINT) m->model_version = (int64_t)f.value;
    }
    if (!graph.data) {
        return tn_fail(im->err, m->ir_version ? TERN_INVALID_MODEL : TERN_INVALID_FORMAT,
                       m->ir_version ? "the model has no graph" : "this is not an ONNX model");
    }
    TN_TRY(check_versions(im));
    TN_TRY(tn_import_graph(im, graph, NULL, NULL, &m->graph));
    return tn_import_resolve(im);
}

static void set_limits(tn_limits *limits, const tern_model_options *options) {
    if (options) {
        if (options->max_nodes > 0) limits->max_nodes = options->max_nodes;
        if (options->max_tensor_bytes) limits->max_tensor_bytes = options->max_tensor_bytes;
        if (options->max_model_bytes) limits->max_model_bytes = options->max_model_bytes;
        if (options->max_nesting > 0) limits->max_nesting = options->max_nesting;
    }
    limits->max_nesting = TN_MIN(limits->max_nesting, MAX_NESTING);
}

static void release_importer(tn_importer *im) {
    for (tn_scope *s = im->scopes; s; s = s->next) tn_map_release(&s->own);
    for (size_t i = 0; i < im->n_calls; i++) tn_map_release(&im->calls[i]->attrs);
    tn_free(im->calls);
    tn_free(im->pending);
    tn_map_release(&im->functions);
    tn_map_release(&im->external);
    tn_map_release(&im->stand_ins);
    tn_arena_release(&im->temp);
    free(im->folder);
}

/* size * factor + more, or all there is. */
static size_t saturating_scale(size_t size, size_t factor, size_t more) {
    size_t scaled;
    return tn_mul_size(size, factor, &scaled) && tn_add_size(scaled, more, &scaled) ? scaled : SIZE_MAX;
}

static tern_status read_blob(void *context, tn_str location, uint64_t offset, uint64_t length, const uint8_t **data,
                             tern_error *err) {
    const struct tn_compiled *c = *(const struct tn_compiled *const *)context;
    (void)location;
    if (offset > c->blob.len || length > c->blob.len - offset)
        return tn_fail(err, TERN_INVALID_FORMAT, "a constant lies outside of the file");
    *data = (const uint8_t *)c->blob.data + offset;
    return TERN_OK;
}

static tern_status check_blob(void *context, const uint8_t *data, size_t size, tern_error *err) {
    const struct tn_compiled *c = *(const struct tn_compiled *const *)context;
    return tn_compiled_check(c, &(tn_range){data, size}, 1, 1, err);
}

static tern_status run_import(tn_importer *im, tn_str message) {
    tern_model *m = im->model;
    tn_arena_init(&im->temp, 0);
    // Calls of calls of calls grow exponentially. Without functions the arena takes less than 100 bytes per byte of
    // file.
    im->inline_left = saturating_scale(message.len, 16, (size_t)256 << 20);
    m->arena.limit = saturating_scale(message.len, 128, (size_t)4 << 30);
    tern_status status = read_model(im, message);
    m->arena.limit = 0;
    release_importer(im);
    return status;
}

/* `folder` may be relative; NULL: none. */
static tern_status import_model(tern_model *m, const void *data, size_t size, const char *folder, tern_error *err) {
    if (size == 0) return tn_fail(err, TERN_INVALID_FORMAT, "the file is empty");
    if (tn_compiled_is(data, size)) return tn_compiled_load(m, (tn_str){data, size}, err);
    if (size > m->limits.max_model_bytes) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "the model has %zu bytes; the limit is %zu", size,
                       m->limits.max_model_bytes);
    }
    tn_importer im = {.model = m, .start = data, .err = err};
    if (folder) im.folder = realpath(folder, NULL); // NULL when it does not exist: then nothing in it does
    im.tensors = (tn_tensor_source){.start = data,
                                    .max_bytes = m->limits.max_tensor_bytes,
                                    .dense_left = TN_ONNX_DENSE_BYTES,
                                    .borrow = true,
                                    .external = im.folder ? tn_import_external : NULL,
                                    .context = &im};
    return run_import(&im, (tn_str){data, size});
}

tern_status tn_onnx_load_parts(tern_model *m, tn_str message, const struct tn_compiled *c, tern_error *err) {
    tn_importer im = {.model = m, .start = message.data, .err = err};
    im.tensors = (tn_tensor_source){.start = message.data,
                                    .max_bytes = m->limits.max_tensor_bytes,
                                    .dense_left = TN_ONNX_DENSE_BYTES,
                                    .borrow = true,
                                    .external = read_blob,
                                    .check = check_blob,
                                    .context = &c};
    return run_import(&im, message);
}

static tern_status load_file(tern_model *m, const char *path, tern_error *err) {
    m->path = tn_arena_strndup(&m->arena, path, strlen(path));
    const char *slash = strrchr(path, '/');
    char *folder = slash ? tn_arena_strndup(&m->arena, path, (size_t)(slash - path) + 1) : "./";
    if (!m->path || !folder || !tn_grow(&m->files, &m->cap_files, 1, sizeof *m->files)) return tn_fail_oom(err, 4096);
    TN_TRY(tn_file_map(&m->files[0], path, err)); // its error names the path
    m->n_files = 1;
    tern_status status = import_model(m, m->files[0].data, m->files[0].size, folder, err);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

tern_status tn_onnx_load(tern_model **out, const char *path, const tern_model_options *options, tern_error *err) {
    *out = NULL;
    tern_model *m = tn_model_new();
    if (!m) return tn_fail_oom(err, sizeof *m);
    set_limits(&m->limits, options);
    tern_status status = load_file(m, path, err);
    if (status == TERN_OK) {
        *out = m;
    } else {
        tn_model_free(m);
    }
    return status;
}

tern_status tn_onnx_load_memory(tern_model **out, const void *data, size_t size, const char *folder,
                                const tern_model_options *options, tern_error *err) {
    *out = NULL;
    tern_model *m = tn_model_new();
    if (!m) return tn_fail_oom(err, sizeof *m);
    set_limits(&m->limits, options);
    tern_status status = import_model(m, data, size, folder, err);
    if (status == TERN_OK) {
        *out = m;
    } else {
        tn_error_prefix(err, "model: ");
        tn_model_free(m);
    }
    return status;
}
