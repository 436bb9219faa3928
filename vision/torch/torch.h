/* Checkpoints of PyTorch and their relatives, read as data: nothing in the file is executed or imported.
 *
 * Formats, told by content: torch.save's zip (torch >= 1.6; members stored or deflated), its older forms (consecutive
 * pickles, torch 0.1.10 to 1.5; TAR before), bare pickles (an OrderedDict of NumPy arrays), safetensors and .npz.
 * The pickle machine knows protocols 0 to 5 and builds a graph of `tern_py`. Few functions are interpreted (those that
 * rebuild tensors, arrays, scalars, sets ...); any other class or function is only named: what it would have made is
 * kept as an opaque object with its arguments and state. Those that have no business in a checkpoint (os.system,
 * builtins.eval, subprocess ...) make the file be refused.
 *
 * After tern_ckpt_open:
 *   - the graph has no cycle, is not deeper than max_depth, and has at most max_expanded values when it is walked as a
 *     tree (values are shared), so that plain recursion over it ends;
 *   - every tensor lies inside its storage, and the storage inside the file;
 *   - bytes of tensors were not looked at yet (deflated ones are inflated when first read). */
#ifndef TERN_VISION_TORCH_H
#define TERN_VISION_TORCH_H

#include "base/base.h"
#include "tern/tensor.h"

/* ---- values ---------------------------------------------------------------------------------------------------- */

/* X(NAME, text) */
#define TERN_PY_LIST_KINDS(X) \
    X(NONE, "None")           \
    X(BOOL, "bool")           \
    X(INT, "int")             \
    X(BIGINT, "big int")      \
    X(FLOAT, "float")         \
    X(STR, "str")             \
    X(BYTES, "bytes")         \
    X(LIST, "list")           \
    X(TUPLE, "tuple")         \
    X(SET, "set")             \
    X(DICT, "dict")           \
    X(TENSOR, "tensor")       \
    X(STORAGE, "storage")     \
    X(GLOBAL, "class")        \
    X(OBJECT, "object")

typedef enum tern_py_kind {
#define X(NAME, TEXT) TERN_PY_##NAME,
    TERN_PY_LIST_KINDS(X)
#undef X
} tern_py_kind;

typedef struct tern_py tern_py;
typedef struct tern_py_pair {
    tern_py *key, *value;
} tern_py_pair;

typedef struct tern_storage tern_storage; /* shared by views and tied tensors: compare the pointers */

/* A strided view of a storage. Offset and strides count elements; strides are >= 0 (0: expanded). */
typedef struct tern_py_tensor {
    tern_storage *storage;
    tern_dtype dtype;
    int rank;
    int64_t dims[TERN_MAX_RANK], strides[TERN_MAX_RANK];
    int64_t offset;
    int64_t count; /* product of dims */
    bool requires_grad;
    bool parameter; /* an nn.Parameter */
    bool numpy;     /* a NumPy array */
} tern_py_tensor;

/* What a class or function was to make. `state` is what __setstate__ or __dict__ would have got. */
typedef struct tern_py_object {
    const char *module, *name; /* "models.common", "Conv"; terminated */
    tern_py *args;             /* TUPLE of constructor or function; NULL: none */
    tern_py *state;            /* usually a DICT; NULL: none */
    tern_py *items;            /* LIST or DICT of what was appended or set; NULL: none */
    bool called;               /* by REDUCE: a function's result or a class with arguments; false: __new__ */
} tern_py_object;

/* Read-only, owned by the checkpoint. */
struct tern_py {
    tern_py_kind kind;
    uint32_t id; /* 1 .. tern_ckpt_value_count: for the caller's tables of what it has seen */
    union {
        bool boolean;
        int64_t integer;
        double real;
        tern_string text; /* STR: UTF-8 (surrogates may occur), a 0 follows. BYTES. BIGINT: little-endian, two's
                             complement */
        struct {
            tern_py **items;
            size_t count;
        } seq; /* LIST, TUPLE, SET */
        struct {
            tern_py_pair *items; /* in order of insertion, keys unique as far as they are STR, INT or BOOL */
            size_t count;
        } dict;
        tern_py_tensor *tensor;
        tern_storage *storage;
        tern_py_object *object; /* OBJECT; GLOBAL has only module and name */
    };
};

/* "None", "int" ...; of objects "module.Class". */
const char *tern_py_kind_name(tern_py_kind kind);

/* All accept NULL for the value and are false or NULL then. */

/* Class of an object or global: both must match; module NULL: any module. */
bool tern_py_is(const tern_py *v, const char *module, const char *name);
/* The value of a string key of a DICT, of OBJECT.items, or of a state dict; NULL: absent. Linear in the dict. */
const tern_py *tern_py_get(const tern_py *v, const char *key);
/* Attribute of an object as nn.Module sees it: its state, else _parameters, _buffers, _modules in it. A value None
 * counts as there (kind NONE). For a DICT the same as tern_py_get. */
