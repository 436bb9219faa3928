/* What the pickle calls. The functions here only rearrange data that the pickle itself brought; every other function or
 * class becomes an opaque object that remembers its arguments. */
#include "vision/torch/torch_internal.h"

static tern_status bad_args(const char *name, tern_error *err) {
    return tn_fail(err, TERN_INVALID_FORMAT, "the pickle calls %s with arguments that do not fit", name);
}

static tern_py *arg(const tern_py *args, size_t i) { return i < args->seq.count ? args->seq.items[i] : NULL; }
static bool is_seq(const tern_py *v) {
    return v && (v->kind == TERN_PY_LIST || v->kind == TERN_PY_TUPLE || v->kind == TERN_PY_SET);
}

/* ---- Python ---------------------------------------------------------------------------------------------------- */

// OrderedDict(), OrderedDict([[key, value], ...]), OrderedDict({...}); of defaultdict the first argument is a factory.
static tern_status call_dict(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    TN_TRY(tn_py_new(ckpt, TERN_PY_DICT, out, err));
    const tern_py *from = args->seq.count ? args->seq.items[args->seq.count - 1] : NULL;
    if (from && from->kind == TERN_PY_DICT) {
        for (size_t i = 0; i < from->dict.count; i++) {
            tern_py *pair[2] = {from->dict.items[i].key, from->dict.items[i].value};
            TN_TRY(tn_py_set_items(ckpt, *out, pair, 2, err));
        }
    }
    if (!is_seq(from)) return TERN_OK;
    for (size_t i = 0; i < from->seq.count; i++) {
        const tern_py *pair = from->seq.items[i];
        if (!is_seq(pair) || pair->seq.count != 2) return bad_args("OrderedDict", err);
        TN_TRY(tn_py_set_items(ckpt, *out, pair->seq.items, 2, err));
    }
    return TERN_OK;
}

static tern_status call_set(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *from = arg(args, 0);
    if (args->seq.count > 1 || (from && !is_seq(from))) return bad_args("set", err);
    return tn_py_seq(ckpt, TERN_PY_SET, from ? from->seq.items : NULL, from ? from->seq.count : 0, out, err);
}

// A str whose characters are all below 256, as that many bytes; the form of bytes in protocol 2.
static bool latin1(tern_string text, uint8_t *to, size_t *len) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.data[i];
        if (c >= 0x80) {
            if ((c & 0xfc) != 0xc0 || i + 1 == text.len || ((uint8_t)text.data[i + 1] & 0xc0) != 0x80) return false;
            c = (uint8_t)(c << 6 | ((uint8_t)text.data[++i] & 0x3f));
        }
        to[n++] = c;
    }
    *len = n;
    return true;
}

static tern_status encode_latin1(tern_ckpt *ckpt, tern_string text, tern_py **out, tern_error *err) {
    size_t len;
    uint8_t *bytes = tn_alloc(text.len + 1);
    if (!bytes) return tn_fail_oom(err, text.len);
    tern_status s = latin1(text, bytes, &len) ? tn_py_text(ckpt, TERN_PY_BYTES, bytes, len, out, err)
                                              : bad_args("_codecs.encode", err);
    tn_free(bytes);
    return s;
}

// _codecs.encode(text, encoding); bytes(...) and bytearray(...) take the same, or bytes, or nothing.
static tern_status call_encode(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *from = arg(args, 0);
    const char *encoding = tern_py_to_str(arg(args, 1));
    if (!from) return tn_py_text(ckpt, TERN_PY_BYTES, "", 0, out, err);
    if (from->kind == TERN_PY_BYTES || (from->kind == TERN_PY_STR && encoding && !strncmp(encoding, "utf", 3)))
        return tn_py_text(ckpt, TERN_PY_BYTES, from->text.data, from->text.len, out, err);
    if (from->kind != TERN_PY_STR || (encoding && strncmp(encoding, "latin", 5) != 0 && strcmp(encoding, "ascii") != 0))
        return bad_args("_codecs.encode", err);
    return encode_latin1(ckpt, from->text, out, err);
}

// copyreg._reconstructor(class, base, state of base): an object of the class, in protocols 0 and 1.
static tern_status call_reconstructor(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *cls = arg(args, 0);
    if (!cls || cls->kind != TERN_PY_GLOBAL) return bad_args("copyreg._reconstructor", err);
    if (tern_py_is(cls, "collections", "OrderedDict")) return tn_py_new(ckpt, TERN_PY_DICT, out, err);
    return tn_py_object(ckpt, cls->object->module, cls->object->name, ckpt->empty_tuple, false, out, err);
}

