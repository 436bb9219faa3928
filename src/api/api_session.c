#include "runtime/runtime.h"

void tern_options_init(tern_options *options) {
    if (options) *options = (tern_options){.optimize = true, .max_plans = 8, .max_iterations = 10000000};
}

tern_status tern_session_create(tern_session **out, tern_model *model, const tern_options *options, tern_error *err) {
    if (!out || !model) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_session_create: out or model is NULL");
    tern_options defaults;
    tern_options_init(&defaults);
    return tn_session_create(out, model, options ? options : &defaults, err);
}

void tern_session_free(tern_session *session) { tn_session_free(session); }

tern_status tern_session_run(tern_session *session, const tern_feed *inputs, size_t n_inputs,
                             const char *const *output_names, tern_tensor **outputs, size_t n_outputs,
                             tern_error *err) {
    if (!session || (!inputs && n_inputs) || (!outputs && n_outputs))
        return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_session_run: session, inputs or outputs is NULL");
    for (size_t i = 0; i < n_inputs; i++)
        if (!inputs[i].name || !inputs[i].tensor)
            return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_session_run: input %zu has no name or no tensor", i);
    for (size_t i = 0; output_names && i < n_outputs; i++)
        if (!output_names[i])
            return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_session_run: output name %zu is NULL", i);
    return tn_session_run(session, inputs, n_inputs, output_names, outputs, n_outputs, err);
}
