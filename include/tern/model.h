/* Models: a network read from a file or from memory, not yet prepared to run. */
#ifndef TERN_MODEL_H
#define TERN_MODEL_H

#include "tern/tensor.h"

typedef struct tern_model tern_model;

/* Limits that protect against hostile files; 0 means the default, which is in brackets. */
typedef struct tern_model_options {
    int64_t max_nodes;       /* [1,000,000] nodes of all graphs, after functions are inlined */
    size_t max_tensor_bytes; /* [16 GiB] of one tensor */
    size_t max_model_bytes;  /* [64 GiB] of the file */
    int max_nesting;         /* [64] levels of subgraphs and functions */
} tern_model_options;

/* What is known of an input or output before it exists. */
typedef struct tern_value_info {
    const char *name;
    tern_kind kind;
    tern_dtype dtype;                     /* TERN_UNDEFINED where unknown */
    int rank;                             /* -1: unknown */
    int64_t dims[TERN_MAX_RANK];          /* -1: not fixed */
    const char *dim_names[TERN_MAX_RANK]; /* of symbolic dims ("batch"), else NULL */
} tern_value_info;

TERN_BEGIN_DECLS

/* All limits at their defaults. */
TERN_API void tern_model_options_init(tern_model_options *options);

/* Reads an ONNX file, or what `tern compile` made of one; external data is looked for beside it, and nowhere else.
 * `options` may be NULL. The file stays mapped until tern_model_free: do not change it meanwhile. */
TERN_API tern_status tern_model_load(tern_model **out, const char *path, const tern_model_options *options,
                                     tern_error *err);
/* Reads an ONNX model from memory, which must outlive the model. `folder` is where external data is; NULL: there is
 * none. */
TERN_API tern_status tern_model_load_memory(tern_model **out, const void *data, size_t size, const char *folder,
                                            const tern_model_options *options, tern_error *err);
/* NULL is fine. Sessions made from the model must be gone. */
TERN_API void tern_model_free(tern_model *model);

TERN_API int tern_model_input_count(const tern_model *model);
TERN_API int tern_model_output_count(const tern_model *model);
/* Strings are owned by the model. TERN_INVALID_ARGUMENT when index is out of range. */
TERN_API tern_status tern_model_input(const tern_model *model, int index, tern_value_info *out, tern_error *err);
TERN_API tern_status tern_model_output(const tern_model *model, int index, tern_value_info *out, tern_error *err);
/* Value of a metadata key; NULL when absent. Owned by the model. */
TERN_API const char *tern_model_metadata(const tern_model *model, const char *key);

TERN_END_DECLS
#endif
