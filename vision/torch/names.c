/* Which classes and functions a checkpoint may name. Nothing that is named is ever run; the lists decide what is said
 * about it: nothing, a warning, or that the file is refused. */
#include "vision/torch/torch_internal.h"

#include <stdio.h>

// Python's gateways to the machine. No model needs one, so a file that names one is an attack.
static const char *const dangerous_modules[] = {
    "os",          "posix",
    "nt",          "posixpath",
    "ntpath",      "subprocess",
    "sys",         "shutil",
    "socket",      "runpy",
    "ctypes",      "_ctypes",
    "importlib",   "imp",
    "pickle",      "_pickle",
    "cPickle",     "dill",
    "cloudpickle", "marshal",
    "code",        "codeop",
    "commands",    "pty",
    "webbrowser",  "signal",
    "io",          "_io",
    "tempfile",    "urllib",
    "http",        "requests",
    "ftplib",      "smtplib",
    "pip",         "pdb",
    "bdb",         "timeit",
    "cProfile",    "profile",
    "trace",       "platform",
    "glob",        "fileinput",
    "asyncio",     "multiprocessing",
    "threading",   "_posixsubprocess",
    "pkgutil",     "zipimport",
    "ensurepip",   "venv",
    "idlelib",     "nturl2path",
};

// Modules whose parent is harmless, and functions; matched up to a dot.
static const char *const dangerous_names[] = {
    "torch.load",
    "torch.hub",
    "torch.jit.load",
    "torch.utils.cpp_extension",
    "torch.serialization.load",
    "torch.classes.load_library",
    "torch.ops.load_library",
    "numpy.load",
    "numpy.loadtxt",
    "numpy.fromfile",
    "numpy.testing",
    "numpy.distutils",
    "numpy.f2py",
    "types.FunctionType",
    "types.CodeType",
    "joblib.load",
    "pandas.read_pickle",
};

// All of builtins that is not here is refused.
static const char *const harmless_builtins[] = {
    "set",    "frozenset", "getattr", "slice", "range",    "xrange",   "complex",        "bytearray",
    "object", "list",      "dict",    "tuple", "int",      "long",     "float",          "bool",
    "str",    "unicode",   "bytes",   "type",  "NoneType", "Ellipsis", "NotImplemented",
};

// Classes of these modules are expected: they are data to us.
static const char *const known_modules[] = {
    "torch.nn",
    "torch.optim",
    "torch._tensor",
    "torch.distributions",
    "torchvision.transforms",
    "torchvision.models",
    "torchvision.ops",
    "models",
    "utils",
    "ultralytics",
};

static const char *const known_names[] = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "collections.deque",
    "_codecs.encode",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath",
    "argparse.Namespace",
    "datetime.datetime",
    "datetime.date",
    "datetime.timedelta",
    "types.SimpleNamespace",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.Size",
    "torch.device",
    "torch.Tensor",
    "torch.storage.UntypedStorage",
    "torch.storage.TypedStorage",
    "torch.serialization._get_layout",
};

typedef struct named_dtype {
    const char *name;
    tern_dtype dtype;
} named_dtype;

static const named_dtype storages[] = {
    {"DoubleStorage", TERN_DOUBLE},
    {"FloatStorage", TERN_FLOAT},
    {"HalfStorage", TERN_FLOAT16},
    {"BFloat16Storage", TERN_BFLOAT16},
    {"LongStorage", TERN_INT64},
    {"IntStorage", TERN_INT32},
    {"ShortStorage", TERN_INT16},
    {"CharStorage", TERN_INT8},
    {"ByteStorage", TERN_UINT8},
    {"BoolStorage", TERN_BOOL},
    {"UntypedStorage", TERN_UINT8},
    {"ComplexFloatStorage", TERN_COMPLEX64},
    {"ComplexDoubleStorage", TERN_COMPLEX128},
};

static const named_dtype dtypes[] = {
    {"float64", TERN_DOUBLE},
    {"double", TERN_DOUBLE},
    {"float32", TERN_FLOAT},
    {"float", TERN_FLOAT},
    {"float16", TERN_FLOAT16},
    {"half", TERN_FLOAT16},
    {"bfloat16", TERN_BFLOAT16},
    {"int64", TERN_INT64},
    {"long", TERN_INT64},
    {"int32", TERN_INT32},
    {"int", TERN_INT32},
    {"int16", TERN_INT16},
    {"short", TERN_INT16},
    {"int8", TERN_INT8},
    {"uint8", TERN_UINT8},
    {"uint16", TERN_UINT16},
    {"uint32", TERN_UINT32},
    {"uint64", TERN_UINT64},
    {"bool", TERN_BOOL},
    {"complex64", TERN_COMPLEX64},
    {"complex128", TERN_COMPLEX128},
    {"float8_e4m3fn", TERN_FLOAT8E4M3FN},
    {"float8_e5m2", TERN_FLOAT8E5M2},
    {"float8_e4m3fnuz", TERN_FLOAT8E4M3FNUZ},
    {"float8_e5m2fnuz", TERN_FLOAT8E5M2FNUZ},
};

