/* What is said about a model besides its network: config.json in the words below, config.pbtxt in Triton's, or the
 * "config" of a load request. Both kinds of words are understood in either place.
 *
 *   max_batch, max_delay_us, preferred, max_queue, timeout_us     batching
 *   instances, threads, warmup, precision                         running
 *   version_policy                                                "latest", "all", {"latest": {"num_versions": 2}},
 *                                                                 {"specific": {"versions": [1, 3]}}
 *   task, output, labels, preprocess, softmax, conf, iou, max_det pictures */
#ifndef SERVE_CONFIG_H
#define SERVE_CONFIG_H

#include <cjson/cJSON.h>

#include "vision/classify/preprocess.h"

typedef enum serve_task {
    SERVE_TASK_AUTO = 0,
    SERVE_TASK_NONE, /* tensors only */
    SERVE_TASK_CLASSIFY,
    SERVE_TASK_DETECT
} serve_task;

typedef enum serve_policy { SERVE_LATEST = 0, SERVE_ALL, SERVE_SPECIFIC } serve_policy;

#define SERVE_MAX_PREFERRED 16
#define SERVE_MAX_SPECIFIC  64
#define SERVE_MAX_BATCH     1024

typedef struct serve_config {
    int64_t max_batch; /* 0: chosen when the model is loaded; 1: no batching */
    bool batch_dim;    /* max_batch_size > 0 was said: the first dim is the batch */
    int64_t max_delay_us;
    int64_t preferred[SERVE_MAX_PREFERRED]; /* ascending */
    int n_preferred;
    int64_t max_queue;         /* requests that may wait; 0: the default */
    int64_t timeout_us;        /* of requests that name none; 0: none */
    bool no_timeout_of_client; /* "timeout" in a request is ignored */
    int64_t instances;         /* runs at a time; 0: one, or more when the queue is long */
    int64_t threads;           /* of a run; 0: the server's */
    bool no_warmup;
    bool has_precision, bf16; /* precision "bf16" */
    serve_policy policy;
    int64_t num_versions; /* of SERVE_LATEST, at least 1 */
    int64_t versions[SERVE_MAX_SPECIFIC];
    int n_versions;
    serve_task task;
    char *output;     /* with the scores; NULL: the first */
    char *labels;     /* file beside the configuration; NULL: none */
    char *label_list; /* JSON list of names; NULL: none */
    char *file;       /* default_model_filename; NULL: model.onnx, model.pt */
    tern_preprocess preprocess;
    int softmax;      /* -1: by the model's metadata */
    double conf, iou; /* < 0: not said */
    int64_t max_det;  /* 0: not said */
} serve_config;

void serve_config_init(serve_config *c);
void serve_config_release(serve_config *c);
/* Takes what `root` says; `name` is the model's, with which a "name" in it must agree. */
tern_status serve_config_apply(serve_config *c, const cJSON *root, const char *name, tern_error *err);
/* The same for a text: JSON, or protobuf's text format. */
tern_status serve_config_json(serve_config *c, const char *text, size_t size, const char *name, tern_error *err);
tern_status serve_config_pbtxt(serve_config *c, const char *text, size_t size, const char *name, tern_error *err);

/* Protobuf's text format as an object: fields that occur several times become lists. The caller deletes *out. */
tern_status serve_pbtxt_parse(cJSON **out, const char *text, size_t size, tern_error *err);

#endif
