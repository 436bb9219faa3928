/* Runs a model of any inputs once: small tensors of the declared types; every free dim is 2. */
#ifndef FUZZ_RUN_MODEL_H
#define FUZZ_RUN_MODEL_H

#include "base/base.h"
#include "tensor/tensor.h"
#include "tern/tern.h"

#include <stdlib.h>

enum { MAX_INPUTS = 8, MAX_OUTPUTS = 8, MAX_ELEMENTS = 4096 };

/* False when the input is larger than this is about, or no tensor. */
static inline bool make_input(const tern_value_info *info, const uint8_t *noise, size_t n, tern_tensor **out) {
    if (info->kind != TERN_KIND_TENSOR || info->rank < 0 || info->dtype == TERN_UNDEFINED) return false;
    int64_t dims[TERN_MAX_RANK], count = 1;
    for (int i = 0; i < info->rank; i++) {
        dims[i] = info->dims[i] < 0 ? 2 : info->dims[i];
        if (dims[i] > MAX_ELEMENTS) return false;
        count *= dims[i];
        if (count > MAX_ELEMENTS) return false;
    }
    if (tern_tensor_create(out, info->dtype, info->rank, dims, NULL) != TERN_OK) return false;
    if (info->dtype == TERN_STRING) return true;
    uint8_t *bytes = tern_tensor_data(*out);
    for (size_t i = 0; n && i < tern_tensor_bytes(*out); i++) bytes[i] = noise[i % n];
    for (int64_t i = 0; info->dtype == TERN_BOOL && i < count; i++) bytes[i] &= 1;
    return true;
}

static inline void run_session(tern_session *session, const tern_model *model, const uint8_t *noise, size_t n) {
    int n_in = tern_model_input_count(model), n_out = tern_model_output_count(model);
    tern_feed feeds[MAX_INPUTS] = {0};
    tern_tensor *inputs[MAX_INPUTS] = {0}, *outputs[MAX_OUTPUTS] = {0};
    bool ok = n_in <= MAX_INPUTS && n_out <= MAX_OUTPUTS;
    for (int i = 0; ok && i < n_in; i++) {
        tern_value_info info;
        ok = tern_model_input(model, i, &info, NULL) == TERN_OK && make_input(&info, noise, n, &inputs[i]);
        feeds[i] = (tern_feed){info.name, inputs[i]};
    }
    tern_error err = {TERN_OK, ""};
    if (ok && tern_session_run(session, feeds, (size_t)n_in, NULL, outputs, (size_t)n_out, &err) != TERN_OK &&
        !err.text[0])
        abort();
    for (int i = 0; i < MAX_INPUTS; i++) tern_tensor_free(inputs[i]);
    for (int i = 0; i < MAX_OUTPUTS; i++) tern_tensor_free(outputs[i]);
}

#endif
