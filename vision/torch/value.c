/* Making and looking at values. */
#include "vision/torch/torch_internal.h"

#include <math.h>
#include <stdio.h>

/* ---- making ---------------------------------------------------------------------------------------------------- */

// Memory of the arena, which the limit bounds.
static tern_status take(tern_ckpt *ckpt, size_t count, size_t size, void *out, tern_error *err) {
    size_t bytes;
    void *memory = NULL;
    if (tn_mul_size(count, size, &bytes) &&
        bytes <= ckpt->options.max_memory - TN_MIN(ckpt->arena.used, ckpt->options.max_memory))
        memory = tn_arena_alloc(&ckpt->arena, bytes);
    if (!memory)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "the values of the file take more than %zu bytes",
                       ckpt->options.max_memory);
    memcpy(out, &memory, sizeof memory);
    return TERN_OK;
}

tern_status tn_py_new(tern_ckpt *ckpt, tern_py_kind kind, tern_py **out, tern_error *err) {
    if (ckpt->values >= ckpt->options.max_values)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "the file has more than %zu values", ckpt->options.max_values);
    TN_TRY(take(ckpt, 1, sizeof **out, out, err));
    (*out)->kind = kind;
    (*out)->id = (uint32_t)++ckpt->values;
    return TERN_OK;
}

tern_status tn_py_int(tern_ckpt *ckpt, int64_t value, tern_py **out, tern_error *err) {
    TN_TRY(tn_py_new(ckpt, TERN_PY_INT, out, err));
    (*out)->integer = value;
    return TERN_OK;
}

tern_status tn_py_real(tern_ckpt *ckpt, double value, tern_py **out, tern_error *err) {
    TN_TRY(tn_py_new(ckpt, TERN_PY_FLOAT, out, err));
    (*out)->real = value;
    return TERN_OK;
}

tern_status tn_py_text(tern_ckpt *ckpt, tern_py_kind kind, const void *data, size_t len, tern_py **out,
                       tern_error *err) {
    char *copy = NULL;
    TN_TRY(tn_py_new(ckpt, kind, out, err));
    TN_TRY(take(ckpt, len + 1, 1, &copy, err)); // cleared: the 0 is there
    if (len) memcpy(copy, data, len);
    (*out)->text = (tern_string){copy, len};
    return TERN_OK;
}

// Room for `more` items after `count` in an array that doubles; the old one stays in the arena.
static tern_status reserve(tern_ckpt *ckpt, void *array, size_t count, size_t more, size_t size, tern_error *err) {
    // The capacity is the power of two from 4 up that is not less than count.
    size_t cap = count ? 4 : 0, need, want = 4;
    while (cap && cap < count) cap *= 2;
    if (!tn_add_size(count, more, &need)) return tn_fail_oom(err, SIZE_MAX);
    if (need <= cap) return TERN_OK;
    while (want < need) want *= 2;
    void *memory = NULL, *old;
    TN_TRY(take(ckpt, want, size, &memory, err));
    memcpy(&old, array, sizeof old);
    if (count) memcpy(memory, old, count * size);
    memcpy(array, &memory, sizeof memory);
    return TERN_OK;
}

tern_status tn_py_append(tern_ckpt *ckpt, tern_py *seq, tern_py *const *items, size_t count, tern_error *err) {
    if (count == 0) return TERN_OK;
    TN_TRY(reserve(ckpt, &seq->seq.items, seq->seq.count, count, sizeof *items, err));
    memcpy(seq->seq.items + seq->seq.count, items, count * sizeof *items);
    seq->seq.count += count;
    return TERN_OK;
}

tern_status tn_py_seq(tern_ckpt *ckpt, tern_py_kind kind, tern_py *const *items, size_t count, tern_py **out,
                      tern_error *err) {
    TN_TRY(tn_py_new(ckpt, kind, out, err));
    if (kind != TERN_PY_TUPLE) return tn_py_append(ckpt, *out, items, count, err);
    // Tuples do not grow.
    if (count == 0) return TERN_OK;
    TN_TRY(take(ckpt, count, sizeof *items, &(*out)->seq.items, err));
    memcpy((*out)->seq.items, items, count * sizeof *items);
    (*out)->seq.count = count;
    return TERN_OK;
}

tern_status tn_py_set_items(tern_ckpt *ckpt, tern_py *dict, tern_py *const *items, size_t count, tern_error *err) {
    TN_TRY(reserve(ckpt, &dict->dict.items, dict->dict.count, count / 2, sizeof *dict->dict.items, err));
    for (size_t i = 0; i + 1 < count; i += 2)
        dict->dict.items[dict->dict.count++] = (tern_py_pair){items[i], items[i + 1]};
    return TERN_OK;
}

tern_status tn_py_object(tern_ckpt *ckpt, const char *module, const char *name, tern_py *args, bool called,
                         tern_py **out, tern_error *err) {
    TN_TRY(tn_py_new(ckpt, TERN_PY_OBJECT, out, err));
    TN_TRY(take(ckpt, 1, sizeof(tern_py_object), &(*out)->object, err));
    *(*out)->object = (tern_py_object){.module = module, .name = name, .args = args, .called = called};
    return TERN_OK;
}

