/* The protobuf half of tern/io.h. */
#include "tern/io.h"

#include "onnx/onnx.h"

tern_status tern_tensor_load_pb(tern_tensor **out, const char *path, tern_kind kind, tern_error *err) {
    if (!out || !path) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_load_pb needs a tensor and a path");
    *out = NULL;
    if ((unsigned)kind > TERN_KIND_MAP) return tn_fail(err, TERN_INVALID_ARGUMENT, "%d is no tern_kind", (int)kind);
    return tn_onnx_read_value_file(out, kind, path, err);
}

tern_status tern_tensor_save_pb(const tern_tensor *tensor, const char *path, tern_error *err) {
    if (!tensor || !path) return tn_fail(err, TERN_INVALID_ARGUMENT, "tern_tensor_save_pb needs a tensor and a path");
    return tn_onnx_write_value_file(tensor, path, err);
}
