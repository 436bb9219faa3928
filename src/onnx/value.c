/* Files of single values (onnx-data.proto): test data, and what a run reads and writes. */
#include "onnx/onnx_internal.h"

#include <inttypes.h>
#include <limits.h>

#define MAX_VALUE_NESTING 64

/* ---- reading ----------------------------------------------------------------------------------------------- */

typedef struct value_reader {
    tn_tensor_source tensors;
    int depth;
    tern_error *err;
} value_reader;

/* References to the items of a group that is being read. */
typedef struct item_list {
    tern_tensor **items;
    size_t count, cap;
} item_list;

static tern_status read_value(value_reader *r, tern_kind kind, tn_str message, tern_tensor **out, tn_str *name);

static tern_status push_item(value_reader *r, item_list *list, tern_tensor *item) {
    if (!tn_grow(&list->items, &list->cap, list->count + 1, sizeof *list->items)) {
        tn_tensor_unref(item);
        return tn_fail_oom(r->err, sizeof *list->items);
    }
    list->items[list->count++] = item;
    return TERN_OK;
}

/* The list is empty afterwards; the group (if it came about) holds the references. */
static tern_status close_group(value_reader *r, item_list *list, tern_status status, tern_kind kind,
                               tern_tensor **out) {
    if (status == TERN_OK) status = tn_tensor_new_group(out, kind, list->items, list->count, r->err);
    for (size_t i = 0; i < list->count; i++) tn_tensor_unref(list->items[i]);
    tn_free(list->items);
    *list = (item_list){0};
    return status;
}

static tern_status read_item(value_reader *r, const tn_pb_field *f, item_list *list) {
    tern_tensor *item = NULL;
    switch (f->number) {
    case VALUE_TENSOR:
        TN_TRY(tn_onnx_tensor(&r->tensors, f->bytes, &item, NULL, r->err));
        break;
    case VALUE_SPARSE_TENSOR:
        TN_TRY(tn_onnx_sparse_tensor(&r->tensors, f->bytes, &item, NULL, r->err));
        break;
    case VALUE_SEQUENCE:
        TN_TRY(read_value(r, TERN_KIND_SEQUENCE, f->bytes, &item, NULL));
        break;
    case VALUE_MAP:
        TN_TRY(read_value(r, TERN_KIND_MAP, f->bytes, &item, NULL));
        break;
    case VALUE_OPTIONAL:
        TN_TRY(read_value(r, TERN_KIND_OPTIONAL, f->bytes, &item, NULL));
        break;
    default:
        return TERN_OK;
    }
    return push_item(r, list, item);
}

static tern_status read_items(value_reader *r, tern_kind kind, tn_str message, item_list *list, tn_str *name) {
    tn_pb pb = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&pb, &f);) {
        if (f.wire != TN_PB_BYTES) continue;
        if (f.number == VALUE_NAME && name) *name = f.bytes;
        TN_TRY(read_item(r, &f, list));
        if (kind == TERN_KIND_OPTIONAL && list->count > 1) {
            return tn_fail(r->err, TERN_INVALID_FORMAT, "an optional with more than one value");
        }
    }
    return tn_pb_check(&pb, r->tensors.start, kind == TERN_KIND_SEQUENCE ? "SequenceProto" : "OptionalProto", r->err);
}

/* What a MapProto holds, after one pass. */
typedef struct map_proto {
    tn_str message, values;
    uint64_t key_type;
    size_t n_keys, n_string_keys;
} map_proto;

