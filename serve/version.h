/* One loaded version of a model: network, session, and what the server knows of it. Immutable once loaded but for the
 * batcher's part, shared by requests through references: a version that is replaced lives until its last request. */
#ifndef SERVE_VERSION_H
#define SERVE_VERSION_H

#include <stdatomic.h>

#include "serve/batcher.h"
#include "serve/config.h"
#include "serve/stats.h"
#include "vision/classify/classify.h"
#include "vision/classify/labels.h"
#include "vision/detect/detect.h"

/* Batch sizes that are run: each has a plan with memory of its own, so they are few. */
#define SERVE_MAX_SIZES 40

typedef struct serve_version {
    atomic_int refs;
    char *name;     /* of the model */
    int64_t number; /* of the version */
    char number_text[24];
    const char *platform;
    serve_config config;
    uint8_t *bytes; /* of the file: a copy, so that the file may be overwritten */
    size_t n_bytes;
    size_t memory; /* of file, weights and runs of every batch size, once warm */
    tern_model *model;
    tern_session *session;
    int n_inputs, n_outputs;
    tern_value_info *inputs, *outputs; /* strings owned by the model */
    const char **output_names;
    bool batchable; /* rows of several requests may share a run */
    int64_t max_batch;
    int64_t sizes[SERVE_MAX_SIZES]; /* that are run: ascending from 1, at most max_batch */
    int n_sizes;
    serve_task task; /* NONE, CLASSIFY or DETECT */
    bool softmax;
    int score_output;
    tern_classifier classifier;
    tern_detector detector; /* to be copied */
    tern_labels labels;
    char task_error[300]; /* why there is none */
    uint64_t load_ns;
    serve_stats *stats; /* of the repository, which outlives versions */
    serve_queue queue;  /* of the batcher */
} serve_version;

typedef struct serve_load {
    const char *name, *path; /* of the model; the file; NULL: the embedded model */
    int64_t number;
    const serve_config *config; /* read from `folder`; what `override` says is on top of it already */
    const char *folder;         /* for labels */
    int threads;                /* of sessions whose configuration says none; 0: one per core */
    bool bf16;                  /* run in bfloat16 what does not say otherwise */
    bool tune;                  /* see tern_options */
    const char *tune_cache;
    serve_stats *stats;
} serve_load;

/* Reads, plans, and runs the network once on zeros (warm-up). The caller holds the one reference. */
tern_status serve_version_load(serve_version **out, const serve_load *load, tern_error *err);
serve_version *serve_version_ref(serve_version *v);
void serve_version_unref(serve_version *v); /* NULL is fine */

/* The protocol's names: "FP32" and so on; NULL: a type that it does not have. */
const char *serve_datatype(tern_dtype dtype);
tern_dtype serve_dtype_of(const char *datatype);

#endif
