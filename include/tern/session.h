/* Sessions: a model optimised for this machine and ready to run, by any number of threads at once. */
#ifndef TERN_SESSION_H
#define TERN_SESSION_H

#include <stdbool.h>

#include "tern/model.h"

typedef struct tern_session tern_session;

/* One executed node, given to the profile hook after it ran. Valid during the call. */
typedef struct tern_profile_event {
    const char *node; /* name in the file; "" when it has none */
    const char *op_type;
    const char *kernel;        /* the fast kernel that ran; NULL: the portable one */
    uint64_t start_ns, end_ns; /* monotonic */
    int64_t macs;              /* multiply-accumulates; 0: not counted */
    int64_t bytes;             /* read and written: inputs, weights, outputs */
} tern_profile_event;
typedef void (*tern_profile_fn)(void *context, const tern_profile_event *event);

/* Arithmetic of convolutions, matrix products and what lies between convolutions. */
typedef enum tern_precision {
    TERN_PRECISION_F32 = 0, /* as the model says */
    /* Weights and maps rounded to bfloat16, sums in float32: faster where the CPU has AVX512-BF16, the same rounding by
       float32 instructions elsewhere. Needs `optimize`. docs/numerics.md */
    TERN_PRECISION_BF16 = 1
} tern_precision;

typedef struct tern_options {
    int threads;             /* at most this many for one run; 0: one per physical core */
    bool optimize;           /* fuse and lay out; folding of constants is always done [true] */
    size_t memory_limit;     /* bytes that one run may use for its values; 0: as much as the machine has */
    int max_plans;           /* plans of different input shapes kept at a time [8] */
    int64_t max_iterations;  /* of Loop, Scan and other subgraphs, all together in one run; 0: no limit [10 million] */
    uint64_t seed;           /* of random operators without a seed attribute; 0: from the clock */
    tern_profile_fn profile; /* called on the thread that runs; NULL: none */
    void *profile_context;
    tern_precision precision; /* [TERN_PRECISION_F32] */
    bool tune;                /* choose between algorithms by timing them, when a plan is made [false] */
    const char *tune_cache; /* file for what that finds, read by tern_session_create and all plans; the string outlives
                             * the session. NULL: tern/tune.txt in $XDG_CACHE_HOME or ~/.cache */
    void (*tune_progress)(void *context, size_t done, size_t total); /* of layers of the main graph; NULL: none */
    void *tune_context;
} tern_options;

/* A named tensor. */
typedef struct tern_feed {
    const char *name;
    const tern_tensor *tensor;
} tern_feed;

TERN_BEGIN_DECLS

TERN_API void tern_options_init(tern_options *options);

/* Optimises the model for the CPU tier in force. The model must outlive the session. `options` may be NULL. */
TERN_API tern_status tern_session_create(tern_session **out, tern_model *model, const tern_options *options,
                                         tern_error *err);
/* NULL is fine. No run may be under way. */
TERN_API void tern_session_free(tern_session *session);

/* Runs the network. Every input of the model must be among `inputs`, in any order (an input
 * with an initializer is a constant, not an input). outputs[i]
 * receives the tensor called output_names[i] (NULL names: all outputs of the model in its order, n_outputs of them);
 * the caller frees each with tern_tensor_free. An outputs[i] that is not NULL on entry must be a tensor of the right
 * type and shape and is written in place. On failure no new tensor is left in outputs. Any number of threads may run
 * one session at once. */
TERN_API tern_status tern_session_run(tern_session *session, const tern_feed *inputs, size_t n_inputs,
                                      const char *const *output_names, tern_tensor **outputs, size_t n_outputs,
                                      tern_error *err);

TERN_END_DECLS
#endif