// getattr(object, name): a bound method, which fused modules keep in their own state. The class stands in for the
// object, so that the graph has no cycle.
static tern_status call_getattr(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *of = arg(args, 0);
    tern_py *cls, *pair[2] = {NULL, arg(args, 1)};
    if (args->seq.count != 2 || !tern_py_to_str(pair[1]) || (of->kind != TERN_PY_OBJECT && of->kind != TERN_PY_GLOBAL))
        return bad_args("getattr", err);
    TN_TRY(tn_py_object(ckpt, of->object->module, of->object->name, NULL, false, &cls, err));
    cls->kind = TERN_PY_GLOBAL;
    pair[0] = cls;
    TN_TRY(tn_py_seq(ckpt, TERN_PY_TUPLE, pair, 2, &args, err));
    return tn_py_object(ckpt, "builtins", "getattr", args, true, out, err);
}

/* ---- torch ----------------------------------------------------------------------------------------------------- */

static bool dims_of(const tern_py *v, int64_t *dims, int *rank) {
    if (!is_seq(v) || v->kind == TERN_PY_SET || v->seq.count > TERN_MAX_RANK) return false;
    for (size_t i = 0; i < v->seq.count; i++) {
        if (v->seq.items[i]->kind != TERN_PY_INT) return false;
        dims[i] = v->seq.items[i]->integer;
    }
    *rank = (int)v->seq.count;
    return true;
}

// (storage, offset, size, stride [, requires_grad, hooks [, dtype]]); dtype UNDEFINED: the storage's.
static tern_status rebuild(tern_ckpt *ckpt, tern_py *args, tern_dtype dtype, tern_py **out, tern_error *err) {
    int64_t dims[TERN_MAX_RANK], strides[TERN_MAX_RANK];
    int rank, n_strides;
    const tern_py *storage = arg(args, 0), *offset = arg(args, 1);
    if (!storage || storage->kind != TERN_PY_STORAGE)
        return tn_fail(err, TERN_INVALID_FORMAT, "a tensor is made of a %s instead of a storage",
                       storage ? tern_py_kind_name(storage->kind) : "nothing");
    if (!offset || offset->kind != TERN_PY_INT || !dims_of(arg(args, 2), dims, &rank) ||
        !dims_of(arg(args, 3), strides, &n_strides) || rank != n_strides)
        return tn_fail(err, TERN_INVALID_FORMAT, "a tensor's offset, size or stride is no list of up to %d integers",
                       TERN_MAX_RANK);
    if (!dtype && storage->storage->untyped)
        return tn_fail(err, TERN_INVALID_FORMAT, "a tensor without an element type");
    TN_TRY(tn_tensor_value(ckpt, storage->storage, dtype ? dtype : storage->storage->dtype, rank, dims, strides,
                           offset->integer, out, err));
    tern_py *grad = arg(args, 4);
    (*out)->tensor->requires_grad = grad && grad->kind == TERN_PY_BOOL && grad->boolean;
    return TERN_OK;
}

static tern_status call_rebuild_tensor(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    return rebuild(ckpt, args, TERN_UNDEFINED, out, err);
}

static tern_status call_rebuild_tensor_v3(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    tern_dtype dtype = tn_name_dtype(arg(args, 6));
    if (!dtype) return bad_args("torch._utils._rebuild_tensor_v3", err);
    return rebuild(ckpt, args, dtype, out, err);
}

// (tensor, requires_grad, hooks): shares the storage, so the tensor itself stays what it was.
static tern_status call_rebuild_parameter(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *data = arg(args, 0), *grad = arg(args, 1);
    if (!data || data->kind != TERN_PY_TENSOR) return bad_args("torch._utils._rebuild_parameter", err);
    const tern_py_tensor *t = data->tensor;
    TN_TRY(tn_tensor_value(ckpt, t->storage, t->dtype, t->rank, t->dims, t->strides, t->offset, out, err));
    (*out)->tensor->parameter = true;
    (*out)->tensor->requires_grad = grad && grad->kind == TERN_PY_BOOL && grad->boolean;
    return TERN_OK;
}

// (function, type, arguments of the function, attributes)
static tern_status call_rebuild_from_type(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    tern_py *function = arg(args, 0), *inner = arg(args, 2);
    // No second level: it would nest without a limit.
    if (!function || !inner || function->kind != TERN_PY_GLOBAL || strstr(function->object->name, "_from_type"))
        return bad_args("torch._tensor._rebuild_from_type_v2", err);
    return tn_pickle_call(ckpt, function, inner, out, err);
}

