/* Property: a compiled file with right checksums, whatever else is in it, is opened and run, or refused with a text.
 * Weights that are given packed are trusted to be of their size and no more. */
#include "fuzz/run_model.h"
#include "onnx/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    if (size > 1 << 20 || tern_cpu_set_mask(TERN_CPU_SCALAR, NULL) != TERN_OK) return 0; /* what the corpus is for */
    uint8_t *file = tn_alloc_aligned(size, 64);
    if (!file) return 0;
    if (size) memcpy(file, data, size);
    tn_compiled_seal(file, size);
    tern_model_options options;
    tern_model_options_init(&options);
    options.max_nodes = 200;
    options.max_tensor_bytes = 1 << 20;
    tern_options so;
    tern_options_init(&so);
    so.threads = 1;
    so.memory_limit = 1 << 24;
    so.seed = 1;
    so.max_iterations = 10000; /* a trip count of a Loop may be anything */
    so.optimize = true;
    tern_model *model;
    tern_session *session;
    tern_error err = {TERN_OK, ""};
    if (tern_model_load_memory(&model, file, size, NULL, &options, &err) != TERN_OK) {
        tn_free(file);
        return 0;
    }
    if (tern_session_create(&session, model, &so, &err) == TERN_OK) {
        run_session(session, model, data, size);
        tern_session_free(session);
    } else if (!err.text[0]) {
        abort();
    }
    tern_model_free(model);
    tn_free(file);
    if (tn_alloc_live() != live) abort();
    return 0;
}
