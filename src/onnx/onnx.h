/* L3: ONNX files: models in and out, and the tensor files of test data. */
#ifndef TN_ONNX_H
#define TN_ONNX_H

#include <stdatomic.h>

#include "cpu/cpu.h"
#include "graph/graph.h"
#include "tern/model.h"
#include "tern/session.h"

#define TN_ONNX_NEWEST_IR 14

/* Reads a model, with functions inlined and graphs not yet finished (tn_graph_finish). The rules:
 *  - An initializer is a constant, also where it is listed as an input of the graph: such an input can not be fed.
 *  - Large tensors point into the mapped file where they are aligned to their elements; the model keeps the map.
 *  - Sparse tensors become dense, types of less than 8 bits take a byte per element.
 *  - Names that no graph input, initializer or node of a subgraph gives are values of the graphs around it: they get a
 * value in every graph in between, tied by `captured`. `options` may be NULL. */
tern_status tn_onnx_load(tern_model **out, const char *path, const tern_model_options *options, tern_error *err);
/* `data` must outlive the model. `folder`: where external data is; NULL: there is none. */
tern_status tn_onnx_load_memory(tern_model **out, const void *data, size_t size, const char *folder,
                                const tern_model_options *options, tern_error *err);

/* Writes a finished model: no graph may hold nodes of the domain "tern", blocked tensors or nodes whose opset differs
 * from the model's import. Weights go to `<file>.data` beside it when the whole would not fit into 2 GB, or when
 * `external` says so. */
tern_status tn_onnx_write_model(const tern_model *model, const char *path, bool external, tern_error *err);
/* The same into memory that the caller frees with tn_free; fails when it would be more than 2 GB. */
tern_status tn_onnx_write_memory(const tern_model *model, void **data, size_t *size, tern_error *err);

/* A TensorProto, SequenceProto, OptionalProto or MapProto, as `kind` says. The tensor owns its memory. `name` (may be
 * NULL) receives the name in the file, allocated; "" when there is none. */
tern_status tn_onnx_read_value(tern_tensor **out, tern_kind kind, const void *data, size_t size, char **name,
                               tern_error *err);
/* The other way; memory that the caller frees with tn_free. */
tern_status tn_onnx_write_value(const tern_tensor *t, const char *name, void **data, size_t *size, tern_error *err);
/* The same from and to a file. */
tern_status tn_onnx_read_value_file(tern_tensor **out, tern_kind kind, const char *path, tern_error *err);
tern_status tn_onnx_write_value_file(const tern_tensor *t, const char *path, tern_error *err);

/* Tells every violation of the standard's rules for files: what ONNX's checker looks for in names, scopes, order and
 * required fields (not operators, types and shapes). Fails when the file can not be read at all. */
typedef void (*tn_onnx_problem_fn)(void *context, const char *text);
tern_status tn_onnx_check(const void *data, size_t size, tn_onnx_problem_fn fn, void *context, size_t *count,
                          tern_error *err);

/* ---- compiled models: .tern files, see compiled.c --------------------------------------------------------------- */

/* A packed constant. */
typedef struct tn_compiled_pack {
    const char *value; /* name of the constant in the optimised graph */
    uint64_t key;      /* see tn_pack_get */
    size_t bytes;
    const void *data; /* aligned to 64 */
} tn_compiled_pack;

/* Where the values of a graph lie in a run's memory (see plan/plan.h). */
typedef struct tn_compiled_memory {
    uint64_t digest; /* of sizes and lifetimes */
    size_t count;
    const uint64_t *offsets;
} tn_compiled_memory;

/* The model as it runs on one CPU tier. */
typedef struct tn_compiled_part {
    tern_cpu_tier tier;
    tern_precision precision;
    uint64_t machine;        /* what else packing depends on, see tn_compiled_machine */
    tn_str graph;            /* reading: a ModelProto, for tn_compiled_open */
    const tern_model *model; /* writing: the optimised model */
    const tn_compiled_pack *packs;
    size_t n_packs;
    const tn_compiled_memory *memory;
    size_t n_memory;
} tn_compiled_part;

struct tn_compiled {
    tn_str blob;          /* the elements of all constants */
    const uint8_t *sums;  /* checksums of its chunks */
    atomic_uchar *chunks; /* what is known of each */
    const tn_compiled_part *parts;
    size_t n_parts;
};

/* A number for the caches and instructions of this machine. */
uint64_t tn_compiled_machine(void);
/* Whether the bytes begin like a .tern file. */
bool tn_compiled_is(const void *data, size_t size);
tern_status tn_compiled_write(const char *path, const tern_model *source, const tn_compiled_part *parts, size_t n_parts,
                              tern_error *err);
/* Checks bytes of the blob, if they are in it, on as many threads; ranges that were found good are not read again. */
typedef struct tn_range {
    const void *data;
    size_t size;
} tn_range;
tern_status tn_compiled_check(const struct tn_compiled *c, const tn_range *ranges, size_t count, int threads,
                              tern_error *err);
/* Fills in size, version, machine and checksums; what else the header says may be anything. */
void tn_compiled_seal(uint8_t *file, size_t size);
/* The optimised model of a part, unfinished; `source` must outlive it. */
tern_status tn_compiled_open(tern_model **out, const tern_model *source, const tn_compiled_part *part, tern_error *err);

#endif