tern_status tn_storage_new(tern_ckpt *ckpt, const char *key, tern_dtype dtype, int64_t numel, tern_storage **out,
                           tern_error *err) {
    size_t bytes;
    if (numel < 0 || (uint64_t)numel > PTRDIFF_MAX || !tn_mul_size((size_t)numel, tern_dtype_size(dtype), &bytes) ||
        bytes > PTRDIFF_MAX)
        return tn_fail(err, TERN_INVALID_FORMAT, "storage %.60s has %lld elements", key ? key : "", (long long)numel);
    TN_TRY(take(ckpt, 1, sizeof **out, out, err));
    tern_storage *s = *out;
    *s = (tern_storage){.next = ckpt->storages, .dtype = dtype, .numel = numel, .bytes = bytes, .key = key};
    ckpt->storages = s;
    if (key && !tn_map_put(&ckpt->storage_map, tn_str_c(key), s)) return tn_fail_oom(err, sizeof *s);
    return TERN_OK;
}

// Elements that the view spans in its storage, and its count; false when they overflow. A dim of 0 does not hide the
// others.
static bool span_of(const tern_py_tensor *t, int64_t *span, int64_t *count) {
    int64_t last = 0, all = 1;
    bool empty = false;
    for (int i = 0; i < t->rank; i++) {
        int64_t step;
        if (t->dims[i] < 0 || t->strides[i] < 0) return false;
        empty |= t->dims[i] == 0;
        if (!tn_mul_i64(all, TN_MAX(t->dims[i], 1), &all)) return false;
        if (!tn_mul_i64(TN_MAX(t->dims[i], 1) - 1, t->strides[i], &step) || !tn_add_i64(last, step, &last))
            return false;
    }
    *span = empty ? 0 : last + 1;
    *count = empty ? 0 : all;
    return last < INT64_MAX && all <= PTRDIFF_MAX / 16;
}

static const char *dims_text(int rank, const int64_t *dims, char *buffer, size_t size) {
    size_t n = 0;
    buffer[0] = 0;
    for (int i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(buffer + n, size - n, "%s%lld", i ? "x" : "", (long long)dims[i]);
    return rank ? buffer : "scalar";
}

static tern_status check_view(const tern_ckpt *ckpt, tern_py_tensor *t, tern_error *err) {
    int64_t span, end, bytes;
    char dims[300], strides[300];
    size_t size = tern_dtype_size(t->dtype);
    if (t->offset < 0 || !span_of(t, &span, &t->count) || !tn_add_i64(t->offset, span, &end) ||
        !tn_mul_i64(end, (int64_t)size, &bytes) || (span > 0 && (uint64_t)bytes > t->storage->bytes) ||
        (span == 0 && (uint64_t)t->offset > t->storage->bytes / size))
        return tn_fail(
            err, TERN_INVALID_FORMAT, "a tensor of shape %s, strides %s, offset %lld leaves its storage of %lld %s",
            dims_text(t->rank, t->dims, dims, sizeof dims), dims_text(t->rank, t->strides, strides, sizeof strides),
            (long long)t->offset, (long long)t->storage->numel, tern_dtype_name(t->storage->dtype));
    uint64_t dense = (uint64_t)t->count * size;
    if (dense > TN_MAX(ckpt->options.max_tensor_bytes, t->storage->bytes))
        return tn_fail(err, TERN_LIMIT_EXCEEDED,
                       "a tensor of shape %s has %llu bytes, its storage %zu; the limit is %zu",
                       dims_text(t->rank, t->dims, dims, sizeof dims), (unsigned long long)dense, t->storage->bytes,
                       ckpt->options.max_tensor_bytes);
    return TERN_OK;
}

tern_status tn_tensor_value(tern_ckpt *ckpt, tern_storage *storage, tern_dtype dtype, int rank, const int64_t *dims,
                            const int64_t *strides, int64_t offset, tern_py **out, tern_error *err) {
    if (rank < 0 || rank > TERN_MAX_RANK)
        return tn_fail(err, TERN_UNSUPPORTED, "a tensor of %d dims; at most %d", rank, TERN_MAX_RANK);
    TN_TRY(tn_py_new(ckpt, TERN_PY_TENSOR, out, err));
    TN_TRY(take(ckpt, 1, sizeof(tern_py_tensor), &(*out)->tensor, err));
    tern_py_tensor *t = (*out)->tensor;
    t->storage = storage;
    t->dtype = dtype;
    t->rank = rank;
    t->offset = offset;
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        t->dims[i] = dims[i];
        t->strides[i] = strides ? strides[i] : step;
        // Overflow shows in the count.
        if (!strides && !tn_mul_i64(step, TN_MAX(dims[i], 1), &step)) step = 0;
    }
    return check_view(ckpt, t, err);
}

/* ---- looking --------------------------------------------------------------------------------------------------- */

