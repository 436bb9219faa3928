/* Property: any bytes either load as a model or give an error; neither crashes, hangs, leaks or takes memory out of
 * proportion. What loads is exported and must load again. The first byte chooses between a model and the values of
 * onnx-data.proto. */
#include "base/base.h"
#include "onnx/onnx.h"
#include "opt/opt.h"
#include "tern/model.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A model that was loaded and written must load again, with as many inputs and outputs. */
static void export_and_load(const tern_model *model, const tern_model_options *options) {
    void *bytes;
    size_t size;
    tern_model *again;
    tern_error err;
    if (tn_onnx_write_memory(model, &bytes, &size, &err) != TERN_OK) return;
    tern_status status = tern_model_load_memory(&again, bytes, size, NULL, options, &err);
    // Limits count what is written, where things may be larger; nothing else may go wrong.
    if (status != TERN_OK && status != TERN_LIMIT_EXCEEDED) abort();
    if (status == TERN_OK && (tern_model_input_count(again) != tern_model_input_count(model) ||
                              tern_model_output_count(again) != tern_model_output_count(model))) {
        abort();
    }
    if (status == TERN_OK) tern_model_free(again);
    tn_free(bytes);
}

/* To another opset: what comes out must load, what can not be expressed has a text. */
static void convert(const tern_model *model, int opset, const tern_model_options *options) {
    tern_model *copy;
    tern_error err;
    if (tn_opt_clone(&copy, model, &err) != TERN_OK) return;
    tern_status status = tn_opt_infer(copy, &err);
    if (status != TERN_OK) status = tn_graph_finish(copy->graph, &err);
    if (status == TERN_OK) status = tn_opset_convert(copy, opset, &err);
    if (status == TERN_OK) export_and_load(copy, options);
    if (status != TERN_OK && !err.text[0]) abort();
    tern_model_free(copy);
}

static void ignore_problem(void *context, const char *text) {
    (void)context;
    if (!text[0]) abort();
}

static void load_model(const uint8_t *data, size_t size) {
    tern_model_options options;
    tern_model_options_init(&options);
    options.max_nodes = 20000;
    options.max_tensor_bytes = 1 << 24;
    tern_model *model;
    tern_error err;
    size_t problems;
    if (tn_onnx_check(data, size, ignore_problem, NULL, &problems, &err) != TERN_OK && !err.text[0]) abort();
    if (tern_model_load_memory(&model, data, size, NULL, &options, &err) != TERN_OK) {
        if (!err.text[0]) abort();
        return;
    }
    for (int i = 0; i < tern_model_input_count(model); i++) {
        tern_value_info info;
        if (tern_model_input(model, i, &info, &err) != TERN_OK) abort();
    }
    export_and_load(model, &options);
    convert(model, 1 + data[size - 1] % 28, &options);
    tern_model_free(model);
}

static void load_value(tern_kind kind, const uint8_t *data, size_t size) {
    tern_tensor *value;
    tern_error err;
    if (tn_onnx_read_value(&value, kind, data, size, NULL, &err) != TERN_OK) return;
    tn_tensor_unref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    // A model starts with its IR version, field 1: these bytes are free to mean something else.
    if (size && data[0] >= 0xf0 && data[0] <= 0xf3) {
        load_value((tern_kind)(data[0] - 0xf0), data + 1, size - 1);
    } else {
        load_model(data, size);
    }
    if (tn_alloc_live() != live) abort();
    return 0;
}
