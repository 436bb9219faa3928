/* A v2 inference request between its bytes and its answer. */
#ifndef SERVE_INFER_H
#define SERVE_INFER_H

#include "serve/server.h"

typedef struct serve_wanted {
    int index; /* of the model's outputs */
    bool binary;
    int64_t classes; /* the classification extension; 0: the tensor itself */
} serve_wanted;

typedef struct serve_infer {
    serve_exchange *x;
    serve_version *version; /* with a reference */
    serve_job job;
    tern_tensor **inputs, **outputs;
    serve_wanted *wanted;
    int n_wanted;
    const char *id;     /* of the request; NULL: none */
    int64_t timeout_us; /* < 0: not said */
    bool binary_output; /* for outputs that do not say */
} serve_infer;

/* Reads the exchange's body, JSON and binary tensors, for `version`. Memory of lists and texts is the arena's; the
 * tensors in q->inputs are freed with serve_infer_release, also after a failure. */
tern_status serve_infer_parse(serve_infer *q, serve_exchange *x, serve_version *version, tern_error *err);
void serve_infer_release(serve_infer *q);
/* Writes the answer from q->outputs into the exchange. */
tern_status serve_infer_answer(serve_infer *q, tern_error *err);

#endif