const tern_py *tern_py_attr(const tern_py *v, const char *name);
/* Children of a module or a container: the DICT `_modules`; NULL: it is none. */
const tern_py *tern_py_modules(const tern_py *module);

/* Numbers: INT, BOOL, and FLOAT without a fraction for int; any of them for real. */
bool tern_py_to_int(const tern_py *v, int64_t *out);
bool tern_py_to_real(const tern_py *v, double *out);
bool tern_py_to_bool(const tern_py *v, bool *out);
/* Text of a STR without NUL inside; NULL otherwise. */
const char *tern_py_to_str(const tern_py *v);
/* Length and items of LIST, TUPLE, SET and of objects that were appended to; -1 when it is no sequence. */
int64_t tern_py_count(const tern_py *v);
const tern_py *tern_py_item(const tern_py *v, int64_t index);
/* An int, or a tuple/list of them, as up to `max` numbers; the count, 0 when it is neither or has too many. */
int tern_py_to_ints(const tern_py *v, int64_t *out, int max);

/* ---- checkpoints ----------------------------------------------------------------------------------------------- */

typedef enum tern_ckpt_format {
    TERN_CKPT_UNKNOWN = 0,
    TERN_CKPT_TORCH_ZIP,
    TERN_CKPT_TORCH_LEGACY, /* consecutive pickles */
    TERN_CKPT_TORCH_TAR,
    TERN_CKPT_PICKLE,
    TERN_CKPT_SAFETENSORS,
    TERN_CKPT_NPZ
} tern_ckpt_format;

typedef struct tern_ckpt_options {
    size_t max_values;   /* Python values made; 0: 20,000,000 */
    size_t max_expanded; /* values when shared ones are counted each time; 0: 100,000,000 */
    size_t
        max_memory; /* bytes of values, and of inflated pickles; 0: 1 GiB or 8 times the file. Tensors are not in it */
    size_t max_tensor_bytes; /* of one tensor, unless its storage in the file is as large; 0: 4 GiB */
    size_t max_inflated; /* bytes of all storages that are deflated in the file; 0: 64 times the file, at least 256 MiB,
                            at most 8 GiB */
    int max_depth;       /* nesting; 0: 500 */
} tern_ckpt_options;

typedef struct tern_ckpt tern_ckpt;

/* What the first bytes look like; TERN_CKPT_UNKNOWN when no reader fits (also for ONNX models). */
tern_ckpt_format tern_ckpt_format_of(const void *data, size_t size);
const char *tern_ckpt_format_name(tern_ckpt_format format); /* "PyTorch zip" ... */

/* The file stays mapped until tern_ckpt_free. `options` may be NULL. Errors begin with the path. */
tern_status tern_ckpt_open(tern_ckpt **out, const char *path, const tern_ckpt_options *options, tern_error *err);
/* The same for bytes, which must outlive the checkpoint. */
tern_status tern_ckpt_open_memory(tern_ckpt **out, const void *data, size_t size, const tern_ckpt_options *options,
                                  tern_error *err);
void tern_ckpt_free(tern_ckpt *ckpt); /* NULL is fine */

tern_ckpt_format tern_ckpt_get_format(const tern_ckpt *ckpt);
/* The top-level value; of safetensors and .npz a DICT of tensors by name. */
const tern_py *tern_ckpt_root(const tern_ckpt *ckpt);
/* `__metadata__` of safetensors, a DICT of strings; NULL: none. */
const tern_py *tern_ckpt_metadata(const tern_ckpt *ckpt);
/* Values made, at least as many as can be reached. */
size_t tern_ckpt_value_count(const tern_ckpt *ckpt);
/* What was noticed while reading: names outside the allow-list, members left out. One line each. */
size_t tern_ckpt_warning_count(const tern_ckpt *ckpt);
const char *tern_ckpt_warning(const tern_ckpt *ckpt, size_t index);
/* Each class and function that the file names, in order of appearance. */
typedef struct tern_ckpt_name {
    const char *module, *name;
    size_t uses;        /* GLOBAL and STACK_GLOBAL opcodes */
    bool on_allow_list; /* interpreted, or a class of modules that tern knows (torch.nn.modules, models, utils ...) */
} tern_ckpt_name;
size_t tern_ckpt_name_count(const tern_ckpt *ckpt);
const tern_ckpt_name *tern_ckpt_name_at(const tern_ckpt *ckpt, size_t index);

/* The elements of a TENSOR value, dense and row-major, in a tensor of the caller's own (tern_tensor_free).
 * `as` TERN_UNDEFINED: as stored; TERN_FLOAT: floats, integers and bools converted to float32. Not locked: storages of
 * deflated members are inflated on first use. */
tern_status tern_ckpt_read(tern_tensor **out, tern_ckpt *ckpt, const tern_py *tensor, tern_dtype as, tern_error *err);

#endif
