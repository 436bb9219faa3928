/* Property: a model that loads is optimised, planned and run, or refused with a text; it never crashes, leaks, or takes
 * memory out of proportion. */
#include "fuzz/run_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    tern_model_options options;
    tern_model_options_init(&options);
    options.max_nodes = 200;
    options.max_tensor_bytes = 1 << 20;
    tern_options so;
    tern_options_init(&so);
    so.threads = 1;
    so.memory_limit = 1 << 24;
    so.seed = 1;
    so.optimize = size % 2 == 0;
    tern_model *model;
    tern_session *session;
    tern_error err = {TERN_OK, ""};
    if (tern_model_load_memory(&model, data, size, NULL, &options, &err) != TERN_OK) return 0;
    if (tern_session_create(&session, model, &so, &err) == TERN_OK) {
        run_session(session, model, data, size);
        tern_session_free(session);
    } else if (!err.text[0]) {
        abort();
    }
    tern_model_free(model);
    if (tn_alloc_live() != live) abort();
    return 0;
}
