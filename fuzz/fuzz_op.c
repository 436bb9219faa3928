/* Property: an operator case with any types, dims, attributes, wiring and data runs, or is refused with a text that
 * names what is wrong; it never crashes, hangs, leaks, or takes memory out of proportion. Under libFuzzer the mutator
 * changes a case by its structure (op_mutate.h); files are packed cases (op_case.h). */
#include "fuzz/op_mutate.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

enum { MAX_OUTPUTS = 24 };

/* With TERN_FUZZ_VERBOSE set, what the case came to: to see that mutants are refused for good reasons. */
static void tell(tern_status status, const tern_error *err) {
    if (getenv("TERN_FUZZ_VERBOSE")) printf("# %s\n", status == TERN_OK ? "runs" : err->text);
    /* Its own invariants are what "internal" speaks of: an input must not break them. */
    if (status != TERN_OK && (!err->text[0] || status == TERN_INTERNAL)) abort();
}

static void run_session(tern_session *session, const op_case *c) {
    tern_feed feeds[OP_CASE_INPUTS] = {0};
    tern_tensor *outputs[MAX_OUTPUTS] = {0};
    const tn_graph *g = c->model->graph;
    if (c->n_in != g->n_inputs || g->n_outputs > MAX_OUTPUTS) return;
    for (int i = 0; i < c->n_in; i++) {
        if (!c->in[i]) return;
        feeds[i] = (tern_feed){g->inputs[i]->name, c->in[i]};
    }
    tern_error err = {TERN_OK, ""};
    tern_status status = tern_session_run(session, feeds, (size_t)c->n_in, NULL, outputs, (size_t)g->n_outputs, &err);
    tell(status, &err);
    for (int i = 0; i < MAX_OUTPUTS; i++) tern_tensor_free(outputs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t live = tn_alloc_live();
    op_case c;
    if (!op_case_read(&c, data, size)) return 0;
    tern_options options;
    tern_options_init(&options);
    options.threads = 1;
    options.memory_limit = 1 << 24;
    options.max_iterations = 200;
    options.seed = 1;
    options.optimize = size % 2 == 0;
    tern_session *session;
    tern_error err = {TERN_OK, ""};
    tern_status status = tern_session_create(&session, c.model, &options, &err);
    if (status == TERN_OK) {
        run_session(session, &c);
        tern_session_free(session);
    } else {
        tell(status, &err);
    }
    op_case_release(&c);
    if (tn_alloc_live() != live) abort();
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
    op_random r = {seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du};
    op_case c;
    uint8_t *copy = malloc(size ? size : 1); /* the model may point into what is overwritten */
    if (!copy) return size;
    memcpy(copy, data, size);
    if (op_case_read(&c, copy, size)) {
        for (int k = 1 + op_random_below(&r, 4); k > 0; k--) op_mutate_case(&r, &c);
        size_t written = op_case_write(&c, data, max_size);
        op_case_release(&c);
        if (written) {
            free(copy);
            return written;
        }
        memcpy(data, copy, size); /* nothing, or half a case, was written */
    }
    free(copy);
    return size;
}
