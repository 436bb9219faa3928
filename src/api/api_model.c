/* tern/model.h */
#include "tern/model.h"

#include "base/base.h"
#include "graph/graph.h"
#include "onnx/onnx.h"

void tern_model_options_init(tern_model_options *options) {
    if (options) *options = (tern_model_options){0};
}

/* What import built is checked and sorted. Operators are looked up by the session, which may know more of them. */
static tern_status finish(tern_model **out, const char *path, tern_error *err) {
    tern_status status = tn_graph_finish((*out)->graph, err);
    if (status == TERN_OK) return TERN_OK;
    tn_error_prefix(err, "%s: ", path);
    tn_model_free(*out);
    *out = NULL;
    return status;
}

tern_status tern_model_load(tern_model **out, const char *path, const tern_model_options *options, tern_error *err) {
    if (!out || !path) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_model_load needs a model and a path");
    TN_TRY(tn_onnx_load(out, path, options, err));
    return finish(out, path, err);
}

tern_status tern_model_load_memory(tern_model **out, const void *data, size_t size, const char *folder,
                                   const tern_model_options *options, tern_error *err) {
    if (!out || (!data && size)) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_model_load_memory needs a model and data");
    }
    TN_TRY(tn_onnx_load_memory(out, data, size, folder, options, err));
    return finish(out, "model", err);
}

void tern_model_free(tern_model *model) { tn_model_free(model); }

int tern_model_input_count(const tern_model *model) { return model ? model->graph->n_inputs : 0; }

int tern_model_output_count(const tern_model *model) { return model ? model->graph->n_outputs : 0; }

static void describe(const tern_model *m, const tn_value *v, tern_value_info *out) {
    *out = (tern_value_info){.name = v->name, .kind = v->type.kind, .rank = -1};
    // Of groups, the type of the tensors inside is told.
    const tn_type *t = &v->type;
    while (t && t->kind != TERN_KIND_TENSOR) t = t->element;
    if (!t) return;
    out->dtype = t->dtype;
    if (!t->ranked) return;
    out->rank = t->shape.rank;
    for (int i = 0; i < t->shape.rank; i++) {
        int64_t d = t->shape.dims[i];
        out->dims[i] = tn_dim_known(d) ? d : -1;
        if (tn_dim_is_symbol(d)) {
            const char *name = tn_model_symbol_name(m, d);
            out->dim_names[i] = strcmp(name, "?") == 0 ? NULL : name;
        }
    }
}

static tern_status value_info(const tern_model *m, bool output, int index, tern_value_info *out, tern_error *err) {
    if (!m || !out) return tn_fail(err, TERN_INVALID_ARGUMENT, "a model and a place for the result are needed");
    int count = output ? m->graph->n_outputs : m->graph->n_inputs;
    if (index < 0 || index >= count) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "%s %d of a model that has %d", output ? "output" : "input", index,
                       count);
    }
    describe(m, output ? m->graph->outputs[index] : m->graph->inputs[index], out);
    return TERN_OK;
}

tern_status tern_model_input(const tern_model *model, int index, tern_value_info *out, tern_error *err) {
    return value_info(model, false, index, out, err);
}

tern_status tern_model_output(const tern_model *model, int index, tern_value_info *out, tern_error *err) {
    return value_info(model, true, index, out, err);
}

const char *tern_model_metadata(const tern_model *model, const char *key) {
    for (size_t i = 0; model && key && i < model->n_metadata; i++) {
        if (strcmp(model->metadata[i].key, key) == 0) return model->metadata[i].value;
    }
    return NULL;
}