static tern_status read_map_proto(value_reader *r, tn_str message, map_proto *m, tn_str *name) {
    *m = (map_proto){.message = message};
    tn_pb pb = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&pb, &f);) {
        size_t count = 0;
        if (f.number == MAP_NAME && f.wire == TN_PB_BYTES && name) *name = f.bytes;
        if (f.number == MAP_KEY_TYPE && f.wire == TN_PB_VARINT) m->key_type = f.value;
        if (f.number == MAP_VALUES && f.wire == TN_PB_BYTES) m->values = f.bytes;
        if (f.number == MAP_KEYS && !tn_pb_count(&f, TN_PB_VARINT, &count)) {
            return tn_fail(r->err, TERN_INVALID_FORMAT, "keys of a map are damaged");
        }
        m->n_keys += count;
        m->n_string_keys += f.number == MAP_STRING_KEYS && f.wire == TN_PB_BYTES;
    }
    return tn_pb_check(&pb, r->tensors.start, "MapProto", r->err);
}

static tern_status fill_string_keys(value_reader *r, const map_proto *m, tern_tensor *keys) {
    tern_string *dst = keys->data;
    tn_pb pb = tn_pb_open(m->message);
    for (tn_pb_field f; tn_pb_next(&pb, &f);) {
        if (f.number == MAP_STRING_KEYS && f.wire == TN_PB_BYTES) *dst++ = (tern_string){f.bytes.data, f.bytes.len};
    }
    return tn_tensor_own_strings(keys, r->err);
}

static tern_status fill_int_keys(value_reader *r, const map_proto *m, tern_tensor *keys) {
    int64_t *all = tn_alloc_array(m->n_keys, sizeof *all);
    if (!all) return tn_fail_oom(r->err, m->n_keys * sizeof *all);
    tn_pb pb = tn_pb_open(m->message);
    size_t at = 0, count = 0;
    for (tn_pb_field f; tn_pb_next(&pb, &f);) {
        if (f.number != MAP_KEYS || !tn_pb_count(&f, TN_PB_VARINT, &count) || !count) continue;
        tn_pb_get_i64(&f, all + at);
        at += count;
    }
    size_t size = tn_dtype_size(keys->dtype);
    for (size_t i = 0; i < at; i++) memcpy((uint8_t *)keys->data + i * size, &all[i], size);
    tn_free(all);
    return TERN_OK;
}

static tern_status read_keys(value_reader *r, const map_proto *m, tern_tensor **out) {
    bool strings = m->key_type == TERN_STRING;
    bool ints = m->key_type < TERN_DTYPE_COUNT && tn_type_in((tern_dtype)m->key_type, TN_TYPES_INT);
    if (!strings && !ints) {
        return tn_fail(r->err, TERN_INVALID_FORMAT, "a map with keys of type %" PRIu64, m->key_type);
    }
    size_t count = strings ? m->n_string_keys : m->n_keys;
    tn_shape shape = tn_shape_of(1, (int64_t[]){(int64_t)count});
    TN_TRY(tn_tensor_new(out, (tern_dtype)m->key_type, &shape, r->err));
    if (!count) return TERN_OK;
    return strings ? fill_string_keys(r, m, *out) : fill_int_keys(r, m, *out);
}

/* A map's values as one tensor: that of the sequence's only tensor, or of as many scalars as there are keys. */
static tern_status join_values(value_reader *r, const tern_tensor *sequence, size_t n_keys, tern_tensor **out) {
    size_t n = sequence->n_items;
    tern_tensor *first = n ? sequence->items[0] : NULL;
    bool tensor = first && first->kind == TERN_KIND_TENSOR;
    if (n == 1 && tensor && first->shape.rank == 1 && (size_t)first->shape.dims[0] == n_keys) {
        *out = tn_tensor_ref(first);
        return TERN_OK;
    }
    if (n != n_keys) {
        return tn_fail(r->err, TERN_INVALID_FORMAT, "a map of %zu keys and %zu values", n_keys, n);
    }
    for (size_t i = 0; i < n && tensor; i++) {
        const tern_tensor *t = sequence->items[i];
        tensor = t->kind == TERN_KIND_TENSOR && t->dtype == first->dtype && tn_shape_count(&t->shape) == 1;
    }
    if (!tensor) {
        *out = tn_tensor_ref((tern_tensor *)(uintptr_t)sequence);
        return TERN_OK;
    }
    tn_shape shape = tn_shape_of(1, (int64_t[]){(int64_t)n});
    TN_TRY(tn_tensor_new(out, first->dtype, &shape, r->err));
    size_t size = tn_dtype_size(first->dtype);
    for (size_t i = 0; i < n; i++) memcpy((uint8_t *)(*out)->data + i * size, sequence->items[i]->data, size);
    return first->dtype == TERN_STRING ? tn_tensor_own_strings(*out, r->err) : TERN_OK;
}

