/* safetensors: the length of a JSON header (64 bits), the header, then the bytes of all tensors. */
#include <cjson/cJSON.h>

#include "vision/torch/torch_internal.h"

// The JSON parser takes some 30 times the bytes of the header; real ones have 100 bytes a tensor.
#define MAX_HEADER ((size_t)16 << 20)

static tern_dtype dtype_of(const char *name) {
    static const struct {
        const char *name;
        tern_dtype dtype;
    } rows[] = {{"F64", TERN_DOUBLE},
                {"F32", TERN_FLOAT},
                {"F16", TERN_FLOAT16},
                {"BF16", TERN_BFLOAT16},
                {"I64", TERN_INT64},
                {"I32", TERN_INT32},
                {"I16", TERN_INT16},
                {"I8", TERN_INT8},
                {"U64", TERN_UINT64},
                {"U32", TERN_UINT32},
                {"U16", TERN_UINT16},
                {"U8", TERN_UINT8},
                {"BOOL", TERN_BOOL},
                {"F8_E5M2", TERN_FLOAT8E5M2},
                {"F8_E4M3", TERN_FLOAT8E4M3FN},
                {"C64", TERN_COMPLEX64}};
    for (size_t i = 0; i < TN_COUNT(rows); i++)
        if (!strcmp(rows[i].name, name)) return rows[i].dtype;
    return TERN_UNDEFINED;
}

// Whole numbers up to 2^53, which a double holds exactly.
static bool whole(const cJSON *v, int64_t *out) {
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble <= 0x1p53)) return false;
    *out = (int64_t)v->valuedouble;
    return (double)*out == v->valuedouble;
}

// An array of at most `max` whole numbers; -1 when it is none.
static int wholes(const cJSON *array, int64_t *out, int max) {
    const cJSON *v;
    int n = 0;
    if (!cJSON_IsArray(array)) return -1;
    cJSON_ArrayForEach(v, array) {
        if (n == max || !whole(v, &out[n])) return -1;
        n++;
    }
    return n;
}

static tern_status bad_tensor(const char *name, const char *what, tern_error *err) {
    return tn_fail(err, TERN_INVALID_FORMAT, "safetensors: %.200s: %s", name, what);
}

static tern_status add_tensor(tern_ckpt *ckpt, const cJSON *item, const uint8_t *data, size_t size, tern_error *err) {
    int64_t dims[TERN_MAX_RANK], range[2], count = 1;
    tern_storage *s;
    tern_py *pair[2];
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    tern_dtype dtype = cJSON_IsString(type) ? dtype_of(type->valuestring) : TERN_UNDEFINED;
    int rank = wholes(cJSON_GetObjectItemCaseSensitive(item, "shape"), dims, TERN_MAX_RANK);
    if (!dtype) return bad_tensor(item->string, "has a dtype that tern does not know", err);
    if (rank < 0) return bad_tensor(item->string, "has no proper shape", err);
    if (wholes(cJSON_GetObjectItemCaseSensitive(item, "data_offsets"), range, 2) != 2 || range[0] > range[1] ||
        (uint64_t)range[1] > size)
        return bad_tensor(item->string, "has offsets that leave the file", err);
    for (int i = 0; i < rank; i++)
        if (!tn_mul_i64(count, dims[i], &count)) return bad_tensor(item->string, "is too large", err);
    int64_t bytes;
    if (!tn_mul_i64(count, (int64_t)tern_dtype_size(dtype), &bytes) || bytes != range[1] - range[0])
        return bad_tensor(item->string, "has another number of bytes than its shape needs", err);
    TN_TRY(tn_py_text(ckpt, TERN_PY_STR, item->string, strlen(item->string), &pair[0], err));
    TN_TRY(tn_storage_new(ckpt, NULL, dtype, count, &s, err));
    s->data = data + range[0];
    TN_TRY(tn_tensor_value(ckpt, s, dtype, rank, dims, NULL, 0, &pair[1], err));
    return tn_py_set_items(ckpt, ckpt->root, pair, 2, err);
}

static tern_status add_metadata(tern_ckpt *ckpt, const cJSON *object, tern_error *err) {
    const cJSON *v;
    if (!ckpt->metadata) TN_TRY(tn_py_new(ckpt, TERN_PY_DICT, &ckpt->metadata, err));
    cJSON_ArrayForEach(v, object) {
        tern_py *pair[2];
        if (!cJSON_IsString(v)) return bad_tensor("__metadata__", "has a value that is no string", err);
        TN_TRY(tn_py_text(ckpt, TERN_PY_STR, v->string, strlen(v->string), &pair[0], err));
        TN_TRY(tn_py_text(ckpt, TERN_PY_STR, v->valuestring, strlen(v->valuestring), &pair[1], err));
        TN_TRY(tn_py_set_items(ckpt, ckpt->metadata, pair, 2, err));
    }
    return TERN_OK;
}

static tern_status read_header(tern_ckpt *ckpt, const cJSON *header, const uint8_t *data, size_t size,
                               tern_error *err) {
    const cJSON *item;
    TN_TRY(tn_py_new(ckpt, TERN_PY_DICT, &ckpt->root, err));
    cJSON_ArrayForEach(item, header) {
        if (!cJSON_IsObject(item)) return bad_tensor(item->string, "is no object", err);
        if (!strcmp(item->string, "__metadata__"))
            TN_TRY(add_metadata(ckpt, item, err));
        else
            TN_TRY(add_tensor(ckpt, item, data, size, err));
    }
    size_t named = ckpt->root->dict.count;
    TN_TRY(tn_ckpt_check_graph(ckpt, ckpt->root, err));
    if (ckpt->root->dict.count != named)
        return tn_fail(err, TERN_INVALID_FORMAT, "safetensors: two tensors have the same name");
    return TERN_OK;
}

tern_status tn_ckpt_open_safetensors(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err) {
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | data[i];
    if (length > MAX_HEADER)
        return tn_fail(err, TERN_LIMIT_EXCEEDED, "safetensors: a header of %llu bytes; the limit is %zu",
                       (unsigned long long)length, MAX_HEADER);
    const char *text = (const char *)data + 8, *end = NULL;
    cJSON *header = cJSON_ParseWithLengthOpts(text, (size_t)length, &end, false);
    // Blanks fill the header up.
    while (header && end < text + length && *end == ' ') end++;
    tern_status s;
    if (!header || end != text + length || !cJSON_IsObject(header))
        s = tn_fail(err, TERN_INVALID_FORMAT, "safetensors: the header is no JSON object");
    else
        s = read_header(ckpt, header, data + 8 + length, size - 8 - (size_t)length, err);
    cJSON_Delete(header);
    return s;
}
