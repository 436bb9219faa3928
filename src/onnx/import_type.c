/* TypeProto and ValueInfoProto. */
#include "onnx/onnx_internal.h"

#include <inttypes.h>

static tern_status read_dtype(tn_importer *im, uint64_t value, tern_dtype *out) {
    if (value && (value > INT32_MAX || !tn_dtype_valid((int)value))) {
        return tn_fail(im->err, TERN_UNSUPPORTED, "element type %" PRId64 " does not exist", (int64_t)value);
    }
    *out = (tern_dtype)value;
    return TERN_OK;
}

static tern_status read_dim(tn_importer *im, tn_str message, int64_t *dim) {
    tn_pb r = tn_pb_open(message);
    *dim = TN_DIM_UNKNOWN;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        // Some exporters write -1 for what they do not know.
        if (f.number == DIM_VALUE && f.wire == TN_PB_VARINT) {
            /* Some exporters write -1 for a dim that is free. */
            if ((int64_t)f.value < -1) return tn_fail(im->err, TERN_INVALID_MODEL, "a dim of %lld", (long long)f.value);
            *dim = (int64_t)f.value >= 0 ? (int64_t)f.value : TN_DIM_UNKNOWN;
        }
        if (f.number == DIM_PARAM && f.wire == TN_PB_BYTES && f.bytes.len) {
            const char *name;
            TN_TRY(tn_import_text(im, &im->temp, f.bytes, &name));
            *dim = tn_model_symbol(im->model, name);
        }
    }
    return tn_pb_check(&r, im->start, "TensorShapeProto.Dimension", im->err);
}

static tern_status read_shape(tn_importer *im, tn_str message, tn_type *type) {
    tn_pb r = tn_pb_open(message);
    type->ranked = true;
    type->shape.rank = 0;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number != SHAPE_DIM || f.wire != TN_PB_BYTES) continue;
        if (type->shape.rank == TERN_MAX_RANK) {
            return tn_fail(im->err, TERN_UNSUPPORTED, "a tensor of more than %d dims", TERN_MAX_RANK);
        }
        TN_TRY(read_dim(im, f.bytes, &type->shape.dims[type->shape.rank++]));
    }
    return tn_pb_check(&r, im->start, "TensorShapeProto", im->err);
}

static tern_status read_tensor_type(tn_importer *im, tn_str message, tn_type *type) {
    tn_pb r = tn_pb_open(message);
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == TYPE_ELEM && f.wire == TN_PB_VARINT) TN_TRY(read_dtype(im, f.value, &type->dtype));
        if (f.number == TYPE_SHAPE && f.wire == TN_PB_BYTES) TN_TRY(read_shape(im, f.bytes, type));
    }
    return tn_pb_check(&r, im->start, "TypeProto.Tensor", im->err);
}

/* Sequence, optional and map: all hold one type inside. */
static tern_status read_group_type(tn_importer *im, tn_str message, tn_type *type) {
    tn_pb r = tn_pb_open(message);
    uint32_t inside = type->kind == TERN_KIND_MAP ? TYPE_MAP_VALUE : TYPE_ELEM;
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (type->kind == TERN_KIND_MAP && f.number == TYPE_MAP_KEY && f.wire == TN_PB_VARINT) {
            TN_TRY(read_dtype(im, f.value, &type->dtype));
        }
        if (f.number != inside || f.wire != TN_PB_BYTES) continue;
        tn_type *element = tn_arena_alloc(&im->model->arena, sizeof *element);
        if (!element) return tn_fail_oom(im->err, sizeof *element);
        TN_TRY(tn_import_enter(im));
        TN_TRY(tn_import_type(im, f.bytes, element));
        im->depth--;
        type->element = element;
    }
    return tn_pb_check(&r, im->start, "TypeProto", im->err);
}

tern_status tn_import_type(tn_importer *im, tn_str message, tn_type *out) {
    tn_pb r = tn_pb_open(message);
    *out = (tn_type){0};
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.wire != TN_PB_BYTES) continue;
        switch (f.number) {
        case TYPE_TENSOR:
        case TYPE_SPARSE_TENSOR:
            *out = (tn_type){.kind = TERN_KIND_TENSOR};
            TN_TRY(read_tensor_type(im, f.bytes, out));
            break;
        case TYPE_SEQUENCE:
        case TYPE_OPTIONAL:
        case TYPE_MAP:
            *out = (tn_type){.kind = f.number == TYPE_SEQUENCE   ? TERN_KIND_SEQUENCE
                                     : f.number == TYPE_OPTIONAL ? TERN_KIND_OPTIONAL
                                                                 : TERN_KIND_MAP};
            TN_TRY(read_group_type(im, f.bytes, out));
            break;
        case TYPE_OPAQUE:
            return tn_fail(im->err, TERN_UNSUPPORTED, "an opaque type");
        }
    }
    return tn_pb_check(&r, im->start, "TypeProto", im->err);
}

tern_status tn_import_value_info(tn_importer *im, tn_str message, tn_str *name, tn_type *type, bool *typed) {
    tn_pb r = tn_pb_open(message);
    tn_str type_message = {0};
    *name = (tn_str){0};
    *type = (tn_type){0};
    for (tn_pb_field f; tn_pb_next(&r, &f);) {
        if (f.number == INFO_NAME && f.wire == TN_PB_BYTES) *name = f.bytes;
        if (f.number == INFO_TYPE && f.wire == TN_PB_BYTES) type_message = f.bytes;
    }
    TN_TRY(tn_pb_check(&r, im->start, "ValueInfoProto", im->err));
    *typed = type_message.data != NULL;
    tern_status status = *typed ? tn_import_type(im, type_message, type) : TERN_OK;
    if (status != TERN_OK) {
        tn_import_prefix(im, "type of '%.*s': ", (int)TN_MIN(name->len, (size_t)200), name->data);
    }
    return status;
}