static tern_status read_map_items(value_reader *r, tn_str message, item_list *list, tn_str *name) {
    map_proto m;
    TN_TRY(read_map_proto(r, message, &m, name));
    tern_tensor *keys = NULL, *sequence = NULL, *values = NULL;
    tern_status status = read_keys(r, &m, &keys);
    size_t n_keys = keys ? (size_t)keys->shape.dims[0] : 0;
    if (status == TERN_OK) status = read_value(r, TERN_KIND_SEQUENCE, m.values, &sequence, NULL);
    if (status == TERN_OK) status = join_values(r, sequence, n_keys, &values);
    tn_tensor_unref(sequence);
    if (status != TERN_OK) {
        tn_tensor_unref(keys);
        tn_tensor_unref(values);
        return status;
    }
    status = push_item(r, list, keys);
    if (status != TERN_OK) {
        tn_tensor_unref(values);
        return status;
    }
    return push_item(r, list, values);
}

static tern_status read_value(value_reader *r, tern_kind kind, tn_str message, tern_tensor **out, tn_str *name) {
    *out = NULL;
    if (kind == TERN_KIND_TENSOR) return tn_onnx_tensor(&r->tensors, message, out, name, r->err);
    if (r->depth == MAX_VALUE_NESTING) {
        return tn_fail(r->err, TERN_LIMIT_EXCEEDED, "sequences, optionals and maps nest deeper than %d",
                       MAX_VALUE_NESTING);
    }
    r->depth++;
    item_list list = {0};
    tern_status status =
        kind == TERN_KIND_MAP ? read_map_items(r, message, &list, name) : read_items(r, kind, message, &list, name);
    r->depth--;
    return close_group(r, &list, status, kind, out);
}

tern_status tn_onnx_read_value(tern_tensor **out, tern_kind kind, const void *data, size_t size, char **name,
                               tern_error *err) {
    value_reader r = {.err = err};
    r.tensors = (tn_tensor_source){.start = data, .max_bytes = PTRDIFF_MAX, .dense_left = TN_ONNX_DENSE_BYTES};
    tn_str text = {0};
    TN_TRY(read_value(&r, kind, (tn_str){data, size}, out, &text));
    if (!name) return TERN_OK;
    *name = tn_strndup(text.data ? text.data : "", text.len);
    if (*name) return TERN_OK;
    tn_tensor_unref(*out);
    *out = NULL;
    return tn_fail_oom(err, text.len);
}