const char *tern_py_kind_name(tern_py_kind kind) {
    static const char *const names[] = {
#define X(NAME, TEXT) TEXT,
        TERN_PY_LIST_KINDS(X)
#undef X
    };
    return (size_t)kind < TN_COUNT(names) ? names[kind] : "?";
}

bool tern_py_is(const tern_py *v, const char *module, const char *name) {
    return v && (v->kind == TERN_PY_OBJECT || v->kind == TERN_PY_GLOBAL) && !strcmp(v->object->name, name) &&
           (!module || !strcmp(v->object->module, module));
}

static bool str_is(const tern_py *v, tn_str key) {
    return v->kind == TERN_PY_STR && tn_str_eq((tn_str){v->text.data, v->text.len}, key);
}

static const tern_py *dict_get(const tern_py *dict, tn_str key) {
    if (!dict || dict->kind != TERN_PY_DICT) return NULL;
    for (size_t i = 0; i < dict->dict.count; i++)
        if (str_is(dict->dict.items[i].key, key)) return dict->dict.items[i].value;
    return NULL;
}

// A state is a dict, or a pair of the dict and one of slots.
static const tern_py *state_get(const tern_py *state, tn_str key) {
    if (!state || state->kind != TERN_PY_TUPLE) return dict_get(state, key);
    for (size_t i = 0; i < TN_MIN(state->seq.count, 2); i++) {
        const tern_py *found = dict_get(state->seq.items[i], key);
        if (found) return found;
    }
    return NULL;
}

const tern_py *tern_py_get(const tern_py *v, const char *key) {
    tn_str k = tn_str_c(key);
    if (!v || v->kind != TERN_PY_OBJECT) return dict_get(v, k);
    const tern_py *found = dict_get(v->object->items, k);
    return found ? found : state_get(v->object->state, k);
}

const tern_py *tern_py_attr(const tern_py *v, const char *name) {
    static const char *const groups[] = {"_parameters", "_buffers", "_modules"};
    if (!v || v->kind != TERN_PY_OBJECT) return tern_py_get(v, name);
    const tern_py *found = state_get(v->object->state, tn_str_c(name));
    for (size_t i = 0; i < TN_COUNT(groups) && !found; i++)
        found = dict_get(state_get(v->object->state, tn_str_c(groups[i])), tn_str_c(name));
    return found;
}

const tern_py *tern_py_modules(const tern_py *module) {
    if (!module || module->kind != TERN_PY_OBJECT) return NULL;
    const tern_py *found = state_get(module->object->state, tn_str_c("_modules"));
    return found && found->kind == TERN_PY_DICT ? found : NULL;
}

bool tern_py_to_int(const tern_py *v, int64_t *out) {
    if (!v) return false;
    switch (v->kind) {
    case TERN_PY_BOOL:
        *out = v->boolean;
        return true;
    case TERN_PY_INT:
        *out = v->integer;
        return true;
    case TERN_PY_FLOAT:
        // 2^63 is a double, 2^63 - 1 is not.
        if (!(v->real >= -0x1p63 && v->real < 0x1p63) || v->real != trunc(v->real)) return false;
        *out = (int64_t)v->real;
        return true;
    default:
        return false;
    }
}

bool tern_py_to_real(const tern_py *v, double *out) {
    if (!v) return false;
    switch (v->kind) {
    case TERN_PY_BOOL:
        *out = v->boolean;
        return true;
    case TERN_PY_INT:
        *out = (double)v->integer;
        return true;
    case TERN_PY_FLOAT:
        *out = v->real;
        return true;
    default:
        return false;
    }
}

bool tern_py_to_bool(const tern_py *v, bool *out) {
    int64_t number;
    if (!tern_py_to_int(v, &number)) return false;
    *out = number != 0;
    return true;
}

const char *tern_py_to_str(const tern_py *v) {
    return v && v->kind == TERN_PY_STR && !memchr(v->text.data, 0, v->text.len) ? v->text.data : NULL;
}

static const tern_py *sequence(const tern_py *v) {
    if (v && v->kind == TERN_PY_OBJECT) v = v->object->items;
    return v && (v->kind == TERN_PY_LIST || v->kind == TERN_PY_TUPLE || v->kind == TERN_PY_SET) ? v : NULL;
}

int64_t tern_py_count(const tern_py *v) {
    const tern_py *s = sequence(v);
    return s ? (int64_t)s->seq.count : -1;
}

const tern_py *tern_py_item(const tern_py *v, int64_t index) {
    const tern_py *s = sequence(v);
    return s && index >= 0 && (uint64_t)index < s->seq.count ? s->seq.items[index] : NULL;
}

int tern_py_to_ints(const tern_py *v, int64_t *out, int max) {
    int64_t n = tern_py_count(v);
    if (n < 0) return max > 0 && tern_py_to_int(v, out) ? 1 : 0;
    if (n > max) return 0;
    for (int64_t i = 0; i < n; i++)
        if (!tern_py_to_int(tern_py_item(v, i), &out[i])) return 0;
    return (int)n;
}
