/* Tensors to TensorProto. Data goes to raw_data, which is what memory holds but for types of less than 8 bits; strings
 * to string_data. */
#include "onnx/onnx_internal.h"

size_t tn_onnx_raw_bytes(const tern_tensor *t) {
    size_t bits = (size_t)tn_dtype_bits(t->dtype), count = (size_t)tn_shape_count(&t->shape);
    return bits < 8 ? (count * bits + 7) / 8 : count * (bits / 8);
}

void tn_onnx_store_raw(const tern_tensor *t, uint8_t *dst) {
    size_t bytes = tn_onnx_raw_bytes(t), bits = (size_t)tn_dtype_bits(t->dtype);
    if (bits >= 8) {
        if (bytes) memcpy(dst, t->data, bytes);
        return;
    }
    size_t per_byte = 8 / bits, count = (size_t)tn_shape_count(&t->shape);
    const uint8_t *src = t->data;
    memset(dst, 0, bytes);
    for (size_t i = 0; i < count; i++) {
        dst[i / per_byte] |= (uint8_t)((src[i] & ((1u << bits) - 1)) << (i % per_byte * bits));
    }
}

/* Dims, type and name. */
static tern_status put_head(tn_pb_writer *w, const tern_tensor *t, const char *name, tern_error *err) {
    if (t->kind != TERN_KIND_TENSOR || t->block) {
        return tn_fail(err, TERN_UNSUPPORTED, "%s can not be written as a tensor",
                       t->block ? "a blocked tensor" : "a sequence, optional or map");
    }
    tn_pb_put_packed_i64(w, TENSOR_DIMS, t->shape.dims, (size_t)t->shape.rank);
    tn_pb_put_varint(w, TENSOR_DATA_TYPE, t->dtype);
    if (*name) tn_pb_put_string(w, TENSOR_NAME, name);
    return TERN_OK;
}

tern_status tn_onnx_put_tensor(tn_pb_writer *w, const tern_tensor *t, const char *name, tern_error *err) {
    TN_TRY(put_head(w, t, name, err));
    if (t->dtype == TERN_STRING) {
        const tern_string *s = t->data;
        int64_t count = tn_shape_count(&t->shape);
        for (int64_t i = 0; i < count; i++) tn_pb_put_bytes(w, TENSOR_STRING_DATA, s[i].data, s[i].len);
        return TERN_OK;
    }
    uint8_t *raw = tn_pb_put_space(w, TENSOR_RAW_DATA, tn_onnx_raw_bytes(t));
    if (raw) tn_onnx_store_raw(t, raw);
    return TERN_OK;
}

static void put_entry(tn_pb_writer *w, const char *key, const char *value) {
    size_t mark = tn_pb_begin(w, TENSOR_EXTERNAL_DATA);
    tn_pb_put_string(w, ENTRY_KEY, key);
    tn_pb_put_string(w, ENTRY_VALUE, value);
    tn_pb_end(w, mark);
}

tern_status tn_onnx_put_external(tn_pb_writer *w, const tern_tensor *t, const char *name, const char *location,
                                 size_t offset, tern_error *err) {
    TN_TRY(put_head(w, t, name, err));
    tn_text number;
    tn_text_init(&number);
    put_entry(w, "location", location);
    tn_text_add(&number, "%zu", offset);
    put_entry(w, "offset", number.data);
    number.len = 0;
    tn_text_add(&number, "%zu", tn_onnx_raw_bytes(t));
    put_entry(w, "length", number.data);
    if (number.failed) w->failed = true;
    tn_text_release(&number);
    tn_pb_put_varint(w, TENSOR_DATA_LOCATION, LOCATION_EXTERNAL);
    return TERN_OK;
}