tern_status tn_onnx_read_value_file(tern_tensor **out, tern_kind kind, const char *path, tern_error *err) {
    tn_file file;
    *out = NULL;
    TN_TRY(tn_file_map(&file, path, err));
    tern_status status = tn_onnx_read_value(out, kind, file.data, file.size, NULL, err);
    tn_file_unmap(&file);
    if (status != TERN_OK) tn_error_prefix(err, "%s: ", path);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static tern_status put_value(tn_pb_writer *w, const tern_tensor *t, const char *name, int depth, tern_error *err);

static const struct {
    tern_kind kind;
    uint32_t field;
    uint64_t elem_type;
} item_forms[] = {
    {TERN_KIND_TENSOR, VALUE_TENSOR, ELEM_TENSOR},
    {TERN_KIND_SEQUENCE, VALUE_SEQUENCE, ELEM_SEQUENCE},
    {TERN_KIND_OPTIONAL, VALUE_OPTIONAL, ELEM_OPTIONAL},
    {TERN_KIND_MAP, VALUE_MAP, ELEM_MAP},
};

static tern_status put_items(tn_pb_writer *w, const tern_tensor *t, int depth, tern_error *err) {
    for (size_t i = 0; i < t->n_items; i++) {
        size_t form = 0;
        while (item_forms[form].kind != t->items[i]->kind) form++;
        if (i == 0) tn_pb_put_varint(w, VALUE_ELEM_TYPE, item_forms[form].elem_type);
        size_t mark = tn_pb_begin(w, item_forms[form].field);
        TN_TRY(put_value(w, t->items[i], "", depth, err));
        tn_pb_end(w, mark);
    }
    return TERN_OK;
}

static tern_status put_map(tn_pb_writer *w, const tern_tensor *t, const char *name, int depth, tern_error *err) {
    if (t->n_items != 2 || t->items[0]->kind != TERN_KIND_TENSOR || t->items[0]->shape.rank != 1) {
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a map needs a 1-D tensor of keys and its values");
    }
    const tern_tensor *keys = t->items[0], *values = t->items[1];
    int64_t count = keys->shape.dims[0];
    if (*name) tn_pb_put_string(w, MAP_NAME, name);
    tn_pb_put_varint(w, MAP_KEY_TYPE, keys->dtype);
    for (int64_t i = 0; i < count; i++) {
        if (keys->dtype == TERN_STRING) {
            const tern_string *s = (const tern_string *)keys->data + i;
            tn_pb_put_bytes(w, MAP_STRING_KEYS, s->data, s->len);
        } else {
            tn_pb_put_varint(w, MAP_KEYS, (uint64_t)tn_tensor_get_i64(keys, i));
        }
    }
    size_t mark = tn_pb_begin(w, MAP_VALUES);
    if (values->kind == TERN_KIND_SEQUENCE) {
        TN_TRY(put_value(w, values, "", depth, err));
    } else {
        tern_tensor *only = (tern_tensor *)(uintptr_t)values;
        tern_tensor list = {.kind = TERN_KIND_SEQUENCE, .items = &only, .n_items = 1};
        TN_TRY(put_items(w, &list, depth, err));
    }
    tn_pb_end(w, mark);
    return TERN_OK;
}

static tern_status put_value(tn_pb_writer *w, const tern_tensor *t, const char *name, int depth, tern_error *err) {
    if (depth == MAX_VALUE_NESTING) {
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "sequences, optionals and maps nest deeper than %d",
                       MAX_VALUE_NESTING);
    }
    switch (t->kind) {
    case TERN_KIND_TENSOR:
        return tn_onnx_put_tensor(w, t, name, err);
    case TERN_KIND_MAP:
        return put_map(w, t, name, depth + 1, err);
    default:
        if (*name) tn_pb_put_string(w, VALUE_NAME, name);
        return put_items(w, t, depth + 1, err);
    }
}

tern_status tn_onnx_write_value(const tern_tensor *t, const char *name, void **data, size_t *size, tern_error *err) {
    tn_pb_writer w = {0};
    *data = NULL;
    tern_status status = put_value(&w, t, name ? name : "", 0, err);
    if (status == TERN_OK && w.failed) status = tn_fail_oom(err, w.len);
    // An empty optional is an empty message, for which the caller still gets memory to free.
    if (status == TERN_OK && !w.data && !(w.data = tn_alloc(1))) status = tn_fail_oom(err, 1);
    if (status != TERN_OK) {
        tn_pb_release(&w);
        return status;
    }
    *data = w.data;
    *size = w.len;
    return TERN_OK;
}

tern_status tn_onnx_write_value_file(const tern_tensor *t, const char *path, tern_error *err) {
    void *data;
    size_t size;
    tern_status status = tn_onnx_write_value(t, NULL, &data, &size, err);
    if (status != TERN_OK) {
        tn_error_prefix(err, "%s: ", path);
        return status;
    }
    status = tn_file_write(path, data, size, err);
    tn_free(data);
    return status;
}
