/* Custom operators: operators of your own, written in C, beside the ones that tern has.
 *
 *   static tern_status infer(tern_op_context *c, void *user) { return tern_op_output_like(c, 0, 0); }
 *   static tern_status compute(tern_op_context *c, void *user) { ... }
 *
 *   static const tern_op_param x = {.name = "X", .types = TERN_TYPE(FLOAT)}, y = {.name = "Y", .types = ...};
 *   tern_op_register(&(tern_op){.domain = "com.example", .name = "Twice", .inputs = &x, .n_inputs = 1, .outputs = &y,
 *                               .n_outputs = 1, .infer = infer, .compute = compute}, &err);
 *
 * docs/custom-operators.md has a whole program. Register before sessions are made: a session knows the operators that
 * are there when it is created. They work wherever built-in ones do: in the main graph, in the bodies of If, Loop and
 * Scan, and in functions of the model, with shapes that are known, free or depend on data. */
#ifndef TERN_OP_H
#define TERN_OP_H

#include <stdbool.h>

#include "tern/graph.h"

/* A set of element types: TERN_TYPE(FLOAT) | TERN_TYPE(DOUBLE). */
#define TERN_TYPE(NAME) ((uint32_t)1 << TERN_##NAME)

/* At most this many inputs, and as many outputs. */
#define TERN_OP_MAX_PARAMS 64

/* An input or output: always a tensor. */
typedef struct tern_op_param {
    const char *name;    /* for messages and lists */
    uint32_t types;      /* element types that it may have; 0: all */
    const char *same_as; /* all parameters with the same text here ("T") have the same type; NULL: on its own */
    bool optional;       /* may be left out. Those that may not come first */
    bool variadic;       /* the last one only: may be repeated */
} tern_op_param;

typedef struct tern_op_attribute {
    const char *name;
    tern_attr_type type;
    bool required;
} tern_op_attribute;

/* What an operator's functions are given: one node of a model, being prepared or run. Valid during the call, on the
 * thread that makes it. */
typedef struct tern_op_context tern_op_context;

/* Both functions return TERN_OK or what tern_op_fail returned; the message that the user sees has file, node, operator
 * and opset before it. They may be called from any number of threads at once. */
typedef tern_status (*tern_op_fn)(tern_op_context *context, void *user_data);

typedef struct tern_op {
    const char *domain; /* NULL, "" or "ai.onnx": the standard's own */
    const char *name;
    int since, until; /* versions of the domain that have it: from (0 is 1) to (0: no end), both included */
    const tern_op_param *inputs;
    size_t n_inputs;
    const tern_op_param *outputs;
    size_t n_outputs;
    const tern_op_attribute *attributes; /* a node with another one, or one of another type, is refused at load */
    size_t n_attributes;
    /* Tells types and shapes of the outputs from those of the inputs, as far as they are known: called when a session
     * is made (dims may be free), for each new set of input shapes, and right before compute where shapes depend on
     * data. NULL: shapes are known when compute gives them; all element types then follow from `types` and `same_as`.
     */
    tern_op_fn infer;
    tern_op_fn compute;
    void *user_data;
    /* Called once when nothing uses the operator any more: after tern_op_unregister, when the last session and model
     * that found it are gone. May be NULL. */
    void (*release)(void *user_data);
    bool random; /* equal inputs may give other results: never computed ahead of a run */
} tern_op;

TERN_BEGIN_DECLS

/* ---- the list of operators, one per process; from any thread ---- */

/* Adds an operator. Everything is copied but user_data. TERN_INVALID_ARGUMENT when the description is not consistent,
 * when tern has an operator of that name itself, or when a registered one of that name covers one of the versions:
 * nothing is ever overridden. On failure `release` is not called. */
TERN_API tern_status tern_op_register(const tern_op *op, tern_error *err);
/* Takes it from the list: sessions made from now on do not find it, those that have it keep it. `since` as it was
 * registered. */
TERN_API tern_status tern_op_unregister(const char *domain, const char *name, int since, tern_error *err);

/* ---- in infer and compute ---- */

TERN_API size_t tern_op_input_count(const tern_op_context *context);
TERN_API size_t tern_op_output_count(const tern_op_context *context);
/* The version of the domain that the model imports. */
TERN_API int tern_op_version(const tern_op_context *context);
/* What is known of input i; false when it is left out. Everything is known in compute. */
TERN_API bool tern_op_input_info(const tern_op_context *context, size_t i, tern_value_info *out);
/* Whether somebody reads output o. */
TERN_API bool tern_op_output_wanted(const tern_op_context *context, size_t o);
/* The elements of input i: always in compute, in infer where they are known (constants, shape arithmetic); else, and
 * where the input is left out, NULL. To be read only. */
TERN_API const tern_tensor *tern_op_input(const tern_op_context *context, size_t i);

/* Attributes; the default, or NULL, where the node has none of that name and type. Owned by the model. */
TERN_API int64_t tern_op_attr_int(const tern_op_context *context, const char *name, int64_t default_value);
TERN_API float tern_op_attr_float(const tern_op_context *context, const char *name, float default_value);
TERN_API tern_string tern_op_attr_string(const tern_op_context *context, const char *name, const char *default_value);
TERN_API const tern_tensor *tern_op_attr_tensor(const tern_op_context *context, const char *name);
TERN_API const int64_t *tern_op_attr_ints(const tern_op_context *context, const char *name, size_t *count);
TERN_API const float *tern_op_attr_floats(const tern_op_context *context, const char *name, size_t *count);
/* Element `index` of a list of strings; false behind its end. */
TERN_API bool tern_op_attr_string_at(const tern_op_context *context, const char *name, size_t index, tern_string *out);

/* Says why the operator can not go on, in one line: `return tern_op_fail(c, TERN_INVALID_MODEL, "k is %d", k)`. The
 * node fails even when the function returns TERN_OK after it. */
TERN_API tern_status tern_op_fail(tern_op_context *context, tern_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* ---- in infer ---- */

/* Output o has these dims; rank -1: not known, dims[i] < 0: not known. dtype TERN_UNDEFINED: what `types` or `same_as`
 * say; it must be given where they leave a choice. */
TERN_API tern_status tern_op_set_output(tern_op_context *context, size_t o, tern_dtype dtype, int rank,
                                        const int64_t *dims);
/* Output o has the shape of input i, free dims under the same name, and, where it may, its element type. */
TERN_API tern_status tern_op_output_like(tern_op_context *context, size_t o, size_t i);

/* ---- in compute ---- */

/* The tensor to write output o to, of these dims and the type that is known by now; not cleared. Dims that contradict
 * what infer said are TERN_SHAPE_MISMATCH. *out is NULL when nobody reads the output; all others must be asked for, and
 * written. */
TERN_API tern_status tern_op_output(tern_op_context *context, size_t o, int rank, const int64_t *dims,
                                    tern_tensor **out);
/* Copies `len` bytes into element `index` of output o, a string tensor; elements are empty at first. */
TERN_API tern_status tern_op_set_string(tern_op_context *context, size_t o, int64_t index, const char *data,
                                        size_t len);
/* Calls fn for parts [begin, end) of [0, count) on the session's threads, and returns when all are done. What is
 * computed for a number must not depend on the parts, so that results are the same for any number of threads. In fn,
 * only tern_op_input and the attributes may be asked for. */
TERN_API void tern_op_parallel_for(const tern_op_context *context, int64_t count,
                                   void (*fn)(void *data, int64_t begin, int64_t end), void *data);

TERN_END_DECLS
#endif