static tern_dtype find_dtype(const named_dtype *table, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(table[i].name, name)) return table[i].dtype;
    return TERN_UNDEFINED;
}

static bool is_one_of(const char *const *list, size_t count, const char *s, size_t n) {
    for (size_t i = 0; i < count; i++)
        if (!strncmp(list[i], s, n) && !list[i][n]) return true;
    return false;
}

// Whether `s`, or `s` cut at one of its dots, is in the list.
static bool begins_with_one_of(const char *const *list, size_t count, const char *s) {
    for (size_t n = 0;; n++) {
        if (s[n] && s[n] != '.') continue;
        if (is_one_of(list, count, s, n)) return true;
        if (!s[n]) return false;
    }
}

#define IS_ONE_OF(LIST, S)          is_one_of(LIST, TN_COUNT(LIST), S, strlen(S))
#define BEGINS_WITH_ONE_OF(LIST, S) begins_with_one_of(LIST, TN_COUNT(LIST), S)

static bool is_builtins(const char *module) {
    return !strcmp(module, "builtins") || !strcmp(module, "__builtin__") || !strcmp(module, "__builtins__");
}

// Protocol 4 allows dots in the name: ("torch.serialization", "os.system").
static bool dots_lead_astray(const char *name) {
    for (; *name; name++) {
        size_t n = strcspn(name, ".");
        if (!name[n]) return false;
        if (is_one_of(dangerous_modules, TN_COUNT(dangerous_modules), name, n) || !strncmp(name, "__", 2)) return true;
        name += n;
    }
    return false;
}

static bool dangerous(const char *module, const char *name, const char *full) {
    if (is_builtins(module)) return !IS_ONE_OF(harmless_builtins, name);
    return BEGINS_WITH_ONE_OF(dangerous_modules, module) || BEGINS_WITH_ONE_OF(dangerous_names, full) ||
           dots_lead_astray(name);
}

static bool is_torch(const char *module) {
    return !strcmp(module, "torch") || !strcmp(module, "torch.cuda") || !strcmp(module, "torch.storage");
}

static bool known(const char *module, const char *name, const char *full) {
    if (is_builtins(module)) return true;
    if (is_torch(module) &&
        (find_dtype(storages, TN_COUNT(storages), name) || find_dtype(dtypes, TN_COUNT(dtypes), name)))
        return true;
    // torch.FloatTensor and the like, which old files name beside the storage.
    size_t n = strlen(name);
    if (is_torch(module) && n > 6 && !strcmp(name + n - 6, "Tensor")) return true;
    return BEGINS_WITH_ONE_OF(known_modules, module) || IS_ONE_OF(known_names, full);
}

static tern_status add_name(tern_ckpt *ckpt, const char *module, const char *name, const char *full, tern_error *err) {
    bool ok = known(module, name, full);
    if (!tn_grow(&ckpt->names, &ckpt->names_cap, ckpt->n_names + 1, sizeof *ckpt->names))
        return tn_fail_oom(err, sizeof *ckpt->names);
    ckpt->names[ckpt->n_names++] = (tern_ckpt_name){module, name, 1, ok};
    char *key = tn_arena_strndup(&ckpt->arena, full, strlen(full));
    if (!key || !tn_map_put(&ckpt->name_map, tn_str_c(key), (void *)(uintptr_t)ckpt->n_names))
        return tn_fail_oom(err, strlen(full));
    return ok ? TERN_OK : tn_ckpt_warn(ckpt, err, "%s is not on the allow-list: kept as data, not interpreted", full);
}

tern_status tn_name_note(tern_ckpt *ckpt, const char *module, const char *name, tern_error *err) {
    char full[1024];
    int n = snprintf(full, sizeof full, "%s.%s", module, name);
    if (n < 0 || (size_t)n >= sizeof full)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "a class name of %d bytes: %.60s...", n, full);
    if (dangerous(module, name, full))
        return tn_fail(err, TERN_INVALID_FORMAT, "the pickle wants to call %s: refused, the file is not safe", full);
    size_t found = (size_t)(uintptr_t)tn_map_get(&ckpt->name_map, tn_str_c(full));
    if (!found) return add_name(ckpt, module, name, full, err);
    ckpt->names[found - 1].uses++;
    return TERN_OK;
}

tern_dtype tn_name_storage_dtype(const tern_py *global, bool *untyped) {
    *untyped = false;
    if (!global || global->kind != TERN_PY_GLOBAL || !is_torch(global->object->module)) return TERN_UNDEFINED;
    *untyped = !strcmp(global->object->name, "UntypedStorage");
    return find_dtype(storages, TN_COUNT(storages), global->object->name);
}

tern_dtype tn_name_dtype(const tern_py *global) {
    if (!global || global->kind != TERN_PY_GLOBAL || strcmp(global->object->module, "torch")) return TERN_UNDEFINED;
    return find_dtype(dtypes, TN_COUNT(dtypes), global->object->name);
}