static tern_status call_size(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *from = arg(args, 0);
    if (from && !is_seq(from)) return bad_args("torch.Size", err);
    return tn_py_seq(ckpt, TERN_PY_TUPLE, from ? from->seq.items : NULL, from ? from->seq.count : 0, out, err);
}

/* ---- NumPy ----------------------------------------------------------------------------------------------------- */

// _reconstruct(ndarray, (0,), b"b"): an array that BUILD fills.
static tern_status call_reconstruct(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err) {
    const tern_py *cls = arg(args, 0);
    if (!cls || cls->kind != TERN_PY_GLOBAL) return bad_args("numpy.core.multiarray._reconstruct", err);
    return tn_py_object(ckpt, "numpy", "ndarray", NULL, false, out, err);
}

typedef tern_status (*call_fn)(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err);
static const struct {
    const char *module, *name;
    call_fn call;
} calls[] = {
    {"collections", "OrderedDict", call_dict},
    {"collections", "defaultdict", call_dict},
    {"collections", "Counter", call_dict},
    {"__builtin__", "getattr", call_getattr},
    {"builtins", "getattr", call_getattr},
    {"__builtin__", "set", call_set},
    {"__builtin__", "frozenset", call_set},
    {"builtins", "set", call_set},
    {"builtins", "frozenset", call_set},
    {"__builtin__", "bytearray", call_encode},
    {"__builtin__", "bytes", call_encode},
    {"builtins", "bytearray", call_encode},
    {"builtins", "bytes", call_encode},
    {"_codecs", "encode", call_encode},
    {"copy_reg", "_reconstructor", call_reconstructor},
    {"copyreg", "_reconstructor", call_reconstructor},
    {"torch._utils", "_rebuild_tensor", call_rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", call_rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v3", call_rebuild_tensor_v3},
    {"torch._utils", "_rebuild_parameter", call_rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", call_rebuild_parameter},
    {"torch._tensor", "_rebuild_from_type_v2", call_rebuild_from_type},
    {"torch._tensor", "_rebuild_from_type", call_rebuild_from_type},
    {"torch", "Size", call_size},
    {"numpy.core.multiarray", "_reconstruct", call_reconstruct},
    {"numpy._core.multiarray", "_reconstruct", call_reconstruct},
    {"numpy.core.multiarray", "scalar", tn_numpy_scalar},
    {"numpy._core.multiarray", "scalar", tn_numpy_scalar},
    {"numpy.core.numeric", "_frombuffer", tn_numpy_from_buffer},
    {"numpy._core.numeric", "_frombuffer", tn_numpy_from_buffer},
};

tern_status tn_pickle_call(tern_ckpt *ckpt, tern_py *function, tern_py *args, tern_py **out, tern_error *err) {
    if (function->kind != TERN_PY_GLOBAL || args->kind != TERN_PY_TUPLE)
        return tn_fail(err, TERN_INVALID_FORMAT, "the pickle calls a %s with a %s", tern_py_kind_name(function->kind),
                       tern_py_kind_name(args->kind));
    const char *module = function->object->module, *name = function->object->name;
    for (size_t i = 0; i < TN_COUNT(calls); i++)
        if (!strcmp(calls[i].name, name) && !strcmp(calls[i].module, module))
            return calls[i].call(ckpt, args, out, err);
    return tn_py_object(ckpt, module, name, args, true, out, err);
}

tern_status tn_pickle_build(tern_ckpt *ckpt, tern_py *object, tern_py *state, tern_error *err) {
    switch (object->kind) {
    case TERN_PY_OBJECT:
        break;
    case TERN_PY_DICT:
        return TERN_OK; // attributes of an OrderedDict: `_metadata` of a state dict
    case TERN_PY_TENSOR:
        return tn_ckpt_warn(ckpt, err, "attributes of a tensor are left out");
    default:
        return tn_fail(err, TERN_INVALID_FORMAT, "the pickle gives a state to a %s", tern_py_kind_name(object->kind));
    }
    if (tn_numpy_is_array(object)) return tn_numpy_build(ckpt, object, state, err);
    if (object->object->state)
        return tn_fail(err, TERN_INVALID_FORMAT, "the pickle gives a %s.%s two states", object->object->module,
                       object->object->name);
    object->object->state = state;
    return TERN_OK;
}
